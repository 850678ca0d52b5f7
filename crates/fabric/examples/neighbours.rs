//! Two processes on this machine: what a message costs through shared memory, over UDP and over
//! TCP, and how long a receiver waits for a sender that computes. `rings` is shared memory without
//! copies out of the sender's memory.
//!
//! `cargo run --release -p elastane-fabric --example neighbours -- [ROUNDS] [BYTES]`

use std::{
    env,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Command, Stdio},
    time::Duration,
};

use elastane_fabric::{
    Buffer, Bytes, Clock, Completion, CrossMemory, Event, Options, PeerId, RdmEndpoint,
    SharedMemory, TagMatch,
};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Round trips before the clock starts.
const WARM_UP: u32 = 2_000;
/// Messages on their way at any time while the rate is measured, and their bytes together: more
/// would measure the machine's memory.
const DEPTH: usize = 64;
const DEPTH_BYTES: usize = 8 << 20;
/// How often a message is awaited of a sender that computes once it has posted it, and how long.
const BUSY_ROUNDS: u32 = 100;
const BUSY: Duration = Duration::from_millis(2);

fn main() -> Result<(), Failure> {
    let mut arguments = env::args().skip(1).peekable();
    if arguments.peek().is_some_and(|argument| argument == "echo") {
        let mut word = || arguments.next().ok_or("an argument is missing");
        word()?;
        let way = word()?;
        let near: SocketAddr = word()?.parse()?;
        let (rounds, bytes) = (word()?.parse()?, word()?.parse()?);
        return if way == "tcp" {
            tcp_echo(near, rounds, bytes)
        } else {
            echo(&way, near, rounds, bytes)
        };
    }
    let rounds: u32 = arguments.next().map_or(Ok(100_000), |n| n.parse())?;
    let bytes: usize = arguments.next().map_or(Ok(8), |n| n.parse())?;
    for way in ["shm", "rings", "udp"] {
        measure(way, rounds, bytes)?;
    }
    measure_tcp(rounds, bytes)
}

fn open(way: &str) -> Result<RdmEndpoint, Failure> {
    let shared_memory = if way == "udp" { SharedMemory::Never } else { SharedMemory::Automatic };
    let cross_memory = if way == "shm" { CrossMemory::Declared } else { CrossMemory::Never };
    let options = Options::listen("127.0.0.1:0".parse()?);
    Ok(RdmEndpoint::open(&Options { shared_memory, cross_memory, ..options })?)
}

fn start_echo(
    way: &str,
    near: SocketAddr,
    rounds: u32,
    bytes: usize,
) -> Result<std::process::Child, Failure> {
    let words = [near.to_string(), rounds.to_string(), bytes.to_string()];
    Ok(Command::new(env::current_exe()?)
        .args(["echo", way])
        .args(words)
        .stdin(Stdio::null())
        .spawn()?)
}

fn measure(way: &str, rounds: u32, bytes: usize) -> Result<(), Failure> {
    let mut near = open(way)?;
    let mut other = start_echo(way, near.address(), rounds, bytes)?;
    let clock = near.clock();
    let message = Bytes::from(vec![7; bytes]);
    // The other process begins, so that this one knows where it is.
    let (peer, _) = receive(&mut near, bytes)?;
    for _ in 0..WARM_UP {
        near.send(peer, message.clone(), 0)?;
        receive(&mut near, bytes)?;
    }
    let mut trips = Vec::new();
    let began = clock.now();
    let mut at = began;
    for _ in 0..rounds {
        near.send(peer, message.clone(), 0)?;
        receive(&mut near, bytes)?;
        let now = clock.now();
        trips.push(now.since(at));
        at = now;
    }
    report(way, "latency", bytes, &mut trips);
    println!("{way}: {:?}", near.route(peer));
    let mut waits = Vec::new();
    for _ in 0..BUSY_ROUNDS {
        receive(&mut near, bytes)?;
        let told = clock.now();
        receive(&mut near, bytes)?;
        // `report` halves what it gets.
        waits.push(clock.now().since(told) * 2);
    }
    report(way, "latency from a sender that then computes for 2 ms", bytes, &mut waits);
    if let Some(copies) = near.copies_from(peer) {
        let copied = near.message_counters().copied_bytes;
        println!("{way}: {copies}; {copied} bytes were");
    }

    let began = clock.now();
    let mut waiting = 0;
    for _ in 0..rounds {
        near.send(peer, message.clone(), 0)?;
        waiting += 1;
        while waiting >= depth(bytes) {
            let completion = wait(&mut near)?;
            waiting -= usize::from(matches!(completion.event, Event::Sent));
        }
    }
    receive(&mut near, bytes)?;
    rate(way, rounds, bytes, clock.now().since(began));
    near.close(Duration::from_secs(1))?;
    other.wait()?;
    Ok(())
}

