//! Tells another server of follows and unfollows, from the change feed.
//!
//! Each is told at least once, those of one follower in their order. How far it has come is kept
//! in the graph's directory: a server that is killed goes on where it was and may tell the last
//! ones again. No request waits for anything here: a receiver that hangs or fails only falls
//! behind.
//!
//! The requests are those of the original
//! (<https://www.tencentcloud.com/document/product/1047/70355>,
//! <https://www.tencentcloud.com/document/product/1047/70356>).

use super::config::{ConfigError, Webhooks};
use crate::{AccountId, Change, Commit, Consumer, ErrorKind, FollowGraph};
use backon::{BlockingRetryable, ExponentialBuilder};
use hyper::Uri;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};
use ureq::Agent;
use ureq::tls::{RootCerts, TlsConfig};

/// The name of the position in the graph's directory.
pub(super) const CONSUMER: &str = "webhooks";
/// Commits told of before the position is written down.
const COMMITS_MAX: usize = 256;
/// Requests under way. Each follower belongs to one lane, which keeps the order.
const LANES: u32 = 8;
/// How long one wait for a commit is. It ends at once when there is one.
const WAIT: Duration = Duration::from_mins(1);
/// How long to wait after the feed failed.
const PAUSE: Duration = Duration::from_secs(1);
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LONGEST: Duration = Duration::from_secs(30);

/// What is known of the sending, for the metrics.
#[derive(Default)]
pub(super) struct Progress {
    pub(super) delivered: AtomicU64,
    pub(super) failed_attempts: AtomicU64,
    pub(super) dead_letters: AtomicU64,
    /// Events of accounts that were removed, or began to be, before they could be told of.
    pub(super) dropped: AtomicU64,
}

/// What happened, in the form in which it is told.
#[derive(Debug, Serialize, PartialEq, Eq)]
#[serde(untagged)]
enum Event {
    Followed {
        #[serde(rename = "CallbackCommand")]
        command: &'static str,
        #[serde(rename = "From_Account")]
        from: String,
        #[serde(rename = "FollowList")]
        followed: Vec<Followed>,
        #[serde(rename = "EventTime")]
        at_milliseconds: u64,
    },
    Unfollowed {
        #[serde(rename = "CallbackCommand")]
        command: &'static str,
        #[serde(rename = "From_Account")]
        from: String,
        #[serde(rename = "To_Account")]
        unfollowed: Vec<String>,
        #[serde(rename = "EventTime")]
        at_milliseconds: u64,
    },
}

#[derive(Debug, Serialize, PartialEq, Eq)]
struct Followed {
    #[serde(rename = "To_Account")]
    to: String,
}

impl Event {
    fn command(&self) -> &'static str {
        match self {
            Event::Followed { command, .. } | Event::Unfollowed { command, .. } => command,
        }
    }
}

/// Changes of one follower that are told together: of one commit, of one kind, at one time.
struct Group {
    sequence: u64,
    follower: AccountId,
    /// When, for follows; of unfollows the log does not say.
    followed_at: Option<u32>,
    others: Vec<AccountId>,
}

/// Events with their sequence numbers, in order. What is in one lane is told one by one.
type Lanes = BTreeMap<u32, Vec<(u64, Event)>>;

/// Returns what a receiver found wrong. One that says nothing of it has taken the event.
fn refusal(answer: &str) -> Option<String> {
    let answer: Value = serde_json::from_str(answer).ok()?;
    let code = answer.get("ErrorCode").filter(|code| !code.is_null())?;
    let is_zero = code.as_f64().or_else(|| code.as_str()?.trim().parse().ok()) == Some(0.0);
    let info = answer.get("ErrorInfo").and_then(Value::as_str).unwrap_or("");
    (!is_zero).then(|| format!("it answered with ErrorCode {code}: {info}"))
}

/// A line of the file of what could not be told.
#[derive(Serialize)]
struct DeadLetter<'a> {
    sequence: u64,
    failed_at: u64,
    error: &'a str,
    event: &'a Event,
}

