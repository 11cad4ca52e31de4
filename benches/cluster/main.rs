//! A cluster on one machine: what its changes, its reads and its mishaps take, with three real log
//! servers and three nodes.
//!
//! ```text
//! cargo bench --features cli,cluster,testing --bench cluster -- [--seconds N] [--out FILE]
//! ```
//!
//! All share the processors and the disk of one machine, which a cluster is not meant for: the
//! ratios say something, the rates are a lower bound.
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "nothing that is counted here is negative or reaches 2^52"
)]

#[expect(clippy::unwrap_used, dead_code, reason = "it is part of the tests, which ask more of it")]
#[path = "../../tests/cluster/servers.rs"]
mod servers;

use bytes::Bytes;
use clap::Parser;
use followgraph::ShardSet;
use followgraph::cluster::{Log, Nats, NatsOptions, Node, NodeOptions, create_cluster};
use servers::LogServers;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::{JoinSet, block_in_place};
use tokio::time::{Instant, sleep};

const NODES: [&str; 3] = ["a", "b", "c"];
const LOG: &str = "bench-log";
/// Callers of each node that write, each one change after the other.
const WRITERS_A_NODE: usize = 500;
/// As few as leave the log idle.
const CALM_WRITERS: usize = 4;
const ACCOUNTS: u32 = 100_000;
const BATCH: usize = 20;
/// About what a batch of 24 follows takes.
const ENTRY_BYTES: usize = 1024;

/// Measure a cluster on this machine
#[derive(Parser)]
struct Arguments {
    /// How long each measurement takes
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Write the figures to this file as a page
    #[arg(long)]
    out: Option<PathBuf>,
    /// Take each measurement only long enough to see that it works
    #[arg(long, alias = "test")]
    quick: bool,
    /// What cargo says to a bench that is to measure
    #[arg(long, hide = true)]
    bench: bool,
}

struct Cluster {
    servers: LogServers,
    directory: TempDir,
    nodes: Vec<Option<Arc<Node<Nats>>>>,
}

fn nats_options(servers: &LogServers, cluster: &str) -> NatsOptions {
    NatsOptions::new(servers.urls(), cluster).max_log_bytes(2 << 30)
}

impl Cluster {
    async fn start() -> Option<Cluster> {
        let servers = block_in_place(|| LogServers::start(3))?;
        let nats = Nats::create(nats_options(&servers, "bench"), 1).await.expect("a new log");
        let placement = NODES.map(|name| (name, ShardSet::all()));
        create_cluster(&nats, &placement).await.expect("a new placement");
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut cluster = Cluster { servers, directory, nodes: Vec::new() };
        for name in NODES {
            let node = cluster.node(name).await;
            cluster.nodes.push(Some(node));
        }
        Some(cluster)
    }

    async fn node(&self, name: &str) -> Arc<Node<Nats>> {
        let nats =
            Nats::connect(nats_options(&self.servers, "bench")).await.expect("the servers run");
        let options = NodeOptions::new(name, self.directory.path().join(name));
        Arc::new(Node::start(Arc::new(nats), options).await.expect("the log is there"))
    }

    fn running(&self) -> Vec<Arc<Node<Nats>>> {
        self.nodes.iter().flatten().cloned().collect()
    }
}

/// What came of writing for a while.
#[derive(Default)]
struct Written {
    seconds: f64,
    micros: Vec<u32>,
    failed: u64,
    /// The longest time without a confirmation.
    stall: Duration,
}

impl Written {
    fn per_second(&self) -> f64 {
        self.micros.len() as f64 / self.seconds
    }
}

/// The value below which this share of all is.
fn percentile(values: &mut [u32], share: f64) -> u32 {
    values.sort_unstable();
    let place = (values.len() as f64 * share) as usize;
    values.get(place.min(values.len().saturating_sub(1))).copied().unwrap_or(0)
}

