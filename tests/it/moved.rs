//! A handle belongs to the directory it opened, whatever becomes of the path, and to the process
//! that opened it.

use crate::support::{bytes_of, child_of, files_of, quick_dir};
use followgraph::{Durability, ErrorKind, FollowGraph, Options, RestoreTo, salvage};
use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

fn options() -> Options {
    Options::new()
        .durability(Durability::Always)
        .segment_bytes(64 << 10)
        .checkpoint_log_bytes(None)
        .create_missing_accounts(true)
}

fn writer(dir: &Path) -> FollowGraph {
    options().open(dir).unwrap()
}

/// Follows that fill more than one segment.
fn follow_many(graph: &FollowGraph, prefix: &str) {
    for number in 0..600 {
        graph.follow(&format!("{prefix}{number}{}", "x".repeat(200)), "star").unwrap();
    }
}

/// What a handle does that may open or make files: rotation, checkpoint, consumer, backup.
fn use_everything(graph: &FollowGraph, backup: &Path) {
    let mut consumer = graph.consumer("reader").unwrap();
    follow_many(graph, "b");
    let commit = consumer.next(Duration::from_secs(5)).unwrap().unwrap();
    consumer.acknowledge(commit.sequence).unwrap();
    graph.backup(backup).unwrap();
    graph.checkpoint().unwrap();
    follow_many(graph, "c");
    graph.backup(backup).unwrap();
    graph.checkpoint().unwrap();
    follow_many(graph, "d");
}

fn star_followers(dir: &Path) -> u32 {
    let graph = options().create(false).open(dir).unwrap();
    graph.verify().unwrap();
    graph.counts("star").unwrap().followers
}

/// Runs `switch` while a graph is open at the path, and checks that every follow is in `ends_in`
/// and that no byte of the other graph, now at the path, has changed.
fn check_exchange(place: &Path, ends_in: &Path, switch: impl FnOnce()) {
    let dir = quick_dir();
    let graph = writer(place);
    follow_many(&graph, "a");
    let reader = options().open_read_only(place).unwrap();
    assert_eq!((graph.stats().directory_moved, reader.stats().directory_moved), (None, None));
    switch();
    for handle in [&graph, &reader] {
        let moved = handle.stats().directory_moved.expect("the path leads elsewhere");
        for path in [place, &ends_in.canonicalize().unwrap()] {
            assert!(moved.contains(path.to_str().unwrap()), "{moved}");
        }
    }
    let other = bytes_of(place);
    assert_ne!(other, bytes_of(ends_in));
    use_everything(&graph, &dir.path().join("backup"));
    assert_eq!(graph.counts("star").unwrap().followers, 2400);
    let seen = Instant::now();
    while reader.counts("star").unwrap().followers != 2400 {
        assert!(seen.elapsed() < Duration::from_secs(5), "the reader is left behind");
        std::thread::sleep(Duration::from_millis(2));
    }
    drop((graph, reader));
    assert!(bytes_of(place) == other, "files of the other graph have changed");
    assert_eq!(star_followers(ends_in), 2400);
    assert_eq!(star_followers(place), 1);
    assert_eq!(star_followers(&dir.path().join("backup")), 1800);
}

fn make_other(dir: &Path) {
    writer(dir).follow("stranger", "star").unwrap();
}

#[test]
fn a_graph_goes_on_in_its_directory_when_another_graph_takes_its_path() {
    let dir = quick_dir();
    let (place, aside, other) =
        (dir.path().join("graph"), dir.path().join("aside"), dir.path().join("other"));
    make_other(&other);
    check_exchange(&place, &aside, || {
        fs::rename(&place, &aside).unwrap();
        fs::rename(&other, &place).unwrap();
    });
}

#[test]
fn a_graph_goes_on_in_its_directory_when_a_link_leads_to_another_one() {
    let dir = quick_dir();
    let (link, first, other) =
        (dir.path().join("current"), dir.path().join("first"), dir.path().join("other"));
    make_other(&other);
    fs::create_dir(&first).unwrap();
    symlink(&first, &link).unwrap();
    check_exchange(&link, &first, || {
        fs::remove_file(&link).unwrap();
        symlink(&other, &link).unwrap();
    });
}

