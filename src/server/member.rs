//! The node of a cluster that keeps an app, where that is not a graph of this process alone.
//!
//! The commands are carried out on threads that may wait. How many may is bounded, and so is the
//! time: a log that is away for some seconds holds up nothing but changes.

use super::config::{AppConfig, ClusterMember, ConfigError};
use crate::cluster::{Decided, Nats, NatsOptions, Node, NodeOptions, Position};
use crate::wire::Graph;
use crate::{Counts, Error, ErrorKind, List, Outcome, Page, Relation, Result};
use futures_util::future::join_all;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Commands that wait at a time: half for reads, half for changes, so that neither shuts the other
/// out. There are 512 threads for what may wait.
const WAITING_MAX: usize = 224;

/// How many follows one may have, as is asked before a follow is published. Follows that are under
/// way at the same time can exceed it by their number.
#[derive(Clone, Copy)]
struct Limits {
    following: u32,
    followers: u32,
    mutual: u32,
}

/// A node that commands are carried out on.
pub(super) struct Member {
    node: Node<Nats>,
    runtime: Handle,
    request_time: Duration,
    limits: Limits,
    creates_missing: bool,
    /// What was written here is shown here.
    written: AtomicU64,
    reading: Semaphore,
    writing: Semaphore,
}

impl Member {
    /// Connects to the log and follows it. The directory of the app's graph is that of the node.
    pub(super) async fn start(
        member: &ClusterMember,
        app: &AppConfig,
        request_time: Duration,
    ) -> std::result::Result<Arc<Member>, ConfigError> {
        let failed = |what: &str, error: &Error| {
            ConfigError::new(format!("node {:?}: cannot {what}: {error}", member.node))
        };
        let options = NatsOptions::from_file(&member.file);
        let options = options.map_err(|error| ConfigError::new(error.to_string()))?;
        let nats = Nats::connect(options).await;
        let nats = nats.map_err(|error| failed("connect to the log", &error))?;
        let mut options = NodeOptions::new(&member.node, app.graph.get_ref());
        options.wait = request_time.mul_f64(0.75);
        options.segment_bytes = app.segment_bytes.unwrap_or(options.segment_bytes);
        let node = Node::start(Arc::new(nats), options).await;
        let node = node.map_err(|error| failed("follow the log", &error))?;
        let limits = Limits {
            following: app.max_following,
            followers: app.max_followers.unwrap_or(u32::MAX),
            mutual: app.max_mutual.unwrap_or(u32::MAX),
        };
        Ok(Arc::new(Member {
            node,
            runtime: Handle::current(),
            request_time,
            limits,
            creates_missing: app.create_missing_accounts,
            written: AtomicU64::new(0),
            reading: Semaphore::new(WAITING_MAX),
            writing: Semaphore::new(WAITING_MAX),
        }))
    }

    /// Why commands are not, or not all, carried out.
    pub(super) fn complaints(&self) -> Vec<String> {
        let figures = self.node.figures();
        let failure =
            figures.failure.map(|failure| format!("the node follows the log no more: {failure}"));
        let stopped = (!figures.stopped.is_empty()).then(|| {
            format!(
                "the node does not answer for these shards, which differed: {}",
                figures.stopped
            )
        });
        failure.into_iter().chain(stopped).collect()
    }

