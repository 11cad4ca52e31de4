//! Files of every format version there ever was open for ever: graphs that were written by the
//! release of their time lie in `tests/fixtures`, each with the answers it has to give.

use crate::recovery::options;
use crate::support::{HandClock, bytes_of, lay_out, quick_dir, walk};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use followgraph::{Error, FollowGraph, Mutation};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Set to a directory, `fixtures_of_this_version_are_made` leaves the fixtures there.
const FIXTURES_VARIABLE: &str = "FOLLOWGRAPH_FIXTURES";
const ANSWERS: &str = "answers.txt";
/// Answers beyond so many lines are kept as a checksum.
const ANSWER_LINES_MAX: usize = 400;
/// Files beyond so many bytes are kept compressed.
const PLAIN_BYTES_MAX: usize = 32 << 10;
/// How many of the last account's followers the large fixture has: two ids, then one left out, so
/// that neither runs nor an array are the smallest container.
const LARGE_ACCOUNT_COUNT: u32 = 6_500;

type Files = BTreeMap<PathBuf, Vec<u8>>;

/// Every answer a graph has, one a line.
fn answers(graph: &FollowGraph) -> Vec<String> {
    let kind = |error: Error| error.kind();
    let mut lines = Vec::new();
    for (id, name) in graph.accounts(None, usize::MAX) {
        assert_eq!(graph.account_id(&name).unwrap(), id);
        let counts = graph.counts(&name).map_err(kind);
        lines.push(format!("account {} {name:?} {counts:?}", id.0));
        let lists = [
            ("followers", walk(100, |page| graph.followers(&name, page))),
            ("following", walk(100, |page| graph.following(&name, page))),
            ("mutuals", walk(100, |page| graph.mutuals(&name, page))),
        ];
        for (list, entries) in lists {
            for (number, (other, at)) in entries.unwrap_or_default().into_iter().enumerate() {
                lines.push(format!("  {list} {number} {other:?} since {at}"));
            }
        }
    }
    lines
}

/// Where the graph stands, and what its consumers have before them.
fn standing(graph: &FollowGraph) -> Vec<String> {
    let stats = graph.stats();
    let mut lines = vec![format!(
        "accounts {}, foreign {}, follows {}, sequence {}, source position {:?}, cut {}",
        stats.account_count,
        stats.foreign_account_count,
        stats.follow_count,
        stats.sequence,
        graph.source_position(),
        stats.recovery.cut_bytes,
    )];
    for (name, position) in graph.consumers() {
        lines.push(format!("consumer {name} is done with {position}"));
        let mut consumer = graph.consumer(&name).unwrap();
        while let Some(commit) = consumer.next(Duration::ZERO).unwrap() {
            let (sequence, changes) = (commit.sequence, commit.changes);
            lines.push(format!("  {sequence} {:?} {changes:?}", commit.source_position));
        }
    }
    lines
}

fn as_text(mut lines: Vec<String>) -> String {
    let all = lines.join("\n");
    if lines.len() > ANSWER_LINES_MAX {
        let count = lines.len();
        lines.truncate(ANSWER_LINES_MAX);
        let crc = crc32fast::hash(all.as_bytes());
        lines.push(format!("… {count} lines with the crc32 {crc:08x}"));
    }
    let mut text = String::new();
    for line in lines {
        writeln!(text, "{line}").unwrap();
    }
    text
}

fn described(graph: &FollowGraph) -> String {
    format!("{}{}", as_text(standing(graph)), as_text(answers(graph)))
}

/// An image, a log behind it and a generation before it: every kind of record, name and order.
fn mixed(dir: &Path) -> Files {
    let clock = HandClock::at(1_600_000_000);
    let graph = options().clock(clock.clock()).open(dir).unwrap();
    fill(&graph, &clock);
    graph.consumer("web-hooks").unwrap().acknowledge(graph.stats().sequence).unwrap();
    graph.apply_from_source(41, &[Mutation::follow("ann", "late")]).unwrap();
    graph.checkpoint().unwrap();
    change(&graph, &clock);
    drop(graph);
    bytes_of(dir)
}

