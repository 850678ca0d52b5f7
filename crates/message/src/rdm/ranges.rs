//! Which bytes of a message have arrived.

use std::ops::Range;

use smallvec::SmallVec;

/// Sorted ranges that neither overlap nor touch.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    ranges: SmallVec<[Range<usize>; 2]>,
}

impl Ranges {
    /// Adds a range; returns how many of its bytes were missing.
    pub(super) fn insert(&mut self, new: Range<usize>) -> usize {
        if new.is_empty() {
            return 0;
        }
        if let Some(last) = self.ranges.last_mut()
            && last.end == new.start
        {
            last.end = new.end;
            return new.len();
        }
        let first = self.ranges.partition_point(|range| range.end < new.start);
        let after = self.ranges.partition_point(|range| range.start <= new.end);
        if first == after {
            let length = new.len();
            self.ranges.insert(first, new);
            return length;
        }
        let touched = &self.ranges[first..after];
        let known: usize = touched.iter().map(Range::len).sum();
        let merged = touched[0].start.min(new.start)..touched[touched.len() - 1].end.max(new.end);
        let added = merged.len() - known;
        self.ranges[first] = merged;
        self.ranges.drain(first + 1..after);
        added
    }

    /// Whether no byte of `bytes` is missing.
    pub(super) fn covers(&self, bytes: &Range<usize>) -> bool {
        let around = |range: &Range<usize>| range.start <= bytes.start && bytes.end <= range.end;
        self.ranges.iter().any(around)
    }

    /// The first missing range below `limit`; empty at `limit` if none is missing.
    pub(super) fn first_hole(&self, limit: usize) -> Range<usize> {
        match self.ranges.as_slice() {
            [first, rest @ ..] if first.start == 0 => {
                first.end.min(limit)..rest.first().map_or(limit, |next| next.start.min(limit))
            }
            [first, ..] => 0..first.start.min(limit),
            [] => 0..limit,
        }
    }

    /// The last missing range below `limit`; empty if none is missing.
    pub(super) fn last_hole_before(&self, limit: usize) -> Range<usize> {
        let mut end = limit;
        for range in self.ranges.iter().rev().filter(|range| range.start < limit) {
            if range.end < end {
                return range.end..end;
            }
            end = range.start;
        }
        0..end
    }

    /// What is missing after the last byte that arrived.
    pub(super) fn last_hole(&self, limit: usize) -> Range<usize> {
        self.ranges.last().map_or(0, |last| last.end.min(limit))..limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_in_any_order_count_each_byte_once() {
        // Every set of inserts over a 12-byte message, compared with a bitmap.
        let mut state = 1_u32;
        for _ in 0..2_000 {
            let mut ranges = Ranges::default();
            let mut bitmap = [false; 12];
            for _ in 0..8 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let start = (state >> 8) as usize % 12;
                let end = start + (state >> 20) as usize % (13 - start);
                let missing = bitmap[start..end].iter().filter(|byte| !**byte).count();
                assert!(start == end || ranges.covers(&(start..end)) == (missing == 0));
                bitmap[start..end].fill(true);
                assert_eq!(ranges.insert(start..end), missing);
                let hole = bitmap.iter().position(|byte| !byte).unwrap_or(12);
                let hole_end =
                    bitmap[hole..].iter().position(|byte| *byte).map_or(12, |length| hole + length);
                assert_eq!(ranges.first_hole(12), hole..hole_end);
                let last = bitmap.iter().rposition(|byte| *byte).map_or(0, |at| at + 1);
                assert_eq!(ranges.last_hole(12), last..12);
                for limit in 0..=12 {
                    let below = &bitmap[..limit];
                    let end = below.iter().rposition(|byte| !*byte).map_or(0, |at| at + 1);
                    let before = below[..end].iter().rposition(|byte| *byte);
                    let hole = before.map_or(0, |at| at + 1)..end;
                    assert_eq!(ranges.last_hole_before(limit), hole);
                }
            }
        }
    }
}
