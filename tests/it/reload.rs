//! Certificates and keys are replaced while a server runs.

use crate::served::{Client, KEY, Place, Running, program, query_of, write_secret};
use crate::transport::{info_request, read_answers, secure};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

const CHECK: &str = r#"{"CheckItem":[{"UserID":"a"}]}"#;
const RELOAD_TIME_MAX: Duration = Duration::from_secs(15);

/// Waits until something holds.
fn wait_until(what: &str, server: &Running, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + RELOAD_TIME_MAX;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}:\n{}", server.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Replaces a file in one step.
fn replace(place: &Place, name: &str, text: &str) {
    let next = place.path().join("next");
    write_secret(&next, text);
    std::fs::rename(next, place.path().join(name)).unwrap();
}

/// Makes a certificate for the loopback address that is valid until the end of a year. Returns it
/// and its key as PEM.
fn certificate_until(year: i32) -> (String, String) {
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(year, 12, 31);
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn metric(server: &Running, name: &str) -> f64 {
    let metrics = server.get("/metrics").1;
    let line = metrics.lines().find(|line| line.starts_with(name));
    line.map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

const RELOADED: &str = "followgraph_reloads_total{what=\"certificate\",outcome=\"used\"}";
const KEYS_RELOADED: &str = "followgraph_reloads_total{what=\"keys\",outcome=\"used\"}";
const REFUSED: &str = "followgraph_reloads_total{what=\"certificate\",outcome=\"refused\"}";

#[test]
fn a_renewed_certificate_is_used_and_connections_go_on() {
    let place = Place::new().with_certificate();
    let server = place.start_https("", "");
    server.client().import(&["a"]);
    let mut old = secure(&server, &place).unwrap();
    old.write_all(info_request(&["a"]).as_bytes()).unwrap();
    assert_eq!(read_answers(&mut *old, 1)[0]["ErrorCode"], 0);
    let (certificate, key) = certificate_until(2090);
    replace(&place, "certificate.pem", &certificate);
    replace(&place, "key.pem", &key);
    wait_until("the new certificate is not used", &server, || secure(&server, &place).is_ok());
    old.write_all(info_request(&["a"]).as_bytes()).unwrap();
    assert_eq!(read_answers(&mut *old, 1)[0]["ErrorCode"], 0, "the connection was lost");
    let expires = metric(&server, "followgraph_certificate_expiry_timestamp_seconds");
    assert!((3.8e9..3.9e9).contains(&expires), "{expires}");
    assert!(metric(&server, RELOADED) >= 1.0);
}

#[test]
fn sighup_reads_certificate_and_keys_again_and_ends_nothing() {
    let place = Place::new().with_certificate();
    let mut server = place.start_https("", "");
    for round in 1..=3 {
        server.signal(Signal::HUP);
        let rounds = f64::from(round);
        wait_until("SIGHUP", &server, || metric(&server, RELOADED) >= rounds);
    }
    assert_eq!(server.client().code("account_check", CHECK), 0);
    server.signal(Signal::TERM);
    assert!(server.wait(RELOAD_TIME_MAX).success());
}

#[test]
fn a_bad_new_certificate_is_refused_and_the_old_one_stays() {
    let place = Place::new().with_certificate();
    let server = place.start_https("", "");
    let good = std::fs::read_to_string(place.path().join("certificate.pem")).unwrap();
    let good_key = std::fs::read_to_string(place.path().join("key.pem")).unwrap();
    let (other, other_key) = certificate_until(2090);
    let (expired, expired_key) = certificate_until(2020);
    for (round, what, certificate, key, words) in [
        (0.0, "garbage", "garbage", good_key.as_str(), "certificate.pem"),
        (1.0, "the key of another", good.as_str(), other_key.as_str(), "key.pem"),
        (2.0, "the certificate of another", other.as_str(), good_key.as_str(), "key.pem"),
        (3.0, "expired", expired.as_str(), expired_key.as_str(), "expired"),
    ] {
        replace(&place, "certificate.pem", certificate);
        replace(&place, "key.pem", key);
        server.signal(Signal::HUP);
        wait_until(what, &server, || {
            metric(&server, REFUSED) > round && server.log().contains(words)
        });
        // The client trusts the old one alone.
        replace(&place, "certificate.pem", &good);
        assert!(secure(&server, &place).is_ok(), "{what}");
    }
}

#[test]
fn a_replaced_key_is_used_and_a_bad_one_is_not() {
    let place = Place::new();
    let server = place.start("", "");
    let keyed = |key: &str| Client { query: query_of("administrator", key), ..server.client() };
    assert_eq!(keyed(KEY).code("account_check", CHECK), 0);
    replace(&place, "key", "the second key");
    let second = keyed("the second key");
    wait_until("the new key", &server, || second.code("account_check", CHECK) == 0);
    assert_eq!(keyed(KEY).code("account_check", CHECK), 70009, "the old one is gone");
    replace(&place, "key", " \n");
    wait_until("the empty key", &server, || server.log().contains("a secret is empty"));
    assert_eq!(second.code("account_check", CHECK), 0);
    assert!(!server.log().contains("the second key"));
}

#[test]
fn without_a_terminal_a_server_outlives_the_hangup_and_with_one_it_stops_in_good_order() {
    let dir = tempfile::tempdir().unwrap();
    let start = |data: &str, input: Stdio| {
        let mut command = program();
        command.args(["serve", "--dev", "--listen", "127.0.0.1:0", "--data"]);
        command.arg(dir.path().join(data)).stdin(input).stdout(Stdio::null());
        Running::spawn(command, 1)
    };
    let mut daemon = start("daemon", Stdio::null());
    daemon.signal(Signal::HUP);
    wait_until("the hangup", &daemon, || metric(&daemon, KEYS_RELOADED) >= 1.0);
    daemon.signal(Signal::TERM);
    assert!(daemon.wait(RELOAD_TIME_MAX).success(), "{}", daemon.log());

    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
    let mut by_hand = start("by hand", std::fs::File::open(name).unwrap().into());
    by_hand.signal(Signal::HUP);
    assert!(by_hand.wait(RELOAD_TIME_MAX).success(), "{}", by_hand.log());
    assert!(by_hand.log().contains("stopped"), "{}", by_hand.log());
}
