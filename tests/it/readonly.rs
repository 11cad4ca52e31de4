//! Handles that only read, beside a process that writes, is killed, closes and checkpoints.

use crate::support::{Mount, Random, bytes_of, child_of, lay_out, quick_dir, skipped, walk};
use followgraph::testing::Model;
use followgraph::{
    Counts, Durability, ErrorKind, FollowGraph, Mutation, Options, Page, Result as GraphResult,
};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const CHILD: &str = "FOLLOWGRAPH_TEST_READONLY_CHILD";
/// Who follow each other.
const PEER_COUNT: usize = 9;
/// Followed by one more account with each step, so that its count tells the step.
const TICKER: &str = "ticker";
/// A commit that returned so long before a read began is seen by it.
const PROMISE: Duration = Duration::from_millis(1);

fn writer(dir: &Path) -> FollowGraph {
    Options::new()
        .durability(Durability::Never)
        .segment_bytes(64 << 10)
        .checkpoint_log_bytes(None)
        .create_missing_accounts(true)
        .open(dir)
        .unwrap()
}

fn reader(dir: &Path) -> FollowGraph {
    FollowGraph::open_read_only(dir).unwrap()
}

/// The peers, with the ticker in front.
fn names() -> Vec<String> {
    let peers = (0..PEER_COUNT).map(|number| format!("peer{number}"));
    std::iter::once(TICKER.to_owned()).chain(peers).collect()
}

/// What step `number` changes between two peers. Steps count from 1.
fn pair_of(number: u64) -> (usize, usize) {
    let mut random = Random::seeded(number);
    let from = random.below(PEER_COUNT);
    (from, (from + 1 + random.below(PEER_COUNT - 1)) % PEER_COUNT)
}

/// One step is one commit: a new follower of the ticker, and a follow or unfollow between peers,
/// whichever changes something.
fn take_step(graph: &FollowGraph, number: u64) {
    let (from, to) = pair_of(number);
    let (from, to) = (format!("peer{from}"), format!("peer{to}"));
    let follows = graph.relation(&from, &to).is_ok_and(|relation| relation.following);
    let fan = format!("fan{number}");
    let change = if follows { Mutation::unfollow } else { Mutation::follow };
    let batch = [Mutation::follow(&fan, TICKER), change(&from, &to)];
    for result in graph.apply(&batch).unwrap() {
        result.unwrap();
    }
}

/// The judge: what the peers are like after each step.
struct Judge {
    step: u64,
    model: Model,
}

impl Judge {
    fn new() -> Judge {
        let mut model = Model::default();
        for name in names() {
            model.add_account(&name).unwrap();
        }
        Judge { step: 0, model }
    }

    fn advance(&mut self) {
        self.step += 1;
        let (from, to) = pair_of(self.step);
        let (from, to) = (format!("peer{from}"), format!("peer{to}"));
        if self.model.relation(&from, &to).unwrap().0 {
            self.model.unfollow(&from, &to).unwrap();
        } else {
            self.model.follow(&from, &to, 0).unwrap();
        }
    }

    fn counts(&self, name: &str) -> Counts {
        let (followers, following, mutual) = self.model.counts(name).unwrap();
        let [followers, following, mutual] = [followers, following, mutual].map(|it| it as u32);
        Counts { followers, following, mutual }
    }

    fn following(&self, name: &str) -> Vec<String> {
        let following = self.model.following(name).unwrap();
        let mut following: Vec<String> = following.into_iter().map(|(name, _)| name).collect();
        following.sort();
        following
    }
}

/// What both processes know: which step was acknowledged last, and when each was.
struct Acknowledged(File);

impl Acknowledged {
    fn open(path: &Path) -> Acknowledged {
        let mut options = File::options();
        Acknowledged(
            options.read(true).write(true).create(true).truncate(false).open(path).unwrap(),
        )
    }

    fn number_at(&self, place: u64) -> u64 {
        let mut bytes = [0; 8];
        let read = self.0.read_at(&mut bytes, 8 * place).unwrap();
        if read == 8 { u64::from_le_bytes(bytes) } else { 0 }
    }

    fn last(&self) -> u64 {
        self.number_at(0)
    }

    /// When a step was acknowledged; 0 when it was not yet.
    fn time_of(&self, step: u64) -> u64 {
        if step == 0 { 0 } else { self.number_at(step) }
    }

    fn acknowledge(&self, step: u64) {
        self.0.write_all_at(&now().to_le_bytes(), 8 * step).unwrap();
        self.0.write_all_at(&step.to_le_bytes(), 0).unwrap();
    }
}

