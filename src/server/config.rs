//! What the server is told: one TOML file, read as a whole before anything is opened.

use super::system;
use super::webhooks::check_url;
use crate::wire::usersig::Key;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use toml::Spanned;

const BODY_BYTES_MIN: usize = 256;
const BODY_BYTES_MAX: usize = 1 << 30;
const CONNECTIONS_MAX: usize = 1_000_000;

/// A configuration that cannot be used: which file and line, and what to do.
#[derive(Debug)]
pub struct ConfigError(String);

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

impl ConfigError {
    pub(super) fn new(message: impl Into<String>) -> ConfigError {
        ConfigError(message.into())
    }
}

/// What to serve, and where. Unless said otherwise, paths are relative to the file.
///
/// ```
/// use followgraph::server::Config;
/// let file = tempfile::tempdir()?.keep().join("server.toml");
/// std::fs::write(&file, r#"
///     http = "127.0.0.1:8080"
///     [[app]]
///     sdkappid = 1400000000
///     graph = "graph"
///     keys = [{ env = "FOLLOWGRAPH_KEY" }]
/// "#)?;
/// let config = Config::from_file(&file)?;
/// assert_eq!(config.apps[0].max_following, 5000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to answer HTTP.
    pub http: Option<SocketAddr>,
    /// Where to answer HTTPS.
    pub https: Option<Https>,
    /// Where to answer `/metrics`, `/healthz` and `/readyz`. If absent, beside the commands.
    pub observe: Option<SocketAddr>,
    /// Whether `/console` is served.
    #[serde(default = "yes")]
    pub console: bool,
    /// What a console that is served to its own machine signs in with. Not from a file.
    #[serde(skip)]
    pub console_ticket: Option<ConsoleTicket>,
    /// The node that this server is, where its one app is on a cluster. Not from a file, so that
    /// all nodes can have the same one.
    #[serde(skip)]
    pub cluster: Option<ClusterMember>,
    /// What one client may take from the others.
    #[serde(default)]
    pub limits: Limits,
    /// The apps, at least one.
    #[serde(rename = "app")]
    pub apps: Vec<AppConfig>,
}

/// A node of a cluster. The directory of the app's graph is where it keeps its graphs.
#[derive(Clone, Debug)]
pub struct ClusterMember {
    /// The file that says where the log is.
    pub file: PathBuf,
    /// The name of the node.
    pub node: String,
}

/// A ticket with what belongs to it.
#[derive(Clone, Serialize)]
pub struct ConsoleTicket {
    /// The app.
    pub sdkappid: u64,
    /// Whose ticket it is.
    pub identifier: String,
    /// The ticket.
    pub usersig: String,
}

impl fmt::Debug for ConsoleTicket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ConsoleTicket(..)")
    }
}

/// An HTTPS listener. TLS 1.2 and 1.3.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Https {
    /// Where to listen.
    pub listen: SocketAddr,
    /// PEM file with the certificate and those that vouch for it.
    pub certificate_file: PathBuf,
    /// PEM file with the private key.
    pub key_file: PathBuf,
}

/// What one client may take from the others.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The longest body of a request: from 256 bytes to 1 GiB.
    pub body_bytes: usize,
    /// How many connections each port holds at a time, up to a million; more wait to be accepted.
    /// Where the limit of open files, less a reserve for the graphs, is reached before, the rest
    /// are refused.
    pub connections: usize,
    /// How long a request may take, from its head to its answer. The original's is 3 s.
    pub request_seconds: f64,
    /// How long a connection may be without a request.
    pub idle_seconds: f64,
    /// How long requests under way have to finish when the server stops.
    pub shutdown_seconds: f64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            body_bytes: 256 << 10,
            connections: 16_384,
            request_seconds: 3.0,
            idle_seconds: 60.0,
            shutdown_seconds: 10.0,
        }
    }
}

impl Limits {
    /// Says which limit is out of its range.
    fn fault(&self) -> Option<String> {
        let outside = |name: &str, range: &str| Some(format!("[limits]: {name} is {range}"));
        if !(BODY_BYTES_MIN..=BODY_BYTES_MAX).contains(&self.body_bytes) {
            let range = format!("from {BODY_BYTES_MIN} to {BODY_BYTES_MAX}");
            return outside("body_bytes", &range);
        }
        if !(1..=CONNECTIONS_MAX).contains(&self.connections) {
            return outside("connections", &format!("from 1 to {CONNECTIONS_MAX}"));
        }
        [
            ("request_seconds", self.request_seconds),
            ("idle_seconds", self.idle_seconds),
            ("shutdown_seconds", self.shutdown_seconds),
        ]
        .iter()
        .find(|(_, seconds)| !(0.001..1e6).contains(seconds))
        .and_then(|(name, _)| outside(name, "between 0.001 and a million"))
    }
}

