//! What perftest writes with `--out_json`.

use perf::bench::{Goal, Verb, perftest::Heading};
use serde_json::{Map, Value, json};

/// The document, with all sizes: an object for one size, a list of them for several.
pub(super) fn document(heading: &Heading, mut rows: Vec<Value>) -> Value {
    let results = if rows.len() == 1 { rows.remove(0) } else { Value::Array(rows) };
    json!({ "test_info": test_info(heading), "results": results })
}

fn test_info(heading: &Heading) -> Value {
    let Heading { tx_depth, rx_depth, post_list, mtu, connection, endpoints, device, .. } = heading;
    let title = heading.title();
    let mut info = Map::new();
    let mut put = |name: &str, value: Value| {
        info.insert(name.to_owned(), value);
    };
    put("test", json!(format!("{title}Test")));
    put("Dual_port", json!("OFF"));
    put("Device", json!(device));
    put("Number_of_qps", json!(endpoints));
    put("Transport_type", json!("IB"));
    put("Connection_type", json!(connection));
    put("Using_SRQ", json!("OFF"));
    put("PCIe_relax_order", json!("OFF"));
    put("ibv_wr_API", json!("OFF"));
    if let Some(depth) = tx_depth {
        put("TX_depth", json!(depth));
    }
    if *post_list > 1 {
        put("Post_List", json!(post_list));
    }
    if let Some(depth) = rx_depth {
        put("RX_depth", json!(depth));
    }
    if heading.goal == Goal::Bandwidth {
        put("CQ_Moderation", json!(1));
    }
    put("Mtu", json!(mtu));
    put("Link_type", json!("Ethernet"));
    put("GID_index", json!(0));
    match heading.verb {
        Verb::Send | Verb::Write => put("Max_inline_data", json!(0)),
        Verb::Read | Verb::Atomic => put("Outstand_reads", json!(0)),
    }
    put("rdma_cm_QPs", json!("OFF"));
    put("Data_ex_method", json!("Ethernet"));
    Value::Object(info)
}
