//! Real graphs, loaded in bulk and follow by follow, against counts that another program made.

use crate::support::{Random, skipped};
use flate2::read::MultiGzDecoder;
use followgraph::{Counts, Durability, FollowGraph, Mutation, Options, Page};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

type Expected = BTreeMap<String, Counts>;

/// A graph as its files tell it: edges of names, and the counts of every account.
struct RealGraph {
    edges: Vec<(String, String)>,
    expected: Expected,
}

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of a file, unpacked if it is packed.
fn read(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut text = String::new();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        MultiGzDecoder::new(bytes.as_slice()).read_to_string(&mut text).unwrap();
        return text;
    }
    String::from_utf8(bytes).unwrap()
}

/// The words of every line that is not a comment.
fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    lines.map(|line| line.split_whitespace().collect())
}

impl RealGraph {
    fn read(edges: &Path, counts: &Path) -> RealGraph {
        let edges = read(edges);
        let edges = rows(&edges).map(|row| (row[0].to_owned(), row[1].to_owned())).collect();
        let counts = read(counts);
        let number = |word: &str| word.parse::<u32>().unwrap();
        let expected = rows(&counts)
            .map(|row| {
                let [followers, following, mutual] = [1, 2, 3].map(|column| number(row[column]));
                (row[0].to_owned(), Counts { followers, following, mutual })
            })
            .collect();
        RealGraph { edges, expected }
    }

    /// The graph of that name beside the project, or else the small one that ships with it.
    fn named(name: &str) -> RealGraph {
        let folder = project().join("../shared/data");
        let file = |extension: &str| folder.join(format!("{name}.{extension}"));
        if file("edges.gz").exists() {
            return RealGraph::read(&file("edges.gz"), &file("counts.tsv.gz"));
        }
        skipped(&format!("{} is not here: a small graph takes its place", folder.display()));
        RealGraph::small()
    }

    fn small() -> RealGraph {
        let folder = project().join("data");
        RealGraph::read(&folder.join("small.edges"), &folder.join("small.counts.tsv"))
    }
}

fn options() -> Options {
    Options::new()
        .durability(Durability::Never)
        .segment_bytes(1 << 20)
        .checkpoint_log_bytes(None)
        .create_missing_accounts(true)
}

/// Every account has the counts that the file says, there is no other account, `verify` is clean.
fn check_counts(graph: &FollowGraph, expected: &Expected) {
    let names: Vec<&String> = expected.keys().collect();
    for (name, counts) in names.iter().zip(graph.batch_counts(&names)) {
        assert_eq!(counts.unwrap(), expected[*name], "counts of {name}");
    }
    let follow_count: u64 = expected.values().map(|counts| u64::from(counts.followers)).sum();
    let stats = graph.stats();
    assert_eq!(stats.account_count, expected.len() as u64);
    assert_eq!(stats.follow_count, follow_count);
    assert_eq!(graph.verify().unwrap().follow_count, follow_count);
}

/// The lists of a few accounts are as long as their counts, and hold each other.
fn check_lists(graph: &FollowGraph, expected: &Expected) {
    let step = expected.len() / 50 + 1;
    for (name, counts) in expected.iter().step_by(step) {
        let all = Page::first(usize::MAX);
        let followers = graph.followers(name, all).unwrap().entries;
        let following = graph.following(name, all).unwrap().entries;
        let mutuals = graph.mutuals(name, all).unwrap().entries;
        assert_eq!(followers.len(), counts.followers as usize, "followers of {name}");
        assert_eq!(following.len(), counts.following as usize, "following of {name}");
        assert_eq!(mutuals.len(), counts.mutual as usize, "mutuals of {name}");
        let others: Vec<&str> = mutuals.iter().map(|entry| entry.account.as_str()).collect();
        for relation in graph.batch_relations(name, &others).unwrap() {
            assert!(relation.unwrap().is_mutual(), "a mutual of {name}");
        }
    }
}

fn check_bulk(real: &RealGraph, memory_bytes: u64) {
    let dir = tempfile::tempdir().unwrap();
    let graph = options().open(dir.path()).unwrap();
    let mut load = graph.bulk_load(memory_bytes).unwrap();
    for (from, to) in &real.edges {
        load.add(from, to, None).unwrap();
    }
    let mut last = (0, 0);
    let report = load
        .finish(&mut |done, total| {
            assert!(done <= total, "{done} of {total} done");
            last = (done, total);
        })
        .unwrap();
    assert_eq!(report.account_count, real.expected.len() as u64);
    assert_eq!(report.follow_count + report.duplicate_count, real.edges.len() as u64);
    assert_eq!(report.self_follow_count, 0);
    check_counts(&graph, &real.expected);
    check_lists(&graph, &real.expected);
    drop(graph);
    let graph = options().open(dir.path()).unwrap();
    check_counts(&graph, &real.expected);
    check_lists(&graph, &real.expected);
    let names = temporary_files(dir.path());
    assert!(names.is_empty(), "the load left {names:?}");
}

fn temporary_files(dir: &Path) -> Vec<PathBuf> {
    let paths = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "tmp")).collect()
}

/// Follow by follow, in random order, in batches, with checkpoints and reopening in between.
fn check_commits(real: &RealGraph, seed: u64) {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random::seeded(seed);
    let mut edges: Vec<&(String, String)> = real.edges.iter().collect();
    random.shuffle(&mut edges);
    let batches: Vec<_> = edges.chunks(500).collect();
    let pause = batches.len() / 4 + 1;
    let mut graph = options().open(dir.path()).unwrap();
    for (number, batch) in batches.iter().enumerate() {
        let mutations: Vec<Mutation<'_>> =
            batch.iter().map(|(from, to)| Mutation::follow(from, to)).collect();
        for result in graph.apply(&mutations).unwrap() {
            result.unwrap();
        }
        if number % pause == pause / 3 {
            graph.checkpoint().unwrap();
        }
        if number % pause == pause / 2 {
            drop(graph);
            graph = options().open(dir.path()).unwrap();
        }
    }
    check_counts(&graph, &real.expected);
    check_lists(&graph, &real.expected);
    drop(graph);
    let graph = options().open(dir.path()).unwrap();
    check_counts(&graph, &real.expected);
    graph.checkpoint().unwrap();
    check_counts(&graph, &real.expected);
    check_lists(&graph, &real.expected);
}

#[test]
fn ego_twitter_in_bulk_has_the_published_counts() {
    check_bulk(&RealGraph::named("ego-twitter"), 256 << 20);
}

#[test]
fn ego_twitter_in_bulk_with_little_memory_has_the_published_counts() {
    check_bulk(&RealGraph::named("ego-twitter"), 4 << 20);
}

#[test]
fn ego_twitter_follow_by_follow_has_the_published_counts() {
    check_commits(&RealGraph::named("ego-twitter"), 1);
}

#[test]
fn soc_epinions1_in_bulk_has_the_published_counts() {
    check_bulk(&RealGraph::named("soc-epinions1"), 256 << 20);
}

#[test]
fn soc_epinions1_follow_by_follow_has_the_published_counts() {
    check_commits(&RealGraph::named("soc-epinions1"), 2);
}

#[test]
fn the_small_graph_that_ships_has_the_counts_that_ship() {
    let small = RealGraph::small();
    check_bulk(&small, 1 << 20);
    check_commits(&small, 3);
}
