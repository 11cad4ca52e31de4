//! The log: append-only segments of checksummed frames. One commit is one frame is all or nothing.
//!
//! A segment is a header of 64 bytes and then frames, each starting at a multiple of 8, up to the
//! first zeros. It is allocated in full when it is made, under a temporary name that is changed
//! when its header is on disk, so a segment that can be seen has a whole header.
//!
//! Every frame carries the highest sequence number known durable when it was written. That is
//! what makes recovery decidable: see `recovery`.

use crate::error::{Error, Result};
use crate::format::{
    LOG_MAGIC, NO_SOURCE_POSITION, check_header, check_sequence, log_file_name, read_u32, read_u64,
    seal_header, write_u32, write_u64,
};
use crate::storage::{LogFile, LogSync, Storage};
use std::ops::Range;
use std::sync::Arc;

/// Size of the header of a segment.
pub(crate) const SEGMENT_HEADER_BYTES: u64 = 64;
/// The most bytes of a segment: no file system has larger files, and sums of many do not overflow.
const SEGMENT_BYTES_MAX: u64 = 1 << 53;
/// Size of the header of a frame.
pub(crate) const FRAME_HEADER_BYTES: usize = 32;
/// Frames start at multiples of this.
const FRAME_ALIGNMENT: usize = 8;

/// The header of a segment.
///
/// | bytes | what |
/// |---|---|
/// | 0..8 | magic |
/// | 8..12 | format version |
/// | 12..16 | how many frames the segment before it holds; 0: none is before it |
/// | 16..32 | graph id |
/// | 32..40 | sequence number of the first frame |
/// | 40..48 | length of the segment in bytes |
/// | 48..56 | highest sequence number known durable when it was made; its last frame if sealed |
/// | 56..60 | zero |
/// | 60..64 | crc32 of bytes 0..60 |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// The graph it belongs to.
    pub(crate) graph_id: [u8; 16],
    /// The sequence number of its first frame.
    pub(crate) first_sequence: u64,
    /// Its allocated length.
    pub(crate) segment_bytes: u64,
    /// What was known durable when it was made: of its own frames only those of a segment that was
    /// written at once.
    pub(crate) durable_sequence: u64,
    /// How many frames the segment before it holds: tells a missing file from missing frames.
    pub(crate) previous_frame_count: u32,
}

impl SegmentHeader {
    /// The bytes of the header.
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES as usize] {
        let mut bytes = [0u8; SEGMENT_HEADER_BYTES as usize];
        write_u32(&mut bytes, 12, self.previous_frame_count);
        bytes[16..32].copy_from_slice(&self.graph_id);
        write_u64(&mut bytes, 32, self.first_sequence);
        write_u64(&mut bytes, 40, self.segment_bytes);
        write_u64(&mut bytes, 48, self.durable_sequence);
        seal_header(&mut bytes, LOG_MAGIC);
        bytes
    }

    /// Reads and checks the header at the start of a segment's bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Result<SegmentHeader> {
        let bytes = check_header(bytes, SEGMENT_HEADER_BYTES, LOG_MAGIC)?;
        let (first_sequence, durable_sequence) = (read_u64(bytes, 32), read_u64(bytes, 48));
        let segment_bytes = read_u64(bytes, 40);
        // The segment after the last commit there can be begins behind it.
        check_sequence(first_sequence.wrapping_sub(1)).map_err(|error| error.at_offset(32))?;
        check_sequence(durable_sequence).map_err(|error| error.at_offset(48))?;
        if !(SEGMENT_HEADER_BYTES..=SEGMENT_BYTES_MAX).contains(&segment_bytes) {
            let expected = format!("{SEGMENT_HEADER_BYTES} to {SEGMENT_BYTES_MAX}");
            let error = Error::corrupt("length of the log segment").at_offset(40);
            return Err(error.expected(expected, segment_bytes));
        }
        Ok(SegmentHeader {
            graph_id: bytes[16..32].try_into().expect("sixteen bytes"),
            first_sequence,
            segment_bytes,
            durable_sequence,
            previous_frame_count: read_u32(bytes, 12),
        })
    }
}

