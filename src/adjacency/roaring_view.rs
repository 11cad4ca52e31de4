//! The portable roaring format, read in place: a set of a hundred million ids answers without
//! being copied.
//!
//! Behind the portable bytes stand our own `ends`: how many ids the containers up to and including
//! each one hold, so that rank and select are a binary search and one container.

use super::bits::{Reader, select_in_word, u16_at, u32_at, write_varint};
use crate::error::{Error, Result};
use roaring::RoaringBitmap;

const COOKIE_WITH_RUNS: u32 = 12_347;
const COOKIE_WITHOUT_RUNS: u32 = 12_346;
/// A bitmap with runs and fewer containers than this has no offsets.
const OFFSETS_FROM: u32 = 4;
const ARRAY_MAX: u32 = 4_096;
const BITSET_WORDS: u32 = 1_024;

#[derive(Clone, Copy)]
pub(super) struct RoaringView<'a> {
    portable: &'a [u8],
    ends: &'a [u8],
    /// How many containers there are.
    size: u32,
    has_runs: bool,
}

/// Appends the ids, which are strictly ascending.
pub(super) fn encode(ids: &[u32], out: &mut Vec<u8>) {
    let mut bitmap = RoaringBitmap::from_sorted_iter(ids.iter().copied())
        .expect("the ids of a list are strictly ascending");
    bitmap.optimize();
    write_varint(bitmap.serialized_size() as u64, out);
    bitmap.serialize_into(&mut *out).expect("writing to memory does not fail");
    let mut end = 0_u32;
    for group in ids.chunk_by(|a, b| a >> 16 == b >> 16) {
        end += group.len() as u32;
        out.extend_from_slice(&end.to_le_bytes());
    }
}

