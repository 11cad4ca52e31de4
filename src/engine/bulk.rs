//! Bulk load: a whole edge list into an empty graph, by sorting and streaming an image.
//!
//! Names become ids ([`names`]), follows are sorted by either end (`edge_sorter.rs`), and an image
//! is built from them ([`build`]). Each step is done by as many threads as there are processors,
//! with a bounded number of jobs under way, and the outcome does not depend on their number.
//!
//! Until the image is on disk and has its name the graph is empty.

mod build;
mod discard;
pub(super) mod names;

use super::clock::check_given;
use super::{FollowGraph, Shared};
use crate::accounts::Accounts;
use crate::edge_sorter::{Edge, EdgeSorter, Ends, Line, LineNumber};
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
    /// The latest time that a follow may have.
    latest_given: u32,
    /// Set when follows were lost, and the load with them.
    failed: bool,
    _turn: LoadingTurn<'a>,
}

/// How a bulk load works.
///
/// ```
/// use followgraph::{BulkOptions, FollowGraph, Page};
/// let graph = FollowGraph::in_memory();
/// let mut load = graph.bulk_load_with(BulkOptions::new().keep_order(true))?;
/// for followed in ["carol", "bob"] {
///     load.add("bob", "carol", None)?;
///     load.add("alice", followed, None)?;
/// }
/// load.finish(&mut |_, _| {})?;
/// let page = graph.following("alice", Page::first(10))?;
/// let names: Vec<&str> = page.entries.iter().map(|entry| entry.account.as_str()).collect();
/// assert_eq!(names, ["bob", "carol"]);
/// # Ok::<(), followgraph::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct BulkOptions {
    memory_bytes: u64,
    keep_order: bool,
}

impl Default for BulkOptions {
    fn default() -> BulkOptions {
        BulkOptions { memory_bytes: 1 << 30, keep_order: false }
    }
}

impl BulkOptions {
    /// Returns the default options.
    pub fn new() -> BulkOptions {
        BulkOptions::default()
    }

    /// Sets the bound on the memory for the follows, 1 MiB at least; see
    /// [`bulk_load`](FollowGraph::bulk_load) for what comes on top. Default: 1 GiB.
    #[must_use]
    pub fn memory_bytes(mut self, bytes: u64) -> BulkOptions {
        self.memory_bytes = bytes;
        self
    }

    /// Sets whether follows with the same time, or without one, keep the order in which they are
    /// added: the later one is the newer. The lists are then the ones that a commit for each
    /// follow, in the same order, would give. Default: false; they are ordered by account id, the
    /// higher id first, which takes no space.
    ///
    /// Cost: 16 bytes more a follow while they are sorted, and in the graph the place of every
    /// follow in its two lists, unless a list is in the order of the account ids anyway: 2.5 bytes
    /// a follow more for the ego-Twitter graph (docs/encodings.md).
    #[must_use]
    pub fn keep_order(mut self, keep: bool) -> BulkOptions {
        self.keep_order = keep;
        self
    }
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
    /// their ids in the order in which their names first appear. Follows with the same time, or
    /// without one, are ordered by account id, not by the order in which they are added;
    /// [`bulk_load_with`](FollowGraph::bulk_load_with) can keep that order.
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
        self.bulk_load_with(BulkOptions::new().memory_bytes(memory_bytes))
    }

    /// Begins to load an edge list into this graph, as [`bulk_load`](FollowGraph::bulk_load) does,
    /// with more options.
    ///
    /// # Errors
    ///
    /// As [`bulk_load`](FollowGraph::bulk_load).
    pub fn bulk_load_with(&self, options: BulkOptions) -> Result<BulkLoad<'_>> {
        let shared = self.shared.as_ref();
        shared.refuse_if_not_writer()?;
        shared.refuse_if_not_empty()?;
        if self.hosted_shards().is_some() {
            let message = "a sharded graph is loaded through the log that it is fed from";
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        let turn = LoadingTurn::take(&shared.bulk_loading)?;
        let (identity, latest_given) = {
            let commit = shared.commit.lock();
            (commit.store.identity(), commit.time.latest_given())
        };
        let place = Box::new(shared.storage.clone());
        let sorter = if options.keep_order {
            Sorter::ByLine(EdgeSorter::new(place, options.memory_bytes, Ends::Both))
        } else {
            Sorter::ById(EdgeSorter::new(place, options.memory_bytes, Ends::Both))
        };
        Ok(BulkLoad {
            shared,
            names: Names::new(Accounts::empty(identity)),
            follows: Follows { sorter, count: 0, self_follow_count: 0 },
            latest_given,
            failed: false,
            _turn: turn,
        })
    }
}

/// The follows of a load, by id.
struct Follows {
    sorter: Sorter,
    /// How many were pushed, those of oneself apart.
    count: u64,
    self_follow_count: u64,
}

/// Sorts follows of the same time by account id, or keeps their lines.
enum Sorter {
    ById(EdgeSorter),
    ByLine(EdgeSorter<LineNumber>),
}

