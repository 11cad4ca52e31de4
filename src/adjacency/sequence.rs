//! A non-decreasing sequence that begins with 0: the sorted ids of a small set (less its first),
//! and the times of a list from the newest back.
//!
//! The last value, the span, is written as a varint; the values between are [`fano`](super::fano)
//! coded. A sequence of more than [`BLOCK_LEN`] values is cut into blocks behind a directory of
//! (first value, byte offset) pairs, each block coded for its own span: a search is a binary search
//! of the directory and a scan of a few words, and dense stretches cost less than sparse ones.
//!
//! The length is not stored; the caller knows it.

use super::bits::{BitWriter, Reader, bit_len, bits_at, is_zero_from, write_varint};
use super::fano::{self, Fano, FanoIter, FanoRev};
use crate::error::{Error, Result};

/// How many values stand behind one directory entry.
pub(super) const BLOCK_LEN: u32 = 128;

#[derive(Clone, Copy)]
pub(super) struct Sequence<'a> {
    len: u32,
    /// The width of a byte offset in the directory.
    offset_width: u32,
    span: u64,
    directory: &'a [u8],
    bodies: &'a [u8],
}

/// Appends `value(0)..value(len)`, the first of which is 0.
pub(super) fn encode(len: u32, value: impl Fn(u32) -> u64, out: &mut Vec<u8>) {
    if len < 2 {
        return;
    }
    let span = value(len - 1);
    write_varint(span, out);
    if len <= BLOCK_LEN {
        fano::encode(len - 2, span, |i| value(i + 1), out);
        return;
    }
    let mut bodies = Vec::new();
    let mut entries = Vec::new();
    for block_no in 0..len.div_ceil(BLOCK_LEN) {
        let start = block_no * BLOCK_LEN;
        let first = value(start);
        entries.push((first, bodies.len() as u64));
        let next_first = value((start + BLOCK_LEN).min(len - 1));
        let count = inner_count(len, block_no);
        fano::encode(count, next_first - first, |i| value(start + 1 + i) - first, &mut bodies);
    }
    write_varint(bodies.len() as u64, out);
    let (first_width, offset_width) = (bit_len(span), bit_len(bodies.len() as u64));
    let mut directory = BitWriter::new(out);
    for &(first, offset_bytes) in &entries[1..] {
        directory.write(first, first_width);
        directory.write(offset_bytes, offset_width);
    }
    directory.finish();
    out.extend_from_slice(&bodies);
}

/// How many values of a block are coded: all but its first, and but the last of the sequence.
#[inline]
fn inner_count(len: u32, block_no: u32) -> u32 {
    let left = len - block_no * BLOCK_LEN;
    if left <= BLOCK_LEN { left.saturating_sub(2) } else { BLOCK_LEN - 1 }
}

fn directory_bits(len: u32, entry_width: u32) -> u64 {
    u64::from(len.div_ceil(BLOCK_LEN) - 1) * u64::from(entry_width)
}

struct Block<'a> {
    first: u64,
    inner: Fano<'a>,
    last: Option<u64>,
}

impl<'a> Sequence<'a> {
    pub(super) const EMPTY: Sequence<'static> =
        Sequence { len: 0, offset_width: 0, span: 0, directory: &[], bodies: &[] };

