//! The directory of a node: its graphs, and one small file that says which they are and how far
//! the table of gateways had come.
//!
//! The file is replaced as a whole. What it does not name is no part of the node and is removed.

use super::gateways::Gateways;
use crate::error::{Error, ErrorKind, Result};
use crate::shards::ShardSet;
use crate::{Durability, FollowGraph, Options};
use crc32fast::hash;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const CODEC: bincode::config::Configuration = bincode::config::standard();
const STATE_FILE: &str = "node";
const PART_PREFIX: &str = "part-";

/// One of the graphs of a node, and its directory there.
#[derive(Clone)]
pub(super) struct NodePart {
    pub(super) name: String,
    pub(super) graph: Arc<FollowGraph>,
    /// The shards whose lists it has.
    pub(super) hosted: ShardSet,
}

/// What the file holds.
#[derive(Default, Serialize, Deserialize)]
struct Saved {
    gateways: Vec<u8>,
    parts: Vec<String>,
}

/// The directory of a node.
pub(super) struct NodeDirectory {
    /// Absolute, so that it stays what it is when the process changes its working directory.
    path: PathBuf,
    /// The device and the number of the directory that was opened.
    identity: (u64, u64),
    next_part: AtomicU64,
    segment_bytes: u64,
}

/// What was found in the directory of a node.
pub(super) struct Found {
    pub(super) gateways: Gateways,
    pub(super) parts: Vec<NodePart>,
}

fn io<T>(action: &str, path: &Path, result: std::io::Result<T>) -> Result<T> {
    result.map_err(|source| Error::io(action, path, &source))
}

fn identity_of(path: &Path) -> Result<(u64, u64)> {
    let found = io("examine", path, fs::metadata(path))?;
    Ok((found.dev(), found.ino()))
}

impl NodeDirectory {
    /// Makes the directory where there is none.
    pub(super) fn open(path: &Path, segment_bytes: u64) -> Result<NodeDirectory> {
        let path = &io("find", path, std::path::absolute(path))?;
        io("make a directory", path, fs::create_dir_all(path))?;
        let identity = identity_of(path)?;
        let mut next_part = 0;
        for entry in io("list", path, fs::read_dir(path))? {
            let name = io("list", path, entry)?.file_name();
            let number =
                name.to_str().and_then(|name| name.strip_prefix(PART_PREFIX)?.parse().ok());
            next_part = next_part.max(number.map_or(0, |number: u64| number + 1));
        }
        let next_part = AtomicU64::new(next_part);
        Ok(NodeDirectory { path: path.clone(), identity, next_part, segment_bytes })
    }

    /// Refuses to go on where the path leads to another directory than the one that was opened:
    /// that may be the directory of another node.
    fn check(&self) -> Result<()> {
        if identity_of(&self.path)? == self.identity {
            return Ok(());
        }
        let message = "another directory was put in the place of the one of this node; put it \
                       back, or stop the node and start it where its directory is";
        Err(Error::new(ErrorKind::Io, message).at_path(&self.path))
    }

    /// What was saved last; `None` where nothing was. What an interrupted change left is removed.
    ///
    /// Errors: `Corrupt`, and those of opening the graphs.
    pub(super) fn load(&self) -> Result<Option<Found>> {
        let Some((gateways, names)) = read(&self.path)? else {
            self.remove_all_but(&[])?;
            return Ok(None);
        };
        self.remove_all_but(&names)?;
        let open = |name: &String| self.open_part(name);
        let parts = names.iter().map(open).collect::<Result<_>>()?;
        Ok(Some(Found { gateways, parts }))
    }

    /// Writes down which graphs the node has, and the table of gateways, whose position they have
    /// reached on disk.
    pub(super) fn save(&self, gateways: &Gateways, parts: &[NodePart]) -> Result<()> {
        self.check()?;
        let parts = parts.iter().map(|part| part.name.clone()).collect();
        let saved = Saved { gateways: gateways.encode(), parts };
        let mut bytes = bincode::serde::encode_to_vec(&saved, CODEC)
            .expect("the state of a node has no type bincode refuses");
        bytes.extend(hash(&bytes).to_le_bytes());
        let (path, temporary) = (self.path.join(STATE_FILE), self.path.join("node.tmp"));
        io("write", &temporary, fs::write(&temporary, bytes))?;
        let written = File::open(&temporary).and_then(|file| file.sync_all());
        io("sync", &temporary, written)?;
        io("rename", &path, fs::rename(&temporary, &path))?;
        io("sync", &self.path, File::open(&self.path).and_then(|file| file.sync_all()))
    }

    /// A name for a new graph, and the directory it goes to.
    pub(super) fn new_part(&self) -> (String, PathBuf) {
        let name = format!("{PART_PREFIX}{}", self.next_part.fetch_add(1, Ordering::Relaxed));
        let path = self.path.join(&name);
        (name, path)
    }

