//! A comparison of encodings of sorted id sets on a graph: what each costs in bytes and in time.
//!
//! The engine keeps the two that won (`packed`, `roaring`); the ones that lost live only here.

use crate::adjacency::measured::{
    BitWriter, EliasFano, EngineSet, Reader, bit_len, bits_at, write_varint,
};
use crate::adjacency::{EdgeKey, EdgeList, encode_sets};
use std::fmt;
use std::hint::black_box;
use std::time::Instant;

/// The largest sizes of the classes; the last class has no largest.
const CLASSES: [u32; 8] = [1, 4, 16, 64, 256, 1024, 4096, 16_384];
/// The thresholds between the two forms that are compared.
const THRESHOLDS: [u32; 6] = [256, 1024, 4096, 16_384, 65_536, u32::MAX];
/// How many ids of a class are timed at most.
const TIMED_IDS_MAX: usize = 1 << 17;
/// How many membership tests are timed for each candidate and class.
const PROBES: u32 = 1 << 13;
/// How often each time is taken.
const RUNS: u32 = 25;
/// The follow times of the timed total lie within this many seconds, about eight years.
const TIME_RANGE_SECONDS: u64 = 1 << 28;

/// A way to write one sorted set of ids whose number is known.
struct Candidate {
    name: &'static str,
    encode: fn(&[u32], &mut Vec<u8>),
    decode: fn(u32, &[u8], &mut Vec<u32>),
    contains: fn(u32, &[u8], u32) -> bool,
}

const CANDIDATES: [Candidate; 6] = [
    Candidate {
        name: "plain u32",
        encode: |ids, out| out.extend(ids.iter().flat_map(|id| id.to_le_bytes())),
        decode: |len, bytes, out| out.extend((0..len).map(|i| plain(bytes, i))),
        contains: |len, bytes, id| search(len, |i| plain(bytes, i), id),
    },
    Candidate {
        name: "varint deltas",
        encode: encode_varints,
        decode: |len, bytes, out| out.extend(varints(len, bytes)),
        contains: |len, bytes, id| varints(len, bytes).find(|&found| id <= found) == Some(id),
    },
    Candidate {
        name: "bit-packed deltas",
        encode: encode_bit_packed,
        decode: |len, bytes, out| out.extend(bit_packed(len, bytes)),
        contains: |len, bytes, id| bit_packed(len, bytes).find(|&found| id <= found) == Some(id),
    },
    Candidate {
        name: "Elias-Fano, one block",
        encode: encode_one_block,
        decode: |len, bytes, out| {
            let (first, run, rest) = one_block(len, bytes);
            out.push(first);
            run.for_each(rest, |offset| out.push(first + offset as u32));
            out.extend((1 < len).then_some(first + run.span as u32));
        },
        contains: |len, bytes, id| {
            let (first, run, rest) = one_block(len, bytes);
            let offset = id.checked_sub(first).map(u64::from);
            let is_end = |offset| offset == 0 || offset == run.span;
            offset.is_some_and(|offset| is_end(offset) || run.contains(rest, offset))
        },
    },
    Candidate {
        name: "packed (engine)",
        encode: |ids, out| EngineSet::PACKED.encode(ids, out),
        decode: |len, bytes, out| EngineSet::PACKED.decode(len, bytes, out),
        contains: |len, bytes, id| EngineSet::PACKED.contains(len, bytes, id),
    },
    Candidate {
        name: "roaring (engine)",
        encode: |ids, out| EngineSet::ROARING.encode(ids, out),
        decode: |len, bytes, out| EngineSet::ROARING.decode(len, bytes, out),
        contains: |len, bytes, id| EngineSet::ROARING.contains(len, bytes, id),
    },
];

fn plain(bytes: &[u8], index: u32) -> u32 {
    let chunk = bytes[4 * index as usize..].first_chunk::<4>();
    u32::from_le_bytes(*chunk.expect("encoded by this comparison"))
}

