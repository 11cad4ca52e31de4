//! The one error of the crate: a small kind to branch on, and a context to show.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};

/// What every fallible call of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of thing went wrong, to branch on.
// Nodes of a cluster tell each other kinds by their place in this list: new ones go to its end.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ErrorKind {
    /// A user name is empty, longer than 255 bytes, or holds a control character.
    InvalidName,
    /// The account does not exist, or was removed.
    UnknownAccount,
    /// The account is being removed: its follows go some at a time, and nothing new is taken.
    BeingRemoved,
    /// An account was asked to follow itself.
    SelfFollow,
    /// The account's sets are kept by another node; its counts and lists are not known here.
    ForeignAccount,
    /// The follower already follows as many accounts as `max_following` allows.
    FollowingLimit,
    /// The account to follow already has as many followers as `max_followers` allows.
    FollowersLimit,
    /// The follower already has as many mutual follows as `max_mutual` allows.
    FollowerMutualLimit,
    /// The account to follow already has as many mutual follows as `max_mutual` allows.
    FollowedMutualLimit,
    /// The page cursor was not made by this list.
    InvalidCursor,
    /// An argument or option is outside what it may be.
    InvalidArgument,
    /// Another process (or another handle of this one) has the graph open.
    InUse,
    /// The directory holds files, but no follow graph.
    NotAGraph,
    /// The file was written by a newer version of this crate.
    UnsupportedVersion,
    /// Bytes on disk are not what was written. Nothing was changed.
    Corrupt,
    /// The operating system refused an operation on a file.
    Io,
    /// The disk has no room left, or the file would exceed the file size limit of the process
    /// (`RLIMIT_FSIZE`) or of the file system. Nothing was changed.
    DiskFull,
    /// An earlier write or sync failed, so writes are refused until the graph is opened again.
    Latched,
    /// A checkpoint or `verify` found counters and sets that disagree.
    AuditFailed,
    /// The log does not go back to this position any more, or a consumer's position is not known.
    PositionLost,
    /// The graph was closed while its changes were waited for or read.
    Closed,
    /// The graph was opened to be read only, so that nothing is written.
    ReadOnly,
    /// A backup or a restore into this directory was not finished, so it holds no graph yet.
    Unfinished,
    /// Another node, or the log of a cluster, cannot be reached now. Nothing was done: try again.
    Unavailable,
    /// More is waiting to be written than a node of a cluster takes. Nothing was done: slow down.
    Overloaded,
    /// The log of a cluster did not confirm a change in time: it may have been made or not, or may
    /// still be.
    OutcomeUnknown,
    /// A node of a cluster has not come as far as the position that was asked for. Ask another.
    Behind,
    /// No node that answers for this account is known here, or its copy is being made anew.
    NotHosted,
    /// The log of a cluster is another one, its settings or its server are not what this needs, or
    /// it holds what this version does not know.
    Incompatible,
    /// A time given for a follow lies in the future.
    InvalidTime,
    /// A callback called what waits for the call that it came from. Nothing was done.
    Reentrant,
    /// A bulk load is being finished, so nothing is written now. Nothing was done: try again.
    BulkLoading,
    /// The wait for changes was cancelled.
    Cancelled,
    /// A thread in the background ended with a panic.
    Panicked,
    /// A repair would remove more than its limit, or its list is empty or lacks lines that were
    /// refused. Nothing was changed.
    RepairRefused,
}

/// The error of every fallible call: a [`kind`](Error::kind) to branch on and a sentence to show.
///
/// An error without context (as `batch_counts` gives for an unknown account) owns no memory, so a
/// batch of misses allocates nothing.
///
/// ```
/// use followgraph::{ErrorKind, FollowGraph};
/// let graph = FollowGraph::in_memory();
/// let error = graph.counts("nobody").unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::UnknownAccount);
/// assert_eq!(error.to_string(), "unknown account: \"nobody\"");
/// ```
#[derive(Clone)]
pub struct Error {
    kind: ErrorKind,
    context: Option<Box<Context>>,
}

