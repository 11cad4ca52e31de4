//! Sorting more edges than fit in memory, by either end, on several threads.
//!
//! * Edges are collected into runs. A thread sorts a run by (`from`, `to`), and where that is
//!   needed by (`to`, `from`) too, and keeps what comes out while there is memory; what does not
//!   fit goes to a spill file.
//! * The sort is stable: of edges with equal ends, the one pushed first comes first.
//! * The runs are merged piece by piece: a [`Cut`] is a range of account ids with the place of its
//!   edges in every run, so that the pieces can be merged at the same time by different threads.
//! * Buffers and kept runs together never exceed the memory given (but for the least a sorter can
//!   work with, [`MIN_MEMORY_BYTES`]): a quarter is for buffers, and when all is sorted for the
//!   merge; the rest keeps runs.
//! * The spill file goes away with the last owner of what is in it. Its name says that it is
//!   temporary, for the case that the process dies before.
//!
//! Not covered: the spill file carries no checksums. It lives for the length of one load in the
//! process that wrote it, and the loader recounts what it builds from it.

mod radix;

use crate::error::{Error, Result};
use crate::locks::Mutex;
use crate::storage::{Bytes, OutputFile, Scratch};
use crate::workers::{Workers, processor_count};
use radix::{bit_len, sort};
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// One follow on its way into an image. `line` is its place among all follows where their order is
/// kept ([`LineNumber`]), and nothing (`()`) elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Edge<L = ()> {
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) at: u32,
    pub(crate) line: L,
}

/// An edge in a run: three little-endian words, or two where all edges of the run have no time;
/// then the line number, where it is kept.
const TIMED_EDGE_BYTES: usize = 12;
const UNTIMED_EDGE_BYTES: usize = 8;
const _: () = assert!(size_of::<Edge>() == TIMED_EDGE_BYTES);
const _: () = assert!(size_of::<Edge<LineNumber>>() == TIMED_EDGE_BYTES + LineNumber::BYTES);

/// What an edge keeps of its place in the list it came from.
pub(crate) trait Line: Copy + Default + Ord + Send + Sync + 'static {
    /// Bytes it takes in a run.
    const BYTES: usize;

    /// Appends its bytes.
    fn write(self, bytes: &mut Vec<u8>);

    /// Reads it from the front of `bytes`.
    fn read(bytes: &[u8]) -> Self;
}

impl Line for () {
    const BYTES: usize = 0;

    fn write(self, _bytes: &mut Vec<u8>) {}

    fn read(_bytes: &[u8]) {}
}

/// A line number in two words, the high one first, so that an edge needs no padding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LineNumber([u32; 2]);

impl LineNumber {
    pub(crate) fn new(number: u64) -> LineNumber {
        LineNumber([(number >> 32) as u32, number as u32])
    }
}

impl Line for LineNumber {
    const BYTES: usize = 8;

    fn write(self, bytes: &mut Vec<u8>) {
        self.0.iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
    }

    fn read(bytes: &[u8]) -> LineNumber {
        LineNumber([word(bytes), word(&bytes[4..])])
    }
}

/// The name of the spill file. There is one sorter at a time in a place.
const SPILL_FILE_NAME: &str = "spill-edges.tmp";

/// The spill file is written in pieces of this many edges.
const SPILL_CHUNK_EDGES: usize = 16 * 1024;

/// With less than this a sorter would spend its time on reading tiny runs.
const MIN_MEMORY_BYTES: u64 = 1024 * 1024;

/// More threads than this would wait for edges, which one thread pushes.
const SORT_THREADS_MAX: usize = 4;

/// What merging one edge takes, roughly: the edge, the room of the merge, the list it becomes part
/// of and its encoded form.
const MERGED_EDGE_BYTES: u64 = 64;

/// More edges than this in one piece would leave the processor's cache without any gain.
const CUT_EDGES_MAX: u64 = 128 * 1024;

