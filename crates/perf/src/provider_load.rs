//! A provider of libfabric's as a load: the same tests as the fabric runs, on a reliable datagram
//! endpoint of each side.

use std::{net::IpAddr, time::Duration};

use libfabric_sys::{
    Library,
    client::{ClientError, Domain, Done, Endpoint, Event, Place, Room, Wish},
};
use wire::Time;

use crate::{
    bench::libfabric::Provider,
    clock::Clock,
    cpu::Pause,
    load::{Half, Link, Load, LoadError, Offer, Outcome, Prepared, Shape, Test},
    meter::{Flow, Meter},
    stats::{Latencies, LatencySummary},
};

/// Messages are sent from so many bytes, one after the other, as TCP sends them.
const SOURCE_BYTES: usize = 1 << 20;
/// Bytes of messages on their way at any time, where the test allows as many.
const BYTES_OUTSTANDING: usize = 2 << 20;
/// Every message begins at a cache line.
const LINE: usize = 64;

/// Tags of messages, of what says that no more will come, and of each side's first word.
const MESSAGE: u64 = 1;
const GOODBYE: u64 = 2;
const HELLO: u64 = 3;
/// What a receiver says when it has measured.
const ENOUGH: u64 = 4;
/// Numbers of operations that are no receive of a message; those have the numbers of their slots.
const SENT: u64 = u64::MAX;
const GOODBYE_CAME: u64 = u64::MAX - 1;
const HELLO_CAME: u64 = u64::MAX - 2;
const ENOUGH_CAME: u64 = u64::MAX - 3;

/// The provider of this name.
#[derive(Clone, Debug)]
pub struct ProviderLoad {
    name: String,
}

impl ProviderLoad {
    /// A name of `fi_info -l`.
    pub const fn new(name: String) -> Self {
        Self { name }
    }

    /// What is opened for that name on this side of a link.
    pub fn describe(&self, local: IpAddr) -> Result<Provider, LoadError> {
        Ok(self.open(local)?.description().into())
    }

    fn open(&self, local: IpAddr) -> Result<Domain, LoadError> {
        let library = Library::load().map_err(LoadError::fabric)?;
        let wish = Wish { provider: &self.name, source: Some(local), ..Wish::default() };
        Domain::open(library, &wish).map_err(LoadError::fabric)
    }

    fn prepare(&self, test: &Test, link: Link, is_client: bool) -> Result<Prepared, LoadError> {
        let domain = self.open(link.local)?;
        let bytes = message_bytes(test);
        let source = SOURCE_BYTES.max(bytes).next_multiple_of(LINE);
        let depth = depth(test);
        let room = Room {
            bytes: source + depth * bytes.next_multiple_of(LINE) + 3 * LINE,
            // As many sends as receives, and the words before and after.
            operations: 2 * depth + 16,
        };
        let endpoint = domain.endpoint(room).map_err(LoadError::fabric)?;
        let offer = Offer { addresses: Vec::new(), token: endpoint.name().to_vec() };
        let half = ProviderHalf {
            endpoint,
            test: test.clone(),
            is_client,
            source,
            at: 0,
            spare: (0..depth).collect(),
            sending: 0,
            arrived: 0,
            has_met: false,
            is_enough: false,
            is_over: false,
            done: Vec::new(),
        };
        Ok(Prepared { offer, half: Box::new(half) })
    }
}

impl Load for ProviderLoad {
    fn can_run(&self, _test: &Test, _link: Link) -> bool {
        true
    }

    fn offer(&self, test: &Test, link: Link) -> Result<Prepared, LoadError> {
        self.prepare(test, link, false)
    }

    fn answer(&self, test: &Test, link: Link, _offered: &Offer) -> Result<Prepared, LoadError> {
        self.prepare(test, link, true)
    }
}

fn message_bytes(test: &Test) -> usize {
    usize::try_from(test.bytes).unwrap_or(usize::MAX).max(1)
}

/// Messages on their way at any time.
fn depth(test: &Test) -> usize {
    let window = usize::try_from(test.window).unwrap_or(usize::MAX);
    (BYTES_OUTSTANDING / message_bytes(test)).clamp(2, window.max(2))
}

/// One side of a test.
struct ProviderHalf {
    endpoint: Endpoint,
    test: Test,
    /// This side begins.
    is_client: bool,
    /// Bytes of the memory that messages are sent from; receives are behind them.
    source: usize,
    at: usize,
    /// Slots that no receive is posted for.
    spare: Vec<usize>,
    /// Sends that are not complete.
    sending: usize,
    /// Messages that arrived and were not looked at.
    arrived: usize,
    /// The other side's first word is here.
    has_met: bool,
    /// The other side has measured what it receives.
    is_enough: bool,
    /// The other side has left.
    is_over: bool,
    done: Done,
}

