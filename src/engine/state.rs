//! The lock around the state, and how a commit takes it.
//!
//! A change of the state takes well under a microsecond, so whoever finds the lock taken spins for
//! a while before going to sleep: being woken costs tens of microseconds. And a commit decides
//! under the shared lock, beside the readers, what it will change: only that last moment is alone.
//! `cargo bench --bench bars` compares the latency of readers beside a writer with readers alone.

use crate::graph::Graph;
use crate::locks::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::hint::spin_loop;
#[cfg(test)]
use std::sync::atomic::{AtomicU64, Ordering};

/// How often a reader looks again before it goes to sleep: a few microseconds.
const SPIN_COUNT: u32 = if cfg!(shuttle) { 1 } else { 128 };

/// The state behind its lock.
pub(super) struct State {
    graph: RwLock<Graph>,
    /// The most follows that came or went while readers waited for one commit.
    #[cfg(test)]
    pub(super) most_changed_alone: AtomicU64,
}

impl State {
    pub(super) fn new(graph: Graph) -> State {
        State {
            graph: RwLock::new(graph),
            #[cfg(test)]
            most_changed_alone: AtomicU64::new(0),
        }
    }

    /// The state, to read.
    #[inline]
    pub(super) fn read(&self) -> RwLockReadGuard<'_, Graph> {
        self.graph.try_read().unwrap_or_else(|| self.read_soon())
    }

    #[cold]
    fn read_soon(&self) -> RwLockReadGuard<'_, Graph> {
        for _ in 0..SPIN_COUNT {
            spin_loop();
            if let Some(graph) = self.graph.try_read() {
                return graph;
            }
        }
        self.graph.read()
    }

    /// The state, to change. The caller holds the commit lock.
    pub(super) fn write(&self) -> RwLockWriteGuard<'_, Graph> {
        self.graph.write()
    }

    /// The state for one commit. The caller holds the commit lock, so that nothing changes between
    /// a look and the change that rests on it.
    pub(super) fn draft(&self) -> Draft<'_> {
        Draft {
            state: self,
            changing: None,
            #[cfg(test)]
            follow_count_before: 0,
        }
    }
}

/// The state as one commit sees it: shared until it begins to change it, its own from then on.
pub(super) struct Draft<'a> {
    state: &'a State,
    changing: Option<RwLockWriteGuard<'a, Graph>>,
    #[cfg(test)]
    follow_count_before: u64,
}

impl Draft<'_> {
    /// Looks at the state.
    pub(super) fn look<R>(&self, look: impl FnOnce(&Graph) -> R) -> R {
        match &self.changing {
            Some(graph) => look(graph),
            None => look(&self.state.read()),
        }
    }

    /// Changes the state. Readers see nothing of the commit before all of it is done.
    pub(super) fn change(&mut self) -> &mut Graph {
        self.changing.get_or_insert_with(|| {
            let graph = self.state.write();
            #[cfg(test)]
            {
                self.follow_count_before = graph.totals().follow_count;
            }
            graph
        })
    }
}

#[cfg(test)]
impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if let Some(graph) = &self.changing {
            let changed = graph.totals().follow_count.abs_diff(self.follow_count_before);
            self.state.most_changed_alone.fetch_max(changed, Ordering::Relaxed);
        }
    }
}
