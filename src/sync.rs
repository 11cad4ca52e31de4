//! Group commit: one wait for the disk serves everybody who waits.
//!
//! Invariants: `durable` never exceeds what has been synced; a failed sync is never tried again,
//! because the kernel may have dropped the dirty pages and would report success over lost data.

use crate::error::{Error, ErrorKind, Result};
use crate::locks::{AtomicU64, Condvar, Mutex, MutexGuard, yield_now};
use crate::log::LogEnd;
use crate::storage::LogSync;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Knows what is written and what is on disk.
pub(crate) struct GroupSync {
    state: Mutex<SyncState>,
    /// A sync is over, or the graph is closed.
    finished: Condvar,
    /// A copy of the state's, for the frames that carry it.
    durable: AtomicU64,
    sync_count: AtomicU64,
    sync_nanoseconds: AtomicU64,
}

/// Until when somebody waits: for ever where the clock does not go so far.
#[derive(Clone, Copy)]
pub(crate) struct Deadline(Option<Instant>);

impl Deadline {
    /// So long from now.
    pub(crate) fn after(timeout: Duration) -> Deadline {
        Deadline(Instant::now().checked_add(timeout))
    }
}

struct SyncState {
    written: LogEnd,
    durable: LogEnd,
    syncing: bool,
    /// Whether the graph is closed to those who read its log.
    closed: bool,
    /// Segments with frames that may not be on disk, oldest first; the last one is being written.
    dirty: Vec<Arc<dyn LogSync>>,
    failure: Option<Error>,
}

impl GroupSync {
    /// Begins with a log that ends at `written` and is on disk up to `durable`, and the segments
    /// that may not be, the one that is written next last.
    pub(crate) fn new(durable: u64, written: LogEnd, dirty: Vec<Arc<dyn LogSync>>) -> GroupSync {
        assert!(!dirty.is_empty(), "there is an active segment");
        GroupSync {
            state: Mutex::new(SyncState {
                written,
                // Where the two differ nobody reads up to there before the first sync.
                durable: LogEnd { sequence: durable, ..written },
                syncing: false,
                closed: false,
                dirty,
                failure: None,
            }),
            finished: Condvar::new(),
            durable: AtomicU64::new(durable),
            sync_count: AtomicU64::new(0),
            sync_nanoseconds: AtomicU64::new(0),
        }
    }

    /// The log was written up to there. Called in the order of the sequence numbers.
    pub(crate) fn wrote(&self, end: LogEnd) {
        self.state.lock().written = end;
    }

    /// Another process wrote the log up to there, and says so much of it is on disk.
    pub(crate) fn watched(&self, end: LogEnd, durable: u64) {
        let mut state = self.state.lock();
        let durable = durable.max(state.durable.sequence);
        state.written = end;
        state.durable = LogEnd { sequence: durable, ..end };
        self.durable.store(durable, Ordering::Release);
    }

    /// From now on frames go to another segment.
    pub(crate) fn rotated(&self, active: Arc<dyn LogSync>) {
        self.state.lock().dirty.push(active);
    }

    /// The highest sequence number known to be on disk.
    pub(crate) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// How far the log is known to be on disk.
    pub(crate) fn durable_end(&self) -> LogEnd {
        self.state.lock().durable
    }

    /// How many times the disk was waited for.
    pub(crate) fn sync_count(&self) -> u64 {
        self.sync_count.load(Ordering::Relaxed)
    }

    /// How long the disk was waited for, all syncs together.
    pub(crate) fn sync_time(&self) -> Duration {
        Duration::from_nanos(self.sync_nanoseconds.load(Ordering::Relaxed))
    }

    /// Why writes are refused, if a sync failed.
    pub(crate) fn failure(&self) -> Option<Error> {
        self.state.lock().failure.clone()
    }

    /// Refuses writes from now on.
    pub(crate) fn fail(&self, error: &Error) {
        self.state.lock().failure.get_or_insert_with(|| error.clone());
        self.finished.notify_all();
    }

