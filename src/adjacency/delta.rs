//! What changed in one list since the image.
//!
//! Most lists see a handful of changes between two checkpoints: those are one small sorted array.
//! A list that sees many is promoted to bitmaps, a table of keys and a tree of their order, so that
//! no change costs more than the logarithm of their number and a celebrity's set is never copied.
//! Nearly every edge that is added is the newest of its list, and the costs are laid out for that:
//! one look into the table says that it is not there, and it goes to the hot end of the tree.

use super::EdgeKey;
use crate::storage::prefetch_value;
use roaring::RoaringBitmap;
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, btree_set};
use std::hash::{BuildHasherDefault, Hasher};
use std::iter::Rev;

/// A delta of more changes than this is a large one. Small ones are searched as a whole, so they
/// are a few cache lines.
pub(super) const DELTA_SMALL_MAX: usize = 32;

/// A large delta takes about this many bytes for an added edge.
const LARGE_ADDED_BYTES: usize = 50;
/// The bitmap of a large delta takes at most about this many bytes for a hidden id.
const LARGE_HIDDEN_BYTES: usize = 4;

/// What a delta says of one id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EdgeState {
    /// The image decides.
    Untouched,
    /// The edge is here, with a key that the image does not have.
    Added,
    /// The image has the edge, but it is gone.
    Removed,
}

/// The changes of one list since the image.
#[derive(Clone, Default)]
pub(crate) struct ListDelta {
    changes: Changes,
}

#[derive(Clone, Default)]
enum Changes {
    #[default]
    None,
    /// Most deltas never see a second change, so the first one needs no memory of its own.
    One(Change),
    /// Strictly ascending ids.
    Small(Vec<Change>),
    Large(Box<Large>),
}

/// A delta as its readers see it.
enum View<'a> {
    Small(&'a [Change]),
    Large(&'a Large),
}

/// One changed id: an edge that was added, an edge of the image that is hidden, or both.
#[derive(Clone, Copy)]
pub(super) struct Change {
    key: EdgeKey,
    is_added: bool,
    is_hidden: bool,
}

#[derive(Clone, Default)]
struct Large {
    /// The ids of the added edges, to walk them in order.
    added: RoaringBitmap,
    /// Time and tie of the added edges, by id.
    keys: Keys,
    by_key: BTreeSet<EdgeKey>,
    /// The edges of the image that are gone, added again or not.
    hidden: RoaringBitmap,
    hidden_len: u32,
}

/// Time and tie by id.
type Keys = HashMap<u32, (u32, u32), BuildHasherDefault<IdHasher>>;

/// Spreads ids, which this crate gives out itself, so nobody can choose them to collide.
#[derive(Clone, Copy, Default)]
pub(super) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u32(u32::from(byte));
        }
    }

    /// The table takes its places from both ends of a hash, so the halves of the product are mixed.
    fn write_u32(&mut self, id: u32) {
        let product = (self.0 ^ u64::from(id)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = product ^ product >> 32;
    }
}

impl ListDelta {
    /// Adds an edge to a list that does not contain it now. One that was added already stays as it
    /// is.
    pub(crate) fn add(&mut self, key: EdgeKey) {
        match &mut self.changes {
            Changes::Large(large) => {
                if let Entry::Vacant(place) = large.keys.entry(key.id) {
                    place.insert((key.at, key.tie));
                    large.added.insert(key.id);
                    large.by_key.insert(key);
                }
            }
            Changes::None | Changes::One(_) | Changes::Small(_) => match self.find_mut(key.id) {
                Ok(found) if found.is_added => {}
                Ok(found) => (found.key, found.is_added) = (key, true),
                Err(place) => {
                    self.insert(place, Change { key, is_added: true, is_hidden: false });
                }
            },
        }
    }

    /// Removes an edge from a list that contains it now: an added one goes, one of the image is
    /// hidden. One that was removed already stays so.
    pub(crate) fn remove(&mut self, id: u32) {
        match &mut self.changes {
            Changes::Large(large) => {
                if let Some((at, tie)) = large.keys.remove(&id) {
                    large.added.remove(id);
                    large.by_key.remove(&EdgeKey { at, tie, id });
                } else if large.hidden.insert(id) {
                    large.hidden_len += 1;
                }
            }
            Changes::None | Changes::One(_) | Changes::Small(_) => match self.find_mut(id) {
                Ok(found) if found.is_hidden => found.is_added = false,
                Ok(_) => self.forget(id),
                Err(place) => {
                    let key = EdgeKey { at: 0, tie: 0, id };
                    self.insert(place, Change { key, is_added: false, is_hidden: true });
                }
            },
        }
    }

