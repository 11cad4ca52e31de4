//! Callers of a cluster: some write and note what they were told, some read all the time.

use super::Cluster;
use followgraph::cluster::testing::Change;
use followgraph::cluster::{Decided, Nats, Node};
use followgraph::{Error, ErrorKind, VirtualShard};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

const ACCOUNT_COUNT: usize = 200;

pub(super) fn account(number: usize) -> String {
    format!("user-{number}")
}

/// All accounts that there may be.
pub(super) fn accounts() -> Vec<String> {
    (0..ACCOUNT_COUNT).map(account).collect()
}

/// A change, and what whoever asked for it was told.
pub(super) struct Answer {
    pub(super) change: Change,
    pub(super) told: Result<Decided, Error>,
}

/// What came of a load.
pub(super) struct Report {
    pub(super) answers: Vec<Answer>,
    /// The longest time in which no change was confirmed to anybody.
    pub(super) stall: Duration,
    /// The longest time that one change took.
    pub(super) slowest: Duration,
    /// Questions that nodes answered from what they host, and the longest time one took.
    pub(super) read_count: u64,
    pub(super) slowest_read: Duration,
    /// Questions that another node had to be asked, and how many of them nobody answered.
    pub(super) routed_count: u64,
    pub(super) unanswered_count: u64,
}

/// Callers at work.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    writers: JoinSet<(Vec<Answer>, Duration)>,
    readers: JoinSet<(u64, Duration)>,
    routed: JoinSet<(u64, u64)>,
    pulse: Arc<Mutex<Pulse>>,
}

/// When something was confirmed last, and the longest time between.
struct Pulse {
    last: Instant,
    longest: Duration,
}

impl Pulse {
    fn beat(&mut self) {
        self.longest = self.longest.max(self.last.elapsed());
        self.last = Instant::now();
    }
}

impl Load {
    /// So many writers with a pause after each change, and readers at every node.
    pub(super) fn start(cluster: &Cluster, writer_count: u64, pause: Duration) -> Load {
        let pulse = Arc::new(Mutex::new(Pulse { last: Instant::now(), longest: Duration::ZERO }));
        let (mut writers, mut readers) = (JoinSet::new(), JoinSet::new());
        let (mut routed, stop) = (JoinSet::new(), Arc::new(AtomicBool::new(false)));
        for seed in 0..writer_count {
            let (nodes, stop, pulse) = (cluster.nodes.clone(), stop.clone(), pulse.clone());
            writers.spawn(async move { write(&nodes, seed, pause, &stop, &pulse).await });
        }
        for node in &cluster.nodes {
            let (reader, stop_reader) = (node.clone(), stop.clone());
            readers.spawn(async move { read(&reader, &stop_reader).await });
            let (reader, stop_reader) = (node.clone(), stop.clone());
            routed.spawn(async move { read_elsewhere(&reader, &stop_reader).await });
        }
        Load { stop, writers, readers, routed, pulse }
    }

    pub(super) async fn stop(self) -> Report {
        self.stop.store(true, Ordering::SeqCst);
        let mut report = Report {
            answers: Vec::new(),
            stall: Duration::ZERO,
            slowest: Duration::ZERO,
            read_count: 0,
            slowest_read: Duration::ZERO,
            routed_count: 0,
            unanswered_count: 0,
        };
        for (answers, slowest) in self.writers.join_all().await {
            report.answers.extend(answers);
            report.slowest = report.slowest.max(slowest);
        }
        for (read_count, slowest) in self.readers.join_all().await {
            assert!(read_count > 0, "a reader read nothing");
            report.read_count += read_count;
            report.slowest_read = report.slowest_read.max(slowest);
        }
        for (routed_count, unanswered_count) in self.routed.join_all().await {
            report.routed_count += routed_count;
            report.unanswered_count += unanswered_count;
        }
        let mut pulse = self.pulse.lock().unwrap();
        pulse.longest = pulse.longest.max(pulse.last.elapsed());
        report.stall = pulse.longest;
        drop(pulse);
        report.print();
        report
    }
}

impl Report {
    fn print(&self) {
        let confirmed = self.answers.iter().filter(|answer| answer.told.is_ok()).count();
        println!(
            "{} changes, {confirmed} confirmed, none for {:?}, the slowest took {:?}; {} reads, \
             the slowest took {:?}; {} reads through another node, {} without an answer",
            self.answers.len(),
            self.stall,
            self.slowest,
            self.read_count,
            self.slowest_read,
            self.routed_count,
            self.unanswered_count,
        );
    }
}

/// Changes of all kinds through any node, one after the other. Most of them concern few accounts,
/// so that writers meet.
async fn write(
    nodes: &[Arc<Node<Nats>>],
    seed: u64,
    pause: Duration,
    stop: &AtomicBool,
    pulse: &Mutex<Pulse>,
) -> (Vec<Answer>, Duration) {
    let (mut random, mut answers) = (fastrand::Rng::with_seed(seed), Vec::new());
    let mut slowest = Duration::ZERO;
    while !stop.load(Ordering::SeqCst) {
        let mut draw = || account(random.usize(..ACCOUNT_COUNT).min(random.usize(..ACCOUNT_COUNT)));
        let (follower, followed) = (draw(), draw());
        let node = &nodes[random.usize(..nodes.len())];
        let start = Instant::now();
        let (change, told) = match random.u32(..10) {
            0..=2 => {
                let told = node.unfollow(&follower, &followed).await;
                (Change::Unfollow { follower, followed }, told)
            }
            draw => {
                let create = draw > 3;
                let told = node.follow(&follower, &followed, create).await;
                (Change::Follow { follower, followed, create }, told)
            }
        };
        slowest = slowest.max(start.elapsed());
        if told.is_ok() {
            pulse.lock().unwrap().beat();
        }
        answers.push(Answer { change, told });
        sleep(pause).await;
    }
    (answers, slowest)
}

/// Asks a node for what it hosts: it has no reason not to answer.
async fn read(node: &Node<Nats>, stop: &AtomicBool) -> (u64, Duration) {
    let hosted = node.answers_for();
    let is_hosted = |name: &String| hosted.contains(VirtualShard::of(name));
    let names: Vec<String> = accounts().into_iter().filter(is_hosted).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (mut read_count, mut slowest) = (0, Duration::ZERO);
    while !stop.load(Ordering::SeqCst) {
        let start = Instant::now();
        for counts in node.batch_counts(&names, None).await {
            // Not all accounts begin to exist at once.
            let error = counts.err().filter(|error| error.kind() != ErrorKind::UnknownAccount);
            assert!(error.is_none(), "{error:?}");
        }
        read_count += 1;
        slowest = slowest.max(start.elapsed());
        sleep(Duration::from_millis(5)).await;
    }
    (read_count, slowest)
}

/// Asks a node for what only others host. While the servers that carry the question are gone there
/// may be no answer, and never a wrong one.
async fn read_elsewhere(node: &Node<Nats>, stop: &AtomicBool) -> (u64, u64) {
    let hosted = node.answers_for();
    let is_foreign = |name: &String| !hosted.contains(VirtualShard::of(name));
    let names: Vec<String> = accounts().into_iter().filter(is_foreign).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (mut routed_count, mut unanswered_count) = (0, 0);
    while !stop.load(Ordering::SeqCst) {
        for counts in node.batch_counts(&names, None).await {
            let error = counts.err().filter(|error| error.kind() != ErrorKind::UnknownAccount);
            if let Some(error) = error {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
                unanswered_count += 1;
            }
            routed_count += 1;
        }
        sleep(Duration::from_millis(5)).await;
    }
    (routed_count, unanswered_count)
}
