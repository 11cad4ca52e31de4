//! The floor: the least that any program must do to find counts by name.

use followgraph::Counts;
use prefetch_index::prefetch_index;
use siphasher::sip::SipHasher13;

const KEY: [u8; 16] = *b"the bench's key.";
const NAME_BYTES_MAX: usize = 51;
/// How many names are looked up in step.
const BATCH: usize = 32;

/// The bare arrays: a keyed hash, a tagged slot, a record of one cache line, and no more. No locks,
/// no changes, no errors. It asks for the slots of a batch and then for its records before it reads
/// the first, so that their cache misses overlap.
pub(crate) struct Floor {
    /// `tag << 32 | id + 1`; 0 is empty. Half of them are.
    pub(crate) slots: Vec<u64>,
    pub(crate) records: Vec<Record>,
}

#[derive(Clone, Copy)]
#[repr(align(64))]
pub(crate) struct Record {
    pub(crate) counts: Counts,
    name_bytes: u8,
    name: [u8; NAME_BYTES_MAX],
}

const _: () = assert!(size_of::<Record>() == 64);

impl Record {
    fn new(name: &str, counts: Counts) -> Record {
        assert!(name.len() <= NAME_BYTES_MAX, "the floor has no room for the name {name:?}");
        let mut record = Record { counts, name_bytes: name.len() as u8, name: [0; NAME_BYTES_MAX] };
        record.name[..name.len()].copy_from_slice(name.as_bytes());
        record
    }

    pub(crate) fn has_name(&self, name: &str) -> bool {
        let own = self.name.get(..usize::from(self.name_bytes));
        own.is_some_and(|own| own == name.as_bytes())
    }
}

pub(crate) fn hash(name: &str) -> u64 {
    SipHasher13::new_with_key(&KEY).hash(name.as_bytes())
}

impl Floor {
    pub(crate) fn new(names: &[String], counts: &[Counts]) -> Floor {
        let records: Vec<Record> =
            names.iter().zip(counts).map(|(name, &counts)| Record::new(name, counts)).collect();
        let mut floor = Floor { slots: vec![0; names.len() * 2], records };
        for (id, name) in names.iter().enumerate() {
            let hash = hash(name);
            let mut place = floor.home(hash);
            while floor.slots[place] != 0 {
                place = floor.after(place);
            }
            floor.slots[place] = (hash & 0xffff_ffff) << 32 | (id as u64 + 1);
        }
        floor
    }

    pub(crate) fn home(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.slots.len() as u128) >> 64) as usize
    }

    pub(crate) fn after(&self, place: usize) -> usize {
        if place + 1 == self.slots.len() { 0 } else { place + 1 }
    }

    /// The first place from `place` on whose slot may be that of `hash`, and its id.
    pub(crate) fn next_like(&self, hash: u64, mut place: usize) -> Option<(usize, usize)> {
        while self.slots[place] != 0 {
            if self.slots[place] >> 32 == hash & 0xffff_ffff {
                return Some((place, self.slots[place] as u32 as usize - 1));
            }
            place = self.after(place);
        }
        None
    }

    /// The counts of many accounts, `None` for an unknown name.
    pub(crate) fn batch_counts_into(&self, names: &[&str], results: &mut Vec<Option<Counts>>) {
        results.clear();
        for names in names.chunks(BATCH) {
            let mut hashes = [0u64; BATCH];
            let mut found = [None; BATCH];
            for (hashed, name) in hashes.iter_mut().zip(names) {
                *hashed = hash(name);
                prefetch_index(&self.slots, self.home(*hashed));
            }
            for (found, &hash) in found.iter_mut().zip(&hashes[..names.len()]) {
                *found = self.next_like(hash, self.home(hash));
                if let Some((_, id)) = found {
                    prefetch_index(&self.records, *id);
                }
            }
            for ((name, &hash), &found) in names.iter().zip(&hashes).zip(&found) {
                results.push(self.resolve(name, hash, found));
            }
        }
    }

    fn resolve(&self, name: &str, hash: u64, mut found: Option<(usize, usize)>) -> Option<Counts> {
        while let Some((place, id)) = found {
            if self.records[id].has_name(name) {
                return Some(self.records[id].counts);
            }
            found = self.next_like(hash, self.after(place));
        }
        None
    }

    /// The counts of many accounts by their positions.
    pub(crate) fn batch_counts_by_id_into(&self, ids: &[u32], results: &mut Vec<Option<Counts>>) {
        for &id in ids {
            prefetch_index(&self.records, id as usize);
        }
        results.clear();
        results.extend(ids.iter().map(|&id| Some(self.records.get(id as usize)?.counts)));
    }
}
