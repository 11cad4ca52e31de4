//! What opening does with files that are not as they were left: torn tails are cut and reported,
//! anything else is an error with its place, and an error changes nothing.

use crate::support::{
    HandClock, Random, assert_equal, assert_verified, bytes_of, files_of, lay_out, quick_dir, walk,
};
use followgraph::testing::Model;
use followgraph::{Durability, Error, ErrorKind, FollowGraph, Mutation, Options};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub(super) const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
const SEGMENT_HEADER_BYTES: usize = 64;
const FRAME_HEADER_BYTES: usize = 32;
/// Where both kinds of file keep their format version.
const VERSION_OFFSET_BYTES: usize = 8;

pub(super) fn options() -> Options {
    Options::new()
        .segment_bytes(64 << 10)
        .checkpoint_log_bytes(None)
        .create_missing_accounts(true)
        .clock(HandClock::at(1000).clock())
}

/// Where the frames of a segment lie: start, end of the payload, end with padding.
fn frames(segment: &[u8]) -> Vec<(usize, usize, usize)> {
    let mut frames = Vec::new();
    let mut start = SEGMENT_HEADER_BYTES;
    while let Some(length) = segment.get(start..start + 4) {
        let length = u32::from_le_bytes(length.try_into().unwrap()) as usize;
        if length == 0 {
            break;
        }
        let payload_end = start + FRAME_HEADER_BYTES + length;
        let end = payload_end.next_multiple_of(8);
        frames.push((start, payload_end, end));
        start = end;
    }
    frames
}

/// Makes `commit_count` commits of one to three follows or unfollows, and tells the model's state
/// after each, the empty one first.
fn grow(graph: &FollowGraph, seed: u64, commit_count: usize) -> Vec<Model> {
    let mut random = Random::seeded(seed);
    let mut model = Model::default();
    model.creates_missing_accounts = true;
    let mut states = vec![model.clone()];
    while states.len() <= commit_count {
        let mut mutations = Vec::new();
        let before = model.clone();
        for _ in 0..=random.below(3) {
            let (from, to) = (NAMES[random.below(8)], NAMES[random.below(8)]);
            if from == to {
                continue;
            }
            if random.one_in(4) && model.unfollow(from, to) == Ok(true) {
                mutations.push(Mutation::unfollow(from, to));
            } else if model.follow(from, to, 1000) == Ok(true) {
                mutations.push(Mutation::follow(from, to));
            }
        }
        // A batch that changes nothing need not be a commit, and here each is to be one.
        if mutations.is_empty() || model.edges() == before.edges() {
            model = before;
            continue;
        }
        for result in graph.apply(&mutations).unwrap() {
            result.unwrap();
        }
        states.push(model.clone());
    }
    states
}

/// A graph of some commits in one segment: its files, the segment's name, the state after each.
pub(super) struct Logged {
    files: BTreeMap<PathBuf, Vec<u8>>,
    pub(super) segment: PathBuf,
    states: Vec<Model>,
}

impl Logged {
    /// The files as a killed process leaves them: one commit is one frame, and nothing else.
    pub(super) fn killed(durability: Durability, commit_count: usize) -> Logged {
        let dir = quick_dir();
        let graph = options().durability(durability).open(dir.path()).unwrap();
        let states = grow(&graph, 7, commit_count);
        let logged = Logged::read(dir.path(), states);
        assert_eq!(logged.frames().len(), commit_count, "one commit is one frame");
        logged
    }

    /// The files as a closed graph leaves them: a last frame may say that all was durable.
    fn closed(durability: Durability, commit_count: usize) -> Logged {
        let dir = quick_dir();
        let graph = options().durability(durability).open(dir.path()).unwrap();
        let states = grow(&graph, 7, commit_count);
        drop(graph);
        let logged = Logged::read(dir.path(), states);
        assert!((commit_count..=commit_count + 1).contains(&logged.frames().len()));
        logged
    }

