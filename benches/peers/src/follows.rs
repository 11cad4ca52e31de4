//! The edge list that every peer loads: pairs of node numbers in a file, read as a stream.
//!
//! A node is known to the peers by the name `user_<number>` only. The time of a follow is a
//! function of its place in the file, so that no process has to hold the graph to know it.

use anyhow::{Context, Result, ensure};
use flate2::read::MultiGzDecoder;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

/// When the first follow of a graph happened, in Unix seconds.
const FIRST_FOLLOW_SECONDS: u32 = 1_600_000_000;
/// The follows of a graph are spread over two years.
const SPAN_SECONDS: u64 = 2 * 365 * 24 * 60 * 60;
/// Every later follow has a time from here on.
pub(crate) const LATER_SECONDS: u32 = FIRST_FOLLOW_SECONDS + 2 * SPAN_SECONDS as u32;
const PAIR_BYTES: u64 = 8;
const BUFFER_BYTES: usize = 1 << 20;

/// A follow between two nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Follow {
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) at: u32,
}

/// An edge list in a file of little-endian `u32` pairs. No pair is repeated and none is of equals;
/// [`crate::plan`] checks that before any peer sees the file.
#[derive(Clone)]
pub(crate) struct Follows {
    path: PathBuf,
    follow_count: u64,
}

impl Follows {
    pub(crate) fn open(path: &Path) -> Result<Follows> {
        let file_bytes = std::fs::metadata(path).with_context(|| path.display().to_string())?.len();
        ensure!(file_bytes.is_multiple_of(PAIR_BYTES), "{}: not u32 pairs", path.display());
        let follow_count = file_bytes / PAIR_BYTES;
        ensure!(follow_count <= SPAN_SECONDS, "{}: too many for distinct times", path.display());
        Ok(Follows { path: path.to_owned(), follow_count })
    }

    /// Takes pairs as they are, and writes text (`FROM TO …`, also in gzip) to `copy` as pairs of
    /// the places in which the words first appear.
    pub(crate) fn open_or_copy(path: &Path, copy: &Path) -> Result<Follows> {
        let extension = path.extension().and_then(|extension| extension.to_str());
        if extension == Some("u32") {
            return Follows::open(path);
        }
        let file = File::open(path).with_context(|| path.display().to_string())?;
        if extension == Some("gz") {
            copy_text(BufReader::new(MultiGzDecoder::new(file)), copy)?;
        } else {
            copy_text(BufReader::new(file), copy)?;
        }
        Follows::open(copy)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn follow_count(&self) -> u64 {
        self.follow_count
    }

    /// Visits all follows in the order of the file.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(Follow) -> Result<()>) -> Result<()> {
        let mut reader = BufReader::with_capacity(BUFFER_BYTES, File::open(&self.path)?);
        let mut pair = [0; PAIR_BYTES as usize];
        for place in 0..self.follow_count {
            reader.read_exact(&mut pair)?;
            let pair = u64::from_le_bytes(pair);
            let rank = shuffled(place, self.follow_count);
            let offset = rank * SPAN_SECONDS / self.follow_count;
            visit(Follow {
                from: pair as u32,
                to: (pair >> 32) as u32,
                at: FIRST_FOLLOW_SECONDS + offset as u32,
            })?;
        }
        Ok(())
    }

    /// Visits all follows by name.
    pub(crate) fn for_each_named(
        &self,
        mut visit: impl FnMut(&str, &str, u32) -> Result<()>,
    ) -> Result<()> {
        let (mut from, mut to) = (String::new(), String::new());
        self.for_each(|follow| {
            write_name(follow.from, &mut from);
            write_name(follow.to, &mut to);
            visit(&from, &to, follow.at)
        })
    }
}

pub(crate) fn name_of(node: u32) -> String {
    format!("user_{node}")
}

fn write_name(node: u32, name: &mut String) {
    name.clear();
    name.push_str("user_");
    write!(name, "{node}").expect("a string can always be written to");
}

/// Writes pairs to a file.
pub(crate) fn write_pairs(path: &Path, pairs: impl Iterator<Item = (u32, u32)>) -> Result<()> {
    let mut file = BufWriter::with_capacity(BUFFER_BYTES, File::create(path)?);
    for (from, to) in pairs {
        file.write_all(&from.to_le_bytes())?;
        file.write_all(&to.to_le_bytes())?;
    }
    Ok(file.flush()?)
}

fn copy_text(reader: impl BufRead, copy: &Path) -> Result<()> {
    let mut places: HashMap<String, u32> = HashMap::new();
    let mut pairs = Vec::new();
    for line in reader.lines() {
        let line = line?;
        let mut words = line.split_whitespace();
        if let (false, Some(from), Some(to)) = (line.starts_with('#'), words.next(), words.next()) {
            let [from, to] = [from, to].map(|word| {
                let next = places.len() as u32;
                *places.entry(word.to_owned()).or_insert(next)
            });
            pairs.push((from, to));
        }
    }
    write_pairs(copy, pairs.into_iter())
}

/// A fixed permutation of the numbers below `count`: a Feistel network over the next even number
/// of bits, repeated until the result is below `count` again.
fn shuffled(place: u64, count: u64) -> u64 {
    let half_bits = (64 - count.leading_zeros()).div_ceil(2).max(1);
    let mask = (1u64 << half_bits) - 1;
    let mut value = place;
    loop {
        let (mut left, mut right) = (value >> half_bits, value & mask);
        for round in 1..=4u64 {
            let mixed = (right + round).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            (left, right) = (right, left ^ (mixed >> 40 & mask));
        }
        value = left << half_bits | right;
        if value < count {
            return value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shuffling_is_a_permutation() {
        for count in [1, 2, 3, 10, 1000, 4097] {
            let mut seen: Vec<u64> = (0..count).map(|place| shuffled(place, count)).collect();
            assert!(count < 10 || !seen.is_sorted(), "{count}");
            seen.sort_unstable();
            assert!(seen.into_iter().eq(0..count), "{count}");
        }
    }
}
