//! Files that were damaged, shortened, mixed up or taken away, each in every place: opened with
//! `verify_image`, a graph answers right or not at all, but for what no evidence is left of, and
//! that is listed here.

use crate::damage::answers_as_text as answers;
use crate::recovery::{Logged, NAMES, imaged, options};
use crate::support::{Random, bytes_of, files_of, lay_out, long_form, quick_dir};
use followgraph::{Durability, Error, ErrorKind, FollowGraph};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

type Files = BTreeMap<PathBuf, Vec<u8>>;

fn checked(dir: &Path) -> Result<FollowGraph, Error> {
    options().durability(Durability::Never).verify_image(true).open(dir)
}

/// What a directory of damaged files was found to be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    /// Refused, with a file of the graph named.
    Refused,
    /// All answers are right.
    Right,
    /// It answered, and not as it did before.
    Other,
}

/// Opens the files and asks everything. Panics, and errors of the wrong kind or without a file, are
/// failures of the test.
fn judge(dir: &Path, files: &Files, right: &str, what: &str) -> Verdict {
    lay_out(dir, files);
    let judged = catch_unwind(AssertUnwindSafe(|| match checked(dir) {
        Ok(graph) if answers(&graph) == right => Verdict::Right,
        Ok(_) => Verdict::Other,
        Err(error) => {
            let kinds = [ErrorKind::Corrupt, ErrorKind::UnsupportedVersion, ErrorKind::NotAGraph];
            assert!(kinds.contains(&error.kind()), "{what}: {error}");
            let named = error.path().unwrap_or_else(|| panic!("{what} names no file: {error}"));
            assert!(named.starts_with(dir), "{what}: {error}");
            Verdict::Refused
        }
    }));
    let verdict = judged.unwrap_or_else(|_| panic!("{what}: panicked"));
    if verdict == Verdict::Refused {
        assert!(bytes_of_graph(dir) == *files, "{what}: refused, and the files were changed");
    }
    verdict
}

fn bytes_of_graph(dir: &Path) -> Files {
    let mut files = bytes_of(dir);
    files.remove(Path::new("lock"));
    files
}

/// A closed graph with two generations, without its lock file, and all its answers.
fn closed(dir: &Path) -> (Files, String) {
    let made = dir.join("made");
    imaged(&made);
    let files = bytes_of_graph(&made);
    let right = answers(&options().open(&made).unwrap());
    (files, right)
}

/// The places of a file to flip: all of them in the long form, else those that hold something, and
/// some zeros.
fn places(bytes: &[u8]) -> Vec<(usize, usize)> {
    let mut random = Random::seeded(bytes.len() as u64);
    let mut places = Vec::new();
    for (place, &byte) in bytes.iter().enumerate() {
        if long_form() {
            places.extend((0..8).map(|bit| (place, bit)));
        } else if byte != 0 && random.one_in(2) || place.is_multiple_of(97) {
            places.push((place, random.below(8)));
        }
    }
    places
}

/// Which file of a generation a name is, the newest first.
fn newest(dir: &Path, extension: &str) -> PathBuf {
    files_of(dir, extension).pop().unwrap()
}

#[test]
fn with_a_checked_image_no_flipped_bit_of_a_closed_graph_gives_a_wrong_answer() {
    let dir = quick_dir();
    let (files, right) = closed(dir.path());
    let made = dir.path().join("made");
    let (image, log) = (newest(&made, "fgi"), newest(&made, "fgl"));
    let scratch = dir.path().join("scratch");
    for (name, bytes) in &files {
        let mut refused_count = 0;
        for (place, bit) in places(bytes) {
            let mut files = files.clone();
            files.get_mut(name).unwrap()[place] ^= 1 << bit;
            let what = format!("bit {bit} of byte {place} of {}", name.display());
            let verdict = judge(&scratch, &files, &right, &what);
            assert_ne!(verdict, Verdict::Other, "{what}");
            // All of the image is covered, and of the log all but the padding and the last frame.
            assert!(*name != image || verdict == Verdict::Refused, "{what}");
            refused_count += usize::from(verdict == Verdict::Refused);
        }
        let is_read = *name == image || *name == log;
        assert_eq!(refused_count > 0, is_read, "{}", name.display());
    }
}

