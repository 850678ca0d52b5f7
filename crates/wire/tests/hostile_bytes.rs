//! No decoder panics, and none accepts what it would not have written, whatever the bytes: random
//! ones, and valid ones that were damaged on purpose, with a checksum that fits the damage.
#![forbid(unsafe_code)]

use bolero::{TypeGenerator, check};
use elastane_wire::{
    Ack, Entropy, Frame, FrameIter, HEADER_LEN, Header, Kind, MAX_ECHOES, MAX_SACK_WORDS,
    MessageSeq, OneSided, OneSidedKind, PathEcho, PathSeq, Psn, RKey, RefusalCause, RemotePlace,
    Stamp, Tag, WholeMessage,
};

/// One blow to a datagram; positions are taken modulo its length.
#[derive(Clone, Debug, TypeGenerator)]
enum Damage {
    Flip { bit: u16 },
    Overwrite { at: u16, with: u8 },
    Truncate { to: u16 },
    Insert { at: u16, bytes: Vec<u8> },
    Remove { at: u16, count: u8 },
    Repeat { from: u16, count: u8, at: u16 },
}

impl Damage {
    fn strike(&self, bytes: &mut Vec<u8>) {
        let position = |at: u16| usize::from(at) % (bytes.len() + 1);
        match self {
            Self::Flip { bit } => {
                let at = usize::from(bit / 8) % bytes.len().max(1);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << (bit % 8);
                }
            }
            Self::Overwrite { at, with } => {
                let at = position(*at);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = *with;
                }
            }
            Self::Truncate { to } => bytes.truncate(position(*to)),
            Self::Insert { at, bytes: inserted } => {
                let at = position(*at);
                bytes.splice(at..at, inserted.iter().copied());
            }
            Self::Remove { at, count } => {
                let at = position(*at);
                let end = bytes.len().min(at + usize::from(*count));
                bytes.drain(at..end);
            }
            Self::Repeat { from, count, at } => {
                let from = position(*from);
                let end = bytes.len().min(from + usize::from(*count));
                let at = position(*at);
                let again = bytes[from..end].to_vec();
                bytes.splice(at..at, again);
            }
        }
    }
}

fn damaged(mut bytes: Vec<u8>, blows: &[Damage]) -> Vec<u8> {
    for blow in blows {
        blow.strike(&mut bytes);
    }
    bytes
}

#[derive(Clone, Debug, TypeGenerator)]
struct AnyHeader {
    kind: u8,
    ack_requested: bool,
    hollow: bool,
    port: u16,
    source: u32,
    destination: u32,
    psn: u32,
    path_seq: u32,
    stamp: u32,
    entropy: u8,
    ack_words: u8,
    body: Vec<u8>,
}

impl AnyHeader {
    fn header(&self) -> Header {
        let kinds = [
            Kind::Data,
            Kind::Ack,
            Kind::Probe,
            Kind::Reset,
            Kind::NotReady,
            Kind::Close,
            Kind::Unreliable,
        ];
        let ack_len = usize::from(self.ack_words) * 4;
        Header {
            kind: kinds[usize::from(self.kind) % kinds.len()],
            ack_requested: self.ack_requested,
            hollow: self.hollow,
            port: self.port.max(1),
            source: self.source.max(1),
            destination: self.destination,
            psn: self.psn,
            path_seq: self.path_seq,
            stamp: Stamp(self.stamp),
            entropy: Entropy(self.entropy),
            ack_len,
            covered: HEADER_LEN + ack_len + self.body.len(),
        }
    }

    fn datagram(&self) -> Vec<u8> {
        let header = self.header();
        let mut bytes = Vec::new();
        header.emit(&mut bytes);
        bytes.resize(HEADER_LEN + header.ack_len, 0x5a);
        bytes.extend_from_slice(&self.body);
        Header::seal(&mut bytes);
        bytes
    }
}

/// Makes the checksum right for whatever the covered field says, as an attacker would.
fn forge_checksum(datagram: &mut [u8]) {
    if datagram.len() < HEADER_LEN {
        return;
    }
    let covered = usize::from(u16::from_le_bytes([datagram[30], datagram[31]]));
    if (HEADER_LEN..=datagram.len()).contains(&covered) {
        let crc = crc32c::crc32c(&datagram[4..covered]);
        datagram[..4].copy_from_slice(&crc.to_le_bytes());
    }
}

