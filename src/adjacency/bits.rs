//! Varints and bit fields, the letters all encodings of this room are written with.
//!
//! Bits are numbered from the least significant bit of the first byte. A read beyond the end gives
//! zero bits, so that no reader of this room can go out of bounds whatever a file says.

use crate::error::{Error, Result};

/// Takes the parts of an encoding from the front of a byte slice.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    #[inline]
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    pub(crate) fn take(&mut self, len: u64) -> Result<&'a [u8]> {
        let taken = usize::try_from(len).ok().and_then(|len| self.rest.split_at_checked(len));
        let (head, rest) = taken.ok_or_else(|| Error::corrupt("a list ends in the middle"))?;
        self.rest = rest;
        Ok(head)
    }

    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    #[inline]
    pub(super) fn fixed_u32(&mut self) -> Result<u32> {
        Ok(u32_at(self.take(4)?, 0))
    }

    /// A number in groups of seven bits, the low ones first; the only spelling is the shortest.
    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64> {
        if let Some((&byte, rest)) = self.rest.split_first()
            && byte < 0x80
        {
            self.rest = rest;
            return Ok(u64::from(byte));
        }
        self.word_varint().map_or_else(|| self.long_varint(), Ok)
    }

    /// A varint that ends within the next eight bytes, without a loop: where its last byte is, then
    /// the groups of seven bits moved together, twice as many at each step.
    #[inline]
    fn word_varint(&mut self) -> Option<u64> {
        let word = u64::from_le_bytes(*self.rest.first_chunk::<8>()?);
        let ends = !word & 0x8080_8080_8080_8080;
        let last = ends.trailing_zeros() / 8;
        if ends == 0 || (word >> (8 * last)).trailing_zeros() >= 7 {
            return None;
        }
        let groups = word & low_mask(8 * last + 8) & 0x7f7f_7f7f_7f7f_7f7f;
        let pairs = groups & 0x007f_007f_007f_007f | (groups & 0x7f00_7f00_7f00_7f00) >> 1;
        let quads = pairs & 0x0000_3fff_0000_3fff | (pairs & 0x3fff_0000_3fff_0000) >> 2;
        self.rest = &self.rest[last as usize + 1..];
        Some(quads & 0x0fff_ffff | (quads & 0x0fff_ffff_0000_0000) >> 4)
    }

    #[cold]
    fn long_varint(&mut self) -> Result<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let group = u64::from(byte & 0x7f);
            let shifted = group << shift;
            let fits = shifted >> shift == group;
            let shortest = byte != 0 || shift == 0;
            if !fits || !shortest {
                break;
            }
            value |= shifted;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Error::corrupt("a number in a list is not a varint"))
    }

    #[inline]
    pub(super) fn varint_u32(&mut self) -> Result<u32> {
        let value = self.varint()?;
        u32::try_from(value).map_err(|_| Error::corrupt("a number in a list is above 32 bits"))
    }
}

pub(crate) fn write_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// How many bits it takes to write `value`; none for 0.
#[inline]
pub(crate) fn bit_len(value: u64) -> u32 {
    u64::BITS - value.leading_zeros()
}

/// The ones in the low `width` bits, for a width of at most 64.
#[inline]
pub(super) fn low_mask(width: u32) -> u64 {
    u64::MAX.checked_shr(u64::BITS.saturating_sub(width)).unwrap_or(0)
}

/// The 64 bits that begin at bit `position`.
#[inline]
pub(super) fn word_at(bytes: &[u8], position: u64) -> u64 {
    let start = (position / 8) as usize;
    let shift = position % 8;
    let tail = bytes.get(start..).unwrap_or(&[]);
    let Some((chunk, rest)) = tail.split_first_chunk::<8>() else {
        let low = tail.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte));
        return low >> shift;
    };
    let low = u64::from_le_bytes(*chunk) >> shift;
    if shift == 0 {
        return low;
    }
    low | u64::from(rest.first().copied().unwrap_or(0)) << (64 - shift)
}

/// The `width` bits that begin at bit `position`, for a width of at most 64.
#[inline]
pub(crate) fn bits_at(bytes: &[u8], position: u64, width: u32) -> u64 {
    word_at(bytes, position) & low_mask(width)
}

#[inline]
pub(super) fn u16_at(bytes: &[u8], offset: usize) -> u16 {
    let found = bytes.get(offset..).and_then(<[u8]>::first_chunk::<2>);
    found.map_or(0, |chunk| u16::from_le_bytes(*chunk))
}

#[inline]
pub(super) fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    let found = bytes.get(offset..).and_then(<[u8]>::first_chunk::<4>);
    found.map_or(0, |chunk| u32::from_le_bytes(*chunk))
}

