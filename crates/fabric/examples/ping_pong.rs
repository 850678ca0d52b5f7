//! Two endpoints on this machine, one message back and forth: the latency a program sees.
//!
//! `cargo run --release -p elastane-fabric --example ping_pong -- [ROUNDS] [BYTES]`

use std::{net::SocketAddr, thread, time::Duration};

use elastane_fabric::{Buffer, Bytes, Event, Options, PeerId, RdmEndpoint, TagMatch};

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let rounds: u32 = arguments.next().map_or(Ok(10_000), |n| n.parse())?;
    let bytes: usize = arguments.next().map_or(Ok(64), |n| n.parse())?;

    let here: SocketAddr = "127.0.0.1:0".parse()?;
    let mut near = RdmEndpoint::open(&Options::listen(here))?;
    let mut far = RdmEndpoint::open(&Options::listen(here))?;
    let near_address = near.address();
    let peer = near.peer(far.address())?;
    let echo = thread::spawn(move || -> Result<(), Failure> {
        let back = far.peer(near_address)?;
        for _ in 0..rounds {
            let message = receive(&mut far, back, bytes)?;
            far.send(back, message, 0)?;
        }
        Ok(far.close(Duration::from_secs(1))?)
    });

    let clock = near.clock();
    let began = clock.now();
    let message = Bytes::from(vec![7; bytes]);
    for _ in 0..rounds {
        near.send(peer, message.clone(), 0)?;
        assert_eq!(receive(&mut near, peer, bytes)?, message);
    }
    let took = clock.now().since(began);
    println!("{bytes} bytes, {rounds} rounds: {:?} one way", took / rounds / 2);
    near.close(Duration::from_secs(1))?;
    echo.join().map_err(|_| "the other thread panicked")?
}

/// The next message from `peer`.
fn receive(endpoint: &mut RdmEndpoint, peer: PeerId, bytes: usize) -> Result<Bytes, Failure> {
    endpoint.receive(Buffer::zeroed(bytes), Some(peer), TagMatch::Untagged, 0)?;
    loop {
        let completion = endpoint.wait(Some(Duration::from_secs(10)))?.ok_or("nothing came")?;
        completion.result?;
        if let Event::Received { buffer, .. } = completion.event {
            return Ok(buffer.into_vec().into());
        }
    }
}
