//! Attempts with a slow hash, whose processes can be stopped while they hash.

use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

use super::Client;
use super::Exim;
use super::Site;
use super::frozen::Frozen;
use super::site::GB;
use super::smtp::ACCEPTED;
use super::smtp::REFUSED;

/// An Argon2 hash of "test", with 64 MiB and three passes.
pub const ARGON2: &str = "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$vBb99oJ12p3WAdYlaMHz1A$jtFOtbo/sYV9OSlTxDo/nVNq3uArHd5GJSEx0ty85Cc";

/// Starts an attempt in a thread, which returns the reply.
pub fn start(exim: &Exim, name: &str, password: &str) -> JoinHandle<String> {
    let (port, name, password) = (exim.port, name.to_owned(), password.to_owned());
    thread::spawn(move || {
        Client::connect_from(port, GB).plain(name.as_bytes(), password.as_bytes())
    })
}

/// Starts attempts until one can be stopped while it hashes; returns its process id and its thread.
/// The rows and counted failures of the attempts before it are deleted.
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
                frozen.release_others(pid);
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
    panic!("no attempt could be stopped while it hashes");
}
