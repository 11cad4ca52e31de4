//! Batches of counts against other programs, and known followers.

use crate::Judge;
use crate::report::Bar;
use crate::support::draw::Dealer;
use crate::support::floor::Floor;
use crate::support::measure::{median, median_ratio, seconds_each, take_turns};
use crate::support::naive::Naive;
use fastrand::Rng;
use followgraph::{Counts, FollowGraph, Result};
use std::hint::black_box;

/// How many names one question asks about.
const BATCH: usize = 20;
/// Names whose answers are compared before anything is timed.
const CHECKED_NAMES: usize = 100_000;
const TARGETS: usize = 100;
const VIEWERS: usize = 256;

fn engine_counts(graph: &FollowGraph, batch: &[&str]) -> Vec<Option<Counts>> {
    graph.batch_counts(batch).into_iter().map(Result::ok).collect()
}

/// The floor gives the same answers, or there is nothing to compare.
pub(crate) fn check_floor(graph: &FollowGraph, floor: &Floor, names: &[&str]) {
    let mut found = Vec::new();
    for batch in names.chunks(100).take(CHECKED_NAMES / 100).chain([&["", "nobody?"][..]]) {
        floor.batch_counts_into(batch, &mut found);
        assert_eq!(engine_counts(graph, batch), found, "the floor disagrees about {batch:?}");
    }
}

/// Asks an engine about batch after batch.
pub(crate) fn ask_engine<'a>(
    graph: &'a FollowGraph,
    mut dealer: Dealer<'a, &'a str>,
) -> impl FnMut() + use<'a> {
    let mut results = Vec::with_capacity(BATCH);
    move || {
        graph.batch_counts_into(dealer.batch(BATCH), &mut results);
        black_box(results.len());
    }
}

pub(crate) fn ask_floor<'a>(
    floor: &'a Floor,
    mut dealer: Dealer<'a, &'a str>,
) -> impl FnMut() + use<'a> {
    let mut results = Vec::with_capacity(BATCH);
    move || {
        floor.batch_counts_into(dealer.batch(BATCH), &mut results);
        black_box(results.len());
    }
}

pub(crate) fn against_floor(judge: &mut Judge, graph: &FollowGraph, floor: &Floor, names: &[&str]) {
    let rounds = judge.effort.rounds;
    let [one, two] = Dealer::apart(names);
    let (mut engine, mut floor) = (ask_engine(graph, one), ask_floor(floor, two));
    let [engine, floor] = judge.machine.alone(|| {
        let programs: [&mut dyn FnMut() -> f64; 2] =
            [&mut || seconds_each(rounds, &mut engine), &mut || seconds_each(rounds, &mut floor)];
        take_turns(judge.effort.turns, programs)
    });
    let ratio = median_ratio(&engine, &floor);
    let [engine, floor] = [median(&engine) * 1e6, median(&floor) * 1e6];
    let note = format!("{engine:.3} µs against {floor:.3} µs on prefetched arrays");
    judge.report.bar("batch_counts of 20 names / bare arrays", Bar::AtMost(1.5), ratio, "x", &note);
    judge.report.growth("batch of 20 names", engine, "µs");
}

pub(crate) fn against_naive(judge: &mut Judge, graph: &FollowGraph, names: &[&str]) {
    eprintln!("building the obvious program");
    let naive = Naive::new(&judge.edges);
    let mut found = Vec::with_capacity(BATCH);
    for batch in names.chunks(100).take(CHECKED_NAMES / 100).chain([&["", "nobody?"][..]]) {
        naive.batch_counts_into(batch, &mut found);
        assert_eq!(engine_counts(graph, batch), found, "the two disagree about {batch:?}");
    }
    let rounds = judge.effort.rounds;
    let [one, mut two] = Dealer::apart(names);
    let mut engine = ask_engine(graph, one);
    let mut ask_naive = || {
        naive.batch_counts_into(two.batch(BATCH), &mut found);
        black_box(found.len());
    };
    let [engine, naive] = judge.machine.alone(|| {
        let programs: [&mut dyn FnMut() -> f64; 2] =
            [&mut || seconds_each(rounds, &mut engine), &mut || {
                seconds_each(rounds, &mut ask_naive)
            }];
        take_turns(judge.effort.turns, programs)
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
    let [seconds] = judge.machine.alone(|| {
        let mut turn = || seconds_each(judge.effort.known_calls, &mut ask);
        take_turns(judge.effort.turns, [&mut turn])
    });
    median(&seconds)
}
