//! `elastane cluster configure`: a configuration from answers to questions.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    path::Path,
};

use anyhow::{Context as _, Result, bail};
use cluster::{
    config::Document,
    life::Cloud,
    validate::{self, Suppressed},
};

use super::arguments::ConfigureArgs;
use crate::{Verdict, output};

const SYSTEMS: [&str; 6] = ["alinux2", "alinux2023", "ubuntu2004", "ubuntu2204", "rhel8", "rhel9"];

pub(super) fn run(args: &ConfigureArgs, cloud: &Cloud) -> Result<Verdict> {
    configure(&args.config, args.region.as_deref(), cloud)?;
    Ok(Verdict::Passed)
}

/// What a compute resource is.
struct Resource {
    name: String,
    kind: String,
    most: u32,
    has_efa: bool,
}

/// Asks, and writes the answers to `file`.
pub(crate) fn configure(file: &Path, region: Option<&str>, cloud: &Cloud) -> Result<()> {
    if file.exists() {
        output::say(&format!("WARNING: {} is there and will be replaced", file.display()));
    }
    let region = match region {
        Some(region) => region.to_owned(),
        None => choose("AWS Region ID", &[cloud.ec2.region().to_owned()], None)?,
    };
    let keys = names(cloud, "DescribeKeyPairs", "keySet", "keyName")?;
    if keys.is_empty() {
        bail!(
            "there is no key pair: make one first, for example with \
             `aws ec2 create-key-pair --key-name hpc-cluster --query KeyMaterial --output text`"
        );
    }
    let key = choose("EC2 Key Pair Name", &keys, keys.first())?;
    choose("Scheduler", &["slurm".to_owned()], None)?;
    let systems = SYSTEMS.map(str::to_owned);
    let system = choose("Operating System", &systems, Some(&systems[0]))?;
    let head = kind(cloud, "Head node instance type", "t3.micro")?;
    let queues = number("Number of queues", 1, 50)?;
    let mut chosen: Vec<(String, Vec<Resource>)> = Vec::new();
    for queue in 1..=queues {
        let name = ask(&format!("Name of queue {queue}"), Some(&format!("queue{queue}")))?;
        let count = number(&format!("Number of compute resources for {name}"), 1, 50)?;
        let mut resources: Vec<Resource> = Vec::new();
        for resource in 1..=count {
            resources.push(ask_resource(cloud, &name, resource, &resources)?);
        }
        chosen.push((name, resources));
    }
    let mut groups = BTreeMap::new();
    for (name, resources) in &chosen {
        if resources.iter().any(|resource| resource.has_efa) {
            let question = format!("Placement Group name of {name} (empty: one of its own)");
            groups.insert(name.clone(), ask(&question, Some(""))?);
        }
    }
    let (head_subnet, compute_subnet) = ask_network(cloud)?;
    let text =
        rendered(&[&region, &system, &head, &key, &head_subnet, &compute_subnet], &chosen, &groups);
    let document = Document::read(&text).context("the answers make no configuration")?;
    let findings = validate::validate(&document, &Suppressed::default());
    for finding in &findings {
        output::say(&format!("{}: {}", finding.path, finding.message));
    }
    fs::write(file, &text).with_context(|| format!("cannot write {}", file.display()))?;
    let file = file.display();
    output::print(&format!(
        "Configuration file written to {file}\nYou can edit your configuration file or simply run \
         'pcluster create-cluster --cluster-configuration {file} --cluster-name cluster-name \
         --region {region}' to create your cluster.\n"
    ))
}

fn ask_resource(
    cloud: &Cloud,
    queue: &str,
    number_of: u32,
    others: &[Resource],
) -> Result<Resource> {
    let question = format!("Compute instance type for compute resource {number_of} in {queue}");
    let kind = kind(cloud, &question, "t3.micro")?;
    let plain: String = kind.chars().filter(char::is_ascii_alphanumeric).collect();
    let name = match others.iter().any(|other| other.name == plain) {
        true => format!("{plain}-{number_of}"),
        false => plain,
    };
    let has_efa = supports_efa(cloud, &kind)? && {
        let question = format!("The EFA of {kind} costs nothing. Enable EFA on {kind} (y/n)");
        choose(&question, &["y".to_owned(), "n".to_owned()], Some(&"y".to_owned()))? == "y"
    };
    let most = number("Maximum instance count", 10, 65_535)?;
    Ok(Resource { name, kind, most, has_efa })
}

/// The subnets of the head node and of compute nodes.
fn ask_network(cloud: &Cloud) -> Result<(String, String)> {
    let yes_no = ["y".to_owned(), "n".to_owned()];
    if choose("Automate VPC creation? (y/n)", &yes_no, Some(&yes_no[1]))? == "y" {
        // The cloud has a default VPC with a subnet in each zone: nothing has to be made.
        let subnets = subnets(cloud, None)?;
        let first = subnets.first().context("the cloud has no subnet")?;
        return Ok((first.clone(), first.clone()));
    }
    let vpcs = names(cloud, "DescribeVpcs", "vpcSet", "vpcId")?;
    let vpc = choose("VPC ID", &vpcs, vpcs.first())?;
    let subnets = subnets(cloud, Some(&vpc))?;
    if choose("Automate Subnet creation? (y/n)", &yes_no, Some(&yes_no[0]))? == "y" {
        let first = subnets.first().context("the VPC has no subnet")?;
        return Ok((first.clone(), first.clone()));
    }
    let head = choose("head node subnet ID", &subnets, subnets.first())?;
    let compute = choose("compute subnet ID", &subnets, Some(&head))?;
    Ok((head, compute))
}