impl<L: Line> Edge<L> {
    /// Orders edges by `from`, then `to`.
    #[inline]
    fn key(self) -> u64 {
        u64::from(self.from) << 32 | u64::from(self.to)
    }

    fn to_bytes(self) -> [u8; TIMED_EDGE_BYTES] {
        let mut bytes = [0; TIMED_EDGE_BYTES];
        bytes[0..4].copy_from_slice(&self.from.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.to.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.at.to_le_bytes());
        bytes
    }

    fn to_untimed_bytes(self) -> [u8; UNTIMED_EDGE_BYTES] {
        (u64::from(self.to) << 32 | u64::from(self.from)).to_le_bytes()
    }

    /// Returns the edge with its ends exchanged.
    fn turned(self) -> Edge<L> {
        Edge { from: self.to, to: self.from, ..self }
    }
}

/// The little-endian word at the front of `bytes`.
#[inline]
fn word(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes[..4].try_into().expect("the slice has four bytes"))
}

/// Which end of the edges comes first: in the order of the followers the ends change places, so
/// `from` is the account that is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Following = 0,
    Followers = 1,
}

/// One value for each [`Side`].
type BothSides<T> = [T; 2];

/// A run on its way through a sorting thread, and the other half of its radix sort. The room of
/// both is used again for later runs.
struct Buffers<L> {
    edges: Vec<Edge<L>>,
    scratch: Vec<Edge<L>>,
}

impl<L> Default for Buffers<L> {
    fn default() -> Buffers<L> {
        Buffers { edges: Vec::new(), scratch: Vec::new() }
    }
}

/// What a sorting thread gives back; a side that nobody needs is not there.
type SortedRun<L> = Result<(BothSides<Option<StoredRun>>, Buffers<L>)>;

/// By which ends edges are to be sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    Both,
    /// Only by follower: half the work and half the room.
    Followers,
}

/// Sorts edges by their ends, stable, in bounded memory, while more are pushed.
///
/// Cost: linear in the edges of a run for each of two to six passes, and a logarithm of the number
/// of runs for each edge that is merged.
pub(crate) struct EdgeSorter<L: Line = ()> {
    store: Arc<RunStore>,
    sorting: Workers<Buffers<L>, SortedRun<L>>,
    /// Edges of the run under way, in the order they were pushed.
    buffers: Buffers<L>,
    spare: Vec<Buffers<L>>,
    runs: BothSides<Vec<StoredRun>>,
    /// How many edges a run may have.
    run_len: usize,
    merge_bytes: u64,
    pushed_count: u64,
}

impl<L: Line> EdgeSorter<L> {
    /// A sorter that spills to a file once `memory_bytes` are full.
    pub(crate) fn new(place: Box<dyn Scratch>, memory_bytes: u64, ends: Ends) -> EdgeSorter<L> {
        let memory_bytes = memory_bytes.max(MIN_MEMORY_BYTES);
        let buffers_bytes = memory_bytes / 4;
        let thread_count = processor_count().min(SORT_THREADS_MAX) as u64;
        // Every thread has a run, its scratch room and a sorted side on the way to the store; one
        // more run is being filled.
        let run_edge_bytes = (3 * thread_count + 2) * size_of::<Edge<L>>() as u64;
        let run_len = usize::try_from(buffers_bytes / run_edge_bytes).unwrap_or(usize::MAX);
        let kept_bytes_max = memory_bytes - buffers_bytes;
        EdgeSorter::with_run_len(place, ends, run_len, kept_bytes_max, buffers_bytes)
    }

