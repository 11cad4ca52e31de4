//! A handle that only reads, and follows what another process writes.
//!
//! To this handle a commit is a frame that somebody else wrote: it is applied under the commit lock
//! and the state lock like one of its own, so what recovers a private graph from the image and the
//! log (`verify`, `backup`) finds the same order of things here. A checkpoint is an image that
//! somebody else wrote: it is opened privately and changes places with the live graph.
//!
//! **A read sees every commit that returned [`LOOK_INTERVAL`] before it began.** One that comes
//! later than that after the last look at the log looks again, and applies what is there. A thread
//! looks now and then too, so that a handle nobody asks does not fall far behind.
//!
//! **A handle never goes back and never mixes.** Where the log cannot be followed any more, the
//! graph is opened anew; where that gives an earlier state or another graph, reads are refused.
//!
//! Lock order: the lock of the place in the log comes before the commit lock, and whoever holds it
//! only tries for the checkpoint lock.

use super::{FollowGraph, Shared};
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::locks::{Mutex, RwLockReadGuard};
use crate::storage::{LogSync, ReadOnlyDirectory, give_back_freed_memory};
use crate::store::{Seen, Store, Tail, Watched, newest};
use crate::workers::processor_count;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How old a look at the log may be for a read to rest on it.
const LOOK_INTERVAL: Duration = Duration::from_micros(200);
/// The same after a failure, when a look opens the graph anew.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);
/// How often the thread looks, for frames and for a newer image.
const BACKGROUND_INTERVAL: Duration = Duration::from_millis(50);
/// How many times in a row the thread finds the log to end in a way it should not before it has
/// the graph opened anew to see why.
const DOUBTS_MAX: u32 = 4;

/// What a handle that only reads has beside the others.
pub(super) struct Reader {
    /// The same as the storage of the handle.
    directory: Arc<ReadOnlyDirectory>,
    place: Mutex<Place>,
    /// Held while a newer image is opened apart; taken before every other lock.
    adopting: Mutex<()>,
    started: Instant,
    /// When the last look at the log began, in nanoseconds since the start.
    looked_at: AtomicU64,
    /// Whether there is a failure. Set before the state lock is given back, so that nobody reads
    /// what a failure left.
    failed: AtomicBool,
    failure: Mutex<Option<Error>>,
}

/// Where in the log the live graph stands.
struct Place {
    tail: Tail,
    /// How many times in a row the thread found the log to end here in a way it should not.
    doubts: u32,
    /// The position behind which opening anew found the log to end so indeed.
    accepted: Option<u64>,
}

/// The log of another process: there is nothing to sync.
pub(super) struct OthersLog;

impl LogSync for OthersLog {
    fn sync(&self) -> Result<()> {
        Err(Error::read_only())
    }
}

impl Reader {
    pub(super) fn new(directory: Arc<ReadOnlyDirectory>, tail: Tail) -> Reader {
        Reader {
            directory,
            place: Mutex::new(Place { tail, doubts: 0, accepted: None }),
            adopting: Mutex::new(()),
            started: Instant::now(),
            looked_at: AtomicU64::new(0),
            failed: AtomicBool::new(false),
            failure: Mutex::new(None),
        }
    }

    fn now(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }

    /// Whether a read at this time has to look at the log first.
    fn is_due(&self, now: u64) -> bool {
        let failed = self.failed.load(Ordering::Acquire);
        let interval = if failed { RETRY_INTERVAL } else { LOOK_INTERVAL };
        now.saturating_sub(self.looked_at.load(Ordering::Acquire)) >= interval.as_nanos() as u64
    }

    /// Why reads are refused, if they are.
    pub(super) fn failure(&self) -> Option<Error> {
        self.failure.lock().clone()
    }

    fn fail(&self, error: Error) {
        *self.failure.lock() = Some(error);
        self.failed.store(true, Ordering::Release);
    }

    fn recovered(&self) {
        self.failed.store(false, Ordering::Release);
        *self.failure.lock() = None;
    }
}

impl FollowGraph {
    /// Whether this handle came from [`open_read_only`](FollowGraph::open_read_only).
    ///
    /// ```
    /// assert!(!followgraph::FollowGraph::in_memory().is_read_only());
    /// ```
    pub fn is_read_only(&self) -> bool {
        self.shared.reader.is_some()
    }

