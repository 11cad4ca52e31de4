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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::log::{SegmentHeader, SegmentWriter, encode_frame};
    use crate::storage::MemoryStorage;

    const GRAPH_ID: [u8; 16] = [7; 16];

    /// A log of segments of so many frames each, the last one being written to.
    fn log(frame_counts: &[u64]) -> (MemoryStorage, LogEnd) {
        let storage = MemoryStorage::default();
        let (mut first_sequence, mut end) = (1, None);
        for &frame_count in frame_counts {
            let header = SegmentHeader {
                graph_id: GRAPH_ID,
                first_sequence,
                segment_bytes: 4096,
                durable_sequence: 0,
                previous_frame_count: 0,
            };
            let mut segment = SegmentWriter::create(&storage, &header).expect("memory");
            for sequence in first_sequence..first_sequence + frame_count {
                let mut frame = Vec::new();
                encode_frame(sequence, 0, None, &mut frame, |out| out.push(sequence as u8));
                segment.append(&frame);
                let end_bytes = segment.used_bytes();
                end = Some(LogEnd { sequence, first_sequence, end_bytes });
            }
            first_sequence += frame_count;
        }
        (storage, end.expect("there is a frame"))
    }

    fn next(walk: &mut Walk, storage: &MemoryStorage, end: LogEnd) -> Result<u64> {
        walk.next(storage, end, |frame| {
            assert_eq!(frame.payload, [frame.sequence as u8]);
            Ok(frame.sequence)
        })
    }

    fn rest(walk: &mut Walk, storage: &MemoryStorage, end: LogEnd) -> Vec<u64> {
        let count = end.sequence - walk.position();
        (0..count).map(|_| next(walk, storage, end).expect("it is there")).collect()
    }

    #[test]
    fn a_walk_from_anywhere_meets_every_frame_behind_it() {
        let (storage, end) = log(&[3, 1, 4]);
        for position in 0..8 {
            let expected: Vec<u64> = (position + 1..=8).collect();
            assert_eq!(rest(&mut Walk::new(GRAPH_ID, position), &storage, end), expected);
        }
    }

    #[test]
    fn nothing_is_read_beyond_the_end() {
        let (storage, end) = log(&[3, 4]);
        let mut walk = Walk::new(GRAPH_ID, 0);
        // Frames of 40 bytes: each end in turn, as syncs bring them.
        for (sequence, first_sequence, place) in [(2, 1, 2), (3, 1, 3), (4, 4, 1), (6, 4, 3)] {
            let end_bytes = SEGMENT_HEADER_BYTES + 40 * place;
            let end = LogEnd { sequence, first_sequence, end_bytes };
            assert_eq!(rest(&mut walk, &storage, end).last(), Some(&sequence));
            let place = walk.place.as_ref().expect("it is somewhere");
            assert_eq!(place.bytes_start + place.bytes.len() as u64, end_bytes);
        }
        assert_eq!(rest(&mut walk, &storage, end), [7]);
    }

    #[test]
    fn a_frame_that_is_refused_comes_again() {
        let (storage, end) = log(&[2]);
        let mut walk = Walk::new(GRAPH_ID, 0);
        let refused = walk.next(&storage, end, |_| Err::<(), _>(Error::corrupt("refused")));
        let error = refused.unwrap_err();
        assert_eq!(error.offset_bytes(), Some(SEGMENT_HEADER_BYTES));
        assert_eq!(rest(&mut walk, &storage, end), [1, 2]);
    }

    #[test]
    fn a_segment_that_went_matters_to_those_only_who_have_not_read_it() {
        let (storage, end) = log(&[2, 3, 1]);
        let second = LogEnd { sequence: 5, first_sequence: 3, end_bytes: 64 + 3 * 40 };
        let [mut done, mut inside, mut before] = [0; 3].map(|_| Walk::new(GRAPH_ID, 2));
        assert_eq!(rest(&mut done, &storage, second), [3, 4, 5]);
        assert_eq!(next(&mut inside, &storage, second).expect("it is there"), 3);
        storage.remove(&log_file_name(3)).expect("memory");
        assert_eq!(rest(&mut done, &storage, end), [6]);
        assert_eq!(rest(&mut inside, &storage, end), [4, 5, 6]);
        for _ in 0..2 {
            let error = next(&mut before, &storage, end).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
        }
    }

    #[test]
    fn damage_is_an_error_and_stays_one() {
        for (frame_counts, sequence) in [(&[3, 2][..], 1), (&[3, 2], 3), (&[3, 2], 5), (&[3], 3)] {
            let (storage, end) = log(frame_counts);
            let first_sequence = if sequence > 3 { 4 } else { 1 };
            let offset_bytes = SEGMENT_HEADER_BYTES + 40 * (sequence - first_sequence);
            let name = log_file_name(first_sequence);
            let mut file = storage.open_log(&name, 0).expect("memory");
            for broken in [&[0xff_u8; 8][..], &[0; 40]] {
                file.write_at(offset_bytes, broken);
                let mut walk = Walk::new(GRAPH_ID, sequence - 1);
                for _ in 0..2 {
                    let error = next(&mut walk, &storage, end).unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::Corrupt, "frame {sequence}");
                    assert!(error.path().is_some());
                }
            }
        }
        let (storage, end) = log(&[2, 2]);
        storage.open_log(&log_file_name(1), 0).expect("memory").truncate(64).expect("memory");
        assert!(next(&mut Walk::new(GRAPH_ID, 0), &storage, end).is_err());
        assert!(next(&mut Walk::new([8; 16], 2), &storage, end).is_err());
    }
}
