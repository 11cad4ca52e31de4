//! Questions. None of them waits for a disk or for a commit; each sees one moment. On a handle that
//! only reads, what another process has written until then is applied first.

use super::FollowGraph;
use crate::adjacency::EdgeKey;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::Graph;
use crate::list::{Cursor, Entry, List, ListKind, Page};
use crate::types::{AccountId, Counts, KnownFollowers, Relation};

impl FollowGraph {
    // ---- accounts ------------------------------------------------------------------------

    /// The id of an account.
    ///
    /// Cost: one hash, one bucket of the index, one record.
    ///
    /// # Errors
    ///
    /// `UnknownAccount`, `InvalidName`.
    ///
    /// ```
    /// let graph = followgraph::FollowGraph::in_memory();
    /// graph.add_account("alice")?;
    /// let id = graph.account_id("alice")?;
    /// assert_eq!(graph.account_name(id)?, "alice");
    /// # Ok::<(), followgraph::Error>(())
    /// ```
    pub fn account_id(&self, name: &str) -> Result<AccountId> {
        self.look()?.resolve(name).map(AccountId)
    }

    /// The name of an account.
    ///
    /// # Errors
    ///
    /// `UnknownAccount`.
    ///
    /// ```
    /// let graph = followgraph::Options::new().create_missing_accounts(true).in_memory()?;
    /// graph.follow("alice", "bob")?;
    /// let bob = graph.account_id("bob")?;
    /// assert_eq!(graph.account_name(bob)?, "bob");
    /// # Ok::<(), followgraph::Error>(())
    /// ```
    pub fn account_name(&self, id: AccountId) -> Result<String> {
        self.look()?.name(id.0).map(str::to_owned)
    }

    /// Up to `limit` accounts with an id above `after`, ascending: to walk through all of them.
    ///
    /// Cost: one record for each id looked at.
    ///
    /// ```
    /// let graph = followgraph::FollowGraph::in_memory();
    /// graph.add_account("alice")?;
    /// graph.add_account("bob")?;
    /// let first = graph.accounts(None, 1);
    /// let second = graph.accounts(first.last().map(|(id, _)| *id), 1);
    /// assert_eq!(second[0].1, "bob");
    /// # Ok::<(), followgraph::Error>(())
    /// ```
    pub fn accounts(&self, after: Option<AccountId>, limit: usize) -> Vec<(AccountId, String)> {
        self.shared.keep_up();
        let graph = self.shared.state.read();
        let first = after.map_or(0, |id| id.0.saturating_add(1));
        (first..graph.accounts().len())
            .filter_map(|id| Some((AccountId(id), graph.accounts().name(id)?.to_owned())))
            .take(limit)
            .collect()
    }

    // ---- counts --------------------------------------------------------------------------

    /// The counts of an account. They equal the lengths of its lists, always.
    ///
    /// # Errors
    ///
    /// `UnknownAccount`, `InvalidName`, `ForeignAccount`.
    ///
    /// ```
    /// let graph = followgraph::FollowGraph::in_memory();
    /// graph.add_account("alice")?;
    /// assert_eq!(graph.counts("alice")?.followers, 0);
    /// # Ok::<(), followgraph::Error>(())
    /// ```
    pub fn counts(&self, name: &str) -> Result<Counts> {
        let graph = self.look()?;
        graph.resolve(name).and_then(|id| graph.counts(id)).map_err(|error| error.about(name))
    }

    /// The counts of an account.
    ///
    /// # Errors
    ///
    /// `UnknownAccount`, `ForeignAccount`.
    ///
    /// ```
    /// let graph = followgraph::Options::new().create_missing_accounts(true).in_memory()?;
    /// graph.follow("alice", "bob")?;
    /// let bob = graph.account_id("bob")?;
    /// assert_eq!(graph.counts_by_id(bob)?.followers, 1);
    /// # Ok::<(), followgraph::Error>(())
    /// ```
    pub fn counts_by_id(&self, id: AccountId) -> Result<Counts> {
        self.look()?.counts(id.0)
    }

