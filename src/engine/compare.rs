//! Comparing the graph with an edge list from elsewhere: which accounts and follows differ.
//!
//! The graph is seen at one moment, recovered privately, while the live one goes on. Names of the
//! list that the graph does not have get ids behind its own. The follows are sorted by follower
//! (`edge_sorter.rs`) and merged with the lists of the graph, account by account: what is in memory
//! does not grow with the follows of either side.
//!
//! Each follow is looked for at its follower. Where a follower's own lists are on another node, it
//! is looked for at the account it follows, in a second pass over the same piece.

mod scope;

use super::bulk::names::Names;
use super::{FollowGraph, Shared};
use crate::accounts::{Accounts, RecordFields};
use crate::adjacency::EdgeList;
use crate::edge_sorter::{Edge, EdgeSorter, Ends, Side, SortedEdges};
use crate::error::{Error, ErrorKind, Result};
use crate::format::check_name;
use crate::graph::Graph;
use crate::storage::ScratchDirectory;
use crate::types::AccountId;
use scope::{IdSet, Scope, ids_of};
use std::ops::ControlFlow;
use std::path::Path;

/// A comparison under way: the follows of the other side are being added.
///
/// Dropping it without [`finish`](Comparing::finish) leaves nothing behind.
pub struct Comparing<'a> {
    pub(super) shared: &'a Shared,
    /// The graph at the moment of the comparison; its accounts are with the names.
    graph: Graph,
    own_id_count: u32,
    names: Names,
    listed: Listed,
    scope: Option<Scope>,
    options: CompareOptions,
    has_follows: bool,
    /// Set when follows were lost, and the comparison with them.
    failed: bool,
}

#[derive(Clone, Copy, Default)]
struct CompareOptions {
    times: bool,
    lonely_accounts: bool,
}

/// One difference between the graph and an edge list.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference<'a> {
    /// The list names this account, and the graph does not have it.
    MissingAccount {
        /// Its name.
        name: &'a str,
    },
    /// The graph has this account, and the list does not name it.
    ExtraAccount {
        /// Its name.
        name: &'a str,
        /// Its id.
        account: AccountId,
    },
    /// The list has this follow, and the graph does not.
    MissingFollow {
        /// Who follows.
        follower: &'a str,
        /// Who is followed.
        followed: &'a str,
        /// Since when, as the list says; 0: not known.
        at: u32,
    },
    /// The graph has this follow, and the list does not.
    ExtraFollow {
        /// Who follows.
        follower: &'a str,
        /// Who is followed.
        followed: &'a str,
        /// Since when, as the graph says; 0: not known.
        at: u32,
    },
    /// Both have this follow, with different times.
    OtherTime {
        /// Who follows.
        follower: &'a str,
        /// Who is followed.
        followed: &'a str,
        /// Since when, as the graph says; 0: not known.
        at: u32,
        /// Since when, as the list says.
        listed_at: u32,
    },
}

/// What a comparison tells while it goes on.
#[non_exhaustive]
#[derive(Clone, Copy, Debug)]
pub enum CompareEvent<'a> {
    /// A difference.
    Difference(Difference<'a>),
    /// How many of how many accounts are compared.
    Progress(u64, u64),
}

/// What a comparison found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// The log sequence number of the moment at which the graph was seen.
    pub sequence: u64,
    /// False when it was stopped: then there may be more differences than were told.
    pub complete: bool,
    /// Accounts of the graph; with [`Comparing::only`], those among the accounts given.
    pub account_count: u64,
    /// Follows of the graph; with [`Comparing::only`], those of the accounts given, each counted
    /// when its follower is compared.
    pub follow_count: u64,
    /// Accounts that the list names.
    pub listed_account_count: u64,
    /// Follows of the list, each counted once.
    pub listed_follow_count: u64,
    /// Follows of the list left out because [`Comparing::only`] does not name their follower.
    pub out_of_scope_count: u64,
    /// Follows of the list that [`Comparing::add`] refused because of a bad name.
    pub refused_follow_count: u64,
    /// Repeated follows of the list, left out: the first one counts.
    pub duplicate_count: u64,
    /// Follows of oneself in the list, left out.
    pub self_follow_count: u64,
    /// [`Difference::MissingAccount`]s.
    pub missing_account_count: u64,
    /// [`Difference::ExtraAccount`]s.
    pub extra_account_count: u64,
    /// [`Difference::MissingFollow`]s.
    pub missing_follow_count: u64,
    /// [`Difference::ExtraFollow`]s.
    pub extra_follow_count: u64,
    /// [`Difference::OtherTime`]s.
    pub other_time_count: u64,
    /// Accounts of the graph that the list does not name and that have no follows, where those
    /// were not to be compared: see [`Comparing::lonely_accounts`].
    pub lonely_account_count: u64,
}

