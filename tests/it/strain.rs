//! Clients that are slow, hostile or too many: the server stays within its memory and goes on
//! serving the others.

use crate::served::{APP, Client, KEY, Place, Running, path_of, query_of};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

const CHECK: &str = r#"{"CheckItem":[{"UserID":"a"}]}"#;
/// What a server may take for what strangers do to it.
const MEMORY_BYTES_MAX: u64 = 256 << 20;

#[track_caller]
fn assert_serves(client: &Client) {
    let started = Instant::now();
    assert_eq!(client.code("account_check", CHECK), 0);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

/// Reads until the server closes; how long that took.
fn closed_after(stream: &mut TcpStream) -> Duration {
    let started = Instant::now();
    let mut rest = Vec::new();
    // A reset is an end too.
    let _ = stream.read_to_end(&mut rest);
    started.elapsed()
}

#[test]
fn who_does_nothing_or_little_is_cut_off_and_nobody_waits_for_it() {
    let place = Place::new();
    let server = place.start("[limits]\nidle_seconds = 1.0", "");
    let client = server.client();
    let (mut silent, mut dripping, mut half) =
        (server.connect(), server.connect(), server.connect());
    half.write_all(b"POST /v4/follow/follow_add HTTP/1.1\r\nHost: x\r\n").unwrap();
    let mut asked = server.connect();
    asked.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let started = Instant::now();
    // A byte of a head now and then, which never becomes a request.
    dripping.write_all(b"POST /v4/x HTTP/1.1\r\nx: ").unwrap();
    let mut cut_after = None;
    while started.elapsed() < Duration::from_secs(10) && cut_after.is_none() {
        std::thread::sleep(Duration::from_millis(100));
        assert_serves(&client);
        let is_cut = dripping.write_all(b"x").is_err();
        cut_after = is_cut.then(|| started.elapsed());
    }
    let cut_after = cut_after.expect("a head that drips is cut off");
    assert!(cut_after > Duration::from_millis(900), "{cut_after:?}");
    for stream in [&mut silent, &mut half, &mut asked] {
        assert!(closed_after(stream) < Duration::from_secs(10));
    }
}

#[test]
fn a_client_that_closed_its_half_gets_its_answer() {
    let place = Place::new();
    let server = place.start("", "");
    let url = format!("{}?{}", path_of("account_check"), query_of("administrator", KEY));
    let (length, mut stream) = (CHECK.len(), server.connect());
    write!(stream, "POST {url} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{CHECK}")
        .unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with('}') && answer.contains("NotImported"), "{answer}");
}

#[test]
fn bytes_that_are_no_request_and_no_tls_hurt_nobody() {
    let place = Place::new().with_certificate();
    let server = place.start_https("[limits]\nidle_seconds = 2.0", "");
    let long_head = format!("POST /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(100_000));
    let many_fields = format!("GET /healthz HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(1000));
    let hello = [0x16, 3, 1, 0xff, 0xff, 1, 0, 0xff, 0xff];
    for bytes in [
        b"\0\0\0\0".as_slice(),
        b"\r\n\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff",
        b"GET /healthz HTTP/9.9\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        long_head.as_bytes(),
        many_fields.as_bytes(),
        &hello,
    ] {
        for address in [server.http, server.https.unwrap()] {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            // It may have been cut off before all of it was sent.
            let _ = stream.write_all(bytes);
            let _ = stream.shutdown(Shutdown::Write);
            assert!(closed_after(&mut stream) < Duration::from_secs(9));
        }
    }
    assert_serves(&server.client());
    assert_serves(&server.https_client(&place));
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[test]
fn ten_thousand_idle_connections_are_held() {
    const IDLE_COUNT: usize = 10_000;
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(u64::MAX).min(1 << 20);
    assert!(wanted > IDLE_COUNT as u64 + 1000, "this test needs more descriptors: {limit:?}");
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit }).unwrap();
    let place = Place::new();
    // Where connecting is slow, the first ones must not be closed before the last one is there.
    let server = place.start("[limits]\nidle_seconds = 600.0", "");
    let client = server.client();
    let before = server.private_bytes();
    let idle: Vec<TcpStream> = (0..IDLE_COUNT).map(|_| server.connect()).collect();
    assert_serves(&client);
    let count = || -> usize {
        let metrics = server.get("/metrics").1;
        let name = "followgraph_connections ";
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.parse().unwrap()
    };
    // The last ones may still wait to be accepted.
    let deadline = Instant::now() + Duration::from_secs(30);
    while count() < IDLE_COUNT {
        assert!(Instant::now() < deadline, "{} of {IDLE_COUNT} connections", count());
        std::thread::sleep(Duration::from_millis(50));
    }
    let grown = server.private_bytes().saturating_sub(before);
    assert!(grown < MEMORY_BYTES_MAX, "{grown} bytes for {IDLE_COUNT} connections");
    drop(idle);
    assert_serves(&client);
}

#[test]
fn more_connections_than_allowed_wait_their_turn() {
    let place = Place::new();
    let server = place.start("[limits]\nconnections = 3\nidle_seconds = 1.0", "");
    let _taken: Vec<TcpStream> = (0..3).map(|_| server.connect()).collect();
    std::thread::sleep(Duration::from_millis(200));
    let started = Instant::now();
    assert_serves(&server.client());
    assert!(started.elapsed() > Duration::from_millis(400), "the fourth was served at once");
}

#[test]
fn a_ticket_that_inflates_without_end_is_malformed() {
    let place = Place::new();
    let server = place.start("", "");
    let mut bomb = ZlibEncoder::new(Vec::new(), Compression::best());
    bomb.write_all(&vec![b' '; 1_200_000]).unwrap();
    let bomb: String = base64(&bomb.finish().unwrap());
    assert!(bomb.len() < 2048, "{} bytes are looked at", bomb.len());
    let query = format!("sdkappid={APP}&identifier=administrator&usersig={bomb}");
    let client = Client { query, ..server.client() };
    for _ in 0..200 {
        assert_eq!(client.code("account_check", CHECK), 70003);
    }
    assert!(server.private_bytes() < MEMORY_BYTES_MAX / 4);
    assert_serves(&server.client());
}

/// In the alphabet of tickets.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789*-";
    bytes
        .chunks(3)
        .flat_map(|chunk| {
            let bits = chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
            let bits = bits << (8 * (3 - chunk.len()));
            (0..4).map(move |place| {
                let sextet = (bits >> (18 - 6 * place)) & 63;
                if place <= chunk.len() { char::from(ALPHABET[sextet as usize]) } else { '_' }
            })
        })
        .collect()
}

