//! What the libraries say of their choices, on the standard error output, for whoever asks for it.

use std::{env, ffi::OsString};

use anyhow::{Result, anyhow};
use log::LevelFilter;

/// Names the least weighty kind of message that is shown.
const VARIABLE: &str = "ELASTANE_LOG";

/// Shows what [`VARIABLE`] asks for: nothing if it is not set.
///
/// # Errors
/// If it says something else than a kind of message.
pub(crate) fn start() -> Result<()> {
    let level = level(env::var_os(VARIABLE))?;
    // The second of two in one process changes nothing.
    let (Ok(()) | Err(_)) = env_logger::Builder::new()
        .filter_module("elastane", level)
        .format_timestamp_micros()
        .try_init();
    Ok(())
}

fn level(value: Option<OsString>) -> Result<LevelFilter> {
    let Some(value) = value.filter(|value| !value.is_empty()) else { return Ok(LevelFilter::Off) };
    let text = value.to_string_lossy();
    text.parse().map_err(|_| {
        anyhow!("{VARIABLE}: '{text}' is none of off, error, warn, info, debug and trace")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_words_and_other_words_are_told() {
        assert_eq!(level(None).unwrap(), LevelFilter::Off);
        assert_eq!(level(Some("".into())).unwrap(), LevelFilter::Off);
        assert_eq!(level(Some("info".into())).unwrap(), LevelFilter::Info);
        assert_eq!(level(Some("DEBUG".into())).unwrap(), LevelFilter::Debug);
        let error = level(Some("loud".into())).unwrap_err().to_string();
        assert_eq!(
            error,
            "ELASTANE_LOG: 'loud' is none of off, error, warn, info, debug and trace"
        );
    }
}
