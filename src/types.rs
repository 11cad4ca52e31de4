//! The plain data that questions are answered with.

use std::fmt;
use std::time::Duration;

/// The dense number of an account: given in order from 0, never reused, never renumbered.
///
/// Ids are stable for the life of a graph, so a caller may keep them in its own tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(pub u32);

impl fmt::Display for AccountId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "#{}", self.0)
    }
}

/// The three counts of an account. They always equal the lengths of its lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Counts {
    /// How many accounts follow this one.
    pub followers: u32,
    /// How many accounts this one follows.
    pub following: u32,
    /// How many accounts are in both sets.
    pub mutual: u32,
}

/// How one account stands to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Relation {
    /// The first account follows the second.
    pub following: bool,
    /// The second account follows the first.
    pub followed_by: bool,
}

impl Relation {
    /// Whether each follows the other.
    pub fn is_mutual(self) -> bool {
        self.following && self.followed_by
    }
}

/// What a write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The graph changed.
    Applied,
    /// The graph was already as asked: nothing changed, not even a time.
    Unchanged,
}

/// Of the accounts a viewer follows, those who follow a target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownFollowers {
    /// How many there are.
    pub count: u32,
    /// The names of the first few, in the order the accounts were added, oldest first.
    pub first: Vec<String>,
}

/// What a checkpoint did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointReport {
    /// The highest log sequence number the image covers.
    pub sequence: u64,
    /// Whether a new image was written; false when there was nothing new since the last.
    pub written: bool,
    /// The size of the image.
    pub image_bytes: u64,
}

/// What `verify` recounted, all of it found equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verification {
    /// Accounts looked at, removed ones not counted.
    pub account_count: u64,
    /// Follows found in the sets of the followers, and again in those of the followed.
    pub follow_count: u64,
    /// The log sequence number the graph was verified at.
    pub sequence: u64,
    /// The order-independent fingerprint of all follows, equal over both directions.
    pub fingerprint: u64,
}

/// What opening found at the end of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Frames replayed from the log over the image.
    pub replayed_frames: u64,
    /// Records in those frames.
    pub replayed_records: u64,
    /// Bytes of a torn tail that were cut. They were never acknowledged as durable.
    pub cut_bytes: u64,
    /// Frames, whole or torn, among those bytes.
    pub cut_frames: u64,
}

/// Figures of a graph at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Accounts that exist, foreign ones included.
    pub account_count: u64,
    /// Of those, accounts whose sets are on another node.
    pub foreign_account_count: u64,
    /// Follows of which at least one end is local.
    pub follow_count: u64,
    /// Sequence number of the last commit.
    pub sequence: u64,
    /// Sequence number of the last commit known to be on disk.
    pub durable_sequence: u64,
    /// Sequence number the current image covers.
    pub image_sequence: u64,
    /// Size of the current image file.
    pub image_bytes: u64,
    /// Of the image: the 64-byte account records.
    pub image_record_bytes: u64,
    /// Of the image: the name index.
    pub image_index_bytes: u64,
    /// Of the image: names longer than a record holds.
    pub image_name_bytes: u64,
    /// Of the image: the sets, their order and their times.
    pub image_set_bytes: u64,
    /// Log bytes in use since the current image.
    pub log_bytes: u64,
    /// Disk space of all log segments, allocated in advance.
    pub log_allocated_bytes: u64,
    /// Heap memory of what changed since the image, estimated.
    pub delta_bytes: u64,
    /// How many times the disk was waited for since opening.
    pub sync_count: u64,
    /// How long those syncs took together.
    pub sync_time: Duration,
    /// Why writes are refused, once they are.
    pub latched: Option<String>,
    /// When the last checkpoint since opening succeeded, by the clock of the graph.
    pub last_checkpoint_at: Option<u32>,
    /// Why the last checkpoint in the background failed, if it did.
    pub checkpoint_failure: Option<String>,
    /// What opening found at the end of the log.
    pub recovery: Recovery,
}