    /// Takes a sequence of `len` values from the front of `reader`, in O(1).
    #[inline]
    pub(super) fn parse(len: u32, reader: &mut Reader<'a>) -> Result<Sequence<'a>> {
        if len < 2 {
            return Ok(Sequence { len, ..Sequence::EMPTY });
        }
        let span = reader.varint()?;
        if len <= BLOCK_LEN {
            let bodies = reader.take(fano::encoded_len(len - 2, span))?;
            return Ok(Sequence { len, offset_width: 0, span, directory: &[], bodies });
        }
        let bodies_len_bytes = reader.varint()?;
        let offset_width = bit_len(bodies_len_bytes);
        let directory_bits = directory_bits(len, bit_len(span) + offset_width);
        let directory = reader.take(directory_bits.div_ceil(8))?;
        // A block takes at least a bit for each of its values, which bounds every loop over them.
        if bodies_len_bytes < u64::from(len - len.div_ceil(BLOCK_LEN) - 1) / 8 {
            return Err(Error::corrupt("a list is longer than its bytes"));
        }
        let bodies = reader.take(bodies_len_bytes)?;
        Ok(Sequence { len, offset_width, span, directory, bodies })
    }

    /// The last value.
    pub(super) fn span(&self) -> u64 {
        self.span
    }

    fn block_count(&self) -> u32 {
        self.len.div_ceil(BLOCK_LEN)
    }

    #[inline]
    fn entry_place(&self, block_no: u32) -> u64 {
        let entry_width = bit_len(self.span) + self.offset_width;
        u64::from(block_no.saturating_sub(1)) * u64::from(entry_width)
    }

    #[inline]
    fn block_first(&self, block_no: u32) -> u64 {
        let place = self.entry_place(block_no);
        if block_no == 0 { 0 } else { bits_at(self.directory, place, bit_len(self.span)) }
    }

    #[inline]
    fn block_offset_bytes(&self, block_no: u32) -> u64 {
        let place = self.entry_place(block_no) + u64::from(bit_len(self.span));
        if block_no == 0 { 0 } else { bits_at(self.directory, place, self.offset_width) }
    }

    #[inline]
    fn block(&self, block_no: u32) -> Block<'a> {
        let first = self.block_first(block_no);
        let is_last = self.block_count() <= block_no + 1;
        let next_first = if is_last { self.span } else { self.block_first(block_no + 1) };
        let bodies = self.bodies.get(self.block_offset_bytes(block_no) as usize..).unwrap_or(&[]);
        let count = inner_count(self.len, block_no);
        let inner = Fano::new(bodies, count, next_first.saturating_sub(first));
        let has_last = is_last && 1 < self.len - block_no * BLOCK_LEN;
        Block { first, inner, last: has_last.then_some(self.span) }
    }

