//! What an entry of the log says, and its bytes.
//!
//! An entry is a byte with the version and then a [`Message`] in the encoding of `bincode`'s
//! standard configuration. Golden vectors in the tests pin it, because every node must read an
//! entry alike, and for ever. What a node does not know it must not pass over: it stops.

use crate::error::{Error, ErrorKind, Result};
use crate::shards::{ShardDigest, ShardSet, VirtualShard};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// The newest version of messages. A node that meets a newer one stops, so one that writes it does
/// so only when every node reads it.
const MESSAGE_VERSION: u8 = 1;
const CODEC: bincode::config::Configuration = bincode::config::standard();

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Message<'a> {
    /// Changes, in order.
    #[serde(borrow)]
    Batch(Batch<'a>),
    /// A second of the time that all nodes share.
    Tick {
        /// Unix seconds.
        second: u64,
    },
    /// Nothing: who has read it has read all that came before.
    Barrier,
    /// What a node counted at a position, for the others to compare.
    #[serde(borrow)]
    Digests(Digests<'a>),
}

/// Changes that one node publishes together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Batch<'a> {
    /// Which run of which node publishes it: a random number.
    pub(super) gateway: u64,
    /// Its number there, from 1.
    pub(super) counter: u64,
    /// Batches of the gateway below this number are settled: one that arrives later is dead.
    pub(super) floor: u64,
    /// The changes.
    #[serde(borrow)]
    pub(super) operations: Vec<Operation<'a>>,
}

/// One change, as the log has it. What it does depends only on which accounts there are, which
/// every node knows; on the history of its two accounts, which either of their nodes knows; and on
/// this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Operation<'a> {
    /// An account begins to exist.
    AddAccount {
        /// Its name.
        name: Cow<'a, str>,
    },
    /// An account follows another.
    Follow {
        /// Who follows.
        follower: Cow<'a, str>,
        /// Who is followed.
        followed: Cow<'a, str>,
        /// Since when, in Unix seconds; `None`: since the log took it.
        at: Option<u32>,
        /// Accounts that are missing begin to exist.
        create: bool,
    },
    /// An account no longer follows another.
    Unfollow {
        /// Who followed.
        follower: Cow<'a, str>,
        /// Who was followed.
        followed: Cow<'a, str>,
    },
    /// An account begins to go. Whoever hosts it says of each of its follows that it goes.
    BeginRemoval {
        /// Its name.
        name: Cow<'a, str>,
    },
    /// A follow of an account that goes. By id, which is never given again: said twice, it can hit
    /// no other.
    UnfollowId {
        /// The id of who followed.
        follower: u32,
        /// The id of who was followed.
        followed: u32,
    },
    /// An account that goes, and has no follows left, is gone.
    EndRemoval {
        /// Its id.
        id: u32,
    },
}

impl Operation<'_> {
    /// The accounts whose order with other changes matters: equal for two changes of one pair.
    pub(super) fn pair(&self) -> (Cow<'_, str>, Cow<'_, str>) {
        let nobody = Cow::Borrowed("");
        match self {
            Operation::AddAccount { name } | Operation::BeginRemoval { name } => {
                (Cow::Borrowed(name.as_ref()), nobody)
            }
            Operation::Follow { follower, followed, .. }
            | Operation::Unfollow { follower, followed } => {
                let (one, other) = (follower.as_ref(), followed.as_ref());
                (Cow::Borrowed(one.min(other)), Cow::Borrowed(one.max(other)))
            }
            Operation::UnfollowId { .. } | Operation::EndRemoval { .. } => (nobody.clone(), nobody),
        }
    }
}

/// The digests of the shards that a node hosts, as of the tick at a position.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Digests<'a> {
    /// Which node.
    pub(super) node: Cow<'a, str>,
    /// The sequence number of the tick.
    pub(super) position: u64,
    /// The hosted shards: a bit each.
    hosted: Cow<'a, [u8]>,
    /// For each of them, in order, both sums.
    sums: Vec<(u64, u64)>,
}

