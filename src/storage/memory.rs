//! A directory on the heap, for graphs that live in memory.

use super::{Bytes, LogFile, LogSync, OutputFile, PrivateBytes, Storage};
use crate::error::{Error, Result};
use crate::locks::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

type SharedBytes = Arc<Mutex<Vec<u8>>>;

/// A directory on the heap, for graphs that live in memory.
#[derive(Clone, Default)]
pub(crate) struct MemoryStorage {
    files: Arc<Mutex<BTreeMap<String, SharedBytes>>>,
}

impl MemoryStorage {
    fn file(&self, name: &str) -> Result<SharedBytes> {
        let missing = || Error::io("open", &self.path(name), &io::ErrorKind::NotFound.into());
        self.files.lock().get(name).cloned().ok_or_else(missing)
    }

    fn insert(&self, name: &str, bytes: Vec<u8>) -> SharedBytes {
        let file = Arc::new(Mutex::new(bytes));
        self.files.lock().insert(name.to_owned(), file.clone());
        file
    }
}

impl Storage for MemoryStorage {
    fn list(&self) -> Result<Vec<(String, u64)>> {
        let files = self.files.lock();
        Ok(files.iter().map(|(name, file)| (name.clone(), file.lock().len() as u64)).collect())
    }

    fn map_range(&self, name: &str, offset_bytes: u64, len_bytes: u64) -> Result<Bytes> {
        let file = self.file(name)?;
        let bytes = file.lock();
        let within = |place: u64| bytes.len().min(usize::try_from(place).unwrap_or(usize::MAX));
        let range = within(offset_bytes)..within(offset_bytes.saturating_add(len_bytes));
        Ok(Bytes::Owned(Arc::new(bytes[range].to_vec())))
    }

    fn map_private(&self, name: &str, offset_bytes: u64, len_bytes: u64) -> Result<PrivateBytes> {
        let file = self.file(name)?;
        let bytes = file.lock();
        let range = offset_bytes as usize..(offset_bytes + len_bytes) as usize;
        let bytes = bytes.get(range).ok_or_else(|| {
            Error::corrupt("the file is shorter than its header says").at_path(&self.path(name))
        })?;
        Ok(PrivateBytes::Owned(bytes.to_vec()))
    }

    fn create(&self, name: &str) -> Result<Box<dyn OutputFile>> {
        Ok(Box::new(MemoryFile { bytes: self.insert(name, Vec::new()) }))
    }

    fn create_log(&self, name: &str, len_bytes: u64) -> Result<Box<dyn LogFile>> {
        Ok(Box::new(MemoryFile { bytes: self.insert(name, vec![0; len_bytes as usize]) }))
    }

    fn open_log(&self, name: &str, len_bytes: u64) -> Result<Box<dyn LogFile>> {
        let bytes = self.file(name)?;
        if (bytes.lock().len() as u64) < len_bytes {
            bytes.lock().resize(len_bytes as usize, 0);
        }
        Ok(Box::new(MemoryFile { bytes }))
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let file = self.file(from)?;
        let mut files = self.files.lock();
        files.remove(from);
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.files.lock().remove(name);
        Ok(())
    }

    fn sync_directory(&self) -> Result<()> {
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("memory:{name}"))
    }
}

struct MemoryFile {
    bytes: SharedBytes,
}

impl OutputFile for MemoryFile {
    fn write_at(&mut self, offset_bytes: u64, bytes: &[u8]) -> Result<()> {
        let mut file = self.bytes.lock();
        let start = offset_bytes as usize;
        let end = start + bytes.len();
        if file.len() < end {
            file.resize(end, 0);
        }
        file[start..end].copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        Ok(())
    }
}

impl LogFile for MemoryFile {
    fn write_at(&mut self, offset_bytes: u64, bytes: &[u8]) {
        let start = offset_bytes as usize;
        self.bytes.lock()[start..start + bytes.len()].copy_from_slice(bytes);
    }

    fn rewrite(&mut self, _start_bytes: u64, _end_bytes: u64) {}

    fn len_bytes(&self) -> u64 {
        self.bytes.lock().len() as u64
    }

    fn truncate(&mut self, len_bytes: u64) -> Result<()> {
        self.bytes.lock().truncate(len_bytes as usize);
        Ok(())
    }

    fn syncer(&self) -> Arc<dyn LogSync> {
        Arc::new(MemorySync)
    }
}

struct MemorySync;

impl LogSync for MemorySync {
    fn sync(&self) -> Result<()> {
        Ok(())
    }
}
