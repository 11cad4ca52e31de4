//! Bringing the graph to an edge list, online.
//!
//! The differences of a comparison are handed to the live graph some at a time, one commit each.
//! What was compared is a moment of the past, so each difference is looked at again in the commit
//! that repairs it, and one that is no longer what was compared is left alone: who followed or
//! unfollowed since knew better than the list. Nothing is kept between two commits but the graph
//! itself, so a repair that was interrupted is finished by comparing again.
//!
//! All differences are counted before the first one is repaired, and a repair that would remove
//! more than its limit changes nothing.

use super::Shared;
use super::compare::{Comparing, Comparison, Difference, Found, Kind, Sides, Step};
use super::mutation::{Editor, Mutation, Who};
use super::options::Limits;
use crate::adjacency::EdgeList;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::Graph;
use crate::types::{AccountId, Counts, Outcome};
use std::fmt;
use std::ops::ControlFlow;

/// Differences that are repaired by one commit: readers and writers wait for about a millisecond.
const BATCH_DIFFERENCES: usize = 1024;

/// How much a repair may remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemovalLimit {
    /// At most so many follows and accounts together.
    Count(u64),
    /// At most this percentage of the follows that are compared, and of the accounts.
    Percent(u8),
}

/// What a repair may do.
///
/// ```
/// use followgraph::{ErrorKind, RemovalLimit, RepairOptions};
/// use std::ops::ControlFlow;
/// let graph = followgraph::Options::new().create_missing_accounts(true).in_memory()?;
/// graph.follow("alice", "bob")?;
/// graph.follow("bob", "alice")?;
/// let repair = |options: RepairOptions| {
///     let mut comparing = graph.compare(64 << 20, std::env::temp_dir())?;
///     comparing.add("alice", "bob", None)?;
///     comparing.repair(options, &mut |_| ControlFlow::Continue(()))
/// };
/// let error = repair(RepairOptions::new()).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::RepairRefused);
/// assert_eq!(repair(RepairOptions::new().add_only(true))?.kept_count, 1);
/// assert_eq!(graph.stats().follow_count, 2);
/// let options = RepairOptions::new().max_removals(RemovalLimit::Count(1));
/// assert_eq!(repair(options)?.repaired_count, 1);
/// # Ok::<(), followgraph::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RepairOptions {
    max_removals: RemovalLimit,
    add_only: bool,
    remove_accounts: bool,
}

impl Default for RepairOptions {
    fn default() -> RepairOptions {
        let max_removals = RemovalLimit::Percent(10);
        RepairOptions { max_removals, add_only: false, remove_accounts: false }
    }
}

impl RepairOptions {
    /// Returns the default options.
    pub fn new() -> RepairOptions {
        RepairOptions::default()
    }

    /// Sets how much may be removed. A repair that would remove more is refused as a whole.
    /// Default: 10 % of the follows, and of the accounts.
    #[must_use]
    pub fn max_removals(mut self, limit: RemovalLimit) -> RepairOptions {
        self.max_removals = limit;
        self
    }

    /// Sets whether extra follows and accounts are kept. Default: false.
    #[must_use]
    pub fn add_only(mut self, add_only: bool) -> RepairOptions {
        self.add_only = add_only;
        self
    }

    /// Sets whether extra accounts are removed, where no follow of theirs is left. Default: false.
    #[must_use]
    pub fn remove_accounts(mut self, remove: bool) -> RepairOptions {
        self.remove_accounts = remove;
        self
    }

    /// Returns how many follows and how many accounts a repair of these differences removes.
    pub fn removals(&self, found: &Comparison) -> (u64, u64) {
        match (self.add_only, self.remove_accounts) {
            (true, _) => (0, 0),
            (false, false) => (found.extra_follow_count, 0),
            (false, true) => (found.extra_follow_count, found.extra_account_count),
        }
    }

    /// Checks whether these differences may be repaired. [`Comparing::repair`] does so before its
    /// first change.
    ///
    /// # Errors
    ///
    /// `RepairRefused` when [`Comparing::add`] refused a follow of the list, when the list has no
    /// follow, or when more would be removed than the limit.
    pub fn check(&self, found: &Comparison) -> Result<()> {
        let refused = |message: String| Err(Error::new(ErrorKind::RepairRefused, message));
        if found.refused_follow_count > 0 {
            let count = found.refused_follow_count;
            return refused(format!("the list is not whole: follows with bad names: {count}"));
        }
        if found.listed_follow_count == 0 && found.out_of_scope_count == 0 {
            return refused("the list has no follow".to_owned());
        }
        let (follows, accounts) = self.removals(found);
        if self.max_removals.allows((follows, found.follow_count), (accounts, found.account_count))
        {
            return Ok(());
        }
        refused(format!(
            "it would remove {follows} of {} follows and {accounts} of {} accounts, and the limit \
             is {}",
            found.follow_count, found.account_count, self.max_removals,
        ))
    }
}

