//! What the end of a log means: a decision table.
//!
//! Recovery walks the frames behind the image. Wherever the walk meets something, exactly one row
//! of the table fits, and the row decides. `docs/recovery.md` argues each row; `tests` below and
//! the recovery suite have one test for each.
//!
//! | row | what lies at the place of frame `e` | and | decision |
//! |---|---|---|---|
//! | A | a whole frame with sequence `e` | | take it |
//! | B | a whole frame with another sequence | | corrupt |
//! | C | zeros to the end of the segment | it is the last segment | the log ends here |
//! | D | zeros to the end of the segment | the next segment begins with `e` | go on there |
//! | E | anything else | something later claims `e` was durable | corrupt |
//! | F | anything else | nothing later claims that | torn: cut here |
//!
//! "Anything else" is a broken frame, zeros with something behind them, a next segment that
//! begins with a later sequence, or zeros where a segment of a backup says that it has a frame.
//! "Something later" is a whole frame or a segment header, also that of the same segment: each
//! carries the highest sequence number known durable when it was written. Before the walk, a
//! missing segment is corruption (row G: the first one begins behind the image's end, or one says
//! that another is before it than is there), and so are a segment whose header contradicts its name
//! or its graph, and one that begins before its predecessor ends (row H).

use crate::error::{Error, ErrorKind, Result};
use crate::format::{check_sequence, log_file_name};
use crate::graph::{Graph, Replay};
use crate::log::{FRAME_HEADER_BYTES, Found, SEGMENT_HEADER_BYTES, SegmentHeader, examine, scan};
use crate::storage::{Bytes, Storage};
use crate::types::Recovery;

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    /// A whole frame with the expected sequence.
    A,
    /// A whole frame with another sequence.
    B,
    /// Zeros at the end of the last segment.
    C,
    /// Zeros at the end of a segment whose successor goes on.
    D,
    /// Damage below what was known durable.
    E,
    /// A torn tail.
    F,
}

/// What the walk sees at one place, reduced to what the table asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sight {
    /// A whole frame: whether its sequence is the expected one.
    pub(crate) whole_frame: Option<bool>,
    /// Nothing but zeros up to the end of the segment.
    pub(crate) zeros_to_end: bool,
    /// The next segment: whether it begins with the expected sequence.
    pub(crate) next_segment: Option<bool>,
    /// Something later claims that the expected sequence was durable.
    pub(crate) claimed_durable: bool,
}

/// The row that fits. Total: every sight has exactly one.
pub(crate) fn decide(sight: Sight) -> Row {
    match sight {
        Sight { whole_frame: Some(true), .. } => Row::A,
        Sight { whole_frame: Some(false), .. } => Row::B,
        Sight { zeros_to_end: true, next_segment: None, .. } => Row::C,
        Sight { zeros_to_end: true, next_segment: Some(true), .. } => Row::D,
        Sight { claimed_durable: true, .. } => Row::E,
        Sight { claimed_durable: false, .. } => Row::F,
    }
}

/// The header of a segment's bytes. Row H: it must agree with its name, its graph and its length.
pub(crate) fn check_segment(
    bytes: &[u8],
    first_sequence: u64,
    graph_id: [u8; 16],
) -> Result<SegmentHeader> {
    let header = SegmentHeader::decode(bytes)?;
    if header.graph_id != graph_id {
        let message = "the log segment belongs to another graph; move it away";
        return Err(Error::corrupt(message).at_offset(16));
    }
    if header.first_sequence != first_sequence {
        return Err(Error::corrupt("the log segment begins elsewhere than its name says")
            .at_offset(32)
            .expected(first_sequence, header.first_sequence));
    }
    if (bytes.len() as u64) > header.segment_bytes {
        return Err(Error::corrupt("the log segment is longer than its header says")
            .expected(header.segment_bytes, bytes.len()));
    }
    Ok(header)
}

