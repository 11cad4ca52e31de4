//! The public calls one by one: small tables, and sentences that name what holds.

use crate::support::{HandClock, said, walk};
use followgraph::{
    AccountId, Counts, Durability, ErrorKind, FollowGraph, Mutation, Options, Outcome, Page,
    Relation, Result,
};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, counting what each thread asks of it.
struct CountingAllocator;

thread_local! {
    static ALLOCATION_COUNT: Cell<usize> = const { Cell::new(0) };
}

fn count_allocation() {
    // A thread that ends has no counter any more, and nobody asks for it.
    let _ = ALLOCATION_COUNT.try_with(|count| count.set(count.get() + 1));
}

#[expect(unsafe_code, reason = "an allocator is an unsafe trait; this one passes everything on")]
// SAFETY: every call goes to the system's allocator with the caller's own arguments, so what the
// caller promises and what it is promised are the system's.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count_allocation();
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count_allocation();
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

fn allocations_of(work: impl FnOnce()) -> usize {
    let before = ALLOCATION_COUNT.with(Cell::get);
    work();
    ALLOCATION_COUNT.with(Cell::get) - before
}

pub(super) fn quick() -> Options {
    Options::new().durability(Durability::Never).create_missing_accounts(true)
}

/// A graph in memory with these follows, one a second from 1001 on.
fn graph_of(follows: &[(&str, &str)]) -> FollowGraph {
    let graph = quick().clock(HandClock::at(2000).clock()).in_memory().unwrap();
    for (at, (from, to)) in (1001..).zip(follows) {
        graph.apply(&[Mutation::follow(from, to).at(at)]).unwrap().remove(0).unwrap();
    }
    graph
}

pub(super) fn counts(followers: u32, following: u32, mutual: u32) -> Counts {
    Counts { followers, following, mutual }
}

pub(super) fn kind_of<T>(result: Result<T>) -> Result<T, ErrorKind> {
    result.map_err(|error| error.kind())
}

fn names_of(list: Result<followgraph::List>) -> Vec<String> {
    list.unwrap().entries.into_iter().map(|entry| entry.account).collect()
}

pub(super) const TRIANGLE: [(&str, &str); 4] = [("a", "b"), ("b", "a"), ("c", "a"), ("b", "c")];

#[test]
fn counts_are_those_of_the_lists() {
    let check = |name: &str, expected: Counts| {
        let graph = graph_of(&TRIANGLE);
        assert_eq!(graph.counts(name).unwrap(), expected, "{name}");
    };
    check("a", counts(2, 1, 1));
    check("b", counts(1, 2, 1));
    check("c", counts(1, 1, 0));
}

#[test]
fn a_batch_has_one_result_for_each_name_in_order() {
    let graph = graph_of(&TRIANGLE);
    let check = |names: &[&str], expected: &[Result<Counts, ErrorKind>]| {
        let got: Vec<_> = graph.batch_counts(names).into_iter().map(kind_of).collect();
        assert_eq!(got, expected, "{names:?}");
    };
    let (a, b, c) = (Ok(counts(2, 1, 1)), Ok(counts(1, 2, 1)), Ok(counts(1, 1, 0)));
    let (unknown, invalid) = (Err(ErrorKind::UnknownAccount), Err(ErrorKind::InvalidName));
    check(&[], &[]);
    check(&["a", "b", "c"], &[a, b, c]);
    check(&["c", "a", "c", "c"], &[c, a, c, c]);
    check(&["a", "nobody", "b"], &[a, unknown, b]);
    check(&["", "a", "\n", &"x".repeat(256), "nobody"], &[invalid, a, invalid, invalid, unknown]);
    let many: Vec<&str> = ["a", "b", "nobody"].into_iter().cycle().take(1000).collect();
    let results = [a, b, unknown].into_iter().cycle().take(1000).collect::<Vec<_>>();
    check(&many, &results);
}

