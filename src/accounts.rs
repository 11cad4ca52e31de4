//! String to id and back: the 64-byte account records, the name index, and lookup in batches.
//!
//! An account of the image lives in the image's record table, which is mapped copy-on-write:
//! counters change in place in private pages, and a count never has to look in two places. An
//! account added since lives in a growing table of the same records. Ids run through both.
//!
//! The index is open addressing over buckets of one cache line. A slot holds the id and 32 bits
//! of the keyed hash, so a wrong slot almost never touches a wrong record. Looking one name up is
//! one hash, one bucket and one record: two cache misses, which a batch overlaps.

use crate::blocks::{BLOCK_BYTES, Blocks};
use crate::chunks::{CHUNK_ITEMS, Chunks};
use crate::error::Result;
use crate::format::{ACCOUNT_COUNT_MAX, Identity, read_u32, read_u64, write_u32, write_u64};
use crate::storage::{Bytes, PrivateBytes, make_private, prefetch};
use crate::types::Counts;
use std::cell::Cell;

/// The size of an account record: one cache line.
pub(crate) const RECORD_BYTES: usize = 64;
/// The longest name a record holds inline.
pub(crate) const INLINE_NAME_BYTES: usize = 40;
/// How much of a longer name a record holds, to tell most mismatches without a look elsewhere.
const NAME_PREFIX_BYTES: usize = 32;

const FOLLOWERS_OFFSET: usize = 0;
const FOLLOWING_OFFSET: usize = 4;
const MUTUAL_OFFSET: usize = 8;
/// Six bytes of set offset, then a byte of flags and a byte of name length.
const PLACE_OFFSET: usize = 12;
const DELTA_OFFSET: usize = 20;
const NAME_OFFSET: usize = 24;

const FLAG_FOREIGN: u8 = 1;
const FLAG_REMOVED: u8 = 2;
const FLAG_BEING_REMOVED: u8 = 4;

const _: () = assert!(NAME_OFFSET + INLINE_NAME_BYTES == RECORD_BYTES);
const _: () = assert!(NAME_OFFSET + 8 + NAME_PREFIX_BYTES == RECORD_BYTES);

/// An account record, a view of 64 bytes.
///
/// | bytes | what |
/// |---|---|
/// | 0..12 | followers, following, mutual: `u32` each |
/// | 12..18 | where its sets begin in the image's set section; 0: it has none |
/// | 18 | flags: 1 foreign, 2 removed, 4 being removed |
/// | 19 | name length in bytes |
/// | 20..24 | which delta it has, plus one; 0: none, and always 0 in a file |
/// | 24..64 | the name; or, above 40 bytes, its offset and its first 32 bytes |
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(crate) struct AccountRecord(pub(crate) [u8; RECORD_BYTES]);

impl AccountRecord {
    /// A record without follows. `overflow_offset` says where a name above 40 bytes is.
    pub(crate) fn new(name: &str, foreign: bool, overflow_offset: u64) -> AccountRecord {
        let mut record = AccountRecord([0; RECORD_BYTES]);
        let name_bytes = name.as_bytes();
        record.0[PLACE_OFFSET + 6] = if foreign { FLAG_FOREIGN } else { 0 };
        record.0[PLACE_OFFSET + 7] = u8::try_from(name.len()).expect("names were checked");
        if name.len() <= INLINE_NAME_BYTES {
            record.0[NAME_OFFSET..NAME_OFFSET + name.len()].copy_from_slice(name_bytes);
        } else {
            write_u64(&mut record.0, NAME_OFFSET, overflow_offset);
            record.0[NAME_OFFSET + 8..].copy_from_slice(&name_bytes[..NAME_PREFIX_BYTES]);
        }
        record
    }

    /// The record of an account that is gone.
    pub(crate) fn removed() -> AccountRecord {
        let mut record = AccountRecord([0; RECORD_BYTES]);
        record.0[PLACE_OFFSET + 6] = FLAG_REMOVED;
        record
    }
}

/// Reads and writes the fields of a record that lies in a slice of 64 bytes.
pub(crate) trait RecordFields {
    /// The 64 bytes.
    fn bytes(&self) -> &[u8];

