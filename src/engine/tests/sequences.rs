//! The last sequence numbers there can be.

use super::super::{FollowGraph, Options};
use crate::error::ErrorKind;
use crate::format::{Identity, SEQUENCE_MAX};
use crate::image::{ImagePlan, ImageWriter, Position};
use crate::storage::MemoryStorage;
use crate::store::{create_segment, publish};
use roaring::RoaringBitmap;
use std::sync::Arc;

/// An empty graph whose last commit has this number.
fn graph_at(sequence: u64) -> MemoryStorage {
    let storage = MemoryStorage::default();
    let identity = Identity { graph_id: [7; 16], key: [9; 16] };
    let plan = ImagePlan {
        identity,
        position: Position { sequence, source_position: None, clock: 0 },
        id_count: 0,
        account_count: 0,
        overflow_name_bytes: 0,
        foreign: &RoaringBitmap::new(),
        shards: None,
    };
    create_segment(&storage, identity, sequence + 1, 64 << 10).expect("memory");
    publish(&storage, sequence, |file| ImageWriter::new(file, plan)?.finish(None)).expect("memory");
    storage
}

fn open(storage: &MemoryStorage) -> FollowGraph {
    let options = Options::new().checkpoint_log_bytes(None);
    FollowGraph::start(Arc::new(storage.clone()), options).expect("memory")
}

#[test]
fn a_commit_beyond_the_last_sequence_number_is_refused_and_what_was_acknowledged_stays() {
    let storage = graph_at(SEQUENCE_MAX - 3);
    let graph = open(&storage);
    graph.add_account("one").expect("there are numbers");
    graph.checkpoint().expect("there are numbers");
    graph.add_account("two").expect("there are numbers");
    // The close takes the last one.
    drop(graph);
    let graph = open(&storage);
    assert_eq!(graph.stats().sequence, SEQUENCE_MAX);
    for _ in 0..2 {
        let error = graph.add_account("three").expect_err("no number is left");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains("no sequence number is left"), "{error}");
        assert_eq!(graph.stats().account_count, 2);
        graph.checkpoint().expect("all of it can be in an image");
        graph.verify().expect("nothing is wrong");
    }
    drop(graph);
    let graph = open(&storage);
    assert!(graph.account_id("one").is_ok() && graph.account_id("two").is_ok());
    assert!(graph.changes(SEQUENCE_MAX).is_ok());
    let copy = tempfile::tempdir().expect("a temporary directory");
    graph.backup(copy.path()).expect("the disk works");
    let opened = FollowGraph::open(copy.path()).expect("a backup is a graph");
    assert_eq!(opened.stats().account_count, 2);
}

#[test]
fn a_bulk_load_without_a_sequence_number_is_refused() {
    let storage = graph_at(SEQUENCE_MAX);
    let graph = open(&storage);
    let mut load = graph.bulk_load(1 << 20).expect("it is empty");
    load.add("alice", "bob", None).expect("good names");
    let error = load.finish(&mut |_, _| {}).expect_err("no number is left");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(graph.stats().account_count, 0);
}
