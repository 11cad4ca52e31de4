//! `certify --dir`: a real process that writes to a real disk, killed over and over.

use super::failure::{Failure, Verdict};
use super::output::{grouped, say};
use clap::Args;
use followgraph::testing::kill::{
    Acknowledged, check_lists, check_round, kill_after, write_until_killed,
};
use followgraph::{Durability, FollowGraph, Options};
use std::fmt;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How often, where neither a number nor a time is given.
const KILLS_DEFAULT: u64 = 50;
/// Rounds take turns in how long a commit waits for the disk.
const DURABILITIES: [(&str, Durability); 3] = [
    ("always", Durability::Always),
    ("interval", Durability::Interval(Duration::from_millis(2))),
    ("never", Durability::Never),
];

/// Writes without end, saying so after each step. `certify --dir` kills it.
#[derive(Args)]
pub(crate) struct CertifyWriter {
    dir: std::path::PathBuf,
    round: usize,
}

impl CertifyWriter {
    pub(crate) fn run(&self) -> Result<Verdict, Failure> {
        let graph = open(&self.dir, self.round)?;
        // Each line at once, or what was acknowledged would be in a buffer when the kill comes.
        let say = |line: &str| {
            let mut error = io::stderr().lock();
            let _ = writeln!(error, "{line}");
        };
        write_until_killed(&graph, self.round, &say)
    }
}

fn open(dir: &Path, round: usize) -> Result<FollowGraph, Failure> {
    Options::new()
        .durability(DURABILITIES[round % DURABILITIES.len()].1)
        .segment_bytes(64 << 10)
        .checkpoint_log_bytes(None)
        .create_missing_accounts(true)
        .open(dir)
        .map_err(|error| Failure::open(dir, error))
}

/// How long to go on.
#[derive(Clone, Copy)]
pub(crate) struct Bound {
    pub(crate) kills: Option<u64>,
    pub(crate) seconds: Option<u64>,
}

impl Bound {
    fn is_reached(self, kills: u64, started: Instant) -> bool {
        let kills_max = match (self.kills, self.seconds) {
            (None, None) => Some(KILLS_DEFAULT),
            (kills, _) => kills,
        };
        let time_max = self.seconds.map(Duration::from_secs);
        kills_max.is_some_and(|most| kills >= most)
            || time_max.is_some_and(|most| started.elapsed() >= most)
    }
}

/// What came of it.
pub(crate) struct KillReport {
    seed: u64,
    seconds: u64,
    rounds: Vec<Acknowledged>,
    killed_while_opening: u64,
    torn_tails: u64,
    replayed_frames: u64,
    flaw: Option<String>,
}

impl KillReport {
    pub(crate) fn is_clean(&self) -> bool {
        self.flaw.is_none()
    }
}

/// Kills writers in a directory that is empty or not there, and leaves it as it was; after a flaw
/// the files stay.
pub(crate) fn certify_by_kills(dir: &Path, seed: u64, bound: Bound) -> Result<KillReport, Failure> {
    let is_new = prepare(dir)?;
    let started = Instant::now();
    let mut report = KillReport {
        seed,
        seconds: 0,
        rounds: Vec::new(),
        killed_while_opening: 0,
        torn_tails: 0,
        replayed_frames: 0,
        flaw: None,
    };
    while report.flaw.is_none() && !bound.is_reached(report.rounds.len() as u64, started) {
        kill_once(dir, &mut report)?;
    }
    report.seconds = started.elapsed().as_secs();
    if report.is_clean() {
        clean_up(dir, is_new)?;
    } else {
        say(format_args!("followgraph: the files are left in {}", dir.display()));
    }
    Ok(report)
}

