//! Questions and follows, each beside the least and the first program that could answer them.
//!
//! `cargo bench --bench counts` measures; `-- --test` runs everything once and checks the answers.
//! `FOLLOWGRAPH_BENCH_EDGES` names the edge list to run on; the default is the small graph of the
//! project, which fits a processor cache and says little. At the end the bench prints ratios: there
//! the programs take turns, so what disturbs one disturbs all.

#[path = "support/rivals.rs"]
mod rivals;
mod support;

use criterion::{BenchmarkId, Criterion, Throughput};
use followgraph::{AccountId, Counts, Cursor, FollowGraph, List, Page, Result};
use rivals::{Floor, Naive};
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::{Edges, Random, is_test, open};
use tempfile::TempDir;

/// How many names one question asks about.
const BATCH_SIZES: [usize; 3] = [1, 20, 100];
const PAGE_ENTRIES: usize = 100;
/// How many names are drawn at random: enough that they do not stay in a cache.
const DRAWN_NAMES: usize = 1 << 20;
/// How many follows are made before they are undone.
const FOLLOWS: usize = 100_000;

/// One graph in each of its forms.
struct World {
    edges: Edges,
    floor: Floor,
    naive: Naive,
    graph: FollowGraph,
    directory: TempDir,
}

impl World {
    fn load() -> World {
        let edges = Edges::load();
        let directory = tempfile::tempdir().expect("a temporary directory");
        edges.build(directory.path());
        let naive = Naive::new(&edges.names, &edges.follows);
        let floor = Floor::new(&edges.names, &naive);
        let graph = open(directory.path());
        World { edges, floor, naive, graph, directory }
    }

    fn name(&self, position: usize) -> &str {
        &self.edges.names[position]
    }

    /// Random names, one behind the other in memory as they would come in a request.
    fn draw(&self) -> Drawn {
        let mut random = Random(1);
        let count = if is_test() { 1 << 10 } else { DRAWN_NAMES };
        let mut drawn = Drawn::default();
        for _ in 0..count {
            drawn.text.push_str(self.name(random.below(self.edges.names.len())));
            drawn.ends.push(drawn.text.len());
        }
        drawn
    }

    /// All programs give the same answers, or there is nothing to compare.
    fn check_agreement(&self, names: &[&str]) {
        let unknown = ["", "no such account"];
        let (mut floor, mut naive) = (Vec::new(), Vec::new());
        for batch in names.chunks(100).take(1000).chain([&unknown[..]]) {
            let counts: Vec<Option<Counts>> =
                self.graph.batch_counts(batch).into_iter().map(Result::ok).collect();
            self.floor.batch_counts_into(batch, &mut floor);
            self.naive.batch_counts_into(batch, &mut naive);
            assert_eq!(counts, floor, "the floor disagrees about {batch:?}");
            assert_eq!(counts, naive, "the naive program disagrees about {batch:?}");
        }
        let (viewer, targets) = (self.viewers()[0], &names[..100]);
        let known: Vec<Option<u64>> = self
            .known_followers(viewer, targets)
            .into_iter()
            .map(|known| known.ok().map(|known| u64::from(known.count)))
            .collect();
        assert_eq!(known, self.naive.known_followers(viewer, targets));
    }

    fn known_followers(
        &self,
        viewer: &str,
        targets: &[&str],
    ) -> Vec<Result<followgraph::KnownFollowers>> {
        self.graph.known_followers(viewer, targets).expect("the viewer has an account")
    }

    /// Accounts of ordinary users who follow some: those with the most followings up to 500.
    fn viewers(&self) -> Vec<&str> {
        let following = |id: usize| self.naive.accounts[id].following.len();
        let mut ids: Vec<usize> =
            (0..self.naive.accounts.len()).filter(|&id| following(id) <= 500).collect();
        ids.sort_by_key(|&id| (std::cmp::Reverse(following(id)), id));
        let viewers: Vec<&str> = ids.into_iter().take(64).map(|id| self.name(id)).collect();
        assert!(!viewers.is_empty(), "somebody follows at most 500 accounts");
        viewers
    }

