//! Reasons why a trial write could not be rolled back.

use super::target;
use authpolicy::error::Error;
use authpolicy::store::Store;
use authpolicy::store::Value;
use authpolicy::store::dialect;
use authpolicy::store::dialect::tool::TriggerQueries;

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
    let sql = dialect::tool::current_database(store);
    Ok(store.query(sql, &[])?.iter().any(|row| row.text("name") == name))
}

/// Returns the reason why a trial row may not be rolled back, in this table or in one that its
/// triggers write to.
pub(super) fn find(store: &mut Store, table: &str) -> Result<Option<Obstacle>, Error> {
    if !store.has_transactions(table)? {
        // A missing table is reported when the statement runs.
        return Ok(store.has_table(table)?.then_some(Obstacle::Engine));
    }
    let Some(queries) = dialect::tool::triggers(store) else { return Ok(None) };
    if !store.query(queries.find, &[("name", Value::text(table))])?.is_empty() {
        return Ok(Some(Obstacle::Triggers));
    }
    Ok((!sees_triggers(store, &queries, table)?).then_some(Obstacle::Unseen))
}

/// Returns a stored function that the statement may call, and that may write to a table without
/// transactions. Servers show functions to users who may call them.
pub(super) fn called_function(store: &mut Store, sql: &str) -> Result<Option<String>, Error> {
    let Some(functions) = dialect::tool::stored_functions(store) else { return Ok(None) };
    let functions = store.query(functions, &[])?;
    Ok(functions.iter().map(|row| row.text("name")).find(|name| target::has_word(sql, name)))
}

/// True if this user would see the triggers of a table. MariaDB shows them to users who may write
/// to the table, MySQL only to users with the right TRIGGER. A right that comes from a role or a
/// pattern of names is not found. With `partial_revokes`, no right is found, because a right on all
/// databases may not hold for this one.
fn sees_triggers(store: &mut Store, queries: &TriggerQueries, table: &str) -> Result<bool, Error> {
    if !store.query(queries.partial_revokes, &[])?.is_empty() {
        return Ok(false);
    }
    Ok(!store.query(queries.rights, &[("name", Value::text(table))])?.is_empty())
}
