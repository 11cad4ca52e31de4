//! Following, replaying, checkpoints, and follows that wait for the disk. The follows are those of
//! the graph itself, held back at random while the rest was loaded; at the end they are all there,
//! and the counts are those of the graph that was loaded at once.

use crate::Judge;
use crate::follow_floor::FollowFloor;
use crate::load::seconds_to_open;
use crate::report::{Bar, Report};
use crate::support::edges::Edges;
use crate::support::measure::{median, real, take_turns, timed};
use crate::support::writer::{COMMIT_CHANGES, follow_in_batches, follow_together};
use crate::support::{all_counts, open, options};
use fastrand::Rng;
use followgraph::{Counts, Durability, Outcome};
use std::path::Path;
use std::time::{Duration, Instant};

/// Single follows are timed in this many pieces, to see whether one was disturbed.
const PIECES: usize = 20;
const THREADS: usize = 64;
const DURABLE_TURNS: usize = 3;
const REPLAY_BAR: Bar = Bar::AtLeast(2.0);

impl Judge {
    pub(crate) fn writes(&mut self, counts: &[Counts]) {
        let count = self.effort.held_back_max.min(self.edges.follows.len() / 5);
        let held_back = hold_back(&mut self.edges, count);
        let directory = self.directory("held back");
        self.edges.build(&directory, |_| None);
        // The names lie one behind the other, as they would come in requests: what it costs the
        // bench to find a name in memory is not the engine's.
        let copied: Vec<(String, String)> = held_back
            .iter()
            .map(|follow| self.edges.named(*follow))
            .map(|(from, to)| (from.to_owned(), to.to_owned()))
            .collect();
        let named: Vec<(&str, &str)> =
            copied.iter().map(|(from, to)| (from.as_str(), to.as_str())).collect();
        let (single, rest) = named.split_at(named.len() / 3);
        let (batched, durable) = rest.split_at(rest.len() / 2);

        let mut report = std::mem::replace(&mut self.report, Report::new("", None, &self.machine));
        self.follow_one_by_one(&mut report, &directory, single);
        self.checkpoint(&mut report, &directory);
        self.replay_batches(&mut report, &directory, batched);
        self.follow_durably(&mut report, &directory, durable);
        let graph = open(&directory);
        assert_eq!(all_counts(&graph, &self.edges.names), counts, "all follows are there again");
        self.report = report;
    }

    fn median_open(&self, directory: &Path) -> f64 {
        let mut turn = || seconds_to_open(directory);
        let [seconds] = self.machine.alone(|| take_turns(self.effort.opens / 3, [&mut turn]));
        median(&seconds)
    }

    fn follow_one_by_one(&self, report: &mut Report, directory: &Path, follows: &[(&str, &str)]) {
        let clean = self.median_open(directory);
        let graph = open(directory);
        let mut floor = FollowFloor::new(&self.edges.names);
        let piece = follows.len().div_ceil(PIECES);
        let (pieces, bare): (Vec<f64>, Vec<f64>) = self.machine.alone(|| {
            let follow = |&(from, to): &(&str, &str)| {
                let outcome = graph.follow(from, to).expect("both accounts exist");
                assert_eq!(outcome, Outcome::Applied, "{from} did not follow {to}");
            };
            let mut turn = |piece: &[(&str, &str)]| {
                let seconds = timed(|| piece.iter().for_each(follow)).0;
                (seconds, timed(|| piece.iter().for_each(|(from, to)| floor.follow(from, to))).0)
            };
            follows.chunks(piece).map(&mut turn).unzip()
        });
        drop(graph);
        let seconds: f64 = pieces.iter().sum();
        let speed = Report::millions(follows.len(), seconds);
        let bare_speed = Report::millions(follows.len(), bare.iter().sum());
        let note = format!(
            "{} new follows in random order; {bare_speed:.3} M/s on the bare arrays, which only \
             find both names, count, and note each in a line of the other",
            follows.len(),
        );
        let what = "follow by name, one thread, not waiting for the disk";
        report.bar(what, Bar::AtLeast(1.0), speed, "M/s", &note);
        report.growth("follow by name", 1e9 / (speed * 1e6), "ns");
        self.replay(report, directory, clean, follows.len(), "one follow a commit");
    }

    /// What opening takes longer than a clean image does is the replay.
    fn replay(
        &self,
        report: &mut Report,
        directory: &Path,
        clean: f64,
        count: usize,
        commits: &str,
    ) {
        let replayed = open(directory).stats().recovery.replayed_records;
        assert_eq!(replayed, count as u64, "every follow is replayed");
        let seconds = (self.median_open(directory) - clean).max(1e-6);
        let speed = Report::millions(count, seconds);
        let what = format!("replay of the log, {commits}");
        let note = format!("{count} follows in {:.1} ms", seconds * 1e3);
        report.bar(&what, REPLAY_BAR, speed, "M/s", &note);
    }

    fn checkpoint(&self, report: &mut Report, directory: &Path) {
        let graph = open(directory);
        let checkpoint = || timed(|| graph.checkpoint().expect("the audit agrees"));
        let (seconds, done) = self.machine.alone(checkpoint);
        assert!(done.written, "there was something new");
        report.growth("checkpoint", seconds, "s");
        let follow_count = graph.stats().follow_count as usize;
        report.growth("checkpoint, for each follow", seconds * 1e9 / real(follow_count), "ns");
    }

    fn replay_batches(&self, report: &mut Report, directory: &Path, follows: &[(&str, &str)]) {
        let clean = self.median_open(directory);
        let graph = open(directory);
        follow_in_batches(&graph, follows);
        drop(graph);
        let commits = format!("{COMMIT_CHANGES} follows a commit");
        self.replay(report, directory, clean, follows.len(), &commits);
    }

    fn follow_durably(&self, report: &mut Report, directory: &Path, follows: &[(&str, &str)]) {
        let graph = options(Durability::Always).open(directory).expect("the graph opens");
        let (mut sharing, mut speeds) = (Vec::new(), Vec::new());
        self.machine.alone(|| {
            for follows in follows.chunks(follows.len().div_ceil(DURABLE_TURNS)) {
                let before = graph.stats();
                let end = Instant::now() + Duration::from_secs_f64(self.effort.durable_seconds);
                let (seconds, done) =
                    timed(|| follow_together(&graph, follows, THREADS, Some(end)));
                let after = graph.stats();
                speeds.push(real(done) / seconds);
                sharing.push(real(done) / real((after.sync_count - before.sync_count) as usize));
                follow_in_batches(&graph, &follows[done..]);
            }
        });
        let note = format!("{:.0} durable follows/s by {THREADS} threads", median(&speeds));
        let what = "durable follow, 64 threads: commits that share a sync";
        report.bar(what, Bar::AtLeast(20.0), median(&sharing), "", &note);
    }
}

/// Takes about `count` follows out at random and gives them back in random order. Every account
/// stays: the follow that first names one is never taken.
fn hold_back(edges: &mut Edges, count: usize) -> Vec<(u32, u32)> {
    let (mut random, mut held_back) = (Rng::with_seed(8), Vec::new());
    let (all, mut named) = (edges.follows.len(), 0);
    edges.follows.retain(|&(from, to)| {
        let is_needed = from.max(to) >= named;
        named = named.max(from.max(to) + 1);
        let is_taken = random.usize(..all) < count && !is_needed;
        if is_taken {
            held_back.push((from, to));
        }
        !is_taken
    });
    random.shuffle(&mut held_back);
    held_back
}
