//! Removing a graph that nothing was ever put into.

use super::super::FollowGraph;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::remove_graph;

impl FollowGraph {
    /// Removes the files of this graph, if it has no account and never had one. Returns whether it
    /// did. The directory stays. Afterwards this handle refuses to write; drop it.
    ///
    /// This is for a graph that was made to be loaded, where the load failed.
    ///
    /// # Errors
    ///
    /// `ReadOnly`; `Io` when a file cannot be removed: some of them may be gone.
    ///
    /// ```
    /// use followgraph::FollowGraph;
    /// let directory = tempfile::tempdir()?;
    /// let graph = FollowGraph::open(directory.path())?;
    /// assert!(graph.discard_if_empty()?);
    /// assert!(graph.add_account("alice").is_err());
    /// assert_eq!(std::fs::read_dir(directory.path())?.count(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn discard_if_empty(&self) -> Result<bool> {
        let shared = &self.shared;
        shared.refuse_if_read_only()?;
        let _no_checkpoint = shared.checkpoint.take()?;
        let mut commit = shared.commit.lock();
        if shared.state.read().accounts().len() > 0 {
            return Ok(false);
        }
        // Nothing may be acknowledged from here on.
        shared.sync.latch(&Error::new(ErrorKind::Closed, "the graph was discarded"));
        remove_graph(shared.storage.as_ref())?;
        // There is no log to end.
        commit.closed = true;
        Ok(true)
    }
}