    fn with_run_len(
        place: Box<dyn Scratch>,
        ends: Ends,
        run_len: usize,
        kept_bytes_max: u64,
        merge_bytes: u64,
    ) -> EdgeSorter<L> {
        assert!(run_len > 0, "a run holds at least one edge");
        let kept_bytes_left = AtomicU64::new(kept_bytes_max);
        let store = Arc::new(RunStore { place, kept_bytes_left, spill: Mutex::new(None) });
        let thread_count = processor_count().min(SORT_THREADS_MAX);
        let sort = {
            let store = store.clone();
            move |buffers| sort_run(buffers, ends, &store)
        };
        EdgeSorter {
            store,
            sorting: Workers::start("followgraph-sort", thread_count, thread_count, sort),
            buffers: Buffers::default(),
            spare: Vec::new(),
            runs: [Vec::new(), Vec::new()],
            run_len,
            merge_bytes,
            pushed_count: 0,
        }
    }

    /// Adds one edge.
    ///
    /// # Errors
    /// `DiskFull` or `Io` when a run cannot be spilled; the sorter is of no more use then.
    #[inline]
    pub(crate) fn push(&mut self, edge: Edge<L>) -> Result<()> {
        if self.buffers.edges.len() == self.buffers.edges.capacity() {
            self.make_room()?;
        }
        self.buffers.edges.push(edge);
        self.pushed_count += 1;
        Ok(())
    }

    /// Grows the buffer by doubling, but to a run's length at most, and hands it over there.
    #[cold]
    fn make_room(&mut self) -> Result<()> {
        let len = self.buffers.edges.len();
        if len >= self.run_len {
            return self.sort_run();
        }
        let grown_len = (len * 2).max(1024).min(self.run_len);
        self.buffers.edges.reserve_exact(grown_len - len);
        Ok(())
    }

    fn sort_run(&mut self) -> Result<()> {
        let next = self.spare.pop().unwrap_or_default();
        let full = std::mem::replace(&mut self.buffers, next);
        let sorted = self.sorting.push(full);
        self.take(sorted)
    }

    fn take(&mut self, sorted: Option<SortedRun<L>>) -> Result<()> {
        if let Some(sorted) = sorted {
            let (sorted, buffers) = sorted?;
            for (runs, run) in self.runs.iter_mut().zip(sorted) {
                runs.extend(run);
            }
            self.spare.push(buffers);
        }
        Ok(())
    }

    /// Sorts what is left.
    ///
    /// # Errors
    /// `DiskFull` or `Io` when a run cannot be spilled or the spill file cannot be mapped.
    pub(crate) fn finish(mut self) -> Result<SortedEdges<L>> {
        if !self.buffers.edges.is_empty() {
            self.sort_run()?;
        }
        while let Some(sorted) = self.sorting.next() {
            self.take(Some(sorted))?;
        }
        let EdgeSorter { store, runs, merge_bytes, pushed_count, .. } = self;
        let spilled = store.map()?;
        let sides = runs.map(|runs| runs.into_iter().map(|run| run.open(&spilled)).collect());
        Ok(SortedEdges { sides, merge_bytes, pushed_count, _store: store, _line: PhantomData })
    }
}

/// Sorts a run by its ends and stores the outcomes.
fn sort_run<L: Line>(mut buffers: Buffers<L>, ends: Ends, store: &RunStore) -> SortedRun<L> {
    let Buffers { edges, scratch } = &mut buffers;
    let used = edges.iter().fold((0, 0), |used, edge| (used.0 | edge.from, used.1 | edge.to));
    sort(edges, scratch, bit_len(used.0), bit_len(used.1));
    let following = store.keep(edges)?;
    let followers = if ends == Ends::Both {
        for edge in edges.iter_mut() {
            *edge = edge.turned();
        }
        // What is the second end now is in order already, and the sort is stable.
        sort(edges, scratch, bit_len(used.1), 0);
        Some(store.keep(edges)?)
    } else {
        None
    };
    edges.clear();
    Ok(([Some(following), followers], buffers))
}

/// Where sorted runs go: into memory while there is room for them, then to the spill file.
struct RunStore {
    place: Box<dyn Scratch>,
    kept_bytes_left: AtomicU64,
    spill: Mutex<Option<SpillFile>>,
}

