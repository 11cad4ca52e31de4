//! Replay: what the log says, applied account by account.
//!
//! Each end of a follow is decided at its own account alone, so a long stretch of the log is taken
//! apart into ends that wait at the blocks of their accounts. A sweep then applies them block by
//! block, on all processors, and sorted by account. The sort is stable, so every list sees its
//! changes in the order of the log; the sums do not ask for an order. One after the other, the
//! records of a large graph would each wait for a dozen cache misses at two random accounts; a
//! sweep goes through records and sets from the first to the last and reads each head once.
//! `cargo bench --bench bars` holds the speed.

use super::changes::{FOLLOWED_TWICE, NOT_FOLLOWED, change_end};
use super::deltas::{AccountDelta, BlockDeltas};
use super::{Graph, Side};
use crate::accounts::{BLOCK_ACCOUNTS, RECORD_BYTES, RecordBlock, RecordFields, set_counts};
use crate::adjacency::{EdgeKey, SetsView};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Record, RecordReader};
use crate::image::Image;
use crate::locks::Mutex;
use crate::log::Frame;
use crate::storage::prefetch;
use std::ops::Range;
use std::thread;

/// How many ends are collected for a sweep: the more, the more of them lie on the same pages of a
/// large graph; the fewer, the less memory is new to the process. 10 MiB of them at most.
const SWEEP_ENDS_MIN: usize = 1 << 16;
const SWEEP_ENDS_MAX: usize = 1 << 19;
const SWEEP_BLOCK_ENDS: usize = 512;

/// A sweep of fewer ends is done before another thread has begun.
const PARALLEL_ENDS_MIN: usize = 1 << 14;

/// So many ends are on about as many pages of a block as it has.
const PRIVATE_ENDS_MIN: usize = BLOCK_ACCOUNTS as usize * RECORD_BYTES / 4096;

/// How far ahead a sweep asks for records, then for what they point to, then for what that points
/// to: the memory of one is on its way while the ones before it are applied.
const AHEAD_ENDS: [usize; 3] = [36, 24, 12];

/// One end of a follow or an unfollow, at a local account.
#[derive(Clone, Copy)]
struct End {
    account: u32,
    other: u32,
    at: u32,
    /// How many frames its own comes after the first of its stretch.
    frame: u32,
    /// In which of the account's lists the other is.
    side: Side,
    is_follow: bool,
}

/// The ends that wait for a sweep.
#[derive(Default)]
struct Stretch {
    first_sequence: u64,
    /// By block, each in the order of the log.
    blocks: Vec<Vec<End>>,
    end_count: usize,
}

impl Stretch {
    fn push(&mut self, block: usize, end: End) {
        if self.blocks.len() <= block {
            self.blocks.resize_with(block + 1, Vec::new);
        }
        self.blocks[block].push(end);
        self.end_count += 1;
    }
}

/// Why a record does not fit what came before it, and the sequence number of its frame.
type Misfit = (Error, u64);

fn misfit_at(sequence: u64, error: Error) -> Misfit {
    if error.kind() == ErrorKind::Corrupt {
        return (error, sequence);
    }
    (Error::corrupt(format!("a record does not fit what came before: {error}")), sequence)
}

/// The records of a payload, up to the first that does not decode.
fn records_of(payload: &[u8]) -> impl Iterator<Item = Result<Record<'_>>> {
    let (mut records, mut failed) = match RecordReader::new(payload) {
        Ok(records) => (Some(records), None),
        Err(error) => (None, Some(error)),
    };
    std::iter::from_fn(move || match &mut records {
        Some(reader) => reader.next_record().transpose(),
        None => failed.take().map(Err),
    })
}

/// Replays a log over a graph.
pub(crate) struct Replay<'g> {
    graph: &'g mut Graph,
    /// How many threads a long sweep may take. Finding out costs more than a short one.
    thread_count: fn() -> usize,
    stretch: Stretch,
}

