//! Batches of counts against other programs, and known followers.

use crate::Judge;
use crate::report::Bar;
use crate::support::ask;
use crate::support::draw::Dealer;
use crate::support::floor::Floor;
use crate::support::measure::{median, median_ratio, race, race_evenly};
use crate::support::naive::Naive;
use fastrand::Rng;
use followgraph::{Counts, FollowGraph};
use std::hint::black_box;

/// How many names one question asks about.
pub(crate) const BATCH: usize = 20;
const TARGETS: usize = 100;
/// The obvious program is asked so many times fewer questions in a turn.
const NAIVE_SLOWER: usize = 20;
const VIEWERS: usize = 256;

pub(crate) fn against_floor(judge: &mut Judge, graph: &FollowGraph, floor: &Floor, names: &[&str]) {
    let [one, two] = Dealer::apart(names);
    let [engine, floor] =
        judge.race([&mut ask::engine(graph, one, BATCH), &mut ask::floor(floor, two, BATCH)]);
    let ratio = median_ratio(&engine, &floor);
    let [engine, floor] = [median(&engine) * 1e6, median(&floor) * 1e6];
    let note = format!("{engine:.3} µs against {floor:.3} µs on prefetched arrays");
    judge.report.bar("batch_counts of 20 names / bare arrays", Bar::AtMost(1.5), ratio, "x", &note);
    judge.report.growth("batch of 20 names", engine, "µs");
}

pub(crate) fn against_naive(judge: &mut Judge, graph: &FollowGraph, names: &[&str]) {
    eprintln!("building the obvious program");
    let naive = Naive::new(&judge.edges);
    ask::check_agreement(graph, names, |batch, found| naive.batch_counts_into(batch, found));
    let [one, two] = Dealer::apart(names);
    let rounds = judge.effort.rounds;
    let [engine, naive] = judge.machine.alone(|| {
        race_evenly(
            judge.effort.turns,
            [rounds, rounds.div_ceil(NAIVE_SLOWER)],
            [&mut ask::engine(graph, one, BATCH), &mut ask::naive(&naive, two, BATCH)],
        )
    });
    let ratio = median_ratio(&naive, &engine);
    let [engine, naive] = [median(&engine) * 1e6, median(&naive) * 1e6];
    let note = format!("{naive:.3} µs against {engine:.3} µs");
    let what = "the obvious program / batch_counts of 20 names";
    judge.report.bar(what, Bar::AtLeast(20.0), ratio, "x", &note);
}

pub(crate) fn known_followers(
    judge: &mut Judge,
    graph: &FollowGraph,
    counts: &[Counts],
    names: &[&str],
) {
    let mut order: Vec<usize> = (0..counts.len()).collect();
    Rng::with_seed(7).shuffle(&mut order);
    let following = |&&position: &&usize| counts[position].following;
    let busy = |position: &&usize| (300..=500).contains(&following(position));
    let mut viewers: Vec<usize> = order.iter().filter(busy).take(VIEWERS).copied().collect();
    if viewers.is_empty() {
        viewers.extend(order.iter().max_by_key(following));
    }
    let typical = order.iter().filter(|position| following(position) > 0).take(VIEWERS);
    let typical: Vec<usize> = typical.copied().collect();
    let what = "known followers, 1 viewer x 100 targets";
    for (who, viewers) in [("who follows 300 to 500", viewers), ("at random", typical)] {
        let least = viewers.iter().map(|&viewer| counts[viewer].following).min().unwrap_or(0);
        let most = viewers.iter().map(|&viewer| counts[viewer].following).max().unwrap_or(0);
        let micros = known_followers_of(judge, graph, &viewers, names) * 1e6;
        let note = format!("{} viewers who follow {least} to {most}", viewers.len());
        let what = format!("{what}, viewer {who}");
        judge.report.bar(&what, Bar::Below(100.0), micros, "µs", &note);
    }
}

/// The mean of a call, the middle one of the turns.
fn known_followers_of(
    judge: &Judge,
    graph: &FollowGraph,
    viewers: &[usize],
    names: &[&str],
) -> f64 {
    let (mut viewer, mut targets) = (Dealer::new(viewers), Dealer::new(names));
    let mut ask = || {
        let viewer = &judge.edges.names[viewer.batch(1)[0]];
        let known = graph.known_followers(viewer, targets.batch(TARGETS));
        black_box(known.expect("the viewer exists"));
    };
    let (turns, calls) = (judge.effort.turns, judge.effort.known_calls);
    let [seconds] = judge.machine.alone(|| race(turns, calls, [&mut ask]));
    median(&seconds)
}
