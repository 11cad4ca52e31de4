//! Removal in slices: which follows of an account go next.
//!
//! Looking for them never takes long, whatever lists the account has: a slice looks at a bounded
//! number of entries, and the next one goes on from there. Entries of the image are passed in
//! descending order of their ids, so that the accounts on the other side, which change with each
//! of them, lie close together.

use super::{Fit, Graph, Side};
use crate::accounts::RecordFields;
use crate::adjacency::{ListPlace, Neighbors};
use crate::error::{ErrorKind, Result};
use crate::format::Record;
use crate::types::Relation;

/// The most entries of a list, or accounts, that are looked at for one slice.
const SCAN_MAX: usize = 4096;

/// How many pairs of accounts are asked for together.
const PREFETCH_PAIRS: usize = 32;

/// How far the removal of an account has come. It may be forgotten: then what is gone is looked at
/// once more.
#[derive(Clone, Copy, Default)]
pub(crate) struct RemovalPlace {
    /// The image that the list is walked in. In another one places mean something else.
    image_sequence: u64,
    side: Side,
    list: ListPlace,
    /// Of a foreign account, whose lists are elsewhere: the next account to be asked.
    next_account: u32,
}

impl RemovalPlace {
    fn is_at_added(&self) -> bool {
        matches!(self.list, ListPlace::Added)
    }
}

/// The next follows to go.
#[derive(Default)]
pub(crate) struct RemovalSlice {
    pub(crate) follows: Vec<(Record<'static>, Fit)>,
    /// Whether the account has none behind them, and goes with them.
    pub(crate) is_last: bool,
}

impl RemovalSlice {
    fn push(&mut self, from: u32, to: u32, fit: Fit) {
        self.follows.push((Record::Unfollowed { from, to }, fit));
    }
}

impl Graph {
    /// How many follows go with an account, where it can be removed at once: there are `limit` at
    /// most and finding them takes no longer than a slice does. Errors: `UnknownAccount`,
    /// `Corrupt`.
    pub(crate) fn follows_removed_at_once(&self, id: u32, limit: usize) -> Result<Option<usize>> {
        let record = self.live(id)?;
        if record.is_foreign() {
            let follow_count_max = self.accounts.len() as usize * 2;
            return Ok(Some(follow_count_max).filter(|&count| count <= limit));
        }
        let (counts, lists) = (record.counts(), self.lists(id)?);
        let in_image = |list: Neighbors<'_>| list.image_len() as usize;
        let follow_count = counts.followers as usize + counts.following as usize;
        let in_image = in_image(lists.following) + in_image(lists.followers);
        let is_found_soon = in_image <= limit.max(SCAN_MAX);
        Ok(Some(follow_count).filter(|&count| count <= limit && is_found_soon))
    }

    /// Up to `limit` follows of an account that is being removed, from `place` on, which moves.
    /// There may be none although more are left. Errors: `UnknownAccount` when it is gone,
    /// `Corrupt`.
    pub(crate) fn next_removal_slice(
        &self,
        id: u32,
        place: &mut RemovalPlace,
        limit: usize,
    ) -> Result<RemovalSlice> {
        if self.live(id)?.is_foreign() {
            return self.foreign_slice(id, place, limit);
        }
        let image_sequence = self.image.header.position.sequence;
        if place.image_sequence != image_sequence {
            *place = RemovalPlace { image_sequence, ..RemovalPlace::default() };
        }
        let (lists, mut others) = (self.lists(id)?, Vec::with_capacity(limit));
        let mut slice = RemovalSlice::default();
        loop {
            let list = match place.side {
                Side::Followers => lists.followers,
                Side::Following => lists.following,
            };
            let is_end = list.next_ids(&mut place.list, limit, SCAN_MAX, &mut others);
            if !is_end {
                break;
            }
            match place.side {
                Side::Followers => (place.side, place.list) = (Side::Following, ListPlace::START),
                Side::Following => {
                    slice.is_last = true;
                    break;
                }
            }
        }
        // All of one side: what a follow meets at its ends does not change within the slice.
        let pairs: Vec<(u32, u32)> = match place.side {
            Side::Followers => others.iter().map(|&other| (other, id)).collect(),
            Side::Following => others.iter().map(|&other| (id, other)).collect(),
        };
        for pairs in pairs.chunks(PREFETCH_PAIRS) {
            self.prefetch_follows(pairs);
            for &(from, to) in pairs {
                self.accounts.check(from)?;
                self.accounts.check(to)?;
                // Where a damaged image contradicts itself, no record could say that the follow
                // went. It goes with the account.
                match self.fit_of_unfollow(from, to) {
                    Ok(fit) if fit.relation.following => slice.push(from, to, fit),
                    Err(error) if error.kind() == ErrorKind::Corrupt => return Err(error),
                    Ok(_) | Err(_) => {}
                }
            }
        }
        // Where added edges are all like that, they would be given again and again.
        slice.is_last |= slice.follows.is_empty() && !others.is_empty() && place.is_at_added();
        let counts = self.counts_of(id);
        let left = u64::from(counts.followers) + u64::from(counts.following);
        slice.is_last |= left == slice.follows.len() as u64;
        Ok(slice)
    }

    /// The same for a foreign account: all local accounts are asked, some at a time.
    fn foreign_slice(
        &self,
        foreign: u32,
        place: &mut RemovalPlace,
        limit: usize,
    ) -> Result<RemovalSlice> {
        let mut slice = RemovalSlice::default();
        let end = self.accounts.len().min(place.next_account.saturating_add(SCAN_MAX as u32));
        while place.next_account < end {
            let id = place.next_account;
            let lists = self.lists(id);
            if let Err(error) = &lists
                && error.kind() == ErrorKind::Corrupt
            {
                return lists.map(|_| slice);
            }
            if let Ok(lists) = lists {
                let follows = lists.following.contains(foreign);
                if lists.followers.contains(foreign) {
                    if slice.follows.len() == limit {
                        return Ok(slice);
                    }
                    let relation = Relation { following: true, followed_by: follows };
                    slice.push(foreign, id, self.fit_with(foreign, id, relation));
                }
                if follows {
                    if slice.follows.len() == limit {
                        return Ok(slice);
                    }
                    // The follow in the other direction, if there was one, went before it.
                    let relation = Relation { following: true, followed_by: false };
                    slice.push(id, foreign, self.fit_with(id, foreign, relation));
                }
            }
            place.next_account += 1;
        }
        slice.is_last = end == self.accounts.len();
        Ok(slice)
    }

    /// The first account from `next` on that is being removed. `next` moves behind it, or behind
    /// the accounts that were looked at where it is none of those; at the end it is the number of
    /// ids.
    pub(crate) fn next_being_removed(&self, next: &mut u32) -> Option<u32> {
        let end = self.accounts.len().min(next.saturating_add(SCAN_MAX as u32));
        while *next < end {
            let id = *next;
            *next += 1;
            if self.check_stays(id).is_err_and(|error| error.kind() == ErrorKind::BeingRemoved) {
                return Some(id);
            }
        }
        None
    }
}
