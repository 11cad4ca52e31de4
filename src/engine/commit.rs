//! The commit, **one function read from top to bottom**, and what only one writer may touch.

use super::Shared;
use super::clock::Timekeeper;
use super::mutation::{Editor, Mutation};
use super::options::{Durability, Options};
use super::removal::SLICE_MAX;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{RECORD_BYTES_MAX, RecordList, next_sequence};
use crate::log::{encode_frame, frame_bytes};
use crate::store::{Store, used_bytes};
use crate::sync::latched;

/// What only one writer at a time may touch.
pub(super) struct Commit {
    pub(super) store: Store,
    pub(super) sequence: u64,
    /// Gives follows their time.
    pub(super) time: Timekeeper,
    /// Set while a commit changes the state. Found set, a panic left it half changed.
    pub(super) changing: bool,
    /// Set while a bulk load builds its image: the graph stays empty until it is there.
    pub(super) bulk_loading: bool,
    /// Whether the last frame was written by an orderly close.
    pub(super) closed: bool,
    /// Log since the image, and how much of it asks for the next checkpoint.
    pub(super) log_bytes: u64,
    pub(super) checkpoint_due_bytes: u64,
    pub(super) records: RecordList,
    frame: Vec<u8>,
}

impl Commit {
    /// Begins after the last frame of a store.
    pub(super) fn new(
        store: Store,
        sequence: u64,
        time: Timekeeper,
        options: &Options,
        closed: bool,
    ) -> Commit {
        Commit {
            sequence,
            time,
            changing: false,
            bulk_loading: false,
            closed,
            log_bytes: used_bytes(&store.extents()),
            checkpoint_due_bytes: options.checkpoint_log_bytes.unwrap_or(u64::MAX),
            records: RecordList::default(),
            frame: Vec::new(),
            store,
        }
    }
}

/// What a commit has left to do.
pub(super) struct Written<R> {
    pub(super) result: R,
    /// What has to be on disk before its caller may rely on it.
    pub(super) sequence: u64,
    /// Accounts whose follows are still to go.
    pub(super) removals: Vec<u32>,
}

/// The largest payload of a frame, so that its length always fits.
const PAYLOAD_BYTES_MAX: u64 = 1 << 31;