/// Whether the directory was made.
fn prepare(dir: &Path) -> Result<bool, Failure> {
    let failed = |error: io::Error| Failure::input(format!("{}: {error}", dir.display()));
    match fs::read_dir(dir) {
        Ok(mut entries) => match entries.next() {
            None => Ok(false),
            Some(_) => Err(Failure::usage(format!(
                "{} is not empty; name an empty directory, or one that is not there",
                dir.display()
            ))),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(dir).map(|()| true).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Takes away what the graph consists of: it has no directories in it.
fn clean_up(dir: &Path, is_new: bool) -> Result<(), Failure> {
    let remove = || {
        for entry in fs::read_dir(dir)? {
            fs::remove_file(entry?.path())?;
        }
        if is_new { fs::remove_dir(dir) } else { Ok(()) }
    };
    remove().map_err(|error| Failure::input(format!("cannot clean up {}: {error}", dir.display())))
}

/// One round: a process writes and is killed, then what is left is compared.
fn kill_once(dir: &Path, report: &mut KillReport) -> Result<(), Failure> {
    let round = report.rounds.len();
    let acknowledged = run_and_kill(dir, round, kill_after(report.seed, round));
    let (acknowledged, ended) =
        acknowledged.map_err(|error| Failure::input(format!("cannot run a writer: {error}")))?;
    report.killed_while_opening += u64::from(acknowledged.step_count() == 0);
    report.rounds.push(acknowledged);
    if let Some(last_line) = ended {
        report.flaw = Some(format!("the writer ended by itself: {last_line}"));
        return Ok(());
    }
    let graph = match open(dir, round) {
        Ok(graph) => graph,
        Err(failure) => {
            report.flaw = Some(format!("after kill {}: {failure}", round + 1));
            return Ok(());
        }
    };
    let recovery = graph.stats().recovery;
    report.torn_tails += u64::from(recovery.cut_frames > 0);
    report.replayed_frames += recovery.replayed_frames;
    let rounds = report.rounds.iter().enumerate();
    let mut checked = rounds.map(|(round, steps)| check_round(&graph, round, steps));
    let outcome = checked.find(Result::is_err).unwrap_or_else(|| check_lists(&graph));
    report.flaw = outcome.err().map(|flaw| format!("after kill {}: {flaw}", round + 1));
    Ok(())
}

/// What a writer acknowledged before it was killed, and where it ended by itself its last words.
fn run_and_kill(
    dir: &Path,
    round: usize,
    patience: Duration,
) -> io::Result<(Acknowledged, Option<String>)> {
    let mut child = Writer(
        Command::new(std::env::current_exe()?)
            .arg("certify-writer")
            .args([dir.as_os_str(), round.to_string().as_ref()])
            .env_remove("FOLLOWGRAPH_DB")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?,
    );
    let lines = BufReader::new(child.0.stderr.take().expect("it is piped")).lines();
    let reader = std::thread::Builder::new().spawn(move || {
        let (mut acknowledged, mut last_line) = (Acknowledged::default(), String::new());
        for line in lines.map_while(Result::ok) {
            acknowledged.take(&line);
            last_line = line;
        }
        (acknowledged, last_line)
    })?;
    std::thread::sleep(patience);
    child.0.kill()?;
    let status = child.0.wait()?;
    let (acknowledged, last_line) = reader.join().expect("reading lines does not panic");
    Ok((acknowledged, status.code().map(|_| last_line)))
}

/// A writer that does not outlive whoever started it.
struct Writer(Child);

impl Drop for Writer {
    fn drop(&mut self) {
        // After the kill and the wait of a round both have nothing to do.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl fmt::Display for KillReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = env!("CARGO_PKG_VERSION");
        let (seed, seconds) = (self.seed, self.seconds);
        writeln!(formatter, "Version {version}, seed {seed}, {seconds} s, processes killed.\n")?;
        let steps = |place: usize| {
            let rounds = self.rounds.iter().skip(place).step_by(DURABILITIES.len());
            rounds.map(Acknowledged::step_count).sum::<usize>() as u64
        };
        writeln!(formatter, "| what | count |\n|---|---:|")?;
        writeln!(formatter, "| kills | {} |", grouped(self.rounds.len() as u64))?;
        writeln!(formatter, "| before the first commit | {} |", self.killed_while_opening)?;
        for (place, (name, _)) in DURABILITIES.iter().enumerate() {
            let count = grouped(steps(place));
            writeln!(formatter, "| acknowledged commits, {name} | {count} |")?;
        }
        writeln!(formatter, "| frames replayed | {} |", grouped(self.replayed_frames))?;
        writeln!(formatter, "| torn tails cut | {} |", self.torn_tails)?;
        writeln!(formatter, "| flaws | {} |", u64::from(self.flaw.is_some()))?;
        if let Some(flaw) = &self.flaw {
            writeln!(formatter, "\n* seed {seed}: {flaw}")?;
        }
        writeln!(
            formatter,
            "\nA killed process leaves the kernel all that it wrote, so this tries recovery, the \
             order of names, and commits that were cut off halfway, on this disk and this file \
             system. It says nothing about a loss of power: what the disk has then is the subject \
             of `followgraph certify` without --dir, and of pulling the plug."
        )
    }
}
