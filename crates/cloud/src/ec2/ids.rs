//! Names that the cloud gives.

use super::error::ApiError;

/// A new id: the prefix and 17 hexadecimal digits.
pub(crate) fn new(prefix: &str) -> Result<String, ApiError> {
    let bytes = random()?;
    Ok(format!("{prefix}-0{:016x}", u64::from_be_bytes(bytes)))
}

/// A new name of a request, in the form of a UUID.
pub(crate) fn request() -> String {
    // A request without randomness is answered all the same; the name is for logs.
    let bytes: [u8; 16] = random().unwrap_or_default();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let [a, b, c, d, e] = [0..8, 8..12, 13..16, 17..20, 20..32].map(|range| &hex[range]);
    format!("{a}-{b}-4{c}-a{d}-{e}")
}

/// A new hardware address, of those that everyone may give.
pub(crate) fn mac() -> Result<String, ApiError> {
    let [a, b, c, d, e] = random()?;
    Ok(format!("02:{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}"))
}

fn random<const N: usize>() -> Result<[u8; N], ApiError> {
    let mut bytes = [0; N];
    let filled = getrandom::fill(&mut bytes);
    filled.map_err(|error| ApiError::internal(format!("no randomness: {error}")))?;
    Ok(bytes)
}

/// Whether a text has the form of an id with this prefix.
pub(crate) fn is_id(prefix: &str, text: &str) -> bool {
    let digits = text.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-'));
    digits.is_some_and(|digits| {
        matches!(digits.len(), 8 | 17) && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

/// That an id has not the form of one, or leads to nothing.
pub(crate) fn unknown(code: &str, prefix: &str, what: &str, id: &str) -> ApiError {
    if is_id(prefix, id) {
        ApiError::new(format!("{code}.NotFound"), format!("The {what} ID '{id}' does not exist"))
    } else {
        let message =
            format!("Invalid id: \"{id}\": expected {prefix}- and 8 or 17 hexadecimal digits");
        ApiError::new(format!("{code}.Malformed"), message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_have_the_form_of_ids() {
        let (first, second) = (new("i").unwrap(), new("i").unwrap());
        assert_ne!(first, second);
        assert_eq!(first.len(), "i-0123456789abcdef0".len());
        assert!(is_id("i", &first) && !is_id("ami", &first) && is_id("subnet", "subnet-12121212"));
        assert_eq!(request().len(), 36);
        assert_eq!(mac().unwrap().len(), 17);
    }

    #[test]
    fn malformed_ids_are_told_from_unknown_ones() {
        assert_eq!(unknown("InvalidAMIID", "ami", "image", "x").code, "InvalidAMIID.Malformed");
        let unknown = unknown("InvalidAMIID", "ami", "image", "ami-0123456789abcdef0");
        assert_eq!(unknown.code, "InvalidAMIID.NotFound");
    }
}
