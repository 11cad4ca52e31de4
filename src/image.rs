//! The image: an immutable file that holds the whole graph as of a log position.
//!
//! Opening checks the header and maps the file: its cost does not depend on what is inside. The
//! sections behind the header have checksums of their own, which only [`Image::verify`] reads.
//!
//! [`ImageWriter`] streams an image out account by account in memory that grows with the number of
//! accounts (11 bytes each, for the index) and the largest account, never with the follows. **It
//! recounts what it writes**: counters against set lengths, mutual counts against intersections of
//! bitmaps, and the follower side against the following side by fingerprint.

use crate::accounts::{
    AccountRecord, Accounts, INLINE_NAME_BYTES, RECORD_BYTES, index, set_counts, set_sets_offset,
};
use crate::adjacency::{EdgeList, ListView, SetsView, encode_sets};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{
    IMAGE_MAGIC, Identity, NO_SOURCE_POSITION, check_header, image_file_name, read_u32, read_u64,
    seal_header, write_u32, write_u64,
};
use crate::storage::{Bytes, OutputFile, Storage};
use crate::types::Counts;
use roaring::RoaringBitmap;
use std::path::PathBuf;

/// The header takes one page; sections start at multiples of it.
pub(crate) const IMAGE_HEADER_BYTES: u64 = 4096;
const SECTION_TABLE_OFFSET: usize = 128;
const SECTION_ENTRY_BYTES: usize = 24;
const NEWEST_AT_OFFSET: usize = SECTION_TABLE_OFFSET + SECTION_NAMES.len() * SECTION_ENTRY_BYTES;
/// Offset 0 in the set section means "no sets", so the first sets lie behind these bytes.
const SETS_START: u64 = 8;

/// So much of a follower list is asked for ahead: it holds some hundred ids.
const FOLLOWER_LINES: usize = 3;

/// The sums of a graph, kept by every change and recounted by every checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Accounts that exist.
    pub(crate) account_count: u32,
    /// Of those, foreign ones.
    pub(crate) foreign_count: u32,
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
}

impl ImageHeader {
    fn sections(&self) -> [Section; 4] {
        [self.records, self.index, self.names, self.sets]
    }

    /// The length of the whole file.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.sections()
            .iter()
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
        for (number, section) in self.sections().iter().enumerate() {
            let at = SECTION_TABLE_OFFSET + number * SECTION_ENTRY_BYTES;
            write_u64(&mut bytes, at, section.offset_bytes);
            write_u64(&mut bytes, at + 8, section.len_bytes);
            write_u32(&mut bytes, at + 16, section.crc);
        }
        write_u32(&mut bytes, NEWEST_AT_OFFSET, self.newest_at);
        seal_header(&mut bytes, IMAGE_MAGIC);
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<ImageHeader> {
        let bytes = check_header(bytes, IMAGE_HEADER_BYTES, IMAGE_MAGIC)?;
        let source_position = read_u64(bytes, 56);
        let section = |number: usize| {
            let at = SECTION_TABLE_OFFSET + number * SECTION_ENTRY_BYTES;
            Section {
                offset_bytes: read_u64(bytes, at),
                len_bytes: read_u64(bytes, at + 8),
                crc: read_u32(bytes, at + 16),
            }
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
        })
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
        let whole = self.sections().iter().all(fits)
            && self.records.len_bytes == u64::from(self.id_count) * RECORD_BYTES as u64
            && self.index.len_bytes.is_multiple_of(index::BUCKET_BYTES as u64)
            && self.index.len_bytes > 0;
        if whole {
            Ok(())
        } else {
            Err(Error::corrupt("the sections of the image do not fit together"))
        }
    }
}

