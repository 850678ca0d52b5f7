//! Loans: what lies in the sender's memory, and the receiver copies from there by itself with
//! process_vm_readv(2). Once, where the rings copy twice, and while the sender does other things.
//!
//! Each loan has a seal, a word in its owner's memory that the owner changes before it frees or
//! reuses what it lent. Whoever copies reads the seal after the bytes, in the same system call: the
//! right seal proves that the bytes were those that were lent, and that the process is the right
//! one, not another that got its number.

use std::{
    io::IoSliceMut,
    sync::atomic::{AtomicU64, Ordering},
};

use nix::{
    errno::Errno,
    sys::uio::{RemoteIoVec, process_vm_readv},
    unistd::Pid,
};

/// Bytes of memory that their owner's peer may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loan {
    /// What they are, in the words of the layer above.
    pub name: u32,
    /// Where they begin in the owner's memory.
    pub address: u64,
    /// How many they are.
    pub length: u64,
    /// Where in the owner's memory the seal is.
    pub seal_address: u64,
    /// The seal, while the loan holds.
    pub seal: u64,
}

impl Loan {
    /// Bytes of a note that tells of a loan.
    const NOTE: usize = 36;

    pub(super) fn to_note(self) -> [u8; Self::NOTE] {
        let mut note = [0; Self::NOTE];
        note[..4].copy_from_slice(&self.name.to_le_bytes());
        let words = [self.address, self.length, self.seal_address, self.seal];
        for (to, word) in note[4..].chunks_exact_mut(8).zip(words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        note
    }

    /// What a note tells; `None` if it has another length. It is a claim.
    pub(super) fn from_note(note: &[u8]) -> Option<Self> {
        let note: &[u8; Self::NOTE] = note.try_into().ok()?;
        let (name, words) = note.split_first_chunk()?;
        let (words, _) = words.as_chunks();
        let [address, length, seal_address, seal] = *words else { return None };
        Some(Self {
            name: u32::from_le_bytes(*name),
            address: u64::from_le_bytes(address),
            length: u64::from_le_bytes(length),
            seal_address: u64::from_le_bytes(seal_address),
            seal: u64::from_le_bytes(seal),
        })
    }
}

/// Why bytes of a process could not be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The kernel has no such call, or a filter of system calls hides it.
    #[error("this kernel or container has no process_vm_readv")]
    NoCall,
    /// The kernel does not let this process read that one.
    #[error("the kernel forbids reading its memory (ptrace protection, or a container)")]
    Forbidden,
    /// There is no process of that number here.
    #[error("its process is not to be seen from this PID namespace")]
    NoProcess,
    /// The bytes that were read are not those that were lent: the loan is over, or the process is
    /// another one.
    #[error("what is in its memory is not what it said")]
    Broken,
    /// Both ends are in one process.
    #[error("it is in this very process")]
    SameProcess,
    /// The system refused for another reason.
    #[error("process_vm_readv: {0}")]
    Other(Errno),
}

impl From<Errno> for Unreadable {
    fn from(error: Errno) -> Self {
        match error {
            Errno::ENOSYS => Self::NoCall,
            Errno::EPERM | Errno::EACCES => Self::Forbidden,
            Errno::ESRCH => Self::NoProcess,
            // An address where there is no memory.
            Errno::EFAULT | Errno::EINVAL => Self::Broken,
            other => Self::Other(other),
        }
    }
}

/// A word in this process's memory by which a peer finds out whether it can read there.
#[derive(Debug)]
pub(super) struct Landmark(Box<AtomicU64>);

impl Landmark {
    pub(super) fn new(value: u64) -> Self {
        Self(Box::new(AtomicU64::new(value)))
    }

    pub(super) fn address(&self) -> u64 {
        address_of(&self.0)
    }
}

impl Drop for Landmark {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Release);
    }
}

fn address_of(word: &AtomicU64) -> u64 {
    word.as_ptr().addr() as u64
}

/// Another process, whose memory is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct OtherProcess(Pid);

impl OtherProcess {
    /// The process that calls itself `pid` and has a landmark of this `value` at `address`, if
    /// that is true as seen from here.
    pub(super) fn find(pid: u64, address: u64, value: u64) -> Result<Self, Unreadable> {
        let pid = i32::try_from(pid).map_err(|_| Unreadable::NoProcess)?;
        if pid <= 0 {
            return Err(Unreadable::NoProcess);
        }
        let pid = Pid::from_raw(pid);
        // Told so by a liar, this process would copy its own secrets into messages.
        if pid == Pid::this() {
            return Err(Unreadable::SameProcess);
        }
        let found = Self(pid);
        found.read(&mut [], 0, address, value)?;
        Ok(found)
    }