impl Comparison {
    /// How many differences there are.
    pub fn difference_count(&self) -> u64 {
        let accounts = self.missing_account_count + self.extra_account_count;
        let follows = self.missing_follow_count + self.extra_follow_count;
        accounts + follows + self.other_time_count
    }

    /// Whether everything was compared and nothing differs.
    pub fn is_equal(&self) -> bool {
        self.complete && self.difference_count() == 0
    }
}

impl FollowGraph {
    /// Begins to compare the graph, as it is now, with an edge list. Readers and writers go on
    /// meanwhile, and nothing is changed.
    ///
    /// `memory_bytes` (1 MiB at least) bounds the memory for the follows of the list; what exceeds
    /// it goes to a temporary file in `directory`, which has no name and is gone with the process.
    /// On top come 100 to 125 bytes for each name that the graph does not have, a bit an account,
    /// the list of the account with the most followings, and what changed since the last
    /// checkpoint. The disk space of the image is held until the comparison ends, also where a
    /// checkpoint replaces it meanwhile.
    ///
    /// Cost: reads and checks the image and the log, as `verify` does.
    ///
    /// # Errors
    ///
    /// `Corrupt` with file and offset; `InvalidArgument` when there is no such directory; `Io`
    /// when the system gives no threads.
    ///
    /// ```
    /// use followgraph::{CompareEvent, Difference};
    /// use std::ops::ControlFlow;
    /// let graph = followgraph::Options::new().create_missing_accounts(true).in_memory()?;
    /// graph.follow("alice", "bob")?;
    /// graph.follow("carol", "bob")?;
    /// let mut comparing = graph.compare(64 << 20, std::env::temp_dir())?;
    /// comparing.add("alice", "bob", None)?;
    /// comparing.add("bob", "carol", None)?;
    /// let mut told = Vec::new();
    /// let found = comparing.finish(&mut |event| {
    ///     match event {
    ///         CompareEvent::Difference(Difference::MissingFollow { follower, .. }) => {
    ///             told.push(format!("{follower} is missing a follow"));
    ///         }
    ///         CompareEvent::Difference(Difference::ExtraFollow { follower, .. }) => {
    ///             told.push(format!("{follower} has a follow too many"));
    ///         }
    ///         _ => {}
    ///     }
    ///     ControlFlow::Continue(())
    /// })?;
    /// assert_eq!((found.missing_follow_count, found.extra_follow_count), (1, 1));
    /// assert_eq!(told, ["bob is missing a follow", "carol has a follow too many"]);
    /// # Ok::<(), followgraph::Error>(())
    /// ```
    pub fn compare(&self, memory_bytes: u64, directory: impl AsRef<Path>) -> Result<Comparing<'_>> {
        let shared = self.shared.as_ref();
        let place = ScratchDirectory::new(directory.as_ref())?;
        let mut graph = shared.private_graph()?;
        let ends = if graph.totals().foreign_count > 0 { Ends::Both } else { Ends::Followers };
        let sorter = EdgeSorter::new(Box::new(place), memory_bytes, ends);
        let mut accounts = Accounts::empty(graph.image().header.identity);
        graph.swap_accounts(&mut accounts);
        Ok(Comparing {
            shared,
            graph,
            own_id_count: accounts.len(),
            names: Names::new(accounts),
            listed: Listed { sorter, named: IdSet::default(), counts: ListedCounts::default() },
            scope: None,
            options: CompareOptions::default(),
            has_follows: false,
            failed: false,
        })
    }
}

