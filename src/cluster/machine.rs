//! What an entry of the log does: the same on every node.
//!
//! The machine has no clock, no randomness and no configuration that could differ from node to
//! node: the entries alone say what happens. What differs is whose lists a node keeps.

use super::gateways::{Arrival, Gateways};
use super::log::Entry;
use super::message::{Batch, Digests, Message, Operation};
use crate::FollowGraph;
use crate::engine::Mutation;
use crate::error::{Error, ErrorKind, Result};
use crate::format::check_name;
use crate::types::{AccountId, Outcome};
use std::sync::Arc;

/// What an entry was, to who applied it.
#[derive(Debug)]
pub(super) enum Applied {
    /// A batch, with what became of each of its operations.
    Batch { gateway: u64, counter: u64, outcomes: Vec<Result<Outcome>> },
    /// A batch that had been applied before, or came too late.
    Settled,
    /// A second of the shared time.
    Tick { second: u64 },
    /// A node's digests.
    Digests(Digests<'static>),
    /// Nothing.
    Barrier,
}

/// Sharded graphs that are fed together from one log. Each keeps the lists of other shards; all
/// know every account.
pub(super) struct Machine {
    parts: Vec<Arc<FollowGraph>>,
    gateways: Gateways,
    /// How far the parts are; the table of gateways may have to catch up.
    position: u64,
}

impl Machine {
    /// A machine of these graphs. The table of gateways was saved at their position or before; the
    /// entries in between are given to [`apply`](Machine::apply) once more.
    ///
    /// Errors: `InvalidArgument` where the graphs stand at different positions, or the table is
    /// ahead of them.
    pub(super) fn new(parts: Vec<Arc<FollowGraph>>, gateways: Gateways) -> Result<Machine> {
        let position = |graph: &Arc<FollowGraph>| graph.source_position().unwrap_or(0);
        let first = parts.first().map_or(gateways.position, position);
        let refused = |message: &str| Err(Error::new(ErrorKind::InvalidArgument, message));
        if parts.iter().any(|part| position(part) != first) {
            return refused("the graphs of a node stand at different positions");
        }
        if gateways.position > first {
            return refused("the table of gateways is ahead of the graph");
        }
        Ok(Machine { parts, gateways, position: first })
    }

    /// The last entry that was applied.
    pub(super) fn position(&self) -> u64 {
        self.gateways.position
    }

    pub(super) fn gateways(&self) -> &Gateways {
        &self.gateways
    }

    /// Applies the next entry. After an error the machine has to stop: it must not pass over what
    /// it does not understand, or could not keep.
    ///
    /// Errors: `UnsupportedVersion`, `Corrupt`, and what a commit fails with.
    pub(super) fn apply(&mut self, entry: &Entry) -> Result<Applied> {
        let applied = match Message::decode(&entry.bytes)? {
            Message::Batch(batch) => self.apply_batch(entry, &batch)?,
            Message::Tick { second } => Applied::Tick { second },
            Message::Barrier => Applied::Barrier,
            Message::Digests(digests) => Applied::Digests(digests.into_owned()),
        };
        self.gateways.position = entry.sequence;
        Ok(applied)
    }

    /// Writes down how far it has come, also where nothing changed lately, and waits for the disk.
    pub(super) fn note_position(&mut self) -> Result<()> {
        let position = self.gateways.position;
        if position > self.position {
            for part in &self.parts {
                part.apply_from_source(position, &[])?;
            }
            self.position = position;
        }
        self.parts.iter().try_for_each(|part| part.sync())
    }

    fn apply_batch(&mut self, entry: &Entry, batch: &Batch<'_>) -> Result<Applied> {
        let &Batch { gateway, counter, floor, ref operations } = batch;
        let arrival = self.gateways.arrive(gateway, counter, floor);
        if arrival == Arrival::Settled || entry.sequence <= self.position {
            return Ok(Applied::Settled);
        }
        let at = u32::try_from(entry.time_millis / 1000).unwrap_or(u32::MAX);
        let (mut mutations, mut places) = (Vec::with_capacity(operations.len()), Vec::new());
        for operation in operations {
            push_mutations(operation, at, &mut mutations);
            places.push(mutations.len() - 1);
        }
        let mut outcomes: Vec<Result<Outcome>> = Vec::new();
        for part in &self.parts {
            let results = part.apply_from_source(entry.sequence, &mutations)?;
            let decided = places.iter().map(|&place| results[place].clone());
            if outcomes.is_empty() {
                outcomes = decided.collect();
                continue;
            }
            // A part that keeps neither end of a follow cannot say what became of it.
            for (outcome, other) in outcomes.iter_mut().zip(decided) {
                if is_foreign(outcome) {
                    *outcome = other;
                }
            }
        }
        self.position = entry.sequence;
        Ok(Applied::Batch { gateway, counter, outcomes })
    }
}

fn is_foreign(outcome: &Result<Outcome>) -> bool {
    outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::ForeignAccount)
}

/// What an operation does to a graph. The last mutation is the one with its outcome.
fn push_mutations<'a>(operation: &'a Operation<'_>, at: u32, mutations: &mut Vec<Mutation<'a>>) {
    let mutation = match operation {
        Operation::AddAccount { name } => Mutation::add_account(name),
        Operation::Follow { follower, followed, at: given, create } => {
            let are_good = check_name(follower).and(check_name(followed)).is_ok();
            if *create && are_good && follower != followed {
                mutations.extend([follower, followed].map(|name| Mutation::add_account(name)));
            }
            Mutation::follow(follower, followed).at(given.unwrap_or(at))
        }
        Operation::Unfollow { follower, followed } => Mutation::unfollow(follower, followed),
        Operation::BeginRemoval { name } => Mutation::begin_removal(name),
        Operation::UnfollowId { follower, followed } => {
            Mutation::unfollow_by_id(AccountId(*follower), AccountId(*followed))
        }
        Operation::EndRemoval { id } => Mutation::end_removal_by_id(AccountId(*id)),
    };
    mutations.push(mutation);
}
