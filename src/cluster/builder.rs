//! Brings what a node has to what it is to host: shards that join, shards that left, lists that
//! were found wrong.
//!
//! A graph is built beside those that answer, from snapshots or from the beginning of the log,
//! follows the log by itself until it is nearly level, and then takes its place between two
//! entries. No write waits, and no read fails.

use super::follower::{Attachment, Command};
use super::gateways::Gateways;
use super::log::Tail;
use super::machine::Machine;
use super::node::{Backend, Shared};
use super::placement::Placement;
use super::snapshots::{self, Snapshots, Watch};
use super::state::{NodeDirectory, NodePart};
use crate::error::{Error, ErrorKind, Result};
use crate::shards::ShardSet;
use crate::{FollowGraph, Options};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

const PAUSE: Duration = Duration::from_secs(1);
/// How far a graph may be behind when it takes its place: what is left is read while the log waits.
const NEARLY_LEVEL: u64 = 256;

/// A graph that was built, and how far the table of gateways is that belongs to it.
pub(super) struct Built {
    pub(super) part: NodePart,
    pub(super) gateways: Gateways,
}

/// Looks again and again at what is to be done.
pub(super) async fn run<B: Backend>(shared: Arc<Shared<B>>) {
    let (mut last_snapshot, mut watch) = (Instant::now(), Watch::default());
    let mut begins_in_the_middle = shared.placement.read().goes_on_behind.is_some();
    loop {
        sleep(PAUSE).await;
        if let Err(error) = shared.bring_about().await {
            tracing::warn!(node = shared.options.name, %error, "shards are not ready yet");
        }
        if begins_in_the_middle {
            match snapshots::take_missing(&shared).await {
                Ok(_) => begins_in_the_middle = false,
                Err(error) => {
                    tracing::warn!(node = shared.options.name, %error, "no snapshot was taken");
                }
            }
        }
        let interval = shared.options.snapshot_seconds.map(Duration::from_secs);
        if interval.is_some_and(|interval| last_snapshot.elapsed() >= interval) {
            last_snapshot = Instant::now();
            if let Err(error) = watch.take(&shared).await {
                tracing::warn!(node = shared.options.name, %error, "no snapshot was taken");
            }
        }
    }
}

impl<B: Backend> Shared<B> {
    /// One step towards what the placement says.
    async fn bring_about(&self) -> Result<()> {
        let own = self.placement.read().nodes.get(&self.options.name).cloned().unwrap_or_default();
        let wanted = own.hosts.union(&own.joining);
        let (parts, stopped) = {
            let view = self.view.read();
            (view.parts.clone(), view.stopped.clone())
        };
        let have = parts.iter().fold(ShardSet::none(), |all, part| all.union(&part.hosted));
        let names = || parts.iter().map(|part| part.name.clone()).collect();
        let missing = wanted.difference(&have);
        if !stopped.is_empty() {
            // What was wrong is in no graph of this node that could be taken as a source.
            let built = self.build(&wanted, Some(&self.options.name)).await?;
            self.attach(built, names(), true).await?;
            self.count(|figures| &figures.rebuilds);
        } else if !missing.is_empty() {
            let built = self.build(&missing, None).await?;
            self.attach(built, Vec::new(), false).await?;
        } else if parts.len() > 1 || have != wanted {
            let (name, path) = self.directory.new_part();
            let gateways = self.compose(&path, &wanted).await?;
            let part = self.directory.open_part(&name)?;
            let built = self.nearly_level(part, gateways).await?;
            self.attach(built, names(), false).await?;
        } else if !own.joining.is_empty() {
            let joined = own.joining.clone();
            let placement = Placement::change(self.backend.as_ref(), |placement| {
                let node = placement.nodes.entry(self.options.name.clone()).or_default();
                // What is no longer asked for does not begin to answer.
                node.hosts = node.hosts.union(&joined.intersection(&node.joining));
                node.joining = node.joining.difference(&joined);
                Ok(())
            });
            *self.placement.write() = placement.await?;
        }
        Ok(())
    }

    /// Writes a graph that hosts these shards, of the graphs of this node, while they go on, and
    /// gives the table of gateways at its moment.
    pub(super) async fn compose(&self, path: &Path, hosted: &ShardSet) -> Result<Gateways> {
        let closed = || Error::new(ErrorKind::Closed, "the node stopped");
        let (reply, pinned) = oneshot::channel();
        let (released, release) = oneshot::channel();
        // What a checkpoint under way would keep waiting must not be the log as well. One that
        // begins at this very moment still does.
        let before = self.view.read().parts.clone();
        let idle = move || before.iter().for_each(|part| part.graph.wait_for_checkpoint());
        tokio::task::spawn_blocking(idle).await.map_err(|_| closed())?;
        let pin = Command::Pin { reply, release };
        self.commands.send(pin).map_err(|_| closed())?;
        let (parts, gateways) = pinned.await.map_err(|_| closed())?;
        let (path, hosted) = (path.to_owned(), hosted.clone());
        let composed = tokio::task::spawn_blocking(move || {
            let graphs: Vec<&FollowGraph> = parts.iter().map(|part| part.graph.as_ref()).collect();
            // Nobody waits any more where the node stopped.
            FollowGraph::compose(&path, &graphs, &hosted, || {
                let _ = released.send(());
            })
        });
        composed.await.map_err(|_| closed())??;
        Ok(gateways)
    }