    /// The counts of many accounts at one moment: one result for each name, in the order asked,
    /// duplicates kept. An account that is unknown or malformed is its own error and nobody
    /// else's: unknown is not zero.
    ///
    /// Cost: two cache misses an account, which a batch overlaps.
    ///
    /// ```
    /// let graph = followgraph::FollowGraph::in_memory();
    /// graph.add_account("alice")?;
    /// graph.add_account("bob")?;
    /// graph.follow("alice", "bob")?;
    /// let results = graph.batch_counts(&["bob", "nobody", "bob"]);
    /// assert_eq!(results[0].as_ref().unwrap().followers, 1);
    /// assert!(results[1].is_err());
    /// assert_eq!(results.len(), 3);
    /// # Ok::<(), followgraph::Error>(())
    /// ```
    pub fn batch_counts<S: AsRef<str>>(&self, names: &[S]) -> Vec<Result<Counts>> {
        let mut results = Vec::with_capacity(names.len());
        self.batch_counts_into(names, &mut results);
        results
    }

    /// [`batch_counts`](FollowGraph::batch_counts) into a buffer of the caller's, which is cleared
    /// first. Allocates nothing when the buffer has the room, not even for errors.
    ///
    /// ```
    /// let graph = followgraph::FollowGraph::in_memory();
    /// graph.add_account("alice")?;
    /// let mut results = Vec::with_capacity(20);
    /// graph.batch_counts_into(&["alice", "bob"], &mut results);
    /// assert!(results[0].is_ok() && results[1].is_err());
    /// # Ok::<(), followgraph::Error>(())
    /// ```
    pub fn batch_counts_into<S: AsRef<str>>(&self, names: &[S], results: &mut Vec<Result<Counts>>) {
        results.clear();
        match self.look() {
            Ok(graph) => graph.batch_counts(names, results),
            Err(error) => results.extend(names.iter().map(|_| Err(error.clone()))),
        }
    }

    /// [`batch_counts`](FollowGraph::batch_counts) for callers that keep ids.
    ///
    /// ```
    /// let graph = followgraph::Options::new().create_missing_accounts(true).in_memory()?;
    /// graph.follow("alice", "bob")?;
    /// let ids = [graph.account_id("alice")?, graph.account_id("bob")?];
    /// let results = graph.batch_counts_by_id(&ids);
    /// assert_eq!(results[1].as_ref().unwrap().followers, 1);
    /// # Ok::<(), followgraph::Error>(())
    /// ```
    pub fn batch_counts_by_id(&self, ids: &[AccountId]) -> Vec<Result<Counts>> {
        let graph = match self.look() {
            Ok(graph) => graph,
            Err(error) => return ids.iter().map(|_| Err(error.clone())).collect(),
        };
        for id in ids {
            graph.accounts().prefetch_record(id.0);
        }
        ids.iter().map(|id| graph.counts(id.0)).collect()
    }

    // ---- relations -----------------------------------------------------------------------

    /// How an account stands to another. To itself: neither way.
    ///
    /// Cost: two membership tests, logarithmic in the smaller of the two degrees.
    ///
    /// # Errors
    ///
    /// `UnknownAccount`, `InvalidName`; `ForeignAccount` when both are foreign.
    ///
    /// ```
    /// let graph = followgraph::FollowGraph::in_memory();
    /// graph.add_account("alice")?;
    /// graph.add_account("bob")?;
    /// graph.follow("alice", "bob")?;
    /// let relation = graph.relation("alice", "bob")?;
    /// assert!(relation.following && !relation.followed_by);
    /// # Ok::<(), followgraph::Error>(())
    /// ```
    pub fn relation(&self, name: &str, other: &str) -> Result<Relation> {
        let graph = self.look()?;
        let (id, other) = (graph.resolve(name)?, graph.resolve(other)?);
        relation(&graph, id, other)
    }

    /// How an account stands to another.
    ///
    /// # Errors
    ///
    /// As [`relation`](FollowGraph::relation).
    ///
    /// ```
    /// let graph = followgraph::Options::new().create_missing_accounts(true).in_memory()?;
    /// graph.follow("alice", "bob")?;
    /// let (alice, bob) = (graph.account_id("alice")?, graph.account_id("bob")?);
    /// assert!(graph.relation_by_id(alice, bob)?.following);
    /// # Ok::<(), followgraph::Error>(())
    /// ```
    pub fn relation_by_id(&self, id: AccountId, other: AccountId) -> Result<Relation> {
        let graph = self.look()?;
        relation(&graph, id.0, other.0)
    }