impl SegmentHeader {
    /// Whether the segment was written at once, as those of a backup are: what it has room for is
    /// in it and on disk, and nothing is ever appended.
    pub(crate) fn is_sealed(&self) -> bool {
        self.durable_sequence >= self.first_sequence || self.segment_bytes == SEGMENT_HEADER_BYTES
    }

    /// The last frame of a sealed segment; the one before it where it has none.
    pub(crate) fn sealed_sequence(&self) -> u64 {
        self.durable_sequence.max(self.first_sequence - 1)
    }
}

/// A whole frame, borrowed from a segment.
///
/// | bytes | what |
/// |---|---|
/// | 0..4 | length of the payload, at least 1 |
/// | 4..8 | crc32 of bytes 0..4 and 8.. to the end of the payload |
/// | 8..16 | sequence number |
/// | 16..24 | highest sequence number known durable when it was written |
/// | 24..32 | source position, all ones: none |
/// | 32.. | payload, then zeros to a multiple of 8 |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    /// Its number; every commit has the next one.
    pub(crate) sequence: u64,
    /// What was known durable when it was written.
    pub(crate) durable_sequence: u64,
    /// Where the log it came from goes on, if it came from one.
    pub(crate) source_position: Option<u64>,
    /// The encoded records.
    pub(crate) payload: &'a [u8],
    /// Its length with header and padding.
    pub(crate) frame_bytes: u64,
}

impl Frame<'_> {
    /// Whether it was written by an orderly close: it alone claims to be durable itself, because
    /// everything before it was synced and nothing was written behind it.
    pub(crate) fn is_closing(&self) -> bool {
        self.durable_sequence >= self.sequence
    }

    /// The last frame it is a witness of: a closing one is written in the hope that it will be on
    /// disk itself.
    pub(crate) fn vouched_sequence(&self) -> u64 {
        self.durable_sequence.min(self.sequence.saturating_sub(1))
    }
}

/// Where the log ends: the place behind a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogEnd {
    /// The sequence number of that frame.
    pub(crate) sequence: u64,
    /// The first sequence number of the segment it lies in; no earlier segment is written to.
    pub(crate) first_sequence: u64,
    /// Where in that segment it ends. What lies below is never written again.
    pub(crate) end_bytes: u64,
}

/// The length of a frame with header and padding.
pub(crate) fn frame_bytes(payload_bytes: usize) -> usize {
    (FRAME_HEADER_BYTES + payload_bytes).next_multiple_of(FRAME_ALIGNMENT)
}

/// Appends a frame to `out`, whose length is a multiple of 8, as `encode_payload` fills it.
pub(crate) fn encode_frame(
    sequence: u64,
    durable_sequence: u64,
    source_position: Option<u64>,
    out: &mut Vec<u8>,
    encode_payload: impl FnOnce(&mut Vec<u8>),
) {
    let start = out.len();
    out.resize(start + FRAME_HEADER_BYTES, 0);
    encode_payload(out);
    let payload_bytes = out.len() - start - FRAME_HEADER_BYTES;
    let frame = &mut out[start..];
    write_u32(frame, 0, u32::try_from(payload_bytes).expect("a frame fits its segment"));
    write_u64(frame, 8, sequence);
    write_u64(frame, 16, durable_sequence);
    write_u64(frame, 24, source_position.unwrap_or(NO_SOURCE_POSITION));
    let crc = frame_crc(frame);
    write_u32(frame, 4, crc);
    out.resize(start + frame_bytes(payload_bytes), 0);
}

fn frame_crc(frame: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&frame[..4]);
    hasher.update(&frame[8..]);
    hasher.finalize()
}

/// What lies at an offset of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// A frame whose checksum holds.
    Whole(Frame<'a>),
    /// A frame header's worth of zeros, or the end of the bytes.
    Nothing,
    /// Anything else.
    Broken,
}

