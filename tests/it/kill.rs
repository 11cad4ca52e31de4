//! A child process that follows at full speed and is killed, over and over, in one directory.

use crate::support::{Random, child_of};
use followgraph::testing::kill::{self, Acknowledged};
use followgraph::{Durability, FollowGraph, Options};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const ROUND_COUNT: usize = 24;
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

/// The child's part.
fn follow_until_killed(argument: &str) {
    let (round, dir) = argument.split_once(' ').unwrap();
    let graph = open(Path::new(dir));
    say("");
    kill::write_until_killed(&graph, round.parse().unwrap(), &say);
}

/// One whole line at once, past the capture of the test harness.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").unwrap();
    out.flush().unwrap();
}

/// Lets a child run for a while, kills it, and tells what it acknowledged.
fn run_and_kill(dir: &Path, round: usize, patience: Duration) -> Acknowledged {
    let argument = format!("{round} {}", dir.display());
    let mut child = child_of("kill::what_was_acknowledged_survives_every_kill", CHILD, &argument);
    let output = BufReader::new(child.stdout.take().unwrap());
    let reader = std::thread::spawn(move || {
        let mut acknowledged = Acknowledged::default();
        for line in output.lines().map_while(Result::ok) {
            acknowledged.take(&line);
        }
        acknowledged
    });
    std::thread::sleep(patience);
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert!(status.code().is_none(), "the child ended by itself, before the kill: {status}");
    reader.join().unwrap()
}

fn check_lists(graph: &FollowGraph) {
    kill::check_lists(graph).unwrap_or_else(|flaw| panic!("{flaw}"));
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
            kill::check_round(&graph, round, acknowledged).unwrap_or_else(|flaw| panic!("{flaw}"));
        }
        check_lists(&graph);
    }
    let steps: usize = rounds.iter().map(Acknowledged::step_count).sum();
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
