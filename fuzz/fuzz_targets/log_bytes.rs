//! A log segment with any bytes changed, and frames with right checksums around any payload.
#![no_main]

use arbitrary::Arbitrary;
use followgraph_fuzz::{Edit, Files, interrogate, lay_out, tiny_graph};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static TINY: LazyLock<Files> = LazyLock::new(tiny_graph);

const SEGMENT_HEADER_BYTES: usize = 64;
const FRAME_HEADER_BYTES: usize = 32;

#[derive(Arbitrary, Debug)]
struct Input {
    edits: Vec<Edit>,
    forged: Vec<Forged>,
}

/// A frame that follows the last one and whose checksum is right, whatever it holds.
#[derive(Arbitrary, Debug)]
struct Forged {
    sequence_skew: i8,
    durable_skew: i8,
    source_position: Option<u64>,
    payload: Vec<u8>,
}

fuzz_target!(|input: Input| {
    let mut files = TINY.clone();
    let last_log = files.iter_mut().rfind(|(name, _)| name.ends_with(".fgl"));
    let (_, segment) = last_log.expect("a graph has a log");
    let (end, next_sequence) = log_end(segment);
    forge(segment, end, next_sequence, &input.forged);
    // Most of a segment is zeros: most changes are near the frames.
    for edit in input.edits.iter().take(8) {
        edit.apply(segment, end + 256);
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    lay_out(directory.path(), &files);
    interrogate(directory.path());
});

/// Where the frames of a good segment end, and the sequence number of the one after them.
fn log_end(segment: &[u8]) -> (usize, u64) {
    let number = |at: usize| u64::from_le_bytes(segment[at..at + 8].try_into().expect("8 bytes"));
    let (mut end, mut next_sequence) = (SEGMENT_HEADER_BYTES, number(32));
    while end + FRAME_HEADER_BYTES <= segment.len() && number(end) != 0 {
        let payload_bytes = number(end) as u32 as usize;
        next_sequence = number(end + 8) + 1;
        end += (FRAME_HEADER_BYTES + payload_bytes).next_multiple_of(8);
    }
    (end, next_sequence)
}

fn forge(segment: &mut [u8], mut at: usize, mut sequence: u64, frames: &[Forged]) {
    for forged in frames.iter().take(4) {
        let mut frame = Vec::new();
        frame.extend((forged.payload.len() as u32).to_le_bytes());
        frame.extend([0; 4]);
        frame.extend(sequence.wrapping_add_signed(i64::from(forged.sequence_skew)).to_le_bytes());
        let durable = (sequence - 1).wrapping_add_signed(i64::from(forged.durable_skew));
        frame.extend(durable.to_le_bytes());
        frame.extend(forged.source_position.unwrap_or(u64::MAX).to_le_bytes());
        frame.extend(&forged.payload);
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&frame[..4]);
        hasher.update(&frame[8..]);
        frame[4..8].copy_from_slice(&hasher.finalize().to_le_bytes());
        frame.resize(frame.len().next_multiple_of(8), 0);
        let Some(room) = segment.get_mut(at..at + frame.len()) else { return };
        room.copy_from_slice(&frame);
        at += frame.len();
        sequence += 1;
    }
}
