//! Nodes that are behind, and nodes that wait: they are stopped for a moment, or the log is away.

use super::served::{Client, Running};
use super::site::{SOON, Site, counts, follow};
use rustix::process::Signal;
use serde_json::json;
use std::time::{Duration, Instant};

/// A node that was stopped has to read so many entries before it is as far as the others.
const ENTRY_COUNT: usize = 150;
const ACCOUNTS_PER_ENTRY: usize = 100;
/// How many commands that change something a node lets wait.
const WAITING_MAX: usize = 224;

/// The code for what cannot be answered just now.
const UNAVAILABLE: u64 = 30006;

/// Lets a node stand still while something happens. Then it is behind, and questions find it there.
fn while_stopped(node: &Running, happens: impl FnOnce()) {
    node.signal(Signal::STOP);
    happens();
    node.signal(Signal::CONT);
}

/// Makes many accounts: what comes then is read late by a node that stood still meanwhile.
fn import_many(client: &Client) {
    for entry in 0..ENTRY_COUNT {
        let names: Vec<String> =
            (0..ACCOUNTS_PER_ENTRY).map(|place| format!("user-{entry}-{place}")).collect();
        client.import(&names.iter().map(String::as_str).collect::<Vec<_>>());
    }
}

/// The counts that a node gives as soon as it gives any.
fn first_counts(client: &Client, from: &str, to: &str) -> Result<[u64; 3], u64> {
    let deadline = Instant::now() + SOON;
    loop {
        match counts(client, from, to) {
            Err(UNAVAILABLE) => assert!(Instant::now() < deadline, "no answer"),
            answer => return answer,
        }
    }
}

#[test]
fn a_node_that_is_behind_knows_who_was_made_through_another() {
    let Some(site) = Site::create(&["n1", "n2"], "") else { return };
    let [first, second] = ["n1", "n2"].map(|node| site.start(node));
    let (client, behind) = (first.client(), second.client());
    client.import(&["star"]);
    while_stopped(&second, || {
        import_many(&client);
        client.import(&["the last one"]);
    });
    assert_eq!(first_counts(&behind, "the last one", "star"), Ok([0, 0, 0]));
}

/// With one replica of each shard another node has to be asked, which may be behind.
#[test]
fn what_was_written_through_a_node_is_shown_by_it_though_another_has_the_list() {
    let Some(site) = Site::create(&["--replicas", "1", "n1", "n2"], "") else { return };
    let [first, second] = ["n1", "n2"].map(|node| site.start(node));
    let client = first.client();
    // The second half of the shards is on the second node.
    let is_there = |name: &String| followgraph::VirtualShard::of(name).number() >= 2048;
    let star = (0..100).map(|number| format!("star-{number}")).find(is_there).unwrap();
    let fans: Vec<String> = (0..10).map(|number| format!("fan-{number}")).collect();
    client.import(&[&star]);
    client.import(&fans.iter().map(String::as_str).collect::<Vec<_>>());
    for fan in &fans {
        // The other one is asked for limits, and may not be heard of everywhere yet.
        let deadline = Instant::now() + SOON;
        while follow(&client, fan, &star) != 0 {
            assert!(Instant::now() < deadline, "{fan} cannot follow");
        }
    }
    let followers = |answer: Result<[u64; 3], u64>| answer.map(|counts| counts[0]);
    assert_eq!(followers(first_counts(&client, "fan-0", &star)), Ok(fans.len() as u64));
    while_stopped(&second, || {
        import_many(&client);
        for fan in &fans {
            let body = json!({"From_Account": fan, "To_Account": [star]});
            let answer = client.ask("follow_delete", &body.to_string());
            assert_eq!(answer["ResultItem"][0]["ResultCode"], 0, "{answer}");
        }
    });
    assert_eq!(followers(first_counts(&client, "fan-0", &star)), Ok(0));
}

/// Commands that nobody waits for any more take no place from those that come later.
#[test]
fn changes_that_were_not_decided_in_time_make_room_for_others() {
    let Some(mut site) = Site::create(&["n1"], "create_missing_accounts = true") else { return };
    let node = site.start("n1");
    node.client().import(&["a", "b"]);
    site.servers.kill_all();
    std::thread::scope(|scope| {
        for _ in 0..WAITING_MAX + 20 {
            scope.spawn(|| follow(&node.client(), "a", "b"));
        }
    });
    let asked = Instant::now();
    let code = follow(&node.client(), "b", "a");
    let waited = asked.elapsed();
    assert!(waited > Duration::from_secs(1), "turned away with {code} after {waited:?}");
}
