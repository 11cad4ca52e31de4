//! Follows and unfollows, in each durability, one by one and by many threads; and what the log is
//! beside copying the same bytes.

use crate::support::measure::{median, median_ratio, race, real, timed};
use crate::support::writer::{
    absent_pairs, follow_in_batches, follow_together, unfollow_in_batches,
};
use crate::support::{all_counts, open, options};
use crate::{World, is_test};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use followgraph::{AccountId, Durability, FollowGraph, Outcome};
use std::hint::black_box;
use std::time::Duration;

const THREAD_COUNTS: [usize; 4] = [1, 4, 16, 64];
/// Pairs of accounts that are made to follow before they are made not to.
const PAIRS: usize = 100_000;
const PAIRS_TEST: usize = 50;
/// Where each follow waits for the disk.
const PAIRS_DURABLE: usize = 500;
const INTERVAL: Duration = Duration::from_millis(100);
/// What a copy of frames goes round in: as much as a segment of the log.
const COPY_BYTES: usize = 64 << 20;

type Pair<'a> = (&'a str, &'a str);

pub(crate) fn bench(criterion: &mut Criterion, world: &World) {
    let tries = if is_test() { PAIRS_TEST } else { PAIRS };
    let pairs = absent_pairs(&world.graph, &world.edges.names, tries);
    assert!(!pairs.is_empty(), "a bench needs somebody who does not follow somebody");
    let few = &pairs[..pairs.len().min(PAIRS_DURABLE)];
    for (name, durability, pairs, samples) in [
        ("never", Durability::Never, &pairs[..], 20),
        ("interval", Durability::Interval(INTERVAL), &pairs[..], 20),
        ("always", Durability::Always, few, 10),
    ] {
        let mut group = criterion.benchmark_group(format!("writes/{name}"));
        group.sample_size(samples).throughput(Throughput::Elements(1));
        let directory = world.copy(&format!("writes {name}"));
        let graph = options(durability).open(&directory).expect("the graph opens");
        one_by_one(&mut group, &graph, pairs);
        group.finish();
        check_unchanged(world, &graph);
    }
    together(criterion, world, &pairs);
    against_copying(criterion, world, &pairs);
}

fn check_unchanged(world: &World, graph: &FollowGraph) {
    assert_eq!(all_counts(graph, &world.edges.names), world.counts, "every follow was undone");
}

/// Follows and unfollows by name and by id. What is done is undone in batches, unmeasured.
fn one_by_one(group: &mut BenchmarkGroup<'_, WallTime>, graph: &FollowGraph, pairs: &[Pair]) {
    let id = |name| graph.account_id(name).expect("it was loaded");
    let ids: Vec<(AccountId, AccountId)> =
        pairs.iter().map(|&(from, to)| (id(from), id(to))).collect();
    let (follow, unfollow): (Batches, Batches) = (follow_in_batches, unfollow_in_batches);
    let none: Batches = |_, _| {};
    let mut change = |name: &str, before: Batches, after: Batches, change: &dyn Fn(usize)| {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                in_pieces(iterations, pairs, |pairs| {
                    before(graph, pairs);
                    let (seconds, ()) = timed(|| (0..pairs.len()).for_each(change));
                    after(graph, pairs);
                    seconds
                })
            });
        });
    };
    let applied = |outcome: followgraph::Result<Outcome>| {
        assert_eq!(outcome.expect("both accounts exist"), Outcome::Applied);
    };
    change("follow by name", none, unfollow, &|place| {
        applied(graph.follow(pairs[place].0, pairs[place].1));
    });
    change("follow by id", none, unfollow, &|place| {
        applied(graph.follow_by_id(ids[place].0, ids[place].1));
    });
    change("unfollow by name", follow, none, &|place| {
        applied(graph.unfollow(pairs[place].0, pairs[place].1));
    });
    change("unfollow by id", follow, none, &|place| {
        applied(graph.unfollow_by_id(ids[place].0, ids[place].1));
    });
}

type Batches = fn(&FollowGraph, &[Pair]);

