//! The lock that keeps a second writer out of a directory.
//!
//! Two things are locked: the directory itself, which no cleaner can replace, and a file in it, for
//! file systems that cannot lock a directory. Both locks are advisory and belong to an open file,
//! so a process that was forked from the one that opened it shares them.

use super::directory::Directory;
use super::fork_count;
use crate::error::{Error, ErrorKind, Result};
use crate::format::LOCK_FILE_NAME;
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::{Errno, retry_on_intr};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

/// What the lock file says after the number of the process, so that it is never an empty file.
const EXPLANATION: &str =
    "\nThe process with this number writes, or wrote last, to the graph in this directory.\n";

/// The most bytes of a lock file that are read.
const READ_BYTES_MAX: usize = 32;

/// The lock of a directory, held until it is dropped by the process that took it.
pub(super) struct Lock {
    fork_count: u32,
    directory: OwnedFd,
    /// `None` for a shared lock where there is no lock file.
    file: Option<File>,
}

impl Lock {
    /// Locks a directory for a process that writes to it.
    ///
    /// # Errors
    /// `InUse` where it is locked already, with the number of the process that did it.
    pub(super) fn exclusive(directory: &Directory) -> Result<Lock> {
        let file = directory.open_regular(LOCK_FILE_NAME, OFlags::RDWR | OFlags::CREATE)?;
        let lock = Lock::take(directory, Some(file), Exclusive::Yes)?;
        if let Some(file) = &lock.file {
            let text = format!("{}{EXPLANATION}", std::process::id());
            // The text is for people, and for cleaners that delete empty files. A disk without room
            // for it must not keep anybody from opening the graph.
            let _ = file.set_len(0).and_then(|()| file.write_all_at(text.as_bytes(), 0));
        }
        Ok(lock)
    }

    /// Keeps writers out of a directory that is read. Changes nothing in it.
    pub(super) fn shared(directory: &Directory) -> Result<Lock> {
        let file = directory.open_if_there(LOCK_FILE_NAME, OFlags::RDONLY)?;
        Lock::take(directory, file, Exclusive::No)
    }

    fn take(directory: &Directory, file: Option<File>, exclusive: Exclusive) -> Result<Lock> {
        let failed = |source| directory.error("open the directory", "", source);
        let lock = Lock {
            fork_count: fork_count(),
            directory: directory.open_again().map_err(failed)?,
            file,
        };
        // Where the file system cannot lock a directory, the file has to do.
        let of_directory = try_lock(&lock.directory, exclusive);
        let of_file = lock.file.as_ref().map_or(Ok(()), |file| try_lock(file, exclusive));
        match (of_directory, of_file) {
            (Err(Errno::WOULDBLOCK), _) | (_, Err(Errno::WOULDBLOCK)) => {
                Err(in_use(directory, lock.file.as_ref(), exclusive))
            }
            (_, Err(errno)) => Err(directory.error("lock", LOCK_FILE_NAME, errno)),
            (_, Ok(())) => Ok(lock),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exclusive {
    Yes,
    No,
}

fn try_lock(file: impl AsFd, exclusive: Exclusive) -> rustix::io::Result<()> {
    let operation = match exclusive {
        Exclusive::Yes => FlockOperation::NonBlockingLockExclusive,
        Exclusive::No => FlockOperation::NonBlockingLockShared,
    };
    retry_on_intr(|| flock(&file, operation))
}

fn in_use(directory: &Directory, file: Option<&File>, exclusive: Exclusive) -> Error {
    let who = file.and_then(owner).map_or("a process".to_owned(), |id| format!("process {id}"));
    let message = match exclusive {
        Exclusive::Yes => {
            format!("{who} has it open; one process writes a graph at a time: close it there first")
        }
        Exclusive::No => format!("{who} has this graph open; close it, or take a backup there"),
    };
    Error::new(ErrorKind::InUse, message).at_path(&directory.path_of(LOCK_FILE_NAME))
}

/// Returns the number of the process that a lock file names.
fn owner(file: &File) -> Option<u32> {
    let mut bytes = [0; READ_BYTES_MAX];
    let read_bytes = file.read_at(&mut bytes, 0).ok()?;
    let text = str::from_utf8(&bytes[..read_bytes]).ok()?;
    text.lines().next()?.parse().ok()
}

impl Drop for Lock {
    /// Unlocks explicitly: a forked process may have the same open files, and would keep the lock.
    /// Such a process leaves the lock of the one it was forked from alone.
    fn drop(&mut self) {
        if fork_count() != self.fork_count {
            return;
        }
        // Where unlocking fails, the lock ends with the process as it always would.
        let _ = self.file.as_ref().map(|file| flock(file, FlockOperation::Unlock));
        let _ = flock(&self.directory, FlockOperation::Unlock);
    }
}
