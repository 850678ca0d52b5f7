//! Two endpoints of one process over the providers that Debian's libfabric has.

use super::*;
use crate::library::tests::installed;

const LONG: usize = 100_000;
const ROOM: Room = Room { bytes: 4 * LONG, operations: 64 };

fn everything(provider: &str) -> Wish<'_> {
    Wish {
        remote_memory: true,
        atomics: true,
        remote_data: true,
        source: Some([127, 0, 0, 1].into()),
        provider,
        ..Wish::default()
    }
}

/// Two that know each other.
fn pair(domain: &Domain) -> [Endpoint; 2] {
    let [mut one, mut two] = [domain.endpoint(ROOM).unwrap(), domain.endpoint(ROOM).unwrap()];
    let names = [one.name().to_vec(), two.name().to_vec()];
    one.connect(&names[1]).unwrap();
    two.connect(&names[0]).unwrap();
    if let (Some(first), Some(second)) = (one.key(), two.key()) {
        one.reach(second);
        two.reach(first);
    }
    [one, two]
}

/// What both complete until `enough`.
fn progress(ends: &mut [Endpoint; 2], enough: impl Fn(&[Done; 2]) -> bool) -> [Done; 2] {
    let mut done = [vec![], vec![]];
    for _ in 0..100_000_000 {
        for (end, done) in ends.iter_mut().zip(&mut done) {
            end.poll(done).unwrap();
        }
        if enough(&done) {
            return done;
        }
    }
    panic!("no more than {done:?}");
}

/// Posts, however long that takes.
fn until(ends: &mut [Endpoint; 2], mut post: impl FnMut(&mut Endpoint) -> bool) {
    let mut none = vec![];
    while !post(&mut ends[0]) {
        ends[1].poll(&mut none).unwrap();
        ends[0].poll(&mut none).unwrap();
    }
    assert_eq!(none, []);
}

fn check_all_operations(provider: &str) {
    let Some(library) = installed() else { return };
    let domain = Domain::open(library, &everything(provider)).unwrap();
    assert!(domain.description().provider.starts_with(provider), "{:?}", domain.description());
    let mut ends = pair(&domain);
    let place = |offset, bytes| Place { offset, bytes };
    let bytes: Vec<u8> = (0..LONG).map(|at| (at % 251) as u8).collect();
    ends[0].write_memory(0, &bytes);

    assert!(ends[1].receive(place(LONG, LONG), 5, 70).unwrap());
    until(&mut ends, |end| end.send(place(0, LONG), 5, Some(9), 71).unwrap());
    let done = progress(&mut ends, |done| !done[0].is_empty() && !done[1].is_empty());
    assert_eq!(
        done,
        [vec![Event::Done(71)], vec![Event::Received { cookie: 70, bytes: LONG, data: Some(9) }]]
    );
    let mut found = vec![0; LONG];
    ends[1].read_memory(LONG, &mut found);
    assert!(found == bytes, "the message is another");

    until(&mut ends, |end| end.write(place(0, LONG), 2 * LONG as u64, None, 72).unwrap());
    let done = progress(&mut ends, |done| !done[0].is_empty());
    assert_eq!(done, [vec![Event::Done(72)], vec![]]);
    ends[1].read_memory(2 * LONG, &mut found);
    assert!(found == bytes, "what was written is another");

    until(&mut ends, |end| end.write(place(0, 8), 0, Some(0xabcd), 73).unwrap());
    let done = progress(&mut ends, |done| !done[0].is_empty() && !done[1].is_empty());
    assert_eq!(done, [vec![Event::Done(73)], vec![Event::Written(0xabcd)]]);

    until(&mut ends, |end| end.read(place(3 * LONG, LONG), LONG as u64, 74).unwrap());
    let done = progress(&mut ends, |done| !done[0].is_empty());
    assert_eq!(done[0], [Event::Done(74)]);
    ends[0].read_memory(3 * LONG, &mut found);
    assert!(found == bytes, "what was read is another");

    assert!(ends[1].receive(place(LONG, LONG), 5, 76).unwrap());
    assert_eq!(ends[1].cancel(|cookie| cookie == 76).unwrap(), 1);
    let done = progress(&mut ends, |done| !done[1].is_empty());
    assert_eq!(done[1], [Event::Cancelled(76)]);

    ends[1].write_memory(64, &40_u64.to_ne_bytes());
    ends[0].write_memory(0, &2_u64.to_ne_bytes());
    until(&mut ends, |end| end.fetch_add(0, 8, 64, 75).unwrap());
    let done = progress(&mut ends, |done| !done[0].is_empty());
    assert_eq!(done[0], [Event::Done(75)]);
    let (mut old, mut new) = ([0; 8], [0; 8]);
    ends[0].read_memory(8, &mut old);
    ends[1].read_memory(64, &mut new);
    assert_eq!((u64::from_ne_bytes(old), u64::from_ne_bytes(new)), (40, 42));
}

#[test]
fn operations_over_tcp_do_what_they_say() {
    check_all_operations("tcp");
}

#[test]
fn operations_over_shared_memory_do_what_they_say() {
    check_all_operations("shm");
}

#[test]
fn provider_that_is_not_there_is_named_with_those_that_are() {
    let Some(library) = installed() else { return };
    let error = Domain::open(library, &everything("nothing")).unwrap_err();
    let ClientError::Unknown { name, known } = &error else { panic!("{error}") };
    assert!(name == "nothing" && known.iter().any(|name| name == "shm"), "{error}");
}

#[test]
fn address_of_nobody_is_refused() {
    let Some(library) = installed() else { return };
    let source = Some([192, 0, 2, 200].into());
    // Which of the two fails is the provider's choice.
    let domain = Domain::open(library, &Wish { source, ..everything("tcp") });
    let error = domain.and_then(|domain| domain.endpoint(ROOM)).unwrap_err();
    assert!(error.to_string().starts_with("the provider `tcp` "), "{error}");
}

#[test]
fn no_more_operations_are_on_their_way_than_there_is_room_for() {
    let Some(library) = installed() else { return };
    let domain = Domain::open(library, &everything("shm")).unwrap();
    let mut end = domain.endpoint(Room { bytes: 64, operations: 2 }).unwrap();
    let posts: Vec<_> =
        (0..3).map(|n| end.receive(Place { offset: 0, bytes: 8 }, 1, n).unwrap()).collect();
    assert_eq!(posts, [true, true, false]);
}

#[test]
#[should_panic(expected = "memory of 4096 bytes")]
fn place_beyond_the_memory_panics() {
    let Some(library) = installed() else { panic!("memory of 4096 bytes") };
    let domain = Domain::open(library, &everything("shm")).unwrap();
    let end = domain.endpoint(Room { bytes: 64, operations: 2 }).unwrap();
    end.write_memory(4090, &[0; 7]);
}
