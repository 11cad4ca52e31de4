//! Care: checkpoints and figures. Checkpoints, as backups do, recover a graph of their own
//! from the image and the log while the live one goes on, so the code that saves a graph after a
//! crash runs every day.

use super::{Commit, FollowGraph, Shared};
use crate::error::{Error, ErrorKind, Result};
use crate::format::image_file_name;
use crate::image::Totals;
use crate::storage::give_back_freed_memory;
use crate::store::{Follower, Hold, SegmentExtent, publish, used_bytes};
use crate::types::{CheckpointReport, Stats};

/// How much log a checkpoint may leave to replay while writers wait.
const LAST_STEP_BYTES_MAX: u64 = 256 * 1024;
/// How often a checkpoint tries to get that close.
const CATCH_UP_STEPS_MAX: usize = 16;
/// How many live counters are compared before writers are let in.
const COMPARE_STEP: u32 = 16 * 1024;

/// A moment of the live graph, to recover privately.
pub(super) struct Moment {
    pub(super) sequence: u64,
    pub(super) totals: Totals,
    pub(super) image_sequence: u64,
    pub(super) extents: Vec<SegmentExtent>,
}

impl FollowGraph {
    /// Writes the whole graph as a new image, recounted, and retires the log before it, as far as
    /// no [`consumer`](FollowGraph::consumer) has it kept. Readers and writers go on meanwhile.
    ///
    /// Cost: reads and writes the whole graph, in memory that grows with the accounts, not with
    /// the follows.
    ///
    /// # Errors
    ///
    /// `AuditFailed` when counters and sets disagree, `DiskFull`, `Io`, `Corrupt`, `Latched`,
    /// `ReadOnly`. In each case the image before it stays and nothing is lost.
    ///
    /// ```
    /// let graph = followgraph::FollowGraph::in_memory();
    /// graph.add_account("alice")?;
    /// assert!(graph.checkpoint()?.written);
    /// assert!(!graph.checkpoint()?.written);
    /// # Ok::<(), followgraph::Error>(())
    /// ```
    pub fn checkpoint(&self) -> Result<CheckpointReport> {
        self.shared.checkpoint()
    }

    /// Figures of this moment.
    ///
    /// Cost: a look at each account that changed since the image.
    ///
    /// ```
    /// let graph = followgraph::FollowGraph::in_memory();
    /// graph.add_account("alice")?;
    /// assert_eq!(graph.stats().account_count, 1);
    /// # Ok::<(), followgraph::Error>(())
    /// ```
    pub fn stats(&self) -> Stats {
        let shared = &self.shared;
        shared.keep_up();
        let figures = shared.committed_figures(&shared.commit.lock());
        Stats {
            delta_bytes: shared.state.read().heap_bytes() as u64,
            sync_count: shared.sync.sync_count(),
            sync_time: shared.sync.sync_time(),
            latched: shared.sync.failure().map(|failure| failure.to_string()),
            last_checkpoint_at: shared.signal.last_checkpoint_at(),
            checkpoint_failure: shared.signal.checkpoint_failure(),
            recovery: shared.recovery,
            read_only: self.is_read_only(),
            reader_failure: shared.reader_failure(),
            directory_moved: self.directory_moved(),
            ..figures
        }
    }

    /// Returns [`Stats::directory_moved`] alone, without a lock.
    pub(crate) fn directory_moved(&self) -> Option<String> {
        self.shared.storage.moved()
    }
}

