//! The care of a graph: durability, checkpoints, backups, bulk loads, positions of a source.

use crate::api::{TRIANGLE, counts, kind_of, quick};
use crate::support::{HandClock, assert_equal, bytes_of, walk};
use followgraph::testing::Model;
use followgraph::{Durability, ErrorKind, FollowGraph, Mutation, Options, Outcome};
use std::path::Path;
use std::time::{Duration, Instant};

#[test]
fn a_write_returns_when_its_durability_says() {
    let open = |dir: &Path, durability| {
        Options::new().durability(durability).create_missing_accounts(true).open(dir).unwrap()
    };
    let behind = |graph: &FollowGraph| graph.stats().sequence - graph.stats().durable_sequence;

    let dir = tempfile::tempdir().unwrap();
    let graph = open(dir.path(), Durability::Always);
    for name in ["b", "c", "d"] {
        graph.follow("a", name).unwrap();
        assert_eq!(behind(&graph), 0, "after {name}");
    }

    let dir = tempfile::tempdir().unwrap();
    let graph = open(dir.path(), Durability::Interval(Duration::from_millis(20)));
    graph.follow("a", "b").unwrap();
    let begin = Instant::now();
    while behind(&graph) > 0 {
        assert!(begin.elapsed() < Duration::from_secs(20), "never synced in the background");
        std::thread::sleep(Duration::from_millis(5));
    }

    let dir = tempfile::tempdir().unwrap();
    let graph = open(dir.path(), Durability::Never);
    graph.follow("a", "b").unwrap();
    assert!(behind(&graph) > 0);
    graph.sync().unwrap();
    assert_eq!(behind(&graph), 0);
    graph.follow("a", "c").unwrap();
    graph.checkpoint().unwrap();
    assert_eq!(behind(&graph), 0, "a checkpoint is on disk");
}

#[test]
fn a_repeated_follow_returns_when_the_first_one_is_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new().durability(Durability::Always).create_missing_accounts(true);
    let graph = options.open(dir.path()).unwrap();
    let names: Vec<String> = (0..100).map(|number| format!("n{number}")).collect();
    let begin = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for name in &names {
                graph.follow("a", name).unwrap();
            }
        });
        for (name, sequence) in names.iter().zip(1..) {
            // Readers see a commit before it is on disk: from then on a follow repeats it.
            while !graph.relation("a", name).is_ok_and(|relation| relation.following) {
                assert!(begin.elapsed() < Duration::from_mins(1), "{name} is never followed");
                std::thread::yield_now();
            }
            assert_eq!(graph.follow("a", name).unwrap(), Outcome::Unchanged);
            let durable_sequence = graph.stats().durable_sequence;
            assert!(durable_sequence >= sequence, "{name}: {durable_sequence} of {sequence}");
        }
    });
    assert_eq!(graph.stats().sequence, names.len() as u64, "one commit a name");
}

#[test]
fn the_position_of_a_source_is_stored_with_its_mutations_exactly_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut graph = quick().open(dir.path()).unwrap();
    assert_eq!(graph.source_position(), None);
    let source = [(3, "b"), (4, "c"), (9, "d"), (10, "d"), (11, "e")];
    for (position, name) in source {
        // The source repeats itself after every reopening, as a source does that was not told.
        for (replayed, name) in source.iter().take_while(|(replayed, _)| *replayed < position) {
            let batch = [Mutation::follow("a", name)];
            let error = graph.apply_from_source(*replayed, &batch).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        }
        let batch = [Mutation::follow("a", name), Mutation::follow("a", "a")];
        let results = graph.apply_from_source(position, &batch).unwrap();
        assert_eq!(results.len(), 2);
        assert_eq!(graph.source_position(), Some(position));
        if position == 9 {
            graph.checkpoint().unwrap();
        }
        graph.follow("x", name).unwrap();
        assert_eq!(graph.source_position(), Some(position), "a follow of one's own");
        drop(graph);
        graph = quick().open(dir.path()).unwrap();
        assert_eq!(graph.source_position(), Some(position), "opened again");
    }
    assert_eq!(graph.counts("a").unwrap().following, 4);
    let error = graph.apply_from_source(u64::MAX, &[]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    graph.apply_from_source(12, &[]).unwrap();
    drop(graph);
    graph = quick().open(dir.path()).unwrap();
    assert_eq!(graph.source_position(), Some(12), "a position without mutations");
    let backup = dir.path().join("backup");
    graph.backup(&backup).unwrap();
    assert_eq!(quick().open(&backup).unwrap().source_position(), Some(12));
}

