//! Reads beside a disk that takes a second for every sync.

use super::*;
use crate::list::Page;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

const SYNC: Duration = Duration::from_secs(1);
const FAN_COUNT: usize = 20_000;
const STAR_COUNT: usize = 3;
const NAMES_PER_BATCH: usize = 20;
/// A read is asked for so often, whether or not the one before it has been answered.
const READ_EVERY: Duration = Duration::from_micros(200);
const READ_COUNT: u32 = 15_000;

/// A graph with stars whom all fans follow, half of it in an image.
fn stars(storage: &FailingStorage) -> FollowGraph {
    let options = Options::new().create_missing_accounts(true);
    let graph = FollowGraph::start(Arc::new(storage.clone()), options).expect("the disk works");
    let fans: Vec<String> = (0..FAN_COUNT).map(|number| format!("fan{number}")).collect();
    for star in 0..STAR_COUNT {
        let star = format!("star{star}");
        for fans in fans.chunks(1000) {
            let batch: Vec<Mutation<'_>> =
                fans.iter().map(|fan| Mutation::follow(fan, &star)).collect();
            graph.apply(&batch).expect("the disk works");
        }
        if star == "star1" {
            graph.checkpoint().expect("the disk works");
        }
    }
    graph
}

/// How long each read took, a batch of counts and a page of followers in turns, ascending.
fn read_for_a_while(graph: &FollowGraph) -> Vec<Duration> {
    let names: Vec<String> = (0..NAMES_PER_BATCH).map(|number| format!("fan{number}")).collect();
    let begin = Instant::now();
    let mut took: Vec<Duration> = (0..READ_COUNT)
        .map(|number| {
            while begin.elapsed() < READ_EVERY * number {
                std::thread::yield_now();
            }
            let started = Instant::now();
            if number % 2 == 0 {
                assert!(graph.batch_counts(&names).iter().all(Result::is_ok));
            } else {
                let page = graph.followers("star0", Page::first(100));
                assert_eq!(page.expect("it stays").entries.len(), 100);
            }
            started.elapsed()
        })
        .collect();
    took.sort_unstable();
    took
}

#[test]
fn while_every_sync_takes_a_second_no_read_waits_for_one() {
    let storage = FailingStorage::default();
    let graph = stars(&storage);
    let idle = read_for_a_while(&graph);

    storage.sync_milliseconds.store(SYNC.as_millis() as u64, Ordering::Relaxed);
    let syncs_before = graph.stats().sync_count;
    let (is_over, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    let until_over = |work: &dyn Fn(usize)| {
        for number in 0.. {
            if is_over.load(Ordering::Relaxed) {
                return;
            }
            work(number);
            done.fetch_add(1, Ordering::Relaxed);
        }
    };
    let busy = std::thread::scope(|scope| {
        for writer in 0..4 {
            let (graph, until_over) = (&graph, &until_over);
            scope.spawn(move || {
                until_over(&|number| {
                    let result = graph.follow(&format!("fan{number}"), &format!("writer{writer}"));
                    result.expect("it fits");
                });
            });
        }
        scope.spawn(|| {
            until_over(&|_| {
                graph.checkpoint().expect("the disk works");
            });
        });
        scope.spawn(|| {
            for star in 1..STAR_COUNT {
                graph.remove_account(&format!("star{star}")).expect("it goes");
            }
        });
        // Whatever happens to the reader, the others end.
        let busy = scope.spawn(|| read_for_a_while(&graph)).join();
        is_over.store(true, Ordering::Relaxed);
        busy.expect("nothing was read that is wrong")
    });
    let sync_count = graph.stats().sync_count - syncs_before;
    assert!(sync_count >= 2, "the disk was waited for {sync_count} times");
    storage.sync_milliseconds.store(0, Ordering::Relaxed);
    assert!(done.load(Ordering::Relaxed) > 4, "the writers hardly got to work");
    let at = |took: &[Duration], per_mille: usize| took[took.len() * per_mille / 1000 - 1];
    println!(
        "p50, p99.9 and the longest of {READ_COUNT} reads: alone {:?}, {:?}, {:?}; beside \
         writers, a checkpoint and removals with syncs of {SYNC:?} {:?}, {:?}, {:?}",
        at(&idle, 500),
        at(&idle, 999),
        at(&idle, 1000),
        at(&busy, 500),
        at(&busy, 999),
        at(&busy, 1000),
    );
    // Far above what it takes on a machine with nothing else to do, far below a sync.
    assert!(at(&busy, 999) < Duration::from_millis(5), "p99.9 is {:?}", at(&busy, 999));
    assert!(at(&busy, 1000) < SYNC / 2, "a read took {:?}", at(&busy, 1000));
    graph.verify().expect("all is well");
}
