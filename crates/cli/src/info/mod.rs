//! `elastane info`: what this host offers the fabric, and what to change.

mod advice;
mod document;
mod text;

use anyhow::Result;

use crate::{Verdict, args::InfoArgs, output};
use document::Info;

pub(crate) fn run(args: &InfoArgs) -> Result<Verdict> {
    let InfoArgs { json, color } = args;
    let info = Info::gather();
    let text = match json {
        true => serde_json::to_string_pretty(&info)? + "\n",
        false => text::render(&info, output::style(*color)),
    };
    output::print(&text)?;
    Ok(Verdict::Passed)
}
