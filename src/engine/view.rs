//! The graph at one commit, for those who keep a mirror of it.

use crate::accounts::RecordFields;
use crate::adjacency::EdgeList;
use crate::error::Result;
use crate::graph::Graph;
use crate::types::{AccountId, Change, Counts};

/// The graph as it was at one commit, whatever is committed since. Handed to the function that
/// [`Consumer::resync`](super::Consumer::resync) calls.
pub struct View {
    graph: Graph,
}

impl View {
    pub(super) fn new(graph: Graph) -> View {
        View { graph }
    }

    /// Returns the sequence number of the commit.
    pub fn sequence(&self) -> u64 {
        self.graph.position().sequence
    }

    /// Returns how many accounts there are, foreign ones included.
    pub fn account_count(&self) -> u64 {
        u64::from(self.graph.totals().account_count)
    }

    /// Returns how many follows there are of which at least one end is local.
    pub fn follow_count(&self) -> u64 {
        self.graph.totals().follow_count
    }

    /// Returns the counts of an account.
    ///
    /// # Errors
    ///
    /// `UnknownAccount`, `ForeignAccount`, `Corrupt`.
    pub fn counts(&self, account: AccountId) -> Result<Counts> {
        self.graph.counts(account.0)
    }

    /// Returns the changes that make this graph of an empty one, in the form in which the feed has
    /// later ones: `AccountAdded` for each account in the order of the ids, of which those of
    /// removed accounts are left out; `Followed` for each follow, by follower; and `RemovalBegan`
    /// for each account that is being removed.
    ///
    /// Cost: reads the graph as it goes on; in memory there are the lists of one account.
    ///
    /// # Errors
    ///
    /// `Corrupt` in the place of what cannot be read.
    pub fn changes(&self) -> impl Iterator<Item = Result<Change>> {
        let ids = || 0..self.graph.accounts().len();
        let is_live = |id: &u32| self.graph.accounts().live(*id).is_some();
        let added = ids().filter(is_live).map(|id| self.added(id));
        let followed = ids().flat_map(|id| match self.follows_at(id) {
            Ok(follows) => follows.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        });
        let leaving = ids().filter(|id| {
            self.graph.accounts().live(*id).is_some_and(RecordFields::is_being_removed)
        });
        let leaving = leaving.map(|id| Ok(Change::RemovalBegan { account: AccountId(id) }));
        added.chain(followed).chain(leaving)
    }

    fn is_foreign(&self, id: u32) -> bool {
        self.graph.accounts().live(id).is_some_and(RecordFields::is_foreign)
    }

    fn added(&self, id: u32) -> Result<Change> {
        let name = self.graph.name(id)?.to_owned();
        Ok(Change::AccountAdded { account: AccountId(id), name, foreign: self.is_foreign(id) })
    }

    /// The follows that are told at an account: those it follows, and of its followers those whose
    /// own lists are elsewhere, so that each follow comes once.
    fn follows_at(&self, id: u32) -> Result<Vec<Change>> {
        let is_local = |id| self.graph.accounts().live(id).is_some() && !self.is_foreign(id);
        if !is_local(id) {
            return Ok(Vec::new());
        }
        let (lists, mut list) = (self.graph.lists(id)?, EdgeList::default());
        let change = |from: u32, to: u32, at: u32| Change::Followed {
            follower: AccountId(from),
            followed: AccountId(to),
            at,
        };
        lists.following.decode_into(&mut list)?;
        let edges = list.ids.iter().zip(&list.at);
        let mut changes: Vec<Change> = edges.map(|(&to, &at)| change(id, to, at)).collect();
        if self.graph.totals().foreign_count > 0 {
            list.clear();
            lists.followers.decode_into(&mut list)?;
            let edges = list.ids.iter().zip(&list.at).filter(|(from, _)| self.is_foreign(**from));
            changes.extend(edges.map(|(&from, &at)| change(from, id, at)));
        }
        Ok(changes)
    }
}
