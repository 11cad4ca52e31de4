//! The same job on the stores that users of followgraph would otherwise take.
//!
//! Every peer keeps the follows of a graph by name, with their times: followers, following and
//! mutual counts, both lists newest first, "is A following B", and known followers. It is loaded
//! by its own best bulk path, and tuned as its own documentation says; what was done is at the top
//! of its file. All peers are asked the same questions in the same order (`plan.rs`), in processes
//! of their own, and every peer's answers are compared with those taken from the edge list before
//! anything is timed (`job.rs`). `social.rs` is the social mix of LinkBench.
//!
//! ```sh
//! cargo run --release -- run --graph ego-twitter=ego-twitter.edges.gz --out peers.jsonl
//! cargo run --release -- report --peers peers.jsonl --bars bars.jsonl --docs docs/benchmarks
//! ```
//!
//! `scripts/benchmarks` in the project's root does all of it. `--quick` does the whole job in a few
//! seconds and is what `cargo test --release` runs (without `--release` all the C and C++ would be
//! built a second time); its figures mean nothing.
//!
//! A compiler for C and C++ is needed, and `libclang` for the bindings of RocksDB.

mod follows;
mod job;
mod latency;
mod machine;
mod numbered;
mod peers;
mod plan;
mod report;
mod resident;
mod rows;
mod run;
mod social;

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand, ValueEnum};
use peers::PeerName;
use run::{Measure, NamedGraph, Runner};
use std::path::PathBuf;

#[derive(Parser)]
#[command(about = "The same job on the stores that users of followgraph would otherwise take")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the peers and append their results to a file.
    Run(Run),
    /// Render the results as Markdown and a chart.
    Report(report::Options),
    /// Choose the questions about a graph, and answer some of them from the edge list.
    Plan(run::MakePlan),
    /// One process of one peer; `run` starts these.
    Measure(Measure),
}

#[derive(clap::Args)]
struct Run {
    /// Graphs to run the job on: text, text in gzip, or little-endian u32 pairs (`.u32`).
    #[arg(long = "graph", value_name = "NAME=FILE")]
    graphs: Vec<NamedGraph>,
    /// Run the social mix on a graph of so many accounts.
    #[arg(long, value_name = "ACCOUNTS")]
    social: Option<u32>,
    /// Only these peers. Default: all.
    #[arg(long = "peer")]
    peers: Vec<PeerName>,
    /// Results are appended here as JSON lines.
    #[arg(long)]
    out: PathBuf,
    /// A directory for the stores, on the disk that is to be measured. It is emptied.
    #[arg(long, default_value = "target/peers-work")]
    work: PathBuf,
    /// Everything in a few seconds. The figures mean nothing.
    #[arg(long)]
    quick: bool,
    /// A peer that cannot be run here is a failure.
    #[arg(long)]
    require_all: bool,
    /// A file that is locked while something is measured, as `flock` does, for a machine that is
    /// shared with others who do the same.
    #[arg(long)]
    lock: Option<PathBuf>,
    /// The date to note. Default: today.
    #[arg(long)]
    date: Option<String>,
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Run(arguments) => run(arguments),
        Command::Report(options) => report::write(&options),
        Command::Plan(arguments) => run::make_plan(&arguments),
        Command::Measure(arguments) => run::measure(&arguments),
    }
}

fn run(arguments: Run) -> Result<()> {
    let machine = machine::this(arguments.date)?;
    rows::append(&arguments.out, &rows::Row::Machine(machine))?;
    let peers = match arguments.peers {
        peers if peers.is_empty() => PeerName::value_variants().to_vec(),
        peers => peers,
    };
    let runner = Runner {
        program: std::env::current_exe()?,
        peers,
        work: arguments.work,
        out: arguments.out,
        quick: arguments.quick,
        lock: arguments.lock,
        is_missing_failure: arguments.require_all,
    };
    let mut all_well = true;
    for graph in &arguments.graphs {
        all_well &= runner.graph(graph)?;
    }
    if let Some(account_count) = arguments.social {
        all_well &= runner.social(account_count)?;
    }
    std::fs::remove_dir_all(&runner.work)?;
    ensure!(all_well, "not every peer got through; see above");
    Ok(())
}
