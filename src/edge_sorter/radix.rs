//! The radix sort of one run of edges in memory: stable, with as much room again as the edges take.

use super::{Edge, Line};

/// Runs shorter than this are sorted by comparing; the tables of a radix sort would cost more.
const MIN_RADIX_EDGES: usize = 4096;

/// The most bits a radix pass looks at: its counters and the ends of its buckets stay in cache.
const MAX_DIGIT_BITS: u32 = 12;

/// How many edges a part should have: they and the room to sort them stay in cache, and are many
/// beside the counters of a pass.
const PART_EDGES: usize = 8192;

/// Sorts by key, stable, where `from` has `from_bits` bits and `to` has `to_bits`, or 0 where the
/// edges are in the order of `to`. `scratch` is grown as needed; its contents mean nothing.
pub(super) fn sort<L: Line>(
    edges: &mut [Edge<L>],
    scratch: &mut Vec<Edge<L>>,
    from_bits: u32,
    to_bits: u32,
) {
    // An exported graph is sorted already, and looking is much cheaper than sorting.
    if edges.is_sorted_by_key(|edge| edge.key()) {
        return;
    }
    if edges.len() < MIN_RADIX_EDGES {
        edges.sort_by_key(|edge| edge.key());
        return;
    }
    scratch.reserve_exact(edges.len().saturating_sub(scratch.len()));
    scratch.resize(edges.len(), Edge::default());
    // One pass over the highest bits makes parts that fit the processor's cache, where the many
    // passes over the other bits cost a fraction of what they would cost in main memory.
    let part_bits = bit_len((edges.len() / PART_EDGES) as u32).clamp(1, MAX_DIGIT_BITS);
    let part_shift = from_bits.saturating_sub(part_bits);
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
fn sort_part<'e, L: Line>(
    mut part: &'e mut [Edge<L>],
    mut sorted: &'e mut [Edge<L>],
    digits: &[Digit],
) {
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

pub(super) fn bit_len(value: u32) -> u32 {
    u32::BITS - value.leading_zeros()
}

/// Copies `edges` to `target` in the order of one digit, equal digits in the order they had.
/// Returns where the edges of each digit end.
fn scatter<L: Line>(edges: &[Edge<L>], target: &mut [Edge<L>], digit: Digit) -> Vec<usize> {
    match digit.of {
        Field::From => scatter_by(edges, target, digit, |edge| edge.from),
        Field::To => scatter_by(edges, target, digit, |edge| edge.to),
    }
}

#[inline]
fn scatter_by<L: Line>(
    edges: &[Edge<L>],
    target: &mut [Edge<L>],
    digit: Digit,
    field: impl Fn(&Edge<L>) -> u32,
) -> Vec<usize> {
    let mask = (1 << digit.bits) - 1;
    let value = |edge: &Edge<L>| ((field(edge) >> digit.shift) & mask) as usize;
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