    /// The files of a graph that was closed behind two commits, so that frame 3 is the closing
    /// one, opened again, and killed behind four more, whose frames are all of one length.
    fn killed_after_a_close(durability: Durability) -> Logged {
        let dir = quick_dir();
        let open = || options().durability(durability).open(dir.path()).unwrap();
        let mut model = Model::default();
        model.creates_missing_accounts = true;
        let mut states = vec![model.clone()];
        let mut graph = open();
        for name in ["b", "c", "d", "e", "f", "g"] {
            if name == "d" {
                drop(graph);
                states.push(model.clone());
                graph = open();
            }
            graph.follow("a", name).unwrap();
            model.follow("a", name, 1000).unwrap();
            states.push(model.clone());
        }
        let logged = Logged::read(dir.path(), states);
        assert_eq!(logged.frames().len(), 7, "six commits and the closing frame");
        logged
    }

    fn read(dir: &Path, states: Vec<Model>) -> Logged {
        let segments = files_of(dir, "fgl");
        assert_eq!(segments.len(), 1);
        Logged { files: bytes_of(dir), segment: segments[0].clone(), states }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.files[&self.segment]
    }

    pub(super) fn frames(&self) -> Vec<(usize, usize, usize)> {
        frames(self.bytes())
    }

    /// The files with other bytes in the segment's place.
    pub(super) fn with(&self, bytes: Vec<u8>) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = self.files.clone();
        files.insert(self.segment.clone(), bytes);
        files
    }

    /// The state of a log of so many whole frames; a closing frame changes nothing.
    pub(super) fn state_of(&self, frame_count: usize) -> &Model {
        &self.states[frame_count.min(self.states.len() - 1)]
    }
}

/// The graph in `dir` opens to `state`, tells of a cut if one `is_torn`, and goes on from there.
fn check_opens_to(dir: &Path, state: &Model, is_torn: bool, what: &str) {
    let graph = options().durability(Durability::Never).open(dir).unwrap_or_else(|error| {
        panic!("{what}: {error}");
    });
    let recovery = graph.stats().recovery;
    assert_eq!(recovery.cut_bytes > 0, is_torn, "{what}: {recovery:?}");
    assert_eq!(recovery.cut_frames, u64::from(is_torn), "{what}: {recovery:?}");
    assert_equal(&graph, state, &NAMES);
    let mut state = state.clone();
    let fresh = format!("fresh{}", state.accounts().len());
    graph.follow("a", &fresh).unwrap();
    state.follow("a", &fresh, 1000).unwrap();
    drop(graph);
    let graph = options().open(dir).unwrap_or_else(|error| panic!("{what}, again: {error}"));
    assert_eq!(graph.stats().recovery.cut_bytes, 0, "{what}, opened again");
    assert_equal(&graph, &state, &NAMES);
    assert_verified(&graph, &state);
}

/// Opening fails with `kind`, names the file, and leaves every byte of the directory as it was.
#[track_caller]
pub(super) fn check_refused(dir: &Path, kind: ErrorKind, file: Option<&Path>, what: &str) -> Error {
    let before = bytes_of(dir);
    let error = options().open(dir).err().unwrap_or_else(|| panic!("{what}: opened"));
    assert_eq!(error.kind(), kind, "{what}: {error}");
    if let Some(file) = file {
        assert_eq!(error.path(), Some(dir.join(file).as_path()), "{what}: {error}");
    }
    let mut after = bytes_of(dir);
    let names = |files: &BTreeMap<PathBuf, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&after), names(&before), "{what}: files came or went");
    // The lock file names the process that opened the graph last.
    let lock = Path::new("lock");
    if let (Some(now), Some(then)) = (after.get_mut(lock), before.get(lock)) {
        now.clone_from(then);
    }
    assert!(after == before, "{what}: bytes changed");
    error
}

#[test]
fn every_prefix_of_a_log_opens_to_the_commits_that_are_whole_in_it() {
    check_every_cut(&Logged::killed(Durability::Never, 24), 4);
}

#[test]
fn every_prefix_of_a_log_whose_commits_were_synced_opens_to_the_whole_ones() {
    check_every_cut(&Logged::killed(Durability::Always, 8), 2);
}

#[test]
fn every_prefix_of_a_closed_log_opens_to_the_commits_that_are_whole_in_it() {
    check_every_cut(&Logged::closed(Durability::Always, 8), 2);
}

