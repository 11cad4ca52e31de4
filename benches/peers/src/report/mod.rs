//! Renders the results: `peers.md`, `batch-latency.svg` and `README.md` of a folder of documents.

mod bars;
mod chart;
mod figures;
mod peers;

use crate::rows::{self, Absent, Bar, Degree, Growth, Machine, PeerRow, Row, SocialRow};
use anyhow::{Context, Result};
use std::path::PathBuf;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// What `run` has written.
    #[arg(long)]
    peers: PathBuf,
    /// What the bench `bars` has written.
    #[arg(long)]
    bars: PathBuf,
    /// The folder to write to.
    #[arg(long)]
    docs: PathBuf,
    /// The command that makes all of it.
    #[arg(long, default_value = "scripts/benchmarks")]
    command: String,
}

/// All rows, by kind. Of a peer on a graph that was run several times, the last one counts.
#[derive(Default)]
pub(crate) struct Results {
    machine: Option<Machine>,
    peers: Vec<PeerRow>,
    social: Vec<SocialRow>,
    absent: Vec<Absent>,
    bars: Vec<Bar>,
    growth: Vec<Growth>,
    degrees: Vec<Degree>,
}

pub(crate) fn write(options: &Options) -> Result<()> {
    let mut results = Results::default();
    for path in [&options.peers, &options.bars] {
        for row in rows::read(path)? {
            results.add(row);
        }
    }
    std::fs::create_dir_all(&options.docs)?;
    let file = |name: &str| options.docs.join(name);
    let heading = Heading { machine: results.machine.as_ref(), command: &options.command };
    std::fs::write(file("peers.md"), peers::render(&results, &heading))?;
    std::fs::write(file("README.md"), bars::render(&results, &heading))?;
    let svg = chart::render(&results.peers).context("the chart")?;
    std::fs::write(file("batch-latency.svg"), svg)?;
    Ok(())
}

impl Results {
    fn add(&mut self, row: Row) {
        match row {
            Row::Machine(machine) => self.machine = Some(machine),
            Row::Peer(row) => {
                self.forget(&row.graph, row.peer);
                self.peers.push(*row);
            }
            Row::Social(row) => {
                self.forget(crate::run::SOCIAL_GRAPH, row.peer);
                self.social.push(row);
            }
            Row::Absent(row) => {
                self.forget(&row.graph, row.peer);
                self.absent.push(row);
            }
            Row::Bar(row) => self.bars.push(row),
            Row::Growth(row) => self.growth.push(row),
            Row::Degree(row) => self.degrees.push(row),
        }
    }

    fn forget(&mut self, graph: &str, peer: crate::peers::PeerName) {
        self.peers.retain(|row| (row.graph.as_str(), row.peer) != (graph, peer));
        self.absent.retain(|row| (row.graph.as_str(), row.peer) != (graph, peer));
        if graph == crate::run::SOCIAL_GRAPH {
            self.social.retain(|row| row.peer != peer);
        }
    }

    /// The graphs of the peers, the smallest first, and then those without any.
    fn graphs(&self) -> Vec<&str> {
        let mut graphs: Vec<(usize, &str)> =
            self.peers.iter().map(|row| (row.follow_count, row.graph.as_str())).collect();
        graphs.sort_unstable();
        graphs.dedup();
        let mut graphs: Vec<&str> = graphs.into_iter().map(|(_, graph)| graph).collect();
        // A graph on which nobody got through is told all the same.
        for row in &self.absent {
            let graph = row.graph.as_str();
            if graph != crate::run::SOCIAL_GRAPH && !graphs.contains(&graph) {
                graphs.push(graph);
            }
        }
        graphs
    }

    fn peers_on<'a>(&'a self, graph: &'a str) -> Vec<&'a PeerRow> {
        let mut rows: Vec<&PeerRow> = self.peers.iter().filter(|row| row.graph == graph).collect();
        rows.sort_by_key(|row| row.peer);
        rows
    }
}

/// What stands at the top of a page about where its figures come from.
struct Heading<'a> {
    machine: Option<&'a Machine>,
    command: &'a str,
}

impl Heading<'_> {
    fn render(&self) -> String {
        let command = self.command;
        let Some(machine) = self.machine else {
            return format!("Written by `{command}`.\n");
        };
        let Machine { processor, core_count, memory_bytes, kernel, date } = machine;
        let memory = figures::bytes(*memory_bytes as f64);
        format!(
            "Written by `{command}` on {date}: {processor}, {core_count} cores, {memory} of \
             memory, Linux {kernel}.\n"
        )
    }
}

/// Other programs disturb a measurement when they keep more of a processor busy than this. What the
/// kernel does for the measured program is counted among them, so it cannot be nothing.
const OTHERS_MAX: f64 = 0.3;

/// What is to be said of a measurement that other programs disturbed.
fn disturbed(others_processors: f64) -> Option<String> {
    let others = figures::three_digits(others_processors);
    (others_processors > OTHERS_MAX)
        .then(|| format!("other programs kept {others} processors busy"))
}

/// A Markdown table. The first columns hold words and are aligned to the left, the others figures.
struct Table {
    text: String,
}

impl Table {
    fn new<S: AsRef<str>>(word_columns: usize, columns: &[S]) -> Table {
        let mut table = Table { text: String::new() };
        table.row(columns);
        table.text.push('|');
        table.text.push_str(&"---|".repeat(word_columns));
        table.text.push_str(&"---:|".repeat(columns.len() - word_columns));
        table.text.push('\n');
        table
    }

    fn row<S: AsRef<str>>(&mut self, cells: &[S]) {
        self.text.push('|');
        for cell in cells {
            let cell = cell.as_ref().replace('|', "\\|").replace('\n', " ");
            self.text.push(' ');
            self.text.push_str(&cell);
            self.text.push_str(" |");
        }
        self.text.push('\n');
    }
}
