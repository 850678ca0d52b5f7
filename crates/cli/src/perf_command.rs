//! `elastane perf`: one operation's bandwidth or latency.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::{Args, ColorChoice, ValueEnum};
use perf::{
    ServeError,
    bench::{
        AtomicKind, BenchError, Document, Goal, Length, Listener, Local, Pace, Pair, Rate, Setup,
        Verb, Waiting, Wire, table,
    },
};

use crate::{
    Verdict,
    address::HostPort,
    output::{self, Destination},
    quantity,
};

/// perftest's.
pub(crate) const DEFAULT_PORT: u16 = 18515;
/// The largest message in bytes.
const LARGEST: usize = 1 << 30;
/// Round trips before the first that is measured: the first ones meet a peer that is not known.
const WARM_UP: u64 = 100;
/// What perftest measures with `-a`.
pub(crate) const ALL_SIZES: std::ops::RangeInclusive<u32> = 1..=23;

/// Measure one operation's bandwidth or latency between two processes.
///
/// Without HOST this side waits, with HOST it connects. Both must be given the same test. The
/// server listens on loopback unless told otherwise: whoever can connect can make this machine send
/// and receive.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  elastane perf send-bw --listen 192.0.2.7          # on one host
  elastane perf send-bw 192.0.2.7                   # on the other
  elastane perf send-lat 192.0.2.7 -s 64 -n 100000  # with the same -s and -n there
  elastane perf send-bw 192.0.2.7 --tcp -a --csv
  elastane perf write-lat 192.0.2.7 --provider efa  # of libfabric; --provider there, too
  elastane perf send-lat 192.0.2.7 --cpu 2          # bound to CPU 2; --cpu there, too

Exit status: 0 measured; 2 not measured.")]
pub(crate) struct PerfArgs {
    /// The test.
    #[arg(value_name = "TEST")]
    test: Test,

    /// The host that waits (port 18515 unless given).
    #[arg(value_name = "HOST[:PORT]", value_parser = host, conflicts_with = "listen")]
    peer: Option<HostPort>,

    /// Wait at this address (port 18515 unless given; 0 takes any that is free).
    #[arg(long, value_name = "ADDRESS[:PORT]", value_parser = host, default_value = "127.0.0.1")]
    listen: HostPort,

    /// Bytes of a message, for example 64, 4K or 1MiB; a row for each. 64 KiB for bandwidth, 2 for
    /// latency, 8 for atomics unless given.
    #[arg(short, long, value_name = "BYTES", value_delimiter = ',',
          value_parser = quantity::message_size)]
    size: Vec<usize>,

    /// All sizes from 2 bytes to 8 MiB that are a power of two.
    #[arg(short, long, conflicts_with = "size")]
    all: bool,

    /// Operations on each endpoint: 1000 unless given, for write-bw 5000.
    #[arg(short = 'n', long, value_name = "NUMBER", conflicts_with = "duration",
          value_parser = clap::value_parser!(u64).range(5..=100_000_000))]
    iterations: Option<u64>,

    /// Run each size for so many seconds, and measure without the first and the last quarter.
    #[arg(short = 'D', long, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    duration: Option<u64>,

    /// Endpoints on each side, each with one on the other.
    #[arg(short = 'q', long, value_name = "NUMBER", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    endpoints: u16,

    /// Both sides send.
    #[arg(short, long)]
    bidirectional: bool,

    /// The server sends to the client.
    #[arg(long, conflicts_with = "bidirectional")]
    reversed: bool,

    /// Operations on their way at any time on each endpoint.
    #[arg(short, long, value_name = "NUMBER", default_value_t = 128,
          value_parser = clap::value_parser!(u64).range(1..=15_000))]
    tx_depth: u64,

    /// Receives posted at any time on each endpoint.
    #[arg(short, long, value_name = "NUMBER", default_value_t = 512,
          value_parser = clap::value_parser!(u64).range(1..=16_384))]
    rx_depth: u64,

    /// Operations posted together.
    #[arg(short = 'l', long, value_name = "NUMBER", default_value_t = 1,
          value_parser = clap::value_parser!(u64).range(1..))]
    post_list: u64,

    /// Sleep while nothing is there instead of asking again and again.
    #[arg(short, long)]
    events: bool,

    /// Measure the kernel's TCP instead of the fabric.
    #[arg(long)]
    tcp: bool,

    /// Measure a provider of libfabric's instead: a name of `fi_info -l`, for example tcp, shm or
    /// efa. Both sides need libfabric, which is loaded when this is given.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["tcp", "unreliable"])]
    provider: Option<String>,

    /// Measure unreliable datagrams: messages of one packet, of which some may be lost.
    #[arg(long, conflicts_with_all = ["tcp", "events"])]
    unreliable: bool,

    /// Writes and sends carry data for the completion on the other side.
    #[arg(long, conflicts_with_all = ["tcp", "unreliable"])]
    remote_data: bool,

    /// Post no more than so many bits per second of messages, for example 500M; bandwidth only.
    #[arg(long, value_name = "RATE", value_parser = quantity::rate)]
    rate: Option<u64>,

    /// Bind this side to this CPU; `taskset` does the same.
    #[arg(long, value_name = "NUMBER", value_parser = quantity::cpu)]
    cpu: Option<usize>,

    /// Compare every byte that arrives with what was sent; takes its time, which counts.
    #[arg(long)]
    verify: bool,

    /// Print the result as a JSON document instead of the table, or write it to FILE.
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true,
          default_missing_value = "-")]
    json: Option<Destination>,

    /// Print the result as comma-separated values instead of the table, or write it to FILE.
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true,
          default_missing_value = "-")]
    csv: Option<Destination>,

    /// When to use colours.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    color: ColorChoice,
}