impl RemovalLimit {
    /// Returns whether so many removals, of so many there are, are within the limit.
    fn allows(self, follows: (u64, u64), accounts: (u64, u64)) -> bool {
        let is_within = |(count, total): (u64, u64), percent| {
            u128::from(count) * 100 <= u128::from(total) * u128::from(percent)
        };
        match self {
            RemovalLimit::Count(max) => follows.0.saturating_add(accounts.0) <= max,
            RemovalLimit::Percent(percent) => {
                is_within(follows, percent) && is_within(accounts, percent)
            }
        }
    }
}

impl fmt::Display for RemovalLimit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RemovalLimit::Count(max) => write!(formatter, "{max} removals"),
            RemovalLimit::Percent(percent) => write!(formatter, "{percent} %"),
        }
    }
}

/// What became of a difference.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub enum Fate {
    /// The graph is as the list says there now.
    Repaired,
    /// Somebody made it so since the comparison.
    SoAlready,
    /// The graph was changed there since the comparison, in another way. It was left alone.
    ChangedSince,
    /// It is an extra account or follow, and those were not to be removed.
    Kept,
    /// The graph refused the change, for this reason: both accounts are foreign, for example.
    Refused(Error),
}

/// What a repair tells while it goes on.
#[non_exhaustive]
#[derive(Clone, Copy, Debug)]
pub enum RepairEvent<'a> {
    /// What the comparison found. Comes once, after all differences were counted and before they
    /// are checked against the options and the first one is repaired. Stopping here leaves the
    /// graph as it was.
    Found(&'a Comparison),
    /// A difference, and what became of it.
    Difference(Difference<'a>, &'a Fate),
    /// How many of how many steps are done: each account is compared twice, the second time to
    /// repair it.
    Progress(u64, u64),
}

/// What a repair did.
#[derive(Clone, Debug, Default)]
pub struct Repair {
    /// What the comparison found, before anything was repaired.
    pub found: Comparison,
    /// [`Fate::Repaired`] differences.
    pub repaired_count: u64,
    /// [`Fate::SoAlready`] differences.
    pub so_already_count: u64,
    /// [`Fate::ChangedSince`] differences.
    pub changed_since_count: u64,
    /// [`Fate::Kept`] accounts and follows.
    pub kept_count: u64,
    /// [`Fate::Refused`] differences.
    pub refused_count: u64,
}

impl Repair {
    fn count(&mut self, fate: &Fate) {
        let count = match fate {
            Fate::Repaired => &mut self.repaired_count,
            Fate::SoAlready => &mut self.so_already_count,
            Fate::ChangedSince => &mut self.changed_since_count,
            Fate::Kept => &mut self.kept_count,
            Fate::Refused(_) => &mut self.refused_count,
        };
        *count += 1;
    }
}

impl Comparing<'_> {
    /// Compares as [`finish`](Comparing::finish) does, and brings the graph to the list: missing
    /// accounts and follows are added, with the times of the list, extra follows are removed, and
    /// where times are compared, follows with other times are made anew with those of the list.
    /// Extra accounts are removed only with [`RepairOptions::remove_accounts`], and only where no
    /// follow of theirs is left.
    ///
    /// The differences are counted before the first one is repaired. Nothing is changed when the
    /// repair would remove more than [`RepairOptions::max_removals`], when the list has no follow,
    /// or when [`add`](Comparing::add) refused a follow of it.
    ///
    /// Readers and writers go on: there is a commit for each thousand differences. A difference
    /// is repaired only if the graph is there as it was compared. Where somebody has made or
    /// unmade the follow since, or removed one of its accounts, it is left alone and told. A
    /// follow that was missing, and was made and unmade again since, cannot be told from one that
    /// nobody touched, and is added. Limits do not apply, as with a bulk load.
    ///
    /// When it ends early, whether by `watch`, an error or the end of the process, what was told
    /// is in the graph, and comparing and repairing again does the rest.
    ///
    /// # Errors
    ///
    /// `RepairRefused` as by [`RepairOptions::check`]: nothing was changed. As
    /// [`finish`](Comparing::finish) while nothing was changed yet; as
    /// [`apply`](crate::FollowGraph::apply) for a commit.
    ///
    /// ```
    /// use followgraph::{RemovalLimit, RepairOptions};
    /// use std::ops::ControlFlow;
    /// let graph = followgraph::Options::new().create_missing_accounts(true).in_memory()?;
    /// graph.follow("alice", "bob")?;
    /// let mut comparing = graph.compare(64 << 20, std::env::temp_dir())?;
    /// comparing.add("bob", "alice", Some(1_702_262_118))?;
    /// let options = RepairOptions::new().max_removals(RemovalLimit::Percent(100));
    /// let repair = comparing.repair(options, &mut |_| ControlFlow::Continue(()))?;
    /// assert_eq!(repair.repaired_count, 2);
    /// assert!(graph.relation("bob", "alice")?.following);
    /// assert!(!graph.relation("alice", "bob")?.following);
    /// # Ok::<(), followgraph::Error>(())
    /// ```
    pub fn repair(
        self,
        options: RepairOptions,
        watch: &mut dyn FnMut(RepairEvent<'_>) -> ControlFlow<()>,
    ) -> Result<Repair> {
        let (sides, shared) = self.sort()?;
        let counted = sides.walk(&mut |step| {
            Ok(match step {
                Step::Found(_) => ControlFlow::Continue(()),
                Step::Progress(done, total) => watch(RepairEvent::Progress(done, 2 * total)),
            })
        })?;
        if !counted.complete || watch(RepairEvent::Found(&counted)).is_break() {
            let found = Comparison { complete: false, ..counted };
            return Ok(Repair { found, ..Repair::default() });
        }
        options.check(&counted)?;
        let mut under_way = UnderWay {
            sides: &sides,
            shared,
            options,
            batch: Vec::with_capacity(BATCH_DIFFERENCES),
            repair: Repair::default(),
            watch,
        };
        let mut found = sides.walk(&mut |step| under_way.step(step))?;
        if found.complete {
            found.complete = under_way.repair_batch()?.is_continue();
        }
        Ok(Repair { found, ..under_way.repair })
    }
}