struct SpillFile {
    file: Box<dyn OutputFile>,
    len_bytes: u64,
}

/// A run in the store.
struct StoredRun {
    place: RunPlace,
    len_bytes: usize,
    edge_bytes: usize,
}

enum RunPlace {
    Memory(Vec<u8>),
    /// At this offset of the spill file.
    File(u64),
}

impl RunStore {
    /// Stores edges as they are ordered.
    fn keep<L: Line>(&self, edges: &[Edge<L>]) -> Result<StoredRun> {
        let is_timed = edges.iter().any(|edge| edge.at != 0);
        let edge_bytes = L::BYTES + if is_timed { TIMED_EDGE_BYTES } else { UNTIMED_EDGE_BYTES };
        let len_bytes = edges.len() * edge_bytes;
        let take = |left: u64| left.checked_sub(len_bytes as u64);
        let has_room =
            self.kept_bytes_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        let place = if has_room.is_ok() {
            let mut bytes = Vec::with_capacity(len_bytes);
            append_edges(edges, is_timed, &mut bytes);
            RunPlace::Memory(bytes)
        } else {
            RunPlace::File(self.spill(edges, is_timed)?)
        };
        Ok(StoredRun { place, len_bytes, edge_bytes })
    }

    /// Appends edges to the spill file and says at which offset they are.
    fn spill<L: Line>(&self, edges: &[Edge<L>], is_timed: bool) -> Result<u64> {
        let mut spill = self.spill.lock();
        let spill = match &mut *spill {
            Some(spill) => spill,
            none => {
                let file = self.place.create(SPILL_FILE_NAME)?;
                none.insert(SpillFile { file, len_bytes: 0 })
            }
        };
        let start_bytes = spill.len_bytes;
        let mut chunk = Vec::with_capacity(SPILL_CHUNK_EDGES * (TIMED_EDGE_BYTES + L::BYTES));
        for edges in edges.chunks(SPILL_CHUNK_EDGES) {
            chunk.clear();
            append_edges(edges, is_timed, &mut chunk);
            spill.file.write_at(spill.len_bytes, &chunk)?;
            spill.len_bytes += chunk.len() as u64;
        }
        Ok(start_bytes)
    }

    /// Everything that was spilled.
    fn map(&self) -> Result<Bytes> {
        let Some(spill) = &*self.spill.lock() else {
            return Ok(Bytes::Owned(Arc::default()));
        };
        let bytes = self.place.map(SPILL_FILE_NAME, spill.len_bytes)?;
        if bytes.len() as u64 != spill.len_bytes {
            return Err(Error::corrupt("the spill file lost its end while it was in use")
                .at_path(&self.place.path(SPILL_FILE_NAME))
                .expected(spill.len_bytes, bytes.len()));
        }
        Ok(bytes)
    }
}

impl Drop for RunStore {
    fn drop(&mut self) {
        if self.spill.get_mut().is_some() {
            // A leftover costs disk space only, and opening the graph removes it.
            let _ = self.place.remove(SPILL_FILE_NAME);
        }
    }
}

fn append_edges<L: Line>(edges: &[Edge<L>], is_timed: bool, bytes: &mut Vec<u8>) {
    for edge in edges {
        if is_timed {
            bytes.extend_from_slice(&edge.to_bytes());
        } else {
            bytes.extend_from_slice(&edge.to_untimed_bytes());
        }
        edge.line.write(bytes);
    }
}

impl StoredRun {
    fn open(self, spilled: &Bytes) -> Run {
        let (bytes, start_bytes) = match self.place {
            RunPlace::Memory(bytes) => (Bytes::Owned(Arc::new(bytes)), 0),
            RunPlace::File(offset_bytes) => (spilled.clone(), offset_bytes as usize),
        };
        let range = start_bytes..start_bytes + self.len_bytes;
        Run { bytes, range, edge_bytes: self.edge_bytes }
    }
}

