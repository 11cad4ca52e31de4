//! Salvage from damaged files: it ends, invents nothing, loses nothing of which an intact copy is
//! left, and says when it has all.

use crate::recovery::options;
use crate::support::{HandClock, Random, bytes_of, files_of, lay_out, long_form, quick_dir, walk};
use followgraph::{Error, ErrorKind, FollowGraph, Mutation, SalvageReport};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;

type Files = BTreeMap<PathBuf, Vec<u8>>;
type Follow = (String, String, u32);

/// All a graph holds. A follow to or from a foreign account is told by its one local end.
#[derive(Clone, Debug, Default, PartialEq)]
struct Contents {
    accounts: BTreeSet<(u32, String)>,
    foreign: BTreeSet<String>,
    follows: BTreeSet<Follow>,
}

impl Contents {
    fn of(graph: &FollowGraph) -> Contents {
        let mut contents = Contents::default();
        for (id, name) in graph.accounts(None, usize::MAX) {
            contents.accounts.insert((id.0, name.clone()));
            let counts = graph.counts(&name).map_err(|error| error.kind());
            if counts == Err(ErrorKind::ForeignAccount) {
                contents.foreign.insert(name);
                continue;
            }
            let following = walk(100, |page| graph.following(&name, page)).unwrap();
            let followers = walk(100, |page| graph.followers(&name, page)).unwrap();
            let to = following.into_iter().map(|(to, at)| (name.clone(), to, at));
            let from = followers.into_iter().map(|(from, at)| (from, name.clone(), at));
            contents.follows.extend(to.chain(from));
        }
        contents
    }

    fn pairs(&self) -> BTreeSet<(&str, &str)> {
        self.follows.iter().map(|(from, to, _)| (from.as_str(), to.as_str())).collect()
    }

    fn is_foreign(&self, pair: &(&str, &str)) -> bool {
        self.foreign.contains(pair.0) || self.foreign.contains(pair.1)
    }
}

const PLAIN: [&str; 9] = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];

/// A graph in a single image, with a log behind it and nothing before it, so that what an image
/// has lost is nowhere else.
fn lone_image(dir: &Path) -> (Files, Contents) {
    let clock = HandClock::at(1000);
    let made = dir.join("made");
    let graph = options().clock(clock.clock()).open(&made).unwrap();
    let long = "l".repeat(60);
    graph.add_account(&long).unwrap();
    graph.add_account("gone").unwrap();
    graph.add_foreign_account("elsewhere").unwrap();
    let mut random = Random::seeded(3);
    for _ in 0..60 {
        let (from, to) = (PLAIN[random.below(9)], PLAIN[random.below(9)]);
        clock.advance(random.below(3) as u32);
        let _ = graph.follow(from, to);
    }
    for (from, to) in [("a", "elsewhere"), ("elsewhere", "b"), (&long, "a"), ("b", &long)] {
        graph.follow(from, to).unwrap();
    }
    graph.follow("gone", "a").unwrap();
    graph.remove_account("gone").unwrap();
    let copied = dir.join("copied");
    graph.backup(&copied).unwrap();
    drop(graph);
    let graph = options().clock(clock.clock()).open(&copied).unwrap();
    clock.advance(5);
    graph.follow("late", "a").unwrap();
    graph.apply(&[Mutation::follow("a", "late"), Mutation::follow("late", &long)]).unwrap();
    let contents = Contents::of(&graph);
    drop(graph);
    (bytes_of(&copied), contents)
}

/// Two generations and a log; the contents after every sequence number.
fn two_generations(dir: &Path) -> (Files, BTreeMap<u64, Contents>) {
    let clock = HandClock::at(1000);
    let graph = options().clock(clock.clock()).open(dir).unwrap();
    let mut random = Random::seeded(11);
    let mut states = BTreeMap::from([(0, Contents::of(&graph))]);
    for step in 0..36 {
        let (from, to) = (PLAIN[random.below(9)], PLAIN[random.below(9)]);
        clock.advance(1);
        if random.one_in(5) {
            let _ = graph.unfollow(from, to);
        } else {
            let _ = graph.follow(from, to);
        }
        if [8, 18, 28].contains(&step) {
            graph.checkpoint().unwrap();
        }
        states.insert(graph.stats().sequence, Contents::of(&graph));
    }
    let (last, contents) = (graph.stats().sequence, Contents::of(&graph));
    drop(graph);
    // The frame of an orderly close changes nothing.
    states.insert(last + 1, contents);
    (bytes_of(dir), states)
}

