//! Calls against a service whose machines only note what is asked of them.

mod access;
mod groups;
mod hostile;
mod images;
mod instances;
mod launches;
mod listings;
mod recovery;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::Request;
use tempfile::TempDir;

use super::{Capacity, HttpRequest, Service, Settings};
use crate::{
    Credentials, Element,
    machines::{Health, Machine, MachineError, Machines, Policy},
    sigv4,
};

/// What has been asked of the machines, and how they are.
#[derive(Debug, Default)]
struct Notes {
    machines: BTreeMap<String, Machine>,
    health: BTreeMap<String, Health>,
    images: BTreeSet<String>,
    policy: Policy,
    asked: Vec<String>,
    /// What fails from now on: the first words of what is asked.
    broken: Option<String>,
}

#[derive(Debug, Clone, Default)]
struct Recorder(Arc<Mutex<Notes>>);

impl Recorder {
    fn notes(&self) -> std::sync::MutexGuard<'_, Notes> {
        self.0.lock().unwrap()
    }

    fn ask(&self, what: String) -> Result<(), MachineError> {
        let mut notes = self.notes();
        let broken = notes.broken.as_ref().is_some_and(|start| what.starts_with(start.as_str()));
        notes.asked.push(what.clone());
        match broken {
            true => Err(MachineError::Failed { what, cause: "broken".to_owned() }),
            false => Ok(()),
        }
    }
}

impl Machines for Recorder {
    fn start(&mut self, machine: &Machine) -> Result<(), MachineError> {
        self.ask(format!("start {}", machine.id))?;
        let mut notes = self.notes();
        notes.health.insert(machine.id.clone(), Health::Ready);
        notes.machines.insert(machine.id.clone(), machine.clone());
        Ok(())
    }

    fn stop(&mut self, id: &str) -> Result<(), MachineError> {
        self.ask(format!("stop {id}"))?;
        self.notes().health.remove(id);
        Ok(())
    }

    fn terminate(&mut self, id: &str) -> Result<(), MachineError> {
        self.ask(format!("terminate {id}"))?;
        self.notes().health.remove(id);
        self.notes().machines.remove(id);
        Ok(())
    }

    fn health(&self, id: &str) -> Health {
        self.notes().health.get(id).copied().unwrap_or(Health::Dead)
    }

    fn keep_image(&mut self, id: &str, image: &str) -> Result<(), MachineError> {
        self.ask(format!("keep {id}"))?;
        self.notes().images.insert(image.to_owned());
        Ok(())
    }

    fn drop_image(&mut self, image: &str) -> Result<(), MachineError> {
        self.ask(format!("drop {image}"))?;
        self.notes().images.remove(image);
        Ok(())
    }

    fn console(&self, id: &str) -> Result<Vec<u8>, MachineError> {
        Ok(format!("console of {id}").into_bytes())
    }

    fn filter(&mut self, policy: &Policy) -> Result<(), MachineError> {
        self.ask("filter".to_owned())?;
        self.notes().policy = policy.clone();
        Ok(())
    }
}

/// A cloud with such machines.
struct Cloud {
    service: Service,
    machines: Recorder,
    directory: TempDir,
    settings: Settings,
    now: SystemTime,
}

/// What was refused: its code and message.
type Refused = (String, String);

/// The base image whose user is `ec2-user`.
const BASE: &str = "ami-0e1a57a0000000001";

impl Cloud {
    fn new() -> Self {
        Self::with(Capacity::default())
    }