/// An image open for reading. Cheap to clone; pinned as long as any clone lives.
#[derive(Clone)]
pub(crate) struct Image {
    file: Bytes,
    path: PathBuf,
    /// The checked header.
    pub(crate) header: ImageHeader,
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
        if header.position.sequence != sequence {
            return Err(Error::corrupt("the image covers another sequence than its name says")
                .at_path(&path)
                .at_offset(48)
                .expected(sequence, header.position.sequence));
        }
        Ok(Image { file, path, header })
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
        ))
    }

    /// The sets at an offset of the set section, as a record has it.
    #[inline]
    pub(crate) fn sets(&self, offset_bytes: u64) -> Result<SetsView<'_>> {
        if offset_bytes == 0 {
            return Ok(SetsView::EMPTY);
        }
        let sets = SetsView::parse(self.sets_from(offset_bytes)?);
        let sets = sets.map_err(|error| self.in_sets(error, offset_bytes))?;
        self.check_length(sets.longest(), offset_bytes)?;
        Ok(sets)
    }

    /// The follower list alone.
    #[inline]
    pub(crate) fn followers(&self, offset_bytes: u64) -> Result<ListView<'_>> {
        if offset_bytes == 0 {
            return Ok(ListView::EMPTY);
        }
        let followers = SetsView::parse_followers(self.sets_from(offset_bytes)?);
        let followers = followers.map_err(|error| self.in_sets(error, offset_bytes))?;
        self.check_length(followers.len(), offset_bytes)?;
        Ok(followers)
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
    /// Cost: the size of the file.
    pub(crate) fn verify(&self) -> Result<()> {
        let mut read_bytes = IMAGE_HEADER_BYTES as usize;
        for (section, name) in self.header.sections().iter().zip(SECTION_NAMES) {
            let (start, end) = section.range();
            let crc = crc32fast::hash(&self.file[start..end]);
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

    /// The length of the file.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.file.len() as u64
    }

    /// The file, to name in an error.
    pub(crate) fn path(&self) -> &std::path::Path {
        &self.path
    }
}

/// Writes one section through a buffer, counting and checksumming what passes.
struct SectionWriter {
    section: Section,
    hasher: crc32fast::Hasher,
    buffer: Vec<u8>,
}

const SECTION_BUFFER_BYTES: usize = 1 << 20;

impl SectionWriter {
    fn new(offset_bytes: u64) -> SectionWriter {
        SectionWriter {
            section: Section { offset_bytes, ..Section::default() },
            hasher: crc32fast::Hasher::new(),
            buffer: Vec::with_capacity(SECTION_BUFFER_BYTES),
        }
    }

    fn len_bytes(&self) -> u64 {
        self.section.len_bytes + self.buffer.len() as u64
    }

    fn write(&mut self, file: &mut dyn OutputFile, bytes: &[u8]) -> Result<()> {
        self.buffer.extend_from_slice(bytes);
        self.flush_if_full(file)
    }

    fn flush_if_full(&mut self, file: &mut dyn OutputFile) -> Result<()> {
        if self.buffer.len() < SECTION_BUFFER_BYTES { Ok(()) } else { self.flush(file) }
    }

    fn flush(&mut self, file: &mut dyn OutputFile) -> Result<()> {
        file.write_at(self.section.offset_bytes + self.section.len_bytes, &self.buffer)?;
        self.hasher.update(&self.buffer);
        self.section.len_bytes += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn finish(mut self, file: &mut dyn OutputFile) -> Result<Section> {
        self.flush(file)?;
        self.section.crc = self.hasher.finalize();
        Ok(self.section)
    }
}

/// What is known of an image before its first account is written.
pub(crate) struct ImagePlan<'a> {
    /// The graph it belongs to.
    pub(crate) identity: Identity,
    /// What it covers.
    pub(crate) position: Position,
    /// How many accounts will be pushed: every id ever given.
    pub(crate) id_count: u32,
    /// How many of them exist.
    pub(crate) account_count: u32,
    /// Bytes of all names too long for a record.
    pub(crate) overflow_name_bytes: u64,
    /// The ids of foreign accounts.
    pub(crate) foreign: &'a RoaringBitmap,
}

/// Accounts with consecutive ids on their way into an image: recounted and encoded apart from the
/// writer, so that several threads can do this part of the work.
pub(crate) struct EncodedAccounts {
    identity: Identity,
    first_id: u32,
    accounts: Vec<EncodedAccount>,
    /// Their names, one after the other without a gap.
    names: String,
    /// Their sets, the same way.
    sets: Vec<u8>,
    totals: Totals,
    /// The time of their newest follow.
    newest_at: u32,
}

struct EncodedAccount {
    name_bytes: usize,
    name_hash: u64,
    foreign: bool,
    counts: Counts,
    sets_bytes: usize,
}

impl EncodedAccounts {
    /// No accounts yet; the first one will have `first_id`.
    pub(crate) fn new(identity: Identity, first_id: u32) -> EncodedAccounts {
        EncodedAccounts {
            identity,
            first_id,
            accounts: Vec::new(),
            names: String::new(),
            sets: Vec::new(),
            totals: Totals::default(),
            newest_at: 0,
        }
    }

    /// Forgets the accounts and keeps the room.
    fn restart(&mut self, first_id: u32) {
        (self.first_id, self.totals, self.newest_at) = (first_id, Totals::default(), 0);
        self.accounts.clear();
        self.names.clear();
        self.sets.clear();
    }

