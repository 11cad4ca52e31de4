//! One node: a follower of the log that reads are answered from, and a gateway into the log.

use super::figures::Figures;
use super::follower::{Command, Follower};
use super::gateway::{Gateway, GatewayLimits};
use super::log::{Extent, Log, Peers, Shelf};
use super::message::Message;
use super::placement::Placement;
use super::state::{NodeDirectory, NodePart};
use super::{builder, peers, removals, snapshots};
use crate::FollowGraph;
use crate::engine::{Clock, Options};
use crate::error::{Error, ErrorKind, Result};
use crate::list::{List, ListKind, Page};
use crate::locks::{Mutex, RwLock};
use crate::shards::{ShardDigest, ShardSet, VirtualShard};
use crate::storage::random_bytes;
use crate::types::{Counts, Relation};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

/// All that a node needs of other people's software.
pub trait Backend: Log + Shelf + Peers {}

impl<T: Log + Shelf + Peers> Backend for T {}

/// How a node runs.
#[derive(Clone)]
pub struct NodeOptions {
    /// Its name: it stays the same for as long as its directory lives.
    pub name: String,
    /// Where it keeps its graphs.
    pub directory: PathBuf,
    /// How much may be under way.
    pub gateway: GatewayLimits,
    /// How often the nodes compare what they count, in seconds. The same on all nodes.
    pub digest_seconds: u64,
    /// Where the seconds come from that the node says in the log.
    pub clock: Clock,
    /// How long a question waits for a position.
    pub wait: Duration,
    /// The largest size of the segments of its graphs, in bytes: see
    /// [`Options::segment_bytes`](crate::Options::segment_bytes).
    pub segment_bytes: u64,
    /// How often the node takes a snapshot of the shards that it is the first to answer for, in
    /// seconds; `None`: never, so that the log is never cut.
    pub snapshot_seconds: Option<u64>,
}

impl NodeOptions {
    /// The defaults: digests every ten seconds, and a question waits for two.
    pub fn new(name: &str, directory: impl Into<PathBuf>) -> NodeOptions {
        NodeOptions {
            name: name.to_owned(),
            directory: directory.into(),
            gateway: GatewayLimits::default(),
            digest_seconds: 10,
            clock: Options::new().shared_clock(),
            wait: Duration::from_secs(2),
            segment_bytes: 64 << 20,
            snapshot_seconds: Some(3600),
        }
    }
}

/// A place in the log of a cluster: how far a node has come, or has to have come for an answer to
/// show what its asker wrote.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct Position {
    /// Which log.
    pub epoch: u64,
    /// The entry.
    pub sequence: u64,
}

/// What a node answers from.
pub(super) struct View {
    pub(super) parts: Vec<NodePart>,
    /// Shards that do not answer, because their lists differed from those of other nodes.
    pub(super) stopped: ShardSet,
}

/// What the tasks of a node share.
pub(super) struct Shared<B> {
    pub(super) options: NodeOptions,
    pub(super) backend: Arc<B>,
    pub(super) epoch: u64,
    pub(super) directory: NodeDirectory,
    pub(super) gateway: Gateway,
    pub(super) view: RwLock<View>,
    pub(super) placement: RwLock<Placement>,
    pub(super) applied: watch::Sender<u64>,
    /// Why the node no longer follows the log.
    pub(super) failure: Mutex<Option<Error>>,
    pub(super) figures: Figures,
    /// Held by whoever takes a snapshot.
    pub(super) taking_snapshot: tokio::sync::Mutex<()>,
    /// What the follower is asked to do.
    pub(super) commands: mpsc::UnboundedSender<Command>,
}

/// A running node. Dropping it stops its tasks.
pub struct Node<B> {
    pub(super) shared: Arc<Shared<B>>,
    tasks: JoinSet<()>,
}

