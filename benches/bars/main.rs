//! The judge: measures what the project promises, and says which promises are kept.
//!
//! ```text
//! cargo bench --features testing,cli --bench bars -- --name ego-twitter --out FILE EDGES
//! cargo bench --features testing --bench bars -- --degrees --out FILE
//! ```
//!
//! `EDGES` is an edge list: text, text in gzip (`.gz`), or little-endian `u32` pairs (`.u32`).
//! Without one, it runs in seconds on the small graph of the project, as a test that it works; the
//! figures then mean nothing. Ratios are of programs that took turns in the same run. With `cli`,
//! the command line tool is measured too. Graphs are made in the directory for temporary files.

mod beside;
mod degrees;
mod follow_floor;
mod load;
mod machine;
mod reads;
mod report;
#[expect(dead_code, reason = "the other bench asks more of it")]
#[path = "../support/mod.rs"]
mod support;
mod writes;

use clap::Parser;
use followgraph::{Counts, FollowGraph};
use machine::Machine;
use report::Report;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use support::ask;
use support::draw::Drawn;
use support::edges::Edges;
use support::floor::Floor;
use support::measure::race;
use support::{all_counts, open};
use tempfile::TempDir;

/// Measure what the project promises on one graph
#[derive(Parser)]
struct Arguments {
    /// The edge list; without one, the small graph of the project, quickly
    edges: Option<PathBuf>,
    /// What to call the graph; by default, the name of the file
    #[arg(long)]
    name: Option<String>,
    /// Append each figure to this file as a line of JSON
    #[arg(long)]
    out: Option<PathBuf>,
    /// Take each measurement only often enough to see that it works
    #[arg(long, alias = "test")]
    quick: bool,
    /// Measure following accounts of 10 to 10 million followers instead
    #[arg(long)]
    degrees: bool,
    /// Only these parts
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// Hold this lock as `flock -x` while something is timed, and as `flock -s` else
    #[arg(long)]
    lock: Option<PathBuf>,
    /// What cargo says to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Importing with the command line tool
    Import,
    /// Bytes a follow on disk and in memory, without and with times
    Space,
    /// Opening an image
    Open,
    /// Batches of counts against the bare arrays
    Floor,
    /// Batches of counts against the obvious program, which takes a lot of memory
    Naive,
    /// Batches of counts beside a writer
    Beside,
    /// Known followers
    Known,
    /// Following, replay, checkpoint, durable follows
    Writes,
}

/// How often things are done.
struct Effort {
    /// Turns that programs take, and how often each does its work in a turn.
    turns: usize,
    rounds: usize,
    /// Names to ask about: enough that they do not stay in a cache.
    names: usize,
    /// Turns beside a writer, and the calls that a percentile is taken of.
    latency_turns: usize,
    latency_calls: usize,
    opens: usize,
    /// Follows that are held back to be made by one: of a small graph, fewer.
    held_back_max: usize,
    durable_seconds: f64,
    known_calls: usize,
}

const FULL: Effort = Effort {
    turns: 41,
    rounds: 2000,
    names: 1 << 20,
    latency_turns: 11,
    latency_calls: 50_000,
    opens: 21,
    held_back_max: 2_400_000,
    durable_seconds: 1.0,
    known_calls: 256,
};

const QUICK: Effort = Effort {
    turns: 3,
    rounds: 10,
    names: 1 << 12,
    latency_turns: 1,
    latency_calls: 200,
    opens: 3,
    held_back_max: 600,
    durable_seconds: 0.02,
    known_calls: 4,
};

/// What all measurements of a run share.
struct Judge {
    edges: Edges,
    effort: Effort,
    machine: Rc<Machine>,
    report: Report,
    root: TempDir,
}

impl Judge {
    fn directory(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// The seconds each question took, of each turn.
    fn race<const COUNT: usize>(&self, questions: [&mut dyn FnMut(); COUNT]) -> [Vec<f64>; COUNT] {
        self.machine.alone(|| race(self.effort.turns, self.effort.rounds, questions))
    }
}

fn main() {
    let arguments = Arguments::parse();
    let has_work = arguments.edges.is_some() || arguments.degrees;
    let is_quick = arguments.quick || !has_work;
    if is_quick {
        println!("a quick run: everything is done, and the figures mean nothing");
    }
    let machine = Rc::new(Machine::new(arguments.lock.as_deref()));
    let root = tempfile::tempdir().expect("a temporary directory");
    if arguments.degrees || is_quick {
        let report = Report::new("degrees", arguments.out.as_deref(), &machine);
        degrees::measure(is_quick, &machine, report, &root.path().join("degrees"));
        if arguments.degrees {
            return;
        }
    }
    let path = arguments.edges.unwrap_or_else(Edges::small);
    let stem = || path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let name = arguments.name.unwrap_or_else(stem);
    let mut report = Report::new(&name, arguments.out.as_deref(), &machine);
    let edges = Edges::load(&path);
    report.set_size(edges.names.len(), edges.follows.len());
    let effort = if is_quick { QUICK } else { FULL };
    let judge = Judge { edges, effort, machine, report, root };
    judge.run(&path, &|part| arguments.only.is_empty() || arguments.only.contains(&part));
}

impl Judge {
    fn run(mut self, path: &Path, is_asked: &dyn Fn(Part) -> bool) {
        let plain = self.directory("plain");
        self.bulk_load(&plain);
        if is_asked(Part::Import) {
            self.import_with_the_tool(path);
        }
        if is_asked(Part::Open) {
            self.open_images(&plain);
        }
        if is_asked(Part::Space) {
            self.space(&plain);
        }
        let graph = open(&plain);
        let counts = all_counts(&graph, &self.edges.names);
        self.reads(&graph, &counts, is_asked);
        drop(graph);
        std::fs::remove_dir_all(&plain).expect("the directory is ours");
        if is_asked(Part::Writes) {
            self.writes(&counts);
        }
        self.report.finish();
    }

    fn reads(&mut self, graph: &FollowGraph, counts: &[Counts], is_asked: &dyn Fn(Part) -> bool) {
        let drawn = Drawn::evenly(&self.edges, self.effort.names);
        let names = drawn.names();
        if is_asked(Part::Floor) || is_asked(Part::Beside) {
            let floor = Floor::new(&self.edges.names, counts);
            ask::check_agreement(graph, &names, |batch, found| {
                floor.batch_counts_into(batch, found);
            });
            if is_asked(Part::Floor) {
                reads::against_floor(self, graph, &floor, &names);
            }
            if is_asked(Part::Beside) {
                beside::beside_a_writer(self, graph, &floor, &names);
            }
        }
        if is_asked(Part::Known) {
            reads::known_followers(self, graph, counts, &names);
        }
        if is_asked(Part::Naive) {
            reads::against_naive(self, graph, &names);
        }
    }
}
