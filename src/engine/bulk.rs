//! Bulk load: a whole edge list into an empty graph, by sorting and streaming an image.
//!
//! Names become ids ([`names`]), follows are sorted by either end (`edge_sorter.rs`), and an image
//! is built from them ([`build`]). Each step is done by as many threads as there are processors,
//! with a bounded number of jobs under way, and the outcome does not depend on their number.
//!
//! Until the image is on disk and has its name the graph is empty.

mod build;
pub(super) mod names;

use super::{Commit, FollowGraph, Shared};
use crate::accounts::Accounts;
use crate::edge_sorter::{Edge, EdgeSorter, Ends};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{check_name, next_sequence};
use crate::graph::Graph;
use crate::image::{Image, ImageHeader, Position};
use crate::storage::OutputFile;
use crate::store::write_named;
use build::Loaded;
use names::Names;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A bulk load under way. Dropping it without [`finish`](BulkLoad::finish) leaves the graph empty.
pub struct BulkLoad<'a> {
    shared: &'a Shared,
    names: Names,
    follows: Follows,
    /// Set when follows were lost, and the load with them.
    failed: bool,
    _turn: LoadingTurn<'a>,
}

/// What a bulk load did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BulkReport {
    /// Accounts added.
    pub account_count: u64,
    /// Follows loaded.
    pub follow_count: u64,
    /// Follows of oneself, left out.
    pub self_follow_count: u64,
    /// Repeated follows, left out: the first one counts.
    pub duplicate_count: u64,
}

impl FollowGraph {
    /// Begins to load an edge list into this graph, which must be empty.
    ///
    /// `memory_bytes` (1 MiB at least) bounds the memory for the follows: buffers, sorted follows,
    /// and what merging them takes. What exceeds it goes to a temporary file beside the graph.
    /// Three things come on top: the names, with 100 to 125 bytes an account and what they have
    /// beyond 40 bytes; about a megabyte a processor for follows whose names are being looked up;
    /// and, where one account alone has more follows than fit, those.
    ///
    /// All processors are used. The outcome is the same for any number of them: accounts get
    /// their ids in the order in which their names first appear.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` when the graph is not empty or another load is under way; `ReadOnly`.
    ///
    /// ```
    /// let graph = followgraph::FollowGraph::in_memory();
    /// let mut load = graph.bulk_load(64 << 20)?;
    /// load.add("alice", "bob", None)?;
    /// load.add("bob", "alice", None)?;
    /// let report = load.finish(&mut |_done, _total| {})?;
    /// assert_eq!((report.account_count, report.follow_count), (2, 2));
    /// assert_eq!(graph.counts("alice")?.mutual, 1);
    /// # Ok::<(), followgraph::Error>(())
    /// ```
    pub fn bulk_load(&self, memory_bytes: u64) -> Result<BulkLoad<'_>> {
        let shared = self.shared.as_ref();
        shared.refuse_if_not_writer()?;
        shared.refuse_if_not_empty()?;
        if self.hosted_shards().is_some() {
            let message = "a sharded graph is loaded through the log that it is fed from";
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        let turn = LoadingTurn::take(&shared.bulk_loading)?;
        let identity = shared.commit.lock().store.identity();
        let sorter = EdgeSorter::new(Box::new(shared.storage.clone()), memory_bytes, Ends::Both);
        Ok(BulkLoad {
            shared,
            names: Names::new(Accounts::empty(identity)),
            follows: Follows { sorter, self_follow_count: 0 },
            failed: false,
            _turn: turn,
        })
    }
}

/// The follows of a load, by id.
struct Follows {
    sorter: EdgeSorter,
    self_follow_count: u64,
}

impl Follows {
    fn push(&mut self, edge: Edge) -> Result<()> {
        if edge.from == edge.to {
            self.self_follow_count += 1;
            return Ok(());
        }
        self.sorter.push(edge)
    }
}

