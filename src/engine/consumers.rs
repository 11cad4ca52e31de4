//! Consumers: readers of the feed with a name, whose positions are kept with the graph.
//!
//! A consumer's position moves when it says that it is done with a commit, never when it is handed
//! one. **The log is kept for the position that is on disk**, so what was handed out and not yet
//! acknowledged can be handed out again, up to the bound of `Options::retained_log_bytes`.
//!
//! The files of the positions have a lock of their own, which is held while a disk is waited for.
//! What is known of them is behind another, which is not, because a checkpoint looks at it while
//! writers wait.

use super::feed::{Canceller, Changes, Feed};
use super::view::View;
use super::{FollowGraph, Shared};
use crate::consumers;
use crate::error::{Error, ErrorKind, Result};
use crate::format::check_consumer_name;
use crate::locks::Mutex;
use crate::storage::Storage;
use crate::store::Hold;
use crate::types::Commit;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// The consumers of a graph.
pub(super) struct Consumers {
    /// Held while a file is changed.
    files: Mutex<()>,
    known: Mutex<BTreeMap<String, Known>>,
    /// Positions for which the log is kept whatever its size, while a graph is read anew.
    pins: Mutex<Vec<u64>>,
}

/// What is known of a consumer.
#[derive(Clone)]
struct Known {
    /// What it is done with, as it is on disk.
    position: u64,
    /// Why that is not known; then the position is 0.
    damage: Option<Error>,
}

impl Known {
    fn at(position: u64) -> Known {
        Known { position, damage: None }
    }
}

impl Consumers {
    /// Reads the positions. Those that are ahead of the log, because it lost its end, are taken
    /// back to where it ends now: what comes next gets their numbers.
    pub(super) fn load(
        storage: &dyn Storage,
        graph_id: [u8; 16],
        last_sequence: u64,
    ) -> Result<Consumers> {
        let mut known = BTreeMap::new();
        for (name, position) in consumers::load(storage, graph_id)? {
            let of_file = match position {
                Ok(position) if position > last_sequence => {
                    consumers::save(storage, graph_id, &name, last_sequence)?;
                    Known::at(last_sequence)
                }
                Ok(position) => Known::at(position),
                Err(damage) => Known { position: 0, damage: Some(damage) },
            };
            known.insert(name, of_file);
        }
        Ok(Consumers { known: Mutex::new(known), ..Consumers::none() })
    }

    /// Those of a handle that keeps no log for anybody.
    pub(super) fn none() -> Consumers {
        Consumers { files: Mutex::default(), known: Mutex::default(), pins: Mutex::default() }
    }

    /// What the log is kept for.
    pub(super) fn hold(&self, bytes_max: u64) -> Option<Hold> {
        let position = self.known.lock().values().map(|known| known.position).min();
        let pinned = self.pins.lock().iter().min().copied();
        let sequence = position.into_iter().chain(pinned).min()?;
        let bytes_max = if pinned.is_some() { u64::MAX } else { bytes_max };
        Some(Hold { sequence, bytes_max })
    }

    /// Has the log after a position kept for as long as the pin lives.
    fn pin(self: &Arc<Self>, position: u64) -> Pin {
        self.pins.lock().push(position);
        Pin { consumers: self.clone(), position }
    }

    fn find(&self, name: &str) -> Option<Known> {
        self.known.lock().get(name).cloned()
    }

    /// What is known of a consumer that somebody has in hand.
    fn get(&self, name: &str) -> Result<Known> {
        self.find(name).ok_or_else(|| {
            let message = format!("the consumer {name:?} was removed");
            Error::new(ErrorKind::InvalidArgument, message)
        })
    }

    /// The position of a consumer that has one.
    fn position(&self, name: &str) -> Result<u64> {
        let known = self.get(name)?;
        match &known.damage {
            None => Ok(known.position),
            Some(damage) => {
                let message =
                    format!("the consumer {name:?} begins anew where it is told: {damage}");
                Err(Error::new(ErrorKind::PositionLost, message))
            }
        }
    }

    fn set(&self, name: &str, position: u64) {
        self.known.lock().insert(name.to_owned(), Known::at(position));
    }
}

struct Pin {
    consumers: Arc<Consumers>,
    position: u64,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pins = self.consumers.pins.lock();
        if let Some(place) = pins.iter().position(|pinned| *pinned == self.position) {
            pins.swap_remove(place);
        }
    }
}

