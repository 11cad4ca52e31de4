//! A mirror of the graph that is kept by a consumer: filled the first time, kept, and put right
//! after its position was lost.

use followgraph::{
    AccountId, Change, Commit, Consumer, Error, ErrorKind, FollowGraph, Mutation, Options,
};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const STAR: &str = "star";

fn options() -> Options {
    Options::new().segment_bytes(64 << 10).checkpoint_log_bytes(None).create_missing_accounts(true)
}

/// What a removal looks like in the feed, without ids: so many unfollows, and the rest.
fn shape_of_removal(removal_slice: usize, follow_count: usize) -> (usize, usize, usize) {
    let graph = options().removal_slice(removal_slice).in_memory().unwrap();
    graph.add_account(STAR).unwrap();
    for number in 0..follow_count {
        graph.follow(&format!("fan{number}"), STAR).unwrap();
    }
    let mut changes = graph.changes(graph.stats().sequence).unwrap();
    graph.remove_account(STAR).unwrap();
    graph.sync().unwrap();
    let mut shape = (0, 0, 0);
    while let Some(Commit { changes, .. }) = changes.next(Duration::ZERO).unwrap() {
        for change in changes {
            match change {
                Change::RemovalBegan { .. } => shape.0 += 1,
                Change::Unfollowed { .. } => shape.1 += 1,
                Change::AccountRemoved { .. } => shape.2 += 1,
                other => panic!("{other:?}"),
            }
        }
    }
    shape
}

#[test]
fn a_removal_has_one_shape_in_the_feed_however_many_follows_go_with_it() {
    for (removal_slice, follow_count) in [(256, 0), (256, 3), (2, 3), (256, 256), (256, 300)] {
        let shape = shape_of_removal(removal_slice, follow_count);
        assert_eq!(shape, (1, follow_count, 1), "{follow_count} follows, slice {removal_slice}");
    }
}

#[test]
fn a_name_that_is_refused_takes_no_room_in_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let graph = options().open(dir.path()).unwrap();
    graph.follow("alice", "bob").unwrap();
    let before = graph.stats().log_allocated_bytes;
    let long = "x".repeat(8 << 20);
    let long = long.as_str();
    let mutations = [
        Mutation::add_account(long),
        Mutation::add_foreign_account(long),
        Mutation::follow("alice", long),
        Mutation::follow(long, "alice"),
        Mutation::unfollow(long, long),
        Mutation::remove_account(long),
    ];
    for mutation in &mutations {
        let error = graph.apply(std::slice::from_ref(mutation)).unwrap().remove(0).unwrap_err();
        assert!(error.to_string().len() < 2000, "the error has {} bytes", error.to_string().len());
    }
    assert!(graph.apply(&mutations).unwrap().iter().all(Result::is_err));
    let errors = [
        graph.add_account(long).unwrap_err(),
        graph.counts(long).unwrap_err(),
        graph.account_id(long).unwrap_err(),
        graph.relation("alice", long).unwrap_err(),
        graph.consumer(long).err().unwrap(),
        graph.bulk_load(1 << 20).err().unwrap_or_else(|| graph.add_account(long).unwrap_err()),
    ];
    for error in errors {
        assert!(error.to_string().len() < 2000, "the error has {} bytes", error.to_string().len());
    }
    assert_eq!(graph.stats().log_allocated_bytes, before, "the log grew for names it never has");
}

/// A mirror: the names and follows that the changes tell of.
#[derive(Debug, Default, PartialEq, Eq)]
struct Mirror {
    names: BTreeMap<AccountId, String>,
    follows: BTreeMap<(AccountId, AccountId), u32>,
}

impl Mirror {
    fn apply(&mut self, change: Change) {
        match change {
            Change::AccountAdded { account, name, .. } => {
                assert!(self.names.insert(account, name).is_none(), "added twice");
            }
            Change::AccountRemoved { account } => {
                assert!(self.names.remove(&account).is_some(), "nobody to remove");
                let left = self.follows.keys().find(|(from, to)| [from, to].contains(&&account));
                assert_eq!(left, None, "it went with a follow that was not told");
            }
            Change::Followed { follower, followed, at } => {
                assert_eq!(self.follows.insert((follower, followed), at), None);
            }
            Change::Unfollowed { follower, followed } => {
                assert!(self.follows.remove(&(follower, followed)).is_some());
            }
            Change::RemovalBegan { account } => assert!(self.names.contains_key(&account)),
            other => panic!("{other:?}"),
        }
    }

