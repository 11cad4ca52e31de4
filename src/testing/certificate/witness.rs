//! A run of a scenario beside the model: what was acknowledged, and what may be there afterwards.

use super::scenarios::{Change, Step};
use crate::engine::{Durability, FollowGraph, Mutation, Options};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{FileKind, file_kind};
use crate::list::{List, Page};
use crate::testing::disk::{Call, Disk, Failure, Fault};
use crate::testing::model::{Model, Refusal};
use crate::types::{AccountId, Outcome};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// What a run says that it did not go as promised.
pub(super) type Flaw = String;

const CONSUMER: &str = "reader";
const BACKUP: &str = "copy";
/// How long the thread that syncs at an interval may take.
const TIMER_PATIENCE: Duration = Duration::from_secs(20);
/// How often it is asked for.
const TIMER_ROUND: Duration = Duration::from_millis(20);
const LIST_LEN_MAX: usize = 1000;
/// So few that accounts of the scenarios go in several slices.
const REMOVAL_SLICE: usize = 2;

/// What may be found.
#[derive(Clone)]
pub(super) struct Witness {
    /// The graph after each commit, in order, from the empty one on.
    states: Vec<Model>,
    /// The state that is there at the least: what was acknowledged as durable.
    floor: usize,
    /// Positions of the consumer: what is on disk at the least, and what may be.
    acknowledged: Option<u64>,
    consumed: Option<u64>,
    /// What a backup holds, if it is there, and whether it must be.
    backup: Option<(Model, bool)>,
    time: Arc<AtomicU32>,
}

impl Witness {
    pub(super) fn new() -> Witness {
        Witness {
            states: vec![Model::default()],
            floor: 0,
            acknowledged: None,
            consumed: None,
            backup: None,
            time: Arc::new(AtomicU32::new(1000)),
        }
    }

    fn options(&self, durability: Durability) -> Options {
        let time = self.time.clone();
        let options = Options::new()
            .durability(durability)
            .removal_slice(REMOVAL_SLICE)
            .segment_bytes(64 << 10)
            .checkpoint_log_bytes(None)
            .clock(Arc::new(move || time.load(Ordering::Relaxed)));
        // Runs are the same each time only without threads of their own.
        Options { finishes_removals: false, ..options }
    }

    fn last(&self) -> &Model {
        &self.states[self.states.len() - 1]
    }

    fn push(&mut self, state: Model) {
        self.states.push(state);
    }

    /// What may be found as well as the last state, although that is what the live graph shows.
    fn may_be(&mut self, state: Model) {
        let last = self.states.len() - 1;
        self.states.insert(last, state);
    }

    fn all_is_durable(&mut self) {
        self.floor = self.states.len() - 1;
    }

    /// From now on exactly this may be found.
    fn settle(&mut self, state: usize) {
        self.states = vec![self.states[state].clone()];
        self.floor = 0;
    }

    /// Which of the allowed states the graph is in; the latest, where several look alike.
    fn find(&self, graph: &FollowGraph) -> std::result::Result<usize, Flaw> {
        let allowed = self.floor..self.states.len();
        let is_found = |state: &usize| {
            let state = &self.states[*state];
            same(graph, &between_slices(graph, state)).is_ok()
        };
        let found = allowed.clone().rev().find(is_found);
        found.ok_or_else(|| {
            let differs = |state: usize| same(graph, &self.states[state]).err().unwrap_or_default();
            format!(
                "none of the states {allowed:?}; not the durable one: {}; not the last one: {}",
                differs(self.floor),
                differs(self.states.len() - 1),
            )
        })
    }
}

/// A graph on a disk, with its witness.
pub(super) struct Run {
    pub(super) disk: Disk,
    pub(super) witness: Witness,
    graph: Option<FollowGraph>,
    durability: Durability,
    /// How many calls had failed when this step began.
    failed_before: usize,
}

