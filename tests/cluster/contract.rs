//! What a log, a shelf and peers have to do, whoever implements them.

use bytes::Bytes;
use followgraph::ErrorKind;
use followgraph::cluster::{Inbox, Log, Peers, Reply, Shelf, Tail, Value};
use futures_util::future::join_all;
use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// Longer than an entry needs that is there.
const MOMENT: Duration = Duration::from_millis(300);
/// What does not happen in this time does not happen.
const LONG: Duration = Duration::from_secs(20);

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

async fn next<T: Tail>(tail: &mut T) -> (u64, String) {
    let entry = timeout(LONG, tail.next()).await.expect("an entry comes").unwrap();
    (entry.sequence, String::from_utf8(entry.bytes.to_vec()).unwrap())
}

/// Of a log without an entry.
pub(crate) async fn log<L: Log>(log: &L) {
    appends(log).await;
    tails(log).await;
    waits(log).await;
    purges(log).await;
}

async fn appends<L: Log>(log: &L) {
    let empty = log.extent().await.unwrap();
    assert_eq!((empty.first, empty.last), (1, 0));
    for (place, text) in (1..).zip(["one", "two", "three"]) {
        let ack = log.append(text, bytes(text)).await.unwrap();
        assert_eq!((ack.sequence, ack.is_duplicate), (place, false));
    }
    let again = log.append("two", bytes("other")).await.unwrap();
    assert_eq!((again.sequence, again.is_duplicate), (2, true));
    let ids: Vec<String> = (0..200).map(|number| format!("many-{number}")).collect();
    let acks = join_all(ids.iter().map(|id| log.append(id, bytes(id)))).await;
    let places: BTreeSet<u64> = acks.into_iter().map(|ack| ack.unwrap().sequence).collect();
    assert_eq!(places, (4..=203).collect());
    let extent = log.extent().await.unwrap();
    assert_eq!((extent.first, extent.last, extent.epoch), (1, 203, empty.epoch));
}

async fn tails<L: Log>(log: &L) {
    let mut tail = log.tail(1).await.unwrap();
    let mut seen = Vec::new();
    for sequence in 1..=203 {
        let entry = timeout(LONG, tail.next()).await.unwrap().unwrap();
        assert_eq!(entry.sequence, sequence);
        assert!(entry.time_millis > 1_600_000_000_000, "{}", entry.time_millis);
        seen.push(entry);
    }
    assert_eq!(seen[1].bytes, "two", "the first bytes under an id are kept");
    let mut other = log.tail(100).await.unwrap();
    for entry in &seen[99..] {
        assert_eq!(&timeout(LONG, other.next()).await.unwrap().unwrap(), entry);
    }
}

/// At the end, also when whoever waits gives up time and again.
async fn waits<L: Log>(log: &L) {
    let mut tail = log.tail(204).await.unwrap();
    for number in 0..40 {
        let text = format!("late-{number}");
        let write = async {
            sleep(Duration::from_millis(number % 5)).await;
            log.append(&text, bytes(&text)).await.unwrap()
        };
        let read = async {
            loop {
                // Given up after a random part of the way of an entry.
                let patience = Duration::from_micros(300 * (number % 7));
                if let Ok(entry) = timeout(patience, tail.next()).await {
                    return entry.unwrap();
                }
                sleep(Duration::from_micros(50)).await;
            }
        };
        let (ack, entry) = timeout(LONG, async { tokio::join!(write, read) }).await.unwrap();
        assert_eq!((ack.sequence, ack.sequence), (204 + number, entry.sequence));
        assert_eq!(entry.bytes, text);
    }
    assert!(timeout(MOMENT, tail.next()).await.is_err(), "there is nothing more");
}

async fn purges<L: Log>(log: &L) {
    for nothing in [0, 1] {
        log.purge_below(nothing).await.unwrap();
        assert_eq!(log.extent().await.unwrap().first, 1, "below {nothing}");
    }
    log.purge_below(150).await.unwrap();
    log.purge_below(100).await.unwrap();
    let extent = log.extent().await.unwrap();
    assert_eq!((extent.first, extent.last), (150, 243));
    for gone in [0, 1, 149] {
        let error = log.tail(gone).await.err().expect("entries are gone");
        assert_eq!(error.kind(), ErrorKind::PositionLost, "{gone}: {error}");
    }
    assert_eq!(next(&mut log.tail(150).await.unwrap()).await.0, 150);

    log.purge_below(1_000_000).await.unwrap();
    let extent = log.extent().await.unwrap();
    assert_eq!((extent.first, extent.last), (244, 243), "numbers do not jump");
    let mut tail = log.tail(244).await.unwrap();
    assert_eq!(log.append("after", bytes("after")).await.unwrap().sequence, 244);
    assert_eq!(next(&mut tail).await, (244, "after".to_owned()));
}