/// Spreads iterations over as many rounds as it takes to give each a pair of its own.
fn in_pieces<'a>(
    iterations: u64,
    pairs: &[Pair<'a>],
    mut seconds: impl FnMut(&[Pair<'a>]) -> f64,
) -> Duration {
    let (mut left, mut spent) = (iterations as usize, 0.0);
    while left > 0 {
        let piece = &pairs[..left.min(pairs.len())];
        spent += seconds(piece);
        left -= piece.len();
    }
    Duration::from_secs_f64(spent)
}

/// Threads whose follows wait for the disk share its syncs.
fn together(criterion: &mut Criterion, world: &World, pairs: &[Pair]) {
    let directory = world.copy("writes together");
    let graph = options(Durability::Always).open(&directory).expect("the graph opens");
    let mut group = criterion.benchmark_group("writes/durable_threads");
    group.sample_size(10).throughput(Throughput::Elements(1));
    for thread_count in THREAD_COUNTS {
        let (mut commits, mut syncs) = (0, 0);
        group.bench_function(BenchmarkId::from_parameter(thread_count), |bencher| {
            bencher.iter_custom(|iterations| {
                in_pieces(iterations, pairs, |pairs| {
                    let before = graph.stats();
                    let follow = || follow_together(&graph, pairs, thread_count, None);
                    let (seconds, made) = timed(follow);
                    let after = graph.stats();
                    assert_eq!(after.sequence - before.sequence, made as u64);
                    assert_eq!(after.durable_sequence, after.sequence, "all are on disk");
                    commits += after.sequence - before.sequence;
                    syncs += after.sync_count - before.sync_count;
                    unfollow_in_batches(&graph, pairs);
                    seconds
                })
            });
        });
        println!("{thread_count} threads: {commits} commits shared {syncs} syncs\n");
    }
    group.finish();
    check_unchanged(world, &graph);
}

/// A follow by id that waits for nothing, beside copying as many bytes as its frame has.
fn against_copying(criterion: &mut Criterion, world: &World, pairs: &[Pair]) {
    let graph = open(&world.copy("writes copied"));
    let id = |name| graph.account_id(name).expect("it was loaded");
    let ids: Vec<(AccountId, AccountId)> =
        pairs.iter().map(|&(from, to)| (id(from), id(to))).collect();
    let before = graph.stats().log_bytes;
    follow_by_id(&graph, &ids);
    let frame_bytes = (graph.stats().log_bytes - before) as usize / ids.len();
    unfollow_in_batches(&graph, pairs);

    let frame = vec![1u8; frame_bytes];
    let (mut log, mut place) = (vec![0u8; if is_test() { 1 << 16 } else { COPY_BYTES }], 0);
    let mut copy = || {
        if place + frame_bytes > log.len() {
            place = 0;
        }
        log[place..place + frame_bytes].copy_from_slice(black_box(&frame));
        place += frame_bytes;
    };
    let mut group = criterion.benchmark_group("writes/append");
    group.throughput(Throughput::Bytes(frame_bytes as u64));
    group.bench_function("copy of the frame", |bencher| bencher.iter(&mut copy));
    group.finish();
    let turns = if is_test() { 1 } else { 21 };
    let [copying, following] = race(
        turns,
        1,
        [&mut || (0..ids.len()).for_each(|_| copy()), &mut || {
            follow_by_id(&graph, &ids);
            unfollow_by_id(&graph, &ids);
        }],
    );
    let ratio = median_ratio(&following, &copying) / 2.0;
    let nanos = |seconds: &[f64]| median(seconds) * 1e9 / real(ids.len());
    println!(
        "a follow or unfollow by id takes {:.0} ns, copying its frame of {frame_bytes} bytes \
         {:.1} ns: {ratio:.1} x\n",
        nanos(&following) / 2.0,
        nanos(&copying)
    );
    check_unchanged(world, &graph);
}

fn follow_by_id(graph: &FollowGraph, ids: &[(AccountId, AccountId)]) {
    for &(from, to) in ids {
        assert_eq!(graph.follow_by_id(from, to).expect("both exist"), Outcome::Applied);
    }
}

fn unfollow_by_id(graph: &FollowGraph, ids: &[(AccountId, AccountId)]) {
    for &(from, to) in ids {
        assert_eq!(graph.unfollow_by_id(from, to).expect("both exist"), Outcome::Applied);
    }
}
