//! Proof of counts from inside: the audit, verification that says how far it is, and comparison
//! with an edge list, each held to the model; repair while others write.

use crate::support::{HandClock, Random, bytes_of, quick_dir, walk};
use followgraph::testing::Model;
use followgraph::{
    Audit, CompareEvent, Comparing, Comparison, Difference, Durability, ErrorKind, Fate,
    FollowGraph, Mutation, Options, Page, RemovalLimit, Repair, RepairEvent, RepairOptions,
    Verification, VerifyProgress,
};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// The last two are foreign where a test has foreign accounts.
const NAMES: [&str; 8] = ["alice", "bob", "carol", "d d", "eve", "\u{5f20}\u{4f1f}", "far", "off"];
const FOREIGN: [&str; 2] = ["far", "off"];
const MEMORY_BYTES: u64 = 1 << 20;

type Follows = BTreeMap<(String, String), u32>;

fn options() -> Options {
    Options::new()
        .durability(Durability::Never)
        .segment_bytes(64 << 10)
        .checkpoint_log_bytes(None)
        .create_missing_accounts(true)
}

fn pair(from: &str, to: &str) -> (String, String) {
    (from.to_owned(), to.to_owned())
}

/// Follows of a graph, of whichever end is local, with their times.
fn follows_of(graph: &FollowGraph) -> Follows {
    let mut follows = Follows::new();
    for (_, name) in graph.accounts(None, usize::MAX) {
        let following = walk(100, |page| graph.following(&name, page)).unwrap_or_default();
        follows.extend(following.into_iter().map(|(to, at)| (pair(&name, &to), at)));
        let followers = walk(100, |page| graph.followers(&name, page)).unwrap_or_default();
        follows.extend(followers.into_iter().map(|(from, at)| (pair(&from, &name), at)));
    }
    follows
}

fn follows_of_model(model: &Model) -> Follows {
    model.edges().into_iter().map(|(from, to, at)| ((from, to), at)).collect()
}

/// A difference with names of its own.
fn in_words(difference: &Difference<'_>) -> String {
    match *difference {
        Difference::MissingAccount { name } => format!("missing|{name}"),
        Difference::ExtraAccount { name, .. } => format!("extra|{name}"),
        Difference::MissingFollow { follower, followed, at } => {
            format!("missing|{follower}|{followed}|{at}")
        }
        Difference::ExtraFollow { follower, followed, at } => {
            format!("extra|{follower}|{followed}|{at}")
        }
        Difference::OtherTime { follower, followed, at, listed_at } => {
            format!("time|{follower}|{followed}|{at}|{listed_at}")
        }
        _ => panic!("{difference:?}"),
    }
}

fn compare_told(comparing: Comparing<'_>) -> (Comparison, Vec<String>) {
    let mut told = Vec::new();
    let found = comparing.finish(&mut |event| {
        if let CompareEvent::Difference(difference) = event {
            told.push(in_words(&difference));
        }
        ControlFlow::Continue(())
    });
    (found.unwrap(), told)
}

/// Options that let a repair remove everything that is extra.
fn unlimited() -> RepairOptions {
    RepairOptions::new().max_removals(RemovalLimit::Percent(100))
}

fn repair_told(
    comparing: Comparing<'_>,
    remove_accounts: bool,
) -> (Repair, BTreeMap<String, String>) {
    let mut told = BTreeMap::new();
    let options = unlimited().remove_accounts(remove_accounts);
    let repair = comparing.repair(options, &mut |event| {
        if let RepairEvent::Difference(difference, fate) = event {
            let fate = match fate {
                Fate::Refused(error) => format!("{:?}", error.kind()),
                fate => format!("{fate:?}"),
            };
            assert_eq!(told.insert(in_words(&difference), fate), None, "told twice");
        }
        ControlFlow::Continue(())
    });
    (repair.unwrap(), told)
}

/// A line of the other side.
type Line = (usize, usize, Option<u32>);

fn begin<'a>(graph: &'a FollowGraph, list: &[Line]) -> Comparing<'a> {
    let mut comparing = graph.compare(MEMORY_BYTES, std::env::temp_dir()).unwrap();
    for (from, to, at) in list {
        comparing.add(NAMES[*from], NAMES[*to], *at).unwrap();
    }
    comparing
}

