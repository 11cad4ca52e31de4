//! Any operations in any order, with reopening and checkpoints in between, against the model.
#![no_main]

use arbitrary::Arbitrary;
use followgraph::testing::{Model, Refusal};
use followgraph::{Error, ErrorKind, FollowGraph, List, Mutation, Outcome, Page};
use followgraph_fuzz::{HandClock, options};
use libfuzzer_sys::fuzz_target;
use std::path::Path;

/// A tiny keyspace, so that everything meets everything: one name is longer than an account record
/// holds, one is never valid.
const NAMES: [&str; 8] = [
    "alice",
    "bob",
    "carol",
    "dave",
    "\u{5f20}\u{4f1f}",
    "a-name-that-is-longer-than-an-account-record-can-hold",
    "eve",
    "",
];

/// So few that most removals take more than one.
const REMOVAL_SLICE: usize = 2;

#[derive(Arbitrary, Clone, Copy, Debug)]
struct Name(u8);

impl Name {
    fn text(self) -> &'static str {
        NAMES[usize::from(self.0) % NAMES.len()]
    }
}

#[derive(Arbitrary, Debug)]
enum Change {
    Follow(Name, Name, Option<u8>),
    Unfollow(Name, Name),
    Add(Name),
    AddForeign(Name),
    Remove(Name),
}

#[derive(Arbitrary, Debug)]
enum Operation {
    One(Change),
    Batch(Vec<Change>),
    /// Follows and unfollows a pair over and over: it fills segments.
    Flood(Name, Name, u16),
    Tick(u8),
    Checkpoint,
    Reopen,
    Compare,
}

#[derive(Arbitrary, Debug)]
struct Input {
    creates_missing_accounts: bool,
    /// Limits of 1 to 4, or none.
    limits: [Option<u8>; 3],
    operations: Vec<Operation>,
}

impl Input {
    fn limits(&self) -> [Option<u32>; 3] {
        self.limits.map(|limit| limit.map(|limit| u32::from(limit) % 4 + 1))
    }

    fn model(&self) -> Model {
        let mut model = Model::default();
        model.creates_missing_accounts = self.creates_missing_accounts;
        let [following, followers, mutual] =
            self.limits().map(|limit| limit.map(|limit| limit as usize));
        (model.max_following, model.max_followers) = (following, followers);
        model.max_mutual = mutual;
        model
    }

    fn open(&self, directory: &Path, clock: &HandClock) -> FollowGraph {
        let [following, followers, mutual] = self.limits().map(|limit| limit.unwrap_or(u32::MAX));
        options()
            .create_missing_accounts(self.creates_missing_accounts)
            .removal_slice(REMOVAL_SLICE)
            .max_following(following)
            .max_followers(followers)
            .max_mutual(mutual)
            .clock(clock.clock())
            .monotonic_clock(clock.monotonic_clock())
            .open(directory)
            .expect("nothing damaged it")
    }
}

fuzz_target!(|input: Input| {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let clock = HandClock::default();
    clock.advance(1000);
    let mut model = input.model();
    let mut graph = input.open(directory.path(), &clock);
    for operation in input.operations.iter().take(64) {
        match operation {
            Operation::One(change) => run(&graph, &mut model, std::slice::from_ref(change), &clock),
            Operation::Batch(changes) => run(&graph, &mut model, changes, &clock),
            Operation::Flood(from, to, count) => {
                flood(&graph, &mut model, *from, *to, *count, &clock)
            }
            Operation::Tick(seconds) => clock.advance(u32::from(*seconds)),
            Operation::Checkpoint => {
                graph.checkpoint().expect("there is room");
            }
            Operation::Reopen => {
                drop(graph);
                graph = input.open(directory.path(), &clock);
                assert_eq!(graph.stats().recovery.cut_bytes, 0, "it was closed in good order");
            }
            Operation::Compare => compare(&graph, &model),
        }
    }
    compare(&graph, &model);
    let verified = graph.verify().expect("nothing damaged it");
    assert_eq!(verified.follow_count, model.edges().len() as u64);
    drop(graph);
    compare(&input.open(directory.path(), &clock), &model);
});

/// Carries changes out as one batch on both sides, and compares what each of them said.
fn run(graph: &FollowGraph, model: &mut Model, changes: &[Change], clock: &HandClock) {
    let mutations: Vec<Mutation<'_>> = changes.iter().map(Change::mutation).collect();
    let results = graph.apply(&mutations).expect("the log has room");
    assert_eq!(results.len(), changes.len());
    let mut room = REMOVAL_SLICE;
    for (change, result) in changes.iter().zip(results) {
        let said = result.map(|outcome| outcome == Outcome::Applied).map_err(kind);
        let expected = change.expect(model, clock.now(), &mut room).map_err(refused);
        assert_eq!(said, expected, "{change:?}");
    }
    model.finish_removals();
}

