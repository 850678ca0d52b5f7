//! The HTTP/1.1 that the agent speaks: requests and responses as a whole, one after the other on
//! a connection.

use std::io::{self, ErrorKind, Read, Write};

use crate::ec2::{HttpRequest, HttpResponse};

/// The most bytes of a request's line and headers.
const HEAD_LIMIT: usize = 32 << 10;
/// The most headers.
const HEADERS: usize = 64;
/// The most bytes of a request's body: user data is 16 KiB, doubled by its encoding and more.
const BODY_LIMIT: usize = 1 << 20;

/// Why a connection is not served on.
#[derive(Debug)]
enum Refusal {
    /// Its other end is gone, or too slow.
    Gone(io::Error),
    /// It sent what is no request that we take; the status says in which way.
    Status(u16),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Gone(error)
    }
}

/// Answers the requests of a connection until its other end closes it, falls silent, or sends
/// what is no request.
pub(super) fn serve(
    stream: &mut (impl Read + Write),
    mut answer: impl FnMut(&HttpRequest) -> HttpResponse,
) -> io::Result<()> {
    let mut received = Vec::new();
    loop {
        let request = match receive(stream, &mut received) {
            Ok(Some(request)) => request,
            Ok(None) => return Ok(()),
            Err(Refusal::Gone(error)) => return Err(error),
            Err(Refusal::Status(status)) => {
                let mut response = HttpResponse::new(Vec::new());
                *response.status_mut() =
                    http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::BAD_REQUEST);
                return send(stream, &response, false);
            }
        };
        let keep = !says(&request, &http::header::CONNECTION, "close")
            && request.version() == http::Version::HTTP_11;
        send(stream, &answer(&request), keep)?;
        if !keep {
            return Ok(());
        }
    }
}

/// Receives one request; `None` where the other end has closed between two.
fn receive(
    stream: &mut (impl Read + Write),
    received: &mut Vec<u8>,
) -> Result<Option<HttpRequest>, Refusal> {
    let (mut request, head) = loop {
        match parse(received)? {
            Some(parsed) => break parsed,
            None if received.len() > HEAD_LIMIT => return Err(Refusal::Status(431)),
            None if fill(stream, received)? > 0 => {}
            None if received.is_empty() => return Ok(None),
            None => return Err(Refusal::Gone(ErrorKind::UnexpectedEof.into())),
        }
    };
    let length = body_length(&request)?;
    if received.len() < head + length && says(&request, &http::header::EXPECT, "100-continue") {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    while received.len() < head + length {
        if fill(stream, received)? == 0 {
            return Err(Refusal::Gone(ErrorKind::UnexpectedEof.into()));
        }
    }
    // What comes behind it belongs to the next request.
    let rest = received.split_off(head + length);
    *request.body_mut() = std::mem::replace(received, rest).split_off(head);
    Ok(Some(request))
}

/// The request whose head is there, without its body, and the length of the head.
fn parse(received: &[u8]) -> Result<Option<(HttpRequest, usize)>, Refusal> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let length = match parsed.parse(received) {
        Ok(httparse::Status::Complete(length)) if length <= HEAD_LIMIT => length,
        Ok(httparse::Status::Complete(_)) => return Err(Refusal::Status(431)),
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Refusal::Status(431)),
        Err(_) => return Err(Refusal::Status(400)),
    };
    let version =
        if parsed.version == Some(1) { http::Version::HTTP_11 } else { http::Version::HTTP_10 };
    let mut request = http::Request::builder()
        .method(parsed.method.unwrap_or_default())
        .uri(parsed.path.unwrap_or_default())
        .version(version);
    for header in parsed.headers.iter() {
        request = request.header(header.name, header.value);
    }
    let request = request.body(Vec::new()).map_err(|_malformed| Refusal::Status(400))?;
    Ok(Some((request, length)))
}

fn body_length(request: &HttpRequest) -> Result<usize, Refusal> {
    if request.headers().contains_key(http::header::TRANSFER_ENCODING) {
        return Err(Refusal::Status(501));
    }
    let mut lengths = request.headers().get_all(http::header::CONTENT_LENGTH).iter();
    let Some(length) = lengths.next() else { return Ok(0) };
    let parsed = length.to_str().ok().and_then(|length| length.parse::<usize>().ok());
    match parsed {
        Some(length) if lengths.next().is_none() && length <= BODY_LIMIT => Ok(length),
        Some(length) if length > BODY_LIMIT => Err(Refusal::Status(413)),
        Some(_) | None => Err(Refusal::Status(400)),
    }
}

