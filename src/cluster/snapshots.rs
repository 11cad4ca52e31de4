//! Snapshots: what lets a node begin without the beginning of the log, and the log be cut.
//!
//! A snapshot is a graph that hosts some shards, as of one entry, and the table of gateways at that
//! entry. Which ones there are stands in one small value. Of every shard the two newest are kept;
//! the log is purged only below the older of them.

use super::gateways::Gateways;
use super::log::Shelf;
use super::node::{Backend, Shared};
use super::placement::as_text;
use super::state::NodeDirectory;
use super::values;
use crate::FollowGraph;
use crate::error::{Error, Result};
use crate::shards::{ShardSet, VirtualShard};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const KEY: &str = "snapshots";
const GATEWAYS_FILE: &str = "gateways";
/// How many snapshots of each shard are kept.
const KEPT: usize = 2;

/// One snapshot, as the value has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Snapshot {
    /// What the names of its objects begin with.
    pub(super) name: String,
    /// Which node took it.
    node: String,
    pub(super) epoch: u64,
    /// The last entry that is part of it.
    pub(super) position: u64,
    #[serde(with = "as_text")]
    pub(super) shards: ShardSet,
    files: Vec<String>,
}

/// All snapshots, the newest last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Snapshots {
    pub(super) snapshots: Vec<Snapshot>,
}

impl Snapshots {
    pub(super) async fn load(shelf: &impl Shelf) -> Result<(Snapshots, u64)> {
        values::load(shelf, KEY).await
    }

    fn with(&self, shard: VirtualShard) -> impl Iterator<Item = &Snapshot> {
        self.snapshots.iter().filter(move |snapshot| snapshot.shards.contains(shard))
    }

    /// The snapshot to begin a shard from: the newest. The last one of a node whose lists turned
    /// out to be wrong since is passed over; nodes compare far more often than they take one.
    pub(super) fn source_of(&self, shard: VirtualShard, wrong: Option<&str>) -> Option<&Snapshot> {
        let of_wrong = self.with(shard).filter(|snapshot| Some(snapshot.node.as_str()) == wrong);
        let doubtful = of_wrong.map(|snapshot| snapshot.position).max();
        let is_doubtful = |snapshot: &&Snapshot| {
            Some(snapshot.node.as_str()) == wrong && Some(snapshot.position) == doubtful
        };
        let good = self.with(shard).filter(|snapshot| !is_doubtful(snapshot));
        good.max_by_key(|snapshot| snapshot.position)
    }

    /// The positions of the snapshots that are kept of a shard, newest first.
    fn kept_of(&self, shard: VirtualShard) -> Vec<u64> {
        let mut positions: Vec<u64> = self.with(shard).map(|snapshot| snapshot.position).collect();
        positions.sort_unstable_by(|one, other| other.cmp(one));
        positions.truncate(KEPT);
        positions
    }

    /// Takes out the snapshots that no shard needs any more.
    fn retire(&mut self) -> Vec<Snapshot> {
        let all = self.clone();
        let is_needed = |snapshot: &Snapshot| {
            snapshot.shards.iter().any(|shard| all.kept_of(shard).contains(&snapshot.position))
        };
        let (kept, retired) = std::mem::take(&mut self.snapshots).into_iter().partition(is_needed);
        self.snapshots = kept;
        retired
    }

    /// The entry below which the log is needed by nobody; `None` where a shard has fewer snapshots
    /// than are kept.
    fn purge_below(&self) -> Option<u64> {
        let oldest = |shard| self.kept_of(shard).get(KEPT - 1).copied();
        let oldest: Option<Vec<u64>> = ShardSet::all().iter().map(oldest).collect();
        oldest?.into_iter().min().map(|position| position + 1)
    }

