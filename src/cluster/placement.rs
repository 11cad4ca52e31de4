//! Which node keeps which shards: one small value, changed by compare-and-set.

use super::log::Shelf;
use super::node::Position;
use super::values;
use crate::error::{Error, ErrorKind, Result};
use crate::shards::{SHARD_COUNT, ShardSet, VirtualShard};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{Instant, sleep};

const KEY: &str = "placement";

/// Which node keeps which shards, in words for operators: JSON with shards as in `0-1364,4000`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Which log the nodes follow.
    pub epoch: u64,
    /// The last entry of the log before, where that one was lost and this one goes on behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goes_on_behind: Option<Position>,
    /// The nodes, by name.
    pub nodes: BTreeMap<String, NodePlacement>,
}

/// What one node keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodePlacement {
    /// Shards that it answers for.
    #[serde(with = "as_text")]
    pub hosts: ShardSet,
    /// Shards that it gets ready to answer for.
    #[serde(with = "as_text")]
    pub joining: ShardSet,
}

impl Default for NodePlacement {
    fn default() -> NodePlacement {
        NodePlacement { hosts: ShardSet::none(), joining: ShardSet::none() }
    }
}

pub(super) mod as_text {
    use super::{Deserialize, Deserializer, Serializer, ShardSet};

    pub(in crate::cluster) fn serialize<S: Serializer>(
        set: &ShardSet,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(set)
    }

    pub(in crate::cluster) fn deserialize<'d, D: Deserializer<'d>>(
        source: D,
    ) -> Result<ShardSet, D::Error> {
        let text = String::deserialize(source)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Placement {
    /// The nodes that answer for a shard, those that are asked first at the front. Which one that
    /// is differs from shard to shard.
    pub fn hosts_of(&self, shard: VirtualShard) -> Vec<&str> {
        let hosting = self.nodes.iter().filter(|(_, node)| node.hosts.contains(shard));
        let mut names: Vec<&str> = hosting.map(|(name, _)| name.as_str()).collect();
        if !names.is_empty() {
            let first = usize::from(shard.number()) % names.len();
            names.rotate_left(first);
        }
        names
    }

    /// Whether a node answers for a shard.
    pub(super) fn is_host(&self, node: &str, shard: VirtualShard) -> bool {
        self.nodes.get(node).is_some_and(|node| node.hosts.contains(shard))
    }

    /// The shards that a node answers for.
    pub fn hosted_by(&self, node: &str) -> ShardSet {
        self.nodes.get(node).map_or_else(ShardSet::none, |node| node.hosts.clone())
    }

    /// Reads it, with its revision: 0 where there is none.
    pub(super) async fn load(shelf: &impl Shelf) -> Result<(Placement, u64)> {
        values::load(shelf, KEY).await
    }

    /// Changes it, again and again until nobody else did meanwhile. `change` says what is wrong
    /// with what it finds, if anything.
    pub(super) async fn change(
        shelf: &impl Shelf,
        change: impl Fn(&mut Placement) -> Result<()> + Send,
    ) -> Result<Placement> {
        values::change(shelf, KEY, change).await.map(|(placement, ())| placement)
    }
}

/// How long a move may take before whoever asked for it stops waiting. The node goes on all the
/// same, and asking again goes on where it is.
const MOVE_PAUSE: Duration = Duration::from_millis(200);

/// Divides all shards among nodes, as many for each as can be, every shard on so many of them.
///
/// ```
/// use followgraph::cluster::spread;
/// let spread = spread(&["a", "b", "c"], 2);
/// assert_eq!(spread[0].1.to_string(), "0-1365,2731-4095");
/// assert_eq!(spread.iter().map(|(_, shards)| shards.len()).sum::<usize>(), 2 * 4096);
/// ```
pub fn spread<'a>(nodes: &[&'a str], replicas: usize) -> Vec<(&'a str, ShardSet)> {
    let count = nodes.len().max(1);
    let part = |number: usize| {
        let bound = |number: usize| (usize::from(SHARD_COUNT) * number).div_ceil(count) as u16;
        // The parts are none where there are more nodes than shards.
        let (first, end) = (bound(number), bound(number + 1));
        if first < end { ShardSet::range(first..=end - 1) } else { ShardSet::none() }
    };
    let hosted = |place: usize| {
        // Its own part, and those of the nodes before it.
        let parts = (0..replicas.min(count)).map(|before| part((place + count - before) % count));
        parts.fold(ShardSet::none(), |all, part| all.union(&part))
    };
    nodes.iter().enumerate().map(|(place, node)| (*node, hosted(place))).collect()
}