/// What another system says, by the rules of an edge list.
#[derive(Debug, Default)]
struct Listed {
    accounts: BTreeSet<String>,
    follows: Follows,
    self_follow_count: u64,
    duplicate_count: u64,
}

impl Listed {
    fn new(list: &[Line]) -> Listed {
        let mut listed = Listed::default();
        for (from, to, at) in list {
            listed.accounts.extend([NAMES[*from].to_owned(), NAMES[*to].to_owned()]);
            if from == to {
                listed.self_follow_count += 1;
                continue;
            }
            let mut is_new = false;
            listed.follows.entry(pair(NAMES[*from], NAMES[*to])).or_insert_with(|| {
                is_new = true;
                at.unwrap_or(0)
            });
            listed.duplicate_count += u64::from(!is_new);
        }
        listed
    }

    /// What differs, as sets.
    fn differences(&self, model: &Model, times: bool, lonely: bool) -> BTreeSet<String> {
        let kept = follows_of_model(model);
        let mut all = BTreeSet::new();
        for ((from, to), at) in &kept {
            match self.follows.get(&pair(from, to)) {
                None => drop(all.insert(format!("extra|{from}|{to}|{at}"))),
                Some(listed) if times && *listed != 0 && listed != at => {
                    all.insert(format!("time|{from}|{to}|{at}|{listed}"));
                }
                Some(_) => {}
            }
        }
        let missing = self.follows.iter().filter(|(ends, _)| !kept.contains_key(*ends));
        all.extend(missing.map(|((from, to), at)| format!("missing|{from}|{to}|{at}")));
        let accounts: BTreeSet<String> =
            model.accounts().into_iter().map(|(_, name)| name).collect();
        let missing = self.accounts.difference(&accounts);
        all.extend(missing.map(|name| format!("missing|{name}")));
        for name in accounts.difference(&self.accounts) {
            let has_follows = model.counts(name).is_ok_and(|(a, b, _)| a + b > 0);
            if has_follows || lonely {
                all.insert(format!("extra|{name}"));
            }
        }
        all
    }
}

#[derive(Clone, Debug)]
enum Op {
    Follow(usize, usize, u32),
    Unfollow(usize, usize),
    Add(usize),
    AddForeign(usize),
    Remove(usize),
    Checkpoint,
}

fn op() -> impl Strategy<Value = Op> {
    let name = || 0..NAMES.len();
    prop_oneof![
        8 => (name(), name(), 1..5u32).prop_map(|(from, to, at)| Op::Follow(from, to, at)),
        2 => (name(), name()).prop_map(|(from, to)| Op::Unfollow(from, to)),
        1 => name().prop_map(Op::Add),
        1 => (0..FOREIGN.len()).prop_map(Op::AddForeign),
        1 => name().prop_map(Op::Remove),
        1 => Just(Op::Checkpoint),
    ]
}

fn run(graph: &FollowGraph, model: &mut Model, ops: &[Op]) {
    for op in ops {
        // Both refuse the same; that is the subject of another test.
        match op {
            Op::Follow(from, to, at) => {
                let _ = model.follow(NAMES[*from], NAMES[*to], *at);
                graph.apply(&[Mutation::follow(NAMES[*from], NAMES[*to]).at(*at)]).unwrap();
            }
            Op::Unfollow(from, to) => {
                let _ = model.unfollow(NAMES[*from], NAMES[*to]);
                let _ = graph.unfollow(NAMES[*from], NAMES[*to]);
            }
            Op::Add(name) => {
                let _ = (model.add_account(NAMES[*name]), graph.add_account(NAMES[*name]));
            }
            Op::AddForeign(name) => {
                let name = FOREIGN[*name];
                let _ = (model.add_foreign_account(name), graph.add_foreign_account(name));
            }
            Op::Remove(name) => {
                let _ = (model.remove_account(NAMES[*name]), graph.remove_account(NAMES[*name]));
            }
            Op::Checkpoint => drop(graph.checkpoint().unwrap()),
        }
    }
}

fn both(ops: &[Op]) -> (FollowGraph, Model) {
    let graph = options().in_memory().unwrap();
    let mut model = Model::default();
    model.creates_missing_accounts = true;
    run(&graph, &mut model, ops);
    assert_eq!(follows_of(&graph), follows_of_model(&model));
    (graph, model)
}

