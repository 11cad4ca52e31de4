//! The directory of a graph as a process has it that only reads: no lock is taken and no byte
//! is written, so it may belong to somebody else or lie on a file system that takes no writes.
//!
//! Another process writes here meanwhile. Files go, so those that a reader rests on are held open
//! and found by their names as if they were still there. And the segment that is written to is cut
//! and extended again, so **its end is copied, never mapped**: to touch a mapped byte behind the
//! end of a file ends the process.

use super::directory::{Directory, FileIdentity};
use super::{Bytes, LogFile, OutputFile, PrivateBytes, Storage};
use super::{map_file, map_file_privately, written_bytes};
use crate::error::{Error, ErrorKind, Result};
use crate::locks::Mutex;
use rustix::fs::OFlags;
use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A directory of the file system, to read.
pub(crate) struct ReadOnlyDirectory {
    directory: Arc<Directory>,
    held: Mutex<BTreeMap<String, Arc<HeldFile>>>,
}

/// An open file, readable also after its name went.
pub(crate) struct HeldFile {
    directory: Arc<Directory>,
    file: File,
    name: String,
    /// Its name may come to stand for another file.
    identity: FileIdentity,
}

impl ReadOnlyDirectory {
    /// A directory that is there.
    pub(crate) fn open(path: &Path) -> Result<ReadOnlyDirectory> {
        let directory = Directory::open(path, true).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                let message = "there is no such directory; a graph is made by opening it to write";
                Error::new(ErrorKind::NotAGraph, message).at_path(path)
            }
            _ => {
                let message = format!("cannot open the directory: {source}");
                Error::new(ErrorKind::Io, message).at_path(path)
            }
        })?;
        Ok(ReadOnlyDirectory { directory: Arc::new(directory), held: Mutex::default() })
    }

    /// Returns the same directory, with nothing held: not the one that its path leads to now.
    pub(crate) fn afresh(&self) -> ReadOnlyDirectory {
        ReadOnlyDirectory { directory: self.directory.clone(), held: Mutex::default() }
    }

    /// Opens a file and holds it under its name from now on. `None` where there is none.
    pub(crate) fn hold(&self, name: &str) -> Result<Option<Arc<HeldFile>>> {
        let Some(file) = self.directory.open_if_there(name, OFlags::RDONLY)? else {
            return Ok(None);
        };
        let held = Arc::new(HeldFile::new(&self.directory, file, name)?);
        self.held.lock().insert(name.to_owned(), held.clone());
        Ok(Some(held))
    }

    /// Holds what the other one does, and nothing else.
    pub(crate) fn hold_as(&self, other: &ReadOnlyDirectory) {
        let held = other.held.lock().clone();
        *self.held.lock() = held;
    }

    /// The file that is held under a name, else the one that has it.
    fn find(&self, name: &str) -> Result<Arc<HeldFile>> {
        if let Some(held) = self.held.lock().get(name) {
            return Ok(held.clone());
        }
        let file = self.directory.open_regular(name, OFlags::RDONLY)?;
        Ok(Arc::new(HeldFile::new(&self.directory, file, name)?))
    }
}

impl HeldFile {
    fn new(directory: &Arc<Directory>, file: File, name: &str) -> Result<HeldFile> {
        let failed = |source| directory.error("examine", name, source);
        let identity = identity_of(&file.metadata().map_err(failed)?);
        let (directory, name) = (directory.clone(), name.to_owned());
        Ok(HeldFile { directory, file, name, identity })
    }

    fn path(&self) -> PathBuf {
        self.directory.path_of(&self.name)
    }

    /// Copies the bytes at an offset, and says how many there are before the file ends. Another
    /// process may be writing them: what was copied counts when its checksum holds.
    pub(crate) fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match self.file.read_at(&mut buffer[done..], offset_bytes + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(source) if source.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(self.directory.error("read", &self.name, source)),
            }
        }
        Ok(done)
    }

    /// A copy of all that was ever written to it.
    pub(crate) fn copy(&self) -> Result<Bytes> {
        let len_bytes = self.len_bytes()?.min(written_bytes(&self.file));
        let mut bytes = vec![0; len_bytes as usize];
        let copied_bytes = self.read_at(0, &mut bytes)?;
        bytes.truncate(copied_bytes);
        Ok(Bytes::Owned(Arc::new(bytes)))
    }

    /// Whether its name still stands for it.
    pub(crate) fn has_its_name(&self) -> Result<bool> {
        Ok(self.directory.identity_at(&self.name)? == Some(self.identity))
    }

    fn len_bytes(&self) -> Result<u64> {
        let found = self.file.metadata();
        let failed = |source| self.directory.error("examine", &self.name, source);
        found.map(|found| found.len()).map_err(failed)
    }
}

fn identity_of(found: &Metadata) -> FileIdentity {
    (found.dev(), found.ino())
}

impl Storage for ReadOnlyDirectory {
    fn list(&self) -> Result<Vec<(String, u64)>> {
        self.directory.list()
    }

    fn map_range(&self, name: &str, offset_bytes: u64, len_bytes: u64) -> Result<Bytes> {
        let found = self.find(name)?;
        map_file(&found.file, &found.path(), offset_bytes, len_bytes)
    }

    fn written_bytes(&self, name: &str) -> Result<u64> {
        Ok(written_bytes(&self.find(name)?.file))
    }

    fn map_private(&self, name: &str, offset_bytes: u64, len_bytes: u64) -> Result<PrivateBytes> {
        if len_bytes == 0 {
            return Ok(PrivateBytes::Owned(Vec::new()));
        }
        let found = self.find(name)?;
        map_file_privately(&found.file, found.len_bytes()?, &found.path(), offset_bytes, len_bytes)
    }

    fn create(&self, _name: &str) -> Result<Box<dyn OutputFile>> {
        Err(Error::read_only())
    }

    fn create_log(&self, _name: &str, _len_bytes: u64) -> Result<Box<dyn LogFile>> {
        Err(Error::read_only())
    }

    fn open_log(&self, _name: &str, _len_bytes: u64) -> Result<Box<dyn LogFile>> {
        Err(Error::read_only())
    }

    fn rename(&self, _from: &str, _to: &str) -> Result<()> {
        Err(Error::read_only())
    }

    fn remove(&self, _name: &str) -> Result<()> {
        Err(Error::read_only())
    }

    fn sync_directory(&self) -> Result<()> {
        Err(Error::read_only())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path_of(name)
    }

    fn moved(&self) -> Option<String> {
        self.directory.moved()
    }
}