    /// Encodes the next account. `counts` are the counters kept so far: a difference to the lists
    /// is refused. `foreign` are the ids of all foreign accounts.
    pub(crate) fn push(
        &mut self,
        foreign: &RoaringBitmap,
        name: &str,
        counts: Counts,
        following: &EdgeList,
        followers: &EdgeList,
    ) -> Result<()> {
        let id = self.first_id + self.accounts.len() as u32;
        if ![following, followers].iter().all(|list| list.ids.is_sorted_by(|a, b| a < b)) {
            return Err(Error::corrupt(format!("a list of account {name:?} is not in order")));
        }
        let newest_at = following.at.iter().chain(&followers.at).copied().max();
        self.newest_at = self.newest_at.max(newest_at.unwrap_or(0));
        let counted = self.recount(id, foreign, following, followers);
        if counted != counts {
            let message = format!("the counters of account {name:?} differ from its lists");
            return Err(Error::new(ErrorKind::AuditFailed, message)
                .expected(format!("{counted:?}"), format!("{counts:?}")));
        }
        let sets_start = self.sets.len();
        if !following.ids.is_empty() || !followers.ids.is_empty() {
            encode_sets(following, followers, &mut self.sets);
        }
        let foreign = foreign.contains(id);
        self.totals.account_count += 1;
        self.totals.foreign_count += u32::from(foreign);
        self.names.push_str(name);
        self.accounts.push(EncodedAccount {
            name_bytes: name.len(),
            name_hash: self.identity.name_hash(name),
            foreign,
            counts,
            sets_bytes: self.sets.len() - sets_start,
        });
        Ok(())
    }

    /// Counts an account's lists anew and adds them to the totals.
    fn recount(
        &mut self,
        id: u32,
        foreign: &RoaringBitmap,
        following: &EdgeList,
        followers: &EdgeList,
    ) -> Counts {
        let mutual = bitmap_intersection_len(&following.ids, &followers.ids);
        let totals = &mut self.totals;
        let no_foreign = foreign.is_empty();
        for &to in &following.ids {
            if no_foreign || !foreign.contains(to) {
                let hash = self.identity.follow_hash(id, to);
                totals.following_fingerprint = totals.following_fingerprint.wrapping_add(hash);
            }
        }
        for &from in &followers.ids {
            if no_foreign || !foreign.contains(from) {
                let hash = self.identity.follow_hash(from, id);
                totals.follower_fingerprint = totals.follower_fingerprint.wrapping_add(hash);
            } else {
                totals.follow_count += 1;
            }
        }
        totals.follow_count += following.ids.len() as u64;
        totals.following_entries += following.ids.len() as u64;
        totals.follower_entries += followers.ids.len() as u64;
        totals.mutual_sum += mutual;
        Counts {
            followers: followers.ids.len() as u32,
            following: following.ids.len() as u32,
            mutual: mutual as u32,
        }
    }
}

/// Streams an image out, accounts in the order of their ids, and recounts them.
pub(crate) struct ImageWriter<'a> {
    plan: ImagePlan<'a>,
    file: Box<dyn OutputFile>,
    records: SectionWriter,
    names: SectionWriter,
    sets: SectionWriter,
    index: Vec<u8>,
    totals: Totals,
    newest_at: u32,
    next_id: u32,
    /// What [`push`](ImageWriter::push) encodes one account into.
    single: EncodedAccounts,
}

