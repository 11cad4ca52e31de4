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
        | ErrorKind::InvalidTime
        | ErrorKind::RepairRefused => 1,
        ErrorKind::InvalidCursor | ErrorKind::InvalidArgument => 2,
        // Everything else is about the graph itself, and so will be every kind yet to come.
        _ => 3,
    }
}

/// What a command does with a graph, which decides what can be done about its errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Reads or changes a graph that must exist.
    Use,
    /// Opens a graph, or makes one where there is none.
    Make,
    Backup,
    Restore,
    Salvage,
}

/// The same for every command that opens a graph which must exist.
const NO_GRAPH: &str = "; name the directory of a graph with --db, or make a graph with \
                        `followgraph --db DIR import FILE`";
const DAMAGED_GRAPH: &str = "; nothing was changed: restore a backup, or save what is left with \
                             `followgraph salvage DIR NEW_DIR`, and check the disk";

/// What to do about an error of a command, where the error itself does not say. `opening` is
/// whether the graph named by `--db` could not be opened.
fn advice(task: Task, kind: ErrorKind, opening: bool) -> &'static str {
    match (kind, task) {
        (ErrorKind::UnsupportedVersion, _) => {
            "; use the version of followgraph that wrote it, or later"
        }
        (ErrorKind::InvalidCursor, _) => "; take the cursor from the page before, of the same list",
        (ErrorKind::RepairRefused, _) => {
            "; if the list is a part of what the other system has, name its accounts with \
             --only-accounts or remove nothing with --add-only; if the removals are right, allow \
             them with --max-removals"
        }
        (ErrorKind::NotAGraph, Task::Use) => NO_GRAPH,
        (ErrorKind::NotAGraph, Task::Backup) if opening => NO_GRAPH,
        (ErrorKind::NotAGraph, Task::Restore) => {
            "; BACKUP is a directory that `followgraph backup` wrote, DEST one that is empty or \
             does not exist"
        }
        (ErrorKind::NotAGraph, Task::Salvage) => {
            "; SRC is the directory of a graph, DEST one that is empty or does not exist"
        }
        (ErrorKind::Corrupt, Task::Backup) if !opening => {
            "; nothing was backed up: if this file is of the graph, restore an earlier backup or \
             save what is left with `followgraph salvage DIR NEW_DIR`; if it is of the backup, \
             back up into an empty directory; and check the disk"
        }
        (ErrorKind::Corrupt, Task::Restore) => {
            "; nothing was restored: use another backup or an earlier --to-position, or save what \
             is left with `followgraph salvage BACKUP NEW_DIR`, and check the disk"
        }
        (ErrorKind::Corrupt, Task::Salvage) => {
            "; nothing was salvaged: restore a backup, and check the disk"
        }
        (ErrorKind::Corrupt, _) => DAMAGED_GRAPH,
        (ErrorKind::AuditFailed, Task::Use) => "; restore a backup, and report this as a bug",
        (ErrorKind::AuditFailed, _) => "; report this as a bug",
        (ErrorKind::ReadOnly, Task::Backup) => {
            "; another process has the graph open: close it, or back up into an empty directory"
        }
        (ErrorKind::Unfinished, Task::Restore) => {
            "; run the backup into it again, or restore another backup"
        }
        // Among others a directory of other files, where the error says to choose an empty one.
        _ => "",
    }
}

impl Failure {
    /// Adds what to do about the failure, in a command that does this.
    pub(crate) fn advised(&self, task: Task) -> String {
        format!("{self}{}", self.advice(task))
    }

    fn advice(&self, task: Task) -> &'static str {
        match self {
            Failure::Open { error, .. } => advice(task, error.kind(), true),
            Failure::Graph(error) => advice(task, error.kind(), false),
            Failure::After(failure, _) => failure.advice(task),
            Failure::Usage(_) | Failure::Input(_) | Failure::Output(_) => "",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(message) | Failure::Input(message) => formatter.write_str(message),
            Failure::Open { db, error } => {
                write!(formatter, "cannot open the graph in {}: {error}", db.display())
            }
            Failure::Graph(error) => write!(formatter, "{error}"),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Every command's errors of the kinds that come with advice, and words of that advice.
    #[test]
    fn the_advice_after_an_error_is_for_the_command_that_failed() {
        let all = [Task::Use, Task::Make, Task::Backup, Task::Restore, Task::Salvage];
        let table = [
            (ErrorKind::NotAGraph, ["--db DIR import", "", "", "BACKUP", "SRC"]),
            (ErrorKind::Corrupt, ["restore a", "restore a", "backed up", "another", "salvaged"]),
            (ErrorKind::AuditFailed, ["restore", "bug", "bug", "bug", "bug"]),
            (ErrorKind::UnsupportedVersion, ["version"; 5]),
            (ErrorKind::InvalidCursor, ["page before"; 5]),
            (ErrorKind::ReadOnly, ["", "", "another process", "", ""]),
            (ErrorKind::Unfinished, ["", "", "", "run the backup", ""]),
            (ErrorKind::DiskFull, [""; 5]),
            (ErrorKind::UnknownAccount, [""; 5]),
        ];
        for (kind, expected) in table {
            for (task, expected) in all.into_iter().zip(expected) {
                let plain = Failure::from(Error::from(kind));
                let text = plain.advised(task);
                let advice = text.strip_prefix(&plain.to_string()).expect("the error comes first");
                assert!(advice.contains(expected), "{task:?}, {kind:?}: {advice:?}");
                assert_eq!(advice.is_empty(), expected.is_empty(), "{task:?}, {kind:?}: {advice}");
                if task != Task::Use {
                    assert!(!advice.contains("import"), "{task:?}, {kind:?}: {advice:?}");
                }
                if task == Task::Restore || task == Task::Salvage {
                    assert!(!advice.contains("--db"), "{task:?}, {kind:?}: {advice:?}");
                }
            }
        }
    }

    #[test]
    fn advice_comes_after_what_the_failure_left() {
        let failure = Failure::open(Path::new("/g"), ErrorKind::Corrupt.into()).leaving("no more");
        let text = failure.advised(Task::Backup);
        assert!(
            text.starts_with("cannot open the graph in /g: corrupt data; no more; nothing was")
        );
        assert!(text.contains("salvage DIR NEW_DIR"), "{text}");
    }

    #[test]
    fn a_refused_repair_is_never_told_to_leave_lines_out() {
        let text = Failure::from(Error::from(ErrorKind::RepairRefused)).advised(Task::Use);
        assert!(text.contains("--only-accounts") && text.contains("--add-only"), "{text}");
        assert!(!text.contains("--skip-bad"), "{text}");
    }
}
