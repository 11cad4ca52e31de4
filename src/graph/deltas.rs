//! What changed at each account since the image, in one table for each block of accounts: threads
//! that work on different blocks share nothing that changes, and what belongs to neighboring
//! accounts lies close together.

use super::{Lists, Side};
use crate::accounts::{RecordFields, set_delta};
use crate::adjacency::{ListDelta, Neighbors, SetsView};
use crate::storage::prefetch_value;

/// What changed at one account since the image: one cache line.
#[repr(align(64))]
pub(super) struct AccountDelta {
    /// The account it belongs to. A damaged image may name a delta in a record that has none.
    owner: u32,
    following: ListDelta,
    followers: ListDelta,
}

const _: () = assert!(size_of::<AccountDelta>() == 64);

impl AccountDelta {
    pub(super) fn side(&self, side: Side) -> &ListDelta {
        match side {
            Side::Following => &self.following,
            Side::Followers => &self.followers,
        }
    }

    pub(super) fn side_mut(&mut self, side: Side) -> &mut ListDelta {
        match side {
            Side::Following => &mut self.following,
            Side::Followers => &mut self.followers,
        }
    }

    /// The lists of the image with these changes.
    pub(super) fn over<'a>(&'a self, sets: &SetsView<'a>) -> Lists<'a> {
        Lists {
            following: Neighbors::new(sets.following, Some(&self.following)),
            followers: Neighbors::new(sets.followers, Some(&self.followers)),
        }
    }
}

/// The deltas of one block, in the order they were made. A record names its own by the position.
#[derive(Default)]
pub(super) struct BlockDeltas(Vec<AccountDelta>);

impl BlockDeltas {
    /// Whether nothing changed in the block yet.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What changed at an account, if anything.
    #[inline]
    pub(super) fn get(&self, id: u32, record: &[u8]) -> Option<&AccountDelta> {
        let delta = self.0.get(record.delta()? as usize)?;
        (delta.owner == id).then_some(delta)
    }

    /// The same, made where nothing changed yet.
    pub(super) fn get_or_make(&mut self, id: u32, record: &mut [u8]) -> &mut AccountDelta {
        let place = if self.get(id, record).is_some() {
            record.delta().expect("it has one") as usize
        } else {
            let place = self.0.len();
            set_delta(record, Some(u32::try_from(place).expect("one an account at most")));
            let (following, followers) = (ListDelta::default(), ListDelta::default());
            self.0.push(AccountDelta { owner: id, following, followers });
            place
        };
        &mut self.0[place]
    }

    /// Asks for the memory of an account's delta.
    #[inline]
    pub(super) fn prefetch(&self, record: &[u8]) {
        if let Some(delta) = record.delta().and_then(|place| self.0.get(place as usize)) {
            prefetch_value(delta);
        }
    }

    /// Bytes on the heap. Cost: a look at every changed account.
    pub(super) fn heap_bytes(&self) -> usize {
        let lists =
            self.0.iter().map(|delta| delta.following.heap_bytes() + delta.followers.heap_bytes());
        lists.sum::<usize>() + self.0.capacity() * size_of::<AccountDelta>()
    }
}
