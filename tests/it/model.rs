//! Random histories against the reference model: after every step every answer is the same.

use crate::support::{HandClock, Said, assert_equal, assert_verified, kind, quick_dir, said};
use followgraph::testing::Model;
use followgraph::{BulkOptions, Durability, FollowGraph, Mutation, Options};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use std::sync::LazyLock;
use tempfile::TempDir;

/// A tiny keyspace, so that everything meets everything. Two names are longer than a record holds,
/// two are not ASCII, one is never valid.
static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut names = vec!["alice", "bob", "carol", "dave", "eve", "\u{5f20}\u{4f1f}", "z\u{eb}", ""];
    let (long, longest) = ("x".repeat(37), "\u{6f22}".repeat(85));
    names.extend([long.as_str(), longest.as_str()]);
    names.into_iter().map(str::to_owned).collect()
});

type Name = usize;

/// One step of a batch, or alone. The time is the clock's unless it is given.
#[derive(Clone, Debug)]
enum Change {
    Follow(Name, Name, Option<u32>),
    Unfollow(Name, Name),
    Add(Name),
    AddForeign(Name),
    Remove(Name),
}

#[derive(Clone, Debug)]
enum Op {
    One(Change),
    Batch(Vec<Change>),
    /// A batch that follows and unfollows a pair over and over: it fills segments.
    Flood(Name, Name, usize),
    Tick(u32),
    Checkpoint,
    Reopen,
}

/// How the graph of one case is opened, and what is in it at first.
#[derive(Clone, Debug)]
struct Setting {
    in_memory: bool,
    creates_missing: bool,
    limits: [Option<u32>; 3],
    removal_slice: usize,
    loaded: Vec<(Name, Name, Option<u32>)>,
    keep_order: bool,
}

fn name() -> impl Strategy<Value = Name> {
    // The last three are the unusual ones: less often, or half of all steps would be refused.
    prop_oneof![12 => 0..7_usize, 1 => 7..8_usize, 3 => 8..10_usize]
}

fn time() -> impl Strategy<Value = Option<u32>> {
    prop_oneof![3 => Just(None), 1 => option::of(995..=1000_u32), 1 => Just(Some(0))]
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        20 => (name(), name(), time()).prop_map(|(from, to, at)| Change::Follow(from, to, at)),
        8 => (name(), name()).prop_map(|(from, to)| Change::Unfollow(from, to)),
        6 => name().prop_map(Change::Add),
        1 => name().prop_map(Change::AddForeign),
        2 => name().prop_map(Change::Remove),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        16 => change().prop_map(Op::One),
        5 => vec(change(), 0..8).prop_map(Op::Batch),
        1 => (name(), name(), 500..2000_usize).prop_map(|(from, to, n)| Op::Flood(from, to, n)),
        4 => (1..3_u32).prop_map(Op::Tick),
        2 => Just(Op::Checkpoint),
        3 => Just(Op::Reopen),
    ]
}

fn setting() -> impl Strategy<Value = Setting> {
    let limit = || prop_oneof![3 => Just(None), 1 => (1..4_u32).prop_map(Some)];
    let edge = (0..7_usize, 0..7_usize, option::of(995..=1000_u32));
    let edges = vec(edge.prop_filter("nobody follows themself", |edge| edge.0 != edge.1), 0..20);
    let loaded = prop_oneof![2 => Just(Vec::new()), 1 => edges];
    let removal_slice = prop_oneof![3 => 1..4_usize, 1 => Just(256)];
    let limits = [limit(), limit(), limit()];
    (prop::bool::weighted(0.2), any::<bool>(), limits, removal_slice, loaded, any::<bool>())
        .prop_map(|(in_memory, creates_missing, limits, removal_slice, loaded, keep_order)| {
            Setting { in_memory, creates_missing, limits, removal_slice, loaded, keep_order }
        })
}

/// A graph and its model, side by side.
struct Pair {
    setting: Setting,
    dir: TempDir,
    clock: HandClock,
    graph: Option<FollowGraph>,
    model: Model,
}

