//! How a command ends: with an answer, or with one sentence that says what went wrong, where, and
//! what to do about it.

use followgraph::{Error, ErrorKind};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The answer of a command that could do its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// All is as asked.
    Fine,
    /// The answer is no, or some items failed.
    NotAll,
}

impl Verdict {
    pub(crate) fn fine_if(all: bool) -> Verdict {
        if all { Verdict::Fine } else { Verdict::NotAll }
    }

    pub(crate) fn exit_code(self) -> ExitCode {
        match self {
            Verdict::Fine => ExitCode::SUCCESS,
            Verdict::NotAll => ExitCode::from(1),
        }
    }
}

/// Why a command could not do its work.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line asks for something that cannot be.
    Usage(String),
    /// The data given to the command is not what it should be.
    Input(String),
    /// The graph in this directory could not be opened.
    Open { db: PathBuf, error: Error },
    /// An operation on an open graph failed.
    Graph(Error),
    /// Standard output could not be written.
    Output(io::Error),
    /// Another failure, and what it left behind.
    After(Box<Failure>, &'static str),
}

impl Failure {
    pub(crate) fn usage(message: impl Into<String>) -> Failure {
        Failure::Usage(message.into())
    }

    pub(crate) fn input(message: impl Into<String>) -> Failure {
        Failure::Input(message.into())
    }

    pub(crate) fn open(db: &Path, error: Error) -> Failure {
        Failure::Open { db: db.to_owned(), error }
    }

    /// Returns the failure of a command that needs a build with the feature `cluster`.
    pub(crate) fn without_cluster() -> Failure {
        Failure::usage(
            "this program was built without the feature `cluster`; build one with \
             `cargo build --profile dist --features cli,cluster`",
        )
    }

    /// Adds what the failure left behind.
    pub(crate) fn leaving(self, state: &'static str) -> Failure {
        Failure::After(Box::new(self), state)
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Failure::Usage(_) => ExitCode::from(2),
            Failure::Input(_) | Failure::Output(_) => ExitCode::from(1),
            Failure::Open { .. } => ExitCode::from(3),
            Failure::Graph(error) => ExitCode::from(code_of(error.kind())),
            Failure::After(failure, _) => failure.exit_code(),
        }
    }
}

/// What an error of an open graph says about the request or about the graph.
fn code_of(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::InvalidName
        | ErrorKind::UnknownAccount
        | ErrorKind::BeingRemoved
        | ErrorKind::SelfFollow
        | ErrorKind::ForeignAccount
        | ErrorKind::FollowingLimit
        | ErrorKind::FollowersLimit
        | ErrorKind::FollowerMutualLimit
        | ErrorKind::FollowedMutualLimit
        | ErrorKind::InvalidTime => 1,
        ErrorKind::InvalidCursor | ErrorKind::InvalidArgument => 2,
        // Everything else is about the graph itself, and so will be every kind yet to come.
        _ => 3,
    }
}

/// What to do about an error, where the error itself does not say.
fn advice(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::NotAGraph => "; make a graph with `followgraph --db DIR import FILE`",
        ErrorKind::UnsupportedVersion => "; use the version of followgraph that wrote it, or later",
        ErrorKind::Corrupt => "; nothing was changed: restore a backup, and check the disk",
        ErrorKind::AuditFailed => "; restore a backup, and report this as a bug",
        ErrorKind::InvalidCursor => "; take the cursor from the page before, of the same list",
        _ => "",
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(message) | Failure::Input(message) => formatter.write_str(message),
            Failure::Open { db, error } => {
                let advice = advice(error.kind());
                write!(formatter, "cannot open the graph in {}: {error}{advice}", db.display())
            }
            Failure::Graph(error) => write!(formatter, "{error}{}", advice(error.kind())),
            Failure::Output(error) => write!(formatter, "cannot write the output: {error}"),
            Failure::After(failure, state) => write!(formatter, "{failure}; {state}"),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Graph(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Output(error)
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Failure {
        Failure::Output(error.into())
    }
}
