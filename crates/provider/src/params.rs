//! What users set: `FI_ELASTANE_*` in the environment, defined through the libfabric that loaded
//! this provider, so that `fi_info -e` lists it. See docs/libfabric.md.

use std::{fmt, ops::RangeInclusive, path::PathBuf, str::FromStr, sync::OnceLock, time::Duration};

use fabric::{CrossMemory, SharedMemory};

/// A parameter: its name, and what `fi_info -e` says of it.
pub(crate) struct Definition {
    /// In lower case, without the prefix; ends in a zero.
    pub(crate) name: &'static std::ffi::CStr,
    pub(crate) help: &'static std::ffi::CStr,
}

const fn definition(name: &'static std::ffi::CStr, help: &'static std::ffi::CStr) -> Definition {
    Definition { name, help }
}

/// All of them. Values are texts to libfabric, so that this crate says what is wrong with one.
pub(crate) static ALL: [Definition; 12] = [
    definition(c"iface", c"name of the only network interface to offer (default: all)"),
    definition(
        c"name",
        c"elastane or efa: the name that the provider answers to (default: elastane, or efa where \
          the library's file is called libefa-fi.so)",
    ),
    definition(
        c"hide_efa",
        c"on or off: whether to answer to the name efa on a machine with an EFA device (default: \
          off)",
    ),
    definition(
        c"report",
        c"directory for a file of JSON about each reliable endpoint, written when it closes \
          (default: none)",
    ),
    definition(
        c"shared_memory",
        c"on or off: whether processes of one host use shared memory with each other (default: on)",
    ),
    definition(
        c"cma",
        c"on, declare or off: whether processes of one host copy long messages out of each other's \
          memory: where the kernel permits it, also after declaring the process traceable by its \
          user's others, or never (default: on)",
    ),
    definition(
        c"ports",
        c"FIRST-LAST, of 1 to 65535: UDP ports for endpoints that are not given one (default: the \
          kernel chooses)",
    ),
    definition(
        c"progress_thread",
        c"on or off: whether a thread answers peers while the application does not call (default: \
          on)",
    ),
    definition(
        c"linger",
        c"seconds, 0 to 3600: how long closing an endpoint waits for peers to take what was sent \
          (default: 5)",
    ),
    definition(
        c"peer_timeout",
        c"seconds, 1 to 86400: how long a peer that owes an answer may be silent before its \
          operations fail (default: 600)",
    ),
    definition(
        c"connect_timeout",
        c"seconds, 1 to 86400: how long a peer that never answered is tried (default: 30)",
    ),
    definition(
        c"paths",
        c"1 to 256: UDP source ports, and so paths of the network, that traffic to one peer is \
          spread over (default: 16)",
    ),
];

/// The values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parameters {
    pub(crate) interface: Option<String>,
    pub(crate) name: Option<Name>,
    pub(crate) hide_efa: bool,
    pub(crate) report: Option<PathBuf>,
    pub(crate) shared_memory: SharedMemory,
    pub(crate) cross_memory: CrossMemory,
    pub(crate) ports: Option<RangeInclusive<u16>>,
    pub(crate) progress_thread: bool,
    /// How long closing waits for what was sent and not acknowledged: programs end without telling
    /// each other.
    pub(crate) linger: Duration,
    pub(crate) peer_timeout: Option<Duration>,
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) paths: Option<u16>,
}

/// What the provider can be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Elastane,
    Efa,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            interface: None,
            name: None,
            hide_efa: false,
            report: None,
            shared_memory: SharedMemory::Automatic,
            cross_memory: CrossMemory::WherePermitted,
            ports: None,
            progress_thread: true,
            linger: Duration::from_secs(5),
            peer_timeout: None,
            connect_timeout: None,
            paths: None,
        }
    }
}

/// A value that means nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Meaningless {
    variable: String,
    value: String,
    allowed: &'static str,
}

impl fmt::Display for Meaningless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { variable, value, allowed } = self;
        write!(f, "{variable}={value}: it must be {allowed}; nothing is offered until it is")
    }
}

/// The parameters of this process, as they were at the first call; `None` if one of them means
/// nothing, which the log tells then.
pub(crate) fn get() -> Option<&'static Parameters> {
    static READ: OnceLock<Option<Parameters>> = OnceLock::new();
    let read = READ.get_or_init(|| {
        let read = Parameters::read(crate::fi::parameter);
        read.map_err(|error| crate::log::warn(format_args!("{error}"))).ok()
    });
    read.as_ref()
}

/// The same where nothing is offered if one of them means nothing.
pub(crate) fn of_an_offer() -> &'static Parameters {
    static DEFAULT: OnceLock<Parameters> = OnceLock::new();
    get().unwrap_or_else(|| DEFAULT.get_or_init(Parameters::default))
}

impl Parameters {
    /// `value_of` knows the values by name; an empty one is none.
    fn read(value_of: impl Fn(&Definition) -> Option<String>) -> Result<Self, Meaningless> {
        let mut read = Self::default();
        for definition in &ALL {
            let Some(value) = value_of(definition).filter(|value| !value.is_empty()) else {
                continue;
            };
            let name = definition.name.to_string_lossy();
            read.set(&name, &value).map_err(|allowed| Meaningless {
                variable: format!("FI_ELASTANE_{}", name.to_uppercase()),
                value,
                allowed,
            })?;
        }
        Ok(read)
    }

