//! Whatever arrives at the API from someone without the key pair is refused with a document;
//! whatever arrives at the client is read exactly or refused.
#![forbid(unsafe_code)]

use std::{
    sync::Mutex,
    time::{Duration, UNIX_EPOCH},
};

use bolero::{TypeGenerator, check};
use elastane_cloud::{
    Element,
    ec2::{Capacity, HttpRequest, Service, Settings},
    machines::{Health, Machine, MachineError, Machines, Policy},
};

/// Machines that nobody may reach.
struct Untouched;

impl Machines for Untouched {
    fn start(&mut self, machine: &Machine) -> Result<(), MachineError> {
        panic!("start {machine:?}")
    }
    fn stop(&mut self, id: &str) -> Result<(), MachineError> {
        panic!("stop {id}")
    }
    fn terminate(&mut self, id: &str) -> Result<(), MachineError> {
        panic!("terminate {id}")
    }
    fn health(&self, id: &str) -> Health {
        panic!("health of {id}")
    }
    fn keep_image(&mut self, id: &str, image: &str) -> Result<(), MachineError> {
        panic!("keep {id} as {image}")
    }
    fn drop_image(&mut self, image: &str) -> Result<(), MachineError> {
        panic!("drop {image}")
    }
    fn console(&self, id: &str) -> Result<Vec<u8>, MachineError> {
        panic!("console of {id}")
    }
    fn filter(&mut self, policy: &Policy) -> Result<(), MachineError> {
        panic!("filter {policy:?}")
    }
}

/// A request in parts.
#[derive(Clone, Debug, TypeGenerator)]
struct Arrival {
    post: bool,
    query: Vec<u8>,
    headers: Vec<(u8, Vec<u8>)>,
    body: Vec<u8>,
    claim: Option<Claim>,
}

/// What looks like a signature.
#[derive(Clone, Debug, TypeGenerator)]
struct Claim {
    credential: Vec<u8>,
    headers: Vec<u8>,
    signature: Vec<u8>,
    day: u8,
    dated: bool,
}

impl Claim {
    fn authorization(&self, day: &str) -> String {
        let text = |bytes: &[u8]| -> String {
            bytes.iter().map(|byte| char::from(b' ' + byte % 94)).collect()
        };
        format!(
            "AWS4-HMAC-SHA256 Credential={}/{day}/us-east-1/ec2/aws4_request, \
             SignedHeaders=host;x-amz-date;{}, Signature={}",
            text(&self.credential),
            text(&self.headers),
            text(&self.signature)
        )
    }
}

impl Arrival {
    fn request(&self) -> Option<HttpRequest> {
        let hex: String = self.query.iter().map(|byte| format!("%{byte:02x}")).collect();
        let method = if self.post { "POST" } else { "GET" };
        let mut request = http::Request::builder().method(method).uri(format!("/?{hex}"));
        for (name, value) in &self.headers {
            let names = ["host", "x-amz-date", "authorization", "content-type", "x-other"];
            request = request.header(names[usize::from(*name) % names.len()], &value[..]);
        }
        if let Some(claim) = &self.claim {
            let day = format!("202601{:02}", claim.day % 32);
            let value = claim.authorization(&day);
            request = request.header("authorization", value).header("host", "localhost");
            if claim.dated {
                request = request.header("x-amz-date", format!("{day}T030405Z"));
            }
        }
        request.body(self.body.clone()).ok()
    }
}

#[test]
fn request_without_the_key_pair_is_refused_whatever_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings {
        directory: directory.path().to_owned(),
        region: "us-east-1".to_owned(),
        network: "172.31.0.0/16".parse().unwrap(),
        system: "Debian".to_owned(),
        capacity: Capacity::default(),
    };
    let service = Mutex::new(Service::open(settings, Box::new(Untouched)).unwrap());
    let now = UNIX_EPOCH + Duration::from_secs(1_767_323_045);
    check!().with_type::<Arrival>().for_each(|arrival| {
        let Some(request) = arrival.request() else { return };
        let response = service.lock().unwrap().answer(&request, now);
        assert!(response.status().is_client_error(), "{response:?}");
        let text = std::str::from_utf8(response.body()).unwrap();
        let document = Element::parse(text).unwrap();
        let code = document.get("Errors/Error/Code").unwrap();
        let codes = ["MissingAuthenticationToken", "IncompleteSignature", "AuthFailure"];
        assert!(codes.contains(&code), "{code}");
    });
}

#[test]
fn document_is_read_as_it_would_be_written_or_refused() {
    check!().with_type::<Vec<u8>>().for_each(|bytes| {
        let markup = |byte: &u8| char::from(b"<>/ab&;![]-\"= x"[usize::from(byte % 15)]);
        let texts =
            [String::from_utf8_lossy(bytes).into_owned(), bytes.iter().map(markup).collect()];
        for element in texts.iter().filter_map(|text| Element::parse(text).ok()) {
            assert_eq!(Element::parse(&element.to_document(None)), Ok(element));
        }
    });
}
