//! Follow times while the clock of the machine is wrong.

use crate::support::HandClock;
use followgraph::{ClockFault, ErrorKind, FollowGraph, Mutation, Options, Page, RepairOptions};
use proptest::collection::vec;
use proptest::prelude::*;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// 2027-01-15.
const NOW: u32 = 1_800_000_000;
const HOUR: u32 = 3600;
const DAY: u32 = 24 * HOUR;
const YEAR: u32 = 365 * DAY;

/// A machine whose two clocks are set by hand.
#[derive(Clone)]
struct Machine {
    /// The clock that is right or wrong.
    clock: HandClock,
    /// Seconds since it was started.
    passed: Arc<AtomicU64>,
}

impl Machine {
    fn at(seconds: u32) -> Machine {
        Machine { clock: HandClock::at(seconds), passed: Arc::default() }
    }

    /// Time passes by both clocks.
    fn pass(&self, seconds: u32) {
        self.clock.advance(seconds);
        self.passed.fetch_add(u64::from(seconds), Ordering::SeqCst);
    }

    fn options(&self) -> Options {
        let passed = self.passed.clone();
        let passed = move || Duration::from_secs(passed.load(Ordering::SeqCst));
        options(&self.clock).monotonic_clock(Arc::new(passed))
    }
}

fn options(clock: &HandClock) -> Options {
    Options::new()
        .segment_bytes(64 << 10)
        .checkpoint_log_bytes(None)
        .create_missing_accounts(true)
        .clock(clock.clock())
}

fn is_ahead(graph: &FollowGraph) -> bool {
    matches!(graph.stats().clock_fault, Some(ClockFault::Ahead { .. }))
}

fn is_behind(graph: &FollowGraph) -> bool {
    matches!(graph.stats().clock_fault, Some(ClockFault::Behind { .. }))
}

/// The time of the follow from `name` to the star, which is made now.
fn follow_time(graph: &FollowGraph, name: &str) -> u32 {
    graph.follow(name, "star").unwrap();
    time_of(graph, name)
}

fn time_of(graph: &FollowGraph, name: &str) -> u32 {
    let page = graph.following(name, Page::first(10)).unwrap();
    page.entries.iter().find(|entry| entry.account == "star").unwrap().followed_at
}

#[test]
fn a_clock_that_was_ahead_for_a_moment_dates_no_later_follow() {
    let clock = HandClock::at(NOW);
    let graph = options(&clock).in_memory().unwrap();
    assert_eq!(follow_time(&graph, "before"), NOW);
    clock.set(NOW + 79 * YEAR);
    let ahead = follow_time(&graph, "ahead");
    assert!((NOW..NOW + 60).contains(&ahead), "a follow of this moment is from {ahead}");
    clock.set(NOW + 10);
    assert_eq!(follow_time(&graph, "after"), NOW + 10);
}

#[test]
fn while_the_clock_is_ahead_follows_get_the_time_that_has_passed() {
    for jump in [2 * HOUR, 79 * YEAR] {
        let machine = Machine::at(NOW);
        let graph = machine.options().in_memory().unwrap();
        assert_eq!(follow_time(&graph, "a"), NOW);
        machine.clock.advance(jump);
        machine.pass(100);
        assert!(is_ahead(&graph));
        assert_eq!(follow_time(&graph, "b"), NOW + 100);
        machine.pass(3 * HOUR);
        assert_eq!(follow_time(&graph, "c"), NOW + 100 + 3 * HOUR, "it stays ahead");
        let fault = graph.stats().clock_fault.unwrap();
        let reading = machine.clock.now();
        assert_eq!(fault, ClockFault::Ahead { reading, follow_time: NOW + 100 + 3 * HOUR });
        machine.clock.set(NOW + 200 + 3 * HOUR);
        assert_eq!(graph.stats().clock_fault, None);
        assert_eq!(follow_time(&graph, "d"), NOW + 200 + 3 * HOUR);
        let newest_first = graph.followers("star", Page::first(10)).unwrap();
        let names: Vec<_> = newest_first.entries.iter().map(|entry| &entry.account[..]).collect();
        assert_eq!(names, ["d", "c", "b", "a"]);
    }
}

