//! A directory of the file system that is held open.
//!
//! Every file is opened, listed, renamed and removed relative to the descriptor of the directory.
//! So the files stay those of the directory that was opened when its path comes to lead elsewhere,
//! or the process changes its working directory. The path is for messages.

use crate::error::{Error, ErrorKind, Result};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, fsync, openat, renameat, stat, statat,
    unlinkat,
};
use rustix::io::{Errno, retry_on_intr};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The device and the number of a file, which no other file has at the same time.
pub(super) type FileIdentity = (u64, u64);

/// A directory, open.
pub(super) struct Directory {
    descriptor: OwnedFd,
    /// The path it was opened by, made absolute.
    path: PathBuf,
    identity: FileIdentity,
    /// Whether errors advise to make the files readable rather than writable.
    only_reads: bool,
}

/// Returns the identity of a file.
pub(super) fn identity_of(found: &Stat) -> FileIdentity {
    (found.st_dev, found.st_ino)
}

impl Directory {
    /// Opens a directory that exists.
    pub(super) fn open(path: &Path, only_reads: bool) -> io::Result<Directory> {
        let path = std::path::absolute(path)?;
        let descriptor = open_directory(CWD, &path)?;
        let identity = identity_of(&fstat(&descriptor)?);
        Ok(Directory { descriptor, path, identity, only_reads })
    }

    /// Returns the path that the directory was opened by.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns what to call a file in a message, or with no name the directory.
    pub(super) fn path_of(&self, name: &str) -> PathBuf {
        if name.is_empty() { self.path.clone() } else { self.path.join(name) }
    }

    /// Opens the directory once more, as an open file that has locks of its own.
    pub(super) fn open_again(&self) -> io::Result<OwnedFd> {
        open_directory(&self.descriptor, Path::new("."))
    }

