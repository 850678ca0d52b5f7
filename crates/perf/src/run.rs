//! Runs a section of a plan: transports take turns, round by round, so that whatever else the
//! machine does meanwhile hits all of them alike.

mod faults;
mod tcp_choice;

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

pub use faults::{Fault, FaultControl, FaultError, NoFaults};
use tcp_choice::TcpChoice;

use crate::{
    baseline::{TcpTuning, iperf3_version},
    bench::libfabric::Provider,
    control::ControlError,
    load::{Contender, Shape, Test},
    plan::{Condition, Section, Step},
    provider_load::ProviderLoad,
    report::{Beside, Metric, Network, Row, SectionReport, Transport},
    session::{MeasureError, Measured, Session},
    units,
};

/// What happens, as it happens; for a progress bar.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// A section began, which has so many tests.
    Began {
        /// How many.
        tests: usize,
    },
    /// A test began.
    Testing {
        /// Which, in a few words.
        what: String,
    },
    /// A test ended.
    Tested,
}

/// Why a section could not be measured to its end. A test that fails is no such reason: it becomes
/// a note.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The other side is lost.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The network could not be disturbed as planned.
    #[error(transparent)]
    Fault(#[from] FaultError),
}

/// Measures a section. The calling thread should be bound to a CPU ([`crate::cpu::pin`]).
pub fn run_section(
    session: &mut Session,
    section: &Section,
    faults: &mut (dyn FaultControl + Send),
    progress: &mut dyn FnMut(Event),
) -> Result<SectionReport, RunError> {
    let mut runner = Runner { session, section, faults, progress, notes: Vec::new() };
    let turns = runner.turns();
    let iperf3 = section.iperf3.zip(iperf3_version());
    let twice = if matches!(section.condition, Condition::Loss { .. }) { 2 } else { 1 };
    let tests = TcpChoice::trials(section, runner.session)
        + turns.len() * twice
        + usize::from(iperf3.is_some());
    (runner.progress)(Event::Began { tests });

    let tcp = TcpChoice::make(&mut runner)?;
    let mut samples = Samples::default();
    for turn in &turns {
        runner.take_turn(turn, &tcp, &mut samples)?;
    }
    let mut beside = Vec::new();
    if let Some((duration, version)) = iperf3 {
        beside.extend(runner.iperf3(duration, &version, &tcp)?);
    }
    runner.note_cpus();
    runner.note_provider();
    let Runner { notes, session, .. } = runner;
    Ok(SectionReport {
        network: section.network,
        machine: session.machine().clone(),
        server: session.server().clone(),
        results: samples.rows(section),
        beside,
        notes,
    })
}

struct Runner<'a> {
    session: &'a mut Session,
    section: &'a Section,
    faults: &'a mut (dyn FaultControl + Send),
    progress: &'a mut dyn FnMut(Event),
    notes: Vec<String>,
}

/// One transport's turn in one round of a step.
struct Turn<'a> {
    step: &'a Step,
    transport: Transport,
}

