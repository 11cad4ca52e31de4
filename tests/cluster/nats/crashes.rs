//! Servers end, and nothing that was confirmed is lost, read twice or left out.

use super::super::servers::LogServers;
use super::{alone, create, run, together};
use bytes::Bytes;
use followgraph::ErrorKind;
use followgraph::cluster::{Log, Nats, Tail};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// The longest time a log may be without a leader, and what comes with it.
const STALL_MAX: Duration = Duration::from_secs(20);
/// No test takes longer.
const LIMIT: Duration = Duration::from_secs(55);

/// Appends until it is stopped, each entry under its id until it is confirmed. The places and texts
/// of all, and the longest time from one confirmation to the next.
fn write(nats: &Nats, stop: &Arc<AtomicBool>) -> JoinHandle<(Vec<(u64, String)>, Duration)> {
    let (nats, stop) = (nats.clone(), Arc::clone(stop));
    tokio::spawn(async move {
        let (mut acked, mut stall) = (Vec::new(), Duration::ZERO);
        let mut last = Instant::now();
        while !stop.load(Ordering::SeqCst) {
            let text = format!("entry-{}", acked.len());
            let ack = loop {
                match nats.append(&text, Bytes::from(text.clone())).await {
                    Ok(ack) => break ack,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
                }
                sleep(Duration::from_millis(50)).await;
            };
            stall = stall.max(last.elapsed());
            last = Instant::now();
            acked.push((ack.sequence, text));
            sleep(Duration::from_millis(1)).await;
        }
        (acked, stall)
    })
}

/// Reads as a node does: after any error with a new tail behind the last entry. All entries until
/// `last` has come, and how many tails it took.
async fn read(nats: &Nats, mut last: impl FnMut() -> Option<u64>) -> (Vec<(u64, String)>, u32) {
    let (mut seen, mut tail_count) = (Vec::new(), 0);
    loop {
        let from = seen.len() as u64 + 1;
        if last().is_some_and(|last| from > last) {
            return (seen, tail_count);
        }
        tail_count += 1;
        match nats.tail(from).await {
            Ok(mut tail) => loop {
                if last().is_some_and(|last| seen.len() as u64 >= last) {
                    break;
                }
                match timeout(Duration::from_millis(100), tail.next()).await {
                    Err(_) => {}
                    Ok(Ok(entry)) => {
                        assert_eq!(entry.sequence, seen.len() as u64 + 1);
                        seen.push((
                            entry.sequence,
                            String::from_utf8(entry.bytes.to_vec()).unwrap(),
                        ));
                    }
                    Ok(Err(error)) => {
                        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
                        break;
                    }
                }
            },
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Writes and reads while something happens to the servers: the longest time without a
/// confirmation.
async fn beside(nats: &Nats, happens: impl FnOnce()) -> Duration {
    let stop = Arc::new(AtomicBool::new(false));
    let writer = write(nats, &stop);
    let end = Arc::new(std::sync::OnceLock::new());
    let reader = {
        let (nats, end) = (nats.clone(), Arc::clone(&end));
        tokio::spawn(async move { read(&nats, || end.get().copied()).await })
    };
    sleep(Duration::from_millis(500)).await;
    tokio::task::block_in_place(happens);
    sleep(Duration::from_millis(500)).await;
    stop.store(true, Ordering::SeqCst);
    let (acked, stall) = timeout(LIMIT, writer).await.unwrap().unwrap();
    let extent = nats.extent().await.unwrap();
    end.set(extent.last).unwrap();
    let (seen, tail_count) = timeout(LIMIT, reader).await.unwrap().unwrap();
    println!("{} entries, {tail_count} tails, no confirmation for {stall:?}", acked.len());
    assert!(acked.len() > 10, "only {} entries", acked.len());
    // One writer, one id an entry: the log is what was confirmed, nothing more and nothing twice.
    assert_eq!(seen, acked);
    assert!(stall < STALL_MAX, "no confirmation for {stall:?}");
    stall
}

#[test]
fn a_killed_leader_loses_nothing_and_readers_go_on() {
    let Some(mut servers) = LogServers::start(3) else { return };
    run(async {
        let nats = create(&together(&servers)).await;
        beside(&nats, || {
            let leader = servers.leader_of("test-log");
            servers.kill(leader);
            servers.leader_of("test-log");
            servers.restart(leader);
        })
        .await;
    });
}

#[test]
fn all_servers_killed_at_once_lose_nothing() {
    let Some(mut servers) = LogServers::start(3) else { return };
    run(async {
        let nats = create(&together(&servers)).await;
        beside(&nats, || {
            servers.kill_all();
            servers.restart_all();
            servers.leader_of("test-log");
        })
        .await;
    });
}

#[test]
fn one_server_alone_comes_back_with_all_it_confirmed() {
    let Some(mut servers) = LogServers::start(1) else { return };
    run(async {
        let nats = create(&alone(&servers)).await;
        beside(&nats, || {
            servers.kill(0);
            servers.restart(0);
        })
        .await;
        beside_restart(&nats, &mut servers).await;
    });
}

/// A tail on which nobody waits while its server comes and goes either goes on or ends with an
/// error, and soon.
async fn beside_restart(nats: &Nats, servers: &mut LogServers) {
    let from = nats.extent().await.unwrap().last + 1;
    let mut tail = nats.tail(from).await.unwrap();
    tokio::task::block_in_place(|| {
        servers.terminate(0);
        servers.restart(0);
    });
    let ack = loop {
        match nats.append("behind", Bytes::from_static(b"x")).await {
            Ok(ack) => break ack,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
        }
    };
    assert_eq!(ack.sequence, from);
    match timeout(Duration::from_secs(10), tail.next()).await.expect("it is not silent") {
        Ok(entry) => assert_eq!(entry.sequence, from),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
    }
    assert_eq!(nats.tail(from).await.unwrap().next().await.unwrap().sequence, from);
}

#[test]
fn a_leader_that_retires_is_hardly_noticed() {
    let Some(mut servers) = LogServers::start(3) else { return };
    run(async {
        let nats = create(&together(&servers)).await;
        let leader = servers.leader_of("test-log");
        beside(&nats, || {
            servers.retire(leader);
            servers.restart(leader);
        })
        .await;
    });
}

#[test]
fn without_most_of_the_servers_there_are_errors_and_no_waiting() {
    let Some(mut servers) = LogServers::start(3) else { return };
    run(async {
        let nats = create(&together(&servers)).await;
        nats.append("a", Bytes::from_static(b"x")).await.unwrap();
        let survivor = servers.leader_of("test-log");
        for index in (0..3).filter(|index| *index != survivor) {
            servers.kill(index);
        }
        let start = Instant::now();
        let error = nats.append("b", Bytes::from_static(b"y")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
        let shown = error.to_string();
        assert!(shown.contains("127.0.0.1:") && shown.contains("test-log"), "{shown}");
        servers.restart_all();
        let again = loop {
            match nats.append("b", Bytes::from_static(b"y")).await {
                Ok(ack) => break ack,
                Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
            }
            assert!(start.elapsed() < LIMIT, "no leader came back");
        };
        assert_eq!(again.sequence, 2);
    });
}