#[test]
fn a_batch_into_a_buffer_with_room_allocates_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let graph = quick().open(dir.path()).unwrap();
    let long = "long".repeat(20);
    for (from, to) in TRIANGLE.into_iter().chain([("a", long.as_str())]) {
        graph.follow(from, to).unwrap();
    }
    let names = ["a", "nobody", "b", "", "a", "c", &long, "\n"];
    for stage in ["from the log", "from the image", "from both"] {
        let mut results = Vec::with_capacity(names.len());
        results.push(graph.counts("a"));
        let allocations = allocations_of(|| graph.batch_counts_into(&names, &mut results));
        assert_eq!(allocations, 0, "allocations {stage}");
        assert_eq!(results.len(), names.len());
        for (name, result) in names.iter().zip(&results) {
            assert_eq!(kind_of(result.clone()), kind_of(graph.counts(name)), "{name:?} {stage}");
        }
        graph.checkpoint().unwrap();
        if stage == "from the image" {
            graph.follow("c", "b").unwrap();
        }
    }
    let allocated = allocations_of(|| drop(graph.batch_counts(&names)));
    assert!(allocated > 0, "the counter of allocations does not count");
}

#[test]
fn batches_by_id_say_what_batches_by_name_say() {
    let graph = graph_of(&TRIANGLE);
    let id = |name: &str| graph.account_id(name).unwrap();
    let ids = [id("c"), AccountId(99), id("a"), id("c")];
    let got: Vec<_> = graph.batch_counts_by_id(&ids).into_iter().map(kind_of).collect();
    let (a, c) = (Ok(counts(2, 1, 1)), Ok(counts(1, 1, 0)));
    assert_eq!(got, [c, Err(ErrorKind::UnknownAccount), a, c]);
    assert_eq!(graph.counts_by_id(id("b")).unwrap(), graph.counts("b").unwrap());
    assert_eq!(kind_of(graph.counts_by_id(AccountId(99))), Err(ErrorKind::UnknownAccount));
    assert_eq!(kind_of(graph.counts_by_id(AccountId(u32::MAX))), Err(ErrorKind::UnknownAccount));
}

#[test]
fn follows_by_id_are_follows() {
    let graph = graph_of(&[("a", "b")]);
    let (a, b, nobody) = (AccountId(0), AccountId(1), AccountId(7));
    assert_eq!(graph.follow_by_id(a, b).unwrap(), Outcome::Unchanged);
    assert_eq!(graph.follow_by_id(b, a).unwrap(), Outcome::Applied);
    assert_eq!(graph.counts("a").unwrap(), counts(1, 1, 1));
    assert_eq!(graph.unfollow_by_id(a, b).unwrap(), Outcome::Applied);
    assert_eq!(graph.unfollow_by_id(a, b).unwrap(), Outcome::Unchanged);
    assert_eq!(kind_of(graph.follow_by_id(a, nobody)), Err(ErrorKind::UnknownAccount));
    assert_eq!(kind_of(graph.unfollow_by_id(nobody, a)), Err(ErrorKind::UnknownAccount));
    let batch = [Mutation::follow_by_id(a, b).at(5), Mutation::unfollow_by_id(b, a)];
    assert_eq!(said(graph.apply(&batch).unwrap().remove(1)), Ok(true));
    assert_eq!(graph.counts("a").unwrap(), counts(0, 1, 0));
    assert_eq!(graph.following("a", Page::first(1)).unwrap().entries[0].followed_at, 5);
}

#[test]
fn a_repeated_follow_changes_neither_time_nor_order() {
    let clock = HandClock::at(100);
    let graph = quick().clock(clock.clock()).in_memory().unwrap();
    graph.follow("a", "star").unwrap();
    clock.advance(5);
    graph.follow("b", "star").unwrap();
    clock.advance(5);
    assert_eq!(graph.follow("a", "star").unwrap(), Outcome::Unchanged);
    let again = graph.apply(&[Mutation::follow("a", "star").at(500)]).unwrap().remove(0);
    assert_eq!(again.unwrap(), Outcome::Unchanged);
    let listed = walk(10, |page| graph.followers("star", page)).unwrap();
    assert_eq!(listed, [("b".to_owned(), 105), ("a".to_owned(), 100)]);
}