fn echo(way: &str, near: SocketAddr, rounds: u32, bytes: usize) -> Result<(), Failure> {
    let mut far = open(way)?;
    let peer = far.peer(near)?;
    let message = Bytes::from(vec![7; bytes]);
    far.send(peer, message.clone(), 0)?;
    for _ in 0..rounds + WARM_UP {
        receive(&mut far, bytes)?;
        far.send(peer, message.clone(), 0)?;
    }
    let clock = far.clock();
    for _ in 0..BUSY_ROUNDS {
        far.send(peer, "!".into(), 0)?;
        far.send(peer, message.clone(), 0)?;
        let posted = clock.now();
        while clock.now().since(posted) < BUSY {
            std::hint::spin_loop();
        }
        // Waiting lets a receiver have the processor that has only this one.
        while far.outstanding() > 0 {
            wait(&mut far)?;
        }
    }
    for _ in 0..2 * depth(bytes) {
        far.receive(Buffer::zeroed(bytes), None, TagMatch::Untagged, 0)?;
    }
    let mut left = rounds;
    while left > 0 {
        if let Event::Received { buffer, .. } = wait(&mut far)?.event {
            left -= 1;
            far.receive(buffer, None, TagMatch::Untagged, 0)?;
        }
    }
    far.send(peer, message, 0)?;
    Ok(far.close(Duration::from_secs(1))?)
}

fn depth(bytes: usize) -> usize {
    (DEPTH_BYTES / bytes.max(1)).clamp(1, DEPTH)
}

fn wait(endpoint: &mut RdmEndpoint) -> Result<Completion, Failure> {
    let completion = endpoint.wait(Some(Duration::from_secs(10)))?.ok_or("nothing came")?;
    completion.result?;
    Ok(completion)
}

/// The next message and who sent it.
fn receive(endpoint: &mut RdmEndpoint, bytes: usize) -> Result<(PeerId, Buffer), Failure> {
    endpoint.receive(Buffer::zeroed(bytes), None, TagMatch::Untagged, 0)?;
    loop {
        let completion = wait(endpoint)?;
        if let Event::Received { buffer, .. } = completion.event {
            return Ok((completion.peer.ok_or("a message from nobody")?, buffer));
        }
    }
}

fn measure_tcp(rounds: u32, bytes: usize) -> Result<(), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut other = start_echo("tcp", listener.local_addr()?, rounds, bytes)?;
    let (mut near, _) = listener.accept()?;
    near.set_nodelay(true)?;
    let clock = Clock::start();
    let mut message = vec![7; bytes];
    let mut trips = Vec::new();
    for round in 0..rounds + WARM_UP {
        let at = clock.now();
        near.write_all(&message)?;
        near.read_exact(&mut message)?;
        if round >= WARM_UP {
            trips.push(clock.now().since(at));
        }
    }
    report("tcp", "latency", bytes, &mut trips);
    let began = clock.now();
    for _ in 0..rounds {
        near.write_all(&message)?;
    }
    near.read_exact(&mut message)?;
    rate("tcp", rounds, bytes, clock.now().since(began));
    other.wait()?;
    Ok(())
}

fn tcp_echo(near: SocketAddr, rounds: u32, bytes: usize) -> Result<(), Failure> {
    let mut far = TcpStream::connect(near)?;
    far.set_nodelay(true)?;
    let mut message = vec![0; bytes];
    for _ in 0..rounds + WARM_UP {
        far.read_exact(&mut message)?;
        far.write_all(&message)?;
    }
    for _ in 0..rounds {
        far.read_exact(&mut message)?;
    }
    Ok(far.write_all(&message)?)
}

fn report(way: &str, what: &str, bytes: usize, trips: &mut [Duration]) {
    trips.sort_unstable();
    let half = |part: usize| trips[trips.len() * part / 100] / 2;
    println!(
        "{way}: {what} of {bytes} bytes one way: {:?} median, {:?} p10, {:?} p99",
        half(50),
        half(10),
        half(99)
    );
}

fn rate(way: &str, rounds: u32, bytes: usize, took: Duration) {
    let rate = f64::from(rounds) / took.as_secs_f64() / 1e6;
    #[expect(clippy::cast_precision_loss, reason = "sizes are small")]
    let bandwidth = rate * 1e6 * bytes as f64 / 1e9;
    println!("{way}: {bytes} bytes: {rate:.3} M messages/s, {bandwidth:.2} GB/s");
}