/// Lays the files out, salvages, and holds the source to not having changed. `Err` where salvage
/// says that nothing can be saved.
fn salvaged(dir: &Path, files: &Files, what: &str) -> Result<(SalvageReport, Contents), Error> {
    let (source, destination) = (dir.join("source"), dir.join("destination"));
    lay_out(&source, files);
    let _ = std::fs::remove_dir_all(&destination);
    let outcome = catch_unwind(AssertUnwindSafe(|| followgraph::salvage(&source, &destination)));
    let outcome = outcome.unwrap_or_else(|_| panic!("{what}: panicked"));
    assert!(bytes_of(&source) == *files, "{what}: the source was changed");
    let report = outcome?;
    let graph = options().open(&destination).unwrap_or_else(|error| panic!("{what}: {error}"));
    graph.verify().unwrap_or_else(|error| panic!("{what}: {error}"));
    let contents = Contents::of(&graph);
    let counts = (contents.accounts.len() as u64, contents.follows.len() as u64);
    assert_eq!((report.account_count, report.follow_count), counts, "{what}");
    Ok((report, contents))
}

/// Everything of `found` was in `right`, and all of it is there where the report says so.
fn check_invents_nothing(report: &SalvageReport, found: &Contents, right: &Contents, what: &str) {
    assert!(found.accounts.is_subset(&right.accounts), "{what}: {:?}", found.accounts);
    let (pairs, right_pairs) = (found.pairs(), right.pairs());
    for pair in pairs.difference(&right_pairs) {
        let is_counted = right.is_foreign(pair) && report.unconfirmed_follow_count > 0;
        assert!(is_counted, "{what}: invented {pair:?}, {report:?}");
    }
    if report.complete {
        assert_eq!(found, right, "{what}: said to be complete, {report:?}");
    }
}