/// Nanoseconds of a clock that all processes share.
fn now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

/// The step a graph is at and the counts of the peers, at one moment.
fn sight(graph: &FollowGraph, names: &[String]) -> (u64, Vec<Counts>) {
    let counts = graph.batch_counts(names).into_iter().collect::<GraphResult<Vec<_>>>().unwrap();
    (u64::from(counts[0].followers), counts)
}

fn following(graph: &FollowGraph, name: &str) -> Vec<String> {
    let entries = graph.following(name, Page::first(usize::MAX)).unwrap().entries;
    let mut following: Vec<String> = entries.into_iter().map(|entry| entry.account).collect();
    following.sort();
    following
}

/// Where the processes of a test meet: the graph, and what they tell each other.
struct Meeting {
    dir: PathBuf,
}

impl Meeting {
    fn graph(&self) -> PathBuf {
        self.dir.join("graph")
    }
    fn acknowledged(&self) -> Acknowledged {
        Acknowledged::open(&self.dir.join("acknowledged"))
    }
    fn flag(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
    fn child(&self, role: &str) -> Child {
        let test = "readonly::every_commit_is_seen_within_a_millisecond_and_every_sight_is_a_state";
        child_of(test, CHILD, &format!("{role} {}", self.dir.display()))
    }
}

/// The writer's part: steps, with a checkpoint now and then, until it is killed or asked to close.
fn write_until_told(meeting: &Meeting) {
    let graph = writer(&meeting.graph());
    let acknowledged = meeting.acknowledged();
    let mut step = u64::from(graph.counts(TICKER).unwrap().followers);
    assert!(step >= acknowledged.last(), "an acknowledged step was lost");
    while !meeting.flag("close").exists() {
        for _ in 0..20 {
            step += 1;
            take_step(&graph, step);
            acknowledged.acknowledge(step);
            if step.is_multiple_of(300) {
                graph.checkpoint().unwrap();
            }
        }
        std::thread::sleep(Duration::from_micros(500));
    }
}

/// A reader's part: what it sees is a state of the model, never an earlier one than before, and
/// holds what was acknowledged a millisecond before it asked.
fn read_until_told(meeting: &Meeting, who: &str) {
    let (graph, names) = (reader(&meeting.graph()), names());
    std::thread::scope(|scope| {
        // Another thread asks too: what it finds young enough must have been looked at.
        scope.spawn(|| {
            while !meeting.flag("stop").exists() {
                sight(&graph, &names);
                std::thread::sleep(Duration::from_micros(70));
            }
        });
        judge_until_told(meeting, &graph, &names, who);
    });
}

fn judge_until_told(meeting: &Meeting, graph: &FollowGraph, names: &[String], who: &str) {
    let acknowledged = meeting.acknowledged();
    let (mut judge, mut last, mut images) = (Judge::new(), 0, 0);
    // How long ago, when a read began, the oldest commit had been acknowledged that it did not see.
    let mut missed_for = Vec::new();
    let (mut read_count, mut verify_count) = (0, 0);
    while !meeting.flag("stop").exists() {
        read_count += 1;
        let asked_at = now();
        let (step, counts) = sight(graph, names);
        let missed_at = acknowledged.time_of(step + 1);
        missed_for.push(if missed_at == 0 { 0 } else { asked_at.saturating_sub(missed_at) });
        assert!(step >= last, "{who} went back from {last} to {step}");
        last = step;
        while judge.step < step {
            judge.advance();
        }
        for (name, counts) in names.iter().zip(&counts).skip(1) {
            assert_eq!(*counts, judge.counts(name), "{who}: {name} at step {step}");
            assert!(counts.mutual <= counts.followers.min(counts.following));
        }
        if read_count % 50 == 0 {
            let name = &names[1 + read_count / 50 % PEER_COUNT];
            let listed = following(graph, name);
            let (after, _) = sight(graph, names);
            let mut fits = judge.following(name) == listed;
            while judge.step < after && !fits {
                judge.advance();
                fits = judge.following(name) == listed;
            }
            assert!(fits, "{who}: {name} follows {listed:?} at no step from {step} to {after}");
            last = judge.step;
            std::thread::sleep(Duration::from_micros(300));
        }
        if read_count % 2000 == 0 {
            let stats = graph.stats();
            assert!(stats.read_only && stats.reader_failure.is_none(), "{stats:?}");
            assert!(stats.image_sequence >= images, "{who} went back to an older image");
            images = stats.image_sequence;
            graph.verify().unwrap();
            verify_count += 1;
        }
    }
    missed_for.sort_unstable();
    let at = |per_mille: usize| missed_for[(missed_for.len() - 1) * per_mille / 1000] / 1000;
    println!(
        "{who}: {read_count} reads, {verify_count} times verified, {last} steps; the oldest commit \
         not seen was acknowledged so many us before the read: p50 {}, p90 {}, p99 {}, max {}",
        at(500),
        at(900),
        at(990),
        at(1000),
    );
    let worst = Duration::from_nanos(*missed_for.last().unwrap());
    assert!(worst < PROMISE, "{who} did not see what was acknowledged {worst:?} before");
    assert!(images > 0 && last > 0, "{who} saw nothing happen");
}

fn signal(child: &Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, signal).unwrap();
}