/// A segment found in the directory, mapped and with its header checked.
pub(crate) struct SegmentView {
    /// Its header.
    pub(crate) header: SegmentHeader,
    /// Its bytes: shorter than the header says where the file was cut.
    pub(crate) bytes: Bytes,
    /// From here on nothing was ever written: so much less to look for torn frames in.
    written_bytes: u64,
}

impl SegmentView {
    /// Maps the first `len_bytes` of the segment that begins with `first_sequence`, and checks its
    /// header.
    pub(crate) fn open(
        storage: &dyn Storage,
        first_sequence: u64,
        len_bytes: u64,
        graph_id: [u8; 16],
    ) -> Result<SegmentView> {
        let name = log_file_name(first_sequence);
        let bytes = storage.map(&name, len_bytes)?;
        let written_bytes = storage.written_bytes(&name)?;
        let view = SegmentView::of(bytes, first_sequence, graph_id)
            .map_err(|error| error.at_path(&storage.path(&name)))?;
        Ok(SegmentView { written_bytes, ..view })
    }

    /// Bytes of the segment that begins with `first_sequence`, with its header checked.
    pub(crate) fn of(bytes: Bytes, first_sequence: u64, graph_id: [u8; 16]) -> Result<SegmentView> {
        let header = check_segment(&bytes, first_sequence, graph_id)?;
        Ok(SegmentView { header, bytes, written_bytes: u64::MAX })
    }

    /// Opens all of a segment that the directory says is there. Taken for the end of the log, a
    /// shorter read would cut what lies behind it.
    pub(crate) fn open_whole(
        storage: &dyn Storage,
        first_sequence: u64,
        len_bytes: u64,
        graph_id: [u8; 16],
    ) -> Result<SegmentView> {
        let view = SegmentView::open(storage, first_sequence, len_bytes, graph_id)?;
        let read_bytes = view.bytes.len() as u64;
        if read_bytes == len_bytes {
            return Ok(view);
        }
        let error = Error::new(ErrorKind::Io, "less of the log segment can be read than is there");
        let path = storage.path(&log_file_name(first_sequence));
        Err(error.at_path(&path).expected(len_bytes, read_bytes))
    }

    /// The bytes from an offset on that may be something else than zeros.
    fn written_from(&self, offset_bytes: u64) -> &[u8] {
        let end = self.written_bytes.min(self.bytes.len() as u64);
        self.bytes.get(offset_bytes as usize..end as usize).unwrap_or_default()
    }

    fn zeros_from(&self, offset_bytes: u64) -> bool {
        // Whole blocks without an early exit: the compiler turns that into wide loads.
        self.written_from(offset_bytes)
            .chunks(4096)
            .all(|block| block.iter().fold(0, |bits, byte| bits | byte) == 0)
    }
}

/// A place in the log: where a walk begins, and where it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogPlace {
    /// Which of the segments, by position.
    pub(crate) segment: usize,
    /// Where in it.
    pub(crate) offset_bytes: u64,
    /// The sequence number of the frame that belongs there.
    pub(crate) sequence: u64,
    /// Where in that segment the bytes end that were cut; 0 when none were.
    pub(crate) cut_end_bytes: u64,
    /// Whether the frame before it was written by an orderly close.
    pub(crate) closed: bool,
    /// The highest sequence number that a frame before it says was on disk.
    pub(crate) vouched_sequence: u64,
}

