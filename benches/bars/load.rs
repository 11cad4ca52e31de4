//! Importing, opening, and the space that follows take.

use crate::Judge;
use crate::report::{Bar, Report};
use crate::support::edges::Edges;
use crate::support::measure::{median, real, take_turns, timed};
use crate::support::open;
use fastrand::Rng;
use followgraph::{Cursor, FollowGraph, List, Page, Result};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Accounts take this much each; only what is above it is counted as bytes of follows.
const ACCOUNT_BYTES: u64 = 96;
/// How many entries one page has where all lists are read.
const PAGE_ENTRIES: usize = 1000;
/// The first follow was made in 2015, the last one ten years later.
const FIRST_TIME: u32 = 1_420_070_400;
const SPREAD_SECONDS: u32 = 315_360_000;
/// Edge lists shorter than this are loaded more than once.
const LONG_EDGE_LIST: usize = 5_000_000;
const IMPORT_BAR: Bar = Bar::AtLeast(2.0);

impl Judge {
    /// Makes the graph that most is measured on, and says how fast that went.
    pub(crate) fn bulk_load(&mut self, directory: &Path) {
        let seconds =
            self.seconds_to_import(directory, |directory| self.edges.build(directory, |_| None).0);
        let speed = Report::millions(self.edges.follows.len(), seconds);
        let note = format!("{seconds:.2} s, names in memory, 1 GiB for sorting");
        self.report.bar("import: bulk_load", IMPORT_BAR, speed, "M/s", &note);
    }

    /// The same from a text file, by a process of its own.
    pub(crate) fn import_with_the_tool(&mut self, path: &Path) {
        let Some(tool) = option_env!("CARGO_BIN_EXE_followgraph") else {
            println!("        import with the tool: not measured, the feature `cli` is off");
            return;
        };
        let text = if path.extension().is_some_and(|extension| extension == "u32") {
            self.write_text()
        } else {
            path.to_owned()
        };
        let directory = self.directory("imported");
        let seconds = self.seconds_to_import(&directory, |directory| {
            let mut command = Command::new(tool);
            command.arg("--db").arg(directory).arg("import").arg(&text);
            let (seconds, output) = timed(|| command.output().expect("the tool can be started"));
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            seconds
        });
        let follow_count = open(&directory).stats().follow_count;
        assert_eq!(follow_count, self.edges.follows.len() as u64, "all follows are imported");
        let speed = Report::millions(self.edges.follows.len(), seconds);
        let kind = text.extension().unwrap_or_default().to_string_lossy();
        let note = format!("{seconds:.2} s, .{kind} file, the whole process");
        self.report.bar("import: the tool, text", IMPORT_BAR, speed, "M/s", &note);
        std::fs::remove_dir_all(&directory).expect("the directory is ours");
        if text != path {
            std::fs::remove_file(&text).expect("the file is ours");
        }
    }

    /// The middle one of some imports; of a long edge list, the only one.
    fn seconds_to_import(&self, directory: &Path, import: impl Fn(&Path) -> f64) -> f64 {
        let turns = if self.edges.follows.len() < LONG_EDGE_LIST { 5 } else { 1 };
        let mut turn = || {
            if directory.exists() {
                std::fs::remove_dir_all(directory).expect("the directory is ours");
            }
            import(directory)
        };
        let [seconds] = self.machine.alone(|| take_turns(turns, [&mut turn]));
        median(&seconds)
    }

    fn write_text(&self) -> PathBuf {
        let path = self.directory("follows.txt");
        let mut text = BufWriter::new(File::create(&path).expect("the directory is ours"));
        for follow in &self.edges.follows {
            let (from, to) = self.edges.named(*follow);
            writeln!(text, "{from} {to}").expect("there is room for the edge list");
        }
        text.flush().expect("there is room for the edge list");
        path
    }

    pub(crate) fn open_images(&mut self, given: &Path) {
        let tiny = self.directory("tiny");
        let names = ["alice", "bob", "carol"].map(str::to_owned).to_vec();
        Edges { names, follows: vec![(0, 1), (1, 2), (2, 0)] }.build(&tiny, |_| None);
        let [tiny, given] = self.machine.alone(|| {
            let programs: [&mut dyn FnMut() -> f64; 2] =
                [&mut || seconds_to_open(&tiny), &mut || seconds_to_open(given)];
            take_turns(self.effort.opens, programs)
        });
        let [tiny, given] = [median(&tiny) * 1e3, median(&given) * 1e3];
        let report = &mut self.report;
        report.bar("open a clean image", Bar::AtMost(10.0), given, "ms", "in the page cache");
        let note = format!("a tiny one takes {tiny:.3} ms; the bar says what not growing means");
        report.bar("open, against a tiny image", Bar::AtMost(1.5), given / tiny, "x", &note);
        report.growth("open", given, "ms");
    }