impl Run {
    pub(super) fn new(disk: Disk, witness: Witness, durability: Durability) -> Run {
        // Clocks of their own, so that runs are the same whatever ran before.
        let time = Arc::new(AtomicU32::new(witness.time.load(Ordering::Relaxed)));
        Run {
            disk,
            witness: Witness { time, ..witness },
            graph: None,
            durability,
            failed_before: 0,
        }
    }

    /// Opens the graph and does the steps until the power is lost. An error is a flaw where no call
    /// of that step failed, unless the handle has latched. A graph that could not be opened is
    /// opened again at the next step.
    pub(super) fn go(&mut self, steps: &[Step]) -> std::result::Result<(), Flaw> {
        self.open()?;
        for step in steps {
            if !self.disk.has_power() {
                return Ok(());
            }
            self.step(step).map_err(|flaw| format!("{flaw}, at {}", shown(step)))?;
        }
        Ok(())
    }

    /// Drops the handle, as an orderly close where there is power.
    pub(super) fn close(&mut self) {
        self.graph = None;
    }

    /// Compares the live graph with the last state: reads go on after errors. Where a removal was
    /// interrupted, that is the state after it.
    pub(super) fn check_live(&self) -> std::result::Result<(), Flaw> {
        match &self.graph {
            Some(graph) if is_removing(graph) => self.witness.find(graph).map(drop),
            Some(graph) => same(graph, self.witness.last()),
            None => Ok(()),
        }
    }

    fn open(&mut self) -> std::result::Result<(), Flaw> {
        self.failed_before = self.disk.failed_calls().len();
        match self.disk.open(self.witness.options(self.durability)) {
            Ok(graph) => {
                let state = self.witness.find(&graph)?;
                self.witness.states.truncate(state + 1);
                if self.disk.has_power() {
                    self.witness.all_is_durable();
                }
                let finished = self.finish_removals(&graph);
                self.graph = Some(graph);
                finished
            }
            Err(error) => self.excuse(&error).map_err(|flaw| format!("cannot open: {flaw}")),
        }
    }

    /// Goes on with a removal that was interrupted before the graph was opened.
    fn finish_removals(&mut self, graph: &FollowGraph) -> std::result::Result<(), Flaw> {
        if !is_removing(graph) {
            return Ok(());
        }
        let mut next = self.witness.last().clone();
        for (id, name) in next.accounts() {
            if graph.is_leaving(AccountId(id)) {
                next.remove_account(&name).expect("it is there");
            }
        }
        self.witness.push(next);
        let finished = graph.finish_removals();
        match self.durability {
            Durability::Always => self.made_durable(finished),
            _ => finished.or_else(|error| self.excuse(&error)),
        }
    }

    /// Whether an error is one that was promised: that of a call that failed in this step, or of a
    /// handle that latched. Nothing but a failed sync of the log, or a name or an image that may or
    /// may not be there, latches one.
    fn excuse(&self, error: &Error) -> std::result::Result<(), Flaw> {
        if !self.disk.has_power() {
            return Ok(());
        }
        let failed = self.disk.failed_calls();
        let kind = error.kind();
        let is_promised = if kind == ErrorKind::Latched {
            let latches =
                |call: &Call| matches!(call, Call::LogSync | Call::SyncDirectory | Call::Read);
            failed.iter().any(latches)
        } else {
            failed.len() > self.failed_before && may_be_told(self.disk.fault(), kind)
        };
        if is_promised { Ok(()) } else { Err(format!("an error after {failed:?}: {error}")) }
    }

