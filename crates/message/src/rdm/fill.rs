//! Datagrams: what goes into the next one, and writing one again.

use bytes::Bytes;
use memory::{Access, Regions};
use slab::Slab;
use srd::Filled;
use wire::{Frame, MessageSeq, OneSided, PeerId, Token, Train};

use super::{
    Rdm,
    peers::Control,
    placing::Arriving,
    records::{Content, Part, Refusal},
    send::{Kind, SendOp},
    stream::Stream,
};
use crate::numbers::{MAX_DATAGRAM, key, short};

/// Payloads up to this many bytes are copied into the datagram: cheaper than a reference to them.
const COPY_BYTES: usize = 1024;
/// Bytes of the head of a frame that has no optional parts.
const PLAIN_HEAD: usize = 16;
/// Bytes of the head that begins a large message.
const START_HEAD: usize = 40;
/// With less room than this nothing is sent: it would not hold a head and some payload.
const MIN_ROOM: usize = START_HEAD + 24;

impl Rdm {
    /// Fills the next datagram for `peer`: frames about messages first, then whatever waits in
    /// the queue, or a part of a large message; the two take turns.
    pub(super) fn fill_datagram(
        &mut self,
        peer: PeerId,
        room: usize,
        train: &mut Train,
    ) -> Option<Filled> {
        if self.served > 0 {
            self.refuse_revoked();
        }
        let room = room.min(MAX_DATAGRAM);
        if room < MIN_ROOM {
            return None;
        }
        let state = self.peers.peer_mut(peer);
        state.room = short(room);
        if let Some(filled) = self.fill_redo(peer, room, train) {
            return Some(filled);
        }
        let active = self.peers.active_mut(peer)?;
        let turn = active.is_turn_of_queue();
        if turn || !active.control.is_empty() {
            let bundle = self.fill_bundle(peer, room, train);
            if bundle.is_some() {
                return bundle;
            }
        }
        let active = self.peers.active_mut(peer)?;
        let filled = match (turn, active.front(&self.sends), active.ready.front()) {
            (true, Some(at), _) if matches!(self.sends[at].kind, Kind::Message) => {
                self.fill_start(peer, at, room, train)
            }
            (true, Some(at), _) => self.fill_write(peer, at, room, train),
            (_, _, Some(&(_, op))) => self.fill_segment(peer, op as usize, room, train),
            (_, _, None) => {
                active.announced = false;
                self.peers.settle(peer);
                return None;
            }
        };
        Some(filled)
    }

    /// Whether the next datagram is part of a message that takes many.
    pub(super) fn next_is_part(&self, peer: PeerId) -> bool {
        let Some(state) = self.peers.peer(peer) else { return false };
        let Some(active) = state.active() else { return false };
        if !active.control.is_empty() || !active.redo.is_empty() {
            return false;
        }
        match active.front(&self.sends) {
            Some(at) if active.is_turn_of_queue() => self.is_long(&self.sends[at]),
            _ => !active.ready.is_empty(),
        }
    }

    /// Whether a message is more than one that is sent whole at once.
    fn is_long(&self, send: &SendOp) -> bool {
        send.data.len() > self.config.eager_bytes
    }

    fn fill_bundle(&mut self, peer: PeerId, room: usize, train: &mut Train) -> Option<Filled> {
        let mut parts = self.records.parts();
        let left = self.fill_control(peer, room, train.heads(), &mut parts);
        let frames = parts.len();
        let tail = self.fill_messages(peer, left, train.heads(), &mut parts);
        if parts.is_empty() {
            self.records.recycle(parts);
            return None;
        }
        let has_messages = parts.len() > frames;
        let content = Content::Bundle { parts, tail: tail.is_some() };
        let run = if has_messages { 0 } else { self.peers.activate(peer).run };
        let filled = self.filled(peer, content, tail.unwrap_or_default(), run);
        // Frames about messages are nobody's end: their acknowledgement is not urgent.
        Some(Filled { solicit: filled.solicit && has_messages, ..filled })
    }

