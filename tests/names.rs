//! Names of database hosts resolve in Exim as in the tool, and name servers that do not answer cost
//! no more than `connect_timeout`. Each test runs in its own network namespace, with its own /etc.
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

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Instant;

use common::Client;
use common::Site;
use common::exim::users::give_to_exim;
use common::name_server::Behaviour;
use common::name_server::Etc;
use common::name_server::NameServer;
use common::name_server::in_namespace;
use common::named::Rig;
use common::named::SOON;
use common::signal_flood::SignalFlood;
use common::site::GB;
use common::smtp::ACCEPTED;
use common::smtp::CANNOT_TELL;
use common::smtp::REFUSED;

/// Shorter than the time that libc takes for three silent servers, with any setting that Exim makes.
const SHORT_TIMEOUTS: &str = "connect_timeout = \"500ms\"\nattempt_timeout = \"2s\"\n";
/// The worst resolv.conf: libc would ask each server five times, and wait half a minute each time.
const LONG_WAITS: &str = "options timeout:30 attempts:5\n";

fn server(last: u8) -> NameServer {
    NameServer::start(Ipv4Addr::new(127, 0, 0, last))
}

#[test]
fn a_name_resolves_in_exim_as_in_the_tool_and_exims_own_lookups_stay_as_they_are() {
    in_namespace(
        "a_name_resolves_in_exim_as_in_the_tool_and_exims_own_lookups_stay_as_they_are",
        use_search_list,
    );
}

fn use_search_list(etc: &Etc) {
    let servers = server(2);
    servers.set("db1.corp.example", &["127.0.0.1"]);
    etc.write("resolv.conf", "search lan.example corp.example\nnameserver 127.0.0.2\n");
    let mut rig = Rig::new();
    let config = rig.site.read("exim.conf");
    let lookup = |name: &str| format!("{name}=${{lookup dnsdb{{a={name}}}{{$value}}{{none}}}}");
    // In one process, Exim asks for each name only once.
    let both = |number: u8| {
        let name = format!("own{number}");
        format!("{} {}", lookup(&name), lookup(&format!("{name}.corp.example")))
    };
    let message = format!(
        "message = ${{if eq{{$sender_address}}{{1@a.example}}{{{}}}}}${{if \
         eq{{$sender_address}}{{2@a.example}}{{{}}}}}${{if eq{{$sender_address}}{{3@a.example}}{{{}}}}}",
        both(1),
        both(2),
        both(3)
    );
    for number in 1..3 {
        servers.set(&format!("own{number}.corp.example"), &["127.0.0.1"]);
    }
    rig.site.write("exim.conf", &config.replace("message = ", &message));
    rig.exim = rig.site.exim();
    let mut client = Client::connect_from(rig.exim.port, GB);
    let reply = client.command("MAIL FROM:<1@a.example>");
    assert!(reply.contains("own1=none own1.corp.example=127.0.0.1"), "{reply}");
    for name in ["db1", "db1.corp", "db1.corp.example", "db1.corp.example."] {
        if name == "db1.corp" {
            servers.set("db1.corp.lan.example", &["127.0.0.1"]);
        }
        rig.set_urls(&[rig.url(name)]);
        rig.assert_served();
        assert!(rig.site.tool(&["config"], "").contains("check.accounts=ok"));
        assert!(rig.site.run_tool(&["test", "u@example.com", GB], "secret").status.success());
        rig.site.tool(&["db", "init"], "");
    }
    // Exim's own lookups in this process work as before.
    assert_eq!(client.plain(b"u@example.com", b"secret"), ACCEPTED, "{}", rig.site.main_log());
    servers.asked();
    let reply = client.command("MAIL FROM:<2@a.example>");
    assert!(reply.contains("own2=none own2.corp.example=127.0.0.1"), "{reply}");
    assert_eq!(servers.asked(), ["own2", "own2.corp.example"]);
    // Exim asks once, as `dns_retry` says, and then gives up.
    servers.set_behaviour(Behaviour::IsSilent);
    client.command("MAIL FROM:<3@a.example>");
    assert_eq!(servers.asked(), ["own3"]);
}

