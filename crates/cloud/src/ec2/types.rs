//! The instance types of EC2, from a table of facts.

use std::{collections::BTreeMap, sync::OnceLock};

use super::error::ApiError;

/// One line for each type. The figures are those that EC2's DescribeInstanceTypes gives.
const TABLE: &str = include_str!("../../data/instance-types.csv");

/// An instance type, with the figures that DescribeInstanceTypes gives.
#[derive(Debug, Clone)]
pub struct InstanceType {
    /// Such as `c5n.18xlarge`.
    pub name: &'static str,
    /// Such as `x86_64`.
    pub architectures: Vec<&'static str>,
    /// Threads that run at once.
    pub vcpus: u32,
    /// Cores that those threads share.
    pub cores: u32,
    pub(crate) threads_per_core: u32,
    /// Memory, in MiB.
    pub memory_mib: u64,
    /// 0 where EC2 does not say.
    pub(crate) clock_ghz: f64,
    pub(crate) processor: &'static str,
    /// `Up to 5 Gigabit`.
    pub(crate) network: &'static str,
    pub(crate) cards: Vec<Card>,
    /// Of all cards together.
    pub(crate) interfaces: u32,
    pub(crate) addresses_per_interface: u32,
    /// How many interfaces may have EFA; 0 without EFA.
    pub efa_interfaces: u32,
    pub(crate) placement: Vec<&'static str>,
    pub(crate) hypervisor: Option<&'static str>,
    pub(crate) ena: &'static str,
    pub(crate) virtualization: Vec<&'static str>,
    pub(crate) root_devices: Vec<&'static str>,
    flags: &'static str,
    pub(crate) gpus: Vec<Gpu>,
}

/// A network card of a type.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Card {
    pub(crate) interfaces: u32,
    pub(crate) baseline_gbps: f64,
    pub(crate) peak_gbps: f64,
}

/// GPUs of one kind in a type.
#[derive(Debug, Clone)]
pub(crate) struct Gpu {
    pub(crate) count: u32,
    pub(crate) maker: &'static str,
    pub(crate) name: &'static str,
    pub(crate) memory_mib: u64,
}

impl InstanceType {
    /// The type of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        all().get(name)
    }

    /// The names of all types, in order.
    pub fn names() -> impl Iterator<Item = &'static str> {
        all().keys().copied()
    }

    /// How many network cards it has.
    #[must_use]
    pub fn card_count(&self) -> u32 {
        u32::try_from(self.cards.len()).unwrap_or(u32::MAX)
    }

    /// How many GPUs it has, and who makes them.
    #[must_use]
    pub fn gpus(&self) -> Option<(u32, &'static str)> {
        let maker = self.gpus.first()?.maker;
        Some((self.gpus.iter().map(|gpu| gpu.count).sum(), maker))
    }

    fn has(&self, flag: char) -> bool {
        self.flags.contains(flag)
    }

    pub(crate) fn is_current(&self) -> bool {
        self.has('c')
    }

    pub(crate) fn is_free(&self) -> bool {
        self.has('f')
    }

    pub(crate) fn is_metal(&self) -> bool {
        self.has('m')
    }

    pub(crate) fn is_burstable(&self) -> bool {
        self.has('b')
    }

    pub(crate) fn has_disks(&self) -> bool {
        self.has('d')
    }

    /// Whether ENA Express works with it.
    pub(crate) fn has_ena_srd(&self) -> bool {
        self.has('r')
    }

    /// `on-demand`, `spot` and `capacity-block`, as far as they are offered.
    pub fn usage_classes(&self) -> impl Iterator<Item = &'static str> {
        let classes = [('o', "on-demand"), ('s', "spot"), ('k', "capacity-block")];
        classes.into_iter().filter(|(flag, _)| self.has(*flag)).map(|(_, name)| name)
    }

    /// Whether it may be in placement groups of a strategy: `cluster`, `partition` or `spread`.
    #[must_use]
    pub fn supports_placement(&self, strategy: &str) -> bool {
        self.placement.contains(&strategy)
    }

    /// What its network carries, in bits per second: as its network performance says, which may
    /// be less than its cards could together.
    pub(crate) fn bits_per_second(&self) -> u64 {
        let words: Vec<_> = self.network.split(' ').collect();
        let stated = words.windows(2).find(|pair| pair[1] == "Gigabit").and_then(|pair| {
            let times = words.iter().find_map(|word| word.strip_suffix('x')?.parse::<f64>().ok());
            Some(pair[0].parse::<f64>().ok()? * times.unwrap_or(1.0))
        });
        let cards: f64 = self.cards.iter().map(|card| card.peak_gbps).sum();
        bits(stated.unwrap_or(cards))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rates of the table are positive and far below 2^64 bits per second"
)]
fn bits(gbps: f64) -> u64 {
    (gbps * 1e9).round() as u64
}

/// All types, by name.
pub(crate) fn all() -> &'static BTreeMap<&'static str, InstanceType> {
    static TYPES: OnceLock<BTreeMap<&'static str, InstanceType>> = OnceLock::new();
    TYPES.get_or_init(|| {
        let lines = TABLE.lines().skip(1);
        lines.filter_map(parse).map(|found| (found.name, found)).collect()
    })
}

/// The type of a name.
pub(crate) fn find(name: &str) -> Result<&'static InstanceType, ApiError> {
    all().get(name).ok_or_else(|| {
        let message = format!("Invalid value '{name}' for InstanceType.{}", suggestion(name));
        ApiError::new("InvalidParameterValue", message)
    })
}

/// The type whose name looks most like this one.
fn suggestion(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    let family = lower.split('.').next().unwrap_or("");
    let close = all().keys().min_by_key(|known| {
        let same_family = known.split('.').next() == Some(family);
        (distance(known, &lower), !same_family)
    });
    match close {
        Some(known) if distance(known, &lower) <= 3 => format!(" Did you mean '{known}'?"),
        _ => String::new(),
    }
}

