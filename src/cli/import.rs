//! `import`: an edge list into the graph, at once if the graph is empty, else commit by commit.

use super::edges::{EdgeLines, TakeEdges};
use super::failure::{Failure, Verdict};
use super::input::{Input, NumberedEdge};
use super::output::{self, Align, Table, grouped};
use super::progress::{Progress, rate};
use clap::Args;
use followgraph::{BulkLoad, Durability, ErrorKind, FollowGraph, Mutation, Options, Outcome};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Follows that go into one commit: enough that the cost of a commit disappears.
const COMMIT_EDGES: usize = 8192;

/// What a failed import leaves of a graph that was empty.
const NOTHING: &str = "nothing was imported";

/// What a failed import leaves of any other.
const WHAT_WAS_BEFORE: &str = "the lines before were imported";

/// Import an edge list: lines of `FROM TO [UNIX_TIME]`, plain, gzip or zstd
///
/// An edge `FROM TO` says that FROM follows TO. Lines that start with `#` and empty lines are left
/// out, and so are follows of oneself and follows that are there already. Accounts are made as
/// they appear.
///
/// Into an empty graph the list is loaded as a whole or not at all; into any other it is committed
/// piece by piece, and importing the same list again goes on where an error stopped it.
#[derive(Args)]
#[command(after_help = "Example:\n  followgraph --db graph import follows.txt.gz")]
pub(crate) struct Import {
    /// The edge list, or `-` for standard input
    file: PathBuf,
    /// Leave out lines that cannot be understood, instead of stopping at the first
    #[arg(long)]
    skip_bad: bool,
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
        let mut input = Input::open(&self.file)?;
        let options = Options::new()
            .create_missing_accounts(true)
            .durability(Durability::Never)
            .segment_bytes(self.segment_size);
        let graph = super::open(options, db)?;
        let started = Instant::now();
        // The graph itself knows best whether it is empty enough to be loaded as a whole.
        let tally = match graph.bulk_load(self.memory) {
            Ok(load) => self.load(load, &mut input).map_err(|failure| failure.leaving(NOTHING)),
            Err(error) if error.kind() == ErrorKind::InvalidArgument => {
                self.commit(&graph, &mut input).map_err(|failure| failure.leaving(WHAT_WAS_BEFORE))
            }
            Err(error) => Err(error.into()),
        }?;
        report(&tally, input.name(), started.elapsed(), out)?;
        if let Some(moved) = graph.stats().directory_moved {
            output::say(format_args!("followgraph: note: {moved}"));
        }
        Ok(Verdict::Fine)
    }

    /// Sorts everything, then writes the image directly.
    fn load(&self, mut load: BulkLoad<'_>, input: &mut Input) -> Result<Tally, Failure> {
        let lines = self.feed(input, &mut |edges, lines| add_to_load(&mut load, edges, lines))?;
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
    fn commit(&self, graph: &FollowGraph, input: &mut Input) -> Result<Tally, Failure> {
        let account_count_before = graph.stats().account_count;
        let mut tally = Tally::default();
        let fed = self.feed(input, &mut |edges, lines| {
            edges.chunks(COMMIT_EDGES).try_for_each(|edges| apply(graph, edges, &mut tally, lines))
        });
        // What was committed before a bad line is said to be there, so it has to be.
        graph.sync()?;
        tally.bad_lines = fed?.bad_lines;
        graph.checkpoint()?;
        tally.accounts = graph.stats().account_count.saturating_sub(account_count_before);
        Ok(tally)
    }

    /// Reads the whole input and hands on its edges.
    fn feed(&self, input: &mut Input, take: &mut TakeEdges<'_>) -> Result<EdgeLines, Failure> {
        let mut lines = EdgeLines::new(&self.file, self.skip_bad);
        let mut progress = Progress::start("reading", input.total_bytes());
        lines.feed(input, &mut progress, take)?;
        Ok(lines)
    }
}

fn add_to_load(
    load: &mut BulkLoad<'_>,
    edges: &[NumberedEdge<'_>],
    lines: &mut EdgeLines,
) -> Result<(), Failure> {
    for edge in edges {
        match load.add(edge.from, edge.to, edge.at) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::InvalidName => {
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