#[test]
fn changing_the_working_directory_after_opening_a_relative_path_loses_nothing() {
    const VARIABLE: &str = "FOLLOWGRAPH_TEST_CHDIR";
    if let Ok(dir) = std::env::var(VARIABLE) {
        let dir = PathBuf::from(dir);
        std::env::set_current_dir(&dir).unwrap();
        let graph = writer(Path::new("graph"));
        follow_many(&graph, "a");
        let reader = options().open_read_only("graph").unwrap();
        std::env::set_current_dir(dir.join("elsewhere")).unwrap();
        use_everything(&graph, &dir.join("backup"));
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(reader.counts("star").unwrap().followers, 2400);
        return;
    }
    let dir = quick_dir();
    let elsewhere = dir.path().join("elsewhere");
    make_other(&elsewhere.join("graph"));
    let before = bytes_of(&elsewhere.join("graph"));
    let name = "moved::changing_the_working_directory_after_opening_a_relative_path_loses_nothing";
    let output = child_of(name, VARIABLE, dir.path().to_str().unwrap()).wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(star_followers(&dir.path().join("graph")), 2400);
    assert!(bytes_of(&elsewhere.join("graph")) == before, "the graph elsewhere was written to");
}

#[test]
fn a_cleaner_that_deletes_files_lets_no_second_writer_in() {
    let dir = quick_dir();
    let graph = writer(dir.path());
    graph.follow("alice", "bob").unwrap();
    for name in bytes_of(dir.path()).into_iter().filter(|(_, bytes)| bytes.is_empty()) {
        fs::remove_file(dir.path().join(name.0)).unwrap();
    }
    assert!(dir.path().join("lock").exists(), "the lock file is empty");
    for round in 0..2 {
        let error = options().open(dir.path()).err().expect("a second writer");
        assert_eq!(error.kind(), ErrorKind::InUse, "round {round}: {error}");
        let _ = fs::remove_file(dir.path().join("lock"));
    }
    graph.follow("carol", "bob").unwrap();
    drop(graph);
    assert_eq!(writer(dir.path()).counts("bob").unwrap().followers, 2);
}

#[test]
fn a_second_writer_is_told_which_process_has_the_graph() {
    let dir = quick_dir();
    let graph = writer(dir.path());
    let error = options().open(dir.path()).err().unwrap().to_string();
    assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
    drop(graph);
}

#[test]
fn files_of_a_graph_may_be_symbolic_links() {
    let dir = quick_dir();
    let (place, disk) = (dir.path().join("graph"), dir.path().join("disk"));
    let graph = writer(&place);
    follow_many(&graph, "a");
    graph.checkpoint().unwrap();
    follow_many(&graph, "link");
    let backup = dir.path().join("backup");
    graph.backup(&backup).unwrap();
    drop(graph);
    for directory in [&place, &backup] {
        let disk = disk.join(directory.file_name().unwrap());
        fs::create_dir_all(&disk).unwrap();
        for name in bytes_of(directory).into_keys() {
            let (from, to) = (directory.join(&name), disk.join(&name));
            if name != Path::new("lock") {
                fs::rename(&from, &to).unwrap();
                symlink(&to, &from).unwrap();
            }
        }
        assert_eq!(star_followers(directory), 1200);
        let reader = options().open_read_only(directory).unwrap();
        assert_eq!(reader.counts("star").unwrap().followers, 1200);
    }
    FollowGraph::restore(&backup, dir.path().join("restored"), RestoreTo::End).unwrap();
    let graph = writer(&place);
    use_everything(&graph, &dir.path().join("again"));
}

#[test]
fn a_link_that_leads_nowhere_is_an_error_and_not_the_end_of_the_log() {
    let dir = quick_dir();
    let graph = writer(dir.path());
    follow_many(&graph, "a");
    drop(graph);
    let last = dir.path().join(files_of(dir.path(), "fgl").pop().unwrap());
    let aside = dir.path().join("aside");
    fs::rename(&last, &aside).unwrap();
    symlink(dir.path().join("nowhere"), &last).unwrap();
    for refused in
        [options().open(dir.path()), options().open_read_only(dir.path())].map(Result::err)
    {
        let error = refused.expect("commits are missing");
        assert_eq!(error.path(), Some(last.as_path()), "{error}");
    }
    fs::rename(&aside, &last).unwrap();
    assert_eq!(star_followers(dir.path()), 600);
}

/// Fails where `ask` takes longer than a refusal may.
fn soon<R: Send + 'static>(what: &str, ask: impl FnOnce() -> R + Send + 'static) -> R {
    let (sender, receiver) = channel();
    std::thread::spawn(move || sender.send(ask()));
    receiver.recv_timeout(Duration::from_secs(5)).unwrap_or_else(|_| panic!("{what} hangs"))
}

