//! The state: an image, and what the log says since.
//!
//! [`Graph::check`] says whether a record fits; [`Graph::apply`] then cannot fail. Replay has the
//! log in front of it and takes it account by account. There is no I/O, no clock and no lock in
//! here.
//!
//! Every rule about a follow is decided at either of its ends alone, because each end keeps its
//! own complete pair of lists. An account may be foreign: its sets are on another node, and only
//! the other end of its follows is kept here.

mod changes;
mod compose;
mod deltas;
mod questions;
mod removal;
mod replay;

pub(crate) use changes::Fit;
pub(crate) use compose::{Composition, Part};
pub(crate) use removal::RemovalPlace;
pub(crate) use replay::Replay;

use crate::accounts::{Accounts, INLINE_NAME_BYTES, RecordFields};
use crate::adjacency::{EdgeList, ListDelta, Neighbors};
use crate::error::{Error, ErrorKind, Result};
use crate::image::{Image, ImageHeader, ImagePlan, ImageWriter, Position, Totals};
use crate::shards::{Shards, VirtualShard};
use crate::storage::{OutputFile, Storage};
use deltas::{AccountDelta, BlockDeltas};
use roaring::RoaringBitmap;

/// The whole graph at one log position.
pub(crate) struct Graph {
    image: Image,
    accounts: Accounts,
    /// One for each block of accounts up to the last that has changes.
    deltas: Vec<BlockDeltas>,
    totals: Totals,
    /// Present where the graph is sharded.
    shards: Option<Shards>,
    position: Position,
    /// The latest follow time of the image and of what was applied since.
    newest_at: u32,
    changed_record_count: u64,
    /// What removed accounts have left behind, too large to be freed while readers wait.
    discarded: Vec<ListDelta>,
}

/// Both lists of an account as they are now.
#[derive(Clone, Copy)]
pub(crate) struct Lists<'a> {
    /// Whom the account follows.
    pub(crate) following: Neighbors<'a>,
    /// Who follows the account.
    pub(crate) followers: Neighbors<'a>,
}

/// Which of an account's two lists.
#[derive(Clone, Copy, Default)]
enum Side {
    Following,
    #[default]
    Followers,
}

impl Graph {
    /// The graph an image holds. Cost: the same for every size.
    pub(crate) fn open(storage: &dyn Storage, image: Image) -> Result<Graph> {
        Ok(Graph {
            accounts: image.accounts(storage)?,
            deltas: Vec::new(),
            totals: image.header.totals,
            shards: image.shards()?,
            position: image.header.position,
            newest_at: image.header.newest_at,
            changed_record_count: 0,
            discarded: Vec::new(),
            image,
        })
    }

    /// The image below the changes.
    pub(crate) fn image(&self) -> &Image {
        &self.image
    }

    /// The accounts.
    pub(crate) fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// Takes the accounts out and puts others in: on a private graph, to give ids behind its own to
    /// names that it does not have. In between it can answer nothing.
    pub(crate) fn swap_accounts(&mut self, accounts: &mut Accounts) {
        std::mem::swap(&mut self.accounts, accounts);
    }

    /// Makes this private graph one of another id, as which it will be written.
    pub(crate) fn set_graph_id(&mut self, graph_id: [u8; 16]) {
        self.image.header.identity.graph_id = graph_id;
    }

    /// The accounts, to damage them.
    #[cfg(test)]
    pub(crate) fn accounts_mut(&mut self) -> &mut Accounts {
        &mut self.accounts
    }

    /// The sums kept so far.
    pub(crate) fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Which shards are hosted, and their digests; `None` where the graph is not sharded.
    pub(crate) fn shards(&self) -> Option<&Shards> {
        self.shards.as_ref()
    }

    /// Whether the lists of an account of this name are kept here: a graph that is not sharded
    /// keeps all that it is not told to be foreign.
    pub(crate) fn is_hosted(&self, name: &str) -> bool {
        self.shards.as_ref().is_none_or(|shards| shards.hosted.contains(VirtualShard::of(name)))
    }

    /// The last frame that is part of this state, and what it carried.
    pub(crate) fn position(&self) -> Position {
        self.position
    }

    /// The latest follow time of the image and of what was applied since, also of follows that are
    /// gone.
    pub(crate) fn newest_at(&self) -> u32 {
        self.newest_at
    }

    /// How many records were applied since the image.
    pub(crate) fn changed_record_count(&self) -> u64 {
        self.changed_record_count
    }

    /// The record of an account that exists.
    #[inline]
    fn live(&self, id: u32) -> Result<&[u8]> {
        self.accounts.live(id).ok_or_else(|| self.no_account(id))
    }

    /// Why an id has no account: there is none, or its record is damaged.
    #[cold]
    fn no_account(&self, id: u32) -> Error {
        self.accounts.check(id).err().unwrap_or(Error::bare(ErrorKind::UnknownAccount))
    }

    fn is_local(&self, id: u32) -> bool {
        self.accounts.live(id).is_some_and(|record| !record.is_foreign())
    }

    /// What changed at an account since the image.
    fn delta(&self, id: u32, record: &[u8]) -> Option<&AccountDelta> {
        self.deltas.get(self.accounts.block_of(id))?.get(id, record)
    }

