//! Whether the declarations are those of the headers.

/// A structure, as the macros declared it.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) name: &'static str,
    pub(crate) size: usize,
    /// The offset of each field.
    pub(crate) fields: &'static [(&'static str, usize)],
}
