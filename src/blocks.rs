//! Checksums of a file by blocks, and which blocks were compared with theirs.
//!
//! A block is compared when its first byte is asked for, before that is used, and once. So a
//! damaged block is an error of exactly the calls that need it, and what is intact costs a look at
//! one bit. A file of format version 1 has no such checksums: all its blocks pass.
//!
//! The checksums stand in pages of their own behind the last block. Each page ends with a checksum
//! over its place, so that it is not read as a whole before the first question is answered.

use crate::error::{Error, Result};
use crate::format::{read_u32, write_u32};
use crate::storage::Bytes;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What one checksum covers, and how long a page of checksums is.
pub(crate) const BLOCK_BYTES: usize = 4096;
const PAGE_CHECKSUMS: usize = BLOCK_BYTES / 4 - 1;
const PAGE_CHECKSUM_OFFSET: usize = PAGE_CHECKSUMS * 4;

/// The length of the checksums of so many blocks.
pub(crate) fn table_bytes(block_count: u64) -> u64 {
    block_count.div_ceil(PAGE_CHECKSUMS as u64) * BLOCK_BYTES as u64
}

/// The pages that hold these checksums. `seed` is what tells the file from all others.
pub(crate) fn encode_table(checksums: &[u32], seed: &[u8]) -> Vec<u8> {
    let mut table = vec![0; table_bytes(checksums.len() as u64) as usize];
    let pages = table.chunks_exact_mut(BLOCK_BYTES).zip(checksums.chunks(PAGE_CHECKSUMS));
    for (number, (page, checksums)) in pages.enumerate() {
        for (place, checksum) in checksums.iter().enumerate() {
            write_u32(page, place * 4, *checksum);
        }
        let checksum = page_checksum(page, number, seed);
        write_u32(page, PAGE_CHECKSUM_OFFSET, checksum);
    }
    table
}

fn page_checksum(page: &[u8], number: usize, seed: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(seed);
    hasher.update(&(number as u64).to_le_bytes());
    hasher.update(&page[..PAGE_CHECKSUM_OFFSET]);
    hasher.finalize()
}

/// Takes the bytes of a section as they come, and gives the checksums of its blocks. The last one
/// is filled up with zeros, as it is in the file.
pub(crate) struct BlockHasher {
    block: crc32fast::Hasher,
    filled_bytes: usize,
    checksums: Vec<u32>,
}

impl BlockHasher {
    pub(crate) fn new() -> BlockHasher {
        BlockHasher { block: crc32fast::Hasher::new(), filled_bytes: 0, checksums: Vec::new() }
    }

    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let taken = bytes.len().min(BLOCK_BYTES - self.filled_bytes);
            self.block.update(&bytes[..taken]);
            self.filled_bytes += taken;
            bytes = &bytes[taken..];
            if self.filled_bytes == BLOCK_BYTES {
                let block = std::mem::take(&mut self.block);
                self.checksums.push(block.finalize());
                self.filled_bytes = 0;
            }
        }
    }

    pub(crate) fn finish(mut self) -> Vec<u32> {
        if self.filled_bytes > 0 {
            self.update(&[0; BLOCK_BYTES][self.filled_bytes..]);
        }
        self.checksums
    }
}

/// The blocks of an open file. Cheap to clone; clones share what they know.
#[derive(Clone)]
pub(crate) struct Blocks(Arc<Checked>);

struct Checked {
    file: Bytes,
    path: PathBuf,
    /// Where the checksums begin. Blocks are counted from the beginning of the file; the first is
    /// the header, which has a checksum of its own.
    table_start: usize,
    seed: Vec<u8>,
    /// A bit for each block, and then one for each page of checksums: it holds. Without checksums
    /// there are no bits.
    bits: Vec<AtomicU64>,
    /// Whether any block did not hold.
    is_damaged: AtomicBool,
}