/// Cuts at every byte of the last frames, by shortening the file and by zeros to its end.
fn check_every_cut(logged: &Logged, last_frame_count: usize) {
    let dir = quick_dir();
    let whole = logged.bytes();
    let frames = logged.frames();
    let last_frames = frames.iter().enumerate().rev().take(last_frame_count);
    for (index, (start, payload_end, end)) in last_frames {
        for cut in *start..*end {
            let is_whole = cut >= *payload_end;
            let is_torn = cut > *start && !is_whole;
            let state = logged.state_of(index + usize::from(is_whole));
            lay_out(dir.path(), &logged.with(whole[..cut].to_vec()));
            let what = format!("frame {index} shortened at byte {cut}");
            check_opens_to(dir.path(), state, is_torn, &what);

            let mut zeroed = whole[..cut].to_vec();
            zeroed.resize(whole.len(), 0);
            let is_whole = zeroed[*start..*end] == whole[*start..*end];
            let is_torn = cut > *start && !is_whole;
            let state = logged.state_of(index + usize::from(is_whole));
            lay_out(dir.path(), &logged.with(zeroed));
            let what = format!("frame {index} zeroed from byte {cut} on");
            check_opens_to(dir.path(), state, is_torn, &what);
        }
    }
}

#[test]
fn a_segment_cut_inside_its_header_is_refused() {
    let logged = Logged::closed(Durability::Always, 3);
    let dir = quick_dir();
    for cut in 0..SEGMENT_HEADER_BYTES {
        lay_out(dir.path(), &logged.with(logged.bytes()[..cut].to_vec()));
        let what = format!("header cut at {cut}");
        check_refused(dir.path(), ErrorKind::Corrupt, Some(&logged.segment), &what);
    }
}

/// Flips a bit in every byte of all frames but the last: each is corruption, with its place.
fn check_every_flip(logged: &Logged) {
    let dir = quick_dir();
    lay_out(dir.path(), &logged.files);
    let frames = logged.frames();
    for (index, (start, payload_end, _)) in frames[..frames.len() - 1].iter().enumerate() {
        for place in *start..*payload_end {
            let mut damaged = logged.bytes().to_vec();
            damaged[place] ^= 1 << (place % 8);
            std::fs::write(dir.path().join(&logged.segment), &damaged).unwrap();
            let what = format!("frame {index}, byte {place}");
            let file = Some(logged.segment.as_path());
            let error = check_refused(dir.path(), ErrorKind::Corrupt, file, &what);
            let offset = error.offset_bytes().expect("a corrupt frame has a place") as usize;
            assert!((*start..*payload_end).contains(&offset), "{what}: {error}");
            assert!(error.to_string().contains("expected"), "{what}: {error}");
        }
    }
}

#[test]
fn a_flipped_bit_in_an_acknowledged_frame_is_corruption_and_names_its_place() {
    check_every_flip(&Logged::killed(Durability::Always, 10));
}

#[test]
fn a_flipped_bit_in_any_frame_of_a_closed_log_is_corruption_and_names_its_place() {
    check_every_flip(&Logged::closed(Durability::Always, 4));
    check_every_flip(&Logged::closed(Durability::Never, 4));
}

#[test]
fn a_flipped_bit_between_frames_changes_nothing_that_is_read() {
    let logged = Logged::closed(Durability::Always, 10);
    let dir = quick_dir();
    let mut padding_bytes = 0;
    for (_, payload_end, end) in logged.frames() {
        for place in payload_end..end {
            padding_bytes += 1;
            let mut damaged = logged.bytes().to_vec();
            damaged[place] ^= 1 << (place % 8);
            lay_out(dir.path(), &logged.with(damaged));
            match options().open(dir.path()) {
                Ok(graph) => assert_equal(&graph, logged.state_of(10), &NAMES),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {place}: {error}"),
            }
        }
    }
    assert!(padding_bytes > 0, "frames without padding test nothing");
}

