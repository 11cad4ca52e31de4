//! The sets: who follows whom, one account and one direction at a time.
//!
//! A *list* is the ids on the other side of an account's edges, with the time and the tie of each
//! edge. In the image a list is bytes that are read in place ([`ListView`]); what changed since is
//! a [`ListDelta`]; [`Neighbors`] is the two together and answers every question about a list.
//!
//! Invariants:
//! * the ids of a list are strictly ascending, and the keys of its edges differ;
//! * a key never changes while its edge lives, so a page cursor stays right whatever happens
//!   between two pages;
//! * **no byte of an image can cause a panic, an endless loop or an allocation out of proportion**:
//!   parsing checks what it can in O(1), every reader stays in bounds on whatever was accepted, and
//!   `validate` reads everything;
//! * nothing here does I/O, reads a clock or takes a lock.
//!
//! What is *not* covered: a flipped payload bit that parsing cannot see gives wrong answers until
//! `validate` names it; the checksums of the image are kept elsewhere. A run of a roaring set is
//! four bytes for up to 65,536 ids, so the number of ids is bounded by the length the list claims,
//! not by its bytes; who reads an image should refuse a list longer than its number of accounts.

mod bits;
mod delta;
mod fano;
mod lookup;
mod neighbors;
mod order;
mod roaring_view;
mod sequence;
mod set;
#[cfg(test)]
mod tests;
#[cfg(feature = "testing")]
pub(crate) mod trials;

pub(crate) use delta::{EdgeState, ListDelta};
pub(crate) use lookup::IdLookup;
pub(crate) use neighbors::{ListPlace, Neighbors};

use crate::error::{Error, Result};
use bits::{Reader, write_varint};
use order::OrderView;
use set::{SetForm, SetView};

/// The place of an edge in one list. Ascending order is oldest to newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EdgeKey {
    /// Unix seconds; 0 where the time is not known.
    pub(crate) at: u32,
    /// Orders the edges of one time: larger is later.
    pub(crate) tie: u32,
    /// The account on the other side.
    pub(crate) id: u32,
}

/// One list of one account, decoded: parallel vectors, the ids strictly ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EdgeList {
    pub(crate) ids: Vec<u32>,
    pub(crate) at: Vec<u32>,
    pub(crate) tie: Vec<u32>,
}

impl EdgeList {
    pub(crate) fn len(&self) -> u32 {
        self.ids.len() as u32
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.ids.clear();
        self.at.clear();
        self.tie.clear();
    }

    /// Appends an edge whose id is above all others.
    pub(crate) fn push(&mut self, key: EdgeKey) {
        self.ids.push(key.id);
        self.at.push(key.at);
        self.tie.push(key.tie);
    }

    /// The edges in ascending order of their ids.
    pub(crate) fn keys(&self) -> impl Iterator<Item = EdgeKey> + '_ {
        let times = self.at.iter().zip(&self.tie);
        self.ids.iter().zip(times).map(|(&id, (&at, &tie))| EdgeKey { at, tie, id })
    }
}

/// Appends both lists of one account, in O(n log n) of their edges.
///
/// The length of the following list comes first, so that the follower list is found without reading
/// the other; it says itself where it ends. An account without edges has no bytes.
pub(crate) fn encode_sets(following: &EdgeList, followers: &EdgeList, out: &mut Vec<u8>) {
    debug_assert!(
        !following.is_empty() || !followers.is_empty(),
        "an account without edges has no bytes"
    );
    let start = out.len();
    if !following.is_empty() {
        encode_list(following, out);
    }
    let mut following_bytes = Vec::with_capacity(2);
    write_varint((out.len() - start) as u64, &mut following_bytes);
    out.splice(start..start, following_bytes);
    encode_list(followers, out);
}

