//! EC2 in little: the EC2 Query API, served for instances that are hosts on this machine, and a
//! client of that API which speaks to this cloud or to another one alike.
//!
//! Four parts:
//!
//! - [`ec2`] keeps the records: key pairs, groups, images, instances. It is given an HTTP request
//!   and returns the response; it holds no socket and no clock.
//! - [`machines`] says what those records ask of real machines ([`Machines`](machines::Machines)).
//! - [`agent`] is the process that joins the two, and serves the API.
//! - [`client`] signs and sends calls, and reads their answers.
//!
//! **Architecture invariant:** [`ec2`] reaches the world through [`machines::Machines`] and the
//! one file it keeps its state in, so every answer can be tested without a machine.
#![forbid(unsafe_code)]

pub mod agent;
pub mod client;
mod credentials;
pub mod ec2;
mod element;
pub mod machines;
mod sigv4;

pub use credentials::{Credentials, CredentialsError};
pub use element::{Element, NotXml};
