//! Removal in slices beside readers and writers, across kills, and in files of version 1.

use crate::support::{Random, child_of, files_of};
use followgraph::{Change, Durability, ErrorKind, FollowGraph, Mutation, Options, Outcome, Page};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const STAR: &str = "star";

fn options() -> Options {
    Options::new()
        .durability(Durability::Never)
        .segment_bytes(64 << 10)
        .checkpoint_log_bytes(None)
        .create_missing_accounts(true)
}

fn fan(number: usize) -> String {
    format!("fan{number}")
}

/// Fans who follow the star, and of whom it follows every third back.
fn crowd(graph: &FollowGraph, fans: std::ops::Range<usize>) {
    let names: Vec<String> = fans.map(fan).collect();
    for names in names.chunks(1000) {
        let follows = names.iter().map(|name| Mutation::follow(name, STAR));
        let back = names.iter().step_by(3).map(|name| Mutation::follow(STAR, name));
        let batch: Vec<Mutation<'_>> = follows.chain(back).collect();
        assert!(graph.apply(&batch).unwrap().iter().all(Result::is_ok));
    }
}

/// An account whose counts are seen twice the same has lists as long as they said in between.
fn check_counts(graph: &FollowGraph, name: &str) -> followgraph::Result<bool> {
    let before = graph.counts(name)?;
    let followers = graph.followers(name, Page::first(usize::MAX))?.entries.len();
    let following = graph.following(name, Page::first(usize::MAX))?.entries.len();
    let mutuals = graph.mutuals(name, Page::first(usize::MAX))?.entries.len();
    let after = graph.counts(name)?;
    if before != after {
        return Ok(false);
    }
    let counts = (after.followers as usize, after.following as usize, after.mutual as usize);
    assert_eq!(counts, (followers, following, mutuals), "counts and lists of {name}");
    Ok(true)
}

#[test]
fn beside_a_removal_counts_equal_lists_and_other_writers_have_their_turn() {
    const FAN_COUNT: usize = 20_000;
    let dir = tempfile::tempdir().unwrap();
    let graph = options().removal_slice(1).open(dir.path()).unwrap();
    crowd(&graph, 0..FAN_COUNT / 2);
    graph.checkpoint().unwrap();
    crowd(&graph, FAN_COUNT / 2..FAN_COUNT);
    let (is_gone, checked, written) =
        (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let mut changes = graph.consumer("watcher").unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            graph.remove_account(STAR).unwrap();
            is_gone.store(true, Ordering::SeqCst);
        });
        scope.spawn(|| {
            let mut random = Random::seeded(7);
            while !is_gone.load(Ordering::SeqCst) {
                let name = fan(random.below(FAN_COUNT));
                let found = check_counts(&graph, &name).unwrap();
                checked.fetch_add(usize::from(found), Ordering::SeqCst);
                // The star itself answers with what is left, until it is gone.
                match graph.counts(STAR).map_err(|error| error.kind()) {
                    Ok(counts) => {
                        assert!(counts.mutual <= counts.followers.min(counts.following));
                    }
                    Err(kind) => assert_eq!(kind, ErrorKind::UnknownAccount),
                }
            }
        });
        scope.spawn(|| {
            while !is_gone.load(Ordering::SeqCst) {
                let number = written.fetch_add(1, Ordering::SeqCst);
                let done = graph.follow(&fan(number % FAN_COUNT), "other").unwrap();
                assert_eq!(done == Outcome::Applied, number < FAN_COUNT);
                std::thread::sleep(Duration::from_micros(100));
            }
        });
        while !is_gone.load(Ordering::SeqCst) {
            graph.checkpoint().unwrap();
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let (checked, written) = (checked.into_inner(), written.into_inner());
    assert!(checked > 20, "only {checked} accounts were looked at");
    graph.sync().unwrap();
    let (mut turns, mut was_slice) = (0, false);
    while let Some(commit) = changes.next(Duration::ZERO).unwrap() {
        let is_slice = matches!(commit.changes[0], Change::Unfollowed { .. });
        turns += usize::from(is_slice && !was_slice);
        was_slice = is_slice;
    }
    println!("{checked} accounts looked at, {written} other commits, {turns} turns");
    // Where a removal kept the others waiting there would be one.
    assert!(turns > 2, "the slices came in {turns} runs");
    assert_eq!(graph.counts(STAR).unwrap_err().kind(), ErrorKind::UnknownAccount);
    assert_eq!(graph.counts("fan0").unwrap().mutual, 0);
    graph.verify().unwrap();
}