    /// Accounts with a full page of followers, or the nearest to it.
    fn followed(&self) -> Vec<&str> {
        let followers = |id: usize| self.naive.accounts[id].followers.len();
        let mut ids: Vec<usize> = (0..self.naive.accounts.len()).collect();
        ids.sort_by_key(|&id| (std::cmp::Reverse(followers(id)), id));
        let full = ids.iter().take_while(|&&id| followers(id) > PAGE_ENTRIES as u64).count();
        ids.truncate(full.max(16));
        ids.into_iter().map(|id| self.name(id)).collect()
    }
}

/// Names in one piece of text.
#[derive(Default)]
struct Drawn {
    text: String,
    ends: Vec<usize>,
}

impl Drawn {
    fn names(&self) -> Vec<&str> {
        let starts = [0].into_iter().chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.text[start..end]).collect()
    }
}

/// Deals items out in batches, over and over.
struct Dealer<'a, T> {
    items: &'a [T],
    next: usize,
}

impl<'a, T> Dealer<'a, T> {
    fn new(items: &'a [T]) -> Dealer<'a, T> {
        Dealer { items, next: 0 }
    }

    fn batch(&mut self, size: usize) -> &'a [T] {
        if self.next + size > self.items.len() {
            self.next = 0;
        }
        let batch = &self.items[self.next..self.next + size];
        self.next += size;
        batch
    }
}

fn main() {
    if is_test() {
        println!("a test run: every program runs once, and the figures mean nothing");
    }
    let mut criterion = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let world = World::load();
    let drawn = world.draw();
    let names = drawn.names();
    world.check_agreement(&names);

    bench_counts(&mut criterion, &world, &names);
    bench_counts_by_id(&mut criterion, &world, &names);
    bench_pages(&mut criterion, &world);
    bench_known_followers(&mut criterion, &world, &names);
    print_ratios(&world, &names);
    print_latency_beside_a_writer(&world, &names);
    bench_follow(&mut criterion, &world);
    criterion.final_summary();
    let World { graph, directory, .. } = world;
    drop(graph);
    directory.close().expect("the temporary directory is ours");
}

fn bench_counts(criterion: &mut Criterion, world: &World, names: &[&str]) {
    let mut group = criterion.benchmark_group("counts");
    for size in BATCH_SIZES {
        group.throughput(Throughput::Elements(size as u64));
        group.bench_function(BenchmarkId::new("engine", size), |bencher| {
            let (mut dealer, mut results) = (Dealer::new(names), Vec::with_capacity(size));
            bencher.iter(|| {
                world.graph.batch_counts_into(dealer.batch(size), &mut results);
                black_box(results.len())
            });
        });
        group.bench_function(BenchmarkId::new("floor", size), |bencher| {
            let (mut dealer, mut results) = (Dealer::new(names), Vec::with_capacity(size));
            bencher.iter(|| {
                world.floor.batch_counts_into(dealer.batch(size), &mut results);
                black_box(results.len())
            });
        });
        group.bench_function(BenchmarkId::new("naive", size), |bencher| {
            let (mut dealer, mut results) = (Dealer::new(names), Vec::with_capacity(size));
            bencher.iter(|| {
                world.naive.batch_counts_into(dealer.batch(size), &mut results);
                black_box(results.len())
            });
        });
    }
    group.finish();
}

fn bench_counts_by_id(criterion: &mut Criterion, world: &World, names: &[&str]) {
    let ids: Vec<AccountId> =
        names.iter().map(|name| world.graph.account_id(name).expect("it was loaded")).collect();
    let positions: Vec<u32> = ids.iter().map(|id| id.0).collect();
    let mut group = criterion.benchmark_group("counts_by_id");
    for size in BATCH_SIZES {
        group.throughput(Throughput::Elements(size as u64));
        group.bench_function(BenchmarkId::new("engine", size), |bencher| {
            let mut dealer = Dealer::new(&ids);
            bencher.iter(|| world.graph.batch_counts_by_id(dealer.batch(size)));
        });
        group.bench_function(BenchmarkId::new("floor", size), |bencher| {
            let (mut dealer, mut results) = (Dealer::new(&positions), Vec::with_capacity(size));
            bencher.iter(|| {
                world.floor.batch_counts_by_id_into(dealer.batch(size), &mut results);
                black_box(results.len())
            });
        });
    }
    group.finish();
}