    /// How an account stands to many others at one moment: one result for each, in order.
    ///
    /// # Errors
    ///
    /// As a whole only when `name` itself has no account.
    ///
    /// ```
    /// let graph = followgraph::FollowGraph::in_memory();
    /// graph.add_account("alice")?;
    /// graph.add_account("bob")?;
    /// graph.follow("bob", "alice")?;
    /// let relations = graph.batch_relations("alice", &["bob", "nobody"])?;
    /// assert!(relations[0].as_ref().unwrap().followed_by);
    /// assert!(relations[1].is_err());
    /// # Ok::<(), followgraph::Error>(())
    /// ```
    pub fn batch_relations<S: AsRef<str>>(
        &self,
        name: &str,
        others: &[S],
    ) -> Result<Vec<Result<Relation>>> {
        let graph = self.look()?;
        let id = graph.resolve(name)?;
        let others = graph.resolve_each(others);
        let pairs: Vec<(u32, u32)> = others.iter().flatten().map(|&other| (id, other)).collect();
        graph.prefetch_follows(&pairs);
        Ok(others.into_iter().map(|other| relation(&graph, id, other?)).collect())
    }

    // ---- lists ---------------------------------------------------------------------------

    /// A page of the accounts that follow this one, newest first.
    ///
    /// Cost: logarithmic to find the place, then constant for each entry.
    ///
    /// # Errors
    ///
    /// `UnknownAccount`, `InvalidName`, `ForeignAccount`, `InvalidCursor` for a cursor of another
    /// list, `InvalidArgument` for a limit of 0.
    ///
    /// ```
    /// use followgraph::{FollowGraph, Page};
    /// let graph = FollowGraph::in_memory();
    /// graph.add_account("alice")?;
    /// graph.add_account("bob")?;
    /// graph.follow("alice", "bob")?;
    /// assert_eq!(graph.followers("bob", Page::first(100))?.entries[0].account, "alice");
    /// # Ok::<(), followgraph::Error>(())
    /// ```
    pub fn followers(&self, name: &str, page: Page) -> Result<List> {
        self.list(self.account_id(name)?, ListKind::Followers, page)
    }

    /// A page of the accounts this one follows, newest first.
    ///
    /// # Errors
    ///
    /// As [`followers`](FollowGraph::followers).
    ///
    /// ```
    /// let graph = followgraph::Options::new().create_missing_accounts(true).in_memory()?;
    /// graph.follow("alice", "bob")?;
    /// let page = followgraph::Page::first(100);
    /// assert_eq!(graph.following("alice", page)?.entries[0].account, "bob");
    /// # Ok::<(), followgraph::Error>(())
    /// ```
    pub fn following(&self, name: &str, page: Page) -> Result<List> {
        self.list(self.account_id(name)?, ListKind::Following, page)
    }

    /// A page of the accounts this one follows and is followed by, in the order of
    /// [`following`](FollowGraph::following).
    ///
    /// Cost: one membership test for each account followed between the entries.
    ///
    /// # Errors
    ///
    /// As [`followers`](FollowGraph::followers).
    ///
    /// ```
    /// let graph = followgraph::Options::new().create_missing_accounts(true).in_memory()?;
    /// graph.follow("alice", "bob")?;
    /// graph.follow("bob", "alice")?;
    /// let page = followgraph::Page::first(100);
    /// assert_eq!(graph.mutuals("alice", page)?.entries[0].account, "bob");
    /// # Ok::<(), followgraph::Error>(())
    /// ```
    pub fn mutuals(&self, name: &str, page: Page) -> Result<List> {
        self.list(self.account_id(name)?, ListKind::Mutual, page)
    }

    /// [`followers`](FollowGraph::followers) for callers that keep ids.
    ///
    /// # Errors
    ///
    /// As [`followers`](FollowGraph::followers).
    ///
    /// ```
    /// let graph = followgraph::Options::new().create_missing_accounts(true).in_memory()?;
    /// graph.follow("alice", "bob")?;
    /// let page = followgraph::Page::first(100);
    /// let id = graph.account_id("bob")?;
    /// assert_eq!(graph.followers_by_id(id, page)?.entries[0].account, "alice");
    /// # Ok::<(), followgraph::Error>(())
    /// ```
    pub fn followers_by_id(&self, id: AccountId, page: Page) -> Result<List> {
        self.list(id, ListKind::Followers, page)
    }

