//! Names to ids, many at a time: known names are looked up by several threads at once, new ones
//! get their ids from one thread, in the order in which they came.
//!
//! * Ids are given in the order of first appearance, however many threads there are. An id that
//!   was given stays, so it does not matter when exactly a name is looked up: it is found, or it
//!   is asked for again in its turn.
//! * Follows come out in the order in which they went in.

use crate::accounts::{Accounts, BATCH, INLINE_NAME_BYTES};
use crate::edge_sorter::Edge;
use crate::error::{Error, ErrorKind, Result};
use crate::locks::RwLock;
use crate::workers::{Workers, processor_count};
use std::sync::Arc;

/// How many follows are looked up as one job: enough that handing it over costs nothing beside.
const JOB_FOLLOWS: usize = 4096;

/// How many jobs wait for each thread, so that none is idle while new names get their ids.
const JOBS_PER_THREAD: usize = 2;

/// Follows by name whose names were not looked up yet, or just were.
#[derive(Default)]
struct NamedFollows {
    /// The names, one after the other without a gap.
    text: String,
    /// Where each name ends in the text.
    ends: Vec<usize>,
    /// Found ids, a name each.
    ids: Vec<Option<u32>>,
    /// Which names follow each other.
    follows: Vec<NamedFollow>,
}

struct NamedFollow {
    follower: usize,
    followed: usize,
    at: u32,
}

impl NamedFollows {
    fn push(&mut self, follower: &str, followed: &str, at: u32) {
        // Most edge lists have the follows of one account together, so a look back saves a name.
        let last_follower = self.follows.last().map(|follow| follow.follower);
        let follower = match last_follower.filter(|&last| self.name(last) == follower) {
            Some(last) => last,
            None => self.push_name(follower),
        };
        let followed = self.push_name(followed);
        self.follows.push(NamedFollow { follower, followed, at });
    }

    fn push_name(&mut self, name: &str) -> usize {
        self.text.push_str(name);
        self.ends.push(self.text.len());
        self.ends.len() - 1
    }

    fn name(&self, number: usize) -> &str {
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[start..self.ends[number]]
    }

    /// Finds the ids of the names that have one by now.
    fn look_up(mut self, accounts: &RwLock<Accounts>) -> NamedFollows {
        let name_count = self.ends.len();
        let mut ids = std::mem::take(&mut self.ids);
        let accounts = accounts.read();
        for start in (0..name_count).step_by(BATCH) {
            let count = BATCH.min(name_count - start);
            let (mut names, mut found) = ([""; BATCH], [None; BATCH]);
            (0..count).for_each(|place| names[place] = self.name(start + place));
            accounts.lookup_batch(&names[..count], &mut found);
            ids.extend_from_slice(&found[..count]);
        }
        self.ids = ids;
        self
    }

    fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
        self.ids.clear();
        self.follows.clear();
    }
}

/// The names of an edge list, and the follows whose names are on their way to ids.
pub(in crate::engine) struct Names {
    accounts: Arc<RwLock<Accounts>>,
    lookups: Workers<NamedFollows, NamedFollows>,
    waiting: NamedFollows,
    spare: Vec<NamedFollows>,
    overflow_name_bytes: u64,
}

impl Names {
    /// Names that get ids behind those of `accounts`, which may have names already.
    pub(in crate::engine) fn new(accounts: Accounts) -> Names {
        let accounts = Arc::new(RwLock::new(accounts));
        let thread_count = processor_count();
        let look_up = {
            let accounts = accounts.clone();
            move |follows: NamedFollows| follows.look_up(&accounts)
        };
        let under_way_max = thread_count * JOBS_PER_THREAD;
        Names {
            accounts,
            lookups: Workers::start("followgraph-names", thread_count, under_way_max, look_up),
            waiting: NamedFollows::default(),
            spare: Vec::new(),
            overflow_name_bytes: 0,
        }
    }

    /// Adds a follow. `take` is given follows that were added before, as soon as their names have
    /// ids.
    pub(in crate::engine) fn push(
        &mut self,
        follower: &str,
        followed: &str,
        at: u32,
        take: &mut impl FnMut(Edge) -> Result<()>,
    ) -> Result<()> {
        self.waiting.push(follower, followed, at);
        if self.waiting.follows.len() < JOB_FOLLOWS {
            return Ok(());
        }
        let next = self.spare.pop().unwrap_or_default();
        let full = std::mem::replace(&mut self.waiting, next);
        match self.lookups.push(full) {
            Some(found) => self.settle(found, take),
            None => Ok(()),
        }
    }

    /// Gives the rest of the follows to `take`, and returns the accounts and how many bytes of
    /// their names are outside the records.
    pub(in crate::engine) fn finish(
        mut self,
        take: &mut impl FnMut(Edge) -> Result<()>,
    ) -> Result<(Accounts, u64)> {
        let last = std::mem::take(&mut self.waiting);
        if let Some(found) = self.lookups.push(last) {
            self.settle(found, take)?;
        }
        while let Some(found) = self.lookups.next() {
            self.settle(found, take)?;
        }
        let Names { accounts, lookups, overflow_name_bytes, .. } = self;
        drop(lookups);
        let accounts = Arc::into_inner(accounts).expect("the threads that looked names up ended");
        Ok((accounts.into_inner(), overflow_name_bytes))
    }

    /// Gives ids to the names that had none, and the follows to `take`.
    fn settle(
        &mut self,
        mut follows: NamedFollows,
        take: &mut impl FnMut(Edge) -> Result<()>,
    ) -> Result<()> {
        if follows.ids.iter().any(Option::is_none) {
            self.add_new_names(&mut follows)?;
        }
        let id = |name: usize| follows.ids[name].expect("every name has an id by now");
        for follow in &follows.follows {
            let (from, to) = (id(follow.follower), id(follow.followed));
            take(Edge { from, to, at: follow.at, line: () })?;
        }
        follows.clear();
        self.spare.push(follows);
        Ok(())
    }

    fn add_new_names(&mut self, follows: &mut NamedFollows) -> Result<()> {
        let accounts = self.accounts.clone();
        let mut accounts = accounts.write();
        for number in 0..follows.ids.len() {
            if follows.ids[number].is_some() {
                continue;
            }
            let name = follows.name(number);
            // It may have come a moment before, or twice in these follows.
            let id = match accounts.lookup(name) {
                Some(id) => id,
                None => self.add(name, &mut accounts)?,
            };
            follows.ids[number] = Some(id);
        }
        Ok(())
    }

    fn add(&mut self, name: &str, accounts: &mut Accounts) -> Result<u32> {
        if !accounts.has_room() {
            let message = "the edge list names more accounts than a graph can hold";
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        if name.len() > INLINE_NAME_BYTES {
            self.overflow_name_bytes += name.len() as u64;
        }
        Ok(accounts.add(name, false))
    }
}