    /// The state, to answer a question: on a handle that only reads, as another process has
    /// written it until now.
    #[inline]
    pub(super) fn look(&self) -> Result<RwLockReadGuard<'_, Graph>> {
        match &self.shared.reader {
            None => Ok(self.shared.state.read()),
            Some(reader) => self.shared.look_elsewhere(reader),
        }
    }
}

impl Shared {
    /// Why reads are refused on a handle that follows another process, if they are.
    pub(super) fn reader_failure(&self) -> Option<String> {
        self.reader.as_ref()?.failure().map(|failure| failure.to_string())
    }

    /// Applies what another process has written until now, where one does.
    pub(super) fn keep_up(&self) {
        if let Some(reader) = &self.reader
            && reader.is_due(reader.now())
        {
            let mut place = reader.place.lock();
            let now = reader.now();
            // Somebody may have looked while this one waited for the lock.
            if reader.is_due(now) && self.look_again(reader, &mut place, now) == Some(Seen::Lost) {
                // Whoever opens a newer image at this moment brings what this read has to see.
                drop(place);
                drop(reader.adopting.lock());
                self.look_again(reader, &mut reader.place.lock(), now);
            }
        }
    }

    /// As [`keep_up`](Shared::keep_up), and fails where reads are refused.
    pub(super) fn keep_up_or_fail(&self) -> Result<()> {
        self.keep_up();
        self.reader.as_ref().and_then(Reader::failure).map_or(Ok(()), Err)
    }

