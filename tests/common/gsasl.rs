//! libgsasl's SCRAM client.

use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::process::Child;
use std::process::ChildStdin;
use std::process::ChildStdout;
use std::process::Command;
use std::process::Stdio;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// A running SCRAM client of libgsasl.
pub struct Gsasl {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Gsasl {
    pub fn start(mechanism: &str, authcid: &str, password: &str) -> Self {
        let mut child = Command::new("gsasl")
            .args(["--client", "--quiet", "--no-cb"])
            .args(["--mechanism", mechanism, "--authentication-id", authcid])
            .args(["--password", password])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("gsasl: install gsasl");
        let stdin = child.stdin.take().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut chosen = String::new();
        stdout.read_line(&mut chosen).unwrap();
        assert_eq!(chosen.trim_end(), mechanism);
        Self { child, stdin, stdout }
    }

    /// The client's next message.
    pub fn message(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        String::from_utf8(BASE64_STANDARD.decode(line.trim_end()).unwrap()).unwrap()
    }

    /// Sends the server's message to the client.
    pub fn send(&mut self, message: &str) {
        let _ = writeln!(self.stdin, "{}", BASE64_STANDARD.encode(message));
    }

    /// Ends the exchange. True if the client has accepted the server.
    pub fn finish(mut self) -> bool {
        self.send("");
        drop(self.stdin);
        self.child.wait().unwrap().success()
    }
}
