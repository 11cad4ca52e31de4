//! The rules of the house, read off the sources: which room may name which, where the file system
//! and `unsafe` live, how long things may be.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The rooms of `src/`, from the bottom up. A room may name those of its own row and below.
const ROWS: [&[&str]; 7] = [
    &["error", "locks"],
    &["types", "chunks", "workers"],
    &["format", "storage", "blocks", "shards", "accounts", "adjacency", "list", "edge_sorter"],
    &["graph", "log", "image"],
    &["recovery", "store", "sync", "walk", "consumers", "backup", "restore"],
    &["engine"],
    &["testing", "wire", "server", "cli", "cluster"],
];

const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 700;
const COLUMNS_MAX: usize = 100;

struct Source {
    /// Relative to the project, with `/` between.
    path: String,
    text: String,
}

impl Source {
    /// The text up to the unit tests at its foot.
    fn without_tests(&self) -> &str {
        let is_test_file = self.path.ends_with("/tests.rs") || self.path.contains("/tests/");
        let end = self.text.find("\n#[cfg(test)]\nmod tests").unwrap_or(self.text.len());
        if is_test_file { "" } else { &self.text[..end] }
    }

    /// The lines of code outside unit tests, numbered; comments are not code.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.without_tests().lines().zip(1..);
        lines.map(|(line, number)| (number, line)).filter(|(_, line)| !is_comment(line))
    }

    /// The first folder or file under `src/`.
    fn room(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src/")?;
        let first = inside.split('/').next()?;
        Some(first.strip_suffix(".rs").unwrap_or(first))
    }
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

fn sources(folders: &[&str]) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    for folder in folders {
        collect(root, &root.join(folder), &mut sources);
    }
    assert!(!sources.is_empty(), "no sources in {folders:?}");
    sources
}

fn collect(root: &Path, folder: &Path, sources: &mut Vec<Source>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            collect(root, &path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let relative = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            sources.push(Source { path: relative, text: std::fs::read_to_string(&path).unwrap() });
        }
    }
}

fn all_sources() -> Vec<Source> {
    sources(&["src", "tests", "benches", "examples", "fuzz"])
}

fn report(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

fn row_of(room: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.contains(&room))
}

/// The rooms a line names as `crate::room`.
fn named_rooms(line: &str) -> Vec<String> {
    let mut rooms = Vec::new();
    for (place, _) in line.match_indices("crate::") {
        let rest = &line[place + "crate::".len()..];
        let word = |text: &str| -> String {
            text.chars().take_while(|next| next.is_ascii_lowercase() || *next == '_').collect()
        };
        match rest.strip_prefix('{') {
            Some(group) => {
                let group = group.split('}').next().unwrap_or_default();
                rooms.extend(group.split(',').map(|part| word(part.trim())));
            }
            None => rooms.push(word(rest)),
        }
    }
    rooms.retain(|room| !room.is_empty());
    rooms
}

#[test]
fn arrows_between_rooms_point_down() {
    let mut complaints = Vec::new();
    let mut arrows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources(&["src"]) {
        let Some(room) = source.room().filter(|room| *room != "lib") else {
            continue;
        };
        let Some(row) = row_of(room) else {
            complaints.push(format!("{}: the room {room} has no row in this test", source.path));
            continue;
        };
        for (number, line) in source.code() {
            for named in named_rooms(line) {
                match row_of(&named) {
                    Some(below) if below <= row => {
                        let known = arrows.entry(room.to_owned()).or_default();
                        known.extend((named != room).then_some(named));
                    }
                    _ => complaints.push(format!("{}:{number}: names {named}", source.path)),
                }
            }
        }
    }
    report(&complaints);
    assert!(arrows.values().any(|named| !named.is_empty()), "no arrow was found at all");
    for room in arrows.keys() {
        assert!(
            !reaches(&arrows, room, room, &mut BTreeSet::new()),
            "{room} names itself in a round"
        );
    }
}

