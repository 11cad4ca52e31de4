//! Files that are not where, or not what, they were: exchanged, doubled, taken away, cut off, from
//! another graph or from an earlier day. Each is an error that says which, or changes no answer.
//! What cannot be told is a log that is shorter by whole commits at its very end, and nothing else.

use crate::damage::{answers, told_of};
use crate::recovery::options;
use crate::support::{bytes_of, lay_out, long_form, quick_dir};
use followgraph::{Durability, ErrorKind, FollowGraph};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

type Files = BTreeMap<PathBuf, Vec<u8>>;

/// A graph in two generations, with commits behind the newest image and a consumer.
struct History {
    /// The files after each of the last commits, as a killed process leaves them, and then closed.
    stages: Vec<Files>,
    /// The answers after each of the last commits.
    answers: Vec<Vec<String>>,
}

fn history(seed: u32) -> History {
    let dir = quick_dir();
    let graph = options().open(dir.path()).unwrap();
    for (from, to) in [("a", "b"), ("b", "a"), ("c", "a"), ("d", "e"), ("e", "f")] {
        graph.follow(from, to).unwrap();
    }
    graph.checkpoint().unwrap();
    graph.follow("g", "h").unwrap();
    graph.checkpoint().unwrap();
    let consumer = graph.consumer("c").unwrap();
    consumer.acknowledge(graph.stats().durable_sequence).unwrap();
    let mut history = History { stages: vec![bytes_of(dir.path())], answers: vec![told(&graph)] };
    let others = ["b", "c", "d"].iter().skip((seed % 2) as usize);
    for other in others.chain(&["e"]) {
        graph.follow("h", other).unwrap();
        history.stages.push(bytes_of(dir.path()));
        history.answers.push(told(&graph));
    }
    drop(consumer);
    drop(graph);
    history.stages.push(bytes_of(dir.path()));
    history
}

fn told(graph: &FollowGraph) -> Vec<String> {
    answers(graph).iter().map(told_of).collect()
}

/// What a directory turned out to be.
#[derive(Debug, PartialEq)]
enum Seen {
    Refused,
    Right,
    /// As it was some commits before the end.
    Shorter,
}

fn look(dir: &Path, files: &Files, history: &History, what: &str) -> Seen {
    lay_out(dir, files);
    let graph = match options().durability(Durability::Never).open(dir) {
        Ok(graph) => graph,
        Err(error) => {
            let kinds = [ErrorKind::Corrupt, ErrorKind::UnsupportedVersion, ErrorKind::NotAGraph];
            assert!(kinds.contains(&error.kind()), "{what}: {error}");
            assert!(error.path().is_some_and(|path| path.starts_with(dir)), "{what}: {error}");
            return Seen::Refused;
        }
    };
    let told = told(&graph);
    let place = history.answers.iter().rposition(|answers| *answers == told);
    let place = place.unwrap_or_else(|| panic!("{what}: it never was like that"));
    assert!(graph.verify().is_ok(), "{what}: right answers and a verify that complains");
    if place + 1 == history.answers.len() { Seen::Right } else { Seen::Shorter }
}

fn is_kept(name: &Path) -> bool {
    name.extension().is_some_and(|end| ["fgi", "fgl", "fgc"].iter().any(|kept| end == *kept))
}