#[test]
fn unfollow_and_follow_again_is_a_new_edge_with_a_new_time() {
    let clock = HandClock::at(100);
    let graph = quick().clock(clock.clock()).in_memory().unwrap();
    graph.follow("a", "star").unwrap();
    graph.follow("b", "star").unwrap();
    clock.advance(5);
    let both = [Mutation::unfollow("a", "star"), Mutation::follow("a", "star")];
    assert!(graph.apply(&both).unwrap().into_iter().all(|result| said(result) == Ok(true)));
    let listed = walk(10, |page| graph.followers("star", page)).unwrap();
    assert_eq!(listed, [("a".to_owned(), 105), ("b".to_owned(), 100)]);
}

#[test]
fn among_equal_times_the_later_in_the_log_is_first() {
    let graph = quick().clock(HandClock::at(100).clock()).in_memory().unwrap();
    for name in ["c", "a", "d", "b"] {
        graph.follow(name, "star").unwrap();
        graph.follow("star", name).unwrap();
    }
    let expected = ["b", "d", "a", "c"];
    assert_eq!(names_of(graph.followers("star", Page::first(9))), expected);
    assert_eq!(names_of(graph.following("star", Page::first(9))), expected);
    assert_eq!(names_of(graph.mutuals("star", Page::first(9))), expected);
}

#[test]
fn a_given_time_puts_a_follow_where_it_belongs() {
    let graph = graph_of(&[("a", "star"), ("b", "star"), ("c", "star")]);
    let early = [Mutation::follow("early", "star").at(7), Mutation::follow("never", "star").at(0)];
    for result in graph.apply(&early).unwrap() {
        result.unwrap();
    }
    let expected = ["c", "b", "a", "early", "never"];
    assert_eq!(names_of(graph.followers("star", Page::first(9))), expected);
}

#[test]
fn the_clock_never_runs_backwards() {
    let dir = tempfile::tempdir().unwrap();
    let clock = HandClock::at(1000);
    let open = || quick().clock(clock.clock()).open(dir.path()).unwrap();
    let mut graph = open();
    graph.follow("a", "star").unwrap();
    clock.set(400);
    graph.follow("b", "star").unwrap();
    drop(graph);
    graph = open();
    graph.follow("c", "star").unwrap();
    graph.checkpoint().unwrap();
    drop(graph);
    graph = open();
    graph.follow("d", "star").unwrap();
    let listed = walk(10, |page| graph.followers("star", page)).unwrap();
    let expected = ["d", "c", "b", "a"].map(|name| (name.to_owned(), 1000));
    assert_eq!(listed, expected);
    clock.set(1001);
    graph.follow("e", "star").unwrap();
    let newest = graph.followers("star", Page::first(1)).unwrap().entries;
    assert_eq!(newest[0].followed_at, 1001);
}

#[test]
fn relations_are_told_from_the_first_accounts_side() {
    let graph = graph_of(&TRIANGLE);
    let check = |name: &str, other: &str, following: bool, followed_by: bool| {
        let expected = Relation { following, followed_by };
        assert_eq!(graph.relation(name, other).unwrap(), expected, "{name} to {other}");
        assert_eq!(expected.is_mutual(), following && followed_by);
    };
    check("a", "b", true, true);
    check("a", "c", false, true);
    check("c", "a", true, false);
    check("b", "c", true, false);
    check("a", "a", false, false);
    let others = ["c", "nobody", "b", "", "c"];
    let got = graph.batch_relations("a", &others).unwrap().into_iter().map(kind_of);
    let (to_b, to_c) = (graph.relation("a", "b").unwrap(), graph.relation("a", "c").unwrap());
    let (unknown, invalid) = (Err(ErrorKind::UnknownAccount), Err(ErrorKind::InvalidName));
    assert_eq!(got.collect::<Vec<_>>(), [Ok(to_c), unknown, Ok(to_b), invalid, Ok(to_c)]);
    assert_eq!(
        kind_of(graph.batch_relations("nobody", &["a"]).map(drop)),
        Err(ErrorKind::UnknownAccount)
    );
}

