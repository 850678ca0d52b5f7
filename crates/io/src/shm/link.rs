//! A link: two rings between two endpoints of one host.

use std::{fs, io, net::IpAddr, net::SocketAddr, path::PathBuf, sync::Arc};

use super::{
    Unavailable,
    loan::{Landmark, Loan, OtherProcess, Unreadable},
    ring::{self, Consumer, Corrupt, Geometry, Kind, Producer, Shared as _, Traffic},
    segment::Segment,
    sys::{Mapping, Window},
};

/// Both sides of a link touch all of its data in turn: this much is meant to stay in a processor's
/// level-2 cache. A record holds 32 KiB of a message and its heads.
const GEOMETRY: Geometry = Geometry { slots: 512, data: 512 << 10, record: Link::MAX_RECORD };

/// Says what the file is and how it is laid out.
const MAGIC: u64 = u64::from_be_bytes(*b"elastan2");
/// What the acceptor adds to the cookie to show that it sees the same memory.
const ACCEPT: u64 = 0x5afe_ca11_0000_0001;
const REFUSE: u64 = u64::MAX;

/// Words that the connector writes before the file has a name.
const MAGIC_AT: usize = 0;
const GEOMETRY_AT: usize = 8;
const COOKIE_AT: usize = 16;
const CONNID_AT: usize = 24;
const ADDRESS_AT: usize = 32;
const PORT_AT: usize = 48;
/// Words that the acceptor writes.
const ANSWER_AT: usize = 128;
const ANSWER_CONNID_AT: usize = 136;
/// Words that each side writes beside those, the connector first: its process, where in its memory
/// a word says so, and, once it has read the other's, that it can.
const PROCESS_AT: [usize; 2] = [56, 144];
const LANDMARK_AT: [usize; 2] = [64, 152];
const READS_AT: [usize; 2] = [72, 160];
/// Words that each side writes, the connector first, each in a line of its own.
const CLOSED_AT: [usize; 2] = [256, 384];
const ASLEEP_AT: [usize; 2] = [320, 448];
const RINGS_AT: usize = 512;

const RING: usize = GEOMETRY.bytes().next_multiple_of(128);
const LEN: usize = RINGS_AT + 2 * RING;

/// Which of the two made the file, as the index of its words and the byte it locks.
const CONNECTOR: u16 = 0;
const ACCEPTOR: u16 = 1;

#[derive(Debug)]
struct Pair {
    segment: Segment,
    mapping: Arc<Mapping>,
    /// This side's, once it has one.
    landmark: Option<Landmark>,
}

impl Pair {
    /// Tells the other side where to read in this process's memory.
    fn put_landmark(&mut self, side: u16) {
        let header = self.header();
        let landmark = Landmark::new(landmark_of(header.load(COOKIE_AT), side));
        header.store(PROCESS_AT[usize::from(side)], std::process::id().into());
        header.store(LANDMARK_AT[usize::from(side)], landmark.address());
        self.landmark = Some(landmark);
    }

    fn header(&self) -> Window {
        Window::new(Arc::clone(&self.mapping), 0, RINGS_AT)
    }

    fn into_link(self, side: u16) -> Link {
        let ring = |which: u16| {
            let at = RINGS_AT + usize::from(which) * RING;
            Window::new(Arc::clone(&self.mapping), at, GEOMETRY.bytes())
        };
        let there = 1 - side;
        Link {
            header: self.header(),
            other: None,
            loans: 0,
            _landmark: self.landmark,
            producer: Producer::new(ring(side), GEOMETRY),
            consumer: Consumer::new(ring(there), GEOMETRY),
            segment: self.segment,
            side,
        }
    }
}

/// A link that was offered to a peer, which has not answered.
#[derive(Debug)]
pub struct Offer {
    pair: Option<Pair>,
    path: PathBuf,
    cookie: u64,
}

/// What became of an [`Offer`].
#[derive(Debug)]
pub enum Answer {
    /// The peer maps the same memory; this is its incarnation.
    Accepted(Box<Link>, u32),
    /// The peer does not want the link.
    Refused,
}

