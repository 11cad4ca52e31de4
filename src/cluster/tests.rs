//! A cluster in one thread, with time that passes as fast as it can, and faults drawn from a seed.
//!
//! Whatever happens, the log decides: replayed over the model it says what every node must hold
//! and what every caller must have been told.

use super::log::Log;
use super::message::{Batch, Message, Operation};
use super::node::{Node, NodeOptions, create_cluster};
use super::placement::{Placement, move_shards};
use super::renewal::{NodeEnd, last_entry, node_end, renew_cluster};
use super::routes::Decided;
use super::snapshots::Snapshots;
use super::{GatewayLimits, Memory, MemoryFaults};
use crate::error::{Error, ErrorKind};
use crate::list::Page;
use crate::shards::{ShardSet, VirtualShard};
use crate::testing::{Model, Refusal};
use crate::types::{Counts, Outcome};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

const NAMES: u32 = 24;
const START_SECOND: u32 = 1_700_000_000;

fn name(number: u32) -> String {
    format!("user-{number}")
}

/// In memory, where there is such a place: a simulation opens thousands of graphs.
fn directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { TempDir::new_in(memory).unwrap() } else { TempDir::new().unwrap() }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

fn options(node: &str, directory: &Path, start: Instant) -> NodeOptions {
    let mut options = NodeOptions::new(node, directory.join(node));
    options.clock = Arc::new(move || START_SECOND + start.elapsed().as_secs() as u32);
    options.digest_seconds = 10;
    options.segment_bytes = 64 * 1024;
    options.gateway = GatewayLimits { batch_operations: 8, ..GatewayLimits::default() };
    options
}

