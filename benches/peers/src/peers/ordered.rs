//! The graph on a store of ordered keys: which tables there are, and what a question reads of them.
//! The four stores of that kind share it, each with its own way to keep a table.
//!
//! Accounts have dense ids. The counters stand beside the id under the name, so that a count is one
//! look-up. A follow is there three times: by its ends, for "is it there" and for intersections;
//! and in each of the two lists by time, so that a page is one short scan.
//!
//! Known followers: the list of each account the viewer follows is read once and the targets are
//! picked out of it. That takes one seek for each of them instead of one for each pair.

use super::{Entry, Peer};
use crate::follows::Follow;
use crate::numbered::Numbered;
use anyhow::{Context, Result, ensure};
use followgraph::Counts;
use std::collections::HashMap;

/// What stands under the name of an account.
#[derive(Clone, Copy)]
pub(super) struct Account {
    pub(super) id: u32,
    pub(super) counts: Counts,
}

pub(super) const ACCOUNT_BYTES: usize = 16;
/// Two ids, in the order of their numbers.
pub(super) type EndsKey = [u8; 8];
/// An id and its list newest first: the time with all bits turned, and the other id.
pub(super) type NewestKey = [u8; 12];

impl Account {
    pub(super) fn to_bytes(self) -> [u8; ACCOUNT_BYTES] {
        let Counts { followers, following, mutual } = self.counts;
        let mut bytes = [0; ACCOUNT_BYTES];
        for (place, number) in
            bytes.chunks_exact_mut(4).zip([self.id, followers, following, mutual])
        {
            place.copy_from_slice(&number.to_be_bytes());
        }
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Account> {
        ensure!(bytes.len() == ACCOUNT_BYTES, "an account of {} bytes", bytes.len());
        let [id, followers, following, mutual] = [0, 4, 8, 12].map(|place| number(bytes, place));
        Ok(Account { id, counts: Counts { followers, following, mutual } })
    }
}

/// The number at a place of a key or a value.
pub(super) fn number(bytes: &[u8], place: usize) -> u32 {
    let bytes = bytes[place..place + 4].try_into().expect("a slice of four");
    u32::from_be_bytes(bytes)
}

pub(super) fn ends_key(from: u32, to: u32) -> EndsKey {
    let mut key = [0; 8];
    key[..4].copy_from_slice(&from.to_be_bytes());
    key[4..].copy_from_slice(&to.to_be_bytes());
    key
}

pub(super) fn newest_key(id: u32, at: u32, other: u32) -> NewestKey {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&id.to_be_bytes());
    key[4..].copy_from_slice(&newest_item(at, other));
    key
}

/// The part of a newest-first key behind the id.
pub(super) fn newest_item(at: u32, other: u32) -> [u8; 8] {
    ends_key(!at, other)
}

/// Time and other id of the part of a newest-first key behind the id.
pub(super) fn newest_of(item: &[u8]) -> (u32, u32) {
    (!number(item, 0), number(item, 4))
}

/// Which newest-first list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    Followers,
    Following,
}

/// One consistent view.
pub(super) trait Snapshot {
    fn account(&self, name: &str) -> Result<Option<Account>>;
    /// All of them in one go, where the store can do that better than one by one.
    fn accounts(&self, names: &[String]) -> Result<Vec<Option<Account>>> {
        names.iter().map(|name| self.account(name)).collect()
    }
    /// The names of some accounts, in their order.
    fn names(&self, ids: &[u32]) -> Result<Vec<String>>;
    /// The time of a follow.
    fn followed_at(&self, from: u32, to: u32) -> Result<Option<u32>>;
    /// Time and other end of the newest entries.
    fn newest(&self, list: List, id: u32, limit: usize) -> Result<Vec<(u32, u32)>>;
    /// Visits everybody whom the account follows.
    fn each_following(&self, id: u32, visit: &mut dyn FnMut(u32)) -> Result<()>;
}

/// One transaction.
pub(super) trait Writer {
    fn account(&self, name: &str) -> Result<Option<Account>>;
    fn followed_at(&self, from: u32, to: u32) -> Result<Option<u32>>;
    fn put_account(&mut self, name: &str, account: Account) -> Result<()>;
    /// In all three places.
    fn put_follow(&mut self, follow: Follow) -> Result<()>;
    fn remove_follow(&mut self, follow: Follow) -> Result<()>;
}