fn reaches(
    arrows: &BTreeMap<String, BTreeSet<String>>,
    from: &str,
    goal: &str,
    seen: &mut BTreeSet<String>,
) -> bool {
    let next = arrows.get(from).into_iter().flatten();
    next.into_iter().any(|room| {
        room == goal || (seen.insert(room.clone()) && reaches(arrows, room, goal, seen))
    })
}

#[test]
fn the_model_names_nothing_of_the_engine() {
    let sources = sources(&["src/testing"]);
    let model = sources.iter().find(|source| source.path.ends_with("model.rs")).unwrap();
    for (number, line) in model.code() {
        for word in ["crate::", "super::", "followgraph::", "roaring"] {
            assert!(!line.contains(word), "{}:{number}: {line}", model.path);
        }
    }
    assert!(model.text.lines().count() < 400, "a model is believed at sight, so it is short");
}

/// The library's one file, and the store beside it whose interface has no safe way to open it.
const UNSAFE_FILES: [&str; 2] = ["src/storage.rs", "benches/peers/src/peers/lmdb.rs"];

#[test]
fn unsafe_has_one_address_and_a_reason_each_time() {
    let mut complaints = Vec::new();
    let mut block_count = 0;
    for source in sources(&["src", "examples", "benches"]) {
        let lines: Vec<&str> = source.text.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            let is_unsafe = line.split(|next: char| !next.is_alphanumeric() && next != '_');
            if is_comment(line) || !is_unsafe.into_iter().any(|word| word == "unsafe") {
                continue;
            }
            block_count += 1;
            let place = format!("{}:{}", source.path, index + 1);
            if !UNSAFE_FILES.contains(&source.path.as_str()) {
                complaints.push(format!("{place}: unsafe outside {UNSAFE_FILES:?}"));
            }
            let before = &lines[index.saturating_sub(8)..index];
            if !before.iter().any(|line| line.contains("// SAFETY: ")) {
                complaints.push(format!("{place}: no SAFETY sentence above"));
            }
        }
    }
    report(&complaints);
    assert!(block_count > 0, "mapping a file is unsafe: this test reads the wrong files");
}

/// Outside of the named files, no line of code holds the word.
fn check_only_in(word: &str, allowed: &[&str]) {
    let mut complaints = Vec::new();
    for source in sources(&["src"]) {
        if allowed.iter().any(|allowed| source.path.starts_with(allowed)) {
            continue;
        }
        let found = source.code().filter(|(_, line)| line.contains(word));
        complaints.extend(found.map(|(number, line)| format!("{}:{number}: {line}", source.path)));
    }
    report(&complaints);
}

#[test]
fn the_file_system_is_named_in_storage_alone() {
    for word in ["std::fs", "fs::", "File::", "OpenOptions"] {
        check_only_in(word, &["src/storage", "src/server", "src/cli/", "src/cluster"]);
    }
    check_only_in("memmap2", &["src/storage.rs"]);
    let allowed = ["src/storage", "src/engine/clock.rs", "src/server/system.rs", "src/cli/"];
    check_only_in("rustix", &allowed);
}

/// So that a checker of schedules can stand in for all of them.
#[test]
fn locks_come_from_one_place() {
    check_only_in("parking_lot", &["src/locks.rs", "src/locks/", "src/server"]);
    check_only_in("std::sync::Mutex", &["src/server", "src/cli"]);
}

#[test]
fn json_exists_in_the_skins_alone() {
    check_only_in("serde_json", &["src/wire", "src/server", "src/cli", "src/cluster"]);
}

#[test]
fn the_clock_of_the_machine_is_read_in_the_engine_alone() {
    check_only_in("SystemTime", &["src/engine", "src/cli/", "src/server", "src/wire/service.rs"]);
    let allowed = [
        "src/cli/",
        "src/server",
        "src/testing/",
        "src/sync.rs",
        "src/engine/reader.rs",
        "src/cluster",
    ];
    check_only_in("Instant::now", &allowed);
}

#[test]
fn the_library_does_not_unwrap() {
    check_only_in(".unwrap()", &[]);
}