/// A head of `len << 2 | has order << 1 | form`, the set, the order.
fn encode_list(list: &EdgeList, out: &mut Vec<u8>) {
    debug_assert!(list.ids.is_sorted_by(|a, b| a < b), "the ids of a list are strictly ascending");
    if list.is_empty() {
        out.push(0);
        return;
    }
    let mut order = Vec::new();
    order::encode(list, &mut order);
    let form = SetForm::choose(list.ids.len());
    let flags = u64::from(!order.is_empty()) << 1 | form as u64;
    write_varint(u64::from(list.len()) << 2 | flags, out);
    set::encode(form, &list.ids, out);
    out.extend_from_slice(&order);
}

/// Both lists of one account, read in place.
#[derive(Clone, Copy)]
pub(crate) struct SetsView<'a> {
    pub(crate) following: ListView<'a>,
    pub(crate) followers: ListView<'a>,
}

impl<'a> SetsView<'a> {
    /// The lists of an account without edges.
    pub(crate) const EMPTY: SetsView<'static> =
        SetsView { following: ListView::EMPTY, followers: ListView::EMPTY };

    /// Finds the lists at the front of `bytes`, which may go on behind them.
    ///
    /// O(1): only the heads are read. `ErrorKind::Corrupt` when they cannot be what was written.
    #[inline]
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<SetsView<'a>> {
        let mut reader = Reader::new(bytes);
        let following_bytes = reader.varint()?;
        let following = match reader.take(following_bytes)? {
            [] => ListView::EMPTY,
            following => ListView::parse(following)?,
        };
        Ok(SetsView { following, followers: ListView::parse(reader.rest())? })
    }

    /// The following list alone, of the same bytes.
    pub(crate) fn parse_following(bytes: &'a [u8]) -> Result<ListView<'a>> {
        let mut reader = Reader::new(bytes);
        let following_bytes = reader.varint()?;
        match reader.take(following_bytes)? {
            [] => Ok(ListView::EMPTY),
            following => ListView::parse(following),
        }
    }

    /// The follower list alone, of the same bytes.
    #[inline]
    pub(crate) fn parse_followers(bytes: &'a [u8]) -> Result<ListView<'a>> {
        let mut reader = Reader::new(bytes);
        let following_bytes = reader.varint()?;
        reader.take(following_bytes)?;
        ListView::parse(reader.rest())
    }

    /// Where in the bytes the follower list begins; anywhere where they are damaged.
    #[inline]
    pub(crate) fn followers_start(bytes: &[u8]) -> usize {
        let mut reader = Reader::new(bytes);
        let following_bytes = reader.varint().unwrap_or(0);
        (bytes.len() - reader.rest().len()).saturating_add(following_bytes as usize)
    }

    /// Reads everything and says which rule the bytes break, if one. O(n log n).
    pub(crate) fn validate(&self) -> Result<()> {
        self.followers.validate()?;
        match self.following.validate()? {
            [] => Ok(()),
            _ => Err(Error::corrupt("a following list ends before its bytes do")),
        }
    }

    /// What comes behind both lists. O(1).
    #[inline]
    pub(crate) fn rest(&self) -> Result<&'a [u8]> {
        self.followers.behind()
    }

    /// The time of the newest edge of both lists; 0 where there is none.
    pub(crate) fn newest_at(&self) -> Result<u32> {
        Ok(self.following.newest_at()?.max(self.followers.newest_at()?))
    }

    /// The length of the longer list.
    #[inline]
    pub(crate) fn longest(&self) -> u32 {
        self.following.len.max(self.followers.len)
    }
}

/// One list as the image has it. Membership reads the set alone; the order behind it is read where
/// times are asked for.
#[derive(Clone, Copy)]
pub(crate) struct ListView<'a> {
    len: u32,
    has_order: bool,
    set: SetView<'a>,
    /// The bytes behind the set: the order, where there is one, and what follows the list.
    rest: &'a [u8],
}

impl<'a> ListView<'a> {
    pub(crate) const EMPTY: ListView<'static> =
        ListView { len: 0, has_order: false, set: SetView::Empty, rest: &[] };

