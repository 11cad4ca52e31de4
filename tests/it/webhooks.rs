//! Webhooks of a real server process, and a receiver that takes them, fails or hangs.

use crate::served::{Client, Place, Running, write_secret};
use rustix::process::Signal;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);
const TOKEN: &str = "the token of the webhooks";

/// What was received.
#[derive(Clone, Debug)]
struct Received {
    target: String,
    body: Value,
}

/// What a receiver does with a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Take,
    /// Answers with a status.
    Fail(u16),
    /// Answers with a status and sends the client to `/elsewhere`, where everything gets 200.
    Redirect(u16),
    /// Answers with status 200 and an `ErrorCode`.
    Refuse,
    /// Does not answer.
    Hang,
}

/// A receiver on loopback. What it does can be changed while it runs.
struct Receiver {
    address: SocketAddr,
    taken: Arc<Mutex<Vec<Received>>>,
    manner: Arc<Mutex<Manner>>,
}

impl Receiver {
    fn new(manner: Manner) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let receiver = Receiver {
            address: listener.local_addr().unwrap(),
            taken: Arc::default(),
            manner: Arc::new(Mutex::new(manner)),
        };
        let (taken, manner) = (receiver.taken.clone(), receiver.manner.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (taken, manner) = (taken.clone(), manner.clone());
                std::thread::spawn(move || while receive(&stream, &taken, &manner).is_some() {});
            }
        });
        receiver
    }

    fn behave(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    fn taken(&self) -> Vec<Received> {
        self.taken.lock().unwrap().clone()
    }

    #[track_caller]
    fn wait_for(&self, count: usize) -> Vec<Received> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let taken = self.taken();
            if taken.len() >= count {
                return taken;
            }
            assert!(Instant::now() < deadline, "{} of {count} came: {taken:?}", taken.len());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn settings(&self, more: &str) -> String {
        format!(
            "[app.webhooks]\nurl = \"http://{}/hook\"\ndead_letter_file = \"dead.jsonl\"\n{more}\n",
            self.address
        )
    }
}

