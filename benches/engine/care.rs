//! Opening after an orderly and after an unclean end, replay, checkpoints, imports.

use crate::support::edges::Edges;
use crate::support::measure::timed;
use crate::support::writer::{absent_pairs, follow_in_batches, unfollow_in_batches};
use crate::support::{open, options};
use crate::{World, copy_graph, is_test};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput};
use followgraph::Durability;
use std::path::Path;
use std::time::Duration;

/// Follows that wait in the log where its replay is measured.
const LOG_FOLLOWS: usize = 1_000_000;
const LOG_FOLLOWS_TEST: usize = 500;
/// Follows since the last checkpoint, and at an unclean end.
const FEW_FOLLOWS: usize = 1000;
/// Small, because copying what an unclean end leaves takes its time, measured or not.
const SEGMENT_BYTES: u64 = 1 << 20;

pub(crate) fn bench(criterion: &mut Criterion, world: &World) {
    let mut group = criterion.benchmark_group("open");
    group.sample_size(10);
    let tiny = world.directory("tiny");
    let names = ["alice", "bob", "carol"].map(str::to_owned).to_vec();
    Edges { names, follows: vec![(0, 1), (1, 2), (2, 0)] }.build(&tiny, |_| None);
    clean(&mut group, "tiny image", &tiny);
    clean(&mut group, "given image", &world.copy("opened"));
    unclean(&mut group, world);
    replay(&mut group, world);
    group.finish();
    checkpoint(criterion, world);
    import(criterion, world);
}

/// How long `work` takes for each of some iterations, without what is around it.
fn each(iterations: u64, mut seconds: impl FnMut() -> f64) -> Duration {
    Duration::from_secs_f64((0..iterations).map(|_| seconds()).sum())
}

/// Only the opening is measured, not the closing. Says how many records were replayed.
fn timed_open(directory: &Path) -> (f64, u64) {
    let (seconds, graph) = timed(|| open(directory));
    (seconds, graph.stats().recovery.replayed_records)
}

fn clean(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, directory: &Path) {
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|iterations| {
            each(iterations, || {
                let (seconds, replayed) = timed_open(directory);
                assert_eq!(replayed, 0, "an image has everything");
                seconds
            })
        });
    });
}

/// Copies of the directory of a graph that is open are what its sudden end would leave.
fn unclean(group: &mut BenchmarkGroup<'_, WallTime>, world: &World) {
    let (live, copy) = (world.copy("live"), world.directory("ended"));
    let options = options(Durability::Never).segment_bytes(SEGMENT_BYTES);
    let graph = options.open(&live).expect("the graph opens");
    let pairs = absent_pairs(&world.graph, &world.edges.names, FEW_FOLLOWS);
    follow_in_batches(&graph, &pairs);
    group.bench_function("after an unclean end", |bencher| {
        bencher.iter_custom(|iterations| {
            each(iterations, || {
                copy_graph(&live, &copy);
                let (seconds, replayed) = timed_open(&copy);
                assert_eq!(replayed, pairs.len() as u64, "nothing was lost");
                std::fs::remove_dir_all(&copy).expect("the directory is ours");
                seconds
            })
        });
    });
}

fn replay(group: &mut BenchmarkGroup<'_, WallTime>, world: &World) {
    let directory = world.copy("logged");
    let tries = if is_test() { LOG_FOLLOWS_TEST } else { LOG_FOLLOWS };
    let pairs = absent_pairs(&world.graph, &world.edges.names, tries);
    follow_in_batches(&open(&directory), &pairs);
    group.throughput(Throughput::Elements(pairs.len() as u64));
    group.bench_function("replay", |bencher| {
        bencher.iter_custom(|iterations| {
            each(iterations, || {
                let (seconds, replayed) = timed_open(&directory);
                assert_eq!(replayed, pairs.len() as u64, "every follow is replayed");
                seconds
            })
        });
    });
}

/// The whole graph is written, whatever changed; here a few follows come and go.
fn checkpoint(criterion: &mut Criterion, world: &World) {
    let graph = open(&world.copy("checkpointed"));
    let pairs = absent_pairs(&world.graph, &world.edges.names, FEW_FOLLOWS);
    let mut group = criterion.benchmark_group("checkpoint");
    group.sample_size(10).throughput(Throughput::Elements(world.edges.follows.len() as u64));
    let mut follow = true;
    group.bench_function("after a few follows", |bencher| {
        bencher.iter_custom(|iterations| {
            each(iterations, || {
                let change = if follow { follow_in_batches } else { unfollow_in_batches };
                change(&graph, &pairs);
                follow = !follow;
                let (seconds, report) = timed(|| graph.checkpoint().expect("the audit agrees"));
                assert!(report.written, "there was something new");
                seconds
            })
        });
    });
    group.finish();
    let expected = world.edges.follows.len() + if follow { 0 } else { pairs.len() };
    assert_eq!(graph.verify().expect("nothing is damaged").follow_count, expected as u64);
}

fn import(criterion: &mut Criterion, world: &World) {
    let directory = world.directory("imported");
    let mut group = criterion.benchmark_group("import");
    group.sample_size(10).throughput(Throughput::Elements(world.edges.follows.len() as u64));
    group.bench_function("bulk_load", |bencher| {
        bencher.iter_custom(|iterations| {
            each(iterations, || {
                let (seconds, report) = world.edges.build(&directory, |_| None);
                assert_eq!(report.account_count, world.edges.names.len() as u64);
                std::fs::remove_dir_all(&directory).expect("the directory is ours");
                seconds
            })
        });
    });
    group.finish();
}
