//! Between two real machines.

use anyhow::{Context as _, Result, anyhow};
use perf::{
    Plan, Session,
    cpu::{self, Side},
    run::{NoFaults, run_section},
};

use super::Measured;
use crate::{address::HostPort, progress::Progress};

pub(super) fn measure(peer: &HostPort, plan: &Plan, progress: &mut Progress) -> Result<Measured> {
    let mut session = connect(peer)?;
    cpu::pin(Side::Client).context("cannot choose a CPU")?;
    let mut measured = Measured::default();
    for (number, section) in plan.sections.iter().enumerate() {
        progress.part(section.network.name(), number + 1, plan.sections.len());
        let report =
            run_section(&mut session, section, &mut NoFaults, &mut |event| progress.event(event))?;
        measured.sections.push(report);
    }
    Ok(measured)
}

/// Tries the addresses of a host in turn, as any client does.
fn connect(peer: &HostPort) -> Result<Session> {
    let mut failure = None;
    for address in peer.resolve()? {
        match Session::connect(address) {
            Ok(session) => return Ok(session),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    Err(failure.map_or_else(|| anyhow!("{peer} has no address"), Into::into))
}
