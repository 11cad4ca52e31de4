//! `cluster`: make a cluster, look at it, and say which node hosts what.

use super::failure::{Failure, Verdict};
use super::output::{Align, Table, grouped, say, write_json};
use clap::{Args, Subcommand};
use followgraph::ShardSet;
use followgraph::cluster::{
    self, ClusterStatus, Nats, NatsOptions, NodeEnd, NodeStatus, Placement, create_cluster, spread,
};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// Make a cluster, look at it, and say which node hosts what
///
/// A cluster is several machines that follow one replicated log; docs/scale-out.md describes it.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    followgraph cluster --config cluster.toml create n1 n2 n3\n  \
    followgraph cluster --config cluster.toml status\n  \
    followgraph cluster --config cluster.toml add-node n4\n  \
    followgraph cluster --config cluster.toml move n1 n4 0-1023\n  \
    followgraph cluster --config cluster.toml drain n1\n  \
    followgraph cluster end /var/lib/followgraph/n1\n  \
    followgraph cluster --config cluster.toml renew n1=17:90412:0-4095 n2=17:90412:0-4095")]
pub(crate) struct Cluster {
    /// The file that says where the log is; for all but `end`
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Make the log and the placement of a new cluster
    Create {
        /// The names of the nodes
        #[arg(required = true, value_name = "NODE")]
        nodes: Vec<String>,
        /// How many nodes host each shard; all, but three at most, if absent
        #[arg(long, value_name = "NUMBER")]
        replicas: Option<std::num::NonZeroUsize>,
    },
    /// Show how every node does
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Let a node host shards in the place of another
    Move {
        /// Who hosts them
        from: String,
        /// Who shall
        to: String,
        /// Which, as in 0-1364,4000, or all
        shards: ShardSet,
        #[command(flatten)]
        wait: Wait,
    },
    /// Let a node host shards as well
    Replicate {
        /// Who shall host them too
        node: String,
        /// Which, as in 0-1364,4000, or all
        shards: ShardSet,
        #[command(flatten)]
        wait: Wait,
    },
    /// Add a node that hosts nothing yet
    AddNode {
        /// Its name
        node: String,
    },
    /// Say how far a node came before the log was lost, and what it has
    End {
        /// Its directory; the node may be running
        directory: PathBuf,
    },
    /// Begin a new log behind one that was lost, from what the nodes have
    Renew {
        /// Each node, and what `end` said of it
        #[arg(required = true, value_name = "NODE=END", value_parser = parse_end)]
        nodes: Vec<(String, NodeEnd)>,
    },
    /// Move all that a node hosts to the others, and forget it
    Drain {
        /// Its name
        node: String,
        #[command(flatten)]
        wait: Wait,
    },
}

#[derive(Args)]
struct Wait {
    /// How long to wait until the node that gets shards answers for them; it goes on after that
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    wait: u64,
}

impl Wait {
    fn time(&self) -> Duration {
        Duration::from_secs(self.wait)
    }
}

impl Cluster {
    pub(crate) fn run(&self, out: &mut dyn Write) -> Result<Verdict, Failure> {
        if let Action::End { directory } = &self.action {
            writeln!(out, "{}", cluster::node_end(directory)?)?;
            return Ok(Verdict::Fine);
        }
        let Some(config) = &self.config else {
            return Err(Failure::usage("--config FILE says where the log is; it is missing"));
        };
        let options = NatsOptions::from_file(config)?;
        // The runtime panics where the system gives it no thread.
        let has_threads = std::thread::Builder::new().spawn(|| ());
        let runtime = has_threads
            .and_then(|_| tokio::runtime::Builder::new_multi_thread().enable_all().build());
        let runtime = runtime
            .map_err(|error| Failure::usage(format!("cannot start the threads: {error}")))?;
        runtime.block_on(self.act(options, out))
    }

