//! What the nodes count, compared: a node whose lists differ from those of the others is found.
//!
//! At each digest tick every node takes the digests of its shards and says them in the log. All
//! nodes compare what was said of the same tick.

use super::message::Digests;
use crate::shards::{SHARD_COUNT, ShardDigest, ShardSet, VirtualShard};
use std::collections::BTreeMap;

/// How many ticks are remembered.
const TICKS_MAX: usize = 4;

/// What a node said of each shard, by its number: all are looked up, one after the other.
struct Said(Vec<Option<ShardDigest>>);

impl Said {
    fn of(digests: impl IntoIterator<Item = (VirtualShard, ShardDigest)>) -> Said {
        let mut said = vec![None; usize::from(SHARD_COUNT)];
        for (shard, digest) in digests {
            said[usize::from(shard.number())] = Some(digest);
        }
        Said(said)
    }

    fn get(&self, shard: VirtualShard) -> Option<ShardDigest> {
        self.0[usize::from(shard.number())]
    }
}

/// What was said of the last ticks.
#[derive(Default)]
pub(super) struct Tally {
    ticks: BTreeMap<u64, Tick>,
}

#[derive(Default)]
struct Tick {
    own: Option<Said>,
    others: BTreeMap<String, Said>,
}

/// What a comparison found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Comparison {
    /// Shards of which this node's lists differ from what most others have, or where there is no
    /// most.
    pub(super) wrong_here: ShardSet,
    /// Whether any two nodes differ.
    pub(super) differs: bool,
}

impl Comparison {
    /// Nothing differs, as far as is known.
    fn alike() -> Comparison {
        Comparison { wrong_here: ShardSet::none(), differs: false }
    }
}

impl Tally {
    /// This node's own digests at a tick.
    pub(super) fn count(&mut self, position: u64, digests: &[(VirtualShard, ShardDigest)]) {
        self.ticks.entry(position).or_default().own = Some(Said::of(digests.iter().copied()));
        while self.ticks.len() > TICKS_MAX {
            self.ticks.pop_first();
        }
    }

    /// What a node said, this one among them. `replicas` says how many nodes host a shard: a
    /// difference without a majority counts once all of them have spoken.
    pub(super) fn hear(
        &mut self,
        node: &str,
        this_node: &str,
        digests: &Digests<'_>,
        replicas: impl Fn(VirtualShard) -> usize,
    ) -> Comparison {
        let Some(tick) = self.ticks.get_mut(&digests.position) else {
            // It is of a time that this node does not remember, or has not lived through.
            return Comparison::alike();
        };
        let digests = digests.digests().unwrap_or_default();
        let shards: Vec<VirtualShard> = digests.iter().map(|(shard, _)| *shard).collect();
        if node != this_node {
            tick.others.insert(node.to_owned(), Said::of(digests));
        }
        let mut comparison = Comparison::alike();
        let Some(own) = &tick.own else { return comparison };
        for shard in shards {
            let Some(mine) = own.get(shard) else { continue };
            let said = || tick.others.values().filter_map(|said| said.get(shard));
            let count = |digest: ShardDigest| said().filter(|other| *other == digest).count();
            let others = said().filter(|other| *other != mine).map(count).max();
            let Some(others) = others else { continue };
            comparison.differs = true;
            let alike = 1 + count(mine);
            let all_have_spoken = 1 + said().count() >= replicas(shard);
            if others > alike || (others == alike && all_have_spoken) {
                comparison.wrong_here.insert(shard);
            }
        }
        comparison
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: u64 = 10;

    fn digest(following: u64) -> Vec<(VirtualShard, ShardDigest)> {
        let shard = VirtualShard::new(7).unwrap();
        vec![(shard, ShardDigest { following, followers: 0 })]
    }

    /// What this node finds when it counted `own` and hears these, one after the other.
    fn heard(own: u64, said: &[(&str, u64)]) -> Vec<Comparison> {
        let mut tally = Tally::default();
        tally.count(TICK, &digest(own));
        let hear = |(node, following): &(&str, u64)| {
            let digests = digest(*following);
            tally.hear(node, "me", &Digests::new(node, TICK, &digests), |_| 3)
        };
        said.iter().map(hear).collect()
    }

    #[test]
    fn who_differs_from_most_is_wrong() {
        let all = heard(1, &[("me", 1), ("b", 2), ("c", 2)]);
        assert_eq!(all.iter().map(|one| one.wrong_here.len()).collect::<Vec<_>>(), [0, 0, 1]);
        let all = heard(2, &[("me", 2), ("b", 1), ("c", 2)]);
        assert!(all.iter().all(|one| one.wrong_here.is_empty()));
        assert!(all[1].differs && all[2].differs && !all[0].differs);
    }

    #[test]
    fn without_a_majority_everybody_is_wrong_once_all_have_spoken() {
        let all = heard(1, &[("b", 2), ("c", 3)]);
        assert_eq!(all.iter().map(|one| one.wrong_here.len()).collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn what_is_said_of_another_tick_is_not_compared() {
        let mut tally = Tally::default();
        tally.count(TICK, &digest(1));
        let other = digest(2);
        let said = Digests::new("b", TICK + 1, &other);
        assert_eq!(tally.hear("b", "me", &said, |_| 2), Comparison::alike());
    }
}
