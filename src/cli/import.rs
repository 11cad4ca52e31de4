//! `import`: an edge list into the graph, at once if the graph is empty, else commit by commit.

use super::edges::{EdgeLines, TakeEdges};
use super::failure::{Failure, Verdict};
use super::input::{Format, Input, NumberedEdge};
use super::interrupt::NewGraph;
use super::output::{self, Align, Table, grouped};
use super::progress::{Progress, rate};
use clap::Args;
use followgraph::{
    BulkLoad, BulkOptions, Durability, ErrorKind, FollowGraph, Mutation, Options, Outcome,
};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Follows that go into one commit: enough that the cost of a commit disappears.
const COMMIT_EDGES: usize = 8192;

/// What a failed import leaves of a graph that is empty.
const NOTHING: &str = "nothing was imported";

/// What a failed import leaves of any other.
const WHAT_WAS_BEFORE: &str = "the lines before it, if any, were imported";

/// Import an edge list: lines of `FROM TO [TIME]`, plain, gzip or zstd
///
/// An edge `FROM TO` says that FROM follows TO, since a time in Unix seconds or as in RFC 3339.
/// Comments and empty lines are left out, and so are follows of oneself and follows that are there
/// already. Accounts are made as they appear. A time more than a day ahead of the clock makes a
/// line a bad one.
///
/// The list may be separated by white space, commas, semicolons or tabs, with or without a header
/// and quotes, or come from KONECT or the Matrix Market. Its first lines show which. If they do not
/// show it clearly, that is an error, and --format says it.
///
/// Into an empty graph the list is loaded as a whole or not at all, and a graph that a failed or
/// interrupted import made is removed again; into any other it is committed piece by piece, and
/// importing the same list again goes on where an error stopped it.
///
/// Lists are ordered by time, newest first. Into an empty graph, follows with the same time, or
/// without one, are ordered by account id, not by line, unless --keep-order is given; into any
/// other, the later line is the newer follow.
#[derive(Args)]
#[command(after_help = "Examples:\n  followgraph --db graph import follows.txt.gz\n  \
                        followgraph --db graph import --format csv follows.csv")]
pub(crate) struct Import {
    /// The edge list, or `-` for standard input
    file: PathBuf,
    /// How the list is written
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Leave out lines that cannot be understood, instead of stopping at the first; it is an error
    /// if there is no other line
    #[arg(long)]
    skip_bad: bool,
    /// Into an empty graph too, take the later of two lines with the same time, or without one, for
    /// the newer follow. Without times this takes two to three bytes more a follow
    #[arg(long)]
    keep_order: bool,
    /// Memory for the follows, for example 512M; what exceeds it goes to a temporary file in the
    /// directory of the graph. The names are not part of it: they take 100 to 125 bytes an account
    #[arg(long, value_name = "SIZE", default_value = "1G", value_parser = parse_size)]
    memory: u64,
    /// The largest size of a log segment, allocated in advance; smaller where there is little room
    /// on the disk
    #[arg(long, value_name = "SIZE", default_value = "64M", value_parser = parse_size)]
    segment_size: u64,
}

/// What became of the edges.
#[derive(Default)]
struct Tally {
    bad_lines: u64,
    accounts: u64,
    follows: u64,
    self_follows: u64,
    duplicates: u64,
}

impl Import {
    pub(crate) fn run(&self, db: &Path, out: &mut dyn Write) -> Result<Verdict, Failure> {
        // The list comes first: a mistyped file name should not leave an empty graph behind.
        let mut input = Input::open(&self.file, self.format)?;
        let mut lines = EdgeLines::new(&self.file, self.skip_bad);
        if is_nothing(db) {
            lines.read_to_first_edge(&mut input).map_err(|failure| failure.leaving(NOTHING))?;
        }
        let options = Options::new()
            .create_missing_accounts(true)
            .durability(Durability::Never)
            .segment_bytes(self.segment_size);
        let new = NewGraph::before(db);
        let graph = Arc::new(super::open(options, db)?);
        let started = Instant::now();
        // The graph itself knows best whether it is empty enough to be loaded as a whole.
        let bulk = BulkOptions::new().memory_bytes(self.memory).keep_order(self.keep_order);
        let tally = match graph.bulk_load_with(bulk) {
            Ok(load) => load_new(load, lines, &mut input, new.as_ref(), &graph),
            Err(error) if error.kind() == ErrorKind::InvalidArgument => {
                commit_all(&graph, lines, &mut input)
                    .map_err(|failure| failure.leaving(WHAT_WAS_BEFORE))
            }
            Err(error) => Err(error.into()),
        }?;
        let moved = graph.stats().directory_moved;
        if let Some(graph) = Arc::into_inner(graph) {
            graph.close()?;
        }
        report(&tally, input.name(), started.elapsed(), out)?;
        if let Some(moved) = moved {
            output::say(format_args!("followgraph: note: {moved}"));
        }
        Ok(Verdict::Fine)
    }
}

/// Whether there is nothing at the place of a graph, so that it would have to be made.
fn is_nothing(db: &Path) -> bool {
    std::fs::read_dir(db).map_or_else(
        |error| error.kind() == std::io::ErrorKind::NotFound,
        |mut entries| entries.next().is_none(),
    )
}

/// Loads an empty graph, and removes it when that fails or is interrupted and it is new.
fn load_new(
    load: BulkLoad<'_>,
    lines: EdgeLines,
    input: &mut Input,
    new: Option<&NewGraph>,
    graph: &Arc<FollowGraph>,
) -> Result<Tally, Failure> {
    let Some(new) = new else {
        return load_all(load, lines, input).map_err(|failure| failure.leaving(NOTHING));
    };
    new.remove_on_signal(graph, NOTHING)?;
    load_all(load, lines, input).map_err(|failure| {
        new.remove(graph);
        failure.leaving(NOTHING)
    })
}

