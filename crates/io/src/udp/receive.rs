use std::{
    io::{self, IoSliceMut},
    mem,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd},
};

use smallvec::SmallVec;
use socket2::Socket;
use wire::Ecn;

use super::sys::{BATCH, ControlBuffer, RawAddress, Slot, receive_batch, receive_message};
use crate::{Arrival, DeviceCounters, Landing, Layout, Scratch};

/// The largest arrival: the kernel never makes longer ones.
const MAX_ARRIVAL: usize = 65_536;
/// The most datagrams of a landing: two pieces each and the rest make 255.
const MAX_LANDING: usize = 127;
/// Single datagrams in a row, without an empty receive between them, before they are fetched in
/// batches: a queue has built up and no latency is at stake.
const SINGLES_BEFORE_BATCH: usize = 4;
/// Longer single datagrams are not batched: the copy would cost what the system call saves.
const MAX_BATCHED: usize = 4096;
/// Batch buffers begin this far apart, not a power of two, so that they do not all compete for
/// the same lines of the processor's cache.
const SLOT_BYTES: usize = MAX_ARRIVAL + 320;

/// The receiving half of the device.
#[derive(Debug)]
pub(super) struct Receiver {
    socket: Socket,
    control: ControlBuffer<128>,
    /// Where arrivals that missed the landing are put in order.
    linear: Box<[u8]>,
    slots: Vec<Slot>,
    /// Slots that were filled and not yet handed out.
    filled: std::ops::Range<usize>,
    singles: usize,
    /// The last value of the kernel's 32-bit drop counter.
    drops: u32,
}

/// What the control messages of an arrival said.
#[derive(Default)]
struct Signals {
    stride: Option<usize>,
    ecn: Ecn,
    drops: Option<u32>,
}

