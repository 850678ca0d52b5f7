//! The program by perftest's names, read as scripts read perftest.

use std::{fs, path::Path};

use serde_json::Value;

use crate::{
    links::{Links, TOOLS, rows},
    running::run,
};

/// The output with each figure that differs from run to run made a `#`.
fn shape(text: &str) -> String {
    let mut shape = String::new();
    for line in text.lines() {
        let is_row = line.split_whitespace().next().is_some_and(|w| w.parse::<f64>().is_ok());
        let varies = is_row
            || [" local address", " remote address", " GID:", " Mtu "]
                .iter()
                .any(|start| line.starts_with(start));
        let mut digits = false;
        for c in line.chars() {
            let hides = varies && (c.is_ascii_digit() || digits && (c == '.' || c == 'x'))
                || digits && c.is_ascii_hexdigit();
            if !hides {
                shape.push(c);
            } else if !digits {
                shape.push('#');
            }
            digits = hides;
        }
        shape.push('\n');
    }
    shape
}

const LINE: &str =
    "---------------------------------------------------------------------------------------";

#[test]
fn layout_is_perftests_to_the_character() {
    let links = Links::install();
    let (client, server) = links.measure("ib_send_bw -c SRD -s 1024 -n 40");
    let expected = format!(
        "{LINE}\n                    Send BW Test\n \
         Dual-port       : OFF\t\tDevice         : elastane0\n \
         Number of qps   : 1\t\tTransport type : IB\n \
         Connection type : SRD\t\tUsing SRQ      : OFF\n \
         PCIe relax order: OFF\t\tLock-free      : Unsupported\n \
         ibv_wr* API     : OFF\t\tUsing Enhanced Reorder      : OFF\n \
         TX depth        : 128\n CQ Moderation   : 1\n CQE Poll Batch  : Dynamic\n \
         Mtu             : #[B]\n Link type       : Ethernet\n GID index       : 0\n \
         Max inline data : 0[B]\n rdma_cm QPs\t : OFF\n Data ex. method : Ethernet\n{LINE}\n \
         local address: LID # QPN # PSN #\n GID: #:#:#:#:#:#:#:#:#:#:#:#:#:#:#:#\n \
         remote address: LID # QPN # PSN #\n GID: #:#:#:#:#:#:#:#:#:#:#:#:#:#:#:#\n{LINE}\n \
         #bytes     #iterations    BW peak[MiB/sec]    BW average[MiB/sec]   MsgRate[Mpps]\n"
    );
    let shown = shape(client.success());
    assert!(shown.starts_with(&expected), "{shown}\nis not\n{expected}");
    assert!(client.stdout.ends_with(&format!("\n{LINE}\n")), "{client:?}");
    assert_eq!(client.stderr, "");
    let waiting = " WARNING: BW peak won't be measured in this run.\n\n\
                   ************************************\n\
                   * Waiting for client to connect... *\n\
                   ************************************\n";
    assert!(server.success().starts_with(waiting), "{server:?}");
    assert!(server.stdout.contains(" RX depth        : 512\n"), "{server:?}");
}

#[test]
fn all_sizes_are_rows_and_the_json_document_has_them() {
    let links = Links::install();
    let (client, _) = links.measure_with("ib_send_bw -c SRD -a -n 8", "--out_json");
    let found = rows(client.success());
    let sizes: Vec<f64> = found.iter().map(|row| row[0]).collect();
    let wanted: Vec<f64> = (1..=23).map(|power| f64::from(1 << power)).collect();
    assert_eq!(sizes, wanted);
    let text = fs::read_to_string(links.path("perftest_out.json")).expect("it is written");
    let document: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(document["test_info"]["Connection_type"], "SRD");
    let results = document["results"].as_array().expect("one for each size");
    assert_eq!(results.len(), 23);
    assert_eq!(results[9]["BW_average"].as_f64(), Some(found[9][3]));
}

