//! A position file of a consumer with any bytes changed: it says what it said, or nothing, and then
//! the log is kept from its beginning; never another position. The graph opens all the same.
#![no_main]

use arbitrary::Arbitrary;
use followgraph_fuzz::{Edit, Files, files_of, lay_out, options};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

const POSITION: u64 = 2;

static WITH_CONSUMER: LazyLock<Files> = LazyLock::new(|| {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let graph = options().open(directory.path()).expect("it is empty");
    let consumer = graph.consumer("fuzz").expect("the name is good");
    for to in ["bob", "carol", "dave"] {
        graph.follow("alice", to).expect("names are good");
    }
    graph.sync().expect("the disk works");
    consumer.acknowledge(POSITION).expect("it is there");
    drop(consumer);
    drop(graph);
    files_of(directory.path())
});

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    edits: Vec<Edit>,
    whole: Option<&'a [u8]>,
}

fuzz_target!(|input: Input<'_>| {
    let mut files = WITH_CONSUMER.clone();
    let (_, bytes) =
        files.iter_mut().find(|(name, _)| name.ends_with(".fgc")).expect("one consumer");
    let before = bytes.clone();
    match input.whole {
        Some(whole) => *bytes = whole.to_vec(),
        None => input.edits.iter().take(8).for_each(|edit| edit.apply(bytes, usize::MAX)),
    }
    let is_unchanged = *bytes == before;
    let directory = tempfile::tempdir().expect("a temporary directory");
    lay_out(directory.path(), &files);
    let graph = options().open(directory.path()).expect("a position is no part of the graph");
    let positions = graph.consumers();
    assert!(!is_unchanged || positions == [("fuzz".to_owned(), POSITION)], "{positions:?}");
    for (name, position) in positions {
        // What does not check out holds back all there is: the position before the first commit.
        assert_eq!(name, "fuzz");
        assert!(position == POSITION || position == 0, "a damaged position is used: {position}");
    }
    graph.verify().expect("the graph is whole");
});
