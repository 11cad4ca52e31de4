//! Runs the peers, each in processes of its own, and keeps what they report.

use crate::follows::Follows;
use crate::job::{self, Answered};
use crate::latency::Bounds;
use crate::machine::ProcessorTime;
use crate::peers::{PeerName, Place};
use crate::plan::Plan;
use crate::resident::disk_bytes;
use crate::rows::{Absent, PeerRow, Row, SocialRow, append};
use crate::social::{self, Social};
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// The name of the generated graph of the social mix.
pub(crate) const SOCIAL_GRAPH: &str = "social";

/// A graph by name and file.
#[derive(Clone, Debug)]
pub(crate) struct NamedGraph {
    pub(crate) name: String,
    pub(crate) file: PathBuf,
}

impl std::str::FromStr for NamedGraph {
    type Err = String;

    fn from_str(text: &str) -> Result<NamedGraph, String> {
        let (name, file) = text.split_once('=').ok_or("expected NAME=FILE")?;
        Ok(NamedGraph { name: name.to_owned(), file: PathBuf::from(file) })
    }
}

/// What one process of a peer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Phase {
    /// Loads the graph and closes the store.
    Load,
    /// Opens the store and does the job.
    Answer,
    /// Opens the store and goes through the social mix.
    Social,
}

impl Phase {
    fn argument(self) -> &'static str {
        match self {
            Phase::Load => "load",
            Phase::Answer => "answer",
            Phase::Social => "social",
        }
    }
}

/// The arguments of one process of a peer.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Measure {
    #[arg(long)]
    pub(crate) peer: PeerName,
    #[arg(long)]
    pub(crate) phase: Phase,
    /// The edge list, as little-endian u32 pairs.
    #[arg(long)]
    pub(crate) graph: PathBuf,
    /// The questions, for the phase `answer`.
    #[arg(long)]
    pub(crate) plan: Option<PathBuf>,
    /// Where the peer keeps its files.
    #[arg(long)]
    pub(crate) directory: PathBuf,
    /// Where the result goes.
    #[arg(long)]
    pub(crate) out: PathBuf,
    #[arg(long)]
    pub(crate) quick: bool,
}

/// The arguments of the process that makes the questions.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct MakePlan {
    /// The edge list, as little-endian u32 pairs.
    #[arg(long)]
    graph: PathBuf,
    #[arg(long)]
    out: PathBuf,
}

/// Writes the questions about a graph to a file.
pub(crate) fn make_plan(arguments: &MakePlan) -> Result<()> {
    let plan = Plan::make(&Follows::open(&arguments.graph)?)?;
    Ok(std::fs::write(&arguments.out, serde_json::to_vec(&plan)?)?)
}

#[derive(Serialize, Deserialize)]
struct Loaded {
    seconds: f64,
}

/// What one process of a peer reports.
#[derive(Serialize, Deserialize)]
struct Report<T> {
    result: T,
    others_processors: f64,
}

/// Does what one process of a peer is there for.
pub(crate) fn measure(arguments: &Measure) -> Result<()> {
    let follows = Follows::open(&arguments.graph)?;
    let place = Place { directory: arguments.directory.clone(), follows };
    let bounds = Bounds::new(arguments.quick);
    let since = ProcessorTime::now()?;
    match arguments.phase {
        Phase::Load => {
            let start = Instant::now();
            arguments.peer.load(&place)?;
            report(arguments, since, Loaded { seconds: start.elapsed().as_secs_f64() })
        }
        Phase::Answer => {
            let plan = arguments.plan.as_ref().context("--plan is missing")?;
            let plan: Plan = serde_json::from_slice(&std::fs::read(plan)?)?;
            report(arguments, since, job::run(arguments.peer, &place, &plan, bounds)?)
        }
        Phase::Social => report(arguments, since, social::run(arguments.peer, &place, bounds)?),
    }
}

fn report<T: Serialize>(arguments: &Measure, since: ProcessorTime, result: T) -> Result<()> {
    let report = Report { result, others_processors: since.others_since()? };
    Ok(serde_json::to_writer(File::create(&arguments.out)?, &report)?)
}

/// All peers on all graphs.
pub(crate) struct Runner {
    /// The program that is started for each phase: this one.
    pub(crate) program: PathBuf,
    pub(crate) peers: Vec<PeerName>,
    pub(crate) work: PathBuf,
    pub(crate) out: PathBuf,
    pub(crate) quick: bool,
    /// Locked while something is measured.
    pub(crate) lock: Option<PathBuf>,
    pub(crate) is_missing_failure: bool,
}

