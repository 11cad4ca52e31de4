//! Backups of a graph in use, and graphs made of backups.

use super::FollowGraph;
use crate::backup::{Destination, remove_leftovers, write_copy};
use crate::error::{Error, ErrorKind, Result};
use crate::restore::Source;
use crate::storage::{DirectoryStorage, Storage, fill, random_bytes};
use crate::types::{BackupCoverage, BackupReport, RestoreReport};
use std::path::Path;

/// Up to where [`FollowGraph::restore`] goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreTo {
    /// All there is.
    End,
    /// Every commit up to and including this sequence number, and none behind it.
    Sequence(u64),
}

impl FollowGraph {
    /// Backs the graph up, as it is on disk now, to a directory of its own, while readers and
    /// writers go on. An empty directory gets a whole copy, recounted and read back. A directory
    /// with a backup of this graph gets what the log has since, in one more file.
    ///
    /// The backup opens as a graph at exactly the sequence number of the report. Opened and not
    /// written to, it stays a backup; written to, it has gone its own way and takes no more.
    ///
    /// The log has to reach back to the end of the backup, but goes with checkpoints. A
    /// [`consumer`](FollowGraph::consumer) that is made before the first backup and acknowledges
    /// the sequence number of each keeps it, up to
    /// [`retained_log_bytes`](crate::Options::retained_log_bytes).
    ///
    /// A handle that only [reads](FollowGraph::open_read_only) cannot wait until what it sees is on
    /// disk, so the whole copy that it makes takes no increments.
    ///
    /// Killed at work, a whole backup is not finished: opening it is `Unfinished`, and running it
    /// again replaces it. An increment that is killed leaves the backup as it was, or done.
    ///
    /// Cost: of a whole one, reading and writing the graph; of an increment, reading and writing
    /// the log since, and reading what of the log before it both still have.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for a directory with anything else in it: other files, another graph's
    /// backup, one that was written to or that this graph did not lead to. `PositionLost` when the
    /// log does not go back that far, or has a bulk load in between: take a whole one into an empty
    /// directory. `ReadOnly` for an increment by a handle that only reads. Otherwise as
    /// [`checkpoint`](FollowGraph::checkpoint). What was there before is as it was, and a directory
    /// that was empty or missing is so again.
    ///
    /// ```
    /// use followgraph::FollowGraph;
    /// let directory = tempfile::tempdir()?;
    /// let copy = directory.path().join("copy");
    /// let graph = FollowGraph::in_memory();
    /// graph.add_account("alice")?;
    /// assert_eq!(graph.backup(&copy)?.since, None);
    /// graph.add_account("bob")?;
    /// let report = graph.backup(&copy)?;
    /// assert_eq!((report.since, report.sequence), (Some(1), 2));
    /// assert!(FollowGraph::open(&copy)?.account_id("bob").is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn backup(&self, directory: impl AsRef<Path>) -> Result<BackupReport> {
        fill(directory.as_ref(), |storage| self.backup_to(storage.as_ref()))
    }

    /// [`backup`](FollowGraph::backup) to a storage.
    pub(crate) fn backup_to(&self, destination: &dyn Storage) -> Result<BackupReport> {
        let shared = &self.shared;
        shared.refuse_if_forked()?;
        shared.keep_up_or_fail()?;
        // No checkpoint meanwhile: it would take away the files that this reads.
        let _one_at_a_time = shared.checkpoint.take()?;
        match Destination::examine(destination)? {
            Destination::Free => {
                let moment = shared.moment();
                // What a crash could still take back from the graph is in no backup that goes on:
                // the numbers of those commits would be given again.
                let goes_on = !self.is_read_only();
                if goes_on {
                    shared.sync.wait_for(moment.sequence)?;
                }
                let graph = shared.recover(&moment)?.graph;
                let header = write_copy(destination, &graph, &moment.totals, goes_on)?;
                let sequence = header.position.sequence;
                Ok(BackupReport { sequence, since: None, written_bytes: header.file_bytes() })
            }
            Destination::Backup(backup) => {
                shared.refuse_if_not_writer()?;
                remove_leftovers(destination)?;
                shared.sync.wait_for_all()?;
                let end = shared.sync.durable_end();
                let feed = &shared.feed;
                let (source, log_start) = (shared.storage.as_ref(), feed.log_start());
                let written_bytes =
                    backup.append(destination, source, feed.graph_id, log_start, end)?;
                let since = Some(backup.sequence());
                Ok(BackupReport { sequence: end.sequence, since, written_bytes })
            }
        }
    }

    /// Makes a graph in an empty directory, as it was at one moment, of a backup that covers it.
    /// [`backup_coverage`](FollowGraph::backup_coverage) says which ones those are. Every byte that
    /// is used is checked, every count is recounted, and the result is read back.
    ///
    /// The backup is not changed, and others may read it meanwhile. A graph that is closed serves
    /// as well: it reaches back to the image before its last one.
    ///
    /// The new graph has the accounts, ids, follows, times and sequence number of that moment, and
    /// an id of its own: from there on its sequence numbers stand for other commits than those of
    /// the graph that was backed up. So neither takes the other's increments or consumers; whoever
    /// keeps sequence numbers elsewhere has to begin anew.
    ///
    /// Killed at work, it is not finished: opening it is `Unfinished`, and running it again
    /// replaces it.
    ///
    /// Cost: reading the image and the log up to there, and writing an image.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for a moment that is not covered, with the ones that are, and for a
    /// directory that holds files; `Corrupt` with file and offset; `NotAGraph`, `Unfinished`,
    /// `InUse` for a source that is none; `AuditFailed`, `DiskFull`, `Io`. A destination that was
    /// empty or missing is so again.
    ///
    /// ```
    /// use followgraph::{FollowGraph, RestoreTo};
    /// let directory = tempfile::tempdir()?;
    /// let (copy, restored) = (directory.path().join("copy"), directory.path().join("restored"));
    /// let graph = FollowGraph::in_memory();
    /// graph.backup(&copy)?;
    /// graph.add_account("alice")?;
    /// graph.remove_account("alice")?;
    /// graph.backup(&copy)?;
    /// FollowGraph::restore(&copy, &restored, RestoreTo::Sequence(1))?;
    /// assert!(FollowGraph::open(&restored)?.account_id("alice").is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn restore(
        source: impl AsRef<Path>,
        destination: impl AsRef<Path>,
        to: RestoreTo,
    ) -> Result<RestoreReport> {
        let (storage, source) = open_source(source.as_ref())?;
        fill(destination.as_ref(), |destination| {
            restore_to(&storage, &source, destination.as_ref(), to)
        })
    }

    /// [`restore`](FollowGraph::restore) from one storage to another.
    #[cfg(feature = "testing")]
    pub(crate) fn restore_on(
        storage: &dyn Storage,
        destination: &dyn Storage,
        to: RestoreTo,
    ) -> Result<RestoreReport> {
        restore_to(storage, &Source::examine(storage)?, destination, to)
    }

    /// Which moments a backup covers.
    ///
    /// Cost: a look at two files.
    ///
    /// # Errors
    ///
    /// `NotAGraph`, `Unfinished`, `InUse`, `Corrupt`, `Io`.
    ///
    /// ```
    /// use followgraph::{BackupCoverage, FollowGraph};
    /// let directory = tempfile::tempdir()?;
    /// let graph = FollowGraph::in_memory();
    /// graph.backup(directory.path())?;
    /// graph.add_account("alice")?;
    /// graph.backup(directory.path())?;
    /// let coverage = FollowGraph::backup_coverage(directory.path())?;
    /// assert_eq!(coverage, BackupCoverage { first_sequence: 0, last_sequence: 1 });
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn backup_coverage(directory: impl AsRef<Path>) -> Result<BackupCoverage> {
        let (storage, source) = open_source(directory.as_ref())?;
        Ok(BackupCoverage {
            first_sequence: source.first_sequence(),
            last_sequence: source.last_sequence(&storage)?,
        })
    }
}

