//! The log of a damaged graph: the frames behind an image, as far as their numbers are unbroken.

use crate::format::log_file_name;
use crate::log::{FRAME_HEADER_BYTES, Found, Frame, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::log::{examine, scan};
use crate::storage::{Bytes, Storage};
use crate::types::DamagedRange;
use std::path::PathBuf;

struct Segment {
    first_sequence: u64,
    bytes: Bytes,
    path: PathBuf,
}

/// The segments that may be of this graph, in the order of their names.
pub(super) struct DamagedLog {
    segments: Vec<Segment>,
    /// What is wrong with segments as a whole.
    pub(super) damage: Vec<DamagedRange>,
}

/// How far a walk came.
pub(super) struct Reach {
    /// The last frame it found, or the one it began behind.
    pub(super) sequence: u64,
    /// What lies where the next frame belongs, where that is not simply the end of the log.
    pub(super) stopped_by: Option<DamagedRange>,
}

impl DamagedLog {
    /// Takes the segments whose headers belong to the graph, and those whose headers do not check
    /// out: the frames in them have checksums and numbers of their own.
    pub(super) fn read(
        storage: &dyn Storage,
        first_sequences: &[u64],
        graph_id: [u8; 16],
    ) -> DamagedLog {
        let mut log = DamagedLog { segments: Vec::new(), damage: Vec::new() };
        for &first_sequence in first_sequences {
            let name = log_file_name(first_sequence);
            let path = storage.path(&name);
            let mut report = |len_bytes: u64, what: String| {
                let (file, offset_bytes) = (path.clone(), 0);
                log.damage.push(DamagedRange { file, offset_bytes, len_bytes, what });
            };
            let bytes = match storage.map(&name, u64::MAX) {
                Ok(bytes) => bytes,
                Err(error) => {
                    report(0, error.to_string());
                    continue;
                }
            };
            match SegmentHeader::decode(&bytes) {
                Ok(header) if header.graph_id != graph_id => {
                    report(bytes.len() as u64, "the segment is of another graph".to_owned());
                    continue;
                }
                Ok(header) if header.first_sequence != first_sequence => {
                    let what = "the segment begins elsewhere than its name says".to_owned();
                    report(bytes.len() as u64, what);
                    continue;
                }
                Ok(_) => {}
                Err(error) => report(SEGMENT_HEADER_BYTES, error.to_string()),
            }
            log.segments.push(Segment { first_sequence, bytes, path });
        }
        log
    }

    /// Hands every frame behind `sequence` to `take`, in order, until one is missing. Frames
    /// beyond a gap build on what is in it, so none of them is taken.
    pub(super) fn walk(&self, sequence: u64, take: &mut dyn FnMut(&Frame<'_>)) -> Reach {
        let next_sequence = sequence.saturating_add(1);
        let begun = self.segments.iter().rposition(|one| one.first_sequence <= next_sequence);
        let Some(mut number) = begun else {
            return Reach { sequence, stopped_by: None };
        };
        let mut expected = self.segments[number].first_sequence;
        let mut offset_bytes = SEGMENT_HEADER_BYTES;
        loop {
            let segment = &self.segments[number];
            match examine(&segment.bytes, offset_bytes) {
                Found::Whole(frame) if frame.sequence == expected => {
                    if expected > sequence {
                        take(&frame);
                    }
                    expected = expected.saturating_add(1);
                    offset_bytes += frame.frame_bytes;
                }
                Found::Whole(_) | Found::Nothing | Found::Broken => {
                    let next = self.segments.get(number + 1);
                    if next.is_some_and(|next| next.first_sequence == expected) {
                        (number, offset_bytes) = (number + 1, SEGMENT_HEADER_BYTES);
                        continue;
                    }
                    // What the image covers already is needed by nobody.
                    let wanted = next_sequence..next_sequence.saturating_add(1);
                    let places = offset_bytes..segment.bytes.len() as u64;
                    let skipped = (expected <= sequence)
                        .then(|| scan(&segment.bytes, places, wanted).next())
                        .flatten();
                    let Some((found_at, _)) = skipped else {
                        let stopped_by = self.stopped_by(number, offset_bytes);
                        return Reach {
                            sequence: sequence.max(expected.saturating_sub(1)),
                            stopped_by,
                        };
                    };
                    (expected, offset_bytes) = (next_sequence, found_at);
                }
            }
        }
    }

    /// The segment behind an image, where there is none of it: a log is sealed before an image
    /// covers it, so one was there.
    pub(super) fn missing_behind(
        &self,
        storage: &dyn Storage,
        sequence: u64,
    ) -> Option<DamagedRange> {
        let first_sequence = sequence.saturating_add(1);
        let is_there = self.segments.iter().any(|one| one.first_sequence == first_sequence);
        (!is_there).then(|| DamagedRange {
            file: storage.path(&log_file_name(first_sequence)),
            offset_bytes: 0,
            len_bytes: 0,
            what: "the log segment after the image is missing".to_owned(),
        })
    }

    /// What lies at a place without the next frame; nothing at the end of the log.
    fn stopped_by(&self, number: usize, offset_bytes: u64) -> Option<DamagedRange> {
        let segment = &self.segments[number];
        let rest = segment.bytes.get(offset_bytes as usize..).unwrap_or_default();
        let used = rest.iter().rposition(|&byte| byte != 0).map_or(0, |last| last as u64 + 1);
        let is_last = number + 1 == self.segments.len();
        (used > 0 || !is_last).then(|| DamagedRange {
            file: segment.path.clone(),
            offset_bytes,
            len_bytes: used,
            what: "the next frame is damaged or missing".to_owned(),
        })
    }

    /// The last sequence number that a segment or a frame behind `reached` speaks of.
    pub(super) fn last_sequence(&self, reached: u64) -> u64 {
        let room_bytes: u64 = self.segments.iter().map(|one| one.bytes.len() as u64).sum();
        let frames_max = room_bytes / FRAME_HEADER_BYTES as u64 + 1;
        let later = reached.saturating_add(1)..reached.saturating_add(frames_max).saturating_add(1);
        let frames = self.segments.iter().flat_map(|segment| {
            scan(&segment.bytes, SEGMENT_HEADER_BYTES..u64::MAX, later.clone())
                .map(|(_, frame)| frame.sequence)
        });
        let begun = self.segments.iter().map(|segment| segment.first_sequence.saturating_sub(1));
        frames.chain(begun).fold(reached, u64::max)
    }
}
