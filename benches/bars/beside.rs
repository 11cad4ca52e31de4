//! Batches of counts beside a writer.

use crate::Judge;
use crate::machine::{pin, processors, thread_seconds};
use crate::reads::{ask_engine, ask_floor};
use crate::report::{Bar, Report};
use crate::support::draw::Dealer;
use crate::support::floor::Floor;
use crate::support::measure::{median, percentiles, timed};
use fastrand::Rng;
use followgraph::FollowGraph;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Pairs that the writer goes through.
const WRITER_PAIRS: usize = 100_000;

/// The middle and the 99th percentile of one program, in microseconds, of each turn.
#[derive(Default)]
struct Latencies([Vec<f64>; 2]);

impl Latencies {
    fn push(&mut self, calls: usize, ask: &mut dyn FnMut()) {
        for (kept, seconds) in self.0.iter_mut().zip(percentiles(calls, ask)) {
            kept.push(seconds * 1e6);
        }
    }

    fn p99(&self) -> f64 {
        median(&self.0[1])
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "p50 {:.2} p99 {:.2} µs", median(&self.0[0]), self.p99())
    }
}

/// How one program fares alone and beside the writer.
#[derive(Default)]
struct Contest {
    idle: Latencies,
    busy: Latencies,
    /// Writes a second, in millions, of each turn.
    write_speeds: Vec<f64>,
    /// How much of the time reader and writer were on their processors, of each turn.
    reader_shares: Vec<f64>,
    writer_shares: Vec<f64>,
}

impl Contest {
    fn take_turn(&mut self, writer: &Writer, calls: usize, ask: &mut dyn FnMut()) {
        self.idle.push(calls, ask);
        let before = thread_seconds();
        let beside = writer.beside(|| timed(|| self.busy.push(calls, ask)).0);
        self.reader_shares.push((thread_seconds() - before) / beside.seconds);
        self.writer_shares.push(beside.writer_share);
        self.write_speeds.push(Report::millions(beside.writes, beside.seconds));
    }

    fn ratio(&self) -> f64 {
        self.busy.p99() / self.idle.p99()
    }
}

impl fmt::Display for Contest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Contest { idle, busy, .. } = self;
        let [speed, reader, writer] =
            [&self.write_speeds, &self.reader_shares, &self.writer_shares]
                .map(|turns| median(turns));
        write!(formatter, "{idle} idle, {busy} beside {speed:.2} M writes/s")?;
        write!(formatter, " (on a processor: reader {reader:.2}, writer {writer:.2})")
    }
}

/// One thread reads, and in every other turn another one follows and unfollows as fast as it can.
/// What the floor suffers beside the same writer, which it shares nothing with, is the machine's.
pub(crate) fn beside_a_writer(
    judge: &mut Judge,
    graph: &FollowGraph,
    floor: &Floor,
    names: &[&str],
) {
    let processors = processors();
    let writer =
        Writer { graph, pairs: absent_pairs(judge, graph), processor: processors.get(1).copied() };
    let [one, two] = Dealer::apart(names);
    let (mut ask_engine, mut ask_floor) = (ask_engine(graph, one), ask_floor(floor, two));
    let (calls, turns) = (judge.effort.latency_calls, judge.effort.latency_turns);
    let (mut engine, mut floor) = (Contest::default(), Contest::default());
    let read = || {
        pin(processors.first().copied());
        for _ in 0..turns {
            engine.take_turn(&writer, calls, &mut ask_engine);
            floor.take_turn(&writer, calls, &mut ask_floor);
        }
    };
    // A thread of its own, so that only this is tied to a processor.
    judge.machine.alone(|| std::thread::scope(|scope| scope.spawn(read).join()).expect("no panic"));
    let note = format!("{engine}; bare arrays {:.2} x: {floor}", floor.ratio());
    let what = "p99 of batch_counts of 20 beside a writer / idle";
    judge.report.bar(what, Bar::AtMost(3.0), engine.ratio(), "x", &note);
}

/// What happened beside the writer.
struct Beside {
    seconds: f64,
    writes: usize,
    /// How much of its time the writer was on a processor.
    writer_share: f64,
}

/// Follows and unfollows, pair after pair, as fast as it can.
struct Writer<'a> {
    graph: &'a FollowGraph,
    pairs: Vec<(&'a str, &'a str)>,
    processor: Option<usize>,
}

impl Writer<'_> {
    /// Does `work`, which says how long it took, while the writer is at it in another thread.
    fn beside(&self, work: impl FnOnce() -> f64) -> Beside {
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
            let seconds = work();
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

/// Pairs of accounts at random of which the first does not follow the second.
fn absent_pairs<'a>(judge: &'a Judge, graph: &FollowGraph) -> Vec<(&'a str, &'a str)> {
    let (names, mut random) = (&judge.edges.names, Rng::with_seed(6));
    let draw = |_| {
        let from = random.usize(..names.len());
        let to = (from + random.usize(1..names.len())) % names.len();
        (names[from].as_str(), names[to].as_str())
    };
    let is_absent = |&(from, to): &(&str, &str)| {
        !graph.relation(from, to).expect("both accounts exist").following
    };
    (0..WRITER_PAIRS).map(draw).filter(is_absent).collect()
}
