//! The functions that an endpoint is used through, found once.

use crate::{fi_ops_atomic, fi_ops_cq, fi_ops_ep, fi_ops_rma, fi_ops_tagged, fid_cq, fid_ep};

/// Tables of which only these slots are used. What the provider has not answers `-FI_ENOSYS`.
#[derive(Debug)]
pub(super) struct Calls {
    /// `send`, `senddata` and `recv`.
    pub(super) tagged: fi_ops_tagged,
    /// `write`, `writedata` and `read`.
    pub(super) rma: fi_ops_rma,
    /// `readwrite`.
    pub(super) atomic: fi_ops_atomic,
    /// `cancel`.
    pub(super) ep: fi_ops_ep,
    /// `read`, `sread` and `readerr`.
    pub(super) cq: fi_ops_cq,
}

/// A table with the slots of these names as the provider has them.
macro_rules! found {
    ($table:ident, $ops:expr, $($slot:ident),+) => {
        $table {
            $($slot: {
                // SAFETY: the table is the provider's.
                let found = unsafe { $table::$slot.of($ops) };
                found.unwrap_or($table::ENOSYS.$slot)
            },)+
            ..$table::ENOSYS
        }
    };
}

impl Calls {
    /// # Safety
    /// Both are open.
    pub(super) unsafe fn of(ep: *mut fid_ep, cq: *mut fid_cq) -> Self {
        // SAFETY: the caller says that it is open; this structure is the same in every version.
        let ep = unsafe { *ep };
        // SAFETY: as above.
        let cq = unsafe { *cq };
        Self {
            tagged: found!(fi_ops_tagged, ep.tagged, send, senddata, recv),
            rma: found!(fi_ops_rma, ep.rma, write, writedata, read),
            atomic: found!(fi_ops_atomic, ep.atomic, readwrite),
            ep: found!(fi_ops_ep, ep.ops, cancel),
            cq: found!(fi_ops_cq, cq.ops, read, sread, readerr),
        }
    }
}
