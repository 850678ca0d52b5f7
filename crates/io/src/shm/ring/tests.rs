use std::{collections::VecDeque, sync::Arc, thread};

use bolero::{TypeGenerator, check};

use super::*;
use crate::shm::sys::{Mapping, Window};

const SMALL: Geometry = Geometry { slots: 8, data: 1024, record: 300 };

fn window(geometry: Geometry) -> Window {
    let mapping = Mapping::anonymous(geometry.bytes()).expect("there is memory");
    Window::new(Arc::new(mapping), 0, geometry.bytes())
}

fn ring(geometry: Geometry) -> (Producer<Window>, Consumer<Window>) {
    let memory = window(geometry);
    (Producer::new(memory.clone(), geometry), Consumer::new(memory, geometry))
}

/// A record that tells its number and its length.
fn record(number: u64, length: usize) -> Vec<u8> {
    number.to_le_bytes().iter().copied().cycle().take(length).collect()
}

#[test]
fn word_tells_its_record_from_those_of_other_laps_and_from_fresh_memory() {
    for number in [0, 1, 7, u64::from(u32::MAX), 1 << 32, u64::MAX - 9] {
        assert_eq!(read_word(word(number, 300, 5), number), Some((300, 5)));
        for other in [number + 8, number.wrapping_sub(8)] {
            assert_eq!(read_word(word(number, 300, 5), other), None);
        }
    }
    assert_eq!(read_word(0, 0), None);
}

#[test]
fn full_ring_takes_nothing_until_records_are_released_and_collected() {
    let (mut producer, mut consumer) = ring(SMALL);
    for _ in 0..SMALL.slots {
        assert!(producer.publish(b"head", b"tail"));
    }
    assert!(!producer.has_room());
    assert!(!producer.publish(b"one", b"more"));
    assert_eq!(consumer.receive(|_, bytes| bytes == b"headtail"), Ok(true));
    assert!(!producer.has_room(), "received, not released");
    assert!(consumer.release());
    assert!(!consumer.release());
    assert_eq!(producer.collect(|refused| assert!(refused.is_none())), Ok(1));
    assert!(producer.has_room());
}

#[test]
fn note_is_told_apart_from_datagrams_of_its_length_and_needs_a_slot_only() {
    let (mut producer, mut consumer) = ring(SMALL);
    while producer.publish(&[1; 300], &[]) {}
    assert!(!producer.has_room());
    assert!(producer.publish_note(&[2; INLINE]));
    assert!(producer.publish(&[3; INLINE], &[]));
    let mut received = Vec::new();
    while consumer
        .receive(|kind, bytes| {
            received.push((kind, bytes[0]));
            true
        })
        .unwrap()
    {}
    received.retain(|&(_, first)| first != 1);
    assert_eq!(received, [(Kind::Note, 2), (Kind::Datagram, 3)]);
}

#[test]
fn refused_record_is_told_apart_from_those_around_it() {
    let (mut producer, mut consumer) = ring(SMALL);
    let mut verdicts = Vec::new();
    for lap in 0..5 {
        for number in 0..6 {
            assert!(producer.publish(&[number], &[]));
            assert_eq!(consumer.receive(|_, bytes| bytes[0] % 3 != lap % 3), Ok(true));
        }
        consumer.release();
        producer.collect(|refused| verdicts.push(refused.map(<[u8]>::to_vec))).unwrap();
        let expected = (0..6).map(|number: u8| (number % 3 == lap % 3).then(|| vec![number]));
        assert!(verdicts.drain(..).eq(expected));
    }
}

#[test]
fn records_cross_threads_in_order_and_whole() {
    let rounds: u64 = if cfg!(miri) { 60 } else { 200_000 };
    let length = |number: u64| usize::try_from(number * 37 % 301).expect("it is small");
    let (mut producer, mut consumer) = ring(SMALL);
    let reader = thread::spawn(move || {
        for number in 0..rounds {
            let expected = record(number, length(number));
            while !consumer.receive(|_, bytes| bytes == expected).unwrap() {
                consumer.release();
                thread::yield_now();
            }
        }
        consumer.release();
    });
    let mut collected = 0;
    for number in 0..rounds {
        let record = record(number, length(number));
        let (head, tail) = record.split_at(record.len() / 2);
        while !producer.publish(head, tail) {
            collected += producer.collect(|refused| assert!(refused.is_none())).unwrap();
            thread::yield_now();
        }
    }
    reader.join().unwrap();
    collected += producer.collect(|refused| assert!(refused.is_none())).unwrap();
    assert_eq!(collected as u64, rounds);
}

