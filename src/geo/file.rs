//! An MMDB file. It is mapped into memory when it is first needed.
//!
//! A process is killed by SIGBUS if it reads the map past the end of the file. This must not happen
//! to Exim's daemon, so it maps a copy: a file in memory or, if the system refuses that, its own
//! memory. The processes of connections map the file itself, because reading all of it each time
//! would be slow. `sigbus.rs` lets them survive a file that is cut short.

use std::fmt::Display;
use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

use maxminddb::LookupResult;
use maxminddb::Reader;
use maxminddb::WithinOptions;
use memmap2::Mmap;
use memmap2::MmapMut;
use nix::fcntl::FcntlArg;
use nix::fcntl::SealFlag;
use nix::fcntl::fcntl;
use nix::sys::memfd::MFdFlags;
use nix::sys::memfd::memfd_create;
use once_cell::unsync::OnceCell;

use super::family::Family;
use super::sigbus;
use super::sigbus::CutShort;
use super::sigbus::MapRange;
use crate::address;
use crate::contain;
use crate::error::Error;

/// The most networks for each node of the tree. A tree has one network more than nodes, but IPv4
/// may be reached in several ways: by itself, mapped, by 6to4, Teredo and NAT64.
const MAX_NETWORKS_PER_NODE: u64 = 8;

/// A file, and the key of the configuration that names it.
pub(super) struct MmdbFile {
    path: PathBuf,
    key: &'static str,
    mapped: OnceCell<Mapped>,
}

/// A file that has been read from its beginning to its end.
#[derive(Debug)]
pub struct Verified {
    /// Its path.
    pub path: PathBuf,
    /// The database type from its metadata.
    pub kind: String,
    /// The time of its build, in seconds since 1970.
    pub built: u64,
    /// The families of its networks.
    pub families: Vec<Family>,
}

struct Mapped {
    /// The file, which another process may cut short; `None` if a copy is mapped.
    file: Option<SharedFile>,
    reader: Reader<Mmap>,
}

/// A file that other processes may write.
struct SharedFile {
    file: File,
    length: u64,
    range: MapRange,
}

impl Mapped {
    /// Reads from the map.
    fn read<T>(&self, work: impl FnOnce() -> T) -> Result<T, CutShort> {
        let Some(shared) = &self.file else { return Ok(work()) };
        let is_short = shared.file.metadata().map_or(0, |meta| meta.len()) < shared.length;
        if is_short { Err(CutShort) } else { sigbus::read(&shared.range, work) }
    }
}

/// The entry of a file for one address or network.
pub(super) type MmdbEntry<'a> = LookupResult<'a, Mmap>;

/// The result of a lookup.
pub(super) enum FileLookup<T> {
    /// The entry of the address, if the file has one.
    Entry(Option<T>),
    /// The file has no network of the address's family.
    OtherFamily,
}

impl MmdbFile {
    /// Opens nothing yet.
    pub(super) fn new(path: &Path, key: &'static str) -> Self {
        Self { path: path.to_owned(), key, mapped: OnceCell::new() }
    }

    /// Maps the file at the first call. After an error the next call tries again.
    fn mapped(&self) -> Result<&Mapped, Error> {
        self.mapped.get_or_try_init(|| self.map(self.open()?))
    }

    /// Maps a copy of the file now, for this process and those that are forked later. It replaces a
    /// map of the file itself, if an earlier call has made one.
    pub(super) fn preload(&mut self) -> Result<(), Error> {
        if self.mapped.get().is_some_and(|mapped| mapped.file.is_some()) {
            drop(self.mapped.take());
        }
        self.call(|| self.mapped.get_or_try_init(|| self.map_copy(self.open()?)).map(|_| ()))
    }

    /// Calls the reader of maxminddb. If it panics, the file is reported as broken.
    pub(super) fn call<T>(&self, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        contain::catch("geoip", work).unwrap_or_else(|panic| Err(self.broken(&panic)))
    }

    /// Maps a copy that no other process can cut short.
    fn map_copy(&self, file: File) -> Result<Mapped, Error> {
        // A kernel may refuse a file in memory, and `ulimit -f` may refuse its length.
        let copied = copy(&file, self.key).and_then(|copy| map(&copy));
        let Ok(map) = copied.or_else(|_| read(&file)) else { return self.map(file) };
        let reader = Reader::from_source(map).map_err(|e| self.broken(&e))?;
        Ok(Mapped { file: None, reader })
    }

    fn open(&self) -> Result<File, Error> {
        // O_NONBLOCK, because opening a FIFO would wait for a process that writes to it.
        let mut options = File::options();
        options.read(true).custom_flags(libc::O_NONBLOCK);
        let file = options.open(&self.path).map_err(|e| self.unreadable(&e))?;
        let meta = file.metadata().map_err(|e| self.unreadable(&e))?;
        if !meta.is_file() || meta.len() == 0 {
            let what =
                format!("is empty or not a regular file: fetch it again, or see {}", self.key);
            return Err(self.fail(what));
        }
        Ok(file)
    }

    fn map(&self, file: File) -> Result<Mapped, Error> {
        let length = file.metadata().map_err(|e| self.unreadable(&e))?.len();
        let map = map(&file).map_err(|e| self.unreadable(&e))?;
        let range = MapRange::of(&map);
        let reader = sigbus::read(&range, || Reader::from_source(map));
        let reader = reader.map_err(|gone| self.cut_short(&gone))?;
        let reader = reader.map_err(|e| self.broken(&e))?;
        Ok(Mapped { file: Some(SharedFile { file, length, range }), reader })
    }

