//! Elias-Fano: `count` non-decreasing numbers in `0..=span`, in about 2 + log2(span / count) bits
//! each, searchable as they lie.
//!
//! The low bits of the numbers stand side by side, then the high parts in unary: number `i` with
//! the high part `h` is the one bit at place `h + i` of the upper bits. Neither `count` nor `span`
//! is stored here; the caller knows both, and they fix every width. A scan goes through the upper
//! bits word by word, so it costs O(count / 64): the callers keep `count` small.

use super::bits::{BitWriter, bits_at, is_zero_from, low_mask, select_in_word, word_at};

#[derive(Clone, Copy)]
pub(super) struct Fano<'a> {
    bytes: &'a [u8],
    count: u32,
    low_width: u32,
    /// Where the upper bits begin, and how many they are.
    upper_start: u64,
    upper_bits: u64,
}

/// The largest width that still leaves a high part for every number on average.
#[inline]
fn low_width(count: u32, span: u64) -> u32 {
    let count = u64::from(count);
    if count == 0 || span < count {
        return 0;
    }
    let width = span.ilog2() - count.ilog2();
    width - u32::from(span >> width < count)
}

/// How many bytes `count` numbers up to `span` take.
#[inline]
pub(super) fn encoded_len(count: u32, span: u64) -> u64 {
    let fano = Fano::new(&[], count, span);
    (fano.upper_start + fano.upper_bits).div_ceil(8)
}

/// Appends the numbers `value(0)..value(count)`, none above `span`.
pub(super) fn encode(count: u32, span: u64, value: impl Fn(u32) -> u64, out: &mut Vec<u8>) {
    let width = low_width(count, span);
    let mut writer = BitWriter::new(out);
    for i in 0..count {
        writer.write(value(i) & low_mask(width), width);
    }
    let mut used = 0;
    for i in 0..count {
        let place = (value(i) >> width) + u64::from(i);
        debug_assert!(used <= place, "the numbers must not decrease");
        writer.write_zeros(place - used);
        writer.write(1, 1);
        used = place + 1;
    }
    writer.write_zeros(Fano::new(&[], count, span).upper_bits - used);
    writer.finish();
}

impl<'a> Fano<'a> {
    /// Reads `count` numbers up to `span` from the front of `bytes`.
    #[inline]
    pub(super) fn new(bytes: &'a [u8], count: u32, span: u64) -> Fano<'a> {
        let low_width = low_width(count, span);
        let upper_start = u64::from(count) * u64::from(low_width);
        let upper_bits = if count == 0 { 0 } else { u64::from(count) + (span >> low_width) };
        Fano { bytes, count, low_width, upper_start, upper_bits }
    }

    #[inline]
    fn low(&self, index: u32) -> u64 {
        bits_at(self.bytes, u64::from(index) * u64::from(self.low_width), self.low_width)
    }

    /// Up to 64 of the upper bits from `place` on.
    #[inline]
    fn upper_word(&self, place: u64) -> u64 {
        let left = self.upper_bits.saturating_sub(place).min(64) as u32;
        word_at(self.bytes, self.upper_start + place) & low_mask(left)
    }

    #[inline]
    fn iter_from(self, index: u32, place: u64) -> FanoIter<'a> {
        FanoIter { fano: self, index, base: place, word: self.upper_word(place) }
    }

    pub(super) fn iter(self) -> FanoIter<'a> {
        self.iter_from(0, 0)
    }

    /// Stands at the number with this index.
    pub(super) fn iter_at(self, index: u32) -> FanoIter<'a> {
        let (mut place, mut seen) = (0, 0);
        while place < self.upper_bits {
            let word = self.upper_word(place);
            let ones = word.count_ones();
            if index < seen + ones {
                place += u64::from(select_in_word(word, index - seen));
                return self.iter_from(index, place);
            }
            seen += ones;
            place += 64;
        }
        self.iter_from(self.count, self.upper_bits)
    }

    /// Stands at the first number that is not below `value`.
    pub(super) fn seek(self, value: u64) -> FanoIter<'a> {
        let Some(place) = self.bucket_start(value >> self.low_width) else {
            return self.iter_from(self.count, self.upper_bits);
        };
        let mut at = self.iter_from((place - (value >> self.low_width)) as u32, place);
        while at.peek().is_some_and(|found| found < value) {
            at.pass();
        }
        at
    }

    #[inline]
    pub(super) fn contains(self, value: u64) -> bool {
        let high = value >> self.low_width;
        let Some(mut place) = self.bucket_start(high) else {
            return false;
        };
        let low = value & low_mask(self.low_width);
        let mut index = (place - high) as u32;
        let mut word = self.upper_word(place);
        // The one bits up to the next zero are the numbers with this high part.
        while word & 1 == 1 {
            let found = self.low(index);
            if low <= found {
                return found == low;
            }
            (place, index) = (place + 1, index + 1);
            word = if word == 1 { self.upper_word(place) } else { word >> 1 };
        }
        false
    }

    /// Every number in its order: the loop of a decoder.
    #[inline]
    pub(super) fn for_each(self, mut visit: impl FnMut(u64)) {
        let (mut index, mut base) = (0_u32, 0);
        while base < self.upper_bits && index < self.count {
            let mut word = self.upper_word(base);
            while word != 0 && index < self.count {
                let place = base + u64::from(word.trailing_zeros());
                word &= word - 1;
                visit(place.saturating_sub(u64::from(index)) << self.low_width | self.low(index));
                index += 1;
            }
            base += 64;
        }
    }

    /// The place in the upper bits where the numbers with this high part begin: after as many zero
    /// bits as the high part says.
    #[inline]
    fn bucket_start(&self, high: u64) -> Option<u64> {
        let (mut place, mut seen) = (0, 0);
        if high == 0 {
            return Some(0);
        }
        while place < self.upper_bits {
            let zeros = !self.upper_word(place);
            let zero_count = u64::from(zeros.count_ones());
            if high <= seen + zero_count {
                let found = place + u64::from(select_in_word(zeros, (high - seen - 1) as u32)) + 1;
                return Some(found).filter(|&found| found <= self.upper_bits);
            }
            seen += zero_count;
            place += 64;
        }
        None
    }

    /// The first `count` numbers from the last to the first.
    pub(super) fn rev_from(self, count: u32) -> FanoRev<'a> {
        let base = if count < self.count { self.iter_at(count).base } else { self.upper_bits };
        FanoRev { fano: self, index: count.min(self.count), base, word: 0 }
    }

    /// Whether the one bits are as many as the numbers, and the bits after them zero.
    pub(super) fn is_well_formed(self, span: u64) -> bool {
        let used = self.upper_start + self.upper_bits;
        let ones = (0..self.upper_bits).step_by(64).map(|place| self.upper_word(place));
        let count: u32 = ones.map(u64::count_ones).sum();
        let body = self.bytes.get(..encoded_len(self.count, span) as usize);
        count == self.count && body.is_some_and(|body| is_zero_from(body, used))
    }
}

