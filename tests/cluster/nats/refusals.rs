//! What is not as it has to be is refused, and the error says what.

use super::super::servers::LogServers;
use super::{alone, create, raw, run};
use async_nats::jetstream::stream::{Config, DiscardPolicy};
use bytes::Bytes;
use followgraph::cluster::{Inbox as _, Log, Nats, NatsOptions, Peers, Shelf, Tail};
use followgraph::{Error, ErrorKind};
use std::time::Duration;
use tokio::time::timeout;

fn check<T>(outcome: Result<T, Error>, kind: ErrorKind, words: &[&str]) {
    let error = outcome.err().expect("it has to be refused");
    assert_eq!(error.kind(), kind, "{error}");
    let shown = error.to_string();
    for word in words {
        assert!(shown.contains(word), "no {word:?} in: {shown}");
    }
}

#[test]
fn a_server_of_a_lower_version_is_refused() {
    let Some(servers) = LogServers::start(1) else { return };
    run(async {
        create(&alone(&servers)).await;
        let options = alone(&servers).minimum_version("99.1.2");
        let words = ["n1", "2.15.1", "99.1.2"];
        check(Nats::connect(options.clone()).await, ErrorKind::Incompatible, &words);
        check(Nats::create(options, 1).await, ErrorKind::Incompatible, &words);
    });
}

#[test]
fn a_cluster_that_was_not_made_or_made_otherwise_is_refused() {
    let Some(servers) = LogServers::start(1) else { return };
    run(async {
        let options = alone(&servers);
        let made = ["test-log", "was not made yet"];
        check(Nats::connect(options.clone()).await, ErrorKind::Incompatible, &made);
        create(&options).await;
        create(&options).await;
        let epochs = ["followgraph.epoch", "\"1\"", "\"2\""];
        check(Nats::create(options.clone(), 2).await, ErrorKind::Incompatible, &epochs);
        let more = options.clone().max_log_bytes(1 << 30);
        let sizes = ["max_bytes", "268435456", "1073741824"];
        check(Nats::connect(more).await, ErrorKind::Incompatible, &sizes);
        let more = options.clone().replicas(3);
        check(Nats::connect(more).await, ErrorKind::Incompatible, &["num_replicas is 1"]);
        let less = options.clone().max_log_bytes(1 << 20);
        Nats::connect(less).await.unwrap();

        let raw = raw(&servers).await;
        let log = raw.get_stream("test-log").await.unwrap().cached_info().config.clone();
        let spoilt = Config { discard: DiscardPolicy::Old, ..log.clone() };
        raw.update_stream(&spoilt).await.unwrap();
        check(Nats::connect(options.clone()).await, ErrorKind::Incompatible, &["discard is Old"]);
        raw.update_stream(&log).await.unwrap();
        Nats::connect(options.clone()).await.unwrap();

        let values = raw.get_stream("KV_test-values").await.unwrap().cached_info().config.clone();
        let spoilt = Config { max_age: Duration::from_mins(10), ..values.clone() };
        raw.update_stream(&spoilt).await.unwrap();
        let words = ["KV_test-values", "max_age"];
        check(Nats::connect(options.clone()).await, ErrorKind::Incompatible, &words);
        raw.update_stream(&values).await.unwrap();

        raw.delete_stream("OBJ_test-objects").await.unwrap();
        check(Nats::connect(options).await, ErrorKind::Incompatible, &["OBJ_test-objects"]);
    });
}

#[test]
fn a_stream_of_somebody_else_is_left_alone() {
    let Some(servers) = LogServers::start(1) else { return };
    run(async {
        let raw = raw(&servers).await;
        let foreign = Config {
            name: "test-log".to_owned(),
            subjects: vec!["orders".to_owned()],
            ..Config::default()
        };
        raw.create_stream(foreign).await.unwrap();
        let options = alone(&servers);
        check(Nats::connect(options.clone()).await, ErrorKind::Incompatible, &["has no epoch"]);
        check(Nats::create(options, 1).await, ErrorKind::Incompatible, &["orders"]);
    });
}

