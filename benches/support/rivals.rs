//! What the engine is measured against: the least that any program must do, and what anybody would
//! write first. Both answer the same questions with the same answers.

use followgraph::Counts;
use roaring::RoaringBitmap;
use siphasher::sip::SipHasher13;
use std::collections::HashMap;
use std::hint::black_box;

const KEY: [u8; 16] = *b"the bench's key.";
const NAME_BYTES_MAX: usize = 51;
/// How many names are looked up in step.
const BATCH: usize = 32;

/// The bare arrays: a keyed hash, a tagged slot, a record of one cache line, and no more. No locks,
/// no changes, no errors. Its reads go in phases so that cache misses overlap, as far as that goes
/// without asking for lines in advance.
pub(crate) struct Floor {
    /// `tag << 32 | id + 1`; 0 is empty. Half of them are.
    slots: Vec<u64>,
    records: Vec<Record>,
}

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Record {
    counts: [u32; 3],
    name_bytes: u8,
    name: [u8; NAME_BYTES_MAX],
}

const _: () = assert!(size_of::<Record>() == 64);

impl Record {
    fn has_name(&self, name: &str) -> bool {
        let own = self.name.get(..usize::from(self.name_bytes));
        own.is_some_and(|own| own == name.as_bytes())
    }

    fn counts(&self) -> Counts {
        let [followers, following, mutual] = self.counts;
        Counts { followers, following, mutual }
    }
}

fn hash(name: &str) -> u64 {
    SipHasher13::new_with_key(&KEY).hash(name.as_bytes())
}

impl Floor {
    /// Lays out the names and the counts of `naive`.
    pub(crate) fn new(names: &[String], naive: &Naive) -> Floor {
        let records: Vec<Record> =
            names.iter().zip(&naive.accounts).map(|(name, account)| account.record(name)).collect();
        let mut floor = Floor { slots: vec![0; names.len() * 2], records };
        for (id, name) in names.iter().enumerate() {
            let hash = hash(name);
            let mut slot = floor.home(hash);
            while floor.slots[slot] != 0 {
                slot = floor.after(slot);
            }
            floor.slots[slot] = (hash & 0xffff_ffff) << 32 | (id as u64 + 1);
        }
        floor
    }

    fn home(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.slots.len() as u128) >> 64) as usize
    }

    fn after(&self, slot: usize) -> usize {
        if slot + 1 == self.slots.len() { 0 } else { slot + 1 }
    }

    /// The counts of many accounts, `None` for an unknown name.
    pub(crate) fn batch_counts_into(&self, names: &[&str], results: &mut Vec<Option<Counts>>) {
        results.clear();
        for names in names.chunks(BATCH) {
            let mut hashes = [0u64; BATCH];
            let mut slots = [0u64; BATCH];
            let mut words = [0u32; BATCH];
            for (hashed, name) in hashes.iter_mut().zip(names) {
                *hashed = hash(name);
            }
            for (slot, hash) in slots.iter_mut().zip(&hashes[..names.len()]) {
                *slot = self.slots[self.home(*hash)];
            }
            for (word, slot) in words.iter_mut().zip(&slots[..names.len()]) {
                let record = self.records.get((*slot as u32).wrapping_sub(1) as usize);
                *word = record.map_or(0, |record| record.counts[0]);
            }
            black_box(&words);
            for (place, name) in names.iter().enumerate() {
                results.push(self.resolve(hashes[place], slots[place], name));
            }
        }
    }

    fn resolve(&self, hash: u64, first_slot: u64, name: &str) -> Option<Counts> {
        let (mut slot, mut place) = (first_slot, self.home(hash));
        while slot != 0 {
            if slot >> 32 == hash & 0xffff_ffff {
                let record = &self.records[(slot as u32 - 1) as usize];
                if record.has_name(name) {
                    return Some(record.counts());
                }
            }
            place = self.after(place);
            slot = self.slots[place];
        }
        None
    }

    /// The counts of many accounts by their positions.
    pub(crate) fn batch_counts_by_id_into(&self, ids: &[u32], results: &mut Vec<Option<Counts>>) {
        results.clear();
        results.extend(ids.iter().map(|&id| self.records.get(id as usize).map(Record::counts)));
    }
}

/// The program anybody would write first: a map from names to positions, and two bitmaps an
/// account.
pub(crate) struct Naive {
    ids: HashMap<String, u32>,
    pub(crate) accounts: Vec<Account>,
}

/// The sets of one account.
#[derive(Clone, Default)]
pub(crate) struct Account {
    pub(crate) followers: RoaringBitmap,
    pub(crate) following: RoaringBitmap,
}

impl Account {
    fn counts(&self) -> Counts {
        Counts {
            followers: self.followers.len() as u32,
            following: self.following.len() as u32,
            mutual: self.followers.intersection_len(&self.following) as u32,
        }
    }

    fn record(&self, name: &str) -> Record {
        assert!(name.len() <= NAME_BYTES_MAX, "the floor has no room for the name {name:?}");
        let Counts { followers, following, mutual } = self.counts();
        let mut record = Record {
            counts: [followers, following, mutual],
            name_bytes: name.len() as u8,
            name: [0; NAME_BYTES_MAX],
        };
        record.name[..name.len()].copy_from_slice(name.as_bytes());
        record
    }
}

impl Naive {
    /// Inserts every follow into both of its sets.
    pub(crate) fn new(names: &[String], follows: &[(u32, u32)]) -> Naive {
        let mut accounts = vec![Account::default(); names.len()];
        for &(from, to) in follows {
            accounts[from as usize].following.insert(to);
            accounts[to as usize].followers.insert(from);
        }
        let ids = names.iter().enumerate().map(|(id, name)| (name.clone(), id as u32)).collect();
        Naive { ids, accounts }
    }

    fn account(&self, name: &str) -> Option<&Account> {
        self.ids.get(name).map(|&id| &self.accounts[id as usize])
    }

    /// The counts of an account, `None` for an unknown name.
    pub(crate) fn counts(&self, name: &str) -> Option<Counts> {
        self.account(name).map(Account::counts)
    }

    /// The counts of many accounts.
    pub(crate) fn batch_counts_into(&self, names: &[&str], results: &mut Vec<Option<Counts>>) {
        results.clear();
        results.extend(names.iter().map(|name| self.counts(name)));
    }

    /// Of the accounts `viewer` follows, how many follow each target.
    pub(crate) fn known_followers(&self, viewer: &str, targets: &[&str]) -> Vec<Option<u64>> {
        let Some(viewer) = self.account(viewer) else {
            return vec![None; targets.len()];
        };
        let known = |target: &&str| {
            let target = self.account(target)?;
            Some(viewer.following.intersection_len(&target.followers))
        };
        targets.iter().map(known).collect()
    }
}