fn says(request: &HttpRequest, name: &http::HeaderName, word: &str) -> bool {
    let values = request.headers().get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(word))
}

fn fill(stream: &mut impl Read, received: &mut Vec<u8>) -> io::Result<usize> {
    let mut bytes = [0; 8192];
    loop {
        match stream.read(&mut bytes) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Ok(length) => {
                received.extend_from_slice(&bytes[..length]);
                return Ok(length);
            }
            Err(error) => return Err(error),
        }
    }
}

fn send(stream: &mut impl Write, response: &HttpResponse, keep: bool) -> io::Result<()> {
    let status = response.status();
    let reason = status.canonical_reason().unwrap_or("Unknown");
    let mut bytes = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).into_bytes();
    for (name, value) in response.headers() {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    let connection = if keep { "keep-alive" } else { "close" };
    let length = response.body().len();
    let end = format!("Content-Length: {length}\r\nConnection: {connection}\r\n\r\n");
    bytes.extend_from_slice(end.as_bytes());
    bytes.extend_from_slice(response.body());
    stream.write_all(&bytes)?;
    stream.flush()
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// A connection whose other end sends these pieces.
    struct Wire {
        pieces: VecDeque<Vec<u8>>,
        sent: Vec<u8>,
    }

    impl Read for Wire {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            let Some(mut piece) = self.pieces.pop_front() else { return Ok(0) };
            let length = piece.len().min(bytes.len());
            bytes[..length].copy_from_slice(&piece[..length]);
            let rest = piece.split_off(length);
            if !rest.is_empty() {
                self.pieces.push_front(rest);
            }
            Ok(length)
        }
    }

    impl Write for Wire {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.sent.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What was asked, and what was sent back.
    fn exchange(pieces: &[&str]) -> (Vec<(String, String)>, String) {
        let pieces = pieces.iter().map(|piece| piece.as_bytes().to_vec()).collect();
        let mut wire = Wire { pieces, sent: Vec::new() };
        let mut asked = Vec::new();
        serve(&mut wire, |request| {
            let body = String::from_utf8(request.body().clone()).unwrap();
            asked.push((request.uri().to_string(), body));
            HttpResponse::new(b"answer".to_vec())
        })
        .ok();
        (asked, String::from_utf8(wire.sent).unwrap())
    }

    #[test]
    fn requests_in_pieces_are_answered_one_after_the_other() {
        let (asked, sent) = exchange(&[
            "POST / HT",
            "TP/1.1\r\nContent-Length: 4\r\n\r\nA=",
            "1&GET /two HTTP/1.1\r\n\r\n",
        ]);
        assert_eq!(asked, [("/".into(), "A=1&".into()), ("/two".into(), String::new())]);
        assert_eq!(sent.matches("HTTP/1.1 200 OK").count(), 2);
        assert_eq!(sent.matches("Content-Length: 6").count(), 2);
    }

    #[test]
    fn client_that_asks_first_is_told_to_go_on() {
        let head = "POST / HTTP/1.1\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n";
        let (asked, sent) = exchange(&[head, "x"]);
        assert_eq!(asked, [("/".into(), "x".into())]);
        assert!(sent.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"), "{sent}");
    }

    #[test]
    fn what_is_no_request_gets_its_status_and_the_end() {
        for (pieces, status) in [
            (vec!["nonsense\r\n\r\n".to_owned()], 400),
            (vec!["POST / HTTP/1.1\r\nContent-Length: 9999999\r\n\r\n".to_owned()], 413),
            (vec!["POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n".to_owned()], 400),
            (vec!["POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n".into()], 400),
            (vec!["POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned()], 501),
            (vec![format!("GET / HTTP/1.1\r\nA: {}", "a".repeat(40_000))], 431),
        ] {
            let (asked, sent) = exchange(&pieces.iter().map(String::as_str).collect::<Vec<_>>());
            assert!(asked.is_empty());
            assert!(sent.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {sent}");
            assert!(sent.contains("Connection: close"));
        }
    }

    #[test]
    fn connection_that_shall_close_is_closed() {
        let request = "GET / HTTP/1.1\r\nConnection: close\r\n\r\n";
        let (asked, sent) = exchange(&[request, request]);
        assert_eq!(asked.len(), 1);
        assert!(sent.contains("Connection: close"));
    }
}
