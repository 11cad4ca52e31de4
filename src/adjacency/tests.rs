use super::*;
use proptest::prelude::*;
use roaring::RoaringBitmap;
use std::collections::{BTreeMap, BTreeSet};

/// What a list is, said without any cleverness: id to (time, tie).
type Model = BTreeMap<u32, (u32, u32)>;

fn keys_newest_first(model: &Model) -> Vec<EdgeKey> {
    let mut keys: Vec<EdgeKey> =
        model.iter().map(|(&id, &(at, tie))| EdgeKey { at, tie, id }).collect();
    keys.sort_unstable_by(|a, b| b.cmp(a));
    keys
}

fn list_of(model: &Model) -> EdgeList {
    let mut list = EdgeList::default();
    for (&id, &(at, tie)) in model {
        list.push(EdgeKey { at, tie, id });
    }
    list
}

fn max_tie(model: &Model, at: u32) -> Option<u32> {
    let edges = model.values().filter(|edge| edge.0 == at);
    edges.map(|edge| edge.1).max()
}

fn next_tie(model: &Model, at: u32) -> u32 {
    max_tie(model, at).map_or(0, |tie| tie.saturating_add(1))
}

/// Every cursor that matters around the keys: the keys, gone ones beside them, and the ends.
fn cursors(keys: &[EdgeKey], step: usize) -> Vec<EdgeKey> {
    let around = |key: &EdgeKey| {
        let &EdgeKey { at, tie, id } = key;
        [
            *key,
            EdgeKey { at, tie, id: id.saturating_add(1) },
            EdgeKey { at, tie: tie.saturating_add(1), id: 0 },
            EdgeKey { at: at.saturating_add(1), tie: 0, id: 5 },
            EdgeKey { at: at.saturating_sub(1), tie: u32::MAX, id: u32::MAX },
            EdgeKey { at, tie: tie.saturating_sub(1), id },
        ]
    };
    let ends = [0, u32::MAX].map(|end| EdgeKey { at: end, tie: end, id: end });
    keys.iter().step_by(step.max(1)).flat_map(around).chain(ends).collect()
}

#[track_caller]
fn check_neighbors(now: &Neighbors<'_>, model: &Model) {
    assert_eq!(now.len() as usize, model.len());
    assert!(now.iter().eq(model.keys().copied()), "ids");
    assert_eq!(now.edges().expect("whole"), list_of(model));
    for &id in model.keys().step_by(1 + model.len() / 300) {
        for probe in [id.saturating_sub(1), id, id.saturating_add(1)] {
            assert_eq!(now.contains(probe), model.contains_key(&probe), "contains {probe}");
        }
    }
    let keys = keys_newest_first(model);
    // Ascending, so that the largest tie of each time is the one that stays.
    let max_ties: BTreeMap<u32, u32> = keys.iter().rev().map(|key| (key.at, key.tie)).collect();
    let newest = |below| now.newest(below).expect("whole");
    assert!(newest(None).eq(keys.iter().copied()), "newest first");
    for cursor in cursors(&keys, keys.len() / if cfg!(miri) { 2 } else { 25 }) {
        let start = keys.partition_point(|&key| cursor <= key);
        let page = keys[start..].iter().copied().take(70);
        assert!(newest(Some(cursor)).take(70).eq(page), "below {cursor:?}");
        let next_tie = max_ties.get(&cursor.at).map_or(0, |tie| tie.saturating_add(1));
        assert_eq!(now.next_tie(cursor.at).expect("whole"), next_tie, "tie at {}", cursor.at);
    }
}

