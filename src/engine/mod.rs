//! The public handle: options, the locks, the commit.
//!
//! **Lock order**: checkpoint lock, commit lock, state lock, sync lock; each may be taken without
//! those before it, never against the order. The locks of consumers are taken before the commit
//! lock, and no writer takes them. The commit lock makes writers take turns. The state lock is held
//! alone only while records are applied in memory, never while a disk is waited for, so readers
//! never wait for a disk, and hardly ever for a writer.

mod audit;
mod background;
mod backup;
mod bulk;
mod care;
mod checkpoint_lock;
mod clock;
mod closing;
mod commit;
mod compare;
mod consumers;
mod feed;
mod mutation;
mod options;
mod reader;
mod reads;
mod removal;
mod repair;
mod salvage;
mod shards;
mod state;
#[cfg(test)]
pub(crate) mod tests;
mod view;

pub use backup::RestoreTo;
pub use bulk::{BulkLoad, BulkOptions, BulkReport};
pub use compare::{CompareEvent, Comparing, Comparison, Difference};
pub use consumers::Consumer;
pub use feed::{Canceller, Changes};
pub use mutation::Mutation;
pub use options::{Clock, Durability, MonotonicClock, Options};
pub use repair::{Fate, RemovalLimit, Repair, RepairEvent, RepairOptions};
pub use salvage::salvage;
pub use view::View;

use crate::error::{Error, ErrorKind, Result};
use crate::locks::Mutex;
use crate::storage::{ReadOnlyDirectory, Storage, fork_count};
use crate::store::{Opened, Store, Watched, verify_newest_image};
use crate::sync::GroupSync;
use crate::types::{AccountId, Outcome, Recovery};
use crate::workers::processor_count;
use background::Background;
use checkpoint_lock::CheckpointLock;
use clock::Timekeeper;
use commit::Commit;
use consumers::Consumers;
use feed::Feed;
use reader::{OthersLog, Reader};
use state::State;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// A follow graph, open for reading and writing, or for reading what another process writes.
///
/// Share it between threads in an [`Arc`]: every method takes `&self`. One process at a time has a
/// directory open to write; any number of others [read](FollowGraph::open_read_only) what it
/// writes. Dropping the handle ends the [`Changes`] and [`Consumer`]s that came from it, and waits
/// until everything committed is on disk.
///
/// A handle belongs to the directory it opened: it goes on there when the path comes to lead
/// elsewhere, which [`Stats::directory_moved`](crate::Stats::directory_moved) says, or when the
/// process changes its working directory.
///
/// A handle also belongs to the process that opened it. A forked process may drop its copy of the
/// handle, which does nothing, and must not use it otherwise: writes are
/// [`InUse`](ErrorKind::InUse) errors, and reads may wait forever for a thread that was not forked.
/// Open the graph in the forked process instead; to write, after the other one has closed it.
///
/// A program that runs under a limit of the file size (`RLIMIT_FSIZE`) has to ignore or handle
/// `SIGXFSZ`, or the signal ends it; then reaching the limit is a [`DiskFull`](ErrorKind::DiskFull)
/// error.
///
/// ```
/// use followgraph::{Counts, FollowGraph};
/// let directory = tempfile::tempdir()?;
/// let graph = FollowGraph::open(directory.path().join("graph"))?;
/// for name in ["alice", "bob", "carol"] {
///     graph.add_account(name)?;
/// }
/// graph.follow("alice", "bob")?;
/// graph.follow("bob", "alice")?;
/// graph.follow("carol", "bob")?;
/// assert_eq!(graph.counts("bob")?, Counts { followers: 2, following: 1, mutual: 1 });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct FollowGraph {
    shared: Arc<Shared>,
    background: Background,
}

/// What the handle and its background threads share.
struct Shared {
    options: Options,
    storage: Arc<dyn Storage>,
    checkpoint: CheckpointLock,
    commit: Mutex<Commit>,
    state: State,
    sync: Arc<GroupSync>,
    feed: Arc<Feed>,
    consumers: Arc<Consumers>,
    signal: background::Signal,
    bulk_loading: AtomicBool,
    recovery: Recovery,
    /// The process that opened the graph; one that was forked from it only drops the handle.
    fork_count: u32,
    /// Present on a handle that only reads.
    reader: Option<Reader>,
}

