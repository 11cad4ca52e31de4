//! What is asked of every peer about a graph, with the right answers to a part of it. It is made
//! once a graph, from the edge list alone, so that all peers are asked the same.

use crate::follows::{Follow, Follows};
use crate::numbered::{Numbered, starts};
use crate::peers::Entry;
use anyhow::{Result, ensure};
use followgraph::Counts;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

/// How many accounts a batch of counts asks for.
pub(crate) const BATCH_NAMES: usize = 20;
/// How many entries a page has at most.
pub(crate) const PAGE_ENTRIES: usize = 100;
/// How many targets a question for known followers has.
pub(crate) const TARGETS: usize = 100;
const BATCHES: usize = 10_000;
const PAGES: usize = 2_000;
const VIEWERS: usize = 200;
const PAIRS: usize = 20_000;
/// How many questions of each kind are checked before anything is timed.
const CHECKED_BATCHES: usize = 200;
const CHECKED_PAGES: usize = 100;
const CHECKED_VIEWERS: usize = 20;
const SEED: u64 = 1;

/// The questions, by name.
#[derive(Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) account_count: usize,
    pub(crate) follow_count: usize,
    pub(crate) batches: Vec<Vec<String>>,
    /// Accounts with more than a page of followers, where there are any.
    pub(crate) pages: Vec<String>,
    pub(crate) viewers: Vec<Viewer>,
    pub(crate) pairs: Vec<Pair>,
    pub(crate) answers: Answers,
}

/// A question for known followers.
#[derive(Serialize, Deserialize)]
pub(crate) struct Viewer {
    pub(crate) name: String,
    pub(crate) targets: Vec<String>,
}

/// A follow that does not exist, between accounts that do.
#[derive(Serialize, Deserialize)]
pub(crate) struct Pair {
    pub(crate) from: String,
    pub(crate) to: String,
    /// The other one follows already, so the follow makes the two mutual.
    pub(crate) is_followed_back: bool,
}

/// The answers to the first questions of each kind.
#[derive(Serialize, Deserialize)]
pub(crate) struct Answers {
    pub(crate) batches: Vec<Vec<[u32; 3]>>,
    pub(crate) pages: Vec<Vec<Entry>>,
    pub(crate) viewers: Vec<Vec<u32>>,
}

pub(crate) fn counts_of([followers, following, mutual]: [u32; 3]) -> Counts {
    Counts { followers, following, mutual }
}

/// A graph from which questions and answers are taken.
struct Source {
    graph: Numbered,
    counts: Vec<Counts>,
    starts: Vec<usize>,
    random: StdRng,
}

impl Plan {
    pub(crate) fn make(follows: &Follows) -> Result<Plan> {
        let mut graph = Numbered::read(follows)?;
        graph.sort_by_follower();
        let edges = &graph.follows;
        ensure!(edges.len() > 1, "a bench needs two follows");
        ensure!(edges.iter().all(|edge| edge.from != edge.to), "an account follows itself");
        let is_repeated =
            |pair: &[Follow]| pair[0].from == pair[1].from && pair[0].to == pair[1].to;
        ensure!(!edges.windows(2).any(is_repeated), "a follow is there twice");
        let counts = graph.counts();
        let starts = starts(&counts);
        let mut source = Source { graph, counts, starts, random: StdRng::seed_from_u64(SEED) };

        let batches = source.batches();
        let viewers = source.viewers();
        let pairs = source.pairs();
        let pages = source.accounts_with_pages();
        let answers = Answers {
            batches: batches.iter().take(CHECKED_BATCHES).map(|ids| source.counts(ids)).collect(),
            viewers: viewers
                .iter()
                .take(CHECKED_VIEWERS)
                .map(|(viewer, targets)| source.known(*viewer, targets))
                .collect(),
            pages: source.pages(&pages[..pages.len().min(CHECKED_PAGES)]),
        };
        let names =
            |ids: &[u32]| -> Vec<String> { ids.iter().map(|&id| source.name(id)).collect() };
        Ok(Plan {
            account_count: source.counts.len(),
            follow_count: source.graph.follows.len(),
            batches: batches.iter().map(|ids| names(ids)).collect(),
            pages: names(&pages),
            viewers: viewers
                .iter()
                .map(|(id, targets)| Viewer { name: source.name(*id), targets: names(targets) })
                .collect(),
            pairs,
            answers,
        })
    }
}

