//! The end of a handle: an orderly close in the process that opened it, nothing in one that was
//! forked from that.

use super::{FollowGraph, Shared};
use crate::error::{Error, Result};
use crate::format::next_sequence;
use crate::log::frame_bytes;

impl Drop for FollowGraph {
    fn drop(&mut self) {
        if self.shared.is_forked() {
            // The threads were not forked, and locks that they held are never given back here.
            self.background.abandon();
            return;
        }
        self.shared.feed.close();
        self.background.stop(&self.shared.signal);
        self.shared.close();
    }
}

impl Shared {
    /// Whether this process was forked from the one that opened the graph.
    fn is_forked(&self) -> bool {
        std::process::id() != self.process_id
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

    /// Makes everything durable, says so in a last frame, and gives back the room behind it, so
    /// that the next open neither doubts the last commits nor looks for a torn tail.
    fn close(&self) {
        let mut commit = self.commit.lock();
        if commit.closed || self.refuse_if_latched(&commit).is_err() {
            return;
        }
        let Ok(sequence) = next_sequence(commit.sequence) else { return };
        let room = commit.store.reserve(frame_bytes(8) as u64, sequence, &self.sync);
        if room.is_err() || self.sync.wait_for_all().is_err() {
            return;
        }
        commit.records.clear();
        self.append_frame(&mut commit, sequence, sequence, None);
        if self.sync.wait_for(sequence).is_ok() {
            // Whether that works matters to the space on disk only.
            let _ = commit.store.truncate();
        }
    }
}
