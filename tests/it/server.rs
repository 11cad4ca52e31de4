//! `followgraph serve`, as a process of its own: over HTTP and HTTPS, and what it says of itself.

use crate::served::{APP, Client, KEY, Place, Running, path_of, program, query_of, write_secret};
use crate::support::{HandClock, Mount};
use followgraph::Options;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const INFO: &str =
    r#"{"From_Account":"UserID_001","To_Account":["UserID_001","UserID_002","UserID_003"]}"#;
const ADD: &str = concat!(
    r#"{"From_Account":"UserID_001","#,
    r#""FollowItem":[{"To_Account":"UserID_002"},{"To_Account":"UserID_003"}]}"#
);
const ENDS: Duration = Duration::from_secs(20);

/// The three counts of each account of an answer.
fn counts(answer: &Value) -> Vec<[u64; 3]> {
    let items = answer["FollowInfo"].as_array().unwrap();
    let count = |item: &Value, field: &str| item[field].as_u64().unwrap();
    let fields = ["FollowerCount", "FollowingCount", "MutualFollowingCount"];
    items.iter().map(|item| fields.map(|field| count(item, field))).collect()
}

fn follow_the_sample(client: &Client) {
    client.import(&["UserID_001", "UserID_002", "UserID_003"]);
    let added = client.ask("follow_add", ADD);
    assert_eq!(
        added["ResultItem"][1],
        json!({"To_Account": "UserID_003", "ResultCode": 0, "ResultInfo": ""})
    );
    let info = client.ask("follow_get_info", INFO);
    assert_eq!(counts(&info), [[0, 2, 0], [1, 0, 0], [1, 0, 0]]);
}

#[test]
fn the_sample_over_http_and_again_after_a_restart() {
    let place = Place::new();
    let mut server = place.start("", "");
    follow_the_sample(&server.client());
    server.signal(Signal::TERM);
    assert!(server.wait(ENDS).success());
    let server = place.start("", "");
    let info = server.client().ask("follow_get_info", INFO);
    assert_eq!(counts(&info), [[0, 2, 0], [1, 0, 0], [1, 0, 0]]);
}

#[test]
fn the_sample_over_https() {
    let place = Place::new().with_certificate();
    let server = place.start_https("", "");
    follow_the_sample(&server.https_client(&place));
    assert_eq!(counts(&server.client().ask("follow_get_info", INFO))[0], [0, 2, 0]);
}

/// Runs curl with HTTP/2 and gives back the version it spoke, and the body.
fn curl(args: &[&str], url: &str, body: &str) -> (String, Value) {
    let mut command = Command::new("curl");
    command.args(["-s", "-m", "20", "-w", "\n%{http_version}", "-d", body]).args(args).arg(url);
    let output = command.output().expect("curl is installed");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, version) = text.rsplit_once('\n').unwrap();
    (version.to_owned(), serde_json::from_str(body).unwrap())
}

#[test]
fn http_2_is_spoken_with_and_without_tls() {
    let place = Place::new().with_certificate();
    let server = place.start_https("", "");
    follow_the_sample(&server.client());
    let clear = server.client().url("follow_get_info");
    let (version, answer) = curl(&["--http2-prior-knowledge"], &clear, INFO);
    assert_eq!((version.as_str(), counts(&answer)[0]), ("2", [0, 2, 0]));
    let certificate = place.path().join("certificate.pem");
    let certificate = ["--http2", "--cacert", certificate.to_str().unwrap()];
    let secret = server.https_client(&place).url("follow_get_info");
    let (version, answer) = curl(&certificate, &secret, INFO);
    assert_eq!((version.as_str(), counts(&answer)[1]), ("2", [1, 0, 0]));
}

