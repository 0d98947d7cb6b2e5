//! Clients in their hundreds at once, and clients that vanish in the middle of a word.
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

const CROWD: usize = 500;
/// A wrong password each, and then the right one.
const GUESSES: usize = 4;

/// A site whose Exim takes so many.
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

/// Everybody connects, and when all are there, all guess.
fn crowd(exim: &Exim) -> Vec<Attempt> {
    let (done, here) = (Mutex::new(Vec::new()), Barrier::new(CROWD));
    std::thread::scope(|scope| {
        for client in 0..CROWD {
            let (done, here) = (&done, &here);
            let visit = move || {
                let mut connection = Client::connect_from(exim.port, GB);
                here.wait();
                for guess in 0..GUESSES {
                    let number = client * GUESSES + guess;
                    let name = format!("u-{number}@example.com");
                    let is_right = guess + 1 == GUESSES;
                    let password: &[u8] = if is_right { b"secret" } else { b"wrong" };
                    let reply = Some(connection.plain(name.as_bytes(), password));
                    done.lock().unwrap().push(Attempt { name, number, is_right, reply });
                }
            };
            scope.spawn(visit);
        }
    });
    done.into_inner().unwrap()
}

fn play_crowd(name: &str, base: Base) {
    let (site, exim) = site(base);
    let attempts = crowd(&exim);
    load::flush(&site);
    let tally = load::hold(&site, &attempts);
    load::report(name, &tally);
    assert_eq!((tally.rows, tally.unanswered), (CROWD * GUESSES, 0), "{tally:?}");
    assert!(tally.accepted > 0 && tally.refused > 0, "{tally:?}");
}

#[test]
fn five_hundred_clients_at_once_on_sqlite() {
    play_crowd("500 clients at once, 4 attempts each, SQLite", Base::Sqlite);
}

/// More than the server has connections for.
#[test]
fn five_hundred_clients_at_once_on_mariadb() {
    play_crowd("500 clients at once, 4 attempts each, MariaDB", Base::mariadb());
}

/// How a client goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Exit {
    /// Closes.
    Close,
    /// Resets the connection.
    Reset,
}

/// A client that says this when it has been greeted, and goes without listening.
fn vanish(port: u16, words: &str, exit: Exit) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let header = format!("PROXY TCP4 {GB} 127.0.0.1 40000 25\r\n");
    stream.write_all(header.as_bytes()).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    stream.write_all(b"EHLO client.example\r\n").unwrap();
    while !line.starts_with("250 ") {
        line.clear();
        assert!(reader.read_line(&mut line).unwrap() > 0, "Exim speaks to the end");
    }
    stream.write_all(words.as_bytes()).unwrap();
    if exit == Exit::Reset {
        setsockopt(&stream, Linger, &libc::linger { l_onoff: 1, l_linger: 0 }).unwrap();
    }
}

fn play_vanishing(name: &str, base: Base) {
    let site = common::fault::site(base, POLICY);
    let exim = site.exim();
    let tally = Fault::named(name).nameless(12).play(&site, &exim, |load| {
        for number in 0..12 {
            let exit = if number % 2 == 0 { Exit::Close } else { Exit::Reset };
            let names = ["plain", "half"].map(|how| format!("u-{how}-{number}@example.com"));
            let [plain, half] =
                names.each_ref().map(|name| BASE64_STANDARD.encode(format!("\0{name}\0secret")));
            vanish(exim.port, &format!("AUTH PLAIN {plain}\r\n"), exit);
            // Exim takes the end of the connection for an empty password, so that the name is lost.
            let login = BASE64_STANDARD.encode(format!("u-login-{number}@example.com"));
            vanish(exim.port, &format!("AUTH LOGIN {login}\r\n"), exit);
            let half: String = half.chars().take(half.len() / 2).collect();
            vanish(exim.port, &format!("AUTH PLAIN {half}"), exit);
            vanish(exim.port, "", exit);
            for name in names {
                load.add(Attempt { name, number: 0, is_right: true, reply: None });
            }
            load.wait(2);
        }
        // Each process ends with its client, but for those of the load.
        process::until("nobody waits for who has gone", || {
            process::children(exim.pid()).len() <= common::fault::CLIENTS
        });
    });
    assert!(tally.cannot_tell == 0 && tally.unanswered == 24, "{tally:?}");
    let rows = site.rows();
    let of = |how: &str| rows.iter().filter(|row| row.username.starts_with(how)).count();
    assert!(of("u-plain") > 0 && of("u-half") == 0, "who has said all is heard: {rows:?}");
    assert!(of("u-login") == 0 && rows.iter().any(|row| row.username.is_empty()), "{rows:?}");
}

#[test]
fn clients_vanish_in_the_middle_of_a_dialogue() {
    play_vanishing("clients that disconnect during the dialogue, SQLite", Base::Sqlite);
    play_vanishing("clients that disconnect during the dialogue, MariaDB", Base::mariadb());
}
