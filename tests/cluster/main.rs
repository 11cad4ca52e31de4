//! Tests of a cluster, with real log servers where they need them: one binary, a module a theme.
//! Every test stands alone and stops what it started.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod contract;
mod lost;
mod memory;
mod moves;
mod nats;
mod nodes;
mod processes;
#[allow(dead_code, reason = "the tests of one server use the rest")]
#[path = "../it/served.rs"]
mod served;
mod servers;
mod site;
mod waiting;
