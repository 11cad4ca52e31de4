//! The link operations of LinkBench (T. Armstrong, V. Ponnekanti, D. Borthakur, M. Callaghan,
//! "A Database Benchmark Based on the Facebook Social Graph", SIGMOD 2013): their shares, their
//! skew, and a graph with out-degrees as published. Every answer is checked against a model
//! of the graph, outside the time that is measured.
//!
//! Which account is asked for does not depend on its degree. A list is a page of the newest.

use crate::follows::{Follows, LATER_SECONDS, name_of, write_pairs};
use crate::latency::{Bounds, Latency, Times};
use crate::peers::{Entry, Peer, PeerName, Place};
use crate::plan::PAGE_ENTRIES;
use anyhow::{Context, Result, ensure};
use rand::distr::weighted::WeightedIndex;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Pareto, Zipf};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

const SEED: u64 = 2013;
const READ_SKEW: f64 = 0.8;
const WRITE_SKEW: f64 = 0.741;
/// How popular the targets of follows are. Not published; the skew of reads is taken.
const TARGET_SKEW: f64 = 0.8;

/// Shares of the accounts by how many they follow: at least, at most, per mille.
const DEGREES: [(u32, u32, u32); 4] = [(0, 0, 450), (1, 1, 320), (2, 3, 150), (4, 50, 77)];
/// The remaining accounts follow more than this, along a power law.
const TAIL_MIN: f64 = 51.0;
const TAIL_SHAPE: f64 = 1.2;
const TAIL_MAX: f64 = 50_000.0;

#[derive(Clone, Copy)]
enum Operation {
    List,
    Add,
    Update,
    Count,
    Delete,
    Get,
}

const MIX: [(Operation, f64); 6] = [
    (Operation::List, 66.6),
    (Operation::Add, 11.8),
    (Operation::Update, 10.5),
    (Operation::Count, 6.4),
    (Operation::Delete, 3.9),
    (Operation::Get, 0.7),
];

/// How a peer fared.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Social {
    pub(crate) account_count: usize,
    pub(crate) follow_count: usize,
    /// Of one thread, over the time spent in the store.
    pub(crate) operations_per_second: f64,
    pub(crate) reads: Option<Latency>,
    pub(crate) writes: Option<Latency>,
    /// Entries in a page, on average.
    pub(crate) mean_page_entries: f64,
}

/// Writes the graph to a file, the same one every time.
pub(crate) fn generate(account_count: u32, path: &Path) -> Result<()> {
    let mut random = StdRng::seed_from_u64(SEED);
    let degrees: Vec<u32> = (0..account_count)
        .map(|_| degree(&mut random).map(|degree| degree.min(account_count / 4)))
        .collect::<Result<_>>()?;
    // Everybody who follows nobody is followed by somebody, so that all accounts exist.
    let mut lonely: Vec<u32> =
        (0..account_count).filter(|&account| degrees[account as usize] == 0).collect();
    lonely.shuffle(&mut random);
    let popularity = Popularity::new(account_count, TARGET_SKEW, &mut random)?;
    let mut pairs = Vec::new();
    let mut order: Vec<u32> = (0..account_count).collect();
    order.shuffle(&mut random);
    for from in order {
        let mut targets = HashSet::new();
        while targets.len() < degrees[from as usize] as usize {
            let to = lonely.pop().unwrap_or_else(|| popularity.account(&mut random));
            if to != from && targets.insert(to) {
                pairs.push((from, to));
            }
        }
    }
    ensure!(lonely.is_empty(), "{} accounts are in no follow", lonely.len());
    pairs.sort_unstable();
    write_pairs(path, pairs.into_iter())
}

fn degree(random: &mut StdRng) -> Result<u32> {
    let mut draw = random.random_range(0..1000);
    for (least, most, per_mille) in DEGREES {
        if draw < per_mille {
            // Within a class few are more frequent than many: evenly on a logarithmic scale.
            let (low, high) = (f64::from(least), f64::from(most) + 1.0);
            let degree = if least == most {
                low
            } else {
                (low.ln() + random.random::<f64>() * (high.ln() - low.ln())).exp()
            };
            return Ok(degree as u32);
        }
        draw -= per_mille;
    }
    Ok(Pareto::new(TAIL_MIN, TAIL_SHAPE)?.sample(random).min(TAIL_MAX) as u32)
}