impl Half for ProviderHalf {
    fn run(&mut self, peer: &Offer, clock: &Clock) -> Result<Outcome, LoadError> {
        self.endpoint.connect(&peer.token).map_err(LoadError::fabric)?;
        let goodbye = self.goodbye();
        self.until_posted(|end| end.receive(goodbye, GOODBYE, GOODBYE_CAME))?;
        self.meet(clock)?;
        let flow = |flow| Outcome { flow, latency: None };
        match (self.test.shape, self.is_client) {
            (Shape::OneWay, true) => self.flow(clock, true, false).map(flow),
            (Shape::OneWay, false) => self.flow(clock, false, true).map(flow),
            (Shape::BothWays, _) => self.flow(clock, true, true).map(flow),
            (Shape::PingPong, true) => {
                self.ping(clock).map(|latency| Outcome { flow: None, latency })
            }
            (Shape::PingPong, false) => self.pong(clock).map(|()| Outcome::default()),
            (Shape::Windows, true) => self.send_windows(clock).map(|()| Outcome::default()),
            (Shape::Windows, false) => self.answer_windows(clock).map(|all| flow(Some(all))),
        }
    }
}

impl ProviderHalf {
    /// Exchanges a word with the other side: many providers connect only then, which takes a part
    /// of a short test.
    fn meet(&mut self, clock: &Clock) -> Result<(), LoadError> {
        let goodbye = self.goodbye();
        let into = Place { offset: goodbye.offset + LINE, ..goodbye };
        self.until_posted(|end| end.receive(into, HELLO, HELLO_CAME))?;
        let enough = Place { offset: into.offset + LINE, ..into };
        self.until_posted(|end| end.receive(enough, ENOUGH, ENOUGH_CAME))?;
        let from = Place { offset: 0, bytes: 1 };
        self.until_posted(|end| end.send(from, HELLO, None, SENT))?;
        self.sending += 1;
        let give_up = clock.now() + self.test.patience();
        while self.sending > 0 || !self.has_met {
            if clock.now() >= give_up {
                return Err(LoadError::NothingArrived(self.test.patience()));
            }
            self.poll()?;
        }
        Ok(())
    }

    /// Streams messages, receives them, or both. A side sends until the other has measured what it
    /// receives, and ends when the other has said that it has
    /// sent all, and nothing is on its way any more: some providers cannot close before.
    fn flow(
        &mut self,
        clock: &Clock,
        sends: bool,
        receives: bool,
    ) -> Result<Option<Flow>, LoadError> {
        let depth = depth(&self.test);
        let began = clock.now();
        let give_up = began + self.test.patience();
        let mut meter = Meter::new(&self.test);
        let mut ended = None;
        let mut has_told = !sends;
        let mut now = began;
        while now < give_up {
            while receives && !self.spare.is_empty() {
                self.post()?;
            }
            while sends && !self.is_enough && self.sending < depth {
                self.send()?;
            }
            self.poll()?;
            now = clock.now();
            for _ in 0..std::mem::take(&mut self.arrived) {
                meter.arrived(now, self.test.bytes);
            }
            if receives && ended.is_none() && meter.is_over(now) {
                ended = Some(now);
                self.say(ENOUGH)?;
            }
            let has_sent = self.is_enough && self.sending == 0;
            if sends && has_sent && has_told && (!receives || self.is_over) {
                break;
            }
            if !sends && self.is_over && self.sending == 0 {
                break;
            }
            if has_sent && !has_told {
                has_told = true;
                self.say(GOODBYE)?;
            }
        }
        receives.then(|| meter.finish(ended.unwrap_or(now))).transpose()
    }

    /// Keeps making progress, so that the other side can end in its own time.
    fn serve_until(&mut self, clock: &Clock, until: Time) {
        while clock.now() < until && self.poll().is_ok() {}
    }

    fn ping(&mut self, clock: &Clock) -> Result<Option<LatencySummary>, LoadError> {
        let mut latencies = Latencies::new();
        let began = clock.now();
        let over = began + self.test.warm_up + self.test.duration;
        let give_up = began + self.test.patience();
        let mut sent = began;
        self.post()?;
        while sent < over || latencies.is_empty() {
            self.send()?;
            if !self.spin_until_arrival(clock, give_up)? {
                return Err(self.ended_early(sent.since(began)));
            }
            let back = clock.now();
            self.post()?;
            if sent.since(began) >= self.test.warm_up {
                latencies.round_trip(back.since(sent));
            }
            sent = back;
        }
        self.say_goodbye(clock, give_up)?;
        Ok(latencies.summary())
    }

    fn pong(&mut self, clock: &Clock) -> Result<(), LoadError> {
        let give_up = clock.now() + self.test.patience();
        self.post()?;
        while self.spin_until_arrival(clock, give_up)? {
            self.send()?;
            self.post()?;
        }
        self.serve_until(clock, clock.now() + self.test.tail());
        Ok(())
    }