impl Shared {
    /// The graph as it is now, recovered apart from the live one. It holds what it needs of the
    /// files, whatever checkpoints do from here on.
    fn private_graph(&self) -> Result<Graph> {
        self.keep_up_or_fail()?;
        let _one_at_a_time = self.checkpoint.take()?;
        let moment = self.moment();
        Ok(self.recover(&moment)?.graph)
    }
}

/// The other side, in ids.
struct Listed {
    sorter: EdgeSorter,
    /// The accounts it names.
    named: IdSet,
    counts: ListedCounts,
}

/// The follows of the list that are not compared.
#[derive(Clone, Copy, Default)]
struct ListedCounts {
    self_follows: u64,
    out_of_scope: u64,
    refused: u64,
}

impl Listed {
    fn push(&mut self, edge: Edge) -> Result<()> {
        self.named.insert(edge.from);
        self.named.insert(edge.to);
        if edge.from == edge.to {
            self.counts.self_follows += 1;
            return Ok(());
        }
        self.sorter.push(edge)
    }
}

impl<'a> Comparing<'a> {
    /// Whether the times of follows that both have are compared too. Default: false. A follow for
    /// which the list has no time is as long ago as the graph says.
    #[must_use]
    pub fn times(mut self, compared: bool) -> Self {
        self.options.times = compared;
        self
    }

    /// Whether accounts of the graph that have no follows, and that the list does not name, are
    /// extra. Default: false, because an edge list cannot hold them. Accounts whose lists are on
    /// another node count as such.
    #[must_use]
    pub fn lonely_accounts(mut self, compared: bool) -> Self {
        self.options.lonely_accounts = compared;
        self
    }

