//! Who follows whom: relations, pages of lists, known followers.

use crate::support::draw::{Dealer, Drawn};
use crate::{World, is_test};
use criterion::{Criterion, Throughput};
use fastrand::Rng;
use followgraph::{Counts, Cursor, Entry, FollowGraph, List, Page, Result};

const PAGE_ENTRIES: usize = 100;
const BATCH: usize = 100;
/// How many names and pairs are drawn: enough that they do not stay in a cache.
const DRAWN: usize = 1 << 18;
const DRAWN_TEST: usize = 1 << 10;
/// Lists that are paged through to the end and compared before anything is timed.
const CHECKED_LISTS: usize = 20;
/// The most accounts that somebody who is looked at as a viewer follows.
const VIEWER_FOLLOWING_MAX: u32 = 500;

/// One of the three lists of an account.
struct Kind {
    name: &'static str,
    list: fn(&FollowGraph, &str, Page) -> Result<List>,
    count: fn(&Counts) -> u32,
}

const KINDS: [Kind; 3] = [
    Kind { name: "followers", list: FollowGraph::followers, count: |counts| counts.followers },
    Kind { name: "following", list: FollowGraph::following, count: |counts| counts.following },
    Kind { name: "mutual", list: FollowGraph::mutuals, count: |counts| counts.mutual },
];

impl Kind {
    fn page(&self, graph: &FollowGraph, name: &str, after: Option<Cursor>) -> List {
        let page = after.map_or(Page::first(PAGE_ENTRIES), |at| Page::after(at, PAGE_ENTRIES));
        (self.list)(graph, name, page).expect("the account was loaded")
    }

    fn belongs(&self, world: &World, name: &str, other: &str) -> bool {
        let (forward, backward) =
            (world.naive.follows(name, other), world.naive.follows(other, name));
        match self.name {
            "followers" => backward,
            "following" => forward,
            _ => forward && backward,
        }
    }

    /// The pages of a list hold who the obvious program says, each once.
    fn check(&self, world: &World, name: &str, count: u32) {
        let (mut entries, mut cursor): (Vec<Entry>, Option<Cursor>) = (Vec::new(), None);
        loop {
            let list = self.page(&world.graph, name, cursor);
            entries.extend(list.entries);
            cursor = list.next;
            if cursor.is_none() {
                break;
            }
        }
        assert!(entries.iter().all(|entry| self.belongs(world, name, &entry.account)));
        let mut ids: Vec<u32> = entries.iter().map(|entry| entry.account_id.0).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count as usize, "{} of {name}", self.name);
    }
}

pub(crate) fn bench(criterion: &mut Criterion, world: &World) {
    let count = if is_test() { DRAWN_TEST } else { DRAWN };
    let drawn = Drawn::evenly(&world.edges, count);
    let names = drawn.names();
    relations(criterion, world, &names);
    for kind in &KINDS {
        pages(criterion, world, kind);
    }
    known_followers(criterion, world, &names);
}

/// Half of the pairs follow, the other half were drawn at random.
fn relations(criterion: &mut Criterion, world: &World, names: &[&str]) {
    let mut random = Rng::with_seed(9);
    let follows = &world.edges.follows;
    let pair = |place| match place % 2 {
        0 => world.edges.named(follows[random.usize(..follows.len())]),
        _ => (names[place], names[names.len() - 1 - place]),
    };
    let pairs: Vec<(&str, &str)> = (0..names.len()).map(pair).collect();
    for &(from, to) in pairs.iter().take(1000).filter(|(from, to)| from != to) {
        let relation = world.graph.relation(from, to).expect("both were loaded");
        assert_eq!(relation.following, world.naive.follows(from, to));
        assert_eq!(relation.followed_by, world.naive.follows(to, from));
        let batch = world.graph.batch_relations(from, &[to]).expect("it was loaded");
        assert_eq!(batch[0].as_ref().ok(), Some(&relation));
    }
    let mut group = criterion.benchmark_group("relations");
    group.throughput(Throughput::Elements(1));
    group.bench_function("single", |bencher| {
        let mut pairs = Dealer::new(&pairs);
        bencher.iter(|| {
            let (from, to) = pairs.batch(1)[0];
            world.graph.relation(from, to).expect("both were loaded")
        });
    });
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("batch of 100", |bencher| {
        let (mut pairs, mut others) = (Dealer::new(&pairs), Dealer::new(names));
        bencher.iter(|| {
            let (name, _) = pairs.batch(1)[0];
            world.graph.batch_relations(name, others.batch(BATCH)).expect("it was loaded")
        });
    });
    group.finish();
}

/// First pages of accounts that have a full one, and the pages of the longest list one by one.
fn pages(criterion: &mut Criterion, world: &World, kind: &Kind) {
    let count = |position: usize| (kind.count)(&world.counts[position]);
    let mut order = world.by_count(kind.count);
    let full_count = order.partition_point(|&position| count(position) > PAGE_ENTRIES as u32);
    order.truncate(full_count.max(16));
    for &position in order.iter().take(CHECKED_LISTS) {
        kind.check(world, world.name(position), count(position));
    }
    let longest = world.name(order[0]);
    Rng::with_seed(10).shuffle(&mut order);
    let mut group = criterion.benchmark_group(format!("pages/{}", kind.name));
    group.throughput(Throughput::Elements(PAGE_ENTRIES as u64));
    group.bench_function("first", |bencher| {
        let mut accounts = Dealer::new(&order);
        bencher.iter(|| kind.page(&world.graph, world.name(accounts.batch(1)[0]), None));
    });
    group.bench_function("next", |bencher| {
        let mut cursor = None;
        bencher.iter(|| {
            let list = kind.page(&world.graph, longest, cursor);
            cursor = list.next;
            list
        });
    });
    group.finish();
}

fn known_followers(criterion: &mut Criterion, world: &World, names: &[&str]) {
    let order = world.by_count(|counts| counts.following);
    let ordinary = |position: &&usize| world.counts[**position].following <= VIEWER_FOLLOWING_MAX;
    let viewers: Vec<&str> =
        order.iter().filter(ordinary).take(64).map(|&position| world.name(position)).collect();
    let known = |viewer: &str, targets: &[&str]| {
        world.graph.known_followers(viewer, targets).expect("the viewer was loaded")
    };
    for viewer in viewers.iter().take(4) {
        let targets = &names[..BATCH];
        let counts: Vec<Option<u64>> = known(viewer, targets)
            .into_iter()
            .map(|known| known.ok().map(|known| u64::from(known.count)))
            .collect();
        assert_eq!(counts, world.naive.known_followers(viewer, targets));
    }
    let mut group = criterion.benchmark_group("known_followers");
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("engine", |bencher| {
        let (mut viewer, mut targets) = (Dealer::new(&viewers), Dealer::new(names));
        bencher.iter(|| known(viewer.batch(1)[0], targets.batch(BATCH)));
    });
    group.bench_function("naive", |bencher| {
        let (mut viewer, mut targets) = (Dealer::new(&viewers), Dealer::new(names));
        bencher.iter(|| world.naive.known_followers(viewer.batch(1)[0], targets.batch(BATCH)));
    });
    group.finish();
}