#[test]
fn known_followers_are_those_the_viewer_follows() {
    let graph = graph_of(&[]);
    for number in 0..20 {
        graph.follow(&format!("fan{number}"), "star").unwrap();
        graph.follow(&format!("fan{number}"), "other").unwrap();
    }
    for number in [7, 3, 12] {
        graph.follow("viewer", &format!("fan{number}")).unwrap();
    }
    graph.unfollow("fan3", "other").unwrap();
    let targets = ["star", "nobody", "other", "fan1", "star"];
    let known = graph.known_followers("viewer", &targets).unwrap();
    let counts: Vec<_> =
        known.iter().map(|known| kind_of(known.clone()).map(|known| known.count)).collect();
    assert_eq!(counts, [Ok(3), Err(ErrorKind::UnknownAccount), Ok(2), Ok(0), Ok(3)]);
    let first = &known[0].as_ref().unwrap().first;
    assert!(["fan3", "fan7", "fan12"].iter().zip(first).all(|(one, other)| one == other));
    assert!(!first.is_empty());
}

/// Follows of `setup`, then one more under limits: refused as `expected`, with nothing changed.
fn check_limit(
    limits: fn(Options) -> Options,
    setup: &[(&str, &str)],
    attempt: (&str, &str),
    expected: Result<bool, ErrorKind>,
) {
    let graph = limits(quick()).in_memory().unwrap();
    for (from, to) in setup {
        graph.follow(from, to).unwrap();
    }
    let before = graph.stats();
    assert_eq!(said(graph.follow(attempt.0, attempt.1)), expected, "{attempt:?}");
    let batch = graph.apply(&[Mutation::follow(attempt.0, attempt.1)]).unwrap().remove(0);
    let expected_again = expected.map(|_| false);
    assert_eq!(said(batch), expected_again, "{attempt:?} in a batch");
    if expected.is_err() {
        assert_eq!(graph.stats().account_count, before.account_count, "{attempt:?}");
        assert_eq!(graph.stats().follow_count, before.follow_count, "{attempt:?}");
    }
}

#[test]
fn limits_hold_at_their_number_and_not_before() {
    let following: fn(Options) -> Options = |options| options.max_following(2);
    check_limit(following, &[("a", "b")], ("a", "c"), Ok(true));
    check_limit(following, &[("a", "b"), ("a", "c")], ("a", "d"), Err(ErrorKind::FollowingLimit));
    check_limit(following, &[("a", "b"), ("a", "c")], ("a", "c"), Ok(false));
    check_limit(following, &[("b", "a"), ("c", "a")], ("d", "a"), Ok(true));

    let followers: fn(Options) -> Options = |options| options.max_followers(2);
    check_limit(followers, &[("a", "x")], ("b", "x"), Ok(true));
    check_limit(followers, &[("a", "x"), ("b", "x")], ("c", "x"), Err(ErrorKind::FollowersLimit));
    check_limit(followers, &[("a", "x"), ("b", "x")], ("b", "x"), Ok(false));

    let mutual: fn(Options) -> Options = |options| options.max_mutual(1);
    let pair = [("a", "b"), ("b", "a"), ("c", "a"), ("c", "b")];
    check_limit(mutual, &pair, ("a", "c"), Err(ErrorKind::FollowerMutualLimit));
    check_limit(mutual, &pair, ("a", "d"), Ok(true));
    let pair = [("a", "b"), ("b", "a"), ("a", "c")];
    check_limit(mutual, &pair, ("c", "a"), Err(ErrorKind::FollowedMutualLimit));
    check_limit(mutual, &[("a", "b")], ("b", "a"), Ok(true));
}

#[test]
fn an_unfollow_makes_room_under_a_limit() {
    let graph = quick().max_following(1).in_memory().unwrap();
    graph.follow("a", "b").unwrap();
    assert_eq!(said(graph.follow("a", "c")), Err(ErrorKind::FollowingLimit));
    let batch = [Mutation::unfollow("a", "b"), Mutation::follow("a", "c")];
    let results: Vec<_> = graph.apply(&batch).unwrap().into_iter().map(said).collect();
    assert_eq!(results, [Ok(true), Ok(true)]);
}