impl Follows {
    fn push(&mut self, edge: Edge) -> Result<()> {
        if edge.from == edge.to {
            self.self_follow_count += 1;
            return Ok(());
        }
        self.count += 1;
        match &mut self.sorter {
            Sorter::ById(sorter) => sorter.push(edge),
            Sorter::ByLine(sorter) => {
                let Edge { from, to, at, line: () } = edge;
                sorter.push(Edge { from, to, at, line: LineNumber::new(self.count) })
            }
        }
    }
}

impl BulkLoad<'_> {
    /// Adds a follow; accounts are made as their names first appear. A follow of oneself is
    /// counted and left out. Without a time the follow's time is not known.
    ///
    /// # Errors
    ///
    /// `InvalidName`, and `InvalidTime` for a time more than a day ahead of the clock: nothing was
    /// added, and the load can go on. `DiskFull` or `Io` when spilling
    /// this follow or one before it fails: the load cannot go on, and neither `add` nor `finish`
    /// will do anything more.
    pub fn add(&mut self, follower: &str, followed: &str, at: Option<u32>) -> Result<()> {
        for name in [follower, followed] {
            check_name(name).map_err(|error| error.about(name))?;
        }
        check_given(at.unwrap_or(0), self.latest_given)?;
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
    /// `progress` is told now and then how many of how many follows are written. Each follow that
    /// was added counts once; repeats count too, follows of oneself do not.
    ///
    /// Meanwhile the graph is empty for whoever asks it, and writes are `BulkLoading` errors. So
    /// they are in `progress`, where checkpoint, verify, backup and compare are `Reentrant`.
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
        let Follows { sorter, count, self_follow_count } = follows;
        let account_count = u64::from(accounts.len());
        let names = (accounts, overflow_name_bytes);
        let header = match sorter {
            Sorter::ById(sorter) => shared.load(names, sorter, progress)?,
            Sorter::ByLine(sorter) => shared.load(names, sorter, progress)?,
        };
        let follow_count = header.totals.following_entries;
        let duplicate_count = count - follow_count;
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
    /// Makes an image of sorted follows, and the image the graph.
    fn load<L: Line>(
        &self,
        (accounts, overflow_name_bytes): (Accounts, u64),
        sorter: EdgeSorter<L>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<ImageHeader> {
        let edges = sorter.finish()?;
        let loaded = Arc::new(Loaded { accounts, overflow_name_bytes, edges });
        self.replace_empty_graph(|position, file| {
            build::write_image(&loaded, position, file, progress)
        })
    }

    fn refuse_if_not_empty(&self) -> Result<()> {
        if self.state.read().accounts().len() == 0 {
            return Ok(());
        }
        let message = "a bulk load needs an empty graph; use `apply` for this one";
        Err(Error::new(ErrorKind::InvalidArgument, message))
    }

    /// Takes a sequence number for the load with an empty frame, and puts an image of that
    /// sequence in the place of the empty graph. While the image is written no lock is held that
    /// readers or figures need; writes are refused.
    fn replace_empty_graph(
        &self,
        write: impl FnOnce(Position, Box<dyn OutputFile>) -> Result<ImageHeader>,
    ) -> Result<ImageHeader> {
        self.refuse_if_forked()?;
        let _turn = self.checkpoint.take()?;
        let position = self.take_number_of_load()?;
        let building = Building(self);
        let (storage, sequence) = (self.storage.as_ref(), position.sequence);
        self.sync.wait_for(sequence)?;
        let header = write_named(storage, sequence, |file| write(position, file))?;
        // The image has its name now, on disk or not. A commit to the empty graph would not fit
        // after it, so none may follow.
        let graph = storage
            .sync_directory()
            .and_then(|()| Image::open(storage, sequence))
            .and_then(|image| Graph::open(storage, image))
            .map_err(|error| self.sync.latch(&error))?;
        let mut commit = self.commit.lock();
        // The graph may have been discarded meanwhile.
        self.refuse_if_latched(&commit)?;
        *self.state.write() = graph;
        let adopted = self.adopt(&mut commit, sequence, false);
        drop(commit);
        drop(building);
        adopted.map(|()| header)
    }

    /// Writes the empty frame of a load, begins a segment after it, and refuses writes from then
    /// on.
    fn take_number_of_load(&self) -> Result<Position> {
        let mut guard = self.commit.lock();
        let commit = &mut *guard;
        self.refuse_if_latched(commit)?;
        self.refuse_if_not_empty()?;
        let sequence = next_sequence(commit.sequence)?;
        commit.store.reserve(crate::log::frame_bytes(8) as u64, sequence, &self.sync)?;
        commit.records.clear();
        self.append_frame(commit, sequence, self.sync.durable(), None);
        self.state.write().commit(sequence, None);
        commit.store.seal(sequence + 1, &self.sync)?;
        commit.bulk_loading = true;
        Ok(self.state.read().position())
    }
}

/// An image of a load is being written. Dropped, it lets writes in again.
struct Building<'a>(&'a Shared);

impl Drop for Building<'_> {
    fn drop(&mut self) {
        self.0.commit.lock().bulk_loading = false;
    }
}
