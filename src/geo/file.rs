//! An MMDB file: mapped when it is first asked, and the one memory map.

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

use crate::error::Error;

/// A tree of so many nodes has one network more, but IPv4 may be reached in several ways: by itself,
/// mapped, by 6to4, Teredo and NAT64.
const MOST_WAYS: u64 = 8;

/// A file, and the key of the configuration that names it.
pub(super) struct MmdbFile {
    path: PathBuf,
    key: &'static str,
    mapped: OnceCell<Mapped>,
}

struct Mapped {
    file: File,
    length: u64,
    reader: Reader<Mmap>,
}

/// What a file has about one address or network.
pub(super) type Found<'a> = LookupResult<'a, Mmap>;

impl MmdbFile {
    /// Opens nothing yet.
    pub(super) fn new(path: &Path, key: &'static str) -> Self {
        Self { path: path.to_owned(), key, mapped: OnceCell::new() }
    }

    /// Maps the file; after an error the next call tries again.
    fn open(&self) -> Result<&Mapped, Error> {
        self.mapped.get_or_try_init(|| {
            let unreadable = |e: std::io::Error| {
                let uid = nix::unistd::Uid::effective();
                self.fail(format!("cannot be read by uid {uid}: {e}: see {}", self.key))
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
    pub(super) fn preload(&self) -> Result<(), Error> {
        self.open().map(|_| ())
    }

    /// What the file has about an address; `None` where the address is not public, or the file
    /// cannot know it.
    pub(super) fn look_up(&self, address: IpAddr) -> Result<Option<Found<'_>>, Error> {
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
        reader.lookup(address).map(Some).map_err(|e| self.broken(&e))
    }

    /// Has every network of the file looked at; says what kind it is, and when it was built in
    /// seconds since 1970.
    pub(super) fn verify(
        &self,
        look: impl Fn(&Found<'_>) -> Result<(), Error>,
    ) -> Result<(String, u64), Error> {
        let reader = &self.open()?.reader;
        let metadata = reader.metadata();
        // Not one is passed over, since the reader would do so without end where damage has made
        // all ways lead to the next node.
        let options =
            WithinOptions::default().include_networks_without_data().include_aliased_networks();
        let mut left = u64::from(metadata.node_count).saturating_mul(MOST_WAYS);
        for network in reader.networks(options).map_err(|e| self.broken(&e))? {
            look(&network.map_err(|e| self.broken(&e))?)?;
            left = left.checked_sub(1).ok_or_else(|| {
                self.fail(String::from("is no readable MMDB file, fetch it again: has no end"))
            })?;
        }
        Ok((metadata.database_type.clone(), metadata.build_epoch))
    }

    pub(super) fn fail(&self, what: String) -> Error {
        Error::Geo { file: self.path.clone(), what }
    }

    pub(super) fn broken(&self, e: &MaxMindDbError) -> Error {
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
