//! HTTP on the level of bytes: every request that was read is answered, in order, and every
//! malformed one gets its status.

use crate::served::{KEY, Place, Running, path_of, program, query_of};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// Longer than any answer takes, and shorter than a connection may be idle.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

pub(crate) trait Connection: Read + Write {}
impl<T: Read + Write> Connection for T {}

/// Connects without TLS, to a socket whose reads end in time.
fn plain(server: &Running) -> Box<dyn Connection> {
    let stream = server.connect();
    stream.set_read_timeout(Some(ANSWER_TIME_MAX)).unwrap();
    Box::new(stream)
}

/// Connects with TLS, trusting the certificate of the place.
pub(crate) fn secure(server: &Running, place: &Place) -> std::io::Result<Box<dyn Connection>> {
    let pem = place.path().join("certificate.pem");
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(pem).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let socket = TcpStream::connect(server.https.unwrap()).unwrap();
    socket.set_read_timeout(Some(ANSWER_TIME_MAX)).unwrap();
    let mut stream = StreamOwned::new(connection, socket);
    stream.flush()?;
    Ok(Box::new(stream))
}

/// A request whose answer has one item for each of `accounts`.
pub(crate) fn info_request(accounts: &[&str]) -> String {
    let body = serde_json::json!({ "From_Account": "a", "To_Account": accounts }).to_string();
    request("follow_get_info", &format!("Content-Length: {}\r\n\r\n{body}", body.len()))
}

/// A request with a head up to `Host`, and what follows it.
fn request(command: &str, rest: &str) -> String {
    let query = query_of("administrator", KEY);
    format!("POST {}?{query} HTTP/1.1\r\nHost: x\r\n{rest}", path_of(command))
}

/// Reads answers until there are so many bodies, and returns the bodies.
pub(crate) fn read_answers(connection: &mut dyn Connection, count: usize) -> Vec<Value> {
    const END: &str = "\"ErrorDisplay\":\"\"}";
    let mut text = String::new();
    while text.matches(END).count() < count {
        let mut buffer = [0; 4096];
        let read = connection.read(&mut buffer);
        let read = read.unwrap_or_else(|error| panic!("{error} after {text:?}"));
        assert_ne!(read, 0, "closed after {text:?}");
        text.push_str(str::from_utf8(&buffer[..read]).unwrap());
    }
    let bodies = text.split("\r\n\r\n").filter_map(|part| {
        let start = part.find('{')?;
        let end = part.rfind('}')?;
        (start == 0).then(|| serde_json::from_str(&part[start..=end]).unwrap())
    });
    bodies.collect()
}

/// Reads until the server ends the connection.
fn read_to_end(connection: &mut dyn Connection) -> String {
    let mut answer = Vec::new();
    let read = connection.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    read.unwrap_or_else(|error| panic!("{error} after {answer:?}"));
    answer
}

#[test]
fn bytes_after_a_request_do_not_withhold_its_answer() {
    let place = Place::new().with_certificate();
    let server = place.start_https("", "");
    server.client().import(&["a"]);
    for rest in ["\r\n", "garbage", "POST ", "\r\n\r\nPOST /v4/follow"] {
        let bytes = format!("{}{rest}", info_request(&["a"]));
        for mut connection in [plain(&server), secure(&server, &place).unwrap()] {
            connection.write_all(bytes.as_bytes()).unwrap();
            let answers = read_answers(&mut *connection, 1);
            assert_eq!(answers[0]["ActionStatus"], "OK", "{rest:?}");
        }
    }
}

#[test]
fn requests_in_one_segment_are_answered_in_order() {
    let place = Place::new().with_certificate();
    let server = place.start_https("", "");
    server.client().import(&["a", "b", "c"]);
    // The second writes, so the third could overtake it.
    let add = r#"{"From_Account":"a","FollowItem":[{"To_Account":"b"}]}"#;
    let add = request("follow_add", &format!("Content-Length: {}\r\n\r\n{add}", add.len()));
    let bytes = [info_request(&["a"]), add, info_request(&["b"]), info_request(&["c"])].concat();
    for (round, mut connection) in
        [plain(&server), secure(&server, &place).unwrap()].into_iter().enumerate()
    {
        connection.write_all(bytes.as_bytes()).unwrap();
        let answers = read_answers(&mut *connection, 4);
        let of = |answer: &Value, list: &str| answer[list][0]["To_Account"].clone();
        assert_eq!(of(&answers[0], "FollowInfo"), "a", "{answers:?}");
        assert_eq!(of(&answers[1], "ResultItem"), "b", "{answers:?}");
        assert_eq!(of(&answers[2], "FollowInfo"), "b", "{answers:?}");
        assert_eq!(of(&answers[3], "FollowInfo"), "c", "{answers:?}");
        assert_eq!(answers[2]["FollowInfo"][0]["FollowerCount"], 1, "round {round}");
    }
}