    /// Adds a snapshot whose objects are there.
    async fn add(shelf: &impl Shelf, snapshot: &Snapshot) -> Result<(Snapshots, Vec<Snapshot>)> {
        let add = |all: &mut Snapshots| {
            let is_old = |other: &mut Snapshot| other.epoch != snapshot.epoch;
            let mut retired: Vec<Snapshot> = all.snapshots.extract_if(.., is_old).collect();
            all.snapshots.push(snapshot.clone());
            retired.extend(all.retire());
            Ok(retired)
        };
        values::change(shelf, KEY, add).await
    }
}

impl Snapshot {
    fn object(&self, file: &str) -> String {
        format!("{}/{file}", self.name)
    }

    /// Fetches the graph into a directory that is not there yet, and the table of gateways.
    pub(super) async fn fetch(&self, shelf: &impl Shelf, directory: &Path) -> Result<Gateways> {
        let io = |source| Error::io("make a directory", directory, &source);
        fs::create_dir_all(directory).map_err(io)?;
        for file in &self.files {
            shelf.get_object(&self.object(file), &directory.join(file)).await?;
        }
        let table = directory.join(GATEWAYS_FILE);
        let bytes = fs::read(&table).map_err(|source| Error::io("read", &table, &source))?;
        fs::remove_file(&table).map_err(|source| Error::io("remove", &table, &source))?;
        let gateways = Gateways::decode(&bytes)?;
        if (gateways.epoch, gateways.position) != (self.epoch, self.position) {
            let error = Error::corrupt(format!("snapshot {} is of another moment", self.name));
            return Err(error.expected(self.position, gateways.position));
        }
        Ok(gateways)
    }
}

/// What one node sees of the snapshots, time after time. Of each shard the first node to answer for
/// it takes them; where none came for so long, the others do.
#[derive(Default)]
pub(super) struct Watch {
    /// The position of the newest snapshot of each shard, and at how many looks it was that.
    seen: BTreeMap<VirtualShard, (u64, u32)>,
}

/// Looks without a new snapshot after which the first node to answer is taken to be away.
const OVERDUE_LOOKS: u32 = 2;

impl Watch {
    /// The shards that no snapshot came for.
    fn overdue(&mut self, snapshots: &Snapshots) -> ShardSet {
        let mut overdue = ShardSet::none();
        for shard in ShardSet::all().iter() {
            let newest = snapshots.with(shard).map(|snapshot| snapshot.position).max();
            let newest = newest.unwrap_or(0);
            let seen = self.seen.entry(shard).or_insert((newest, 0));
            if seen.0 != newest {
                *seen = (newest, 0);
            } else if seen.1 == OVERDUE_LOOKS {
                overdue.insert(shard);
            } else {
                seen.1 += 1;
            }
        }
        overdue
    }

    /// Takes a snapshot of what this node has to, because it is the first to answer or because
    /// that one does not.
    pub(super) async fn take<B: Backend>(&mut self, shared: &Shared<B>) -> Result<Option<u64>> {
        let (snapshots, _) = Snapshots::load(shared.backend.as_ref()).await?;
        let overdue = self.overdue(&snapshots);
        take(shared, &overdue).await
    }
}

/// Takes a snapshot of what this node answers for and nobody has one of, with a log that begins in
/// the middle: without it nobody can begin with that log.
pub(super) async fn take_missing<B: Backend>(shared: &Shared<B>) -> Result<Option<u64>> {
    let (all, _) = Snapshots::load(shared.backend.as_ref()).await?;
    let of_this_log = all.snapshots.iter().filter(|snapshot| snapshot.epoch == shared.epoch);
    let taken = of_this_log.fold(ShardSet::none(), |taken, other| taken.union(&other.shards));
    let missing = shared.answers_for().difference(&taken);
    if missing.is_empty() { Ok(None) } else { take(shared, &missing).await }
}