/// One app.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppConfig {
    /// Its number, as in the query of every request.
    pub sdkappid: Spanned<u64>,
    /// The directory of its graph, made where there is none.
    pub graph: Spanned<PathBuf>,
    /// Where its secret keys are: one, or two while one is being replaced.
    pub keys: Spanned<Vec<Secret>>,
    /// Who may ask.
    #[serde(default = "administrator")]
    pub admins: Vec<String>,
    /// Whether the follow commands are switched on.
    #[serde(default = "yes")]
    pub follow: bool,
    /// How many accounts one may follow. The original's limit is 5000.
    #[serde(default = "documented_max_following")]
    pub max_following: u32,
    /// How many followers one may have; no limit if absent.
    pub max_followers: Option<u32>,
    /// How many mutual follows one may have; no limit if absent.
    pub max_mutual: Option<u32>,
    /// How many calls a second each command answers. The original's limit is 200.
    #[serde(default = "documented_calls_per_second")]
    pub calls_per_second: NonZeroU32,
    /// The networks that may ask; all if absent.
    pub allow: Option<Vec<IpNet>>,
    /// Whether following somebody who was never imported imports them.
    #[serde(default)]
    pub create_missing_accounts: bool,
    /// The largest size of a log segment in bytes, 64 KiB to 4 GiB; 64 MiB if absent.
    pub segment_bytes: Option<u64>,
    /// Whom to tell of follows and unfollows; nobody if absent.
    pub webhooks: Option<Webhooks>,
}

/// Whom to tell of follows and unfollows, and how patiently.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhooks {
    /// Where to send them.
    pub url: String,
    /// The token that signs them; unsigned if absent.
    pub token: Option<Secret>,
    /// How long one request may take.
    #[serde(default = "two")]
    pub timeout_seconds: f64,
    /// How often one is tried before it is given up. The pauses between begin with 0.1 s and grow
    /// to 30 s.
    #[serde(default = "twelve")]
    pub attempts: NonZeroU32,
    /// Where those that were given up are kept, a JSON object a line.
    pub dead_letter_file: PathBuf,
    /// How much of the log is kept for what was not told yet; 1 GiB if absent.
    pub log_bytes: Option<u64>,
}

/// Where a secret is. It is never in the configuration itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Secret {
    /// In a file that other users cannot read. White space at its ends is no part of the secret.
    File(PathBuf),
    /// In a variable of the environment.
    Env(String),
}

fn yes() -> bool {
    true
}

fn two() -> f64 {
    2.0
}

fn twelve() -> NonZeroU32 {
    NonZeroU32::new(12).expect("it is not zero")
}

fn administrator() -> Vec<String> {
    vec!["administrator".to_owned()]
}

fn documented_max_following() -> u32 {
    5000
}

fn documented_calls_per_second() -> NonZeroU32 {
    NonZeroU32::new(200).expect("it is not zero")
}

impl Config {
    /// Reads a configuration file.
    ///
    /// # Errors
    ///
    /// The file cannot be read, is not TOML, has a field that is unknown, missing or of the wrong
    /// type, or contradicts itself: with the line, and what to do.
    pub fn from_file(path: &Path) -> Result<Config, ConfigError> {
        let text = fs::read_to_string(path).map_err(|error| {
            ConfigError(format!("cannot read the configuration {}: {error}", path.display()))
        })?;
        let text = without_byte_order_mark(&text);
        let place = Place { path, text };
        let mut config: Config = toml::from_str(text).map_err(|error| place.of_toml(&error))?;
        config.check(&place)?;
        config.resolve_paths(path.parent().unwrap_or(Path::new("")));
        Ok(config)
    }

