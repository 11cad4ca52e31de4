//! What the benches share: graphs to run on, the programs the engine is compared with, names to
//! ask about, and taking turns.

pub(crate) mod ask;
pub(crate) mod draw;
pub(crate) mod edges;
pub(crate) mod floor;
pub(crate) mod measure;
pub(crate) mod naive;
pub(crate) mod processor;
pub(crate) mod writer;

use followgraph::{Counts, Durability, FollowGraph, Options};
use std::path::Path;

/// Memory a bulk load is given.
pub(crate) const LOAD_MEMORY_BYTES: u64 = 1 << 30;

/// Options with which nothing but the work that is asked for is done: no checkpoints on their own.
pub(crate) fn options(durability: Durability) -> Options {
    Options::new().durability(durability).checkpoint_log_bytes(None)
}

/// Opens a graph that waits for no disk.
pub(crate) fn open(directory: &Path) -> FollowGraph {
    options(Durability::Never).open(directory).expect("the graph opens")
}

/// The counts of all accounts in the order of `names`.
pub(crate) fn all_counts(graph: &FollowGraph, names: &[String]) -> Vec<Counts> {
    let mut counts = Vec::with_capacity(names.len());
    for names in names.chunks(1000) {
        let results = graph.batch_counts(names);
        counts.extend(results.into_iter().map(|result| result.expect("the account was loaded")));
    }
    counts
}