#[derive(Clone)]
pub(super) struct FanoIter<'a> {
    fano: Fano<'a>,
    index: u32,
    base: u64,
    word: u64,
}

impl FanoIter<'_> {
    /// The index of the number that comes next.
    pub(super) fn index(&self) -> u32 {
        self.index
    }
}

impl FanoIter<'_> {
    /// The number that comes next.
    #[inline]
    fn peek(&mut self) -> Option<u64> {
        if self.fano.count <= self.index {
            return None;
        }
        while self.word == 0 {
            self.base += 64;
            if self.fano.upper_bits <= self.base {
                self.index = self.fano.count;
                return None;
            }
            self.word = self.fano.upper_word(self.base);
        }
        let place = self.base + u64::from(self.word.trailing_zeros());
        let high = place.saturating_sub(u64::from(self.index));
        Some(high << self.fano.low_width | self.fano.low(self.index))
    }

    /// Leaves the number that `peek` gave behind.
    #[inline]
    fn pass(&mut self) {
        self.word &= self.word.wrapping_sub(1);
        self.index += 1;
    }
}

impl Iterator for FanoIter<'_> {
    type Item = u64;

    #[inline]
    fn next(&mut self) -> Option<u64> {
        let value = self.peek()?;
        self.pass();
        Some(value)
    }
}

#[derive(Clone)]
pub(super) struct FanoRev<'a> {
    fano: Fano<'a>,
    index: u32,
    base: u64,
    word: u64,
}

impl Iterator for FanoRev<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        if self.index == 0 {
            return None;
        }
        while self.word == 0 {
            if self.base == 0 {
                self.index = 0;
                return None;
            }
            let start = self.base.saturating_sub(64);
            self.word = self.fano.upper_word(start) & low_mask((self.base - start) as u32);
            self.base = start;
        }
        let bit = self.word.ilog2();
        self.word &= !(1 << bit);
        self.index -= 1;
        let high = (self.base + u64::from(bit)).saturating_sub(u64::from(self.index));
        Some(high << self.fano.low_width | self.fano.low(self.index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(values: &[u64], span: u64) {
        let count = values.len() as u32;
        let mut bytes = Vec::new();
        encode(count, span, |i| values[i as usize], &mut bytes);
        assert_eq!(bytes.len() as u64, encoded_len(count, span));
        let fano = Fano::new(&bytes, count, span);
        assert!(fano.is_well_formed(span));
        assert_eq!(fano.iter().collect::<Vec<_>>(), values);
        let mut visited = Vec::new();
        fano.for_each(|value| visited.push(value));
        assert_eq!(visited, values);
        for i in 0..=count {
            let (below, above) = values.split_at(i as usize);
            assert_eq!(fano.iter_at(i).collect::<Vec<_>>(), above);
            assert!(fano.rev_from(i).eq(below.iter().rev().copied()));
        }
        for target in values.iter().flat_map(|&v| [v.saturating_sub(1), v, v + 1]).chain([span]) {
            let expected = values.partition_point(|&value| value < target);
            assert_eq!(fano.seek(target).index() as usize, expected, "{target} in {values:?}");
            assert_eq!(fano.seek(target).next(), values.get(expected).copied());
            assert_eq!(fano.contains(target), values.contains(&target));
        }
    }

    #[test]
    fn numbers_come_back_in_every_order() {
        check(&[], 0);
        check(&[0], 0);
        check(&[5], u64::MAX);
        check(&[u64::MAX - 1], u64::MAX);
        // Each number is looked for from each place. Miri takes a thousand times as long for one.
        let [equal, dense, sparse] = if cfg!(miri) { [20, 70, 12] } else { [200, 300, 100] };
        check(&vec![7; equal as usize], 7);
        check(&(0..dense).collect::<Vec<_>>(), dense);
        check(&(0..sparse).map(|i| i * i * 1_000_003).collect::<Vec<_>>(), 1 << 60);
        check(&[0, 0, 0, 1 << 40, 1 << 40], 1 << 40);
    }
}
