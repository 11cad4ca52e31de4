//! Proof of counts: what the state keeps, at a glance; and all of it recounted, while others read
//! and write.

use super::care::Moment;
use super::{FollowGraph, Shared};
use crate::accounts::RecordFields;
use crate::adjacency::EdgeList;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{content_follow_hash, content_name_hash};
use crate::graph::Graph;
use crate::storage::Discard;
use crate::store::used_bytes;
use crate::types::{Audit, Verification, VerifyProgress};
use std::ops::ControlFlow;

/// Accounts and entries of lists that are recounted between two words on how far it is.
const TELL_STEP: u64 = 16 * 1024;

impl FollowGraph {
    /// The totals and the fingerprints of both directions, at one moment.
    ///
    /// Cost: the same for every size. These are the sums that every change keeps; `verify` is what
    /// recounts them.
    ///
    /// ```
    /// let graph = followgraph::Options::new().create_missing_accounts(true).in_memory()?;
    /// graph.follow("alice", "bob")?;
    /// let before = graph.audit();
    /// assert!(before.directions_agree());
    /// assert_eq!((before.account_count, before.follow_count, before.mutual_sum), (2, 1, 0));
    /// graph.follow("bob", "alice")?;
    /// assert_ne!(graph.audit().following_fingerprint, before.following_fingerprint);
    /// graph.unfollow("bob", "alice")?;
    /// assert_eq!(graph.audit().following_fingerprint, before.following_fingerprint);
    /// # Ok::<(), followgraph::Error>(())
    /// ```
    pub fn audit(&self) -> Audit {
        self.shared.keep_up();
        let graph = self.shared.state.read();
        let totals = graph.totals();
        Audit {
            sequence: graph.position().sequence,
            account_count: u64::from(totals.account_count),
            foreign_account_count: u64::from(totals.foreign_count),
            follow_count: totals.follow_count,
            followers_sum: totals.follower_entries,
            following_sum: totals.following_entries,
            mutual_sum: totals.mutual_sum,
            following_fingerprint: totals.following_fingerprint,
            followers_fingerprint: totals.follower_fingerprint,
        }
    }

    /// Reads every byte of the image and the log, recounts every count from the sets, with real
    /// intersections, and compares both directions, the counters and the live graph. Readers and
    /// writers go on meanwhile.
    ///
    /// Cost: reads the whole graph, in memory that grows with the accounts (21 bytes each), not
    /// with the follows, and with what changed since the last checkpoint.
    ///
    /// # Errors
    ///
    /// `Corrupt` with file and offset, or `AuditFailed` with what differs.
    ///
    /// ```
    /// let graph = followgraph::FollowGraph::in_memory();
    /// graph.add_account("alice")?;
    /// assert_eq!(graph.verify()?.account_count, 1);
    /// # Ok::<(), followgraph::Error>(())
    /// ```
    pub fn verify(&self) -> Result<Verification> {
        self.shared.verify(&mut Told::new(&mut |_| ControlFlow::Continue(())))
    }

    /// [`verify`](FollowGraph::verify) that says how far it is, now and then, and stops when it is
    /// told to: then there is `None`, and no trace of it.
    ///
    /// # Errors
    ///
    /// As [`verify`](FollowGraph::verify).
    ///
    /// ```
    /// use std::ops::ControlFlow;
    /// let graph = followgraph::FollowGraph::in_memory();
    /// graph.add_account("alice")?;
    /// let mut last = followgraph::VerifyProgress::default();
    /// let verified = graph.verify_with(&mut |progress| {
    ///     last = progress;
    ///     ControlFlow::Continue(())
    /// })?;
    /// assert_eq!(verified.expect("it was not stopped").account_count, 1);
    /// assert_eq!((last.accounts_done, last.account_count), (1, 1));
    /// assert!(graph.verify_with(&mut |_| ControlFlow::Break(()))?.is_none());
    /// # Ok::<(), followgraph::Error>(())
    /// ```
    pub fn verify_with(
        &self,
        watch: &mut dyn FnMut(VerifyProgress) -> ControlFlow<()>,
    ) -> Result<Option<Verification>> {
        let mut told =
            Told { progress: VerifyProgress::default(), since: 0, stopped: false, watch };
        match self.shared.verify(&mut told) {
            Err(_) if told.stopped => Ok(None),
            verified => verified.map(Some),
        }
    }
}

/// How far it is, and whom to tell.
struct Told<'a> {
    progress: VerifyProgress,
    /// Accounts and entries since the last word.
    since: u64,
    stopped: bool,
    watch: &'a mut dyn FnMut(VerifyProgress) -> ControlFlow<()>,
}