    /// Limits the comparison, and a repair, to the follows of these accounts: to whom they follow,
    /// not to who follows them. The list may then be a part of what the other system has, as long
    /// as it has all follows of these accounts. Follows of others in the list are counted and left
    /// out. Among the accounts of the graph, only these can be extra. A name that neither side has
    /// means nothing.
    ///
    /// Cost: the names in memory.
    ///
    /// # Errors
    ///
    /// `InvalidName`; `InvalidArgument` when there is no name, when a follow was added before, or
    /// when it was called before.
    ///
    /// ```
    /// use std::ops::ControlFlow;
    /// let graph = followgraph::Options::new().create_missing_accounts(true).in_memory()?;
    /// graph.follow("alice", "bob")?;
    /// graph.follow("carol", "bob")?;
    /// let comparing = graph.compare(64 << 20, std::env::temp_dir())?;
    /// let mut comparing = comparing.only(["alice"])?;
    /// comparing.add("alice", "carol", None)?;
    /// let found = comparing.finish(&mut |_| ControlFlow::Continue(()))?;
    /// assert_eq!((found.missing_follow_count, found.extra_follow_count), (1, 1));
    /// # Ok::<(), followgraph::Error>(())
    /// ```
    pub fn only<'n>(mut self, names: impl IntoIterator<Item = &'n str>) -> Result<Self> {
        let refused = |message| Err(Error::new(ErrorKind::InvalidArgument, message));
        if self.scope.is_some() || self.has_follows {
            return refused("call `only` once, before the first `add`");
        }
        let mut scope = Scope::default();
        for name in names {
            check_name(name).map_err(|error| error.about(name))?;
            scope.names.insert(name.to_owned());
        }
        if scope.names.is_empty() {
            return refused("there is no account to compare");
        }
        self.scope = Some(scope);
        Ok(self)
    }

    /// Adds a follow of the other side. One of oneself is counted and left out; its account is
    /// named by it. Without a time the follow's time is not known.
    ///
    /// # Errors
    ///
    /// `InvalidName`: nothing was added, and the comparison can go on, but a repair is refused,
    /// because what the list lacks would be removed. `DiskFull` or `Io` when
    /// this follow or one before it cannot be written to the temporary file: it cannot go on, and
    /// neither `add` nor `finish` will do anything more.
    pub fn add(&mut self, follower: &str, followed: &str, at: Option<u32>) -> Result<()> {
        self.has_follows = true;
        for name in [follower, followed] {
            if let Err(error) = check_name(name) {
                self.listed.counts.refused += 1;
                return Err(error.about(name));
            }
        }
        self.refuse_if_failed()?;
        let listed = &mut self.listed;
        if self.scope.as_mut().is_some_and(|scope| !scope.takes(follower, followed)) {
            listed.counts.out_of_scope += 1;
            return Ok(());
        }
        let mut take = |edge| listed.push(edge);
        let added = self.names.push(follower, followed, at.unwrap_or(0), &mut take);
        self.failed = added.is_err();
        added
    }

    fn refuse_if_failed(&self) -> Result<()> {
        if !self.failed {
            return Ok(());
        }
        let message = "this comparison failed before and has lost follows; begin another one";
        Err(Error::new(ErrorKind::InvalidArgument, message))
    }

    /// Compares, and tells each difference: first the missing accounts in the order of the list;
    /// then, account by account in the order of the ids, the follows in the order of the ids of
    /// the followed; then the extra accounts. The same graph and list give the same order.
    ///
    /// # Errors
    ///
    /// `DiskFull` or `Io` when the temporary file fails, `InvalidArgument` when it failed before,
    /// `Corrupt`. Nothing was changed.
    pub fn finish(
        self,
        watch: &mut dyn FnMut(CompareEvent<'_>) -> ControlFlow<()>,
    ) -> Result<Comparison> {
        let (sides, _) = self.sort()?;
        sides.walk(&mut |step| {
            let event = match step {
                Step::Found(found) => CompareEvent::Difference(sides.named(&found)?),
                Step::Progress(done, total) => CompareEvent::Progress(done, total),
            };
            Ok(watch(event))
        })
    }

    /// Ends the list: both sides, ready to be compared.
    pub(super) fn sort(self) -> Result<(Sides, &'a Shared)> {
        self.refuse_if_failed()?;
        let Comparing { shared, mut graph, own_id_count, names, mut listed, options, .. } = self;
        let (mut accounts, _) = names.finish(&mut |edge| listed.push(edge))?;
        let scope = match self.scope {
            Some(scope) => {
                listed.named.extend(&ids_of(&scope.followed, &accounts)?);
                Some(ids_of(&scope.names, &accounts)?)
            }
            None => None,
        };
        graph.swap_accounts(&mut accounts);
        let Listed { sorter, named, counts } = listed;
        let edges = sorter.finish()?;
        Ok((Sides { graph, own_id_count, edges, named, counts, scope, options }, shared))
    }
}

/// Both sides of a comparison.
pub(super) struct Sides {
    /// The graph at its moment. Its accounts are followed by those that only the list names.
    pub(super) graph: Graph,
    /// Ids below this were given by the graph.
    pub(super) own_id_count: u32,
    edges: SortedEdges,
    named: IdSet,
    counts: ListedCounts,
    /// The accounts whose follows are compared, unless all are.
    scope: Option<IdSet>,
    options: CompareOptions,
}

/// What a walk comes to.
#[derive(Clone, Copy)]
pub(super) enum Step {
    Found(Found),
    Progress(u64, u64),
}

/// A difference in ids. For an account `from` is its id.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) kind: Kind,
    pub(super) from: u32,
    pub(super) to: u32,
    /// The time in the graph.
    pub(super) at: u32,
    /// The time in the list.
    pub(super) listed_at: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    MissingAccount,
    ExtraAccount,
    MissingFollow,
    ExtraFollow,
    OtherTime,
}

impl Found {
    fn account(kind: Kind, id: u32) -> Found {
        Found { kind, from: id, to: id, at: 0, listed_at: 0 }
    }
}

/// Who is told what a walk comes to, and says whether to go on.
pub(super) type Watch<'a> = dyn FnMut(Step) -> Result<ControlFlow<()>> + 'a;

/// A walk under way.
struct Walk<'a> {
    watch: &'a mut Watch<'a>,
    counted: Comparison,
}

