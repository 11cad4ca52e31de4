//! Backups go on while the graph is written, and every position they cover can be restored: what
//! comes out is the model at exactly that position, or an error that says what is wrong where.

use crate::support::{
    HandClock, Mount, Random, assert_equal, assert_verified, bytes_of, child_of, lay_out,
    quick_dir, walk,
};
use followgraph::testing::{Disk, Failure, Fault, Model, Remains};
use followgraph::{BackupReport, Durability, ErrorKind, FollowGraph, Options, RestoreTo};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const NAMES: [&str; 9] = ["ann", "bob", "cy", "dan", "eve", "fay", "gus", "hal", "ida"];
const NOW: u32 = 1000;

fn options() -> Options {
    Options::new()
        .segment_bytes(64 << 10)
        .checkpoint_log_bytes(None)
        .create_missing_accounts(true)
        .clock(HandClock::at(NOW).clock())
}

fn open(dir: &Path) -> FollowGraph {
    options().open(dir).unwrap()
}

#[derive(Clone, Copy)]
enum Change {
    Follow(&'static str, &'static str),
    Unfollow(&'static str, &'static str),
    Remove(&'static str),
}

impl Change {
    /// Whether it changed anything.
    fn apply(self, model: &mut Model) -> bool {
        match self {
            Change::Follow(from, to) => model.follow(from, to, NOW).unwrap_or(false),
            Change::Unfollow(from, to) => model.unfollow(from, to).unwrap_or(false),
            Change::Remove(name) => model.remove_account(name).is_ok(),
        }
    }

    fn commit(self, graph: &FollowGraph) {
        match self {
            Change::Follow(from, to) => graph.follow(from, to).map(drop),
            Change::Unfollow(from, to) => graph.unfollow(from, to).map(drop),
            Change::Remove(name) => graph.remove_account(name),
        }
        .unwrap();
    }
}

fn empty_model() -> Model {
    let mut model = Model::default();
    model.creates_missing_accounts = true;
    model
}

/// What was committed, each with its sequence number.
#[derive(Clone)]
struct History {
    random: Random,
    model: Model,
    changes: Vec<(u64, Change)>,
}

impl History {
    fn seeded(seed: u64) -> History {
        History { random: Random::seeded(seed), model: empty_model(), changes: Vec::new() }
    }

    /// Commits one change more.
    fn go_on(&mut self, graph: &FollowGraph) {
        let change = loop {
            let name = |random: &mut Random| NAMES[random.below(NAMES.len())];
            let (from, to) = (name(&mut self.random), name(&mut self.random));
            let change = match self.random.below(40) {
                0 => Change::Remove(from),
                1..10 => Change::Unfollow(from, to),
                _ => Change::Follow(from, to),
            };
            if change.apply(&mut self.model) {
                break change;
            }
        };
        change.commit(graph);
        self.changes.push((graph.stats().sequence, change));
    }

    fn go_on_for(&mut self, graph: &FollowGraph, count: usize) {
        (0..count).for_each(|_| self.go_on(graph));
    }

