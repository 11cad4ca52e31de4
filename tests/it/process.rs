//! What a process meets that is not the disk: forks, signals, and limits of the system.
#![allow(unsafe_code, reason = "forks and signal handlers have no safe form")]

use crate::support::{Mount, child_of, quick_dir, skipped};
use followgraph::{Durability, ErrorKind, FollowGraph, Options};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

const TOOL: &str = env!("CARGO_BIN_EXE_followgraph");

fn options() -> Options {
    Options::new().segment_bytes(64 << 10).create_missing_accounts(true)
}

/// The forked child's part: says by its exit code which of its checks failed.
fn in_the_child(graph: FollowGraph) -> i32 {
    let refused = graph.follow("child", "star").err().map(|error| error.kind());
    let synced = graph.sync().err().map(|error| error.kind());
    let saved = graph.checkpoint().err().map(|error| error.kind());
    drop(graph);
    let all = [refused, synced, saved];
    i32::from(all.iter().any(|kind| *kind != Some(ErrorKind::InUse)))
}

/// Waits for a child that must not hang, and gives its exit code.
fn wait_for(child: i32) -> Option<i32> {
    let started = Instant::now();
    loop {
        let mut status = 0;
        // SAFETY: the pointer is to a local variable.
        match unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) } {
            0 if started.elapsed() < Duration::from_secs(20) => {
                std::thread::sleep(Duration::from_millis(5));
            }
            0 => {
                // SAFETY: the call takes no pointer, and the process is a child of this one.
                unsafe { libc::kill(child, libc::SIGKILL) };
                panic!("the forked child hangs");
            }
            _ => return libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)),
        }
    }
}

#[test]
fn a_forked_child_drops_the_handle_and_the_graph_of_the_parent_goes_on() {
    const VARIABLE: &str = "FOLLOWGRAPH_TEST_FORK";
    let name = "process::a_forked_child_drops_the_handle_and_the_graph_of_the_parent_goes_on";
    let Ok(dir) = std::env::var(VARIABLE) else {
        let dir = quick_dir();
        let child = child_of(name, VARIABLE, dir.path().to_str().unwrap());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    };
    for durability in [Durability::Always, Durability::Interval(Duration::from_millis(1))] {
        let mut graph = options().durability(durability).open(&dir).unwrap();
        graph.follow("parent", "star").unwrap();
        let log_before = graph.stats().log_bytes;
        // SAFETY: the child calls this library and leaves without running anything else.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let part = std::panic::AssertUnwindSafe(|| in_the_child(graph));
            let code = std::panic::catch_unwind(part).unwrap_or(2);
            // SAFETY: the call does not return.
            unsafe { libc::_exit(code) };
        }
        assert_eq!(wait_for(child), Some(0));
        assert_eq!(graph.stats().log_bytes, log_before, "the child wrote to the log");
        let second = options().open(&dir).err().expect("the child gave the lock away");
        assert_eq!(second.kind(), ErrorKind::InUse);
        graph.follow("after", "star").unwrap();
        drop(graph);
        graph = options().open(&dir).unwrap();
        assert_eq!(graph.counts("star").unwrap().followers, 2);
        graph.verify().unwrap();
    }
}

/// The tool in a shell that sets a limit first.
fn limited(limit: &str, tool: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("timeout");
    command.args(["30", "bash", "-c", &format!("{limit} && exec \"$0\" \"$@\"")]);
    command.arg(tool).args(args);
    command.env_remove("FOLLOWGRAPH_DB");
    command
}

fn edge_list(dir: &Path, edge_count: usize) -> PathBuf {
    let path = dir.join("edges.txt");
    let line = |number| format!("account-{number} account-{}", (number + 7) % edge_count);
    let lines: Vec<String> = (0..edge_count).map(line).collect();
    fs::write(&path, lines.join("\n")).unwrap();
    path
}

fn stderr_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_limit_of_the_file_size_is_an_error_and_no_sudden_end() {
    let dir = quick_dir();
    let edges = edge_list(dir.path(), 60_000);
    let edges = edges.to_str().unwrap();
    // Too little for a segment, and for the image.
    for limit in ["ulimit -f 16", "ulimit -f 1024"] {
        let db = dir.path().join(limit.replace(' ', "-"));
        let db = db.to_str().unwrap();
        let output = limited(limit, Path::new(TOOL), &["--db", db, "import", edges]).output();
        let output = output.unwrap();
        assert!(output.status.code().is_some_and(|code| code > 0), "{limit}: {output:?}");
        let told = stderr_of(&output);
        assert!(told.contains("limit") && told.contains("ulimit -f"), "{limit}: {told}");
        let again = Command::new(TOOL).args(["--db", db, "import", edges]).output().unwrap();
        assert!(again.status.success(), "{limit}: {again:?}");
    }
}

