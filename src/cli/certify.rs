//! `certify`: the crash certificate, made again by whoever wants to see it.

use super::failure::{Failure, Verdict};
use super::output;
use clap::Args;
use followgraph::testing::{Extent, certify};
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

/// Lose power at every call to a simulated disk, fail every call, and check what is left
///
/// Needs no graph and writes none: all of it happens in memory. The exit code is 1 if anything is
/// found.
#[derive(Args)]
#[command(after_help = "Example:\n  followgraph certify --seed 7 --out certificate.md")]
pub(crate) struct Certify {
    /// Where all chance comes from: the same seed tries the same
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Try many times as much; takes many minutes
    #[arg(long)]
    long: bool,
    /// Write the report to this file, too
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Certify {
    pub(crate) fn run(&self, out: &mut dyn Write) -> Result<Verdict, Failure> {
        let started = Instant::now();
        let extent = if self.long { Extent::long(self.seed) } else { Extent::short(self.seed) };
        let certificate = certify(extent, &mut |report| {
            let seconds = started.elapsed().as_secs();
            let (name, count) = (&report.name, report.flaw_count);
            output::say(format_args!("followgraph: {seconds} s: {name}: {count} flaws"));
        });
        if let Some(path) = &self.out {
            fs::write(path, certificate.to_string()).map_err(|error| {
                Failure::input(format!("cannot write {}: {error}", path.display()))
            })?;
        }
        write!(out, "{certificate}")?;
        Ok(Verdict::fine_if(certificate.is_clean()))
    }
}
