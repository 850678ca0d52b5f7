//! perftest's layout of its output, character by character: scripts read it.
//!
//! The formats are those of `ctx_print_test_info`, `ctx_print_pingpong_data`,
//! `print_full_bw_report` and `print_report_lat` in perftest's `perftest_parameters.c` and
//! `perftest_communication.c`, version 6.29. What a figure means is perftest's too, but for the
//! standard deviation: perftest's is computed from whole microseconds and so is mostly 0.00.

use std::{fmt::Write as _, net::IpAddr};

use super::{
    figures::{BandwidthFigures, SideFigures, as_f64},
    lane::End,
    pair::Ends,
    setup::{Goal, Verb},
};

/// The line between the parts.
pub const RESULT_LINE: &str =
    "---------------------------------------------------------------------------------------\n";

/// What a server prints before it waits.
pub const WAITING: &str = "\n************************************\n\
                           * Waiting for client to connect... *\n\
                           ************************************\n";

/// What is printed if the best bandwidth is not looked for.
pub const NO_PEAK: &str = " WARNING: BW peak won't be measured in this run.\n";

/// In what bandwidth is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BandwidthUnit {
    /// 2^20 bytes per second.
    MiB,
    /// 10^9 bits per second.
    Gbit,
}

impl BandwidthUnit {
    fn of(self, bytes_per_second: f64) -> f64 {
        match self {
            Self::MiB => bytes_per_second / 1_048_576.0,
            Self::Gbit => bytes_per_second / 125_000_000.0,
        }
    }
}

/// What stands above the results.
#[derive(Clone, Debug)]
pub struct Heading {
    /// The operation.
    pub verb: Verb,
    /// What is wanted of it.
    pub goal: Goal,
    /// Both sides send.
    pub bidirectional: bool,
    /// Operations posted together.
    pub post_list: u64,
    /// Completions are slept for.
    pub events: bool,
    /// Of an atomic: compare-and-swap, not fetch-and-add.
    pub compare_and_swap: bool,
    /// The name of the device.
    pub device: String,
    /// The kind of connection.
    pub connection: &'static str,
    /// Endpoints.
    pub endpoints: usize,
    /// Shown if this side posts operations.
    pub tx_depth: Option<u64>,
    /// Shown if this side posts receives.
    pub rx_depth: Option<u64>,
    /// Bytes of a packet.
    pub mtu: usize,
}

impl Heading {
    /// All of it, from one line of dashes to the next.
    pub fn render(&self) -> String {
        let mut text = format!("{RESULT_LINE}                    {}Test\n", self.title());
        if self.events {
            line(&mut text, format_args!(" Test with events. Using {}_comp0", self.device));
        }
        line(&mut text, format_args!(" Dual-port       : OFF\t\tDevice         : {}", self.device));
        line(
            &mut text,
            format_args!(" Number of qps   : {}\t\tTransport type : IB", self.endpoints),
        );
        line(
            &mut text,
            format_args!(" Connection type : {}\t\tUsing SRQ      : OFF", self.connection),
        );
        line(&mut text, format_args!(" PCIe relax order: OFF\t\tLock-free      : Unsupported"));
        line(
            &mut text,
            format_args!(" ibv_wr* API     : OFF\t\tUsing Enhanced Reorder      : OFF"),
        );
        if let Some(depth) = self.tx_depth {
            line(&mut text, format_args!(" TX depth        : {depth}"));
        }
        if self.post_list > 1 {
            line(&mut text, format_args!(" Post List       : {}", self.post_list));
        }
        if let Some(depth) = self.rx_depth {
            line(&mut text, format_args!(" RX depth        : {depth}"));
        }
        if self.goal == Goal::Bandwidth {
            text.push_str(" CQ Moderation   : 1\n CQE Poll Batch  : Dynamic\n");
        }
        line(&mut text, format_args!(" Mtu             : {}[B]", self.mtu));
        text.push_str(" Link type       : Ethernet\n GID index       : 0\n");
        text.push_str(match self.verb {
            Verb::Send | Verb::Write => " Max inline data : 0[B]\n",
            Verb::Read | Verb::Atomic => " Outstand reads  : 0\n",
        });
        text.push_str(" rdma_cm QPs\t : OFF\n Data ex. method : Ethernet\n");
        text.push_str(RESULT_LINE);
        text
    }

