//! What does not go together, and what is otherwise than a command line might let one think.

use perf::bench::{Goal, Verb, Wire};

use super::{Tool, options::Output, reading::Read};

impl Read {
    /// What does not go together.
    pub(super) fn check(&self, verb: Verb, goal: Goal) -> Result<(), String> {
        if goal == Goal::Latency {
            if self.endpoints.is_some_and(|count| count > 1) {
                return Err("-q: multiple QPs only available on bw tests".to_owned());
            }
            for (set, name) in [
                (self.bidirectional, "-b"),
                (self.post_list.is_some(), "-l"),
                (self.least_bandwidth.is_some(), "-w"),
                (self.least_rate.is_some(), "-y"),
                (self.gbits, "--report_gbits"),
            ] {
                if set {
                    return Err(format!("{name} is of the bandwidth tests; leave it out"));
                }
            }
            for (set, name) in [
                (self.endless, "--run_infinitely"),
                (self.rate.is_some(), "--rate_limit"),
                (self.burst.is_some(), "--burst_size"),
            ] {
                if set {
                    return Err(format!("{name} is of the bandwidth tests; leave it out"));
                }
            }
        } else if self.histogram || self.unsorted {
            return Err("-H and -U are of the latency tests; leave them out".to_owned());
        } else if self.cycles {
            return Err("-C is of the latency tests; leave it out".to_owned());
        } else if self.gap.is_some() {
            return Err("--latency_gap is of the latency tests; leave it out".to_owned());
        }
        self.check_wire(verb)?;
        self.check_rate()?;
        if verb == Verb::Atomic && (self.all || self.sizes.is_some_and(|size| size != 8)) {
            return Err("an atomic has 8 bytes; leave out -s and -a".to_owned());
        }
        if self.endless && (self.all || self.iterations.is_some() || self.margin.is_some()) {
            return Err("--run_infinitely goes with -s and -D; leave out -a, -n and -f".to_owned());
        }
        if self.all && self.duration.is_some() {
            return Err("-a does not go with -D; give -n, or a size with -s".to_owned());
        }
        if self.iterations.is_some() && self.duration.is_some() {
            return Err("-n does not go with -D; give one of them".to_owned());
        }
        if self.events && self.endpoints.is_some_and(|count| count > 1) {
            return Err("-e: a side sleeps on one QP only; leave out -e or -q".to_owned());
        }
        match (goal, self.output) {
            (Goal::Latency, Some(Output::Bandwidth | Output::MessageRate)) => {
                Err("--output: a latency test has latency".to_owned())
            }
            (Goal::Bandwidth, Some(Output::Latency)) => {
                Err("--output: a bandwidth test has bandwidth and message_rate".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn check_wire(&self, verb: Verb) -> Result<(), String> {
        let is_datagram = self.connection == Some(Wire::Datagram);
        if is_datagram && self.tcp {
            return Err("-c UD does not go with --transport tcp; leave out one".to_owned());
        }
        if is_datagram && verb != Verb::Send {
            return Err(
                "-c UD: datagrams have sends only; take ib_send_bw or ib_send_lat, or give \
                        -c SRD"
                    .to_owned(),
            );
        }
        if is_datagram && self.events {
            return Err("-e: datagrams are polled for; leave it out, or give -c SRD".to_owned());
        }
        if self.remote_data {
            let cannot = match verb {
                Verb::Send if is_datagram => Some("a datagram carries no more than its bytes"),
                Verb::Send | Verb::Write => self.tcp.then_some("TCP carries bytes only"),
                Verb::Read | Verb::Atomic => Some("it is of sends and writes"),
            };
            if let Some(why) = cannot {
                return Err(format!("--send_with_imm, --write_with_imm: {why}; leave it out"));
            }
        }
        Ok(())
    }

    fn check_rate(&self) -> Result<(), String> {
        match (self.rate, self.rate_type) {
            (Some(rate), _) if rate <= 0.0 => {
                Err("--rate_limit 0 lets nothing pass; give for example 1".to_owned())
            }
            (_, Some(kind @ ("HW" | "PP"))) => {
                Err(format!("--rate_limit_type {kind}: there is no adapter that limits; give SW"))
            }
            (None, _) if self.burst.is_some() || self.rate_units.is_some() => {
                Err("--burst_size and --rate_units go with --rate_limit; give it too".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// What perftest with an EFA device, and its own `-c SRD`, would not do either.
    pub(super) fn check_strictly(&self) -> Result<(), String> {
        if !self.strict {
            return Ok(());
        }
        if self.transport || self.own_cpu.is_some() {
            return Err(
                "--strict: perftest has no --transport and no --on_cpu; leave it out".to_owned()
            );
        }
        if self.connection.is_none() {
            return Err(
                "--strict: Unable to create QP. RC is not available; give -c SRD".to_owned()
            );
        }
        if self.rdma_cm {
            return Err("--strict: SRD does not support RDMA_CM; leave out -R".to_owned());
        }
        if self.tos.is_some() {
            return Err(
                "--strict: TOS only valid for rdma_cm based QP and RawEth QP; leave out -T"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// What is otherwise than the command line might let one think.
    pub(super) fn notes(&self, tool: Tool, is_client: bool) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(device) = &self.device {
            notes.push(format!(
                "-d {device}: not looked for; messages go through the software device elastane0, \
                 over the route to the other host"
            ));
        }
        if self.gid.is_some() {
            notes.push("-x 0: GID index 0, the only one of this device; not RDMA CM".to_owned());
        }
        if self.rdma_cm {
            notes.push(
                "-R: SRD has no rdma_cm, connecting over TCP; for Gb/s give --report_gbits"
                    .to_owned(),
            );
        }
        if let Some(tos) = self.tos {
            notes.push(format!(
                "-T {tos}: a type of service, not TCP, and not set; to measure TCP give \
                 --transport tcp"
            ));
        }
        if let Some(mtu) = self.mtu {
            notes.push(format!("-m {mtu}: not set; the MTU is that of the route"));
        }
        if self.connection.is_none() && !self.tcp {
            notes.push("no -c: RC is not available on this device, using SRD".to_owned());
        }
        if self.cpu {
            notes.push(
                "--cpu_util: user and system time of this process, in percent of one CPU; not the \
                 whole machine's"
                    .to_owned(),
            );
        }
        if self.rate.is_some() && self.rate_type.is_none() {
            notes.push("--rate_limit: by this program (--rate_limit_type SW)".to_owned());
        }
        if self.gap.is_some_and(|gap| gap > 0) && !is_client {
            notes.push(
                "--latency_gap: not in the client's figures, which are shown there".to_owned(),
            );
        }
        if self.listen.is_some() && is_client {
            notes.push("--bind_source_ip: not set on a client; the route decides".to_owned());
        }
        if self.warm_up && tool.goal == Goal::Bandwidth {
            notes.push("--perform_warm_up: only in latency tests".to_owned());
        }
        notes
    }
}
