//! An embedded follow-graph storage engine.

mod accounts;
mod adjacency;
mod edge_sorter;
mod engine;
mod error;
mod format;
mod graph;
mod image;
mod list;
mod log;
mod recovery;
mod storage;
mod store;
mod sync;
#[cfg(feature = "testing")]
pub mod testing;
mod types;

pub use engine::{BulkLoad, BulkReport, Clock, Durability, FollowGraph, Mutation, Options};
pub use error::{Error, ErrorKind, Result};
pub use list::{Cursor, Entry, List, Page};
pub use types::{
    AccountId, CheckpointReport, Counts, KnownFollowers, Outcome, Recovery, Relation, Stats,
    Verification,
};
