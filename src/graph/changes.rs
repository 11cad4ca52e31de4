//! What a record changes. Whoever applies one has checked that it fits, so nothing here can fail
//! halfway.

use super::deltas::BlockDeltas;
use super::{Graph, Side};
use crate::accounts::{RecordFields, set_being_removed, set_counts};
use crate::adjacency::{EdgeKey, ListDelta};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Record, check_name};
use crate::shards::VirtualShard;
use crate::types::{Counts, Relation};
use roaring::RoaringBitmap;

/// What a follow or unfollow meets at its ends.
#[derive(Clone, Copy, Default)]
pub(crate) struct Fit {
    /// How the follower stands to the followed before the change.
    pub(crate) relation: Relation,
    /// The place among follows of the same time in the follower's list; `None`: it is elsewhere.
    from_tie: Option<u32>,
    /// The same in the followed account's list.
    to_tie: Option<u32>,
}

/// What a record says that does not fit.
pub(super) const FOLLOWED_TWICE: &str = "a follow was recorded twice";
pub(super) const REMOVED_TWICE: &str = "a removal was begun twice";
pub(super) const NOT_FOLLOWED: &str = "an unfollow was recorded without its follow";

/// Counts one end of a follow, or takes it from the counts.
#[inline]
pub(super) fn change_end(counts: &mut Counts, side: Side, is_mutual: bool, by: i32) {
    let count = match side {
        Side::Following => &mut counts.following,
        Side::Followers => &mut counts.followers,
    };
    *count = count.wrapping_add_signed(by);
    counts.mutual = counts.mutual.wrapping_add_signed(if is_mutual { by } else { 0 });
}

impl Graph {
    /// Says that all records up to `sequence` are applied.
    pub(crate) fn commit(&mut self, sequence: u64, source_position: Option<u64>) {
        self.position.sequence = sequence;
        if source_position.is_some() {
            self.position.source_position = source_position;
        }
    }

    /// Whether a record fits this state, and what applying it needs to know.
    pub(crate) fn check(&self, record: &Record<'_>) -> Result<Fit> {
        match *record {
            Record::AccountAdded { id, name, foreign } => {
                check_name(name)?;
                if self.shards.is_some() && foreign == self.is_hosted(name) {
                    let error = Error::corrupt("an account is not kept as its shard says");
                    return Err(error.expected(format!("foreign: {}", !foreign), foreign));
                }
                if id != self.accounts.len() || !self.accounts.has_room() {
                    let error = Error::corrupt("an account was given another id than the next");
                    return Err(error.expected(self.accounts.len(), id));
                }
                match self.accounts.find(name)? {
                    Some(_) => Err(Error::corrupt("an account was added twice")),
                    None => Ok(Fit::default()),
                }
            }
            Record::AccountRemoved { id } => self.check_removal(id).map(|()| Fit::default()),
            Record::RemovalBegan { id } => {
                let being_removed = self.live(id)?.is_being_removed();
                let twice = || Error::corrupt(REMOVED_TWICE);
                if being_removed { Err(twice()) } else { Ok(Fit::default()) }
            }
            Record::Followed { from, to, at, .. } => {
                let fit = self.fit(from, to, at)?;
                if fit.relation.following {
                    return Err(Error::corrupt(FOLLOWED_TWICE));
                }
                Ok(fit)
            }
            Record::ClockReset { .. } => Ok(Fit::default()),
            Record::Unfollowed { from, to } => {
                let fit = self.fit_of_unfollow(from, to)?;
                if !fit.relation.following {
                    return Err(Error::corrupt(NOT_FOLLOWED));
                }
                Ok(fit)
            }
        }
    }

    /// Whether an account can be taken out of the lists of all others: what is to be changed there
    /// is as it was written. Errors: `UnknownAccount`, `Corrupt`.
    fn check_removal(&self, id: u32) -> Result<()> {
        let record = self.live(id)?;
        if record.is_being_removed()
            && (record.is_foreign() || record.counts() == Counts::default())
        {
            // All its follows are gone.
            return Ok(());
        }
        match self.lists(id) {
            Ok(lists) => {
                let mut ends = lists.following.iter().chain(lists.followers.iter());
                ends.try_for_each(|other| self.accounts.check(other))
            }
            Err(error) if error.kind() == ErrorKind::ForeignAccount => (0..self.accounts.len())
                .try_for_each(|other| match self.lists(other) {
                    Err(error) if error.kind() == ErrorKind::Corrupt => Err(error),
                    _ => Ok(()),
                }),
            Err(error) => Err(error),
        }
    }

