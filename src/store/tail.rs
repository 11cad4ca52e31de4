//! The log as a process sees it that only reads: opened without a lock, and followed while another
//! process writes it.
//!
//! What is read here may be half written, cut, extended, or gone a moment later. So the end of the
//! log is copied before it is looked at, a frame counts when its checksum holds in the copy, and
//! what does not check out is not there *yet*. **A frame comes once and in order, or the tail says
//! that it has lost its place**, and the graph is opened anew.
//!
//! `docs/recovery.md` has the argument.

use super::{SegmentExtent, list, list_whole, segments_behind};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{image_file_name, log_file_name, read_u32};
use crate::graph::{Graph, Replay};
use crate::image::Image;
use crate::log::{
    FRAME_HEADER_BYTES, Found, SEGMENT_HEADER_BYTES, SegmentHeader, examine, frame_bytes,
};
use crate::recovery::{LogPlace, SegmentView, check_segment, replay};
use crate::storage::{HeldFile, ReadOnlyDirectory, Storage};
use crate::types::Recovery;
use std::sync::Arc;
use std::time::Duration;

/// How often opening is tried while the directory changes, and the pause in between.
const ATTEMPTS_MAX: usize = 100;
const ATTEMPT_PAUSE: Duration = Duration::from_millis(2);

/// So much is copied, and applied while readers of the graph wait: little where little comes. One
/// frame may be larger.
const COPY_BYTES_MIN: u64 = 4 * 1024;
const COPY_BYTES_MAX: u64 = 64 * 1024;

/// A graph opened to be read, and the place behind its last frame.
pub(crate) struct Watched {
    /// The files it rests on.
    pub(crate) directory: Arc<ReadOnlyDirectory>,
    pub(crate) graph: Graph,
    pub(crate) tail: Tail,
    /// What was found at the end of the log. Nothing was cut.
    pub(crate) recovery: Recovery,
}

impl Watched {
    /// Opens the newest image and replays the log behind it, up to its last whole frame, with as
    /// many threads as it is given.
    ///
    /// Files go while this looks for them, and a copy of a log that is being written can show half
    /// a frame, or a later one without an earlier. So an error counts, and so does a log that ends
    /// in something else than a frame, only if the next attempt meets the same at the same place.
    pub(crate) fn open(
        directory: &ReadOnlyDirectory,
        thread_count: fn() -> usize,
    ) -> Result<Watched> {
        let mut last_found = None;
        for attempts_left in (0..ATTEMPTS_MAX).rev() {
            let outcome = Watched::attempt(directory, thread_count);
            let found = match &outcome {
                Ok(watched) if watched.recovery.cut_frames == 0 => return outcome,
                Ok(watched) => format!("{} {:?}", watched.tail.position(), watched.recovery),
                Err(error) => error.to_string(),
            };
            if attempts_left == 0 || last_found.as_ref() == Some(&found) {
                return outcome;
            }
            last_found = Some(found);
            std::thread::sleep(ATTEMPT_PAUSE);
        }
        unreachable!("the last attempt returned")
    }

    fn attempt(directory: &ReadOnlyDirectory, thread_count: fn() -> usize) -> Result<Watched> {
        HeldGraph::find(directory)?.open(thread_count)
    }
}

/// The files of a graph, found in its directory and held open.
struct HeldGraph {
    directory: Arc<ReadOnlyDirectory>,
    image_sequence: u64,
    /// The segments from the image on, by their first sequence numbers.
    segments: Vec<(u64, Arc<HeldFile>)>,
}

impl HeldGraph {
    fn find(directory: &ReadOnlyDirectory) -> Result<HeldGraph> {
        let directory = Arc::new(directory.afresh());
        let listing = list_whole(directory.as_ref())?;
        let Some(&image_sequence) = listing.images.last() else {
            return Err(without_image(&directory, &listing.segments));
        };
        hold(&directory, &image_file_name(image_sequence))?;
        let kept = segments_behind(&listing.segments, image_sequence);
        let mut segments = Vec::new();
        for &first_sequence in &listing.segments[kept..] {
            segments.push((first_sequence, hold(&directory, &log_file_name(first_sequence))?));
        }
        Ok(HeldGraph { directory, image_sequence, segments })
    }