impl Blocks {
    /// The blocks of a file whose checksums are in `table_start..`; the caller has checked that the
    /// file is as long as that needs. `None`: it has no checksums.
    pub(crate) fn new(file: Bytes, path: &Path, table_start: Option<u64>, seed: Vec<u8>) -> Blocks {
        let bit_count = if table_start.is_some() { file.len() / BLOCK_BYTES } else { 0 };
        Blocks(Arc::new(Checked {
            file,
            path: path.to_owned(),
            table_start: table_start.unwrap_or(0) as usize,
            seed,
            bits: (0..bit_count.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
            is_damaged: AtomicBool::new(false),
        }))
    }

    /// No file and no checksums.
    pub(crate) fn none() -> Blocks {
        Blocks::new(Bytes::Owned(Arc::default()), Path::new(""), None, Vec::new())
    }

    /// Whether the block of this byte is as it was written.
    #[inline]
    pub(crate) fn holds_at(&self, offset_bytes: usize) -> bool {
        self.0.is_known(offset_bytes / BLOCK_BYTES) || self.0.compare(offset_bytes / BLOCK_BYTES)
    }

    /// Whether the blocks of `start..end` are as they were written. Errors: `Corrupt`, with the
    /// offset of the first that is not.
    #[inline]
    pub(crate) fn check(&self, start: usize, end: usize) -> Result<()> {
        for block in start / BLOCK_BYTES..end.div_ceil(BLOCK_BYTES) {
            if !self.0.is_known(block) && !self.0.compare(block) {
                return Err(self.0.error(block));
            }
        }
        Ok(())
    }

    /// Whether any block was found damaged so far. Where none was, nothing that was asked for was
    /// kept back.
    #[inline]
    pub(crate) fn are_damaged(&self) -> bool {
        self.0.is_damaged.load(Ordering::Relaxed)
    }

    /// Whether the file has checksums by blocks.
    pub(crate) fn have_checksums(&self) -> bool {
        !self.0.bits.is_empty()
    }

    /// Compares every block of `start..end`, whether or not that was done before.
    pub(crate) fn compare_again(&self, start: usize, end: usize) -> Result<()> {
        for block in start / BLOCK_BYTES..end.div_ceil(BLOCK_BYTES) {
            if !self.0.compare(block) {
                return Err(self.0.error(block));
            }
        }
        Ok(())
    }

    /// Where the blocks and the pages of checksums begin that do not hold. A block whose page of
    /// checksums does not hold is not one of them: nothing is known of it.
    pub(crate) fn damaged(&self) -> Vec<u64> {
        let (table, end) = (self.0.table_start / BLOCK_BYTES, self.0.file.len() / BLOCK_BYTES);
        if !self.have_checksums() {
            return Vec::new();
        }
        let blocks =
            (1..table).filter(|&block| self.0.expected(block).is_some() && !self.0.compare(block));
        let pages = (table..end).filter(|&block| !self.0.page_holds(block - table));
        blocks.chain(pages).map(|block| (block * BLOCK_BYTES) as u64).collect()
    }

    /// Compares every page of checksums with its own.
    pub(crate) fn compare_table(&self) -> Result<()> {
        let page_count = (self.0.file.len() - self.0.table_start) / BLOCK_BYTES;
        match (0..page_count).find(|&page| !self.0.page_holds(page)) {
            None => Ok(()),
            Some(page) => Err(self.0.error(self.0.table_start / BLOCK_BYTES + page)),
        }
    }
}

impl Checked {
    #[inline]
    fn is_known(&self, block: usize) -> bool {
        self.bits.get(block / 64).is_none_or(|bits| {
            // The bytes themselves were there before and do not change, so nothing is ordered.
            bits.load(Ordering::Relaxed) >> (block % 64) & 1 != 0
        })
    }

    fn page_holds(&self, page: usize) -> bool {
        let start = self.table_start + page * BLOCK_BYTES;
        let bytes = &self.file[start..start + BLOCK_BYTES];
        read_u32(bytes, PAGE_CHECKSUM_OFFSET) == page_checksum(bytes, page, &self.seed)
    }

    #[cold]
    #[inline(never)]
    fn compare(&self, block: usize) -> bool {
        let holds = self.expected(block).is_some_and(|expected| {
            let start = block * BLOCK_BYTES;
            crc32fast::hash(&self.file[start..start + BLOCK_BYTES]) == expected
        });
        if holds {
            self.note(block);
        } else {
            self.is_damaged.store(true, Ordering::Relaxed);
        }
        holds
    }

    fn note(&self, block: usize) {
        if let Some(bits) = self.bits.get(block / 64) {
            bits.fetch_or(1 << (block % 64), Ordering::Relaxed);
        }
    }