#[test]
fn every_commit_is_seen_within_a_millisecond_and_every_sight_is_a_state() {
    if let Ok(argument) = std::env::var(CHILD) {
        let (role, dir) = argument.split_once(' ').unwrap();
        let meeting = Meeting { dir: PathBuf::from(dir) };
        return match role {
            "writer" => write_until_told(&meeting),
            who => read_until_told(&meeting, who),
        };
    }
    let dir = quick_dir();
    let meeting = Meeting { dir: dir.path().to_owned() };
    let graph = writer(&meeting.graph());
    for name in names() {
        graph.add_account(&name).unwrap();
    }
    drop(graph);
    let mut readers = [meeting.child("first-reader"), meeting.child("second-reader")];
    for round in 0..10 {
        let mut child = meeting.child("writer");
        // One of the readers sleeps through a round: what it would read next is gone meanwhile.
        let sleeps = round % 4 == 2;
        if sleeps {
            signal(&readers[0], rustix::process::Signal::STOP);
        }
        std::thread::sleep(Duration::from_millis(500));
        if round % 2 == 0 {
            child.kill().unwrap();
            child.wait().unwrap();
        } else {
            fs::write(meeting.flag("close"), "").unwrap();
            assert!(child.wait().unwrap().success(), "the writer failed in round {round}");
            fs::remove_file(meeting.flag("close")).unwrap();
        }
        if sleeps {
            signal(&readers[0], rustix::process::Signal::CONT);
        }
        for reader in &mut readers {
            assert!(reader.try_wait().unwrap().is_none(), "a reader ended in round {round}");
        }
    }
    std::thread::sleep(PROMISE);
    let own = reader(&meeting.graph());
    let acknowledged = meeting.acknowledged().last();
    assert!(acknowledged > 1000, "the writers hardly got to work: {acknowledged} steps");
    let (step, _) = sight(&own, &names());
    assert!(step == acknowledged || step == acknowledged + 1, "{step} and {acknowledged}");
    fs::write(meeting.flag("stop"), "").unwrap();
    for reader in readers {
        let ended = reader.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stdout);
        println!("{}", said.lines().find(|line| line.contains(" reads, ")).unwrap_or("?"));
        assert!(ended.status.success(), "a reader failed");
    }
}

/// Waits as long as a reader may take to see what was done before.
fn a_moment() {
    std::thread::sleep(PROMISE);
}

#[test]
fn a_handle_that_only_reads_refuses_every_write_and_answers_every_question() {
    let dir = quick_dir();
    let graph = writer(dir.path());
    graph.follow("alice", "bob").unwrap();
    graph.apply_from_source(7, &[Mutation::follow("bob", "alice")]).unwrap();
    graph.consumer("hooks").unwrap();
    let other = reader(dir.path());
    assert!(other.is_read_only() && !graph.is_read_only());
    let (alice, bob) = (other.account_id("alice").unwrap(), other.account_id("bob").unwrap());
    let refusals = [
        other.add_account("carol").map(|_| ()),
        other.add_foreign_account("carol").map(|_| ()),
        other.remove_account("bob"),
        other.follow("alice", "bob").map(|_| ()),
        other.unfollow("alice", "bob").map(|_| ()),
        other.follow_by_id(alice, bob).map(|_| ()),
        other.unfollow_by_id(alice, bob).map(|_| ()),
        other.apply(&[]).map(|_| ()),
        other.apply_from_source(8, &[]).map(|_| ()),
        other.sync(),
        other.checkpoint().map(|_| ()),
        other.bulk_load(1 << 20).map(|_| ()),
        other.changes(0).map(|_| ()),
        other.consumer("hooks").map(|_| ()),
        other.consumer("new").map(|_| ()),
        other.remove_consumer("hooks").map(|_| ()),
    ];
    for (number, refusal) in refusals.into_iter().enumerate() {
        let error = refusal.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ReadOnly, "number {number}: {error}");
        assert!(error.to_string().contains("open_read_only"), "{error}");
    }
    assert_eq!(other.counts("alice").unwrap().mutual, 1);
    assert_eq!(other.source_position(), Some(7));
    assert_eq!(other.consumers(), graph.consumers());
    assert_eq!(other.accounts(None, 9), graph.accounts(None, 9));
    assert!(other.relation("alice", "bob").unwrap().is_mutual());
    assert_eq!(
        walk(1, |page| other.mutuals("bob", page)),
        walk(1, |page| graph.mutuals("bob", page))
    );
    assert_eq!(other.verify().unwrap(), graph.verify().unwrap());
    other.backup(dir.path().join("copy")).unwrap();
    assert_eq!(reader(&dir.path().join("copy")).counts("bob").unwrap().mutual, 1);
    let (ours, theirs) = (other.stats(), graph.stats());
    assert_eq!((ours.sequence, ours.follow_count), (theirs.sequence, theirs.follow_count));
    assert_eq!((ours.log_bytes, ours.image_bytes), (theirs.log_bytes, theirs.image_bytes));
    assert!(ours.read_only && !theirs.read_only && ours.checkpoint_failure.is_none());
    // In the same process, the writer has the lock and the reader has none.
    drop(graph);
    assert!(other.counts("alice").is_ok());
    drop(writer(dir.path()));
}

