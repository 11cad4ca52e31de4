//! Sorting more edges than fit in memory: a buffer, sorted runs in spill files, and a merge.
//!
//! * The sort is stable: of edges with equal ends, the one pushed first comes first.
//! * The edge buffers of a sorter never exceed the memory it was given (but for the least it can
//!   work with, [`MIN_MEMORY_BYTES`]). Half of it holds edges, half is what the radix sort moves
//!   them into.
//! * Spill files go away with the sorter or with the sorted edges, whichever comes last. Their
//!   names say that they are temporary, for the case that the process dies before.
//!
//! Not covered: spill files carry no checksums. They live for the length of one load in the
//! process that wrote them, and the loader recounts what it builds from them.

use crate::error::{Error, Result};
use crate::storage::{Bytes, Storage};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

/// One follow on its way into an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edge {
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) at: u32,
}

/// An edge in a spill file: three little-endian words.
const SPILLED_EDGE_BYTES: usize = 12;
const _: () = assert!(size_of::<Edge>() == SPILLED_EDGE_BYTES);

/// A spill file is written in pieces of this many edges.
const SPILL_CHUNK_EDGES: usize = 16 * 1024;

/// Below this a sorter would spend its time on opening files instead of sorting.
const MIN_MEMORY_BYTES: u64 = 1024 * 1024;

/// Runs shorter than this are sorted by comparing; the tables of a radix sort would cost more.
const MIN_RADIX_EDGES: usize = 4096;

/// The most bits a radix pass looks at: its counters and the ends of its buckets stay in cache.
const MAX_DIGIT_BITS: u32 = 12;

impl Edge {
    /// Orders edges by `from`, then `to`.
    #[inline]
    fn key(self) -> u64 {
        u64::from(self.from) << 32 | u64::from(self.to)
    }

    fn to_bytes(self) -> [u8; SPILLED_EDGE_BYTES] {
        let mut bytes = [0; SPILLED_EDGE_BYTES];
        bytes[0..4].copy_from_slice(&self.from.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.to.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.at.to_le_bytes());
        bytes
    }

    #[inline]
    fn from_bytes(bytes: &[u8; SPILLED_EDGE_BYTES]) -> Edge {
        let [f0, f1, f2, f3, t0, t1, t2, t3, a0, a1, a2, a3] = *bytes;
        Edge {
            from: u32::from_le_bytes([f0, f1, f2, f3]),
            to: u32::from_le_bytes([t0, t1, t2, t3]),
            at: u32::from_le_bytes([a0, a1, a2, a3]),
        }
    }
}

/// Sorts edges by (`from`, `to`), stable, in bounded memory.
///
/// Cost: linear in the edges of a run for each of two to six passes, and a logarithm of the number
/// of runs for each edge that is merged.
pub(crate) struct EdgeSorter<'a> {
    spill: SpillFiles<'a>,
    /// Edges of the run under way, in the order they were pushed.
    buffer: Vec<Edge>,
    /// The other half of a radix sort, as long as the longest run so far.
    scratch: Vec<Edge>,
    /// How many edges a run may have.
    run_len: usize,
    pushed_count: u64,
}

impl<'a> EdgeSorter<'a> {
    /// A sorter that spills to files `spill-<prefix>-<n>.tmp` once `memory_bytes` are full.
    pub(crate) fn new(storage: &'a dyn Storage, prefix: &str, memory_bytes: u64) -> Self {
        let chunk_bytes = (SPILL_CHUNK_EDGES * SPILLED_EDGE_BYTES) as u64;
        let buffers_bytes = memory_bytes.max(MIN_MEMORY_BYTES) - chunk_bytes;
        let run_len = buffers_bytes / (2 * size_of::<Edge>() as u64);
        EdgeSorter::with_run_len(storage, prefix, usize::try_from(run_len).unwrap_or(usize::MAX))
    }

    fn with_run_len(storage: &'a dyn Storage, prefix: &str, run_len: usize) -> Self {
        assert!(run_len > 0, "a run holds at least one edge");
        EdgeSorter {
            spill: SpillFiles { storage, prefix: prefix.to_owned(), runs: Vec::new() },
            buffer: Vec::new(),
            scratch: Vec::new(),
            run_len,
            pushed_count: 0,
        }
    }

