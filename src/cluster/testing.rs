//! What tests look at and break that nobody else may: the entries of a log, and the lists of one
//! node alone.

use super::message::{Message, Operation};
use super::node::{Backend, Node};
use crate::error::{Error, ErrorKind, Result};
use crate::shards::VirtualShard;
use crate::types::Outcome;

/// What an entry of the log says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogEntry {
    /// Changes that one node published together, in order.
    Changes {
        /// Which run of which node.
        gateway: u64,
        /// Which of its batches, from 1.
        counter: u64,
        /// Batches of the gateway below this one are settled.
        floor: u64,
        /// The changes.
        changes: Vec<Change>,
    },
    /// What nodes say that changes nothing.
    Other,
}

/// A change, as the log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An account follows another; with `create` both begin to exist.
    Follow {
        /// Who follows.
        follower: String,
        /// Who is followed.
        followed: String,
        /// Whether accounts that are missing begin to exist.
        create: bool,
    },
    /// An account no longer follows another.
    Unfollow {
        /// Who followed.
        follower: String,
        /// Who was followed.
        followed: String,
    },
    /// Another one, as Rust shows it.
    Other(String),
}

/// What the bytes of an entry say.
///
/// ```
/// use followgraph::cluster::testing::{LogEntry, decode};
/// assert_eq!(decode(&[1, 2])?, LogEntry::Other);
/// assert!(decode(&[99]).is_err());
/// # Ok::<(), followgraph::Error>(())
/// ```
///
/// # Errors
///
/// `UnsupportedVersion`, `Corrupt`.
pub fn decode(bytes: &[u8]) -> Result<LogEntry> {
    let Message::Batch(batch) = Message::decode(bytes)? else { return Ok(LogEntry::Other) };
    let changes = batch.operations.iter().map(change).collect();
    let (gateway, counter, floor) = (batch.gateway, batch.counter, batch.floor);
    Ok(LogEntry::Changes { gateway, counter, floor, changes })
}

fn change(operation: &Operation<'_>) -> Change {
    let owned = |name: &str| name.to_owned();
    match operation {
        Operation::Follow { follower, followed, at: None, create } => {
            let (follower, followed) = (owned(follower), owned(followed));
            Change::Follow { follower, followed, create: *create }
        }
        Operation::Unfollow { follower, followed } => {
            Change::Unfollow { follower: owned(follower), followed: owned(followed) }
        }
        other => Change::Other(format!("{other:?}")),
    }
}

impl<B: Backend> Node<B> {
    /// Takes a follow out of the lists of this node alone, behind the back of the log.
    ///
    /// # Errors
    ///
    /// `NotHosted` where the node hosts neither account, and those of
    /// [`FollowGraph::unfollow`](crate::FollowGraph::unfollow).
    pub fn damage(&self, follower: &str, followed: &str) -> Result<Outcome> {
        let hosts_one = |part: &super::state::NodePart| {
            [follower, followed].iter().any(|name| part.hosted.contains(VirtualShard::of(name)))
        };
        let part = self.shared.view.read().parts.iter().find(|part| hosts_one(part)).cloned();
        part.ok_or_else(|| Error::bare(ErrorKind::NotHosted))?.graph.unfollow(follower, followed)
    }
}
