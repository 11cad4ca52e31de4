//! The removal of an account with ten million followers, beside a reader: in slices, and at once.
//!
//! One removal takes seconds and a reader's longest wait is one moment of it, so criterion is of no
//! use here: each is done once and what the reader saw is printed. As it takes some minutes and
//! 6 GiB, it is done only when it is asked for: `cargo bench --bench engine -- removal`.

use crate::support::measure::timed;
use crate::support::{LOAD_MEMORY_BYTES, open, options};
use crate::{World, copy_graph, is_test};
use fastrand::Rng;
use followgraph::{Durability, FollowGraph, Options};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const FOLLOWER_COUNT: usize = 10_000_000;
const FOLLOWER_COUNT_TEST: usize = 2000;
const STAR: &str = "star";
const NAMES_PER_READ: usize = 20;
/// How long the reader reads alone.
const ALONE: Duration = Duration::from_secs(5);
const ALONE_TEST: Duration = Duration::from_millis(50);

pub(crate) fn bench(world: &World) {
    let is_asked_for = std::env::args().any(|argument| argument == "removal");
    if !is_asked_for && !is_test() {
        return;
    }
    let follower_count = if is_test() { FOLLOWER_COUNT_TEST } else { FOLLOWER_COUNT };
    let loaded = world.directory("starred");
    load(&loaded, follower_count);
    let alone = read_alone(&loaded, follower_count);
    println!("removal/reader alone: {}", shown(&alone));
    for (name, removal_slice) in [("at once", usize::MAX), ("in slices", 256), ("in small", 64)] {
        let directory = world.directory("removed");
        copy_graph(&loaded, &directory);
        let options = options(Durability::Never).removal_slice(removal_slice);
        let (seconds, took) = read_beside_removal(&directory, options, follower_count);
        println!(
            "removal/{name}: {seconds:.1} s, reader: {}, the longest {:.1} times that alone",
            shown(&took),
            last(&took) / last(&alone),
        );
        let (seconds, graph) = timed(|| open(&directory));
        let records = graph.stats().recovery.replayed_records;
        println!("removal/{name}: replay of {records} records {seconds:.2} s");
        drop(graph);
        std::fs::remove_dir_all(&directory).expect("the directory is ours");
    }
}

/// Everybody follows the star and one other.
fn load(directory: &Path, follower_count: usize) {
    let graph = open(directory);
    let mut load = graph.bulk_load(LOAD_MEMORY_BYTES).expect("it is empty");
    let mut draw = Rng::with_seed(1);
    for number in 0..follower_count {
        let name = name_of(number);
        load.add(&name, STAR, Some(1)).expect("there is room");
        load.add(&name, &name_of(draw.usize(..follower_count)), Some(2)).expect("there is room");
    }
    load.finish(&mut |_, _| {}).expect("there is room");
}

fn name_of(number: usize) -> String {
    format!("user{number}")
}

fn read_alone(directory: &Path, follower_count: usize) -> Vec<Duration> {
    let (graph, begin) = (open(directory), Instant::now());
    let alone = if is_test() { ALONE_TEST } else { ALONE };
    read_until(&graph, follower_count, || begin.elapsed() > alone)
}

fn read_beside_removal(
    directory: &Path,
    options: Options,
    follower_count: usize,
) -> (f64, Vec<Duration>) {
    let graph = options.open(directory).expect("the graph opens");
    let (is_reading, is_gone) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            read_until(&graph, follower_count, || {
                is_reading.store(true, Ordering::Relaxed);
                is_gone.load(Ordering::Relaxed)
            })
        });
        while !is_reading.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        let (seconds, removed) = timed(|| graph.remove_account(STAR));
        removed.expect("it goes");
        is_gone.store(true, Ordering::Relaxed);
        (seconds, reader.join().expect("the reader reads"))
    })
}

/// How long each batch of counts took, ascending.
fn read_until(
    graph: &FollowGraph,
    follower_count: usize,
    is_over: impl Fn() -> bool,
) -> Vec<Duration> {
    let mut draw = Rng::with_seed(2);
    let mut took = Vec::new();
    while !is_over() || took.is_empty() {
        let names: [String; NAMES_PER_READ] =
            std::array::from_fn(|_| name_of(draw.usize(..follower_count)));
        let begin = Instant::now();
        assert!(graph.batch_counts(&names).iter().all(Result::is_ok));
        took.push(begin.elapsed());
    }
    took.sort_unstable();
    took
}

fn last(took: &[Duration]) -> f64 {
    took.last().expect("something was read").as_secs_f64()
}

fn shown(took: &[Duration]) -> String {
    let at = |per_mille: usize| took[(took.len() * per_mille / 1000).min(took.len() - 1)];
    format!(
        "{} batches, p50 {:?}, p99 {:?}, p99.9 {:?}, longest {:?}",
        took.len(),
        at(500),
        at(990),
        at(999),
        at(1000),
    )
}
