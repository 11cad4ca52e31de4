//! Removals that take more than one commit: each slice is a commit of its own, so that readers and
//! other writers have their turn between two, and a crash leaves an account with fewer follows.

use super::{FollowGraph, Shared};
use crate::error::Result;
use crate::format::RECORD_BYTES_MAX;
use crate::graph::RemovalPlace;
use crate::locks::MutexGuard;

impl FollowGraph {
    /// Goes on with every removal that was interrupted before the graph was opened, and returns
    /// when those accounts are gone. Opening a graph does the same in the background, so that this
    /// is for who has to wait for it; where nothing was interrupted, it returns at once.
    ///
    /// # Errors
    ///
    /// As [`apply`](FollowGraph::apply). What is gone stays gone.
    ///
    /// ```
    /// let graph = followgraph::FollowGraph::in_memory();
    /// graph.finish_removals()?;
    /// assert_eq!(graph.stats().being_removed_account_count, 0);
    /// # Ok::<(), followgraph::Error>(())
    /// ```
    pub fn finish_removals(&self) -> Result<()> {
        self.shared.finish_removals()
    }

    /// Whether an account is being removed, or is gone.
    #[cfg(any(feature = "server", feature = "testing"))]
    pub(crate) fn is_leaving(&self, id: crate::types::AccountId) -> bool {
        let stays = self.shared.state.read().check_stays(id.0);
        stays.is_err_and(|error| error.kind() != crate::error::ErrorKind::Corrupt)
    }
}

/// More follows than this are not taken into one frame, whatever fits into one slice.
pub(super) const SLICE_MAX: usize = 1 << 16;

impl Shared {
    /// Takes every removal that has begun to its end.
    pub(super) fn finish_removals(&self) -> Result<()> {
        let (mut next, mut last_sequence) = (0, 0);
        loop {
            let (found, is_over) = {
                let graph = self.state.read();
                let is_over =
                    graph.totals().being_removed_count == 0 || next == graph.accounts().len();
                (graph.next_being_removed(&mut next), is_over)
            };
            match found {
                Some(id) => last_sequence = self.finish_removal(id)?,
                None if is_over => return self.wait_if_always(last_sequence),
                None => {}
            }
        }
    }

    /// Takes the removal of an account that has begun to its end, and gives the sequence number
    /// that has to be on disk then. Any number of threads may be at it. When the graph is closed it
    /// ends early.
    pub(super) fn finish_removal(&self, id: u32) -> Result<u64> {
        let record_count_max = self.options.removal_slice.min(SLICE_MAX) + 1;
        let room_bytes = (record_count_max * RECORD_BYTES_MAX) as u64;
        let mut place = RemovalPlace::default();
        loop {
            let written =
                self.write(None, room_bytes, |editor| editor.remove_slice(id, &mut place))?;
            if written.result? {
                let discarded = self.state.write().take_discarded();
                drop(discarded);
                return Ok(written.sequence);
            }
            if self.signal.is_stopping() {
                return Ok(written.sequence);
            }
            // Whoever waits for the commit lock gets it now.
            MutexGuard::unlock_fair(self.commit.lock());
        }
    }
}