    fn send_windows(&mut self, clock: &Clock) -> Result<(), LoadError> {
        let began = clock.now();
        let over = began + self.test.sending();
        let give_up = began + self.test.patience();
        let mut now = began;
        while now < over {
            self.post()?;
            for _ in 0..self.test.window {
                self.send()?;
            }
            if !self.spin_until_arrival(clock, give_up)? {
                return Err(self.ended_early(now.since(began)));
            }
            while self.sending > 0 && !self.is_over {
                self.poll()?;
            }
            now = clock.now();
        }
        self.say_goodbye(clock, give_up)
    }

    fn answer_windows(&mut self, clock: &Clock) -> Result<Flow, LoadError> {
        let mut meter = Meter::new(&self.test);
        let give_up = clock.now() + self.test.patience();
        let mut in_window = 0;
        while !self.spare.is_empty() {
            self.post()?;
        }
        while self.spin_until_arrival(clock, give_up)? {
            meter.arrived(clock.now(), self.test.bytes);
            self.post()?;
            in_window += 1;
            if in_window == self.test.window {
                in_window = 0;
                self.send_bytes(1)?;
            }
        }
        let ended = clock.now();
        self.serve_until(clock, ended + self.test.tail());
        meter.finish(ended)
    }

    /// Tells the other side, which only answers, that this was all.
    fn say_goodbye(&mut self, clock: &Clock, give_up: Time) -> Result<(), LoadError> {
        self.say(GOODBYE)?;
        while self.sending > 0 && !self.is_over && clock.now() < give_up {
            self.poll()?;
        }
        Ok(())
    }

    /// A message without bytes, which says what its tag says.
    fn say(&mut self, what: u64) -> Result<(), LoadError> {
        let place = Place { bytes: 0, ..self.goodbye() };
        self.until_posted(|end| end.send(place, what, None, SENT))?;
        self.sending += 1;
        Ok(())
    }

    fn ended_early(&self, measured: Duration) -> LoadError {
        LoadError::EndedEarly { measured, wanted: self.test.duration }
    }

    fn goodbye(&self) -> Place {
        let slots = depth(&self.test) * message_bytes(&self.test).next_multiple_of(LINE);
        Place { offset: self.source + slots, bytes: LINE }
    }

    fn send(&mut self) -> Result<(), LoadError> {
        self.send_bytes(message_bytes(&self.test))
    }

    fn send_bytes(&mut self, bytes: usize) -> Result<(), LoadError> {
        if self.at + bytes > self.source {
            self.at = 0;
        }
        let from = Place { offset: self.at, bytes };
        self.at += bytes;
        self.until_posted(|end| end.send(from, MESSAGE, None, SENT))?;
        self.sending += 1;
        Ok(())
    }

    fn post(&mut self) -> Result<(), LoadError> {
        let Some(slot) = self.spare.pop() else { return Ok(()) };
        let bytes = message_bytes(&self.test);
        let offset = self.source + slot * bytes.next_multiple_of(LINE);
        let into = Place { offset, bytes };
        self.until_posted(|end| end.receive(into, MESSAGE, slot as u64))
    }

    /// Makes progress until there is room for an operation.
    fn until_posted(
        &mut self,
        mut post: impl FnMut(&mut Endpoint) -> Result<bool, ClientError>,
    ) -> Result<(), LoadError> {
        let clock = Clock::start();
        let patience = self.test.patience();
        while !post(&mut self.endpoint).map_err(LoadError::fabric)? {
            self.poll()?;
            if clock.now().since(Time::ZERO) > patience {
                return Err(LoadError::NothingArrived(patience));
            }
        }
        Ok(())
    }

    /// Takes completions until a message has arrived. False if the other side is done.
    fn spin_until_arrival(&mut self, clock: &Clock, give_up: Time) -> Result<bool, LoadError> {
        let pause = Pause::for_this_machine();
        let mut turns = 0u32;
        loop {
            if self.arrived > 0 {
                self.arrived -= 1;
                return Ok(true);
            }
            if self.is_over {
                return Ok(false);
            }
            if !self.poll()? {
                pause.pause();
                turns = turns.wrapping_add(1);
                if turns.is_multiple_of(1024) && clock.now() >= give_up {
                    return Ok(false);
                }
            }
        }
    }

    /// Takes what is there. Returns whether something was.
    fn poll(&mut self) -> Result<bool, LoadError> {
        self.endpoint.poll(&mut self.done).map_err(LoadError::fabric)?;
        let some = !self.done.is_empty();
        for event in self.done.drain(..) {
            match event {
                Event::Done(_) => self.sending -= 1,
                Event::Received { cookie: GOODBYE_CAME, .. } => self.is_over = true,
                Event::Received { cookie: HELLO_CAME, .. } => self.has_met = true,
                Event::Received { cookie: ENOUGH_CAME, .. } => self.is_enough = true,
                Event::Received { cookie, .. } => {
                    self.arrived += 1;
                    self.spare.push(usize::try_from(cookie).unwrap_or(usize::MAX));
                }
                // The load posts nothing that ends so.
                Event::Cancelled(_) | Event::Written(_) => {}
            }
        }
        Ok(some)
    }
}
