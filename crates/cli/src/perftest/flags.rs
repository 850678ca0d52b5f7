//! perftest's options, as `getopt_long` reads them.

/// What becomes of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Treatment {
    /// It is done.
    Do,
    /// It changes nothing here, and needs no word.
    Pass,
    /// It cannot be done; why, and what to do instead.
    Refuse(&'static str),
}

use Treatment::{Do, Pass, Refuse};

/// An option.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flag {
    /// Its long name.
    pub long: &'static str,
    /// Its letter; a space if it has none.
    pub short: char,
    /// Whether a value follows.
    pub takes: bool,
    /// What becomes of it.
    pub treatment: Treatment,
}

const fn flag(long: &'static str, short: char, takes: bool, treatment: Treatment) -> Flag {
    Flag { long, short, takes, treatment }
}

const RAW: Treatment =
    Refuse("belongs to the raw Ethernet tests, which there are none of; leave it out");
const GPU: Treatment = Refuse("needs memory of an accelerator; leave it out to use host memory");
const MULTICAST: Treatment =
    Refuse("multicast is not there: messages go to one peer; leave it out");
const CRYPTO: Treatment = Refuse("the adapter's encryption is not there; leave it out");
const DC: Treatment = Refuse("is of DC; this is SRD: leave it out");
const MAPPED: Treatment = Refuse("memory is the process's own; leave it out");