    pub(super) fn iter(self) -> SequenceIter<'a> {
        self.iter_at(0)
    }

    /// Stands at the value with this index.
    pub(super) fn iter_at(self, index: u32) -> SequenceIter<'a> {
        let block_no = index / BLOCK_LEN;
        if self.len <= index {
            return self.end();
        }
        let block = self.block(block_no);
        let within = index % BLOCK_LEN;
        let inner = if within == 0 { block.inner.iter() } else { block.inner.iter_at(within - 1) };
        self.resume(block_no, &block, index, inner)
    }

    fn resume(
        self,
        block_no: u32,
        block: &Block<'a>,
        index: u32,
        inner: FanoIter<'a>,
    ) -> SequenceIter<'a> {
        let first = index.is_multiple_of(BLOCK_LEN).then_some(block.first);
        let (base, last) = (block.first, block.last);
        SequenceIter { sequence: self, block_no, index, base, first, inner, last }
    }

    fn end(self) -> SequenceIter<'a> {
        let inner = Fano::new(&[], 0, 0).iter();
        let (block_no, index) = (self.block_count(), self.len);
        SequenceIter { sequence: self, block_no, index, base: 0, first: None, inner, last: None }
    }

    /// Stands at the first value that is not below `value`.
    pub(super) fn seek(self, value: u64) -> SequenceIter<'a> {
        if self.len == 0 || value == 0 {
            return self.iter_at(0);
        }
        if 1 < self.len && self.span < value {
            return self.end();
        }
        let block_no = self.block_below(value);
        let block = self.block(block_no);
        let inner = block.inner.seek(value.saturating_sub(block.first));
        let index = block_no * BLOCK_LEN + 1 + inner.index();
        let mut found = self.resume(block_no, &block, index, inner);
        found.first = None;
        found
    }

    /// The last block whose first value is below `value`, or the first block.
    #[inline]
    fn block_below(self, value: u64) -> u32 {
        let (mut low, mut high) = (1, self.block_count());
        while low < high {
            let middle = low.midpoint(high);
            if self.block_first(middle) < value {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low - 1
    }

    #[inline]
    pub(super) fn contains(self, value: u64) -> bool {
        if self.len < 2 || value == 0 || self.span <= value {
            return 0 < self.len && value == 0 || 1 < self.len && value == self.span;
        }
        // The first value above the sought one begins the block behind the one to search.
        let block = self.block(self.block_below(value + 1));
        block.first == value || block.inner.contains(value.saturating_sub(block.first))
    }

    /// Every value in its order: the loop of a decoder.
    #[inline]
    pub(super) fn for_each(self, mut visit: impl FnMut(u64)) {
        for block_no in 0..self.block_count() {
            let block = self.block(block_no);
            visit(block.first);
            block.inner.for_each(|value| visit(block.first.saturating_add(value)));
            block.last.into_iter().for_each(&mut visit);
        }
    }

    /// The value at this index.
    pub(super) fn get(self, index: u32) -> Option<u64> {
        self.iter_at(index).next()
    }

    /// The first `count` values, from the last of them to the first.
    pub(super) fn rev_from(self, count: u32) -> SequenceRev<'a> {
        let count = count.min(self.len);
        let mut rev = SequenceRev {
            sequence: self,
            block_no: count / BLOCK_LEN,
            base: 0,
            first: None,
            inner: Fano::new(&[], 0, 0).rev_from(0),
            last: None,
        };
        let within = count % BLOCK_LEN;
        if within != 0 {
            let block = self.block(rev.block_no);
            rev.base = block.first;
            rev.first = Some(block.first);
            rev.inner = block.inner.rev_from(within - 1);
            rev.last = block.last.filter(|_| count == self.len);
        }
        rev
    }

    /// Reads everything: the values never decrease nor leave the span, and the padding is zero.
    pub(super) fn validate(self) -> Result<()> {
        let mut offset_bytes = 0;
        for block_no in 0..self.block_count() {
            let block = self.block(block_no);
            let is_last = self.block_count() <= block_no + 1;
            let next_first = if is_last { self.span } else { self.block_first(block_no + 1) };
            let span = next_first.checked_sub(block.first);
            let placed = self.block_offset_bytes(block_no) == offset_bytes;
            let fits = placed && span.is_some_and(|span| block.inner.is_well_formed(span));
            if !fits {
                return Err(Error::corrupt("a block of a list is not well formed"));
            }
            offset_bytes += fano::encoded_len(inner_count(self.len, block_no), span.unwrap_or(0));
        }
        let entry_width = bit_len(self.span) + self.offset_width;
        let padded = is_zero_from(self.directory, directory_bits(self.len.max(1), entry_width));
        if offset_bytes != self.bodies.len() as u64 || !padded {
            return Err(Error::corrupt("the directory of a list is not well formed"));
        }
        let (mut previous, mut count) = (0, 0);
        for value in self.iter() {
            if value < previous || self.span < value {
                return Err(Error::corrupt("the numbers of a list are out of order"));
            }
            (previous, count) = (value, count + 1);
        }
        if count != self.len {
            return Err(Error::corrupt("a list holds fewer entries than it says"));
        }
        Ok(())
    }
}

#[derive(Clone)]
pub(super) struct SequenceIter<'a> {
    sequence: Sequence<'a>,
    block_no: u32,
    index: u32,
    base: u64,
    first: Option<u64>,
    inner: FanoIter<'a>,
    last: Option<u64>,
}

impl SequenceIter<'_> {
    /// The index of the value that comes next.
    pub(super) fn index(&self) -> u32 {
        self.index.min(self.sequence.len)
    }
}