/// The follows of the graph with some left out, some with other times, and others put in: a list
/// that shares most of them, in another order.
fn perturbed(model: &Model, drops: &[usize], others: &[Line], seed: u64) -> Vec<Line> {
    let place = |name: &str| NAMES.iter().position(|other| *other == name).unwrap();
    let mut list: Vec<Line> = model
        .edges()
        .iter()
        .enumerate()
        .filter(|(number, _)| !drops.contains(number))
        .map(|(_, (from, to, at))| (place(from), place(to), Some(*at)))
        .collect();
    list.extend_from_slice(others);
    Random::seeded(seed).shuffle(&mut list);
    list
}

fn others() -> impl Strategy<Value = Vec<Line>> {
    vec((0..NAMES.len(), 0..NAMES.len(), prop::option::of(0..5u32)), 0..8)
}

proptest! {
    #[test]
    fn the_audit_is_what_the_model_counts(ops in vec(op(), 0..60)) {
        let (graph, model) = both(&ops);
        let audit = graph.audit();
        let counts = model.accounts().into_iter().filter_map(|(_, name)| model.counts(&name).ok());
        let sums = counts.fold((0, 0, 0), |sums, one| {
            (sums.0 + one.0 as u64, sums.1 + one.1 as u64, sums.2 + one.2 as u64)
        });
        prop_assert!(audit.directions_agree(), "{audit:?}");
        prop_assert_eq!((audit.followers_sum, audit.following_sum, audit.mutual_sum), sums);
        prop_assert_eq!(audit.account_count, model.accounts().len() as u64);
        prop_assert_eq!(audit.foreign_account_count, model.foreign_account_count() as u64);
        prop_assert_eq!(audit.follow_count, model.edges().len() as u64);
        prop_assert_eq!(audit.sequence, graph.stats().sequence);
        prop_assert_eq!(audit.following_fingerprint, graph.verify().unwrap().fingerprint);
    }

    #[test]
    fn the_content_is_the_same_whatever_the_key_the_ids_and_the_history(
        ops in vec(op(), 0..60),
        seed in 0..1000u64,
    ) {
        let (graph, model) = both(&ops);
        let other = options().in_memory().unwrap();
        let mut accounts = model.accounts();
        Random::seeded(seed).shuffle(&mut accounts);
        for (_, name) in &accounts {
            // An account that cannot be counted is a foreign one.
            let added = match model.counts(name) {
                Ok(_) => other.add_account(name),
                Err(_) => other.add_foreign_account(name),
            };
            prop_assert!(added.unwrap());
        }
        let mut edges = model.edges();
        Random::seeded(seed + 1).shuffle(&mut edges);
        for (from, to, _) in &edges {
            other.follow(from, to).unwrap();
        }
        let content = |found: &Verification| (found.content_fingerprint, found.account_fingerprint);
        let (one, two) = (graph.verify().unwrap(), other.verify().unwrap());
        prop_assert_eq!(content(&one), content(&two));
        if let Some((from, to, _)) = edges.first() {
            // That of the graph covers the follows between accounts of its own, under its own key.
            prop_assert!(one.fingerprint != two.fingerprint || one.fingerprint == 0);
            other.unfollow(from, to).unwrap();
            prop_assert_ne!(content(&one), content(&other.verify().unwrap()));
        }
    }

    #[test]
    fn the_differences_are_those_of_the_sets(
        ops in vec(op(), 0..60),
        drops in vec(0..40usize, 0..6),
        others in others(),
        flags in any::<[bool; 2]>(),
    ) {
        let (graph, model) = both(&ops);
        let list = perturbed(&model, &drops, &others, ops.len() as u64);
        let listed = Listed::new(&list);
        let [times, lonely] = flags;
        let comparing = begin(&graph, &list).times(times).lonely_accounts(lonely);
        let (found, told) = compare_told(comparing);
        let expected = listed.differences(&model, times, lonely);
        prop_assert_eq!(&told.iter().cloned().collect::<BTreeSet<_>>(), &expected);
        prop_assert_eq!(told.len(), expected.len());
        prop_assert_eq!(found.difference_count(), expected.len() as u64);
        prop_assert_eq!(found.is_equal(), expected.is_empty());
        prop_assert_eq!(found.duplicate_count, listed.duplicate_count);
        prop_assert_eq!(found.self_follow_count, listed.self_follow_count);
        prop_assert_eq!(found.listed_follow_count, listed.follows.len() as u64);
        prop_assert_eq!(found.listed_account_count, listed.accounts.len() as u64);
        prop_assert_eq!(found.account_count, model.accounts().len() as u64);
        prop_assert_eq!(found.follow_count, model.edges().len() as u64);
        prop_assert_eq!(found.sequence, graph.stats().sequence);
        let again = begin(&graph, &list).times(times).lonely_accounts(lonely);
        prop_assert_eq!(compare_told(again), (found, told), "the order is another");
        prop_assert_eq!(follows_of(&graph), follows_of_model(&model), "it was changed");
    }

    #[test]
    fn a_repair_makes_the_graph_equal_to_the_list(
        ops in vec(op(), 0..60),
        drops in vec(0..40usize, 0..6),
        others in others(),
        lonely in any::<bool>(),
    ) {
        let (graph, model) = both(&ops);
        let list = perturbed(&model, &drops, &others, 7);
        let listed = Listed::new(&list);
        let expected = listed.differences(&model, true, lonely);
        let comparing = begin(&graph, &list).times(true).lonely_accounts(lonely);
        if listed.follows.is_empty() {
            let refused = comparing.repair(unlimited(), &mut |_| ControlFlow::Continue(()));
            prop_assert_eq!(refused.unwrap_err().kind(), ErrorKind::RepairRefused);
            return Ok(());
        }
        let (repair, told) = repair_told(comparing, true);
        prop_assert_eq!(&told.keys().cloned().collect::<BTreeSet<_>>(), &expected);
        prop_assert!(repair.found.complete);
        // Two foreign accounts cannot follow each other here, and their own lists are elsewhere.
        let is_foreign = |name: &str| model.counts(name).is_err() && model.account_id(name).is_ok();
        for (difference, fate) in &told {
            // An account alone, or the two of a follow and its times.
            let mut ends = difference.split('|').skip(1).take(2);
            let fate_expected = if ends.all(is_foreign) { "ForeignAccount" } else { "Repaired" };
            prop_assert_eq!(fate, fate_expected, "{}", difference);
        }
        // The model is made anew from the list, with what is foreign in the graph.
        let mut wanted = Model::default();
        wanted.creates_missing_accounts = true;
        for name in FOREIGN.into_iter().filter(|name| is_foreign(name)) {
            wanted.add_foreign_account(name).unwrap();
        }
        let kept = follows_of_model(&model);
        for ((from, to), at) in &listed.follows {
            let at = if *at == 0 { kept.get(&pair(from, to)).copied().unwrap_or(0) } else { *at };
            let _ = wanted.follow(from, to, at);
        }
        prop_assert_eq!(follows_of(&graph), follows_of_model(&wanted));
        for name in &listed.accounts {
            let counts = graph.counts(name).map(|counts| {
                [counts.followers, counts.following, counts.mutual].map(|count| count as usize)
            });
            let expected = wanted.counts(name).map(|counts| [counts.0, counts.1, counts.2]);
            if expected.is_ok() {
                prop_assert_eq!(counts.ok(), expected.ok(), "{}", name);
            } else {
                prop_assert!(counts.is_ok_and(|counts| counts == [0; 3]) || is_foreign(name));
            }
        }
        graph.verify().unwrap();
        let (again, _) = compare_told(begin(&graph, &list).times(true).lonely_accounts(lonely));
        prop_assert_eq!(again.difference_count(), repair.refused_count);
    }
}