/// A reader of the changes with a name, whose position outlives the process. Made by
/// [`FollowGraph::consumer`].
///
/// Every commit behind the position is handed out at least once: again after a crash, unless it was
/// acknowledged before. Like [`Changes`] it may go to another thread, and it does not keep the
/// graph open. Handles of the same name share one position, so have one at a time.
///
/// ```
/// use followgraph::FollowGraph;
/// use std::time::Duration;
/// let directory = tempfile::tempdir()?;
/// let graph = FollowGraph::open(directory.path())?;
/// let mut consumer = graph.consumer("webhooks")?;
/// graph.add_account("alice")?;
/// while let Some(commit) = consumer.next(Duration::ZERO)? {
///     // Deliver the changes; then:
///     consumer.acknowledge(commit.sequence)?;
/// }
/// assert_eq!(consumer.position(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Consumer {
    name: String,
    graph: Weak<Shared>,
    consumers: Arc<Consumers>,
    feed: Arc<Feed>,
    changes: Changes,
}

impl Consumer {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The last position that was acknowledged. 0 where it is not known, or the consumer was
    /// removed.
    pub fn position(&self) -> u64 {
        self.consumers.find(&self.name).map_or(0, |known| known.position)
    }

    /// The next commit that was not acknowledged and that this handle has not handed out, or `None`
    /// when there was none within `timeout`. As [`Changes::next`], which says what is handed out
    /// when.
    ///
    /// Several commits may be taken before one of them is acknowledged. A new handle begins with
    /// the first that was not.
    ///
    /// # Errors
    ///
    /// `PositionLost` when the consumer was so far behind that its part of the log was removed
    /// beyond [`retained_log_bytes`], when a bulk load came next, or when its position file was
    /// damaged. It stays so until [`resync`](Consumer::resync) or
    /// [`skip_to_oldest`](Consumer::skip_to_oldest). `InvalidArgument` when the consumer was
    /// removed; otherwise as [`Changes::next`].
    ///
    /// [`retained_log_bytes`]: crate::Options::retained_log_bytes
    pub fn next(&mut self, timeout: Duration) -> Result<Option<Commit>> {
        let position = self.consumers.position(&self.name)?;
        if self.changes.position() < position {
            self.changes.move_to(position);
        }
        self.changes.next(timeout)
    }

    /// Says that the commits up to this sequence number are done with: they are not handed out
    /// again after a crash, and the log is no longer kept for them. On disk when it returns. A
    /// number below the position changes nothing; one beyond what was handed out skips the rest.
    ///
    /// Cost: writing a small file and three waits for the disk, so it may well be called for every
    /// hundredth commit only. It keeps nobody waiting but other consumers that acknowledge.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for a number that is not durable yet, or when the consumer was removed;
    /// `PositionLost` where the position is not known; `Closed`, `Io`, `DiskFull`: the position is
    /// as it was.
    ///
    /// ```
    /// let graph = followgraph::FollowGraph::in_memory();
    /// let consumer = graph.consumer("audit")?;
    /// graph.add_account("alice")?;
    /// assert!(consumer.acknowledge(1).is_err());
    /// graph.sync()?;
    /// consumer.acknowledge(1)?;
    /// assert_eq!(graph.consumers(), [("audit".to_owned(), 1)]);
    /// # Ok::<(), followgraph::Error>(())
    /// ```
    pub fn acknowledge(&self, sequence: u64) -> Result<()> {
        let storage = self.feed.storage()?;
        let _alone = self.consumers.files.lock();
        if sequence <= self.consumers.position(&self.name)? {
            return Ok(());
        }
        let durable = self.feed.durable();
        if sequence > durable {
            let error = Error::new(ErrorKind::InvalidArgument, "nobody was handed this commit yet");
            return Err(error.expected(format!("at most {durable}"), sequence));
        }
        consumers::save(storage.as_ref(), self.feed.graph_id, &self.name, sequence)?;
        self.consumers.set(&self.name, sequence);
        Ok(())
    }

    /// Returns a handle that ends the waits of this one.
    pub fn canceller(&self) -> Canceller {
        self.changes.canceller()
    }

