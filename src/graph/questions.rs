//! What can be asked of the state: names, counts, relations, pages, intersections.

use super::{Graph, Lists, Side, is_decided_at};
use crate::accounts::{BATCH, RecordFields};
use crate::adjacency::{EdgeKey, IdLookup, Neighbors};
use crate::error::{Error, ErrorKind, Result};
use crate::format::check_name;
use crate::list::ListKind;
use crate::types::{Counts, KnownFollowers, Relation};

/// How many names of known followers a result carries.
const KNOWN_FOLLOWER_NAMES: usize = 3;

/// A viewer who follows at most so many is intersected by looking each follower up among them.
const VIEWER_LOOKUP_MAX: u32 = 1 << 16;
/// A list this many times longer than the viewer's is asked for each account the viewer follows.
const VIEWER_PROBE_RATIO: u32 = 16;

/// Whom an account follows, to be intersected with many lists.
pub(crate) struct Viewer<'a> {
    following: Neighbors<'a>,
    lookup: Option<IdLookup>,
}

fn keep_first(first: &mut Vec<u32>, id: u32) {
    if first.len() < KNOWN_FOLLOWER_NAMES {
        first.push(id);
    }
}

/// The most entries one step of a filtered list looks at before it lets others have the lock.
const PAGE_SCAN_MAX: usize = 4096;

impl Graph {
    /// The id of a name. Errors: `InvalidName`, `UnknownAccount`.
    pub(crate) fn resolve(&self, name: &str) -> Result<u32> {
        self.accounts.lookup(name).ok_or_else(|| self.missing(name).about(name))
    }

    /// The ids of two names, looked up in step. Errors as [`resolve`](Graph::resolve).
    pub(crate) fn resolve_pair(&self, names: [&str; 2]) -> Result<(u32, u32)> {
        let ids = self.accounts.lookup_pair(names);
        let resolved =
            |place: usize| ids[place].ok_or_else(|| self.missing(names[place]).about(names[place]));
        Ok((resolved(0)?, resolved(1)?))
    }

    /// The ids of many names, looked up in step, in their order. Errors as
    /// [`resolve`](Graph::resolve).
    pub(crate) fn resolve_each<S: AsRef<str>>(&self, names: &[S]) -> Vec<Result<u32>> {
        let mut resolved = Vec::with_capacity(names.len());
        let mut ids = [None; BATCH];
        for names in names.chunks(BATCH) {
            self.accounts.lookup_batch(names, &mut ids);
            let found = names.iter().zip(&ids);
            resolved.extend(found.map(|(name, id)| id.ok_or_else(|| self.missing(name.as_ref()))));
        }
        resolved
    }

    /// Why a name has no account: it cannot, or there is none, or what says so is damaged.
    #[cold]
    fn missing(&self, name: &str) -> Error {
        let reason = check_name(name).and_then(|()| self.accounts.check_absence(name));
        reason.err().unwrap_or(Error::bare(ErrorKind::UnknownAccount))
    }

    /// Whether an account exists. Errors: `UnknownAccount`, `Corrupt`.
    pub(crate) fn check_exists(&self, id: u32) -> Result<()> {
        self.live(id).map(|_| ())
    }

    pub(super) fn counts_of(&self, id: u32) -> Counts {
        self.accounts.live(id).map(RecordFields::counts).unwrap_or_default()
    }

    /// The name of an account that exists. Errors: `UnknownAccount`.
    pub(crate) fn name(&self, id: u32) -> Result<&str> {
        self.live(id)?;
        self.accounts.name(id).ok_or_else(|| {
            let error = || Error::corrupt(format!("the name of account {id}"));
            let damage = self.accounts.check_name(id).err();
            damage.unwrap_or_else(|| error().at_path(self.image.path()))
        })
    }

    /// Both lists of a local account. Errors: `UnknownAccount`, `ForeignAccount`, `Corrupt`.
    #[inline]
    pub(crate) fn lists(&self, id: u32) -> Result<Lists<'_>> {
        let record = self.live(id)?;
        if record.is_foreign() {
            return Err(Error::bare(ErrorKind::ForeignAccount));
        }
        let sets = self.image.sets(record.sets_offset())?;
        let delta = self.delta(id, record);
        Ok(Lists {
            following: Neighbors::new(
                sets.following,
                delta.map(|delta| delta.side(Side::Following)),
            ),
            followers: Neighbors::new(
                sets.followers,
                delta.map(|delta| delta.side(Side::Followers)),
            ),
        })
    }

    /// Who follows a local account; its other list is not read. Errors as [`lists`](Graph::lists).
    fn followers(&self, id: u32) -> Result<Neighbors<'_>> {
        let record = self.live(id)?;
        if record.is_foreign() {
            return Err(Error::bare(ErrorKind::ForeignAccount));
        }
        let followers = self.image.followers(record.sets_offset())?;
        let delta = self.delta(id, record);
        Ok(Neighbors::new(followers, delta.map(|delta| delta.side(Side::Followers))))
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
                None => Err(self.missing(name.as_ref())),
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
        if is_decided_at(record, other_record) {
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
            ListKind::Followers => entries.extend(lists.followers.newest(below)?.take(limit)),
            ListKind::Following => entries.extend(lists.following.newest(below)?.take(limit)),
            ListKind::Mutual => {
                let end = entries.len() + limit;
                for (scanned, key) in lists.following.newest(below)?.enumerate() {
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
        let is_small = following.len() <= VIEWER_LOOKUP_MAX;
        Ok(Viewer { following, lookup: is_small.then(|| IdLookup::new(&following)) })
    }

    /// Of those a viewer follows, who follows `target`.
    pub(crate) fn known_followers(
        &self,
        viewer: &Viewer<'_>,
        target: u32,
    ) -> Result<KnownFollowers> {
        let followers = self.followers(target)?;
        let is_short = followers.len() / VIEWER_PROBE_RATIO <= viewer.following.len();
        let mut first = Vec::new();
        let count = match &viewer.lookup {
            // The viewer's list is read once for all targets, and each short list once.
            Some(lookup) if is_short => {
                let mut count = 0;
                followers.for_each(|id| {
                    if lookup.contains(id) {
                        count += 1;
                        keep_first(&mut first, id);
                    }
                });
                count
            }
            _ => {
                first.extend(viewer.following.intersection(&followers).take(KNOWN_FOLLOWER_NAMES));
                viewer.following.intersection_len(&followers)
            }
        };
        let names = first.into_iter().map(|id| self.name(id).map(str::to_owned));
        Ok(KnownFollowers { count: count as u32, first: names.collect::<Result<_>>()? })
    }
}