#[test]
fn other_reports_are_perftests() {
    let links = Links::install();
    let (client, _) = links.measure("ib_send_bw -c SRD -s 64 -n 50 --output=message_rate");
    assert!(client.success().trim().parse::<f64>().is_ok_and(|rate| rate > 0.0), "{client:?}");
    let (client, _) = links.measure("ib_send_bw -c SRD -D 1 --report_gbits --cpu_util -N");
    let heading = " #bytes     #iterations    BW peak[Gb/sec]    BW average[Gb/sec]   \
                   MsgRate[Mpps]    CPU_Util[%]\n";
    assert!(client.success().contains(heading), "{client:?}");
    assert_eq!(rows(&client.stdout)[0].len(), 6, "{client:?}");
    let (client, _) = links.measure("ib_send_lat -c SRD -D 1");
    let heading = " #bytes        #iterations       t_avg[usec]    tps average\n";
    assert!(client.success().contains(heading), "{client:?}");
    let (client, _) = links.measure("ib_send_lat -c SRD -n 50 -U");
    assert!(client.success().contains("#, usec\n1, "), "{client:?}");
    let (client, _) = links.measure("ib_send_bw -c SRD -n 50 -w 1000000000");
    assert_eq!(client.status, 1, "{client:?}");
    assert!(client.stderr.contains("BW result is below bw limit"), "{client:?}");
    let (client, _) = links.measure("ib_send_bw --transport tcp -n 50 -b --report-both");
    assert_eq!(rows(client.success()).len(), 3, "{client:?}");
    assert!(client.stdout.contains("Connection type : TCP"), "{client:?}");
}

#[test]
fn atomics_and_reads_are_told_by_the_client_alone() {
    let links = Links::install();
    let (client, server) = links.measure("ib_atomic_lat -c SRD -n 50 -A CMP_AND_SWAP");
    assert_eq!(rows(client.success())[0][..2], [8.0, 50.0]);
    assert!(client.stdout.contains("Atomic CMP_AND_SWAP Latency Test"), "{client:?}");
    assert_eq!(rows(server.success()), [[0.0; 0]; 0], "{server:?}");
    let (client, server) = links.measure("ib_read_bw -c SRD -n 50 --data_validation");
    assert!(client.success().contains(" OUT 0000 RKey 0x"), "{client:?}");
    assert_eq!(rows(&client.stdout), rows(server.success()), "the client's figures");
}

#[test]
fn what_cannot_be_done_is_one_line_and_status_one() {
    let links = Links::install();
    for (line, names) in [
        ("ib_send_bw -c RC", "give -c SRD"),
        ("ib_send_bw --use_cuda=0", "--use_cuda: needs memory of an accelerator"),
        ("ib_send_bw --bogus", "unrecognized option '--bogus'; see `ib_send_bw --help`"),
        ("ib_send_lat -q 2", "bw tests"),
        ("ib_send_bw -c SRD -p 1 127.0.0.1", "nothing listens on 127.0.0.1:1"),
    ] {
        let finished = links.run(line);
        assert_eq!((finished.status, finished.stdout.as_str()), (1, ""), "{finished:?}");
        let last = finished.stderr.lines().last().expect("an error");
        assert!(last.contains(names), "{finished:?}");
    }
    for tool in TOOLS {
        let help = links.run(&format!("{tool} -h"));
        assert!(help.status == 1 && help.stdout.contains("start a server"), "{help:?}");
        let version = links.run(&format!("{tool} -V"));
        assert!(version.status == 1 && version.stdout.starts_with("Version: 6."), "{version:?}");
    }
}

#[test]
fn links_are_made_once_and_nothing_else_is_touched() {
    let links = Links::install();
    let folder = links.folder().to_str().expect("a plain name").to_owned();
    let again = run(&["install-links", &folder]);
    assert_eq!(again.success().matches(": is there").count(), TOOLS.len() + 1, "{again:?}");
    let (link, moved) = (links.path("ib_read_bw"), links.path("elsewhere"));
    fs::remove_file(&link).expect("it is there");
    std::os::unix::fs::symlink("/nowhere/elastane", &link).expect("a link");
    let led = run(&["install-links", &folder]);
    assert!(led.success().contains("led to another elastane"), "{led:?}");
    fs::rename(&link, &moved).expect("it moves");
    fs::write(&link, "perftest's own").expect("it is written");
    fs::remove_file(links.path("ib_atomic_lat")).expect("it is there");
    let refused = run(&["install-links", &folder]);
    assert!(refused.error().contains("ib_read_bw is there and is not a link"), "{refused:?}");
    assert!(!Path::exists(&links.path("ib_atomic_lat")), "no link is made");
    assert_eq!(fs::read_to_string(&link).expect("it is there"), "perftest's own");
    let missing = run(&["install-links", &format!("{folder}/missing")]);
    assert!(missing.error().contains("make it first"), "{missing:?}");
}