    fn model_at(&self, sequence: u64) -> Model {
        let mut model = empty_model();
        for (_, change) in self.changes.iter().take_while(|(at, _)| *at <= sequence) {
            assert!(change.apply(&mut model));
        }
        model
    }
}

#[track_caller]
fn assert_is_at(graph: &FollowGraph, history: &History, sequence: u64) {
    let model = history.model_at(sequence);
    assert_equal(graph, &model, &NAMES);
    assert_verified(graph, &model);
}

/// Restores into a new directory of `place` and opens what came of it.
#[track_caller]
fn restored(backup: &Path, place: &Path, to: RestoreTo) -> FollowGraph {
    let dest = place.join("restored");
    let _ = std::fs::remove_dir_all(&dest);
    let report = FollowGraph::restore(backup, &dest, to).unwrap();
    let graph = open(&dest);
    assert_eq!(graph.stats().sequence, report.sequence);
    assert_eq!(graph.stats().follow_count, report.follow_count);
    graph
}

/// What was restored is the model at `sequence`, which is all there is.
#[track_caller]
fn check_end(backup: &Path, place: &Path, history: &History, sequence: u64) {
    let graph = restored(backup, place, RestoreTo::End);
    assert_eq!(graph.stats().sequence, sequence);
    assert_is_at(&graph, history, sequence);
}

#[test]
fn backups_beside_a_writer_at_full_speed_are_the_model_at_their_sequence() {
    let dir = quick_dir();
    let (place, backup) = (dir.path().join("graph"), dir.path().join("backup"));
    let graph = options().durability(Durability::Interval(Duration::from_millis(1)));
    let graph = graph.open(&place).unwrap();
    let is_over = AtomicBool::new(false);
    let mut history = History::seeded(1);
    let mut reports: Vec<BackupReport> = Vec::new();
    std::thread::scope(|scope| {
        let (history, graph, is_over) = (&mut history, &graph, &is_over);
        let writer = scope.spawn(move || {
            // The model would take longer than the graph if this had no end.
            while !is_over.load(Ordering::SeqCst) && history.changes.len() < 40_000 {
                history.go_on(graph);
            }
        });
        for round in 0..30 {
            let report = graph.backup(&backup).unwrap();
            assert_eq!(report.since, reports.last().map(|last| last.sequence));
            reports.push(report);
            let copy = dir.path().join(format!("copy{round}"));
            let restored = FollowGraph::restore(&backup, copy, RestoreTo::End).unwrap();
            assert_eq!(restored.sequence, report.sequence);
            if round % 4 == 1 {
                graph.checkpoint().unwrap();
            }
            // However slow the machine is, the log grows between two backups.
            while !writer.is_finished() && graph.stats().sequence < report.sequence + 250 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        is_over.store(true, Ordering::SeqCst);
    });
    let (mut model, mut changes) = (empty_model(), history.changes.iter().peekable());
    for (round, report) in reports.iter().enumerate() {
        while let Some((_, change)) = changes.next_if(|(at, _)| *at <= report.sequence) {
            assert!(change.apply(&mut model));
        }
        let graph = open(&dir.path().join(format!("copy{round}")));
        assert_equal(&graph, &model, &NAMES);
        assert_verified(&graph, &model);
    }
    let log_bytes: u64 = reports[1..].iter().map(|report| report.written_bytes).sum();
    assert!(log_bytes > 4 * (64 << 10), "the log never rotated: {log_bytes} bytes");
    assert!(reports[29].sequence > reports[0].sequence + 1000);
}

/// A graph and a backup of it by several increments, with checkpoints, closes and segments between.
fn small_history(dir: &Path, backup: &Path) -> (History, Vec<u64>) {
    let mut history = History::seeded(2);
    let mut ends = Vec::new();
    let mut graph = open(dir);
    history.go_on_for(&graph, 12);
    for round in 0..8 {
        ends.push(graph.backup(backup).unwrap().sequence);
        history.go_on_for(&graph, round * 2);
        if round % 3 == 0 {
            graph.checkpoint().unwrap();
        }
        if round % 2 == 0 {
            drop(graph);
            graph = open(dir);
        }
    }
    ends.push(graph.backup(backup).unwrap().sequence);
    (history, ends)
}

#[test]
fn every_position_is_restored_as_it_was_and_no_other() {
    let place = quick_dir();
    let (dir, backup) = (place.path().join("graph"), place.path().join("backup"));
    let (history, ends) = small_history(&dir, &backup);
    let covered = FollowGraph::backup_coverage(&backup).unwrap();
    assert_eq!((covered.first_sequence, covered.last_sequence), (ends[0], *ends.last().unwrap()));
    let before = bytes_of(&backup);
    for sequence in covered.first_sequence..=covered.last_sequence {
        let graph = restored(&backup, place.path(), RestoreTo::Sequence(sequence));
        assert_eq!(graph.stats().sequence, sequence);
        assert_is_at(&graph, &history, sequence);
        // Work goes on there, under the next number.
        graph.follow("new", "one").unwrap();
        assert_eq!(graph.stats().sequence, sequence + 1);
        graph.checkpoint().unwrap();
    }
    for sequence in [0, covered.first_sequence - 1, covered.last_sequence + 1, u64::MAX] {
        let dest = place.path().join("outside");
        let refused = FollowGraph::restore(&backup, &dest, RestoreTo::Sequence(sequence));
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        let range = format!("{} to {}", covered.first_sequence, covered.last_sequence);
        assert!(error.to_string().contains(&range), "{error}");
    }
    assert!(bytes_of(&backup) == before, "a restore changed the backup");
}

#[test]
fn a_closed_graph_is_restored_from_its_own_directory() {
    let place = quick_dir();
    let (dir, backup) = (place.path().join("graph"), place.path().join("backup"));
    let (history, _) = small_history(&dir, &backup);
    let graph = open(&dir);
    let dest = place.path().join("dest");
    let error = FollowGraph::restore(&dir, &dest, RestoreTo::End).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InUse, "{error}");
    drop(graph);
    let before = bytes_of(&dir);
    let covered = FollowGraph::backup_coverage(&dir).unwrap();
    assert!(covered.first_sequence < covered.last_sequence);
    for sequence in covered.first_sequence..=covered.last_sequence {
        let graph = restored(&dir, place.path(), RestoreTo::Sequence(sequence));
        assert_is_at(&graph, &history, sequence);
    }
    check_end(&dir, place.path(), &history, covered.last_sequence);
    assert!(bytes_of(&dir) == before, "a restore changed the graph");
}

#[test]
fn a_backup_that_is_only_read_stays_one_and_one_that_is_written_to_does_not() {
    let place = quick_dir();
    let (dir, backup) = (place.path().join("graph"), place.path().join("backup"));
    let graph = open(&dir);
    let mut history = History::seeded(3);
    for count in [0, 5, 1, 0, 7] {
        history.go_on_for(&graph, count);
        let report = graph.backup(&backup).unwrap();
        let before = bytes_of(&backup);
        let copy = open(&backup);
        assert_is_at(&copy, &history, report.sequence);
        drop(copy);
        assert!(bytes_of(&backup) == before, "reading changed the backup");
    }
    let copy = open(&backup);
    copy.follow("written", "to").unwrap();
    drop(copy);
    let before = bytes_of(&backup);
    for count in [0, 3] {
        history.go_on_for(&graph, count);
        let error = graph.backup(&backup).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    }
    assert!(bytes_of(&backup) == before, "a refused backup changed the directory");
    assert_eq!(open(&backup).counts("written").unwrap().following, 1);
}

#[test]
fn increments_go_to_a_backup_of_the_same_graph_only() {
    let place = quick_dir();
    let (dir, backup) = (place.path().join("graph"), place.path().join("backup"));
    let graph = open(&dir);
    let mut history = History::seeded(4);
    history.go_on_for(&graph, 5);
    graph.backup(&backup).unwrap();
    drop(graph);
    let earlier = bytes_of(&dir);
    let graph = open(&dir);
    history.go_on_for(&graph, 5);
    let end = graph.backup(&backup).unwrap().sequence;
    drop(graph);
    let before = bytes_of(&backup);
    let refused = |graph: &FollowGraph, words: &str| {
        let error = graph.backup(&backup).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    };

    refused(&FollowGraph::in_memory(), "another graph");
    let restored = restored(&backup, place.path(), RestoreTo::End);
    restored.follow("goes", "on").unwrap();
    refused(&restored, "another graph");

    // The directory put back by hand has the same id, and other commits under the same numbers.
    lay_out(&dir, &earlier);
    let graph = open(&dir);
    refused(&graph, "goes further");
    while graph.stats().sequence <= end {
        graph.follow("other", &format!("way{}", graph.stats().sequence)).unwrap();
    }
    refused(&graph, "different ways");
    assert!(bytes_of(&backup) == before, "a refused increment changed the backup");
    check_end(&backup, place.path(), &history, end);
}

#[test]
fn where_the_log_does_not_reach_back_a_whole_backup_is_asked_for() {
    let place = quick_dir();
    let backup = place.path().join("backup");
    let graph = open(&place.path().join("graph"));
    let mut history = History::seeded(5);
    history.go_on_for(&graph, 5);
    graph.backup(&backup).unwrap();
    let forget = |history: &mut History| {
        for _ in 0..3 {
            history.go_on_for(&graph, 3);
            graph.checkpoint().unwrap();
        }
    };
    forget(&mut history);
    let before = bytes_of(&backup);
    let error = graph.backup(&backup).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PositionLost, "{error}");
    assert!(error.to_string().contains("whole backup"), "{error}");
    assert!(bytes_of(&backup) == before, "a refused increment changed the backup");