/// Looks at what lies at `offset_bytes`.
pub(crate) fn examine(segment: &[u8], offset_bytes: u64) -> Found<'_> {
    let rest = usize::try_from(offset_bytes)
        .ok()
        .and_then(|start| segment.get(start..))
        .unwrap_or_default();
    let Some(header) = rest.get(..FRAME_HEADER_BYTES) else {
        let zeros = rest.iter().all(|&byte| byte == 0);
        return if zeros { Found::Nothing } else { Found::Broken };
    };
    if header.iter().all(|&byte| byte == 0) {
        return Found::Nothing;
    }
    let payload_bytes = read_u32(header, 0) as usize;
    let Some(frame) = rest.get(..FRAME_HEADER_BYTES.saturating_add(payload_bytes)) else {
        return Found::Broken;
    };
    if payload_bytes == 0 || frame_crc(frame) != read_u32(header, 4) {
        return Found::Broken;
    }
    let source_position = read_u64(header, 24);
    Found::Whole(Frame {
        sequence: read_u64(header, 8),
        durable_sequence: read_u64(header, 16),
        source_position: (source_position != NO_SOURCE_POSITION).then_some(source_position),
        payload: &frame[FRAME_HEADER_BYTES..],
        frame_bytes: frame_bytes(payload_bytes) as u64,
    })
}

/// Every whole frame that starts within `places` and whose sequence number lies in `sequences`,
/// with its offset, looked for at every place a frame may start. The sequence numbers keep chance
/// and hostile lengths from costing a checksum at every place.
pub(crate) fn scan(
    segment: &[u8],
    places: Range<u64>,
    sequences: Range<u64>,
) -> impl Iterator<Item = (u64, Frame<'_>)> {
    let header_bytes = FRAME_HEADER_BYTES as u64;
    let end = places.end.min((segment.len() as u64 + 1).saturating_sub(header_bytes));
    let mut offset_bytes = places.start.next_multiple_of(FRAME_ALIGNMENT as u64);
    std::iter::from_fn(move || {
        while offset_bytes < end {
            let here = offset_bytes;
            offset_bytes += FRAME_ALIGNMENT as u64;
            if !sequences.contains(&read_u64(segment, here as usize + 8)) {
                continue;
            }
            if let Found::Whole(frame) = examine(segment, here) {
                offset_bytes = here + frame.frame_bytes;
                return Some((here, frame));
            }
        }
        None
    })
}

/// A segment being written.
pub(crate) struct SegmentWriter {
    file: Box<dyn LogFile>,
    first_sequence: u64,
    offset_bytes: u64,
}

impl SegmentWriter {
    /// Makes a segment, durable before it gets its name. Whether the name is, is for the caller to
    /// see to: a sync of the directory that fails means something else to each.
    pub(crate) fn create(storage: &dyn Storage, header: &SegmentHeader) -> Result<SegmentWriter> {
        let name = log_file_name(header.first_sequence);
        let temporary = format!("{name}.tmp");
        let mut file = storage.create_log(&temporary, header.segment_bytes)?;
        file.write_at(0, &header.encode());
        file.syncer().sync().and_then(|()| storage.rename(&temporary, &name))?;
        Ok(SegmentWriter {
            file,
            first_sequence: header.first_sequence,
            offset_bytes: SEGMENT_HEADER_BYTES,
        })
    }

    /// Goes on with a segment of which `offset_bytes` are in use, as long as its file is now: an
    /// orderly close leaves it short, and a graph that is only read needs no room.
    pub(crate) fn resume(
        storage: &dyn Storage,
        first_sequence: u64,
        offset_bytes: u64,
    ) -> Result<SegmentWriter> {
        let file = storage.open_log(&log_file_name(first_sequence), offset_bytes)?;
        Ok(SegmentWriter { file, first_sequence, offset_bytes })
    }

    /// Allocates the segment to its full length again.
    pub(crate) fn extend(&mut self, storage: &dyn Storage, segment_bytes: u64) -> Result<()> {
        self.file = storage.open_log(&log_file_name(self.first_sequence), segment_bytes)?;
        Ok(())
    }

    /// Gives back the room behind the last frame. Nothing is appended after this.
    pub(crate) fn truncate(&mut self) -> Result<()> {
        self.file.truncate(self.offset_bytes)
    }