fn flood(
    graph: &FollowGraph,
    model: &mut Model,
    from: Name,
    to: Name,
    count: u16,
    clock: &HandClock,
) {
    let changes: Vec<Change> = (0..count % 1024)
        .map(|turn| match turn % 2 {
            0 => Change::Unfollow(from, to),
            _ => Change::Follow(from, to, None),
        })
        .collect();
    run(graph, model, &changes, clock);
}

impl Change {
    fn mutation(&self) -> Mutation<'_> {
        match self {
            Change::Follow(from, to, at) => {
                let follow = Mutation::follow(from.text(), to.text());
                at.map_or(follow, |at| follow.at(u32::from(at)))
            }
            Change::Unfollow(from, to) => Mutation::unfollow(from.text(), to.text()),
            Change::Add(name) => Mutation::add_account(name.text()),
            Change::AddForeign(name) => Mutation::add_foreign_account(name.text()),
            Change::Remove(name) => Mutation::remove_account(name.text()),
        }
    }

    fn expect(&self, model: &mut Model, now: u32, room: &mut usize) -> Result<bool, Refusal> {
        match self {
            Change::Follow(from, to, at) => {
                model.follow(from.text(), to.text(), at.map_or(now, u32::from))
            }
            Change::Unfollow(from, to) => model.unfollow(from.text(), to.text()),
            Change::Add(name) => model.add_account(name.text()),
            Change::AddForeign(name) => model.add_foreign_account(name.text()),
            Change::Remove(name) => model.remove_in_batch(name.text(), room),
        }
    }
}

fn kind(error: Error) -> ErrorKind {
    error.kind()
}

fn refused(refusal: Refusal) -> ErrorKind {
    match refusal {
        Refusal::InvalidName => ErrorKind::InvalidName,
        Refusal::UnknownAccount => ErrorKind::UnknownAccount,
        Refusal::BeingRemoved => ErrorKind::BeingRemoved,
        Refusal::SelfFollow => ErrorKind::SelfFollow,
        Refusal::ForeignAccount => ErrorKind::ForeignAccount,
        Refusal::FollowingLimit => ErrorKind::FollowingLimit,
        Refusal::FollowersLimit => ErrorKind::FollowersLimit,
        Refusal::FollowerMutualLimit => ErrorKind::FollowerMutualLimit,
        Refusal::FollowedMutualLimit => ErrorKind::FollowedMutualLimit,
    }
}

/// Every count, list, page and relation is the model's.
fn compare(graph: &FollowGraph, model: &Model) {
    for (name, counts) in NAMES.iter().zip(graph.batch_counts(&NAMES)) {
        let counts = counts.map_err(kind).map(|counts| {
            (counts.followers as usize, counts.following as usize, counts.mutual as usize)
        });
        assert_eq!(counts, model.counts(name).map_err(refused), "counts of {name:?}");
        let lists = [
            (walk(|page| graph.followers(name, page)), model.followers(name)),
            (walk(|page| graph.following(name, page)), model.following(name)),
            (walk(|page| graph.mutuals(name, page)), model.mutuals(name)),
        ];
        for (listed, expected) in lists {
            assert_eq!(listed, expected.map_err(refused), "a list of {name:?}");
        }
        for other in NAMES {
            let relation = graph.relation(name, other).map_err(kind);
            let relation = relation.map(|relation| (relation.following, relation.followed_by));
            assert_eq!(
                relation,
                model.relation(name, other).map_err(refused),
                "{name:?} and {other:?}"
            );
        }
    }
    let accounts = graph.accounts(None, usize::MAX).into_iter();
    let accounts: Vec<(u32, String)> = accounts.map(|(id, name)| (id.0, name)).collect();
    assert_eq!(accounts, model.accounts());
    assert_eq!(graph.stats().follow_count, model.edges().len() as u64);
}

/// A whole list, two entries a page.
fn walk(
    fetch: impl Fn(Page) -> followgraph::Result<List>,
) -> Result<Vec<(String, u32)>, ErrorKind> {
    let mut listed = Vec::new();
    let mut page = Page::first(2);
    loop {
        let list = fetch(page).map_err(kind)?;
        let entries = list.entries.into_iter();
        listed.extend(entries.map(|entry| (entry.account, entry.followed_at)));
        let Some(cursor) = list.next else { return Ok(listed) };
        page = Page::after(cursor, 2);
    }
}
