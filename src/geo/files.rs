//! The files that one key of the configuration names.

use std::net::IpAddr;
use std::path::PathBuf;

use super::file::FileLookup;
use super::file::MmdbEntry;
use super::file::MmdbFile;
use super::file::Verified;
use crate::error::Error;

/// The files of one key, in order. The first that has networks of the address's family answers.
pub(super) struct MmdbFiles(Vec<MmdbFile>);

impl MmdbFiles {
    /// The files at these paths; `None` if there are none. Opens nothing yet.
    pub(super) fn from_paths(paths: &[PathBuf], key: &'static str) -> Option<Self> {
        let files: Vec<_> = paths.iter().map(|path| MmdbFile::new(path, key)).collect();
        (!files.is_empty()).then_some(Self(files))
    }

    /// Maps copies now, for this process and those that are forked later. If a file cannot be read,
    /// the others are still mapped.
    pub(super) fn preload(&mut self) -> Result<(), Error> {
        self.0.iter_mut().map(MmdbFile::preload).fold(Ok(()), Result::and)
    }

    /// Reads the entry for an address. An unreadable file is an error, unless an earlier file has
    /// answered, because it may be the file that has the entry.
    pub(super) fn look_up<T>(
        &self,
        address: IpAddr,
        read: impl Fn(&MmdbFile, &MmdbEntry<'_>) -> Result<Option<T>, Error>,
    ) -> Result<Option<T>, Error> {
        for file in &self.0 {
            match file.call(|| file.look_up(address, |found| read(file, found)))? {
                FileLookup::Entry(known) => return Ok(known),
                FileLookup::OtherFamily => {}
            }
        }
        Ok(None)
    }

    /// Calls `look` for every network of each file.
    pub(super) fn verify(
        &self,
        look: impl Fn(&MmdbFile, &MmdbEntry<'_>) -> Result<(), Error>,
    ) -> Result<Vec<Verified>, Error> {
        let verify = |file: &MmdbFile| file.call(|| file.verify(|found| look(file, found)));
        self.0.iter().map(verify).collect()
    }
}