fn host(text: &str) -> Result<HostPort, String> {
    HostPort::parse(text, DEFAULT_PORT)
}

/// A verb and what is wanted of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Test {
    /// Messages per second and bytes per second.
    SendBw,
    /// Half of a round trip of a message.
    SendLat,
    /// Bytes put into the other side's memory per second.
    WriteBw,
    /// Half of a round trip of such bytes.
    WriteLat,
    /// Bytes taken from the other side's memory per second.
    ReadBw,
    /// How long it takes to get some.
    ReadLat,
    /// Changes of the other side's memory per second.
    AtomicBw,
    /// How long one takes.
    AtomicLat,
}

impl Test {
    const fn parts(self) -> (Verb, Goal) {
        match self {
            Self::SendBw => (Verb::Send, Goal::Bandwidth),
            Self::SendLat => (Verb::Send, Goal::Latency),
            Self::WriteBw => (Verb::Write, Goal::Bandwidth),
            Self::WriteLat => (Verb::Write, Goal::Latency),
            Self::ReadBw => (Verb::Read, Goal::Bandwidth),
            Self::ReadLat => (Verb::Read, Goal::Latency),
            Self::AtomicBw => (Verb::Atomic, Goal::Bandwidth),
            Self::AtomicLat => (Verb::Atomic, Goal::Latency),
        }
    }
}

pub(crate) fn run(args: &PerfArgs) -> Result<Verdict> {
    let (setup, local) = (setup(args)?, local(args)?);
    // Before anybody waits for this side.
    perf::bench::libfabric::check(&setup)?;
    bind(args.cpu)?;
    for (flag, destination) in [("--json", &args.json), ("--csv", &args.csv)] {
        if let Some(destination) = destination {
            destination.check(flag)?;
        }
    }
    if args.json == Some(Destination::Stdout) && args.csv == Some(Destination::Stdout) {
        bail!("--json and --csv both go to standard output: give one of them a file");
    }
    let mut pair = match &args.peer {
        Some(peer) => connect(peer, &setup, local)?,
        None => accept(args, &setup, local)?,
    };
    let mut document = Document::new(&pair);
    for bytes in pair.setup().sizes.clone() {
        let row = pair.measure(bytes)?;
        document.add(&pair, &row);
    }
    pair.close();
    report(args, &document)?;
    Ok(Verdict::Passed)
}

fn report(args: &PerfArgs, document: &Document) -> Result<()> {
    if let Some(destination) = &args.json {
        destination.write(&(serde_json::to_string_pretty(document)? + "\n"))?;
    }
    if let Some(destination) = &args.csv {
        destination.write(&document.csv())?;
    }
    if is_silent(args) {
        return Ok(());
    }
    output::print(&table::render(document, output::style(args.color)))
}

/// Whether standard output is for a program.
fn is_silent(args: &PerfArgs) -> bool {
    [&args.json, &args.csv].into_iter().any(|to| *to == Some(Destination::Stdout))
}

