//! SQL of the plugin that differs between SQLite and MariaDB or MySQL.
//!
//! Each function returns the text for the given store.

pub mod tool;

use super::Store;

/// Selects the query that finds the table or view `:name`.
pub(super) fn find_table(store: &Store) -> &'static str {
    store.dialect(
        "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name = :name",
        "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() \
         AND table_name = :name",
    )
}

/// Selects the query that finds the table `:name` if transactions can roll it back. SQLite can do
/// that with each of its tables, a server only with those of some engines.
pub(super) fn find_transactional_table(store: &Store) -> &'static str {
    store.dialect(
        find_table(store),
        "SELECT t.table_name FROM information_schema.tables t \
         JOIN information_schema.engines e ON e.engine = t.engine \
         WHERE t.table_schema = DATABASE() AND t.table_name = :name AND e.transactions = 'YES'",
    )
}

/// Selects a FROM clause for the live entries of one counter, by the index that has the end of
/// each entry.
///
/// The index is named, because the optimizer's choice depends on the statistics of the moment. One
/// counter has few live entries, all counters together have many.
#[must_use]
pub fn from_live_counts(store: &Store) -> &'static str {
    store.dialect(
        "FROM authpolicy_count INDEXED BY authpolicy_count_live WHERE ",
        "FROM authpolicy_count FORCE INDEX (live) WHERE ",
    )
}

/// Selects a FROM clause for the entries of one counter with one value, by the primary key.
#[must_use]
pub fn from_counts_of_value(store: &Store) -> &'static str {
    store.dialect(
        "FROM authpolicy_count NOT INDEXED WHERE ",
        "FROM authpolicy_count FORCE INDEX (PRIMARY) WHERE ",
    )
}

/// Selects the text before and after the columns and conditions of a SELECT with at most `:max`
/// rows, which is added to another one.
#[must_use]
pub fn union_part(store: &Store) -> (&'static str, &'static str) {
    store.dialect(
        (" UNION ALL SELECT * FROM (SELECT ", " LIMIT :max)"),
        (" UNION ALL (SELECT ", " LIMIT :max)"),
    )
}

/// Selects the end of the INSERT that locks counters; `None` for SQLite, where a transaction locks
/// the whole database.
///
/// The rows change each time, even within one millisecond, because a cluster's node compares only
/// changed rows with those of other nodes.
#[must_use]
pub fn lock_counts(store: &Store) -> Option<&'static str> {
    store.dialect(None, Some(" ON DUPLICATE KEY UPDATE expires = GREATEST(expires + 1, :expires)"))
}

/// Selects the statement that counts a failure. It never shortens an existing failure, unless that
/// one ends too late to count.
#[must_use]
pub fn count_failure(store: &Store) -> &'static str {
    store.dialect(
        "INSERT INTO authpolicy_count (rule, account, remote, value, attempt, expires) \
         VALUES (:rule, :account, :remote, :value, :attempt, :expires) \
         ON CONFLICT DO UPDATE SET \
         expires = CASE WHEN expires < :latest THEN MAX(expires, :expires) ELSE :expires END",
        "INSERT INTO authpolicy_count (rule, account, remote, value, attempt, expires) \
         VALUES (:rule, :account, :remote, :value, :attempt, :expires) \
         ON DUPLICATE KEY UPDATE \
         expires = IF(expires < :latest, GREATEST(expires, :expires), :expires)",
    )
}

/// Selects the end of the INSERT that stores logins. It does not replace a later login, nor one
/// that differs only in its time and is later than `:fresh`.
///
/// MariaDB and MySQL assign in this order, and an assignment may see those before it. A later login
/// keeps its time, and so its fingerprint, too. One that keeps its time because it is fresh has the
/// same fingerprint.
#[must_use]
pub fn keep_login(store: &Store) -> &'static str {
    store.dialect(
        " ON CONFLICT DO UPDATE SET fingerprint = :fingerprint, time = :now \
         WHERE NOT (time > :now OR (fingerprint = :fingerprint AND time > :fresh))",
        " ON DUPLICATE KEY UPDATE \
         time = IF(fingerprint = :fingerprint AND time > :fresh, time, GREATEST(time, :now)), \
         fingerprint = IF(time > :now, fingerprint, :fingerprint)",
    )
}

/// Selects the statement that marks a row as delivered, and changes nothing if it is marked.
#[must_use]
pub fn mark_delivered(store: &Store) -> &'static str {
    store.dialect(
        "INSERT OR IGNORE INTO authpolicy_delivered (id) VALUES (:id)",
        "INSERT IGNORE INTO authpolicy_delivered (id) VALUES (:id)",
    )
}

/// Selects the statement that marks a new row as delivered, and fails if it is marked; `None` for
/// SQLite, where it saves no round trip.
#[must_use]
pub fn mark_new(store: &Store) -> Option<&'static str> {
    store.dialect(None, Some("INSERT INTO authpolicy_delivered (id) VALUES (:id)"))
}

/// Selects the statement that deletes a hundred marks older than `:memory` seconds, by the
/// database's clock.
#[must_use]
pub fn prune_delivered(store: &Store) -> &'static str {
    store.dialect(
        "DELETE FROM authpolicy_delivered WHERE id IN (SELECT id FROM authpolicy_delivered \
         WHERE id < printf('%012x', (strftime('%s', 'now') - :memory) * 1000) ORDER BY id LIMIT 100)",
        "DELETE FROM authpolicy_delivered \
         WHERE id < LPAD(LOWER(HEX((UNIX_TIMESTAMP() - :memory) * 1000)), 12, '0') \
         ORDER BY id LIMIT 100",
    )
}
