//! Import, compare and repair must not destroy: what a repair refuses, what a failed command
//! leaves, what it says, and in which order a load puts its follows.

use crate::cli::{Place, Run, program, run, run_with_input, small_edges, sorted_lines};
use crate::support::{quick_dir, skipped, walk};
use followgraph::{
    BulkOptions, Comparing, ErrorKind, FollowGraph, Mutation, Options, Page, RemovalLimit,
    RepairEvent, RepairOptions,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const MEMORY_BYTES: u64 = 1 << 20;

/// A graph of 100 follows of ten accounts, and its edge list.
fn hundred() -> (Place, String) {
    let place = Place::new();
    let line = |number: u32| format!("a{} b{number} {}\n", number % 10, number + 1);
    let list: String = (0..100).map(line).collect();
    run_with_input(&place.db(), &["import", "-"], list.as_bytes()).exits(0);
    (place, list)
}

fn exported(db: &Path) -> String {
    run(db, &["export"]).exits(0).out
}

fn lines(list: &str, is_kept: impl Fn(&str) -> bool) -> String {
    list.split_inclusive('\n').filter(|line| is_kept(line)).collect()
}

fn verify(place: &Place, list: &str, more: &[&str]) -> Run {
    let file = place.file("list", list.as_bytes());
    run(&place.db(), &[&["verify", "--against", &file][..], more].concat())
}

#[test]
fn a_repair_refuses_a_list_with_bad_lines_also_with_skip_bad() {
    let (place, list) = hundred();
    let before = exported(&place.db());
    let of_one_column = list.replace(' ', "_");
    let with_one = format!("{list}only-one\n");
    for bad in [of_one_column.as_str(), &with_one] {
        let options: [&[&str]; 4] = [
            &["--repair"],
            &["--repair", "--skip-bad"],
            &["--repair", "--skip-bad", "--max-removals", "100%", "--yes"],
            &["--repair", "--skip-bad", "--dry-run"],
        ];
        for options in options {
            let refused = verify(&place, bad, options).exits(1);
            assert!(!refused.err.contains("--skip-bad"), "{refused:#?}");
            assert_eq!(exported(&place.db()), before, "{options:?}");
        }
    }
    let refused = verify(&place, &with_one, &["--repair", "--skip-bad"]);
    refused.exits(1).says("line 101").says("nothing was changed");
}

#[test]
fn a_repair_refuses_an_empty_list() {
    let (place, _) = hundred();
    let before = exported(&place.db());
    for empty in ["", "\n\n", "# nothing\n"] {
        for more in [&["--repair"][..], &["--repair", "--yes", "--max-removals", "100%"]] {
            verify(&place, empty, more).exits(1).says("the list has no follow");
            assert_eq!(exported(&place.db()), before);
        }
    }
}

#[test]
fn a_repair_that_would_remove_more_than_its_limit_changes_nothing() {
    let (place, list) = hundred();
    let before = exported(&place.db());
    // 11 of the 100 follows are not in the list, and one is new.
    let part = lines(&list, |line| !line.starts_with("a3 ") && !line.contains(" b0 "));
    let part = format!("{part}a1 new 7\n");
    let refused = verify(&place, &part, &["--repair"]).exits(1);
    let refused = refused.says("11 of 100 follows").says("10 %").says("--only-accounts");
    refused.prints("to remove: 0 accounts and 11 follows");
    for limit in ["10", "0", "10%", "0%"] {
        verify(&place, &part, &["--repair", "--max-removals", limit]).exits(1);
        verify(&place, &part, &["--repair", "--max-removals", limit, "--dry-run"]).exits(1);
        assert_eq!(exported(&place.db()), before, "{limit}");
    }
    // Also gone from the list are a3, b0 and the ten that a3 followed: 12 of 110 accounts.
    let accounts = ["--repair", "--remove-accounts", "--max-removals"];
    for limit in ["10%", "22"] {
        let refused = verify(&place, &part, &[&accounts[..], &[limit]].concat()).exits(1);
        refused.says("12 of 110 accounts");
        assert_eq!(exported(&place.db()), before, "{limit}");
    }
    for bad in ["101%", "some", "1.5%"] {
        verify(&place, &part, &["--repair", "--max-removals", bad]).exits(2).says("500");
    }
    verify(&place, &part, &["--max-removals", "5"]).exits(2);
    verify(&place, &part, &["--repair", "--max-removals", "11"]).exits(0);
    assert_eq!(exported(&place.db()).lines().count(), 90);
    run(&place.db(), &["check", "a1", "new"]).exits(0);
}

#[test]
fn an_add_only_repair_removes_nothing() {
    let (place, list) = hundred();
    let before = exported(&place.db());
    let args = ["--repair", "--add-only"];
    let added = verify(&place, "a1 new 7\n", &args).exits(0).prints("kept");
    assert!(added.out.contains("to remove: 0 accounts and 0 follows"), "{added:#?}");
    let mut expected = before.clone();
    expected.push_str("a1 new 7\n");
    assert_eq!(sorted_lines(&exported(&place.db())), sorted_lines(&expected));
    verify(&place, &list, &[&args[..], &["--remove-accounts"]].concat()).exits(2);
}

#[test]
fn only_accounts_limits_a_repair_to_whom_they_follow() {
    let (place, list) = hundred();
    // a0 lost its newest follow and has another one; what the list says of a5 is not asked for.
    let own = |line: &str| line.starts_with("a0 ") || line.starts_with("a1 ");
    let part = lines(&list, |line| own(line) && !line.contains(" b90 "));
    let part = format!("{part}a0 new 7\na5 other 8\n");
    let names = place.file("names", b"\xef\xbb\xbfa0\r\n# comment\n\na1\n");
    let only = ["--only-accounts", &names];
    let found = verify(&place, &part, &only).exits(1);
    let found = found.prints("missing follow\ta0\tnew\t7").prints("extra follow\ta0\tb90\t91");
    let found = found.prints("differences: 3; 2 accounts and 20 follows in the graph");
    assert!(!found.out.contains("a5"), "{found:#?}");
    verify(&place, &part, &[&only[..], &["--repair"]].concat()).exits(0);
    let mut expected = lines(&list, |line| !line.contains(" b90 "));
    expected.push_str("a0 new 7\n");
    assert_eq!(sorted_lines(&exported(&place.db())), sorted_lines(&expected));
    // The limit is a share of what is compared: of 20 follows, not of 100.
    let few = lines(&part, |line| line.starts_with("a0 "));
    let refused = verify(&place, &few, &[&only[..], &["--repair"]].concat()).exits(1);
    refused.says("10 of 20 follows");
    let empty = place.file("empty", b"\n");
    verify(&place, &part, &["--only-accounts", &empty]).exits(1).says("names no account");
    run(&place.db(), &["verify", "--only-accounts", &names]).exits(2);
}

#[test]
fn a_repair_on_a_terminal_is_a_dry_run_until_it_is_told_yes() {
    let (place, list) = hundred();
    let before = exported(&place.db());
    let file = place.file("list", format!("{list}a1 new 7\n").as_bytes());
    let on_terminal = |more: &str| {
        let line = format!(
            "'{}' --db '{}' verify --against '{file}' --repair {more}",
            env!("CARGO_BIN_EXE_followgraph"),
            place.db().display(),
        );
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
        command.stdin(Stdio::null()).env("TERM", "xterm").output()
    };
    let Ok(shown) = on_terminal("") else {
        return skipped("a repair on a terminal: there is no program `script`");
    };
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert_eq!(shown.status.code(), Some(1), "{text}");
    assert!(text.contains("to add: 1 accounts and 1 follows"), "{text}");
    assert!(text.contains("--yes carries it out"), "{text}");
    assert_eq!(exported(&place.db()), before, "{text}");
    let done = on_terminal("--yes").unwrap();
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    run(&place.db(), &["check", "a1", "new"]).exits(0);
    verify(&place, &list, &["--repair", "--yes", "--dry-run"]).exits(2);
}

#[test]
fn a_repair_prints_its_plan_before_its_first_change() {
    let (place, list) = hundred();
    let list = format!("{list}a1 new 7\n");
    let repaired = verify(&place, &list, &["--repair", "--json"]).exits(0);
    let lines = repaired.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let kinds: Vec<String> = lines.map(|line| line["kind"].as_str().unwrap().to_owned()).collect();
    let expected =
        ["verified", "plan", "missing_account", "missing_follow", "compared", "repaired"];
    assert_eq!(kinds[..6], expected);
}

fn options() -> Options {
    Options::new().create_missing_accounts(true)
}

fn compared<'a>(graph: &'a FollowGraph, follows: &[(u8, u8)]) -> Comparing<'a> {
    let mut comparing = graph.compare(MEMORY_BYTES, std::env::temp_dir()).unwrap();
    add_all(&mut comparing, follows);
    comparing
}