#[derive(Clone, Debug, TypeGenerator)]
enum Op {
    Publish { length: u16 },
    Receive { taken: bool },
    Release,
    Collect,
}

/// What a ring should be: queues.
#[derive(Default)]
struct Model {
    published: VecDeque<Vec<u8>>,
    /// Refused ones with their bytes.
    received: VecDeque<Option<Vec<u8>>>,
    released: VecDeque<Option<Vec<u8>>>,
}

#[test]
fn any_sequence_of_operations_gives_what_a_plain_queue_gives() {
    check!().with_type::<Vec<Op>>().for_each(|ops| {
        let (mut producer, mut consumer) = ring(SMALL);
        let mut model = Model::default();
        for (number, op) in (0u64..).zip(ops) {
            match *op {
                Op::Publish { length } => {
                    let record = record(number, usize::from(length) % (SMALL.record + 1));
                    let (head, tail) = record.split_at(record.len() / 3);
                    let expected = producer.has_room();
                    let done = producer.publish(head, tail);
                    assert!(done || !expected, "room was promised");
                    let held = model.published.len() + model.received.len() + model.released.len();
                    assert!(held < SMALL.slots || !done, "more than the slots");
                    assert!(held > 0 || done, "an empty ring takes anything");
                    if done {
                        model.published.push_back(record);
                    }
                }
                Op::Receive { taken } => {
                    let expected = model.published.pop_front();
                    let got = consumer.receive(|_, bytes| {
                        assert_eq!(Some(bytes), expected.as_deref());
                        taken
                    });
                    assert_eq!(got, Ok(expected.is_some()));
                    if let Some(expected) = expected {
                        model.received.push_back((!taken).then_some(expected));
                    }
                    // The ring releases by itself after a quarter of its slots.
                    if model.received.len() >= SMALL.slots / 4 {
                        model.released.append(&mut model.received);
                    }
                }
                Op::Release => {
                    assert_eq!(consumer.release(), !model.received.is_empty());
                    model.released.append(&mut model.received);
                }
                Op::Collect => {
                    assert_eq!(producer.has_news(), !model.released.is_empty());
                    let mut verdicts = VecDeque::new();
                    let verdict = |refused: Option<&[u8]>| refused.map(<[u8]>::to_vec);
                    producer.collect(|refused| verdicts.push_back(verdict(refused))).unwrap();
                    assert_eq!(verdicts, model.released);
                    model.released.clear();
                }
            }
        }
    });
}

#[derive(Clone, Debug, TypeGenerator)]
enum Hostile {
    Honest(Op),
    Scribble {
        at: u16,
        value: u64,
    },
    /// A word with the stamp of the record that is awaited, and any length and place.
    Forge {
        low: u32,
    },
}

#[test]
fn scribbles_end_in_an_error_and_never_lead_outside() {
    check!().with_type::<Vec<Hostile>>().for_each(|ops| {
        let memory = window(SMALL);
        let mut producer = Producer::new(memory.clone(), SMALL);
        let mut consumer = Consumer::new(memory.clone(), SMALL);
        for op in ops {
            let outcome = match *op {
                Hostile::Scribble { at, value } => {
                    memory.store(usize::from(at) * 8 % SMALL.bytes(), value);
                    Ok(())
                }
                Hostile::Forge { low } => {
                    let slot = SMALL.slots_at() + SMALL.slot(consumer.next) * SLOT;
                    memory.store(slot, word(consumer.next, 0, 0) | u64::from(low));
                    Ok(())
                }
                Hostile::Honest(Op::Publish { length }) => {
                    producer.publish(&vec![1; usize::from(length) % SMALL.record], &[]);
                    Ok(())
                }
                Hostile::Honest(Op::Receive { taken }) => consumer
                    .receive(|_, bytes| {
                        assert!(bytes.len() <= SMALL.record);
                        taken
                    })
                    .map(|_| ()),
                Hostile::Honest(Op::Release) => {
                    consumer.release();
                    Ok(())
                }
                Hostile::Honest(Op::Collect) => producer.collect(|_| ()).map(|_| ()),
            };
            if outcome == Err(Corrupt) {
                return;
            }
        }
    });
}