/// A list through its bytes: parsed where it ends, valid, and the same in every answer.
#[track_caller]
fn check_list(list: &EdgeList) {
    let (mut bytes, other) = (Vec::new(), EdgeList { ids: vec![7], at: vec![9], tie: vec![7] });
    encode_sets(list, &other, &mut bytes);
    let end = bytes.len();
    bytes.extend([0xa5; 9]);
    let sets = SetsView::parse(&bytes).expect("encoded above");
    assert_eq!(sets.followers.edges().expect("encoded above"), other);
    sets.validate().expect("encoded above");
    let newest_at = list.at.iter().copied().max().unwrap_or(0);
    assert_eq!(sets.newest_at().expect("encoded above"), newest_at.max(9));
    let view = sets.following;
    assert_eq!(view.edges().expect("encoded above"), *list);
    assert_eq!(view.len(), list.len());
    let model = list.keys().map(|key| (key.id, (key.at, key.tie))).collect();
    check_neighbors(&Neighbors::new(view, None), &model);
    for at in list.at.iter().copied().take(20) {
        assert_eq!(view.max_tie(at).expect("encoded above"), max_tie(&model, at));
    }
    let cut = SetsView::parse(&bytes[..end - 1]).and_then(|sets| sets.validate());
    assert!(cut.is_err(), "a cut encoding is refused");
}

/// Ids by a rule, so that every set form, container kind and width is met.
fn ids_of(shape: u8, len: usize, start: u32) -> Vec<u32> {
    let len = len as u32;
    let start = start % (1 << 30);
    let ids: BTreeSet<u32> = match shape % 6 {
        0 => (0..len).map(|i| start.wrapping_add(i)).collect(),
        1 => (0..len).map(|i| i.wrapping_mul(2_654_435_761)).collect(),
        2 => (0..len).map(|i| start / 2 + i * 3 + i % 2).collect(),
        3 => (0..len).map(|i| start / 2 + i / 1000 * 70_000 + i % 1000).collect(),
        4 => (0..len).map(|i| u32::MAX - i * 17 - i % 13).collect(),
        _ => (0..len)
            .map(|i| if i < len / 2 { i } else { start | (0x8000_0000 ^ (i * 999)) })
            .collect(),
    };
    ids.into_iter().collect()
}

/// Times by a rule: implied wholly, in part, not at all, with and without ties.
fn timed(ids: Vec<u32>, shape: u8, at: u32, cut: usize) -> EdgeList {
    let mut list = EdgeList::default();
    for (i, id) in ids.into_iter().enumerate() {
        let step = i as u32;
        let scattered = step.wrapping_mul(40_503) % 10_007;
        let later = at.saturating_add(1).saturating_add(scattered);
        let (at, tie) = match shape % 8 {
            0 => (0, id),
            2 => (later.saturating_add(step << 7), 0),
            3 if i % (cut + 2) == 0 => (later, step),
            1 | 3 => (at, id),
            4 if i == cut => (at, id),
            4 => (later, step % 3),
            5 => (at, if i % 5 == 0 { u32::MAX - step } else { id }),
            6 => (at, step),
            _ => (scattered % 4, if i % 2 == 0 { id } else { step }),
        };
        list.push(EdgeKey { at, tie, id });
    }
    list
}

const LENS: [usize; 24] = [
    1, 2, 3, 4, 5, 16, 31, 32, 33, 127, 128, 129, 130, 255, 256, 257, 1000, 4095, 4096, 4097, 5000,
    9000, 300, 70_000,
];
/// The longest list. Miri, which takes a thousand times as long, is given shorter ones.
const LEN_MAX: usize = if cfg!(miri) { 16 } else { 70_000 };
/// The longest list that is drawn, and the most bytes.
const DRAWN_MAX: usize = if cfg!(miri) { 20 } else { 700 };

#[test]
fn every_shape_comes_back_at_every_threshold() {
    for (i, &len) in LENS.iter().enumerate().filter(|(_, len)| **len <= LEN_MAX) {
        for shape in 0..6_u8 {
            let times = [shape, shape + 3 + (i as u8 & 1)];
            let times = if len < 9000 { &times[..] } else { &times[usize::from(shape) & 1..][..1] };
            for &times in times {
                let ids = ids_of(shape, len, 1000 + i as u32 * 77_777);
                check_list(&timed(ids, times, 1_700_000_000 * u32::from(times % 3 != 0), len / 3));
            }
        }
    }
}

