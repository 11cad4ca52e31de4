//! `checkpoint`: looking after a graph.

use super::failure::{Failure, Verdict};
use super::output::grouped;
use clap::Args;
use followgraph::FollowGraph;
use std::io::Write;
use std::time::Instant;

/// Write all that is in the log into a new image
///
/// A running graph does this by itself; after it, opening has nothing to replay.
#[derive(Args)]
#[command(after_help = "Example:\n  followgraph --db graph checkpoint")]
pub(crate) struct Checkpoint {}

impl Checkpoint {
    #[expect(clippy::unused_self, reason = "every command is run the same way")]
    pub(crate) fn run(&self, graph: &FollowGraph, out: &mut dyn Write) -> Result<Verdict, Failure> {
        let started = Instant::now();
        let report = graph.checkpoint()?;
        let (bytes, sequence) = (grouped(report.image_bytes), report.sequence);
        if report.written {
            let seconds = started.elapsed().as_secs_f64();
            writeln!(out, "wrote an image of {bytes} bytes up to {sequence} in {seconds:.2} s")?;
        } else {
            writeln!(out, "nothing new since the image of {bytes} bytes up to {sequence}")?;
        }
        Ok(Verdict::Fine)
    }
}
