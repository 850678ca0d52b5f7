//! Schedules: which faults strike a run. Each seed draws its own kinds and intensities ("swarm"
//! testing), so that some runs see one fault alone and others many at once.

use std::{fmt, time::Duration};

use rand::{Rng, RngExt};
use rand_xoshiro::Xoshiro256PlusPlus;
use wire::Time;

use crate::{
    clock::HostClock,
    fault::{Effect, Rule, Selector},
    network::NetworkSpec,
    seed::{Purpose, stream},
};

/// Something that happens to a host or a link at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// The host's software stands still.
    Pause(usize),
    /// It goes on.
    Resume(usize),
    /// The host's software is gone.
    Kill(usize),
    /// It starts again, at the same address, knowing nothing.
    Restart(usize),
    /// All links of one of the parallel paths become slower by this factor.
    SlowPath(u16, u32),
    /// A stranger sends the host something that is not of this protocol, or almost.
    Hostile(usize),
    /// A datagram from the past arrives once more.
    Replay,
}

/// The faults of one run.
#[derive(Clone, Debug, Default)]
pub struct Schedule {
    /// What happens to packets.
    pub rules: Vec<Rule>,
    /// What happens to hosts and links, by time.
    pub controls: Vec<(Time, Control)>,
    /// The hosts' clocks; true time where there are too few.
    pub clocks: Vec<HostClock>,
    /// How late timers may be.
    pub late_timers: Duration,
    /// Hosts with another receive buffer and cost per packet.
    pub receivers: Vec<(usize, usize, Duration)>,
    /// Receives are posted up to this much later than their messages are sent.
    pub late_receives: Duration,
    /// The first packet and message numbers are close to their wrap.
    pub numbers_wrap: bool,
    /// When everything is repaired.
    pub heal_at: Time,
}

impl Schedule {
    /// No faults at all.
    pub fn none() -> Self {
        Self::default()
    }

    /// Whether a host loses its memory in this run.
    pub fn kills(&self) -> bool {
        self.controls.iter().any(|(_, control)| matches!(control, Control::Kill(_)))
    }

    /// Whether a host goes down for good.
    pub fn buries(&self) -> bool {
        let count = |wanted: fn(&Control) -> bool| {
            self.controls.iter().filter(|(_, control)| wanted(control)).count()
        };
        count(|c| matches!(c, Control::Kill(_))) > count(|c| matches!(c, Control::Restart(_)))
    }

    /// Draws a schedule: `seed` decides everything.
    pub fn swarm(seed: u64, spec: &NetworkSpec) -> Self {
        let rng = stream(seed, Purpose::Faults);
        let mut draw = Draw { rng, spec, horizon: 0, schedule: Self::default() };
        draw.horizon = draw.between_log(2e6, 4e8);
        draw.schedule.heal_at = Time::from_nanos(draw.horizon);
        draw.packet_rules();
        draw.cuts();
        draw.links();
        draw.clocks();
        draw.hosts();
        draw.strangers();
        draw.schedule.controls.sort_by_key(|&(at, _)| at);
        draw.schedule
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for rule in &self.rules {
            let (from, until) = (millis(rule.from), millis(rule.until));
            writeln!(f, "  {from:.3}-{until:.3} ms {:?} {:?}", rule.effect, rule.selector)?;
        }
        let quiet = |control: &Control| matches!(control, Control::Hostile(_) | Control::Replay);
        for (at, control) in self.controls.iter().filter(|(_, control)| !quiet(control)) {
            writeln!(f, "  {:.3} ms {control:?}", millis(*at))?;
        }
        let strangers = self.controls.iter().filter(|(_, control)| quiet(control)).count();
        if strangers > 0 {
            writeln!(f, "  {strangers} hostile or replayed datagrams")?;
        }
        for (host, clock) in self.clocks.iter().enumerate() {
            writeln!(f, "  host {host} {clock:?}")?;
        }
        for (host, buffer, cost) in &self.receivers {
            writeln!(f, "  host {host} receives into {buffer} bytes, {cost:?} per packet")?;
        }
        if !self.late_timers.is_zero() {
            writeln!(f, "  timers up to {:?} late", self.late_timers)?;
        }
        if !self.late_receives.is_zero() {
            writeln!(f, "  receives up to {:?} late", self.late_receives)?;
        }
        if self.numbers_wrap {
            writeln!(f, "  packet numbers about to wrap")?;
        }
        write!(f, "  healed at {:.3} ms", millis(self.heal_at))
    }
}

