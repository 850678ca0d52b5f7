//! AWS Signature Version 4: signing calls, and checking what others have signed.
//!
//! The rules are those of "Create a signed AWS API request" in AWS's documentation; the service's
//! name in the scope is `ec2`.

use std::time::{Duration, SystemTime};

use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, HeaderValue, Request, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest as _, Sha256};

use crate::Credentials;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const SERVICE: &str = "ec2";
const DATE: &str = "x-amz-date";
const TOKEN: &str = "x-amz-security-token";

/// How far the clocks of caller and service may be apart.
pub(crate) const MAX_SKEW: Duration = Duration::from_secs(5 * 60);

/// What stays as it is in a canonical query: letters, digits, `-`, `.`, `_`, `~`.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Why a signature is not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SignatureError {
    /// The request is not signed.
    Missing,
    /// The header does not have the form of one.
    Malformed(String),
    /// The key is another one, or the signature does not fit.
    Refused,
    /// Signed at this time, too far from now.
    Expired { signed: SystemTime, now: SystemTime },
}

/// Adds the headers that make a request a signed one. Its `Host` and `Content-Type` must be
/// there already.
pub(crate) fn sign(
    request: &mut Request<Vec<u8>>,
    credentials: &Credentials,
    region: &str,
    now: SystemTime,
) {
    let date = format_date(now);
    let mut insert = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            request.headers_mut().insert(name, value);
        }
    };
    insert(DATE, &date);
    if let Some(token) = &credentials.session_token {
        insert(TOKEN, token);
    }
    let mut signed: Vec<&str> = request.headers().keys().map(|name| name.as_str()).collect();
    signed.sort_unstable();
    let signed_headers = signed.join(";");
    let scope = format!("{}/{region}/{SERVICE}/aws4_request", &date[..8]);
    let mac = signature(request, &signed_headers, &scope, &credentials.secret_access_key);
    let authorization = format!(
        "{ALGORITHM} Credential={}/{scope}, SignedHeaders={signed_headers}, Signature={}",
        credentials.access_key_id,
        hex(&mac.finalize().into_bytes())
    );
    if let Ok(value) = HeaderValue::from_str(&authorization) {
        request.headers_mut().insert(header::AUTHORIZATION, value);
    }
}

/// Checks who signed a request. Returns the region it was signed for.
pub(crate) fn verify(
    request: &Request<Vec<u8>>,
    credentials: &Credentials,
    now: SystemTime,
) -> Result<String, SignatureError> {
    let malformed = |what: &str| SignatureError::Malformed(what.to_owned());
    let Some(value) = request.headers().get(header::AUTHORIZATION) else {
        return Err(SignatureError::Missing);
    };
    let value = value.to_str().map_err(|_| malformed("the Authorization header is not ASCII"))?;
    let claim = Claim::parse(value)?;
    let [key, day, region, SERVICE, "aws4_request"] =
        claim.credential.split('/').collect::<Vec<_>>()[..]
    else {
        return Err(malformed("Credential must be KEY/DATE/REGION/ec2/aws4_request"));
    };
    let date = request.headers().get(DATE).and_then(|value| value.to_str().ok());
    let date = date.ok_or_else(|| malformed("there is no X-Amz-Date header"))?;
    let signed =
        parse_date(date).ok_or_else(|| malformed("X-Amz-Date must be like 20260102T030405Z"))?;
    if !date.starts_with(day) {
        return Err(malformed("the date of Credential is not that of X-Amz-Date"));
    }
    for needed in ["host", DATE] {
        if !claim.signed_headers.split(';').any(|name| name == needed) {
            return Err(malformed(&format!("SignedHeaders must name {needed}")));
        }
    }
    let scope = format!("{day}/{region}/{SERVICE}/aws4_request");
    let mac = signature(request, claim.signed_headers, &scope, &credentials.secret_access_key);
    // The comparison takes as long whatever is wrong; whether the key's name fits is no secret.
    let fits = mac.verify_slice(&unhex(claim.signature)).is_ok();
    if !fits || key != credentials.access_key_id {
        return Err(SignatureError::Refused);
    }
    let apart = now.duration_since(signed).unwrap_or_else(|error| error.duration());
    if apart > MAX_SKEW {
        return Err(SignatureError::Expired { signed, now });
    }
    Ok(region.to_owned())
}

