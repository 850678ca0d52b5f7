//! `rdma/providers/fi_log.h`: what is logged, and how urgent it is. Manual page fi_provider(3).

use std::ffi::c_uint;

use crate::declare::constants;

/// What a line of the log is about: fi_provider(3).
pub type fi_log_subsys = c_uint;
/// How urgent a line of the log is: fi_provider(3).
pub type fi_log_level = c_uint;

constants! {
    "fi_provider(3)" fi_log_subsys {
        FI_LOG_CORE = 0,
        FI_LOG_FABRIC = 1,
        FI_LOG_DOMAIN = 2,
        FI_LOG_EP_CTRL = 3,
        FI_LOG_EP_DATA = 4,
        FI_LOG_AV = 5,
        FI_LOG_CQ = 6,
        FI_LOG_EQ = 7,
        FI_LOG_MR = 8,
        FI_LOG_CNTR = 9,
    }

    "fi_provider(3)" fi_log_level {
        FI_LOG_WARN = 0,
        FI_LOG_TRACE = 1,
        FI_LOG_INFO = 2,
        FI_LOG_DEBUG = 3,
    }
}
