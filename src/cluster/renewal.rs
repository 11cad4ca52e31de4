//! A log that goes on behind one that was lost.
//!
//! The log is not the only copy: what its entries did is in the graphs of the nodes. Those that
//! came as far as any take what they have over as it is, at the entry where they are, and are what
//! the others begin anew from. No entry of the old log can get into the new one, so which batches
//! the old one had seen need not be known any more.

use super::gateways::Gateways;
use super::log::{Log, Shelf};
use super::node::{Position, Shared};
use super::placement::{NodePlacement, Placement};
use super::state::{Found, NodePart, peek};
use crate::FollowGraph;
use crate::error::{Error, ErrorKind, Result};
use crate::shards::ShardSet;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// How far a node came with a log, and which shards it has: in words `17:1234:0-4095`.
///
/// ```
/// use followgraph::cluster::NodeEnd;
/// let end: NodeEnd = "17:1234:0-99".parse()?;
/// assert_eq!((end.position.epoch, end.position.sequence, end.shards.len()), (17, 1234, 100));
/// assert_eq!(end.to_string(), "17:1234:0-99");
/// assert!("17:1234".parse::<NodeEnd>().is_err());
/// # Ok::<(), followgraph::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeEnd {
    /// The last entry that all its graphs have.
    pub position: Position,
    /// The shards whose lists it has.
    pub shards: ShardSet,
}

impl fmt::Display for NodeEnd {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { epoch, sequence } = self.position;
        write!(formatter, "{epoch}:{sequence}:{}", self.shards)
    }
}

impl FromStr for NodeEnd {
    type Err = Error;

    /// # Errors
    ///
    /// `InvalidArgument`.
    fn from_str(text: &str) -> Result<NodeEnd> {
        let parse = || {
            let (epoch, rest) = text.split_once(':')?;
            let (sequence, shards) = rest.split_once(':')?;
            let position =
                Position { epoch: epoch.parse().ok()?, sequence: sequence.parse().ok()? };
            Some(NodeEnd { position, shards: shards.parse().ok()? })
        };
        parse().ok_or_else(|| {
            let error = Error::new(ErrorKind::InvalidArgument, "how far a node came");
            error.expected("log:entry:shards, as in 17:1234:0-4095", text)
        })
    }
}

/// How far a node came, read from its directory. The node may be running, or killed.
///
/// # Errors
///
/// `NotAGraph` where the directory is not that of a node that was started; `Corrupt`, `Io` and the
/// others of [`FollowGraph::open_read_only`].
pub fn node_end(directory: &Path) -> Result<NodeEnd> {
    let (gateways, parts) = peek(directory)?;
    let (mut sequences, mut shards) = (Vec::new(), ShardSet::none());
    for part in parts {
        let graph = FollowGraph::open_read_only(part)?;
        sequences.push(graph.source_position().unwrap_or(0));
        shards = shards.union(&graph.hosted_shards().unwrap_or(ShardSet::none()));
    }
    let sequence = sequences.into_iter().min().unwrap_or(0);
    Ok(NodeEnd { position: Position { epoch: gateways.epoch, sequence }, shards })
}

/// Where the log has to go on: behind the furthest of the nodes.
///
/// # Errors
///
/// `InvalidArgument` where the nodes followed different logs; where no node has a shard, or none
/// that came as far as the furthest, so that changes of that shard would be lost.
pub fn last_entry(ends: &BTreeMap<String, NodeEnd>) -> Result<Position> {
    let invalid = |message: String| Error::new(ErrorKind::InvalidArgument, message);
    let furthest = ends.values().max_by_key(|end| end.position.sequence);
    let last = furthest.ok_or_else(|| invalid("no node is named".to_owned()))?.position;
    if let Some((node, end)) = ends.iter().find(|(_, end)| end.position.epoch != last.epoch) {
        let message = format!("node {node:?} followed another log than others");
        return Err(invalid(message).expected(last.epoch, end.position.epoch));
    }
    let union = |all: ShardSet, end: &NodeEnd| all.union(&end.shards);
    let held = ends.values().fold(ShardSet::none(), union);
    let level = ends.values().filter(|end| end.position == last).fold(ShardSet::none(), union);
    let missing = ShardSet::all().difference(&held);
    if !missing.is_empty() {
        return Err(invalid(format!("no node that is named has the shards {missing}")));
    }
    let behind = ShardSet::all().difference(&level);
    if !behind.is_empty() {
        let message = format!(
            "no node that has the shards {behind} came as far as entry {}: name one that did",
            last.sequence
        );
        return Err(invalid(message));
    }
    Ok(last)
}

/// Makes the placement of a cluster whose log goes on behind [`last_entry`], with what each node
/// has. Nodes that are started then go on where they were; those that were behind begin anew from
/// the others.
///
/// # Errors
///
/// Those of [`last_entry`]; `InvalidArgument` where the log does not begin there, or where there is
/// another cluster already; `Unavailable`.
pub async fn renew_cluster<B: Log + Shelf>(
    backend: &B,
    ends: &BTreeMap<String, NodeEnd>,
) -> Result<Placement> {
    let last = last_entry(ends)?;
    let extent = backend.extent().await?;
    let hosts = |end: &NodeEnd| NodePlacement { hosts: end.shards.clone(), ..Default::default() };
    let nodes = ends.iter().map(|(name, end)| (name.clone(), hosts(end))).collect();
    let wanted = Placement { epoch: extent.epoch, goes_on_behind: Some(last), nodes };
    let renewed = Placement::change(backend, |placement| {
        // An attempt may have been confirmed to nobody, and nodes may have been started since.
        if *placement == wanted {
            return Ok(());
        }
        if !placement.nodes.is_empty() && placement.epoch != last.epoch {
            let message = "there is a cluster already, of another log";
            let error = Error::new(ErrorKind::InvalidArgument, message);
            return Err(error.expected(last.epoch, placement.epoch));
        }
        if extent.epoch == last.epoch || extent.last != last.sequence {
            let message = "this log does not go on behind the one that was lost";
            let error = Error::new(ErrorKind::InvalidArgument, message);
            let found = format!("log {} with the last entry {}", extent.epoch, extent.last);
            return Err(
                error.expected(format!("another log behind entry {}", last.sequence), found)
            );
        }
        placement.clone_from(&wanted);
        Ok(())
    });
    renewed.await
}

