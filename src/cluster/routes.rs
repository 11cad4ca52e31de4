//! Questions and changes of the callers of a node, whatever that node hosts.
//!
//! A question goes to a node that hosts the account, this one first, and to the next where one does
//! not answer. A change is published by this node: it needs no other.

use super::message::Operation;
use super::node::{Backend, Node, Position, Shared};
use super::peers::{Answer, ListAnswer, Question, Request, decode, encode};
use super::placement::Placement;
use crate::error::{Error, ErrorKind, Result};
use crate::format::check_name;
use crate::list::{List, ListKind, Page};
use crate::shards::VirtualShard;
use crate::types::{Counts, Outcome, Relation};
use futures_util::future::join_all;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decided {
    /// Whether it changed anything; `None` where only nodes know that host one of its accounts, and
    /// this node is none of them. Either way things now are as was asked.
    pub outcome: Option<Outcome>,
    /// Ask with this position to see it.
    pub position: Position,
}

/// Refuses names that no account can have, before they are copied and published.
fn check_names(names: &[&str]) -> Result<()> {
    names.iter().try_for_each(|name| check_name(name).map_err(|error| error.about(name)))
}

impl<B: Backend> Node<B> {
    /// An account begins to exist.
    ///
    /// # Errors
    ///
    /// `InvalidName`, `BeingRemoved`; `Overloaded`, `DiskFull` and `Unavailable`, on a node that
    /// follows the log no more, when nothing was done; `OutcomeUnknown` when it may have been or
    /// may still be.
    pub async fn add_account(&self, name: &str) -> Result<Decided> {
        check_names(&[name])?;
        self.submit(Operation::AddAccount { name: name.to_owned().into() }).await
    }

    /// An account follows another, since now. With `create`, accounts that are missing begin to
    /// exist.
    ///
    /// # Errors
    ///
    /// `UnknownAccount`, `InvalidName`, `BeingRemoved`, `SelfFollow`, and those of
    /// [`add_account`](Node::add_account).
    pub async fn follow(&self, follower: &str, followed: &str, create: bool) -> Result<Decided> {
        check_names(&[follower, followed])?;
        let (follower, followed) = (follower.to_owned().into(), followed.to_owned().into());
        self.submit(Operation::Follow { follower, followed, at: None, create }).await
    }

    /// An account no longer follows another.
    ///
    /// # Errors
    ///
    /// `UnknownAccount`, `InvalidName`, and those of [`add_account`](Node::add_account).
    pub async fn unfollow(&self, follower: &str, followed: &str) -> Result<Decided> {
        check_names(&[follower, followed])?;
        let (follower, followed) = (follower.to_owned().into(), followed.to_owned().into());
        self.submit(Operation::Unfollow { follower, followed }).await
    }

    /// An account goes, with all its follows. This returns when that has begun: from then on it
    /// takes no follow. The nodes that host it finish it;
    /// [`wait_until_gone`](Node::wait_until_gone) waits for that.
    ///
    /// # Errors
    ///
    /// `UnknownAccount`, `InvalidName`, and those of [`add_account`](Node::add_account).
    pub async fn remove_account(&self, name: &str) -> Result<Decided> {
        check_names(&[name])?;
        self.submit(Operation::BeginRemoval { name: name.to_owned().into() }).await
    }

