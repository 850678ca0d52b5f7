//! How much may be in flight to one peer.
//!
//! A delay target (Swift, SIGCOMM 2020), fed with the *median* over recent acknowledgements so
//! that one bad path does not set the rate (arXiv 2509.07907); capped by the delivered rate (as
//! BBR does); random loss without delay is not congestion; and, where somebody else keeps the
//! queue full whatever we do, plain AIMD on loss until the queue empties (Copa, NSDI 2018).
//! See P§6.

use std::time::Duration;

use wire::Time;

/// Samples the median is taken over.
const SAMPLES: usize = 16;
/// Rounds of delay above the target, in spite of cuts, after which a competitor is assumed.
const PATIENCE: u32 = 8;
/// Share of bytes lost in a round that counts as congestion even without delay.
const HEAVY_LOSS: f64 = 0.12;
/// How long the smallest round trip stays believed.
const BASE_WINDOW: Duration = Duration::from_secs(20);
/// The most acknowledgements of a round in which nothing happened: with one message at a time every
/// one of them would end a round, and a decision costs as much as the rest of it.
const DULL_ACKS: u32 = 8;
/// Rounds over which the delivered rate's maximum is kept.
const RATE_ROUNDS: u32 = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Grow quickly until the target delay or heavy loss is seen.
    Start,
    /// Follow the delay target.
    Delay,
    /// Share with a loss-based flow.
    Compete,
}

/// The congestion state of one context.
#[derive(Debug)]
pub(crate) struct Congestion {
    window: f64,
    floor: f64,
    ceiling: f64,
    datagram: f64,
    queue_target: Duration,
    mode: Mode,
    samples: [u64; SAMPLES],
    sample_count: usize,
    /// The median over the samples, as of the last time it was worked out.
    median: Duration,
    /// The round trip aimed at, as of the last time the window or the base changed much.
    target: Duration,
    base: Duration,
    base_seen: Time,
    round: Round,
    high_rounds: u32,
    /// Largest delivered rate of recent rounds, bytes per second, and its age in rounds.
    rate: f64,
    rate_age: u32,
    /// The window and the mode as they were before the last timeout, until the next decision.
    before_timeout: Option<(f64, Mode)>,
}

/// What happened since the last decision, which is taken about once per round trip.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    began: Time,
    acked: f64,
    lost: f64,
    marked: f64,
    echoes: f64,
    limited: bool,
    lowest: u64,
    acks: u32,
}

impl Round {
    /// Whether nothing happened in it that calls for another window: it may go on for a while.
    fn is_dull(&self) -> bool {
        !self.limited && self.lost + self.marked == 0.0 && self.acks < DULL_ACKS
    }
}

impl Congestion {
    pub(crate) fn new(now: Time, initial: u32, ceiling: u32, queue_target: Duration) -> Self {
        Self {
            window: f64::from(initial),
            floor: f64::from(initial).min(16_384.0),
            ceiling: f64::from(ceiling),
            datagram: 1_400.0,
            queue_target,
            mode: Mode::Start,
            samples: [0; SAMPLES],
            sample_count: 0,
            median: Duration::ZERO,
            target: Duration::from_millis(1) + queue_target,
            base: Duration::MAX,
            base_seen: now,
            round: Round { began: now, lowest: u64::MAX, ..Round::default() },
            high_rounds: 0,
            rate: 0.0,
            rate_age: 0,
            before_timeout: None,
        }
    }

    /// Bytes that may be in flight.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "floor..=ceiling")]
    pub(crate) fn window(&self) -> u32 {
        self.window as u32
    }

    /// The delay of an empty network, if known.
    pub(crate) fn base(&self) -> Option<Duration> {
        (self.base != Duration::MAX).then_some(self.base)
    }

    /// The size of a full datagram, the unit of slow growth.
    pub(crate) fn set_datagram(&mut self, bytes: usize) {
        self.datagram = f64::from(u32::try_from(bytes).unwrap_or(u32::MAX));
        self.floor = (2.0 * self.datagram).min(self.ceiling);
        self.window = self.window.max(self.floor);
    }

    /// Bytes per second at which trains should leave, `None` where pacing would change nothing
    /// (the network is empty).
    pub(crate) fn pacing_rate(&self, smoothed: Duration) -> Option<f64> {
        let base = self.base()?;
        if smoothed < base + self.queue_target / 4 {
            return None;
        }
        let gain = if self.mode == Mode::Start { 2.0 } else { 1.25 };
        Some(gain * self.window / smoothed.as_secs_f64().max(1e-6))
    }