impl Offer {
    /// Puts a link at `path`, from the endpoint at `address` and its incarnation `connid`.
    pub(super) fn make(
        path: PathBuf,
        address: SocketAddr,
        connid: u32,
        cookie: u64,
    ) -> Result<Self, Unavailable> {
        let directory = path.parent().ok_or(Unavailable::NotAnnounced)?;
        let segment = Segment::create(directory, LEN, CONNECTOR)
            .map_err(Unavailable::os("reserving shared memory"))?;
        let mapping = segment.map().map_err(Unavailable::os("mapping shared memory"))?;
        let mut pair = Pair { segment, mapping: Arc::new(mapping), landmark: None };
        let header = pair.header();
        header.store(MAGIC_AT, MAGIC);
        header.store(GEOMETRY_AT, GEOMETRY.fingerprint());
        header.store(COOKIE_AT, cookie);
        pair.put_landmark(CONNECTOR);
        header.store(CONNID_AT, connid.into());
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        let bits = ip.to_bits();
        header.store(ADDRESS_AT, high(bits));
        header.store(ADDRESS_AT + 8, low(bits));
        header.store(PORT_AT, address.port().into());
        pair.segment.name(&path).map_err(Unavailable::os("naming shared memory"))?;
        Ok(Self { pair: Some(pair), path, cookie })
    }

    /// The peer's answer, once there is one. After that there is nothing more to ask.
    pub fn poll(&mut self) -> Option<Answer> {
        let header = self.pair.as_ref()?.header();
        let answer = header.load(ANSWER_AT);
        if answer == 0 {
            return None;
        }
        let pair = self.pair.take()?;
        let connid = u32::try_from(header.load(ANSWER_CONNID_AT));
        match connid {
            Ok(connid) if answer == self.cookie.wrapping_add(ACCEPT) => {
                Some(Answer::Accepted(Box::new(pair.into_link(CONNECTOR)), connid))
            }
            _ => Some(Answer::Refused),
        }
    }

    /// Says that this endpoint is about to sleep, so that the peer rings once it has accepted.
    pub fn announce_sleep(&self) {
        if let Some(pair) = &self.pair {
            ring::announce_sleep(&pair.header(), ASLEEP_AT[usize::from(CONNECTOR)]);
        }
    }

    /// Whether [`Self::poll`] has something.
    pub fn has_news(&self) -> bool {
        self.pair.as_ref().is_some_and(|pair| pair.header().load(ANSWER_AT) != 0)
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        // The peer may accept it at this moment, or have taken its name away.
        if let Some(pair) = &self.pair {
            drop(fs::remove_file(&self.path));
            pair.header().store(CLOSED_AT[usize::from(CONNECTOR)], 1);
        }
    }
}

/// A peer's wish for a link.
#[derive(Debug)]
pub struct Request {
    pair: Pair,
    path: PathBuf,
    /// Where the peer listens.
    pub address: SocketAddr,
    /// Its incarnation towards this endpoint.
    pub connid: u32,
}

impl Request {
    /// The request in the file at `path`, if it is one and its author lives.
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        let segment = Segment::open(&path, LEN)?;
        let mapping = segment.map()?;
        let pair = Pair { segment, mapping: Arc::new(mapping), landmark: None };
        let header = pair.header();
        let is_ours = header.load(MAGIC_AT) == MAGIC
            && header.load(GEOMETRY_AT) == GEOMETRY.fingerprint()
            && pair.segment.is_locked(CONNECTOR);
        let bits =
            u128::from(header.load(ADDRESS_AT)) << 64 | u128::from(header.load(ADDRESS_AT + 8));
        let ip = IpAddr::from(bits.to_be_bytes()).to_canonical();
        let port = u16::try_from(header.load(PORT_AT));
        let connid = u32::try_from(header.load(CONNID_AT));
        match (port, connid) {
            (Ok(port), Ok(connid)) if is_ours && port != 0 && connid != 0 => {
                Ok(Self { pair, path, address: SocketAddr::new(ip, port), connid })
            }
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Makes it a link; `connid` is this endpoint's incarnation towards the peer.
    pub fn accept(mut self, connid: u32) -> io::Result<Link> {
        // Without its name nobody else finds it, and a crash leaves nothing.
        fs::remove_file(&self.path)?;
        self.pair.segment.lock(ACCEPTOR)?;
        self.pair.put_landmark(ACCEPTOR);
        let header = self.pair.header();
        header.store(ANSWER_CONNID_AT, connid.into());
        header.store(ANSWER_AT, header.load(COOKIE_AT).wrapping_add(ACCEPT));
        Ok(self.pair.into_link(ACCEPTOR))
    }

    /// Turns it down.
    pub fn refuse(self) {
        if fs::remove_file(&self.path).is_ok() {
            self.pair.header().store(ANSWER_AT, REFUSE);
        }
    }
}

/// What a link carried, and what of it is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkUse {
    /// To the peer.
    pub sent: Traffic,
    /// From the peer.
    pub received: Traffic,
    /// Records to the peer that it has not dealt with, as far as known.
    pub waiting_records: u64,
    /// Bytes of the ring they take, records that lie in their slots not counted.
    pub waiting_bytes: u64,
    /// The peer sleeps, and is woken by whoever writes to it.
    pub peer_sleeps: bool,
}

