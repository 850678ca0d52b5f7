//! The cloud's name server: names and addresses of instances, and of nothing else.
//!
//! EC2 names an instance after its address, so that a name is answered for without knowing who
//! has it. What is none of the cloud's does not exist, and is said so at once: a server that keeps
//! silent would cost each look-up its time limit.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use hosts::instance::Enclave;
use ipnet::Ipv4Net;
use simple_dns::{
    CLASS, Name, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord, TYPE,
    rdata::{A, PTR, RData},
};

/// The port of name servers.
const PORT: u16 = 53;
/// The largest question over UDP without extensions, and some more.
const QUESTION: usize = 1232;
/// For how long an answer may be kept, in seconds.
const TIME_TO_LIVE: u32 = 60;

/// What there are names for.
#[derive(Clone, Debug)]
pub(super) struct Zone {
    /// The addresses.
    pub(super) network: Ipv4Net,
    /// What is behind the names of instances, `ec2.internal` for one.
    pub(super) domain: String,
}

/// A name server that runs.
#[derive(Debug)]
pub(super) struct NameServer {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl NameServer {
    /// Starts one at an address of the enclave's.
    pub(super) fn start(enclave: &Enclave, address: Ipv4Addr, zone: Zone) -> io::Result<Self> {
        let address = SocketAddr::from((address, PORT));
        let socket = enclave.run(|| UdpSocket::bind(address)).flatten()?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                serve_one(&socket, &zone);
            }
        });
        Ok(Self { address, stop, thread: Some(thread) })
    }

    /// Ends it, so that nothing of the enclave is held any more.
    pub(super) fn stop(&mut self, enclave: &Enclave) {
        self.stop.store(true, Ordering::Relaxed);
        let wake = || UdpSocket::bind("0.0.0.0:0")?.send_to(&[], self.address);
        // Where the enclave is gone, so is what the thread waits for.
        if let (Ok(_), Some(thread)) = (enclave.run(wake).flatten(), self.thread.take()) {
            thread.join().ok();
        }
    }
}

fn serve_one(socket: &UdpSocket, zone: &Zone) {
    let mut question = [0; QUESTION];
    // A question that got lost is asked again; so is one whose answer did.
    if let Ok((length, asker)) = socket.recv_from(&mut question)
        && let Some(answer) = answer(&question[..length], zone)
    {
        socket.send_to(&answer, asker).ok();
    }
}

/// The answer to a question, if it is one.
fn answer(question: &[u8], zone: &Zone) -> Option<Vec<u8>> {
    let asked = Packet::parse(question).ok()?;
    if asked.has_flags(PacketFlag::RESPONSE) {
        return None;
    }
    let mut reply = Packet::new_reply(asked.id());
    reply.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
    if asked.has_flags(PacketFlag::RECURSION_DESIRED) {
        reply.set_flags(PacketFlag::RECURSION_DESIRED | PacketFlag::RECURSION_AVAILABLE);
    }
    let [query] = &asked.questions[..] else { return None };
    reply.questions.push(query.clone());
    let name = query.qname.to_string().to_ascii_lowercase();
    let known = match (zone.address_of(&name), zone.name_of(&name)) {
        (Some(address), _) => Some((TYPE::A, RData::A(A::from(address)))),
        (None, Some(name)) => {
            Some((TYPE::PTR, RData::PTR(PTR(Name::new(&name).ok()?.into_owned()))))
        }
        (None, None) => None,
    };
    let Some((kind, data)) = known else {
        *reply.rcode_mut() = RCODE::NameError;
        return reply.build_bytes_vec().ok();
    };
    // A name that has no record of the type exists all the same.
    if [QTYPE::TYPE(kind), QTYPE::ANY].contains(&query.qtype) {
        let owner = query.qname.clone();
        reply.answers.push(ResourceRecord::new(owner, CLASS::IN, TIME_TO_LIVE, data));
    }
    reply.build_bytes_vec().ok()
}

impl Zone {
    /// The address in a name like `ip-10-77-0-4` or `ip-10-77-0-4.ec2.internal`.
    fn address_of(&self, name: &str) -> Option<Ipv4Addr> {
        let label = match name.split_once('.') {
            Some((label, domain)) if domain == self.domain => label,
            Some(_) => return None,
            None => name,
        };
        let address: Ipv4Addr = label.strip_prefix("ip-")?.replace('-', ".").parse().ok()?;
        self.network.contains(&address).then_some(address)
    }

    /// The name of the address in a name like `4.0.77.10.in-addr.arpa`.
    fn name_of(&self, name: &str) -> Option<String> {
        let reversed: Ipv4Addr = name.strip_suffix(".in-addr.arpa")?.parse().ok()?;
        let [d, c, b, a] = reversed.octets();
        let address = Ipv4Addr::new(a, b, c, d);
        let named = || format!("ip-{a}-{b}-{c}-{d}.{}", self.domain);
        self.network.contains(&address).then(named)
    }
}

#[cfg(test)]
mod tests {
    use simple_dns::{QCLASS, Question};

    use super::*;

    fn zone() -> Zone {
        Zone { network: "10.77.0.0/16".parse().unwrap(), domain: "ec2.internal".to_owned() }
    }

    /// What is answered: the status, and the data of the records.
    fn ask(name: &str, kind: TYPE) -> (RCODE, Vec<String>) {
        let mut packet = Packet::new_query(7);
        let name = Name::new(name).unwrap();
        packet.questions.push(Question::new(
            name,
            QTYPE::TYPE(kind),
            QCLASS::CLASS(CLASS::IN),
            false,
        ));
        let reply = answer(&packet.build_bytes_vec().unwrap(), &zone()).unwrap();
        let reply = Packet::parse(&reply).unwrap();
        assert_eq!(reply.id(), 7);
        let data = reply.answers.iter().map(|record| match &record.rdata {
            RData::A(a) => Ipv4Addr::from(a.address).to_string(),
            RData::PTR(name) => name.0.to_string(),
            other => panic!("{other:?}"),
        });
        (reply.rcode(), data.collect())
    }

    #[test]
    fn name_of_an_address_of_the_network_has_that_address_and_no_other_record() {
        let found = (RCODE::NoError, vec!["10.77.1.4".to_owned()]);
        assert_eq!(ask("ip-10-77-1-4.ec2.internal", TYPE::A), found);
        assert_eq!(ask("IP-10-77-1-4", TYPE::A), found);
        assert_eq!(ask("ip-10-77-1-4", TYPE::AAAA), (RCODE::NoError, vec![]));
        let name = "ip-10-77-1-4.ec2.internal".to_owned();
        assert_eq!(ask("4.1.77.10.in-addr.arpa", TYPE::PTR), (RCODE::NoError, vec![name]));
    }

    #[test]
    fn what_is_none_of_the_cloud_does_not_exist() {
        for (name, kind) in [
            ("ip-10-78-0-4", TYPE::A),
            ("ip-10-77-0-4.example.com", TYPE::A),
            ("example.com", TYPE::A),
            ("ip-10-77-0", TYPE::A),
            ("4.0.78.10.in-addr.arpa", TYPE::PTR),
        ] {
            assert_eq!(ask(name, kind), (RCODE::NameError, vec![]), "{name}");
        }
    }

    #[test]
    fn what_is_no_question_gets_no_answer() {
        assert_eq!(answer(b"nonsense", &zone()), None);
        let reply = Packet::new_reply(1).build_bytes_vec().unwrap();
        assert_eq!(answer(&reply, &zone()), None);
    }
}