impl Shared {
    /// The figures that belong together: nobody commits while they are read.
    fn committed_figures(&self, commit: &Commit) -> Stats {
        let graph = self.state.read();
        let (totals, image, store) = (graph.totals(), graph.image(), &commit.store);
        Stats {
            account_count: u64::from(totals.account_count),
            foreign_account_count: u64::from(totals.foreign_count),
            being_removed_account_count: u64::from(totals.being_removed_count),
            follow_count: totals.follow_count,
            sequence: commit.sequence,
            durable_sequence: self.sync.durable(),
            image_sequence: store.image_sequence(),
            image_bytes: image.file_bytes(),
            image_record_bytes: image.header.records.len_bytes,
            image_index_bytes: image.header.index.len_bytes,
            image_name_bytes: image.header.names.len_bytes,
            image_set_bytes: image.header.sets.len_bytes,
            log_bytes: used_bytes(&store.extents()),
            log_allocated_bytes: store.allocated_bytes(),
            clock_fault: self.clock_report(&commit.time, &graph).fault,
            ..Stats::default()
        }
    }

    /// What is committed now, and where to recover it from.
    pub(super) fn moment(&self) -> Moment {
        self.keep_up();
        self.moment_of(&self.commit.lock())
    }

    fn moment_of(&self, commit: &Commit) -> Moment {
        Moment {
            sequence: commit.sequence,
            totals: *self.state.read().totals(),
            image_sequence: commit.store.image_sequence(),
            extents: commit.store.extents(),
        }
    }

    /// A private graph of that moment, from an image whose every byte was checked: what a damaged
    /// one says must not go into a new one with new checksums. The caller holds the checkpoint
    /// lock, so that no file this needs is retired.
    pub(super) fn recover(&self, moment: &Moment) -> Result<Follower> {
        self.recover_watched(moment, &mut |_| Ok(()))
    }

