//! Promises that were broken.

use srd::PeerError;

use crate::{BadTrain, application::Ending};

/// A promise that a run broke. Messages are named by their number in the run's plan, hosts and
/// receives by theirs.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// Exactly-once.
    #[error("message {0} was delivered twice")]
    DeliveredTwice(u32),
    /// Exactly-once.
    #[error("message {0} was delivered before it was sent")]
    DeliveredUnsent(u32),
    /// Nobody sent it.
    #[error("host {host} received something that nobody sent: number {number:?}")]
    Invented {
        /// Where.
        host: usize,
        /// What it called itself.
        number: Option<u32>,
    },
    /// Byte-exact.
    #[error("message {0} arrived with other bytes than it was sent with")]
    WrongBytes(u32),
    /// Addressing.
    #[error("message {number} arrived at host {host} as from host {from:?}")]
    WrongPlace {
        /// The message.
        number: u32,
        /// Where it arrived.
        host: usize,
        /// Whom the completion named.
        from: Option<usize>,
    },
    /// Matching.
    #[error("message {0} met a receive that does not accept it")]
    NotAccepted(u32),
    /// Matching, against the reference model.
    #[error("message {later} overtook message {earlier} of the same sender")]
    Overtaken {
        /// Sent first, and accepted by the receive that `later` met.
        earlier: u32,
        /// Sent later.
        later: u32,
    },
    /// Matching, against the reference model.
    #[error("message {number} passed over receive {receive}, posted before the one it met")]
    PassedOver {
        /// The message.
        number: u32,
        /// The older receive that accepts it and met nothing.
        receive: u64,
    },
    /// Multi-receives.
    #[error("multi-receive {receive} of host {host} has gaps between messages or ended early")]
    BadPacking {
        /// Where.
        host: usize,
        /// The receive.
        receive: u64,
    },
    /// Completion.
    #[error("{operation} {number} at host {host} ended in a way it should not: {ending}")]
    WrongEnding {
        /// Send or receive.
        operation: &'static str,
        /// The message, or the receive.
        number: u64,
        /// Where.
        host: usize,
        /// How.
        ending: String,
    },
    /// Completion.
    #[error("{operation} {number} at host {host} ended twice")]
    EndedTwice {
        /// Send or receive.
        operation: &'static str,
        /// The message, or the receive.
        number: u64,
        /// Where.
        host: usize,
    },
    /// Liveness.
    #[error("message {number} from host {from} to {to} is stuck: {state}")]
    Stuck {
        /// The message.
        number: u32,
        /// Its sender.
        from: u32,
        /// Its target.
        to: u32,
        /// How far it came.
        state: &'static str,
    },
    /// One-sided operations.
    #[error("one-sided operation {0} brought or left something else than it should")]
    WrongResult(u32),
    /// One-sided operations.
    #[error("write {number} is not in the memory of host {host} as it was written, once")]
    WrongMemory {
        /// Where.
        host: usize,
        /// The write.
        number: u32,
    },
    /// One-sided operations.
    #[error("the counter of host {host} shows {counter}, not between {least} and {most}")]
    WrongCount {
        /// Where.
        host: usize,
        /// What it shows.
        counter: u64,
        /// The sum of what was certainly added.
        least: u64,
        /// The sum of what may have been added.
        most: u64,
    },
    /// One-sided operations.
    #[error("byte {at} of the memory of host {host} changed, which nobody may write")]
    MemoryTouched {
        /// Where.
        host: usize,
        /// Which.
        at: usize,
    },
    /// Liveness.
    #[error("receive {receive} at host {host} never ended")]
    ReceivePending {
        /// The receive.
        receive: u64,
        /// Where.
        host: usize,
    },
    /// No leak.
    #[error("host {host} still holds {operations} operations and {bytes} bytes at the end")]
    Leak {
        /// Where.
        host: usize,
        /// Operations outstanding.
        operations: usize,
        /// Bytes stored.
        bytes: usize,
    },
    /// No leak.
    #[error("host {0} still has datagrams in flight or in line at the end")]
    NotDrained(usize),
    /// No leak.
    #[error("host {host} still keeps {contexts} contexts long after the end")]
    ContextsLeft {
        /// Where.
        host: usize,
        /// How many.
        contexts: usize,
    },
    /// Bounded memory.
    #[error("host {host} stored {bytes} bytes of messages, more than its limit of {limit}")]
    StoredTooMuch {
        /// Where.
        host: usize,
        /// The most it stored.
        bytes: usize,
        /// The most it may.
        limit: usize,
    },
    /// Bounded retransmission.
    #[error("{sent_again} datagrams were sent again, where {lost} packets were lost of {sent}")]
    TooManyRetransmissions {
        /// Retransmissions.
        sent_again: u64,
        /// Packets lost for any cause.
        lost: u64,
        /// Packets sent.
        sent: u64,
    },
    /// No spurious death.
    #[error("host {host} gave up host {peer}, which was there all the time: {error}")]
    PeerLost {
        /// Who.
        host: usize,
        /// Whom.
        peer: usize,
        /// Why.
        error: PeerError,
    },
    /// The contract with devices.
    #[error(transparent)]
    Train(#[from] BadTrain),
    /// Progress.
    #[error("a host goes round in circles: time stands still at {0:.6} s")]
    Livelock(f64),
    /// Strangers get no more than they bring.
    #[error("strangers brought {brought} bytes and were sent {answered}")]
    Amplified {
        /// Bytes from addresses without a host.
        brought: u64,
        /// Bytes to them.
        answered: u64,
    },
}

impl Violation {
    pub(super) fn wrong_ending(
        operation: &'static str,
        number: u64,
        host: usize,
        ending: Ending,
    ) -> Self {
        let ending = match ending {
            Ending::Wrong(error) => error.to_string(),
            other => format!("{other:?}"),
        };
        Self::WrongEnding { operation, number, host, ending }
    }
}
