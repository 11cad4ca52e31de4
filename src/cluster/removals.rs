//! Accounts that go: whoever hosts one says of each of its follows that it goes, some at a time,
//! and then that the account does.
//!
//! All that is needed for that is in the graph, so any host can go on where another stopped. Said
//! twice it does no harm.

use super::message::Operation;
use super::node::{Backend, Shared};
use crate::FollowGraph;
use crate::error::Result;
use crate::list::Page;
use crate::shards::VirtualShard;
use crate::types::AccountId;
use futures_util::future::join_all;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How many follows of each list are said to go at a time.
const STEP: usize = 256;
const PAUSE: Duration = Duration::from_millis(200);
/// How long the hosts further back wait for the one before them to get it done.
const TURN: Duration = Duration::from_secs(10);

/// Brings every removal to its end that concerns an account hosted here.
pub(super) async fn finish<B: Backend>(shared: Arc<Shared<B>>) {
    let mut noticed: HashMap<AccountId, Instant> = HashMap::new();
    loop {
        sleep(PAUSE).await;
        let parts = shared.view.read().parts.clone();
        let mut leaving = HashMap::new();
        for part in &parts {
            for id in part.graph.being_removed() {
                let Some((name, rank)) = rank(&shared, &part.graph, id) else { continue };
                let since = *noticed.entry(id).or_insert_with(Instant::now);
                leaving.insert(id, since);
                if since.elapsed() >= TURN * rank {
                    // What fails now is tried again.
                    let _ = go_on(&shared, &part.graph, id, &name).await;
                }
            }
        }
        noticed = leaving;
    }
}

/// The name of an account that is hosted by this graph, and how many hosts are asked before this
/// node.
fn rank<B>(shared: &Shared<B>, graph: &FollowGraph, id: AccountId) -> Option<(String, u32)> {
    let name = graph.account_name(id).ok()?;
    graph.counts_by_id(id).ok()?;
    let placement = shared.placement.read();
    let hosts = placement.hosts_of(VirtualShard::of(&name));
    let rank = hosts.iter().position(|host| *host == shared.options.name)?;
    Some((name, rank as u32))
}

/// Says that the next follows go, or that the account does.
async fn go_on<B: Backend>(
    shared: &Shared<B>,
    graph: &FollowGraph,
    id: AccountId,
    name: &str,
) -> Result<()> {
    let followers = graph.followers(name, Page::first(STEP))?.entries;
    let following = graph.following(name, Page::first(STEP))?.entries;
    let mut operations = Vec::new();
    for entry in &followers {
        operations.push(Operation::UnfollowId { follower: entry.account_id.0, followed: id.0 });
    }
    for entry in &following {
        operations.push(Operation::UnfollowId { follower: id.0, followed: entry.account_id.0 });
    }
    if operations.is_empty() {
        operations.push(Operation::EndRemoval { id: id.0 });
    }
    let submitted = operations.into_iter().map(|operation| shared.gateway.submit(operation));
    join_all(submitted).await.into_iter().try_for_each(|settled| settled.map(|_| ()))
}