/// All of perftest 6.29's, those of 4.5 that it renamed, and three of this program, none of which
/// is what an abbreviation of perftest's is: `--transport`, `--on_cpu` and `--strict`.
pub(super) const FLAGS: &[Flag] = &[
    flag("port", 'p', true, Do),
    flag("ib-dev", 'd', true, Do),
    flag("ib-port", 'i', true, Do),
    flag("mtu", 'm', true, Do),
    flag("size", 's', true, Do),
    flag("iters", 'n', true, Do),
    flag("tx-depth", 't', true, Do),
    flag("qp-timeout", 'u', true, Pass),
    flag("sl", 'S', true, Do),
    flag("gid-index", 'x', true, Do),
    flag("all", 'a', false, Do),
    flag("CPU-freq", 'F', false, Pass),
    flag("connection", 'c', true, Do),
    flag("qp", 'q', true, Do),
    flag("events", 'e', false, Do),
    flag("vector", 'X', true, Pass),
    flag("inline_size", 'I', true, Pass),
    flag("outs", 'o', true, Pass),
    flag("mcg", 'g', false, MULTICAST),
    flag("MGID", 'M', true, MULTICAST),
    flag("comm_rdma_cm", 'z', false, Do),
    flag("rdma_cm", 'R', false, Do),
    flag("tos", 'T', true, Do),
    flag("hop_limit", 'L', true, Pass),
    flag("help", 'h', false, Do),
    flag("rx-depth", 'r', true, Do),
    flag("bidirectional", 'b', false, Do),
    flag("cq-mod", 'Q', true, Pass),
    flag("noPeak", 'N', false, Do),
    flag("version", 'V', false, Do),
    flag("report-cycles", 'C', false, Do),
    flag("report-histogrm", 'H', false, Do),
    flag("report-unsorted", 'U', false, Do),
    flag("atomic_type", 'A', true, Do),
    flag("dualport", 'O', false, Refuse("there are no ports to pair; the fabric uses every path")),
    flag("post_list", 'l', true, Do),
    flag("recv_post_list", ' ', true, Pass),
    flag("inline_recv", ' ', true, Pass),
    flag("duration", 'D', true, Do),
    flag("margin", 'f', true, Do),
    flag("limit_bw", 'w', true, Do),
    flag("limit_msgrate", 'y', true, Do),
    flag("report-counters", 'W', true, Refuse("reads an RDMA device's counters; leave it out")),
    flag("source_mac", 'B', true, RAW),
    flag("dest_mac", 'E', true, RAW),
    flag("dest_ip", 'J', true, RAW),
    flag("dest_port", 'K', true, RAW),
    flag("source_port", 'k', true, RAW),
    flag("ethertype", 'Y', true, RAW),
    flag("server", 'Z', false, RAW),
    flag("client", 'P', false, RAW),
    flag("mac_fwd", 'v', false, RAW),
    flag("use_rss", 'G', false, RAW),
    flag("tcp", ' ', false, Refuse("is of the raw Ethernet tests; for TCP use --transport tcp")),
    flag("promiscuous", ' ', false, RAW),
    flag("raw_ipv6", ' ', false, RAW),
    flag("raw_mcast", ' ', false, RAW),
    flag("flows", ' ', true, RAW),
    flag("flows_burst", ' ', true, RAW),
    flag("reply_every", ' ', true, RAW),
    flag("vlan_en", ' ', false, RAW),
    flag("vlan_pcp", ' ', true, RAW),
    flag("source_ip", 'j', true, Do),
    flag("bind_source_ip", ' ', true, Do),
    flag("transport", ' ', true, Do),
    flag("on_cpu", ' ', true, Do),
    flag("strict", ' ', false, Do),
    flag("report_gbits", ' ', false, Do),
    flag("report-both", ' ', false, Do),
    flag("reversed", ' ', false, Do),
    flag("output", ' ', true, Do),
    flag("cpu_util", ' ', false, Do),
    flag("out_json", ' ', false, Do),
    flag("out_json_file", ' ', true, Do),
    flag("data_validation", ' ', false, Do),
    flag("ipv6", ' ', false, Do),
    flag("ipv6-addr", ' ', false, Do),
    flag("perform_warm_up", ' ', false, Do),
    flag("run_infinitely", ' ', false, Do),
    flag("report-per-port", ' ', false, Refuse("there is one port; leave it out")),
    flag("latency_gap", ' ', true, Do),
    flag("rate_limit", ' ', true, Do),
    flag("rate_limit_type", ' ', true, Do),
    flag("rate_units", ' ', true, Do),
    flag("burst_size", ' ', true, Do),
    flag("typical_pkt_size", ' ', true, Refuse("is of an adapter's own limiter; leave it out")),
    flag("use-srq", ' ', false, Refuse("SRD has no shared receive queue; leave it out")),
    flag("dlid", ' ', true, Refuse("there are no LIDs on this network; leave it out")),
    flag("flow_label", ' ', true, Refuse("the fabric chooses its paths itself; leave it out")),
    flag("tclass", ' ', true, Refuse("traffic classes are not set; leave it out")),
    flag("write_with_imm", ' ', false, Do),
    flag("send_with_imm", ' ', false, Do),
    flag("connectionless", ' ', false, Refuse("the two sides have to meet; leave it out")),
    flag("use-null-mr", ' ', false, MAPPED),
    flag("odp", ' ', false, MAPPED),
    flag("mmap", ' ', true, MAPPED),
    flag("mmap-offset", ' ', true, MAPPED),
    flag("payload_file_path", ' ', true, MAPPED),
    flag("use_cuda", ' ', true, GPU),
    flag("use_cuda_bus_id", ' ', true, GPU),
    flag("use_cuda_dmabuf", ' ', false, GPU),
    flag("use_rocm", ' ', true, GPU),
    flag("use_neuron", ' ', true, GPU),
    flag("use_hl", ' ', true, GPU),
    flag("use_mlu", ' ', true, GPU),
    flag("use_opencl", ' ', true, GPU),
    flag("gpu_touch", ' ', true, GPU),
    flag("aes_xts", ' ', false, CRYPTO),
    flag("encrypt_on_tx", ' ', false, CRYPTO),
    flag("sig_before", ' ', false, CRYPTO),
    flag("aes_block_size", ' ', true, CRYPTO),
    flag("data_enc_keys_number", ' ', true, CRYPTO),
    flag("kek_path", ' ', true, CRYPTO),
    flag("credentials_path", ' ', true, CRYPTO),
    flag("data_enc_key_app_path", ' ', true, CRYPTO),
    flag("log_dci_streams", ' ', true, DC),
    flag("log_active_dci_streams", ' ', true, DC),
    flag("retry_count", ' ', true, Pass),
    flag("dont_xchg_versions", ' ', false, Pass),
    flag("no_lock", ' ', false, Pass),
    flag("pkey_index", ' ', true, Pass),
    flag("use_hugepages", ' ', false, Pass),
    flag("use_old_post_send", ' ', false, Pass),
    flag("disable_pcie_relaxed", ' ', false, Pass),
    flag("mr_per_qp", ' ', false, Pass),
    flag("wait_destroy", ' ', true, Pass),
    flag("force-link", ' ', true, Pass),
    flag("disable_dynamic_polling", ' ', false, Pass),
    flag("cqe_poll", ' ', true, Pass),
    flag("unsolicited_write", ' ', false, Pass),
    flag("numa_node", ' ', true, Pass),
    flag("disable_numa", ' ', false, Pass),
    flag("pin_cores", ' ', true, Pass),
];

/// What perftest's own help calls some of them, and what perftest takes.
const MISSPELT: &[(&str, &str)] =
    &[("com_rdma_cm", "comm_rdma_cm"), ("report-histogram", "report-histogrm")];

/// An option as it was given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given<'a> {
    /// Which.
    pub flag: &'static Flag,
    /// Its value, if it takes one.
    pub value: &'a str,
}

impl Given<'_> {
    /// The option as people write it.
    pub(super) fn name(&self) -> String {
        match self.flag.short {
            ' ' => format!("--{}", self.flag.long),
            short => format!("-{short}"),
        }
    }
}