    /// Adds one edge.
    ///
    /// # Errors
    /// `DiskFull` or `Io` when a run cannot be spilled; the sorter is of no more use then.
    #[inline]
    pub(crate) fn push(&mut self, edge: Edge) -> Result<()> {
        if self.buffer.len() == self.buffer.capacity() {
            self.make_room()?;
        }
        self.buffer.push(edge);
        self.pushed_count += 1;
        Ok(())
    }

    /// Grows the buffer by doubling, but to a run's length at most, and empties it there.
    #[cold]
    fn make_room(&mut self) -> Result<()> {
        let len = self.buffer.len();
        if len >= self.run_len {
            return self.spill_run();
        }
        let grown_len = (len * 2).max(1024).min(self.run_len);
        self.buffer.reserve_exact(grown_len - len);
        Ok(())
    }

    fn spill_run(&mut self) -> Result<()> {
        sort(&mut self.buffer, &mut self.scratch);
        self.spill.write(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    /// Sorts what is left. Edges that never filled the memory stay in it.
    ///
    /// # Errors
    /// `DiskFull` or `Io` when the last run cannot be spilled or the runs cannot be mapped.
    pub(crate) fn finish(mut self) -> Result<SortedEdges<'a>> {
        let edge_count = self.pushed_count;
        if self.spill.runs.is_empty() {
            sort(&mut self.buffer, &mut self.scratch);
            let runs = Runs::InMemory(self.buffer);
            return Ok(SortedEdges { runs, edge_count, _spill: self.spill });
        }
        if !self.buffer.is_empty() {
            self.spill_run()?;
        }
        let runs = Runs::Spilled(self.spill.map()?);
        Ok(SortedEdges { runs, edge_count, _spill: self.spill })
    }
}

/// Sorts by key, stable. `scratch` is grown as needed; its contents mean nothing.
fn sort(edges: &mut [Edge], scratch: &mut Vec<Edge>) {
    // An exported graph is sorted already, and looking is much cheaper than sorting.
    if edges.is_sorted_by_key(|edge| edge.key()) {
        return;
    }
    if edges.len() < MIN_RADIX_EDGES {
        edges.sort_by_key(|edge| edge.key());
        return;
    }
    scratch.reserve_exact(edges.len().saturating_sub(scratch.len()));
    scratch.resize(edges.len(), Edge { from: 0, to: 0, at: 0 });
    let used = edges.iter().fold((0, 0), |used, edge| (used.0 | edge.from, used.1 | edge.to));
    let (from_bits, to_bits) = (bit_len(used.0), bit_len(used.1));
    // One pass over the highest bits makes parts that fit the processor's cache, where the many
    // passes over the other bits cost a fraction of what they would cost in main memory.
    let part_shift = from_bits.saturating_sub(MAX_DIGIT_BITS);
    let part_digit = Digit { of: Field::From, shift: part_shift, bits: from_bits - part_shift };
    let part_ends = scatter(edges, scratch, part_digit);
    let digits = digits(to_bits, part_shift);
    let (mut edges, mut scratch) = (edges, scratch.as_mut_slice());
    let mut done = 0;
    for end in part_ends {
        let (part, rest) = std::mem::take(&mut edges).split_at_mut(end - done);
        let (scratch_part, scratch_rest) = std::mem::take(&mut scratch).split_at_mut(end - done);
        (edges, scratch, done) = (rest, scratch_rest, end);
        sort_part(scratch_part, part, &digits);
    }
}

/// The bits below those the parts were made by, least significant digit first: a pass keeps the
/// order of the passes before it.
fn digits(to_bits: u32, from_bits: u32) -> Vec<Digit> {
    let field_digits = |of: Field, field_bits: u32| {
        let pass_count = field_bits.div_ceil(MAX_DIGIT_BITS).max(1);
        let bits = field_bits.div_ceil(pass_count);
        (0..pass_count).map(move |pass| Digit { of, shift: pass * bits, bits })
    };
    let digits = field_digits(Field::To, to_bits).chain(field_digits(Field::From, from_bits));
    digits.filter(|digit| digit.bits > 0).collect()
}

/// Sorts `part` into `sorted`, which has the same length; `part` is left in any state.
fn sort_part<'e>(mut part: &'e mut [Edge], mut sorted: &'e mut [Edge], digits: &[Digit]) {
    let few = part.len() < MIN_RADIX_EDGES;
    if few {
        part.sort_by_key(|edge| edge.key());
    } else {
        for digit in digits {
            scatter(part, sorted, *digit);
            std::mem::swap(&mut part, &mut sorted);
        }
    }
    // Every pass swapped the two, so the outcome is in `part`; which slice that is, the number of
    // passes says.
    if few || digits.len().is_multiple_of(2) {
        sorted.copy_from_slice(part);
    }
}

