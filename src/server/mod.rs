//! The follow API over HTTP and HTTPS.
//!
//! [`Config`] says which apps are served and where; [`run`] serves them until it is told to stop.
//! What a request means is decided in [`wire`](crate::wire); this room decides what a client may
//! take from the others: connections, bytes, time, calls.
//!
//! Invariants:
//! * no client keeps another waiting: what reads is answered where it arrives, what may wait for
//!   the disk goes to threads of its own, and everything has a limit in bytes and in time;
//! * every request to a command gets an answer with status 200 and a body that says `OK` or `FAIL`;
//! * no key and no ticket is ever logged.

mod apps;
mod config;
mod connections;
mod console;
#[cfg(feature = "cluster")]
mod member;
#[cfg(not(feature = "cluster"))]
#[path = "no_member.rs"]
mod member;
mod metrics;
mod requests;
#[cfg(test)]
mod tests;
mod tls;
mod webhooks;

pub use config::{
    AppConfig, ClusterMember, Config, ConfigError, ConsoleTicket, Https, Limits, Secret, Webhooks,
};

use apps::Apps;
use connections::Listeners;
use requests::Site;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
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
/// # Errors
///
/// A key, certificate or graph that cannot be read, an address that is in use: before anything is
/// served.
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
fn check_threads() -> std::io::Result<()> {
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
    let listeners = Listeners::bind(config).await?;
    let site = Arc::new(Site::new(config, Apps::open(config).await?));
    let signals = [SignalKind::terminate(), SignalKind::interrupt()].map(signal);
    let [Ok(mut terminate), Ok(mut interrupt)] = signals else {
        return Err(ConfigError::new("cannot listen for signals"));
    };
    ready(&listeners.addresses()?);
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
    };
    tokio::select! {
        () = connections::serve(listeners, &site, &config.limits, stop) => {}
        () = watch_directories(&site.apps) => {}
    }
    site.close();
    let members: Vec<_> = site.apps.members.iter().map(|(_, member)| member.clone()).collect();
    drop(site);
    for member in members {
        member.stop().await;
    }
    tracing::info!("stopped");
    Ok(())
}
