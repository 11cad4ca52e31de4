//! A real graph, loaded through all nodes at once while the leader of the log is killed.

use super::{Cluster, LOG, on_two_nodes, run, wait_for};
use flate2::read::MultiGzDecoder;
use followgraph::Counts;
use followgraph::cluster::{Nats, Node};
use futures_util::{StreamExt, stream};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::task::{JoinSet, block_in_place};
use tokio::time::Instant;

/// Changes that are under way through one node.
const AT_A_TIME: usize = 8192;
const LIMIT: Duration = Duration::from_secs(55);
const ASKED_AT_A_TIME: usize = 4096;

type Edge = (String, String);

/// The rows of a file that is packed; what begins with `#` is none.
fn rows(path: &Path) -> Vec<Vec<String>> {
    let (bytes, mut text) = (std::fs::read(path).unwrap(), String::new());
    MultiGzDecoder::new(bytes.as_slice()).read_to_string(&mut text).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
}

/// The edges, and what another program counted; `None`, and loudly said, where they are not here.
fn real_graph() -> Option<(Vec<Edge>, BTreeMap<String, Counts>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let file = |extension: &str| folder.join(format!("soc-epinions1.{extension}"));
    if !file("edges.gz").exists() {
        println!("SKIPPED: {} is not here: THIS TEST DID NOT RUN", folder.display());
        return None;
    }
    let edge = |row: Vec<String>| <[String; 2]>::try_from(row).unwrap().into();
    let counted = rows(&file("counts.tsv.gz")).into_iter().map(|row| {
        let [followers, following, mutual] = [1, 2, 3].map(|column| row[column].parse().unwrap());
        (row[0].clone(), Counts { followers, following, mutual })
    });
    Some((rows(&file("edges.gz")).into_iter().map(edge).collect(), counted.collect()))
}

/// Follows through one node, many at a time.
async fn load(node: &Node<Nats>, edges: Vec<Edge>, done: &AtomicUsize) {
    let follows = stream::iter(edges).map(|(follower, followed)| async move {
        node.follow(&follower, &followed, true).await.unwrap();
        done.fetch_add(1, Ordering::Relaxed);
    });
    follows.buffer_unordered(AT_A_TIME).count().await;
}

#[test]
fn a_real_graph_has_its_counts_at_every_node_though_the_leader_was_killed() {
    let Some((edges, expected)) = real_graph() else { return };
    run(async {
        let Some(mut cluster) = Cluster::start(3, on_two_nodes()).await else { return };
        let (start, edge_count) = (Instant::now(), edges.len());
        let (mut loads, done) = (JoinSet::new(), Arc::new(AtomicUsize::new(0)));
        for (part, node) in edges.chunks(edge_count.div_ceil(3)).zip(&cluster.nodes) {
            let (part, node, done) = (part.to_vec(), node.clone(), done.clone());
            loads.spawn(async move { load(&node, part, &done).await });
        }
        let is_under_way = || done.load(Ordering::Relaxed) > edge_count / 3;
        wait_for(LIMIT, "the load does not go on", is_under_way).await;
        let at_kill = done.load(Ordering::Relaxed);
        block_in_place(|| {
            let leader = cluster.servers.leader_of(LOG);
            cluster.servers.kill(leader);
            cluster.servers.restart(leader);
        });
        assert!(done.load(Ordering::Relaxed) < edge_count, "the leader was killed too late");
        loads.join_all().await;
        let took = start.elapsed();
        println!("{edge_count} follows took {took:?}; the leader was killed after {at_kill}");
        let position = cluster.catch_up().await;
        let names: Vec<&str> = expected.keys().map(String::as_str).collect();
        for node in &cluster.nodes {
            for names in names.chunks(ASKED_AT_A_TIME) {
                let counts = node.batch_counts(names, Some(position)).await;
                for (name, counts) in names.iter().zip(counts) {
                    assert_eq!(counts.unwrap(), expected[*name], "{name}");
                }
            }
        }
        cluster.check_digests();
        println!("{:?} with all questions", start.elapsed());
    });
}