    // A consumer keeps the log for the next one.
    let (backup, hold) = (place.path().join("held"), graph.consumer("nightly").unwrap());
    for _ in 0..3 {
        let report = graph.backup(&backup).unwrap();
        hold.acknowledge(report.sequence).unwrap();
        check_end(&backup, place.path(), &history, report.sequence);
        forget(&mut history);
    }
}

#[test]
fn a_bulk_load_is_in_no_increment() {
    let place = quick_dir();
    let graph = open(&place.path().join("graph"));
    let backup = place.path().join("backup");
    assert_eq!(graph.backup(&backup).unwrap().sequence, 0);
    let before = bytes_of(&backup);
    let mut load = graph.bulk_load(1 << 20).unwrap();
    load.add("ann", "bob", None).unwrap();
    load.finish(&mut |_, _| {}).unwrap();
    for _ in 0..2 {
        let error = graph.backup(&backup).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PositionLost, "{error}");
        graph.follow("cy", "bob").unwrap();
    }
    assert!(bytes_of(&backup) == before, "a refused increment changed the backup");
    let whole = place.path().join("whole");
    graph.backup(&whole).unwrap();
    assert_eq!(restored(&whole, place.path(), RestoreTo::End).counts("bob").unwrap().followers, 2);
}

/// Killed between its image and the removal of the older log, a load leaves a log that goes back to
/// the backup and has nothing of what was loaded.
#[test]
fn a_bulk_load_that_was_killed_is_in_no_increment() {
    let disk = Disk::new(4096);
    let graph = disk.open(options()).unwrap();
    disk.directory("backup").take_backup(&graph).unwrap();
    drop(graph);
    let mut refused_count = 0;
    for at in 0.. {
        let trial = disk.copy();
        let graph = trial.open(options()).unwrap();
        trial.set_fault(Fault::PowerLoss { at, partly: false });
        let mut load = graph.bulk_load(1 << 20).unwrap();
        load.add("ann", "bob", None).unwrap();
        let _ = load.finish(&mut |_, _| {});
        let is_over = trial.has_power();
        drop(graph);
        let killed = trial.copy();
        let graph = killed.open(options()).unwrap();
        match killed.directory("backup").take_backup(&graph) {
            Ok(_) => {
                let held = at_backup(&killed).unwrap().stats().follow_count;
                assert_eq!(held, graph.stats().follow_count, "call {at}: the load is not in it");
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::PositionLost, "call {at}: {error}");
                refused_count += u32::from(error.to_string().contains("a bulk load came since"));
            }
        }
        if is_over {
            break;
        }
    }
    assert!(refused_count > 0, "no kill left a log that goes back to the backup");
}