#[test]
fn directions_that_differ_do_not_agree() {
    let graph = options().in_memory().unwrap();
    graph.follow("alice", "bob").unwrap();
    let whole = graph.audit();
    assert!(whole.directions_agree() && Audit::default().directions_agree());
    let fingerprint = whole.following_fingerprint ^ 1;
    assert!(!Audit { following_fingerprint: fingerprint, ..whole }.directions_agree());
    assert!(!Audit { followers_sum: 2, ..whole }.directions_agree());
    assert!(!Audit { following_sum: 0, ..whole }.directions_agree());
    assert!(!Audit { follow_count: 2, ..whole }.directions_agree());
    graph.add_foreign_account("far").unwrap();
    graph.follow("far", "bob").unwrap();
    let with_foreign = graph.audit();
    assert!(with_foreign.directions_agree(), "{with_foreign:?}");
    assert!(!Audit { follow_count: 4, ..with_foreign }.directions_agree());
}

#[test]
fn a_backup_has_the_audit_of_the_graph() {
    let (graph, copy) = (options().in_memory().unwrap(), quick_dir());
    for number in 0..50 {
        graph.follow(&format!("u{number}"), &format!("u{}", number * 7 % 31 + 50)).unwrap();
    }
    let audit = graph.audit();
    graph.backup(copy.path().join("copy")).unwrap();
    let copy = FollowGraph::open(copy.path().join("copy")).unwrap();
    assert_eq!(copy.audit(), audit);
}

