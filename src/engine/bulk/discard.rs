//! Removing a graph that nothing was ever put into.

use super::super::FollowGraph;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::remove_graph;

impl FollowGraph {
    /// Removes the files of this graph, if it has no account and never had one. Returns whether it
    /// did. The directory stays. Afterwards this handle refuses to write; drop it.
    ///
    /// This is for a graph that was made to be loaded, where the load failed or is to be given up:
    /// one that is being finished on another thread fails then.
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
        shared.refuse_if_not_writer()?;
        // A bulk load holds the first lock until its image is there: it meets the second one then.
        let mut turn = shared.checkpoint.try_take();
        if turn.is_none() && !shared.commit.lock().bulk_loading {
            turn = Some(shared.checkpoint.take()?);
        }
        let mut commit = shared.commit.lock();
        if turn.is_none() && !commit.bulk_loading {
            let message = "a bulk load ended at this moment";
            return Err(Error::new(ErrorKind::Reentrant, message));
        }
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
