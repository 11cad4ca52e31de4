//! A log, read from its beginning and replayed over the model: what was decided, and what every
//! node has to hold.

use super::Cluster;
use super::load::{Answer, accounts};
use followgraph::cluster::testing::{Change, LogEntry, decode};
use followgraph::cluster::{Log, Nats, Node, Position, Tail};
use followgraph::testing::{Model, Refusal};
use followgraph::{Counts, ErrorKind, List, Outcome, Page, VirtualShard};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;
use tokio::time::timeout;

type Verdict = Result<bool, Refusal>;

/// What the log says.
#[derive(Default)]
pub(super) struct Replay {
    pub(super) model: Model,
    /// By entry: the changes, and what became of each.
    decided: BTreeMap<u64, Vec<(Change, Verdict)>>,
    /// Batches that were decided.
    seen: HashSet<(u64, u64)>,
    /// The first batch of a gateway that is not settled.
    floors: HashMap<u64, u64>,
    /// Batches that the log has once more.
    pub(super) again_count: usize,
}

fn kind_of(refusal: Refusal) -> ErrorKind {
    match refusal {
        Refusal::UnknownAccount => ErrorKind::UnknownAccount,
        Refusal::SelfFollow => ErrorKind::SelfFollow,
        other => panic!("nothing here is refused with {other:?}"),
    }
}

impl Replay {
    /// Reads a log that was never purged, up to a position.
    pub(super) async fn of(nats: &Nats, until: Position) -> Replay {
        let mut replay = Replay::default();
        let mut tail = nats.tail(1).await.unwrap();
        for sequence in 1..=until.sequence {
            let entry = timeout(Duration::from_secs(10), tail.next()).await;
            let entry = entry.expect("an entry comes").unwrap();
            assert_eq!(entry.sequence, sequence);
            let said = decode(&entry.bytes).unwrap();
            let LogEntry::Changes { gateway, counter, floor, changes } = said else { continue };
            let settled = replay.floors.entry(gateway).or_default();
            *settled = floor.max(*settled);
            if counter < *settled || !replay.seen.insert((gateway, counter)) {
                replay.again_count += 1;
                continue;
            }
            let at = (entry.time_millis / 1000) as u32;
            let verdict = |change: Change| {
                let verdict = replay.model_decides(&change, at);
                (change, verdict)
            };
            let decided = changes.into_iter().map(verdict).collect();
            replay.decided.insert(sequence, decided);
        }
        replay
    }

    fn model_decides(&mut self, change: &Change, at: u32) -> Verdict {
        match change {
            Change::Follow { follower, followed, create } => {
                if *create && follower != followed {
                    self.model.add_account(follower)?;
                    self.model.add_account(followed)?;
                }
                self.model.follow(follower, followed, at)
            }
            Change::Unfollow { follower, followed } => self.model.unfollow(follower, followed),
            Change::Other(other) => panic!("nobody here asks for {other}"),
        }
    }

    /// Each confirmed change is in the log once, where its caller was told, with what it was told.
    /// What else is in the log was refused, or its caller knows that it does not know.
    pub(super) fn check_answers(&mut self, answers: &[Answer]) {
        let mut others = Vec::new();
        for Answer { change, told } in answers {
            let Ok(told) = told else {
                others.push((change, told.as_ref().unwrap_err().kind()));
                continue;
            };
            let sequence = told.position.sequence;
            let outcome = told.outcome.map(|outcome| outcome == Outcome::Applied);
            let fits = |(other, verdict): &(Change, Verdict)| {
                other == change && verdict.is_ok_and(|did| outcome.is_none_or(|told| told == did))
            };
            let decided = self.decided.get_mut(&sequence);
            let decided = decided.unwrap_or_else(|| panic!("nothing at {sequence} for {change:?}"));
            let place = decided.iter().position(fits).unwrap_or_else(|| {
                panic!("{change:?} at {sequence} was told {outcome:?}: {decided:?}")
            });
            let _ = decided.swap_remove(place);
        }
        for (change, verdict) in self.decided.values().flatten() {
            let told = verdict.err().map_or(ErrorKind::OutcomeUnknown, kind_of);
            let fits = |(other, kind): &(&Change, ErrorKind)| {
                *other == change && (*kind == told || *kind == ErrorKind::OutcomeUnknown)
            };
            let place = others.iter().position(fits);
            let place = place.unwrap_or_else(|| panic!("nobody asked for {change:?}: {verdict:?}"));
            others.swap_remove(place);
        }
        let refused = others.iter().filter(|(_, kind)| *kind != ErrorKind::OutcomeUnknown);
        assert_eq!(refused.count(), 0, "refused, and not in the log: {others:?}");
    }

    /// What the nodes hold is what the model holds.
    pub(super) async fn check_nodes(&self, cluster: &Cluster, at_least: Position) {
        let names = accounts();
        let all: Vec<&str> = names.iter().map(String::as_str).collect();
        for node in &cluster.nodes {
            for (name, counts) in all.iter().zip(node.batch_counts(&all, Some(at_least)).await) {
                assert_eq!(counts.map_err(|error| error.kind()), self.counts(name), "{name}");
            }
            let hosted = node.answers_for();
            for name in all.iter().filter(|name| hosted.contains(VirtualShard::of(name))) {
                self.check_lists(node, name, at_least).await;
            }
        }
    }

    fn counts(&self, name: &str) -> Result<Counts, ErrorKind> {
        let counts = self.model.counts(name).map_err(kind_of)?;
        let [followers, following, mutual] = [counts.0, counts.1, counts.2].map(|n| n as u32);
        Ok(Counts { followers, following, mutual })
    }

    async fn check_lists(&self, node: &Node<Nats>, name: &str, at_least: Position) {
        let page = Page::first(1000);
        let listed = |list: followgraph::Result<List>| {
            let list = list.map_err(|error| error.kind())?;
            assert!(list.next.is_none(), "a page has all of {name}");
            let entries = list.entries.into_iter();
            Ok(entries.map(|entry| (entry.account, entry.followed_at)).collect::<Vec<_>>())
        };
        let model = &self.model;
        let followers = listed(node.followers(name, page, Some(at_least)).await);
        assert_eq!(followers, model.followers(name).map_err(kind_of), "followers of {name}");
        let following = listed(node.following(name, page, Some(at_least)).await);
        assert_eq!(following, model.following(name).map_err(kind_of), "following of {name}");
        let mutuals = listed(node.mutuals(name, page, Some(at_least)).await);
        assert_eq!(mutuals, model.mutuals(name).map_err(kind_of), "mutuals of {name}");
    }
}
