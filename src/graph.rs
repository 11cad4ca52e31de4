//! The state: an image, and what the log says since.
//!
//! [`Graph::check`] says whether a record fits; [`Graph::apply`] then cannot fail. Live commits and
//! replay call the same two functions. There is no I/O, no clock and no lock in here.
//!
//! Every rule about a follow is decided at either of its ends alone, because each end keeps its
//! own complete pair of lists. An account may be foreign: its sets are on another node, and only
//! the other end of its follows is kept here.

use crate::accounts::{Accounts, BATCH, INLINE_NAME_BYTES, RecordFields, set_counts, set_delta};
use crate::adjacency::{EdgeKey, EdgeList, EdgeState, ListDelta, Neighbors};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Record, RecordReader, check_name};
use crate::image::{Image, ImageHeader, ImagePlan, ImageWriter, Position, Totals};
use crate::list::ListKind;
use crate::log::Frame;
use crate::storage::{OutputFile, Storage, prefetch_value};
use crate::types::{Counts, KnownFollowers, Relation};
use roaring::RoaringBitmap;

/// What changed at one account since the image.
struct AccountDelta {
    /// The account it belongs to. A damaged image may name a delta in a record that has none.
    owner: u32,
    following: ListDelta,
    followers: ListDelta,
}

/// Both lists of an account as they are now.
#[derive(Clone, Copy)]
pub(crate) struct Lists<'a> {
    /// Whom the account follows.
    pub(crate) following: Neighbors<'a>,
    /// Who follows the account.
    pub(crate) followers: Neighbors<'a>,
}

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

/// Which of an account's two lists.
#[derive(Clone, Copy)]
enum Side {
    Following,
    Followers,
}

/// How many names of known followers a result carries.
const KNOWN_FOLLOWER_NAMES: usize = 3;

/// A viewer who follows at most so many gets a bitmap of them: it costs one pass over the list.
const VIEWER_BITMAP_MAX: u32 = 1 << 16;
/// A list this many times longer than the viewer's is asked for each account the viewer follows.
const VIEWER_PROBE_RATIO: u32 = 8;

/// Whom an account follows, to be intersected with many lists.
pub(crate) struct Viewer<'a> {
    following: Neighbors<'a>,
    bitmap: Option<RoaringBitmap>,
}

fn keep_first(first: &mut Vec<u32>, id: u32) {
    if first.len() < KNOWN_FOLLOWER_NAMES {
        first.push(id);
    }
}

/// The most entries one step of a filtered list looks at before it lets others have the lock.
const PAGE_SCAN_MAX: usize = 4096;

/// The whole graph at one log position.
pub(crate) struct Graph {
    image: Image,
    accounts: Accounts,
    deltas: Vec<AccountDelta>,
    totals: Totals,
    position: Position,
    changed_record_count: u64,
}

impl Graph {
    /// The graph an image holds. Cost: the same for every size.
    pub(crate) fn open(storage: &dyn Storage, image: Image) -> Result<Graph> {
        Ok(Graph {
            accounts: image.accounts(storage)?,
            deltas: Vec::new(),
            totals: image.header.totals,
            position: image.header.position,
            changed_record_count: 0,
            image,
        })
    }

    /// The image below the changes.
    pub(crate) fn image(&self) -> &Image {
        &self.image
    }

    /// The accounts.
    pub(crate) fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// The accounts, to damage them.
    #[cfg(test)]
    pub(crate) fn accounts_mut(&mut self) -> &mut Accounts {
        &mut self.accounts
    }

    /// The sums kept so far.
    pub(crate) fn totals(&self) -> &Totals {
        &self.totals
    }

    /// The last frame that is part of this state, and what it carried.
    pub(crate) fn position(&self) -> Position {
        self.position
    }

    /// How many records were applied since the image.
    pub(crate) fn changed_record_count(&self) -> u64 {
        self.changed_record_count
    }

    // ---- writing -------------------------------------------------------------------------

