//! Nodes that begin anew, shards that move and a log that is cut, on a real log server, under load.

use super::servers::LogServers;
use followgraph::cluster::{
    Log, Nats, NatsOptions, Node, NodeOptions, Position, add_node, create_cluster, drain,
    move_shards,
};
use followgraph::testing::Model;
use followgraph::{Counts, ShardSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

const NAMES: usize = 300;
const LONG: Duration = Duration::from_secs(40);

type RealNode = Arc<Node<Nats>>;

fn name(number: usize) -> String {
    format!("user-{number}")
}

struct Place {
    servers: LogServers,
    directory: TempDir,
}

impl Place {
    fn new() -> Option<Place> {
        Some(Place { servers: LogServers::start(1)?, directory: tempfile::tempdir().unwrap() })
    }

    fn options(&self) -> NatsOptions {
        NatsOptions::new(self.servers.urls(), "test").replicas(1).max_log_bytes(256 << 20)
    }

    async fn node(&self, name: &str) -> RealNode {
        let nats = Arc::new(Nats::connect(self.options()).await.unwrap());
        let mut options = NodeOptions::new(name, self.directory.path().join(name));
        options.digest_seconds = 2;
        options.segment_bytes = 1 << 20;
        options.snapshot_seconds = None;
        Arc::new(Node::start(nats, options).await.unwrap())
    }
}

fn run<T>(test: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap().block_on(test)
}

/// Stops a node that others may be using at this moment.
async fn stop(mut node: RealNode) {
    loop {
        match Arc::try_unwrap(node) {
            Ok(node) => return node.stop().await,
            Err(shared) => node = shared,
        }
        sleep(Duration::from_millis(5)).await;
    }
}

/// Two nodes with half of the shards each, and one with all.
async fn begin(place: &Place) -> Vec<RealNode> {
    let nats = Nats::create(place.options(), 7).await.unwrap();
    let placed = [
        ("n0", ShardSet::range(0..=2047)),
        ("n1", ShardSet::range(2048..=4095)),
        ("n2", ShardSet::all()),
    ];
    create_cluster(&nats, &placed).await.unwrap();
    vec![place.node("n0").await, place.node("n1").await, place.node("n2").await]
}

/// Follows that are made one after the other, and what must be there then.
struct Load {
    random: fastrand::Rng,
    model: Model,
    last: Position,
}

impl Load {
    fn new() -> Load {
        let mut model = Model::default();
        model.creates_missing_accounts = true;
        let last = Position { epoch: 7, sequence: 0 };
        Load { random: fastrand::Rng::with_seed(5), model, last }
    }

    /// Makes changes through these nodes in turn.
    async fn change(&mut self, nodes: &[RealNode], count: usize) {
        for number in 0..count {
            let (one, other) = (name(self.random.usize(..NAMES)), name(self.random.usize(..NAMES)));
            if one == other {
                continue;
            }
            let node = &nodes[number % nodes.len()];
            let done = if self.random.u8(..4) == 0 {
                let _ = self.model.unfollow(&one, &other);
                node.unfollow(&one, &other).await
            } else {
                self.model.follow(&one, &other, 0).unwrap();
                node.follow(&one, &other, true).await
            };
            // Nothing else is refused: an unfollow of somebody who was never there.
            if let Ok(done) = done {
                self.last = done.position;
            }
        }
    }

    /// Every node answers for every account, with what the model has.
    async fn check(&self, nodes: &[RealNode]) {
        let names: Vec<String> = (0..NAMES).map(name).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        for node in nodes {
            let counted = node.batch_counts(&names, Some(self.last)).await;
            for (name, counts) in names.iter().zip(counted) {
                let expected = self.model.counts(name).ok();
                let expected = expected.map(|(followers, following, mutual)| Counts {
                    followers: followers as u32,
                    following: following as u32,
                    mutual: mutual as u32,
                });
                assert_eq!(counts.as_ref().ok(), expected.as_ref(), "{name}: {counts:?}");
            }
        }
    }
}

/// Asks for counts with the position of a write all the time; says how often until it is stopped.
fn reader(node: RealNode, position: Position) -> (Arc<AtomicBool>, tokio::task::JoinHandle<u64>) {
    let stopped = Arc::new(AtomicBool::new(false));
    let (flag, asked) = (stopped.clone(), AtomicU64::new(0));
    let task = tokio::spawn(async move {
        let names: Vec<String> = (0..20).map(name).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        while !flag.load(Ordering::Relaxed) {
            for counts in node.batch_counts(&names, Some(position)).await {
                counts.expect("a read with a position is answered");
            }
            asked.fetch_add(1, Ordering::Relaxed);
            sleep(Duration::from_millis(2)).await;
        }
        asked.into_inner()
    });
    (stopped, task)
}

#[test]
fn shards_move_under_load_and_no_read_fails() {
    let Some(place) = Place::new() else { return };
    run(async {
        let mut nodes = begin(&place).await;
        let mut load = Load::new();
        for number in 0..NAMES {
            load.model.add_account(&name(number)).unwrap();
            load.last = nodes[2].add_account(&name(number)).await.unwrap().position;
        }
        load.change(&nodes, 500).await;
        let (stopped, task) = reader(nodes[1].clone(), load.last);

        let nats = Nats::connect(place.options()).await.unwrap();
        add_node(&nats, "n3").await.unwrap();
        nodes.push(place.node("n3").await);
        let moved = ShardSet::range(1000..=1999);
        let moving = move_shards(&nats, "n0", "n3", &moved, LONG);
        let writing = load.change(&nodes, 1500);
        let (placement, ()) = tokio::join!(moving, writing);
        assert_eq!(
            placement.unwrap().hosted_by("n0"),
            ShardSet::range(0..=2047).difference(&moved)
        );
        load.check(&nodes).await;
        assert!(moved.is_subset(&nodes[3].answers_for()));

        let draining = drain(&nats, "n1", LONG);
        let writing = load.change(&nodes, 1000);
        let (placement, ()) = tokio::join!(draining, writing);
        assert!(!placement.unwrap().nodes.contains_key("n1"));
        stopped.store(true, Ordering::Relaxed);
        assert!(task.await.unwrap() > 50, "the reader read while shards moved");
        load.check(&nodes).await;
        let drained = async {
            while !nodes[1].answers_for().is_empty() {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(LONG, drained).await.expect("a drained node answers for nothing");
        for node in nodes {
            stop(node).await;
        }
    });
}

/// The files of a directory, as `cp -r` copies them.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn a_node_begins_anew_from_snapshots_when_the_log_was_cut() {
    let Some(place) = Place::new() else { return };
    run(async {
        let mut nodes = begin(&place).await;
        let mut load = Load::new();
        load.change(&nodes, 800).await;
        stop(nodes.remove(0)).await;
        let (own, old) = (place.directory.path().join("n0"), place.directory.path().join("old"));
        copy(&own, &old);
        nodes.insert(0, place.node("n0").await);

        let nats = Nats::connect(place.options()).await.unwrap();
        for round in 0..2 {
            load.change(&nodes, 400).await;
            assert_eq!(nats.extent().await.unwrap().first, 1, "cut in round {round}");
            for node in &nodes {
                node.wait_for(load.last).await.unwrap();
                assert!(node.snapshot().await.unwrap().is_some());
            }
        }
        let first = nats.extent().await.unwrap().first;
        assert!(first > 1000, "cut at {first}");
        load.change(&nodes, 300).await;
        load.check(&nodes).await;

        // One is put back to where the log no longer reaches, and the disk of another is lost.
        let lost = nodes.pop().unwrap();
        stop(lost).await;
        stop(nodes.remove(0)).await;
        std::fs::remove_dir_all(place.directory.path().join("n2")).unwrap();
        std::fs::remove_dir_all(&own).unwrap();
        copy(&old, &own);
        load.change(&nodes, 300).await;
        nodes.insert(0, place.node("n0").await);
        nodes.push(place.node("n2").await);
        load.change(&nodes, 300).await;
        for node in &nodes {
            timeout(LONG, wait(node, load.last)).await.unwrap();
            assert!(node.failure().is_none(), "{:?}", node.failure());
        }
        load.check(&nodes).await;
        for node in nodes {
            stop(node).await;
        }
    });
}

/// Longer than a question waits.
async fn wait(node: &Node<Nats>, position: Position) {
    while node.wait_for(position).await.is_err() {}
}
