//! What ParallelCluster has and this program has not: said, instead of left out in silence.

use super::Findings;
use crate::config::Config;

const VALIDATOR: &str = "FeatureValidator";

pub(super) fn check(config: &Config, found: &mut Findings) {
    let settings = &config.scheduling.slurm_settings;
    let missing = [
        (config.login_nodes.is_some(), "LoginNodes", "log in to the head node"),
        (config.directory_service.is_some(), "DirectoryService", "users are those of the image"),
        (
            settings.database.is_some(),
            "Scheduling.SlurmSettings.Database",
            "there is no accounting",
        ),
        (
            settings.external_slurmdbd.is_some(),
            "Scheduling.SlurmSettings.ExternalSlurmdbd",
            "there is no accounting",
        ),
        (
            settings.munge_key_secret_arn.is_some(),
            "Scheduling.SlurmSettings.MungeKeySecretArn",
            "each cluster makes a key of its own",
        ),
    ];
    for (_, path, instead) in missing.iter().filter(|(is_given, _, _)| *is_given) {
        let name = path.rsplit('.').next().unwrap_or(path);
        let message = format!("{name} is not supported here: {instead}");
        found.error(VALIDATOR, path, message);
    }
    let home = config.deployment_settings.default_user_home.as_deref();
    if home.is_some_and(|home| home.eq_ignore_ascii_case("local")) {
        let message = "homes are shared by all nodes here";
        found.warn(VALIDATOR, "DeploymentSettings.DefaultUserHome", message);
    }
}
