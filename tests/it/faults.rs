//! Bad input and hard times: each gets its own clear error, changes nothing, and loses nothing.

use crate::support::{Mount, assert_equal, assert_verified, bytes_of, child_of, files_of};
use followgraph::testing::Model;
use followgraph::{Durability, ErrorKind, FollowGraph, Mutation, Options};
use std::path::Path;
use std::process::Command;

/// Every way to use a name refuses a bad one, and nothing comes of it.
fn check_refused_name(name: &str) {
    let graph = Options::new().create_missing_accounts(true).in_memory().unwrap();
    graph.add_account("alice").unwrap();
    let before = graph.stats();
    let kinds = [
        graph.add_account(name).map(drop),
        graph.add_foreign_account(name).map(drop),
        graph.remove_account(name),
        graph.account_id(name).map(drop),
        graph.follow("alice", name).map(drop),
        graph.follow(name, "alice").map(drop),
        graph.unfollow("alice", name).map(drop),
        graph.unfollow(name, "alice").map(drop),
        graph.apply(&[Mutation::follow("alice", name)]).unwrap().remove(0).map(drop),
        graph.counts(name).map(drop),
        graph.batch_counts(&[name]).remove(0).map(drop),
        graph.relation("alice", name).map(drop),
        graph.relation(name, "alice").map(drop),
        graph.followers(name, followgraph::Page::first(1)).map(drop),
        graph.known_followers(name, &["alice"]).map(drop),
        graph.known_followers("alice", &[name]).unwrap().remove(0).map(drop),
    ];
    for (index, result) in kinds.into_iter().enumerate() {
        let kind = result.map_err(|error| error.kind());
        assert_eq!(kind, Err(ErrorKind::InvalidName), "{name:?}, use {index}");
    }
    assert_eq!(graph.stats().account_count, before.account_count);
}

#[test]
fn an_empty_name_is_refused() {
    check_refused_name("");
}

#[test]
fn a_name_of_256_bytes_is_refused() {
    check_refused_name(&"x".repeat(256));
    check_refused_name(&"\u{6f22}".repeat(86));
}

#[test]
fn a_name_with_a_control_character_is_refused() {
    for bad in ["\n", "a\tb", "\0", "end\r", "\u{7f}", "\u{85}", "esc\u{1b}[31m", "\u{9f}x"] {
        check_refused_name(bad);
    }
}

#[test]
fn every_other_name_is_welcome() {
    let graph = FollowGraph::in_memory();
    let (long, longest) = ("x".repeat(255), "\u{6f22}".repeat(85));
    let names = ["a", " ", "two words", "\u{17c}\u{f3}\u{142}w", "\u{1f600}", &long, &longest];
    for name in names {
        assert!(graph.add_account(name).unwrap(), "{name:?}");
        assert!(!graph.add_account(name).unwrap(), "{name:?}");
        assert_eq!(graph.account_name(graph.account_id(name).unwrap()).unwrap(), name);
    }
}

#[test]
fn an_unknown_account_is_not_an_empty_one() {
    let graph = FollowGraph::in_memory();
    graph.add_account("alice").unwrap();
    let unknown = Err(ErrorKind::UnknownAccount);
    let kind = |result: followgraph::Result<()>| result.map_err(|error| error.kind());
    assert_eq!(kind(graph.counts("nobody").map(drop)), unknown);
    assert_eq!(kind(graph.follow("alice", "nobody").map(drop)), unknown);
    assert_eq!(kind(graph.follow("nobody", "alice").map(drop)), unknown);
    assert_eq!(kind(graph.unfollow("alice", "nobody").map(drop)), unknown);
    assert_eq!(kind(graph.remove_account("nobody")), unknown);
    assert_eq!(kind(graph.relation("alice", "nobody").map(drop)), unknown);
    assert_eq!(kind(graph.followers("nobody", followgraph::Page::first(1)).map(drop)), unknown);
    assert_eq!(kind(graph.account_name(followgraph::AccountId(1)).map(drop)), unknown);
    let error = graph.counts("nobody").unwrap_err();
    assert!(error.to_string().contains("\"nobody\""), "{error}");
}

#[test]
fn nobody_follows_themself() {
    let graph = Options::new().create_missing_accounts(true).in_memory().unwrap();
    graph.add_account("alice").unwrap();
    let own = graph.account_id("alice").unwrap();
    assert_eq!(graph.follow("alice", "alice").unwrap_err().kind(), ErrorKind::SelfFollow);
    assert_eq!(graph.follow_by_id(own, own).unwrap_err().kind(), ErrorKind::SelfFollow);
    assert_eq!(graph.follow("new", "new").unwrap_err().kind(), ErrorKind::SelfFollow);
    assert_eq!(graph.account_id("new").unwrap_err().kind(), ErrorKind::UnknownAccount);
    assert_eq!(graph.stats().follow_count, 0);
}

