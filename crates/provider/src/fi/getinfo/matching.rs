//! Whether an offer has what the hints ask for, and what the caller gets then.

use libfabric_sys::{
    FI_ATOMIC, FI_AV_MAP, FI_AV_TABLE, FI_AV_UNSPEC, FI_COMMIT_COMPLETE, FI_DELIVERY_COMPLETE,
    FI_DIRECTED_RECV, FI_EP_UNSPEC, FI_FENCE, FI_LOCAL_COMM, FI_MATCH_COMPLETE, FI_MR_BASIC,
    FI_MR_SCALABLE, FI_MR_UNSPEC, FI_MSG, FI_MULTI_RECV, FI_MULTICAST, FI_NAMED_RX_CTX,
    FI_PROGRESS_AUTO, FI_PROGRESS_CONTROL_UNIFIED, FI_PROGRESS_UNSPEC, FI_PROTO_UNSPEC, FI_READ,
    FI_RECV, FI_REMOTE_COMM, FI_REMOTE_READ, FI_REMOTE_WRITE, FI_RM_ENABLED, FI_RMA, FI_RMA_EVENT,
    FI_SEND, FI_SOURCE, FI_SOURCE_ERR, FI_TAGGED, FI_THREAD_ENDPOINT, FI_THREAD_SAFE,
    FI_THREAD_UNSPEC, FI_VERSION, FI_WRITE, fi_domain_attr, fi_ep_attr, fi_progress, fi_rx_attr,
    fi_tx_attr,
};

use super::{
    hints::Hints,
    offer::{Attributes, DOMAIN_CAPS, Kind, Offer},
};

/// Capabilities that are given also where they are not asked for (fi_getinfo(3)), except that
/// `FI_SOURCE` is not.
const SECONDARY: u64 = FI_MULTI_RECV | FI_SOURCE | FI_RMA_EVENT | FI_LOCAL_COMM | FI_REMOTE_COMM;
/// Of receivers: means nothing where an application asks for it as a sender.
const NOT_OF_SENDERS: u64 = FI_REMOTE_READ
    | FI_REMOTE_WRITE
    | FI_RECV
    | FI_DIRECTED_RECV
    | FI_MULTI_RECV
    | FI_SOURCE
    | FI_RMA_EVENT
    | FI_SOURCE_ERR;
/// Of senders: means nothing where an application asks for it as a receiver.
const NOT_OF_RECEIVERS: u64 =
    FI_READ | FI_WRITE | FI_SEND | FI_FENCE | FI_MULTICAST | FI_NAMED_RX_CTX;
const MESSAGE_DIRECTIONS: u64 = FI_SEND | FI_RECV;
const RMA_DIRECTIONS: u64 = FI_READ | FI_WRITE | FI_REMOTE_READ | FI_REMOTE_WRITE;

/// From here on registration modes are bits; before, there were two modes.
const MODE_BITS: u32 = FI_VERSION(1, 5);

/// What a caller of `version` gets who asks for this; nothing where the offer does not have it.
pub(super) fn answer(offer: &Offer, hints: Option<&Hints>, version: u32) -> Option<Attributes> {
    let mut given = offer.given;
    let Some(hints) = hints else {
        given.domain.mr_mode = registration_mode(FI_MR_UNSPEC, given.caps, version)?;
        return Some(given);
    };
    // A receiver that wants to know who sends says so in either place.
    let asked = if hints.caps == 0 { 0 } else { hints.caps | hints.rx.caps & FI_SOURCE };
    subset(asked, given.caps)?;
    given.caps = granted(asked, given.caps);
    given.tx = tx(offer, &hints.tx, given.caps)?;
    given.rx = rx(offer, &hints.rx, given.caps)?;
    given.ep = ep(&given, &hints.ep)?;
    given.domain = domain(&given, &hints.domain, version)?;
    Some(given)
}

/// What is asked for of what there is, and the directions that go without saying.
fn granted(asked: u64, offered: u64) -> u64 {
    let mut caps = match asked {
        0 => offered,
        asked => offered & (asked | SECONDARY & !FI_SOURCE),
    };
    if caps & (FI_MSG | FI_TAGGED) != 0 && caps & MESSAGE_DIRECTIONS == 0 {
        caps |= offered & MESSAGE_DIRECTIONS;
    }
    if caps & (FI_RMA | FI_ATOMIC) != 0 && caps & RMA_DIRECTIONS == 0 {
        caps |= offered & RMA_DIRECTIONS;
    }
    caps
}

fn tx(offer: &Offer, asked: &fi_tx_attr, caps: u64) -> Option<fi_tx_attr> {
    let given = offer.given.tx;
    let of_senders = asked.caps & !NOT_OF_SENDERS;
    subset(of_senders, caps & given.caps)?;
    subset(asked.msg_order, offer.order)?;
    unordered(asked.comp_order)?;
    at_most(asked.inject_size, given.inject_size)?;
    // Nobody acknowledges a datagram.
    let acknowledged = FI_DELIVERY_COMPLETE | FI_MATCH_COMPLETE | FI_COMMIT_COMPLETE;
    if offer.kind == Kind::Datagram && asked.op_flags & acknowledged != 0 {
        return None;
    }
    Some(fi_tx_attr {
        caps: granted(of_senders, caps & given.caps),
        op_flags: asked.op_flags,
        msg_order: given.msg_order | asked.msg_order,
        size: at_most(asked.size, given.size)?,
        iov_limit: at_most(asked.iov_limit, given.iov_limit)?,
        rma_iov_limit: at_most(asked.rma_iov_limit, given.rma_iov_limit)?,
        ..given
    })
}