    /// Refuses writes from now on, and gives what the one says that found out.
    pub(crate) fn latch(&self, error: &Error) -> Error {
        self.fail(error);
        latched(error)
    }

    /// Waits until frame `sequence` is on disk. Whoever finds nobody syncing does it for all that
    /// was written by then; the others wait for the result.
    pub(crate) fn wait_for(&self, sequence: u64) -> Result<()> {
        let mut state = self.state.lock();
        loop {
            if state.durable.sequence >= sequence {
                return Ok(());
            }
            if let Some(failure) = &state.failure {
                return Err(latched(failure));
            }
            if state.syncing {
                self.finished.wait(&mut state);
                continue;
            }
            state.syncing = true;
            gather(&mut state);
            let (target, segments) = (state.written, state.dirty.clone());
            drop(state);
            let started = Instant::now();
            let outcome = segments.iter().try_for_each(|segment| segment.sync());
            let nanoseconds = started.elapsed().as_nanos() as u64;
            self.sync_nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
            self.sync_count.fetch_add(1, Ordering::Relaxed);
            state = self.state.lock();
            state.syncing = false;
            match outcome {
                Ok(()) => {
                    state.durable = target;
                    self.durable.store(target.sequence, Ordering::Release);
                    // The last of these may still be written to; those before it are done.
                    state.dirty.drain(..segments.len() - 1);
                }
                Err(error) => state.failure = Some(error),
            }
            self.finished.notify_all();
        }
    }

    /// Waits until everything written so far is on disk.
    pub(crate) fn wait_for_all(&self) -> Result<()> {
        let written = self.state.lock().written.sequence;
        self.wait_for(written)
    }

    /// Waits until frames behind `sequence` are on disk, without making anybody write them there,
    /// and says how far the log is. `None` when it is not so by the deadline; an error once the
    /// graph is closed, or the wait was cancelled.
    pub(crate) fn wait_beyond(
        &self,
        sequence: u64,
        deadline: Deadline,
        cancelled: &AtomicBool,
    ) -> Result<Option<LogEnd>> {
        let mut state = self.state.lock();
        let mut is_over = false;
        loop {
            if state.closed {
                return Err(Error::bare(ErrorKind::Closed));
            }
            if cancelled.load(Ordering::Acquire) {
                return Err(Error::bare(ErrorKind::Cancelled));
            }
            if state.durable.sequence > sequence {
                return Ok(Some(state.durable));
            }
            if is_over {
                return Ok(None);
            }
            match deadline.0 {
                Some(deadline) => {
                    is_over = self.finished.wait_until(&mut state, deadline).timed_out();
                }
                None => self.finished.wait(&mut state),
            }
        }
    }

    /// Ends every [`wait_beyond`](GroupSync::wait_beyond) of this flag, now and from now on.
    pub(crate) fn cancel(&self, cancelled: &AtomicBool) {
        // Under the lock, so that nobody looks at the flag before and sleeps after.
        let state = self.state.lock();
        cancelled.store(true, Ordering::Release);
        drop(state);
        self.finished.notify_all();
    }

    /// Ends [`wait_beyond`](GroupSync::wait_beyond), now and from now on.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.finished.notify_all();
    }
}

/// How often a sync lets others go first, at most.
const GATHER_ROUNDS_MAX: u32 = 16;

/// Lets those write who are about to, as long as they do. After a sync everybody it served comes
/// back with the next commit, one after the other: without this the first one's sync would serve it
/// alone, and all others would wait for that one and then for their own. Who is alone pays one
/// yield, which is nothing beside a sync.
fn gather(state: &mut MutexGuard<'_, SyncState>) {
    for _ in 0..GATHER_ROUNDS_MAX {
        let written = state.written.sequence;
        MutexGuard::unlocked(state, yield_now);
        if state.written.sequence == written {
            return;
        }
    }
}

