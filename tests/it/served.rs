//! A real server process on loopback, and clients for it.

use followgraph::wire::usersig::{Key, generate};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};
use tempfile::TempDir;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

pub(crate) const APP: u64 = 1_400_000_000;
pub(crate) const KEY: &str = "5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e";

/// Writes a file that no other user can read.
pub(crate) fn write_secret(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// A directory with a configuration and what it needs.
pub(crate) struct Place {
    dir: TempDir,
}

impl Place {
    pub(crate) fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        write_secret(&dir.path().join("key"), KEY);
        Place { dir }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A certificate for the loopback address, and its key, as PEM files.
    pub(crate) fn with_certificate(self) -> Place {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        std::fs::write(self.path().join("certificate.pem"), made.cert.pem()).unwrap();
        write_secret(&self.path().join("key.pem"), &made.signing_key.serialize_pem());
        self
    }

    /// Writes the configuration: HTTP, one app, `top` before and `app` among its fields.
    pub(crate) fn configure(&self, top: &str, app: &str) -> PathBuf {
        let text = format!(
            "http = \"127.0.0.1:0\"\n{top}\n[[app]]\nsdkappid = {APP}\ngraph = \"graph\"\n\
             keys = [{{ file = \"key\" }}]\n{app}\n"
        );
        let path = self.path().join("server.toml");
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Starts a server that has HTTPS too.
    pub(crate) fn start_https(&self, top: &str, app: &str) -> Running {
        let https = "[https]\nlisten = \"127.0.0.1:0\"\ncertificate_file = \"certificate.pem\"\n\
                     key_file = \"key.pem\"\n";
        Running::start(&self.configure(&format!("{top}\n{https}"), app))
    }

    pub(crate) fn start(&self, top: &str, app: &str) -> Running {
        Running::start(&self.configure(top, app))
    }
}

/// A server that is stopped, by its pid, when dropped.
pub(crate) struct Running {
    child: Child,
    pub(crate) http: SocketAddr,
    pub(crate) https: Option<SocketAddr>,
    pub(crate) observe: Option<SocketAddr>,
    log: Arc<Mutex<String>>,
}

const START_TIME_MAX: Duration = Duration::from_secs(20);

pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_followgraph"));
    command.env_remove("FOLLOWGRAPH_DB").stdin(Stdio::null());
    command
}

impl Running {
    /// A server that logs every request.
    pub(crate) fn start(config: &Path) -> Running {
        Running::start_logging(config, "debug")
    }

    pub(crate) fn start_logging(config: &Path, level: &str) -> Running {
        let text = std::fs::read_to_string(config).unwrap();
        let expected = 1
            + usize::from(text.contains("[https]"))
            + usize::from(text.lines().any(|line| line.starts_with("observe")));
        let mut command = program();
        command.args(["serve", "--log-level", level, "--config"]).arg(config);
        command.stdout(Stdio::null());
        Running::spawn(command, expected)
    }

    /// Starts a server that says where it answers in so many lines.
    pub(crate) fn spawn(mut command: Command, address_count: usize) -> Running {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (sender, lines) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let shared = log.clone();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let mut log = shared.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
                drop(log);
                let _ = sender.send(line);
            }
        });
        let deadline = Instant::now() + START_TIME_MAX;
        let (mut http, mut https, mut observe) = (None, None, None);
        let mut found = 0;
        while found < address_count {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = lines.recv_timeout(left) else {
                let _ = child.kill();
                panic!("the server did not start:\n{}", log.lock().unwrap());
            };
            for (start, place) in [
                ("listening on http://", &mut http),
                ("listening on https://", &mut https),
                ("observe on http://", &mut observe),
            ] {
                if let Some(address) = line.strip_prefix(start) {
                    *place = Some(address.parse().unwrap());
                    found += 1;
                }
            }
        }
        Running { child, http: http.unwrap(), https, observe, log }
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// The line to paste that a server for development prints.
    pub(crate) fn read_sample(&mut self) -> String {
        let mut lines = BufReader::new(self.child.stdout.take().unwrap()).lines();
        let mut lines = lines.by_ref().map(Result::unwrap);
        let first = lines.find(|line| line.starts_with("curl ")).unwrap();
        format!("{first}\n{}", lines.next().unwrap())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Memory of its own, in bytes.
    pub(crate) fn private_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
        let kibibytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kibibytes << 10
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self, at_most: Duration) -> ExitStatus {
        let deadline = Instant::now() + at_most;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends a request over a connection of its own, byte for byte, and reads the answer.
    pub(crate) fn raw(&self, request: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(request).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8(answer).unwrap()
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.http).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        let mut answer = agent(None).get(format!("http://{}{path}", self.http)).call().unwrap();
        (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(format!("http://{}", self.http), agent(None))
    }

    pub(crate) fn https_client(&self, place: &Place) -> Client {
        let pem = std::fs::read(place.path().join("certificate.pem")).unwrap();
        let root = Certificate::from_pem(&pem).unwrap();
        let roots = RootCerts::new_with_certs(&[root]);
        let tls = TlsConfig::builder().root_certs(roots).build();
        Client::new(format!("https://{}", self.https.unwrap()), agent(Some(tls)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn agent(tls: Option<TlsConfig>) -> ureq::Agent {
    let mut config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(30)));
    if let Some(tls) = tls {
        config = config.tls_config(tls);
    }
    config.build().into()
}

/// Asks commands as an admin.
pub(crate) struct Client {
    pub(crate) base: String,
    pub(crate) agent: ureq::Agent,
    pub(crate) query: String,
}

pub(crate) fn query_of(identifier: &str, key: &str) -> String {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let ticket = generate(&Key::new(key), APP, identifier, now, 3600).unwrap();
    format!("sdkappid={APP}&identifier={identifier}&usersig={ticket}&random=1&contenttype=json")
}

pub(crate) fn path_of(command: &str) -> String {
    let service = if command.starts_with("follow") { "follow" } else { "im_open_login_svc" };
    format!("/v4/{service}/{command}")
}

impl Client {
    fn new(base: String, agent: ureq::Agent) -> Client {
        Client { base, agent, query: query_of("administrator", KEY) }
    }

    pub(crate) fn url(&self, command: &str) -> String {
        format!("{}{}?{}", self.base, path_of(command), self.query)
    }

    /// Sends a body and gives back the answer, which has status 200.
    pub(crate) fn ask(&self, command: &str, body: &str) -> Value {
        let mut answer = self.agent.post(self.url(command)).send(body).unwrap();
        assert_eq!(answer.status().as_u16(), 200);
        assert!(answer.headers().get("x-request-id").is_some());
        serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap()
    }

    pub(crate) fn code(&self, command: &str, body: &str) -> u64 {
        self.ask(command, body)["ErrorCode"].as_u64().unwrap()
    }

    /// Makes accounts exist.
    pub(crate) fn import(&self, names: &[&str]) {
        for names in names.chunks(100) {
            let accounts = serde_json::json!({ "Accounts": names }).to_string();
            assert_eq!(self.code("multiaccount_import", &accounts), 0);
        }
    }
}
