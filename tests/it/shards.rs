//! Sharded graphs: foreign accounts, digests, parts of graphs taken out and put together.

use crate::support::assert_same_lists;
use followgraph::testing::Model;
use followgraph::{
    Durability, ErrorKind, FollowGraph, Mutation, Options, ShardDigest, ShardSet, VirtualShard,
};
use std::path::Path;

const NAMES: u32 = 60;

fn name(number: u32) -> String {
    format!("user-{number}")
}

fn options(hosted: &ShardSet) -> Options {
    Options::new().durability(Durability::Never).hosted_shards(hosted.clone())
}

/// A third of all shards.
fn third(number: u16) -> ShardSet {
    ShardSet::range(number * 1366..=number * 1366 + 1365)
}

/// A source of changes that all nodes of a cluster would see.
struct Source {
    random: fastrand::Rng,
    position: u64,
}

impl Source {
    fn new(seed: u64) -> Source {
        Source { random: fastrand::Rng::with_seed(seed), position: 0 }
    }

    /// The next changes, given to every graph and the model.
    fn feed(&mut self, count: usize, model: &mut Model, graphs: &[&FollowGraph]) {
        for _ in 0..count {
            self.position += 1;
            let (one, other) = (name(self.random.u32(..NAMES)), name(self.random.u32(..NAMES)));
            let at = self.random.u32(1..50);
            let mutation = match self.random.u32(..20) {
                0 | 1 => {
                    let _ = model.add_account(&one);
                    Mutation::add_account(&one)
                }
                2..=6 => {
                    let _ = model.unfollow(&one, &other);
                    Mutation::unfollow(&one, &other)
                }
                _ => {
                    let _ = model.follow(&one, &other, at);
                    Mutation::follow(&one, &other).at(at)
                }
            };
            for graph in graphs {
                graph.apply_from_source(self.position, &[mutation]).unwrap();
            }
        }
    }
}

/// What a graph hosts equals the model.
fn assert_hosted_equals(graph: &FollowGraph, model: &Model) {
    let hosted = graph.hosted_shards().unwrap();
    for (id, name) in model.accounts() {
        assert_eq!(graph.account_id(&name).unwrap().0, id, "ids are the same everywhere");
        if hosted.contains(VirtualShard::of(&name)) {
            assert_same_lists(graph, model, &name);
        } else {
            assert_eq!(graph.counts(&name).unwrap_err().kind(), ErrorKind::ForeignAccount);
        }
    }
    assert_eq!(graph.stats().account_count, model.accounts().len() as u64);
}

fn sums(graphs: &[&FollowGraph]) -> (u64, u64) {
    let digests = graphs.iter().flat_map(|graph| graph.shard_digests());
    digests.fold((0, 0), |(following, followers), (_, digest): (_, ShardDigest)| {
        (following.wrapping_add(digest.following), followers.wrapping_add(digest.followers))
    })
}

#[test]
fn three_parts_of_a_graph_equal_the_whole_one() {
    let parts: Vec<FollowGraph> =
        (0..3).map(|number| options(&third(number)).in_memory().unwrap()).collect();
    let whole = options(&ShardSet::all()).in_memory().unwrap();
    let (mut model, mut source) = (Model::default(), Source::new(1));
    let all: Vec<&FollowGraph> = parts.iter().chain([&whole]).collect();
    for round in 0..10 {
        source.feed(200, &mut model, &all);
        for graph in &all {
            assert_hosted_equals(graph, &model);
        }
        let digests: Vec<_> = parts.iter().flat_map(FollowGraph::shard_digests).collect();
        assert_eq!(digests, whole.shard_digests());
        let (following, followers) = sums(&[&whole]);
        assert_eq!(following, followers);
        if round % 3 == 1 {
            for graph in &all {
                graph.checkpoint().unwrap();
                graph.verify().unwrap();
            }
        }
    }
}

