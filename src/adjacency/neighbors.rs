//! A list as it is now: the image and the delta together, and the algebra of two lists.

use super::delta::{AddedIds, AddedNewest};
use super::{EdgeKey, EdgeList, EdgeState, ImageIds, ListDelta, ListView, order};
use crate::error::Result;
use std::iter::Peekable;

/// A list this many times longer than the other is probed for each id of the other, not walked.
const PROBE_RATIO: u64 = 8;

/// One list of one account as it is now.
#[derive(Clone, Copy)]
pub(crate) struct Neighbors<'a> {
    image: ListView<'a>,
    /// `None` when nothing changed since the image.
    delta: Option<&'a ListDelta>,
}

/// Where a list goes on whose edges are removed some at a time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum ListPlace {
    /// Nothing was looked at yet.
    #[default]
    Start,
    /// The edges of the image from this id up were looked at.
    Below(u32),
    /// All edges of the image were.
    Added,
}

impl ListPlace {
    /// Before the first edge.
    pub(crate) const START: ListPlace = ListPlace::Start;
}

impl<'a> Neighbors<'a> {
    pub(crate) fn new(image: ListView<'a>, delta: Option<&'a ListDelta>) -> Neighbors<'a> {
        Neighbors { image, delta: delta.filter(|delta| !delta.is_empty()) }
    }

    pub(super) fn of_image(image: ListView<'a>) -> Neighbors<'a> {
        Neighbors { image, delta: None }
    }

    /// O(1) but for a small delta, which is counted.
    pub(crate) fn len(&self) -> u32 {
        let (added, removed) =
            self.delta.map_or((0, 0), |delta| (delta.added_len(), delta.removed_len()));
        self.image.len().saturating_sub(removed).saturating_add(added)
    }

    /// O(log n).
    pub(crate) fn contains(&self, id: u32) -> bool {
        match self.delta.map_or(EdgeState::Untouched, |delta| delta.state(id)) {
            EdgeState::Untouched => self.image.contains(id),
            EdgeState::Added => true,
            EdgeState::Removed => false,
        }
    }

    /// The ids in ascending order.
    pub(crate) fn iter(&self) -> Ids<'a> {
        let added = self.delta.map(|delta| Added { delta, ids: delta.added_ids().peekable() });
        Ids { image: self.image.image_ids(), waiting: None, added }
    }

    /// How many edges the image has, those among them that are gone.
    pub(crate) fn image_len(&self) -> u32 {
        self.image.len()
    }

    /// Appends up to `limit` ids to `ids` and says whether that was the end: there are none, and
    /// none were passed over. First those of the image from `place` on, which moves, then those
    /// that were added since, always from their first: the caller removes what it was given.
    ///
    /// Cost: O(log n), and a look at up to `scan_max` edges.
    pub(crate) fn next_ids(
        &self,
        place: &mut ListPlace,
        limit: usize,
        scan_max: usize,
        ids: &mut Vec<u32>,
    ) -> bool {
        let below = match *place {
            ListPlace::Start => Some(None),
            ListPlace::Below(id) => Some(Some(id)),
            ListPlace::Added => None,
        };
        if let Some(below) = below {
            let mut image = self.image.ids_below(below);
            for _ in 0..scan_max {
                let Some(id) = image.next() else {
                    *place = ListPlace::Added;
                    break;
                };
                *place = ListPlace::Below(id);
                if self.delta.is_none_or(|delta| !delta.hides(id)) {
                    ids.push(id);
                }
                if ids.len() == limit {
                    break;
                }
            }
        }
        if matches!(place, ListPlace::Added) && ids.is_empty() {
            let added = self.delta.into_iter().flat_map(ListDelta::added_ids);
            ids.extend(added.take(limit).map(|key| key.id));
            return ids.is_empty();
        }
        false
    }

    /// The edges strictly below a cursor, newest first: O(log n) to begin, about O(1) a step.
    pub(crate) fn newest(&self, below: Option<EdgeKey>) -> Result<NewestNow<'a>> {
        let added = self.delta.map(|delta| (delta, delta.newest(below).peekable()));
        Ok(NewestNow { image: self.image.newest_image(below)?, waiting: None, added })
    }

    /// The tie of an edge that is added at this time: one more than the largest there is, from 0.
    pub(crate) fn next_tie(&self, at: u32) -> Result<u32> {
        let image = self.image.max_tie(at)?;
        let largest = match self.delta {
            None => image,
            // The image's largest may be gone, so the edges of this time are looked at themselves.
            Some(delta) if image.is_some() && delta.removed_len() != 0 => {
                let above = at.checked_add(1).map(|at| EdgeKey { at, tie: 0, id: 0 });
                self.newest(above)?.next().filter(|key| key.at == at).map(|key| key.tie)
            }
            Some(delta) => image.max(delta.max_tie(at)),
        };
        Ok(largest.map_or(0, |largest| largest.saturating_add(1)))
    }

    /// Replaces the contents of `list`, in O(n).
    pub(crate) fn decode_into(&self, list: &mut EdgeList) -> Result<()> {
        let Some(delta) = self.delta else {
            return self.image.decode_into(list);
        };
        let image = self.image.edges()?;
        list.clear();
        let mut added = delta.added_ids().peekable();
        for key in image.keys().filter(|key| !delta.hides(key.id)) {
            while let Some(before) = added.next_if(|added| added.id < key.id) {
                list.push(before);
            }
            list.push(key);
        }
        added.for_each(|key| list.push(key));
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn edges(&self) -> Result<EdgeList> {
        let mut list = EdgeList::default();
        self.decode_into(&mut list)?;
        Ok(list)
    }

    /// Calls `visit` with every id, ascending: faster than the iterator.
    #[inline]
    pub(crate) fn for_each(&self, visit: impl FnMut(u32)) {
        match self.delta {
            None => self.image.for_each_id(visit),
            Some(_) => self.iter().for_each(visit),
        }
    }

    /// The ids that are in both lists, ascending.
    ///
    /// O(m log n) when this or the other list is much shorter, else O(m + n).
    pub(crate) fn intersection(&self, other: &Neighbors<'a>) -> Common<'a> {
        let (len, other_len) = (u64::from(self.len()), u64::from(other.len()));
        if other_len.saturating_mul(PROBE_RATIO) < len {
            return Common::Probe { ids: other.iter(), list: *self };
        }
        if len.saturating_mul(PROBE_RATIO) < other_len {
            return Common::Probe { ids: self.iter(), list: *other };
        }
        Common::Walk { ours: self.iter(), theirs: other.iter().peekable() }
    }

    /// How many ids are in both lists.
    ///
    /// As [`intersection`](Neighbors::intersection); two large sets of the image are intersected
    /// container by container, and what changed since is looked up id by id.
    pub(crate) fn intersection_len(&self, other: &Neighbors<'_>) -> u64 {
        let in_image = self.image.intersection_len(&other.image);
        let ours = self.delta.into_iter().flat_map(ListDelta::touched_ids);
        let theirs = other.delta.into_iter().flat_map(ListDelta::touched_ids);
        let is_untouched =
            |id| self.delta.is_none_or(|delta| delta.state(id) == EdgeState::Untouched);
        let touched = ours.chain(theirs.filter(|&id| is_untouched(id)));
        self.corrected_len(other, in_image, touched)
    }

    /// Of the ids whose state changed, what the images said is taken back and what is so is added.
    fn corrected_len(
        &self,
        other: &Neighbors<'_>,
        in_image: u64,
        touched: impl Iterator<Item = u32>,
    ) -> u64 {
        let (mut gained, mut lost) = (0, 0);
        for id in touched {
            lost += u64::from(self.image.contains(id) && other.image.contains(id));
            gained += u64::from(self.contains(id) && other.contains(id));
        }
        (in_image + gained).saturating_sub(lost)
    }
}

/// What a list has beside its image.
#[derive(Clone)]
struct Added<'a> {
    delta: &'a ListDelta,
    ids: Peekable<AddedIds<'a>>,
}

