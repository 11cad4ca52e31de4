//! Bulk load: a whole edge list into an empty graph, by sorting and streaming an image.
//!
//! Follows of one load that have the same time (or none) are taken in the order of the account
//! ids. In a list without times the order is then a function of the ids, and takes no space.

use super::{Commit, FollowGraph, Shared};
use crate::accounts::{Accounts, BATCH, INLINE_NAME_BYTES};
use crate::adjacency::EdgeList;
use crate::edge_sorter::{Edge, EdgeSorter, SortedEdges};
use crate::error::{Error, ErrorKind, Result};
use crate::format::check_name;
use crate::graph::Graph;
use crate::image::{Image, ImageHeader, ImagePlan, ImageWriter, Position, bitmap_intersection_len};
use crate::storage::OutputFile;
use crate::store::publish;
use crate::types::Counts;
use roaring::RoaringBitmap;
use std::iter::Peekable;
use std::sync::atomic::{AtomicBool, Ordering};

/// A bulk load under way. Dropping it without [`finish`](BulkLoad::finish) leaves the graph empty.
pub struct BulkLoad<'a> {
    shared: &'a Shared,
    accounts: Accounts,
    overflow_name_bytes: u64,
    sorter: EdgeSorter<'a>,
    _turn: LoadingTurn<'a>,
    memory_bytes: u64,
    self_follow_count: u64,
    waiting: Waiting,
}

/// What a bulk load did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BulkReport {
    /// Accounts added.
    pub account_count: u64,
    /// Follows loaded.
    pub follow_count: u64,
    /// Follows of oneself, left out.
    pub self_follow_count: u64,
    /// Repeated follows, left out: the first one counts.
    pub duplicate_count: u64,
}

/// The least memory a load is given for its edges.
const MEMORY_BYTES_MIN: u64 = 1 << 20;
/// How many edges pass between two reports of progress.
const PROGRESS_STEP: u64 = 1 << 18;

impl FollowGraph {
    /// Begins to load an edge list into this graph, which must be empty. `memory_bytes` bounds
    /// the memory for the edges; more of them are spilled to temporary files beside the graph.
    /// The accounts (names and index) come on top.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` when the graph is not empty or another load is under way.
    ///
    /// ```
    /// let graph = followgraph::FollowGraph::in_memory();
    /// let mut load = graph.bulk_load(64 << 20)?;
    /// load.add("alice", "bob", None)?;
    /// load.add("bob", "alice", None)?;
    /// let report = load.finish(&mut |_done, _total| {})?;
    /// assert_eq!((report.account_count, report.follow_count), (2, 2));
    /// assert_eq!(graph.counts("alice")?.mutual, 1);
    /// # Ok::<(), followgraph::Error>(())
    /// ```
    pub fn bulk_load(&self, memory_bytes: u64) -> Result<BulkLoad<'_>> {
        let shared = self.shared.as_ref();
        shared.refuse_if_not_empty()?;
        let turn = LoadingTurn::take(&shared.bulk_loading)?;
        let identity = shared.commit.lock().store.identity();
        let memory_bytes = memory_bytes.max(MEMORY_BYTES_MIN) / 2;
        Ok(BulkLoad {
            shared,
            accounts: Accounts::empty(identity),
            overflow_name_bytes: 0,
            sorter: EdgeSorter::new(shared.storage.as_ref(), "following", memory_bytes),
            _turn: turn,
            memory_bytes,
            self_follow_count: 0,
            waiting: Waiting::default(),
        })
    }
}