    /// A round trip up to which a path counts as clean.
    pub(crate) fn clean_round_trip(&self) -> Duration {
        self.base().map_or(Duration::ZERO, |base| base + self.queue_target / 4)
    }

    /// Whether most paths have a queue.
    pub(crate) fn is_queueing(&self) -> bool {
        self.base().is_some_and(|base| self.median > base + self.queue_target / 2)
    }

    pub(crate) fn on_sample(&mut self, now: Time, rtt: Duration) {
        let nanos = u64::try_from(rtt.as_nanos()).unwrap_or(u64::MAX);
        self.samples[self.sample_count % SAMPLES] = nanos;
        self.sample_count += 1;
        // Sorting the samples costs more than all else here: once in a while is often enough.
        if self.sample_count.is_multiple_of(SAMPLES / 2) || self.sample_count < SAMPLES / 4 {
            self.median = self.work_out_median();
        }
        self.round.lowest = self.round.lowest.min(nanos);
        if rtt <= self.base || now.since(self.base_seen) > BASE_WINDOW {
            self.base = rtt;
            self.base_seen = now;
            self.target = self.work_out_target();
        }
    }

    pub(crate) fn on_echo(&mut self, marked: bool) {
        self.round.echoes += 1.0;
        self.round.marked += f64::from(u8::from(marked));
    }

    pub(crate) fn on_lost(&mut self, bytes: u32) {
        self.round.lost += f64::from(bytes);
    }

    /// The window kept data from leaving.
    pub(crate) fn on_limited(&mut self) {
        self.round.limited = true;
    }

    /// `bytes` were acknowledged; decides once per round trip.
    pub(crate) fn on_acked(&mut self, now: Time, bytes: u32) {
        self.round.acked += f64::from(bytes);
        self.round.acks += 1;
        if self.mode == Mode::Start && self.round.limited && self.median <= self.target {
            self.window = (self.window + f64::from(bytes)).min(self.ceiling);
        }
        if self.sample_count == 0 || self.mode != Mode::Compete && self.round.is_dull() {
            return;
        }
        let median = self.median;
        // When the delay has just risen the median lags: a round is never shorter than its own
        // shortest round trip.
        let lowest = if self.round.lowest == u64::MAX { 0 } else { self.round.lowest };
        let length = median.max(Duration::from_nanos(lowest));
        if now.since(self.round.began) >= length && self.round.acked > 0.0 {
            self.decide(now, median);
        }
    }

    /// Nothing was heard for a whole timeout: begin again with a small window.
    pub(crate) fn on_timeout(&mut self) {
        self.before_timeout = Some((self.window, self.mode));
        self.window = (self.window / 2.0).max(self.floor);
        self.mode = Mode::Delay;
    }

    /// The timeout was a mistake: nothing had been lost.
    pub(crate) fn undo_timeout(&mut self) {
        if let Some((window, mode)) = self.before_timeout.take() {
            self.window = self.window.max(window);
            self.mode = mode;
        }
    }

    fn decide(&mut self, now: Time, median: Duration) {
        self.before_timeout = None;
        let round = self.round;
        self.round = Round { began: now, lowest: u64::MAX, ..Round::default() };
        self.note_rate(round.acked / now.since(round.began).as_secs_f64().max(1e-6));
        let target = self.work_out_target();
        self.target = target;
        let loss = round.lost / (round.lost + round.acked);
        let marked = if round.echoes > 0.0 { round.marked / round.echoes } else { 0.0 };
        let congested = median > target;
        self.high_rounds =
            if Duration::from_nanos(round.lowest) > target { self.high_rounds + 1 } else { 0 };
        match self.mode {
            Mode::Compete => {
                if Duration::from_nanos(round.lowest)
                    < self.base().unwrap_or_default() + self.queue_target
                {
                    self.mode = Mode::Delay;
                } else if round.lost > 0.0 {
                    self.window *= 0.7;
                } else {
                    self.window += self.datagram;
                }
            }
            Mode::Start | Mode::Delay => {
                if congested {
                    self.mode = Mode::Delay;
                    let excess = (median - target).as_secs_f64() / median.as_secs_f64();
                    self.window *= (1.0 - 0.8 * excess).max(0.5);
                } else if loss > HEAVY_LOSS {
                    self.mode = Mode::Delay;
                    self.window *= 0.7;
                } else if round.limited && self.mode == Mode::Delay {
                    // Far below the target the window may grow faster than one datagram a round.
                    let room = 1.0 - median.as_secs_f64() / target.as_secs_f64();
                    self.window += self.datagram + self.window * 0.25 * room.max(0.0);
                }
                if self.high_rounds >= PATIENCE {
                    self.mode = Mode::Compete;
                    self.high_rounds = 0;
                }
            }
        }
        self.window *= 1.0 - marked / 2.0;
        self.clamp();
    }

