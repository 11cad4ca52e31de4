//! Hostile bytes: whatever a file holds, the library does not panic and does not answer wrong. What
//! is damaged is an error that names the file and the place.

use crate::recovery::{Logged, NAMES, check_refused, imaged, options};
use crate::support::{Random, bytes_of, files_of, lay_out, quick_dir};
use followgraph::{Durability, Error, ErrorKind, FollowGraph, Page};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// What one checksum of an image covers, as docs/format.md has it.
const BLOCK_BYTES: usize = 4096;

/// Every answer the graph has about every account, one by one. Unknown names are asked for too: a
/// damaged graph must not say that an account is not there.
pub(super) fn answers(graph: &FollowGraph) -> Vec<Result<String, Error>> {
    fn told<T: std::fmt::Debug>(result: Result<T, Error>) -> Result<String, Error> {
        match result {
            Err(error) if error.kind() == ErrorKind::Corrupt => Err(error),
            other => Ok(format!("{:?}", other.map_err(|error| error.kind()))),
        }
    }
    let mut all = Vec::new();
    for name in NAMES.iter().chain(&["late1", "late2", "late3", "last", "nobody"]) {
        all.push(told(graph.account_id(name)));
        all.push(told(graph.counts(name)));
        all.push(told(graph.followers(name, Page::first(100)).map(|list| list.entries)));
        all.push(told(graph.following(name, Page::first(100)).map(|list| list.entries)));
        all.push(told(graph.mutuals(name, Page::first(100)).map(|list| list.entries)));
        let relations = graph
            .batch_relations(name, &NAMES)
            .map_or_else(|error| vec![Err(error)], |relations| relations.into_iter().collect());
        all.push(told(relations.into_iter().collect::<Result<Vec<_>, _>>()));
        let known = graph.known_followers(name, &NAMES);
        all.push(told(known.and_then(|known| known.into_iter().collect::<Result<Vec<_>, _>>())));
    }
    all.extend(graph.batch_counts(&NAMES).into_iter().map(told));
    all
}

/// An answer as text; damage by its kind.
pub(super) fn told_of(answer: &Result<String, Error>) -> String {
    answer.as_ref().map_or_else(|error| format!("{:?}", error.kind()), Clone::clone)
}

/// All of it as one text, with the list of accounts.
pub(super) fn answers_as_text(graph: &FollowGraph) -> String {
    let lines: Vec<String> = answers(graph).iter().map(told_of).collect();
    format!("{}\n{:?}", lines.join("\n"), graph.accounts(None, 100))
}

/// A graph of which all is in the image, so that opening reads none of it.
fn checkpointed(dir: &Path) {
    imaged(dir);
    options().open(dir).unwrap().checkpoint().unwrap();
}

fn right_answers(dir: &Path) -> Vec<String> {
    let graph = options().open(dir).unwrap();
    answers(&graph).into_iter().map(|answer| answer.unwrap()).collect()
}

/// What is wrong with an error about damage in `damaged` of an image, if anything.
fn misplaced(error: &Error, image: &Path, damaged: &std::ops::Range<usize>) -> Option<String> {
    let offset = error.offset_bytes().map_or(usize::MAX, |offset| offset as usize);
    // The header has one checksum for all of it.
    let blocks = damaged.start / BLOCK_BYTES..damaged.end.div_ceil(BLOCK_BYTES);
    let is_there = damaged.start < BLOCK_BYTES || blocks.contains(&(offset / BLOCK_BYTES));
    let is_right = error.kind() == ErrorKind::Corrupt && error.path() == Some(image) && is_there;
    (!is_right).then(|| format!("the error is {error}"))
}