impl<'g> Replay<'g> {
    pub(crate) fn new(graph: &'g mut Graph, thread_count: fn() -> usize) -> Replay<'g> {
        Replay { graph, thread_count, stretch: Stretch::default() }
    }

    /// The last frame that was given.
    pub(crate) fn sequence(&self) -> u64 {
        self.graph.position.sequence
    }

    /// Takes a frame of the log, whose sequence number is the next one, and gives back how many
    /// records it has: each must fit. The error is that of the earliest frame that has one, this or
    /// one before it, and comes with its number; the graph is then of no more use.
    pub(crate) fn take(&mut self, frame: &Frame<'_>) -> Result<u64, Misfit> {
        assert!(frame.sequence == self.sequence() + 1, "the caller checked it");
        let mut record_count = 0;
        for record in records_of(frame.payload) {
            let taken = match record {
                Ok(record) => self.take_apart(&record, frame.sequence),
                Err(error) => Err((error, frame.sequence)),
            };
            if let Err(misfit) = taken {
                // What comes before it in the log is reported first.
                return self.finish().and(Err(misfit));
            }
            record_count += 1;
        }
        self.graph.commit(frame.sequence, frame.source_position);
        Ok(record_count)
    }

    /// Lets the ends of a follow wait at their accounts. A new account is part of none of those
    /// that wait and is made at once; one that goes, or begins to, has all of them applied before.
    fn take_apart(&mut self, record: &Record<'_>, sequence: u64) -> Result<(), Misfit> {
        let (from, to, at, is_follow) = match *record {
            Record::Followed { from, to, at, .. } => (from, to, at, true),
            Record::Unfollowed { from, to } => (from, to, 0, false),
            Record::AccountAdded { .. }
            | Record::AccountRemoved { .. }
            | Record::RemovalBegan { .. }
            | Record::ClockReset { .. } => {
                if !matches!(record, Record::AccountAdded { .. } | Record::ClockReset { .. }) {
                    self.finish()?;
                }
                let graph = &mut *self.graph;
                let fit = graph.check(record).map_err(|error| misfit_at(sequence, error))?;
                graph.apply(record, fit);
                drop(graph.take_discarded());
                return Ok(());
            }
        };
        let locals = self.graph.count_ends(from, to, if is_follow { 1 } else { -1 });
        let (from_local, to_local) = locals.map_err(|error| misfit_at(sequence, error))?;
        if let Record::Followed { given: false, .. } = record {
            self.graph.position.clock = self.graph.position.clock.max(at);
        }
        self.graph.newest_at = self.graph.newest_at.max(at);
        self.graph.changed_record_count += 1;
        if sequence - self.stretch.first_sequence > u64::from(u32::MAX) {
            self.finish()?;
        }
        if self.stretch.end_count == 0 {
            self.stretch.first_sequence = sequence;
        }
        let frame = sequence - self.stretch.first_sequence;
        let frame = u32::try_from(frame).expect("all that waited further back was applied");
        for (is_local, account, other, side) in
            [(from_local, from, to, Side::Following), (to_local, to, from, Side::Followers)]
        {
            if is_local {
                let end = End { account, other, at, frame, side, is_follow };
                self.stretch.push(self.graph.accounts.block_of(account), end);
            }
        }
        let wanted = self.stretch.blocks.len() * SWEEP_BLOCK_ENDS;
        let is_long = self.stretch.end_count >= wanted.clamp(SWEEP_ENDS_MIN, SWEEP_ENDS_MAX);
        if is_long { self.finish() } else { Ok(()) }
    }

    /// Applies all that waits. Errors as [`take`](Replay::take).
    pub(crate) fn finish(&mut self) -> Result<(), Misfit> {
        if self.stretch.end_count == 0 {
            return Ok(());
        }
        let is_long = self.stretch.end_count >= PARALLEL_ENDS_MIN;
        let thread_count = if is_long { (self.thread_count)() } else { 1 };
        self.stretch.end_count = 0;
        let graph = &mut *self.graph;
        let block_count = self.stretch.blocks.len();
        if graph.deltas.len() < block_count {
            graph.deltas.resize_with(block_count, BlockDeltas::default);
        }
        let blocks = graph.accounts.blocks_mut().zip(&mut graph.deltas);
        let blocks = blocks.map(|(records, deltas)| Block { records, deltas });
        let waiting = blocks.zip(&mut self.stretch.blocks).filter(|(_, ends)| !ends.is_empty());
        let image = &graph.image;
        let sweep = |(block, ends): (Block<'_>, &mut Vec<End>)| {
            let sweep = Sweep::of(image, block, ends);
            ends.clear();
            sweep
        };
        let done = if thread_count > 1 {
            let waiting = Mutex::new(waiting);
            let work = || {
                let mut done = Sweep::default();
                loop {
                    let next = waiting.lock().next();
                    let Some(next) = next else { return done };
                    done = done.and(sweep(next));
                }
            };
            thread::scope(|scope| {
                // Where the system gives no thread, those there are do all of it.
                let start = |_| thread::Builder::new().spawn_scoped(scope, work).ok();
                let others: Vec<_> = (1..thread_count).filter_map(start).collect();
                let done = work();
                let others = others.into_iter().map(|other| other.join().expect("no panic"));
                others.fold(done, Sweep::and)
            })
        } else {
            waiting.map(sweep).fold(Sweep::default(), Sweep::and)
        };
        let totals = &mut graph.totals;
        for (sum, change) in [
            (&mut totals.following_entries, done.following),
            (&mut totals.follower_entries, done.followers),
            (&mut totals.mutual_sum, done.mutual),
        ] {
            *sum = sum.wrapping_add_signed(change);
        }
        let first_sequence = self.stretch.first_sequence;
        done.misfit.map_or(Ok(()), |(error, end)| {
            Err(misfit_at(first_sequence + u64::from(end.frame), error))
        })
    }
}

/// The ends sorted by account, those of one account in the order they had. The numbers that are
/// sorted are a fraction of the ends, and no two are equal.
fn sorted(ends: &[End]) -> Vec<End> {
    let key = |(place, end): (usize, &End)| u64::from(end.account) << 32 | place as u64;
    let mut order: Vec<u64> = ends.iter().enumerate().map(key).collect();
    order.sort_unstable();
    order.into_iter().map(|key| ends[key as u32 as usize]).collect()
}

/// What a sweep did to the sums, and the earliest record that did not fit.
#[derive(Default)]
struct Sweep {
    following: i64,
    followers: i64,
    mutual: i64,
    misfit: Option<(Error, End)>,
}

impl Sweep {
    fn and(self, other: Sweep) -> Sweep {
        let misfit = match (self.misfit, other.misfit) {
            (Some(ours), Some(theirs)) => {
                Some(if theirs.1.frame < ours.1.frame { theirs } else { ours })
            }
            (ours, theirs) => ours.or(theirs),
        };
        Sweep {
            following: self.following + other.following,
            followers: self.followers + other.followers,
            mutual: self.mutual + other.mutual,
            misfit,
        }
    }

