//! What needs a disk that hangs while the server runs.

use super::*;
use crate::engine::tests::{FailingStorage, open, pair};
use crate::wire::usersig::{Key, generate};
use std::time::{Duration, Instant};

const APP: u64 = 7;
const KEY: &str = "the key";

fn config() -> Config {
    Config {
        http: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        https: None,
        observe: None,
        console: false,
        console_ticket: None,
        cluster: None,
        limits: Limits { request_seconds: 0.2, ..Limits::default() },
        apps: vec![AppConfig::new(APP, "unused".into(), Secret::Env("UNUSED".to_owned()))],
    }
}

/// Asks a command, and gives back its code and how long it took.
fn ask(address: SocketAddr, path: &str, body: &str) -> (u64, Duration) {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let ticket = generate(&Key::new(KEY), APP, "administrator", now, 60).unwrap();
    let query = format!("sdkappid={APP}&identifier=administrator&usersig={ticket}");
    let started = Instant::now();
    let mut answer = ureq::post(format!("http://{address}{path}?{query}")).send(body).unwrap();
    let answer = answer.body_mut().read_to_string().unwrap();
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    (answer["ErrorCode"].as_u64().unwrap(), started.elapsed())
}

#[test]
fn while_the_disk_hangs_writes_are_answered_in_time_and_reads_at_once() {
    let config = config();
    let storage = FailingStorage::default();
    let graph = open(&storage);
    pair(&graph);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let listeners = runtime.block_on(Listeners::bind(&config, None)).unwrap();
    let address = listeners.addresses().unwrap().http.unwrap();
    let apps = Apps::new(&config, vec![vec![Key::new(KEY)]], vec![graph]).unwrap();
    let site = Arc::new(Site::new(&config, apps));
    let (limits, room) = (config.limits.clone(), Room::of(1024, &config));
    runtime.spawn(async move {
        connections::serve(listeners, &site, &limits, room, std::future::pending()).await
    });

    let info = r#"{"From_Account":"alice","To_Account":["bob"]}"#;
    let follow = r#"{"From_Account":"bob","FollowItem":[{"To_Account":"alice"}]}"#;
    let check = r#"{"CheckItem":[{"UserID":"carol"}]}"#;
    let hanging = storage.syncs_wait.lock();
    for (path, body, code) in [
        ("/v4/follow/follow_add", follow, 30007),
        ("/v4/im_open_login_svc/account_import", r#"{"UserID":"carol"}"#, 70169),
        ("/v4/follow/follow_delete", info, 30007),
    ] {
        let (answered, took) = ask(address, path, body);
        assert_eq!(answered, code, "{path}");
        assert!(took >= Duration::from_millis(200) && took < Duration::from_secs(10), "{took:?}");
        assert_eq!(ask(address, "/v4/follow/follow_get_info", info).0, 0);
        assert_eq!(ask(address, "/v4/im_open_login_svc/account_check", check).0, 0);
    }
    drop(hanging);
    // What was under way takes effect, as its clients were told that it may.
    assert_eq!(ask(address, "/v4/im_open_login_svc/account_import", r#"{"UserID":"x"}"#).0, 0);
    let page = r#"{"From_Account":"carol","FollowType":1}"#;
    assert_eq!(ask(address, "/v4/follow/follow_get", page).0, 0, "carol was imported");
    runtime.shutdown_background();
}

#[test]
fn a_listener_that_panics_ends_the_server_with_an_error() {
    let mut config = config();
    // More than a semaphore takes; a configuration with it is refused before.
    config.limits.connections = usize::MAX;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let listeners = runtime.block_on(Listeners::bind(&config, None)).unwrap();
    let graph = crate::Options::new().in_memory().unwrap();
    let apps = Apps::new(&config, vec![vec![Key::new(KEY)]], vec![graph]).unwrap();
    let site = Arc::new(Site::new(&config, apps));
    let room = Room::of(1024, &config);
    let never = std::future::pending();
    let served = runtime.block_on(async {
        let serving = connections::serve(listeners, &site, &config.limits, room, never);
        tokio::time::timeout(Duration::from_secs(20), serving).await
    });
    let served = served.expect("it is not taken for one that listens");
    assert!(served.unwrap_err().to_string().contains("a listener failed"));
    let error = run(&config, |_| panic!("it does not listen")).unwrap_err();
    assert!(error.to_string().contains("connections"), "{error}");
}
