//! Damage in an image is an error of exactly the calls that need what is damaged, from the first
//! one on: it names the block, nothing is changed over it, and everything else is answered.

use crate::support::{HandClock, bytes_of, files_of, lay_out, quick_dir};
use followgraph::{AccountId, Error, ErrorKind, FollowGraph, Mutation, Options, Page};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const BLOCK_BYTES: usize = 4096;
const RECORD_BYTES: usize = 64;
const ACCOUNTS: u32 = 400;

/// Every tenth name is longer than a record has room for.
fn name(id: u32) -> String {
    let tail = if id.is_multiple_of(10) { "x".repeat(60) } else { String::new() };
    format!("account-{id}-{tail}")
}

fn options() -> Options {
    let clock = HandClock::at(1000).clock();
    Options::new().segment_bytes(64 << 10).checkpoint_log_bytes(None).clock(clock)
}

/// Each account follows the next seven, and so is followed by seven; an image holds it all.
fn make(dir: &Path) {
    let graph = options().open(dir).unwrap();
    let names: Vec<String> = (0..ACCOUNTS).map(name).collect();
    let added: Vec<_> = names.iter().map(|name| Mutation::add_account(name)).collect();
    graph.apply(&added).unwrap();
    for id in 0..ACCOUNTS {
        let others = (1..8).map(|step| &names[((id + step) % ACCOUNTS) as usize]);
        let followed: Vec<_> =
            others.map(|other| Mutation::follow(&names[id as usize], other)).collect();
        graph.apply(&followed).unwrap();
    }
    graph.checkpoint().unwrap();
}

/// A closed graph whose image is damaged one block after the other.
struct Damaged {
    dir: tempfile::TempDir,
    files: BTreeMap<PathBuf, Vec<u8>>,
    image: PathBuf,
}

/// The bytes of a section, as its entry in the header says.
fn section(image: &[u8], entry: usize) -> std::ops::Range<usize> {
    let field = |at: usize| u64::from_le_bytes(image[at..at + 8].try_into().unwrap()) as usize;
    field(entry)..field(entry) + field(entry + 8)
}
const RECORDS: usize = 128;
const INDEX: usize = 152;
const NAMES: usize = 176;
const SETS: usize = 200;
const BLOCKS: usize = 228;

impl Damaged {
    fn new() -> Damaged {
        let dir = quick_dir();
        make(dir.path());
        let files = bytes_of(dir.path());
        let image = files_of(dir.path(), "fgi").pop().unwrap();
        Damaged { dir, files, image }
    }

    fn section(&self, entry: usize) -> std::ops::Range<usize> {
        section(&self.files[&self.image], entry)
    }

    /// Lays the graph out with one byte of each block of a section flipped in turn, and opens it.
    fn each_block(&self, entry: usize, mut check: impl FnMut(usize, &FollowGraph)) {
        let section = self.section(entry);
        assert!(!section.is_empty());
        for start in section.clone().step_by(BLOCK_BYTES) {
            let mut files = self.files.clone();
            let end = section.end.min(start + BLOCK_BYTES);
            files.get_mut(&self.image).unwrap()[usize::midpoint(start, end)] ^= 0x10;
            lay_out(self.dir.path(), &files);
            let graph = options().open(self.dir.path()).unwrap();
            check(start, &graph);
        }
    }

    /// Says that an error is about the block at `start`.
    #[track_caller]
    fn check(&self, error: &Error, start: usize) {
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert_eq!(error.path(), Some(self.dir.path().join(&self.image).as_path()), "{error}");
        assert_eq!(error.offset_bytes(), Some(start as u64), "{error}");
    }
}

#[test]
fn a_damaged_block_of_records_is_an_error_of_its_accounts_and_of_no_others() {
    let damaged = Damaged::new();
    damaged.each_block(RECORDS, |start, graph| {
        let first = ((start - BLOCK_BYTES) / RECORD_BYTES) as u32;
        let block = first..ACCOUNTS.min(first + (BLOCK_BYTES / RECORD_BYTES) as u32);
        for id in 0..ACCOUNTS {
            let (by_id, by_name) = (graph.counts_by_id(AccountId(id)), graph.counts(&name(id)));
            if block.contains(&id) {
                damaged.check(&by_id.unwrap_err(), start);
                damaged.check(&by_name.unwrap_err(), start);
                damaged.check(graph.batch_counts(&[name(id)])[0].as_ref().unwrap_err(), start);
            } else {
                let counts = by_id.unwrap();
                assert_eq!((counts.followers, counts.following, counts.mutual), (7, 7, 0));
                assert_eq!(by_name.unwrap(), counts);
            }
        }
        // A change is refused where it needs the block, and leaves nothing behind.
        let outside = (block.end + 20) % ACCOUNTS;
        let beside = (block.end + 3) % ACCOUNTS;
        damaged.check(&graph.follow(&name(first), &name(outside)).unwrap_err(), start);
        damaged.check(&graph.add_account(&name(first)).unwrap_err(), start);
        damaged.check(&graph.remove_account(&name(beside)).unwrap_err(), start);
        assert_eq!(graph.counts(&name(beside)).unwrap().followers, 7);
        assert!(graph.unfollow(&name(outside), &name((outside + 1) % ACCOUNTS)).is_ok());
        damaged.check(&graph.checkpoint().unwrap_err(), start);
    });
}

