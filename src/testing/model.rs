//! The reference implementation: what a follow graph means, in plain maps of sets.
//!
//! It is slow and holds everything in memory, and it shares nothing with the engine, not even a
//! type: what both agree on was decided twice. Counts are the lengths of sets, the mutual count is
//! their intersection, a list is a sort.

use std::collections::{BTreeMap, BTreeSet};

/// Why an operation is refused. Refused means that nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// The name is empty, longer than 255 bytes, or holds a control character.
    InvalidName,
    /// No account of that name or id exists now.
    UnknownAccount,
    /// The account has begun to go.
    BeingRemoved,
    /// Nobody follows themself.
    SelfFollow,
    /// What was asked is known on another node only.
    ForeignAccount,
    /// The follower follows as many accounts as it may.
    FollowingLimit,
    /// The followed account has as many followers as it may.
    FollowersLimit,
    /// The follower has as many mutual follows as it may.
    FollowerMutualLimit,
    /// The followed account has as many mutual follows as it may.
    FollowedMutualLimit,
}

/// When a follow happened: its Unix time, then its place among all follows ever made.
type Moment = (u32, u64);

#[derive(Clone, Debug, Default)]
struct Account {
    name: String,
    is_foreign: bool,
    is_leaving: bool,
    following: BTreeMap<u32, Moment>,
    followers: BTreeMap<u32, Moment>,
}

impl Account {
    fn mutuals(&self) -> BTreeSet<u32> {
        let following: BTreeSet<u32> = self.following.keys().copied().collect();
        let followers: BTreeSet<u32> = self.followers.keys().copied().collect();
        following.intersection(&followers).copied().collect()
    }
}

/// A follow graph that is right at sight: the engine is compared with it, operation by operation.
///
/// Writes say whether anything changed, and take the time of the follow from the caller.
///
/// ```
/// use followgraph::testing::{Model, Refusal};
/// let mut model = Model::default();
/// model.add_account("alice").unwrap();
/// model.add_account("bob").unwrap();
/// assert_eq!(model.follow("alice", "bob", 7), Ok(true));
/// assert_eq!(model.follow("alice", "bob", 8), Ok(false));
/// assert_eq!(model.follow("alice", "nobody", 9), Err(Refusal::UnknownAccount));
/// assert_eq!(model.followers("bob"), Ok(vec![("alice".to_owned(), 7)]));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// A follow of an unknown name adds the account.
    pub creates_missing_accounts: bool,
    /// Accounts one account may follow; `None` is no limit.
    pub max_following: Option<usize>,
    /// Followers one account may have; `None` is no limit.
    pub max_followers: Option<usize>,
    /// Mutual follows one account may have; `None` is no limit.
    pub max_mutual: Option<usize>,
    accounts: BTreeMap<u32, Account>,
    ids: BTreeMap<String, u32>,
    next_id: u32,
    next_place: u64,
}

#[expect(clippy::missing_errors_doc, reason = "`Refusal` says when, once for all operations")]
impl Model {
    /// Adds an account whose sets are kept here: true if it is new. Ids are given in order.
    pub fn add_account(&mut self, name: &str) -> Result<bool, Refusal> {
        self.add(name, false)
    }

    /// Adds an account whose sets are kept elsewhere: true if it is new. A known name stays what
    /// it is.
    pub fn add_foreign_account(&mut self, name: &str) -> Result<bool, Refusal> {
        self.add(name, true)
    }

    /// Removes an account with every follow from it and to it. Its name is free, its id is not.
    ///
    /// ```
    /// use followgraph::testing::Model;
    /// let mut model = Model::default();
    /// model.creates_missing_accounts = true;
    /// model.follow("alice", "bob", 0).unwrap();
    /// model.remove_account("bob").unwrap();
    /// assert_eq!(model.counts("alice"), Ok((0, 0, 0)));
    /// model.add_account("bob").unwrap();
    /// assert_eq!(model.account_id("bob"), Ok(2));
    /// ```
    pub fn remove_account(&mut self, name: &str) -> Result<(), Refusal> {
        let id = self.account_id(name)?;
        self.ids.remove(name);
        self.accounts.remove(&id);
        for other in self.accounts.values_mut() {
            other.following.remove(&id);
            other.followers.remove(&id);
        }
        Ok(())
    }