/// How many letters must be changed, put in or left out to make one text of the other.
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.bytes().enumerate() {
        let mut before = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in to.bytes().enumerate() {
            let changed = before + usize::from(a != b);
            before = row[j + 1];
            row[j + 1] = changed.min(before + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}

/// Reads a line; nothing if it is not one of the table's.
fn parse(line: &'static str) -> Option<InstanceType> {
    let columns: Vec<&'static str> = line.split(',').collect();
    let [
        name,
        architectures,
        vcpus,
        cores,
        threads,
        memory,
        clock,
        processor,
        network,
        cards,
        interfaces,
        addresses,
        efa,
        placement,
        hypervisor,
        ena,
        virtualization,
        root_devices,
        flags,
        gpus,
    ] = columns[..]
    else {
        return None;
    };
    let strategies = [('c', "cluster"), ('p', "partition"), ('s', "spread")];
    let strategies = strategies.into_iter().filter(|(letter, _)| placement.contains(*letter));
    Some(InstanceType {
        name,
        architectures: architectures.split('|').collect(),
        vcpus: vcpus.parse().ok()?,
        cores: cores.parse().ok()?,
        threads_per_core: threads.parse().ok()?,
        memory_mib: memory.parse().ok()?,
        clock_ghz: clock.parse().ok()?,
        processor,
        network,
        cards: parse_cards(cards)?,
        interfaces: interfaces.parse().ok()?,
        addresses_per_interface: addresses.parse().ok()?,
        efa_interfaces: efa.parse().ok()?,
        placement: strategies.map(|(_, name)| name).collect(),
        hypervisor: Some(hypervisor).filter(|name| !name.is_empty()),
        ena,
        virtualization: virtualization.split('|').collect(),
        root_devices: root_devices.split('|').collect(),
        flags,
        gpus: gpus
            .split(" + ")
            .filter(|gpu| !gpu.is_empty())
            .map(parse_gpu)
            .collect::<Option<_>>()?,
    })
}

/// `2x8:200:200`: two cards of 8 interfaces, 200 Gb/s always, 200 Gb/s at most.
fn parse_cards(text: &str) -> Option<Vec<Card>> {
    let mut cards = Vec::new();
    for group in text.split(' ') {
        let (count, card) = group.split_once('x').unwrap_or(("1", group));
        let [interfaces, baseline, peak] = card.split(':').collect::<Vec<_>>()[..] else {
            return None;
        };
        let card = Card {
            interfaces: interfaces.parse().ok()?,
            baseline_gbps: baseline.parse().ok()?,
            peak_gbps: peak.parse().ok()?,
        };
        cards.extend(std::iter::repeat_n(card, count.parse().ok()?));
    }
    Some(cards)
}

/// `8xNVIDIA A100:40960`: eight of a maker and name, with so many MiB each.
fn parse_gpu(text: &'static str) -> Option<Gpu> {
    let (count, rest) = text.split_once('x')?;
    let (name, memory) = rest.rsplit_once(':')?;
    let (maker, name) = name.split_once(' ')?;
    Some(Gpu { count: count.parse().ok()?, maker, name, memory_mib: memory.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_read() {
        assert_eq!(all().len(), TABLE.lines().count() - 1);
        assert!(all().values().all(|t| !t.cards.is_empty() && t.vcpus > 0 && t.memory_mib > 0));
        assert!(all().values().all(|t| t.efa_interfaces <= t.interfaces));
    }

    /// Figures of the guides and of AWS's pages on instance types.
    #[test]
    fn types_of_the_guides_are_as_published() {
        let c5n = find("c5n.18xlarge").unwrap();
        assert_eq!((c5n.vcpus, c5n.efa_interfaces, c5n.cards.len()), (72, 1, 1));
        assert_eq!(c5n.bits_per_second(), 100_000_000_000);
        assert!(c5n.supports_placement("cluster"));
        let t3 = find("t3.micro").unwrap();
        assert_eq!((t3.vcpus, t3.memory_mib, t3.efa_interfaces, t3.interfaces), (2, 1024, 0, 2));
        assert!(t3.is_free() && !t3.supports_placement("cluster"));
        let p4d = find("p4d.24xlarge").unwrap();
        assert_eq!((p4d.cards.len(), p4d.efa_interfaces, p4d.gpus[0].count), (4, 4, 8));
        assert_eq!(p4d.bits_per_second(), 400_000_000_000);
        assert_eq!(find("hpc7g.16xlarge").unwrap().architectures, ["arm64"]);
        for name in ["c5n.metal", "g4dn.metal", "i3en.24xlarge", "i3en.metal", "inf1.24xlarge"] {
            assert!(find(name).unwrap().efa_interfaces > 0, "{name}");
        }
        for name in
            ["m5dn.24xlarge", "m5n.24xlarge", "p3dn.24xlarge", "r5dn.24xlarge", "r5n.24xlarge"]
        {
            assert!(find(name).unwrap().efa_interfaces > 0, "{name}");
        }
    }

    #[test]
    fn misspelt_type_gets_the_likely_one() {
        let error = find("c5n.18xlrge").unwrap_err();
        assert_eq!(error.code, "InvalidParameterValue");
        assert!(error.message.ends_with("Did you mean 'c5n.18xlarge'?"), "{}", error.message);
        let error = find("does-not-exist.at-all").unwrap_err();
        assert!(!error.message.contains("Did you mean"), "{}", error.message);
    }

    #[test]
    fn distance_counts_letters() {
        assert_eq!(distance("t3.micro", "t3.mirco"), 2);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", "abc"), 0);
    }
}
