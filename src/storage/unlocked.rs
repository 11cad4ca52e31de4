//! A directory of the file system that is only read, such as a backup to restore from
//! or a graph to salvage.
//!
//! Nothing in it is changed, not even its lock file, and others may read it at the same time. A
//! backup needs no lock: each of its files is written whole before it gets its name. A directory
//! that somebody may write to is read under a shared lock, which keeps writers out.

use super::DirectoryStorage;
use crate::error::{Error, ErrorKind, Result};
use crate::format::LOCK_FILE_NAME;
use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

impl DirectoryStorage {
    /// A directory that is there, to read only.
    pub(crate) fn open_unlocked(directory: &Path) -> Result<DirectoryStorage> {
        if !directory.is_dir() {
            let error = Error::new(ErrorKind::NotAGraph, "there is no such directory");
            return Err(error.at_path(directory));
        }
        Ok(DirectoryStorage { directory: directory.to_owned(), lock: None })
    }

    /// Keeps writers out for as long as this lives, where there is a lock file.
    pub(crate) fn lock_shared(&mut self) -> Result<()> {
        let path = self.directory.join(LOCK_FILE_NAME);
        let lock = match File::open(&path) {
            Ok(lock) => lock,
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(Error::io("open the lock file", &path, &source)),
        };
        match lock.try_lock_shared() {
            Ok(()) => {
                self.lock = Some(lock);
                Ok(())
            }
            Err(TryLockError::WouldBlock) => {
                let message = "a process has this graph open; close it, or take a backup there";
                Err(Error::new(ErrorKind::InUse, message).at_path(&path))
            }
            Err(TryLockError::Error(source)) => Err(Error::io("lock", &path, &source)),
        }
    }
}
