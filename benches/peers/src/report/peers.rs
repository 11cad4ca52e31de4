//! The page with all peers: a table a graph, and one of the social mix.

use super::{Heading, Results, Table, disturbed, figures};
use crate::latency::Latency;
use crate::peers::PeerName;
use crate::rows::{PeerRow, SocialRow};
use crate::run::SOCIAL_GRAPH;
use std::fmt::Write as _;

const INTRODUCTION: &str = "\
The same job on the stores that users of followgraph would otherwise take. Each is loaded by its \
own bulk path and tuned as its documentation says; what was done is at the top of its file in \
`benches/peers/src/peers/`. Each runs in processes of its own, on the same questions in the same \
order, and its answers are compared with those taken from the edge list before anything is timed.

Every follow has a time. Every store can answer both lists newest first, \"is A following B\", and \
the three counts, by name. LMDB, redb, fjall, RocksDB and SQLite keep a follow in three places for \
that: by its ends, and in each of the two lists. The obvious program is a `HashMap` from names and \
two roaring bitmaps and two lists by time an account; it keeps nothing on disk, so to open it is \
to load it again.

Behind a figure stands how many times followgraph's it is: above 1, followgraph needs less.
";

const WHAT_IS_MEASURED: &str = "\
* **load**: from an edge list in a file to the closed store. Sorting and numbering are in it.
* **batch**: the three counts of 20 random accounts by name, in one call.
* **page**: the 100 newest followers, with names and times, of accounts with more than 100.
* **known followers**: one viewer who follows 100 to 500 and 100 targets: for each, how many of \
those the viewer follows follow it. Half of the targets are random accounts, half are well known.
* **follow, unfollow**: single changes by name that first look whether the follow is there, and \
keep both lists and all counts right, in one thread. First without waiting for the disk, then \
(**durable**) on disk before the call returns.
* **on disk**: after the load, and after the compaction a store offers; space allocated in advance \
counts. **resident**: what opening and all the reads added to the process, or the whole server.
* **open**: from the closed store to the first count, with its files in the page cache; for Redis \
from the start of the server.

Caches are large enough for the whole graph, and all reads were warmed up for a second.
";

/// One row of a graph's table: what a peer needs for it; less is better.
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) value: Value,
    pub(super) show: fn(f64) -> String,
}

type Value = fn(&PeerRow) -> Option<f64>;

impl Metric {
    const fn time(name: &'static str, nanoseconds: Value) -> Metric {
        Metric { name, value: nanoseconds, show: figures::nanoseconds }
    }

    const fn size(name: &'static str, bytes: Value) -> Metric {
        Metric { name, value: bytes, show: figures::bytes }
    }

    const fn number(name: &'static str, value: Value) -> Metric {
        Metric { name, value, show: figures::three_digits }
    }
}

fn p50(latency: Option<&Latency>) -> Option<f64> {
    latency.map(|latency| latency.p50_ns as f64)
}

fn p99(latency: Option<&Latency>) -> Option<f64> {
    latency.map(|latency| latency.p99_ns as f64)
}

fn mean(latency: Option<&Latency>) -> Option<f64> {
    latency.map(|latency| latency.mean_ns as f64)
}

pub(super) const LOAD: Metric = Metric::time("load", |row| Some(row.load_seconds * 1e9));
pub(super) const BATCH: Metric = Metric::time("batch, p50", |row| p50(row.answered.batch.as_ref()));
pub(super) const PAGE: Metric = Metric::time("page, p50", |row| p50(row.answered.page.as_ref()));
pub(super) const KNOWN: Metric =
    Metric::time("known followers, p50", |row| p50(row.answered.known_followers.as_ref()));
pub(super) const FOLLOW: Metric =
    Metric::time("follow, mean", |row| mean(row.answered.follow.as_ref()));
pub(super) const UNFOLLOW: Metric =
    Metric::time("unfollow, mean", |row| mean(row.answered.unfollow.as_ref()));
pub(super) const DURABLE: Metric =
    Metric::time("durable follow, p50", |row| p50(row.answered.durable_follow.as_ref()));
pub(super) const DISK: Metric =
    Metric::size("on disk", |row| row.disk_bytes.map(|bytes| bytes as f64));
pub(super) const OPEN: Metric = Metric::time("open", |row| Some(row.answered.open_seconds * 1e9));

const METRICS: [Metric; 20] = [
    LOAD,
    Metric::number("load, nanoseconds a follow", |row| {
        Some(row.load_seconds * 1e9 / row.follow_count as f64)
    }),
    BATCH,
    Metric::time("batch, p99", |row| p99(row.answered.batch.as_ref())),
    Metric::time("batch, mean", |row| mean(row.answered.batch.as_ref())),
    PAGE,
    Metric::time("page, p99", |row| p99(row.answered.page.as_ref())),
    KNOWN,
    Metric::time("known followers, p99", |row| p99(row.answered.known_followers.as_ref())),
    Metric::time("follow, p50", |row| p50(row.answered.follow.as_ref())),
    Metric::time("follow, p99", |row| p99(row.answered.follow.as_ref())),
    FOLLOW,
    UNFOLLOW,
    DURABLE,
    Metric::time("durable follow, p99", |row| p99(row.answered.durable_follow.as_ref())),
    DISK,
    Metric::number("on disk, bytes a follow", |row| {
        row.disk_bytes.map(|bytes| bytes as f64 / row.follow_count as f64)
    }),
    Metric::size("resident, its own", |row| Some(row.answered.resident.anonymous_bytes as f64)),
    Metric::size("resident, mapped files", |row| Some(row.answered.resident.file_bytes as f64)),
    OPEN,
];