impl Receiver {
    pub(super) fn new(socket: Socket) -> Self {
        Self {
            socket,
            control: ControlBuffer::default(),
            linear: Box::default(),
            slots: Vec::new(),
            filled: 0..0,
            singles: 0,
            drops: 0,
        }
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Whether something was fetched that was not handed out.
    pub(super) fn holds_some(&self) -> bool {
        !self.filled.is_empty()
    }

    pub(super) fn receive(
        &mut self,
        scratch: &mut Scratch,
        landing: Option<Landing<'_>>,
        counters: &mut DeviceCounters,
    ) -> io::Result<Option<Arrival>> {
        let landing = landing.filter(|landing| landing.head > 0 && landing.body > 0);
        if self.filled.is_empty() && self.singles >= SINGLES_BEFORE_BATCH {
            self.fetch_batch()?;
        }
        let arrival = if let Some(index) = self.filled.next() {
            self.hand_out(index, scratch, landing, counters)
        } else if self.singles >= SINGLES_BEFORE_BATCH {
            None
        } else {
            self.receive_one(scratch, landing, counters)?
        };
        match &arrival {
            Some(arrival) => {
                let single = arrival.bytes == arrival.stride && arrival.bytes <= MAX_BATCHED;
                self.singles = if single { self.singles + 1 } else { 0 };
                counters.rx_trains += 1;
                counters.rx_packets += arrival.datagrams() as u64;
                counters.rx_bytes += arrival.bytes as u64;
            }
            None => {
                self.singles = 0;
                counters.rx_empty += 1;
            }
        }
        Ok(arrival)
    }

    fn receive_one(
        &mut self,
        scratch: &mut Scratch,
        mut landing: Option<Landing<'_>>,
        counters: &mut DeviceCounters,
    ) -> io::Result<Option<Arrival>> {
        let mut from = RawAddress::ROOM;
        let received = match &mut landing {
            None => {
                let payload = &mut [IoSliceMut::new(&mut scratch.bytes)];
                receive_message(self.socket.as_fd(), &mut from, payload, &mut self.control, 0)
            }
            Some(landing) => {
                let mut payload = scattered(scratch, landing);
                receive_message(self.socket.as_fd(), &mut from, &mut payload, &mut self.control, 0)
            }
        };
        let received = match received {
            Ok(received) => received,
            Err(error) => return nothing_or(error),
        };
        let signals = signals(&self.control);
        self.count_drops(&signals, counters);
        let Some(source) = from.to_socket_addr().filter(|_| !received.truncated) else {
            counters.rx_drops += 1;
            return Ok(None);
        };
        let mut arrival = contiguous(source, received.bytes, &signals);
        if let Some(landing) = landing {
            arrival.layout = self.settle(scratch, &landing, &arrival);
        }
        Ok(Some(arrival))
    }

    /// Decides the layout of an arrival that was received into a landing, and puts the bytes in
    /// order if it does not have the landing's shape.
    fn settle(
        &mut self,
        scratch: &mut Scratch,
        landing: &Landing<'_>,
        arrival: &Arrival,
    ) -> Layout {
        if arrival.bytes <= landing.head {
            return Layout::Contiguous;
        }
        if has_shape(landing, scratch.bytes.len(), arrival) {
            return Layout::Landed;
        }
        let Landing { head, body, ref buffer } = *landing;
        if self.linear.len() != scratch.bytes.len() {
            self.linear = vec![0; scratch.bytes.len()].into_boxed_slice();
        }
        let count = landing_datagrams(landing, scratch.bytes.len());
        let (heads, rest) = scratch.bytes.split_at(count * head);
        let pieces = heads
            .chunks(head)
            .zip(buffer.chunks(body))
            .flat_map(|(head, body)| [head, body])
            .chain([rest]);
        let mut at = 0;
        for piece in pieces {
            let len = piece.len().min(arrival.bytes - at);
            self.linear[at..at + len].copy_from_slice(&piece[..len]);
            at += len;
        }
        mem::swap(&mut scratch.bytes, &mut self.linear);
        Layout::Contiguous
    }

    fn fetch_batch(&mut self) -> io::Result<()> {
        if self.slots.is_empty() {
            self.slots = (0..BATCH).map(|_| Slot::new(SLOT_BYTES)).collect();
        }
        match receive_batch(self.socket.as_fd(), &mut self.slots) {
            Ok(count) => {
                self.filled = 0..count;
                if count == 1 {
                    self.singles = 0;
                }
                Ok(())
            }
            Err(error) => nothing_or(error).map(|_| ()),
        }
    }

    fn hand_out(
        &mut self,
        index: usize,
        scratch: &mut Scratch,
        landing: Option<Landing<'_>>,
        counters: &mut DeviceCounters,
    ) -> Option<Arrival> {
        let signals = signals(&self.slots[index].control);
        self.count_drops(&signals, counters);
        let Slot { from, buffer, received, .. } = &self.slots[index];
        let fits = !received.truncated && received.bytes <= scratch.bytes.len();
        let Some(source) = from.to_socket_addr().filter(|_| fits) else {
            counters.rx_drops += 1;
            return None;
        };
        let bytes = &buffer[..received.bytes];
        let mut arrival = contiguous(source, bytes.len(), &signals);
        let single = arrival.bytes == arrival.stride;
        match landing {
            Some(Landing { head, body, buffer })
                if single && bytes.len() > head && bytes.len() - head <= body.min(buffer.len()) =>
            {
                let (to_scratch, to_buffer) = bytes.split_at(head);
                scratch.bytes[..head].copy_from_slice(to_scratch);
                buffer[..to_buffer.len()].copy_from_slice(to_buffer);
                arrival.layout = Layout::Landed;
            }
            _ => scratch.bytes[..bytes.len()].copy_from_slice(bytes),
        }
        Some(arrival)
    }

    fn count_drops(&mut self, signals: &Signals, counters: &mut DeviceCounters) {
        if let Some(drops) = signals.drops {
            counters.rx_drops += u64::from(drops.wrapping_sub(self.drops));
            self.drops = drops;
        }
    }
}

/// The datagrams that a landing takes: as many as the buffer and the largest train have room for.
fn landing_datagrams(landing: &Landing<'_>, scratch_bytes: usize) -> usize {
    landing
        .buffer
        .len()
        .div_ceil(landing.body)
        .min(MAX_ARRIVAL.div_ceil(landing.head + landing.body))
        .min(scratch_bytes / landing.head)
        .min(MAX_LANDING)
}

/// Head and body of each datagram in turn, then whatever scratch memory is left for what does not
/// have the shape.
fn scattered<'a>(
    scratch: &'a mut Scratch,
    landing: &'a mut Landing<'_>,
) -> SmallVec<[IoSliceMut<'a>; 256]> {
    let count = landing_datagrams(landing, scratch.bytes.len());
    let (heads, rest) = scratch.bytes.split_at_mut(count * landing.head);
    let mut pieces = SmallVec::new();
    for (head, body) in heads.chunks_mut(landing.head).zip(landing.buffer.chunks_mut(landing.body))
    {
        pieces.push(IoSliceMut::new(head));
        pieces.push(IoSliceMut::new(body));
    }
    pieces.push(IoSliceMut::new(rest));
    pieces
}

