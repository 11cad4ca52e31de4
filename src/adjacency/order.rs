//! The order of one list in the image: the time and the tie of every edge, newest first.
//!
//! The *stored* edges have an entry each: its time and tie, packed as a non-decreasing sequence of
//! `(newest - at) << tie_bits | inverted tie`, and its place in the sorted set. The *implied* edges
//! are the oldest ones of the list that share one time and whose tie is their own id, as a bulk
//! import gives them: only the time is stored, and their order is that of their ids, descending.
//! A few implied edges among many stored ones are cheaper listed than marked; they then have an
//! entry without a tie, and count as stored here.
//!
//! Layout: one byte of kind and tie bits, then by kind
//!
//! | kind | bytes |
//! |---|---|
//! | 0, all implied | time `u32` |
//! | 1, all stored | entries |
//! | 2, some of each | varint number stored, implied time `u32`, a bit an id (1: stored), entries |
//! | 3, all stored, some of them listed | varint number listed, entries |
//!
//! entries: newest time `u32`, first value as varint when there are tie bits, the
//! [`sequence`](super::sequence), places of `bit_len(len - 1)` bits. No bytes at all stand for
//! "all implied, time 0".

use super::bits::{
    BitWriter, Reader, bit_len, bits_at, is_zero_from, low_mask, word_at, write_varint,
};
use super::sequence::{self, Sequence, SequenceIter};
use super::set::{SetRev, SetView};
use super::{EdgeKey, EdgeList};
use crate::error::{Error, Result};

const ALL_IMPLIED: u8 = 0;
const ALL_STORED: u8 = 1;
const SOME_STORED: u8 = 2;
const SOME_LISTED: u8 = 3;

#[derive(Clone, Copy)]
pub(super) struct OrderView<'a> {
    len: u32,
    stored: u32,
    /// How many of the last stored edges have their id as their tie.
    listed: u32,
    implied_at: u32,
    newest_at: u32,
    tie_bits: u32,
    first: u64,
    times: Sequence<'a>,
    places: &'a [u8],
    /// A bit an id, one for the stored; empty unless some are stored and some implied.
    marks: &'a [u8],
}

/// What the edges of a list need, decided before the first byte is written.
struct Plan {
    /// The places of the stored edges, newest first.
    stored: Vec<u32>,
    listed: u32,
    oldest_at: u32,
}

fn plan(list: &EdgeList) -> Plan {
    let key = |place: usize| (list.at[place], list.tie[place], list.ids[place]);
    let oldest_at = list.at.iter().copied().min().unwrap_or(0);
    let own_tie = |place: usize| list.at[place] == oldest_at && list.tie[place] == list.ids[place];
    // Every edge older than this one is implied.
    let boundary = (0..list.ids.len()).filter(|&place| !own_tie(place)).map(key).min();
    let is_implied = |place: usize| boundary.is_none_or(|boundary| key(place) < boundary);
    let mut stored: Vec<u32> =
        (0..list.ids.len()).filter(|&place| !is_implied(place)).map(|place| place as u32).collect();
    stored.sort_unstable_by_key(|&place| std::cmp::Reverse(key(place as usize)));
    let implied = list.ids.len() - stored.len();
    let place_width = bit_len(list.ids.len() as u64 - 1) as usize;
    let mut listed = 0;
    if !stored.is_empty() && implied * place_width <= list.ids.len() {
        listed = implied as u32;
        let places = (0..list.ids.len()).rev().filter(|&place| is_implied(place));
        stored.extend(places.map(|place| place as u32));
    }
    Plan { stored, listed, oldest_at }
}

