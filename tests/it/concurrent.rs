//! Many threads at once: writers, readers and checkpoints. Each writer owns its followers, so that
//! what is there in the end is known.

use crate::support::{Random, walk};
use followgraph::{Durability, FollowGraph, Mutation, Options, Page};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::Duration;

const WRITER_COUNT: usize = 4;
const STEP_COUNT: usize = 3000;

fn open(dir: &Path, durability: Durability) -> FollowGraph {
    Options::new()
        .durability(durability)
        .segment_bytes(256 << 10)
        .checkpoint_log_bytes(None)
        .create_missing_accounts(true)
        .open(dir)
        .unwrap()
}

fn star(number: usize) -> String {
    format!("star{number}")
}

/// A writer's own followers follow and unfollow the stars; stars of its own follow back. Whom each
/// follower follows in the end, oldest first, is returned.
fn write(graph: &FollowGraph, writer: usize) -> Vec<(String, Vec<String>)> {
    let mut random = Random::seeded(writer as u64);
    let mut follows: Vec<(String, Vec<String>)> =
        (0..5).map(|number| (format!("writer{writer}fan{number}"), Vec::new())).collect();
    for _ in 0..STEP_COUNT {
        let chosen = random.below(follows.len());
        let (fan, followed) = &mut follows[chosen];
        let target = match random.below(4) {
            0 => format!("writer{writer}fan{}", random.below(5)),
            _ => star(random.below(30)),
        };
        if target == *fan {
            continue;
        }
        if let Some(place) = followed.iter().position(|name| *name == target) {
            graph.unfollow(fan, &target).unwrap();
            followed.remove(place);
        } else {
            graph.follow(fan, &target).unwrap();
            followed.push(target);
        }
    }
    follows
}

/// The twins are only ever changed together, in one batch.
fn write_twins(graph: &FollowGraph, is_over: &AtomicBool) {
    while !is_over.load(Ordering::SeqCst) {
        for name in ["tick", "tack"] {
            let both = [Mutation::follow(name, "twin1"), Mutation::follow(name, "twin2")];
            graph.apply(&both).unwrap();
        }
        for name in ["tick", "tack"] {
            let both = [Mutation::unfollow(name, "twin2"), Mutation::unfollow(name, "twin1")];
            graph.apply(&both).unwrap();
        }
    }
}

/// Pages through a list that changes between the pages: a page may even come out empty.
fn followers_by_pages(graph: &FollowGraph, name: &str) -> usize {
    let mut entry_count = 0;
    let mut page = Page::first(4);
    loop {
        let list = graph.followers(name, page).unwrap();
        entry_count += list.entries.len();
        let Some(cursor) = list.next else { return entry_count };
        page = Page::after(cursor, 4);
    }
}

/// Readers hold what they see to what holds at every moment.
fn read(graph: &FollowGraph, is_over: &AtomicBool, read_count: &AtomicUsize) {
    let mut names: Vec<String> = (0..30).map(star).collect();
    names.extend((0..WRITER_COUNT).map(|writer| format!("writer{writer}fan0")));
    names.extend(["twin1".to_owned(), "twin2".to_owned()]);
    while !is_over.load(Ordering::SeqCst) {
        let counted = graph.batch_counts(&names);
        for counts in counted.iter().flatten() {
            assert!(counts.mutual <= counts.followers.min(counts.following), "{counts:?}");
        }
        let [.., Ok(one), Ok(other)] = counted.as_slice() else { panic!("the twins are there") };
        assert_eq!(one, other, "a batch of counts saw half of a batch of follows");
        let relations = graph.batch_relations("tick", &["twin1", "twin2"]).unwrap();
        let (one, other) = (relations[0].as_ref().unwrap(), relations[1].as_ref().unwrap());
        assert_eq!(one, other, "a batch of relations saw half of a batch of follows");
        assert!(followers_by_pages(graph, "star0") <= WRITER_COUNT * 5 * 2);
        let _ = graph.known_followers("writer0fan0", &["star1", "star2"]);
        read_count.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn readers_writers_and_checkpoints_at_once_end_in_what_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let graph = open(dir.path(), Durability::Interval(Duration::from_millis(5)));
    for name in ["twin1", "twin2", "tick", "tack", "star0", "star1", "star2"] {
        graph.add_account(name).unwrap();
    }
    let (is_over, read_count) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut follows = Vec::new();
    std::thread::scope(|scope| {
        let (graph, is_over, read_count) = (&graph, &is_over, &read_count);
        for _ in 0..2 {
            scope.spawn(move || read(graph, is_over, read_count));
        }
        scope.spawn(move || write_twins(graph, is_over));
        scope.spawn(move || {
            while !is_over.load(Ordering::SeqCst) {
                graph.checkpoint().unwrap();
                graph.verify().unwrap();
            }
        });
        let write = move |writer| scope.spawn(move || write(graph, writer));
        let writers: Vec<_> = (0..WRITER_COUNT).map(write).collect();
        let joined: Vec<_> = writers.into_iter().map(ScopedJoinHandle::join).collect();
        is_over.store(true, Ordering::SeqCst);
        follows.extend(joined.into_iter().flat_map(Result::unwrap));
    });
    assert!(read_count.load(Ordering::SeqCst) > 10, "the readers hardly got to read");
    check_follows(&graph, &follows);
    drop(graph);
    let graph = open(dir.path(), Durability::Always);
    check_follows(&graph, &follows);
}

/// The graph holds these follows and no others, newest first, and its counts are their counts.
fn check_follows(graph: &FollowGraph, follows: &[(String, Vec<String>)]) {
    let edges: BTreeSet<(&str, &str)> = follows
        .iter()
        .flat_map(|(fan, followed)| followed.iter().map(|name| (fan.as_str(), name.as_str())))
        .collect();
    for (fan, followed) in follows {
        let listed = walk(7, |page| graph.following(fan, page)).unwrap();
        let listed: Vec<&str> = listed.iter().map(|entry| entry.0.as_str()).collect();
        let expected: Vec<&str> = followed.iter().rev().map(String::as_str).collect();
        assert_eq!(listed, expected, "{fan}");
    }
    for (_, name) in graph.accounts(None, usize::MAX) {
        let name = name.as_str();
        if ["tick", "tack", "twin1", "twin2"].contains(&name) {
            continue;
        }
        let counts = graph.counts(name).unwrap();
        let mutual = edges.iter().filter(|edge| edge.0 == name && edges.contains(&(edge.1, name)));
        let followers = edges.iter().filter(|edge| edge.1 == name).count();
        let following = edges.iter().filter(|edge| edge.0 == name).count();
        assert_eq!(counts.followers as usize, followers, "{name}");
        assert_eq!(counts.following as usize, following, "{name}");
        assert_eq!(counts.mutual as usize, mutual.count(), "{name}");
        let listed = walk(9, |page| graph.followers(name, page)).unwrap();
        assert_eq!(listed.len(), followers);
    }
    graph.verify().unwrap();
}

#[test]
fn durable_follows_of_64_threads_are_all_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let graph = open(dir.path(), Durability::Always);
    std::thread::scope(|scope| {
        for thread in 0..64 {
            let graph = &graph;
            scope.spawn(move || {
                for number in 0..20 {
                    graph.follow(&format!("fan{thread}"), &star(number)).unwrap();
                    let stats = graph.stats();
                    assert!(stats.durable_sequence <= stats.sequence);
                }
            });
        }
    });
    let stats = graph.stats();
    assert_eq!(stats.durable_sequence, stats.sequence, "every follow waited for the disk");
    drop(graph);
    let graph = open(dir.path(), Durability::Always);
    for thread in 0..64 {
        let listed = walk(100, |page| graph.following(&format!("fan{thread}"), page)).unwrap();
        let expected: Vec<String> = (0..20).rev().map(star).collect();
        assert_eq!(listed.into_iter().map(|entry| entry.0).collect::<Vec<_>>(), expected);
    }
    assert_eq!(graph.counts("star0").unwrap().followers, 64);
    graph.verify().unwrap();
}

