//! MariaDB's SQL modes: our own statements mean the same under each of them, and the administrator's query runs under
//! the server's. For MySQL's modes, see mysql.rs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    reason = "test code"
)]

mod common;

use std::sync::Arc;

use common::Base;
use common::MariaDb;
use common::modes::Stage;
use common::site::GB;
use common::smtp::ACCEPTED;
use common::smtp::REFUSED;
use mysql::prelude::Queryable;

/// A stage on a server whose settings the test may change.
fn stage() -> (Stage, Arc<MariaDb>) {
    let server = Arc::new(MariaDb::start());
    let name = server.database();
    let url = server.url(&name);
    (Stage::new(Base::MariaDb(Arc::clone(&server), name, url)), server)
}

#[test]
fn our_statements_mean_the_same_under_each_mode_of_mariadb() {
    let (stage, server) = stage();
    let known = "SELECT enum_value_list FROM information_schema.system_variables \
                 WHERE variable_name = 'sql_mode'";
    let known: String = server.root("").query_first(known).unwrap().unwrap();
    let modes: Vec<_> = known.split(',').collect();
    assert!(modes.contains(&"EMPTY_STRING_IS_NULL") && modes.len() > 30, "{known}");
    stage.try_mode("");
    for mode in modes {
        stage.try_mode(mode);
    }
    stage.try_mode(
        "ORACLE,EMPTY_STRING_IS_NULL,TRADITIONAL,PAD_CHAR_TO_FULL_LENGTH,HIGH_NOT_PRECEDENCE",
    );
}

/// Without PIPES_AS_CONCAT, `||` is OR, and this query finds every account.
#[test]
fn the_administrators_query_runs_under_the_servers_modes() {
    let (stage, _server) = stage();
    let site = &stage.site;
    site.sql(
        "CREATE TABLE mailbox (local_part varchar(40), domain varchar(40), hash varchar(200))",
    );
    site.sql("INSERT INTO mailbox VALUES ('a', 'example.com', '{PLAIN}one'), ('b', 'example.com', '{PLAIN}two')");
    let query = "query = \"SELECT hash AS password, local_part || '@' || domain AS username FROM mailbox \
                 WHERE local_part || '@' || domain = :user\"";
    let config = site.read("authpolicy.toml");
    let own: Vec<_> = config
        .lines()
        .map(|line| if line.starts_with("query = ") { query } else { line })
        .collect();
    let own = own.join("\n");
    site.write_config(&own);
    for mode in
        ["PIPES_AS_CONCAT", "EMPTY_STRING_IS_NULL,PIPES_AS_CONCAT,STRICT_TRANS_TABLES", "ORACLE"]
    {
        stage.set_mode(mode);
        assert_eq!(stage.plain(GB, "a@example.com", "one"), ACCEPTED, "{:?}", site.lines());
        assert_eq!(stage.plain(GB, "a@example.com", "two"), REFUSED, "{mode}");
        assert_eq!(stage.plain(GB, "nobody@example.com", "one"), REFUSED, "{mode}");
        let rows = site.rows();
        let flags: Vec<_> = rows.iter().map(|row| (row.auth_ok, row.policy_reject)).collect();
        let no = (Some(false), Some(false));
        assert_eq!(flags, [(Some(true), Some(false)), no, no], "{mode}");
        assert!(site.lines().last().unwrap().contains("reason=account"), "{mode}");
    }
}
