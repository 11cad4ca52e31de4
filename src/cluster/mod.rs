//! Past one machine: every node is the engine, and follows one replicated log.
//!
//! A change is one entry of the log. All nodes read the whole log in the same order and decide
//! alike what each entry does, so there is no leader of ours, no lock and no second phase.

mod builder;
mod figures;
mod follower;
mod gateway;
mod gateways;
mod log;
mod machine;
mod memory;
mod message;
mod nats;
mod node;
mod peers;
mod placement;
mod removals;
mod renewal;
mod routes;
mod snapshots;
mod state;
mod status;
mod tally;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(test)]
mod tests;
mod values;

pub use figures::NodeFigures;
pub use gateway::GatewayLimits;
pub use log::{Ack, Entry, Extent, Inbox, Log, Peers, Reply, Shelf, Tail, Value};
pub use memory::{Memory, MemoryFaults, MemoryInbox, MemoryReply, MemoryTail};
pub use nats::{Nats, NatsCredentials, NatsInbox, NatsOptions, NatsReply, NatsTail};
pub use node::{Backend, Node, NodeOptions, Position, create_cluster};
pub use placement::{
    NodePlacement, Placement, add_node, add_replica, drain, move_shards, remove_replica, spread,
};
pub use renewal::{NodeEnd, last_entry, node_end, renew_cluster};
pub use routes::Decided;
pub use status::{ClusterStatus, NodeStatus, NodeTold, status};
