//! Which accounts are part of a comparison: those that the list names, and those whose follows are
//! compared.

use crate::accounts::Accounts;
use crate::error::Result;
use std::collections::HashSet;

/// The accounts whose follows are compared, by name.
#[derive(Default)]
pub(super) struct Scope {
    pub(super) names: HashSet<String>,
    /// Those that the list names as followed by accounts out of scope.
    pub(super) followed: HashSet<String>,
}

impl Scope {
    /// Returns whether a follow by `follower` is compared. Notes the account that one out of scope
    /// names.
    pub(super) fn takes(&mut self, follower: &str, followed: &str) -> bool {
        let takes = self.names.contains(follower);
        if !takes && self.names.contains(followed) {
            self.followed.insert(followed.to_owned());
        }
        takes
    }
}

/// Ids, a bit each.
#[derive(Default)]
pub(super) struct IdSet(Vec<u64>);

impl IdSet {
    pub(super) fn insert(&mut self, id: u32) {
        let place = (id / u64::BITS) as usize;
        if place >= self.0.len() {
            self.0.resize((place + 1).next_power_of_two(), 0);
        }
        self.0[place] |= 1 << (id % u64::BITS);
    }

    pub(super) fn contains(&self, id: u32) -> bool {
        let word = self.0.get((id / u64::BITS) as usize).copied().unwrap_or(0);
        word >> (id % u64::BITS) & 1 == 1
    }

    pub(super) fn extend(&mut self, other: &IdSet) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        self.0.iter_mut().zip(&other.0).for_each(|(word, more)| *word |= more);
    }

    pub(super) fn len(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }
}

/// Returns the ids of the names that have one.
pub(super) fn ids_of(names: &HashSet<String>, accounts: &Accounts) -> Result<IdSet> {
    let mut ids = IdSet::default();
    for name in names {
        if let Some(id) = accounts.find(name)? {
            ids.insert(id);
        }
    }
    Ok(ids)
}
