//! Callers see what they wrote, and what arrives late changes nothing.

use super::load::account;
use super::{Cluster, NODES, node_options, on_two_nodes, run};
use followgraph::cluster::testing::{LogEntry, decode};
use followgraph::cluster::{Log, Nats, Node, Position, Tail};
use followgraph::{Counts, Outcome, Page};
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio::time::Instant;

const CALLERS: usize = 8;
const PAIRS_EACH: usize = 250;

/// Follows through one node and counts through another, again and again.
async fn follow_and_count(nodes: &[Arc<Node<Nats>>], caller: usize) {
    let star = format!("star-{caller}");
    for number in 0..PAIRS_EACH {
        let fan = format!("fan-{caller}-{number}");
        let (writer, reader) = (caller + number, caller + number + 1 + number % 2);
        let decided = nodes[writer % 3].follow(&fan, &star, true).await.unwrap();
        let names = [star.as_str(), fan.as_str()];
        let counts = nodes[reader % 3].batch_counts(&names, Some(decided.position)).await;
        let [star, fan]: [Counts; 2] = [counts[0].clone().unwrap(), counts[1].clone().unwrap()];
        assert_eq!(star.followers as usize, number + 1, "stale at {:?}", decided.position);
        assert_eq!((fan.following, fan.followers), (1, 0), "stale at {:?}", decided.position);
    }
}

#[test]
fn whoever_follows_through_one_node_counts_it_through_another() {
    run(async {
        let Some(cluster) = Cluster::start(3, on_two_nodes()).await else { return };
        let (start, mut callers) = (Instant::now(), JoinSet::new());
        for caller in 0..CALLERS {
            let nodes = cluster.nodes.clone();
            callers.spawn(async move { follow_and_count(&nodes, caller).await });
        }
        callers.join_all().await;
        println!("{} pairs took {:?}", CALLERS * PAIRS_EACH, start.elapsed());
        cluster.catch_up().await;
        cluster.check_digests();
    });
}

/// The entry at a position arrives once more, when the log has forgotten its id.
async fn deliver_again(nats: &Nats, position: Position, id: &str) {
    let entry = nats.tail(position.sequence).await.unwrap().next().await.unwrap();
    assert!(matches!(decode(&entry.bytes).unwrap(), LogEntry::Changes { .. }));
    let ack = nats.append(id, entry.bytes).await.unwrap();
    assert!(ack.sequence > position.sequence && !ack.is_duplicate);
}

/// Nobody follows anybody, whichever node is asked.
async fn check_nothing_left(cluster: &Cluster, one: &str, other: &str) {
    let position = cluster.catch_up().await;
    for node in &cluster.nodes {
        for counts in node.batch_counts(&[one, other], Some(position)).await {
            assert_eq!(counts.unwrap(), Counts::default());
        }
        let list = node.followers(other, Page::first(9), Some(position)).await.unwrap();
        assert!(list.entries.is_empty(), "{list:?}");
    }
    let digests = cluster.check_digests();
    assert!(digests.values().all(|digest| *digest == followgraph::ShardDigest::default()));
}

#[test]
fn a_batch_that_arrives_again_brings_no_removed_follow_back() {
    run(async {
        let Some(mut cluster) = Cluster::start(1, on_two_nodes()).await else { return };
        let nats = cluster.connection().await;
        // Through each node the follow, and through the next one the unfollow.
        for (number, name) in NODES.into_iter().enumerate() {
            let (one, other) = (account(2 * number), account(2 * number + 1));
            let follow = cluster.nodes[number].follow(&one, &other, true).await.unwrap();
            let unfollow = cluster.nodes[(number + 1) % 3].unfollow(&one, &other).await.unwrap();
            assert!([None, Some(Outcome::Applied)].contains(&unfollow.outcome));
            deliver_again(&nats, follow.position, &format!("again-{number}")).await;
            check_nothing_left(&cluster, &one, &other).await;

            // A node that starts again knows it still.
            let stopped = Arc::into_inner(cluster.nodes.remove(number)).unwrap();
            stopped.stop().await;
            deliver_again(&nats, follow.position, &format!("later-{number}")).await;
            let backend = Arc::new(cluster.connection().await);
            let options = node_options(name, cluster.directory.path());
            let node = Arc::new(Node::start(backend, options).await.unwrap());
            cluster.nodes.insert(number, node);
            deliver_again(&nats, follow.position, &format!("last-{number}")).await;
            check_nothing_left(&cluster, &one, &other).await;
        }
    });
}
