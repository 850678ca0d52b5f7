//! What hints do to an offer.

use libfabric_sys::*;

use super::asking::{Asked, Entry, NOW, ask, entries};
use crate::fi::getinfo::offer::{Kind, Offer};

/// The first entry for these hints.
fn first(version: u32, asked: Asked) -> Option<Entry> {
    let list = ask(version, (None, None), 0, Some(asked)).ok()?;
    entries(&list).into_iter().next()
}

fn first_with(fill: impl FnOnce(&mut Asked)) -> Option<Entry> {
    first(NOW, Asked::with(fill))
}

#[test]
fn capabilities_are_those_asked_for_and_the_secondary_ones() {
    let tagged = first(NOW, Asked::caps(FI_TAGGED)).unwrap();
    assert_eq!(
        tagged.info.caps,
        FI_TAGGED
            | FI_SEND
            | FI_RECV
            | FI_MULTI_RECV
            | FI_RMA_EVENT
            | FI_LOCAL_COMM
            | FI_REMOTE_COMM
    );
    assert_eq!(tagged.tx.caps, FI_TAGGED | FI_SEND);
    assert_eq!(tagged.rx.caps, FI_TAGGED | FI_RECV | FI_MULTI_RECV | FI_RMA_EVENT);

    let sender = first(NOW, Asked::caps(FI_MSG | FI_SEND)).unwrap();
    assert_eq!(sender.info.caps & (FI_SEND | FI_RECV), FI_SEND);
    let reader = first(NOW, Asked::caps(FI_RMA | FI_READ)).unwrap();
    assert_eq!(reader.tx.caps, FI_RMA | FI_READ);
    assert_eq!(reader.rx.caps & (FI_REMOTE_READ | FI_REMOTE_WRITE), 0);

    let directed = first(NOW, Asked::caps(FI_TAGGED | FI_DIRECTED_RECV)).unwrap();
    assert_ne!(directed.rx.caps & FI_DIRECTED_RECV, 0);
}

#[test]
fn the_source_is_told_to_who_asks_for_it_in_either_place() {
    let asked = |caps, rx| {
        let asked = first_with(|asked| (asked.info.caps, asked.rx.caps) = (caps, rx)).unwrap();
        assert_eq!(asked.info.caps & FI_SOURCE, asked.rx.caps & FI_SOURCE);
        asked.info.caps & FI_SOURCE != 0
    };
    assert!(!asked(FI_MSG, 0));
    assert!(asked(FI_MSG | FI_SOURCE, 0));
    assert!(asked(FI_MSG, FI_MSG | FI_SOURCE));
}

#[test]
fn a_part_can_ask_for_less_but_not_for_more() {
    let less = first_with(|asked| {
        asked.info.caps = FI_MSG | FI_TAGGED;
        asked.tx.caps = FI_TAGGED;
    });
    assert_eq!(less.unwrap().tx.caps, FI_TAGGED | FI_SEND);
    let more = first_with(|asked| {
        asked.info.caps = FI_MSG;
        asked.tx.caps = FI_TAGGED;
    });
    assert!(more.is_none());
    // A receiver's capability says nothing about a sender, and the other way round.
    let other = first_with(|asked| {
        asked.info.caps = FI_MSG | FI_RMA;
        asked.tx.caps = FI_MSG | FI_RECV | FI_REMOTE_READ;
        asked.rx.caps = FI_MSG | FI_SEND | FI_READ;
    });
    let other = other.unwrap();
    assert_eq!(
        (other.tx.caps, other.rx.caps & !FI_RMA_EVENT & !FI_MULTI_RECV),
        (FI_MSG | FI_SEND, FI_MSG | FI_RECV)
    );
}

