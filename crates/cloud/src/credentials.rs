//! The key pair that signs calls.

use std::{
    fmt, fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

/// An access key's id and its secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// Names the key; sent with each call.
    pub access_key_id: String,
    /// Signs calls; never sent.
    pub secret_access_key: String,
    /// Proves that a temporary key is valid; sent with each call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_token: Option<String>,
}

/// Why a file of credentials cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("credentials {}: {cause}", path.display())]
pub struct CredentialsError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub cause: String,
}

impl Credentials {
    /// A random key pair, in the form of AWS's.
    ///
    /// # Errors
    ///
    /// When the system has no randomness.
    pub fn random() -> io::Result<Self> {
        const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        let mut id = [0; 16];
        let mut secret = [0; 30];
        getrandom::fill(&mut id).map_err(io::Error::other)?;
        getrandom::fill(&mut secret).map_err(io::Error::other)?;
        let id: String = id.iter().map(|byte| char::from(BASE32[usize::from(byte % 32)])).collect();
        Ok(Self {
            access_key_id: format!("AKIA{id}"),
            secret_access_key: STANDARD.encode(secret),
            session_token: None,
        })
    }

    /// Reads the key pair of a file. Makes the file, mode 0600, with a random one if it is not
    /// there.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or written, or holds something else.
    pub fn load_or_create(path: &Path) -> Result<Self, CredentialsError> {
        let fail = |cause: String| CredentialsError { path: path.to_owned(), cause };
        match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| fail(format!("{error}; remove the file for a new key pair"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made = Self::random().and_then(|pair| pair.write(path).map(|()| pair));
                made.map_err(|error| fail(error.to_string()))
            }
            Err(error) => Err(fail(error.to_string())),
        }
    }

    /// Writes a new file whole or not at all.
    fn write(&self, path: &Path) -> io::Result<()> {
        let unfinished = path.with_extension("new");
        let text = serde_json::to_vec_pretty(self)?;
        if let Err(error) = fs::remove_file(&unfinished)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(&unfinished)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)
    }
}

/// Shows the id only.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("access_key_id", &self.access_key_id).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn second_load_finds_the_pair_of_the_first_and_only_the_owner_may_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("credentials.json");
        let first = Credentials::load_or_create(&path).unwrap();
        assert_eq!(Credentials::load_or_create(&path).unwrap(), first);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(first.access_key_id.len(), 20);
        assert_eq!(first.secret_access_key.len(), 40);
        assert_ne!(Credentials::random().unwrap(), first);
    }

    #[test]
    fn damaged_file_is_an_error_that_names_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("credentials.json");
        fs::write(&path, "{").unwrap();
        let error = Credentials::load_or_create(&path).unwrap_err().to_string();
        assert!(error.contains("credentials.json") && error.contains("remove the file"), "{error}");
    }

    #[test]
    fn secret_is_not_printed() {
        let pair = Credentials::random().unwrap();
        assert!(!format!("{pair:?}").contains(&pair.secret_access_key));
    }
}