/// What a caller was told: the change, the entry that decided it, and how.
type Answer = (Operation<'static>, u64, Result<Option<Outcome>, ErrorKind>);

fn kind_of(refusal: Refusal) -> ErrorKind {
    match refusal {
        Refusal::InvalidName => ErrorKind::InvalidName,
        Refusal::UnknownAccount => ErrorKind::UnknownAccount,
        Refusal::BeingRemoved => ErrorKind::BeingRemoved,
        Refusal::SelfFollow => ErrorKind::SelfFollow,
        other => panic!("a cluster refuses nothing with {other:?}"),
    }
}

/// A change of the log, and what became of it.
type Decision = (Operation<'static>, Result<Outcome, ErrorKind>);

/// The log, replayed over the model by rules of its own.
#[derive(Default)]
struct Reference {
    model: Model,
    /// Batches that were applied, and below which number those of a gateway are settled.
    seen: HashSet<(u64, u64)>,
    floors: HashMap<u64, u64>,
    /// By entry: the changes, and what became of each.
    decided: BTreeMap<u64, Vec<Decision>>,
    last: u64,
}

impl Reference {
    /// Reads the whole log, also what was purged.
    fn of(memory: &Memory) -> Reference {
        let mut reference = Reference::default();
        for entry in memory.history() {
            reference.last = entry.sequence;
            if let Message::Batch(batch) = Message::decode(&entry.bytes).unwrap() {
                reference.take(entry.sequence, entry.time_millis, batch);
            }
        }
        reference
    }

    fn take(&mut self, sequence: u64, time_millis: u64, batch: Batch<'_>) {
        let floor = self.floors.entry(batch.gateway).or_default();
        *floor = batch.floor.max(*floor);
        if batch.counter < *floor || !self.seen.insert((batch.gateway, batch.counter)) {
            return;
        }
        let at = (time_millis / 1000) as u32;
        for operation in batch.operations {
            let outcome = self.decide(&operation, at).map_err(kind_of);
            let outcome =
                outcome.map(|is_new| if is_new { Outcome::Applied } else { Outcome::Unchanged });
            self.decided.entry(sequence).or_default().push((owned(operation), outcome));
        }
    }

    fn decide(&mut self, operation: &Operation<'_>, at: u32) -> Result<bool, Refusal> {
        let model = &mut self.model;
        match operation {
            Operation::AddAccount { name } => model.add_account(name),
            Operation::Follow { follower, followed, at: given, create } => {
                if *create && follower != followed {
                    let _ = model.add_account(follower);
                    let _ = model.add_account(followed);
                }
                model.follow(follower, followed, given.unwrap_or(at))
            }
            Operation::Unfollow { follower, followed } => model.unfollow(follower, followed),
            Operation::BeginRemoval { name } => model.begin_removal(name),
            Operation::UnfollowId { follower, followed } => {
                let (follower, followed) =
                    (model.account_name(*follower)?, model.account_name(*followed)?);
                model.unfollow(&follower, &followed)
            }
            Operation::EndRemoval { id } => {
                let name = model.account_name(*id)?;
                assert_eq!(model.counts(&name), Ok((0, 0, 0)), "its follows have gone");
                model.remove_account(&name).map(|()| true)
            }
        }
    }

    /// What callers were told is what was decided.
    fn check_answers(&mut self, answers: &[Answer]) {
        for (operation, sequence, told) in answers {
            let decided = self.decided.get_mut(sequence).unwrap_or_else(|| {
                panic!("{operation:?} was confirmed at {sequence}, where nothing was decided")
            });
            let fits = |(other, outcome): &Decision| {
                other == operation
                    && match (told, outcome) {
                        (Ok(None), outcome) => outcome.is_ok(),
                        (Ok(Some(told)), Ok(outcome)) => told == outcome,
                        (Err(told), Err(kind)) => told == kind,
                        _ => false,
                    }
            };
            let place = decided.iter().position(fits).unwrap_or_else(|| {
                panic!("{operation:?} at {sequence} was told {told:?}, decided was {decided:?}")
            });
            let _ = decided.remove(place);
        }
    }

    /// What a node holds is what the model holds.
    fn check_node(&self, node: &Node<Memory>) {
        let hosted = node.answers_for();
        for number in 0..NAMES {
            let name = name(number);
            if !hosted.contains(VirtualShard::of(&name)) {
                continue;
            }
            let expected = self.model.counts(&name).map_err(kind_of);
            let expected = expected.map(|(followers, following, mutual)| Counts {
                followers: followers as u32,
                following: following as u32,
                mutual: mutual as u32,
            });
            let counts = node.shared.counts(&[&name]).remove(0).map_err(|error| error.kind());
            assert_eq!(counts, expected, "counts of {name}");
            let listed = node.shared.list(&name, crate::list::ListKind::Followers, Page::first(99));
            let listed = listed.map_err(|error| error.kind()).map(|list| {
                list.entries.into_iter().map(|entry| (entry.account, entry.followed_at)).collect()
            });
            assert_eq!(listed, self.model.followers(&name).map_err(kind_of), "list of {name}");
        }
    }
}

fn owned(operation: Operation<'_>) -> Operation<'static> {
    let own = |name: Cow<'_, str>| Cow::Owned(name.into_owned());
    match operation {
        Operation::AddAccount { name } => Operation::AddAccount { name: own(name) },
        Operation::Follow { follower, followed, at, create } => {
            Operation::Follow { follower: own(follower), followed: own(followed), at, create }
        }
        Operation::Unfollow { follower, followed } => {
            Operation::Unfollow { follower: own(follower), followed: own(followed) }
        }
        Operation::BeginRemoval { name } => Operation::BeginRemoval { name: own(name) },
        Operation::UnfollowId { follower, followed } => {
            Operation::UnfollowId { follower, followed }
        }
        Operation::EndRemoval { id } => Operation::EndRemoval { id },
    }
}

/// Both directions hold the same follows, over all shards, and replicas of a shard are equal.
fn check_digests(nodes: &[Option<Node<Memory>>]) {
    let mut digests = BTreeMap::new();
    for node in nodes.iter().flatten() {
        for (shard, following, followers) in node.shared.status().digests {
            let digest = (following, followers);
            assert_eq!(*digests.entry(shard).or_insert(digest), digest, "replicas of {shard}");
        }
    }
    assert_eq!(digests.len(), 4096);
    let sum = |side: fn(&(u64, u64)) -> u64| {
        digests.values().fold(0_u64, |sum, digest| sum.wrapping_add(side(digest)))
    };
    assert_eq!(sum(|digest| digest.0), sum(|digest| digest.1));
}

/// Each shard on two of three nodes.
fn placement() -> [(&'static str, ShardSet); 3] {
    [
        ("n0", ShardSet::range(0..=2730)),
        ("n1", ShardSet::range(1365..=4095)),
        ("n2", ShardSet::range(0..=1364).union(&ShardSet::range(2731..=4095))),
    ]
}

struct Simulation {
    random: fastrand::Rng,
    memory: Memory,
    directory: TempDir,
    start: Instant,
    nodes: Vec<Option<Node<Memory>>>,
    answers: Vec<Answer>,
    moves: usize,
    snapshots: usize,
    losses: usize,
    begun_anew: usize,
}

impl Simulation {
    async fn new(seed: u64) -> Simulation {
        Simulation::placed(seed, &placement()).await
    }

    async fn placed(seed: u64, placement: &[(&str, ShardSet)]) -> Simulation {
        let memory = Memory::new(seed);
        create_cluster(&memory, placement).await.unwrap();
        let mut simulation = Simulation {
            random: fastrand::Rng::with_seed(seed),
            memory,
            directory: directory(),
            start: Instant::now(),
            nodes: vec![None, None, None],
            answers: Vec::new(),
            moves: 0,
            snapshots: 0,
            losses: 0,
            begun_anew: 0,
        };
        for number in 0..3 {
            simulation.start_node(number).await;
        }
        simulation
    }

    async fn start_node(&mut self, number: usize) {
        let options = options(&format!("n{number}"), self.directory.path(), self.start);
        let node = Node::start(Arc::new(self.memory.clone()), options).await.unwrap();
        self.nodes[number] = Some(node);
    }

    /// A handful of changes at once, each through some node.
    async fn change(&mut self) {
        let mut asked = Vec::new();
        for _ in 0..self.random.usize(1..12) {
            let operation = self.draw();
            let node = self.random.usize(..self.nodes.len());
            let gateway = self.nodes[node].as_ref().unwrap().shared.gateway.clone();
            let submitted = operation.clone();
            let task = tokio::spawn(async move { gateway.submit(submitted).await });
            asked.push((operation, task));
        }
        for (operation, task) in asked {
            match task.await.unwrap() {
                Ok((outcome, sequence)) => self.answers.push((operation, sequence, Ok(outcome))),
                Err(error) if is_unsure(&error) => {}
                // An error of the change itself comes without the entry that decided it.
                Err(error) => Simulation::check_refusal(&operation, error.kind()),
            }
        }
    }

    fn check_refusal(operation: &Operation<'_>, kind: ErrorKind) {
        let known = [ErrorKind::UnknownAccount, ErrorKind::BeingRemoved, ErrorKind::SelfFollow];
        assert!(known.contains(&kind), "{operation:?} was refused with {kind:?}");
    }

    fn draw(&mut self) -> Operation<'static> {
        let one = name(self.random.u32(..NAMES)).into();
        let other = name(self.random.u32(..NAMES)).into();
        match self.random.u32(..40) {
            0..=3 => Operation::AddAccount { name: one },
            4 => Operation::BeginRemoval { name: one },
            5..=14 => Operation::Unfollow { follower: one, followed: other },
            place => Operation::Follow {
                follower: one,
                followed: other,
                at: None,
                create: place.is_multiple_of(2),
            },
        }
    }

    /// A node ends and begins again, perhaps without what it had.
    async fn restart(&mut self, loses_everything: bool) {
        let number = self.random.usize(..self.nodes.len());
        self.nodes[number].take().unwrap().stop().await;
        if loses_everything {
            std::fs::remove_dir_all(self.directory.path().join(format!("n{number}"))).unwrap();
        }
        sleep(Duration::from_millis(self.random.u64(..3000))).await;
        self.start_node(number).await;
    }

    /// Some shards get another host in the place of one of theirs.
    async fn move_some(&mut self) {
        let (from, to) = (self.random.usize(..3), self.random.usize(..3));
        let (placement, _) = Placement::load(&self.memory).await.unwrap();
        let (from, to) = (format!("n{from}"), format!("n{to}"));
        let first = self.random.u16(..4000);
        let movable = placement.hosted_by(&from).difference(&placement.hosted_by(&to));
        let moved = movable.intersection(&ShardSet::range(first..=first + self.random.u16(..2000)));
        if from == to || moved.is_empty() {
            return;
        }
        let wait = Duration::from_mins(1);
        move_shards(&self.memory, &from, &to, &moved, wait).await.unwrap();
        self.moves += 1;
    }

    /// Every node takes a snapshot, and the log is cut.
    async fn snapshots(&mut self) {
        for node in self.nodes.iter().flatten() {
            match node.snapshot().await {
                Err(error) if error.kind() != ErrorKind::Unavailable => panic!("{error}"),
                _ => self.snapshots += 1,
            }
        }
    }

    /// The log is lost, wherever the nodes are, and another one goes on behind it.
    async fn lose_log(&mut self) {
        for node in &mut self.nodes {
            node.take().unwrap().stop().await;
        }
        let directory = |node: &String| self.directory.path().join(node);
        let names: Vec<String> = (0..self.nodes.len()).map(|number| format!("n{number}")).collect();
        let ends: BTreeMap<String, NodeEnd> =
            names.iter().map(|node| (node.clone(), node_end(&directory(node)).unwrap())).collect();
        // Some shards may be on nodes only that are behind: then the log must not be lost.
        let lost = last_entry(&ends);
        if let Ok(last) = &lost {
            self.memory = self.memory.lose_log(last.epoch + 1_000_000, last.sequence);
            renew_cluster(&self.memory, &ends).await.unwrap();
        }
        let is_level =
            |name: &String| lost.as_ref().map_or(true, |last| ends[name].position == *last);
        let (level, behind): (Vec<usize>, Vec<usize>) =
            (0..names.len()).partition(|number| is_level(&names[*number]));
        for number in level {
            self.start_node(number).await;
        }
        let deadline = Instant::now() + Duration::from_mins(5);
        while lost.is_ok() && !self.has_snapshots().await {
            assert!(Instant::now() < deadline, "nobody takes the first snapshots of the new log");
            let_threads_run().await;
            sleep(Duration::from_millis(100)).await;
        }
        for number in &behind {
            self.start_node(*number).await;
        }
        self.losses += usize::from(lost.is_ok());
        self.begun_anew += behind.len();
    }

    /// Whether every shard has a snapshot.
    async fn has_snapshots(&self) -> bool {
        let (all, _) = Snapshots::load(&self.memory).await.unwrap();
        ShardSet::all().iter().all(|shard| all.source_of(shard, None).is_some())
    }

    /// Waits until nothing is under way any more, and every node has come to the end of the log.
    async fn settle(&self) {
        self.memory.set_faults(0, MemoryFaults::default());
        // Late copies arrive with the next append after two minutes.
        sleep(Duration::from_secs(125)).await;
        let last = self.memory.extent().await.unwrap().last;
        for node in self.nodes.iter().flatten() {
            node.shared.wait_for(last).await.unwrap();
            assert!(node.failure().is_none(), "{:?}", node.failure());
        }
    }

    async fn check(&mut self) {
        self.settle().await;
        let mut reference = Reference::of(&self.memory);
        reference.check_answers(&self.answers);
        for node in self.nodes.iter().flatten() {
            node.shared.wait_for(reference.last).await.unwrap();
            reference.check_node(node);
            let figures = &node.shared.figures;
            let differences = figures.digest_differences.load(std::sync::atomic::Ordering::Relaxed);
            assert_eq!(differences, 0, "no node differs from another");
        }
        check_digests(&self.nodes);
        for node in &mut self.nodes {
            node.take().unwrap().stop().await;
        }
    }
}

/// Graphs are written by threads that know nothing of simulated time.
async fn let_threads_run() {
    let slept = tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(1)));
    slept.await.unwrap();
}

fn is_unsure(error: &Error) -> bool {
    error.kind() == ErrorKind::OutcomeUnknown
}

/// How often the log was lost, and how many nodes had to begin anew then.
fn simulate(seed: u64) -> (usize, usize) {
    runtime().block_on(async {
        let mut simulation = Simulation::new(seed).await;
        let faults = MemoryFaults {
            lost_append: 9,
            lost_ack: 7,
            late_copy: 5,
            cut_tail: 40,
            lost_answer: 10,
            delay_millis: 30,
        };
        simulation.memory.set_faults(seed, faults);
        for _ in 0..12 {
            simulation.change().await;
            match simulation.random.u32(..12) {
                0 | 1 => simulation.restart(false).await,
                2 => simulation.restart(true).await,
                3 | 4 => simulation.move_some().await,
                5..=7 => simulation.snapshots().await,
                8 if seed.is_multiple_of(2) => simulation.lose_log().await,
                _ => {}
            }
        }
        simulation.check().await;
        (simulation.losses, simulation.begun_anew)
    })
}

#[test]
fn a_thousand_seeds() {
    let first = std::env::var("FOLLOWGRAPH_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = first.map_or(0..1000, |seed: u64| seed..seed + 1);
    let (seeds, threads) = (std::sync::Mutex::new(seeds), 2);
    let total = std::sync::Mutex::new((0, 0));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let Some(seed) = seeds.lock().unwrap().next() else { return };
                    let done = std::panic::catch_unwind(|| simulate(seed));
                    let (losses, begun_anew) = done.unwrap_or_else(|panic| {
                        eprintln!("seed {seed}; FOLLOWGRAPH_SEED={seed} repeats it");
                        std::panic::resume_unwind(panic)
                    });
                    let mut total = total.lock().unwrap();
                    *total = (total.0 + losses, total.1 + begun_anew);
                }
            });
        }
    });
    let (losses, begun_anew) = total.into_inner().unwrap();
    println!("{losses} lost logs, after which {begun_anew} nodes began anew");
    assert!(first.is_some() || (losses > 100 && begun_anew > 10), "{losses}, {begun_anew}");
}