    /// Asks for what a few follows or unfollows will look at, all at once: first the records, then
    /// what they point to, then what that points to.
    pub(crate) fn prefetch_follows(&self, pairs: &[(u32, u32)]) {
        for &(from, to) in pairs {
            self.accounts.prefetch_record(from);
            self.accounts.prefetch_record(to);
        }
        for pair in pairs {
            let (from, to) = (self.accounts.record(pair.0), self.accounts.record(pair.1));
            let (Some(from), Some(to)) = (from, to) else { continue };
            let nearer = if is_decided_at(from, to) { from } else { to };
            self.image.prefetch_sets(nearer.sets_offset());
            self.prefetch_delta(pair.0, from);
            self.prefetch_delta(pair.1, to);
        }
        for &(from, to) in pairs {
            for (id, side) in [(from, Side::Following), (to, Side::Followers)] {
                let delta = self.accounts.record(id).and_then(|record| self.delta(id, record));
                if let Some(delta) = delta {
                    delta.side(side).prefetch();
                }
            }
        }
    }

    #[inline]
    fn prefetch_delta(&self, id: u32, record: &[u8]) {
        if let Some(deltas) = self.deltas.get(self.accounts.block_of(id)) {
            deltas.prefetch(record);
        }
    }

    /// Asks for the memory that the follower lists of these accounts begin at, all at once: what
    /// would be one cache miss after the other becomes as many at the same time.
    pub(crate) fn prefetch_followers(&self, ids: &[u32]) {
        for &id in ids {
            self.accounts.prefetch_record(id);
        }
        for &id in ids {
            let Some(record) = self.accounts.record(id) else { continue };
            self.image.prefetch_sets(record.sets_offset());
            self.prefetch_delta(id, record);
        }
        for record in ids.iter().filter_map(|&id| self.accounts.record(id)) {
            self.image.prefetch_followers(record.sets_offset());
        }
    }

    /// The ids of foreign accounts. Cost: a look at every record, where there are any.
    fn foreign_ids(&self) -> RoaringBitmap {
        if self.totals.foreign_count == 0 {
            return RoaringBitmap::new();
        }
        let is_foreign = |id: &u32| self.accounts.live(*id).is_some_and(RecordFields::is_foreign);
        (0..self.accounts.len()).filter(is_foreign).collect()
    }

    /// Streams the whole graph out as an image and recounts it on the way. With `deeply`, every
    /// list is also read back entry by entry and every name looked up.
    pub(crate) fn write_image(
        &self,
        file: Box<dyn OutputFile>,
        expected: &Totals,
        deeply: bool,
    ) -> Result<ImageHeader> {
        self.write_image_watched(file, expected, deeply, &mut |_, _, _| Ok(()))
    }

    /// The same; `watch` is shown every id with its lists, and an error of its ends it.
    pub(crate) fn write_image_watched(
        &self,
        file: Box<dyn OutputFile>,
        expected: &Totals,
        deeply: bool,
        watch: &mut dyn FnMut(u32, &EdgeList, &EdgeList) -> Result<()>,
    ) -> Result<ImageHeader> {
        let foreign = self.foreign_ids();
        let overflow_name_bytes = (0..self.accounts.len())
            .filter_map(|id| self.accounts.live(id))
            .map(RecordFields::name_bytes)
            .filter(|&name_bytes| name_bytes > INLINE_NAME_BYTES)
            .map(|name_bytes| name_bytes as u64)
            .sum();
        let plan = ImagePlan {
            identity: self.image.header.identity,
            position: self.position,
            id_count: self.accounts.len(),
            account_count: self.totals.account_count,
            overflow_name_bytes,
            foreign: &foreign,
            shards: self.shards.as_ref(),
        };
        let mut writer = ImageWriter::new(file, plan)?;
        let (mut following, mut followers) = (EdgeList::default(), EdgeList::default());
        for id in 0..self.accounts.len() {
            following.clear();
            followers.clear();
            let Some(record) = self.accounts.live(id) else {
                writer.push_removed()?;
                watch(id, &following, &followers)?;
                continue;
            };
            if !record.is_foreign() {
                if deeply {
                    let sets = self.image.sets(record.sets_offset())?;
                    sets.validate()?;
                    self.image.check_newest(sets.newest_at()?)?;
                }
                let lists = self.lists(id)?;
                lists.following.decode_into(&mut following)?;
                lists.followers.decode_into(&mut followers)?;
            }
            let name = self.name(id)?;
            if deeply && self.accounts.lookup(name) != Some(id) {
                let error = Error::corrupt(format!("the index does not find {name:?}"));
                return Err(error.at_path(self.image.path()));
            }
            let being_removed = record.is_being_removed();
            writer.push(name, being_removed, record.counts(), &following, &followers)?;
            watch(id, &following, &followers)?;
        }
        writer.finish(Some(expected))
    }

    /// Bytes on the heap for what changed since the image. Cost: a look at every changed account.
    pub(crate) fn heap_bytes(&self) -> usize {
        let deltas: usize = self.deltas.iter().map(BlockDeltas::heap_bytes).sum();
        let tables = self.deltas.capacity() * size_of::<BlockDeltas>();
        deltas + tables + self.accounts.heap_bytes()
    }
}

/// Whether a relation is read at the first of its two ends. Either local end knows all of it; the
/// one with fewer entries reads fewer bytes.
#[inline]
fn is_decided_at(record: &[u8], other: &[u8]) -> bool {
    let entries = |record: &[u8]| {
        let counts = record.counts();
        u64::from(counts.followers) + u64::from(counts.following)
    };
    other.is_foreign() || (!record.is_foreign() && entries(record) <= entries(other))
}