/// Sends the events of one app, on a thread of its own.
pub(super) struct Sender {
    sdkappid: u64,
    graph: Weak<FollowGraph>,
    settings: Webhooks,
    token: Option<String>,
    agent: Agent,
    dead_letters: parking_lot::Mutex<File>,
    progress: Arc<Progress>,
}

impl Sender {
    /// Starts sending what is committed from now on, or behind what was told before.
    pub(super) fn start(
        sdkappid: u64,
        graph: &Arc<FollowGraph>,
        settings: &Webhooks,
    ) -> Result<Arc<Progress>, ConfigError> {
        let failed = |what: &str, error: &dyn std::fmt::Display| {
            ConfigError::new(format!("cannot send the webhooks of app {sdkappid}: {what}: {error}"))
        };
        let path = &settings.dead_letter_file;
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.map_err(|error| failed(&path.display().to_string(), &error))?;
        // Made here, so that what is committed once the server is up is told.
        graph.consumer(CONSUMER).map_err(|error| failed("the feed", &error))?;
        let progress = Arc::new(Progress::default());
        let sender = Sender {
            sdkappid,
            graph: Arc::downgrade(graph),
            token: settings.token.as_ref().map(super::Secret::fetch_text).transpose()?,
            agent: agent(settings),
            settings: settings.clone(),
            dead_letters: parking_lot::Mutex::new(file),
            progress: progress.clone(),
        };
        std::thread::Builder::new()
            .name("followgraph-webhooks".to_owned())
            .spawn(move || sender.run())
            .map_err(|error| failed("no thread", &error))?;
        Ok(progress)
    }

    fn run(&self) {
        while let Err(error) = self.follow_the_log() {
            if error.kind() == ErrorKind::Closed {
                return;
            }
            tracing::error!(app = self.sdkappid, %error, "webhooks");
            std::thread::sleep(PAUSE);
        }
    }

    /// Begins behind what was told and goes on until something fails. Each time it is begun anew,
    /// so that what was read and not told is read again.
    fn follow_the_log(&self) -> crate::Result<()> {
        let mut consumer = self.graph()?.consumer(CONSUMER)?;
        loop {
            if let Err(error) = self.step(&mut consumer) {
                if error.kind() != ErrorKind::PositionLost {
                    return Err(error);
                }
                tracing::error!(app = self.sdkappid, %error, "webhooks: events were lost");
                consumer.skip_to_oldest()?;
            }
        }
    }

    fn graph(&self) -> crate::Result<Arc<FollowGraph>> {
        self.graph.upgrade().ok_or_else(|| crate::Error::bare(ErrorKind::Closed))
    }

    /// Waits for commits, tells of them, and only then writes down that it did.
    fn step(&self, consumer: &mut Consumer) -> crate::Result<()> {
        let mut wait = WAIT;
        let (mut groups, mut last, mut count) = (Vec::new(), None, 0);
        while count < COMMITS_MAX
            && let Some(commit) = consumer.next(wait)?
        {
            wait = Duration::ZERO;
            count += 1;
            last = Some(commit.sequence);
            groups.extend(groups_of(&commit));
        }
        let Some(last) = last else { return Ok(()) };
        let lanes = self.lanes(groups)?;
        self.tell_all(&lanes).map_err(|error| {
            let error = format!("a dead letter cannot be written, or no thread started: {error}");
            crate::Error::new(ErrorKind::Io, error)
        })?;
        consumer.acknowledge(last)
    }

    /// Gives the groups names, lane by lane. What became of accounts that are gone, nobody is told.
    fn lanes(&self, groups: Vec<Group>) -> crate::Result<Lanes> {
        let graph = self.graph()?;
        let mut lanes = Lanes::new();
        for group in groups {
            let event = event_of(&graph, &group);
            let told = event.as_ref().map_or(0, |(_, count)| *count);
            let dropped = (group.others.len() - told) as u64;
            self.progress.dropped.fetch_add(dropped, Ordering::Relaxed);
            if let Some((event, _)) = event {
                lanes.entry(group.follower.0 % LANES).or_default().push((group.sequence, event));
            }
        }
        Ok(lanes)
    }