/// Sorts everything, then writes the image directly.
fn load_all(
    mut load: BulkLoad<'_>,
    mut lines: EdgeLines,
    input: &mut Input,
) -> Result<Tally, Failure> {
    feed(&mut lines, input, &mut |edges, lines| add_to_load(&mut load, edges, lines))?;
    let mut progress = Progress::start("building", Some(lines.lines));
    let report = load.finish(&mut |done, total| {
        progress.show(done, Some(total), done, "follows");
    })?;
    Ok(Tally {
        bad_lines: lines.bad_lines,
        accounts: report.account_count,
        follows: report.follow_count,
        self_follows: report.self_follow_count,
        duplicates: report.duplicate_count,
    })
}

/// Commits without waiting for the disk, and waits once at the end.
fn commit_all(
    graph: &FollowGraph,
    mut lines: EdgeLines,
    input: &mut Input,
) -> Result<Tally, Failure> {
    let account_count_before = graph.stats().account_count;
    let mut tally = Tally::default();
    let fed = feed(&mut lines, input, &mut |edges, lines| {
        edges.chunks(COMMIT_EDGES).try_for_each(|edges| apply(graph, edges, &mut tally, lines))
    });
    // What was committed before a bad line is said to be there, so it has to be.
    graph.sync()?;
    fed?;
    tally.bad_lines = lines.bad_lines;
    graph.checkpoint()?;
    tally.accounts = graph.stats().account_count.saturating_sub(account_count_before);
    Ok(tally)
}

/// Reads the whole input and hands on its edges.
fn feed(lines: &mut EdgeLines, input: &mut Input, take: &mut TakeEdges<'_>) -> Result<(), Failure> {
    let mut progress = Progress::start("reading", input.total_bytes());
    lines.feed(input, &mut progress, take)
}

fn add_to_load(
    load: &mut BulkLoad<'_>,
    edges: &[NumberedEdge<'_>],
    lines: &mut EdgeLines,
) -> Result<(), Failure> {
    for edge in edges {
        match load.add(edge.from, edge.to, edge.at) {
            Ok(()) => {}
            Err(error)
                if matches!(error.kind(), ErrorKind::InvalidName | ErrorKind::InvalidTime) =>
            {
                lines.bad_line(edge.line, &error.to_string())?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn apply(
    graph: &FollowGraph,
    edges: &[NumberedEdge<'_>],
    tally: &mut Tally,
    lines: &mut EdgeLines,
) -> Result<(), Failure> {
    let mutations: Vec<_> = edges.iter().map(mutation).collect();
    for (edge, result) in edges.iter().zip(graph.apply(&mutations)?) {
        match result {
            Ok(_) if edge.from == edge.to => tally.self_follows += 1,
            Ok(Outcome::Applied) => tally.follows += 1,
            Ok(Outcome::Unchanged) => tally.duplicates += 1,
            Err(error) => lines.bad_line(edge.line, &error.to_string())?,
        }
    }
    Ok(())
}

fn mutation<'a>(edge: &NumberedEdge<'a>) -> Mutation<'a> {
    // A follow of oneself is left out, but its account is there, as with a bulk load.
    if edge.from == edge.to {
        return Mutation::add_account(edge.from);
    }
    Mutation::follow(edge.from, edge.to).at(edge.at.unwrap_or(0))
}

fn report(
    tally: &Tally,
    name: &str,
    elapsed: Duration,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let (seconds, rate) = (elapsed.as_secs_f64(), rate(tally.follows, elapsed));
    writeln!(out, "imported {name} in {seconds:.2} s, {} follows/s", grouped(rate))?;
    let mut table = Table::new(vec![Align::Left, Align::Right, Align::Left]);
    let rows = [
        ("accounts", tally.accounts, "new"),
        ("follows", tally.follows, "new"),
        ("self follows", tally.self_follows, "left out"),
        ("duplicates", tally.duplicates, "left out"),
        ("bad lines", tally.bad_lines, "left out"),
    ];
    for (what, count, fate) in rows {
        table.push(vec![what.to_owned(), grouped(count), fate.to_owned()]);
    }
    Ok(table.write("  ", out)?)
}

/// Reads a size such as `512M`: bytes, or with K, M, G or T the 1024-fold of the one before.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let upper = text.to_ascii_uppercase();
    let digits = upper.trim_end_matches("IB").trim_end_matches('B');
    let (digits, shift) = match digits.as_bytes().last() {
        Some(b'K') => (&digits[..digits.len() - 1], 10),
        Some(b'M') => (&digits[..digits.len() - 1], 20),
        Some(b'G') => (&digits[..digits.len() - 1], 30),
        Some(b'T') => (&digits[..digits.len() - 1], 40),
        _ => (digits, 0),
    };
    let number = digits.parse::<u64>().ok().filter(|number| *number > 0);
    number
        .and_then(|number| number.checked_mul(1 << shift))
        .ok_or_else(|| "give a size such as 512M or 2G".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_or_are_bytes() {
        assert_eq!(parse_size("4096"), Ok(4096));
        assert_eq!(parse_size("64k"), Ok(64 << 10));
        assert_eq!(parse_size("512M"), Ok(512 << 20));
        assert_eq!(parse_size("2GiB"), Ok(2 << 30));
        assert_eq!(parse_size("1T"), Ok(1 << 40));
        for bad in ["", "M", "0", "-1", "1.5G", "1X", "99999999999T"] {
            assert!(parse_size(bad).is_err(), "{bad:?}");
        }
    }
}