    #[inline]
    fn parse(bytes: &'a [u8]) -> Result<ListView<'a>> {
        let mut reader = Reader::new(bytes);
        let head = reader.varint()?;
        if head == 0 {
            return Ok(ListView { rest: reader.rest(), ..ListView::EMPTY });
        }
        let len = u32::try_from(head >> 2).ok().filter(|&len| len != 0);
        let len = len.ok_or_else(|| Error::corrupt("a list has an impossible length"))?;
        let form = if head & 1 == 0 { SetForm::Packed } else { SetForm::Roaring };
        let set = SetView::parse(form, len, &mut reader)?;
        Ok(ListView { len, has_order: head & 2 != 0, set, rest: reader.rest() })
    }

    #[inline]
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// O(log n).
    #[inline]
    pub(crate) fn contains(&self, id: u32) -> bool {
        self.set.contains(id)
    }

    #[inline]
    fn image_ids(&self) -> ImageIds<'a> {
        self.set.iter().take(self.len as usize)
    }

    /// The ids below one, or all of them, descending: O(log n) to begin.
    fn ids_below(&self, below: Option<u32>) -> set::SetRev<'a> {
        let count = below.map_or(self.len, |below| self.set.rank(below).min(self.len));
        self.set.rev_from(count)
    }

    /// Calls `visit` with every id, ascending: faster than the iterator.
    #[inline]
    fn for_each_id(&self, visit: impl FnMut(u32)) {
        self.set.for_each(self.len, visit);
    }

    /// The order of the list, and what comes behind it. O(1).
    fn order(&self) -> Result<(OrderView<'a>, &'a [u8])> {
        if !self.has_order {
            return Ok((OrderView::implied(self.len), self.rest));
        }
        let mut reader = Reader::new(self.rest);
        let order = OrderView::parse(self.len, &mut reader)?;
        Ok((order, reader.rest()))
    }

    /// What comes behind the list. O(1).
    #[inline]
    pub(crate) fn behind(&self) -> Result<&'a [u8]> {
        if self.has_order { Ok(self.order()?.1) } else { Ok(self.rest) }
    }

    /// The edges strictly below a cursor, newest first: O(log n) to begin, about O(1) a step.
    fn newest_image(&self, below: Option<EdgeKey>) -> Result<order::Newest<'a>> {
        Ok(self.order()?.0.newest(below, &self.set))
    }

    /// The time of the newest edge; 0 where there is none. O(1).
    fn newest_at(&self) -> Result<u32> {
        Ok(self.order()?.0.newest_at())
    }

    /// The largest tie among the edges of this time: O(1) when all are older, else O(log n).
    pub(crate) fn max_tie(&self, at: u32) -> Result<Option<u32>> {
        Ok(self.order()?.0.max_tie(at, &self.set))
    }

    /// Replaces the contents of `list`, in O(n).
    pub(crate) fn decode_into(&self, list: &mut EdgeList) -> Result<()> {
        list.clear();
        self.set.decode_into(self.len, &mut list.ids);
        self.order()?.0.decode_into(list);
        Ok(())
    }

    pub(crate) fn edges(&self) -> Result<EdgeList> {
        let mut list = EdgeList::default();
        self.decode_into(&mut list)?;
        Ok(list)
    }

    /// Reads everything, says which rule the bytes break, if one, and gives back what comes behind
    /// the list. O(n log n).
    pub(crate) fn validate(&self) -> Result<&'a [u8]> {
        self.set.validate(self.len)?;
        let (order, rest) = self.order()?;
        order.validate(&self.set)?;
        Ok(rest)
    }

    fn intersection_len(&self, other: &ListView<'_>) -> u64 {
        match (&self.set, &other.set) {
            (SetView::Empty, _) | (_, SetView::Empty) => 0,
            (SetView::Roaring(a), SetView::Roaring(b)) => a.intersection_len(b),
            (SetView::Packed { .. }, SetView::Packed { .. } | SetView::Roaring(_))
            | (SetView::Roaring(_), SetView::Packed { .. }) => {
                Neighbors::of_image(*self).intersection(&Neighbors::of_image(*other)).count() as u64
            }
        }
    }
}

/// The ids of a list in the image, ascending.
type ImageIds<'a> = std::iter::Take<set::SetIter<'a>>;