    fn step(&mut self, step: &Step) -> std::result::Result<(), Flaw> {
        if let Step::Reopen = step {
            self.close();
        }
        if self.graph.is_none() && self.disk.has_power() {
            self.open()?;
        }
        self.failed_before = self.disk.failed_calls().len();
        let Some(graph) = self.graph.take() else { return Ok(()) };
        let done = match step {
            Step::Commit(changes) => self.commit(&graph, changes),
            Step::Load(edges) => self.load(&graph, edges),
            Step::Sync => self.made_durable(graph.sync()),
            Step::AwaitTimer => self.await_timer(&graph),
            Step::Checkpoint => self.made_durable(graph.checkpoint().map(drop)),
            Step::Backup => self.back_up(&graph),
            Step::Consume => self.consume(&graph),
            Step::Acknowledge => self.acknowledge(&graph),
            Step::Forget => self.forget(&graph),
            Step::Reopen => Ok(()),
        };
        let is_tried = self.disk.has_power() && !self.disk.failed_calls().is_empty();
        let live = if is_tried { same(&graph, self.witness.last()) } else { Ok(()) };
        self.graph = Some(graph);
        done?;
        live.map_err(|flaw| format!("reads after an error: {flaw}"))
    }

    /// Waits until the thread behind `Durability::Interval` has synced what was committed.
    fn await_timer(&mut self, graph: &FollowGraph) -> std::result::Result<(), Flaw> {
        let (begin, last) = (Instant::now(), graph.stats().sequence);
        let mut changes = match graph.changes(last.saturating_sub(1)) {
            Ok(changes) => changes,
            Err(error) => return self.excuse(&error),
        };
        loop {
            // What is handed out is on disk.
            let handed_out = changes.next(TIMER_ROUND);
            if !self.disk.has_power() {
                return Ok(());
            }
            match handed_out {
                Ok(Some(_)) => {
                    self.witness.all_is_durable();
                    return Ok(());
                }
                Ok(None) if graph.stats().latched.is_some() => {
                    return self.excuse(&Error::bare(ErrorKind::Latched));
                }
                Ok(None) if last == 0 => return Ok(()),
                Ok(None) if begin.elapsed() < TIMER_PATIENCE => {}
                Ok(None) => return Err("the timer does not sync".to_owned()),
                // The log cannot be read to see it.
                Err(error) => return self.excuse(&error),
            }
        }
    }

    fn forget(&mut self, graph: &FollowGraph) -> std::result::Result<(), Flaw> {
        let outcome = graph.remove_consumer(CONSUMER);
        self.witness.acknowledged = None;
        if outcome.is_ok() && self.disk.has_power() {
            self.witness.consumed = None;
        }
        outcome.map(drop).or_else(|error| self.excuse(&error))
    }

    fn made_durable(&mut self, outcome: Result<()>) -> std::result::Result<(), Flaw> {
        match outcome {
            Ok(()) if self.disk.has_power() => self.witness.all_is_durable(),
            Ok(()) => {}
            Err(error) => return self.excuse(&error),
        }
        Ok(())
    }

    fn commit(&mut self, graph: &FollowGraph, changes: &[Change]) -> std::result::Result<(), Flaw> {
        let now = self.witness.time.fetch_add(1, Ordering::Relaxed) + 1;
        let mut next = self.witness.last().clone();
        let expected: Vec<_> = changes.iter().map(|change| apply(&mut next, change, now)).collect();
        next.finish_removals();
        let mutations: Vec<Mutation<'_>> = changes.iter().map(mutation).collect();
        let outcome = graph.apply(&mutations);
        if !self.disk.has_power() {
            self.witness.push(next);
            return Ok(());
        }
        match outcome {
            Ok(results) => {
                for (result, expected) in results.iter().zip(expected) {
                    let outcome = result.as_ref().ok().map(|done| *done == Outcome::Applied);
                    if outcome != expected.ok() {
                        return Err(format!("{result:?} where the model has {expected:?}"));
                    }
                }
                self.witness.push(next);
                if self.durability == Durability::Always {
                    self.witness.all_is_durable();
                }
                Ok(())
            }
            Err(error) => {
                self.excuse(&error)?;
                // Whether it is there is seen; whether it stays is not promised. A removal that has
                // begun is there or not like any other commit.
                if is_removing(graph) {
                    self.witness.push(next);
                    return self.witness.find(graph).map(drop);
                }
                if same(graph, &next).is_ok() {
                    self.witness.push(next);
                }
                same(graph, self.witness.last())
            }
        }
    }