impl<B: Backend> Node<B> {
    /// Starts a node of a cluster that there is: what [`create_cluster`] made. It opens what it
    /// has in its directory and follows the log from there.
    ///
    /// # Errors
    ///
    /// `Incompatible` where the log is another one than that of the placement or of the directory,
    /// `Unavailable`, and those of opening its graphs.
    pub async fn start(backend: Arc<B>, options: NodeOptions) -> Result<Node<B>> {
        let (placement, _) = Placement::load(backend.as_ref()).await?;
        let extent = backend.extent().await?;
        if placement.epoch != extent.epoch {
            let message = "the log is another one than the placement was made for";
            return Err(Error::new(ErrorKind::Incompatible, message)
                .expected(placement.epoch, extent.epoch));
        }
        let directory = NodeDirectory::open(&options.directory, options.segment_bytes)?;
        let gateway_id = u128::from_le_bytes(random_bytes()?) as u64;
        let (commands, received) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            gateway: Gateway::start(gateway_id, backend.clone(), options.gateway),
            epoch: extent.epoch,
            directory,
            view: RwLock::new(View { parts: Vec::new(), stopped: ShardSet::none() }),
            placement: RwLock::new(placement),
            applied: watch::Sender::new(0),
            failure: Mutex::new(None),
            figures: Figures::default(),
            taking_snapshot: tokio::sync::Mutex::default(),
            commands,
            backend,
            options,
        });
        let follower = Follower::open(shared.clone(), received).await?;
        let inbox = shared.backend.listen(&shared.options.name).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(follower.run());
        tasks.spawn(tick(shared.clone()));
        tasks.spawn(removals::finish(shared.clone()));
        tasks.spawn(peers::answer(shared.clone(), inbox));
        tasks.spawn(builder::run(shared.clone()));
        Ok(Node { shared, tasks })
    }

    /// How far the node has come.
    pub fn position(&self) -> Position {
        self.shared.at(*self.shared.applied.borrow())
    }

    /// Why the node no longer follows the log, if so. What it has it still answers from, up to the
    /// position it had reached.
    pub fn failure(&self) -> Option<Error> {
        self.shared.failure.lock().clone()
    }

    /// The shards that the node answers for now.
    pub fn answers_for(&self) -> ShardSet {
        self.shared.answers_for()
    }

    /// The digests of the shards that the node answers for, each as of some moment of this call.
    /// Nodes that are at the same position have the same digests of a shard.
    pub fn digests(&self) -> Vec<(VirtualShard, ShardDigest)> {
        let answers_for = self.shared.answers_for();
        let parts = self.shared.view.read().parts.clone();
        let digests = parts.iter().flat_map(|part| part.graph.shard_digests());
        digests.filter(|(shard, _)| answers_for.contains(*shard)).collect()
    }

    /// Waits until the node has come as far as a position.
    ///
    /// # Errors
    ///
    /// `Behind` when it has not in the time of the options; `Incompatible` for a position of
    /// another log.
    pub async fn wait_for(&self, position: Position) -> Result<()> {
        self.shared.wait_for(self.shared.sequence_of(Some(position))?).await
    }

    /// A position that shows everything that was confirmed to anybody before this call.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn barrier(&self) -> Result<Position> {
        let id = format!("barrier-{:032x}", u128::from_le_bytes(random_bytes()?));
        let ack = self.shared.backend.append(&id, Message::Barrier.encode()).await?;
        Ok(self.shared.at(ack.sequence))
    }

    /// Takes a snapshot of the shards that this node is the first to answer for, and cuts what of
    /// the log no snapshot needs. The entry it was taken at; `None` where there is nothing new, or
    /// there are no such shards.
    ///
    /// # Errors
    ///
    /// `Unavailable`, and what writing a graph can fail with. Nothing is cut then.
    pub async fn snapshot(&self) -> Result<Option<u64>> {
        snapshots::take(&self.shared, &ShardSet::none()).await
    }

    /// Stops the tasks of the node and waits until its graphs are closed.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
        let shared = Arc::downgrade(&self.shared);
        let parts = self.shared.view.read().parts.clone();
        let graphs: Vec<_> = parts.iter().map(|part| Arc::downgrade(&part.graph)).collect();
        drop((parts, self));
        // What is being answered to another node just now still holds it, and so may a snapshot.
        while shared.strong_count() > 0 || graphs.iter().any(|graph| graph.strong_count() > 0) {
            sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Says each second in the log, as all nodes do, under an id by which the log keeps one; and looks
/// at the placement.
async fn tick<B: Backend>(shared: Arc<Shared<B>>) {
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        seconds.tick().await;
        let second = u64::from((shared.options.clock)());
        // Another node says it too, and the next second comes soon.
        let message = Message::Tick { second }.encode();
        if let Ok(ack) = shared.backend.append(&format!("tick-{second}"), message).await {
            shared.figures.known.fetch_max(ack.sequence, Ordering::Relaxed);
        }
        if let Ok((placement, _)) = Placement::load(shared.backend.as_ref()).await {
            *shared.placement.write() = placement;
        }
    }
}

impl<B: Backend> Shared<B> {
    /// What the log has, if it is still the one that this node follows.
    ///
    /// Errors: `Incompatible`, `Unavailable`.
    pub(super) async fn extent(&self) -> Result<Extent> {
        let extent = self.backend.extent().await?;
        if extent.epoch == self.epoch {
            return Ok(extent);
        }
        let message = "the log was lost and made again; see docs/scale-out.md";
        Err(Error::new(ErrorKind::Incompatible, message).expected(self.epoch, extent.epoch))
    }
}

impl<B> Shared<B> {
    /// A position of the log that this node follows.
    pub(super) fn at(&self, sequence: u64) -> Position {
        Position { epoch: self.epoch, sequence }
    }

    /// The entry of a position; 0, which every node has reached, for none.
    pub(super) fn sequence_of(&self, position: Option<Position>) -> Result<u64> {
        match position {
            Some(position) if position.epoch != self.epoch => {
                let error = Error::new(ErrorKind::Incompatible, "the position is of another log");
                Err(error.expected(self.epoch, position.epoch))
            }
            position => Ok(position.map_or(0, |position| position.sequence)),
        }
    }