impl<'a> Told<'a> {
    fn new(watch: &'a mut dyn FnMut(VerifyProgress) -> ControlFlow<()>) -> Told<'a> {
        Told { progress: VerifyProgress::default(), since: 0, stopped: false, watch }
    }

    /// Tells. An error ends what is under way; its words reach nobody.
    fn tell(&mut self) -> Result<()> {
        self.since = 0;
        self.stopped = (self.watch)(self.progress).is_break();
        if self.stopped { Err(Error::bare(ErrorKind::Closed)) } else { Ok(()) }
    }

    fn read(&mut self, bytes: u64) -> Result<()> {
        self.progress.bytes_done += bytes;
        self.tell()
    }

    fn recounted(&mut self, entries: usize) -> Result<()> {
        self.progress.accounts_done += 1;
        self.since += 1 + entries as u64;
        let is_last = self.progress.accounts_done == self.progress.account_count;
        if self.since >= TELL_STEP || is_last { self.tell() } else { Ok(()) }
    }
}

impl Shared {
    fn verify(&self, told: &mut Told<'_>) -> Result<Verification> {
        self.keep_up_or_fail()?;
        let _one_at_a_time = self.checkpoint.take()?;
        let moment = self.moment();
        told.progress = self.to_be_verified(&moment);
        told.tell()?;
        let mut recovered = self.recover_watched(&moment, &mut |bytes| told.read(bytes))?;
        let graph = &recovered.graph;
        let mut content = Content::new(graph);
        told.progress.account_count = u64::from(graph.accounts().len());
        let mut following_and_followers = |id: u32, following: &EdgeList, followers: &EdgeList| {
            content.add(graph, id, following, followers);
            told.recounted(following.ids.len() + followers.ids.len())
        };
        let file = Box::new(Discard);
        let header =
            graph.write_image_watched(file, &moment.totals, true, &mut following_and_followers)?;
        let (content_fingerprint, account_fingerprint) = (content.follows, content.accounts);
        self.compare_with_live(&mut recovered, moment.image_sequence)?;
        Ok(Verification {
            account_count: u64::from(header.totals.account_count),
            follow_count: header.totals.follow_count,
            sequence: moment.sequence,
            fingerprint: header.totals.following_fingerprint,
            content_fingerprint,
            account_fingerprint,
        })
    }

    /// How much there is to do. The caller holds the checkpoint lock, so that the image stays.
    fn to_be_verified(&self, moment: &Moment) -> VerifyProgress {
        let live = self.state.read();
        VerifyProgress {
            byte_count: live.image().header.section_bytes() + used_bytes(&moment.extents),
            account_count: u64::from(live.accounts().len()),
            ..VerifyProgress::default()
        }
    }
}

/// What a graph says whatever its key and its ids: sums of published hashes.
struct Content {
    /// Of each name, by id; 0 where the account is gone.
    name_hashes: Vec<u64>,
    has_foreign: bool,
    follows: u64,
    accounts: u64,
}

impl Content {
    fn new(graph: &Graph) -> Content {
        let accounts = graph.accounts();
        let name_hash = |id: u32| accounts.name(id).map_or(0, content_name_hash);
        let name_hashes: Vec<u64> = (0..accounts.len()).map(name_hash).collect();
        Content {
            accounts: name_hashes.iter().fold(0, |sum, hash| sum.wrapping_add(*hash)),
            has_foreign: graph.totals().foreign_count > 0,
            name_hashes,
            follows: 0,
        }
    }

    /// Adds the follows of an account: those it follows, and of its followers those whose own
    /// lists are elsewhere, so that each follow counts once.
    fn add(&mut self, graph: &Graph, id: u32, following: &EdgeList, followers: &EdgeList) {
        let hash = |id: u32| self.name_hashes.get(id as usize).copied().unwrap_or(0);
        let own = hash(id);
        let outgoing = following.ids.iter().map(|&to| content_follow_hash(own, hash(to)));
        let mut sum = outgoing.fold(self.follows, u64::wrapping_add);
        if self.has_foreign {
            let is_foreign = |id: u32| {
                let record = graph.accounts().live(id);
                record.is_some_and(RecordFields::is_foreign)
            };
            let incoming = followers.ids.iter().filter(|&&from| is_foreign(from));
            let incoming = incoming.map(|&from| content_follow_hash(hash(from), own));
            sum = incoming.fold(sum, u64::wrapping_add);
        }
        self.follows = sum;
    }
}
