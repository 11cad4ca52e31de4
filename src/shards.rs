//! Virtual shards: which part of the accounts a node keeps the lists of.
//!
//! Every account belongs to one of 4,096 virtual shards, for ever, by a published hash of its name.
//! A graph that is *sharded* knows every account, and keeps the lists of those whose shards it
//! hosts; all others are foreign to it. For each shard it keeps a digest of both directions, which
//! is the same on every node that hosts the shard and has come as far.

use crate::error::{Error, ErrorKind, Result};
use crate::format::{content_follow_hash, content_name_hash, read_u64};
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// How many virtual shards there are, whatever the size of a cluster.
pub const SHARD_COUNT: u16 = 4096;
const WORDS: usize = SHARD_COUNT as usize / 64;
const SET_BYTES: usize = WORDS * 8;
/// The length of the section of an image that says which shards are hosted, and their digests.
pub(crate) const SHARDS_SECTION_BYTES: usize = SET_BYTES + SHARD_COUNT as usize * 16;

/// One of the 4,096 parts that accounts are divided into.
///
/// The shard of an account is the upper 12 bits of SipHash-1-3 of its name under a key of zeros, so
/// every program can compute it.
///
/// ```
/// use followgraph::VirtualShard;
/// assert_eq!(VirtualShard::of("alice").number(), 282);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VirtualShard(u16);

impl VirtualShard {
    /// The shard of an account.
    #[inline]
    pub fn of(name: &str) -> VirtualShard {
        VirtualShard((content_name_hash(name) >> 52) as u16)
    }

    /// The shard with this number; `None` from 4,096 on.
    pub fn new(number: u16) -> Option<VirtualShard> {
        (number < SHARD_COUNT).then_some(VirtualShard(number))
    }

    /// Its number, below 4,096.
    pub fn number(self) -> u16 {
        self.0
    }

    fn place(self) -> usize {
        usize::from(self.0)
    }
}

/// Some of the virtual shards.
///
/// ```
/// use followgraph::{ShardSet, VirtualShard};
/// let set: ShardSet = "0-1364, 4000".parse()?;
/// assert_eq!(set.len(), 1366);
/// assert!(set.contains(VirtualShard::new(4000).unwrap()));
/// assert_eq!(set.to_string(), "0-1364,4000");
/// # Ok::<(), followgraph::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ShardSet(Box<[u64; WORDS]>);

impl ShardSet {
    /// No shard.
    pub fn none() -> ShardSet {
        ShardSet(Box::new([0; WORDS]))
    }

    /// All of them.
    pub fn all() -> ShardSet {
        ShardSet(Box::new([u64::MAX; WORDS]))
    }

    /// Those with a number in the range; numbers from 4,096 on are none.
    pub fn range(numbers: RangeInclusive<u16>) -> ShardSet {
        numbers.filter_map(VirtualShard::new).collect()
    }

    /// Whether it has a shard.
    #[inline]
    pub fn contains(&self, shard: VirtualShard) -> bool {
        self.0[shard.place() / 64] >> (shard.place() % 64) & 1 == 1
    }

    /// Adds a shard.
    pub fn insert(&mut self, shard: VirtualShard) {
        self.0[shard.place() / 64] |= 1 << (shard.place() % 64);
    }

    /// Takes a shard out.
    pub fn remove(&mut self, shard: VirtualShard) {
        self.0[shard.place() / 64] &= !(1 << (shard.place() % 64));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|&word| word == 0)
    }

    /// Those that are in either.
    #[must_use]
    pub fn union(&self, other: &ShardSet) -> ShardSet {
        self.combined(other, |ours, theirs| ours | theirs)
    }

    /// Those that are in both.
    #[must_use]
    pub fn intersection(&self, other: &ShardSet) -> ShardSet {
        self.combined(other, |ours, theirs| ours & theirs)
    }

    /// Those that are not in the other.
    #[must_use]
    pub fn difference(&self, other: &ShardSet) -> ShardSet {
        self.combined(other, |ours, theirs| ours & !theirs)
    }

    fn combined(&self, other: &ShardSet, combine: impl Fn(u64, u64) -> u64) -> ShardSet {
        let mut words = self.0.clone();
        for (word, theirs) in words.iter_mut().zip(other.0.iter()) {
            *word = combine(*word, *theirs);
        }
        ShardSet(words)
    }

    /// Whether all of them are in the other too.
    pub fn is_subset(&self, other: &ShardSet) -> bool {
        self.difference(other).is_empty()
    }

    /// The shards, by number.
    pub fn iter(&self) -> impl Iterator<Item = VirtualShard> + '_ {
        (0..SHARD_COUNT).map(VirtualShard).filter(|&shard| self.contains(shard))
    }

    /// Its bytes: a bit a shard, the lowest bit of the first byte for shard 0.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// The set of these bytes; `None` where there are not as many as a set has.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<ShardSet> {
        let mut set = ShardSet::none();
        if bytes.len() != SET_BYTES {
            return None;
        }
        for (place, word) in set.0.iter_mut().enumerate() {
            *word = read_u64(bytes, place * 8);
        }
        Some(set)
    }
}

impl FromIterator<VirtualShard> for ShardSet {
    fn from_iter<I: IntoIterator<Item = VirtualShard>>(shards: I) -> ShardSet {
        let mut set = ShardSet::none();
        shards.into_iter().for_each(|shard| set.insert(shard));
        set
    }
}

impl fmt::Display for ShardSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shards = self.iter().map(VirtualShard::number).peekable();
        let mut separator = "";
        while let Some(first) = shards.next() {
            let mut last = first;
            while let Some(next) = shards.next_if_eq(&(last + 1)) {
                last = next;
            }
            write!(formatter, "{separator}{first}")?;
            if last > first {
                write!(formatter, "-{last}")?;
            }
            separator = ",";
        }
        Ok(())
    }
}

