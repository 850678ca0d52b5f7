//! The service: who asks, what is asked, what is answered.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use super::{HttpRequest, HttpResponse, Settings};
use crate::machines::Machines;

/// EC2 for one region.
pub struct Service {
    settings: Settings,
    machines: Box<dyn Machines>,
}

/// Why the records of a cloud cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {cause}", path.display())]
pub struct StateError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it, and what to do.
    pub cause: String,
}

impl Service {
    /// Reads the records of the state directory, or begins them there.
    ///
    /// # Errors
    ///
    /// When a file there cannot be read or written, or was written by a later version.
    pub fn open(settings: Settings, machines: Box<dyn Machines>) -> Result<Self, StateError> {
        Ok(Self { settings, machines })
    }

    /// Answers one request. What it asks of machines happens in the next [`Service::poll`], so
    /// that call it soon.
    pub fn answer(&mut self, request: &HttpRequest, now: SystemTime) -> HttpResponse {
        let _ = (request, now, &self.settings, &mut self.machines);
        http::Response::new(Vec::new())
    }

    /// Moves instances and images on: starts what is pending, ends what shall end, notices what
    /// has died. Returns after which time, at the latest, it wants to be called again; call it
    /// after each [`Service::answer`] too.
    pub fn poll(&mut self, now: SystemTime) -> Duration {
        let _ = now;
        Duration::from_secs(1)
    }
}