#[test]
fn two_who_remove_the_same_account_both_return_when_it_is_gone() {
    let graph = options().removal_slice(1).in_memory().unwrap();
    for round in 0..20 {
        crowd(&graph, 0..200);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    match graph.remove_account(STAR).map_err(|error| error.kind()) {
                        // Who came when it was gone already is told so.
                        Ok(()) | Err(ErrorKind::UnknownAccount) => {}
                        Err(other) => panic!("{other:?}"),
                    }
                    assert!(graph.account_id(STAR).is_err(), "it is there in round {round}");
                });
            }
        });
        assert_eq!(graph.stats().follow_count, 0);
    }
    graph.verify().unwrap();
}

/// The account of a whole removal: it begins, each follow goes, it goes.
fn whole_removal(removal: &[Change]) -> followgraph::AccountId {
    let [first, follows @ .., last] = removal else { panic!("no removal: {removal:?}") };
    assert!(follows.iter().all(|change| matches!(change, Change::Unfollowed { .. })));
    match (first, last) {
        (Change::RemovalBegan { account: began }, Change::AccountRemoved { account }) => {
            assert_eq!(began, account);
            *account
        }
        _ => panic!("no removal: {removal:?}"),
    }
}

#[test]
fn the_feed_tells_a_removal_in_slices_with_each_follow() {
    let graph = options().removal_slice(2).in_memory().unwrap();
    crowd(&graph, 0..4);
    let star = graph.account_id(STAR).unwrap();
    let mut changes = graph.changes(graph.stats().sequence).unwrap();
    let few = graph.apply(&[Mutation::remove_account("fan1"), Mutation::remove_account(STAR)]);
    assert!(few.unwrap().iter().all(Result::is_ok));
    graph.sync().unwrap();
    let mut told = Vec::new();
    while let Some(commit) = changes.next(Duration::ZERO).unwrap() {
        assert!(commit.changes.len() <= 4, "{commit:?}");
        told.extend(commit.changes);
    }
    let unfollows = told.iter().filter(|change| matches!(change, Change::Unfollowed { .. }));
    assert_eq!(unfollows.count(), 6);
    assert_ne!(whole_removal(&told[..3]), star);
    assert_eq!(whole_removal(&told[3..]), star);
}

/// The child's part: removes the star with all its fans, and makes it anew, until killed.
fn remove_until_killed(dir: &Path, fan_count: usize) {
    let graph = options().removal_slice(3).open(dir).unwrap();
    println!("\nopen");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            loop {
                graph.checkpoint().unwrap();
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        loop {
            // Where the one before was killed the removal may be under way.
            graph.finish_removals().unwrap();
            crowd(&graph, 0..fan_count);
            println!("removing");
            graph.remove_account(STAR).unwrap();
            println!("removed");
            assert!(graph.account_id(STAR).is_err());
        }
    });
}