    /// Reads the whole graph and goes on from there: what keeps a mirror of the graph calls this to
    /// fill it the first time, and after `PositionLost`.
    ///
    /// `read` gets the graph as it is at one commit. When it returns `Ok`, that commit is the
    /// position of the consumer, on disk, and [`next`](Consumer::next) gives every commit after it:
    /// nothing is missed, and nothing comes twice. When it returns an error or panics, the position
    /// is as it was. Readers and writers go on meanwhile, and `read` may call the graph. The log
    /// after the commit is kept until `read` returns, whatever
    /// [`retained_log_bytes`](crate::Options::retained_log_bytes) says.
    ///
    /// Cost: reads and checks the image and the log, as [`verify`](FollowGraph::verify) does,
    /// before `read` is called. Waits until what was committed is on disk, whatever the durability.
    ///
    /// # Errors
    ///
    /// As [`acknowledge`](Consumer::acknowledge); `Reentrant` in a callback of a call that keeps
    /// checkpoints waiting; `Latched`, `Corrupt`.
    ///
    /// ```
    /// use followgraph::{Change, FollowGraph};
    /// use std::collections::BTreeSet;
    /// use std::time::Duration;
    /// let graph = followgraph::Options::new().create_missing_accounts(true).in_memory()?;
    /// graph.follow("alice", "bob")?;
    /// let mut mirror = BTreeSet::new();
    /// let mut apply = |change: Change| {
    ///     match change {
    ///         Change::Followed { follower, followed, .. } => mirror.insert((follower, followed)),
    ///         Change::Unfollowed { follower, followed } => mirror.remove(&(follower, followed)),
    ///         _ => false,
    ///     };
    /// };
    /// let mut consumer = graph.consumer("mirror")?;
    /// consumer.resync(|view| {
    ///     view.changes().try_for_each(|change| Ok::<_, followgraph::Error>(apply(change?)))
    /// })?;
    /// graph.follow("bob", "alice")?;
    /// graph.sync()?;
    /// while let Some(commit) = consumer.next(Duration::ZERO)? {
    ///     commit.changes.into_iter().for_each(&mut apply);
    ///     consumer.acknowledge(commit.sequence)?;
    /// }
    /// assert_eq!(mirror.len(), 2);
    /// # Ok::<(), followgraph::Error>(())
    /// ```
    pub fn resync<R, E: From<Error>>(
        &mut self,
        read: impl FnOnce(&View) -> Result<R, E>,
    ) -> Result<R, E> {
        let (view, pin) = self.view()?;
        let result = read(&view)?;
        let storage = self.feed.storage()?;
        let _alone = self.consumers.files.lock();
        self.consumers.get(&self.name)?;
        consumers::save(storage.as_ref(), self.feed.graph_id, &self.name, pin.position)?;
        self.consumers.set(&self.name, pin.position);
        self.changes.move_to(pin.position);
        Ok(result)
    }

    /// The graph as it is now, apart from the live one, with the log after it.
    fn view(&self) -> Result<(View, Pin)> {
        // The graph is not closed while its files are read, and not kept open after that.
        let _storage = self.feed.storage()?;
        let shared = self.graph.upgrade().ok_or(Error::bare(ErrorKind::Closed))?;
        let _turn = shared.checkpoint.take()?;
        let moment = shared.moment();
        let pin = self.consumers.pin(moment.sequence);
        shared.sync.wait_for(moment.sequence)?;
        Ok((View::new(shared.recover(&moment)?.graph), pin))
    }

    /// Goes on after `PositionLost` without what was lost: the position becomes the oldest that the
    /// log has, on disk when this returns, and is given back. What lies between is skipped. What
    /// keeps a mirror of the graph calls [`resync`](Consumer::resync) instead: what is committed
    /// between a look at the graph and this call may be in neither. A position that is in the log
    /// stays what it is.
    ///
    /// # Errors
    ///
    /// As [`acknowledge`](Consumer::acknowledge).
    ///
    /// ```
    /// use followgraph::{ErrorKind, FollowGraph};
    /// use std::time::Duration;
    /// let graph = FollowGraph::in_memory();
    /// let mut consumer = graph.consumer("webhooks")?;
    /// let mut load = graph.bulk_load(1 << 20)?;
    /// load.add("alice", "bob", None)?;
    /// load.finish(&mut |_, _| {})?;
    /// let error = consumer.next(Duration::ZERO).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::PositionLost);
    /// assert_eq!(consumer.skip_to_oldest()?, graph.stats().sequence);
    /// assert_eq!(consumer.next(Duration::ZERO)?, None);
    /// # Ok::<(), followgraph::Error>(())
    /// ```
    pub fn skip_to_oldest(&self) -> Result<u64> {
        let storage = self.feed.storage()?;
        let _alone = self.consumers.files.lock();
        let known = self.consumers.get(&self.name)?;
        let position = known.position.max(self.feed.log_start());
        if known.damage.is_some() || position > known.position {
            consumers::save(storage.as_ref(), self.feed.graph_id, &self.name, position)?;
            self.consumers.set(&self.name, position);
        }
        Ok(position)
    }
}

