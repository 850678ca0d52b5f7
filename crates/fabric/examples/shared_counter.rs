//! Two endpoints count in one word of the other's memory, write into it and read it back.
//!
//! `cargo run --release -p elastane-fabric --example shared_counter -- [COUNTS]`

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use elastane_fabric::{
    Access, Atomic, AtomicRequest, Buffer, Bytes, Completion, Datatype, Event, Operator, Options,
    RdmEndpoint, Region, RemotePlace,
};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const COUNT: Atomic = Atomic { operator: Operator::Sum, datatype: Datatype::U64 };
const TEXT: &[u8] = b"written from afar";

fn main() -> Result<(), Failure> {
    let counts: u64 = std::env::args().nth(1).map_or(Ok(10_000), |n| n.parse())?;
    let here: SocketAddr = "127.0.0.1:0".parse()?;
    let mut near = RdmEndpoint::open(&Options::listen(here))?;
    let mut far = RdmEndpoint::open(&Options::listen(here))?;

    let memory = Region::zeroed(64);
    let key = far.register(memory.clone(), Access::ALL);
    let peer = near.peer(far.address())?;
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let target = scope.spawn(|| -> Result<(), Failure> {
            while !over.load(Ordering::Relaxed) {
                far.progress()?;
            }
            Ok(())
        });
        let worked = work(&mut near, peer, RemotePlace { key, offset: 0 }, counts);
        over.store(true, Ordering::Relaxed);
        target.join().map_err(|_| "the other thread panicked")??;
        worked
    })?;

    let mut old = Vec::new();
    memory.atomic(0, COUNT, 1, &1_u64.to_le_bytes(), &mut old)?;
    assert_eq!(old, counts.to_le_bytes(), "every count arrived once");
    near.close(Duration::from_secs(1))?;
    Ok(())
}

fn work(
    near: &mut RdmEndpoint,
    peer: elastane_fabric::PeerId,
    place: RemotePlace,
    counts: u64,
) -> Result<(), Failure> {
    let clock = near.clock();
    let began = clock.now();
    for _ in 0..counts {
        let request = AtomicRequest {
            atomic: COUNT,
            place,
            count: 1,
            operands: Bytes::copy_from_slice(&1_u64.to_le_bytes()),
            fetch: true,
            context: 0,
            complete: true,
        };
        near.atomic(peer, request)?;
        next(near)?;
    }
    println!(
        "{counts} counts, one after another: {:?} each",
        clock.now().since(began) / u32::try_from(counts.max(1))?
    );

    let text = RemotePlace { offset: place.offset + 8, ..place };
    near.write(peer, text, Bytes::from_static(TEXT), 0)?;
    next(near)?;
    near.read(peer, text, Buffer::zeroed(TEXT.len()), 0)?;
    let Event::Read { buffer } = next(near)?.event else { return Err("not a read".into()) };
    assert_eq!(buffer.as_slice(), TEXT);
    println!("wrote and read back {} bytes", TEXT.len());
    Ok(())
}

/// The next completion, which must be a success.
fn next(endpoint: &mut RdmEndpoint) -> Result<Completion, Failure> {
    let completion = endpoint.wait(Some(Duration::from_secs(10)))?.ok_or("nothing came")?;
    completion.result?;
    Ok(completion)
}
