//! What is certified: short histories that go through every path on which bytes get to a disk.

use crate::engine::Durability;
use std::time::Duration;

/// One change of a commit, by name.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Add(String),
    Remove(&'static str),
    Follow(&'static str, &'static str),
    Unfollow(&'static str, &'static str),
}

/// One thing that is done to a graph.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// A commit of these changes.
    Commit(Vec<Change>),
    Sync,
    Checkpoint,
    /// The thread that syncs at an interval has done so.
    AwaitTimer,
    /// The consumer is removed.
    Forget,
    /// An orderly close, and the graph is opened again.
    Reopen,
    /// A bulk load of these follows into the empty graph.
    Load(Vec<(String, String)>),
    Backup,
    /// The consumer begins.
    Consume,
    /// The consumer takes all there is and acknowledges it.
    Acknowledge,
}

/// How the graph is left before the steps that are certified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    Closed,
    /// With power lost at the end, and what the seed leaves.
    WithoutPower,
}

pub(super) struct Scenario {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) durability: Durability,
    /// What is there before, where there is anything.
    pub(super) before: Vec<Step>,
    pub(super) left: Left,
    pub(super) steps: Vec<Step>,
}

/// Long enough never to end while a scenario runs: its syncs are those of `sync`.
const INTERVAL: Durability = Durability::Interval(Duration::from_hours(1));

fn follow(follower: &'static str, followed: &'static str) -> Step {
    Step::Commit(vec![Change::Follow(follower, followed)])
}

fn unfollow(follower: &'static str, followed: &'static str) -> Step {
    Step::Commit(vec![Change::Unfollow(follower, followed)])
}

fn accounts() -> Step {
    let names = ["alice", "bob", "carol", "dave"];
    Step::Commit(names.iter().map(|name| Change::Add((*name).to_owned())).collect())
}

/// A commit that could take more room than a segment has left, though it takes little: the log
/// goes on in a new segment.
fn rotating(follower: &'static str, followed: &'static str) -> Step {
    let mut changes = vec![Change::Follow(follower, followed)];
    changes.extend(vec![Change::Add("x".repeat(250)); 260]);
    Step::Commit(changes)
}

/// A commit whose frame goes over several pages.
fn large() -> Step {
    let name = |number| Change::Add(format!("{number:0>180}"));
    let mut changes: Vec<Change> = (0..60).map(name).collect();
    changes.extend([Change::Follow("alice", "bob"), Change::Follow("bob", "alice")]);
    Step::Commit(changes)
}

fn few() -> Vec<Step> {
    vec![accounts(), follow("alice", "bob"), follow("bob", "alice"), follow("carol", "bob")]
}

fn many() -> Vec<Step> {
    let mut steps = few();
    let (again, other) = (unfollow("alice", "bob"), follow("dave", "alice"));
    steps.extend([again, other, follow("alice", "bob"), follow("dave", "carol")]);
    steps
}

fn with(mut steps: Vec<Step>, more: Vec<Step>) -> Vec<Step> {
    steps.extend(more);
    steps
}

impl Scenario {
    fn new(
        name: &'static str,
        about: &'static str,
        durability: Durability,
        steps: Vec<Step>,
    ) -> Scenario {
        Scenario { name, about, durability, before: Vec::new(), left: Left::Closed, steps }
    }

    fn after(self, left: Left, before: Vec<Step>) -> Scenario {
        Scenario { before, left, ..self }
    }
}

/// All of them.
pub(super) fn all() -> Vec<Scenario> {
    let mut scenarios = commits();
    scenarios.extend(care());
    scenarios.extend(ends());
    scenarios
}

fn commits() -> Vec<Scenario> {
    use Durability::{Always, Never};
    let synced = || with(with(few(), vec![Step::Sync]), many()[4..].to_vec());
    let rotations = || {
        let first = vec![rotating("alice", "carol"), follow("carol", "alice")];
        let second = vec![rotating("bob", "carol"), rotating("carol", "dave")];
        let last = vec![follow("dave", "alice"), rotating("alice", "dave")];
        with(with(few(), first), with(second, last))
    };
    vec![
        Scenario::new("first open", "a graph is made", Always, vec![]),
        Scenario::new("always", "each commit is waited for", Always, many()),
        Scenario::new("interval", "commits, a sync, commits", INTERVAL, synced()),
        Scenario::new(
            "timer",
            "commits, a sync by the thread behind them, commits",
            Durability::Interval(Duration::from_micros(200)),
            with(
                with(few(), vec![Step::AwaitTimer]),
                vec![large(), follow("dave", "alice"), Step::AwaitTimer],
            ),
        ),
        Scenario::new("never", "commits, a sync, commits", Never, synced()),
        Scenario::new(
            "batch",
            "a frame of several pages between small ones",
            Never,
            with(few(), vec![large(), follow("dave", "alice"), Step::Sync]),
        ),
        Scenario::new("rotation, always", "new segments, waited for", Always, rotations()),
        Scenario::new("rotation, never", "new segments, unsynced frames", Never, rotations()),
        Scenario::new(
            "removal",
            "an account goes with its follows, its name comes back",
            Always,
            with(
                many(),
                vec![
                    Step::Commit(vec![Change::Remove("bob")]),
                    Step::Commit(vec![Change::Add("bob".to_owned())]),
                    follow("bob", "alice"),
                ],
            ),
        ),
    ]
}

