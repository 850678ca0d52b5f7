//! What is measured, and how: what both sides must agree on, and what each decides for itself.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::figures::as_f64;

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// A message, matched with a receive.
    Send,
    /// Bytes put into the other side's memory.
    Write,
    /// Bytes taken from the other side's memory.
    Read,
    /// Eight bytes of the other side's memory changed in one step.
    Atomic,
}

impl Verb {
    /// Whether the other side's program takes part in each operation's round trip: then latency is
    /// half of a ping-pong; of a read or an atomic it is the whole operation.
    pub const fn is_answered(self) -> bool {
        matches!(self, Self::Send | Self::Write)
    }

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Write => "write",
            Self::Read => "read",
            Self::Atomic => "atomic",
        }
    }
}

/// Which atomic operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AtomicKind {
    /// Adds to what is there.
    #[default]
    FetchAndAdd,
    /// Replaces what is there if it is what is expected.
    CompareAndSwap,
}

/// What is wanted of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Goal {
    /// Many operations at a time: bytes and messages per second.
    Bandwidth,
    /// One at a time: how long each takes.
    Latency,
}

impl Goal {
    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bandwidth => "bw",
            Self::Latency => "lat",
        }
    }
}

/// What carries the operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wire {
    /// The fabric of this project.
    Fabric,
    /// The kernel's TCP: one write for each message (or list of messages), `TCP_NODELAY` on, the
    /// system's congestion control and buffers.
    Tcp,
    /// The fabric's unreliable datagrams: a message is one packet, and may be lost.
    Datagram,
    /// A provider of libfabric's: tagged messages, remote memory access and atomic operations of
    /// its reliable datagram endpoints.
    Libfabric,
}

impl Wire {
    /// Its name in documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fabric => "fabric",
            Self::Tcp => "tcp",
            Self::Datagram => "datagram",
            Self::Libfabric => "libfabric",
        }
    }

    /// Its name in a sentence.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Fabric => "fabric",
            Self::Tcp => "TCP",
            Self::Datagram => "unreliable datagrams",
            Self::Libfabric => "libfabric",
        }
    }
}

/// When a test is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Length {
    /// After so many operations on each endpoint.
    Iterations(u64),
    /// After this time.
    Time {
        /// From the start to the end.
        whole: Duration,
        /// What is left out of the measurement at the start, and again at the end.
        margin: Duration,
    },
}

/// What both sides must be given alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// The operation.
    pub verb: Verb,
    /// Which, if it is an atomic.
    pub atomic: AtomicKind,
    /// What is wanted of it.
    pub goal: Goal,
    /// What carries it.
    pub wire: Wire,
    /// The provider, where that is libfabric: a name of `fi_info -l`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Sizes in bytes, one row each.
    pub sizes: Vec<u64>,
    /// When each row is over.
    pub length: Length,
    /// Endpoints of each side; endpoint N talks to the other side's endpoint N.
    pub endpoints: usize,
    /// Both sides send.
    pub bidirectional: bool,
    /// The server sends to the client instead of the other way.
    pub reversed: bool,
    /// Operations before the first that is measured; latency only.
    pub warm_up: u64,
    /// Whether every byte that arrives is compared with what was sent.
    pub verify: bool,
    /// Whether a write or a send carries data for the completion on the other side.
    pub remote_data: bool,
    /// The time between one answer and the next request, which is not measured; latency only.
    pub gap: Duration,
    /// A row follows the other until a side is told to stop; bandwidth for a time only.
    pub endless: bool,
    /// Sizes that a datagram cannot hold are left out, and the only one is shortened. Otherwise
    /// they are an error.
    pub fits: bool,
    /// The longest message in bytes, as both sides found out; only where that is one datagram.
    pub longest: Option<u64>,
}

impl Setup {
    /// `send-bw` and the like.
    pub fn name(&self) -> String {
        format!("{}-{}", self.verb.name(), self.goal.name())
    }

    /// What carries the operations, in a sentence.
    pub fn transport(&self) -> String {
        match &self.provider {
            Some(provider) => format!("libfabric's {provider}"),
            None => self.wire.title().to_owned(),
        }
    }

