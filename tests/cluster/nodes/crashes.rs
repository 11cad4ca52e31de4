//! Log servers crash under the nodes.

use super::super::servers::LogServers;
use super::load::{Load, Report};
use super::replay::Replay;
use super::{Cluster, LOG, on_two_nodes, run};
use std::time::Duration;
use tokio::task::block_in_place;
use tokio::time::sleep;

/// A log without a leader chooses one in four to nine seconds; then come servers that start.
const CRASH_STALL_MAX: Duration = Duration::from_secs(20);

/// A server that is to be updated hands over what it leads before it goes.
const RETIRE_STALL_MAX: Duration = Duration::from_secs(1);

/// What callers were told, what the log has and what the nodes hold is the same thing.
async fn check(cluster: &Cluster, report: &Report) {
    let position = cluster.catch_up().await;
    let mut replay = Replay::of(&cluster.connection().await, position).await;
    println!("{} entries, {} batches twice", position.sequence, replay.again_count);
    replay.check_answers(&report.answers);
    replay.check_nodes(cluster, position).await;
    cluster.check_digests();
}

#[test]
fn killed_log_servers_cost_no_confirmed_change_and_no_node_differs() {
    run(async {
        let Some(mut cluster) = Cluster::start(3, on_two_nodes()).await else { return };
        let load = Load::start(&cluster, 24, Duration::from_millis(30));
        sleep(Duration::from_secs(7)).await;
        block_in_place(|| {
            let leader = cluster.servers.leader_of(LOG);
            cluster.servers.kill(leader);
            cluster.servers.leader_of(LOG);
            cluster.servers.restart(leader);
        });
        sleep(Duration::from_secs(2)).await;
        block_in_place(|| {
            cluster.servers.kill_all();
            cluster.servers.restart_all();
            cluster.servers.leader_of(LOG);
        });
        sleep(Duration::from_secs(5)).await;
        let report = load.stop().await;
        assert!(report.stall < CRASH_STALL_MAX, "nothing was confirmed for {:?}", report.stall);
        assert!(report.answers.len() > 2000, "only {} changes", report.answers.len());
        check(&cluster, &report).await;
    });
}

#[test]
fn log_servers_that_retire_one_after_the_other_are_hardly_noticed() {
    run(async {
        let Some(servers) = block_in_place(|| LogServers::start_alone(3)) else { return };
        let mut cluster = Cluster::on(servers, on_two_nodes()).await;
        let load = Load::start(&cluster, 6, Duration::from_millis(10));
        sleep(Duration::from_secs(2)).await;
        block_in_place(|| {
            for index in 0..3 {
                cluster.servers.retire(index);
                cluster.servers.restart(index);
                cluster.servers.wait_until_current(LOG);
            }
        });
        sleep(Duration::from_secs(2)).await;
        let report = load.stop().await;
        check(&cluster, &report).await;
        assert!(report.stall < RETIRE_STALL_MAX, "nothing was confirmed for {:?}", report.stall);
    });
}
