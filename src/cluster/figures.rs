//! What a node counts, for those who watch it.

use super::node::{Node, Position};
use crate::shards::ShardSet;
use std::sync::atomic::{AtomicU64, Ordering};

/// A batch that was not decided for so long made its callers wait noticeably.
pub(super) const STALL_SECONDS: f64 = 1.0;

/// What happened to a node since its start.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) entries: AtomicU64,
    pub(super) tail_errors: AtomicU64,
    pub(super) digest_differences: AtomicU64,
    pub(super) rebuilds: AtomicU64,
    /// The last entry that is known to be in the log.
    pub(super) known: AtomicU64,
}

/// The same of its gateway.
#[derive(Debug, Default)]
pub(super) struct GatewayFigures {
    pub(super) batches: AtomicU64,
    pub(super) operations: AtomicU64,
    pub(super) retries: AtomicU64,
    pub(super) given_up: AtomicU64,
    pub(super) stalls: AtomicU64,
    pub(super) decided: AtomicU64,
    pub(super) deciding_micros: AtomicU64,
}

/// How a node does, and what happened since its start.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeFigures {
    /// How far it has come.
    pub position: Position,
    /// How many entries it is known to be behind: exact to a second.
    pub lag_entries: u64,
    /// Why it no longer follows the log, if so.
    pub failure: Option<String>,
    /// How many shards it answers for.
    pub shard_count: u64,
    /// Shards that do not answer, because their lists differ from those of other nodes.
    pub stopped: ShardSet,
    /// Entries that it applied.
    pub entry_count: u64,
    /// How often it had to begin to read the log again.
    pub tail_error_count: u64,
    /// Digests of it that differed from those of other nodes.
    pub digest_difference_count: u64,
    /// How often it built shards anew.
    pub rebuild_count: u64,
    /// Batches of changes that it published, and the changes in them.
    pub batch_count: u64,
    /// Changes in these batches.
    pub operation_count: u64,
    /// Attempts to publish a batch after the first one.
    pub retry_count: u64,
    /// Batches of which it is not known what became of them.
    pub given_up_count: u64,
    /// Batches that were decided after more than a second.
    pub stall_count: u64,
    /// Batches that were decided.
    pub decided_count: u64,
    /// How long all of these took together, in microseconds.
    pub deciding_micros: u64,
}

impl<B> Node<B> {
    /// How the node does, and what happened since its start.
    pub fn figures(&self) -> NodeFigures {
        let (shared, gateway) = (&self.shared, &self.shared.gateway.figures);
        let read = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        let applied = *shared.applied.borrow();
        NodeFigures {
            position: shared.at(applied),
            lag_entries: read(&shared.figures.known).saturating_sub(applied),
            failure: shared.failure.lock().as_ref().map(ToString::to_string),
            shard_count: shared.answers_for().len() as u64,
            stopped: shared.view.read().stopped.clone(),
            entry_count: read(&shared.figures.entries),
            tail_error_count: read(&shared.figures.tail_errors),
            digest_difference_count: read(&shared.figures.digest_differences),
            rebuild_count: read(&shared.figures.rebuilds),
            batch_count: read(&gateway.batches),
            operation_count: read(&gateway.operations),
            retry_count: read(&gateway.retries),
            given_up_count: read(&gateway.given_up),
            stall_count: read(&gateway.stalls),
            decided_count: read(&gateway.decided),
            deciding_micros: read(&gateway.deciding_micros),
        }
    }
}
