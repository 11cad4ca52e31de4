//! What a sharded graph says of itself, and graphs made of parts of others.

use super::{FollowGraph, Options};
use crate::backup::{Destination, write_composed};
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Composition, Graph, Part};
use crate::shards::{ShardDigest, ShardSet, VirtualShard};
use crate::storage::{Storage, fill, random_bytes};
use std::path::Path;

impl FollowGraph {
    /// Whose accounts' lists a sharded graph keeps; `None` where the graph is not sharded.
    ///
    /// ```
    /// use followgraph::{FollowGraph, Options, ShardSet};
    /// let graph = Options::new().hosted_shards(ShardSet::range(0..=99)).in_memory()?;
    /// assert_eq!(graph.hosted_shards(), Some(ShardSet::range(0..=99)));
    /// assert_eq!(FollowGraph::in_memory().hosted_shards(), None);
    /// # Ok::<(), followgraph::Error>(())
    /// ```
    pub fn hosted_shards(&self) -> Option<ShardSet> {
        self.shared.keep_up();
        self.shared.state.read().shards().map(|shards| shards.hosted.clone())
    }

    /// The digest of every shard that a sharded graph hosts, at one moment. Every graph that hosts
    /// a shard and was given the same changes has the same digest of it: every change keeps them,
    /// every checkpoint and `verify` recounts them from the lists.
    ///
    /// ```
    /// use followgraph::{Options, ShardSet};
    /// let options = Options::new().create_missing_accounts(true);
    /// let graph = options.hosted_shards(ShardSet::all()).in_memory()?;
    /// graph.follow("alice", "bob")?;
    /// let sum = |side: fn(&followgraph::ShardDigest) -> u64| -> u64 {
    ///     graph.shard_digests().iter().map(|(_, digest)| side(digest)).sum()
    /// };
    /// assert_eq!(sum(|digest| digest.following), sum(|digest| digest.followers));
    /// # Ok::<(), followgraph::Error>(())
    /// ```
    pub fn shard_digests(&self) -> Vec<(VirtualShard, ShardDigest)> {
        self.shared.keep_up();
        let graph = self.shared.state.read();
        let Some(shards) = graph.shards() else {
            return Vec::new();
        };
        shards.hosted.iter().map(|shard| (shard, shards.digests.get(shard))).collect()
    }

    /// Writes a sharded graph into an empty directory that hosts `hosted`, of graphs that host them
    /// together and stand at the same [source position](FollowGraph::source_position). `pinned` is
    /// called as soon as that moment is held fast: from then on the graphs may go on.
    ///
    /// With one graph and fewer shards this takes shards out of it; with several it joins them.
    ///
    /// Cost: reading what is hosted and writing it, in memory that grows with the accounts.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` where the graphs do not stand at the same position, do not host all that
    /// is asked for, or the directory is not empty. Otherwise as
    /// [`backup`](FollowGraph::backup).
    ///
    /// ```
    /// use followgraph::{FollowGraph, Mutation, Options, ShardSet, VirtualShard};
    /// let directory = tempfile::tempdir()?;
    /// let shard = ShardSet::from_iter([VirtualShard::of("bob")]);
    /// let graph = Options::new().hosted_shards(ShardSet::all()).in_memory()?;
    /// let alice_follows = Mutation::follow("alice", "bob");
    /// let add = [Mutation::add_account("alice"), Mutation::add_account("bob"), alice_follows];
    /// graph.apply_from_source(1, &add)?;
    /// FollowGraph::compose(directory.path(), &[&graph], &shard, || {})?;
    /// let part = FollowGraph::open(directory.path())?;
    /// assert_eq!(part.counts("bob")?.followers, 1);
    /// assert!(part.counts("alice").is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn compose(
        destination: impl AsRef<Path>,
        graphs: &[&FollowGraph],
        hosted: &ShardSet,
        pinned: impl FnOnce(),
    ) -> Result<()> {
        fill(destination.as_ref(), |destination| {
            FollowGraph::compose_into(destination.as_ref(), graphs, hosted, pinned)
        })
    }

    fn compose_into(
        destination: &dyn Storage,
        graphs: &[&FollowGraph],
        hosted: &ShardSet,
        pinned: impl FnOnce(),
    ) -> Result<()> {
        if let Destination::Backup(_) = Destination::examine(destination)? {
            let message = "a composed graph goes into a directory of its own; choose an empty one";
            let error = Error::new(ErrorKind::InvalidArgument, message);
            return Err(error.at_path(&destination.path("")));
        }
        // No checkpoint meanwhile: it would take away the files that this reads.
        let turns = graphs.iter().map(|graph| graph.shared.checkpoint.take());
        let turns: Vec<_> = turns.collect::<Result<_>>()?;
        let moments: Vec<_> = graphs.iter().map(|graph| graph.shared.moment()).collect();
        pinned();
        let mut parts = Vec::new();
        for (graph, moment) in graphs.iter().zip(&moments) {
            parts.push(graph.shared.recover(moment)?.graph);
        }
        let parts: Vec<Part<'_>> = parts.iter().map(Part::new).collect::<Result<_>>()?;
        let composition = Composition::new(&parts, hosted, random_bytes()?)?;
        write_composed(destination, &composition)?;
        drop(turns);
        Ok(())
    }

    /// The names of the files that make up a graph in a directory that nobody has open.
    #[cfg(feature = "cluster")]
    pub(crate) fn files_of(directory: &Path) -> Result<Vec<String>> {
        use crate::format::{FileKind, file_kind};
        let listed = crate::storage::DirectoryStorage::open_unlocked(directory)?.list()?;
        let is_part =
            |name: &String| matches!(file_kind(name), FileKind::Image(_) | FileKind::Log(_));
        Ok(listed.into_iter().map(|(name, _)| name).filter(is_part).collect())
    }

    /// Waits for a checkpoint that is under way.
    #[cfg(feature = "cluster")]
    pub(crate) fn wait_for_checkpoint(&self) {
        drop(self.shared.checkpoint.take());
    }

    /// The accounts whose removal has begun.
    #[cfg(feature = "cluster")]
    pub(crate) fn being_removed(&self) -> Vec<crate::AccountId> {
        let (mut next, mut found) = (0, Vec::new());
        loop {
            // Some at a time, so that no commit waits for the whole search.
            let graph = self.shared.state.read();
            let is_over = graph.totals().being_removed_count == 0;
            if is_over || next == graph.accounts().len() {
                return found;
            }
            found.extend(graph.next_being_removed(&mut next).map(crate::AccountId));
        }
    }
}

/// A graph that is there hosts what it was made to host.
pub(super) fn check_hosted(graph: &Graph, options: &Options) -> Result<()> {
    let wanted = options.hosted_shards.as_ref();
    let hosted = graph.shards().map(|shards| &shards.hosted);
    if wanted.is_none() || wanted == hosted {
        return Ok(());
    }
    let message = "the graph was made to host other shards";
    let shown = hosted.map_or("none: it is not sharded".to_owned(), ToString::to_string);
    let error = Error::new(ErrorKind::InvalidArgument, message);
    Err(error.at_path(graph.image().path()).expected(shown, wanted.expect("it is asked for")))
}
