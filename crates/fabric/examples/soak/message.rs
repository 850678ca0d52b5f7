//! What a message says, so that its receiver can tell whether it is the right one.

use std::collections::{BTreeMap, btree_map::Entry};

/// Bytes of a message before its filling.
const HEAD: usize = 32;
/// Messages of one sender that may arrive before one that was sent earlier.
const MOST_AHEAD: usize = 256;

/// One life of one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Life {
    pub(crate) worker: u32,
    /// Random.
    pub(crate) number: u64,
}

fn filling(life: Life, number: u64) -> impl Iterator<Item = u8> {
    let start = life.number ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0u64..).flat_map(move |word| {
        start.wrapping_add(word.wrapping_mul(0xd6e8_feb8_6659_fd93)).to_le_bytes()
    })
}

/// The message with this number of a life's messages to one receiver, of `length` bytes at least.
pub(crate) fn write(life: Life, number: u64, length: usize) -> Vec<u8> {
    let mut message = Vec::with_capacity(length.max(HEAD));
    message.extend_from_slice(&u64::from(life.worker).to_le_bytes());
    message.extend_from_slice(&life.number.to_le_bytes());
    message.extend_from_slice(&number.to_le_bytes());
    message.extend_from_slice(&(length.max(HEAD) as u64).to_le_bytes());
    message.extend(filling(life, number).take(length.saturating_sub(HEAD)));
    message
}

/// Reads a message and checks each of its bytes.
pub(crate) fn read(message: &[u8]) -> Result<(Life, u64), String> {
    let word = |at: usize| {
        let bytes = message.get(8 * at..8 * at + 8).and_then(|bytes| bytes.try_into().ok());
        bytes.map(u64::from_le_bytes).ok_or_else(|| format!("only {} bytes long", message.len()))
    };
    let worker = u32::try_from(word(0)?).map_err(|_| "from nobody".to_owned())?;
    let (life, number) = (Life { worker, number: word(1)? }, word(2)?);
    if word(3)? != message.len() as u64 {
        return Err(format!("{} bytes instead of {}", message.len(), word(3)?));
    }
    let wrong = message[HEAD..].iter().zip(filling(life, number)).position(|(is, be)| *is != be);
    match wrong {
        None => Ok((life, number)),
        Some(at) => Err(format!("byte {} of message {number} is wrong", HEAD + at)),
    }
}

/// What arrived of one sender's life.
#[derive(Debug, Default)]
struct Arrived {
    /// All before this number arrived, or were sent before this side began.
    next: u64,
    /// Numbers from `next` on that arrived, and with which receive each was matched.
    ahead: BTreeMap<u64, u64>,
    /// The receive of the message before `next`.
    last: Option<u64>,
}

/// What arrived from everybody.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    lives: BTreeMap<Life, Arrived>,
}

impl Inbox {
    /// Enters a message that was matched with the receive of this number.
    pub(crate) fn enter(&mut self, life: Life, number: u64, receive: u64) -> Result<(), String> {
        let arrived = match self.lives.entry(life) {
            Entry::Occupied(entry) => entry.into_mut(),
            // Those before it went to an earlier life of this worker, or are still on their way:
            // then they come as if twice.
            Entry::Vacant(entry) => entry.insert(Arrived {
                next: number.saturating_sub(MOST_AHEAD as u64),
                ..Arrived::default()
            }),
        };
        if number < arrived.next || arrived.ahead.contains_key(&number) {
            return Err(format!("message {number} of {life:?} came twice"));
        }
        let before = arrived.ahead.range(..number).next_back().map(|(_, receive)| *receive);
        let after = arrived.ahead.range(number..).next().map(|(_, receive)| *receive);
        if before.or(arrived.last).is_some_and(|before| before >= receive)
            || after.is_some_and(|after| after <= receive)
        {
            return Err(format!("message {number} of {life:?} was matched out of order"));
        }
        arrived.ahead.insert(number, receive);
        while let Some(receive) = arrived.ahead.remove(&arrived.next) {
            arrived.next += 1;
            arrived.last = Some(receive);
        }
        // The first that is known of a life is not its first: what is missing before it never
        // comes.
        if arrived.ahead.len() > MOST_AHEAD {
            if arrived.last.is_some() {
                let missing = arrived.next;
                return Err(format!("message {missing} of {life:?} was lost"));
            }
            arrived.next = arrived.ahead.keys().next().copied().unwrap_or(arrived.next);
            while let Some(receive) = arrived.ahead.remove(&arrived.next) {
                arrived.next += 1;
                arrived.last = Some(receive);
            }
        }
        Ok(())
    }
}
