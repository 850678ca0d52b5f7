//! What this provider offers, and under which names.

use std::ffi::{CStr, CString};

use libfabric_sys::{
    FI_ATOMIC, FI_AV_UNSPEC, FI_DIRECTED_RECV, FI_EP_DGRAM, FI_EP_RDM, FI_LOCAL_COMM, FI_MSG,
    FI_MULTI_RECV, FI_ORDER_ATOMIC_RAR, FI_ORDER_ATOMIC_RAW, FI_ORDER_ATOMIC_WAR,
    FI_ORDER_ATOMIC_WAW, FI_ORDER_RMA_RAR, FI_ORDER_RMA_RAW, FI_ORDER_RMA_WAR, FI_ORDER_RMA_WAW,
    FI_ORDER_SAS, FI_ORDER_STRICT, FI_PROGRESS_MANUAL, FI_PROTO_EFA, FI_READ, FI_RECV,
    FI_REMOTE_COMM, FI_REMOTE_READ, FI_REMOTE_WRITE, FI_RM_ENABLED, FI_RMA, FI_RMA_EVENT, FI_SEND,
    FI_SOURCE, FI_TAGGED, FI_THREAD_SAFE, FI_WRITE, fi_domain_attr, fi_ep_attr, fi_ep_type,
    fi_rx_attr, fi_tx_attr,
};

use super::interfaces::Interface;

/// Provider-specific protocols have the upper bit (fi_endpoint(3)); the rest is ours.
const FI_PROTO_ELASTANE: u32 = 1 << 31 | 0xe1a << 16 | 1;
/// The version of the wire format (P§2).
const PROTOCOL_VERSION: u32 = 1;

/// Bytes that are copied when they are sent, so that the caller may change them at once.
const INJECT_SIZE: usize = 4096;
/// Operations under way at once.
const QUEUE_SIZE: usize = 65_536;
/// Pieces of local memory in one operation.
const IOV_LIMIT: usize = 8;
/// Queues, counters and endpoints of a domain.
const OBJECTS: usize = 65_536;
/// Regions of a domain.
const REGIONS: usize = 1 << 24;
/// Any message that memory can hold.
const ANY_LENGTH: usize = isize::MAX.unsigned_abs();
/// All bits of a tag are the caller's: fi_endpoint(3), `mem_tag_format`.
const WHOLE_TAG: u64 = 0xaaaa_aaaa_aaaa_aaaa;

/// In each datagram: the headers of IPv4 and UDP, and this protocol's (P§2).
const HEADERS: usize = 20 + 8 + 32;
/// The longest packet that an endpoint makes, whatever the interface would carry.
const LONGEST_PACKET: usize = 65_535 - 18;

/// Orders that always hold, so that giving them costs nothing.
const FREE_ORDER: u64 = FI_ORDER_SAS
    | FI_ORDER_ATOMIC_RAR
    | FI_ORDER_ATOMIC_RAW
    | FI_ORDER_ATOMIC_WAR
    | FI_ORDER_ATOMIC_WAW;
/// Orders that hold where they are asked for.
const ORDER: u64 = FREE_ORDER
    | FI_ORDER_STRICT
    | FI_ORDER_RMA_RAR
    | FI_ORDER_RMA_RAW
    | FI_ORDER_RMA_WAR
    | FI_ORDER_RMA_WAW;

/// The kinds of endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Rdm,
    Datagram,
}

impl Kind {
    /// In the order of the list: who takes the first that fits gets the reliable one.
    pub(super) const ALL: [Self; 2] = [Self::Rdm, Self::Datagram];

    pub(super) const fn ep_type(self) -> fi_ep_type {
        match self {
            Self::Rdm => FI_EP_RDM,
            Self::Datagram => FI_EP_DGRAM,
        }
    }

    /// What endpoints of this kind can do as senders.
    pub(super) const fn tx_caps(self) -> u64 {
        match self {
            Self::Rdm => FI_MSG | FI_TAGGED | FI_RMA | FI_ATOMIC | FI_SEND | FI_READ | FI_WRITE,
            Self::Datagram => FI_MSG | FI_SEND,
        }
    }

    /// What they can do as receivers.
    pub(super) const fn rx_caps(self) -> u64 {
        match self {
            Self::Rdm => {
                FI_MSG
                    | FI_TAGGED
                    | FI_RMA
                    | FI_ATOMIC
                    | FI_RECV
                    | FI_REMOTE_READ
                    | FI_REMOTE_WRITE
                    | FI_MULTI_RECV
                    | FI_DIRECTED_RECV
                    | FI_SOURCE
                    | FI_RMA_EVENT
            }
            Self::Datagram => FI_MSG | FI_RECV | FI_SOURCE,
        }
    }

    /// The domain's name is the interface's with this behind it, as EFA's are.
    const fn suffix(self) -> &'static str {
        match self {
            Self::Rdm => "rdm",
            Self::Datagram => "dgrm",
        }
    }
}

