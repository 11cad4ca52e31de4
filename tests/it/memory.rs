//! Memory comes back after a checkpoint, and a graph larger than memory works.

use crate::support::{Random, child_of, quick_dir, skipped};
use followgraph::{AccountId, Counts, Durability, FollowGraph, Options};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

const MIB: u64 = 1 << 20;

fn open(dir: &Path) -> FollowGraph {
    let options = Options::new().durability(Durability::Never).checkpoint_log_bytes(None);
    options.open(dir).unwrap()
}

/// A ring with chords: everybody follows the accounts these many places on, which nobody follows
/// back, so everybody has as many followers as followings and no mutual follow.
const CHORDS: [usize; 5] = [1, 10, 1000, 54_321, 150_001];

fn build_ring(dir: &Path, account_count: usize) {
    let graph = open(dir);
    let mut load = graph.bulk_load(64 << 20).unwrap();
    for from in 0..account_count {
        for chord in CHORDS {
            let to = (from + chord) % account_count;
            load.add(&format!("user{from}"), &format!("user{to}"), None).unwrap();
        }
    }
    load.finish(&mut |_, _| {}).unwrap();
}

/// Runs a test of this file as a child and gives back the line it says.
fn ask_child(test: &str, variable: &str, value: &str) -> String {
    let mut child = child_of(test, variable, value);
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    let status = child.wait().unwrap();
    assert!(status.success(), "the child failed, {status}: {said}");
    let line = said.lines().find_map(|line| line.split_once("memory: "));
    line.unwrap_or_else(|| panic!("the child said nothing: {said}")).1.to_owned()
}

/// Anonymous memory of this process: what cannot be dropped and read from the files again.
fn anonymous_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

const CHANGING_CHILD: &str = "FOLLOWGRAPH_TEST_MEMORY_CHANGING";

/// Three times many follows and a checkpoint: what is in memory at first, at most, and at the end.
fn change_and_checkpoint(dir: &Path) {
    let graph = open(dir);
    let account_count = graph.stats().account_count as usize;
    let (first, mut most) = (anonymous_bytes(), 0);
    let mut random = Random::seeded(11);
    for _ in 0..3 {
        for _ in 0..200_000 {
            let ends = [0; 2].map(|_| AccountId(random.below(account_count) as u32));
            // A follow of oneself is refused, which changes nothing here.
            let _ = graph.follow_by_id(ends[0], ends[1]);
        }
        most = most.max(anonymous_bytes());
        graph.checkpoint().unwrap();
    }
    println!("memory: {first} {most} {}", anonymous_bytes());
}

#[test]
fn after_a_checkpoint_memory_is_that_of_a_fresh_open() {
    if let Ok(dir) = std::env::var(CHANGING_CHILD) {
        return change_and_checkpoint(Path::new(&dir));
    }
    let dir = quick_dir();
    build_ring(dir.path(), 200_003);
    let test = "memory::after_a_checkpoint_memory_is_that_of_a_fresh_open";
    let said = ask_child(test, CHANGING_CHILD, dir.path().to_str().unwrap());
    let numbers: Vec<u64> = said.split(' ').map(|word| word.parse().unwrap()).collect();
    let [first, most, last] = numbers[..] else { panic!("{said}") };
    assert!(most > first + 24 * MIB, "the changes took memory: {said}");
    assert!(last < first + 4 * MIB, "it came back: {said}");
}

const LIMITED_CHILD: &str = "FOLLOWGRAPH_TEST_MEMORY_LIMITED";
/// Of that, the code of this program takes its part: it is many times larger than the engine alone.
const LIMIT_BYTES: u64 = 40 * MIB;
/// Nearly every account asked about is read from the disk, so not too many are.
const BATCH_COUNT: usize = 60;

/// A group of processes with a limit of memory, files in memory included.
struct Limited {
    directory: PathBuf,
}

impl Limited {
    /// `None` where this user may not make one.
    fn new() -> Option<Limited> {
        let name = format!("followgraph-test-{}", std::process::id());
        let hierarchies = [("memory", "memory.limit_in_bytes"), ("", "memory.max")];
        hierarchies.into_iter().find_map(|(hierarchy, limit)| {
            let directory = Path::new("/sys/fs/cgroup").join(hierarchy).join(&name);
            fs::create_dir(&directory).ok()?;
            let limited = Limited { directory };
            // The second hierarchy has the file only where its controller is delegated.
            let file = limited.directory.join(limit);
            let set = file.exists() && fs::write(file, LIMIT_BYTES.to_string()).is_ok();
            set.then_some(limited)
        })
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.directory);
    }
}

/// Drops what the page cache has of a directory's files, so that who reads them pays for it.
fn forget_cached(dir: &Path) {
    for entry in fs::read_dir(dir).unwrap() {
        let file = fs::File::open(entry.unwrap().path()).unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    }
}

/// Asks about many, in no order, follows a little, and writes an image.
fn live_within_limit(argument: &str) {
    let (group, dir) = argument.split_once(' ').unwrap();
    fs::write(Path::new(group).join("cgroup.procs"), std::process::id().to_string()).unwrap();
    let graph = open(Path::new(dir));
    let account_count = graph.stats().account_count as usize;
    let expected = Counts { followers: 5, following: 5, mutual: 0 };
    for step in 0..BATCH_COUNT {
        let places = (0..20).map(|place| (step * 20 + place) * 104_729 % account_count);
        let names: Vec<String> = places.map(|place| format!("user{place}")).collect();
        for counts in graph.batch_counts(&names) {
            assert_eq!(counts.unwrap(), expected);
        }
    }
    for place in 0..500 {
        graph.follow(&format!("user{}", place * 500), "user7").unwrap();
    }
    assert!(graph.checkpoint().unwrap().written);
    println!("memory: {} {}", graph.stats().image_bytes, graph.counts("user7").unwrap().followers);
}

#[test]
fn a_graph_larger_than_memory_works() {
    if let Ok(argument) = std::env::var(LIMITED_CHILD) {
        return live_within_limit(&argument);
    }
    let Some(limited) = Limited::new() else {
        return skipped("a graph larger than memory: no control group can be made here");
    };
    // On a disk: files of a memory file system could not leave memory.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    build_ring(dir.path(), 1_000_003);
    forget_cached(dir.path());
    let argument = format!("{} {}", limited.directory.display(), dir.path().display());
    let said = ask_child("memory::a_graph_larger_than_memory_works", LIMITED_CHILD, &argument);
    let (image_bytes, followers) = said.split_once(' ').unwrap();
    assert!(image_bytes.parse::<u64>().unwrap() > 2 * LIMIT_BYTES, "{said}");
    assert!(followers.parse::<u32>().unwrap() > 500, "{said}");
}