    async fn act(&self, options: NatsOptions, out: &mut dyn Write) -> Result<Verdict, Failure> {
        match &self.action {
            Action::Create { nodes, replicas } => {
                return create(options, nodes, replicas.map(std::num::NonZeroUsize::get)).await;
            }
            Action::Renew { nodes } => return renew(options, nodes).await,
            _ => {}
        }
        let nats = Nats::connect(options).await?;
        match &self.action {
            Action::Create { .. } | Action::Renew { .. } | Action::End { .. } => {}
            Action::Status { json } => return show(&cluster::status(&nats).await?, *json, out),
            Action::Move { from, to, shards, wait } => {
                cluster::move_shards(&nats, from, to, shards, wait.time()).await?;
                say(format_args!("moved {} shards from {from} to {to}", shards.len()));
            }
            Action::Replicate { node, shards, wait } => {
                cluster::add_replica(&nats, node, shards, wait.time()).await?;
                say(format_args!("{node} answers for these {} shards too", shards.len()));
            }
            Action::AddNode { node } => {
                cluster::add_node(&nats, node).await?;
                say(format_args!("{node} may be started; it hosts nothing yet"));
            }
            Action::Drain { node, wait } => {
                cluster::drain(&nats, node, wait.time()).await?;
                say(format_args!("{node} hosts nothing any more and may be stopped"));
            }
        }
        Ok(Verdict::Fine)
    }
}

const REPLICAS_DEFAULT_MAX: usize = 3;

async fn create(
    options: NatsOptions,
    nodes: &[String],
    replicas: Option<usize>,
) -> Result<Verdict, Failure> {
    let names = once_each(nodes.iter().map(String::as_str))?;
    let replicas = replicas.unwrap_or(names.len().min(REPLICAS_DEFAULT_MAX));
    if replicas > names.len() {
        let message = format!("{replicas} replicas need as many nodes, not {}", names.len());
        return Err(Failure::usage(message));
    }
    let epoch = epoch_for(&options).await?;
    let nats = Nats::create(options, epoch).await?;
    say_hosts(&create_cluster(&nats, &spread(&names, replicas)).await?);
    Ok(Verdict::Fine)
}

async fn renew(options: NatsOptions, nodes: &[(String, NodeEnd)]) -> Result<Verdict, Failure> {
    once_each(nodes.iter().map(|(name, _)| name.as_str()))?;
    let ends: BTreeMap<String, NodeEnd> = nodes.iter().cloned().collect();
    let last = cluster::last_entry(&ends)?;
    let epoch = epoch_for(&options).await?;
    if epoch == last.epoch {
        let message = format!("log {epoch} is there: start the nodes, and they go on with it");
        return Err(Failure::usage(message));
    }
    let nats = Nats::create_behind(options, epoch, last.sequence).await?;
    say_hosts(&cluster::renew_cluster(&nats, &ends).await?);
    let is_level = |end: &NodeEnd| end.position == last;
    let behind: Vec<&str> =
        ends.iter().filter(|(_, end)| !is_level(end)).map(|(name, _)| name.as_str()).collect();
    say(format_args!("log {epoch} goes on behind entry {} of log {}", last.sequence, last.epoch));
    if !behind.is_empty() {
        say(format_args!("start the others first: {} begin anew from them", behind.join(", ")));
    }
    Ok(Verdict::Fine)
}

/// A number for a log that is made: no log of this cluster was made in the same second. One without
/// a placement is what an attempt left that did not come to its end.
async fn epoch_for(options: &NatsOptions) -> Result<u64, Failure> {
    let now = || SystemTime::UNIX_EPOCH.elapsed().map_or(1, |since| since.as_secs());
    Ok(Nats::existing_epoch(options).await?.unwrap_or_else(now))
}

/// The names of nodes in order, each of them once.
fn once_each<'a>(nodes: impl Iterator<Item = &'a str>) -> Result<Vec<&'a str>, Failure> {
    let mut names: Vec<&str> = nodes.collect();
    names.sort_unstable();
    match names.array_windows().find(|[one, next]| one == next) {
        Some([twice, _]) => Err(Failure::usage(format!("node {twice:?} is named twice"))),
        None => Ok(names),
    }
}

