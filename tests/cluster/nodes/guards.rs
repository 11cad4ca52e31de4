//! What is not as it has to be stops a node, and the node says so; what it has it still answers.

use super::{
    CATCH_UP, Cluster, DIGEST_SECONDS, LOG, NODES, SOON, nats_options, node_options, on_all_nodes,
    on_two_nodes, run, wait_for,
};
use bytes::Bytes;
use followgraph::cluster::{Log, Nats, Node, create_cluster};
use followgraph::{Error, ErrorKind, ShardSet, VirtualShard};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// How long a reader of the log may take to notice that the log is gone.
const NOTICE: Duration = Duration::from_secs(30);

fn check(error: &Error, kind: ErrorKind, words: &[&str]) {
    assert_eq!(error.kind(), kind, "{error}");
    let shown = error.to_string();
    for word in words {
        assert!(shown.contains(word), "no {word:?} in: {shown}");
    }
}

/// `fan-0` and so on follow `star`.
async fn follow_star(cluster: &Cluster, fan_count: u32) {
    for number in 0..fan_count {
        let node = &cluster.nodes[number as usize % 3];
        node.follow(&format!("fan-{number}"), "star", true).await.unwrap();
    }
    cluster.catch_up().await;
}

async fn check_star(cluster: &Cluster, fan_count: u32) {
    for node in &cluster.nodes {
        let counts = node.batch_counts(&["star", "fan-1"], None).await;
        assert_eq!(counts[0].as_ref().unwrap().followers, fan_count);
        assert_eq!(counts[1].as_ref().unwrap().following, 1);
    }
}

/// All nodes stop with an error, take no change, and answer what they have.
async fn check_stopped(cluster: &Cluster, time: Duration, kind: ErrorKind, words: &[&str]) {
    for node in &cluster.nodes {
        wait_for(time, "a node goes on", || node.failure().is_some()).await;
        check(&node.failure().unwrap(), kind, words);
        let refused = timeout(Duration::from_secs(1), node.follow("late", "star", true)).await;
        let refused = refused.expect("it is refused at once").unwrap_err();
        check(&refused, ErrorKind::Unavailable, words);
    }
    check_star(cluster, 5).await;
}

/// An entry that no node understands stops all of them, again after a start.
async fn check_poison(bytes: &'static [u8], kind: ErrorKind, words: &[&str]) {
    let Some(mut cluster) = Cluster::start(1, on_two_nodes()).await else { return };
    follow_star(&cluster, 5).await;
    let ack = cluster.connection().await.append("poison", Bytes::from_static(bytes)).await;
    let poison = ack.unwrap().sequence;
    check_stopped(&cluster, SOON, kind, words).await;
    for node in &cluster.nodes {
        assert_eq!(node.position().sequence, poison - 1, "not a step further");
    }
    Arc::into_inner(cluster.nodes.remove(0)).unwrap().stop().await;
    let backend = Arc::new(cluster.connection().await);
    let options = node_options(NODES[0], cluster.directory.path());
    cluster.nodes.insert(0, Arc::new(Node::start(backend, options).await.unwrap()));
    check_stopped(&cluster, SOON, kind, words).await;
}

#[test]
fn an_entry_of_an_unknown_version_stops_every_node() {
    let words = ["version", "expected 1, got 2", "newer followgraph"];
    run(check_poison(&[2, 2], ErrorKind::UnsupportedVersion, &words));
}

#[test]
fn an_unknown_operation_stops_every_node() {
    // A batch of gateway 9 with one operation, of a kind that there is not.
    let batch = &[1, 0, 9, 1, 1, 1, 99];
    run(check_poison(batch, ErrorKind::Corrupt, &["entry does not decode"]));
}

#[test]
fn a_log_that_was_made_again_stops_every_node_and_is_refused_at_start() {
    run(async {
        let Some(mut cluster) = Cluster::start(1, on_two_nodes()).await else { return };
        follow_star(&cluster, 5).await;
        let raw = async_nats::connect(cluster.servers.urls()).await.unwrap();
        async_nats::jetstream::new(raw).delete_stream(LOG).await.unwrap();
        let new = Nats::create(nats_options(&cluster.servers, "test"), 2).await.unwrap();
        check_stopped(&cluster, NOTICE, ErrorKind::Incompatible, &["test-log", "got 2"]).await;
        assert_eq!(new.extent().await.unwrap().last, 0, "nothing of the old nodes got there");

        Arc::into_inner(cluster.nodes.remove(0)).unwrap().stop().await;
        let options = node_options(NODES[0], cluster.directory.path());
        let refused = Node::start(Arc::new(new), options.clone()).await.err().unwrap();
        let words = ["another one than the placement", "expected 1, got 2"];
        check(&refused, ErrorKind::Incompatible, &words);

        // With a placement made for that log it is the directory that does not fit.
        let other = Nats::create(nats_options(&cluster.servers, "other"), 2).await.unwrap();
        create_cluster(&other, &[(NODES[0], ShardSet::all())]).await.unwrap();
        let refused = Node::start(Arc::new(other), options).await.err().unwrap();
        let words = ["directory of the node follows another log", "expected 2, got 1"];
        check(&refused, ErrorKind::Incompatible, &words);
    });
}

#[test]
fn a_node_whose_lists_differ_is_found_and_asked_no_more() {
    run(async {
        let Some(cluster) = Cluster::start(1, on_all_nodes()).await else { return };
        follow_star(&cluster, 5).await;
        let damaged = &cluster.nodes[2];
        let (start, shards) = (Instant::now(), ["fan-1", "star"].map(VirtualShard::of));
        damaged.damage("fan-1", "star").unwrap();
        let answers = || shards.iter().any(|shard| damaged.answers_for().contains(*shard));
        wait_for(SOON, "the node still answers", || !answers()).await;
        println!("found after {:?}", start.elapsed());
        assert!(start.elapsed() < Duration::from_secs(DIGEST_SECONDS + 2), "{:?}", start.elapsed());
        check_star(&cluster, 5).await;

        let stopped = ShardSet::all().difference(&damaged.answers_for());
        assert!(stopped.is_subset(&shards.into_iter().collect()), "{stopped} answer no more");
        for node in &cluster.nodes[..2] {
            assert_eq!(node.answers_for(), ShardSet::all(), "most are right");
        }
        let follow = damaged.follow("fan-5", "star", true).await.unwrap();
        for node in &cluster.nodes {
            wait_for(CATCH_UP, "a node is behind", || node.position() >= follow.position).await;
        }
        check_star(&cluster, 6).await;
    });
}
