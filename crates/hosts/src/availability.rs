//! Whether this machine can have hosts at all.

use crate::{
    error::Unavailable,
    sentinel::{Sentinel, Standing},
};

/// What this machine lets us have.
#[derive(Debug)]
pub enum Availability {
    /// Namespaces, made directly.
    Root,
    /// Namespaces, made inside a user namespace.
    UserNamespaces,
    /// No namespaces: only loopback is left, for this reason.
    Loopback(Unavailable),
}

/// Finds out by making a namespace and letting it go.
pub fn available() -> Availability {
    match Sentinel::start(1) {
        Ok(sentinel) => match sentinel.standing() {
            Standing::Direct => Availability::Root,
            Standing::UserNamespace => Availability::UserNamespaces,
        },
        Err(reason) => Availability::Loopback(reason),
    }
}