    /// What it is called in the second line, with a space at its end.
    pub fn title(&self) -> String {
        let mut title = String::from(match (self.verb, self.compare_and_swap) {
            (Verb::Send, _) => "Send ",
            (Verb::Write, _) => "RDMA_Write ",
            (Verb::Read, _) => "RDMA_Read ",
            (Verb::Atomic, true) => "Atomic CMP_AND_SWAP ",
            (Verb::Atomic, false) => "Atomic FETCH_AND_ADD ",
        });
        match self.goal {
            Goal::Latency => title.push_str("Latency "),
            Goal::Bandwidth => {
                if self.bidirectional {
                    title.push_str("Bidirectional ");
                }
                if self.post_list > 1 {
                    title.push_str("Post List ");
                }
                title.push_str("BW ");
            }
        }
        title
    }
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("a string takes everything");
}

/// Where the endpoints of both sides are: first this side's, then the other's.
pub fn addresses(ends: &Ends, verb: Verb) -> String {
    let mut text = String::new();
    for (side, ends) in [("local", &ends.here), ("remote", &ends.there)] {
        for end in ends {
            address(&mut text, side, end, verb);
        }
    }
    text
}

fn address(text: &mut String, side: &str, end: &End, verb: Verb) {
    let End { address, number, first_psn, key } = end;
    write!(text, " {side} address: LID 0000 QPN {number:#06x} PSN {first_psn:#06x}")
        .expect("a string takes everything");
    if verb == Verb::Read {
        text.push_str(" OUT 0000");
    }
    if let (Verb::Read | Verb::Write, Some(key)) = (verb, key) {
        // perftest's keys have 32 bits, and its addresses are virtual ones: here a region begins
        // at 0.
        let shown = key & u64::from(u32::MAX);
        write!(text, " RKey {shown:#08x} VAddr 0000000000000000")
            .expect("a string takes everything");
    }
    text.push_str("\n GID: ");
    let octets = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    };
    let octets: Vec<String> = octets.iter().map(|octet| format!("{octet:02}")).collect();
    text.push_str(&octets.join(":"));
    text.push('\n');
}

/// The line of headings, with the line of dashes before it.
pub fn headings(goal: Goal, timed: bool, unit: BandwidthUnit, with_cpu: bool) -> String {
    let headings = match (goal, unit, timed) {
        (Goal::Bandwidth, BandwidthUnit::MiB, _) => {
            " #bytes     #iterations    BW peak[MiB/sec]    BW average[MiB/sec]   MsgRate[Mpps]"
        }
        (Goal::Bandwidth, BandwidthUnit::Gbit, _) => {
            " #bytes     #iterations    BW peak[Gb/sec]    BW average[Gb/sec]   MsgRate[Mpps]"
        }
        (Goal::Latency, _, false) => concat!(
            " #bytes #iterations    t_min[usec]    t_max[usec]  t_typical[usec]    t_avg[usec]",
            "    t_stdev[usec]   99% percentile[usec]   99.9% percentile[usec] "
        ),
        (Goal::Latency, _, true) => " #bytes        #iterations       t_avg[usec]    tps average",
    };
    let cpu = if with_cpu { "    CPU_Util[%]" } else { "" };
    format!("{RESULT_LINE}{headings}{cpu}\n")
}

/// A row of bandwidth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BandwidthRow {
    /// Bytes of a message.
    pub bytes: u64,
    /// Messages in all.
    pub iterations: u64,
    /// Bytes per second in the best stretch; 0 if it was not looked for.
    pub peak: f64,
    /// Bytes per second.
    pub average: f64,
    /// Messages per second.
    pub rate: f64,
}

impl From<BandwidthFigures> for BandwidthRow {
    fn from(figures: BandwidthFigures) -> Self {
        Self {
            bytes: figures.bytes,
            iterations: figures.messages,
            peak: figures.peak().unwrap_or(0.0),
            average: figures.average(),
            rate: figures.rate(),
        }
    }
}