impl FollowGraph {
    /// Opens the graph in a directory with the default [`Options`], or makes one there.
    ///
    /// # Errors
    ///
    /// As [`Options::open`].
    pub fn open(directory: impl AsRef<Path>) -> Result<FollowGraph> {
        Options::new().open(directory)
    }

    /// Opens the graph in a directory to read it, beside the process that writes it, with the
    /// default [`Options`].
    ///
    /// # Errors
    ///
    /// As [`Options::open_read_only`], which says what such a handle does.
    ///
    /// ```
    /// use followgraph::{ErrorKind, FollowGraph};
    /// let directory = tempfile::tempdir()?;
    /// let writer = FollowGraph::open(directory.path().join("graph"))?;
    /// let reader = FollowGraph::open_read_only(directory.path().join("graph"))?;
    /// writer.add_account("alice")?;
    /// std::thread::sleep(std::time::Duration::from_millis(1));
    /// assert_eq!(reader.counts("alice")?.followers, 0);
    /// assert_eq!(reader.add_account("bob").unwrap_err().kind(), ErrorKind::ReadOnly);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open_read_only(directory: impl AsRef<Path>) -> Result<FollowGraph> {
        Options::new().open_read_only(directory)
    }

    /// Makes an empty graph in memory, with the default [`Options`].
    ///
    /// # Panics
    ///
    /// When the operating system gives no random bytes for the hash key.
    pub fn in_memory() -> FollowGraph {
        Options::new().in_memory().expect("the defaults are in range and memory does not fail")
    }

    fn start(storage: Arc<dyn Storage>, options: Options) -> Result<FollowGraph> {
        if options.verify_image {
            verify_newest_image(storage.as_ref())?;
        }
        let opened = Store::open(storage.clone(), options.new_graph())?;
        let Opened { store, graph, recovery, closed } = opened;
        shards::check_hosted(&graph, &options)?;
        let position = graph.position();
        let time = Timekeeper::new(&options, &graph);
        let commit = Commit::new(store, position.sequence, time, &options, closed);
        let image_sequence = commit.store.image_sequence();
        // What was replayed may be in the page cache only. After an orderly close that can be no
        // more than the frame that says so.
        let sequence = position.sequence;
        let durable = if closed { sequence.saturating_sub(1) } else { image_sequence };
        let end = commit.store.log_end(sequence);
        let sync = Arc::new(GroupSync::new(durable, end, commit.store.syncers()?));
        sync.wait_for_all()?;
        let graph_id = commit.store.identity().graph_id;
        let consumers = Consumers::load(storage.as_ref(), graph_id, sequence)?;
        let feed = Feed::new(graph_id, storage.clone(), sync.clone(), commit.store.log_start());
        let shared = Arc::new(Shared {
            storage,
            checkpoint: CheckpointLock::default(),
            sync,
            feed: Arc::new(feed),
            consumers: Arc::new(consumers),
            commit: Mutex::new(commit),
            state: State::new(graph),
            signal: background::Signal::default(),
            bulk_loading: AtomicBool::new(false),
            recovery,
            fork_count: fork_count(),
            reader: None,
            options,
        });
        let background = Background::start(&shared)?;
        let graph = FollowGraph { shared, background };
        if graph.shared.options.reset_clock {
            graph.reset_clock_if_wrong()?;
        }
        Ok(graph)
    }

    /// Opens a graph to read what another process writes.
    fn start_reading(directory: &Path, options: Options) -> Result<FollowGraph> {
        let Watched { directory: storage, graph, tail, recovery } =
            Watched::open(&ReadOnlyDirectory::open(directory)?, processor_count)?;
        if options.verify_image {
            graph.image().verify(&mut |_| Ok(()))?;
        }
        let (position, header) = (graph.position(), graph.image().header);
        let image_sequence = header.position.sequence;
        let segments = tail.segments().to_vec();
        let store = Store::watched(storage.clone(), header.identity, image_sequence, segments);
        let time = Timekeeper::new(&options, &graph);
        let commit = Commit::new(store, position.sequence, time, &options, false);
        let durable = image_sequence.max(tail.durable_sequence());
        let end = commit.store.log_end(position.sequence);
        let sync = Arc::new(GroupSync::new(durable, end, vec![Arc::new(OthersLog)]));
        let (graph_id, log_start) = (header.identity.graph_id, commit.store.log_start());
        let feed = Feed::new(graph_id, storage.clone(), sync.clone(), log_start);
        let shared = Arc::new(Shared {
            reader: Some(Reader::new(storage.clone(), tail)),
            storage,
            checkpoint: CheckpointLock::default(),
            sync,
            feed: Arc::new(feed),
            consumers: Arc::new(Consumers::none()),
            commit: Mutex::new(commit),
            state: State::new(graph),
            signal: background::Signal::default(),
            bulk_loading: AtomicBool::new(false),
            recovery,
            fork_count: fork_count(),
            options,
        });
        let background = Background::start(&shared)?;
        Ok(FollowGraph { shared, background })
    }

    // ---- accounts ------------------------------------------------------------------------

    /// Adds an account. `Ok(true)` if it is new, `Ok(false)` if it existed.
    ///
    /// Cost: one commit.
    ///
    /// # Errors
    ///
    /// `InvalidName` unless the name has 1 to 255 bytes without control characters; see
    /// [`apply`](FollowGraph::apply) for what a commit can fail with.
    ///
    /// ```
    /// let graph = followgraph::FollowGraph::in_memory();
    /// assert!(graph.add_account("alice")?);
    /// assert!(!graph.add_account("alice")?);
    /// # Ok::<(), followgraph::Error>(())
    /// ```
    pub fn add_account(&self, name: &str) -> Result<bool> {
        self.apply_one(Mutation::add_account(name)).map(|outcome| outcome == Outcome::Applied)
    }

    /// Adds an account whose sets are kept by another node. It can follow and be followed by
    /// local accounts; its own counts and lists are `ForeignAccount` errors here.
    ///
    /// # Errors
    ///
    /// As [`add_account`](FollowGraph::add_account).
    ///
    /// ```
    /// let graph = followgraph::FollowGraph::in_memory();
    /// graph.add_account("alice")?;
    /// graph.add_foreign_account("zoe")?;
    /// graph.follow("zoe", "alice")?;
    /// assert_eq!(graph.counts("alice")?.followers, 1);
    /// assert!(graph.counts("zoe").is_err());
    /// # Ok::<(), followgraph::Error>(())
    /// ```
    pub fn add_foreign_account(&self, name: &str) -> Result<bool> {
        let outcome = self.apply_one(Mutation::add_foreign_account(name))?;
        Ok(outcome == Outcome::Applied)
    }

    /// Removes an account with all its follows; every count stays right. Its name is free again,
    /// its id is never reused.
    ///
    /// An account with up to [`removal_slice`](Options::removal_slice) follows goes in one commit.
    /// One with more goes in several: a first one says that it is being removed, then its follows
    /// go some at a time, then it goes itself. Readers never wait longer than for one such slice,
    /// and other writers have their turn between two. This call returns when all is done, and
    /// where it is waited for the disk, that is once, at the end.
    ///
    /// Meanwhile the account answers with what is left, and every count equals its list at every
    /// moment. It takes nothing new: a follow from it or to it, or adding an account of its name,
    /// is `BeingRemoved`. To unfollow it is no error, and to remove it once more joins in: that
    /// call too returns when it is gone.
    ///
    /// A removal that was interrupted, by a crash, an error or the end of the process, goes on in
    /// the background when the graph is opened again;
    /// [`finish_removals`](FollowGraph::finish_removals) waits for that, and
    /// [`Stats::being_removed_account_count`](crate::Stats::being_removed_account_count) shows it.
    ///
    /// Cost: one change at each account it follows or is followed by; for a foreign account also a
    /// look at every local one.
    ///
    /// # Errors
    ///
    /// `UnknownAccount`, `InvalidName`; see [`apply`](FollowGraph::apply). After `DiskFull` or `Io`
    /// the removal may have begun: remove the account once more to go on.
    ///
    /// ```
    /// let graph = followgraph::FollowGraph::in_memory();
    /// graph.add_account("alice")?;
    /// graph.add_account("bob")?;
    /// graph.follow("alice", "bob")?;
    /// graph.remove_account("bob")?;
    /// assert_eq!(graph.counts("alice")?.following, 0);
    /// assert!(graph.counts("bob").is_err());
    /// # Ok::<(), followgraph::Error>(())
    /// ```
    pub fn remove_account(&self, name: &str) -> Result<()> {
        self.apply_one(Mutation::remove_account(name)).map(|_| ())
    }

    // ---- follows -------------------------------------------------------------------------

    /// `follower` follows `followed` from now on. A repeated follow changes nothing, not even the
    /// time.
    ///
    /// Cost: one commit; logarithmic in the degree of either account.
    ///
    /// # Errors
    ///
    /// `UnknownAccount` (unless `create_missing_accounts`), `InvalidName`, `SelfFollow`,
    /// `FollowingLimit`, `FollowersLimit`, `FollowerMutualLimit`, `FollowedMutualLimit`,
    /// `ForeignAccount` when both are foreign; see [`apply`](FollowGraph::apply).
    ///
    /// ```
    /// use followgraph::{FollowGraph, Outcome};
    /// let graph = FollowGraph::in_memory();
    /// graph.add_account("alice")?;
    /// graph.add_account("bob")?;
    /// assert_eq!(graph.follow("alice", "bob")?, Outcome::Applied);
    /// assert_eq!(graph.follow("alice", "bob")?, Outcome::Unchanged);
    /// # Ok::<(), followgraph::Error>(())
    /// ```
    pub fn follow(&self, follower: &str, followed: &str) -> Result<Outcome> {
        self.apply_one(Mutation::follow(follower, followed))
    }

    /// `follower` no longer follows `followed`.
    ///
    /// # Errors
    ///
    /// As [`follow`](FollowGraph::follow), limits apart.
    ///
    /// ```
    /// use followgraph::{FollowGraph, Outcome};
    /// let graph = FollowGraph::in_memory();
    /// graph.add_account("alice")?;
    /// graph.add_account("bob")?;
    /// assert_eq!(graph.unfollow("alice", "bob")?, Outcome::Unchanged);
    /// # Ok::<(), followgraph::Error>(())
    /// ```
    pub fn unfollow(&self, follower: &str, followed: &str) -> Result<Outcome> {
        self.apply_one(Mutation::unfollow(follower, followed))
    }

    /// [`follow`](FollowGraph::follow) for callers that keep ids.
    ///
    /// # Errors
    ///
    /// As [`follow`](FollowGraph::follow).
    ///
    /// ```
    /// let graph = followgraph::FollowGraph::in_memory();
    /// graph.add_account("alice")?;
    /// graph.add_account("bob")?;
    /// let (alice, bob) = (graph.account_id("alice")?, graph.account_id("bob")?);
    /// graph.follow_by_id(alice, bob)?;
    /// assert_eq!(graph.counts_by_id(bob)?.followers, 1);
    /// # Ok::<(), followgraph::Error>(())
    /// ```
    pub fn follow_by_id(&self, follower: AccountId, followed: AccountId) -> Result<Outcome> {
        self.apply_one(Mutation::follow_by_id(follower, followed))
    }

    /// [`unfollow`](FollowGraph::unfollow) for callers that keep ids.
    ///
    /// # Errors
    ///
    /// As [`unfollow`](FollowGraph::unfollow).
    ///
    /// ```
    /// let graph = followgraph::Options::new().create_missing_accounts(true).in_memory()?;
    /// graph.follow("alice", "bob")?;
    /// let (alice, bob) = (graph.account_id("alice")?, graph.account_id("bob")?);
    /// graph.unfollow_by_id(alice, bob)?;
    /// assert_eq!(graph.counts_by_id(bob)?.followers, 0);
    /// # Ok::<(), followgraph::Error>(())
    /// ```
    pub fn unfollow_by_id(&self, follower: AccountId, followed: AccountId) -> Result<Outcome> {
        self.apply_one(Mutation::unfollow_by_id(follower, followed))
    }

    /// Carries out a batch as one commit: all of it is there after a crash, or none. Each mutation
    /// has its own result, in order; one that fails changes nothing and does not stop the others.
    ///
    /// Accounts that are removed, and have more follows than fit into the
    /// [`removal_slice`](Options::removal_slice) of the batch, only begin to go in that commit:
    /// mutations after them in the batch find them being removed. They are gone when this returns,
    /// or, after a crash, some time after the graph is opened again. See
    /// [`remove_account`](FollowGraph::remove_account).
    ///
    /// # Errors
    ///
    /// As a whole: `DiskFull` or `Io` when the log cannot grow (nothing changed, but that a removal
    /// may have begun), `Latched` when
    /// this commit's sync failed (it may or may not be there when the graph is opened again), when
    /// the name of a new log segment could not be made durable (nothing changed), and after any
    /// of these. `ReadOnly` on a handle from
    /// [`open_read_only`](FollowGraph::open_read_only).
    ///
    /// ```
    /// use followgraph::{FollowGraph, Mutation};
    /// let graph = FollowGraph::in_memory();
    /// let results = graph.apply(&[Mutation::add_account("alice"), Mutation::add_account("")])?;
    /// assert!(results[0].is_ok() && results[1].is_err());
    /// # Ok::<(), followgraph::Error>(())
    /// ```
    pub fn apply(&self, mutations: &[Mutation<'_>]) -> Result<Vec<Result<Outcome>>> {
        self.apply_batch(None, mutations)
    }

    /// [`apply`](FollowGraph::apply) for a replica fed from another log: `position` is stored in
    /// the same commit, so that [`source_position`](FollowGraph::source_position) says after a
    /// crash exactly where to go on. A crash may have interrupted a removal too: whoever feeds a
    /// graph calls [`finish_removals`](FollowGraph::finish_removals) before going on.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` unless `position` is greater than the one stored; otherwise as `apply`.
    ///
    /// ```
    /// use followgraph::{FollowGraph, Mutation};
    /// let graph = FollowGraph::in_memory();
    /// graph.apply_from_source(41, &[Mutation::add_account("alice")])?;
    /// assert_eq!(graph.source_position(), Some(41));
    /// assert!(graph.apply_from_source(41, &[Mutation::add_account("bob")]).is_err());
    /// # Ok::<(), followgraph::Error>(())
    /// ```
    pub fn apply_from_source(
        &self,
        position: u64,
        mutations: &[Mutation<'_>],
    ) -> Result<Vec<Result<Outcome>>> {
        if position == u64::MAX {
            let message = "a source position is below 2^64 - 1";
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        self.apply_batch(Some(position), mutations)
    }

    /// The position the last [`apply_from_source`](FollowGraph::apply_from_source) stored.
    ///
    /// ```
    /// let graph = followgraph::FollowGraph::in_memory();
    /// assert_eq!(graph.source_position(), None);
    /// graph.apply_from_source(7, &[])?;
    /// assert_eq!(graph.source_position(), Some(7));
    /// # Ok::<(), followgraph::Error>(())
    /// ```
    pub fn source_position(&self) -> Option<u64> {
        self.shared.keep_up();
        self.shared.state.read().position().source_position
    }

    /// Waits until everything committed so far is on disk, whatever the durability.
    ///
    /// # Errors
    ///
    /// `Latched` when a sync failed, `ReadOnly`.
    ///
    /// ```
    /// let graph = followgraph::FollowGraph::in_memory();
    /// graph.add_account("alice")?;
    /// graph.sync()?;
    /// assert_eq!(graph.stats().durable_sequence, graph.stats().sequence);
    /// # Ok::<(), followgraph::Error>(())
    /// ```
    pub fn sync(&self) -> Result<()> {
        self.shared.refuse_if_not_writer()?;
        self.shared.sync.wait_for_all()
    }

    fn apply_one(&self, mutation: Mutation<'_>) -> Result<Outcome> {
        let room_bytes = self.shared.room_bytes(std::iter::once(&mutation));
        self.shared.commit(None, room_bytes, |editor| editor.execute(&mutation))?
    }

    fn apply_batch(
        &self,
        source_position: Option<u64>,
        mutations: &[Mutation<'_>],
    ) -> Result<Vec<Result<Outcome>>> {
        let room_bytes = self.shared.room_bytes(mutations.iter());
        self.shared.commit(source_position, room_bytes, |editor| editor.execute_all(mutations))
    }
}
