//! The file that the records are kept in.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{
    StateError,
    records::{FORM, Records},
};

/// A file that is replaced as a whole, so that whoever is killed while writing leaves the one
/// before.
#[derive(Debug)]
pub(crate) struct Store {
    path: PathBuf,
}

impl Store {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The records of the file; nothing if there is no file.
    pub(crate) fn load(&self) -> Result<Option<Records>, StateError> {
        #[derive(Deserialize)]
        struct Form {
            form: u32,
        }
        let fail = |cause: String| StateError { path: self.path.clone(), cause };
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(fail(error.to_string())),
        };
        let damaged = |error: serde_json::Error| {
            fail(format!("{error}; move the file away to begin with an empty cloud"))
        };
        let Form { form } = serde_json::from_slice(&bytes).map_err(damaged)?;
        if form != FORM {
            let cause = format!("form {form}, this version reads form {FORM}");
            return Err(fail(format!("{cause}; move the file away to begin with an empty cloud")));
        }
        serde_json::from_slice(&bytes).map(Some).map_err(damaged)
    }

    /// Replaces the file.
    pub(crate) fn save(&self, records: &Records) -> Result<(), StateError> {
        let write = || {
            let unfinished = self.path.with_extension("json.new");
            let mut options = fs::OpenOptions::new();
            let options = options.write(true).create(true).truncate(true).mode(0o600);
            let mut file = options.open(&unfinished)?;
            file.write_all(&serde_json::to_vec(records)?)?;
            file.sync_data()?;
            fs::rename(&unfinished, &self.path)
        };
        let fail =
            |error: io::Error| StateError { path: self.path.clone(), cause: error.to_string() };
        write().map_err(fail)
    }
}