/// A repair under way.
struct UnderWay<'a> {
    sides: &'a Sides,
    shared: &'a Shared,
    options: RepairOptions,
    /// Differences that were found and are to be repaired together.
    batch: Vec<Found>,
    repair: Repair,
    watch: &'a mut dyn FnMut(RepairEvent<'_>) -> ControlFlow<()>,
}

impl UnderWay<'_> {
    fn step(&mut self, step: Step) -> Result<ControlFlow<()>> {
        match step {
            Step::Found(found) => {
                self.batch.push(found);
                let is_full = self.batch.len() == BATCH_DIFFERENCES;
                if is_full { self.repair_batch() } else { Ok(ControlFlow::Continue(())) }
            }
            Step::Progress(done, total) => {
                Ok((self.watch)(RepairEvent::Progress(total + done, 2 * total)))
            }
        }
    }

    /// Repairs what was collected, and tells what became of it.
    fn repair_batch(&mut self) -> Result<ControlFlow<()>> {
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        let fates = self.commit(&batch)?;
        let mut flow = ControlFlow::Continue(());
        for (found, fate) in batch.iter().zip(&fates) {
            self.repair.count(fate);
            // All of these are done: who wants no more is told them all the same.
            let event = RepairEvent::Difference(self.sides.named(found)?, fate);
            if (self.watch)(event).is_break() {
                flow = ControlFlow::Break(());
            }
        }
        Ok(flow)
    }

    fn commit(&self, batch: &[Found]) -> Result<Vec<Fate>> {
        let mutations = batch.iter().map(|found| self.mutations(found));
        let mutations = mutations.collect::<Result<Vec<_>>>()?;
        let room_bytes = self.shared.room_bytes(mutations.iter().flatten());
        self.shared.commit(None, room_bytes, |editor| {
            let mut fates = editor.draft.look(|live| self.look(live, batch))?;
            editor.limits = Limits::NONE;
            for ((found, fate), mutations) in batch.iter().zip(&mut fates).zip(&mutations) {
                if found.kind == Kind::ExtraAccount {
                    // Its follows may have been among those that went a moment ago.
                    *fate = editor.draft.look(|live| self.look_at_account(live, found.from));
                }
                fate.get_or_insert_with(|| carry_out(editor, mutations));
            }
            Ok(fates.into_iter().flatten().collect())
        })?
    }

    /// The changes that repair a difference.
    fn mutations(&self, found: &Found) -> Result<Vec<Mutation<'_>>> {
        let id = AccountId;
        let follow = || -> Result<Mutation<'_>> {
            let (from, to) = (self.who(found.from)?, self.who(found.to)?);
            Ok(Mutation::follow_who(from, to).at(found.listed_at))
        };
        Ok(match found.kind {
            Kind::MissingAccount => vec![Mutation::add_account(self.sides.graph.name(found.from)?)],
            Kind::ExtraAccount => vec![Mutation::remove_account_by_id(id(found.from))],
            Kind::MissingFollow => vec![follow()?],
            Kind::ExtraFollow => vec![Mutation::unfollow_by_id(id(found.from), id(found.to))],
            Kind::OtherTime => {
                vec![Mutation::unfollow_by_id(id(found.from), id(found.to)), follow()?]
            }
        })
    }

    /// An account as the live graph knows it: by id, unless it is one that the list brought.
    fn who(&self, id: u32) -> Result<Who<'_>> {
        if id < self.sides.own_id_count {
            return Ok(Who::Id(AccountId(id)));
        }
        Ok(Who::Name(self.sides.graph.name(id)?))
    }

    /// The fate of each difference that is not as it was compared; `None` for one that is, and
    /// for accounts, which are looked at in their turn.
    fn look(&self, live: &Graph, batch: &[Found]) -> Result<Vec<Option<Fate>>> {
        let mut following = Following { of: None, list: EdgeList::default() };
        batch
            .iter()
            .map(|found| match found.kind {
                Kind::MissingAccount => {
                    let name = self.sides.graph.name(found.from)?;
                    Ok(live.accounts().find(name)?.map(|_| Fate::SoAlready))
                }
                Kind::ExtraAccount => Ok(None),
                Kind::MissingFollow => self.look_at_missing(live, found),
                Kind::ExtraFollow if self.options.add_only => Ok(Some(Fate::Kept)),
                Kind::ExtraFollow => Ok(match following.time(live, found)? {
                    None => Some(Fate::SoAlready),
                    Some(at) => (at != found.at).then_some(Fate::ChangedSince),
                }),
                Kind::OtherTime => Ok(match following.time(live, found)? {
                    Some(at) if at == found.at => None,
                    Some(at) if at == found.listed_at => Some(Fate::SoAlready),
                    Some(_) | None => Some(Fate::ChangedSince),
                }),
            })
            .collect()
    }

    /// An extra account goes when all its follows went, with those that were extra.
    fn look_at_account(&self, live: &Graph, id: u32) -> Option<Fate> {
        if !self.options.remove_accounts || self.options.add_only {
            return Some(Fate::Kept);
        }
        match live.counts(id) {
            Ok(counts) if counts == Counts::default() => None,
            Ok(_) => Some(Fate::ChangedSince),
            Err(_) if live.check_exists(id).is_err() => Some(Fate::SoAlready),
            Err(error) => Some(Fate::Refused(error)),
        }
    }

    fn look_at_missing(&self, live: &Graph, found: &Found) -> Result<Option<Fate>> {
        let mut ends = [None; 2];
        for (end, id) in ends.iter_mut().zip([found.from, found.to]) {
            if id >= self.sides.own_id_count {
                // Where it is not there, this batch may be about to add it.
                *end = live.accounts().find(self.sides.graph.name(id)?)?;
            } else if live.check_exists(id).is_ok() {
                *end = Some(id);
            } else {
                return Ok(Some(Fate::ChangedSince));
            }
        }
        let [Some(from), Some(to)] = ends else { return Ok(None) };
        match live.relation(from, to) {
            Ok(relation) => Ok(relation.following.then_some(Fate::SoAlready)),
            Err(error) => Ok(Some(Fate::Refused(error))),
        }
    }
}