/// Parses, and checks that what was accepted stays inside the datagram and writes itself again.
fn check_header(datagram: &[u8]) -> bool {
    let Ok(header) = Header::parse(datagram) else { return false };
    assert!(header.covered <= datagram.len());
    assert!(header.covered >= HEADER_LEN + header.ack_len);
    assert!(header.port != 0 && header.source != 0);
    let mut written = Vec::new();
    header.emit(&mut written);
    written.extend_from_slice(&datagram[HEADER_LEN..header.covered]);
    Header::seal(&mut written);
    assert_eq!(written, &datagram[..header.covered]);
    true
}

#[test]
fn header_from_random_bytes_is_refused_or_exact() {
    check!().for_each(|bytes: &[u8]| {
        check_header(bytes);
        let mut forged = bytes.to_vec();
        forge_checksum(&mut forged);
        check_header(&forged);
    });
}

#[test]
fn header_of_any_values_survives_a_round_trip() {
    check!().with_type::<AnyHeader>().for_each(|any| {
        assert_eq!(Header::parse(&any.datagram()), Ok(any.header()));
    });
}

#[test]
fn damaged_header_with_a_forged_checksum_is_refused_or_exact() {
    check!().with_type::<(AnyHeader, Vec<Damage>)>().for_each(|(any, blows)| {
        let mut bytes = damaged(any.datagram(), blows);
        check_header(&bytes);
        forge_checksum(&mut bytes);
        check_header(&bytes);
    });
}

#[derive(Clone, Debug, TypeGenerator)]
struct AnyAck {
    cumulative: u32,
    window: u16,
    sack: Vec<u64>,
    echoes: Vec<(u8, u8, u16, u32, u32)>,
}

impl AnyAck {
    fn ack(&self) -> Ack {
        let echo =
            |&(entropy, marked, delay, path_seq, stamp): &(u8, u8, u16, u32, u32)| PathEcho {
                entropy: Entropy(entropy),
                marked,
                path_seq,
                stamp: Stamp(stamp),
                delay: u64::from(delay) * 256,
            };
        Ack {
            cumulative: self.cumulative,
            window: u32::from(self.window) * 1024,
            sack: self.sack.iter().copied().take(MAX_SACK_WORDS).collect(),
            echoes: self.echoes.iter().map(echo).take(MAX_ECHOES).collect(),
        }
    }

    fn block(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.ack().emit(&mut bytes);
        bytes
    }
}

/// Parses into a used block and checks that nothing of its past shows, that the bounds hold and
/// that what was accepted writes itself again.
fn check_ack(bytes: &[u8], near: u64) {
    let mut fresh = Ack::default();
    let accepted = fresh.parse_into(bytes);
    let mut used = Ack {
        cumulative: 9,
        window: 9,
        sack: vec![u64::MAX; 3],
        echoes: vec![PathEcho::default(); 3],
    };
    assert_eq!(used.parse_into(bytes), accepted);
    if accepted.is_err() {
        return;
    }
    assert_eq!(used, fresh);
    assert!(fresh.sack.len() <= MAX_SACK_WORDS && fresh.echoes.len() <= MAX_ECHOES);
    assert_eq!(fresh.len(), bytes.len());
    let mut written = Vec::new();
    fresh.emit(&mut written);
    assert_eq!(written, bytes);
    let ones: u32 = fresh.sack.iter().map(|word| word.count_ones()).sum();
    assert_eq!(fresh.selected(Psn(near)).count(), ones as usize);
    for echo in &fresh.echoes {
        if let Some(full) = echo.path_seq_near(PathSeq(near)) {
            assert_eq!(full.truncate(), echo.path_seq);
        }
    }
}

#[test]
fn ack_from_random_bytes_is_refused_or_exact() {
    check!()
        .with_type::<(Vec<u8>, u32)>()
        .for_each(|(bytes, near)| check_ack(bytes, u64::from(*near)));
}

#[test]
fn ack_with_more_words_or_echoes_than_a_block_holds_is_refused() {
    check!().with_type::<(u8, u8, u8)>().for_each(|&(words, echoes, fill)| {
        let (held, told) = (usize::from(words), usize::from(echoes));
        let mut bytes = vec![fill; 8 + held * 8 + told * 12];
        (bytes[6], bytes[7]) = (words, echoes);
        let accepted = Ack::default().parse_into(&bytes).is_ok();
        assert_eq!(accepted, held <= MAX_SACK_WORDS && told <= MAX_ECHOES);
        check_ack(&bytes, 0);
    });
}