fn add_all(comparing: &mut Comparing<'_>, follows: &[(u8, u8)]) {
    for (from, to) in follows {
        comparing.add(&format!("u{from}"), &format!("u{to}"), None).unwrap();
    }
}

fn graph_of(follows: &[(u8, u8)]) -> FollowGraph {
    let graph = options().in_memory().unwrap();
    for (from, to) in follows {
        if from != to {
            graph.follow(&format!("u{from}"), &format!("u{to}")).unwrap();
        }
    }
    graph
}

fn follows_of(graph: &FollowGraph) -> BTreeSet<(u8, u8)> {
    let number = |name: &str| name[1..].parse::<u8>().unwrap();
    let mut follows = BTreeSet::new();
    for (_, name) in graph.accounts(None, usize::MAX) {
        let following = walk(100, |page| graph.following(&name, page)).unwrap();
        follows.extend(following.iter().map(|(to, _)| (number(&name), number(to))));
    }
    follows
}

fn pairs(max: usize) -> impl Strategy<Value = Vec<(u8, u8)>> {
    vec((0..6_u8, 0..6_u8), 0..max)
}

proptest! {
    #[test]
    fn a_repair_removes_at_most_what_its_limit_allows_or_nothing(
        ours in pairs(30),
        theirs in pairs(30),
        limit in prop_oneof![
            (0..12_u64).prop_map(RemovalLimit::Count),
            (0..=100_u8).prop_map(RemovalLimit::Percent),
        ],
        remove_accounts in any::<bool>(),
        add_only in any::<bool>(),
    ) {
        let graph = graph_of(&ours);
        let before = follows_of(&graph);
        let account_count = graph.stats().account_count;
        let wanted: BTreeSet<_> = theirs.iter().copied().filter(|(from, to)| from != to).collect();
        let named: BTreeSet<u8> = theirs.iter().flat_map(|pair| [pair.0, pair.1]).collect();
        let had: BTreeSet<u8> = before.iter().flat_map(|pair| [pair.0, pair.1]).collect();
        let (mut follows, mut accounts) =
            (before.difference(&wanted).count() as u64, had.difference(&named).count() as u64);
        if add_only {
            (follows, accounts) = (0, 0);
        } else if !remove_accounts {
            accounts = 0;
        }
        let is_within = match limit {
            RemovalLimit::Count(max) => follows + accounts <= max,
            RemovalLimit::Percent(percent) => {
                follows * 100 <= before.len() as u64 * u64::from(percent)
                    && accounts * 100 <= account_count * u64::from(percent)
            }
        };
        let options = RepairOptions::new().max_removals(limit).remove_accounts(remove_accounts);
        let mut found_count = 0;
        let repair = compared(&graph, &theirs).repair(options.add_only(add_only), &mut |event| {
            match event {
                RepairEvent::Found(found) => {
                    found_count += 1;
                    assert_eq!(found.follow_count, before.len() as u64);
                }
                RepairEvent::Difference(..) => assert_eq!(found_count, 1, "changed before counted"),
                _ => {}
            }
            ControlFlow::Continue(())
        });
        prop_assert_eq!(found_count, 1);
        if wanted.is_empty() || !is_within {
            prop_assert_eq!(repair.unwrap_err().kind(), ErrorKind::RepairRefused);
            prop_assert_eq!(follows_of(&graph), before);
            prop_assert_eq!(graph.stats().account_count, account_count);
            return Ok(());
        }
        repair.unwrap();
        let expected = if add_only { before.union(&wanted).copied().collect() } else { wanted };
        prop_assert_eq!(follows_of(&graph), expected);
    }

    #[test]
    fn a_repair_of_some_accounts_touches_no_follow_of_others(
        ours in pairs(30),
        theirs in pairs(30),
        only in vec(0..8_u8, 1..4),
    ) {
        let graph = graph_of(&ours);
        let before = follows_of(&graph);
        let names: Vec<String> = only.iter().map(|number| format!("u{number}")).collect();
        let comparing = graph.compare(MEMORY_BYTES, std::env::temp_dir()).unwrap();
        let mut comparing = comparing.only(names.iter().map(String::as_str)).unwrap();
        add_all(&mut comparing, &theirs);
        let options = RepairOptions::new().max_removals(RemovalLimit::Percent(100));
        let repair = comparing.repair(options.remove_accounts(true), &mut |_| {
            ControlFlow::Continue(())
        });
        let is_no_follow = |pair: &(u8, u8)| pair.0 == pair.1 && only.contains(&pair.0);
        if theirs.iter().all(is_no_follow) {
            prop_assert_eq!(repair.unwrap_err().kind(), ErrorKind::RepairRefused);
            prop_assert_eq!(follows_of(&graph), before);
            return Ok(());
        }
        let found = repair.unwrap().found;
        let is_own = |pair: &&(u8, u8)| only.contains(&pair.0);
        let own = before.iter().filter(is_own).count() as u64;
        prop_assert_eq!(found.follow_count, own);
        let listed = theirs.iter().filter(is_own).filter(|pair| pair.0 != pair.1);
        let others = before.iter().filter(|pair| !is_own(pair));
        let expected: BTreeSet<_> = listed.chain(others).copied().collect();
        prop_assert_eq!(follows_of(&graph), expected);
        graph.verify().unwrap();
    }

    #[test]
    fn a_load_that_keeps_the_order_gives_the_lists_that_commits_give(
        follows in vec((0..8_u8, 0..8_u8, option::of(0..3_u32)), 0..120),
        memory_bytes in prop::sample::select(vec![1, 64 << 20]),
    ) {
        let loaded = FollowGraph::in_memory();
        let options = BulkOptions::new().memory_bytes(memory_bytes).keep_order(true);
        let mut load = loaded.bulk_load_with(options).unwrap();
        let committed = self::options().in_memory().unwrap();
        for (from, to, at) in &follows {
            let (from, to) = (format!("u{from}"), format!("u{to}"));
            load.add(&from, &to, *at).unwrap();
            let mutation = if from == to {
                Mutation::add_account(&from)
            } else {
                Mutation::follow(&from, &to).at(at.unwrap_or(0))
            };
            committed.apply(&[mutation]).unwrap().remove(0).unwrap();
        }
        load.finish(&mut |_, _| {}).unwrap();
        committed.checkpoint().unwrap();
        assert_same_pages(&loaded, &committed);
        // What is followed later goes on top of either.
        for graph in [&loaded, &committed] {
            let more = [Mutation::add_account("u1"), Mutation::add_account("u2")];
            graph.apply(&more).unwrap();
            graph.apply(&[Mutation::follow("u1", "u2").at(0)]).unwrap().remove(0).unwrap();
            graph.checkpoint().unwrap();
            graph.verify().unwrap();
        }
        assert_same_pages(&loaded, &committed);
    }
}

