//! Removals step by step: what lies between two slices, and how much goes in one.

use super::*;
use crate::graph::RemovalPlace;
use crate::testing::{Model, between_slices, same};
use proptest::collection::vec;
use proptest::prelude::*;

const STAR: &str = "star";

/// A graph whose interrupted removals go on only when they are told to.
fn open_with(storage: &FailingStorage, removal_slice: usize) -> FollowGraph {
    let options = Options::new()
        .segment_bytes(64 << 10)
        .removal_slice(removal_slice)
        .clock(Arc::new(|| 1000))
        .create_missing_accounts(true);
    let options = Options { finishes_removals: false, ..options };
    FollowGraph::start(Arc::new(storage.clone()), options).expect("the disk works")
}

/// A star with fans, every third of whom it follows back.
fn crowd(graph: &FollowGraph, fan_count: usize) {
    let names: Vec<String> = (0..fan_count).map(|number| format!("fan{number}")).collect();
    let fans = names.iter().map(|name| Mutation::follow(name, STAR));
    let back = names.iter().step_by(3).map(|name| Mutation::follow(STAR, name));
    let mutations: Vec<Mutation<'_>> = fans.chain(back).collect();
    for result in graph.apply(&mutations).expect("the disk works") {
        result.expect("it fits");
    }
}

/// A removal that is under way.
struct Removing {
    id: u32,
    place: RemovalPlace,
}

impl Removing {
    /// Begins a removal and takes no slice of it.
    fn begin(graph: &FollowGraph, name: &str) -> Removing {
        let id = graph.account_id(name).expect("it is there").0;
        let mutation = Mutation::remove_account(name);
        let written = graph.shared.write(None, 64, |editor| editor.execute(&mutation));
        let written = written.expect("there is room");
        assert!(matches!(written.result, Ok(Outcome::Applied)));
        assert_eq!(written.removals, [id], "it has more follows than go at once");
        Removing { id, place: RemovalPlace::default() }
    }

    /// True when the account is gone.
    fn take_slice(&mut self, graph: &FollowGraph) -> bool {
        let (id, place) = (self.id, &mut self.place);
        let written = graph.shared.write(None, 1 << 20, |editor| editor.remove_slice(id, place));
        written.expect("there is room").result.expect("the image is whole")
    }
}

/// Leaves an account behind that is being removed.
#[cfg(feature = "server")]
pub(crate) fn begin(graph: &FollowGraph, name: &str) {
    Removing::begin(graph, name);
}

fn most_changed_alone(graph: &FollowGraph) -> u64 {
    graph.shared.state.most_changed_alone.swap(0, Ordering::Relaxed)
}

#[test]
fn readers_never_wait_for_more_follows_than_a_slice_has() {
    for removal_slice in [1, 7, 64] {
        let storage = FailingStorage::default();
        let graph = open_with(&storage, removal_slice);
        // Follows of the image, follows that came since, and follows of a foreign account.
        crowd(&graph, 300);
        graph.checkpoint().expect("there is room");
        for number in 300..400 {
            graph.follow(&format!("fan{number}"), STAR).expect("it fits");
        }
        graph.add_foreign_account("far").expect("it fits");
        for number in 0..150 {
            graph.follow(&format!("fan{number}"), "far").expect("it fits");
            graph.follow("far", &format!("fan{number}")).expect("it fits");
        }
        most_changed_alone(&graph);
        for name in [STAR, "far", "fan0"] {
            graph.remove_account(name).expect("it goes");
            let most = most_changed_alone(&graph);
            assert!(most <= removal_slice as u64, "{most} follows of {name} went at once");
        }
        assert_eq!(graph.stats().follow_count, 0);
        graph.verify().expect("all is well");
        // Nor for more of many accounts in a batch.
        crowd(&graph, 100);
        let names: Vec<String> = (1..100).map(|number| format!("fan{number}")).collect();
        let batch: Vec<Mutation<'_>> =
            names.iter().map(|name| Mutation::remove_account(name)).collect();
        most_changed_alone(&graph);
        assert!(graph.apply(&batch).expect("there is room").iter().all(Result::is_ok));
        assert!(most_changed_alone(&graph) <= removal_slice as u64);
        assert_eq!(graph.stats().account_count, 300 + 2, "the star, its first fan, and others");
        graph.verify().expect("all is well");
    }
}