#[test]
fn files_that_are_exchanged_doubled_foreign_or_old_are_refused_or_change_no_answer() {
    let (ours, other) = (history(0), history(1));
    let dir = quick_dir();
    let closed = ours.stages.last().unwrap();
    let names: Vec<&PathBuf> = closed.keys().filter(|name| is_kept(name)).collect();
    let last = *names.iter().rfind(|name| name.extension().unwrap() == "fgl").unwrap();
    assert!(names.len() >= 5, "two images, two segments and a position: {names:?}");
    let mut shorter = Vec::new();
    let mut refused_count = 0;
    let mut judge = |files: &Files, what: String| match look(dir.path(), files, &ours, &what) {
        Seen::Right => {}
        Seen::Refused => refused_count += 1,
        Seen::Shorter => shorter.push(what),
    };
    judge(closed, "as it was".to_owned());
    for one in &names {
        if *one != last {
            let mut files = closed.clone();
            files.remove(*one);
            judge(&files, format!("{} is gone", one.display()));
        }
        if let Some(foreign) = other.stages.last().unwrap().get(*one) {
            let mut files = closed.clone();
            files.insert((*one).clone(), foreign.clone());
            judge(&files, format!("{} is of another graph", one.display()));
        }
        for (number, stage) in ours.stages.iter().rev().skip(1).enumerate() {
            let mut files = closed.clone();
            files.insert((*one).clone(), stage[*one].clone());
            judge(&files, format!("{} is {} commits old", one.display(), number));
        }
        for two in names.iter().filter(|two| two != &one) {
            let mut files = closed.clone();
            files.insert((*one).clone(), closed[*two].clone());
            judge(&files, format!("{} is {}", one.display(), two.display()));
            files.insert((*two).clone(), closed[*one].clone());
            judge(&files, format!("{} and {} are exchanged", one.display(), two.display()));
        }
    }
    // The same commits without what closed the log are all there; the older ones are fewer.
    let old = (1..ours.answers.len()).map(|age| format!("{} is {age} commits old", last.display()));
    assert_eq!(shorter, old.collect::<Vec<_>>());
    assert!(refused_count > names.len(), "only {refused_count} were refused");
}

/// The error of opening files of which the last of a kind has another number in its name.
fn renamed(extension: &str, by: u64) -> String {
    let dir = quick_dir();
    let mut files = history(0).stages.pop().unwrap();
    let is_it = |name: &&PathBuf| name.extension().is_some_and(|end| end == extension);
    let name = files.keys().rfind(is_it).unwrap().clone();
    let (kind, digits) = name.file_stem().unwrap().to_str().unwrap().split_once('-').unwrap();
    let number = u64::from_str_radix(digits, 16).unwrap() + by;
    let other = name.with_file_name(format!("{kind}-{number:016x}.{extension}"));
    let bytes = files.remove(&name).unwrap();
    files.insert(other.clone(), bytes);
    lay_out(dir.path(), &files);
    let error = options().open(dir.path()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert_eq!(error.path().and_then(Path::file_name), other.file_name(), "{error}");
    error.to_string()
}

#[test]
fn a_file_whose_name_and_header_tell_different_numbers_is_refused() {
    let error = renamed("fgl", 1);
    assert!(error.contains("begins elsewhere than its name says"), "{error}");
    let error = renamed("fgi", 1);
    assert!(error.contains("covers another sequence than its name says"), "{error}");
}

#[test]
fn a_segment_that_is_longer_than_its_header_says_is_refused() {
    let dir = quick_dir();
    let mut files = history(0).stages.pop().unwrap();
    let is_log = |name: &&PathBuf| name.extension().is_some_and(|end| end == "fgl");
    let name = files.keys().rfind(is_log).unwrap().clone();
    let segment = files.get_mut(&name).unwrap();
    let header_says = u64::from_le_bytes(segment[40..48].try_into().unwrap());
    segment.resize(header_says as usize + 1, 0);
    lay_out(dir.path(), &files);
    let error = options().open(dir.path()).err().unwrap();
    assert!(error.to_string().contains("longer than its header says"), "{error}");
    assert!(error.path().is_some_and(|path| path.ends_with(&name)), "{error}");
}

#[test]
fn files_cut_at_any_length_are_refused_or_shorter_by_whole_commits() {
    let ours = history(0);
    let dir = quick_dir();
    let closed = ours.stages.last().unwrap();
    let is_long = long_form();
    let last = closed.keys().rfind(|name| name.extension().is_some_and(|end| end == "fgl"));
    let last = last.unwrap();
    let mut shorter_count = 0;
    for name in closed.keys().filter(|name| is_kept(name)) {
        let whole = closed[name].len();
        let is_cut =
            |length: &usize| is_long || whole < 2048 || *length < 128 || length.is_multiple_of(251);
        for length in (0..whole).filter(is_cut) {
            let mut files = closed.clone();
            files.get_mut(name).unwrap().truncate(length);
            let what = format!("{} has {length} of {whole} bytes", name.display());
            if look(dir.path(), &files, &ours, &what) == Seen::Shorter {
                assert_eq!(name, last, "{what}");
                shorter_count += 1;
            }
        }
    }
    assert!(shorter_count > 0, "no cut of the log lost a commit");
}