    /// The three counts.
    #[inline]
    fn counts(&self) -> Counts {
        let bytes = self.bytes();
        Counts {
            followers: read_u32(bytes, FOLLOWERS_OFFSET),
            following: read_u32(bytes, FOLLOWING_OFFSET),
            mutual: read_u32(bytes, MUTUAL_OFFSET),
        }
    }

    /// Offset of its sets in the set section; 0: none.
    #[inline]
    fn sets_offset(&self) -> u64 {
        read_u64(self.bytes(), PLACE_OFFSET) & 0xffff_ffff_ffff
    }

    /// Which delta it has.
    #[inline]
    fn delta(&self) -> Option<u32> {
        read_u32(self.bytes(), DELTA_OFFSET).checked_sub(1)
    }

    /// Whether its sets are on another node.
    #[inline]
    fn is_foreign(&self) -> bool {
        self.bytes()[PLACE_OFFSET + 6] & FLAG_FOREIGN != 0
    }

    /// Whether it is gone.
    #[inline]
    fn is_removed(&self) -> bool {
        self.bytes()[PLACE_OFFSET + 6] & FLAG_REMOVED != 0
    }

    /// Whether its follows go some at a time, and it after them.
    #[inline]
    fn is_being_removed(&self) -> bool {
        self.bytes()[PLACE_OFFSET + 6] & FLAG_BEING_REMOVED != 0
    }

    /// The length of its name.
    #[inline]
    fn name_bytes(&self) -> usize {
        usize::from(self.bytes()[PLACE_OFFSET + 7])
    }

    /// Its name as the image has it: in the record, or among the long ones.
    fn name_in<'a>(&'a self, long_names: &'a [u8]) -> Option<&'a [u8]> {
        let (bytes, name_bytes) = (self.bytes(), self.name_bytes());
        if name_bytes <= INLINE_NAME_BYTES {
            return bytes.get(NAME_OFFSET..NAME_OFFSET + name_bytes);
        }
        let start = usize::try_from(read_u64(bytes, NAME_OFFSET)).ok()?;
        long_names.get(start..start.checked_add(name_bytes)?)
    }
}

impl RecordFields for [u8] {
    #[inline]
    fn bytes(&self) -> &[u8] {
        self
    }
}

impl RecordFields for AccountRecord {
    #[inline]
    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Sets the three counts of a record.
#[inline]
pub(crate) fn set_counts(record: &mut [u8], counts: Counts) {
    write_u32(record, FOLLOWERS_OFFSET, counts.followers);
    write_u32(record, FOLLOWING_OFFSET, counts.following);
    write_u32(record, MUTUAL_OFFSET, counts.mutual);
}

/// Says that the account of a record has begun to go.
pub(crate) fn set_being_removed(record: &mut [u8]) {
    record[PLACE_OFFSET + 6] |= FLAG_BEING_REMOVED;
}

/// Says which delta a record has.
#[inline]
pub(crate) fn set_delta(record: &mut [u8], delta: Option<u32>) {
    write_u32(record, DELTA_OFFSET, delta.map_or(0, |delta| delta + 1));
}

/// Says where the sets of a record are.
pub(crate) fn set_sets_offset(record: &mut [u8], offset_bytes: u64) {
    assert!(offset_bytes < 1 << 48, "an image holds less than 256 TiB of sets");
    record[PLACE_OFFSET..PLACE_OFFSET + 6].copy_from_slice(&offset_bytes.to_le_bytes()[..6]);
}

/// The name index: buckets of eight slots, each `id + 1` in the low half and the low half of the
/// name's hash in the high half; 0 is empty. A bucket fills from its first slot; when it is full
/// the next bucket takes over.
pub(crate) mod index {
    use super::{prefetch, read_u32, read_u64, write_u64};

    pub(crate) const BUCKET_BYTES: usize = 64;
    const SLOT_BYTES: usize = 8;

    /// How many buckets an index of `account_count` names has: five eighths full.
    pub(crate) fn bucket_count(account_count: u64) -> u64 {
        account_count.div_ceil(5) + 1
    }

    #[inline]
    fn first_bucket(buckets: &[u8], hash: u64) -> usize {
        let bucket_count = (buckets.len() / BUCKET_BYTES) as u64;
        ((u128::from(hash) * u128::from(bucket_count)) >> 64) as usize
    }