#[test]
fn what_no_endpoint_can_do_is_refused() {
    for caps in [
        FI_MULTICAST,
        FI_COLLECTIVE,
        FI_TRIGGER,
        FI_FENCE,
        FI_NAMED_RX_CTX,
        FI_HMEM,
        FI_SHARED_AV,
        FI_SOURCE_ERR,
        FI_RMA_PMEM,
        FI_PEER,
        FI_AV_USER_ID,
        FI_XPU,
        FI_TAGGED_DIRECTED_RECV,
        FI_TAGGED_MULTI_RECV,
        FI_EXACT_DIRECTED_RECV,
    ] {
        assert!(first(NOW, Asked::caps(FI_MSG | caps)).is_none(), "{caps:#x}");
        assert!(first(FI_VERSION(1, 5), Asked::caps(FI_MSG | caps)).is_none(), "{caps:#x}");
    }
}

#[test]
fn datagrams_are_for_who_asks_for_messages_only() {
    let kinds = |caps| {
        let list = ask(NOW, (None, None), 0, Some(Asked::caps(caps))).unwrap();
        let kinds = entries(&list).into_iter().map(|entry| entry.ep.r#type);
        kinds.collect::<Vec<_>>()
    };
    assert!(kinds(FI_MSG | FI_SOURCE).contains(&FI_EP_DGRAM));
    for caps in [FI_TAGGED, FI_RMA, FI_ATOMIC, FI_DIRECTED_RECV | FI_MSG, FI_MULTI_RECV | FI_MSG] {
        assert!(!kinds(caps).contains(&FI_EP_DGRAM), "{caps:#x}");
    }
    let datagram = |fill: fn(&mut Asked)| {
        let mut asked = Asked::with(|asked| asked.ep.r#type = FI_EP_DGRAM);
        fill(&mut asked);
        first(NOW, asked)
    };
    let plain = datagram(|_| ()).unwrap();
    assert_eq!((plain.tx.msg_order, plain.rx.msg_order), (0, 0));
    assert!(plain.tx.inject_size <= plain.ep.max_msg_size && plain.ep.max_msg_size > 1000);
    assert!(datagram(|asked| asked.tx.msg_order = FI_ORDER_SAS).is_none());
    assert!(datagram(|asked| asked.tx.op_flags = FI_DELIVERY_COMPLETE).is_none());
    assert!(datagram(|asked| asked.tx.op_flags = FI_TRANSMIT_COMPLETE).is_some());
    assert!(datagram(|asked| asked.ep.max_msg_size = 1 << 17).is_none());
}

#[test]
fn modes_are_never_needed() {
    for modes in [0, 1, u64::MAX, FI_CONTEXT | FI_CONTEXT2] {
        for mr_mode in [0, -1, FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY, FI_MR_SCALABLE] {
            let given = first_with(|asked| {
                asked.info.mode = modes;
                asked.tx.mode = modes;
                asked.domain.mode = modes;
                asked.domain.mr_mode = mr_mode;
            });
            let given = given.unwrap();
            assert_eq!((given.info.mode, given.tx.mode, given.rx.mode), (0, 0, 0));
            assert_eq!((given.domain.mode, given.domain.mr_mode), (0, 0));
        }
    }
}

#[test]
fn registration_modes_of_before_1_5_are_told_apart() {
    let given = |mr_mode, caps| {
        let given = first(
            FI_VERSION(1, 4),
            Asked::with(|asked| (asked.domain.mr_mode, asked.info.caps) = (mr_mode, caps)),
        );
        given.map(|given| given.domain.mr_mode)
    };
    assert_eq!(given(FI_MR_UNSPEC, 0), Some(FI_MR_SCALABLE));
    assert_eq!(given(FI_MR_SCALABLE, FI_RMA), Some(FI_MR_SCALABLE));
    assert_eq!(given(FI_MR_BASIC, FI_MSG), Some(FI_MR_BASIC));
    assert_eq!(given(FI_MR_BASIC, FI_RMA), None, "it would use virtual addresses");
    assert_eq!(given(FI_MR_LOCAL, 0), None);
}

#[test]
fn what_can_be_kept_is_kept_as_asked() {
    for threading in FI_THREAD_SAFE..=FI_THREAD_ENDPOINT {
        let given = first_with(|asked| asked.domain.threading = threading).unwrap();
        assert_eq!(given.domain.threading, threading);
    }
    assert_eq!(first_with(|_| ()).unwrap().domain.threading, FI_THREAD_SAFE);
    for progress in [FI_PROGRESS_AUTO, FI_PROGRESS_MANUAL] {
        let given = first_with(|asked| asked.domain.data_progress = progress).unwrap();
        assert_eq!(
            (given.domain.data_progress, given.domain.control_progress),
            (progress, progress)
        );
    }
    let given = first_with(|asked| {
        asked.domain.control_progress = FI_PROGRESS_AUTO;
        asked.domain.data_progress = FI_PROGRESS_MANUAL;
    });
    let given = given.unwrap().domain;
    assert_eq!(
        (given.control_progress, given.data_progress),
        (FI_PROGRESS_AUTO, FI_PROGRESS_MANUAL)
    );
    for av_type in [FI_AV_MAP, FI_AV_TABLE] {
        let given = first_with(|asked| asked.domain.av_type = av_type).unwrap();
        assert_eq!(given.domain.av_type, av_type);
    }
    assert_eq!(first_with(|_| ()).unwrap().domain.av_type, FI_AV_UNSPEC);
    for management in [FI_RM_UNSPEC, FI_RM_DISABLED, FI_RM_ENABLED] {
        let given = first_with(|asked| asked.domain.resource_mgmt = management).unwrap();
        assert_eq!(given.domain.resource_mgmt, FI_RM_ENABLED);
    }
    let flags = FI_COMPLETION | FI_DELIVERY_COMPLETE;
    let given = first_with(|asked| {
        (asked.tx.op_flags, asked.rx.op_flags) = (flags, FI_MULTI_RECV);
        (asked.tx.size, asked.rx.size) = (100, 200);
        (asked.tx.iov_limit, asked.rx.iov_limit) = (2, 3);
        asked.tx.inject_size = 64;
        asked.ep.mem_tag_format = 0xC0_0000_7FFF_FFFF;
    });
    let given = given.unwrap();
    assert_eq!((given.tx.op_flags, given.rx.op_flags), (flags, FI_MULTI_RECV));
    assert_eq!((given.tx.size, given.rx.size), (100, 200));
    assert_eq!((given.tx.iov_limit, given.rx.iov_limit), (2, 3));
    assert!(given.tx.inject_size >= 64);
    assert_eq!(given.ep.mem_tag_format, 0xAAAA_AAAA_AAAA_AAAA);
}

#[test]
fn order_is_what_costs_nothing_and_what_is_asked_for() {
    let free = FI_ORDER_SAS
        | FI_ORDER_ATOMIC_RAR
        | FI_ORDER_ATOMIC_RAW
        | FI_ORDER_ATOMIC_WAR
        | FI_ORDER_ATOMIC_WAW;
    let given = first_with(|_| ()).unwrap();
    assert_eq!((given.tx.msg_order, given.rx.msg_order), (free, free));
    for order in [
        FI_ORDER_RAR,
        FI_ORDER_RAW,
        FI_ORDER_RAS,
        FI_ORDER_WAR,
        FI_ORDER_WAW,
        FI_ORDER_WAS,
        FI_ORDER_SAR,
        FI_ORDER_SAW,
        FI_ORDER_RMA_RAR,
        FI_ORDER_RMA_RAW,
        FI_ORDER_RMA_WAR,
        FI_ORDER_RMA_WAW,
    ] {
        let given = first_with(|asked| asked.tx.msg_order = order).unwrap();
        assert_eq!(given.tx.msg_order, free | order);
        assert_eq!(given.rx.msg_order, free);
    }
    assert!(first_with(|asked| asked.tx.msg_order = FI_ORDER_DATA).is_none());
}

#[test]
fn order_holds_up_to_a_length() {
    let offered = first_with(|asked| asked.info.caps = FI_RMA).unwrap().ep;
    let most = offered.max_order_raw_size;
    assert!(most > 1 << 32 && offered.max_order_war_size == most);
    let asked = |caps, size| {
        first_with(|asked| (asked.info.caps, asked.ep.max_order_raw_size) = (caps, size))
            .map(|given| given.ep.max_order_raw_size)
    };
    assert_eq!(asked(FI_RMA, most - 1), Some(most - 1));
    assert_eq!(asked(FI_RMA, most + 1), None);
    assert_eq!(asked(FI_MSG, most + 1), Some(most), "no order of what is not asked for");
}

#[test]
fn too_much_is_refused() {
    let most = Offer::of(Kind::Rdm, 1500, crate::name()).given;
    type Excess = (&'static str, fn(&mut Asked, &fi_tx_attr, &fi_domain_attr));
    let excesses: &[Excess] = &[
        ("inject_size", |asked, tx, _| asked.tx.inject_size = tx.inject_size + 1),
        ("tx size", |asked, tx, _| asked.tx.size = tx.size + 1),
        ("tx iov_limit", |asked, tx, _| asked.tx.iov_limit = tx.iov_limit + 1),
        ("rma_iov_limit", |asked, tx, _| asked.tx.rma_iov_limit = tx.rma_iov_limit + 1),
        ("tx comp_order", |asked, _, _| asked.tx.comp_order = 1),
        ("rx comp_order", |asked, _, _| asked.rx.comp_order = 1),
        ("total_buffered_recv", |asked, _, _| asked.rx.total_buffered_recv = 1),
        ("rx size", |asked, tx, _| asked.rx.size = tx.size + 1),
        ("max_msg_size", |asked, _, _| asked.ep.max_msg_size = usize::MAX),
        ("tx_ctx_cnt", |asked, _, _| asked.ep.tx_ctx_cnt = 2),
        ("a shared context", |asked, _, _| asked.ep.rx_ctx_cnt = FI_SHARED_CONTEXT),
        ("protocol", |asked, _, _| asked.ep.protocol = FI_PROTO_RXM),
        ("protocol_version", |asked, _, _| asked.ep.protocol_version = 99),
        ("type", |asked, _, _| asked.ep.r#type = FI_EP_MSG),
        ("cq_data_size", |asked, _, domain| asked.domain.cq_data_size = domain.cq_data_size + 1),
        ("mr_key_size", |asked, _, domain| asked.domain.mr_key_size = domain.mr_key_size + 1),
        ("cntr_cnt", |asked, _, domain| asked.domain.cntr_cnt = domain.cntr_cnt + 1),
        ("mr_cnt", |asked, _, domain| asked.domain.mr_cnt = domain.mr_cnt + 1),
        ("mr_iov_limit", |asked, _, domain| asked.domain.mr_iov_limit = domain.mr_iov_limit + 1),
        ("domain caps", |asked, _, _| asked.domain.caps = FI_SHARED_AV),
        ("threading", |asked, _, _| asked.domain.threading = 99),
        ("progress", |asked, _, _| asked.domain.data_progress = 99),
        ("av_type", |asked, _, _| asked.domain.av_type = 99),
        ("addr_format", |asked, _, _| asked.info.addr_format = FI_SOCKADDR_IN6),
    ];
    for (what, exceed) in excesses {
        let given = first_with(|asked| exceed(asked, &most.tx, &most.domain));
        assert!(given.is_none(), "{what}: {given:?}");
    }
    let at_most = first_with(|asked| {
        (asked.tx, asked.rx, asked.ep, asked.domain) = (most.tx, most.rx, most.ep, most.domain);
    });
    assert!(at_most.is_some());
}

#[test]
fn under_the_name_of_efa_the_protocol_is_its_own() {
    assert_eq!(Offer::of(Kind::Rdm, 1500, c"efa").given.ep.protocol, FI_PROTO_EFA);
    let own = Offer::of(Kind::Datagram, 1500, c"elastane").given.ep.protocol;
    assert_ne!(own & 1 << 31, 0, "provider-specific");
}
