//! A cluster of processes: log servers, and servers that are nodes.

use super::served::{Client, KEY, Running, program, write_secret};
use super::servers::LogServers;
use serde_json::{Value, json};
use std::process::Output;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What happens on an idle cluster happens in this time.
pub(super) const SOON: Duration = Duration::from_secs(20);
/// How long a server may take to end.
pub(super) const END: Duration = Duration::from_secs(15);

/// Log servers, and what the nodes are started with.
pub(super) struct Site {
    pub(super) servers: LogServers,
    pub(super) directory: TempDir,
}

impl Site {
    /// A cluster of these nodes. `None` where log servers cannot be had here.
    pub(super) fn create(nodes: &[&str], app: &str) -> Option<Site> {
        let servers = LogServers::start(3)?;
        let directory = tempfile::tempdir().unwrap();
        let urls = servers.urls().join("\", \"");
        let text =
            format!("cluster = \"site\"\nservers = [\"{urls}\"]\nmax_log_bytes = 536870912\n");
        std::fs::write(directory.path().join("cluster.toml"), text).unwrap();
        let site = Site { servers, directory };
        let created = site.cluster(&[&["create"], nodes].concat());
        assert!(created.status.success(), "{created:?}");
        std::fs::write(site.directory.path().join("app"), app).unwrap();
        Some(site)
    }

    /// Runs `followgraph cluster`.
    pub(super) fn cluster(&self, args: &[&str]) -> Output {
        let mut command = program();
        command.args(["cluster", "--config"]).arg(self.directory.path().join("cluster.toml"));
        command.args(args).output().unwrap()
    }

    /// Starts a node, with the directory it had.
    pub(super) fn start(&self, node: &str) -> Running {
        let place = self.directory.path().join(node);
        std::fs::create_dir_all(&place).unwrap();
        write_secret(&place.join("key"), KEY);
        let app = std::fs::read_to_string(self.directory.path().join("app")).unwrap();
        let text = format!(
            "http = \"127.0.0.1:0\"\n[[app]]\nsdkappid = 1400000000\ngraph = \"node\"\n\
             keys = [{{ file = \"key\" }}]\ncalls_per_second = 1000000\n{app}\n"
        );
        std::fs::write(place.join("server.toml"), text).unwrap();
        let mut command = program();
        command.arg("serve").arg("--config").arg(place.join("server.toml"));
        command.arg("--cluster").arg(self.directory.path().join("cluster.toml"));
        command.args(["--node", node]).stdout(std::process::Stdio::null());
        Running::spawn(command, 1)
    }

    pub(super) fn status(&self) -> Value {
        let told = self.cluster(&["status", "--json"]);
        serde_json::from_slice(&told.stdout).unwrap_or_else(|_| panic!("{told:?}"))
    }

    /// Waits until the nodes are at the end of the log, and each shard is told alike by another.
    pub(super) fn wait_until_alike(&self, nodes: &[&str]) {
        let deadline = Instant::now() + SOON;
        loop {
            let status = self.status();
            let is_alike = |node: &Value| {
                let hosts_shards = node["answered_shards"] != 0;
                let confirmed = &node["confirmed_shards"];
                node["failure"].is_null()
                    && hosts_shards
                    && *confirmed == node["answered_shards"]
                    && node["stopped"] == ""
            };
            let found = status["nodes"].as_array().unwrap();
            let names: Vec<&str> =
                found.iter().map(|node| node["node"].as_str().unwrap()).collect();
            if found.iter().all(is_alike) && names == nodes && status["differing"] == "" {
                return;
            }
            assert!(Instant::now() < deadline, "{status}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

pub(super) fn follow(client: &Client, from: &str, to: &str) -> u64 {
    let body = json!({"From_Account": from, "FollowItem": [{"To_Account": to}]});
    let answer = client.ask("follow_add", &body.to_string());
    match answer["ErrorCode"].as_u64().unwrap() {
        0 => answer["ResultItem"][0]["ResultCode"].as_u64().unwrap(),
        code => code,
    }
}

/// Followers, following, mutual, as a node has them for another account; the code where it has not.
pub(super) fn counts(client: &Client, from: &str, to: &str) -> Result<[u64; 3], u64> {
    let body = json!({"From_Account": from, "To_Account": [to]});
    let answer = client.ask("follow_get_info", &body.to_string());
    let item = &answer["FollowInfo"][0];
    match answer["ErrorCode"].as_u64().unwrap().max(item["ResultCode"].as_u64().unwrap_or(0)) {
        0 => Ok(["FollowerCount", "FollowingCount", "MutualFollowingCount"]
            .map(|name| item[name].as_u64().unwrap())),
        code => Err(code),
    }
}

pub(super) fn wait_for_counts(client: &Client, from: &str, to: &str, expected: [u64; 3]) {
    let deadline = Instant::now() + SOON;
    while counts(client, from, to) != Ok(expected) {
        assert!(
            Instant::now() < deadline,
            "{:?} instead of {expected:?}",
            counts(client, from, to)
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}