fn bench_pages(criterion: &mut Criterion, world: &World) {
    let accounts = world.followed();
    let page = |name: &str, page: Page| -> List {
        world.graph.followers(name, page).expect("the account was loaded")
    };
    let mut group = criterion.benchmark_group("followers_page");
    group.throughput(Throughput::Elements(PAGE_ENTRIES as u64));
    group.bench_function("first", |bencher| {
        let mut dealer = Dealer::new(&accounts);
        bencher.iter(|| page(dealer.batch(1)[0], Page::first(PAGE_ENTRIES)));
    });
    group.bench_function("next", |bencher| {
        let mut cursor: Option<Cursor> = None;
        bencher.iter(|| {
            let first = Page::first(PAGE_ENTRIES);
            let asked = cursor.map_or(first, |cursor| Page::after(cursor, PAGE_ENTRIES));
            let list = page(accounts[0], asked);
            cursor = list.next;
            list
        });
    });
    group.finish();
}

fn bench_known_followers(criterion: &mut Criterion, world: &World, names: &[&str]) {
    let viewers = world.viewers();
    let mut group = criterion.benchmark_group("known_followers");
    group.throughput(Throughput::Elements(100));
    group.bench_function("engine", |bencher| {
        let (mut viewer, mut targets) = (Dealer::new(&viewers), Dealer::new(names));
        bencher.iter(|| world.known_followers(viewer.batch(1)[0], targets.batch(100)));
    });
    group.bench_function("naive", |bencher| {
        let (mut viewer, mut targets) = (Dealer::new(&viewers), Dealer::new(names));
        bencher.iter(|| world.naive.known_followers(viewer.batch(1)[0], targets.batch(100)));
    });
    group.finish();
}

/// Follows by name that do not wait for the disk. They are undone, and that is not measured.
fn bench_follow(criterion: &mut Criterion, world: &World) {
    let mut random = Random(2);
    let count = if is_test() { 100 } else { FOLLOWS };
    let pairs: Vec<(&str, &str)> = (0..count)
        .map(|_| random.pair_below(world.edges.names.len()))
        .filter(|&(from, to)| !world.naive.accounts[from].following.contains(to as u32))
        .map(|(from, to)| (world.name(from), world.name(to)))
        .collect();
    if pairs.is_empty() {
        println!("follow: everybody follows everybody, nothing to measure");
        return;
    }
    let mut group = criterion.benchmark_group("follow");
    group.throughput(Throughput::Elements(1));
    group.bench_function("by_name", |bencher| {
        bencher.iter_custom(|iterations| {
            let (mut left, mut spent) = (iterations as usize, Duration::ZERO);
            while left > 0 {
                let pairs = &pairs[..left.min(pairs.len())];
                let start = Instant::now();
                for (from, to) in pairs {
                    black_box(world.graph.follow(from, to).expect("both accounts exist"));
                }
                spent += start.elapsed();
                for (from, to) in pairs {
                    world.graph.unfollow(from, to).expect("both accounts exist");
                }
                left -= pairs.len();
            }
            spent
        });
    });
    group.finish();
}

