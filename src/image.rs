//! The image: an immutable file that holds the whole graph as of a log position.
//!
//! Opening checks the header and maps the file: its cost does not depend on what is inside. The
//! sections behind the header have checksums of their own, which only [`Image::verify`] reads.
//!
//! [`ImageWriter`] streams an image out account by account in memory that grows with the number of
//! accounts (13 bytes each, for the index) and the largest account, never with the follows. **It
//! recounts what it writes**: counters against set lengths, mutual counts against intersections of
//! bitmaps, and the follower side against the following side by fingerprint.

mod damaged;
mod writer;

use crate::accounts::{Accounts, RECORD_BYTES, index};
use crate::adjacency::{ListView, SetsView};
use crate::blocks::{self, Blocks};
use crate::error::{Error, Result};
use crate::format::{
    IMAGE_MAGIC, Identity, NO_SOURCE_POSITION, check_header, image_file_name, read_u32, read_u64,
    seal_header, version_of, write_u32, write_u64,
};
use crate::shards::{SHARDS_SECTION_BYTES, Shards};
use crate::storage::{Bytes, Storage};
use std::path::{Path, PathBuf};

pub(crate) use damaged::DamagedImage;
pub(crate) use writer::{EncodedAccounts, ImagePlan, ImageWriter};

/// The header takes one page; sections start at multiples of it.
pub(crate) const IMAGE_HEADER_BYTES: u64 = 4096;
const SECTION_TABLE_OFFSET: usize = 128;
const SECTION_ENTRY_BYTES: usize = 24;
const NEWEST_AT_OFFSET: usize = SECTION_TABLE_OFFSET + SECTION_NAMES.len() * SECTION_ENTRY_BYTES;
/// The last field before the checksum.
const BEING_REMOVED_COUNT_OFFSET: usize = IMAGE_HEADER_BYTES as usize - 8;
const BLOCKS_ENTRY_OFFSET: usize = NEWEST_AT_OFFSET + 4;
/// Zeros where the graph is not sharded.
const SHARDS_ENTRY_OFFSET: usize = BLOCKS_ENTRY_OFFSET + SECTION_ENTRY_BYTES;
/// Images of this version have no checksums by blocks.
const VERSION_WITHOUT_BLOCKS: u32 = 1;
/// Offset 0 in the set section means "no sets", so the first sets lie behind these bytes.
const SETS_START: u64 = 8;

/// So much is read between two looks at whether to go on.
const VERIFY_PIECE_BYTES: usize = 4 << 20;

/// So much of a follower list is asked for ahead: it holds some hundred ids.
const FOLLOWER_LINES: usize = 3;

/// The sums of a graph, kept by every change and recounted by every checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Accounts that exist.
    pub(crate) account_count: u32,
    /// Of those, foreign ones.
    pub(crate) foreign_count: u32,
    /// Of those, the ones that are being removed.
    pub(crate) being_removed_count: u32,
    /// Entries of all following lists.
    pub(crate) following_entries: u64,
    /// Entries of all follower lists.
    pub(crate) follower_entries: u64,
    /// Sum of all mutual counts.
    pub(crate) mutual_sum: u64,
    /// Follows with at least one local end.
    pub(crate) follow_count: u64,
    /// Sum of the hashes of the follows between local accounts, over the following lists.
    pub(crate) following_fingerprint: u64,
    /// The same over the follower lists. Equal, or something is wrong.
    pub(crate) follower_fingerprint: u64,
}

impl Totals {
    /// Adds the sums of other accounts.
    fn add(&mut self, other: &Totals) {
        self.account_count += other.account_count;
        self.foreign_count += other.foreign_count;
        self.being_removed_count += other.being_removed_count;
        self.following_entries += other.following_entries;
        self.follower_entries += other.follower_entries;
        self.mutual_sum += other.mutual_sum;
        self.follow_count += other.follow_count;
        self.following_fingerprint =
            self.following_fingerprint.wrapping_add(other.following_fingerprint);
        self.follower_fingerprint =
            self.follower_fingerprint.wrapping_add(other.follower_fingerprint);
    }
}

/// Where a graph stands: what the header of an image and the state both carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    /// The last sequence number that is part of it.
    pub(crate) sequence: u64,
    /// Where the outer log it was fed from goes on.
    pub(crate) source_position: Option<u64>,
    /// The latest follow time given by the clock; the clock never gives an earlier one.
    pub(crate) clock: u32,
}

/// The start and length of a section, and the crc32 of its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Section {
    /// First byte, a multiple of the page size.
    pub(crate) offset_bytes: u64,
    /// Length in bytes.
    pub(crate) len_bytes: u64,
    crc: u32,
}