/// What a write says after an earlier one failed.
pub(crate) fn latched(failure: &Error) -> Error {
    let message = format!("open the graph again to go on; the failure was: {failure}");
    Error::new(ErrorKind::Latched, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Disk {
        fails: AtomicBool,
        sync_count: AtomicU64,
    }

    impl LogSync for Disk {
        fn sync(&self) -> Result<()> {
            if self.fails.load(Ordering::Relaxed) {
                return Err(Error::new(ErrorKind::Io, "the disk is gone"));
            }
            self.sync_count.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    }

    fn end(sequence: u64) -> LogEnd {
        LogEnd { sequence, first_sequence: 1, end_bytes: 64 + 40 * sequence }
    }

    #[test]
    fn a_sync_covers_everything_written_before_it() {
        let sync = GroupSync::new(0, end(0), vec![Arc::new(Disk::default())]);
        sync.wrote(end(1));
        sync.wrote(end(2));
        sync.rotated(Arc::new(Disk::default()));
        sync.wrote(end(3));
        sync.wait_for(1).expect("the disk works");
        assert_eq!((sync.durable(), sync.sync_count()), (3, 1));
        sync.wait_for(3).expect("it is durable already");
        assert_eq!(sync.sync_count(), 1);
    }

    /// A segment that is left behind goes to the disk in the same sync.
    #[test]
    fn a_sync_takes_every_segment_that_was_written_to() {
        let disks: Vec<Arc<Disk>> = (0..3).map(|_| Arc::default()).collect();
        let sync = GroupSync::new(0, end(0), vec![disks[0].clone()]);
        sync.wrote(end(1));
        for disk in &disks[1..] {
            sync.rotated(disk.clone());
        }
        sync.wrote(end(2));
        let counts = || -> Vec<u64> {
            disks.iter().map(|disk| disk.sync_count.load(Ordering::Relaxed)).collect()
        };
        sync.wait_for(2).expect("the disk works");
        assert_eq!(counts(), [1, 1, 1]);
        sync.wrote(end(3));
        sync.wait_for(3).expect("the disk works");
        assert_eq!(counts(), [1, 1, 2]);
    }

    #[test]
    fn a_failed_sync_latches() {
        let disk = Arc::new(Disk::default());
        let sync = GroupSync::new(0, end(0), vec![disk.clone()]);
        sync.wrote(end(1));
        sync.wait_for(1).expect("the disk works");
        disk.fails.store(true, Ordering::Relaxed);
        sync.wrote(end(2));
        assert_eq!(sync.wait_for(2).unwrap_err().kind(), ErrorKind::Latched);
        disk.fails.store(false, Ordering::Relaxed);
        let again = sync.wait_for(2).unwrap_err();
        assert_eq!(again.kind(), ErrorKind::Latched);
        assert!(again.to_string().contains("the disk is gone"));
        sync.wait_for(1).expect("what was durable stays durable");
        assert_eq!(sync.durable(), 1);
    }

    #[test]
    fn who_waits_for_more_is_told_what_is_durable_and_nothing_else() {
        let sync = GroupSync::new(0, end(0), vec![Arc::new(Disk::default())]);
        let now = || Deadline::after(Duration::ZERO);
        let (never, no) = (Deadline(None), AtomicBool::new(false));
        sync.wrote(end(1));
        assert_eq!(sync.wait_beyond(0, now(), &no).expect("it is open"), None);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| sync.wait_beyond(0, never, &no));
            sync.wait_for_all().expect("the disk works");
            sync.wrote(end(2));
            assert_eq!(waiting.join().expect("no panic").expect("it is open"), Some(end(1)));
            let waiting = scope.spawn(|| sync.wait_beyond(1, never, &no));
            sync.close();
            let closed = waiting.join().expect("no panic").unwrap_err();
            assert_eq!(closed.kind(), ErrorKind::Closed);
        });
        assert_eq!(sync.wait_beyond(0, now(), &no).unwrap_err().kind(), ErrorKind::Closed);
    }
}
