//! Between two hosts made on this machine for it.

use std::{
    io::BufRead as _,
    net::{IpAddr, SocketAddr},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, anyhow, bail};
use hosts::{Flat, HostsError, Loss, Multipath, Rate, Segmentation};
use perf::{
    Fault, FaultControl, Job, Network, Plan, Section, SectionReport,
    plan::{Condition, PATHS},
    relay,
    run::FaultError,
};
use serde::Deserialize;

use super::{Measured, loopback};
use crate::{
    interrupt::Interrupts,
    progress::Progress,
    worker::{THIS_PROGRAM, Worker},
};

pub(super) fn measure(
    plan: &Plan,
    mtu: u32,
    interrupts: &Interrupts,
    progress: &mut Progress,
) -> Result<Measured> {
    let _hold = interrupts.hold();
    let mut measured = Measured::default();
    let mut skips_loss = false;
    for (number, section) in plan.sections.iter().enumerate() {
        let name = section.network.name();
        if skips_loss && loses(section) {
            continue;
        }
        progress.part(name, number + 1, plan.sections.len());
        if section.network == Network::OneHost {
            measured.sections.push(loopback::measure_section(section, interrupts, progress)?);
            continue;
        }
        let network = make(section.network, mtu)
            .with_context(|| format!("cannot make the hosts of {name}"))?;
        if loses(section)
            && let Err(why) = prepare_loss(&network, progress)
        {
            if plan.sections.iter().all(loses) {
                return Err(why);
            }
            let note = format!("without loss sections: {why:#}");
            progress.say(&format!("elastane: {note}"));
            measured.notes.push(note);
            skips_loss = true;
            continue;
        }
        measured.emulated.insert(section.network, network.describe());
        measured.sections.push(measure_between(&network, section, interrupts, progress)?);
    }
    Ok(measured)
}

fn loses(section: &Section) -> bool {
    matches!(section.condition, Condition::Loss { .. })
}

/// The network of a section. Loss would hit whole trains, were they not taken apart.
fn make(network: Network, mtu: u32) -> Result<hosts::Network, HostsError> {
    let gigabit = Rate::gigabits(1);
    let flat = Flat { mtu, ..Flat::default() };
    let builder = hosts::Network::builder();
    match network {
        Network::Flat => builder.flat(flat),
        Network::Multipath | Network::PathCut => {
            builder.multipath(Multipath { paths: PATHS, rate: gigabit, mtu, ..Default::default() })
        }
        Network::Loss01 | Network::Loss1 => {
            builder.flat(Flat { segmentation: Segmentation::Off, ..flat })
        }
        Network::SharedLink => builder.flat(Flat { mtu, ..Flat::shared(gigabit) }),
        // One host has no network; [`measure`] makes none for it.
        Network::OneHost => builder.flat(flat),
    }
    .build()
}

/// Packets are lost by a filter, whose program may have to be installed.
fn prepare_loss(network: &hosts::Network, progress: &Progress) -> Result<()> {
    let package = match network.set_loss(Loss::NONE) {
        Err(HostsError::MissingProgram { package, .. }) => package,
        other => return other.map_err(Into::into),
    };
    if nix::unistd::geteuid().is_root() {
        progress.say(&format!("elastane: installing {package}, which random loss needs"));
        let mut install = Command::new("apt-get");
        install.args(["install", "--yes", "--no-install-recommends", package]);
        install.env("DEBIAN_FRONTEND", "noninteractive");
        install.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // Whatever it says, the program is there afterwards or it is not.
        install.status().ok();
    }
    network.set_loss(Loss::NONE).map_err(|error| match error {
        HostsError::MissingProgram { program, package } => {
            anyhow!("{program} is not installed: apt install {package}")
        }
        other => other.into(),
    })
}

fn measure_between(
    network: &hosts::Network,
    section: &Section,
    interrupts: &Interrupts,
    progress: &mut Progress,
) -> Result<SectionReport> {
    let [client, server] = network.hosts() else { bail!("a comparison takes two hosts") };
    let make = |side| match side {
        Side::Client => client.command(THIS_PROGRAM),
        Side::Server => server.command(THIS_PROGRAM),
    };
    let mut sides = Sides::start(&make, server.address(), interrupts)?;
    let report = sides.measure(section, &mut Faults { network }, progress);
    report.with_context(|| format!("{} was not measured", section.network.name()))
}

/// Disturbs a network as a test asks.
struct Faults<'a> {
    network: &'a hosts::Network,
}

impl FaultControl for Faults<'_> {
    fn apply(&mut self, fault: Fault) -> Result<(), FaultError> {
        let done = match fault {
            Fault::CutPath(path) => self.network.cut_path(path),
            Fault::RestorePath(path) => self.network.restore_path(path),
            Fault::Loss(percent) => match Loss::percent(percent) {
                Some(loss) => self.network.set_loss(loss),
                None => {
                    let why = format!("{percent}% is no share of packets");
                    return Err(FaultError { fault, why });
                }
            },
        };
        done.map_err(|error| FaultError { fault, why: error.to_string() })
    }
}

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

/// The two processes of a comparison.
pub(super) struct Sides {
    address: SocketAddr,
    client: Worker,
    server: Option<Worker>,
}

/// The line of `elastane serve --json` that says where it listens.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    Listening { address: SocketAddr },
}

impl Sides {
    /// Starts both where `command` puts them; the server listens on an address of its host.
    pub(super) fn start(
        command: &dyn Fn(Side) -> Command,
        server: IpAddr,
        interrupts: &Interrupts,
    ) -> Result<Self> {
        let mut serve = command(Side::Server);
        serve.args(["serve", "--json", "--end-with-parent", "--listen"]);
        serve.arg(SocketAddr::new(server, 0).to_string());
        let mut server = Worker::start(serve, interrupts).context("cannot start the server")?;
        let mut line = String::new();
        server.stdout.read_line(&mut line).context("the server does not say where it is")?;
        let Ok(Line::Listening { address }) = serde_json::from_str(&line) else {
            bail!("the server did not start: {}", server.complaint());
        };
        let mut measure = command(Side::Client);
        measure.arg("measure");
        let client = Worker::start(measure, interrupts).context("cannot start the client")?;
        Ok(Self { address, client, server: Some(server) })
    }

    /// Measures a section between them.
    pub(super) fn measure(
        &mut self,
        section: &Section,
        faults: &mut dyn FaultControl,
        progress: &mut Progress,
    ) -> Result<SectionReport> {
        let job = Job { server: self.address, section: section.clone() };
        let Worker { stdin, stdout, .. } = &mut self.client;
        let report = relay::delegate(job, stdout, stdin, faults, &mut |e| progress.event(e));
        report.map_err(|error| {
            let complaint = self.server.take().map(Worker::complaint).unwrap_or_default();
            match complaint.as_str() {
                "" => error.into(),
                said => anyhow!("{error} (the server: {said})"),
            }
        })
    }
}