impl fmt::Debug for ShardSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ShardSet({self})")
    }
}

impl FromStr for ShardSet {
    type Err = Error;

    /// Reads numbers and ranges, separated by commas; `all`; nothing for no shard.
    fn from_str(text: &str) -> Result<ShardSet> {
        if text.trim() == "all" {
            return Ok(ShardSet::all());
        }
        let wrong = |part: &str| {
            let error = Error::new(ErrorKind::InvalidArgument, "virtual shards");
            error.expected("numbers below 4096 and ranges of them, as in 0-1364,4000", part)
        };
        let number = |text: &str| text.trim().parse().ok().and_then(VirtualShard::new);
        let mut set = ShardSet::none();
        for part in text.split(',').filter(|part| !part.trim().is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            match number(first).zip(number(last)) {
                Some((first, last)) if first <= last => {
                    (first.0..=last.0).for_each(|number| set.insert(VirtualShard(number)));
                }
                _ => return Err(wrong(part)),
            }
        }
        Ok(set)
    }
}

/// What the lists of a virtual shard hold: for each direction the sum of a published hash of every
/// follow. It does not depend on the order in which they came.
///
/// Over all shards the sums of the two directions are equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ShardDigest {
    /// Over the lists of whom each account of the shard follows.
    pub following: u64,
    /// Over the lists of who follows each.
    pub followers: u64,
}

/// The digests of all virtual shards.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Digests(Box<[ShardDigest]>);

/// The hash of one follow in a digest. Ids, because every node gives the same ones.
#[inline]
fn follow_hash(from: u32, to: u32) -> u64 {
    content_follow_hash(u64::from(from), u64::from(to))
}

impl Digests {
    pub(crate) fn new() -> Digests {
        Digests(vec![ShardDigest::default(); usize::from(SHARD_COUNT)].into())
    }

    pub(crate) fn get(&self, shard: VirtualShard) -> ShardDigest {
        self.0[shard.place()]
    }

    pub(crate) fn set(&mut self, shard: VirtualShard, digest: ShardDigest) {
        self.0[shard.place()] = digest;
    }

    /// Adds a follow at its follower's end (`by` 1), or takes it away (-1).
    #[inline]
    pub(crate) fn change_following(&mut self, shard: VirtualShard, from: u32, to: u32, by: i64) {
        let sum = &mut self.0[shard.place()].following;
        *sum = sum.wrapping_add(follow_hash(from, to).wrapping_mul(by.cast_unsigned()));
    }

    /// The same at the end of the followed.
    #[inline]
    pub(crate) fn change_followers(&mut self, shard: VirtualShard, from: u32, to: u32, by: i64) {
        let sum = &mut self.0[shard.place()].followers;
        *sum = sum.wrapping_add(follow_hash(from, to).wrapping_mul(by.cast_unsigned()));
    }
}

/// What a sharded graph keeps beside its accounts.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Shards {
    /// Whose accounts' lists are kept.
    pub(crate) hosted: ShardSet,
    pub(crate) digests: Digests,
}

impl Shards {
    /// Of a graph without a follow.
    pub(crate) fn empty(hosted: ShardSet) -> Shards {
        Shards { hosted, digests: Digests::new() }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = self.hosted.to_bytes();
        for digest in &self.digests.0 {
            bytes.extend(digest.following.to_le_bytes());
            bytes.extend(digest.followers.to_le_bytes());
        }
        bytes
    }

    /// What these bytes say; `None` where there are too many or too few.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Shards> {
        if bytes.len() != SHARDS_SECTION_BYTES {
            return None;
        }
        let (hosted, sums) = bytes.split_at(SET_BYTES);
        let digest = |bytes: &[u8]| ShardDigest {
            following: read_u64(bytes, 0),
            followers: read_u64(bytes, 8),
        };
        let digests = Digests(sums.chunks_exact(16).map(digest).collect());
        Some(Shards { hosted: ShardSet::from_bytes(hosted)?, digests })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_reads_what_it_writes() {
        for text in ["", "0", "4095", "0-4095", "1,3-5,4000-4095"] {
            let set: ShardSet = text.parse().unwrap();
            assert_eq!(set.to_string(), text);
            assert_eq!(ShardSet::from_bytes(&set.to_bytes()), Some(set));
        }
        for text in ["4096", "a", "3-1", "1-", "-1", "1;2"] {
            assert!(text.parse::<ShardSet>().is_err(), "{text}");
        }
        assert_eq!("all".parse::<ShardSet>().unwrap(), ShardSet::all());
    }

    #[test]
    fn names_spread_over_all_shards() {
        let mut counts = vec![0_u32; usize::from(SHARD_COUNT)];
        for number in 0..409_600 {
            counts[VirtualShard::of(&format!("user-{number}")).place()] += 1;
        }
        assert!(counts.iter().all(|&count| (40..180).contains(&count)), "about 100 in each");
    }

    #[test]
    fn a_digest_forgets_what_went() {
        let (mut digests, shard) = (Digests::new(), VirtualShard(7));
        digests.change_following(shard, 1, 2, 1);
        digests.change_following(shard, 2, 1, 1);
        assert_ne!(digests.get(shard).following, 0);
        digests.change_following(shard, 1, 2, -1);
        digests.change_following(shard, 2, 1, -1);
        assert_eq!(digests.get(shard), ShardDigest::default());
        let shards = Shards { hosted: ShardSet::range(3..=9), digests };
        assert!(Shards::decode(&shards.encode()) == Some(shards));
    }
}