#[test]
fn a_caller_sees_what_it_wrote_through_another_node() {
    runtime().block_on(async {
        let mut simulation = Simulation::new(1).await;
        // So that one node is often behind another.
        let faults = MemoryFaults { delay_millis: 40, ..MemoryFaults::default() };
        simulation.memory.set_faults(1, faults);
        let nodes: Vec<&Node<Memory>> = simulation.nodes.iter().flatten().collect();
        for number in 0..50 {
            let (fan, star) = (format!("fan-{number}"), "star");
            let writer = nodes[number % 3];
            let Decided { position, .. } = writer.follow(&fan, star, true).await.unwrap();
            let reader = nodes[(number + 1) % 3];
            let counts = reader.batch_counts(&[star, &fan, "nobody"], Some(position)).await;
            assert_eq!(counts[0].as_ref().unwrap().followers, number as u32 + 1);
            assert_eq!(counts[1].as_ref().unwrap().following, 1);
            assert_eq!(counts[2].as_ref().unwrap_err().kind(), ErrorKind::UnknownAccount);
        }
        let page = nodes[0].followers("star", Page::first(2), None).await.unwrap();
        assert_eq!(page.entries.len(), 2);
        let rest = nodes[1].followers("star", Page::after(page.next.unwrap(), 99), None).await;
        assert_eq!(rest.unwrap().entries.len(), 48);
        simulation.check().await;
    });
}

