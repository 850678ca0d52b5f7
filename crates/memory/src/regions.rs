//! The regions of endpoints, by key.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hasher,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use siphasher::sip::SipHasher24;

use crate::{Access, Region};

/// The regions that peers may reach, each under a key. Clones share them: an application gives
/// one to each endpoint of a domain, and what it registers is reached through all of them.
///
/// A drawn key is the SipHash-2-4 of a counter under a secret: whoever knows any number of keys
/// cannot tell another.
#[derive(Clone, Debug, Default)]
pub struct Regions {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    table: RwLock<Table>,
    /// Regions taken back so far.
    revoked: AtomicU64,
    /// Whether operations on any region were ever to be counted: most never are.
    counts: AtomicBool,
}

#[derive(Debug, Default)]
struct Table {
    entries: HashMap<u64, (Region, Access)>,
    /// Who counts operations on the region with this key.
    watches: HashMap<u64, Watch>,
    secret: [u8; 16],
    drawn: u64,
}

/// Where operations of peers on a region are counted once they are over (`fi_mr_bind` with
/// `FI_REMOTE_READ` and `FI_REMOTE_WRITE`).
#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// Reads, and atomic operations that return the old values.
    pub reads: Option<Arc<AtomicU64>>,
    /// Writes, and atomic operations that return nothing.
    pub writes: Option<Arc<AtomicU64>>,
}

/// An operation of a peer on a region, as a [`Watch`] counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visit {
    /// It returned bytes of the region.
    Read,
    /// It changed the region and returned nothing.
    Write,
}

/// Why a claim of a peer was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No region has this key.
    #[error("no region has this key")]
    UnknownKey,
    /// The region does not allow this kind of access.
    #[error("the region does not allow this kind of access")]
    Access,
    /// The bytes are not all inside the region.
    #[error("the bytes are not all inside the region")]
    Range,
}

/// Another region has this key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("key {0:#x} is taken by another region: choose another or let one be drawn")]
pub struct KeyTaken(pub u64);

impl Regions {
    /// No region yet. Keys are drawn under `secret`, which nobody else may know.
    pub fn new(secret: [u8; 16]) -> Self {
        let table = RwLock::new(Table { secret, ..Table::default() });
        Self { shared: Arc::new(Shared { table, ..Shared::default() }) }
    }

    /// Lets peers that know the key do to `region` what `access` says. Returns the key.
    pub fn register(&self, region: Region, access: Access) -> u64 {
        let mut table = self.write();
        loop {
            table.drawn += 1;
            let mut hasher = SipHasher24::new_with_key(&table.secret);
            hasher.write_u64(table.drawn);
            let key = hasher.finish();
            if let Entry::Vacant(place) = table.entries.entry(key) {
                place.insert((region, access));
                return key;
            }
        }
    }

    /// The same under a key of the caller's choice, which peers may guess.
    ///
    /// # Errors
    /// [`KeyTaken`].
    pub fn register_as(&self, key: u64, region: Region, access: Access) -> Result<(), KeyTaken> {
        match self.write().entries.entry(key) {
            Entry::Occupied(_) => Err(KeyTaken(key)),
            Entry::Vacant(place) => {
                place.insert((region, access));
                Ok(())
            }
        }
    }

    /// From now on peers know nothing behind `key`: when this returns, no access to the region
    /// through any endpoint is going on or begins, and nothing of it is lent. Returns the region
    /// that was there.
    pub fn revoke(&self, key: u64) -> Option<Region> {
        let mut table = self.write();
        let (region, _) = table.entries.remove(&key)?;
        table.watches.remove(&key);
        self.shared.revoked.fetch_add(1, Ordering::Release);
        drop(table);
        region.wait_for_loans();
        Some(region)
    }

    /// Counts operations on the region behind `key` from now on, until it is revoked, beside what
    /// counts them already where `watch` says nothing. Returns whether there is such a region.
    pub fn watch(&self, key: u64, watch: Watch) -> bool {
        let mut table = self.write();
        if !table.entries.contains_key(&key) {
            return false;
        }
        let known = table.watches.entry(key).or_default();
        known.reads = watch.reads.or(known.reads.take());
        known.writes = watch.writes.or(known.writes.take());
        self.shared.counts.store(true, Ordering::Release);
        true
    }

    /// An operation of a peer on the region behind `key` is over.
    pub fn visited(&self, key: u64, visit: Visit) {
        if !self.shared.counts.load(Ordering::Acquire) {
            return;
        }
        let table = self.read();
        let Some(watch) = table.watches.get(&key) else { return };
        let counter = match visit {
            Visit::Read => &watch.reads,
            Visit::Write => &watch.writes,
        };
        if let Some(counter) = counter {
            counter.fetch_add(1, Ordering::Release);
        }
    }

    /// How many regions were taken back so far.
    pub fn revoked(&self) -> u64 {
        self.shared.revoked.load(Ordering::Acquire)
    }