    /// [`following`](FollowGraph::following) for callers that keep ids.
    ///
    /// # Errors
    ///
    /// As [`followers`](FollowGraph::followers).
    ///
    /// ```
    /// let graph = followgraph::Options::new().create_missing_accounts(true).in_memory()?;
    /// graph.follow("alice", "bob")?;
    /// let page = followgraph::Page::first(100);
    /// let id = graph.account_id("alice")?;
    /// assert_eq!(graph.following_by_id(id, page)?.entries[0].account, "bob");
    /// # Ok::<(), followgraph::Error>(())
    /// ```
    pub fn following_by_id(&self, id: AccountId, page: Page) -> Result<List> {
        self.list(id, ListKind::Following, page)
    }

    /// [`mutuals`](FollowGraph::mutuals) for callers that keep ids.
    ///
    /// # Errors
    ///
    /// As [`followers`](FollowGraph::followers).
    ///
    /// ```
    /// let graph = followgraph::Options::new().create_missing_accounts(true).in_memory()?;
    /// graph.follow("alice", "bob")?;
    /// let page = followgraph::Page::first(100);
    /// let id = graph.account_id("alice")?;
    /// assert!(graph.mutuals_by_id(id, page)?.entries.is_empty());
    /// # Ok::<(), followgraph::Error>(())
    /// ```
    pub fn mutuals_by_id(&self, id: AccountId, page: Page) -> Result<List> {
        self.list(id, ListKind::Mutual, page)
    }

    /// A long search for mutuals goes on in steps, and lets writers in between: the keys make a
    /// page right across steps just as cursors make a list right across pages.
    fn list(&self, id: AccountId, kind: ListKind, page: Page) -> Result<List> {
        if page.limit == 0 {
            return Err(Error::new(ErrorKind::InvalidArgument, "a page has at least one entry"));
        }
        let mut below = page.cursor.map(|cursor| cursor.below(id.0, kind)).transpose()?;
        // One more than asked for tells whether there is a next page.
        let wanted = page.limit.saturating_add(1);
        let mut keys: Vec<EdgeKey> = Vec::new();
        let mut list = List::default();
        loop {
            let graph = self.look()?;
            let named = keys.len();
            below = graph.page(id.0, kind, below, wanted - keys.len(), &mut keys)?;
            for key in &keys[named..] {
                graph.accounts().prefetch_record(key.id);
            }
            for key in keys[named..].iter().take(page.limit - list.entries.len()) {
                list.entries.push(Entry {
                    account: graph.name(key.id)?.to_owned(),
                    account_id: AccountId(key.id),
                    followed_at: key.at,
                });
            }
            if below.is_none() {
                break;
            }
        }
        if keys.len() == wanted {
            list.next = Some(Cursor::new(id.0, kind, keys[page.limit - 1]));
        }
        Ok(list)
    }

    /// For each target: of the accounts `viewer` follows, how many follow the target, and the
    /// names of the first few. All at one moment.
    ///
    /// Cost: one pass over whom the viewer follows, then for each target a pass over its followers
    /// or, where those are many more, a membership test for each account the viewer follows.
    ///
    /// # Errors
    ///
    /// As a whole only when `viewer` has no account here.
    ///
    /// ```
    /// let graph = followgraph::FollowGraph::in_memory();
    /// for name in ["viewer", "friend", "star"] {
    ///     graph.add_account(name)?;
    /// }
    /// graph.follow("viewer", "friend")?;
    /// graph.follow("friend", "star")?;
    /// let known = graph.known_followers("viewer", &["star", "nobody"])?;
    /// assert_eq!(known[0].as_ref().unwrap().first, ["friend"]);
    /// assert!(known[1].is_err());
    /// # Ok::<(), followgraph::Error>(())
    /// ```
    pub fn known_followers<S: AsRef<str>>(
        &self,
        viewer: &str,
        targets: &[S],
    ) -> Result<Vec<Result<KnownFollowers>>> {
        let graph = self.look()?;
        let viewer = graph.viewer(graph.resolve(viewer)?)?;
        let ids = graph.resolve_each(targets);
        let found: Vec<u32> = ids.iter().flatten().copied().collect();
        graph.prefetch_followers(&found);
        let answer = |id: Result<u32>| graph.known_followers(&viewer, id?);
        Ok(ids.into_iter().map(answer).collect())
    }
}

fn relation(graph: &Graph, id: u32, other: u32) -> Result<Relation> {
    if id == other {
        return graph.check_exists(id).map(|()| Relation::default());
    }
    graph.relation(id, other)
}