#[test]
fn an_account_goes_with_all_its_follows() {
    runtime().block_on(async {
        let mut simulation = Simulation::new(2).await;
        let node = simulation.nodes[0].as_ref().unwrap();
        for number in 0..600 {
            node.follow(&format!("fan-{number}"), "star", true).await.unwrap();
        }
        node.remove_account("star").await.unwrap();
        let refused = node.follow("late", "star", true).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::BeingRemoved);
        while node.wait_until_gone("star").await.is_err() {}
        assert!(!node.has_account("star").unwrap());
        let names: Vec<String> = (0..600).map(|number| format!("fan-{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let position = node.barrier().await.unwrap();
        for counts in node.batch_counts(&names, Some(position)).await {
            assert_eq!(counts.unwrap(), Counts::default());
        }
        simulation.check().await;
    });
}

#[test]
fn changes_of_a_pair_happen_in_the_order_they_were_offered() {
    runtime().block_on(async {
        let mut simulation = Simulation::new(3).await;
        let faults = MemoryFaults { lost_append: 2, delay_millis: 30, ..MemoryFaults::default() };
        simulation.memory.set_faults(3, faults);
        let gateway = &simulation.nodes[0].as_ref().unwrap().shared.gateway;
        let names = [name(0), name(1)];
        for name in &names {
            gateway.submit(Operation::AddAccount { name: name.clone().into() }).await.unwrap();
        }
        let offered = (0..60).map(|number| {
            let [follower, followed] = names.clone().map(Cow::Owned);
            gateway.submit(match number % 2 {
                0 => Operation::Follow { follower, followed, at: None, create: false },
                _ => Operation::Unfollow { follower, followed },
            })
        });
        let mut last = 0;
        for settled in futures_util::future::join_all(offered).await {
            let (outcome, sequence) = settled.unwrap();
            assert!(outcome.is_none_or(|outcome| outcome == Outcome::Applied));
            assert!(sequence >= last, "{sequence} comes behind {last}");
            last = sequence;
        }
        simulation.check().await;
    });
}

#[test]
fn a_name_that_is_refused_is_not_published() {
    runtime().block_on(async {
        let memory = Memory::new(9);
        create_cluster(&memory, &[("n0", ShardSet::all())]).await.unwrap();
        let directory = directory();
        let options = options("n0", directory.path(), Instant::now());
        let node = Node::start(Arc::new(memory.clone()), options).await.unwrap();
        let long = "x".repeat(2 << 20);
        for settled in [
            node.add_account(&long).await,
            node.follow(&name(0), &long, true).await,
            node.unfollow(&long, &name(0)).await,
            node.remove_account(&long).await,
        ] {
            let error = settled.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidName);
            assert!(error.to_string().len() < 2000, "{} bytes", error.to_string().len());
        }
        let figures = &node.shared.gateway.figures;
        assert_eq!(
            figures.operations.load(std::sync::atomic::Ordering::Relaxed),
            0,
            "changes were published"
        );
        node.stop().await;
    });
}

