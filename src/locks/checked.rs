//! Locks of the checker of schedules, with the interface of `parking_lot`.
//!
//! What is not imitated: time. A wait with a deadline is a wait without one, so the schedules that
//! are tried have none.

use shuttle::sync;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

/// A thread that panics ends the schedule, so nobody sees what it left behind its locks.
fn whole<T>(taken: sync::LockResult<T>) -> T {
    taken.unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Mutex<T> {
        Mutex(sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard { mutex: self, held: Some(whole(self.0.lock())) }
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let held = self.0.try_lock().ok()?;
        Some(MutexGuard { mutex: self, held: Some(held) })
    }

    pub(crate) fn get_mut(&mut self) -> &mut T {
        whole(self.0.get_mut())
    }
}

/// Holds nothing only inside `unlocked` and the waits of a [`Condvar`].
pub(crate) struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    held: Option<sync::MutexGuard<'a, T>>,
}

impl<T> MutexGuard<'_, T> {
    pub(crate) fn unlock_fair(guard: Self) {
        drop(guard);
    }

    pub(crate) fn unlocked<R>(guard: &mut Self, run: impl FnOnce() -> R) -> R {
        guard.held = None;
        let done = run();
        guard.held = Some(whole(guard.mutex.0.lock()));
        done
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.held.as_ref().expect("it is held while it can be seen")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.held.as_mut().expect("it is held while it can be seen")
    }
}

#[derive(Debug, Default)]
pub(crate) struct Condvar(sync::Condvar);

/// How a wait with a deadline ended.
pub(crate) struct WaitTimeoutResult;

impl WaitTimeoutResult {
    #[allow(clippy::unused_self, reason = "it stands for a type that knows")]
    pub(crate) fn timed_out(&self) -> bool {
        false
    }
}

impl Condvar {
    pub(crate) fn new() -> Condvar {
        Condvar::default()
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }

    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let held = guard.held.take().expect("it is held while it can be seen");
        guard.held = Some(whole(self.0.wait(held)));
    }

    pub(crate) fn wait_until<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        _deadline: Instant,
    ) -> WaitTimeoutResult {
        self.wait(guard);
        WaitTimeoutResult
    }

    pub(crate) fn wait_for<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        _timeout: Duration,
    ) -> WaitTimeoutResult {
        self.wait(guard);
        WaitTimeoutResult
    }
}

#[derive(Debug, Default)]
pub(crate) struct RwLock<T>(sync::RwLock<T>);

pub(crate) type RwLockWriteGuard<'a, T> = sync::RwLockWriteGuard<'a, T>;

impl<T> RwLock<T> {
    pub(crate) fn new(value: T) -> RwLock<T> {
        RwLock(sync::RwLock::new(value))
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
        RwLockReadGuard(whole(self.0.read()))
    }

    pub(crate) fn try_read(&self) -> Option<RwLockReadGuard<'_, T>> {
        self.0.try_read().ok().map(RwLockReadGuard)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
        whole(self.0.write())
    }

    pub(crate) fn into_inner(self) -> T {
        whole(self.0.into_inner())
    }
}

pub(crate) struct RwLockReadGuard<'a, T>(sync::RwLockReadGuard<'a, T>);

impl<T> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<'a, T> RwLockReadGuard<'a, T> {
    pub(crate) fn try_map<U>(
        guard: Self,
        part: fn(&T) -> Option<&U>,
    ) -> Result<MappedRwLockReadGuard<'a, U>, Self>
    where
        T: 'a,
        U: 'a,
    {
        if part(&guard).is_none() {
            return Err(guard);
        }
        Ok(MappedRwLockReadGuard(Box::new(Part { guard, part })))
    }
}

/// A read guard that shows a part of what it guards.
pub(crate) struct MappedRwLockReadGuard<'a, U>(Box<dyn Deref<Target = U> + 'a>);

impl<U> Deref for MappedRwLockReadGuard<'_, U> {
    type Target = U;

    fn deref(&self) -> &U {
        &self.0
    }
}

struct Part<'a, T, U> {
    guard: RwLockReadGuard<'a, T>,
    part: fn(&T) -> Option<&U>,
}

impl<T, U> Deref for Part<'_, T, U> {
    type Target = U;

    fn deref(&self) -> &U {
        (self.part)(&self.guard).expect("it was there when the guard was taken")
    }
}