impl BandwidthRow {
    /// Both directions in one, as perftest shows them: the iterations are one side's.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            peak: self.peak + other.peak,
            average: self.average + other.average,
            rate: self.rate + other.rate,
            ..self
        }
    }

    /// The average in `unit`.
    pub fn average_in(&self, unit: BandwidthUnit) -> f64 {
        unit.of(self.average)
    }

    /// The peak in `unit`.
    pub fn peak_in(&self, unit: BandwidthUnit) -> f64 {
        unit.of(self.peak)
    }

    /// Millions of messages per second.
    pub fn millions(&self) -> f64 {
        self.rate / 1e6
    }

    /// The line; `cpu` in percent.
    pub fn render(&self, unit: BandwidthUnit, cpu: Option<f64>) -> String {
        let Self { bytes, iterations, .. } = self;
        let (peak, average, rate) = (self.peak_in(unit), self.average_in(unit), self.millions());
        let row = if unit == BandwidthUnit::Gbit && average < 0.1 {
            format!(
                " {bytes:<7}    {iterations}           {peak:<7.6}            {average:<7.6}\
                 \x20           {rate:<7.6}"
            )
        } else {
            format!(
                " {bytes:<7}    {iterations:<10}       {peak:<7.2}            {average:<7.2}\
                 \t\t     {rate:<7.6}"
            )
        };
        with_cpu(row, cpu)
    }
}

fn with_cpu(row: String, cpu: Option<f64>) -> String {
    match cpu {
        Some(cpu) => format!("{row}\t    {cpu:<3.2}\n"),
        None => row + "\n",
    }
}

/// A row of latencies in microseconds, as perftest computes them: of all intervals but the last,
/// with the two longest left out of everything but the longest shown.
#[derive(Clone, Debug, PartialEq)]
pub struct LatencyRow {
    /// Bytes of a message.
    pub bytes: u64,
    /// Iterations.
    pub iterations: u64,
    /// The intervals in microseconds, in order of time.
    pub unsorted: Vec<f64>,
    /// The same by length, without the two longest.
    pub sorted: Vec<f64>,
    /// The third longest: perftest's longest.
    pub max: f64,
    /// The median.
    pub typical: f64,
    /// The mean.
    pub average: f64,
    /// The standard deviation.
    pub deviation: f64,
    /// 99 of 100.
    pub p99: f64,
    /// 999 of 1000.
    pub p99_9: f64,
}

/// The longest intervals that perftest leaves out (`LAT_MEASURE_TAIL`).
const TAIL: usize = 2;

impl LatencyRow {
    /// Of what a side measured in so many iterations, between the posts of which there is one
    /// interval less; `None` with less than five.
    pub fn new(bytes: u64, iterations: u64, verb: Verb, figures: &SideFigures) -> Option<Self> {
        let parts = if verb.is_answered() { 2.0 } else { 1.0 };
        let count = usize::try_from(iterations).ok()?.checked_sub(1)?;
        let intervals = figures.samples.get(..count)?;
        let unsorted: Vec<f64> =
            intervals.iter().map(|&nanos| as_f64(nanos) / 1e3 / parts).collect();
        let mut sorted = unsorted.clone();
        sorted.sort_by(f64::total_cmp);
        let count = sorted.len().checked_sub(TAIL).filter(|count| *count > 0)?;
        // Ranks beyond what is averaged are perftest's own: the longest are seen there.
        let at = |thousandths: usize| sorted[(count * thousandths).div_ceil(1000)];
        let (max, p99, p99_9) = (sorted[count], at(990), at(999));
        let typical = match count % 2 {
            0 => f64::midpoint(sorted[count / 2], sorted[count / 2 - 1]),
            _ => sorted[count / 2],
        };
        sorted.truncate(count);
        let total = as_f64(count as u64);
        let average = sorted.iter().sum::<f64>() / total;
        let squares = sorted.iter().map(|micros| (micros - average).powi(2)).sum::<f64>();
        Some(Self {
            bytes,
            iterations,
            unsorted,
            max,
            typical,
            average,
            deviation: (squares / total).sqrt(),
            p99,
            p99_9,
            sorted,
        })
    }

    /// The same in cycles of a clock of so many MHz.
    #[must_use]
    pub fn in_cycles(mut self, megahertz: f64) -> Self {
        let Self { unsorted, sorted, max, typical, average, deviation, p99, p99_9, .. } = &mut self;
        let figures = [max, typical, average, deviation, p99, p99_9];
        for micros in unsorted.iter_mut().chain(sorted).chain(figures) {
            *micros *= megahertz;
        }
        self
    }