#[derive(Clone, Copy)]
enum Field {
    From,
    To,
}

/// Some bits of one field of an edge.
#[derive(Clone, Copy)]
struct Digit {
    of: Field,
    shift: u32,
    bits: u32,
}

fn bit_len(value: u32) -> u32 {
    u32::BITS - value.leading_zeros()
}

/// Copies `edges` to `target` in the order of one digit, equal digits in the order they had.
/// Returns where the edges of each digit end.
fn scatter(edges: &[Edge], target: &mut [Edge], digit: Digit) -> Vec<usize> {
    match digit.of {
        Field::From => scatter_by(edges, target, digit, |edge| edge.from),
        Field::To => scatter_by(edges, target, digit, |edge| edge.to),
    }
}

#[inline]
fn scatter_by(
    edges: &[Edge],
    target: &mut [Edge],
    digit: Digit,
    field: impl Fn(&Edge) -> u32,
) -> Vec<usize> {
    let mask = (1 << digit.bits) - 1;
    let value = |edge: &Edge| ((field(edge) >> digit.shift) & mask) as usize;
    let mut next = vec![0usize; mask as usize + 1];
    for edge in edges {
        next[value(edge)] += 1;
    }
    let mut start = 0;
    for slot in &mut next {
        let count = *slot;
        *slot = start;
        start += count;
    }
    for edge in edges {
        let slot = &mut next[value(edge)];
        target[*slot] = *edge;
        *slot += 1;
    }
    next
}

/// The spill files of one sorter, removed when dropped.
struct SpillFiles<'a> {
    storage: &'a dyn Storage,
    prefix: String,
    /// How many edges each file holds, by file number.
    runs: Vec<usize>,
}

impl SpillFiles<'_> {
    fn name(&self, run_index: usize) -> String {
        format!("spill-{}-{run_index}.tmp", self.prefix)
    }

    fn write(&mut self, edges: &[Edge]) -> Result<()> {
        let name = self.name(self.runs.len());
        let mut file = self.storage.create(&name)?;
        // Counted before it is written, so that a half-written file is removed as well.
        self.runs.push(edges.len());
        let mut chunk = Vec::with_capacity(SPILL_CHUNK_EDGES * SPILLED_EDGE_BYTES);
        let mut offset_bytes = 0;
        for edges in edges.chunks(SPILL_CHUNK_EDGES) {
            chunk.clear();
            chunk.extend(edges.iter().flat_map(|edge| edge.to_bytes()));
            file.write_at(offset_bytes, &chunk)?;
            offset_bytes += chunk.len() as u64;
        }
        Ok(())
    }

    fn map(&self) -> Result<Vec<Bytes>> {
        let map_run = |(run_index, edge_count): (usize, &usize)| {
            let name = self.name(run_index);
            let len_bytes = edge_count * SPILLED_EDGE_BYTES;
            let bytes = self.storage.map(&name, len_bytes as u64)?;
            if bytes.len() != len_bytes {
                return Err(Error::corrupt("a spill file lost its end while it was in use")
                    .at_path(&self.storage.path(&name))
                    .expected(len_bytes, bytes.len()));
            }
            Ok(bytes)
        };
        self.runs.iter().enumerate().map(map_run).collect()
    }
}

impl Drop for SpillFiles<'_> {
    fn drop(&mut self) {
        for run_index in 0..self.runs.len() {
            // A leftover costs disk space only, and opening the graph removes it.
            let _ = self.storage.remove(&self.name(run_index));
        }
    }
}