    async fn submit(&self, operation: Operation<'static>) -> Result<Decided> {
        // A node that follows the log no more would never learn what became of it.
        if let Some(why) = self.failure() {
            let message =
                format!("node {} follows the log no more: {why}", self.shared.options.name);
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        let (outcome, sequence) = self.shared.gateway.submit(operation).await?;
        Ok(Decided { outcome, position: self.shared.at(sequence) })
    }

    /// Waits until no account has this name, or the time of the options is over.
    ///
    /// # Errors
    ///
    /// `BeingRemoved` when it has not gone by then.
    pub async fn wait_until_gone(&self, name: &str) -> Result<()> {
        let mut applied = self.shared.applied.subscribe();
        let is_gone = async {
            while self.shared.has_account(name)? {
                let closed = |_| Error::bare(ErrorKind::Closed);
                applied.changed().await.map_err(closed)?;
            }
            Ok(())
        };
        let waited = tokio::time::timeout(self.shared.options.wait, is_gone).await;
        waited.unwrap_or_else(|_| Err(Error::bare(ErrorKind::BeingRemoved).about(name)))
    }

    /// Whether an account exists, as far as this node has come. Every node knows all accounts.
    ///
    /// # Errors
    ///
    /// `InvalidName`, `NotHosted` on a node that has no graph yet.
    pub fn has_account(&self, name: &str) -> Result<bool> {
        self.shared.has_account(name)
    }

    /// The counts of accounts, wherever they are hosted: one result an account, in order. What is
    /// wrong with one, or with the nodes that host it, is no other's error.
    ///
    /// With a position, every answer shows all up to there. Without one it shows some recent moment
    /// of the node that answers, and the moments of two accounts may differ.
    ///
    /// # Errors
    ///
    /// Of each account: `UnknownAccount`, `InvalidName`; `Unavailable`, `NotHosted` or `Behind`
    /// where no node could answer.
    pub async fn batch_counts(
        &self,
        names: &[&str],
        at_least: Option<Position>,
    ) -> Vec<Result<Counts>> {
        let at_least = match self.shared.sequence_of(at_least) {
            Ok(at_least) => at_least,
            Err(error) => return names.iter().map(|_| Err(error.clone())).collect(),
        };
        let mut results: Vec<Result<Counts>> =
            names.iter().map(|_| Err(Error::bare(ErrorKind::NotHosted))).collect();
        self.shared.ask_counts(names, at_least, &mut results).await;
        if results.iter().any(is_placed_elsewhere) && self.shared.look_at_placement().await {
            self.shared.ask_counts(names, at_least, &mut results).await;
        }
        results
    }

    /// How an account stands to others: one result for each.
    ///
    /// # Errors
    ///
    /// Of the whole: those of the first account in [`batch_counts`](Node::batch_counts). Of each
    /// of the others: `UnknownAccount`, `InvalidName`.
    pub async fn batch_relations(
        &self,
        name: &str,
        others: &[&str],
        at_least: Option<Position>,
    ) -> Result<Vec<Result<Relation>>> {
        let others: Vec<String> = others.iter().map(|other| (*other).to_owned()).collect();
        let question = || Question::Relations { name: name.to_owned(), others: others.clone() };
        let told: Vec<Answer<Relation>> = self.ask_any(name, question, at_least).await?;
        Ok(told.into_iter().map(|relation| relation.map_err(Error::from)).collect())
    }

    /// A page of those who follow an account, newest first. Cursors are good on every node.
    ///
    /// # Errors
    ///
    /// Those of one account in [`batch_counts`](Node::batch_counts), `InvalidCursor`.
    pub async fn followers(
        &self,
        name: &str,
        page: Page,
        at_least: Option<Position>,
    ) -> Result<List> {
        self.list(name, ListKind::Followers, page, at_least).await
    }

    /// A page of those whom an account follows.
    ///
    /// # Errors
    ///
    /// As [`followers`](Node::followers).
    pub async fn following(
        &self,
        name: &str,
        page: Page,
        at_least: Option<Position>,
    ) -> Result<List> {
        self.list(name, ListKind::Following, page, at_least).await
    }

    /// A page of those whom an account follows and who follow it.
    ///
    /// # Errors
    ///
    /// As [`followers`](Node::followers).
    pub async fn mutuals(
        &self,
        name: &str,
        page: Page,
        at_least: Option<Position>,
    ) -> Result<List> {
        self.list(name, ListKind::Mutual, page, at_least).await
    }

    async fn list(
        &self,
        name: &str,
        kind: ListKind,
        page: Page,
        at_least: Option<Position>,
    ) -> Result<List> {
        let question = || Question::List {
            name: name.to_owned(),
            kind: kind as u8,
            cursor: page.cursor.map(|cursor| cursor.to_string()),
            limit: u32::try_from(page.limit).unwrap_or(u32::MAX),
        };
        let told: ListAnswer = self.ask_any(name, question, at_least).await?;
        told.into_list()
    }

    /// Asks the hosts of an account, one after the other until one answers.
    async fn ask_any<T: DeserializeOwned>(
        &self,
        name: &str,
        question: impl Fn() -> Question,
        at_least: Option<Position>,
    ) -> Result<T> {
        let at_least = self.shared.sequence_of(at_least)?;
        let asked = self.shared.ask_hosts(name, &question, at_least).await;
        if is_placed_elsewhere(&asked) && self.shared.look_at_placement().await {
            return self.shared.ask_hosts(name, &question, at_least).await;
        }
        asked
    }
}

/// Whether the nodes that were asked said that they are the wrong ones.
fn is_placed_elsewhere<T>(result: &Result<T>) -> bool {
    result.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotHosted)
}

