//! Reasons why a trial write could not be rolled back.

use super::target;
use authpolicy::error::Error;
use authpolicy::store::Store;
use authpolicy::store::Value;

/// A reason not to write to a table.
pub(super) enum Obstacle {
    /// A view, or an engine without transactions.
    Engine,
    /// Triggers, which may write to a table without transactions.
    Triggers,
    /// Triggers may exist, and this user cannot see them.
    Unseen,
}

/// True for the database that the connection uses.
pub(super) fn is_current(store: &mut Store, name: &str) -> Result<bool, Error> {
    let sql = store.dialect("SELECT 'main' AS name", "SELECT DATABASE() AS name");
    Ok(store.query(sql, &[])?.iter().any(|row| row.text("name") == name))
}

/// Returns the reason why a trial row may not be rolled back, in this table or in one that its
/// triggers write to.
pub(super) fn find(store: &mut Store, table: &str) -> Result<Option<Obstacle>, Error> {
    if !store.has_transactions(table)? {
        // A missing table is reported when the statement runs.
        return Ok(store.has_table(table)?.then_some(Obstacle::Engine));
    }
    let triggers = store.dialect(
        "",
        "SELECT trigger_name AS name FROM information_schema.triggers \
         WHERE event_object_schema = DATABASE() AND event_object_table = :name",
    );
    // The triggers of SQLite write to tables of the same file, which are rolled back as well.
    if triggers.is_empty() {
        return Ok(None);
    }
    if !store.query(triggers, &[("name", Value::text(table))])?.is_empty() {
        return Ok(Some(Obstacle::Triggers));
    }
    Ok((!sees_triggers(store, table)?).then_some(Obstacle::Unseen))
}

/// Returns a stored function that the statement may call, and that may write to a table without
/// transactions. Servers show functions to users who may call them.
pub(super) fn called_function(store: &mut Store, sql: &str) -> Result<Option<String>, Error> {
    let functions = store.dialect(
        "",
        "SELECT routine_name AS name FROM information_schema.routines \
         WHERE routine_type = 'FUNCTION' ORDER BY routine_name",
    );
    if functions.is_empty() {
        return Ok(None);
    }
    let functions = store.query(functions, &[])?;
    Ok(functions.iter().map(|row| row.text("name")).find(|name| target::has_word(sql, name)))
}

/// True if this user would see the triggers of a table. MariaDB shows them to users who may write
/// to the table, MySQL only to users with the right TRIGGER. A right that comes from a role or a
/// pattern of names is not found. With `partial_revokes`, no right is found, because a right on all
/// databases may not hold for this one.
fn sees_triggers(store: &mut Store, table: &str) -> Result<bool, Error> {
    const SQL: &str = "SELECT 1 AS sees FROM dual WHERE VERSION() LIKE '%MariaDB%' \
        UNION ALL SELECT 1 FROM information_schema.table_privileges \
        WHERE privilege_type = 'TRIGGER' AND REPLACE(grantee, '''', '') = CURRENT_USER() \
        AND table_schema = DATABASE() AND table_name = :name \
        UNION ALL SELECT 1 FROM information_schema.schema_privileges \
        WHERE privilege_type = 'TRIGGER' AND REPLACE(grantee, '''', '') = CURRENT_USER() \
        AND REPLACE(table_schema, CHAR(92), '') = DATABASE() \
        UNION ALL SELECT 1 FROM information_schema.user_privileges \
        WHERE privilege_type = 'TRIGGER' AND REPLACE(grantee, '''', '') = CURRENT_USER()";
    const PARTIAL: &str =
        "SHOW GLOBAL VARIABLES WHERE variable_name = 'partial_revokes' AND value = 'ON'";
    if !store.query(PARTIAL, &[])?.is_empty() {
        return Ok(false);
    }
    Ok(!store.query(SQL, &[("name", Value::text(table))])?.is_empty())
}