#[test]
fn checkpoints_backups_and_verifications_of_many_threads_do_not_meet() {
    let dir = tempfile::tempdir().unwrap();
    let graph = open(&dir.path().join("graph"), Durability::Never);
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (graph, dir) = (&graph, dir.path());
            scope.spawn(move || {
                for number in 0..10 {
                    graph.follow(&format!("fan{thread}"), &star(number)).unwrap();
                    graph.checkpoint().unwrap();
                    let backup = dir.join(format!("backup{thread}-{number}"));
                    graph.backup(&backup).unwrap();
                    graph.verify().unwrap();
                    let copy = FollowGraph::open(&backup).unwrap();
                    let following = copy.counts(&format!("fan{thread}")).unwrap().following;
                    assert_eq!(following, number as u32 + 1);
                }
            });
        }
    });
    assert_eq!(graph.stats().follow_count, 30);
}

#[test]
fn a_checkpoint_starts_by_itself_when_the_log_is_long() {
    let dir = tempfile::tempdir().unwrap();
    let graph = Options::new()
        .durability(Durability::Never)
        .segment_bytes(64 << 10)
        .checkpoint_log_bytes(Some(128 << 10))
        .create_missing_accounts(true)
        .open(dir.path())
        .unwrap();
    let begin = std::time::Instant::now();
    let mut number = 0;
    while graph.stats().image_sequence == 0 {
        graph.follow(&format!("fan{}", number % 100), &star(number)).unwrap();
        number += 1;
        assert!(begin.elapsed() < Duration::from_secs(20), "no checkpoint after {number} follows");
    }
    assert_eq!(graph.stats().follow_count, number as u64);
    graph.verify().unwrap();
    drop(graph);
    let graph = open(dir.path(), Durability::Always);
    assert_eq!(graph.stats().follow_count, number as u64);
}

#[test]
fn figures_are_read_beside_writers_without_a_lock_taken_twice() {
    const CALLS: usize = 50_000;
    let options = Options::new().create_missing_accounts(true).removal_slice(2);
    let graph = Arc::new(options.in_memory().unwrap());
    let (done, is_done) = std::sync::mpsc::channel();
    let start = |call: fn(&FollowGraph, usize)| {
        let (graph, done) = (graph.clone(), done.clone());
        std::thread::spawn(move || {
            (0..CALLS).for_each(|round| call(&graph, round));
            done.send(()).unwrap();
        });
    };
    start(|graph, round| drop(graph.follow(&format!("fan-{}", round % 100), "star")));
    // The end of a removal in slices locks the state apart from a commit.
    start(|graph, _| drop(graph.remove_account("star")));
    start(|graph, _| drop(graph.stats()));
    start(|graph, _| assert_eq!(graph.clock().fault, None));
    for _ in 0..4 {
        let waited = is_done.recv_timeout(Duration::from_mins(2));
        waited.expect("a reader and a writer wait for each other");
    }
}
