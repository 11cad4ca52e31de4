//! What was agreed, on one server and on three, and what goes beyond it.

use super::super::contract;
use super::super::servers::LogServers;
use super::{alone, create, raw, run, together};
use bytes::Bytes;
use followgraph::ErrorKind;
use followgraph::cluster::{Log, Nats, Shelf, Tail};
use std::fs;
use std::time::Duration;
use tokio::time::timeout;

#[test]
fn one_server_keeps_the_contract() {
    let Some(servers) = LogServers::start(1) else { return };
    run(async {
        let nats = create(&alone(&servers)).await;
        contract::log(&nats).await;
        contract::shelf(&nats).await;
        contract::peers(&nats).await;
    });
}

#[test]
fn three_servers_keep_the_contract() {
    let Some(servers) = LogServers::start(3) else { return };
    run(async {
        let nats = create(&together(&servers)).await;
        contract::log(&nats).await;
        contract::shelf(&nats).await;
        contract::peers(&nats).await;
    });
}

#[test]
fn two_connections_see_one_log_one_shelf_and_each_other() {
    let Some(servers) = LogServers::start(3) else { return };
    run(async {
        let options = together(&servers);
        let (one, other) = (create(&options).await, Nats::connect(options).await.unwrap());
        assert_eq!((one.epoch(), other.epoch()), (1, 1));
        let ack = one.append("a", Bytes::from_static(b"x")).await.unwrap();
        let again = other.append("a", Bytes::from_static(b"y")).await.unwrap();
        assert_eq!((again.sequence, again.is_duplicate), (ack.sequence, true));
        // What one has written is what the other reads next, at each of many attempts.
        let directory = tempfile::tempdir().unwrap();
        let (source, target) = (directory.path().join("source"), directory.path().join("target"));
        let mut revision = 0;
        for number in 0..30 {
            let text = format!("value {number}");
            fs::write(&source, &text).unwrap();
            one.put_object(&text, &source).await.unwrap();
            other.get_object(&text, &target).await.unwrap();
            assert_eq!(fs::read_to_string(&target).unwrap(), text);
            let set = one.set("key", Bytes::from(text.clone()), revision).await.unwrap();
            let found = other.get("key").await.unwrap().unwrap();
            assert_eq!((Some(found.revision), &found.bytes[..]), (set, text.as_bytes()));
            revision = found.revision;
        }
    });
}

#[test]
fn a_tail_whose_next_entries_are_purged_says_so() {
    let Some(servers) = LogServers::start(1) else { return };
    run(async {
        let nats = create(&alone(&servers)).await;
        // More than the server sends ahead to a reader that reads nothing.
        let payload = Bytes::from(vec![7; 256 * 1024]);
        let count = 200;
        for number in 1..=count {
            nats.append(&format!("{number}"), payload.clone()).await.unwrap();
        }
        // A reader that reads gets it all, because the server hears of that.
        let mut tail = nats.tail(1).await.unwrap();
        for sequence in 1..=count {
            let entry = timeout(Duration::from_secs(20), tail.next()).await.unwrap().unwrap();
            assert_eq!(entry.sequence, sequence);
        }
        let mut tail = nats.tail(1).await.unwrap();
        nats.purge_below(count).await.unwrap();
        let mut next = 1;
        let error = loop {
            match timeout(Duration::from_secs(20), tail.next()).await.unwrap() {
                Ok(entry) => {
                    assert_eq!(entry.sequence, next, "none is left out");
                    next += 1;
                }
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::PositionLost, "{error}");
        assert!(next > 1 && next < count, "the gap is in the middle, at {next}");
        let shown = error.to_string();
        assert!(shown.contains("test-log") && shown.contains("entry 200"), "{shown}");
    });
}

#[test]
fn a_tail_begins_nowhere_behind_the_end() {
    let Some(servers) = LogServers::start(1) else { return };
    run(async {
        let nats = create(&alone(&servers)).await;
        nats.append("a", Bytes::from_static(b"x")).await.unwrap();
        nats.tail(2).await.unwrap();
        let error = nats.tail(3).await.err().expect("entry 2 was read, and is not there");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("ends with entry 1"), "{error}");
    });
}

