//! The sorted set of one list in the image: packed when small, portable roaring when large.

use super::bits::{Reader, write_varint};
use super::roaring_view::{self, RoaringIter, RoaringRev, RoaringView};
use super::sequence::{self, Sequence, SequenceIter, SequenceRev};
use crate::error::{Error, Result};

/// Sets of more ids than this are kept in the portable roaring format; `docs/encodings.md` has the
/// measurement.
pub(super) const PACKED_MAX: usize = 4_096;

/// Above this many ids a set claims to hold, room is made as they come, not ahead.
const RESERVE_MAX: usize = 1 << 16;

/// How a set is written; the numbers are in the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SetForm {
    Packed = 0,
    Roaring = 1,
}

impl SetForm {
    /// The one place that chooses.
    pub(super) fn choose(len: usize) -> SetForm {
        if len <= PACKED_MAX { SetForm::Packed } else { SetForm::Roaring }
    }
}

#[derive(Clone, Copy)]
pub(super) enum SetView<'a> {
    Empty,
    Packed { first: u32, rest: Sequence<'a> },
    Roaring(RoaringView<'a>),
}

/// Appends the ids, which are strictly ascending and at least one.
pub(super) fn encode(form: SetForm, ids: &[u32], out: &mut Vec<u8>) {
    match form {
        SetForm::Packed => {
            let first = ids[0];
            write_varint(u64::from(first), out);
            sequence::encode(ids.len() as u32, |i| u64::from(ids[i as usize] - first), out);
        }
        SetForm::Roaring => roaring_view::encode(ids, out),
    }
}

impl<'a> SetView<'a> {
    #[inline]
    pub(super) fn parse(form: SetForm, len: u32, reader: &mut Reader<'a>) -> Result<SetView<'a>> {
        match form {
            SetForm::Packed => {
                let first = reader.varint_u32()?;
                let rest = Sequence::parse(len, reader)?;
                if u64::from(u32::MAX - first) < rest.span() {
                    return Err(Error::corrupt("an id of a set is above 32 bits"));
                }
                Ok(SetView::Packed { first, rest })
            }
            SetForm::Roaring => Ok(SetView::Roaring(RoaringView::parse(len, reader)?)),
        }
    }

    #[inline]
    pub(super) fn contains(&self, id: u32) -> bool {
        match self {
            SetView::Empty => false,
            SetView::Packed { first, rest } => {
                id.checked_sub(*first).is_some_and(|offset| rest.contains(u64::from(offset)))
            }
            SetView::Roaring(set) => set.contains(id),
        }
    }

    /// How many ids are below `id`.
    pub(super) fn rank(&self, id: u32) -> u32 {
        match self {
            SetView::Empty => 0,
            SetView::Packed { first, rest } => {
                id.checked_sub(*first).map_or(0, |offset| rest.seek(u64::from(offset)).index())
            }
            SetView::Roaring(set) => set.rank(id),
        }
    }

    /// The id with `rank` ids below it.
    pub(super) fn select(&self, rank: u32) -> Option<u32> {
        match self {
            SetView::Empty => None,
            SetView::Packed { first, rest } => rest.get(rank).map(|offset| place(*first, offset)),
            SetView::Roaring(set) => set.select(rank),
        }
    }

    pub(super) fn iter(&self) -> SetIter<'a> {
        match *self {
            SetView::Empty => SetIter::Empty,
            SetView::Packed { first, rest } => SetIter::Packed { first, rest: rest.iter() },
            SetView::Roaring(set) => SetIter::Roaring(set.iter()),
        }
    }

    /// Appends the ids, `len` of them at most.
    pub(super) fn decode_into(&self, len: u32, ids: &mut Vec<u32>) {
        ids.reserve((len as usize).min(RESERVE_MAX));
        self.for_each(len, |id| ids.push(id));
    }

    /// Calls `visit` with the ids in ascending order, `len` of them at most.
    #[inline]
    pub(super) fn for_each(&self, len: u32, mut visit: impl FnMut(u32)) {
        match self {
            SetView::Empty => {}
            SetView::Packed { first, rest } => rest.for_each(|offset| visit(place(*first, offset))),
            SetView::Roaring(set) => set.iter().take(len as usize).for_each(visit),
        }
    }

    /// The first `count` ids, from the last of them to the first.
    pub(super) fn rev_from(&self, count: u32) -> SetRev<'a> {
        match *self {
            SetView::Empty => SetRev::Empty,
            SetView::Packed { first, rest } => SetRev::Packed { first, rest: rest.rev_from(count) },
            SetView::Roaring(set) => SetRev::Roaring(set.rev_from(count)),
        }
    }

    /// Reads everything: as many ids as said, strictly ascending, in well-formed bytes.
    pub(super) fn validate(&self, len: u32) -> Result<()> {
        match self {
            SetView::Empty => {}
            SetView::Packed { rest, .. } => rest.validate()?,
            SetView::Roaring(set) => set.validate()?,
        }
        let (mut previous, mut count) = (None, 0);
        for id in self.iter() {
            if previous.is_some_and(|previous| id <= previous) {
                return Err(Error::corrupt("the ids of a set are out of order"));
            }
            (previous, count) = (Some(id), count + 1);
        }
        if count != u64::from(len) {
            return Err(Error::corrupt("a set holds fewer ids than it says"));
        }
        Ok(())
    }
}

/// A damaged file may hold an offset beyond its span; the id it gives is then wrong, not absent.
#[inline]
fn place(first: u32, offset: u64) -> u32 {
    first.wrapping_add(offset as u32)
}

/// The ids of a set in ascending order.
#[derive(Clone)]
pub(super) enum SetIter<'a> {
    Empty,
    Packed { first: u32, rest: SequenceIter<'a> },
    Roaring(RoaringIter<'a>),
}

impl Iterator for SetIter<'_> {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        match self {
            SetIter::Empty => None,
            SetIter::Packed { first, rest } => rest.next().map(|offset| place(*first, offset)),
            SetIter::Roaring(ids) => ids.next(),
        }
    }
}

/// The ids of a set in descending order.
#[derive(Clone)]
pub(super) enum SetRev<'a> {
    Empty,
    Packed { first: u32, rest: SequenceRev<'a> },
    Roaring(RoaringRev<'a>),
}

impl Iterator for SetRev<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        match self {
            SetRev::Empty => None,
            SetRev::Packed { first, rest } => rest.next().map(|offset| place(*first, offset)),
            SetRev::Roaring(ids) => ids.next(),
        }
    }
}