    /// What types alone do not say.
    fn check(&self, place: &Place<'_>) -> Result<(), ConfigError> {
        if self.http.is_none() && self.https.is_none() {
            return Err(place.error(0, "nowhere to listen: give http, or [https], or both"));
        }
        if let Some(message) = self.limits.fault() {
            return Err(place.error(place.text.find("[limits]").unwrap_or(0), &message));
        }
        if self.apps.is_empty() {
            return Err(place.error(0, "no app: add an [[app]]"));
        }
        let (mut numbers, mut graphs) = (HashSet::new(), HashSet::new());
        for app in &self.apps {
            if !numbers.insert(app.sdkappid.get_ref()) {
                let message = format!("sdkappid {} has come before", app.sdkappid.get_ref());
                return Err(place.error(app.sdkappid.span().start, &message));
            }
            if !graphs.insert(app.graph.get_ref()) {
                let message = "another app has this graph; each has one of its own";
                return Err(place.error(app.graph.span().start, message));
            }
            if let Some(webhooks) = &app.webhooks
                && !(0.001..1e6).contains(&webhooks.timeout_seconds)
            {
                let message = "webhooks: timeout_seconds is between 0.001 and a million";
                return Err(place.error(app.sdkappid.span().start, message));
            }
            if let Some(webhooks) = &app.webhooks
                && let Err(why) = check_url(&webhooks.url)
            {
                let message = format!("webhooks: url: {why}");
                return Err(place.error(app.sdkappid.span().start, &message));
            }
            if !(1..=2).contains(&app.keys.get_ref().len()) {
                let message = "an app has one key, or two while one is being replaced";
                return Err(place.error(app.keys.span().start, message));
            }
        }
        Ok(())
    }

    /// Checks the limits of a configuration that may not be from a file.
    pub(super) fn check_limits(&self) -> Result<(), ConfigError> {
        self.limits.fault().map_or(Ok(()), |message| Err(ConfigError(message)))
    }

    fn resolve_paths(&mut self, directory: &Path) {
        let resolve = |path: &mut PathBuf| *path = directory.join(&*path);
        if let Some(https) = &mut self.https {
            resolve(&mut https.certificate_file);
            resolve(&mut https.key_file);
        }
        for app in &mut self.apps {
            resolve(app.graph.get_mut());
            let mut secrets: Vec<&mut Secret> = app.keys.get_mut().iter_mut().collect();
            if let Some(webhooks) = &mut app.webhooks {
                resolve(&mut webhooks.dead_letter_file);
                secrets.extend(&mut webhooks.token);
            }
            for secret in secrets {
                if let Secret::File(path) = secret {
                    resolve(path);
                }
            }
        }
    }
}

impl AppConfig {
    /// An app as it is unless told otherwise.
    pub fn new(sdkappid: u64, graph: PathBuf, key: Secret) -> AppConfig {
        AppConfig {
            sdkappid: Spanned::new(0..0, sdkappid),
            graph: Spanned::new(0..0, graph),
            keys: Spanned::new(0..0, vec![key]),
            admins: administrator(),
            follow: true,
            max_following: documented_max_following(),
            max_followers: None,
            max_mutual: None,
            calls_per_second: documented_calls_per_second(),
            allow: None,
            create_missing_accounts: false,
            segment_bytes: None,
            webhooks: None,
        }
    }
}

impl Secret {
    /// Fetches a key.
    pub(super) fn fetch(&self) -> Result<Key, ConfigError> {
        self.fetch_text().map(|text| Key::new(&text))
    }

    /// Fetches the secret.
    pub(super) fn fetch_text(&self) -> Result<String, ConfigError> {
        let text = match self {
            Secret::File(path) => {
                system::check_is_private(path)?;
                fs::read_to_string(path).map_err(|error| {
                    ConfigError(format!("cannot read the key file {}: {error}", path.display()))
                })?
            }
            Secret::Env(name) => std::env::var(name).map_err(|_| {
                ConfigError(format!("the environment variable {name} is to hold a key; set it"))
            })?,
        };
        let text = without_byte_order_mark(&text).trim();
        if text.is_empty() {
            return Err(ConfigError(format!("a secret is empty: {self:?}")));
        }
        Ok(text.to_owned())
    }
}

