//! What the commands are carried out on.

use crate::{Counts, FollowGraph, List, Mutation, Outcome, Page, Relation, Result};

/// What the commands of an app are carried out on: a graph of this process, or whatever else keeps
/// follows with the same rules.
///
/// The errors are those of [`FollowGraph`]. `Behind` and `OutcomeUnknown` tell the client that the
/// server took too long, all other kinds that it failed.
pub trait Graph: Send + Sync {
    /// That an account exists.
    ///
    /// # Errors
    ///
    /// `UnknownAccount`, `InvalidName`.
    fn check_account(&self, name: &str) -> Result<()>;

    /// An account follows others since now, in order, with a result for each.
    ///
    /// # Errors
    ///
    /// What keeps all of it from being carried out.
    fn follow(&self, follower: &str, followed: &[&str]) -> Result<Vec<Result<Outcome>>>;

    /// An account no longer follows others.
    ///
    /// # Errors
    ///
    /// As [`follow`](Graph::follow).
    fn unfollow(&self, follower: &str, followed: &[&str]) -> Result<Vec<Result<Outcome>>>;

    /// Accounts begin to exist.
    ///
    /// # Errors
    ///
    /// As [`follow`](Graph::follow).
    fn add_accounts(&self, names: &[&str]) -> Result<Vec<Result<Outcome>>>;

    /// Accounts go, with all their follows in both directions.
    ///
    /// # Errors
    ///
    /// As [`follow`](Graph::follow).
    fn remove_accounts(&self, names: &[&str]) -> Result<Vec<Result<Outcome>>>;

    /// The counts of accounts, each as its own result.
    fn batch_counts(&self, names: &[&str]) -> Vec<Result<Counts>>;

    /// How an account stands to others, each as its own result.
    ///
    /// # Errors
    ///
    /// What is wrong with the account itself.
    fn batch_relations(&self, name: &str, others: &[&str]) -> Result<Vec<Result<Relation>>>;

    /// A page of those who follow an account, newest first.
    ///
    /// # Errors
    ///
    /// What is wrong with the account, or the cursor.
    fn followers(&self, name: &str, page: Page) -> Result<List>;

    /// A page of those whom an account follows.
    ///
    /// # Errors
    ///
    /// As [`followers`](Graph::followers).
    fn following(&self, name: &str, page: Page) -> Result<List>;

    /// A page of those whom an account follows and who follow it.
    ///
    /// # Errors
    ///
    /// As [`followers`](Graph::followers).
    fn mutuals(&self, name: &str, page: Page) -> Result<List>;

    /// Whether a read may wait for something, so that whoever must not wait reads on a thread made
    /// for that.
    fn reads_wait(&self) -> bool;
}

impl Graph for FollowGraph {
    fn check_account(&self, name: &str) -> Result<()> {
        self.account_id(name).map(|_| ())
    }

    fn follow(&self, follower: &str, followed: &[&str]) -> Result<Vec<Result<Outcome>>> {
        apply(self, followed, |followed| Mutation::follow(follower, followed))
    }

    fn unfollow(&self, follower: &str, followed: &[&str]) -> Result<Vec<Result<Outcome>>> {
        apply(self, followed, |followed| Mutation::unfollow(follower, followed))
    }

    fn add_accounts(&self, names: &[&str]) -> Result<Vec<Result<Outcome>>> {
        apply(self, names, Mutation::add_account)
    }

    fn remove_accounts(&self, names: &[&str]) -> Result<Vec<Result<Outcome>>> {
        apply(self, names, Mutation::remove_account)
    }

    fn batch_counts(&self, names: &[&str]) -> Vec<Result<Counts>> {
        FollowGraph::batch_counts(self, names)
    }

    fn batch_relations(&self, name: &str, others: &[&str]) -> Result<Vec<Result<Relation>>> {
        FollowGraph::batch_relations(self, name, others)
    }

    fn followers(&self, name: &str, page: Page) -> Result<List> {
        FollowGraph::followers(self, name, page)
    }

    fn following(&self, name: &str, page: Page) -> Result<List> {
        FollowGraph::following(self, name, page)
    }

    fn mutuals(&self, name: &str, page: Page) -> Result<List> {
        FollowGraph::mutuals(self, name, page)
    }

    fn reads_wait(&self) -> bool {
        false
    }
}

/// One commit with a change for each name.
fn apply<'a>(
    graph: &FollowGraph,
    names: &[&'a str],
    mutation: impl Fn(&'a str) -> Mutation<'a>,
) -> Result<Vec<Result<Outcome>>> {
    let mutations: Vec<Mutation<'_>> = names.iter().map(|&name| mutation(name)).collect();
    graph.apply(&mutations)
}
