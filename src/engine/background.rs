//! The threads behind a graph: syncing at an interval, checkpoints when the log has grown, removals
//! that were interrupted; or following another process.

use super::Shared;
use super::options::Durability;
use crate::error::{Error, ErrorKind, Result};
use crate::locks::{Condvar, Mutex};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// What the threads wait for.
#[derive(Default)]
pub(super) struct Signal {
    state: Mutex<SignalState>,
    changed: Condvar,
}

#[derive(Default)]
struct SignalState {
    stopping: bool,
    checkpoint_requested: bool,
    checkpoint_failure: Option<String>,
    last_checkpoint_at: Option<u32>,
}

impl Signal {
    /// Asks for a checkpoint.
    pub(super) fn request_checkpoint(&self) {
        let mut state = self.state.lock();
        state.checkpoint_requested = true;
        self.changed.notify_all();
    }

    /// Why the last checkpoint failed, if it did.
    pub(super) fn checkpoint_failure(&self) -> Option<String> {
        self.state.lock().checkpoint_failure.clone()
    }

    /// When the last checkpoint succeeded.
    pub(super) fn last_checkpoint_at(&self) -> Option<u32> {
        self.state.lock().last_checkpoint_at
    }

    /// Says how a checkpoint went that ended at `now`.
    pub(super) fn checkpoint_finished(&self, failure: Option<&Error>, now: u32) {
        let mut state = self.state.lock();
        state.checkpoint_requested = false;
        state.checkpoint_failure = failure.map(Error::to_string);
        if failure.is_none() {
            state.last_checkpoint_at = Some(now);
        }
    }

    /// Waits for a request; false when it is time to stop.
    fn wait_for_checkpoint(&self) -> bool {
        let mut state = self.state.lock();
        while !state.stopping && !state.checkpoint_requested {
            self.changed.wait(&mut state);
        }
        !state.stopping
    }

    /// Whether it is time to stop.
    pub(super) fn is_stopping(&self) -> bool {
        self.state.lock().stopping
    }

    /// Waits for an interval; false when it is time to stop.
    pub(super) fn wait_for(&self, interval: Duration) -> bool {
        let mut state = self.state.lock();
        if !state.stopping {
            self.changed.wait_for(&mut state, interval);
        }
        !state.stopping
    }
}

/// How long to wait before a removal goes on that the disk had no room for.
const REMOVAL_PAUSE: Duration = Duration::from_secs(1);

/// The running threads.
pub(super) struct Background {
    threads: Vec<JoinHandle<()>>,
}

impl Background {
    /// Starts what the options ask for. Where the system gives no thread for it, those that were
    /// started end, so that they do not keep the graph open.
    pub(super) fn start(shared: &Arc<Shared>) -> Result<Background> {
        let mut background = Background { threads: Vec::new() };
        if let Err(error) = background.start_all(shared) {
            // They have only just been started; what matters is why there are too few.
            let _ = background.stop(&shared.signal);
            return Err(error);
        }
        Ok(background)
    }

    fn start_all(&mut self, shared: &Arc<Shared>) -> Result<()> {
        let threads = &mut self.threads;
        if shared.reader.is_some() {
            threads.push(spawn("followgraph-follow", shared, Shared::follow_in_background)?);
            return Ok(());
        }
        if let Durability::Interval(interval) = shared.options.durability {
            threads.push(spawn("followgraph-sync", shared, move |shared| {
                while shared.signal.wait_for(interval) {
                    // A failure is latched; the next write says why.
                    if shared.sync.wait_for_all().is_err() {
                        return;
                    }
                }
            })?);
        }
        if shared.options.checkpoint_log_bytes.is_some() {
            threads.push(spawn("followgraph-checkpoint", shared, |shared| {
                while shared.signal.wait_for_checkpoint() {
                    // The outcome is kept for `stats`; a failed checkpoint changes nothing.
                    let _ = shared.checkpoint();
                }
            })?);
        }
        // What goes with an account of a sharded graph is said by those who feed it.
        let goes_on = shared.options.finishes_removals && shared.state.read().shards().is_none();
        if goes_on && shared.state.read().totals().being_removed_count > 0 {
            threads.push(spawn("followgraph-removal", shared, |shared| {
                // Of a failure that is latched the next write says why; any other may pass.
                while shared.finish_removals().is_err()
                    && shared.sync.failure().is_none()
                    && shared.signal.wait_for(REMOVAL_PAUSE)
                {}
            })?);
        }
        Ok(())
    }

    /// Ends the threads, after what they are at. Errors: `Panicked`, once.
    pub(super) fn stop(&mut self, signal: &Signal) -> Result<()> {
        signal.state.lock().stopping = true;
        signal.changed.notify_all();
        let mut stopped = Ok(());
        for thread in self.threads.drain(..) {
            let name = thread.thread().name().unwrap_or_default().to_owned();
            if thread.join().is_err() {
                let message = format!("the thread {name}; what was committed is not concerned");
                stopped = Err(Error::new(ErrorKind::Panicked, message));
            }
        }
        stopped
    }

    /// Forgets the threads, in a process that has a copy of the handle and none of the threads.
    pub(super) fn abandon(&mut self) {
        self.threads.drain(..).for_each(std::mem::forget);
    }
}

fn spawn(
    name: &str,
    shared: &Arc<Shared>,
    run: impl FnOnce(&Shared) + Send + 'static,
) -> Result<JoinHandle<()>> {
    let shared = shared.clone();
    std::thread::Builder::new().name(name.to_owned()).spawn(move || run(&shared)).map_err(
        |source| Error::new(ErrorKind::Io, format!("cannot start the thread {name}: {source}")),
    )
}