/// A graph on disk with some thousand accounts, of which some are removed, in an image and a log.
fn graph_on_disk(dir: &Path) -> FollowGraph {
    let graph = options().open(dir).unwrap();
    let mut load = graph.bulk_load(MEMORY_BYTES).unwrap();
    for number in 0..60_000u32 {
        let (from, to) = (number % 5000, number.wrapping_mul(2_654_435_761) % 5000);
        load.add(&format!("u{from}"), &format!("u{to}"), Some(number % 900)).unwrap();
    }
    load.finish(&mut |_, _| {}).unwrap();
    for number in 0..300 {
        graph.follow(&format!("u{number}"), &format!("new{}", number % 40)).unwrap();
        if number % 10 == 0 {
            graph.remove_account(&format!("u{}", 4000 + number)).unwrap();
        }
    }
    graph
}

#[test]
fn verify_says_how_far_it_is_and_stops_when_it_is_told_to() {
    let dir = quick_dir();
    let graph = graph_on_disk(dir.path());
    let (mut steps, mut last) = (0, VerifyProgress::default());
    let watched = graph.verify_with(&mut |progress| {
        assert!(progress.bytes_done >= last.bytes_done, "{progress:?} after {last:?}");
        assert!(progress.accounts_done >= last.accounts_done, "{progress:?} after {last:?}");
        assert!(progress.bytes_done <= progress.byte_count);
        assert!(progress.accounts_done <= progress.account_count);
        assert!(progress.accounts_done == 0 || progress.bytes_done == progress.byte_count);
        (steps, last) = (steps + 1, progress);
        ControlFlow::Continue(())
    });
    let verified = graph.verify().unwrap();
    assert_eq!(watched.unwrap().as_ref(), Some(&verified));
    assert!(steps > 5, "{steps}");
    assert!(last.byte_count > 100_000, "{last:?}");
    assert_eq!(last.bytes_done, last.byte_count);
    assert_eq!((last.accounts_done, last.account_count), (5040, 5040), "removed ones too");
    let files = bytes_of(dir.path());
    for stop_at in 1..=steps {
        let mut step = 0;
        let stopped = graph.verify_with(&mut |_| {
            step += 1;
            if step == stop_at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!(stopped.unwrap(), None, "stopped at {stop_at} of {steps}");
        assert_eq!(step, stop_at, "it went on after it was stopped");
    }
    assert!(bytes_of(dir.path()) == files, "it left a trace");
    assert_eq!(graph.verify().unwrap(), verified);
    graph.follow("u1", "u2").unwrap();
    assert!(graph.checkpoint().unwrap().written);
}

#[test]
fn a_comparison_sees_one_moment_whatever_happens_after_it() {
    let dir = quick_dir();
    let graph = options().open(dir.path()).unwrap();
    graph.follow("alice", "bob").unwrap();
    graph.follow("bob", "carol").unwrap();
    let sequence = graph.stats().sequence;
    let mut comparing = graph.compare(MEMORY_BYTES, std::env::temp_dir()).unwrap();
    comparing.add("alice", "bob", None).unwrap();
    for round in 0..3 {
        // The files of the moment are retired on the way.
        graph.follow("alice", &format!("later{round}")).unwrap();
        assert!(graph.checkpoint().unwrap().written);
    }
    graph.unfollow("alice", "bob").unwrap();
    graph.remove_account("carol").unwrap();
    comparing.add("bob", "carol", None).unwrap();
    comparing.add("dave", "later1", None).unwrap();
    let (found, told) = compare_told(comparing);
    assert_eq!(told, ["missing|dave", "missing|later1", "missing|dave|later1|0"]);
    assert_eq!(found.sequence, sequence);
    assert_eq!(graph.account_id("dave").unwrap_err().kind(), ErrorKind::UnknownAccount);
}

#[test]
fn a_comparison_stops_when_it_is_told_to() {
    let graph = options().in_memory().unwrap();
    for number in 0..20 {
        graph.follow("alice", &format!("u{number}")).unwrap();
    }
    let comparing = graph.compare(MEMORY_BYTES, std::env::temp_dir()).unwrap();
    let mut count = 0;
    let found = comparing.finish(&mut |_| {
        count += 1;
        if count == 5 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let found = found.unwrap();
    assert_eq!((count, found.extra_follow_count, found.complete), (5, 5, false));
    assert!(!found.is_equal() && !Comparison::default().is_equal());
}

#[test]
fn bad_names_and_missing_directories_are_errors_and_change_nothing() {
    let graph = options().in_memory().unwrap();
    graph.follow("alice", "bob").unwrap();
    let nowhere = graph.compare(MEMORY_BYTES, "/no/such/directory").map(drop).unwrap_err();
    assert_eq!(nowhere.kind(), ErrorKind::InvalidArgument);
    assert!(nowhere.to_string().contains("/no/such/directory"), "{nowhere}");
    let mut comparing = graph.compare(MEMORY_BYTES, std::env::temp_dir()).unwrap();
    for bad in ["", "a\u{7}", &"x".repeat(256)] {
        for (from, to) in [(bad, "bob"), ("alice", bad)] {
            let error = comparing.add(from, to, None).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidName);
        }
    }
    comparing.add("alice", "bob", None).unwrap();
    assert!(compare_told(comparing).0.is_equal());
}

/// Everything that can happen to a difference between the comparison and its repair.
const FATES: [(&str, &str); 24] = [
    ("extra|extra1", "ChangedSince"),
    ("extra|extra1|u0|100", "Repaired"),
    ("extra|extra2", "Repaired"),
    ("extra|extra2|u0|100", "Repaired"),
    ("extra|extra3", "SoAlready"),
    ("extra|extra3|u0|100", "SoAlready"),
    ("extra|gone1|u0|100", "SoAlready"),
    ("extra|u0|u1|100", "SoAlready"),
    ("extra|u0|u2|100", "ChangedSince"),
    ("extra|u0|u3|100", "Repaired"),
    ("extra|u1", "ChangedSince"),
    ("extra|u2", "ChangedSince"),
    ("extra|u3", "Repaired"),
    ("missing|new1", "SoAlready"),
    ("missing|new2", "Repaired"),
    ("missing|u0|gone1|60", "ChangedSince"),
    ("missing|u0|new1|60", "Repaired"),
    ("missing|u0|new2|60", "Repaired"),
    ("missing|u0|u10|60", "Repaired"),
    ("missing|u0|u9|60", "SoAlready"),
    ("time|u0|u4|100|50", "ChangedSince"),
    ("time|u0|u5|100|50", "ChangedSince"),
    ("time|u0|u6|100|50", "SoAlready"),
    ("time|u0|u7|100|50", "Repaired"),
];

/// What the list says: u1, u2 and u3 are left out and so are extra, u4 to u7 have other times, u8
/// is the same; u9, u10, gone1 and two new accounts are missing.
fn list_for_fates(graph: &FollowGraph) -> Comparing<'_> {
    let mut comparing = graph.compare(MEMORY_BYTES, std::env::temp_dir()).unwrap().times(true);
    for to in ["u4", "u5", "u6", "u7"] {
        comparing.add("u0", to, Some(50)).unwrap();
    }
    for to in ["u9", "u10", "gone1", "new1", "new2"] {
        comparing.add("u0", to, Some(60)).unwrap();
    }
    comparing.add("u0", "u8", Some(100)).unwrap();
    comparing.add("gone2", "u0", None).unwrap();
    comparing
}

/// What others do before the repair.
fn change_for_fates(graph: &FollowGraph) {
    for to in ["u1", "u2", "u4", "u5", "u6"] {
        graph.unfollow("u0", to).unwrap();
    }
    for to in ["u2", "u5", "u9"] {
        graph.follow("u0", to).unwrap();
    }
    graph.apply(&[Mutation::follow("u0", "u6").at(50)]).unwrap().remove(0).unwrap();
    graph.remove_account("gone1").unwrap();
    graph.add_account("gone1").unwrap();
    graph.add_account("new1").unwrap();
    graph.follow("u1", "extra1").unwrap();
    graph.remove_account("extra3").unwrap();
}

#[test]
fn what_somebody_changed_since_the_comparison_is_left_alone() {
    let clock = HandClock::at(100);
    let graph = options().create_missing_accounts(false).clock(clock.clock()).in_memory().unwrap();
    for number in 0..20 {
        graph.add_account(&format!("u{number}")).unwrap();
    }
    for name in ["gone1", "gone2", "extra1", "extra2", "extra3"] {
        graph.add_account(name).unwrap();
        graph.follow(name, "u0").unwrap();
    }
    for to in ["u1", "u2", "u3", "u4", "u5", "u6", "u7", "u8"] {
        graph.follow("u0", to).unwrap();
    }
    let comparing = list_for_fates(&graph);
    clock.set(200);
    change_for_fates(&graph);
    let (repair, told) = repair_told(comparing, true);
    let told: Vec<(&str, &str)> =
        told.iter().map(|(difference, fate)| (difference.as_str(), fate.as_str())).collect();
    assert_eq!(told, FATES);
    assert_eq!((repair.repaired_count, repair.so_already_count), (10, 7));
    assert_eq!((repair.changed_since_count, repair.refused_count, repair.kept_count), (7, 0, 0));
    assert_eq!(repair.found.lonely_account_count, 9, "u11 to u19 are not in any list");
    let following = walk(100, |page| graph.following("u0", page)).unwrap();
    let following: BTreeSet<(&str, u32)> =
        following.iter().map(|(to, at)| (to.as_str(), *at)).collect();
    let listed = [("new1", 60), ("new2", 60), ("u10", 60), ("u6", 50), ("u7", 50), ("u8", 100)];
    let since = [("u2", 200), ("u5", 200), ("u9", 200)];
    assert_eq!(following, listed.into_iter().chain(since).collect());
    assert_eq!(graph.counts("extra1").unwrap().followers, 1);
    graph.verify().unwrap();
}

#[test]
fn accounts_are_kept_unless_they_are_to_go_and_limits_do_not_apply() {
    let graph = options().max_following(1).max_followers(1).in_memory().unwrap();
    graph.follow("alice", "bob").unwrap();
    let mut comparing = graph.compare(MEMORY_BYTES, std::env::temp_dir()).unwrap();
    comparing.add("carol", "alice", None).unwrap();
    comparing.add("carol", "dave", None).unwrap();
    let (repair, told) = repair_told(comparing, false);
    assert_eq!(told["extra|bob"], "Kept");
    assert_eq!((repair.kept_count, repair.repaired_count), (1, 5));
    assert_eq!(graph.counts("carol").unwrap().following, 2);
    assert_eq!(graph.follow("carol", "bob").unwrap_err().kind(), ErrorKind::FollowingLimit);
}

/// What the other side says of many accounts, so that a repair takes many commits.
fn many(number: u32) -> (String, String) {
    let mixed = number.wrapping_mul(2_654_435_761);
    (format!("u{}", number % 700), format!("u{}", 700 + mixed % 900))
}

#[test]
fn a_repair_leaves_what_others_write_meanwhile() {
    let dir = quick_dir();
    let graph = options().open(dir.path()).unwrap();
    let base: BTreeSet<_> = (0..9000).map(many).collect();
    let list: BTreeSet<_> = (5000..14_000).map(many).collect();
    let follows: Vec<_> = base.iter().map(|(from, to)| Mutation::follow(from, to).at(5)).collect();
    follows.chunks(500).for_each(|batch| drop(graph.apply(batch).unwrap()));
    // Follows that both sides have, and that somebody undoes during the repair.
    let undone: Vec<_> = base.intersection(&list).step_by(7).cloned().collect();
    let stop = AtomicBool::new(false);
    let mut comparing = graph.compare(MEMORY_BYTES, dir.path()).unwrap();
    for (from, to) in &list {
        comparing.add(from, to, Some(9)).unwrap();
    }
    let made = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut undone = undone.iter();
            let mut made = BTreeSet::new();
            for number in 0.. {
                if let Some((from, to)) = undone.next() {
                    graph.unfollow(from, to).unwrap();
                } else if stop.load(Ordering::Acquire) {
                    break;
                }
                let (from, to) = (format!("w{}", number % 50), format!("u{}", number % 600));
                graph.follow(&from, &to).unwrap();
                made.insert((from, to));
            }
            made
        });
        let checkpoints = scope.spawn(|| {
            while !stop.load(Ordering::Acquire) {
                graph.checkpoint().unwrap();
            }
        });
        let repair = comparing.repair(unlimited(), &mut |_| ControlFlow::Continue(())).unwrap();
        stop.store(true, Ordering::Release);
        checkpoints.join().unwrap();
        let differences = base.symmetric_difference(&list).count() as u64;
        assert_eq!(
            repair.found.missing_follow_count + repair.found.extra_follow_count,
            differences
        );
        assert!(differences > 5 * 1024, "{differences} are few commits");
        assert_eq!(repair.changed_since_count + repair.refused_count, 0);
        writer.join().unwrap()
    });
    let undone: BTreeSet<_> = undone.into_iter().collect();
    let expected: BTreeSet<_> = list.difference(&undone).chain(&made).cloned().collect();
    assert_eq!(follows_of(&graph).into_keys().collect::<BTreeSet<_>>(), expected);
    graph.verify().unwrap();
    drop(graph);
    let graph = options().open(dir.path()).unwrap();
    assert_eq!(graph.verify().unwrap().follow_count, expected.len() as u64);
}

