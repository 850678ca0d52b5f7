//! libfabric at run time: the copy that a caller loads, and the copy that loaded a provider.

use std::{
    error::Error as _,
    ffi::{CStr, OsStr, OsString, c_char, c_int, c_void},
    fmt, ptr,
};

use libloading::os::unix::{Library as Loaded, RTLD_LOCAL, RTLD_NOW};

use crate::{
    FI_MAJOR, FI_MINOR, FI_SUCCESS, FI_VERSION, fi_fabric_attr, fi_info, fi_log_level,
    fi_log_subsys, fi_param_type, fi_provider, fi_type, fid_fabric,
};

#[cfg(test)]
pub(crate) mod tests;

/// The file name of every libfabric there has been.
const NAME: &str = "libfabric.so.1";

/// The oldest version that this crate is tested with.
const OLDEST: u32 = FI_VERSION(1, 17);

/// Why there is no libfabric to call.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// The loader does not find it, or it lacks what it needs itself.
    #[error(
        "cannot load {name}: {reason}; install libfabric (on Debian: libfabric1)",
        name = .name.display()
    )]
    Absent {
        /// The name or path that was tried.
        name: OsString,
        /// What the loader says.
        reason: String,
    },
    /// It is not a libfabric.
    #[error("{name} is no libfabric: {reason}", name = .name.display())]
    Foreign {
        /// The name or path that was tried.
        name: OsString,
        /// What the loader says of a function that is missing.
        reason: String,
    },
    /// Its structures lack parts.
    #[error(
        "{name} is libfabric {major}.{minor}; 1.17 or later is needed",
        name = .name.display(), major = FI_MAJOR(*.version), minor = FI_MINOR(*.version)
    )]
    Old {
        /// The name or path that was tried.
        name: OsString,
        /// As [`FI_VERSION`] packs it.
        version: u32,
    },
}

/// A libfabric for callers, loaded at run time and never unloaded: its providers may have threads.
///
/// Structures that it hands out are as long as its own [version](Self::version) has them.
#[derive(Clone, Copy)]
pub struct Library {
    getinfo: unsafe extern "C" fn(
        u32,
        *const c_char,
        *const c_char,
        u64,
        *const fi_info,
        *mut *mut fi_info,
    ) -> c_int,
    freeinfo: unsafe extern "C" fn(*mut fi_info),
    dupinfo: unsafe extern "C" fn(*const fi_info) -> *mut fi_info,
    fabric: unsafe extern "C" fn(*mut fi_fabric_attr, *mut *mut fid_fabric, *mut c_void) -> c_int,
    strerror: unsafe extern "C" fn(c_int) -> *const c_char,
    tostr_r:
        Option<unsafe extern "C" fn(*mut c_char, usize, *const c_void, fi_type) -> *mut c_char>,
    version: u32,
}

impl Library {
    /// Loads the libfabric that the loader finds.
    ///
    /// # Errors
    /// There is none, or none that can be called.
    pub fn load() -> Result<Self, Unusable> {
        Self::load_from(NAME)
    }

    /// Loads the libfabric of this name or path.
    ///
    /// # Errors
    /// There is none, or it cannot be called.
    pub fn load_from(name: impl AsRef<OsStr>) -> Result<Self, Unusable> {
        let name = name.as_ref();
        let flags = RTLD_NOW | RTLD_LOCAL | libc::RTLD_NODELETE;
        // SAFETY: libfabric's constructors only set up tables of its own.
        let loaded = unsafe { Loaded::open(Some(name), flags) }
            .map_err(|error| Unusable::Absent { name: name.to_owned(), reason: reason(&error) })?;
        let (library, version) = Self::of(&loaded)
            .map_err(|error| Unusable::Foreign { name: name.to_owned(), reason: reason(&error) })?;
        if version < OLDEST {
            return Err(Unusable::Old { name: name.to_owned(), version });
        }
        Ok(library)
    }

