//! The log, the shelf and the peers on real servers.

mod access;
mod contracts;
mod crashes;
mod refusals;

use super::servers::LogServers;
use followgraph::cluster::{Nats, NatsOptions};

/// Of a test on one server.
fn alone(servers: &LogServers) -> NatsOptions {
    NatsOptions::new(servers.urls(), "test").replicas(1).max_log_bytes(256 << 20)
}

/// Of a test on three servers.
fn together(servers: &LogServers) -> NatsOptions {
    NatsOptions::new(servers.urls(), "test").max_log_bytes(256 << 20)
}

/// On threads of its own, as in a node.
fn run<T>(test: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap().block_on(test)
}

/// The interface of the servers without anything of ours before it.
async fn raw(servers: &LogServers) -> async_nats::jetstream::Context {
    async_nats::jetstream::new(async_nats::connect(servers.urls()).await.unwrap())
}

async fn create(options: &NatsOptions) -> Nats {
    Nats::create(options.clone(), 1).await.unwrap()
}
