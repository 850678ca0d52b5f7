//! What a command line of perftest's asks for.

use std::{path::PathBuf, time::Duration};

use perf::bench::{
    AtomicKind, Goal, Length, Local, Setup, Verb, Waiting, Wire, perftest::BandwidthUnit,
};

use super::{
    Tool,
    flags::{self, Given, Treatment},
    usage,
};
use crate::perf_command::{ALL_SIZES, DEFAULT_PORT, check_verb, default_iterations};

/// Why nothing is measured.
pub(super) enum Ending {
    /// This was asked for.
    Said(String),
    /// This is wrong.
    Wrong(String),
}

impl From<String> for Ending {
    fn from(why: String) -> Self {
        Self::Wrong(why)
    }
}

/// What is printed of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// Everything.
    Full,
    /// The average bandwidth.
    Bandwidth,
    /// The message rate.
    MessageRate,
    /// The average latency.
    Latency,
}

/// All of it.
#[derive(Debug)]
pub(super) struct Options {
    pub setup: Setup,
    pub local: Local,
    pub host: Option<String>,
    pub port: u16,
    pub listen: Option<String>,
    pub ipv6: bool,
    pub unit: BandwidthUnit,
    pub output: Output,
    pub both: bool,
    pub cpu: bool,
    pub histogram: bool,
    pub unsorted: bool,
    pub json: Option<PathBuf>,
    pub least_bandwidth: Option<f64>,
    pub least_rate: Option<f64>,
    /// The peak was not excluded, but cannot be had.
    pub peak_lost: bool,
    /// To be said before anything else.
    pub notes: Vec<String>,
}

/// What the options say, one by one.
#[derive(Default)]
struct Read {
    sizes: Option<u64>,
    all: bool,
    iterations: Option<u64>,
    duration: Option<u64>,
    margin: Option<u64>,
    endpoints: Option<u64>,
    tx_depth: Option<u64>,
    rx_depth: Option<u64>,
    post_list: Option<u64>,
    bidirectional: bool,
    reversed: bool,
    events: bool,
    no_peak: bool,
    verify: bool,
    tcp: bool,
    connection: bool,
    rdma_cm: bool,
    tos: Option<u64>,
    gid: Option<u64>,
    device: Option<String>,
    mtu: Option<u64>,
    port: Option<u16>,
    listen: Option<String>,
    ipv6: bool,
    gbits: bool,
    output: Option<Output>,
    both: bool,
    cpu: bool,
    histogram: bool,
    unsorted: bool,
    compare_and_swap: bool,
    json: bool,
    json_file: Option<PathBuf>,
    least_bandwidth: Option<f64>,
    least_rate: Option<f64>,
    warm_up: bool,
}

impl Options {
    /// Reads the arguments of `tool`.
    pub(super) fn read(tool: Tool, arguments: &[String]) -> Result<Self, Ending> {
        let (given, others) = flags::split(arguments).map_err(|why| see_help(tool, &why))?;
        let mut read = Read::default();
        for option in &given {
            match (option.flag.treatment, option.flag.long) {
                (_, "help") => return Err(Ending::Said(usage::text(tool))),
                (_, "version") => return Err(Ending::Said(usage::VERSION.to_owned())),
                (Treatment::Pass, _) => {}
                (Treatment::Refuse(why), _) => {
                    return Err(Ending::Wrong(format!("{}: {why}", option.name())));
                }
                (Treatment::Do, _) => {
                    read.take(*option).map_err(|why| see_help(tool, &why))?;
                }
            }
        }
        let host = match others.as_slice() {
            [] => None,
            [host] => Some((*host).to_owned()),
            [_, second, ..] => {
                return Err(see_help(tool, &format!("`{second}`: there is one host at most")));
            }
        };
        read.finish(tool, host)
    }
}

fn see_help(tool: Tool, why: &str) -> Ending {
    Ending::Wrong(format!("{why}; see `{} --help`", tool.name()))
}

