//! Statements that a server gets in one packet: the transaction around them is one, and an error ends
//! them.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    reason = "test code"
)]

mod common;

use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use authpolicy::config::Config;
use authpolicy::error::StoreFault;
use authpolicy::store::Deadline;
use authpolicy::store::Ending;
use authpolicy::store::Statement;
use authpolicy::store::Stores;
use authpolicy::store::Value;
use common::MariaDb;
use mysql::prelude::Queryable;

/// The ids of the marks, which serve as a table here.
fn ids(server: &MariaDb, name: &str) -> Vec<String> {
    server.root(name).query("SELECT id FROM marks ORDER BY id").unwrap()
}

const INSERT: &str = "INSERT INTO marks (id) VALUES (:id)";

fn each_transaction_is_one(server: &MariaDb) {
    let name = server.database();
    server
        .root(&name)
        .query_drop("CREATE TABLE marks (id varbinary(9) PRIMARY KEY) ENGINE = InnoDB")
        .unwrap();
    let mut store = server.store(&name, Duration::from_secs(600));
    let [a, b, c] = ["a", "b", "c"].map(|id| [("id", Value::text(id))]);
    let insert = |id| Statement::new(INSERT, id);
    let count = || Statement::new("SELECT COUNT(*) AS n FROM marks", &[]);

    // Alone, they are committed.
    let results = store.run_all(&[insert(&a), count(), insert(&b)]).unwrap();
    let changed: Vec<_> = results.iter().map(|result| result.changed).collect();
    assert_eq!(changed, [1, 0, 1]);
    assert_eq!(results[1].rows[0].text("n"), "1");
    assert_eq!(ids(server, &name), ["a", "b"]);

    // The one that fails ends the list, and the transaction has no effect.
    let failed = store.transaction(|store| {
        store.run_all(&[Statement::new("DELETE FROM marks", &[])])?;
        store.run_all(&[insert(&a), insert(&a), insert(&c)])
    });
    assert!(failed.unwrap_err().to_string().contains("error 1062"));
    assert_eq!(ids(server, &name), ["a", "b"]);

    // Prepared statements belong to the transaction, too, whichever comes first.
    store
        .transaction(|store| {
            store.execute("DELETE FROM marks WHERE id = :id", &a)?;
            assert_eq!(ids(server, &name), ["a", "b"], "not committed yet");
            store.run_all_and_commit(&[insert(&c), count()])
        })
        .unwrap();
    assert_eq!(ids(server, &name), ["b", "c"]);

    let found = store.transaction_with_ending(|store| {
        let results = store.run_all(&[insert(&a), count()])?;
        Ok((Ending::RollBack, results[1].rows[0].text("n")))
    });
    assert_eq!(found.unwrap(), "3");
    assert_eq!(ids(server, &name), ["b", "c"]);

    // A transaction without statements, and one of nothing but a COMMIT.
    store.transaction(|_| Ok(())).unwrap();
    store.transaction(|store| store.run_all_and_commit(&[])).unwrap();
    assert!(store.run_all(&[]).unwrap().is_empty());
    let tried = store.dry_run(|store| store.run_all(&[insert(&a)]));
    assert_eq!(tried.unwrap()[0].changed, 1);
    assert_eq!(ids(server, &name), ["b", "c"]);

    // A statement that ends the transaction is noticed, with each of the ends.
    let lost = "the transaction was ended";
    let end = || Statement::new("COMMIT", &[]);
    let failed = store.transaction(|store| store.run_all(&[end()]));
    assert!(failed.unwrap_err().to_string().contains(lost));
    let failed = store.transaction(|store| store.run_all_and_commit(&[end()]));
    assert!(failed.unwrap_err().to_string().contains(lost));
    let failed = store
        .transaction_with_ending(|store| store.run_all(&[end()]).map(|_| (Ending::RollBack, ())));
    assert!(failed.unwrap_err().to_string().contains(lost));
    store.transaction(|store| store.run_all_and_commit(&[insert(&a)])).unwrap();
    assert_eq!(ids(server, &name), ["a", "b", "c"]);
}

#[test]
fn each_transaction_is_one_in_mariadb() {
    each_transaction_is_one(&MariaDb::shared());
}

#[test]
fn each_transaction_is_one_in_mysql() {
    each_transaction_is_one(&common::mysql::start());
}

/// In a table of latin1, no row is found by a text that latin1 does not have, as with a bound parameter.
#[test]
fn a_query_that_cannot_be_compared_finds_nothing_and_the_next_ones_run() {
    let server = common::mysql::start();
    let name = server.database();
    server
        .root(&name)
        .query_drop("CREATE TABLE names (name varchar(9) CHARACTER SET latin1)")
        .unwrap();
    server.root(&name).query_drop("INSERT INTO names VALUES ('bob')").unwrap();
    let mut store = server.store(&name, Duration::from_secs(600));
    const FIND: &str = "SELECT name FROM names WHERE name = :name";
    let [bob, face] = ["bob", "\u{1f600}"].map(|name| [("name", Value::text(name))]);
    for parameters in [&bob, &face] {
        let results = store.run_all(&[
            Statement::new(FIND, parameters),
            Statement::new(FIND, &face),
            Statement::new(FIND, &bob),
        ]);
        let results = results.unwrap();
        let counts: Vec<_> = results.iter().map(|result| result.rows.len()).collect();
        assert_eq!(counts, [usize::from(parameters[0].1.to_text() == "bob"), 0, 1]);
        assert!(results.iter().all(|result| result.columns == ["name"]));
    }
    // A change is an error. An ASCII text never gets there.
    let delete = "DELETE FROM names WHERE name = :name";
    let bound = store.execute(delete, &face).map_err(|e| e.store_fault());
    let literal = store.run_all(&[Statement::new(delete, &face)]).map(|results| results[0].changed);
    assert_eq!(literal.map_err(|e| e.store_fault()), bound);
    assert_eq!(bound, Err(Some(StoreFault::Row)));
}

/// A database of this server as an attempt opens it, with a query_timeout of a second.
fn configuration(server: &MariaDb, name: &str) -> Config {
    let text = format!("[database]\nurl = \"{}\"\nquery_timeout = \"1s\"\n", server.url(name));
    Config::parse(Path::new("/authpolicy.toml"), &text).unwrap()
}

#[test]
fn a_server_that_does_not_answer_the_first_statements_is_unreachable() {
    let server = MariaDb::start();
    let name = server.database();
    let config = configuration(&server, &name);
    let stores = || Stores::new(&config, Deadline::new(Instant::now(), config.timeouts));
    assert_eq!(stores().accounts().unwrap().find("SELECT 1 AS n", &[]).unwrap().rows.len(), 1);
    let mut late = stores();
    let store = late.accounts().unwrap();
    server.kill();
    let e = store.find("SELECT 1 AS n", &[]).unwrap_err();
    assert!(e.to_string().starts_with("no database server can be reached: mysql "), "{e}");
    assert_eq!(e.store_fault(), Some(StoreFault::Unreachable));
    let again = late.accounts().err().unwrap();
    assert_eq!(again.store_fault(), Some(StoreFault::Unreachable), "{again}");
}
