//! Whole clusters on real log servers: nodes of one process, each with a connection of its own.

mod answers;
mod crashes;
mod guards;
mod load;
mod real;
mod replay;

use super::servers::LogServers;
use followgraph::cluster::{Nats, NatsOptions, Node, NodeOptions, Position, create_cluster};
use followgraph::{ShardDigest, ShardSet, VirtualShard};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

const NODES: [&str; 3] = ["a", "b", "c"];
const LOG: &str = "test-log";
/// How often nodes compare what they count.
const DIGEST_SECONDS: u64 = 2;
/// How long a node may take to come to the end of a log that nobody writes to.
const CATCH_UP: Duration = Duration::from_secs(20);
/// What happens on an idle cluster happens in this time.
const SOON: Duration = Duration::from_secs(15);

/// Three nodes and their log servers.
struct Cluster {
    nodes: Vec<Arc<Node<Nats>>>,
    servers: LogServers,
    directory: TempDir,
}

/// On threads of its own, as nodes are.
fn run<T>(test: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap().block_on(test)
}

/// Of a cluster of this name on all of the servers.
fn nats_options(servers: &LogServers, cluster: &str) -> NatsOptions {
    let replicas = servers.urls().len();
    NatsOptions::new(servers.urls(), cluster).replicas(replicas).max_log_bytes(512 << 20)
}

fn node_options(name: &str, directory: &Path) -> NodeOptions {
    let mut options = NodeOptions::new(name, directory.join(name));
    options.digest_seconds = DIGEST_SECONDS;
    options.segment_bytes = 4 << 20;
    options
}

/// Each shard on two of the nodes.
fn on_two_nodes() -> [ShardSet; 3] {
    [
        ShardSet::range(0..=2730),
        ShardSet::range(1365..=4095),
        ShardSet::range(0..=1364).union(&ShardSet::range(2731..=4095)),
    ]
}

/// Each shard on each node.
fn on_all_nodes() -> [ShardSet; 3] {
    [ShardSet::all(), ShardSet::all(), ShardSet::all()]
}

impl Cluster {
    /// `None` where log servers cannot be had here.
    async fn start(server_count: usize, shards: [ShardSet; 3]) -> Option<Cluster> {
        let servers = tokio::task::block_in_place(|| LogServers::start(server_count))?;
        Some(Cluster::on(servers, shards).await)
    }

    /// On log servers that were just started.
    async fn on(servers: LogServers, shards: [ShardSet; 3]) -> Cluster {
        let directory = tempfile::tempdir().unwrap();
        let maker = Nats::create(nats_options(&servers, "test"), 1).await.unwrap();
        let placement: Vec<_> = NODES.into_iter().zip(shards).collect();
        create_cluster(&maker, &placement).await.unwrap();
        let mut cluster = Cluster { nodes: Vec::new(), servers, directory };
        for name in NODES {
            let backend = Arc::new(cluster.connection().await);
            let options = node_options(name, cluster.directory.path());
            cluster.nodes.push(Arc::new(Node::start(backend, options).await.unwrap()));
        }
        cluster
    }

    /// A connection beside those of the nodes.
    async fn connection(&self) -> Nats {
        Nats::connect(nats_options(&self.servers, "test")).await.unwrap()
    }

    /// Waits until every node shows all that was confirmed so far, and none has failed.
    async fn catch_up(&self) -> Position {
        let position = self.nodes[0].barrier().await.unwrap();
        for node in &self.nodes {
            wait_for(CATCH_UP, "a node is behind", || node.position() >= position).await;
            assert!(node.failure().is_none(), "{:?}", node.failure());
        }
        position
    }

    /// Replicas of a shard are equal, and both directions hold the same follows over all shards.
    /// The digests of all.
    fn check_digests(&self) -> BTreeMap<VirtualShard, ShardDigest> {
        let mut digests = BTreeMap::new();
        let mut replica_count = 0;
        for (shard, digest) in self.nodes.iter().flat_map(|node| node.digests()) {
            assert_eq!(*digests.entry(shard).or_insert(digest), digest, "replicas of {shard:?}");
            replica_count += 1;
        }
        assert!(replica_count >= 2 * 4096, "{replica_count} replicas of shards");
        assert_eq!(digests.len(), 4096);
        let sum = |side: fn(&ShardDigest) -> u64| {
            digests.values().fold(0_u64, |sum, digest| sum.wrapping_add(side(digest)))
        };
        assert_eq!(sum(|digest| digest.following), sum(|digest| digest.followers));
        digests
    }
}

/// Waits for something, and not for ever.
async fn wait_for(time: Duration, complaint: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + time;
    while !holds() {
        assert!(Instant::now() < deadline, "{complaint} after {time:?}");
        sleep(Duration::from_millis(5)).await;
    }
}