impl BulkLoad<'_> {
    /// Adds a follow; accounts are made as their names first appear. A follow of oneself is
    /// counted and left out. Without a time the follow's time is not known.
    ///
    /// # Errors
    ///
    /// `InvalidName`: nothing was added, and the load can go on. `DiskFull` or `Io` when spilling
    /// this follow or one before it fails: the load cannot go on, and neither `add` nor `finish`
    /// will do anything more.
    pub fn add(&mut self, follower: &str, followed: &str, at: Option<u32>) -> Result<()> {
        for name in [follower, followed] {
            check_name(name).map_err(|error| error.about(name))?;
        }
        self.refuse_if_failed()?;
        let follows = &mut self.follows;
        let mut take = |edge| follows.push(edge);
        let added = self.names.push(follower, followed, at.unwrap_or(0), &mut take);
        self.failed = added.is_err();
        added
    }

    fn refuse_if_failed(&self) -> Result<()> {
        if !self.failed {
            return Ok(());
        }
        let message = "this load failed before and has lost follows; begin another one";
        Err(Error::new(ErrorKind::InvalidArgument, message))
    }

    /// Sorts the follows, streams them out as an image, recounts it, and makes it the graph.
    /// `progress` is told now and then how many of how many entries are written; every follow is
    /// an entry of two lists, and repeats are counted.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` when the graph is no longer empty, or this load failed before;
    /// `DiskFull`, `Io`, `AuditFailed`: the graph is as it was. `Latched` when the image was
    /// written and its name could not be made durable, or it could not be read: all of the load
    /// may or may not be there when the graph is opened again.
    pub fn finish(self, progress: &mut dyn FnMut(u64, u64)) -> Result<BulkReport> {
        self.refuse_if_failed()?;
        // Named first, the turn ends last: not before the spill file is gone.
        let BulkLoad { _turn, shared, names, mut follows, .. } = self;
        let (accounts, overflow_name_bytes) = names.finish(&mut |edge| follows.push(edge))?;
        let Follows { sorter, self_follow_count } = follows;
        let edges = sorter.finish()?;
        let pushed_count = edges.pushed_count();
        let account_count = u64::from(accounts.len());
        let loaded = Arc::new(Loaded { accounts, overflow_name_bytes, edges });
        let header = shared.replace_empty_graph(|position, file| {
            build::write_image(&loaded, position, file, progress)
        })?;
        let follow_count = header.totals.following_entries;
        let duplicate_count = pushed_count - follow_count;
        Ok(BulkReport { account_count, follow_count, self_follow_count, duplicate_count })
    }
}

/// One load at a time: their spill files have the same name.
struct LoadingTurn<'a>(&'a AtomicBool);

impl LoadingTurn<'_> {
    fn take(loading: &AtomicBool) -> Result<LoadingTurn<'_>> {
        if loading.swap(true, Ordering::AcqRel) {
            let message = "another bulk load is under way";
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        Ok(LoadingTurn(loading))
    }
}

impl Drop for LoadingTurn<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Shared {
    fn refuse_if_not_empty(&self) -> Result<()> {
        if self.state.read().accounts().len() == 0 {
            return Ok(());
        }
        let message = "a bulk load needs an empty graph; use `apply` for this one";
        Err(Error::new(ErrorKind::InvalidArgument, message))
    }

    /// Takes a sequence number for the load with an empty frame, and puts an image of that
    /// sequence in the place of the empty graph. Writers wait meanwhile.
    fn replace_empty_graph(
        &self,
        write: impl FnOnce(Position, Box<dyn OutputFile>) -> Result<ImageHeader>,
    ) -> Result<ImageHeader> {
        self.refuse_if_forked()?;
        let _one_at_a_time = self.checkpoint.lock();
        let mut guard = self.commit.lock();
        let commit: &mut Commit = &mut guard;
        self.refuse_if_latched(commit)?;
        self.refuse_if_not_empty()?;
        let sequence = next_sequence(commit.sequence)?;
        commit.store.reserve(crate::log::frame_bytes(8) as u64, sequence, &self.sync)?;
        commit.records.clear();
        self.append_frame(commit, sequence, self.sync.durable(), None);
        self.state.write().commit(sequence, None);
        commit.store.seal(sequence + 1, &self.sync)?;
        self.sync.wait_for(sequence)?;

        let storage = self.storage.as_ref();
        let position = self.state.read().position();
        let header = write_named(storage, sequence, |file| write(position, file))?;
        // The image has its name now, on disk or not. A commit to the empty graph would not fit
        // behind it, so none may follow.
        let graph = storage
            .sync_directory()
            .and_then(|()| Image::open(storage, sequence))
            .and_then(|image| Graph::open(storage, image))
            .map_err(|error| self.sync.latch(&error))?;
        *self.state.write() = graph;
        self.adopt(commit, sequence, false)?;
        Ok(header)
    }
}