    pub(super) async fn wait_for(&self, sequence: u64) -> Result<()> {
        let mut applied = self.applied.subscribe();
        let waited = applied.wait_for(|applied| *applied >= sequence);
        if let Ok(Ok(_)) = timeout(self.options.wait, waited).await {
            return Ok(());
        }
        let error = Error::new(ErrorKind::Behind, format!("node {}", self.options.name));
        Err(error.expected(sequence, *self.applied.borrow()))
    }

    /// The shards that the node answers for now.
    pub(super) fn answers_for(&self) -> ShardSet {
        let view = self.view.read();
        let hosted = view.parts.iter().fold(ShardSet::none(), |all, part| all.union(&part.hosted));
        let placed = self.placement.read().hosted_by(&self.options.name);
        hosted.intersection(&placed).difference(&view.stopped)
    }

    /// The counts of accounts that this node hosts.
    pub(super) fn counts(&self, names: &[&str]) -> Vec<Result<Counts>> {
        let graphs: Vec<_> = names.iter().map(|name| self.graph_of(name)).collect();
        let is_one = |first: &Arc<FollowGraph>| {
            graphs.iter().flatten().filter(|graph| Arc::ptr_eq(graph, first)).count() == names.len()
        };
        match graphs.iter().flatten().next() {
            // Nearly always: one graph, one moment, and cache misses that overlap.
            Some(first) if is_one(first) => first.batch_counts(names),
            _ => graphs.into_iter().zip(names).map(|(graph, name)| graph?.counts(name)).collect(),
        }
    }

    /// How an account stands to others; it is hosted here.
    pub(super) fn relations(&self, name: &str, others: &[&str]) -> Result<Vec<Result<Relation>>> {
        self.graph_of(name)?.batch_relations(name, others)
    }

    /// A page of a list of an account that is hosted here.
    pub(super) fn list(&self, name: &str, kind: ListKind, page: Page) -> Result<List> {
        let graph = self.graph_of(name)?;
        match kind {
            ListKind::Followers => graph.followers(name, page),
            ListKind::Following => graph.following(name, page),
            ListKind::Mutual => graph.mutuals(name, page),
        }
    }

    /// Whether an account exists. Every node knows.
    pub(super) fn has_account(&self, name: &str) -> Result<bool> {
        let graph = self.view.read().parts.first().map(|part| part.graph.clone());
        match graph.ok_or(Error::bare(ErrorKind::NotHosted))?.account_id(name) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::UnknownAccount => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The graph that has the lists of an account.
    fn graph_of(&self, name: &str) -> Result<Arc<FollowGraph>> {
        let shard = VirtualShard::of(name);
        let view = self.view.read();
        let is_placed = self.placement.read().is_host(&self.options.name, shard);
        if view.stopped.contains(shard) || !is_placed {
            return Err(Error::bare(ErrorKind::NotHosted));
        }
        let hosts = |part: &&NodePart| part.hosted.contains(shard);
        let part = view.parts.iter().find(hosts).ok_or(Error::bare(ErrorKind::NotHosted))?;
        Ok(part.graph.clone())
    }

    /// The node follows no more.
    pub(super) fn fail(&self, error: Error) {
        tracing::error!(node = self.options.name, %error, "the node stopped following the log");
        self.failure.lock().get_or_insert(error);
    }

    pub(super) fn count(&self, figure: impl Fn(&Figures) -> &AtomicU64) {
        figure(&self.figures).fetch_add(1, Ordering::Relaxed);
    }
}

/// How long a cluster that is made waits for a log that was made just before.
const CREATE_TIME: Duration = Duration::from_secs(20);

/// Makes the placement of a new cluster: which node hosts which shards. Waits for a log that has
/// just been made.
///
/// # Errors
///
/// `InvalidArgument` where a shard has no node, or there is a placement already; `Unavailable`.
pub async fn create_cluster<B: Backend>(
    backend: &B,
    nodes: &[(&str, ShardSet)],
) -> Result<Placement> {
    let extent = backend.extent().await?;
    let all = nodes.iter().fold(ShardSet::none(), |all, (_, hosts)| all.union(hosts));
    if all != ShardSet::all() {
        let error = Error::new(ErrorKind::InvalidArgument, "every shard needs a node");
        return Err(error.expected("0-4095", all));
    }
    let mut wanted = Placement { epoch: extent.epoch, ..Placement::default() };
    for (name, hosts) in nodes {
        wanted.nodes.entry((*name).to_owned()).or_default().hosts = hosts.clone();
    }
    let deadline = Instant::now() + CREATE_TIME;
    let mut may_be_there = false;
    loop {
        let made = Placement::change(backend, |placement| {
            // It may be what an attempt wrote that was not confirmed.
            let is_own = may_be_there && *placement == wanted;
            if !is_own && !placement.nodes.is_empty() {
                let message = "there is a cluster already";
                return Err(Error::new(ErrorKind::InvalidArgument, message));
            }
            placement.clone_from(&wanted);
            Ok(())
        });
        match made.await {
            Err(error) if error.kind() == ErrorKind::Unavailable && Instant::now() < deadline => {
                may_be_there = true;
                sleep(Duration::from_millis(100)).await;
            }
            made => return made,
        }
    }
}