    fn tell_all(&self, lanes: &Lanes) -> std::io::Result<()> {
        let tell_lane = |lane: &Vec<(u64, Event)>| {
            lane.iter().try_for_each(|(sequence, event)| self.tell(*sequence, event))
        };
        std::thread::scope(|scope| {
            // Where the system gives no thread for a lane, all of them are told once more later.
            let start =
                |lane| std::thread::Builder::new().spawn_scoped(scope, move || tell_lane(lane));
            let telling: Vec<_> = lanes.values().map(start).collect();
            let told = telling.into_iter().map(|lane| {
                let panicked = |_| Err(std::io::Error::other("a thread panicked"));
                lane.and_then(|lane| lane.join().unwrap_or_else(panicked))
            });
            // All of them are waited for before the first failure is given back.
            told.collect::<Vec<_>>().into_iter().collect()
        })
    }

    /// Tells of one event until it is taken, or given up and kept.
    fn tell(&self, sequence: u64, event: &Event) -> std::io::Result<()> {
        let retries = ExponentialBuilder::default()
            .with_min_delay(RETRY_FIRST)
            .with_max_delay(RETRY_LONGEST)
            .with_max_times(self.settings.attempts.get() as usize - 1)
            .with_jitter();
        let failed_attempt = |error: &String| {
            self.progress.failed_attempts.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(app = self.sdkappid, sequence, error, "a webhook was not taken");
        };
        let told = (|| self.send(event)).retry(retries).notify(|error, _| failed_attempt(error));
        match told.call() {
            Ok(()) => {
                self.progress.delivered.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => {
                failed_attempt(&error);
                self.keep(sequence, event, &error)?;
                self.progress.dead_letters.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
        }
    }

    fn send(&self, event: &Event) -> Result<(), String> {
        let body = serde_json::to_vec(event).expect("strings and numbers have a JSON form");
        let mut request = self
            .agent
            .post(&self.settings.url)
            .query("SdkAppid", self.sdkappid.to_string())
            .query("CallbackCommand", event.command())
            .query("contenttype", "json")
            .query("ClientIP", "")
            .query("OptPlatform", "RESTAPI")
            .content_type("application/json");
        if let Some(token) = &self.token {
            let now = unix_time().as_secs().to_string();
            request = request.query("Sign", sign(token, &now)).query("RequestTime", now);
        }
        let mut answer = request.send(&body).map_err(|error| error.to_string())?;
        let status = answer.status();
        if !status.is_success() {
            return Err(format!("it answered with status {status}"));
        }
        let text = answer.body_mut().read_to_string().map_err(|error| error.to_string())?;
        refusal(&text).map_or(Ok(()), Err)
    }

    /// Writes down an event that was given up.
    fn keep(&self, sequence: u64, event: &Event, error: &str) -> std::io::Result<()> {
        tracing::error!(app = self.sdkappid, sequence, error, "a webhook was given up");
        let failed_at = unix_time().as_secs();
        let letter = DeadLetter { sequence, failed_at, error, event };
        let mut line = serde_json::to_vec(&letter)?;
        line.push(b'\n');
        let mut file = self.dead_letters.lock();
        file.write_all(&line)?;
        file.sync_data()
    }
}

/// Checks that webhooks can be sent to a URL. The error does not repeat the URL, which may have a
/// secret in it.
pub(super) fn check_url(url: &str) -> Result<(), &'static str> {
    let uri: Uri = url.parse().map_err(|_| "it is not a URL")?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err("it has to begin with http:// or https://");
    }
    let authority = uri.authority().ok_or("it has no host")?;
    if uri.host().is_none_or(str::is_empty) {
        return Err("it has no host");
    }
    if authority.as_str().contains('@') {
        return Err("it must not have a user or a password; sign the webhooks with token");
    }
    if authority.as_str().len() > authority.host().len()
        && uri.port_u16().is_none_or(|port| port == 0)
    {
        return Err("its port is not between 1 and 65535");
    }
    if url.contains('#') {
        return Err("it must not have a fragment (#)");
    }
    Ok(())
}