    /// A graph that hosts these shards, as far as the log was when this began, from snapshots and,
    /// for shards that have none, from the beginning of the log. What the node `wrong` said last is
    /// not relied on.
    pub(super) async fn build(&self, shards: &ShardSet, wrong: Option<&str>) -> Result<Built> {
        let extent = self.extent().await?;
        let (all, _) = Snapshots::load(self.backend.as_ref()).await?;
        let mut sources: BTreeMap<String, ShardSet> = BTreeMap::new();
        let mut rest = ShardSet::none();
        for shard in shards.iter() {
            match all.source_of(shard, wrong).filter(|snapshot| snapshot.epoch == self.epoch) {
                Some(snapshot) => sources
                    .entry(snapshot.name.clone())
                    .or_insert_with(ShardSet::none)
                    .insert(shard),
                None => rest.insert(shard),
            }
        }
        if !rest.is_empty() && extent.first > 1 {
            let message = format!("no snapshot has the shards {rest}, and the log was cut");
            return Err(Error::new(ErrorKind::PositionLost, message));
        }
        if sources.is_empty() {
            let (name, _) = self.directory.new_part();
            let options = Options::new().hosted_shards(rest);
            let part = self.directory.open_part_with(&name, options)?;
            return self.level(part, Gateways::new(self.epoch), extent.last).await;
        }
        let mut built = Vec::new();
        for (place, name) in sources.keys().enumerate() {
            let snapshot = all.snapshots.iter().find(|snapshot| &snapshot.name == name);
            let snapshot = snapshot.expect("the name is of a snapshot");
            let path = self.fresh_scratch(&format!("source-{place}"))?;
            let gateways = snapshot.fetch(self.backend.as_ref(), &path).await?;
            let options = Options::new().create(false).verify_image(true);
            let part = self.directory.open_scratch(&path, options)?;
            built.push(self.level(part, gateways, extent.last).await?);
        }
        if !rest.is_empty() {
            let path = self.fresh_scratch("source-rest")?;
            let part = self.directory.open_scratch(&path, Options::new().hosted_shards(rest))?;
            built.push(self.level(part, Gateways::new(self.epoch), extent.last).await?);
        }
        self.join(built, shards).await
    }

    fn fresh_scratch(&self, what: &str) -> Result<PathBuf> {
        let path = self.directory.scratch(what);
        NodeDirectory::remove(&path)?;
        Ok(path)
    }

    /// One graph of several that are as far as each other.
    async fn join(&self, built: Vec<Built>, shards: &ShardSet) -> Result<Built> {
        let (name, path) = self.directory.new_part();
        let gateways = built[0].gateways.clone();
        let shards = shards.clone();
        let composed = tokio::task::spawn_blocking(move || {
            let graphs: Vec<&FollowGraph> =
                built.iter().map(|built| built.part.graph.as_ref()).collect();
            FollowGraph::compose(&path, &graphs, &shards, || ())?;
            drop(built);
            Ok::<(), Error>(())
        });
        composed.await.map_err(|_| Error::new(ErrorKind::Closed, "the node stopped"))??;
        for entry in self.directory.scratches("source-")? {
            NodeDirectory::remove(&entry)?;
        }
        Ok(Built { part: self.directory.open_part(&name)?, gateways })
    }

    /// Lets a graph follow the log by itself up to an entry.
    pub(super) async fn level(
        &self,
        part: NodePart,
        gateways: Gateways,
        until: u64,
    ) -> Result<Built> {
        let mut machine = Machine::new(vec![part.graph.clone()], gateways)?;
        while machine.position() < until {
            match self.read_until(&mut machine, until).await {
                Err(error) if error.kind() == ErrorKind::Unavailable => sleep(PAUSE / 10).await,
                read => read?,
            }
        }
        machine.note_position()?;
        Ok(Built { part, gateways: machine.gateways().clone() })
    }

    async fn read_until(&self, machine: &mut Machine, until: u64) -> Result<()> {
        let mut tail = self.backend.tail(machine.position() + 1).await?;
        while machine.position() < until {
            let entry = tail.next().await?;
            machine.apply(&entry)?;
        }
        Ok(())
    }

    /// Lets a graph follow the log by itself until it is nearly as far as this node.
    async fn nearly_level(&self, part: NodePart, gateways: Gateways) -> Result<Built> {
        let mut built = Built { part, gateways };
        loop {
            let applied = *self.applied.borrow();
            if built.gateways.position + NEARLY_LEVEL >= applied {
                return Ok(built);
            }
            built = self.level(built.part, built.gateways, applied).await?;
        }
    }

    /// Gives a graph its place between two entries, in the place of others or beside them.
    async fn attach(
        &self,
        built: Built,
        replaces: Vec<String>,
        clears_stopped: bool,
    ) -> Result<()> {
        let closed = || Error::new(ErrorKind::Closed, "the node stopped");
        let Built { part, gateways } = self.nearly_level(built.part, built.gateways).await?;
        let (reply, attached) = oneshot::channel();
        let attachment = Attachment { built: Built { part, gateways }, replaces, clears_stopped };
        self.commands.send(Command::Attach { attachment, reply }).map_err(|_| closed())?;
        attached.await.map_err(|_| closed())?
    }
}