/// Reads one request and answers it; `None` at the end of the connection.
fn receive(stream: &TcpStream, taken: &Mutex<Vec<Received>>, manner: &Mutex<Manner>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
    let target = line.split(' ').nth(1)?.to_owned();
    let mut length = 0;
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    if target.starts_with("/elsewhere") {
        let body = Value::String("elsewhere".to_owned());
        taken.lock().unwrap().push(Received { target, body });
        let mut stream = stream;
        return write!(stream, "HTTP/1.1 200 x\r\nContent-Length: 0\r\n\r\n").ok();
    }
    let body = serde_json::from_slice(&body).ok()?;
    let manner = *manner.lock().unwrap();
    let mut location = "";
    let (status, answer) = match manner {
        Manner::Take => (200, r#"{"ActionStatus":"OK","ErrorCode":0,"ErrorInfo":""}"#),
        Manner::Fail(status) => (status, ""),
        Manner::Redirect(status) => {
            location = "Location: /elsewhere\r\n";
            (status, "")
        }
        Manner::Refuse => (200, r#"{"ActionStatus":"FAIL","ErrorCode":7,"ErrorInfo":"no"}"#),
        Manner::Hang => {
            std::thread::sleep(PATIENCE);
            return None;
        }
    };
    if manner == Manner::Take {
        taken.lock().unwrap().push(Received { target, body });
    }
    let length = answer.len();
    let mut stream = stream;
    write!(stream, "HTTP/1.1 {status} x\r\n{location}Content-Length: {length}\r\n\r\n{answer}").ok()
}

fn follow(client: &Client, from: &str, others: &[&str]) {
    let items: Vec<Value> = others.iter().map(|to| json!({ "To_Account": to })).collect();
    let body = json!({ "From_Account": from, "FollowItem": items }).to_string();
    assert_eq!(client.code("follow_add", &body), 0);
}

fn unfollow(client: &Client, from: &str, others: &[&str]) {
    let body = json!({ "From_Account": from, "To_Account": others }).to_string();
    assert_eq!(client.code("follow_delete", &body), 0);
}

/// The value of a line of the metrics.
fn metric(server: &Running, line_start: &str) -> u64 {
    let metrics = server.get("/metrics").1;
    let line = metrics.lines().find(|line| line.starts_with(line_start));
    let line = line.unwrap_or_else(|| panic!("{line_start} is not in:\n{metrics}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

fn outcome(name: &str) -> String {
    format!("followgraph_webhooks_total{{sdkappid=\"1400000000\",outcome=\"{name}\"}}")
}

#[test]
fn follows_and_unfollows_that_succeeded_are_told_of() {
    let receiver = Receiver::new(Manner::Take);
    let place = Place::new();
    write_secret(&place.path().join("token"), TOKEN);
    let server = place.start("", &receiver.settings("token = { file = \"token\" }"));
    let client = server.client();
    client.import(&["a", "b", "c"]);
    follow(&client, "a", &["b", "nobody", "a", "c"]);
    unfollow(&client, "a", &["c"]);
    follow(&client, "a", &["b"]);
    follow(&client, "b", &["a"]);
    let taken = receiver.wait_for(3);
    assert_eq!(taken.len(), 3, "what changes nothing is not told: {taken:?}");
    let of_a: Vec<&Received> = taken.iter().filter(|one| one.body["From_Account"] == "a").collect();
    let [followed, unfollowed] = of_a[..] else { panic!("{taken:?}") };
    assert_eq!(followed.body["CallbackCommand"], "Follow.CallbackAfterFollowAdd");
    assert_eq!(followed.body["FollowList"], json!([{"To_Account": "b"}, {"To_Account": "c"}]));
    assert_eq!(unfollowed.body["CallbackCommand"], "Follow.CallbackAfterFollowDelete");
    assert_eq!(unfollowed.body["To_Account"], json!(["c"]));
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64;
    for one in &taken {
        let at = one.body["EventTime"].as_u64().unwrap();
        assert!(at <= now && at > now - 60_000, "{at} is in milliseconds, and {now} is now");
        let value = |name: &str| {
            let query = one.target.split_once('?').unwrap().1;
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(known, _)| *known == name).unwrap().1.to_owned()
        };
        assert!(one.target.starts_with("/hook?"));
        assert_eq!(value("SdkAppid"), "1400000000");
        assert_eq!(value("CallbackCommand"), one.body["CallbackCommand"].as_str().unwrap());
        assert_eq!(value("contenttype"), "json");
        assert_eq!(value("OptPlatform"), "RESTAPI");
        let signed = Sha256::new().chain_update(TOKEN).chain_update(value("RequestTime"));
        let digits = signed.finalize();
        let digits = digits.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        assert_eq!(value("Sign"), digits);
    }
    assert!(!server.log().contains(TOKEN));
}

#[test]
fn what_is_not_taken_is_tried_again_and_stays_in_order() {
    let receiver = Receiver::new(Manner::Fail(500));
    let place = Place::new();
    let server = place.start("", &receiver.settings("attempts = 1000\ntimeout_seconds = 0.3"));
    let client = server.client();
    client.import(&["a", "b", "c", "d", "e", "f", "g"]);
    for to in ["b", "c", "d"] {
        follow(&client, "a", &[to]);
        follow(&client, to, &["a"]);
    }
    for manner in [Manner::Refuse, Manner::Hang, Manner::Fail(302), Manner::Take] {
        std::thread::sleep(Duration::from_millis(250));
        assert!(receiver.taken().is_empty());
        assert!(metric(&server, "followgraph_webhooks_behind") > 0);
        receiver.behave(manner);
    }
    let taken = receiver.wait_for(6);
    let of_a: Vec<&Value> = taken
        .iter()
        .filter(|one| one.body["From_Account"] == "a")
        .map(|one| &one.body["FollowList"][0]["To_Account"])
        .collect();
    assert_eq!(of_a, ["b", "c", "d"]);
    let deadline = Instant::now() + PATIENCE;
    while metric(&server, "followgraph_webhooks_behind") > 0 {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(metric(&server, &outcome("failed_attempt")) >= 2);
    assert_eq!(metric(&server, &outcome("delivered")), 6);
}

#[test]
fn what_is_given_up_is_kept() {
    let receiver = Receiver::new(Manner::Refuse);
    let place = Place::new();
    let server = place.start("", &receiver.settings("attempts = 2"));
    let client = server.client();
    client.import(&["a", "b", "c"]);
    follow(&client, "a", &["b"]);
    let file = place.path().join("dead.jsonl");
    let deadline = Instant::now() + PATIENCE;
    let line = loop {
        let text = std::fs::read_to_string(&file).unwrap();
        if let Some((line, _)) = text.split_once('\n') {
            break line.to_owned();
        }
        assert!(Instant::now() < deadline, "{}", server.log());
        std::thread::sleep(Duration::from_millis(10));
    };
    let letter: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(letter["event"]["FollowList"], json!([{"To_Account": "b"}]));
    assert_eq!(letter["error"], "it answered with ErrorCode 7: no");
    receiver.behave(Manner::Take);
    follow(&client, "a", &["c"]);
    let taken = receiver.wait_for(1);
    assert_eq!(taken[0].body["FollowList"], json!([{"To_Account": "c"}]), "and the next are told");
    assert_eq!(metric(&server, &outcome("dead_letter")), 1);
}

#[test]
fn a_redirect_is_a_failed_attempt_and_is_not_followed() {
    let receiver = Receiver::new(Manner::Redirect(301));
    let place = Place::new();
    let server = place.start("", &receiver.settings("attempts = 2"));
    let client = server.client();
    client.import(&["a", "b", "c", "d", "e", "f"]);
    for (place, status) in [301, 302, 303, 307, 308].into_iter().enumerate() {
        receiver.behave(Manner::Redirect(status));
        follow(&client, "a", &[["b", "c", "d", "e", "f"][place]]);
        let deadline = Instant::now() + PATIENCE;
        while metric(&server, &outcome("dead_letter")) <= place as u64 {
            assert!(Instant::now() < deadline, "{status}: {:?}", receiver.taken());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    assert!(receiver.taken().is_empty(), "{:?}", receiver.taken());
    assert_eq!(metric(&server, &outcome("delivered")), 0);
    assert_eq!(metric(&server, &outcome("failed_attempt")), 10, "each was tried twice");
    let letters = std::fs::read_to_string(place.path().join("dead.jsonl")).unwrap();
    for status in ["301", "302", "303", "307", "308"] {
        assert!(letters.contains(&format!("status {status}")), "{status}: {letters}");
    }
}

#[test]
fn a_url_that_no_webhook_can_be_sent_to_is_refused_at_start() {
    let place = Place::new();
    std::fs::write(place.path().join("key"), "secret").unwrap();
    for url in [
        "",
        "hook",
        "/hook",
        "localhost:80",
        "ftp://example.com/",
        "file:///etc/passwd",
        "http://",
        "https:///hook",
        "http://user:hunter2@example.com/",
        "http://example.com/#top",
        "http://exa mple.com/",
        "http://example.com:99999/",
        "http://example.com/a b",
    ] {
        let text = format!(
            "http = \"127.0.0.1:0\"\n[[app]]\nsdkappid = 1\ngraph = \"g\"\n\
             keys = [{{ file = \"key\" }}]\n[app.webhooks]\nurl = \"{url}\"\n\
             dead_letter_file = \"dead\"\n"
        );
        let file = place.path().join("bad.toml");
        std::fs::write(&file, text).unwrap();
        let error = followgraph::server::Config::from_file(&file).expect_err(url).to_string();
        assert!(error.contains("bad.toml:"), "{url}: {error}");
        assert!(error.contains("webhooks: url"), "{url}: {error}");
        assert!(!error.contains("hunter2"), "a password is not repeated: {error}");
    }
}

#[test]
fn what_can_neither_be_told_nor_kept_is_not_lost() {
    let receiver = Receiver::new(Manner::Refuse);
    let place = Place::new();
    let settings = receiver.settings("attempts = 1").replace("dead.jsonl", "/dev/full");
    let server = place.start("", &settings);
    let client = server.client();
    client.import(&["a", "b", "c"]);
    follow(&client, "a", &["b"]);
    let deadline = Instant::now() + PATIENCE;
    while !server.log().contains("a dead letter cannot be written") {
        assert!(Instant::now() < deadline, "{}", server.log());
        std::thread::sleep(Duration::from_millis(10));
    }
    receiver.behave(Manner::Take);
    follow(&client, "a", &["c"]);
    let told: Vec<Value> =
        receiver.wait_for(2).iter().map(|one| one.body["FollowList"].clone()).collect();
    assert_eq!(told, [json!([{"To_Account": "b"}]), json!([{"To_Account": "c"}])]);
}

#[test]
fn a_receiver_that_hangs_slows_nobody_and_a_killed_server_tells_all_of_it_later() {
    const FOLLOWERS: usize = 20;
    const ROUNDS: usize = 5;
    let receiver = Receiver::new(Manner::Hang);
    let place = Place::new();
    let settings = receiver.settings("attempts = 1000000\ntimeout_seconds = 0.5");
    let mut server = place.start("", &settings);
    let names: Vec<String> = (0..FOLLOWERS).map(|number| format!("user{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let stars: Vec<String> = (0..ROUNDS).map(|round| format!("star{round}")).collect();
    server.client().import(&names);
    server.client().import(&stars.iter().map(String::as_str).collect::<Vec<_>>());
    for (round, star) in stars.iter().enumerate() {
        let client = server.client();
        for name in &names {
            let started = Instant::now();
            follow(&client, name, &[star]);
            unfollow(&client, name, &[star]);
            assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
        }
        // Killed with requests under way: before any was taken, and between them.
        server.signal(Signal::KILL);
        server.wait(PATIENCE);
        receiver.behave(if round % 2 == 0 { Manner::Take } else { Manner::Hang });
        server = place.start("", &settings);
    }
    receiver.behave(Manner::Take);
    receiver.wait_for(2 * FOLLOWERS * ROUNDS);
    let deadline = Instant::now() + PATIENCE;
    while metric(&server, "followgraph_webhooks_behind") > 0 {
        assert!(Instant::now() < deadline, "{}", server.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    let expected: Vec<(String, bool)> =
        stars.iter().flat_map(|star| [(star.clone(), true), (star.clone(), false)]).collect();
    let taken = receiver.taken();
    for name in names {
        // The last ones before a kill may come twice; what comes first decides the order.
        let mut told: Vec<(String, bool)> = Vec::new();
        for one in taken.iter().filter(|one| one.body["From_Account"] == name) {
            let followed = &one.body["FollowList"][0]["To_Account"];
            let is_follow = !followed.is_null();
            let star = if is_follow { followed } else { &one.body["To_Account"][0] };
            let event = (star.as_str().unwrap().to_owned(), is_follow);
            if !told.contains(&event) {
                told.push(event);
            }
        }
        assert_eq!(told, expected, "{name}");
    }
}
