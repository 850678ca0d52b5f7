//! A run from beginning to end: faults, healing, the demand that everything comes to an end, and
//! the checks.

use std::{sync::Arc, time::Duration};

use rand::{Rng, RngExt, seq::IndexedRandom};
use rand_xoshiro::Xoshiro256PlusPlus;
use wire::Time;

use crate::{
    Network, Outcome, Pattern, Scenario, Stop, Topology, Traffic, Violation,
    application::{Application, Progress},
    fault::{Control, Effect, Schedule},
    host::{HostNode, Setup},
    hostile,
    oracle::Ledger,
    outcome::{Completion, Transport, fairness, seconds},
    seed::{Purpose, stream},
    topology::base_round_trip,
    workload::Plan,
};

/// How long after the last operation acknowledgements and the like may take.
const SETTLING: Duration = Duration::from_secs(2);
/// By then every context has been dropped as idle, and delayed duplicates have arrived.
const FORGETTING: Duration = Duration::from_secs(6);
const SLICE: Duration = Duration::from_millis(5);
/// A peer that goes down for good is given up in this time, in runs where one does. Longer than
/// any clock jumps.
const GIVE_UP: Duration = Duration::from_secs(20);
/// Close to the wrap of the numbers on the wire.
const LATE_PSN: u64 = u32::MAX as u64 - 50;

/// Runs `scenario` and checks every promise on the way.
///
/// Two phases. While the faults of the schedule strike, only safety is asked for: nothing wrong,
/// nothing twice. Then everything is healed, every application posts receives for whatever
/// comes, and within the limit each operation must have ended, each message must have arrived
/// whose send said so, and nothing may be left behind.
pub fn simulate(scenario: &Scenario) -> Outcome {
    let schedule = scenario.schedule();
    let mut run = Run::new(scenario, &schedule);
    run.start();
    run.suffer();
    run.recover();
    run.finish();
    run.conclude()
}

struct Run<'a> {
    scenario: &'a Scenario,
    schedule: &'a Schedule,
    setup: Setup,
    network: Network<HostNode>,
    ledger: Ledger,
    incarnations: Vec<u32>,
    progress: Vec<Progress>,
    hostile: Xoshiro256PlusPlus,
    transport: Transport,
    stored_peak: usize,
    over: bool,
}

impl<'a> Run<'a> {
    fn new(scenario: &'a Scenario, schedule: &'a Schedule) -> Self {
        let plan = Arc::new(Plan::draw(scenario, schedule));
        let network = Network::new(
            scenario.network.clone(),
            scenario.seed,
            &schedule.rules,
            &schedule.clocks,
        );
        let hosts = scenario.network.topology.hosts();
        Self {
            scenario,
            schedule,
            setup: setup(scenario, schedule, plan.clone()),
            network,
            ledger: Ledger::new(plan),
            incarnations: vec![0; hosts],
            progress: vec![Progress::default(); hosts],
            hostile: stream(scenario.seed, Purpose::Hostile),
            transport: Transport::default(),
            stored_peak: 0,
            over: false,
        }
    }

    fn start(&mut self) {
        self.network.make_timers_late(self.schedule.late_timers);
        for &(host, buffer, cost) in &self.schedule.receivers {
            self.network.set_receiver(host, buffer, cost);
        }
        for host in 0..self.incarnations.len() {
            self.start_host(host);
        }
    }

    /// Lets the faults strike.
    fn suffer(&mut self) {
        for &(at, control) in &self.schedule.controls {
            self.run_until(at);
            if self.over {
                return;
            }
            self.apply(control);
        }
        self.run_until(self.schedule.heal_at);
    }

    /// Repairs everything and waits for the end of all messages.
    fn recover(&mut self) {
        for &(_, control) in &self.schedule.controls {
            if let Control::Restart(_) = control {
                self.apply(control);
            }
        }
        if self.scenario.faults {
            self.network.heal();
        }
        let (buffer, cost) =
            (self.scenario.network.receive_buffer, self.scenario.network.packet_cost_ns);
        for host in 0..self.incarnations.len() {
            self.network.set_receiver(host, buffer, Duration::from_nanos(cost));
            self.network.resume(host, &mut self.ledger);
            self.network.command(host, &mut self.ledger, HostNode::open_pool);
            if self.network.node(host).is_none() && !self.over {
                self.ledger.bury(host);
            }
        }
        let limit = self.network.now() + Duration::from_secs(self.scenario.limit_s);
        self.run_until(limit);
    }