/// Whether no other node could say more.
fn is_final<T>(result: &Result<T>) -> bool {
    let again =
        [ErrorKind::Unavailable, ErrorKind::NotHosted, ErrorKind::Behind, ErrorKind::Closed];
    result.as_ref().err().is_none_or(|error| !again.contains(&error.kind()))
}

impl<B: Backend> Shared<B> {
    /// Whom to ask about an account at the first attempt, at the second, and so on.
    fn host(&self, name: &str, attempt: usize) -> Option<String> {
        let placement = self.placement.read();
        let mut hosts = placement.hosts_of(VirtualShard::of(name));
        // A call to the own memory is a thousand times faster than one to another node.
        hosts.sort_by_key(|host| *host != self.options.name);
        hosts.get(attempt).map(|host| (*host).to_owned())
    }

    /// Reads the placement again. Shards may have moved since it was last read, some second ago.
    async fn look_at_placement(&self) -> bool {
        let Ok((placement, _)) = Placement::load(self.backend.as_ref()).await else {
            return false;
        };
        *self.placement.write() = placement;
        true
    }

    /// Asks the hosts of every account whose result another node could still better, each of them
    /// once for all its accounts.
    async fn ask_counts(&self, names: &[&str], at_least: u64, results: &mut [Result<Counts>]) {
        for attempt in 0.. {
            let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
            for (place, name) in names.iter().enumerate() {
                if !is_final(&results[place])
                    && let Some(host) = self.host(name, attempt)
                {
                    groups.entry(host).or_default().push(place);
                }
            }
            if groups.is_empty() {
                return;
            }
            let asked = groups.into_iter().map(|(host, places)| async move {
                let names: Vec<&str> = places.iter().map(|&place| names[place]).collect();
                (places, self.counts_at(&host, &names, at_least).await)
            });
            for (places, answer) in join_all(asked).await {
                match answer {
                    Ok(counts) => {
                        for (place, counts) in places.into_iter().zip(counts) {
                            results[place] = counts;
                        }
                    }
                    Err(error) => {
                        for place in places {
                            results[place] = Err(error.clone());
                        }
                    }
                }
            }
        }
    }

    /// The counts that a node has; this one is asked without a message.
    async fn counts_at(
        &self,
        host: &str,
        names: &[&str],
        at_least: u64,
    ) -> Result<Vec<Result<Counts>>> {
        if host == self.options.name {
            self.wait_for(at_least).await?;
            return Ok(self.counts(names));
        }
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let told: Vec<Answer<Counts>> =
            self.ask(host, Question::Counts { names }, at_least).await?;
        Ok(told.into_iter().map(|counts| counts.map_err(Error::from)).collect())
    }

    /// Asks the hosts of an account, one after the other until one answers.
    async fn ask_hosts<T: DeserializeOwned>(
        &self,
        name: &str,
        question: &impl Fn() -> Question,
        at_least: u64,
    ) -> Result<T> {
        let mut last = Err(Error::bare(ErrorKind::NotHosted));
        for attempt in 0.. {
            let Some(host) = self.host(name, attempt) else { break };
            last = self.ask(&host, question(), at_least).await;
            if is_final(&last) {
                break;
            }
        }
        last
    }

    /// Asks a node, this one or another.
    async fn ask<T: DeserializeOwned>(
        &self,
        host: &str,
        question: Question,
        at_least: u64,
    ) -> Result<T> {
        let request = encode(&Request { at_least, question });
        let answer = if host == self.options.name {
            self.answer(&request).await
        } else {
            self.backend.ask(host, request).await?
        };
        let told: Answer<T> = decode(&answer)?;
        told.map_err(Error::from)
    }
}