#[test]
fn a_flipped_bit_in_the_last_frame_is_a_torn_tail() {
    let logged = Logged::killed(Durability::Always, 6);
    let dir = quick_dir();
    let (start, payload_end, _) = logged.frames()[5];
    for place in start..payload_end {
        let mut damaged = logged.bytes().to_vec();
        damaged[place] ^= 1 << (place % 8);
        lay_out(dir.path(), &logged.with(damaged));
        let what = format!("byte {place} of the last frame");
        check_opens_to(dir.path(), logged.state_of(5), true, &what);
    }
}

#[test]
fn garbage_behind_the_last_frame_is_cut_once() {
    let logged = Logged::killed(Durability::Always, 6);
    let dir = quick_dir();
    let (_, _, end) = logged.frames()[5];
    let mut random = Random::seeded(3);
    let mut damaged = logged.bytes().to_vec();
    damaged[end..end + 500].fill_with(|| 1 + random.below(255) as u8);
    lay_out(dir.path(), &logged.with(damaged));
    check_opens_to(dir.path(), logged.state_of(6), true, "garbage behind the last frame");
}

#[test]
fn commits_behind_a_lost_one_never_come_back() {
    let logged = Logged::killed_after_a_close(Durability::Never);
    let dir = quick_dir();
    let all = logged.frames();
    for lost in 3..6 {
        let (start, _, end) = all[lost];
        let mut damaged = logged.bytes().to_vec();
        damaged[start..end].fill(0);
        lay_out(dir.path(), &logged.with(damaged));
        let graph = options().durability(Durability::Never).open(dir.path()).unwrap();
        let recovery = graph.stats().recovery;
        assert_eq!(recovery.replayed_frames, lost as u64, "frame {lost} lost: {recovery:?}");
        assert_eq!(recovery.cut_frames, 7 - lost as u64, "frame {lost} lost: {recovery:?}");
        let cut_bytes = recovery.cut_bytes as usize;
        assert!((all[6].0 - start..=all[6].1 - start).contains(&cut_bytes), "{recovery:?}");
        assert_equal(&graph, logged.state_of(lost), &NAMES);

        // A commit of the same length ends where one of those that are gone began.
        let mut state = logged.state_of(lost).clone();
        graph.follow("a", "h").unwrap();
        state.follow("a", "h", 1000).unwrap();
        let killed = bytes_of(dir.path());
        drop(graph);
        assert_eq!(frames(&killed[&logged.segment])[..], all[..=lost], "frame {lost} lost");
        lay_out(dir.path(), &killed);
        let graph = options().open(dir.path()).unwrap();
        let recovery = graph.stats().recovery;
        assert_eq!(recovery.replayed_frames, lost as u64 + 1, "frame {lost} lost: {recovery:?}");
        assert_eq!(recovery.cut_bytes, 0, "frame {lost} lost: {recovery:?}");
        assert_equal(&graph, &state, &NAMES);
        assert_verified(&graph, &state);
    }
}

#[test]
fn a_lost_commit_behind_a_closing_frame_is_corruption_where_it_was_acknowledged() {
    let logged = Logged::killed_after_a_close(Durability::Always);
    check_lost(&logged, 3..6);
}

#[test]
fn a_lost_closing_frame_is_corruption_once_the_log_goes_on_behind_it() {
    for durability in [Durability::Always, Durability::Never] {
        check_lost(&Logged::killed_after_a_close(durability), 0..3);
    }
}

/// Zeroes each of these frames: it is missed, with its place.
fn check_lost(logged: &Logged, numbers: std::ops::Range<usize>) {
    let dir = quick_dir();
    for lost in numbers {
        let (start, _, end) = logged.frames()[lost];
        let mut damaged = logged.bytes().to_vec();
        damaged[start..end].fill(0);
        lay_out(dir.path(), &logged.with(damaged));
        let what = format!("frame {lost} lost");
        let file = Some(logged.segment.as_path());
        let error = check_refused(dir.path(), ErrorKind::Corrupt, file, &what);
        assert_eq!(error.offset_bytes(), Some(start as u64), "{what}: {error}");
    }
}

