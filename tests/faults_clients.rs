//! Hundreds of clients at once, and clients that disconnect in the middle of a command.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test code"
)]

mod common;

use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::net::TcpStream;
use std::sync::Barrier;
use std::sync::Mutex;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use common::Base;
use common::Client;
use common::Exim;
use common::Site;
use common::fault::Fault;
use common::fault::POLICY;
use common::load;
use common::load::Attempt;
use common::process;
use common::site::GB;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::Linger;

const CLIENTS_AT_ONCE: usize = 500;
/// The attempts of each client. Only the last one has the right password.
const ATTEMPTS_EACH: usize = 4;

/// A site whose Exim accepts that many connections.
fn site(base: Base) -> (Site, Exim) {
    let site = Site::new(base, POLICY);
    load::prepare(&site);
    let config = site.read("exim.conf");
    let config = config.replace("= 200\n", "= 1000\n");
    assert!(config.contains("smtp_accept_max = 1000"), "{config}");
    site.write("exim.conf", &format!("smtp_connect_backlog = 600\n{config}"));
    let exim = site.exim();
    (site, exim)
}

/// Connects all clients, and then has all of them make their attempts at once.
fn attempt_at_once(exim: &Exim) -> Vec<Attempt> {
    let (done, all_connected) = (Mutex::new(Vec::new()), Barrier::new(CLIENTS_AT_ONCE));
    std::thread::scope(|scope| {
        for client in 0..CLIENTS_AT_ONCE {
            let (done, all_connected) = (&done, &all_connected);
            let run_client = move || {
                let mut connection = Client::connect_from(exim.port, GB);
                all_connected.wait();
                for attempt in 0..ATTEMPTS_EACH {
                    let number = client * ATTEMPTS_EACH + attempt;
                    let name = format!("u-{number}@example.com");
                    let is_right = attempt + 1 == ATTEMPTS_EACH;
                    let password: &[u8] = if is_right { b"secret" } else { b"wrong" };
                    let reply = Some(connection.plain(name.as_bytes(), password));
                    done.lock().unwrap().push(Attempt { name, number, is_right, reply });
                }
            };
            scope.spawn(run_client);
        }
    });
    done.into_inner().unwrap()
}

fn check_clients_at_once(name: &str, base: Base) {
    let (site, exim) = site(base);
    let attempts = attempt_at_once(&exim);
    load::flush(&site);
    let tally = load::assert_consistent(&site, &attempts);
    load::report(name, &tally);
    assert_eq!((tally.rows, tally.unanswered), (CLIENTS_AT_ONCE * ATTEMPTS_EACH, 0), "{tally:?}");
    assert!(tally.accepted > 0 && tally.refused > 0, "{tally:?}");
}

#[test]
fn five_hundred_clients_at_once_are_all_answered_with_sqlite() {
    check_clients_at_once("500 clients at once, 4 attempts each, SQLite", Base::Sqlite);
}

/// These are more clients than the server allows connections.
#[test]
fn five_hundred_clients_at_once_are_all_answered_with_mariadb() {
    check_clients_at_once("500 clients at once, 4 attempts each, MariaDB", Base::mariadb());
}

/// The way in which a client disconnects.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Disconnect {
    Close,
    Reset,
}

/// Sends this text after EHLO, and disconnects without reading a reply.
fn send_and_disconnect(port: u16, text: &str, how: Disconnect) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let header = format!("PROXY TCP4 {GB} 127.0.0.1 40000 25\r\n");
    stream.write_all(header.as_bytes()).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    stream.write_all(b"EHLO client.example\r\n").unwrap();
    while !line.starts_with("250 ") {
        line.clear();
        assert!(reader.read_line(&mut line).unwrap() > 0, "Exim answers EHLO");
    }
    stream.write_all(text.as_bytes()).unwrap();
    if how == Disconnect::Reset {
        setsockopt(&stream, Linger, &libc::linger { l_onoff: 1, l_linger: 0 }).unwrap();
    }
}

fn check_disconnecting_clients(name: &str, base: Base) {
    let site = common::fault::site(base, POLICY);
    let exim = site.exim();
    let tally = Fault::named(name).with_empty_names(12).run(&site, &exim, |load| {
        for number in 0..12 {
            let how = if number % 2 == 0 { Disconnect::Close } else { Disconnect::Reset };
            let names = ["plain", "half"].map(|kind| format!("u-{kind}-{number}@example.com"));
            let [plain, half] =
                names.each_ref().map(|name| BASE64_STANDARD.encode(format!("\0{name}\0secret")));
            send_and_disconnect(exim.port, &format!("AUTH PLAIN {plain}\r\n"), how);
            // Exim takes the end of the connection for an empty password, so that the row has no
            // name.
            let login = BASE64_STANDARD.encode(format!("u-login-{number}@example.com"));
            send_and_disconnect(exim.port, &format!("AUTH LOGIN {login}\r\n"), how);
            let half: String = half.chars().take(half.len() / 2).collect();
            send_and_disconnect(exim.port, &format!("AUTH PLAIN {half}"), how);
            send_and_disconnect(exim.port, "", how);
            for name in names {
                load.add(Attempt { name, number: 0, is_right: true, reply: None });
            }
            load.wait(2);
        }
        // Each process ends when its client has gone. Only those of the load are left.
        process::until("the processes of disconnected clients end", || {
            process::children(exim.pid()).len() <= common::fault::CLIENTS
        });
    });
    assert!(tally.cannot_tell == 0 && tally.unanswered == 24, "{tally:?}");
    let rows = site.rows();
    let rows_of = |prefix: &str| rows.iter().filter(|row| row.username.starts_with(prefix)).count();
    assert!(
        rows_of("u-plain") > 0 && rows_of("u-half") == 0,
        "only complete attempts have rows: {rows:?}"
    );
    assert!(rows_of("u-login") == 0 && rows.iter().any(|row| row.username.is_empty()), "{rows:?}");
}

#[test]
fn clients_that_disconnect_early_do_not_affect_others() {
    check_disconnecting_clients(
        "clients that disconnect during the dialogue, SQLite",
        Base::Sqlite,
    );
    check_disconnecting_clients(
        "clients that disconnect during the dialogue, MariaDB",
        Base::mariadb(),
    );
}
