//! The crash certificate in its short form, and by name what it found when it was first made.

use followgraph::testing::{Call, Disk, Extent, Failure, Fault, Remains, certify};
use followgraph::{Durability, ErrorKind, FollowGraph, Mutation, Options};
use std::time::Duration;

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
        // Where threads race, the same calls do not come again, and none is interrupted twice.
        let has_threads = ["group commit", "checkpoint beside writers"].contains(&&*report.name);
        assert!(has_threads || report.nested_power_losses > 0, "{certificate}");
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

/// Half of a position is no damaged position: taken for one, its consumer would begin anew.
#[test]
fn a_position_that_is_read_in_part_refuses_the_opening_and_is_not_forgotten() {
    let disk = Disk::new(4096);
    let graph = open(&disk);
    graph.follow("alice", "bob").unwrap();
    drop(graph.consumer("c").unwrap());
    graph.follow("alice", "carol").unwrap();
    drop(graph);
    let (call, failure) = (Call::Read, Failure::Short);
    let mut refused_count = 0;
    for at in 0.. {
        let trial = disk.copy();
        trial.set_fault(Fault::ErrorOf { call, at, failure, lasting: false });
        let opened = trial.open(options());
        let is_over = trial.failed_calls().is_empty();
        trial.set_fault(Fault::None);
        match opened {
            Ok(graph) => {
                let next = graph.consumer("c").unwrap().next(Duration::ZERO);
                assert!(next.unwrap_or_else(|error| panic!("read {at}: {error}")).is_some());
            }
            Err(error) => refused_count += u32::from(error.to_string().contains("consumer-c.fgc")),
        }
        if is_over {
            break;
        }
    }
    assert_eq!(refused_count, 1, "the position is read once");
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

/// Each call of some commits fails once with its pages forgotten; then the graph is opened again
/// with the power on, written to, and loses power.
#[test]
fn what_a_failed_sync_left_readable_is_on_disk_once_it_is_shown() {
    let mut failed_count = 0;
    for at in 0..6 {
        let disk = Disk::new(512);
        let graph = open(&disk);
        graph.follow("alice", "bob").unwrap();
        let (call, failure) = (Call::LogSync, Failure::IoForgotten);
        disk.set_fault(Fault::ErrorOf { call, at, failure, lasting: false });
        let names: Vec<String> = (0..40).map(|number| format!("{number:0>200}")).collect();
        let mutations: Vec<_> = names.iter().map(|name| Mutation::follow("alice", name)).collect();
        for mutation in mutations.chunks(10) {
            let _ = graph.apply(mutation);
        }
        failed_count += disk.failed_calls().len();
        drop(graph);
        let graph = open(&disk.copy());
        let shown = graph.counts("alice").unwrap().following;
        drop(graph);
        let disk = disk.copy();
        let graph = open(&disk);
        graph.follow("alice", "carol").unwrap();
        let graph = open(&disk.after_power_loss(Remains::Nothing));
        assert_eq!(graph.counts("alice").unwrap().following, shown + 1, "sync {at}");
        graph.verify().unwrap();
    }
    assert!(failed_count >= 4, "{failed_count}");
}

/// A cut whose sync failed leaves zeros that are not on disk, and whole frames below them.
#[test]
fn frames_that_were_cut_do_not_come_back_from_below_zeros_that_were_not_written() {
    let disk = Disk::new(512);
    let graph = disk.open(options().durability(Durability::Never)).unwrap();
    graph.follow("alice", "bob").unwrap();
    graph.sync().unwrap();
    let names: Vec<String> = (0..40).map(|number| format!("{number:0>80}")).collect();
    for name in &names {
        graph.follow("alice", name).unwrap();
    }
    let mut cut_count = 0;
    for seed in 0..60 {
        let torn = disk.after_power_loss(Remains::Seeded(seed));
        let (call, failure) = (Call::LogSync, Failure::IoForgotten);
        torn.set_fault(Fault::ErrorOf { call, at: 0, failure, lasting: false });
        if torn.open(options()).is_ok() {
            continue;
        }
        torn.set_fault(Fault::None);
        let graph = open(&torn);
        let shown = graph.counts("alice").unwrap().following;
        // As long as the frames that were cut, so that one of those would fit behind it.
        graph.follow("alice", &format!("{:0>80}", "new")).unwrap();
        let graph = open(&torn.after_power_loss(Remains::Nothing));
        assert_eq!(graph.counts("alice").unwrap().following, shown + 1, "seed {seed}");
        assert_eq!(graph.stats().recovery.cut_frames, 0, "seed {seed}");
        cut_count += u32::from(shown < 40);
    }
    assert!(cut_count > 10, "{cut_count}");
}

#[test]
fn a_removed_consumer_is_gone_once_a_call_says_so() {
    for at in 0..3 {
        for is_there in [false, true] {
            let disk = Disk::new(4096);
            let graph = open(&disk);
            graph.follow("alice", "bob").unwrap();
            if is_there {
                graph.consumer("reader").unwrap();
            }
            let (call, failure) = (Call::SyncDirectory, Failure::Io);
            disk.set_fault(Fault::ErrorOf { call, at, failure, lasting: false });
            if !is_there {
                let _ = graph.consumer("reader");
            }
            if graph.remove_consumer("reader").is_err() {
                graph.remove_consumer("reader").unwrap();
            }
            drop(graph);
            let graph = open(&disk.after_power_loss(Remains::Nothing));
            assert_eq!(graph.consumers(), [], "call {at}, there: {is_there}");
            let graph = open(&disk.copy());
            assert_eq!(graph.consumers(), [], "call {at}, there: {is_there}");
        }
    }
}

#[test]
fn a_log_that_is_read_short_is_not_taken_for_a_short_log() {
    let disk = Disk::new(4096);
    let graph = disk.open(options().durability(Durability::Never)).unwrap();
    for followed in ["bob", "carol", "dave"] {
        graph.follow("alice", followed).unwrap();
        follow_in_a_new_segment(&graph, &format!("{followed}2")).unwrap();
    }
    graph.consumer("reader").unwrap();
    let shown = graph.counts("alice").unwrap().following;
    drop(graph);
    let (call, failure) = (Call::Read, Failure::Short);
    let mut error_count = 0;
    for at in 0..20 {
        disk.set_fault(Fault::ErrorOf { call, at, failure, lasting: false });
        match disk.open(options()) {
            Ok(graph) => {
                assert_eq!(graph.counts("alice").unwrap().following, shown, "read {at}");
                assert_eq!(graph.consumers().first().map(|reader| reader.1 > 0), Some(true));
            }
            Err(_) => error_count += 1,
        }
    }
    assert!(error_count >= 4, "{error_count}");
    disk.set_fault(Fault::None);
    assert_eq!(open(&disk).counts("alice").unwrap().following, shown);
}

/// The segments that one checkpoint retires go one after the other: whoever reads the changes from
/// before them is told so, also after a power loss between.
#[test]
fn retired_segments_never_leave_a_gap() {
    let mut lost_count = 0;
    for at in 0..60 {
        let disk = Disk::new(4096);
        let graph = disk.open(options().retained_log_bytes(1 << 30)).unwrap();
        graph.consumer("reader").unwrap();
        graph.follow("alice", "bob").unwrap();
        for followed in ["carol", "dave", "erin", "frank"] {
            follow_in_a_new_segment(&graph, followed).unwrap();
            graph.checkpoint().unwrap();
        }
        disk.set_fault(Fault::PowerLoss { at, partly: false });
        let _ = graph.remove_consumer("reader");
        let _ = graph.follow("alice", "grace");
        let is_over = graph.checkpoint().is_ok();
        drop(graph);
        for seed in 0..20 {
            let graph = open(&disk.after_power_loss(Remains::Seeded(seed)));
            let oldest = graph.oldest_position();
            let mut changes = graph.changes(oldest).unwrap();
            let (mut last, end) = (oldest, graph.stats().durable_sequence);
            while let Some(commit) = changes.next(Duration::ZERO).unwrap_or_else(|error| {
                panic!("call {at}, seed {seed}, behind {last} of {oldest} to {end}: {error}")
            }) {
                last = commit.sequence;
            }
            lost_count += u32::from(oldest > 0);
        }
        if is_over {
            break;
        }
    }
    assert!(lost_count > 0, "no segment ever went");
}