#[test]
fn opening_a_closed_graph_puts_its_closing_frame_on_disk_before_anything_relies_on_it() {
    let logged = Logged::closed(Durability::Never, 4);
    let dir = quick_dir();
    lay_out(dir.path(), &logged.files);
    let stats = options().durability(Durability::Never).open(dir.path()).unwrap().stats();
    assert_eq!((stats.sequence, stats.durable_sequence), (5, 5));
    assert_eq!(stats.sync_count, 1, "the closing frame is claimed durable, but was not synced");
}

/// A closed graph with at least four segments and no image of use, its files and its model.
fn segmented(dir: &Path, seed: u64) -> Model {
    let graph = options().open(dir).unwrap();
    let mut states = grow(&graph, seed, 100);
    let mut model = states.pop().unwrap();
    let flood = [Mutation::unfollow("a", "b"), Mutation::follow("a", "b")];
    let flood: Vec<Mutation<'_>> = flood.into_iter().cycle().take(2000).collect();
    for _ in 0..15 {
        graph.apply(&flood).unwrap();
        model.unfollow("a", "b").unwrap();
        model.follow("a", "b", 1000).unwrap();
    }
    assert_equal(&graph, &model, &NAMES);
    drop(graph);
    assert!(files_of(dir, "fgl").len() >= 4, "{:?}", files_of(dir, "fgl"));
    model
}

#[test]
fn many_segments_open_to_all_they_hold() {
    let dir = quick_dir();
    let model = segmented(dir.path(), 11);
    let graph = options().open(dir.path()).unwrap();
    assert_equal(&graph, &model, &NAMES);
    assert_verified(&graph, &model);
    assert_eq!(graph.stats().recovery.replayed_frames, graph.stats().sequence);
}

#[test]
fn a_missing_segment_in_the_middle_is_an_error() {
    let dir = quick_dir();
    segmented(dir.path(), 11);
    let segments = files_of(dir.path(), "fgl");
    for missing in &segments[..segments.len() - 1] {
        let files = bytes_of(dir.path());
        std::fs::remove_file(dir.path().join(missing)).unwrap();
        let what = format!("without {}", missing.display());
        check_refused(dir.path(), ErrorKind::Corrupt, None, &what);
        lay_out(dir.path(), &files);
    }
}

#[test]
fn damage_in_a_segment_that_is_not_the_last_is_never_cut() {
    let dir = quick_dir();
    segmented(dir.path(), 11);
    let files = bytes_of(dir.path());
    let segment = &files_of(dir.path(), "fgl")[0];
    let (start, ..) = *frames(&files[segment]).last().unwrap();
    for damage in ["flipped", "zeroed", "shortened"] {
        let mut files = files.clone();
        let bytes = files.get_mut(segment).unwrap();
        match damage {
            "flipped" => bytes[start + 40] ^= 1,
            "zeroed" => bytes[start..].fill(0),
            _ => bytes.truncate(start),
        }
        lay_out(dir.path(), &files);
        check_refused(dir.path(), ErrorKind::Corrupt, None, damage);
    }
}

/// The files of 40 commits as a killed process leaves them that never synced, and the names of
/// their segments, at least four.
fn never_synced() -> (BTreeMap<PathBuf, Vec<u8>>, Vec<PathBuf>) {
    let dir = quick_dir();
    let graph = options().durability(Durability::Never).open(dir.path()).unwrap();
    let flood = [Mutation::unfollow("a", "b"), Mutation::follow("a", "b")];
    for number in 0..40 {
        let mut batch: Vec<Mutation<'_>> = flood.into_iter().cycle().take(1400).collect();
        let fresh = format!("fresh{number}");
        batch.push(Mutation::follow("a", &fresh));
        graph.apply(&batch).unwrap();
    }
    let (files, segments) = (bytes_of(dir.path()), files_of(dir.path(), "fgl"));
    assert!(segments.len() >= 4, "{segments:?}");
    (files, segments)
}

