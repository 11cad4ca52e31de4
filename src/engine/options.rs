//! How a graph is opened.

use super::FollowGraph;
use super::clock::{boot_clock, system_clock};
use crate::error::{Error, ErrorKind, Result};
use crate::shards::ShardSet;
#[cfg(feature = "testing")]
use crate::storage::Storage;
use crate::storage::{DirectoryStorage, MemoryStorage, fill};
use crate::store::NewGraph;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Where follow times come from: a function that gives Unix seconds.
///
/// The engine never lets time run backwards: when the clock does, the latest time is used again.
/// A clock that jumps ahead is not used either: see [`FollowGraph::clock`].
pub type Clock = Arc<dyn Fn() -> u32 + Send + Sync>;

/// A clock that nobody sets: a function that gives the time since any moment in the past.
pub type MonotonicClock = Arc<dyn Fn() -> Duration + Send + Sync>;

/// When a write call returns, and so what a crash can lose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// After the commit is on disk. Callers that wait at the same time share one sync. Nothing
    /// acknowledged is ever lost.
    Always,
    /// At once; what was committed is synced in the background at this interval. A killed process
    /// loses nothing; a machine that loses power loses the last interval at most.
    Interval(Duration),
    /// At once, and synced at checkpoints, by [`sync`](FollowGraph::sync) and on close. A killed
    /// process loses nothing; a machine that loses power loses what was committed since.
    Never,
}

/// How to open a graph.
///
/// ```
/// use followgraph::{Durability, Options};
/// let graph = Options::new()
///     .create_missing_accounts(true)
///     .max_following(5000)
///     .durability(Durability::Never)
///     .in_memory()?;
/// graph.follow("alice", "bob")?;
/// assert_eq!(graph.counts("bob")?.followers, 1);
/// # Ok::<(), followgraph::Error>(())
/// ```
#[derive(Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is switched on and off by its own name")]
pub struct Options {
    pub(crate) durability: Durability,
    pub(crate) create: bool,
    pub(crate) create_missing_accounts: bool,
    pub(crate) segment_bytes: u64,
    pub(crate) checkpoint_log_bytes: Option<u64>,
    pub(crate) retained_log_bytes: u64,
    pub(crate) removal_slice: usize,
    /// Whether opening a graph goes on with removals that were interrupted.
    pub(crate) finishes_removals: bool,
    pub(crate) verify_image: bool,
    /// Makes a new graph a sharded one, which hosts these shards.
    pub(crate) hosted_shards: Option<ShardSet>,
    pub(crate) limits: Limits,
    pub(crate) clock: Clock,
    pub(crate) monotonic_clock: MonotonicClock,
    pub(crate) reset_clock: bool,
}

/// The most entries an account's sets may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) following: u32,
    pub(crate) followers: u32,
    pub(crate) mutual: u32,
}

impl Limits {
    /// As many as there are ids.
    pub(crate) const NONE: Limits =
        Limits { following: u32::MAX, followers: u32::MAX, mutual: u32::MAX };
}

pub(super) const SEGMENT_BYTES_MIN: u64 = 64 * 1024;
const SEGMENT_BYTES_MAX: u64 = 1 << 32;
const SEGMENT_BYTES_DEFAULT: u64 = 64 * 1024 * 1024;
const SEGMENT_BYTES_IN_MEMORY: u64 = 4 * 1024 * 1024;
const CHECKPOINT_LOG_BYTES_DEFAULT: u64 = 256 * 1024 * 1024;
const RETAINED_LOG_BYTES_DEFAULT: u64 = 1024 * 1024 * 1024;
/// With ten million followers 99 of 100 reads beside a removal took less than a millisecond, on a
/// busy machine: `cargo bench --features testing --bench engine -- removal`.
const REMOVAL_SLICE_DEFAULT: usize = 256;

impl Default for Options {
    fn default() -> Options {
        Options::new()
    }
}