#[test]
fn a_clock_that_drifts_or_is_set_by_less_than_an_hour_is_used_as_it_is() {
    let machine = Machine::at(NOW);
    let graph = machine.options().in_memory().unwrap();
    for day in 0..400 {
        let reading = machine.clock.now();
        assert_eq!(follow_time(&graph, &format!("fan{day}")), reading);
        // Each day it gains ten minutes.
        machine.pass(DAY);
        machine.clock.advance(600);
        assert_eq!(graph.stats().clock_fault, None);
    }
    machine.clock.advance(HOUR - 600);
    assert_eq!(follow_time(&graph, "set"), machine.clock.now());
    machine.clock.set(machine.clock.now() - 2 * HOUR);
    let latest = machine.clock.now() + 2 * HOUR;
    assert_eq!(follow_time(&graph, "back"), latest, "time does not go back");
    assert!(is_behind(&graph));
    machine.clock.advance(2 * HOUR);
    assert_eq!(graph.stats().clock_fault, None, "it went back and came again");
}

#[test]
fn a_graph_that_was_closed_for_years_opens_to_the_true_time_and_not_to_any() {
    let dir = tempfile::tempdir().unwrap();
    let machine = Machine::at(NOW);
    let graph = machine.options().open(dir.path()).unwrap();
    assert_eq!(follow_time(&graph, "a"), NOW);
    drop(graph);
    machine.clock.advance(4 * YEAR);
    let graph = machine.options().open(dir.path()).unwrap();
    assert_eq!(graph.stats().clock_fault, None);
    assert_eq!(follow_time(&graph, "b"), NOW + 4 * YEAR);
    drop(graph);
    // It is started again, and counts seconds from the wrong end.
    machine.clock.set(u32::MAX - 1000);
    let graph = machine.options().open(dir.path()).unwrap();
    assert!(is_ahead(&graph));
    machine.pass(7);
    assert_eq!(follow_time(&graph, "c"), NOW + 4 * YEAR + 7);
    graph.checkpoint().unwrap();
    drop(graph);
    let graph = machine.options().open(dir.path()).unwrap();
    assert!(is_ahead(&graph), "also after another checkpoint and opening");
    machine.clock.set(NOW + 4 * YEAR + DAY);
    assert_eq!(follow_time(&graph, "d"), NOW + 4 * YEAR + DAY);
}

/// A graph from before, whose newest follow by the clock lies 79 years ahead.
fn poisoned(dir: &Path, machine: &Machine) {
    machine.clock.set(NOW + 79 * YEAR);
    let graph = machine.options().reset_clock(true).open(dir).unwrap();
    follow_time(&graph, "ahead");
    machine.clock.set(NOW);
}

#[test]
fn a_reset_gives_follows_the_true_time_again_in_the_right_places_of_lists() {
    let dir = tempfile::tempdir().unwrap();
    let machine = Machine::at(NOW);
    poisoned(dir.path(), &machine);
    let graph = machine.options().open(dir.path()).unwrap();
    assert!(is_behind(&graph));
    graph.checkpoint().unwrap();
    assert_eq!(follow_time(&graph, "late"), NOW + 79 * YEAR);
    let cursor = graph.followers("star", Page::first(1)).unwrap().next.unwrap();
    assert_eq!(graph.reset_clock().unwrap(), NOW);
    assert_eq!(graph.stats().clock_fault, None);
    for reopened in [false, true] {
        let names = ["x", "y"].map(|name| format!("{name}{reopened}"));
        for name in &names {
            machine.pass(1);
            assert_eq!(follow_time(&graph, name), machine.clock.now());
        }
        graph.checkpoint().unwrap();
    }
    let list = |page| {
        let list = graph.followers("star", page).unwrap();
        list.entries.iter().map(|entry| entry.account.clone()).collect::<Vec<_>>()
    };
    assert_eq!(list(Page::first(10)), ["late", "ahead", "ytrue", "xtrue", "yfalse", "xfalse"]);
    assert_eq!(list(Page::after(cursor, 10)), ["ahead", "ytrue", "xtrue", "yfalse", "xfalse"]);
    graph.verify().unwrap();
    drop(graph);
    let graph = machine.options().open(dir.path()).unwrap();
    assert_eq!((graph.clock().floor, graph.stats().clock_fault), (machine.clock.now(), None));
    machine.pass(1);
    assert_eq!(follow_time(&graph, "z"), machine.clock.now());
    let changes = graph.changes(graph.oldest_position());
    assert!(changes.unwrap().next(Duration::ZERO).is_ok(), "a reset is no change");
}

#[test]
fn a_reset_is_kept_by_the_log_alone_and_by_the_option() {
    for by_option in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let machine = Machine::at(NOW);
        poisoned(dir.path(), &machine);
        let graph = machine.options().reset_clock(by_option).open(dir.path()).unwrap();
        if !by_option {
            graph.reset_clock().unwrap();
        }
        let mut changes = graph.changes(0).unwrap();
        // As after a kill: nothing but what is on disk.
        let copy = tempfile::tempdir().unwrap();
        for file in std::fs::read_dir(dir.path()).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
        }
        let reopened = machine.options().open(copy.path()).unwrap();
        assert_eq!(follow_time(&reopened, "after"), NOW, "by option: {by_option}");
        graph.add_account("last").unwrap();
        let mut told = Vec::new();
        while let Some(commit) = changes.next(Duration::ZERO).unwrap() {
            told.push(commit.changes.len());
        }
        assert_eq!(told, [3, 1], "by option: {by_option}");
    }
}