impl<'a> ImageWriter<'a> {
    /// Begins an image in an empty file.
    pub(crate) fn new(file: Box<dyn OutputFile>, plan: ImagePlan<'a>) -> Result<ImageWriter<'a>> {
        let page = IMAGE_HEADER_BYTES;
        let records_bytes = u64::from(plan.id_count) * RECORD_BYTES as u64;
        let index_bytes =
            index::bucket_count(u64::from(plan.account_count)) * index::BUCKET_BYTES as u64;
        let index_offset = (page + records_bytes).next_multiple_of(page);
        let names_offset = (index_offset + index_bytes).next_multiple_of(page);
        let sets_offset = (names_offset + plan.overflow_name_bytes).next_multiple_of(page);
        let mut writer = ImageWriter {
            file,
            records: SectionWriter::new(page),
            names: SectionWriter::new(names_offset),
            sets: SectionWriter::new(sets_offset),
            index: vec![0; index_bytes as usize],
            totals: Totals::default(),
            newest_at: 0,
            next_id: 0,
            single: EncodedAccounts::new(plan.identity, 0),
            plan,
        };
        writer.sets.write(writer.file.as_mut(), &[0; SETS_START as usize])?;
        Ok(writer)
    }

    /// Writes the place of an id whose account is gone.
    pub(crate) fn push_removed(&mut self) -> Result<()> {
        self.next_id += 1;
        self.records.write(self.file.as_mut(), &AccountRecord::removed().0)
    }

    /// Writes the next account. `counts` are the counters kept so far: a difference to the lists
    /// is refused.
    pub(crate) fn push(
        &mut self,
        name: &str,
        counts: Counts,
        following: &EdgeList,
        followers: &EdgeList,
    ) -> Result<()> {
        let nothing = EncodedAccounts::new(self.plan.identity, 0);
        let mut single = std::mem::replace(&mut self.single, nothing);
        single.restart(self.next_id);
        let written = single
            .push(self.plan.foreign, name, counts, following, followers)
            .and_then(|()| self.append(&single));
        self.single = single;
        written
    }

    /// Writes the next accounts, which were encoded before.
    pub(crate) fn append(&mut self, encoded: &EncodedAccounts) -> Result<()> {
        assert!(encoded.first_id == self.next_id, "accounts are written in the order of their ids");
        assert!(encoded.identity == self.plan.identity, "the names are hashed with another key");
        self.totals.add(&encoded.totals);
        self.newest_at = self.newest_at.max(encoded.newest_at);
        assert!(self.totals.account_count <= self.plan.account_count, "the plan counts accounts");
        let (mut names, mut sets_offset) = (encoded.names.as_str(), self.sets.len_bytes());
        for account in &encoded.accounts {
            let (name, rest) = names.split_at(account.name_bytes);
            names = rest;
            let mut record = AccountRecord::new(name, account.foreign, self.names.len_bytes());
            if name.len() > INLINE_NAME_BYTES {
                self.names.write(self.file.as_mut(), name.as_bytes())?;
            }
            set_counts(&mut record.0, account.counts);
            if account.sets_bytes > 0 {
                set_sets_offset(&mut record.0, sets_offset);
                sets_offset += account.sets_bytes as u64;
            }
            index::insert(&mut self.index, account.name_hash, self.next_id);
            self.records.write(self.file.as_mut(), &record.0)?;
            self.next_id += 1;
        }
        self.sets.write(self.file.as_mut(), &encoded.sets)
    }

    /// Ends the audit, writes index and header, and waits until the file is on disk. `expected`
    /// are the sums the live graph kept: a difference is refused.
    pub(crate) fn finish(mut self, expected: Option<&Totals>) -> Result<ImageHeader> {
        self.finish_audit(expected)?;
        let file = self.file.as_mut();
        let mut index_writer = SectionWriter::new(
            (self.records.section.offset_bytes + self.records.len_bytes())
                .next_multiple_of(IMAGE_HEADER_BYTES),
        );
        for part in self.index.chunks(SECTION_BUFFER_BYTES) {
            index_writer.write(file, part)?;
        }
        let header = ImageHeader {
            identity: self.plan.identity,
            position: self.plan.position,
            id_count: self.plan.id_count,
            totals: self.totals,
            newest_at: self.newest_at,
            records: self.records.finish(file)?,
            index: index_writer.finish(file)?,
            names: self.names.finish(file)?,
            sets: self.sets.finish(file)?,
        };
        file.write_at(0, &header.encode())?;
        file.sync()?;
        Ok(header)
    }

    fn finish_audit(&self, expected: Option<&Totals>) -> Result<()> {
        assert!(self.next_id == self.plan.id_count, "every id is written");
        let totals = &self.totals;
        if totals.following_fingerprint != totals.follower_fingerprint {
            let message = "the follower lists and the following lists hold different follows";
            return Err(Error::new(ErrorKind::AuditFailed, message)
                .expected(totals.following_fingerprint, totals.follower_fingerprint));
        }
        if let Some(expected) = expected
            && expected != totals
        {
            let message = "the recounted sums differ from those the graph kept";
            return Err(Error::new(ErrorKind::AuditFailed, message)
                .expected(format!("{totals:?}"), format!("{expected:?}")));
        }
        Ok(())
    }
}

/// How many ids two strictly ascending slices share, by intersection of bitmaps: what a mutual
/// count is.
pub(crate) fn bitmap_intersection_len(a: &[u32], b: &[u32]) -> u64 {
    if a.is_empty() || b.is_empty() {
        return 0;
    }
    let bitmap =
        |ids: &[u32]| RoaringBitmap::from_sorted_iter(ids.iter().copied()).expect("the ids ascend");
    bitmap(a).intersection_len(&bitmap(b))
}
