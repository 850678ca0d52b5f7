//! Folders of this machine that the nodes of a cluster share.

use std::{collections::BTreeMap, fs, io, os::unix::fs::PermissionsExt as _, path::Path};

use super::{Cloud, LifeError};
use crate::{config::Config, paths, store::replace};

/// Programs that Slurm runs on the head node, and what each asks of the loop.
const PROGRAMS: [(&str, &str); 3] = [
    ("slurm_resume", "resume \"$1\""),
    ("slurm_suspend", "suspend \"$1\""),
    ("slurm_prolog", "prolog"),
];

/// Which folder is seen where, by the places in the nodes.
pub(super) fn plan(cluster: &str, config: &Config) -> BTreeMap<String, String> {
    let own = |what: &str| format!("{cluster}.{what}");
    let mut folders = BTreeMap::from([
        (paths::SHARED.to_owned(), own("cluster")),
        (paths::STATE.to_owned(), own("state")),
        ("/home".to_owned(), own("home")),
        ("/shared".to_owned(), own("shared")),
    ]);
    for storage in &config.shared_storage {
        let place = format!("/{}", storage.mount_dir.trim_start_matches('/'));
        let folder = match storage.existing() {
            Some(existing) => existing.to_owned(),
            None => own(&format!("storage.{}", storage.name)),
        };
        folders.insert(place, folder);
    }
    folders
}

/// The folders that stay when the cluster goes.
pub(super) fn retained(cluster: &str, config: &Config) -> Vec<String> {
    let plan = plan(cluster, config);
    let kept = config.shared_storage.iter().filter(|storage| storage.is_retained());
    kept.filter_map(|storage| {
        plan.get(&format!("/{}", storage.mount_dir.trim_start_matches('/'))).cloned()
    })
    .collect()
}

/// Makes the folders, and puts into them what nodes need to begin.
pub(super) fn make(
    cloud: &Cloud,
    folders: &BTreeMap<String, String>,
    program: &Path,
) -> Result<(), LifeError> {
    for (place, folder) in folders {
        let path = cloud.filesystems.join(folder);
        let mode = match place.as_str() {
            paths::SHARED | paths::STATE | "/home" => 0o755,
            // As /tmp: whoever uses the cluster may write.
            _ => 0o1777,
        };
        let is_new = !path.is_dir();
        fs::create_dir_all(&path)
            .and_then(|()| match is_new {
                true => fs::set_permissions(&path, fs::Permissions::from_mode(mode)),
                false => Ok(()),
            })
            .map_err(LifeError::file(format!("make {}", path.display())))?;
    }
    let of = |place: &str| cloud.filesystems.join(folders.get(place).map_or("", String::as_str));
    fill(&of(paths::SHARED), program).map_err(LifeError::file("prepare what nodes share"))?;
    let key = serde_json::to_vec(&cloud.credentials).expect("a key is text");
    replace(&of(paths::STATE).join("credentials.json"), &key, 0o600)
        .map_err(LifeError::file("give the head node its key"))
}

fn fill(shared: &Path, program: &Path) -> io::Result<()> {
    let programs = shared.join("bin");
    for folder in ["bin", "slurm", "nodes", "failures", "logs"] {
        fs::create_dir_all(shared.join(folder))?;
    }
    // The nodes go on with the program that made them, whatever becomes of this one.
    let copy = programs.join("elastane");
    fs::copy(program, &copy)?;
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))?;
    for (name, what) in PROGRAMS {
        let text = format!("#!/bin/sh\nexec {}/elastane cluster told {what}\n", paths::PROGRAMS);
        replace(&programs.join(name), text.as_bytes(), 0o755)?;
    }
    replace(&programs.join("task_prolog"), include_bytes!("task-prolog.sh"), 0o755)?;
    let key = shared.join("munge.key");
    if !key.exists() {
        let mut bytes = [0; 128];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        replace(&key, &bytes, 0o600)?;
    }
    Ok(())
}

/// Takes folders away, but for those that stay.
pub(super) fn remove(
    cloud: &Cloud,
    folders: &BTreeMap<String, String>,
    retained: &[String],
) -> Result<(), LifeError> {
    // The record goes last: until then a deletion can be tried again.
    let (state, others): (Vec<_>, Vec<_>) = folders
        .iter()
        .filter(|(_, folder)| !retained.contains(folder))
        .partition(|(place, _)| place.as_str() == paths::STATE);
    for (_, folder) in others.into_iter().chain(state) {
        let path = cloud.filesystems.join(folder);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(LifeError::file(format!("remove {}", path.display()))(error));
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// Takes away folders of the cluster's own that would stay, if nothing is in them.
pub(super) fn remove_empty(cloud: &Cloud, cluster: &str, retained: &[String]) {
    let own = format!("{cluster}.");
    for folder in retained.iter().filter(|folder| folder.starts_with(&own)) {
        // What holds something is what was to be kept.
        fs::remove_dir(cloud.filesystems.join(folder)).ok();
    }
}