#[test]
fn a_batch_that_was_given_up_and_arrives_late_is_dead() {
    runtime().block_on(async {
        let memory = Memory::new(4);
        let limits = GatewayLimits { retry: Duration::from_secs(2), ..GatewayLimits::default() };
        create_cluster(&memory, &[("n0", ShardSet::all())]).await.unwrap();
        let directory = directory();
        let mut options = options("n0", directory.path(), Instant::now());
        options.gateway = limits;
        let node = Node::start(Arc::new(memory.clone()), options).await.unwrap();
        let follow = || Operation::Follow {
            follower: name(0).into(),
            followed: name(1).into(),
            at: None,
            create: true,
        };
        memory.set_faults(4, MemoryFaults { lost_append: 1, ..MemoryFaults::default() });
        let unsure = node.shared.gateway.submit(follow()).await.unwrap_err();
        assert_eq!(unsure.kind(), ErrorKind::OutcomeUnknown);
        memory.set_faults(4, MemoryFaults::default());
        node.follow(&name(0), &name(1), true).await.unwrap();
        node.unfollow(&name(0), &name(1)).await.unwrap();

        let gateway = node.shared.gateway.id;
        let late = Batch { gateway, counter: 1, floor: 1, operations: vec![follow()] };
        let sequence = memory.append_raw(Message::Batch(late).encode()).unwrap();
        let counts = node.batch_counts(&[&name(0)], Some(node.shared.at(sequence))).await;
        assert_eq!(*counts[0].as_ref().unwrap(), Counts::default());
        node.stop().await;
    });
}