#[test]
fn a_silent_name_server_is_passed_over() {
    in_namespace("a_silent_name_server_is_passed_over", |etc| {
        let (first, second) = (server(2), server(3));
        first.set_behaviour(Behaviour::IsSilent);
        second.set("db1.corp.example", &["127.0.0.1"]);
        let servers = "search corp.example\nnameserver 127.0.0.2\nnameserver 127.0.0.3\n";
        let rig = Rig::new();
        etc.write("resolv.conf", &format!("{servers}{LONG_WAITS}"));
        rig.set_urls(&[rig.url("db1")]);
        rig.assert_served();
        first.set_behaviour(Behaviour::Fails);
        rig.assert_served();
        assert!(rig.site.tool(&["config"], "").contains("check.accounts=ok"));
    });
}

#[test]
fn silent_name_servers_are_given_up_in_time() {
    in_namespace("silent_name_servers_are_given_up_in_time", |etc| {
        let servers: Vec<_> = (2..5).map(server).collect();
        servers.iter().for_each(|server| server.set("db1.a.example", &["127.0.0.1"]));
        let search = "search a.example b.example c.example\n";
        let one = format!("{search}nameserver 127.0.0.2\n");
        etc.write("resolv.conf", &one);
        let rig = Rig::new();
        rig.set_urls(&[rig.url("db1")]);
        rig.assert_served();
        // Another host, because the addresses of db1 are remembered.
        rig.set_urls(&[rig.url("db2")]);
        servers.iter().for_each(|server| server.set_behaviour(Behaviour::IsSilent));
        let three = format!("{one}nameserver 127.0.0.3\nnameserver 127.0.0.4\n{LONG_WAITS}");
        for (text, expected) in [(one, "127.0.0.2: did not answer"), (three, "127.0.0.4: did not")]
        {
            etc.write("resolv.conf", &text);
            rig.assert_unserved("no name server could tell (127.0.0.2: did not answer");
            rig.assert_unserved(expected);
            let start = Instant::now();
            let output = rig.site.run_tool(&["config"], "");
            assert_eq!(output.status.code(), Some(2));
            assert!(String::from_utf8_lossy(&output.stdout).contains(expected));
            assert!(start.elapsed() < 3 * SOON, "the tool took {:?}", start.elapsed());
        }
        // The rows are stored when a database can be reached again.
        rig.set_urls(&[rig.url("127.0.0.1")]);
        let before = rig.site.rows().len();
        rig.site.tool(&["flush"], "");
        let rows = rig.site.rows();
        assert_eq!(rows[before..].iter().filter(|row| row.auth_ok.is_none()).count(), 4);
    });
}

#[test]
fn signals_do_not_interrupt_or_prolong_a_lookup() {
    in_namespace("signals_do_not_interrupt_or_prolong_a_lookup", |etc| {
        let (first, second) = (server(2), server(3));
        first.set_behaviour(Behaviour::IsSilent);
        second.set("db1", &["127.0.0.1"]);
        let rig = Rig::new();
        etc.write("resolv.conf", "nameserver 127.0.0.2\nnameserver 127.0.0.3\n");
        rig.set_urls(&[rig.url("db1")]);
        let mut client = Client::connect_from(rig.exim.port, GB);
        let flood = SignalFlood::start(&rig.exim);
        assert_eq!(client.plain(b"u@example.com", b"wrong"), REFUSED, "{}", rig.site.main_log());
        second.set_behaviour(Behaviour::IsSilent);
        rig.set_urls(&[rig.url("db2")]);
        let mut another = Client::connect_from(rig.exim.port, GB);
        drop(client);
        drop(flood);
        let flood = SignalFlood::start(&rig.exim);
        let start = Instant::now();
        let reply = another.plain(b"u@example.com", b"secret");
        assert_eq!(reply, CANNOT_TELL, "{}", rig.site.main_log());
        assert!(start.elapsed() < SOON, "it took {:?}", start.elapsed());
        drop(flood);
        let lines = rig.site.lines();
        assert!(!lines[0].contains("error="), "{lines:?}");
        assert!(lines[1].contains("127.0.0.3: did not answer"), "{lines:?}");
        assert_eq!(rig.site.rows().len(), 1);
    });
}

#[test]
fn a_host_without_an_address_leaves_time_for_the_next_one() {
    in_namespace("a_host_without_an_address_leaves_time_for_the_next_one", |etc| {
        let servers: Vec<_> = (2..5).map(server).collect();
        let rig = Rig::new();
        let three = "nameserver 127.0.0.2\nnameserver 127.0.0.3\nnameserver 127.0.0.4\n";
        etc.write("resolv.conf", &format!("search a.example\n{three}{LONG_WAITS}"));
        etc.write("hosts", "127.0.0.1 localhost db2\n");
        rig.set_urls_with_timeouts(&[rig.url("db1"), rig.url("127.0.0.1")], SHORT_TIMEOUTS);
        rig.assert_served();
        servers.iter().for_each(|server| server.set_behaviour(Behaviour::IsSilent));
        rig.assert_served();
        rig.set_urls_with_timeouts(&[rig.url("db1"), rig.url("db2")], SHORT_TIMEOUTS);
        rig.assert_served();
        rig.server.kill();
        rig.assert_unserved("db1:");
        rig.server.restart();
        rig.assert_served();
    });
}

