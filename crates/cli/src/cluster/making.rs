//! Making, changing and taking away clusters.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use cluster::{
    clock,
    config::Document,
    documents::{Accepted, Message, RefusedChange, Summary, to_text},
    finding::{Finding, Level},
    life::{self, Cloud, LifeError},
    store::{ClusterStatus, FleetStatus, State, Step},
    validate::{self, Suppressed},
};

use super::arguments::{
    CreateArgs, DeleteArgs, FleetRequest, UpdateArgs, UpdateFleetArgs, ValidateArgs,
};
use crate::{Verdict, interrupt::Interrupts, output, progress::Steps};

pub(super) fn validate(args: &ValidateArgs) -> Result<Verdict> {
    let suppressed = Suppressed::read(&args.suppress_validators).map_err(|error| anyhow!(error))?;
    let file = args.file.path();
    let document = open(file)?;
    let findings = validate::validate(&document, &suppressed);
    let fails = validate::fails(&findings, Level::Error);
    if args.json {
        let json = serde_json::json!({
            "file": file, "valid": !fails, "findings": findings,
        });
        output::print(&(serde_json::to_string_pretty(&json)? + "\n"))?;
    } else {
        output::print(&listed(file, &findings))?;
        if !fails {
            output::print(&format!("{}: valid\n", file.display()))?;
        }
    }
    Ok(if fails { Verdict::Failed } else { Verdict::Passed })
}

/// Opens a configuration; an error names the file.
fn open(file: &Path) -> Result<Document> {
    Document::open(file).with_context(|| file.display().to_string())
}

/// Findings, a line each, as compilers write them.
fn listed(file: &Path, findings: &[Finding]) -> String {
    let line = |finding: &Finding| {
        let level = match finding.level {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Info => "note",
        };
        let line = finding.line.map(|line| format!("{line}:")).unwrap_or_default();
        let (file, path) = (file.display(), &finding.path);
        format!("{file}:{line} {level}: {path}: {} [{}]\n", finding.message, finding.validator)
    };
    findings.iter().map(line).collect()
}

/// Everything that can be found about a configuration before anything is made.
pub(crate) fn examine(
    cloud: &Cloud,
    name: &str,
    document: &Document,
    suppressed: &Suppressed,
) -> Result<Vec<Finding>> {
    let mut findings: Vec<_> = validate::check_name(name).into_iter().collect();
    findings.extend(validate::validate(document, suppressed));
    // EC2 is asked also when something was found: it may know more.
    let mut more = life::check(cloud, name, document)?;
    validate::suppress(&mut more, suppressed);
    for finding in more {
        if !findings.iter().any(|known| known.path == finding.path && known.level == finding.level)
        {
            findings.push(finding);
        }
    }
    Ok(findings)
}

pub(super) fn create(args: &CreateArgs, cloud: &Cloud, interrupts: &Interrupts) -> Result<Verdict> {
    let suppressed = Suppressed::read(&args.suppress_validators).map_err(|error| anyhow!(error))?;
    let document = open(&args.config)?;
    let region = region(&document, args.region.as_deref(), cloud)?;
    let findings = examine(cloud, &args.name, &document, &suppressed)?;
    if cloud.store(&args.name).read().is_ok() {
        bail!("there is a cluster {} already: choose another name, or delete it", args.name);
    }
    for line in listed(&args.config, &findings).lines() {
        output::say(line);
    }
    if validate::fails(&findings, Level::Error) {
        bail!("{}: nothing was made", counted(&findings));
    }
    if args.dryrun {
        output::print(&format!("{} could be made\n", args.name))?;
        return Ok(Verdict::Passed);
    }
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    let request = life::Request {
        name: &args.name,
        region: &region,
        document: &document,
        rollback: !args.keep,
        program: &program,
    };
    make(args, cloud, (&request, &findings), interrupts)
}

