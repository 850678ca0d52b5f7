//! Which tests run, as data.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    checks::{MIB, SMALL, STALL_BYTES},
    fabric_load::FabricTuning,
    load::{Shape, Test},
    report::{Metric, Network, Transport},
};

use Metric::{
    Bandwidth, BidirectionalBandwidth, CpuPerGb, LatencyP50, LatencyP99, LatencyP99_9,
    LongestStall, MessageRate,
};
use Transport::{Elastane, Libfabric, Tcp, Tcp4, TcpDefault, UdpRaw};

/// What is measured on every machine: a provider of libfabric's only where one is named.
const ALWAYS: [Transport; 5] = [Elastane, Tcp, TcpDefault, Tcp4, UdpRaw];

/// Everything a comparison measures, network by network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// In the order they run.
    pub sections: Vec<Section>,
}

/// What is measured on one network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Section {
    /// The network.
    pub network: Network,
    /// What happens on it meanwhile.
    pub condition: Condition,
    /// What is measured.
    pub steps: Vec<Step>,
    /// How each candidate setting of TCP is tried before the best is chosen.
    pub trial: Trial,
    /// How long `iperf3` runs, if it is installed.
    pub iperf3: Option<Duration>,
    /// What stands between the fabric and the wire on the client's side.
    #[serde(default)]
    pub fabric: FabricTuning,
    /// The provider of libfabric's that is measured beside.
    #[serde(default)]
    pub provider: Option<String>,
}

/// What happens on a network while a test runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// Nothing.
    Undisturbed,
    /// Every path is cut once, one after the other, so that no transport is spared by luck.
    CutEachPath {
        /// How many paths there are.
        paths: usize,
        /// How long a path stays cut.
        cut: Duration,
        /// How long all are whole before the next is cut.
        whole: Duration,
    },
    /// Packets are lost at random; in turn with that, the same is measured without loss.
    Loss {
        /// Of a hundred packets.
        percent: f64,
    },
    /// One cubic TCP flow shares the link.
    TcpBeside,
}

/// One test with each of several transports, which take turns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The test.
    pub test: Test,
    /// Who takes part.
    pub transports: Vec<Transport>,
    /// How often each has its turn.
    pub rounds: u32,
    /// What of the outcome goes into the report.
    pub metrics: Vec<Metric>,
}

/// How a candidate setting is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// How long at a time.
    pub duration: Duration,
    /// How often.
    pub rounds: u32,
}

/// Sizes of a full run: powers of four.
const ALL_SIZES: [u64; 12] =
    [1, 4, 16, SMALL, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, MIB, 4 << 20];

/// Bytes of the messages whose latency and rate are measured on one host.
pub const ONE_HOST_SMALL: [u64; 2] = [8, SMALL];
/// Bytes of those whose bandwidth is.
pub const ONE_HOST_LARGE: [u64; 3] = [64 << 10, MIB, 4 << 20];

/// Paths of the emulated multipath network.
pub const PATHS: usize = 4;

impl Plan {
    /// About half a minute: the promises, and a few sizes.
    pub fn quick() -> Self {
        let millis = Duration::from_millis;
        let head = Pace { rounds: 3, flow: millis(120), latency: millis(60), rate: millis(60) };
        let once = Pace { rounds: 1, ..head };
        let few = [Elastane, Tcp, UdpRaw];
        let mut steps: Vec<Step> =
            [4 << 10, 64 << 10].map(|bytes| once.one_way(bytes, &few)).into();
        steps.push(head.one_way(MIB, &ALWAYS));
        steps.push(Pace { rounds: 2, ..head }.both_ways(MIB));
        steps.push(head.ping_pong(SMALL));
        steps.push(once.ping_pong(8 << 10));
        steps.push(head.windows(SMALL));
        let others = Others {
            rounds: 2,
            trial: Trial { duration: millis(50), rounds: 1 },
            bystander: None,
            multipath: (vec![MIB], millis(200)),
            cut: (millis(200), millis(120)),
            loss: millis(180),
            shared: Duration::from_secs(3),
        };
        let flat = Section {
            network: Network::Flat,
            condition: Condition::Undisturbed,
            steps,
            trial: Trial { duration: millis(50), rounds: 2 },
            iperf3: Some(Duration::from_secs(1)),
            fabric: FabricTuning::default(),
            provider: None,
        };
        let pace = Pace { rounds: 3, flow: millis(50), latency: millis(25), rate: millis(25) };
        let one_host = pace.one_host(Trial { duration: millis(25), rounds: 1 });
        Self { sections: [vec![flat], others.sections(), vec![one_host]].concat() }
    }