#[test]
fn the_latest_addresses_are_used_while_name_servers_are_silent() {
    in_namespace(
        "the_latest_addresses_are_used_while_name_servers_are_silent",
        use_remembered_addresses,
    );
}

fn use_remembered_addresses(etc: &Etc) {
    let servers = server(2);
    servers.set("db1.corp.example", &["127.0.0.1"]);
    let rig = Rig::new();
    etc.write("resolv.conf", &format!("search corp.example\nnameserver 127.0.0.2\n{LONG_WAITS}"));
    rig.set_urls(&[rig.url("db1")]);
    rig.assert_served();
    let file = rig.site.path("state/addresses-of-db1");
    assert_eq!(fs::read_to_string(&file).unwrap(), "127.0.0.1\n");
    assert_eq!(file.metadata().unwrap().mode() & 0o7777, 0o600);
    for behaviour in [Behaviour::IsSilent, Behaviour::Fails] {
        servers.set_behaviour(behaviour);
        rig.assert_served_from_memory();
    }
    rig.server.kill();
    rig.assert_unserved("; at the remembered address: 127.0.0.1: ");
    rig.server.restart();
    // A file that others may have written is not used.
    let silent = "no name server could tell";
    fs::set_permissions(&file, fs::Permissions::from_mode(0o620)).unwrap();
    rig.assert_unserved(silent);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    rig.assert_served_from_memory();
    std::os::unix::fs::chown(&file, Some(0), Some(0)).unwrap();
    rig.assert_unserved(silent);
    let target = rig.site.path("state/target");
    fs::rename(&file, &target).unwrap();
    give_to_exim(&target);
    std::os::unix::fs::symlink(&target, &file).unwrap();
    rig.assert_unserved(silent);
    fs::write(&target, "127.0.0.1\nnonsense\n").unwrap();
    fs::rename(&target, &file).unwrap();
    rig.assert_unserved(silent);
    // A new answer replaces the file. If the name no longer exists, the file is removed.
    servers.set_behaviour(Behaviour::Answers);
    servers.set("db1.corp.example", &["127.0.0.1", "127.0.0.77"]);
    rig.assert_served();
    assert_eq!(fs::read_to_string(&file).unwrap(), "127.0.0.1\n127.0.0.77\n");
    servers.set("db1.corp.example", &[]);
    rig.assert_unserved("there is no such name");
    assert!(!file.exists());
    servers.set_behaviour(Behaviour::IsSilent);
    rig.assert_unserved(silent);
}

#[test]
fn etc_hosts_is_asked_first_and_nsswitch_decides() {
    in_namespace("etc_hosts_is_asked_first_and_nsswitch_decides", |etc| {
        let servers = server(2);
        etc.write("hosts", "127.0.0.1 localhost db1\n::1 db1\n");
        let rig = Rig::new();
        etc.write("resolv.conf", &format!("nameserver 127.0.0.2\n{LONG_WAITS}"));
        rig.set_urls(&[rig.url("db1")]);
        servers.set_behaviour(Behaviour::IsSilent);
        rig.assert_served();
        assert!(!servers.asked().iter().any(|name| name.starts_with("db1")));
        servers.set_behaviour(Behaviour::Answers);
        servers.set("db2", &["127.0.0.1"]);
        rig.set_urls(&[rig.url("db2")]);
        rig.assert_served();
        fs::remove_file(rig.site.path("state/addresses-of-db2")).unwrap();
        etc.write("nsswitch.conf", "hosts: files\n");
        servers.asked();
        rig.assert_unserved("there is no such name");
        assert!(!servers.asked().iter().any(|name| name.starts_with("db2")));
        // A module after `dns` does not keep the plugin from asking DNS.
        etc.write("nsswitch.conf", "hosts: dns files\n");
        rig.assert_served();
        assert!(rig.site.tool(&["config"], "").contains("check.host_names=ok\n"));
        // A module that is not installed, and that would have no time-out.
        etc.write("nsswitch.conf", "hosts: files resolve [!UNAVAIL=return] dns\n");
        rig.assert_served();
        let warning = "check.host_names=warning /etc/nsswitch.conf has the hosts of databases (db2) \
                      looked up by resolve,";
        assert!(rig.site.tool(&["config"], "").contains(warning));
    });
}