/// What all domains can do.
pub(super) const DOMAIN_CAPS: u64 = FI_LOCAL_COMM | FI_REMOTE_COMM;

/// What `fi_info` says, its addresses and names aside. All pointers are null.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attributes {
    pub(super) caps: u64,
    pub(super) tx: fi_tx_attr,
    pub(super) rx: fi_rx_attr,
    pub(super) ep: fi_ep_attr,
    pub(super) domain: fi_domain_attr,
}

/// What a caller can have at most, and what it gets that asks for nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offer {
    pub(super) kind: Kind,
    pub(super) given: Attributes,
    /// All orders that can be asked for.
    pub(super) order: u64,
}

impl Offer {
    /// Of endpoints of this kind whose packets are at most `mtu` bytes long.
    pub(super) fn of(kind: Kind, mtu: usize, provider: &CStr) -> Self {
        let datagram = mtu.min(LONGEST_PACKET).saturating_sub(HEADERS);
        let (message, free_order, order) = match kind {
            Kind::Rdm => (ANY_LENGTH, FREE_ORDER, ORDER),
            Kind::Datagram => (datagram, 0, 0),
        };
        let given = Attributes {
            caps: kind.tx_caps() | kind.rx_caps() | DOMAIN_CAPS,
            tx: fi_tx_attr {
                caps: kind.tx_caps(),
                msg_order: free_order,
                inject_size: message.min(INJECT_SIZE),
                size: QUEUE_SIZE,
                iov_limit: IOV_LIMIT,
                rma_iov_limit: usize::from(kind == Kind::Rdm),
                ..fi_tx_attr::default()
            },
            rx: fi_rx_attr {
                caps: kind.rx_caps(),
                msg_order: free_order,
                size: QUEUE_SIZE,
                iov_limit: IOV_LIMIT,
                ..fi_rx_attr::default()
            },
            ep: endpoint(kind, message, provider),
            domain: domain(kind),
        };
        Self { kind, given, order }
    }
}

fn endpoint(kind: Kind, message: usize, provider: &CStr) -> fi_ep_attr {
    // Order holds for operations of any length.
    let (ordered, tag) = match kind {
        Kind::Rdm => (ANY_LENGTH, WHOLE_TAG),
        Kind::Datagram => (0, 0),
    };
    fi_ep_attr {
        r#type: kind.ep_type(),
        protocol: if is_efa(provider) { FI_PROTO_EFA } else { FI_PROTO_ELASTANE },
        protocol_version: PROTOCOL_VERSION,
        max_msg_size: message,
        max_order_raw_size: ordered,
        max_order_war_size: ordered,
        max_order_waw_size: ordered,
        mem_tag_format: tag,
        tx_ctx_cnt: 1,
        rx_ctx_cnt: 1,
        ..fi_ep_attr::default()
    }
}

fn domain(kind: Kind) -> fi_domain_attr {
    let regions = if kind == Kind::Rdm { REGIONS } else { 0 };
    fi_domain_attr {
        threading: FI_THREAD_SAFE,
        control_progress: FI_PROGRESS_MANUAL,
        data_progress: FI_PROGRESS_MANUAL,
        resource_mgmt: FI_RM_ENABLED,
        // Either serves, and one that is not asked for would change what applications do.
        av_type: FI_AV_UNSPEC,
        mr_key_size: 8,
        cq_data_size: if kind == Kind::Rdm { 8 } else { 0 },
        cq_cnt: OBJECTS,
        ep_cnt: OBJECTS,
        tx_ctx_cnt: OBJECTS,
        rx_ctx_cnt: OBJECTS,
        max_ep_tx_ctx: 1,
        max_ep_rx_ctx: 1,
        cntr_cnt: OBJECTS,
        mr_iov_limit: 1,
        caps: DOMAIN_CAPS,
        mr_cnt: regions,
        max_cntr_value: u64::MAX,
        max_err_cntr_value: u64::MAX,
        ..fi_domain_attr::default()
    }
}

fn is_efa(provider: &CStr) -> bool {
    provider == c"efa"
}

/// The name of a subnet: `elastane-192.0.2.0/24`, and `EFA-192.0.2.0/24` where the provider is
/// called `efa`, whose names begin like that.
pub(super) fn fabric_name(interface: &Interface, provider: &CStr) -> CString {
    let family = if is_efa(provider) { "EFA" } else { "elastane" };
    text(format!("{family}-{}/{}", interface.subnet(), interface.prefix))
}

/// The name of an interface and a kind of endpoint: `eth0-rdm`.
pub(super) fn domain_name(interface: &Interface, kind: Kind) -> CString {
    text(format!("{}-{}", interface.name, kind.suffix()))
}

fn text(text: String) -> CString {
    // The kernel's names have no zero in them.
    CString::new(text).unwrap_or_default()
}