fn setup(args: &PerfArgs) -> Result<Setup> {
    let (verb, goal) = args.test.parts();
    let wire = match (args.tcp, args.unreliable, &args.provider) {
        (true, ..) => Wire::Tcp,
        (_, true, _) => Wire::Datagram,
        (.., Some(_)) => Wire::Libfabric,
        _ => Wire::Fabric,
    };
    check_verb(verb, wire)?;
    if args.remote_data && !matches!(verb, Verb::Send | Verb::Write) {
        bail!("--remote-data is for sends and writes: leave it out");
    }
    if goal == Goal::Latency {
        if args.rate.is_some() {
            bail!("--rate is for bandwidth: a test of latency has one message at a time");
        }
        if args.bidirectional {
            bail!("-b is for bandwidth: a test of latency goes both ways anyway");
        }
        if args.endpoints > 1 {
            bail!("-q {} is for bandwidth: latency is measured on one endpoint", args.endpoints);
        }
    }
    if args.events && args.endpoints > 1 {
        bail!("-e and -q {}: a side sleeps on one endpoint only; leave out one", args.endpoints);
    }
    let sizes: Vec<u64> = match (verb, args.all, args.size.as_slice()) {
        (Verb::Atomic, false, [] | [8]) => vec![8],
        (Verb::Atomic, ..) => bail!("an atomic has 8 bytes: leave out -s and -a"),
        (_, true, _) => ALL_SIZES.map(|power| 1 << power).collect(),
        (_, false, []) if goal == Goal::Latency => vec![2],
        (_, false, []) => vec![65_536],
        (_, false, sizes) => sizes.iter().map(|&size| size as u64).collect(),
    };
    if let Some(size) = sizes.iter().find(|size| **size > LARGEST as u64) {
        bail!("-s {size}: the largest message is 1GiB");
    }
    let length = match (args.duration, args.iterations) {
        (Some(seconds), _) => {
            let whole = Duration::from_secs(seconds);
            Length::Time { whole, margin: whole / 4 }
        }
        (None, Some(count)) => Length::Iterations(count),
        (None, None) => Length::Iterations(default_iterations(verb, goal)),
    };
    let warm_up = match (goal, length) {
        (Goal::Latency, Length::Iterations(_)) => WARM_UP,
        _ => 0,
    };
    Ok(Setup {
        verb,
        atomic: AtomicKind::FetchAndAdd,
        goal,
        wire,
        provider: args.provider.clone(),
        sizes,
        length,
        endpoints: args.endpoints.into(),
        bidirectional: args.bidirectional,
        reversed: args.reversed,
        warm_up,
        verify: args.verify,
        remote_data: args.remote_data,
        gap: Duration::ZERO,
        endless: false,
        fits: args.all || args.size.is_empty(),
        longest: None,
    })
}

/// perftest's.
pub(crate) const fn default_iterations(verb: Verb, goal: Goal) -> u64 {
    match (verb, goal) {
        (Verb::Write, Goal::Bandwidth) => 5000,
        _ => 1000,
    }
}

/// Binds this process to a CPU, if one is wanted.
pub(crate) fn bind(cpu: Option<usize>) -> Result<()> {
    let Some(cpu) = cpu else { return Ok(()) };
    perf::cpu::pin_to(cpu).with_context(|| format!("cannot bind this process to CPU {cpu}"))
}

/// Refuses what there is no such operation for.
pub(crate) fn check_verb(verb: Verb, wire: Wire) -> Result<()> {
    match (verb, wire) {
        (Verb::Send, _) | (_, Wire::Fabric | Wire::Libfabric) => Ok(()),
        (_, Wire::Tcp) => bail!("TCP has no {}: measure its sends instead", verb.name()),
        (_, Wire::Datagram) => {
            bail!("datagrams have no {}: measure their sends instead", verb.name())
        }
    }
}

fn local(args: &PerfArgs) -> Result<Local> {
    let PerfArgs { tx_depth, rx_depth, post_list, .. } = *args;
    if post_list > tx_depth {
        bail!("-l {post_list} is more than -t {tx_depth} lets be on its way: give -t {post_list}");
    }
    let waiting = if args.events { Waiting::Sleep } else { Waiting::Spin };
    let pace =
        args.rate.map(|bits| Pace { rate: Rate::Bytes((bits / 8).max(1)), burst: post_list });
    Ok(Local { tx_depth, rx_depth, post_list, waiting, peak: true, pace })
}

/// Connects to the first address of the host that answers.
pub(crate) fn connect(peer: &HostPort, setup: &Setup, local: Local) -> Result<Pair> {
    let mut failure = None;
    for address in peer.resolve()? {
        match Pair::connect(address, setup.clone(), local) {
            Ok(pair) => return Ok(pair),
            Err(error @ (BenchError::Refused(_) | BenchError::Unreachable { .. })) => {
                failure = failure.or(Some(error));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(failure.map_or_else(|| anyhow!("{peer} has no address"), Into::into))
}

fn accept(args: &PerfArgs, setup: &Setup, local: Local) -> Result<Pair> {
    let listener = listen(&args.listen)?;
    let address = listener.address()?;
    let line = format!(
        "listening on {address}{}",
        if address.ip().is_loopback() { " (this host only; see --listen)" } else { "" }
    );
    if is_silent(args) {
        output::say(&line);
    } else {
        output::print(&(line + "\n"))?;
    }
    Ok(listener.accept(setup.clone(), local)?)
}

fn listen(at: &HostPort) -> Result<Listener> {
    let mut failure = None;
    for address in at.resolve()? {
        match Listener::open(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    Err(match failure {
        Some(BenchError::Listen(ServeError::PortInUse(taken))) => anyhow!(
            "port {} of {} is in use: choose another with --listen {}:{}",
            taken.port(),
            taken.ip(),
            taken.ip(),
            taken.port().wrapping_add(1),
        ),
        Some(error) => error.into(),
        None => anyhow!("{at} has no address"),
    })
}