#[test]
fn each_address_of_a_name_is_tried() {
    in_namespace("each_address_of_a_name_is_tried", |etc| {
        let servers = server(2);
        servers.set("db1.corp.example", &["127.0.0.77", "::1", "2001:db8::1", "127.0.0.1"]);
        etc.write("resolv.conf", "search corp.example\nnameserver 127.0.0.2\n");
        let rig = Rig::new();
        rig.set_urls(&[rig.url("db1")]);
        rig.assert_served();
        servers.set_behaviour(Behaviour::Truncates);
        rig.assert_served();
        rig.server.kill();
        rig.assert_unserved("127.0.0.77: ");
        rig.server.restart();
    });
}

/// A self-signed certificate for a server of this name.
fn certificate(site: &Site, name: &str) -> (String, Vec<String>) {
    let path = |kind: &str| site.path(&format!("{name}.{kind}")).display().to_string();
    let (certificate, key) = (path("crt"), path("key"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-nodes", "-days", "2", "-subj", &format!("/CN={name}")])
        .args(["-addext", &format!("subjectAltName=DNS:{name}")])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-out", &certificate, "-keyout", &key])
        .output()
        .expect("openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    give_to_exim(site.path(&format!("{name}.crt")).as_path());
    let arguments = vec![format!("--ssl-cert={certificate}"), format!("--ssl-key={key}")];
    (certificate, arguments)
}

#[test]
fn tls_checks_that_the_certificate_is_for_the_host_name() {
    in_namespace("tls_checks_that_the_certificate_is_for_the_host_name", |etc| {
        let servers = server(2);
        etc.write("resolv.conf", "nameserver 127.0.0.2\n");
        let rig = Rig::new();
        let (authority, arguments) = certificate(&rig.site, "db1.corp.example");
        rig.server.kill();
        rig.server.restart_with(&arguments);
        let with_tls = |name: &str| format!("{}?root_cert_path={authority}", rig.url(name));
        for name in ["db1.corp.example", "db2.corp.example"] {
            servers.set(name, &["127.0.0.1"]);
        }
        rig.set_urls(&[with_tls("db1.corp.example")]);
        rig.assert_served();
        rig.set_urls(&[with_tls("db2.corp.example")]);
        rig.assert_unserved("certificate");
        servers.set_behaviour(Behaviour::IsSilent);
        rig.assert_unserved("certificate");
        rig.set_urls(&[with_tls("db1.corp.example")]);
        rig.assert_served_from_memory();
    });
}

#[test]
fn serve_stale_tries_the_remembered_address_while_name_servers_are_silent() {
    in_namespace("serve_stale_tries_the_remembered_address_while_name_servers_are_silent", |etc| {
        let servers = server(2);
        servers.set("db1", &["127.0.0.1"]);
        etc.write("resolv.conf", "nameserver 127.0.0.2\n");
        let rig = Rig::new();
        let log = rig.site.path("state/log.db");
        let config = rig.site.read("authpolicy.toml");
        let config = config.replace("[accounts]\n", "[accounts]\nserve_stale = \"24h\"\n");
        let log = format!("[log]\nurl = \"sqlite:{}\"\n", log.display());
        rig.site.write_config(&format!("{config}{log}"));
        rig.set_urls(&[rig.url("db1")]);
        rig.site.tool(&["db", "init"], "");
        let (reply, lines) = rig.attempt("secret");
        assert_eq!(reply, ACCEPTED, "{lines}");
        // Neither can be reached: the host is tried at its remembered address.
        servers.set_behaviour(Behaviour::IsSilent);
        rig.server.kill();
        let (reply, lines) = rig.attempt("secret");
        assert_eq!(reply, ACCEPTED, "{lines}");
        assert!(lines.contains("the remembered account is used"), "{lines}");
        assert!(lines.contains("no name server could tell"), "{lines}");
        // Without an address, it is unknown if the host is away.
        fs::remove_file(rig.site.path("state/addresses-of-db1")).unwrap();
        let (reply, lines) = rig.attempt("secret");
        assert_eq!(reply, CANNOT_TELL, "{lines}");
        assert!(lines.contains("no name server could tell"), "{lines}");
    });
}
