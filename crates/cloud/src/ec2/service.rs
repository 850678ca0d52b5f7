//! The service: who asks, what is asked, what is answered.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use http::{HeaderValue, Method, StatusCode, header};

use super::{
    HttpRequest, HttpResponse, Settings,
    actions::{self, Action, Run},
    error::{Answer, ApiError},
    ids,
    parameters::{Form, Parameters},
    policy,
    records::{Records, Timestamp},
    region,
    store::Store,
};
use crate::{
    Credentials, Element,
    client::VERSION,
    machines::{Machines, Policy},
    sigv4::{self, SignatureError},
};

/// The namespace of answers.
const NAMESPACE: &str = "http://ec2.amazonaws.com/doc/2016-11-15/";

/// After what could not be done.
const RETRY: Duration = Duration::from_secs(1);

/// EC2 for one account.
pub struct Service {
    cloud: Cloud,
    credentials: Credentials,
    store: Store,
    /// The policy that holds.
    policy: Option<Policy>,
}

/// What actions work on.
pub(crate) struct Cloud {
    pub(crate) settings: Settings,
    pub(crate) records: Records,
    pub(crate) machines: Box<dyn Machines>,
    /// Whether [`Cloud::advance`] has seen all machines since the service was opened.
    pub(crate) surveyed: bool,
}

/// A call, as actions see it.
#[derive(Debug, Clone)]
pub(crate) struct Call<'a> {
    pub(crate) parameters: Parameters<'a>,
    pub(crate) region: &'a str,
    pub(crate) now: Timestamp,
}

/// Why the records of a cloud cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {cause}", path.display())]
pub struct StateError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it, and what to do.
    pub cause: String,
}

impl Service {
    /// Reads the records of the state directory, or begins them there.
    ///
    /// # Errors
    ///
    /// When a file there cannot be read or written, or was written by a later version; when the
    /// settings do not fit each other or what is recorded.
    pub fn open(settings: Settings, machines: Box<dyn Machines>) -> Result<Self, StateError> {
        let path = settings.directory.join("credentials.json");
        let credentials = Credentials::load_or_create(&path)
            .map_err(|error| StateError { path: error.path, cause: error.cause })?;
        let store = Store::new(settings.directory.join("ec2.json"));
        let fail = |cause: String| StateError { path: store.path().to_owned(), cause };
        let records = match store.load()? {
            Some(records) if records.vpc.network == settings.network => records,
            Some(records) => {
                let (old, new) = (records.vpc.network, settings.network);
                return Err(fail(format!("the cloud has the network {old}, not {new}")));
            }
            None => {
                let records = Records::begin(settings.network).map_err(|e| fail(e.message))?;
                store.save(&records)?;
                records
            }
        };
        let cloud = Cloud { settings, records, machines, surveyed: false };
        Ok(Self { cloud, credentials, store, policy: None })
    }

    /// The key pair that calls must be signed with.
    #[must_use]
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// How many instances there are that are not terminated.
    #[must_use]
    pub fn instances(&self) -> usize {
        let instances = self.cloud.records.instances.values();
        instances.filter(|instance| !instance.is_over()).count()
    }

    /// Answers one request. What it asks of machines happens in the next [`Service::poll`], so
    /// call that soon; what it asks of security groups has happened when this returns.
    pub fn answer(&mut self, request: &HttpRequest, now: SystemTime) -> HttpResponse {
        let id = ids::request();
        let (status, text) = match self.call(request, now) {
            Ok((action, answer)) => {
                let root = Element::new(format!("{action}Response")).field("requestId", &id);
                (StatusCode::OK, root.extended(answer).to_document(Some(NAMESPACE)))
            }
            Err(error) => (error.status, error.document(&id)),
        };
        let mut response = HttpResponse::new(text.into_bytes());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/xml;charset=UTF-8"));
        if let Ok(id) = HeaderValue::from_str(&id) {
            headers.insert("x-amzn-requestid", id);
        }
        response
    }

