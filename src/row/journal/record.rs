//! A waiting row as a line of text: a checksum, a blank, and JSON that an administrator can read.

use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use serde_json::Map;
use serde_json::Value as Json;
use sha2::Digest;
use sha2::Sha256;

use crate::config::INSERT_PARAMETERS;
use crate::contain;
use crate::error::Error;
use crate::store::Value;
use crate::tables::settlement::Settlement;

/// The member of the JSON object that holds the settlement.
const SETTLEMENT: &str = "settlement";
/// The bytes of the SHA-256 at the start of a line: a guard against accidents, not attackers.
const CHECKSUM_LENGTH: usize = 8;
/// The random bytes of an id: enough for all hosts of a cluster.
const RANDOM_LENGTH: usize = 10;

/// A row and its id. The database stores the id with the row, so that the row is stored once.
#[derive(Debug)]
pub struct Record {
    /// 32 hexadecimal digits: 12 for the milliseconds since 1970, so that old ids are next to each
    /// other in an index, and 20 random ones.
    pub id: String,
    /// The parameters of `log.insert`.
    pub row: Vec<(&'static str, Value)>,
    /// The settlement that the attempt could not write itself; it is written with the row.
    pub settlement: Option<Settlement>,
}

impl Record {
    /// Gives a row its id.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn new(time: SystemTime, row: Vec<(&'static str, Value)>) -> Result<Self, Error> {
        let id = new_id(time).map_err(|e| Error::System {
            place: String::from("random numbers"),
            source: std::io::Error::other(e.to_string()),
        })?;
        Ok(Self { id, row, settlement: None })
    }

    /// The start of the attempt in seconds since 1970.
    #[must_use]
    pub fn time(&self) -> i64 {
        let time = self.row.iter().find(|(name, _)| *name == "time");
        time.map_or(0, |(_, time)| if let Value::Int(time) = time { *time } else { 0 })
    }

    /// The line, without a newline.
    #[must_use]
    pub fn line(&self) -> String {
        let mut object = Map::new();
        object.insert(String::from("id"), Json::from(&*self.id));
        for (name, value) in &self.row {
            let value = match value {
                Value::Null => Json::Null,
                Value::Int(number) => Json::from(*number),
                Value::Text(_) => Json::from(value.to_text()),
            };
            object.insert((*name).to_owned(), value);
        }
        // A settlement consists of texts and numbers, so it can always be written as JSON.
        if let Some(Ok(settlement)) = self.settlement.as_ref().map(serde_json::to_value) {
            object.insert(SETTLEMENT.to_owned(), settlement);
        }
        let json = Json::Object(object).to_string();
        format!("{} {json}", checksum(json.as_bytes()))
    }

    /// Reads a line; `None` if it is incomplete or damaged.
    #[must_use]
    pub fn read(line: &[u8]) -> Option<Self> {
        contain::catch("journal-read", || Self::parse(line)).ok().flatten()
    }

    fn parse(line: &[u8]) -> Option<Self> {
        let (sum, json) = std::str::from_utf8(line).ok()?.split_once(' ')?;
        if sum != checksum(json.as_bytes()) {
            return None;
        }
        let Json::Object(mut object) = serde_json::from_str(json).ok()? else { return None };
        let Json::String(id) = object.remove("id")? else { return None };
        if !is_id(&id) {
            return None;
        }
        let row = INSERT_PARAMETERS.iter().map(|name| {
            let value = match object.remove(*name) {
                // A version without this parameter wrote the line.
                None | Some(Json::Null) => Value::Null,
                Some(Json::String(text)) => Value::text(&text),
                Some(Json::Number(number)) => Value::Int(number.as_i64()?),
                Some(Json::Bool(_) | Json::Array(_) | Json::Object(_)) => return None,
            };
            Some((*name, value))
        });
        let row = row.collect::<Option<_>>()?;
        let settlement = object.remove(SETTLEMENT).map(serde_json::from_value);
        Some(Self { id, row, settlement: settlement.transpose().ok()? })
    }
}

/// Makes an id that is unique and sorts by time.
pub(super) fn new_id(time: SystemTime) -> Result<String, getrandom::Error> {
    let mut random = [0; RANDOM_LENGTH];
    getrandom::fill(&mut random)?;
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let milliseconds = u64::try_from(since.as_millis()).unwrap_or(0) & 0xffff_ffff_ffff;
    Ok(format!("{milliseconds:012x}{}", base16ct::lower::encode_string(&random)))
}

/// True if the text is an id.
pub(super) fn is_id(text: &str) -> bool {
    text.len() == id_length() && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn id_length() -> usize {
    12_usize.saturating_add(RANDOM_LENGTH.saturating_mul(2))
}

fn checksum(text: &[u8]) -> String {
    let digest = Sha256::digest(text);
    base16ct::lower::encode_string(digest.get(..CHECKSUM_LENGTH).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn record() -> Record {
        let row = vec![
            ("time", Value::Int(1_584_446_690)),
            ("username", Value::text("jörg\n\"x\"\\@example.com")),
            ("auth_ok", Value::Null),
        ];
        let time = UNIX_EPOCH.checked_add(Duration::from_millis(1_584_446_690_123));
        Record::new(time.unwrap(), row).unwrap()
    }

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let record = record();
        let line = record.line();
        assert!(!line.contains('\n'), "{line}");
        let read = Record::read(line.as_bytes()).unwrap();
        assert_eq!(read.id, record.id);
        assert_eq!(read.time(), 1_584_446_690);
        let of = |name| read.row.iter().find(|(known, _)| *known == name).unwrap().1.to_text();
        assert_eq!(of("username"), "jörg\n\"x\"\\@example.com");
        assert!(
            read.row.iter().any(|(name, value)| *name == "auth_ok" && matches!(value, Value::Null))
        );
        assert_eq!(read.line().len(), Record::read(read.line().as_bytes()).unwrap().line().len());
    }

    #[test]
    fn a_line_with_a_missing_or_changed_byte_is_not_read() {
        let line = record().line().into_bytes();
        for at in 0..line.len() {
            assert!(Record::read(line.get(..at).unwrap()).is_none(), "cut at {at}");
            let mut changed = line.clone();
            changed[at] ^= 1;
            assert!(Record::read(&changed).is_none(), "changed at {at}");
        }
    }

    #[test]
    fn ids_sort_by_time_and_differ() {
        let id = |milliseconds| {
            let time = UNIX_EPOCH.checked_add(Duration::from_millis(milliseconds));
            new_id(time.unwrap()).unwrap()
        };
        assert!(id(1) < id(2) && id(0xff) < id(0x100));
        assert_ne!(id(1), id(1));
        assert_eq!(id(1).len(), id_length());
    }
}
