//! What a command line of perftest's asks for.

use std::{path::PathBuf, time::Duration};

use perf::bench::{
    AtomicKind, Goal, Length, Local, Pace, Rate, Setup, Verb, Waiting, Wire,
    perftest::BandwidthUnit,
};

use super::{
    Tool,
    flags::{self, Treatment},
    reading::Read,
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
    /// The CPU that this side is to be bound to.
    pub own_cpu: Option<usize>,
    /// The clock in MHz, if latencies are to be in its cycles.
    pub cycles: Option<f64>,
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

/// The clock of `-C`, with a note of it.
fn clock(notes: &mut Vec<String>) -> Result<f64, String> {
    let clock = perf::cpu::megahertz();
    let clock = clock.ok_or("-C: /proc/cpuinfo of this machine names no clock; leave it out")?;
    notes.push(format!(
        "-C: cycles of {clock} MHz, by /proc/cpuinfo; the headings say usec, as perftest's do"
    ));
    Ok(clock)
}

/// Seconds from one row to the next that run infinitely.
const INTERVAL: u64 = 5;

impl Read {
    fn finish(self, tool: Tool, host: Option<String>) -> Result<Options, Ending> {
        let Tool { verb, goal, .. } = tool;
        let wire = match (self.tcp, self.connection) {
            (true, _) => Wire::Tcp,
            (false, connection) => connection.unwrap_or(Wire::Fabric),
        };
        self.check_strictly()?;
        self.check(verb, goal)?;
        check_verb(verb, wire).map_err(|error| Ending::Wrong(error.to_string()))?;
        let length = self.length(verb, goal)?;
        let local = self.local(goal, length)?;
        let mut notes = self.notes(tool, host.is_some());
        let cycles = if self.cycles { Some(clock(&mut notes)?) } else { None };
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
                provider: None,
                sizes: self.sizes(verb, goal),
                length,
                endpoints: usize::try_from(endpoints).unwrap_or(1),
                bidirectional: self.bidirectional,
                reversed: self.reversed,
                warm_up: if self.warm_up && goal == Goal::Latency { 100 } else { 0 },
                verify: self.verify,
                remote_data: self.remote_data,
                gap: Duration::from_micros(self.gap.unwrap_or(0)),
                endless: self.endless,
                // As perftest does with datagrams.
                fits: self.all || self.sizes.is_none(),
                longest: None,
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
            own_cpu: self.own_cpu,
            cycles,
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
        if self.endless {
            let whole = Duration::from_secs(self.duration.unwrap_or(INTERVAL));
            return Ok(Length::Time { whole, margin: Duration::ZERO });
        }
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
            pace: self.rate.map(|rate| self.pace(rate, tx_depth)),
        })
    }

    /// perftest's meaning of the limit.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the figure is positive, and one beyond 2^64 is no limit"
    )]
    fn pace(&self, rate: f64, tx_depth: u64) -> Pace {
        let rate = match self.rate_units.unwrap_or('g') {
            'M' => Rate::Bytes((rate * 1_048_576.0) as u64),
            'p' => Rate::Messages(rate as u64),
            _ => Rate::Bytes((rate * 125_000_000.0) as u64),
        };
        Pace { rate, burst: self.burst.unwrap_or(tx_depth) }
    }
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