    /// Writes frames about messages; returns the room that is left.
    fn fill_control(
        &mut self,
        peer: PeerId,
        room: usize,
        heads: &mut Vec<u8>,
        parts: &mut Vec<Part>,
    ) -> usize {
        let mut left = room;
        let Some(active) = self.peers.active_mut(peer) else { return left };
        while left >= PLAIN_HEAD
            && let Some(control) = active.control.pop_front()
        {
            let part = match control {
                Control::Grant(stream) => {
                    let Some(&Arriving::Placing(at)) = self.arriving.get(&(peer, stream)) else {
                        continue;
                    };
                    let placing = &mut self.placing[at];
                    placing.grant_queued = false;
                    if matches!(stream, Stream::Read(_)) && !placing.heard {
                        continue;
                    }
                    Part::Grant(stream, placing.authorised as u64)
                }
                Control::Stop(seq) => Part::Stop(seq),
                Control::Abort(seq) => Part::Abort(seq),
                Control::Refusal(refusal) => Part::Refusal(refusal),
            };
            part_frame(part, &self.sends).emit(heads);
            parts.push(part);
            left -= PLAIN_HEAD;
        }
        left
    }

    /// Writes messages from the queue while they fit. Returns the last one's payload if it is
    /// long and nothing fits after it: then it need not be copied.
    fn fill_messages(
        &mut self,
        peer: PeerId,
        mut left: usize,
        heads: &mut Vec<u8>,
        parts: &mut Vec<Part>,
    ) -> Option<Bytes> {
        while let Some(at) = self.peers.active(peer)?.front(&self.sends) {
            let length = whole_len(&self.sends[at]);
            if length > left {
                return None;
            }
            left -= length;
            self.begin(peer, at);
            let send = &mut self.sends[at];
            send.sent = send.data.len();
            send.limit = send.sent;
            send.in_flight = 1;
            let sent = send.sent as u64;
            if !matches!(send.kind, Kind::Message) {
                self.one_sided_begun(peer, at);
            }
            let active = self.peers.activate(peer);
            active.queued_bytes -= sent;
            let part = Part::Message(key(at));
            parts.push(part);
            part_frame(part, &self.sends).emit(heads);
            let data = &self.sends[at].data;
            if data.len() > COPY_BYTES
                && active.front(&self.sends).is_none_or(|next| whole_len(&self.sends[next]) > left)
            {
                return Some(data.clone());
            }
            heads.extend_from_slice(data);
        }
        None
    }

    /// Takes an operation out of its queue and gives it its number.
    fn begin(&mut self, peer: PeerId, at: usize) -> MessageSeq {
        let state = self.peers.peer_mut(peer);
        let send = &mut self.sends[at];
        let seq = state.number(&send.kind, send.seq);
        send.begin(seq);
        let class = send.kind.class();
        let active = self.peers.activate(peer);
        match class {
            Some(class) => {
                active.unfinished.begin(class);
                active.queue.remove(&mut self.sends, 0, at);
            }
            None => active.answers.remove(&mut self.sends, 0, at),
        }
        seq
    }

    fn fill_start(&mut self, peer: PeerId, at: usize, room: usize, train: &mut Train) -> Filled {
        let seq = self.begin(peer, at);
        let active = self.peers.activate(peer);
        active.run = 0;
        let send = &mut self.sends[at];
        let total = send.data.len();
        let length = total.min(room - START_HEAD);
        send.sent = length;
        send.limit = if total <= self.config.eager_bytes {
            total
        } else {
            // Whole datagrams only, so that no short one interrupts a train.
            let segments = self.config.unscheduled_bytes.saturating_sub(length);
            let segments = segments - segments % (room - PLAIN_HEAD);
            total.min(length + segments)
        };
        send.unscheduled = u32::try_from(send.limit).unwrap_or(u32::MAX);
        send.limit = send.unscheduled as usize;
        send.in_flight = 1;
        active.queued_bytes -= length as u64;
        self.open.insert((peer, Stream::Message(seq)), at);
        if send.sent < send.limit {
            active.make_ready(send.serial, key(at));
        } else if send.waits_for_grant() {
            active.waiting += 1;
        }
        let length = short(length);
        start_frame(send, length).emit(train.heads());
        let tail = send.data.slice(..usize::from(length));
        self.filled(peer, Content::Start { op: key(at), length }, tail, 0)
    }

