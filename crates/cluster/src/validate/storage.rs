//! Shared storage and volumes.

use super::Findings;
use crate::config::{Config, SharedStorage};

/// Where nothing may be mounted, for the system is there or the cluster's own files.
const TAKEN: &[&str] = &[
    "/",
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/home",
    "/lib",
    "/lib64",
    "/media",
    "/mnt",
    "/opt",
    "/opt/intel",
    "/opt/parallelcluster",
    "/opt/parallelcluster/shared",
    "/opt/parallelcluster/state",
    "/opt/slurm",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/srv",
    "/sys",
    "/tmp",
    "/usr",
    "/var",
];

/// The most new ones of a kind.
const MOST_EBS: usize = 5;
const MOST_NEW: usize = 1;

pub(super) fn check(config: &Config, found: &mut Findings) {
    let mut places: Vec<(String, String)> = Vec::new();
    for (number, storage) in config.shared_storage.iter().enumerate() {
        let path = format!("SharedStorage[{number}]");
        settings_block(storage, &path, found);
        volume(storage, &path, found);
        if storage.mount_dir.is_empty() {
            continue;
        }
        let place = format!("/{}", storage.mount_dir.trim_matches('/'));
        let at = format!("{path}.MountDir");
        if TAKEN.contains(&place.as_str()) || place.split('/').any(|part| part == "..") {
            let message = format!("{place} cannot be used: the system or the cluster is there");
            found.error("SharedStorageMountDirValidator", &at, message);
        }
        for (other, before) in &places {
            let within = |inner: &str, outer: &str| inner.starts_with(&format!("{outer}/"));
            if *other == place {
                let message = format!("{before} has {place} already");
                found.error("DuplicateMountDirValidator", &at, message);
            } else if within(other, &place) || within(&place, other) {
                let message = format!("{place} and {other} of {before} lie in each other");
                found.error("OverlappingMountDirValidator", &at, message);
            }
        }
        places.push((place, path));
    }
    count(config, found);
}

fn count(config: &Config, found: &mut Findings) {
    for (kind, most) in [("Ebs", MOST_EBS), ("Efs", MOST_NEW), ("FsxLustre", MOST_NEW)] {
        let new = config
            .shared_storage
            .iter()
            .filter(|it| it.storage_type.as_deref() == Some(kind) && it.existing().is_none());
        let new = new.count();
        if new > most {
            let message = format!("{new} new storages of the kind {kind}; at most {most} are made");
            found.error("NumberOfStorageValidator", "SharedStorage", message);
        }
    }
}

/// The block of settings is that of the kind.
fn settings_block(storage: &SharedStorage, path: &str, found: &mut Findings) {
    let Some(kind) = storage.storage_type.as_deref() else { return };
    let blocks = [
        ("Ebs", storage.ebs_settings.is_some()),
        ("Efs", storage.efs_settings.is_some()),
        ("FsxLustre", storage.fsx_lustre_settings.is_some()),
        ("FsxOpenZfs", storage.fsx_open_zfs_settings.is_some()),
        ("FsxOntap", storage.fsx_ontap_settings.is_some()),
        ("FileCache", storage.file_cache_settings.is_some()),
    ];
    for (name, _) in blocks.iter().filter(|(name, is_given)| *is_given && *name != kind) {
        let message = format!("{name}Settings does not belong to StorageType {kind}");
        found.error("ConfigSchemaValidator", &format!("{path}.{name}Settings"), message);
    }
}

fn volume(storage: &SharedStorage, path: &str, found: &mut Findings) {
    let Some(volume) = &storage.ebs_settings else { return };
    let path = format!("{path}.EbsSettings");
    let kind = volume.volume_type.as_deref().unwrap_or("gp3");
    let (least, most) = match kind {
        "standard" => (1, 1024),
        "io1" => (4, 16_384),
        "io2" => (4, 65_536),
        "st1" | "sc1" => (125, 16_384),
        _ => (1, 16_384),
    };
    if let Some(size) = volume.size
        && !(least..=most).contains(&size)
    {
        let message = format!("{size} GiB is not between {least} and {most} of {kind}");
        found.error("EbsVolumeTypeSizeValidator", &format!("{path}.Size"), message);
    }
    let range = match kind {
        "io1" => Some((100, 64_000)),
        "io2" => Some((100, 256_000)),
        "gp3" => Some((3000, 16_000)),
        _ => None,
    };
    match (volume.iops, range) {
        (Some(iops), Some((least, most))) if !(least..=most).contains(&iops) => {
            let message = format!("{iops} is not between {least} and {most} of {kind}");
            found.error("EbsVolumeIopsValidator", &format!("{path}.Iops"), message);
        }
        (Some(_), None) => {
            let message = format!("{kind} has no Iops to set");
            found.error("EbsVolumeIopsValidator", &format!("{path}.Iops"), message);
        }
        _ => {}
    }
    if let Some(throughput) = volume.throughput
        && (kind != "gp3" || !(125..=1000).contains(&throughput))
    {
        let message = "Throughput is of gp3 only, between 125 and 1000 MiB/s";
        found.error("EbsVolumeThroughputValidator", &format!("{path}.Throughput"), message);
    }
}
