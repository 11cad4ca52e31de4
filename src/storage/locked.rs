//! A directory of the file system that is written to, or that is read as a whole: a backup to
//! restore from, or a graph to salvage.
//!
//! Where it is only read, nothing in it is changed, not even its lock file, and others may read it
//! at the same time. A backup needs no lock: each of its files is written whole before it gets its
//! name. A directory that somebody may write to is read under a shared lock, which keeps writers
//! out.

use super::directory::Directory;
use super::fork_count;
use super::lock::Lock;
use super::{
    Bytes, DirectoryFile, LogFile, OutputFile, PrivateBytes, Storage, allocate, map_file,
    map_file_privately, map_log, written_bytes,
};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{FileKind, file_kind};
use rustix::fs::OFlags;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// A directory of the file system, locked for this process unless it is a backup that is read.
pub(crate) struct DirectoryStorage {
    directory: Directory,
    /// The process that opened it; one that was forked from it changes nothing.
    fork_count: u32,
    lock: Option<Lock>,
}

impl DirectoryStorage {
    /// Opens and locks a directory, making it first where asked to.
    pub(crate) fn open(path: &Path, create: bool) -> Result<DirectoryStorage> {
        if create {
            fs::create_dir_all(path)
                .map_err(|source| Error::io("create the directory", path, &source))?;
        }
        let message = "there is no such directory; make a graph with `create(true)`";
        let directory = open_directory(path, message)?;
        check_directory(&directory, create)?;
        let lock = Some(Lock::exclusive(&directory)?);
        Ok(DirectoryStorage { directory, fork_count: fork_count(), lock })
    }

    /// Opens a directory that exists, to read only.
    pub(crate) fn open_unlocked(path: &Path) -> Result<DirectoryStorage> {
        let directory = open_directory(path, "there is no such directory")?;
        Ok(DirectoryStorage { directory, fork_count: fork_count(), lock: None })
    }

    /// Keeps writers out for as long as this lives.
    pub(crate) fn lock_shared(&mut self) -> Result<()> {
        self.lock = Some(Lock::shared(&self.directory)?);
        Ok(())
    }

    fn open_existing(&self, name: &str, access: OFlags) -> Result<(File, u64)> {
        let file = self.directory.open_regular(name, access)?;
        let failed = |source| self.directory.error("examine", name, source);
        let len_bytes = file.metadata().map_err(failed)?.len();
        Ok((file, len_bytes))
    }

    /// The directory, to change something in it.
    fn changed(&self) -> Result<&Directory> {
        if fork_count() == self.fork_count {
            Ok(&self.directory)
        } else {
            Err(Error::forked().at_path(self.directory.path()))
        }
    }
}

fn open_directory(path: &Path, missing: &str) -> Result<Directory> {
    Directory::open(path, false).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            Error::new(ErrorKind::NotAGraph, missing).at_path(path)
        }
        _ => Error::io("open the directory", path, &source),
    })
}

/// A directory without a graph is left as it is, not even locked, where it holds other files or
/// no graph is to be made.
fn check_directory(directory: &Directory, create: bool) -> Result<()> {
    let mut other = None;
    for (name, _) in directory.list()? {
        match file_kind(&name) {
            FileKind::Image(_) | FileKind::Log(_) | FileKind::Unfinished => return Ok(()),
            FileKind::Temporary | FileKind::Lock => {}
            // A position without its graph: another graph in its place would not be what it means.
            FileKind::Consumer | FileKind::Foreign => other = Some(name),
        }
    }
    let message = match other {
        Some(name) => format!("it holds other files, such as {name:?}; choose an empty directory"),
        None if create => return Ok(()),
        None => "the directory is empty; make a graph with `create(true)`".to_owned(),
    };
    Err(Error::new(ErrorKind::NotAGraph, message).at_path(directory.path()))
}

impl Storage for DirectoryStorage {
    fn list(&self) -> Result<Vec<(String, u64)>> {
        self.directory.list()
    }

    fn map_range(&self, name: &str, offset_bytes: u64, len_bytes: u64) -> Result<Bytes> {
        let (file, _) = self.open_existing(name, OFlags::RDONLY)?;
        map_file(&file, &self.path(name), offset_bytes, len_bytes)
    }

    fn written_bytes(&self, name: &str) -> Result<u64> {
        let (file, _) = self.open_existing(name, OFlags::RDONLY)?;
        Ok(written_bytes(&file))
    }

    fn map_private(&self, name: &str, offset_bytes: u64, len_bytes: u64) -> Result<PrivateBytes> {
        if len_bytes == 0 {
            return Ok(PrivateBytes::Owned(Vec::new()));
        }
        let (file, file_bytes) = self.open_existing(name, OFlags::RDONLY)?;
        map_file_privately(&file, file_bytes, &self.path(name), offset_bytes, len_bytes)
    }

    fn create(&self, name: &str) -> Result<Box<dyn OutputFile>> {
        let file = self.changed()?.create(name)?;
        Ok(Box::new(DirectoryFile { file, path: self.path(name) }))
    }

    fn create_log(&self, name: &str, len_bytes: u64) -> Result<Box<dyn LogFile>> {
        let file = self.changed()?.create(name)?;
        if let Err(source) = allocate(&file, len_bytes) {
            // The error that matters is the first one; an empty leftover is removed on open.
            let _ = self.directory.remove(name);
            return Err(self.directory.error("allocate a log segment", name, source));
        }
        map_log(file, self.path(name))
    }

    fn open_log(&self, name: &str, len_bytes: u64) -> Result<Box<dyn LogFile>> {
        self.changed()?;
        let (file, file_bytes) = self.open_existing(name, OFlags::RDWR)?;
        if file_bytes < len_bytes {
            let failed = |source| self.directory.error("allocate", name, source);
            allocate(&file, len_bytes).map_err(failed)?;
        }
        map_log(file, self.path(name))
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.changed()?.rename(from, to)
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.changed()?.remove(name)
    }

    fn sync_directory(&self) -> Result<()> {
        self.directory.sync()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path_of(name)
    }

    fn moved(&self) -> Option<String> {
        self.directory.moved()
    }
}
