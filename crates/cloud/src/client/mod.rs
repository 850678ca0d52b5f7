//! A client of the EC2 Query API: signs a call, sends it, reads the answer.

mod unix;

use std::{
    fmt,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use http::{Request, header};
use ureq::{Agent, config::Config};

use crate::{Credentials, Element, sigv4};

/// The version of the API that is spoken.
pub const VERSION: &str = "2016-11-15";

/// How long a call may take, answer included.
const TIMEOUT: Duration = Duration::from_secs(120);

/// The longest answer that is read, in bytes.
const MAX_ANSWER: u64 = 64 << 20;

/// Where EC2 is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// An address that begins with `http://` or `https://`.
    Url(String),
    /// A socket on this machine.
    Socket(PathBuf),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => f.write_str(url),
            Self::Socket(path) => path.display().fmt(f),
        }
    }
}

/// A client of EC2 in one region.
#[derive(Debug, Clone)]
pub struct Ec2 {
    agent: Agent,
    endpoint: Endpoint,
    region: String,
    credentials: Credentials,
}

/// An answer: the root element.
pub type Document = Element;

/// Why a call was not answered as wished.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct CallError {
    /// EC2's code, such as `InvalidGroup.NotFound`; `Unreachable` when no answer came,
    /// `MalformedAnswer` when it could not be read.
    pub code: String,
    /// What is wrong, in a sentence.
    pub message: String,
    /// The status of the HTTP response; 0 when none came.
    pub status: u16,
}

impl CallError {
    /// No answer came.
    pub const UNREACHABLE: &str = "Unreachable";
    /// The answer could not be read.
    pub const MALFORMED: &str = "MalformedAnswer";
}

impl Ec2 {
    /// A client. Nothing is sent before the first call.
    #[must_use]
    pub fn new(endpoint: Endpoint, region: &str, credentials: Credentials) -> Self {
        let config = Config::builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            .user_agent(concat!("elastane/", env!("CARGO_PKG_VERSION")))
            .proxy(None)
            .build();
        let agent = match &endpoint {
            Endpoint::Url(_) => Agent::new_with_config(config),
            Endpoint::Socket(path) => unix::agent(config, path.clone()),
        };
        Self { agent, endpoint, region: region.to_owned(), credentials }
    }

    /// The region that calls are signed for.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Makes one call. Members of lists are parameters of their own: `Filter.1.Value.1`.
    ///
    /// # Errors
    ///
    /// EC2's own errors, and that no answer came or none that can be read.
    pub fn call(&self, action: &str, parameters: &[(&str, String)]) -> Result<Document, CallError> {
        let failed = |code: &str, message: String, status| CallError {
            code: code.to_owned(),
            message: format!("{action} at {}: {message}", self.endpoint),
            status,
        };
        let unreachable = |message: String| failed(CallError::UNREACHABLE, message, 0);
        let request = self.request(action, parameters, now());
        let request = request.map_err(|error| unreachable(error.to_string()))?;
        let response = self.agent.run(request);
        let mut response = response.map_err(|error| unreachable(error.to_string()))?;
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(MAX_ANSWER).read_to_string();
        let body = body.map_err(|error| failed(CallError::MALFORMED, error.to_string(), status))?;
        let document = Element::parse(&body)
            .map_err(|error| failed(CallError::MALFORMED, format!("not XML: {error}"), status))?;
        if response.status().is_success() {
            return Ok(document);
        }
        let part = |name: &str| document.get(&format!("Errors/Error/{name}")).map(str::to_owned);
        match (part("Code"), part("Message")) {
            (Some(code), Some(message)) => Err(CallError { code, message, status }),
            _ => {
                Err(failed(CallError::MALFORMED, format!("status {status} without a code"), status))
            }
        }
    }

    fn request(
        &self,
        action: &str,
        parameters: &[(&str, String)],
        now: SystemTime,
    ) -> Result<Request<Vec<u8>>, http::Error> {
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.append_pair("Action", action).append_pair("Version", VERSION);
        for (name, value) in parameters {
            body.append_pair(name, value);
        }
        let url = match &self.endpoint {
            Endpoint::Url(url) => format!("{}/", url.trim_end_matches('/')),
            Endpoint::Socket(_) => "http://localhost/".to_owned(),
        };
        let mut request = Request::post(url)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded; charset=utf-8")
            .body(body.finish().into_bytes())?;
        let authority = request.uri().authority().map_or("", |authority| authority.as_str());
        let host = header::HeaderValue::from_str(authority)?;
        request.headers_mut().insert(header::HOST, host);
        sigv4::sign(&mut request, &self.credentials, &self.region, now);
        Ok(request)
    }
}

#[expect(clippy::disallowed_methods, reason = "a signature holds the time of day")]
fn now() -> SystemTime {
    SystemTime::now()
}
