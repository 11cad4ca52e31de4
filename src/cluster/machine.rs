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
    /// How far each of them is. A process that was killed may have given an entry to some only.
    positions: Vec<u64>,
    /// May have to catch up with them.
    gateways: Gateways,
}

impl Machine {
    /// A machine of these graphs. The table of gateways was saved at the position of each or
    /// before; the entries in between are given to [`apply`](Machine::apply) once more, and each
    /// graph takes those that it does not have.
    ///
    /// Errors: `InvalidArgument` where the table is ahead of a graph.
    pub(super) fn new(parts: Vec<Arc<FollowGraph>>, gateways: Gateways) -> Result<Machine> {
        let positions: Vec<u64> =
            parts.iter().map(|part| part.source_position().unwrap_or(0)).collect();
        if let Some(behind) = positions.iter().find(|position| **position < gateways.position) {
            let message = "the table of gateways is ahead of a graph";
            let error = Error::new(ErrorKind::InvalidArgument, message);
            return Err(error.expected(gateways.position, behind));
        }
        Ok(Machine { parts, positions, gateways })
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
        for (part, reached) in self.parts.iter().zip(&mut self.positions) {
            if position > *reached {
                part.apply_from_source(position, &[])?;
                *reached = position;
            }
            part.sync()?;
        }
        Ok(())
    }

    fn apply_batch(&mut self, entry: &Entry, batch: &Batch<'_>) -> Result<Applied> {
        let &Batch { gateway, counter, floor, ref operations } = batch;
        let arrival = self.gateways.arrive(gateway, counter, floor);
        if arrival == Arrival::Settled {
            return Ok(Applied::Settled);
        }
        let at = u32::try_from(entry.time_millis / 1000).unwrap_or(u32::MAX);
        let (mut mutations, mut places) = (Vec::with_capacity(operations.len()), Vec::new());
        for operation in operations {
            push_mutations(operation, at, &mut mutations);
            places.push(mutations.len() - 1);
        }
        let mut outcomes: Vec<Result<Outcome>> = Vec::new();
        for (part, reached) in self.parts.iter().zip(&mut self.positions) {
            if entry.sequence <= *reached {
                continue;
            }
            let results = part.apply_from_source(entry.sequence, &mutations)?;
            *reached = entry.sequence;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, ShardSet};

    /// Killed between the two graphs of a node, only one of them has the last entry.
    #[test]
    fn a_graph_that_missed_the_last_entry_takes_it_and_the_other_does_not() {
        let part = |shards| Arc::new(Options::new().hosted_shards(shards).in_memory().unwrap());
        let parts = [part(ShardSet::range(0..=2047)), part(ShardSet::range(2048..=4095))];
        let entry = |sequence, name: &'static str| {
            let operations = vec![Operation::AddAccount { name: name.into() }];
            let batch = Batch { gateway: 1, counter: sequence, floor: 1, operations };
            Entry { sequence, time_millis: 0, bytes: Message::Batch(batch).encode() }
        };
        let mut machine = Machine::new(parts.to_vec(), Gateways::new(1)).unwrap();
        machine.apply(&entry(1, "alice")).unwrap();
        let saved = machine.gateways().clone();
        parts[0].apply_from_source(2, &[Mutation::add_account("bob")]).unwrap();

        let mut machine = Machine::new(parts.to_vec(), saved).unwrap();
        machine.apply(&entry(2, "bob")).unwrap();
        machine.apply(&entry(3, "carol")).unwrap();
        for part in parts {
            assert_eq!(part.source_position(), Some(3));
            assert_eq!(part.account_id("carol").unwrap(), AccountId(2));
        }
    }
}
