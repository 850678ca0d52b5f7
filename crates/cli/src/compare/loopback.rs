//! Two processes on a machine that grants no hosts.

use std::{net::Ipv4Addr, process::Command};

use anyhow::Result;
use perf::{Plan, run::NoFaults};

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
         and only flat is measured ({reason})"
    );
    progress.say(&format!("elastane: {warning}"));
    let hold = interrupts.hold();
    let mut measured = Measured::default();
    for (number, section) in plan.sections.iter().enumerate() {
        progress.part(section.network.name(), number + 1, plan.sections.len());
        let make = |_: Side| Command::new(THIS_PROGRAM);
        let mut sides = Sides::start(&make, Ipv4Addr::LOCALHOST.into(), interrupts)?;
        let report = sides.measure(section, &mut NoFaults, progress)?;
        measured.sections.push(report);
        measured.emulated.insert(section.network, format!("no network: {warning}"));
    }
    drop(hold);
    Ok(measured)
}