#[test]
fn the_ends_of_the_number_range_come_back() {
    let ends = [0, 1, u32::MAX - 1, u32::MAX];
    let list = |at: [u32; 4], tie: [u32; 4]| EdgeList {
        ids: ends.to_vec(),
        at: at.to_vec(),
        tie: tie.to_vec(),
    };
    check_list(&list(ends, ends));
    check_list(&list([u32::MAX; 4], ends));
    check_list(&list([u32::MAX; 4], [5, 3, u32::MAX, 0]));
    check_list(&list([0, u32::MAX, 0, u32::MAX], [u32::MAX, 0, 0, u32::MAX]));
}

#[test]
fn one_follow_costs_a_few_bytes_beyond_its_id() {
    let size = |at, tie| {
        let one = EdgeList { ids: vec![300_000], at: vec![at], tie: vec![tie] };
        let mut bytes = Vec::new();
        encode_sets(&one, &EdgeList::default(), &mut bytes);
        bytes.len()
    };
    assert_eq!(size(0, 300_000), 6);
    assert_eq!(size(1_700_000_000, 300_000), 11);
    assert_eq!(size(1_700_000_000, 0), 11);
}

#[test]
fn the_bytes_of_two_small_lists_are_these() {
    let following = EdgeList { ids: vec![3, 5, 9], at: vec![70, 80, 60], tie: vec![0, 0, 9] };
    let followers = EdgeList { ids: vec![200], at: vec![0], tie: vec![200] };
    let mut bytes = Vec::new();
    encode_sets(&following, &followers, &mut bytes);
    let expected = [
        // The following list has 13 bytes.
        13,
        // Three ids with an order, packed: 3, then a span of 6 and one number, 2, in 2 + 2 bits.
        3 << 2 | 2,
        3,
        6,
        0b1_10,
        // All stored, no tie bits, one of them listed; newest time 80; ages up to 20 and one of 10.
        3,
        1,
        80,
        0,
        0,
        0,
        20,
        0b1_1010,
        // The places 1, 0, 2 in two bits each.
        0b10_00_01,
        // One id without an order.
        1 << 2,
        200,
        1,
    ];
    assert_eq!(bytes, expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 192 }))]

    #[test]
    fn random_lists_come_back(
        edges in prop::collection::btree_map(
            prop_oneof![0..300_u32, any::<u32>()],
            (prop_oneof![Just(0), 1..5_u32, any::<u32>()], prop_oneof![0..4_u32, any::<u32>()]),
            1..DRAWN_MAX.min(400),
        ),
        own_ties in 0..3_u8,
    ) {
        let own = |id: u32| own_ties == 2 || own_ties == 1 && !id.is_multiple_of(3);
        let model: Model = edges.into_iter()
            .map(|(id, (at, tie))| (id, (at, if own(id) { id } else { tie })))
            .collect();
        check_list(&list_of(&model));
    }

    #[test]
    fn shaped_lists_come_back(
        ids in any::<u8>(),
        times in any::<u8>(),
        len in 1..DRAWN_MAX,
        start in any::<u32>(),
        at in any::<u32>(),
        cut in 0..400_usize,
    ) {
        check_list(&timed(ids_of(ids, len, start), times, at, cut));
    }
}

/// A list and what should be in it, changed by a stream of steps.
struct Account {
    model: Model,
    image: Vec<u8>,
    delta: ListDelta,
}

impl Account {
    fn new(list: &EdgeList) -> Account {
        let model = list.keys().map(|key| (key.id, (key.at, key.tie))).collect();
        let mut account = Account { model, image: Vec::new(), delta: ListDelta::default() };
        account.checkpoint();
        account
    }

