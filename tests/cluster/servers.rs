//! Real log servers on loopback, one or three, that a test starts, kills and starts again.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long servers may take to be of use.
const READY_TIMEOUT: Duration = Duration::from_secs(40);
/// Another program may take a port between its choice and its use.
const START_ATTEMPTS: usize = 3;
const PAUSE: Duration = Duration::from_millis(20);
/// Servers hear of each other every second.
const HEARD_OF: Duration = Duration::from_millis(1500);

/// Held by all that use log servers, and by what measures alone.
static IN_USE: RwLock<()> = RwLock::new(());

/// Log servers that stop when this is dropped. They are named `n1`, `n2` and so on.
pub(crate) struct LogServers {
    directory: TempDir,
    program: PathBuf,
    servers: Vec<Server>,
    /// Let go last, when the servers have ended.
    in_use: InUse,
}

/// Kept for as long as the servers run.
enum InUse {
    None,
    BesideOthers { _guard: RwLockReadGuard<'static, ()> },
    Alone { _guard: RwLockWriteGuard<'static, ()> },
}

impl InUse {
    fn beside_others() -> InUse {
        InUse::BesideOthers { _guard: IN_USE.read().unwrap_or_else(PoisonError::into_inner) }
    }

    /// Once no other test uses log servers. It does not queue: a test may use two sets of them.
    fn alone() -> InUse {
        loop {
            match IN_USE.try_write() {
                Ok(guard) => return InUse::Alone { _guard: guard },
                Err(TryLockError::Poisoned(poisoned)) => {
                    return InUse::Alone { _guard: poisoned.into_inner() };
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
            }
        }
    }
}

struct Server {
    client_port: u16,
    monitor_port: u16,
    config: PathBuf,
    process: Option<Child>,
}

/// Where the program is; `None`, and loudly said, where it cannot be had.
fn program() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(root.join("scripts/log-server")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() {
        return Some(PathBuf::from(said));
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "scripts/log-server: {said} {complaint}");
    assert!(std::env::var_os("CI").is_none(), "{said}: it has to be had in CI\n{complaint}");
    println!("{said}");
    eprintln!("{said}: THIS TEST DID NOT RUN");
    None
}

impl LogServers {
    /// Starts 1 or 3 servers and waits until they are of use. `None`, and loudly said, where the
    /// program cannot be had; a failure in CI.
    pub(crate) fn start(count: usize) -> Option<LogServers> {
        LogServers::start_with(count, "")
    }

    /// The same while no other test has log servers: for what times are measured of.
    pub(crate) fn start_alone(count: usize) -> Option<LogServers> {
        LogServers::start_in(count, "", InUse::alone())
    }

    /// The same, with more lines in the configuration of each server.
    pub(crate) fn start_with(count: usize, more: &str) -> Option<LogServers> {
        LogServers::start_in(count, more, InUse::beside_others())
    }

    fn start_in(count: usize, more: &str, in_use: InUse) -> Option<LogServers> {
        assert!(count == 1 || count == 3, "a log has one server or three");
        let program = program()?;
        let mut servers = LogServers::configure(count, more, program, in_use);
        for attempt in 1.. {
            for index in 0..count {
                servers.spawn(index);
            }
            match servers.wait_until_ready() {
                Ok(()) => return Some(servers),
                Err(reason) if attempt == START_ATTEMPTS => panic!("{reason}"),
                Err(reason) => eprintln!("log servers are started once more: {reason}"),
            }
            servers = servers.configured_anew(count, more);
        }
        unreachable!("the last attempt returns or fails")
    }

    /// On other ports and in another directory.
    fn configured_anew(mut self, count: usize, more: &str) -> LogServers {
        self.kill_all();
        let in_use = std::mem::replace(&mut self.in_use, InUse::None);
        LogServers::configure(count, more, self.program.clone(), in_use)
    }

    fn configure(count: usize, more: &str, program: PathBuf, in_use: InUse) -> LogServers {
        let directory = tempfile::tempdir().unwrap();
        // Held all at the same time, so that they differ.
        let held: Vec<TcpListener> =
            (0..count * 3).map(|_| TcpListener::bind(("127.0.0.1", 0)).unwrap()).collect();
        let port = |index: usize| held[index].local_addr().unwrap().port();
        let routes: Vec<String> = (0..count)
            .map(|index| format!("\"nats://127.0.0.1:{}\"", port(index * 3 + 2)))
            .collect();
        let servers = (0..count).map(|index| {
            let name = format!("n{}", index + 1);
            let (client_port, monitor_port) = (port(index * 3), port(index * 3 + 1));
            let store = directory.path().join(&name);
            let mut text = format!(
                "server_name: {name}\nlisten: 127.0.0.1:{client_port}\n\
                 http: 127.0.0.1:{monitor_port}\n\
                 lame_duck_grace_period: \"1s\"\nlame_duck_duration: \"30s\"\n\
                 jetstream {{ store_dir: \"{}\", max_mem: 64MB, max_file: 4GB, \
                 sync_interval: always }}\n{more}\n",
                store.display()
            );
            if count > 1 {
                let (listen, routes) = (port(index * 3 + 2), routes.join(", "));
                writeln!(
                    text,
                    "cluster {{ name: logs, listen: 127.0.0.1:{listen}, routes: [{routes}] }}"
                )
                .unwrap();
            }
            let config = directory.path().join(format!("{name}.conf"));
            std::fs::write(&config, text).unwrap();
            Server { client_port, monitor_port, config, process: None }
        });
        let servers = servers.collect();
        LogServers { directory, program, servers, in_use }
    }

    fn name(index: usize) -> String {
        format!("n{}", index + 1)
    }

    /// Starts a server, so that it ends with this thread whatever becomes of it.
    fn spawn(&mut self, index: usize) {
        let log = self.directory.path().join(format!("{}.log", LogServers::name(index)));
        let log = std::fs::File::options().create(true).append(true).open(log).unwrap();
        let server = &mut self.servers[index];
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(&self.program).arg("-c").arg(&server.config);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        server.process = Some(command.spawn().unwrap());
    }

    fn wait_until_ready(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + READY_TIMEOUT;
        for index in 0..self.servers.len() {
            if self.servers[index].process.is_none() {
                continue;
            }
            while !self.is_ready(index) {
                let process = self.servers[index].process.as_mut().unwrap();
                if let Some(status) = process.try_wait().unwrap() {
                    return Err(format!("{status}: {}", self.log(index)));
                }
                if Instant::now() > deadline {
                    return Err(format!("n{} is not ready: {}", index + 1, self.log(index)));
                }
                std::thread::sleep(PAUSE);
            }
        }
        Ok(())
    }

    /// Whether a server is of use: it takes part, and there is one who leads them.
    fn is_ready(&self, index: usize) -> bool {
        let is_healthy = self.monitor(index, "healthz?js-enabled-only=true").is_some();
        let has_leader = || {
            let answer = self.monitor(index, "jsz")?;
            Some(!answer["meta_cluster"]["leader"].as_str()?.is_empty())
        };
        is_healthy && (self.servers.len() == 1 || has_leader() == Some(true))
    }

    fn monitor(&self, index: usize, page: &str) -> Option<Value> {
        let url = format!("http://127.0.0.1:{}/{page}", self.servers[index].monitor_port);
        let request = ureq::get(&url).config().timeout_global(Some(Duration::from_secs(2))).build();
        serde_json::from_str(&request.call().ok()?.body_mut().read_to_string().ok()?).ok()
    }

    /// What a server wrote.
    pub(crate) fn log(&self, index: usize) -> String {
        let file = self.directory.path().join(format!("{}.log", LogServers::name(index)));
        std::fs::read_to_string(file).unwrap_or_default()
    }

    /// Where clients connect, of all servers.
    pub(crate) fn urls(&self) -> Vec<String> {
        (0..self.servers.len()).map(|index| self.url(index)).collect()
    }

    /// Where clients connect to one server.
    pub(crate) fn url(&self, index: usize) -> String {
        format!("nats://127.0.0.1:{}", self.servers[index].client_port)
    }

    /// Which server leads a stream, waited for.
    pub(crate) fn leader_of(&self, stream: &str) -> usize {
        let deadline = Instant::now() + READY_TIMEOUT;
        loop {
            let running = (0..self.servers.len()).filter(|index| self.is_running(*index));
            let found = running.into_iter().find(|index| self.leads(*index, stream));
            if let Some(index) = found {
                return index;
            }
            assert!(Instant::now() < deadline, "nobody leads stream {stream}");
            std::thread::sleep(PAUSE);
        }
    }

    fn leads(&self, index: usize, stream: &str) -> bool {
        let leader = self.stream(index, stream).map(|found| found["cluster"]["leader"].clone());
        leader.is_some_and(|leader| leader == LogServers::name(index).as_str())
    }

    /// What a server says of a stream.
    fn stream(&self, index: usize, stream: &str) -> Option<Value> {
        let answer = self.monitor(index, "jsz?accounts=true&streams=true")?;
        let accounts = answer["account_details"].as_array().into_iter().flatten();
        let mut streams =
            accounts.flat_map(|account| account["stream_detail"].as_array().into_iter().flatten());
        streams.find(|found| found["name"] == stream).cloned()
    }

    /// Whether a server was started and not ended here.
    pub(crate) fn is_running(&self, index: usize) -> bool {
        self.servers[index].process.is_some()
    }

    /// Ends a server as a crash does, and waits until it is gone.
    pub(crate) fn kill(&mut self, index: usize) {
        self.signal(index, Signal::KILL);
        self.wait_for_end(index);
    }

    /// Ends all servers as a crash does, at the same time.
    pub(crate) fn kill_all(&mut self) {
        for index in 0..self.servers.len() {
            if self.is_running(index) {
                self.signal(index, Signal::KILL);
            }
        }
        for index in 0..self.servers.len() {
            if self.is_running(index) {
                self.wait_for_end(index);
            }
        }
    }

    /// Forgets everything that servers, which have ended, kept on disk.
    pub(crate) fn lose_files(&self) {
        for index in 0..self.servers.len() {
            assert!(!self.is_running(index), "n{} runs", index + 1);
            std::fs::remove_dir_all(self.directory.path().join(LogServers::name(index))).unwrap();
        }
    }

    /// Ends a server in an orderly way.
    pub(crate) fn terminate(&mut self, index: usize) -> ExitStatus {
        self.signal(index, Signal::TERM);
        self.wait_for_end(index)
    }

    /// Lets a server hand over what it leads, and send its clients away before it ends.
    pub(crate) fn retire(&mut self, index: usize) -> ExitStatus {
        self.signal(index, Signal::USR2);
        self.wait_for_end(index)
    }

    /// Starts a server that was ended, with its port and its files, and waits until it is of use.
    pub(crate) fn restart(&mut self, index: usize) {
        assert!(!self.is_running(index), "n{} runs", index + 1);
        self.spawn(index);
        self.wait_until_ready().unwrap();
    }

    /// Waits until the one who leads a stream has heard of all others that they have all of it. A
    /// server says by itself that it is healthy before it has taken part in anything.
    pub(crate) fn wait_until_current(&self, stream: &str) {
        let deadline = Instant::now() + READY_TIMEOUT;
        while !self.are_current(stream) {
            assert!(Instant::now() < deadline, "a server lags behind in stream {stream}");
            std::thread::sleep(PAUSE);
        }
    }

    fn are_current(&self, stream: &str) -> bool {
        let Some(found) = self.stream(self.leader_of(stream), stream) else { return false };
        let replicas = found["cluster"]["replicas"].as_array().cloned().unwrap_or_default();
        let is_current = |replica: &Value| {
            let heard_before = replica["active"].as_u64().map(Duration::from_nanos);
            replica["current"] == true && heard_before.is_some_and(|past| past < HEARD_OF)
        };
        replicas.len() + 1 == self.servers.len() && replicas.iter().all(is_current)
    }

    /// Starts all servers that were ended.
    pub(crate) fn restart_all(&mut self) {
        for index in 0..self.servers.len() {
            if !self.is_running(index) {
                self.spawn(index);
            }
        }
        self.wait_until_ready().unwrap();
    }

    fn signal(&self, index: usize, signal: Signal) {
        let process = self.servers[index].process.as_ref().expect("the server runs");
        let pid = Pid::from_raw(process.id().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    fn wait_for_end(&mut self, index: usize) -> ExitStatus {
        self.servers[index].process.take().expect("the server runs").wait().unwrap()
    }
}

impl Drop for LogServers {
    fn drop(&mut self) {
        for server in &mut self.servers {
            if let Some(mut process) = server.process.take() {
                // It may be gone already.
                let _ = process.kill();
                let _ = process.wait();
            }
        }
    }
}
