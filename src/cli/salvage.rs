//! `salvage`: a new graph from what still checks out of a damaged one.

use super::failure::{Failure, Verdict};
use super::output::{grouped, shown, write_json};
use clap::Args;
use followgraph::{AffectedAccount, DamagedRange, SalvageReport};
use serde::Serialize;
use std::io::Write;
use std::path::PathBuf;

/// Save what checks out of a damaged graph into a new directory
///
/// The damaged graph is not changed and need not open. The exit code is 1 if anything was lost.
#[derive(Args)]
#[command(after_help = "Example:\n  followgraph salvage graph graph-saved")]
pub(crate) struct Salvage {
    /// The directory of the damaged graph
    src: PathBuf,
    /// A directory that is not there yet, or is empty
    dest: PathBuf,
    /// Print the report as one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Body<'a> {
    complete: bool,
    account_count: u64,
    follow_count: u64,
    image_sequence: u64,
    sequence: u64,
    last_sequence: u64,
    unconfirmed_follow_count: u64,
    skipped_record_count: u64,
    damaged: Vec<RangeBody<'a>>,
    accounts: Vec<AccountBody<'a>>,
}

#[derive(Serialize)]
struct RangeBody<'a> {
    file: String,
    offset_bytes: u64,
    len_bytes: u64,
    what: &'a str,
}

#[derive(Serialize)]
struct AccountBody<'a> {
    id: u32,
    name: Option<&'a str>,
    what: &'a str,
}

impl Salvage {
    pub(crate) fn run(&self, out: &mut dyn Write) -> Result<Verdict, Failure> {
        let report = followgraph::salvage(&self.src, &self.dest)?;
        if self.json {
            write_json(out, &body(&report))?;
        } else {
            self.write_text(&report, out)?;
        }
        Ok(Verdict::fine_if(report.complete))
    }

    fn write_text(&self, report: &SalvageReport, out: &mut dyn Write) -> Result<(), Failure> {
        let (accounts, follows) = (grouped(report.account_count), grouped(report.follow_count));
        let (dest, sequence) = (self.dest.display(), report.sequence);
        writeln!(
            out,
            "saved {accounts} accounts and {follows} follows up to {sequence} to {dest}"
        )?;
        for range in &report.damaged {
            let (file, what) = (range.file.display(), &range.what);
            let (from, bytes) = (range.offset_bytes, range.len_bytes);
            writeln!(out, "  damaged: {file}, {bytes} bytes from {from}: {what}")?;
        }
        for account in &report.accounts {
            let name = account.name.as_deref().map_or("a name that is lost".into(), shown);
            writeln!(out, "  affected: {} {name}: {}", account.id, account.what)?;
        }
        if report.unconfirmed_follow_count > 0 {
            let count = grouped(report.unconfirmed_follow_count);
            writeln!(out, "  not confirmed: {count} follows of foreign accounts")?;
        }
        if report.skipped_record_count > 0 {
            let count = grouped(report.skipped_record_count);
            writeln!(out, "  left out: {count} changes that build on what is lost")?;
        }
        if report.last_sequence > sequence {
            let last = report.last_sequence;
            writeln!(out, "  not reached: the commits {} to {last}", sequence + 1)?;
        }
        let verdict = if report.complete {
            "nothing was lost"
        } else {
            "this is not all, or cannot be shown to be all"
        };
        writeln!(out, "{verdict}")?;
        Ok(())
    }
}

fn body(report: &SalvageReport) -> Body<'_> {
    Body {
        complete: report.complete,
        account_count: report.account_count,
        follow_count: report.follow_count,
        image_sequence: report.image_sequence,
        sequence: report.sequence,
        last_sequence: report.last_sequence,
        unconfirmed_follow_count: report.unconfirmed_follow_count,
        skipped_record_count: report.skipped_record_count,
        damaged: report.damaged.iter().map(range_body).collect(),
        accounts: report.accounts.iter().map(account_body).collect(),
    }
}

fn range_body(range: &DamagedRange) -> RangeBody<'_> {
    RangeBody {
        file: range.file.display().to_string(),
        offset_bytes: range.offset_bytes,
        len_bytes: range.len_bytes,
        what: &range.what,
    }
}

fn account_body(account: &AffectedAccount) -> AccountBody<'_> {
    AccountBody { id: account.id.0, name: account.name.as_deref(), what: &account.what }
}
