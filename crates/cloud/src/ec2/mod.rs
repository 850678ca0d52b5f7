//! The EC2 Query API: requests in, responses out, records in between.

mod service;
mod settings;

pub use service::{Service, StateError};
pub use settings::{Capacity, Settings};

/// A request as it came in, whole.
pub type HttpRequest = http::Request<Vec<u8>>;

/// The response to it, whole. Whoever sends it adds `Content-Length`.
pub type HttpResponse = http::Response<Vec<u8>>;