/// The ids of one container, without their high halves.
#[derive(Clone, Copy)]
enum Container<'a> {
    Array(&'a [u8]),
    Bitset(&'a [u8]),
    Runs(&'a [u8]),
}

impl<'a> RoaringView<'a> {
    /// Takes a set of `len` ids from the front of `reader`, in O(1).
    pub(super) fn parse(len: u32, reader: &mut Reader<'a>) -> Result<RoaringView<'a>> {
        let portable_len_bytes = reader.varint()?;
        let portable = reader.take(portable_len_bytes)?;
        let mut head = Reader::new(portable);
        let cookie = head.fixed_u32()?;
        let has_runs = cookie & 0xffff == COOKIE_WITH_RUNS;
        let size = if has_runs { (cookie >> 16) + 1 } else { head.fixed_u32()? };
        let known = has_runs || cookie == COOKIE_WITHOUT_RUNS;
        if !known || size == 0 || (1 << 16) < size {
            return Err(Error::corrupt("a large set is not in the portable roaring format"));
        }
        let ends = reader.take(4 * u64::from(size))?;
        let view = RoaringView { portable, ends, size, has_runs };
        if portable.len() < view.body_start() || view.end(size - 1) != len {
            return Err(Error::corrupt("a large set does not hold as many ids as its list"));
        }
        Ok(view)
    }

    // The head: a cookie, then the flags of the containers with runs or the number of containers,
    // then a descriptor for each container, then an offset for each, unless there are few and runs.

    #[inline]
    fn descriptors_start(&self) -> usize {
        if self.has_runs { 4 + self.size.div_ceil(8) as usize } else { 8 }
    }

    #[inline]
    fn offsets_start(&self) -> usize {
        self.descriptors_start() + 4 * self.size as usize
    }

    #[inline]
    fn has_offsets(&self) -> bool {
        !self.has_runs || OFFSETS_FROM <= self.size
    }

    /// Where the first container begins.
    #[inline]
    fn body_start(&self) -> usize {
        let offsets_bytes = if self.has_offsets() { 4 * self.size as usize } else { 0 };
        self.offsets_start() + offsets_bytes
    }

    #[inline]
    fn key(&self, container_no: u32) -> u32 {
        u32::from(u16_at(self.portable, self.descriptors_start() + 4 * container_no as usize))
    }

    #[inline]
    fn cardinality(&self, container_no: u32) -> u32 {
        let place = self.descriptors_start() + 4 * container_no as usize + 2;
        u32::from(u16_at(self.portable, place)) + 1
    }

    #[inline]
    fn is_run(&self, container_no: u32) -> bool {
        let flags = || self.portable.get(4 + container_no as usize / 8).copied().unwrap_or(0);
        self.has_runs && flags() >> (container_no % 8) & 1 == 1
    }

    #[inline]
    fn end(&self, container_no: u32) -> u32 {
        u32_at(self.ends, 4 * container_no as usize)
    }

    /// How many ids stand in the containers before this one.
    fn start(&self, container_no: u32) -> u32 {
        container_no.checked_sub(1).map_or(0, |before| self.end(before))
    }

    fn offset(&self, container_no: u32) -> usize {
        if self.has_offsets() {
            let place = self.offsets_start() + 4 * container_no as usize;
            return u32_at(self.portable, place) as usize;
        }
        (0..container_no).fold(self.body_start(), |offset, before| self.body_end(before, offset))
    }

    /// Where the container that begins at `offset` ends.
    fn body_end(&self, container_no: u32, offset: usize) -> usize {
        let cardinality = self.cardinality(container_no);
        let len_bytes = if self.is_run(container_no) {
            2 + 4 * usize::from(u16_at(self.portable, offset))
        } else if cardinality <= ARRAY_MAX {
            2 * cardinality as usize
        } else {
            8 * BITSET_WORDS as usize
        };
        offset.saturating_add(len_bytes)
    }

    fn container(&self, container_no: u32) -> Container<'a> {
        let offset = self.offset(container_no);
        let end = self.body_end(container_no, offset);
        if self.is_run(container_no) {
            let runs = self.portable.get(offset.saturating_add(2)..end);
            return Container::Runs(runs.unwrap_or(&[]));
        }
        let body = self.portable.get(offset..end).unwrap_or(&[]);
        if self.cardinality(container_no) <= ARRAY_MAX {
            Container::Array(body)
        } else {
            Container::Bitset(body)
        }
    }

    /// The first container whose key is not below `key`.
    fn find(&self, key: u32) -> u32 {
        partition_point(self.size, |container_no| self.key(container_no) < key)
    }

    pub(super) fn contains(&self, id: u32) -> bool {
        let container_no = self.find(id >> 16);
        container_no < self.size
            && self.key(container_no) == id >> 16
            && self.container(container_no).contains(id as u16)
    }

    /// How many ids are below `id`.
    pub(super) fn rank(&self, id: u32) -> u32 {
        let container_no = self.find(id >> 16);
        let before = self.start(container_no);
        if self.size <= container_no || self.key(container_no) != id >> 16 {
            return before;
        }
        before.saturating_add(self.container(container_no).rank(id as u16))
    }

    /// The id with `rank` ids below it.
    pub(super) fn select(&self, rank: u32) -> Option<u32> {
        let container_no = self.find_rank(rank)?;
        let within = rank.saturating_sub(self.start(container_no));
        let low = self.container(container_no).select(within)?;
        Some(self.key(container_no) << 16 | u32::from(low))
    }

    fn find_rank(&self, rank: u32) -> Option<u32> {
        let found = partition_point(self.size, |container_no| self.end(container_no) <= rank);
        Some(found).filter(|&found| found < self.size)
    }

    pub(super) fn iter(self) -> RoaringIter<'a> {
        RoaringIter { set: self, container_no: 0, high: 0, lows: Lows::EMPTY }
    }

    /// The first `count` ids, from the last of them to the first.
    pub(super) fn rev_from(self, count: u32) -> RoaringRev<'a> {
        let mut rev = RoaringRev { set: self, container_no: self.size, high: 0, lows: Rev::EMPTY };
        if let Some(container_no) = self.find_rank(count) {
            rev.container_no = container_no;
            rev.high = self.key(container_no) << 16;
            let within = count.saturating_sub(self.start(container_no));
            rev.lows = self.container(container_no).rev_from(within);
        }
        rev
    }

    pub(super) fn intersection_len(&self, other: &RoaringView<'_>) -> u64 {
        let (mut a, mut b, mut total) = (0, 0, 0);
        while a < self.size && b < other.size {
            let (key_a, key_b) = (self.key(a), other.key(b));
            if key_a == key_b {
                total += self.container(a).intersection_len(other.container(b));
            }
            a += u32::from(key_a <= key_b);
            b += u32::from(key_b <= key_a);
        }
        total
    }

    /// Reads everything: the portable bytes are well formed, nothing is between or behind the
    /// containers, and the `ends` agree with them.
    pub(super) fn validate(&self) -> Result<()> {
        let mut offset = self.body_start();
        let mut end = 0_u32;
        for container_no in 0..self.size {
            let container = self.container(container_no);
            let cardinality = self.cardinality(container_no);
            end = end.saturating_add(cardinality);
            let ascending =
                container_no == 0 || self.key(container_no - 1) < self.key(container_no);
            let placed = self.offset(container_no) == offset && self.end(container_no) == end;
            let counted = container.validated_len() == Some(u64::from(cardinality));
            if !(ascending && placed && counted) {
                return Err(Error::corrupt("a container of a large set is not well formed"));
            }
            offset = self.body_end(container_no, offset);
        }
        let used = self.size % 8;
        let last_flags = self.portable.get(self.descriptors_start() - 1).copied().unwrap_or(0);
        let flags_padded = !self.has_runs || used == 0 || last_flags >> used == 0;
        if offset != self.portable.len() || !flags_padded {
            return Err(Error::corrupt("a large set does not end where it says"));
        }
        Ok(())
    }
}

