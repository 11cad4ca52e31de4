//! The image of a load: pieces of the sorted follows are merged, counted and encoded by several
//! threads, and written in order by one.
//!
//! Follows of one load that have the same time (or none) are taken in the order of the account
//! ids. In a list without times the order is then a function of the ids, and takes no space. A load
//! that keeps the order of its lines takes them in that order instead, as commits would.

use crate::accounts::Accounts;
use crate::adjacency::EdgeList;
use crate::edge_sorter::{Cut, Edge, Line, Side, SortedEdges};
use crate::error::Result;
use crate::image::{EncodedAccounts, ImageHeader, ImagePlan, ImageWriter, Position};
use crate::storage::OutputFile;
use crate::types::Counts;
use crate::workers::{Workers, processor_count};
use roaring::RoaringBitmap;
use std::sync::Arc;

/// How many pieces are under way for each thread: one at work, one waiting to be written.
const PIECES_PER_THREAD: usize = 2;

/// Everything a load knows when all its follows are sorted.
pub(super) struct Loaded<L: Line> {
    pub(super) accounts: Accounts,
    pub(super) overflow_name_bytes: u64,
    pub(super) edges: SortedEdges<L>,
}

/// Some accounts ready to be written, and how many of the sorted edges went into them.
struct Piece {
    encoded: EncodedAccounts,
    edge_count: u64,
}

/// Writes the image. `progress` is told how many of how many follows are done. A follow is sorted
/// by both of its ends, and counts as one half done when it is written at either.
pub(super) fn write_image<L: Line>(
    loaded: &Arc<Loaded<L>>,
    position: Position,
    file: Box<dyn OutputFile>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<ImageHeader> {
    let (foreign, id_count) = (RoaringBitmap::new(), loaded.accounts.len());
    let plan = ImagePlan {
        identity: loaded.accounts.identity(),
        position,
        id_count,
        account_count: id_count,
        overflow_name_bytes: loaded.overflow_name_bytes,
        foreign: &foreign,
        shards: None,
    };
    let mut writer = ImageWriter::new(file, plan)?;
    let thread_count = processor_count();
    let under_way_max = thread_count * PIECES_PER_THREAD;
    let encode = {
        let loaded = loaded.clone();
        move |cut: Cut| encode(&loaded, &cut)
    };
    let mut pieces = Workers::start("followgraph-build", thread_count, under_way_max, encode);
    let (mut ends_done, total) = (0, loaded.edges.pushed_count());
    let mut write = |piece: Result<Piece>| -> Result<()> {
        let piece = piece?;
        writer.append(&piece.encoded)?;
        ends_done += piece.edge_count;
        progress(ends_done / 2, total);
        Ok(())
    };
    for cut in loaded.edges.cuts(id_count, under_way_max) {
        pieces.push(cut).map_or(Ok(()), &mut write)?;
    }
    while let Some(piece) = pieces.next() {
        write(piece)?;
    }
    progress(ends_done / 2, total);
    writer.finish(None)
}

/// Merges the follows of some accounts and encodes their lists.
fn encode<L: Line>(loaded: &Loaded<L>, cut: &Cut) -> Result<Piece> {
    let (mut forward, mut backward) = (Vec::new(), Vec::new());
    loaded.edges.merge(cut, Side::Following, &mut forward);
    loaded.edges.merge(cut, Side::Followers, &mut backward);
    let (mut forward, mut backward) = (forward.as_slice(), backward.as_slice());
    let (mut following, mut followers) = (EdgeList::default(), EdgeList::default());
    let no_foreign = RoaringBitmap::new();
    let mut encoded = EncodedAccounts::new(loaded.accounts.identity(), cut.ids.start);
    for id in cut.ids.clone() {
        take_list(&mut forward, id, &mut following);
        take_list(&mut backward, id, &mut followers);
        let counts = Counts {
            followers: followers.len(),
            following: following.len(),
            mutual: shared_count(&following.ids, &followers.ids),
        };
        let name = loaded.accounts.name(id).expect("no account of a load is removed");
        encoded.push(&no_foreign, name, counts, &following, &followers)?;
    }
    Ok(Piece { encoded, edge_count: cut.edge_count })
}

/// Takes the edges of one account off the front of a sorted slice.
fn take_list<L: Line>(edges: &mut &[Edge<L>], id: u32, list: &mut EdgeList) {
    let len = edges.iter().take_while(|edge| edge.from == id).count();
    let (own, rest) = edges.split_at(len);
    *edges = rest;
    list.clear();
    list.ids.extend(own.iter().map(|edge| edge.to));
    list.at.extend(own.iter().map(|edge| edge.at));
    give_ties(own, list);
}

/// Gives follows of the same time their order: by line where lines are kept, by account id where
/// not. Where the oldest group of a list is in the order of the account ids, its ties are the ids
/// themselves, which the image need not store; all others are 0, 1, 2 and on.
fn give_ties<L: Line>(edges: &[Edge<L>], list: &mut EdgeList) {
    let oldest = list.at.iter().copied().min().unwrap_or(0);
    list.tie.clone_from(&list.ids);
    let of_oldest = edges.iter().filter(|edge| edge.at == oldest);
    let oldest_is_by_id = of_oldest.is_sorted_by_key(|edge| edge.line);
    if oldest_is_by_id && list.at.iter().all(|&at| at == oldest) {
        return;
    }
    let is_implied = |i: usize| oldest_is_by_id && list.at[i] == oldest;
    let mut numbered: Vec<usize> = (0..list.ids.len()).filter(|&i| !is_implied(i)).collect();
    numbered.sort_by_key(|&i| (list.at[i], edges[i].line, list.ids[i]));
    for group in numbered.chunk_by(|&a, &b| list.at[a] == list.at[b]) {
        for (tie, &entry) in group.iter().enumerate() {
            list.tie[entry] = tie as u32;
        }
    }
}

/// How many ids two ascending slices share. The image writer counts them in another way and
/// compares.
fn shared_count(a: &[u32], b: &[u32]) -> u32 {
    let (mut a, mut b, mut count) = (a, b, 0);
    while let (Some(first), Some(second)) = (a.first(), b.first()) {
        count += u32::from(first == second);
        let (is_behind, is_ahead) = (first <= second, first >= second);
        a = &a[usize::from(is_behind)..];
        b = &b[usize::from(is_ahead)..];
    }
    count
}