fn care() -> Vec<Scenario> {
    use Durability::{Always, Never};
    let edges = [("a", "b"), ("b", "a"), ("c", "a"), ("a", "c"), ("d", "a"), ("b", "d")];
    let edges = edges.map(|(from, to)| (from.to_owned(), to.to_owned()));
    let acknowledged = vec![Step::Consume, follow("dave", "alice"), Step::Sync, Step::Acknowledge];
    let checkpoints = || {
        let first = vec![Step::Checkpoint, follow("dave", "alice"), follow("alice", "dave")];
        let second = vec![Step::Checkpoint, unfollow("alice", "dave"), Step::Checkpoint];
        with(first, second)
    };
    vec![
        Scenario::new("checkpoint", "three, with commits between", Always, checkpoints())
            .after(Left::Closed, few()),
        Scenario::new("checkpoint, never", "the same, unsynced", Never, checkpoints())
            .after(Left::WithoutPower, few()),
        Scenario::new(
            "bulk load",
            "an edge list becomes an image",
            Always,
            vec![
                Step::Load(edges.into()),
                Step::Commit(vec![Change::Follow("d", "c")]),
                Step::Checkpoint,
            ],
        ),
        Scenario::new(
            "backup",
            "a copy in another directory",
            Always,
            vec![follow("dave", "alice"), Step::Backup, follow("alice", "dave")],
        )
        .after(Left::Closed, few()),
        Scenario::new(
            "consumer",
            "a position is kept, and the log for it",
            Never,
            with(
                acknowledged,
                vec![
                    Step::Checkpoint,
                    rotating("alice", "dave"),
                    Step::Checkpoint,
                    Step::Acknowledge,
                    unfollow("dave", "alice"),
                    Step::Checkpoint,
                ],
            ),
        )
        .after(Left::Closed, few()),
        Scenario::new(
            "consumer removed",
            "with the segments that were kept for it",
            Never,
            with(
                vec![Step::Consume, follow("dave", "alice"), rotating("alice", "dave")],
                vec![
                    rotating("dave", "carol"),
                    Step::Checkpoint,
                    unfollow("dave", "alice"),
                    Step::Checkpoint,
                    Step::Forget,
                    Step::Forget,
                    Step::Checkpoint,
                ],
            ),
        )
        .after(Left::Closed, few()),
    ]
}

fn ends() -> Vec<Scenario> {
    use Durability::Never;
    vec![
        Scenario::new(
            "close",
            "orderly closes, with and without commits",
            Never,
            vec![
                follow("dave", "alice"),
                Step::Reopen,
                Step::Reopen,
                follow("alice", "dave"),
                Step::Reopen,
            ],
        )
        .after(Left::Closed, few()),
        Scenario::new("recovery", "a log with torn frames is opened", Never, vec![Step::Reopen])
            .after(Left::WithoutPower, with(few(), vec![large(), follow("dave", "alice")])),
        Scenario::new(
            "recovery, removal",
            "a removal that was interrupted is finished, the name comes back",
            Never,
            vec![Step::Commit(vec![Change::Add("bob".to_owned())]), Step::Checkpoint, Step::Reopen],
        )
        .after(
            Left::WithoutPower,
            with(many(), vec![Step::Sync, Step::Commit(vec![Change::Remove("bob")])]),
        ),
        Scenario::new(
            "recovery, segments",
            "a log with torn frames in several segments is opened",
            Never,
            vec![follow("dave", "carol"), Step::Reopen],
        )
        .after(
            Left::WithoutPower,
            with(
                few(),
                vec![
                    rotating("alice", "carol"),
                    follow("carol", "alice"),
                    rotating("bob", "carol"),
                    rotating("carol", "dave"),
                ],
            ),
        ),
    ]
}
