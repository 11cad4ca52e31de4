//! The subcommand `cluster` of a build without that feature: fails, and says what to build.

use super::failure::{Failure, Verdict};
use clap::Args;
use std::io::Write;

/// Not in this build: needs the feature `cluster`
#[derive(Args)]
pub(crate) struct Cluster {
    /// Whatever a build with clusters takes
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

impl Cluster {
    #[expect(clippy::unused_self, reason = "it stands for the subcommand of the other build")]
    pub(crate) fn run(&self, _: &mut dyn Write) -> Result<Verdict, Failure> {
        Err(Failure::without_cluster())
    }
}