impl Walk<'_> {
    /// Counts follows of the graph where the totals of the graph are not what is compared.
    fn count_in_scope(&mut self, sides: &Sides, follows: u32) {
        if sides.scope.is_some() {
            self.counted.follow_count += u64::from(follows);
        }
    }

    /// Counts a difference and tells it.
    fn found(&mut self, found: Found) -> Result<ControlFlow<()>> {
        let count = match found.kind {
            Kind::MissingAccount => &mut self.counted.missing_account_count,
            Kind::ExtraAccount => &mut self.counted.extra_account_count,
            Kind::MissingFollow => &mut self.counted.missing_follow_count,
            Kind::ExtraFollow => &mut self.counted.extra_follow_count,
            Kind::OtherTime => &mut self.counted.other_time_count,
        };
        *count += 1;
        (self.watch)(Step::Found(found))
    }
}

/// Goes on, or ends the function with what was told to be the end.
macro_rules! go_on {
    ($flow:expr) => {
        if $flow?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    };
}

impl Sides {
    /// Compares from the first account to the last.
    pub(super) fn walk(&self, watch: &mut Watch<'_>) -> Result<Comparison> {
        let totals = self.graph.totals();
        let mut counted = Comparison {
            sequence: self.graph.position().sequence,
            account_count: u64::from(totals.account_count),
            follow_count: totals.follow_count,
            listed_account_count: self.named.len(),
            self_follow_count: self.counts.self_follows,
            out_of_scope_count: self.counts.out_of_scope,
            refused_follow_count: self.counts.refused,
            ..Comparison::default()
        };
        if self.scope.is_some() {
            let accounts = (0..self.own_id_count).filter(|&id| self.is_compared(id));
            (counted.account_count, counted.follow_count) = (accounts.count() as u64, 0);
        }
        let mut walk = Walk { watch, counted };
        let complete = self.walk_all(&mut walk)?.is_continue();
        let mut counted = walk.counted;
        counted.complete = complete;
        if complete {
            counted.duplicate_count = self.edges.pushed_count() - counted.listed_follow_count;
        }
        Ok(counted)
    }

    fn walk_all(&self, walk: &mut Walk<'_>) -> Result<ControlFlow<()>> {
        let id_count = self.graph.accounts().len();
        for id in self.own_id_count..id_count {
            go_on!(walk.found(Found::account(Kind::MissingAccount, id)));
        }
        let has_foreign = self.graph.totals().foreign_count > 0;
        let (mut outgoing, mut incoming) = (Vec::new(), Vec::new());
        let mut list = EdgeList::default();
        for cut in self.edges.cuts(id_count, 1) {
            self.edges.merge(&cut, Side::Following, &mut outgoing);
            walk.counted.listed_follow_count += outgoing.len() as u64;
            if has_foreign {
                self.edges.merge(&cut, Side::Followers, &mut incoming);
                // Who keeps lists of their own is asked there.
                incoming.retain(|edge| self.is_foreign(edge.to));
            }
            let (mut outgoing, mut incoming) = (outgoing.as_slice(), incoming.as_slice());
            for id in cut.ids.clone() {
                let (outgoing, incoming) = (take(&mut outgoing, id), take(&mut incoming, id));
                self.read_following(id, &mut list)?;
                walk.count_in_scope(self, list.len());
                if !self.is_foreign(id) {
                    go_on!(self.compare(id, outgoing, &list, false, walk));
                }
                if has_foreign {
                    self.read_foreign_followers(id, &mut list)?;
                    walk.count_in_scope(self, list.len());
                    go_on!(self.compare(id, incoming, &list, true, walk));
                }
            }
            go_on!((walk.watch)(Step::Progress(u64::from(cut.ids.end), u64::from(id_count))));
        }
        self.walk_extra_accounts(walk)
    }