/// The place of the one bit that has `rank` one bits below it; 64 when there is none.
#[inline]
pub(super) fn select_in_word(word: u64, rank: u32) -> u32 {
    // Each byte of `sums` holds the number of one bits in it and the bytes below.
    let pairs = word - (word >> 1 & 0x5555_5555_5555_5555);
    let nibbles = (pairs & 0x3333_3333_3333_3333) + (pairs >> 2 & 0x3333_3333_3333_3333);
    let bytes = (nibbles + (nibbles >> 4)) & 0x0f0f_0f0f_0f0f_0f0f;
    let sums = bytes.wrapping_mul(0x0101_0101_0101_0101);
    let byte_no = (0..8).filter(|i| u32::from((sums >> (8 * i)) as u8) <= rank).count() as u32;
    if byte_no == 8 {
        return 64;
    }
    let below = (sums << 8 >> (8 * byte_no)) as u8;
    let mut byte = (word >> (8 * byte_no)) as u8;
    for _ in u32::from(below)..rank {
        byte &= byte - 1;
    }
    8 * byte_no + byte.trailing_zeros()
}

/// Whether the bits from `position` to the end of `bytes` are zero, as padding must be.
pub(super) fn is_zero_from(bytes: &[u8], position: u64) -> bool {
    let used = (position / 8) as usize;
    let Some((partial, rest)) = bytes.get(used..).and_then(<[u8]>::split_first) else {
        return true;
    };
    partial >> (position % 8) == 0 && rest.iter().all(|&byte| byte == 0)
}

/// Appends bit fields; `finish` pads the last byte with zeros.
pub(crate) struct BitWriter<'a> {
    out: &'a mut Vec<u8>,
    pending: u64,
    pending_bits: u32,
}

impl<'a> BitWriter<'a> {
    pub(crate) fn new(out: &'a mut Vec<u8>) -> BitWriter<'a> {
        BitWriter { out, pending: 0, pending_bits: 0 }
    }

    /// Appends the low `width` bits of `value`, whose other bits are zero.
    pub(crate) fn write(&mut self, value: u64, width: u32) {
        debug_assert_eq!(value & !low_mask(width), 0, "a value must fit its width");
        self.pending |= value << self.pending_bits;
        let filled = self.pending_bits + width;
        if filled < 64 {
            self.pending_bits = filled;
            return;
        }
        self.out.extend_from_slice(&self.pending.to_le_bytes());
        self.pending = value.checked_shr(64 - self.pending_bits).unwrap_or(0);
        self.pending_bits = filled - 64;
    }

    pub(super) fn write_zeros(&mut self, mut count: u64) {
        while count > 0 {
            let step = count.min(64);
            self.write(0, step as u32);
            count -= step;
        }
    }

    pub(crate) fn finish(self) {
        let len = self.pending_bits.div_ceil(8) as usize;
        self.out.extend_from_slice(&self.pending.to_le_bytes()[..len]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_back_at_every_width_and_offset() {
        for width in 0..=64 {
            let mut bytes = Vec::new();
            let mut writer = BitWriter::new(&mut bytes);
            let value = |i: u64| (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) & low_mask(width);
            writer.write(1, 3);
            (0..50).for_each(|i| writer.write(value(i), width));
            writer.finish();
            assert_eq!(bytes.len() as u64, (3 + 50 * u64::from(width)).div_ceil(8));
            for i in 0..50 {
                assert_eq!(bits_at(&bytes, 3 + i * u64::from(width), width), value(i));
            }
            assert!(is_zero_from(&bytes, 3 + 50 * u64::from(width)));
            assert_eq!(word_at(&bytes, bytes.len() as u64 * 8 + 7), 0);
        }
    }

    #[test]
    fn varints_come_back_and_only_their_shortest_spelling_does() {
        let mut bytes = Vec::new();
        let values = (0..64).flat_map(|bit| [1_u64 << bit, (1 << bit) - 1, u64::MAX >> bit]);
        values.clone().for_each(|value| write_varint(value, &mut bytes));
        // With eight bytes behind it, a varint may be read as a word; without, byte by byte.
        for behind in [0, 8] {
            let mut padded = bytes.clone();
            padded.resize(bytes.len() + behind, 0x55);
            let mut reader = Reader::new(&padded);
            for value in values.clone() {
                assert_eq!(reader.varint().expect("written above"), value);
            }
            assert_eq!(reader.rest().len(), behind);
        }
        let padded = [0x80, 0x80, 0x00, 1, 1, 1, 1, 1, 1];
        for bad in [&[0x80, 0x00][..], &[0xff; 10], &[0x80], &padded] {
            assert!(Reader::new(bad).varint().is_err());
        }
    }

    #[test]
    fn select_finds_each_one_bit() {
        for word in [0, 1, u64::MAX, 0x8000_0000_0000_0001, 0x0123_4567_89ab_cdef] {
            let ones: Vec<u32> = (0..64).filter(|bit| word >> bit & 1 == 1).collect();
            for rank in 0..64 {
                let expected = ones.get(rank as usize).copied().unwrap_or(64);
                assert_eq!(select_in_word(word, rank), expected);
            }
        }
    }
}