impl Iterator for SequenceIter<'_> {
    type Item = u64;

    #[inline]
    fn next(&mut self) -> Option<u64> {
        loop {
            if let Some(first) = self.first.take() {
                self.index += 1;
                return Some(first);
            }
            if let Some(value) = self.inner.next() {
                self.index += 1;
                return Some(self.base.saturating_add(value));
            }
            if let Some(last) = self.last.take() {
                self.index += 1;
                return Some(last);
            }
            self.block_no += 1;
            if self.sequence.block_count() <= self.block_no {
                self.block_no = self.sequence.block_count();
                return None;
            }
            let block = self.sequence.block(self.block_no);
            self.index = self.block_no * BLOCK_LEN;
            (self.base, self.last) = (block.first, block.last);
            self.first = Some(block.first);
            self.inner = block.inner.iter();
        }
    }
}

#[derive(Clone)]
pub(super) struct SequenceRev<'a> {
    sequence: Sequence<'a>,
    /// The block that is being read; the ones before it are still to come.
    block_no: u32,
    base: u64,
    first: Option<u64>,
    inner: FanoRev<'a>,
    last: Option<u64>,
}

impl Iterator for SequenceRev<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        loop {
            if let Some(last) = self.last.take() {
                return Some(last);
            }
            if let Some(value) = self.inner.next() {
                return Some(self.base.saturating_add(value));
            }
            if let Some(first) = self.first.take() {
                return Some(first);
            }
            self.block_no = self.block_no.checked_sub(1)?;
            let block = self.sequence.block(self.block_no);
            (self.base, self.last) = (block.first, block.last);
            self.first = Some(block.first);
            self.inner = block.inner.rev_from(u32::MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(values: &[u64]) {
        let len = values.len() as u32;
        let mut bytes = Vec::new();
        encode(len, |i| values[i as usize], &mut bytes);
        bytes.extend([0xff; 3]);
        let mut reader = Reader::new(&bytes);
        let sequence = Sequence::parse(len, &mut reader).expect("encoded above");
        assert_eq!(reader.rest(), [0xff; 3]);
        sequence.validate().expect("encoded above");
        assert_eq!(sequence.iter().collect::<Vec<_>>(), values);
        let mut visited = Vec::new();
        sequence.for_each(|value| visited.push(value));
        assert_eq!(visited, values);
        let looks = if cfg!(miri) { 5 } else { 500 };
        for index in (0..=len).step_by(1 + values.len() / looks) {
            let (below, above) = values.split_at(index as usize);
            assert_eq!(sequence.iter_at(index).index(), index);
            assert!(sequence.iter_at(index).take(300).eq(above.iter().take(300).copied()));
            assert!(sequence.rev_from(index).take(300).eq(below.iter().rev().take(300).copied()));
            assert_eq!(sequence.get(index), above.first().copied());
            let at = above.first().map_or(u64::MAX - 1, |&value| value);
            for target in [at.saturating_sub(1), at, at + 1] {
                let expected = values.partition_point(|&value| value < target);
                let mut found = sequence.seek(target);
                assert_eq!(found.index() as usize, expected, "{target} in {values:?}");
                assert_eq!(found.next(), values.get(expected).copied());
                assert_eq!(sequence.contains(target), values.binary_search(&target).is_ok());
            }
        }
    }

    #[test]
    fn values_come_back_around_every_block_boundary() {
        let lens = [0, 1, 2, 3, 127, 128, 129, 130, 255, 256, 257, 258, 1000, 5000];
        for len in lens.into_iter().filter(|&len| !cfg!(miri) || len < 130) {
            check(&(0..len).collect::<Vec<_>>());
            check(&vec![0; len as usize]);
            check(&(0..len).map(|i| i * i * 7).collect::<Vec<_>>());
            check(&(0..len).map(|i| i / 100 * 1_000_000_007).collect::<Vec<_>>());
            check(&(0..len).map(|i| if i < len / 2 { i } else { i << 45 }).collect::<Vec<_>>());
        }
    }
}