#[test]
fn a_missing_segment_is_an_error_also_where_nothing_was_synced() {
    let dir = quick_dir();
    let (files, segments) = never_synced();
    let last = segments.len() - 1;
    let gaps = (0..last).map(|first| first..first + 1).chain([0..2, 1..3, 1..last]);
    for gap in gaps {
        let mut files = files.clone();
        for missing in &segments[gap.clone()] {
            files.remove(missing);
        }
        lay_out(dir.path(), &files);
        let behind = Some(segments[gap.end].as_path());
        let what = format!("without segments {gap:?}");
        check_refused(dir.path(), ErrorKind::Corrupt, behind, &what);
    }
}

#[test]
fn a_segment_that_begins_before_its_predecessor_ends_is_refused() {
    // Two histories of one graph, which part behind frame 3: one goes on in a new segment.
    let common = Logged::killed(Durability::Never, 3);
    let (here, there) = (quick_dir(), quick_dir());
    lay_out(there.path(), &common.files);
    let graph = options().durability(Durability::Never).open(there.path()).unwrap();
    let flood = [Mutation::unfollow("a", "b"), Mutation::follow("a", "b")];
    let flood: Vec<Mutation<'_>> = flood.into_iter().cycle().take(8000).collect();
    graph.apply(&flood).unwrap();
    let files_there = bytes_of(there.path());
    drop(graph);
    let next = PathBuf::from("log-0000000000000004.fgl");
    assert!(files_there.contains_key(&next), "{:?}", files_there.keys());

    for commit_count in 1..4 {
        lay_out(here.path(), &common.files);
        let graph = options().durability(Durability::Never).open(here.path()).unwrap();
        for number in 0..commit_count {
            graph.follow("a", &format!("fresh{number}")).unwrap();
        }
        let mut files = bytes_of(here.path());
        drop(graph);
        let offset_bytes = frames(&files[&common.segment])[3].0 as u64;
        files.insert(next.clone(), files_there[&next].clone());
        lay_out(here.path(), &files);
        let what = format!("{commit_count} frames too many");
        let file = Some(common.segment.as_path());
        let error = check_refused(here.path(), ErrorKind::Corrupt, file, &what);
        assert_eq!(error.offset_bytes(), Some(offset_bytes), "{what}: {error}");
    }
}

#[test]
fn a_torn_frame_that_was_never_synced_is_cut_with_all_that_came_after_it() {
    let (files, segments) = never_synced();
    let frames = frames(&files[&segments[0]]);
    let mut damaged = files.clone();
    let (start, ..) = frames[frames.len() - 1];
    damaged.get_mut(&segments[0]).unwrap()[start + 40] ^= 1;

    let copy = quick_dir();
    lay_out(copy.path(), &damaged);
    let graph = options().open(copy.path()).unwrap();
    let recovery = graph.stats().recovery;
    let whole_frame_count = frames.len() - 1;
    assert_eq!(recovery.replayed_frames, whole_frame_count as u64);
    assert_eq!(recovery.cut_frames, 40 - whole_frame_count as u64, "{recovery:?}");
    assert!(recovery.cut_bytes > 64 << 10, "{recovery:?}");
    let first = graph.following("a", followgraph::Page::first(1)).unwrap();
    assert_eq!(first.entries[0].account, format!("fresh{}", whole_frame_count - 1));
    graph.verify().unwrap();
    graph.follow("a", "after").unwrap();
    drop(graph);
    let graph = options().open(copy.path()).unwrap();
    assert_eq!(graph.stats().recovery.cut_bytes, 0);
    assert_eq!(graph.counts("a").unwrap().following as usize, whole_frame_count + 2);
}

#[test]
fn a_whole_frame_out_of_sequence_is_corrupt() {
    let logged = Logged::killed(Durability::Always, 6);
    let dir = quick_dir();
    let frames = logged.frames();
    let (first, second) = (frames[0].0, frames[1].0);
    let (last, _, end) = frames[5];
    let mut repeated = logged.bytes().to_vec();
    repeated.copy_within(last..end, end);
    lay_out(dir.path(), &logged.with(repeated));
    let file = Some(logged.segment.as_path());
    let error = check_refused(dir.path(), ErrorKind::Corrupt, file, "a frame twice");
    assert_eq!(error.offset_bytes(), Some(end as u64), "{error}");

    let mut skipped = logged.bytes().to_vec();
    skipped.copy_within(second..end, first);
    lay_out(dir.path(), &logged.with(skipped));
    let error = check_refused(dir.path(), ErrorKind::Corrupt, file, "the first frame gone");
    assert_eq!(error.offset_bytes(), Some(first as u64), "{error}");
}

