//! Servers that are nodes: processes of their own, that clients ask over HTTP and that are killed.

use super::servers::LogServers;
use super::site::{END, SOON, Site, counts, follow, wait_for_counts};
use followgraph::cluster::{Nats, NatsOptions};
use rustix::process::Signal;
use std::time::{Duration, Instant};

const ALL_SHARDS: u64 = 4096;

#[test]
fn every_node_answers_for_all_and_a_killed_one_comes_back() {
    let names = ["n1", "n2", "n3"];
    let Some(site) = Site::create(&names, "max_following = 40") else { return };
    let mut nodes = names.map(|node| site.start(node));
    let clients = [0, 1, 2].map(|index| nodes[index].client());
    clients[0].import(&["star", "nobody-follows-me"]);
    let fans: Vec<String> = (0..60).map(|number| format!("fan-{number}")).collect();
    clients[1].import(&fans.iter().map(String::as_str).collect::<Vec<_>>());

    // Whoever asks is known at once at each node, and sees at once what was written through it.
    for (number, fan) in fans.iter().enumerate() {
        let client = &clients[number % 2];
        assert_eq!(follow(client, fan, "star"), 0);
        let shown = counts(client, fan, "star").unwrap()[0];
        assert!(shown > number as u64 / 2, "{shown} followers after {} follows", number + 1);
        if number == 30 {
            nodes[2].signal(Signal::KILL);
            nodes[2].wait(END);
        }
    }
    for (number, fan) in fans.iter().enumerate() {
        let expected = if number < 40 { 0 } else { 32100 };
        assert_eq!(follow(&clients[0], "star", fan), expected, "{fan}");
    }
    wait_for_counts(&clients[1], "fan-0", "star", [60, 40, 40]);

    nodes[2] = site.start("n3");
    let client = nodes[2].client();
    wait_for_counts(&client, "fan-0", "star", [60, 40, 40]);
    site.wait_until_alike(&names);

    assert_eq!(counts(&client, "nobody-by-this-name", "star"), Err(30003));
    assert_eq!(counts(&client, "star", "nobody-by-this-name"), Err(30003));
    let gone = client.ask("account_delete", r#"{"DeleteItem":[{"UserID":"star"}]}"#);
    assert_eq!(gone["ResultItem"][0]["ResultCode"], 0, "{gone}");
    wait_for_counts(&clients[0], "fan-0", "fan-1", [0, 0, 0]);
    let check = client.ask("account_check", r#"{"CheckItem":[{"UserID":"star"}]}"#);
    assert_eq!(check["ResultItem"][0]["AccountStatus"], "NotImported");

    let (code, text) = nodes[0].get("/metrics");
    assert_eq!(code, 200);
    for line in [
        "followgraph_node{sdkappid=\"1400000000\",what=\"shards\"} 4096",
        "followgraph_node_events_total{sdkappid=\"1400000000\",what=\"given_up\"} 0",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
    assert_eq!(nodes[0].get("/readyz").0, 200);
    nodes[0].signal(Signal::TERM);
    assert!(nodes[0].wait(END).success(), "{}", nodes[0].log());
}

#[test]
fn without_a_log_reads_go_on_and_writes_are_told_in_time() {
    let Some(mut site) = Site::create(&["n1"], "create_missing_accounts = true") else { return };
    let node = site.start("n1");
    let client = node.client();
    client.import(&["a", "b"]);
    assert_eq!(follow(&client, "a", "b"), 0);
    site.servers.kill_all();
    let asked = Instant::now();
    let code = follow(&client, "b", "a");
    assert!(code == 30006 || code == 30007, "{code}");
    assert!(asked.elapsed() < Duration::from_secs(6), "{:?}", asked.elapsed());
    // It hosts both, and still has what was confirmed.
    assert_eq!(counts(&client, "a", "b"), Ok([1, 0, 0]));
    site.servers.restart_all();
    let deadline = Instant::now() + SOON;
    while follow(&client, "b", "a") != 0 {
        assert!(Instant::now() < deadline, "no writes after the log has come back");
    }
    assert_eq!(counts(&client, "a", "b"), Ok([1, 1, 1]));
}

#[test]
fn shards_move_by_command_and_the_first_node_can_go() {
    let Some(site) = Site::create(&["n1", "n2"], "create_missing_accounts = true") else { return };
    let [first, second] = ["n1", "n2"].map(|node| site.start(node));
    first.client().import(&["star"]);
    for number in 0..50 {
        let fan = format!("fan-{number}");
        first.client().import(&[&fan]);
        assert_eq!(follow(&first.client(), &fan, "star"), 0);
    }
    let added = site.cluster(&["add-node", "n3"]);
    assert!(added.status.success(), "{added:?}");
    let third = site.start("n3");
    let moved = site.cluster(&["move", "n1", "n3", "0-1999"]);
    assert!(moved.status.success(), "{moved:?}");
    let text = site.cluster(&["status"]);
    assert!(text.status.success(), "{text:?}");
    let text = String::from_utf8(text.stdout).unwrap();
    let of_first = text.lines().find(|line| line.starts_with("n1 ")).unwrap();
    assert!(of_first.contains(" 2,096 ") && of_first.ends_with("fine"), "{text}");
    let drained = site.cluster(&["drain", "n1"]);
    assert!(drained.status.success(), "{drained:?}");
    drop(first);
    site.wait_until_alike(&["n2", "n3"]);
    for client in [second.client(), third.client()] {
        wait_for_counts(&client, "fan-0", "star", [50, 0, 0]);
    }
    let status = site.status();
    assert_eq!(status["nodes"][1]["answered_shards"], ALL_SHARDS, "{status}");

    let refused = site.cluster(&["move", "n2", "n9", "all"]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("n9"), "{refused:?}");
    drop(second);
    let told = site.cluster(&["status"]);
    assert_eq!(told.status.code(), Some(1), "a node does not answer: {told:?}");
}

/// What kept an attempt to make a cluster from its end does not keep the next one.
#[test]
fn a_cluster_that_was_half_made_is_made_by_the_next_attempt_and_then_by_none() {
    let Some(site) = Site::create(&["n1"], "") else { return };
    let file = site.directory.path().join("cluster.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("\"site\"", "\"half\"")).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let options = NatsOptions::from_file(&file).unwrap();
    drop(runtime.block_on(Nats::create(options, 7)).unwrap());
    let made = site.cluster(&["create", "n1", "n2"]);
    assert!(made.status.success(), "{made:?}");
    assert_eq!(site.status()["epoch"], 7);
    let again = site.cluster(&["create", "n1", "n2"]);
    assert_eq!(again.status.code(), Some(2), "{again:?}");
    assert!(String::from_utf8_lossy(&again.stderr).contains("a cluster already"), "{again:?}");
}

#[test]
fn the_example_does_what_it_says() {
    // So that it is skipped, or fails, where log servers cannot be had.
    if LogServers::start(1).is_none() {
        return;
    }
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = std::process::Command::new(root.join("examples/cluster/run"));
    let ran = command.args(["--check", env!("CARGO_BIN_EXE_followgraph")]).output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
}
