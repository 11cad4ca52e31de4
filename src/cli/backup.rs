//! `backup`, `restore`: a graph beside itself, and back from there.

use super::failure::{Failure, Verdict};
use super::output::{grouped, write_json};
use clap::Args;
use followgraph::{FollowGraph, RestoreTo};
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;

/// Write a verified copy of the graph into a directory, or what it lacks to one that is there
#[derive(Args)]
#[command(after_help = "Example:\n  followgraph --db graph backup graph-backup --hold nightly")]
pub(crate) struct Backup {
    /// A directory that is not there yet or is empty, or the backup to go on with
    dest: PathBuf,
    /// Keep the log from this backup on, under this name, so that the next one can go on
    #[arg(long, value_name = "NAME")]
    hold: Option<String>,
    /// Write the result as JSON
    #[arg(long)]
    json: bool,
}

/// Make a graph of a backup, as it was at any commit the backup has
///
/// The backup is only read. The new graph is verified, and has an id of its own.
#[derive(Args)]
#[command(after_help = "Example:\n  followgraph restore graph-backup graph --to-position 1200")]
pub(crate) struct Restore {
    /// The directory of the backup
    backup: PathBuf,
    /// A directory that is not there yet, or is empty
    #[arg(required_unless_present = "list", conflicts_with = "list")]
    dest: Option<PathBuf>,
    /// The sequence number of the last commit to restore; all there are if not given
    #[arg(long, value_name = "NUMBER", conflicts_with = "list")]
    to_position: Option<u64>,
    /// Say which positions the backup covers, and do nothing
    #[arg(long)]
    list: bool,
    /// Write the result as JSON
    #[arg(long)]
    json: bool,
}

impl Backup {
    pub(crate) fn run(&self, graph: &FollowGraph, out: &mut dyn Write) -> Result<Verdict, Failure> {
        // A new consumer begins at the end, which this backup is not before.
        let hold = self.hold.as_deref().map(|name| graph.consumer(name)).transpose()?;
        let report = graph.backup(&self.dest)?;
        if let Some(hold) = hold {
            hold.acknowledge(report.sequence)?;
        }
        if self.json {
            let line = json!({
                "kind": "backup",
                "sequence": report.sequence,
                "since": report.since,
                "written_bytes": report.written_bytes,
            });
            write_json(out, &line)?;
            return Ok(Verdict::Fine);
        }
        let (dest, bytes) = (self.dest.display(), grouped(report.written_bytes));
        let sequence = report.sequence;
        match report.since {
            None => writeln!(out, "wrote a copy of {bytes} bytes up to {sequence} to {dest}")?,
            Some(since) if since == sequence => {
                writeln!(out, "nothing new since {sequence} in {dest}")?;
            }
            Some(since) => {
                writeln!(out, "added {bytes} bytes from {since} up to {sequence} to {dest}")?;
            }
        }
        Ok(Verdict::Fine)
    }
}

impl Restore {
    pub(crate) fn run(&self, out: &mut dyn Write) -> Result<Verdict, Failure> {
        match &self.dest {
            Some(dest) if !self.list => self.restore(dest, out)?,
            _ => self.list(out)?,
        }
        Ok(Verdict::Fine)
    }

    fn list(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let covered = FollowGraph::backup_coverage(&self.backup)?;
        let (first, last) = (covered.first_sequence, covered.last_sequence);
        if self.json {
            let line = json!({ "kind": "covers", "first_sequence": first, "last_sequence": last });
            return write_json(out, &line);
        }
        writeln!(out, "covers every position from {first} to {last}")?;
        Ok(())
    }

    fn restore(&self, dest: &PathBuf, out: &mut dyn Write) -> Result<(), Failure> {
        let to = self.to_position.map_or(RestoreTo::End, RestoreTo::Sequence);
        let report = FollowGraph::restore(&self.backup, dest, to)?;
        if self.json {
            let line = json!({
                "kind": "restored",
                "sequence": report.sequence,
                "account_count": report.account_count,
                "follow_count": report.follow_count,
                "written_bytes": report.written_bytes,
            });
            return write_json(out, &line);
        }
        let (accounts, follows) = (grouped(report.account_count), grouped(report.follow_count));
        let (sequence, dest) = (report.sequence, dest.display());
        writeln!(
            out,
            "restored {accounts} accounts, {follows} follows, as of {sequence}, to {dest}"
        )?;
        Ok(())
    }
}
