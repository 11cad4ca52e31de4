//! What a process does until it is killed, and what must be there afterwards.
//!
//! Several threads follow and unfollow by a script that both sides know, and say how far they are
//! after each step that was acknowledged; another adds batches, another makes checkpoints. A killed
//! process leaves all that it wrote to the kernel, so with every durability each acknowledged step
//! is there, and at most the one that was under way.

use super::content::Chance;
use crate::engine::{FollowGraph, Mutation};
use crate::error::{ErrorKind, Result};
use crate::list::Page;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How many threads follow.
const THREAD_COUNT: usize = 4;
/// How many accounts are followed.
const TARGET_COUNT: usize = 40;
/// Begins the names of those who follow in one batch.
const BATCHER: &str = "batcher";
/// How long a checkpoint waits for the one before.
const CHECKPOINT_PAUSE: Duration = Duration::from_millis(3);

/// Begins a line that tells an error.
const FAILED: &str = "failed ";

/// The n-th step of a thread: whom it follows, or no longer follows.
fn step(number: usize) -> (bool, String) {
    let target = |number: usize| format!("target{}", number * 7 % TARGET_COUNT);
    if number % 5 == 4 { (false, target(number - 2)) } else { (true, target(number)) }
}

/// Whom a thread follows after its first `step_count` steps.
fn followed_after(step_count: usize) -> BTreeSet<String> {
    let mut followed = BTreeSet::new();
    for (is_follow, target) in (0..step_count).map(step) {
        if is_follow {
            followed.insert(target);
        } else {
            followed.remove(&target);
        }
    }
    followed
}

fn follower(round: usize, thread: usize) -> String {
    format!("round{round}thread{thread}")
}

/// How many steps of each thread of a round were acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acknowledged {
    steps: BTreeMap<usize, usize>,
    failure: Option<String>,
}

impl Acknowledged {
    /// Takes a line that [`write_until_killed`] said; others are passed over.
    pub fn take(&mut self, line: &str) {
        if let Some(failure) = line.strip_prefix(FAILED) {
            self.failure.get_or_insert_with(|| failure.to_owned());
        }
        let mut words = line.split(' ');
        if words.next() == Some("ack")
            && let Some(thread) = words.next().and_then(|word| word.parse().ok())
            && let Some(steps) = words.next().and_then(|word| word.parse().ok())
        {
            self.steps.insert(thread, steps);
        }
    }

    /// All steps together.
    pub fn step_count(&self) -> usize {
        self.steps.values().sum()
    }
}

/// Follows, unfollows, adds batches and makes checkpoints without end, and says a line after each
/// acknowledged step, and after an error. The graph creates missing accounts.
pub fn write_until_killed(graph: &FollowGraph, round: usize, say: &(dyn Fn(&str) + Sync)) -> ! {
    let told =
        |outcome: Result<()>| outcome.inspect_err(|error| say(&format!("{FAILED}{error}"))).is_ok();
    std::thread::scope(|scope| {
        for thread in 0..THREAD_COUNT {
            scope.spawn(move || {
                let mut number = 0;
                while told(take_step(graph, &follower(round, thread), number)) {
                    number += 1;
                    say(&format!("ack {thread} {number}"));
                }
            });
        }
        scope.spawn(move || {
            let mut names = (0..).map(|number| format!("{BATCHER}{round}-{number}"));
            while names.next().is_some_and(|name| told(follow_in_a_batch(graph, &name))) {}
        });
        while told(graph.checkpoint().map(drop)) {
            std::thread::sleep(CHECKPOINT_PAUSE);
        }
    });
    loop {
        std::thread::park();
    }
}

fn take_step(graph: &FollowGraph, name: &str, number: usize) -> Result<()> {
    let (is_follow, target) = step(number);
    let outcome =
        if is_follow { graph.follow(name, &target) } else { graph.unfollow(name, &target) };
    outcome.map(drop)
}

/// An account that follows all targets, all at once: it is never seen with fewer.
fn follow_in_a_batch(graph: &FollowGraph, name: &str) -> Result<()> {
    let targets: Vec<String> = (0..TARGET_COUNT).map(|number| format!("target{number}")).collect();
    let follow = |target| Mutation::follow(name, target);
    let batch: Vec<Mutation<'_>> = targets.iter().map(|target| follow(target.as_str())).collect();
    graph.apply(&batch)?.into_iter().try_for_each(|result| result.map(drop))
}

/// Each thread's follows are those of all acknowledged steps, and at most of the one under way.
///
/// # Errors
///
/// What differs.
pub fn check_round(
    graph: &FollowGraph,
    round: usize,
    acknowledged: &Acknowledged,
) -> std::result::Result<(), String> {
    if let Some(failure) = &acknowledged.failure {
        return Err(format!("in the writer of round {round}: {failure}"));
    }
    for thread in 0..THREAD_COUNT {
        let name = follower(round, thread);
        let steps = acknowledged.steps.get(&thread).copied().unwrap_or(0);
        let listed: BTreeSet<String> = match graph.following(&name, Page::first(TARGET_COUNT + 1)) {
            Ok(list) => list.entries.into_iter().map(|entry| entry.account).collect(),
            Err(error) if error.kind() == ErrorKind::UnknownAccount => BTreeSet::new(),
            Err(error) => return Err(format!("{name}: {error}")),
        };
        let is_right = [steps, steps + 1].iter().any(|count| followed_after(*count) == listed);
        if !is_right {
            return Err(format!("{name} acknowledged {steps} steps and follows {listed:?}"));
        }
    }
    Ok(())
}

/// Every count is the length of its list, the lists of both ends tell the same follows, every batch
/// is whole, and `verify` agrees.
///
/// # Errors
///
/// What differs.
pub fn check_lists(graph: &FollowGraph) -> std::result::Result<(), String> {
    let told = |error: crate::error::Error| error.to_string();
    let mut edges = (BTreeSet::new(), BTreeSet::new());
    for (_, name) in graph.accounts(None, usize::MAX) {
        let counts = graph.counts(&name).map_err(told)?;
        let followers = graph.followers(&name, Page::first(usize::MAX)).map_err(told)?.entries;
        let following = graph.following(&name, Page::first(usize::MAX)).map_err(told)?.entries;
        let lengths = (followers.len(), following.len());
        if (counts.followers as usize, counts.following as usize) != lengths {
            return Err(format!("the counts of {name} are {counts:?}, its lists have {lengths:?}"));
        }
        if name.starts_with(BATCHER) && following.len() != TARGET_COUNT {
            return Err(format!("{name} is half there: {}", following.len()));
        }
        edges.0.extend(followers.into_iter().map(|entry| (entry.account, name.clone())));
        edges.1.extend(following.into_iter().map(|entry| (name.clone(), entry.account)));
    }
    if edges.0 != edges.1 {
        return Err("the two directions hold different follows".to_owned());
    }
    let verified = graph.verify().map_err(told)?.follow_count;
    if verified == edges.0.len() as u64 {
        Ok(())
    } else {
        Err(format!("verify counts {verified} follows, the lists have {}", edges.0.len()))
    }
}

/// How long after its start the process of a round is killed: mostly at work, now and then while
/// it opens the graph.
pub fn kill_after(seed: u64, round: usize) -> Duration {
    let mut chance = Chance::new(Chance::new(seed).next() ^ round as u64);
    let milliseconds = if chance.below(5) == 0 { chance.below(20) } else { 20 + chance.below(300) };
    Duration::from_millis(milliseconds)
}