impl<'a> Runner<'a> {
    /// All turns in the order they are taken.
    fn turns(&mut self) -> Vec<Turn<'a>> {
        let mut turns = Vec::new();
        for step in &self.section.steps {
            for _ in 0..step.rounds {
                for &transport in &step.transports {
                    turns.push(Turn { step, transport });
                }
            }
        }
        let session = &*self.session;
        turns.retain(|Turn { step, transport }| {
            contender(*transport, step.test.shape, &TcpChoice::default(), self.section)
                .is_some_and(|contender| session.can_run(&contender, &step.test))
        });
        turns
    }

    fn take_turn(
        &mut self,
        turn: &Turn<'_>,
        tcp: &TcpChoice,
        samples: &mut Samples,
    ) -> Result<(), RunError> {
        let Turn { step, transport } = *turn;
        let Some(contender) = contender(transport, step.test.shape, tcp, self.section) else {
            return Ok(());
        };
        let what = format!(
            "{} {} {}",
            transport.name(),
            step.metrics.first().map_or("", |metric| metric.name()),
            units::size(step.test.bytes)
        );
        if let Condition::Loss { percent } = self.section.condition {
            self.faults.apply(Fault::Loss(0.0))?;
            let undisturbed = self.test(&what, &contender, &step.test)?;
            samples.add(step, transport, undisturbed.as_ref(), Samples::UNDISTURBED);
            self.faults.apply(Fault::Loss(percent))?;
        }
        let measured = self.test(&what, &contender, &step.test)?;
        samples.add(step, transport, measured.as_ref(), Samples::MEASURED);
        Ok(())
    }

    /// Runs one test under the section's condition. A test that fails has no result and leaves a
    /// note.
    fn test(
        &mut self,
        what: &str,
        contender: &Contender,
        test: &Test,
    ) -> Result<Option<Measured>, RunError> {
        (self.progress)(Event::Testing { what: what.to_owned() });
        let result = match self.section.condition {
            Condition::Undisturbed | Condition::Loss { .. } => {
                self.session.measure(contender, test, None)
            }
            Condition::TcpBeside => {
                let rival = TcpTuning::cubic();
                self.session.measure(contender, test, Some(&rival))
            }
            Condition::CutEachPath { paths, cut, whole } => {
                let schedule = faults::cut_each_path(paths, cut, whole, test.warm_up);
                faults::during(&mut *self.faults, &schedule, || {
                    self.session.measure(contender, test, None)
                })?
            }
        };
        (self.progress)(Event::Tested);
        match result {
            Ok(measured) => Ok(Some(measured)),
            Err(MeasureError::Control(error)) => Err(error.into()),
            Err(error @ (MeasureError::Here(_) | MeasureError::There(_))) => {
                self.note(format!("{what} failed: {error}"));
                Ok(None)
            }
        }
    }

    fn iperf3(
        &mut self,
        duration: Duration,
        version: &str,
        tcp: &TcpChoice,
    ) -> Result<Option<Beside>, RunError> {
        const ITS_OWN_SIZE: u64 = 128 << 10;
        let congestion = tcp.one_way.congestion.clone();
        let tool = match &congestion {
            Some(name) => format!("{version}, {name}"),
            None => format!("{version}, {}", self.session.machine().tcp_default),
        };
        let test = Test::new(Shape::OneWay, ITS_OWN_SIZE, duration);
        let measured = self.test("iperf3", &Contender::Iperf3 { congestion }, &test)?;
        let flow = measured.and_then(|measured| measured.client.outcome.flow);
        Ok(flow.map(|flow| Beside {
            tool,
            network: self.section.network,
            metric: Metric::Bandwidth,
            value: flow.bandwidth(),
            unit: Metric::Bandwidth.unit(),
        }))
    }

    /// Says where both sides ran, where the distance between their CPUs is all there is to say of
    /// the wire.
    fn note_cpus(&mut self) {
        if self.section.network != Network::OneHost {
            return;
        }
        let cpu =
            |cpu: Option<usize>| cpu.map_or("no CPU in particular".into(), |n| format!("CPU {n}"));
        let [client, server] = [self.session.machine(), self.session.server()].map(|m| cpu(m.cpu));
        self.note(format!("the client was bound to {client}, the server to {server}"));
    }

    /// Says what was opened for the provider's name.
    fn note_provider(&mut self) {
        let Some(name) = &self.section.provider else { return };
        let load = ProviderLoad::new(name.clone());
        if let Ok(opened) = load.describe(self.session.link().local) {
            let Provider { name, fabric, domain, libfabric } = opened;
            self.note(format!(
                "libfabric is {name} of libfabric {libfabric}, fabric {fabric}, domain {domain}"
            ));
        }
    }

    /// Notes what was not noted yet.
    fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}