#[test]
fn one_connection_answers_many_requests() {
    let place = Place::new();
    let server = place.start("", "");
    follow_the_sample(&server.client());
    let mut stream = server.connect();
    let url = format!("{}?{}", path_of("follow_get_info"), query_of("administrator", KEY));
    for round in 0..50 {
        let length = INFO.len();
        let head = format!("POST {url} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(INFO.as_bytes()).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\"ErrorDisplay\":\"\"}") {
            let mut buffer = [0; 4096];
            let count = stream.read(&mut buffer).unwrap();
            assert_ne!(count, 0, "closed in round {round}");
            answer.extend_from_slice(&buffer[..count]);
        }
        assert!(String::from_utf8(answer).unwrap().starts_with("HTTP/1.1 200 OK\r\n"));
    }
}

/// Sends head and body apart, as many clients do, and gives back the answer.
fn ask_in_two_parts(stream: &mut TcpStream, url: &str, body: &str) -> String {
    let length = body.len();
    write!(stream, "POST {url} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n").unwrap();
    std::thread::sleep(Duration::from_millis(100));
    // Whoever was told that the connection ends may find it closed.
    let _ = stream.write_all(body.as_bytes());
    let mut answer = vec![0; 4096];
    let count = stream.read(&mut answer).unwrap();
    String::from_utf8(answer[..count].to_vec()).unwrap()
}