#[test]
fn an_account_that_is_being_removed_takes_nothing_new_and_answers_with_what_is_left() {
    let graph = open_with(&FailingStorage::default(), 2);
    crowd(&graph, 9);
    let mut removing = Removing::begin(&graph, STAR);
    assert!(!removing.take_slice(&graph));
    let counts = graph.counts(STAR).expect("it is still there");
    assert_eq!((counts.followers, counts.following), (7, 3));
    let refused = |result: Result<Outcome>| result.unwrap_err().kind();
    let fits = graph.stats();
    for (follower, followed) in [("fan1", STAR), (STAR, "fan1"), ("new", STAR), (STAR, "new")] {
        assert_eq!(refused(graph.follow(follower, followed)), ErrorKind::BeingRemoved);
    }
    for result in [graph.add_account(STAR), graph.add_foreign_account(STAR)] {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::BeingRemoved);
    }
    let stats = graph.stats();
    assert_eq!((stats.account_count, stats.sequence), (fits.account_count, fits.sequence));
    assert_eq!(stats.being_removed_account_count, 1);
    assert_eq!(graph.unfollow("fan8", STAR).expect("who wants to leave may"), Outcome::Applied);
    assert_eq!(graph.unfollow("fan8", STAR).expect("who wants to leave may"), Outcome::Unchanged);

    // Whoever removes it too takes part in it.
    graph.remove_account(STAR).expect("it goes");
    assert_eq!(graph.counts(STAR).unwrap_err().kind(), ErrorKind::UnknownAccount);
    assert!(removing.take_slice(&graph), "the other one sees that it is gone");
    assert!(graph.add_account(STAR).expect("the name is free"));
    graph.verify().expect("all is well");
}

#[test]
fn a_removal_waits_for_the_disk_once() {
    let graph = open_with(&FailingStorage::default(), 1);
    crowd(&graph, 50);
    let before = graph.stats();
    graph.remove_account(STAR).expect("it goes");
    let after = graph.stats();
    assert!(after.sequence - before.sequence > 60, "each slice has a frame of its own");
    assert_eq!(after.sync_count - before.sync_count, 1);
    assert_eq!(after.durable_sequence, after.sequence);
}

#[test]
fn a_removal_whose_disk_is_gone_goes_on_when_the_graph_is_opened_again() {
    let storage = FailingStorage::default();
    let graph = open_with(&storage, 2);
    crowd(&graph, 20);
    let mut removing = Removing::begin(&graph, STAR);
    for _ in 0..3 {
        assert!(!removing.take_slice(&graph));
    }
    storage.syncs_fail.store(true, Ordering::Relaxed);
    assert_eq!(graph.sync().unwrap_err().kind(), ErrorKind::Latched);
    assert_eq!(graph.remove_account(STAR).unwrap_err().kind(), ErrorKind::Latched);
    drop(graph);
    storage.syncs_fail.store(false, Ordering::Relaxed);
    let graph = FollowGraph::start(Arc::new(storage.clone()), Options::new()).expect("it works");
    graph.finish_removals().expect("the disk works");
    assert_eq!(graph.stats().being_removed_account_count, 0);
    assert_eq!(graph.counts(STAR).unwrap_err().kind(), ErrorKind::UnknownAccount);
    assert_eq!(graph.stats().follow_count, 0);
    graph.verify().expect("all is well");
}