/// Runs the tool as a user who may have only so many threads.
fn with_few_threads(tool: &Path, args: &[&str], count: usize) -> Option<Output> {
    const NOBODY: u32 = 65534;
    let mut command = limited(&format!("ulimit -u {count}"), tool, args);
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.output().ok()
}

#[test]
fn a_thread_that_cannot_be_started_is_an_error_or_not_needed() {
    let dir = quick_dir();
    let edges = edge_list(dir.path(), 2000);
    let tool = dir.path().join("followgraph");
    fs::copy(TOOL, &tool).unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let db = dir.path().join("graph");
    let (db, edges) = (db.to_str().unwrap(), edges.to_str().unwrap());
    let Some(output) = with_few_threads(&tool, &["--db", db, "import", edges], 1) else {
        return skipped("this test runs a program from a temporary directory as another user");
    };
    let told = stderr_of(&output);
    if told.contains("cannot execute") || told.contains("Permission denied") {
        return skipped("this test runs a program from a temporary directory as another user");
    }
    assert!(!told.contains("panicked"), "{told}");
    assert!(output.status.code().is_some_and(|code| code == 1 || code == 3), "{output:?}");
    assert!(told.contains("thread"), "{told}");
    let data = dir.path().join("data");
    let serve = ["serve", "--dev", "--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()];
    for args in [&["--db", db, "stats"][..], &serve] {
        let output = with_few_threads(&tool, args, 1).unwrap();
        assert!(!stderr_of(&output).contains("panicked"), "{args:?}: {}", stderr_of(&output));
        assert!(matches!(output.status.code(), Some(1..=3)), "{args:?}: {output:?}");
    }
}

/// Disk space that a directory takes.
fn allocated_bytes(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).unwrap();
    entries.map(|entry| entry.unwrap().metadata().unwrap().blocks() * 512).sum()
}

#[test]
fn a_small_graph_takes_little_room() {
    let dir = quick_dir();
    let graph = Options::new().create_missing_accounts(true).open(dir.path()).unwrap();
    for round in 0..3 {
        for number in 0..5 {
            graph.follow(&format!("fan{round}-{number}"), "star").unwrap();
        }
        let taken = allocated_bytes(dir.path());
        assert!(taken < 1 << 20, "{taken} bytes before checkpoint {round}");
        graph.checkpoint().unwrap();
        let taken = allocated_bytes(dir.path());
        assert!(taken < 1 << 20, "{taken} bytes after checkpoint {round}");
    }
    drop(graph);
    let fresh = dir.path().join("imported");
    let edges = edge_list(dir.path(), 100);
    let args = ["--db", fresh.to_str().unwrap(), "import", edges.to_str().unwrap()];
    assert!(Command::new(TOOL).args(args).output().unwrap().status.success());
    let taken = allocated_bytes(&fresh);
    assert!(taken < 1 << 20, "{taken} bytes after an import");
}

#[test]
fn a_first_import_fits_on_a_small_disk() {
    let Some(mount) = Mount::tmpfs(4 << 20) else { return };
    let dir = quick_dir();
    let edges = edge_list(dir.path(), 10_000);
    let db = mount.path().join("graph");
    let (db, edges) = (db.to_str().unwrap(), edges.to_str().unwrap());
    for _ in 0..2 {
        let output = Command::new(TOOL).args(["--db", db, "import", edges]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

#[test]
fn segments_grow_with_the_log() {
    let dir = quick_dir();
    let options = || Options::new().create_missing_accounts(true).checkpoint_log_bytes(None);
    let graph = options().durability(Durability::Never).open(dir.path()).unwrap();
    let lengths = || {
        let sizes = crate::support::files_of(dir.path(), "fgl").into_iter();
        sizes.map(|name| dir.path().join(name).metadata().unwrap().len()).collect::<Vec<_>>()
    };
    for number in 0..8000 {
        graph.follow(&format!("{number}{}", "x".repeat(240)), "star").unwrap();
    }
    let grown = lengths();
    assert!(grown.len() >= 3, "{grown:?}");
    assert!(grown.windows(2).all(|pair| pair[1] == 2 * pair[0]), "{grown:?}");
    // After a checkpoint of much comes much, after one of little comes little.
    graph.checkpoint().unwrap();
    assert_eq!(lengths().last(), Some(&(4 << 20)), "{:?}", lengths());
    graph.follow("one", "star").unwrap();
    graph.checkpoint().unwrap();
    assert_eq!(lengths().last(), Some(&grown[0]), "{:?}", lengths());
    drop(graph);
    let graph = options().segment_bytes(128 << 10).open(dir.path()).unwrap();
    for number in 0..8000 {
        graph.unfollow(&format!("{number}{}", "x".repeat(240)), "star").unwrap();
    }
    graph.verify().unwrap();
}