    /// Removes an account in a batch: at once where the follows that go with it fit into `room`,
    /// which becomes less by them; otherwise it begins to go, and stays until
    /// [`finish_removals`](Model::finish_removals). False when it had begun before.
    ///
    /// How many go with a foreign account is not known: it counts two for each id ever given.
    ///
    /// ```
    /// use followgraph::testing::{Model, Refusal};
    /// let mut model = Model::default();
    /// model.creates_missing_accounts = true;
    /// model.follow("alice", "bob", 0).unwrap();
    /// model.follow("carol", "bob", 0).unwrap();
    /// assert_eq!(model.remove_in_batch("bob", &mut 1), Ok(true));
    /// assert_eq!(model.follow("dave", "bob", 0), Err(Refusal::BeingRemoved));
    /// assert_eq!(model.remove_in_batch("bob", &mut 1), Ok(false));
    /// model.finish_removals();
    /// assert_eq!(model.account_id("bob"), Err(Refusal::UnknownAccount));
    /// ```
    pub fn remove_in_batch(&mut self, name: &str, room: &mut usize) -> Result<bool, Refusal> {
        let id = self.account_id(name)?;
        let account = &self.accounts[&id];
        if account.is_leaving {
            return Ok(false);
        }
        let follow_count = if account.is_foreign {
            2 * self.next_id as usize
        } else {
            account.following.len() + account.followers.len()
        };
        if follow_count <= *room {
            *room -= follow_count;
            return self.remove_account(name).map(|()| true);
        }
        self.begin_removal(name)
    }

    /// An account begins to go, and stays until it is removed: false when it had begun before.
    pub fn begin_removal(&mut self, name: &str) -> Result<bool, Refusal> {
        let account = self.accounts.entry(self.account_id(name)?).or_default();
        Ok(!std::mem::replace(&mut account.is_leaving, true))
    }

    /// Removes every account that has begun to go.
    pub fn finish_removals(&mut self) {
        for name in self.leaving() {
            // What leaves is there, so this refuses nothing.
            let _ = self.remove_account(&name);
        }
    }

    /// The accounts that have begun to go.
    pub fn leaving(&self) -> Vec<String> {
        let leaving = self.accounts.values().filter(|one| one.is_leaving);
        leaving.map(|one| one.name.clone()).collect()
    }

    /// The id of a name.
    pub fn account_id(&self, name: &str) -> Result<u32, Refusal> {
        check_name(name)?;
        self.ids.get(name).copied().ok_or(Refusal::UnknownAccount)
    }

    /// The name of an id.
    pub fn account_name(&self, id: u32) -> Result<String, Refusal> {
        Ok(self.accounts.get(&id).ok_or(Refusal::UnknownAccount)?.name.clone())
    }

    /// Every account there is, ids ascending.
    pub fn accounts(&self) -> Vec<(u32, String)> {
        self.accounts.iter().map(|(id, account)| (*id, account.name.clone())).collect()
    }

    /// How many accounts there are that are kept elsewhere.
    pub fn foreign_account_count(&self) -> usize {
        self.accounts.values().filter(|account| account.is_foreign).count()
    }

    /// `from` follows `to` since `at`: true if it did not before.
    ///
    /// A repeated follow changes nothing, not even the time, and no limit speaks against it.
    /// A refused follow adds no account.
    pub fn follow(&mut self, from: &str, to: &str, at: u32) -> Result<bool, Refusal> {
        let ends = (self.account_or_missing(from)?, self.account_or_missing(to)?);
        if from == to {
            return Err(Refusal::SelfFollow);
        }
        if ends.0.is_leaving || ends.1.is_leaving {
            return Err(Refusal::BeingRemoved);
        }
        if ends.0.is_foreign && ends.1.is_foreign {
            return Err(Refusal::ForeignAccount);
        }
        if self.follows(from, to) {
            return Ok(false);
        }
        self.check_limits(&ends.0, &ends.1, self.follows(to, from))?;
        self.add_account(from)?;
        self.add_account(to)?;
        self.insert(self.account_id(from)?, self.account_id(to)?, at);
        Ok(true)
    }