/// How far the clock is off in the test below.
const ERROR_MAX: i64 = 4 * 3600;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever the clock does, times never go back, and none is later than the latest reading that
    /// was at most an hour ahead of the one before and the time since.
    #[test]
    fn follow_times_never_go_back_and_never_run_ahead(
        steps in vec((0..2 * HOUR, -ERROR_MAX..ERROR_MAX, any::<bool>()), 1..40),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let machine = Machine::at(NOW);
        let mut graph = Some(machine.options().open(dir.path()).unwrap());
        // A graph without follows has nothing to compare the clock with.
        let mut latest = follow_time(graph.as_ref().unwrap(), "first");
        let (mut truth, mut line) = (NOW, NOW);
        for (number, (passed, error, reopens)) in steps.iter().enumerate() {
            machine.pass(*passed);
            (truth, line) = (truth + passed, line + passed);
            let wrong = u32::try_from(i64::from(truth) + error).unwrap();
            machine.clock.set(wrong);
            line = if wrong <= line + HOUR { line.max(wrong) } else { line };
            if *reopens && error.abs() < 600 {
                drop(graph.take());
                graph = Some(machine.options().open(dir.path()).unwrap());
            }
            let graph = graph.as_ref().unwrap();
            let expected = graph.clock().follow_time;
            let at = follow_time(graph, &format!("fan{number}"));
            prop_assert_eq!(at, expected);
            prop_assert!(at >= latest, "{} after {}", at, latest);
            prop_assert!(at <= line, "{} is later than {}", at, line);
            latest = at;
        }
        machine.clock.set(truth + HOUR);
        let graph = graph.unwrap();
        graph.reset_clock().unwrap();
        prop_assert_eq!(follow_time(&graph, "last"), truth + HOUR);
        graph.verify().unwrap();
    }
}

#[test]
fn a_source_may_give_any_time_and_a_repair_keeps_the_follow_it_cannot_date() {
    let machine = Machine::at(NOW);
    let graph = machine.options().in_memory().unwrap();
    let far = NOW + 79 * YEAR;
    let given = [Mutation::follow("a", "star").at(far)];
    graph.apply_from_source(1, &given).unwrap().remove(0).unwrap();
    assert_eq!((time_of(&graph, "a"), graph.clock().newest_follow_at), (far, far));
    assert_eq!(follow_time(&graph, "b"), NOW, "a given time is no floor");

    let dir = tempfile::tempdir().unwrap();
    let mut comparing = graph.compare(1 << 20, dir.path()).unwrap().times(true);
    comparing.add("a", "star", Some(far)).unwrap();
    comparing.add("b", "star", Some(far)).unwrap();
    let repair = comparing
        .repair(RepairOptions::new(), &mut |_| std::ops::ControlFlow::Continue(()))
        .unwrap();
    assert_eq!((repair.repaired_count, repair.refused_count), (0, 1), "{repair:?}");
    assert_eq!(time_of(&graph, "b"), NOW);
}

#[test]
fn a_graph_without_follows_takes_no_time_from_a_clock_of_2106() {
    let clock = HandClock::at(u32::MAX - 5);
    let graph = options(&clock).in_memory().unwrap();
    graph.follow("a", "b").unwrap();
    assert!(is_ahead(&graph));
    clock.set(NOW);
    graph.follow("b", "a").unwrap();
    assert_eq!(graph.stats().clock_fault, None);
    let at = |name| graph.following(name, Page::first(1)).unwrap().entries[0].followed_at;
    assert!(at("a") < NOW, "{}", at("a"));
    assert_eq!(at("b"), NOW);
}

#[test]
fn a_clock_that_began_to_count_in_1970_is_no_measure_of_the_true_time() {
    let dir = tempfile::tempdir().unwrap();
    let machine = Machine::at(120);
    let graph = machine.options().open(dir.path()).unwrap();
    graph.follow("a", "b").unwrap();
    drop(graph);
    let graph = machine.options().open(dir.path()).unwrap();
    graph.follow("b", "c").unwrap();
    machine.clock.set(NOW);
    graph.follow("c", "a").unwrap();
    assert_eq!(graph.stats().clock_fault, None);
    assert_eq!(graph.following("c", Page::first(1)).unwrap().entries[0].followed_at, NOW);
}