    /// Whether `region` has this key.
    pub fn holds(&self, key: u64, region: &Region) -> bool {
        self.read().entries.get(&key).is_some_and(|(found, _)| found.is_same(region))
    }

    /// Lets `visit` reach the region behind `key` and the place in it, if `access` to `length`
    /// bytes from `offset` on is allowed. The region cannot be revoked meanwhile, so `visit` must
    /// be short and call nothing of this registry.
    ///
    /// # Errors
    /// [`Denied`] says what of the claim is wrong.
    pub fn visit<R>(
        &self,
        key: u64,
        access: Access,
        offset: u64,
        length: u64,
        visit: impl FnOnce(&Region, usize) -> R,
    ) -> Result<R, Denied> {
        let table = self.read();
        let (region, allowed) = table.entries.get(&key).ok_or(Denied::UnknownKey)?;
        if !allowed.allows(access) {
            return Err(Denied::Access);
        }
        let end = offset.checked_add(length).ok_or(Denied::Range)?;
        if end > region.len() as u64 {
            return Err(Denied::Range);
        }
        Ok(visit(region, usize::try_from(offset).map_err(|_| Denied::Range)?))
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        // Nothing that panics leaves the table half changed.
        self.shared.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.shared.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_beyond_the_region_its_rights_or_its_life_are_denied() {
        let regions = Regions::new([3; 16]);
        let key = regions.register(Region::zeroed(100), Access::READ);
        let reach = |key, access, offset, length| {
            regions.visit(key, access, offset, length, |_, at| assert_eq!(at as u64, offset))
        };
        assert!(reach(key, Access::READ, 0, 100).is_ok());
        assert!(reach(key, Access::READ, 100, 0).is_ok());
        let denied = |key, access, offset, length| reach(key, access, offset, length).err();
        assert_eq!(denied(key, Access::WRITE, 0, 1), Some(Denied::Access));
        assert_eq!(denied(key, Access::READ | Access::ATOMIC, 0, 1), Some(Denied::Access));
        assert_eq!(denied(key, Access::READ, 1, 100), Some(Denied::Range));
        assert_eq!(denied(key, Access::READ, u64::MAX, 2), Some(Denied::Range));
        assert_eq!(denied(key, Access::READ, 2, u64::MAX), Some(Denied::Range));
        assert_eq!(denied(key ^ 1, Access::READ, 0, 1), Some(Denied::UnknownKey));
        assert!(regions.revoke(key).is_some());
        let denied = reach(key, Access::READ, 0, 1).err();
        assert_eq!(denied, Some(Denied::UnknownKey));
    }

    #[test]
    fn revoking_waits_for_what_is_lent() {
        let regions = Regions::new([4; 16]);
        let region = Region::from(vec![9; 5_000]);
        let key = regions.register(region, Access::READ);
        let lent = regions.visit(key, Access::READ, 0, 5_000, |region, at| region.lend(at, 5_000));
        let lent = lent.unwrap().unwrap();
        std::thread::scope(|scope| {
            let revoked = scope.spawn(|| regions.revoke(key));
            while regions.revoked() == 0 {
                std::thread::yield_now();
            }
            assert_eq!(lent, vec![9; 5_000]);
            assert!(!revoked.is_finished());
            drop(lent);
            assert!(revoked.join().unwrap().is_some());
        });
    }

    #[test]
    fn operations_on_a_watched_region_are_counted_until_it_is_revoked() {
        let regions = Regions::new([5; 16]);
        let key = regions.register(Region::zeroed(8), Access::ALL);
        let other = regions.register(Region::zeroed(8), Access::ALL);
        let (reads, writes) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        regions.visited(key, Visit::Read);
        assert!(regions.watch(key, Watch { reads: Some(Arc::clone(&reads)), writes: None }));
        assert!(regions.watch(key, Watch { reads: None, writes: Some(Arc::clone(&writes)) }));
        for (key, visit) in [(key, Visit::Read), (key, Visit::Write), (other, Visit::Write)] {
            regions.visited(key, visit);
        }
        regions.visited(key, Visit::Write);
        let counted = || [&reads, &writes].map(|counter| counter.load(Ordering::Acquire));
        assert_eq!(counted(), [1, 2]);
        regions.revoke(key);
        regions.visited(key, Visit::Read);
        assert_eq!(counted(), [1, 2]);
        assert!(!regions.watch(key, Watch::default()));
    }

    #[test]
    fn keys_differ_by_count_and_by_secret_and_chosen_ones_are_not_shared() {
        let regions = Regions::new([1; 16]);
        let region = Region::zeroed(1);
        let one = regions.register(region.clone(), Access::ALL);
        let two = regions.register(region.clone(), Access::ALL);
        let other = Regions::new([2; 16]).register(region.clone(), Access::ALL);
        assert!(one != two && one != other);
        assert_eq!(regions.register_as(9, region.clone(), Access::ALL), Ok(()));
        assert_eq!(regions.register_as(9, region, Access::ALL), Err(KeyTaken(9)));
    }
}
