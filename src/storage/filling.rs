//! A directory that a call fills, and that is as it was before when the call fails.

use super::{DirectoryStorage, Storage};
use crate::error::Result;
use crate::format::{FileKind, LOCK_FILE_NAME, file_kind};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Opens a directory, makes it where it is missing, and does some work in it. When the work fails
/// in a directory that was empty or missing before, its files are removed again, and the
/// directories that were made with it. The lock is held until then.
pub(crate) fn fill<T>(
    directory: &Path,
    work: impl FnOnce(&Arc<DirectoryStorage>) -> Result<T>,
) -> Result<T> {
    let before = Before::of(directory);
    let opened = DirectoryStorage::open(directory, true).map(Arc::new);
    let storage = opened.inspect_err(|_| before.remove_directories())?;
    // Looked at again under the lock: another process may have filled it since.
    let names = storage.list()?;
    let is_empty = names.iter().all(|(name, _)| matches!(file_kind(name), FileKind::Lock));
    work(&storage).inspect_err(|_| {
        if before.was_empty && is_empty && remove_graph(storage.as_ref()).is_ok() {
            before.remove_directories();
        }
    })
}

/// Removes every file of a graph, the lock file last.
pub(crate) fn remove_graph(storage: &dyn Storage) -> Result<()> {
    for (name, _) in storage.list()? {
        match file_kind(&name) {
            FileKind::Image(_)
            | FileKind::Log(_)
            | FileKind::Consumer
            | FileKind::Temporary
            | FileKind::Unfinished => storage.remove(&name)?,
            FileKind::Lock | FileKind::Foreign => {}
        }
    }
    storage.remove(LOCK_FILE_NAME)
}

/// What there was of a directory.
struct Before {
    was_empty: bool,
    /// The directories that were missing, the innermost first.
    missing: Vec<PathBuf>,
}

impl Before {
    fn of(directory: &Path) -> Before {
        let was_empty =
            fs::read_dir(directory).map_or(true, |mut entries| entries.next().is_none());
        let ancestors = directory.ancestors().filter(|path| !path.as_os_str().is_empty());
        let missing = ancestors.take_while(|path| !path.exists()).map(Path::to_owned).collect();
        Before { was_empty, missing }
    }

    /// Removes the directories that were missing, as long as they are empty.
    fn remove_directories(&self) {
        // Somebody else may have put something there since; then it stays.
        let _ = self.missing.iter().try_for_each(fs::remove_dir);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, ErrorKind};

    fn fail_in(directory: &Path) {
        let failed = fill(directory, |storage| -> Result<()> {
            storage.create("image-0000000000000000.fgi.tmp")?;
            storage.create("image-0000000000000001.fgi")?;
            Err(Error::bare(ErrorKind::DiskFull))
        });
        assert_eq!(failed.unwrap_err().kind(), ErrorKind::DiskFull);
    }

    #[test]
    fn a_directory_that_could_not_be_filled_is_as_it_was() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let entries = |path: &Path| fs::read_dir(path).expect("it can be listed").count();
        fail_in(&directory.path().join("made/with/parents"));
        assert_eq!(entries(directory.path()), 0, "directories were left");
        let empty = directory.path().join("empty");
        fs::create_dir(&empty).expect("it can be made");
        fail_in(&empty);
        assert_eq!(entries(&empty), 0, "files were left");
        fs::write(empty.join("lock"), b"").expect("it can be written");
        fail_in(&empty);
        assert_eq!(entries(&empty), 3, "it was not empty, so nothing may be removed");
    }
}