impl LogPlace {
    /// The first frame of the first segment. Rows G and H: there must be one, and it must begin
    /// with the frame after the graph's last. The log is sealed before an image covers it, so a
    /// segment that begins earlier is of the generation before, and the one behind the image was
    /// taken away.
    pub(crate) fn first(
        storage: &dyn Storage,
        graph: &Graph,
        segments: &[SegmentView],
    ) -> Result<LogPlace> {
        check_chain(storage, segments)?;
        let next = graph.position().sequence + 1;
        let sequence = segments.first().map(|first| first.header.first_sequence);
        match sequence {
            Some(sequence) if sequence == next => {
                let offset_bytes = SEGMENT_HEADER_BYTES;
                Ok(LogPlace {
                    segment: 0,
                    offset_bytes,
                    sequence,
                    cut_end_bytes: 0,
                    closed: false,
                    vouched_sequence: 0,
                })
            }
            Some(sequence) if sequence > next => {
                Err(Error::corrupt("log segments before this one are missing")
                    .at_path(&storage.path(&log_file_name(sequence)))
                    .expected(log_file_name(next), log_file_name(sequence)))
            }
            Some(_) | None => Err(Error::corrupt("the log segment after the image is missing")
                .at_path(&storage.path(&log_file_name(next)))),
        }
    }
}

/// Row G: each segment must follow the one before it in the directory. A segment is durable before
/// its first frame, so a gap is a file that somebody took away, not a crash.
fn check_chain(storage: &dyn Storage, segments: &[SegmentView]) -> Result<()> {
    for pair in segments.windows(2) {
        let (before, header) = (pair[0].header.first_sequence, pair[1].header);
        let expected = header.first_sequence.wrapping_sub(header.previous_frame_count.into());
        if expected != before {
            let message = "the log segment before this one is missing; put it back";
            return Err(Error::corrupt(message)
                .at_path(&storage.path(&log_file_name(header.first_sequence)))
                .expected(log_file_name(expected), log_file_name(before)));
        }
    }
    Ok(())
}

/// Replays the segments over the graph from `start`, as far as the table lets it, and says where
/// the log ends. Reads only. Takes as many threads as it is given.
pub(crate) fn replay(
    storage: &dyn Storage,
    graph: &mut Graph,
    segments: &[SegmentView],
    start: LogPlace,
    thread_count: fn() -> usize,
) -> Result<(LogPlace, Recovery)> {
    let mut graph = Replay::new(graph, thread_count);
    let mut recovery = Recovery::default();
    let LogPlace { segment: mut number, mut offset_bytes, mut closed, .. } = start;
    let mut vouched_sequence = start.vouched_sequence;
    let mut expected = start.sequence;
    let at_frame = |(error, sequence)| at_frame(error, sequence, storage, segments);
    loop {
        let segment = &segments[number];
        let found = examine(&segment.bytes, offset_bytes);
        let place = |cut_end_bytes| LogPlace {
            segment: number,
            offset_bytes,
            sequence: expected,
            cut_end_bytes,
            closed,
            vouched_sequence,
        };
        let here = |error: Error| {
            let path = storage.path(&log_file_name(segment.header.first_sequence));
            error.at_path(&path).at_offset(offset_bytes)
        };
        let row = decide(look(segments, place(0), found));
        if row != Row::A {
            graph.finish().map_err(at_frame)?;
        }
        match row {
            Row::A => {
                let Found::Whole(frame) = found else { unreachable!("row A is a whole frame") };
                if next_begins_by(segments, number, expected) {
                    let message = "the next log segment begins before this one ends";
                    return Err(here(Error::corrupt(message)));
                }
                check_sequence(expected).map_err(here)?;
                if frame.sequence > graph.sequence() {
                    recovery.replayed_records += graph.take(&frame).map_err(at_frame)?;
                    recovery.replayed_frames += 1;
                }
                expected += 1;
                offset_bytes += frame.frame_bytes;
                closed = frame.is_closing();
                vouched_sequence = vouched_sequence.max(frame.vouched_sequence());
            }
            Row::B => {
                let Found::Whole(frame) = found else { unreachable!("row B is a whole frame") };
                let error = Error::corrupt("a frame is out of sequence");
                return Err(here(error.expected(expected, frame.sequence)));
            }
            Row::C => return Ok((place(0), recovery)),
            Row::D => (number, offset_bytes) = (number + 1, SEGMENT_HEADER_BYTES),
            Row::E => {
                let error = Error::corrupt("a frame that was durable is damaged or missing");
                return Err(here(error.expected(format!("frame {expected}"), "something else")));
            }
            Row::F => {
                let cut = measure_cut(segments, place(0));
                recovery.cut_bytes = cut.bytes;
                recovery.cut_frames = cut.frames;
                return Ok((place(cut.end_bytes), recovery));
            }
        }
    }
}