    fn of(loaded: &Loaded) -> Result<(Self, u32), libloading::Error> {
        // SAFETY: the type is that of fi_version(3).
        let version: unsafe extern "C" fn() -> u32 = unsafe { function(loaded, c"fi_version") }?;
        // SAFETY: it takes nothing, and answers a constant.
        let version = unsafe { version() };
        let library = Self {
            // SAFETY: the type is that of fi_getinfo(3).
            getinfo: unsafe { function(loaded, c"fi_getinfo") }?,
            // SAFETY: the type is that of fi_getinfo(3).
            freeinfo: unsafe { function(loaded, c"fi_freeinfo") }?,
            // SAFETY: the type is that of fi_getinfo(3).
            dupinfo: unsafe { function(loaded, c"fi_dupinfo") }?,
            // SAFETY: the type is that of fi_fabric(3).
            fabric: unsafe { function(loaded, c"fi_fabric") }?,
            // SAFETY: the type is that of fi_errno(3).
            strerror: unsafe { function(loaded, c"fi_strerror") }?,
            // SAFETY: the type is that of fi_tostr(3).
            tostr_r: unsafe { function(loaded, c"fi_tostr_r") }.ok(),
            version,
        };
        Ok((library, version))
    }

    /// The version of the interface that this copy has, as [`FI_VERSION`] packs it: fi_version(3).
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// What providers offer: fi_getinfo(3). To be given back to [`freeinfo`](Self::freeinfo).
    ///
    /// # Errors
    /// The positive number of an error, [`FI_ENODATA`](crate::FI_ENODATA) where nobody offers that.
    ///
    /// # Safety
    /// `hints` is null, or the head of a whole `fi_info`, as [`dupinfo`](Self::dupinfo) makes it.
    pub unsafe fn getinfo(
        &self,
        version: u32,
        node: Option<&CStr>,
        service: Option<&CStr>,
        flags: u64,
        hints: *const fi_info,
    ) -> Result<*mut fi_info, c_int> {
        let pointer = |text: Option<&CStr>| text.map_or(ptr::null(), CStr::as_ptr);
        let mut info = ptr::null_mut();
        // SAFETY: the texts end in a zero, and the caller vouches for the hints.
        let status = unsafe {
            (self.getinfo)(version, pointer(node), pointer(service), flags, hints, &mut info)
        };
        if status == FI_SUCCESS { Ok(info) } else { Err(-status) }
    }

    /// Frees a list of offers, or hints: fi_getinfo(3).
    ///
    /// # Safety
    /// `info` is null, or came from this copy and is not in use any more.
    pub unsafe fn freeinfo(&self, info: *mut fi_info) {
        if !info.is_null() {
            // SAFETY: the caller says where it came from.
            unsafe { (self.freeinfo)(info) }
        }
    }

    /// Copies one offer; given null, makes empty hints with all their parts: fi_getinfo(3). Null
    /// where memory is out.
    ///
    /// # Safety
    /// `info` is null, or came from this copy.
    #[must_use]
    pub unsafe fn dupinfo(&self, info: *const fi_info) -> *mut fi_info {
        // SAFETY: the caller says where it came from.
        unsafe { (self.dupinfo)(info) }
    }

    /// Opens a fabric: fi_fabric(3).
    ///
    /// # Errors
    /// The positive number of an error.
    ///
    /// # Safety
    /// `attr` is that of an offer of this copy.
    pub unsafe fn fabric(
        &self,
        attr: *mut fi_fabric_attr,
        context: *mut c_void,
    ) -> Result<*mut fid_fabric, c_int> {
        let mut fabric = ptr::null_mut();
        // SAFETY: the caller says where the attributes came from.
        let status = unsafe { (self.fabric)(attr, &mut fabric, context) };
        if status == FI_SUCCESS { Ok(fabric) } else { Err(-status) }
    }

    /// What an error means, given as a positive or as a negative number: fi_errno(3).
    #[must_use]
    pub fn strerror(&self, error: c_int) -> String {
        // SAFETY: it takes any number.
        let text = unsafe { (self.strerror)(error.saturating_abs()) };
        // SAFETY: the text is a constant of the library, which stays loaded.
        unsafe { owned(text) }.unwrap_or_else(|| format!("error {error}"))
    }