fn assert_same_pages(a: &FollowGraph, b: &FollowGraph) {
    let names: Vec<_> = a.accounts(None, usize::MAX).into_iter().map(|(_, name)| name).collect();
    for name in &names {
        for size in [1, 3, 100] {
            let pages = |graph: &FollowGraph| {
                [
                    walk(size, |page: Page| graph.followers(name, page)).unwrap(),
                    walk(size, |page: Page| graph.following(name, page)).unwrap(),
                    walk(size, |page: Page| graph.mutuals(name, page)).unwrap(),
                ]
            };
            assert_eq!(pages(a), pages(b), "{name}");
        }
    }
}

#[test]
fn a_large_load_keeps_its_order_through_runs_and_the_spill_file() {
    let dir = quick_dir();
    let graph = FollowGraph::open(dir.path()).unwrap();
    let options = BulkOptions::new().memory_bytes(MEMORY_BYTES).keep_order(true);
    let mut load = graph.bulk_load_with(options).unwrap();
    // Each of 40 accounts follows 5,000 in an order that is not that of the ids.
    for number in 0..200_000_u32 {
        let to = number / 40 * 2749 % 5000;
        load.add(&format!("a{}", number % 40), &format!("b{to}"), None).unwrap();
    }
    let report = load.finish(&mut |_, _| {}).unwrap();
    assert_eq!((report.follow_count, report.duplicate_count), (200_000, 0));
    for name in ["a0", "a39"] {
        let following = walk(1000, |page| graph.following(name, page)).unwrap();
        let following: Vec<String> = following.into_iter().map(|(to, _)| to).collect();
        let expected: Vec<String> =
            (0..5000_u32).rev().map(|number| format!("b{}", number * 2749 % 5000)).collect();
        assert!(following == expected, "{name}");
    }
    let followers = walk(1000, |page| graph.followers("b7", page)).unwrap();
    let followers: Vec<String> = followers.into_iter().map(|(from, _)| from).collect();
    assert_eq!(followers, (0..40).rev().map(|number| format!("a{number}")).collect::<Vec<_>>());
    graph.verify().unwrap();
}

