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

/// The fields of a country record that are used, in all layouts.
#[derive(Deserialize)]
struct CountryRecord<'a> {
    country_code: Option<&'a str>,
    #[serde(borrow)]
    country: Option<CountryField<'a>>,
    // A record of a country file may have only one of these. Other files have none of them.
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
    /// The files at these paths; `None` if there are none. Opens nothing yet.
    #[must_use]
    pub fn from_paths(paths: &[PathBuf]) -> Option<Self> {
        MmdbFiles::from_paths(paths, "geoip.database").map(Self)
    }

    /// Maps copies of the files now, for processes that are forked later.
    ///
    /// # Errors
    /// A file is missing, unreadable, or not an MMDB file.
    pub fn preload(&mut self) -> Result<(), Error> {
        self.0.preload()
    }

    /// The country of an address; `None` if the files do not have the address, or it is not public.
    ///
    /// # Errors
    /// A file that may have the address is missing, unreadable, not an MMDB file, damaged, or
    /// shorter than when it was mapped.
    pub fn country(&self, address: IpAddr) -> Result<Option<Country>, Error> {
        self.0.look_up(address, country)
    }

    /// Reads every network of the files.
    ///
    /// # Errors
    /// A file cannot be read, or is damaged anywhere.
    pub fn verify(&self) -> Result<Vec<Verified>, Error> {
        self.0.verify(|file, found| country(file, found).map(|_| ()))
    }
}

fn country(file: &MmdbFile, found: &MmdbEntry<'_>) -> Result<Option<Country>, Error> {
    let record: Option<CountryRecord<'_>> = found.decode().map_err(|e| file.broken(&e))?;
    let Some(record) = record else { return Ok(None) };
    if !record.is_about_a_country() {
        let what = "has a record without a country: name a country file";
        return Err(file.fail(what.to_owned()));
    }
    match record.code() {
        Some(code) if code.len() > 2 => {
            Err(file.fail(String::from("has a country that is not a two-letter code")))
        }
        code => Ok(code.and_then(known_country)),
    }
}

/// The fields of an ASN record that are used, in both layouts.
#[derive(Deserialize)]
struct AsnRecord<'a> {
    autonomous_system_number: Option<u32>,
    asn: Option<&'a str>,
}

/// The files of `geoip.asn_database`.
pub struct Asns(MmdbFiles);

impl Asns {
    /// The files at these paths; `None` if there are none. Opens nothing yet.
    #[must_use]
    pub fn from_paths(paths: &[PathBuf]) -> Option<Self> {
        MmdbFiles::from_paths(paths, "geoip.asn_database").map(Self)
    }

    /// Maps copies of the files now, for processes that are forked later.
    ///
    /// # Errors
    /// As for [`Geo::preload`].
    pub fn preload(&mut self) -> Result<(), Error> {
        self.0.preload()
    }

    /// The number of the autonomous system that announces an address; `None` if the files do not
    /// have the address, or it is not public.
    ///
    /// # Errors
    /// As for [`Geo::country`].
    pub fn number(&self, address: IpAddr) -> Result<Option<u32>, Error> {
        self.0.look_up(address, number)
    }

    /// Reads every network of the files.
    ///
    /// # Errors
    /// As for [`Geo::verify`].
    pub fn verify(&self) -> Result<Vec<Verified>, Error> {
        self.0.verify(|file, found| number(file, found).map(|_| ()))
    }
}

fn number(file: &MmdbFile, found: &MmdbEntry<'_>) -> Result<Option<u32>, Error> {
    let record: Option<AsnRecord<'_>> = found.decode().map_err(|e| file.broken(&e))?;
    let Some(record) = record else { return Ok(None) };
    match (record.autonomous_system_number, record.asn) {
        (Some(number), _) => Ok(Some(number)),
        // IPinfo has this for a network that is not announced.
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

/// Reads a country code; `None` for the codes that mean "unknown".
fn known_country(code: &str) -> Option<Country> {
    Country::parse(code).filter(|_| !matches!(code, "ZZ" | "XX" | "zz" | "xx"))
}

#[cfg(test)]
mod tests;