/// The frames of a segment: where each begins, and where its payload ends.
fn frames(segment: &[u8]) -> Vec<(usize, usize)> {
    let mut frames = Vec::new();
    let mut start = 64;
    while let Some(length) = segment.get(start..start + 4) {
        let length = u32::from_le_bytes(length.try_into().unwrap()) as usize;
        if length == 0 {
            break;
        }
        frames.push((start, start + 32 + length));
        start = (start + 32 + length).next_multiple_of(8);
    }
    frames
}

/// The first and the second entry of "What evidence cannot show" in docs/recovery.md.
#[test]
fn of_a_killed_graph_the_last_frame_alone_can_be_lost_without_an_error() {
    let dir = quick_dir();
    let logged = Logged::killed(Durability::Always, 8);
    let whole = logged.with(logged.bytes().to_vec());
    let files: Files = whole.into_iter().filter(|(name, _)| name != Path::new("lock")).collect();
    lay_out(dir.path(), &files);
    let right = answers(&checked(dir.path()).unwrap());
    let frames = frames(logged.bytes());
    let (last_start, last_end) = *frames.last().unwrap();
    let used = last_end.next_multiple_of(8);
    let mut silent = BTreeSet::new();
    for place in 0..used + 64 {
        let mut files = files.clone();
        files.get_mut(&logged.segment).unwrap()[place] ^= 1 << (place % 8);
        let what = format!("byte {place}");
        if judge(dir.path(), &files, &right, &what) == Verdict::Other {
            silent.insert(place);
        }
    }
    assert_eq!(silent, (last_start..last_end).collect(), "of {used} bytes");

    let mut shorter = BTreeSet::new();
    for length in 0..used {
        let bytes = logged.bytes()[..length].to_vec();
        let mut files = files.clone();
        files.insert(logged.segment.clone(), bytes);
        if judge(dir.path(), &files, &right, &format!("cut to {length}")) == Verdict::Other {
            shorter.insert(length);
        }
    }
    // From a place in the last frame on there is no witness; before it, only a clean cut has none,
    // where the frame before was synced and nothing behind the cut is left to say so.
    let behind = |cut: &usize| frames.iter().filter(|(_, end)| end <= cut).count();
    let cut_in_header: Vec<_> = shorter.iter().filter(|&&cut| cut < 64).collect();
    assert!(cut_in_header.is_empty(), "{cut_in_header:?}");
    for cut in &shorter {
        lay_out(dir.path(), &{
            let mut files = files.clone();
            files.insert(logged.segment.clone(), logged.bytes()[..*cut].to_vec());
            files
        });
        let graph = checked(dir.path()).unwrap();
        let state = logged.state_of(behind(cut));
        assert_eq!(graph.stats().follow_count, state.edges().len() as u64, "cut to {cut}");
    }
}

#[test]
fn a_file_shortened_anywhere_is_refused_or_the_log_is_shorter_and_a_prefix() {
    let dir = quick_dir();
    let (files, right) = closed(dir.path());
    let made = dir.path().join("made");
    let (image, log) = (newest(&made, "fgi"), newest(&made, "fgl"));
    let scratch = dir.path().join("scratch");
    for (name, bytes) in &files {
        let step = if long_form() || *name == log { 1 } else { bytes.len() / 150 + 1 };
        for length in (0..bytes.len()).step_by(step) {
            let mut files = files.clone();
            files.get_mut(name).unwrap().truncate(length);
            let what = format!("{} cut to {length}", name.display());
            let verdict = judge(&scratch, &files, &right, &what);
            if *name == image {
                assert_eq!(verdict, Verdict::Refused, "{what}");
            } else if *name != log {
                assert_eq!(verdict, Verdict::Right, "{what}");
            } else if verdict == Verdict::Other {
                let graph = checked(&scratch).unwrap();
                assert!(graph.account_id("last").is_err(), "{what}: not a prefix");
                assert!(graph.account_id("late3").is_ok(), "{what}: less than the image");
            }
        }
    }
}

