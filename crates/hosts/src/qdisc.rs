//! Queueing disciplines: what a device does with packets before it sends them.
//!
//! The netlink crates have no types for these two, so the attributes of `tbf` are laid out here
//! as `linux/pkt_sched.h` defines them.

use netlink_packet_core::DefaultNla;
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage, TcOption};

use crate::plan::Shaping;

/// The bytes that may leave a shaped device at once. It must hold the largest train (64 KiB and a
/// set of headers for each of its packets), because `tbf` takes a longer one apart.
const BURST: u32 = 80_000;

/// The smallest queue with which a train can pass.
pub(crate) const LEAST_QUEUE: u32 = BURST;

/// `TCA_TBF_PARMS`: a `struct tc_tbf_qopt`.
const TCA_TBF_PARMS: u16 = 1;
/// `TCA_TBF_RATE64`: the rate, where it does not fit the parameters' 32 bits.
const TCA_TBF_RATE64: u16 = 4;
/// `TCA_TBF_BURST`: the burst in bytes; without it, it would be a time in scheduler ticks.
const TCA_TBF_BURST: u16 = 6;
/// `TC_LINKLAYER_ETHERNET`; left unset, the kernel would ask for a table of transmission times.
const TC_LINKLAYER_ETHERNET: u8 = 1;

/// A token bucket filter in front of `device`: sends at a rate, queues up to a limit, then drops.
pub(crate) fn token_bucket(device: u32, shaping: Shaping) -> TcMessage {
    let rate = shaping.rate.as_bytes_per_second();
    let mut options = vec![
        option(TCA_TBF_PARMS, tbf_parameters(rate, shaping.queue)),
        option(TCA_TBF_BURST, BURST.to_ne_bytes().to_vec()),
    ];
    if u32::try_from(rate).is_err() {
        options.push(option(TCA_TBF_RATE64, rate.to_ne_bytes().to_vec()));
    }
    root(device, "tbf", Some(options))
}

/// Takes every packet and sends none, without an error to the sender.
pub(crate) fn blackhole(device: u32) -> TcMessage {
    root(device, "blackhole", None)
}

/// What stands in front of `device` now, whatever it is; to be deleted.
pub(crate) fn any(device: u32) -> TcMessage {
    let mut message = root(device, "", None);
    message.attributes.clear();
    message
}

/// `struct tc_tbf_qopt`: two `struct tc_ratespec` (rate, peak rate), then the queue's limit, the
/// burst and the peak rate's burst as `u32`.
fn tbf_parameters(rate: u64, queue: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(36);
    bytes
        .extend(rate_specification(TC_LINKLAYER_ETHERNET, u32::try_from(rate).unwrap_or(u32::MAX)));
    bytes.extend(rate_specification(0, 0));
    for field in [queue, 0, 0] {
        bytes.extend(field.to_ne_bytes());
    }
    bytes
}

/// `struct tc_ratespec`: `cell_log` and `linklayer` as `u8`, `overhead`, `cell_align` and `mpu` as
/// 16 bits, `rate` in bytes per second as `u32`.
fn rate_specification(linklayer: u8, rate: u32) -> [u8; 12] {
    let [a, b, c, d] = rate.to_ne_bytes();
    [0, linklayer, 0, 0, 0, 0, 0, 0, a, b, c, d]
}

fn root(device: u32, kind: &str, options: Option<Vec<TcOption>>) -> TcMessage {
    let mut message = TcMessage::with_index(device.cast_signed());
    message.header.parent = TcHandle::ROOT;
    message.attributes.push(TcAttribute::Kind(kind.to_owned()));
    message.attributes.extend(options.map(TcAttribute::Options));
    message
}

fn option(kind: u16, value: Vec<u8>) -> TcOption {
    TcOption::Other(DefaultNla::new(kind, value))
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::Nla;

    use super::*;
    use crate::{plan::Bottleneck, quantity::Rate};

    fn kinds(rate: Rate) -> Vec<u16> {
        let shaping = Shaping { rate, queue: LEAST_QUEUE, bottleneck: Bottleneck::Sender };
        let message = token_bucket(7, shaping);
        let [_, TcAttribute::Options(options)] = &message.attributes[..] else {
            panic!("a kind and its options: {message:?}");
        };
        options.iter().map(Nla::kind).collect()
    }

    #[test]
    fn parameters_have_the_size_of_tc_tbf_qopt() {
        assert_eq!(tbf_parameters(1, 2).len(), 36);
    }

    #[test]
    fn a_rate_beyond_32_bits_is_sent_in_64() {
        assert_eq!(kinds(Rate::gigabits(1)), [TCA_TBF_PARMS, TCA_TBF_BURST]);
        assert_eq!(kinds(Rate::gigabits(40)), [TCA_TBF_PARMS, TCA_TBF_BURST, TCA_TBF_RATE64]);
    }
}
