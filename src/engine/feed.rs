//! The feed: committed changes in order, read from the log beside those who write it.
//!
//! A reader takes none of the locks of a writer. It waits for a sync to end, then reads what that
//! put on disk from mapped bytes. **What is handed out is durable**, so no crash takes it back.
//!
//! A reader lives on its own and does not keep the graph open. Closing the graph takes the files
//! away from it, after what it is reading at that moment.

use super::FollowGraph;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Record, RecordReader};
use crate::locks::{AtomicU64, MappedRwLockReadGuard, RwLock, RwLockReadGuard};
use crate::log::{Frame, LogEnd};
use crate::storage::Storage;
use crate::sync::{Deadline, GroupSync};
use crate::types::{AccountId, Change, Commit};
use crate::walk::Walk;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What the readers of the log share, beside the graph and after it.
pub(super) struct Feed {
    pub(super) graph_id: [u8; 16],
    /// Where the files are, until the graph is closed.
    storage: RwLock<Option<Arc<dyn Storage>>>,
    sync: Arc<GroupSync>,
    /// Every frame behind this sequence number is in the log.
    log_start: Arc<AtomicU64>,
}

impl Feed {
    pub(super) fn new(
        graph_id: [u8; 16],
        storage: Arc<dyn Storage>,
        sync: Arc<GroupSync>,
        log_start: Arc<AtomicU64>,
    ) -> Feed {
        Feed { graph_id, storage: RwLock::new(Some(storage)), sync, log_start }
    }

    /// Where the log begins.
    pub(super) fn log_start(&self) -> u64 {
        self.log_start.load(Ordering::Acquire)
    }

    /// How far the log is on disk.
    pub(super) fn durable(&self) -> u64 {
        self.sync.durable()
    }

    /// The files. While they are held the graph is not closed.
    pub(super) fn storage(&self) -> Result<MappedRwLockReadGuard<'_, Arc<dyn Storage>>> {
        RwLockReadGuard::try_map(self.storage.read(), Option::as_ref)
            .map_err(|_| Error::bare(ErrorKind::Closed))
    }

    /// Ends every wait, and takes the files away from the readers.
    pub(super) fn close(&self) {
        self.sync.close();
        *self.storage.write() = None;
    }

    /// Reads the next frame, which lies before `end`. `None` where it holds no commit.
    fn read(&self, walk: &mut Walk, end: LogEnd) -> Result<Option<Commit>> {
        let storage = self.storage()?;
        let read = walk.next(storage.as_ref(), end, |frame| self.commit_of(frame));
        read.map_err(|error| {
            // Whatever is wrong with what it sees, the log has gone on without it.
            if walk.position() < self.log_start() { self.lost(walk.position()) } else { error }
        })
    }

    fn commit_of(&self, frame: &Frame<'_>) -> Result<Option<Commit>> {
        let Frame { sequence, source_position, .. } = *frame;
        let (mut changes, mut record_count) = (Vec::new(), 0);
        let mut records = RecordReader::new(frame.payload)?;
        while let Some(record) = records.next_record()? {
            record_count += 1;
            changes.extend(change_of(record));
        }
        if frame.is_closing() {
            return Ok(None);
        }
        if record_count > 0 && changes.is_empty() {
            // Nothing of the graph changed: the clock was reset.
            return Ok(None);
        }
        if changes.is_empty() && source_position.is_none() {
            // A bulk load took this number for its image. Its follows are in no frame.
            self.log_start.fetch_max(sequence, Ordering::AcqRel);
            return Err(self.lost(sequence - 1));
        }
        Ok(Some(Commit { sequence, source_position, changes }))
    }

    /// What a reader is told that stands before the beginning of the log.
    fn lost(&self, position: u64) -> Error {
        let oldest = self.log_start();
        let message = "the log begins after a later commit, or a bulk load came between; a \
                       consumer goes on with `resync`";
        Error::new(ErrorKind::PositionLost, message).expected(format!("{oldest} or more"), position)
    }
}