impl Section {
    fn range(&self) -> (usize, usize) {
        (self.offset_bytes as usize, (self.offset_bytes + self.len_bytes) as usize)
    }
}

/// The names of the sections, in the order of the section table.
const SECTION_NAMES: [&str; 4] = ["records", "index", "names", "sets"];

/// The header of an image; `docs/format.md` has its table of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ImageHeader {
    /// The graph it belongs to, and its key.
    pub(crate) identity: Identity,
    /// What it covers.
    pub(crate) position: Position,
    /// How many ids were given.
    pub(crate) id_count: u32,
    /// What was counted when it was written.
    pub(crate) totals: Totals,
    /// The time of its newest follow: one that is newer comes first in every list of the image.
    pub(crate) newest_at: u32,
    /// The 64-byte account records.
    pub(crate) records: Section,
    /// The name index.
    pub(crate) index: Section,
    /// Names too long for a record.
    pub(crate) names: Section,
    /// The sets.
    pub(crate) sets: Section,
    /// Which shards are hosted, and their digests; empty where the graph is not sharded.
    shards: Section,
    /// The checksums of all blocks before it; empty in images of version 1.
    blocks: Section,
}

impl ImageHeader {
    fn sections(&self) -> [Section; 4] {
        [self.records, self.index, self.names, self.sets]
    }

    /// Bytes of all sections: what [`Image::verify`] compares with checksums.
    pub(crate) fn section_bytes(&self) -> u64 {
        let sections = self.sections();
        let others = [&self.shards, &self.blocks];
        sections.iter().chain(others).map(|section| section.len_bytes).sum()
    }

    /// The section of the shards, where there is one.
    fn shards_section(&self) -> Option<&Section> {
        Some(&self.shards).filter(|section| section.len_bytes > 0)
    }

    /// What the checksums of its blocks depend on beside them: they are of this image alone.
    fn blocks_seed(&self) -> Vec<u8> {
        [&self.identity.graph_id[..], &self.position.sequence.to_le_bytes()].concat()
    }

    /// The blocks of the file that has this header and the length it says.
    fn blocks_of(&self, file: &Bytes, path: &Path) -> Blocks {
        let table_start = (self.blocks.len_bytes > 0).then_some(self.blocks.offset_bytes);
        Blocks::new(file.clone(), path, table_start, self.blocks_seed())
    }

