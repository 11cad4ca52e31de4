//! The apps behind a server: their graphs, and what the service without a transport cannot know of
//! a request, its address and how often it comes.

use super::config::{AppConfig, ClusterMember, Config, ConfigError, Secret};
use super::member::Member;
use super::webhooks::{Progress, Sender};
use crate::wire::usersig::Key;
use crate::wire::{Admitted, Answer, App, Code, FollowService, Graph};
use crate::{ClockFault, FollowGraph, Options};
use governor::{DefaultDirectRateLimiter, Quota};
use ipnet::IpNet;
use parking_lot::RwLock;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

/// The name under which requests for the figures of the console are counted.
const CONSOLE_FIGURES: &str = "follower_counts";

/// All apps, open.
pub(super) struct Apps {
    /// Replaced as a whole when keys are read again.
    service: RwLock<Arc<FollowService>>,
    sources: Vec<(AppConfig, Arc<dyn Graph>)>,
    pub(super) graphs: Vec<(u64, Arc<FollowGraph>)>,
    /// The nodes of those apps that are on a cluster.
    pub(super) members: Vec<(u64, Arc<Member>)>,
    /// How the webhooks of those apps do that have them.
    pub(super) webhooks: Vec<(u64, Arc<Progress>)>,
    gates: HashMap<u64, Gate>,
}

/// What a request of an app has to pass.
struct Gate {
    calls_per_second: NonZeroU32,
    allow: Option<Vec<IpNet>>,
    frequency: HashMap<&'static str, DefaultDirectRateLimiter>,
}

impl Apps {
    /// Fetches the keys, and then opens the graphs: where a key is missing none is made.
    pub(super) async fn open(config: &Config) -> Result<Apps, ConfigError> {
        let keys = config.apps.iter().map(fetch_keys).collect::<Result<Vec<_>, _>>()?;
        if let Some(member) = &config.cluster {
            return Apps::on_cluster(config, keys, member).await;
        }
        let graphs = config.apps.iter().map(open_graph).collect::<Result<_, _>>()?;
        Apps::new(config, keys, graphs)
    }

    /// The one app of a server that is a node of a cluster.
    async fn on_cluster(
        config: &Config,
        keys: Vec<Vec<Key>>,
        member: &ClusterMember,
    ) -> Result<Apps, ConfigError> {
        let [app] = config.apps.as_slice() else {
            return Err(ConfigError::new("a node of a cluster serves one app: give each its own"));
        };
        if app.webhooks.is_some() {
            let message = "no webhooks are sent for an app that is on a cluster: take them out";
            return Err(ConfigError::new(message));
        }
        let number = *app.sdkappid.get_ref();
        let request_time = Duration::from_secs_f64(config.limits.request_seconds);
        let member = Member::start(member, app, request_time).await?;
        let keys = keys.into_iter().flatten().collect();
        Ok(Apps {
            service: service_of([served(app, keys, member.clone())]),
            sources: vec![(app.clone(), member.clone())],
            graphs: Vec::new(),
            members: vec![(number, member)],
            webhooks: Vec::new(),
            gates: HashMap::from([(number, Gate::new(app))]),
        })
    }

    /// The same with the keys and the open graph of each app.
    pub(super) fn new(
        config: &Config,
        keys: Vec<Vec<Key>>,
        open: Vec<FollowGraph>,
    ) -> Result<Apps, ConfigError> {
        let (mut apps, mut graphs, mut webhooks) = (Vec::new(), Vec::new(), Vec::new());
        let mut sources: Vec<(AppConfig, Arc<dyn Graph>)> = Vec::new();
        let mut gates = HashMap::new();
        for ((app, keys), graph) in config.apps.iter().zip(keys).zip(open) {
            let number = *app.sdkappid.get_ref();
            let graph = Arc::new(graph);
            apps.push(served(app, keys, graph.clone()));
            sources.push((app.clone(), graph.clone()));
            gates.insert(number, Gate::new(app));
            if let Some(settings) = &app.webhooks {
                webhooks.push((number, Sender::start(number, &graph, settings)?));
            }
            graphs.push((number, graph));
        }
        let (service, members) = (service_of(apps), Vec::new());
        Ok(Apps { service, sources, graphs, members, webhooks, gates })
    }

    /// Fetches the keys of all apps again. Requests that are admitted from now on are held to them.
    ///
    /// # Errors
    ///
    /// A key cannot be fetched. The former ones stay in use.
    pub(super) fn reload_keys(&self) -> Result<(), ConfigError> {
        let reload = |(app, graph): &(AppConfig, Arc<dyn Graph>)| {
            Ok(served(app, fetch_keys(app)?, graph.clone()))
        };
        let apps = self.sources.iter().map(reload).collect::<Result<Vec<_>, _>>()?;
        *self.service.write() = Arc::new(FollowService::new(apps));
        Ok(())
    }

    fn service(&self) -> Arc<FollowService> {
        self.service.read().clone()
    }

    /// Whether a request may be carried out: the service's own conditions, then the address, then
    /// the frequency, so that strangers use up nobody's calls.
    pub(super) fn admit(&self, path: &str, query: &str, peer: IpAddr) -> Result<Admitted, Answer> {
        let admitted = self.service().admit(path, query)?;
        self.pass_gate(admitted.sdk_app_id(), admitted.command(), path, peer)?;
        Ok(admitted)
    }