fn put_strange_file(path: &Path, kind: &str) {
    match kind {
        "FIFO" => assert!(Command::new("mkfifo").arg(path).status().unwrap().success()),
        "socket" => drop(UnixListener::bind(path).unwrap()),
        _ => fs::create_dir(path).unwrap(),
    }
}

#[test]
fn what_is_no_regular_file_is_refused_at_once_under_the_name_of_an_image_or_a_segment() {
    let dir = quick_dir();
    let graph = writer(&dir.path().join("graph"));
    follow_many(&graph, "a");
    let backup = dir.path().join("backup");
    graph.backup(&backup).unwrap();
    graph.follow("late", "star").unwrap();
    graph.backup(&backup).unwrap();
    drop(graph);
    for extension in ["fgi", "fgl"] {
        for kind in ["FIFO", "socket", "directory"] {
            let name = files_of(&backup, extension).pop().unwrap();
            let (file, aside) = (backup.join(&name), dir.path().join("aside"));
            fs::rename(&file, &aside).unwrap();
            put_strange_file(&file, kind);
            let (place, to) = (backup.clone(), dir.path().join(format!("to-{extension}-{kind}")));
            let refusals = soon(kind, move || {
                [
                    options().open(&place).err(),
                    options().open_read_only(&place).err(),
                    FollowGraph::restore(&place, &to, RestoreTo::End).err(),
                    FollowGraph::backup_coverage(&place).err(),
                ]
            });
            for (number, refused) in refusals.into_iter().enumerate() {
                // Coverage reads the names of images alone, but for the newest one.
                let error = refused.unwrap_or_else(|| panic!("{number} takes a {kind}"));
                assert!(error.to_string().contains(kind), "{number}: {error}");
                assert_eq!(error.path(), Some(file.as_path()), "{number}: {error}");
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{number}: {error}");
            }
            let (place, to) = (backup.clone(), dir.path().join(format!("saved-{extension}{kind}")));
            soon(kind, move || drop(salvage(&place, &to)));
            let found = fs::symlink_metadata(&file).unwrap().file_type();
            assert!(found.is_fifo() || found.is_socket() || found.is_dir(), "it was replaced");
            match kind {
                "directory" => fs::remove_dir(&file).unwrap(),
                _ => fs::remove_file(&file).unwrap(),
            }
            fs::rename(&aside, &file).unwrap();
        }
    }
    assert_eq!(star_followers(&backup), 601);
}

#[test]
fn a_strange_file_under_the_name_of_a_lock_or_a_consumer_is_refused_at_once() {
    for name in ["lock", "consumer-reader.fgc"] {
        let dir = quick_dir();
        drop(writer(dir.path()));
        let _ = fs::remove_file(dir.path().join(name));
        put_strange_file(&dir.path().join(name), "FIFO");
        let place = dir.path().to_owned();
        let error = soon(name, move || options().open(&place).err()).expect("a FIFO was taken");
        assert!(error.to_string().contains("FIFO"), "{error}");
        assert_eq!(error.path(), Some(dir.path().join(name).as_path()), "{error}");
    }
}

#[test]
fn file_names_with_numbers_beyond_the_last_one_are_refused() {
    for name in [
        "image-ffffffffffffffff.fgi",
        "image-8000000000000000.fgi",
        "log-ffffffffffffffff.fgl",
        "log-8000000000000001.fgl",
    ] {
        let dir = quick_dir();
        let place = dir.path().join("graph");
        let graph = writer(&place);
        graph.follow("alice", "bob").unwrap();
        graph.checkpoint().unwrap();
        drop(graph);
        let extension = if name.starts_with("image") { "fgi" } else { "fgl" };
        let newest = place.join(files_of(&place, extension).pop().unwrap());
        fs::copy(newest, place.join(name)).unwrap();
        let to = |what: &str| dir.path().join(what);
        let refusals = [
            options().open(&place).err(),
            options().open_read_only(&place).err(),
            FollowGraph::restore(&place, to("to"), RestoreTo::End).err(),
            writer(&to("source")).backup(&place).err(),
        ];
        for (number, refused) in refusals.into_iter().enumerate() {
            let error = refused.unwrap_or_else(|| panic!("{number} takes {name}"));
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{number}: {error}");
            assert_eq!(error.path(), Some(place.join(name).as_path()), "{number}: {error}");
        }
        let report = salvage(&place, to("saved")).unwrap();
        assert!(!report.damaged.is_empty(), "{name}: {report:?}");
        assert_eq!(star_count(&to("saved"), "bob"), 1, "{name}");
    }
}

