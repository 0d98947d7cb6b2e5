//! Names as libc tries them, and answers of servers.

use super::*;

#[test]
fn domains_are_tried_as_libc_tries_them() {
    let resolver = |ndots, no_tld_query| Resolver {
        search: vec!["a.example".into(), "b.example.".into()],
        ndots,
        no_tld_query,
        ..Resolver::default()
    };
    let rows: [(&str, Resolver, &[&str]); 5] = [
        ("db1", resolver(1, false), &["db1.a.example", "db1.b.example", "db1"]),
        ("db1", resolver(1, true), &["db1.a.example", "db1.b.example"]),
        ("db1.lan", resolver(1, false), &["db1.lan", "db1.lan.a.example", "db1.lan.b.example"]),
        ("db1.lan", resolver(2, true), &["db1.lan.a.example", "db1.lan.b.example", "db1.lan"]),
        ("db1.", resolver(1, false), &["db1"]),
    ];
    for (name, resolver, wanted) in rows {
        assert_eq!(resolver.candidates(name), wanted, "{name}");
    }
}

/// Some servers deny a name if it has no address of the kind asked for.
#[test]
fn a_name_that_is_denied_for_one_kind_is_found_by_the_other() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let servers = vec![server.local_addr().unwrap()];
    let resolver = Resolver { servers, ..Resolver::default() };
    let found = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut asked = Vec::new();
            for _ in 0..2 {
                let mut query = vec![0; 512];
                let (length, client) = server.recv_from(&mut query).unwrap();
                query.truncate(length);
                asked.push((query, client));
            }
            // The denial comes first.
            asked.sort_by_key(|(query, _)| query[query.len() - 3] != 28);
            for (mut reply, client) in asked {
                let is_denied = reply[reply.len() - 3] == 28;
                reply[2..4].copy_from_slice(&[0x81, if is_denied { 0x83 } else { 0x80 }]);
                if !is_denied {
                    reply[7] = 1;
                    reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 1]);
                }
                server.send_to(&reply, client).unwrap();
            }
        });
        resolver.look_up("db1.example", Duration::from_secs(20))
    });
    let wanted: IpAddr = "192.0.2.1".parse().unwrap();
    assert!(matches!(&found, DnsLookup::Found(all) if *all == [wanted]), "{found:?}");
}

#[test]
fn no_server_is_no_answer() {
    let resolver = Resolver::default();
    let found = resolver.look_up("db1.example", Duration::from_millis(50));
    assert!(matches!(found, DnsLookup::Unknown(_)), "{found:?}");
}