impl BulkLoad<'_> {
    /// Adds a follow; accounts are made as their names first appear. A follow of oneself is
    /// counted and left out. Without a time the follow's time is not known.
    ///
    /// # Errors
    ///
    /// `InvalidName`: nothing was added, and the load can go on. `DiskFull` or `Io` when spilling
    /// this follow or one before it fails: the load cannot go on.
    pub fn add(&mut self, follower: &str, followed: &str, at: Option<u32>) -> Result<()> {
        for name in [follower, followed] {
            check_name(name).map_err(|error| error.about(name))?;
        }
        self.waiting.push(follower, followed, at.unwrap_or(0));
        if self.waiting.follows.len() == WAITING_FOLLOWS { self.flush() } else { Ok(()) }
    }

    /// Gives the waiting names their ids and hands the follows to the sorter.
    fn flush(&mut self) -> Result<()> {
        let mut waiting = std::mem::take(&mut self.waiting);
        let names: Vec<&str> = waiting.names().collect();
        let mut ids = [None; BATCH];
        for (names, follows) in
            names.chunks(BATCH).zip(waiting.follows.chunks(WAITING_FOLLOWS_PER_BATCH))
        {
            self.accounts.lookup_batch(names, &mut ids);
            for (place, follow) in follows.iter().enumerate() {
                let from = self.intern(names[2 * place], ids[2 * place])?;
                let to = self.intern(names[2 * place + 1], ids[2 * place + 1])?;
                if from == to {
                    self.self_follow_count += 1;
                } else {
                    self.sorter.push(Edge { from, to, at: follow.at })?;
                }
            }
        }
        waiting.clear();
        self.waiting = waiting;
        Ok(())
    }

    /// The id of a name: found before, or given now. A name can come twice in one batch.
    fn intern(&mut self, name: &str, found: Option<u32>) -> Result<u32> {
        if let Some(id) = found.or_else(|| self.accounts.lookup(name)) {
            return Ok(id);
        }
        if !self.accounts.has_room() {
            let message = "the edge list names more accounts than a graph can hold";
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        if name.len() > INLINE_NAME_BYTES {
            self.overflow_name_bytes += name.len() as u64;
        }
        Ok(self.accounts.add(name, false))
    }

    /// Sorts the follows, streams them out as an image, recounts it, and makes it the graph.
    /// `progress` is told now and then how many of how many entries are written.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` when the graph is no longer empty; `DiskFull`, `Io`, `AuditFailed`. The
    /// graph is as it was.
    pub fn finish(mut self, progress: &mut dyn FnMut(u64, u64)) -> Result<BulkReport> {
        self.flush()?;
        let BulkLoad { shared, accounts, overflow_name_bytes, sorter, memory_bytes, .. } = self;
        let following = sorter.finish()?;
        let mut backward = EdgeSorter::new(shared.storage.as_ref(), "followers", memory_bytes);
        for edge in unique(&following) {
            let Edge { from, to, at } = edge?;
            backward.push(Edge { from: to, to: from, at })?;
        }
        let followers = backward.finish()?;
        let report = BulkReport {
            account_count: u64::from(accounts.len()),
            follow_count: followers.len(),
            self_follow_count: self.self_follow_count,
            duplicate_count: following.len() - followers.len(),
        };
        let edges = LoadedEdges { accounts, overflow_name_bytes, following, followers };
        shared.replace_empty_graph(|position, file| edges.write_image(position, file, progress))?;
        Ok(report)
    }
}

/// Everything a load knows when all its edges are sorted.
struct LoadedEdges<'a> {
    accounts: Accounts,
    overflow_name_bytes: u64,
    following: SortedEdges<'a>,
    followers: SortedEdges<'a>,
}

impl LoadedEdges<'_> {
    fn write_image(
        &self,
        position: Position,
        file: Box<dyn OutputFile>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<ImageHeader> {
        let entry_count = 2 * self.followers.len();
        let foreign = RoaringBitmap::new();
        let plan = ImagePlan {
            identity: self.accounts.identity(),
            position,
            id_count: self.accounts.len(),
            account_count: self.accounts.len(),
            overflow_name_bytes: self.overflow_name_bytes,
            foreign: &foreign,
        };
        let mut writer = ImageWriter::new(file, plan)?;
        let (mut forward, mut backward) =
            (unique(&self.following).peekable(), unique(&self.followers).peekable());
        let (mut own_following, mut own_followers) = (EdgeList::default(), EdgeList::default());
        let (mut done, mut reported) = (0, 0);
        for id in 0..self.accounts.len() {
            take_list(&mut forward, id, &mut own_following)?;
            take_list(&mut backward, id, &mut own_followers)?;
            let counts = Counts {
                followers: own_followers.ids.len() as u32,
                following: own_following.ids.len() as u32,
                mutual: bitmap_intersection_len(&own_following.ids, &own_followers.ids) as u32,
            };
            let name = self.accounts.name(id).expect("no account of a load is removed");
            writer.push(name, counts, &own_following, &own_followers)?;
            done += u64::from(counts.followers) + u64::from(counts.following);
            if done - reported >= PROGRESS_STEP {
                reported = done;
                progress(done, entry_count);
            }
        }
        progress(done, entry_count);
        writer.finish(None)
    }
}

/// How many follows of a load are looked up in step: each has two names.
const WAITING_FOLLOWS_PER_BATCH: usize = BATCH / 2;
/// How many follows wait to be looked up.
const WAITING_FOLLOWS: usize = 8 * WAITING_FOLLOWS_PER_BATCH;

/// Follows whose names wait to be looked up together, so that their cache misses overlap.
#[derive(Default)]
struct Waiting {
    /// The names, one after the other without a gap.
    text: String,
    follows: Vec<WaitingFollow>,
}

