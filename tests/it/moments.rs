//! One moment in every answer: readers hold each batch to sums that every commit keeps, while
//! writers, checkpoints and reopenings of the graph go on with real threads and files.

use crate::support::{Random, long_form};
use followgraph::{Durability, FollowGraph, Mutation, Options, Page};
use std::path::Path;
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Each fan follows one star of each of these groups at every moment, and is followed back by it.
const GROUPS: [[&str; 3]; 2] = [["a0", "a1", "a2"], ["b0", "b1", "b2"]];
const FAN_COUNT: usize = 12;
const WRITER_COUNT: usize = 2;

fn open(dir: &Path) -> FollowGraph {
    Options::new()
        .durability(Durability::Interval(Duration::from_millis(3)))
        .segment_bytes(64 << 10)
        .checkpoint_log_bytes(Some(96 << 10))
        .create_missing_accounts(true)
        .open(dir)
        .unwrap()
}

fn fan(number: usize) -> String {
    format!("fan{number}")
}

/// The graph, taken away for a moment by whoever reopens it.
struct Place {
    graph: RwLock<Option<FollowGraph>>,
    is_over: AtomicBool,
    answer_count: AtomicU64,
}

impl Place {
    fn with<R>(&self, use_graph: impl FnOnce(&FollowGraph) -> R) -> R {
        use_graph(self.graph.read().unwrap().as_ref().expect("it is open while it can be had"))
    }

    fn goes_on(&self) -> bool {
        !self.is_over.load(Ordering::SeqCst)
    }

    /// Ends everybody's work when the one who holds it panics, so that the test ends.
    fn watch(&self) -> impl Drop + '_ {
        struct Watch<'a>(&'a Place);
        impl Drop for Watch<'_> {
            fn drop(&mut self) {
                if std::thread::panicking() {
                    self.0.is_over.store(true, Ordering::SeqCst);
                }
            }
        }
        Watch(self)
    }
}

/// One commit moves a fan from a star to another of its group, and their follows back with it.
fn write(place: &Place, writer: usize) {
    let _watch = place.watch();
    let mut random = Random::seeded(writer as u64);
    let own: Vec<usize> = (writer..FAN_COUNT).step_by(WRITER_COUNT).collect();
    let mut stars = [[0; GROUPS.len()]; FAN_COUNT];
    while place.goes_on() {
        let number = own[random.below(own.len())];
        let group = random.below(GROUPS.len());
        let (from, to) = (stars[number][group], random.below(3));
        if from == to {
            continue;
        }
        let (name, before, after) = (fan(number), GROUPS[group][from], GROUPS[group][to]);
        let moved = [
            Mutation::follow(&name, after),
            Mutation::unfollow(&name, before),
            Mutation::unfollow(before, &name),
            Mutation::follow(after, &name),
        ];
        place.with(|graph| graph.apply(&moved).unwrap());
        stars[number][group] = to;
    }
}

/// Every answer is of one moment, whatever graph is in place.
fn read(place: &Place, seed: u64) {
    let _watch = place.watch();
    let mut random = Random::seeded(seed);
    let fans: Vec<String> = (0..FAN_COUNT).map(fan).collect();
    let names: Vec<&str> =
        GROUPS.iter().flatten().copied().chain(fans.iter().map(String::as_str)).collect();
    while place.goes_on() {
        place.with(|graph| {
            check_counts(graph, &names);
            check_relations(graph, &fans[random.below(fans.len())]);
            check_lists(graph, &fans[random.below(fans.len())]);
        });
        place.answer_count.fetch_add(1, Ordering::SeqCst);
    }
}

fn check_counts(graph: &FollowGraph, names: &[&str]) {
    let counted: Vec<_> = graph.batch_counts(names).into_iter().map(Result::unwrap).collect();
    for counts in &counted {
        assert!(counts.mutual <= counts.followers.min(counts.following), "{counts:?}");
    }
    for stars in counted[..6].chunks(3) {
        let sum = |of: fn(&followgraph::Counts) -> u32| stars.iter().map(of).sum::<u32>();
        let sums =
            [sum(|star| star.followers), sum(|star| star.following), sum(|star| star.mutual)];
        assert_eq!(sums, [FAN_COUNT as u32; 3], "a batch of counts is not of one moment");
    }
    for fan in &counted[6..] {
        let counts = [fan.followers, fan.following, fan.mutual];
        assert_eq!(counts, [GROUPS.len() as u32; 3], "a batch of counts is not of one moment");
    }
}

fn check_relations(graph: &FollowGraph, fan: &str) {
    for group in GROUPS {
        let relations = graph.batch_relations(fan, &group).unwrap();
        let relations = relations.into_iter().map(Result::unwrap);
        let mutual = relations.filter(|relation| relation.is_mutual()).count();
        assert_eq!(mutual, 1, "a batch of relations is not of one moment");
        let known = graph.known_followers(group[0], &[fan]).unwrap();
        assert!(known[0].as_ref().unwrap().count <= 2, "a fan has two followers");
    }
}

fn check_lists(graph: &FollowGraph, fan: &str) {
    for list in [
        graph.following(fan, Page::first(100)),
        graph.followers(fan, Page::first(100)),
        graph.mutuals(fan, Page::first(100)),
    ] {
        let listed = list.unwrap().entries;
        let mut groups: Vec<u8> = listed.iter().map(|entry| entry.account.as_bytes()[0]).collect();
        groups.sort_unstable();
        assert_eq!(groups, b"ab", "a list is not of one moment");
    }
}

#[test]
fn every_answer_is_of_one_moment_beside_writers_checkpoints_and_reopenings() {
    let dir = tempfile::tempdir().unwrap();
    let graph = open(dir.path());
    for number in 0..FAN_COUNT {
        for [star, ..] in GROUPS {
            let name = fan(number);
            let both = [Mutation::follow(&name, star), Mutation::follow(star, &name)];
            graph.apply(&both).unwrap();
        }
    }
    for star in GROUPS.iter().flatten() {
        graph.add_account(star).unwrap();
    }
    let place = Place {
        graph: RwLock::new(Some(graph)),
        is_over: AtomicBool::new(false),
        answer_count: AtomicU64::new(0),
    };
    let length = Duration::from_secs(if long_form() { 120 } else { 5 });
    let (started, mut reopened, mut checkpoints) = (Instant::now(), 0, 0);
    std::thread::scope(|scope| {
        let place = &place;
        let _watch = place.watch();
        for number in 0..2 {
            scope.spawn(move || read(place, number));
        }
        for writer in 0..WRITER_COUNT {
            scope.spawn(move || write(place, writer));
        }
        while (started.elapsed() < length || reopened < 2) && place.goes_on() {
            place.with(|graph| graph.checkpoint().unwrap());
            checkpoints += 1;
            if checkpoints % 2 == 0 {
                place.with(|graph| graph.verify().unwrap());
                let mut graph = place.graph.write().unwrap();
                *graph = None;
                *graph = Some(open(dir.path()));
                reopened += 1;
            }
            std::thread::sleep(Duration::from_millis(15));
        }
        place.is_over.store(true, Ordering::SeqCst);
    });
    let answers = place.answer_count.load(Ordering::SeqCst);
    println!("{answers} rounds of answers, {checkpoints} checkpoints, {reopened} reopenings");
    assert!(answers > 50, "only {answers} rounds of answers");
    place.with(|graph| graph.verify().unwrap());
}