/// Whether the segment behind one begins at or before a frame.
fn next_begins_by(segments: &[SegmentView], number: usize, sequence: u64) -> bool {
    segments.get(number + 1).is_some_and(|next| next.header.first_sequence <= sequence)
}

/// The bytes of a segment that may be readable without being on disk.
pub(crate) struct Doubtful {
    /// The first sequence number of the segment.
    pub(crate) first_sequence: u64,
    /// Where they begin.
    pub(crate) start_bytes: u64,
    /// Where they end.
    pub(crate) end_bytes: u64,
}

/// What may be readable without being on disk, of a log that ends at `end` behind an image: after a
/// sync that failed, the kernel takes the pages it could not write for written ones. Frames that
/// the image covers, or that something later vouches for, are on disk. The zeros behind the last
/// frame may hide frames that were cut, which must not come back.
pub(crate) fn doubtful(
    segments: &[SegmentView],
    end: LogPlace,
    image_sequence: u64,
) -> Vec<Doubtful> {
    let last = &segments[end.segment];
    if end.closed && last.bytes.len() as u64 == end.offset_bytes {
        // Only a close whose syncs all succeeded gives the room behind its frame back.
        return Vec::new();
    }
    let segments = &segments[..=end.segment];
    let headers = segments.iter().map(|segment| segment.header.durable_sequence);
    let vouched = headers.fold(end.vouched_sequence.max(image_sequence), u64::max);
    let begins_in_time = |segment: &&SegmentView| segment.header.first_sequence <= vouched + 1;
    let known_count = segments.iter().take_while(begins_in_time).count().saturating_sub(1);
    let doubted = segments[known_count..].iter().map(|segment| Doubtful {
        first_sequence: segment.header.first_sequence,
        start_bytes: place_behind(segment, vouched),
        end_bytes: segment.written_bytes,
    });
    doubted.collect()
}

/// Where the first frame of a segment lies that is behind a sequence number.
fn place_behind(segment: &SegmentView, sequence: u64) -> u64 {
    let mut offset_bytes = SEGMENT_HEADER_BYTES;
    while let Found::Whole(frame) = examine(&segment.bytes, offset_bytes) {
        if frame.sequence > sequence {
            break;
        }
        offset_bytes += frame.frame_bytes;
    }
    offset_bytes
}

/// Where a frame lies that the walk has passed: where it is looked for, it is seldom asked for.
fn at_frame(error: Error, sequence: u64, storage: &dyn Storage, segments: &[SegmentView]) -> Error {
    let holds = |segment: &&SegmentView| segment.header.first_sequence <= sequence;
    let Some(segment) = segments.iter().rfind(holds) else { return error };
    let error = error.at_path(&storage.path(&log_file_name(segment.header.first_sequence)));
    let mut offset_bytes = SEGMENT_HEADER_BYTES;
    while let Found::Whole(frame) = examine(&segment.bytes, offset_bytes) {
        if frame.sequence == sequence {
            return error.at_offset(offset_bytes);
        }
        offset_bytes += frame.frame_bytes;
    }
    error
}

