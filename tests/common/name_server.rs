//! A network and mount namespace with its own name servers and files in /etc.

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::io::Write;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::TcpListener;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

/// The environment variable that is set in the process inside the namespace.
const INSIDE: &str = "AUTHPOLICY_TEST_INSIDE";

/// Files of /etc that only this namespace sees.
pub struct Etc(tempfile::TempDir);

/// Runs the test of this program called `name` again, in its own namespaces.
pub fn in_namespace(name: &str, test: impl FnOnce(&Etc)) {
    if std::env::var_os(INSIDE).is_some() {
        run("ip", &["link", "set", "lo", "up"]);
        test(&Etc::new());
        return;
    }
    let program = std::env::current_exe().unwrap();
    let status = Command::new("unshare")
        .args(["--net", "--mount", "--"])
        .arg(program)
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .expect("unshare");
    assert!(
        status.success(),
        "{name} failed in its namespace, or the namespace could not be made (run the test as root, with \
         CAP_SYS_ADMIN)"
    );
}

fn run(command: &str, arguments: &[&str]) {
    let output = Command::new(command).args(arguments).output().expect(command);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

impl Etc {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let etc = Self(directory);
        etc.write("resolv.conf", "nameserver 127.0.0.2\n");
        etc.write("hosts", "127.0.0.1 localhost\n");
        etc.write("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n");
        for name in ["resolv.conf", "hosts", "nsswitch.conf"] {
            let file = etc.path(name).display().to_string();
            run("mount", &["--bind", &file, &format!("/etc/{name}")]);
        }
        etc
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Replaces the content of a file.
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }
}

/// The behaviour of a name server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    Answers,
    IsSilent,
    /// Replies SERVFAIL.
    Fails,
    /// Truncates its UDP replies, so that the client asks over TCP.
    Truncates,
}

#[derive(Clone)]
pub struct NameServer {
    state: Arc<Mutex<State>>,
}

struct State {
    behaviour: Behaviour,
    records: HashMap<String, Vec<IpAddr>>,
    asked: Vec<String>,
}

impl NameServer {
    /// Listens on port 53 of this address.
    pub fn start(address: Ipv4Addr) -> Self {
        let state =
            State { behaviour: Behaviour::Answers, records: HashMap::new(), asked: Vec::new() };
        let server = Self { state: Arc::new(Mutex::new(state)) };
        let datagrams = UdpSocket::bind((address, 53)).unwrap();
        let here = server.clone();
        thread::spawn(move || {
            let mut buffer = [0; 1024];
            loop {
                let (length, client) = datagrams.recv_from(&mut buffer).unwrap();
                if let Some(reply) = here.reply(&buffer[..length], true) {
                    let _ = datagrams.send_to(&reply, client);
                }
            }
        });
        let connections = TcpListener::bind((address, 53)).unwrap();
        let here = server.clone();
        thread::spawn(move || {
            for client in connections.incoming() {
                let mut client = client.unwrap();
                client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                let mut length = [0; 2];
                if client.read_exact(&mut length).is_err() {
                    continue;
                }
                let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
                client.read_exact(&mut query).unwrap();
                if let Some(reply) = here.reply(&query, false) {
                    let length = u16::try_from(reply.len()).unwrap().to_be_bytes();
                    let _ = client.write_all(&[&length, &*reply].concat());
                }
            }
        });
        server
    }

    /// Gives a name these addresses; an empty list removes the name.
    pub fn set(&self, name: &str, addresses: &[&str]) {
        let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        let records = &mut self.state.lock().unwrap().records;
        match addresses.is_empty() {
            true => records.remove(name),
            false => records.insert(name.to_owned(), addresses),
        };
    }

    pub fn set_behaviour(&self, behaviour: Behaviour) {
        self.state.lock().unwrap().behaviour = behaviour;
    }

    /// The names in the queries since the last call, one for each query.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().asked)
    }

    fn reply(&self, query: &[u8], is_datagram: bool) -> Option<Vec<u8>> {
        let mut state = self.state.lock().unwrap();
        let (name, end) = name(query);
        let question = query.get(12..end + 4)?;
        state.asked.push(name.clone());
        let known = state.records.get(&name);
        let (flags, code) = match state.behaviour {
            Behaviour::IsSilent => return None,
            Behaviour::Fails => (0x81, 0x82),
            Behaviour::Truncates if is_datagram => (0x83, 0x80),
            _ if known.is_none() => (0x81, 0x83),
            Behaviour::Answers | Behaviour::Truncates => (0x81, 0x80),
        };
        let is_ipv6 = query[end..end + 2] == [0, 28];
        let mut records = Vec::new();
        let mut count: u8 = 0;
        for address in known.filter(|_| (flags, code) == (0x81, 0x80)).into_iter().flatten() {
            let bytes = match address {
                IpAddr::V4(four) => four.octets().to_vec(),
                IpAddr::V6(six) => six.octets().to_vec(),
            };
            if address.is_ipv6() == is_ipv6 {
                let length = u8::try_from(bytes.len()).unwrap();
                records.extend([0xc0, 12, 0, query[end + 1], 0, 1, 0, 0, 0, 0, 0, length]);
                records.extend(bytes);
                count += 1;
            }
        }
        let header = [query[0], query[1], flags, code, 0, 1, 0, count, 0, 0, 0, 0];
        Some([&header[..], question, &records].concat())
    }
}

/// The name in a query, and the offset of its end.
fn name(query: &[u8]) -> (String, usize) {
    let mut at = 12;
    let mut labels = Vec::new();
    while query[at] != 0 {
        let end = at + 1 + usize::from(query[at]);
        labels.push(String::from_utf8_lossy(&query[at + 1..end]).to_lowercase());
        at = end;
    }
    (labels.join("."), at + 1)
}