    /// The same; `watch` is told of every byte that was read and checked, and an error of its ends
    /// it.
    pub(super) fn recover_watched(
        &self,
        moment: &Moment,
        watch: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<Follower> {
        let storage = self.storage.as_ref();
        let mut follower = Follower::open(storage, moment.image_sequence)?;
        follower.graph.image().verify(watch)?;
        follower.catch_up(storage, &moment.extents)?;
        watch(used_bytes(&moment.extents))?;
        let sequence = follower.graph.position().sequence;
        if sequence != moment.sequence {
            let error = Error::corrupt("the log ends before the last commit");
            return Err(error.expected(moment.sequence, sequence));
        }
        Ok(follower)
    }

    pub(super) fn checkpoint(&self) -> Result<CheckpointReport> {
        self.refuse_if_not_writer()?;
        let _one_at_a_time = self.checkpoint.take()?;
        let outcome = self.checkpoint_alone();
        self.signal.checkpoint_finished(outcome.as_ref().err(), (self.options.clock)());
        outcome
    }

    fn checkpoint_alone(&self) -> Result<CheckpointReport> {
        // 1. Seal the log at this moment.
        let moment = {
            let mut commit = self.commit.lock();
            self.refuse_if_latched(&commit)?;
            if let Some(report) = self.nothing_new() {
                commit.store.release(self.hold())?;
                return Ok(report);
            }
            let next_sequence = commit.sequence + 1;
            commit.store.seal(next_sequence, &self.sync)?;
            self.moment_of(&commit)
        };
        // 2. The log up to there is on disk before an image says it covers it.
        self.sync.wait_for(moment.sequence)?;
        // 3. Recover the moment privately, stream it out, recount it, give it its name.
        let storage = self.storage.as_ref();
        let header = {
            let sealed = self.recover(&moment)?.graph;
            publish(storage, moment.sequence, |file| {
                sealed.write_image(file, &moment.totals, false)
            })?
        };
        // 4. Recover what came since, and put the new graph in the place of the live one.
        self.swap(moment.sequence)?;
        let image_bytes = header.file_bytes();
        Ok(CheckpointReport { sequence: moment.sequence, written: true, image_bytes })
    }

    /// The report of a checkpoint that has nothing to write.
    fn nothing_new(&self) -> Option<CheckpointReport> {
        let graph = self.state.read();
        let image = graph.image();
        let covered = image.header.position;
        let same = graph.changed_record_count() == 0
            && graph.position().source_position == covered.source_position;
        same.then(|| CheckpointReport {
            sequence: covered.sequence,
            written: false,
            image_bytes: image.file_bytes(),
        })
    }

    /// Replaces the live graph by the published image and the log behind it. The last step is
    /// short, because writers wait for it; readers only wait for two pointers to change places.
    fn swap(&self, image_sequence: u64) -> Result<()> {
        let storage = self.storage.as_ref();
        let extents = || self.commit.lock().store.extents_behind(image_sequence);
        let caught_up = Follower::open(storage, image_sequence).and_then(|mut follower| {
            for _ in 0..CATCH_UP_STEPS_MAX {
                let replayed = extents();
                follower.catch_up(storage, &replayed)?;
                if used_bytes(&extents()) - used_bytes(&replayed) <= LAST_STEP_BYTES_MAX {
                    break;
                }
            }
            self.compare_with_live(&mut follower, image_sequence)?;
            let commit = self.commit.lock();
            follower.catch_up(storage, &commit.store.extents_behind(image_sequence))?;
            let (kept, recounted) = (*self.state.read().totals(), *follower.graph.totals());
            if kept != recounted {
                let message = "the image and the log do not give the sums the graph kept";
                return Err(Error::new(ErrorKind::AuditFailed, message)
                    .expected(format!("{recounted:?}"), format!("{kept:?}")));
            }
            Ok((commit, follower.graph))
        });
        let (mut commit, mut graph) = caught_up.inspect_err(|_| {
            // The image before it stays the current one; the error to report is the first.
            let _ = storage.remove(&image_file_name(image_sequence));
        })?;
        std::mem::swap(&mut *self.state.write(), &mut graph);
        self.adopt(&mut commit, image_sequence, true)?;
        drop(commit);
        // The old graph is taken apart here, when nobody waits.
        let freed_bytes = graph.heap_bytes();
        drop(graph);
        give_back_freed_memory(freed_bytes);
        Ok(())
    }

    fn hold(&self) -> Option<Hold> {
        self.consumers.hold(self.options.retained_log_bytes)
    }

    /// Says that the live graph rests on another image now.
    pub(super) fn adopt(
        &self,
        commit: &mut Commit,
        image_sequence: u64,
        keep_previous: bool,
    ) -> Result<()> {
        // What a bulk load replaced is no part of its graph, so nobody can go on from there.
        let hold = self.hold().filter(|_| keep_previous);
        let retired = commit.store.adopt(image_sequence, keep_previous, hold);
        commit.log_bytes = used_bytes(&commit.store.extents());
        let step = self.options.checkpoint_log_bytes.unwrap_or(u64::MAX);
        commit.checkpoint_due_bytes = commit.log_bytes.saturating_add(step);
        retired
    }

    /// Compares every live counter with a recovered one, a step at a time: in each step writers
    /// wait until the recovered graph has caught up and some accounts are compared.
    pub(super) fn compare_with_live(
        &self,
        follower: &mut Follower,
        image_sequence: u64,
    ) -> Result<()> {
        let mut first = 0;
        loop {
            let commit = self.commit.lock();
            let extents = commit.store.extents_behind(image_sequence);
            follower.catch_up(self.storage.as_ref(), &extents)?;
            let live = self.state.read();
            let end = live.accounts().len().min(first + COMPARE_STEP);
            for id in first..end {
                let (kept, recovered) = (live.counts(id).ok(), follower.graph.counts(id).ok());
                if kept != recovered {
                    let message = format!("the live counters of account {id} are wrong");
                    return Err(Error::new(ErrorKind::AuditFailed, message)
                        .expected(format!("{recovered:?}"), format!("{kept:?}")));
                }
            }
            if end == live.accounts().len() {
                if live.shards() != follower.graph.shards() {
                    let message = "the live digests of the shards are wrong";
                    return Err(Error::new(ErrorKind::AuditFailed, message));
                }
                return Ok(());
            }
            first = end;
        }
    }
}
