//! Lists whose links live in the entries of a slab: joining and leaving one costs no allocation
//! and no search.

use slab::Slab;

use crate::numbers::key;

const NONE: u32 = u32::MAX;

/// An entry's neighbours in one list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    previous: u32,
    next: u32,
}

impl Default for Link {
    fn default() -> Self {
        Self { previous: NONE, next: NONE }
    }
}

/// An entry that can be in several lists at once, one per lane.
pub(crate) trait Linked {
    fn link(&self, lane: usize) -> &Link;
    fn link_mut(&mut self, lane: usize) -> &mut Link;
}

/// The ends of a list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chain {
    head: u32,
    tail: u32,
}

impl Default for Chain {
    fn default() -> Self {
        Self { head: NONE, tail: NONE }
    }
}

impl Chain {
    pub(crate) fn is_empty(&self) -> bool {
        self.head == NONE
    }

    pub(crate) fn front(&self) -> Option<usize> {
        index(self.head)
    }

    pub(crate) fn after<T: Linked>(slab: &Slab<T>, lane: usize, at: usize) -> Option<usize> {
        index(slab[at].link(lane).next)
    }

    /// The indices from the front on.
    pub(crate) fn iter<'a, T: Linked>(
        &self,
        slab: &'a Slab<T>,
        lane: usize,
    ) -> impl Iterator<Item = usize> + use<'a, T> {
        std::iter::successors(self.front(), move |&at| Self::after(slab, lane, at))
    }

    pub(crate) fn push_back<T: Linked>(&mut self, slab: &mut Slab<T>, lane: usize, at: usize) {
        *slab[at].link_mut(lane) = Link { previous: self.tail, next: NONE };
        match index(self.tail) {
            Some(tail) => slab[tail].link_mut(lane).next = key(at),
            None => self.head = key(at),
        }
        self.tail = key(at);
    }

    pub(crate) fn remove<T: Linked>(&mut self, slab: &mut Slab<T>, lane: usize, at: usize) {
        let Link { previous, next } = std::mem::take(slab[at].link_mut(lane));
        match index(previous) {
            Some(previous) => slab[previous].link_mut(lane).next = next,
            None => self.head = next,
        }
        match index(next) {
            Some(next) => slab[next].link_mut(lane).previous = previous,
            None => self.tail = previous,
        }
    }
}

fn index(key: u32) -> Option<usize> {
    (key != NONE).then_some(key as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Entry {
        links: [Link; 2],
    }

    impl Linked for Entry {
        fn link(&self, lane: usize) -> &Link {
            &self.links[lane]
        }

        fn link_mut(&mut self, lane: usize) -> &mut Link {
            &mut self.links[lane]
        }
    }

    #[test]
    fn entries_removed_from_front_middle_and_end_leave_the_others_in_order() {
        let mut slab = Slab::new();
        let mut chains = [Chain::default(); 2];
        for _ in 0..6 {
            let at = slab.insert(Entry::default());
            chains[0].push_back(&mut slab, 0, at);
            chains[1].push_back(&mut slab, 1, at);
        }
        for at in [0, 3, 5] {
            chains[0].remove(&mut slab, 0, at);
        }
        assert_eq!(chains[0].iter(&slab, 0).collect::<Vec<_>>(), [1, 2, 4]);
        assert_eq!(chains[1].iter(&slab, 1).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
        for at in [1, 2, 4] {
            chains[0].remove(&mut slab, 0, at);
        }
        assert!(chains[0].is_empty());
        chains[0].push_back(&mut slab, 0, 5);
        assert_eq!(chains[0].iter(&slab, 0).collect::<Vec<_>>(), [5]);
    }
}
