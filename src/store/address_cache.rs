//! The latest addresses of a host name, in the state directory, for use while no name server
//! answers.
//!
//! There is a file for each name, with one address a line. Names and addresses are not secret. But
//! write access to such a file means the choice of the server that decides who may log in. So a
//! file counts only if it belongs to this process's user and other users may not write it. TLS
//! checks the certificate against the name, wherever the address comes from.

use std::fs;
use std::io;
use std::io::Read;
use std::io::Write;
use std::net::IpAddr;
use std::path::Path;
use std::path::PathBuf;

use nix::unistd::Uid;

use crate::state::files;

/// The beginning of the files' names.
const PREFIX: &str = "addresses-of-";
/// The longest name that is remembered, in bytes. File systems allow 255 bytes for a file name.
const LONGEST_NAME: usize = 200;
/// The most bytes that are read. A file with eight addresses is shorter.
const LONGEST_FILE: u64 = 1024;

/// The remembered addresses; none if there is no file, or if others may write it.
pub(super) fn load(directory: Option<&Path>, name: &str) -> Vec<IpAddr> {
    let Some(path) = path(directory, name) else { return Vec::new() };
    let mut text = String::new();
    let read =
        files::open(&path).and_then(|file| file.take(LONGEST_FILE).read_to_string(&mut text));
    let addresses: Option<Vec<_>> = text.lines().map(|line| line.parse().ok()).collect();
    // A file with another line is not used at all.
    read.ok().and(addresses).unwrap_or_default()
}

/// Remembers addresses. A failure is ignored: it matters only at the next outage of the name
/// servers.
pub(super) fn save(directory: Option<&Path>, name: &str, addresses: &[IpAddr]) {
    // Root writes no file here, because Exim's user could not replace it.
    if Uid::effective().is_root() {
        return;
    }
    if let Some(path) = path(directory, name) {
        let text: String = addresses.iter().map(|address| format!("{address}\n")).collect();
        let _ = write(&path, &text).ok();
    }
}

/// Deletes the addresses of a name that no longer exists.
pub(super) fn delete(directory: Option<&Path>, name: &str) {
    if let Some(path) = path(directory, name) {
        let _ = fs::remove_file(path).ok();
    }
}

fn path(directory: Option<&Path>, name: &str) -> Option<PathBuf> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let may_be = (1..=LONGEST_NAME).contains(&name.len()) && name.chars().all(is_plain);
    directory.filter(|_| may_be).map(|it| it.join(format!("{PREFIX}{}", name.to_ascii_lowercase())))
}

/// Writes the whole file, or leaves it as it was.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(format!("~{}", std::process::id()));
    let fresh = PathBuf::from(fresh);
    let written = files::create(&fresh)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| fs::rename(&fresh, path));
    if written.is_err() {
        let _ = fs::remove_file(&fresh).ok();
    }
    written
}
