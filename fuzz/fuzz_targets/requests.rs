//! Any path, query and body as a request to the published follow API: always one JSON object that
//! says `OK` or `FAIL`, and a graph whose counts equal its lists.
#![no_main]

use arbitrary::Arbitrary;
use followgraph::wire::usersig::{Key, generate};
use followgraph::wire::{App, FollowService};
use followgraph::{FollowGraph, Page};
use followgraph_fuzz::{NAMES, options};
use libfuzzer_sys::fuzz_target;
use std::sync::{Arc, LazyLock};

const APP: u64 = 1_400_000_000;
const NOW: u64 = 1_700_000_000;
const COMMANDS: [&str; 9] = [
    "follow/follow_get_info",
    "follow/follow_add",
    "follow/follow_delete",
    "follow/follow_check",
    "follow/follow_get",
    "im_open_login_svc/account_import",
    "im_open_login_svc/multiaccount_import",
    "im_open_login_svc/account_delete",
    "im_open_login_svc/account_check",
];

static TICKET: LazyLock<String> =
    LazyLock::new(|| generate(&key(), APP, "administrator", NOW, 86_400).expect("a good name"));

fn key() -> Key {
    Key::new("a key that only this fuzzer has")
}

#[derive(Arbitrary, Debug)]
struct Request<'a> {
    command: u8,
    path: Option<&'a str>,
    query: Option<&'a str>,
    body: &'a [u8],
}

fuzz_target!(|requests: Vec<Request<'_>>| {
    let graph = Arc::new(options().in_memory().expect("memory does not fail"));
    for (place, from) in NAMES.iter().enumerate() {
        for to in &NAMES[place + 1..] {
            graph.follow(from, to).expect("names are good");
        }
    }
    let app = App::new(APP, vec![key()], graph.clone());
    let service = FollowService::new([app]).clock(|| NOW);
    for request in requests.iter().take(4) {
        let command = COMMANDS[usize::from(request.command) % COMMANDS.len()];
        let path = request.path.map_or_else(|| format!("/v4/{command}"), str::to_owned);
        let query = request.query.map_or_else(admitted, str::to_owned);
        let answer = service.respond(&path, &query, request.body);
        let value: serde_json::Value =
            serde_json::from_slice(&answer.body).expect("an answer is JSON");
        let status = value["ActionStatus"].as_str().expect("an answer has a status");
        assert!(matches!(status, "OK" | "FAIL"), "{value}");
        assert_eq!(value["ErrorCode"], answer.code.number());
        assert_eq!(status == "OK", answer.code.number() == 0, "{value}");
    }
    check_counts(&graph);
});

fn admitted() -> String {
    format!("sdkappid={APP}&identifier=administrator&usersig={}&random=1&contenttype=json", *TICKET)
}

fn check_counts(graph: &FollowGraph) {
    for name in NAMES {
        let Ok(counts) = graph.counts(name) else { continue };
        let page = || Page::first(1000);
        let lengths = [graph.followers(name, page()), graph.following(name, page())]
            .map(|list| list.expect("it is there").entries.len());
        assert_eq!(lengths, [counts.followers as usize, counts.following as usize], "{name}");
    }
}