#[test]
fn digests_survive_checkpoint_reopening_and_replay() {
    let directory = tempfile::tempdir().unwrap();
    let (mut model, mut source) = (Model::default(), Source::new(2));
    let hosted = third(1);
    let mut expected = Vec::new();
    for round in 0..6 {
        let graph = if round % 2 == 0 {
            options(&hosted).open(directory.path()).unwrap()
        } else {
            FollowGraph::open(directory.path()).unwrap()
        };
        assert_eq!(graph.hosted_shards(), Some(hosted.clone()));
        if round > 0 {
            assert_eq!(graph.shard_digests(), expected);
        }
        source.feed(300, &mut model, &[&graph]);
        if round == 2 {
            graph.checkpoint().unwrap();
        }
        assert_hosted_equals(&graph, &model);
        graph.verify().unwrap();
        expected = graph.shard_digests();
    }
    let others = Options::new().hosted_shards(ShardSet::all()).open(directory.path());
    assert_eq!(others.err().unwrap().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn a_change_that_only_one_node_made_shows_in_its_digest() {
    let graphs = [0, 1].map(|_| options(&ShardSet::all()).in_memory().unwrap());
    let (mut model, mut source) = (Model::default(), Source::new(3));
    source.feed(500, &mut model, &[&graphs[0], &graphs[1]]);
    assert_eq!(graphs[0].shard_digests(), graphs[1].shard_digests());
    let (from, to, _) = model.edges()[0].clone();
    graphs[1].unfollow(&from, &to).unwrap();
    let differing = graphs[0].shard_digests().into_iter().zip(graphs[1].shard_digests());
    let differing: ShardSet =
        differing.filter(|(one, other)| one != other).map(|((shard, _), _)| shard).collect();
    assert_eq!(differing, [from, to].iter().map(|name| VirtualShard::of(name)).collect());
}

#[test]
fn shards_are_taken_out_and_joined() {
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str| directory.path().join(name);
    let (mut model, mut source) = (Model::default(), Source::new(4));
    let one = options(&third(0)).open(place("one")).unwrap();
    let two = options(&third(1).union(&third(2))).in_memory().unwrap();
    source.feed(600, &mut model, &[&one, &two]);
    one.checkpoint().unwrap();
    source.feed(300, &mut model, &[&one, &two]);

    // A node takes over a part of what the other hosts.
    let moved = ShardSet::range(2000..=3000);
    FollowGraph::compose(place("moved"), &[&two], &moved, || {}).unwrap();
    let part = FollowGraph::open(place("moved")).unwrap();
    assert_eq!(part.hosted_shards(), Some(moved.clone()));
    assert_eq!(part.source_position(), two.source_position());
    assert_hosted_equals(&part, &model);
    source.feed(300, &mut model, &[&one, &two, &part]);
    assert_hosted_equals(&part, &model);

    let joined = third(0).union(&moved);
    FollowGraph::compose(place("joined"), &[&one, &part], &joined, || {}).unwrap();
    let graph = FollowGraph::open(place("joined")).unwrap();
    assert_hosted_equals(&graph, &model);
    source.feed(300, &mut model, &[&one, &two, &graph]);
    assert_hosted_equals(&graph, &model);
    graph.checkpoint().unwrap();
    graph.verify().unwrap();
    let of = |graph: &FollowGraph, shard| {
        graph.shard_digests().into_iter().find(|(other, _)| *other == shard).unwrap()
    };
    for shard in moved.iter() {
        assert_eq!(of(&graph, shard), of(&two, shard));
    }
}

#[test]
fn a_composition_refuses_what_does_not_fit() {
    let directory = tempfile::tempdir().unwrap();
    let (mut model, mut source) = (Model::default(), Source::new(5));
    let one = options(&third(0)).in_memory().unwrap();
    let two = options(&third(1)).in_memory().unwrap();
    source.feed(100, &mut model, &[&one, &two]);
    let refused = |graphs: &[&FollowGraph], hosted: &ShardSet| {
        let error = FollowGraph::compose(directory.path(), graphs, hosted, || {}).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    };
    refused(&[&one, &two], &ShardSet::all());
    refused(&[], &third(0));
    refused(&[&FollowGraph::in_memory()], &ShardSet::none());
    source.feed(1, &mut model, &[&two]);
    refused(&[&one, &two], &third(0));
    FollowGraph::compose(directory.path(), &[&one], &third(0), || {}).unwrap();
    refused(&[&one], &third(0));
    assert!(Path::new(directory.path()).join("lock").exists());
}

#[test]
fn a_sharded_graph_takes_no_bulk_load() {
    let graph = options(&third(0)).in_memory().unwrap();
    let error = graph.bulk_load(1 << 26).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(graph.add_account("alice").unwrap());
}