    fn view(&self) -> ListView<'_> {
        SetsView::parse(&self.image).expect("encoded by checkpoint").following
    }

    fn now(&self) -> Neighbors<'_> {
        Neighbors::new(self.view(), Some(&self.delta))
    }

    fn toggle(&mut self, id: u32, at: u32) {
        if self.model.remove(&id).is_some() {
            let in_image = self.view().contains(id);
            self.delta.remove(id);
            let left = if in_image { EdgeState::Removed } else { EdgeState::Untouched };
            assert_eq!(self.delta.state(id), left);
            return;
        }
        let tie = self.now().next_tie(at).expect("encoded by checkpoint");
        assert_eq!(tie, next_tie(&self.model, at));
        self.delta.add(EdgeKey { at, tie, id });
        self.model.insert(id, (at, tie));
        assert_eq!(self.delta.state(id), EdgeState::Added);
    }

    fn checkpoint(&mut self) {
        let sets = if self.image.is_empty() {
            list_of(&self.model)
        } else {
            self.now().edges().expect("encoded by checkpoint")
        };
        self.image.clear();
        encode_sets(&sets, &EdgeList::default(), &mut self.image);
        self.delta = ListDelta::default();
    }
}

fn check_common(a: &Account, b: &Account) {
    let expected: Vec<u32> =
        a.model.keys().filter(|id| b.model.contains_key(id)).copied().collect();
    let (now_a, now_b) = (a.now(), b.now());
    assert!(now_a.intersection(&now_b).eq(expected.iter().copied()));
    assert!(now_b.intersection(&now_a).eq(expected.iter().copied()));
    assert_eq!(now_a.intersection_len(&now_b), expected.len() as u64);
    assert_eq!(now_b.intersection_len(&now_a), expected.len() as u64);
}

#[derive(Clone, Debug)]
enum Step {
    Toggle { second: bool, id: u32, at: u32 },
    ToggleMany { second: bool, start: u32, step: u32, at: u32 },
    Checkpoint,
    Check,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let id = || prop_oneof![0..40_u32, 0..3000_u32];
    let at = || prop_oneof![Just(0), 1..4_u32, 1000..1010_u32];
    let step = prop_oneof![
        12 => (any::<bool>(), id(), at())
            .prop_map(|(second, id, at)| Step::Toggle { second, id, at }),
        2 => (any::<bool>(), id(), 1..5_u32, at())
            .prop_map(|(second, start, step, at)| Step::ToggleMany { second, start, step, at }),
        1 => Just(Step::Checkpoint),
        2 => Just(Step::Check),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 24 }))]

    #[test]
    #[cfg_attr(miri, ignore = "its sets are large")]
    fn lists_stay_right_under_any_changes(
        steps in steps(),
        shapes in any::<[u8; 2]>(),
        lens in prop::array::uniform2(prop_oneof![1..50_usize, Just(130), Just(5000)]),
    ) {
        let mut accounts = [0, 1].map(|i| {
            let ids = ids_of([0, 2, 3][usize::from(shapes[i]) % 3], lens[i], 10);
            Account::new(&timed(ids, shapes[i] % 5, 3, 2))
        });
        for step in steps {
            match step {
                Step::Toggle { second, id, at } => accounts[usize::from(second)].toggle(id, at),
                Step::ToggleMany { second, start, step, at } => {
                    let account = &mut accounts[usize::from(second)];
                    (0..90).for_each(|i| account.toggle(start + i * step, at));
                }
                Step::Checkpoint => {
                    let kept = accounts.iter_mut().filter(|account| !account.model.is_empty());
                    kept.for_each(Account::checkpoint);
                }
                Step::Check => {
                    for account in &accounts {
 check_neighbors(&account.now(), &account.model);
}
                    check_common(&accounts[0], &accounts[1]);
                }
            }
        }
        for account in &accounts {
 check_neighbors(&account.now(), &account.model);
}
        check_common(&accounts[0], &accounts[1]);
    }
}

