//! The country of an address, from a local MMDB file; the one memory map.
//!
//! Four layouts are in use: MaxMind and DB-IP (`country.iso_code`), ip-location-db
//! (`country_code`), IPinfo (`country_code`, before that `country` as a code).

use std::fs::File;
use std::net::IpAddr;
use std::net::Ipv6Addr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

use maxminddb::LookupResult;
use maxminddb::MaxMindDbError;
use maxminddb::Reader;
use maxminddb::WithinOptions;
use memmap2::Mmap;
use once_cell::unsync::OnceCell;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::error::Error;
use crate::policy::Country;

/// What the layouts say about a country; all else in a record is passed over.
#[derive(Deserialize)]
struct Record<'a> {
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

impl Record<'_> {
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

/// A GeoIP file, mapped when it is first asked.
pub struct Geo {
    path: PathBuf,
    mapped: OnceCell<Mapped>,
}

struct Mapped {
    file: File,
    length: u64,
    reader: Reader<Mmap>,
}

impl Geo {
    /// Opens nothing yet.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), mapped: OnceCell::new() }
    }

    /// Maps the file; after an error the next call tries again.
    fn open(&self) -> Result<&Mapped, Error> {
        self.mapped.get_or_try_init(|| {
            let unreadable = |e: std::io::Error| {
                let uid = nix::unistd::Uid::effective();
                self.fail(format!("cannot be read by uid {uid}: {e}: see geoip.database"))
            };
            // Without waiting for whoever might write to a FIFO of this name.
            let mut options = File::options();
            options.read(true).custom_flags(libc::O_NONBLOCK);
            let file = options.open(&self.path).map_err(unreadable)?;
            let meta = file.metadata().map_err(unreadable)?;
            if !meta.is_file() || meta.len() == 0 {
                return Err(self.fail(String::from("is empty or no regular file")));
            }
            let map = map(&file).map_err(unreadable)?;
            let reader = Reader::from_source(map).map_err(|e| self.broken(&e))?;
            Ok(Mapped { file, length: meta.len(), reader })
        })
    }

    /// Maps the file now, so that processes that are forked later need not.
    ///
    /// # Errors
    /// The file is missing, unreadable, or no MMDB file.
    pub fn preload(&self) -> Result<(), Error> {
        self.open().map(|_| ())
    }

    /// The country of an address, or `None` where the file does not know it or it is not public.
    ///
    /// # Errors
    /// The file is missing, unreadable, no MMDB file, corrupt, or has shrunk since it was mapped.
    pub fn country(&self, address: IpAddr) -> Result<Option<Country>, Error> {
        let Mapped { file, length, reader } = self.open()?;
        let address = address.to_canonical();
        let ipv4_only = reader.metadata().ip_version == 4;
        if !is_public(address) || (ipv4_only && address.is_ipv6()) {
            return Ok(None);
        }
        // A map that reaches past the end of its file ends the process with SIGBUS.
        if file.metadata().map_or(0, |meta| meta.len()) < *length {
            return Err(self.fail(String::from("was truncated while in use: replace it by rename")));
        }
        let found = reader.lookup(address).map_err(|e| self.broken(&e))?;
        self.read(&found)
    }

    fn read(&self, found: &LookupResult<'_, Mmap>) -> Result<Option<Country>, Error> {
        let record: Option<Record<'_>> = found.decode().map_err(|e| self.broken(&e))?;
        let Some(record) = record else { return Ok(None) };
        if !record.is_about_a_country() {
            return Err(
                self.fail(String::from("has a record without country: name a country file"))
            );
        }
        match record.code() {
            Some(code) if code.len() > 2 => {
                Err(self.fail(String::from("has a country that is no two-letter code")))
            }
            code => Ok(code.and_then(real)),
        }
    }

    /// Looks at every network of the file; says what kind it is, and when it was built in seconds
    /// since 1970.
    ///
    /// # Errors
    /// It cannot be read, or is damaged anywhere.
    pub fn verify(&self) -> Result<(String, u64), Error> {
        let reader = &self.open()?.reader;
        let networks = reader.networks(WithinOptions::default()).map_err(|e| self.broken(&e))?;
        for network in networks {
            self.read(&network.map_err(|e| self.broken(&e))?)?;
        }
        let metadata = reader.metadata();
        Ok((metadata.database_type.clone(), metadata.build_epoch))
    }

    fn fail(&self, what: String) -> Error {
        Error::Geo { file: self.path.clone(), what }
    }

    fn broken(&self, e: &MaxMindDbError) -> Error {
        self.fail(format!("is no readable MMDB file, fetch it again: {e}"))
    }
}

#[allow(unsafe_code, reason = "the map: the one place")]
fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the map is read-only. Whoever updates the file must rename a new one into place, as
    // geoipupdate does (docs/exim.md); a file truncated in place is caught by comparing lengths
    // before each lookup, but for the moment between the two.
    unsafe { Mmap::map(file) }
}

/// Without the codes that mean "none".
fn real(code: &str) -> Option<Country> {
    Country::parse(code).filter(|_| !matches!(code, "ZZ" | "XX" | "zz" | "xx"))
}

/// Whether an address can have a country. Documentation networks are left to the file.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            let shared = a == 100 && (64..128).contains(&b); // RFC 6598
            !(v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_unspecified()
                || shared)
        }
        IpAddr::V6(v6) => {
            !(v6.is_unique_local()
                || v6.is_unicast_link_local()
                || v6 == Ipv6Addr::LOCALHOST
                || v6.is_unspecified())
        }
    }
}

#[cfg(test)]
mod tests;
