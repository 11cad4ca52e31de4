//! What a change means: names to ids, rules and limits to records.

use super::clock::{Timekeeper, check_given};
use super::options::{Limits, Options};
use super::removal::SLICE_MAX;
use super::state::Draft;
use crate::accounts::BATCH;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{NAME_BYTES_MAX, RECORD_BYTES_MAX, Record, RecordList, check_name};
use crate::graph::{Fit, Graph, RemovalPlace};
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
    AddAccount {
        name: &'a str,
        foreign: bool,
    },
    RemoveAccount(Who<'a>),
    #[cfg(feature = "cluster")]
    BeginRemoval(Who<'a>),
    #[cfg(feature = "cluster")]
    EndRemoval(AccountId),
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

    /// An account goes, with all its follows: see
    /// [`FollowGraph::remove_account`](super::FollowGraph::remove_account).
    pub fn remove_account(name: &'a str) -> Mutation<'a> {
        Mutation::new(Change::RemoveAccount(Who::Name(name)))
    }

    /// An account goes, with all its follows.
    pub fn remove_account_by_id(id: AccountId) -> Mutation<'a> {
        Mutation::new(Change::RemoveAccount(Who::Id(id)))
    }

    /// An account begins to go. Whoever says so says of each of its follows that it goes, and then
    /// that the account does.
    #[cfg(feature = "cluster")]
    pub(crate) fn begin_removal(name: &'a str) -> Mutation<'a> {
        Mutation::new(Change::BeginRemoval(Who::Name(name)))
    }

    /// An account is gone whose removal has begun and whose follows have gone.
    #[cfg(feature = "cluster")]
    pub(crate) fn end_removal_by_id(id: AccountId) -> Mutation<'a> {
        Mutation::new(Change::EndRemoval(id))
    }

    /// `follower` follows `followed`, each by the handle there is.
    pub(super) fn follow_who(follower: Who<'a>, followed: Who<'a>) -> Mutation<'a> {
        Mutation::new(Change::Follow(follower, followed))
    }

    /// Says when a follow happened, in Unix seconds, for imports and backfills. 0: not known.
    /// Without it the clock says. The other changes have no time.
    ///
    /// A time more than a day ahead of the clock is `InvalidTime`, except in
    /// [`apply_from_source`](super::FollowGraph::apply_from_source), which takes every time.
    #[must_use]
    pub fn at(mut self, time: u32) -> Mutation<'a> {
        self.at = Some(time);
        self
    }

    /// The time that the caller gave.
    fn given_time(&self) -> Option<u32> {
        self.at
    }

    /// Whether this removes an account, and the follows with it.
    pub(super) fn removes_account(&self) -> bool {
        matches!(self.change, Change::RemoveAccount(_))
    }

    /// Returns an upper bound on the bytes that this change takes in the log; a follow may add both
    /// accounts. The follows that go with an account are not part of it.
    pub(super) fn encoded_bytes_max(&self) -> u64 {
        // A name that is longer is refused, and takes no room.
        let bytes_of = |name: &str| name.len().min(NAME_BYTES_MAX);
        let name_bytes = |who: Who<'_>| match who {
            Who::Name(name) => bytes_of(name),
            Who::Id(_) => 0,
        };
        let (record_count, name_bytes) = match self.change {
            Change::Follow(follower, followed) => (3, name_bytes(follower) + name_bytes(followed)),
            Change::Unfollow(..) => (1, 0),
            Change::RemoveAccount(_) => (2, 0),
            Change::AddAccount { name, .. } => (1, bytes_of(name)),
            #[cfg(feature = "cluster")]
            Change::BeginRemoval(_) | Change::EndRemoval(_) => (1, 0),
        };
        (record_count * RECORD_BYTES_MAX + name_bytes) as u64
    }
}

