//! One endpoint streams large messages to another on this machine.
//!
//! `cargo run --release -p elastane-fabric --example bulk -- [MESSAGES] [BYTES]`

use std::{net::SocketAddr, thread, time::Duration};

use elastane_fabric::{Buffer, Bytes, Event, Options, RdmEndpoint, TagMatch};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Messages on their way, and receives posted, at any time.
const DEPTH: usize = 8;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let messages: usize = arguments.next().map_or(Ok(2_000), |n| n.parse())?;
    let bytes: usize = arguments.next().map_or(Ok(1 << 20), |n| n.parse())?;

    let here: SocketAddr = "127.0.0.1:0".parse()?;
    let mut source = RdmEndpoint::open(&Options::listen(here))?;
    let mut sink = RdmEndpoint::open(&Options::listen(here))?;
    let peer = source.peer(sink.address())?;
    let receiver = thread::spawn(move || -> Result<(), Failure> {
        for _ in 0..DEPTH {
            sink.receive(Buffer::zeroed(bytes), None, TagMatch::Untagged, 0)?;
        }
        for _ in 0..messages {
            let completion = sink.wait(Some(Duration::from_secs(10)))?.ok_or("nothing came")?;
            completion.result?;
            if let Event::Received { buffer, .. } = completion.event {
                sink.receive(buffer, None, TagMatch::Untagged, 0)?;
            }
        }
        println!("receiver: {:?}", sink.transport().counters());
        Ok(sink.close(Duration::from_secs(1))?)
    });

    let clock = source.clock();
    let began = clock.now();
    let message = Bytes::from(vec![7; bytes]);
    for n in 0..messages {
        source.send(peer, message.clone(), 0)?;
        if n >= DEPTH {
            source.wait(Some(Duration::from_secs(10)))?.ok_or("no acknowledgement")?.result?;
        }
    }
    source.close(Duration::from_secs(10))?;
    let took = clock.now().since(began);
    let rate = (messages * bytes) as f64 / took.as_secs_f64();
    receiver.join().map_err(|_| "the other thread panicked")??;
    println!("{messages} messages of {bytes} bytes: {:.2} GB/s", rate / 1e9);
    Ok(())
}
