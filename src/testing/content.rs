//! The content of a simulated file: as a process sees it, as it is on disk, and what lies between.

use super::disk::Remains;
use std::collections::BTreeMap;

/// How many earlier contents of a sector are kept that the kernel may have written in between.
const VERSIONS_MAX: usize = 8;

/// Numbers from a seed.
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Chance {
        Chance(seed)
    }

    /// The next number, by the generator called splitmix64.
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below a bound above zero.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// The content of a file.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    seen: Vec<u8>,
    on_disk: Vec<u8>,
    /// The sectors that were changed since the last sync, with what they held in between.
    changed: BTreeMap<usize, Vec<Vec<u8>>>,
    /// The lengths the file had since the last sync.
    lengths: Vec<usize>,
}

impl Content {
    /// A new file of zeros, none of which is on disk.
    pub(super) fn new(len_bytes: usize) -> Content {
        Content { seen: vec![0; len_bytes], lengths: vec![0], ..Content::default() }
    }

    /// What a process sees.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.seen
    }

    pub(super) fn write(&mut self, offset_bytes: usize, bytes: &[u8], sector_bytes: usize) {
        let end_bytes = offset_bytes + bytes.len();
        if end_bytes > self.seen.len() {
            self.lengths.push(self.seen.len());
            self.seen.resize(end_bytes, 0);
        }
        self.touch(offset_bytes, end_bytes, sector_bytes);
        self.seen[offset_bytes..end_bytes].copy_from_slice(bytes);
    }

    pub(super) fn resize(&mut self, len_bytes: usize, sector_bytes: usize) {
        let old_bytes = self.seen.len();
        if len_bytes == old_bytes {
            return;
        }
        self.lengths.push(old_bytes);
        self.touch(len_bytes.min(old_bytes), old_bytes, sector_bytes);
        self.seen.resize(len_bytes, 0);
    }

    /// Notes what the sectors of a range hold before they change.
    fn touch(&mut self, start_bytes: usize, end_bytes: usize, sector_bytes: usize) {
        for sector in start_bytes / sector_bytes..end_bytes.div_ceil(sector_bytes) {
            let held = slice(&self.seen, sector, sector_bytes).to_vec();
            let versions = self.changed.entry(sector).or_default();
            if versions.len() < VERSIONS_MAX {
                versions.push(held);
            }
        }
    }

    pub(super) fn sync(&mut self, sector_bytes: usize) {
        self.on_disk.resize(self.seen.len(), 0);
        for sector in self.changed.keys() {
            let held = slice(&self.seen, *sector, sector_bytes);
            let start = (sector * sector_bytes).min(self.on_disk.len());
            self.on_disk[start..start + held.len()].copy_from_slice(held);
        }
        self.forget();
    }

    /// What was changed counts as written, and is not.
    pub(super) fn forget(&mut self) {
        self.changed.clear();
        self.lengths.clear();
    }

    /// What the power loss leaves.
    pub(super) fn left(
        &self,
        sector_bytes: usize,
        remains: Remains,
        chance: &mut Chance,
    ) -> Content {
        let bytes = match remains {
            Remains::Nothing => self.on_disk.clone(),
            Remains::Everything => self.seen.clone(),
            Remains::Seeded(_) => self.seeded(sector_bytes, chance),
        };
        Content { seen: bytes.clone(), on_disk: bytes, ..Content::default() }
    }

    fn seeded(&self, sector_bytes: usize, chance: &mut Chance) -> Vec<u8> {
        let mut lengths = self.lengths.clone();
        lengths.extend([self.seen.len(), self.on_disk.len()]);
        let mut left = self.on_disk.clone();
        left.resize(lengths[chance.below(lengths.len() as u64) as usize], 0);
        // How likely each fate is differs from one power loss to the next.
        let weights = [1 + chance.below(4), chance.below(4), chance.below(3), chance.below(3)];
        let total: u64 = weights.iter().sum();
        for (sector, versions) in &self.changed {
            let mut pick = chance.below(total);
            let fate = weights.iter().position(|&weight| {
                let is_it = pick < weight;
                pick = pick.saturating_sub(weight);
                is_it
            });
            let seen = slice(&self.seen, *sector, sector_bytes);
            let bytes = match fate {
                Some(0) => seen.to_vec(),
                Some(1) if !versions.is_empty() => {
                    versions[chance.below(versions.len() as u64) as usize].clone()
                }
                Some(2) => trashed(slice(&self.on_disk, *sector, sector_bytes), seen, chance),
                _ => continue,
            };
            let start = (sector * sector_bytes).min(left.len());
            let end = (start + bytes.len()).min(left.len());
            left[start..end].copy_from_slice(&bytes[..end - start]);
        }
        left
    }
}

/// The bytes of one sector that a file has.
fn slice(bytes: &[u8], sector: usize, sector_bytes: usize) -> &[u8] {
    let start = (sector * sector_bytes).min(bytes.len());
    &bytes[start..(start + sector_bytes).min(bytes.len())]
}

/// Garbage where a sector was being changed; the bytes before and behind are as they were.
fn trashed(old: &[u8], new: &[u8], chance: &mut Chance) -> Vec<u8> {
    let differs = |place: &usize| old.get(*place).copied().unwrap_or(0) != new[*place];
    let mut bytes = new.to_vec();
    let (first, last) = ((0..new.len()).find(differs), (0..new.len()).rfind(differs));
    if let (Some(first), Some(last)) = (first, last) {
        for byte in &mut bytes[first..=last] {
            *byte = chance.next() as u8;
        }
    }
    bytes
}