    fn look_elsewhere(&self, reader: &Reader) -> Result<RwLockReadGuard<'_, Graph>> {
        self.keep_up();
        let graph = self.state.read();
        if !reader.failed.load(Ordering::Acquire) {
            return Ok(graph);
        }
        match reader.failure() {
            Some(failure) => Err(failure),
            // It was overcome this moment.
            None => Ok(graph),
        }
    }

    fn look_again(&self, reader: &Reader, place: &mut Place, now: u64) -> Option<Seen> {
        let outcome = if reader.failed.load(Ordering::Acquire) {
            // What failed once is not gone on with: only opening anew shows what there is.
            self.reopen(reader, place).map(|()| Seen::Nothing)
        } else {
            self.catch_up(reader, place)
        };
        // Only now: whoever finds this look to be young enough relies on what it brought. One that
        // lost its place and could not open the graph anew brought nothing.
        if !matches!(outcome, Ok(Seen::Lost)) {
            reader.looked_at.store(now, Ordering::Release);
        }
        outcome.map_err(|error| reader.fail(error)).ok()
    }

    /// Applies all frames there are, and says what lies behind them.
    fn catch_up(&self, reader: &Reader, place: &mut Place) -> Result<Seen> {
        loop {
            let seen = place.tail.look()?;
            // The follows of a bulk load are in its image alone, and the log goes on behind that.
            let is_empty = self.state.read().accounts().len() == 0;
            if seen == Seen::Lost || (is_empty && self.is_superseded(reader)?) {
                let position = place.tail.position();
                self.reopen(reader, place)?;
                if place.tail.position() == position {
                    return Ok(Seen::Lost);
                }
                continue;
            }
            if seen != Seen::Frames {
                return Ok(seen);
            }
            let mut commit = self.commit.lock();
            let mut graph = self.state.write();
            if let Err(error) = place.tail.apply(&mut graph) {
                // Frames that check out and do not fit are of another history.
                reader.fail(error);
                drop((graph, commit));
                self.reopen(reader, place)?;
                continue;
            }
            commit.sequence = place.tail.position();
            commit.store.watch(place.tail.segments());
            self.sync.watched(commit.store.log_end(commit.sequence), place.tail.durable_sequence());
        }
    }

    /// The sequence number of the image below the live graph.
    fn image_sequence(&self) -> u64 {
        self.state.read().image().header.position.sequence
    }

    /// Whether there is a newer image than the one below the live graph.
    fn is_superseded(&self, reader: &Reader) -> Result<bool> {
        Ok(newest(&reader.directory)?.0.is_some_and(|newest| newest > self.image_sequence()))
    }

    /// Opens the graph anew in the place of the live one. While somebody recovers a graph of the
    /// files this one rests on, it stays as it is.
    fn reopen(&self, reader: &Reader, place: &mut Place) -> Result<()> {
        let Some(_alone) = self.checkpoint.try_take() else {
            return reader.failure().map_or(Ok(()), Err);
        };
        let opened = Watched::open(&reader.directory, processor_count)?;
        self.replace(reader, place, opened)
    }

    /// Puts a graph that was opened apart in the place of the live one. The caller holds the
    /// checkpoint lock.
    fn replace(&self, reader: &Reader, place: &mut Place, opened: Watched) -> Result<()> {
        let Watched { directory, mut graph, mut tail, .. } = opened;
        let identity = graph.image().header.identity;
        let mut commit = self.commit.lock();
        if identity != commit.store.identity() {
            let message = "there is another graph in this directory now; open it again";
            return Err(Error::corrupt(message).at_path(&self.storage.path("")));
        }
        let (before, now) = (commit.sequence, tail.position());
        if now < before {
            let message = "the directory holds an earlier state of the graph than was read from \
                           it; open it again to go back";
            return Err(Error::corrupt(message)
                .at_path(&self.storage.path(""))
                .expected(before, now));
        }
        let image_sequence = graph.image().header.position.sequence;
        let segments = tail.segments().to_vec();
        commit.store = Store::watched(self.storage.clone(), identity, image_sequence, segments);
        commit.sequence = now;
        self.sync.watched(commit.store.log_end(now), tail.durable_sequence());
        reader.directory.hold_as(&directory);
        tail.rest_on(reader.directory.clone());
        *place = Place { tail, doubts: 0, accepted: None };
        {
            let mut live = self.state.write();
            std::mem::swap(&mut *live, &mut graph);
            reader.recovered();
        }
        drop(commit);
        // The graph before is taken apart here, when nobody waits.
        drop(graph);
        Ok(())
    }

    /// Follows another process until the handle is closed.
    pub(super) fn follow_in_background(&self) {
        let Some(reader) = &self.reader else { return };
        while self.signal.wait_for(BACKGROUND_INTERVAL) {
            self.look_around(reader);
        }
    }

    /// Keeps near the end of the log, goes over to a newer image, and doubts a log that seems to
    /// have ended.
    fn look_around(&self, reader: &Reader) {
        let (seen, position) = {
            let mut place = reader.place.lock();
            let now = reader.now();
            (self.look_again(reader, &mut place, now), place.tail.position())
        };
        // What fails here fails in the next look too, or it was nothing.
        let (Some(seen), Ok((newest_image, newest_segment))) = (seen, newest(&reader.directory))
        else {
            return;
        };
        if newest_image.is_some_and(|newest| newest > self.image_sequence()) {
            let _ = self.adopt_newer_image(reader);
        }
        let mut place = reader.place.lock();
        // A frame that stays half written, or a later segment and no frame before it: a writer
        // that was killed, or damage.
        let is_behind = newest_segment.is_some_and(|first| first > position + 1);
        let is_doubtful = seen == Seen::Unfinished || is_behind;
        let is_known = place.accepted == Some(position);
        if place.tail.position() != position || !is_doubtful || is_known {
            place.doubts = 0;
            return;
        }
        place.doubts += 1;
        if place.doubts >= DOUBTS_MAX {
            match self.reopen(reader, &mut place) {
                Ok(()) => place.accepted = Some(position),
                Err(error) => reader.fail(error),
            }
        }
    }

    /// Goes over to a newer image: opened and caught up apart, while the live graph answers.
    fn adopt_newer_image(&self, reader: &Reader) -> Result<()> {
        let _adopting = reader.adopting.lock();
        let Some(_alone) = self.checkpoint.try_take() else { return Ok(()) };
        let mut opened = Watched::open(&reader.directory, || 1)?;
        let mut place = reader.place.lock();
        while opened.tail.position() < place.tail.position() && opened.tail.look()? == Seen::Frames
        {
            opened.tail.apply(&mut opened.graph)?;
        }
        let freed_bytes = self.state.read().heap_bytes();
        self.replace(reader, &mut place, opened)?;
        drop(place);
        give_back_freed_memory(freed_bytes);
        Ok(())
    }
}
