//! What must hold for lists and bytes of any kind: the door through which fuzzers and property
//! tests come in. Each function panics where something does not hold.

use super::bits::{Reader, write_varint};
use super::roaring_view::RoaringView;
use super::set::{self, SetForm, SetView};
use super::{EdgeKey, EdgeList, ListView, Neighbors, SetsView, encode_sets};
use roaring::RoaringBitmap;
use std::collections::BTreeMap;

/// Longer lists than this are refused by who reads an image, which has fewer accounts.
const LEN_MAX: u32 = 1 << 18;

/// Lists come back from their bytes as they were, whatever ids, times and ties they have.
pub(crate) fn lists_come_back(following: &[EdgeKey], followers: &[EdgeKey]) {
    let (following, followers) = (list_of(following), list_of(followers));
    if following.is_empty() && followers.is_empty() {
        return;
    }
    let mut bytes = Vec::new();
    encode_sets(&following, &followers, &mut bytes);
    // What comes behind the lists of one account are those of the next.
    bytes.extend([0xff; 9]);
    let sets = SetsView::parse(&bytes).expect("what was written is read");
    sets.validate().expect("what was written is whole");
    assert_eq!(SetsView::parse_followers(&bytes).expect("whole").len(), followers.len());
    for (view, list) in [(sets.following, following), (sets.followers, followers)] {
        assert_eq!(view.edges().expect("whole"), list);
        check_answers(view, &list);
    }
}

/// Bytes of any kind as the two lists of an account: refused, or read within bounds; and where
/// `validate` has no complaint, consistent.
pub(crate) fn bytes_of_lists_are_safe(bytes: &[u8]) {
    let Ok(sets) = SetsView::parse(bytes) else { return };
    if sets.longest() > LEN_MAX {
        return;
    }
    let is_whole = sets.validate().is_ok();
    let _ = sets.newest_at();
    for view in [sets.following, sets.followers] {
        let Ok(list) = view.edges() else {
            assert!(!is_whole, "what is valid can be decoded");
            continue;
        };
        if is_whole {
            check_answers(view, &list);
        } else {
            ask_anything(view);
        }
    }
    if is_whole && sets.longest() > 0 {
        let [following, followers] =
            [sets.following, sets.followers].map(|view| view.edges().expect("decoded above"));
        lists_come_back(
            &following.keys().collect::<Vec<_>>(),
            &followers.keys().collect::<Vec<_>>(),
        );
    }
}

/// Two sets of ids in either form, against the bitmaps of the `roaring` crate.
pub(crate) fn sets_agree(a: &[u32], b: &[u32]) {
    let bitmaps = [a, b].map(|ids| ids.iter().copied().collect::<RoaringBitmap>());
    for form in [SetForm::Packed, SetForm::Roaring] {
        let encoded = [&bitmaps[0], &bitmaps[1]].map(|bitmap| encoded(form, bitmap));
        for (bytes, bitmap) in encoded.iter().zip(&bitmaps) {
            if !bitmap.is_empty() {
                check_set(form, bytes, bitmap);
            }
        }
        let [Some(a), Some(b)] =
            [0, 1].map(|side| roaring_view(form, &encoded[side], &bitmaps[side]))
        else {
            continue;
        };
        let common = bitmaps[0].intersection_len(&bitmaps[1]);
        assert_eq!((a.intersection_len(&b), b.intersection_len(&a)), (common, common));
    }
}

/// Bytes of any kind as a portable bitmap: refused, or read within bounds; and where `validate` has
/// no complaint, the `roaring` crate reads the same ids from them.
pub(crate) fn bytes_of_roaring_are_safe(portable: &[u8], ends: &[u8]) {
    let theirs = RoaringBitmap::deserialize_from(portable);
    let mut bytes = Vec::new();
    write_varint(portable.len() as u64, &mut bytes);
    bytes.extend_from_slice(portable);
    let len = match &theirs {
        // Hostile bytes seldom have the right ends, so that valid ones are given theirs.
        Ok(bitmap) if ends.is_empty() => {
            bytes.extend(ends_of(bitmap).iter().flat_map(|end| end.to_le_bytes()));
            bitmap.len()
        }
        _ => {
            bytes.extend_from_slice(ends);
            let last = ends.last_chunk::<4>().copied().unwrap_or_default();
            u64::from(u32::from_le_bytes(last))
        }
    };
    let Ok(len @ 1..=LEN_MAX) = u32::try_from(len) else { return };
    let Ok(set) = SetView::parse(SetForm::Roaring, len, &mut Reader::new(&bytes)) else { return };
    if set.validate(len).is_err() {
        ask_anything_of_set(&set, len);
        return;
    }
    let theirs = theirs.expect("what is valid here is valid there");
    check_set(SetForm::Roaring, &bytes, &theirs);
}

/// The last of the edges with one id counts.
fn list_of(keys: &[EdgeKey]) -> EdgeList {
    let by_id: BTreeMap<u32, EdgeKey> = keys.iter().map(|key| (key.id, *key)).collect();
    let mut list = EdgeList::default();
    for key in by_id.into_values() {
        list.push(key);
    }
    list
}