#[test]
fn the_log_is_cut_while_a_node_is_away() {
    runtime().block_on(async {
        let memory = Memory::new(6);
        let everything = ["n0", "n1", "n2"].map(|node| (node, ShardSet::all()));
        create_cluster(&memory, &everything).await.unwrap();
        let (directory, start) = (directory(), Instant::now());
        let mut nodes = Vec::new();
        for node in ["n0", "n1"] {
            let mut options = options(node, directory.path(), start);
            options.snapshot_seconds = Some(20);
            nodes.push(Node::start(Arc::new(memory.clone()), options).await.unwrap());
        }
        nodes[0].follow(&name(0), &name(1), true).await.unwrap();
        let deadline = Instant::now() + Duration::from_mins(5);
        while memory.extent().await.unwrap().first == 1 {
            assert!(Instant::now() < deadline, "nobody took snapshots of the shards of n2");
            let_threads_run().await;
            sleep(Duration::from_secs(1)).await;
        }
        // A node that comes now begins from what the others took.
        let late = options("n2", directory.path(), start);
        let late = Node::start(Arc::new(memory.clone()), late).await.unwrap();
        let position = late.barrier().await.unwrap();
        late.wait_for(position).await.unwrap();
        let counts = late.shared.counts(&[&name(1)]).remove(0);
        assert_eq!(counts.unwrap().followers, 1);
        nodes.push(late);
        for node in nodes {
            node.stop().await;
        }
    });
}

