//! Limits of single flows, in front of an instance's link.
//!
//! A hierarchical token bucket whose leaves are the flows: the packet filter hashes what tells
//! flows apart and puts each packet into one of [`FLOW_CLASSES`] classes by its priority. Two
//! flows may share a class, as two may share a path of a real network.

use netlink_packet_core::DefaultNla;
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage, TcOption};

use crate::{error::HostsError, netlink::Netlink, quantity::Rate};

/// How many classes of either kind there are.
pub const FLOW_CLASSES: u32 = 64;
/// The first class for flows of [`FlowLimits::near`], as a packet's priority.
pub const NEAR_CLASS: u32 = HANDLE | 0x100;
/// The first class for flows of [`FlowLimits::far`], as a packet's priority.
pub const FAR_CLASS: u32 = HANDLE | 0x200;

/// What one flow towards an instance may carry, and all together. The packet filter says which
/// packets are of which kind, by their priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowLimits {
    /// All flows, in either direction.
    pub card: Rate,
    /// One flow of the near kind.
    pub near: Rate,
    /// One flow of the other kind.
    pub far: Rate,
}

/// `1:`, the discipline in front of the device.
const HANDLE: u32 = 0x1_0000;
/// The class above all others, which holds what all may carry together.
const CARD: u32 = HANDLE | 1;
/// The packets that wait in each class: a train of packets counts as one.
pub(super) const QUEUE: u32 = 128;
/// The bytes that may leave at once: the largest train with its headers, as for `tbf`.
const BURST: u64 = 80_000;
/// The bytes a class may send before its neighbours' turn comes.
const QUANTUM: u32 = 80_000;
/// What the kernel counts time in here, in nanoseconds.
const TICK: u64 = 64;

/// `TCA_HTB_PARMS`: a `struct tc_htb_opt`.
const TCA_HTB_PARMS: u16 = 1;
/// `TCA_HTB_INIT`: a `struct tc_htb_glob`.
const TCA_HTB_INIT: u16 = 2;
/// `TCA_HTB_RATE64`, `TCA_HTB_CEIL64`: rates that do not fit the parameters' 32 bits.
const TCA_HTB_RATE64: u16 = 6;
const TCA_HTB_CEIL64: u16 = 7;
/// `TC_LINKLAYER_ETHERNET`; left unset, the kernel would ask for a table of transmission times.
const TC_LINKLAYER_ETHERNET: u8 = 1;
/// `HTB_VER`'s major number and the default of `r2q`, which the quanta make unused.
const HTB_VERSION: u32 = 3;
const RATE_TO_QUANTUM: u32 = 10;

/// Limits what leaves `device`, towards an instance.
pub(super) fn limit(
    netlink: &mut Netlink,
    device: u32,
    limits: FlowLimits,
) -> Result<(), HostsError> {
    netlink.set_qdisc(discipline(device))?;
    netlink.add_class(class(device, HANDLE, CARD, limits.card, limits.card))?;
    for (first, flow) in [(NEAR_CLASS, limits.near), (FAR_CLASS, limits.far)] {
        for number in 0..FLOW_CLASSES {
            // What is its own in any case: the rest it borrows.
            let share = Rate::bits_per_second(limits.card.as_bits_per_second() / 1024);
            netlink.add_class(class(device, CARD, first + number, share.min(flow), flow))?;
        }
    }
    Ok(())
}

fn discipline(device: u32) -> TcMessage {
    let mut message = message(device, TcHandle::ROOT);
    message.header.handle = TcHandle::from(HANDLE);
    // What has no priority of ours, for instance no ports, shares a class.
    let fields = [HTB_VERSION, RATE_TO_QUANTUM, FAR_CLASS & 0xffff, 0, 0];
    let init = fields.into_iter().flat_map(u32::to_ne_bytes).collect();
    with(message, vec![option(TCA_HTB_INIT, init)])
}

fn class(device: u32, parent: u32, class: u32, rate: Rate, ceiling: Rate) -> TcMessage {
    let mut message = message(device, TcHandle::from(parent));
    message.header.handle = TcHandle::from(class);
    let (rate, ceiling) = (rate.as_bytes_per_second(), ceiling.as_bytes_per_second());
    let mut options = vec![option(TCA_HTB_PARMS, parameters(rate, ceiling))];
    for (kind, rate) in [(TCA_HTB_RATE64, rate), (TCA_HTB_CEIL64, ceiling)] {
        if u32::try_from(rate).is_err() {
            options.push(option(kind, rate.to_ne_bytes().to_vec()));
        }
    }
    with(message, options)
}

/// `struct tc_htb_opt`: two `struct tc_ratespec` (rate, ceiling), then as `u32` the time the
/// burst takes at either, the quantum, the level and the priority.
fn parameters(rate: u64, ceiling: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(44);
    for rate in [rate, ceiling] {
        let [a, b, c, d] = u32::try_from(rate).unwrap_or(u32::MAX).to_ne_bytes();
        bytes.extend([0, TC_LINKLAYER_ETHERNET, 0, 0, 0, 0, 0, 0, a, b, c, d]);
    }
    for field in [burst_time(rate), burst_time(ceiling), QUANTUM, 0, 0] {
        bytes.extend(field.to_ne_bytes());
    }
    bytes
}

/// How long the burst takes at a rate in bytes per second, in ticks.
fn burst_time(rate: u64) -> u32 {
    let nanoseconds = BURST * 1_000_000_000 / rate.max(1);
    u32::try_from(nanoseconds / TICK).unwrap_or(u32::MAX)
}

fn message(device: u32, parent: TcHandle) -> TcMessage {
    let mut message = TcMessage::with_index(device.cast_signed());
    message.header.parent = parent;
    message
}

fn with(mut message: TcMessage, options: Vec<TcOption>) -> TcMessage {
    message.attributes = vec![TcAttribute::Kind("htb".to_owned()), TcAttribute::Options(options)];
    message
}

fn option(kind: u16, value: Vec<u8>) -> TcOption {
    TcOption::Other(DefaultNla::new(kind, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_have_the_size_of_tc_htb_opt() {
        assert_eq!(parameters(1, 2).len(), 44);
    }

    #[test]
    fn a_burst_at_a_gigabit_takes_640_microseconds() {
        assert_eq!(u64::from(burst_time(125_000_000)) * TICK, 640_000);
    }
}