/// Splits a command line into options and what is none, in any order.
pub(super) fn split(arguments: &[String]) -> Result<(Vec<Given<'_>>, Vec<&str>), String> {
    let (mut options, mut others) = (Vec::new(), Vec::new());
    let mut rest = arguments.iter().map(String::as_str);
    while let Some(argument) = rest.next() {
        if argument == "--" {
            others.extend(rest);
            break;
        }
        if let Some(long) = argument.strip_prefix("--") {
            options.push(read_long(long, &mut rest)?);
        } else if argument.len() > 1 && argument.starts_with('-') {
            read_short(&argument[1..], &mut rest, &mut options)?;
        } else {
            others.push(argument);
        }
    }
    Ok((options, others))
}

fn read_long<'a>(
    text: &'a str,
    rest: &mut impl Iterator<Item = &'a str>,
) -> Result<Given<'a>, String> {
    let (name, value) = text.split_once('=').map_or((text, None), |(n, v)| (n, Some(v)));
    let name = MISSPELT.iter().find(|(said, _)| *said == name).map_or(name, |(_, meant)| meant);
    let exact = FLAGS.iter().find(|flag| flag.long == name);
    let mut similar = FLAGS.iter().filter(|flag| flag.long.starts_with(name));
    let flag = match (exact, similar.next(), similar.next()) {
        (Some(flag), ..) | (None, Some(flag), None) => flag,
        (None, Some(_), Some(_)) => return Err(format!("option '--{name}' is ambiguous")),
        (None, None, _) => return Err(format!("unrecognized option '--{name}'")),
    };
    let value = match (flag.takes, value) {
        (true, Some(value)) => value,
        (true, None) => {
            rest.next().ok_or_else(|| format!("option '--{}' requires an argument", flag.long))?
        }
        (false, None) => "",
        (false, Some(_)) => {
            return Err(format!("option '--{}' doesn't allow an argument", flag.long));
        }
    };
    Ok(Given { flag, value })
}

/// Reads letters that share a dash: the last may take what follows as its value.
fn read_short<'a>(
    mut letters: &'a str,
    rest: &mut impl Iterator<Item = &'a str>,
    options: &mut Vec<Given<'a>>,
) -> Result<(), String> {
    while let Some(letter) = letters.chars().next() {
        let flag = FLAGS.iter().find(|flag| flag.short == letter && letter != ' ');
        let flag = flag.ok_or_else(|| format!("invalid option -- '{letter}'"))?;
        letters = &letters[letter.len_utf8()..];
        if !flag.takes {
            options.push(Given { flag, value: "" });
            continue;
        }
        let value = match letters {
            "" => rest.next(),
            attached => Some(attached),
        };
        let value = value.ok_or_else(|| format!("option requires an argument -- '{letter}'"))?;
        options.push(Given { flag, value });
        break;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<String, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let (options, others) = split(&words)?;
        let options = options.iter().map(|given| format!("{}={}", given.flag.long, given.value));
        let words: Vec<String> = options.chain(others.iter().map(|o| (*o).to_owned())).collect();
        Ok(words.join(" "))
    }

    #[test]
    fn line_is_split_as_getopt_long_does() {
        for (line, wanted) in [
            ("-d rdmap47s0 -x 0 -F -R h", "ib-dev=rdmap47s0 gid-index=0 CPU-freq= rdma_cm= h"),
            ("h -s64 -aF", "size=64 all= CPU-freq= h"),
            ("-aFs 64", "all= CPU-freq= size=64"),
            ("--size=64 --iters 5 --report_g", "size=64 iters=5 report_gbits="),
            ("-n -5 -- -x", "iters=-5 -x"),
            ("--cpu --com --lat 5", "cpu_util= comm_rdma_cm= latency_gap=5"),
            ("--com_rdma_cm --report-histogram", "comm_rdma_cm= report-histogrm="),
        ] {
            assert_eq!(read(line).as_deref(), Ok(wanted), "{line}");
        }
    }

    #[test]
    fn what_is_no_option_is_named() {
        for (line, names) in [
            ("-j", "requires an argument -- 'j'"),
            ("--size", "'--size' requires an argument"),
            ("--sizes 3", "unrecognized option '--sizes'"),
            ("--use", "'--use' is ambiguous"),
            ("--all=3", "doesn't allow an argument"),
            ("-_", "invalid option -- '_'"),
        ] {
            let error = read(line).expect_err(line);
            assert!(error.contains(names), "{line}: {error}");
        }
    }

    #[test]
    fn no_name_and_no_letter_is_there_twice() {
        for (at, flag) in FLAGS.iter().enumerate() {
            for other in &FLAGS[at + 1..] {
                assert_ne!(flag.long, other.long);
                assert!(flag.short == ' ' || flag.short != other.short, "{}", flag.long);
            }
        }
    }
}