    /// The largest size in bytes.
    pub fn largest(&self) -> usize {
        let largest = self.sizes.iter().copied().max().unwrap_or(0);
        usize::try_from(largest).unwrap_or(usize::MAX)
    }

    /// Whether a message may be complete long before it arrives: TCP's is when the kernel takes
    /// it, and a provider's when it left.
    pub(super) fn completes_early(&self) -> bool {
        self.wire == Wire::Tcp || self.wire == Wire::Libfabric && self.verb == Verb::Send
    }

    /// Leaves of the sizes those of at most `longest` bytes if they may be fitted.
    ///
    /// # Errors
    /// The size that is too long.
    pub(super) fn fit(&mut self, longest: u64) -> Result<(), u64> {
        self.longest = Some(longest);
        if !self.fits {
            return self
                .sizes
                .iter()
                .find(|size| **size > longest)
                .map_or(Ok(()), |size| Err(*size));
        }
        self.sizes.retain(|size| *size <= longest);
        if self.sizes.is_empty() {
            self.sizes.push(longest);
        }
        Ok(())
    }

    /// Names what `theirs` has otherwise, with both values; `None` if they are alike.
    pub fn difference(&self, theirs: &Self) -> Option<String> {
        let differences: Vec<_> = self
            .options()
            .into_iter()
            .zip(theirs.options())
            .filter(|((_, ours), (_, theirs))| ours != theirs)
            .map(|((name, ours), (_, theirs))| format!("{name} ({ours} here, {theirs} there)"))
            .collect();
        (!differences.is_empty()).then(|| differences.join(", "))
    }

    fn options(&self) -> [(&'static str, String); 13] {
        let Self {
            sizes,
            length,
            endpoints,
            bidirectional,
            reversed,
            warm_up,
            verify,
            atomic,
            remote_data,
            gap,
            endless,
            ..
        } = self;
        let sizes = match sizes.as_slice() {
            [first, .., last] => format!("{first} to {last}"),
            [only] => only.to_string(),
            [] => "none".to_owned(),
        };
        let yes = |set: &bool| if *set { "yes" } else { "no" }.to_owned();
        [
            ("the test", self.name()),
            ("the transport", self.transport()),
            ("the atomic operation (-A)", format!("{atomic:?}")),
            ("the message size (-s, -a)", sizes),
            ("the length (-n, -D)", length.to_string()),
            ("the number of endpoints (-q)", endpoints.to_string()),
            ("the direction (-b)", yes(bidirectional)),
            ("--reversed", yes(reversed)),
            ("the warm-up", warm_up.to_string()),
            ("data verification", yes(verify)),
            ("the remote data", yes(remote_data)),
            ("the gap", format!("{gap:?}")),
            ("running until stopped", yes(endless)),
        ]
    }
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Iterations(count) => write!(f, "{count} iterations"),
            Self::Time { whole, margin } => {
                write!(f, "{} s with a margin of {} s", whole.as_secs(), margin.as_secs_f64())
            }
        }
    }
}

/// How a side waits when nothing is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// By asking again and again.
    Spin,
    /// In the kernel, after a short spin.
    Sleep,
}

/// How fast a side may post.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// Bytes per second.
    Bytes(u64),
    /// Messages per second.
    Messages(u64),
}

/// A limit to the rate at which a side posts, over all its endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The limit.
    pub rate: Rate,
    /// So many messages are posted at once, and then a pause makes up for them.
    pub burst: u64,
}

impl Pace {
    /// From the begin of one burst of messages of so many bytes to the next.
    pub fn interval(self, bytes: u64) -> Duration {
        let (amount, rate) = match self.rate {
            Rate::Bytes(rate) => (self.burst.saturating_mul(bytes), rate),
            Rate::Messages(rate) => (self.burst, rate),
        };
        Duration::from_secs_f64(as_f64(amount) / as_f64(rate.max(1)))
    }
}

/// What each side decides for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local {
    /// Operations on their way at any time, on each endpoint.
    pub tx_depth: u64,
    /// Receives posted at any time, on each endpoint; fewer where they would take more than
    /// [`Local::RECEIVE_BYTES`].
    pub rx_depth: u64,
    /// Operations posted together.
    pub post_list: u64,
    /// How to wait.
    pub waiting: Waiting,
    /// Whether to look for the best bandwidth of any stretch of a row.
    pub peak: bool,
    /// The rate at which operations are posted; `None` for as fast as they complete.
    pub pace: Option<Pace>,
}