/// What a graph with damage at a place of its image may do: refuse to open, or answer right or
/// with an error that names the place; `verify` finds it. Anything else is told.
fn complaint(
    dir: &Path,
    image: &Path,
    damaged: std::ops::Range<usize>,
    right: &[String],
) -> Option<String> {
    let judged = catch_unwind(AssertUnwindSafe(|| {
        let graph = match options().durability(Durability::Never).open(dir) {
            Ok(graph) => graph,
            Err(error) => {
                let is_version = error.kind() == ErrorKind::UnsupportedVersion;
                let in_header = is_version && damaged.start < BLOCK_BYTES;
                return (!in_header).then(|| misplaced(&error, image, &damaged)).flatten();
            }
        };
        for (number, (answer, right)) in answers(&graph).iter().zip(right).enumerate() {
            let wrong = match answer {
                Ok(answer) if answer == right => None,
                Ok(answer) => Some(format!("{answer} instead of {right}")),
                Err(error) => misplaced(error, image, &damaged),
            };
            if let Some(wrong) = wrong {
                return Some(format!("answer {number}: {wrong}"));
            }
        }
        let verified = match graph.verify() {
            Ok(_) => Some("verify finds nothing".to_owned()),
            Err(error) => misplaced(&error, image, &damaged).map(|text| format!("verify: {text}")),
        };
        // Writes and a checkpoint over damage may fail, and may not panic.
        let _ = graph.follow("h", "fresh");
        let _ = graph.remove_account("b");
        let _ = graph.checkpoint();
        verified
    }));
    judged.unwrap_or_else(|_| Some("panicked".to_owned()))
}

#[test]
fn no_flipped_byte_of_an_image_is_answered_wrong_and_verify_finds_each() {
    let dir = quick_dir();
    checkpointed(dir.path());
    let files = bytes_of(dir.path());
    let right = right_answers(dir.path());
    let image = files_of(dir.path(), "fgi").pop().unwrap();
    let path = dir.path().join(&image);
    let mut random = Random::seeded(17);
    let mut complaints = Vec::new();
    let length = files[&image].len();
    let is_looked_at =
        |place: &usize| *place < 512 || files[&image][*place] != 0 || place.is_multiple_of(61);
    for place in (0..length).filter(is_looked_at) {
        for flip in [1_u8 << random.below(8), 0xff] {
            let mut files = files.clone();
            files.get_mut(&image).unwrap()[place] ^= flip;
            lay_out(dir.path(), &files);
            let complaint = complaint(dir.path(), &path, place..place + 1, &right);
            complaints.extend(complaint.map(|text| format!("byte {place} ^ {flip:#x}: {text}")));
        }
    }
    assert!(complaints.is_empty(), "{length} bytes, {}", complaints.join("\n"));
}

/// The time of the newest follow decides whether an image is asked for the place of a new one.
#[test]
fn an_image_that_says_less_than_its_newest_follow_is_told_by_verify() {
    let dir = quick_dir();
    imaged(dir.path());
    let image = files_of(dir.path(), "fgi").pop().unwrap();
    let files = bytes_of(dir.path());
    let newest_at = u32::from_le_bytes(files[&image][224..228].try_into().unwrap());
    assert!(newest_at > 0, "the follows of the image have times");
    for (said, is_right) in [(newest_at, true), (newest_at - 1, false), (0, false)] {
        let mut files = files.clone();
        let header = &mut files.get_mut(&image).unwrap()[..4096];
        header[224..228].copy_from_slice(&said.to_le_bytes());
        let crc = crc32fast::hash(&header[..4092]);
        header[4092..].copy_from_slice(&crc.to_le_bytes());
        lay_out(dir.path(), &files);
        let graph = options().open(dir.path()).unwrap();
        let verified = graph.verify().map(|_| ()).map_err(|error| error.kind());
        let expected = if is_right { Ok(()) } else { Err(ErrorKind::Corrupt) };
        assert_eq!(verified, expected, "{said} instead of {newest_at}");
    }
}

