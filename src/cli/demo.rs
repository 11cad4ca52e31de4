//! `demo`: the main job in three seconds, on a small graph that comes with the program.

use super::counts::counts_table;
use super::failure::{Failure, Verdict};
use super::input::Line;
use super::list::list_table;
use super::output::{bold, grouped};
use clap::Args;
use followgraph::{BulkReport, ErrorKind, FollowGraph, Options, Page};
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// 220 made-up accounts and 2,580 follows between them.
const SMALL_EDGES: &[u8] = include_bytes!("../../data/small.edges");

/// Where the demo builds its graph, unless told otherwise.
const DEFAULT_DB: &str = "followgraph-demo";

/// Accounts whose counts are shown: from the best known one to one that nobody knows.
const SHOWN_ACCOUNTS: [&str; 6] =
    ["the-daily-loaf", "malik-lab", "chloe-garden", "yuki-garden", "李娜", "nobody-by-this-name"];

/// How long the child process may follow before it is killed.
const TIME_TO_LIVE: Duration = Duration::from_millis(300);

/// Memory for a load of a few thousand follows.
const LOAD_MEMORY_BYTES: u64 = 16 << 20;

/// Build a small graph, ask it things, kill a process that writes to it, and reopen it
///
/// The graph goes to the directory given with --db, or to ./followgraph-demo. A directory that is
/// there already is left alone.
#[derive(Args)]
#[command(after_help = "Example:\n  followgraph demo")]
pub(crate) struct Demo {}

/// Follows without end, saying so after each follow. The demo kills it.
#[derive(Args)]
pub(crate) struct DemoWriter {}

impl Demo {
    #[expect(clippy::unused_self, reason = "every command is run the same way")]
    pub(crate) fn run(&self, db: Option<&Path>, out: &mut dyn Write) -> Result<Verdict, Failure> {
        let db = db.unwrap_or(Path::new(DEFAULT_DB));
        check_is_free(db)?;
        let graph = build(db, out)?;
        show_counts(&graph, out)?;
        show_page(&graph, out)?;
        // The child can only open the graph once it is closed here.
        drop(graph);
        let verdict = kill_and_reopen(db, out)?;
        show_next_commands(db, out)?;
        Ok(verdict)
    }
}

/// The demo writes to a directory of its own and to no other.
fn check_is_free(db: &Path) -> Result<(), Failure> {
    let is_free = match fs::read_dir(db) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    if is_free {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "{} is there already, and the demo leaves it alone; remove it, or name another directory \
         with --db",
        db.display()
    )))
}

fn headline(out: &mut dyn Write, text: &str) -> io::Result<()> {
    writeln!(out, "{}", bold(text))
}

fn build(db: &Path, out: &mut dyn Write) -> Result<FollowGraph, Failure> {
    let started = Instant::now();
    let graph = super::open(Options::new(), db)?;
    let report = load_small_graph(&graph)?;
    let (accounts, follows) = (grouped(report.account_count), grouped(report.follow_count));
    let milliseconds = started.elapsed().as_millis();
    headline(out, "A small graph")?;
    writeln!(out, "  {accounts} accounts and {follows} follows, built in {milliseconds} ms")?;
    writeln!(out, "  in the directory {}\n", db.display())?;
    Ok(graph)
}

/// Loads the graph that comes with the program into an empty one.
pub(crate) fn load_small_graph(graph: &FollowGraph) -> Result<BulkReport, Failure> {
    let mut load = graph.bulk_load(LOAD_MEMORY_BYTES)?;
    for line in SMALL_EDGES.split(|byte| *byte == b'\n') {
        if let Line::Edge { from, to, at } = Line::parse(line) {
            load.add(&from, &to, at)?;
        }
    }
    Ok(load.finish(&mut |_, _| {})?)
}

fn show_counts(graph: &FollowGraph, out: &mut dyn Write) -> Result<(), Failure> {
    headline(out, "Counts, in one batch")?;
    let results = graph.batch_counts(&SHOWN_ACCOUNTS);
    counts_table(&SHOWN_ACCOUNTS, &results).write("  ", out)?;
    writeln!(out)?;
    Ok(())
}

fn show_page(graph: &FollowGraph, out: &mut dyn Write) -> Result<(), Failure> {
    let [account, ..] = SHOWN_ACCOUNTS;
    headline(out, &format!("The newest followers of {account}"))?;
    let page = graph.followers(account, Page::first(5))?;
    list_table(&page).write("  ", out)?;
    if page.next.is_some() {
        writeln!(out, "  ... and a cursor to the next page")?;
    }
    writeln!(out)?;
    Ok(())
}

