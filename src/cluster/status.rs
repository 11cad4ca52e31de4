//! How a cluster does, as its nodes tell it.

use super::node::Backend;
use super::peers::{Answer, Question, Request, StatusAnswer, decode, encode};
use super::placement::Placement;
use crate::error::{Error, Result};
use crate::shards::ShardSet;
use futures_util::future::join_all;
use std::collections::BTreeMap;

/// How a cluster does.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClusterStatus {
    /// Which log it follows.
    pub epoch: u64,
    /// The entries of the log: the first that is left, and the last.
    pub log: (u64, u64),
    /// The nodes of the placement.
    pub nodes: Vec<NodeStatus>,
    /// Virtual shards of which two nodes at one position have different digests.
    pub differing: ShardSet,
}

/// How one node does.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// The shards that the placement gives it.
    pub hosts: ShardSet,
    /// The shards that it gets ready to answer for.
    pub joining: ShardSet,
    /// What it says of itself; the error where it does not answer.
    pub told: Result<NodeTold>,
}

/// What a node says of itself.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NodeTold {
    /// The last entry that it applied.
    pub position: u64,
    /// How many entries of the log it has not applied.
    pub lag_entries: u64,
    /// How many shards it answers for.
    pub answered_count: u64,
    /// Shards that do not answer, because their lists differ from those of other nodes.
    pub stopped: ShardSet,
    /// How many accounts it knows.
    pub account_count: u64,
    /// Shards whose digest a node at the same position also has, and has alike.
    pub confirmed_count: u64,
    /// Why it no longer follows the log, if so.
    pub failure: Option<String>,
}

/// Asks every node of a cluster how it does. One that does not answer is part of the answer.
///
/// # Errors
///
/// `Unavailable` where the log does not answer.
pub async fn status<B: Backend>(backend: &B) -> Result<ClusterStatus> {
    let (placement, _) = Placement::load(backend).await?;
    let asked = placement.nodes.keys().map(|name| ask(backend, name));
    let told = join_all(asked).await;
    let extent = backend.extent().await?;
    let mut digests: BTreeMap<(u64, u16), Vec<(u64, u64)>> = BTreeMap::new();
    for told in told.iter().flatten() {
        for &(shard, following, followers) in &told.digests {
            digests.entry((told.applied, shard)).or_default().push((following, followers));
        }
    }
    let are_alike = |all: &[(u64, u64)]| all.iter().all(|digest| *digest == all[0]);
    let differing = digests.iter().filter(|(_, all)| !are_alike(all));
    let differing = differing.filter_map(|((_, shard), _)| crate::VirtualShard::new(*shard));
    let differing = differing.collect();
    let confirmed = |told: &StatusAnswer| {
        let is_confirmed = |shard: u16| {
            digests.get(&(told.applied, shard)).is_some_and(|all| all.len() > 1 && are_alike(all))
        };
        told.digests.iter().filter(|digest| is_confirmed(digest.0)).count() as u64
    };
    let nodes = placement.nodes.iter().zip(told).map(|((name, placed), told)| NodeStatus {
        name: name.clone(),
        hosts: placed.hosts.clone(),
        joining: placed.joining.clone(),
        told: told.and_then(|told| {
            Ok(NodeTold {
                position: told.applied,
                lag_entries: extent.last.saturating_sub(told.applied),
                answered_count: told.digests.len() as u64,
                stopped: told.stopped.parse()?,
                account_count: told.account_count,
                confirmed_count: confirmed(&told),
                failure: told.failure,
            })
        }),
    });
    let nodes = nodes.collect();
    Ok(ClusterStatus { epoch: placement.epoch, log: (extent.first, extent.last), nodes, differing })
}

async fn ask<B: Backend>(backend: &B, node: &str) -> Result<StatusAnswer> {
    let request = encode(&Request { at_least: 0, question: Question::Status });
    let told: Answer<StatusAnswer> = decode(&backend.ask(node, request).await?)?;
    told.map_err(Error::from)
}