/// Appends the order of a list of at least one edge; nothing when no byte is needed.
pub(super) fn encode(list: &EdgeList, out: &mut Vec<u8>) {
    let plan = plan(list);
    if plan.stored.is_empty() {
        if plan.oldest_at != 0 {
            out.push(ALL_IMPLIED);
            out.extend_from_slice(&plan.oldest_at.to_le_bytes());
        }
        return;
    }
    let untied = plan.stored.len() - plan.listed as usize;
    let largest_tie = plan.stored[..untied].iter().map(|&place| list.tie[place as usize]).max();
    let tie_bits = bit_len(u64::from(largest_tie.unwrap_or(0)));
    let kind = match plan.listed {
        _ if plan.stored.len() < list.ids.len() => SOME_STORED,
        0 => ALL_STORED,
        _ => SOME_LISTED,
    };
    out.push(kind | (tie_bits as u8) << 2);
    if kind == SOME_LISTED {
        write_varint(u64::from(plan.listed), out);
    }
    if kind == SOME_STORED {
        write_varint(plan.stored.len() as u64, out);
        out.extend_from_slice(&plan.oldest_at.to_le_bytes());
        write_marks(&plan.stored, list.ids.len(), out);
    }
    let newest_at = list.at[plan.stored[0] as usize];
    let value = |i: u32| {
        let place = plan.stored[i as usize] as usize;
        let tie = if (i as usize) < untied { list.tie[place] } else { 0 };
        packed_key(newest_at - list.at[place], tie, tie_bits)
    };
    out.extend_from_slice(&newest_at.to_le_bytes());
    let first = value(0);
    if tie_bits != 0 {
        write_varint(first, out);
    }
    sequence::encode(plan.stored.len() as u32, |i| value(i) - first, out);
    let place_width = bit_len(list.ids.len() as u64 - 1);
    let mut places = BitWriter::new(out);
    plan.stored.iter().for_each(|&place| places.write(u64::from(place), place_width));
    places.finish();
}

fn write_marks(stored: &[u32], len: usize, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + len.div_ceil(8), 0);
    for &place in stored {
        out[start + place as usize / 8] |= 1 << (place % 8);
    }
}

/// Newer times and larger ties come first, so both are turned round.
fn packed_key(age: u32, tie: u32, tie_bits: u32) -> u64 {
    let inverted = low_mask(tie_bits) - u64::from(tie);
    u64::from(age) << tie_bits | inverted
}

