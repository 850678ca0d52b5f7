//! Instances: hosts with a root, processes, users and an SSH server of their own.
//!
//! An [`Instance`] has network, mount, process, UTS and IPC namespaces over an overlay of this
//! machine's root. It lives in an [`Enclave`], which goes with this process, and leaves nothing;
//! what it has written stays in a [`Volume`], from which it boots again. A [`Router`] leads
//! packets between instances and filters them.
//!
//! Namespaces separate names, not trust: whoever is root in an instance is root on this machine.

mod boot;
mod enclave;
mod flows;
mod root;
mod router;
mod volume;

pub use boot::{Boot, Instance, Setting, SharedDirectory, State};
pub use enclave::Enclave;
pub use flows::{FAR_CLASS, FLOW_CLASSES, FlowLimits, NEAR_CLASS};
pub use router::Router;
pub use volume::Volume;