    /// Asks for the cache line where the search for `hash` begins.
    #[inline]
    pub(crate) fn prefetch_bucket(buckets: &[u8], hash: u64) {
        prefetch(buckets, first_bucket(buckets, hash) * BUCKET_BYTES);
    }

    /// The first id stored under `hash` that `is_it` accepts. `holds` is asked before a bucket is
    /// read, with its place; where it says no, nothing is found.
    #[inline]
    pub(crate) fn find(
        buckets: &[u8],
        hash: u64,
        mut holds: impl FnMut(usize) -> bool,
        mut is_it: impl FnMut(u32) -> bool,
    ) -> Option<u32> {
        let bucket_count = buckets.len() / BUCKET_BYTES;
        let mut bucket = if bucket_count == 0 { 0 } else { first_bucket(buckets, hash) };
        // A damaged index may have no empty slot, so the search ends after one round.
        for _ in 0..bucket_count {
            let start = bucket * BUCKET_BYTES;
            if !holds(start) {
                return None;
            }
            let slots = &buckets[start..start + BUCKET_BYTES];
            // All eight are compared before any is looked at: where the name is in its bucket
            // cannot be predicted, and a wrong guess costs more than the other seven.
            let mut like_it = 0_u32;
            for (place, slot) in slots.chunks_exact(SLOT_BYTES).enumerate() {
                like_it |= u32::from(read_u32(slot, 4) == hash as u32) << place;
            }
            while like_it != 0 {
                let slot = like_it.trailing_zeros() as usize * SLOT_BYTES;
                // An empty slot looks like a hash of 0 and holds no id.
                let id = read_u32(slots, slot).checked_sub(1);
                if let Some(id) = id.filter(|&id| is_it(id)) {
                    return Some(id);
                }
                like_it &= like_it - 1;
            }
            if read_u64(slots, BUCKET_BYTES - SLOT_BYTES) == 0 {
                return None;
            }
            bucket = if bucket + 1 == bucket_count { 0 } else { bucket + 1 };
        }
        None
    }

    /// Every id that is stored, with the low half of its name's hash.
    pub(crate) fn slots(buckets: &[u8]) -> impl Iterator<Item = (u32, u32)> + '_ {
        let slots = buckets.chunks_exact(SLOT_BYTES);
        slots.filter_map(|slot| Some((read_u32(slot, 0).checked_sub(1)?, read_u32(slot, 4))))
    }

    /// Stores `id` under `hash`. There must be an empty slot.
    pub(crate) fn insert(buckets: &mut [u8], hash: u64, id: u32) {
        let slot_count = buckets.len() / SLOT_BYTES;
        let mut slot = first_bucket(buckets, hash) * (BUCKET_BYTES / SLOT_BYTES);
        for _ in 0..slot_count {
            let offset_bytes = slot * SLOT_BYTES;
            if read_u64(buckets, offset_bytes) == 0 {
                let value = (hash & 0xffff_ffff) << 32 | u64::from(id + 1);
                write_u64(buckets, offset_bytes, value);
                return;
            }
            slot = if slot + 1 == slot_count { 0 } else { slot + 1 };
        }
        unreachable!("the index is sized so that a quarter of it stays empty");
    }
}

/// The accounts of the image come in blocks of so many, and so do those added since.
pub(crate) const BLOCK_ACCOUNTS: u32 = CHUNK_ITEMS as u32;

/// The records of one block, to change them.
pub(crate) struct RecordBlock<'a> {
    /// The first id of the block.
    pub(crate) first_id: u32,
    records: BlockRecords<'a>,
}

enum BlockRecords<'a> {
    Image(&'a mut [u8], &'a Blocks),
    New(&'a mut [AccountRecord]),
}

