//! The plain data that questions are answered with.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Counts {
    /// How many accounts follow this one.
    pub followers: u32,
    /// How many accounts this one follows.
    pub following: u32,
    /// How many accounts are in both sets.
    pub mutual: u32,
}

/// How one account stands to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
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

/// What one commit changed, as [`Changes`](crate::Changes) and [`Consumer`](crate::Consumer) hand
/// it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Its sequence number, greater than that of every commit before it.
    pub sequence: u64,
    /// The source position it stored, if it did: see
    /// [`apply_from_source`](crate::FollowGraph::apply_from_source).
    pub source_position: Option<u64>,
    /// What changed, in order. Empty when only the source position did.
    pub changes: Vec<Change>,
}

/// One change of a [`Commit`].
///
/// Accounts are named by id. [`account_name`](crate::FollowGraph::account_name) has the name of one
/// that still exists when it is asked, which is later than the change. An id is never given again,
/// so who needs the names of removed accounts keeps those that `AccountAdded` brings.
///
/// Applied in order to a graph as it was before, changes give the graph as it was after: the same
/// accounts, follows and times.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An account began to exist.
    AccountAdded {
        /// Its id, one more than the last one given.
        account: AccountId,
        /// Its name.
        name: String,
        /// Whether its sets are kept by another node.
        foreign: bool,
    },
    /// The removal of an account began. Its follows go with an `Unfollowed` each, in this commit or
    /// in later ones, and then `AccountRemoved` says that it is gone. Nobody unfollowed anybody:
    /// who counts what users do leaves out the follows of an account between the two.
    RemovalBegan {
        /// Its id.
        account: AccountId,
    },
    /// An account went. Its follows went before, each with an `Unfollowed` after `RemovalBegan`.
    AccountRemoved {
        /// Its id.
        account: AccountId,
    },
    /// An account began to follow another.
    Followed {
        /// Who follows.
        follower: AccountId,
        /// Who is followed.
        followed: AccountId,
        /// Since when, in Unix seconds; 0: not known.
        at: u32,
    },
    /// An account no longer follows another.
    Unfollowed {
        /// Who followed.
        follower: AccountId,
        /// Who was followed.
        followed: AccountId,
    },
}

/// The clock of the machine, beside the times that follows get: see
/// [`FollowGraph::clock`](crate::FollowGraph::clock). Times are in Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockReport {
    /// What the clock says.
    pub reading: u32,
    /// The time that a follow made now would get.
    pub follow_time: u32,
    /// The latest time that the clock gave a follow: no later one gets an earlier time. 0: none.
    pub floor: u32,
    /// The time of the newest follow, also of one whose time was given. 0: none.
    pub newest_follow_at: u32,
    /// What is wrong with the clock.
    pub fault: Option<ClockFault>,
}

/// What is wrong with the clock of the machine, as far as the graph can tell.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockFault {
    /// It is further ahead than it can be, and is not used.
    Ahead {
        /// What the clock says.
        reading: u32,
        /// The time that a follow made now would get.
        follow_time: u32,
    },
    /// A follow has a time from the clock that is more than an hour later than what the clock says
    /// now, and later follows get the same: the clock is behind, or it was ahead once.
    Behind {
        /// What the clock says.
        reading: u32,
        /// The time that a follow made now would get.
        follow_time: u32,
    },
}

impl fmt::Display for ClockFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (is, reading, follow_time) = match self {
            ClockFault::Ahead { reading, follow_time } => ("ahead", reading, follow_time),
            ClockFault::Behind { reading, follow_time } => ("behind", reading, follow_time),
        };
        write!(
            formatter,
            "the clock of the machine says {reading}, {} seconds {is} of the times of follows; \
             follows get {follow_time}. Set the clock; if it is right, reset that of the graph",
            reading.abs_diff(*follow_time)
        )
    }
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

/// What a backup did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackupReport {
    /// The backup holds every commit up to this sequence number, and none behind it.
    pub sequence: u64,
    /// What it held before; `None` where it was begun with a whole copy.
    pub since: Option<u64>,
    /// The size of the file that was written: the image, or the log since. 0 where the backup had
    /// all there is.
    pub written_bytes: u64,
}

/// Which moments a backup can be restored to: every sequence number from the first to the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackupCoverage {
    /// The sequence number of its (oldest) image.
    pub first_sequence: u64,
    /// The last commit it has.
    pub last_sequence: u64,
}

/// What a restore made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RestoreReport {
    /// The graph holds every commit up to this sequence number, and none behind it.
    pub sequence: u64,
    /// Accounts that exist.
    pub account_count: u64,
    /// Follows of which at least one end is local.
    pub follow_count: u64,
    /// The size of its image.
    pub written_bytes: u64,
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
    /// The order-independent fingerprint of all follows, equal over both directions. It depends on
    /// the key and the ids of the graph: see [`Audit`].
    pub fingerprint: u64,
    /// A fingerprint of who follows whom, by name: equal for any two graphs with the same follows,
    /// whatever their keys, ids and times. docs/verify.md has it step by step, so that another
    /// system can compute it. It tells accidents, not forgery: who chooses names can make another
    /// set of follows with the same sum.
    pub content_fingerprint: u64,
    /// The same of the names of all accounts.
    pub account_fingerprint: u64,
}