    /// Asks for the memory a change is looked for in first.
    pub(crate) fn prefetch(&self) {
        match &self.changes {
            Changes::None | Changes::One(_) => {}
            Changes::Small(changes) => {
                // Each cache line holds four changes.
                changes.iter().step_by(4).for_each(prefetch_value);
            }
            Changes::Large(large) => prefetch_value(large.as_ref()),
        }
    }

    fn view(&self) -> View<'_> {
        match &self.changes {
            Changes::None => View::Small(&[]),
            Changes::One(change) => View::Small(std::slice::from_ref(change)),
            Changes::Small(changes) => View::Small(changes),
            Changes::Large(large) => View::Large(large),
        }
    }

    /// The change of an id in a small delta, or the place where it belongs.
    fn find_mut(&mut self, id: u32) -> Result<&mut Change, usize> {
        let changes: &mut [Change] = match &mut self.changes {
            Changes::None | Changes::Large(_) => &mut [],
            Changes::One(change) => std::slice::from_mut(change),
            Changes::Small(changes) => changes,
        };
        find(changes, id).map(|found| &mut changes[found])
    }

    /// Takes a change that is no longer one out of a small delta.
    fn forget(&mut self, id: u32) {
        match &mut self.changes {
            Changes::None | Changes::Large(_) => {}
            Changes::One(_) => self.changes = Changes::None,
            Changes::Small(changes) => changes.retain(|change| change.key.id != id),
        }
    }

    /// Puts a change into a small delta: the one place where a delta changes its shape.
    fn insert(&mut self, place: usize, change: Change) {
        match &mut self.changes {
            Changes::None => self.changes = Changes::One(change),
            Changes::One(first) => {
                let mut changes = Vec::with_capacity(4);
                changes.push(*first);
                changes.insert(place, change);
                self.changes = Changes::Small(changes);
            }
            Changes::Small(changes) => {
                changes.insert(place, change);
                if DELTA_SMALL_MAX < changes.len() {
                    self.changes = Changes::Large(Box::new(Large::new(changes)));
                }
            }
            Changes::Large(_) => {}
        }
    }

    /// O(log n) of the changes.
    pub(crate) fn state(&self, id: u32) -> EdgeState {
        let (is_added, is_hidden) = match self.view() {
            View::Small(changes) => find(changes, id).map_or((false, false), |found| {
                (changes[found].is_added, changes[found].is_hidden)
            }),
            View::Large(large) => (large.keys.contains_key(&id), large.hides(id)),
        };
        match (is_added, is_hidden) {
            (true, _) => EdgeState::Added,
            (false, true) => EdgeState::Removed,
            (false, false) => EdgeState::Untouched,
        }
    }

    /// Whether the edge the image has is gone, whatever came in its place.
    pub(super) fn hides(&self, id: u32) -> bool {
        match self.view() {
            View::Small(changes) => find(changes, id).is_ok_and(|found| changes[found].is_hidden),
            View::Large(large) => large.hides(id),
        }
    }

    /// The tie of an edge that is added at this time, where the image has nothing as new.
    pub(crate) fn next_tie(&self, at: u32) -> u32 {
        self.max_tie(at).map_or(0, |largest| largest.saturating_add(1))
    }

    /// The largest tie among the added edges of this time.
    pub(crate) fn max_tie(&self, at: u32) -> Option<u32> {
        match self.view() {
            View::Small(changes) => {
                let added = changes.iter().filter(|change| change.is_added && change.key.at == at);
                added.map(|change| change.key.tie).max()
            }
            View::Large(large) => {
                // The clock never goes back, so the newest edge nearly always answers.
                let newest = large.by_key.last()?;
                if newest.at <= at {
                    return (newest.at == at).then_some(newest.tie);
                }
                let lowest = EdgeKey { at, tie: 0, id: 0 };
                let highest = EdgeKey { at, tie: u32::MAX, id: u32::MAX };
                large.by_key.range(lowest..=highest).next_back().map(|key| key.tie)
            }
        }
    }

    /// How many edges were added, those added again among them.
    pub(crate) fn added_len(&self) -> u32 {
        match self.view() {
            View::Small(changes) => changes.iter().map(|change| u32::from(change.is_added)).sum(),
            View::Large(large) => large.keys.len() as u32,
        }
    }

    /// How many edges of the image are gone, those added again among them.
    pub(crate) fn removed_len(&self) -> u32 {
        match self.view() {
            View::Small(changes) => changes.iter().map(|change| u32::from(change.is_hidden)).sum(),
            View::Large(large) => large.hidden_len,
        }
    }

    /// Whether the list is as the image has it.
    pub(crate) fn is_empty(&self) -> bool {
        match self.view() {
            View::Small(changes) => changes.is_empty(),
            View::Large(large) => large.keys.is_empty() && large.hidden_len == 0,
        }
    }

    /// About how much memory the delta owns; O(1).
    pub(crate) fn heap_bytes(&self) -> usize {
        match &self.changes {
            Changes::None | Changes::One(_) => 0,
            Changes::Small(changes) => changes.capacity() * size_of::<Change>(),
            Changes::Large(large) => {
                let added = large.keys.len() * LARGE_ADDED_BYTES;
                size_of::<Large>() + added + large.hidden_len as usize * LARGE_HIDDEN_BYTES
            }
        }
    }

    /// The ids of the added edges in ascending order.
    pub(super) fn added_ids(&self) -> AddedIds<'_> {
        match self.view() {
            View::Small(changes) => AddedIds::Small(changes.iter()),
            View::Large(large) => AddedIds::Large { ids: large.added.iter(), keys: &large.keys },
        }
    }

    /// Every id of which the delta says something, in no order.
    pub(super) fn touched_ids(&self) -> impl Iterator<Item = u32> + '_ {
        let (small, large) = match self.view() {
            View::Small(changes) => (Some(changes), None),
            View::Large(large) => (None, Some(large)),
        };
        let hidden = large
            .into_iter()
            .flat_map(|large| large.hidden.iter().filter(|id| !large.keys.contains_key(id)));
        let added = large.into_iter().flat_map(|large| large.added.iter());
        small.into_iter().flatten().map(|change| change.key.id).chain(added).chain(hidden)
    }

    /// The added edges below `below`, newest first.
    pub(super) fn newest(&self, below: Option<EdgeKey>) -> AddedNewest<'_> {
        match self.view() {
            View::Small(changes) => AddedNewest::Small { changes, below },
            View::Large(large) => AddedNewest::Large(match below {
                None => large.by_key.range(..).rev(),
                Some(below) => large.by_key.range(..below).rev(),
            }),
        }
    }
}