/// The first of `0..len` for which `is_before` does not hold.
#[inline]
fn partition_point(len: u32, is_before: impl Fn(u32) -> bool) -> u32 {
    let (mut low, mut high) = (0, len);
    while low < high {
        let middle = low.midpoint(high);
        if is_before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

#[inline]
fn array_low(body: &[u8], index: u32) -> u16 {
    u16_at(body, 2 * index as usize)
}

#[inline]
fn bitset_word(body: &[u8], word_no: u32) -> u64 {
    let chunk = body.get(8 * word_no as usize..).and_then(<[u8]>::first_chunk::<8>);
    chunk.map_or(0, |chunk| u64::from_le_bytes(*chunk))
}

/// The first and the last id of a run, as wide numbers: a hostile run may claim to end beyond.
fn run(body: &[u8], run_no: u32) -> (u32, u32) {
    let first = u32::from(u16_at(body, 4 * run_no as usize));
    let more = u32::from(u16_at(body, 4 * run_no as usize + 2));
    (first, (first + more).min(0xffff))
}

impl<'a> Container<'a> {
    /// How many items the container is stored as: ids, words or runs.
    fn item_count(self) -> u32 {
        match self {
            Container::Array(body) => body.len() as u32 / 2,
            Container::Bitset(body) => body.len() as u32 / 8,
            Container::Runs(body) => body.len() as u32 / 4,
        }
    }

    fn contains(self, low: u16) -> bool {
        let wanted = u32::from(low);
        match self {
            Container::Array(body) => {
                let found = partition_point(self.item_count(), |i| array_low(body, i) < low);
                found < self.item_count() && array_low(body, found) == low
            }
            Container::Bitset(body) => bitset_word(body, wanted / 64) >> (wanted % 64) & 1 == 1,
            Container::Runs(body) => {
                let found = partition_point(self.item_count(), |i| run(body, i).1 < wanted);
                found < self.item_count() && run(body, found).0 <= wanted
            }
        }
    }

    fn rank(self, low: u16) -> u32 {
        let wanted = u32::from(low);
        match self {
            Container::Array(body) => {
                partition_point(self.item_count(), |i| array_low(body, i) < low)
            }
            Container::Bitset(body) => {
                let whole = (0..wanted / 64).map(|i| bitset_word(body, i).count_ones());
                let below = bitset_word(body, wanted / 64) & !(u64::MAX << (wanted % 64));
                whole.sum::<u32>() + below.count_ones()
            }
            Container::Runs(body) => {
                let runs = (0..self.item_count()).map(|i| run(body, i));
                let before = runs.take_while(|&(first, _)| first < wanted);
                let counts = before.map(|(first, last)| last.min(wanted - 1) + 1 - first);
                counts.fold(0, u32::saturating_add)
            }
        }
    }

    fn select(self, rank: u32) -> Option<u16> {
        match self {
            Container::Array(body) => (rank < self.item_count()).then(|| array_low(body, rank)),
            Container::Bitset(body) => {
                let (word_no, within) = find_bit(body, rank)?;
                let bit = select_in_word(bitset_word(body, word_no), within);
                Some((64 * word_no + bit) as u16)
            }
            Container::Runs(body) => {
                let mut left = rank;
                for (first, last) in (0..self.item_count()).map(|i| run(body, i)) {
                    if left <= last - first {
                        return Some((first + left) as u16);
                    }
                    left -= last - first + 1;
                }
                None
            }
        }
    }

    fn iter(self) -> Lows<'a> {
        Lows { container: self, next_item: 0, word: 0, run: (1, 0) }
    }

    /// The first `count` ids from the last to the first.
    fn rev_from(self, count: u32) -> Rev<'a> {
        let item_count = self.item_count();
        let whole = Rev { container: self, items_left: item_count, word: 0, run: (1, 0) };
        match self {
            Container::Array(_) => Rev { items_left: count.min(item_count), ..whole },
            Container::Bitset(body) => match find_bit(body, count) {
                None => whole,
                Some((word_no, within)) => {
                    let word = bitset_word(body, word_no);
                    let below = !u64::MAX.checked_shl(select_in_word(word, within)).unwrap_or(0);
                    Rev { items_left: word_no, word: word & below, ..whole }
                }
            },
            Container::Runs(body) => {
                let mut left = count;
                for run_no in 0..item_count {
                    let (first, last) = run(body, run_no);
                    if left <= last - first {
                        let cut = left.checked_sub(1).map_or((1, 0), |more| (first, first + more));
                        return Rev { items_left: run_no, run: cut, ..whole };
                    }
                    left -= last - first + 1;
                }
                whole
            }
        }
    }

    fn intersection_len(self, other: Container<'_>) -> u64 {
        match (self, other) {
            (Container::Bitset(a), Container::Bitset(b)) => {
                let words = (0..BITSET_WORDS).map(|i| bitset_word(a, i) & bitset_word(b, i));
                words.map(|word| u64::from(word.count_ones())).sum()
            }
            (Container::Array(_), Container::Array(_)) => {
                let (mut left, mut right) = (self.iter().peekable(), other.iter().peekable());
                let mut total = 0;
                while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
                    let order = a.cmp(b);
                    total += u64::from(order.is_eq());
                    if order.is_le() {
                        left.next();
                    }
                    if order.is_ge() {
                        right.next();
                    }
                }
                total
            }
            (
                Container::Array(_) | Container::Runs(_),
                Container::Bitset(_) | Container::Runs(_),
            ) => self.iter().filter(|&low| other.contains(low)).count() as u64,
            (Container::Bitset(_) | Container::Runs(_), Container::Array(_))
            | (Container::Bitset(_), Container::Runs(_)) => other.intersection_len(self),
        }
    }

    /// How many ids there are, when they are strictly ascending and stored as they should be.
    fn validated_len(self) -> Option<u64> {
        match self {
            Container::Array(body) => {
                let ascending =
                    (1..self.item_count()).all(|i| array_low(body, i - 1) < array_low(body, i));
                ascending.then_some(u64::from(self.item_count()))
            }
            Container::Bitset(body) => {
                let ones = (0..self.item_count()).map(|i| bitset_word(body, i).count_ones());
                Some(ones.map(u64::from).sum())
            }
            Container::Runs(body) => {
                let runs = (0..self.item_count()).map(|i| run(body, i));
                let apart = runs.clone().zip(runs.clone().skip(1)).all(|(a, b)| a.1 + 1 < b.0);
                let inside = body.chunks_exact(4).all(|bytes| {
                    u32::from(u16_at(bytes, 0)) + u32::from(u16_at(bytes, 2)) <= 0xffff
                });
                let len = runs.map(|(first, last)| u64::from(last - first + 1)).sum();
                (apart && inside).then_some(len)
            }
        }
    }
}