/// How far a `verify` is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerifyProgress {
    /// Bytes of the image and the log that were read and checked so far.
    pub bytes_done: u64,
    /// Of so many.
    pub byte_count: u64,
    /// Account ids whose lists were recounted so far, those of removed accounts included. This
    /// begins when all bytes are read.
    pub accounts_done: u64,
    /// Of so many.
    pub account_count: u64,
}

/// The totals a graph keeps, and the fingerprints of both directions, at one moment.
///
/// Every follow is in two lists: whom its follower follows, and who follows the followed. Each
/// direction has a fingerprint, the sum of a keyed hash of all its follows, which every change
/// keeps and every checkpoint and `verify` recounts. The key is random for each graph and the hash
/// is one of ids, so fingerprints of one graph can be compared over time, and with those of a
/// backup of it, but not with another graph's: [`Verification::content_fingerprint`] can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// Sequence number of the last commit that is part of it.
    pub sequence: u64,
    /// Accounts that exist, foreign ones included.
    pub account_count: u64,
    /// Of those, accounts whose sets are on another node.
    pub foreign_account_count: u64,
    /// Follows of which at least one end is local.
    pub follow_count: u64,
    /// Sum of the follower counts of all accounts kept here.
    pub followers_sum: u64,
    /// Sum of their following counts.
    pub following_sum: u64,
    /// Sum of their mutual counts: each pair that follow each other counts at both ends.
    pub mutual_sum: u64,
    /// Fingerprint of the follows between local accounts, over the lists of whom each follows.
    pub following_fingerprint: u64,
    /// The same over the lists of who follows each.
    pub followers_fingerprint: u64,
}

impl Audit {
    /// Whether both directions hold the same follows, and as many as are counted. No foreign
    /// account's lists are here, so with one the numbers bound each other and need not be equal.
    pub fn directions_agree(&self) -> bool {
        let (followers, following) = (self.followers_sum, self.following_sum);
        let sums_agree = if self.foreign_account_count == 0 {
            followers == self.follow_count && following == self.follow_count
        } else {
            let entries = followers.saturating_add(following);
            followers.max(following) <= self.follow_count && self.follow_count <= entries
        };
        sums_agree && self.following_fingerprint == self.followers_fingerprint
    }
}

/// A range of a file that did not check out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedRange {
    /// The file.
    pub file: PathBuf,
    /// Where the range begins.
    pub offset_bytes: u64,
    /// How long it is; 0 where something is missing, or the file cannot be read at all.
    pub len_bytes: u64,
    /// What is wrong with it.
    pub what: String,
}

/// An account of which something did not check out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AffectedAccount {
    /// Its id.
    pub id: AccountId,
    /// Its name; `None`: it is lost, and the account with it.
    pub name: Option<String>,
    /// What did not check out: its name, one of its lists, or times of its follows. A list is made
    /// again from the lists of those on the other side.
    pub what: String,
}

/// What [`salvage`](crate::salvage()) saved, and what it did not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SalvageReport {
    /// The sequence number of the image it began with.
    pub image_sequence: u64,
    /// The sequence number of the last commit that is in the new graph.
    pub sequence: u64,
    /// The last sequence number that any file speaks of. The commits in between are lost.
    pub last_sequence: u64,
    /// Accounts of the new graph.
    pub account_count: u64,
    /// Follows of the new graph.
    pub follow_count: u64,
    /// What did not check out, whether or not the new graph is without it.
    pub damaged: Vec<DamagedRange>,
    /// The accounts of the image that are concerned, in the order of their ids.
    pub accounts: Vec<AffectedAccount>,
    /// Follows that were taken over though nothing confirms them: one end is a foreign account,
    /// and the checksum over the lists does not hold.
    pub unconfirmed_follow_count: u64,
    /// Changes of the log that were left out because they build on what is lost.
    pub skipped_record_count: u64,
    /// Whether the new graph is proven to hold every account and every follow, with its time, that
    /// the files tell of.
    pub complete: bool,
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
    /// Accounts that are being removed: see
    /// [`remove_account`](crate::FollowGraph::remove_account).
    pub being_removed_account_count: u64,
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
    /// What opening found at the end of the log. A handle that only reads cuts nothing: what it
    /// counts as cut it passed over.
    pub recovery: Recovery,
    /// What is wrong with the clock of the machine, if something is: see
    /// [`FollowGraph::clock`](crate::FollowGraph::clock).
    pub clock_fault: Option<ClockFault>,
    /// Whether this handle only reads what another process writes.
    pub read_only: bool,
    /// Why such a handle can no longer follow the log and refuses to answer, once that is so.
    pub reader_failure: Option<String>,
    /// Says that the path by which the graph was opened leads to another directory now, or to none,
    /// once that is so. The handle goes on in the directory that it opened.
    pub directory_moved: Option<String>,
}
