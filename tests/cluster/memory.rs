//! The log, the shelf and the peers in memory keep what was agreed.

use super::contract;
use followgraph::cluster::Memory;

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(test);
}

#[test]
fn the_log_in_memory_keeps_the_contract() {
    run(contract::log(&Memory::new(1)));
}

#[test]
fn the_shelf_in_memory_keeps_the_contract() {
    run(contract::shelf(&Memory::new(1)));
}

#[test]
fn the_peers_in_memory_keep_the_contract() {
    run(contract::peers(&Memory::new(1)));
}
