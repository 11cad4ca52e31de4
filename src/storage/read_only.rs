//! The directory of a graph as a process has it that only reads: no lock is taken and no byte
//! is written, so it may belong to somebody else or lie on a file system that takes no writes.
//!
//! Another process writes here meanwhile. Files go, so those that a reader rests on are held open
//! and found by their names as if they were still there. And the segment that is written to is cut
//! and extended again, so **its end is copied, never mapped**: to touch a mapped byte behind the
//! end of a file ends the process.

use super::{Bytes, LogFile, OutputFile, PrivateBytes, Storage};
use super::{map_file, map_file_privately, written_bytes};
use crate::error::{Error, ErrorKind, Result};
use crate::locks::Mutex;
use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A directory of the file system, to read.
pub(crate) struct ReadOnlyDirectory {
    directory: PathBuf,
    held: Mutex<BTreeMap<String, Arc<HeldFile>>>,
}

/// An open file, readable also after its name went.
pub(crate) struct HeldFile {
    file: File,
    path: PathBuf,
    /// Device and number of the file: its name may come to stand for another one.
    identity: (u64, u64),
}

impl ReadOnlyDirectory {
    /// A directory that is there.
    pub(crate) fn open(directory: &Path) -> Result<ReadOnlyDirectory> {
        match fs::metadata(directory) {
            Ok(found) if found.is_dir() => {
                Ok(ReadOnlyDirectory { directory: directory.to_owned(), held: Mutex::default() })
            }
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(failed("examine", directory, &source))
            }
            Ok(_) | Err(_) => {
                let message = "there is no such directory; a graph is made by opening it to write";
                Err(Error::new(ErrorKind::NotAGraph, message).at_path(directory))
            }
        }
    }

    /// Opens a file and holds it under its name from now on. `None` where there is none.
    pub(crate) fn hold(&self, name: &str) -> Result<Option<Arc<HeldFile>>> {
        let path = self.path(name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(failed("open", &path, &source)),
        };
        let found = file.metadata().map_err(|source| failed("examine", &path, &source))?;
        let held = Arc::new(HeldFile { file, path, identity: identity_of(&found) });
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
        let path = self.path(name);
        let opened = File::open(&path).and_then(|file| Ok((file.metadata()?, file)));
        let (found, file) = opened.map_err(|source| failed("open", &path, &source))?;
        Ok(Arc::new(HeldFile { file, path, identity: identity_of(&found) }))
    }
}

impl HeldFile {
    /// Copies the bytes at an offset, and says how many there are before the file ends. Another
    /// process may be writing them: what was copied counts when its checksum holds.
    pub(crate) fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match self.file.read_at(&mut buffer[done..], offset_bytes + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(source) if source.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(failed("read", &self.path, &source)),
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
        match fs::metadata(&self.path) {
            Ok(found) => Ok(identity_of(&found) == self.identity),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(failed("examine", &self.path, &source)),
        }
    }

    fn len_bytes(&self) -> Result<u64> {
        let found = self.file.metadata();
        found.map(|found| found.len()).map_err(|source| failed("examine", &self.path, &source))
    }
}

fn identity_of(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

#[cold]
fn failed(action: &str, path: &Path, source: &io::Error) -> Error {
    let advice = match source.kind() {
        io::ErrorKind::PermissionDenied => {
            "; the directory and its files must be readable by this process"
        }
        _ => "",
    };
    Error::new(ErrorKind::Io, format!("cannot {action}: {source}{advice}")).at_path(path)
}

impl Storage for ReadOnlyDirectory {
    fn list(&self) -> Result<Vec<(String, u64)>> {
        let failed = |source: io::Error| failed("list the directory", &self.directory, &source);
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            match entry.metadata() {
                Ok(found) => {
                    files.push((entry.file_name().to_string_lossy().into_owned(), found.len()));
                }
                // It went since its name was read.
                Err(source) if source.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(failed(source)),
            }
        }
        Ok(files)
    }

    fn map_range(&self, name: &str, offset_bytes: u64, len_bytes: u64) -> Result<Bytes> {
        let found = self.find(name)?;
        map_file(&found.file, &found.path, offset_bytes, len_bytes)
    }

    fn written_bytes(&self, name: &str) -> Result<u64> {
        Ok(written_bytes(&self.find(name)?.file))
    }

    fn map_private(&self, name: &str, offset_bytes: u64, len_bytes: u64) -> Result<PrivateBytes> {
        if len_bytes == 0 {
            return Ok(PrivateBytes::Owned(Vec::new()));
        }
        let found = self.find(name)?;
        map_file_privately(&found.file, found.len_bytes()?, &found.path, offset_bytes, len_bytes)
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
        self.directory.join(name)
    }
}
