//! How C declarations are written in this crate: each kind in one macro, which also tells the tests
//! all that it declared.

use std::{
    ffi::{c_char, c_int},
    fmt,
    marker::PhantomData,
    ptr,
};

/// Constants: `"manual page" type { NAME = value, … }`.
macro_rules! constants {
    ($($man:literal $type:ty { $($(#[$doc:meta])* $name:ident = $value:expr,)+ })+) => {
        $($(
            $(#[$doc])*
            #[doc = concat!("See ", $man, ".")]
            pub const $name: $type = $value;
        )+)+

        /// What the tests compare with the headers.
        #[cfg(test)]
        pub(crate) const CONSTANTS: &[(&str, i128)] =
            &[$($((stringify!($name), $name as i128),)+)+];
    };
}

/// Structures of data: `"manual page" pub struct name { … }`.
macro_rules! records {
    ($($man:literal $(#[$doc:meta])* pub struct $name:ident {
        $($(#[$field_doc:meta])* pub $field:ident: $type:ty,)+
    })+) => {
        $(
            $(#[$doc])*
            #[doc = concat!("See ", $man, ".")]
            #[repr(C)]
            #[derive(Clone, Copy, Debug, Default)]
            pub struct $name {
                $(
                    $(#[$field_doc])*
                    #[doc = concat!("See ", $man, ".")]
                    pub $field: $type,
                )+
            }
        )+

        /// What the tests compare with the headers.
        #[cfg(test)]
        pub(crate) const RECORDS: &[crate::layout::Record] = &[$(crate::layout::Record {
            name: stringify!($name),
            size: size_of::<$name>(),
            fields: &[$((stringify!($field), std::mem::offset_of!($name, $field)),)+],
        },)+];
    };
}

/// Tables of functions: `"manual page" pub struct name { fn slot(…) -> …; }`.
macro_rules! operations {
    ($($man:literal $(#[$doc:meta])* pub struct $name:ident {
        $(
            $(#[$slot_doc:meta])*
            fn $slot:ident($($argument:ident: $type:ty),* $(,)?) -> $answer:ty;
        )+
    })+) => {
        $(
            $(#[$doc])*
            #[doc = concat!("See ", $man, ".")]
            #[repr(C)]
            #[derive(Clone, Copy, Debug)]
            pub struct $name {
                /// Bytes of the table, which says how many slots there are.
                pub size: usize,
                $(
                    $(#[$slot_doc])*
                    #[doc = concat!("See ", $man, ".")]
                    pub $slot: unsafe extern "C" fn($($argument: $type),*) -> $answer,
                )+
            }

            #[expect(non_upper_case_globals, reason = "called as the slots they find")]
            impl $name {
                /// Every slot says that there is no such function.
                pub const ENOSYS: Self = Self {
                    size: size_of::<Self>(),
                    $($slot: {
                        extern "C" fn $slot($(_: $type),*) -> $answer {
                            <$answer as $crate::declare::NoSuchFunction>::ANSWER
                        }
                        $slot
                    },)+
                };
                $(
                    /// Finds the slot of this name in a table that came from elsewhere.
                    pub const $slot: $crate::Slot<
                        Self,
                        unsafe extern "C" fn($($argument: $type),*) -> $answer,
                    > = $crate::Slot::at(std::mem::offset_of!(Self, $slot));
                )+
            }
        )+

        /// What the tests compare with the headers.
        #[cfg(test)]
        pub(crate) const TABLES: &[crate::layout::Record] = &[$(crate::layout::Record {
            name: stringify!($name),
            size: size_of::<$name>(),
            fields: &[
                ("size", std::mem::offset_of!($name, size)),
                $((stringify!($slot), std::mem::offset_of!($name, $slot)),)+
            ],
        },)+];
    };
}

#[cfg(test)]
mod tests;

pub(crate) use {constants, operations, records};

/// What a function that does not exist answers.
pub(crate) trait NoSuchFunction {
    const ANSWER: Self;
}

impl NoSuchFunction for c_int {
    const ANSWER: Self = -crate::FI_ENOSYS;
}

impl NoSuchFunction for isize {
    const ANSWER: Self = -crate::FI_ENOSYS as isize;
}

/// The value of a counter.
impl NoSuchFunction for u64 {
    const ANSWER: Self = 0;
}

/// The text of an error.
impl NoSuchFunction for *const c_char {
    const ANSWER: Self = ptr::null();
}

/// Where in a table of type `T` the function of type `F` is.
///
/// What libfabric's headers call `FI_CHECK_OP`.
pub struct Slot<T, F> {
    offset: usize,
    types: PhantomData<fn(T) -> F>,
}

impl<T, F: Copy> Slot<T, F> {
    /// `F` is a function pointer: only [`operations!`] makes slots.
    pub(crate) const fn at(offset: usize) -> Self {
        assert!(size_of::<F>() == size_of::<usize>(), "a slot holds a pointer");
        Self { offset, types: PhantomData }
    }

    /// The function, if the table is there, reaches that far, and has one.
    ///
    /// # Safety
    ///
    /// `table` is null or points at a table of this type that is as long as its `size` says.
    #[must_use]
    pub unsafe fn of(&self, table: *const T) -> Option<F> {
        if table.is_null() {
            return None;
        }
        // SAFETY: the caller says that there is a table, and each begins with its size.
        let size = unsafe { table.cast::<usize>().read() };
        if size < self.offset + size_of::<F>() {
            return None;
        }
        // SAFETY: the slot is within the table, as just checked.
        let slot = unsafe { table.byte_add(self.offset) };
        // SAFETY: an optional function pointer may be null, and the caller vouches for the rest.
        unsafe { slot.cast::<Option<F>>().read() }
    }
}

impl<T, F> fmt::Debug for Slot<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("offset", &self.offset).finish()
    }
}