    /// Applies the ends that wait at one block.
    fn of(image: &Image, mut block: Block<'_>, ends: &[End]) -> Sweep {
        if block.deltas.is_empty() && ends.len() >= PRIVATE_ENDS_MIN {
            block.records.make_private();
        }
        let (ends, mut sweep, mut done) = (sorted(ends), Sweep::default(), 0);
        for group in ends.chunk_by(|a, b| a.account == b.account) {
            block.prefetch(image, &ends, done..done + group.len());
            let misfit = sweep.apply(image, &mut block, group).err();
            sweep = sweep.and(Sweep { misfit, ..Sweep::default() });
            done += group.len();
        }
        sweep
    }

    /// Applies the ends of one account, in the order they have. An error comes with its end.
    fn apply(
        &mut self,
        image: &Image,
        block: &mut Block<'_>,
        ends: &[End],
    ) -> Result<(), (Error, End)> {
        let (first, id) = (ends[0], ends[0].account);
        block.records.check(id).map_err(|error| (error, first))?;
        let record = block.records.record_mut(id);
        if record.is_removed() {
            return Err((Error::bare(ErrorKind::UnknownAccount), first));
        }
        if record.is_being_removed()
            && let Some(follow) = ends.iter().find(|end| end.is_follow)
        {
            return Err((Error::bare(ErrorKind::BeingRemoved), *follow));
        }
        let before = record.counts();
        let mut counts = before;
        let sets = image.sets(record.sets_offset()).map_err(|error| (error, first))?;
        let delta = block.deltas.get_or_make(id, record);
        for end in ends {
            let is_mutual = apply_end(image, &sets, delta, end).map_err(|error| (error, *end))?;
            change_end(&mut counts, end.side, is_mutual, if end.is_follow { 1 } else { -1 });
        }
        set_counts(record, counts);
        let change = |before: u32, after: u32| i64::from(after.wrapping_sub(before).cast_signed());
        self.following += change(before.following, counts.following);
        self.followers += change(before.followers, counts.followers);
        self.mutual += change(before.mutual, counts.mutual);
        Ok(())
    }
}

/// Changes a list, and says whether the two accounts now are, or were, mutual.
fn apply_end(
    image: &Image,
    sets: &SetsView<'_>,
    delta: &mut AccountDelta,
    end: &End,
) -> Result<bool> {
    let lists = delta.over(sets);
    let (list, opposite) = match end.side {
        Side::Following => (lists.following, lists.followers),
        Side::Followers => (lists.followers, lists.following),
    };
    if list.contains(end.other) == end.is_follow {
        return Err(Error::corrupt(if end.is_follow { FOLLOWED_TWICE } else { NOT_FOLLOWED }));
    }
    let is_mutual = opposite.contains(end.other);
    if end.is_follow {
        let tie = if end.at > image.header.newest_at {
            delta.side(end.side).next_tie(end.at)
        } else {
            list.next_tie(end.at)?
        };
        delta.side_mut(end.side).add(EdgeKey { at: end.at, tie, id: end.other });
    } else {
        delta.side_mut(end.side).remove(end.other);
    }
    Ok(is_mutual)
}

/// One block of accounts and what changed there.
struct Block<'a> {
    records: RecordBlock<'a>,
    deltas: &'a mut BlockDeltas,
}