fn fill(graph: &FollowGraph, clock: &HandClock) {
    let (inline, long) = ("i".repeat(40), "l".repeat(41));
    let longest = "ü".repeat(127);
    for name in ["ann", "bob", "żółw", &inline, &long, &longest, "gone", "lonely"] {
        graph.add_account(name).unwrap();
    }
    graph.add_foreign_account("elsewhere").unwrap();
    let mut mutations = Vec::new();
    let names: Vec<String> = (0..300).map(|number| format!("fan{number}")).collect();
    for (number, name) in (0..).zip(&names) {
        // Some at the same time, some without one, and not in the order of the ids.
        mutations.push(Mutation::follow(name, "ann").at(1_500_000_000 + number * 7 % 90));
        mutations.push(Mutation::follow("bob", name).at(number % 2 * 1_400_000_000));
    }
    for result in graph.apply(&mutations).unwrap() {
        result.unwrap();
    }
    for (from, to) in [("ann", "bob"), ("bob", "ann"), ("żółw", &inline), (&long, &longest)] {
        graph.follow(from, to).unwrap();
    }
    clock.advance(10);
    for (from, to) in [("ann", "elsewhere"), ("elsewhere", "ann"), ("gone", "ann"), ("bob", "gone")]
    {
        graph.follow(from, to).unwrap();
    }
    graph.remove_account("gone").unwrap();
}

fn change(graph: &FollowGraph, clock: &HandClock) {
    clock.advance(10);
    graph.unfollow("ann", "bob").unwrap();
    graph.follow("ann", "bob").unwrap();
    graph.unfollow("fan7", "ann").unwrap();
    graph.follow("ann", "żółw").unwrap();
    graph.apply(&[Mutation::follow("new", "ann").at(5), Mutation::follow("ann", "new")]).unwrap();
    graph.remove_account("fan8").unwrap();
    graph.unfollow("elsewhere", "ann").unwrap();
    graph.add_account("gone").unwrap();
    graph.add_account(&"n".repeat(255)).unwrap();
    graph.apply_from_source(42, &[]).unwrap();
}

/// What a killed process leaves: no closing frame, and room behind the last one, which is left out
/// here because zeros to the end and no bytes mean the same.
fn killed(dir: &Path) -> Files {
    let clock = HandClock::at(1_600_000_000);
    let graph = options().clock(clock.clock()).open(dir).unwrap();
    for (from, to) in [("a", "b"), ("b", "a"), ("c", "a"), ("d", "a")] {
        graph.follow(from, to).unwrap();
        clock.advance(1);
    }
    graph.checkpoint().unwrap();
    graph.apply(&[Mutation::follow("b", "c"), Mutation::follow("c", "d")]).unwrap();
    graph.remove_account("d").unwrap();
    graph.follow("e", "a").unwrap();
    let mut files = bytes_of(dir);
    let segments =
        files.iter_mut().filter(|(name, _)| name.extension().is_some_and(|kind| kind == "fgl"));
    for (_, bytes) in segments {
        let used = bytes.iter().rposition(|&byte| byte != 0).unwrap() + 1;
        bytes.truncate(used.next_multiple_of(8));
    }
    files
}

/// A bulk load with a set of each large kind, and small ones.
fn loaded(dir: &Path) -> Files {
    let graph = options().clock(HandClock::at(1_600_000_000).clock()).open(dir).unwrap();
    let mut load = graph.bulk_load(64 << 20).unwrap();
    for number in 0..LARGE_ACCOUNT_COUNT {
        let name = format!("account{number}");
        if number > 0 {
            load.add(&name, "account0", Some(1_000 + number / 3)).unwrap();
        }
        if number % 3 != 0 {
            load.add("account1", &name, None).unwrap();
        }
        if number % 97 == 0 {
            load.add(&name, "account1", None).unwrap();
        }
    }
    load.finish(&mut |_, _| {}).unwrap();
    drop(graph);
    bytes_of(dir)
}

fn empty(dir: &Path) -> Files {
    drop(options().open(dir).unwrap());
    bytes_of(dir)
}