    /// Reads the graph anew.
    fn resync(&mut self, consumer: &mut Consumer) {
        consumer
            .resync(|view| {
                *self = Mirror::default();
                view.changes().try_for_each(|change| {
                    self.apply(change?);
                    Ok::<(), Error>(())
                })?;
                assert_eq!(self.names.len() as u64, view.account_count());
                assert_eq!(self.follows.len() as u64, view.follow_count());
                Ok::<(), Error>(())
            })
            .unwrap();
    }

    /// Takes what there is until the deadline, and returns how often the graph was read anew.
    fn follow(&mut self, consumer: &mut Consumer, deadline: Option<Instant>) -> usize {
        let mut lost_count = 0;
        loop {
            if deadline.is_some_and(|deadline| Instant::now() > deadline) {
                return lost_count;
            }
            match consumer.next(Duration::ZERO) {
                Ok(Some(commit)) => {
                    commit.changes.into_iter().for_each(|change| self.apply(change));
                    if commit.sequence.is_multiple_of(64) {
                        consumer.acknowledge(commit.sequence).unwrap();
                    }
                }
                Ok(None) => return lost_count,
                Err(error) if error.kind() == ErrorKind::PositionLost => {
                    self.resync(consumer);
                    lost_count += 1;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn of(graph: &FollowGraph) -> Mirror {
        let mut mirror = Mirror::default();
        let mut consumer = graph.consumer("whole").unwrap();
        mirror.resync(&mut consumer);
        graph.remove_consumer("whole").unwrap();
        mirror
    }
}

#[test]
fn what_is_committed_while_a_lost_consumer_reads_the_graph_is_not_missed() {
    let dir = tempfile::tempdir().unwrap();
    let graph = options().retained_log_bytes(0).open(dir.path()).unwrap();
    let mut consumer = graph.consumer("mirror").unwrap();
    for round in 0..3 {
        graph.follow("alice", &format!("bob{round}")).unwrap();
        graph.checkpoint().unwrap();
    }
    assert!(consumer.next(Duration::ZERO).is_err(), "its log is gone");
    let mut names: Vec<String> = consumer
        .resync(|view| {
            // All of this is after the commit that is read.
            graph.add_account("between").unwrap();
            graph.checkpoint().unwrap();
            graph.checkpoint().unwrap();
            graph.add_account("x").unwrap();
            graph.checkpoint().unwrap();
            view.changes().filter_map(|change| name_of(change).transpose()).collect()
        })
        .unwrap_or_else(|error: Error| panic!("{error}"));
    assert!(!names.contains(&"between".to_owned()), "the view is of one commit: {names:?}");
    while let Some(commit) = consumer.next(Duration::ZERO).unwrap() {
        names.extend(commit.changes.into_iter().filter_map(|change| name_of(Ok(change)).unwrap()));
    }
    assert_eq!(names, ["alice", "bob0", "bob1", "bob2", "between", "x"]);
}

fn name_of(change: followgraph::Result<Change>) -> Result<Option<String>, Error> {
    Ok(match change? {
        Change::AccountAdded { name, .. } => Some(name),
        _ => None,
    })
}

#[test]
fn a_mirror_that_loses_its_log_again_and_again_ends_equal_to_the_graph() {
    let dir = tempfile::tempdir().unwrap();
    let graph = options().retained_log_bytes(0).removal_slice(4).open(dir.path()).unwrap();
    let mut consumer = graph.consumer("mirror").unwrap();
    let mut mirror = Mirror::default();
    mirror.resync(&mut consumer);
    let stopping = AtomicBool::new(false);
    let lost_count = std::thread::scope(|scope| {
        for writer in 0..2 {
            let (graph, stopping) = (&graph, &stopping);
            scope.spawn(move || {
                for number in 0..usize::MAX {
                    if stopping.load(Ordering::Relaxed) {
                        return;
                    }
                    let name = |number: usize| format!("{writer}-{}", number % 17);
                    graph.follow(&name(number), &name(number * 7 + 1)).ok();
                    graph.follow(&name(number), STAR).ok();
                    if number % 5 == 0 {
                        graph.unfollow(&name(number * 3), &name(number * 7 + 1)).ok();
                    }
                    if number % 11 == 0 {
                        graph.remove_account(&name(number)).ok();
                    }
                    if number % 97 == 0 {
                        graph.remove_account(STAR).ok();
                    }
                }
            });
        }
        let (graph, stopping) = (&graph, &stopping);
        scope.spawn(move || {
            while !stopping.load(Ordering::Relaxed) {
                graph.checkpoint().unwrap();
            }
        });
        let deadline = Instant::now() + Duration::from_secs(4);
        let mut lost_count = 0;
        while Instant::now() < deadline {
            lost_count += mirror.follow(&mut consumer, Some(deadline));
            std::thread::sleep(Duration::from_millis(30));
        }
        stopping.store(true, Ordering::Relaxed);
        lost_count
    });
    // Whatever the speed of the machine, it is lost once more.
    for _ in 0..3 {
        graph.follow("one", "more").unwrap();
        graph.checkpoint().unwrap();
        graph.unfollow("one", "more").unwrap();
    }
    let lost_count = lost_count + mirror.follow(&mut consumer, None);
    println!("the log was lost {lost_count} times");
    assert!(lost_count > 0);
    assert_eq!(mirror, Mirror::of(&graph));
    let stats = graph.stats();
    assert_eq!(mirror.follows.len() as u64, stats.follow_count);
    assert_eq!(mirror.names.len() as u64, stats.account_count);
    graph.verify().unwrap();
}

#[test]
fn a_resync_that_fails_leaves_the_position_as_it_was_and_lets_the_log_go() {
    let dir = tempfile::tempdir().unwrap();
    let graph = options().open(dir.path()).unwrap();
    let mut consumer = graph.consumer("mirror").unwrap();
    graph.follow("alice", "bob").unwrap();
    let failed = consumer.resync(|_| Err::<(), Error>(Error::from(ErrorKind::InvalidArgument)));
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(consumer.position(), 0);
    assert_eq!(consumer.next(Duration::ZERO).unwrap().unwrap().sequence, 1);
    let view = consumer.resync(|view| Ok::<_, Error>((view.sequence(), view.account_count())));
    assert_eq!(view.unwrap(), (1, 2));
    assert_eq!(consumer.position(), 1);
    graph.close().unwrap();
    let closed = consumer.resync(|_| Ok::<(), Error>(()));
    assert_eq!(closed.unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn a_wait_for_changes_can_be_cancelled_while_the_graph_is_open() {
    let graph = options().in_memory().unwrap();
    let mut consumer = graph.consumer("mirror").unwrap();
    let mut changes = graph.changes(0).unwrap();
    let (first, second) = (consumer.canceller(), changes.canceller());
    let (waiting, done) = (consumer.canceller(), std::sync::mpsc::channel());
    let sender = done.0.clone();
    std::thread::spawn(move || sender.send(consumer.next(Duration::MAX).map(|_| ())));
    std::thread::spawn(move || done.0.send(changes.next(Duration::MAX).map(|_| ())));
    std::thread::sleep(Duration::from_millis(50));
    assert!(!waiting.is_cancelled());
    first.clone().cancel();
    let ended = done.1.recv_timeout(Duration::from_secs(20)).expect("it is woken");
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::Cancelled);
    assert!(waiting.is_cancelled() && !second.is_cancelled());
    assert!(done.1.recv_timeout(Duration::from_millis(50)).is_err(), "the other one waits on");
    second.cancel();
    let ended = done.1.recv_timeout(Duration::from_secs(20)).expect("it is woken");
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::Cancelled);
    // Also where there is something to hand out.
    let mut consumer = graph.consumer("mirror").unwrap();
    consumer.canceller().cancel();
    graph.add_account("alice").unwrap();
    graph.sync().unwrap();
    assert_eq!(consumer.next(Duration::ZERO).unwrap_err().kind(), ErrorKind::Cancelled);
    assert!(graph.consumer("mirror").unwrap().next(Duration::ZERO).unwrap().is_some());
}

#[test]
fn closing_reports_a_background_thread_that_panicked() {
    let is_checkpoint_thread = || std::thread::current().name() == Some("followgraph-checkpoint");
    let (broke, is_broken) = std::sync::mpsc::channel();
    let clock = move || {
        if is_checkpoint_thread() {
            let _ = broke.send(());
            panic!("the clock of the checkpoint thread is broken");
        }
        1000
    };
    let dir = tempfile::tempdir().unwrap();
    let graph = options().checkpoint_log_bytes(Some(1)).clock(std::sync::Arc::new(clock));
    let graph = graph.open(dir.path()).unwrap();
    graph.follow("alice", "bob").unwrap();
    is_broken.recv_timeout(Duration::from_secs(20)).expect("a checkpoint was due");
    let error = graph.close().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Panicked);
    assert!(error.to_string().contains("followgraph-checkpoint"), "{error}");
    let graph = options().open(dir.path()).unwrap();
    assert_eq!(graph.stats().recovery.cut_frames, 0);
    assert!(graph.relation("alice", "bob").unwrap().following);
    graph.close().unwrap();
}