impl RecordBlock<'_> {
    /// Gets all records ready to be changed, where most of them will be.
    pub(crate) fn make_private(&mut self) {
        if let BlockRecords::Image(bytes, _) = &mut self.records {
            make_private(bytes);
        }
    }

    /// Whether the record of an account of the block is as it was written. Errors: `Corrupt`.
    #[inline]
    pub(crate) fn check(&self, id: u32) -> Result<()> {
        match &self.records {
            BlockRecords::Image(_, blocks) => check_record(blocks, id),
            BlockRecords::New(_) => Ok(()),
        }
    }

    /// The 64 bytes of an account of the block; [`check`](RecordBlock::check) says whether they
    /// can be believed.
    #[inline]
    pub(crate) fn record(&self, id: u32) -> Option<&[u8]> {
        let place = id.checked_sub(self.first_id)? as usize;
        match &self.records {
            BlockRecords::Image(bytes, _) => bytes.get(place * RECORD_BYTES..)?.get(..RECORD_BYTES),
            BlockRecords::New(records) => Some(&records.get(place)?.0),
        }
    }

    /// The same, to change it. The account must be of the block and checked.
    #[inline]
    pub(crate) fn record_mut(&mut self, id: u32) -> &mut [u8] {
        let place = (id - self.first_id) as usize;
        match &mut self.records {
            BlockRecords::Image(bytes, _) => {
                &mut bytes[place * RECORD_BYTES..(place + 1) * RECORD_BYTES]
            }
            BlockRecords::New(records) => &mut records[place].0,
        }
    }
}

/// Where a record of an image begins in its file: the records follow the header.
#[inline]
fn record_start(id: u32) -> usize {
    BLOCK_BYTES + id as usize * RECORD_BYTES
}

#[inline]
fn check_record(blocks: &Blocks, id: u32) -> Result<()> {
    let start = record_start(id);
    blocks.check(start, start + RECORD_BYTES)
}

/// All accounts: those of the image and those added since.
pub(crate) struct Accounts {
    identity: Identity,
    image_records: PrivateBytes,
    image_count: u32,
    image_index: Bytes,
    image_index_range: (usize, usize),
    image_names: (usize, usize),
    /// What of the image is as it was written.
    image_blocks: Blocks,
    new_records: Chunks<AccountRecord>,
    new_hashes: Vec<u64>,
    new_index: Vec<u8>,
    new_names: Vec<u8>,
}

/// How many names are looked up in step: enough to overlap their cache misses, few enough to
/// keep the stages in registers and the first-level cache.
pub(crate) const BATCH: usize = 32;

impl Accounts {
    /// The accounts of an image: its private record table, which follows the header, and where in
    /// `file` the index and the long names are (start and end). The caller has checked the ranges.
    pub(crate) fn new(
        identity: Identity,
        records: PrivateBytes,
        file: Bytes,
        index_range: (usize, usize),
        name_range: (usize, usize),
        image_blocks: Blocks,
    ) -> Accounts {
        let image_count = u32::try_from(records.len() / RECORD_BYTES).expect("header was checked");
        Accounts {
            identity,
            image_records: records,
            image_count,
            image_index: file,
            image_index_range: index_range,
            image_names: name_range,
            image_blocks,
            new_records: Chunks::new(),
            new_hashes: Vec::new(),
            new_index: Vec::new(),
            new_names: Vec::new(),
        }
    }

    /// A table without an image, for building one.
    pub(crate) fn empty(identity: Identity) -> Accounts {
        let nothing = Bytes::Owned(std::sync::Arc::default());
        let records = PrivateBytes::Owned(Vec::new());
        Accounts::new(identity, records, nothing, (0, 0), (0, 0), Blocks::none())
    }

