//! Errors of the fabric as numbers of fi_errno(3): the one place where they meet.

use std::ffi::CStr;

use fabric::{OperationError, PeerError, RefusalCause};
use libfabric_sys as fi;

/// The number, positive.
pub(crate) fn number(error: &OperationError) -> i32 {
    match error {
        OperationError::Truncated { .. } => fi::FI_ETRUNC,
        OperationError::Canceled => fi::FI_ECANCELED,
        OperationError::Peer(error) => peer(*error),
        OperationError::PeerAborted => fi::FI_ECONNABORTED,
        OperationError::ReceiverNotReady => fi::FI_ENORX,
        OperationError::Refused(cause) => refusal(*cause),
        OperationError::TooLong { .. } => fi::FI_EMSGSIZE,
        OperationError::BadResult => fi::FI_EIO,
    }
}

fn peer(error: PeerError) -> i32 {
    match error {
        PeerError::Unreachable(_) => fi::FI_EHOSTUNREACH,
        PeerError::Unresponsive(_) => fi::FI_ETIMEDOUT,
        PeerError::Restarted | PeerError::Exited => fi::FI_ECONNRESET,
        PeerError::Closed => fi::FI_ESHUTDOWN,
    }
}

fn refusal(cause: RefusalCause) -> i32 {
    match cause {
        RefusalCause::UnknownKey => fi::FI_EKEYREJECTED,
        RefusalCause::Access => fi::FI_EACCES,
        RefusalCause::Range => fi::FI_EINVAL,
        RefusalCause::Unsupported => fi::FI_EOPNOTSUPP,
    }
}

/// The number of an error that a call, not an operation, ended with.
pub(crate) fn of_call(error: &fabric::Error) -> i32 {
    match error {
        fabric::Error::Device(error) => error.raw_os_error().unwrap_or(fi::FI_EIO),
        fabric::Error::TooManyPeers(_) => fi::FI_ENOMEM,
        fabric::Error::Open(_) => fi::FI_EADDRNOTAVAIL,
        _ => fi::FI_EIO,
    }
}

/// What a number means, for people.
pub(crate) fn text(number: i32) -> &'static CStr {
    match number {
        fi::FI_ETRUNC => c"truncated: the message was longer than the buffer",
        fi::FI_ECANCELED => c"cancelled",
        fi::FI_EHOSTUNREACH => c"unreachable: the peer has not answered once",
        fi::FI_ETIMEDOUT => c"unresponsive: the peer was alive, then silent",
        fi::FI_ECONNRESET => c"the peer's process has ended, or was restarted",
        fi::FI_ESHUTDOWN => c"the peer has closed its endpoint",
        fi::FI_ECONNABORTED => c"the peer has cancelled its send",
        fi::FI_ENORX => c"receiver not ready: the peer has no receive posted",
        fi::FI_EKEYREJECTED => c"no region has this key, or it was closed",
        fi::FI_EACCES => c"the region is not registered for this kind of access",
        fi::FI_EINVAL => c"the bytes are not all inside the region",
        fi::FI_EOPNOTSUPP => c"the peer does not know this atomic operation on this type",
        fi::FI_EMSGSIZE => c"the message is too long for a datagram",
        fi::FI_ENOMSG => c"no message was met",
        _ => c"an error",
    }
}