    /// Refuses an account that has not begun to go, or has follows left. Errors: `UnknownAccount`,
    /// `InvalidArgument`.
    #[cfg(feature = "cluster")]
    pub(crate) fn check_is_emptied(&self, id: u32) -> Result<()> {
        let record = self.live(id)?;
        if record.is_being_removed() && record.counts() == Counts::default() {
            return Ok(());
        }
        let message = "an account that has not begun to go, or has follows left, stays";
        Err(Error::new(ErrorKind::InvalidArgument, message))
    }

    /// What a follow at this time meets at its two ends. Errors: `SelfFollow`, `UnknownAccount`,
    /// `BeingRemoved`, `ForeignAccount` when both ends are foreign, `Corrupt`.
    ///
    /// Cost: the records of both ends, and the lists of the one with fewer entries. The other's are
    /// read only where the image has a follow as new as this one.
    pub(crate) fn fit(&self, from: u32, to: u32, at: u32) -> Result<Fit> {
        let found = self.fit_of_unfollow(from, to);
        // Where both ends are foreign too, all nodes of a cluster refuse this alike.
        if found.as_ref().err().is_none_or(|error| error.kind() == ErrorKind::ForeignAccount) {
            self.check_stays(from)?;
            self.check_stays(to)?;
        }
        let mut fit = found?;
        if let Some(tie) = &mut fit.from_tie {
            *tie = self.next_tie(from, Side::Following, at)?;
        }
        if let Some(tie) = &mut fit.to_tie {
            *tie = self.next_tie(to, Side::Followers, at)?;
        }
        Ok(fit)
    }

    /// The same for an unfollow, which needs no place among others of its time.
    pub(crate) fn fit_of_unfollow(&self, from: u32, to: u32) -> Result<Fit> {
        Ok(self.fit_with(from, to, self.relation(from, to)?))
    }

    /// The same where the relation is known.
    pub(super) fn fit_with(&self, from: u32, to: u32, relation: Relation) -> Fit {
        let end = |id| self.is_local(id).then_some(0);
        Fit { relation, from_tie: end(from), to_tie: end(to) }
    }

    /// Refuses an account that has begun to go. Errors: `BeingRemoved`, `UnknownAccount`.
    pub(crate) fn check_stays(&self, id: u32) -> Result<()> {
        if self.live(id)?.is_being_removed() {
            return Err(Error::bare(ErrorKind::BeingRemoved));
        }
        Ok(())
    }

    /// The place of a new edge among those of its time in a list of a local account.
    fn next_tie(&self, id: u32, side: Side, at: u32) -> Result<u32> {
        if at > self.image.header.newest_at {
            let delta = self.delta(id, self.live(id)?);
            return Ok(delta.map_or(0, |delta| delta.side(side).next_tie(at)));
        }
        let lists = self.lists(id)?;
        match side {
            Side::Following => lists.following.next_tie(at),
            Side::Followers => lists.followers.next_tie(at),
        }
    }

    /// Applies a record that [`check`](Graph::check) accepted, with what it found.
    pub(crate) fn apply(&mut self, record: &Record<'_>, fit: Fit) {
        self.changed_record_count += 1;
        match *record {
            Record::AccountAdded { id, name, foreign } => {
                let given = self.accounts.add(name, foreign);
                assert!(given == id, "check compared the id with the next one");
                self.totals.account_count += 1;
                self.totals.foreign_count += u32::from(foreign);
            }
            Record::AccountRemoved { id } => self.remove_account(id),
            Record::RemovalBegan { id } => {
                set_being_removed(self.accounts.record_mut(id));
                self.totals.being_removed_count += 1;
            }
            Record::Followed { from, to, at, given } => {
                if !given {
                    self.position.clock = self.position.clock.max(at);
                }
                self.follow(from, to, at, fit);
            }
            Record::Unfollowed { from, to } => self.unfollow(from, to, fit),
            Record::ClockReset { at } => self.position.clock = at,
        }
    }