#[test]
fn frames_that_changed_places_or_were_repeated_are_corrupt_and_not_torn() {
    // Nothing was synced, so nothing but the sequence numbers speaks against a torn tail.
    let logged = Logged::killed(Durability::Never, 6);
    let dir = quick_dir();
    let frames = logged.frames();
    let whole = logged.bytes();
    let check = |bytes: Vec<u8>, place: usize, what: &str| {
        assert_eq!(bytes.len(), whole.len());
        lay_out(dir.path(), &logged.with(bytes));
        let file = Some(logged.segment.as_path());
        let error = check_refused(dir.path(), ErrorKind::Corrupt, file, what);
        assert_eq!(error.offset_bytes(), Some(place as u64), "{what}: {error}");
    };
    for (number, (start, _, end)) in frames.iter().enumerate() {
        let frame = &whole[*start..*end];
        let mut repeated = [&whole[..*end], frame, &whole[*end..]].concat();
        repeated.truncate(whole.len());
        check(repeated, *end, &format!("frame {number} twice"));
        if let Some((next_start, _, next_end)) = frames.get(number + 1) {
            let next = &whole[*next_start..*next_end];
            let swapped = [&whole[..*start], next, frame, &whole[*next_end..]].concat();
            check(swapped, *start, &format!("frame {number} and the next swapped"));
        }
    }
}

#[test]
fn a_segment_of_another_graph_is_refused() {
    let (here, there) = (quick_dir(), quick_dir());
    segmented(here.path(), 11);
    segmented(there.path(), 11);
    let segments = files_of(here.path(), "fgl");
    assert_eq!(segments, files_of(there.path(), "fgl"), "the same history has the same files");
    for segment in &segments {
        let files = bytes_of(here.path());
        std::fs::copy(there.path().join(segment), here.path().join(segment)).unwrap();
        let what = format!("{} of another graph", segment.display());
        check_refused(here.path(), ErrorKind::Corrupt, None, &what);
        lay_out(here.path(), &files);
    }
}

/// A closed graph in `dir` with an image and commits behind it, and its model.
pub(super) fn imaged(dir: &Path) -> Model {
    let graph = options().open(dir).unwrap();
    let mut states = grow(&graph, 5, 30);
    graph.checkpoint().unwrap();
    let mut model = states.pop().unwrap();
    for name in ["late1", "late2", "late3"] {
        graph.follow(name, "a").unwrap();
        model.follow(name, "a", 1000).unwrap();
        graph.checkpoint().unwrap();
    }
    graph.follow("last", "a").unwrap();
    model.follow("last", "a", 1000).unwrap();
    model
}

#[test]
fn without_its_images_a_graph_is_refused() {
    let dir = quick_dir();
    imaged(dir.path());
    for image in files_of(dir.path(), "fgi") {
        std::fs::remove_file(dir.path().join(image)).unwrap();
    }
    check_refused(dir.path(), ErrorKind::Corrupt, None, "without an image");
}

#[test]
fn without_its_image_a_graph_that_was_loaded_in_bulk_is_refused() {
    let dir = quick_dir();
    let graph = options().open(dir.path()).unwrap();
    let mut load = graph.bulk_load(1 << 20).unwrap();
    load.add("a", "b", None).unwrap();
    load.finish(&mut |_, _| {}).unwrap();
    drop(graph);
    for image in files_of(dir.path(), "fgi") {
        std::fs::remove_file(dir.path().join(image)).unwrap();
    }
    check_refused(dir.path(), ErrorKind::Corrupt, None, "loaded in bulk, without an image");
}