#[test]
fn what_is_damaged_in_a_backup_is_found_by_restoring_it() {
    let place = quick_dir();
    let backup = place.path().join("backup");
    let (history, ends) = small_history(&place.path().join("graph"), &backup);
    let files = bytes_of(&backup);
    let end = *ends.last().unwrap();
    let damaged = place.path().join("damaged");
    let (mut refused_count, mut harmless_count) = (0, 0);
    let mut try_it = |name: &PathBuf, bytes: Vec<u8>, what: &str| {
        let mut files = files.clone();
        files.insert(name.clone(), bytes);
        lay_out(&damaged, &files);
        let dest = place.path().join("dest");
        let _ = std::fs::remove_dir_all(&dest);
        match FollowGraph::restore(&damaged, &dest, RestoreTo::End) {
            Err(error) => {
                let kinds = [ErrorKind::Corrupt, ErrorKind::UnsupportedVersion];
                assert!(kinds.contains(&error.kind()), "{what}: {error}");
                let is_named = error.path() == Some(&damaged.join(name));
                let is_neighbour = error.path().is_some_and(|path| path.starts_with(&damaged));
                assert!(is_named || (is_neighbour && what.contains("header")), "{what}: {error}");
                assert!(!what.contains("frame") || error.offset_bytes().is_some(), "{error}");
                refused_count += 1;
                false
            }
            Ok(report) => {
                assert_eq!(report.sequence, end, "{what}");
                assert_is_at(&open(&dest), &history, end);
                harmless_count += 1;
                true
            }
        }
    };
    let mut random = Random::seeded(6);
    for (name, bytes) in files.iter().filter(|(name, _)| *name != Path::new("lock")) {
        let is_log = name.extension().is_some_and(|extension| extension == "fgl");
        for offset in 0..bytes.len() {
            if !is_log && offset >= 4096 && bytes[offset] == 0 && offset % 97 != 0
                || !is_log && offset < 4096 && offset % 61 != 0
            {
                continue;
            }
            let mut flipped = bytes.clone();
            flipped[offset] ^= 1 << random.below(8);
            let part = if offset < 64 {
                "header"
            } else if is_log {
                "frame"
            } else {
                "section"
            };
            try_it(name, flipped, &format!("{part}, {name:?} at {offset}"));
        }
        for length in (0..bytes.len()).filter(|length| is_log || length % 1000 == 1) {
            let part = if is_log { "header or log" } else { "header or image" };
            let what = format!("{part}, {name:?} cut to {length}");
            assert!(!try_it(name, bytes[..length].to_vec(), &what), "{what}");
        }
        // Frames that became zeros look like room that was never used.
        for start in (64..bytes.len()).filter(|_| is_log) {
            let cleared = [&bytes[..start], &vec![0; bytes.len() - start]].concat();
            if cleared != *bytes {
                let what = format!("log, {name:?} zeros from {start}");
                assert!(!try_it(name, cleared, &what), "{what}");
            }
        }
    }
    println!("{refused_count} refused, {harmless_count} harmless");
    assert!(refused_count > 1000 && harmless_count > 0);
}

