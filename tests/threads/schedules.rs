//! The engine on locks whose schedule is chosen: `scripts/schedules` builds and runs this.
//!
//! Each test runs one history some thousands of times, each time in another order of its threads.
//! The code is the engine's own; only `src/locks.rs` and the disk are others. A failure prints the
//! schedule, which `shuttle::replay` repeats.
#![cfg(shuttle)]

use followgraph::testing::{Call, Disk, Failure, Fault, Remains};
use followgraph::{Change, Durability, ErrorKind, FollowGraph, Mutation, Options};
use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::thread::{JoinHandle, spawn};
use shuttle::{Config, Runner};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How many schedules of each kind a test tries.
fn schedule_count() -> usize {
    if std::env::var_os("FOLLOWGRAPH_LONG").is_some() { 20_000 } else { 600 }
}

/// Runs a history under schedules drawn evenly, and under those of which few preemptions decide.
fn check(name: &str, history: fn()) {
    let schedules = schedule_count();
    let mut config = Config::new();
    config.stack_size = 1 << 20;
    config.silence_warnings = true;
    config.max_steps = shuttle::MaxSteps::FailAfter(200_000);
    let random = RandomScheduler::new(schedules);
    let drawn = Runner::new(random, config.clone()).run(history);
    let few = PctScheduler::new(3, schedules);
    let decided = Runner::new(few, config).run(history);
    println!("{name}: {drawn} schedules drawn, {decided} with three preemptions");
    assert_eq!((drawn, decided), (schedules, schedules), "not all schedules were tried");
}

fn open(disk: &Disk, durability: Durability) -> FollowGraph {
    let options = Options::new()
        .durability(durability)
        .segment_bytes(64 << 10)
        .checkpoint_log_bytes(None)
        .create_missing_accounts(true)
        .clock(Arc::new(|| 1000));
    disk.open(options).expect("nothing is damaged")
}

fn join(threads: Vec<JoinHandle<()>>) {
    for thread in threads {
        thread.join().expect("no panic");
    }
}

/// Whether a follow is there when the power goes now and nothing stays but what was synced.
fn survives(disk: &Disk, follower: &str, followed: &str) -> bool {
    let graph = open(&disk.after_power_loss(Remains::Nothing), Durability::Never);
    graph.relation(follower, followed).is_ok_and(|relation| relation.following)
}

/// Who returns from a durable follow has it on disk, whoever did the sync.
fn durable_follows() {
    let disk = Disk::new(512);
    let graph = Arc::new(open(&disk, Durability::Always));
    let write = |number: usize| {
        let (graph, disk) = (graph.clone(), disk.clone());
        spawn(move || {
            let fan = format!("fan{number}");
            for star in ["one", "two"] {
                graph.follow(&fan, star).expect("the disk works");
                assert!(survives(&disk, &fan, star), "a follow was told durable and is lost");
            }
        })
    };
    join((0..3).map(write).collect());
    assert_eq!(graph.stats().durable_sequence, graph.stats().sequence);
}

#[test]
fn nobody_is_told_durable_before_a_sync_covered_the_frame() {
    check("group commit", durable_follows);
}

/// A sync fails, and the kernel forgets what it was to write: who waited for it must be told, and
/// nobody may try again and believe the success.
fn a_sync_fails() {
    let disk = Disk::new(512);
    let graph = Arc::new(open(&disk, Durability::Always));
    let at = thread_rng().gen_range(0..3);
    let (call, failure) = (Call::LogSync, Failure::IoForgotten);
    disk.set_fault(Fault::ErrorOf { call, at, failure, lasting: false });
    let write = |number: usize| {
        let (graph, disk) = (graph.clone(), disk.clone());
        spawn(move || {
            let fan = format!("fan{number}");
            let mut was_refused = false;
            for star in ["one", "two"] {
                match graph.follow(&fan, star) {
                    Ok(_) => {
                        assert!(!was_refused, "a write went through after a failed sync");
                        assert!(survives(&disk, &fan, star), "a sync that failed was not told");
                    }
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Latched, "{error}");
                        was_refused = true;
                    }
                }
            }
        })
    };
    join((0..3).map(write).collect());
    if disk.calls().get(&call).is_some_and(|&count| count > at) {
        let refused = graph.follow("late", "one").expect_err("a failed sync refuses all writes");
        assert_eq!(refused.kind(), ErrorKind::Latched);
    }
}

#[test]
fn a_failed_sync_is_told_to_all_who_wait_for_it() {
    check("failed sync", a_sync_fails);
}

