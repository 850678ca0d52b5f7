//! The cloud, asked by the programs that people ask EC2 with.

#[path = "../end_to_end/running.rs"]
#[expect(dead_code, reason = "other tests use more of it")]
mod running;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use running::{Finished, Running, elastane};

/// A cloud that is up, and is taken down with all that it had.
struct Cloud {
    directory: TempDir,
    /// What `elastane cloud env` tells a shell.
    environment: Vec<(String, String)>,
}

impl Cloud {
    fn up() -> Self {
        let directory = tempfile::tempdir().expect("a folder");
        let mut cloud = Self { directory, environment: Vec::new() };
        cloud.command(&["up", "--port", "0"]).success();
        let exports = cloud.command(&["env"]).success().to_owned();
        cloud.environment = exports
            .lines()
            .filter_map(|line| line.strip_prefix("export ")?.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned()))
            .collect();
        assert_eq!(cloud.environment.len(), 4, "{exports}");
        cloud
    }

    fn command(&self, arguments: &[&str]) -> Finished {
        let mut command = elastane(&["cloud"]);
        command.args(arguments).env("ELASTANE_CLOUD_DIR", self.directory.path().join("cloud"));
        Running::start(command).finish()
    }

    /// Runs a program of the environment of Python in an empty folder.
    fn program(&self, name: &str, arguments: &[&Path]) -> Finished {
        let work = self.directory.path().join("work");
        std::fs::create_dir_all(&work).expect("a folder");
        let bin = environment();
        let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", bin.display());
        let mut command = Command::new(name);
        command.args(arguments).current_dir(&work).env("PATH", path);
        command.env("HOME", &work).env_remove("AWS_PROFILE").envs(self.environment.clone());
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        Running::start(command).finish()
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        let down = self.command(&["down", "--delete"]);
        if !std::thread::panicking() {
            down.success();
        }
    }
}

/// Where the programs are.
fn environment() -> PathBuf {
    // target/debug/elastane, whatever the target directory is.
    let target = Path::new(env!("CARGO_BIN_EXE_elastane")).ancestors().nth(2).expect("two folders");
    let bin = target.join("python/aws/bin");
    assert!(bin.exists(), "no {}: cargo xtask test --only end-to-end makes it", bin.display());
    bin
}

fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/end_to_end_ec2").join(name)
}

#[test]
fn guide_runs_as_it_would_be_typed() {
    let cloud = Cloud::up();
    let finished = cloud.program("/bin/bash", &[&here("guide.sh")]);
    assert!(finished.success().ends_with("== done\n"), "{finished:?}");
}

#[test]
fn answers_have_the_shape_of_a_simulation_by_others() {
    let cloud = Cloud::up();
    let python = environment().join("python");
    let finished = cloud.program(&python.to_string_lossy(), &[&here("shapes.py")]);
    assert!(finished.success().ends_with("answers have the same shape\n"), "{finished:?}");
}
