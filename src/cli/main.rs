//! The `followgraph` command line tool: a skin over the library, one file for each group of
//! commands. What a command finds goes to standard output, everything else to standard error.
//!
//! Exit codes: 0 fine, 1 the answer is no or some items failed, 2 wrong usage, 3 the graph is
//! damaged or could not be opened.

mod against;
mod against_counts;
mod backup;
mod bench;
mod care;
mod certify;
mod clock;
#[cfg(feature = "cluster")]
mod cluster;
#[cfg(not(feature = "cluster"))]
#[path = "no_cluster.rs"]
mod cluster;
mod counts;
mod demo;
mod edges;
mod export;
mod failure;
mod import;
mod input;
mod interrupt;
mod kills;
mod list;
mod output;
mod progress;
mod salvage;
mod scope;
mod serve;
mod stats;
mod usersig;
mod verify;
mod write;

use clap::{Parser, Subcommand};
use failure::{Failure, Task, Verdict};
use followgraph::{ErrorKind, FollowGraph, Options};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Follower, following and mutual counts that always equal the lists.
#[derive(Parser)]
#[command(name = "followgraph", version, arg_required_else_help = true)]
#[command(after_help = "Start here:\n  followgraph serve --dev")]
struct Cli {
    /// The directory of the graph; the environment variable `FOLLOWGRAPH_DB` can name it instead
    #[arg(long, global = true, value_name = "DIR")]
    db: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Import(import::Import),
    Counts(counts::CountsOf),
    Check(counts::Check),
    List(list::ListOf),
    Follow(write::Follow),
    Unfollow(write::Unfollow),
    AddAccount(write::AddAccount),
    RemoveAccount(write::RemoveAccount),
    Stats(stats::StatsOf),
    Verify(verify::Verify),
    Checkpoint(care::Checkpoint),
    Clock(clock::Clock),
    Backup(backup::Backup),
    Restore(backup::Restore),
    Salvage(salvage::Salvage),
    Export(export::Export),
    Bench(bench::Bench),
    Certify(certify::Certify),
    #[command(hide = true)]
    CertifyWriter(kills::CertifyWriter),
    Serve(serve::Serve),
    #[cfg_attr(not(feature = "cluster"), command(hide = true))]
    Cluster(cluster::Cluster),
    Usersig(usersig::Usersig),
    Demo(demo::Demo),
    #[command(hide = true)]
    DemoWriter(demo::DemoWriter),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    survive_file_size_limit();
    let mut out = BufWriter::with_capacity(64 * 1024, io::stdout().lock());
    let outcome = run(&cli, &mut out).and_then(|verdict| {
        out.flush()?;
        Ok(verdict)
    });
    match outcome {
        Ok(verdict) => verdict.exit_code(),
        // Whoever read our output has enough: that is not a failure.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(failure) => {
            // What was found before the failure is shown before the failure is.
            let _ = out.flush();
            output::say(format_args!("followgraph: {}", failure.advised(cli.command.task())));
            failure.exit_code()
        }
    }
}

/// Makes a write beyond the limit of the file size an error, which says what to do, instead of the
/// end of the process.
fn survive_file_size_limit() {
    // Where the handler cannot be set, the process ends at the limit as it always would.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
}

fn run(cli: &Cli, out: &mut dyn Write) -> Result<Verdict, Failure> {
    match &cli.command {
        Command::Import(import) => import.run(&cli.db()?, out),
        Command::Counts(counts) => counts.run(&cli.graph_to_read()?, out),
        Command::Check(check) => check.run(&cli.graph_to_read()?, out),
        Command::List(list) => list.run(&cli.graph_to_read()?, &cli.db()?, out),
        Command::Follow(follow) => follow.run(&cli.db()?, out),
        Command::Unfollow(unfollow) => {
            closing(cli.existing_graph()?, |graph| unfollow.run(graph, out))
        }
        Command::AddAccount(add) => add.run(&cli.db()?, out),
        Command::RemoveAccount(remove) => {
            closing(cli.existing_graph()?, |graph| remove.run(graph, out))
        }
        Command::Stats(stats) => stats.run(&cli.graph_to_read()?, out),
        Command::Verify(verify) if verify.writes() => {
            closing(cli.existing_graph()?, |graph| verify.run(graph, out))
        }
        Command::Verify(verify) => verify.run(&cli.graph_to_read()?, out),
        Command::Checkpoint(checkpoint) => {
            closing(cli.existing_graph()?, |graph| checkpoint.run(graph, out))
        }
        Command::Clock(clock) if clock.writes() => {
            closing(cli.existing_graph()?, |graph| clock.run(graph, out))
        }
        Command::Clock(clock) => clock.run(&cli.graph_to_read()?, out),
        Command::Backup(backup) => closing(cli.graph_to_back_up()?, |graph| backup.run(graph, out)),
        Command::Restore(restore) => restore.run(out),
        Command::Salvage(salvage) => salvage.run(out),
        Command::Export(export) => export.run(&cli.graph_to_read()?, out),
        Command::Bench(bench) => bench.run(&cli.existing_graph()?, out),
        Command::Certify(certify) => certify.run(out),
        Command::CertifyWriter(writer) => writer.run(),
        Command::Serve(serve) => serve.run(cli.db.as_deref(), out),
        Command::Cluster(cluster) => cluster.run(out),
        Command::Usersig(usersig) => usersig.run(out),
        // The demo never looks at the environment: it must not meet a graph that matters.
        Command::Demo(demo) => demo.run(cli.db.as_deref(), out),
        Command::DemoWriter(writer) => writer.run(&cli.existing_graph()?, out),
    }
}