    /// Like [`admit`](Apps::admit), for the figures that the console asks for. Returns the app.
    pub(super) fn admit_figures(&self, query: &str, peer: IpAddr) -> Result<u64, Answer> {
        let app = self.service().admit_admin(query)?;
        self.pass_gate(app, CONSOLE_FIGURES, "", peer)?;
        Ok(app)
    }

    fn pass_gate(&self, app: u64, command: &str, path: &str, peer: IpAddr) -> Result<(), Answer> {
        let gate = self.gates.get(&app).expect("every app has a gate");
        if !gate.is_allowed(peer) {
            let info = format!("the address {peer} may not ask for this app");
            return Err(Answer::refused(path, Code::AddressRefused, &info));
        }
        let limiter = gate.frequency.get(command);
        if limiter.is_some_and(|limiter| limiter.check().is_err()) {
            let info = format!("more than {} calls a second", gate.calls_per_second);
            return Err(Answer::refused(path, Code::TooFrequent, &info));
        }
        Ok(())
    }

    /// Says of which apps the path of the graph leads to another directory than the one that is
    /// open. That is no failure: the graph goes on where it is.
    pub(super) fn moved(&self) -> impl Iterator<Item = (u64, String)> {
        self.graphs.iter().filter_map(|(app, graph)| Some((*app, graph.directory_moved()?)))
    }

    /// What keeps an app from its work, for each where something does. A clock that is ahead is
    /// part of it: by it, every `UserSig` has expired.
    pub(super) fn complaints(&self) -> Vec<(u64, String)> {
        let latched = |(app, graph): &(u64, Arc<FollowGraph>)| {
            let stats = graph.stats();
            let latched = stats.latched.map(|reason| format!("writes are refused: {reason}"));
            let ahead = stats.clock_fault.filter(|fault| matches!(fault, ClockFault::Ahead { .. }));
            Some((*app, latched.or_else(|| ahead.map(|fault| fault.to_string()))?))
        };
        let latched = self.graphs.iter().filter_map(latched);
        let of_members = self.members.iter().flat_map(|(app, member)| {
            member.complaints().into_iter().map(|complaint| (*app, complaint))
        });
        latched.chain(of_members).collect()
    }
}

/// What is wrong with the clock beside the graph of an app, for each where something is.
pub(super) fn clock_faults(graphs: &[(u64, Arc<FollowGraph>)]) -> BTreeMap<u64, ClockFault> {
    let fault = |(app, graph): &(u64, Arc<FollowGraph>)| Some((*app, graph.clock().fault?));
    graphs.iter().filter_map(fault).collect()
}

impl Gate {
    fn new(app: &AppConfig) -> Gate {
        let quota = Quota::per_second(app.calls_per_second);
        let limiter = |command| (command, DefaultDirectRateLimiter::direct(quota));
        Gate {
            calls_per_second: app.calls_per_second,
            allow: app.allow.clone(),
            frequency: FollowService::commands().chain([CONSOLE_FIGURES]).map(limiter).collect(),
        }
    }

    fn is_allowed(&self, peer: IpAddr) -> bool {
        // An IPv4 client of an IPv6 socket is known by a mapped address.
        let peer = peer.to_canonical();
        self.allow.as_ref().is_none_or(|allowed| allowed.iter().any(|net| net.contains(&peer)))
    }
}

fn service_of(apps: impl IntoIterator<Item = App>) -> RwLock<Arc<FollowService>> {
    RwLock::new(Arc::new(FollowService::new(apps)))
}

fn fetch_keys(app: &AppConfig) -> Result<Vec<Key>, ConfigError> {
    app.keys.get_ref().iter().map(Secret::fetch).collect()
}

/// An app as it is told to be, on whatever keeps its follows.
fn served(app: &AppConfig, keys: Vec<Key>, graph: Arc<dyn Graph>) -> App {
    let served = App::new(*app.sdkappid.get_ref(), keys, graph);
    served.admins(app.admins.iter().cloned()).follow_is_on(app.follow)
}

fn open_graph(app: &AppConfig) -> Result<FollowGraph, ConfigError> {
    let mut options = Options::new()
        .max_following(app.max_following)
        .create_missing_accounts(app.create_missing_accounts);
    if let Some(limit) = app.max_followers {
        options = options.max_followers(limit);
    }
    if let Some(limit) = app.max_mutual {
        options = options.max_mutual(limit);
    }
    if let Some(bytes) = app.webhooks.as_ref().and_then(|webhooks| webhooks.log_bytes) {
        options = options.retained_log_bytes(bytes);
    }
    if let Some(bytes) = app.segment_bytes {
        options = options.segment_bytes(bytes);
    }
    let directory = app.graph.get_ref();
    options.open(directory).map_err(|error| {
        ConfigError::new(format!("cannot open the graph in {}: {error}", directory.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_address_is_known_by_its_net() {
        let mut gate = Gate {
            calls_per_second: NonZeroU32::MIN,
            allow: Some(vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]),
            frequency: HashMap::new(),
        };
        for (address, is_allowed) in
            [("10.1.2.3", true), ("::ffff:10.1.2.3", true), ("::1", true), ("11.0.0.1", false)]
        {
            assert_eq!(gate.is_allowed(address.parse().unwrap()), is_allowed, "{address}");
        }
        gate.allow = None;
        assert!(gate.is_allowed("11.0.0.1".parse().unwrap()));
    }
}