/// Makes a cluster that nothing speaks against, and says how that went.
fn make(
    args: &CreateArgs,
    cloud: &Cloud,
    (request, findings): (&life::Request<'_>, &[Finding]),
    interrupts: &Interrupts,
) -> Result<Verdict> {
    let mut steps = Steps::new(interrupts);
    let begin = clock::now();
    // From its launch on the head node goes on by itself, whatever becomes of this command.
    let hold = interrupts.hold();
    let mut last = None;
    let created = life::create(cloud, request, |state| {
        steps.show(state);
        last = Some(state.clone());
    });
    drop(hold);
    let name = args.name.clone();
    interrupts.on_interrupt(move || {
        output::say(&format!("{name} goes on being made: see `elastane cluster describe {name}`"));
    });
    let state = match created {
        Ok(state) if args.no_wait => state,
        Ok(_) => life::wait_created(cloud, &args.name, |state| steps.show(state))?,
        Err(error) => {
            steps.finish();
            let Some(state) = last else { return Err(error.into()) };
            explain(cloud, &state);
            if matches!(error, LifeError::Undone { .. }) {
                output::say(&error.to_string());
            } else if !args.keep {
                output::say(NOTHING_LEFT);
            }
            return Ok(Verdict::Failed);
        }
    };
    steps.finish();
    if args.json {
        let accepted = Accepted {
            cluster: Summary::of(&state),
            validation_messages: Message::all(findings),
            change_set: Vec::new(),
        };
        output::print(&(to_text(&accepted, None).map_err(|error| anyhow!(error))? + "\n"))?;
    }
    if state.status == ClusterStatus::CreateFailed {
        explain(cloud, &state);
        leave(args, cloud, interrupts)?;
        return Ok(Verdict::Failed);
    }
    if !args.json {
        let seconds = seconds_between(begin, clock::now());
        let name = &args.name;
        let status = state.status.name();
        output::print(&format!("{name}: {status} after {seconds:.1} s\n"))?;
    }
    Ok(Verdict::Passed)
}

/// Takes away what a creation that failed has made, unless it is to be looked into.
fn leave(args: &CreateArgs, cloud: &Cloud, interrupts: &Interrupts) -> Result<()> {
    let name = &args.name;
    if args.keep {
        output::say(&format!(
            "what was made is kept: look with `elastane cluster ssh {name}` and `elastane cluster \
             export-logs {name}`, then `elastane cluster delete {name}`"
        ));
        return Ok(());
    }
    let hold = interrupts.hold();
    let discarded = life::discard(cloud, name);
    drop(hold);
    discarded
        .with_context(|| format!("what was made is there still: elastane cluster delete {name}"))?;
    output::say(NOTHING_LEFT);
    Ok(())
}

/// What to do after a creation that failed.
const NOTHING_LEFT: &str = "what was made is taken away again: put that right and create it again, \
                            or add --keep to look into what fails";

/// Says which step failed, why, and what its log said last.
fn explain(cloud: &Cloud, state: &State) {
    let open = |step: &&Step| step.began.is_some() && step.ended.is_none();
    let failed = state.steps.iter().find(|step| step.failed.is_some());
    if let Some(step) = failed.or(state.steps.iter().rfind(open)) {
        output::say(&format!("{}: could not {}", state.name, step.what));
    }
    for failure in &state.failures {
        output::say(&format!("{}: {}", failure.failure_code, failure.failure_reason));
    }
    let log = cloud.store(&state.name).folder().join("logs/head.log");
    if let Ok(text) = std::fs::read_to_string(&log) {
        let lines: Vec<_> = text.lines().collect();
        output::say("the end of the head node's log:");
        for line in &lines[lines.len().saturating_sub(10)..] {
            output::say(&format!("  {line}"));
        }
    }
}

/// The region of the file or of the command line, which must not contradict each other.
pub(crate) fn region(document: &Document, asked: Option<&str>, cloud: &Cloud) -> Result<String> {
    match (document.config.region.as_deref(), asked) {
        (Some(own), Some(asked)) if own != asked => {
            bail!("region is set in both parameter and configuration and conflicts.")
        }
        (own, asked) => Ok(own.or(asked).unwrap_or(cloud.ec2.region()).to_owned()),
    }
}

fn counted(findings: &[Finding]) -> String {
    let errors = findings.iter().filter(|finding| finding.level == Level::Error).count();
    if errors == 1 { "1 error".to_owned() } else { format!("{errors} errors") }
}

fn seconds_between(begin: u64, end: u64) -> f64 {
    std::time::Duration::from_millis(end.saturating_sub(begin)).as_secs_f64()
}

pub(super) fn update(args: &UpdateArgs, cloud: &Cloud, interrupts: &Interrupts) -> Result<Verdict> {
    let suppressed = Suppressed::read(&args.suppress_validators).map_err(|error| anyhow!(error))?;
    let document = open(&args.config)?;
    let findings = examine(cloud, &args.name, &document, &suppressed)?;
    for line in listed(&args.config, &findings).lines() {
        output::say(line);
    }
    if validate::fails(&findings, Level::Error) {
        bail!("{}: nothing was changed", counted(&findings));
    }
    let (state, changes, refused) =
        life::update(cloud, &args.name, &document, args.dryrun, args.force)?;
    if args.json {
        let document = serde_json::json!({
            "cluster": Summary::of(&state),
            "changeSet": changes,
            "updateValidationErrors": refused.iter().map(RefusedChange::of).collect::<Vec<_>>(),
        });
        output::print(&(serde_json::to_string_pretty(&document)? + "\n"))?;
    } else {
        for change in &changes {
            let (from, to) = (&change.current_value, &change.requested_value);
            output::print(&format!("{}: {from} -> {to}\n", change.parameter))?;
        }
    }
    for refused in &refused {
        output::say(&format!("{}: {}", refused.change.parameter, refused.why));
    }
    if !refused.is_empty() {
        return Ok(Verdict::Failed);
    }
    if changes.is_empty() {
        output::say("nothing changes");
        return Ok(Verdict::Passed);
    }
    if args.dryrun {
        return Ok(Verdict::Passed);
    }
    let mut steps = Steps::new(interrupts);
    let state = life::wait_created(cloud, &args.name, |state| steps.show(state))?;
    steps.finish();
    if state.status == ClusterStatus::UpdateFailed {
        explain(cloud, &state);
        return Ok(Verdict::Failed);
    }
    Ok(Verdict::Passed)
}

pub(super) fn delete(args: &DeleteArgs, cloud: &Cloud, interrupts: &Interrupts) -> Result<Verdict> {
    let hold = interrupts.hold();
    let state = life::delete(cloud, &args.name)?;
    drop(hold);
    if args.json {
        let accepted = Accepted {
            cluster: Summary::of(&state),
            validation_messages: Vec::new(),
            change_set: Vec::new(),
        };
        output::print(&(to_text(&accepted, None).map_err(|error| anyhow!(error))? + "\n"))?;
        return Ok(Verdict::Passed);
    }
    output::print(&format!("{} is deleted\n", args.name))?;
    for folder in &state.resources.retained {
        output::print(&format!("kept: {}\n", cloud.filesystems.join(folder).display()))?;
    }
    Ok(Verdict::Passed)
}

/// Asks for the fleet to be started or stopped. What it is already is not asked for again.
pub(crate) fn request_fleet(cloud: &Cloud, name: &str, is_start: bool) -> Result<State> {
    let state = cloud.store(name).change(|state| {
        let now = state.fleet.status;
        let wanted =
            if is_start { FleetStatus::StartRequested } else { FleetStatus::StopRequested };
        let is_so = match now {
            FleetStatus::Running | FleetStatus::Starting | FleetStatus::StartRequested => is_start,
            FleetStatus::Stopped | FleetStatus::Stopping | FleetStatus::StopRequested => !is_start,
            FleetStatus::Protected | FleetStatus::Unknown => false,
        };
        if !is_so && now != FleetStatus::Unknown {
            state.fleet.status = wanted;
            state.fleet.since = clock::now();
        }
        state.clone()
    })?;
    Ok(state)
}

pub(super) fn update_fleet(args: &UpdateFleetArgs, cloud: &Cloud) -> Result<Verdict> {
    let state = request_fleet(cloud, &args.name, args.status == FleetRequest::Start)?;
    super::showing::print_fleet(&state, args.json)?;
    Ok(Verdict::Passed)
}