#[test]
fn a_removal_that_is_killed_is_finished_when_the_graph_is_opened() {
    const VARIABLE: &str = "FOLLOWGRAPH_TEST_KILL_REMOVAL";
    const FAN_COUNT: usize = 6000;
    if let Ok(dir) = std::env::var(VARIABLE) {
        return remove_until_killed(Path::new(&dir), FAN_COUNT);
    }
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random::seeded(11);
    let mut interrupted = 0;
    for round in 0..16 {
        let test = "removal::a_removal_that_is_killed_is_finished_when_the_graph_is_opened";
        let mut child = child_of(test, VARIABLE, dir.path().to_str().unwrap());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(lines.any(|line| line == "removing"), "the child never began");
        std::thread::sleep(Duration::from_millis(random.below(60) as u64));
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert!(status.code().is_none(), "the child ended by itself: {status}");
        let is_removed = lines.filter(|line| line == "removed").count() > 0;

        let begin = std::time::Instant::now();
        let graph = options().open(dir.path()).unwrap();
        let was_leaving = graph.stats().being_removed_account_count > 0;
        graph.finish_removals().unwrap();
        interrupted += usize::from(was_leaving);
        assert_eq!(graph.stats().being_removed_account_count, 0, "{:?}", begin.elapsed());
        let is_there = graph.account_id(STAR).is_ok();
        if was_leaving || (is_removed && !is_there) {
            assert!(!is_there, "what began to go is gone in round {round}");
            assert_eq!(graph.stats().follow_count, 0);
            assert_eq!(graph.stats().account_count as usize, FAN_COUNT);
        }
        for number in 0..20 {
            assert!(check_counts(&graph, &fan(number * 7)).unwrap());
        }
        graph.verify().unwrap();
        drop(graph);
        // What was finished stays so.
        let graph = options().open(dir.path()).unwrap();
        assert_eq!(graph.account_id(STAR).is_ok(), is_there);
    }
    println!("{interrupted} of 16 kills came into a removal");
    assert!(interrupted >= 3, "the kills hardly met a removal: {interrupted}");
}

/// Says version 1 in the header of a file whose checksum is its last `u32`.
fn make_older(path: &Path, header_bytes: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[8..12].copy_from_slice(&1_u32.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..header_bytes - 4]);
    bytes[header_bytes - 4..header_bytes].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(path, bytes).unwrap();
}

fn version_of(path: &Path) -> u32 {
    let bytes = std::fs::read(path).unwrap();
    u32::from_le_bytes(bytes[8..12].try_into().unwrap())
}

#[test]
fn nothing_is_appended_to_a_segment_of_version_1() {
    for fan_count in [0, 10] {
        let dir = tempfile::tempdir().unwrap();
        drop({
            let graph = options().open(dir.path()).unwrap();
            crowd(&graph, 0..fan_count);
            graph
        });
        for log in files_of(dir.path(), "fgl") {
            make_older(&dir.path().join(log), 64);
        }
        for image in files_of(dir.path(), "fgi") {
            let path = dir.path().join(image);
            // Version 1 had no checksums by blocks: the file ended with the sets.
            let mut bytes = std::fs::read(&path).unwrap();
            let field = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
            let end = field(200) + field(208);
            bytes.truncate(end as usize);
            bytes[228..252].fill(0);
            std::fs::write(&path, bytes).unwrap();
            make_older(&path, 4096);
        }
        let segments = files_of(dir.path(), "fgl");
        let before: Vec<Vec<u8>> =
            segments.iter().map(|name| std::fs::read(dir.path().join(name)).unwrap()).collect();
        // Looking at it changes nothing.
        drop(options().open(dir.path()).unwrap());
        assert_eq!(files_of(dir.path(), "fgl"), segments);

        let graph = options().removal_slice(2).open(dir.path()).unwrap();
        crowd(&graph, 0..fan_count + 1);
        graph.remove_account(STAR).unwrap();
        graph.verify().unwrap();
        drop(graph);
        for (name, before) in segments.iter().zip(before) {
            let now = std::fs::read(dir.path().join(name)).unwrap();
            let is_unused = fan_count == 0;
            assert!(is_unused || now[..before.len()] == before[..], "{name:?} was changed");
        }
        let last = files_of(dir.path(), "fgl").pop().unwrap();
        assert_eq!(version_of(&dir.path().join(last)), 2);
        let graph = options().open(dir.path()).unwrap();
        assert_eq!(graph.stats().follow_count, 0);
        graph.verify().unwrap();
    }
}