impl<'a> OrderView<'a> {
    pub(super) const EMPTY: OrderView<'static> = OrderView {
        len: 0,
        stored: 0,
        listed: 0,
        implied_at: 0,
        newest_at: 0,
        tie_bits: 0,
        first: 0,
        times: Sequence::EMPTY,
        places: &[],
        marks: &[],
    };

    /// The order of which nothing is stored.
    pub(super) fn implied(len: u32) -> OrderView<'a> {
        OrderView { len, ..OrderView::EMPTY }
    }

    /// Takes the order of `len` edges from the front of `reader`, in O(1).
    pub(super) fn parse(len: u32, reader: &mut Reader<'a>) -> Result<OrderView<'a>> {
        let mut order = OrderView::implied(len);
        let kind = reader.byte()?;
        order.tie_bits = u32::from(kind >> 2);
        let fits = match kind & 3 {
            ALL_IMPLIED => {
                order.implied_at = reader.fixed_u32()?;
                order.tie_bits == 0
            }
            ALL_STORED => {
                order.stored = len;
                true
            }
            SOME_STORED => {
                order.stored = reader.varint_u32()?;
                order.implied_at = reader.fixed_u32()?;
                order.marks = reader.take(u64::from(len).div_ceil(8))?;
                (1..len).contains(&order.stored)
            }
            SOME_LISTED..=u8::MAX => {
                order.stored = len;
                order.listed = reader.varint_u32()?;
                (1..len).contains(&order.listed)
            }
        };
        if !fits || u32::BITS < order.tie_bits {
            return Err(Error::corrupt("the order of a list does not fit its length"));
        }
        if order.stored == 0 {
            return Ok(order);
        }
        order.newest_at = reader.fixed_u32()?;
        order.first = if order.tie_bits == 0 { 0 } else { reader.varint()? };
        order.times = Sequence::parse(order.stored, reader)?;
        let place_bits = u64::from(order.stored) * u64::from(order.place_width());
        order.places = reader.take(place_bits.div_ceil(8))?;
        Ok(order)
    }

    fn place_width(&self) -> u32 {
        bit_len(u64::from(self.len.saturating_sub(1)))
    }

    fn place(&self, index: u32) -> u32 {
        let width = self.place_width();
        bits_at(self.places, u64::from(index) * u64::from(width), width) as u32
    }

    /// The time and the tie a value of the sequence stands for.
    fn unpack(&self, value: u64) -> (u32, u32) {
        let value = value.saturating_add(self.first);
        let age = (value >> self.tie_bits).min(u64::from(u32::MAX));
        let inverted = value & low_mask(self.tie_bits);
        (self.newest_at.saturating_sub(age as u32), (low_mask(self.tie_bits) - inverted) as u32)
    }

    fn stored_key(&self, index: u32, value: u64, set: &SetView<'_>) -> Option<EdgeKey> {
        let (at, tie) = self.unpack(value);
        let id = set.select(self.place(index))?;
        let has_own_tie = self.stored - self.listed <= index;
        Some(EdgeKey { at, tie: if has_own_tie { id } else { tie }, id })
    }

    /// The stored edges below `below`, newest first.
    fn stored_from(&self, below: Option<EdgeKey>, set: &SetView<'a>) -> SequenceIter<'a> {
        let Some(below) = below else {
            return self.times.iter();
        };
        let tied_from = self.stored - self.listed;
        let mut start = self.times.iter();
        if self.newest_at < below.at {
            return start;
        }
        let tie = u64::from(below.tie).min(low_mask(self.tie_bits)) as u32;
        let sought = packed_key(self.newest_at - below.at, tie, self.tie_bits);
        let target = sought.saturating_sub(self.first);
        start = self.times.seek(target);
        // Only edges of the very time and tie of the cursor are passed one by one.
        while start.index() < tied_from {
            let mut ahead = start.clone();
            let index = start.index();
            match ahead.next().and_then(|value| self.stored_key(index, value, set)) {
                Some(key) if below <= key => start = ahead,
                Some(_) | None => return start,
            }
        }
        let key_at = |index| self.stored_key(index, self.times.get(index)?, set);
        let (mut low, mut high) = (tied_from, self.stored);
        while low < high {
            let middle = low.midpoint(high);
            if key_at(middle).is_some_and(|key| below <= key) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        self.times.iter_at(low.max(start.index()))
    }

    /// How many of the lowest ids hold all implied edges below `below`.
    fn implied_below(&self, below: Option<EdgeKey>, set: &SetView<'a>) -> u32 {
        if self.stored == self.len {
            return 0;
        }
        let Some(below) = below else { return self.len };
        match self.implied_at.cmp(&below.at) {
            std::cmp::Ordering::Less => self.len,
            std::cmp::Ordering::Greater => 0,
            std::cmp::Ordering::Equal => {
                // An implied edge is (id, id) here; it is below (tie, id) exactly then.
                let end = below.tie.saturating_add(u32::from(below.tie < below.id));
                set.rank(end).min(self.len)
            }
        }
    }

    /// The keys below `below`, newest first.
    pub(super) fn newest(&self, below: Option<EdgeKey>, set: &SetView<'a>) -> Newest<'a> {
        let times = self.stored_from(below, set);
        let rank = self.implied_below(below, set);
        Newest { order: *self, set: *set, times, rank, ids: None }
    }

    /// The time of the newest edge; 0 where there is none.
    pub(super) fn newest_at(&self) -> u32 {
        if self.stored == 0 { self.implied_at } else { self.newest_at }
    }

    /// The largest tie among the edges of this time; O(1) when every edge is older.
    pub(super) fn max_tie(&self, at: u32, set: &SetView<'a>) -> Option<u32> {
        if self.len == 0 || self.newest_at() < at {
            return None;
        }
        // All keys of the time and older ones are below the lowest key of the second after it.
        let above = at.checked_add(1).map(|at| EdgeKey { at, tie: 0, id: 0 });
        let found = self.newest(above, set).next()?;
        (found.at == at).then_some(found.tie)
    }

    /// Fills the times and ties of a list whose ids are there.
    pub(super) fn decode_into(&self, list: &mut EdgeList) {
        list.at.clear();
        list.at.resize(list.ids.len(), self.implied_at);
        list.tie.clear();
        list.tie.extend_from_slice(&list.ids);
        let (tied, mut index) = (self.stored - self.listed, 0);
        self.times.for_each(|value| {
            let place = self.place(index) as usize;
            let (at, tie) = self.unpack(value);
            if let Some(slot) = list.at.get_mut(place) {
                *slot = at;
            }
            if let Some(slot) = list.tie.get_mut(place).filter(|_| index < tied) {
                *slot = tie;
            }
            index += 1;
        });
    }

    /// Reads everything: the stored places differ and agree with the marks, the keys descend, and
    /// the padding is zero.
    pub(super) fn validate(&self, set: &SetView<'a>) -> Result<()> {
        self.times.validate()?;
        let corrupt = |what| Err(Error::corrupt(what));
        let oldest = self.times.span().checked_add(self.first);
        if oldest.is_none_or(|oldest| u64::from(self.newest_at) < oldest >> self.tie_bits) {
            return corrupt("the times of a list go below zero");
        }
        if self.first >> self.tie_bits != 0 {
            return corrupt("the newest time of a list is not its first");
        }
        let mut seen = vec![0_u8; (self.len as usize).div_ceil(8)];
        for index in 0..self.stored {
            let place = self.place(index);
            let bit = 1 << (place % 8);
            match seen.get_mut(place as usize / 8) {
                Some(byte) if place < self.len && *byte & bit == 0 => *byte |= bit,
                Some(_) | None => return corrupt("the order of a list is not a permutation"),
            }
        }
        if !self.marks.is_empty() && seen != self.marks {
            return corrupt("the marks of a list do not agree with its order");
        }
        let place_bits = u64::from(self.stored) * u64::from(self.place_width());
        if !is_zero_from(self.places, place_bits) {
            return corrupt("the padding of a list is not zero");
        }
        let (mut previous, mut count) = (None, 0);
        for key in self.newest(None, set) {
            if previous.is_some_and(|previous| previous <= key) {
                return corrupt("the edges of a list are not in the order of their times");
            }
            (previous, count) = (Some(key), count + 1);
        }
        if count == self.len { Ok(()) } else { corrupt("the order of a list lacks edges") }
    }

    /// The largest number of edges, at most `rank`, of which the last is implied.
    fn skip_stored(&self, rank: u32) -> u32 {
        let mut end = u64::from(rank.min(self.len));
        while 0 < end {
            let start = end.saturating_sub(64);
            let width = (end - start) as u32;
            let implied = !word_at(self.marks, start) & low_mask(width);
            if implied != 0 {
                return (start + 64 - u64::from(implied.leading_zeros())) as u32;
            }
            end = start;
        }
        0
    }
}

/// The keys of a list, newest first: the stored ones, then the implied ones.
#[derive(Clone)]
pub(super) struct Newest<'a> {
    order: OrderView<'a>,
    set: SetView<'a>,
    times: SequenceIter<'a>,
    /// The implied edges still to come are among the lowest `rank` ids.
    rank: u32,
    /// Walks down from `rank`, once the implied edges have begun.
    ids: Option<SetRev<'a>>,
}

impl Newest<'_> {
    fn next_implied(&mut self) -> Option<EdgeKey> {
        if self.rank == 0 {
            return None;
        }
        let end =
            if self.order.marks.is_empty() { self.rank } else { self.order.skip_stored(self.rank) };
        let ids = match &mut self.ids {
            Some(ids) if self.rank - end < 64 => {
                (end..self.rank).for_each(|_| _ = ids.next());
                ids
            }
            slot => slot.insert(self.set.rev_from(end)),
        };
        self.rank = end.checked_sub(1)?;
        let id = ids.next()?;
        Some(EdgeKey { at: self.order.implied_at, tie: id, id })
    }
}

impl Iterator for Newest<'_> {
    type Item = EdgeKey;

    fn next(&mut self) -> Option<EdgeKey> {
        let index = self.times.index();
        if index < self.order.stored
            && let Some(value) = self.times.next()
        {
            return self.order.stored_key(index, value, &self.set);
        }
        self.next_implied()
    }
}