impl FollowGraph {
    /// The consumer of this name. A new one begins behind the last commit, waits until that is on
    /// disk, and is on disk itself when this returns.
    ///
    /// A name has 1 to 64 letters `a` to `z`, digits, hyphens and underscores. The position is a
    /// file in the directory of the graph; [`backup`](FollowGraph::backup) does not copy it.
    ///
    /// The log behind the position is kept for the consumer, beyond what the graph needs, up to
    /// [`retained_log_bytes`](crate::Options::retained_log_bytes). A consumer that is no longer
    /// used takes up that room until it is removed.
    ///
    /// Cost: for a new one, three waits for the disk, and a fourth where the last commit is not
    /// durable yet.
    ///
    /// # Errors
    ///
    /// `ReadOnly`, `InvalidArgument` for another name; for a new one `Latched`, `Io`, `DiskFull`.
    /// A position that is lost is an error of [`Consumer::next`].
    ///
    /// ```
    /// use std::time::Duration;
    /// let graph = followgraph::FollowGraph::in_memory();
    /// graph.add_account("alice")?;
    /// let mut consumer = graph.consumer("webhooks")?;
    /// graph.add_account("bob")?;
    /// graph.sync()?;
    /// let commit = consumer.next(Duration::from_secs(1))?.expect("bob was added");
    /// // It was not acknowledged, so whoever comes next gets it again.
    /// let mut consumer = graph.consumer("webhooks")?;
    /// assert_eq!(consumer.next(Duration::from_secs(1))?, Some(commit));
    /// # Ok::<(), followgraph::Error>(())
    /// ```
    pub fn consumer(&self, name: &str) -> Result<Consumer> {
        check_consumer_name(name)?;
        self.shared.refuse_if_not_writer()?;
        let position = self.shared.find_or_make_consumer(name)?;
        let feed = self.shared.feed.clone();
        Ok(Consumer {
            name: name.to_owned(),
            graph: Arc::downgrade(&self.shared),
            consumers: self.shared.consumers.clone(),
            changes: Changes::new(feed.clone(), position),
            feed,
        })
    }

    /// The names of all consumers, ascending, with their positions: 0 where one is not known
    /// because its file was damaged. On a handle that only reads, as their files say now.
    ///
    /// ```
    /// let graph = followgraph::FollowGraph::in_memory();
    /// graph.consumer("webhooks")?;
    /// assert_eq!(graph.consumers(), [("webhooks".to_owned(), 0)]);
    /// # Ok::<(), followgraph::Error>(())
    /// ```
    pub fn consumers(&self) -> Vec<(String, u64)> {
        if self.is_read_only() {
            return self.shared.positions_elsewhere();
        }
        let known = self.shared.consumers.known.lock();
        known.iter().map(|(name, known)| (name.clone(), known.position)).collect()
    }

    /// Removes a consumer and its position: `Ok(true)` if there was one. Handles of it give errors
    /// from then on. The log that was kept for it goes with the next checkpoint.
    ///
    /// # Errors
    ///
    /// `ReadOnly`. `Io`: it may still be there, now or after a crash; repeat the call.
    ///
    /// ```
    /// let graph = followgraph::FollowGraph::in_memory();
    /// graph.consumer("webhooks")?;
    /// assert!(graph.remove_consumer("webhooks")?);
    /// assert!(!graph.remove_consumer("webhooks")?);
    /// # Ok::<(), followgraph::Error>(())
    /// ```
    pub fn remove_consumer(&self, name: &str) -> Result<bool> {
        self.shared.refuse_if_not_writer()?;
        let consumers = &self.shared.consumers;
        let _alone = consumers.files.lock();
        // One that could not be made may have left its file all the same.
        let had_file = consumers::remove(self.shared.storage.as_ref(), name)?;
        let was_known = consumers.known.lock().remove(name).is_some();
        Ok(had_file || was_known)
    }
}

impl Shared {
    /// The positions that another process keeps.
    fn positions_elsewhere(&self) -> Vec<(String, u64)> {
        let loaded = consumers::load(self.storage.as_ref(), self.feed.graph_id);
        let loaded = loaded.unwrap_or_default().into_iter();
        let mut positions: Vec<(String, u64)> =
            loaded.map(|(name, position)| (name, position.unwrap_or(0))).collect();
        positions.sort();
        positions
    }

    fn find_or_make_consumer(&self, name: &str) -> Result<u64> {
        let consumers = &self.consumers;
        let _alone = consumers.files.lock();
        if let Some(known) = consumers.find(name) {
            return Ok(known.position);
        }
        let position = {
            // No checkpoint retires what comes next before it is noted that somebody wants it.
            let commit = self.commit.lock();
            consumers.set(name, commit.sequence);
            commit.sequence
        };
        // A position of commits that are lost would skip those that get their numbers.
        let made = self.sync.wait_for(position).and_then(|()| {
            consumers::save(self.storage.as_ref(), self.feed.graph_id, name, position)
        });
        if made.is_err() {
            consumers.known.lock().remove(name);
        }
        made.map(|()| position)
    }
}
