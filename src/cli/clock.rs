//! `clock`: the clock of the machine beside the times of follows.

use super::failure::{Failure, Verdict};
use super::output::write_json;
use clap::Args;
use followgraph::{ClockReport, FollowGraph};
use serde::Serialize;
use std::io::Write;

/// Compare the clock of the machine with the times of follows, or reset that of the graph
///
/// Follow times never go back. A follow that was made while the clock of the machine was ahead
/// keeps later ones at its time, until the graph is told that the clock is right. The exit code is
/// 1 if something is wrong.
#[derive(Args)]
#[command(after_help = "Examples:\n  followgraph --db graph clock\n  \
    followgraph --db graph clock --reset")]
pub(crate) struct Clock {
    /// Take the clock of the machine for right: later follows get its time. Follows that have a
    /// later time keep it
    #[arg(long)]
    reset: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A [`ClockReport`] for programs.
#[derive(Serialize)]
struct ReportBody {
    reading: u32,
    follow_time: u32,
    floor: u32,
    newest_follow_at: u32,
    fault: Option<String>,
}

impl Clock {
    /// Whether the graph has to be opened to be written.
    pub(crate) fn writes(&self) -> bool {
        self.reset
    }

    pub(crate) fn run(&self, graph: &FollowGraph, out: &mut dyn Write) -> Result<Verdict, Failure> {
        if self.reset {
            graph.reset_clock()?;
        }
        let report = graph.clock();
        let fault = report.fault.map(|fault| fault.to_string());
        if self.json {
            let ClockReport { reading, follow_time, floor, newest_follow_at, .. } = report;
            write_json(out, &ReportBody { reading, follow_time, floor, newest_follow_at, fault })?;
        } else {
            writeln!(out, "clock of the machine        {}", report.reading)?;
            writeln!(out, "a follow made now gets      {}", report.follow_time)?;
            writeln!(out, "latest time from the clock  {}", report.floor)?;
            writeln!(out, "newest follow               {}", report.newest_follow_at)?;
            if let Some(fault) = fault {
                writeln!(out, "{fault} with `followgraph clock --reset`")?;
            }
        }
        Ok(Verdict::fine_if(report.fault.is_none()))
    }
}
