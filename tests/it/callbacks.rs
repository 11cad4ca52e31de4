//! Calls from inside callbacks: each works, or is an error; none waits for itself.

use followgraph::{
    BulkLoad, Error, ErrorKind, FollowGraph, Mutation, Options, RemovalLimit, RepairOptions, Result,
};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// How long a call may take before the test says that it never returns.
const PATIENCE: Duration = Duration::from_secs(20);

fn options() -> Options {
    Options::new().segment_bytes(64 << 10).checkpoint_log_bytes(None).create_missing_accounts(true)
}

/// A call from inside a callback, and its name.
type Call = (&'static str, fn(&FollowGraph, &Path) -> Result<()>);

const CALLS: [Call; 11] = [
    ("stats", |graph, _| {
        assert!(graph.stats().latched.is_none());
        Ok(())
    }),
    ("counts", |graph, _| match graph.counts("alice") {
        Err(error) if error.kind() == ErrorKind::UnknownAccount => Ok(()),
        counts => counts.map(|_| ()),
    }),
    ("follow", |graph, _| graph.follow("alice", "zoe").map(|_| ())),
    ("checkpoint", |graph, _| graph.checkpoint().map(|_| ())),
    ("verify", |graph, _| graph.verify().map(|_| ())),
    ("backup", |graph, dir| graph.backup(tempfile::tempdir_in(dir).unwrap()).map(|_| ())),
    ("compare", |graph, dir| {
        graph.compare(1 << 20, dir)?.finish(&mut |_| ControlFlow::Continue(())).map(|_| ())
    }),
    ("consumer", |graph, _| {
        let mut consumer = graph.consumer("inside")?;
        consumer.next(Duration::ZERO)?;
        graph.remove_consumer("inside").map(|_| ())
    }),
    ("sync", |graph, _| graph.sync()),
    ("resync", |graph, _| graph.consumer("other")?.resync(|_| Ok(()))),
    ("reset_clock", |graph, _| graph.reset_clock().map(|_| ())),
];

/// Calls that take turns with those whose callbacks exclude them.
const TAKES_A_TURN: [&str; 5] = ["checkpoint", "verify", "backup", "compare", "resync"];

fn kind_name(result: &Result<()>) -> String {
    result.as_ref().map_or_else(|error| format!("{:?}", error.kind()), |()| "Ok".to_owned())
}

/// Something with a callback. It runs the call inside, once, and gives back what the call said.
type Callback = fn(&FollowGraph, &Path, &mut dyn FnMut());

fn loaded(load: &mut BulkLoad<'_>) {
    load.add("alice", "bob", None).unwrap();
    load.add("bob", "alice", None).unwrap();
}

fn small(graph: &FollowGraph) {
    graph.apply(&[Mutation::follow("alice", "bob"), Mutation::follow("bob", "carol")]).unwrap();
}

const CALLBACKS: [(&str, Callback); 5] = [
    ("BulkLoad::finish", |graph, _, call| {
        let mut load = graph.bulk_load(1 << 20).unwrap();
        loaded(&mut load);
        load.finish(&mut |_, _| call()).unwrap();
    }),
    ("verify_with", |graph, _, call| {
        small(graph);
        let verified = graph.verify_with(&mut |_| {
            call();
            ControlFlow::Continue(())
        });
        verified.unwrap();
    }),
    ("Comparing::finish", |graph, dir, call| {
        small(graph);
        let comparing = graph.compare(1 << 20, dir).unwrap();
        let found = comparing.finish(&mut |_| {
            call();
            ControlFlow::Continue(())
        });
        found.unwrap();
    }),
    ("Comparing::repair", |graph, dir, call| {
        small(graph);
        let mut comparing = graph.compare(1 << 20, dir).unwrap();
        comparing.add("alice", "bob", None).unwrap();
        let options = RepairOptions::new().max_removals(RemovalLimit::Percent(100));
        let repaired = comparing.repair(options, &mut |_| {
            call();
            ControlFlow::Continue(())
        });
        repaired.unwrap();
    }),
    ("Consumer::resync", |graph, _, call| {
        small(graph);
        let mut consumer = graph.consumer("outside").unwrap();
        let resynced = consumer.resync(|_| {
            call();
            Ok::<(), Error>(())
        });
        resynced.unwrap();
    }),
];

/// What a call inside a callback says.
fn expected(callback: &str, call: &str) -> &'static str {
    match callback {
        "BulkLoad::finish" if ["follow", "reset_clock"].contains(&call) => "BulkLoading",
        "BulkLoad::finish" | "verify_with" if TAKES_A_TURN.contains(&call) => "Reentrant",
        _ => "Ok",
    }
}

#[test]
fn no_call_from_a_callback_waits_for_the_call_it_came_from() {
    let mut wrong = Vec::new();
    for (callback_name, callback) in CALLBACKS {
        for (call_name, call) in CALLS {
            let what = format!("{call_name} from the callback of {callback_name}");
            let (sender, receiver) = channel();
            let graph = Arc::new(options().in_memory().unwrap());
            std::thread::spawn({
                let graph = graph.clone();
                move || {
                    let scratch = tempfile::tempdir().unwrap();
                    let mut said = None;
                    callback(&graph, scratch.path(), &mut || {
                        if said.is_none() {
                            said = Some(call(&graph, scratch.path()));
                        }
                    });
                    // The graph works as before.
                    graph.follow("carol", "dave").unwrap();
                    graph.verify().unwrap();
                    let _ = sender.send(kind_name(&said.expect("it was called back")));
                }
            });
            let said = receiver.recv_timeout(PATIENCE / 4);
            let expected = expected(callback_name, call_name);
            match said {
                Ok(said) if said == expected => {}
                Ok(said) => wrong.push(format!("{what} gave {said}, expected {expected}")),
                Err(_) => wrong.push(format!("{what} did not return")),
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn figures_and_answers_do_not_wait_for_a_bulk_load() {
    let graph = Arc::new(options().in_memory().unwrap());
    let (inside, is_inside) = channel();
    let (go_on, may_go_on) = channel::<()>();
    let loading = std::thread::spawn({
        let graph = graph.clone();
        move || {
            let mut load = graph.bulk_load(1 << 20).unwrap();
            loaded(&mut load);
            load.finish(&mut |_, _| {
                // The load is held up here until the other thread is done.
                let _ = inside.send(());
                let _ = may_go_on.recv_timeout(PATIENCE);
            })
            .unwrap()
        }
    });
    is_inside.recv_timeout(PATIENCE).unwrap();
    let asked = Instant::now();
    let answers = std::thread::spawn({
        let graph = graph.clone();
        move || {
            assert_eq!(graph.stats().account_count, 0);
            assert_eq!(graph.audit().follow_count, 0);
            graph.consumers().len()
        }
    });
    answers.join().unwrap();
    let took = asked.elapsed();
    drop(go_on);
    let report = loading.join().unwrap();
    assert!(took < PATIENCE / 2, "stats waited {took:?} for a bulk load");
    assert_eq!((report.account_count, graph.stats().follow_count), (2, 2));
}
