//! What `/metrics` says, in the text format of `OpenMetrics`.

use super::apps::Apps;
use super::member::Member;
use super::webhooks::{CONSUMER, Progress};
use crate::Stats;
use crate::wire::Answer;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnswerLabels {
    command: &'static str,
    code: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct AppLabels {
    pub(super) sdkappid: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WebhookLabels {
    sdkappid: u64,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NodeLabels {
    sdkappid: u64,
    what: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabels {
    what: &'static str,
    outcome: &'static str,
}

type Latency = Family<AnswerLabels, Histogram, fn() -> Histogram>;

/// Everything that is counted and measured.
pub(super) struct Metrics {
    registry: Registry,
    latency: Latency,
    pub(super) connections: Gauge,
    pub(super) connections_refused: Counter,
    certificate_expires: Gauge,
    reloads: Family<ReloadLabels, Counter>,
    graphs: GraphMetrics,
}

/// Figures of the graphs, taken from their statistics whenever somebody asks.
#[derive(Default)]
struct GraphMetrics {
    accounts: Family<AppLabels, Gauge>,
    follows: Family<AppLabels, Gauge>,
    log_bytes: Family<AppLabels, Gauge>,
    image_bytes: Family<AppLabels, Gauge>,
    sequence: Family<AppLabels, Gauge>,
    durable_sequence: Family<AppLabels, Gauge>,
    image_sequence: Family<AppLabels, Gauge>,
    latched: Family<AppLabels, Gauge>,
    directory_moved: Family<AppLabels, Gauge>,
    checkpoint_failed: Family<AppLabels, Gauge>,
    last_checkpoint: Family<AppLabels, Gauge>,
    webhook_position: Family<AppLabels, Gauge>,
    webhooks_behind: Family<AppLabels, Gauge>,
    webhooks: Family<WebhookLabels, Counter>,
    syncs: Family<AppLabels, Counter>,
    sync_seconds: Family<AppLabels, Counter<f64, AtomicU64>>,
    node: Family<NodeLabels, Gauge>,
    node_events: Family<NodeLabels, Counter>,
}

/// From 25 microseconds to 6.5 seconds, each bound twice the one before.
fn latency_buckets() -> Histogram {
    Histogram::new(exponential_buckets(25e-6, 2.0, 19))
}

impl Metrics {
    pub(super) fn new() -> Metrics {
        let mut registry = Registry::with_prefix("followgraph");
        let latency: Latency = Family::new_with_constructor(latency_buckets);
        registry.register_with_unit(
            "request",
            "Time from the head of a request to its answer, by command and ErrorCode",
            Unit::Seconds,
            latency.clone(),
        );
        let connections = Gauge::default();
        registry.register("connections", "Connections that are open", connections.clone());
        let connections_refused = Counter::default();
        let help = "Connections refused because the limit of open files was reached";
        registry.register("connections_refused", help, connections_refused.clone());
        let certificate_expires = Gauge::default();
        let help = "When the certificate in use expires; 0 without HTTPS";
        let name = "certificate_expiry_timestamp_seconds";
        registry.register(name, help, certificate_expires.clone());
        let reloads = Family::default();
        let help = "How often certificates and keys were read again, by what it is and the outcome";
        registry.register("reloads", help, reloads.clone());
        let graphs = GraphMetrics::default();
        graphs.register(&mut registry);
        Metrics {
            registry,
            latency,
            connections,
            connections_refused,
            certificate_expires,
            reloads,
            graphs,
        }
    }

    /// Notes when the certificate in use expires, in Unix seconds.
    pub(super) fn certificate_expires(&self, at: i64) {
        self.certificate_expires.set(at);
    }

    /// Notes that a certificate or keys were read again.
    pub(super) fn reloaded(&self, what: &'static str, is_used: bool) {
        let outcome = if is_used { "used" } else { "refused" };
        self.reloads.get_or_create(&ReloadLabels { what, outcome }).inc();
    }

    /// Notes an answer and how long it took.
    pub(super) fn answered(&self, answer: &Answer, took: Duration) {
        let labels = AnswerLabels { command: answer.command, code: answer.code.number() };
        self.latency.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// The text of `/metrics`.
    pub(super) fn text(&self, apps: &Apps) -> String {
        for (sdkappid, graph) in &apps.graphs {
            let stats = graph.stats();
            self.graphs.set(&AppLabels { sdkappid: *sdkappid }, &stats);
            let webhooks = apps.webhooks.iter().find(|(app, _)| app == sdkappid);
            if let Some((_, progress)) = webhooks {
                let consumers = graph.consumers();
                let position = consumers.iter().find(|(name, _)| name == CONSUMER);
                let position = position.map_or(0, |(_, position)| *position);
                let behind = stats.durable_sequence.saturating_sub(position);
                self.graphs.set_webhooks(*sdkappid, progress, position, behind);
            }
        }
        for (sdkappid, member) in &apps.members {
            self.graphs.set_node(*sdkappid, member);
        }
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a string takes every character");
        text
    }
}

impl GraphMetrics {
    fn register(&self, registry: &mut Registry) {
        let gauges = [
            ("accounts", "Accounts that exist", &self.accounts),
            ("follows", "Follows that exist", &self.follows),
            ("log_bytes", "Log since the image", &self.log_bytes),
            ("image_bytes", "Size of the image", &self.image_bytes),
            ("sequence", "Sequence number of the last commit", &self.sequence),
            ("durable_sequence", "The last commit known to be on disk", &self.durable_sequence),
            ("image_sequence", "The last commit the image covers", &self.image_sequence),
            ("latched", "1 where writes are refused after a failed sync", &self.latched),
            (
                "directory_moved",
                "1 where the path of the graph leads to another directory than the open one",
                &self.directory_moved,
            ),
            ("checkpoint_failed", "1 where the last checkpoint failed", &self.checkpoint_failed),
            (
                "last_checkpoint_timestamp_seconds",
                "When the last checkpoint since opening finished; 0 before the first",
                &self.last_checkpoint,
            ),
        ];
        for (name, help, family) in gauges {
            registry.register(name, help, family.clone());
        }
        let gauges = [
            ("webhook_position", "The last commit that was told of", &self.webhook_position),
            ("webhooks_behind", "Commits that were not told of yet", &self.webhooks_behind),
        ];
        for (name, help, family) in gauges {
            registry.register(name, help, family.clone());
        }
        registry.register("webhooks", "Webhooks by what became of them", self.webhooks.clone());
        let help = "How many times the disk was waited for";
        registry.register("syncs", help, self.syncs.clone());
        let help = "How long the disk was waited for";
        registry.register("sync_seconds", help, self.sync_seconds.clone());
        let help = "What there is at the node of a cluster, by what it is";
        registry.register("node", help, self.node.clone());
        let help = "What happened at the node of a cluster, by what it is";
        registry.register("node_events", help, self.node_events.clone());
    }

    fn set(&self, app: &AppLabels, stats: &Stats) {
        let set = |family: &Family<AppLabels, Gauge>, value: u64| {
            family.get_or_create(app).set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        set(&self.accounts, stats.account_count);
        set(&self.follows, stats.follow_count);
        set(&self.log_bytes, stats.log_bytes);
        set(&self.image_bytes, stats.image_bytes);
        set(&self.sequence, stats.sequence);
        set(&self.durable_sequence, stats.durable_sequence);
        set(&self.image_sequence, stats.image_sequence);
        set(&self.latched, u64::from(stats.latched.is_some()));
        set(&self.directory_moved, u64::from(stats.directory_moved.is_some()));
        set(&self.checkpoint_failed, u64::from(stats.checkpoint_failure.is_some()));
        set(&self.last_checkpoint, stats.last_checkpoint_at.unwrap_or(0).into());
        // The engine counts; here its counters are shown.
        self.syncs.get_or_create(app).inner().store(stats.sync_count, Ordering::Relaxed);
        let seconds = stats.sync_time.as_secs_f64().to_bits();
        self.sync_seconds.get_or_create(app).inner().store(seconds, Ordering::Relaxed);
    }

    fn set_node(&self, sdkappid: u64, member: &Member) {
        for (what, value) in member.gauges() {
            let gauge = self.node.get_or_create(&NodeLabels { sdkappid, what });
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        }
        for (what, count) in member.counters() {
            let counter = self.node_events.get_or_create(&NodeLabels { sdkappid, what });
            counter.inner().store(count, Ordering::Relaxed);
        }
    }

    fn set_webhooks(&self, sdkappid: u64, progress: &Progress, position: u64, behind: u64) {
        let app = AppLabels { sdkappid };
        let as_gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.webhook_position.get_or_create(&app).set(as_gauge(position));
        self.webhooks_behind.get_or_create(&app).set(as_gauge(behind));
        for (outcome, count) in [
            ("delivered", &progress.delivered),
            ("failed_attempt", &progress.failed_attempts),
            ("dead_letter", &progress.dead_letters),
            ("dropped", &progress.dropped),
        ] {
            let counter = self.webhooks.get_or_create(&WebhookLabels { sdkappid, outcome });
            counter.inner().store(count.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }
}