/// Of a shelf with nothing on it.
pub(crate) async fn shelf<S: Shelf>(shelf: &S) {
    values(shelf).await;
    races(shelf).await;
    objects(shelf).await;
}

async fn values<S: Shelf>(shelf: &S) {
    assert_eq!(shelf.get("map").await.unwrap(), None);
    assert_eq!(shelf.set("map", bytes("x"), 7).await.unwrap(), None, "there is no revision 7");
    let first = shelf.set("map", bytes("one"), 0).await.unwrap().unwrap();
    assert_eq!(shelf.set("map", bytes("x"), 0).await.unwrap(), None);
    let second = shelf.set("map", bytes("two"), first).await.unwrap().unwrap();
    assert_ne!(first, second);
    assert_eq!(shelf.set("map", bytes("x"), first).await.unwrap(), None);
    let found = shelf.get("map").await.unwrap();
    assert_eq!(found, Some(Value { bytes: bytes("two"), revision: second }));
    let other = shelf.set("other.key", bytes(""), 0).await.unwrap().unwrap();
    let found = shelf.get("other.key").await.unwrap();
    assert_eq!(found, Some(Value { bytes: bytes(""), revision: other }));
}

/// Of many who write at the same time one succeeds.
async fn races<S: Shelf>(shelf: &S) {
    let mut revision = 0;
    for round in 0..10 {
        let texts: Vec<String> = (0..16).map(|writer| format!("{round}-{writer}")).collect();
        let writes = texts.iter().map(|text| shelf.set("raced", bytes(text), revision));
        let outcomes = join_all(writes).await;
        let written = outcomes.into_iter().zip(&texts);
        let winners: Vec<(u64, &String)> = written
            .filter_map(|(outcome, text)| outcome.unwrap().map(|revision| (revision, text)))
            .collect();
        assert_eq!(winners.len(), 1, "{winners:?}");
        let found = shelf.get("raced").await.unwrap().unwrap();
        assert_eq!((found.revision, found.bytes), (winners[0].0, bytes(winners[0].1)));
        revision = found.revision;
    }
}

async fn objects<S: Shelf>(shelf: &S) {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    for (name, length) in [("large", 5_000_017), ("chunk", 131_072), ("small", 1), ("empty", 0)] {
        let content: Vec<u8> = (0..length).map(|place: u32| (place * 31 / 7) as u8).collect();
        fs::write(path("source"), &content).unwrap();
        shelf.put_object(name, &path("source")).await.unwrap();
        fs::write(path("target"), "what was there").unwrap();
        shelf.get_object(name, &path("target")).await.unwrap();
        assert!(fs::read(path("target")).unwrap() == content, "{name}");
    }
    for name in ["large", "large", "never"] {
        shelf.delete_object(name).await.unwrap();
        let error = shelf.get_object(name, &path("kept")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotHosted, "{error}");
    }
    let error = shelf.put_object("x", &path("no such file")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
    let mut left: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
    left.sort_by_key(|entry| entry.as_ref().unwrap().file_name());
    assert_eq!(left.len(), 2, "nothing unfinished is left: {left:?}");
}

/// Of peers of whom nobody listens.
pub(crate) async fn peers<P: Peers>(peers: &P) {
    let start = Instant::now();
    let error = peers.ask("nobody", bytes("?")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(start.elapsed() < Duration::from_secs(1), "nobody is there, so nobody is waited for");

    let mut inbox = peers.listen("node-1").await.unwrap();
    let mut busy = peers.listen("node-2").await.unwrap();
    let answer = async {
        for number in 0..100 {
            let (request, reply) = inbox.next().await.unwrap();
            assert_eq!(request, format!("question {number}"));
            reply.send(bytes(&format!("answer {number}"))).await;
        }
    };
    let ask = async {
        for number in 0..100 {
            let answer = peers.ask("node-1", bytes(&format!("question {number}"))).await.unwrap();
            assert_eq!(answer, format!("answer {number}"));
        }
    };
    timeout(LONG, async { tokio::join!(answer, ask) }).await.unwrap();

    let start = Instant::now();
    let error = peers.ask("node-2", bytes("silence")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    let (request, reply) = timeout(LONG, busy.next()).await.unwrap().unwrap();
    assert_eq!(request, "silence");
    reply.send(bytes("too late")).await;
}