/// Heads and bodies that are malformed, or that two servers may read in two ways.
fn malformed_requests() -> Vec<(&'static str, String, u16)> {
    let chunked = |rest: &str| {
        request("follow_get_info", &format!("Transfer-Encoding: chunked\r\n\r\n{rest}"))
    };
    let head = |rest: &str| format!("GET /console HTTP/1.1\r\n{rest}\r\n\r\n");
    let many = "X: y\r\n".repeat(200);
    vec![
        ("no version", "POST nonsense\r\n\r\n".into(), 400),
        ("a header without a colon", head("Host: x\r\nnonsense"), 400),
        ("a NUL in a header", head("Host: x\r\nX: a\0b"), 400),
        ("white space before the colon", head("Host: x\r\nContent-Length : 3"), 400),
        ("a folded header", head("Host: x\r\nX: a\r\n b"), 400),
        ("a bare line feed after the request line", "GET / HTTP/1.1\nHost: x\r\n\r\n".into(), 400),
        ("a bare line feed after a header", head("Host: x\nX: y"), 400),
        ("only bare line feeds", "GET / HTTP/1.1\nHost: x\n\n".into(), 400),
        ("no host", head("X: y"), 400),
        ("two hosts", head("Host: x\r\nHost: x"), 400),
        ("a host that is a list", head("Host: a, b"), 400),
        ("two lengths", request("x", "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}"), 400),
        ("lengths in a list", request("x", "Content-Length: 2, 2\r\n\r\n{}"), 400),
        ("a signed length", request("x", "Content-Length: +2\r\n\r\n{}"), 400),
        (
            "chunked twice",
            request("x", "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
            400,
        ),
        ("another coding", request("x", "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), 400),
        (
            "a length before a coding",
            request("x", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            400,
        ),
        (
            "a length after a coding",
            request("x", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
            400,
        ),
        ("a chunk size that is no number", chunked("zz\r\n{}\r\n0\r\n\r\n"), 400),
        ("a chunk size beyond 64 bits", chunked("fffffffffffffffff\r\n"), 400),
        ("a chunk longer than its size", chunked("2\r\n{}{}\r\n0\r\n\r\n"), 400),
        ("a tunnel", "CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n".into(), 400),
        ("another host in the target", "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n".into(), 400),
        ("too long a header", head(&format!("Host: x\r\nCookie: {}", "a".repeat(20_000))), 431),
        ("too many headers", head(&format!("Host: x\r\n{many}X: y")), 431),
        (
            "a head that never ends, with more than a socket holds",
            format!("GET / HTTP/1.1\r\nHost: x\r\nCookie: {}", "a".repeat(700_000)),
            431,
        ),
    ]
}

#[test]
fn malformed_requests_get_their_status_and_end_the_connection() {
    let place = Place::new().with_certificate();
    let server = place.start_https("", "");
    server.client().import(&["a"]);
    let mut complaints = Vec::new();
    let mut check =
        |what: &str, expected: &str, mut connection: Box<dyn Connection>, sent: &str| {
            let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                // Who is refused early may find the connection closed.
                let _ = connection.write_all(sent.as_bytes());
                let _ = connection.flush();
                read_to_end(&mut *connection)
            }));
            let seen = seen.unwrap_or_else(|_| "nothing in time".to_owned());
            if !seen.starts_with(expected) {
                let start: String = seen.chars().take(60).collect();
                complaints.push(format!("{what}: {start:?} instead of {expected}"));
            }
            seen
        };
    for (what, sent, status) in malformed_requests() {
        let expected = format!("HTTP/1.1 {status} ");
        check(what, &expected, plain(&server), &sent);
        let over_tls = format!("{what}, with TLS");
        check(&over_tls, &expected, secure(&server, &place).unwrap(), &sent);
        let both = format!("{}{sent}", info_request(&["a"]));
        let after = format!("{what}, after a good request");
        let seen = check(&after, "HTTP/1.1 200 OK", plain(&server), &both);
        assert!(seen.contains(&format!("}}{expected}")), "{after}: {seen}");
    }
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn a_body_with_bad_chunks_is_refused_in_the_words_of_the_endpoint() {
    let place = Place::new();
    let server = place.start("", "");
    let sent = request("follow_get_info", "Transfer-Encoding: chunked\r\n\r\nzz\r\n");
    let mut connection = plain(&server);
    connection.write_all(sent.as_bytes()).unwrap();
    let answer = read_to_end(&mut *connection);
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains(r#""ErrorCode":60002,"#), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
}

#[test]
fn http_2_connections_take_at_least_128_streams() {
    let place = Place::new();
    let server = place.start("", "");
    let mut connection = plain(&server);
    connection.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    let mut head = [0; 9];
    connection.read_exact(&mut head).unwrap();
    assert_eq!(head[3], 4, "the first frame has the settings");
    let mut settings = vec![0; usize::from(head[2])];
    connection.read_exact(&mut settings).unwrap();
    let streams = settings.chunks(6).find(|setting| setting[..2] == [0, 3]);
    let streams = streams
        .map(|setting| setting[2..].iter().fold(0u32, |sum, byte| sum << 8 | u32::from(*byte)));
    assert!(streams.is_none_or(|streams| streams >= 128), "{streams:?}");
}

#[test]
fn answers_are_neither_stored_nor_taken_for_another_type() {
    let place = Place::new();
    let server = place.start("", "");
    let answers = [
        server.raw(info_request(&["a"]).as_bytes()),
        server.raw(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"),
        server.raw(b"GET /console/nothing HTTP/1.1\r\nHost: x\r\n\r\n"),
        server.raw(b"GET / HTTP/1.1\r\n\r\n"),
    ];
    for answer in &answers {
        assert!(answer.contains("x-content-type-options: nosniff\r\n"), "{answer}");
        assert!(answer.contains("cache-control: no-store\r\n"), "{answer}");
    }
    let page = server.raw(b"GET /console HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(page.contains("x-content-type-options: nosniff\r\n"), "{page}");
    assert!(page.contains("cache-control: no-cache\r\n"), "{page}");
}

#[test]
fn the_root_leads_to_the_console_where_there_is_one() {
    let place = Place::new();
    let server = place.start("", "");
    let answer = server.raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 302 "), "{answer}");
    assert!(answer.contains("location: /console\r\n"), "{answer}");
    drop(server);
    let server = place.start("console = false", "");
    let answer = server.raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(answer.contains(r#""ErrorCode":60002,"#), "{answer}");
}

#[test]
fn connections_leave_descriptors_for_the_graphs_and_are_logged_once() {
    let place = Place::new();
    let config = place.configure("observe = \"127.0.0.1:0\"", "");
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "ulimit -n 256 && exec \"$0\" serve --config \"$1\""]);
    command.arg(program().get_program()).arg(config).stdout(Stdio::null());
    let server = Running::spawn(command, 2);
    let client = server.client();
    client.import(&["a", "b"]);
    let idle: Vec<TcpStream> = (0..400).map(|_| server.connect()).collect();
    let deadline = Instant::now() + ANSWER_TIME_MAX;
    while !server.log().contains("connections") {
        assert!(Instant::now() < deadline, "{}", server.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(Duration::from_millis(500));
    // The agent keeps the connection that it had.
    for _ in 0..20 {
        let add = r#"{"From_Account":"a","FollowItem":[{"To_Account":"b"}]}"#;
        let delete = r#"{"From_Account":"a","To_Account":["b"]}"#;
        assert_eq!(client.code("follow_add", add), 0);
        assert_eq!(client.code("follow_delete", delete), 0);
    }
    let metrics = format!("http://{}/metrics", server.observe.unwrap());
    let metrics = ureq::get(metrics).call().unwrap().body_mut().read_to_string().unwrap();
    let refused = metrics.lines().find(|line| line.starts_with("followgraph_connections_refused"));
    let refused: u64 = refused.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    assert!(refused > 100, "{refused}");
    let open = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count();
    assert!(open < 256 - 64, "{open} descriptors are open");
    let log = server.log();
    let lines = log.lines().filter(|line| line.contains("connections")).count();
    assert_eq!(lines, 1, "{log}");
    drop(idle);
    let deadline = Instant::now() + ANSWER_TIME_MAX;
    let is_answered = || {
        // Who is refused may find the connection reset.
        let (mut stream, mut answer) = (server.connect(), Vec::new());
        let _ = stream.write_all(info_request(&["a"]).as_bytes());
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read_to_end(&mut answer);
        answer.starts_with(b"HTTP/1.1 200 OK")
    };
    while !is_answered() {
        std::thread::sleep(Duration::from_millis(10));
        assert!(Instant::now() < deadline, "room is not given back");
    }
}