    /// Cancels what is left, and gives the hosts time to put everything away.
    fn finish(&mut self) {
        if !self.ledger.violations().is_empty() {
            return;
        }
        if !self.ledger.is_settled() {
            return self.ledger.note_stuck();
        }
        self.over = false;
        self.ledger.go_on();
        if self.schedule.kills() {
            // What the dead left half done has to be noticed while receives are still posted.
            let noticed_by = self.network.now() + GIVE_UP + SETTLING;
            self.run_until(noticed_by);
        }
        self.ledger.begin_finish();
        for host in 0..self.incarnations.len() {
            self.network.command(host, &mut self.ledger, HostNode::finish);
        }
        let settled_by = self.network.now() + SETTLING;
        while self.network.now() < settled_by && !self.is_drained() {
            let slice = self.network.now() + SLICE;
            self.run_until(slice);
        }
        self.ledger.note_stuck();
        self.check_leaks();
        self.check_memory();
        if self.scenario.faults {
            let forgotten_by = self.network.now() + FORGETTING;
            self.run_until(forgotten_by);
            self.check_forgotten();
        }
        self.ledger.check_matching();
    }

    fn run_until(&mut self, limit: Time) {
        if self.over {
            return;
        }
        match self.network.run(limit, &mut self.ledger) {
            Stop::Limit | Stop::Quiet => {}
            Stop::Observer => self.over = true,
            Stop::Livelock => {
                self.over = true;
                self.ledger.add(Violation::Livelock(seconds(self.network.now())));
            }
        }
        if let Some(bad) = self.network.bad_train() {
            self.over = true;
            self.ledger.add(bad.into());
        }
    }

    fn apply(&mut self, control: Control) {
        match control {
            Control::Pause(host) => self.network.pause(host),
            Control::Resume(host) => self.network.resume(host, &mut self.ledger),
            Control::Kill(host) => {
                if let Some(node) = self.network.kill(host) {
                    self.progress[host] = node.application().progress();
                    self.retire(&node, host);
                    self.ledger.kill(host);
                }
            }
            Control::Restart(host) => {
                if self.network.node(host).is_none() {
                    self.start_host(host);
                }
            }
            Control::SlowPath(path, factor) => self.network.slow_path(path, factor),
            Control::Hostile(host) => {
                let (source, bytes) = hostile::datagram(&mut self.hostile, &self.scenario.network);
                self.network.inject(host, source, bytes);
            }
            Control::Replay => self.network.replay(),
        }
    }

    fn start_host(&mut self, host: usize) {
        self.incarnations[host] += 1;
        let incarnation = self.incarnations[host];
        let seed = stream(self.scenario.seed, Purpose::Endpoint { host, incarnation }).next_u64();
        let epoch = self.network.epoch(host);
        let plan = self.setup.plan.clone();
        let application = Application::new(plan, host, epoch, self.progress[host]);
        let node = HostNode::new(&self.setup, seed, application);
        self.network.start(host, node, &mut self.ledger);
        self.network.command(host, &mut self.ledger, HostNode::begin);
    }

    /// Adds what a host counted in its life.
    fn retire(&mut self, node: &HostNode, host: usize) {
        self.transport.add(&node.counters());
        self.stored_peak = self.stored_peak.max(node.stored_peak());
        let limit = self.setup.messages.unexpected_bytes + self.setup.messages.ahead_bytes;
        if node.stored_peak() > limit {
            let bytes = node.stored_peak();
            self.ledger.add(Violation::StoredTooMuch { host, bytes, limit });
        }
    }

    fn nodes(&self) -> impl Iterator<Item = (usize, &HostNode)> {
        (0..self.incarnations.len()).filter_map(|host| Some((host, self.network.node(host)?)))
    }

    fn is_drained(&self) -> bool {
        self.nodes().all(|(_, node)| node.is_drained() && node.held() == (0, 0))
    }

    fn check_leaks(&mut self) {
        let mut found = Vec::new();
        for (host, node) in self.nodes() {
            let (operations, bytes) = node.held();
            if (operations, bytes) != (0, 0) {
                found.push(Violation::Leak { host, operations, bytes });
            }
            if !node.is_drained() {
                found.push(Violation::NotDrained(host));
            }
        }
        found.into_iter().for_each(|violation| self.ledger.add(violation));
    }

    fn check_memory(&mut self) {
        for host in 0..self.incarnations.len() {
            if let Some(node) = self.network.node(host) {
                let memory = node.application().memory();
                self.ledger.check_memory(host, &memory);
            }
        }
    }

    fn check_forgotten(&mut self) {
        let left: Vec<_> = self
            .nodes()
            .map(|(host, node)| (host, node.contexts()))
            .filter(|(_, contexts)| *contexts > 0)
            .collect();
        for (host, contexts) in left {
            self.ledger.add(Violation::ContextsLeft { host, contexts });
        }
        let (brought, answered) = self.network.reflected();
        if answered > brought {
            self.ledger.add(Violation::Amplified { brought, answered });
        }
    }