    /// Reads the file's entry for an address; `None` if the address is not public.
    pub(super) fn look_up<T>(
        &self,
        address: IpAddr,
        read: impl FnOnce(&MmdbEntry<'_>) -> Result<Option<T>, Error>,
    ) -> Result<FileLookup<T>, Error> {
        let mapped = self.mapped()?;
        let address = address.to_canonical();
        if !address::is_public(address) {
            return Ok(FileLookup::Entry(None));
        }
        let found = mapped.read(|| self.read(&mapped.reader, address, read));
        found.map_err(|gone| self.cut_short(&gone))?
    }

    fn read<T>(
        &self,
        reader: &Reader<Mmap>,
        address: IpAddr,
        read: impl FnOnce(&MmdbEntry<'_>) -> Result<Option<T>, Error>,
    ) -> Result<FileLookup<T>, Error> {
        let family = Family::of(address);
        if reader.metadata().ip_version == 4 && family == Family::V6 {
            return Ok(FileLookup::OtherFamily);
        }
        let broken = |e| self.broken(&e);
        let found = reader.lookup(address).map_err(broken)?;
        if found.has_data() && family.has(&found).map_err(broken)? {
            return read(&found).map(FileLookup::Entry);
        }
        let is_known = family.is_in(reader).map_err(broken)?;
        Ok(if is_known { FileLookup::Entry(None) } else { FileLookup::OtherFamily })
    }

    /// Calls `look` for every network of the file.
    pub(super) fn verify(
        &self,
        look: impl Fn(&MmdbEntry<'_>) -> Result<(), Error>,
    ) -> Result<Verified, Error> {
        let mapped = self.mapped()?;
        let looked = mapped.read(|| self.verify_all(&mapped.reader, look));
        looked.map_err(|gone| self.cut_short(&gone))?
    }

    fn verify_all(
        &self,
        reader: &Reader<Mmap>,
        look: impl Fn(&MmdbEntry<'_>) -> Result<(), Error>,
    ) -> Result<Verified, Error> {
        let metadata = reader.metadata();
        // All networks are included. If both branches of each node of a damaged tree lead to the
        // next node, the reader would never end skipping networks.
        let options =
            WithinOptions::default().include_networks_without_data().include_aliased_networks();
        let mut left = u64::from(metadata.node_count).saturating_mul(MAX_NETWORKS_PER_NODE);
        for network in reader.networks(options).map_err(|e| self.broken(&e))? {
            look(&network.map_err(|e| self.broken(&e))?)?;
            left = left.checked_sub(1).ok_or_else(|| self.broken(&"has too many networks"))?;
        }
        let mut families = Vec::new();
        for family in Family::ALL {
            if family.is_in(reader).map_err(|e| self.broken(&e))? {
                families.push(family);
            }
        }
        let (kind, built) = (metadata.database_type.clone(), metadata.build_epoch);
        Ok(Verified { path: self.path.clone(), kind, built, families })
    }

    fn unreadable(&self, e: &io::Error) -> Error {
        let (uid, key) = (nix::unistd::Uid::effective(), self.key);
        let remedy = match e.raw_os_error() {
            Some(libc::EACCES) => {
                "chgrp it to the group of Exim's user and chmod 640, or chmod 644; the directories \
                 above it must let that user through"
            }
            Some(libc::ENOENT) => "fetch it, or correct the key",
            Some(_) | None => "fetch it again, or correct the key",
        };
        self.fail(format!("cannot be read by uid {uid}: {e}: see {key}: {remedy}"))
    }

    pub(super) fn fail(&self, what: String) -> Error {
        Error::Geo { file: self.path.clone(), what }
    }

    fn cut_short(&self, _: &CutShort) -> Error {
        self.fail(String::from("was truncated while in use: replace it by rename"))
    }

    pub(super) fn broken(&self, e: &dyn Display) -> Error {
        self.fail(format!("is not a readable MMDB file, fetch it again: {e}"))
    }
}

/// Copies a file to a file in memory that no process can cut short. Its name appears in
/// `/proc/PID/maps`.
fn copy(mut file: &File, name: &str) -> io::Result<File> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let mut copy = File::from(memfd_create(name, flags)?);
    // If it is too long, this fails before anything is copied.
    copy.set_len(file.metadata()?.len())?;
    io::copy(&mut file, &mut copy)?;
    let seals = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL;
    fcntl(&copy, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(copy)
}

/// Reads the file into memory of this process.
fn read(file: &File) -> io::Result<Mmap> {
    let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    let mut memory = MmapMut::map_anon(length)?;
    file.read_exact_at(&mut memory, 0)?;
    memory.make_read_only()
}

#[allow(unsafe_code, reason = "the only place that maps a file")]
fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: the map is read-only. A copy is sealed, so it cannot change. A file itself must be
    // updated by renaming a new one into place, as geoipupdate does (docs/exim.md). If it is
    // overwritten instead, the bytes that are there by then are read. If it is cut short while it
    // is read, zeros are read, and the result is thrown away (sigbus.rs).
    unsafe { Mmap::map(file) }
}