/// Who runs for a transport.
fn contender(
    transport: Transport,
    shape: Shape,
    tcp: &TcpChoice,
    section: &Section,
) -> Option<Contender> {
    match transport {
        Transport::Elastane if section.network == Network::OneHost => Some(Contender::SharedMemory),
        Transport::Elastane => Some(Contender::Fabric(section.fabric.clone())),
        Transport::Tcp => Some(Contender::Tcp(tcp.best(shape).clone())),
        Transport::TcpDefault => Some(Contender::Tcp(TcpTuning::system_default())),
        Transport::Tcp4 => {
            Some(Contender::Tcp(TcpTuning { streams: 4, ..tcp.best(shape).clone() }))
        }
        Transport::Libfabric => section.provider.clone().map(Contender::Libfabric),
        Transport::UdpRaw => Some(Contender::UdpRaw),
    }
}

/// What one test says about a metric.
fn figure(metric: Metric, test: &Test, measured: &Measured) -> Option<f64> {
    let Measured { client, server } = measured;
    let arrived = server.outcome.flow;
    let latency = client.outcome.latency;
    #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 bytes")]
    let as_f64 = |bytes: u64| bytes as f64;
    match metric {
        Metric::Bandwidth => arrived.map(|flow| flow.bandwidth()),
        Metric::BidirectionalBandwidth => {
            Some(arrived?.bandwidth() + client.outcome.flow?.bandwidth())
        }
        Metric::LatencyP50 => latency.map(|latency| latency.p50.as_secs_f64()),
        Metric::LatencyP99 => latency.map(|latency| latency.p99.as_secs_f64()),
        Metric::LatencyP99_9 => latency.map(|latency| latency.p99_9.as_secs_f64()),
        Metric::MessageRate => arrived.map(|flow| flow.bandwidth() / as_f64(test.bytes)),
        Metric::CpuPerGb => {
            let cpu = (client.cpu + server.cpu).as_secs_f64();
            arrived.map(|flow| cpu / (as_f64(flow.total_bytes) / 1e9))
        }
        Metric::LongestStall => arrived.map(|flow| flow.longest_gap.as_secs_f64()),
    }
}

/// Samples by what they are of.
#[derive(Default)]
struct Samples {
    by_row: BTreeMap<(Metric, u64, Transport), [Vec<f64>; 3]>,
}

impl Samples {
    const MEASURED: usize = 0;
    const UNDISTURBED: usize = 1;
    const SHORTEST: usize = 2;

    fn add(&mut self, step: &Step, transport: Transport, of: Option<&Measured>, kind: usize) {
        let Some(measured) = of else { return };
        for &metric in &step.metrics {
            let samples = self.by_row.entry((metric, step.test.bytes, transport)).or_default();
            samples[kind].extend(figure(metric, &step.test, measured));
            if metric == Metric::LatencyP50 {
                let min = measured.client.outcome.latency.map(|latency| latency.min);
                samples[Self::SHORTEST].extend(min.map(|min| min.as_secs_f64()));
            }
        }
        // The share of the stream beside is a figure of TCP on the same network.
        let rival = measured.server.rival.as_ref().and_then(|outcome| outcome.flow);
        if let Some(flow) = rival {
            let key = (Metric::Bandwidth, step.test.bytes, Transport::Tcp);
            self.by_row.entry(key).or_default()[kind].push(flow.bandwidth());
        }
    }

    fn rows(self, section: &Section) -> Vec<Row> {
        let row =
            |((metric, bytes, transport), samples): ((Metric, u64, Transport), [Vec<f64>; 3])| {
                let [samples, undisturbed, shortest] = samples;
                Some(Row {
                    network: section.network,
                    transport,
                    metric,
                    bytes,
                    value: metric.of_samples(&samples)?,
                    unit: metric.unit(),
                    samples,
                    min: shortest.into_iter().min_by(f64::total_cmp),
                    undisturbed: metric.of_samples(&undisturbed),
                })
            };
        self.by_row.into_iter().filter_map(row).collect()
    }
}
