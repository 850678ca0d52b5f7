//! Packet filters: random loss, by the `nft` program.

use std::{
    borrow::Cow,
    io::{self, Write},
    path::Path,
    process::{Output, Stdio},
};

use nftables::{
    batch::Batch,
    expr::{Expression, Meta, MetaKey, NamedExpression, NgMode, Numgen},
    schema::{Chain, NfListObject, Nftables, Rule, Table},
    stmt::{Match, Operator, Statement},
    types::{NfChainPolicy, NfChainType, NfFamily, NfHook},
};

use crate::{error::HostsError, host::Host, quantity::Loss};

const TABLE: &str = "elastane";
const CHAIN: &str = "loss";
/// Before everything else that looks at packets, as the name `raw` stands for.
const PRIORITY_RAW: i32 = -300;
/// Where the program is beside what `PATH` names: an ordinary user's often lacks these.
const SYSTEM_DIRECTORIES: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

/// Drops that share of the packets that arrive at the host, replacing an earlier share.
pub(crate) fn set_loss(host: &Host, loss: Loss) -> Result<(), HostsError> {
    let refused = |message: String| HostsError::Filter { host: host.name().to_owned(), message };
    let program = find_nft()?;
    let rules = serde_json::to_vec(&rules(loss)).map_err(|error| refused(error.to_string()))?;
    let Output { status, stderr, .. } =
        run(host, &program, &rules).map_err(|error| refused(error.to_string()))?;
    if status.success() {
        Ok(())
    } else {
        Err(refused(String::from_utf8_lossy(&stderr).trim().to_owned()))
    }
}

pub(crate) fn find_nft() -> Result<std::path::PathBuf, HostsError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(SYSTEM_DIRECTORIES.map(Into::into))
        .map(|directory: std::path::PathBuf| directory.join("nft"))
        .find(|candidate| Path::is_file(candidate))
        .ok_or(HostsError::MissingProgram { program: "nft", package: "nftables" })
}

fn run(host: &Host, program: &Path, rules: &[u8]) -> io::Result<Output> {
    let mut nft = host
        .command(program)
        .args(["-j", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut input) = nft.stdin.take() {
        input.write_all(rules)?;
    }
    nft.wait_with_output()
}

/// One transaction: the table is added so that deleting it cannot fail, and made anew.
fn rules(loss: Loss) -> Nftables<'static> {
    let table = Table { family: NfFamily::INet, name: TABLE.into(), handle: None };
    let mut batch = Batch::new();
    batch.add(NfListObject::Table(table.clone()));
    batch.delete(NfListObject::Table(table.clone()));
    if let Some(last) = loss.as_per_million().checked_sub(1) {
        batch.add(NfListObject::Table(table));
        batch.add(NfListObject::Chain(Chain {
            family: NfFamily::INet,
            table: TABLE.into(),
            name: CHAIN.into(),
            _type: Some(NfChainType::Filter),
            hook: Some(NfHook::Prerouting),
            prio: Some(PRIORITY_RAW),
            policy: Some(NfChainPolicy::Accept),
            ..Chain::default()
        }));
        batch.add(NfListObject::Rule(Rule {
            family: NfFamily::INet,
            table: TABLE.into(),
            chain: CHAIN.into(),
            expr: Cow::Owned(drop_at_random(last)),
            ..Rule::default()
        }));
    }
    batch.to_nftables()
}

/// `iifname != "lo" numgen random mod 1000000 <= LAST drop`, where the first number is 0. (The
/// operators `LT` and `GT` of nftables 0.6.3 stand for each other's sign.)
fn drop_at_random(last: u32) -> Vec<Statement<'static>> {
    let arrived_by = Expression::Named(NamedExpression::Meta(Meta { key: MetaKey::Iifname }));
    let random = Expression::Named(NamedExpression::Numgen(Numgen {
        mode: NgMode::Random,
        ng_mod: 1_000_000,
        offset: None,
    }));
    vec![
        Statement::Match(Match {
            left: arrived_by,
            right: Expression::String("lo".into()),
            op: Operator::NEQ,
        }),
        Statement::Match(Match {
            left: random,
            right: Expression::Number(last),
            op: Operator::LEQ,
        }),
        Statement::Drop(None),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_loss_leaves_no_rule() {
        let text = serde_json::to_string(&rules(Loss::NONE)).unwrap();
        assert!(text.contains("delete") && !text.contains("drop"), "{text}");
    }

    #[test]
    fn loss_is_a_share_of_a_million() {
        let text = serde_json::to_string(&rules(Loss::percent(0.1).unwrap())).unwrap();
        for part in [r#""mod":1000000"#, r#""right":999"#, r#""op":"<=""#] {
            assert!(text.contains(part), "{text}");
        }
    }
}
