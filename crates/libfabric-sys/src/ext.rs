//! `rdma/fi_ext.h`: options of a provider's own. Manual page fi_efa(7).

use std::ffi::c_int;

use crate::declare::constants;

constants! {
    "fi_efa(7)" c_int {
        /// Options of the `efa` provider begin here: negative, as every provider's own are.
        FI_OPT_EFA_RNR_RETRY = -251265024,
        FI_OPT_EFA_EMULATED_READ = -251265023,
        FI_OPT_EFA_EMULATED_WRITE = -251265022,
        FI_OPT_EFA_EMULATED_ATOMICS = -251265021,
        FI_OPT_EFA_USE_DEVICE_RDMA = -251265020,
        FI_OPT_EFA_SENDRECV_IN_ORDER_ALIGNED_128_BYTES = -251265019,
        FI_OPT_EFA_WRITE_IN_ORDER_ALIGNED_128_BYTES = -251265018,
        FI_OPT_EFA_HOMOGENEOUS_PEERS = -251265017,
        FI_OPT_EFA_USE_UNSOLICITED_WRITE_RECV = -251265016,
    }
}