    /// The graph they belong to.
    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }

    /// How many ids were ever given.
    #[inline]
    pub(crate) fn len(&self) -> u32 {
        self.image_count + self.new_hashes.len() as u32
    }

    /// The 64 bytes of an account, removed or not; `None` also where they are damaged, which
    /// [`check`](Accounts::check) tells apart.
    #[inline]
    pub(crate) fn record(&self, id: u32) -> Option<&[u8]> {
        if id < self.image_count {
            if !self.image_blocks.holds_at(record_start(id)) {
                return None;
            }
            let start = id as usize * RECORD_BYTES;
            self.image_records.get(start..start + RECORD_BYTES)
        } else {
            Some(&self.new_records.get((id - self.image_count) as usize)?.0)
        }
    }

    /// Whether the record of an id is as it was written. Errors: `Corrupt`.
    #[inline]
    pub(crate) fn check(&self, id: u32) -> Result<()> {
        if id < self.image_count { check_record(&self.image_blocks, id) } else { Ok(()) }
    }

    /// The same, to change it. The id must exist, and its record have been asked for before.
    #[inline]
    pub(crate) fn record_mut(&mut self, id: u32) -> &mut [u8] {
        if id < self.image_count {
            let start = id as usize * RECORD_BYTES;
            &mut self.image_records[start..start + RECORD_BYTES]
        } else {
            let new = self.new_records.get_mut((id - self.image_count) as usize);
            &mut new.expect("the id was given").0
        }
    }

    /// Which block an account is in.
    #[inline]
    pub(crate) fn block_of(&self, id: u32) -> usize {
        let block = match id.checked_sub(self.image_count) {
            None => id / BLOCK_ACCOUNTS,
            Some(new) => self.image_count.div_ceil(BLOCK_ACCOUNTS) + new / BLOCK_ACCOUNTS,
        };
        block as usize
    }

    /// All records, block by block.
    pub(crate) fn blocks_mut(&mut self) -> impl Iterator<Item = RecordBlock<'_>> {
        let firsts = |start: u32| (0..).map(move |block: u32| start + block * BLOCK_ACCOUNTS);
        let image = self.image_records.chunks_mut(CHUNK_ITEMS * RECORD_BYTES);
        let blocks = &self.image_blocks;
        let image = image.map(move |bytes| BlockRecords::Image(bytes, blocks)).zip(firsts(0));
        let new = self.new_records.chunks_mut().map(BlockRecords::New);
        let new = new.zip(firsts(self.image_count));
        image.chain(new).map(|(records, first_id)| RecordBlock { first_id, records })
    }

    /// The record of an account that exists.
    #[inline]
    pub(crate) fn live(&self, id: u32) -> Option<&[u8]> {
        self.record(id).filter(|record| !record.is_removed())
    }

    /// The name of an account that exists; `None` too where a damaged image has no such name.
    pub(crate) fn name(&self, id: u32) -> Option<&str> {
        let record = self.live(id)?;
        std::str::from_utf8(self.name_of(record)?).ok()
    }

    #[inline]
    fn name_of<'a>(&'a self, record: &'a [u8]) -> Option<&'a [u8]> {
        let name_bytes = record.name_bytes();
        if name_bytes <= INLINE_NAME_BYTES {
            return record.get(NAME_OFFSET..NAME_OFFSET + name_bytes);
        }
        let (names_start, names_end) = self.image_names;
        let image_name_bytes = (names_end - names_start) as u64;
        let offset_bytes = read_u64(record, NAME_OFFSET);
        if let Some(new_offset) = offset_bytes.checked_sub(image_name_bytes) {
            let start = usize::try_from(new_offset).ok()?;
            self.new_names.get(start..start.checked_add(name_bytes)?)
        } else {
            let names = &self.image_index[names_start..names_end];
            let start = offset_bytes as usize;
            let name = names.get(start..start.checked_add(name_bytes)?)?;
            let start = names_start + start;
            self.image_blocks.check(start, start + name_bytes).is_ok().then_some(name)
        }
    }

    /// Whether the name of an account is as it was written. Errors: `Corrupt`.
    pub(crate) fn check_name(&self, id: u32) -> Result<()> {
        self.check(id)?;
        let Some(record) = self.record(id).filter(|_| id < self.image_count) else {
            return Ok(());
        };
        if record.name_bytes() <= INLINE_NAME_BYTES {
            return Ok(());
        }
        let (names_start, names_end) = self.image_names;
        let start = names_start.saturating_add(read_u64(record, NAME_OFFSET) as usize);
        let end = start.saturating_add(record.name_bytes()).min(names_end);
        self.image_blocks.check(start.min(end), end)
    }

    #[inline]
    fn is_named(&self, id: u32, name: &str) -> bool {
        let Some(record) = self.live(id) else {
            return false;
        };
        if record.name_bytes() != name.len() {
            return false;
        }
        let prefix = NAME_OFFSET + 8..RECORD_BYTES;
        let may_be = name.len() <= INLINE_NAME_BYTES
            || record[prefix] == name.as_bytes()[..NAME_PREFIX_BYTES];
        may_be && self.name_of(record) == Some(name.as_bytes())
    }

    #[inline]
    fn image_buckets(&self) -> &[u8] {
        &self.image_index[self.image_index_range.0..self.image_index_range.1]
    }

    #[inline]
    fn bucket_holds(&self, place: usize) -> bool {
        self.image_blocks.holds_at(self.image_index_range.0 + place)
    }

    /// The id of a name; `None` also where what it takes to find it is damaged, which
    /// [`find`](Accounts::find) and [`check_absence`](Accounts::check_absence) tell apart.
    /// Cost: one hash, one bucket, one record.
    pub(crate) fn lookup(&self, name: &str) -> Option<u32> {
        self.lookup_hashed(name, self.identity.name_hash(name))
    }

    /// The same, for who relies on it that there is no such name. Errors: `Corrupt`.
    pub(crate) fn find(&self, name: &str) -> Result<Option<u32>> {
        match self.lookup(name) {
            Some(id) => Ok(Some(id)),
            None => self.check_absence(name).map(|()| None),
        }
    }

    fn lookup_hashed(&self, name: &str, hash: u64) -> Option<u32> {
        let holds = |place| self.bucket_holds(place);
        index::find(self.image_buckets(), hash, holds, |id| self.is_named(id, name))
            .or_else(|| index::find(&self.new_index, hash, |_| true, |id| self.is_named(id, name)))
    }

    /// Whether a name that was not found was not there: nothing that was looked at is damaged.
    /// Errors: `Corrupt`.
    pub(crate) fn check_absence(&self, name: &str) -> Result<()> {
        if !self.image_blocks.are_damaged() {
            return Ok(());
        }
        let damage = Cell::new(None);
        let holds = |found: Result<()>| {
            let holds = found.is_ok();
            if let Err(error) = found {
                damage.set(Some(error));
            }
            holds
        };
        let bucket_holds = |place| {
            let start = self.image_index_range.0 + place;
            holds(self.image_blocks.check(start, start + index::BUCKET_BYTES))
        };
        let is_it = |id: u32| {
            holds(if id < self.len() { self.check_name(id) } else { Ok(()) });
            false
        };
        index::find(self.image_buckets(), self.identity.name_hash(name), bucket_holds, is_it);
        damage.into_inner().map_or(Ok(()), Err)
    }

    /// Looks up to [`BATCH`] names up together: hashes them all and asks for their buckets, then
    /// reads the buckets and asks for the records, then compares. Each stage's cache misses
    /// overlap, which is what makes a batch faster than its names one by one.
    pub(crate) fn lookup_batch<S: AsRef<str>>(&self, names: &[S], ids: &mut [Option<u32>; BATCH]) {
        assert!(names.len() <= BATCH, "the caller splits longer batches");
        self.lookup_in_step(names, &mut [0; BATCH], ids);
    }

    /// The same for two names.
    pub(crate) fn lookup_pair(&self, names: [&str; 2]) -> [Option<u32>; 2] {
        let mut ids = [None; 2];
        self.lookup_in_step(&names, &mut [0; 2], &mut ids);
        ids
    }

    #[inline]
    fn lookup_in_step<S: AsRef<str>>(
        &self,
        names: &[S],
        hashes: &mut [u64],
        ids: &mut [Option<u32>],
    ) {
        let buckets = self.image_buckets();
        for (hash, name) in hashes.iter_mut().zip(names) {
            *hash = self.identity.name_hash(name.as_ref());
            index::prefetch_bucket(buckets, *hash);
            if !self.new_index.is_empty() {
                index::prefetch_bucket(&self.new_index, *hash);
            }
        }
        for (id, hash) in ids.iter_mut().zip(&hashes[..names.len()]) {
            *id = index::find(buckets, *hash, |place| self.bucket_holds(place), |_| true)
                .or_else(|| index::find(&self.new_index, *hash, |_| true, |_| true));
            if let Some(id) = *id {
                self.prefetch_record(id);
            }
        }
        for ((id, hash), name) in ids.iter_mut().zip(&*hashes).zip(names) {
            let name = name.as_ref();
            // A slot that only looked like the name (or whose account is gone) is rare; then the
            // search is done again with the names compared.
            if id.is_some_and(|id| !self.is_named(id, name)) {
                *id = self.lookup_hashed(name, *hash);
            }
        }
    }

    #[inline]
    pub(crate) fn prefetch_record(&self, id: u32) {
        if id < self.image_count {
            prefetch(&self.image_records, id as usize * RECORD_BYTES);
        } else if let Some(record) = self.record(id) {
            prefetch(record, 0);
        }
    }

    /// Whether another id can be given.
    pub(crate) fn has_room(&self) -> bool {
        self.len() < ACCOUNT_COUNT_MAX - 1
    }

    /// Gives the next id to a name that no account has.
    pub(crate) fn add(&mut self, name: &str, foreign: bool) -> u32 {
        let id = self.len();
        let hash = self.identity.name_hash(name);
        let image_name_bytes = (self.image_names.1 - self.image_names.0) as u64;
        let record =
            AccountRecord::new(name, foreign, image_name_bytes + self.new_names.len() as u64);
        if name.len() > INLINE_NAME_BYTES {
            self.new_names.extend_from_slice(name.as_bytes());
        }
        self.new_records.push(record);
        self.new_hashes.push(hash);
        self.make_room_in_new_index();
        index::insert(&mut self.new_index, hash, id);
        id
    }

    /// Marks an account as gone. Its id is never given again; its name is free.
    pub(crate) fn remove(&mut self, id: u32) {
        self.record_mut(id).copy_from_slice(&AccountRecord::removed().0);
    }

    fn make_room_in_new_index(&mut self) {
        let needed_bytes =
            index::bucket_count(self.new_hashes.len() as u64) as usize * index::BUCKET_BYTES;
        if needed_bytes <= self.new_index.len() {
            return;
        }
        let mut larger = vec![0u8; needed_bytes.next_power_of_two()];
        // The new account itself is inserted by the caller.
        let older = &self.new_hashes[..self.new_hashes.len() - 1];
        for (new, hash) in older.iter().enumerate() {
            let id = self.image_count + new as u32;
            // Accounts that are gone are left out, or churn would fill the index.
            if self.live(id).is_some() {
                index::insert(&mut larger, *hash, id);
            }
        }
        self.new_index = larger;
    }

    /// Bytes on the heap for what was added since the image.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.new_records.heap_bytes()
            + self.new_hashes.capacity() * 8
            + self.new_index.len()
            + self.new_names.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        Accounts::empty(Identity { graph_id: [1; 16], key: [7; 16] })
    }

    #[test]
    fn names_of_every_length_come_back() {
        let mut accounts = accounts();
        let names: Vec<String> = (1..=255).map(|length| format!("{length:x<length$}")).collect();
        for (expected, name) in names.iter().enumerate() {
            assert_eq!(accounts.lookup(name), None);
            assert_eq!(accounts.add(name, false) as usize, expected);
        }
        for (expected, name) in names.iter().enumerate() {
            assert_eq!(accounts.lookup(name), Some(expected as u32));
            assert_eq!(accounts.name(expected as u32), Some(name.as_str()));
        }
    }

    #[test]
    fn a_batch_finds_what_single_lookups_find() {
        let mut accounts = accounts();
        for number in 0..20_000 {
            accounts.add(&format!("user{number}"), false);
        }
        accounts.remove(5);
        let again = accounts.add("user5", false);
        let names: Vec<String> = (0..BATCH).map(|n| format!("user{}", n * 700)).collect();
        let mut ids = [None; BATCH];
        accounts.lookup_batch(&names, &mut ids);
        for (name, id) in names.iter().zip(ids) {
            assert_eq!(id, accounts.lookup(name), "{name}");
        }
        accounts.lookup_batch(&["user5"], &mut ids);
        assert_eq!(ids[0], Some(again));
        assert_eq!(accounts.name(5), None);
    }

    #[test]
    fn a_full_or_empty_index_ends_the_search() {
        let full = vec![0xff; 2 * index::BUCKET_BYTES];
        assert_eq!(index::find(&full, u64::MAX, |_| true, |_| false), None);
        assert_eq!(index::find(&[], 1, |_| true, |_| true), None);
    }
}
