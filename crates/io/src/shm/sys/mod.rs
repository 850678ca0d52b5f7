//! Mapped memory and what the kernel is asked for, behind safe functions.

mod declare;
mod mapping;
mod ticks;

pub(super) use declare::declare_readable;
pub(super) use mapping::{Mapping, Window};
pub use ticks::ticks;