#[test]
fn a_damaged_block_of_the_index_makes_no_account_unknown() {
    let damaged = Damaged::new();
    damaged.each_block(INDEX, |start, graph| {
        let mut refused = 0;
        for id in 0..ACCOUNTS {
            // What is not found by its name is there by its id.
            assert!(graph.counts_by_id(AccountId(id)).is_ok());
            match graph.account_id(&name(id)) {
                Ok(found) => assert_eq!(found, AccountId(id)),
                Err(error) => {
                    refused += 1;
                    damaged.check(&error, start);
                    damaged.check(&graph.add_account(&name(id)).unwrap_err(), start);
                    let counts = graph.batch_counts(&[name(id)]).remove(0);
                    damaged.check(&counts.unwrap_err(), start);
                }
            }
        }
        assert!(refused > 0, "no name is in the block at {start}");
    });
}

#[test]
fn a_damaged_block_of_long_names_is_an_error_of_those_names() {
    let damaged = Damaged::new();
    damaged.each_block(NAMES, |start, graph| {
        let mut refused = 0;
        for id in 0..ACCOUNTS {
            match graph.account_name(AccountId(id)) {
                Ok(found) => assert_eq!(found, name(id)),
                Err(error) => {
                    refused += 1;
                    damaged.check(&error, start);
                    damaged.check(&graph.account_id(&name(id)).unwrap_err(), start);
                }
            }
        }
        assert!((1..=ACCOUNTS / 10).contains(&refused), "{refused} names are in the block");
    });
}

#[test]
fn a_damaged_block_of_lists_is_an_error_of_those_lists() {
    let damaged = Damaged::new();
    damaged.each_block(SETS, |start, graph| {
        let mut refused = 0;
        for id in 0..ACCOUNTS {
            assert!(graph.counts(&name(id)).is_ok(), "a count reads no list");
            match graph.following(&name(id), Page::first(10)) {
                Ok(list) => {
                    let mut steps: Vec<u32> = list
                        .entries
                        .iter()
                        .map(|entry| graph.account_id(&entry.account).unwrap().0)
                        .map(|other| (other + ACCOUNTS - id) % ACCOUNTS)
                        .collect();
                    steps.sort_unstable();
                    assert_eq!(steps, [1, 2, 3, 4, 5, 6, 7], "account {id}");
                }
                Err(error) => {
                    refused += 1;
                    damaged.check(&error, start);
                    let other = (id + 50) % ACCOUNTS;
                    damaged.check(&graph.followers(&name(id), Page::first(1)).unwrap_err(), start);
                    damaged.check(&graph.remove_account(&name(id)).unwrap_err(), start);
                    let _ = graph.follow(&name(id), &name(other));
                    assert!(graph.counts(&name(id)).unwrap().following <= 8);
                }
            }
        }
        assert!(refused > 0, "no list is in the block at {start}");
    });
}