/// Every answer of a list that is whole, against its edges.
fn check_answers(view: ListView<'_>, list: &EdgeList) {
    assert_eq!(view.len(), list.len());
    assert!(list.ids.is_sorted_by(|a, b| a < b), "ids ascend");
    let now = Neighbors::new(view, None);
    assert!(now.iter().eq(list.ids.iter().copied()), "iteration");
    for &id in &list.ids {
        for probe in [id.wrapping_sub(1), id, id.wrapping_add(1)] {
            assert_eq!(now.contains(probe), list.ids.binary_search(&probe).is_ok(), "{probe}");
        }
    }
    let mut keys: Vec<EdgeKey> = list.keys().collect();
    keys.sort_unstable_by(|a, b| b.cmp(a));
    assert!(now.newest(None).expect("whole").eq(keys.iter().copied()), "newest first");
    for place in (0..keys.len()).step_by(1 + keys.len() / 16) {
        let below = now.newest(Some(keys[place])).expect("whole").take(40);
        assert!(below.eq(keys[place + 1..].iter().copied().take(40)), "below {:?}", keys[place]);
        let tied = keys.iter().filter(|key| key.at == keys[place].at).map(|key| key.tie).max();
        assert_eq!(view.max_tie(keys[place].at).expect("whole"), tied);
    }
}

/// Every question about a list that is not what was written. Answers may be wrong.
fn ask_anything(view: ListView<'_>) {
    ask_anything_of_set(&view.set, view.len);
    let now = Neighbors::new(view, None);
    let limit = view.len() as usize;
    let _ = now.intersection_len(&now);
    let _ = view.max_tie(0);
    for below in [None, Some(EdgeKey { at: 7, tie: 7, id: 7 })] {
        if let Ok(newest) = now.newest(below) {
            let _ = newest.take(limit).count();
        }
    }
}

fn ask_anything_of_set(set: &SetView<'_>, len: u32) {
    let _ = set.iter().take(len as usize).count();
    let _ = set.rev_from(len).take(len as usize).count();
    for probe in [0, 1, 7, 1 << 16, u32::MAX] {
        let _ = (set.contains(probe), set.rank(probe), set.select(probe.min(len)));
    }
    if let SetView::Roaring(set) = set {
        let _ = set.intersection_len(set);
    }
}

fn encoded(form: SetForm, bitmap: &RoaringBitmap) -> Vec<u8> {
    let (ids, mut bytes): (Vec<u32>, _) = (bitmap.iter().collect(), Vec::new());
    if !ids.is_empty() {
        set::encode(form, &ids, &mut bytes);
    }
    bytes
}

fn roaring_view<'a>(
    form: SetForm,
    bytes: &'a [u8],
    bitmap: &RoaringBitmap,
) -> Option<RoaringView<'a>> {
    let is_there = form == SetForm::Roaring && !bitmap.is_empty();
    is_there.then(|| {
        RoaringView::parse(bitmap.len() as u32, &mut Reader::new(bytes)).expect("just written")
    })
}

/// Every answer of a set, against the bitmap of the `roaring` crate.
fn check_set(form: SetForm, bytes: &[u8], bitmap: &RoaringBitmap) {
    let len = bitmap.len() as u32;
    let set = SetView::parse(form, len, &mut Reader::new(bytes)).expect("just written");
    set.validate(len).expect("just written");
    assert!(set.iter().eq(bitmap.iter()), "iteration");
    assert!(set.rev_from(len).eq(bitmap.iter().rev()), "backwards");
    let mut visited = Vec::new();
    set.for_each(len, |id| visited.push(id));
    assert!(visited.iter().copied().eq(bitmap.iter()), "visits");
    for place in (0..len).step_by(1 + len as usize / 64) {
        let id = bitmap.select(place).expect("within");
        assert_eq!(set.select(place), Some(id));
        assert!(set.rev_from(place).take(40).eq(bitmap.iter().take(place as usize).rev().take(40)));
        for probe in [id.saturating_sub(1), id, id.saturating_add(1)] {
            assert_eq!(set.contains(probe), bitmap.contains(probe), "{probe}");
            let below = bitmap.rank(probe) - u64::from(bitmap.contains(probe));
            assert_eq!(u64::from(set.rank(probe)), below, "rank of {probe}");
        }
    }
    assert_eq!(set.select(len), None);
}

/// How many ids the containers up to and including each one hold.
fn ends_of(bitmap: &RoaringBitmap) -> Vec<u32> {
    let mut ends: Vec<(u32, u32)> = Vec::new();
    for (id, count) in bitmap.iter().zip(1..) {
        match ends.last_mut() {
            Some((high, end)) if *high == id >> 16 => *end = count,
            _ => ends.push((id >> 16, count)),
        }
    }
    ends.into_iter().map(|(_, end)| end).collect()
}
