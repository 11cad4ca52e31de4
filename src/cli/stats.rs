//! `stats`: how large a graph is, and what that comes to for each follow and each account.

use super::failure::{Failure, Verdict};
use super::output::{Align, Table, grouped, ratio, write_json};
use super::verify::hexadecimal;
use clap::Args;
use followgraph::{Audit, FollowGraph, Stats};
use serde::Serialize;
use std::fs;
use std::io::Write;

/// Show how large the graph is, on disk and in memory
#[derive(Args)]
#[command(after_help = "Example:\n  followgraph --db graph stats --resident")]
pub(crate) struct StatsOf {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Read the whole graph first, and say how much of it is then in memory
    #[arg(long)]
    resident: bool,
}

/// Memory of this process as the kernel counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[expect(clippy::struct_field_names, reason = "a name says its unit")]
struct Resident {
    /// All of it.
    total_bytes: u64,
    /// Of it, pages of files, which the kernel can take back at any time.
    file_bytes: u64,
    /// Of it, memory of the process alone.
    private_bytes: u64,
}

/// The figures of [`Stats`] for programs, under the same names.
#[derive(Serialize)]
struct StatsBody<'a> {
    account_count: u64,
    foreign_account_count: u64,
    follow_count: u64,
    sequence: u64,
    durable_sequence: u64,
    image_sequence: u64,
    image_bytes: u64,
    image_record_bytes: u64,
    image_index_bytes: u64,
    image_name_bytes: u64,
    image_set_bytes: u64,
    log_bytes: u64,
    log_allocated_bytes: u64,
    delta_bytes: u64,
    latched: Option<&'a str>,
    clock_fault: Option<String>,
    directory_moved: Option<&'a str>,
    audit: AuditBody,
    recovery: RecoveryBody,
    resident: Option<Resident>,
}

/// What the graph keeps to prove its counts.
#[derive(Serialize)]
struct AuditBody {
    sequence: u64,
    followers_sum: u64,
    following_sum: u64,
    mutual_sum: u64,
    following_fingerprint: String,
    followers_fingerprint: String,
    directions_agree: bool,
}

#[derive(Serialize)]
struct RecoveryBody {
    replayed_frames: u64,
    replayed_records: u64,
    cut_bytes: u64,
    cut_frames: u64,
}

impl StatsOf {
    pub(crate) fn run(&self, graph: &FollowGraph, out: &mut dyn Write) -> Result<Verdict, Failure> {
        let resident = if self.resident { Some(resident_after_reading(graph)?) } else { None };
        let stats = graph.stats();
        if self.json {
            write_json(out, &body(&stats, &graph.audit(), resident))?;
        } else {
            table(&stats, &graph.audit(), resident).write("", out)?;
        }
        Ok(Verdict::Fine)
    }
}

fn table(stats: &Stats, audit: &Audit, resident: Option<Resident>) -> Table {
    let mut table = Table::new(vec![Align::Left, Align::Right, Align::Left, Align::Left]);
    let mut row = |what: &str, value: u64, unit: &str, note: String| {
        table.push(vec![what.to_owned(), grouped(value), unit.to_owned(), note]);
    };
    let a_follow = |bytes| format!("{} a follow", ratio(bytes, stats.follow_count));
    let an_account = |bytes| format!("{} an account", ratio(bytes, stats.account_count));
    let foreign = match stats.foreign_account_count {
        0 => String::new(),
        count => format!("{} of them foreign", grouped(count)),
    };
    row("accounts", stats.account_count, "", foreign);
    row("follows", stats.follow_count, "", String::new());
    row("mutual counts", audit.mutual_sum, "", "all together".to_owned());
    row("image", stats.image_bytes, "bytes", a_follow(stats.image_bytes));
    row("  sets", stats.image_set_bytes, "bytes", a_follow(stats.image_set_bytes));
    row(
        "  account records",
        stats.image_record_bytes,
        "bytes",
        an_account(stats.image_record_bytes),
    );
    row("  name index", stats.image_index_bytes, "bytes", an_account(stats.image_index_bytes));
    row("  long names", stats.image_name_bytes, "bytes", an_account(stats.image_name_bytes));
    row("  the rest", rest_of_image(stats), "bytes", String::new());
    row("log since the image", stats.log_bytes, "bytes", a_follow(stats.log_bytes));
    row("log files", stats.log_allocated_bytes, "bytes", "allocated in advance".to_owned());
    row("changes in memory", stats.delta_bytes, "bytes", "since the image".to_owned());
    if let Some(resident) = resident {
        row("resident memory", resident.total_bytes, "bytes", a_follow(resident.total_bytes));
        row("  pages of files", resident.file_bytes, "bytes", a_follow(resident.file_bytes));
        row("  private", resident.private_bytes, "bytes", a_follow(resident.private_bytes));
    }
    let durable = format!("{} of them on disk", grouped(stats.durable_sequence));
    row("commits", stats.sequence, "", durable);
    row("  in the image", stats.image_sequence, "", String::new());
    let recovery = stats.recovery;
    let records = format!("records: {}", grouped(recovery.replayed_records));
    row("replayed on opening", recovery.replayed_frames, "frames", records);
    let frames = format!("frames: {}", grouped(recovery.cut_frames));
    let passed = if stats.read_only { "passed over on opening" } else { "cut on opening" };
    row(passed, recovery.cut_bytes, "bytes", frames);
    let agree = if audit.directions_agree() { "agree" } else { "DISAGREE: run verify" };
    let fingerprint = hexadecimal(audit.following_fingerprint);
    let note = format!("both directions {agree}");
    table.push(vec!["fingerprint".to_owned(), fingerprint, String::new(), note]);
    if let Some(reason) = &stats.latched {
        table.push(vec!["writes are refused".to_owned(), String::new(), reason.clone()]);
    }
    if let Some(fault) = stats.clock_fault {
        table.push(vec!["the clock is wrong".to_owned(), String::new(), fault.to_string()]);
    }
    if let Some(moved) = &stats.directory_moved {
        table.push(vec!["directory moved".to_owned(), String::new(), moved.clone()]);
    }
    table
}