    /// What there is just now, by name.
    pub(super) fn gauges(&self) -> [(&'static str, u64); 4] {
        let figures = self.node.figures();
        [
            ("position", figures.position.sequence),
            ("lag_entries", figures.lag_entries),
            ("shards", figures.shard_count),
            ("stopped_shards", figures.stopped.len() as u64),
        ]
    }

    /// What happened since the start, by name.
    pub(super) fn counters(&self) -> [(&'static str, u64); 10] {
        let figures = self.node.figures();
        [
            ("entries", figures.entry_count),
            ("tail_errors", figures.tail_error_count),
            ("digest_differences", figures.digest_difference_count),
            ("rebuilds", figures.rebuild_count),
            ("batches", figures.batch_count),
            ("operations", figures.operation_count),
            ("retries", figures.retry_count),
            ("given_up", figures.given_up_count),
            ("stalls", figures.stall_count),
            ("deciding_microseconds", figures.deciding_micros),
        ]
    }

    /// Stops the node, once no request is under way any more.
    pub(super) async fn stop(self: Arc<Self>) {
        if let Some(member) = Arc::into_inner(self) {
            member.node.stop().await;
        } else {
            tracing::warn!("a request is still under way; the node just ends");
        }
    }

    /// What reads have to show.
    fn at_least(&self) -> Option<Position> {
        let sequence = self.written.load(Ordering::Relaxed);
        (sequence > 0).then(|| Position { sequence, ..self.node.position() })
    }

    /// Carries a read out on this thread, which may wait.
    fn read<T>(&self, read: impl Future<Output = T>) -> Result<T> {
        let _place = self.reading.try_acquire().map_err(|_| overloaded())?;
        let read = self.runtime.block_on(timeout(self.request_time, read));
        read.map_err(|_| Error::new(ErrorKind::Behind, "the nodes did not answer in time"))
    }

    /// Carries changes out, in order where they concern one pair of accounts. Each is told of when
    /// the log has decided it.
    fn change<'a, D>(
        &self,
        names: &[&'a str],
        change: impl Fn(usize, &'a str) -> D,
    ) -> Result<Vec<Result<Outcome>>>
    where
        D: Future<Output = Result<Decided>>,
    {
        let _place = self.writing.try_acquire().map_err(|_| overloaded())?;
        let changes = names.iter().enumerate().map(|(place, &name)| {
            let decided = change(place, name);
            async move {
                let late = || Error::new(ErrorKind::OutcomeUnknown, "not decided in time");
                let decided = timeout(self.request_time, decided).await;
                let decided = decided.unwrap_or_else(|_| Err(late()))?;
                self.written.fetch_max(decided.position.sequence, Ordering::Relaxed);
                // Where no list of theirs is kept here, things are as was asked all the same.
                Ok(decided.outcome.unwrap_or(Outcome::Applied))
            }
        });
        Ok(self.runtime.block_on(join_all(changes)))
    }

    /// Which follows would exceed a limit. What else is wrong with them is decided by the log.
    fn beyond_limits(&self, follower: &str, followed: &[&str]) -> Result<Vec<Option<Error>>> {
        let at_least = self.at_least();
        let names: Vec<&str> = [follower].into_iter().chain(followed.iter().copied()).collect();
        let (counts, relations) = self.read(async {
            let relations = self.node.batch_relations(follower, followed, at_least).await;
            (self.node.batch_counts(&names, at_least).await, relations)
        })?;
        // Whoever does not exist yet has no follows.
        let known = |result: &Result<Counts>| match result {
            Err(error) if !is_unknown(error) => Err(error.clone()),
            result => Ok(result.as_ref().copied().unwrap_or_default()),
        };
        let relations = match relations {
            Err(error) if !is_unknown(&error) => return Err(error),
            relations => relations.unwrap_or_default(),
        };
        let mut own = known(&counts[0])?;
        let judge = |(place, counts): (usize, &Result<Counts>)| {
            let relation = match relations.get(place) {
                Some(Ok(relation)) => *relation,
                _ => Relation::default(),
            };
            let theirs = match known(counts) {
                Ok(_) if relation.following => return None,
                Ok(theirs) => theirs,
                Err(error) => return Some(error),
            };
            let beyond = self.limits.beyond(own, theirs, relation.followed_by);
            if beyond.is_none() {
                own.following = own.following.saturating_add(1);
                own.mutual = own.mutual.saturating_add(u32::from(relation.followed_by));
            }
            beyond.map(Error::bare)
        };
        Ok(counts[1..].iter().enumerate().map(judge).collect())
    }
}

impl Limits {
    /// The limit that a follow would exceed, in the order of the engine.
    fn beyond(self, follower: Counts, followed: Counts, is_mutual: bool) -> Option<ErrorKind> {
        let limits = [
            (follower.following >= self.following, ErrorKind::FollowingLimit),
            (is_mutual && follower.mutual >= self.mutual, ErrorKind::FollowerMutualLimit),
            (followed.followers >= self.followers, ErrorKind::FollowersLimit),
            (is_mutual && followed.mutual >= self.mutual, ErrorKind::FollowedMutualLimit),
        ];
        limits.into_iter().find(|(is_beyond, _)| *is_beyond).map(|(_, kind)| kind)
    }
}

fn overloaded() -> Error {
    Error::new(ErrorKind::Overloaded, "too many commands wait for the cluster")
}

fn is_unknown(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::UnknownAccount | ErrorKind::InvalidName)
}

impl Graph for Member {
    /// An account that this node has not heard of may have been made a moment ago through another:
    /// that is found out.
    fn check_account(&self, name: &str) -> Result<()> {
        let unknown = || Error::bare(ErrorKind::UnknownAccount).about(name);
        if self.node.has_account(name)? {
            return Ok(());
        }
        self.read(async {
            let position = self.node.barrier().await?;
            self.node.wait_for(position).await
        })??;
        if self.node.has_account(name)? { Ok(()) } else { Err(unknown()) }
    }

    fn follow(&self, follower: &str, followed: &[&str]) -> Result<Vec<Result<Outcome>>> {
        let beyond = self.beyond_limits(follower, followed)?;
        self.change(followed, |place, followed| {
            let beyond = beyond[place].clone();
            async move {
                match beyond {
                    Some(error) => Err(error),
                    None => self.node.follow(follower, followed, self.creates_missing).await,
                }
            }
        })
    }

    fn unfollow(&self, follower: &str, followed: &[&str]) -> Result<Vec<Result<Outcome>>> {
        self.change(followed, |_, followed| self.node.unfollow(follower, followed))
    }

    fn add_accounts(&self, names: &[&str]) -> Result<Vec<Result<Outcome>>> {
        self.change(names, |_, name| self.node.add_account(name))
    }

    /// An account with many follows takes longer to go than a request: it is on its way then, and
    /// whoever asks again is told.
    fn remove_accounts(&self, names: &[&str]) -> Result<Vec<Result<Outcome>>> {
        self.change(names, |_, name| async move {
            let decided = match self.node.remove_account(name).await {
                Err(error) if error.kind() == ErrorKind::BeingRemoved => None,
                decided => Some(decided?),
            };
            self.node.wait_until_gone(name).await?;
            let position = self.node.position();
            Ok(decided.unwrap_or(Decided { outcome: Some(Outcome::Applied), position }))
        })
    }

    fn batch_counts(&self, names: &[&str]) -> Vec<Result<Counts>> {
        let counted = self.read(self.node.batch_counts(names, self.at_least()));
        counted.unwrap_or_else(|error| names.iter().map(|_| Err(error.clone())).collect())
    }

    fn batch_relations(&self, name: &str, others: &[&str]) -> Result<Vec<Result<Relation>>> {
        self.read(self.node.batch_relations(name, others, self.at_least()))?
    }

    fn followers(&self, name: &str, page: Page) -> Result<List> {
        self.read(self.node.followers(name, page, self.at_least()))?
    }

    fn following(&self, name: &str, page: Page) -> Result<List> {
        self.read(self.node.following(name, page, self.at_least()))?
    }

    fn mutuals(&self, name: &str, page: Page) -> Result<List> {
        self.read(self.node.mutuals(name, page, self.at_least()))?
    }

    fn reads_wait(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_asked_in_the_order_of_the_engine() {
        let limits = Limits { following: 2, followers: 2, mutual: 1 };
        let counts = |following, followers, mutual| Counts { followers, following, mutual };
        for (follower, followed, is_mutual, expected) in [
            (counts(1, 9, 9), counts(9, 1, 9), false, None),
            (counts(2, 0, 1), counts(0, 2, 1), true, Some(ErrorKind::FollowingLimit)),
            (counts(1, 0, 1), counts(0, 2, 1), true, Some(ErrorKind::FollowerMutualLimit)),
            (counts(1, 0, 0), counts(0, 2, 1), true, Some(ErrorKind::FollowersLimit)),
            (counts(1, 0, 0), counts(0, 1, 1), true, Some(ErrorKind::FollowedMutualLimit)),
            (counts(1, 0, 0), counts(0, 1, 0), true, None),
        ] {
            assert_eq!(limits.beyond(follower, followed, is_mutual), expected);
        }
    }
}