    /// Opens a regular file; symbolic links are followed. `None` where there is no such file.
    ///
    /// This is the one place that decides what may be a file of a graph: a FIFO or a device under
    /// such a name must neither block nor be read.
    pub(super) fn open_if_there(&self, name: &str, access: OFlags) -> Result<Option<File>> {
        let flags = access | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o666);
        let opened = retry_on_intr(|| openat(&self.descriptor, name, flags, mode));
        let file = match opened {
            Ok(descriptor) => File::from(descriptor),
            Err(errno) => {
                // Sockets cannot be opened at all, and directories not for writing.
                let follow = if access.contains(OFlags::NOFOLLOW) {
                    AtFlags::SYMLINK_NOFOLLOW
                } else {
                    AtFlags::empty()
                };
                if let Ok(found) = statat(&self.descriptor, name, follow) {
                    self.refuse_irregular(name, &found)?;
                }
                if errno == Errno::NOENT {
                    return Ok(None);
                }
                return Err(self.error("open", name, errno));
            }
        };
        let found = fstat(&file).map_err(|errno| self.error("examine", name, errno))?;
        self.refuse_irregular(name, &found)?;
        Ok(Some(file))
    }

    /// Opens a regular file that exists; symbolic links are followed.
    pub(super) fn open_regular(&self, name: &str, access: OFlags) -> Result<File> {
        let missing = || self.error("open", name, io::Error::from(io::ErrorKind::NotFound));
        self.open_if_there(name, access)?.ok_or_else(missing)
    }

    /// Makes an empty file for reading and writing, replacing the content of one of that name.
    pub(super) fn create(&self, name: &str) -> Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW;
        self.open_regular(name, flags)
    }

    fn refuse_irregular(&self, name: &str, found: &Stat) -> Result<()> {
        let kind = match FileType::from_raw_mode(found.st_mode) {
            FileType::RegularFile => return Ok(()),
            FileType::Directory => "directory",
            FileType::Fifo => "FIFO",
            FileType::Socket => "socket",
            FileType::Symlink => "symbolic link",
            FileType::CharacterDevice | FileType::BlockDevice => "device",
            FileType::Unknown => "file of an unknown type",
        };
        let message = format!("there is a {kind} in the place of a regular file; move it away");
        Err(Error::corrupt(message).at_path(&self.path_of(name)))
    }

    /// Returns the identity of the file that a name leads to. `None` where there is none.
    pub(super) fn identity_at(&self, name: &str) -> Result<Option<FileIdentity>> {
        match statat(&self.descriptor, name, AtFlags::empty()) {
            Ok(found) => Ok(Some(identity_of(&found))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.error("examine", name, errno)),
        }
    }

    /// Returns the names and lengths of all files. A link that leads nowhere has no length, but is
    /// there: to open it is an error, and to overlook it would be to overlook what it stood for.
    pub(super) fn list(&self) -> Result<Vec<(String, u64)>> {
        let failed = |errno: Errno| self.error("list the directory", "", errno);
        let mut files = Vec::new();
        for entry in Dir::read_from(&self.descriptor).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            if [c".", c".."].contains(&name) {
                continue;
            }
            let found = statat(&self.descriptor, name, AtFlags::empty());
            let len_bytes = match found {
                Ok(found) => u64::try_from(found.st_size).unwrap_or(0),
                Err(_) => match statat(&self.descriptor, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(_) => 0,
                    // It was removed since its name was read.
                    Err(Errno::NOENT) => continue,
                    Err(errno) => return Err(failed(errno)),
                },
            };
            files.push((name.to_string_lossy().into_owned(), len_bytes));
        }
        Ok(files)
    }

    /// Gives a file another name, replacing one of that name.
    pub(super) fn rename(&self, from: &str, to: &str) -> Result<()> {
        renameat(&self.descriptor, from, &self.descriptor, to)
            .map_err(|errno| self.error("rename", from, errno))
    }

    /// Removes a file.
    pub(super) fn remove(&self, name: &str) -> Result<()> {
        unlinkat(&self.descriptor, name, AtFlags::empty())
            .map_err(|errno| self.error("remove", name, errno))
    }

    /// Makes creations, renames and removals durable.
    pub(super) fn sync(&self) -> Result<()> {
        retry_on_intr(|| fsync(&self.descriptor))
            .map_err(|errno| self.error("sync the directory", "", errno))
    }

    /// Says that the path leads elsewhere now, and where the directory is, once that is so.
    pub(super) fn moved(&self) -> Option<String> {
        let path = self.path.display();
        let fate = match stat(&self.path) {
            Ok(found) if identity_of(&found) == self.identity => return None,
            Ok(_) => "is another directory now",
            Err(Errno::NOENT | Errno::NOTDIR) => "is no longer there",
            // Whether it leads elsewhere cannot be known.
            Err(_) => return None,
        };
        let link = format!("/proc/self/fd/{}", self.descriptor.as_raw_fd());
        let now = std::fs::read_link(link).ok().filter(|now| *now != self.path);
        let now = now.map_or(String::new(), |now| format!(", which is {} now", now.display()));
        Some(format!("{path} {fate}; the graph goes on in the directory that was opened{now}"))
    }

    /// Wraps what the operating system said about a file, or with no name about the directory.
    #[cold]
    pub(super) fn error(&self, action: &str, name: &str, source: impl Into<io::Error>) -> Error {
        let source = source.into();
        let path = self.path_of(name);
        if !self.only_reads {
            return Error::io(action, &path, &source);
        }
        let advice = match source.kind() {
            io::ErrorKind::PermissionDenied => {
                "; the directory and its files must be readable by this process"
            }
            _ => "",
        };
        Error::new(ErrorKind::Io, format!("cannot {action}: {source}{advice}")).at_path(&path)
    }
}

fn open_directory(from: impl std::os::fd::AsFd, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(retry_on_intr(|| openat(&from, path, flags, Mode::empty()))?)
}
