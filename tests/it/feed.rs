//! The changes of a graph: all of them, in order, once they are on disk, at least once to a
//! consumer, and an error where that cannot be kept.

use crate::support::{
    HandClock, Random, assert_equal, bytes_of, child_of, files_of, lay_out, quick_dir,
};
use followgraph::testing::Model;
use followgraph::{
    Change, Changes, Commit, Consumer, Durability, Error, ErrorKind, FollowGraph, Mutation,
    Options, Result,
};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const NAMES: [&str; 6] = ["alice", "bob", "carol", "dave", "eve", "frank"];
const SEGMENT_BYTES: u64 = 64 << 10;
/// Long enough to be sure that it is not waited for.
const LONG: Duration = Duration::from_mins(1);
/// The name of the consumer in most tests.
const SENDER: &str = "sender";

fn options() -> Options {
    Options::new()
        .segment_bytes(SEGMENT_BYTES)
        .checkpoint_log_bytes(None)
        .removal_slice(2)
        .create_missing_accounts(true)
        .clock(HandClock::at(1000).clock())
}

fn open(dir: &Path) -> FollowGraph {
    options().open(dir).unwrap()
}

/// A batch that follows and unfollows until more than a segment of the log is full.
fn flood(graph: &FollowGraph) {
    let pair = [Mutation::follow("alice", "bob"), Mutation::unfollow("alice", "bob")];
    let batch: Vec<Mutation<'_>> = pair.into_iter().cycle().take(1000).collect();
    for _ in 0..12 {
        graph.apply(&batch).unwrap();
    }
}

/// Everything that can be had without waiting.
fn drain(changes: &mut Changes) -> Vec<Commit> {
    std::iter::from_fn(|| changes.next(Duration::ZERO).unwrap()).collect()
}

fn drain_consumer(consumer: &mut Consumer) -> Vec<Commit> {
    std::iter::from_fn(|| consumer.next(Duration::ZERO).unwrap()).collect()
}

fn sequences(commits: &[Commit]) -> Vec<u64> {
    commits.iter().map(|commit| commit.sequence).collect()
}

fn kind_of<T>(result: Result<T>) -> ErrorKind {
    match result {
        Ok(_) => panic!("it should have failed"),
        Err(error) => error.kind(),
    }
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    files_of(dir, "fgl")
}

fn position_file(dir: &Path) -> PathBuf {
    files_of(dir, "fgc").pop().unwrap()
}

/// A model that is told nothing but the changes.
#[derive(Default)]
struct Replica {
    model: Model,
    names: BTreeMap<u32, String>,
    commits: BTreeMap<u64, Commit>,
}

impl Replica {
    /// Takes a commit, which it may have had before: then it must be the same.
    fn take(&mut self, commit: &Commit) {
        if let Some(known) = self.commits.get(&commit.sequence) {
            assert_eq!(known, commit, "a commit that was handed out twice differs");
            return;
        }
        let last = self.commits.keys().next_back().copied().unwrap_or(0);
        assert!(commit.sequence > last, "{} comes behind {last}", commit.sequence);
        for change in &commit.changes {
            self.apply(change);
        }
        self.commits.insert(commit.sequence, commit.clone());
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::AccountAdded { account, name, foreign } => {
                let add = if *foreign { Model::add_foreign_account } else { Model::add_account };
                assert_eq!(add(&mut self.model, name), Ok(true));
                assert_eq!(self.model.account_id(name), Ok(account.0));
                self.names.insert(account.0, name.clone());
            }
            Change::RemovalBegan { account } => {
                let name = &self.names[&account.0];
                assert_eq!(self.model.remove_in_batch(name, &mut 0), Ok(true));
            }
            Change::AccountRemoved { account } => {
                // The model removes an account without follows as soon as its removal begins.
                let name = &self.names[&account.0];
                if self.model.account_id(name) == Ok(account.0) {
                    self.model.remove_account(name).unwrap();
                }
            }
            Change::Followed { follower, followed, at } => {
                let (from, to) = (&self.names[&follower.0], &self.names[&followed.0]);
                assert_eq!(self.model.follow(from, to, *at), Ok(true));
            }
            Change::Unfollowed { follower, followed } => {
                let (from, to) = (&self.names[&follower.0], &self.names[&followed.0]);
                assert_eq!(self.model.unfollow(from, to), Ok(true));
            }
            other => panic!("an unknown change: {other:?}"),
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Follow(usize, usize, Option<u32>),
    Unfollow(usize, usize),
    Add(usize),
    AddForeign(usize),
    Remove(usize),
    Position,
    Flood,
    Tick,
    Sync,
    Checkpoint,
    Reopen,
    /// Takes so many commits, and acknowledges the last of them or not.
    Consume(usize, bool),
    RestartConsumer,
}

fn op() -> impl Strategy<Value = Op> {
    let name = || 0..NAMES.len();
    prop_oneof![
        12 => (name(), name(), prop::option::weighted(0.3, 990..1005_u32))
            .prop_map(|(from, to, at)| Op::Follow(from, to, at)),
        5 => (name(), name()).prop_map(|(from, to)| Op::Unfollow(from, to)),
        2 => name().prop_map(Op::Add),
        1 => name().prop_map(Op::AddForeign),
        2 => name().prop_map(Op::Remove),
        1 => Just(Op::Position),
        2 => Just(Op::Flood),
        2 => Just(Op::Tick),
        2 => Just(Op::Sync),
        4 => Just(Op::Checkpoint),
        3 => Just(Op::Reopen),
        6 => (0..6_usize, any::<bool>()).prop_map(|(count, is_done)| Op::Consume(count, is_done)),
        2 => Just(Op::RestartConsumer),
    ]
}

/// A graph, a consumer of it, and what it was told.
struct Fed {
    durability: Durability,
    dir: TempDir,
    clock: HandClock,
    graph: Option<FollowGraph>,
    consumer: Option<Consumer>,
    replica: Replica,
}

impl Fed {
    fn new(durability: Durability) -> Fed {
        let (dir, clock) = (quick_dir(), HandClock::at(1000));
        let mut fed = Fed {
            durability,
            dir,
            clock,
            graph: None,
            consumer: None,
            replica: Replica::default(),
        };
        fed.reopen();
        fed
    }