/// A store that can keep the tables.
pub(super) trait OrderedStore {
    fn read(&mut self, ask: &mut dyn FnMut(&dyn Snapshot) -> Result<()>) -> Result<()>;
    /// Commits when the change says true; otherwise nothing was changed.
    fn write(&mut self, change: &mut dyn FnMut(&mut dyn Writer) -> Result<bool>) -> Result<bool>;
    fn wait_for_disk(&mut self, wait: bool) -> Result<()>;
}

/// The tables, in the order in which they are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    Accounts,
    Names,
    Follows,
    Followers,
    Following,
}

impl Table {
    pub(super) const ALL: [Table; 5] =
        [Table::Accounts, Table::Names, Table::Follows, Table::Followers, Table::Following];

    pub(super) fn name(self) -> &'static str {
        match self {
            Table::Accounts => "accounts",
            Table::Names => "names",
            Table::Follows => "follows",
            Table::Followers => "followers",
            Table::Following => "following",
        }
    }
}

/// Takes the next key and value of a table.
pub(super) type Put<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<()>;
/// Gives all keys and values of a table, the keys in ascending order.
pub(super) type Fill<'a> = &'a mut dyn FnMut(Put<'_>) -> Result<()>;

/// Sorts the follows into the tables, which `load` takes one after the other.
pub(super) fn bulk_load(
    mut graph: Numbered,
    load: &mut dyn FnMut(Table, Fill<'_>) -> Result<()>,
) -> Result<()> {
    graph.sort_by_follower();
    let counts = graph.counts();
    let mut by_name: Vec<u32> = (0..graph.names.len() as u32).collect();
    by_name.sort_unstable_by_key(|&id| &graph.names[id as usize]);
    load(Table::Accounts, &mut |put| {
        by_name.iter().try_for_each(|&id| {
            let account = Account { id, counts: counts[id as usize] };
            put(graph.names[id as usize].as_bytes(), &account.to_bytes())
        })
    })?;
    load(Table::Names, &mut |put| {
        let mut names = (0u32..).zip(&graph.names);
        names.try_for_each(|(id, name)| put(&id.to_be_bytes(), name.as_bytes()))
    })?;
    load(Table::Follows, &mut |put| {
        let mut follows = graph.follows.iter();
        follows.try_for_each(|&Follow { from, to, at }| put(&ends_key(from, to), &at.to_be_bytes()))
    })?;
    graph.sort_followers_newest_first();
    load(Table::Followers, &mut |put| {
        let mut follows = graph.follows.iter();
        follows.try_for_each(|&Follow { from, to, at }| put(&newest_key(to, at, from), &[]))
    })?;
    graph.sort_following_newest_first();
    load(Table::Following, &mut |put| {
        let mut follows = graph.follows.iter();
        follows.try_for_each(|&Follow { from, to, at }| put(&newest_key(from, at, to), &[]))
    })
}

/// A store of ordered keys as a peer.
pub(super) struct Ordered<S>(pub(super) S);

fn existing(account: Option<Account>, name: &str) -> Result<Account> {
    account.with_context(|| format!("no account {name}"))
}

impl<S: OrderedStore> Ordered<S> {
    fn page(&mut self, list: List, name: &str, limit: usize, page: &mut Vec<Entry>) -> Result<()> {
        page.clear();
        self.0.read(&mut |snapshot| {
            let id = existing(snapshot.account(name)?, name)?.id;
            let newest = snapshot.newest(list, id, limit)?;
            let others: Vec<u32> = newest.iter().map(|(_, other)| *other).collect();
            let names = snapshot.names(&others)?;
            let entries = newest.iter().zip(names);
            page.extend(entries.map(|(&(at, _), account)| Entry { account, at }));
            Ok(())
        })
    }

    /// Changes the counters of both ends: by one, or where `is_new` is false by minus one.
    fn count(writer: &mut dyn Writer, ends: [(&str, Account); 2], is_new: bool) -> Result<()> {
        let [(from_name, mut from), (to_name, mut to)] = ends;
        let step = if is_new { 1 } else { u32::MAX };
        from.counts.following = from.counts.following.wrapping_add(step);
        to.counts.followers = to.counts.followers.wrapping_add(step);
        if writer.followed_at(to.id, from.id)?.is_some() {
            from.counts.mutual = from.counts.mutual.wrapping_add(step);
            to.counts.mutual = to.counts.mutual.wrapping_add(step);
        }
        writer.put_account(from_name, from)?;
        writer.put_account(to_name, to)
    }
}

impl<S: OrderedStore> Peer for Ordered<S> {
    fn counts(&mut self, names: &[String], results: &mut Vec<Counts>) -> Result<()> {
        results.clear();
        self.0.read(&mut |snapshot| {
            for (account, name) in snapshot.accounts(names)?.into_iter().zip(names) {
                results.push(existing(account, name)?.counts);
            }
            Ok(())
        })
    }

    fn newest_followers(&mut self, name: &str, limit: usize, page: &mut Vec<Entry>) -> Result<()> {
        self.page(List::Followers, name, limit, page)
    }

    fn newest_following(&mut self, name: &str, limit: usize, page: &mut Vec<Entry>) -> Result<()> {
        self.page(List::Following, name, limit, page)
    }

    fn known_followers(
        &mut self,
        viewer: &str,
        targets: &[String],
        results: &mut Vec<u32>,
    ) -> Result<()> {
        results.clear();
        self.0.read(&mut |snapshot| {
            let mut known: HashMap<u32, u32> = HashMap::with_capacity(targets.len());
            let mut ids = Vec::with_capacity(targets.len());
            for (account, name) in snapshot.accounts(targets)?.into_iter().zip(targets) {
                let id = existing(account, name)?.id;
                known.insert(id, 0);
                ids.push(id);
            }
            let viewer = existing(snapshot.account(viewer)?, viewer)?.id;
            let mut followed = Vec::new();
            snapshot.each_following(viewer, &mut |id| followed.push(id))?;
            for id in followed {
                snapshot.each_following(id, &mut |target| {
                    if let Some(count) = known.get_mut(&target) {
                        *count += 1;
                    }
                })?;
            }
            results.extend(ids.iter().map(|id| known[id]));
            Ok(())
        })
    }

    fn is_following(&mut self, from: &str, to: &str) -> Result<bool> {
        let mut is_following = false;
        self.0.read(&mut |snapshot| {
            let from = existing(snapshot.account(from)?, from)?.id;
            let to = existing(snapshot.account(to)?, to)?.id;
            is_following = snapshot.followed_at(from, to)?.is_some();
            Ok(())
        })?;
        Ok(is_following)
    }

    fn follow(&mut self, from_name: &str, to_name: &str, at: u32) -> Result<bool> {
        self.0.write(&mut |writer| {
            let from = existing(writer.account(from_name)?, from_name)?;
            let to = existing(writer.account(to_name)?, to_name)?;
            if writer.followed_at(from.id, to.id)?.is_some() {
                return Ok(false);
            }
            writer.put_follow(Follow { from: from.id, to: to.id, at })?;
            Self::count(writer, [(from_name, from), (to_name, to)], true)?;
            Ok(true)
        })
    }

    fn refollow(&mut self, from_name: &str, to_name: &str, at: u32) -> Result<bool> {
        self.0.write(&mut |writer| {
            let from = existing(writer.account(from_name)?, from_name)?.id;
            let to = existing(writer.account(to_name)?, to_name)?.id;
            let Some(before) = writer.followed_at(from, to)? else {
                return Ok(false);
            };
            writer.remove_follow(Follow { from, to, at: before })?;
            writer.put_follow(Follow { from, to, at })?;
            Ok(true)
        })
    }

    fn unfollow(&mut self, from_name: &str, to_name: &str) -> Result<bool> {
        self.0.write(&mut |writer| {
            let from = existing(writer.account(from_name)?, from_name)?;
            let to = existing(writer.account(to_name)?, to_name)?;
            let Some(at) = writer.followed_at(from.id, to.id)? else {
                return Ok(false);
            };
            writer.remove_follow(Follow { from: from.id, to: to.id, at })?;
            Self::count(writer, [(from_name, from), (to_name, to)], false)?;
            Ok(true)
        })
    }

    fn wait_for_disk(&mut self, wait: bool) -> Result<()> {
        self.0.wait_for_disk(wait)
    }
}