    fn follow(&mut self, from: u32, to: u32, at: u32, fit: Fit) {
        self.newest_at = self.newest_at.max(at);
        let back = fit.relation.followed_by;
        if let Some(tie) = fit.from_tie {
            self.link_end(from, Side::Following, EdgeKey { at, tie, id: to }, back);
        }
        if let Some(tie) = fit.to_tie {
            self.link_end(to, Side::Followers, EdgeKey { at, tie, id: from }, back);
        }
        self.count_follow(from, to, fit.from_tie.is_some(), fit.to_tie.is_some(), 1);
    }

    fn unfollow(&mut self, from: u32, to: u32, fit: Fit) {
        let back = fit.relation.followed_by;
        if fit.from_tie.is_some() {
            self.unlink_end(from, Side::Following, to, back);
        }
        if fit.to_tie.is_some() {
            self.unlink_end(to, Side::Followers, from, back);
        }
        self.count_follow(from, to, fit.from_tie.is_some(), fit.to_tie.is_some(), -1);
    }

    /// Takes an account out of the lists of all others, as far as it is still there, then drops
    /// its own at once.
    fn remove_account(&mut self, id: u32) {
        let own = self.counts_of(id);
        let foreign = !self.is_local(id);
        let being_removed = self.accounts.live(id).is_some_and(RecordFields::is_being_removed);
        // Of an account whose removal had begun all follows are gone, one by one. Its lists in the
        // image may be long all the same, and so may be the search for those of a foreign one.
        let is_done = being_removed && (foreign || own == Counts::default());
        if !is_done {
            self.remove_follows(id, foreign);
        }
        let totals = &mut self.totals;
        totals.following_entries = totals.following_entries.wrapping_sub(u64::from(own.following));
        totals.follower_entries = totals.follower_entries.wrapping_sub(u64::from(own.followers));
        totals.mutual_sum = totals.mutual_sum.wrapping_sub(u64::from(own.mutual));
        totals.account_count = totals.account_count.wrapping_sub(1);
        totals.foreign_count = totals.foreign_count.wrapping_sub(u32::from(foreign));
        totals.being_removed_count =
            totals.being_removed_count.wrapping_sub(u32::from(being_removed));
        // Its delta, if it has one, is left behind without an owner.
        for side in [Side::Following, Side::Followers] {
            let delta = std::mem::take(self.list_delta(id, side));
            if being_removed {
                self.discarded.push(delta);
            }
        }
        self.accounts.remove(id);
    }

    /// What accounts that were removed in slices have left behind, for the caller to drop where
    /// nobody waits.
    pub(crate) fn take_discarded(&mut self) -> Vec<ListDelta> {
        std::mem::take(&mut self.discarded)
    }

    /// Takes an account out of the lists of all others.
    fn remove_follows(&mut self, id: u32, foreign: bool) {
        let lists = self.lists(id);
        let (following, followers): (Vec<u32>, Vec<u32>) = if foreign {
            self.local_ends_of(id)
        } else {
            let lists = lists.expect("check read the lists of this account");
            (lists.following.iter().collect(), lists.followers.iter().collect())
        };
        let followed_back: RoaringBitmap = followers.iter().copied().collect();
        let mutual: RoaringBitmap =
            following.iter().copied().filter(|&to| followed_back.contains(to)).collect();
        for &to in &following {
            let to_local = self.is_local(to);
            if to_local {
                self.unlink_end(to, Side::Followers, id, mutual.contains(to));
            }
            self.count_follow(id, to, !foreign, to_local, -1);
        }
        for &from in &followers {
            let from_local = self.is_local(from);
            if from_local {
                // Where the account followed back, the loop above took that follow, and with it
                // the mutual count, already.
                self.unlink_end(from, Side::Following, id, false);
            }
            self.count_follow(from, id, from_local, !foreign, -1);
        }
    }

