//! Walks the frames of the log in order, segment by segment, beside those who write it.
//!
//! A walk takes no lock. It reads only what is on disk, which nobody writes again: the last segment
//! up to where a [`LogEnd`] says, and earlier ones whole. A segment is found by its name, and what
//! is mapped stays readable when its file goes.
//!
//! **Every frame of the range is handed out once and in order, or the walk says that it cannot.**

use crate::error::{Error, Result};
use crate::format::{FileKind, file_kind, log_file_name};
use crate::log::{Found, Frame, LogEnd, SEGMENT_HEADER_BYTES, examine};
use crate::recovery::check_segment;
use crate::storage::{Bytes, Storage};

/// A reader of the log and how far it has come.
pub(crate) struct Walk {
    graph_id: [u8; 16],
    position: u64,
    place: Option<Place>,
}

/// A place in a segment, and the bytes that are mapped there.
struct Place {
    first_sequence: u64,
    /// The sequence number of the frame that belongs here.
    sequence: u64,
    /// Where in the file that is.
    offset_bytes: u64,
    bytes: Bytes,
    /// Where in the file the mapped bytes begin, and up to where they were asked for.
    bytes_start: u64,
    bytes_end: u64,
}

impl Walk {
    /// Begins behind the frame `position`. Reads nothing yet.
    pub(crate) fn new(graph_id: [u8; 16], position: u64) -> Walk {
        Walk { graph_id, position, place: None }
    }

    /// The sequence number of the last frame that was taken.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Has the next frame taken; `end` lies behind it. Where that fails, the walk stays before it.
    pub(crate) fn next<R>(
        &mut self,
        storage: &dyn Storage,
        end: LogEnd,
        take: impl FnOnce(&Frame<'_>) -> Result<R>,
    ) -> Result<R> {
        assert!(self.position < end.sequence, "there is a next frame");
        loop {
            if self.place.is_none() {
                let first_sequence = find_segment(storage, self.position + 1)?;
                self.place = Some(Place::enter(storage, self.graph_id, first_sequence, end)?);
            }
            let place = self.place.as_mut().expect("entered above");
            let found = examine(&place.bytes, place.offset_bytes - place.bytes_start);
            let Found::Whole(frame) = found else {
                let is_empty = found == Found::Nothing;
                if place.map_more(storage, end)? {
                    continue;
                }
                // The next segment begins behind a frame of this one, and is not written to before.
                let is_sealed = place.first_sequence < end.first_sequence;
                if !is_empty || !is_sealed || place.sequence == place.first_sequence {
                    let error = Error::corrupt("a frame that was durable is damaged or missing");
                    return Err(place.at(storage, error));
                }
                let first_sequence = place.sequence;
                self.place = Some(Place::enter(storage, self.graph_id, first_sequence, end)?);
                continue;
            };
            if frame.sequence != place.sequence {
                let error = Error::corrupt("a frame is out of sequence");
                let error = error.expected(place.sequence, frame.sequence);
                return Err(place.at(storage, error));
            }
            let frame_bytes = frame.frame_bytes;
            if frame.sequence > self.position {
                let taken = take(&frame).map_err(|error| place.at(storage, error))?;
                self.position = frame.sequence;
                place.pass(frame_bytes);
                return Ok(taken);
            }
            place.pass(frame_bytes);
        }
    }
}

/// The segment that holds a frame, by the names in the directory: the last one that does not begin
/// behind it.
fn find_segment(storage: &dyn Storage, sequence: u64) -> Result<u64> {
    let files = storage.list()?;
    let segments = files.iter().filter_map(|(name, _)| match file_kind(name) {
        FileKind::Log(first_sequence) => Some(first_sequence),
        _ => None,
    });
    segments.filter(|&first_sequence| first_sequence <= sequence).max().ok_or_else(|| {
        let path = storage.path(&log_file_name(sequence));
        Error::corrupt("the log segment with this frame is missing").at_path(&path)
    })
}

impl Place {
    /// The first frame of a segment.
    fn enter(
        storage: &dyn Storage,
        graph_id: [u8; 16],
        first_sequence: u64,
        end: LogEnd,
    ) -> Result<Place> {
        let name = log_file_name(first_sequence);
        let bytes_end = readable_bytes(first_sequence, end);
        let bytes = map_if_there(storage, &name, 0, bytes_end)?.ok_or_else(|| {
            let message = "this log segment is missing; put it back";
            Error::corrupt(message).at_path(&storage.path(&name))
        })?;
        check_segment(&bytes, first_sequence, graph_id)
            .map_err(|error| error.at_path(&storage.path(&name)))?;
        Ok(Place {
            first_sequence,
            sequence: first_sequence,
            offset_bytes: SEGMENT_HEADER_BYTES,
            bytes,
            bytes_start: 0,
            bytes_end,
        })
    }

    /// Maps what lies behind the mapped bytes, from the next frame on. False where nothing does.
    fn map_more(&mut self, storage: &dyn Storage, end: LogEnd) -> Result<bool> {
        let bytes_end = readable_bytes(self.first_sequence, end);
        if bytes_end <= self.bytes_end {
            return Ok(false);
        }
        let name = log_file_name(self.first_sequence);
        let len_bytes = bytes_end - self.offset_bytes;
        let bytes = map_if_there(storage, &name, self.offset_bytes, len_bytes)?;
        // The file of a segment that was read to its end may be gone, and nothing with it.
        let Some(bytes) = bytes else { return Ok(false) };
        (self.bytes, self.bytes_start, self.bytes_end) = (bytes, self.offset_bytes, bytes_end);
        Ok(true)
    }

    fn pass(&mut self, frame_bytes: u64) {
        self.sequence += 1;
        self.offset_bytes += frame_bytes;
    }

    fn at(&self, storage: &dyn Storage, error: Error) -> Error {
        let path = storage.path(&log_file_name(self.first_sequence));
        error.at_path(&path).at_offset(self.offset_bytes)
    }
}

/// Maps a range of a file, where there is such a file.
fn map_if_there(
    storage: &dyn Storage,
    name: &str,
    offset_bytes: u64,
    len_bytes: u64,
) -> Result<Option<Bytes>> {
    let mapped = storage.map_range(name, offset_bytes, len_bytes);
    if mapped.is_err() && !storage.list()?.iter().any(|file| file.0 == name) {
        return Ok(None);
    }
    mapped.map(Some)
}

/// How much of a segment is on disk and will not be written again: all of those that are left.
fn readable_bytes(first_sequence: u64, end: LogEnd) -> u64 {
    if first_sequence == end.first_sequence { end.end_bytes } else { u64::MAX }
}