/// A sorted run, ready to be read.
struct Run {
    bytes: Bytes,
    range: Range<usize>,
    edge_bytes: usize,
}

impl Run {
    fn bytes_of(&self, edges: Range<usize>) -> &[u8] {
        let run = &self.bytes[self.range.clone()];
        &run[edges.start * self.edge_bytes..edges.end * self.edge_bytes]
    }

    /// The first edge at or after `start` whose `from` is `id` or more.
    fn find(&self, start: usize, id: u32) -> usize {
        let (mut low, mut high) = (start, self.range.len() / self.edge_bytes);
        while low < high {
            let middle = low + (high - low) / 2;
            if word(self.bytes_of(middle..middle + 1)) < id {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    fn read<L: Line>(&self, range: Range<usize>, edges: &mut Vec<Edge<L>>) {
        let bytes = self.bytes_of(range);
        let ends = |bytes: &[u8]| (word(bytes), word(&bytes[4..]));
        if self.edge_bytes == TIMED_EDGE_BYTES + L::BYTES {
            edges.extend(bytes.chunks_exact(TIMED_EDGE_BYTES + L::BYTES).map(|bytes| {
                let (from, to) = ends(bytes);
                let line = L::read(&bytes[TIMED_EDGE_BYTES..]);
                Edge { from, to, at: word(&bytes[8..]), line }
            }));
        } else {
            edges.extend(bytes.chunks_exact(UNTIMED_EDGE_BYTES + L::BYTES).map(|bytes| {
                let (from, to) = ends(bytes);
                Edge { from, to, at: 0, line: L::read(&bytes[UNTIMED_EDGE_BYTES..]) }
            }));
        }
    }
}

/// Edges sorted by either end, in runs. Owns the spill file, which goes away with it.
pub(crate) struct SortedEdges<L: Line = ()> {
    sides: BothSides<Vec<Run>>,
    merge_bytes: u64,
    pushed_count: u64,
    _store: Arc<RunStore>,
    _line: PhantomData<L>,
}

/// Some accounts, and where their edges are in every run of either side.
pub(crate) struct Cut {
    pub(crate) ids: Range<u32>,
    /// How many edges the runs of both sides hold for these accounts, repeats included.
    pub(crate) edge_count: u64,
    slices: BothSides<Vec<Range<usize>>>,
}

impl<L: Line> SortedEdges<L> {
    /// How many edges were pushed.
    pub(crate) fn pushed_count(&self) -> u64 {
        self.pushed_count
    }

    /// Cuts the accounts `0..id_count` into pieces, in order. `under_way_max` of them together
    /// can be merged within the memory of the sorter, unless one account alone takes more.
    pub(crate) fn cuts(&self, id_count: u32, under_way_max: usize) -> Cuts<'_> {
        let merged_edge_bytes = MERGED_EDGE_BYTES + 2 * L::BYTES as u64;
        let size_max = self.merge_bytes / merged_edge_bytes / under_way_max as u64;
        Cuts {
            sides: &self.sides,
            starts: [0, 1].map(|side| vec![0; self.sides[side].len()]),
            next_id: 0,
            id_count,
            step: 1024,
            size_max: size_max.clamp(1024, CUT_EDGES_MAX),
        }
    }

    /// Replaces the contents of `edges` with those of a cut: in order, without repeats. The one
    /// that was pushed first counts.
    pub(crate) fn merge(&self, cut: &Cut, side: Side, edges: &mut Vec<Edge<L>>) {
        edges.clear();
        for (run, slice) in self.sides[side as usize].iter().zip(&cut.slices[side as usize]) {
            run.read(slice.clone(), edges);
        }
        // A stable sort that looks for runs, and finds those just read.
        edges.sort_by_key(|edge| edge.key());
        edges.dedup_by_key(|edge| edge.key());
    }
}

/// The cuts of sorted edges.
pub(crate) struct Cuts<'a> {
    sides: &'a BothSides<Vec<Run>>,
    /// Where the next cut begins in every run.
    starts: BothSides<Vec<usize>>,
    next_id: u32,
    id_count: u32,
    /// How many accounts to try next.
    step: u32,
    /// How many accounts and edges together a cut may have.
    size_max: u64,
}

impl Cuts<'_> {
    fn cut(&self, ids: Range<u32>) -> Cut {
        let slices = [0, 1].map(|side: usize| {
            let runs = self.sides[side].iter().zip(&self.starts[side]);
            runs.map(|(run, &start)| start..run.find(start, ids.end)).collect::<Vec<_>>()
        });
        let edge_count = slices.iter().flatten().map(|slice| slice.len() as u64).sum();
        Cut { ids, edge_count, slices }
    }
}