#[derive(Clone, Debug, Default)]
struct Context {
    message: String,
    path: Option<PathBuf>,
    offset_bytes: Option<u64>,
    expected: Option<String>,
    got: Option<String>,
}

impl Error {
    /// What kind of thing went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The file or directory the error is about, where there is one.
    pub fn path(&self) -> Option<&Path> {
        self.context.as_ref()?.path.as_deref()
    }

    /// The byte offset in [`path`](Error::path) the error is about, where there is one.
    pub fn offset_bytes(&self) -> Option<u64> {
        self.context.as_ref()?.offset_bytes
    }

    /// An error that owns no memory: the caller knows what it asked for.
    pub(crate) const fn bare(kind: ErrorKind) -> Error {
        Error { kind, context: None }
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        let context = Context { message: message.into(), ..Context::default() };
        Error { kind, context: Some(Box::new(context)) }
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn corrupt(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Corrupt, message)
    }

    /// Wraps what the operating system said; a full disk has a kind of its own.
    #[cold]
    #[inline(never)]
    pub(crate) fn io(action: &str, path: &Path, source: &std::io::Error) -> Error {
        use std::io::ErrorKind as Io;
        let full = matches!(source.kind(), Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge);
        let kind = if full { ErrorKind::DiskFull } else { ErrorKind::Io };
        let advice = match source.kind() {
            Io::FileTooLarge => {
                "; this is the limit of the file size, of this process (`ulimit -f`) or of the \
                 file system: raise it and try again"
            }
            _ if full => "; free some space and try again",
            Io::PermissionDenied | Io::ReadOnlyFilesystem => {
                "; the directory must be writable by this process"
            }
            _ => "",
        };
        Error::new(kind, format!("cannot {action}: {source}{advice}")).at_path(path)
    }

    /// Says that the graph is open in the process that this one was forked from.
    #[cold]
    #[inline(never)]
    pub(crate) fn forked() -> Error {
        let message = "this process was forked from the one that opened the graph; the handle \
                       writes there alone";
        Error::new(ErrorKind::InUse, message)
    }

    /// What a handle says that only reads.
    #[cold]
    #[inline(never)]
    pub(crate) fn read_only() -> Error {
        let message = "this handle came from `open_read_only`; write where the graph was opened \
                       with `open`";
        Error::new(ErrorKind::ReadOnly, message)
    }

    #[cold]
    pub(crate) fn at_path(mut self, path: &Path) -> Error {
        self.context_mut().path.get_or_insert_with(|| path.to_owned());
        self
    }

    #[cold]
    pub(crate) fn at_offset(mut self, offset_bytes: u64) -> Error {
        self.context_mut().offset_bytes.get_or_insert(offset_bytes);
        self
    }

    #[cold]
    pub(crate) fn expected(mut self, expected: impl fmt::Display, got: impl fmt::Display) -> Error {
        let context = self.context_mut();
        context.expected = Some(expected.to_string());
        context.got = Some(got.to_string());
        self
    }

    /// What it says beside its kind.
    #[cfg(feature = "cluster")]
    pub(crate) fn details(&self) -> String {
        let text = self.to_string();
        let details = text.strip_prefix(self.kind.describe()).unwrap_or(&text);
        details.trim_start_matches(": ").to_owned()
    }

    /// Names the account an otherwise bare error is about.
    #[cold]
    pub(crate) fn about(mut self, name: &str) -> Error {
        let context = self.context_mut();
        if context.message.is_empty() {
            context.message = quoted(name);
        }
        self
    }

    fn context_mut(&mut self) -> &mut Context {
        self.context.get_or_insert_default()
    }
}

/// The most bytes of a name that a message shows.
const SHOWN_NAME_BYTES_MAX: usize = 255;

/// Quotes a name for a message, and shortens it where it is longer than any valid one.
pub(crate) fn quoted(name: &str) -> String {
    if name.len() <= SHOWN_NAME_BYTES_MAX {
        return format!("{name:?}");
    }
    let end = name.floor_char_boundary(SHOWN_NAME_BYTES_MAX);
    format!("{:?} and {} more bytes", &name[..end], name.len() - end)
}

