use std::io::{self, IoSlice};

use smallvec::SmallVec;
use wire::{Ecn, Train};

use super::{
    UdpDevice,
    source::Feedback,
    sys::{BATCH, ControlBuffer, RawAddress, send_batch, send_bytes, send_message},
};
use crate::SendError;

/// Room for a segment size and a traffic class.
type SendControl = ControlBuffer<48>;

/// How a train was handed to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handover {
    /// In one system call, segmented by the kernel where it is more than one datagram.
    Whole,
    /// One datagram after the other, some to a system call.
    Each,
}

impl UdpDevice {
    pub(super) fn send_train(&mut self, train: &Train) -> Result<(), SendError> {
        if train.is_empty() {
            return Ok(());
        }
        if train.destination.is_ipv4() != self.local.is_ipv4() {
            return Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT).into());
        }
        let handover = self.handover(train);
        let sent = match self.attempt(train, handover) {
            Ok(()) => Ok(()),
            Err(error) => self.recover(train, handover, error),
        };
        if sent.is_ok() {
            self.counters.tx_trains += 1;
            self.counters.tx_packets += train.len() as u64;
            self.counters.tx_bytes += train.total_bytes() as u64;
            self.feedback.expect_some();
        }
        sent
    }

    fn handover(&self, train: &Train) -> Handover {
        let whole = train.len() == 1
            || train.len() <= self.limits.train_datagrams
                && train.total_bytes() <= self.limits.train_bytes
                && self.routes.segments(train.destination.ip());
        if whole { Handover::Whole } else { Handover::Each }
    }

    fn attempt(&mut self, train: &Train, handover: Handover) -> io::Result<()> {
        match handover {
            Handover::Whole => self.send_whole(train),
            Handover::Each => self.send_each(train),
        }
    }

    fn send_whole(&mut self, train: &Train) -> io::Result<()> {
        let outlet = self.sources.outlet(train.entropy, train.destination)?;
        if outlet.is_connected
            && train.ecn == Ecn::Capable
            && let Some(datagram) = only_piece(train)
        {
            return send_bytes(outlet.socket, datagram).map(|_| ());
        }
        let to = RawAddress::from(train.destination);
        let to = (!outlet.is_connected).then_some(&to);
        let mut control = traffic_class(train);
        let mut payload = SmallVec::<[IoSlice<'_>; 256]>::new();
        for (head, tail) in train.datagrams() {
            payload.push(IoSlice::new(head));
            if !tail.is_empty() {
                payload.push(IoSlice::new(tail));
            }
        }
        if train.len() > 1 {
            let segment = u16::try_from(train.segment_size())
                .map_err(|_| io::Error::from_raw_os_error(libc::EMSGSIZE))?;
            control.push(libc::SOL_UDP, libc::UDP_SEGMENT, &segment.to_ne_bytes());
        }
        send_message(outlet.socket, to, &payload, control.bytes()).map(|_| ())
    }

    /// A call that is cut short (the buffer is full) reports the error although some datagrams
    /// left: sending the train again is then a duplicate, which the transport has to expect
    /// anyway, and losing the rest would cost it more.
    fn send_each(&mut self, train: &Train) -> io::Result<()> {
        let outlet = self.sources.outlet(train.entropy, train.destination)?;
        let to = RawAddress::from(train.destination);
        let control = traffic_class(train);
        let mut datagrams =
            train.datagrams().map(|(head, tail)| [IoSlice::new(head), IoSlice::new(tail)]);
        loop {
            let batch: SmallVec<[_; BATCH]> = datagrams.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                return Ok(());
            }
            let mut rest = &batch[..];
            while !rest.is_empty() {
                let sent = send_batch(outlet.socket, &to, rest, control.bytes())?;
                rest = &rest[sent..];
            }
        }
    }

    /// Finds out what a failed send means, and sends the same train again where that helps.
    fn recover(
        &mut self,
        train: &Train,
        handover: Handover,
        error: io::Error,
    ) -> Result<(), SendError> {
        if is_full(&error) {
            return Err(SendError::Full);
        }
        // The kernel reports the ICMP error of an earlier datagram, perhaps to another
        // destination, as the failure of the next send.
        self.take_feedback_of(train.entropy);
        let Err(error) = self.attempt(train, handover) else { return Ok(()) };
        let segmented = handover == Handover::Whole && train.len() > 1;
        match error.raw_os_error() {
            _ if is_full(&error) => Err(SendError::Full),
            Some(libc::EMSGSIZE) => Err(self.too_large(train)),
            // Kernels before 6.14 say EINVAL for a segment larger than the MTU, too.
            Some(libc::EINVAL)
                if segmented
                    && self.routes.ask_kernel(train.destination) < train.segment_size() =>
            {
                Err(self.too_large(train))
            }
            Some(libc::EIO | libc::EINVAL) if segmented => {
                self.routes.forbid_segments(train.destination.ip());
                self.counters.gso_fallbacks += 1;
                self.attempt(train, Handover::Each).map_err(|error| self.classify(train, error))
            }
            _ => Err(SendError::Os(error)),
        }
    }

    fn classify(&mut self, train: &Train, error: io::Error) -> SendError {
        match error.raw_os_error() {
            _ if is_full(&error) => SendError::Full,
            Some(libc::EMSGSIZE) => self.too_large(train),
            _ => SendError::Os(error),
        }
    }

    fn too_large(&mut self, train: &Train) -> SendError {
        self.take_feedback_of(train.entropy);
        let known = self.routes.ask_kernel(train.destination);
        // Whatever the kernel believes, this length did not pass.
        SendError::TooLarge(known.min(train.segment_size().saturating_sub(1)))
    }

    fn take_feedback_of(&mut self, entropy: wire::Entropy) {
        let Self { sources, routes, feedback, .. } = self;
        sources.take_errors(entropy, &mut |notice| note(notice, routes, feedback));
    }

    pub(super) fn take_all_feedback(&mut self) {
        let Self { sources, routes, feedback, .. } = self;
        sources.take_all_errors(&mut |notice| note(notice, routes, feedback));
    }
}

fn note(notice: Feedback, routes: &mut super::route::Routes, feedback: &mut super::Unreachable) {
    match notice {
        Feedback::TooLarge(destination, mtu) => {
            routes.learn_mtu(destination.ip(), mtu);
        }
        Feedback::Unreachable(destination) => feedback.push(destination),
    }
}

/// The train, if it is a single datagram in one piece.
fn only_piece(train: &Train) -> Option<&[u8]> {
    let mut datagrams = train.datagrams();
    match (datagrams.next(), datagrams.next()) {
        (Some((head, [])), None) => Some(head),
        _ => None,
    }
}

fn traffic_class(train: &Train) -> SendControl {
    let mut control = SendControl::default();
    // What is capable leaves from a socket that says so.
    if train.ecn != Ecn::Capable {
        let bits = i32::from(train.ecn.bits()).to_ne_bytes();
        if train.destination.is_ipv4() {
            control.push(libc::IPPROTO_IP, libc::IP_TOS, &bits);
        } else {
            control.push(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &bits);
        }
    }
    control
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS))
}
