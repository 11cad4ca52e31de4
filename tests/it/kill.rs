//! A child process that follows at full speed and is killed, over and over, in one directory.

use crate::support::{Random, child_of, walk};
use followgraph::{Durability, FollowGraph, Mutation, Options, Page};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const ROUND_COUNT: usize = 24;
const THREAD_COUNT: usize = 4;
const TARGET_COUNT: usize = 40;
/// Begins the names of those who follow in one batch.
const BATCHER: &str = "batcher";
const CHILD: &str = "FOLLOWGRAPH_TEST_KILL_CHILD";

fn open(dir: &Path) -> FollowGraph {
    Options::new()
        .durability(Durability::Always)
        .segment_bytes(64 << 10)
        .checkpoint_log_bytes(None)
        .create_missing_accounts(true)
        .open(dir)
        .unwrap()
}

/// The n-th step of a thread: whom it follows, or no longer follows. Known to parent and child.
fn step(number: usize) -> (bool, String) {
    let target = |number: usize| format!("target{}", number * 7 % TARGET_COUNT);
    if number % 5 == 4 { (false, target(number - 2)) } else { (true, target(number)) }
}

/// Whom a thread follows after its first `step_count` steps.
fn followed_after(step_count: usize) -> BTreeSet<String> {
    let mut followed = BTreeSet::new();
    for (is_follow, target) in (0..step_count).map(step) {
        if is_follow {
            followed.insert(target);
        } else {
            followed.remove(&target);
        }
    }
    followed
}

/// The child's part: follow from several threads, checkpoint all the while, tell each acknowledged
/// step, until killed.
fn follow_until_killed(argument: &str) {
    let (round, dir) = argument.split_once(' ').unwrap();
    let graph = open(Path::new(dir));
    say("");
    std::thread::scope(|scope| {
        for thread in 0..THREAD_COUNT {
            let graph = &graph;
            scope.spawn(move || {
                for number in 0.. {
                    let (is_follow, target) = step(number);
                    let follower = format!("round{round}thread{thread}");
                    if is_follow {
                        graph.follow(&follower, &target).unwrap();
                    } else {
                        graph.unfollow(&follower, &target).unwrap();
                    }
                    say(&format!("ack {thread} {}", number + 1));
                }
            });
        }
        scope.spawn(|| {
            for number in 0.. {
                follow_in_a_batch(&graph, &format!("{BATCHER}{round}-{number}"));
            }
        });
        loop {
            graph.checkpoint().unwrap();
            std::thread::sleep(Duration::from_millis(3));
        }
    });
}

/// An account that follows all targets, all at once: it is never seen with fewer.
fn follow_in_a_batch(graph: &FollowGraph, name: &str) {
    let targets: Vec<String> = (0..TARGET_COUNT).map(|number| format!("target{number}")).collect();
    let follow = |target| Mutation::follow(name, target);
    let batch: Vec<Mutation<'_>> = targets.iter().map(|target| follow(target.as_str())).collect();
    for result in graph.apply(&batch).unwrap() {
        result.unwrap();
    }
}

/// One whole line at once, past the capture of the test harness.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").unwrap();
    out.flush().unwrap();
}

/// Lets a child run for a while, kills it, and tells how many steps of each thread it acknowledged.
fn run_and_kill(dir: &Path, round: usize, patience: Duration) -> BTreeMap<usize, usize> {
    let argument = format!("{round} {}", dir.display());
    let mut child = child_of("kill::what_was_acknowledged_survives_every_kill", CHILD, &argument);
    let output = BufReader::new(child.stdout.take().unwrap());
    let reader = std::thread::spawn(move || {
        let mut acknowledged = BTreeMap::new();
        for line in output.lines().map_while(Result::ok) {
            let mut words = line.split(' ');
            if words.next() == Some("ack")
                && let Some(thread) = words.next().and_then(|word| word.parse::<usize>().ok())
                && let Some(steps) = words.next().and_then(|word| word.parse::<usize>().ok())
            {
                acknowledged.insert(thread, steps);
            }
        }
        acknowledged
    });
    std::thread::sleep(patience);
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert!(status.code().is_none(), "the child ended by itself, before the kill: {status}");
    reader.join().unwrap()
}

/// Each thread's follows are those of all acknowledged steps, and at most of the one under way.
fn check_round(graph: &FollowGraph, round: usize, acknowledged: &BTreeMap<usize, usize>) {
    for thread in 0..THREAD_COUNT {
        let follower = format!("round{round}thread{thread}");
        let steps = acknowledged.get(&thread).copied().unwrap_or(0);
        let listed = walk(100, |page| graph.following(&follower, page)).unwrap_or_default();
        let listed: BTreeSet<String> = listed.into_iter().map(|entry| entry.0).collect();
        let is_right = [steps, steps + 1].iter().any(|count| followed_after(*count) == listed);
        assert!(is_right, "{follower} acknowledged {steps} steps and follows {listed:?}");
    }
}

