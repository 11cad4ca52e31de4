//! `serve`: the follow API over HTTP and HTTPS.

use super::demo::load_small_graph;
use super::failure::{Failure, Verdict};
use super::output::say;
use super::usersig::generate_now;
use clap::{Args, ValueEnum};
use followgraph::Options;
use followgraph::server::{
    self, Addresses, AppConfig, ClusterMember, Config, ConsoleTicket, Limits, Secret,
};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use tracing::level_filters::LevelFilter;

/// The app of a server for development.
const DEV_APP: u64 = 1_400_000_000;
const DEV_IDENTIFIER: &str = "administrator";
const DEV_DIRECTORY: &str = "followgraph-data";
const DEV_ADDRESS: &str = "127.0.0.1:8080";
/// As long as the tickets of the published generators unless told otherwise.
const DEV_TICKET_DAYS: u32 = 180;
/// The file with the key of a server for development.
const DEV_KEY_FILE: &str = "dev-key";

#[cfg(feature = "cluster")]
const EXAMPLES: &str = "Examples:\n  followgraph serve --dev\n  \
    followgraph serve --config server.toml\n  \
    followgraph serve --config server.toml --cluster cluster.toml --node n1";
#[cfg(not(feature = "cluster"))]
const EXAMPLES: &str = "Examples:\n  followgraph serve --dev\n  \
    followgraph serve --config server.toml";

/// Serve the follow API, `v4/follow/*`, over HTTP and HTTPS
///
/// With --dev it needs no configuration: the small graph that comes with the program is served on
/// this machine, to whoever has the usersig it prints. The console signs in by itself only while
/// --listen is a loopback address.
///
/// SIGTERM and SIGINT stop the server once requests under way are answered. SIGHUP makes it read
/// its certificate and keys again, as it also does when their files change.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Serve {
    /// The configuration; docs/server.md describes it
    #[arg(long, value_name = "FILE", required_unless_present = "dev")]
    config: Option<PathBuf>,
    /// Serve a small graph with a key made for it
    #[arg(long, conflicts_with = "config")]
    dev: bool,
    /// Serve the app of the configuration as a node of this cluster; docs/scale-out.md describes it
    #[arg(long, value_name = "FILE", requires = "config", requires = "node")]
    #[cfg_attr(not(feature = "cluster"), arg(hide = true))]
    cluster: Option<PathBuf>,
    /// With --cluster: which of its nodes this is
    #[arg(long, value_name = "NAME", requires = "cluster")]
    #[cfg_attr(not(feature = "cluster"), arg(hide = true))]
    node: Option<String>,
    /// With --dev: where to listen
    #[arg(long, value_name = "ADDRESS:PORT", requires = "dev", default_value = DEV_ADDRESS)]
    listen: SocketAddr,
    /// With --dev: where graph and key are kept
    #[arg(long, value_name = "DIR", requires = "dev", default_value = DEV_DIRECTORY)]
    data: PathBuf,
    /// With --dev: answer so many calls a second of each command
    #[arg(long, value_name = "NUMBER", requires = "dev")]
    calls_per_second: Option<std::num::NonZeroU32>,
    /// What is logged: every request at debug
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: LevelFilter,
    /// How it is logged
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

impl Serve {
    pub(crate) fn run(&self, db: Option<&Path>, out: &mut dyn Write) -> Result<Verdict, Failure> {
        if db.is_some() {
            let message = "--db is not for serve: name the graph in the configuration, or with \
                           --data for a server for development";
            return Err(Failure::usage(message));
        }
        if cfg!(not(feature = "cluster")) && self.cluster.is_some() {
            return Err(Failure::without_cluster());
        }
        self.start_log();
        let (config, usersig) = match &self.config {
            Some(path) => (self.config_of(path)?, None),
            None => self.dev_config().map(|(config, usersig)| (config, Some(usersig)))?,
        };
        let sample = |http: SocketAddr| Some(sample_call(http, usersig.as_deref()?));
        let ready = |addresses: &Addresses| {
            tell(addresses);
            if usersig.is_some() && config.console_ticket.is_none() {
                say(format_args!(
                    "other machines can reach this address, so the console asks for a UserSig"
                ));
            }
            if let Some(sample) = addresses.http.and_then(sample) {
                // Nobody may be reading; that stops no server.
                let _ = out.write_all(sample.as_bytes()).and_then(|()| out.flush());
            }
        };
        server::run(&config, ready).map_err(|error| Failure::usage(error.to_string()))?;
        Ok(Verdict::Fine)
    }