fn open_source(directory: &Path) -> Result<(DirectoryStorage, Source)> {
    let mut storage = DirectoryStorage::open_unlocked(directory)?;
    let source = Source::examine(&storage)?;
    if source.is_sealed {
        return Ok((storage, source));
    }
    storage.lock_shared()?;
    let source = Source::examine(&storage)?;
    Ok((storage, source))
}

fn restore_to(
    storage: &dyn Storage,
    source: &Source,
    destination: &dyn Storage,
    to: RestoreTo,
) -> Result<RestoreReport> {
    if let Destination::Backup(_) = Destination::examine(destination)? {
        let message = "a graph is restored into a directory of its own; choose an empty one";
        let error = Error::new(ErrorKind::InvalidArgument, message);
        return Err(error.at_path(&destination.path("")));
    }
    let sequence = match to {
        RestoreTo::End => None,
        RestoreTo::Sequence(sequence) => Some(sequence),
    };
    let mut graph = source.graph(storage, sequence)?;
    graph.set_graph_id(random_bytes()?);
    let header = write_copy(destination, &graph, graph.totals(), true)?;
    Ok(RestoreReport {
        sequence: header.position.sequence,
        account_count: u64::from(header.totals.account_count),
        follow_count: header.totals.follow_count,
        written_bytes: header.file_bytes(),
    })
}