/// The sections of an image: name, where it begins, where it ends.
fn sections(image: &[u8]) -> [(&'static str, usize, usize); 4] {
    let read = |at: usize| u64::from_le_bytes(image[at..at + 8].try_into().unwrap()) as usize;
    let mut number = 0;
    ["records", "index", "names", "sets"].map(|name| {
        let at = 128 + 24 * number;
        number += 1;
        (name, read(at), read(at) + read(at + 8))
    })
}

#[test]
fn a_whole_graph_is_salvaged_whole() {
    let dir = quick_dir();
    let (files, right) = lone_image(dir.path());
    let (report, found) = salvaged(dir.path(), &files, "nothing damaged").unwrap();
    assert!(report.complete && report.damaged.is_empty(), "{report:?}");
    assert_eq!(found, right);
}

#[test]
fn a_flipped_bit_in_a_lone_image_loses_nothing_that_stands_elsewhere() {
    let dir = quick_dir();
    let (files, right) = lone_image(dir.path());
    let image = files_of(&dir.path().join("copied"), "fgi").pop().unwrap();
    let sections = sections(&files[&image]);
    let mut seen = BTreeSet::new();
    let mut random = Random::seeded(5);
    for (section, start, end) in sections {
        for place in start..end {
            let bits = if long_form() { (0..8).collect() } else { vec![random.below(8)] };
            let is_looked_at = long_form() || section == "sets" || place % 5 == 0;
            for bit in bits.into_iter().filter(|_| is_looked_at) {
                let mut files = files.clone();
                files.get_mut(&image).unwrap()[place] ^= 1 << bit;
                let what = format!("bit {bit} of byte {place} in {section}");
                let (report, found) = salvaged(dir.path(), &files, &what).unwrap();
                check_invents_nothing(&report, &found, &right, &what);
                check_keeps(&report, &found, &right, section, &what);
                seen.insert((section, report.complete));
            }
        }
    }
    for expected in [("records", false), ("index", true), ("names", false), ("sets", false)] {
        assert!(seen.contains(&expected), "{expected:?} of {seen:?}");
    }
}

/// One bit of the first record, given as its place in the record, flipped.
fn salvaged_with_first_record_changed(
    offset: usize,
    bit: u8,
) -> (SalvageReport, Contents, Contents) {
    let dir = quick_dir();
    let (mut files, right) = lone_image(dir.path());
    let image = files_of(&dir.path().join("copied"), "fgi").pop().unwrap();
    let (_, first_record, _) = sections(&files[&image])[0];
    files.get_mut(&image).unwrap()[first_record + offset] ^= 1 << bit;
    let (report, found) = salvaged(dir.path(), &files, "a bit of the first record").unwrap();
    (report, found, right)
}

#[test]
fn where_two_lists_contradict_each_other_as_often_the_fingerprint_decides() {
    // The lowest byte of the place of the lists: they are read from two bytes further on.
    let (report, found, right) = salvaged_with_first_record_changed(12, 1);
    assert_eq!(found, right);
    let affected: Vec<u32> = report.accounts.iter().map(|account| account.id.0).collect();
    assert_eq!(affected, [0]);
}

#[test]
fn a_flipped_flag_does_not_let_an_account_go() {
    let (report, found, right) = salvaged_with_first_record_changed(18, 2);
    assert_eq!(found, right);
    assert!(report.accounts.is_empty(), "{report:?}");
}

#[test]
fn a_flipped_bit_between_the_sections_or_in_the_checksums_of_blocks_loses_nothing() {
    let dir = quick_dir();
    let (files, right) = lone_image(dir.path());
    let image = files_of(&dir.path().join("copied"), "fgi").pop().unwrap();
    let bytes = &files[&image];
    let ends = sections(bytes).map(|(_, _, end)| end);
    let padding = ends.into_iter().filter(|end| !end.is_multiple_of(4096));
    let table = ends[3].next_multiple_of(4096);
    let in_table = [table, table + 5, table + 4000, bytes.len() - 1];
    for place in padding.chain(in_table) {
        let mut files = files.clone();
        files.get_mut(&image).unwrap()[place] ^= 1;
        let what = format!("byte {place} of {}", bytes.len());
        let (report, found) = salvaged(dir.path(), &files, &what).unwrap();
        assert_eq!(found, right, "{what}");
        assert!(report.complete, "{what}: {report:?}");
        let block = (place / 4096 * 4096) as u64;
        let is_named = report.damaged.iter().any(|range| range.offset_bytes == block);
        assert!(is_named, "{what}: {report:?}");
    }
}

/// What one flipped bit in a section must leave.
fn check_keeps(
    report: &SalvageReport,
    found: &Contents,
    right: &Contents,
    section: &str,
    what: &str,
) {
    let lost: BTreeSet<_> = right.accounts.difference(&found.accounts).collect();
    match section {
        "index" => assert!(report.complete, "{what}: {report:?}"),
        "sets" => assert!(lost.is_empty(), "{what}: lost {lost:?}"),
        _ => assert!(lost.len() <= 1, "{what}: lost {lost:?}"),
    }
    let is_lost = |name: &str| lost.iter().any(|(_, lost)| lost == name);
    let found_pairs = found.pairs();
    for pair in right.pairs().difference(&found_pairs) {
        let is_excused = is_lost(pair.0) || is_lost(pair.1) || right.is_foreign(pair);
        assert!(is_excused, "{what}: {pair:?} is lost, {report:?}");
    }
    assert!(!report.damaged.is_empty(), "{what}: nothing is reported");
}

#[test]
fn a_damaged_image_is_made_again_from_the_one_before_it() {
    let dir = quick_dir();
    let (files, states) = two_generations(&dir.path().join("made"));
    let right = states.values().last().unwrap();
    let images = files_of(&dir.path().join("made"), "fgi");
    let newest = images.last().unwrap();
    let step = if long_form() { 1 } else { 53 };
    for place in (0..files[newest].len()).step_by(step) {
        let mut files = files.clone();
        files.get_mut(newest).unwrap()[place] ^= 1 << (place % 8);
        let what = format!("byte {place} of the newest image");
        let (report, found) = salvaged(dir.path(), &files, &what).unwrap();
        assert!(report.complete, "{what}: {report:?}");
        assert_eq!(&found, right, "{what}");
    }
}

#[test]
fn a_damaged_log_is_salvaged_up_to_the_damage() {
    let dir = quick_dir();
    let (files, states) = two_generations(&dir.path().join("made"));
    let segments = files_of(&dir.path().join("made"), "fgl");
    let mut complete = BTreeSet::new();
    for segment in &segments {
        let used = files[segment].iter().rposition(|&byte| byte != 0).unwrap() + 1;
        let step = if long_form() { 1 } else { 3 };
        for place in (0..used).step_by(step) {
            let mut files = files.clone();
            files.get_mut(segment).unwrap()[place] ^= 1 << (place % 8);
            let what = format!("byte {place} of {}", segment.display());
            let (report, found) = salvaged(dir.path(), &files, &what).unwrap();
            assert_eq!(found, states[&report.sequence], "{what}: {report:?}");
            let is_all = report.sequence == *states.keys().last().unwrap();
            assert!(is_all || !report.complete, "{what}: {report:?}");
            complete.insert(report.complete);
        }
    }
    assert_eq!(complete, BTreeSet::from([false, true]));
}

#[test]
fn shortened_and_missing_files_are_salvaged_as_far_as_they_go() {
    let dir = quick_dir();
    let (files, states) = two_generations(&dir.path().join("made"));
    let owned = |contents: &Contents| -> BTreeSet<(String, String)> {
        let pairs = contents.pairs().into_iter();
        pairs.map(|(from, to)| (from.to_owned(), to.to_owned())).collect()
    };
    let pairs: BTreeSet<_> = states.values().flat_map(owned).collect();
    let last = *states.keys().last().unwrap();
    for (name, bytes) in files.iter().filter(|(name, _)| name.extension().is_some()) {
        let used = bytes.iter().rposition(|&byte| byte != 0).unwrap() + 1;
        let step = if long_form() { 1 } else { used / 60 + 1 };
        for length in (0..used).step_by(step).map(Some).chain([None]) {
            let mut files = files.clone();
            match length {
                Some(length) => files.get_mut(name).unwrap().truncate(length),
                None => drop(files.remove(name)),
            }
            let what = format!("{} cut to {length:?}", name.display());
            let (report, found) = match salvaged(dir.path(), &files, &what) {
                Ok(saved) => saved,
                Err(error) => panic!("{what}: {error}"),
            };
            assert!(owned(&found).is_subset(&pairs), "{what}: {report:?}");
            if report.complete {
                assert_eq!(found, states[&report.sequence], "{what}");
                // A log that ends clean at a frame is not told from one that was no longer.
                let is_told =
                    length.is_none() || name.extension().is_some_and(|kind| kind == "fgi");
                assert!(!is_told || report.sequence == last, "{what}: {report:?}");
            }
        }
    }
}

#[test]
fn files_of_another_graph_are_left_out() {
    let dir = quick_dir();
    let (files, states) = two_generations(&dir.path().join("made"));
    let (others, _) = two_generations(&dir.path().join("other"));
    let right = states.values().last().unwrap();
    let image = files_of(&dir.path().join("made"), "fgi").pop().unwrap();
    let mut mixed = files.clone();
    mixed.insert(image.clone(), others[&image].clone());
    let (report, found) = salvaged(dir.path(), &mixed, "an image of another graph").unwrap();
    assert_eq!(&found, right);
    assert!(report.damaged.iter().any(|range| range.file.ends_with(&image)), "{report:?}");

    for segment in files_of(&dir.path().join("made"), "fgl") {
        let mut mixed = files.clone();
        mixed.insert(segment.clone(), others[&segment].clone());
        let what = format!("{} of another graph", segment.display());
        let (report, found) = salvaged(dir.path(), &mixed, &what).unwrap();
        assert_eq!(found, states[&report.sequence], "{what}");
        assert!(report.damaged.iter().any(|range| range.file.ends_with(&segment)), "{what}");
    }
}

#[test]
fn what_cannot_be_salvaged_is_an_error_and_leaves_the_destination_alone() {
    let dir = quick_dir();
    let (files, _) = lone_image(dir.path());
    let image = files_of(&dir.path().join("copied"), "fgi").pop().unwrap();
    let mut headless = files.clone();
    headless.get_mut(&image).unwrap()[100] ^= 1;
    let error = salvaged(dir.path(), &headless, "no header").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");

    let nothing = salvaged(dir.path(), &Files::new(), "no files").unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::NotAGraph);
    assert!(!dir.path().join("destination").exists());

    let (source, destination) = (dir.path().join("copied"), dir.path().join("taken"));
    std::fs::create_dir(&destination).unwrap();
    std::fs::write(destination.join("notes.txt"), "mine").unwrap();
    let refused = followgraph::salvage(&source, &destination).unwrap_err();
    assert!([ErrorKind::InvalidArgument, ErrorKind::NotAGraph].contains(&refused.kind()));
    assert_eq!(bytes_of(&destination).len(), 1);

    let open = options().open(&source).unwrap();
    let refused = followgraph::salvage(&source, dir.path().join("free")).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InUse);
    drop(open);
}