    /// The length of the whole file.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.sections()
            .iter()
            .chain([&self.shards, &self.blocks])
            .map(|section| section.offset_bytes.saturating_add(section.len_bytes))
            .fold(IMAGE_HEADER_BYTES, u64::max)
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0u8; IMAGE_HEADER_BYTES as usize];
        write_u32(&mut bytes, 12, IMAGE_HEADER_BYTES as u32);
        bytes[16..32].copy_from_slice(&self.identity.graph_id);
        bytes[32..48].copy_from_slice(&self.identity.key);
        write_u64(&mut bytes, 48, self.position.sequence);
        let source_position = self.position.source_position.unwrap_or(NO_SOURCE_POSITION);
        write_u64(&mut bytes, 56, source_position);
        write_u32(&mut bytes, 64, self.id_count);
        write_u32(&mut bytes, 68, self.totals.account_count);
        write_u32(&mut bytes, 72, self.totals.foreign_count);
        write_u32(&mut bytes, 76, self.position.clock);
        write_u64(&mut bytes, 80, self.totals.following_entries);
        write_u64(&mut bytes, 88, self.totals.follower_entries);
        write_u64(&mut bytes, 96, self.totals.mutual_sum);
        write_u64(&mut bytes, 104, self.totals.follow_count);
        write_u64(&mut bytes, 112, self.totals.following_fingerprint);
        write_u64(&mut bytes, 120, self.totals.follower_fingerprint);
        let others = [(BLOCKS_ENTRY_OFFSET, self.blocks), (SHARDS_ENTRY_OFFSET, self.shards)];
        let places = (SECTION_TABLE_OFFSET..).step_by(SECTION_ENTRY_BYTES).zip(self.sections());
        for (at, section) in places.chain(others) {
            write_u64(&mut bytes, at, section.offset_bytes);
            write_u64(&mut bytes, at + 8, section.len_bytes);
            write_u32(&mut bytes, at + 16, section.crc);
        }
        write_u32(&mut bytes, NEWEST_AT_OFFSET, self.newest_at);
        write_u32(&mut bytes, BEING_REMOVED_COUNT_OFFSET, self.totals.being_removed_count);
        seal_header(&mut bytes, IMAGE_MAGIC);
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<ImageHeader> {
        let bytes = check_header(bytes, IMAGE_HEADER_BYTES, IMAGE_MAGIC)?;
        let source_position = read_u64(bytes, 56);
        let section_at = |at: usize| Section {
            offset_bytes: read_u64(bytes, at),
            len_bytes: read_u64(bytes, at + 8),
            crc: read_u32(bytes, at + 16),
        };
        let section =
            |number: usize| section_at(SECTION_TABLE_OFFSET + number * SECTION_ENTRY_BYTES);
        let (blocks, shards) = match version_of(bytes) {
            VERSION_WITHOUT_BLOCKS => Default::default(),
            _ => (section_at(BLOCKS_ENTRY_OFFSET), section_at(SHARDS_ENTRY_OFFSET)),
        };
        Ok(ImageHeader {
            identity: Identity {
                graph_id: bytes[16..32].try_into().expect("sixteen bytes"),
                key: bytes[32..48].try_into().expect("sixteen bytes"),
            },
            position: Position {
                sequence: read_u64(bytes, 48),
                source_position: (source_position != NO_SOURCE_POSITION).then_some(source_position),
                clock: read_u32(bytes, 76),
            },
            id_count: read_u32(bytes, 64),
            totals: Totals {
                account_count: read_u32(bytes, 68),
                foreign_count: read_u32(bytes, 72),
                being_removed_count: read_u32(bytes, BEING_REMOVED_COUNT_OFFSET),
                following_entries: read_u64(bytes, 80),
                follower_entries: read_u64(bytes, 88),
                mutual_sum: read_u64(bytes, 96),
                follow_count: read_u64(bytes, 104),
                following_fingerprint: read_u64(bytes, 112),
                follower_fingerprint: read_u64(bytes, 120),
            },
            newest_at: read_u32(bytes, NEWEST_AT_OFFSET),
            records: section(0),
            index: section(1),
            names: section(2),
            sets: section(3),
            shards,
            blocks,
        })
    }

    /// Whether it covers what the name of its file says.
    fn check_sequence(&self, sequence: u64) -> Result<()> {
        if self.position.sequence == sequence {
            return Ok(());
        }
        Err(Error::corrupt("the image covers another sequence than its name says")
            .at_offset(48)
            .expected(sequence, self.position.sequence))
    }

    /// What `open` relies on without reading the sections.
    fn check(&self, file_bytes: u64) -> Result<()> {
        let fits = |section: &Section| {
            let end = section.offset_bytes.checked_add(section.len_bytes);
            section.offset_bytes >= IMAGE_HEADER_BYTES && end.is_some_and(|end| end <= file_bytes)
        };
        if self.file_bytes() > file_bytes {
            return Err(Error::corrupt("the image is shorter than its header says")
                .expected(self.file_bytes(), file_bytes));
        }
        if self.file_bytes() < file_bytes {
            return Err(Error::corrupt("the image is longer than its header says")
                .expected(self.file_bytes(), file_bytes));
        }
        let totals = &self.totals;
        let counts_fit = totals.account_count <= self.id_count
            && totals.foreign_count <= totals.account_count
            && totals.being_removed_count <= totals.account_count;
        if !counts_fit {
            return Err(Error::corrupt("the image counts more accounts than it gave ids")
                .at_offset(68)
                .expected(format!("{} at most", self.id_count), totals.account_count));
        }
        let whole = self.sections().iter().all(fits)
            && self.records.len_bytes == u64::from(self.id_count) * RECORD_BYTES as u64
            && self.index.len_bytes.is_multiple_of(index::BUCKET_BYTES as u64)
            && self.index.len_bytes > 0
            && (self.shards == Section::default() || self.has_fitting_shards(&fits))
            && (self.blocks == Section::default() || self.has_fitting_blocks());
        if whole {
            Ok(())
        } else {
            Err(Error::corrupt("the sections of the image do not fit together"))
        }
    }
}

impl ImageHeader {
    /// Whether the shards are what a sharded graph has, in blocks with checksums.
    fn has_fitting_shards(&self, fits: &impl Fn(&Section) -> bool) -> bool {
        fits(&self.shards)
            && self.shards.len_bytes == SHARDS_SECTION_BYTES as u64
            && self.blocks != Section::default()
    }