/// The child's part: say that work begins, and do it over and over until killed.
fn until_killed(mut work: impl FnMut()) -> ! {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\nbegin").unwrap();
    out.flush().unwrap();
    loop {
        work();
    }
}

/// Runs this test as a child until it has begun, and kills it a little later.
fn kill_at_work(test: &str, variable: &str, dir: &Path, patience: Duration) {
    let mut child = child_of(test, variable, dir.to_str().unwrap());
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line == "begin"), "the child never began");
    std::thread::sleep(patience);
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert!(status.code().is_none(), "the child ended by itself: {status}");
}

/// A graph whose copy takes some milliseconds.
fn load_crowd(dir: &Path) {
    let graph = open(dir);
    let mut load = graph.bulk_load(16 << 20).unwrap();
    for number in 0..40_000 {
        load.add(&format!("member{number}"), &format!("star{}", number % 100), None).unwrap();
    }
    load.finish(&mut |_, _| {}).unwrap();
}

/// Whom "fan" follows: one more in each commit, so it is those with the lowest numbers.
fn followed_by_fan(graph: &FollowGraph) -> usize {
    let Ok(followed) = walk(10_000, |page| graph.following("fan", page)) else { return 0 };
    for number in 0..followed.len() {
        assert!(graph.relation("fan", &format!("new{number}")).unwrap().following, "{number}");
    }
    followed.len()
}