#[test]
fn an_account_is_made_by_a_follow_only_where_that_was_asked_for() {
    let graph = FollowGraph::in_memory();
    graph.add_account("a").unwrap();
    assert_eq!(said(graph.follow("a", "b")), Err(ErrorKind::UnknownAccount));
    assert_eq!(graph.stats().account_count, 1);
    let graph = quick().in_memory().unwrap();
    assert_eq!(said(graph.follow("a", "b")), Ok(true));
    assert_eq!(said(graph.unfollow("a", "nobody")), Err(ErrorKind::UnknownAccount));
    assert_eq!(graph.stats().account_count, 2);
    assert_eq!(said(graph.follow("new", "")), Err(ErrorKind::InvalidName));
    assert_eq!(graph.stats().account_count, 2);
}

#[test]
fn a_removed_account_leaves_right_counts_and_a_free_name() {
    let dir = tempfile::tempdir().unwrap();
    let mut graph = quick().open(dir.path()).unwrap();
    for (from, to) in TRIANGLE {
        graph.follow(from, to).unwrap();
    }
    graph.checkpoint().unwrap();
    let old = graph.account_id("a").unwrap();
    graph.remove_account("a").unwrap();
    for _ in 0..2 {
        assert_eq!(kind_of(graph.counts("a")), Err(ErrorKind::UnknownAccount));
        assert_eq!(kind_of(graph.counts_by_id(old)), Err(ErrorKind::UnknownAccount));
        assert_eq!(kind_of(graph.account_name(old)), Err(ErrorKind::UnknownAccount));
        assert_eq!(graph.counts("b").unwrap(), counts(0, 1, 0));
        assert_eq!(graph.counts("c").unwrap(), counts(1, 0, 0));
        assert_eq!(graph.stats().follow_count, 1);
        graph.verify().unwrap();
        graph.checkpoint().unwrap();
        drop(graph);
        graph = quick().open(dir.path()).unwrap();
    }
    assert!(graph.add_account("a").unwrap());
    assert_ne!(graph.account_id("a").unwrap(), old);
    assert_eq!(graph.counts("a").unwrap(), Counts::default());
}

#[test]
fn a_batch_is_applied_in_order_and_each_mutation_has_its_result() {
    let graph = FollowGraph::in_memory();
    let batch = [
        Mutation::add_account("a"),
        Mutation::follow("a", "b"),
        Mutation::add_account("b"),
        Mutation::add_account("a"),
        Mutation::follow("a", "b"),
        Mutation::follow("a", "b"),
        Mutation::follow("a", "a"),
        Mutation::unfollow("b", "a"),
        Mutation::remove_account("nobody"),
        Mutation::remove_account("b"),
        Mutation::follow("a", "b"),
        Mutation::add_account(""),
    ];
    let results: Vec<_> = graph.apply(&batch).unwrap().into_iter().map(said).collect();
    let expected = [
        Ok(true),
        Err(ErrorKind::UnknownAccount),
        Ok(true),
        Ok(false),
        Ok(true),
        Ok(false),
        Err(ErrorKind::SelfFollow),
        Ok(false),
        Err(ErrorKind::UnknownAccount),
        Ok(true),
        Err(ErrorKind::UnknownAccount),
        Err(ErrorKind::InvalidName),
    ];
    assert_eq!(results, expected);
    assert_eq!(graph.counts("a").unwrap(), Counts::default());
    assert_eq!(graph.apply(&[]).unwrap().len(), 0);
}

#[test]
fn a_batch_larger_than_a_segment_is_committed_or_refused_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let open = || quick().segment_bytes(64 << 10).open(dir.path()).unwrap();
    let graph = open();
    graph.follow("a", "b").unwrap();
    let names: Vec<String> =
        (0..2000).map(|number| format!("{number}{}", "x".repeat(200))).collect();
    let batch: Vec<Mutation<'_>> = names.iter().map(|name| Mutation::follow(name, "a")).collect();
    let follow_count = match graph.apply(&batch) {
        Ok(results) => {
            assert!(results.into_iter().all(|result| said(result) == Ok(true)));
            2001
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
            1
        }
    };
    graph.follow("b", "a").unwrap();
    assert_eq!(graph.stats().follow_count, follow_count + 1);
    drop(graph);
    let graph = open();
    assert_eq!(graph.stats().follow_count, follow_count + 1);
    graph.verify().unwrap();
}

