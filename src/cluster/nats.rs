//! The log, the shelf and the peers on NATS JetStream.

/// How to connect.
#[derive(Clone, Debug)]
pub struct NatsOptions {}

/// A connection to a NATS cluster.
pub struct Nats {}
