//! Mapped memory, behind safe functions.

mod mapping;
mod ticks;

pub(super) use mapping::{Mapping, Window};
pub use ticks::ticks;