/// The word that holds the one bit with `rank` one bits below it, and its rank in there.
fn find_bit(body: &[u8], rank: u32) -> Option<(u32, u32)> {
    let mut left = rank;
    for word_no in 0..BITSET_WORDS {
        let ones = bitset_word(body, word_no).count_ones();
        if left < ones {
            return Some((word_no, left));
        }
        left -= ones;
    }
    None
}

/// The ids of a container in ascending order.
#[derive(Clone)]
struct Lows<'a> {
    container: Container<'a>,
    next_item: u32,
    word: u64,
    /// What is left of the current run; nothing when the first is above the last.
    run: (u32, u32),
}

impl Lows<'_> {
    const EMPTY: Lows<'static> =
        Lows { container: Container::Array(&[]), next_item: 0, word: 0, run: (1, 0) };
}

impl Iterator for Lows<'_> {
    type Item = u16;

    #[inline]
    fn next(&mut self) -> Option<u16> {
        let item_count = self.container.item_count();
        match self.container {
            Container::Array(body) => {
                let index = self.next_item;
                if item_count <= index {
                    return None;
                }
                self.next_item += 1;
                Some(array_low(body, index))
            }
            Container::Bitset(body) => {
                while self.word == 0 {
                    if item_count <= self.next_item {
                        return None;
                    }
                    self.word = bitset_word(body, self.next_item);
                    self.next_item += 1;
                }
                let bit = self.word.trailing_zeros();
                self.word &= self.word - 1;
                Some((64 * (self.next_item - 1) + bit) as u16)
            }
            Container::Runs(body) => {
                if self.run.1 < self.run.0 {
                    if item_count <= self.next_item {
                        return None;
                    }
                    self.run = run(body, self.next_item);
                    self.next_item += 1;
                }
                let low = self.run.0;
                self.run.0 += 1;
                Some(low as u16)
            }
        }
    }
}

