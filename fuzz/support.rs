//! What the fuzz targets share: a clock by hand, a tiny graph as bytes, and what may be asked of a
//! damaged one.

use arbitrary::Arbitrary;
use followgraph::{
    Clock, Durability, ErrorKind, FollowGraph, MonotonicClock, Mutation, Options, Page,
};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The accounts of the tiny graph: one name is longer than an account record holds.
pub const NAMES: [&str; 5] =
    ["alice", "bob", "carol", "dave", "a-name-that-is-longer-than-an-account-record-can-hold"];

/// A clock that moves when it is told to.
#[derive(Clone, Default)]
pub struct HandClock(Arc<AtomicU32>);

impl HandClock {
    /// What it shows.
    pub fn now(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Moves it on, up to the last second it can show.
    pub fn advance(&self, seconds: u32) {
        self.0.store(self.now().saturating_add(seconds), Ordering::Relaxed);
    }

    /// For the options of a graph.
    pub fn clock(&self) -> Clock {
        let seconds = Arc::clone(&self.0);
        Arc::new(move || seconds.load(Ordering::Relaxed))
    }

    /// Returns the same clock as one that nobody sets, so that no step of it is too large.
    pub fn monotonic_clock(&self) -> MonotonicClock {
        let seconds = Arc::clone(&self.0);
        Arc::new(move || Duration::from_secs(u64::from(seconds.load(Ordering::Relaxed))))
    }
}

/// The smallest segments, and no syncs: a fuzzer does not wait for a disk.
pub fn options() -> Options {
    Options::new()
        .durability(Durability::Never)
        .segment_bytes(64 << 10)
        .checkpoint_log_bytes(None)
        .create_missing_accounts(true)
}

/// The files of a graph directory by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Reads every file of a directory.
pub fn files_of(directory: &Path) -> Files {
    let entries = std::fs::read_dir(directory).expect("the directory is there");
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.expect("the directory can be listed");
        let name = entry.file_name().into_string().expect("our names are plain");
        (name, std::fs::read(entry.path()).expect("the file can be read"))
    };
    entries.map(read).collect()
}

/// Writes files into a directory.
pub fn lay_out(directory: &Path, files: &Files) {
    for (name, bytes) in files {
        std::fs::write(directory.join(name), bytes).expect("there is room");
    }
}

/// A tiny graph with an image and a log behind it, as the files that a killed process leaves.
pub fn tiny_graph() -> Files {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let clock = HandClock::default();
    clock.advance(1000);
    let graph = options().clock(clock.clock()).open(directory.path()).expect("it is empty");
    follow_around(&graph, &clock);
    graph.checkpoint().expect("there is room");
    graph.unfollow("alice", "bob").expect("both exist");
    graph.follow("dave", "alice").expect("both exist");
    let batch = [
        Mutation::follow("erin", "alice").at(7),
        Mutation::follow("alice", "erin"),
        Mutation::remove_account("carol"),
    ];
    graph.apply(&batch).expect("the log has room");
    graph.add_foreign_account("zoe").expect("the log has room");
    graph.follow("zoe", "bob").expect("both exist");
    files_of(directory.path())
}

/// Small sets of each kind, and one account whose followers fill a bitmap.
fn follow_around(graph: &FollowGraph, clock: &HandClock) {
    for (place, from) in NAMES.iter().enumerate() {
        for to in &NAMES[place + 1..] {
            graph.follow(from, to).expect("names are good");
            clock.advance(1);
        }
    }
    graph.follow(NAMES[4], NAMES[0]).expect("names are good");
    let fans: Vec<String> = (0..700).map(|number| format!("fan{number}")).collect();
    let follows: Vec<Mutation<'_>> = fans
        .iter()
        .enumerate()
        .map(|(place, fan)| Mutation::follow(fan, "bob").at(place as u32 / 9))
        .collect();
    for batch in follows.chunks(50) {
        graph.apply(batch).expect("the log has room");
    }
}

/// One change to the bytes of a file.
#[derive(Arbitrary, Debug)]
pub enum Edit {
    /// A byte is another one.
    Flip { place: u32, mask: u8 },
    /// A number is another one.
    Number { place: u32, value: u32 },
    /// A few bytes are others.
    Bytes { place: u32, bytes: [u8; 12] },
    /// Bytes from one place are at another one too.
    Copy { from: u32, to: u32, length: u8 },
    /// The file ends earlier.
    Cut { length: u32 },
    /// The file goes on.
    Grow { length: u16, byte: u8 },
}

