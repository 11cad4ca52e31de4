//! The positions of the consumers of the log: a small file each, in the directory of the graph.
//!
//! A position file is replaced as a whole: written under another name, synced, renamed, and the
//! directory synced. So what is read is a position that was written, or the file was damaged later.
//! **A file that does not check out says nothing**: its consumer has no position until it is given
//! one, and never a wrong one.
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | magic |
//! | 8..12 | format version |
//! | 12..16 | zero |
//! | 16..32 | graph id |
//! | 32..40 | sequence number of the last commit that is done with |
//! | 40..60 | zero |
//! | 60..64 | crc32 of bytes 0..60 |

use crate::error::{Error, ErrorKind, Result};
use crate::format::{
    CONSUMER_MAGIC, check_header, consumer_file_name, consumer_of_file, read_u64, seal_header,
    write_u64,
};
use crate::storage::Storage;

const FILE_BYTES: usize = 64;

/// Every consumer of a graph, with its position or why it is not known. Fails only where the
/// operating system does.
pub(crate) fn load(
    storage: &dyn Storage,
    graph_id: [u8; 16],
) -> Result<Vec<(String, Result<u64>)>> {
    let mut consumers = Vec::new();
    for (file, len_bytes) in storage.list()? {
        let Some(name) = consumer_of_file(&file) else {
            continue;
        };
        // One byte more than belongs there, to see that there is none.
        let bytes = storage.map(&file, FILE_BYTES as u64 + 1)?;
        let there_bytes = len_bytes.min(FILE_BYTES as u64 + 1);
        if (bytes.len() as u64) < there_bytes {
            let error = Error::new(ErrorKind::Io, "less of the file can be read than is there");
            let error = error.expected(there_bytes, bytes.len());
            return Err(error.at_path(&storage.path(&file)));
        }
        let position =
            decode(&bytes, graph_id).map_err(|error| error.at_path(&storage.path(&file)));
        consumers.push((name.to_owned(), position));
    }
    Ok(consumers)
}

/// Puts a position in the place of the one before. It is on disk when this returns.
pub(crate) fn save(
    storage: &dyn Storage,
    graph_id: [u8; 16],
    name: &str,
    position: u64,
) -> Result<()> {
    let file = consumer_file_name(name);
    let temporary = format!("{file}.tmp");
    let saved = storage
        .create(&temporary)
        .and_then(|mut output| {
            output.write_at(0, &encode(graph_id, position))?;
            output.sync()
        })
        .and_then(|()| storage.rename(&temporary, &file));
    if saved.is_err() {
        // The first error is the one to report; a leftover is removed on the next open too.
        let _ = storage.remove(&temporary);
    }
    saved.and_then(|()| storage.sync_directory())
}

/// Removes a position, and says whether it was there. It is gone for good when this returns: an
/// earlier removal may have failed before that was so.
pub(crate) fn remove(storage: &dyn Storage, name: &str) -> Result<bool> {
    let file = consumer_file_name(name);
    let is_there = storage.list()?.iter().any(|(listed, _)| *listed == file);
    if is_there {
        storage.remove(&file)?;
    }
    storage.sync_directory()?;
    Ok(is_there)
}

fn encode(graph_id: [u8; 16], position: u64) -> [u8; FILE_BYTES] {
    let mut bytes = [0; FILE_BYTES];
    bytes[16..32].copy_from_slice(&graph_id);
    write_u64(&mut bytes, 32, position);
    seal_header(&mut bytes, CONSUMER_MAGIC);
    bytes
}

fn decode(bytes: &[u8], graph_id: [u8; 16]) -> Result<u64> {
    let header = check_header(bytes, FILE_BYTES as u64, CONSUMER_MAGIC)?;
    if header.len() != bytes.len() {
        let error = Error::corrupt("the position of a consumer is longer than it should be");
        return Err(error.at_offset(FILE_BYTES as u64));
    }
    if header[16..32] != graph_id {
        let error = Error::corrupt("the position of a consumer belongs to another graph");
        return Err(error.at_offset(16));
    }
    Ok(read_u64(header, 32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;

    const GRAPH_ID: [u8; 16] = *b"0123456789abcdef";

    /// Golden vector: these bytes are in files in the field and may never change.
    #[test]
    fn the_bytes_of_a_position_are_pinned() {
        let bytes = encode(GRAPH_ID, 0x0102);
        let mut expected = [0; FILE_BYTES];
        expected[..12].copy_from_slice(b"FGCONSM\n\x02\0\0\0");
        expected[16..32].copy_from_slice(&GRAPH_ID);
        expected[32..34].copy_from_slice(&[2, 1]);
        let crc = crc32fast::hash(&expected[..60]);
        expected[60..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(bytes, expected);
        assert_eq!(decode(&bytes, GRAPH_ID).expect("whole"), 0x0102);
        // Version 1 says the same in the same places.
        expected[8] = 1;
        let crc = crc32fast::hash(&expected[..60]);
        expected[60..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(decode(&expected, GRAPH_ID).expect("whole"), 0x0102);
    }

    #[test]
    fn every_flipped_bit_and_every_other_length_is_seen() {
        let bytes = encode(GRAPH_ID, 7);
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&damaged, GRAPH_ID).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length], GRAPH_ID).is_err(), "length {length}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(decode(&longer, GRAPH_ID).unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(decode(&bytes, [7; 16]).unwrap_err().kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn positions_are_kept_replaced_and_removed() {
        let storage = MemoryStorage::default();
        save(&storage, GRAPH_ID, "one", 3).expect("memory");
        save(&storage, GRAPH_ID, "one", 4).expect("memory");
        save(&storage, GRAPH_ID, "two", 9).expect("memory");
        let positions = || -> Vec<(String, u64)> {
            let loaded = load(&storage, GRAPH_ID).expect("memory").into_iter();
            loaded.map(|(name, position)| (name, position.expect("whole"))).collect()
        };
        assert_eq!(positions(), [("one".to_owned(), 4), ("two".to_owned(), 9)]);
        assert!(remove(&storage, "one").expect("memory"));
        assert!(!remove(&storage, "one").expect("memory"));
        assert_eq!(positions(), [("two".to_owned(), 9)]);
    }
}