#[test]
fn snapshots_that_are_asked_for_at_the_same_time_are_taken_one_after_the_other() {
    runtime().block_on(async {
        let mut simulation = Simulation::new(7).await;
        simulation.change().await;
        let node = simulation.nodes[0].as_ref().unwrap();
        let (one, other) = tokio::join!(node.snapshot(), node.snapshot());
        assert!(one.unwrap().is_some() && other.is_ok());
        simulation.check().await;
    });
}

#[test]
fn a_node_whose_lists_differ_stops_answering_and_is_built_anew() {
    runtime().block_on(async {
        // Of three replicas two are a majority.
        let everything = ["n0", "n1", "n2"].map(|node| (node, ShardSet::all()));
        let mut simulation = Simulation::placed(5, &everything).await;
        let is_first_of = |name: &String| VirtualShard::of(name).number().is_multiple_of(3);
        let follower = (0..100).map(name).find(is_first_of).unwrap();
        let position = {
            let node = simulation.nodes[0].as_ref().unwrap();
            node.follow(&follower, &name(1), true).await.unwrap();
            node.follow(&follower, &name(2), true).await.unwrap().position
        };
        let shard = VirtualShard::of(&follower);
        let hosts: Vec<&Node<Memory>> = simulation.nodes.iter().flatten().collect();
        for node in &hosts {
            node.wait_for(position).await.unwrap();
        }
        let wrong = hosts[0];
        let graph = wrong.shared.view.read().parts[0].graph.clone();
        graph.unfollow(&follower, &name(1)).unwrap();
        // Wrong as it is, it is kept, and nobody must begin from it.
        wrong.snapshot().await.unwrap();
        let sum = |node: &Node<Memory>| {
            let figure = &node.shared.figures.rebuilds;
            figure.load(std::sync::atomic::Ordering::Relaxed)
        };
        let deadline = Instant::now() + Duration::from_mins(1);
        while sum(wrong) == 0 {
            assert!(Instant::now() < deadline, "nobody noticed");
            // Each answer is right, or there is none.
            let counts = simulation.nodes[2].as_ref().unwrap();
            let counts = counts.batch_counts(&[&follower], Some(position)).await;
            if wrong.shared.view.read().stopped.contains(shard) {
                assert_eq!(counts[0].as_ref().unwrap().following, 2);
            }
            sleep(Duration::from_millis(100)).await;
        }
        drop(graph);
        sleep(Duration::from_secs(10)).await;
        assert_eq!(sum(wrong), 1, "it was built from what was wrong");
        for node in &hosts {
            assert!(node.answers_for().contains(shard));
            assert_eq!(node.shared.counts(&[&follower])[0].as_ref().unwrap().following, 2);
        }
        for node in &mut simulation.nodes {
            node.take().unwrap().stop().await;
        }
    });
}