fn rx(offer: &Offer, asked: &fi_rx_attr, caps: u64) -> Option<fi_rx_attr> {
    let given = offer.given.rx;
    let of_receivers = asked.caps & !NOT_OF_RECEIVERS;
    subset(of_receivers, caps & given.caps)?;
    subset(asked.msg_order, offer.order)?;
    unordered(asked.comp_order)?;
    at_most(asked.total_buffered_recv, 0)?;
    Some(fi_rx_attr {
        caps: granted(of_receivers, caps & given.caps),
        op_flags: asked.op_flags,
        msg_order: given.msg_order | asked.msg_order,
        size: at_most(asked.size, given.size)?,
        iov_limit: at_most(asked.iov_limit, given.iov_limit)?,
        ..given
    })
}

fn ep(given: &Attributes, asked: &fi_ep_attr) -> Option<fi_ep_attr> {
    let domain = &given.domain;
    let given_caps = given.caps;
    let given = given.ep;
    unspecified_or(asked.r#type, FI_EP_UNSPEC, given.r#type)?;
    unspecified_or(asked.protocol, FI_PROTO_UNSPEC, given.protocol)?;
    at_most(asked.protocol_version as usize, given.protocol_version as usize)?;
    at_most(asked.max_msg_size, given.max_msg_size)?;
    // Any format of tags fits: a whole tag is compared, bit by bit.
    let is_remote = given_caps & (FI_RMA | FI_ATOMIC) != 0;
    let ordered = |asked, given| if is_remote { at_most(asked, given) } else { Some(given) };
    Some(fi_ep_attr {
        max_order_raw_size: ordered(asked.max_order_raw_size, given.max_order_raw_size)?,
        max_order_war_size: ordered(asked.max_order_war_size, given.max_order_war_size)?,
        max_order_waw_size: ordered(asked.max_order_waw_size, given.max_order_waw_size)?,
        // A shared context is asked for by the largest number there is.
        tx_ctx_cnt: at_most(asked.tx_ctx_cnt, domain.max_ep_tx_ctx)?,
        rx_ctx_cnt: at_most(asked.rx_ctx_cnt, domain.max_ep_rx_ctx)?,
        ..given
    })
}

fn domain(given: &Attributes, asked: &fi_domain_attr, version: u32) -> Option<fi_domain_attr> {
    let caps = given.caps;
    let given = given.domain;
    subset(asked.caps, DOMAIN_CAPS)?;
    for (asked, given) in [
        (asked.cq_data_size, given.cq_data_size),
        (asked.mr_key_size, given.mr_key_size),
        (asked.cntr_cnt, given.cntr_cnt),
        (asked.mr_iov_limit, given.mr_iov_limit),
        (asked.mr_cnt, given.mr_cnt),
        (asked.max_err_data, given.max_err_data),
        (asked.max_ep_auth_key, given.max_ep_auth_key),
        (asked.max_group_id as usize, given.max_group_id as usize),
    ] {
        at_most(asked, given)?;
    }
    let data_progress = progress(asked.data_progress, given.data_progress)?;
    Some(fi_domain_attr {
        threading: match asked.threading {
            FI_THREAD_UNSPEC => given.threading,
            FI_THREAD_SAFE..=FI_THREAD_ENDPOINT => asked.threading,
            _ => return None,
        },
        control_progress: progress(asked.control_progress, data_progress)?,
        data_progress,
        resource_mgmt: FI_RM_ENABLED,
        av_type: match asked.av_type {
            FI_AV_UNSPEC => given.av_type,
            FI_AV_MAP | FI_AV_TABLE => asked.av_type,
            _ => return None,
        },
        mr_mode: registration_mode(asked.mr_mode, caps, version)?,
        ..given
    })
}

/// Remote memory is addressed by offset, under keys of the owner's choice, and local memory need
/// not be registered. That is no bit at all; before there were bits, it was `FI_MR_SCALABLE`.
/// Who asks for `FI_MR_BASIC` then would take remote addresses for virtual ones.
fn registration_mode(asked: i32, caps: u64, version: u32) -> Option<i32> {
    if version >= MODE_BITS {
        return Some(0);
    }
    match asked {
        FI_MR_UNSPEC | FI_MR_SCALABLE => Some(FI_MR_SCALABLE),
        FI_MR_BASIC if caps & (FI_RMA | FI_ATOMIC) == 0 => Some(FI_MR_BASIC),
        _ => None,
    }
}

fn progress(asked: fi_progress, otherwise: fi_progress) -> Option<fi_progress> {
    match asked {
        FI_PROGRESS_UNSPEC => Some(otherwise),
        FI_PROGRESS_AUTO..=FI_PROGRESS_CONTROL_UNIFIED => Some(asked),
        _ => None,
    }
}

/// The number asked for, or what is offered where none is.
fn at_most(asked: usize, offered: usize) -> Option<usize> {
    (asked <= offered).then_some(if asked == 0 { offered } else { asked })
}

fn subset(asked: u64, offered: u64) -> Option<()> {
    (asked & !offered == 0).then_some(())
}

fn unspecified_or(asked: u32, unspecified: u32, given: u32) -> Option<()> {
    (asked == unspecified || asked == given).then_some(())
}

/// An order of completions is of 1.x, and none is kept.
fn unordered(asked: u64) -> Option<()> {
    (asked == 0).then_some(())
}