/// Reduces what lies at a place to what the table asks.
fn look(segments: &[SegmentView], place: LogPlace, found: Found<'_>) -> Sight {
    let next_segment =
        segments.get(place.segment + 1).map(|next| next.header.first_sequence == place.sequence);
    let whole_frame = match found {
        Found::Whole(frame) => Some(frame.sequence == place.sequence),
        Found::Nothing | Found::Broken => None,
    };
    let mut sight =
        Sight { whole_frame, zeros_to_end: false, next_segment, claimed_durable: false };
    if whole_frame.is_none() {
        let view = &segments[place.segment];
        let is_missed = view.header.durable_sequence >= place.sequence;
        sight.zeros_to_end =
            found == Found::Nothing && !is_missed && view.zeros_from(place.offset_bytes);
        let settled = sight.zeros_to_end && next_segment != Some(false);
        sight.claimed_durable = !settled && is_claimed_durable(segments, place);
    }
    sight
}

/// Whether a later frame or segment header says that the frame of this place was on disk, or the
/// header of its own segment, which was written at once then.
fn is_claimed_durable(segments: &[SegmentView], place: LogPlace) -> bool {
    let segments_on = &segments[place.segment..];
    segments_on.iter().any(|segment| segment.header.durable_sequence >= place.sequence)
        || later_frames(segments, place).any(|durable| durable >= place.sequence)
}

/// What the frames behind a place claim to be durable. A sequence number cannot be further ahead
/// than there is room for frames.
fn later_frames(segments: &[SegmentView], place: LogPlace) -> impl Iterator<Item = u64> {
    let segments = &segments[place.segment..];
    let room_bytes: u64 = segments.iter().map(|view| view.bytes.len() as u64).sum();
    let frames_max = room_bytes / FRAME_HEADER_BYTES as u64 + 1;
    let sequences = place.sequence..place.sequence.saturating_add(frames_max);
    segments.iter().enumerate().flat_map(move |(behind, view)| {
        let start = if behind == 0 { place.offset_bytes } else { SEGMENT_HEADER_BYTES };
        scan(&view.bytes, start..view.written_bytes, sequences.clone())
            .map(|(_, frame)| frame.durable_sequence)
    })
}

struct Cut {
    bytes: u64,
    frames: u64,
    end_bytes: u64,
}

/// How much a cut takes away: the bytes up to the last one that is not zero, and the frames among
/// them, a torn one counting as one.
fn measure_cut(segments: &[SegmentView], place: LogPlace) -> Cut {
    let used = |view: &SegmentView, start: u64| {
        view.written_from(start)
            .iter()
            .rposition(|&byte| byte != 0)
            .map_or(0, |last| last as u64 + 1)
    };
    let first_bytes = used(&segments[place.segment], place.offset_bytes);
    let later = segments[place.segment + 1..].iter();
    let later_bytes: u64 = later.map(|view| used(view, SEGMENT_HEADER_BYTES)).sum();
    let whole_frames = later_frames(segments, place).count() as u64;
    Cut {
        bytes: first_bytes + later_bytes,
        frames: (whole_frames + u64::from(first_bytes > 0)).max(1),
        end_bytes: place.offset_bytes + first_bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every combination of what can be seen has the row the table gives it.
    #[test]
    fn every_sight_has_the_row_of_the_table() {
        let bools = [false, true];
        let options = [None, Some(false), Some(true)];
        for whole_frame in options {
            for zeros_to_end in bools {
                for next_segment in options {
                    for claimed_durable in bools {
                        let sight =
                            Sight { whole_frame, zeros_to_end, next_segment, claimed_durable };
                        let fits = [
                            (Row::A, whole_frame == Some(true)),
                            (Row::B, whole_frame == Some(false)),
                            (
                                Row::C,
                                whole_frame.is_none() && zeros_to_end && next_segment.is_none(),
                            ),
                            (
                                Row::D,
                                whole_frame.is_none() && zeros_to_end && next_segment == Some(true),
                            ),
                        ];
                        let settled = fits.iter().find(|(_, fits)| *fits).map(|(row, _)| *row);
                        let otherwise = if claimed_durable { Row::E } else { Row::F };
                        assert_eq!(decide(sight), settled.unwrap_or(otherwise), "{sight:?}");
                    }
                }
            }
        }
    }
}
