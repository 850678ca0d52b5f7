//! Names of compute nodes: `queue1-dy-t3micro-3` is the third dynamic one of a resource.

use std::{fmt, str::FromStr};

use crate::config::{ComputeResource, Config, Queue};

/// Whether a node always runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeKind {
    /// It always runs.
    Static,
    /// It comes with work and goes when idle.
    Dynamic,
}

impl NodeKind {
    /// As it is in names.
    pub(crate) const fn short(self) -> &'static str {
        match self {
            Self::Static => "st",
            Self::Dynamic => "dy",
        }
    }
}

/// A compute node's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName {
    /// Its queue.
    pub queue: String,
    /// Whether it always runs.
    pub kind: NodeKind,
    /// Its compute resource.
    pub resource: String,
    /// Counted from 1.
    pub number: u32,
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { queue, kind, resource, number } = self;
        write!(f, "{queue}-{}-{resource}-{number}", kind.short())
    }
}

/// A text that is no node's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotANode;

impl FromStr for NodeName {
    type Err = NotANode;

    fn from_str(text: &str) -> Result<Self, NotANode> {
        // Names of queues and resources cannot hold `-st-` or `-dy-`.
        for kind in [NodeKind::Static, NodeKind::Dynamic] {
            let Some((queue, rest)) = text.split_once(&format!("-{}-", kind.short())) else {
                continue;
            };
            let (resource, number) = rest.rsplit_once('-').ok_or(NotANode)?;
            let number = number.parse().map_err(|_| NotANode)?;
            return match queue.is_empty() || resource.is_empty() || number == 0 {
                true => Err(NotANode),
                false => Ok(Self {
                    queue: queue.to_owned(),
                    kind,
                    resource: resource.to_owned(),
                    number,
                }),
            };
        }
        Err(NotANode)
    }
}

/// The names of a resource's nodes of a kind.
pub(crate) fn names_of(
    queue: &Queue,
    resource: &ComputeResource,
    kind: NodeKind,
) -> impl Iterator<Item = NodeName> {
    let count = match kind {
        NodeKind::Static => resource.min_count(),
        NodeKind::Dynamic => resource.dynamic_count(),
    };
    let (queue, resource) = (queue.name.clone(), resource.name.clone());
    (1..=count).map(move |number| NodeName {
        queue: queue.clone(),
        kind,
        resource: resource.clone(),
        number,
    })
}

/// The names of all nodes of a cluster.
pub(crate) fn all(config: &Config) -> Vec<NodeName> {
    let kinds = [NodeKind::Static, NodeKind::Dynamic];
    let of = |(queue, resource)| kinds.map(|kind| names_of(queue, resource, kind).collect());
    let lists = config.resources().flat_map(|pair: (&Queue, &ComputeResource)| of(pair));
    lists.flat_map(|list: Vec<_>| list).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_is_read_as_it_is_written() {
        for text in ["queue1-dy-t3micro-1", "a-b-st-c-d-12"] {
            assert_eq!(text.parse::<NodeName>().unwrap().to_string(), text);
        }
        let node: NodeName = "q-x-st-r-y-7".parse().unwrap();
        assert_eq!((node.queue.as_str(), node.resource.as_str(), node.number), ("q-x", "r-y", 7));
    }

    #[test]
    fn other_names_are_refused() {
        for text in ["", "queue1", "queue1-dy-r", "q-dy-r-0", "q-dy-r-x", "-dy-r-1", "q-xx-r-1"] {
            assert_eq!(text.parse::<NodeName>(), Err(NotANode), "{text}");
        }
    }
}