/// What comes through a link.
#[derive(Debug)]
pub enum Received<'a> {
    /// A record.
    Record(&'a [u8]),
    /// The peer lends something.
    Loan(Loan),
}

/// Two rings to and from one peer.
#[derive(Debug)]
pub struct Link {
    header: Window,
    /// The peer's process, if its memory can be read.
    other: Option<OtherProcess>,
    /// What was lent so far.
    loans: u64,
    _landmark: Option<Landmark>,
    producer: Producer<Window>,
    consumer: Consumer<Window>,
    segment: Segment,
    side: u16,
}

impl Link {
    /// The longest record, in bytes.
    pub const MAX_RECORD: usize = (32 << 10) + 64;

    /// Bytes of shared memory that a link takes.
    pub const BYTES: usize = LEN;

    /// Records and bytes of records that one direction holds at most.
    pub const ROOM: (usize, usize) = (GEOMETRY.slots, GEOMETRY.data);

    /// What goes on.
    pub fn in_use(&self) -> LinkUse {
        let (waiting_records, waiting_bytes) = self.producer.in_use();
        LinkUse {
            sent: self.producer.traffic(),
            received: self.consumer.traffic(),
            waiting_records,
            waiting_bytes,
            peer_sleeps: self.header.load(ASLEEP_AT[self.there()]) != 0,
        }
    }

    const fn here(&self) -> usize {
        self.side as usize
    }

    const fn there(&self) -> usize {
        1 - self.here()
    }

    /// Whether a record of [`Self::MAX_RECORD`] bytes can be sent now.
    pub fn has_room(&self) -> bool {
        self.producer.has_room()
    }

    /// Whether less than half of the ring is in use, as far as is known here.
    pub fn has_plenty_of_room(&self) -> bool {
        self.producer.has_plenty_of_room()
    }

    /// Sends `head` and `tail` as one record; `false` if there is no room.
    ///
    /// # Panics
    /// If they are longer than [`Self::MAX_RECORD`].
    pub fn send(&mut self, head: &[u8], tail: &[u8]) -> bool {
        self.producer.publish(head, tail)
    }

    /// Calls `each`, in order, for every record sent that the peer has dealt with since the last
    /// call, with its bytes if the peer refused it. Returns how many there were.
    ///
    /// # Errors
    /// If the memory holds what no peer writes.
    pub fn collect(&mut self, each: impl FnMut(Option<&[u8]>)) -> Result<usize, Corrupt> {
        self.producer.collect(each)
    }