fn search(len: u32, get: impl Fn(u32) -> u32, id: u32) -> bool {
    let (mut low, mut high) = (0, len);
    while low < high {
        let middle = low.midpoint(high);
        if get(middle) < id {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low < len && get(low) == id
}

fn encode_varints(ids: &[u32], out: &mut Vec<u8>) {
    let mut previous = 0;
    for &id in ids {
        write_varint(u64::from(id - previous), out);
        previous = id;
    }
}

fn varints(len: u32, bytes: &[u8]) -> impl Iterator<Item = u32> {
    let (mut place, mut id) = (0, 0_u32);
    (0..len).map(move |_| {
        let (mut delta, mut shift) = (0, 0);
        loop {
            let byte = u32::from(bytes[place]);
            place += 1;
            delta |= (byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                break;
            }
        }
        id += delta;
        id
    })
}

/// Blocks of 128 deltas, each with a byte for the width of its widest.
fn encode_bit_packed(ids: &[u32], out: &mut Vec<u8>) {
    let mut previous = 0;
    for block in ids.chunks(128) {
        let deltas = |from: u32| {
            let before = std::iter::once(from).chain(block.iter().copied());
            block.iter().zip(before).map(|(id, before)| u64::from(id - before))
        };
        let width = bit_len(deltas(previous).max().unwrap_or(0));
        out.push(width as u8);
        let mut writer = BitWriter::new(out);
        deltas(previous).for_each(|delta| writer.write(delta, width));
        writer.finish();
        previous = block[block.len() - 1];
    }
}

fn bit_packed(len: u32, bytes: &[u8]) -> impl Iterator<Item = u32> {
    let (mut rest, mut block, mut width, mut id) = (bytes, bytes, 0, 0_u32);
    (0..len).map(move |i| {
        if i % 128 == 0 {
            width = u32::from(rest[0]);
            let block_len_bytes = ((len - i).min(128) * width).div_ceil(8) as usize;
            block = &rest[1..];
            rest = &rest[1 + block_len_bytes..];
        }
        id += bits_at(block, u64::from(i % 128 * width), width) as u32;
        id
    })
}

fn encode_one_block(ids: &[u32], out: &mut Vec<u8>) {
    let first = ids[0];
    write_varint(u64::from(first), out);
    if 1 < ids.len() {
        let span = u64::from(ids[ids.len() - 1] - first);
        write_varint(span, out);
        let run = EliasFano { count: ids.len() as u32 - 2, span };
        run.encode(|i| u64::from(ids[i as usize + 1] - first), out);
    }
}

/// The first id, and the offsets between it and the last one.
fn one_block(len: u32, bytes: &[u8]) -> (u32, EliasFano, &[u8]) {
    let mut reader = Reader::new(bytes);
    let mut number = || reader.varint().expect("encoded by this comparison");
    let first = number() as u32;
    let span = if len < 2 { 0 } else { number() };
    (first, EliasFano { count: len.saturating_sub(2), span }, reader.rest())
}

/// All lists of one direction, one behind the other.
struct Lists {
    ends: Vec<usize>,
    ids: Vec<u32>,
}

impl Lists {
    fn new(edges: &[(u32, u32)], is_reversed: bool) -> Lists {
        let turn = |&(from, to): &(u32, u32)| if is_reversed { (to, from) } else { (from, to) };
        let account_count = edges.iter().map(|&(a, b)| a.max(b) as usize + 1).max().unwrap_or(0);
        let mut ends = vec![0_usize; account_count];
        for (owner, _) in edges.iter().map(turn) {
            ends[owner as usize] += 1;
        }
        let mut end = 0;
        for slot in &mut ends {
            let len = std::mem::replace(slot, end);
            end += len;
        }
        let mut ids = vec![0; edges.len()];
        for (owner, id) in edges.iter().map(turn) {
            ids[ends[owner as usize]] = id;
            ends[owner as usize] += 1;
        }
        let mut start = 0;
        for &end in &ends {
            ids[start..end].sort_unstable();
            start = end;
        }
        Lists { ends, ids }
    }

    fn get(&self, owner: usize) -> &[u32] {
        let start = owner.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.ids[start..self.ends[owner]]
    }

    fn iter(&self) -> impl Iterator<Item = &[u32]> {
        (0..self.ends.len()).map(|owner| self.get(owner)).filter(|ids| !ids.is_empty())
    }
}

/// What one candidate costs for the sets of one size class.
struct Cost {
    bytes_per_id: f64,
    decode_ns_per_id: f64,
    contains_ns: f64,
}

struct Class {
    name: String,
    set_count: usize,
    id_count: usize,
    costs: Vec<Cost>,
}

/// The result of [`compare`]; its text form is a few Markdown tables.
pub struct Comparison {
    follow_count: usize,
    classes: Vec<Class>,
    threshold_bytes_per_follow: Vec<f64>,
    untimed_bytes_per_follow: f64,
    timed_bytes_per_follow: f64,
}

/// Measures every candidate on the lists of a graph, in both directions.
///
/// Costs a few passes over the edges and about 12 bytes of memory for each.
///
/// # Panics
///
/// If a candidate does not give back what it was given, or an edge is there twice.
///
/// ```
/// let edges = [(0, 1), (0, 2), (2, 0)];
/// let table = followgraph::testing::encodings::compare(&edges).to_string();
/// assert!(table.contains("plain u32"));
/// ```
pub fn compare(edges: &[(u32, u32)]) -> Comparison {
    let (following, followers) = (Lists::new(edges, false), Lists::new(edges, true));
    let mut lower = 0;
    let classes = CLASSES.iter().copied().chain([u32::MAX]).map(|upper| {
        let sets: Vec<&[u32]> = following
            .iter()
            .chain(followers.iter())
            .filter(|ids| lower < ids.len() as u32 && ids.len() as u32 <= upper)
            .collect();
        let name = if upper == u32::MAX {
            format!("> {lower}")
        } else {
            format!("{} – {upper}", lower + 1)
        };
        lower = upper;
        measure_class(name, &sets)
    });
    let classes = classes.filter(|class| class.set_count != 0).collect();
    let per_follow = |bytes: u64| ratio(bytes, edges.len() as u64);
    let thresholds = THRESHOLDS.iter().map(|&threshold| {
        let bytes = following.iter().chain(followers.iter()).map(|ids| set_len(ids, threshold));
        per_follow(bytes.sum())
    });
    Comparison {
        follow_count: edges.len(),
        classes,
        threshold_bytes_per_follow: thresholds.collect(),
        untimed_bytes_per_follow: per_follow(blob_bytes(&following, &followers, false)),
        timed_bytes_per_follow: per_follow(blob_bytes(&following, &followers, true)),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people has three digits")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

fn set_len(ids: &[u32], threshold: u32) -> u64 {
    let is_packed = ids.len() as u32 <= threshold;
    let set = if is_packed { EngineSet::PACKED } else { EngineSet::ROARING };
    let mut bytes = Vec::new();
    set.encode(ids, &mut bytes);
    bytes.len() as u64
}

/// The bytes of all accounts as the engine writes them, heads included.
fn blob_bytes(following: &Lists, followers: &Lists, is_timed: bool) -> u64 {
    let mut bytes = Vec::new();
    let mut total = 0;
    for owner in 0..following.ends.len() {
        let lists = [(following, false), (followers, true)].map(|(lists, is_reversed)| {
            let mut list = EdgeList::default();
            for &id in lists.get(owner) {
                let owner = owner as u32;
                let edge = if is_reversed { (id, owner) } else { (owner, id) };
                let (at, tie) = if is_timed { (time_of(edge), 0) } else { (0, id) };
                list.push(EdgeKey { at, tie, id });
            }
            list
        });
        if lists.iter().any(|list| !list.is_empty()) {
            bytes.clear();
            encode_sets(&lists[0], &lists[1], &mut bytes);
            total += bytes.len() as u64;
        }
    }
    total
}

fn mix(value: u64) -> u64 {
    let value = (value ^ value >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (value ^ value >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

/// A time that both ends of an edge agree on and few edges share.
fn time_of((from, to): (u32, u32)) -> u32 {
    let mixed = mix(u64::from(from) << 32 | u64::from(to)) >> 20;
    1_400_000_000 + (mixed % TIME_RANGE_SECONDS) as u32
}

fn measure_class(name: String, sets: &[&[u32]]) -> Class {
    let id_count: usize = sets.iter().map(|ids| ids.len()).sum();
    // Sets from everywhere are timed, not only those of the accounts with the lowest ids.
    let step = (id_count / TIMED_IDS_MAX).max(1);
    let timed: Vec<&[u32]> = sets.iter().copied().step_by(step).collect();
    let costs = CANDIDATES.iter().map(|candidate| {
        let (mut len_bytes, mut blob) = (0, Vec::new());
        for ids in sets {
            blob.clear();
            (candidate.encode)(ids, &mut blob);
            len_bytes += blob.len() as u64;
        }
        let sample = Sample::new(candidate, &timed);
        Cost {
            bytes_per_id: ratio(len_bytes, id_count as u64),
            decode_ns_per_id: sample.decode_ns_per_id(),
            contains_ns: sample.contains_ns(),
        }
    });
    let costs = if sets.is_empty() { Vec::new() } else { costs.collect() };
    Class { name, set_count: sets.len(), id_count, costs }
}

/// The encoded sets that are timed.
struct Sample<'a> {
    candidate: &'a Candidate,
    sets: &'a [&'a [u32]],
    blob: Vec<u8>,
    starts: Vec<usize>,
}

impl<'a> Sample<'a> {
    fn new(candidate: &'a Candidate, sets: &'a [&'a [u32]]) -> Sample<'a> {
        let (mut blob, mut starts) = (Vec::new(), Vec::new());
        for ids in sets {
            starts.push(blob.len());
            (candidate.encode)(ids, &mut blob);
        }
        Sample { candidate, sets, blob, starts }
    }

    fn decode(&self, set_no: usize, ids: &mut Vec<u32>) {
        ids.clear();
        let len = self.sets[set_no].len() as u32;
        (self.candidate.decode)(len, &self.blob[self.starts[set_no]..], ids);
    }

    fn decode_ns_per_id(&self) -> f64 {
        let mut ids = Vec::new();
        for (set_no, expected) in self.sets.iter().enumerate() {
            self.decode(set_no, &mut ids);
            assert_eq!(&ids, expected, "{} loses nothing", self.candidate.name);
        }
        let total_ns = best_ns(|| {
            for set_no in 0..self.sets.len() {
                self.decode(set_no, &mut ids);
                black_box(&ids);
            }
        });
        ratio(total_ns, self.sets.iter().map(|ids| ids.len() as u64).sum())
    }

    fn contains_ns(&self) -> f64 {
        let probes = (0..PROBES).map(|i| {
            let random = mix(u64::from(i));
            let set_no = (random >> 40) as usize % self.sets.len();
            let ids = self.sets[set_no];
            let member = ids[(random >> 8) as usize % ids.len()];
            // Every other probe is beside a member, and most often not in the set.
            (set_no, member.wrapping_add(i & 1))
        });
        let probes: Vec<(usize, u32)> = probes.collect();
        let total_ns = best_ns(|| {
            let hits = probes.iter().filter(|&&(set_no, id)| {
                let len = self.sets[set_no].len() as u32;
                (self.candidate.contains)(len, &self.blob[self.starts[set_no]..], id)
            });
            let found_all = PROBES as usize / 2 <= hits.count();
            assert!(found_all, "{} finds every member", self.candidate.name);
        });
        ratio(total_ns, u64::from(PROBES))
    }
}

/// The nanoseconds of the fastest of a few short runs, which is disturbed least.
fn best_ns(mut run: impl FnMut()) -> u64 {
    let runs = (0..RUNS).map(|_| {
        let begin = Instant::now();
        run();
        begin.elapsed().as_nanos() as u64
    });
    runs.min().unwrap_or(0)
}

impl fmt::Display for Comparison {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{} follows, both directions.\n", self.follow_count)?;
        write!(out, "| ids in a set | sets | ids |")?;
        CANDIDATES.iter().try_for_each(|candidate| write!(out, " {} |", candidate.name))?;
        write!(out, "\n|---|---|---|")?;
        CANDIDATES.iter().try_for_each(|_| write!(out, "---|"))?;
        for class in &self.classes {
            write!(out, "\n| {} | {} | {} |", class.name, class.set_count, class.id_count)?;
            for cost in &class.costs {
                let Cost { bytes_per_id, decode_ns_per_id, contains_ns } = cost;
                write!(out, " {bytes_per_id:.2} / {decode_ns_per_id:.1} / {contains_ns:.0} |")?;
            }
        }
        writeln!(out, "\n\nBytes an id / ns an id decoded / ns a membership test.\n")?;
        writeln!(
            out,
            "| packed up to | bytes a follow, both directions, heads left out |\n|---|---|"
        )?;
        for (&threshold, bytes) in THRESHOLDS.iter().zip(&self.threshold_bytes_per_follow) {
            let name = if threshold == u32::MAX { "any".into() } else { threshold.to_string() };
            writeln!(out, "| {name} | {bytes:.3} |")?;
        }
        let (untimed, timed) = (self.untimed_bytes_per_follow, self.timed_bytes_per_follow);
        writeln!(out, "\nAs written, bytes a follow: {untimed:.3} without times, {timed:.3} with.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_candidate_gives_back_what_it_was_given() {
        let edges: Vec<(u32, u32)> = (0..70_u32)
            .flat_map(|from| (0..from * from % 500).map(move |i| (from, i * (from + 1) + from)))
            .collect();
        let comparison = compare(&edges);
        assert_eq!(comparison.follow_count, edges.len());
        assert!(comparison.untimed_bytes_per_follow < comparison.timed_bytes_per_follow);
        let ids: usize = comparison.classes.iter().map(|class| class.id_count).sum();
        assert_eq!(ids, 2 * edges.len());
    }
}
