//! The obvious program: a map from names to places, two roaring bitmaps an account, and for pages
//! two lists by time. Mutual follows are counted by intersection whenever they are asked for. It
//! keeps nothing on disk: opening it loads the edge list again, and no write is durable.
//!
//! What was tuned: loading sorts the lists once at the end, and counts nothing.

use super::{Entry, Peer, Place};
use anyhow::{Context, Result, bail};
use followgraph::Counts;
use roaring::RoaringBitmap;
use std::collections::HashMap;

#[derive(Default)]
pub(super) struct Obvious {
    ids: HashMap<String, u32>,
    names: Vec<String>,
    accounts: Vec<Account>,
}

#[derive(Default)]
struct Account {
    followers: Side,
    following: Side,
}

/// One direction of an account's follows.
#[derive(Default)]
struct Side {
    set: RoaringBitmap,
    /// Time and other end, oldest first.
    by_time: Vec<(u32, u32)>,
}

impl Side {
    fn remove(&mut self, other: u32) -> bool {
        let removed = self.set.remove(other);
        if removed && let Some(place) = self.by_time.iter().rposition(|entry| entry.1 == other) {
            self.by_time.remove(place);
        }
        removed
    }

    fn insert(&mut self, at: u32, other: u32) {
        self.set.insert(other);
        let place = self.by_time.partition_point(|entry| *entry < (at, other));
        self.by_time.insert(place, (at, other));
    }
}

pub(super) fn load(place: &Place) -> Result<()> {
    Obvious::open(place).map(drop)
}

impl Obvious {
    pub(super) fn open(place: &Place) -> Result<Obvious> {
        let mut graph = Obvious::default();
        place.follows.for_each_named(|from, to, at| {
            let (from, to) = (graph.intern(from), graph.intern(to));
            let following = &mut graph.accounts[from as usize].following;
            following.set.insert(to);
            following.by_time.push((at, to));
            let followers = &mut graph.accounts[to as usize].followers;
            followers.set.insert(from);
            followers.by_time.push((at, from));
            Ok(())
        })?;
        for account in &mut graph.accounts {
            account.followers.by_time.sort_unstable();
            account.following.by_time.sort_unstable();
        }
        Ok(graph)
    }

    fn intern(&mut self, name: &str) -> u32 {
        if let Some(id) = self.ids.get(name) {
            return *id;
        }
        let id = self.names.len() as u32;
        self.ids.insert(name.to_owned(), id);
        self.names.push(name.to_owned());
        self.accounts.push(Account::default());
        id
    }

    fn id(&self, name: &str) -> Result<u32> {
        self.ids.get(name).copied().with_context(|| format!("no account {name}"))
    }

    fn account(&self, name: &str) -> Result<&Account> {
        Ok(&self.accounts[self.id(name)? as usize])
    }

    fn page(&self, side: &Side, limit: usize, page: &mut Vec<Entry>) {
        page.clear();
        let entry = |&(at, other): &(u32, u32)| {
            let account = self.names[other as usize].clone();
            Entry { account, at }
        };
        page.extend(side.by_time.iter().rev().take(limit).map(entry));
    }
}

impl Peer for Obvious {
    fn counts(&mut self, names: &[String], results: &mut Vec<Counts>) -> Result<()> {
        results.clear();
        for name in names {
            let Account { followers, following } = self.account(name)?;
            results.push(Counts {
                followers: followers.set.len() as u32,
                following: following.set.len() as u32,
                mutual: followers.set.intersection_len(&following.set) as u32,
            });
        }
        Ok(())
    }

    fn newest_followers(&mut self, name: &str, limit: usize, page: &mut Vec<Entry>) -> Result<()> {
        self.page(&self.account(name)?.followers, limit, page);
        Ok(())
    }

    fn newest_following(&mut self, name: &str, limit: usize, page: &mut Vec<Entry>) -> Result<()> {
        self.page(&self.account(name)?.following, limit, page);
        Ok(())
    }

    fn known_followers(
        &mut self,
        viewer: &str,
        targets: &[String],
        results: &mut Vec<u32>,
    ) -> Result<()> {
        results.clear();
        let following = &self.account(viewer)?.following.set;
        for target in targets {
            let followers = &self.account(target)?.followers.set;
            results.push(following.intersection_len(followers) as u32);
        }
        Ok(())
    }

    fn is_following(&mut self, from: &str, to: &str) -> Result<bool> {
        Ok(self.account(from)?.following.set.contains(self.id(to)?))
    }

    fn follow(&mut self, from: &str, to: &str, at: u32) -> Result<bool> {
        let (from, to) = (self.id(from)?, self.id(to)?);
        let following = &mut self.accounts[from as usize].following;
        if following.set.contains(to) {
            return Ok(false);
        }
        following.insert(at, to);
        self.accounts[to as usize].followers.insert(at, from);
        Ok(true)
    }

    fn refollow(&mut self, from: &str, to: &str, at: u32) -> Result<bool> {
        Ok(self.unfollow(from, to)? && self.follow(from, to, at)?)
    }

    fn unfollow(&mut self, from: &str, to: &str) -> Result<bool> {
        let (from, to) = (self.id(from)?, self.id(to)?);
        let removed = self.accounts[from as usize].following.remove(to);
        Ok(removed && self.accounts[to as usize].followers.remove(from))
    }

    fn wait_for_disk(&mut self, wait: bool) -> Result<()> {
        if wait {
            bail!("it keeps nothing on disk");
        }
        Ok(())
    }
}