    /// `from` no longer follows `to`: true if it did before.
    pub fn unfollow(&mut self, from: &str, to: &str) -> Result<bool, Refusal> {
        let (from_id, to_id) = self.linkable(from, to)?;
        let was_there = self.follows(from, to);
        for (id, account) in &mut self.accounts {
            if *id == from_id {
                account.following.remove(&to_id);
            }
            if *id == to_id {
                account.followers.remove(&from_id);
            }
        }
        Ok(was_there)
    }

    /// Followers, following, and how many are in both.
    pub fn counts(&self, name: &str) -> Result<(usize, usize, usize), Refusal> {
        let account = self.local(name)?;
        Ok((account.followers.len(), account.following.len(), account.mutuals().len()))
    }

    /// Whether `name` follows `other`, and whether `other` follows `name`.
    pub fn relation(&self, name: &str, other: &str) -> Result<(bool, bool), Refusal> {
        match self.linkable(name, other) {
            Ok(_) => Ok((self.follows(name, other), self.follows(other, name))),
            Err(Refusal::SelfFollow) => Ok((false, false)),
            Err(refusal) => Err(refusal),
        }
    }

    /// Who follows `name`, and since when: newest first, among equal times the later made first.
    ///
    /// ```
    /// use followgraph::testing::Model;
    /// let mut model = Model::default();
    /// model.creates_missing_accounts = true;
    /// for (follower, at) in [("a", 5), ("b", 9), ("c", 5)] {
    ///     model.follow(follower, "x", at).unwrap();
    /// }
    /// let names: Vec<String> = model.followers("x").unwrap().into_iter().map(|e| e.0).collect();
    /// assert_eq!(names, ["b", "c", "a"]);
    /// ```
    pub fn followers(&self, name: &str) -> Result<Vec<(String, u32)>, Refusal> {
        Ok(self.newest_first(&self.local(name)?.followers))
    }

    /// Whom `name` follows, and since when, in the same order.
    pub fn following(&self, name: &str) -> Result<Vec<(String, u32)>, Refusal> {
        Ok(self.newest_first(&self.local(name)?.following))
    }

    /// Those of `following` who follow back, in its order and with its times.
    pub fn mutuals(&self, name: &str) -> Result<Vec<(String, u32)>, Refusal> {
        let account = self.local(name)?;
        let mut following = account.following.clone();
        following.retain(|id, _| account.followers.contains_key(id));
        Ok(self.newest_first(&following))
    }

    /// Of the accounts `viewer` follows, those who follow `target`, by age of account.
    ///
    /// ```
    /// use followgraph::testing::Model;
    /// let mut model = Model::default();
    /// model.creates_missing_accounts = true;
    /// model.follow("viewer", "friend", 0).unwrap();
    /// model.follow("friend", "star", 0).unwrap();
    /// model.follow("stranger", "star", 0).unwrap();
    /// assert_eq!(model.known_followers("viewer", "star"), Ok(vec!["friend".to_owned()]));
    /// ```
    pub fn known_followers(&self, viewer: &str, target: &str) -> Result<Vec<String>, Refusal> {
        let following = &self.local(viewer)?.following;
        let followers = &self.local(target)?.followers;
        let known = followers.keys().filter(|id| following.contains_key(id));
        Ok(known.map(|id| self.accounts[id].name.clone()).collect())
    }

    /// Every follow known here: follower, followed, time; sorted.
    pub fn edges(&self) -> Vec<(String, String, u32)> {
        let mut edges = BTreeSet::new();
        let name = |id: &u32| self.accounts[id].name.clone();
        for (id, account) in &self.accounts {
            let following = account.following.iter();
            edges.extend(following.map(|(other, (at, _))| (name(id), name(other), *at)));
            let followers = account.followers.iter();
            edges.extend(followers.map(|(other, (at, _))| (name(other), name(id), *at)));
        }
        edges.into_iter().collect()
    }