impl Shared {
    /// The write path, from top to bottom. The order is the promise: room first, because that is
    /// the last thing that can fail without a trace; then the state, then the log, then the disk.
    pub(super) fn commit<R>(
        &self,
        source_position: Option<u64>,
        room_bytes: u64,
        edit: impl FnOnce(&mut Editor<'_>) -> R,
    ) -> Result<R> {
        let Written { result, mut sequence, removals } =
            self.write(source_position, room_bytes, edit)?;
        for id in removals {
            sequence = self.finish_removal(id)?.max(sequence);
        }

        // 5. The disk, shared with everybody who waits now.
        self.wait_if_always(sequence)?;
        Ok(result)
    }

    /// The first four steps: all but the wait for the disk.
    pub(super) fn write<R>(
        &self,
        source_position: Option<u64>,
        room_bytes: u64,
        edit: impl FnOnce(&mut Editor<'_>) -> R,
    ) -> Result<Written<R>> {
        self.refuse_if_forked()?;
        let mut guard = self.commit.lock();
        let commit = &mut *guard;

        // 1. Nothing is written after a failed sync or a half-made change, or by who only reads.
        self.refuse_if_latched(commit)?;
        refuse_if_loading(commit)?;
        self.check_source(source_position)?;

        // 2. Room for the largest frame this can become. A full disk is an error here.
        if room_bytes > PAYLOAD_BYTES_MAX {
            let message = "a batch of this size; split it";
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        let sequence = next_sequence(commit.sequence)?;
        let room_bytes = frame_bytes(room_bytes as usize + 8) as u64;
        commit.store.reserve(room_bytes, sequence, &self.sync)?;

        // 3. The state: rules, limits and ids beside the readers, then the change, all in memory.
        let now = commit.time.now();
        commit.records.clear();
        commit.changing = true;
        let (result, removals) = {
            let options = &self.options;
            let mut editor = Editor {
                draft: self.state.draft(),
                records: &mut commit.records,
                time: &mut commit.time,
                options,
                limits: options.limits,
                now,
                // A source decides for all who follow it alike, so no clock has a part in it.
                checks_given_times: source_position.is_none(),
                removal_room: options.removal_slice.min(SLICE_MAX),
                removals: Vec::new(),
            };
            let result = edit(&mut editor);
            if editor.records.len() > 0 || source_position.is_some() {
                editor.draft.change().commit(sequence, source_position);
            }
            (result, editor.removals)
        };
        commit.changing = false;
        if commit.records.len() == 0 && source_position.is_none() {
            // Nothing changed; but what makes it so may be a commit that is not on disk yet.
            return Ok(Written { result, sequence: commit.sequence, removals });
        }

        // 4. The log: one frame, into memory that is the file.
        self.append_frame(commit, sequence, self.sync.durable(), source_position);
        let checkpoint_due = self.is_checkpoint_due(commit);
        drop(guard);
        if checkpoint_due {
            self.signal.request_checkpoint();
        }
        Ok(Written { result, sequence, removals })
    }

    pub(super) fn wait_if_always(&self, sequence: u64) -> Result<()> {
        match self.options.durability {
            Durability::Always => self.sync.wait_for(sequence),
            Durability::Interval(_) | Durability::Never => Ok(()),
        }
    }

    /// Writes the noted records as the next frame.
    pub(super) fn append_frame(
        &self,
        commit: &mut Commit,
        sequence: u64,
        durable_sequence: u64,
        source_position: Option<u64>,
    ) {
        commit.frame.clear();
        let records = &commit.records;
        encode_frame(sequence, durable_sequence, source_position, &mut commit.frame, |out| {
            records.encode_into(out);
        });
        commit.store.append(&commit.frame);
        commit.sequence = sequence;
        commit.closed = durable_sequence >= sequence;
        commit.log_bytes += commit.frame.len() as u64;
        self.sync.wrote(commit.store.log_end(sequence));
    }

    pub(super) fn refuse_if_latched(&self, commit: &Commit) -> Result<()> {
        self.refuse_if_read_only()?;
        if commit.changing {
            let cause = Error::new(ErrorKind::Latched, "a panic interrupted a commit");
            self.sync.fail(&cause);
        }
        self.sync.failure().map_or(Ok(()), |failure| Err(latched(&failure)))
    }

    fn check_source(&self, position: Option<u64>) -> Result<()> {
        let Some(position) = position else {
            return Ok(());
        };
        match self.state.read().position().source_position {
            Some(stored) if stored >= position => {
                let message = "a source position was applied already";
                let error = Error::new(ErrorKind::InvalidArgument, message);
                Err(error.expected(format!("more than {stored}"), position))
            }
            _ => Ok(()),
        }
    }

    /// Whether the log has grown enough. Asked again only after as much growth again, so that a
    /// checkpoint that fails is tried again later, not at once.
    fn is_checkpoint_due(&self, commit: &mut Commit) -> bool {
        let due = commit.log_bytes >= commit.checkpoint_due_bytes;
        if due {
            let step = self.options.checkpoint_log_bytes.unwrap_or(u64::MAX);
            commit.checkpoint_due_bytes = commit.log_bytes.saturating_add(step);
        }
        due
    }

    /// Returns an upper bound on the bytes that a batch takes in the log.
    pub(super) fn room_bytes<'m>(
        &self,
        mut mutations: impl Iterator<Item = &'m Mutation<'m>> + Clone,
    ) -> u64 {
        let own: u64 = mutations.clone().map(Mutation::encoded_bytes_max).sum();
        let removes = mutations.any(Mutation::removes_account);
        // All removals of a batch share the room for follows that go with an account.
        let follows = if removes { self.options.removal_slice.min(SLICE_MAX) } else { 0 };
        own + (follows * RECORD_BYTES_MAX) as u64
    }
}

fn refuse_if_loading(commit: &Commit) -> Result<()> {
    if !commit.bulk_loading {
        return Ok(());
    }
    let message = "nothing is written until its image is there; try again later";
    Err(Error::new(ErrorKind::BulkLoading, message))
}