/// Every count is the length of its list, and the lists of both ends tell the same follows.
fn check_lists(graph: &FollowGraph) {
    let mut edges = (BTreeSet::new(), BTreeSet::new());
    for (_, name) in graph.accounts(None, usize::MAX) {
        let counts = graph.counts(&name).unwrap();
        let followers = graph.followers(&name, Page::first(usize::MAX)).unwrap().entries;
        let following = graph.following(&name, Page::first(usize::MAX)).unwrap().entries;
        assert_eq!(counts.followers as usize, followers.len(), "followers of {name}");
        assert_eq!(counts.following as usize, following.len(), "following of {name}");
        let is_batcher = name.starts_with(BATCHER);
        assert!(!is_batcher || following.len() == TARGET_COUNT, "{name} is half there");
        edges.0.extend(followers.into_iter().map(|entry| (entry.account, name.clone())));
        edges.1.extend(following.into_iter().map(|entry| (name.clone(), entry.account)));
    }
    assert_eq!(edges.0, edges.1);
    assert_eq!(graph.verify().unwrap().follow_count, edges.0.len() as u64);
}

#[test]
fn what_was_acknowledged_survives_every_kill() {
    if let Ok(argument) = std::env::var(CHILD) {
        return follow_until_killed(&argument);
    }
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random::seeded(2024);
    let mut rounds = Vec::new();
    let begin = Instant::now();
    for round in 0..ROUND_COUNT {
        let patience = Duration::from_millis(40 + random.below(300) as u64);
        rounds.push(run_and_kill(dir.path(), round, patience));
        let graph = open(dir.path());
        for (round, acknowledged) in rounds.iter().enumerate() {
            check_round(&graph, round, acknowledged);
        }
        check_lists(&graph);
    }
    let steps: usize = rounds.iter().flat_map(BTreeMap::values).sum();
    println!("{ROUND_COUNT} kills, {steps} acknowledged steps, {:?}", begin.elapsed());
    assert!(steps > 10 * ROUND_COUNT, "the children hardly got to work: {steps} steps");
}

#[test]
fn a_process_killed_without_syncs_loses_nothing() {
    const VARIABLE: &str = "FOLLOWGRAPH_TEST_KILL_UNSYNCED";
    if let Ok(dir) = std::env::var(VARIABLE) {
        let graph = Options::new()
            .durability(Durability::Never)
            .segment_bytes(64 << 10)
            .create_missing_accounts(true)
            .open(dir)
            .unwrap();
        say("");
        for number in 0_u64.. {
            graph.follow("fan", &format!("star{number}")).unwrap();
            say(&format!("ack 0 {number}"));
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let test = "kill::a_process_killed_without_syncs_loses_nothing";
    let mut child = child_of(test, VARIABLE, dir.path().to_str().unwrap());
    let output = BufReader::new(child.stdout.take().unwrap());
    let is_enough = Arc::new(AtomicBool::new(false));
    let enough = Arc::clone(&is_enough);
    let reader = std::thread::spawn(move || {
        let lines = output.lines().map_while(Result::ok);
        let acknowledged = lines.filter_map(|line| {
            let number = line.strip_prefix("ack 0 ")?.parse::<u32>().ok()?;
            enough.store(number > 5000, Ordering::SeqCst);
            Some(number)
        });
        acknowledged.last().unwrap()
    });
    while !is_enough.load(Ordering::SeqCst) {
        assert!(child.try_wait().unwrap().is_none(), "the child ended by itself");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let acknowledged = reader.join().unwrap();
    let graph = open(dir.path());
    let following = graph.counts("fan").unwrap().following;
    // The last number begins at zero, and one more may have been under way.
    assert!((acknowledged + 1..=acknowledged + 2).contains(&following));
    check_lists(&graph);
}

#[test]
fn a_bulk_load_that_is_killed_leaves_nothing_or_all() {
    const VARIABLE: &str = "FOLLOWGRAPH_TEST_KILL_BULK_LOAD";
    const FAN_COUNT: usize = 30_000;
    if let Ok(dir) = std::env::var(VARIABLE) {
        let graph = open(Path::new(&dir));
        let mut load = graph.bulk_load(64 << 10).unwrap();
        say("");
        say("begin");
        for number in 0..FAN_COUNT {
            load.add(&format!("fan{number}"), &format!("star{}", number % 100), None).unwrap();
        }
        load.finish(&mut |_, _| {}).unwrap();
        say("done");
        std::thread::sleep(Duration::from_mins(1));
    }
    let mut random = Random::seeded(5);
    for round in 0..12 {
        let dir = tempfile::tempdir().unwrap();
        let test = "kill::a_bulk_load_that_is_killed_leaves_nothing_or_all";
        let mut child = child_of(test, VARIABLE, dir.path().to_str().unwrap());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(lines.any(|line| line == "begin"), "the child never began");
        // The last rounds wait for the end, which the others mostly do not see.
        let is_done = round >= 10 && lines.any(|line| line == "done");
        std::thread::sleep(Duration::from_millis(random.below(80) as u64));
        child.kill().unwrap();
        child.wait().unwrap();
        let is_done = is_done || lines.any(|line| line == "done");
        let graph = open(dir.path());
        let stats = graph.stats();
        let found = (stats.account_count as usize, stats.follow_count as usize);
        let all = (FAN_COUNT + 100, FAN_COUNT);
        assert!(found == all || (!is_done && found == (0, 0)), "{found:?} in round {round}");
        check_lists(&graph);
        graph.follow("after", "all").unwrap();
    }
}