    /// Overwrites with zeros from the place of the next frame up to `end_bytes`.
    pub(crate) fn clear_until(&mut self, end_bytes: u64) {
        let zeros = [0u8; 4096];
        let mut offset_bytes = self.offset_bytes;
        let end_bytes = end_bytes.min(self.file.len_bytes());
        while offset_bytes < end_bytes {
            let chunk_bytes = (end_bytes - offset_bytes).min(zeros.len() as u64);
            self.file.write_at(offset_bytes, &zeros[..chunk_bytes as usize]);
            offset_bytes += chunk_bytes;
        }
    }

    /// Whether `bytes` more fit.
    pub(crate) fn has_room(&self, bytes: u64) -> bool {
        self.offset_bytes.saturating_add(bytes) <= self.file.len_bytes()
    }

    /// Appends an encoded frame, for which there must be room. Cannot fail: the disk space is
    /// there since the segment was made.
    pub(crate) fn append(&mut self, frame: &[u8]) {
        assert!(self.has_room(frame.len() as u64), "room is reserved before a commit begins");
        self.file.write_at(self.offset_bytes, frame);
        self.offset_bytes += frame.len() as u64;
    }

    /// The sequence number of the first frame.
    pub(crate) fn first_sequence(&self) -> u64 {
        self.first_sequence
    }

    /// Bytes in use, header included.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.offset_bytes
    }

    /// A handle that makes it durable.
    pub(crate) fn syncer(&self) -> Arc<dyn LogSync> {
        self.file.syncer()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(sequence: u64, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode_frame(sequence, 3, Some(9), &mut bytes, |out| out.extend_from_slice(payload));
        bytes
    }

    #[test]
    fn a_frame_comes_back() {
        let bytes = frame(5, b"hello");
        assert_eq!(bytes.len(), frame_bytes(5));
        let Found::Whole(found) = examine(&bytes, 0) else { panic!("the frame is whole") };
        assert_eq!((found.sequence, found.durable_sequence), (5, 3));
        assert_eq!((found.source_position, found.payload), (Some(9), &b"hello"[..]));
        assert_eq!(found.frame_bytes, bytes.len() as u64);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_of_a_frame_is_seen() {
        let bytes = frame(5, b"hello!");
        let checked_bytes = FRAME_HEADER_BYTES + 6;
        for bit in 0..checked_bytes * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(examine(&damaged, 0), Found::Broken, "bit {bit}");
        }
        for length in 1..checked_bytes {
            assert_eq!(examine(&bytes[..length], 0), Found::Broken, "length {length}");
        }
        assert_eq!(examine(&bytes[..0], 0), Found::Nothing);
        assert_eq!(examine(&[0; 100], 64), Found::Nothing);
        assert_eq!(examine(&bytes, u64::MAX), Found::Nothing);
    }

    #[test]
    fn a_scan_finds_frames_behind_garbage() {
        let mut bytes = vec![0xab; 16];
        bytes.extend(frame(7, b"later"));
        bytes.extend(frame(8, b"last"));
        let found: Vec<_> =
            scan(&bytes, 3..u64::MAX, 6..9).map(|(at, frame)| (at, frame.sequence)).collect();
        assert_eq!(found, [(16, 7), (16 + frame_bytes(5) as u64, 8)]);
        assert_eq!(scan(&bytes, 3..u64::MAX, 9..10).count(), 0);
        assert_eq!(scan(&bytes, 3..16, 6..9).count(), 0);
        assert_eq!(scan(&bytes, 3..17, 6..8).count(), 1);
    }

    #[test]
    fn a_segment_header_is_pinned_and_checked() {
        let header = SegmentHeader {
            graph_id: *b"0123456789abcdef",
            first_sequence: 1,
            segment_bytes: 65536,
            durable_sequence: 0,
            previous_frame_count: 7,
        };
        let bytes = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes).expect("whole"), header);
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&damaged).is_err(), "bit {bit}");
        }
        assert!(SegmentHeader::decode(&bytes[..63]).is_err());
    }
}