    fn open(self, thread_count: fn() -> usize) -> Result<Watched> {
        let HeldGraph { directory, image_sequence, segments } = self;
        let image = Image::open(directory.as_ref(), image_sequence)?;
        let graph_id = image.header.identity.graph_id;
        let mut graph = Graph::open(directory.as_ref(), image)?;
        let views = view(&directory, &segments, graph_id)?;
        if graph.accounts().len() == 0 && newest(&directory)?.0 != Some(image_sequence) {
            // The log behind the empty image goes on as if the load had been in it.
            let error = Error::corrupt("a bulk load came between");
            return Err(error.at_path(&directory.path("")));
        }
        let start = LogPlace::first(directory.as_ref(), &graph, &views)?;
        let (end, recovery) = replay(directory.as_ref(), &mut graph, &views, start, thread_count)?;
        let file = segments[end.segment].1.clone();
        let tail = Tail::new(directory.clone(), file, &views, end);
        Ok(Watched { directory, graph, tail, recovery })
    }
}

/// Maps the segments, except for the last one: the others are sealed and keep their lengths.
fn view(
    directory: &ReadOnlyDirectory,
    files: &[(u64, Arc<HeldFile>)],
    graph_id: [u8; 16],
) -> Result<Vec<SegmentView>> {
    let Some(((last_sequence, last_file), sealed)) = files.split_last() else {
        return Ok(Vec::new());
    };
    let mut views = Vec::new();
    for (first_sequence, _) in sealed {
        views.push(SegmentView::open(directory, *first_sequence, u64::MAX, graph_id)?);
    }
    let path = directory.path(&log_file_name(*last_sequence));
    let last = SegmentView::of(last_file.copy()?, *last_sequence, graph_id);
    views.push(last.map_err(|error| error.at_path(&path))?);
    Ok(views)
}

fn hold(directory: &ReadOnlyDirectory, name: &str) -> Result<Arc<HeldFile>> {
    directory.hold(name)?.ok_or_else(|| {
        let message = "the file went while the graph was opened";
        Error::new(ErrorKind::Io, message).at_path(&directory.path(name))
    })
}

fn without_image(directory: &ReadOnlyDirectory, segments: &[u64]) -> Error {
    let path = directory.path("");
    if segments.iter().any(|&first_sequence| first_sequence != 1) {
        let message = "there are log segments but no image; put the image back";
        return Error::corrupt(message).at_path(&path);
    }
    let message = match directory.moved() {
        Some(moved) => format!("there is no graph any more: {moved}"),
        None => "there is no graph here yet; it is made by opening it to write".to_owned(),
    };
    Error::new(ErrorKind::NotAGraph, message).at_path(&path)
}

/// The names of the newest image and the newest segment in a directory, by their numbers.
pub(crate) fn newest(directory: &ReadOnlyDirectory) -> Result<(Option<u64>, Option<u64>)> {
    let listing = list(directory)?;
    Ok((listing.images.last().copied(), listing.segments.last().copied()))
}

/// What lies behind the last frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Whole frames, copied and ready to be applied.
    Frames,
    /// Nothing yet.
    Nothing,
    /// Bytes that are not yet a frame.
    Unfinished,
    /// The log that was followed is no longer here, or goes on where it cannot be followed.
    Lost,
}

/// Bytes that are there as long as this is the log that was followed: the header of the frame
/// before, or the second half of the header of the segment.
#[derive(Clone, Copy)]
struct Witness {
    offset_bytes: u64,
    bytes: [u8; FRAME_HEADER_BYTES],
}

impl Witness {
    /// Of a segment in which no frame was followed yet: the end of its header.
    fn of_header(segment: &[u8]) -> Witness {
        let end = SEGMENT_HEADER_BYTES as usize;
        let start = end - FRAME_HEADER_BYTES;
        let bytes = segment[start..end].try_into().expect("the header was checked");
        Witness { offset_bytes: start as u64, bytes }
    }
}

/// The place behind the last frame of a log that another process writes.
pub(crate) struct Tail {
    directory: Arc<ReadOnlyDirectory>,
    graph_id: [u8; 16],
    file: Arc<HeldFile>,
    /// The segments behind the image, up to this place in the last one.
    segments: Vec<SegmentExtent>,
    /// The number of the frame that belongs here.
    sequence: u64,
    witness: Option<Witness>,
    durable_sequence: u64,
    copied: Vec<u8>,
    /// How much is copied next.
    copy_bytes: u64,
}