/// Adds a node that hosts nothing yet.
///
/// # Errors
///
/// `InvalidArgument` where there is one of this name, `Unavailable`.
pub async fn add_node(shelf: &impl Shelf, name: &str) -> Result<Placement> {
    Placement::change(shelf, |placement| {
        if placement.nodes.contains_key(name) {
            let message = format!("there is a node {name:?} already");
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        placement.nodes.insert(name.to_owned(), NodePlacement::default());
        Ok(())
    })
    .await
}

/// Lets a node host shards as well, and waits until it answers for them.
///
/// # Errors
///
/// `InvalidArgument` where there is no such node; `Behind` when it is not ready in that time: it
/// goes on; `Unavailable`.
pub async fn add_replica(
    shelf: &impl Shelf,
    node: &str,
    shards: &ShardSet,
    wait: Duration,
) -> Result<Placement> {
    Placement::change(shelf, |placement| {
        let found = placement.nodes.get_mut(node).ok_or_else(|| no_node(node))?;
        found.joining = found.joining.union(&shards.difference(&found.hosts));
        Ok(())
    })
    .await?;
    let deadline = Instant::now() + wait;
    loop {
        let (placement, _) = Placement::load(shelf).await?;
        if shards.is_subset(&placement.hosted_by(node)) {
            return Ok(placement);
        }
        if Instant::now() >= deadline {
            let message = format!("node {node:?} does not answer for these shards yet; it goes on");
            return Err(Error::new(ErrorKind::Behind, message));
        }
        sleep(MOVE_PAUSE).await;
    }
}

/// Lets a node host shards no longer.
///
/// # Errors
///
/// `InvalidArgument` where there is no such node, or no other hosts one of the shards;
/// `Unavailable`.
pub async fn remove_replica(
    shelf: &impl Shelf,
    node: &str,
    shards: &ShardSet,
) -> Result<Placement> {
    Placement::change(shelf, |placement| {
        let others = placement.nodes.iter().filter(|(name, _)| name.as_str() != node);
        let elsewhere = others.fold(ShardSet::none(), |all, (_, node)| all.union(&node.hosts));
        let found = placement.nodes.get_mut(node).ok_or_else(|| no_node(node))?;
        let last = found.hosts.intersection(shards).difference(&elsewhere);
        if !last.is_empty() {
            let message = format!("no other node hosts the shards {last}");
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        found.hosts = found.hosts.difference(shards);
        found.joining = found.joining.difference(shards);
        Ok(())
    })
    .await
}

/// Moves shards from one node to another: the second gets ready, then answers, then the first lets
/// go. Reads and writes go on.
///
/// # Errors
///
/// As [`add_replica`] and [`remove_replica`].
pub async fn move_shards(
    shelf: &impl Shelf,
    from: &str,
    to: &str,
    shards: &ShardSet,
    wait: Duration,
) -> Result<Placement> {
    let (placement, _) = Placement::load(shelf).await?;
    let missing = shards.difference(&placement.hosted_by(from));
    if !missing.is_empty() {
        let message = format!("node {from:?} does not host the shards {missing}");
        return Err(Error::new(ErrorKind::InvalidArgument, message));
    }
    add_replica(shelf, to, shards, wait).await?;
    remove_replica(shelf, from, shards).await
}

/// Moves everything that a node hosts to the others, to each shard's the one that hosts the least
/// and not that shard. The node can be stopped then, and its place is free.
///
/// # Errors
///
/// `InvalidArgument` where every other node hosts some of its shards already: more replicas need
/// more nodes. Otherwise as [`move_shards`].
pub async fn drain(shelf: &impl Shelf, node: &str, wait: Duration) -> Result<Placement> {
    let (mut placement, _) = Placement::load(shelf).await?;
    let moved = placement.nodes.remove(node).ok_or_else(|| no_node(node))?.hosts;
    let mut goals: BTreeMap<String, ShardSet> = BTreeMap::new();
    for shard in moved.iter() {
        let free = placement.nodes.iter_mut().filter(|(_, node)| !node.hosts.contains(shard));
        let Some((name, goal)) = free.min_by_key(|(_, node)| node.hosts.len()) else {
            let message = format!("every other node hosts shard {} already", shard.number());
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        };
        goal.hosts.insert(shard);
        goals.entry(name.clone()).or_insert_with(ShardSet::none).insert(shard);
    }
    for (goal, shards) in &goals {
        move_shards(shelf, node, goal, shards, wait).await?;
    }
    Placement::change(shelf, |placement| {
        if placement.nodes.get(node).is_some_and(|node| node.hosts.is_empty()) {
            placement.nodes.remove(node);
        }
        Ok(())
    })
    .await
}

fn no_node(name: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, format!("there is no node {name:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Memory;

    #[tokio::test]
    async fn changes_at_the_same_time_are_all_made() {
        let memory = Memory::new(1);
        let changes = (0..10).map(|number| {
            let memory = memory.clone();
            tokio::spawn(async move {
                let add = |placement: &mut Placement| {
                    placement.nodes.entry(format!("n{number}")).or_default();
                    Ok(())
                };
                Placement::change(&memory, add).await.unwrap();
            })
        });
        for change in changes.collect::<Vec<_>>() {
            change.await.unwrap();
        }
        assert_eq!(Placement::load(&memory).await.unwrap().0.nodes.len(), 10);
    }

    #[test]
    fn the_first_to_be_asked_differs_from_shard_to_shard() {
        let everything = NodePlacement { hosts: ShardSet::all(), ..NodePlacement::default() };
        let nodes = ["a", "b", "c"].map(|name| (name.to_owned(), everything.clone()));
        let placement = Placement { epoch: 1, nodes: nodes.into(), ..Placement::default() };
        let first = |number| placement.hosts_of(VirtualShard::new(number).unwrap())[0];
        assert_eq!([first(0), first(1), first(2), first(3)], ["a", "b", "c", "a"]);
    }
}
