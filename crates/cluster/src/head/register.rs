//! Which instance is which node.
//!
//! It is a folder of files, so that a node finds its own name in it, and so that the loop knows
//! what it knew before when the head node boots again.

use std::{collections::BTreeMap, fmt::Write as _, fs, io, net::Ipv4Addr, path::PathBuf};

use crate::store::replace;

/// Nodes that have an instance.
#[derive(Debug)]
pub(crate) struct Register {
    folder: PathBuf,
    hosts: PathBuf,
    /// The head node's line in the file of hosts.
    head: (Ipv4Addr, String),
    nodes: BTreeMap<String, Entry>,
    /// Nodes that had an instance when this head node last ran, and have none now.
    gone: Vec<(String, String)>,
}

/// A node's instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub instance: String,
    pub address: Ipv4Addr,
    /// When it was launched, in milliseconds since 1970.
    pub launched: u64,
    /// Whether Slurm has seen it.
    pub was_ready: bool,
}

impl Register {
    /// Reads what is known. `live` are the instances there are, with their addresses; others are
    /// [gone](Self::take_gone).
    pub(crate) fn open(
        folder: impl Into<PathBuf>,
        hosts: impl Into<PathBuf>,
        head: (Ipv4Addr, String),
        live: &BTreeMap<String, Ipv4Addr>,
        now: u64,
    ) -> io::Result<Self> {
        let folder = folder.into();
        fs::create_dir_all(&folder)?;
        let mut nodes = BTreeMap::new();
        let mut gone = Vec::new();
        for file in fs::read_dir(&folder)? {
            let file = file?;
            let instance = file.file_name().to_string_lossy().into_owned();
            let name = fs::read_to_string(file.path())?.trim().to_owned();
            match live.get(&instance) {
                Some(&address) => {
                    let entry = Entry { instance, address, launched: now, was_ready: false };
                    nodes.insert(name, entry);
                }
                None => {
                    fs::remove_file(file.path())?;
                    gone.push((name, instance));
                }
            }
        }
        // Of a name that was launched again, the instance that lives counts.
        gone.retain(|(name, _)| !nodes.contains_key(name));
        let register = Self { folder, hosts: hosts.into(), head, nodes, gone };
        register.write_hosts()?;
        Ok(register)
    }

    /// Says which nodes instances are. A node that had another instance has it no more.
    pub(crate) fn add(&mut self, entries: Vec<(String, Entry)>) -> io::Result<()> {
        let added: Vec<_> =
            entries.iter().map(|(name, entry)| (name.clone(), entry.instance.clone())).collect();
        self.nodes.extend(entries);
        // A node resolves its own name as soon as it knows it.
        self.write_hosts()?;
        for (name, instance) in added {
            replace(&self.folder.join(instance), format!("{name}\n").as_bytes(), 0o644)?;
        }
        Ok(())
    }

    /// Forgets a node's instance, and returns it.
    pub(crate) fn remove(&mut self, name: &str) -> Option<Entry> {
        let entry = self.nodes.remove(name)?;
        // It is not read for an instance that is gone.
        fs::remove_file(self.folder.join(&entry.instance)).ok();
        Some(entry)
    }

    /// Nodes whose instances ended while this head node did not run, each with its instance.
    pub(crate) fn take_gone(&mut self) -> Vec<(String, String)> {
        std::mem::take(&mut self.gone)
    }

    /// The instance of a node.
    pub(crate) fn of(&self, name: &str) -> Option<&Entry> {
        self.nodes.get(name)
    }

    /// Slurm has seen a node.
    pub(crate) fn set_ready(&mut self, name: &str) {
        if let Some(entry) = self.nodes.get_mut(name) {
            entry.was_ready = true;
        }
    }

    /// All nodes that have an instance.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = (&String, &Entry)> {
        self.nodes.iter()
    }

    fn write_hosts(&self) -> io::Result<()> {
        let (address, name) = &self.head;
        let mut text = format!(
            "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n{address} {name}\n"
        );
        for (name, entry) in &self.nodes {
            writeln!(text, "{} {name}", entry.address).expect("a text has room");
        }
        replace(&self.hosts, text.as_bytes(), 0o644)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn register_is_what_nodes_and_a_new_boot_read() {
        let folder = tempfile::tempdir().unwrap();
        let (nodes, hosts) = (folder.path().join("nodes"), folder.path().join("hosts"));
        let head = (Ipv4Addr::new(10, 0, 0, 4), "head".to_owned());
        let open = |live: &BTreeMap<String, Ipv4Addr>| {
            Register::open(&nodes, &hosts, head.clone(), live, 7).unwrap()
        };
        let mut register = open(&BTreeMap::new());
        let entry = |instance: &str, last| Entry {
            instance: instance.to_owned(),
            address: Ipv4Addr::new(10, 0, 0, last),
            launched: 7,
            was_ready: false,
        };
        let added = [("q-dy-r-1", "i-1", 5), ("q-dy-r-2", "i-2", 6)];
        let added = added.map(|(name, id, last)| (name.to_owned(), entry(id, last)));
        register.add(added.to_vec()).unwrap();
        assert_eq!(fs::read_to_string(nodes.join("i-2")).unwrap(), "q-dy-r-2\n");
        let text = fs::read_to_string(&hosts).unwrap();
        assert!(text.contains("10.0.0.4 head\n10.0.0.5 q-dy-r-1\n10.0.0.6 q-dy-r-2\n"), "{text}");
        // Another boot, after one of the two went.
        let live = BTreeMap::from([("i-2".to_owned(), Ipv4Addr::new(10, 0, 0, 6))]);
        let mut register = open(&live);
        assert_eq!(register.of("q-dy-r-1"), None);
        assert_eq!(register.take_gone(), [("q-dy-r-1".to_owned(), "i-1".to_owned())]);
        assert_eq!(register.of("q-dy-r-2"), Some(&entry("i-2", 6)));
        assert!(!nodes.join("i-1").exists());
    }
}