    fn walk_extra_accounts(&self, walk: &mut Walk<'_>) -> Result<ControlFlow<()>> {
        for id in 0..self.own_id_count {
            if !self.is_compared(id) || self.named.contains(id) {
                continue;
            }
            let counts = self.graph.counts(id).unwrap_or_default();
            if counts.followers > 0 || counts.following > 0 || self.options.lonely_accounts {
                go_on!(walk.found(Found::account(Kind::ExtraAccount, id)));
            } else {
                walk.counted.lonely_account_count += 1;
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Returns whether this is an account of the graph whose own follows are compared.
    fn is_compared(&self, id: u32) -> bool {
        self.graph.accounts().live(id).is_some() && self.is_in_scope(id)
    }

    fn is_in_scope(&self, id: u32) -> bool {
        self.scope.as_ref().is_none_or(|scope| scope.contains(id))
    }

    fn is_foreign(&self, id: u32) -> bool {
        self.graph.accounts().live(id).is_some_and(RecordFields::is_foreign)
    }

    /// Whom an account follows, as far as its lists are here.
    fn read_following(&self, id: u32, list: &mut EdgeList) -> Result<()> {
        list.clear();
        if !self.is_compared(id) || self.is_foreign(id) {
            return Ok(());
        }
        self.graph.lists(id)?.following.decode_into(list)
    }

    /// Who follows an account without lists of their own here.
    fn read_foreign_followers(&self, id: u32, list: &mut EdgeList) -> Result<()> {
        list.clear();
        if self.graph.accounts().live(id).is_none() || self.is_foreign(id) {
            return Ok(());
        }
        let mut all = EdgeList::default();
        self.graph.lists(id)?.followers.decode_into(&mut all)?;
        let is_compared = |id| self.is_foreign(id) && self.is_in_scope(id);
        all.keys().filter(|key| is_compared(key.id)).for_each(|key| list.push(key));
        Ok(())
    }

    /// Compares the follows of one account on both sides, each in the order of the ids of the
    /// others. Where it is `turned`, the others follow the account.
    fn compare(
        &self,
        id: u32,
        listed: &[Edge],
        list: &EdgeList,
        turned: bool,
        walk: &mut Walk<'_>,
    ) -> Result<ControlFlow<()>> {
        let mut listed = listed.iter().peekable();
        let found = |kind, other, at, listed_at| {
            let (from, to) = if turned { (other, id) } else { (id, other) };
            Found { kind, from, to, at, listed_at }
        };
        let missing = |edge: &Edge| found(Kind::MissingFollow, edge.to, 0, edge.at);
        for key in list.keys() {
            while let Some(edge) = listed.next_if(|edge| edge.to < key.id) {
                go_on!(walk.found(missing(edge)));
            }
            match listed.next_if(|edge| edge.to == key.id) {
                None => go_on!(walk.found(found(Kind::ExtraFollow, key.id, key.at, 0))),
                Some(edge) if self.options.times && edge.at != 0 && edge.at != key.at => {
                    go_on!(walk.found(found(Kind::OtherTime, key.id, key.at, edge.at)));
                }
                Some(_) => {}
            }
        }
        for edge in listed {
            go_on!(walk.found(missing(edge)));
        }
        Ok(ControlFlow::Continue(()))
    }

    /// A difference by the names of its accounts.
    pub(super) fn named(&self, found: &Found) -> Result<Difference<'_>> {
        let Found { kind, from, to, at, listed_at } = *found;
        let (follower, followed) = (self.graph.name(from)?, self.graph.name(to)?);
        Ok(match kind {
            Kind::MissingAccount => Difference::MissingAccount { name: follower },
            Kind::ExtraAccount => {
                Difference::ExtraAccount { name: follower, account: AccountId(from) }
            }
            Kind::MissingFollow => Difference::MissingFollow { follower, followed, at: listed_at },
            Kind::ExtraFollow => Difference::ExtraFollow { follower, followed, at },
            Kind::OtherTime => Difference::OtherTime { follower, followed, at, listed_at },
        })
    }
}

/// Takes the edges of one account off the front of a sorted slice.
fn take<'e>(edges: &mut &'e [Edge], id: u32) -> &'e [Edge] {
    let len = edges.iter().take_while(|edge| edge.from == id).count();
    let (own, rest) = edges.split_at(len);
    *edges = rest;
    own
}