/// Returns what a record changes in the graph.
fn change_of(record: Record<'_>) -> Option<Change> {
    Some(match record {
        Record::AccountAdded { id, name, foreign } => {
            Change::AccountAdded { account: AccountId(id), name: name.to_owned(), foreign }
        }
        Record::AccountRemoved { id } => Change::AccountRemoved { account: AccountId(id) },
        Record::RemovalBegan { id } => Change::RemovalBegan { account: AccountId(id) },
        Record::Followed { from, to, at, .. } => {
            Change::Followed { follower: AccountId(from), followed: AccountId(to), at }
        }
        Record::Unfollowed { from, to } => {
            Change::Unfollowed { follower: AccountId(from), followed: AccountId(to) }
        }
        Record::ClockReset { .. } => return None,
    })
}

/// Ends the waits of one [`Changes`] or [`Consumer`](super::Consumer), from any thread.
///
/// ```
/// use followgraph::{ErrorKind, FollowGraph};
/// use std::time::Duration;
/// let graph = FollowGraph::in_memory();
/// let mut changes = graph.changes(0)?;
/// let canceller = changes.canceller();
/// let waiting = std::thread::spawn(move || changes.next(Duration::MAX));
/// canceller.cancel();
/// let error = waiting.join().expect("no panic").unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Cancelled);
/// # Ok::<(), followgraph::Error>(())
/// ```
#[derive(Clone)]
pub struct Canceller {
    cancelled: Arc<AtomicBool>,
    sync: Arc<GroupSync>,
}

impl Canceller {
    /// Makes a [`next`](Changes::next) that waits now, and every later one of the same handle,
    /// return [`Cancelled`](ErrorKind::Cancelled). It is not undone: to go on, make another handle.
    pub fn cancel(&self) {
        self.sync.cancel(&self.cancelled);
    }

    /// Whether [`cancel`](Canceller::cancel) was called.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }
}

/// The committed changes of a graph from a position on, in order. Made by
/// [`FollowGraph::changes`].
///
/// It is independent of the handle it came from: it may go to another thread, and it does not keep
/// the graph open.
pub struct Changes {
    feed: Arc<Feed>,
    walk: Walk,
    /// How far the log was on disk when it was last looked at.
    end: LogEnd,
    cancelled: Arc<AtomicBool>,
}

impl Changes {
    pub(super) fn new(feed: Arc<Feed>, position: u64) -> Changes {
        let walk = Walk::new(feed.graph_id, position);
        let end = LogEnd { sequence: position, first_sequence: 0, end_bytes: 0 };
        Changes { feed, walk, end, cancelled: Arc::default() }
    }

    /// Goes on from another position.
    pub(super) fn move_to(&mut self, position: u64) {
        self.walk = Walk::new(self.feed.graph_id, position);
        self.end = LogEnd { sequence: position, first_sequence: 0, end_bytes: 0 };
    }

    /// Returns a handle that ends the waits of this one.
    pub fn canceller(&self) -> Canceller {
        Canceller { cancelled: self.cancelled.clone(), sync: self.feed.sync.clone() }
    }

    /// The sequence number of the last commit that was read.
    pub(super) fn position(&self) -> u64 {
        self.walk.position()
    }