    /// The checksum of a block, where its page of checksums holds.
    fn expected(&self, block: usize) -> Option<u32> {
        // The header is not among them.
        let place = block.checked_sub(1)?;
        let (page, place) = (place / PAGE_CHECKSUMS, place % PAGE_CHECKSUMS);
        let page_block = self.table_start / BLOCK_BYTES + page;
        if block >= self.table_start / BLOCK_BYTES || page_block >= self.file.len() / BLOCK_BYTES {
            return None;
        }
        if !self.is_known(page_block) {
            if !self.page_holds(page) {
                return None;
            }
            self.note(page_block);
        }
        Some(read_u32(&self.file, page_block * BLOCK_BYTES + place * 4))
    }

    #[cold]
    fn error(&self, block: usize) -> Error {
        let table_block = self.table_start / BLOCK_BYTES;
        let page = block.saturating_sub(1) / PAGE_CHECKSUMS;
        let (message, block) = if block >= table_block {
            ("checksum of a page of checksums", block)
        } else if self.expected(block).is_none() {
            ("checksum of a page of checksums", table_block + page)
        } else {
            ("checksum of a block of 4096 bytes", block)
        };
        let error = Error::corrupt(message).at_path(&self.path);
        error.at_offset((block * BLOCK_BYTES) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header, blocks with bytes of their own, and their checksums.
    fn file(block_count: usize) -> Vec<u8> {
        let mut file = vec![7; BLOCK_BYTES];
        let mut hasher = BlockHasher::new();
        for block in 0..block_count {
            let bytes: Vec<u8> = (0..BLOCK_BYTES).map(|at| (at * 31 + block) as u8).collect();
            let (front, back) = bytes.split_at(block % BLOCK_BYTES);
            hasher.update(front);
            hasher.update(back);
            file.extend(bytes);
        }
        let table = encode_table(&hasher.finish(), b"seed");
        assert_eq!(table.len() as u64, table_bytes(block_count as u64));
        file.extend(table);
        file
    }

    fn blocks(file: Vec<u8>, block_count: usize, seed: &[u8]) -> Blocks {
        let table_start = Some((BLOCK_BYTES * (1 + block_count)) as u64);
        Blocks::new(Bytes::Owned(Arc::new(file)), Path::new("f"), table_start, seed.to_vec())
    }

    #[test]
    fn a_flip_is_an_error_of_its_block_and_of_no_other() {
        let block_count = PAGE_CHECKSUMS + 3;
        let whole = file(block_count);
        let end = BLOCK_BYTES * (1 + block_count);
        for flipped in [1, 2, PAGE_CHECKSUMS, PAGE_CHECKSUMS + 1, block_count] {
            let mut file = whole.clone();
            file[flipped * BLOCK_BYTES + 99] ^= 4;
            let blocks = blocks(file, block_count, b"seed");
            for block in (1..=block_count).filter(|block| *block != flipped) {
                assert!(blocks.holds_at(block * BLOCK_BYTES + 5), "{block} beside {flipped}");
            }
            assert!(!blocks.are_damaged());
            assert!(!blocks.holds_at(flipped * BLOCK_BYTES));
            assert!(blocks.are_damaged());
            let error = blocks.check(BLOCK_BYTES, end).unwrap_err();
            assert_eq!(error.offset_bytes(), Some((flipped * BLOCK_BYTES) as u64));
        }
    }

    #[test]
    fn a_flip_in_the_checksums_is_an_error_of_what_they_cover() {
        let block_count = PAGE_CHECKSUMS + 3;
        let whole = file(block_count);
        let table_start = BLOCK_BYTES * (1 + block_count);
        for (page, covered, other) in [(0, 5, block_count), (1, block_count, 5)] {
            for place in [0, 77, PAGE_CHECKSUM_OFFSET - 1, PAGE_CHECKSUM_OFFSET, BLOCK_BYTES - 1] {
                let mut file = whole.clone();
                file[table_start + page * BLOCK_BYTES + place] ^= 1;
                let blocks = blocks(file, block_count, b"seed");
                assert!(blocks.holds_at(other * BLOCK_BYTES));
                let error = blocks.check(covered * BLOCK_BYTES, covered * BLOCK_BYTES + 1);
                let expected = Some((table_start + page * BLOCK_BYTES) as u64);
                assert_eq!(error.unwrap_err().offset_bytes(), expected);
                assert_eq!(blocks.compare_table().unwrap_err().offset_bytes(), expected);
            }
        }
    }

    #[test]
    fn checksums_of_another_file_do_not_count() {
        let other = blocks(file(2), 2, b"elsewhere");
        assert!(!other.holds_at(BLOCK_BYTES));
        let none = Blocks::none();
        assert!(none.holds_at(0) && !none.have_checksums());
    }
}
