//! The job: the same questions and changes for every peer. All answers are checked before anything
//! is timed, and once more when all is done.

use crate::follows::LATER_SECONDS;
use crate::latency::{Bounds, Latency, Times, measure};
use crate::peers::{Entry, Peer, PeerName, Place};
use crate::plan::{PAGE_ENTRIES, Pair, Plan, counts_of};
use crate::resident::Resident;
use anyhow::{Context, Result, ensure};
use followgraph::Counts;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// Questions of one kind that are asked again at the end, to see that everything is as it was.
const CHECKED_AGAIN: usize = 50;
/// How many pairs are followed and unfollowed with a look at everything they change.
const CHECKED_PAIRS: usize = 40;
/// Opening is measured again as often as this, where it is quick enough.
const OPENINGS: usize = 5;
const OPENINGS_BOUND: Duration = Duration::from_secs(2);

/// What a peer that has loaded a graph answers, and how fast.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Answered {
    /// From the closed store to the first count, with the files in the page cache.
    pub(crate) open_seconds: f64,
    pub(crate) batch: Option<Latency>,
    pub(crate) page: Option<Latency>,
    pub(crate) known_followers: Option<Latency>,
    /// After opening and all the reads, above what the process had before it opened the store.
    pub(crate) resident: Resident,
    pub(crate) follow: Option<Latency>,
    pub(crate) unfollow: Option<Latency>,
    pub(crate) durable_follow: Option<Latency>,
    pub(crate) durable_unfollow: Option<Latency>,
}

/// Does the whole job on a graph that the peer has loaded and closed.
pub(crate) fn run(name: PeerName, place: &Place, plan: &Plan, bounds: Bounds) -> Result<Answered> {
    let before = Resident::own()?;
    let (mut peer, open_seconds) = open(name, place, plan)?;
    check_reads(peer.as_mut(), plan, usize::MAX)?;
    let mut counts = Vec::new();
    let batch = measure(bounds, &plan.batches, |names| peer.counts(names, &mut counts))?;
    let mut entries = Vec::new();
    let page = measure(bounds, &plan.pages, |name| {
        peer.newest_followers(name, PAGE_ENTRIES, &mut entries)
    })?;
    let mut known = Vec::new();
    let known_followers = measure(bounds, &plan.viewers, |viewer| {
        peer.known_followers(&viewer.name, &viewer.targets, &mut known)
    })?;
    let resident = peer.resident(before)?;

    let mut clock = LATER_SECONDS;
    for pair in plan.pairs.iter().take(CHECKED_PAIRS) {
        check_pair(peer.as_mut(), pair, &mut clock)
            .with_context(|| format!("{} follows {}", pair.from, pair.to))?;
    }
    let (follow, unfollow) = writes(peer.as_mut(), plan, bounds, &mut clock, usize::MAX)?;
    let (durable_follow, durable_unfollow) = if name.is_durable() {
        peer.wait_for_disk(true)?;
        writes(peer.as_mut(), plan, bounds, &mut clock, bounds.durable_count_max)?
    } else {
        (None, None)
    };
    check_reads(peer.as_mut(), plan, CHECKED_AGAIN).context("after all writes were undone")?;
    Ok(Answered {
        open_seconds,
        batch,
        page,
        known_followers,
        resident,
        follow,
        unfollow,
        durable_follow,
        durable_unfollow,
    })
}

/// Opens the store some times, each until the first count is answered, and keeps the last one.
fn open(name: PeerName, place: &Place, plan: &Plan) -> Result<(Box<dyn Peer>, f64)> {
    let mut times = Vec::new();
    let all = Instant::now();
    loop {
        let start = Instant::now();
        let mut peer = name.open(place)?;
        peer.counts(&plan.batches[0][..1], &mut Vec::new())?;
        times.push(start.elapsed().as_secs_f64());
        if times.len() == OPENINGS || all.elapsed() > OPENINGS_BOUND {
            times.sort_unstable_by(f64::total_cmp);
            return Ok((peer, times[times.len() / 2]));
        }
    }
}