    fn load(
        &mut self,
        graph: &FollowGraph,
        edges: &[(String, String)],
    ) -> std::result::Result<(), Flaw> {
        let mut next = Model::default();
        next.creates_missing_accounts = true;
        let loaded = graph.bulk_load(1 << 20).and_then(|mut load| {
            for ((follower, followed), at) in edges.iter().zip(500..) {
                load.add(follower, followed, Some(at))?;
                next.follow(follower, followed, at).expect("the follows of the scenario fit");
            }
            load.finish(&mut |_, _| {})
        });
        next.creates_missing_accounts = false;
        if !self.disk.has_power() {
            self.witness.push(next);
            return Ok(());
        }
        match loaded {
            Ok(_) => {
                self.witness.push(next);
                self.witness.all_is_durable();
                Ok(())
            }
            Err(error) => {
                self.excuse(&error)?;
                if same(graph, &next).is_ok() {
                    self.witness.push(next);
                } else if error.kind() == ErrorKind::Latched {
                    self.witness.may_be(next);
                }
                same(graph, self.witness.last())
            }
        }
    }

    fn back_up(&mut self, graph: &FollowGraph) -> std::result::Result<(), Flaw> {
        let outcome = self.disk.directory(BACKUP).take_backup(graph);
        let is_done = outcome.is_ok() && self.disk.has_power();
        self.witness.backup = Some((self.witness.last().clone(), is_done));
        outcome.map(drop).or_else(|error| self.excuse(&error))
    }

    fn consume(&mut self, graph: &FollowGraph) -> std::result::Result<(), Flaw> {
        let outcome = graph.consumer(CONSUMER);
        let sequence = graph.stats().sequence;
        self.witness.consumed = Some(sequence);
        if outcome.is_ok() && self.disk.has_power() {
            self.witness.acknowledged = Some(sequence);
            self.witness.all_is_durable();
        }
        outcome.map(drop).or_else(|error| self.excuse(&error))
    }

    fn acknowledge(&mut self, graph: &FollowGraph) -> std::result::Result<(), Flaw> {
        let outcome = graph.consumer(CONSUMER).and_then(|mut consumer| {
            while let Some(commit) = consumer.next(Duration::ZERO)? {
                self.witness.consumed = Some(commit.sequence);
            }
            let position = self.witness.consumed.unwrap_or_default();
            consumer.acknowledge(position).map(|()| position)
        });
        match outcome {
            Ok(position) => {
                if self.disk.has_power() {
                    self.witness.acknowledged = Some(position);
                }
                Ok(())
            }
            Err(error) => {
                if self.witness.acknowledged.is_none() {
                    // One that was not there was to begin behind the last commit.
                    self.witness.consumed = Some(graph.stats().sequence);
                }
                self.excuse(&error)
            }
        }
    }
}

/// What an operation may say of a call that failed so.
fn may_be_told(fault: Fault, kind: ErrorKind) -> bool {
    match fault {
        Fault::Error { failure, .. } | Fault::ErrorOf { failure, .. } => match failure {
            Failure::NoSpace => kind == ErrorKind::DiskFull,
            Failure::Io | Failure::IoForgotten => kind == ErrorKind::Io,
            Failure::Short => {
                matches!(kind, ErrorKind::DiskFull | ErrorKind::Io | ErrorKind::Corrupt)
            }
        },
        Fault::None | Fault::PowerLoss { .. } => false,
    }
}

