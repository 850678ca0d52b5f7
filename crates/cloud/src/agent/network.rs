//! Addresses that lead nowhere yet.

use std::{fs, net::Ipv4Addr, os::unix::ffi::OsStrExt as _, path::Path};

use ipnet::Ipv4Net;

/// The network of a cloud whose state is in the usual place, if it is free.
const USUAL: u32 = 77;
/// Networks to choose from: `10.N.0.0/16` with N from here, and how many.
const FIRST: u32 = 64;
const COUNT: u32 = 64;
/// The usual place of a cloud's state.
pub const USUAL_DIRECTORY: &str = "/var/lib/elastane/cloud";

/// Networks for the cloud of a state directory, the best first. Directories begin with different
/// ones, so that clouds rarely want the same.
pub(super) fn candidates(directory: &Path) -> Vec<Ipv4Net> {
    let begin = match directory == Path::new(USUAL_DIRECTORY) {
        true => USUAL - FIRST,
        false => number_of(directory) % COUNT,
    };
    let numbers = (0..COUNT).map(|step| FIRST + (begin + step) % COUNT);
    numbers
        .map(|number| Ipv4Net::new_assert(Ipv4Addr::from_bits(10 << 24 | number << 16), 16))
        .collect()
}

/// A number that tells a directory from others: its path's FNV-1a hash.
pub(super) fn number_of(directory: &Path) -> u32 {
    let bytes = directory.as_os_str().as_bytes().iter();
    bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// Whether this machine leads packets for some of these addresses to a network it knows of.
pub(super) fn leads_elsewhere(network: Ipv4Net) -> bool {
    // Where there is no such file, the kernel decides when the route is added.
    let table = fs::read_to_string("/proc/net/route").unwrap_or_default();
    table.lines().filter_map(destination).any(|known| overlap(known, network))
}

fn overlap(one: Ipv4Net, other: Ipv4Net) -> bool {
    // A route to everywhere is that of what leads nowhere else.
    one.prefix_len() > 0 && (one.contains(&other.network()) || other.contains(&one.network()))
}

/// The network of a line of `/proc/net/route`, whose numbers are in hexadecimal and in the byte
/// order of memory.
fn destination(line: &str) -> Option<Ipv4Net> {
    let mut fields = line.split_whitespace();
    let address =
        |text: &str| Some(Ipv4Addr::from(u32::from_str_radix(text, 16).ok()?.to_ne_bytes()));
    let network = address(fields.nth(1)?)?;
    let mask = address(fields.nth(5)?)?;
    Ipv4Net::with_netmask(network, mask).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn route_is_read_and_its_network_is_taken() {
        let line = "eth0\t0000400A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0";
        let known = destination(line).unwrap();
        assert_eq!(known.to_string(), "10.64.0.0/16");
        assert!(overlap(known, "10.64.0.0/16".parse().unwrap()));
        assert!(overlap("10.0.0.0/8".parse().unwrap(), "10.77.0.0/16".parse().unwrap()));
        assert!(!overlap(known, "10.77.0.0/16".parse().unwrap()));
        assert!(!overlap("0.0.0.0/0".parse().unwrap(), "10.77.0.0/16".parse().unwrap()));
        assert_eq!(destination("Iface\tDestination\tGateway \tFlags"), None);
    }

    #[test]
    fn candidates_begin_with_the_usual_one_and_hold_each_once() {
        let mut networks = candidates(Path::new(USUAL_DIRECTORY));
        assert_eq!(networks[0].to_string(), "10.77.0.0/16");
        networks.sort_unstable();
        networks.dedup();
        assert_eq!(networks.len(), 64);
    }
}