impl Edit {
    /// Changes the bytes. Places are taken modulo `reach`, or what is left of the file.
    pub fn apply(&self, bytes: &mut Vec<u8>, reach: usize) {
        let reach = reach.min(bytes.len());
        if reach == 0 {
            return;
        }
        let mut put = |place: usize, new: &[u8]| {
            bytes.iter_mut().skip(place).zip(new).for_each(|(byte, new)| *byte = *new);
        };
        match self {
            Edit::Flip { place, mask } => bytes[*place as usize % reach] ^= mask,
            Edit::Number { place, value } => put(*place as usize % reach, &value.to_le_bytes()),
            Edit::Bytes { place, bytes } => put(*place as usize % reach, bytes),
            Edit::Copy { from, to, length } => {
                let from = *from as usize % reach;
                let end = (from + usize::from(*length)).min(bytes.len());
                let copied = bytes[from..end].to_vec();
                let place = *to as usize % reach;
                bytes.iter_mut().skip(place).zip(copied).for_each(|(byte, new)| *byte = new);
            }
            Edit::Cut { length } => bytes.truncate(*length as usize % bytes.len()),
            Edit::Grow { length, byte } => {
                bytes.extend(std::iter::repeat_n(*byte, usize::from(*length)));
            }
        }
    }
}

/// Opens a graph whose bytes may be anything and asks all there is to ask. It may refuse to open
/// or to answer, and `verify` may complain; none of it may panic, and what a clean `verify` vouches
/// for is consistent.
pub fn interrogate(directory: &Path) {
    let graph = match options().open(directory) {
        Ok(graph) => graph,
        Err(error) => {
            let expected = [ErrorKind::Corrupt, ErrorKind::UnsupportedVersion];
            assert!(expected.contains(&error.kind()), "damage is refused as {error:?}");
            return;
        }
    };
    // Read what the damage may have reached before `verify` can stop at it.
    let sums_agree = ask(&graph);
    let verified = graph.verify();
    if verified.is_ok() {
        sums_agree.expect("`verify` is clean, so every list has the length its count says");
    }
    // Changes over damage may fail, and may not panic.
    let _ = graph.follow("fan1", "alice");
    let _ = graph.unfollow("fan2", "bob");
    let _ = graph.remove_account("dave");
    let _ = graph.checkpoint();
    let _ = ask(&graph);
}

/// Every question about every account, and whether each list is as long as its count.
fn ask(graph: &FollowGraph) -> Result<(), String> {
    let mut agree = Ok(());
    let names = NAMES.iter().copied().chain(["erin", "zoe", "fan1", "fan699", "nobody"]);
    for name in names {
        let Ok(counts) = graph.counts(name) else { continue };
        let lists = [
            (counts.followers, graph.followers(name, Page::first(1000))),
            (counts.following, graph.following(name, Page::first(1000))),
            (counts.mutual, graph.mutuals(name, Page::first(1000))),
        ];
        for (count, list) in lists {
            let length = list.map(|list| list.entries.len());
            if !matches!(length, Ok(length) if length == count as usize) {
                agree = Err(format!("{name}: count {count}, list {length:?}"));
            }
        }
        let _ = graph.batch_relations(name, &NAMES);
        let _ = graph.known_followers(name, &NAMES);
    }
    let _ = graph.accounts(None, 2000);
    let _ = graph.stats();
    agree
}

/// A list in few bytes: runs of ids with gaps between them, so that an input of a hundred bytes can
/// be a set of thousands, in any form.
#[derive(Arbitrary, Debug)]
pub struct Shape {
    runs: Vec<Run>,
    tie_is_place: bool,
}

#[derive(Arbitrary, Debug)]
struct Run {
    gap: u32,
    gap_bits: u8,
    length: u16,
    step: u8,
    at: u32,
    at_step: u8,
}

impl Shape {
    /// The edges: ids ascending, with times and ties.
    pub fn edges(&self) -> Vec<(u32, u32, u32)> {
        let mut edges = Vec::new();
        let mut id = 0_u32;
        for run in self.runs.iter().take(12) {
            let gap = run.gap >> (run.gap_bits % 32);
            let Some(start) = id.checked_add(gap) else { break };
            id = start;
            for place in 0..u32::from(run.length % 3000) {
                let at = run.at.saturating_add(u32::from(run.at_step) * place);
                let tie = if self.tie_is_place { edges.len() as u32 } else { id };
                edges.push((id, at, tie));
                let Some(next) = id.checked_add(1 + u32::from(run.step)) else { return edges };
                id = next;
            }
        }
        edges
    }
}