/// What an `Authorization` header claims.
struct Claim<'a> {
    credential: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
}

impl<'a> Claim<'a> {
    fn parse(header: &'a str) -> Result<Self, SignatureError> {
        let malformed = |what: String| SignatureError::Malformed(what);
        let rest = header.strip_prefix(ALGORITHM);
        let rest = rest.ok_or_else(|| malformed(format!("the signature must be {ALGORITHM}")))?;
        let part = |name: &str| {
            let mut parts = rest.split(',').map(str::trim);
            let found = parts.find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
            found.ok_or_else(|| malformed(format!("the Authorization header lacks {name}")))
        };
        Ok(Self {
            credential: part("Credential")?,
            signed_headers: part("SignedHeaders")?,
            signature: part("Signature")?,
        })
    }
}

/// The code over a request, not yet finished, so that it can be compared or written.
fn signature(
    request: &Request<Vec<u8>>,
    signed_headers: &str,
    scope: &str,
    secret: &str,
) -> Hmac<Sha256> {
    let canonical = canonical_request(request, signed_headers);
    let date = request.headers().get(DATE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let digest = hex(&Sha256::digest(canonical));
    let to_sign = format!("{ALGORITHM}\n{date}\n{scope}\n{digest}");
    let mut key = format!("AWS4{secret}").into_bytes();
    for part in scope.split('/') {
        key = keyed(&key, part).finalize().into_bytes().to_vec();
    }
    keyed(&key, &to_sign)
}

fn keyed(key: &[u8], text: &str) -> Hmac<Sha256> {
    #[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length");
    mac.update(text.as_bytes());
    mac
}

fn canonical_request(request: &Request<Vec<u8>>, signed_headers: &str) -> String {
    let mut text = format!("{}\n{}\n", request.method(), request.uri().path());
    let query = request.uri().query().unwrap_or("");
    let encode = |part: &str| utf8_percent_encode(part, RESERVED).to_string();
    let pairs = form_urlencoded::parse(query.as_bytes());
    let mut pairs: Vec<_> =
        pairs.map(|(name, value)| format!("{}={}", encode(&name), encode(&value))).collect();
    pairs.sort_unstable();
    text.push_str(&pairs.join("&"));
    text.push('\n');
    for name in signed_headers.split(';') {
        text.push_str(&format!("{name}:{}\n", canonical_values(request.headers(), name)));
    }
    text.push_str(&format!("\n{signed_headers}\n{}", hex(&Sha256::digest(request.body()))));
    text
}

/// The values of a header, without the spaces that do not matter.
fn canonical_values(headers: &HeaderMap, name: &str) -> String {
    let values = headers.get_all(name).iter().map(|value| {
        let value = String::from_utf8_lossy(value.as_bytes());
        value.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
    });
    values.collect::<Vec<_>>().join(",")
}

/// `20260102T030405Z`.
fn format_date(time: SystemTime) -> String {
    let text = humantime::format_rfc3339_seconds(time).to_string();
    text.chars().filter(|c| !matches!(c, '-' | ':')).collect()
}

fn parse_date(text: &str) -> Option<SystemTime> {
    if text.len() != 16 || !text.is_ascii() {
        return None;
    }
    let part = |range: std::ops::Range<usize>| &text[range];
    let with_marks = format!(
        "{}-{}-{}{}{}:{}:{}{}",
        part(0..4),
        part(4..6),
        part(6..8),
        part(8..9),
        part(9..11),
        part(11..13),
        part(13..15),
        part(15..16)
    );
    humantime::parse_rfc3339(&with_marks).ok()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes that hexadecimal digits stand for; nothing for what is not hexadecimal.
fn unhex(text: &str) -> Vec<u8> {
    let digits: Option<Vec<_>> = text.chars().map(|c| c.to_digit(16)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0).unwrap_or_default();
    let byte = |pair: &[u32]| u8::try_from(pair[0] * 16 + pair[1]).unwrap_or(0);
    digits.chunks_exact(2).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key pair of AWS's own examples.
    fn example() -> Credentials {
        Credentials {
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned(),
            session_token: None,
        }
    }

    fn at(text: &str) -> SystemTime {
        humantime::parse_rfc3339(text).unwrap()
    }

    fn signed(now: SystemTime) -> Request<Vec<u8>> {
        let mut request = Request::post("/?b=2&a=1%20x")
            .header("host", "127.0.0.1:4566")
            .header("content-type", "application/x-www-form-urlencoded; charset=utf-8")
            .body(b"Action=DescribeVpcs&Version=2016-11-15".to_vec())
            .unwrap();
        sign(&mut request, &example(), "us-east-1", now);
        request
    }

    /// The figure is what botocore's signer (1.43.11) writes for the same request.
    #[test]
    fn signature_is_the_one_that_aws_computes() {
        let request = signed(at("2026-01-02T03:04:05Z"));
        let value = request.headers()["authorization"].to_str().unwrap();
        assert_eq!(
            value,
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260102/us-east-1/ec2/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date, \
             Signature=52bc5c7691abb5257e4b3cb3470ec5eb95963ea46271db43b4a7f7af84da5948"
        );
    }

    #[test]
    fn signed_request_is_accepted_and_names_its_region() {
        let now = at("2026-01-02T03:04:05Z");
        let later = now + Duration::from_secs(299);
        assert_eq!(verify(&signed(now), &example(), later), Ok("us-east-1".to_owned()));
    }

    #[test]
    fn whatever_is_changed_afterwards_is_noticed() {
        let now = at("2026-01-02T03:04:05Z");
        let refused = Err(SignatureError::Refused);
        let mut request = signed(now);
        request.body_mut().push(b'x');
        assert_eq!(verify(&request, &example(), now), refused);
        let mut request = signed(now);
        *request.uri_mut() = "/?a=1".parse().unwrap();
        assert_eq!(verify(&request, &example(), now), refused);
        let mut request = signed(now);
        request.headers_mut().insert("host", HeaderValue::from_static("other"));
        assert_eq!(verify(&request, &example(), now), refused);
        let other = Credentials { secret_access_key: "other".to_owned(), ..example() };
        assert_eq!(verify(&signed(now), &other, now), refused);
        let other = Credentials { access_key_id: "other".to_owned(), ..example() };
        assert_eq!(verify(&signed(now), &other, now), refused);
    }

    #[test]
    fn old_and_early_requests_are_expired() {
        let now = at("2026-01-02T03:04:05Z");
        for other in [now + Duration::from_secs(301), now - Duration::from_secs(301)] {
            let verified = verify(&signed(now), &example(), other);
            assert_eq!(verified, Err(SignatureError::Expired { signed: now, now: other }));
        }
    }

    #[test]
    fn unsigned_and_malformed_requests_say_what_is_missing() {
        let now = at("2026-01-02T03:04:05Z");
        let mut request = signed(now);
        request.headers_mut().remove("authorization");
        assert_eq!(verify(&request, &example(), now), Err(SignatureError::Missing));
        for broken in [
            "Basic x",
            "AWS4-HMAC-SHA256",
            "AWS4-HMAC-SHA256 Credential=a, SignedHeaders=host;x-amz-date, Signature=0",
            "AWS4-HMAC-SHA256 Credential=a/20260102/r/ec2/aws4_request, SignedHeaders=host, \
             Signature=00",
            "AWS4-HMAC-SHA256 Credential=a/20250102/r/ec2/aws4_request, \
             SignedHeaders=host;x-amz-date, Signature=00",
        ] {
            request.headers_mut().insert("authorization", HeaderValue::from_static(broken));
            let verified = verify(&request, &example(), now);
            assert!(matches!(verified, Err(SignatureError::Malformed(_))), "{broken}");
        }
    }

    #[test]
    fn dates_are_read_as_they_are_written() {
        let now = at("2026-01-02T03:04:05Z");
        assert_eq!(parse_date(&format_date(now)), Some(now));
        for broken in ["", "20260102T030405", "20261302T030405Z", "ééééééééé", "2026-01-02T03:04"]
        {
            assert_eq!(parse_date(broken), None, "{broken}");
        }
    }
}
