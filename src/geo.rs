//! The country and the autonomous system of an address, from local MMDB files.
//!
//! Four layouts of countries are in use: MaxMind and DB-IP (`country.iso_code`), ip-location-db
//! (`country_code`), IPinfo (`country_code`, before that `country` as a code). Of autonomous
//! systems two: a number (`autonomous_system_number`), and IPinfo's text (`asn`).

mod family;
mod file;
mod files;
mod sigbus;

use std::net::IpAddr;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::IgnoredAny;

pub use self::family::Family;
use self::file::MmdbEntry;
use self::file::MmdbFile;
pub use self::file::Verified;
use self::files::MmdbFiles;
use crate::error::Error;
use crate::policy::Country;

/// What the layouts say about a country; all else in a record is passed over.
#[derive(Deserialize)]
struct CountryRecord<'a> {
    country_code: Option<&'a str>,
    #[serde(borrow)]
    country: Option<CountryField<'a>>,
    // Country files have records that name one of these alone; files of another kind have neither.
    registered_country: Option<IgnoredAny>,
    represented_country: Option<IgnoredAny>,
    continent: Option<IgnoredAny>,
    traits: Option<IgnoredAny>,
}

/// `country`: a map in some layouts, a code in another.
#[derive(Deserialize)]
#[serde(untagged)]
enum CountryField<'a> {
    Map { iso_code: Option<&'a str> },
    Code(&'a str),
}

impl CountryRecord<'_> {
    fn is_about_a_country(&self) -> bool {
        self.country_code.is_some()
            || self.country.is_some()
            || self.registered_country.is_some()
            || self.represented_country.is_some()
            || self.continent.is_some()
            || self.traits.is_some()
    }

    fn code(&self) -> Option<&str> {
        self.country_code.or(match self.country {
            Some(CountryField::Map { iso_code }) => iso_code,
            Some(CountryField::Code(code)) => Some(code),
            None => None,
        })
    }
}

/// The files of `geoip.database`.
pub struct Geo(MmdbFiles);

impl Geo {
    /// Opens nothing yet; `None` without a file.
    #[must_use]
    pub fn from_paths(paths: &[PathBuf]) -> Option<Self> {
        MmdbFiles::from_paths(paths, "geoip.database").map(Self)
    }

    /// Maps copies of the files now, for processes that are forked later.
    ///
    /// # Errors
    /// A file is missing, unreadable, or no MMDB file.
    pub fn preload(&mut self) -> Result<(), Error> {
        self.0.preload()
    }

    /// The country of an address, or `None` where the files do not know it or it is not public.
    ///
    /// # Errors
    /// A file that may know it is missing, unreadable, no MMDB file, corrupt, or has shrunk since
    /// it was mapped.
    pub fn country(&self, address: IpAddr) -> Result<Option<Country>, Error> {
        self.0.look_up(address, country)
    }

    /// Looks at every network of the files.
    ///
    /// # Errors
    /// One cannot be read, or is damaged anywhere.
    pub fn verify(&self) -> Result<Vec<Verified>, Error> {
        self.0.verify(|file, found| country(file, found).map(|_| ()))
    }
}

fn country(file: &MmdbFile, found: &MmdbEntry<'_>) -> Result<Option<Country>, Error> {
    let record: Option<CountryRecord<'_>> = found.decode().map_err(|e| file.broken(&e))?;
    let Some(record) = record else { return Ok(None) };
    if !record.is_about_a_country() {
        let what = "has a record without country: name a country file";
        return Err(file.fail(what.to_owned()));
    }
    match record.code() {
        Some(code) if code.len() > 2 => {
            Err(file.fail(String::from("has a country that is no two-letter code")))
        }
        code => Ok(code.and_then(real)),
    }
}

/// What the layouts say about an autonomous system.
#[derive(Deserialize)]
struct AsnRecord<'a> {
    autonomous_system_number: Option<u32>,
    asn: Option<&'a str>,
}

/// The files of `geoip.asn_database`.
pub struct Asns(MmdbFiles);

impl Asns {
    /// Opens nothing yet; `None` without a file.
    #[must_use]
    pub fn from_paths(paths: &[PathBuf]) -> Option<Self> {
        MmdbFiles::from_paths(paths, "geoip.asn_database").map(Self)
    }

    /// As for countries.
    ///
    /// # Errors
    /// As for countries.
    pub fn preload(&mut self) -> Result<(), Error> {
        self.0.preload()
    }

    /// The number of the autonomous system that announces an address, where the files know one.
    ///
    /// # Errors
    /// As for countries.
    pub fn number(&self, address: IpAddr) -> Result<Option<u32>, Error> {
        self.0.look_up(address, number)
    }

    /// As for countries.
    ///
    /// # Errors
    /// As for countries.
    pub fn verify(&self) -> Result<Vec<Verified>, Error> {
        self.0.verify(|file, found| number(file, found).map(|_| ()))
    }
}

fn number(file: &MmdbFile, found: &MmdbEntry<'_>) -> Result<Option<u32>, Error> {
    let record: Option<AsnRecord<'_>> = found.decode().map_err(|e| file.broken(&e))?;
    let Some(record) = record else { return Ok(None) };
    match (record.autonomous_system_number, record.asn) {
        (Some(number), _) => Ok(Some(number)),
        // A network that nobody announces.
        (None, Some("")) => Ok(None),
        (None, Some(text)) => match text.strip_prefix("AS").map(str::parse) {
            Some(Ok(number)) => Ok(Some(number)),
            Some(Err(_)) | None => {
                Err(file.fail(String::from("has an asn that is not AS and a number")))
            }
        },
        (None, None) => {
            let what = "has a record without a number of an autonomous system: name an ASN file";
            Err(file.fail(what.to_owned()))
        }
    }
}

/// Without the codes that mean "none".
fn real(code: &str) -> Option<Country> {
    Country::parse(code).filter(|_| !matches!(code, "ZZ" | "XX" | "zz" | "xx"))
}

#[cfg(test)]
mod tests;