    /// Hands the next record, or the peer's next loan, to `take`, which says whether it takes or
    /// refuses it. Returns whether there was one.
    pub fn receive(&mut self, take: impl FnOnce(Received<'_>) -> bool) -> Result<bool, Corrupt> {
        let mut is_sound = true;
        let any = self.consumer.receive(|kind, bytes| match kind {
            Kind::Datagram => take(Received::Record(bytes)),
            Kind::Note => match Loan::from_note(bytes) {
                Some(loan) => take(Received::Loan(loan)),
                None => {
                    is_sound = false;
                    true
                }
            },
        })?;
        if is_sound { Ok(any) } else { Err(Corrupt) }
    }

    /// Finds out, by trying, whether the peer's memory can be read from here, and tells the peer.
    ///
    /// # Errors
    /// With the reason if not.
    pub fn try_other_memory(&mut self) -> Result<(), Unreadable> {
        let there = self.there();
        let found = OtherProcess::find(
            self.header.load(PROCESS_AT[there]),
            self.header.load(LANDMARK_AT[there]),
            landmark_of(self.header.load(COOKIE_AT), 1 - self.side),
        );
        self.other = found.ok();
        self.header.store(READS_AT[self.here()], u64::from(self.other.is_some()));
        found.map(drop)
    }

    /// Reads nothing in the peer's memory any more, and tells the peer.
    pub fn leave_other_memory(&mut self) {
        self.other = None;
        self.header.store(READS_AT[self.here()], 0);
    }

    /// Whether the peer reads what is lent to it.
    pub fn peer_reads(&self) -> bool {
        self.header.load(READS_AT[self.there()]) != 0
    }

    /// The seal of the next loan. No two loans of a link have the same.
    pub fn next_seal(&mut self) -> u64 {
        self.loans += 1;
        landmark_of(self.header.load(COOKIE_AT), self.side).wrapping_add(self.loans << 1).max(1)
    }

    /// Lends something to the peer; `false` if there is no room to say so.
    pub fn lend(&mut self, loan: &Loan) -> bool {
        self.producer.publish_note(&loan.to_note())
    }

    /// Fills `into` with what the peer has lent, from byte `offset` on.
    ///
    /// # Errors
    /// If it cannot be read, or not any more; what is in `into` then means nothing.
    pub fn copy_loan(&self, loan: &Loan, offset: usize, into: &mut [u8]) -> Result<(), Unreadable> {
        self.other.ok_or(Unreadable::Forbidden)?.copy(loan, offset, into)
    }

    /// Tells the peer what was dealt with. Returns whether there was something to tell.
    pub fn release(&mut self) -> bool {
        self.consumer.release()
    }

    /// Whether the peer sleeps and must be woken, after [`Self::send`] or [`Self::release`].
    pub fn must_wake_peer(&self) -> bool {
        ring::must_wake(&self.header, ASLEEP_AT[self.there()])
    }

    /// Whether the peer has slept for a while: of one that is just about to, nothing may be seen
    /// yet. It costs no wait for what was written before to reach memory.
    pub fn is_peer_asleep(&self) -> bool {
        self.header.load(ASLEEP_AT[self.there()]) != 0
    }

    /// Says that this endpoint is about to sleep: the peer will wake it. Look at
    /// [`Self::has_news`] after this and before sleeping.
    pub fn announce_sleep(&self) {
        ring::announce_sleep(&self.header, ASLEEP_AT[self.here()]);
    }

    /// Says that this endpoint looks by itself again.
    pub fn end_sleep(&self) {
        self.header.store(ASLEEP_AT[self.here()], 0);
    }

    /// Whether there is something to receive or to collect, or the peer has closed.
    pub fn has_news(&self) -> bool {
        self.consumer.has_news() || self.producer.has_news() || self.peer_has_closed()
    }

    /// Whether the peer will send nothing more. What it sent before can still be received.
    pub fn peer_has_closed(&self) -> bool {
        self.header.load(CLOSED_AT[self.there()]) != 0
    }

    /// Whether the peer's process holds the link open. Costs a system call.
    pub fn peer_lives(&self) -> bool {
        self.segment.is_locked(1 - self.side)
    }

    /// Ends the link for both sides; dropping it does as well. Ask [`Self::must_wake_peer`] then.
    pub fn close(&mut self) {
        self.release();
        self.header.store(CLOSED_AT[self.here()], 1);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.close();
    }
}

/// What a side's landmark says.
fn landmark_of(cookie: u64, side: u16) -> u64 {
    cookie.rotate_left(17 + u32::from(side))
}

const fn high(bits: u128) -> u64 {
    (bits >> 64) as u64
}

#[expect(clippy::cast_possible_truncation, reason = "the two halves of an address")]
const fn low(bits: u128) -> u64 {
    bits as u64
}
