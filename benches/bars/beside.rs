//! Batches of counts beside a writer.

use crate::Judge;
use crate::reads::BATCH;
use crate::report::{Bar, Report};
use crate::support::ask;
use crate::support::draw::Dealer;
use crate::support::floor::Floor;
use crate::support::measure::median;
use crate::support::processor::thread_seconds;
use crate::support::writer::Writer;
use followgraph::FollowGraph;
use std::fmt;
use std::time::{Duration, Instant};

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
        let beside = writer.beside(|| self.busy.push(calls, ask));
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
    let writer = Writer::new(graph, &judge.edges.names);
    let [one, two] = Dealer::apart(names);
    let (mut ask_engine, mut ask_floor) =
        (ask::engine(graph, one, BATCH), ask::floor(floor, two, BATCH));
    let (calls, turns) = (judge.effort.latency_calls, judge.effort.latency_turns);
    let (mut engine, mut floor) = (Contest::default(), Contest::default());
    let read = || {
        writer.pin_reader();
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

/// The middle and the 99th percentile of the seconds `ask` takes, each call timed by itself.
fn percentiles(calls: usize, mut ask: impl FnMut()) -> [f64; 2] {
    let mut times: Vec<Duration> = Vec::with_capacity(calls);
    for _ in 0..calls {
        let start = Instant::now();
        ask();
        times.push(start.elapsed());
    }
    times.sort_unstable();
    [calls / 2, calls * 99 / 100].map(|place| times[place].as_secs_f64())
}