fn rendered(
    [region, system, head, key, head_subnet, compute_subnet]: &[&String; 6],
    queues: &[(String, Vec<Resource>)],
    groups: &BTreeMap<String, String>,
) -> String {
    let mut text = format!(
        "Region: {region}\nImage:\n  Os: {system}\nHeadNode:\n  InstanceType: {head}\n  \
         Networking:\n    SubnetId: {head_subnet}\n  Ssh:\n    KeyName: {key}\nScheduling:\n  \
         Scheduler: slurm\n  SlurmQueues:\n"
    );
    let mut add = |line: String| writeln!(text, "{line}").expect("a text has room");
    for (name, resources) in queues {
        add(format!("  - Name: {name}\n    ComputeResources:"));
        for Resource { name, kind, most, has_efa } in resources {
            add(format!("    - Name: {name}\n      Instances:\n      - InstanceType: {kind}"));
            add(format!("      MinCount: 0\n      MaxCount: {most}"));
            if *has_efa {
                add("      Efa:\n        Enabled: true".to_owned());
            }
        }
        add("    Networking:".to_owned());
        if let Some(group) = groups.get(name) {
            add("      PlacementGroup:\n        Enabled: true".to_owned());
            if !group.is_empty() {
                add(format!("        Name: {group}"));
            }
        }
        add(format!("      SubnetIds:\n      - {compute_subnet}"));
    }
    text
}

/// What EC2 lists of a kind.
fn names(cloud: &Cloud, action: &str, list: &str, name: &str) -> Result<Vec<String>> {
    let answer = cloud.ec2.call(action, &[])?;
    Ok(answer.items(list).filter_map(|item| item.get(name).map(str::to_owned)).collect())
}

fn subnets(cloud: &Cloud, vpc: Option<&str>) -> Result<Vec<String>> {
    let filters: Vec<_> = vpc
        .map(|vpc| [("Filter.1.Name", "vpc-id".to_owned()), ("Filter.1.Value.1", vpc.to_owned())])
        .into_iter()
        .flatten()
        .collect();
    let answer = cloud.ec2.call("DescribeSubnets", &filters)?;
    let subnets = answer.items("subnetSet");
    Ok(subnets.filter_map(|item| item.get("subnetId").map(str::to_owned)).collect())
}

fn supports_efa(cloud: &Cloud, kind: &str) -> Result<bool> {
    let answer = cloud.ec2.call("DescribeInstanceTypes", &[("InstanceType.1", kind.to_owned())])?;
    let kind = answer.items("instanceTypeSet").next();
    Ok(kind.and_then(|kind| kind.get("networkInfo/efaSupported")) == Some("true"))
}

/// An instance type that exists.
fn kind(cloud: &Cloud, question: &str, default: &str) -> Result<String> {
    loop {
        let answer = ask(question, Some(default))?;
        match supports_efa(cloud, &answer) {
            Ok(_) => return Ok(answer),
            Err(error) => wrong(&error.to_string())?,
        }
    }
}

fn number(question: &str, default: u32, most: u32) -> Result<u32> {
    loop {
        let answer = ask(question, Some(&default.to_string()))?;
        match answer.parse::<u32>() {
            Ok(number) if (1..=most).contains(&number) => return Ok(number),
            _ => wrong(&format!("{answer} is not a number from 1 to {most}"))?,
        }
    }
}

/// One of several, by its number or by itself.
fn choose(question: &str, options: &[String], default: Option<&String>) -> Result<String> {
    if options.len() > 2 || !options.iter().all(|option| option.len() == 1) {
        println(&format!("Allowed values for {question}:"))?;
        for (number, option) in (1..).zip(options) {
            println(&format!("{number}. {option}"))?;
        }
    }
    let default = default.or(options.first()).map(String::as_str);
    loop {
        let answer = ask(question, default)?;
        let numbered = answer.parse::<usize>().ok().and_then(|it| options.get(it.checked_sub(1)?));
        if let Some(option) = numbered.or_else(|| options.iter().find(|it| **it == answer)) {
            return Ok(option.clone());
        }
        wrong(&format!("{answer} is not an acceptable value for {question}"))?;
    }
}

/// Asks on the terminal; answers come line by line, from a person or a file.
fn ask(question: &str, default: Option<&str>) -> Result<String> {
    let shown = default.map(|default| format!(" [{default}]")).unwrap_or_default();
    output::print(&format!("{question}{shown}: "))?;
    io::stdout().flush().ok();
    let mut line = String::new();
    if io::stdin().lock().read_line(&mut line).context("cannot read the answer")? == 0 {
        bail!("the answers ended before `{question}`");
    }
    if !io::stdin().is_terminal() {
        println("")?;
    }
    let answer = line.trim();
    match (answer, default) {
        ("", Some(default)) => Ok(default.to_owned()),
        ("", None) => {
            wrong("an answer is needed")?;
            ask(question, default)
        }
        (answer, _) => Ok(answer.to_owned()),
    }
}

fn wrong(message: &str) -> Result<()> {
    println(&format!("ERROR: {message}"))
}

fn println(line: &str) -> Result<()> {
    output::print(&format!("{line}\n"))
}
