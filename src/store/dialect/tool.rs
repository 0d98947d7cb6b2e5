//! SQL of the administrator's tool that differs between SQLite and MariaDB or MySQL.
//!
//! `None` means that the question does not arise with SQLite.

use crate::sql::Sql;
use crate::store::Store;

/// Selects the query for the `name` of the database that the connection uses.
#[must_use]
pub fn current_database(store: &Store) -> &'static str {
    store.dialect("SELECT 'main' AS name", "SELECT DATABASE() AS name")
}

/// Queries about the triggers of a table.
#[derive(Debug)]
pub struct TriggerQueries {
    /// Returns each trigger of the table `:name` that this user sees.
    pub find: &'static str,
    /// Returns a row if a right lets this user see all triggers of the table `:name`.
    pub rights: &'static str,
    /// Returns a row if rights can be taken away for single databases.
    pub partial_revokes: &'static str,
}

/// Selects the queries about triggers. Those of SQLite write to tables of the same file, which are
/// rolled back as well.
#[must_use]
pub fn triggers(store: &Store) -> Option<TriggerQueries> {
    store.dialect(
        None,
        Some(TriggerQueries {
            find: "SELECT trigger_name AS name FROM information_schema.triggers \
                WHERE event_object_schema = DATABASE() AND event_object_table = :name",
            rights: "SELECT 1 AS sees FROM dual WHERE VERSION() LIKE '%MariaDB%' \
                UNION ALL SELECT 1 FROM information_schema.table_privileges \
                WHERE privilege_type = 'TRIGGER' AND REPLACE(grantee, '''', '') = CURRENT_USER() \
                AND table_schema = DATABASE() AND table_name = :name \
                UNION ALL SELECT 1 FROM information_schema.schema_privileges \
                WHERE privilege_type = 'TRIGGER' AND REPLACE(grantee, '''', '') = CURRENT_USER() \
                AND REPLACE(table_schema, CHAR(92), '') = DATABASE() \
                UNION ALL SELECT 1 FROM information_schema.user_privileges \
                WHERE privilege_type = 'TRIGGER' AND REPLACE(grantee, '''', '') = CURRENT_USER()",
            partial_revokes: "SHOW GLOBAL VARIABLES \
                WHERE variable_name = 'partial_revokes' AND value = 'ON'",
        }),
    )
}

/// Selects the query for the `name` of each stored function. SQLite stores none.
#[must_use]
pub fn stored_functions(store: &Store) -> Option<&'static str> {
    store.dialect(
        None,
        Some(
            "SELECT routine_name AS name FROM information_schema.routines \
             WHERE routine_type = 'FUNCTION' ORDER BY routine_name",
        ),
    )
}

/// Selects the pattern by which GLOB finds any account. Only SQLite has GLOB.
#[must_use]
pub fn glob_for_any_name(store: &Store) -> Option<&'static str> {
    store.dialect(Some("*"), None)
}

/// Selects the query for the collation of `account.username`. SQLite compares bytes.
#[must_use]
pub fn username_collation(store: &Store) -> Option<&'static str> {
    store.dialect(
        None,
        Some(
            "SELECT collation_name AS name FROM information_schema.columns \
             WHERE table_schema = DATABASE() AND table_name = 'account' AND column_name = 'username'",
        ),
    )
}

/// Selects the query for the server's clock, `now` in milliseconds since 1970. SQLite has this
/// host's clock.
#[must_use]
pub fn server_clock(store: &Store) -> Option<&'static str> {
    store.dialect(
        None,
        Some("SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) DIV 1000 AS now"),
    )
}

/// Selects the query for the `name` of each table of the log whose engine has no transactions. All
/// tables of SQLite have them.
#[must_use]
pub fn tables_without_transactions(store: &Store) -> Option<&'static str> {
    store.dialect(
        None,
        Some(
            "SELECT t.table_name AS name FROM information_schema.tables t \
             JOIN information_schema.engines e ON e.engine = t.engine \
             WHERE t.table_schema = DATABASE() AND e.transactions <> 'YES' \
             AND t.table_name IN ('connection_log', 'authpolicy_delivered')",
        ),
    )
}

/// Selects the smallest `datetime` that a row can have if it is not older than `:since`, in seconds
/// since 1970. A server also needs `:later` and `:gap`, because it stores local time.
#[must_use]
pub fn oldest_datetime(store: &Store) -> &'static str {
    store.dialect(
        "datetime(:since, 'unixepoch')",
        "LEAST(FROM_UNIXTIME(:since), FROM_UNIXTIME(:later) - INTERVAL :gap SECOND)",
    )
}

/// Selects the statement that deletes `:batch` rows of the log from before [`oldest_datetime`]. It
/// goes by the primary key, so the oldest rows first, because the table has no other index.
#[must_use]
pub fn delete_old_rows(store: &Store) -> Sql<'static> {
    let bound = oldest_datetime(store);
    Sql::of(&store.dialect(
        [
            "DELETE FROM connection_log WHERE id IN (SELECT id FROM connection_log WHERE datetime < ",
            bound,
            " ORDER BY id LIMIT :batch)",
        ],
        ["DELETE FROM connection_log WHERE datetime < ", bound, " ORDER BY id LIMIT :batch"],
    ))
}

/// Selects the condition that `remote_ip` is in a network: in `:network`, or for a server between
/// `:first` and `:last`. SQLite needs [`Store::add_in_network`] before.
#[must_use]
pub fn remote_in_network(store: &Store) -> &'static str {
    store.dialect(
        "in_network(remote_ip, :network)",
        "LENGTH(INET6_ATON(remote_ip)) = LENGTH(INET6_ATON(:first)) \
         AND INET6_ATON(remote_ip) BETWEEN INET6_ATON(:first) AND INET6_ATON(:last)",
    )
}