    /// Whether every section begins with a block, and the table has one checksum for each block.
    fn has_fitting_blocks(&self) -> bool {
        let (start, block) = (self.blocks.offset_bytes, blocks::BLOCK_BYTES as u64);
        let is_behind = |section: &Section| {
            let end = section.offset_bytes.checked_add(section.len_bytes);
            section.offset_bytes.is_multiple_of(block) && end.is_some_and(|end| end <= start)
        };
        start.is_multiple_of(block)
            && self.sections().iter().chain(self.shards_section()).all(is_behind)
            && self.records.offset_bytes == IMAGE_HEADER_BYTES
            && start >= IMAGE_HEADER_BYTES
            && self.blocks.len_bytes == blocks::table_bytes((start - IMAGE_HEADER_BYTES) / block)
    }
}

/// An image open for reading. Cheap to clone; pinned as long as any clone lives.
#[derive(Clone)]
pub(crate) struct Image {
    file: Bytes,
    path: PathBuf,
    /// The checked header.
    pub(crate) header: ImageHeader,
    blocks: Blocks,
}

impl Image {
    /// Maps the image that covers `sequence` and checks its header. Cost: the same for every size.
    pub(crate) fn open(storage: &dyn Storage, sequence: u64) -> Result<Image> {
        let name = image_file_name(sequence);
        let path = storage.path(&name);
        let file = storage.map(&name, u64::MAX)?;
        let header = ImageHeader::decode(&file)
            .and_then(|header| header.check(file.len() as u64).map(|()| header))
            .map_err(|error| error.at_path(&path))?;
        header.check_sequence(sequence).map_err(|error| error.at_path(&path))?;
        let blocks = header.blocks_of(&file, &path);
        Ok(Image { file, path, header, blocks })
    }

    /// The accounts of this image, with a private record table of their own.
    pub(crate) fn accounts(&self, storage: &dyn Storage) -> Result<Accounts> {
        let section = self.header.records;
        let name = image_file_name(self.header.position.sequence);
        let records = storage.map_private(&name, section.offset_bytes, section.len_bytes)?;
        Ok(Accounts::new(
            self.header.identity,
            records,
            self.file.clone(),
            self.header.index.range(),
            self.header.names.range(),
            self.blocks.clone(),
        ))
    }

    /// Which shards are hosted, and their digests; `None` where the graph is not sharded.
    pub(crate) fn shards(&self) -> Result<Option<Shards>> {
        let Some(section) = self.header.shards_section() else {
            return Ok(None);
        };
        let (start, end) = section.range();
        self.blocks.check(start, end)?;
        Ok(Shards::decode(&self.file[start..end]))
    }

