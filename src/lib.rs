//! An embedded follow-graph storage engine: follower, following and mutual counts that always
//! equal the lists.
//!
//! A server links this crate and asks how many followers, followings and mutual follows each of
//! some accounts has, who follows whom, and who they are. It answers from memory-mapped files,
//! keeps what it acknowledged through a crash, and opens in the same time whatever the size of
//! the graph.
//!
//! ```
//! use followgraph::{Counts, FollowGraph, Page};
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("graph");
//! let graph = FollowGraph::open(&path)?;
//! for name in ["alice", "bob", "carol"] {
//!     graph.add_account(name)?;
//! }
//! graph.follow("alice", "bob")?; // on disk when it returns
//! graph.follow("bob", "alice")?;
//! graph.follow("carol", "bob")?;
//! assert_eq!(graph.counts("bob")?, Counts { followers: 2, following: 1, mutual: 1 });
//!
//! // One result for each account asked. Unknown is not zero.
//! let batch = graph.batch_counts(&["alice", "zoe"]);
//! assert!(batch[0].is_ok() && batch[1].is_err());
//!
//! // Newest first, with the time of each follow and a cursor to the next page.
//! let page = graph.followers("bob", Page::first(1))?;
//! assert_eq!(page.entries[0].account, "carol");
//! let page = graph.followers("bob", Page::after(page.next.unwrap(), 1))?;
//! assert_eq!(page.entries[0].account, "alice");
//!
//! // It is all there when the graph is opened again.
//! drop(graph);
//! let graph = FollowGraph::open(&path)?;
//! assert!(graph.relation("alice", "bob")?.is_mutual());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where to begin
//!
//! * [`FollowGraph`] is the handle; every method takes `&self`, so share it in an `Arc`.
//!   [`Options`] opens it otherwise than by default.
//! * [`FollowGraph::apply`] carries out a list of [`Mutation`]s as one commit.
//! * [`FollowGraph::batch_counts`], [`FollowGraph::batch_relations`] and
//!   [`FollowGraph::known_followers`] answer for many accounts at one moment.
//! * [`FollowGraph::followers`], [`FollowGraph::following`] and [`FollowGraph::mutuals`] give
//!   lists by [`Page`].
//! * [`FollowGraph::changes`] hands out the committed changes in order and waits for more;
//!   [`FollowGraph::consumer`] does so under a name, from a position that outlives the process.
//! * [`FollowGraph::bulk_load`] takes a whole edge list into an empty graph.
//! * [`FollowGraph::audit`] says at once what proves the counts. [`FollowGraph::compare`] finds the
//!   differences to an edge list of another system, and [`Comparing::repair`] ends them.
//! * [`FollowGraph::checkpoint`], [`FollowGraph::verify`], [`FollowGraph::backup`] and
//!   [`FollowGraph::stats`] look after it, while reads and writes go on.
//!
//! # How it works
//!
//! An *account* has a name and a dense id, an [`AccountId`], that is never given again. A commit
//! is one checksummed frame of *records* in a mapped *log*. An *image* is an immutable, mapped file
//! that holds the whole graph as of a place in the log. The state is always an image and what the
//! log says since. Opening recovers it; a checkpoint recovers it too, apart from the live graph,
//! writes it as the next image, and recounts every count from the sets as it goes.
//!
//! Counts are read from one 64-byte record an account. Small sets are kept in a compact encoding
//! and large ones in the portable roaring format; both are read where they lie.
//!
//! # Durability
//!
//! By default a write returns when its commit is on disk, and callers at the same time share one
//! sync. [`Durability`] says what else there is. A killed process loses nothing that returned in
//! any mode; a machine that loses power loses nothing, the last interval, or what came since the
//! last sync. What is lost is always the end of the history, never a part of a commit. A torn end
//! of the log is cut when the graph is opened and reported in [`Stats::recovery`]; damage to what
//! was known to be on disk is an error.
//!
//! Readers never wait for a disk. They see a commit as soon as it is made, which may be before it
//! is on disk.
//!
//! # Errors
//!
//! Every fallible call gives an [`Error`] with an [`ErrorKind`] to branch on and a sentence to
//! show: what is wrong, in which file and where, and what to do. In a batch each item has a result
//! of its own. When a sync fails, writes are refused with [`ErrorKind::Latched`] until the graph
//! is opened again, and reads go on. A full disk does not latch where nothing was changed.
//!
//! # Features
//!
//! * none (the default): the library.
//! * `cli`: the `followgraph` command line tool, the server included.
//! * `wire`: the published follow API, `v4/follow/*`, as a service that any server can mount.
//! * `server`: that service over HTTP and HTTPS, with limits, metrics, webhooks and a console.
//! * `cluster`: the engine on every node of a cluster, fed from one replicated log. Together with
//!   `cli`, the tool has the subcommand `cluster` and the option `serve --cluster`.
//! * `testing`: the reference model that property tests hold the engine to, the simulated disk of
//!   the crash certificate, and what the benches compare with. Part of `cli`, for `certify`.
//!
//! # Limits
//!
//! Linux, 64-bit, a local file system. One process has a graph open to write at a time. Follow
//! times are Unix seconds, 0 where the time is not known. No other program may change or shorten
//! the files of an open graph.

mod accounts;
mod adjacency;
mod backup;
mod blocks;
mod chunks;
#[cfg(feature = "cluster")]
pub mod cluster;
mod consumers;
mod edge_sorter;
mod engine;
mod error;
mod format;
mod graph;
mod image;
mod list;
mod locks;
mod log;
mod recovery;
mod restore;
#[cfg(feature = "server")]
pub mod server;
mod shards;
mod storage;
mod store;
mod sync;
#[cfg(feature = "testing")]
pub mod testing;
mod types;
mod walk;
#[cfg(feature = "wire")]
pub mod wire;
mod workers;

pub use engine::{
    BulkLoad, BulkOptions, BulkReport, Canceller, Changes, Clock, CompareEvent, Comparing,
    Comparison, Consumer, Difference, Durability, Fate, FollowGraph, MonotonicClock, Mutation,
    Options, RemovalLimit, Repair, RepairEvent, RepairOptions, RestoreTo, View, salvage,
};
pub use error::{Error, ErrorKind, Result};
pub use list::{Cursor, Entry, List, Page};
pub use shards::{SHARD_COUNT, ShardDigest, ShardSet, VirtualShard};
pub use types::{
    AccountId, AffectedAccount, Audit, BackupCoverage, BackupReport, Change, CheckpointReport,
    ClockFault, ClockReport, Commit, Counts, DamagedRange, KnownFollowers, Outcome, Recovery,
    Relation, RestoreReport, SalvageReport, Stats, Verification, VerifyProgress,
};