/// Takes a snapshot of the shards that this node is the first to answer for, and of those `more`
/// that it answers for, and purges what of the log nobody needs any more. `None` where there are no
/// such shards, or nothing came since the last.
pub(super) async fn take<B: Backend>(shared: &Shared<B>, more: &ShardSet) -> Result<Option<u64>> {
    let name = &shared.options.name;
    let own: ShardSet = {
        let placement = shared.placement.read();
        let is_first =
            |shard: VirtualShard| placement.hosts_of(shard).first() == Some(&name.as_str());
        let is_own = |shard: &VirtualShard| more.contains(*shard) || is_first(*shard);
        shared.answers_for().iter().filter(is_own).collect()
    };
    if own.is_empty() {
        return Ok(None);
    }
    // The node takes them by itself, and whoever has the node may ask for one.
    let _alone = shared.taking_snapshot.lock().await;
    let scratch = shared.directory.scratch("snapshot");
    NodeDirectory::remove(&scratch)?;
    let gateways = shared.compose(&scratch, &own).await?;
    let snapshot = Snapshot {
        name: format!("{name}-{}-{}", shared.epoch, gateways.position),
        node: name.clone(),
        epoch: shared.epoch,
        position: gateways.position,
        shards: own,
        files: vec![GATEWAYS_FILE.to_owned()],
    };
    let is_known =
        |snapshots: &Snapshots| snapshots.snapshots.iter().any(|other| other.name == snapshot.name);
    if is_known(&Snapshots::load(shared.backend.as_ref()).await?.0) {
        NodeDirectory::remove(&scratch)?;
        return Ok(None);
    }
    let table = scratch.join(GATEWAYS_FILE);
    fs::write(&table, gateways.encode()).map_err(|source| Error::io("write", &table, &source))?;
    let snapshot = upload(shared, snapshot, &scratch).await?;
    // Those of a log that was lost would take the place of those of the present one.
    shared.extent().await?;
    let (snapshots, retired) = Snapshots::add(shared.backend.as_ref(), &snapshot).await?;
    NodeDirectory::remove(&scratch)?;
    for old in retired {
        for file in &old.files {
            shared.backend.delete_object(&old.object(file)).await?;
        }
    }
    if let Some(sequence) = snapshots.purge_below() {
        shared.backend.purge_below(sequence).await?;
    }
    Ok(Some(snapshot.position))
}

/// Keeps every file of a composed graph as an object.
async fn upload<B: Backend>(
    shared: &Shared<B>,
    mut snapshot: Snapshot,
    directory: &Path,
) -> Result<Snapshot> {
    // The lock file is made again where the graph is opened.
    let listed = FollowGraph::files_of(directory)?;
    snapshot.files.extend(listed);
    for file in &snapshot.files {
        let object = snapshot.object(file);
        // An earlier attempt at this position may have left one.
        shared.backend.delete_object(&object).await?;
        shared.backend.put_object(&object, &directory.join(file)).await?;
    }
    Ok(snapshot)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(position: u64, shards: ShardSet) -> Snapshot {
        let (name, node) = (format!("n-{position}"), "n".to_owned());
        Snapshot { name, node, epoch: 1, position, shards, files: Vec::new() }
    }

    #[test]
    fn the_log_is_cut_below_the_older_of_two_snapshots_of_every_shard() {
        let (low, high) = (ShardSet::range(0..=2000), ShardSet::range(2001..=4095));
        let mut all = Snapshots::default();
        for (position, shards) in [(10, &low), (20, &high), (30, &low)] {
            all.snapshots.push(snapshot(position, shards.clone()));
            assert_eq!(all.purge_below(), None);
        }
        all.snapshots.push(snapshot(40, high.clone()));
        assert_eq!(all.purge_below(), Some(11));
        assert!(all.retire().is_empty());
        all.snapshots.push(snapshot(50, low.clone()));
        assert_eq!(all.retire(), [snapshot(10, low)]);
        assert_eq!(all.purge_below(), Some(21));
        assert_eq!(all.source_of(VirtualShard::new(4000).unwrap(), None).unwrap().position, 40);
    }
}
