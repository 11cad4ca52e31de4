//! The floor of a follow.

use crate::support::floor::{Floor, hash};
use followgraph::Counts;
use prefetch_index::prefetch_index;

/// The bytes a follow takes in the log.
const FRAME_BYTES: usize = 48;
const LOG_BYTES: usize = 1 << 26;

/// The least a follow must do: find both names, count, note each in a line of the other, and write
/// a frame. It does not look whether the follow is there already, keeps no order, and its log is
/// memory that was touched before.
pub(crate) struct FollowFloor {
    floor: Floor,
    lines: Vec<Line>,
    log: Vec<u8>,
    log_used_bytes: usize,
}

/// Where an account would note a new follow.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line {
    noted: u32,
    ids: [u32; 15],
}

impl FollowFloor {
    pub(crate) fn new(names: &[String]) -> FollowFloor {
        let lines = vec![Line { noted: 1, ids: [1; 15] }; names.len()];
        let floor = Floor::new(names, &vec![Counts::default(); names.len()]);
        FollowFloor { floor, lines, log: vec![1; LOG_BYTES], log_used_bytes: 0 }
    }

    /// Both accounts are known.
    pub(crate) fn follow(&mut self, from: &str, to: &str) {
        let names = [from, to];
        let hashes = names.map(hash);
        for hash in hashes {
            prefetch_index(&self.floor.slots, self.floor.home(hash));
        }
        let found = hashes.map(|hash| self.floor.next_like(hash, self.floor.home(hash)));
        for (_, id) in found.iter().flatten() {
            prefetch_index(&self.floor.records, *id);
            prefetch_index(&self.lines, *id);
        }
        let ids = [0, 1].map(|end: usize| {
            let mut found = found[end];
            while let Some((place, id)) = found {
                if self.floor.records[id].has_name(names[end]) {
                    return id;
                }
                found = self.floor.next_like(hashes[end], self.floor.after(place));
            }
            unreachable!("{} is an account", names[end])
        });
        self.floor.records[ids[0]].counts.following += 1;
        self.floor.records[ids[1]].counts.followers += 1;
        for (id, other) in [(ids[0], ids[1]), (ids[1], ids[0])] {
            let line = &mut self.lines[id];
            line.ids[line.noted as usize % line.ids.len()] = other as u32;
            line.noted += 1;
        }
        if self.log.len() < self.log_used_bytes + FRAME_BYTES {
            self.log_used_bytes = 0;
        }
        let frame = &mut self.log[self.log_used_bytes..][..FRAME_BYTES];
        frame[..8].copy_from_slice(&(ids[0] as u64).to_le_bytes());
        frame[8..16].copy_from_slice(&(ids[1] as u64).to_le_bytes());
        frame[16..].fill(0);
        self.log_used_bytes += FRAME_BYTES;
    }
}