#[test]
fn where_there_is_no_graph_a_reader_says_so_and_makes_none() {
    let dir = quick_dir();
    let open = |path: &Path| FollowGraph::open_read_only(path).map(|_| ()).unwrap_err();
    let missing = dir.path().join("missing");
    assert_eq!(open(&missing).kind(), ErrorKind::NotAGraph);
    assert!(!missing.exists());
    let empty = dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let error = open(&empty);
    assert_eq!(error.kind(), ErrorKind::NotAGraph);
    assert!(error.to_string().contains("no graph here yet"), "{error}");
    assert!(bytes_of(&empty).is_empty(), "an empty directory stays empty");
    fs::write(empty.join("notes.txt"), "hello").unwrap();
    assert_eq!(open(&empty).kind(), ErrorKind::NotAGraph);
    fs::remove_file(empty.join("notes.txt")).unwrap();
    // A creation that is under way, or was interrupted: its first segment and no image.
    drop(writer(&empty));
    let (images, others): (BTreeMap<_, _>, BTreeMap<_, _>) = bytes_of(&empty)
        .into_iter()
        .partition(|(name, _)| name.extension().is_some_and(|extension| extension == "fgi"));
    lay_out(&empty, &others);
    assert_eq!(open(&empty).kind(), ErrorKind::NotAGraph);
    lay_out(&empty, &others.into_iter().chain(images).collect());
    assert_eq!(reader(&empty).stats().account_count, 0);
}

/// Every file with its content, and when it and the directory were changed.
fn traces(dir: &Path) -> (BTreeMap<PathBuf, Vec<u8>>, Vec<String>) {
    let of = |path: PathBuf| {
        let found = fs::metadata(&path).unwrap();
        let (modified, changed) = (found.modified().unwrap(), (found.ctime(), found.ctime_nsec()));
        let name = path.display();
        format!("{name} {} {modified:?} {changed:?}", found.size())
    };
    let entries = fs::read_dir(dir).unwrap();
    let mut files: Vec<_> = entries.map(|entry| of(entry.unwrap().path())).collect();
    files.push(of(dir.to_owned()));
    files.sort();
    (bytes_of(dir), files)
}

#[test]
fn a_reader_leaves_no_trace() {
    let dir = quick_dir();
    let graph = writer(dir.path());
    for number in 0..2000 {
        graph.follow(&format!("fan{number}"), "star").unwrap();
    }
    graph.checkpoint().unwrap();
    graph.follow("one", "more").unwrap();
    let before = traces(dir.path());
    let other = reader(dir.path());
    assert_eq!(other.counts("star").unwrap().followers, 2000);
    other.verify().unwrap();
    assert!(other.follow("alice", "bob").is_err() && other.checkpoint().is_err());
    std::thread::sleep(Duration::from_millis(120));
    assert_eq!(other.counts("more").unwrap().followers, 1);
    drop(other);
    assert_eq!(traces(dir.path()), before);
    // The lock is the writer's: it goes with the writer, whoever reads.
    let other = reader(dir.path());
    assert_eq!(FollowGraph::open(dir.path()).map(|_| ()).unwrap_err().kind(), ErrorKind::InUse);
    drop(graph);
    let graph = writer(dir.path());
    graph.follow("two", "more").unwrap();
    a_moment();
    assert_eq!(other.counts("more").unwrap().followers, 2);
}