    /// Under five minutes: all sizes, more rounds, longer tests.
    pub fn full() -> Self {
        let millis = Duration::from_millis;
        let pace = Pace { rounds: 3, flow: millis(250), latency: millis(200), rate: millis(120) };
        let mut steps: Vec<Step> = ALL_SIZES.map(|bytes| pace.one_way(bytes, &ALWAYS)).into();
        steps.extend(ALL_SIZES.map(|bytes| pace.both_ways(bytes)));
        steps.extend(ALL_SIZES.map(|bytes| pace.ping_pong(bytes)));
        steps.extend(ALL_SIZES.map(|bytes| pace.windows(bytes)));
        let trial = Trial { duration: millis(150), rounds: 2 };
        let others = Others {
            rounds: 3,
            trial,
            bystander: Some(TcpDefault),
            multipath: (vec![STALL_BYTES, MIB, 4 << 20], millis(600)),
            cut: (millis(500), millis(300)),
            loss: millis(600),
            shared: Duration::from_secs(10),
        };
        let flat = Section {
            network: Network::Flat,
            condition: Condition::Undisturbed,
            steps,
            trial,
            iperf3: Some(Duration::from_secs(2)),
            fabric: FabricTuning::default(),
            provider: None,
        };
        let one_host = pace.one_host(trial);
        Self { sections: [vec![flat], others.sections(), vec![one_host]].concat() }
    }

    /// What of it can be measured where nobody can make networks or break the wire.
    pub fn without_emulation(mut self) -> Self {
        let real = [Network::Flat, Network::OneHost];
        self.sections.retain(|section| real.contains(&section.network));
        self
    }

    /// What of it can be measured between two real machines.
    pub fn between_machines(mut self) -> Self {
        self.sections.retain(|section| section.network == Network::Flat);
        self
    }

    /// Measures a provider of libfabric's too, wherever the fabric is measured.
    #[must_use]
    pub fn with_provider(mut self, provider: &str) -> Self {
        for section in &mut self.sections {
            section.provider = Some(provider.to_owned());
            for step in &mut section.steps {
                if step.transports.contains(&Elastane) {
                    step.transports.push(Libfabric);
                }
            }
        }
        self
    }

    /// How long it takes, without setting networks up.
    pub fn estimate(&self) -> Duration {
        self.sections.iter().map(Section::estimate).sum()
    }
}

/// How long and how often on the flat network.
#[derive(Clone, Copy)]
struct Pace {
    rounds: u32,
    flow: Duration,
    latency: Duration,
    rate: Duration,
}

impl Pace {
    fn one_way(self, bytes: u64, transports: &[Transport]) -> Step {
        self.step(Test::new(Shape::OneWay, bytes, self.flow), transports, &[Bandwidth, CpuPerGb])
    }

    fn both_ways(self, bytes: u64) -> Step {
        let test = Test::new(Shape::BothWays, bytes, self.flow);
        self.step(test, &[Elastane, Tcp, TcpDefault, Tcp4], &[BidirectionalBandwidth])
    }

    fn ping_pong(self, bytes: u64) -> Step {
        let test = Test::new(Shape::PingPong, bytes, self.latency);
        self.step(test, &SINGLE, &[LatencyP50, LatencyP99, LatencyP99_9])
    }

