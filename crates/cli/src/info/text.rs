//! The document as text.

use inspect::host::{self, CmaOutlook, Host, Interface};
use perf::{table::Style, units};

use super::{
    advice::Warning,
    document::{Cma, Device, EndpointType, Info, SharedMemory, Transport, Udp},
};

pub(super) fn render(info: &Info, style: Style) -> String {
    let mut page = Page { text: String::new(), style };
    page.pairs("", &host_pairs(info));
    page.columns("devices", &device_rows(info));
    page.columns("endpoint types", &type_rows(&info.endpoint_types));
    for transport in &info.transports {
        match transport {
            Transport::Udp(udp) => page.pairs("transport udp", &udp_pairs(udp, info)),
            Transport::SharedMemory(shared) => {
                page.pairs("transport shared-memory", &shared_pairs(shared));
            }
            Transport::Cma(cma) => page.pairs("transport cma", &cma_pairs(cma, &info.host.cma)),
        }
    }
    page.pairs("memory", &memory_pairs(&info.host));
    page.warnings(&info.warnings);
    page.text
}

type Pair = (&'static str, String);

fn host_pairs(info: &Info) -> Vec<Pair> {
    let cpu = &info.host.cpu;
    let mut cpus = format!("{} usable of {} online", cpu.allowed, cpu.online);
    if let Some(nodes) = cpu.numa_nodes {
        cpus += &format!(", {nodes} NUMA node{}", if nodes == 1 { "" } else { "s" });
    }
    if let Some(clock) = &cpu.clock_source {
        cpus += &format!(", clock {clock}");
    }
    vec![
        ("host", info.host.name.clone()),
        ("kernel", format!("Linux {}", info.host.kernel)),
        ("elastane", info.elastane.to_owned()),
        ("cpu", cpu.model.clone()),
        ("cpus", cpus),
    ]
}

fn device_rows(info: &Info) -> Vec<Vec<String>> {
    let heading = ["interface", "address", "mtu", "speed", "driver", "state", "datagram"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for interface in &info.host.interfaces {
        let of_it = |device: &&Device| device.interface == interface.name;
        let devices: Vec<_> = info.devices.iter().filter(of_it).collect();
        if devices.is_empty() {
            let addresses = interface.addresses.iter().map(ToString::to_string);
            rows.extend(addresses.map(|address| row(interface, address, "down", None)));
        }
        for device in devices {
            let state = if device.error.is_some() { "refused" } else { "up" };
            let datagram = device.limits.map(|limits| limits.datagram_message_bytes);
            rows.push(row(interface, device.address.to_string(), state, datagram));
        }
    }
    rows
}

fn row(
    interface: &Interface,
    address: String,
    state: &str,
    datagram: Option<usize>,
) -> Vec<String> {
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let speed = interface.speed_mbps.map(|mbps| match mbps {
        whole if whole >= 1000 && whole % 1000 == 0 => format!("{} Gb/s", whole / 1000),
        other => format!("{other} Mb/s"),
    });
    vec![
        interface.name.clone(),
        address,
        or_dash(interface.mtu.map(|mtu| mtu.to_string())),
        or_dash(speed),
        or_dash(interface.driver.clone()),
        state.to_owned(),
        or_dash(datagram.map(|bytes| format!("{bytes} B"))),
    ]
}

fn type_rows(types: &[EndpointType]) -> Vec<Vec<String>> {
    let heading = ["type", "libfabric", "message", "tx depth", "rx depth", "inject", "order"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for kind in types {
        let message = kind.max_message_bytes.map_or("any".to_owned(), |bytes| format!("{bytes} B"));
        rows.push(vec![
            kind.name.to_owned(),
            kind.libfabric.to_owned(),
            message,
            kind.tx_depth.to_string(),
            kind.rx_depth.to_string(),
            kind.inject_bytes.map_or("any".to_owned(), |bytes| format!("{bytes} B")),
            if kind.ordered { "per sender" } else { "none" }.to_owned(),
        ]);
    }
    rows
}

fn udp_pairs(transport: &Udp, info: &Info) -> Vec<Pair> {
    let segments = |count: usize, of: &str| match count {
        1 => "off".to_owned(),
        count => format!("{count} datagrams {of}"),
    };
    let limits = info.devices.iter().find_map(|device| device.limits);
    let receive = limits.map_or("-".to_owned(), |limits| {
        granted(Some(limits.receive_buffer), limits.receive_buffer_asked)
    });
    let buffers = &info.host.buffers;
    let maximum = |bytes: Option<u64>| bytes.map_or("unknown".to_owned(), units::size);
    vec![
        ("peers", transport.peers.to_owned()),
        ("GSO", segments(transport.gso_segments, "to a train, as the kernel takes them")),
        ("GRO", segments(transport.gro_segments, "arrived as one train of as many sent")),
        ("batches", format!("{} datagrams to a system call", transport.batch_datagrams)),
        ("paths", format!("{} source ports to a peer by default", transport.paths)),
        ("receive buffer", receive),
        ("send buffer", granted(transport.send_buffer, transport.send_buffer_asked)),
        ("rmem_max", maximum(buffers.rmem_max)),
        ("wmem_max", maximum(buffers.wmem_max)),
        ("beyond these", if buffers.may_exceed { "yes: CAP_NET_ADMIN" } else { "no" }.to_owned()),
    ]
}

fn granted(got: Option<usize>, asked: usize) -> String {
    let size = |bytes: usize| units::size(bytes as u64);
    match got {
        None => "unknown".to_owned(),
        Some(got) if got >= asked => format!("{}, as asked", size(got)),
        Some(got) => format!("{} of {} asked", size(got), size(asked)),
    }
}

fn shared_pairs(shared: &SharedMemory) -> Vec<Pair> {
    let size = |bytes: usize| units::size(bytes as u64);
    let works = match &shared.why_not {
        None => "yes: two endpoints opened here share memory".to_owned(),
        Some(why) => format!("no: {why}"),
    };
    let room = shared.room_for_links.map_or("none".to_owned(), |links| format!("{links} links"));
    vec![
        ("peers", shared.peers.to_owned()),
        ("works", works),
        ("a link takes", format!("{} KiB of /dev/shm", shared.link_bytes.div_ceil(1024))),
        ("room", format!("{room} fit into what is free of /dev/shm")),
        ("links", format!("{} to an endpoint at most; further peers by UDP", shared.max_links)),
        ("record", format!("{} at most; longer messages are a row", size(shared.record_bytes))),
        ("chosen", "peer by peer, with its first message; RdmEndpoint::route tells".to_owned()),
    ]
}

fn cma_pairs(cma: &Cma, settings: &host::Cma) -> Vec<Pair> {
    let outlook = match cma.outlook {
        CmaOutlook::SameUser => "may be used between processes of one user",
        CmaOutlook::Descendants => "may be used towards descendants, or who allows it",
        CmaOutlook::Privileged => "only with CAP_SYS_PTRACE",
        CmaOutlook::Forbidden => "forbidden until the next boot",
    };
    let works = match &cma.why_not {
        None => format!("yes: a copy was made; {outlook}"),
        Some(why) => format!("no: {why}"),
    };
    let scope = settings.ptrace_scope.map_or("no Yama".to_owned(), |scope| scope.to_string());
    let yes = |is_so: bool| if is_so { "yes" } else { "no" }.to_owned();
    vec![
        ("peers", cma.peers.to_owned()),
        ("works", works),
        ("ptrace_scope", scope),
        ("CAP_SYS_PTRACE", yes(settings.may_ptrace)),
        ("user namespace", yes(settings.in_user_namespace)),
        ("seccomp filter", yes(settings.seccomp_filter)),
    ]
}

fn memory_pairs(host: &Host) -> Vec<Pair> {
    let memory = &host.memory;
    let huge = memory.huge_pages.iter().map(|pool| {
        format!("{} free of {} of {}", pool.free, pool.total, units::size(pool.page_bytes))
    });
    let huge: Vec<_> = huge.collect();
    let shm = memory.shm.map_or("not usable".to_owned(), |shm| {
        format!("{} free of {}", rounded(shm.free), rounded(shm.total))
    });
    vec![
        ("main memory", memory.total.map_or("unknown".to_owned(), rounded)),
        ("lockable", memory.lockable.map_or("unlimited".to_owned(), units::size)),
        ("huge pages", if huge.is_empty() { "none".to_owned() } else { huge.join(", ") }),
        ("transparent", memory.transparent_huge_pages.clone().unwrap_or("unknown".to_owned())),
        ("/dev/shm", shm),
    ]
}

/// Bytes to the MiB, where single bytes say nothing.
fn rounded(bytes: u64) -> String {
    units::size(bytes >> 20 << 20)
}

struct Page {
    text: String,
    style: Style,
}

impl Page {
    fn title(&mut self, title: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        if !title.is_empty() {
            let title = self.painted(title, "1");
            self.line(&title);
        }
    }

    fn pairs(&mut self, title: &str, pairs: &[Pair]) {
        self.title(title);
        let indent = if title.is_empty() { "" } else { "  " };
        for (name, value) in pairs {
            self.line(&format!("{indent}{name:<16}{value}"));
        }
    }

    /// Rows of which the first is the heading.
    fn columns(&mut self, title: &str, rows: &[Vec<String>]) {
        self.title(title);
        let count = rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |at: usize| {
            rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max()
        };
        let widths: Vec<_> = (0..count).map(|at| width(at).unwrap_or(0)).collect();
        for row in rows {
            let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}"));
            let line = format!("  {}", cells.collect::<Vec<_>>().join("  "));
            self.line(line.trim_end());
        }
    }

    fn warnings(&mut self, warnings: &[Warning]) {
        self.title("to change");
        if warnings.is_empty() {
            self.line("  nothing");
        }
        for Warning { id, what, why, fix } in warnings {
            let head = self.painted(&format!("{id}: {what}"), "33");
            self.line(&format!("  {head}"));
            self.line(&format!("    why  {why}"));
            self.line(&format!("    fix  {fix}"));
        }
    }

    fn painted(&self, text: &str, code: &str) -> String {
        if self.style.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_has_every_section_and_no_escapes_without_colour() {
        let info = Info::gather();
        let page = render(&info, Style { width: 80, colour: false });
        for section in [
            "devices",
            "endpoint types",
            "transport udp",
            "transport shared-memory",
            "transport cma",
            "memory",
            "to change",
        ] {
            assert!(page.lines().any(|line| line == section), "{section} is not in\n{page}");
        }
        assert!(page.contains("127.0.0.1"), "{page}");
        assert!(!page.contains('\u{1b}'), "{page}");
        assert!(render(&info, Style { width: 80, colour: true }).contains('\u{1b}'));
    }

    #[test]
    fn less_than_asked_shows_both() {
        assert_eq!(granted(Some(212_992), 8 << 20), "208 KiB of 8 MiB asked");
        assert_eq!(granted(Some(8 << 20), 8 << 20), "8 MiB, as asked");
        assert_eq!(granted(None, 1), "unknown");
    }
}