/// The containers of a bitmap: arrays, bitsets, runs, and too few of them for offsets.
fn roaring_samples() -> Vec<RoaringBitmap> {
    let array = (0..60_000_u32).step_by(17);
    let bitset = (65_536 * 3..65_536 * 4_u32).filter(|id| id % 3 != 1);
    let runs = (65_536 * 7 + 100..65_536 * 9 + 5).chain(u32::MAX - 5000..=u32::MAX);
    let many =
        (0..200_u32).flat_map(|high| (0..40 + high).map(move |low| (high << 17) | (low * 11)));
    let parts: [Vec<u32>; 4] = [array.collect(), bitset.collect(), runs.collect(), many.collect()];
    let mut samples: Vec<RoaringBitmap> = (1..16_u8)
        .map(|chosen| {
            let parts = parts.iter().enumerate().filter(|(i, _)| chosen >> i & 1 == 1);
            parts.flat_map(|(_, ids)| ids.iter().copied()).collect()
        })
        .collect();
    samples.push((5..70_000).collect());
    samples
}

#[test]
#[cfg_attr(miri, ignore = "its sets are large")]
fn the_roaring_reader_agrees_with_the_roaring_crate() {
    let encoded: Vec<(RoaringBitmap, Vec<u8>)> = roaring_samples()
        .into_iter()
        .map(|bitmap| {
            let ids: Vec<u32> = bitmap.iter().collect();
            let mut bytes = Vec::new();
            roaring_view::encode(&ids, &mut bytes);
            (bitmap, bytes)
        })
        .collect();
    let views: Vec<_> = encoded
        .iter()
        .map(|(bitmap, bytes)| {
            let len = bitmap.len() as u32;
            let view = roaring_view::RoaringView::parse(len, &mut Reader::new(bytes));
            (bitmap, view.expect("encoded above"))
        })
        .collect();
    for (bitmap, view) in &views {
        view.validate().expect("encoded above");
        assert!(view.iter().eq(bitmap.iter()));
        let len = bitmap.len() as u32;
        assert!(view.rev_from(len).eq(bitmap.iter().rev()));
        for rank in (0..len + 2).step_by(1 + len as usize / 40) {
            assert_eq!(view.select(rank), bitmap.select(rank));
            let before = bitmap.iter().take(rank as usize).collect::<Vec<_>>();
            assert!(view.rev_from(rank).take(50).eq(before.iter().rev().copied().take(50)));
        }
        for id in bitmap.iter().step_by(1 + len as usize / 200).chain([0, 65_536, u32::MAX]) {
            for id in [id.saturating_sub(1), id, id.saturating_add(1)] {
                assert_eq!(view.contains(id), bitmap.contains(id));
                let below = if id == 0 { 0 } else { bitmap.rank(id - 1) };
                assert_eq!(u64::from(view.rank(id)), below);
            }
        }
        for (other, other_view) in views.iter().step_by(2) {
            assert_eq!(view.intersection_len(other_view), bitmap.intersection_len(other));
        }
    }
}

/// How far a list of bytes that may say anything is read.
const ANSWERS_MAX: usize = if cfg!(miri) { 300 } else { 2_000_000 };

/// Asks everything of bytes that may say anything: answers may be wrong, but they come.
fn ask_everything(bytes: &[u8]) {
    let Ok(sets) = SetsView::parse(bytes) else {
        return;
    };
    let (a, b) = (sets.following, sets.followers);
    let mut delta = ListDelta::default();
    delta.add(EdgeKey { at: 5, tie: 1, id: 77 });
    for list in [a, b] {
        let now = Neighbors::new(list, Some(&delta));
        for id in [0, 1, 77, 300, 65_535, 65_536, 1 << 31, u32::MAX] {
            now.contains(id);
            let _ = now.next_tie(id);
            for cursor in [(id, 0, 0), (id, id, id), (0, id, 1), (3, 1, id), (id, u32::MAX, 2)] {
                let (at, tie, id) = cursor;
                let page = now.newest(Some(EdgeKey { at, tie, id }));
                page.into_iter().flatten().take(200).for_each(drop);
            }
        }
        assert!(now.iter().take(ANSWERS_MAX).count() <= now.len() as usize);
        now.newest(None).into_iter().flatten().take(ANSWERS_MAX.min(20_000)).for_each(drop);
        let valid = list.validate().is_ok();
        let edges = if (list.len() as usize) < ANSWERS_MAX { list.edges().ok() } else { None };
        if let Some(edges) = edges.filter(|_| valid) {
            assert!(edges.ids.is_sorted_by(|a, b| a < b), "validate finds what is wrong");
            assert_eq!(edges.len(), list.len());
        }
    }
    if (a.len().max(b.len()) as usize) < ANSWERS_MAX {
        let (a, b) = (Neighbors::new(a, None), Neighbors::new(b, Some(&delta)));
        a.intersection_len(&b);
        a.intersection(&b).take(1000).for_each(drop);
    }
}

