//! The checkout: where it is, which files it has, which packages and targets.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use cargo_metadata::{
    DependencyKind, Metadata, MetadataCommand, TargetKind,
    camino::{Utf8Path, Utf8PathBuf},
};

pub(crate) struct Workspace {
    metadata: Metadata,
}

/// A package of the workspace, by the short name that the architecture uses.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// `src/lib.rs` or `src/main.rs`, relative to the checkout.
    pub(crate) roots: Vec<String>,
    /// Packages of the workspace that it uses.
    pub(crate) uses: Vec<Use>,
}

#[derive(Debug)]
pub(crate) struct Use {
    pub(crate) name: String,
    pub(crate) only_in_tests: bool,
}

impl Workspace {
    pub(crate) fn find() -> Result<Self> {
        let metadata = MetadataCommand::new()
            .no_deps()
            .exec()
            .context("cannot read the workspace: run this inside the checkout")?;
        Ok(Self { metadata })
    }

    pub(crate) fn root(&self) -> &Utf8Path {
        &self.metadata.workspace_root
    }

    pub(crate) fn target_directory(&self) -> &Utf8Path {
        &self.metadata.target_directory
    }

    /// A command at the root of the checkout that cannot ask anything.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.root()).stdin(Stdio::null());
        command
    }

    /// Every file that is, or could be, in version control; relative to the root.
    pub(crate) fn files(&self) -> Result<Vec<Utf8PathBuf>> {
        // A checkout that belongs to somebody else is read, never executed: let git look at it.
        let output = self
            .command("git")
            .args(["-c", "safe.directory=*", "ls-files", "-z"])
            .args(["--cached", "--others", "--exclude-standard"])
            .output()
            .context("cannot run git, which lists the files: apt-get install git")?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "git cannot list the files: {}", complaint.trim());
        let list = String::from_utf8(output.stdout).context("a file name is not UTF-8")?;
        let names = list.split('\0').filter(|name| !name.is_empty()).map(Utf8PathBuf::from);
        Ok(names.filter(|name| self.root().join(name).is_file()).collect())
    }

    pub(crate) fn packages(&self) -> Vec<Package> {
        let mut packages: Vec<_> = self
            .metadata
            .workspace_packages()
            .into_iter()
            .map(|package| Package {
                name: short_name(&package.name),
                roots: self.crate_roots(package),
                uses: uses(package),
            })
            .collect();
        packages.sort_by(|a, b| a.name.cmp(&b.name));
        packages
    }

    /// The names of all targets below the packages' `tests` directories, without doubles.
    pub(crate) fn test_targets(&self) -> Vec<String> {
        let packages = self.metadata.workspace_packages();
        let targets = packages.iter().flat_map(|package| &package.targets);
        let mut names: Vec<_> = targets
            .filter(|target| target.is_kind(TargetKind::Test))
            .map(|target| target.name.clone())
            .collect();
        names.sort();
        names.dedup();
        names
    }

    fn crate_roots(&self, package: &cargo_metadata::Package) -> Vec<String> {
        let shipped = |target: &&cargo_metadata::Target| {
            target
                .kind
                .iter()
                .any(|kind| matches!(kind, TargetKind::Lib | TargetKind::Bin | TargetKind::CDyLib))
        };
        let paths = package.targets.iter().filter(shipped).map(|target| &target.src_path);
        paths.map(|path| path.strip_prefix(self.root()).unwrap_or(path).to_string()).collect()
    }
}

fn uses(package: &cargo_metadata::Package) -> Vec<Use> {
    let within = package.dependencies.iter().filter(|dependency| dependency.path.is_some());
    within
        .map(|dependency| Use {
            name: short_name(&dependency.name),
            only_in_tests: dependency.kind == DependencyKind::Development,
        })
        .collect()
}

/// The crate's name in the architecture: packages carry a prefix so that their names are free.
fn short_name(package: &str) -> String {
    match package.strip_prefix("elastane") {
        Some("") => "cli".to_owned(),
        Some(rest) => rest.trim_start_matches('-').to_owned(),
        None => package.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_names_become_the_names_of_the_architecture() {
        assert_eq!(short_name("elastane-wire"), "wire");
        assert_eq!(short_name("elastane"), "cli");
        assert_eq!(short_name("xtask"), "xtask");
    }

    #[test]
    fn files_of_this_checkout_include_the_manifest_and_leave_out_build_output() {
        let files = Workspace::find().unwrap().files().unwrap();
        assert!(files.iter().any(|file| file == "Cargo.toml"));
        assert!(!files.iter().any(|file| file.starts_with("target")));
    }
}
