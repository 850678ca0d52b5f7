//! Conversions between the numbers of the wire and sizes in memory.

/// A slab's index as tokens and links hold it.
pub(crate) fn key(index: usize) -> u32 {
    u32::try_from(index).expect("operation limits keep slabs below 2^32 entries")
}

/// `value`, at most `limit`.
pub(crate) fn clamp(value: u64, limit: usize) -> usize {
    usize::try_from(value).map_or(limit, |value| value.min(limit))
}

/// A payload length as a frame holds it. Callers cap lengths at [`MAX_DATAGRAM`].
pub(crate) fn short(length: usize) -> u16 {
    u16::try_from(length).expect("a datagram is shorter than 64 KiB")
}

/// No datagram's payload is longer, whatever room the transport offers.
pub(crate) const MAX_DATAGRAM: usize = u16::MAX as usize;