/// The header and the gaps between the sections.
fn rest_of_image(stats: &Stats) -> u64 {
    let sections = [
        stats.image_set_bytes,
        stats.image_record_bytes,
        stats.image_index_bytes,
        stats.image_name_bytes,
    ];
    stats.image_bytes.saturating_sub(sections.iter().sum())
}

fn body<'a>(stats: &'a Stats, audit: &Audit, resident: Option<Resident>) -> StatsBody<'a> {
    StatsBody {
        account_count: stats.account_count,
        foreign_account_count: stats.foreign_account_count,
        follow_count: stats.follow_count,
        sequence: stats.sequence,
        durable_sequence: stats.durable_sequence,
        image_sequence: stats.image_sequence,
        image_bytes: stats.image_bytes,
        image_record_bytes: stats.image_record_bytes,
        image_index_bytes: stats.image_index_bytes,
        image_name_bytes: stats.image_name_bytes,
        image_set_bytes: stats.image_set_bytes,
        log_bytes: stats.log_bytes,
        log_allocated_bytes: stats.log_allocated_bytes,
        delta_bytes: stats.delta_bytes,
        latched: stats.latched.as_deref(),
        clock_fault: stats.clock_fault.map(|fault| fault.to_string()),
        directory_moved: stats.directory_moved.as_deref(),
        audit: AuditBody {
            sequence: audit.sequence,
            followers_sum: audit.followers_sum,
            following_sum: audit.following_sum,
            mutual_sum: audit.mutual_sum,
            following_fingerprint: hexadecimal(audit.following_fingerprint),
            followers_fingerprint: hexadecimal(audit.followers_fingerprint),
            directions_agree: audit.directions_agree(),
        },
        recovery: RecoveryBody {
            replayed_frames: stats.recovery.replayed_frames,
            replayed_records: stats.recovery.replayed_records,
            cut_bytes: stats.recovery.cut_bytes,
            cut_frames: stats.recovery.cut_frames,
        },
        resident,
    }
}

/// Verifying reads every page of the image there is.
fn resident_after_reading(graph: &FollowGraph) -> Result<Resident, Failure> {
    graph.verify()?;
    let status = fs::read_to_string("/proc/self/status")
        .map_err(|error| Failure::input(format!("cannot read /proc/self/status: {error}")))?;
    Ok(parse_status(&status))
}

fn parse_status(status: &str) -> Resident {
    let bytes_of = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let kibibytes = line.and_then(|value| value.trim().strip_suffix("kB"));
        kibibytes.and_then(|value| value.trim().parse::<u64>().ok()).unwrap_or(0) * 1024
    };
    Resident {
        total_bytes: bytes_of("VmRSS:"),
        file_bytes: bytes_of("RssFile:"),
        private_bytes: bytes_of("RssAnon:"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_counts_in_kibibytes() {
        let status = "Name:\tx\nVmRSS:\t    12 kB\nRssAnon:\t       4 kB\nRssFile:\t       8 kB\n";
        let expected = Resident { total_bytes: 12_288, file_bytes: 8_192, private_bytes: 4_096 };
        assert_eq!(parse_status(status), expected);
        assert_eq!(parse_status("").total_bytes, 0);
    }
}