    /// Begins a write that takes several datagrams. It goes on after those that began before.
    fn fill_write(&mut self, peer: PeerId, at: usize, room: usize, train: &mut Train) -> Filled {
        self.begin(peer, at);
        let active = self.peers.activate(peer);
        active.run = 0;
        let send = &mut self.sends[at];
        send.limit = send.data.len();
        active.make_ready(send.serial, key(at));
        let oldest = active.ready.front().map_or(at, |&(_, op)| op as usize);
        self.fill_segment(peer, oldest, room, train)
    }

    fn fill_segment(&mut self, peer: PeerId, at: usize, room: usize, train: &mut Train) -> Filled {
        let active = self.peers.activate(peer);
        let send = &mut self.sends[at];
        let offset = send.sent;
        let head = segment_frame(send, offset, 0).head_len();
        let length = (send.limit - offset).min(room - head);
        send.sent += length;
        send.in_flight += 1;
        active.queued_bytes -= length as u64;
        let run = active.run.saturating_add(1);
        if send.sent == send.limit {
            active.ready.pop_front();
            if send.waits_for_grant() {
                active.waiting += 1;
            }
        }
        let length = short(length);
        let tail = emit_part(send, offset, length, train.heads(), &self.regions);
        self.filled(peer, Content::Segment { op: key(at), offset, length }, tail, run)
    }

    /// Enters a datagram that was filled. `run`: datagrams of large messages in a row.
    pub(super) fn filled(
        &mut self,
        peer: PeerId,
        content: Content,
        tail: Bytes,
        run: u32,
    ) -> Filled {
        let ends_message = match content {
            Content::Start { op, .. } | Content::Segment { op, .. } => {
                self.sends[op as usize].is_sent()
            }
            Content::Bundle { .. } => false,
        };
        // A short message leaves as one train, which costs its receiver a copy; of a long one the
        // segments make trains of one shape, for which it can offer a landing.
        let ends_train = match content {
            Content::Start { op, .. } => self.is_long(&self.sends[op as usize]),
            _ => false,
        };
        let token = self.records.insert(peer, content);
        let active = self.peers.activate(peer);
        active.in_flight += 1;
        active.run = run;
        active.look_at_front(&self.sends);
        active.announced = active.has_work();
        let more = active.announced;
        Filled { token, tail, solicit: ends_message || !more, ends_train, more }
    }

    /// Writes a datagram again. Parts of a message that was given up become nothing.
    pub(super) fn refill_datagram(&self, token: Token, train: &mut Train) -> Bytes {
        let heads = train.heads();
        match &self.records.get(token).content {
            &Content::Start { op, length } => {
                let send = &self.sends[op as usize];
                if !send.is_wanted() {
                    return Bytes::new();
                }
                start_frame(send, length).emit(heads);
                send.data.slice(..usize::from(length))
            }
            &Content::Segment { op, offset, length } => {
                let send = &self.sends[op as usize];
                if !send.is_wanted() {
                    return Bytes::new();
                }
                emit_part(send, offset, length, heads, &self.regions)
            }
            Content::Bundle { parts, tail } => self.refill_bundle(parts, *tail, heads),
        }
    }

    fn refill_bundle(&self, parts: &[Part], tail: bool, heads: &mut Vec<u8>) -> Bytes {
        for (at, &part) in parts.iter().enumerate() {
            if matches!(part, Part::Message(op) if !self.sends[op as usize].is_wanted()) {
                continue;
            }
            part_frame(part, &self.sends).emit(heads);
            if let Part::Message(op) = part {
                let data = &self.sends[op as usize].data;
                if tail && at + 1 == parts.len() {
                    return data.clone();
                }
                heads.extend_from_slice(data);
            }
        }
        Bytes::new()
    }
}