fn millis(time: Time) -> f64 {
    time.since(Time::ZERO).as_secs_f64() * 1e3
}

struct Draw<'a> {
    rng: Xoshiro256PlusPlus,
    spec: &'a NetworkSpec,
    /// When faults end, in nanoseconds.
    horizon: u64,
    schedule: Schedule,
}

impl Draw<'_> {
    fn packet_rules(&mut self) {
        if self.rng.random_bool(0.4) {
            let rate = self.fraction(0.001, 0.3);
            self.whole_time(Effect::Lose(rate));
        }
        if self.rng.random_bool(0.2) {
            let (enter, leave) = (self.fraction(0.000_1, 0.02), self.fraction(0.02, 0.5));
            self.whole_time(Effect::Burst { enter, leave });
        }
        if self.rng.random_bool(0.2) {
            let rate = self.fraction(0.001, 0.2);
            self.whole_time(Effect::LoseTrains(rate));
        }
        if self.rng.random_bool(0.25) {
            let after = Duration::from_nanos(self.between_log(1e3, 3e9));
            let rate = self.fraction(0.001, 0.3);
            self.whole_time(Effect::Duplicate { rate, after });
        }
        if self.rng.random_bool(0.3) {
            let most = Duration::from_nanos(self.between_log(1e3, 5e6));
            let path = self.some_path();
            self.add(
                0,
                self.horizon,
                Selector { path, ..Selector::default() },
                Effect::Jitter(most),
            );
        }
        if self.rng.random_bool(0.2) {
            let rate = self.fraction(0.000_1, 0.05);
            self.whole_time(Effect::Flip(rate));
        }
        if self.rng.random_bool(0.2) {
            let rate = self.fraction(0.000_1, 0.05);
            self.whole_time(Effect::Truncate(rate));
        }
        if self.rng.random_bool(0.2) {
            let rate = self.fraction(0.001, 0.9);
            self.whole_time(Effect::Mark(rate));
        }
    }

    fn cuts(&mut self) {
        if self.rng.random_bool(0.2) {
            let from = Some(self.some_host());
            self.for_a_while(Selector { from, ..Selector::default() }, Effect::Cut);
        }
        if self.rng.random_bool(0.25) {
            let path = self.some_path();
            self.for_a_while(Selector { path, ..Selector::default() }, Effect::Cut);
        }
        if self.rng.random_bool(0.2) {
            let to = Some(self.some_host());
            let selector = Selector { to, acks_only: true, ..Selector::default() };
            self.for_a_while(selector, Effect::Cut);
        }
        if self.rng.random_bool(0.1) {
            self.for_a_while(Selector::default(), Effect::Cut);
        }
    }

    fn links(&mut self) {
        if self.rng.random_bool(0.2) {
            let limit = self.rng.random_range(600..self.spec.mtu);
            let path = self.some_path();
            self.for_a_while(Selector { path, ..Selector::default() }, Effect::Shrink(limit));
        }
        if self.rng.random_bool(0.2) {
            let factor = self.rng.random_range(2..=20);
            let path = self.some_path().unwrap_or(0);
            let (from, _) = self.window();
            self.control(from, Control::SlowPath(path, factor));
        }
    }

    fn clocks(&mut self) {
        if self.rng.random_bool(0.5) {
            for _ in 0..self.spec.topology.hosts() {
                let jumps = self.rng.random_bool(0.1);
                let at = self.rng.random_range(0..self.horizon);
                let by = self.between_log(1e5, 1e10);
                let clock = HostClock {
                    offset: self.between_log(1.0, 1e16),
                    drift_ppm: self.rng.random_range(-300..=300),
                    jump: jumps.then_some((at, by)),
                };
                self.schedule.clocks.push(clock);
            }
        }
        if self.rng.random_bool(0.2) {
            self.schedule.late_timers = Duration::from_nanos(self.between_log(1e4, 1e7));
        }
    }

    fn hosts(&mut self) {
        if self.rng.random_bool(0.2) {
            let (host, buffer) = (self.some_host(), self.between_log(64e3, 1e6));
            let cost = Duration::from_nanos(self.between_log(500.0, 5e4));
            let buffer = usize::try_from(buffer).unwrap_or(usize::MAX);
            self.schedule.receivers.push((host, buffer, cost));
        }
        if self.rng.random_bool(0.2) {
            let (host, (from, until)) = (self.some_host(), self.window());
            self.control(from, Control::Pause(host));
            self.control(until, Control::Resume(host));
        }
        if self.rng.random_bool(0.2) {
            let (host, (from, until)) = (self.some_host(), self.window());
            self.control(from, Control::Kill(host));
            if self.rng.random_bool(0.8) {
                self.control(until, Control::Restart(host));
            }
        }
        if self.rng.random_bool(0.3) {
            self.schedule.late_receives = Duration::from_nanos(self.between_log(1e4, 1e8));
        }
        self.schedule.numbers_wrap = self.rng.random_bool(0.25);
    }

    fn strangers(&mut self) {
        if self.rng.random_bool(0.3) {
            for _ in 0..self.rng.random_range(1..200) {
                let (at, host) = (self.rng.random_range(0..self.horizon), self.some_host());
                self.control(at, Control::Hostile(host));
            }
        }
        if self.rng.random_bool(0.3) {
            for _ in 0..self.rng.random_range(1..200) {
                let at = self.rng.random_range(0..self.horizon);
                self.control(at, Control::Replay);
            }
        }
    }

    fn whole_time(&mut self, effect: Effect) {
        self.add(0, self.horizon, Selector::default(), effect);
    }

    fn for_a_while(&mut self, selector: Selector, effect: Effect) {
        let (from, until) = self.window();
        self.add(from, until, selector, effect);
    }

    fn add(&mut self, from: u64, until: u64, selector: Selector, effect: Effect) {
        let (from, until) = (Time::from_nanos(from), Time::from_nanos(until));
        self.schedule.rules.push(Rule { from, until, selector, effect });
    }

    fn control(&mut self, at: u64, control: Control) {
        self.schedule.controls.push((Time::from_nanos(at), control));
    }

    /// A part of the time in which faults strike, in nanoseconds.
    fn window(&mut self) -> (u64, u64) {
        let from = self.rng.random_range(0..self.horizon);
        (from, self.rng.random_range(from..=self.horizon))
    }

    fn some_host(&mut self) -> usize {
        self.rng.random_range(0..self.spec.topology.hosts())
    }

    /// One of several paths; sometimes all of them.
    fn some_path(&mut self) -> Option<u16> {
        let paths = self.spec.topology.paths();
        self.rng.random_bool(0.8).then(|| self.rng.random_range(0..paths))
    }

    fn fraction(&mut self, low: f64, high: f64) -> f64 {
        log_uniform(&mut self.rng, low, high)
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "bounds are positive"
    )]
    fn between_log(&mut self, low: f64, high: f64) -> u64 {
        log_uniform(&mut self.rng, low, high) as u64
    }
}

