//! The locks of the library: those of `parking_lot`, or those of a checker of schedules.
//!
//! Every room takes its locks from here. Ordinary builds get `parking_lot` as it is. With
//! `--cfg shuttle`, as `tests/threads` is built, the same code runs on locks whose every operation
//! is a point at which the checker chooses who goes on.

#[cfg(not(shuttle))]
pub(crate) use parking_lot::{
    Condvar, MappedRwLockReadGuard, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard,
};
#[cfg(not(shuttle))]
pub(crate) use std::{
    sync::atomic::AtomicU64,
    thread::{ThreadId, current as current_thread, yield_now},
};

#[cfg(shuttle)]
mod checked;
#[cfg(shuttle)]
pub(crate) use checked::{
    Condvar, MappedRwLockReadGuard, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard,
};
#[cfg(shuttle)]
pub(crate) use shuttle::{
    sync::atomic::AtomicU64,
    thread::{ThreadId, current as current_thread, yield_now},
};
