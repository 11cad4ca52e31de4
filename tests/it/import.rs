//! Imports that are killed, that have little memory, and that have one processor: what they leave
//! is nothing or the same whole graph.

use crate::support::{Random, skipped};
use followgraph::{FollowGraph, Options};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_followgraph");

/// Writes lines with times, repeats and follows of oneself, in no order.
fn write_edges(path: &Path, line_count: usize, account_count: usize) {
    let mut random = Random::seeded(9);
    let mut text = Vec::new();
    for line in 0..line_count {
        let (from, to) = (random.below(account_count), random.below(account_count / 10));
        writeln!(text, "account{from} account{to} {}", 1_600_000_000 + line / 7).unwrap();
    }
    fs::write(path, text).unwrap();
}

fn command(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).env_remove("FOLLOWGRAPH_DB");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn start_import(db: &Path, file: &Path, memory: &str) -> Child {
    let (db, file) = (db.to_str().unwrap(), file.to_str().unwrap());
    command(PROGRAM, &["--db", db, "import", file, "--memory", memory]).spawn().unwrap()
}

#[track_caller]
fn finish(child: Child) {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn exported(db: &Path) -> Vec<u8> {
    let output = command(PROGRAM, &["--db", db.to_str().unwrap(), "export"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn temporary_files(db: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(db) else {
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "tmp")).collect()
}

/// Waits until an import begins to write its image, or ends.
fn wait_for_an_image(db: &Path, child: &mut Child) {
    let is_image = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        // Number 0 is the empty image of a new graph.
        name.starts_with("image-") && !name.starts_with("image-0000000000000000")
    };
    while child.try_wait().unwrap().is_none() && !temporary_files(db).iter().any(is_image) {
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Accounts and follows, after everything was recounted.
fn verified_size(db: &Path) -> (u64, u64) {
    let graph: FollowGraph = Options::new().open(db).unwrap();
    let verification = graph.verify().unwrap();
    (verification.account_count, verification.follow_count)
}

#[test]
fn an_import_that_is_killed_leaves_nothing_or_the_whole_graph() {
    const ROUND_COUNT: usize = 20;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("edges");
    write_edges(&file, 300_000, 20_000);
    let undisturbed = dir.path().join("undisturbed");
    let begin = Instant::now();
    finish(start_import(&undisturbed, &file, "1M"));
    let import_us = begin.elapsed().as_micros() as usize;
    let whole = verified_size(&undisturbed);
    assert!(whole.1 > 250_000, "{whole:?}");

    let mut random = Random::seeded(77);
    let (mut spilled_count, mut empty_count) = (0, 0);
    let mut db = dir.path().join("first");
    for round in 0..ROUND_COUNT {
        let mut child = start_import(&db, &file, "1M");
        // Half of them are killed between the begin of the image and a moment after it has its
        // name, the others anywhere.
        let builds = round % 3 < 2;
        if builds {
            wait_for_an_image(&db, &mut child);
        }
        let share = if builds { random.below(80) } else { random.below(90) };
        std::thread::sleep(Duration::from_micros((import_us * share / 100) as u64));
        child.kill().unwrap();
        child.wait().unwrap();
        let leftovers = temporary_files(&db);
        assert!(leftovers.len() <= 2, "{leftovers:?} pile up");
        spilled_count += usize::from(!leftovers.is_empty());
        // Every other time the next import is the first to see what was left.
        if round % 2 == 0 {
            let size = verified_size(&db);
            assert!(size == (0, 0) || size == whole, "half a graph in round {round}: {size:?}");
            assert_eq!(temporary_files(&db), Vec::<PathBuf>::new(), "after round {round}");
            empty_count += usize::from(size == (0, 0));
            if size == whole {
                db = dir.path().join(format!("round{round}"));
            }
        }
    }
    println!("{ROUND_COUNT} kills: {spilled_count} left files, {empty_count} an empty graph");
    assert!(spilled_count > 0 && empty_count > 0, "no import was killed at work");
    finish(start_import(&db, &file, "1M"));
    assert_eq!(temporary_files(&db), Vec::<PathBuf>::new());
    assert!(exported(&db) == exported(&undisturbed), "the graph differs after the kills");
}

#[test]
fn one_processor_makes_the_same_graph_as_many() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("edges");
    write_edges(&file, 150_000, 5_000);
    let (many, one) = (dir.path().join("many"), dir.path().join("one"));
    finish(start_import(&many, &file, "2M"));
    let (db, edges) = (one.to_str().unwrap(), file.to_str().unwrap());
    let args = ["--cpu-list", "0", PROGRAM, "--db", db, "import", edges];
    match command("taskset", &args).spawn() {
        Ok(child) => finish(child),
        Err(error) => return skipped(&format!("taskset cannot be run: {error}")),
    }
    // The order of an export is that of the ids, which both must have given alike.
    assert!(exported(&many) == exported(&one));
}

/// The most anonymous memory that an import was seen with.
fn peak_anonymous_bytes(mut child: Child) -> u64 {
    let status = format!("/proc/{}/status", child.id());
    let mut peak_kib = 0;
    while child.try_wait().unwrap().is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let anonymous = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = anonymous.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        peak_kib = peak_kib.max(kib.unwrap_or(0));
        std::thread::sleep(Duration::from_millis(1));
    }
    finish(child);
    peak_kib << 10
}

#[test]
fn the_memory_of_an_import_is_what_was_allowed_and_the_names() {
    const ACCOUNT_COUNT: usize = 100_000;
    // What is needed whatever the list: the program, the text on its way through the threads, and
    // what the allocator holds back for each of them.
    const FIXED_BYTES: u64 = 24 << 20;
    const BYTES_AN_ACCOUNT: u64 = 200;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("edges");
    write_edges(&file, 2_500_000, ACCOUNT_COUNT);
    let import = |memory: &str| {
        let db = dir.path().join(memory);
        (peak_anonymous_bytes(start_import(&db, &file, memory)), verified_size(&db))
    };
    let (little_bytes, little_size) = import("16M");
    let (plenty_bytes, plenty_size) = import("1G");
    println!("with 16M: {} KiB, with 1G: {} KiB", little_bytes >> 10, plenty_bytes >> 10);
    let bound_bytes = (16 << 20) + FIXED_BYTES + BYTES_AN_ACCOUNT * ACCOUNT_COUNT as u64;
    assert!(little_bytes <= bound_bytes, "{little_bytes} bytes, above {bound_bytes}");
    assert!(plenty_bytes > bound_bytes, "{plenty_bytes} bytes: this list says nothing");
    assert_eq!(little_size, plenty_size);
}