#[test]
fn no_run_of_random_bytes_in_an_image_is_answered_wrong_and_verify_finds_each() {
    let dir = quick_dir();
    checkpointed(dir.path());
    let files = bytes_of(dir.path());
    let right = right_answers(dir.path());
    let image = files_of(dir.path(), "fgi").pop().unwrap();
    let path = dir.path().join(&image);
    let length = files[&image].len();
    let mut complaints = Vec::new();
    for seed in 0..400 {
        let mut random = Random::seeded(seed);
        let mut files = files.clone();
        let bytes = files.get_mut(&image).unwrap();
        // Behind the header page, whose own checksum keeps everything else out.
        let start = 4096 + random.below(length - 4096);
        let end = length.min(start + 1 + random.below(64));
        // At least the first one is another than before.
        bytes[start] ^= 0x55;
        bytes[start + 1..end].iter_mut().for_each(|byte| *byte = random.below(256) as u8);
        lay_out(dir.path(), &files);
        let complaint = complaint(dir.path(), &path, start..end, &right);
        complaints.extend(complaint.map(|text| format!("seed {seed}: {text}")));
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// What a damaged image can say differently while all counts stay: the accounts' names, and the
/// times of the follows, beside whom each account follows.
#[derive(PartialEq)]
struct Told {
    names: Vec<String>,
    followed: Vec<Vec<String>>,
    times: Vec<Vec<u32>>,
}

fn told(graph: &FollowGraph) -> Told {
    let lists = NAMES.map(|name| {
        let list = graph.following(name, Page::first(100));
        list.map_or_else(|_| Vec::new(), |list| list.entries)
    });
    let followed = lists.iter().map(|list| list.iter().map(|one| one.account.clone()).collect());
    let times = lists.iter().map(|list| list.iter().map(|one| one.followed_at).collect());
    Told {
        names: graph.accounts(None, 100).into_iter().map(|(_, name)| name).collect(),
        followed: followed.collect(),
        times: times.collect(),
    }
}

#[test]
fn no_flipped_byte_of_an_image_gets_into_a_checkpoint_or_a_backup() {
    let (dir, backups) = (quick_dir(), quick_dir());
    checkpointed(dir.path());
    let files = bytes_of(dir.path());
    let right = told(&options().open(dir.path()).unwrap());
    let images = files_of(dir.path(), "fgi");
    let image = images.last().unwrap();
    let (mut opened_count, mut renamed_count, mut retimed_count) = (0, 0, 0);
    let (mut checkpoint_count, mut complaints) = (0, Vec::new());
    let is_looked_at = |place: &usize| files[image][*place] != 0 || place.is_multiple_of(61);
    // Behind the header page, whose own checksum keeps everything else out.
    for place in (4096..files[image].len()).filter(is_looked_at) {
        let mut files = files.clone();
        files.get_mut(image).unwrap()[place] ^= 1;
        lay_out(dir.path(), &files);
        let graph = match options().durability(Durability::Never).open(dir.path()) {
            Ok(graph) => graph,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {place}: {error}");
                continue;
            }
        };
        let told = told(&graph);
        opened_count += 1;
        // An account whose name is damaged is left out.
        let is_renamed = !told.names.iter().all(|name| right.names.contains(name));
        let is_retimed = told.followed == right.followed && told.times != right.times;
        renamed_count += usize::from(is_renamed);
        retimed_count += usize::from(is_retimed);

        let backup = backups.path().join("copy");
        // Without a commit there is nothing for a checkpoint to do. It may need what is damaged.
        let mut refusals = vec![graph.backup(&backup).map(drop)];
        match graph.add_account("another") {
            Ok(_) => refusals.push(graph.checkpoint().map(drop)),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {place}: {error}"),
        }
        checkpoint_count += refusals.len() - 1;
        for refused in refusals {
            let is_right = refused.as_ref().is_err_and(|error| {
                error.kind() == ErrorKind::Corrupt && error.path() == Some(&dir.path().join(image))
            });
            let what = format!("byte {place}, renames: {is_renamed}, retimes: {is_retimed}");
            complaints.extend((!is_right).then(|| format!("{what}: {refused:?}")));
        }
        drop(graph);
        let after = bytes_of(dir.path());
        let stays = images.iter().all(|image| after.get(image) == files.get(image));
        let is_new = files_of(dir.path(), "fgi") != images || backup.exists();
        if !stays || is_new {
            complaints.push(format!("byte {place}: images came, went or changed"));
            let _ = std::fs::remove_dir_all(&backup);
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    assert!(opened_count > 0 && checkpoint_count > 0, "every one was refused before");
    assert_eq!((renamed_count, retimed_count), (0, 0), "names and times that never were");
}

/// A frame with a right checksum around any payload.
fn forged_frame(sequence: u64, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend((payload.len() as u32).to_le_bytes());
    frame.extend([0; 4]);
    frame.extend(sequence.to_le_bytes());
    frame.extend((sequence - 1).to_le_bytes());
    frame.extend([0xff; 8]);
    frame.extend(payload);
    let mut crc = crc32fast::Hasher::new();
    crc.update(&frame[..4]);
    crc.update(&frame[8..]);
    frame[4..8].copy_from_slice(&crc.finalize().to_le_bytes());
    frame.resize(frame.len().next_multiple_of(8), 0);
    frame
}

#[test]
fn frames_with_right_checksums_and_impossible_records_are_corrupt() {
    let logged = Logged::killed(Durability::Always, 6);
    let dir = quick_dir();
    let (_, _, end) = logged.frames()[5];
    let state = logged.state_of(6);
    let id_count = state.accounts().len() as u8;
    let with_frame = |payload: &[u8]| {
        let mut bytes = logged.bytes().to_vec();
        let frame = forged_frame(7, payload);
        bytes[end..end + frame.len()].copy_from_slice(&frame);
        lay_out(dir.path(), &logged.with(bytes));
    };
    with_frame(&[1, 0, id_count, 1, b'z', 0]);
    let graph = options().open(dir.path()).unwrap();
    assert_eq!(graph.account_id("z").unwrap().0, u32::from(id_count), "a forged frame can be good");
    drop(graph);

    let check = |payload: &[u8]| {
        with_frame(payload);
        let what = format!("payload {payload:?}");
        check_refused(dir.path(), ErrorKind::Corrupt, Some(&logged.segment), &what);
    };
    let (from, to, _) = state.edges().remove(0);
    let [from, to] = [from, to].map(|name| state.account_id(&name).unwrap() as u8);
    // No such record, and records that end too early.
    check(&[1, 9]);
    check(&[1, 2, 0]);
    check(&[2, 0, id_count, 1, b'z', 0]);
    check(&[1, 0, id_count, 1, b'z', 0, 0]);
    // Follows of oneself, of nobody, by nobody, a second time; a time that is half given.
    check(&[1, 2, 0, 0, 0, 1]);
    check(&[1, 2, 0, 99, 0, 1]);
    check(&[1, 2, 252, 255, 255, 255, 255, 0, 0, 1]);
    check(&[1, 2, from, to, 0, 1]);
    check(&[1, 2, to, from, 0, 2]);
    // Unfollows of nobody, of oneself, and of somebody a second time.
    check(&[1, 3, 0, 99]);
    check(&[1, 3, 0, 0]);
    check(&[2, 3, from, to, 3, from, to]);
    // Removals of nobody, and twice.
    check(&[1, 1, 99]);
    check(&[2, 1, from, 1, from]);
    // Ids out of order, names taken, empty, bad, not UTF-8, endless.
    check(&[1, 0, id_count + 1, 1, b'z', 0]);
    check(&[1, 0, 0, 1, b'z', 0]);
    check(&[1, 0, id_count, 1, b'a', 0]);
    check(&[1, 0, id_count, 0, 0]);
    check(&[1, 0, id_count, 1, b'\n', 0]);
    check(&[1, 0, id_count, 1, 0xff, 0]);
    check(&[1, 0, id_count, 1, b'z', 7]);
    check(&[1, 0, id_count, 253, 255, 255, 255, 255, 255, 255, 255, 255]);
    // More records than there can be.
    check(&[252, 255, 255, 255, 255, 1, 0]);
    check(&[253, 255, 255, 255, 255, 255, 255, 255, 255]);
}

/// A header whose checksum is right and whose number of accounts is not, as no writer leaves it:
/// found by a fuzzer, which it cost 19 GB of memory or a panic.
#[test]
fn a_wrong_number_of_accounts_under_a_right_checksum_is_an_error() {
    const ACCOUNT_COUNT_OFFSET: usize = 68;
    let dir = quick_dir();
    let path = dir.path().join("graph");
    let graph = FollowGraph::open(&path).unwrap();
    for name in ["alice", "bob", "carol"] {
        graph.add_account(name).unwrap();
    }
    graph.checkpoint().unwrap();
    drop(graph);
    let image = path.join(files_of(&path, "fgi").pop().unwrap());
    let right = std::fs::read(&image).unwrap();
    for (count, expected) in
        [(4_u32, ErrorKind::Corrupt), (u32::MAX, ErrorKind::Corrupt), (2, ErrorKind::AuditFailed)]
    {
        let mut wrong = right.clone();
        wrong[ACCOUNT_COUNT_OFFSET..ACCOUNT_COUNT_OFFSET + 4].copy_from_slice(&count.to_le_bytes());
        let checksum = crc32fast::hash(&wrong[..4092]);
        wrong[4092..4096].copy_from_slice(&checksum.to_le_bytes());
        std::fs::write(&image, wrong).unwrap();
        let error = FollowGraph::open(&path).and_then(|graph| graph.verify()).unwrap_err();
        assert_eq!(error.kind(), expected, "{count}: {error}");
    }
}
