//! Streams an image out, and recounts it on the way: the writer is the auditor.

use super::{IMAGE_HEADER_BYTES, ImageHeader, Position, SETS_START, Section, Totals};
use crate::accounts::{
    AccountRecord, INLINE_NAME_BYTES, RECORD_BYTES, index, set_being_removed, set_counts,
    set_sets_offset,
};
use crate::adjacency::{EdgeList, encode_sets};
use crate::blocks::{self, BlockHasher};
use crate::error::{Error, ErrorKind, Result};
use crate::format::Identity;
use crate::shards::{Shards, VirtualShard};
use crate::storage::OutputFile;
use crate::types::Counts;
use roaring::RoaringBitmap;

/// Writes one section through a buffer, counting and checksumming what passes.
struct SectionWriter {
    section: Section,
    hasher: crc32fast::Hasher,
    blocks: BlockHasher,
    buffer: Vec<u8>,
}

const SECTION_BUFFER_BYTES: usize = 1 << 20;

impl SectionWriter {
    fn new(offset_bytes: u64) -> SectionWriter {
        SectionWriter {
            section: Section { offset_bytes, ..Section::default() },
            hasher: crc32fast::Hasher::new(),
            blocks: BlockHasher::new(),
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
        self.blocks.update(&self.buffer);
        self.section.len_bytes += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Ends the section; the checksums of its blocks go behind those of the sections before it.
    fn finish(mut self, file: &mut dyn OutputFile, checksums: &mut Vec<u32>) -> Result<Section> {
        self.flush(file)?;
        self.section.crc = self.hasher.finalize();
        checksums.extend(self.blocks.finish());
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
    /// What a sharded graph keeps: its digests are recounted, and a difference is refused.
    pub(crate) shards: Option<&'a Shards>,
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
    being_removed: bool,
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
            being_removed: false,
            counts,
            sets_bytes: self.sets.len() - sets_start,
        });
        Ok(())
    }

    /// Says that the last account is being removed.
    fn mark_being_removed(&mut self) {
        let last = self.accounts.last_mut().expect("there is an account");
        last.being_removed = true;
        self.totals.being_removed_count += 1;
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
    /// Recounted; present where the graph is sharded.
    shards: Option<Shards>,
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
            shards: plan.shards.map(|shards| Shards::empty(shards.hosted.clone())),
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
        being_removed: bool,
        counts: Counts,
        following: &EdgeList,
        followers: &EdgeList,
    ) -> Result<()> {
        self.recount_shard(name, following, followers)?;
        let nothing = EncodedAccounts::new(self.plan.identity, 0);
        let mut single = std::mem::replace(&mut self.single, nothing);
        single.restart(self.next_id);
        let written =
            single.push(self.plan.foreign, name, counts, following, followers).and_then(|()| {
                if being_removed {
                    single.mark_being_removed();
                }
                self.append(&single)
            });
        self.single = single;
        written
    }

    /// Adds the next account to the digest of its shard, and holds it to what is hosted.
    fn recount_shard(
        &mut self,
        name: &str,
        following: &EdgeList,
        followers: &EdgeList,
    ) -> Result<()> {
        let Some(shards) = &mut self.shards else {
            return Ok(());
        };
        let (id, shard) = (self.next_id, VirtualShard::of(name));
        let foreign = self.plan.foreign.contains(id);
        if foreign == shards.hosted.contains(shard) {
            let message = format!("account {name:?} is not kept as the hosted shards say");
            return Err(Error::new(ErrorKind::AuditFailed, message)
                .expected(format!("foreign: {}", !foreign), format!("foreign: {foreign}")));
        }
        for &to in &following.ids {
            shards.digests.change_following(shard, id, to, 1);
        }
        for &from in &followers.ids {
            shards.digests.change_followers(shard, from, id, 1);
        }
        Ok(())
    }

    /// Writes the next accounts, which were encoded before.
    pub(crate) fn append(&mut self, encoded: &EncodedAccounts) -> Result<()> {
        assert!(encoded.first_id == self.next_id, "accounts are written in the order of their ids");
        assert!(encoded.identity == self.plan.identity, "the names are hashed with another key");
        self.totals.add(&encoded.totals);
        self.newest_at = self.newest_at.max(encoded.newest_at);
        if self.totals.account_count > self.plan.account_count {
            // The number is that of the image that is written anew, and may be wrong there.
            let error =
                Error::new(ErrorKind::AuditFailed, "there are more accounts than were counted");
            return Err(error.expected(self.plan.account_count, self.totals.account_count));
        }
        let (mut names, mut sets_offset) = (encoded.names.as_str(), self.sets.len_bytes());
        for account in &encoded.accounts {
            let (name, rest) = names.split_at(account.name_bytes);
            names = rest;
            let mut record = AccountRecord::new(name, account.foreign, self.names.len_bytes());
            if name.len() > INLINE_NAME_BYTES {
                self.names.write(self.file.as_mut(), name.as_bytes())?;
            }
            set_counts(&mut record.0, account.counts);
            if account.being_removed {
                set_being_removed(&mut record.0);
            }
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
        let mut checksums = Vec::new();
        let mut header = ImageHeader {
            identity: self.plan.identity,
            position: self.plan.position,
            id_count: self.plan.id_count,
            totals: self.totals,
            newest_at: self.newest_at,
            records: self.records.finish(file, &mut checksums)?,
            index: index_writer.finish(file, &mut checksums)?,
            names: self.names.finish(file, &mut checksums)?,
            sets: self.sets.finish(file, &mut checksums)?,
            shards: Section::default(),
            blocks: Section::default(),
        };
        if let Some(shards) = &self.shards {
            header.shards = write_shards(file, &header, shards, &mut checksums)?;
        }
        header.blocks = write_blocks(file, &header, &checksums)?;
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
        if self.plan.shards.is_some_and(|kept| self.shards.as_ref() != Some(kept)) {
            let message = "the digests of the shards differ from those the graph kept";
            return Err(Error::new(ErrorKind::AuditFailed, message));
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

/// Writes the shards behind the other sections.
fn write_shards(
    file: &mut dyn OutputFile,
    header: &ImageHeader,
    shards: &Shards,
    checksums: &mut Vec<u32>,
) -> Result<Section> {
    let offset_bytes = header.file_bytes().next_multiple_of(IMAGE_HEADER_BYTES);
    let mut section = SectionWriter::new(offset_bytes);
    section.write(file, &shards.encode())?;
    section.finish(file, checksums)
}

/// Writes the checksums of the blocks behind the sections. What lies between is zeros.
fn write_blocks(
    file: &mut dyn OutputFile,
    header: &ImageHeader,
    checksums: &[u32],
) -> Result<Section> {
    let table = blocks::encode_table(checksums, &header.blocks_seed());
    let offset_bytes = header.file_bytes().next_multiple_of(IMAGE_HEADER_BYTES);
    file.write_at(offset_bytes, &table)?;
    let len_bytes = table.len() as u64;
    Ok(Section { offset_bytes, len_bytes, crc: crc32fast::hash(&table) })
}

/// How many ids two strictly ascending slices share, by intersection of bitmaps: what a mutual
/// count is.
fn bitmap_intersection_len(a: &[u32], b: &[u32]) -> u64 {
    if a.is_empty() || b.is_empty() {
        return 0;
    }
    let bitmap =
        |ids: &[u32]| RoaringBitmap::from_sorted_iter(ids.iter().copied()).expect("the ids ascend");
    bitmap(a).intersection_len(&bitmap(b))
}