impl Options {
    /// The clock of these options.
    #[cfg(feature = "cluster")]
    pub(crate) fn shared_clock(&self) -> Clock {
        self.clock.clone()
    }

    /// Every commit durable, no limits, accounts must exist to be followed.
    pub fn new() -> Options {
        Options {
            durability: Durability::Always,
            create: true,
            create_missing_accounts: false,
            segment_bytes: SEGMENT_BYTES_DEFAULT,
            checkpoint_log_bytes: Some(CHECKPOINT_LOG_BYTES_DEFAULT),
            retained_log_bytes: RETAINED_LOG_BYTES_DEFAULT,
            verify_image: false,
            removal_slice: REMOVAL_SLICE_DEFAULT,
            finishes_removals: true,
            hosted_shards: None,
            limits: Limits::NONE,
            clock: Arc::new(system_clock),
            monotonic_clock: Arc::new(boot_clock),
            reset_clock: false,
        }
    }

    /// When a write call returns. Default: [`Durability::Always`].
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Options {
        self.durability = durability;
        self
    }

    /// Whether to make a graph where there is none. Default: true.
    #[must_use]
    pub fn create(mut self, create: bool) -> Options {
        self.create = create;
        self
    }

    /// Whether a follow makes the accounts it names, where they do not exist. Default: false.
    #[must_use]
    pub fn create_missing_accounts(mut self, create: bool) -> Options {
        self.create_missing_accounts = create;
        self
    }

    /// Sets the largest size of a log segment in bytes: 64 KiB to 4 GiB, rounded up to 4 KiB. A
    /// segment is allocated on disk in full when it is begun. The first one of a graph takes
    /// 256 KiB, and each one after a full one twice as much as that, up to this size, so that a
    /// small graph takes little room. Default: 64 MiB (4 MiB in memory).
    #[must_use]
    pub fn segment_bytes(mut self, bytes: u64) -> Options {
        self.segment_bytes = bytes;
        self
    }

    /// How many bytes of log since the image start a checkpoint in the background; `None`: only
    /// [`checkpoint`](FollowGraph::checkpoint) makes one. Default: 256 MiB.
    #[must_use]
    pub fn checkpoint_log_bytes(mut self, bytes: Option<u64>) -> Options {
        self.checkpoint_log_bytes = bytes;
        self
    }

    /// How much disk space the log segments may take that are kept for a
    /// [`consumer`](FollowGraph::consumer) alone. Beyond it the oldest go, and a consumer that had
    /// not come so far is told with [`PositionLost`](ErrorKind::PositionLost). A segment counts
    /// as a whole, however little of it is in use: up to
    /// [`segment_bytes`](Options::segment_bytes).
    /// Default: 1 GiB.
    #[must_use]
    pub fn retained_log_bytes(mut self, bytes: u64) -> Options {
        self.retained_log_bytes = bytes;
        self
    }