impl Tail {
    fn new(
        directory: Arc<ReadOnlyDirectory>,
        file: Arc<HeldFile>,
        views: &[SegmentView],
        end: LogPlace,
    ) -> Tail {
        let SegmentView { header, bytes, .. } = &views[end.segment];
        let followed = views[..=end.segment].iter();
        let mut segments: Vec<_> = followed.map(|view| extent_of(&view.header)).collect();
        segments.last_mut().expect("a place is in a segment").used_bytes = end.offset_bytes;
        // Where the frame before begins is not known here.
        let is_first = end.offset_bytes == SEGMENT_HEADER_BYTES;
        let witness = is_first.then(|| Witness::of_header(bytes));
        Tail {
            directory,
            graph_id: header.graph_id,
            file,
            segments,
            sequence: end.sequence,
            witness,
            durable_sequence: if end.closed { end.sequence - 1 } else { header.durable_sequence },
            copied: Vec::new(),
            copy_bytes: COPY_BYTES_MIN,
        }
    }

    /// Goes on in the same directory under another handle, which holds what is entered.
    pub(crate) fn rest_on(&mut self, directory: Arc<ReadOnlyDirectory>) {
        self.directory = directory;
    }

    /// The number of the last frame before this place.
    pub(crate) fn position(&self) -> u64 {
        self.sequence - 1
    }

    /// What the log says is on disk, as far as this has seen.
    pub(crate) fn durable_sequence(&self) -> u64 {
        self.durable_sequence
    }

    /// The segments behind the image, as far as they were followed.
    pub(crate) fn segments(&self) -> &[SegmentExtent] {
        &self.segments
    }

    fn place(&mut self) -> &mut SegmentExtent {
        self.segments.last_mut().expect("a place is in a segment")
    }

    /// Looks at what lies behind the last frame, and copies it where that is frames. Goes on to the
    /// next segment where this one was left.
    ///
    /// Cost: where nothing came, four calls to the operating system, some microseconds.
    pub(crate) fn look(&mut self) -> Result<Seen> {
        loop {
            let SegmentExtent { used_bytes: offset_bytes, allocated_bytes, .. } = *self.place();
            let mut header = [0; FRAME_HEADER_BYTES];
            self.file.read_at(offset_bytes, &mut header)?;
            // Asked after that was read: what is written anew begins with what lies before it.
            if !self.is_same_log()? {
                return Ok(Seen::Lost);
            }
            let payload_bytes = read_u32(&header, 0) as usize;
            if payload_bytes == 0 {
                // A next segment is made after the last frame of this one, so where there is one,
                // nothing comes here any more.
                if let Some(seen) = self.enter_next()? {
                    return Ok(seen);
                }
                continue;
            }
            let frame_bytes = frame_bytes(payload_bytes) as u64;
            let room_bytes = allocated_bytes.saturating_sub(offset_bytes);
            if frame_bytes > room_bytes {
                return Ok(Seen::Unfinished);
            }
            let wanted_bytes = frame_bytes.max(self.copy_bytes).min(room_bytes);
            self.copied.resize(wanted_bytes as usize, 0);
            let copied_bytes = self.file.read_at(offset_bytes, &mut self.copied)?;
            self.copied.truncate(copied_bytes);
            return Ok(match examine(&self.copied, 0) {
                Found::Whole(frame) if frame.sequence == self.sequence => Seen::Frames,
                Found::Whole(_) => Seen::Lost,
                Found::Nothing | Found::Broken => Seen::Unfinished,
            });
        }
    }

    /// Whether what lies before this place is what was followed.
    fn is_same_log(&self) -> Result<bool> {
        let Some(witness) = &self.witness else { return Ok(true) };
        let mut bytes = [0; FRAME_HEADER_BYTES];
        self.file.read_at(witness.offset_bytes, &mut bytes)?;
        Ok(bytes == witness.bytes)
    }