    /// Applies a frame of the log: each record must fit, and the sequence must be the next.
    pub(crate) fn replay(&mut self, frame: &Frame<'_>) -> Result<u64> {
        assert!(frame.sequence == self.position.sequence + 1, "the caller checked the sequence");
        let mut records = RecordReader::new(frame.payload)?;
        let mut record_count = 0;
        while let Some(record) = records.next_record()? {
            let fit = self.check(&record).map_err(|error| match error.kind() {
                ErrorKind::Corrupt => error,
                _ => Error::corrupt(format!("a record does not fit what came before: {error}")),
            })?;
            self.apply(&record, fit);
            record_count += 1;
        }
        self.commit(frame.sequence, frame.source_position);
        Ok(record_count)
    }

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
            Record::AccountAdded { id, name, .. } => {
                check_name(name)?;
                if id != self.accounts.len() || !self.accounts.has_room() {
                    let error = Error::corrupt("an account was given another id than the next");
                    return Err(error.expected(self.accounts.len(), id));
                }
                match self.accounts.lookup(name) {
                    Some(_) => Err(Error::corrupt("an account was added twice")),
                    None => Ok(Fit::default()),
                }
            }
            Record::AccountRemoved { id } => match self.lists(id) {
                Err(error) if error.kind() != ErrorKind::ForeignAccount => Err(error),
                _ => Ok(Fit::default()),
            },
            Record::Followed { from, to, at, .. } => {
                let fit = self.fit(from, to, at)?;
                if fit.relation.following {
                    return Err(Error::corrupt("a follow was recorded twice"));
                }
                Ok(fit)
            }
            Record::Unfollowed { from, to } => {
                let fit = self.fit(from, to, 0)?;
                if !fit.relation.following {
                    return Err(Error::corrupt("an unfollow was recorded without its follow"));
                }
                Ok(fit)
            }
        }
    }

    /// What a follow or unfollow meets at its two ends: each end's lists are read once. Errors:
    /// `SelfFollow`, `UnknownAccount`, `ForeignAccount` when both ends are foreign, `Corrupt`.
    pub(crate) fn fit(&self, from: u32, to: u32, at: u32) -> Result<Fit> {
        if from == to {
            self.live(from)?;
            return Err(Error::bare(ErrorKind::SelfFollow));
        }
        self.prefetch_lists(&[from, to]);
        let (from_local, to_local) = (self.is_local_end(from)?, self.is_local_end(to)?);
        let mut fit = Fit::default();
        if from_local {
            let lists = self.lists(from)?;
            fit.relation.following = lists.following.contains(to);
            fit.relation.followed_by = lists.followers.contains(to);
            fit.from_tie = Some(lists.following.next_tie(at));
        }
        if to_local {
            let lists = self.lists(to)?;
            if !from_local {
                fit.relation.following = lists.followers.contains(from);
                fit.relation.followed_by = lists.following.contains(from);
            }
            fit.to_tie = Some(lists.followers.next_tie(at));
        }
        if from_local || to_local { Ok(fit) } else { Err(Error::bare(ErrorKind::ForeignAccount)) }
    }

    /// Whether an account, which must exist, has its lists here.
    fn is_local_end(&self, id: u32) -> Result<bool> {
        Ok(!self.live(id)?.is_foreign())
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
            Record::Followed { from, to, at, given } => {
                if !given {
                    self.position.clock = self.position.clock.max(at);
                }
                self.follow(from, to, at, fit);
            }
            Record::Unfollowed { from, to } => self.unfollow(from, to, fit),
        }
    }

    fn follow(&mut self, from: u32, to: u32, at: u32, fit: Fit) {
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

    /// Takes an account out of the lists of all others, then drops its own at once.
    fn remove_account(&mut self, id: u32) {
        let own = self.counts_of(id);
        let (foreign, lists) = (!self.is_local(id), self.lists(id));
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
        let totals = &mut self.totals;
        totals.following_entries = totals.following_entries.wrapping_sub(u64::from(own.following));
        totals.follower_entries = totals.follower_entries.wrapping_sub(u64::from(own.followers));
        totals.mutual_sum = totals.mutual_sum.wrapping_sub(u64::from(own.mutual));
        totals.account_count = totals.account_count.wrapping_sub(1);
        totals.foreign_count = totals.foreign_count.wrapping_sub(u32::from(foreign));
        // Its delta, if it has one, is left behind without an owner.
        for side in [Side::Following, Side::Followers] {
            *self.list_delta(id, side) = ListDelta::default();
        }
        self.accounts.remove(id);
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
        let delta = self.list_delta(id, side);
        if delta.state(key.id) != EdgeState::Added {
            delta.add(key);
        }
        self.change_counts(id, side, back, 1);
    }

    fn unlink_end(&mut self, id: u32, side: Side, other: u32, back: bool) {
        let delta = self.list_delta(id, side);
        if delta.state(other) != EdgeState::Removed {
            delta.remove(other);
        }
        self.change_counts(id, side, back, -1);
    }

    fn change_counts(&mut self, id: u32, side: Side, mutual: bool, by: i32) {
        let record = self.accounts.record_mut(id);
        let mut counts = record.counts();
        let (count, entries) = match side {
            Side::Following => (&mut counts.following, &mut self.totals.following_entries),
            Side::Followers => (&mut counts.followers, &mut self.totals.follower_entries),
        };
        *count = count.wrapping_add_signed(by);
        *entries = entries.wrapping_add_signed(i64::from(by));
        if mutual {
            counts.mutual = counts.mutual.wrapping_add_signed(by);
            self.totals.mutual_sum = self.totals.mutual_sum.wrapping_add_signed(i64::from(by));
        }
        set_counts(record, counts);
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
    }

    fn list_delta(&mut self, id: u32, side: Side) -> &mut ListDelta {
        let record = self.accounts.record_mut(id);
        let known = record.delta().map(|delta| delta as usize);
        let owned = |delta: &usize| self.deltas.get(*delta).is_some_and(|delta| delta.owner == id);
        let delta = known.filter(owned).unwrap_or_else(|| {
            let delta = u32::try_from(self.deltas.len()).expect("one delta an account at most");
            set_delta(record, Some(delta));
            let (following, followers) = (ListDelta::default(), ListDelta::default());
            self.deltas.push(AccountDelta { owner: id, following, followers });
            delta as usize
        });
        let delta = &mut self.deltas[delta];
        match side {
            Side::Following => &mut delta.following,
            Side::Followers => &mut delta.followers,
        }
    }

    /// What changed at an account since the image.
    fn delta(&self, id: u32, record: &[u8]) -> Option<&AccountDelta> {
        let delta = self.deltas.get(record.delta()? as usize)?;
        (delta.owner == id).then_some(delta)
    }

    // ---- reading -------------------------------------------------------------------------

    /// The id of a name. Errors: `InvalidName`, `UnknownAccount`.
    pub(crate) fn resolve(&self, name: &str) -> Result<u32> {
        self.accounts.lookup(name).ok_or_else(|| missing(name).about(name))
    }

    /// The ids of two names, looked up in step. Errors as [`resolve`](Graph::resolve).
    pub(crate) fn resolve_pair(&self, names: [&str; 2]) -> Result<(u32, u32)> {
        let mut ids = [None; BATCH];
        self.accounts.lookup_batch(&names, &mut ids);
        let resolved =
            |place: usize| ids[place].ok_or_else(|| missing(names[place]).about(names[place]));
        Ok((resolved(0)?, resolved(1)?))
    }

    /// The record of an account that exists.
    fn live(&self, id: u32) -> Result<&[u8]> {
        self.accounts.live(id).ok_or(Error::bare(ErrorKind::UnknownAccount))
    }

    fn is_local(&self, id: u32) -> bool {
        self.accounts.live(id).is_some_and(|record| !record.is_foreign())
    }

    /// Whether an account exists. Errors: `UnknownAccount`.
    pub(crate) fn check_exists(&self, id: u32) -> Result<()> {
        self.live(id).map(|_| ())
    }

    fn counts_of(&self, id: u32) -> Counts {
        self.accounts.live(id).map(RecordFields::counts).unwrap_or_default()
    }

    /// The name of an account that exists. Errors: `UnknownAccount`.
    pub(crate) fn name(&self, id: u32) -> Result<&str> {
        self.live(id)?;
        self.accounts.name(id).ok_or_else(|| {
            Error::corrupt(format!("the name of account {id}")).at_path(self.image.path())
        })
    }

    /// Both lists of a local account. Errors: `UnknownAccount`, `ForeignAccount`, `Corrupt`.
    pub(crate) fn lists(&self, id: u32) -> Result<Lists<'_>> {
        let record = self.live(id)?;
        if record.is_foreign() {
            return Err(Error::bare(ErrorKind::ForeignAccount));
        }
        let sets = self.image.sets(record.sets_offset())?;
        let delta = self.delta(id, record);
        Ok(Lists {
            following: Neighbors::new(sets.following, delta.map(|delta| &delta.following)),
            followers: Neighbors::new(sets.followers, delta.map(|delta| &delta.followers)),
        })
    }

    /// The counts of an account. Cost: one read of its record.
    #[inline]
    pub(crate) fn counts(&self, id: u32) -> Result<Counts> {
        let record = self.live(id)?;
        if record.is_foreign() {
            return Err(Error::bare(ErrorKind::ForeignAccount));
        }
        Ok(record.counts())
    }

    /// Appends one result for each name, in order.
    pub(crate) fn batch_counts<S: AsRef<str>>(
        &self,
        names: &[S],
        results: &mut Vec<Result<Counts>>,
    ) {
        let mut ids = [None; BATCH];
        for names in names.chunks(BATCH) {
            self.accounts.lookup_batch(names, &mut ids);
            results.extend(names.iter().zip(&ids).map(|(name, id)| match id {
                Some(id) => self.counts(*id),
                None => Err(missing(name.as_ref())),
            }));
        }
    }

    /// How one account stands to another, decided at a local end. Errors: `SelfFollow`,
    /// `UnknownAccount`, `ForeignAccount` when both ends are foreign.
    pub(crate) fn relation(&self, id: u32, other: u32) -> Result<Relation> {
        let (record, other_record) = (self.live(id)?, self.live(other)?);
        if id == other {
            return Err(Error::bare(ErrorKind::SelfFollow));
        }
        // Either end knows both answers; the one with fewer entries reads fewer bytes.
        let entries = |record: &[u8]| {
            let counts = record.counts();
            u64::from(counts.followers) + u64::from(counts.following)
        };
        let at_own_end = other_record.is_foreign()
            || (!record.is_foreign() && entries(record) <= entries(other_record));
        if at_own_end {
            let lists = self.lists(id)?;
            let following = lists.following.contains(other);
            Ok(Relation { following, followed_by: lists.followers.contains(other) })
        } else {
            let lists = self.lists(other)?;
            let following = lists.followers.contains(id);
            Ok(Relation { following, followed_by: lists.following.contains(id) })
        }
    }

    /// Appends up to `limit` entries of a list that come after `below`, newest first. Gives back
    /// where to go on when it looked at enough for one step, `None` when it came to the end or
    /// has `limit` entries.
    pub(crate) fn page(
        &self,
        id: u32,
        kind: ListKind,
        below: Option<EdgeKey>,
        limit: usize,
        entries: &mut Vec<EdgeKey>,
    ) -> Result<Option<EdgeKey>> {
        let lists = self.lists(id)?;
        match kind {
            ListKind::Followers => entries.extend(lists.followers.newest(below).take(limit)),
            ListKind::Following => entries.extend(lists.following.newest(below).take(limit)),
            ListKind::Mutual => {
                let end = entries.len() + limit;
                for (scanned, key) in lists.following.newest(below).enumerate() {
                    if lists.followers.contains(key.id) {
                        entries.push(key);
                    }
                    if entries.len() == end {
                        break;
                    }
                    if scanned + 1 == PAGE_SCAN_MAX {
                        return Ok(Some(key));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Whom an account follows, ready to be intersected with many lists.
    pub(crate) fn viewer(&self, id: u32) -> Result<Viewer<'_>> {
        let following = self.lists(id)?.following;
        let is_small = following.len() <= VIEWER_BITMAP_MAX;
        Ok(Viewer { following, bitmap: is_small.then(|| following.iter().collect()) })
    }

    /// Of those a viewer follows, who follows `target`.
    pub(crate) fn known_followers(
        &self,
        viewer: &Viewer<'_>,
        target: u32,
    ) -> Result<KnownFollowers> {
        let followers = self.lists(target)?.followers;
        let is_short = followers.len() / VIEWER_PROBE_RATIO <= viewer.following.len();
        let mut first = Vec::new();
        let count = match &viewer.bitmap {
            // The viewer's list is read once for all targets, and each short list once.
            Some(bitmap) if is_short => {
                let known = followers.iter().filter(|&id| bitmap.contains(id));
                known.inspect(|&id| keep_first(&mut first, id)).count() as u64
            }
            _ => {
                first.extend(viewer.following.intersection(&followers).take(KNOWN_FOLLOWER_NAMES));
                viewer.following.intersection_len(&followers)
            }
        };
        let names = first.into_iter().map(|id| self.name(id).map(str::to_owned));
        Ok(KnownFollowers { count: count as u32, first: names.collect::<Result<_>>()? })
    }

    /// Asks for the memory that the lists of these accounts begin at, all at once: what would be
    /// one cache miss after the other becomes as many at the same time.
    pub(crate) fn prefetch_lists(&self, ids: &[u32]) {
        for &id in ids {
            self.accounts.prefetch_record(id);
        }
        for record in ids.iter().filter_map(|&id| self.accounts.record(id)) {
            self.image.prefetch_sets(record.sets_offset());
            if let Some(delta) = record.delta().and_then(|delta| self.deltas.get(delta as usize)) {
                prefetch_value(delta);
            }
        }
    }

    // ---- as a whole ----------------------------------------------------------------------

    /// The ids of foreign accounts. Cost: a look at every record, where there are any.
    fn foreign_ids(&self) -> RoaringBitmap {
        if self.totals.foreign_count == 0 {
            return RoaringBitmap::new();
        }
        let is_foreign = |id: &u32| self.accounts.live(*id).is_some_and(RecordFields::is_foreign);
        (0..self.accounts.len()).filter(is_foreign).collect()
    }

    /// Streams the whole graph out as an image and recounts it on the way. With `deeply`, every
    /// list is also read back entry by entry and every name looked up.
    pub(crate) fn write_image(
        &self,
        file: Box<dyn OutputFile>,
        expected: &Totals,
        deeply: bool,
    ) -> Result<ImageHeader> {
        let foreign = self.foreign_ids();
        let overflow_name_bytes = (0..self.accounts.len())
            .filter_map(|id| self.accounts.live(id))
            .map(RecordFields::name_bytes)
            .filter(|&name_bytes| name_bytes > INLINE_NAME_BYTES)
            .map(|name_bytes| name_bytes as u64)
            .sum();
        let plan = ImagePlan {
            identity: self.image.header.identity,
            position: self.position,
            id_count: self.accounts.len(),
            account_count: self.totals.account_count,
            overflow_name_bytes,
            foreign: &foreign,
        };
        let mut writer = ImageWriter::new(file, plan)?;
        let (mut following, mut followers) = (EdgeList::default(), EdgeList::default());
        for id in 0..self.accounts.len() {
            let Some(record) = self.accounts.live(id) else {
                writer.push_removed()?;
                continue;
            };
            following.clear();
            followers.clear();
            if !record.is_foreign() {
                if deeply {
                    let sets = self.image.sets(record.sets_offset())?;
                    sets.following.validate()?;
                    sets.followers.validate()?;
                }
                let lists = self.lists(id)?;
                lists.following.decode_into(&mut following);
                lists.followers.decode_into(&mut followers);
            }
            let name = self.name(id)?;
            if deeply && self.accounts.lookup(name) != Some(id) {
                let error = Error::corrupt(format!("the index does not find {name:?}"));
                return Err(error.at_path(self.image.path()));
            }
            writer.push(name, record.counts(), &following, &followers)?;
        }
        writer.finish(Some(expected))
    }

    /// Bytes on the heap for what changed since the image. Cost: a look at every changed account.
    pub(crate) fn heap_bytes(&self) -> usize {
        let deltas: usize = self
            .deltas
            .iter()
            .map(|delta| delta.following.heap_bytes() + delta.followers.heap_bytes())
            .sum();
        let slots = self.deltas.capacity() * size_of::<AccountDelta>();
        deltas + slots + self.accounts.heap_bytes()
    }
}

/// Why a name has no account.
#[cold]
pub(crate) fn missing(name: &str) -> Error {
    check_name(name).err().unwrap_or(Error::bare(ErrorKind::UnknownAccount))
}