/// Applies changes to the state and notes the records that say so, one commit long.
pub(super) struct Editor<'a> {
    pub(super) draft: Draft<'a>,
    pub(super) records: &'a mut RecordList,
    pub(super) time: &'a mut Timekeeper,
    pub(super) options: &'a Options,
    pub(super) limits: Limits,
    /// The time of follows that are made by this commit.
    pub(super) now: u32,
    /// Whether times given by callers must not lie in the future.
    pub(super) checks_given_times: bool,
    /// How many follows may yet go with accounts of this commit: readers wait while they do.
    pub(super) removal_room: usize,
    /// Accounts whose follows are to go in commits of their own after this one.
    pub(super) removals: Vec<u32>,
}

/// What a change asks for next.
enum Step<'a> {
    /// Nothing: all is as it should be.
    Nothing,
    /// An account that must be there first; then the change is looked at again.
    First(Record<'a>),
    /// The change itself.
    Last(Record<'a>, Fit),
    /// An account goes in this commit, with so many follows.
    Removal(u32, usize),
    /// The removal of an account begins, or has begun before.
    LongRemoval { id: u32, has_begun: bool },
}

/// How many changes of a batch are looked up in step.
const LOOKUP_STEP: usize = BATCH / 2;

impl Editor<'_> {
    /// Carries a change out, or says why not and changes nothing.
    pub(super) fn execute(&mut self, mutation: &Mutation<'_>) -> Result<Outcome> {
        self.check_time(mutation)?;
        loop {
            let (options, limits, now) = (self.options, self.limits, self.now);
            let removal_room = self.removal_room;
            let step = self
                .draft
                .look(|graph| Plan { graph, options, limits, now, removal_room }.step(mutation))?;
            match step {
                Step::Nothing => return Ok(Outcome::Unchanged),
                Step::First(record) => self.record(&record, Fit::default()),
                Step::Last(record, fit) => {
                    self.record(&record, fit);
                    return Ok(Outcome::Applied);
                }
                Step::Removal(id, follow_count) => {
                    self.removal_room -= follow_count;
                    self.remove_account(id)?;
                    return Ok(Outcome::Applied);
                }
                Step::LongRemoval { id, has_begun } => {
                    self.removals.push(id);
                    if has_begun {
                        return Ok(Outcome::Unchanged);
                    }
                    self.record(&Record::RemovalBegan { id }, Fit::default());
                    return Ok(Outcome::Applied);
                }
            }
        }
    }

    /// Returns an error when the time of a follow is given and lies in the future.
    pub(super) fn check_time(&self, mutation: &Mutation<'_>) -> Result<()> {
        match mutation.given_time() {
            // Nearly all times are in the past, and need no look at the clock.
            Some(at) if at > self.now && self.checks_given_times => {
                check_given(at, self.time.latest_given())
            }
            _ => Ok(()),
        }
    }

    /// Removes an account with all its follows in this commit. The records are those of a removal
    /// in slices, so that the feed has one shape for both.
    fn remove_account(&mut self, id: u32) -> Result<()> {
        self.record(&Record::RemovalBegan { id }, Fit::default());
        let mut place = RemovalPlace::default();
        while !self.remove_slice(id, &mut place)? {}
        drop(self.draft.change().take_discarded());
        Ok(())
    }

    /// Notes that the clock was taken for right.
    pub(super) fn set_clock(&mut self, reset: &Record<'_>) {
        self.record(reset, Fit::default());
    }

    /// Removes the next follows of an account whose removal has begun, and at last the account.
    /// True when it is gone.
    pub(super) fn remove_slice(&mut self, id: u32, place: &mut RemovalPlace) -> Result<bool> {
        let limit = self.options.removal_slice.min(SLICE_MAX);
        let slice = match self.draft.look(|graph| graph.next_removal_slice(id, place, limit)) {
            Err(error) if error.kind() == ErrorKind::UnknownAccount => return Ok(true),
            slice => slice?,
        };
        for (record, fit) in &slice.follows {
            self.record(record, *fit);
        }
        if slice.is_last {
            self.record(&Record::AccountRemoved { id }, Fit::default());
        }
        Ok(slice.is_last)
    }

    /// Carries a batch out, each change with its own result. Readers see all of it or nothing.
    pub(super) fn execute_all(&mut self, mutations: &[Mutation<'_>]) -> Vec<Result<Outcome>> {
        let mut results = Vec::with_capacity(mutations.len());
        self.draft.change();
        for mutations in mutations.chunks(LOOKUP_STEP) {
            self.draft.look(|graph| prefetch(graph, mutations));
            results.extend(mutations.iter().map(|mutation| self.execute(mutation)));
        }
        results
    }

    /// Applies a record that fits and notes it for the log.
    fn record(&mut self, record: &Record<'_>, fit: Fit) {
        self.draft.change().apply(record, fit);
        self.records.push(record);
    }
}

/// Asks for what a few changes will look at, all at once, so that their cache misses overlap.
fn prefetch(graph: &Graph, mutations: &[Mutation<'_>]) {
    let mut ends = [Who::Name(""); BATCH];
    let mut count = 0;
    for mutation in mutations {
        if let Change::Follow(from, to) | Change::Unfollow(from, to) = mutation.change {
            (ends[count], ends[count + 1]) = (from, to);
            count += 2;
        }
    }
    let names = ends.map(|who| if let Who::Name(name) = who { name } else { "" });
    let mut ids = [None; BATCH];
    graph.accounts().lookup_batch(&names[..count], &mut ids);
    let id = |end: usize| match ends[end] {
        Who::Name(_) => ids[end],
        Who::Id(id) => Some(id.0),
    };
    let mut pairs = [(0, 0); LOOKUP_STEP];
    for (place, pair) in pairs[..count / 2].iter_mut().enumerate() {
        // A pair of which an end is missing asks for what the first account has, which is there.
        *pair = id(2 * place).zip(id(2 * place + 1)).unwrap_or_default();
    }
    graph.prefetch_follows(&pairs[..count / 2]);
}

/// Decides what a change means, and changes nothing.
struct Plan<'a> {
    graph: &'a Graph,
    options: &'a Options,
    limits: Limits,
    now: u32,
    removal_room: usize,
}

impl Plan<'_> {
    fn step<'m>(&self, mutation: &Mutation<'m>) -> Result<Step<'m>> {
        match mutation.change {
            Change::Follow(follower, followed) => self.follow(follower, followed, mutation.at),
            Change::Unfollow(follower, followed) => {
                let (from, to) = self.resolve_both(follower, followed)?;
                self.graph.prefetch_follows(&[(from, to)]);
                let fit = self.graph.fit_of_unfollow(from, to)?;
                if !fit.relation.following {
                    return Ok(Step::Nothing);
                }
                Ok(Step::Last(Record::Unfollowed { from, to }, fit))
            }
            Change::AddAccount { name, foreign } => match self.graph.accounts().find(name)? {
                Some(id) => {
                    self.graph.check_stays(id).map_err(|error| error.about(name))?;
                    Ok(Step::Nothing)
                }
                None => Ok(Step::Last(self.account(name, foreign)?, Fit::default())),
            },
            Change::RemoveAccount(who) => self.removal(self.resolve(who)?),
            #[cfg(feature = "cluster")]
            Change::BeginRemoval(who) => {
                let id = self.resolve(who)?;
                match self.graph.check_stays(id) {
                    Err(error) if error.kind() == ErrorKind::BeingRemoved => Ok(Step::Nothing),
                    stays => {
                        stays.map(|()| Step::Last(Record::RemovalBegan { id }, Fit::default()))
                    }
                }
            }
            #[cfg(feature = "cluster")]
            Change::EndRemoval(id) => {
                self.graph.check_is_emptied(id.0)?;
                Ok(Step::Last(Record::AccountRemoved { id: id.0 }, Fit::default()))
            }
        }
    }

    fn removal<'m>(&self, id: u32) -> Result<Step<'m>> {
        match self.graph.check_stays(id) {
            Err(error) if error.kind() == ErrorKind::BeingRemoved => {
                return Ok(Step::LongRemoval { id, has_begun: true });
            }
            stays => stays?,
        }
        let follow_count = self.graph.follows_removed_at_once(id, self.removal_room)?;
        if follow_count.is_some() {
            self.graph.check(&Record::AccountRemoved { id })?;
        }
        let long = Step::LongRemoval { id, has_begun: false };
        Ok(follow_count.map_or(long, |follow_count| Step::Removal(id, follow_count)))
    }

    fn follow<'m>(
        &self,
        follower: Who<'m>,
        followed: Who<'m>,
        at: Option<u32>,
    ) -> Result<Step<'m>> {
        let (from, to) = if self.options.create_missing_accounts {
            match self.find_both(follower, followed)? {
                (Some(from), Some(to)) => (from, to),
                missing => return self.missing_account(follower, followed, missing),
            }
        } else {
            self.resolve_both(follower, followed)?
        };
        self.graph.prefetch_follows(&[(from, to)]);
        let (at, given) = at.map_or((self.now, false), |at| (at, true));
        let fit = self.graph.fit(from, to, at).map_err(|error| self.named(error, follower))?;
        if fit.relation.following {
            return Ok(Step::Nothing);
        }
        self.check_limits(Some(from), Some(to), fit.relation.followed_by)?;
        Ok(Step::Last(Record::Followed { from, to, at, given }, fit))
    }

    /// The account to make before a follow can be, unless it cannot be at all.
    fn missing_account<'m>(
        &self,
        follower: Who<'m>,
        followed: Who<'m>,
        found: (Option<u32>, Option<u32>),
    ) -> Result<Step<'m>> {
        let (from, to) = found;
        if let (Who::Name(follower), Who::Name(followed)) = (follower, followed)
            && follower == followed
        {
            return Err(Error::bare(ErrorKind::SelfFollow).about(follower));
        }
        for id in [from, to].into_iter().flatten() {
            self.graph.check_stays(id)?;
        }
        self.check_limits(from, to, false)?;
        let missing = if from.is_none() { follower } else { followed };
        match missing {
            Who::Name(name) => Ok(Step::First(self.account(name, false)?)),
            Who::Id(_) => Err(Error::bare(ErrorKind::UnknownAccount)),
        }
    }

    /// Limits hold at the ends whose counts are known here; an account still to be made has none.
    fn check_limits(&self, from: Option<u32>, to: Option<u32>, followed_back: bool) -> Result<()> {
        let Limits { following, followers, mutual } = self.limits;
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

    /// The ids of two accounts, `None` for a good name that no account has.
    fn find_both(
        &self,
        follower: Who<'_>,
        followed: Who<'_>,
    ) -> Result<(Option<u32>, Option<u32>)> {
        let find = |who: Who<'_>| match who {
            Who::Name(name) => {
                check_name(name).map_err(|error| error.about(name))?;
                self.graph.accounts().find(name).map_err(|error| error.about(name))
            }
            Who::Id(_) => self.resolve(who).map(Some),
        };
        // Nearly always both are there, and two names looked up together cost little more than one.
        if let Ok((from, to)) = self.resolve_both(follower, followed) {
            return Ok((Some(from), Some(to)));
        }
        Ok((find(follower)?, find(followed)?))
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

    /// The record that makes an account.
    fn account<'m>(&self, name: &'m str, foreign: bool) -> Result<Record<'m>> {
        check_name(name).map_err(|error| error.about(name))?;
        let id = self.graph.accounts().len();
        let foreign = foreign || !self.graph.is_hosted(name);
        if !self.graph.accounts().has_room() {
            let message = "the graph has given all 4,294,967,294 account ids";
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        Ok(Record::AccountAdded { id, name, foreign })
    }
}
