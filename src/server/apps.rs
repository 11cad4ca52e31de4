//! The apps behind a server: their graphs, and what the service without a transport cannot know of
//! a request, its address and how often it comes.

use super::config::{AppConfig, ClusterMember, Config, ConfigError, Secret};
use super::member::Member;
use super::webhooks::{Progress, Sender};
use crate::wire::usersig::Key;
use crate::wire::{Admitted, Answer, App, Code, FollowService, Graph};
use crate::{FollowGraph, Options};
use governor::{DefaultDirectRateLimiter, Quota};
use ipnet::IpNet;
use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

/// All apps, open.
pub(super) struct Apps {
    pub(super) service: FollowService,
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
        let fetch = |app: &AppConfig| app.keys.get_ref().iter().map(Secret::fetch).collect();
        let keys = config.apps.iter().map(fetch).collect::<Result<Vec<_>, _>>()?;
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
            service: FollowService::new([served(app, keys, member.clone())]),
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
        let mut gates = HashMap::new();
        for ((app, keys), graph) in config.apps.iter().zip(keys).zip(open) {
            let number = *app.sdkappid.get_ref();
            let graph = Arc::new(graph);
            apps.push(served(app, keys, graph.clone()));
            gates.insert(number, Gate::new(app));
            if let Some(settings) = &app.webhooks {
                webhooks.push((number, Sender::start(number, &graph, settings)?));
            }
            graphs.push((number, graph));
        }
        Ok(Apps { service: FollowService::new(apps), graphs, members: Vec::new(), webhooks, gates })
    }

    /// Whether a request may be carried out: the service's own conditions, then the address, then
    /// the frequency, so that strangers use up nobody's calls.
    pub(super) fn admit(&self, path: &str, query: &str, peer: IpAddr) -> Result<Admitted, Answer> {
        let admitted = self.service.admit(path, query)?;
        let gate = self.gates.get(&admitted.sdk_app_id()).expect("every app has a gate");
        if !gate.is_allowed(peer) {
            let info = format!("the address {peer} may not ask for this app");
            return Err(Answer::refused(path, Code::AddressRefused, &info));
        }
        let limiter = gate.frequency.get(admitted.command());
        if limiter.is_some_and(|limiter| limiter.check().is_err()) {
            let info = format!("more than {} calls a second", gate.calls_per_second);
            return Err(Answer::refused(path, Code::TooFrequent, &info));
        }
        Ok(admitted)
    }

    /// Says of which apps the path of the graph leads to another directory than the one that is
    /// open. That is no failure: the graph goes on where it is.
    pub(super) fn moved(&self) -> impl Iterator<Item = (u64, String)> {
        self.graphs.iter().filter_map(|(app, graph)| Some((*app, graph.directory_moved()?)))
    }

    /// What is wrong with an app, for each where something is.
    pub(super) fn complaints(&self) -> Vec<(u64, String)> {
        let latched = |(app, graph): &(u64, Arc<FollowGraph>)| {
            Some((*app, format!("writes are refused: {}", graph.stats().latched?)))
        };
        let latched = self.graphs.iter().filter_map(latched);
        let of_members = self.members.iter().flat_map(|(app, member)| {
            member.complaints().into_iter().map(|complaint| (*app, complaint))
        });
        latched.chain(of_members).collect()
    }
}

impl Gate {
    fn new(app: &AppConfig) -> Gate {
        let quota = Quota::per_second(app.calls_per_second);
        let limiter = |command| (command, DefaultDirectRateLimiter::direct(quota));
        Gate {
            calls_per_second: app.calls_per_second,
            allow: app.allow.clone(),
            frequency: FollowService::commands().map(limiter).collect(),
        }
    }

    fn is_allowed(&self, peer: IpAddr) -> bool {
        // An IPv4 client of an IPv6 socket is known by a mapped address.
        let peer = peer.to_canonical();
        self.allow.as_ref().is_none_or(|allowed| allowed.iter().any(|net| net.contains(&peer)))
    }
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
