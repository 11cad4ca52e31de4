//! Batches of counts by name and by id, alone and beside a writer.

use crate::support::ask;
use crate::support::draw::{Dealer, Drawn};
use crate::support::measure::{median, median_ratio, race, real};
use crate::support::writer::{Beside, Writer};
use crate::{World, is_test};
use criterion::{BenchmarkId, Criterion, Throughput};
use followgraph::{AccountId, Counts, FollowGraph};
use std::hint::black_box;

/// How many names one question asks about.
const BATCH_SIZES: [usize; 4] = [1, 20, 100, 1000];
/// How many names are drawn: enough that they do not stay in a cache.
const DRAWN_NAMES: usize = 1 << 20;
const DRAWN_NAMES_TEST: usize = 1 << 11;

pub(crate) fn bench(criterion: &mut Criterion, world: &World) {
    let count = if is_test() { DRAWN_NAMES_TEST } else { DRAWN_NAMES };
    let drawn = [
        ("random", Drawn::evenly(&world.edges, count)),
        ("skewed", Drawn::skewed(&world.edges, count)),
        ("unknown", Drawn::unknown(&world.edges, count)),
    ];
    println!("\nbatch_counts, microseconds a batch:");
    println!("  names          engine      floor      naive engine/floor naive/engine");
    for (kind, drawn) in &drawn {
        let names = drawn.names();
        let World { graph, floor, naive, .. } = world;
        ask::check_agreement(graph, &names, |batch, found| floor.batch_counts_into(batch, found));
        ask::check_agreement(graph, &names, |batch, found| naive.batch_counts_into(batch, found));
        print_ratios(world, kind, &names);
    }
    print_ratios_elsewhere(world, &drawn[0].1.names());
    for (kind, drawn) in &drawn {
        by_name(criterion, world, kind, &drawn.names());
    }
    let names = drawn[0].1.names();
    beside_a_writer(criterion, world, &names);
    by_id(criterion, world, &names);
}

fn by_name(criterion: &mut Criterion, world: &World, kind: &str, names: &[&str]) {
    let mut group = criterion.benchmark_group(format!("counts/{kind}"));
    for size in BATCH_SIZES {
        group.throughput(Throughput::Elements(size as u64));
        let [one, two, three] = Dealer::apart(names);
        let mut engine = ask::engine(&world.graph, one, size);
        group.bench_function(BenchmarkId::new("engine", size), |bench| bench.iter(&mut engine));
        let mut floor = ask::floor(&world.floor, two, size);
        group.bench_function(BenchmarkId::new("floor", size), |bench| bench.iter(&mut floor));
        let mut naive = ask::naive(&world.naive, three, size);
        group.bench_function(BenchmarkId::new("naive", size), |bench| bench.iter(&mut naive));
    }
    group.finish();
}

/// The programs take turns, which criterion's do not, so that what disturbs one disturbs all.
fn print_ratios(world: &World, kind: &str, names: &[&str]) {
    for size in BATCH_SIZES {
        let (turns, rounds) = if is_test() { (1, 1) } else { (21, 40_000 / (size + 20)) };
        let [one, two, three] = Dealer::apart(names);
        let [engine, floor, naive] = race(
            turns,
            rounds,
            [
                &mut ask::engine(&world.graph, one, size),
                &mut ask::floor(&world.floor, two, size),
                &mut ask::naive(&world.naive, three, size),
            ],
        );
        let ratios = [median_ratio(&engine, &floor), median_ratio(&naive, &engine)];
        let [engine, floor, naive] = [&engine, &floor, &naive].map(|times| median(times) * 1e6);
        print!("  {size:>4} {kind:<8} {engine:>8.3}   {floor:>8.3}   {naive:>8.3} ");
        println!("{:>12.2} {:>12.1}", ratios[0], ratios[1]);
    }
}

/// What a handle costs that only reads: each question may have to look at the log.
fn print_ratios_elsewhere(world: &World, names: &[&str]) {
    let elsewhere = FollowGraph::open_read_only(world.directory("read")).expect("it is a graph");
    println!("\nthe same on a handle that only reads, beside the one that writes:");
    println!("  names            here  elsewhere  elsewhere/here");
    for size in BATCH_SIZES {
        let (turns, rounds) = if is_test() { (1, 1) } else { (21, 40_000 / (size + 20)) };
        let [one, two, _] = Dealer::apart(names);
        let mut here = ask::engine(&world.graph, one, size);
        let mut there = ask::engine(&elsewhere, two, size);
        let [here, there] = race(turns, rounds, [&mut here, &mut there]);
        let ratio = median_ratio(&there, &here);
        let [here, there] = [&here, &there].map(|times| median(times) * 1e6);
        println!("  {size:>4} random   {here:>8.3}   {there:>8.3}  {ratio:>14.2}");
    }
}

/// The whole time of criterion's iterations, waiting for the writer included. How the slowest
/// batches fare, the bench `bars` says.
fn beside_a_writer(criterion: &mut Criterion, world: &World, names: &[&str]) {
    let writer = Writer::new(&world.graph, &world.edges.names);
    let mut group = criterion.benchmark_group("counts/beside_a_writer");
    for size in BATCH_SIZES {
        group.throughput(Throughput::Elements(size as u64));
        let mut ask = ask::engine(&world.graph, Dealer::new(names), size);
        let mut last = None;
        group.bench_function(BenchmarkId::new("engine", size), |bencher| {
            let read = || {
                writer.pin_reader();
                writer.beside(|| bencher.iter(&mut ask))
            };
            let beside = std::thread::scope(|scope| scope.spawn(read).join());
            last = Some(beside.expect("no panic"));
        });
        if let Some(Beside { seconds, writes, writer_share }) = last {
            let speed = real(writes) / seconds / 1e6;
            println!("{speed:.2} M writes/s; the writer had {writer_share:.2} of a processor\n");
        }
    }
    group.finish();
}

fn by_id(criterion: &mut Criterion, world: &World, names: &[&str]) {
    let ids: Vec<AccountId> =
        names.iter().map(|name| world.graph.account_id(name).expect("it was loaded")).collect();
    let positions: Vec<u32> = ids.iter().map(|id| id.0).collect();
    for batch in ids.chunks(1000).take(100) {
        let counts: Vec<Counts> = world
            .graph
            .batch_counts_by_id(batch)
            .into_iter()
            .map(|counts| counts.expect("it was loaded"))
            .collect();
        let expected: Vec<Counts> = batch.iter().map(|id| world.counts[id.0 as usize]).collect();
        assert_eq!(counts, expected);
    }
    let mut group = criterion.benchmark_group("counts/by_id");
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
