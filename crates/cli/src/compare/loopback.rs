//! Two processes on this machine, without hosts of their own: what a machine that grants none
//! measures, and what is about one host anyway.

use std::{net::Ipv4Addr, process::Command};

use anyhow::Result;
use perf::{Network, Plan, Section, SectionReport, run::NoFaults};

use super::{
    Measured,
    emulated::{Side, Sides},
};
use crate::{interrupt::Interrupts, progress::Progress, worker::THIS_PROGRAM};

pub(super) fn measure(
    plan: &Plan,
    reason: &str,
    interrupts: &Interrupts,
    progress: &mut Progress,
) -> Result<Measured> {
    let warning = format!(
        "both sides are processes on this machine's loopback, without a network between them, \
         and only flat and one-host are measured ({reason})"
    );
    let is_about_a_network = |section: &Section| section.network != Network::OneHost;
    if plan.sections.iter().any(is_about_a_network) {
        progress.say(&format!("elastane: {warning}"));
    }
    let hold = interrupts.hold();
    let mut measured = Measured::default();
    for (number, section) in plan.sections.iter().enumerate() {
        progress.part(section.network.name(), number + 1, plan.sections.len());
        measured.sections.push(measure_section(section, interrupts, progress)?);
        if is_about_a_network(section) {
            measured.emulated.insert(section.network, format!("no network: {warning}"));
        }
    }
    drop(hold);
    Ok(measured)
}

/// Measures between two processes of this host.
pub(super) fn measure_section(
    section: &Section,
    interrupts: &Interrupts,
    progress: &mut Progress,
) -> Result<SectionReport> {
    let make = |_: Side| Command::new(THIS_PROGRAM);
    let mut sides = Sides::start(&make, Ipv4Addr::LOCALHOST.into(), interrupts)?;
    sides.measure(section, &mut NoFaults, progress)
}