    /// Goes to the beginning of the next segment, where there is one; else says what there is.
    fn enter_next(&mut self) -> Result<Option<Seen>> {
        let (sequence, before) = (self.sequence, *self.place());
        if sequence != before.first_sequence
            && let Some(file) = self.directory.hold(&log_file_name(sequence))?
        {
            let mut bytes = [0; SEGMENT_HEADER_BYTES as usize];
            file.read_at(0, &mut bytes)?;
            let frame_count = sequence - before.first_sequence;
            // A segment has its name after its header is on disk, so what is wrong stays wrong.
            return Ok(match check_segment(&bytes, sequence, self.graph_id) {
                Ok(header) if u64::from(header.previous_frame_count) == frame_count => {
                    self.file = file;
                    let used_bytes = SEGMENT_HEADER_BYTES;
                    self.segments.push(SegmentExtent { used_bytes, ..extent_of(&header) });
                    self.witness = Some(Witness::of_header(&bytes));
                    None
                }
                Ok(_) | Err(_) => Some(Seen::Lost),
            });
        }
        // A segment of this name may have taken its place, or checkpoints have gone on without it.
        Ok(Some(if self.file.has_its_name()? { Seen::Nothing } else { Seen::Lost }))
    }

    /// Applies the frames that were copied, and moves on behind them. The graph is of no more use
    /// after an error: the frames do not belong to it.
    pub(crate) fn apply(&mut self, graph: &mut Graph) -> Result<()> {
        let copied = std::mem::take(&mut self.copied);
        let mut offset_bytes = 0;
        let mut replay = Replay::new(graph, || 1);
        let mut applied = Ok(());
        while let Found::Whole(frame) = examine(&copied, offset_bytes) {
            if frame.sequence != self.sequence {
                break;
            }
            applied = replay.take(&frame).map(|_| ());
            if applied.is_err() {
                break;
            }
            let start = offset_bytes as usize;
            let bytes = copied[start..start + FRAME_HEADER_BYTES].try_into().expect("a header");
            let place = self.place();
            self.witness = Some(Witness { offset_bytes: place.used_bytes, bytes });
            self.place().used_bytes += frame.frame_bytes;
            self.durable_sequence = self.durable_sequence.max(frame.durable_sequence);
            self.sequence += 1;
            offset_bytes += frame.frame_bytes;
        }
        let applied = applied.and_then(|()| replay.finish());
        let is_full = 2 * offset_bytes > copied.len() as u64;
        self.copy_bytes = if is_full { COPY_BYTES_MAX } else { COPY_BYTES_MIN };
        self.copied = copied;
        let name = log_file_name(self.place().first_sequence);
        applied.map_err(|(error, _)| error.at_path(&self.directory.path(&name)))
    }
}

fn extent_of(header: &SegmentHeader) -> SegmentExtent {
    SegmentExtent {
        first_sequence: header.first_sequence,
        previous_frame_count: header.previous_frame_count,
        used_bytes: header.segment_bytes,
        allocated_bytes: header.segment_bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{FollowGraph, Mutation};
    use std::path::Path;

    fn opened(path: &Path) -> ReadOnlyDirectory {
        ReadOnlyDirectory::open(path).expect("it is there")
    }

    fn find(path: &Path) -> HeldGraph {
        HeldGraph::find(&opened(path)).expect("there is a graph")
    }

    #[test]
    fn what_happens_between_finding_and_opening_makes_no_difference_or_is_an_error() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path();
        let graph = FollowGraph::open(path).expect("the disk works");
        let mut load = graph.bulk_load(1 << 20).expect("it is empty");
        load.add("fan", "star", None).expect("good names");
        let mut held = None;
        load.finish(&mut |_, _| held = Some(find(path))).expect("the disk works");
        // A commit without ids fits the empty graph as well.
        graph.apply_from_source(7, &[]).expect("the disk works");
        let held = held.expect("a load tells how far it is, behind its frame");
        assert_eq!((held.image_sequence, held.segments.len()), (0, 2));
        assert!(held.open(|| 1).is_err(), "a load was passed over");

        let held = find(path);
        let batch = [Mutation::add_account("one"), Mutation::follow("one", "star")];
        graph.apply(&batch).expect("the disk works");
        let watched = held.open(|| 1).expect("what was held is there");
        assert_eq!(watched.tail.position(), graph.stats().sequence);

        let held = find(path);
        for name in ["two", "three", "four"] {
            graph.add_account(name).expect("the disk works");
            graph.checkpoint().expect("the disk works");
        }
        let mut watched = held.open(|| 1).expect("what was held is there, though its names went");
        assert_eq!(watched.graph.accounts().len(), 4);
        assert_eq!(watched.tail.look().expect("it can be read"), Seen::Lost);
        let watched = Watched::open(&opened(path), || 1).expect("there is a graph");
        assert_eq!(watched.tail.position(), graph.stats().sequence);
        assert_eq!(watched.graph.accounts().len(), 6);
    }
}