#[test]
fn a_graph_that_is_opened_goes_on_with_a_removal_by_itself() {
    for with_checkpoint in [false, true] {
        let storage = FailingStorage::default();
        let graph = open_with(&storage, 2);
        crowd(&graph, 500);
        Removing::begin(&graph, STAR);
        if with_checkpoint {
            graph.checkpoint().expect("there is room");
        }
        drop(graph);
        let graph = open(&storage);
        let begin = std::time::Instant::now();
        while graph.stats().being_removed_account_count > 0 {
            assert!(begin.elapsed() < Duration::from_mins(1), "it does not go on");
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(graph.counts(STAR).unwrap_err().kind(), ErrorKind::UnknownAccount);
        graph.verify().expect("all is well");
    }
}

#[test]
fn a_graph_that_is_closed_does_not_wait_for_a_removal_in_the_background() {
    let storage = FailingStorage::default();
    let graph = open_with(&storage, 1);
    crowd(&graph, 2000);
    Removing::begin(&graph, STAR);
    drop(graph);
    let options = Options::new().segment_bytes(64 << 10).removal_slice(1);
    for _ in 0..20 {
        let started = FollowGraph::start(Arc::new(storage.clone()), options.clone());
        drop(started.expect("the disk works"));
    }
    let graph = open_with(&storage, 1);
    graph.finish_removals().expect("the disk works");
    assert_eq!(graph.stats().follow_count, 0);
    graph.verify().expect("all is well");
}

/// What happens between two slices.
#[derive(Clone, Debug)]
enum Between {
    Slice,
    Follow(usize, usize),
    Unfollow(usize, usize),
    Checkpoint,
    Reopen,
    /// The place in the lists is forgotten, as another thread begins with none.
    Forget,
}

const NAMES: [&str; 7] = [STAR, "a", "b", "c", "d", "e", "far"];

fn between() -> impl Strategy<Value = Between> {
    let name = || 0..NAMES.len();
    prop_oneof![
        8 => Just(Between::Slice),
        4 => (name(), name()).prop_map(|(from, to)| Between::Follow(from, to)),
        2 => (name(), name()).prop_map(|(from, to)| Between::Unfollow(from, to)),
        1 => Just(Between::Checkpoint),
        1 => Just(Between::Reopen),
        1 => Just(Between::Forget),
    ]
}

fn edges() -> impl Strategy<Value = Vec<(usize, usize)>> {
    vec((0..NAMES.len(), 0..NAMES.len()), 6..40)
}

fn follow_both(graph: &FollowGraph, model: &mut Model, from: usize, to: usize) {
    let (from, to) = (NAMES[from], NAMES[to]);
    let (done, expected) = (graph.follow(from, to), model.follow(from, to, 1000));
    assert_eq!(done.map(|done| done == Outcome::Applied).ok(), expected.ok(), "{from} {to}");
}

proptest! {
    #[test]
    fn after_every_slice_every_answer_is_the_models(
        removal_slice in 1..4_usize,
        leaving in prop_oneof![4 => Just(STAR), 1 => Just("far")],
        (in_image, since) in (edges(), edges()),
        steps in vec(between(), 1..60),
    ) {
        let storage = FailingStorage::default();
        let mut graph = open_with(&storage, removal_slice);
        let mut model = Model::default();
        model.creates_missing_accounts = true;
        for name in &NAMES[..6] {
            graph.add_account(name).unwrap();
            model.add_account(name).unwrap();
        }
        graph.add_foreign_account("far").unwrap();
        model.add_foreign_account("far").unwrap();
        for &(from, to) in &in_image {
            follow_both(&graph, &mut model, from, to);
        }
        graph.checkpoint().unwrap();
        for &(from, to) in &since {
            follow_both(&graph, &mut model, from, to);
        }
        if model.remove_in_batch(leaving, &mut removal_slice.clone()) != Ok(true)
            || model.leaving().is_empty()
        {
            return Ok(());
        }
        let mut removing = Removing::begin(&graph, leaving);
        for step in &steps {
            match step {
                Between::Slice => {
                    most_changed_alone(&graph);
                    if removing.take_slice(&graph) {
                        model.finish_removals();
                    }
                    prop_assert!(most_changed_alone(&graph) <= removal_slice as u64);
                }
                Between::Follow(from, to) => follow_both(&graph, &mut model, *from, *to),
                Between::Unfollow(from, to) => {
                    let now = between_slices(&graph, &model);
                    let expected = now.clone().unfollow(NAMES[*from], NAMES[*to]);
                    let done = graph.unfollow(NAMES[*from], NAMES[*to]);
                    let done = done.map(|done| done == Outcome::Applied).ok();
                    prop_assert_eq!(done, expected.ok());
                    let _ = model.unfollow(NAMES[*from], NAMES[*to]);
                }
                Between::Checkpoint => drop(graph.checkpoint().unwrap()),
                Between::Reopen => {
                    drop(graph);
                    graph = open_with(&storage, removal_slice);
                }
                Between::Forget => removing.place = RemovalPlace::default(),
            }
            let now = between_slices(&graph, &model);
            prop_assert_eq!(same(&graph, &now), Ok(()));
        }
        graph.verify().unwrap();
        graph.finish_removals().unwrap();
        model.finish_removals();
        prop_assert_eq!(same(&graph, &model), Ok(()));
        graph.verify().unwrap();
        prop_assert_eq!(graph.stats().being_removed_account_count, 0);
    }
}