    /// Opens a graph of the node, or makes it.
    pub(super) fn open_part_with(&self, name: &str, options: Options) -> Result<NodePart> {
        self.check()?;
        // The log of the cluster has what a machine that loses power may take from a graph.
        let options = options.durability(Durability::Never).segment_bytes(self.segment_bytes);
        let graph = Arc::new(options.open(self.path.join(name))?);
        let hosted = graph.hosted_shards().unwrap_or(ShardSet::none());
        Ok(NodePart { name: name.to_owned(), graph, hosted })
    }

    /// Opens a graph of the node.
    pub(super) fn open_part(&self, name: &str) -> Result<NodePart> {
        self.open_part_with(name, Options::new().create(false))
    }

    /// A directory for what is only there for a while.
    pub(super) fn scratch(&self, what: &str) -> PathBuf {
        self.path.join(format!("scratch-{what}"))
    }

    /// The scratch directories of this kind that there are.
    pub(super) fn scratches(&self, what: &str) -> Result<Vec<PathBuf>> {
        let start = format!("scratch-{what}");
        let mut found = Vec::new();
        for entry in io("list", &self.path, fs::read_dir(&self.path))? {
            let entry = io("list", &self.path, entry)?;
            if entry.file_name().to_string_lossy().starts_with(&start) {
                found.push(entry.path());
            }
        }
        Ok(found)
    }

    /// Opens a graph that is there for a while only.
    pub(super) fn open_scratch(&self, path: &Path, options: Options) -> Result<NodePart> {
        let name = path.file_name().expect("a directory of this node").to_string_lossy();
        self.open_part_with(&name, options)
    }

    /// Removes a graph that is no longer part of the node, or a scratch directory.
    pub(super) fn remove(path: &Path) -> Result<()> {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("remove", path, &error))
            }
            _ => Ok(()),
        }
    }

    /// Removes the graph of this name.
    pub(super) fn remove_part(&self, name: &str) -> Result<()> {
        self.check()?;
        NodeDirectory::remove(&self.path.join(name))
    }

    /// Removes the graphs and scratch directories that are not these.
    pub(super) fn remove_all_but(&self, parts: &[String]) -> Result<()> {
        self.check()?;
        for entry in io("list", &self.path, fs::read_dir(&self.path))? {
            let entry = io("list", &self.path, entry)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_ours = name.starts_with(PART_PREFIX) || name.starts_with("scratch-");
            if is_ours && !parts.contains(&name) {
                NodeDirectory::remove(&entry.path())?;
            }
        }
        Ok(())
    }
}

/// What was saved last in the directory of a node, and where its graphs are. Nothing is changed.
///
/// Errors: `NotAGraph` where nothing was saved, `Corrupt`.
pub(super) fn peek(directory: &Path) -> Result<(Gateways, Vec<PathBuf>)> {
    let (gateways, names) = read(directory)?.ok_or_else(|| {
        let message = "this is not the directory of a node that was started";
        Error::new(ErrorKind::NotAGraph, message).at_path(directory)
    })?;
    Ok((gateways, names.iter().map(|name| directory.join(name)).collect()))
}

/// The table and the names of the graphs; `None` where nothing was saved.
fn read(directory: &Path) -> Result<Option<(Gateways, Vec<String>)>> {
    let path = directory.join(STATE_FILE);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", &path, &error)),
    };
    let saved = decode(&bytes).map_err(|error| error.at_path(&path))?;
    let gateways = Gateways::decode(&saved.gateways).map_err(|error| error.at_path(&path))?;
    Ok(Some((gateways, saved.parts)))
}

fn decode(bytes: &[u8]) -> Result<Saved> {
    let wrong = |what: &str| Error::corrupt(format!("the state of the node: {what}"));
    let (saved, checksum) = bytes.split_last_chunk().ok_or_else(|| wrong("too short"))?;
    if hash(saved) != u32::from_le_bytes(*checksum) {
        return Err(wrong("checksum"));
    }
    match bincode::serde::decode_from_slice(saved, CODEC) {
        Ok((saved, _)) => Ok(saved),
        Err(source) => Err(wrong(&source.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_writes_nothing_into_a_directory_that_took_the_place_of_its_own() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (path, aside) = (directory.path().join("node"), directory.path().join("aside"));
        let node = NodeDirectory::open(&path, 64 << 10).expect("it can be made");
        let (name, _) = node.new_part();
        let parts = [node.open_part_with(&name, Options::new()).expect("it can be made")];
        node.save(&Gateways::default(), &parts).expect("there is room");
        fs::rename(&path, &aside).expect("nothing is in the way");
        fs::create_dir(&path).expect("nothing is in the way");
        assert!(node.save(&Gateways::default(), &parts).is_err());
        assert!(node.open_part_with("part-1", Options::new()).is_err());
        assert!(node.remove_all_but(&[]).is_err() && node.remove_part(&name).is_err());
        assert_eq!(fs::read_dir(&path).expect("it is there").count(), 0);
        fs::remove_dir(&path).expect("it is empty");
        fs::rename(&aside, &path).expect("nothing is in the way");
        node.save(&Gateways::default(), &parts).expect("it is the same directory");
    }
}
