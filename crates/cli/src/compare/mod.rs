//! `elastane compare`: the fabric against TCP.

mod emulated;
mod loopback;
mod remote;

use std::{collections::BTreeMap, io};

use anyhow::{Context as _, Result, bail};
use perf::{
    Network, Plan, Report, SectionReport, baseline, bench::libfabric, clock, html, relay, table,
};

use crate::{
    Verdict,
    args::{CompareArgs, HostKind},
    interrupt::Interrupts,
    output::{self, Destination},
    progress::Progress,
    worker,
};

/// What came out, before it is put together.
#[derive(Default)]
struct Measured {
    /// What of each network was no real hardware.
    emulated: BTreeMap<Network, String>,
    sections: Vec<SectionReport>,
    /// What a reader should know besides.
    notes: Vec<String>,
}

pub(crate) fn run(args: &CompareArgs, interrupts: &Interrupts) -> Result<Verdict> {
    let plan = plan(args)?;
    check_outputs(args)?;
    let mut progress = Progress::new(interrupts);
    let started = clock::date_and_time();
    let has_iperf3 = baseline::iperf3_version().is_some();
    let mut measured = match &args.peer {
        Some(peer) => remote::measure(peer, &plan, &mut progress)?,
        None => measure_here(args, &plan, interrupts, &mut progress)?,
    };
    progress.finish();
    if !has_iperf3 && plan.sections.iter().any(|section| section.iperf3.is_some()) {
        measured.notes.push("iperf3 is not installed, so its own figure is missing".to_owned());
    }
    let Measured { emulated, sections, notes } = measured;
    let report = Report::assemble(started, emulated, sections);
    let mut report = report.context("nothing was measured")?;
    report.notes.extend(notes);
    report.provider.clone_from(&args.provider);
    deliver(args, &report)?;
    Ok(if args.check { verdict(&plan, &report) } else { Verdict::Passed })
}

/// In the client's process: measures what the process that started it says.
pub(crate) fn measure_as_told() -> Result<Verdict> {
    worker::end_with_parent()?;
    let stdin = io::BufReader::new(io::stdin());
    relay::work(stdin, io::stdout()).map(|()| Verdict::Passed).map_err(Into::into)
}

fn plan(args: &CompareArgs) -> Result<Plan> {
    let mut plan = if args.quick { Plan::quick() } else { Plan::full() };
    if args.peer.is_some() {
        plan = plan.between_machines();
    } else if args.hosts == HostKind::Loopback {
        plan = plan.without_emulation();
    }
    if !args.only.is_empty() {
        plan.sections.retain(|section| args.only.iter().any(|p| p.includes(section.network)));
    }
    if plan.sections.is_empty() {
        bail!(
            "--only names nothing that can be measured without network namespaces: try flat, or \
             one-host on one machine"
        );
    }
    if let Some(provider) = &args.provider {
        libfabric::check_provider(provider)?;
        plan = plan.with_provider(provider);
    }
    for section in &mut plan.sections {
        section.fabric = args.fabric.tuning();
    }
    Ok(plan)
}

/// What cannot be written is said before minutes are spent on measuring it.
fn check_outputs(args: &CompareArgs) -> Result<()> {
    let CompareArgs { json, html, .. } = args;
    if json.is_some() && json == html {
        bail!("--json and --html go to the same place: choose two files");
    }
    json.as_ref().map_or(Ok(()), |json| json.check("--json"))?;
    html.as_ref().map_or(Ok(()), |html| html.check("--html"))?;
    match &args.fabric.pcap {
        Some(path) => Destination::File(path.clone()).check("--pcap"),
        None => Ok(()),
    }
}

fn measure_here(
    args: &CompareArgs,
    plan: &Plan,
    interrupts: &Interrupts,
    progress: &mut Progress,
) -> Result<Measured> {
    // Two processes of this host need no other.
    let is_one_host = |section: &perf::Section| section.network == Network::OneHost;
    if plan.sections.iter().all(is_one_host) {
        return loopback::measure(plan, "", interrupts, progress);
    }
    let reason = match args.hosts {
        HostKind::Loopback => "--hosts loopback".to_owned(),
        HostKind::Namespaces => return emulated::measure(plan, args.mtu, interrupts, progress),
        HostKind::Auto => match hosts::available() {
            hosts::Availability::Loopback(reason) => reason.to_string(),
            _ => return emulated::measure(plan, args.mtu, interrupts, progress),
        },
    };
    let plan = plan.clone().without_emulation();
    if plan.sections.is_empty() {
        bail!("over loopback only flat and one-host can be measured ({reason})");
    }
    loopback::measure(&plan, &reason, interrupts, progress)
}

fn deliver(args: &CompareArgs, report: &Report) -> Result<()> {
    let CompareArgs { json, html: page, .. } = args;
    if let Some(json) = json {
        json.write(&report.to_json())?;
    }
    if let Some(page) = page {
        page.write(&html::render(report))?;
    }
    if [json, page].iter().all(|document| **document != Some(Destination::Stdout)) {
        output::print(&table::render(report, output::style(args.color)))?;
    }
    Ok(())
}

/// What was not asked for is not held against anybody.
fn verdict(plan: &Plan, report: &Report) -> Verdict {
    let is_planned = |network| plan.sections.iter().any(|section| section.network == network);
    let broken: Vec<_> = report
        .checks
        .iter()
        .filter(|check| is_planned(check.network) && !check.met)
        .map(|check| format!("{}: {}", check.network.name(), check.name))
        .collect();
    if broken.is_empty() {
        return Verdict::Passed;
    }
    output::say(&format!("elastane: not kept: {}", broken.join("; ")));
    Verdict::Failed
}