#[test]
fn files_in_each_others_place_or_gone_are_refused_or_not_needed() {
    let dir = quick_dir();
    let (files, right) = closed(dir.path());
    let scratch = dir.path().join("scratch");
    let names: Vec<&PathBuf> = files.keys().collect();
    let mut refused_count = 0;
    for one in &names {
        let mut without = files.clone();
        without.remove(*one);
        let what = format!("without {}", one.display());
        let verdict = judge(&scratch, &without, &right, &what);
        assert_ne!(verdict, Verdict::Other, "{what}");
        for other in names.iter().filter(|other| *other != one) {
            let mut swapped = files.clone();
            swapped.insert((*one).clone(), files[*other].clone());
            let mut copied = swapped.clone();
            swapped.insert((*other).clone(), files[*one].clone());
            copied.insert((*one).clone(), files[*other].clone());
            for (how, files) in [("swapped", swapped), ("copied over", copied)] {
                let what = format!("{} and {} {how}", one.display(), other.display());
                let verdict = judge(&scratch, &files, &right, &what);
                assert_ne!(verdict, Verdict::Other, "{what}");
                refused_count += usize::from(verdict == Verdict::Refused);
            }
        }
    }
    assert!(refused_count > names.len());
}

#[test]
fn copies_of_files_under_other_numbers_are_refused_or_not_needed() {
    let dir = quick_dir();
    let (files, right) = closed(dir.path());
    let scratch = dir.path().join("scratch");
    for (name, bytes) in &files {
        let text = name.to_str().unwrap();
        let (prefix, rest) = text.split_at(text.find('-').unwrap() + 1);
        let extension = &rest[16..];
        for number in 0..64_u64 {
            let copy = PathBuf::from(format!("{prefix}{number:016x}{extension}"));
            if files.contains_key(&copy) {
                continue;
            }
            let mut files = files.clone();
            files.insert(copy.clone(), bytes.clone());
            let what = format!("{text} also as {}", copy.display());
            assert_ne!(judge(&scratch, &files, &right, &what), Verdict::Other, "{what}");
        }
    }
}

/// Two graphs of the same history have files of the same names.
#[test]
fn files_of_another_graph_are_refused_or_not_needed() {
    let dir = quick_dir();
    let (files, right) = closed(dir.path());
    let other = dir.path().join("other");
    imaged(&other);
    let others = bytes_of_graph(&other);
    let made = dir.path().join("made");
    let read = [newest(&made, "fgi"), newest(&made, "fgl")];
    let scratch = dir.path().join("scratch");
    for name in files.keys() {
        let mut mixed = files.clone();
        mixed.insert(name.clone(), others[name].clone());
        let what = format!("{} of another graph", name.display());
        let expected = if read.contains(name) { Verdict::Refused } else { Verdict::Right };
        assert_eq!(judge(&scratch, &mixed, &right, &what), expected, "{what}");
    }
}

/// The position of a consumer is no part of the graph: no damage to it keeps a graph from opening,
/// and none makes a consumer miss a commit.
#[test]
fn a_damaged_position_of_a_consumer_is_told_to_it_and_to_nobody_else() {
    let dir = quick_dir();
    let made = dir.path().join("made");
    let graph = options().open(&made).unwrap();
    let [one, two] = ["one", "two"].map(|name| graph.consumer(name).unwrap());
    for name in NAMES {
        graph.add_account(name).unwrap();
    }
    one.acknowledge(5).unwrap();
    two.acknowledge(3).unwrap();
    drop(graph);
    let files = bytes_of_graph(&made);
    let right = answers(&options().open(&made).unwrap());
    let scratch = dir.path().join("scratch");
    let name = PathBuf::from("consumer-one.fgc");
    let check = |bytes: Option<Vec<u8>>, is_known: bool, what: &str| {
        let mut files = files.clone();
        match bytes {
            Some(bytes) => drop(files.insert(name.clone(), bytes)),
            None => drop(files.remove(&name)),
        }
        assert_eq!(judge(&scratch, &files, &right, what), Verdict::Right, "{what}");
        let graph = checked(&scratch).unwrap();
        let next = graph.consumer("one").unwrap().next(std::time::Duration::ZERO);
        let next = next.map(|commit| commit.unwrap().sequence).map_err(|error| error.kind());
        let expected = if is_known { Ok(6) } else { Err(ErrorKind::PositionLost) };
        assert_eq!(next, expected, "{what}");
    };
    let whole = files[&name].clone();
    check(Some(whole.clone()), true, "whole");
    for bit in 0..whole.len() * 8 {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        check(Some(damaged), false, &format!("bit {bit}"));
    }
    for length in 0..whole.len() {
        check(Some(whole[..length].to_vec()), false, &format!("cut to {length}"));
    }
    for other in files.keys().filter(|other| **other != name) {
        let is_position = other.extension().is_some_and(|kind| kind == "fgc");
        if !is_position {
            check(Some(files[other].clone()), false, &format!("{} in its place", other.display()));
        }
    }
}
