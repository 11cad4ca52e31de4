//! A directory that is locked and not written to: whoever has the graph open is kept out, and not
//! even a lock file is made.

use super::DirectoryStorage;
use crate::error::{Error, ErrorKind, Result};
use crate::format::LOCK_FILE_NAME;
use std::fs::{File, TryLockError};
use std::path::Path;

impl DirectoryStorage {
    /// Locks a directory to read it, and changes nothing in it: where there is no lock file, the
    /// directory itself is locked.
    pub(crate) fn open_to_read(directory: &Path) -> Result<DirectoryStorage> {
        if !directory.is_dir() {
            let message = "there is no such directory";
            return Err(Error::new(ErrorKind::NotAGraph, message).at_path(directory));
        }
        let lock_path = directory.join(LOCK_FILE_NAME);
        let lock = File::open(&lock_path)
            .or_else(|_| File::open(directory))
            .map_err(|source| Error::io("open", directory, &source))?;
        match lock.try_lock() {
            Ok(()) => Ok(DirectoryStorage { directory: directory.to_owned(), lock: Some(lock) }),
            Err(TryLockError::WouldBlock) => {
                let message = "a process has the graph open; close it first";
                Err(Error::new(ErrorKind::InUse, message).at_path(&lock_path))
            }
            Err(TryLockError::Error(source)) => Err(Error::io("lock", &lock_path, &source)),
        }
    }
}