/// A fixture's name, and what leaves its files in an empty directory.
type Fixture = (&'static str, fn(&Path) -> Files);

const FIXTURES: [Fixture; 4] =
    [("mixed", mixed), ("killed", killed), ("loaded", loaded), ("empty", empty)];

/// Puts a fixture into a directory of its own, large files compressed.
fn keep(fixture: &Path, files: &Files, answers: &str) {
    let exists = fixture.join(ANSWERS).exists();
    assert!(!exists, "{}: a fixture stays as it is", fixture.display());
    std::fs::create_dir_all(fixture).unwrap();
    for (name, bytes) in files.iter().filter(|(name, _)| *name != Path::new("lock")) {
        if bytes.len() <= PLAIN_BYTES_MAX {
            std::fs::write(fixture.join(name), bytes).unwrap();
            continue;
        }
        let mut packed = GzEncoder::new(Vec::new(), Compression::best());
        packed.write_all(bytes).unwrap();
        let name = format!("{}.gz", name.display());
        std::fs::write(fixture.join(name), packed.finish().unwrap()).unwrap();
    }
    std::fs::write(fixture.join(ANSWERS), answers).unwrap();
}

fn kept(fixture: &Path) -> (Files, String) {
    let mut files = bytes_of(fixture);
    let answers = files.remove(Path::new(ANSWERS)).unwrap();
    let unpacked = files.into_iter().map(|(name, bytes)| {
        if name.extension().is_none_or(|extension| extension != "gz") {
            return (name, bytes);
        }
        let mut plain = Vec::new();
        GzDecoder::new(&bytes[..]).read_to_end(&mut plain).unwrap();
        (name.with_extension(""), plain)
    });
    (unpacked.collect(), String::from_utf8(answers).unwrap())
}

/// The format version every file of a fixture says it has.
fn check_version(files: &Files, version: u32, what: &str) {
    for (name, bytes) in files {
        let said = u32::from_le_bytes(bytes[8..12].try_into().unwrap());
        assert_eq!(said, version, "{what}: {}", name.display());
    }
}

/// The graph answers as it did when it was written, is whole, takes writes and a checkpoint, and
/// answers the same after them.
fn check_opens(files: &Files, expected: &str, what: &str) {
    let dir = quick_dir();
    lay_out(dir.path(), files);
    let open = || options().open(dir.path()).unwrap_or_else(|error| panic!("{what}: {error}"));
    let graph = open();
    // Where the two differ is found faster in lines than in one string.
    let (found, expected) = (described(&graph), expected.lines());
    assert_eq!(found.lines().collect::<Vec<_>>(), expected.collect::<Vec<_>>(), "{what}");
    graph.verify().unwrap_or_else(|error| panic!("{what}: {error}"));
    drop(graph);

    let graph = open();
    let before = answers(&graph);
    let others: Vec<String> = graph.accounts(None, 50).into_iter().map(|(_, name)| name).collect();
    let fresh = "a name that no fixture has";
    graph.add_account(fresh).unwrap();
    for other in &others {
        let _ = graph.follow(fresh, other);
        let _ = graph.follow(other, fresh);
    }
    let during = answers(&graph);
    assert!(graph.checkpoint().unwrap().written, "{what}");
    graph.verify().unwrap_or_else(|error| panic!("{what}, after a checkpoint: {error}"));
    drop(graph);
    let graph = open();
    assert_eq!(answers(&graph), during, "{what}, opened after a checkpoint");
    graph.remove_account(fresh).unwrap();
    assert_eq!(answers(&graph), before, "{what}, changed and changed back");
    graph.verify().unwrap_or_else(|error| panic!("{what}, at last: {error}"));
}

fn fixtures_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

#[test]
fn graphs_of_every_version_open_answer_as_ever_and_go_on() {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(fixtures_folder()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let version = name.strip_prefix('v').and_then(|name| name.split('-').next()?.parse().ok());
        let version: u32 = version.unwrap_or_else(|| panic!("{name} is named for no version"));
        let (files, expected) = kept(&path);
        check_version(&files, version, &name);
        check_opens(&files, &expected, &name);
        found.push(name);
    }
    for (fixture, _) in FIXTURES {
        let name = format!("v1-{fixture}");
        assert!(found.contains(&name), "the fixture {name} is missing");
    }
}

/// Leaves the fixtures of the version that is written today where the variable says.
#[test]
fn fixtures_of_this_version_are_made() {
    let kept_in = std::env::var_os(FIXTURES_VARIABLE).map(PathBuf::from);
    let scratch = quick_dir();
    for (name, make) in FIXTURES {
        let dir = scratch.path().join(name);
        let files: Files =
            make(&dir).into_iter().filter(|(name, _)| name != Path::new("lock")).collect();
        let first = files.values().next().unwrap();
        let version = u32::from_le_bytes(first[8..12].try_into().unwrap());
        check_version(&files, version, name);
        lay_out(&dir, &files);
        let text = described(&options().open(&dir).unwrap());
        let folder = kept_in.clone().unwrap_or_else(|| scratch.path().join("kept"));
        let fixture = folder.join(format!("v{version}-{name}"));
        keep(&fixture, &files, &text);
        assert_eq!(kept(&fixture), (files.clone(), text.clone()), "{name} is kept as it is");
        check_opens(&files, &text, name);
    }
}

/// A fixture that is there is what an old release wrote, and is never made again.
#[test]
fn a_fixture_is_never_written_over() {
    let folder = fixtures_folder();
    let before = bytes_of(&folder.join("v1-empty"));
    let refused = std::panic::catch_unwind(|| keep(&folder.join("v1-empty"), &Files::new(), ""));
    assert!(refused.is_err());
    assert_eq!(bytes_of(&folder.join("v1-empty")), before);
}
