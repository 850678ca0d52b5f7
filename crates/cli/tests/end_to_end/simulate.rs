//! `elastane simulate`.

use serde_json::Value;

use crate::running::run;

#[test]
fn same_seed_prints_the_same() {
    let arguments = ["simulate", "--seed", "11"];
    let first = run(&arguments);
    assert!(first.success().starts_with("seed 11: "), "{first:?}");
    assert_eq!(run(&arguments).success(), first.stdout);
    assert_ne!(run(&["simulate", "--seed", "12"]).success(), first.stdout);
}

#[test]
fn short_forms_mean_what_they_stand_for() {
    for (short, long) in [
        (&["--incast", "4"][..], &["--topology", "star:5", "--workload", "incast"][..]),
        (&["--all-to-all", "4"], &["--hosts", "4", "--workload", "all-to-all"]),
        (&["--incast", "4", "--size", "4K"], &["--incast", "4", "--bytes", "4096"]),
    ] {
        let [short, long] = [short, long].map(|more| run(&[&["simulate"], more].concat()));
        assert_eq!(short.success(), long.success());
    }
}

#[test]
fn document_is_whole_and_repeats_the_run() {
    let arguments = [
        "simulate",
        "--topology",
        "multipath:4",
        "--workload",
        "stream",
        "--size",
        "1MiB",
        "--messages",
        "3",
        "--loss",
        "1%",
        "--delay",
        "3us",
        "--json",
        "-",
    ];
    let document: Value = serde_json::from_str(run(&arguments).success()).expect("JSON");
    assert_eq!(document["completion"]["messages"], 3);
    assert_eq!(document["violations"], Value::Array(Vec::new()));
    let command = document["command"].as_str().expect("a string");
    let mut again: Vec<_> = command.split_whitespace().skip(1).collect();
    again.extend(["--json", "-"]);
    let again: Value = serde_json::from_str(run(&again).success()).expect("JSON");
    assert_eq!(again, document);
}

#[test]
fn document_goes_to_a_file_beside_the_text() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("incast.json");
    let arguments = ["simulate", "--incast", "8", "--size", "64K", "--json"];
    let finished = run(&[&arguments[..], &[file.to_str().unwrap()]].concat());
    assert!(finished.success().contains("Jain fairness"), "{finished:?}");
    let document: Value =
        serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).expect("JSON");
    let last = document["completion"]["last_s"].as_f64().expect("a number");
    let ideal = document["completion"]["ideal_s"].as_f64().expect("a number");
    assert!(last > 0.0 && ideal > 0.0, "{document:#}");
    let fairness = document["fairness"].as_f64().expect("a number");
    assert!((1.0 / 8.0..=1.0).contains(&fairness), "{fairness}");
}