#[test]
fn a_second_handle_of_this_process_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = FollowGraph::open(dir.path()).unwrap();
    first.add_account("alice").unwrap();
    let error = FollowGraph::open(dir.path()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::InUse);
    assert!(error.path().is_some_and(|path| path.starts_with(dir.path())), "{error}");
    first.add_account("bob").unwrap();
    drop(first);
    assert_eq!(FollowGraph::open(dir.path()).unwrap().stats().account_count, 2);
}

#[test]
fn a_second_process_is_refused() {
    const VARIABLE: &str = "FOLLOWGRAPH_TEST_SECOND_PROCESS";
    if let Ok(dir) = std::env::var(VARIABLE) {
        let error = FollowGraph::open(dir).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::InUse);
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let first = FollowGraph::open(dir.path()).unwrap();
    let path = dir.path().to_str().unwrap();
    let child = child_of("faults::a_second_process_is_refused", VARIABLE, path);
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("1 passed"), "{told}");
    first.add_account("alice").unwrap();
}

#[test]
fn a_missing_graph_is_not_made_where_it_may_not_be() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    let error = Options::new().create(false).open(&missing).err().unwrap();
    assert!([ErrorKind::NotAGraph, ErrorKind::Io].contains(&error.kind()), "{error}");
    assert!(!missing.exists());
    let error = Options::new().create(false).open(dir.path()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotAGraph, "{error}");
    assert!(bytes_of(dir.path()).is_empty());
}

#[test]
fn a_file_in_the_place_of_the_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "text").unwrap();
    let error = FollowGraph::open(&file).err().unwrap();
    assert!([ErrorKind::NotAGraph, ErrorKind::Io].contains(&error.kind()), "{error}");
    assert_eq!(std::fs::read(&file).unwrap(), b"text");
}

fn options() -> Options {
    Options::new()
        .durability(Durability::Always)
        .segment_bytes(64 << 10)
        .checkpoint_log_bytes(None)
        .create_missing_accounts(true)
        .clock(std::sync::Arc::new(|| 1000))
}

#[test]
fn a_read_only_directory_is_refused_with_advice() {
    let Some(mount) = Mount::tmpfs(4 << 20) else {
        return;
    };
    let dir = mount.path().join("graph");
    let graph = options().open(&dir).unwrap();
    graph.follow("alice", "bob").unwrap();
    drop(graph);
    mount.remount("ro");
    let before = bytes_of(&dir);
    for place in [dir.clone(), mount.path().join("fresh")] {
        let error = options().open(&place).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Io, "{error}");
        assert!(error.to_string().contains("must be writable"), "{error}");
        assert!(error.path().is_some_and(|path| path.starts_with(&place)), "{error}");
    }
    assert!(bytes_of(&dir) == before);
    mount.remount("rw");
    assert_eq!(options().open(&dir).unwrap().counts("bob").unwrap().followers, 1);
}

/// Follows until one is refused; tells the error. The model follows along.
fn follow_until_refused(graph: &FollowGraph, model: &mut Model) -> followgraph::Error {
    for number in 0..100_000 {
        // Long names fill a disk in few commits.
        let star = format!("{}{number}", "star".repeat(60));
        match graph.follow("fan", &star) {
            Ok(_) => drop(model.follow("fan", &star, 1000).unwrap()),
            Err(error) => return error,
        }
    }
    panic!("the disk never was full");
}

fn names_of(model: &Model) -> Vec<String> {
    let every = model.accounts().len() / 10 + 1;
    model.accounts().into_iter().map(|(_, name)| name).step_by(every).collect()
}

/// A sample of all answers is the model's, `verify` is clean, the fan's list is whole.
fn check_all_there(graph: &FollowGraph, model: &Model) {
    let names = names_of(model);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_equal(graph, model, &names);
    assert_verified(graph, model);
}

fn model_with(names: &[&str]) -> Model {
    let mut model = Model::default();
    model.creates_missing_accounts = true;
    for name in names {
        model.add_account(name).unwrap();
    }
    model
}

