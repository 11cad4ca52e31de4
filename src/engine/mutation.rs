//! What a change means: names to ids, rules and limits to records.

use super::options::{Limits, Options};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{RECORD_BYTES_MAX, Record, RecordList, check_name};
use crate::graph::{Fit, Graph};
use crate::types::{AccountId, Counts, Outcome};

/// One change of a batch.
///
/// ```
/// use followgraph::{FollowGraph, Mutation, Outcome};
/// let graph = FollowGraph::in_memory();
/// let results = graph.apply(&[
///     Mutation::add_account("alice"),
///     Mutation::add_account("bob"),
///     Mutation::follow("alice", "bob").at(1_702_262_118),
///     Mutation::follow("alice", "nobody"),
/// ])?;
/// assert!(matches!(results[2], Ok(Outcome::Applied)));
/// assert!(results[3].is_err());
/// assert_eq!(graph.counts("bob")?.followers, 1);
/// # Ok::<(), followgraph::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Mutation<'a> {
    change: Change<'a>,
    at: Option<u32>,
}

/// An account, by either of its handles.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Who<'a> {
    Name(&'a str),
    Id(AccountId),
}

#[derive(Clone, Copy, Debug)]
enum Change<'a> {
    Follow(Who<'a>, Who<'a>),
    Unfollow(Who<'a>, Who<'a>),
    AddAccount { name: &'a str, foreign: bool },
    RemoveAccount(Who<'a>),
}

impl<'a> Mutation<'a> {
    fn new(change: Change<'a>) -> Mutation<'a> {
        Mutation { change, at: None }
    }

    /// `follower` follows `followed`.
    pub fn follow(follower: &'a str, followed: &'a str) -> Mutation<'a> {
        Mutation::new(Change::Follow(Who::Name(follower), Who::Name(followed)))
    }

    /// `follower` no longer follows `followed`.
    pub fn unfollow(follower: &'a str, followed: &'a str) -> Mutation<'a> {
        Mutation::new(Change::Unfollow(Who::Name(follower), Who::Name(followed)))
    }

    /// `follower` follows `followed`.
    pub fn follow_by_id(follower: AccountId, followed: AccountId) -> Mutation<'a> {
        Mutation::new(Change::Follow(Who::Id(follower), Who::Id(followed)))
    }

    /// `follower` no longer follows `followed`.
    pub fn unfollow_by_id(follower: AccountId, followed: AccountId) -> Mutation<'a> {
        Mutation::new(Change::Unfollow(Who::Id(follower), Who::Id(followed)))
    }

    /// An account begins to exist. Unchanged when it does already.
    pub fn add_account(name: &'a str) -> Mutation<'a> {
        Mutation::new(Change::AddAccount { name, foreign: false })
    }

    /// An account whose sets are on another node begins to exist here.
    pub fn add_foreign_account(name: &'a str) -> Mutation<'a> {
        Mutation::new(Change::AddAccount { name, foreign: true })
    }

    /// An account goes, with all its follows.
    pub fn remove_account(name: &'a str) -> Mutation<'a> {
        Mutation::new(Change::RemoveAccount(Who::Name(name)))
    }

    /// An account goes, with all its follows.
    pub fn remove_account_by_id(id: AccountId) -> Mutation<'a> {
        Mutation::new(Change::RemoveAccount(Who::Id(id)))
    }

    /// Says when a follow happened, in Unix seconds, for imports and backfills. 0: not known.
    /// Without it the clock says. The other changes have no time.
    #[must_use]
    pub fn at(mut self, time: u32) -> Mutation<'a> {
        self.at = Some(time);
        self
    }

    /// At most so many bytes does the change take in the log: a follow may add both accounts.
    pub(super) fn encoded_bytes_max(&self) -> u64 {
        let name_bytes = |who: Who<'_>| match who {
            Who::Name(name) => name.len(),
            Who::Id(_) => 0,
        };
        let (record_count, name_bytes) = match self.change {
            Change::Follow(follower, followed) => (3, name_bytes(follower) + name_bytes(followed)),
            Change::Unfollow(..) | Change::RemoveAccount(_) => (1, 0),
            Change::AddAccount { name, .. } => (1, name.len()),
        };
        (record_count * RECORD_BYTES_MAX + name_bytes) as u64
    }
}

/// Applies changes to the state and notes the records that say so, one commit long.
pub(super) struct Editor<'a> {
    pub(super) graph: &'a mut Graph,
    pub(super) records: &'a mut RecordList,
    pub(super) options: &'a Options,
    pub(super) now: u32,
}