    /// A value as text: fi_tostr(3).
    ///
    /// # Safety
    /// `data` points at a value of the kind that `datatype` names, whole as this copy has it.
    #[must_use]
    pub unsafe fn tostr(&self, data: *const c_void, datatype: fi_type) -> Option<String> {
        let tostr_r = self.tostr_r?;
        // As much as fi_tostr(3) itself has room for.
        let mut room = vec![0_u8; 8192];
        // SAFETY: the room is as long as said, and the caller vouches for the value.
        let text = unsafe { tostr_r(room.as_mut_ptr().cast(), room.len(), data, datatype) };
        if text.is_null() {
            return None;
        }
        let text = CStr::from_bytes_until_nul(&room).ok()?;
        Some(text.to_string_lossy().into_owned())
    }
}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = format_args!("{}.{}", FI_MAJOR(self.version), FI_MINOR(self.version));
        f.debug_struct("Library").field("version", &version).finish_non_exhaustive()
    }
}

/// What the libfabric that loaded a provider does for it: the log and the parameters.
#[derive(Clone, Copy)]
pub struct HostServices {
    log_enabled: unsafe extern "C" fn(*const fi_provider, fi_log_level, fi_log_subsys) -> c_int,
    log: unsafe extern "C" fn(
        *const fi_provider,
        fi_log_level,
        fi_log_subsys,
        *const c_char,
        c_int,
        *const c_char,
        ...
    ),
    param_define: unsafe extern "C" fn(
        *const fi_provider,
        *const c_char,
        fi_param_type,
        *const c_char,
        ...
    ) -> c_int,
    param_get: unsafe extern "C" fn(*mut fi_provider, *const c_char, *mut c_void) -> c_int,
}

impl HostServices {
    /// Those of the libfabric in this process; none where there is none, or where it has another
    /// file name.
    #[must_use]
    pub fn of_this_process() -> Option<Self> {
        let flags = RTLD_NOW | RTLD_LOCAL | libc::RTLD_NOLOAD | libc::RTLD_NODELETE;
        // SAFETY: it is loaded already or this fails, so nothing is run.
        let loaded = unsafe { Loaded::open(Some(NAME), flags) }.ok()?;
        Some(Self {
            // SAFETY: the type is that of fi_log_enabled.
            log_enabled: unsafe { function(&loaded, c"fi_log_enabled") }.ok()?,
            // SAFETY: the type is that of fi_log.
            log: unsafe { function(&loaded, c"fi_log") }.ok()?,
            // SAFETY: the type is that of fi_param_define.
            param_define: unsafe { function(&loaded, c"fi_param_define") }.ok()?,
            // SAFETY: the type is that of fi_param_get.
            param_get: unsafe { function(&loaded, c"fi_param_get") }.ok()?,
        })
    }

    /// Whether such a line would be shown.
    ///
    /// # Safety
    /// `provider` is registered with this libfabric.
    #[must_use]
    pub unsafe fn log_enabled(
        &self,
        provider: *const fi_provider,
        level: fi_log_level,
        subsystem: fi_log_subsys,
    ) -> bool {
        // SAFETY: the caller vouches for the provider.
        unsafe { (self.log_enabled)(provider, level, subsystem) != 0 }
    }

    /// Writes a line, which brings its own end; ask [`log_enabled`](Self::log_enabled) first.
    ///
    /// # Safety
    /// `provider` is registered with this libfabric.
    pub unsafe fn log(
        &self,
        provider: *const fi_provider,
        level: fi_log_level,
        subsystem: fi_log_subsys,
        (function, line): (&CStr, c_int),
        message: &CStr,
    ) {
        let (function, message) = (function.as_ptr(), message.as_ptr());
        // SAFETY: the texts end in a zero, and the format takes the one that follows it.
        unsafe {
            (self.log)(provider, level, subsystem, function, line, c"%s".as_ptr(), message);
        }
    }

