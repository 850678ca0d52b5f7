//! An output port: a first-in first-out queue in front of a link.

use std::time::Duration;

use wire::{Ecn, Time};

/// Bytes on the wire around each UDP payload: IPv6 and UDP headers, Ethernet header, checksum,
/// preamble and gap.
pub(crate) const OVERHEAD: usize = 40 + 8 + 14 + 4 + 8 + 12;

/// A link and the queue in front of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinkSpec {
    /// Bits per second.
    pub(crate) rate: u64,
    /// From one end to the other.
    pub(crate) delay: Duration,
    /// Bytes the queue holds; what would exceed it is dropped.
    pub(crate) queue: usize,
    /// Bytes in the queue from which ECN-capable packets are marked.
    pub(crate) mark: usize,
}

/// Why a port did not take a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// The queue is never stored: when the last byte in it will have left says everything a
/// first-in first-out queue can tell, and costs no event per departure.
#[derive(Clone, Debug)]
pub(crate) struct Port {
    spec: LinkSpec,
    slowdown: u32,
    free_at: Time,
    /// The most bytes that ever waited.
    pub(crate) peak: usize,
    /// Packets marked.
    pub(crate) marks: u64,
}

impl Port {
    pub(crate) fn new(spec: LinkSpec) -> Self {
        Self { spec, slowdown: 1, free_at: Time::ZERO, peak: 0, marks: 0 }
    }

    /// Makes the link `factor` times slower than it was built. What waits takes that much longer.
    pub(crate) fn slow_down(&mut self, now: Time, factor: u32) {
        let waiting = self.free_at.since(now);
        self.free_at = now + waiting / self.slowdown * factor.max(1);
        self.slowdown = factor.max(1);
    }

    /// Bytes waiting or being sent.
    pub(crate) fn backlog(&self, now: Time) -> usize {
        let nanos = self.free_at.since(now).as_nanos();
        let divisor = 8_000_000_000 * u128::from(self.slowdown);
        let bytes = nanos * u128::from(self.spec.rate) / divisor;
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// When at most `bytes` will be waiting.
    pub(crate) fn drained_to(&self, bytes: usize) -> Time {
        self.free_at - self.transmission(bytes)
    }

    /// Queues a packet of `payload` bytes; returns when it reaches the other end.
    pub(crate) fn enqueue(
        &mut self,
        now: Time,
        payload: usize,
        ecn: &mut Ecn,
    ) -> Result<Time, Full> {
        let bytes = payload + OVERHEAD;
        let backlog = self.backlog(now);
        if backlog + bytes > self.spec.queue {
            return Err(Full);
        }
        if backlog > self.spec.mark && *ecn == Ecn::Capable {
            *ecn = Ecn::CongestionExperienced;
            self.marks += 1;
        }
        self.peak = self.peak.max(backlog + bytes);
        self.free_at = self.free_at.max(now) + self.transmission(bytes);
        Ok(self.free_at + self.spec.delay)
    }

    fn transmission(&self, bytes: usize) -> Duration {
        let bits = bytes as u64 * 8 * u64::from(self.slowdown);
        Duration::from_nanos((bits * 1_000_000_000).div_ceil(self.spec.rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: LinkSpec = LinkSpec {
        rate: 8_000_000_000,
        delay: Duration::from_nanos(500),
        queue: 3_000,
        mark: 1_000,
    };

    #[test]
    fn packets_leave_one_after_the_other_at_the_rate_of_the_link() {
        let mut port = Port::new(SPEC);
        let mut ecn = Ecn::NotCapable;
        let size = 1_000 - OVERHEAD;
        let at = |nanos| Ok(Time::from_nanos(nanos));
        assert_eq!(port.enqueue(Time::ZERO, size, &mut ecn), at(1_500));
        assert_eq!(port.enqueue(Time::ZERO, size, &mut ecn), at(2_500));
        assert_eq!(port.enqueue(Time::from_nanos(10_000), size, &mut ecn), at(11_500));
        assert_eq!(port.peak, 2_000);
    }

    #[test]
    fn a_long_queue_marks_and_a_full_one_drops() {
        let mut port = Port::new(SPEC);
        let size = 1_000 - OVERHEAD;
        let marks: Vec<_> = (0..4)
            .map(|_| {
                let mut ecn = Ecn::Capable;
                port.enqueue(Time::ZERO, size, &mut ecn).map(|_| ecn)
            })
            .collect();
        let (capable, marked) = (Ok(Ecn::Capable), Ok(Ecn::CongestionExperienced));
        assert_eq!(marks, [capable, capable, marked, Err(Full)]);
    }

    #[test]
    fn a_slowed_link_takes_proportionally_longer() {
        let mut port = Port::new(SPEC);
        port.slow_down(Time::ZERO, 10);
        let arrival = port.enqueue(Time::ZERO, 1_000 - OVERHEAD, &mut Ecn::NotCapable);
        assert_eq!(arrival, Ok(Time::from_nanos(10_500)));
        assert_eq!(port.backlog(Time::ZERO), 1_000);
    }
}