/// Loom explores the orders in which two threads' accesses can take effect, and finds bytes that
/// are read while they are written.
#[cfg(not(miri))]
mod modelled {
    use loom::{
        cell::UnsafeCell,
        sync::{
            Arc,
            atomic::{AtomicU64, Ordering, fence},
        },
    };

    use super::*;

    const TINY: Geometry = Geometry { slots: 2, data: 256, record: 128 };
    const FLAG: usize = usize::MAX;

    struct Lines {
        words: Vec<(usize, AtomicU64)>,
        lines: Vec<UnsafeCell<[u8; LINE]>>,
    }

    #[derive(Clone)]
    struct Modelled(Arc<Lines>);

    impl Modelled {
        fn new() -> Self {
            let slots = (0..TINY.slots).map(|slot| TINY.slots_at() + slot * SLOT);
            let verdicts = (0..TINY.slots).map(|slot| VERDICTS + slot * 8);
            let words = [CONSUMED, REFUSALS, FLAG].into_iter().chain(slots).chain(verdicts);
            let words = words.map(|at| (at, AtomicU64::new(0))).collect();
            let lines = (0..TINY.bytes() / LINE).map(|_| UnsafeCell::new([0; LINE])).collect();
            Self(Arc::new(Lines { words, lines }))
        }

        fn word(&self, at: usize) -> &AtomicU64 {
            &self.0.words.iter().find(|(word, _)| *word == at).expect("a word").1
        }
    }

    impl Shared for Modelled {
        fn load(&self, at: usize) -> u64 {
            self.word(at).load(Ordering::Acquire)
        }

        fn store(&self, at: usize, value: u64) {
            self.word(at).store(value, Ordering::Release);
        }

        fn swap(&self, at: usize, value: u64) -> u64 {
            self.word(at).swap(value, Ordering::AcqRel)
        }

        fn fence(&self) {
            fence(Ordering::SeqCst);
        }

        unsafe fn write(&self, at: usize, bytes: &[u8]) {
            for (at, &byte) in (at..).zip(bytes) {
                self.0.lines[at / LINE].with_mut(|line| {
                    // SAFETY: loom panics if another thread may access the line now.
                    unsafe { (*line)[at % LINE] = byte };
                });
            }
        }

        unsafe fn read<R>(&self, at: usize, length: usize, take: impl FnOnce(&[u8]) -> R) -> R {
            let byte = |at: usize| {
                self.0.lines[at / LINE].with(|line| {
                    // SAFETY: loom panics if another thread may write the line now.
                    unsafe { (*line)[at % LINE] }
                })
            };
            take(&(at..at + length).map(byte).collect::<Vec<_>>())
        }
    }

    #[test]
    fn records_in_slots_and_in_data_are_never_read_while_written() {
        loom::model(|| {
            let memory = Modelled::new();
            let mut producer = Producer::new(memory.clone(), TINY);
            let mut consumer = Consumer::new(memory, TINY);
            let writer = loom::thread::spawn(move || {
                let mut verdicts = Vec::new();
                for number in 0..3u8 {
                    let tail = vec![number; if number % 2 == 0 { 1 } else { INLINE }];
                    while !producer.publish(&[number], &tail) {
                        producer.collect(|refused| verdicts.push(refused.is_some())).unwrap();
                        loom::thread::yield_now();
                    }
                }
                verdicts
            });
            for number in 0..3u8 {
                while !consumer
                    .receive(|_, bytes| {
                        assert!(bytes.iter().all(|&byte| byte == number));
                        number != 1
                    })
                    .unwrap()
                {
                    loom::thread::yield_now();
                }
                consumer.release();
            }
            let verdicts = writer.join().unwrap();
            let expected = [false, true, false];
            assert_eq!(verdicts, expected[..verdicts.len()]);
        });
    }

    #[test]
    fn sleeper_either_sees_the_record_or_is_woken() {
        loom::model(|| {
            let memory = Modelled::new();
            let mut producer = Producer::new(memory.clone(), TINY);
            let consumer = Consumer::new(memory.clone(), TINY);
            let there = memory.clone();
            let writer = loom::thread::spawn(move || {
                producer.publish(b"a", b"b");
                must_wake(&there, FLAG)
            });
            announce_sleep(&memory, FLAG);
            let seen = consumer.has_news();
            let woken = writer.join().unwrap();
            assert!(seen || woken, "asleep with a record in the ring");
        });
    }
}