    pub(crate) fn space(&mut self, plain: &Path) {
        self.report.untimed();
        let bar = if self.report.graph() == "ego-twitter" { 3.5 } else { 4.5 };
        self.space_of(plain, "no times", Bar::AtMost(bar));
        let timed = self.directory("timed");
        let times = self.distinct_times();
        self.edges.build(&timed, |place| Some(times[place]));
        drop(times);
        self.space_of(&timed, "a distinct time each", Bar::AtMost(12.0));
        std::fs::remove_dir_all(&timed).expect("the directory is ours");
    }

    /// A time for each follow, no two the same, in random order, spread over years as those of real
    /// follows are: the further apart, the more bits.
    fn distinct_times(&self) -> Vec<u32> {
        let mut random = Rng::with_seed(5);
        let step = (SPREAD_SECONDS / self.edges.follows.len() as u32).max(1);
        let time = |place| FIRST_TIME + place * step + random.u32(..step);
        let mut times: Vec<u32> = (0..self.edges.follows.len() as u32).map(time).collect();
        random.shuffle(&mut times);
        times
    }

    fn space_of(&mut self, directory: &Path, times: &str, bar: Bar) {
        let before = resident_bytes();
        let graph = open(directory);
        let stats = graph.stats();
        read_everything(&graph);
        let after = resident_bytes();
        drop(graph);
        let [heap, mapped] = [0, 1].map(|part| after[part].saturating_sub(before[part]));
        let above = |bytes: u64| {
            real(bytes as usize) - real((ACCOUNT_BYTES * stats.account_count) as usize)
        };
        let a_follow = |bytes: u64| above(bytes) / real(stats.follow_count as usize);
        // The system may take pages of a mapped file back at any time, and did so if fewer are
        // there than the file has: memory that is wanted for the whole graph is counted in full.
        let image_bytes = stats.image_bytes;
        let (on_disk, resident) = (a_follow(image_bytes), a_follow(heap + image_bytes.max(mapped)));
        let what = |place: &str| format!("bytes a follow above 96 an account, {times}, {place}");
        let note = format!("image of {image_bytes} bytes");
        self.report.bar(&what("disk"), bar, on_disk, "B", &note);
        let note = format!(
            "after all was read, {heap} bytes of heap and the image in full; {mapped} bytes of it \
             were there"
        );
        self.report.bar(&what("resident"), bar, resident, "B", &note);
        self.report.growth(&format!("bytes a follow, {times}"), on_disk, "B");
    }
}

/// Only the opening is measured, not the closing.
pub(crate) fn seconds_to_open(directory: &Path) -> f64 {
    let (seconds, graph) = timed(|| open(directory));
    drop(graph);
    seconds
}

/// Reads all counts and all lists, so that every page of the image that can be needed is there.
fn read_everything(graph: &FollowGraph) {
    let mut after = None;
    loop {
        let accounts = graph.accounts(after, PAGE_ENTRIES);
        let Some((last, _)) = accounts.last() else {
            return;
        };
        after = Some(*last);
        for (id, name) in &accounts {
            let counts = graph.counts(name).expect("the account exists");
            let followers = entry_count(|page| graph.followers_by_id(*id, page));
            let following = entry_count(|page| graph.following_by_id(*id, page));
            assert_eq!((followers, following), (counts.followers, counts.following), "{name}");
        }
    }
}

/// Pages through a list.
fn entry_count(mut list: impl FnMut(Page) -> Result<List>) -> u32 {
    let (mut entry_count, mut cursor): (u32, Option<Cursor>) = (0, None);
    loop {
        let page = cursor.map_or(Page::first(PAGE_ENTRIES), |at| Page::after(at, PAGE_ENTRIES));
        let list = list(page).expect("the account exists");
        entry_count += list.entries.len() as u32;
        match list.next {
            Some(next) => cursor = Some(next),
            None => return entry_count,
        }
    }
}

/// The memory of this process that is there: its own, and that of mapped files. A page that is
/// mapped at two places is there once.
fn resident_bytes() -> [u64; 2] {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").expect("Linux says");
    ["Pss_Anon:", "Pss_File:"].map(|word| {
        let line = rollup.lines().find(|line| line.starts_with(word)).expect("Linux says");
        let kilobytes = line.split_whitespace().nth(1).and_then(|number| number.parse().ok());
        kilobytes.unwrap_or(0u64) * 1024
    })
}