    /// The next commit, or `None` when there was none within `timeout`. A timeout of zero asks
    /// without waiting; [`Duration::MAX`] waits until there is one.
    ///
    /// Only commits that are on disk are handed out, whatever the [`Durability`]. With `Interval`
    /// that is after the next sync in the background. With `Never`, and so for a graph in memory,
    /// it is after the next checkpoint or [`sync`](FollowGraph::sync), or when the graph is opened
    /// again: somebody has to call `sync` for changes to be seen soon.
    ///
    /// Commits that changed nothing have no place in the log. One that only stored a source
    /// position is handed out without changes. Sequence numbers go up and may leave some out:
    /// closing a graph takes one, and so does resetting its clock.
    ///
    /// Cost: reading the commit from mapped memory, and nothing for those who write. The first call
    /// reads a log segment up to the position. A thread that waits sleeps until a sync ends.
    ///
    /// # Errors
    ///
    /// `PositionLost` when the log has gone on so far that what comes next was removed, or when a
    /// bulk load came next, whose follows are not in the log. `Closed` once the handle of the graph
    /// was dropped, also while this waits. `Cancelled` once its [`Canceller`] was used, also while
    /// this waits. `Corrupt` with file and offset, `Io`. After an error the position is the same as
    /// before.
    ///
    /// [`Durability`]: crate::Durability
    ///
    /// ```
    /// use followgraph::{Change, FollowGraph};
    /// use std::time::Duration;
    /// let graph = FollowGraph::in_memory();
    /// let mut changes = graph.changes(0)?;
    /// graph.add_account("alice")?;
    /// graph.sync()?;
    /// let commit = changes.next(Duration::from_secs(1))?.expect("alice was added");
    /// assert_eq!(commit.sequence, 1);
    /// let [Change::AccountAdded { account, name, .. }] = &commit.changes[..] else { panic!() };
    /// assert_eq!((*account, name.as_str()), (graph.account_id("alice")?, "alice"));
    /// assert_eq!(changes.next(Duration::ZERO)?, None);
    /// # Ok::<(), followgraph::Error>(())
    /// ```
    pub fn next(&mut self, timeout: Duration) -> Result<Option<Commit>> {
        let mut deadline = None;
        loop {
            if self.cancelled.load(Ordering::Acquire) {
                return Err(Error::bare(ErrorKind::Cancelled));
            }
            if self.end.sequence <= self.walk.position() {
                let deadline = *deadline.get_or_insert_with(|| Deadline::after(timeout));
                let (sync, position) = (&self.feed.sync, self.walk.position());
                match sync.wait_beyond(position, deadline, &self.cancelled)? {
                    Some(end) => self.end = end,
                    None => return Ok(None),
                }
            }
            if let Some(commit) = self.feed.read(&mut self.walk, self.end)? {
                return Ok(Some(commit));
            }
        }
    }
}

impl FollowGraph {
    /// The committed changes behind a position: a sequence number, as in
    /// [`Stats::sequence`](crate::Stats::sequence) and [`Commit::sequence`]. 0 is before the first
    /// commit.
    ///
    /// The log is kept as far as the graph needs it, which changes with each checkpoint. A
    /// [`consumer`](FollowGraph::consumer) has it kept for itself, and its position with it.
    ///
    /// Cost: none before the first [`next`](Changes::next).
    ///
    /// # Errors
    ///
    /// `PositionLost` when the log does not go back that far; the message says how far it does, and
    /// so does [`oldest_position`](FollowGraph::oldest_position). `InvalidArgument` for a position
    /// that no commit has reached; `ReadOnly`.
    ///
    /// ```
    /// use followgraph::{Change, FollowGraph};
    /// use std::time::Duration;
    /// let graph = FollowGraph::in_memory();
    /// graph.add_account("alice")?;
    /// graph.add_account("bob")?;
    /// let mut changes = graph.changes(graph.stats().sequence)?;
    /// graph.follow("alice", "bob")?;
    /// graph.sync()?;
    /// let commit = changes.next(Duration::from_secs(1))?.expect("a follow");
    /// let Change::Followed { follower, .. } = commit.changes[0] else { panic!() };
    /// assert_eq!(graph.account_name(follower)?, "alice");
    /// # Ok::<(), followgraph::Error>(())
    /// ```
    pub fn changes(&self, from: u64) -> Result<Changes> {
        self.shared.refuse_if_not_writer()?;
        let feed = &self.shared.feed;
        if from < feed.log_start() {
            return Err(feed.lost(from));
        }
        let last = self.shared.state.read().position().sequence;
        if from > last {
            let error = Error::new(ErrorKind::InvalidArgument, "a position behind the last commit");
            return Err(error.expected(format!("at most {last}"), from));
        }
        Ok(Changes::new(feed.clone(), from))
    }

    /// The oldest position that [`changes`](FollowGraph::changes) can begin from now: every commit
    /// behind it is in the log. It moves on with checkpoints.
    ///
    /// ```
    /// let graph = followgraph::FollowGraph::in_memory();
    /// assert_eq!(graph.oldest_position(), 0);
    /// ```
    pub fn oldest_position(&self) -> u64 {
        self.shared.feed.log_start()
    }
}
