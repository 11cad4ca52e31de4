//! Threads that follow and unfollow.

use super::measure::timed;
use super::processor::{pin, processors, thread_seconds};
use fastrand::Rng;
use followgraph::{FollowGraph, Mutation, Outcome};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

/// Pairs that the writer goes through.
const WRITER_PAIRS: usize = 100_000;
/// How many changes one commit has where they are not made one by one.
pub(crate) const COMMIT_CHANGES: usize = 256;

/// What happened beside the writer.
pub(crate) struct Beside {
    pub(crate) seconds: f64,
    pub(crate) writes: usize,
    /// How much of its time the writer was on a processor.
    pub(crate) writer_share: f64,
}

/// Follows and unfollows, pair after pair, as fast as it can.
pub(crate) struct Writer<'a> {
    graph: &'a FollowGraph,
    pairs: Vec<(&'a str, &'a str)>,
    processor: Option<usize>,
    readers_processor: Option<usize>,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(graph: &'a FollowGraph, names: &'a [String]) -> Writer<'a> {
        let (pairs, processors) = (absent_pairs(graph, names, WRITER_PAIRS), processors());
        let [readers_processor, processor] = [0, 1].map(|place| processors.get(place).copied());
        Writer { graph, pairs, processor, readers_processor }
    }

    /// Ties the calling thread to another processor than the writer's.
    pub(crate) fn pin_reader(&self) {
        pin(self.readers_processor);
    }

    /// Does `work` while the writer is at it in another thread.
    pub(crate) fn beside(&self, work: impl FnOnce()) -> Beside {
        let (stop, written) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                pin(self.processor);
                let (seconds, ()) = timed(|| self.write(&stop, &written));
                thread_seconds() / seconds
            });
            while written.load(Ordering::Relaxed) < 100 {
                std::thread::yield_now();
            }
            let before = written.load(Ordering::Relaxed);
            let (seconds, ()) = timed(work);
            let writes = written.load(Ordering::Relaxed) - before;
            stop.store(true, Ordering::Relaxed);
            let writer_share = writer.join().expect("the writer does not panic");
            Beside { seconds, writes, writer_share }
        })
    }

    fn write(&self, stop: &AtomicBool, written: &AtomicUsize) {
        for (from, to) in self.pairs.iter().cycle() {
            self.graph.follow(from, to).expect("both accounts exist");
            self.graph.unfollow(from, to).expect("both accounts exist");
            written.fetch_add(2, Ordering::Relaxed);
            if stop.load(Ordering::Relaxed) {
                return;
            }
        }
    }
}

/// Different pairs of accounts at random of which the first does not follow the second.
pub(crate) fn absent_pairs<'a>(
    graph: &FollowGraph,
    names: &'a [String],
    tries: usize,
) -> Vec<(&'a str, &'a str)> {
    let (mut random, mut drawn) = (Rng::with_seed(6), HashSet::new());
    let draw = |_| {
        let from = random.usize(..names.len());
        let to = (from + random.usize(1..names.len())) % names.len();
        (names[from].as_str(), names[to].as_str())
    };
    let is_absent = |pair: &(&'a str, &'a str)| {
        let relation = graph.relation(pair.0, pair.1).expect("both accounts exist");
        !relation.following && drawn.insert(*pair)
    };
    (0..tries).map(draw).filter(is_absent).collect()
}

/// Every follow is new; each commit has many.
pub(crate) fn follow_in_batches(graph: &FollowGraph, pairs: &[(&str, &str)]) {
    change_in_batches(graph, pairs, Mutation::follow);
}

/// Every follow is there; each commit has many.
pub(crate) fn unfollow_in_batches(graph: &FollowGraph, pairs: &[(&str, &str)]) {
    change_in_batches(graph, pairs, Mutation::unfollow);
}

fn change_in_batches<'a>(
    graph: &FollowGraph,
    pairs: &[(&'a str, &'a str)],
    change: impl Fn(&'a str, &'a str) -> Mutation<'a>,
) {
    for pairs in pairs.chunks(COMMIT_CHANGES) {
        let mutations: Vec<Mutation> = pairs.iter().map(|&(from, to)| change(from, to)).collect();
        let results = graph.apply(&mutations).expect("the commit is made");
        assert!(results.iter().all(|result| matches!(result, Ok(Outcome::Applied))));
    }
}

/// Many threads take follows from the front of one list until it or the time is over, each follow
/// a commit. Says how many were made.
pub(crate) fn follow_together(
    graph: &FollowGraph,
    pairs: &[(&str, &str)],
    thread_count: usize,
    end: Option<Instant>,
) -> usize {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..thread_count {
            scope.spawn(|| {
                while end.is_none_or(|end| Instant::now() < end)
                    && let Some((from, to)) = pairs.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    let outcome = graph.follow(from, to).expect("both accounts exist");
                    assert_eq!(outcome, Outcome::Applied, "{from} did not follow {to}");
                }
            });
        }
    });
    next.into_inner().min(pairs.len())
}