    /// Remembers the largest delivered rate of the last rounds.
    fn note_rate(&mut self, rate: f64) {
        self.rate_age += 1;
        if rate >= self.rate || self.rate_age > RATE_ROUNDS {
            self.rate = rate;
            self.rate_age = 0;
        }
    }

    /// Keeps the window between the floor and what the delivered rate can use.
    fn clamp(&mut self) {
        let mut most = self.ceiling;
        if self.mode == Mode::Delay && self.rate > 0.0 {
            most = most.min((2.0 * self.rate * self.target.as_secs_f64()).max(131_072.0));
        }
        self.window = self.window.min(most).max(self.floor);
    }

    /// The round trip aimed at: the base, the queue allowed, and a little more when many flows
    /// share so that each has a small window (Swift's flow scaling).
    fn work_out_target(&self) -> Duration {
        let base = self.base().unwrap_or(Duration::from_millis(1));
        let datagrams = (self.window / self.datagram).max(1.0);
        base + self.queue_target + self.queue_target.div_f64(datagrams.sqrt())
    }

    fn work_out_median(&self) -> Duration {
        let count = self.sample_count.min(SAMPLES);
        let mut sorted = self.samples;
        sorted[..count].sort_unstable();
        Duration::from_nanos(sorted[count / 2])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(n: u64) -> Duration {
        Duration::from_micros(n)
    }

    /// Runs `rounds` round trips of `rtt`, with so many thousandths of the bytes lost in each.
    fn run(cc: &mut Congestion, now: &mut Time, rounds: u32, rtt: Duration, loss: u32) {
        for _ in 0..rounds {
            for _ in 0..8 {
                *now = *now + rtt / 8;
                cc.on_limited();
                cc.on_sample(*now, rtt);
                cc.on_lost(cc.window() / 8 / 1000 * loss);
                cc.on_acked(*now, cc.window() / 8);
            }
        }
    }

    fn fresh(now: Time) -> Congestion {
        let mut cc = Congestion::new(now, 65_536, 4 << 20, micros(250));
        cc.set_datagram(8_973);
        cc
    }

    #[test]
    fn window_opens_to_its_ceiling_on_an_empty_network() {
        let mut now = Time::ZERO;
        let mut cc = fresh(now);
        run(&mut cc, &mut now, 20, micros(20), 0);
        assert_eq!(cc.window(), 4 << 20);
    }

    #[test]
    fn delay_above_the_target_shrinks_the_window() {
        let mut now = Time::ZERO;
        let mut cc = fresh(now);
        run(&mut cc, &mut now, 3, micros(20), 0);
        let before = cc.window();
        run(&mut cc, &mut now, 4, micros(2_000), 0);
        assert!(cc.window() < before / 2, "{} -> {}", before, cc.window());
    }

    #[test]
    fn timeout_that_was_a_mistake_is_undone_until_the_next_decision() {
        let mut now = Time::ZERO;
        let mut cc = fresh(now);
        run(&mut cc, &mut now, 20, micros(20), 0);
        cc.on_timeout();
        assert_eq!(cc.window(), 2 << 20);
        cc.undo_timeout();
        assert_eq!(cc.window(), 4 << 20);
        cc.on_timeout();
        run(&mut cc, &mut now, 1, micros(20), 0);
        let grown = cc.window();
        cc.undo_timeout();
        assert_eq!(cc.window(), grown);
    }

    #[test]
    fn one_percent_loss_without_delay_does_not_shrink_the_window() {
        let mut now = Time::ZERO;
        let mut cc = fresh(now);
        run(&mut cc, &mut now, 5, micros(20), 0);
        let before = cc.window();
        run(&mut cc, &mut now, 50, micros(20), 10);
        assert!(cc.window() >= before);
    }

    #[test]
    fn queue_kept_full_by_others_is_met_with_growth_and_left_when_it_empties() {
        let mut now = Time::ZERO;
        let mut cc = fresh(now);
        run(&mut cc, &mut now, 5, micros(20), 0);
        run(&mut cc, &mut now, 20, micros(5_000), 0);
        let low = cc.window();
        run(&mut cc, &mut now, 40, micros(5_000), 0);
        assert!(cc.window() > low, "grows while competing");
        run(&mut cc, &mut now, 3, micros(25), 0);
        assert_eq!(cc.mode, Mode::Delay);
    }
}