    fn start_log(&self) {
        let log = tracing_subscriber::fmt().with_max_level(self.log_level).with_writer(io::stderr);
        match self.log_format {
            LogFormat::Text => log.with_target(false).init(),
            LogFormat::Json => log.json().init(),
        }
    }

    fn config_of(&self, path: &Path) -> Result<Config, Failure> {
        let mut config =
            Config::from_file(path).map_err(|error| Failure::usage(error.to_string()))?;
        if let (Some(file), Some(node)) = (&self.cluster, &self.node) {
            config.cluster = Some(ClusterMember { file: file.clone(), node: node.clone() });
        }
        Ok(config)
    }

    /// Returns a configuration with a graph that is not empty and a key of its own, and the
    /// `UserSig` of its admin.
    fn dev_config(&self) -> Result<(Config, String), Failure> {
        let key_file = self.data.join(DEV_KEY_FILE);
        let key = dev_key(&self.data, &key_file)?;
        let directory = self.data.join("graph");
        let graph = super::open(Options::new(), &directory)?;
        if graph.stats().sequence == 0 {
            load_small_graph(&graph)?;
        }
        graph.close()?;
        let usersig = generate_now(&key, DEV_APP, DEV_IDENTIFIER, DEV_TICKET_DAYS)
            .expect("the identifier has no control character");
        let mut app = AppConfig::new(DEV_APP, directory, Secret::File(key_file));
        app.calls_per_second = self.calls_per_second.unwrap_or(app.calls_per_second);
        // The console gets it without a question, which is for clients on this machine alone.
        let console_ticket = self.listen.ip().is_loopback().then(|| ConsoleTicket {
            sdkappid: DEV_APP,
            identifier: DEV_IDENTIFIER.to_owned(),
            usersig: usersig.clone(),
        });
        let config = Config {
            http: Some(self.listen),
            https: None,
            observe: None,
            console: true,
            console_ticket,
            cluster: None,
            limits: Limits::default(),
            apps: vec![app],
        };
        Ok((config, usersig))
    }
}

/// The key in a directory for development, made where there is none. A directory that holds
/// something else is left alone.
fn dev_key(directory: &Path, key_file: &Path) -> Result<String, Failure> {
    let failed =
        |error: &io::Error| Failure::usage(format!("cannot use {}: {error}", directory.display()));
    match fs::read_to_string(key_file) {
        Ok(key) if !key.trim().is_empty() => return Ok(key),
        Ok(_) => {
            let message = format!("{} is empty; remove it", key_file.display());
            return Err(Failure::usage(message));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(&error)),
    }
    let is_occupied = fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some());
    if is_occupied {
        return Err(Failure::usage(format!(
            "{} holds something else, and stays as it is; name another directory with --data",
            directory.display()
        )));
    }
    let key = random_key().map_err(|error| failed(&error))?;
    fs::create_dir_all(directory).map_err(|error| failed(&error))?;
    let mut file = OpenOptions::new();
    file.write(true).create_new(true).mode(0o600);
    let mut file = file.open(key_file).map_err(|error| failed(&error))?;
    file.write_all(key.as_bytes()).map_err(|error| failed(&error))?;
    Ok(key)
}

/// 32 random bytes, as the keys of the original look.
fn random_key() -> io::Result<String> {
    let mut bytes = [0; 32];
    let mut filled = 0;
    while filled < bytes.len() {
        filled +=
            rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(bytes.iter().fold(String::new(), |key, byte| format!("{key}{byte:02x}")))
}

/// Says where the server is, for people and for programs that started it on a port of the system's
/// choice.
fn tell(addresses: &Addresses) {
    for (scheme, address) in [("http", addresses.http), ("https", addresses.https)] {
        if let Some(address) = address {
            say(format_args!("listening on {scheme}://{address}"));
        }
    }
    if let Some(address) = addresses.observe {
        say(format_args!("observe on http://{address}"));
    }
}

/// What to try: a line to paste, and the console.
fn sample_call(http: SocketAddr, usersig: &str) -> String {
    let accounts = r#"["malik-lab","the-daily-loaf","李娜","nobody-by-this-name"]"#;
    format!(
        "\nTry it:\n\ncurl 'http://{http}/v4/follow/follow_get_info?sdkappid={DEV_APP}\
         &identifier={DEV_IDENTIFIER}&usersig={usersig}&random=1&contenttype=json' \\\n  \
         -d '{{\"From_Account\":\"malik-lab\",\"To_Account\":{accounts}}}'\n\n\
         or in a browser: http://{http}/console\n\nCtrl-C stops it.\n"
    )
}