    /// Whether opening reads every byte of the image and compares its checksums before anything is
    /// answered. Then an answer is never wrong because of a damaged image: opening refuses it with
    /// [`Corrupt`](ErrorKind::Corrupt), and changes nothing. Otherwise damage behind the header is
    /// an error of the calls that need the damaged block of 4 KiB, and of
    /// [`verify`](FollowGraph::verify), checkpoint and backup. An image that a release before this
    /// one wrote has no checksums by blocks: until its first checkpoint, an answer from damage in
    /// it may be wrong, and this keeps that away. Default: false, because opening is to cost the
    /// same for every size, and this reads the whole image from the disk. A handle that only reads
    /// checks the image it is opened with, not those it goes on to.
    ///
    /// ```
    /// use followgraph::{FollowGraph, Options};
    /// let directory = tempfile::tempdir()?;
    /// FollowGraph::open(directory.path())?.add_account("alice")?;
    /// let graph = Options::new().verify_image(true).open(directory.path())?;
    /// assert!(graph.account_id("alice").is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn verify_image(mut self, verify: bool) -> Options {
        self.verify_image = verify;
        self
    }

    /// The most follows that go at once when an account is removed, while readers wait: 1 or more.
    /// An account with more goes in several commits: see
    /// [`remove_account`](FollowGraph::remove_account). At most 65,536 go in one
    /// commit, whatever this says. Default: 256.
    #[must_use]
    pub fn removal_slice(mut self, follows: usize) -> Options {
        self.removal_slice = follows;
        self
    }

    /// Makes a new graph a sharded one: every account is known, and the lists are kept of those
    /// whose [`VirtualShard`](crate::VirtualShard) is hosted here. A graph stays what it was made
    /// as; opening one that is there with other shards is `InvalidArgument`. Default: a graph that
    /// is not sharded and keeps all lists.
    ///
    /// ```
    /// use followgraph::{Options, ShardSet, VirtualShard};
    /// let hosted = ShardSet::from_iter([VirtualShard::of("bob")]);
    /// let options = Options::new().create_missing_accounts(true);
    /// let graph = options.hosted_shards(hosted).in_memory()?;
    /// graph.follow("alice", "bob")?;
    /// assert_eq!(graph.counts("bob")?.followers, 1);
    /// assert!(graph.counts("alice").is_err());
    /// # Ok::<(), followgraph::Error>(())
    /// ```
    #[must_use]
    pub fn hosted_shards(mut self, shards: ShardSet) -> Options {
        self.hosted_shards = Some(shards);
        self
    }

    /// The most accounts an account may follow. Default: no limit.
    #[must_use]
    pub fn max_following(mut self, limit: u32) -> Options {
        self.limits.following = limit;
        self
    }

    /// The most followers an account may have. Default: no limit.
    #[must_use]
    pub fn max_followers(mut self, limit: u32) -> Options {
        self.limits.followers = limit;
        self
    }

    /// The most mutual follows an account may have. Default: no limit.
    #[must_use]
    pub fn max_mutual(mut self, limit: u32) -> Options {
        self.limits.mutual = limit;
        self
    }

    /// Where follow times come from. Default: the system's clock.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Options {
        self.clock = clock;
        self
    }

    /// What the steps of the [`clock`](Options::clock) are compared with. Default: the time since
    /// the machine was started, which nobody sets and which goes on while it is suspended.
    #[must_use]
    pub fn monotonic_clock(mut self, clock: MonotonicClock) -> Options {
        self.monotonic_clock = clock;
        self
    }

    /// Whether opening takes the clock for right where [`FollowGraph::clock`] would report a fault:
    /// see [`reset_clock`](FollowGraph::reset_clock). It repairs a graph whose follows got times in
    /// the future because the clock of the machine was ahead. Default: false.
    #[must_use]
    pub fn reset_clock(mut self, reset: bool) -> Options {
        self.reset_clock = reset;
        self
    }

    /// Opens the graph in a directory, or makes one there.
    ///
    /// Opening maps the newest image, whatever its size, in the same time, and replays the log
    /// behind it.
    ///
    /// # Errors
    ///
    /// `InUse` when another process or handle has it open, `NotAGraph` when the directory holds
    /// other files (or nothing, and `create` is off), `UnsupportedVersion`, `Corrupt` with file
    /// and offset, `Io`, `DiskFull`, `InvalidArgument` for an option out of range. Where no graph
    /// could be made, a directory that was empty or missing is so again.
    pub fn open(self, directory: impl AsRef<Path>) -> Result<FollowGraph> {
        let options = self.checked()?;
        if options.create {
            let start = |storage: &Arc<DirectoryStorage>| {
                FollowGraph::start(storage.clone(), options.clone())
            };
            return fill(directory.as_ref(), start);
        }
        let storage = DirectoryStorage::open(directory.as_ref(), false)?;
        FollowGraph::start(Arc::new(storage), options)
    }

    /// Opens the graph in a directory to read it, beside the process that writes it or without one,
    /// and follows what is written there.
    ///
    /// A read that begins a millisecond after a commit returned in the writer sees it, and so does
    /// every later one. Where the durability is not `Always`, that is before the commit is on disk.
    /// The handle goes on while the writer is killed, closed, opened again or makes checkpoints.
    ///
    /// No lock is taken and no byte of the directory is written, so any number of processes read
    /// without disturbing the writer, and the directory may belong to somebody else or be mounted
    /// read-only. Of these options none matters.
    ///
    /// Every question is answered, and [`verify`](FollowGraph::verify) and
    /// [`backup`](FollowGraph::backup) do their work; as long as they do, the handle goes on with
    /// the image they began with. What writes is refused with
    /// [`ReadOnly`](ErrorKind::ReadOnly), and so are [`changes`](FollowGraph::changes) and
    /// [`consumer`](FollowGraph::consumer), which are for the process that writes.
    ///
    /// Where the log cannot be followed any more, because the directory was removed or its files
    /// were replaced by those of another graph or an older state of this one, answers are errors
    /// from then on, until it is put right;
    /// [`Stats::reader_failure`](crate::Stats::reader_failure) has the reason. Where another
    /// directory takes the path, the handle goes on in the one that it opened, and
    /// [`Stats::directory_moved`](crate::Stats::directory_moved) says so.
    ///
    /// Cost: opening as [`open`](Options::open). A question asked more than 200 microseconds after
    /// the log was last looked at pays for a look, some microseconds, and for applying what came.
    /// A thread looks every 50 milliseconds.
    ///
    /// # Errors
    ///
    /// `NotAGraph` where there is no graph, `UnsupportedVersion`, `Corrupt` with file and offset,
    /// `Io`.
    ///
    /// ```
    /// use followgraph::{FollowGraph, Options};
    /// let directory = tempfile::tempdir()?;
    /// assert!(Options::new().open_read_only(directory.path()).is_err());
    /// drop(FollowGraph::open(directory.path())?);
    /// let graph = Options::new().open_read_only(directory.path())?;
    /// assert!(graph.is_read_only());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open_read_only(self, directory: impl AsRef<Path>) -> Result<FollowGraph> {
        FollowGraph::start_reading(directory.as_ref(), self.checked()?)
    }

    /// Makes an empty graph in memory. It has everything but durability;
    /// [`backup`](FollowGraph::backup) writes it to a directory.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for an option out of range.
    pub fn in_memory(mut self) -> Result<FollowGraph> {
        self.durability = Durability::Never;
        self.segment_bytes = self.segment_bytes.min(SEGMENT_BYTES_IN_MEMORY);
        let options = self.checked()?;
        FollowGraph::start(Arc::new(MemoryStorage::default()), options)
    }

    /// Opens the graph on a storage that is no directory.
    #[cfg(feature = "testing")]
    pub(crate) fn open_on(self, storage: Arc<dyn Storage>) -> Result<FollowGraph> {
        FollowGraph::start(storage, self.checked()?)
    }

    /// What a graph is made with where there is none.
    pub(super) fn new_graph(&self) -> NewGraph<'_> {
        NewGraph { segment_bytes: self.segment_bytes, hosted: self.hosted_shards.as_ref() }
    }

    fn checked(mut self) -> Result<Options> {
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&self.segment_bytes) {
            return Err(Error::new(ErrorKind::InvalidArgument, "segment_bytes").expected(
                format!("{SEGMENT_BYTES_MIN} to {SEGMENT_BYTES_MAX}"),
                self.segment_bytes,
            ));
        }
        if self.removal_slice == 0 {
            let error = Error::new(ErrorKind::InvalidArgument, "removal_slice");
            return Err(error.expected("1 or more", 0));
        }
        if self.durability == Durability::Interval(Duration::ZERO) {
            let message = "an interval of zero; use Durability::Always";
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        self.segment_bytes = self.segment_bytes.next_multiple_of(4096);
        Ok(self)
    }
}
