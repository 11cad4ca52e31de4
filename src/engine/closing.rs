//! The end of a handle: an orderly close in the process that opened it, nothing in one that was
//! forked from that.

use super::{FollowGraph, Shared};
use crate::error::{Error, Result};
use crate::format::next_sequence;
use crate::log::frame_bytes;
use crate::storage::fork_count;

impl FollowGraph {
    /// Closes the graph: ends the [`Changes`](crate::Changes) and [`Consumer`](crate::Consumer)s
    /// that came from it and the threads in the background, and waits until everything committed is
    /// on disk. Dropping the handle does the same, but does not report what failed.
    ///
    /// A handle that is shared in an [`Arc`](std::sync::Arc) comes out of it with
    /// [`Arc::into_inner`](std::sync::Arc::into_inner).
    ///
    /// # Errors
    ///
    /// The graph is closed in each case. `Latched` when a write or a sync failed, now or before:
    /// what was committed since may be lost. `Io` or `DiskFull` when the end of the log could not
    /// be marked: everything committed is on disk. `Panicked` when a thread in the background, such
    /// as that of checkpoints, ended with a panic.
    ///
    /// ```
    /// use followgraph::FollowGraph;
    /// let directory = tempfile::tempdir()?;
    /// let graph = FollowGraph::open(directory.path())?;
    /// graph.add_account("alice")?;
    /// graph.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn close(mut self) -> Result<()> {
        self.shut()
    }

    /// Closes the graph. A second call finds nothing left to do.
    fn shut(&mut self) -> Result<()> {
        if self.shared.is_forked() {
            // The threads were not forked, and locks that they held are never given back here.
            self.background.abandon();
            return Err(Error::forked());
        }
        self.shared.feed.close();
        let stopped = self.background.stop(&self.shared.signal);
        self.shared.close().and(stopped)
    }
}

impl Drop for FollowGraph {
    fn drop(&mut self) {
        // Call `close` to get the error.
        let _ = self.shut();
    }
}

impl Shared {
    /// Whether this process was forked from the one that opened the graph.
    fn is_forked(&self) -> bool {
        fork_count() != self.fork_count
    }

    /// Refuses what only the process that opened the graph may do. Takes no lock.
    pub(super) fn refuse_if_forked(&self) -> Result<()> {
        if self.is_forked() { Err(Error::forked()) } else { Ok(()) }
    }

    /// Refuses writes by a handle that only reads, or of another process. Takes no lock.
    pub(super) fn refuse_if_not_writer(&self) -> Result<()> {
        self.refuse_if_forked()?;
        self.refuse_if_read_only()
    }

    /// Refuses writes by a handle that only reads.
    pub(super) fn refuse_if_read_only(&self) -> Result<()> {
        if self.reader.is_some() { Err(Error::read_only()) } else { Ok(()) }
    }

    /// Makes everything durable, says so in a last frame, and gives back the room after it, so
    /// that the next open neither doubts the last commits nor looks for a torn tail.
    fn close(&self) -> Result<()> {
        let mut commit = self.commit.lock();
        if commit.closed || self.reader.is_some() {
            return Ok(());
        }
        self.refuse_if_latched(&commit)?;
        self.sync.wait_for_all()?;
        let sequence = next_sequence(commit.sequence)?;
        commit.store.reserve(frame_bytes(8) as u64, sequence, &self.sync)?;
        commit.records.clear();
        self.append_frame(&mut commit, sequence, sequence, None);
        self.sync.wait_for(sequence)?;
        // Whether that works matters to the space on disk only.
        let _ = commit.store.truncate();
        Ok(())
    }
}
