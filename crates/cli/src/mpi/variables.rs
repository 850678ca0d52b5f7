//! The variables that make each MPI use the provider.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::{Kind, launchers::Launcher};

/// Where each process's provider leaves its report (see `run::verdict`).
pub(crate) const REPORT: &str = "FI_ELASTANE_REPORT";

/// A variable and its value.
pub(crate) type Variable = (&'static str, String);

/// What `launcher`'s MPI needs to find the provider in `folder` and to prefer it to others, and no
/// more than that. docs/mpi.md has the reasons.
pub(crate) fn variables(launcher: &Launcher, folder: &Path, as_efa: bool) -> Result<Vec<Variable>> {
    let folder = folder
        .to_str()
        .filter(|folder| !folder.contains(':'))
        .with_context(|| format!("FI_PROVIDER_PATH cannot hold {}: move it", folder.display()))?;
    let name = if as_efa { "efa" } else { "elastane" };
    let mut variables = vec![("FI_PROVIDER_PATH", folder.to_owned())];
    if as_efa {
        variables.push(("FI_ELASTANE_NAME", name.to_owned()));
    }
    let provider = ("FI_PROVIDER", name.to_owned());
    match launcher.kind {
        Kind::OpenMpi if launcher.major() >= 5 => {}
        Kind::OpenMpi => variables.extend([
            // libfabric 1.17 has a provider that comes first otherwise.
            provider,
            // Debian's configuration switches libfabric off.
            ("OMPI_MCA_mtl", "ofi".to_owned()),
            // Of what Debian leaves on, `rdma` crashes; `pt2pt` has no shared windows, `sm` has.
            ("OMPI_MCA_osc", "sm,pt2pt".to_owned()),
        ]),
        Kind::Mpich => {
            variables.extend([("MPIR_CVAR_CH4_NETMOD", "ofi".to_owned()), provider]);
        }
        Kind::Intel => variables.push(provider),
    }
    Ok(variables)
}

/// The lines by which a shell takes the variables over.
pub(crate) fn exports(variables: &[Variable]) -> String {
    let lines = variables.iter().map(|(name, value)| format!("export {name}={}\n", quoted(value)));
    lines.collect()
}

/// The text as one word of a shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-+=,./:@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exported(kind: Kind, version: &str, as_efa: bool) -> String {
        let launcher = Launcher { kind, version: version.to_owned(), path: "/bin/mpirun".into() };
        exports(&variables(&launcher, Path::new("/opt/p"), as_efa).unwrap())
    }

    #[test]
    fn each_mpi_gets_what_it_needs_and_no_more() {
        let path = "export FI_PROVIDER_PATH=/opt/p\n";
        let provider = "export FI_PROVIDER=elastane\n";
        let netmod = "export MPIR_CVAR_CH4_NETMOD=ofi\n";
        let old = "export OMPI_MCA_mtl=ofi\nexport OMPI_MCA_osc=sm,pt2pt\n";
        for (kind, version, wanted) in [
            (Kind::OpenMpi, "4.1.4", format!("{path}{provider}{old}")),
            (Kind::OpenMpi, "5.0.11", path.to_owned()),
            (Kind::Mpich, "5.0.2", format!("{path}{netmod}{provider}")),
            (Kind::Intel, "2021.18.1", format!("{path}{provider}")),
        ] {
            assert_eq!(exported(kind, version, false), wanted);
        }
    }

    #[test]
    fn name_of_efa_is_asked_for_and_chosen() {
        let text = exported(Kind::Mpich, "5.0.2", true);
        assert!(text.contains("FI_ELASTANE_NAME=efa\n") && text.contains("FI_PROVIDER=efa\n"));
    }

    #[test]
    fn values_are_single_words_of_a_shell() {
        assert_eq!(quoted("a b's"), r"'a b'\''s'");
        assert_eq!(quoted("$HOME"), "'$HOME'");
        assert_eq!(quoted(""), "''");
        let launcher =
            Launcher { kind: Kind::Intel, version: "2021".to_owned(), path: "/m".into() };
        let error = variables(&launcher, Path::new("/a:b"), false).unwrap_err().to_string();
        assert!(error.contains("/a:b"), "{error}");
    }
}