pub(super) fn render(results: &Results, heading: &Heading<'_>) -> String {
    let mut page = format!("# Peers\n\n{}\n{INTRODUCTION}\n{WHAT_IS_MEASURED}", heading.render());
    for graph in results.graphs() {
        page.push_str(&render_graph(results, graph));
    }
    page.push_str("\n![Latency of a batch against the size of the graph](batch-latency.svg)\n");
    page.push_str(&render_social(results));
    page.push_str(&render_versions(results));
    page
}

fn render_graph(results: &Results, graph: &str) -> String {
    let rows = results.peers_on(graph);
    let Some(first) = rows.first() else {
        return format!("\n## {graph}\n{}", render_absent(results, graph));
    };
    let (accounts, follows) = (first.account_count, first.follow_count);
    let (accounts, follows) = (figures::whole(accounts), figures::whole(follows));
    let mut columns = vec![""];
    columns.extend(rows.iter().map(|row| row.peer.title()));
    let mut table = Table::new(1, &columns);
    let ours = rows.iter().find(|row| row.peer == PeerName::Followgraph);
    for metric in METRICS {
        let ours = ours.and_then(|row| (metric.value)(row));
        let mut cells = vec![metric.name.to_owned()];
        cells.extend(rows.iter().map(|row| cell(&metric, row, ours)));
        table.row(&cells);
    }
    let absent = render_absent(results, graph);
    let disturbed = render_disturbed(rows.iter().map(|row| (row.peer, row.others_processors)));
    let text = table.text;
    format!("\n## {graph}\n\n{accounts} accounts, {follows} follows.\n\n{text}{disturbed}{absent}")
}

fn cell(metric: &Metric, row: &PeerRow, ours: Option<f64>) -> String {
    let Some(value) = (metric.value)(row) else {
        return "none".to_owned();
    };
    let shown = (metric.show)(value);
    match ours.filter(|&ours| ours > 0.0 && row.peer != PeerName::Followgraph) {
        Some(ours) => format!("{shown} ({})", figures::times(value / ours)),
        None => shown,
    }
}

/// Says which measurements were not alone on the machine.
fn render_disturbed(rows: impl Iterator<Item = (PeerName, f64)>) -> String {
    let mut text = String::new();
    for (peer, others_processors) in rows {
        if let Some(complaint) = disturbed(others_processors) {
            let _ = write!(text, "\n{}: meanwhile {complaint}.\n", peer.title());
        }
    }
    text
}

fn render_absent(results: &Results, graph: &str) -> String {
    let mut text = String::new();
    for row in results.absent.iter().filter(|row| row.graph == graph) {
        let word = if row.is_skipped { "SKIPPED" } else { "FAILED" };
        let reason = row.reason.lines().next().unwrap_or_default();
        let _ = write!(text, "\n**{word}: {}**: {reason}\n", row.peer.title());
    }
    text
}

fn render_social(results: &Results) -> String {
    let Some(first) = results.social.first() else {
        return render_absent(results, SOCIAL_GRAPH);
    };
    let mut table = Table::new(
        1,
        &[
            "peer",
            "operations/s",
            "against followgraph",
            "reads, p50",
            "reads, p99",
            "writes, p50",
            "writes, p99",
        ],
    );
    let mut rows: Vec<&SocialRow> = results.social.iter().collect();
    rows.sort_by_key(|row| row.peer);
    let ours = rows.iter().find(|row| row.peer == PeerName::Followgraph);
    let ours = ours.map(|row| row.social.operations_per_second);
    for row in rows {
        let social = &row.social;
        let speed = social.operations_per_second;
        let show = |value: Option<f64>| value.map_or("none".to_owned(), figures::nanoseconds);
        table.row(&[
            row.peer.title().to_owned(),
            figures::whole(speed as usize),
            ours.map_or("none".to_owned(), |ours| figures::times(speed / ours)),
            show(p50(social.reads.as_ref())),
            show(p99(social.reads.as_ref())),
            show(p50(social.writes.as_ref())),
            show(p99(social.writes.as_ref())),
        ]);
    }
    let accounts = figures::whole(first.social.account_count);
    let follows = figures::whole(first.social.follow_count);
    let entries = figures::three_digits(first.social.mean_page_entries);
    format!(
        "\n## The social mix of LinkBench\n\n\
         The link operations of LinkBench (Armstrong, Ponnekanti, Borthakur, Callaghan, SIGMOD \
         2013): a page of whom an account follows, newest first (66.6 %), follow (11.8 %), follow \
         with a new time (10.5 %), count (6.4 %), unfollow (3.9 %), is A following B (0.7 %). \
         Accounts are chosen by a Zipf law with the exponent 0.8 for reads and 0.741 for writes, \
         whatever their degree. Out-degrees are as published: 45 % of the accounts follow nobody, \
         77 % at most one, 92 % at most three, 99.7 % at most 50, and a tail reaches beyond \
         10,000. \
         {accounts} accounts, {follows} follows at the start; {entries} entries in a page on \
         average. One thread, not waiting for the disk; the time between the calls is not \
         counted.\n\
         \n{}{}{}",
        table.text,
        render_disturbed(results.social.iter().map(|row| (row.peer, row.others_processors))),
        render_absent(results, SOCIAL_GRAPH)
    )
}

fn render_versions(results: &Results) -> String {
    let mut versions: Vec<(PeerName, &str)> =
        results.peers.iter().map(|row| (row.peer, row.version.as_str())).collect();
    versions.extend(results.social.iter().map(|row| (row.peer, row.version.as_str())));
    versions.sort_unstable();
    versions.dedup();
    let mut table = Table::new(2, &["peer", "version"]);
    for (peer, version) in versions {
        table.row(&[peer.title(), version]);
    }
    format!("\n## Versions\n\n{}", table.text)
}