#[test]
fn an_import_keeps_the_order_of_lines_when_it_is_told_to() {
    let list = b"a b\na c\nc d\nb d\nx a\na d\na x\na e\ne d\n";
    let newest = |args: &[&str], account: &str, kind: &str| {
        let place = Place::new();
        run_with_input(&place.db(), args, list).exits(0);
        let listed = run(&place.db(), &["list", account, "--type", kind, "--json"]).exits(0);
        let body = listed.json();
        let items = body["FollowItem"].as_array().unwrap().iter();
        items.map(|item| item["To_Account"].as_str().unwrap()).collect::<Vec<_>>().join(" ")
    };
    let kept = ["import", "-", "--keep-order"];
    assert_eq!(newest(&kept, "a", "following"), "e x d c b");
    assert_eq!(newest(&kept, "d", "followers"), "e a b c");
    // By account id otherwise: a, b, c, d, x, e as they appear.
    assert_eq!(newest(&["import", "-"], "a", "following"), "e x d c b");
    assert_eq!(newest(&["import", "-"], "d", "followers"), "e c b a");
}

#[test]
fn the_progress_of_a_load_counts_each_follow_once() {
    let graph = FollowGraph::in_memory();
    let mut load = graph.bulk_load(MEMORY_BYTES).unwrap();
    for number in 0..30_000 {
        load.add(&format!("a{}", number % 700), &format!("b{number}"), None).unwrap();
    }
    load.add("a0", "b0", None).unwrap();
    load.add("a0", "a0", None).unwrap();
    let mut told = Vec::new();
    load.finish(&mut |done, total| told.push((done, total))).unwrap();
    assert!(told.iter().all(|&(done, total)| done <= total && total == 30_001), "{told:?}");
    assert!(told.is_sorted(), "{told:?}");
    assert_eq!(told.last(), Some(&(30_001, 30_001)));
}