    /// Through shared memory and through the kernel's TCP, between two processes of one host.
    fn one_host(self, trial: Trial) -> Section {
        let both = [Elastane, Tcp];
        let ping = |bytes| Test::new(Shape::PingPong, bytes, self.latency);
        let windows = |bytes| Test::new(Shape::Windows, bytes, self.rate);
        let mut steps = Vec::new();
        let latencies = [LatencyP50, LatencyP99, LatencyP99_9];
        steps.extend(ONE_HOST_SMALL.map(|bytes| self.step(ping(bytes), &both, &latencies)));
        steps.extend(ONE_HOST_SMALL.map(|bytes| self.step(windows(bytes), &both, &[MessageRate])));
        steps.extend(ONE_HOST_LARGE.map(|bytes| self.one_way(bytes, &both)));
        Section {
            network: Network::OneHost,
            condition: Condition::Undisturbed,
            steps,
            trial,
            iperf3: None,
            fabric: FabricTuning::default(),
            provider: None,
        }
    }

    fn windows(self, bytes: u64) -> Step {
        self.step(Test::new(Shape::Windows, bytes, self.rate), &SINGLE, &[MessageRate])
    }

    fn step(self, test: Test, transports: &[Transport], metrics: &[Metric]) -> Step {
        Step {
            test,
            transports: transports.to_vec(),
            rounds: self.rounds,
            metrics: metrics.to_vec(),
        }
    }
}

/// Transports that take one message after the other.
const SINGLE: [Transport; 4] = [Elastane, Tcp, TcpDefault, UdpRaw];

/// Every network but the flat one.
struct Others {
    rounds: u32,
    trial: Trial,
    /// Measured as well, if there is time.
    bystander: Option<Transport>,
    /// Sizes, and how long each is measured.
    multipath: (Vec<u64>, Duration),
    /// How long a path is cut, and how long all are whole before the next.
    cut: (Duration, Duration),
    loss: Duration,
    shared: Duration,
}

impl Others {
    fn sections(self) -> Vec<Section> {
        let (cut, whole) = self.cut;
        let section = |network, condition, steps| Section {
            network,
            condition,
            steps,
            trial: self.trial,
            iperf3: None,
            fabric: FabricTuning::default(),
            provider: None,
        };
        vec![
            section(Network::Multipath, Condition::Undisturbed, self.multipath()),
            section(
                Network::PathCut,
                Condition::CutEachPath { paths: PATHS, cut, whole },
                self.path_cut(),
            ),
            section(Network::Loss01, Condition::Loss { percent: 0.1 }, self.loss()),
            section(Network::Loss1, Condition::Loss { percent: 1.0 }, self.loss()),
            section(Network::SharedLink, Condition::TcpBeside, self.shared()),
        ]
    }

    fn multipath(&self) -> Vec<Step> {
        let (sizes, duration) = &self.multipath;
        let step = |&bytes| self.bandwidth(Test::new(Shape::OneWay, bytes, *duration), &[Tcp4]);
        sizes.iter().map(step).collect()
    }

    fn path_cut(&self) -> Vec<Step> {
        let (cut, whole) = self.cut;
        let every_path_cut = u32::try_from(PATHS).expect("few paths") * (cut + whole);
        let test = Test::new(Shape::OneWay, STALL_BYTES, every_path_cut);
        let stalls = Step {
            test: Test { warm_up: whole, ..test },
            transports: [Elastane, Tcp].into_iter().chain(self.bystander.and(Some(Tcp4))).collect(),
            rounds: 1,
            metrics: vec![LongestStall],
        };
        vec![stalls]
    }

    fn loss(&self) -> Vec<Step> {
        vec![self.bandwidth(Test::new(Shape::OneWay, MIB, self.loss), &[])]
    }

    fn shared(&self) -> Vec<Step> {
        let step = Step {
            test: Test::new(Shape::OneWay, MIB, self.shared),
            transports: vec![Elastane],
            rounds: 1,
            metrics: vec![Bandwidth],
        };
        vec![step]
    }

    fn bandwidth(&self, test: Test, more: &[Transport]) -> Step {
        let transports = [Elastane, Tcp].into_iter();
        Step {
            test,
            transports: transports.chain(self.bystander).chain(more.iter().copied()).collect(),
            rounds: self.rounds,
            metrics: vec![Bandwidth],
        }
    }
}