#[test]
fn a_batch_that_comes_to_nothing_leaves_the_log_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let graph = quick().segment_bytes(64 << 10).open(dir.path()).unwrap();
    let long = "x".repeat(255);
    for name in ["a", "b"] {
        // Room is made for the largest this can become, and then nothing of it is needed.
        let refused = vec![Mutation::follow(&long, &long); 1000];
        let results = graph.apply(&refused).unwrap();
        assert!(results.iter().all(Result::is_err));
        graph.add_account(name).unwrap();
        assert!(graph.checkpoint().unwrap().written);
    }
    drop(graph);
    let graph = quick().open(dir.path()).unwrap();
    assert_eq!(graph.stats().account_count, 2);
    graph.verify().unwrap();
}

#[test]
fn a_backup_opens_to_the_same_and_goes_its_own_way() {
    let dir = tempfile::tempdir().unwrap();
    let clock = HandClock::at(1000);
    let open = |path: &Path| quick().clock(clock.clock()).open(path).unwrap();
    let graph = open(&dir.path().join("graph"));
    let mut model = Model::default();
    model.creates_missing_accounts = true;
    for (from, to) in TRIANGLE {
        clock.advance(1);
        graph.follow(from, to).unwrap();
        model.follow(from, to, clock.now()).unwrap();
    }
    graph.checkpoint().unwrap();
    graph.follow("a", "star").unwrap();
    model.follow("a", "star", clock.now()).unwrap();
    let backup = dir.path().join("backup");
    let report = graph.backup(&backup).unwrap();
    assert_eq!(report.sequence, graph.stats().sequence);
    let names = ["a", "b", "c", "star", "later"];
    let copy = open(&backup);
    assert_equal(&copy, &model, &names);
    graph.follow("a", "later").unwrap();
    assert_equal(&copy, &model, &names);
    copy.remove_account("a").unwrap();
    copy.verify().unwrap();
    assert_eq!(graph.counts("a").unwrap().following, 3);
}

#[test]
fn a_backup_does_not_overwrite_anything() {
    let dir = tempfile::tempdir().unwrap();
    let graph = quick().open(dir.path().join("graph")).unwrap();
    graph.follow("a", "b").unwrap();
    let place = dir.path().join("place");
    std::fs::create_dir(&place).unwrap();
    std::fs::write(place.join("notes.txt"), "buy milk").unwrap();
    let before = bytes_of(&place);
    graph.backup(&place).unwrap_err();
    assert!(bytes_of(&place) == before, "a refused backup changed the directory");
    let good = dir.path().join("good");
    graph.backup(&good).unwrap();
    let before = bytes_of(&good);
    let other = FollowGraph::in_memory();
    other.backup(&good).unwrap_err();
    assert!(bytes_of(&good) == before, "the backup of another graph changed the first");
}

#[test]
fn options_outside_their_range_are_refused() {
    let refused = |options: Options| {
        let dir = tempfile::tempdir().unwrap();
        let error = options.open(dir.path()).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(bytes_of(dir.path()).is_empty(), "a refusal made files");
    };
    refused(Options::new().segment_bytes(0));
    refused(Options::new().segment_bytes((64 << 10) - 1));
    refused(Options::new().segment_bytes((4 << 30) + 1));
    refused(Options::new().segment_bytes(u64::MAX));
}

#[test]
fn an_interval_of_nothing_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new().durability(Durability::Interval(Duration::ZERO));
    let error = options.open(dir.path()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
}

#[test]
fn a_checkpoint_without_news_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let graph = quick().open(dir.path()).unwrap();
    graph.follow("a", "b").unwrap();
    let first = graph.checkpoint().unwrap();
    assert!(first.written);
    assert!(first.image_bytes > 0);
    let second = graph.checkpoint().unwrap();
    assert!(!second.written);
    assert_eq!(second.sequence, first.sequence);
    let stats = graph.stats();
    assert_eq!(stats.image_sequence, first.sequence);
    assert_eq!(stats.image_bytes, first.image_bytes);
    assert_eq!(stats.latched, None);
}

