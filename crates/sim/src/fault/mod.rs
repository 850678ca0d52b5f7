//! What goes wrong: rules for packets, and things that happen to hosts and links.

mod rule;
mod schedule;

pub(crate) use rule::{Damage, Subject, Weather};
pub use rule::{Effect, Rule, Selector};

pub(crate) use schedule::log_uniform;
pub use schedule::{Control, Schedule};