#[test]
fn a_disk_that_fills_while_the_log_grows_loses_nothing_and_work_goes_on_after() {
    let Some(mount) = Mount::tmpfs(1 << 20) else {
        return;
    };
    let ballast = mount.path().join("ballast");
    std::fs::write(&ballast, vec![1; 512 << 10]).unwrap();
    let dir = mount.path().join("graph");
    let graph = options().open(&dir).unwrap();
    graph.add_account("fan").unwrap();
    let mut model = model_with(&["fan"]);

    let error = follow_until_refused(&graph, &mut model);
    assert_eq!(error.kind(), ErrorKind::DiskFull, "{error}");
    assert!(error.to_string().contains("free some space"), "{error}");
    assert!(error.path().is_some_and(|path| path.starts_with(&dir)), "{error}");
    check_all_there(&graph, &model);
    let again = graph.follow("fan", &"other".repeat(50)).unwrap_err();
    assert!([ErrorKind::DiskFull, ErrorKind::Latched].contains(&again.kind()), "{again}");
    assert_eq!(files_of(&dir, "tmp"), Vec::<std::path::PathBuf>::new(), "a leftover");

    std::fs::remove_file(&ballast).unwrap();
    graph.follow("fan", "after").unwrap();
    model.follow("fan", "after", 1000).unwrap();
    check_all_there(&graph, &model);
    drop(graph);
    let graph = options().open(&dir).unwrap();
    check_all_there(&graph, &model);
}

#[test]
fn a_disk_that_fills_while_an_image_is_written_keeps_the_old_one_and_work_goes_on_after() {
    let Some(mount) = Mount::tmpfs(2 << 20) else {
        return;
    };
    let dir = mount.path().join("graph");
    let graph = options().open(&dir).unwrap();
    graph.add_account("fan").unwrap();
    let mut model = model_with(&["fan"]);
    for number in 0..1000 {
        let star = format!("{}{number}", "star".repeat(60));
        graph.follow("fan", &star).unwrap();
        model.follow("fan", &star, 1000).unwrap();
    }
    // Room for a segment, and not for an image with a quarter of a megabyte of names.
    let free_bytes = free_bytes(mount.path());
    let ballast = mount.path().join("ballast");
    std::fs::write(&ballast, vec![1; free_bytes.saturating_sub(100 << 10)]).unwrap();

    let images = files_of(&dir, "fgi");
    let error = graph.checkpoint().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DiskFull, "{error}");
    assert!(error.to_string().contains("free some space"), "{error}");
    assert_eq!(files_of(&dir, "fgi"), images, "an unfinished image has no image's name");
    check_all_there(&graph, &model);
    graph.follow("fan", "meanwhile").unwrap();
    model.follow("fan", "meanwhile", 1000).unwrap();
    let error = graph.backup(mount.path().join("backup")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DiskFull, "{error}");

    std::fs::remove_file(&ballast).unwrap();
    assert!(graph.checkpoint().unwrap().written);
    check_all_there(&graph, &model);
    drop(graph);
    let graph = options().open(&dir).unwrap();
    check_all_there(&graph, &model);
}

fn free_bytes(dir: &Path) -> usize {
    let output = Command::new("df").args(["--output=avail", "-B1"]).arg(dir).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().nth(1).unwrap().trim().parse().unwrap()
}

#[test]
fn a_disk_too_full_to_make_a_graph_on_says_so() {
    let Some(mount) = Mount::tmpfs(1 << 20) else {
        return;
    };
    std::fs::write(mount.path().join("ballast"), vec![1; (1 << 20) - (24 << 10)]).unwrap();
    let dir = mount.path().join("graph");
    let error = options().open(&dir).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::DiskFull, "{error}");
    std::fs::remove_file(mount.path().join("ballast")).unwrap();
    let graph = options().open(&dir).unwrap();
    graph.follow("alice", "bob").unwrap();
}

#[test]
fn a_bulk_load_that_fills_the_disk_leaves_the_graph_empty_and_usable() {
    let Some(mount) = Mount::tmpfs(1 << 20) else {
        return;
    };
    let dir = mount.path().join("graph");
    let graph = options().open(&dir).unwrap();
    let mut load = graph.bulk_load(64 << 20).unwrap();
    let loaded = (0..20_000)
        .try_for_each(|number| load.add("fan", &format!("{}{number}", "s".repeat(200)), None));
    let finished = loaded.and_then(|()| load.finish(&mut |_, _| {}));
    let error = finished.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DiskFull, "{error}");
    assert_eq!(graph.stats().account_count, 0);
    graph.follow("alice", "bob").unwrap();
    drop(graph);
    let graph = options().open(&dir).unwrap();
    assert_eq!(graph.stats().follow_count, 1);
    graph.verify().unwrap();
}