impl Iterator for Cuts<'_> {
    type Item = Cut;

    fn next(&mut self) -> Option<Cut> {
        let start = self.next_id;
        let left = self.id_count - start;
        if left == 0 {
            return None;
        }
        let mut step = self.step.min(left);
        let (cut, size) = loop {
            let cut = self.cut(start..start + step);
            let size = cut.edge_count + u64::from(step);
            if size <= self.size_max || step == 1 {
                break (cut, size);
            }
            step /= 2;
        };
        self.step = if size * 2 < self.size_max { step.saturating_mul(2) } else { step };
        self.next_id = cut.ids.end;
        for (starts, slices) in self.starts.iter_mut().zip(&cut.slices) {
            starts.iter_mut().zip(slices).for_each(|(start, slice)| *start = slice.end);
        }
        Some(cut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::storage::{DirectoryStorage, MemoryStorage, Storage};
    use proptest::prelude::*;

    /// A sorter whose runs have this length, and which keeps no more than so many bytes of them.
    fn sorter(storage: &MemoryStorage, run_len: usize, kept_bytes_max: u64) -> EdgeSorter {
        let storage = Arc::new(storage.clone());
        EdgeSorter::with_run_len(Box::new(storage), Ends::Both, run_len, kept_bytes_max, 1 << 20)
    }

    fn push_all(sorter: &mut EdgeSorter, edges: &[Edge]) {
        for edge in edges {
            sorter.push(*edge).expect("memory does not fail");
        }
    }

    fn spill_file_count(storage: &dyn Storage) -> usize {
        let files = storage.list().expect("the storage can be listed");
        files.iter().filter(|(name, _)| name.starts_with("spill-")).count()
    }

    /// All edges of a side by pieces, which together are all accounts and all edges, once each.
    fn merged(sorted: &SortedEdges, side: Side, id_count: u32) -> Vec<Edge> {
        let (mut all, mut piece, mut next_id, mut edge_count) = (Vec::new(), Vec::new(), 0, 0);
        for cut in sorted.cuts(id_count, 4) {
            assert_eq!(cut.ids.start, next_id);
            assert!(!cut.ids.is_empty());
            next_id = cut.ids.end;
            edge_count += cut.edge_count;
            sorted.merge(&cut, side, &mut piece);
            assert!(piece.iter().all(|edge| cut.ids.contains(&edge.from)));
            all.extend_from_slice(&piece);
        }
        assert_eq!(next_id, id_count);
        assert_eq!(edge_count, 2 * sorted.pushed_count());
        all
    }

    /// What a stable sort makes of the edges, the first of equal ones alone.
    fn expected(edges: &[Edge], side: Side) -> Vec<Edge> {
        let turned = |edge: &Edge| match side {
            Side::Following => *edge,
            Side::Followers => edge.turned(),
        };
        let mut edges: Vec<Edge> = edges.iter().map(turned).collect();
        edges.sort_by_key(|edge| (edge.from, edge.to));
        edges.dedup_by_key(|edge| (edge.from, edge.to));
        edges
    }

    /// `from` and `to` small, so that there are repeats; `at` tells them apart.
    fn edges(count: usize, ids: u32) -> impl Strategy<Value = Vec<Edge>> {
        let ends = prop::collection::vec((0..ids, 0..ids), 0..count);
        ends.prop_map(|ends| {
            let edge = |((from, to), at)| Edge { from, to, at, line: () };
            ends.into_iter().zip(0..).map(edge).collect()
        })
    }

    fn scrambled(count: u32, shift: u32) -> Vec<Edge> {
        let mix = |i: u32| i.wrapping_mul(2_654_435_761) >> shift;
        (0..count).map(|i| Edge { from: mix(i), to: mix(i ^ 0x5555), at: i, line: () }).collect()
    }

    fn assert_sorts_like_a_vec(edges: &[Edge], run_len: usize, kept_bytes_max: u64) {
        let storage = MemoryStorage::default();
        let mut sorter = sorter(&storage, run_len, kept_bytes_max);
        push_all(&mut sorter, edges);
        let sorted = sorter.finish().expect("memory does not fail");
        assert_eq!(sorted.pushed_count(), edges.len() as u64);
        let id_count = edges.iter().map(|edge| edge.from.max(edge.to) + 1).max().unwrap_or(5);
        for side in [Side::Following, Side::Followers] {
            assert!(merged(&sorted, side, id_count) == expected(edges, side), "{side:?}");
        }
        let spills = kept_bytes_max == 0 && !edges.is_empty();
        assert_eq!(spill_file_count(&storage), usize::from(spills));
        drop(sorted);
        assert_eq!(spill_file_count(&storage), 0, "the spill file outlived its owner");
    }

    proptest! {
        #[test]
        fn any_edges_in_runs_of_any_length_come_out_like_a_stable_sort(
            edges in edges(300, 12),
            run_len in 1usize..400,
            kept_bytes_max in prop::sample::select(vec![0, u64::MAX]),
        ) {
            assert_sorts_like_a_vec(&edges, run_len, kept_bytes_max);
        }
    }

    #[test]
    fn long_runs_are_sorted_by_radix_for_every_width_of_ids() {
        for shift in [3, 8, 9, 19, 20, 26, 31] {
            let mut edges = scrambled(20_000, shift);
            assert_sorts_like_a_vec(&edges, 8192, u64::MAX);
            assert_sorts_like_a_vec(&edges, usize::MAX, 0);
            for edge in &mut edges {
                edge.at = 0;
            }
            assert_sorts_like_a_vec(&edges, 8192, 0);
        }
    }

    #[test]
    fn a_side_that_nobody_needs_takes_no_room() {
        let (edges, storage) = (scrambled(5_000, 20), MemoryStorage::default());
        let place = Box::new(Arc::new(storage.clone()));
        let mut sorter = EdgeSorter::with_run_len(place, Ends::Followers, 700, 0, 1 << 20);
        push_all(&mut sorter, &edges);
        let sorted = sorter.finish().expect("memory does not fail");
        let files = storage.list().expect("the storage can be listed");
        assert_eq!(files.iter().map(|file| file.1).sum::<u64>(), 5_000 * 12);
        let (mut all, mut piece) = (Vec::new(), Vec::new());
        for cut in sorted.cuts(4096, 1) {
            sorted.merge(&cut, Side::Followers, &mut piece);
            assert!(piece.is_empty());
            sorted.merge(&cut, Side::Following, &mut piece);
            all.extend_from_slice(&piece);
        }
        assert!(all == expected(&edges, Side::Following));
    }

    #[test]
    fn edges_that_are_in_order_already_stay_so() {
        let edges: Vec<_> =
            (0..10_000).map(|i| Edge { from: i / 7, to: i, at: i, line: () }).collect();
        assert_sorts_like_a_vec(&edges, 3_000, u64::MAX);
    }

    #[test]
    fn nothing_pushed_is_nothing_sorted() {
        assert_sorts_like_a_vec(&[], 1, 0);
    }

    #[test]
    fn one_account_with_more_edges_than_a_piece_may_have_is_a_piece_of_its_own() {
        let from_hub = |to| Edge { from: 500, to, at: 0, line: () };
        let others = (0..1000).map(|from| Edge { from, to: from ^ 1, at: 0, line: () });
        let edges: Vec<_> = (1000..200_000).map(from_hub).chain(others).collect();
        assert_sorts_like_a_vec(&edges, 10_000, u64::MAX);
    }

    #[test]
    fn what_is_kept_and_what_is_being_sorted_stay_below_the_memory_given() {
        let storage = MemoryStorage::default();
        let memory_bytes = 4 * MIN_MEMORY_BYTES;
        let mut sorter =
            EdgeSorter::new(Box::new(Arc::new(storage.clone())), memory_bytes, Ends::Both);
        push_all(&mut sorter, &scrambled(400_000, 8));
        let threads = processor_count().min(SORT_THREADS_MAX);
        // A sorting thread has a run, as much again to sort it, and as much to hand it over.
        let buffers_bytes = (3 * threads + 2) * sorter.run_len * size_of::<Edge>();
        let place_bytes = |run: &StoredRun| match run.place {
            RunPlace::Memory(ref bytes) => bytes.capacity(),
            RunPlace::File(_) => 0,
        };
        let kept_bytes: usize = sorter.runs.iter().flatten().map(place_bytes).sum();
        assert!((buffers_bytes + kept_bytes) as u64 <= memory_bytes);
        assert!(kept_bytes as u64 > memory_bytes / 2, "most of the memory is made use of");
        assert_eq!(spill_file_count(&storage), 1, "the rest is in the file");
        for buffers in sorter.spare.iter().chain([&sorter.buffers]) {
            assert!(buffers.edges.capacity() <= sorter.run_len);
            assert!(buffers.scratch.capacity() <= sorter.run_len);
        }
        drop(sorter);
        assert_eq!(spill_file_count(&storage), 0, "an unfinished sorter left its file");
    }

    #[test]
    fn a_directory_holds_the_spill_file_and_is_empty_again_afterwards() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let storage = DirectoryStorage::open(directory.path(), true).expect("it opens");
        let storage: Arc<dyn Storage> = Arc::new(storage);
        let edges = scrambled(5_000, 20);
        let mut sorter =
            EdgeSorter::with_run_len(Box::new(storage.clone()), Ends::Both, 700, 0, 1 << 20);
        push_all(&mut sorter, &edges);
        let sorted = sorter.finish().expect("the runs can be mapped");
        assert!(directory.path().join(SPILL_FILE_NAME).exists());
        assert!(merged(&sorted, Side::Followers, 4096) == expected(&edges, Side::Followers));
        drop(sorted);
        assert_eq!(spill_file_count(storage.as_ref()), 0);
    }

    #[test]
    fn a_spill_file_cut_short_is_an_error() {
        let storage = MemoryStorage::default();
        let mut sorter = sorter(&storage, 2, 0);
        push_all(&mut sorter, &scrambled(50, 20));
        while let Some(sorted) = sorter.sorting.next() {
            sorter.take(Some(sorted)).expect("memory does not fail");
        }
        let store = sorter.store.clone();
        assert!(store.map().is_ok());
        let mut file = storage.create(SPILL_FILE_NAME).expect("it can be replaced");
        file.write_at(0, &[0; 20]).expect("memory does not fail");
        let error = store.map().map(|_| ()).expect_err("most of it is missing");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn a_stored_edge_is_two_or_three_little_endian_words() {
        let edge = Edge { from: 1, to: 0x0203, at: 0x0405_0607, line: () };
        let bytes = [1, 0, 0, 0, 3, 2, 0, 0, 7, 6, 5, 4];
        assert_eq!(edge.to_bytes(), bytes);
        assert_eq!(edge.to_untimed_bytes(), bytes[..8]);
    }
}