impl Source {
    fn name(&self, id: u32) -> String {
        self.graph.names[id as usize].clone()
    }

    fn account(&mut self) -> u32 {
        self.random.random_range(0..self.counts.len() as u32)
    }

    fn edge(&mut self) -> Follow {
        let place = self.random.random_range(0..self.graph.follows.len());
        self.graph.follows[place]
    }

    fn following(&self, id: u32) -> &[Follow] {
        &self.graph.follows[self.starts[id as usize]..self.starts[id as usize + 1]]
    }

    fn is_following(&self, from: u32, to: u32) -> bool {
        self.following(from).binary_search_by_key(&to, |follow| follow.to).is_ok()
    }

    fn batches(&mut self) -> Vec<Vec<u32>> {
        (0..BATCHES).map(|_| (0..BATCH_NAMES).map(|_| self.account()).collect()).collect()
    }

    fn counts(&self, ids: &[u32]) -> Vec<[u32; 3]> {
        let of = |&id: &u32| self.counts[id as usize];
        ids.iter().map(of).map(|of| [of.followers, of.following, of.mutual]).collect()
    }

    /// Viewers who follow 100 to 500, or anybody in a graph without such. One half of the targets
    /// is random, the other are ends of random follows, and so mostly well-known.
    fn viewers(&mut self) -> Vec<(u32, Vec<u32>)> {
        let with_following = |least: u32, most: u32| -> Vec<u32> {
            let ids = 0..self.counts.len() as u32;
            ids.filter(|&id| (least..=most).contains(&self.counts[id as usize].following)).collect()
        };
        let mut candidates = with_following(100, 500);
        if candidates.is_empty() {
            candidates = with_following(1, 500);
        }
        let mut viewers = Vec::new();
        while viewers.len() < VIEWERS {
            let viewer = candidates[self.random.random_range(0..candidates.len())];
            let targets: Vec<u32> = (0..TARGETS)
                .map(|place| if place % 2 == 0 { self.account() } else { self.edge().to })
                .collect();
            viewers.push((viewer, targets));
        }
        viewers
    }

    fn known(&self, viewer: u32, targets: &[u32]) -> Vec<u32> {
        let known = |&target: &u32| {
            let follows_target = |follow: &&Follow| self.is_following(follow.to, target);
            self.following(viewer).iter().filter(follows_target).count() as u32
        };
        targets.iter().map(known).collect()
    }

    /// One pair in four makes two accounts mutual.
    fn pairs(&mut self) -> Vec<Pair> {
        let mut pairs = Vec::new();
        let mut tries = 0..PAIRS * 4;
        while pairs.len() < PAIRS && tries.next().is_some() {
            let (from, to) = if pairs.len() % 4 == 0 {
                let edge = self.edge();
                (edge.to, edge.from)
            } else {
                (self.account(), self.account())
            };
            if from != to && !self.is_following(from, to) {
                let is_followed_back = self.is_following(to, from);
                pairs.push(Pair { from: self.name(from), to: self.name(to), is_followed_back });
            }
        }
        pairs
    }

    fn accounts_with_pages(&mut self) -> Vec<u32> {
        let with_followers = |least: u32| -> Vec<u32> {
            let ids = 0..self.counts.len() as u32;
            ids.filter(|&id| self.counts[id as usize].followers >= least).collect()
        };
        let mut candidates = with_followers(PAGE_ENTRIES as u32 + 1);
        if candidates.is_empty() {
            candidates = with_followers(1);
        }
        (0..PAGES).map(|_| candidates[self.random.random_range(0..candidates.len())]).collect()
    }

    /// The newest followers of some accounts. It sorts the follows otherwise, so it comes last.
    fn pages(&mut self, accounts: &[u32]) -> Vec<Vec<Entry>> {
        self.graph.sort_followers_newest_first();
        let follows = &self.graph.follows;
        let page = |&id: &u32| {
            let start = follows.partition_point(|follow| follow.to < id);
            let own = follows[start..].iter().take_while(|follow| follow.to == id);
            let entry = |follow: &Follow| Entry { account: self.name(follow.from), at: follow.at };
            own.take(PAGE_ENTRIES).map(entry).collect()
        };
        accounts.iter().map(page).collect()
    }
}
