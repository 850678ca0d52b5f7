//! Mapped memory, behind safe functions.

mod mapping;

pub(super) use mapping::{Mapping, Window};
