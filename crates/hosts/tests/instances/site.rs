//! A place with instances, made for one test.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use elastane_hosts::instance::{Boot, Enclave, Instance, Router, State, Volume};
use tempfile::TempDir;

/// Rounds of looking for what takes time, and what one lasts at least.
const ROUNDS: u32 = 1000;
const ROUND: Duration = Duration::from_millis(10);

pub(crate) struct Site {
    pub(crate) volume: Volume,
    pub(crate) router: Router,
    pub(crate) enclave: Enclave,
    /// With the key that may log in.
    pub(crate) directory: TempDir,
}

impl Site {
    pub(crate) fn open() -> Self {
        let directory = tempfile::Builder::new().prefix("elastane-site").tempdir().unwrap();
        Self::open_in(directory, unique())
    }

    /// `number` tells the networks of tests that run at the same time apart.
    pub(crate) fn open_in(directory: TempDir, number: u32) -> Self {
        let enclave = Enclave::start().unwrap();
        let network = format!("10.{}.{}.0/24", 128 + number / 256, number % 256).parse().unwrap();
        let router = Router::open(&enclave, network, &device(number)).unwrap();
        let volume = Volume::open(&enclave, directory.path()).unwrap();
        let site = Self { volume, router, enclave, directory };
        if !site.key().exists() {
            let key = site.key();
            succeed(
                Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(key),
            );
        }
        site
    }

    fn key(&self) -> PathBuf {
        self.directory.path().join("key")
    }

    /// What to boot as instance `number`.
    pub(crate) fn plan(&self, number: u32) -> Boot {
        let key = std::fs::read_to_string(self.directory.path().join("key.pub")).unwrap();
        Boot {
            id: format!("i-{number}"),
            hostname: format!("host-{number}"),
            image: None,
            address: (self.router.network().network().to_bits() + 10 + number).into(),
            more_addresses: Vec::new(),
            user: "ec2-user".to_owned(),
            authorized_key: Some(key),
            user_data: None,
            mounts: Vec::new(),
            hidden: vec![self.directory.path().to_owned()],
            provider: None,
            environment: Vec::new(),
            resolver: None,
            settings: Vec::new(),
            limits: None,
        }
    }

    pub(crate) fn boot(&self, boot: &Boot) -> Instance {
        Instance::boot(&self.enclave, &self.router, &self.volume, boot).unwrap()
    }

    /// Boots, and waits until it can be reached.
    pub(crate) fn bring_up(&self, boot: &Boot) -> Instance {
        let instance = self.boot(boot);
        wait_until("its SSH server listens", || match instance.state() {
            State::Starting => false,
            State::Ready => true,
            State::Dead => panic!("it died: {}", self.console(&boot.id)),
        });
        instance
    }

    pub(crate) fn console(&self, id: &str) -> String {
        let console = self.volume.read_console(&self.enclave, id, 1 << 20).unwrap();
        String::from_utf8_lossy(&console.unwrap_or_default()).into_owned()
    }

    pub(crate) fn ssh(&self, user: &str, instance: &Instance, command: &str) -> Output {
        Command::new("ssh")
            .args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"])
            .args(["-o", "LogLevel=ERROR", "-o", "ConnectTimeout=5", "-o", "BatchMode=yes"])
            .arg("-i")
            .arg(self.key())
            .arg(format!("{user}@{}", instance.address()))
            .arg(command)
            .output()
            .unwrap()
    }

    /// What a command in an instance prints; it has to succeed.
    pub(crate) fn run(&self, instance: &Instance, command: &str) -> String {
        let output = self.ssh("ec2-user", instance, command);
        assert!(output.status.success(), "{command}: {output:?} {}", self.console(instance.id()));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

/// A number below 32768 that no other test uses at the same time.
pub(crate) fn unique() -> u32 {
    static USED: AtomicU32 = AtomicU32::new(0);
    (std::process::id() * 16 + USED.fetch_add(1, Ordering::Relaxed)) % 32768
}

/// The device that leads to the instances of the network of a number.
pub(crate) fn device(number: u32) -> String {
    format!("eltest{number}")
}

pub(crate) fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
}

pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..ROUNDS {
        if holds() {
            return;
        }
        std::thread::park_timeout(ROUND);
    }
    panic!("it did not come about in time that {what}");
}

/// Whether a mount of this machine, or a loop device, has to do with a directory.
pub(crate) fn is_mounted(directory: &Path) -> bool {
    let name = directory.to_string_lossy();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let loops = Command::new("losetup").arg("--all").output().unwrap();
    mounts.contains(&*name) || String::from_utf8_lossy(&loops.stdout).contains(&*name)
}