/// What goes with an account goes in slices. One that meets damage at the other end of a follow,
/// whichever of the two ends has fewer, stops before it changes anything.
#[test]
fn a_slice_of_a_removal_that_meets_a_damaged_record_changes_nothing() {
    let everybody: Vec<u32> = (0..ACCOUNTS).collect();
    let some: Vec<u32> = (30..ACCOUNTS).step_by(BLOCK_BYTES / RECORD_BYTES).collect();
    for fans in [everybody, some] {
        let mut damaged = Damaged::new();
        let dir = damaged.dir.path().to_owned();
        let graph = options().open(&dir).unwrap();
        graph.add_account("star").unwrap();
        for &fan in &fans {
            graph.follow(&name(fan), "star").unwrap();
        }
        graph.follow("star", &name(fans[0])).unwrap();
        graph.checkpoint().unwrap();
        drop(graph);
        damaged.files = bytes_of(&dir);
        damaged.image = files_of(&dir, "fgi").pop().unwrap();
        let records = damaged.section(RECORDS);
        for block in 0..ACCOUNTS / (BLOCK_BYTES / RECORD_BYTES) as u32 {
            let start = records.start + block as usize * BLOCK_BYTES;
            let mut files = damaged.files.clone();
            files.get_mut(&damaged.image).unwrap()[start + BLOCK_BYTES / 2] ^= 0x10;
            lay_out(&dir, &files);
            let graph = options().removal_slice(2).open(&dir).unwrap();
            damaged.check(&graph.remove_account("star").unwrap_err(), start);
            let before = graph.stats();
            damaged.check(&graph.remove_account("star").unwrap_err(), start);
            let after = graph.stats();
            assert_eq!(after.sequence, before.sequence, "a slice that failed is in the log");
            let is_left = |fan: &&u32| {
                let relation = graph.relation(&name(**fan), "star");
                relation.is_err() || relation.is_ok_and(|relation| relation.following)
            };
            let left = fans.iter().filter(is_left).count();
            assert_eq!(graph.counts("star").unwrap().followers as usize, left);
            assert_eq!(after.follow_count, before.follow_count);
            drop(graph);
            // Once the image is whole again the removal goes on.
            std::fs::write(dir.join(&damaged.image), &damaged.files[&damaged.image]).unwrap();
            let graph = options().open(&dir).unwrap();
            graph.finish_removals().unwrap();
            assert_eq!(graph.counts("star").unwrap_err().kind(), ErrorKind::UnknownAccount);
            assert_eq!(graph.stats().follow_count, u64::from(ACCOUNTS) * 7);
            graph.verify().unwrap();
        }
    }
}

#[test]
fn damaged_checksums_are_an_error_that_names_them() {
    let damaged = Damaged::new();
    damaged.each_block(BLOCKS, |start, graph| {
        damaged.check(&graph.counts(&name(1)).unwrap_err(), start);
        damaged.check(&graph.verify().unwrap_err(), start);
    });
}

#[test]
fn a_log_that_changes_a_damaged_block_is_not_replayed_over_it() {
    let dir = quick_dir();
    make(dir.path());
    options().open(dir.path()).unwrap().follow(&name(5), &name(300)).unwrap();
    let files = bytes_of(dir.path());
    let image = files_of(dir.path(), "fgi").pop().unwrap();
    let records = section(&files[&image], RECORDS);
    for (id, is_touched) in [(5, true), (300, true), (100, false)] {
        let mut files = files.clone();
        // The count of its followers.
        files.get_mut(&image).unwrap()[records.start + id * RECORD_BYTES] ^= 1;
        lay_out(dir.path(), &files);
        let opened = options().open(dir.path());
        if is_touched {
            let error = opened.err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            assert_eq!(error.path(), Some(dir.path().join(&image).as_path()), "{error}");
        } else {
            assert!(opened.unwrap().counts(&name(5)).is_ok());
        }
    }
}

/// An image as version 1 had it: without checksums by blocks.
fn as_version_1(image: &mut Vec<u8>) {
    let end = section(image, SETS).end;
    image.truncate(end);
    image[8..12].copy_from_slice(&1_u32.to_le_bytes());
    image[BLOCKS..BLOCKS + 24].fill(0);
    let crc = crc32fast::hash(&image[..BLOCK_BYTES - 4]);
    image[BLOCK_BYTES - 4..BLOCK_BYTES].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn an_image_without_checksums_by_blocks_is_read_verified_and_replaced() {
    let mut damaged = Damaged::new();
    as_version_1(damaged.files.get_mut(&damaged.image).unwrap());
    lay_out(damaged.dir.path(), &damaged.files);
    let graph = options().open(damaged.dir.path()).unwrap();
    assert_eq!(graph.counts(&name(7)).unwrap().followers, 7);
    graph.verify().unwrap();
    graph.follow(&name(7), &name(100)).unwrap();
    graph.checkpoint().unwrap();
    drop(graph);
    let newest = files_of(damaged.dir.path(), "fgi").pop().unwrap();
    assert_eq!(bytes_of(damaged.dir.path())[&newest][8], 2, "a checkpoint raises the version");
    damaged.each_block(SETS, |_, graph| {
        let error = graph.verify().unwrap_err();
        damaged.check(&error, damaged.section(SETS).start);
    });
}
