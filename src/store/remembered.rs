//! The latest addresses of a host name, in the state directory, for the time when no name server answers.
//!
//! A file for each name, with an address a line. Names and addresses are no secrets; but whoever can
//! write such a file chooses the server that says who may log in. So a file counts only if it
//! belongs to this process's user and nobody else may write it. TLS holds the certificate against
//! the name, wherever the address comes from.

use std::fs;
use std::io;
use std::io::Read;
use std::io::Write;
use std::net::IpAddr;
use std::path::Path;
use std::path::PathBuf;

use nix::unistd::Uid;

use crate::state;

/// Begins the names of the files.
const PREFIX: &str = "addresses-of-";
/// Longer names are not remembered: file systems allow 255 bytes for the name of a file.
const LONGEST_NAME: usize = 200;
/// More than eight addresses take.
const LONGEST_FILE: u64 = 1024;

/// The remembered addresses; none if there is no file, or it is not ours alone.
pub(super) fn recall(directory: Option<&Path>, name: &str) -> Vec<IpAddr> {
    let Some(path) = path(directory, name) else { return Vec::new() };
    let mut text = String::new();
    let read =
        state::open(&path).and_then(|file| file.take(LONGEST_FILE).read_to_string(&mut text));
    let addresses: Option<Vec<_>> = text.lines().map(|line| line.parse().ok()).collect();
    // A file with another line is not used at all.
    read.ok().and(addresses).unwrap_or_default()
}

/// Remembers addresses. If that fails, the next outage of the name servers is felt; no client is refused
/// for it now.
pub(super) fn keep(directory: Option<&Path>, name: &str, addresses: &[IpAddr]) {
    // Root never leaves a file here that Exim's user could not replace.
    if Uid::effective().is_root() {
        return;
    }
    if let Some(path) = path(directory, name) {
        let text: String = addresses.iter().map(|address| format!("{address}\n")).collect();
        let _ = write(&path, &text).ok();
    }
}

/// Forgets a name that is gone.
pub(super) fn forget(directory: Option<&Path>, name: &str) {
    if let Some(path) = path(directory, name) {
        let _ = fs::remove_file(path).ok();
    }
}

fn path(directory: Option<&Path>, name: &str) -> Option<PathBuf> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let may_be = (1..=LONGEST_NAME).contains(&name.len()) && name.chars().all(is_plain);
    directory.filter(|_| may_be).map(|it| it.join(format!("{PREFIX}{}", name.to_ascii_lowercase())))
}

/// The file has all of it, or is as it was.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(format!("~{}", std::process::id()));
    let fresh = PathBuf::from(fresh);
    let written = state::create(&fresh)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| fs::rename(&fresh, path));
    if written.is_err() {
        let _ = fs::remove_file(&fresh).ok();
    }
    written
}