/// One of two stars is followed at every moment; each commit moves the follow from one to the
/// other. Readers ask for both at once while a checkpoint puts another graph in place.
fn a_graph_changes_places() {
    let graph = Arc::new(open(&Disk::new(4096), Durability::Never));
    graph.follow("fan", "one").expect("memory");
    graph.add_account("two").expect("memory");
    let mut threads = Vec::new();
    let is_swapped = Arc::new(AtomicBool::new(false));
    let (writer, is_over) = (graph.clone(), is_swapped.clone());
    threads.push(spawn(move || {
        // As long as it lasts, but not for ever where the schedule lets nobody else go on.
        for _ in 0..20 {
            for (from, to) in [("one", "two"), ("two", "one")] {
                let moved = [Mutation::unfollow("fan", from), Mutation::follow("fan", to)];
                writer.apply(&moved).expect("memory");
            }
            if is_over.load(Ordering::SeqCst) {
                break;
            }
        }
        let moved = [Mutation::unfollow("fan", "one"), Mutation::follow("fan", "two")];
        writer.apply(&moved).expect("memory");
    }));
    let (checkpoints, is_over) = (graph.clone(), is_swapped);
    threads.push(spawn(move || {
        checkpoints.checkpoint().expect("a graph that changes can be recovered beside it");
        is_over.store(true, Ordering::SeqCst);
    }));
    let reader = graph.clone();
    threads.push(spawn(move || {
        for _ in 0..6 {
            let counted = reader.batch_counts(&["one", "two", "fan"]);
            let of = |place: usize| *counted[place].as_ref().expect("it is there");
            let followers = of(0).followers + of(1).followers;
            assert_eq!(followers, of(2).following, "a batch saw two moments");
            let relations = reader.batch_relations("fan", &["one", "two"]).expect("it is there");
            let following =
                |place: usize| u32::from(relations[place].as_ref().expect("it is there").following);
            assert_eq!(following(0) + following(1), 1, "a batch saw two moments");
        }
    }));
    join(threads);
    let followers = |name| graph.counts(name).expect("it is there").followers;
    assert_eq!((followers("one"), followers("two")), (0, 1), "a commit got lost in the swap");
    assert_eq!(graph.verify().expect("nothing is damaged").follow_count, 1);
}

#[test]
fn a_batch_sees_one_moment_whatever_graph_is_in_place() {
    check("swap", a_graph_changes_places);
}

/// A reader of the feed beside writers and a checkpoint, until the graph is closed under it.
fn commits_are_handed_out() {
    let disk = Disk::new(512);
    let graph = open(&disk, Durability::Always);
    let mut changes = graph.changes(0).expect("it begins at the beginning");
    let graph = Arc::new(graph);
    let seen_by = disk.clone();
    let reader = spawn(move || {
        let (mut last, mut fans) = (0, Vec::new());
        loop {
            match changes.next(Duration::MAX) {
                Ok(Some(commit)) => {
                    assert_eq!(commit.sequence, last + 1, "a commit was passed over or came twice");
                    last = commit.sequence;
                    let Some(Change::AccountAdded { name, .. }) = commit.changes.first() else {
                        panic!("{commit:?}");
                    };
                    let left = open(&seen_by.after_power_loss(Remains::Nothing), Durability::Never);
                    assert!(left.account_id(name).is_ok(), "what was handed out is lost");
                    fans.push(name.clone());
                }
                Ok(None) => panic!("it waits for ever"),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
                    return fans;
                }
            }
        }
    });
    let write = |writer: usize| {
        let graph = graph.clone();
        spawn(move || {
            for number in 0..2 {
                graph.add_account(&format!("{writer}-{number}")).expect("the disk works");
            }
        })
    };
    let mut threads: Vec<_> = (0..2).map(write).collect();
    let checkpoints = graph.clone();
    threads.push(spawn(move || {
        checkpoints.checkpoint().expect("the disk works");
    }));
    join(threads);
    drop(graph);
    let fans = reader.join().expect("no panic");
    for writer in 0..2 {
        let own = fans.iter().filter(|name| name.starts_with(&format!("{writer}-")));
        let numbers: Vec<&str> = own.map(|name| &name[2..]).collect();
        let expected = &["0", "1"][..numbers.len()];
        assert_eq!(numbers, expected, "the commits of one writer are out of order");
    }
}

/// A reader of the feed waits for a commit, or is about to, when a graph is closed that has nothing
/// to bring to the disk: no sync comes any more to wake it.
fn a_reader_waits_when_the_graph_is_closed() {
    let disk = Disk::new(512);
    drop(open(&disk, Durability::Always));
    let graph = open(&disk, Durability::Always);
    let mut changes = graph.changes(graph.stats().sequence).expect("it begins at the end");
    let reader = spawn(move || {
        let error = changes.next(Duration::MAX).expect_err("there is no commit");
        assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    });
    drop(graph);
    reader.join().expect("no panic");
}

#[test]
fn a_reader_that_waits_is_told_when_the_graph_is_closed() {
    check("closing", a_reader_waits_when_the_graph_is_closed);
}

#[test]
fn every_commit_is_handed_out_once_and_in_order_until_the_graph_is_closed() {
    check("change feed", commits_are_handed_out);
}
