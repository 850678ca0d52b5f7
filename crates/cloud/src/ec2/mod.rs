//! The EC2 Query API: requests in, responses out, records in between.
//!
//! A request passes [`Service`], which checks its signature and finds its action; the action reads
//! its parameters, changes the records or refuses, and answers with XML elements. What the
//! records ask of machines is done by [`Service::poll`] (`lifecycle`), but for security groups,
//! which hold as soon as a call is answered (`policy`).

mod actions;
mod error;
mod ids;
mod lifecycle;
mod listing;
mod parameters;
mod policy;
mod records;
pub(crate) mod region;
mod service;
mod settings;
mod store;
#[cfg(test)]
mod tests;
mod types;

pub use service::{Service, StateError};
pub use settings::{Capacity, Settings};
pub use types::InstanceType;

/// A request as it came in, whole.
pub type HttpRequest = http::Request<Vec<u8>>;

/// The response to it, whole. Whoever sends it adds `Content-Length`.
pub type HttpResponse = http::Response<Vec<u8>>;
