//! What the tests share: a seeded random source, a clock by hand, the comparison of a graph with
//! the model, directories as bytes, and this binary run once more as a child.

use followgraph::testing::{Model, Refusal};
use followgraph::{Clock, Counts, ErrorKind, FollowGraph, List, Outcome, Page, Relation};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;

/// Whether the tests that have a long form shall take it.
pub(crate) fn long_form() -> bool {
    std::env::var_os("FOLLOWGRAPH_LONG").is_some()
}

/// Random numbers from a seed that the test names, so that every run is the same run.
#[derive(Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn seeded(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }

    pub(crate) fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for index in (1..items.len()).rev() {
            items.swap(index, self.below(index + 1));
        }
    }
}

/// A clock that moves when it is told to.
#[derive(Clone)]
pub(crate) struct HandClock(Arc<AtomicU32>);

impl HandClock {
    pub(crate) fn at(seconds: u32) -> HandClock {
        HandClock(Arc::new(AtomicU32::new(seconds)))
    }

    pub(crate) fn now(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }

    pub(crate) fn set(&self, seconds: u32) {
        self.0.store(seconds, Ordering::SeqCst);
    }

    pub(crate) fn advance(&self, seconds: u32) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }

    pub(crate) fn clock(&self) -> Clock {
        let seconds = Arc::clone(&self.0);
        Arc::new(move || seconds.load(Ordering::SeqCst))
    }
}

/// What a write said, in words that graph and model share: whether it changed anything, or why not.
pub(crate) type Said = Result<bool, ErrorKind>;

pub(crate) fn said(result: followgraph::Result<Outcome>) -> Said {
    result.map(|outcome| outcome == Outcome::Applied).map_err(|error| error.kind())
}

pub(crate) fn kind(refusal: Refusal) -> ErrorKind {
    match refusal {
        Refusal::InvalidName => ErrorKind::InvalidName,
        Refusal::UnknownAccount => ErrorKind::UnknownAccount,
        Refusal::BeingRemoved => ErrorKind::BeingRemoved,
        Refusal::SelfFollow => ErrorKind::SelfFollow,
        Refusal::ForeignAccount => ErrorKind::ForeignAccount,
        Refusal::FollowingLimit => ErrorKind::FollowingLimit,
        Refusal::FollowersLimit => ErrorKind::FollowersLimit,
        Refusal::FollowerMutualLimit => ErrorKind::FollowerMutualLimit,
        Refusal::FollowedMutualLimit => ErrorKind::FollowedMutualLimit,
    }
}

type Listed = Result<Vec<(String, u32)>, ErrorKind>;

/// Fetches a whole list by pages of `limit`, and holds every page to what a page promises.
pub(crate) fn walk(limit: usize, fetch: impl Fn(Page) -> followgraph::Result<List>) -> Listed {
    let mut listed = Vec::new();
    let mut page = Page::first(limit);
    loop {
        let list = fetch(page).map_err(|error| error.kind())?;
        assert!(list.entries.len() <= limit, "a page of {limit} has {}", list.entries.len());
        let is_first = listed.is_empty();
        assert!(is_first || !list.entries.is_empty(), "a cursor led to an empty page");
        let entries = list.entries.into_iter();
        listed.extend(entries.map(|entry| (entry.account, entry.followed_at)));
        let Some(cursor) = list.next else {
            return Ok(listed);
        };
        assert_eq!(listed.len() % limit, 0, "a page that is not the last is not full");
        page = Page::after(cursor, limit);
    }
}

/// Every question about every name has the same answer in both.
#[track_caller]
pub(crate) fn assert_equal(graph: &FollowGraph, model: &Model, names: &[&str]) {
    let counted = graph.batch_counts(names);
    for (name, counts) in names.iter().zip(counted) {
        let counts = counts.map_err(|error| error.kind());
        assert_eq!(counts, model_counts(model, name), "counts of {name:?}");
        assert_eq!(graph.counts(name).map_err(|error| error.kind()), counts);
        assert_same_lists(graph, model, name);
        assert_same_relations(graph, model, name, names);
    }
    assert_same_accounts(graph, model);
}

fn model_counts(model: &Model, name: &str) -> Result<Counts, ErrorKind> {
    let (followers, following, mutual) = model.counts(name).map_err(kind)?;
    Ok(Counts { followers: followers as u32, following: following as u32, mutual: mutual as u32 })
}

/// The lists of an account, and what its counts say of them.
#[track_caller]
pub(crate) fn assert_same_lists(graph: &FollowGraph, model: &Model, name: &str) {
    let followers = walk(3, |page| graph.followers(name, page));
    assert_eq!(followers, model.followers(name).map_err(kind), "followers of {name:?}");
    let following = walk(2, |page| graph.following(name, page));
    assert_eq!(following, model.following(name).map_err(kind), "following of {name:?}");
    let mutuals = walk(1, |page| graph.mutuals(name, page));
    assert_eq!(mutuals, model.mutuals(name).map_err(kind), "mutuals of {name:?}");

    let (Ok(followers), Ok(following)) = (followers, following) else {
        return;
    };
    let both = following.iter().filter(|one| followers.iter().any(|other| other.0 == one.0));
    let counts = graph.counts(name).unwrap();
    assert_eq!(counts.mutual as usize, both.count(), "the intersection of the lists of {name:?}");
    assert_eq!(counts.followers as usize, followers.len());
    assert_eq!(counts.following as usize, following.len());
}

