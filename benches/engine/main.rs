//! Everything the engine does, measured by criterion: some of it beside the least and the first
//! program that could do the same.
//!
//! `cargo bench --features testing --bench engine -- counts` measures what has `counts` in its
//! name; `-- --test` does everything once and checks the answers. `FOLLOWGRAPH_BENCH_EDGES` names
//! the edge list to run on; the default is the small graph of the project, which fits a processor
//! cache and says little. What must be reached, and whether it is, the bench `bars` says.

mod care;
mod counts;
mod lists;
mod removal;
#[path = "../support/mod.rs"]
mod support;
mod writes;

use criterion::Criterion;
use followgraph::{Counts, FollowGraph};
use std::path::{Path, PathBuf};
use std::time::Duration;
use support::edges::Edges;
use support::floor::Floor;
use support::naive::Naive;
use support::{all_counts, open};
use tempfile::TempDir;

/// Names an edge list to run on instead of the small one: text, text in gzip (`.gz`), or
/// little-endian `u32` pairs (`.u32`).
const EDGES_VARIABLE: &str = "FOLLOWGRAPH_BENCH_EDGES";

/// Whether this run is a test that everything works, not a measurement. Criterion draws the line
/// in the same place.
fn is_test() -> bool {
    let has = |wanted: &str| std::env::args().any(|argument| argument == wanted);
    has("--test") || !has("--bench")
}

/// One graph in each of its forms.
struct World {
    edges: Edges,
    counts: Vec<Counts>,
    floor: Floor,
    naive: Naive,
    graph: FollowGraph,
    root: TempDir,
}

impl World {
    fn load() -> World {
        let path = std::env::var_os(EDGES_VARIABLE).map_or_else(Edges::small, PathBuf::from);
        let edges = Edges::load(&path);
        let root = tempfile::tempdir().expect("a temporary directory");
        let loaded = root.path().join("loaded");
        edges.build(&loaded, |_| None);
        copy_graph(&loaded, &root.path().join("read"));
        let graph = open(&root.path().join("read"));
        let counts = all_counts(&graph, &edges.names);
        let (floor, naive) = (Floor::new(&edges.names, &counts), Naive::new(&edges));
        World { edges, counts, floor, naive, graph, root }
    }

    fn directory(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// The loaded graph in a directory of its own, which the caller may change.
    fn copy(&self, name: &str) -> PathBuf {
        let directory = self.directory(name);
        copy_graph(&self.directory("loaded"), &directory);
        directory
    }

    fn name(&self, position: usize) -> &str {
        &self.edges.names[position]
    }

    /// Positions of accounts, those with the largest of a count first.
    fn by_count(&self, count: impl Fn(&Counts) -> u32) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.counts.len()).collect();
        order.sort_by_key(|&position| std::cmp::Reverse(count(&self.counts[position])));
        order
    }
}

/// Copies the directory of a graph, which may be open: then the copy is what a crash would leave.
/// An image never changes, so that it need not be copied.
fn copy_graph(from: &Path, to: &Path) {
    std::fs::create_dir(to).expect("the directory is new");
    for entry in std::fs::read_dir(from).expect("the directory is there") {
        let path = entry.expect("the directory can be read").path();
        let copy = to.join(path.file_name().expect("it is inside the directory"));
        if path.extension().is_some_and(|extension| extension == "fgi") {
            std::fs::hard_link(&path, &copy).expect("it is the same file system");
        } else {
            std::fs::copy(&path, &copy).expect("there is room");
        }
    }
}

fn main() {
    if is_test() {
        println!("a test run: everything is done once, and the figures mean nothing");
    }
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let world = World::load();
    counts::bench(&mut criterion, &world);
    lists::bench(&mut criterion, &world);
    writes::bench(&mut criterion, &world);
    care::bench(&mut criterion, &world);
    removal::bench(&world);
    criterion.final_summary();
}