    fn conclude(mut self) -> Outcome {
        for host in 0..self.incarnations.len() {
            if let Some(node) = self.network.kill(host) {
                self.retire(&node, host);
            }
        }
        let traffic = self.network.traffic();
        if let Some(violation) = bounded_retransmission(self.schedule, traffic, self.transport) {
            self.ledger.add(violation);
        }
        let flows: Vec<_> = self.ledger.flows().collect();
        let faults = if self.scenario.faults { self.schedule.to_string() } else { String::new() };
        let mut outcome = Outcome {
            scenario: self.scenario.clone(),
            command: self.scenario.command().to_string(),
            faults,
            elapsed_s: seconds(self.network.now()),
            completion: Completion::of(&flows, ideal(self.scenario, &self.setup.plan)),
            fairness: fairness(&flows, self.incarnations.len()),
            traffic,
            transport: self.transport,
            stored_peak: self.stored_peak,
            trace: format!("{:016x}", self.network.trace()),
            violations: Vec::new(),
        };
        outcome.note(self.ledger.violations());
        outcome
    }
}

/// The configuration of all hosts. Runs with faults draw small limits too, so that they are met.
fn setup(scenario: &Scenario, schedule: &Schedule, plan: Arc<Plan>) -> Setup {
    let mut transport = srd::Config::default();
    let mut messages = message::Config::default();
    if schedule.buries() {
        transport.unreachable_after = GIVE_UP;
        transport.unresponsive_after = GIVE_UP;
    }
    if schedule.numbers_wrap {
        transport.first_psn = LATE_PSN;
    }
    messages.order = plan.remote.order;
    if scenario.faults {
        let mut rng = stream(scenario.seed, Purpose::Limits);
        let mut draw = |least: usize, most: usize| {
            let sizes: Vec<usize> = std::iter::successors(Some(least), |size| Some(size * 4))
                .take_while(|&s| s <= most)
                .collect();
            sizes.choose(&mut rng).copied().unwrap_or(most)
        };
        messages.eager_bytes = draw(4 << 10, 64 << 10);
        messages.unscheduled_bytes = draw(4 << 10, 64 << 10);
        messages.grant_budget = draw(64 << 10, 4 << 20);
        messages.unexpected_bytes = draw(64 << 10, 64 << 20);
        messages.ahead_bytes = draw(64 << 10, 32 << 20);
        transport.paths = rng.random_range(1..=32);
    }
    Setup {
        plan,
        transport,
        messages,
        datagram_bytes: scenario.network.datagram_bytes(),
        receive_window: scenario.network.receive_buffer,
        ipv6: scenario.network.ipv6,
    }
}

/// When the last message could have been delivered at best, in seconds.
fn ideal(scenario: &Scenario, plan: &Plan) -> f64 {
    let network = &scenario.network;
    let link = network.link();
    let empty = base_round_trip(network.topology, link).as_secs_f64();
    let rate = network.rate as f64 / 8.0
        * f64::from(match network.topology {
            Topology::MultiPath { paths } => paths,
            _ => 1,
        });
    if scenario.workload.pattern == Pattern::PingPong {
        let each = |bytes: usize| bytes as f64 / rate + empty / 2.0;
        return plan.messages.iter().map(|message| each(message.bytes)).sum();
    }
    let hosts = network.topology.hosts();
    let (mut sent, mut received) = (vec![0_u64; hosts], vec![0_u64; hosts]);
    for message in &plan.messages {
        sent[message.from as usize] += message.bytes as u64;
        received[message.to as usize] += message.bytes as u64;
    }
    let busiest = sent.into_iter().chain(received).max().unwrap_or(0);
    busiest as f64 / rate + empty
}

/// Retransmissions are bounded by what was lost, not by how long it takes: each lost packet (a
/// datagram or its acknowledgement) costs at most [`PER_LOSS`] more, each refusal of a receiver
/// that was not ready one, and silence a share of what was sent. Where packets overtake each
/// other by more than a round trip, or timers are late, each datagram may be sent twice.
fn bounded_retransmission(
    schedule: &Schedule,
    traffic: Traffic,
    transport: Transport,
) -> Option<Violation> {
    let lost = traffic.drops.total() + traffic.damaged;
    let sent = traffic.sent;
    let confusing = !schedule.late_timers.is_zero()
        || schedule.rules.iter().any(|rule| matches!(rule.effect, Effect::Jitter(_)));
    let spurious = if confusing { transport.tx_pkts } else { sent / SPURIOUS_ONE_IN };
    let allowed = PER_LOSS * lost + spurious + transport.rx_not_ready + ALLOWANCE;
    let sent_again = transport.retrans_pkts;
    (sent_again > allowed).then_some(Violation::TooManyRetransmissions { sent_again, lost, sent })
}

/// Retransmissions that one lost packet may cause.
const PER_LOSS: u64 = 4;
/// One in this many packets may be sent again without need.
const SPURIOUS_ONE_IN: u64 = 5;
/// Retransmissions that even a short run may see.
const ALLOWANCE: u64 = 64;