impl Local {
    /// Buffers posted on one endpoint have at most this many bytes together, but there are two.
    pub const RECEIVE_BYTES: usize = 64 << 20;
    /// Rows with more messages have no peak: finding it takes time with the square of them.
    pub const PEAK_MESSAGES: u64 = 20_000;

    /// How many answers of reads (or of atomics) of this size are on their way at a time: each has
    /// a buffer while it is.
    pub(super) fn answers(&self, bytes: usize) -> usize {
        let fitting = (Self::RECEIVE_BYTES / bytes.max(1)).max(2) as u64;
        let count = self.tx_depth.min(fitting).max(self.post_list);
        usize::try_from(count).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup() -> Setup {
        Setup {
            verb: Verb::Send,
            atomic: AtomicKind::FetchAndAdd,
            goal: Goal::Bandwidth,
            wire: Wire::Fabric,
            provider: None,
            sizes: vec![64],
            length: Length::Iterations(1000),
            endpoints: 1,
            bidirectional: false,
            reversed: false,
            warm_up: 0,
            verify: false,
            remote_data: false,
            gap: Duration::ZERO,
            endless: false,
            fits: false,
            longest: None,
        }
    }

    #[test]
    fn sizes_fit_a_datagram_or_are_refused() {
        let sizes = |sizes: &[u64], fits| Setup { sizes: sizes.to_vec(), fits, ..setup() };
        let mut only = sizes(&[65_536], true);
        assert_eq!((only.fit(1400), only.sizes), (Ok(()), vec![1400]));
        let mut all = sizes(&[2, 1024, 2048], true);
        assert_eq!((all.fit(1400), all.sizes), (Ok(()), vec![2, 1024]));
        assert_eq!(sizes(&[1400, 1401], false).fit(1400), Err(1401));
    }

    #[test]
    fn pause_between_bursts_makes_the_rate() {
        let bytes = Pace { rate: Rate::Bytes(1_000_000), burst: 10 };
        assert_eq!(bytes.interval(1000), Duration::from_millis(10));
        let messages = Pace { rate: Rate::Messages(100), burst: 1 };
        assert_eq!(messages.interval(1000), Duration::from_millis(10));
    }

    #[test]
    fn each_difference_is_named_with_both_values() {
        assert_eq!(setup().difference(&setup()), None);
        let time = Length::Time { whole: Duration::from_secs(5), margin: Duration::from_secs(1) };
        for (theirs, names) in [
            (Setup { sizes: vec![2, 4], ..setup() }, "-s, -a) (64 here, 2 to 4 there)"),
            (Setup { length: time, ..setup() }, "1000 iterations here, 5 s with a margin of 1 s"),
            (Setup { endpoints: 4, ..setup() }, "(-q) (1 here, 4 there)"),
            (Setup { bidirectional: true, ..setup() }, "(-b) (no here, yes there)"),
            (Setup { wire: Wire::Tcp, ..setup() }, "fabric here, TCP there"),
            (Setup { verb: Verb::Read, ..setup() }, "send-bw here, read-bw there"),
            (Setup { goal: Goal::Latency, ..setup() }, "send-bw here, send-lat there"),
            (Setup { verify: true, ..setup() }, "verification (no here, yes there)"),
            (Setup { reversed: true, ..setup() }, "--reversed (no here, yes there)"),
            (Setup { warm_up: 7, ..setup() }, "warm-up (0 here, 7 there)"),
            (Setup { wire: Wire::Datagram, ..setup() }, "fabric here, unreliable datagrams there"),
            (
                Setup { provider: Some("tcp".into()), wire: Wire::Libfabric, ..setup() },
                "fabric here, libfabric's tcp there",
            ),
            (Setup { remote_data: true, ..setup() }, "remote data (no here, yes there)"),
            (Setup { gap: Duration::from_micros(5), ..setup() }, "gap (0ns here, 5µs there)"),
            (Setup { endless: true, ..setup() }, "until stopped (no here, yes there)"),
        ] {
            let difference = setup().difference(&theirs).expect("they differ");
            assert!(difference.contains(names), "{difference}");
        }
    }
}
