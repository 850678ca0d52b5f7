//! Many endpoints send to one at the same time (incast); every message arrives once.
//!
//! `cargo run --release -p elastane-fabric --example many_to_one -- [SENDERS] [BYTES]`

use std::{net::SocketAddr, time::Duration};

use elastane_fabric::{Buffer, Bytes, Event, Options, RdmEndpoint, TagMatch};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let senders: usize = arguments.next().map_or(Ok(16), |n| n.parse())?;
    let bytes: usize = arguments.next().map_or(Ok(1 << 20), |n| n.parse())?;

    let here: SocketAddr = "127.0.0.1:0".parse()?;
    let mut sink = RdmEndpoint::open(&Options::listen(here))?;
    let mut sources = Vec::new();
    for n in 0..senders {
        let mut source = RdmEndpoint::open(&Options::listen(here))?;
        let peer = source.peer(sink.address())?;
        let message = Bytes::from(vec![u8::try_from(n % 256)?; bytes]);
        source.send(peer, message, 0)?;
        sources.push(source);
        sink.receive(Buffer::zeroed(bytes), None, TagMatch::Untagged, 0)?;
    }

    let clock = sink.clock();
    let began = clock.now();
    let mut arrived = 0;
    // The sink goes on until every sender has heard that its message arrived.
    while sources.iter().any(|source| source.outstanding() > 0) {
        for source in &mut sources {
            if let Some(completion) = source.poll()? {
                completion.result?;
            }
        }
        if let Some(completion) = sink.poll()? {
            completion.result?;
            let Event::Received { buffer, .. } = completion.event else { continue };
            assert!(buffer.as_slice().iter().all(|byte| *byte == buffer.as_slice()[0]));
            arrived += 1;
        }
    }
    assert_eq!(arrived, senders);
    println!("{senders} messages of {bytes} bytes in {:?}", clock.now().since(began));
    for source in sources {
        source.close(Duration::from_secs(1))?;
    }
    Ok(())
}
