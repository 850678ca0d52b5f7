//! Bits: capabilities, flags of operations, modes, registration modes, orders.

use std::ffi::c_int;

use crate::declare::constants;

constants! {
    "fi_getinfo(3)" u64 {
        FI_MSG = 1 << 1,
        FI_RMA = 1 << 2,
        FI_TAGGED = 1 << 3,
        FI_ATOMIC = 1 << 4,
        FI_MULTICAST = 1 << 5,
        FI_COLLECTIVE = 1 << 6,
        FI_READ = 1 << 8,
        FI_WRITE = 1 << 9,
        FI_RECV = 1 << 10,
        FI_SEND = 1 << 11,
        /// The same bit as [`FI_SEND`].
        FI_TRANSMIT = FI_SEND,
        FI_REMOTE_READ = 1 << 12,
        FI_REMOTE_WRITE = 1 << 13,
        FI_MULTI_RECV = 1 << 16,
        FI_REMOTE_CQ_DATA = 1 << 17,
        FI_MORE = 1 << 18,
        FI_PEEK = 1 << 19,
        FI_TRIGGER = 1 << 20,
        FI_FENCE = 1 << 21,
        FI_COMPLETION = 1 << 24,
        /// The same bit as [`FI_COMPLETION`].
        FI_EVENT = FI_COMPLETION,
        FI_INJECT = 1 << 25,
        FI_INJECT_COMPLETE = 1 << 26,
        FI_TRANSMIT_COMPLETE = 1 << 27,
        FI_DELIVERY_COMPLETE = 1 << 28,
        FI_AFFINITY = 1 << 29,
        FI_COMMIT_COMPLETE = 1 << 30,
        FI_MATCH_COMPLETE = 1 << 31,
        FI_RESCAN = 1 << 35,
        FI_PEER_TRANSFER = 1 << 36,
        /// Since 1.16. The bit is [`crate::FI_MR_SINGLE_USE`] in a registration.
        FI_AV_USER_ID = 1 << 41,
        FI_FIREWALL_ADDR = 1 << 42,
        FI_PEER = 1 << 43,
        /// Since 2.7; the bit meant `FI_XPU_TRIGGER` in 1.x from 1.15, so ask the caller's version.
        FI_XPU = 1 << 44,
        /// Since 2.0; the bit meant `FI_HMEM_HOST_ALLOC` as a capability of 1.x, and does still in
        /// a registration ([`crate::FI_HMEM_HOST_ALLOC`]).
        FI_TAGGED_DIRECTED_RECV = 1 << 45,
        /// Since 2.0; the bit is [`crate::FI_HMEM_DEVICE_ONLY`] in a registration.
        FI_TAGGED_MULTI_RECV = 1 << 46,
        FI_HMEM = 1 << 47,
        /// Since 2.0; the bit meant `FI_VARIABLE_MSG` in 1.x.
        FI_EXACT_DIRECTED_RECV = 1 << 48,
        FI_RMA_PMEM = 1 << 49,
        FI_SOURCE_ERR = 1 << 50,
        FI_LOCAL_COMM = 1 << 51,
        FI_REMOTE_COMM = 1 << 52,
        FI_SHARED_AV = 1 << 53,
        FI_PROV_ATTR_ONLY = 1 << 54,
        FI_NUMERICHOST = 1 << 55,
        FI_RMA_EVENT = 1 << 56,
        FI_SOURCE = 1 << 57,
        FI_NAMED_RX_CTX = 1 << 58,
        /// The bit is [`FI_CLAIM`] as a flag of a receive, [`FI_CONTEXT`] as a mode.
        FI_DIRECTED_RECV = 1 << 59,
    }

    "fi_tagged(3)" u64 {
        FI_CLAIM = 1 << 59,
        FI_DISCARD = 1 << 58,
        FI_AUTH_KEY = 1 << 57,
    }

    "fi_endpoint(3)" u64 {
        /// A flag of binding a completion queue.
        FI_SELECTIVE_COMPLETION = 1 << 59,
    }

    "fi_getinfo(3)" u64 {
        /// Modes begin here.
        FI_CONTEXT = 1 << 59,
        FI_MSG_PREFIX = 1 << 58,
        FI_ASYNC_IOV = 1 << 57,
        FI_RX_CQ_DATA = 1 << 56,
        /// Deprecated: registration of local memory for callers below version 1.5.
        FI_LOCAL_MR = 1 << 55,
        FI_CONTEXT2 = 1 << 52,
    }

    "fi_getinfo(3)" u64 {
        /// A mode of 1.x; later headers say 0.
        FI_NOTIFY_FLAGS_ONLY = 1 << 54,
        /// A mode of 1.x; later headers say 0. Some callers still set it.
        FI_RESTRICTED_COMP = 1 << 53,
        /// A mode and capability of 1.x, gone in 2.x.
        FI_BUFFERED_RECV = 1 << 51,
        /// A capability of 1.x; later headers say 0, see [`FI_EXACT_DIRECTED_RECV`].
        FI_VARIABLE_MSG = 1 << 48,
    }

    "fi_mr(3)" c_int {
        FI_MR_UNSPEC = 0,
        /// What callers below version 1.5 ask for: virtual addresses, keys of the provider.
        FI_MR_BASIC = 1 << 0,
        /// What callers below version 1.5 ask for: offsets, keys of the caller. The same as mode 0.
        FI_MR_SCALABLE = 1 << 1,
        FI_MR_LOCAL = 1 << 2,
        FI_MR_RAW = 1 << 3,
        FI_MR_VIRT_ADDR = 1 << 4,
        FI_MR_ALLOCATED = 1 << 5,
        FI_MR_PROV_KEY = 1 << 6,
        FI_MR_MMU_NOTIFY = 1 << 7,
        FI_MR_RMA_EVENT = 1 << 8,
        FI_MR_ENDPOINT = 1 << 9,
        FI_MR_HMEM = 1 << 10,
        FI_MR_COLLECTIVE = 1 << 11,
        /// Since 2.7.
        FI_MR_XPU_DESC = 1 << 12,
    }

    "fi_endpoint(3)" u64 {
        FI_ORDER_NONE = 0,
        FI_ORDER_RAR = 1 << 0,
        FI_ORDER_RAW = 1 << 1,
        FI_ORDER_RAS = 1 << 2,
        FI_ORDER_WAR = 1 << 3,
        FI_ORDER_WAW = 1 << 4,
        FI_ORDER_WAS = 1 << 5,
        FI_ORDER_SAR = 1 << 6,
        FI_ORDER_SAW = 1 << 7,
        FI_ORDER_SAS = 1 << 8,
        /// Deprecated in 2.x: the nine orders among reads, writes and sends.
        FI_ORDER_STRICT = 0x1FF,
        /// Deprecated in 2.x: an order of completions.
        FI_ORDER_DATA = 1 << 16,
        FI_ORDER_RMA_RAR = 1 << 32,
        FI_ORDER_RMA_RAW = 1 << 33,
        FI_ORDER_RMA_WAR = 1 << 34,
        FI_ORDER_RMA_WAW = 1 << 35,
        FI_ORDER_ATOMIC_RAR = 1 << 36,
        FI_ORDER_ATOMIC_RAW = 1 << 37,
        FI_ORDER_ATOMIC_WAR = 1 << 38,
        FI_ORDER_ATOMIC_WAW = 1 << 39,
    }

    "fi_provider(7)" u64 {
        /// Flag of a provider's `getinfo`, private to libfabric: a utility provider asks what it
        /// may layer over.
        OFI_CORE_PROV_ONLY = 1 << 59,
    }
}
