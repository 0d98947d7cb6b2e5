//! `in_network(ADDRESS, NETWORK)` for SQL: SQLite has no functions for addresses.

use ipnet::IpNet;
use rusqlite::functions::FunctionFlags;

use super::SqliteConnection;
use super::store_error;
use crate::error::Error;

impl SqliteConnection {
    /// Adds the function. It is false for a text that is not an address.
    ///
    /// # Errors
    /// SQLite refuses it.
    pub(in crate::store) fn add_in_network(&mut self) -> Result<(), Error> {
        let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
        let added = self.connection.create_scalar_function("in_network", 2, flags, |call| {
            let text = |index| call.get_raw(index).as_str().ok();
            let address = text(0).and_then(|text| text.parse::<std::net::IpAddr>().ok());
            let network = text(1).and_then(|text| text.parse::<IpNet>().ok());
            Ok(address.zip(network).is_some_and(|(address, network)| network.contains(&address)))
        });
        added.map_err(|e| store_error(&self.place, &e))
    }
}