/// What a node has of this log, by what it has of the one before.
pub(super) enum Takeover {
    /// As it is: the table that begins with the log, and its graphs.
    Complete(Gateways, Vec<NodePart>),
    /// Nothing: it was behind, and the entries that it lacks are no more.
    Behind,
}

impl<B> Shared<B> {
    /// What to do with the directory of a node that followed another log.
    ///
    /// Errors: `Incompatible` where this log does not go on behind that one, or leaves out what
    /// the node has.
    pub(super) fn take_over(&self, found: Found) -> Result<Takeover> {
        let incompatible = |message| Error::new(ErrorKind::Incompatible, message);
        let last = self.placement.read().goes_on_behind;
        let Some(last) = last.filter(|last| last.epoch == found.gateways.epoch) else {
            let message = "the directory of the node follows another log: see docs/scale-out.md";
            return Err(incompatible(message).expected(self.epoch, found.gateways.epoch));
        };
        let reached = |part: &NodePart| part.graph.source_position().unwrap_or(0);
        if let Some(beyond) = found.parts.iter().map(reached).find(|at| *at > last.sequence) {
            let message = "the node has entries that this log leaves out, so they would be lost: \
                           see docs/scale-out.md";
            return Err(incompatible(message).expected(last.sequence, beyond));
        }
        if found.parts.iter().any(|part| reached(part) < last.sequence) {
            return Ok(Takeover::Behind);
        }
        let gateways = Gateways::behind(self.epoch, last.sequence);
        self.directory.save(&gateways, &found.parts)?;
        Ok(Takeover::Complete(gateways, found.parts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Memory, Node, NodeOptions, create_cluster};
    use std::sync::Arc;

    fn ends(said: &[(&str, &str)]) -> BTreeMap<String, NodeEnd> {
        said.iter().map(|(node, end)| ((*node).to_owned(), end.parse().unwrap())).collect()
    }

    #[test]
    fn the_log_goes_on_behind_the_furthest_if_they_have_everything() {
        let last = |said: &[(&str, &str)]| last_entry(&ends(said));
        let all = last(&[("a", "1:9:0-2000"), ("b", "1:9:1000-4095"), ("c", "1:7:all")]).unwrap();
        assert_eq!(all, Position { epoch: 1, sequence: 9 });
        for (said, complaint) in [
            (&[][..], "no node is named"),
            (&[("a", "1:9:all"), ("b", "2:9:all")], "another log"),
            (&[("a", "1:9:0-4000")], "has the shards 4001-4095"),
            (
                &[("a", "1:9:0-4000"), ("b", "1:8:all")],
                "the shards 4001-4095 came as far as entry 9",
            ),
        ] {
            let error = last(said).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.to_string().contains(complaint), "{error}");
        }
    }

    #[tokio::test]
    async fn what_does_not_fit_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let start = |memory: &Memory| {
            Node::start(Arc::new(memory.clone()), NodeOptions::new("n", directory.path()))
        };
        let memory = Memory::new(1);
        create_cluster(&memory, &[("n", ShardSet::all())]).await.unwrap();
        let node = start(&memory).await.unwrap();
        node.follow("alice", "bob", true).await.unwrap();
        node.stop().await;
        let end = node_end(directory.path()).unwrap();
        let ends = |end: &NodeEnd| BTreeMap::from([("n".to_owned(), end.clone())]);

        // There is a log, of the same epoch or not behind the right entry.
        let sequence = end.position.sequence;
        for log in [memory, Memory::new(2)] {
            let error = renew_cluster(&log, &ends(&end)).await.unwrap_err();
            assert!(error.to_string().contains("does not go on behind"), "{error}");
        }
        // The node has more than was said of it.
        let less = Position { sequence: sequence - 1, ..end.position };
        let log = Memory::new(1).lose_log(2, less.sequence);
        let said = NodeEnd { position: less, shards: ShardSet::all() };
        renew_cluster(&log, &ends(&said)).await.unwrap();
        let error = start(&log).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Incompatible);
        assert!(error.to_string().contains("would be lost"), "{error}");
        // The log was lost once more while the node was away.
        let log = Memory::new(7).lose_log(8, sequence);
        let said = NodeEnd { position: Position { epoch: 7, sequence }, shards: ShardSet::all() };
        renew_cluster(&log, &ends(&said)).await.unwrap();
        let error = start(&log).await.err().unwrap();
        assert!(error.to_string().contains("follows another log"), "{error}");

        let log = Memory::new(1).lose_log(2, sequence);
        renew_cluster(&log, &ends(&end)).await.unwrap();
        let node = start(&log).await.unwrap();
        let counts = node.batch_counts(&["bob"], None).await.remove(0).unwrap();
        assert_eq!(counts.followers, 1);
        node.stop().await;
    }
}
