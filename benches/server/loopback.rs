//! A server process, and `wrk` that asks it over keep-alive connections.

use crate::page::Page;
use crate::{APP, KEY, PATH, Requests};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const CONNECTIONS: usize = 16;
const SECONDS: u32 = 10;
/// Ticks of the processor times in `/proc`, a second.
const TICKS: f64 = 100.0;

/// What was seen of one load.
pub(crate) struct Load {
    pub(crate) requests_a_second: f64,
    /// Per second of processor time that the server took, which leaves out what `wrk` took.
    pub(crate) requests_a_core: f64,
    pub(crate) p50: String,
    pub(crate) p99: String,
}

pub(crate) fn measure(root: &Path, requests: &Requests, is_quick: bool, page: &mut Page) {
    let server = Server::start(root);
    server.ask_once(requests);
    if is_quick {
        return;
    }
    let found = Command::new("wrk").arg("-v").output().is_ok();
    assert!(found, "wrk makes the load: install it, as `apt-get install wrk` does");
    let one = std::slice::from_ref(&requests.query);
    for (what, queries) in [
        ("one ticket, found among those that were verified", one),
        ("a ticket of its own for each request, verified anew", &requests.queries),
    ] {
        let script = write_script(root, queries, &requests.bodies);
        page.load(what, &server.load(&script));
    }
}

struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start(root: &Path) -> Server {
        fs::write(root.join("key"), KEY).expect("the directory is ours");
        let private = fs::Permissions::from_mode(0o600);
        fs::set_permissions(root.join("key"), private).expect("the directory is ours");
        let config = format!(
            "http = \"127.0.0.1:0\"\n[[app]]\nsdkappid = {APP}\ngraph = \"graph\"\n\
             keys = [{{ file = \"key\" }}]\ncalls_per_second = 100000000\n"
        );
        let path = root.join("server.toml");
        fs::write(&path, config).expect("the directory is ours");
        let mut process = Command::new(env!("CARGO_BIN_EXE_followgraph"))
            .args(["serve", "--config"])
            .arg(path)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server can be started");
        let mut lines = BufReader::new(process.stderr.take().expect("it is piped")).lines();
        let line = lines
            .find_map(|line| line.ok()?.strip_prefix("listening on http://").map(str::to_owned));
        // What it says later is not read; it says little, and goes on when nobody listens.
        std::thread::spawn(move || lines.for_each(drop));
        Server { process, address: line.expect("it says where it listens") }
    }

    /// One request, to see that it is answered at all.
    fn ask_once(&self, requests: &Requests) {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        let (query, body) = (&requests.query, &requests.bodies[0]);
        let request = format!(
            "POST {PATH}?{query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        assert!(answer.contains("\"ActionStatus\":\"OK\""), "{answer}");
    }

    fn load(&self, script: &Path) -> Load {
        let before = self.processor_seconds();
        let output = Command::new("wrk")
            .args(["-t1", "--latency", "-c", &CONNECTIONS.to_string()])
            .args(["-d", &format!("{SECONDS}s"), "-s"])
            .arg(script)
            .arg(format!("http://{}", self.address))
            .output()
            .expect("wrk runs");
        let took = self.processor_seconds() - before;
        let text = String::from_utf8(output.stdout).expect("it is text");
        assert!(output.status.success() && !text.contains("Non-2xx"), "{text}");
        let value = |start: &str| {
            let line = text.lines().find_map(|line| line.trim().strip_prefix(start));
            line.unwrap_or_else(|| panic!("{start} is not in:\n{text}")).trim().to_owned()
        };
        let requests_a_second: f64 = value("Requests/sec:").parse().expect("a number");
        Load {
            requests_a_second,
            requests_a_core: requests_a_second * f64::from(SECONDS) / took,
            p50: value("50%"),
            p99: value("99%"),
        }
    }

    /// Processor time of the server so far.
    fn processor_seconds(&self) -> f64 {
        let path = format!("/proc/{}/stat", self.process.id());
        let stat = fs::read_to_string(path).expect("it runs");
        let fields = stat.rsplit(") ").next().expect("fields behind the name");
        let ticks = fields.split(' ').skip(11).take(2).map(str::parse::<f64>);
        ticks.map(|ticks| ticks.expect("a number")).sum::<f64>() / TICKS
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A script that sends one body after the other, each with the next query.
fn write_script(root: &Path, queries: &[String], bodies: &[String]) -> PathBuf {
    let lines = |name: &str, lines: &[String]| {
        let path = root.join(name);
        fs::write(&path, lines.join("\n")).expect("the directory is ours");
        path.display().to_string()
    };
    let (queries, bodies) = (lines("queries", queries), lines("bodies", bodies));
    let script = format!(
        "local function read(path)\n  local lines = {{}}\n  for line in io.lines(path) do\n    \
         lines[#lines + 1] = line\n  end\n  return lines\nend\n\
         local queries, bodies, next = read('{queries}'), read('{bodies}'), 0\n\
         request = function()\n  next = next + 1\n  \
         return wrk.format('POST', '{PATH}?' .. queries[next % #queries + 1], nil, \
         bodies[next % #bodies + 1])\nend\n"
    );
    let path = root.join("load.lua");
    fs::write(&path, script).expect("the directory is ours");
    path
}