    /// Makes a parameter known: `FI_<PROVIDER>_<NAME>` in the environment, listed by `fi_info -e`.
    ///
    /// # Errors
    /// The positive number of an error.
    ///
    /// # Safety
    /// `provider` has a name.
    pub unsafe fn param_define(
        &self,
        provider: *const fi_provider,
        name: &CStr,
        kind: fi_param_type,
        help: &CStr,
    ) -> Result<(), c_int> {
        let (name, help) = (name.as_ptr(), help.as_ptr());
        // SAFETY: the texts end in a zero, and the format takes the one that follows it.
        let status = unsafe { (self.param_define)(provider, name, kind, c"%s".as_ptr(), help) };
        if status == FI_SUCCESS { Ok(()) } else { Err(-status) }
    }

    /// The value of a parameter that was defined as `FI_PARAM_STRING`.
    ///
    /// # Errors
    /// [`FI_ENODATA`](crate::FI_ENODATA) where it is not set.
    ///
    /// # Safety
    /// `provider` has a name, and the parameter that type.
    pub unsafe fn param_string(
        &self,
        provider: *mut fi_provider,
        name: &CStr,
    ) -> Result<String, c_int> {
        let mut value: *const c_char = ptr::null();
        // SAFETY: the value is of the type that the caller says.
        unsafe { self.param_get(provider, name, &raw mut value) }?;
        // SAFETY: it is a text in the environment, copied before anybody can change that.
        unsafe { owned(value) }.ok_or(crate::FI_ENODATA)
    }

    /// The value of a parameter that was defined as `FI_PARAM_INT` or, 0 or 1, `FI_PARAM_BOOL`.
    ///
    /// # Errors
    /// [`FI_ENODATA`](crate::FI_ENODATA) where it is not set, another where it is no such value.
    ///
    /// # Safety
    /// `provider` has a name, and the parameter that type.
    pub unsafe fn param_int(
        &self,
        provider: *mut fi_provider,
        name: &CStr,
    ) -> Result<c_int, c_int> {
        let mut value = 0;
        // SAFETY: the value is of the type that the caller says.
        unsafe { self.param_get(provider, name, &raw mut value) }?;
        Ok(value)
    }

    /// The value of a parameter that was defined as `FI_PARAM_SIZE_T`.
    ///
    /// # Errors
    /// [`FI_ENODATA`](crate::FI_ENODATA) where it is not set, another where it is no such value.
    ///
    /// # Safety
    /// `provider` has a name, and the parameter that type.
    pub unsafe fn param_size_t(
        &self,
        provider: *mut fi_provider,
        name: &CStr,
    ) -> Result<usize, c_int> {
        let mut value = 0;
        // SAFETY: the value is of the type that the caller says.
        unsafe { self.param_get(provider, name, &raw mut value) }?;
        Ok(value)
    }

    /// # Safety
    /// `provider` has a name, and the parameter is of type `T`.
    unsafe fn param_get<T>(
        &self,
        provider: *mut fi_provider,
        name: &CStr,
        value: *mut T,
    ) -> Result<(), c_int> {
        // SAFETY: the name ends in a zero, and the caller vouches for the rest.
        let status = unsafe { (self.param_get)(provider, name.as_ptr(), value.cast()) };
        if status == FI_SUCCESS { Ok(()) } else { Err(-status) }
    }
}

impl fmt::Debug for HostServices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostServices").finish_non_exhaustive()
    }
}

/// What the loader says, which `libloading` has behind its own words.
fn reason(error: &libloading::Error) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

/// Finds a function, in the version that new programs are linked with.
///
/// # Safety
/// `F` is its type, as a pointer; the library stays loaded.
unsafe fn function<F: Copy>(loaded: &Loaded, name: &CStr) -> Result<F, libloading::Error> {
    // SAFETY: the caller vouches for the type.
    let symbol = unsafe { loaded.get::<F>(name.to_bytes_with_nul()) }?;
    Ok(*symbol)
}

/// # Safety
/// `text` is null, or points at characters that end in a zero.
unsafe fn owned(text: *const c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: there is a text, as the caller says.
    let text = unsafe { CStr::from_ptr(text) };
    Some(text.to_string_lossy().into_owned())
}
