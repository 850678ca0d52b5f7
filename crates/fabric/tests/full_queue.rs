//! A device whose queue is full again and again: what waits to leave holds nobody up.
#![forbid(unsafe_code)]

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    os::fd::BorrowedFd,
    time::Duration,
};

use ::io::{Arrival, DeviceCounters, Landing, Limits, Scratch};
use elastane_fabric::{
    Access, Buffer, Clock, Event, Options, PacketIo, RdmEndpoint, Region, RemotePlace, SendError,
    SharedMemory, UdpDevice,
};
use wire::{Entropy, EntropySet, Train};

const PATIENCE: Duration = Duration::from_secs(20);
const BYTES: usize = 1 << 20;

/// Takes every other train only.
struct Clogged {
    inner: UdpDevice,
    attempts: u64,
    refused: u64,
}

impl PacketIo for Clogged {
    fn local_address(&self) -> SocketAddr {
        self.inner.local_address()
    }

    fn source_address(&self, entropy: Entropy) -> Option<SocketAddr> {
        self.inner.source_address(entropy)
    }

    fn retire_sources(&mut self, in_use: &EntropySet) {
        self.inner.retire_sources(in_use);
    }

    fn limits(&self) -> Limits {
        self.inner.limits()
    }

    fn path_datagram_bytes(&mut self, destination: SocketAddr) -> usize {
        self.inner.path_datagram_bytes(destination)
    }

    fn send(&mut self, train: &Train) -> Result<(), SendError> {
        self.attempts += 1;
        if self.attempts.is_multiple_of(2) {
            return self.inner.send(train);
        }
        self.refused += 1;
        Err(SendError::Full)
    }

    fn receive(
        &mut self,
        scratch: &mut Scratch,
        landing: Option<Landing<'_>>,
    ) -> io::Result<Option<Arrival>> {
        self.inner.receive(scratch, landing)
    }

    fn take_unreachable(&mut self) -> Option<SocketAddr> {
        self.inner.take_unreachable()
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.inner.wait(timeout)
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.inner.descriptor()
    }

    fn counters(&self) -> DeviceCounters {
        self.inner.counters()
    }
}

#[test]
fn region_changes_while_what_was_read_of_it_waits_for_the_device() {
    let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let options = Options { shared_memory: SharedMemory::Never, ..Options::listen(here) };
    let inner = UdpDevice::open(here, &options.device).expect("the loopback device is there");
    let device = Clogged { inner, attempts: 0, refused: 0 };
    let mut far = RdmEndpoint::on_device(device, &options).expect("there is randomness");
    let mut near = RdmEndpoint::open(&options).expect("the loopback device is there");
    let peer = near.peer(far.address()).expect("there is room");
    let memory = Region::from(vec![0; BYTES]);
    let key = far.register(memory.clone(), Access::READ);
    let place = RemotePlace { key, offset: 0 };
    near.read(peer, place, Buffer::zeroed(BYTES), 0).expect("there is room");
    let clock = Clock::start();
    let began = clock.now();
    let mut fill = 0_u8;
    let read = loop {
        far.progress().expect("the device works");
        // Whatever waits to leave, the region can be changed.
        fill = fill.wrapping_add(1).max(1);
        memory.write(0, &vec![fill; BYTES]).expect("inside");
        if let Some(completion) = near.poll().expect("the device works") {
            break completion;
        }
        assert!(clock.now().since(began) < PATIENCE, "no completion");
    };
    let Event::Read { buffer } = read.event else { panic!("a read") };
    assert_eq!(read.result, Ok(()));
    assert!(far.device().refused > 10, "{}", far.device().refused);
    let values = buffer.as_slice().chunk_by(|one, next| one == next).count();
    assert!(values > 1, "the read took place while the region changed");
}