/// A number between `low` and `high` whose logarithm is evenly distributed: each order of
/// magnitude is as likely as the next.
pub(crate) fn log_uniform(rng: &mut impl Rng, low: f64, high: f64) -> f64 {
    (low.ln() + rng.random::<f64>() * (high.ln() - low.ln())).exp()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Topology;

    #[test]
    fn a_seed_draws_the_same_faults_twice_and_seeds_differ() {
        let spec = NetworkSpec::new(Topology::MultiPath { paths: 4 });
        let drawn = |seed| Schedule::swarm(seed, &spec).to_string();
        assert_eq!(drawn(5), drawn(5));
        assert_ne!(drawn(5), drawn(6));
    }

    #[test]
    fn every_kind_of_fault_strikes_in_some_seed() {
        let spec = NetworkSpec::new(Topology::MultiPath { paths: 4 });
        let all: String = (0..200).map(|seed| Schedule::swarm(seed, &spec).to_string()).collect();
        for kind in [
            "Lose(",
            "Burst",
            "LoseTrains",
            "Duplicate",
            "Jitter",
            "Flip",
            "Truncate",
            "Mark",
            "Cut",
            "acks_only: true",
            "Shrink",
            "SlowPath",
            "jump: Some",
            "late",
            "receives into",
            "Pause",
            "Kill",
            "Restart",
            "hostile",
            "wrap",
        ] {
            assert!(all.contains(kind), "{kind}");
        }
    }
}