/// Whom an account of the live graph follows. The differences of one account come together, so its
/// list is read once for all of them.
struct Following {
    of: Option<(u32, bool)>,
    list: EdgeList,
}

impl Following {
    /// Since when there is a follow in the live graph, if it is there.
    fn time(&mut self, live: &Graph, found: &Found) -> Result<Option<u32>> {
        let is_there = live.check_exists(found.from).is_ok() && live.check_exists(found.to).is_ok();
        if !is_there {
            return Ok(None);
        }
        // The end whose lists are here: the follower, or else the followed.
        let turned = live.counts(found.from).is_err();
        let (id, other) = if turned { (found.to, found.from) } else { (found.from, found.to) };
        if self.of != Some((id, turned)) {
            let lists = live.lists(id)?;
            let list = if turned { lists.followers } else { lists.following };
            list.decode_into(&mut self.list)?;
            self.of = Some((id, turned));
        }
        Ok(self.list.ids.binary_search(&other).ok().map(|place| self.list.at[place]))
    }
}

/// Carries the changes out one by one.
fn carry_out(editor: &mut Editor<'_>, mutations: &[Mutation<'_>]) -> Fate {
    // A follow with a time that is refused must not have lost its old one before.
    if let Err(error) = mutations.iter().try_for_each(|mutation| editor.check_time(mutation)) {
        return Fate::Refused(error);
    }
    let mut fate = Fate::SoAlready;
    for mutation in mutations {
        match editor.execute(mutation) {
            Ok(Outcome::Applied) => fate = Fate::Repaired,
            Ok(Outcome::Unchanged) => {}
            Err(error) => return Fate::Refused(error),
        }
    }
    fate
}