#[test]
fn a_backup_that_is_killed_is_unfinished_or_whole_and_runs_again() {
    const VARIABLE: &str = "FOLLOWGRAPH_TEST_KILL_BACKUP";
    if let Ok(place) = std::env::var(VARIABLE) {
        let graph = open(&Path::new(&place).join("graph"));
        let mut number = followed_by_fan(&graph);
        until_killed(|| {
            graph.backup(Path::new(&place).join("backup")).unwrap();
            for _ in 0..40 {
                graph.follow("fan", &format!("new{number}")).unwrap();
                number += 1;
            }
        });
    }
    let place = quick_dir();
    let (dir, backup) = (place.path().join("graph"), place.path().join("backup"));
    load_crowd(&dir);
    let test = "backup::a_backup_that_is_killed_is_unfinished_or_whole_and_runs_again";
    let mut random = Random::seeded(7);
    let (mut unfinished_count, mut whole_count) = (0, 0);
    // How far a child comes is up to the machine, so there are rounds until both were seen.
    for round in 0..96 {
        if round >= 16 && unfinished_count > 0 && whole_count > 0 {
            break;
        }
        let _ = std::fs::remove_dir_all(&backup);
        let patience = if round % 2 == 0 { 60 } else { 400 };
        let patience = Duration::from_millis(random.below(patience) as u64);
        kill_at_work(test, VARIABLE, place.path(), patience);
        let mut seen = 0;
        if let Err(error) = FollowGraph::backup_coverage(&backup) {
            let kinds = [ErrorKind::Unfinished, ErrorKind::NotAGraph];
            assert!(kinds.contains(&error.kind()), "{error}");
            if error.kind() == ErrorKind::Unfinished {
                let error = options().open(&backup).err().unwrap();
                assert_eq!(error.kind(), ErrorKind::Unfinished, "{error}");
                unfinished_count += 1;
            }
        } else {
            seen = followed_by_fan(&restored(&backup, place.path(), RestoreTo::End));
            whole_count += 1;
        }
        let graph = open(&dir);
        let followed = followed_by_fan(&graph);
        assert!(seen <= followed, "the backup has {seen}, the graph {followed}");
        graph.backup(&backup).unwrap();
        let copy = restored(&backup, place.path(), RestoreTo::End);
        assert_eq!(copy.stats().sequence, graph.stats().sequence);
        let fingerprint = |graph: &FollowGraph| graph.verify().unwrap().content_fingerprint;
        assert_eq!(fingerprint(&copy), fingerprint(&graph));
    }
    println!("{unfinished_count} unfinished, {whole_count} whole");
    assert!(unfinished_count > 0 && whole_count > 0);
}

#[test]
fn a_restore_that_is_killed_is_unfinished_or_whole_and_runs_again() {
    const VARIABLE: &str = "FOLLOWGRAPH_TEST_KILL_RESTORE";
    if let Ok(place) = std::env::var(VARIABLE) {
        let (backup, dest) = (Path::new(&place).join("backup"), Path::new(&place).join("dest"));
        until_killed(|| {
            // Under another name first: killed while files go one by one, it would leave some.
            let old = Path::new(&place).join("old");
            let _ = std::fs::remove_dir_all(&old);
            let _ = std::fs::rename(&dest, &old);
            FollowGraph::restore(&backup, &dest, RestoreTo::End).unwrap();
        });
    }
    let place = quick_dir();
    let (dir, backup) = (place.path().join("graph"), place.path().join("backup"));
    load_crowd(&dir);
    let graph = open(&dir);
    graph.backup(&backup).unwrap();
    graph.follow("fan", "new0").unwrap();
    graph.backup(&backup).unwrap();
    let right = graph.verify().unwrap().content_fingerprint;
    let test = "backup::a_restore_that_is_killed_is_unfinished_or_whole_and_runs_again";
    let (mut random, mut unfinished_count) = (Random::seeded(8), 0);
    let dest = place.path().join("dest");
    for _ in 0..12 {
        let patience = Duration::from_millis(random.below(150) as u64);
        kill_at_work(test, VARIABLE, place.path(), patience);
        let found = options().create(false).open(&dest);
        let is_whole = match found {
            Ok(graph) => {
                assert_eq!(graph.verify().unwrap().content_fingerprint, right);
                true
            }
            Err(error) => {
                let kinds = [ErrorKind::Unfinished, ErrorKind::NotAGraph];
                assert!(kinds.contains(&error.kind()), "{error}");
                unfinished_count += usize::from(error.kind() == ErrorKind::Unfinished);
                false
            }
        };
        let again = FollowGraph::restore(&backup, &dest, RestoreTo::End);
        assert_eq!(again.is_ok(), !is_whole, "{again:?}");
        assert_eq!(open(&dest).verify().unwrap().content_fingerprint, right);
    }
    assert!(unfinished_count > 0, "no kill came in the middle");
}