    /// The local accounts a foreign one follows and is followed by. Its own lists are elsewhere,
    /// so all local accounts are asked. Cost: one membership test for each account.
    fn local_ends_of(&self, foreign: u32) -> (Vec<u32>, Vec<u32>) {
        let mut ends = (Vec::new(), Vec::new());
        for id in 0..self.accounts.len() {
            let Ok(lists) = self.lists(id) else { continue };
            if lists.followers.contains(foreign) {
                ends.0.push(id);
            }
            if lists.following.contains(foreign) {
                ends.1.push(id);
            }
        }
        ends
    }

    // The two ends of a follow say the same in every graph this crate wrote. Where a damaged image
    // makes them contradict each other, an end that already is as asked keeps its delta.

    fn link_end(&mut self, id: u32, side: Side, key: EdgeKey, back: bool) {
        self.list_delta(id, side).add(key);
        self.change_counts(id, side, back, 1);
    }

    fn unlink_end(&mut self, id: u32, side: Side, other: u32, back: bool) {
        self.list_delta(id, side).remove(other);
        self.change_counts(id, side, back, -1);
    }

    fn change_counts(&mut self, id: u32, side: Side, mutual: bool, by: i32) {
        let record = self.accounts.record_mut(id);
        let mut counts = record.counts();
        change_end(&mut counts, side, mutual, by);
        set_counts(record, counts);
        let totals = &mut self.totals;
        let entries = match side {
            Side::Following => &mut totals.following_entries,
            Side::Followers => &mut totals.follower_entries,
        };
        *entries = entries.wrapping_add_signed(i64::from(by));
        let mutual_by = if mutual { i64::from(by) } else { 0 };
        totals.mutual_sum = totals.mutual_sum.wrapping_add_signed(mutual_by);
    }

    /// Counts a follow of the log, or takes it from the sums, and says which ends are local. Where
    /// no account is foreign, the records are not looked at: whether they exist is seen there.
    pub(super) fn count_ends(&mut self, from: u32, to: u32, by: i64) -> Result<(bool, bool)> {
        if from == to {
            return Err(Error::bare(ErrorKind::SelfFollow));
        }
        if from.max(to) >= self.accounts.len() {
            return Err(Error::bare(ErrorKind::UnknownAccount));
        }
        let locals = match self.totals.foreign_count {
            0 => (true, true),
            _ => (!self.live(from)?.is_foreign(), !self.live(to)?.is_foreign()),
        };
        if locals == (false, false) {
            return Err(Error::bare(ErrorKind::ForeignAccount));
        }
        self.count_follow(from, to, locals.0, locals.1, by);
        Ok(locals)
    }

    /// Adds a follow to the sums, or takes it from them.
    fn count_follow(&mut self, from: u32, to: u32, from_local: bool, to_local: bool, by: i64) {
        let totals = &mut self.totals;
        totals.follow_count = totals.follow_count.wrapping_add_signed(by);
        if from_local && to_local {
            let hash = self.image.header.identity.follow_hash(from, to);
            let change = if by < 0 { hash.wrapping_neg() } else { hash };
            totals.following_fingerprint = totals.following_fingerprint.wrapping_add(change);
            totals.follower_fingerprint = totals.follower_fingerprint.wrapping_add(change);
        }
        self.digest_follow(from, to, from_local, to_local, by);
    }

    /// Adds a follow to the digests of the shards of its local ends, or takes it from them.
    fn digest_follow(&mut self, from: u32, to: u32, from_local: bool, to_local: bool, by: i64) {
        let Some(shards) = &mut self.shards else { return };
        // Where damage has made a name unreadable the digest goes wrong, which is found wherever it
        // is compared.
        let shard = |id: u32| self.accounts.name(id).map(VirtualShard::of);
        if let Some(shard) = shard(from).filter(|_| from_local) {
            shards.digests.change_following(shard, from, to, by);
        }
        if let Some(shard) = shard(to).filter(|_| to_local) {
            shards.digests.change_followers(shard, from, to, by);
        }
    }

    fn list_delta(&mut self, id: u32, side: Side) -> &mut ListDelta {
        let block = self.accounts.block_of(id);
        if self.deltas.len() <= block {
            self.deltas.resize_with(block + 1, BlockDeltas::default);
        }
        let record = self.accounts.record_mut(id);
        self.deltas[block].get_or_make(id, record).side_mut(side)
    }
}