    /// The shortest.
    pub fn min(&self) -> f64 {
        self.sorted.first().copied().unwrap_or(0.0)
    }

    /// The line; `cpu` in percent.
    pub fn render(&self, cpu: Option<f64>) -> String {
        let Self { bytes, iterations, max, typical, average, deviation, p99, p99_9, .. } = self;
        let min = self.min();
        let row = format!(
            " {bytes:<7} {iterations}          {min:<7.2}        {max:<7.2}      {typical:<7.2}  \
             \t       {average:<7.2}     \t{deviation:<7.2}\t\t{p99:<7.2} \t\t{p99_9:<7.2}"
        );
        with_cpu(row, cpu)
    }

    /// A list of intervals, as `-U` and `-H` print them.
    pub fn list(intervals: &[f64]) -> String {
        let mut text = String::from("#, usec\n");
        for (number, micros) in (1..).zip(intervals) {
            line(&mut text, format_args!("{number}, {}", significant(*micros)));
        }
        text
    }
}

/// A row of latency that is bounded by time.
pub fn timed_latency(bytes: u64, figures: &SideFigures, cpu: Option<f64>) -> String {
    let latency = figures.latency;
    let (count, mean) = latency.map_or((0, 0.0), |latency| (latency.count, latency.mean));
    let rate = latency.map_or(0.0, |latency| latency.rate);
    with_cpu(format!(" {bytes:<7}       {count}            {mean:<7.2}        {rate:<7.2}"), cpu)
}

/// Six significant digits, as `%g` prints them for figures of this size.
fn significant(value: f64) -> String {
    let before = value.abs().max(1e-9).log10().floor();
    let decimals = (0..12u8).find(|&decimals| f64::from(decimals) >= 5.0 - before).unwrap_or(12);
    let text = format!("{value:.0$}", usize::from(decimals));
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bandwidth_rows_are_perftests() {
        let row = BandwidthRow {
            bytes: 65_536,
            iterations: 1000,
            peak: 11_802.33 * 1_048_576.0,
            average: 11_798.2 * 1_048_576.0,
            rate: 188_771.2,
        };
        assert_eq!(
            row.render(BandwidthUnit::MiB, None),
            " 65536      1000             11802.33            11798.20\t\t     0.188771\n"
        );
        let slow = BandwidthRow { bytes: 2, peak: 1e6, average: 1e6, rate: 5e5, ..row };
        assert_eq!(
            slow.render(BandwidthUnit::Gbit, Some(12.345)),
            " 2          1000           0.008000            0.008000            0.500000\
             \t    12.35\n"
                .replace("12.35", &format!("{:<3.2}", 12.345))
        );
        let both = row.and(slow);
        assert_eq!((both.iterations, both.bytes), (1000, 65_536));
        assert!((both.average - row.average - slow.average).abs() < 1.0);
    }

    #[test]
    fn latency_row_is_perftests() {
        let samples: Vec<u64> = (1..=1000).rev().map(|n| n * 2000).collect();
        let figures = SideFigures { samples, ..SideFigures::default() };
        let row = LatencyRow::new(2, 1000, Verb::Send, &figures).expect("enough");
        // 999 intervals of 2 to 1000 us, of which the two longest are left out.
        assert_eq!((row.min(), row.max), (2.0, 999.0));
        assert_eq!((row.typical, row.average), (500.0, 500.0));
        assert_eq!((row.p99, row.p99_9), (990.0, 999.0));
        assert_eq!(
            row.render(None),
            " 2       1000          2.00           999.00       500.00   \t       500.00      \
             \t287.81 \t\t990.00  \t\t999.00 \n"
        );
        let whole = LatencyRow::new(8, 1000, Verb::Read, &figures).expect("enough");
        assert_eq!(whole.typical, 1000.0);
        assert_eq!(LatencyRow::new(2, 2, Verb::Send, &figures), None);
        let cycles = row.in_cycles(2500.0);
        assert_eq!((cycles.min(), cycles.max, cycles.p99), (5000.0, 2_497_500.0, 2_475_000.0));
    }

    #[test]
    fn figures_in_lists_have_six_digits() {
        for (figure, text) in [(4.7712345, "4.77123"), (12_345.678, "12345.7"), (3.0, "3")] {
            assert_eq!(significant(figure), text);
        }
    }
}