#[test]
fn a_log_that_was_lost_or_made_again_is_refused_by_who_knew_it() {
    let Some(servers) = LogServers::start(1) else { return };
    run(async {
        let options = alone(&servers);
        let nats = create(&options).await;
        nats.append("a", Bytes::from_static(b"x")).await.unwrap();
        let mut tail = nats.tail(2).await.unwrap();
        let raw = raw(&servers).await;
        raw.delete_stream("test-log").await.unwrap();
        let refused = |what: &'static str| {
            let nats = nats.clone();
            async move {
                let append = nats.append("b", Bytes::from_static(b"y")).await;
                check(append, ErrorKind::Incompatible, &["test-log", what]);
                check(nats.extent().await, ErrorKind::Incompatible, &["test-log", what]);
                check(nats.tail(1).await, ErrorKind::Incompatible, &["test-log", what]);
                check(nats.purge_below(1).await, ErrorKind::Incompatible, &["test-log", what]);
            }
        };
        refused("it was lost").await;
        let new = Nats::create(options, 2).await.unwrap();
        refused("expected 1, got 2").await;
        assert_eq!(new.extent().await.unwrap().last, 0, "nothing of epoch 1 got into epoch 2");
        new.append("c", Bytes::from_static(b"z")).await.unwrap();
        new.append("d", Bytes::from_static(b"z")).await.unwrap();
        let silent = timeout(Duration::from_secs(20), tail.next()).await.unwrap();
        check(silent, ErrorKind::Unavailable, &["test-log"]);
    });
}

#[test]
fn a_full_log_refuses_and_loses_nothing() {
    let Some(servers) = LogServers::start(1) else { return };
    run(async {
        let nats = create(&alone(&servers).max_log_bytes(1 << 20)).await;
        let payload = Bytes::from(vec![7; 100_000]);
        let mut count = 0;
        let refused = loop {
            match nats.append(&format!("{count}"), payload.clone()).await {
                Ok(_) => count += 1,
                Err(error) => break error,
            }
            assert!(count < 20, "the log has no bound");
        };
        let words = ["test-log", "maximum bytes exceeded", "more room"];
        check::<()>(Err(refused), ErrorKind::DiskFull, &words);
        let extent = nats.extent().await.unwrap();
        assert_eq!((extent.first, extent.last), (1, count), "nothing was dropped");
        nats.purge_below(5).await.unwrap();
        let ack = nats.append(&format!("{count}"), payload).await.unwrap();
        assert_eq!((ack.sequence, ack.is_duplicate), (count + 1, false));

        let huge = Bytes::from(vec![7; 2 << 20]);
        check(nats.append("huge", huge).await, ErrorKind::InvalidArgument, &["make it smaller"]);
    });
}

#[test]
fn names_that_mean_something_else_are_refused() {
    let Some(servers) = LogServers::start(1) else { return };
    run(async {
        let nats = create(&alone(&servers)).await;
        for name in ["", "a.b", "*", ">", "a b", "a\r\nb"] {
            let kind = ErrorKind::InvalidArgument;
            check(nats.ask(name, Bytes::new()).await, kind, &["node"]);
            check(nats.listen(name).await.map(drop), kind, &["node"]);
            if name != "a.b" {
                check(nats.get(name).await, kind, &["key"]);
            }
            let options = NatsOptions::new(servers.urls(), name);
            check(Nats::connect(options).await, kind, &["cluster"]);
        }
        for id in ["", "a b", "a\r\nNats-Rollup: all", "ä"] {
            let append = nats.append(id, Bytes::new()).await;
            check(append, ErrorKind::InvalidArgument, &["id"]);
        }
    });
}

#[test]
fn what_asks_nothing_is_no_request() {
    let Some(servers) = LogServers::start(1) else { return };
    run(async {
        let nats = create(&alone(&servers)).await;
        let mut inbox = nats.listen("node").await.unwrap();
        let raw = raw(&servers).await;
        let client = raw.client();
        client.publish("test.node.node", Bytes::from_static(b"no question")).await.unwrap();
        // The server answers in order, so it has passed on what came before.
        raw.query_account().await.unwrap();
        let question = nats.ask("node", Bytes::from_static(b"question"));
        let answer = async {
            let (request, reply) = inbox.next().await.unwrap();
            assert_eq!(request, "question");
            followgraph::cluster::Reply::send(reply, Bytes::from_static(b"yes")).await;
        };
        let (answer, ()) =
            timeout(Duration::from_secs(20), async { tokio::join!(question, answer) })
                .await
                .unwrap();
        assert_eq!(answer.unwrap(), "yes");
    });
}
