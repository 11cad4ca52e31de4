//! The program anybody would write first.

use super::edges::Edges;
use followgraph::Counts;
use roaring::RoaringBitmap;
use std::collections::HashMap;

/// A map from names to positions, and two bitmaps an account.
pub(crate) struct Naive {
    ids: HashMap<String, u32>,
    accounts: Vec<Account>,
}

/// The sets of one account.
#[derive(Clone, Default)]
struct Account {
    followers: RoaringBitmap,
    following: RoaringBitmap,
}

impl Account {
    fn counts(&self) -> Counts {
        Counts {
            followers: self.followers.len() as u32,
            following: self.following.len() as u32,
            mutual: self.followers.intersection_len(&self.following) as u32,
        }
    }
}

impl Naive {
    /// Inserts every follow into both of its sets.
    pub(crate) fn new(edges: &Edges) -> Naive {
        let mut accounts = vec![Account::default(); edges.names.len()];
        for &(from, to) in &edges.follows {
            accounts[from as usize].following.insert(to);
            accounts[to as usize].followers.insert(from);
        }
        let names = edges.names.iter().enumerate();
        let ids = names.map(|(id, name)| (name.clone(), id as u32)).collect();
        Naive { ids, accounts }
    }

    fn account(&self, name: &str) -> Option<&Account> {
        self.ids.get(name).map(|&id| &self.accounts[id as usize])
    }

    /// Whether the first account follows the second; both are known.
    pub(crate) fn follows(&self, from: &str, to: &str) -> bool {
        let following = |from: &Account| from.following.contains(self.ids[to]);
        self.account(from).is_some_and(following)
    }

    /// The counts of many accounts, `None` for an unknown name.
    pub(crate) fn batch_counts_into(&self, names: &[&str], results: &mut Vec<Option<Counts>>) {
        results.clear();
        results.extend(names.iter().map(|name| self.account(name).map(Account::counts)));
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