#[track_caller]
fn assert_same_relations(graph: &FollowGraph, model: &Model, name: &str, others: &[&str]) {
    let relations = graph.batch_relations(name, others);
    let known = graph.known_followers(name, others);
    match model.account_id(name) {
        Err(refusal) => assert_eq!(relations.unwrap_err().kind(), kind(refusal)),
        Ok(_) => {
            for (other, relation) in others.iter().zip(relations.unwrap()) {
                let relation = relation.map_err(|error| error.kind());
                let expected = model
                    .relation(name, other)
                    .map_err(kind)
                    .map(|(following, by)| Relation { following, followed_by: by });
                assert_eq!(relation, expected, "relation of {name:?} to {other:?}");
                let single = graph.relation(name, other).map_err(|error| error.kind());
                assert_eq!(single, expected, "relation of {name:?} to {other:?}, asked alone");
            }
        }
    }
    match model.counts(name) {
        Err(refusal) => assert_eq!(known.unwrap_err().kind(), kind(refusal)),
        Ok(_) => {
            for (other, found) in others.iter().zip(known.unwrap()) {
                let expected = model.known_followers(name, other).map_err(kind);
                let found = found.map_err(|error| error.kind());
                let count = found.as_ref().map(|found| found.count as usize).map_err(|kind| *kind);
                let what = format!("known followers of {other:?} to {name:?}");
                assert_eq!(count, expected.as_ref().map(Vec::len).map_err(|kind| *kind), "{what}");
                let (Ok(found), Ok(expected)) = (found, expected) else {
                    continue;
                };
                assert!(expected.starts_with(&found.first), "{what}: {:?}", found.first);
                assert_eq!(found.first.is_empty(), expected.is_empty(), "{what}");
            }
        }
    }
}

#[track_caller]
fn assert_same_accounts(graph: &FollowGraph, model: &Model) {
    let mut accounts = Vec::new();
    loop {
        let more = graph.accounts(accounts.last().map(|(id, _)| *id), 3);
        if more.is_empty() {
            break;
        }
        accounts.extend(more);
    }
    for (id, name) in &accounts {
        assert_eq!(graph.account_id(name).unwrap(), *id);
        assert_eq!(&graph.account_name(*id).unwrap(), name);
        let by_id = graph.counts_by_id(*id).map_err(|error| error.kind());
        assert_eq!(by_id, graph.counts(name).map_err(|error| error.kind()));
    }
    let accounts: Vec<(u32, String)> =
        accounts.into_iter().map(|(id, name)| (id.0, name)).collect();
    assert_eq!(accounts, model.accounts());
    let stats = graph.stats();
    assert_eq!(stats.account_count, model.accounts().len() as u64);
    assert_eq!(stats.foreign_account_count, model.foreign_account_count() as u64);
    assert_eq!(stats.follow_count, model.edges().len() as u64);
}

/// `verify` is clean and counts what the model holds.
#[track_caller]
pub(crate) fn assert_verified(graph: &FollowGraph, model: &Model) {
    let verification = graph.verify().unwrap();
    assert_eq!(verification.account_count, model.accounts().len() as u64);
    assert_eq!(verification.follow_count, model.edges().len() as u64);
    assert_eq!(verification.sequence, graph.stats().sequence);
}

/// A directory for a test that opens and syncs thousands of times: in memory where the system has
/// such a place, because what these tests ask is not what a disk does.
pub(crate) fn quick_dir() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Every file of a directory with its bytes.
pub(crate) fn bytes_of(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        files.insert(PathBuf::from(path.file_name().unwrap()), bytes);
    }
    files
}

/// Puts the files of [`bytes_of`] into an emptied `dir`.
pub(crate) fn lay_out(dir: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) {
    let _ = std::fs::remove_dir_all(dir);
    std::fs::create_dir_all(dir).unwrap();
    for (name, bytes) in files {
        std::fs::write(dir.join(name), bytes).unwrap();
    }
}

/// The names in `dir` that end in `.extension`, ascending.
pub(crate) fn files_of(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let names = bytes_of(dir).into_keys();
    names.filter(|name| name.extension().is_some_and(|found| found == extension)).collect()
}

/// Runs the named test of this binary again in a process of its own, with `variable` set: the test
/// plays the child's part when it finds the variable.
pub(crate) fn child_of(test: &str, variable: &str, value: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(variable, value)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

/// Says loudly that a test did not run. Where `CI` is set that is a failure.
#[track_caller]
pub(crate) fn skipped(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "SKIPPED in CI: {why}");
    println!("SKIPPED: {why}");
    eprintln!("SKIPPED: {why}");
}

/// A small file system of its own, unmounted when dropped.
pub(crate) struct Mount {
    dir: TempDir,
}

impl Mount {
    pub(crate) fn tmpfs(size_bytes: usize) -> Option<Mount> {
        let dir = tempfile::tempdir().unwrap();
        let options = format!("size={size_bytes}");
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(dir.path());
        let mounted = command.output().is_ok_and(|output| output.status.success());
        if !mounted {
            skipped("this test mounts a small file system, which needs root");
            return None;
        }
        Some(Mount { dir })
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn remount(&self, options: &str) {
        let mut command = Command::new("mount");
        command.args(["-o", &format!("remount,{options}")]).arg(self.path());
        assert!(command.status().unwrap().success(), "remount {options}");
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}
