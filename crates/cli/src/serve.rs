//! `elastane serve`: the side of a comparison that waits.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use perf::{
    ServeError, Server,
    cpu::{self, Side},
    server::Served,
};
use serde::Serialize;

use crate::{Verdict, address::HostPort, args::ServeArgs, output, output::Destination, worker};

/// A line of `--json`.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
enum Line<'a> {
    Listening { address: SocketAddr },
    Served { client: SocketAddr, host: &'a str, tests: usize },
}

pub(crate) fn run(args: &ServeArgs) -> Result<Verdict> {
    let ServeArgs { listen, keep, json, fabric, end_with_parent } = args;
    if *end_with_parent {
        worker::end_with_parent()?;
    }
    cpu::pin(Side::Server).context("cannot choose a CPU")?;
    if let Some(path) = &fabric.pcap {
        Destination::File(path.clone()).check("--pcap")?;
    }
    let server = open(listen)?.with_fabric(fabric.tuning());
    let address = server.address().context("cannot tell the address listened on")?;
    let line = match json {
        true => to_line(&Line::Listening { address })?,
        false => format!("listening on {address}\n"),
    };
    output::print(&line)?;
    loop {
        match server.serve_one() {
            Ok(served) => report(&served, *json)?,
            Err(ServeError::Client(error)) if *keep => output::say(&format!("elastane: {error}")),
            Err(error) => return Err(error.into()),
        }
        if !keep {
            return Ok(Verdict::Passed);
        }
    }
}

/// Listens on the first address of the host that can be listened on.
fn open(listen: &HostPort) -> Result<Server> {
    let mut failure = None;
    for address in listen.resolve()? {
        match Server::listen(address) {
            Ok(server) => return Ok(server),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    Err(match failure {
        Some(ServeError::PortInUse(taken)) => anyhow::anyhow!(
            "port {} of {} is in use: choose another with --listen {}",
            taken.port(),
            taken.ip(),
            SocketAddr::new(taken.ip(), taken.port().wrapping_add(1)),
        ),
        Some(error) => error.into(),
        None => anyhow::anyhow!("{listen} has no address"),
    })
}

fn report(served: &Served, json: bool) -> Result<()> {
    let Served { client, machine, tests } = served;
    if json {
        let line = Line::Served { client: *client, host: &machine.host, tests: *tests };
        output::print(&to_line(&line)?)
    } else {
        output::say(&format!("served {client} ({}): {tests} tests", machine.host));
        Ok(())
    }
}

fn to_line(line: &Line<'_>) -> Result<String> {
    Ok(serde_json::to_string(line)? + "\n")
}