#[test]
fn a_graph_is_followed_through_orderly_closes_without_a_touch_behind_the_end_of_its_file() {
    let dir = quick_dir();
    drop(writer(dir.path()));
    let other = reader(dir.path());
    // Close cuts the segment to what is in use, the next commit extends it.
    for number in 1..=60 {
        let graph = writer(dir.path());
        for fan in 0..number % 4 {
            graph.follow(&format!("fan{number}-{fan}"), "star").unwrap();
        }
        graph.follow(&format!("fan{number}"), "star").unwrap();
        a_moment();
        let counted = other.counts("star").unwrap();
        assert_eq!(counted, graph.counts("star").unwrap(), "while open, round {number}");
        let fresh = reader(dir.path());
        drop(graph);
        for seen in [&other, &fresh, &reader(dir.path())] {
            assert_eq!(seen.counts("star").unwrap(), counted, "after closing, round {number}");
        }
        assert_eq!(other.verify().unwrap().follow_count, u64::from(counted.followers));
    }
    let stats = other.stats();
    assert_eq!(stats.sequence, stats.durable_sequence, "a closed log says that it is on disk");
}

/// The place that a reader looks at next is then on a page that the file no longer has: touched
/// through a mapping, it ends the process.
#[test]
fn a_log_that_is_cut_at_the_end_of_a_page_is_read_to_its_end_and_followed_from_there() {
    const PAGE_BYTES: u64 = 4096;
    const CLOSING_FRAME_BYTES: u64 = 40;
    let dir = quick_dir();
    drop(writer(dir.path()));
    let other = reader(dir.path());
    let mut names = Vec::new();
    for round in 0..4_u64 {
        let graph = writer(dir.path());
        let mut add = |name_bytes: u64| {
            let name = format!("{:0>1$}", names.len(), name_bytes as usize);
            graph.add_account(&name).unwrap();
            names.push(name);
        };
        add(20);
        // A frame has 37 bytes beside the name, and its length is a multiple of 8.
        loop {
            let end = 64 + graph.stats().log_bytes + CLOSING_FRAME_BYTES;
            let left = PAGE_BYTES + PAGE_BYTES - end % PAGE_BYTES;
            let left = if left > PAGE_BYTES + 80 { left - PAGE_BYTES } else { left };
            if left > 280 {
                add(160);
                continue;
            }
            add(left - 37);
            break;
        }
        drop(graph);
        let log_bytes = fs::metadata(last_segment(dir.path())).unwrap().len();
        assert_eq!(log_bytes % PAGE_BYTES, 0, "the log ends inside a page in round {round}");
        for _ in 0..3 {
            a_moment();
            assert_eq!(other.stats().account_count, names.len() as u64);
            assert_eq!(reader(dir.path()).stats().account_count, names.len() as u64);
        }
    }
}

#[test]
fn a_graph_is_opened_to_be_read_at_any_moment_of_a_writer() {
    let dir = quick_dir();
    drop(writer(dir.path()));
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let opening = [0, 1].map(|_| {
            scope.spawn(|| {
                let (mut opened, mut last) = (0, 0);
                while !is_over.load(Ordering::Relaxed) {
                    let other = reader(dir.path());
                    let stats = other.stats();
                    assert!(stats.sequence >= last, "from {last} back to {}", stats.sequence);
                    (opened, last) = (opened + 1, stats.sequence);
                    if opened % 8 == 0 {
                        last = other.verify().unwrap().sequence;
                        assert!(last >= stats.sequence, "{last} verified of {stats:?}");
                    }
                }
                opened
            })
        });
        let begin = Instant::now();
        let mut number = 0;
        while begin.elapsed() < Duration::from_secs(4) {
            let graph = writer(dir.path());
            for step in 0..300 {
                number += 1;
                graph.follow(&format!("fan{number}"), "star").unwrap();
                // Then files go as fast as they can.
                if step > 150 {
                    graph.checkpoint().unwrap();
                }
            }
        }
        is_over.store(true, Ordering::Relaxed);
        let opened: u32 = opening.into_iter().map(|thread| thread.join().unwrap()).sum();
        println!("opened {opened} times beside {number} commits");
        assert!(opened > 20, "opened only {opened} times");
    });
}

