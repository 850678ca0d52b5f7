//! The cloud, asked by the programs that people ask EC2 with.

#[path = "../end_to_end/provider_library.rs"]
#[expect(dead_code, reason = "other tests use more of it")]
mod provider_library;
#[path = "../end_to_end/running.rs"]
#[expect(dead_code, reason = "other tests use more of it")]
mod running;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use running::{Finished, Running, elastane, eventually};

/// How long the guide may take: the `aws` command starts fifty times, and asks again only every
/// 15 seconds where it has to wait.
const BOUND: Duration = Duration::from_secs(1200);

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
        let has_url = cloud.environment.iter().any(|(name, _)| name == "AWS_ENDPOINT_URL_EC2");
        assert!(has_url, "{exports}");
        cloud
    }

    fn command(&self, arguments: &[&str]) -> Finished {
        let mut command = elastane(&["cloud"]);
        command.args(arguments).env("ELASTANE_CLOUD_DIR", self.directory.path().join("cloud"));
        provider_library::offer(&mut command);
        Running::start(command).finish()
    }

    /// Runs a program of the environment of Python in an empty folder. Returns what it printed and
    /// said, if it did its work.
    fn program(&self, name: &Path, argument: &Path) -> String {
        let work = self.directory.path().join("work");
        fs::create_dir_all(&work).expect("a folder");
        let log = self.directory.path().join("log");
        let file = File::create(&log).expect("a file");
        let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", environment().display());
        let mut child = Command::new(name)
            .arg(argument)
            .current_dir(&work)
            .env("PATH", path)
            .env("HOME", &work)
            .env_remove("AWS_PROFILE")
            .env_remove("AWS_SESSION_TOKEN")
            .envs(self.environment.clone())
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("the file again"))
            .stderr(file)
            .spawn()
            .expect("the program starts");
        let mut status = None;
        eventually("the program ends", BOUND, || {
            status = child.try_wait().expect("it is our child");
            status.is_some()
        });
        let printed = fs::read_to_string(&log).expect("the log");
        assert!(status.is_some_and(|status| status.success()), "{status:?}\n{printed}");
        printed
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
    let printed = cloud.program(Path::new("/bin/bash"), &here("guide.sh"));
    assert!(printed.ends_with("== done\n"), "{printed}");
}

#[test]
fn answers_have_the_shape_of_a_simulation_by_others() {
    let cloud = Cloud::up();
    let printed = cloud.program(&environment().join("python"), &here("shapes.py"));
    assert!(printed.ends_with(" answers have the same shape\n"), "{printed}");
}
