//! Memory that known peers take while they are idle: an endpoint's resident memory before and
//! after it is told of so many addresses.
//!
//! `cargo run --release -p elastane-fabric --example idle_peers -- PEERS FILE`

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
};

use elastane_fabric::{Options, RdmEndpoint};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let (Some(peers), Some(file)) = (arguments.next(), arguments.next()) else {
        return Err("usage: idle_peers PEERS FILE".into());
    };
    let peers: u32 = peers.parse()?;
    if peers == 0 {
        return Err("at least one peer is needed to measure what one takes".into());
    }

    let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut endpoint = RdmEndpoint::open(&Options::listen(here))?;
    let before = resident_bytes()?;
    for n in 0..peers {
        // Within 127.0.0.0/8, so that every address has a route on any machine.
        let address = Ipv4Addr::from_bits(Ipv4Addr::LOCALHOST.to_bits() + n / 50_000);
        let port = u16::try_from(1 + n % 50_000)?;
        endpoint.peer(SocketAddr::from((address, port)))?;
    }
    let after = resident_bytes()?;

    let bytes_per_peer = after.saturating_sub(before) / u64::from(peers);
    println!("{peers} idle peers: {bytes_per_peer} bytes each");
    fs::write(&file, format!("{{\"bytes_per_peer\": {bytes_per_peer}}}\n"))?;
    Ok(())
}

/// Memory of this process that is in RAM.
fn resident_bytes() -> Result<u64, Failure> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next());
    Ok(kibibytes.ok_or("/proc/self/status has no VmRSS")?.parse::<u64>()? * 1024)
}