    fn graph(&self) -> &FollowGraph {
        self.graph.as_ref().unwrap()
    }

    fn reopen(&mut self) {
        self.graph = None;
        if let Some(mut consumer) = self.consumer.take() {
            assert_eq!(kind_of(consumer.next(Duration::MAX)), ErrorKind::Closed);
        }
        let options = options().durability(self.durability).clock(self.clock.clock());
        self.graph = Some(options.open(self.dir.path()).unwrap());
        self.restart_consumer();
    }

    fn restart_consumer(&mut self) {
        self.consumer = Some(self.graph().consumer(SENDER).unwrap());
    }

    fn run(&mut self, op: &Op) {
        let graph = self.graph.as_ref().unwrap();
        // What is refused leaves no change, and that is all this asks for.
        let apply = |mutation| drop(graph.apply(&[mutation]).unwrap());
        match *op {
            Op::Follow(from, to, None) => apply(Mutation::follow(NAMES[from], NAMES[to])),
            Op::Follow(from, to, Some(at)) => {
                apply(Mutation::follow(NAMES[from], NAMES[to]).at(at));
            }
            Op::Unfollow(from, to) => apply(Mutation::unfollow(NAMES[from], NAMES[to])),
            Op::Add(name) => apply(Mutation::add_account(NAMES[name])),
            Op::AddForeign(name) => apply(Mutation::add_foreign_account(NAMES[name])),
            Op::Remove(name) => apply(Mutation::remove_account(NAMES[name])),
            Op::Position => {
                let position = graph.source_position().map_or(7, |position| position + 1);
                graph.apply_from_source(position, &[]).unwrap();
            }
            Op::Flood => flood(graph),
            Op::Tick => self.clock.advance(1),
            Op::Sync => graph.sync().unwrap(),
            Op::Checkpoint => drop(graph.checkpoint().unwrap()),
            Op::Reopen => self.reopen(),
            Op::Consume(count, is_done) => self.consume(count, is_done),
            Op::RestartConsumer => self.restart_consumer(),
        }
    }

    fn consume(&mut self, count: usize, is_done: bool) {
        let consumer = self.consumer.as_mut().unwrap();
        let mut last = None;
        for _ in 0..count {
            let Some(commit) = consumer.next(Duration::ZERO).unwrap() else {
                break;
            };
            let durable = self.graph.as_ref().unwrap().stats().durable_sequence;
            assert!(commit.sequence <= durable, "a commit that is not on disk was handed out");
            self.replica.take(&commit);
            last = Some(commit.sequence);
        }
        if let Some(sequence) = last.filter(|_| is_done) {
            consumer.acknowledge(sequence).unwrap();
            assert!(consumer.position() >= sequence);
        }
    }