#[test]
fn a_repair_that_was_stopped_is_finished_by_the_next() {
    let graph = options().in_memory().unwrap();
    let list: BTreeSet<_> = (0..6000).map(many).collect();
    let begin = || {
        let mut comparing = graph.compare(MEMORY_BYTES, std::env::temp_dir()).unwrap();
        for (from, to) in &list {
            comparing.add(from, to, None).unwrap();
        }
        comparing
    };
    let mut count = 0;
    let stopped = begin().repair(unlimited(), &mut |_| {
        count += 1;
        if count < 3000 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    let stopped = stopped.unwrap();
    assert!(!stopped.found.complete);
    let done = graph.stats().account_count + graph.stats().follow_count;
    assert_eq!(stopped.repaired_count, done, "what was told is what is there");
    assert!(done >= 3000 && done < list.len() as u64, "{done}");
    let rest = begin().repair(unlimited(), &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(rest.found.difference_count(), rest.repaired_count);
    assert_eq!(rest.repaired_count + done, graph.stats().account_count + list.len() as u64);
    assert!(compare_told(begin()).0.is_equal());
}

/// Files without a name that this process has open in a directory.
fn nameless_files(dir: &Path) -> usize {
    let links = std::fs::read_dir("/proc/self/fd").unwrap();
    let links = links.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
    let ours = |link: &std::path::PathBuf| {
        link.starts_with(dir) && link.to_string_lossy().ends_with("(deleted)")
    };
    links.filter(ours).collect::<BTreeSet<_>>().len()
}

#[test]
fn what_does_not_fit_goes_to_a_file_without_a_name_in_the_place_that_was_chosen() {
    let place = quick_dir();
    let graph = options().in_memory().unwrap();
    let mut comparing = graph.compare(MEMORY_BYTES, place.path()).unwrap();
    let mut expected = BTreeSet::new();
    for number in 0..200_000u32 {
        let (from, to) = (number.wrapping_mul(2_654_435_761) >> 20, number % 997);
        comparing.add(&format!("f{from}"), &format!("t{to}"), Some(number + 1)).unwrap();
        expected.insert((from, to));
    }
    assert_eq!(nameless_files(place.path()), 1, "all of it was kept in memory");
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0, "it has a name");
    let found = comparing.finish(&mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(found.missing_follow_count, expected.len() as u64);
    assert_eq!(found.duplicate_count, 200_000 - expected.len() as u64);
    assert_eq!(nameless_files(place.path()), 0, "its room is not given back");
    assert_eq!(graph.accounts(None, 1), [], "the graph was changed");
    assert!(graph.followers("t1", Page::first(1)).is_err());
}