#[test]
fn a_bulk_load_reports_what_it_left_out() {
    let graph = FollowGraph::in_memory();
    let mut load = graph.bulk_load(1 << 20).unwrap();
    load.add("a", "b", Some(10)).unwrap();
    load.add("a", "b", Some(20)).unwrap();
    load.add("b", "a", None).unwrap();
    load.add("a", "a", None).unwrap();
    assert_eq!(kind_of(load.add("a", "", None)), Err(ErrorKind::InvalidName));
    assert_eq!(kind_of(load.add("new\n", "newer", None)), Err(ErrorKind::InvalidName));
    let report = load.finish(&mut |_, _| {}).unwrap();
    assert_eq!(report.follow_count, 2);
    assert_eq!(report.duplicate_count, 1);
    assert_eq!(report.self_follow_count, 1);
    assert_eq!(report.account_count, 2);
    let listed = walk(9, |page| graph.followers("b", page)).unwrap();
    assert_eq!(listed, [("a".to_owned(), 10)], "the first of two equal follows counts");
    assert_eq!(graph.counts("a").unwrap(), counts(1, 1, 1));
    graph.verify().unwrap();
}

#[test]
fn a_follow_during_a_bulk_load_is_not_lost() {
    let dir = tempfile::tempdir().unwrap();
    let graph = quick().open(dir.path()).unwrap();
    let mut load = graph.bulk_load(1 << 20).unwrap();
    load.add("a", "b", None).unwrap();
    // Either the follow is refused, or the load is: one cannot undo the other.
    let followed = graph.follow("c", "d");
    let loaded = load.finish(&mut |_, _| {});
    assert_ne!(followed.is_ok(), loaded.is_ok(), "{followed:?}, {loaded:?}");
    drop(graph);
    let graph = quick().open(dir.path()).unwrap();
    assert_eq!(graph.counts("d").is_ok(), followed.is_ok());
    assert_eq!(graph.counts("b").is_ok(), loaded.is_ok());
    assert_eq!(graph.verify().unwrap().follow_count, 1);
}

#[test]
fn a_bulk_load_with_hardly_any_memory_loads_the_same() {
    let load = |memory_bytes: u64| {
        let graph = FollowGraph::in_memory();
        let mut load = graph.bulk_load(memory_bytes).unwrap();
        for number in 0..20_000_u32 {
            let (from, to) = (number * 7919 % 100, number * 104_729 % 107);
            let at = Some(number % 5).filter(|at| *at > 0);
            load.add(&format!("n{from}"), &format!("n{to}"), at).unwrap();
        }
        let report = load.finish(&mut |_, _| {}).unwrap();
        let names: Vec<String> = (0..107).map(|number| format!("n{number}")).collect();
        let lists: Vec<_> = names
            .iter()
            .map(|name| walk(50, |page| graph.following(name, page)))
            .chain(names.iter().map(|name| walk(50, |page| graph.followers(name, page))))
            .collect();
        graph.verify().unwrap();
        (report, lists)
    };
    let plenty = load(1 << 30);
    assert!(plenty.0.follow_count > 1000 && plenty.0.duplicate_count > 0, "{:?}", plenty.0);
    assert!(load(1 << 16) == plenty, "little memory");
    assert!(load(1) == plenty, "no memory to speak of");
}

#[test]
fn a_bulk_load_needs_an_empty_graph_and_a_dropped_one_leaves_it_empty() {
    let dir = tempfile::tempdir().unwrap();
    let graph = quick().open(dir.path()).unwrap();
    let mut load = graph.bulk_load(1 << 20).unwrap();
    load.add("a", "b", None).unwrap();
    drop(load);
    assert_eq!(graph.stats().account_count, 0);
    graph.follow("a", "b").unwrap();
    let error = graph.bulk_load(1 << 20).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    drop(graph);
    assert_eq!(quick().open(dir.path()).unwrap().stats().follow_count, 1);
}
