//! Past one machine: every node is the engine, and follows one replicated log.
//!
//! A change is one entry of the log. All nodes read the whole log in the same order and decide
//! alike what each entry does, so there is no leader of ours, no lock and no second phase.

mod gateways;
mod log;
mod machine;
mod memory;
mod message;
mod nats;

pub use log::{Ack, Entry, Extent, Inbox, Log, Peers, Reply, Shelf, Tail, Value};
pub use memory::{Memory, MemoryFaults, MemoryInbox, MemoryReply, MemoryTail};
pub use nats::{Nats, NatsOptions};
