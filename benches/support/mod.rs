//! What the benches share: the graph they run on, and random numbers that are the same every run.

use flate2::read::MultiGzDecoder;
use followgraph::{Durability, FollowGraph, Options};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// Names an edge list to run on instead of the small one: text, text in gzip (`.gz`), or
/// little-endian `u32` pairs (`.u32`).
const EDGES_VARIABLE: &str = "FOLLOWGRAPH_BENCH_EDGES";
/// Memory a bulk load is given.
const LOAD_MEMORY_BYTES: u64 = 1 << 30;
/// No account of an edge list in pairs of numbers has a number above this.
const NODE_MAX: usize = 1 << 28;

/// Whether this run is a test that everything works, not a measurement. Criterion draws the line
/// in the same place.
pub(crate) fn is_test() -> bool {
    let has = |wanted: &str| std::env::args().any(|argument| argument == wanted);
    has("--test") || !has("--bench")
}

/// An edge list: names in order of appearance, and follows between their positions.
#[derive(Default)]
pub(crate) struct Edges {
    pub(crate) names: Vec<String>,
    pub(crate) follows: Vec<(u32, u32)>,
}

impl Edges {
    /// Reads the edge list that the environment names, or the small one of the project.
    pub(crate) fn load() -> Edges {
        let path = std::env::var_os(EDGES_VARIABLE).map_or_else(small_graph, PathBuf::from);
        let edges =
            Edges::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (account_count, follow_count) = (edges.names.len(), edges.follows.len());
        assert!(account_count > 1, "{}: a bench needs two accounts", path.display());
        println!("{}: {account_count} accounts, {follow_count} follows", path.display());
        edges
    }

    fn read(path: &Path) -> std::io::Result<Edges> {
        let file = File::open(path)?;
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("u32") => Edges::read_pairs(BufReader::with_capacity(1 << 20, file)),
            Some("gz") => Edges::read_text(BufReader::new(MultiGzDecoder::new(file))),
            _ => Edges::read_text(BufReader::new(file)),
        }
    }

    fn read_text(mut reader: impl BufRead) -> std::io::Result<Edges> {
        let mut edges = Edges::default();
        let mut positions = HashMap::new();
        let mut line = String::new();
        while reader.read_line(&mut line)? > 0 {
            let mut words = line.split_whitespace();
            if let (false, Some(from), Some(to)) =
                (line.starts_with('#'), words.next(), words.next())
            {
                let from = edges.position(&mut positions, from);
                let to = edges.position(&mut positions, to);
                edges.push(from, to);
            }
            line.clear();
        }
        Ok(edges)
    }

    fn position(&mut self, positions: &mut HashMap<String, u32>, name: &str) -> u32 {
        if let Some(position) = positions.get(name) {
            return *position;
        }
        let position = self.names.len() as u32;
        positions.insert(name.to_owned(), position);
        self.names.push(name.to_owned());
        position
    }

    fn read_pairs(mut reader: impl Read) -> std::io::Result<Edges> {
        let mut edges = Edges::default();
        let mut positions: Vec<u32> = Vec::new();
        let mut pair = [0u8; 8];
        loop {
            match reader.read_exact(&mut pair) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                    return Ok(edges);
                }
                Err(error) => return Err(error),
            }
            let ends = [[pair[0], pair[1], pair[2], pair[3]], [pair[4], pair[5], pair[6], pair[7]]];
            let [from, to] =
                ends.map(|node| edges.node_position(&mut positions, u32::from_le_bytes(node)));
            edges.push(from, to);
        }
    }

    fn node_position(&mut self, positions: &mut Vec<u32>, node: u32) -> u32 {
        let slot = node as usize;
        assert!(slot <= NODE_MAX, "node {node} is above {NODE_MAX}");
        if slot >= positions.len() {
            positions.resize(slot + 1, u32::MAX);
        }
        if positions[slot] == u32::MAX {
            positions[slot] = self.names.len() as u32;
            self.names.push(node.to_string());
        }
        positions[slot]
    }

    fn push(&mut self, from: u32, to: u32) {
        if from != to {
            self.follows.push((from, to));
        }
    }

    /// Loads the edge list into an empty directory and leaves an image there and no log behind it.
    pub(crate) fn build(&self, directory: &Path) {
        let graph = open(directory);
        let mut load = graph.bulk_load(LOAD_MEMORY_BYTES).expect("the directory is empty");
        for &(from, to) in &self.follows {
            load.add(&self.names[from as usize], &self.names[to as usize], None)
                .expect("an edge list has good names");
        }
        load.finish(&mut |_, _| {}).expect("there is room for the graph");
    }
}

fn small_graph() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/small.edges")
}

/// Opens a graph so that nothing but the work that is asked for is done: no syncs, no checkpoints.
pub(crate) fn open(directory: &Path) -> FollowGraph {
    Options::new()
        .durability(Durability::Never)
        .checkpoint_log_bytes(None)
        .open(directory)
        .expect("the graph opens")
}

/// Random numbers from a fixed seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let wide = u128::from(mixed ^ (mixed >> 31)) * bound as u128;
        (wide >> 64) as usize
    }

    /// Two different positions below `bound`, which is at least 2.
    pub(crate) fn pair_below(&mut self, bound: usize) -> (usize, usize) {
        let from = self.below(bound);
        (from, (from + 1 + self.below(bound - 1)) % bound)
    }
}