/// Callers that follow, until the time is over and `happens` has come to its end.
async fn write(
    nodes: &[Arc<Node<Nats>>],
    writers_a_node: usize,
    time: Duration,
    happens: impl FnOnce(),
) -> Written {
    let (stop, started) = (Arc::new(AtomicBool::new(false)), Instant::now());
    let (last, stall) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut writers = JoinSet::new();
    for (seed, node) in (0..writers_a_node).flat_map(|_| nodes.to_vec()).enumerate() {
        let (stop, last, stall) = (stop.clone(), last.clone(), stall.clone());
        writers.spawn(async move {
            let mut random = fastrand::Rng::with_seed(seed as u64);
            let mut written = Written::default();
            while !stop.load(Ordering::Relaxed) {
                let from = random.u32(..ACCOUNTS);
                // Nobody follows themselves.
                let to = (from + random.u32(1..ACCOUNTS)) % ACCOUNTS;
                let [from, to] = [from, to].map(|number| format!("user-{number}"));
                let asked = Instant::now();
                if node.follow(&from, &to, true).await.is_ok() {
                    written.micros.push(asked.elapsed().as_micros() as u32);
                } else {
                    written.failed += 1;
                    tokio::task::yield_now().await;
                }
                let now = started.elapsed().as_micros() as u64;
                stall
                    .fetch_max(now - last.swap(now, Ordering::Relaxed).min(now), Ordering::Relaxed);
            }
            written
        });
    }
    sleep(time / 2).await;
    block_in_place(happens);
    sleep(time / 2).await;
    let seconds = started.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    let mut all = Written { seconds, ..Written::default() };
    for written in writers.join_all().await {
        all.micros.extend(written.micros);
        all.failed += written.failed;
    }
    all.stall = Duration::from_micros(stall.load(Ordering::Relaxed));
    all
}

