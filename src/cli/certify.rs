//! `certify`: the crash certificate, made again by whoever wants to see it.

use super::failure::{Failure, Verdict};
use super::kills::{Bound, certify_by_kills};
use super::output;
use clap::Args;
use followgraph::testing::{Extent, certify};
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

/// Lose power at every call to a simulated disk, fail every call, and check what is left
///
/// Needs no graph and writes none: all of it happens in memory. With --dir a real process writes to
/// a real disk instead and is killed, which says nothing about a loss of power. The exit code is 1
/// if anything is found.
#[derive(Args)]
#[command(after_help = "Examples:\n  followgraph certify --seed 7 --out certificate.md\n  \
                        followgraph certify --dir /mnt/disk/trial --kills 200")]
pub(crate) struct Certify {
    /// Where all chance comes from: the same seed tries the same
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Draw 16 outcomes for each call instead of one, and lose power again in one recovery of four
    /// instead of eight: about eight times as much, some minutes on two processors
    #[arg(long, conflicts_with = "dir")]
    long: bool,
    /// Kill a process that writes to this directory, which must be empty or not there; what it
    /// wrote is removed at the end
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// So many kills [50, unless --seconds is given]
    #[arg(long, value_name = "NUMBER", requires = "dir")]
    kills: Option<u64>,
    /// For so long
    #[arg(long, value_name = "NUMBER", requires = "dir")]
    seconds: Option<u64>,
    /// Write the report to this file, too
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Certify {
    pub(crate) fn run(&self, out: &mut dyn Write) -> Result<Verdict, Failure> {
        let (report, is_clean) = match &self.dir {
            Some(dir) => {
                let bound = Bound { kills: self.kills, seconds: self.seconds };
                let report = certify_by_kills(dir, self.seed, bound)?;
                (report.to_string(), report.is_clean())
            }
            None => self.simulate(),
        };
        if let Some(path) = &self.out {
            fs::write(path, &report).map_err(|error| {
                Failure::input(format!("cannot write {}: {error}", path.display()))
            })?;
        }
        write!(out, "{report}")?;
        Ok(Verdict::fine_if(is_clean))
    }

    fn simulate(&self) -> (String, bool) {
        let started = Instant::now();
        let extent = if self.long { Extent::long(self.seed) } else { Extent::short(self.seed) };
        let certificate = certify(extent, &mut |report| {
            let seconds = started.elapsed().as_secs();
            let (name, count) = (&report.name, report.flaw_count);
            output::say(format_args!("followgraph: {seconds} s: {name}: {count} flaws"));
        });
        (certificate.to_string(), certificate.is_clean())
    }
}