    /// Fills `into` with the bytes at `address`, if the word at `seal_address` is `seal` after
    /// that. If not, what is in `into` means nothing.
    fn read(
        self,
        into: &mut [u8],
        address: u64,
        seal_address: u64,
        seal: u64,
    ) -> Result<(), Unreadable> {
        let mut seen = [0; 8];
        let wanted = into.len() + seen.len();
        let base = |address: u64| usize::try_from(address).map_err(|_| Unreadable::Broken);
        let remote = [
            RemoteIoVec { base: base(address)?, len: into.len() },
            RemoteIoVec { base: base(seal_address)?, len: seen.len() },
        ];
        let mut local = [IoSliceMut::new(into), IoSliceMut::new(&mut seen)];
        // The kernel copies in this order, and takes a lock between the two.
        let read = process_vm_readv(self.0, &mut local, &remote)?;
        if read != wanted || u64::from_ne_bytes(seen) != seal {
            return Err(Unreadable::Broken);
        }
        Ok(())
    }

    /// Fills `into` with what was lent from byte `offset` on.
    pub(super) fn copy(
        self,
        loan: &Loan,
        offset: usize,
        into: &mut [u8],
    ) -> Result<(), Unreadable> {
        let end = (offset as u64).checked_add(into.len() as u64);
        let address = loan.address.checked_add(offset as u64);
        match (end, address) {
            (Some(end), Some(address)) if end <= loan.length => {
                self.read(into, address, loan.seal_address, loan.seal)
            }
            _ => Err(Unreadable::Broken),
        }
    }

    /// This process, for measuring.
    pub(super) fn this() -> Self {
        Self(Pid::this())
    }

    /// Fills `into` with `from`, which is in this process.
    pub(super) fn copy_own(self, from: &[u8], into: &mut [u8]) -> Result<(), Unreadable> {
        let seal = AtomicU64::new(0x5ea1);
        self.read(into, from.as_ptr().addr() as u64, address_of(&seal), 0x5ea1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: [u8; 8192] = [7; 8192];

    fn lend(seal: &AtomicU64) -> Loan {
        Loan {
            name: 9,
            address: BYTES.as_ptr().addr() as u64,
            length: BYTES.len() as u64,
            seal_address: address_of(seal),
            seal: seal.load(Ordering::Relaxed),
        }
    }

    #[test]
    fn note_tells_of_its_loan_and_other_lengths_tell_nothing() {
        let loan = lend(&AtomicU64::new(u64::MAX - 3));
        let note = loan.to_note();
        assert_eq!(Loan::from_note(&note), Some(loan));
        assert_eq!(Loan::from_note(&note[1..]), None);
        assert_eq!(Loan::from_note(&[&note[..], &[0]].concat()), None);
    }

    #[test]
    fn copy_is_whole_or_an_error() {
        let bytes: Vec<u8> = (0..10_000u32).map(|at| at.to_le_bytes()[0]).collect();
        let seal = AtomicU64::new(77);
        let loan = Loan {
            address: bytes.as_ptr().addr() as u64,
            length: bytes.len() as u64,
            ..lend(&seal)
        };
        let this = OtherProcess::this();
        let mut into = vec![0; 5_000];
        assert_eq!(this.copy(&loan, 5_000, &mut into), Ok(()));
        assert_eq!(into, bytes[5_000..]);
        // Beyond its end, however that is said.
        for offset in [5_001, usize::MAX] {
            assert_eq!(this.copy(&loan, offset, &mut into), Err(Unreadable::Broken));
        }
        // Where there is no memory, in part or at all.
        for address in [0, 4096, u64::MAX - 3, 1 << 62] {
            let lie = Loan { address, length: u64::MAX, ..loan };
            assert_eq!(this.copy(&lie, 0, &mut into), Err(Unreadable::Broken));
            let lie = Loan { seal_address: address, ..loan };
            assert_eq!(this.copy(&lie, 0, &mut into), Err(Unreadable::Broken));
        }
        // After the owner has taken it back.
        seal.store(0, Ordering::Release);
        assert_eq!(this.copy(&loan, 0, &mut into), Err(Unreadable::Broken));
    }

    #[test]
    fn process_is_found_only_by_its_own_landmark() {
        let landmark = Landmark::new(5);
        let own = u64::from(std::process::id());
        let find = |pid| OtherProcess::find(pid, landmark.address(), 5).map(drop);
        assert_eq!(find(own), Err(Unreadable::SameProcess));
        for nobody in [0, u64::from(u32::MAX), u64::MAX] {
            assert_eq!(find(nobody), Err(Unreadable::NoProcess));
        }
        // A process that is there, and has something else at that place or nothing.
        let mut other = std::process::Command::new("sleep").arg("60").spawn().expect("it starts");
        assert_eq!(find(u64::from(other.id())), Err(Unreadable::Broken));
        other.kill().expect("it is a child");
        other.wait().expect("it is a child");
        assert_eq!(find(u64::from(other.id())), Err(Unreadable::NoProcess));
    }
}
