//! Files that are written once, read back, and gone with the process that wrote them.

use super::directory::Directory;
use super::{Bytes, DirectoryFile, OutputFile, Storage, map_file, random_bytes};
use crate::error::{Error, ErrorKind, Result};
use crate::locks::Mutex;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A place for such files.
pub(crate) trait Scratch: Send + Sync {
    /// Makes an empty file for writing, replacing one of that name.
    fn create(&self, name: &str) -> Result<Box<dyn OutputFile>>;
    /// The first `len_bytes` bytes of a file (or all there are), read-only.
    fn map(&self, name: &str, len_bytes: u64) -> Result<Bytes>;
    /// Removes a file.
    fn remove(&self, name: &str) -> Result<()>;
    /// What to call a file in a message.
    fn path(&self, name: &str) -> PathBuf;
}

/// The directory of a graph, where opening removes what a killed process left.
impl<S: Storage + ?Sized> Scratch for Arc<S> {
    fn create(&self, name: &str) -> Result<Box<dyn OutputFile>> {
        Storage::create(self.as_ref(), name)
    }

    fn map(&self, name: &str, len_bytes: u64) -> Result<Bytes> {
        Storage::map(self.as_ref(), name, len_bytes)
    }

    fn remove(&self, name: &str) -> Result<()> {
        Storage::remove(self.as_ref(), name)
    }

    fn path(&self, name: &str) -> PathBuf {
        Storage::path(self.as_ref(), name)
    }
}

/// Files in a directory that belongs to others too. Each loses its name as soon as it is made, so
/// that its room is given back however this process ends, and nobody meets it.
pub(crate) struct ScratchDirectory {
    directory: Directory,
    files: Mutex<BTreeMap<String, File>>,
}

impl ScratchDirectory {
    /// A place in a directory that is there.
    ///
    /// # Errors
    /// `InvalidArgument` when it is none.
    pub(crate) fn new(directory: &Path) -> Result<ScratchDirectory> {
        let directory = Directory::open(directory, false).map_err(|source| {
            let message = format!("temporary files need a directory that is there: {source}");
            Error::new(ErrorKind::InvalidArgument, message).at_path(directory)
        })?;
        Ok(ScratchDirectory { directory, files: Mutex::default() })
    }
}

impl Scratch for ScratchDirectory {
    fn create(&self, name: &str) -> Result<Box<dyn OutputFile>> {
        let unique = u128::from_le_bytes(random_bytes()?);
        let unique = format!("followgraph-{unique:032x}-{name}");
        let file = self.directory.create(&unique)?;
        self.directory.remove(&unique)?;
        let kept = file.try_clone();
        let kept = kept.map_err(|source| self.directory.error("create", &unique, source))?;
        self.files.lock().insert(name.to_owned(), kept);
        Ok(Box::new(DirectoryFile { file, path: self.path(name) }))
    }

    fn map(&self, name: &str, len_bytes: u64) -> Result<Bytes> {
        let (files, path) = (self.files.lock(), self.path(name));
        let missing = || Error::io("open", &path, &std::io::ErrorKind::NotFound.into());
        map_file(files.get(name).ok_or_else(missing)?, &path, 0, len_bytes)
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.files.lock().remove(name);
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path_of(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scratch_file_has_no_name_and_can_be_read_back() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let place = ScratchDirectory::new(directory.path()).expect("it is there");
        let mut file = place.create("runs").expect("it can be made");
        file.write_at(0, b"12345").expect("there is room");
        let entries = || std::fs::read_dir(directory.path()).expect("it can be read").count();
        assert_eq!(entries(), 0, "a killed process would leave it");
        assert_eq!(&*place.map("runs", u64::MAX).expect("it is there"), b"12345");
        assert_eq!(&*place.map("runs", 2).expect("it is there"), b"12");
        place.remove("runs").expect("nothing keeps it");
        assert!(place.map("runs", 2).is_err());
        let error = ScratchDirectory::new(&directory.path().join("no")).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
}