fn has_shape(landing: &Landing<'_>, scratch_bytes: usize, arrival: &Arrival) -> bool {
    let Landing { head, body, ref buffer } = *landing;
    let count = landing_datagrams(landing, scratch_bytes);
    let room = count * head + buffer.len().min(count * body);
    let stride_fits = arrival.bytes == arrival.stride || arrival.stride == head + body;
    let last = match arrival.bytes % arrival.stride {
        0 => arrival.stride,
        shorter => shorter,
    };
    stride_fits && (head..=head + body).contains(&last) && arrival.bytes <= room
}

fn contiguous(source: SocketAddr, bytes: usize, signals: &Signals) -> Arrival {
    let stride = signals.stride.unwrap_or(bytes).min(bytes).max(1);
    Arrival { source, bytes, stride, ecn: signals.ecn, layout: Layout::Contiguous }
}

fn signals(control: &ControlBuffer<128>) -> Signals {
    let mut signals = Signals::default();
    for (level, kind, data) in control.messages() {
        match (level, kind) {
            (libc::SOL_UDP, libc::UDP_GRO) => {
                let stride = data.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes));
                signals.stride = stride.and_then(|stride| usize::try_from(stride).ok());
            }
            // One octet in IPv4, an `int` in IPv6.
            (libc::IPPROTO_IP, libc::IP_TOS) => {
                signals.ecn = data.first().map_or(Ecn::NotCapable, |&b| Ecn::from_traffic_class(b));
            }
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                let class = data.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
                signals.ecn = Ecn::from_traffic_class(class.to_le_bytes()[0]);
            }
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                signals.drops = data.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
            }
            _ => {}
        }
    }
    signals
}

/// Nothing there, or interrupted, is not an error of a call that does not wait.
fn nothing_or(error: io::Error) -> io::Result<Option<Arrival>> {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(None),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;
    use crate::udp::{UdpOptions, open::listen};

    #[test]
    fn batch_of_one_goes_back_to_single_receives() {
        let socket = listen("127.0.0.1:0".parse().unwrap(), &UdpOptions::default()).unwrap();
        let to = socket.local_addr().unwrap().as_socket().unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut receiver = Receiver::new(socket);
        let mut receive_one = || {
            sender.send_to(&[7; 64], to).unwrap();
            let counters = &mut DeviceCounters::default();
            receiver.receive(&mut Scratch::default(), None, counters).unwrap().unwrap();
            receiver.singles
        };
        let singles: Vec<_> = (0..6).map(|_| receive_one()).collect();
        assert_eq!(singles, [1, 2, 3, SINGLES_BEFORE_BATCH, 1, 2]);
    }
}