impl Read {
    fn take(&mut self, option: Given<'_>) -> Result<(), String> {
        match option.flag.long {
            "port" => self.port = u16::try_from(number(option, 1..=65_535)?).ok(),
            "ib-dev" => self.device = Some(option.value.to_owned()),
            "ib-port" => drop(number(option, 1..=1)?),
            "mtu" => self.mtu = Some(number(option, 256..=9000)?),
            "size" => self.sizes = Some(size(option)?),
            "iters" => self.iterations = Some(number(option, 5..=100_000_000)?),
            "tx-depth" => self.tx_depth = Some(number(option, 1..=15_000)?),
            "rx-depth" => self.rx_depth = Some(number(option, 1..=16_384)?),
            "sl" => drop(number(option, 0..=0)?),
            "gid-index" => self.gid = Some(number(option, 0..=0)?),
            "all" => self.all = true,
            "connection" => self.connection(option)?,
            "qp" => self.endpoints = Some(number(option, 1..=1024)?),
            "events" => self.events = true,
            "comm_rdma_cm" | "rdma_cm" => self.rdma_cm = true,
            "tos" => self.tos = Some(number(option, 0..=255)?),
            "bidirectional" => self.bidirectional = true,
            "noPeak" => self.no_peak = true,
            "report-histogrm" => self.histogram = true,
            "report-unsorted" => self.unsorted = true,
            "post_list" => self.post_list = Some(number(option, 1..=15_000)?),
            "duration" => self.duration = Some(number(option, 1..=86_400)?),
            "margin" => self.margin = Some(number(option, 0..=43_200)?),
            "reversed" => self.reversed = true,
            "data_validation" => self.verify = true,
            "perform_warm_up" => self.warm_up = true,
            "ipv6" | "ipv6-addr" => self.ipv6 = true,
            "source_ip" | "bind_source_ip" => self.listen = Some(option.value.to_owned()),
            "transport" => self.tcp = choice(option, &[("fabric", false), ("tcp", true)])?,
            "atomic_type" => {
                let types = [("FETCH_AND_ADD", false), ("CMP_AND_SWAP", true)];
                self.compare_and_swap = choice(option, &types)?;
            }
            _ => self.take_report(option)?,
        }
        Ok(())
    }

    /// The options that say what is printed.
    fn take_report(&mut self, option: Given<'_>) -> Result<(), String> {
        match option.flag.long {
            "limit_bw" => self.least_bandwidth = Some(figure(option)?),
            "limit_msgrate" => self.least_rate = Some(figure(option)?),
            "report_gbits" => self.gbits = true,
            "report-both" => self.both = true,
            "cpu_util" => self.cpu = true,
            "out_json" => self.json = true,
            "out_json_file" => self.json_file = Some(option.value.into()),
            "output" => {
                self.output = Some(choice(
                    option,
                    &[
                        ("bandwidth", Output::Bandwidth),
                        ("message_rate", Output::MessageRate),
                        ("latency", Output::Latency),
                    ],
                )?);
            }
            other => unreachable!("--{other} is read above"),
        }
        Ok(())
    }

    fn connection(&mut self, option: Given<'_>) -> Result<(), String> {
        match option.value {
            "SRD" => {
                self.connection = true;
                Ok(())
            }
            kind @ ("RC" | "UC" | "UD" | "XRC" | "DC") => {
                Err(format!("-c {kind}: this device has SRD only, as EFA has; give -c SRD"))
            }
            other => Err(format!("-c {other} is no kind of connection; give -c SRD")),
        }
    }

    fn finish(self, tool: Tool, host: Option<String>) -> Result<Options, Ending> {
        let Tool { verb, goal, .. } = tool;
        let wire = if self.tcp { Wire::Tcp } else { Wire::Fabric };
        check_verb(verb, wire).map_err(|error| Ending::Wrong(error.to_string()))?;
        self.check(verb, goal)?;
        let length = self.length(verb, goal)?;
        let local = self.local(goal, length)?;
        let notes = self.notes(tool, host.is_some());
        let sends = self.bidirectional || host.is_some() != self.reversed;
        let endpoints = self.endpoints.unwrap_or(1);
        let peak_lost = goal == Goal::Bandwidth
            && !self.no_peak
            && match length {
                Length::Time { .. } => true,
                Length::Iterations(_) if self.tcp => true,
                Length::Iterations(count) => {
                    !sends && verb == Verb::Send || count * endpoints > Local::PEAK_MESSAGES
                }
            };
        Ok(Options {
            setup: Setup {
                verb,
                atomic: match self.compare_and_swap {
                    true => AtomicKind::CompareAndSwap,
                    false => AtomicKind::FetchAndAdd,
                },
                goal,
                wire,
                sizes: self.sizes(verb, goal),
                length,
                endpoints: usize::try_from(endpoints).unwrap_or(1),
                bidirectional: self.bidirectional,
                reversed: self.reversed,
                warm_up: if self.warm_up && goal == Goal::Latency { 100 } else { 0 },
                verify: self.verify,
            },
            local,
            host,
            port: self.port.unwrap_or(DEFAULT_PORT),
            listen: self.listen,
            ipv6: self.ipv6,
            unit: if self.gbits { BandwidthUnit::Gbit } else { BandwidthUnit::MiB },
            output: self.output.unwrap_or(Output::Full),
            both: self.both && self.bidirectional,
            cpu: self.cpu,
            histogram: self.histogram,
            unsorted: self.unsorted,
            json: (self.json || self.json_file.is_some())
                .then(|| self.json_file.unwrap_or_else(|| "perftest_out.json".into())),
            least_bandwidth: self.least_bandwidth,
            least_rate: self.least_rate,
            peak_lost,
            notes,
        })
    }

