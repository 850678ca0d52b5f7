//! What is known of instance types without asking anybody: the cloud's table of facts.

use std::{collections::BTreeMap, sync::OnceLock};

/// The facts are the cloud's, which answers DescribeInstanceTypes from the same file.
const TABLE: &str = include_str!("../../cloud/data/instance-types.csv");

/// An instance type, as far as clusters care.
#[derive(Clone, Debug)]
pub(crate) struct InstanceType {
    pub name: &'static str,
    pub architectures: Vec<&'static str>,
    pub vcpus: u32,
    pub cores: u32,
    pub memory_mib: u64,
    /// How many network cards; each may have an EFA of its own.
    pub cards: u32,
    /// How many interfaces may have EFA; 0 without EFA.
    pub efa_interfaces: u32,
    /// Whether it may be in a placement group of strategy `cluster`.
    pub has_cluster_placement: bool,
    pub is_spot: bool,
    pub gpus: u32,
    pub gpu_maker: &'static str,
}

impl InstanceType {
    /// The type of a name.
    pub(crate) fn find(name: &str) -> Option<&'static Self> {
        all().get(name)
    }
}

/// All types, by name.
pub(crate) fn all() -> &'static BTreeMap<&'static str, InstanceType> {
    static TYPES: OnceLock<BTreeMap<&'static str, InstanceType>> = OnceLock::new();
    TYPES.get_or_init(|| {
        let mut lines = TABLE.lines();
        let columns: Vec<_> = lines.next().unwrap_or("").split(',').collect();
        lines.filter_map(|line| parse(&columns, line)).map(|found| (found.name, found)).collect()
    })
}

fn parse(columns: &[&str], line: &'static str) -> Option<InstanceType> {
    let values: Vec<&'static str> = line.split(',').collect();
    let column = |name: &str| {
        let at = columns.iter().position(|column| *column == name)?;
        values.get(at).copied()
    };
    // `2x8:200:200` is two cards.
    let cards = column("cards")?
        .split(' ')
        .map(|group| group.split_once('x').map_or(Some(1), |(count, _)| count.parse::<u32>().ok()));
    let gpus = column("gpus")?;
    let (count, rest) = gpus.split_once('x').unwrap_or(("0", ""));
    Some(InstanceType {
        name: column("type")?,
        architectures: column("architectures")?.split('|').collect(),
        vcpus: column("vcpus")?.parse().ok()?,
        cores: column("cores")?.parse().ok()?,
        memory_mib: column("memory_mib")?.parse().ok()?,
        cards: cards.sum::<Option<u32>>()?,
        efa_interfaces: column("efa_interfaces")?.parse().ok()?,
        has_cluster_placement: column("placement")?.contains('c'),
        is_spot: column("flags")?.contains('s'),
        gpus: count.parse().ok()?,
        gpu_maker: rest.split(' ').next().unwrap_or(""),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_read() {
        assert_eq!(all().len(), TABLE.lines().count() - 1);
    }

    #[test]
    fn types_of_the_guides_are_as_published() {
        let small = InstanceType::find("t3.micro").unwrap();
        assert_eq!((small.vcpus, small.memory_mib, small.efa_interfaces), (2, 1024, 0));
        assert!(!small.has_cluster_placement);
        let large = InstanceType::find("p4d.24xlarge").unwrap();
        assert_eq!((large.cards, large.efa_interfaces, large.gpus), (4, 4, 8));
        assert_eq!(large.gpu_maker, "NVIDIA");
    }
}