#[test]
fn accounts_are_told_in_order_of_their_ids() {
    let graph = FollowGraph::in_memory();
    let names = ["e", "b", "d", "a", "c"];
    for name in names {
        graph.add_account(name).unwrap();
    }
    graph.remove_account("d").unwrap();
    let told = |after: Option<u32>, limit: usize| -> Vec<(u32, String)> {
        let accounts = graph.accounts(after.map(AccountId), limit);
        accounts.into_iter().map(|(id, name)| (id.0, name)).collect()
    };
    let [e, b, a, c] =
        [(0, "e"), (1, "b"), (3, "a"), (4, "c")].map(|(id, name)| (id, name.to_owned()));
    assert_eq!(told(None, 9), [e.clone(), b.clone(), a.clone(), c.clone()]);
    assert_eq!(told(None, 2), [e, b.clone()]);
    assert_eq!(told(Some(0), 2), [b, a.clone()]);
    assert_eq!(told(Some(1), 9), [a, c]);
    assert_eq!(told(Some(4), 9), []);
    assert_eq!(told(Some(u32::MAX), 9), []);
    assert_eq!(told(None, 0), []);
}

#[test]
fn a_foreign_account_has_a_name_and_an_id_and_no_lists() {
    let graph = quick().in_memory().unwrap();
    assert!(graph.add_foreign_account("far").unwrap());
    assert!(graph.add_foreign_account("away").unwrap());
    assert!(!graph.add_account("far").unwrap());
    assert_eq!(said(graph.follow("near", "far")), Ok(true));
    assert_eq!(said(graph.follow("far", "near")), Ok(true));
    assert_eq!(graph.counts("near").unwrap(), counts(1, 1, 1));
    assert_eq!(kind_of(graph.counts("far")), Err(ErrorKind::ForeignAccount));
    assert_eq!(
        kind_of(graph.followers("far", Page::first(1)).map(drop)),
        Err(ErrorKind::ForeignAccount)
    );
    assert_eq!(said(graph.follow("far", "away")), Err(ErrorKind::ForeignAccount));
    assert_eq!(kind_of(graph.relation("far", "away")), Err(ErrorKind::ForeignAccount));
    let mutual = Relation { following: true, followed_by: true };
    assert_eq!(graph.relation("near", "far").unwrap(), mutual);
    assert_eq!(graph.relation("far", "near").unwrap(), mutual);
    assert_eq!(names_of(graph.mutuals("near", Page::first(9))), ["far"]);
    let stats = graph.stats();
    assert_eq!((stats.account_count, stats.foreign_account_count), (3, 2));
    graph.verify().unwrap();
    graph.remove_account("far").unwrap();
    assert_eq!(graph.counts("near").unwrap(), Counts::default());
}

#[test]
fn names_of_every_length_are_kept_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut graph = quick().open(dir.path()).unwrap();
    let names: Vec<String> = (1..=255).map(|length| "n".repeat(length)).collect();
    for name in &names {
        graph.follow(name, "hub").unwrap();
    }
    for _ in 0..2 {
        for name in &names {
            assert_eq!(graph.counts(name).unwrap().following, 1);
            assert_eq!(graph.account_name(graph.account_id(name).unwrap()).unwrap(), *name);
        }
        assert_eq!(names_of(graph.followers("hub", Page::first(300))).len(), 255);
        assert_eq!(kind_of(graph.counts("nnnm")), Err(ErrorKind::UnknownAccount));
        graph.checkpoint().unwrap();
        drop(graph);
        graph = quick().open(dir.path()).unwrap();
    }
}

#[test]
fn the_handle_can_be_shared_between_threads() {
    fn shareable<T: Send + Sync + 'static>() {}
    shareable::<FollowGraph>();
    shareable::<followgraph::Error>();
    shareable::<followgraph::Cursor>();
}
