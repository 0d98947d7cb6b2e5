//! A simple SMTP client over any pair of pipes. It can also send what the protocol forbids.

use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::net::TcpListener;
use std::net::TcpStream;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// The longest wait for a reply before the test fails: far longer than the plugin's time-outs.
const REPLY_TIMEOUT: Duration = Duration::from_secs(60);

/// The reply to an accepted attempt.
pub const ACCEPTED: &str = "235 Authentication succeeded";
/// The reply to a refused attempt, with any reason.
pub const REFUSED: &str = "535 Incorrect authentication data";
/// The reply if the plugin cannot tell.
pub const CANNOT_TELL: &str = "435 Unable to authenticate at present";

pub struct Client {
    reader: BufReader<Box<dyn Read + Send>>,
    writer: Box<dyn Write + Send>,
    child: Option<Child>,
}

impl Client {
    /// Connects to an Exim on loopback.
    pub fn connect(port: u16) -> Self {
        Self::over_tcp(port, None)
    }

    /// Connects with this client address, by a PROXY header (version 1).
    pub fn connect_from(port: u16, remote: &str) -> Self {
        Self::over_tcp(port, Some(remote))
    }

    fn over_tcp(port: u16, remote: Option<&str>) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("Exim listens");
        stream.set_read_timeout(Some(REPLY_TIMEOUT)).unwrap();
        if let Some(remote) = remote {
            let (family, local) =
                if remote.contains(':') { ("TCP6", "::1") } else { ("TCP4", "127.0.0.1") };
            // In a single write, because Exim reads the header with a single recv().
            let header = format!("PROXY {family} {remote} {local} 40000 25\r\n");
            stream.write_all(header.as_bytes()).unwrap();
        }
        let reader: Box<dyn Read + Send> = Box::new(stream.try_clone().unwrap());
        let mut client =
            Self { reader: BufReader::new(reader), writer: Box::new(stream), child: None };
        client.begin_session();
        client
    }

    /// Connects with TLS from the start and with this client address. `arguments` are passed to
    /// `openssl s_client`.
    pub fn over_tls(port: u16, remote: &str, arguments: &[&str]) -> Self {
        let proxy = format!("127.0.0.1:{}", proxy(port, remote));
        let mut openssl = Command::new("openssl");
        openssl.args(["s_client", "-quiet", "-connect", &proxy]).args(arguments);
        Self::over_pipes(openssl.stderr(Stdio::null()))
    }

    /// Starts a command, such as `exim -bs`, and uses its standard input and output.
    pub fn over_pipes(command: &mut Command) -> Self {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a command");
        let reader: Box<dyn Read + Send> = Box::new(child.stdout.take().unwrap());
        let writer = Box::new(child.stdin.take().unwrap());
        let mut client = Self { reader: BufReader::new(reader), writer, child: Some(child) };
        client.begin_session();
        client
    }

    /// Reads the banner and sends EHLO.
    fn begin_session(&mut self) {
        let mut banner = self.reply();
        // `exim -bh` prints an introduction before the banner.
        for _ in 0..8 {
            if banner.is_empty() || banner.starts_with("****") {
                banner = self.reply();
            }
        }
        assert!(banner.starts_with("220"), "{banner}");
        let capabilities = self.command("EHLO client.example");
        assert!(capabilities.starts_with("250"), "{capabilities}");
    }

    /// Sends a line; returns the reply. Newlines separate the lines of a reply.
    pub fn command(&mut self, line: &str) -> String {
        self.writer.write_all(format!("{line}\r\n").as_bytes()).unwrap();
        self.writer.flush().unwrap();
        self.reply()
    }

    pub fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let mut line = String::new();
            self.reader.read_line(&mut line).expect("Exim replies");
            if line.is_empty() {
                return reply;
            }
            reply.push_str(line.trim_end());
            if line.as_bytes().get(3) != Some(&b'-') {
                return reply;
            }
            reply.push('\n');
        }
    }

    /// Sends `AUTH PLAIN` with an initial response; returns the reply.
    pub fn plain(&mut self, authcid: &[u8], password: &[u8]) -> String {
        self.plain_as(b"", authcid, password)
    }

    /// Sends `AUTH PLAIN` with an authorization identity; returns the reply.
    pub fn plain_as(&mut self, authzid: &[u8], authcid: &[u8], password: &[u8]) -> String {
        let response = [authzid, authcid, password].join(&0);
        self.command(&format!("AUTH PLAIN {}", BASE64_STANDARD.encode(response)))
    }

    /// Makes an attempt with `AUTH LOGIN`; returns the last reply.
    pub fn login(&mut self, authcid: &[u8], password: &[u8]) -> String {
        let prompt = self.command("AUTH LOGIN");
        assert!(prompt.starts_with("334"), "{prompt}");
        let prompt = self.command(&BASE64_STANDARD.encode(authcid));
        assert!(prompt.starts_with("334"), "{prompt}");
        self.command(&BASE64_STANDARD.encode(password))
    }
}

/// Starts a proxy for one connection, for clients that cannot send the PROXY header; returns its
/// port.
pub fn proxy(port: u16, remote: &str) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let own = listener.local_addr().unwrap().port();
    let header = format!("PROXY TCP4 {remote} 127.0.0.1 40000 25\r\n");
    thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut server = TcpStream::connect(("127.0.0.1", port)).unwrap();
        server.write_all(header.as_bytes()).unwrap();
        let (mut from_client, mut to_server) =
            (client.try_clone().unwrap(), server.try_clone().unwrap());
        thread::spawn(move || {
            let _ = std::io::copy(&mut from_client, &mut to_server);
            let _ = to_server.shutdown(Shutdown::Write);
        });
        let _ = std::io::copy(&mut server, &mut client);
        let _ = client.shutdown(Shutdown::Both);
    });
    own
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.writer.write_all(b"QUIT\r\n").and_then(|()| self.writer.flush());
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
    }
}