/// Bytes of what is sent in one frame, its head included.
pub(super) fn whole_len(send: &SendOp) -> usize {
    let head = match send.kind {
        Kind::Message | Kind::Result => PLAIN_HEAD,
        _ => whole_frame(send).head_len(),
    };
    let data = if matches!(send.kind, Kind::Message) && send.remote_data.is_some() { 8 } else { 0 };
    head + data + send.data.len()
}

/// The head of a message or of a one-sided operation that is sent in one frame. A payload that
/// does not fit one counts as 0.
pub(super) fn whole_frame(send: &SendOp) -> Frame {
    let seq = send.seq;
    let length = u16::try_from(send.data.len()).unwrap_or(0);
    Frame::OneSided(match &send.kind {
        Kind::Message => {
            return Frame::Message { seq, tag: send.tag, data: send.remote_data, length };
        }
        Kind::Write { .. } | Kind::Data { .. } => return segment_frame(send, 0, length),
        &Kind::Read { place, total, unscheduled, .. } => {
            OneSided::Read { seq, place, total, unscheduled }
        }
        &Kind::Atomic { place, atomic, fetch, count } => OneSided::Atomic {
            seq,
            place,
            operator: atomic.operator.code(),
            datatype: atomic.datatype.code(),
            fetch,
            count,
            length,
        },
        Kind::Result => OneSided::Result { seq, length },
    })
}

fn part_frame(part: Part, sends: &Slab<SendOp>) -> Frame {
    match part {
        Part::Message(op) => whole_frame(&sends[op as usize]),
        Part::Grant(Stream::Message(seq), up_to) => Frame::Grant { seq, up_to },
        Part::Grant(Stream::Read(seq), up_to) => Frame::OneSided(OneSided::Allow { seq, up_to }),
        Part::Stop(seq) => Frame::Stop { seq },
        Part::Abort(seq) => Frame::Abort { seq },
        Part::Refusal(Refusal { seq, kind, cause }) => {
            Frame::OneSided(OneSided::Refusal { seq, kind, cause })
        }
    }
}

pub(super) fn start_frame(send: &SendOp, length: u16) -> Frame {
    Frame::Start {
        seq: send.seq,
        tag: send.tag,
        data: send.remote_data,
        total: send.data.len() as u64,
        unscheduled: send.unscheduled,
        length,
    }
}

/// The head of a part of what takes several datagrams.
pub(super) fn segment_frame(send: &SendOp, offset: usize, length: u16) -> Frame {
    let (seq, offset) = (send.seq, offset as u64);
    match send.kind {
        Kind::Write { place } => Frame::OneSided(OneSided::Write {
            seq,
            place,
            offset,
            total: send.data.len() as u64,
            data: send.remote_data,
            length,
        }),
        Kind::Data { .. } => Frame::OneSided(OneSided::Data { seq, offset, length }),
        _ => Frame::Segment { seq, offset, length },
    }
}

/// Writes a part: its head, and its payload unless that is returned.
pub(super) fn emit_part(
    send: &SendOp,
    offset: usize,
    length: u16,
    heads: &mut Vec<u8>,
    regions: &Regions,
) -> Bytes {
    let head = segment_frame(send, offset, length);
    let length = usize::from(length);
    let Kind::Data { region, begin, key } = &send.kind else {
        head.emit(heads);
        return send.data.slice(offset..offset + length);
    };
    // A region may change at any time: what leaves is what it holds now. A tail, as the checksum
    // covers all heads, and a reader that places the payload directly has only the frame's.
    let place = (begin + offset) as u64;
    let copied = regions.visit(*key, Access::READ, place, length as u64, |found, at| {
        if found.is_same(region) { found.copy(at, length).ok() } else { None }
    });
    // Another endpoint took it back: nothing leaves, and a refusal follows.
    let Ok(Some(bytes)) = copied else { return Bytes::new() };
    head.emit(heads);
    bytes.into()
}
