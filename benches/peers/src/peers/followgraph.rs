//! followgraph itself, as a server links it: calls by name, through the public interface.
//!
//! What was tuned: nothing but the durability, and the memory of the bulk load. A follow with a new
//! time is an unfollow and a follow in one commit. Its clock is the job's, so that follows have the
//! same times everywhere.

use super::{CACHE_BYTES, Entry, Peer, Place};
use anyhow::{Context, Result};
use followgraph::{Counts, Durability, FollowGraph, List, Mutation, Options, Outcome, Page};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub(super) struct Engine {
    directory: PathBuf,
    /// `None` only while it is opened again.
    graph: Option<FollowGraph>,
    clock: Arc<AtomicU32>,
    batch: Vec<followgraph::Result<Counts>>,
}

pub(super) fn load(place: &Place) -> Result<()> {
    let graph = FollowGraph::open(&place.directory)?;
    let mut load = graph.bulk_load(CACHE_BYTES as u64)?;
    place.follows.for_each_named(|from, to, at| Ok(load.add(from, to, Some(at))?))?;
    load.finish(&mut |_, _| {})?;
    Ok(())
}

impl Engine {
    pub(super) fn open(place: &Place) -> Result<Engine> {
        let mut engine = Engine {
            directory: place.directory.clone(),
            graph: None,
            clock: Arc::default(),
            batch: Vec::new(),
        };
        engine.wait_for_disk(false)?;
        Ok(engine)
    }

    fn graph(&self) -> Result<&FollowGraph> {
        self.graph.as_ref().context("the graph is closed")
    }
}

fn fill(list: List, page: &mut Vec<Entry>) {
    page.clear();
    page.extend(
        list.entries
            .into_iter()
            .map(|entry| Entry { account: entry.account, at: entry.followed_at }),
    );
}

impl Peer for Engine {
    fn counts(&mut self, names: &[String], results: &mut Vec<Counts>) -> Result<()> {
        let graph = self.graph.as_ref().context("the graph is closed")?;
        graph.batch_counts_into(names, &mut self.batch);
        results.clear();
        for counts in self.batch.drain(..) {
            results.push(counts?);
        }
        Ok(())
    }

    fn newest_followers(&mut self, name: &str, limit: usize, page: &mut Vec<Entry>) -> Result<()> {
        fill(self.graph()?.followers(name, Page::first(limit))?, page);
        Ok(())
    }

    fn newest_following(&mut self, name: &str, limit: usize, page: &mut Vec<Entry>) -> Result<()> {
        fill(self.graph()?.following(name, Page::first(limit))?, page);
        Ok(())
    }

    fn known_followers(
        &mut self,
        viewer: &str,
        targets: &[String],
        results: &mut Vec<u32>,
    ) -> Result<()> {
        results.clear();
        for known in self.graph()?.known_followers(viewer, targets)? {
            results.push(known?.count);
        }
        Ok(())
    }

    fn is_following(&mut self, from: &str, to: &str) -> Result<bool> {
        Ok(self.graph()?.relation(from, to)?.following)
    }

    fn follow(&mut self, from: &str, to: &str, at: u32) -> Result<bool> {
        self.clock.store(at, Ordering::Relaxed);
        Ok(self.graph()?.follow(from, to)? == Outcome::Applied)
    }

    fn refollow(&mut self, from: &str, to: &str, at: u32) -> Result<bool> {
        if !self.is_following(from, to)? {
            return Ok(false);
        }
        let both = [Mutation::unfollow(from, to), Mutation::follow(from, to).at(at)];
        for outcome in self.graph()?.apply(&both)? {
            outcome?;
        }
        Ok(true)
    }

    fn unfollow(&mut self, from: &str, to: &str) -> Result<bool> {
        Ok(self.graph()?.unfollow(from, to)? == Outcome::Applied)
    }

    fn wait_for_disk(&mut self, wait: bool) -> Result<()> {
        self.graph = None;
        let durability = if wait { Durability::Always } else { Durability::Never };
        let (clock, monotonic) = (Arc::clone(&self.clock), Arc::clone(&self.clock));
        let passed = move || Duration::from_secs(u64::from(monotonic.load(Ordering::Relaxed)));
        let options = Options::new()
            .durability(durability)
            .clock(Arc::new(move || clock.load(Ordering::Relaxed)))
            .monotonic_clock(Arc::new(passed));
        self.graph = Some(options.open(&self.directory)?);
        Ok(())
    }
}
