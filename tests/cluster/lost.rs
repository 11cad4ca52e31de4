//! The log servers lose everything, and the cluster goes on from what its nodes have.

use super::site::{END, SOON, Site, counts, follow, wait_for_counts};
use rustix::process::Signal;
use std::process::Output;
use std::time::{Duration, Instant};

impl Site {
    /// What `end` says of each node, as `renew` wants it.
    fn ends(&self, nodes: &[&str]) -> Vec<String> {
        let end = |node: &&str| {
            let directory = self.directory.path().join(node).join("node");
            let said = self.cluster(&["end", directory.to_str().unwrap()]);
            assert!(said.status.success(), "{said:?}");
            format!("{node}={}", String::from_utf8(said.stdout).unwrap().trim())
        };
        nodes.iter().map(end).collect()
    }

    fn renew(&self, ends: &[String]) -> Output {
        let ends = ends.iter().map(String::as_str);
        self.cluster(&["renew"].into_iter().chain(ends).collect::<Vec<_>>())
    }
}

#[test]
fn a_lost_log_goes_on_from_what_the_nodes_have() {
    let names = ["n1", "n2", "n3"];
    let Some(mut site) = Site::create(&names, "create_missing_accounts = true") else { return };
    let mut nodes = names.map(|node| site.start(node));
    let client = nodes[0].client();
    client.import(&["star"]);
    for number in 0..40 {
        let fan = format!("fan-{number}");
        client.import(&[&fan]);
        assert_eq!(follow(&client, &fan, "star"), 0);
        if number == 20 {
            // It will be behind.
            nodes[2].signal(Signal::KILL);
            nodes[2].wait(END);
        }
    }
    let early = site.renew(&site.ends(&names));
    assert_eq!(early.status.code(), Some(2), "{early:?}");
    assert!(String::from_utf8_lossy(&early.stderr).contains("is there"), "{early:?}");

    site.servers.kill_all();
    site.servers.lose_files();
    wait_for_counts(&client, "fan-0", "star", [40, 0, 0]);
    site.servers.restart_all();
    let deadline = Instant::now() + SOON;
    while nodes[..2].iter().any(|node| node.get("/readyz").0 == 200) {
        assert!(Instant::now() < deadline, "a node does not notice");
        std::thread::sleep(Duration::from_millis(50));
    }
    for node in &nodes[..2] {
        assert_eq!(counts(&node.client(), "fan-0", "star"), Ok([40, 0, 0]), "reads go on");
    }

    let beyond = site.renew(&[format!("n1=1:{}:all", u64::MAX)]);
    assert_eq!(beyond.status.code(), Some(2), "{beyond:?}");
    let ends = site.ends(&names);
    let renewed = site.renew(&ends);
    assert!(renewed.status.success(), "{renewed:?}");
    let again = site.renew(&ends);
    assert!(again.status.success(), "what was done is done: {again:?}");
    for (node, name) in nodes.iter_mut().zip(names) {
        if name != "n3" {
            node.signal(Signal::TERM);
            assert!(node.wait(END).success(), "{}", node.log());
        }
        *node = site.start(name);
    }
    for node in &nodes {
        wait_for_counts(&node.client(), "fan-0", "star", [40, 0, 0]);
    }
    for (number, node) in nodes.iter().enumerate() {
        assert_eq!(follow(&node.client(), "star", &format!("fan-{number}")), 0);
    }
    for node in &nodes {
        wait_for_counts(&node.client(), "fan-0", "star", [40, 3, 3]);
    }
    site.wait_until_alike(&names);
}