impl Block<'_> {
    /// Asks for the memory of what comes some ends after these.
    fn prefetch(&self, image: &Image, ends: &[End], now: Range<usize>) {
        let [records_ahead, lists_ahead, changes_ahead] = AHEAD_ENDS;
        let ahead = |count: usize| {
            let end = (now.end + count).min(ends.len());
            let ends = ends.get(now.start + count..end).unwrap_or_default();
            ends.iter().filter_map(|end| Some((end, self.records.record(end.account)?)))
        };
        for (_, record) in ahead(records_ahead) {
            prefetch(record, 0);
        }
        for (_, record) in ahead(lists_ahead) {
            image.prefetch_sets(record.sets_offset());
            self.deltas.prefetch(record);
        }
        for (end, record) in ahead(changes_ahead) {
            if let Some(delta) = self.deltas.get(end.account, record) {
                delta.side(end.side).prefetch();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::changes::REMOVED_TWICE;
    use super::*;
    use crate::format::{Identity, RecordList, image_file_name};
    use crate::image::{ImagePlan, ImageWriter, Position};
    use crate::storage::{MemoryStorage, Storage};
    use roaring::RoaringBitmap;

    fn empty_graph() -> Graph {
        let (storage, foreign) = (MemoryStorage::default(), RoaringBitmap::new());
        let plan = ImagePlan {
            identity: Identity { graph_id: [1; 16], key: [2; 16] },
            position: Position { sequence: 0, source_position: None, clock: 0 },
            id_count: 0,
            account_count: 0,
            overflow_name_bytes: 0,
            foreign: &foreign,
            shards: None,
        };
        let file = storage.create(&image_file_name(0)).unwrap();
        ImageWriter::new(file, plan).unwrap().finish(None).unwrap();
        Graph::open(&storage, Image::open(&storage, 0).unwrap()).unwrap()
    }

    /// Replays one frame for each payload behind one that adds four accounts, of which the last is
    /// removed again. Gives back which frame is said not to fit, and why.
    fn misfit_of(payloads: &[Vec<u8>]) -> Option<(u64, String)> {
        let names = ["a", "b", "c", "d"].into_iter().zip(0..);
        let mut first: Vec<_> =
            names.map(|(name, id)| Record::AccountAdded { id, name, foreign: false }).collect();
        first.push(Record::AccountRemoved { id: 3 });
        let mut graph = empty_graph();
        let mut replay = Replay::new(&mut graph, || 2);
        let first = payload(&first);
        for (payload, sequence) in std::iter::once(&first).chain(payloads).zip(1..) {
            let frame = Frame {
                sequence,
                durable_sequence: 0,
                source_position: None,
                payload,
                frame_bytes: 0,
            };
            if let Err((error, sequence)) = replay.take(&frame) {
                return Some((sequence, error.to_string()));
            }
        }
        replay.finish().err().map(|(error, sequence)| (sequence, error.to_string()))
    }

    fn payload(records: &[Record<'_>]) -> Vec<u8> {
        let (mut list, mut payload) = (RecordList::default(), Vec::new());
        for record in records {
            list.push(record);
        }
        list.encode_into(&mut payload);
        payload
    }

    fn follow(from: u32, to: u32) -> Vec<u8> {
        payload(&[Record::Followed { from, to, at: 7, given: true }])
    }

    fn unfollow(from: u32, to: u32) -> Vec<u8> {
        payload(&[Record::Unfollowed { from, to }])
    }

    fn removal_began(id: u32) -> Vec<u8> {
        payload(&[Record::RemovalBegan { id }])
    }

    #[test]
    fn what_fits_is_taken() {
        let removed = payload(&[Record::AccountRemoved { id: 0 }]);
        let removal = [follow(0, 1), follow(2, 0), removal_began(0), unfollow(0, 1), removed];
        assert_eq!(misfit_of(&removal), None, "a follow may be left for the end");
        assert_eq!(misfit_of(&[follow(0, 1), follow(1, 0), unfollow(0, 1), follow(0, 1)]), None);
    }

    #[test]
    fn the_earliest_frame_that_does_not_fit_is_named() {
        let garbage = vec![1, 9, 9, 9];
        for (payloads, sequence, why) in [
            (vec![follow(0, 1), follow(0, 1)], 3, FOLLOWED_TWICE),
            (vec![follow(0, 1), unfollow(1, 0)], 3, NOT_FOLLOWED),
            (vec![follow(2, 1), follow(2, 1), unfollow(0, 1)], 3, FOLLOWED_TWICE),
            (vec![unfollow(2, 1), follow(0, 1), follow(0, 1)], 2, NOT_FOLLOWED),
            (vec![follow(0, 1), follow(0, 1), garbage.clone()], 3, FOLLOWED_TWICE),
            (vec![follow(0, 1), garbage], 3, "a record does not decode"),
            (vec![follow(0, 0)], 2, "does not fit what came before"),
            (vec![follow(0, 4)], 2, "does not fit what came before"),
            (vec![follow(0, 3)], 2, "does not fit what came before"),
            (vec![follow(3, 0)], 2, "does not fit what came before"),
            (vec![removal_began(0), removal_began(0)], 3, REMOVED_TWICE),
            (vec![removal_began(3)], 2, "does not fit what came before"),
            (vec![removal_began(0), follow(1, 2), follow(0, 1)], 4, "being removed"),
            (vec![follow(2, 1), removal_began(0), follow(1, 0)], 4, "being removed"),
            (vec![removal_began(0), unfollow(0, 1)], 3, NOT_FOLLOWED),
        ] {
            let (got, message) = misfit_of(&payloads).expect("it does not fit");
            assert_eq!(got, sequence, "{message}");
            assert!(message.contains(why), "{message:?} does not say {why:?}");
        }
    }
}
