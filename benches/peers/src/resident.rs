//! What a process has in memory and a directory on disk.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Resident memory of a process: its own, and what is mapped from files.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Resident {
    pub(crate) anonymous_bytes: u64,
    pub(crate) file_bytes: u64,
}

impl Resident {
    /// Of this process.
    pub(crate) fn own() -> Result<Resident> {
        Resident::of(std::process::id())
    }

    pub(crate) fn of(process: u32) -> Result<Resident> {
        let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
        let bytes = |field: &str| -> Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(field));
            let number = line.and_then(|line| line.split_whitespace().next());
            let kibibytes: u64 = number.with_context(|| format!("no {field}"))?.parse()?;
            Ok(kibibytes * 1024)
        };
        Ok(Resident {
            anonymous_bytes: bytes("RssAnon:")? + bytes("RssShmem:")?,
            file_bytes: bytes("RssFile:")?,
        })
    }
}

/// What all files below a directory take on disk. Holes take nothing, space allocated in advance
/// counts.
pub(crate) fn disk_bytes(directory: &Path) -> Result<u64> {
    const BLOCK_BYTES: u64 = 512;
    let mut sum = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            sum += disk_bytes(&entry.path())?;
        } else if metadata.is_file() {
            sum += metadata.blocks() * BLOCK_BYTES;
        }
    }
    Ok(sum)
}