/// Where a bit is flipped, which one, and whether near the heads.
fn flip() -> impl Strategy<Value = (prop::sample::Index, u8, bool)> {
    (any::<prop::sample::Index>(), 0..8_u8, any::<bool>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 400 }))]

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        ask_everything(&bytes);
    }

    #[test]
    #[cfg_attr(miri, ignore = "its sets are large")]
    fn damaged_encodings_never_panic(
        shapes in any::<[u8; 2]>(),
        len in prop_oneof![5 => 1..300_usize, 1 => Just(4500)],
        flips in prop::collection::vec(flip(), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let list = timed(ids_of(shapes[0], len, 99), shapes[1], 1_000_000, len / 2);
        let other = timed(ids_of(shapes[1], 20, 99), shapes[0], 1_000_000, 3);
        let mut bytes = Vec::new();
        encode_sets(&list, &other, &mut bytes);
        for (place, bit, near_front) in flips {
            let place = place.index(if near_front { bytes.len().min(24) } else { bytes.len() });
            bytes[place] ^= 1 << bit;
        }
        ask_everything(&bytes);
        bytes.truncate(cut.index(bytes.len() + 1));
        ask_everything(&bytes);
    }
}

#[test]
fn every_flipped_bit_of_a_small_blob_is_survived() {
    for shape in 0..if cfg!(miri) { 1 } else { 8 } {
        let mut bytes = Vec::new();
        let list = timed(ids_of(shape, 40, 5), shape, 1000, 7);
        encode_sets(&list, &timed(ids_of(1, 3, 5), 2, 1000, 1), &mut bytes);
        for bit in (0..bytes.len() * 8).step_by(if cfg!(miri) { 97 } else { 1 }) {
            bytes[bit / 8] ^= 1 << (bit % 8);
            ask_everything(&bytes);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "its sets are large")]
fn a_hostile_roaring_set_is_survived() {
    let sample: Vec<u32> =
        (0..6_000).chain(70_000..70_100).chain((1 << 20..1_100_000).step_by(9)).collect();
    let list = timed(sample, 1, 4, 0);
    let mut bytes = Vec::new();
    encode_sets(&list, &EdgeList::default(), &mut bytes);
    let end = bytes.len();
    let places = (0..130).chain((end - 40..end).step_by(3));
    for place in places {
        for value in [0x00, 0xff, 0x81] {
            let before = std::mem::replace(&mut bytes[place], value);
            ask_everything(&bytes);
            bytes[place] = before;
        }
    }
}

#[test]
fn a_delta_stays_small_in_memory() {
    assert!(size_of::<ListDelta>() <= 24);
    let mut delta = ListDelta::default();
    delta.add(EdgeKey { at: 1, tie: 0, id: 5 });
    assert_eq!(delta.heap_bytes(), 0);
    delta.remove(5);
    assert!(delta.is_empty());
    (0..=delta::DELTA_SMALL_MAX as u32).for_each(|id| delta.add(EdgeKey { at: 1, tie: id, id }));
    assert_eq!(delta.added_len() as usize, delta::DELTA_SMALL_MAX + 1);
    (0..=delta::DELTA_SMALL_MAX as u32).for_each(|id| delta.remove(id));
    assert!(delta.is_empty());
    assert_eq!(delta.max_tie(1), None);
}