#[test]
fn nothing_is_left_for_later() {
    let words =
        [["to", "do!("], ["FIX", "ME"], ["db", "g!("], ["unimple", "mented!("], ["XX", "X"]];
    let attribute = ["#[ig", "nore"].concat();
    let words: Vec<String> = words.iter().map(|word| word.concat()).chain([attribute]).collect();
    let mut complaints = Vec::new();
    for source in all_sources() {
        for (line, number) in source.text.lines().zip(1..) {
            let found = words.iter().find(|word| line.contains(word.as_str()));
            complaints.extend(found.map(|word| format!("{}:{number}: {word}", source.path)));
        }
    }
    report(&complaints);
}

#[test]
fn lines_fit_into_100_columns() {
    let mut complaints = Vec::new();
    for source in all_sources() {
        for (line, number) in source.text.lines().zip(1..) {
            let columns = line.chars().count();
            if columns > COLUMNS_MAX {
                complaints.push(format!("{}:{number}: {columns} columns", source.path));
            }
        }
    }
    report(&complaints);
}

#[test]
fn files_fit_into_700_lines_without_tests() {
    let mut complaints = Vec::new();
    for source in sources(&["src"]) {
        let lines = source.without_tests().lines().count();
        if lines > FILE_LINES_MAX {
            complaints.push(format!("{}: {lines} lines", source.path));
        }
    }
    report(&complaints);
}

/// The functions of formatted code: number of the first line, name, count of lines.
fn functions(text: &str) -> Vec<(usize, String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut functions = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else {
            continue;
        };
        let indent = &line[..line.len() - line.trim_start().len()];
        let closing = format!("{indent}}}");
        // A declaration without a body ends with a semicolon, a short body on its own line.
        let opening = lines[start..].iter().position(|line| line.ends_with(['{', ';', '}']));
        let Some(opening) = opening.filter(|place| lines[start + place].ends_with('{')) else {
            continue;
        };
        let body = &lines[start + opening..];
        let end = body.iter().position(|line| *line == closing);
        let end = end.unwrap_or_else(|| panic!("{name} does not end: is the code formatted?"));
        functions.push((start + 1, name, opening + end + 1));
    }
    functions
}

fn function_name(line: &str) -> Option<String> {
    if is_comment(line) {
        return None;
    }
    let mut words = line.split_whitespace();
    let modifiers = ["pub", "pub(crate)", "pub(super)", "const", "unsafe", "async"];
    words.find(|word| !modifiers.contains(word)).filter(|word| *word == "fn")?;
    let rest = words.next()?;
    Some(rest.split(['(', '<']).next()?.to_owned())
}

#[test]
fn functions_fit_into_70_lines() {
    let mut complaints = Vec::new();
    let mut function_count = 0;
    for source in all_sources() {
        for (number, name, lines) in functions(&source.text) {
            function_count += 1;
            if lines > FUNCTION_LINES_MAX {
                complaints.push(format!("{}:{number}: {name} has {lines} lines", source.path));
            }
        }
    }
    report(&complaints);
    assert!(function_count > 100, "only {function_count} functions found: this test is blind");
}

#[test]
fn every_file_of_tests_is_part_of_the_binary() {
    let sources = sources(&["tests/it"]);
    let main = sources.iter().find(|source| source.path.ends_with("/main.rs")).unwrap();
    for source in &sources {
        let name = source.path.trim_start_matches("tests/it/").trim_end_matches(".rs");
        let declared = format!("mod {name};");
        let is_declared = main.text.lines().any(|line| line == declared);
        assert!(name == "main" || name.contains('/') || is_declared, "{name} never runs");
    }
}

#[test]
fn this_test_sees_what_it_should() {
    let text = "fn short() {\n    1\n}\npub(crate) fn declared(\n    one: u32,\n) -> u32;\n";
    assert_eq!(functions(text), [(1, "short".to_owned(), 3)]);
    assert_eq!(named_rooms("use crate::{error, list};"), ["error", "list"]);
    assert_eq!(named_rooms("use crate::error::Error;"), ["error"]);
    assert_eq!(named_rooms("crate::graph::a(crate::log::b)"), ["graph", "log"]);
}
