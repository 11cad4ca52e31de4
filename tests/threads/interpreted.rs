//! A graph on the simulated disk, without files and mappings, for Miri: every access is checked,
//! and what two threads do to one place without an order is a race.
#![cfg(not(shuttle))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use followgraph::testing::Disk;
use followgraph::{Durability, FollowGraph, Mutation, Options, Page};
use std::sync::Arc;
use std::time::Duration;

fn open(disk: &Disk) -> FollowGraph {
    let options = Options::new()
        .durability(Durability::Always)
        .segment_bytes(64 << 10)
        .checkpoint_log_bytes(None)
        .create_missing_accounts(true)
        .clock(Arc::new(|| 1000));
    disk.open(options).unwrap()
}

#[test]
fn a_graph_is_written_checkpointed_read_and_opened_again() {
    let disk = Disk::new(4096);
    let graph = open(&disk);
    for number in 0..5 {
        graph.follow(&format!("fan{number}"), "star").unwrap();
    }
    let batch = [
        Mutation::follow("star", "fan1").at(7),
        Mutation::follow("a-name-that-is-longer-than-an-account-record-can-hold", "star"),
        Mutation::unfollow("fan2", "star"),
    ];
    graph.apply(&batch).unwrap();
    graph.checkpoint().unwrap();
    graph.remove_account("fan3").unwrap();
    graph.follow("fan2", "star").unwrap();
    graph.verify().unwrap();
    let expected = graph.counts("star").unwrap();
    let list = graph.followers("star", Page::first(2)).unwrap();
    assert_eq!(list.entries[0].account, "fan2");
    drop(graph);
    let graph = open(&disk);
    assert_eq!(graph.counts("star").unwrap(), expected);
    assert_eq!((expected.followers, expected.following, expected.mutual), (5, 1, 1));
}

#[test]
fn writers_readers_the_feed_and_a_checkpoint_share_a_graph() {
    let graph = open(&Disk::new(4096));
    graph.follow("fan0", "star").unwrap();
    let mut changes = graph.changes(0).unwrap();
    std::thread::scope(|scope| {
        for number in 1..3 {
            let graph = &graph;
            scope.spawn(move || graph.follow(&format!("fan{number}"), "star").unwrap());
        }
        scope.spawn(|| graph.checkpoint().unwrap());
        scope.spawn(|| {
            graph.batch_counts(&["star", "fan0"]).into_iter().map(Result::unwrap).count()
        });
        for sequence in 1..4 {
            assert_eq!(changes.next(Duration::MAX).unwrap().unwrap().sequence, sequence);
        }
    });
    assert_eq!(graph.counts("star").unwrap().followers, 3);
    graph.verify().unwrap();
}