/// Editors put the mark before UTF-8 on some systems. It is no part of the text.
fn without_byte_order_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// A configuration as text, to say where in it something is wrong.
struct Place<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Place<'_> {
    /// Returns the error of the parser without any value of the file: in the wrong place, it may
    /// be a secret.
    fn of_toml(&self, error: &toml::de::Error) -> ConfigError {
        let start = error.span().map_or(0, |span| span.start);
        let message = error.message();
        let is_about_name = ["unknown field", "missing field", "duplicate key"]
            .iter()
            .any(|words| message.starts_with(words));
        let Some(field) = self.field_at(start).filter(|_| !is_about_name) else {
            return self.error(start, without_value(message));
        };
        if ["keys", "token"].contains(&field) && names_value(message) {
            let hint = "a secret is given as { file = \"PATH\" } or { env = \"NAME\" }, and never \
                        stands in the configuration";
            return self.error(start, &format!("{field}: {hint}"));
        }
        self.error(start, &format!("{field}: {}", without_value(message)))
    }

    /// The field whose value is at an offset. `None` at the name of a field and in a header.
    fn field_at(&self, offset: usize) -> Option<&str> {
        let before = self.text.get(..offset)?;
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        for line in before.lines().rev() {
            if line.trim_start().starts_with('[') {
                return None;
            }
            // Lines without one are other lines of an array.
            if let Some((name, _)) = line.split_once('=') {
                let name = name.trim();
                if !name.is_empty() && name.bytes().all(is_name) {
                    return Some(name);
                }
            }
        }
        None
    }

    fn error(&self, offset: usize, message: &str) -> ConfigError {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        ConfigError(format!("{}:{line}: {message}", self.path.display()))
    }
}

/// Whether a message of the deserializer repeats a value.
fn names_value(message: &str) -> bool {
    let starts = ["invalid type: ", "invalid value: ", "unknown variant "];
    starts.iter().any(|start| message.starts_with(start))
}

/// Takes the value out of a message of the deserializer, and leaves what was expected.
fn without_value(message: &str) -> &str {
    match message.rfind("expected ") {
        Some(expected) if names_value(message) => &message[expected..],
        _ => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, ConfigError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("server.toml");
        fs::write(&path, text).unwrap();
        Config::from_file(&path)
    }

    const APP: &str = "[[app]]\nsdkappid = 1\ngraph = \"g\"\nkeys = [{ file = \"k\" }]\n";

    #[test]
    fn the_defaults_are_those_that_are_documented() {
        let config = read(&format!("http = \"127.0.0.1:0\"\n{APP}")).unwrap();
        let app = &config.apps[0];
        assert_eq!((app.max_following, app.calls_per_second.get()), (5000, 200));
        assert_eq!((&app.admins[..], app.segment_bytes), (&["administrator".to_owned()][..], None));
        let told = read(&format!("http = \"127.0.0.1:0\"\n{APP}segment_bytes = 1048576\n"));
        assert_eq!(told.unwrap().apps[0].segment_bytes, Some(1 << 20));
        assert!(app.graph.get_ref().ends_with("g") && app.graph.get_ref().is_absolute());
        assert!((config.limits.request_seconds - 3.0).abs() < f64::EPSILON);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let http = "http = \"127.0.0.1:0\"\n";
        let cases = [
            ("http = 7\n".to_owned(), ":1: "),
            (APP.to_owned(), ":1: nowhere to listen"),
            (format!("{http}{APP}color = 1\n"), ":6: unknown field `color`"),
            (format!("{http}{APP}{}", APP.replace("\"g\"", "\"h\"")), ":7: sdkappid 1 has come"),
            (format!("{http}{APP}{}", APP.replace("= 1", "= 2")), ":8: another app has this"),
            (format!("{http}{APP}calls_per_second = 0\n"), ":6: "),
            (format!("{http}{APP}allow = [\"10.0.0.0/99\"]\n"), ":6: "),
            (format!("{http}{}", APP.replace("{ file = \"k\" }", "")), ":5: an app has one key"),
            (format!("{http}[limits]\nidle_seconds = 0\n{APP}"), ":2: [limits]"),
            (format!("{http}[[app]]\nsdkappid = 1\n"), "missing field `graph`"),
            (format!("{http}app = []\n"), "no app"),
            ("http = \n".to_owned(), ":1: "),
        ];
        for (text, expected) in cases {
            let message = read(&text).unwrap_err().to_string();
            assert!(message.contains(expected), "{expected}: {message}");
        }
    }

    #[test]
    fn a_key_that_is_not_there_is_named_and_one_that_is_there_never_shown() {
        let missing = Secret::Env("FOLLOWGRAPH_NO_SUCH_VARIABLE".to_owned());
        assert!(missing.fetch().unwrap_err().to_string().contains("NO_SUCH_VARIABLE"));
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(Secret::File(file.path().to_owned()).fetch().is_err(), "an empty key is none");
        fs::write(file.path(), "the secret\n").unwrap();
        let key = Secret::File(file.path().to_owned()).fetch().unwrap();
        assert!(!format!("{key:?}").contains("secret"));
        fs::write(file.path(), "\u{feff}the secret\r\n").unwrap();
        let marked = Secret::File(file.path().to_owned()).fetch_text().unwrap();
        assert_eq!(marked, "the secret", "a byte order mark is no part of it");
    }
}
