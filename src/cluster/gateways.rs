//! Which batches were applied: so that one that arrives twice is applied once.
//!
//! The log itself turns away a second arrival for two minutes. This table does so for ever, and
//! alike on every node, because it is a function of the log alone.

use crate::error::{Error, Result};
use crc32fast::hash;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

const CODEC: bincode::config::Configuration = bincode::config::standard();

/// What is to be done with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It is to be applied.
    New,
    /// It was applied before, or its gateway had given it up before it arrived.
    Settled,
}

/// The batches of one gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    /// All below are settled.
    floor: u64,
    /// From there on, those that were applied.
    applied: BTreeSet<u64>,
}

/// The batches of all gateways, as of one position of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Gateways {
    /// Which log.
    pub(super) epoch: u64,
    /// The last entry that is part of it.
    pub(super) position: u64,
    seen: BTreeMap<u64, Seen>,
}

impl Gateways {
    /// Of a log without entries.
    pub(super) fn new(epoch: u64) -> Gateways {
        Gateways { epoch, ..Gateways::default() }
    }

    /// Of a log that goes on behind an entry, and has none yet.
    pub(super) fn behind(epoch: u64, last: u64) -> Gateways {
        Gateways { epoch, position: last, ..Gateways::default() }
    }

    /// Takes note of a batch.
    pub(super) fn arrive(&mut self, gateway: u64, counter: u64, floor: u64) -> Arrival {
        let seen = self.seen.entry(gateway).or_default();
        if floor > seen.floor {
            seen.floor = floor;
            seen.applied = seen.applied.split_off(&floor);
        }
        if counter < seen.floor || !seen.applied.insert(counter) {
            return Arrival::Settled;
        }
        Arrival::New
    }

    /// Its bytes, with a checksum at the end.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = bincode::serde::encode_to_vec(self, CODEC)
            .expect("the table has no type bincode refuses");
        bytes.extend(hash(&bytes).to_le_bytes());
        bytes
    }

    /// The table of these bytes. Errors: `Corrupt`.
    pub(super) fn decode(bytes: &[u8]) -> Result<Gateways> {
        let wrong = |what: &str| Error::corrupt(format!("the table of gateways: {what}"));
        let (table, checksum) = bytes.split_last_chunk().ok_or_else(|| wrong("too short"))?;
        if hash(table) != u32::from_le_bytes(*checksum) {
            return Err(wrong("checksum"));
        }
        let decoded = bincode::serde::decode_from_slice(table, CODEC);
        match decoded {
            Ok((gateways, used_bytes)) if used_bytes == table.len() => Ok(gateways),
            _ => Err(wrong("it does not decode")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Arrival::{New, Settled};

    #[test]
    fn a_batch_is_applied_once_in_whatever_order_they_come() {
        let mut gateways = Gateways::new(1);
        let arrivals: Vec<Arrival> = [(2, 1), (1, 1), (2, 1), (4, 2), (1, 1), (3, 2), (3, 2)]
            .into_iter()
            .map(|(counter, floor)| gateways.arrive(7, counter, floor))
            .collect();
        assert_eq!(arrivals, [New, New, Settled, New, Settled, New, Settled]);
        assert_eq!(gateways.arrive(8, 1, 1), New, "another gateway has numbers of its own");
    }

    #[test]
    fn a_batch_that_was_given_up_is_dead() {
        let mut gateways = Gateways::new(1);
        assert_eq!(gateways.arrive(7, 3, 3), New);
        assert_eq!(gateways.arrive(7, 2, 1), Settled);
        assert_eq!(gateways.seen[&7].applied.len(), 1, "what is settled takes no memory");
    }

    #[test]
    fn the_table_reads_what_it_writes_and_nothing_else() {
        let mut gateways = Gateways::new(5);
        gateways.position = 99;
        gateways.arrive(7, 3, 2);
        let bytes = gateways.encode();
        assert_eq!(Gateways::decode(&bytes).unwrap(), gateways);
        for place in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1;
            assert!(Gateways::decode(&damaged).is_err());
            assert!(Gateways::decode(&bytes[..place]).is_err());
        }
    }
}
