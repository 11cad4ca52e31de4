//! A sharded graph made of parts of others, streamed out as an image.
//!
//! Graphs that were fed from the same source up to the same position know the same accounts by the
//! same ids, so the lists of each account can be taken from whichever of them hosts its shard.

use super::{Graph, Lists};
use crate::accounts::{INLINE_NAME_BYTES, RecordFields};
use crate::adjacency::EdgeList;
use crate::error::{Error, ErrorKind, Result};
use crate::format::Identity;
use crate::image::{ImageHeader, ImagePlan, ImageWriter};
use crate::shards::{ShardSet, Shards, VirtualShard};
use crate::storage::OutputFile;
use crate::types::Counts;
use roaring::RoaringBitmap;

/// A sharded graph to take lists from.
pub(crate) struct Part<'a> {
    graph: &'a Graph,
    shards: &'a Shards,
}

impl<'a> Part<'a> {
    /// Errors: `InvalidArgument` where the graph is not sharded.
    pub(crate) fn new(graph: &'a Graph) -> Result<Part<'a>> {
        let message = "a graph that is not sharded is no part of another";
        let shards = graph.shards().ok_or_else(|| Error::new(ErrorKind::InvalidArgument, message));
        Ok(Part { graph, shards: shards? })
    }
}

/// What a new graph is made of.
pub(crate) struct Composition<'a> {
    parts: &'a [Part<'a>],
    first: &'a Graph,
    shards: Shards,
    pub(crate) graph_id: [u8; 16],
}

impl<'a> Composition<'a> {
    /// A graph of these parts that hosts `hosted`. Its digests are those of the parts. Errors:
    /// `InvalidArgument` where the parts do not fit together or do not host it all.
    pub(crate) fn new(
        parts: &'a [Part<'a>],
        hosted: &ShardSet,
        graph_id: [u8; 16],
    ) -> Result<Composition<'a>> {
        let refused = |message: &str| Err(Error::new(ErrorKind::InvalidArgument, message));
        let Some(first) = parts.first() else {
            return refused("a graph is composed of one or more others");
        };
        let place = |part: &Part<'_>| {
            let graph = part.graph;
            (graph.position.source_position, graph.accounts.len(), graph.totals.account_count)
        };
        if let Some(other) = parts.iter().find(|part| place(part) != place(first)) {
            let error = refused("the parts of a graph stand at the same source position");
            let shown = |part| format!("{:?} (position, ids, accounts)", place(part));
            return error.map_err(|error: Error| error.expected(shown(first), shown(other)));
        }
        let mut shards = Shards::empty(hosted.clone());
        for shard in hosted.iter() {
            match parts.iter().find(|part| part.shards.hosted.contains(shard)) {
                Some(part) => shards.digests.set(shard, part.shards.digests.get(shard)),
                None => return refused("no part hosts all the shards that are asked for"),
            }
        }
        Ok(Composition { parts, first: first.graph, shards, graph_id })
    }

    /// The place in a log where the new graph goes on.
    pub(crate) fn sequence(&self) -> u64 {
        self.first.position.sequence
    }

    /// Which part has the lists of an account that the new graph hosts.
    fn host(&self, name: &str) -> Option<&'a Graph> {
        let shard = VirtualShard::of(name);
        let mut hosts = self.parts.iter().filter(|part| part.shards.hosted.contains(shard));
        self.shards.hosted.contains(shard).then(|| hosts.next().map(|part| part.graph))?
    }

    /// Streams the new graph out, and recounts it on the way.
    pub(crate) fn write_image(&self, file: Box<dyn OutputFile>) -> Result<ImageHeader> {
        let (first, accounts) = (self.first, &self.first.accounts);
        let names = || (0..accounts.len()).filter_map(|id| Some((id, accounts.name(id)?)));
        let foreign: RoaringBitmap =
            names().filter(|(_, name)| self.host(name).is_none()).map(|(id, _)| id).collect();
        let long = names().map(|(_, name)| name.len()).filter(|&bytes| bytes > INLINE_NAME_BYTES);
        let identity = Identity { graph_id: self.graph_id, ..first.image.header.identity };
        let plan = ImagePlan {
            identity,
            position: first.position,
            id_count: accounts.len(),
            account_count: first.totals.account_count,
            overflow_name_bytes: long.map(|bytes| bytes as u64).sum(),
            foreign: &foreign,
            shards: Some(&self.shards),
        };
        let mut writer = ImageWriter::new(file, plan)?;
        let (mut following, mut followers) = (EdgeList::default(), EdgeList::default());
        for id in 0..accounts.len() {
            following.clear();
            followers.clear();
            let Some(record) = accounts.live(id) else {
                accounts.check(id)?;
                writer.push_removed()?;
                continue;
            };
            let (name, being_removed) = (first.name(id)?, record.is_being_removed());
            let mut counts = Counts::default();
            if let Some(host) = self.host(name) {
                if host.name(id)? != name {
                    let message = "the parts of a graph give the same id to different names";
                    return Err(Error::new(ErrorKind::AuditFailed, message).about(name));
                }
                let Lists { following: outgoing, followers: incoming } = host.lists(id)?;
                outgoing.decode_into(&mut following)?;
                incoming.decode_into(&mut followers)?;
                counts = host.counts(id)?;
            }
            writer.push(name, being_removed, counts, &following, &followers)?;
        }
        writer.finish(None)
    }
}