    fn with(capacity: Capacity) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let settings = Settings {
            directory: directory.path().to_owned(),
            region: "us-east-1".to_owned(),
            network: "172.31.0.0/24".parse().unwrap(),
            system: "Debian GNU/Linux 12".to_owned(),
            capacity,
        };
        let machines = Recorder::default();
        let service = Service::open(settings.clone(), Box::new(machines.clone())).unwrap();
        let now = UNIX_EPOCH + Duration::from_secs(1_767_323_045);
        Self { service, machines, directory, settings, now }
    }

    /// The same cloud after its process was killed; the machines are as they were.
    fn reopened(mut self) -> Self {
        let machines = Box::new(self.machines.clone());
        self.service = Service::open(self.settings.clone(), machines).unwrap();
        self
    }

    fn request(&self, body: &str, credentials: &Credentials, region: &str) -> HttpRequest {
        let mut request = Request::post("/")
            .header("host", "localhost")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body.as_bytes().to_vec())
            .unwrap();
        sigv4::sign(&mut request, credentials, region, self.now);
        request
    }

    fn send(&mut self, request: &HttpRequest) -> Result<Element, Refused> {
        let response = self.service.answer(request, self.now);
        let text = String::from_utf8(response.body().clone()).unwrap();
        let document = Element::parse(&text).unwrap();
        if response.status().is_success() {
            return Ok(document);
        }
        let part = |name| document.get(name).unwrap().to_owned();
        Err((part("Errors/Error/Code"), part("Errors/Error/Message")))
    }

    /// Makes a call: the action, and `name=value` for each parameter.
    fn try_call(&mut self, action: &str, parameters: &[&str]) -> Result<Element, Refused> {
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.append_pair("Action", action).append_pair("Version", "2016-11-15");
        for parameter in parameters {
            let (name, value) = parameter.split_once('=').unwrap();
            body.append_pair(name, value);
        }
        let credentials = self.service.credentials().clone();
        let request = self.request(&body.finish(), &credentials, "us-east-1");
        self.send(&request)
    }

    fn call(&mut self, action: &str, parameters: &[&str]) -> Element {
        self.try_call(action, parameters).unwrap_or_else(|error| panic!("{action}: {error:?}"))
    }

    /// The code that a call is refused with.
    fn refusal(&mut self, action: &str, parameters: &[&str]) -> String {
        match self.try_call(action, parameters) {
            Ok(answer) => panic!("{action} {parameters:?} is answered: {answer:?}"),
            Err((code, message)) => {
                assert!(message.len() > 10, "{code} says only: {message}");
                code
            }
        }
    }

    /// Polls until nothing moves.
    fn settle(&mut self) {
        for _ in 0..100 {
            self.now += Duration::from_millis(20);
            if self.service.poll(self.now) >= Duration::from_secs(1) {
                return;
            }
        }
        panic!("something moves for ever: {:?}", self.machines.notes().asked);
    }

    /// Launches instances from the base image and lets them boot. Their ids.
    fn launch(&mut self, parameters: &[&str]) -> Vec<String> {
        let image = format!("ImageId={BASE}");
        let answer = self.call("RunInstances", &[&[image.as_str()], parameters].concat());
        self.settle();
        answer.items("instancesSet").map(|item| item.get("instanceId").unwrap().into()).collect()
    }

    fn launch_one(&mut self, parameters: &[&str]) -> String {
        let one = ["MinCount=1", "MaxCount=1"];
        self.launch(&[&one, parameters].concat()).remove(0)
    }

    /// The description of an instance.
    fn instance(&mut self, id: &str) -> Element {
        let answer = self.call("DescribeInstances", &[&format!("InstanceId.1={id}")]);
        let reservation = answer.items("reservationSet").next().unwrap();
        reservation.items("instancesSet").next().unwrap().clone()
    }

    fn state(&mut self, id: &str) -> String {
        self.instance(id).get("instanceState/name").unwrap().to_owned()
    }

    /// A new group with the two rules of an EFA-enabled one.
    fn efa_group(&mut self, name: &str) -> String {
        let name = format!("GroupName={name}");
        let made = self.call("CreateSecurityGroup", &[&name, "GroupDescription=for EFA"]);
        let id = made.get("groupId").unwrap().to_owned();
        let group = format!("GroupId={id}");
        let peer = format!("IpPermissions.1.Groups.1.GroupId={id}");
        for action in ["AuthorizeSecurityGroupIngress", "AuthorizeSecurityGroupEgress"] {
            self.call(action, &[&group, "IpPermissions.1.IpProtocol=-1", &peer]);
        }
        id
    }
}