/// Accounts by rank, the rank by a Zipf law.
struct Popularity {
    by_rank: Vec<u32>,
    ranks: Zipf<f64>,
}

impl Popularity {
    fn new(account_count: u32, skew: f64, random: &mut StdRng) -> Result<Popularity> {
        let mut by_rank: Vec<u32> = (0..account_count).collect();
        by_rank.shuffle(random);
        Ok(Popularity { by_rank, ranks: Zipf::new(f64::from(account_count), skew)? })
    }

    fn account(&self, random: &mut StdRng) -> u32 {
        self.by_rank[self.ranks.sample(random) as usize - 1]
    }
}

/// What the graph must be at any moment: whom everybody follows since when, oldest first.
struct Model {
    following: Vec<Vec<(u32, u32)>>,
    follow_count: usize,
}

impl Model {
    fn read(follows: &Follows) -> Result<Model> {
        let mut model = Model { following: Vec::new(), follow_count: 0 };
        follows.for_each(|follow| {
            let account_count = follow.from.max(follow.to) as usize + 1;
            if model.following.len() < account_count {
                model.following.resize(account_count, Vec::new());
            }
            model.following[follow.from as usize].push((follow.at, follow.to));
            model.follow_count += 1;
            Ok(())
        })?;
        model.following.iter_mut().for_each(|list| list.sort_unstable());
        Ok(model)
    }

    fn list(&self, account: u32) -> &[(u32, u32)] {
        &self.following[account as usize]
    }

    fn remove(&mut self, from: u32, to: u32) -> bool {
        let list = &mut self.following[from as usize];
        let place = list.iter().position(|entry| entry.1 == to);
        place.map(|place| list.remove(place)).is_some()
    }
}

/// One run of the mix.
struct Run<'a> {
    peer: &'a mut dyn Peer,
    model: Model,
    random: StdRng,
    read: Popularity,
    write: Popularity,
    target: Popularity,
    clock: u32,
    reads: Times,
    writes: Times,
    list_count: usize,
    entry_count: usize,
    page: Vec<Entry>,
}

/// Asks an opened peer that has loaded the graph.
pub(crate) fn run(name: PeerName, place: &Place, bounds: Bounds) -> Result<Social> {
    let model = Model::read(&place.follows)?;
    let (account_count, follow_count) = (model.following.len(), model.follow_count);
    let mut peer = name.open(place)?;
    let mut random = StdRng::seed_from_u64(SEED);
    let mut popularity = |skew| Popularity::new(account_count as u32, skew, &mut random);
    let (read, target) = (popularity(READ_SKEW)?, popularity(TARGET_SKEW)?);
    // The accounts that are read most are written most.
    let ranks = Zipf::new(account_count as f64, WRITE_SKEW)?;
    let write = Popularity { by_rank: read.by_rank.clone(), ranks };
    let mut run = Run {
        peer: peer.as_mut(),
        model,
        random,
        read,
        write,
        target,
        clock: LATER_SECONDS,
        reads: Times::default(),
        writes: Times::default(),
        list_count: 0,
        entry_count: 0,
        page: Vec::new(),
    };
    run.mix(bounds.warm_up)?;
    (run.reads, run.writes, run.list_count, run.entry_count) = Default::default();
    run.mix(bounds.measurement)?;
    let seconds = run.reads.sum_seconds() + run.writes.sum_seconds();
    Ok(Social {
        account_count,
        follow_count,
        operations_per_second: (run.reads.count() + run.writes.count()) as f64 / seconds,
        mean_page_entries: run.entry_count as f64 / run.list_count.max(1) as f64,
        reads: run.reads.latency(),
        writes: run.writes.latency(),
    })
}