#[test]
fn ack_of_any_values_survives_a_round_trip() {
    check!().with_type::<AnyAck>().for_each(|any| {
        let mut read = Ack::default();
        read.parse_into(&any.block()).unwrap();
        assert_eq!(read, any.ack());
    });
}

#[test]
fn damaged_ack_is_refused_or_exact() {
    check!()
        .with_type::<(AnyAck, Vec<Damage>, u32)>()
        .for_each(|(any, blows, near)| check_ack(&damaged(any.block(), blows), u64::from(*near)));
}

#[derive(Clone, Debug, TypeGenerator)]
enum AnyFrame {
    Message { seq: u32, tag: Option<u64>, data: Option<u64>, length: u8 },
    Start { seq: u32, tag: Option<u64>, data: Option<u64>, beyond: u32, first: u32, length: u8 },
    Segment { seq: u32, offset: u64, length: u8 },
    LastSegment { seq: u32, length: u8 },
    Grant { seq: u32, up_to: u64 },
    Stop { seq: u32 },
    Abort { seq: u32 },
    Write { seq: u32, key: u64, at: u64, offset: u64, beyond: u32, data: Option<u64>, length: u8 },
    Read { seq: u32, key: u64, at: u64, total: u64, unscheduled: u32 },
    Data { seq: u32, offset: u64, length: u8 },
    Allow { seq: u32, up_to: u64 },
    Atomic { seq: u32, key: u64, at: u64, codes: (u8, u8), fetch: bool, count: u16, length: u8 },
    Result { seq: u32, length: u8 },
    Refusal { seq: u32, atomic: bool, cause: u8 },
}

impl AnyFrame {
    fn frame(&self) -> Frame {
        match *self {
            Self::Message { seq, tag, data, length } => Frame::Message {
                seq: MessageSeq(seq),
                tag: tag.map(Tag),
                data,
                length: length.into(),
            },
            Self::Start { seq, tag, data, beyond, first, length } => Frame::Start {
                seq: MessageSeq(seq),
                tag: tag.map(Tag),
                data,
                total: u64::from(length) + (u64::from(beyond) << 8),
                unscheduled: first,
                length: length.into(),
            },
            Self::Segment { seq, offset, length } => Frame::Segment {
                seq: MessageSeq(seq),
                offset: offset.min(u64::MAX - u64::from(length)),
                length: length.into(),
            },
            // Ends where the offsets end, so that damage easily makes it reach beyond.
            Self::LastSegment { seq, length } => Frame::Segment {
                seq: MessageSeq(seq),
                offset: u64::MAX - u64::from(length),
                length: length.into(),
            },
            Self::Grant { seq, up_to } => Frame::Grant { seq: MessageSeq(seq), up_to },
            Self::Stop { seq } => Frame::Stop { seq: MessageSeq(seq) },
            Self::Abort { seq } => Frame::Abort { seq: MessageSeq(seq) },
            _ => Frame::OneSided(self.one_sided()),
        }
    }

    fn one_sided(&self) -> OneSided {
        let place = |key, offset| RemotePlace { key: RKey(key), offset };
        match *self {
            Self::Write { seq, key, at, offset, beyond, data, length } => {
                let offset = offset >> 1;
                OneSided::Write {
                    seq: MessageSeq(seq),
                    place: place(key, at),
                    offset,
                    total: offset + u64::from(length) + u64::from(beyond),
                    data,
                    length: length.into(),
                }
            }
            Self::Read { seq, key, at, total, unscheduled } => {
                OneSided::Read { seq: MessageSeq(seq), place: place(key, at), total, unscheduled }
            }
            Self::Data { seq, offset, length } => OneSided::Data {
                seq: MessageSeq(seq),
                offset: offset.min(u64::MAX - u64::from(length)),
                length: length.into(),
            },
            Self::Atomic { seq, key, at, codes, fetch, count, length } => OneSided::Atomic {
                seq: MessageSeq(seq),
                place: place(key, at),
                operator: codes.0,
                datatype: codes.1,
                fetch,
                count,
                length: length.into(),
            },
            Self::Result { seq, length } => {
                OneSided::Result { seq: MessageSeq(seq), length: length.into() }
            }
            Self::Refusal { seq, atomic, cause } => {
                let kind = if atomic { OneSidedKind::Atomic } else { OneSidedKind::Transfer };
                let causes = [
                    RefusalCause::UnknownKey,
                    RefusalCause::Access,
                    RefusalCause::Range,
                    RefusalCause::Unsupported,
                ];
                let cause = causes[usize::from(cause) % causes.len()];
                OneSided::Refusal { seq: MessageSeq(seq), kind, cause }
            }
            Self::Allow { seq, up_to } => OneSided::Allow { seq: MessageSeq(seq), up_to },
            _ => unreachable!("two-sided frames are made by `frame`"),
        }
    }
}