fn say_hosts(placement: &Placement) {
    for (name, placed) in &placement.nodes {
        say(format_args!("{name} hosts {}", placed.hosts));
    }
}

fn parse_end(text: &str) -> Result<(String, NodeEnd), String> {
    let (name, end) = text.split_once('=').ok_or("NODE=END, as in n1=17:90412:0-4095")?;
    let end = end.parse().map_err(|error: followgraph::Error| error.to_string())?;
    Ok((name.to_owned(), end))
}

/// A node as programs read it.
#[derive(Serialize)]
struct NodeLine<'a> {
    node: &'a str,
    hosts: String,
    joining: String,
    position: Option<u64>,
    lag_entries: Option<u64>,
    answered_shards: Option<u64>,
    confirmed_shards: Option<u64>,
    stopped: Option<String>,
    accounts: Option<u64>,
    /// Why it does not answer, or follows the log no more.
    failure: Option<String>,
}

impl<'a> NodeLine<'a> {
    fn of(node: &'a NodeStatus) -> NodeLine<'a> {
        let told = node.told.as_ref().ok();
        NodeLine {
            node: &node.name,
            hosts: node.hosts.to_string(),
            joining: node.joining.to_string(),
            position: told.map(|told| told.position),
            lag_entries: told.map(|told| told.lag_entries),
            answered_shards: told.map(|told| told.answered_count),
            confirmed_shards: told.map(|told| told.confirmed_count),
            stopped: told.map(|told| told.stopped.to_string()),
            accounts: told.map(|told| told.account_count),
            failure: match &node.told {
                Ok(told) => told.failure.clone(),
                Err(error) => Some(error.to_string()),
            },
        }
    }
}

#[derive(Serialize)]
struct Lines<'a> {
    epoch: u64,
    first_entry: u64,
    last_entry: u64,
    differing: String,
    nodes: Vec<NodeLine<'a>>,
}

/// Shows it; the answer is no where a node does not answer or shards differ.
fn show(status: &ClusterStatus, json: bool, out: &mut dyn Write) -> Result<Verdict, Failure> {
    let nodes: Vec<NodeLine<'_>> = status.nodes.iter().map(NodeLine::of).collect();
    let is_well = |node: &NodeLine<'_>| {
        node.failure.is_none() && node.stopped.as_ref().is_some_and(String::is_empty)
    };
    let all_is_well = nodes.iter().all(is_well) && status.differing.is_empty();
    let (first_entry, last_entry) = status.log;
    let differing = status.differing.to_string();
    if json {
        let lines = Lines { epoch: status.epoch, first_entry, last_entry, differing, nodes };
        write_json(out, &lines)?;
        return Ok(Verdict::fine_if(all_is_well));
    }
    writeln!(
        out,
        "log {}, entries {} to {}",
        status.epoch,
        grouped(first_entry),
        grouped(last_entry)
    )?;
    let mut table = Table::with_headings(&[
        ("NODE", Align::Left),
        ("POSITION", Align::Right),
        ("LAG", Align::Right),
        ("SHARDS", Align::Right),
        ("JOINING", Align::Right),
        ("ALIKE", Align::Right),
        ("ACCOUNTS", Align::Right),
        ("STATE", Align::Left),
    ]);
    for (node, placed) in nodes.iter().zip(&status.nodes) {
        let number = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), grouped);
        let state = match (&node.failure, &node.stopped) {
            (Some(failure), _) => failure.clone(),
            (None, Some(stopped)) if !stopped.is_empty() => format!("stopped: {stopped}"),
            _ => "fine".to_owned(),
        };
        table.push(vec![
            node.node.to_owned(),
            number(node.position),
            number(node.lag_entries),
            number(Some(placed.hosts.len() as u64)),
            number(Some(placed.joining.len() as u64)),
            number(node.confirmed_shards),
            number(node.accounts),
            state,
        ]);
    }
    table.write("", out)?;
    if !differing.is_empty() {
        writeln!(out, "shards of which two nodes at one position differ: {differing}")?;
    }
    Ok(Verdict::fine_if(all_is_well))
}