impl Run<'_> {
    /// Goes on until so much time was spent in the store, or three times as much in all.
    fn mix(&mut self, bound: Duration) -> Result<()> {
        let shares = WeightedIndex::new(MIX.map(|(_, share)| share))?;
        let start = Instant::now();
        loop {
            let (operation, _) = MIX[shares.sample(&mut self.random)];
            match operation {
                Operation::List => self.list(),
                Operation::Add => self.add(),
                Operation::Update => self.update(),
                Operation::Count => self.count(),
                Operation::Delete => self.delete(),
                Operation::Get => self.get(),
            }?;
            let spent = self.reads.sum_seconds() + self.writes.sum_seconds();
            if spent > bound.as_secs_f64() || start.elapsed() > bound * 3 {
                return Ok(());
            }
        }
    }

    fn list(&mut self) -> Result<()> {
        let account = self.read.account(&mut self.random);
        let (name, page, peer) = (name_of(account), &mut self.page, &mut self.peer);
        self.reads.time(|| peer.newest_following(&name, PAGE_ENTRIES, page))?;
        let newest = self.model.list(account).iter().rev().take(PAGE_ENTRIES);
        let right = newest.clone().len() == page.len()
            && newest
                .zip(&*page)
                .all(|(&(at, to), entry)| entry.at == at && entry.account == name_of(to));
        ensure!(right, "the list of {name}: {page:?}");
        self.list_count += 1;
        self.entry_count += page.len();
        Ok(())
    }

    fn count(&mut self) -> Result<()> {
        let account = self.read.account(&mut self.random);
        let (names, mut counts, peer) = ([name_of(account)], Vec::new(), &mut self.peer);
        self.reads.time(|| peer.counts(&names, &mut counts))?;
        let expected = self.model.list(account).len() as u32;
        let following = counts.first().context("no counts")?.following;
        ensure!(following == expected, "{names:?} follows {following}, not {expected}");
        Ok(())
    }

    /// A follow of the account, or where it has none, or every other time if `half`, one that is
    /// probably not there.
    fn pair(&mut self, from: u32, half: bool) -> (u32, u32) {
        let list = self.model.list(from);
        if list.is_empty() || half && self.random.random() {
            return self.new_pair(from);
        }
        (from, list[self.random.random_range(0..list.len())].1)
    }

    fn new_pair(&mut self, from: u32) -> (u32, u32) {
        loop {
            let to = self.target.account(&mut self.random);
            if to != from {
                return (from, to);
            }
        }
    }

    fn get(&mut self) -> Result<()> {
        let from = self.read.account(&mut self.random);
        let (from, to) = self.pair(from, true);
        let (names, peer) = ([name_of(from), name_of(to)], &mut self.peer);
        let is_following = self.reads.time(|| peer.is_following(&names[0], &names[1]))?;
        let expected = self.model.list(from).iter().any(|entry| entry.1 == to);
        ensure!(is_following == expected, "{names:?}: {is_following}, not {expected}");
        Ok(())
    }

    fn add(&mut self) -> Result<()> {
        let from = self.write.account(&mut self.random);
        let (from, to) = self.new_pair(from);
        self.clock += 1;
        let (names, at, peer) = ([name_of(from), name_of(to)], self.clock, &mut self.peer);
        let is_new = self.writes.time(|| peer.follow(&names[0], &names[1], at))?;
        let expected = !self.model.list(from).iter().any(|entry| entry.1 == to);
        ensure!(is_new == expected, "{names:?} added: {is_new}, not {expected}");
        if is_new {
            self.model.following[from as usize].push((at, to));
        }
        Ok(())
    }

    fn update(&mut self) -> Result<()> {
        let from = self.write.account(&mut self.random);
        let (from, to) = self.pair(from, false);
        self.clock += 1;
        let (names, at, peer) = ([name_of(from), name_of(to)], self.clock, &mut self.peer);
        let was_there = self.writes.time(|| peer.refollow(&names[0], &names[1], at))?;
        let expected = self.model.remove(from, to);
        ensure!(was_there == expected, "{names:?} updated: {was_there}, not {expected}");
        if was_there {
            self.model.following[from as usize].push((at, to));
        }
        Ok(())
    }

    fn delete(&mut self) -> Result<()> {
        let from = self.write.account(&mut self.random);
        let (from, to) = self.pair(from, false);
        let (names, peer) = ([name_of(from), name_of(to)], &mut self.peer);
        let was_there = self.writes.time(|| peer.unfollow(&names[0], &names[1]))?;
        let expected = self.model.remove(from, to);
        ensure!(was_there == expected, "{names:?} deleted: {was_there}, not {expected}");
        Ok(())
    }
}