impl Pair {
    fn new(setting: Setting) -> Pair {
        let dir = quick_dir();
        let mut model = Model::default();
        model.creates_missing_accounts = setting.creates_missing;
        let [following, followers, mutual] =
            setting.limits.map(|limit| limit.map(|limit| limit as usize));
        (model.max_following, model.max_followers) = (following, followers);
        model.max_mutual = mutual;
        let clock = HandClock::at(1000);
        let mut pair = Pair { setting, dir, clock, graph: None, model };
        pair.open();
        pair.load();
        pair
    }

    fn open(&mut self) {
        let mut options = Options::new()
            .durability(Durability::Never)
            .segment_bytes(64 << 10)
            .removal_slice(self.setting.removal_slice)
            .create_missing_accounts(self.setting.creates_missing)
            .clock(self.clock.clock());
        let [following, followers, mutual] = self.setting.limits;
        if let Some(limit) = following {
            options = options.max_following(limit);
        }
        if let Some(limit) = followers {
            options = options.max_followers(limit);
        }
        if let Some(limit) = mutual {
            options = options.max_mutual(limit);
        }
        let in_memory = self.setting.in_memory;
        let opened = if in_memory { options.in_memory() } else { options.open(self.dir.path()) };
        self.graph = Some(opened.unwrap());
    }

    fn graph(&self) -> &FollowGraph {
        self.graph.as_ref().unwrap()
    }

    /// Loads the first follows in bulk. The model takes the first of each pair, accounts in order
    /// of appearance, follows in order of time and then of account, or of line where lines are
    /// kept; no limit holds in bulk.
    fn load(&mut self) {
        if self.setting.loaded.is_empty() {
            return;
        }
        let keep_order = self.setting.keep_order;
        let options = BulkOptions::new().memory_bytes(1 << 20).keep_order(keep_order);
        let mut load = self.graph.as_ref().unwrap().bulk_load_with(options).unwrap();
        let mut unlimited = Model::default();
        let mut edges: Vec<(u32, u32, u32)> = Vec::new();
        for (from, to, at) in &self.setting.loaded {
            load.add(&NAMES[*from], &NAMES[*to], *at).unwrap();
            unlimited.add_account(&NAMES[*from]).unwrap();
            unlimited.add_account(&NAMES[*to]).unwrap();
            let from = unlimited.account_id(&NAMES[*from]).unwrap();
            let to = unlimited.account_id(&NAMES[*to]).unwrap();
            if !edges.iter().any(|edge| (edge.1, edge.2) == (from, to)) {
                edges.push((at.unwrap_or(0), from, to));
            }
        }
        let report = load.finish(&mut |_, _| {}).unwrap();
        assert_eq!(report.account_count, unlimited.accounts().len() as u64);
        assert_eq!(report.follow_count, edges.len() as u64);
        assert_eq!(report.duplicate_count, (self.setting.loaded.len() - edges.len()) as u64);
        if !keep_order {
            edges.sort_unstable();
        }
        for (at, from, to) in edges {
            let from = unlimited.account_name(from).unwrap();
            let to = unlimited.account_name(to).unwrap();
            unlimited.follow(&from, &to, at).unwrap();
        }
        unlimited.creates_missing_accounts = self.model.creates_missing_accounts;
        unlimited.max_following = self.model.max_following;
        unlimited.max_followers = self.model.max_followers;
        unlimited.max_mutual = self.model.max_mutual;
        self.model = unlimited;
    }

