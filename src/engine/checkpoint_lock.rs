//! The lock of whatever needs the image and the log to stay as they are for a while: checkpoint,
//! verify, backup, the beginning of a comparison, the end of a bulk load.
//!
//! Some of these call the caller back while they hold it. A thread that takes the lock a second
//! time gets an error instead of waiting for itself.

use crate::error::{Error, ErrorKind, Result};
use crate::locks::{Mutex, MutexGuard, ThreadId, current_thread};

#[derive(Default)]
pub(super) struct CheckpointLock {
    turn: Mutex<()>,
    holder: Mutex<Option<ThreadId>>,
}

/// Holds the lock until it is dropped.
pub(super) struct Turn<'a> {
    holder: &'a Mutex<Option<ThreadId>>,
    _turn: MutexGuard<'a, ()>,
}

impl CheckpointLock {
    /// Waits for the lock. Errors: `Reentrant` where this thread has it.
    pub(super) fn take(&self) -> Result<Turn<'_>> {
        if *self.holder.lock() == Some(current_thread().id()) {
            let message = "a callback of verify or of a bulk load called checkpoint, verify, \
                           backup, compare or resync; call it after that one has returned";
            return Err(Error::new(ErrorKind::Reentrant, message));
        }
        Ok(self.taken(self.turn.lock()))
    }

    /// Takes the lock where nobody has it.
    pub(super) fn try_take(&self) -> Option<Turn<'_>> {
        self.turn.try_lock().map(|turn| self.taken(turn))
    }

    fn taken<'a>(&'a self, turn: MutexGuard<'a, ()>) -> Turn<'a> {
        *self.holder.lock() = Some(current_thread().id());
        Turn { holder: &self.holder, _turn: turn }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.holder.lock() = None;
    }
}