#[test]
fn no_opening_misses_a_bulk_load_below_what_came_behind_it() {
    let dir = quick_dir();
    for round in 0..60 {
        let place = dir.path().join(round.to_string());
        let graph = writer(&place);
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let opening = scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let other = reader(&place);
                    // A commit without accounts fits the empty graph as well.
                    let is_behind = other.source_position().is_some();
                    assert!(!is_behind || other.counts("star").is_ok(), "round {round}");
                }
            });
            let mut load = graph.bulk_load(1 << 20).unwrap();
            load.add("fan", "star", None).unwrap();
            load.finish(&mut |_, _| {}).unwrap();
            graph.apply_from_source(7, &[]).unwrap();
            is_over.store(true, Ordering::Relaxed);
            opening.join().unwrap();
        });
    }
}

#[test]
fn a_reader_recovers_a_graph_of_its_own_from_files_that_are_gone() {
    let dir = quick_dir();
    let graph = writer(dir.path());
    graph.follow("zero", "star").unwrap();
    for round in 0..20 {
        let other = reader(dir.path());
        let before = other.stats().sequence;
        for checkpoint in 0..3 {
            graph.follow(&format!("fan{round}-{checkpoint}"), "star").unwrap();
            graph.checkpoint().unwrap();
        }
        // The image that the handle was opened with, and the log behind it, have been retired.
        let verified = other.verify().unwrap();
        assert!(verified.sequence >= before, "{verified:?} after {before}");
        a_moment();
        assert_eq!(other.counts("star").unwrap(), graph.counts("star").unwrap());
    }
}

#[test]
fn a_bulk_load_is_seen_as_a_whole_and_what_comes_behind_it_too() {
    let dir = quick_dir();
    let graph = writer(dir.path());
    let others = [reader(dir.path()), reader(dir.path())];
    let mut load = graph.bulk_load(1 << 20).unwrap();
    for number in 0..3000 {
        load.add(&format!("fan{number}"), &format!("star{}", number % 10), None).unwrap();
    }
    assert_eq!(others[0].stats().account_count, 0);
    load.finish(&mut |_, _| {}).unwrap();
    a_moment();
    assert_eq!(others[0].counts("star3").unwrap().followers, 300);
    graph.follow("late", "star3").unwrap();
    a_moment();
    // The second is asked for the first time after a commit came behind the load.
    for other in &others {
        assert_eq!(other.counts("star3").unwrap().followers, 301);
        assert_eq!(other.verify().unwrap(), graph.verify().unwrap());
    }
}

/// The newest segment of a log.
fn last_segment(dir: &Path) -> PathBuf {
    let segments =
        bytes_of(dir).into_keys().filter(|name| name.extension().is_some_and(|it| it == "fgl"));
    dir.join(segments.max().unwrap())
}

#[test]
fn half_a_frame_is_not_there_yet_and_a_whole_one_is() {
    let dir = quick_dir();
    let (from, to) = (dir.path().join("whole"), dir.path().join("growing"));
    let graph = writer(&from);
    graph.follow("zero", "star").unwrap();
    let before = bytes_of(&from);
    let mut lengths = vec![graph.stats().log_bytes];
    for fan in ["one", "two", "three"] {
        graph.follow(fan, "star").unwrap();
        lengths.push(graph.stats().log_bytes);
    }
    let whole = fs::read(last_segment(&from)).unwrap();
    lay_out(&to, &before);
    let other = reader(&to);
    let log = File::options().write(true).open(last_segment(&to)).unwrap();
    let ends: Vec<usize> = lengths.iter().map(|length| *length as usize + 64).collect();
    // A frame is whole when its last byte that is not padding is there.
    let is_there = |written: usize| {
        let whole_frames = ends[1..].iter().filter(|&&end| {
            let last = whole[..end].iter().rposition(|byte| *byte != 0).unwrap();
            written > last
        });
        1 + whole_frames.count() as u32
    };
    for place in ends[0]..ends[3] {
        log.write_all_at(&whole[place..=place], place as u64).unwrap();
        std::thread::sleep(Duration::from_micros(250));
        let counted = other.counts("star").unwrap().followers;
        assert_eq!(counted, is_there(place + 1), "after byte {place} of {ends:?}");
        if place % 16 == 0 {
            let fresh = reader(&to);
            assert_eq!(fresh.counts("star").unwrap().followers, counted, "opened at {place}");
        }
    }
    assert_eq!(other.verify().unwrap(), graph.verify().unwrap());
}