/// How long `ask` takes for each of `rounds` batches, in seconds.
fn seconds_a_batch(rounds: usize, mut ask: impl FnMut()) -> f64 {
    let start = Instant::now();
    (0..rounds).for_each(|_| ask());
    start.elapsed().as_secs_f64() / f64::from(u32::try_from(rounds).expect("few rounds"))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The bars of the project: the engine against the floor, and the naive program against the engine.
fn print_ratios(world: &World, names: &[&str]) {
    let (turns, rounds) = if is_test() { (1, 1) } else { (41, 2000) };
    println!("\nbatch_counts, medians of {turns} turns, microseconds a batch:");
    println!(
        "{:>6} {:>9} {:>9} {:>9} {:>13} {:>13}",
        "names", "engine", "floor", "naive", "engine/floor", "naive/engine"
    );
    for size in BATCH_SIZES {
        let mut dealers = [(); 3].map(|()| Dealer::new(names));
        // Each program asks about other names than the one before it, or it would find them warm.
        for (place, dealer) in dealers.iter_mut().enumerate() {
            dealer.next = names.len() / 3 * place;
        }
        let [mut one, mut two, mut three] = dealers;
        let mut counts = Vec::with_capacity(size);
        let mut found = Vec::with_capacity(size);
        let mut times: [Vec<f64>; 3] = Default::default();
        let mut ratios: [Vec<f64>; 2] = Default::default();
        for _ in 0..turns {
            let engine = seconds_a_batch(rounds, || {
                world.graph.batch_counts_into(one.batch(size), &mut counts);
                black_box(counts.len());
            });
            let floor = seconds_a_batch(rounds, || {
                world.floor.batch_counts_into(two.batch(size), &mut found);
                black_box(found.len());
            });
            let naive = seconds_a_batch(rounds, || {
                world.naive.batch_counts_into(three.batch(size), &mut found);
                black_box(found.len());
            });
            times[0].push(engine);
            times[1].push(floor);
            times[2].push(naive);
            ratios[0].push(engine / floor);
            ratios[1].push(naive / engine);
        }
        let [engine, floor, naive] = times.map(|times| median(times) * 1e6);
        let [over_floor, under_naive] = ratios.map(median);
        let times = format!("{engine:>9.3} {floor:>9.3} {naive:>9.3}");
        println!("{size:>6} {times} {over_floor:>13.2} {under_naive:>13.1}");
    }
}

/// A batch of 20 alone, and beside one thread that follows and unfollows as fast as it can.
fn print_latency_beside_a_writer(world: &World, names: &[&str]) {
    let batches = if is_test() { 20 } else { 200_000 };
    let mut random = Random(3);
    let pairs: Vec<(usize, usize)> =
        (0..1000).map(|_| random.pair_below(world.edges.names.len())).collect();
    let absent =
        |&(from, to): &(usize, usize)| !world.naive.accounts[from].following.contains(to as u32);
    let pairs: Vec<(usize, usize)> = pairs.into_iter().filter(absent).collect();
    let [started, stop] = [false, false].map(AtomicBool::new);
    let idle = percentiles(world, names, batches);
    let (busy, written) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut written = 0u64;
            while !stop.load(Ordering::Relaxed) {
                for &(from, to) in &pairs {
                    let (from, to) = (world.name(from), world.name(to));
                    world.graph.follow(from, to).expect("both accounts exist");
                    world.graph.unfollow(from, to).expect("both accounts exist");
                    written += 2;
                }
                started.store(true, Ordering::Relaxed);
            }
            written
        });
        while !started.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        let busy = percentiles(world, names, batches);
        stop.store(true, Ordering::Relaxed);
        (busy, writer.join().expect("the writer does not panic"))
    });
    println!("\nbatch_counts of 20, microseconds:");
    println!("{:>14} {:>9} {:>9}", "", "p50", "p99");
    println!("{:>14} {:>9.2} {:>9.2}", "idle", idle[0], idle[1]);
    println!("{:>14} {:>9.2} {:>9.2}", "one writer", busy[0], busy[1]);
    println!("p99 beside the writer / idle: {:.2} ({written} writes)\n", busy[1] / idle[1]);
}

/// The middle and the 99th percentile of the time of a batch of 20, in microseconds.
fn percentiles(world: &World, names: &[&str], batches: usize) -> [f64; 2] {
    let (mut dealer, mut results) = (Dealer::new(names), Vec::with_capacity(20));
    let mut times = Vec::with_capacity(batches);
    for _ in 0..batches {
        let batch = dealer.batch(20);
        let start = Instant::now();
        world.graph.batch_counts_into(batch, &mut results);
        black_box(results.len());
        times.push(start.elapsed());
    }
    times.sort_unstable();
    [times.len() / 2, times.len() * 99 / 100].map(|place| times[place].as_secs_f64() * 1e6)
}
