//! `verify`: recount everything, and compare it with what another system says.

use super::against::{Against, AgainstOptions, Printed};
use super::against_counts;
use super::failure::{Failure, Verdict};
use super::input::Input;
use super::output::{grouped, write_json};
use super::progress::Progress;
use clap::Args;
use followgraph::{FollowGraph, Verification};
use serde_json::json;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

/// Read everything and recount it; compare it with an edge list or with counts from elsewhere
///
/// Counts are compared with lists, mutual counts with intersections, followers with followings. If
/// anything is wrong with the graph itself, the exit code is 3.
///
/// With `--against`, the follows and the accounts are then compared with an edge list of another
/// system, in any format that `import` takes, and every difference is printed:
/// `missing` is what the list has and the graph does not, `extra` the reverse. The exit code is 1
/// if they differ. With `--repair` the graph is brought to the list and compared again.
///
/// A repair prints what it will do before its first change. Nothing is changed if the list has a
/// bad line or no follow, or if more would be removed than `--max-removals` allows. On a terminal
/// it is a dry run unless `--yes` is given. If the list is a part of what the other system has,
/// give its accounts with `--only-accounts`, or remove nothing with `--add-only`.
#[derive(Args)]
#[command(after_help = "Examples:\n  followgraph --db graph verify\n  \
                        followgraph --db graph verify --against follows.txt.gz\n  \
                        followgraph --db graph verify --against new.txt --repair --dry-run\n  \
                        followgraph --db graph verify --against new.txt --repair --yes\n  \
                        followgraph --db graph verify --against-counts counts.tsv.gz")]
pub(crate) struct Verify {
    /// Compare with this edge list, plain, gzip or zstd, or `-` for standard input
    #[arg(long, value_name = "FILE", group = "other")]
    against: Option<PathBuf>,
    /// Compare with this table of counts, lines of `USER<TAB>FOLLOWERS<TAB>FOLLOWING<TAB>MUTUAL`
    #[arg(long, value_name = "FILE", group = "other")]
    against_counts: Option<PathBuf>,
    #[command(flatten)]
    options: AgainstOptions,
    /// Print lines of JSON
    #[arg(long)]
    json: bool,
}

impl Verify {
    /// Whether the graph has to be open for writing.
    pub(crate) fn writes(&self) -> bool {
        self.options.repairs()
    }

    pub(crate) fn run(&self, graph: &FollowGraph, out: &mut dyn Write) -> Result<Verdict, Failure> {
        let options = &self.options;
        if let Some(file) = &self.against {
            let against = Against::new(file, options, self.json)?;
            // The list comes first: a mistyped file name should not cost a recount.
            let input = Input::open(file, options.format)?;
            self.recount(graph, out)?;
            return against.run(graph, input, out);
        }
        if let Some(file) = &self.against_counts {
            let table = against_counts::Table::open(file, options.skip_bad)?;
            self.recount(graph, out)?;
            let printed = Printed::new(self.json, options.limit, out);
            return table.compare(graph, options.lonely_accounts, printed);
        }
        self.recount(graph, out)?;
        Ok(Verdict::Fine)
    }

    fn recount(&self, graph: &FollowGraph, out: &mut dyn Write) -> Result<(), Failure> {
        let started = Instant::now();
        let start = |action| Progress::bar_only(action, Some(1), !self.json);
        let (mut progress, mut counts) = (start("reading"), false);
        let found = graph.verify_with(&mut |far| {
            if far.accounts_done == 0 {
                progress.show(far.bytes_done, Some(far.byte_count), far.bytes_done, "bytes");
                return ControlFlow::Continue(());
            }
            if !std::mem::replace(&mut counts, true) {
                progress = start("counting");
            }
            let (done, total) = (far.accounts_done, far.account_count);
            progress.show(done, Some(total), done, "accounts");
            ControlFlow::Continue(())
        })?;
        drop(progress);
        let found = found.expect("nobody stopped it");
        self.print(&found, started.elapsed().as_secs_f64(), out)
    }

    fn print(
        &self,
        found: &Verification,
        seconds: f64,
        out: &mut dyn Write,
    ) -> Result<(), Failure> {
        if self.json {
            let line = json!({
                "kind": "verified",
                "account_count": found.account_count,
                "follow_count": found.follow_count,
                "sequence": found.sequence,
                "fingerprint": hexadecimal(found.fingerprint),
                "content_fingerprint": hexadecimal(found.content_fingerprint),
                "account_fingerprint": hexadecimal(found.account_fingerprint),
            });
            return write_json(out, &line);
        }
        let (accounts, follows) = (grouped(found.account_count), grouped(found.follow_count));
        writeln!(out, "all is well: {accounts} accounts, {follows} follows, in {seconds:.2} s")?;
        writeln!(out, "  sequence     {}", found.sequence)?;
        writeln!(out, "  fingerprint  {:016x}  of this graph, both directions", found.fingerprint)?;
        let content = found.content_fingerprint;
        writeln!(out, "  follows      {content:016x}  by name: the same in any graph with these")?;
        writeln!(out, "  accounts     {:016x}  likewise", found.account_fingerprint)?;
        Ok(())
    }
}

/// A fingerprint as text: JSON readers keep no more than 53 bits of a number.
pub(crate) fn hexadecimal(fingerprint: u64) -> String {
    format!("{fingerprint:016x}")
}