impl Editor<'_> {
    /// Carries a change out, or says why not and changes nothing.
    pub(super) fn execute(&mut self, mutation: &Mutation<'_>) -> Result<Outcome> {
        match mutation.change {
            Change::Follow(follower, followed) => self.follow(follower, followed, mutation.at),
            Change::Unfollow(follower, followed) => {
                let (from, to) = self.resolve_both(follower, followed)?;
                let fit = self.graph.fit(from, to, 0)?;
                if !fit.relation.following {
                    return Ok(Outcome::Unchanged);
                }
                Ok(self.record(&Record::Unfollowed { from, to }, fit))
            }
            Change::AddAccount { name, foreign } => match self.graph.accounts().lookup(name) {
                Some(_) => Ok(Outcome::Unchanged),
                None => self.add_account(name, foreign),
            },
            Change::RemoveAccount(who) => {
                let record = Record::AccountRemoved { id: self.resolve(who)? };
                let fit = self.graph.check(&record)?;
                Ok(self.record(&record, fit))
            }
        }
    }

    fn follow(&mut self, follower: Who<'_>, followed: Who<'_>, at: Option<u32>) -> Result<Outcome> {
        let (from, to) = if self.options.create_missing_accounts {
            self.resolve_or_add(follower, followed)?
        } else {
            self.resolve_both(follower, followed)?
        };
        let (at, given) = at.map_or((self.now, false), |at| (at, true));
        let fit = self.graph.fit(from, to, at).map_err(|error| self.named(error, follower))?;
        if fit.relation.following {
            return Ok(Outcome::Unchanged);
        }
        self.check_limits(Some(from), Some(to), fit.relation.followed_by)?;
        Ok(self.record(&Record::Followed { from, to, at, given }, fit))
    }

    /// Both ends of a follow; those that do not exist are made, unless the follow cannot be.
    fn resolve_or_add(&mut self, follower: Who<'_>, followed: Who<'_>) -> Result<(u32, u32)> {
        let (from, to) = (self.find(follower)?, self.find(followed)?);
        if let (Some(from), Some(to)) = (from, to) {
            return Ok((from, to));
        }
        if let (Who::Name(follower), Who::Name(followed)) = (follower, followed)
            && follower == followed
        {
            return Err(Error::bare(ErrorKind::SelfFollow).about(follower));
        }
        self.check_limits(from, to, false)?;
        for (who, found) in [(follower, from), (followed, to)] {
            if let (Who::Name(name), None) = (who, found) {
                self.add_account(name, false)?;
            }
        }
        Ok((self.resolve(follower)?, self.resolve(followed)?))
    }

    /// Limits hold at the ends whose counts are known here; an account still to be made has none.
    fn check_limits(&self, from: Option<u32>, to: Option<u32>, followed_back: bool) -> Result<()> {
        let Limits { following, followers, mutual } = self.options.limits;
        let counts = |id: Option<u32>| id.map_or(Ok(Counts::default()), |id| self.graph.counts(id));
        if let Ok(counts) = counts(from) {
            if counts.following >= following {
                return Err(Error::bare(ErrorKind::FollowingLimit));
            }
            if followed_back && counts.mutual >= mutual {
                return Err(Error::bare(ErrorKind::FollowerMutualLimit));
            }
        }
        if let Ok(counts) = counts(to) {
            if counts.followers >= followers {
                return Err(Error::bare(ErrorKind::FollowersLimit));
            }
            if followed_back && counts.mutual >= mutual {
                return Err(Error::bare(ErrorKind::FollowedMutualLimit));
            }
        }
        Ok(())
    }

    fn named(&self, error: Error, who: Who<'_>) -> Error {
        match who {
            Who::Name(name) => error.about(name),
            Who::Id(id) => error.about(self.graph.name(id.0).unwrap_or("?")),
        }
    }

    /// The id of an account, `None` for a good name that no account has.
    fn find(&self, who: Who<'_>) -> Result<Option<u32>> {
        match who {
            Who::Name(name) => {
                check_name(name).map_err(|error| error.about(name))?;
                Ok(self.graph.accounts().lookup(name))
            }
            Who::Id(_) => self.resolve(who).map(Some),
        }
    }

    fn resolve_both(&self, follower: Who<'_>, followed: Who<'_>) -> Result<(u32, u32)> {
        match (follower, followed) {
            (Who::Name(follower), Who::Name(followed)) => {
                self.graph.resolve_pair([follower, followed])
            }
            _ => Ok((self.resolve(follower)?, self.resolve(followed)?)),
        }
    }

    fn resolve(&self, who: Who<'_>) -> Result<u32> {
        match who {
            Who::Name(name) => self.graph.resolve(name),
            Who::Id(id) => self.graph.check_exists(id.0).map(|()| id.0),
        }
    }

    fn add_account(&mut self, name: &str, foreign: bool) -> Result<Outcome> {
        check_name(name).map_err(|error| error.about(name))?;
        let id = self.graph.accounts().len();
        if !self.graph.accounts().has_room() {
            let message = "the graph has given all 4,294,967,294 account ids";
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        Ok(self.record(&Record::AccountAdded { id, name, foreign }, Fit::default()))
    }

    /// Applies a record that fits and notes it for the log.
    fn record(&mut self, record: &Record<'_>, fit: Fit) -> Outcome {
        self.graph.apply(record, fit);
        self.records.push(record);
        Outcome::Applied
    }
}