/// Entries a second of a log alone, one that no node follows.
async fn bare_log(cluster: &Cluster, time: Duration) -> f64 {
    let nats = Nats::create(nats_options(&cluster.servers, "bare"), 1).await.expect("a new log");
    let entry = Bytes::from(vec![0; ENTRY_BYTES]);
    let (started, appended) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let mut callers = JoinSet::new();
    // As many as the gateways of three nodes have under way.
    for caller in 0..12 {
        let (nats, entry, appended) = (nats.clone(), entry.clone(), appended.clone());
        callers.spawn(async move {
            for number in 0.. {
                if started.elapsed() > time {
                    return;
                }
                nats.append(&format!("bare-{caller}-{number}"), entry.clone()).await.expect("room");
                appended.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    callers.join_all().await;
    appended.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64()
}

/// Batches of counts at one node while others write: microseconds of each.
async fn read_beside(cluster: &Cluster, time: Duration) -> Vec<u32> {
    let reader = cluster.running()[0].clone();
    let reading = tokio::spawn(async move {
        let (mut random, mut micros) = (fastrand::Rng::with_seed(9), Vec::new());
        let started = Instant::now();
        while started.elapsed() < time {
            let names: Vec<String> =
                (0..BATCH).map(|_| format!("user-{}", random.u32(..ACCOUNTS))).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let asked = Instant::now();
            let counts = reader.batch_counts(&names, None).await;
            micros.push(asked.elapsed().as_micros() as u32);
            assert_eq!(counts.len(), BATCH);
            tokio::task::yield_now().await;
        }
        micros
    });
    write(&cluster.running(), CALM_WRITERS, time, || {}).await;
    reading.await.expect("reads do not panic")
}

/// A node that lost its directory reads the log from its beginning: entries, and seconds.
async fn catch_up(cluster: &mut Cluster) -> (u64, f64) {
    let position = cluster.running()[0].barrier().await.expect("the log answers");
    let node = Arc::into_inner(cluster.nodes[2].take().expect("it runs"));
    node.expect("nobody else asks it").stop().await;
    let directory = cluster.directory.path().join(NODES[2]);
    std::fs::remove_dir_all(directory).expect("it is ours");
    let started = Instant::now();
    let node = cluster.node(NODES[2]).await;
    while node.position() < position {
        sleep(Duration::from_millis(1)).await;
    }
    let seconds = started.elapsed().as_secs_f64();
    cluster.nodes[2] = Some(node);
    (position.sequence, seconds)
}

/// The leading log server goes, and comes back when another leads.
fn replace_leader(servers: &mut LogServers, is_killed: bool) {
    servers.wait_until_current(LOG);
    let leader = servers.leader_of(LOG);
    if is_killed {
        servers.kill(leader);
    } else {
        servers.retire(leader);
    }
    servers.leader_of(LOG);
    servers.restart(leader);
}

/// The lines of the page.
#[derive(Default)]
struct Page(String);

impl Page {
    fn row(&mut self, what: &str, figure: &str) {
        println!("{what}: {figure}");
        writeln!(self.0, "| {what} | {figure} |").expect("a string takes all");
    }

    fn write(&self, path: &Path, seconds: u64) {
        let page = format!(
            "# A cluster on one machine\n\nWritten by `cargo bench --features cli,cluster,testing \
             --bench cluster -- --seconds {seconds} --out FILE`. Three log servers, three nodes \
             that host everything, and all callers share the processors and the disk of one \
             machine.\n\n| what | figure |\n|---|---|\n{}",
            self.0
        );
        std::fs::write(path, page).expect("the page can be written");
    }
}

async fn measure(arguments: &Arguments) {
    let is_quick = arguments.quick || !arguments.bench;
    let time = Duration::from_secs(arguments.seconds);
    let time = if is_quick { Duration::from_millis(300) } else { time };
    let Some(mut cluster) = Cluster::start().await else { return };
    let mut page = Page::default();
    let bare = bare_log(&cluster, time).await;
    page.row("the log alone, entries of 1 KiB a second", &format!("{bare:.0}"));
    for writers in [CALM_WRITERS, WRITERS_A_NODE] {
        let mut written = write(&cluster.running(), writers, time, || {}).await;
        let rate = written.per_second();
        let what = format!("{} callers, follows a second", writers * NODES.len());
        page.row(&what, &format!("{rate:.0}, {:.2} for an entry of the log alone", rate / bare));
        let [half, most] = [0.5, 0.99].map(|share| percentile(&mut written.micros, share));
        let what = format!("{} callers, a follow: p50, p99", writers * NODES.len());
        page.row(
            &what,
            &format!("{:.1} ms, {:.1} ms", f64::from(half) / 1e3, f64::from(most) / 1e3),
        );
        assert_eq!(written.failed, 0, "follows failed");
    }
    let mut micros = read_beside(&cluster, time).await;
    let [half, most] = [0.5, 0.99].map(|share| percentile(&mut micros, share));
    page.row("20 counts at home beside 12 writers: p50, p99", &format!("{half} µs, {most} µs"));
    let figures = cluster.running()[0].figures();
    let (entries, took) = catch_up(&mut cluster).await;
    let follows = figures.operation_count as f64 * NODES.len() as f64;
    let share = follows / entries as f64;
    let what = "a node with an empty directory reads the log: entries a second, follows an entry";
    page.row(what, &format!("{:.0}, {share:.1}", entries as f64 / took));
    for (what, is_killed) in [("retires", false), ("is killed", true)] {
        if is_quick && is_killed {
            continue;
        }
        let (nodes, servers) = (cluster.running(), &mut cluster.servers);
        let happens = || replace_leader(servers, is_killed);
        let written = write(&nodes, CALM_WRITERS, time, happens).await;
        let what = format!("the leading log server {what}: longest time without a confirmation");
        page.row(&what, &format!("{:.2} s", written.stall.as_secs_f64()));
    }
    if let Some(path) = &arguments.out {
        page.write(path, arguments.seconds);
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("threads").block_on(measure(&Arguments::parse()));
}