    fn run(&mut self, op: &Op) {
        match op {
            Op::One(change) => {
                let mut room = self.setting.removal_slice;
                let expected = expect(&mut self.model, change, self.clock.now(), &mut room);
                assert_eq!(self.one(change), expected, "{change:?}");
                self.model.finish_removals();
            }
            Op::Batch(changes) => self.batch(changes),
            Op::Flood(from, to, count) => {
                let both = [Change::Unfollow(*from, *to), Change::Follow(*from, *to, None)];
                let changes: Vec<Change> = both.into_iter().cycle().take(*count).collect();
                self.batch(&changes);
            }
            Op::Tick(seconds) => self.clock.advance(*seconds),
            Op::Checkpoint => {
                let report = self.graph().checkpoint().unwrap();
                let stats = self.graph().stats();
                assert!(!report.written || report.sequence == stats.sequence);
                assert_eq!(report.sequence, stats.image_sequence);
            }
            Op::Reopen if self.setting.in_memory => {}
            Op::Reopen => {
                self.graph = None;
                self.open();
                assert_eq!(self.graph().stats().recovery.cut_bytes, 0);
            }
        }
    }

    fn one(&self, change: &Change) -> Said {
        let graph = self.graph();
        let new = |added: followgraph::Result<bool>| added.map_err(|error| error.kind());
        match change {
            Change::Follow(from, to, None) => said(graph.follow(&NAMES[*from], &NAMES[*to])),
            Change::Follow(..) => said(graph.apply(&[mutation(change)]).unwrap().remove(0)),
            Change::Unfollow(from, to) => said(graph.unfollow(&NAMES[*from], &NAMES[*to])),
            Change::Add(name) => new(graph.add_account(&NAMES[*name])),
            Change::AddForeign(name) => new(graph.add_foreign_account(&NAMES[*name])),
            Change::Remove(name) => new(graph.remove_account(&NAMES[*name]).map(|()| true)),
        }
    }

    fn batch(&mut self, changes: &[Change]) {
        let mutations: Vec<Mutation<'_>> = changes.iter().map(mutation).collect();
        let results = self.graph().apply(&mutations).unwrap();
        assert_eq!(results.len(), changes.len());
        let mut room = self.setting.removal_slice;
        for (change, result) in changes.iter().zip(results) {
            let expected = expect(&mut self.model, change, self.clock.now(), &mut room);
            assert_eq!(said(result), expected, "{change:?} in a batch");
        }
        self.model.finish_removals();
    }

    fn assert_equal(&self) {
        let names: Vec<&str> = NAMES.iter().map(String::as_str).collect();
        assert_equal(self.graph(), &self.model, &names);
    }
}

fn mutation(change: &Change) -> Mutation<'_> {
    match change {
        Change::Follow(from, to, at) => {
            let follow = Mutation::follow(&NAMES[*from], &NAMES[*to]);
            at.map_or(follow, |at| follow.at(at))
        }
        Change::Unfollow(from, to) => Mutation::unfollow(&NAMES[*from], &NAMES[*to]),
        Change::Add(name) => Mutation::add_account(&NAMES[*name]),
        Change::AddForeign(name) => Mutation::add_foreign_account(&NAMES[*name]),
        Change::Remove(name) => Mutation::remove_account(&NAMES[*name]),
    }
}

/// What the model says to a change of a commit with which so many follows may yet go at once.
fn expect(model: &mut Model, change: &Change, now: u32, room: &mut usize) -> Said {
    let result = match change {
        Change::Follow(from, to, at) => model.follow(&NAMES[*from], &NAMES[*to], at.unwrap_or(now)),
        Change::Unfollow(from, to) => model.unfollow(&NAMES[*from], &NAMES[*to]),
        Change::Add(name) => model.add_account(&NAMES[*name]),
        Change::AddForeign(name) => model.add_foreign_account(&NAMES[*name]),
        Change::Remove(name) => model.remove_in_batch(&NAMES[*name], room),
    };
    result.map_err(kind)
}

proptest! {
    #[test]
    fn after_every_step_every_answer_is_the_models(
        setting in setting(),
        ops in vec(op(), 1..50),
    ) {
        let mut pair = Pair::new(setting);
        pair.assert_equal();
        for op in &ops {
            pair.run(op);
            pair.assert_equal();
        }
        for op in [Op::Reopen, Op::Checkpoint, Op::Reopen] {
            assert_verified(pair.graph(), &pair.model);
            pair.run(&op);
            pair.assert_equal();
        }
        assert_verified(pair.graph(), &pair.model);
    }
}
