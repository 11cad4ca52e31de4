//! The follow API over HTTP and HTTPS.
//!
//! [`Config`] says which apps are served and where; [`run`] serves them until it is told to stop.
//! What a request means is decided in [`wire`](crate::wire); this room decides what a client may
//! take from the others: connections, bytes, time, calls.
//!
//! Invariants:
//! * no client keeps another waiting: what reads is answered where it arrives, what may wait for
//!   the disk goes to threads of its own, and everything has a limit in bytes and in time;
//! * every well-formed request to a command gets an answer with status 200 and a body that says
//!   `OK` or `FAIL`; every malformed one gets its status, 400 most often;
//! * no key and no ticket is ever logged.

mod apps;
mod clocks;
mod config;
mod connections;
mod console;
mod head;
#[cfg(feature = "cluster")]
mod member;
#[cfg(not(feature = "cluster"))]
#[path = "no_member.rs"]
mod member;
mod metrics;
mod reload;
mod requests;
mod screen;
mod stream;
mod system;
#[cfg(test)]
mod tests;
mod tls;
mod unpack;
mod webhooks;

pub use config::{
    AppConfig, ClusterMember, Config, ConfigError, ConsoleTicket, Https, Limits, Secret, Webhooks,
};

use crate::FollowGraph;
use apps::Apps;
use connections::{Listeners, Room};
use reload::{Files, Watch};
use requests::Site;
use std::collections::HashSet;
use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tls::Certificate;
use tokio::signal::unix::{SignalKind, signal};

/// Where a running server answers.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    /// HTTP.
    pub http: Option<SocketAddr>,
    /// HTTPS.
    pub https: Option<SocketAddr>,
    /// Metrics and health, where they have a port of their own.
    pub observe: Option<SocketAddr>,
}

/// Serves until the process gets SIGTERM or SIGINT, then finishes what is under way, for at most
/// `shutdown_seconds`, and closes the graphs. `ready` is called once requests are answered.
///
/// Certificates and keys are read again when their files change and on SIGHUP. Where standard input
/// is a terminal, SIGHUP says that the terminal was closed, and stops the server as SIGTERM does.
///
/// # Errors
///
/// Before anything is served: a limit out of range, a key, certificate or graph that cannot be
/// read, an address that is in use. Later: a listener that failed, what closing the graphs found.
pub fn run(config: &Config, ready: impl FnOnce(&Addresses)) -> Result<(), ConfigError> {
    let runtime = check_threads()
        .and_then(|()| tokio::runtime::Builder::new_multi_thread().enable_all().build());
    let runtime = runtime.map_err(|error| {
        let message = format!(
            "cannot start the threads: {error}; raise the limit of processes and threads \
             (`ulimit -u`)"
        );
        ConfigError::new(message)
    })?;
    let served = runtime.block_on(serve(config, ready));
    // What is still at work after the grace period is a request whose client was answered already.
    runtime.shutdown_background();
    served
}

/// Threads that are needed beside one for each processor: one that waits for the disk.
const OTHER_THREADS: usize = 1;

/// Starts as many threads as the server cannot do without, and ends them. The runtime panics, or
/// never answers, where the system does not give them.
fn check_threads() -> io::Result<()> {
    let count = std::thread::available_parallelism().map_or(1, usize::from) + OTHER_THREADS;
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock();
    let mut threads = Vec::new();
    let started = (0..count).try_for_each(|_| {
        let gate = gate.clone();
        let wait = move || drop(gate.lock().map(drop));
        threads.push(std::thread::Builder::new().spawn(wait)?);
        Ok(())
    });
    drop(closed);
    for thread in threads {
        // It does nothing that could fail.
        let _ = thread.join();
    }
    started
}

/// How often the paths of the graphs are looked at.
const DIRECTORY_INTERVAL: Duration = Duration::from_secs(5);

/// Warns once of each graph whose path has come to lead to another directory.
async fn watch_directories(apps: &Apps) {
    let mut told = HashSet::new();
    loop {
        tokio::time::sleep(DIRECTORY_INTERVAL).await;
        for (app, moved) in apps.moved() {
            if told.insert(app) {
                tracing::warn!(app, "{moved}");
            }
        }
    }
}

async fn serve(config: &Config, ready: impl FnOnce(&Addresses)) -> Result<(), ConfigError> {
    // First, so that no signal ends the process while the graphs open.
    let signals = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
    let [Ok(mut terminate), Ok(mut interrupt), Ok(hangup)] = signals.map(signal) else {
        return Err(ConfigError::new("cannot listen for signals"));
    };
    let (mut end_of_terminal, hangup) =
        if io::stdin().is_terminal() { (Some(hangup), None) } else { (None, Some(hangup)) };
    config.check_limits()?;
    let room = Room::of(system::raise_descriptor_limit(), config);
    let files = Files::of(config);
    let certificate = config.https.as_ref().map(Certificate::load).transpose()?;
    let listeners =
        Listeners::bind(config, certificate.as_ref().map(Certificate::acceptor)).await?;
    let site = Arc::new(Site::new(config, Apps::open(config).await?));
    let watch = Watch::new(files, certificate, &site);
    let clocks = tokio::spawn(clocks::watch(Arc::downgrade(&site)));
    ready(&listeners.addresses()?);
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = reload::received(&mut end_of_terminal) => {}
            () = watch.run(hangup) => {}
        }
        tracing::info!("stopping");
    };
    let served = tokio::select! {
        served = connections::serve(listeners, &site, &config.limits, room, stop) => served,
        () = watch_directories(&site.apps) => Ok(()),
    };
    clocks.abort();
    site.close();
    let members: Vec<_> = site.apps.members.iter().map(|(_, member)| member.clone()).collect();
    let graphs = site.apps.graphs.clone();
    drop(site);
    for member in members {
        member.stop().await;
    }
    let closed = tokio::task::spawn_blocking(|| close(graphs)).await;
    closed.unwrap_or_else(|error| Err(ConfigError::new(error.to_string())))?;
    tracing::info!("stopped");
    served
}

/// How often a graph is looked at until nobody else has it, and how long the pause between is.
const CLOSE_ATTEMPTS: u32 = 200;
const CLOSE_PAUSE: Duration = Duration::from_millis(10);

/// Closes the graphs. Errors: what the first one that failed found.
fn close(graphs: Vec<(u64, Arc<FollowGraph>)>) -> Result<(), ConfigError> {
    let mut closed = Ok(());
    for (app, mut graph) in graphs {
        for _ in 0..CLOSE_ATTEMPTS {
            match Arc::try_unwrap(graph) {
                Ok(alone) => {
                    if let Err(error) = alone.close() {
                        tracing::error!(app, %error, "closing the graph");
                        let message = format!("closing the graph of app {app}: {error}");
                        closed = closed.and(Err(ConfigError::new(message)));
                    }
                    break;
                }
                // A request that outlived the grace period, or the thread that sends webhooks.
                Err(shared) => graph = shared,
            }
            std::thread::sleep(CLOSE_PAUSE);
        }
    }
    closed
}