#[test]
fn without_its_newest_image_a_graph_is_whole_or_refused() {
    let dir = quick_dir();
    let model = imaged(dir.path());
    let newest = files_of(dir.path(), "fgi").pop().unwrap();
    std::fs::remove_file(dir.path().join(newest)).unwrap();
    let before = bytes_of(dir.path());
    match options().open(dir.path()) {
        Ok(graph) => {
            assert_equal(&graph, &model, &NAMES);
            assert_verified(&graph, &model);
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            assert!(before == bytes_of(dir.path()), "a refusal changed the directory");
        }
    }
}

#[test]
fn without_its_log_a_graph_that_says_it_had_one_is_not_silently_shorter() {
    let dir = quick_dir();
    imaged(dir.path());
    for segment in files_of(dir.path(), "fgl") {
        std::fs::remove_file(dir.path().join(segment)).unwrap();
    }
    check_refused(dir.path(), ErrorKind::Corrupt, None, "without its log");
}

#[test]
fn a_truncated_image_is_refused_wherever_it_was_cut() {
    let dir = quick_dir();
    imaged(dir.path());
    let files = bytes_of(dir.path());
    let newest = files_of(dir.path(), "fgi").pop().unwrap();
    let length = files[&newest].len();
    let cuts = (0..length).step_by(97).chain([1, 63, 64, 65, length - 8, length - 1]);
    for cut in cuts {
        let mut files = files.clone();
        files.get_mut(&newest).unwrap().truncate(cut);
        lay_out(dir.path(), &files);
        let what = format!("image of {length} bytes cut at {cut}");
        check_refused(dir.path(), ErrorKind::Corrupt, Some(&newest), &what);
    }
}

#[test]
fn files_of_a_newer_version_are_refused_as_such() {
    let dir = quick_dir();
    imaged(dir.path());
    let files = bytes_of(dir.path());
    let image = files_of(dir.path(), "fgi").pop().unwrap();
    let segment = files_of(dir.path(), "fgl").pop().unwrap();
    for file in [image, segment] {
        let mut files = files.clone();
        files.get_mut(&file).unwrap()[VERSION_OFFSET_BYTES] += 1;
        lay_out(dir.path(), &files);
        let what = format!("a newer {}", file.display());
        let refused = ErrorKind::UnsupportedVersion;
        let error = check_refused(dir.path(), refused, Some(&file), &what);
        assert!(error.to_string().contains("newer"), "{error}");
    }
}

#[test]
fn a_directory_that_is_no_graph_is_refused_and_left_alone() {
    let dir = quick_dir();
    std::fs::write(dir.path().join("notes.txt"), "buy milk").unwrap();
    let error = check_refused(dir.path(), ErrorKind::NotAGraph, None, "a directory of notes");
    assert!(error.path().is_some_and(|path| path.starts_with(dir.path())), "{error}");
}

#[test]
fn files_with_our_names_and_other_bytes_are_refused() {
    let dir = quick_dir();
    let mut random = Random::seeded(9);
    let garbage: Vec<u8> = (0..70_000).map(|_| random.below(256) as u8).collect();
    for name in ["image-0000000000000001.fgi", "log-0000000000000001.fgl"] {
        for length in [64, 5000, 70_000] {
            let files = BTreeMap::from([
                (PathBuf::from(name), garbage[..length].to_vec()),
                (PathBuf::from("lock"), Vec::new()),
            ]);
            lay_out(dir.path(), &files);
            let what = format!("{length} bytes of garbage called {name}");
            check_refused(dir.path(), ErrorKind::Corrupt, None, &what);
        }
    }
}

#[test]
fn leftovers_of_an_unfinished_write_do_not_matter() {
    let dir = quick_dir();
    let model = imaged(dir.path());
    std::fs::write(dir.path().join("image-00000000000000ff.fgi.tmp"), "half").unwrap();
    std::fs::write(dir.path().join("log-00000000000000ff.fgl.tmp"), "half").unwrap();
    let graph = options().open(dir.path()).unwrap();
    assert_equal(&graph, &model, &NAMES);
}

#[test]
fn walks_of_a_recovered_graph_end() {
    let dir = quick_dir();
    let model = imaged(dir.path());
    let graph = options().open(dir.path()).unwrap();
    let followers = walk(1, |page| graph.followers("a", page)).unwrap();
    assert_eq!(followers, model.followers("a").unwrap());
}
