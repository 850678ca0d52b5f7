//! `elastane info`.

use serde_json::Value;

use crate::running::{Running, elastane, run};

#[test]
fn document_is_whole_and_agrees_with_the_kernel() {
    let document: Value = serde_json::from_str(run(&["info", "--json"]).success()).expect("JSON");
    assert_eq!(document["format"], "elastane-info");
    assert_eq!(document["version"], 2);
    let read = |path: &str| std::fs::read_to_string(path).unwrap().trim().to_owned();
    assert_eq!(document["host"]["kernel"], read("/proc/sys/kernel/osrelease"));
    let limit = document["host"]["buffers"]["rmem_max"].as_u64();
    assert_eq!(limit.map(|limit| limit.to_string()), Some(read("/proc/sys/net/core/rmem_max")));

    let devices = document["devices"].as_array().expect("a list");
    let loopback = devices.iter().find(|device| device["address"] == "127.0.0.1").unwrap();
    assert_eq!(loopback["error"], Value::Null);
    assert!(loopback["limits"]["receive_buffer"].as_u64() > Some(0), "{loopback}");
    let types = document["endpoint_types"].as_array().expect("a list");
    let names: Vec<_> = types.iter().map(|kind| kind["libfabric"].as_str().unwrap()).collect();
    assert!(names.contains(&"FI_EP_RDM") && names.contains(&"FI_EP_DGRAM"), "{names:?}");
    let names: Vec<_> = (0..3).map(|at| document["transports"][at]["name"].clone()).collect();
    assert_eq!(names, ["udp", "shared-memory", "cma"]);
    assert_eq!(document["transports"][1]["works"], true, "{document}");
    for warning in document["warnings"].as_array().expect("a list") {
        for field in ["id", "what", "why", "fix"] {
            assert!(warning[field].as_str().is_some_and(|text| !text.is_empty()), "{warning}");
        }
    }
}

#[test]
fn text_for_a_pipe_has_no_escapes_and_colours_are_forced_or_forbidden() {
    let text = run(&["info"]);
    assert!(text.success().contains("\ntransport udp\n"), "{text:?}");
    assert!(!text.stdout.contains('\u{1b}'), "{text:?}");
    assert_eq!(text.stderr, "");
    assert!(run(&["info", "--color", "always"]).success().contains('\u{1b}'));
    let mut forbidden = elastane(&["info"]);
    forbidden.env("NO_COLOR", "1");
    assert!(!Running::start(forbidden).finish().success().contains('\u{1b}'));
}