fn check_reads(peer: &mut dyn Peer, plan: &Plan, limit: usize) -> Result<()> {
    let mut counts = Vec::new();
    for (names, expected) in plan.batches.iter().zip(&plan.answers.batches).take(limit) {
        peer.counts(names, &mut counts)?;
        let expected: Vec<Counts> = expected.iter().copied().map(counts_of).collect();
        ensure!(counts == expected, "counts of {names:?}: {counts:?}, not {expected:?}");
    }
    let mut page = Vec::new();
    for (name, expected) in plan.pages.iter().zip(&plan.answers.pages).take(limit) {
        peer.newest_followers(name, PAGE_ENTRIES, &mut page)?;
        ensure!(page == *expected, "followers of {name}: {page:?}, not {expected:?}");
    }
    let mut known = Vec::new();
    for (viewer, expected) in plan.viewers.iter().zip(&plan.answers.viewers).take(limit) {
        peer.known_followers(&viewer.name, &viewer.targets, &mut known)?;
        let name = &viewer.name;
        ensure!(known == *expected, "known followers of {name}: {known:?}, not {expected:?}");
    }
    Ok(())
}

/// Follows and unfollows one pair and looks at everything that must change or stay.
fn check_pair(peer: &mut dyn Peer, pair: &Pair, clock: &mut u32) -> Result<()> {
    let Pair { from, to, is_followed_back } = pair;
    let both = [from.clone(), to.clone()];
    let (mut before, mut counts) = (Vec::new(), Vec::new());
    peer.counts(&both, &mut before)?;
    let mutual = u32::from(*is_followed_back);
    let mut after = before.clone();
    after[0].following += 1;
    after[0].mutual += mutual;
    after[1].followers += 1;
    after[1].mutual += mutual;

    ensure!(!peer.is_following(from, to)?, "is there before");
    ensure!(!peer.refollow(from, to, *clock)?, "got a new time without being there");
    ensure!(!peer.unfollow(from, to)?, "was taken away without being there");
    for expected in [true, false] {
        *clock += 1;
        ensure!(peer.follow(from, to, *clock)? == expected, "followed: expected {expected}");
    }
    check_newest(peer, pair, *clock - 1)?;
    *clock += 1;
    ensure!(peer.refollow(from, to, *clock)?, "got no new time");
    check_newest(peer, pair, *clock)?;
    ensure!(peer.is_following(from, to)?, "is not there");
    peer.counts(&both, &mut counts)?;
    ensure!(counts == after, "counts {counts:?}, not {after:?}");
    for expected in [true, false] {
        ensure!(peer.unfollow(from, to)? == expected, "unfollowed: expected {expected}");
    }
    ensure!(!peer.is_following(from, to)?, "is still there");
    peer.counts(&both, &mut counts)?;
    ensure!(counts == before, "counts {counts:?}, not {before:?} again");
    Ok(())
}

/// The newest entry of both lists is the pair's follow.
fn check_newest(peer: &mut dyn Peer, pair: &Pair, at: u32) -> Result<()> {
    let mut page = Vec::new();
    peer.newest_followers(&pair.to, 2, &mut page)?;
    let expected = Entry { account: pair.from.clone(), at };
    ensure!(page.first() == Some(&expected), "newest follower {page:?}, not {expected:?}");
    peer.newest_following(&pair.from, 2, &mut page)?;
    let expected = Entry { account: pair.to.clone(), at };
    ensure!(page.first() == Some(&expected), "newest followed {page:?}, not {expected:?}");
    Ok(())
}

type Writes = (Option<Latency>, Option<Latency>);

/// Follows pair after pair and takes each follow back at once.
fn writes(
    peer: &mut dyn Peer,
    plan: &Plan,
    bounds: Bounds,
    clock: &mut u32,
    count_max: usize,
) -> Result<Writes> {
    let warm_up_count = if count_max == usize::MAX { plan.pairs.len() / 4 } else { 1 };
    let mut start = Instant::now();
    let (mut follows, mut unfollows) = (Times::default(), Times::default());
    let mut is_warm = false;
    for (place, pair) in plan.pairs.iter().cycle().enumerate() {
        if !is_warm && (place == warm_up_count || start.elapsed() > bounds.warm_up) {
            (follows, unfollows) = (Times::default(), Times::default());
            (is_warm, start) = (true, Instant::now());
        }
        *clock += 1;
        let is_new = follows.time(|| peer.follow(&pair.from, &pair.to, *clock))?;
        let was_there = unfollows.time(|| peer.unfollow(&pair.from, &pair.to))?;
        ensure!(is_new && was_there, "{} follows {}: no change", pair.from, pair.to);
        let is_over = start.elapsed() > bounds.measurement || follows.count() >= count_max;
        if is_warm && is_over {
            break;
        }
    }
    Ok((follows.latency(), unfollows.latency()))
}