/// Opens what is left for good: an allowed state, which stays, and with which work can go on.
pub(super) fn check_left(
    disk: &Disk,
    witness: &Witness,
    goes_on: bool,
) -> std::result::Result<(), Flaw> {
    let mut witness = witness.clone();
    check_backup(disk, &witness)?;
    let graph = reopened(disk, &witness)?;
    witness.find(&graph)?;
    check_consumer(&graph, &witness)?;
    check_changes(&graph)?;
    graph.verify().map_err(|error| format!("verify: {error}"))?;
    graph.finish_removals().map_err(|error| format!("cannot finish a removal: {error}"))?;
    let state = witness.find(&graph)?;
    graph.verify().map_err(|error| format!("verify after a removal: {error}"))?;
    // What an open graph shows is on disk.
    witness.settle(state);
    let cut = disk.after_power_loss(crate::testing::disk::Remains::Nothing);
    let graph_again = reopened(&cut, &witness)?;
    same(&graph_again, witness.last()).map_err(|flaw| format!("shown and then lost: {flaw}"))?;
    if graph_again.stats().recovery.cut_frames > 0 {
        return Err("what was cut is there again".to_owned());
    }
    if !goes_on {
        return Ok(());
    }
    drop(graph_again);
    let mut run = Run::new(cut, witness, Durability::Always);
    let commit = Step::Commit(vec![Change::Add("zoe".to_owned()), Change::Follow("zoe", "alice")]);
    run.go(&[commit, Step::Reopen, Step::Checkpoint, Step::Reopen])
        .map_err(|flaw| format!("cannot go on: {flaw}"))?;
    let graph = run.graph.take().ok_or("the graph is not open")?;
    graph.verify().map(drop).map_err(|error| format!("verify after going on: {error}"))
}

/// Opens the graph, where that can be interrupted.
pub(super) fn try_open(disk: &Disk, witness: &Witness) -> bool {
    disk.open(witness.options(Durability::Always)).is_ok() && disk.has_power()
}

fn reopened(disk: &Disk, witness: &Witness) -> std::result::Result<FollowGraph, Flaw> {
    let opened = disk.open(witness.options(Durability::Always));
    opened.map_err(|error| format!("cannot be opened: {error}"))
}

fn check_consumer(graph: &FollowGraph, witness: &Witness) -> std::result::Result<(), Flaw> {
    let position = graph.consumers().first().map(|(_, position)| *position);
    let is_allowed = position >= witness.acknowledged && position <= witness.consumed;
    if !is_allowed {
        let (least, most) = (witness.acknowledged, witness.consumed);
        return Err(format!("the consumer is at {position:?}, not in {least:?} to {most:?}"));
    }
    let Some(mut sequence) = position else { return Ok(()) };
    let failed = |error| format!("the consumer cannot go on: {error}");
    let mut consumer = graph.consumer(CONSUMER).map_err(failed)?;
    while let Some(commit) = consumer.next(Duration::ZERO).map_err(failed)? {
        if commit.sequence <= sequence {
            return Err(format!("the consumer gets {} behind {sequence}", commit.sequence));
        }
        sequence = commit.sequence;
    }
    Ok(())
}

/// What is left of the log has no gap.
fn check_changes(graph: &FollowGraph) -> std::result::Result<(), Flaw> {
    let failed = |error| format!("the changes cannot be read: {error}");
    let mut changes = graph.changes(graph.oldest_position()).map_err(failed)?;
    loop {
        match changes.next(Duration::ZERO) {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(()),
            // A bulk load is in no log.
            Err(error) if error.kind() == ErrorKind::PositionLost => return Ok(()),
            Err(error) => return Err(failed(error)),
        }
    }
}

fn check_backup(disk: &Disk, witness: &Witness) -> std::result::Result<(), Flaw> {
    let copy = disk.copy().directory(BACKUP);
    let is_image = |name: &String| matches!(file_kind(name), FileKind::Image(_));
    let names = copy.file_names();
    let is_unfinished = names.iter().any(|name| file_kind(name) == FileKind::Unfinished);
    let is_there = names.iter().any(is_image) && !is_unfinished;
    match &witness.backup {
        Some((model, _)) if is_there => {
            let graph = reopened(&copy, witness).map_err(|flaw| format!("the backup {flaw}"))?;
            graph.verify().map_err(|error| format!("verify of the backup: {error}"))?;
            same(&graph, model).map_err(|flaw| format!("the backup: {flaw}"))
        }
        Some((_, true)) => Err("a finished backup is gone".to_owned()),
        _ => Ok(()),
    }
}