#[test]
fn a_torn_end_is_passed_over_and_damage_is_an_error_as_for_a_writer() {
    let dir = quick_dir();
    let graph = writer(dir.path());
    for fan in ["one", "two", "three"] {
        graph.follow(fan, "star").unwrap();
    }
    graph.sync().unwrap();
    graph.follow("four", "star").unwrap();
    let files = bytes_of(dir.path());
    let log = last_segment(dir.path());
    let whole = fs::read(&log).unwrap();
    let end = whole.iter().rposition(|byte| *byte != 0).unwrap();
    drop(graph);

    lay_out(dir.path(), &files);
    let mut torn = whole.clone();
    torn[end] ^= 1;
    fs::write(&log, &torn).unwrap();
    let other = reader(dir.path());
    assert_eq!(other.counts("star").unwrap().followers, 3);
    assert_eq!(other.stats().recovery.cut_frames, 1);
    assert_eq!(fs::read(&log).unwrap(), torn, "nothing is cut");
    // Who writes cuts it and goes on in its place.
    let graph = writer(dir.path());
    graph.follow("five", "star").unwrap();
    a_moment();
    assert_eq!(other.counts("star").unwrap().followers, 4);
    assert!(other.relation("five", "star").unwrap().following && other.account_id("four").is_err());
    drop((graph, other));

    lay_out(dir.path(), &files);
    let mut damaged = whole;
    damaged[64 + 40] ^= 1;
    fs::write(&log, &damaged).unwrap();
    let refused = FollowGraph::open_read_only(dir.path()).map(|_| ()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt);
    assert_eq!((refused.path(), refused.offset_bytes()), (Some(log.as_path()), Some(64)));
    let as_writer = FollowGraph::open(dir.path()).map(|_| ()).unwrap_err();
    assert_eq!(as_writer.to_string(), refused.to_string());
}

/// What comes to lie behind the place of a reader, and cannot be.
#[test]
fn a_log_that_goes_on_behind_a_damaged_frame_is_an_error_and_not_the_end() {
    let dir = quick_dir();
    let (from, to) = (dir.path().join("whole"), dir.path().join("growing"));
    let graph = writer(&from);
    graph.follow("zero", "star").unwrap();
    let before = bytes_of(&from);
    let start = graph.stats().log_bytes as usize + 64;
    graph.follow("one", "star").unwrap();
    let end = graph.stats().log_bytes as usize + 64;
    graph.sync().unwrap();
    graph.follow("two", "star").unwrap();
    let log = last_segment(&from);
    graph.checkpoint().unwrap();
    graph.follow("three", "star").unwrap();
    let (whole, next) = (fs::read(&log).unwrap(), last_segment(&from));
    let name = |path: &Path| to.join(path.file_name().unwrap());
    for has_next_segment in [false, true] {
        lay_out(&to, &before);
        let other = reader(&to);
        assert_eq!(other.counts("star").unwrap().followers, 1);
        let mut damaged = whole.clone();
        if has_next_segment {
            damaged[start..end].fill(0);
        } else {
            damaged[start + 40] ^= 1;
        }
        let file = File::options().write(true).open(name(&log)).unwrap();
        file.write_all_at(&damaged, 0).unwrap();
        if has_next_segment {
            fs::copy(&next, name(&next)).unwrap();
        }
        eventually("the damage is seen", || {
            other.counts("star").is_err_and(|error| error.kind() == ErrorKind::Corrupt)
        });
        // Put right, it goes on.
        file.write_all_at(&whole, 0).unwrap();
        let all = if has_next_segment { 4 } else { 3 };
        eventually("all is read", || other.counts("star").is_ok_and(|it| it.followers == all));
    }
}