/// Runs a command on a graph, and closes the graph: what that finds is part of the outcome.
fn closing(
    graph: FollowGraph,
    run: impl FnOnce(&FollowGraph) -> Result<Verdict, Failure>,
) -> Result<Verdict, Failure> {
    let verdict = run(&graph)?;
    graph.close()?;
    Ok(verdict)
}

impl Command {
    fn task(&self) -> Task {
        match self {
            Command::Import(_)
            | Command::Follow(_)
            | Command::AddAccount(_)
            | Command::Serve(_)
            | Command::Cluster(_)
            | Command::Demo(_)
            | Command::Certify(_)
            | Command::CertifyWriter(_) => Task::Make,
            Command::Backup(_) => Task::Backup,
            Command::Restore(_) => Task::Restore,
            Command::Salvage(_) => Task::Salvage,
            Command::Counts(_)
            | Command::Check(_)
            | Command::List(_)
            | Command::Unfollow(_)
            | Command::RemoveAccount(_)
            | Command::Stats(_)
            | Command::Verify(_)
            | Command::Checkpoint(_)
            | Command::Clock(_)
            | Command::Export(_)
            | Command::Bench(_)
            | Command::Usersig(_)
            | Command::DemoWriter(_) => Task::Use,
        }
    }
}

impl Cli {
    fn db(&self) -> Result<PathBuf, Failure> {
        let from_environment = || std::env::var_os("FOLLOWGRAPH_DB").filter(|dir| !dir.is_empty());
        self.db.clone().or_else(|| from_environment().map(PathBuf::from)).ok_or_else(|| {
            Failure::usage("where is the graph? Give --db DIR, or set FOLLOWGRAPH_DB")
        })
    }

    /// Opens a graph to ask it something: beside a server that has it open, and where this process
    /// may not write. What a crash left behind the last commit stays for the next writer to cut.
    fn graph_to_read(&self) -> Result<FollowGraph, Failure> {
        let db = self.db()?;
        let graph = FollowGraph::open_read_only(&db).map_err(|error| Failure::open(&db, error))?;
        let recovery = graph.stats().recovery;
        if recovery.cut_bytes > 0 {
            output::say(format_args!(
                "followgraph: note: passed over {} bytes (frames: {}) at the end of the log, which \
                 a crash had left unfinished; nothing acknowledged as durable was among them",
                recovery.cut_bytes, recovery.cut_frames,
            ));
        }
        Ok(graph)
    }

    /// Opens a graph to write where that can be, because only then can its backup go on later.
    fn graph_to_back_up(&self) -> Result<FollowGraph, Failure> {
        match self.existing_graph() {
            Err(Failure::Open { error, .. })
                if matches!(error.kind(), ErrorKind::InUse | ErrorKind::Io) =>
            {
                self.graph_to_read()
            }
            opened => opened,
        }
    }

    /// Opens a graph that is there already: changing one must not make it.
    fn existing_graph(&self) -> Result<FollowGraph, Failure> {
        open(Options::new().create(false), &self.db()?)
    }
}

/// Opens a graph and says, should that be impossible, which one. Bytes that recovery had to cut
/// are no failure, but whoever looks after the graph should hear of them.
fn open(options: Options, db: &Path) -> Result<FollowGraph, Failure> {
    let graph = options.open(db).map_err(|error| Failure::open(db, error))?;
    let recovery = graph.stats().recovery;
    if recovery.cut_bytes > 0 {
        output::say(format_args!(
            "followgraph: note: cut {} bytes (frames: {}) off the end of the log, which a crash \
             had left unfinished; nothing acknowledged as durable was among them",
            recovery.cut_bytes, recovery.cut_frames,
        ));
    }
    Ok(graph)
}