#[test]
fn a_refusal_before_the_body_has_come_leaves_the_connection_or_says_that_it_ends() {
    let place = Place::new();
    let server = place.start("[limits]\nbody_bytes = 1000", "");
    let mut stream = server.connect();
    for _ in 0..3 {
        let refused = ask_in_two_parts(&mut stream, &path_of("follow_get_info"), INFO);
        assert!(refused.contains("60012") && !refused.contains("connection: close"), "{refused}");
    }
    let url = format!("{}?{}", path_of("account_check"), query_of("administrator", KEY));
    let answer = ask_in_two_parts(&mut stream, &url, r#"{"CheckItem":[{"UserID":"a"}]}"#);
    assert!(answer.contains(r#""ActionStatus":"OK""#), "{answer}");
    for url in [path_of("follow_get_info"), url] {
        let mut stream = server.connect();
        let refused = ask_in_two_parts(&mut stream, &url, &" ".repeat(1001));
        assert!(refused.contains("FAIL") && refused.contains("connection: close"), "{refused}");
    }
}

#[test]
fn what_published_clients_send_is_taken() {
    let place = Place::new();
    let server = place.start("", "");
    follow_the_sample(&server.client());
    let query = query_of("administrator", KEY);
    let body = r#"{"CheckItem":[{"UserID":"UserID_001"}]}"#;
    for (method, header, query) in [
        ("POST", "", query.clone()),
        ("POST", "Content-Type: text/plain;charset=UTF-8\r\n", query.clone()),
        ("POST", "Content-Type: application/x-www-form-urlencoded\r\n", query.replace('*', "%2A")),
        // Plain base64. Nothing else in the query has these characters.
        (
            "GET",
            "Content-Type: application/json\r\n",
            query.replace('*', "+").replace('-', "/").replace('_', "="),
        ),
    ] {
        let path = path_of("account_check");
        let head = format!("{method} {path}?{query} HTTP/1.1\r\nHost: x\r\n{header}");
        let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
        let answer = server.raw(request.as_bytes());
        assert!(answer.contains(r#""AccountStatus":"Imported""#), "{method} {header}{answer}");
        assert!(answer.contains("access-control-allow-origin: *"), "{answer}");
    }
}

#[test]
fn each_code_of_the_transport_can_be_had() {
    let place = Place::new();
    let server = place.start("[limits]\nbody_bytes = 1000\nrequest_seconds = 0.5", "");
    let client = server.client();
    client.import(&["UserID_001"]);
    let url = format!("{}?{}", path_of("follow_get_info"), client.query);
    let chunk = format!("3e9\r\n{}\r\n0\r\n\r\n", " ".repeat(1001));
    for (request, code, words) in [
        (format!("GET {url} HTTP/1.1\r\nHost: x\r\n\r\n"), 60002, "the method is POST"),
        (format!("PUT {url} HTTP/1.1\r\nHost: x\r\n\r\n"), 60002, "the method is POST"),
        ("GET /v4 HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 60002, "the method is POST"),
        ("POST /v4/follow/nothing HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 60009, "no such"),
        (format!("POST {url} HTTP/1.1\r\nHost: x\r\n\r\n"), 60003, "not a JSON object"),
        (
            format!("POST {url} HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n"),
            60002,
            "1000 bytes",
        ),
        (
            format!("POST {url} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}"),
            60002,
            "1000 bytes",
        ),
        (
            format!("POST {url} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{{"),
            60002,
            "cannot be read",
        ),
    ] {
        let answer = server.raw(request.as_bytes());
        let expected = format!(r#"{{"ActionStatus":"FAIL","ErrorCode":{code},"#);
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{request}\n{answer}");
        assert!(answer.contains(&expected) && answer.contains(words), "{request}\n{answer}");
    }
    // A body that begins and does not go on.
    let mut stream = server.connect();
    write!(stream, "POST {url} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{{").unwrap();
    let mut answer = [0; 4096];
    let count = stream.read(&mut answer).unwrap();
    assert!(String::from_utf8_lossy(&answer[..count]).contains(r#""ErrorCode":60008,"#));
}

#[test]
fn too_many_calls_a_second_are_refused_and_others_answered() {
    let place = Place::new();
    let server = place.start("", "calls_per_second = 5");
    let client = server.client();
    client.import(&["UserID_001"]);
    let body = r#"{"From_Account":"UserID_001","To_Account":["UserID_001"]}"#;
    let codes: Vec<u64> = (0..40).map(|_| client.code("follow_get_info", body)).collect();
    assert_eq!(codes[..5], [0; 5]);
    assert!(codes.contains(&60007), "{codes:?}");
    assert_eq!(client.code("follow_check", body), 0, "each command has its own");
    // Strangers use up nothing.
    let stranger = Client { query: query_of("administrator", "another key"), ..server.client() };
    for _ in 0..20 {
        assert_eq!(stranger.code("account_check", r#"{"CheckItem":[{"UserID":"a"}]}"#), 70009);
    }
    assert_eq!(client.code("account_check", r#"{"CheckItem":[{"UserID":"a"}]}"#), 0);
}

#[test]
fn an_address_that_is_not_on_the_list_is_refused() {
    let place = Place::new();
    let server = place.start("", "allow = [\"10.0.0.0/8\"]");
    assert_eq!(server.client().code("account_check", r#"{"CheckItem":[{"UserID":"a"}]}"#), 60021);
    drop(server);
    let server = place.start("", "allow = [\"10.0.0.0/8\", \"127.0.0.0/8\"]");
    assert_eq!(server.client().code("account_check", r#"{"CheckItem":[{"UserID":"a"}]}"#), 0);
}

#[test]
fn an_app_has_its_own_graph_limits_and_admins() {
    let place = Place::new();
    write_secret(&place.path().join("key2"), "the second key");
    let server = place.start(
        "",
        "max_following = 1\nmax_followers = 2\nmax_mutual = 1\nadmins = [\"root\"]\n\
         [[app]]\nsdkappid = 7\ngraph = \"graph7\"\nkeys = [{ file = \"key2\" }]\nfollow = false\n",
    );
    let stranger = server.client();
    assert_eq!(stranger.code("account_check", r#"{"CheckItem":[{"UserID":"a"}]}"#), 60010);
    let client = Client { query: query_of("root", KEY), ..server.client() };
    client.import(&["a", "b", "c", "d", "e"]);
    let add = |from: &str, to: &str| {
        let body = json!({"From_Account": from, "FollowItem": [{"To_Account": to}]}).to_string();
        client.ask("follow_add", &body)["ResultItem"][0]["ResultCode"].as_u64().unwrap()
    };
    assert_eq!([add("a", "b"), add("a", "c"), add("c", "b"), add("d", "b")], [0, 32100, 0, 32101]);
    assert_eq!(add("b", "a"), 0, "the one mutual follow that b may have");
    assert_eq!(add("e", "e"), 30001);
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let key = followgraph::wire::usersig::Key::new("the second key");
    let ticket = followgraph::wire::usersig::generate(&key, 7, "administrator", now, 60).unwrap();
    let query = format!("sdkappid=7&identifier=administrator&usersig={ticket}");
    let second = Client { query, ..server.client() };
    assert_eq!(second.code("follow_get_info", INFO), 30005, "it is switched off there");
    let checked = second.ask("account_check", r#"{"CheckItem":[{"UserID":"a"}]}"#);
    assert_eq!(checked["ResultItem"][0]["AccountStatus"], "NotImported");
}

#[test]
fn requests_under_way_are_finished_when_it_stops() {
    let place = Place::new().with_certificate();
    let mut server = place.start_https("[limits]\nshutdown_seconds = 60.0", "");
    let client = server.client();
    client.import(&["UserID_001"]);
    let idle = server.connect();
    let handshake = TcpStream::connect(server.https.unwrap()).unwrap();
    let mut stream = server.connect();
    let url = format!("{}?{}", path_of("follow_get_info"), client.query);
    let length = INFO.len();
    write!(stream, "POST {url} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n").unwrap();
    std::thread::sleep(Duration::from_millis(300));
    server.signal(Signal::TERM);
    std::thread::sleep(Duration::from_millis(300));
    stream.write_all(INFO.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains(r#""ActionStatus":"OK""#), "{answer}");
    assert!(server.wait(ENDS).success());
    for mut silent in [idle, handshake] {
        let read = silent.read(&mut [0; 8]).unwrap_or(0);
        assert_eq!(read, 0, "who asks nothing is not waited for");
    }
}

#[test]
fn a_configuration_that_cannot_be_is_refused_with_its_line() {
    let place = Place::new();
    let check = |config: std::path::PathBuf, words: &[&str]| {
        let output = program().args(["serve", "--config"]).arg(config).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        for word in words {
            assert!(said.contains(word), "{word} is not in: {said}");
        }
        assert!(!said.contains(KEY));
    };
    check(place.path().join("absent.toml"), &["absent.toml", "cannot read"]);
    check(place.configure("color = 1", ""), &["server.toml:2:", "color"]);
    check(place.configure("", "keys = []"), &["server.toml:7:", "duplicate key"]);
    let https = "[https]\nlisten = \"127.0.0.1:0\"\ncertificate_file = \"key\"\nkey_file = \"key\"";
    check(place.configure(https, ""), &["certificate", "key"]);
    std::fs::remove_file(place.path().join("key")).unwrap();
    check(place.configure("", ""), &["cannot read the key file"]);
    write_secret(&place.path().join("key"), KEY);
    std::fs::create_dir(place.path().join("graph")).unwrap();
    std::fs::write(place.path().join("graph/letter"), "not a graph").unwrap();
    check(place.configure("", ""), &["cannot open the graph in"]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("observe = \"{}\"", taken.local_addr().unwrap());
    check(place.configure(&taken, ""), &["cannot listen on"]);
}

/// A place whose graph has a follow of this time by the clock.
fn place_of_time(seconds: u32) -> Place {
    let place = Place::new();
    let options = Options::new().create_missing_accounts(true);
    let clock = HandClock::at(seconds).clock();
    let graph = options.clock(clock).reset_clock(true).open(place.path().join("graph")).unwrap();
    graph.follow("alice", "bob").unwrap();
    graph.close().unwrap();
    place
}

#[test]
fn a_wrong_clock_is_said_where_readiness_is_asked_for_and_in_the_log() {
    for (seconds, status, word) in [(1_000_000_000, 503, "ahead"), (u32::MAX - 9, 200, "behind")] {
        let place = place_of_time(seconds);
        let server = place.start("", "");
        let (found, said) = server.get("/readyz");
        assert_eq!(found, status, "{said}");
        assert!(said.contains(word) && said.contains("app 1400000000"), "{said}");
        let deadline = Instant::now() + ENDS;
        while !server.log().lines().any(|line| line.contains("ERROR") && line.contains(word)) {
            assert!(Instant::now() < deadline, "nothing in the log: {}", server.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let place = Place::new();
    assert_eq!(place.start("", "").get("/readyz"), (200, "ready\n".to_owned()));
}

#[test]
fn it_says_how_it_is() {
    let place = Place::new();
    let server = place.start("observe = \"127.0.0.1:0\"", "");
    follow_the_sample(&server.client());
    server.client().code("follow_get", "{");
    for path in ["/metrics", "/healthz", "/readyz"] {
        assert_eq!(server.get(path).0, 404, "{path} is not for clients");
    }
    let observe = |path: &str| {
        let mut answer =
            ureq::get(format!("http://{}{path}", server.observe.unwrap())).call().unwrap();
        answer.body_mut().read_to_string().unwrap()
    };
    assert_eq!(observe("/healthz"), "alive\n");
    assert_eq!(observe("/readyz"), "ready\n");
    let metrics = observe("/metrics");
    for line in [
        "followgraph_request_seconds_count{command=\"follow_add\",code=\"0\"} 1",
        "followgraph_request_seconds_count{command=\"follow_get\",code=\"60003\"} 1",
        "followgraph_accounts{sdkappid=\"1400000000\"} 3",
        "followgraph_follows{sdkappid=\"1400000000\"} 2",
        "followgraph_latched{sdkappid=\"1400000000\"} 0",
        "# TYPE followgraph_syncs counter",
        "# TYPE followgraph_request_seconds histogram",
        "# EOF",
    ] {
        assert!(metrics.contains(line), "{line} is not in:\n{metrics}");
    }
    let value = |name: &str| -> f64 {
        let line = metrics.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().last().unwrap().parse().unwrap()
    };
    assert!(value("followgraph_syncs_total") >= 2.0);
    assert!(value("followgraph_sync_seconds_total") > 0.0);
    assert!(value("followgraph_log_bytes") > 0.0 && value("followgraph_image_bytes") > 0.0);
}

#[test]
fn a_server_whose_graph_was_moved_goes_on_in_its_directory_and_says_so() {
    let place = Place::new();
    let mut server = place.start("observe = \"127.0.0.1:0\"", "segment_bytes = 65536");
    let (graph, aside) = (place.path().join("graph"), place.path().join("aside"));
    let segment = graph.join("log-0000000000000001.fgl");
    assert_eq!(std::fs::metadata(segment).unwrap().len(), 65536);
    std::fs::rename(&graph, &aside).unwrap();
    follow_the_sample(&server.client());
    let observe = |path: &str| {
        let url = format!("http://{}{path}", server.observe.unwrap());
        ureq::get(url).call().unwrap().body_mut().read_to_string().unwrap()
    };
    let ready = observe("/readyz");
    assert!(ready.starts_with("ready\nnote: app 1400000000: "), "{ready}");
    assert!(ready.contains("aside"), "{ready}");
    let metrics = observe("/metrics");
    let line = "followgraph_directory_moved{sdkappid=\"1400000000\"} 1";
    assert!(metrics.contains(line), "{metrics}");
    let deadline = Instant::now() + ENDS;
    while !server.log().contains("is no longer there") {
        assert!(Instant::now() < deadline, "{}", server.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    server.signal(Signal::TERM);
    assert!(server.wait(ENDS).success());
    assert!(!graph.exists(), "it was made again");
    let graph = followgraph::FollowGraph::open(&aside).unwrap();
    assert_eq!(graph.stats().follow_count, 2);
}

#[test]
fn neither_keys_nor_tickets_are_logged() {
    let place = Place::new();
    let server = place.start("", "");
    let client = server.client();
    follow_the_sample(&client);
    let ticket = client.query.split("usersig=").nth(1).unwrap().split('&').next().unwrap();
    let wrong = Client { query: query_of("administrator", "another key"), ..server.client() };
    assert_eq!(wrong.code("follow_add", ADD), 70009);
    let deadline = Instant::now() + ENDS;
    let log = loop {
        let log = server.log();
        if log.contains("code=70009") {
            break log;
        }
        assert!(Instant::now() < deadline, "{log}");
        std::thread::sleep(Duration::from_millis(10));
    };
    assert!(log.contains("/v4/follow/follow_add"), "{log}");
    let wrong = wrong.query.split("usersig=").nth(1).unwrap().split('&').next().unwrap();
    for secret in [KEY, ticket, wrong] {
        assert!(!log.contains(secret), "{log}");
    }
    let ids: BTreeSet<&str> = log
        .lines()
        .filter_map(|line| line.split("request_id=").nth(1)?.split(' ').next())
        .collect();
    assert_eq!(ids.len(), 4, "each request has its own: {log}");
}

#[test]
fn a_full_disk_refuses_writes_and_reads_go_on() {
    let Some(mount) = Mount::tmpfs(1 << 20) else {
        return;
    };
    let place = Place::new();
    let graph = mount.path().join("graph");
    let config = place.configure("", "");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("\"graph\"", &format!("{graph:?}"))).unwrap();
    let mut server = Running::start(&config);
    follow_the_sample(&server.client());
    server.signal(Signal::TERM);
    server.wait(ENDS);
    let ballast = mount.path().join("ballast");
    // An orderly close gave the room of the log back; now somebody else takes it.
    std::fs::write(&ballast, vec![1; 900 << 10]).unwrap();
    let server = Running::start(&config);
    let client = server.client();
    let refused =
        client.ask("follow_delete", r#"{"From_Account":"UserID_001","To_Account":["UserID_002"]}"#);
    assert_eq!(refused["ErrorCode"], 30006);
    assert_eq!(refused["ErrorInfo"], "the server failed; try again", "no detail leaks");
    assert_eq!(client.code("account_import", r#"{"UserID":"new"}"#), 70500);
    assert_eq!(counts(&client.ask("follow_get_info", INFO))[0], [0, 2, 0]);
    std::fs::remove_file(&ballast).unwrap();
    assert_eq!(client.code("account_import", r#"{"UserID":"new"}"#), 0);
    assert!(server.log().contains("free some space"), "{}", server.log());
}

#[test]
fn a_server_for_development_needs_nothing_and_its_line_works_as_pasted() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let start = || {
        let mut command = program();
        command.args(["serve", "--dev", "--listen", "127.0.0.1:0", "--data"]).arg(&data);
        command.stdout(Stdio::piped());
        Running::spawn(command, 1)
    };
    for round in 0..2 {
        let mut server = start();
        let line = server.read_sample();
        let pasted = Command::new("sh").args(["-c", &line]).output().unwrap();
        let answer: Value = serde_json::from_slice(&pasted.stdout).unwrap_or_else(|_| {
            panic!("round {round}: {line}\n{pasted:?}");
        });
        assert_eq!(answer["FollowInfo"][1]["FollowerCount"], 67);
        assert_eq!(answer["FollowInfo"][3]["ResultCode"], 30003);
        server.signal(Signal::INT);
        assert!(server.wait(ENDS).success());
    }
    std::fs::write(dir.path().join("letter"), "mine").unwrap();
    let mut command = program();
    command.args(["serve", "--dev", "--listen", "127.0.0.1:0", "--data"]).arg(dir.path());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2), "a directory with other things stays as it is");
}

#[test]
fn a_ticket_of_the_command_line_is_genuine() {
    let place = Place::new();
    let server = place.start("", "");
    let app = APP.to_string();
    let mut command = program();
    command.args(["usersig", "--app", &app, "--days", "1", "--key-file"]);
    let output = command.arg(place.path().join("key")).output().unwrap();
    let ticket = String::from_utf8(output.stdout).unwrap();
    let query = format!("sdkappid={APP}&identifier=administrator&usersig={}", ticket.trim());
    let client = Client { query, ..server.client() };
    assert_eq!(client.code("account_check", r#"{"CheckItem":[{"UserID":"a"}]}"#), 0);
    let output = program().args(["usersig", "--app", &app]).env("FOLLOWGRAPH_KEY", KEY).output();
    assert!(output.unwrap().stdout.len() > 100);
    let output = program().args(["usersig", "--app", &app]).env_remove("FOLLOWGRAPH_KEY").output();
    assert_eq!(output.unwrap().status.code(), Some(2));
}