#[test]
fn old_follows_of_an_import_say_nothing_about_the_clock() {
    let clock = HandClock::at(NOW);
    let graph = options(&clock).in_memory().unwrap();
    let old = [Mutation::follow("a", "b").at(1), Mutation::follow("b", "c").at(1_000_000_000)];
    graph.apply(&old).unwrap();
    graph.follow("c", "a").unwrap();
    assert_eq!(graph.stats().clock_fault, None);
    let list = graph.following("c", Page::first(1)).unwrap();
    assert_eq!(list.entries[0].followed_at, NOW);
}

#[test]
fn the_command_line_shows_the_clock_and_resets_it() {
    let dir = tempfile::tempdir().unwrap();
    let db = dir.path().join("graph");
    let ahead = HandClock::at(u32::MAX - 5);
    let graph = options(&ahead).open(&db).unwrap();
    graph.reset_clock().unwrap();
    graph.follow("a", "b").unwrap();
    graph.close().unwrap();
    let run = |arguments: &[&str]| {
        let run = std::process::Command::new(env!("CARGO_BIN_EXE_followgraph"))
            .args(["--db", db.to_str().unwrap()])
            .args(arguments)
            .output()
            .unwrap();
        (run.status.code().unwrap(), String::from_utf8(run.stdout).unwrap())
    };
    let (code, shown) = run(&["clock"]);
    assert!(code == 1 && shown.contains("4294967290") && shown.contains("--reset"), "{shown}");
    let (code, shown) = run(&["stats", "--json"]);
    assert!(code == 0 && shown.contains("\"clock_fault\":\"the clock of"), "{shown}");
    let (code, shown) = run(&["clock", "--reset"]);
    assert!(code == 0, "{shown}");
    let (code, shown) = run(&["clock", "--json"]);
    assert!(code == 0 && shown.contains("\"fault\":null"), "{shown}");
    run(&["follow", "b", "a"]);
    let graph = FollowGraph::open(&db).unwrap();
    let at = graph.following("b", Page::first(1)).unwrap().entries[0].followed_at;
    assert!(at < u32::MAX / 2, "{at}");
}

#[test]
fn a_time_far_in_the_future_is_an_error_of_its_item() {
    let clock = HandClock::at(NOW);
    let graph = options(&clock).in_memory().unwrap();
    let times = [0, 1, NOW, NOW + HOUR, NOW + 79 * YEAR];
    let names = ["a", "b", "c", "d", "e"];
    let follows: Vec<_> =
        names.iter().zip(times).map(|(name, at)| Mutation::follow(name, "star").at(at)).collect();
    let results = graph.apply(&follows).unwrap();
    assert!(results[..4].iter().all(Result::is_ok), "{results:?}");
    let error = results[4].as_ref().expect_err("79 years ahead");
    assert_eq!(format!("{:?}", error.kind()), "InvalidTime");
    assert!(error.to_string().contains(&(NOW + 79 * YEAR).to_string()), "{error}");
    assert_eq!(graph.account_id("e").unwrap_err().kind(), ErrorKind::UnknownAccount);

    let graph = options(&clock).in_memory().unwrap();
    let mut load = graph.bulk_load(1 << 20).unwrap();
    load.add("a", "star", Some(NOW)).unwrap();
    let error = load.add("b", "star", Some(NOW + 79 * YEAR)).expect_err("79 years ahead");
    assert_eq!(format!("{:?}", error.kind()), "InvalidTime");
    load.add("c", "star", Some(NOW)).unwrap();
    assert_eq!(load.finish(&mut |_, _| {}).unwrap().follow_count, 2);
}

#[test]
fn an_import_counts_times_in_the_future_as_bad_lines() {
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("list");
    std::fs::write(&list, format!("a b 1700000000\nb c {}\nc a 5\n", u32::MAX)).unwrap();
    let db = dir.path().join("graph");
    for round in ["bulk", "commits"] {
        let run = import(&db, &list);
        assert!(run.contains("bad lines"), "{round}: {run}");
        let bad = run.lines().find(|line| line.contains("bad lines")).unwrap();
        assert!(bad.contains(" 1 "), "{round}: {bad}");
    }
}

fn import(db: &Path, list: &Path) -> String {
    let run = std::process::Command::new(env!("CARGO_BIN_EXE_followgraph"))
        .args(["--db", db.to_str().unwrap(), "import", "--skip-bad", list.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(run.status.success(), "{run:?}");
    String::from_utf8(run.stdout).unwrap()
}
