//! Attempts that take long to hash, and can be stopped meanwhile.

use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

use super::Client;
use super::Exim;
use super::Site;
use super::processes::Frozen;
use super::site::GB;
use super::smtp::ACCEPTED;
use super::smtp::REFUSED;

/// A hash of "test" with 64 MiB and three passes.
pub const ARGON2: &str = "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$vBb99oJ12p3WAdYlaMHz1A$jtFOtbo/sYV9OSlTxDo/nVNq3uArHd5GJSEx0ty85Cc";

/// Begins an attempt; joining the thread returns its reply.
pub fn start(exim: &Exim, name: &str, password: &str) -> JoinHandle<String> {
    let (port, name, password) = (exim.port, name.to_owned(), password.to_owned());
    thread::spawn(move || {
        Client::connect_from(port, GB).plain(name.as_bytes(), password.as_bytes())
    })
}

/// Begins attempts until one can be stopped while it hashes; returns its process and its reply. An
/// attempt that was not caught leaves neither row nor failure.
pub fn stop_while_it_hashes(
    site: &Site,
    exim: &Exim,
    name: &str,
    password: &str,
) -> (u32, JoinHandle<String>) {
    for _ in 0..50 {
        let client = start(exim, name, password);
        while !client.is_finished() {
            let frozen = Frozen::new(exim.pid());
            if let Some(&pid) = frozen.hashing().first() {
                frozen.keep(pid);
                return (pid, client);
            }
            drop(frozen);
            thread::sleep(Duration::from_millis(5));
        }
        let reply = client.join().unwrap();
        assert!([ACCEPTED, REFUSED].contains(&&*reply), "{reply}: {:?}", site.lines());
        let last = site.count("SELECT MAX(id) FROM connection_log");
        site.sql(&format!("DELETE FROM connection_log WHERE id = {last}"));
        site.sql("DELETE FROM authpolicy_count WHERE value <> ''");
    }
    panic!("no attempt is caught while it hashes");
}
