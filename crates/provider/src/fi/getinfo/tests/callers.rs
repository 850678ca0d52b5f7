//! The hints of applications that must run.

use libfabric_sys::*;

use super::asking::{Asked, Entry, ask, entries};

const COMM: u64 = FI_LOCAL_COMM | FI_REMOTE_COMM;

fn first(version: u32, fill: impl FnOnce(&mut Asked)) -> Entry {
    let list = ask(version, (None, None), 0, Some(Asked::with(fill))).unwrap();
    entries(&list).remove(0)
}

#[test]
fn open_mpi_4_is_served() {
    let given = first(FI_VERSION(1, 5), |asked| {
        asked.info.caps = FI_TAGGED | FI_DIRECTED_RECV | COMM;
        asked.info.mode = FI_CONTEXT | FI_CONTEXT2;
        asked.ep.r#type = FI_EP_RDM;
        (asked.tx.op_flags, asked.rx.op_flags) = (FI_COMPLETION, FI_COMPLETION);
        (asked.tx.msg_order, asked.rx.msg_order) = (FI_ORDER_SAS, FI_ORDER_SAS);
        asked.domain.threading = FI_THREAD_DOMAIN;
        asked.domain.resource_mgmt = FI_RM_ENABLED;
        asked.domain.av_type = FI_AV_MAP;
        asked.domain.cq_data_size = 4;
        asked.domain.control_progress = FI_PROGRESS_MANUAL;
        asked.domain.data_progress = FI_PROGRESS_MANUAL;
    });
    assert_eq!(given.domain.av_type, FI_AV_MAP);
    assert_eq!(given.domain.threading, FI_THREAD_DOMAIN);
    assert!(given.domain.cq_data_size >= 4 && given.ep.max_msg_size > 1 << 32);
    assert!(given.ep.mem_tag_format.leading_zeros() == 0);
    assert_eq!((given.tx.op_flags, given.rx.op_flags), (FI_COMPLETION, FI_COMPLETION));
}

#[test]
fn open_mpi_5_is_served_once_it_does_without_accelerators() {
    let ask_for = |caps, mr_mode| {
        let asked = Asked::with(|asked| {
            asked.info.caps = FI_MSG | FI_TAGGED | FI_DIRECTED_RECV | COMM | caps;
            asked.info.mode = FI_CONTEXT | FI_CONTEXT2;
            asked.domain.mr_mode = mr_mode;
            asked.domain.threading = FI_THREAD_DOMAIN;
            asked.tx.msg_order = FI_ORDER_SAS;
        });
        ask(FI_VERSION(1, 18), (None, None), 0, Some(asked)).map(|list| entries(&list).remove(0))
    };
    assert_eq!(ask_for(FI_HMEM, 0x420).unwrap_err(), FI_ENODATA);
    assert_eq!(ask_for(0, 0x20).unwrap().domain.mr_mode, 0);
}

#[test]
fn the_one_sided_layer_of_open_mpi_is_served() {
    let given = first(FI_VERSION(1, 9), |asked| {
        asked.info.caps = FI_RMA | FI_ATOMIC;
        asked.tx.op_flags = FI_COMPLETION | FI_DELIVERY_COMPLETE;
        asked.domain.mr_mode = FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY;
        asked.domain.av_type = FI_AV_MAP;
    });
    assert_eq!(given.domain.mr_mode, 0);
    assert_eq!(given.domain.mr_key_size, 8);
    assert_eq!(given.domain.max_ep_tx_ctx, 1, "no scalable endpoint");
}

#[test]
fn mpich_is_served_and_gets_its_own_list_accepted() {
    let list = ask(FI_VERSION(2, 5), (None, None), 0, None).unwrap();
    let offered = entries(&list).remove(0);
    let given = first(FI_VERSION(2, 5), |asked| {
        asked.info.caps = offered.info.caps;
        asked.info.mode = FI_CONTEXT | FI_CONTEXT2 | FI_ASYNC_IOV | FI_RX_CQ_DATA;
        asked.ep.r#type = FI_EP_RDM;
        asked.ep.mem_tag_format = 0xC0_0000_7FFF_FFFF;
        asked.tx.op_flags = FI_COMPLETION | FI_DELIVERY_COMPLETE;
        asked.tx.msg_order = FI_ORDER_SAS
            | FI_ORDER_ATOMIC_RAR
            | FI_ORDER_ATOMIC_RAW
            | FI_ORDER_ATOMIC_WAR
            | FI_ORDER_ATOMIC_WAW;
        asked.rx.msg_order = FI_ORDER_SAS;
        asked.domain.threading = FI_THREAD_DOMAIN;
        asked.domain.data_progress = FI_PROGRESS_MANUAL;
        asked.domain.control_progress = FI_PROGRESS_MANUAL;
        asked.domain.av_type = FI_AV_TABLE;
        asked.domain.mr_mode = FI_MR_ENDPOINT;
        asked.domain.cq_data_size = 4;
    });
    assert_eq!(given.info.caps, offered.info.caps);
    assert_ne!(given.info.caps & FI_DIRECTED_RECV, 0);
    assert_eq!(given.domain.threading, FI_THREAD_DOMAIN);
    assert_eq!(given.domain.data_progress, FI_PROGRESS_MANUAL);
    // Orders that cost are those that were not asked for.
    assert_eq!(given.tx.msg_order & FI_ORDER_STRICT, FI_ORDER_SAS);
}

#[test]
fn intel_mpi_is_served_and_gets_its_own_list_accepted() {
    let list = ask(0, (None, None), 0, None).unwrap();
    let offered = entries(&list).remove(0);
    assert_eq!(offered.domain.mr_mode, FI_MR_SCALABLE);
    let given = first(FI_VERSION(1, 8), |asked| {
        *asked = Asked::of(&offered);
        asked.info.mode = FI_CONTEXT | FI_CONTEXT2;
        asked.domain.mode = FI_RESTRICTED_COMP;
        asked.domain.mr_mode = FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY;
        asked.domain.threading = FI_THREAD_DOMAIN;
        asked.domain.av_type = FI_AV_MAP;
    });
    assert_eq!((given.domain.mode, given.domain.mr_mode), (0, 0));
    assert_eq!(given.info.addr_format, FI_SOCKADDR_IN);
}

#[test]
fn aws_ofi_nccl_is_served() {
    for version in [FI_VERSION(1, 20), FI_VERSION(1, 6)] {
        let given = first(version, |asked| {
            asked.info.caps = FI_TAGGED | FI_MSG | COMM;
            asked.info.mode = FI_CONTEXT | FI_CONTEXT2;
            asked.ep.r#type = FI_EP_RDM;
            asked.domain.threading = FI_THREAD_SAFE;
            asked.domain.mr_mode =
                FI_MR_LOCAL | FI_MR_ENDPOINT | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY;
            (asked.tx.msg_order, asked.rx.msg_order) = (FI_ORDER_SAS, FI_ORDER_SAS);
        });
        assert_eq!(given.domain.mr_mode, 0);
    }
}