fn agent(settings: &Webhooks) -> Agent {
    let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
    Agent::config_builder()
        .timeout_global(Some(Duration::from_secs_f64(settings.timeout_seconds)))
        .http_status_as_error(false)
        // A redirected POST becomes a GET without a body, whose answer says nothing of the event.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .tls_config(tls)
        .build()
        .into()
}

fn unix_time() -> Duration {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default()
}

/// As the original signs: SHA-256 of the token and the time, in hexadecimal digits.
fn sign(token: &str, request_time: &str) -> String {
    let digest = Sha256::new().chain_update(token).chain_update(request_time).finalize();
    digest.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// The changes of a commit, in their order, put together as far as one request can tell of them.
fn groups_of(commit: &Commit) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for change in &commit.changes {
        let (follower, other, followed_at) = match *change {
            Change::Followed { follower, followed, at } => (follower, followed, Some(at)),
            Change::Unfollowed { follower, followed } => (follower, followed, None),
            _ => continue,
        };
        match groups.last_mut() {
            Some(last) if last.follower == follower && last.followed_at == followed_at => {
                last.others.push(other);
            }
            _ => groups.push(Group {
                sequence: commit.sequence,
                follower,
                followed_at,
                others: vec![other],
            }),
        }
    }
    groups
}

/// The event, and of how many accounts it tells. `None` where all are gone, or the follower is.
/// Who is being removed counts as gone: of the follows that go with an account nobody is told.
fn event_of(graph: &FollowGraph, group: &Group) -> Option<(Event, usize)> {
    let name = |id: AccountId| graph.account_name(id).ok().filter(|_| !graph.is_leaving(id));
    let from = name(group.follower)?;
    let others: Vec<String> = group.others.iter().filter_map(|other| name(*other)).collect();
    let count = others.len();
    let event = match group.followed_at {
        Some(at) => Event::Followed {
            command: "Follow.CallbackAfterFollowAdd",
            from,
            followed: others.into_iter().map(|to| Followed { to }).collect(),
            at_milliseconds: u64::from(at) * 1000,
        },
        None => Event::Unfollowed {
            command: "Follow.CallbackAfterFollowDelete",
            from,
            unfollowed: others,
            at_milliseconds: unix_time().as_millis() as u64,
        },
    };
    (count > 0).then_some((event, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_code_but_zero_is_a_refusal_whatever_stands_beside_it() {
        let zeros = [r#"{"ErrorCode":0.0,"ErrorInfo":null}"#, r#"{"ErrorCode":"0"}"#];
        let silent = ["", "taken", "{}", "[1]", r#"{"ErrorCode":0}"#, r#"{"ErrorCode":null}"#];
        for taken in silent.iter().chain(&zeros) {
            assert_eq!(refusal(taken), None, "{taken}");
        }
        for code in ["1", "1.0", "-1", "\"7\"", "\"x\"", "true", "{}"] {
            let answer = format!(r#"{{"ErrorCode":{code},"ErrorInfo":null}}"#);
            assert!(refusal(&answer).is_some(), "{answer}");
        }
    }

    #[test]
    fn a_signature_is_the_digest_of_token_and_time() {
        // printf 'secret1700000000' | sha256sum
        let expected = "a09abffb61e9ed1074de76ba1133a9900ffb7cccde778fb92b31afb76f5390ff";
        assert_eq!(sign("secret", "1700000000"), expected);
    }

    #[test]
    fn a_commit_is_told_in_as_few_requests_as_its_order_allows() {
        let ids = [0, 1, 2, 3].map(AccountId);
        let follow = |from: usize, to: usize, at| Change::Followed {
            follower: ids[from],
            followed: ids[to],
            at,
        };
        let unfollow =
            |from: usize, to: usize| Change::Unfollowed { follower: ids[from], followed: ids[to] };
        let changes = vec![
            follow(0, 1, 5),
            follow(0, 2, 5),
            unfollow(0, 1),
            follow(0, 3, 5),
            follow(1, 3, 5),
            follow(1, 2, 6),
        ];
        let groups = groups_of(&Commit { sequence: 9, source_position: None, changes });
        let shape: Vec<(u32, bool, usize)> = groups
            .iter()
            .map(|group| (group.follower.0, group.followed_at.is_some(), group.others.len()))
            .collect();
        assert_eq!(shape, [(0, true, 2), (0, false, 1), (0, true, 1), (1, true, 1), (1, true, 1)]);
    }

    #[test]
    fn of_accounts_that_are_gone_nobody_is_told() {
        let graph = crate::Options::new().create_missing_accounts(true).in_memory().unwrap();
        graph.follow("a", "b").unwrap();
        graph.follow("a", "c").unwrap();
        let [a, b, c] = ["a", "b", "c"].map(|name| graph.account_id(name).unwrap());
        let group = Group { sequence: 1, follower: a, followed_at: Some(7), others: vec![b, c] };
        let (event, count) = event_of(&graph, &group).unwrap();
        assert_eq!(count, 2);
        assert_eq!(
            serde_json::to_string(&event).unwrap(),
            concat!(
                r#"{"CallbackCommand":"Follow.CallbackAfterFollowAdd","From_Account":"a","#,
                r#""FollowList":[{"To_Account":"b"},{"To_Account":"c"}],"EventTime":7000}"#
            )
        );
        graph.remove_account("b").unwrap();
        assert_eq!(event_of(&graph, &group).unwrap().1, 1);
        graph.remove_account("c").unwrap();
        assert!(event_of(&graph, &group).is_none());
    }

    #[cfg(feature = "testing")]
    #[test]
    fn of_follows_that_go_with_an_account_nobody_is_told() {
        let options = crate::Options::new().create_missing_accounts(true).removal_slice(1);
        let graph = options.in_memory().unwrap();
        for follower in ["a", "b"] {
            graph.follow(follower, "star").unwrap();
        }
        let [a, b, star] = ["a", "b", "star"].map(|name| graph.account_id(name).unwrap());
        let unfollow =
            |follower, others| Group { sequence: 1, follower, followed_at: None, others };
        assert_eq!(event_of(&graph, &unfollow(a, vec![star, b])).unwrap().1, 2);
        crate::engine::tests::removal::begin(&graph, "star");
        assert_eq!(event_of(&graph, &unfollow(a, vec![star, b])).unwrap().1, 1);
        assert!(event_of(&graph, &unfollow(b, vec![star])).is_none());
        assert!(event_of(&graph, &unfollow(star, vec![a])).is_none());
    }

    #[test]
    fn a_removal_sends_no_unfollow_however_many_follows_go_with_it() {
        for removal_slice in [1, 256] {
            let options = crate::Options::new().create_missing_accounts(true);
            let graph = options.removal_slice(removal_slice).in_memory().unwrap();
            for (follower, followed) in [("a", "star"), ("b", "star"), ("star", "a"), ("a", "b")] {
                graph.follow(follower, followed).unwrap();
            }
            let mut changes = graph.changes(graph.stats().sequence).unwrap();
            graph.unfollow("a", "b").unwrap();
            graph.remove_account("star").unwrap();
            // Another account of that name followed nobody, and nobody unfollowed it.
            graph.add_account("star").unwrap();
            graph.sync().unwrap();
            let (mut told, mut group_count) = (Vec::new(), 0);
            while let Some(commit) = changes.next(Duration::ZERO).unwrap() {
                let groups = groups_of(&commit);
                group_count += groups.len();
                told.extend(groups.iter().filter_map(|group| event_of(&graph, group)));
            }
            assert!(group_count > 1, "the follows of the removed account are in the feed");
            let told =
                serde_json::to_value(told.into_iter().map(|told| told.0).collect::<Vec<_>>());
            let told = told.unwrap();
            assert_eq!(told.as_array().map(Vec::len), Some(1), "slice {removal_slice}: {told}");
            assert_eq!(told[0]["To_Account"], serde_json::json!(["b"]));
        }
    }
}