#[test]
fn a_million_bad_signatures_are_not_remembered() {
    const SIGNATURES: usize = 1_000_000;
    const BATCH: usize = 500;
    let place = Place::new();
    let server = Running::start_logging(&place.configure("", ""), "info");
    let genuine = query_of("administrator", KEY);
    let (start, ticket) = genuine.split_once("usersig=").unwrap();
    let ticket = ticket.split('&').next().unwrap();
    let path = path_of("follow_get_info");
    let client = server.client();
    assert_serves(&client);
    let before = server.private_bytes();
    std::thread::scope(|scope| {
        for half in 0..2 {
            let (server, path): (&Running, &str) = (&server, &path);
            scope.spawn(move || {
                let mut stream = server.connect();
                let mut reading = stream.try_clone().unwrap();
                for batch in 0..SIGNATURES / 2 / BATCH {
                    let mut requests = String::new();
                    for number in 0..BATCH {
                        // Somewhere in the middle, so that each differs and none is genuine.
                        let number = half * SIGNATURES + batch * BATCH + number;
                        let bad = format!("{}{number:07}{}", &ticket[..40], &ticket[47..]);
                        requests.push_str("POST ");
                        requests.push_str(path);
                        requests.push('?');
                        requests.push_str(start);
                        requests.push_str("usersig=");
                        requests.push_str(&bad);
                        requests.push_str(" HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
                    }
                    std::thread::scope(|scope| {
                        scope.spawn(|| stream.write_all(requests.as_bytes()).unwrap());
                        count_refusals(&mut reading, BATCH);
                    });
                }
            });
        }
    });
    let grown = server.private_bytes().saturating_sub(before);
    assert!(grown < MEMORY_BYTES_MAX / 8, "{grown} bytes more after {SIGNATURES} bad signatures");
    assert_serves(&client);
}

/// Reads answers until so many have refused a signature.
fn count_refusals(stream: &mut TcpStream, expected: usize) {
    const REFUSED: &[u8] = b"\"ErrorCode\":700";
    let (mut seen, mut kept) = (0, Vec::new());
    while seen < expected {
        let mut buffer = [0; 8 << 10];
        let count = stream.read(&mut buffer);
        let count = count.unwrap_or_else(|error| panic!("{error} after {seen} answers"));
        assert_ne!(count, 0, "closed after {seen}");
        kept.extend_from_slice(&buffer[..count]);
        seen += kept.windows(REFUSED.len()).filter(|window| *window == REFUSED).count();
        // Half of the words may be at the end.
        kept.drain(..kept.len().saturating_sub(REFUSED.len() - 1));
    }
}