    /// Moves instances and images on: starts what is pending, ends what shall end, notices what
    /// has died. Returns after which time, at the latest, it wants to be called again; call it
    /// after each [`Service::answer`] too.
    ///
    /// What fails is logged, and tried again with the next call.
    pub fn poll(&mut self, now: SystemTime) -> Duration {
        if let Err(error) = self.apply_policy() {
            // Nothing is started that would not be guarded.
            log::warn!("{}", error.message);
            return RETRY;
        }
        let before = self.cloud.records.clone();
        let again = self.cloud.advance(now.into());
        if self.cloud.records == before {
            return again;
        }
        if let Err(error) = self.apply_policy() {
            log::warn!("{}", error.message);
        }
        match self.store.save(&self.cloud.records) {
            Ok(()) => again,
            Err(error) => {
                log::error!("cannot keep the cloud's state: {error}");
                RETRY
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn records(&self) -> &Records {
        &self.cloud.records
    }

    fn call(
        &mut self,
        request: &HttpRequest,
        now: SystemTime,
    ) -> Result<(&'static str, Element), ApiError> {
        let region = sigv4::verify(request, &self.credentials, now).map_err(refusal)?;
        if !region::is_region(&region) {
            let message = format!("The signature names '{region}', which is not a region");
            return Err(ApiError::new("AuthFailure", message).with_status(StatusCode::UNAUTHORIZED));
        }
        let form = read(request)?;
        let parameters = form.all();
        if let Some(version) = parameters.text("Version").filter(|version| *version != VERSION) {
            let message = format!("The version {version} is unknown: this is {VERSION}");
            return Err(ApiError::new("NoSuchVersion", message));
        }
        let name = parameters
            .text("Action")
            .ok_or_else(|| ApiError::new("MissingAction", "The request names no Action"))?;
        let action = actions::find(name).ok_or_else(|| {
            let message = format!("The action {name} is not valid for this web service.");
            ApiError::new("InvalidAction", message)
        })?;
        action.check_names(&parameters)?;
        let dry_run = parameters.flag("DryRun")?.unwrap_or(false);
        let call = Call { parameters, region: &region, now: now.into() };
        Ok((action.name, self.run(action, &call, dry_run)?))
    }

    fn run(&mut self, action: &Action, call: &Call<'_>, dry_run: bool) -> Answer {
        let change = match action.run {
            Run::Read(read) => {
                let answer = read(&self.cloud, call)?;
                return if dry_run { Err(ApiError::dry_run()) } else { Ok(answer) };
            }
            Run::Change(change) => change,
        };
        // An action fails as a whole: whatever it did until then is undone.
        let before = self.cloud.records.clone();
        let answer = change(&mut self.cloud, call)
            .and_then(|answer| if dry_run { Err(ApiError::dry_run()) } else { Ok(answer) })
            .and_then(|answer| self.apply_policy().map(|()| answer))
            .and_then(|answer| {
                let saved = self.store.save(&self.cloud.records);
                saved.map(|()| answer).map_err(|error| ApiError::internal(error.to_string()))
            });
        if answer.is_err() {
            self.cloud.records = before;
            // If this fails too, the next poll says so.
            self.apply_policy().ok();
        }
        answer
    }

    /// Makes what the groups say hold.
    fn apply_policy(&mut self) -> Result<(), ApiError> {
        let policy = policy::of(&self.cloud.records);
        if self.policy.as_ref() == Some(&policy) {
            return Ok(());
        }
        let applied = self.cloud.machines.filter(&policy);
        applied.map_err(|error| ApiError::internal(format!("security groups: {error}")))?;
        self.policy = Some(policy);
        Ok(())
    }
}

/// The parameters of a request.
fn read(request: &HttpRequest) -> Result<Form, ApiError> {
    if request.uri().path() != "/" {
        let message = format!("There is nothing at {}: calls go to /", request.uri().path());
        return Err(ApiError::new("InvalidRequest", message).with_status(StatusCode::NOT_FOUND));
    }
    let query = request.uri().query().unwrap_or("").as_bytes();
    match *request.method() {
        Method::GET => Form::parse(query),
        Method::POST if query.is_empty() => Form::parse(request.body()),
        Method::POST => Form::parse(&[query, b"&", request.body()].concat()),
        _ => {
            let message = format!("Calls are GET or POST, not {}", request.method());
            let error = ApiError::new("InvalidRequest", message);
            Err(error.with_status(StatusCode::METHOD_NOT_ALLOWED))
        }
    }
}

fn refusal(error: SignatureError) -> ApiError {
    match error {
        SignatureError::Missing => {
            let message = "The request is not signed: set AWS_ACCESS_KEY_ID and \
                           AWS_SECRET_ACCESS_KEY to the cloud's key pair";
            ApiError::new("MissingAuthenticationToken", message).with_status(StatusCode::FORBIDDEN)
        }
        SignatureError::Malformed(what) => {
            ApiError::new("IncompleteSignature", format!("The signature is incomplete: {what}"))
        }
        SignatureError::Refused => {
            let message = "AWS was not able to validate the provided access credentials: they \
                           are not this cloud's key pair";
            ApiError::new("AuthFailure", message).with_status(StatusCode::UNAUTHORIZED)
        }
        SignatureError::Expired { signed, now } => {
            let (signed, now) = (Timestamp::from(signed), Timestamp::from(now));
            let message = format!("Request has expired: it was signed at {signed}, it is {now}");
            ApiError::new("RequestExpired", message)
        }
    }
}