    /// What does not go together.
    fn check(&self, verb: Verb, goal: Goal) -> Result<(), String> {
        if goal == Goal::Latency {
            if self.endpoints.is_some_and(|count| count > 1) {
                return Err("-q: multiple QPs only available on bw tests".to_owned());
            }
            for (set, name) in [
                (self.bidirectional, "-b"),
                (self.post_list.is_some(), "-l"),
                (self.least_bandwidth.is_some(), "-w"),
                (self.least_rate.is_some(), "-y"),
                (self.gbits, "--report_gbits"),
            ] {
                if set {
                    return Err(format!("{name} is of the bandwidth tests; leave it out"));
                }
            }
        } else if self.histogram || self.unsorted {
            return Err("-H and -U are of the latency tests; leave them out".to_owned());
        }
        if verb == Verb::Atomic && (self.all || self.sizes.is_some_and(|size| size != 8)) {
            return Err("an atomic has 8 bytes; leave out -s and -a".to_owned());
        }
        if self.all && self.duration.is_some() {
            return Err("-a does not go with -D; give -n, or a size with -s".to_owned());
        }
        if self.iterations.is_some() && self.duration.is_some() {
            return Err("-n does not go with -D; give one of them".to_owned());
        }
        if self.events && self.endpoints.is_some_and(|count| count > 1) {
            return Err("-e: a side sleeps on one QP only; leave out -e or -q".to_owned());
        }
        match (goal, self.output) {
            (Goal::Latency, Some(Output::Bandwidth | Output::MessageRate)) => {
                Err("--output: a latency test has latency".to_owned())
            }
            (Goal::Bandwidth, Some(Output::Latency)) => {
                Err("--output: a bandwidth test has bandwidth and message_rate".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn sizes(&self, verb: Verb, goal: Goal) -> Vec<u64> {
        match (verb, goal, self.sizes) {
            (Verb::Atomic, ..) => vec![8],
            _ if self.all => ALL_SIZES.map(|power| 1 << power).collect(),
            (_, _, Some(size)) => vec![size],
            (_, Goal::Bandwidth, None) => vec![65_536],
            (_, Goal::Latency, None) => vec![2],
        }
    }

    fn length(&self, verb: Verb, goal: Goal) -> Result<Length, String> {
        let Some(seconds) = self.duration else {
            return match self.margin {
                Some(_) => Err("-f goes with -D; give -D SECONDS too".to_owned()),
                None => Ok(Length::Iterations(
                    self.iterations.unwrap_or_else(|| default_iterations(verb, goal)),
                )),
            };
        };
        let margin = self.margin.unwrap_or(seconds / 4);
        if seconds <= 2 * margin {
            return Err(format!("-D {seconds} -f {margin}: please check that DURATION > 2*MARGIN"));
        }
        let (whole, margin) = (Duration::from_secs(seconds), Duration::from_secs(margin));
        Ok(Length::Time { whole, margin })
    }

    fn local(&self, goal: Goal, length: Length) -> Result<Local, String> {
        let post_list = self.post_list.unwrap_or(1);
        let least = if goal == Goal::Latency { 1 } else { 128 };
        let tx_depth = self.tx_depth.unwrap_or(least.max(post_list));
        if post_list > tx_depth {
            return Err(format!("-l {post_list} is more than the TX depth; give -t {post_list}"));
        }
        if let Length::Iterations(count) = length
            && count % post_list != 0
        {
            return Err(format!("-n {count} is no multiple of -l {post_list}; make it one"));
        }
        Ok(Local {
            tx_depth,
            rx_depth: self.rx_depth.unwrap_or(512),
            post_list,
            waiting: if self.events { Waiting::Sleep } else { Waiting::Spin },
            peak: !self.no_peak,
        })
    }

    /// What is otherwise than the command line might let one think.
    fn notes(&self, tool: Tool, is_client: bool) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(device) = &self.device {
            notes.push(format!(
                "-d {device}: not looked for; messages go through the software device elastane0, \
                 over the route to the other host"
            ));
        }
        if self.gid.is_some() {
            notes.push("-x 0: GID index 0, the only one of this device; not RDMA CM".to_owned());
        }
        if self.rdma_cm {
            notes.push(
                "-R: SRD has no rdma_cm, connecting over TCP; for Gb/s give --report_gbits"
                    .to_owned(),
            );
        }
        if let Some(tos) = self.tos {
            notes.push(format!(
                "-T {tos}: a type of service, not TCP, and not set; to measure TCP give \
                 --transport tcp"
            ));
        }
        if let Some(mtu) = self.mtu {
            notes.push(format!("-m {mtu}: not set; the MTU is that of the route"));
        }
        if !self.connection {
            notes.push("no -c: RC is not available on this device, using SRD".to_owned());
        }
        if self.cpu {
            notes.push(
                "--cpu_util: user and system time of this process, in percent of one CPU; not the \
                 whole machine's"
                    .to_owned(),
            );
        }
        if self.listen.is_some() && is_client {
            notes.push("--bind_source_ip: not set on a client; the route decides".to_owned());
        }
        if self.warm_up && tool.goal == Goal::Bandwidth {
            notes.push("--perform_warm_up: only in latency tests".to_owned());
        }
        notes
    }
}

fn number(option: Given<'_>, range: std::ops::RangeInclusive<u64>) -> Result<u64, String> {
    let (name, value) = (option.name(), option.value);
    let read: u64 = value.parse().map_err(|_| format!("{name} {value} is no number"))?;
    if range.contains(&read) {
        return Ok(read);
    }
    let (least, most) = (range.start(), range.end());
    if least == most {
        return Err(format!("{name} {value}: this device has only {least}; give {name} {least}"));
    }
    Err(format!("{name} {value} is out of range; give {least} to {most}"))
}

fn figure(option: Given<'_>) -> Result<f64, String> {
    let (name, value) = (option.name(), option.value);
    let read = value.parse::<f64>().ok().filter(|figure| figure.is_finite() && *figure >= 0.0);
    read.ok_or_else(|| format!("{name} {value} is no figure; give for example 100"))
}

/// A size: decimal or hexadecimal, with `K` or `M` behind it or not.
fn size(option: Given<'_>) -> Result<u64, String> {
    const LARGEST: u64 = 1 << 30;
    let wrong = || {
        let (name, value) = (option.name(), option.value);
        format!("{name} {value} is no size from 1 to {LARGEST}; write for example 65536 or 64K")
    };
    let value = option.value;
    let (number, factor) = match value.strip_suffix(['K', 'k']) {
        Some(number) => (number, 1 << 10),
        None => match value.strip_suffix(['M', 'm']) {
            Some(number) => (number, 1 << 20),
            None => (value, 1),
        },
    };
    let number = match number.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => number.parse().ok(),
    };
    let size = number.and_then(|number| number.checked_mul(factor));
    size.filter(|size| (1..=LARGEST).contains(size)).ok_or_else(wrong)
}

fn choice<T: Copy>(option: Given<'_>, choices: &[(&str, T)]) -> Result<T, String> {
    let found = choices.iter().find(|(name, _)| *name == option.value);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        format!("{} {}: give {}", option.name(), option.value, names.join(" or "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(tool: &str, line: &str) -> Result<Options, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let tool = Tool::ALL.into_iter().find(|known| known.name() == tool).expect("a tool");
        Options::read(tool, &words).map_err(|ending| match ending {
            Ending::Said(text) | Ending::Wrong(text) => text,
        })
    }

    fn refused(tool: &str, line: &str) -> String {
        read(tool, line).expect_err(line)
    }

    #[test]
    fn defaults_are_perftests() {
        let bandwidth = read("ib_send_bw", "").unwrap();
        assert_eq!(bandwidth.setup.sizes, [65_536]);
        assert_eq!(bandwidth.setup.length, Length::Iterations(1000));
        assert_eq!((bandwidth.local.tx_depth, bandwidth.local.rx_depth), (128, 512));
        assert_eq!(bandwidth.port, 18_515);
        let latency = read("ib_send_lat", "host").unwrap();
        assert_eq!((latency.setup.sizes.as_slice(), latency.local.tx_depth), (&[2][..], 1));
        assert_eq!(latency.host.as_deref(), Some("host"));
    }

    #[test]
    fn sizes_and_times_are_read_as_perftest_does() {
        for (line, size) in [("-s 4K", 4096), ("-s 2M", 2 << 20), ("-s 0x10", 16), ("-s1", 1)] {
            assert_eq!(read("ib_send_bw", line).unwrap().setup.sizes, [size], "{line}");
        }
        let all = read("ib_send_bw", "-a").unwrap().setup.sizes;
        assert_eq!((all.first(), all.last(), all.len()), (Some(&2), Some(&(8 << 20)), 23));
        let timed = read("ib_send_bw", "-D 10").unwrap().setup.length;
        let seconds = Duration::from_secs;
        assert_eq!(timed, Length::Time { whole: seconds(10), margin: seconds(2) });
        let timed = read("ib_send_bw", "-D 10 -f 1").unwrap().setup.length;
        assert_eq!(timed, Length::Time { whole: seconds(10), margin: seconds(1) });
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for (tool, line, names) in [
            ("ib_send_bw", "-D 4 -f 2", "DURATION > 2*MARGIN"),
            ("ib_send_bw", "-D 4 -a", "-a does not go with -D"),
            ("ib_send_bw", "-n 10 -l 3", "no multiple of -l 3"),
            ("ib_send_bw", "-t 2 -l 4", "give -t 4"),
            ("ib_send_bw", "-s 0", "-s 0 is no size"),
            ("ib_send_bw", "-n 4", "give 5 to"),
            ("ib_send_bw", "-x 3", "only 0"),
            ("ib_send_bw", "-c RC", "give -c SRD"),
            ("ib_send_bw", "-H", "latency tests"),
            ("ib_send_bw", "--use_cuda=0", "host memory"),
            ("ib_send_bw", "-M 1", "multicast"),
            ("ib_send_bw", "a b", "one host at most"),
            ("ib_send_lat", "-q 2", "bw tests"),
            ("ib_send_lat", "-b", "bandwidth tests"),
            ("ib_send_lat", "--output=bandwidth", "latency"),
            ("ib_send_bw", "--transport udp", "fabric or tcp"),
            ("ib_write_bw", "--transport tcp", "TCP has no write"),
        ] {
            let why = refused(tool, line);
            assert!(why.contains(names), "{tool} {line}: {why}");
        }
    }

    #[test]
    fn what_the_guide_misreads_is_said_in_a_note() {
        let notes = read("ib_send_bw", "-d rdmap47s0 -x 0 -F -R -T 90 host").unwrap().notes;
        for (note, names) in [
            (0, &["rdmap47s0", "software"][..]),
            (1, &["GID index 0", "not RDMA CM"]),
            (2, &["-R", "--report_gbits"]),
            (3, &["-T 90", "not TCP", "--transport tcp"]),
            (4, &["RC is not available", "SRD"]),
        ] {
            assert!(names.iter().all(|name| notes[note].contains(name)), "{notes:?}");
        }
        assert_eq!(notes.len(), 5);
        assert_eq!(read("ib_send_bw", "-c SRD host").unwrap().notes, [""; 0]);
    }

    #[test]
    fn peak_that_cannot_be_had_is_known_before() {
        assert!(!read("ib_send_bw", "host").unwrap().peak_lost);
        assert!(read("ib_send_bw", "").unwrap().peak_lost, "a server of sends has none");
        assert!(read("ib_send_bw", "-n 20001 host").unwrap().peak_lost);
        assert!(read("ib_send_bw", "-D 5 host").unwrap().peak_lost);
        assert!(!read("ib_send_bw", "-D 5 -N host").unwrap().peak_lost, "nobody wants it");
    }
}