impl ErrorKind {
    /// The sentence that stands for the kind, used where an error has no words of its own.
    fn describe(self) -> &'static str {
        match self {
            ErrorKind::InvalidName => {
                "invalid name (1 to 255 bytes of UTF-8 without control characters)"
            }
            ErrorKind::UnknownAccount => "unknown account",
            ErrorKind::BeingRemoved => "the account is being removed",
            ErrorKind::SelfFollow => "an account cannot follow itself",
            ErrorKind::ForeignAccount => "the account's sets are on another node",
            ErrorKind::FollowingLimit => "the follower's following limit is reached",
            ErrorKind::FollowersLimit => "the followed account's follower limit is reached",
            ErrorKind::FollowerMutualLimit => "the follower's mutual limit is reached",
            ErrorKind::FollowedMutualLimit => "the followed account's mutual limit is reached",
            ErrorKind::InvalidCursor => "the cursor does not belong to this list",
            ErrorKind::InvalidArgument => "invalid argument",
            ErrorKind::InUse => "the graph is open elsewhere",
            ErrorKind::NotAGraph => "not a follow graph",
            ErrorKind::UnsupportedVersion => "written by a newer version of followgraph",
            ErrorKind::Corrupt => "corrupt data",
            ErrorKind::Io => "input or output failed",
            ErrorKind::DiskFull => "the disk is full or a limit is reached",
            ErrorKind::Latched => "writes are refused since an earlier one failed",
            ErrorKind::AuditFailed => "counters and sets disagree",
            ErrorKind::PositionLost => "the changes behind this position are gone",
            ErrorKind::Closed => "the graph was closed",
            ErrorKind::ReadOnly => "the graph is open for reading only",
            ErrorKind::Unfinished => "an unfinished copy",
            ErrorKind::Unavailable => "not reachable now",
            ErrorKind::Overloaded => "more waits to be written than this node takes",
            ErrorKind::OutcomeUnknown => "not confirmed in time, so it may have happened or not",
            ErrorKind::Behind => "this node has not come that far",
            ErrorKind::NotHosted => "no copy of the account is at hand",
            ErrorKind::Incompatible => "the cluster is not what this node needs",
            ErrorKind::InvalidTime => "the time of the follow lies in the future",
            ErrorKind::Reentrant => "a call from inside a callback",
            ErrorKind::BulkLoading => "a bulk load is being finished",
            ErrorKind::Cancelled => "the wait was cancelled",
            ErrorKind::Panicked => "a thread in the background panicked",
            ErrorKind::RepairRefused => "the repair was refused and nothing was changed",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.describe())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.kind.describe())?;
        let Some(context) = &self.context else {
            return Ok(());
        };
        if !context.message.is_empty() {
            write!(formatter, ": {}", context.message)?;
        }
        if let Some(path) = &context.path {
            write!(formatter, ": {}", path.display())?;
        }
        if let Some(offset_bytes) = context.offset_bytes {
            write!(formatter, " at byte {offset_bytes}")?;
        }
        if let (Some(expected), Some(got)) = (&context.expected, &context.got) {
            write!(formatter, " (expected {expected}, got {got})")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Error({:?}: {self})", self.kind)
    }
}

impl std::error::Error for Error {}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Error {
        Error::bare(kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_where_expected_and_got() {
        let error = Error::corrupt("frame checksum")
            .at_path(Path::new("/g/log-1"))
            .at_offset(64)
            .expected(1, 2);
        let shown = "corrupt data: frame checksum: /g/log-1 at byte 64 (expected 1, got 2)";
        assert_eq!(error.to_string(), shown);
        assert_eq!(error.offset_bytes(), Some(64));
    }

    #[test]
    fn a_full_disk_has_its_own_kind_and_advice() {
        let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let error = Error::io("write", Path::new("/g"), &source);
        assert_eq!(error.kind(), ErrorKind::DiskFull);
        assert!(error.to_string().contains("free some space"));
    }
}