fn kill_and_reopen(db: &Path, out: &mut dyn Write) -> Result<Verdict, Failure> {
    headline(out, "A process that follows, killed")?;
    out.flush()?;
    let acknowledged = follow_until_killed(db)?;
    let count = acknowledged.len() as u64;
    let milliseconds = TIME_TO_LIVE.as_millis();
    writeln!(out, "  it was told of {} follows that they are on disk,", grouped(count))?;
    writeln!(out, "  and met SIGKILL after {milliseconds} ms")?;
    let started = Instant::now();
    let graph = super::open(Options::new().create(false), db)?;
    let microseconds = started.elapsed().as_micros();
    let frames = graph.stats().recovery.replayed_frames;
    #[expect(clippy::cast_precision_loss, reason = "two decimals are shown")]
    let milliseconds = microseconds as f64 / 1e3;
    writeln!(out, "  reopened in {milliseconds:.2} ms, {} commits replayed", grouped(frames))?;
    let is_there = |(follower, followed): &&(String, String)| {
        graph.relation(follower, followed).is_ok_and(|relation| relation.following)
    };
    let found = acknowledged.iter().filter(is_there).count() as u64;
    if found == count && count > 0 {
        writeln!(out, "  every one of the {} follows is there", grouped(count))?;
    } else {
        writeln!(out, "  only {} of the {} follows are there", grouped(found), grouped(count))?;
    }
    let verified = graph.verify()?;
    let follows = grouped(verified.follow_count);
    writeln!(out, "  and all {follows} follows recounted: counts and lists agree\n")?;
    Ok(Verdict::fine_if(found == count && count > 0))
}

/// Lets a child process follow for a while and kills it. Returns what it had been told is done.
fn follow_until_killed(db: &Path) -> Result<Vec<(String, String)>, Failure> {
    let failed = |error: io::Error| {
        Failure::input(format!("cannot run a second followgraph process: {error}"))
    };
    let program = std::env::current_exe().map_err(failed)?;
    let mut command = Command::new(program);
    command.arg("--db").arg(db).arg("demo-writer").stdout(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    let acknowledged = read_until_killed(&mut child);
    // Whatever became of reading, no child is left behind.
    let _ = child.kill();
    child.wait().map_err(failed)?;
    acknowledged.map_err(failed)
}

fn read_until_killed(child: &mut Child) -> io::Result<Vec<(String, String)>> {
    let pipe = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let mut lines = BufReader::new(pipe);
    let mut acknowledged = Vec::new();
    let mut first_line_at = None;
    let mut line = String::new();
    while lines.read_line(&mut line)? > 0 {
        // Half a line is half an acknowledgement, which is none.
        let Some(whole) = line.strip_suffix('\n') else { break };
        if let Some((follower, followed)) = whole.split_once(' ') {
            acknowledged.push((follower.to_owned(), followed.to_owned()));
        }
        line.clear();
        let first_line_at = *first_line_at.get_or_insert_with(Instant::now);
        if first_line_at.elapsed() >= TIME_TO_LIVE {
            // What it had said before is still in the pipe, so reading goes on to its end.
            child.kill()?;
        }
    }
    Ok(acknowledged)
}

impl DemoWriter {
    #[expect(clippy::unused_self, reason = "every command is run the same way")]
    pub(crate) fn run(&self, graph: &FollowGraph, out: &mut dyn Write) -> Result<Verdict, Failure> {
        let known = graph.accounts(None, SMALL_EDGES.len());
        for visitor_no in 1u32.. {
            let visitor = format!("visitor-{visitor_no}");
            graph.add_account(&visitor)?;
            for (_, name) in &known {
                match graph.follow(&visitor, name) {
                    Err(error) if error.kind() != ErrorKind::SelfFollow => {
                        return Err(error.into());
                    }
                    _ => {}
                }
                writeln!(out, "{visitor} {name}")?;
                out.flush()?;
            }
        }
        Ok(Verdict::Fine)
    }
}

fn show_next_commands(db: &Path, out: &mut dyn Write) -> Result<(), Failure> {
    let program = std::env::args_os().next().unwrap_or_else(|| "followgraph".into());
    let (program, db) = (program.display(), db.display());
    headline(out, "What to try next")?;
    let on_this_graph = [
        "counts malik-lab the-daily-loaf --json",
        "list malik-lab --type mutual --limit 10",
        "follow zoë_maps the-daily-loaf",
        "stats",
    ];
    for command in on_this_graph {
        writeln!(out, "  {program} --db {db} {command}")?;
    }
    writeln!(out, "and with follows of your own, in lines of FROM TO [UNIX_TIME]:")?;
    writeln!(out, "  {program} --db my-graph import my-follows.txt")?;
    writeln!(out, "  {program} --db my-graph bench")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_graph_that_comes_with_the_program_has_no_bad_line_and_the_accounts_shown() {
        let text = std::str::from_utf8(SMALL_EDGES).expect("it is UTF-8");
        let mut edge_count = 0;
        for line in text.lines() {
            match Line::parse(line.as_bytes()) {
                Line::Edge { at: Some(_), .. } => edge_count += 1,
                other => assert!(other == Line::Blank, "{line}"),
            }
        }
        assert!(edge_count > 2000);
        let (missing, shown) = SHOWN_ACCOUNTS.split_last().expect("it is not empty");
        assert!(shown.iter().all(|name| text.contains(&format!(" {name} "))));
        assert!(!text.contains(missing));
    }
}