fn apply(model: &mut Model, change: &Change, now: u32) -> std::result::Result<bool, Refusal> {
    match change {
        Change::Add(name) => model.add_account(name),
        Change::Remove(name) => model.remove_in_batch(name, &mut 0),
        Change::Follow(follower, followed) => model.follow(follower, followed, now),
        Change::Unfollow(follower, followed) => model.unfollow(follower, followed),
    }
}

fn mutation(change: &Change) -> Mutation<'_> {
    match change {
        Change::Add(name) => Mutation::add_account(name),
        Change::Remove(name) => Mutation::remove_account(name),
        Change::Follow(follower, followed) => Mutation::follow(follower, followed),
        Change::Unfollow(follower, followed) => Mutation::unfollow(follower, followed),
    }
}

fn is_removing(graph: &FollowGraph) -> bool {
    graph.stats().being_removed_account_count > 0
}

fn shown(step: &Step) -> String {
    let text = format!("{step:?}");
    text.chars().take(60).collect()
}

/// The model without the follows that have gone already of accounts that are being removed.
pub(crate) fn between_slices(graph: &FollowGraph, model: &Model) -> Model {
    let mut model = model.clone();
    for (id, name) in model.accounts() {
        if graph.account_id(&name).ok() != Some(AccountId(id)) || !graph.is_leaving(AccountId(id)) {
            continue;
        }
        for (follower, followed, _) in model.edges() {
            let concerns = follower == name || followed == name;
            let is_there =
                || graph.relation(&follower, &followed).is_ok_and(|relation| relation.following);
            if concerns && !is_there() {
                model.unfollow(&follower, &followed).expect("both accounts are there");
            }
        }
    }
    model
}

/// Whether every answer about accounts, counts and lists is the model's.
pub(crate) fn same(graph: &FollowGraph, model: &Model) -> std::result::Result<(), Flaw> {
    let accounts = model.accounts();
    let stats = graph.stats();
    let follow_count = model.edges().len();
    let found = (stats.account_count as usize, stats.follow_count as usize);
    if found != (accounts.len(), follow_count) {
        return Err(format!(
            "{found:?} accounts and follows, not {:?}",
            (accounts.len(), follow_count)
        ));
    }
    for (id, name) in &accounts {
        if model.counts(name) == Err(Refusal::ForeignAccount) {
            // What there is of a foreign account is seen at the other ends.
            let kind = graph.counts(name).map_err(|error| error.kind());
            if kind != Err(ErrorKind::ForeignAccount) {
                return Err(format!("{name:?} is {kind:?}, not foreign"));
            }
            continue;
        }
        let found = pictured(graph, name).map_err(|error| format!("{name:?}: {error}"))?;
        let refused = |refusal: Refusal| format!("the model refuses {name:?}: {refusal:?}");
        let lists = [model.followers(name), model.following(name), model.mutuals(name)];
        let lists =
            lists.into_iter().collect::<std::result::Result<Vec<_>, _>>().map_err(refused)?;
        let expected = (*id, model.counts(name).map_err(refused)?, lists);
        if found != expected {
            return Err(format!("{name:?} is {found:?}, not {expected:?}"));
        }
    }
    Ok(())
}

/// An account: id, counts, and the three lists.
type Picture = (u32, (usize, usize, usize), Vec<Vec<(String, u32)>>);

fn pictured(graph: &FollowGraph, name: &str) -> Result<Picture> {
    let id = graph.account_id(name)?.0;
    let counts = graph.counts(name)?;
    let counts = (counts.followers, counts.following, counts.mutual);
    let page = || Page::first(LIST_LEN_MAX);
    let lists = [
        graph.followers(name, page())?,
        graph.following(name, page())?,
        graph.mutuals(name, page())?,
    ];
    let entries = |list: List| {
        list.entries.into_iter().map(|entry| (entry.account, entry.followed_at)).collect()
    };
    let counts = (counts.0 as usize, counts.1 as usize, counts.2 as usize);
    Ok((id, counts, lists.map(entries).into()))
}