/// The ids of a container in descending order.
#[derive(Clone)]
struct Rev<'a> {
    container: Container<'a>,
    items_left: u32,
    /// What is left of the word with the number `items_left`.
    word: u64,
    run: (u32, u32),
}

impl Rev<'_> {
    const EMPTY: Rev<'static> =
        Rev { container: Container::Array(&[]), items_left: 0, word: 0, run: (1, 0) };
}

impl Iterator for Rev<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        match self.container {
            Container::Array(body) => {
                self.items_left = self.items_left.checked_sub(1)?;
                Some(array_low(body, self.items_left))
            }
            Container::Bitset(body) => {
                while self.word == 0 {
                    self.items_left = self.items_left.checked_sub(1)?;
                    self.word = bitset_word(body, self.items_left);
                }
                let bit = self.word.ilog2();
                self.word &= !(1 << bit);
                Some((64 * self.items_left + bit) as u16)
            }
            Container::Runs(body) => {
                if self.run.1 < self.run.0 {
                    self.items_left = self.items_left.checked_sub(1)?;
                    self.run = run(body, self.items_left);
                }
                let low = self.run.1;
                // A run that begins with id 0 cannot end below it, so its emptiness is spelled out.
                self.run = if low == self.run.0 { (1, 0) } else { (self.run.0, low - 1) };
                Some(low as u16)
            }
        }
    }
}

#[derive(Clone)]
pub(super) struct RoaringIter<'a> {
    set: RoaringView<'a>,
    /// The container that comes after the current one.
    container_no: u32,
    high: u32,
    lows: Lows<'a>,
}

impl Iterator for RoaringIter<'_> {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        loop {
            if let Some(low) = self.lows.next() {
                return Some(self.high | u32::from(low));
            }
            if self.set.size <= self.container_no {
                return None;
            }
            self.high = self.set.key(self.container_no) << 16;
            self.lows = self.set.container(self.container_no).iter();
            self.container_no += 1;
        }
    }
}

#[derive(Clone)]
pub(super) struct RoaringRev<'a> {
    set: RoaringView<'a>,
    /// The current container; the ones before it are still to come.
    container_no: u32,
    high: u32,
    lows: Rev<'a>,
}

impl Iterator for RoaringRev<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        loop {
            if let Some(low) = self.lows.next() {
                return Some(self.high | u32::from(low));
            }
            self.container_no = self.container_no.checked_sub(1)?;
            self.high = self.set.key(self.container_no) << 16;
            self.lows = self.set.container(self.container_no).rev_from(u32::MAX);
        }
    }
}