impl Section {
    /// What a test costs beyond sending: the two sides agreeing on it, opening, closing.
    const OVERHEAD: Duration = Duration::from_millis(15);

    /// How long it takes.
    pub fn estimate(&self) -> Duration {
        let steps: Duration = self.steps.iter().map(|step| self.step_estimate(step)).sum();
        let trials: Duration = [Shape::OneWay, Shape::PingPong, Shape::Windows]
            .into_iter()
            .filter(|&shape| self.tries_tcp(shape))
            .map(|shape| {
                let candidates = if shape == Shape::OneWay { 4 } else { 2 };
                let test = Test::new(shape, MIB, self.trial.duration);
                candidates * self.trial.rounds * (test.sending() + Self::OVERHEAD)
            })
            .sum();
        steps + trials + self.iperf3.unwrap_or_default()
    }

    /// Whether settings of TCP have to be tried for tests of this shape. What is best one way is
    /// taken for best both ways.
    pub fn tries_tcp(&self, shape: Shape) -> bool {
        self.steps.iter().any(|step| {
            let wanted = step.transports.contains(&Tcp)
                || (shape == Shape::OneWay && step.transports.contains(&Tcp4));
            wanted && step.test.shape == shape
        })
    }

    fn step_estimate(&self, step: &Step) -> Duration {
        let turns = u32::try_from(step.transports.len()).unwrap_or(u32::MAX) * step.rounds;
        let twice = if matches!(self.condition, Condition::Loss { .. }) { 2 } else { 1 };
        turns * twice * (step.test.sending() + Self::OVERHEAD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quick_plan_takes_less_than_half_a_minute() {
        let estimate = Plan::quick().estimate();
        assert!(estimate < Duration::from_secs(28), "{estimate:?}");
    }

    #[test]
    fn full_plan_takes_less_than_five_minutes() {
        let estimate = Plan::full().estimate();
        assert!(estimate < Duration::from_secs(290), "{estimate:?}");
    }

    #[test]
    fn both_plans_measure_every_promise() {
        for plan in [Plan::quick(), Plan::full()] {
            let networks: Vec<_> = plan.sections.iter().map(|section| section.network).collect();
            assert_eq!(networks, Network::ALL);
            let flat = &plan.sections[0];
            let has = |metric: Metric, bytes| {
                flat.steps.iter().any(|step| {
                    step.metrics.contains(&metric)
                        && step.test.bytes == bytes
                        && [Elastane, Tcp, UdpRaw]
                            .iter()
                            .all(|transport| step.transports.contains(transport))
                })
            };
            assert!(has(Bandwidth, MIB) && has(CpuPerGb, MIB));
            assert!(has(LatencyP50, SMALL) && has(MessageRate, SMALL));
        }
    }

    #[test]
    fn full_plan_measures_every_metric_at_every_size() {
        let plan = Plan::full();
        let flat = &plan.sections[0];
        for metric in [Bandwidth, BidirectionalBandwidth, LatencyP99_9, MessageRate, CpuPerGb] {
            let sizes: Vec<_> = flat
                .steps
                .iter()
                .filter(|step| step.metrics.contains(&metric))
                .map(|step| step.test.bytes)
                .collect();
            assert_eq!(sizes, ALL_SIZES, "{metric:?}");
        }
    }

    #[test]
    fn without_emulation_both_plans_measure_one_host() {
        for plan in [Plan::quick(), Plan::full()] {
            let networks: Vec<_> =
                plan.without_emulation().sections.iter().map(|section| section.network).collect();
            assert_eq!(networks, [Network::Flat, Network::OneHost]);
        }
    }

    #[test]
    fn between_real_machines_nothing_is_broken() {
        let plan = Plan::full().between_machines();
        assert!(plan.sections.iter().all(|section| section.condition == Condition::Undisturbed));
        assert!(!plan.sections.is_empty());
    }
}