    fn add(&mut self, name: &str, is_foreign: bool) -> Result<bool, Refusal> {
        check_name(name)?;
        if let Some(id) = self.ids.get(name) {
            let is_leaving = self.accounts[id].is_leaving;
            return if is_leaving { Err(Refusal::BeingRemoved) } else { Ok(false) };
        }
        let account = Account { name: name.to_owned(), is_foreign, ..Account::default() };
        self.ids.insert(name.to_owned(), self.next_id);
        self.accounts.insert(self.next_id, account);
        self.next_id += 1;
        Ok(true)
    }

    /// An edge is kept at each of its ends that is local.
    fn insert(&mut self, from: u32, to: u32, at: u32) {
        let moment = (at, self.next_place);
        self.next_place += 1;
        for (id, account) in &mut self.accounts {
            if *id == from && !account.is_foreign {
                account.following.insert(to, moment);
            }
            if *id == to && !account.is_foreign {
                account.followers.insert(from, moment);
            }
        }
    }

    fn check_limits(&self, from: &Account, to: &Account, mutual: bool) -> Result<(), Refusal> {
        let reached = |account: &Account, count: usize, limit: Option<usize>| {
            !account.is_foreign && limit.is_some_and(|limit| count >= limit)
        };
        if reached(from, from.following.len(), self.max_following) {
            return Err(Refusal::FollowingLimit);
        }
        if mutual && reached(from, from.mutuals().len(), self.max_mutual) {
            return Err(Refusal::FollowerMutualLimit);
        }
        if reached(to, to.followers.len(), self.max_followers) {
            return Err(Refusal::FollowersLimit);
        }
        if mutual && reached(to, to.mutuals().len(), self.max_mutual) {
            return Err(Refusal::FollowedMutualLimit);
        }
        Ok(())
    }

    /// A missing account is an empty one, where follows may add it.
    fn account_or_missing(&self, name: &str) -> Result<Account, Refusal> {
        match self.account_id(name) {
            Ok(id) => Ok(self.accounts[&id].clone()),
            Err(Refusal::UnknownAccount) if self.creates_missing_accounts => Ok(Account::default()),
            Err(refusal) => Err(refusal),
        }
    }

    fn local(&self, name: &str) -> Result<&Account, Refusal> {
        let account = &self.accounts[&self.account_id(name)?];
        if account.is_foreign { Err(Refusal::ForeignAccount) } else { Ok(account) }
    }

    /// The ids of two different accounts, at least one of which is local.
    fn linkable(&self, name: &str, other: &str) -> Result<(u32, u32), Refusal> {
        let (id, other_id) = (self.account_id(name)?, self.account_id(other)?);
        if id == other_id {
            return Err(Refusal::SelfFollow);
        }
        let both_are_foreign = self.accounts[&id].is_foreign && self.accounts[&other_id].is_foreign;
        if both_are_foreign { Err(Refusal::ForeignAccount) } else { Ok((id, other_id)) }
    }

    /// Either end may be the one that knows.
    fn follows(&self, from: &str, to: &str) -> bool {
        let (Some(from), Some(to)) = (self.ids.get(from), self.ids.get(to)) else {
            return false;
        };
        self.accounts[from].following.contains_key(to)
            || self.accounts[to].followers.contains_key(from)
    }

    fn newest_first(&self, set: &BTreeMap<u32, Moment>) -> Vec<(String, u32)> {
        let mut entries: Vec<_> = set.iter().map(|(id, moment)| (*moment, *id)).collect();
        entries.sort_unstable_by(|one, other| other.cmp(one));
        entries.into_iter().map(|((at, _), id)| (self.accounts[&id].name.clone(), at)).collect()
    }
}

fn check_name(name: &str) -> Result<(), Refusal> {
    let fits = (1..=255).contains(&name.len()) && !name.chars().any(char::is_control);
    if fits { Ok(()) } else { Err(Refusal::InvalidName) }
}