/// Edges in order, to be read as often as needed. Owns the spill files and removes them at its end.
pub(crate) struct SortedEdges<'a> {
    runs: Runs,
    edge_count: u64,
    _spill: SpillFiles<'a>,
}

enum Runs {
    InMemory(Vec<Edge>),
    Spilled(Vec<Bytes>),
}

impl SortedEdges<'_> {
    /// How many edges were pushed.
    pub(crate) fn len(&self) -> u64 {
        self.edge_count
    }

    /// All edges in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Result<Edge>> + '_ {
        match &self.runs {
            Runs::InMemory(edges) => Merge::InMemory(edges.iter()),
            Runs::Spilled(runs) => Merge::spilled(runs),
        }
        .map(Ok)
    }
}

/// An iteration under way. Of equal edges in several runs the earlier run has the earlier pushed.
enum Merge<'a> {
    InMemory(std::slice::Iter<'a, Edge>),
    Spilled {
        runs: Vec<RunReader<'a>>,
        /// The next key of each run that has one, and the run's number.
        heads: BinaryHeap<Reverse<(u64, usize)>>,
    },
}

impl<'a> Merge<'a> {
    fn spilled(runs: &'a [Bytes]) -> Merge<'a> {
        let runs: Vec<_> = runs.iter().filter_map(|bytes| RunReader::new(bytes)).collect();
        let head = |(run_index, run): (usize, &RunReader<'_>)| Reverse((run.head.key(), run_index));
        let heads = runs.iter().enumerate().map(head).collect();
        Merge::Spilled { runs, heads }
    }
}

impl Iterator for Merge<'_> {
    type Item = Edge;

    #[inline]
    fn next(&mut self) -> Option<Edge> {
        match self {
            Merge::InMemory(edges) => edges.next().copied(),
            Merge::Spilled { runs, heads } => {
                let mut top = heads.peek_mut()?;
                let run_index = top.0.1;
                let run = &mut runs[run_index];
                let edge = run.head;
                if run.advance() {
                    *top = Reverse((run.head.key(), run_index));
                } else {
                    PeekMut::pop(top);
                }
                Some(edge)
            }
        }
    }
}

/// A run that is being read: its next edge, and the bytes after it.
struct RunReader<'a> {
    head: Edge,
    rest: &'a [u8],
}