fn find(changes: &[Change], id: u32) -> Result<usize, usize> {
    changes.binary_search_by_key(&id, |change| change.key.id)
}

impl Large {
    #[inline]
    fn hides(&self, id: u32) -> bool {
        self.hidden_len != 0 && self.hidden.contains(id)
    }

    fn new(changes: &[Change]) -> Large {
        let added = || changes.iter().filter(|change| change.is_added).map(|change| change.key);
        let hidden = changes.iter().filter(|change| change.is_hidden).map(|change| change.key.id);
        let hidden: RoaringBitmap = hidden.collect();
        Large {
            added: added().map(|key| key.id).collect(),
            keys: added().map(|key| (key.id, (key.at, key.tie))).collect(),
            by_key: added().collect(),
            hidden_len: hidden.len() as u32,
            hidden,
        }
    }
}

/// The added edges of a delta in ascending order of their ids.
#[derive(Clone)]
pub(super) enum AddedIds<'a> {
    Small(std::slice::Iter<'a, Change>),
    Large { ids: roaring::bitmap::Iter<'a>, keys: &'a Keys },
}

impl Iterator for AddedIds<'_> {
    type Item = EdgeKey;

    fn next(&mut self) -> Option<EdgeKey> {
        match self {
            AddedIds::Small(changes) => {
                changes.find(|change| change.is_added).map(|change| change.key)
            }
            AddedIds::Large { ids, keys } => {
                let id = ids.next()?;
                keys.get(&id).map(|&(at, tie)| EdgeKey { at, tie, id })
            }
        }
    }
}

/// The added edges of a delta, newest first.
#[derive(Clone)]
pub(super) enum AddedNewest<'a> {
    /// So few changes are faster searched again for each step than sorted.
    Small {
        changes: &'a [Change],
        below: Option<EdgeKey>,
    },
    Large(Rev<btree_set::Range<'a, EdgeKey>>),
}

impl Iterator for AddedNewest<'_> {
    type Item = EdgeKey;

    fn next(&mut self) -> Option<EdgeKey> {
        match self {
            AddedNewest::Small { changes, below } => {
                let added = changes.iter().filter(|change| change.is_added);
                let keys = added.map(|change| change.key);
                let next = keys.filter(|key| below.is_none_or(|below| *key < below)).max();
                // At the end the cursor stays where it is, so the iterator stays at its end.
                *below = next.or(*below);
                next
            }
            AddedNewest::Large(keys) => keys.next().copied(),
        }
    }
}