fn payload_of(frames: &[AnyFrame]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for frame in frames.iter().map(AnyFrame::frame) {
        frame.emit(&mut bytes);
        bytes.resize(bytes.len() + frame.payload_len(), 0xc3);
    }
    bytes
}

/// Walks the frames and checks that they tile the payload, keep their promises about ranges,
/// write themselves again with the same meaning, and that nothing follows an error.
fn check_frames(payload: &[u8]) {
    let items: Vec<_> = FrameIter::new(payload).collect();
    let whole = match items[..] {
        [Ok((Frame::Message { seq, tag, data, .. }, body))] => {
            Some((WholeMessage { seq, tag, data }, body))
        }
        _ => None,
    };
    assert_eq!(WholeMessage::parse(payload), whole);
    let mut at = 0;
    let mut failed = false;
    for item in FrameIter::new(payload) {
        assert!(!failed, "a frame after a malformed one");
        let Ok((frame, body)) = item else {
            failed = true;
            continue;
        };
        assert_eq!(body.len(), frame.payload_len());
        let start = at + frame.head_len();
        assert_eq!(body.as_ptr(), payload[start..].as_ptr(), "a body outside its place");
        at = start + body.len();
        let mut written = Vec::new();
        frame.emit(&mut written);
        assert_eq!(written.len(), frame.head_len());
        assert_eq!(Frame::parse(&written), Ok(frame));
        match frame {
            Frame::Start { total, length, .. } => assert!(u64::from(length) <= total),
            Frame::Segment { offset, length, .. } => {
                assert!(offset.checked_add(length.into()).is_some());
            }
            Frame::OneSided(OneSided::Write { offset, total, length, .. }) => {
                assert!(offset.checked_add(length.into()).is_some_and(|end| end <= total));
            }
            Frame::OneSided(OneSided::Data { offset, length, .. }) => {
                assert!(offset.checked_add(length.into()).is_some());
            }
            Frame::OneSided(_)
            | Frame::Message { .. }
            | Frame::Grant { .. }
            | Frame::Stop { .. }
            | Frame::Abort { .. } => {}
        }
    }
    assert!(failed || at == payload.len(), "bytes left over without an error");
}

#[test]
fn frames_from_random_bytes_tile_the_payload_or_end_in_an_error() {
    check!().for_each(check_frames);
}

#[test]
fn frames_of_any_values_survive_a_round_trip() {
    check!().with_type::<Vec<AnyFrame>>().for_each(|frames| {
        let bytes = payload_of(frames);
        let read: Vec<_> = FrameIter::new(&bytes).map(|item| item.map(|(f, _)| f)).collect();
        let wanted: Vec<_> = frames.iter().map(|any| Ok(any.frame())).collect();
        assert_eq!(read, wanted);
    });
}

#[test]
fn damaged_frames_tile_the_payload_or_end_in_an_error() {
    check!()
        .with_type::<(Vec<AnyFrame>, Vec<Damage>)>()
        .for_each(|(frames, blows)| check_frames(&damaged(payload_of(frames), blows)));
}

#[test]
fn sequence_number_is_found_again_from_its_low_half() {
    check!().with_type::<(u64, i32)>().for_each(|&(near, distance)| {
        let near = near >> 1;
        let wanted = near.checked_add_signed(i64::from(distance)).map(Psn);
        let Some(psn) = wanted else { return };
        assert_eq!(Psn::expand(psn.truncate(), Psn(near)), Some(psn));
    });
}