#[test]
fn a_key_removed_by_hand_has_no_value_and_can_be_written() {
    let Some(servers) = LogServers::start(1) else { return };
    run(async {
        let nats = create(&alone(&servers)).await;
        let revision = nats.set("k", Bytes::from_static(b"x"), 0).await.unwrap().unwrap();
        let bucket = raw(&servers).await.get_key_value("test-values").await.unwrap();
        for how in ["delete", "purge"] {
            match how {
                "delete" => bucket.delete("k").await.unwrap(),
                _ => bucket.purge("k").await.unwrap(),
            }
            assert_eq!(nats.get("k").await.unwrap(), None, "{how}");
            assert_eq!(nats.set("k", Bytes::new(), revision).await.unwrap(), None, "{how}");
            let written = nats.set("k", Bytes::from_static(b"y"), 0).await.unwrap();
            let found = nats.get("k").await.unwrap().expect("it was written");
            assert_eq!((written, &found.bytes[..]), (Some(found.revision), &b"y"[..]), "{how}");
            assert_eq!(nats.set("k", Bytes::new(), 0).await.unwrap(), None, "{how}");
        }
    });
}

#[test]
fn an_object_that_is_not_what_was_put_is_not_taken() {
    let Some(servers) = LogServers::start(1) else { return };
    run(async {
        let nats = create(&alone(&servers)).await;
        let directory = tempfile::tempdir().unwrap();
        let (source, target) = (directory.path().join("source"), directory.path().join("target"));
        fs::write(&source, vec![1; 300_000]).unwrap();
        fs::write(&target, "what was there").unwrap();
        nats.put_object("o", &source).await.unwrap();
        // The description of other content in the place of its own.
        let bucket = raw(&servers).await;
        let stream = bucket.get_stream("OBJ_test-objects").await.unwrap();
        let subject = "$O.test-objects.M.bw==";
        let message = stream.get_last_raw_message_by_subject(subject).await.unwrap();
        let text = String::from_utf8(message.payload.to_vec()).unwrap();
        for (from, to) in [("SHA-256=", "SHA-256=A"), ("300000", "300001"), ("{", "[")] {
            assert!(text.contains(from), "{text}");
            let changed = Bytes::from(text.replacen(from, to, 1));
            bucket.publish(subject, changed).await.unwrap().await.unwrap();
            let error = nats.get_object("o", &target).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            assert_eq!(fs::read_to_string(&target).unwrap(), "what was there");
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
        }
        // Chunks that are gone are not waited for without end.
        bucket.publish(subject, Bytes::from(text)).await.unwrap().await.unwrap();
        nats.get_object("o", &target).await.unwrap();
        stream.purge().filter("$O.test-objects.C.>").await.unwrap();
        let error = nats.get_object("o", &target).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.to_string().contains("chunk 1 of 3"), "{error}");
    });
}

#[test]
fn what_an_object_took_is_given_back() {
    let Some(servers) = LogServers::start(1) else { return };
    run(async {
        let nats = create(&alone(&servers)).await;
        let directory = tempfile::tempdir().unwrap();
        let source = directory.path().join("source");
        fs::write(&source, vec![1; 300_000]).unwrap();
        let raw = raw(&servers).await;
        let messages = || async {
            raw.get_stream("OBJ_test-objects").await.unwrap().cached_info().state.messages
        };
        nats.put_object("o", &source).await.unwrap();
        nats.put_object("o", &source).await.unwrap();
        assert_eq!(messages().await, 4, "three chunks and their description, once");
        nats.delete_object("o").await.unwrap();
        assert_eq!(messages().await, 0);
    });
}