/// Asks until the answer is as wanted, for as long as the thread in the background may take.
fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let asked = Instant::now();
    while !is_so() {
        assert!(asked.elapsed() < Duration::from_secs(10), "it never came to this: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Puts these files in the place of those of a directory, which stays the same one.
fn put_in_place(dir: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) {
    for name in bytes_of(dir).into_keys() {
        fs::remove_file(dir.join(name)).unwrap();
    }
    for (name, bytes) in files {
        fs::write(dir.join(name), bytes).unwrap();
    }
}

#[test]
fn another_graph_or_an_earlier_state_in_the_directory_is_an_error_and_no_mixture() {
    let dir = quick_dir();
    let (place, aside) = (dir.path().join("graph"), dir.path().join("aside"));
    let graph = writer(&place);
    graph.follow("one", "star").unwrap();
    let early = bytes_of(&place);
    graph.follow("two", "star").unwrap();
    drop(graph);
    let late = bytes_of(&place);
    let other = reader(&place);
    assert_eq!(other.counts("star").unwrap().followers, 2);

    put_in_place(&place, &BTreeMap::new());
    a_moment();
    assert_eq!(other.counts("star").unwrap_err().kind(), ErrorKind::NotAGraph);
    assert!(other.batch_counts(&["star"])[0].is_err() && other.verify().is_err());
    assert!(other.stats().reader_failure.is_some());

    let strange = writer(&aside);
    strange.follow("three", "star").unwrap();
    drop(strange);
    put_in_place(&place, &bytes_of(&aside));
    eventually("another graph is seen", || {
        other.counts("star").is_err_and(|error| error.to_string().contains("another graph"))
    });
    put_in_place(&place, &early);
    eventually("an earlier state is seen", || {
        other.counts("star").is_err_and(|error| error.to_string().contains("an earlier state"))
    });
    assert!(other.known_followers("one", &["star"]).is_err());

    put_in_place(&place, &late);
    eventually("it goes on", || other.counts("star").is_ok());
    let graph = writer(&place);
    graph.follow("four", "star").unwrap();
    a_moment();
    assert_eq!(other.counts("star").unwrap().followers, 3);
    assert_eq!(other.verify().unwrap(), graph.verify().unwrap());
}

/// A disk that failed may have kept less than its cache showed: the log goes on from an earlier
/// frame, in the same file, and in other frames of the same length.
#[test]
fn a_log_that_goes_on_from_an_earlier_frame_is_never_mixed_with_the_one_that_was_read() {
    let dir = quick_dir();
    let graph = writer(dir.path());
    for name in ["star", "aa", "bb", "cc", "dd", "ee"] {
        graph.add_account(name).unwrap();
    }
    let log = last_segment(dir.path());
    let early = fs::read(&log).unwrap();
    graph.follow("aa", "star").unwrap();
    graph.follow("bb", "star").unwrap();
    let other = reader(dir.path());
    assert_eq!(other.counts("star").unwrap().followers, 2);
    graph.follow("cc", "star").unwrap();
    a_moment();
    assert_eq!(other.counts("star").unwrap().followers, 3);
    drop(graph);
    fs::write(&log, &early).unwrap();
    a_moment();
    assert_eq!(other.counts("star").unwrap_err().kind(), ErrorKind::Corrupt);
    let graph = writer(dir.path());
    for name in ["ee", "dd", "cc", "bb", "aa"] {
        graph.follow(name, "star").unwrap();
    }
    // As many commits and more: this is the graph now.
    eventually("the new log is read", || other.counts("star").is_ok());
    assert_eq!(
        walk(9, |page| other.followers("star", page)),
        walk(9, |page| graph.followers("star", page))
    );
    assert_eq!(other.verify().unwrap(), graph.verify().unwrap());
}

/// The tool, as somebody has it who may not write where the graph is.
#[test]
fn a_graph_of_somebody_else_is_read_without_the_right_to_write() {
    const NOBODY: u32 = 65534;
    let dir = quick_dir();
    let (place, tool) = (dir.path().join("graph"), dir.path().join("followgraph"));
    let graph = writer(&place);
    graph.follow("alice", "bob").unwrap();
    fs::copy(env!("CARGO_BIN_EXE_followgraph"), &tool).unwrap();
    let allow = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    allow(dir.path(), 0o755);
    allow(&place, 0o755);
    let is_root = fs::metadata(&place).unwrap().uid() == 0;
    if !is_root {
        allow(&place, 0o555);
    }
    let run = |args: &[&str]| {
        let mut command = Command::new(&tool);
        command.arg("--db").arg(&place).args(args);
        if is_root {
            command.uid(NOBODY).gid(NOBODY);
        }
        command.output()
    };
    // A file system may forbid to run programs.
    let Ok(counts) = run(&["counts", "bob"]) else {
        allow(&place, 0o755);
        return skipped("this test runs a program from a temporary directory as another user");
    };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    assert!(text(&counts.stdout).contains("bob"), "{counts:?}");
    for args in
        [&["verify"][..], &["stats"], &["list", "bob"], &["check", "alice", "bob"], &["export"]]
    {
        let done = run(args).unwrap();
        assert!(done.status.success(), "{args:?}: {done:?}");
    }
    let refused = run(&["follow", "bob", "alice"]).unwrap();
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    allow(&place, 0o755);
    graph.follow("carol", "bob").unwrap();
}

#[test]
fn a_graph_on_a_file_system_that_takes_no_writes_is_read() {
    let Some(mount) = Mount::tmpfs(16 << 20) else { return };
    let graph = writer(mount.path());
    graph.follow("alice", "bob").unwrap();
    drop(graph);
    mount.remount("ro");
    let other = reader(mount.path());
    assert_eq!(other.counts("bob").unwrap().followers, 1);
    assert_eq!(other.verify().unwrap().follow_count, 1);
    assert!(FollowGraph::open(mount.path()).is_err(), "a writer needs more");
    drop(other);
    mount.remount("rw");
}
