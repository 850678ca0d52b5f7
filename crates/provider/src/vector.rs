//! Address vectors (fi_av(3)): addresses by number.

use std::net::SocketAddr;

use rustc_hash::FxHashMap;

#[derive(Debug)]
struct Slot {
    address: SocketAddr,
    /// How often it was inserted and not removed.
    uses: usize,
}

/// Addresses, numbered from 0 in the order they were inserted, which callers rely on. One that is
/// inserted again keeps its number; numbers of removed ones are given out again.
#[derive(Debug, Default)]
pub(crate) struct AddressVector {
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    numbers: FxHashMap<SocketAddr, usize>,
    /// Endpoints that are bound to it.
    pub(crate) bound: usize,
}

impl AddressVector {
    pub(crate) fn insert(&mut self, address: SocketAddr) -> usize {
        if let Some(&number) = self.numbers.get(&address) {
            if let Some(slot) = &mut self.slots[number] {
                slot.uses += 1;
            }
            return number;
        }
        let slot = Some(Slot { address, uses: 1 });
        let number = match self.free.pop() {
            Some(number) => {
                self.slots[number] = slot;
                number
            }
            None => {
                self.slots.push(slot);
                self.slots.len() - 1
            }
        };
        self.numbers.insert(address, number);
        number
    }

    /// Takes an address back. Returns whether it is gone; `None` if there was none.
    pub(crate) fn remove(&mut self, number: usize) -> Option<bool> {
        let place = self.slots.get_mut(number)?;
        let slot = place.as_mut()?;
        slot.uses -= 1;
        if slot.uses > 0 {
            return Some(false);
        }
        self.numbers.remove(&slot.address);
        *place = None;
        self.free.push(number);
        Some(true)
    }

    pub(crate) fn address(&self, number: usize) -> Option<SocketAddr> {
        self.slots.get(number)?.as_ref().map(|slot| slot.address)
    }

    pub(crate) fn number(&self, address: SocketAddr) -> Option<usize> {
        self.numbers.get(&address).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn addresses_are_numbered_from_nought_and_keep_their_number() {
        let mut vector = AddressVector::default();
        assert_eq!([1, 2, 3].map(|port| vector.insert(address(port))), [0, 1, 2]);
        assert_eq!(vector.insert(address(2)), 1);
        assert_eq!(vector.remove(1), Some(false));
        assert_eq!(vector.address(1), Some(address(2)));
        assert_eq!(vector.remove(1), Some(true));
        assert_eq!((vector.address(1), vector.remove(1)), (None, None));
        assert_eq!(vector.number(address(2)), None);
        assert_eq!(vector.insert(address(4)), 1);
        assert_eq!(vector.remove(7), None);
    }
}
