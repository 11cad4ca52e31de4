//! A whole graph in memory with dense ids, sorted: what the bulk paths of most peers begin with,
//! and what the right answers are taken from. It uses nothing of any peer.

use crate::follows::{Follow, Follows};
use anyhow::Result;
use followgraph::Counts;
use std::collections::HashMap;

/// Names to ids, and the follows between ids.
pub(crate) struct Numbered {
    pub(crate) names: Vec<String>,
    pub(crate) follows: Vec<Follow>,
}

impl Numbered {
    /// Gives ids in the order in which the names first appear.
    pub(crate) fn read(follows: &Follows) -> Result<Numbered> {
        let mut ids: HashMap<String, u32> = HashMap::new();
        let mut names: Vec<String> = Vec::new();
        let mut list = Vec::with_capacity(follows.follow_count() as usize);
        follows.for_each_named(|from, to, at| {
            let [from, to] = [from, to].map(|name| {
                ids.get(name).copied().unwrap_or_else(|| {
                    let id = names.len() as u32;
                    ids.insert(name.to_owned(), id);
                    names.push(name.to_owned());
                    id
                })
            });
            list.push(Follow { from, to, at });
            Ok(())
        })?;
        Ok(Numbered { names, follows: list })
    }

    /// By follower, then by the followed.
    pub(crate) fn sort_by_follower(&mut self) {
        self.follows.sort_unstable_by_key(|follow| ends(follow.from, follow.to));
    }

    /// By follower, newest first.
    pub(crate) fn sort_following_newest_first(&mut self) {
        self.follows.sort_unstable_by_key(|follow| ends(follow.from, !follow.at));
    }

    /// By the followed, newest first.
    pub(crate) fn sort_followers_newest_first(&mut self) {
        self.follows.sort_unstable_by_key(|follow| ends(follow.to, !follow.at));
    }

    /// The counts of all accounts. The follows must be sorted by follower.
    pub(crate) fn counts(&self) -> Vec<Counts> {
        let mut counts = vec![Counts::default(); self.names.len()];
        for follow in &self.follows {
            counts[follow.from as usize].following += 1;
            counts[follow.to as usize].followers += 1;
        }
        let starts = starts(&counts);
        for follow in self.follows.iter().filter(|follow| follow.from < follow.to) {
            let back = &self.follows[starts[follow.to as usize]..starts[follow.to as usize + 1]];
            if back.binary_search_by_key(&follow.from, |back| back.to).is_ok() {
                counts[follow.from as usize].mutual += 1;
                counts[follow.to as usize].mutual += 1;
            }
        }
        counts
    }
}

/// Where each account's followings begin among the follows sorted by follower.
pub(crate) fn starts(counts: &[Counts]) -> Vec<usize> {
    let mut starts = Vec::with_capacity(counts.len() + 1);
    let mut start = 0;
    for count in counts {
        starts.push(start);
        start += count.following as usize;
    }
    starts.push(start);
    starts
}

fn ends(first: u32, second: u32) -> u64 {
    u64::from(first) << 32 | u64::from(second)
}