/// The ids of a list, ascending.
#[derive(Clone)]
pub(crate) struct Ids<'a> {
    image: ImageIds<'a>,
    /// An id of the image that has to let an added one pass.
    waiting: Option<u32>,
    added: Option<Added<'a>>,
}

impl Iterator for Ids<'_> {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        let Some(added) = &mut self.added else {
            return self.image.next();
        };
        let delta = added.delta;
        let image = self.waiting.take().or_else(|| self.image.find(|&id| !delta.hides(id)));
        match added.ids.next_if(|key| image.is_none_or(|image| key.id < image)) {
            Some(key) => {
                self.waiting = image;
                Some(key.id)
            }
            None => image,
        }
    }
}

/// The edges of a list, newest first.
#[derive(Clone)]
pub(crate) struct NewestNow<'a> {
    image: order::Newest<'a>,
    /// An edge of the image that has to let an added one pass.
    waiting: Option<EdgeKey>,
    added: Option<(&'a ListDelta, Peekable<AddedNewest<'a>>)>,
}

impl Iterator for NewestNow<'_> {
    type Item = EdgeKey;

    fn next(&mut self) -> Option<EdgeKey> {
        let Some((delta, added)) = &mut self.added else {
            return self.image.next();
        };
        let image = self.waiting.take().or_else(|| self.image.find(|key| !delta.hides(key.id)));
        match added.next_if(|key| image.is_none_or(|image| image < *key)) {
            Some(key) => {
                self.waiting = image;
                Some(key)
            }
            None => image,
        }
    }
}

/// The ids that are in two lists, ascending.
#[derive(Clone)]
#[expect(clippy::large_enum_variant, reason = "it lives on the stack of one loop")]
pub(crate) enum Common<'a> {
    Probe { ids: Ids<'a>, list: Neighbors<'a> },
    Walk { ours: Ids<'a>, theirs: Peekable<Ids<'a>> },
}

impl Iterator for Common<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        match self {
            Common::Probe { ids, list } => ids.find(|&id| list.contains(id)),
            Common::Walk { ours, theirs } => ours.find(|&id| {
                while theirs.next_if(|&their| their < id).is_some() {}
                theirs.peek() == Some(&id)
            }),
        }
    }
}