struct WaitingFollow {
    follower_bytes: usize,
    followed_bytes: usize,
    at: u32,
}

impl Waiting {
    fn push(&mut self, follower: &str, followed: &str, at: u32) {
        self.text.push_str(follower);
        self.text.push_str(followed);
        let (follower_bytes, followed_bytes) = (follower.len(), followed.len());
        self.follows.push(WaitingFollow { follower_bytes, followed_bytes, at });
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        let lengths =
            self.follows.iter().flat_map(|follow| [follow.follower_bytes, follow.followed_bytes]);
        let mut rest = self.text.as_str();
        lengths.map(move |name_bytes| {
            let (name, behind) = rest.split_at(name_bytes);
            rest = behind;
            name
        })
    }

    fn clear(&mut self) {
        self.text.clear();
        self.follows.clear();
    }
}

/// One load at a time: their spill files have the same names.
struct LoadingTurn<'a>(&'a AtomicBool);

impl LoadingTurn<'_> {
    fn take(loading: &AtomicBool) -> Result<LoadingTurn<'_>> {
        if loading.swap(true, Ordering::AcqRel) {
            let message = "another bulk load is under way";
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        Ok(LoadingTurn(loading))
    }
}

impl Drop for LoadingTurn<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Shared {
    fn refuse_if_not_empty(&self) -> Result<()> {
        if self.state.read().accounts().len() == 0 {
            return Ok(());
        }
        let message = "a bulk load needs an empty graph; use `apply` for this one";
        Err(Error::new(ErrorKind::InvalidArgument, message))
    }

    /// Takes a sequence number for the load with an empty frame, and puts an image of that
    /// sequence in the place of the empty graph. Writers wait meanwhile.
    fn replace_empty_graph(
        &self,
        write: impl FnOnce(Position, Box<dyn OutputFile>) -> Result<ImageHeader>,
    ) -> Result<()> {
        let _one_at_a_time = self.checkpoint.lock();
        let mut guard = self.commit.lock();
        let commit: &mut Commit = &mut guard;
        self.refuse_if_latched(commit)?;
        self.refuse_if_not_empty()?;
        let sequence = commit.sequence + 1;
        commit.store.reserve(crate::log::frame_bytes(8) as u64, sequence, &self.sync)?;
        commit.records.clear();
        self.append_frame(commit, sequence, self.sync.durable(), None);
        self.state.write().commit(sequence, None);
        commit.store.seal(sequence + 1, &self.sync)?;
        self.sync.wait_for(sequence)?;

        let storage = self.storage.as_ref();
        let position = self.state.read().position();
        publish(storage, sequence, |file| write(position, file))?;
        let graph = Graph::open(storage, Image::open(storage, sequence)?)?;
        *self.state.write() = graph;
        self.adopt(commit, sequence, false)
    }
}

/// The edges of a sorted list without repeats: the first one counts.
fn unique<'a>(edges: &'a SortedEdges<'_>) -> impl Iterator<Item = Result<Edge>> + 'a {
    let mut last = None;
    edges.iter().filter(move |edge| match edge {
        Ok(edge) => last.replace((edge.from, edge.to)) != Some((edge.from, edge.to)),
        Err(_) => true,
    })
}

/// Takes the edges of one account off the front of a sorted list.
fn take_list(
    edges: &mut Peekable<impl Iterator<Item = Result<Edge>>>,
    id: u32,
    list: &mut EdgeList,
) -> Result<()> {
    list.clear();
    while let Some(edge) = edges.next_if(|edge| edge.as_ref().map_or(true, |edge| edge.from == id))
    {
        let edge = edge?;
        list.ids.push(edge.to);
        list.at.push(edge.at);
    }
    give_ties(list);
    Ok(())
}

/// The places of a load's follows among follows of the same time: the oldest group of a list by
/// account id itself, which the image need not store; the others 0, 1, 2 and on by account id.
fn give_ties(list: &mut EdgeList) {
    let oldest = list.at.iter().copied().min().unwrap_or(0);
    list.tie.clone_from(&list.ids);
    if list.at.iter().all(|&at| at == oldest) {
        return;
    }
    let mut newer: Vec<usize> = (0..list.ids.len()).filter(|&i| list.at[i] != oldest).collect();
    newer.sort_by_key(|&i| (list.at[i], list.ids[i]));
    for group in newer.chunk_by(|&a, &b| list.at[a] == list.at[b]) {
        for (tie, &entry) in group.iter().enumerate() {
            list.tie[entry] = tie as u32;
        }
    }
}
