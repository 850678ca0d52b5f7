//! What each option says, one by one.

use std::path::PathBuf;

use perf::bench::Wire;

use super::{flags::Given, options::Output};
use crate::quantity;

/// What the options say, one by one.
#[derive(Default)]
pub(super) struct Read {
    pub sizes: Option<u64>,
    pub all: bool,
    pub iterations: Option<u64>,
    pub duration: Option<u64>,
    pub margin: Option<u64>,
    pub endpoints: Option<u64>,
    pub tx_depth: Option<u64>,
    pub rx_depth: Option<u64>,
    pub post_list: Option<u64>,
    pub bidirectional: bool,
    pub reversed: bool,
    pub events: bool,
    pub no_peak: bool,
    pub verify: bool,
    pub tcp: bool,
    pub connection: Option<Wire>,
    pub rdma_cm: bool,
    pub tos: Option<u64>,
    pub gid: Option<u64>,
    pub device: Option<String>,
    pub mtu: Option<u64>,
    pub port: Option<u16>,
    pub listen: Option<String>,
    pub ipv6: bool,
    pub gbits: bool,
    pub output: Option<Output>,
    pub both: bool,
    pub cpu: bool,
    pub histogram: bool,
    pub unsorted: bool,
    pub compare_and_swap: bool,
    pub json: bool,
    pub json_file: Option<PathBuf>,
    pub least_bandwidth: Option<f64>,
    pub least_rate: Option<f64>,
    pub warm_up: bool,
    pub endless: bool,
    pub cycles: bool,
    pub gap: Option<u64>,
    pub remote_data: bool,
    pub rate: Option<f64>,
    pub rate_units: Option<char>,
    pub burst: Option<u64>,
    pub rate_type: Option<&'static str>,
    pub own_cpu: Option<usize>,
    pub strict: bool,
    pub transport: bool,
}

impl Read {
    /// Takes one in.
    pub(super) fn take(&mut self, option: Given<'_>) -> Result<(), String> {
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
            "transport" => {
                self.tcp = choice(option, &[("fabric", false), ("tcp", true)])?;
                self.transport = true;
            }
            "on_cpu" => self.own_cpu = Some(own_cpu(option)?),
            "strict" => self.strict = true,
            "run_infinitely" => self.endless = true,
            "write_with_imm" | "send_with_imm" => self.remote_data = true,
            "latency_gap" => self.gap = Some(number(option, 0..=1_000_000)?),
            "atomic_type" => {
                let types = [("FETCH_AND_ADD", false), ("CMP_AND_SWAP", true)];
                self.compare_and_swap = choice(option, &types)?;
            }
            _ => self.take_rate(option)?,
        }
        Ok(())
    }

    /// The options that limit the rate.
    fn take_rate(&mut self, option: Given<'_>) -> Result<(), String> {
        match option.flag.long {
            "rate_limit" => self.rate = Some(figure(option)?),
            "rate_units" => {
                let units = [("g", 'g'), ("M", 'M'), ("p", 'p')];
                self.rate_units = Some(choice(option, &units)?);
            }
            "burst_size" => self.burst = Some(number(option, 1..=1_000_000)?),
            "rate_limit_type" => {
                let types = [("SW", "SW"), ("HW", "HW"), ("PP", "PP")];
                self.rate_type = Some(choice(option, &types)?);
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
            "report-cycles" => self.cycles = true,
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
            "SRD" => self.connection = Some(Wire::Fabric),
            "UD" => self.connection = Some(Wire::Datagram),
            kind @ ("RC" | "UC" | "XRC" | "DC") => {
                return Err(format!(
                    "-c {kind}: this device has SRD and UD only, as EFA has; give -c SRD"
                ));
            }
            other => return Err(format!("-c {other} is no kind of connection; give -c SRD")),
        }
        Ok(())
    }
}

fn own_cpu(option: Given<'_>) -> Result<usize, String> {
    quantity::cpu(option.value).map_err(|why| format!("{}: {why}", option.name()))
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