    /// The sets at an offset of the set section, as a record has it.
    #[inline]
    pub(crate) fn sets(&self, offset_bytes: u64) -> Result<SetsView<'_>> {
        if offset_bytes == 0 {
            return Ok(SetsView::EMPTY);
        }
        let bytes = self.sets_from(offset_bytes)?;
        let sets = SetsView::parse(bytes).and_then(|sets| Ok((sets, sets.rest()?)));
        let sets = self.check_extent(offset_bytes, bytes, sets)?;
        self.check_length(sets.longest(), offset_bytes)?;
        Ok(sets)
    }

    /// The follower list alone.
    #[inline]
    pub(crate) fn followers(&self, offset_bytes: u64) -> Result<ListView<'_>> {
        if offset_bytes == 0 {
            return Ok(ListView::EMPTY);
        }
        let bytes = self.sets_from(offset_bytes)?;
        let followers = SetsView::parse_followers(bytes);
        let followers = followers.and_then(|followers| Ok((followers, followers.behind()?)));
        let followers = self.check_extent(offset_bytes, bytes, followers)?;
        self.check_length(followers.len(), offset_bytes)?;
        Ok(followers)
    }

    /// Compares the blocks of what was found in `bytes` with their checksums. Where it ends was
    /// read from bytes in it, so where those hold, the end does. What cannot be read at all is
    /// damaged in the block it begins in, or not what the writer writes.
    #[inline]
    fn check_extent<T>(
        &self,
        offset_bytes: u64,
        bytes: &[u8],
        found: Result<(T, &[u8])>,
    ) -> Result<T> {
        let start = (self.header.sets.offset_bytes + offset_bytes) as usize;
        match found {
            Ok((found, rest)) => {
                self.blocks.check(start, start + (bytes.len() - rest.len()))?;
                Ok(found)
            }
            Err(error) => {
                self.blocks.check(start, start + 1)?;
                Err(self.in_sets(error, offset_bytes))
            }
        }
    }

    #[inline]
    fn sets_from(&self, offset_bytes: u64) -> Result<&[u8]> {
        let (start, end) = self.header.sets.range();
        let sets = &self.file[start..end];
        let sets = usize::try_from(offset_bytes).ok().and_then(|start| sets.get(start..));
        sets.ok_or_else(|| {
            let error = Error::corrupt("an account's sets lie outside the image");
            self.in_sets(error, offset_bytes)
        })
    }

    /// A list of more ids than there are would make its reader work without end.
    #[inline]
    fn check_length(&self, longest: u32, offset_bytes: u64) -> Result<()> {
        if longest <= self.header.id_count {
            return Ok(());
        }
        let error = Error::corrupt("a list is longer than there are accounts")
            .expected(self.header.id_count, longest);
        Err(self.in_sets(error, offset_bytes))
    }

    /// Whether a time of a list may be: none is newer than the header says.
    pub(crate) fn check_newest(&self, at: u32) -> Result<()> {
        if at <= self.header.newest_at {
            return Ok(());
        }
        let error = Error::corrupt("a follow is newer than the newest of the image");
        Err(error.at_path(&self.path).expected(format!("{} at most", self.header.newest_at), at))
    }

    #[cold]
    fn in_sets(&self, error: Error, offset_bytes: u64) -> Error {
        error.at_path(&self.path).at_offset(self.header.sets.offset_bytes + offset_bytes)
    }

    /// Asks for the first cache line of sets.
    #[inline]
    pub(crate) fn prefetch_sets(&self, offset_bytes: u64) {
        let offset_bytes = self.header.sets.offset_bytes + offset_bytes;
        crate::storage::prefetch(&self.file, offset_bytes as usize);
    }

    /// Asks for the cache lines a follower list begins in; the one its sets begin in is there.
    #[inline]
    pub(crate) fn prefetch_followers(&self, offset_bytes: u64) {
        let Ok(sets) = self.sets_from(offset_bytes) else { return };
        let start = SetsView::followers_start(sets);
        for line in 0..FOLLOWER_LINES {
            crate::storage::prefetch(sets, start.saturating_add(line * 64));
        }
    }

    /// Reads every byte and compares with the checksums; what lies between the sections is zero.
    /// `watch` is told how long each piece was that was read, and an error of its ends it.
    /// Cost: the size of the file.
    pub(crate) fn verify(&self, watch: &mut dyn FnMut(u64) -> Result<()>) -> Result<()> {
        if self.blocks.have_checksums() {
            self.verify_table(watch)?;
        }
        let mut read_bytes = IMAGE_HEADER_BYTES as usize;
        let (sections, shards) = (self.header.sections(), self.header.shards_section());
        let named = sections.iter().zip(SECTION_NAMES);
        for (section, name) in named.chain(shards.map(|section| (section, "shards"))) {
            let (start, end) = section.range();
            let mut hasher = crc32fast::Hasher::new();
            for piece_start in (start..end).step_by(VERIFY_PIECE_BYTES) {
                let piece_end = end.min(piece_start + VERIFY_PIECE_BYTES);
                // The block says where it is, the section would say only that it is somewhere.
                if self.blocks.have_checksums() {
                    self.blocks.compare_again(piece_start, piece_end)?;
                }
                hasher.update(&self.file[piece_start..piece_end]);
                watch((piece_end - piece_start) as u64)?;
            }
            let crc = hasher.finalize();
            if crc != section.crc {
                return Err(Error::corrupt(format!("checksum of the {name} section"))
                    .at_path(&self.path)
                    .at_offset(section.offset_bytes)
                    .expected(section.crc, crc));
            }
            let gap = self.file.get(read_bytes..start).unwrap_or_default();
            if let Some(place) = gap.iter().position(|&byte| byte != 0) {
                return Err(Error::corrupt(format!(
                    "bytes before the {name} section are not zero"
                ))
                .at_path(&self.path)
                .at_offset((read_bytes + place) as u64));
            }
            read_bytes = end;
        }
        Ok(())
    }

    /// Reads the checksums of the blocks, and holds them to the header and to their own.
    fn verify_table(&self, watch: &mut dyn FnMut(u64) -> Result<()>) -> Result<()> {
        self.blocks.compare_table()?;
        let (start, end) = self.header.blocks.range();
        let crc = crc32fast::hash(&self.file[start..end]);
        if crc != self.header.blocks.crc {
            return Err(Error::corrupt("checksum of the checksums of the blocks")
                .at_path(&self.path)
                .at_offset(self.header.blocks.offset_bytes)
                .expected(self.header.blocks.crc, crc));
        }
        watch(self.header.blocks.len_bytes)
    }

    /// The length of the file.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.file.len() as u64
    }

    /// The file, to name in an error.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}
