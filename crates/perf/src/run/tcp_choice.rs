//! What TCP is at its best with, found by trying: on each network anew, before anything is
//! measured.

use std::collections::BTreeMap;

use crate::{
    baseline::{TcpTuning, Wait},
    checks::{MIB, SMALL},
    load::{Contender, Shape, Test},
    plan::{Condition, Section},
    report::Metric,
    session::Session,
    stats,
};

use super::{Fault, RunError, Runner, figure};

/// The best setting by the shape of a test.
pub(super) struct TcpChoice {
    /// For bandwidth, one way and both ways.
    pub one_way: TcpTuning,
    ping_pong: TcpTuning,
    windows: TcpTuning,
}

impl Default for TcpChoice {
    fn default() -> Self {
        let default = TcpTuning::system_default();
        Self { one_way: default.clone(), ping_pong: default.clone(), windows: default }
    }
}

/// Larger than autotuning starts with, and what a tuning guide sets.
const LARGE_BUFFER: usize = 4 << 20;

impl TcpChoice {
    /// How many tests the choice takes.
    pub(super) fn trials(section: &Section, session: &Session) -> usize {
        let rounds = usize::try_from(section.trial.rounds).unwrap_or(usize::MAX);
        [Shape::OneWay, Shape::PingPong, Shape::Windows]
            .into_iter()
            .filter(|&shape| section.tries_tcp(shape))
            .map(|shape| candidates(shape, &session.machine().tcp_default).len() * rounds)
            .sum()
    }

    /// Tries the candidates for each shape the section needs and notes the best.
    pub(super) fn make(runner: &mut Runner<'_>) -> Result<Self, RunError> {
        let mut choice = Self::default();
        if let Condition::Loss { percent } = runner.section.condition {
            runner.faults.apply(Fault::Loss(percent))?;
        }
        for (shape, bytes, metric, best) in [
            (Shape::OneWay, MIB, Metric::Bandwidth, &mut choice.one_way),
            (Shape::PingPong, SMALL, Metric::LatencyP50, &mut choice.ping_pong),
            (Shape::Windows, SMALL, Metric::MessageRate, &mut choice.windows),
        ] {
            if !runner.section.tries_tcp(shape) {
                continue;
            }
            let test = Test::new(shape, bytes, runner.section.trial.duration);
            if let Some(found) = best_of(runner, &test, metric)? {
                runner.note(format!("tcp for {} is {found}", metric.name()));
                *best = found;
            }
        }
        Ok(choice)
    }

    /// The best setting for tests of this shape.
    pub(super) const fn best(&self, shape: Shape) -> &TcpTuning {
        match shape {
            Shape::OneWay | Shape::BothWays => &self.one_way,
            Shape::PingPong => &self.ping_pong,
            Shape::Windows => &self.windows,
        }
    }
}

fn candidates(shape: Shape, system_default: &str) -> Vec<TcpTuning> {
    let mut controls = vec![TcpTuning::system_default()];
    if system_default != "cubic" {
        controls.push(TcpTuning::cubic());
    }
    match shape {
        Shape::OneWay | Shape::BothWays => {
            let sized =
                |tuning: &TcpTuning| TcpTuning { buffer: Some(LARGE_BUFFER), ..tuning.clone() };
            let large: Vec<_> = controls.iter().map(sized).collect();
            controls.extend(large);
            controls
        }
        // One message is out at a time, so only the way to wait for it matters.
        Shape::PingPong | Shape::Windows => [Wait::Block, Wait::Poll]
            .map(|wait| TcpTuning { wait, ..TcpTuning::system_default() })
            .to_vec(),
    }
}

fn best_of(
    runner: &mut Runner<'_>,
    test: &Test,
    metric: Metric,
) -> Result<Option<TcpTuning>, RunError> {
    let candidates = candidates(test.shape, &runner.session.machine().tcp_default);
    let mut samples: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for _ in 0..runner.section.trial.rounds {
        for (index, tuning) in candidates.iter().enumerate() {
            let what = format!("trying TCP with {tuning}");
            let contender = Contender::Tcp(tuning.clone());
            if let Some(measured) = runner.test(&what, &contender, test)? {
                samples.entry(index).or_default().extend(figure(metric, test, &measured));
            }
        }
    }
    let goodness = |samples: &[f64]| {
        let median = stats::median(samples)?;
        Some(if metric.more_is_better() { median } else { -median })
    };
    let best = samples
        .iter()
        .filter_map(|(index, samples)| Some((index, goodness(samples)?)))
        .max_by(|(_, one), (_, other)| one.total_cmp(other));
    Ok(best.map(|(index, _)| candidates[*index].clone()))
}