impl<'a> RunReader<'a> {
    /// A reader of the run, or `None` if there is nothing in it.
    fn new(bytes: &'a [u8]) -> Option<RunReader<'a>> {
        let (head, rest) = bytes.split_first_chunk()?;
        Some(RunReader { head: Edge::from_bytes(head), rest })
    }

    /// Steps to the next edge; false at the end.
    #[inline]
    fn advance(&mut self) -> bool {
        let Some((head, rest)) = self.rest.split_first_chunk() else { return false };
        self.head = Edge::from_bytes(head);
        self.rest = rest;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::storage::{DirectoryStorage, MemoryStorage};
    use proptest::prelude::*;

    fn spill_file_count(storage: &dyn Storage) -> usize {
        let files = storage.list().expect("the storage can be listed");
        files.iter().filter(|(name, _)| name.starts_with("spill-")).count()
    }

    fn collect(sorted: &SortedEdges<'_>) -> Vec<Edge> {
        sorted.iter().collect::<Result<_>>().expect("every run can be read")
    }

    /// `from` and `to` small, so that there are duplicates; `at` tells them apart.
    fn edges(count: usize, ids: u32) -> impl Strategy<Value = Vec<Edge>> {
        let ends = prop::collection::vec((0..ids, 0..ids), 0..count);
        ends.prop_map(|ends| {
            let edge = |((from, to), at)| Edge { from, to, at };
            ends.into_iter().zip(0..).map(edge).collect()
        })
    }

    fn scrambled(count: u32, shift: u32) -> Vec<Edge> {
        let mix = |i: u32| i.wrapping_mul(2_654_435_761) >> shift;
        (0..count).map(|i| Edge { from: mix(i), to: mix(i ^ 0x5555), at: i }).collect()
    }

    fn assert_sorts_like_a_vec(edges: &[Edge], run_len: usize) {
        let storage = MemoryStorage::default();
        let mut sorter = EdgeSorter::with_run_len(&storage, "t", run_len);
        for edge in edges {
            sorter.push(*edge).expect("memory does not fail");
        }
        let outcome = sorter.finish().expect("memory does not fail");
        let mut expected = edges.to_vec();
        expected.sort_by_key(|edge| (edge.from, edge.to));
        assert_eq!(collect(&outcome), expected);
        assert_eq!(collect(&outcome), expected, "a second iteration gives the same");
        assert_eq!(outcome.len(), edges.len() as u64);
        let run_count = edges.len().div_ceil(run_len);
        let expected_files = if run_count > 1 { run_count } else { 0 };
        assert_eq!(spill_file_count(&storage), expected_files);
        drop(outcome);
        assert_eq!(spill_file_count(&storage), 0, "spill files outlived their owner");
    }

    proptest! {
        #[test]
        fn any_edges_in_runs_of_any_length_come_out_like_a_stable_sort(
            edges in edges(300, 12),
            run_len in 1usize..400,
        ) {
            assert_sorts_like_a_vec(&edges, run_len);
        }
    }

    #[test]
    fn long_runs_are_sorted_by_radix_for_every_width_of_ids() {
        for shift in [0, 3, 8, 9, 19, 20, 26, 31] {
            let edges = scrambled(20_000, shift);
            assert_sorts_like_a_vec(&edges, MIN_RADIX_EDGES * 2);
            assert_sorts_like_a_vec(&edges, usize::MAX);
        }
    }

    #[test]
    fn edges_that_are_in_order_already_stay_so() {
        let edges: Vec<_> = (0..10_000).map(|i| Edge { from: i / 7, to: i, at: i }).collect();
        assert_sorts_like_a_vec(&edges, 3_000);
    }

    #[test]
    fn nothing_pushed_is_nothing_sorted() {
        assert_sorts_like_a_vec(&[], 1);
    }

    #[test]
    fn the_buffers_stay_below_the_memory_given() {
        let storage = MemoryStorage::default();
        let memory_bytes = 2 * MIN_MEMORY_BYTES;
        let mut sorter = EdgeSorter::new(&storage, "t", memory_bytes);
        for edge in scrambled(200_000, 8) {
            sorter.push(edge).expect("memory does not fail");
            let edge_capacity = sorter.buffer.capacity() + sorter.scratch.capacity();
            assert!((edge_capacity * size_of::<Edge>()) as u64 <= memory_bytes);
        }
        assert!(spill_file_count(&storage) >= 2);
        drop(sorter);
        assert_eq!(spill_file_count(&storage), 0, "an unfinished sorter left its files");
    }

    #[test]
    fn a_directory_holds_the_runs_and_is_empty_again_afterwards() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let storage = DirectoryStorage::open(directory.path(), true).expect("it opens");
        let edges = scrambled(5_000, 20);
        let mut sorter = EdgeSorter::with_run_len(&storage, "out", 700);
        for edge in &edges {
            sorter.push(*edge).expect("there is room");
        }
        let outcome = sorter.finish().expect("the runs can be mapped");
        assert!(directory.path().join("spill-out-7.tmp").exists());
        let mut expected = edges;
        expected.sort_by_key(|edge| edge.key());
        assert_eq!(collect(&outcome), expected);
        drop(outcome);
        assert_eq!(spill_file_count(&storage), 0);
    }

    #[test]
    fn a_spill_file_cut_short_is_an_error() {
        let storage = MemoryStorage::default();
        let mut sorter = EdgeSorter::with_run_len(&storage, "t", 2);
        for edge in scrambled(5, 20) {
            sorter.push(edge).expect("memory does not fail");
        }
        let mut file = storage.create("spill-t-1.tmp").expect("it can be replaced");
        file.write_at(0, &[0; SPILLED_EDGE_BYTES]).expect("memory does not fail");
        let error = sorter.finish().map(|_| ()).expect_err("half a run is missing");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn a_spilled_edge_is_three_little_endian_words() {
        let edge = Edge { from: 1, to: 0x0203, at: 0x0405_0607 };
        let bytes = [1, 0, 0, 0, 3, 2, 0, 0, 7, 6, 5, 4];
        assert_eq!(edge.to_bytes(), bytes);
        assert_eq!(Edge::from_bytes(&bytes), edge);
    }
}