impl<'a> Digests<'a> {
    /// What a node says.
    pub(super) fn new(
        node: &'a str,
        position: u64,
        digests: &[(VirtualShard, ShardDigest)],
    ) -> Digests<'a> {
        let hosted: ShardSet = digests.iter().map(|(shard, _)| *shard).collect();
        // The graphs of a node host shards in any order; the numbers go with the set.
        let mut sorted = digests.to_vec();
        sorted.sort_unstable_by_key(|(shard, _)| *shard);
        let sums = sorted.iter().map(|(_, digest)| (digest.following, digest.followers));
        let (node, hosted) = (Cow::Borrowed(node), Cow::Owned(hosted.to_bytes()));
        Digests { node, position, hosted, sums: sums.collect() }
    }

    /// The same with a name of its own.
    pub(super) fn into_owned(self) -> Digests<'static> {
        let (node, hosted) = (self.node.into_owned().into(), self.hosted.into_owned().into());
        Digests { node, hosted, position: self.position, sums: self.sums }
    }

    /// What it said; `None` where the numbers do not fit the shards.
    pub(super) fn digests(&self) -> Option<Vec<(VirtualShard, ShardDigest)>> {
        let hosted = ShardSet::from_bytes(&self.hosted)?;
        let sums =
            self.sums.iter().map(|&(following, followers)| ShardDigest { following, followers });
        (hosted.len() == self.sums.len()).then(|| hosted.iter().zip(sums).collect())
    }
}

impl<'a> Message<'a> {
    /// The bytes of an entry.
    pub(super) fn encode(&self) -> Bytes {
        let mut bytes = vec![MESSAGE_VERSION];
        bincode::serde::encode_into_std_write(self, &mut bytes, CODEC)
            .expect("a vector takes every byte and a message has no type bincode refuses");
        bytes.into()
    }

    /// What an entry says. Errors: `UnsupportedVersion`, `Corrupt`.
    pub(super) fn decode(bytes: &'a [u8]) -> Result<Message<'a>> {
        let Some((&version, rest)) = bytes.split_first() else {
            return Err(Error::corrupt("an entry of the log is empty"));
        };
        if version != MESSAGE_VERSION {
            let message = "an entry of the log is of another version; use a newer followgraph";
            let error = Error::new(ErrorKind::UnsupportedVersion, message);
            return Err(error.expected(MESSAGE_VERSION, version));
        }
        let decoded = bincode::serde::borrow_decode_from_slice(rest, CODEC);
        let (message, used_bytes) = decoded
            .map_err(|source| Error::corrupt(format!("an entry does not decode: {source}")))?;
        if used_bytes < rest.len() {
            return Err(Error::corrupt("bytes behind the message of an entry"));
        }
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
    }

    /// One of each.
    fn messages() -> Vec<(Message<'static>, &'static str)> {
        let operations = vec![
            Operation::AddAccount { name: "al".into() },
            Operation::Follow {
                follower: "al".into(),
                followed: "bo".into(),
                at: Some(5),
                create: true,
            },
            Operation::Unfollow { follower: "al".into(), followed: "bo".into() },
            Operation::BeginRemoval { name: "bo".into() },
            Operation::UnfollowId { follower: 1, followed: 300 },
            Operation::EndRemoval { id: 7 },
        ];
        let batch = Batch { gateway: 9, counter: 2, floor: 1, operations };
        vec![
            (
                Message::Batch(batch),
                "0100090201060002616c0102616c02626f0105010202616c02626f0302626f0401fb2c010507",
            ),
            (Message::Tick { second: 1000 }, "0101fbe803"),
            (Message::Barrier, "0102"),
        ]
    }

    #[test]
    fn the_bytes_of_a_message_stay_what_they_are() {
        for (message, bytes) in messages() {
            assert_eq!(hex(&message.encode()), bytes);
            assert_eq!(Message::decode(&message.encode()).unwrap(), message);
        }
    }

    #[test]
    fn digests_come_back() {
        let shard = |number| VirtualShard::new(number).unwrap();
        let mut said = [
            (shard(4000), ShardDigest::default()),
            (shard(3), ShardDigest { following: 5, followers: u64::MAX }),
        ];
        let bytes = Message::Digests(Digests::new("n1", 77, &said)).encode();
        let Message::Digests(digests) = Message::decode(&bytes).unwrap() else { panic!() };
        assert_eq!((digests.node.as_ref(), digests.position), ("n1", 77));
        said.reverse();
        assert_eq!(digests.digests().unwrap(), said);
        assert_eq!(Digests { sums: Vec::new(), ..digests }.digests(), None);
    }

    #[test]
    fn what_is_not_known_is_an_error() {
        let kind = |bytes: &[u8]| Message::decode(bytes).unwrap_err().kind();
        assert_eq!(kind(&[]), ErrorKind::Corrupt);
        assert_eq!(kind(&[2, 2]), ErrorKind::UnsupportedVersion);
        assert_eq!(kind(&[1, 4]), ErrorKind::Corrupt);
        assert_eq!(kind(&[1, 2, 0]), ErrorKind::Corrupt);
        let whole = messages()[0].0.encode();
        for end in 1..whole.len() {
            assert_eq!(kind(&whole[..end]), ErrorKind::Corrupt);
        }
    }
}
