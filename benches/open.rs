//! Opening: a tiny image, the given one, and the given one with a log behind it to replay.
//!
//! `FOLLOWGRAPH_BENCH_EDGES` names the edge list to run on, as in the bench `counts`.

mod support;

use criterion::{BenchmarkId, Criterion, Throughput};
use followgraph::Outcome;
use std::path::Path;
use std::time::{Duration, Instant};
use support::{Edges, Random, is_test, open};

/// How many follows are tried for the log to replay: fewer on a graph that has no room for them.
const TAIL_FOLLOWS: usize = 1_000_000;

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let edges = Edges::load();
    let root = tempfile::tempdir().expect("a temporary directory");
    let [tiny, given, tail] = ["tiny", "given", "tail"].map(|name| root.path().join(name));
    tiny_edges().build(&tiny);
    edges.build(&given);
    edges.build(&tail);
    let followed = log_follows(&tail, &edges);

    let mut group = criterion.benchmark_group("open");
    for (name, directory) in [("tiny_image", &tiny), ("given_image", &given)] {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| (0..iterations).map(|_| time_open(directory)).sum());
        });
    }
    group.throughput(Throughput::Elements(followed));
    group.bench_function(BenchmarkId::new("replay", followed), |bencher| {
        bencher.iter_custom(|iterations| (0..iterations).map(|_| time_open(&tail)).sum());
    });
    group.finish();
    print_figures([&tiny, &given, &tail], followed);
    criterion.final_summary();
}

/// Three accounts in a ring.
fn tiny_edges() -> Edges {
    let names = ["alice", "bob", "carol"].map(str::to_owned).to_vec();
    Edges { names, follows: vec![(0, 1), (1, 2), (2, 0)] }
}

/// Follows at random, each a commit of its own, and says how many of them changed something.
fn log_follows(directory: &Path, edges: &Edges) -> u64 {
    let graph = open(directory);
    let account_count = edges.names.len();
    let tries = if is_test() { 1000 } else { TAIL_FOLLOWS.min(account_count * 50) };
    let mut random = Random(4);
    let mut followed = 0;
    for _ in 0..tries {
        let (from, to) = random.pair_below(account_count);
        let outcome = graph.follow(&edges.names[from], &edges.names[to]);
        followed += u64::from(outcome.expect("both accounts exist") == Outcome::Applied);
    }
    drop(graph);
    let replayed = open(directory).stats().recovery.replayed_records;
    assert_eq!(replayed, followed, "every follow is replayed");
    followed
}

/// Only the opening is measured, not the closing.
fn time_open(directory: &Path) -> Duration {
    let start = Instant::now();
    let graph = open(directory);
    let spent = start.elapsed();
    drop(graph);
    spent
}

/// The bars of the project: an image opens in the same time whatever its size, and a log is
/// replayed at millions of follows a second.
fn print_figures(directories: [&Path; 3], followed: u64) {
    let tries = if is_test() { 1 } else { 11 };
    let [tiny, given, tail] = directories.map(|directory| {
        let mut times: Vec<Duration> = (0..tries).map(|_| time_open(directory)).collect();
        times.sort_unstable();
        times[times.len() / 2].as_secs_f64()
    });
    println!("\nopen, medians of {tries}:");
    println!("  tiny image  {:>10.3} ms", tiny * 1e3);
    println!("  given image {:>10.3} ms, {:.2} times the tiny one", given * 1e3, given / tiny);
    let replaying = (tail - given).max(f64::MIN_POSITIVE);
    let followed = f64::from(u32::try_from(followed).expect("few follows"));
    println!("  replay      {:>10.3} ms for {followed} follows", replaying * 1e3);
    println!("  replay      {:>10.2} million follows a second\n", followed / replaying / 1e6);
}