    /// Fails with what is allowed.
    fn set(&mut self, name: &str, value: &str) -> Result<(), &'static str> {
        match name {
            "iface" => self.interface = Some(value.to_owned()),
            "name" => self.name = Some(named(value).ok_or("elastane or efa")?),
            "hide_efa" => self.hide_efa = switch(value)?,
            "report" => self.report = Some(PathBuf::from(value)),
            "shared_memory" => {
                let is_on = switch(value)?;
                self.shared_memory =
                    if is_on { SharedMemory::Automatic } else { SharedMemory::Never };
            }
            "cma" => self.cross_memory = cross_memory(value)?,
            "ports" => self.ports = Some(ports(value)?),
            "progress_thread" => self.progress_thread = switch(value)?,
            "linger" => {
                let seconds = number(value, 0..=3_600).ok_or("a number of seconds, 0 to 3600")?;
                self.linger = Duration::from_secs(seconds);
            }
            "peer_timeout" => self.peer_timeout = Some(timeout(value)?),
            "connect_timeout" => self.connect_timeout = Some(timeout(value)?),
            "paths" => self.paths = Some(number(value, 1..=256).ok_or("a number from 1 to 256")?),
            other => unreachable!("{other} is defined and not read"),
        }
        Ok(())
    }
}

fn named(value: &str) -> Option<Name> {
    match value {
        "elastane" => Some(Name::Elastane),
        "efa" => Some(Name::Efa),
        _ => None,
    }
}

/// As libfabric reads its own.
fn switch(value: &str) -> Result<bool, &'static str> {
    match value.to_ascii_lowercase().as_str() {
        "on" | "1" | "true" | "yes" => Ok(true),
        "off" | "0" | "false" | "no" => Ok(false),
        _ => Err("on (1, true, yes) or off (0, false, no)"),
    }
}

fn cross_memory(value: &str) -> Result<CrossMemory, &'static str> {
    if value.eq_ignore_ascii_case("declare") {
        return Ok(CrossMemory::Declared);
    }
    let is_on = switch(value).map_err(|_| "on, declare or off")?;
    Ok(if is_on { CrossMemory::WherePermitted } else { CrossMemory::Never })
}

fn ports(value: &str) -> Result<RangeInclusive<u16>, &'static str> {
    let (first, last) = value.split_once('-').unwrap_or((value, value));
    let port = |text: &str| number(text.trim(), 1..=u16::MAX);
    let range = port(first).zip(port(last)).filter(|(first, last)| first <= last);
    range
        .map(|(first, last)| first..=last)
        .ok_or("FIRST-LAST, two ports of 1 to 65535, the smaller one first")
}

fn timeout(value: &str) -> Result<Duration, &'static str> {
    let seconds = number(value, 1..=86_400).ok_or("a number of seconds, 1 to 86400")?;
    Ok(Duration::from_secs(seconds))
}

fn number<T: FromStr + PartialOrd>(value: &str, allowed: RangeInclusive<T>) -> Option<T> {
    value.parse().ok().filter(|number| allowed.contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(set: &[(&str, &str)]) -> Result<Parameters, Meaningless> {
        Parameters::read(|definition| {
            let name = definition.name.to_string_lossy();
            let found = set.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn what_is_not_set_or_empty_has_its_default() {
        assert_eq!(read(&[]), Ok(Parameters::default()));
        let empty: Vec<_> = ALL.iter().map(|known| (known.name.to_str().unwrap(), "")).collect();
        assert_eq!(read(&empty), Ok(Parameters::default()));
    }

    #[test]
    fn every_parameter_is_read() {
        let read = read(&[
            ("iface", "eth1"),
            ("name", "efa"),
            ("hide_efa", "Yes"),
            ("report", "/tmp"),
            ("shared_memory", "off"),
            ("cma", "declare"),
            ("ports", "5000-5010"),
            ("progress_thread", "0"),
            ("linger", "0"),
            ("peer_timeout", "7"),
            ("connect_timeout", "8"),
            ("paths", "4"),
        ]);
        let expected = Parameters {
            interface: Some("eth1".to_owned()),
            name: Some(Name::Efa),
            hide_efa: true,
            report: Some("/tmp".into()),
            shared_memory: SharedMemory::Never,
            cross_memory: CrossMemory::Declared,
            ports: Some(5_000..=5_010),
            progress_thread: false,
            linger: Duration::ZERO,
            peer_timeout: Some(Duration::from_secs(7)),
            connect_timeout: Some(Duration::from_secs(8)),
            paths: Some(4),
        };
        assert_eq!(read, Ok(expected));
    }

    #[test]
    fn what_means_nothing_is_named_with_what_would() {
        for (name, value) in [
            ("name", "EFA"),
            ("hide_efa", "maybe"),
            ("shared_memory", "2"),
            ("cma", "automatic"),
            ("ports", "0-5"),
            ("ports", "10-9"),
            ("ports", "1-65536"),
            ("progress_thread", "-"),
            ("linger", "-1"),
            ("linger", "3601"),
            ("peer_timeout", "0"),
            ("connect_timeout", "1.5"),
            ("paths", "0"),
            ("paths", "257"),
        ] {
            let error = read(&[(name, value)]).unwrap_err();
            let text = error.to_string();
            let begin = format!("FI_ELASTANE_{}={value}: it must be ", name.to_uppercase());
            assert!(text.starts_with(&begin), "{text}");
        }
        let text = read(&[("paths", "many")]).unwrap_err().to_string();
        let whole = "FI_ELASTANE_PATHS=many: it must be a number from 1 to 256; nothing is offered \
                     until it is";
        assert_eq!(text, whole);
    }
}
