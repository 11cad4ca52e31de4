//! `usersig`: a ticket for the follow API.

use super::failure::{Failure, Verdict};
use clap::Args;
use followgraph::wire::usersig::{InvalidIdentifier, Key, generate};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Make a `UserSig`, the ticket that every request to the follow API carries
///
/// The key never stands on the command line, where others could see it.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    followgraph usersig --app 1400000000 --key-file key.txt\n  \
    FOLLOWGRAPH_KEY=... followgraph usersig --app 1400000000 --identifier administrator")]
pub(crate) struct Usersig {
    /// The app's `SDKAppID`
    #[arg(long, value_name = "SDKAPPID")]
    app: u64,
    /// Whose ticket it is
    #[arg(long, default_value = "administrator", value_name = "USER")]
    identifier: String,
    /// File with the secret key; without it, the environment variable `FOLLOWGRAPH_KEY` has it
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// How long the ticket is good for
    #[arg(long, default_value_t = 180, value_name = "DAYS")]
    days: u32,
}

impl Usersig {
    pub(crate) fn run(&self, out: &mut dyn Write) -> Result<Verdict, Failure> {
        let key = match &self.key_file {
            Some(path) => read_key(path)?,
            None => std::env::var("FOLLOWGRAPH_KEY").map_err(|_| {
                Failure::usage("where is the key? Give --key-file FILE, or set FOLLOWGRAPH_KEY")
            })?,
        };
        if key.trim().is_empty() {
            return Err(Failure::usage("the key is empty"));
        }
        let usersig = generate_now(&key, self.app, &self.identifier, self.days)
            .map_err(|error| Failure::usage(format!("--identifier: {error}")))?;
        writeln!(out, "{usersig}")?;
        Ok(Verdict::Fine)
    }
}

fn read_key(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| {
        Failure::usage(format!("cannot read the key file {}: {error}", path.display()))
    })
}

/// Makes a `UserSig` that is valid from now on.
pub(crate) fn generate_now(
    key: &str,
    app: u64,
    identifier: &str,
    days: u32,
) -> Result<String, InvalidIdentifier> {
    let now = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
    generate(&Key::new(key), app, identifier, now, u64::from(days) * 86_400)
}
