//! Slurm's way to write many names as one: `queue1-dy-t3micro-[1-3,7],queue2-st-big-1`.

use thiserror::Error;

/// Why a text is no list of names.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum HostlistError {
    /// Brackets that do not match.
    #[error("brackets of `{0}` do not match")]
    Brackets(String),
    /// What is between brackets is no range.
    #[error("`{0}` is no range of numbers")]
    Range(String),
    /// More names than any cluster has.
    #[error("more than {LARGEST} names")]
    TooMany,
}

const LARGEST: usize = 1 << 17;

/// The names of a list, in its order.
pub(crate) fn expand(list: &str) -> Result<Vec<String>, HostlistError> {
    let mut names = Vec::new();
    for part in split(list)? {
        expand_part(part.trim(), &mut names)?;
    }
    Ok(names)
}

/// Splits at the commas outside of brackets.
fn split(list: &str) -> Result<Vec<&str>, HostlistError> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_usize, 0);
    let unmatched = || HostlistError::Brackets(list.to_owned());
    for (at, c) in list.char_indices() {
        match c {
            '[' => depth += 1,
            ']' => depth = depth.checked_sub(1).ok_or_else(unmatched)?,
            ',' if depth == 0 => {
                parts.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if depth != 0 {
        return Err(unmatched());
    }
    parts.push(&list[start..]);
    parts.retain(|part| !part.trim().is_empty());
    Ok(parts)
}

fn expand_part(part: &str, names: &mut Vec<String>) -> Result<(), HostlistError> {
    let Some((prefix, rest)) = part.split_once('[') else {
        names.push(part.to_owned());
        return if names.len() > LARGEST { Err(HostlistError::TooMany) } else { Ok(()) };
    };
    let Some((ranges, suffix)) = rest.split_once(']') else {
        return Err(HostlistError::Brackets(part.to_owned()));
    };
    for range in ranges.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number =
            |text: &str| text.parse::<usize>().map_err(|_| HostlistError::Range(range.to_owned()));
        let (from, to) = (number(first)?, number(last)?);
        if to.saturating_sub(from) > LARGEST {
            return Err(HostlistError::TooMany);
        }
        for number in from..=to {
            // `[01-10]` keeps its zeros.
            let name = format!("{prefix}{number:0width$}{suffix}", width = first.len());
            expand_part(&name, names)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_expanded_in_order() {
        let cases = [
            ("a-1", vec!["a-1"]),
            ("a-[1-3,7],b-2", vec!["a-1", "a-2", "a-3", "a-7", "b-2"]),
            ("n[08-11]", vec!["n08", "n09", "n10", "n11"]),
            ("r[1-2]n[3,4]", vec!["r1n3", "r1n4", "r2n3", "r2n4"]),
            ("", vec![]),
        ];
        for (list, names) in cases {
            assert_eq!(expand(list).unwrap(), names, "{list}");
        }
    }

    #[test]
    fn damaged_and_endless_lists_are_refused() {
        for list in ["a[1", "a]1[", "a[x]", "a[1-]", "a[1-999999999999]"] {
            assert!(expand(list).is_err(), "{list}");
        }
    }
}