    fn finish(&mut self) {
        self.graph().sync().unwrap();
        self.consume(usize::MAX, true);
        assert_equal(self.graph(), &self.replica.model, &NAMES);
        let position = self.graph().source_position();
        let commits = self.replica.commits.values();
        let told = commits.filter_map(|commit| commit.source_position).next_back();
        assert_eq!(told, position);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn the_changes_alone_rebuild_the_graph(
        durability in prop_oneof![Just(Durability::Always), Just(Durability::Never)],
        ops in vec(op(), 1..60),
    ) {
        let mut fed = Fed::new(durability);
        for op in &ops {
            fed.run(op);
        }
        fed.finish();
        fed.reopen();
        fed.finish();
    }
}

#[test]
fn every_commit_of_many_threads_arrives_once_and_in_order() {
    let dir = quick_dir();
    let graph = options().checkpoint_log_bytes(Some(20 << 10)).open(dir.path()).unwrap();
    let mut consumer = graph.consumer(SENDER).unwrap();
    let is_over = AtomicBool::new(false);
    let mut replica = Replica::default();
    std::thread::scope(|scope| {
        let feeding = scope.spawn(|| {
            loop {
                let was_over = is_over.load(Ordering::SeqCst);
                while let Some(commit) = consumer.next(Duration::from_millis(5)).unwrap() {
                    replica.take(&commit);
                    if commit.sequence.is_multiple_of(100) {
                        consumer.acknowledge(commit.sequence).unwrap();
                    }
                }
                if was_over {
                    return;
                }
            }
        });
        let writers: Vec<_> = (0..4)
            .map(|thread| {
                let graph = &graph;
                scope.spawn(move || {
                    let mut random = Random::seeded(thread);
                    for _ in 0..1500 {
                        let (from, to) = (NAMES[random.below(6)], NAMES[random.below(6)]);
                        // Nobody follows themself.
                        let _ = match random.below(3) {
                            0 => graph.unfollow(from, to),
                            _ => graph.follow(from, to),
                        };
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        is_over.store(true, Ordering::SeqCst);
        feeding.join().unwrap();
    });
    let numbers: Vec<u64> = replica.commits.keys().copied().collect();
    assert_eq!(numbers, (1..=graph.stats().sequence).collect::<Vec<_>>());
    assert!(graph.stats().image_sequence > 0, "no checkpoint came between");
    assert_equal(&graph, &replica.model, &NAMES);
}

#[test]
fn a_reader_waits_for_the_next_commit_and_no_longer() {
    let dir = quick_dir();
    let graph = open(dir.path());
    let mut changes = graph.changes(0).unwrap();
    let begin = Instant::now();
    assert_eq!(changes.next(Duration::from_millis(50)).unwrap(), None);
    assert!(begin.elapsed() >= Duration::from_millis(50));
    for round in 1..=20 {
        let begin = Instant::now();
        let waiting = std::thread::spawn(move || {
            let commit = changes.next(LONG).unwrap();
            (changes, commit)
        });
        std::thread::sleep(Duration::from_millis(round % 4));
        graph.add_account(&format!("account{round}")).unwrap();
        let (back, commit) = waiting.join().unwrap();
        changes = back;
        assert_eq!(commit.unwrap().sequence, round);
        assert!(begin.elapsed() < LONG / 2, "nobody woke the reader");
    }
}

#[test]
fn closing_the_graph_ends_every_wait_and_leaves_the_directory() {
    let dir = quick_dir();
    for _ in 0..20 {
        let graph = open(dir.path());
        let mut changes = graph.changes(graph.stats().sequence).unwrap();
        let mut consumer = graph.consumer(SENDER).unwrap();
        let waiting = std::thread::spawn(move || kind_of(changes.next(Duration::MAX)));
        let consuming = std::thread::spawn(move || {
            let kind = kind_of(consumer.next(Duration::MAX));
            (kind, consumer)
        });
        drop(graph);
        // Nobody who read from it keeps it open.
        let graph = open(dir.path());
        assert_eq!(waiting.join().unwrap(), ErrorKind::Closed);
        let (kind, consumer) = consuming.join().unwrap();
        assert_eq!(kind, ErrorKind::Closed);
        assert_eq!(kind_of(consumer.acknowledge(u64::MAX)), ErrorKind::Closed);
        assert_eq!(kind_of(consumer.skip_to_oldest()), ErrorKind::Closed);
        drop(graph);
    }
}

#[test]
fn what_was_mapped_before_the_graph_was_closed_is_not_handed_out_after() {
    let graph = options().in_memory().unwrap();
    let mut changes = graph.changes(0).unwrap();
    graph.add_account("alice").unwrap();
    graph.add_account("bob").unwrap();
    graph.sync().unwrap();
    assert!(changes.next(LONG).unwrap().is_some());
    drop(graph);
    assert_eq!(kind_of(changes.next(Duration::ZERO)), ErrorKind::Closed);
}

#[test]
fn only_what_is_on_disk_is_handed_out() {
    let dir = quick_dir();
    let graph = options().durability(Durability::Never).open(dir.path()).unwrap();
    let mut changes = graph.changes(0).unwrap();
    graph.add_account("alice").unwrap();
    assert_eq!(changes.next(Duration::from_millis(20)).unwrap(), None);
    graph.sync().unwrap();
    graph.add_account("bob").unwrap();
    assert_eq!(sequences(&drain(&mut changes)), [1]);
    graph.checkpoint().unwrap();
    assert_eq!(sequences(&drain(&mut changes)), [2]);
    graph.add_account("carol").unwrap();
    assert_eq!(drain(&mut changes), []);
    drop(graph);

    let interval = Durability::Interval(Duration::from_millis(5));
    let graph = options().durability(interval).open(dir.path()).unwrap();
    let mut changes = graph.changes(2).unwrap();
    assert_eq!(changes.next(LONG).unwrap().unwrap().sequence, 3);
    graph.add_account("dave").unwrap();
    assert_eq!(changes.next(LONG).unwrap().unwrap().sequence, 5, "4 is that it was closed");
    assert_eq!(graph.stats().durable_sequence, 5);
}

#[test]
fn a_source_position_is_a_commit_and_an_orderly_close_is_none() {
    let dir = quick_dir();
    let graph = open(dir.path());
    graph.apply_from_source(70, &[]).unwrap();
    drop(graph);
    let graph = open(dir.path());
    graph.apply_from_source(71, &[Mutation::add_account("alice")]).unwrap();
    let commits = drain(&mut graph.changes(0).unwrap());
    let positions: Vec<_> =
        commits.iter().map(|commit| (commit.sequence, commit.source_position)).collect();
    assert_eq!(positions, [(1, Some(70)), (3, Some(71))]);
    assert_eq!((commits[0].changes.len(), commits[1].changes.len()), (0, 1));
}

#[test]
fn what_nobody_committed_cannot_be_asked_for() {
    let graph = options().in_memory().unwrap();
    graph.add_account("alice").unwrap();
    assert_eq!(kind_of(graph.changes(2)), ErrorKind::InvalidArgument);
    for name in ["", "Sender", "a/b", "..", &"x".repeat(65)] {
        assert_eq!(kind_of(graph.consumer(name)), ErrorKind::InvalidArgument, "{name:?}");
    }
    let consumer = graph.consumer(SENDER).unwrap();
    graph.add_account("bob").unwrap();
    assert_eq!(kind_of(consumer.acknowledge(2)), ErrorKind::InvalidArgument);
    graph.sync().unwrap();
    consumer.acknowledge(2).unwrap();
    consumer.acknowledge(1).unwrap();
    assert_eq!((consumer.name(), consumer.position()), (SENDER, 2));
}

#[test]
fn a_removed_consumer_says_so() {
    let dir = quick_dir();
    let graph = open(dir.path());
    let mut consumer = graph.consumer(SENDER).unwrap();
    graph.consumer("other").unwrap();
    assert!(graph.remove_consumer(SENDER).unwrap());
    assert_eq!(kind_of(consumer.next(Duration::MAX)), ErrorKind::InvalidArgument);
    assert_eq!(kind_of(consumer.acknowledge(0)), ErrorKind::InvalidArgument);
    assert_eq!(kind_of(consumer.skip_to_oldest()), ErrorKind::InvalidArgument);
    drop(graph);
    assert_eq!(open(dir.path()).consumers(), [("other".to_owned(), 0)]);
}

#[test]
fn segments_are_held_back_for_a_consumer_and_go_when_it_is_done() {
    let dir = quick_dir();
    let graph = open(dir.path());
    let mut consumer = graph.consumer(SENDER).unwrap();
    for _ in 0..4 {
        flood(&graph);
        graph.checkpoint().unwrap();
    }
    let held = segments(dir.path()).len();
    assert_eq!(graph.oldest_position(), 0);
    let commits = drain_consumer(&mut consumer);
    assert_eq!(sequences(&commits), (1..=graph.stats().sequence).collect::<Vec<_>>());
    assert_eq!(segments(dir.path()).len(), held, "handed out is not acknowledged");

    // Half of it, then the rest: a checkpoint that has nothing else to do lets the segments go.
    let half = commits[commits.len() / 2].sequence;
    consumer.acknowledge(half).unwrap();
    assert!(!graph.checkpoint().unwrap().written);
    let oldest = graph.oldest_position();
    assert!(0 < oldest && oldest <= half, "{oldest} of {half}");
    let left = segments(dir.path()).len();
    assert!(left < held);
    assert_eq!(kind_of(graph.changes(oldest - 1)), ErrorKind::PositionLost);
    let rest = drain(&mut graph.changes(half).unwrap());
    assert_eq!(rest, commits[commits.len() / 2 + 1..]);

    consumer.acknowledge(graph.stats().sequence).unwrap();
    graph.checkpoint().unwrap();
    assert!(segments(dir.path()).len() < left);
    assert_eq!(kind_of(graph.changes(half)), ErrorKind::PositionLost);
    graph.verify().unwrap();
}

#[test]
fn without_a_consumer_nothing_is_held_back() {
    let dir = quick_dir();
    let graph = open(dir.path());
    graph.consumer(SENDER).unwrap();
    let (mut behind, mut done) = (graph.changes(0).unwrap(), graph.changes(0).unwrap());
    graph.add_account("alice").unwrap();
    graph.checkpoint().unwrap();
    let first = segments(dir.path())[0].clone();
    graph.remove_consumer(SENDER).unwrap();
    assert_eq!(sequences(&drain(&mut done)), [1]);
    for _ in 0..2 {
        flood(&graph);
        graph.checkpoint().unwrap();
    }
    assert!(!segments(dir.path()).contains(&first));
    // Who was done with what went goes on, if what comes next is there; who was not cannot.
    assert_eq!(kind_of(behind.next(LONG)), ErrorKind::PositionLost);
    assert_eq!(kind_of(behind.next(LONG)), ErrorKind::PositionLost);
    assert_eq!(kind_of(done.next(LONG)), ErrorKind::PositionLost);
}

/// The segment it stands in goes while it waits at its end; what comes next is there.
#[test]
fn a_reader_at_the_end_goes_on_when_its_segment_went() {
    let dir = quick_dir();
    let graph = open(dir.path());
    let mut changes = graph.changes(0).unwrap();
    for round in 1..10 {
        let name = format!("account{round}");
        graph.add_account(&name).unwrap();
        let first = segments(dir.path())[0].clone();
        assert_eq!(sequences(&drain(&mut changes)), [round]);
        graph.checkpoint().unwrap();
        assert!(round < 2 || !segments(dir.path()).contains(&first), "nothing was retired");
    }
}

#[test]
fn beyond_the_bound_segments_go_and_the_consumer_is_told() {
    let dir = quick_dir();
    let bound = 3 * SEGMENT_BYTES;
    let graph = options().retained_log_bytes(bound).open(dir.path()).unwrap();
    let mut consumer = graph.consumer(SENDER).unwrap();
    let mut reader = graph.changes(0).unwrap();
    let mut rounds = 0;
    graph.add_account("first").unwrap();
    graph.add_account("second").unwrap();
    // Both are in its mapping, which stays when the file goes.
    assert_eq!(reader.next(LONG).unwrap().unwrap().sequence, 1);
    while graph.oldest_position() == 0 {
        flood(&graph);
        graph.checkpoint().unwrap();
        rounds += 1;
        assert!(rounds < 10, "the log is kept without a bound");
    }
    assert!(rounds > 1, "nothing was held back");
    assert_eq!(reader.next(LONG).unwrap().unwrap().sequence, 2);
    assert_eq!(kind_of(reader.next(LONG)), ErrorKind::PositionLost);

    let error = consumer.next(LONG).unwrap_err();
    let oldest = graph.oldest_position();
    assert_eq!(error.kind(), ErrorKind::PositionLost);
    assert!(error.to_string().contains(&format!("expected {oldest} or more, got 0")), "{error}");
    // It stays so in a new handle and after opening again.
    assert_eq!(kind_of(graph.consumer(SENDER).unwrap().next(LONG)), ErrorKind::PositionLost);
    drop(graph);
    let graph = options().retained_log_bytes(bound).open(dir.path()).unwrap();
    let mut consumer = graph.consumer(SENDER).unwrap();
    assert_eq!(kind_of(consumer.next(LONG)), ErrorKind::PositionLost);
    assert_eq!(graph.oldest_position(), oldest);

    assert_eq!(consumer.skip_to_oldest().unwrap(), oldest);
    assert_eq!(consumer.position(), oldest);
    let commits = drain_consumer(&mut consumer);
    assert_eq!(commits, drain(&mut graph.changes(oldest).unwrap()));
    assert_eq!(commits[0].sequence, oldest + 1);
    // What is in the log is not skipped.
    assert_eq!(consumer.skip_to_oldest().unwrap(), oldest);
    assert_eq!(drain_consumer(&mut consumer), []);
    assert_eq!(drain_consumer(&mut graph.consumer(SENDER).unwrap()), commits);
    graph.verify().unwrap();
}

#[test]
fn no_room_for_the_log_of_consumers_is_as_if_there_were_none() {
    let dir = quick_dir();
    let graph = options().retained_log_bytes(0).open(dir.path()).unwrap();
    let mut consumer = graph.consumer(SENDER).unwrap();
    for _ in 0..3 {
        flood(&graph);
        graph.checkpoint().unwrap();
    }
    assert!(graph.oldest_position() > 0);
    assert_eq!(kind_of(consumer.next(LONG)), ErrorKind::PositionLost);
}

/// A graph with a consumer at the beginning and segments that are kept for it alone.
fn with_held_segments(dir: &Path) -> Vec<Commit> {
    let graph = open(dir);
    let mut consumer = graph.consumer(SENDER).unwrap();
    for name in ["carol", "dave", "eve"] {
        flood(&graph);
        graph.add_account(name).unwrap();
        graph.checkpoint().unwrap();
    }
    graph.follow("carol", "dave").unwrap();
    drain_consumer(&mut consumer)
}

#[test]
fn a_graph_with_held_segments_opens_and_is_cared_for_as_any_other() {
    let dir = quick_dir();
    let commits = with_held_segments(dir.path());
    let graph = open(dir.path());
    assert_eq!(graph.stats().recovery.replayed_frames, 2, "the follow, and that it was closed");
    assert_eq!(graph.oldest_position(), 0);
    let allocated: u64 = segments(dir.path())
        .iter()
        .map(|name| std::fs::metadata(dir.path().join(name)).unwrap().len())
        .sum();
    assert_eq!(graph.stats().log_allocated_bytes, allocated);
    graph.verify().unwrap();

    let copy = quick_dir();
    graph.backup(copy.path()).unwrap();
    assert!(files_of(copy.path(), "fgc").is_empty(), "a backup carries no consumers");
    let copied = open(copy.path());
    assert_eq!(copied.consumers(), []);
    assert_eq!(copied.oldest_position(), copied.stats().image_sequence);
    assert_eq!(copied.counts("dave").unwrap().followers, 1);

    // A directory that has a consumer is no place for a backup either.
    let file = position_file(dir.path());
    let taken = quick_dir();
    std::fs::copy(dir.path().join(&file), taken.path().join(&file)).unwrap();
    assert!(graph.backup(taken.path()).is_err());

    let mut consumer = graph.consumer(SENDER).unwrap();
    assert_eq!(drain_consumer(&mut consumer), commits);
    graph.follow("dave", "carol").unwrap();
    graph.checkpoint().unwrap();
    assert_eq!(graph.oldest_position(), 0);
    consumer.acknowledge(graph.stats().sequence).unwrap();
    drop(graph);

    // The bound counts what was there before it was opened.
    let graph = open(dir.path());
    graph.checkpoint().unwrap();
    assert!(graph.oldest_position() > 0);
    graph.verify().unwrap();
}

#[test]
fn held_segments_that_go_at_a_reopening_go_by_the_bound() {
    let dir = quick_dir();
    with_held_segments(dir.path());
    let before = segments(dir.path()).len();
    let bound = 2 * SEGMENT_BYTES;
    let graph = options().retained_log_bytes(bound).open(dir.path()).unwrap();
    assert_eq!(segments(dir.path()).len(), before, "opening removes nothing");
    graph.checkpoint().unwrap();
    let oldest = graph.oldest_position();
    assert!(oldest > 0);
    assert!(segments(dir.path()).len() < before);
    assert_eq!(kind_of(graph.consumer(SENDER).unwrap().next(LONG)), ErrorKind::PositionLost);
    drain(&mut graph.changes(oldest).unwrap());
}

#[test]
fn what_is_wrong_with_held_segments_is_told_to_the_consumer_and_nobody_else() {
    let dir = quick_dir();
    let commits = with_held_segments(dir.path());
    let files = bytes_of(dir.path());
    let names = segments(dir.path());
    assert!(names.len() > 5);
    let next_error = |graph: &FollowGraph| -> (usize, Error) {
        let mut consumer = graph.consumer(SENDER).unwrap();
        let mut count = 0;
        loop {
            match consumer.next(Duration::ZERO) {
                Ok(commit) => assert_eq!(Some(&commit.expect("an error")), commits.get(count)),
                Err(error) => {
                    assert_eq!(consumer.next(LONG).unwrap_err().to_string(), error.to_string());
                    return (count, error);
                }
            }
            count += 1;
        }
    };
    let check = |files: &BTreeMap<PathBuf, Vec<u8>>, kind: ErrorKind, is_first: bool| {
        lay_out(dir.path(), files);
        let graph = open(dir.path());
        graph.verify().unwrap();
        let (count, error) = next_error(&graph);
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(count == 0, is_first, "{error}");
        assert!(kind == ErrorKind::PositionLost || error.path().is_some(), "{error}");
        graph.follow("eve", "dave").unwrap();
        graph.checkpoint().unwrap();
    };

    let mut without_first = files.clone();
    without_first.remove(&names[0]);
    check(&without_first, ErrorKind::PositionLost, true);
    let mut without_second = files.clone();
    without_second.remove(&names[1]);
    check(&without_second, ErrorKind::Corrupt, false);

    let mut random = Random::seeded(3);
    for round in 0..40 {
        let mut damaged = files.clone();
        let bytes = damaged.get_mut(&names[1]).unwrap();
        // Its first frame is longer than this.
        let place = if round < 20 { random.below(64) } else { 64 + random.below(8000) };
        bytes[place] ^= 1 << random.below(8);
        lay_out(dir.path(), &damaged);
        let graph = open(dir.path());
        let (count, error) = next_error(&graph);
        let expected = [ErrorKind::Corrupt, ErrorKind::UnsupportedVersion];
        assert!(expected.contains(&error.kind()), "byte {place}: {error}");
        assert_eq!(error.path(), Some(dir.path().join(&names[1]).as_path()), "byte {place}");
        assert!(count > 0);
    }
    for length in [0, 10, 64, 100, 5000] {
        let mut short = files.clone();
        short.get_mut(&names[1]).unwrap().truncate(length);
        check(&short, ErrorKind::Corrupt, false);
    }
}

#[test]
fn a_damaged_position_skips_nothing() {
    let dir = quick_dir();
    let graph = open(dir.path());
    let mut consumer = graph.consumer(SENDER).unwrap();
    for name in NAMES {
        graph.add_account(name).unwrap();
    }
    let commits = drain_consumer(&mut consumer);
    consumer.acknowledge(4).unwrap();
    drop(graph);
    let files = bytes_of(dir.path());
    let file = position_file(dir.path());
    let length = files[&file].len();
    assert_eq!(length, 64);

    let mut damages: Vec<(String, Vec<u8>)> = Vec::new();
    for place in 0..length {
        for flip in [1_u8, 0x80, 0xff] {
            let mut bytes = files[&file].clone();
            bytes[place] ^= flip;
            damages.push((format!("byte {place} ^ {flip:#x}"), bytes));
        }
    }
    damages.extend((0..length).map(|cut| (format!("cut at {cut}"), files[&file][..cut].to_vec())));
    damages.push(("longer".to_owned(), [&files[&file][..], &[0]].concat()));
    damages.push(("zeros".to_owned(), vec![0; length]));
    let other = quick_dir();
    open(other.path()).consumer(SENDER).unwrap();
    damages.push(("of another graph".to_owned(), bytes_of(other.path())[&file].clone()));

    for (what, bytes) in damages {
        let mut files = files.clone();
        files.insert(file.clone(), bytes);
        lay_out(dir.path(), &files);
        let graph = open(dir.path());
        assert_eq!(graph.consumers(), [(SENDER.to_owned(), 0)], "{what}");
        let mut consumer = graph.consumer(SENDER).unwrap();
        let error = consumer.next(LONG).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PositionLost, "{what}");
        assert!(error.to_string().contains("consumer-sender.fgc"), "{what}: {error}");
        assert_eq!(kind_of(consumer.acknowledge(5)), ErrorKind::PositionLost, "{what}");
        assert_eq!(consumer.skip_to_oldest().unwrap(), 0, "{what}");
        assert_eq!(drain_consumer(&mut consumer), commits, "{what}");
        consumer.acknowledge(5).unwrap();
        drop(graph);
        assert_eq!(open(dir.path()).consumers(), [(SENDER.to_owned(), 5)], "{what}");
    }
}

#[test]
fn a_damaged_position_holds_back_all_there_is() {
    let dir = quick_dir();
    with_held_segments(dir.path());
    let file = dir.path().join(position_file(dir.path()));
    std::fs::write(&file, "torn").unwrap();
    let graph = open(dir.path());
    flood(&graph);
    graph.checkpoint().unwrap();
    assert_eq!(graph.oldest_position(), 0);
}

#[test]
fn an_unfinished_position_is_as_if_it_had_not_been_begun() {
    let dir = quick_dir();
    let graph = open(dir.path());
    let consumer = graph.consumer(SENDER).unwrap();
    graph.add_account("alice").unwrap();
    consumer.acknowledge(1).unwrap();
    drop(graph);
    let unfinished = dir.path().join("consumer-sender.fgc.tmp");
    std::fs::write(&unfinished, "torn").unwrap();
    let graph = open(dir.path());
    assert!(!unfinished.exists());
    assert_eq!(graph.consumers(), [(SENDER.to_owned(), 1)]);
}

/// The log lost its end and what comes next gets the numbers of what is lost.
#[test]
fn a_position_ahead_of_the_log_goes_back_to_its_end() {
    let dir = quick_dir();
    let graph = open(dir.path());
    let consumer = graph.consumer(SENDER).unwrap();
    graph.add_account("alice").unwrap();
    graph.add_account("bob").unwrap();
    let shorter = bytes_of(dir.path());
    for name in &NAMES[2..] {
        graph.add_account(name).unwrap();
    }
    consumer.acknowledge(6).unwrap();
    drop(graph);
    let file = position_file(dir.path());
    let ahead = bytes_of(dir.path())[&file].clone();
    let mut files = shorter;
    files.insert(file, ahead);
    lay_out(dir.path(), &files);

    let graph = open(dir.path());
    assert_eq!(graph.stats().sequence, 2);
    assert_eq!(graph.consumers(), [(SENDER.to_owned(), 2)]);
    for name in ["x", "y", "z", "u", "v", "w"] {
        graph.add_account(name).unwrap();
    }
    // As a killed process leaves it: the numbers have grown beyond the old position.
    let left = bytes_of(dir.path());
    drop(graph);
    lay_out(dir.path(), &left);
    let graph = open(dir.path());
    let mut consumer = graph.consumer(SENDER).unwrap();
    assert_eq!(sequences(&drain_consumer(&mut consumer)), [3, 4, 5, 6, 7, 8]);
}

/// A new consumer begins behind commits that are on disk, or it would wait for numbers that others
/// get when those are lost.
#[test]
fn a_new_consumer_has_what_it_does_not_get_put_on_disk() {
    let dir = quick_dir();
    let graph = options().durability(Durability::Never).open(dir.path()).unwrap();
    graph.add_account("alice").unwrap();
    assert_eq!(graph.stats().durable_sequence, 0);
    let mut consumer = graph.consumer(SENDER).unwrap();
    assert_eq!(graph.stats().durable_sequence, 1);
    assert_eq!(drain_consumer(&mut consumer), []);
}

#[test]
fn a_bulk_load_is_no_part_of_the_log_and_readers_are_told() {
    let dir = quick_dir();
    let graph = open(dir.path());
    let mut consumer = graph.consumer(SENDER).unwrap();
    let mut reader = graph.changes(0).unwrap();
    let load = |graph: &FollowGraph| {
        let mut load = graph.bulk_load(1 << 20).unwrap();
        load.add("alice", "bob", None).unwrap();
        load.finish(&mut |_, _| {}).unwrap();
    };
    let before = bytes_of(dir.path());
    load(&graph);
    assert_eq!(kind_of(reader.next(LONG)), ErrorKind::PositionLost);
    assert_eq!(kind_of(consumer.next(LONG)), ErrorKind::PositionLost);
    graph.follow("bob", "alice").unwrap();
    let sequence = graph.stats().sequence;
    assert_eq!(sequence, 2);
    drop(graph);

    // The segment before the load may still be there when its process was killed.
    let mut files = bytes_of(dir.path());
    let first = segments(dir.path())[0].clone();
    assert!(!before.contains_key(&first));
    let empty = quick_dir();
    lay_out(empty.path(), &before);
    let graph = open(empty.path());
    load(&graph);
    drop(graph);
    let mut log = before.clone();
    files.retain(|name, _| !log.contains_key(name) || name.extension().is_none());
    log.retain(|name, _| name.extension().is_some_and(|extension| extension == "fgl"));
    assert_eq!(log.len(), 1);
    for (name, mut bytes) in log {
        let frame = marker_frame();
        bytes[64..64 + frame.len()].copy_from_slice(&frame);
        files.insert(name, bytes);
    }
    let position = position_file(empty.path());
    files.insert(position.clone(), before[&position].clone());
    lay_out(dir.path(), &files);
    let graph = open(dir.path());
    let mut consumer = graph.consumer(SENDER).unwrap();
    assert_eq!(graph.oldest_position(), 0);
    assert_eq!(kind_of(consumer.next(LONG)), ErrorKind::PositionLost);
    assert_eq!(consumer.skip_to_oldest().unwrap(), 1);
    assert_eq!(sequences(&drain_consumer(&mut consumer)), [2]);
}

/// The first frame of a log, without records and without a source position, by docs/format.md.
fn marker_frame() -> Vec<u8> {
    let mut frame = vec![0_u8; 40];
    frame[0] = 1;
    frame[8] = 1;
    frame[24..32].fill(0xff);
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&frame[..4]);
    hasher.update(&frame[8..33]);
    let crc = hasher.finalize();
    frame[4..8].copy_from_slice(&crc.to_le_bytes());
    frame
}

/// The child's part: follow, hand out and acknowledge now and then, and tell each step.
fn feed_until_killed(argument: &str) {
    let (round, dir) = argument.split_once(' ').unwrap();
    let graph = open(Path::new(dir));
    let mut consumer = graph.consumer(SENDER).unwrap();
    say("");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0.. {
                graph.follow(&format!("round{round}"), &format!("star{number}")).unwrap();
            }
        });
        scope.spawn(|| {
            loop {
                graph.checkpoint().unwrap();
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        loop {
            let commit = consumer.next(LONG).unwrap().unwrap();
            say(&format!("got {}", commit.sequence));
            if commit.sequence.is_multiple_of(3) {
                consumer.acknowledge(commit.sequence).unwrap();
                say(&format!("done {}", commit.sequence));
            }
        }
    });
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").unwrap();
    out.flush().unwrap();
}

#[test]
fn a_killed_consumer_gets_again_what_it_had_not_acknowledged() {
    const VARIABLE: &str = "FOLLOWGRAPH_TEST_FEED_CHILD";
    const TEST: &str = "feed::a_killed_consumer_gets_again_what_it_had_not_acknowledged";
    if let Ok(argument) = std::env::var(VARIABLE) {
        return feed_until_killed(&argument);
    }
    let dir = tempfile::tempdir().unwrap();
    // Never acknowledged, it has the whole log kept.
    open(dir.path()).consumer("everything").unwrap();
    let mut random = Random::seeded(11);
    let mut handed_out = BTreeSet::new();
    let mut acknowledged = 0;
    let mut repeated = 0;
    for round in 0..12 {
        let mut child = child_of(TEST, VARIABLE, &format!("{round} {}", dir.path().display()));
        let output = BufReader::new(child.stdout.take().unwrap());
        let reading = std::thread::spawn(move || -> Vec<String> {
            output.lines().map_while(std::io::Result::ok).collect()
        });
        std::thread::sleep(Duration::from_millis(60 + random.below(200) as u64));
        child.kill().unwrap();
        assert!(child.wait().unwrap().code().is_none(), "the child ended by itself");
        for line in reading.join().unwrap() {
            let number = |word: &str| line.strip_prefix(word)?.parse::<u64>().ok();
            if let Some(sequence) = number("got ") {
                repeated += usize::from(!handed_out.insert(sequence));
            } else if let Some(sequence) = number("done ") {
                acknowledged = sequence;
            }
        }
        let graph = open(dir.path());
        let mut consumer = graph.consumer(SENDER).unwrap();
        let position = consumer.position();
        assert!(position >= acknowledged, "{acknowledged} was acknowledged, not {position}");
        let next = consumer.next(Duration::ZERO).unwrap();
        let everything = drain(&mut graph.changes(0).unwrap());
        let expected = everything.iter().find(|commit| commit.sequence > position);
        assert_eq!(next.as_ref(), expected);
        let missed: Vec<u64> = sequences(&everything)
            .into_iter()
            .filter(|sequence| *sequence <= position && !handed_out.contains(sequence))
            .collect();
        assert!(missed.is_empty(), "acknowledged and never handed out: {missed:?}");
    }
    assert!(handed_out.len() > 100, "the children hardly got to work: {}", handed_out.len());
    println!("{} commits handed out, {repeated} of them again", handed_out.len());
}