#[test]
fn a_destination_that_is_full_leaves_the_older_backup_and_the_graph_usable() {
    let Some(mount) = Mount::tmpfs(1 << 20) else {
        return;
    };
    let place = quick_dir();
    let graph = open(&place.path().join("graph"));
    let mut history = History::seeded(9);
    history.go_on_for(&graph, 20);
    let (backup, ballast) = (mount.path().join("backup"), mount.path().join("ballast"));
    let fill = || drop(std::fs::write(&ballast, vec![1; 2 << 20]));

    std::fs::create_dir(&backup).unwrap();
    fill();
    let error = graph.backup(&backup).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DiskFull, "{error}");
    std::fs::remove_file(&ballast).unwrap();
    let end = graph.backup(&backup).unwrap().sequence;

    fill();
    let before = bytes_of(&backup);
    history.go_on_for(&graph, 20);
    let error = graph.backup(&backup).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DiskFull, "{error}");
    assert!(bytes_of(&backup) == before, "the older backup was changed");
    check_end(&backup, place.path(), &history, end);
    let error = FollowGraph::restore(&backup, mount.path().join("dest"), RestoreTo::End);
    assert_eq!(error.unwrap_err().kind(), ErrorKind::DiskFull);

    std::fs::remove_file(&ballast).unwrap();
    history.go_on_for(&graph, 1);
    let end = graph.backup(&backup).unwrap().sequence;
    check_end(&backup, place.path(), &history, end);
    let dest = mount.path().join("dest");
    FollowGraph::restore(&backup, &dest, RestoreTo::End).unwrap();
    assert_is_at(&open(&dest), &history, end);
}

/// What is in the backup of a disk, where it is one.
fn at_backup(disk: &Disk) -> Result<FollowGraph, ErrorKind> {
    let restored = Disk::new(4096);
    let outcome = disk.directory("backup").restore(&restored, RestoreTo::End);
    outcome.map_err(|error| error.kind())?;
    Ok(restored.open(options()).unwrap())
}

fn remains() -> impl Iterator<Item = Remains> {
    [Remains::Nothing, Remains::Everything].into_iter().chain((0..12).map(Remains::Seeded))
}

#[test]
fn power_lost_at_any_call_of_an_increment_leaves_the_old_backup_or_the_new_one() {
    let mut history = History::seeded(10);
    let disk = Disk::new(4096);
    let graph = disk.open(options()).unwrap();
    history.go_on_for(&graph, 6);
    let mut ends = vec![disk.directory("backup").take_backup(&graph).unwrap().sequence];
    for count in [4, 3] {
        history.go_on_for(&graph, count);
        ends.push(graph.stats().sequence);
        let call_count = check_every_power_loss(&disk, &history, &ends);
        assert!(call_count >= 6, "only {call_count} calls");
        let graph = disk.open(options()).unwrap();
        disk.directory("backup").take_backup(&graph).unwrap();
    }
}

/// An increment with power lost at each call, begun on a disk whose backup is at the last end but
/// one. An interrupted increment is tried again, by a process that was only killed, too.
fn check_every_power_loss(disk: &Disk, history: &History, ends: &[u64]) -> u64 {
    let [.., old, new] = ends[..] else { unreachable!("there are two") };
    for at in 0.. {
        for partly in [false, true] {
            let trial = disk.copy();
            let graph = trial.open(options()).unwrap();
            trial.set_fault(Fault::PowerLoss { at, partly });
            let outcome = trial.directory("backup").take_backup(&graph);
            if trial.has_power() {
                assert_eq!(outcome.unwrap().sequence, new);
                return at;
            }
            drop(graph);
            for remains in remains() {
                let left = trial.after_power_loss(remains);
                let graph = at_backup(&left).unwrap();
                let sequence = graph.stats().sequence;
                assert!(sequence == old || sequence == new, "call {at}: {sequence}");
                assert!(sequence == new || outcome.is_err(), "call {at}: lost when it was done");
                assert_is_at(&graph, history, sequence);
                let graph = left.open(options()).unwrap();
                left.directory("backup").take_backup(&graph).unwrap();
                assert_is_at(&at_backup(&left).unwrap(), history, graph.stats().sequence);
            }
        }
    }
    unreachable!("some call is the last");
}