impl Runner {
    /// The job on one graph. False when a peer failed.
    pub(crate) fn graph(&self, graph: &NamedGraph) -> Result<bool> {
        std::fs::create_dir_all(&self.work)?;
        let follows = Follows::open_or_copy(&graph.file, &self.work.join("graph.u32"))?;
        println!("{}: {} follows", graph.name, follows.follow_count());
        let plan = Plan::make(&follows)?;
        let plan_path = self.work.join("plan.json");
        std::fs::write(&plan_path, serde_json::to_vec(&plan)?)?;
        let (account_count, follow_count) = (plan.account_count, plan.follow_count);
        drop(plan);
        self.each(&graph.name, |peer| {
            let directory = self.work.join("store");
            let loaded: Report<Loaded> = self.phase(peer, Phase::Load, &follows, &plan_path)?;
            let disk_bytes = peer.is_durable().then(|| disk_bytes(&directory)).transpose()?;
            let answered: Report<Answered> =
                self.phase(peer, Phase::Answer, &follows, &plan_path)?;
            Ok(Row::Peer(Box::new(PeerRow {
                peer,
                version: peer.version()?,
                graph: graph.name.clone(),
                account_count,
                follow_count,
                load_seconds: loaded.result.seconds,
                disk_bytes,
                answered: answered.result,
                others_processors: loaded.others_processors.max(answered.others_processors),
            })))
        })
    }

    /// The social mix. False when a peer failed.
    pub(crate) fn social(&self, account_count: u32) -> Result<bool> {
        std::fs::create_dir_all(&self.work)?;
        let path = self.work.join("social.u32");
        social::generate(account_count, &path)?;
        let follows = Follows::open(&path)?;
        println!("{SOCIAL_GRAPH}: {} follows", follows.follow_count());
        self.each(SOCIAL_GRAPH, |peer| {
            let _: Report<Loaded> = self.phase(peer, Phase::Load, &follows, &path)?;
            let social: Report<Social> = self.phase(peer, Phase::Social, &follows, &path)?;
            Ok(Row::Social(SocialRow {
                peer,
                version: peer.version()?,
                social: social.result,
                others_processors: social.others_processors,
            }))
        })
    }

    /// One peer after the other, each in an empty directory.
    fn each(&self, graph: &str, job: impl Fn(PeerName) -> Result<Row>) -> Result<bool> {
        let mut all_well = true;
        for &peer in &self.peers {
            let absent = |is_skipped, reason| {
                let word = if is_skipped { "SKIPPED" } else { "FAILED" };
                eprintln!("{word}: {} on {graph}: {reason}", peer.title());
                Row::Absent(Absent { peer, graph: graph.to_owned(), is_skipped, reason })
            };
            let directory = self.work.join("store");
            empty(&directory)?;
            let row = if let Some(reason) = peer.missing() {
                all_well &= !self.is_missing_failure;
                absent(true, reason)
            } else {
                job(peer).unwrap_or_else(|error| {
                    all_well = false;
                    absent(false, format!("{error:#}"))
                })
            };
            append(&self.out, &row)?;
            std::fs::remove_dir_all(&directory)?;
        }
        Ok(all_well)
    }

    fn phase<T: serde::de::DeserializeOwned>(
        &self,
        peer: PeerName,
        phase: Phase,
        follows: &Follows,
        plan: &Path,
    ) -> Result<T> {
        let result = self.work.join("result.json");
        let start = Instant::now();
        let mut command = match &self.lock {
            Some(lock) => {
                let mut command = Command::new("flock");
                command.arg("--exclusive").arg(lock).arg(&self.program);
                command
            }
            None => Command::new(&self.program),
        };
        command
            .arg("measure")
            .args(["--peer", &peer.argument()])
            .args(["--phase", phase.argument()])
            .arg("--graph")
            .arg(follows.path())
            .arg("--plan")
            .arg(plan)
            .arg("--directory")
            .arg(self.work.join("store"))
            .arg("--out")
            .arg(&result)
            .env("RUST_BACKTRACE", "0");
        if self.quick {
            command.arg("--quick");
        }
        let output =
            command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn()?.wait_with_output()?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}: {}", output.status, complaint.trim());
        // What is still to be written back would disturb what is measured next.
        ensure!(Command::new("sync").status()?.success(), "sync failed");
        println!("  {} {}: {:.1?}", peer.title(), phase.argument(), start.elapsed());
        Ok(serde_json::from_slice(&std::fs::read(&result)?)?)
    }
}

fn empty(directory: &Path) -> Result<()> {
    if directory.exists() {
        std::fs::remove_dir_all(directory)?;
    }
    Ok(std::fs::create_dir_all(directory)?)
}