#[test]
fn the_command_says_what_was_lost_and_its_exit_code_whether_something_was() {
    let dir = quick_dir();
    let (mut files, _) = lone_image(dir.path());
    let image = files_of(&dir.path().join("copied"), "fgi").pop().unwrap();
    let (_, start, _) = sections(&files[&image])[3];
    let run = |files: &Files, name: &str, json: bool| {
        let (source, destination) = (dir.path().join("source"), dir.path().join(name));
        lay_out(&source, files);
        let mut command = Command::new(env!("CARGO_BIN_EXE_followgraph"));
        command.arg("salvage").args([&source, &destination]).args(json.then_some("--json"));
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, text) = run(&files, "whole", false);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("nothing was lost"), "{text}");

    files.get_mut(&image).unwrap()[start + 20] ^= 1;
    let (code, text) = run(&files, "text", false);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("damaged: ") && text.contains("sets section"), "{text}");
    let (code, text) = run(&files, "json", true);
    assert_eq!(code, Some(1), "{text}");
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["complete"], false, "{text}");
    assert_eq!(report["damaged"][0]["offset_bytes"], start, "{text}");

    let (code, _) = run(&Files::new(), "nothing", false);
    assert_eq!(code, Some(3), "there is nothing to salvage");
}

#[test]
fn nothing_beyond_a_gap_in_the_log_is_taken() {
    let dir = quick_dir();
    let (mut files, states) = two_generations(&dir.path().join("made"));
    let log = files_of(&dir.path().join("made"), "fgl").pop().unwrap();
    let bytes = files.get_mut(&log).unwrap();
    let payload = u32::from_le_bytes(bytes[64..68].try_into().unwrap()) as usize;
    let first_sequence = u64::from_le_bytes(bytes[72..80].try_into().unwrap());
    bytes.drain(64..64 + (32 + payload).next_multiple_of(8));
    let (report, found) = salvaged(dir.path(), &files, "the first frame is gone").unwrap();
    assert_eq!(report.sequence, first_sequence - 1, "{report:?}");
    assert_eq!(report.last_sequence, *states.keys().last().unwrap(), "{report:?}");
    assert!(!report.complete, "{report:?}");
    assert_eq!(found, states[&report.sequence]);
}