#[test]
fn power_lost_at_any_call_of_a_whole_backup_or_a_restore_leaves_all_or_nothing() {
    let mut history = History::seeded(11);
    let disk = Disk::new(4096);
    let graph = disk.open(options()).unwrap();
    history.go_on_for(&graph, 9);
    let end = graph.stats().sequence;
    for is_restore in [false, true] {
        let run = |disk: &Disk| {
            if is_restore {
                let to = disk.directory("backup");
                disk.directory("source").restore(&to, RestoreTo::End).map(drop)
            } else {
                disk.open(options())
                    .and_then(|graph| disk.directory("backup").take_backup(&graph))
                    .map(drop)
            }
        };
        disk.directory("source").take_backup(&graph).unwrap();
        for at in 0.. {
            let trial = disk.copy();
            trial.set_fault(Fault::PowerLoss { at, partly: at % 2 == 0 });
            let is_done = run(&trial).is_ok();
            if trial.has_power() {
                assert!(at > 8, "only {at} calls");
                break;
            }
            for remains in remains() {
                let left = trial.after_power_loss(remains);
                match at_backup(&left) {
                    Ok(graph) => assert_is_at(&graph, &history, end),
                    Err(kind) => {
                        let kinds = [ErrorKind::Unfinished, ErrorKind::NotAGraph];
                        assert!(kinds.contains(&kind), "call {at}: {kind:?}");
                        assert!(!is_done, "call {at}: lost when it was done");
                        run(&left).unwrap();
                        assert_is_at(&at_backup(&left).unwrap(), &history, end);
                    }
                }
            }
        }
    }
}

#[test]
fn an_increment_that_was_killed_before_its_name_was_durable_is_not_built_on() {
    let mut history = History::seeded(12);
    let disk = Disk::new(4096);
    let graph = disk.open(options()).unwrap();
    history.go_on_for(&graph, 3);
    disk.directory("backup").take_backup(&graph).unwrap();
    history.go_on_for(&graph, 3);
    disk.directory("backup").take_backup(&graph).unwrap();
    history.go_on_for(&graph, 3);
    for at in 0..12 {
        // Killed, and run again with what the first one left unsynced; then the power goes.
        let trial = disk.copy();
        let graph = trial.open(options()).unwrap();
        trial.set_fault(Fault::PowerLoss { at, partly: false });
        let _ = trial.directory("backup").take_backup(&graph);
        drop(graph);
        let killed = trial.copy();
        let graph = killed.open(options()).unwrap();
        graph.follow("ann", "later").unwrap();
        for again in 0..12 {
            let trial = killed.copy();
            let graph = trial.open(options()).unwrap();
            trial.set_fault(Fault::PowerLoss { at: again, partly: false });
            let _ = trial.directory("backup").take_backup(&graph);
            for seed in 0..8 {
                let left = trial.after_power_loss(Remains::Seeded(seed));
                assert!(at_backup(&left).is_ok(), "call {at}, again {again}, seed {seed}");
            }
        }
    }
}

#[test]
fn a_call_that_fails_in_a_backup_leaves_what_was_there_and_the_next_one_is_right() {
    let mut history = History::seeded(13);
    let disk = Disk::new(4096);
    let graph = disk.open(options()).unwrap();
    history.go_on_for(&graph, 5);
    for step in 0..2 {
        for at in 0.. {
            let trial = disk.copy();
            let graph = trial.open(options()).unwrap();
            trial.set_fault(Fault::Error { at, failure: Failure::NoSpace, lasting: step == 0 });
            let failed = trial.directory("backup").take_backup(&graph);
            if trial.failed_calls().is_empty() {
                break;
            }
            trial.set_fault(Fault::None);
            assert!(failed.is_err() || at > 5, "call {at}");
            if step == 1 {
                assert!(at_backup(&trial).is_ok(), "call {at}");
            }
            let graph = trial.open(options()).unwrap();
            let sequence = trial.directory("backup").take_backup(&graph).unwrap().sequence;
            assert_is_at(&at_backup(&trial).unwrap(), &history, sequence);
        }
        disk.directory("backup").take_backup(&graph).unwrap();
        history.go_on_for(&graph, 4);
    }
}
