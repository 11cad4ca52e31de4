//! The crash certificate in its short form, and by name what it found when it was first made.

use followgraph::testing::{Call, Disk, Extent, Failure, Fault, Remains, certify};
use followgraph::{Durability, ErrorKind, FollowGraph, Mutation, Options};

fn options() -> Options {
    Options::new().segment_bytes(64 << 10).checkpoint_log_bytes(None).create_missing_accounts(true)
}

fn open(disk: &Disk) -> FollowGraph {
    disk.open(options()).unwrap()
}

/// A commit of one follow that could take more room than the segment has left.
fn follow_in_a_new_segment(graph: &FollowGraph, followed: &str) -> followgraph::Result<()> {
    let name = "x".repeat(250);
    let mut mutations = vec![Mutation::follow("alice", followed)];
    mutations.extend(vec![Mutation::add_account(&name); 260]);
    graph.apply(&mutations).map(drop)
}

fn load(graph: &FollowGraph) -> followgraph::Result<()> {
    let mut load = graph.bulk_load(1 << 20)?;
    load.add("alice", "bob", None)?;
    load.finish(&mut |_, _| {}).map(drop)
}

#[test]
fn power_lost_and_errors_at_every_call_leave_what_was_promised() {
    let certificate = certify(Extent::short(1), &mut |_| {});
    assert!(certificate.is_clean(), "{certificate}");
    for report in &certificate.scenarios {
        assert!(report.changing_calls > 0 && report.errors > 0, "{certificate}");
        assert!(report.nested_power_losses > 0, "{certificate}");
    }
}

#[test]
fn a_segment_whose_name_may_not_be_durable_latches() {
    let mut latched_count = 0;
    for at in 0..8 {
        let disk = Disk::new(4096);
        let graph = open(&disk);
        graph.follow("alice", "bob").unwrap();
        disk.set_fault(Fault::Error { at, failure: Failure::Io, lasting: false });
        let failed = follow_in_a_new_segment(&graph, "carol");
        // A small commit would still fit into the segment before.
        let after = graph.follow("alice", "dave").map_err(|error| error.kind());
        let is_last = disk.calls().contains_key(&Call::SyncDirectory);
        if failed.is_err() && is_last {
            assert_eq!(after, Err(ErrorKind::Latched), "call {at}");
            latched_count += 1;
        }
        let following = graph.counts("alice").unwrap().following;
        drop(graph);
        for remains in [Remains::Nothing, Remains::Everything] {
            let graph = open(&disk.after_power_loss(remains));
            let found = graph.counts("alice").unwrap().following;
            assert!((1..=following).contains(&found), "call {at}: {found}");
            graph.follow("alice", "erin").unwrap();
            graph.verify().unwrap();
        }
    }
    assert!(latched_count > 0, "the sync of the directory never failed");
}

#[test]
fn a_load_whose_image_may_not_be_durable_latches() {
    let mut latched_count = 0;
    for at in 0.. {
        let disk = Disk::new(4096);
        let graph = open(&disk);
        disk.set_fault(Fault::Error { at, failure: Failure::Io, lasting: false });
        let _ = load(&graph);
        if disk.calls().values().sum::<u64>() <= at {
            break;
        }
        // Behind an image that is there after all, this commit would not fit.
        let added = graph.add_account("carol").map_err(|error| error.kind());
        latched_count += u32::from(added == Err(ErrorKind::Latched));
        let shown = graph.stats().account_count;
        drop(graph);
        let graph = open(&disk.copy());
        let found = graph.stats().account_count;
        assert!(found == shown || added.is_err() && found == 2, "call {at}: {found}, not {shown}");
        graph.verify().unwrap();
    }
    assert!(latched_count >= 2, "{latched_count}");
}

#[test]
fn segments_that_are_cut_never_leave_a_gap() {
    let disk = Disk::new(4096);
    let graph = disk.open(options().durability(Durability::Never)).unwrap();
    graph.follow("alice", "bob").unwrap();
    for followed in ["carol", "dave", "erin"] {
        follow_in_a_new_segment(&graph, followed).unwrap();
    }
    let mut cut_count = 0;
    for seed in 0..40 {
        let torn = disk.after_power_loss(Remains::Seeded(seed));
        for at in 0..30 {
            let disk = torn.copy();
            disk.set_fault(Fault::PowerLoss { at, partly: false });
            let opened = disk.open(options());
            cut_count += opened.map_or(0, |graph| graph.stats().recovery.cut_frames);
            let left = disk.after_power_loss(Remains::Seeded(seed * 100 + at));
            open(&left).verify().unwrap();
        }
    }
    assert!(cut_count > 0, "nothing was torn");
}

#[test]
fn an_open_graph_rests_on_names_that_are_durable() {
    for at in 0.. {
        let disk = Disk::new(4096);
        let graph = open(&disk);
        disk.set_fault(Fault::PowerLoss { at, partly: false });
        let is_loaded = load(&graph).is_ok();
        drop(graph);
        // As if the process had been killed there: the next one sees what is not synced.
        let disk = disk.copy();
        let graph = open(&disk);
        let shown = graph.stats().follow_count;
        graph.follow("alice", "carol").unwrap();
        let graph = open(&disk.after_power_loss(Remains::Nothing));
        assert_eq!(graph.stats().follow_count, shown + 1, "call {at}");
        graph.verify().unwrap();
        if is_loaded {
            break;
        }
    }
}