#[test]
fn a_failed_first_import_leaves_the_directory_as_it_was() {
    let place = Place::new();
    let is_empty = |path: &Path| fs::read_dir(path).unwrap().next().is_none();
    let bad = small_edges() + "only-one\n";
    let deep = place.dir.path().join("some/new/graph");
    run_with_input(&deep, &["import", "-"], bad.as_bytes()).exits(1).says("nothing was imported");
    assert!(is_empty(place.dir.path()), "directories were left");
    let empty = place.dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    run_with_input(&empty, &["import", "-", "--memory", "1M"], bad.as_bytes()).exits(1);
    assert!(is_empty(&empty), "files were left");
    // A graph that was there before stays, also an empty one.
    drop(FollowGraph::open(&empty).unwrap());
    run_with_input(&empty, &["import", "-"], bad.as_bytes()).exits(1);
    run(&empty, &["stats"]).exits(0);
    run_with_input(&empty, &["import", "-"], small_edges().as_bytes()).exits(0);
    run_with_input(&empty, &["import", "-"], bad.as_bytes()).exits(1).says("the lines before");
    run(&empty, &["verify"]).exits(0).prints("2,580 follows");
}

#[test]
fn an_import_that_is_interrupted_while_it_builds_leaves_nothing_or_the_whole_graph() {
    let lines: Vec<_> = (0..300_000).map(|fan| format!("fan-{fan} star-{}", fan % 7)).collect();
    let list = lines.join("\n");
    let (mut removed_count, mut started) = (0, Duration::from_millis(40));
    for _ in 0..12 {
        let place = Place::new();
        let file = place.file("list", list.as_bytes());
        let mut command = program();
        command.arg("--db").arg(place.db()).args(["import", &file]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        std::thread::sleep(started);
        started += Duration::from_millis(60);
        let id = child.id().to_string();
        let _ = Command::new("kill").args(["-INT", &id]).status().unwrap();
        child.wait().unwrap();
        if place.db().exists() {
            run(&place.db(), &["verify"]).exits(0).prints("300,000 follows");
        } else {
            removed_count += 1;
        }
    }
    assert!(removed_count > 0, "no signal came before the end");
}

#[test]
fn a_change_that_fails_leaves_no_new_graph() {
    let place = Place::new();
    let bad = "a\nb";
    for arguments in [
        &["add-account", bad][..],
        &["follow", bad, "bob", "--create"],
        &["follow", "bob", bad, "--create"],
    ] {
        run(&place.db(), arguments).exits(1);
        assert!(!place.db().exists(), "{arguments:?} left a graph");
    }
    run(&place.db(), &["add-account", "alice", bad]).exits(1);
    run(&place.db(), &["counts", "alice"]).exits(0);
}

/// Waits until a process catches SIGINT and SIGTERM.
fn wait_until_it_listens(child: &Child) {
    let started = Instant::now();
    loop {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        let caught = u64::from_str_radix(caught.trim(), 16).unwrap();
        if caught & (1 << 1) != 0 && caught & (1 << 14) != 0 {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "it does not listen for signals");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn an_interrupted_first_import_leaves_nothing() {
    for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
        let place = Place::new();
        let mut command = program();
        command.arg("--db").arg(place.db()).args(["import", "-"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // More than is read before the graph is made.
        stdin.write_all(small_edges().repeat(40).as_bytes()).unwrap();
        wait_until_it_listens(&child);
        assert!(place.db().exists(), "it has begun");
        let id = child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
        let output = child.wait_with_output().unwrap();
        drop(stdin);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("nothing was imported"));
        assert!(!place.db().exists(), "{signal}: the graph was left");
    }
}

/// Damages the largest image of a graph or backup.
fn damage(directory: &Path) {
    let paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    for path in paths.filter(|path| path.extension().is_some_and(|name| name == "fgi")) {
        let mut bytes = fs::read(&path).unwrap();
        if bytes.len() > 40_000 {
            bytes[30_000] ^= 1;
            fs::write(&path, bytes).unwrap();
        }
    }
}

fn small_place() -> Place {
    let place = Place::new();
    run_with_input(&place.db(), &["import", "-"], small_edges().as_bytes()).exits(0);
    place
}

#[test]
fn a_failed_backup_restore_or_salvage_leaves_its_destination_as_it_was() {
    let place = small_place();
    let path = |name: &str| place.dir.path().join(name).to_str().unwrap().to_owned();
    let (backup, deep, empty) = (path("backup"), path("some/new/one"), path("empty"));
    run(&place.db(), &["backup", &backup]).exits(0);
    damage(Path::new(&backup));
    damage(&place.db());
    fs::create_dir(&empty).unwrap();
    let letters = path("letters");
    fs::create_dir(&letters).unwrap();
    fs::write(Path::new(&letters).join("letter.txt"), "dear bob").unwrap();
    let names = |directory: &str| -> BTreeSet<_> {
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    };
    let before = names(place.dir.path().to_str().unwrap());
    for dest in [&deep, &empty] {
        let commands: [&[&str]; 4] = [
            &["backup", dest],
            &["restore", &backup, dest],
            &["restore", &letters, dest],
            &["salvage", &letters, dest],
        ];
        for args in commands {
            let failed = run(&place.db(), args);
            assert_ne!(failed.code, 0, "{failed:#?}");
            assert_eq!(names(place.dir.path().to_str().unwrap()), before, "{args:?}");
            assert!(names(&empty).is_empty(), "{args:?} left files");
        }
    }
    run(&place.db(), &["backup", &letters]).exits(3);
    run(&place.db(), &["restore", &backup, &letters]).exits(3);
    assert_eq!(names(&letters).len(), 1);
}

#[test]
fn errors_end_with_advice_for_the_command_that_failed() {
    let place = small_place();
    let path = |name: &str| place.dir.path().join(name).to_str().unwrap().to_owned();
    let (letters, nowhere, new, backup) =
        (path("letters"), path("nowhere"), path("new"), path("backup"));
    fs::create_dir(&letters).unwrap();
    fs::write(Path::new(&letters).join("letter.txt"), "dear bob").unwrap();
    run(&place.db(), &["backup", &backup]).exits(0);
    damage(Path::new(&backup));
    let list = place.file("list", b"a b\n");
    let on = |db: &str, args: &[&str]| run(Path::new(db), args);
    let db = place.db().to_str().unwrap().to_owned();
    let table: [(Run, &str); 9] = [
        (on(&letters, &["import", &list]), "choose an empty directory"),
        (on(&letters, &["follow", "a", "b", "--create"]), "choose an empty directory"),
        (on(&nowhere, &["stats"]), "import FILE"),
        (on(&nowhere, &["backup", &new]), "import FILE"),
        (on(&db, &["backup", &letters]), "choose an empty directory"),
        (on(&db, &["restore", &letters, &new]), "`followgraph backup` wrote"),
        (on(&db, &["restore", &nowhere, &new]), "`followgraph backup` wrote"),
        (on(&db, &["restore", &backup, &new]), "use another backup"),
        (on(&db, &["salvage", &letters, &new]), "SRC is the directory of a graph"),
    ];
    for (failed, advice) in table {
        let failed = failed.exits(3).says(advice);
        assert_eq!(failed.err.contains("import FILE"), advice == "import FILE", "{failed:#?}");
    }
    damage(&place.db());
    on(&db, &["export"]).exits(3).says("salvage DIR NEW_DIR");
    on(&db, &["backup", &new]).exits(3).says("nothing was backed up");
}

#[test]
fn a_list_with_names_that_were_refused_repairs_nothing() {
    let graph = graph_of(&[(0, 1), (1, 0)]);
    let mut comparing = compared(&graph, &[(0, 1), (1, 0)]);
    assert_eq!(comparing.add("", "u1", None).unwrap_err().kind(), ErrorKind::InvalidName);
    let error = comparing.repair(RepairOptions::new(), &mut |_| ControlFlow::Continue(()));
    assert_eq!(error.unwrap_err().kind(), ErrorKind::RepairRefused);
    let stopped =
        compared(&graph, &[(2, 3)]).repair(RepairOptions::new(), &mut |event| match event {
            RepairEvent::Found(_) => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        });
    let stopped = stopped.unwrap();
    assert_eq!((stopped.found.complete, stopped.repaired_count), (false, 0));
    assert_eq!(follows_of(&graph), BTreeSet::from([(0, 1), (1, 0)]));
    let late = compared(&graph, &[(0, 1)]).only(["u0"]).err().unwrap();
    assert_eq!(late.kind(), ErrorKind::InvalidArgument);
}