fn star_count(dir: &Path, name: &str) -> u32 {
    writer(dir).counts(name).unwrap().followers
}

/// Writes a value into a field of a header and puts its checksum right.
fn set_field(file: &Path, header_bytes: usize, offset: usize, value: u64) {
    let mut bytes = fs::read(file).unwrap();
    bytes[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..header_bytes - 4]);
    bytes[header_bytes - 4..header_bytes].copy_from_slice(&crc.to_le_bytes());
    File::create(file).unwrap();
    fs::write(file, bytes).unwrap();
}

#[test]
fn segment_headers_and_positions_with_numbers_near_2_to_the_64_cause_no_panic() {
    // The first sequence number, the length, and the durable sequence number.
    for offset in [32, 40, 48] {
        for value in [u64::MAX, u64::MAX - 1, 1 << 63] {
            let dir = quick_dir();
            let place = dir.path().join("graph");
            let graph = writer(&place);
            follow_many(&graph, "a");
            drop(graph);
            let segment = place.join(files_of(&place, "fgl").pop().unwrap());
            set_field(&segment, 64, offset, value);
            let what = format!("{value:x} at {offset}");
            drop(FollowGraph::restore(&place, dir.path().join("to"), RestoreTo::End));
            drop(salvage(&place, dir.path().join("saved")));
            for refused in [options().open_read_only(&place).err(), options().open(&place).err()] {
                let error = refused.unwrap_or_else(|| panic!("{what} is taken"));
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}");
                assert_eq!(error.path(), Some(segment.as_path()), "{what}: {error}");
                assert_eq!(error.offset_bytes(), Some(offset as u64), "{what}: {error}");
            }
        }
    }
    let dir = quick_dir();
    let graph = writer(dir.path());
    graph.follow("alice", "bob").unwrap();
    let consumer = graph.consumer("reader").unwrap();
    assert!(consumer.acknowledge(u64::MAX).is_err());
    assert!(graph.changes(u64::MAX).is_err());
    drop((consumer, graph));
    set_field(&dir.path().join("consumer-reader.fgc"), 64, 32, u64::MAX);
    let graph = writer(dir.path());
    let _ = graph.consumer("reader").map(|mut consumer| consumer.next(Duration::ZERO));
    graph.follow("carol", "bob").unwrap();
    graph.checkpoint().unwrap();
}

#[test]
fn a_reader_of_a_directory_that_was_removed_says_so() {
    let dir = quick_dir();
    let place = dir.path().join("graph");
    drop(writer(&place));
    let reader = options().open_read_only(&place).unwrap();
    fs::remove_dir_all(&place).unwrap();
    std::thread::sleep(Duration::from_millis(2));
    assert!(reader.counts("star").is_err());
    let moved = reader.stats().directory_moved.unwrap();
    assert!(moved.contains("no longer there"), "{moved}");
    // What comes to the same path later is another directory.
    writer(&place).follow("alice", "star").unwrap();
    assert!(reader.counts("star").is_err());
}

#[test]
fn the_tool_says_that_the_directory_was_moved_while_it_was_open() {
    let dir = quick_dir();
    let (place, aside, fifo) =
        (dir.path().join("graph"), dir.path().join("aside"), dir.path().join("edges"));
    put_strange_file(&fifo, "FIFO");
    let mut import = Command::new(env!("CARGO_BIN_EXE_followgraph"));
    import.arg("--db").arg(&place).arg("import").arg(&fifo).stderr(std::process::Stdio::piped());
    let child = import.spawn().unwrap();
    let mut edges = File::options().write(true).open(&fifo).unwrap();
    // So many lines that they show the format of the list.
    std::io::Write::write_all(&mut edges, "alice bob\n".repeat(40_000).as_bytes()).unwrap();
    let started = Instant::now();
    while !place.join("lock").exists() {
        assert!(started.elapsed() < Duration::from_secs(10), "it never opens the graph");
        std::thread::sleep(Duration::from_millis(2));
    }
    fs::rename(&place, &aside).unwrap();
    drop(edges);
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{told}");
    assert!(told.contains("is no longer there") && told.contains("aside"), "{told}");
    assert_eq!(star_count(&aside, "bob"), 1);
}
