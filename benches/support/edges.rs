//! Edge lists: read from a file, loaded into a directory.

use super::draw::Drawn;
use super::measure::timed;
use super::{LOAD_MEMORY_BYTES, open};
use flate2::read::MultiGzDecoder;
use followgraph::BulkReport;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

/// No account of an edge list in pairs of numbers has a number above this.
const NODE_MAX: usize = 1 << 28;
/// How many follows are laid out in a row at a time.
const PIECE_FOLLOWS: usize = 1 << 15;

/// An edge list: names in order of appearance, and follows between their positions. Nobody follows
/// themself in it. It is expected to name no follow twice.
#[derive(Default)]
pub(crate) struct Edges {
    pub(crate) names: Vec<String>,
    pub(crate) follows: Vec<(u32, u32)>,
}

impl Edges {
    /// The small graph of the project: what tests run on.
    pub(crate) fn small() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("data/small.edges")
    }

    /// Reads text, text in gzip (`.gz`), or little-endian `u32` pairs (`.u32`).
    pub(crate) fn load(path: &Path) -> Edges {
        let edges = Edges::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (account_count, follow_count) = (edges.names.len(), edges.follows.len());
        assert!(account_count > 1, "{}: a bench needs two accounts", path.display());
        eprintln!("{}: {account_count} accounts, {follow_count} follows", path.display());
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
                && from != to
            {
                let ends = [from, to].map(|name| edges.position(&mut positions, name));
                edges.follows.push(ends.into());
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
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(edges),
                Err(error) => return Err(error),
            }
            let ends = [[pair[0], pair[1], pair[2], pair[3]], [pair[4], pair[5], pair[6], pair[7]]];
            let [from, to] = ends.map(u32::from_le_bytes);
            if from != to {
                let ends = [from, to].map(|node| edges.node_position(&mut positions, node));
                edges.follows.push(ends.into());
            }
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

    /// The two names of a follow.
    pub(crate) fn named(&self, (from, to): (u32, u32)) -> (&str, &str) {
        (&self.names[from as usize], &self.names[to as usize])
    }

    /// Loads the edge list into an empty directory and leaves an image there and no log behind it.
    /// `at` gives the time of the follow at each place. Says how many seconds the engine took: the
    /// names are laid out in a row for it first, as those of a file would be, because finding them
    /// here and there in memory is not its work.
    pub(crate) fn build(
        &self,
        directory: &Path,
        at: impl Fn(usize) -> Option<u32>,
    ) -> (f64, BulkReport) {
        let graph = open(directory);
        let mut load = graph.bulk_load(LOAD_MEMORY_BYTES).expect("the directory is empty");
        let mut spent = 0.0;
        for (piece, follows) in self.follows.chunks(PIECE_FOLLOWS).enumerate() {
            let mut row = Drawn::default();
            for &follow in follows {
                let (from, to) = self.named(follow);
                row.push(from);
                row.push(to);
            }
            let names = row.names();
            let add = || {
                for (place, pair) in names.chunks_exact(2).enumerate() {
                    let at = at(piece * PIECE_FOLLOWS + place);
                    load.add(pair[0], pair[1], at).expect("an edge list has good names");
                }
            };
            spent += timed(add).0;
        }
        let finish = || load.finish(&mut |_, _| {}).expect("there is room for the graph");
        let (seconds, report) = timed(finish);
        assert_eq!(report.follow_count, self.follows.len() as u64, "no follow is named twice");
        (spent + seconds, report)
    }
}
