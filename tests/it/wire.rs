//! The published follow API over the engine, without a socket: the sample exchange of each page,
//! each row of the code table that can happen, and bodies of all kinds.

use crate::served::{Place, path_of};
use followgraph::wire::usersig::{Key, generate};
use followgraph::wire::{Answer, App, Code, FollowService};
use followgraph::{FollowGraph, Options};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::io::Write;
use std::process::Command;
use std::sync::Arc;

const APP: u64 = 1_400_000_000;
const NOW: u64 = 1_700_000_000;
const FOLLOW_COMMANDS: [&str; 5] =
    ["follow_get_info", "follow_add", "follow_delete", "follow_check", "follow_get"];
const ACCOUNT_COMMANDS: [&str; 4] =
    ["account_import", "multiaccount_import", "account_delete", "account_check"];

fn key() -> Key {
    Key::new("5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e")
}

/// A service for one app, with its graph beside it.
struct Endpoint {
    service: FollowService,
    graph: Arc<FollowGraph>,
    query: String,
}

impl Endpoint {
    fn with(options: Options, adapt: impl FnOnce(App) -> App) -> Endpoint {
        let graph = Arc::new(options.in_memory().unwrap());
        let app = adapt(App::new(APP, vec![key()], graph.clone()));
        let service = FollowService::new([app]).clock(|| NOW);
        let ticket = generate(&key(), APP, "administrator", NOW, 86_400).unwrap();
        let query = format!(
            "sdkappid={APP}&identifier=administrator&usersig={ticket}&random=99999999\
             &contenttype=json"
        );
        Endpoint { service, graph, query }
    }

    /// Three accounts, nobody follows anybody.
    fn new() -> Endpoint {
        let endpoint = Endpoint::with(Options::new(), |app| app);
        for name in ["UserID_001", "UserID_002", "UserID_003"] {
            endpoint.graph.add_account(name).unwrap();
        }
        endpoint
    }

    fn send(&self, command: &str, body: &[u8]) -> Answer {
        let service = if command.starts_with("follow") { "follow" } else { "im_open_login_svc" };
        self.service.respond(&format!("/v4/{service}/{command}"), &self.query, body)
    }

    fn ask(&self, command: &str, body: &str) -> Value {
        let answer = self.send(command, body.as_bytes());
        let value: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(answer.command, command);
        assert_eq!(value["ErrorCode"], answer.code.number());
        value
    }

    /// The code of the envelope.
    fn code(&self, command: &str, body: &str) -> u64 {
        let value = self.ask(command, body);
        assert_eq!(value["ActionStatus"], "FAIL", "{value}");
        assert_ne!(value["ErrorInfo"], "", "{value}");
        value["ErrorCode"].as_u64().unwrap()
    }

    /// The codes of the items.
    fn item_codes(&self, command: &str, body: &str) -> Vec<u64> {
        let value = self.ask(command, body);
        assert_eq!(value["ActionStatus"], "OK", "{value}");
        let items = value["ResultItem"].as_array().or_else(|| value["FollowInfo"].as_array());
        items.unwrap().iter().map(|item| item["ResultCode"].as_u64().unwrap()).collect()
    }
}

fn ok(mut payload: Value) -> Value {
    let envelope = json!({
        "ActionStatus": "OK", "ErrorCode": 0, "ErrorInfo": "", "ErrorDisplay": ""
    });
    payload.as_object_mut().unwrap().extend(envelope.as_object().unwrap().clone());
    payload
}

#[test]
fn the_sample_exchange_of_each_page() {
    let endpoint = Endpoint::new();
    let added = endpoint.ask(
        "follow_add",
        r#"{"From_Account":"UserID_001",
            "FollowItem":[{"To_Account":"UserID_002"},{"To_Account":"UserID_003"}]}"#,
    );
    let items = json!([
        {"To_Account": "UserID_002", "ResultCode": 0, "ResultInfo": ""},
        {"To_Account": "UserID_003", "ResultCode": 0, "ResultInfo": ""}
    ]);
    assert_eq!(added, ok(json!({ "ResultItem": items })));

    let info = endpoint.ask(
        "follow_get_info",
        r#"{"From_Account":"UserID_001","To_Account":["UserID_001","UserID_002","UserID_003"]}"#,
    );
    let item = |account: &str, followers: u32, following: u32, mutual: u32| {
        json!({
            "To_Account": account, "ResultCode": 0, "ResultInfo": "", "FollowerCount": followers,
            "FollowingCount": following, "MutualFollowingCount": mutual
        })
    };
    let expected =
        [item("UserID_001", 0, 2, 0), item("UserID_002", 1, 0, 0), item("UserID_003", 1, 0, 0)];
    assert_eq!(info, ok(json!({ "FollowInfo": expected })));

    let checked = endpoint.ask(
        "follow_check",
        r#"{"From_Account":"UserID_002","To_Account":["UserID_001","UserID_003","UserID_002"]}"#,
    );
    let types: Vec<&Value> =
        checked["ResultItem"].as_array().unwrap().iter().map(|item| &item["FollowType"]).collect();
    assert_eq!(types, [1, 0, 0]);
    let checked = endpoint
        .ask("follow_check", r#"{"From_Account":"UserID_001","To_Account":["UserID_002"]}"#);
    assert_eq!(checked["ResultItem"][0]["FollowType"], 2);

    let list = endpoint.ask(
        "follow_get",
        r#"{"From_Account":"UserID_001","FollowType":2,"StartCursor":"","WantNum":100}"#,
    );
    assert_eq!(list["NextCursor"], "");
    assert_eq!(list["FollowItem"].as_array().unwrap().len(), 2);
    assert_eq!(list["FollowItem"][0]["To_Account"], "UserID_003", "newest first");
    assert!(list["FollowItem"][0]["FollowTime"].as_u64().unwrap() > NOW);

    let deleted = endpoint.ask(
        "follow_delete",
        r#"{"From_Account":"UserID_001","To_Account":["UserID_002","UserID_003"]}"#,
    );
    assert_eq!(deleted, ok(json!({ "ResultItem": items })));
    assert_eq!(endpoint.graph.counts("UserID_001").unwrap().following, 0);
}

#[test]
fn pages_go_on_where_the_cursor_says() {
    let endpoint = Endpoint::with(Options::new().create_missing_accounts(true), |app| app);
    for number in 0..25 {
        endpoint.graph.follow(&format!("fan{number}"), "star").unwrap();
        endpoint.graph.follow("star", &format!("fan{number}")).unwrap();
    }
    for follow_type in 1..=3 {
        let (mut cursor, mut seen) = (String::new(), Vec::new());
        loop {
            let body = json!({
                "From_Account": "star", "FollowType": follow_type, "StartCursor": cursor,
                "WantNum": 10
            });
            let page = endpoint.ask("follow_get", &body.to_string());
            for item in page["FollowItem"].as_array().unwrap() {
                seen.push(item["To_Account"].as_str().unwrap().to_owned());
            }
            page["NextCursor"].as_str().unwrap().clone_into(&mut cursor);
            if cursor.is_empty() {
                break;
            }
            let other = json!({
                "From_Account": "fan1", "FollowType": follow_type, "StartCursor": cursor
            });
            assert_eq!(endpoint.code("follow_get", &other.to_string()), 30001);
        }
        let expected: Vec<String> = (0..25).rev().map(|number| format!("fan{number}")).collect();
        assert_eq!(seen, expected, "type {follow_type}");
    }
    let without = endpoint.ask("follow_get", r#"{"From_Account":"star","FollowType":1}"#);
    assert_eq!(without["FollowItem"].as_array().unwrap().len(), 25);
    let most = r#"{"From_Account":"star","FollowType":1,"WantNum":4000000000,"StartCursor":null}"#;
    assert_eq!(endpoint.ask("follow_get", most)["FollowItem"].as_array().unwrap().len(), 25);
}

#[test]
fn accounts_begin_to_exist_are_asked_for_and_go() {
    let endpoint = Endpoint::with(Options::new(), |app| app);
    let done = json!({"ActionStatus": "OK", "ErrorInfo": "", "ErrorCode": 0});
    for body in [
        r#"{"UserID":"alice","Nick":"Alice","FaceUrl":"http://example.invalid/a.png"}"#,
        r#"{"UserID":"alice"}"#,
        r#"{"Identifier":"bob"}"#,
    ] {
        assert_eq!(endpoint.ask("account_import", body), done);
    }
    let long = "x".repeat(33);
    let many =
        json!({"Accounts": ["carol", long], "AccountList": [{"UserID": "dave"}, {"UserID": ""}]});
    let imported = endpoint.ask("multiaccount_import", &many.to_string());
    assert_eq!(imported["FailAccounts"], json!([long, ""]));
    assert_eq!(imported["ErrorCode"], 0);

    endpoint.graph.follow("alice", "bob").unwrap();
    let deleted = endpoint.ask(
        "account_delete",
        r#"{"DeleteItem":[{"UserID":"bob"},{"UserID":"nobody"},{"UserID":"bob"}]}"#,
    );
    let gone = |code: u32, info: &str| (json!(code), json!(info));
    let results: Vec<(Value, Value)> = deleted["ResultItem"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| (item["ResultCode"].clone(), item["ResultInfo"].clone()))
        .collect();
    let unknown = gone(70107, "Err_TLS_PT_Open_Login_Account_Not_Exist");
    assert_eq!(results, [gone(0, ""), unknown.clone(), unknown]);
    assert_eq!(endpoint.graph.counts("alice").unwrap().following, 0);

    let checked = endpoint.ask(
        "account_check",
        r#"{"CheckItem":[{"UserID":"alice"},{"UserID":"bob"},{"UserID":"carol"}]}"#,
    );
    let status: Vec<&Value> = checked["ResultItem"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| &item["AccountStatus"])
        .collect();
    assert_eq!(status, ["Imported", "NotImported", "Imported"]);
    assert!(checked.get("ErrorDisplay").is_none());
}

#[test]
fn each_item_has_its_own_code() {
    let options = Options::new().max_following(3).max_followers(2).max_mutual(1);
    let endpoint = Endpoint::with(options, |app| app);
    for name in ["a", "b", "c", "d", "e", "f"] {
        endpoint.graph.add_account(name).unwrap();
    }
    for (from, to) in [("a", "b"), ("b", "a"), ("c", "d"), ("e", "d"), ("f", "a")] {
        endpoint.graph.follow(from, to).unwrap();
    }
    let long = "x".repeat(256);
    let body = json!({"From_Account": "a", "FollowItem": [
        {"To_Account": "nobody"}, {"To_Account": long}, {"To_Account": "a"}, {"To_Account": "b"},
        {"To_Account": "d"}, {"To_Account": "f"}, {"To_Account": "c"}, {"To_Account": "c"}
    ]});
    let codes = endpoint.item_codes("follow_add", &body.to_string());
    assert_eq!(codes, [30003, 30002, 30001, 0, 32101, 32102, 0, 0]);
    let codes = endpoint.item_codes(
        "follow_add",
        r#"{"From_Account":"a","FollowItem":[{"To_Account":"e"},{"To_Account":"e"}]}"#,
    );
    assert_eq!(codes, [0, 0]);
    endpoint.graph.add_account("g").unwrap();
    let body = r#"{"From_Account":"a","FollowItem":[{"To_Account":"g"}]}"#;
    assert_eq!(endpoint.item_codes("follow_add", body), [32100]);
    endpoint.graph.follow("b", "g").unwrap();
    let body = r#"{"From_Account":"g","FollowItem":[{"To_Account":"b"}]}"#;
    assert_eq!(endpoint.item_codes("follow_add", body), [32103]);
    for command in ["follow_delete", "follow_check", "follow_get_info"] {
        let body = r#"{"From_Account":"a","To_Account":["b","nobody"]}"#;
        assert_eq!(endpoint.item_codes(command, body), [0, 30003], "{command}");
    }
}

#[test]
fn what_is_wrong_with_a_body_has_its_code() {
    let endpoint = Endpoint::new();
    let many = |count: usize| json!({"From_Account": "UserID_001", "To_Account": vec!["a"; count]});
    for command in ["follow_delete", "follow_check", "follow_get_info"] {
        for (body, code) in [
            ("", 60003),
            ("{", 60003),
            ("[]", 60003),
            ("null", 60003),
            (r#"{"From_Account":"UserID_001","To_Account":["UserID_002"]} {}"#, 60003),
            ("{}", 30001),
            (r#"{"From_Account":"UserID_001","To_Account":["UserID_002"],}"#, 60003),
            (r#"{"To_Account":["UserID_002"]}"#, 30001),
            (r#"{"From_Account":"UserID_001"}"#, 30001),
            (r#"{"From_Account":"UserID_001","To_Account":"UserID_002"}"#, 30001),
            (r#"{"From_Account":"UserID_001","To_Account":[]}"#, 30001),
            (r#"{"From_Account":1,"To_Account":["UserID_002"]}"#, 60015),
            (r#"{"From_Account":"UserID_001","To_Account":[2]}"#, 60015),
            (r#"{"From_Account":"UserID_001","To_Account":[null]}"#, 60015),
            (r#"{"From_Account":"nobody","To_Account":["UserID_002"]}"#, 30003),
            (r#"{"From_Account":"","To_Account":["UserID_002"]}"#, 30002),
            (many(101).to_string().as_str(), 30001),
        ] {
            assert_eq!(endpoint.code(command, body), code, "{command} {body}");
        }
    }
    assert_eq!(endpoint.code("follow_get_info", &many(21).to_string()), 30001);
    assert_eq!(endpoint.item_codes("follow_check", &many(100).to_string()).len(), 100);
    for body in [
        r#"{"From_Account":"UserID_001","FollowType":0}"#,
        r#"{"From_Account":"UserID_001","FollowType":4}"#,
        r#"{"From_Account":"UserID_001","FollowType":"1"}"#,
        r#"{"From_Account":"UserID_001","FollowType":1,"WantNum":-1}"#,
        r#"{"From_Account":"UserID_001","FollowType":1,"StartCursor":"zzz"}"#,
    ] {
        assert_eq!(endpoint.code("follow_get", body), 30001, "{body}");
    }
    for (command, body) in [
        ("account_import", "{}".to_owned()),
        ("account_import", json!({"UserID": "x".repeat(33)}).to_string()),
        ("account_import", json!({"UserID": "a\nb"}).to_string()),
        ("multiaccount_import", "{}".to_owned()),
        ("multiaccount_import", json!({"Accounts": vec!["a"; 101]}).to_string()),
        ("account_delete", json!({"DeleteItem": []}).to_string()),
        ("account_check", json!({"CheckItem": "alice"}).to_string()),
    ] {
        assert_eq!(endpoint.code(command, &body), 70402, "{command} {body}");
    }
    assert_eq!(endpoint.code("account_import", r#"{"UserID":7}"#), 60015);
}

#[test]
fn who_may_ask_is_decided_before_the_body_is_read() {
    let endpoint = Endpoint::new();
    let ticket = |key: &Key, app: u64, identifier: &str, made_at: u64| {
        generate(key, app, identifier, made_at, 86_400).unwrap()
    };
    let query = |app: u64, identifier: &str, ticket: &str| {
        format!("sdkappid={app}&identifier={identifier}&usersig={ticket}&contenttype=json")
    };
    let genuine = ticket(&key(), APP, "administrator", NOW);
    for (query, code) in [
        (String::new(), Code::MissingApp),
        (query(1, "administrator", &genuine), Code::UnknownApp),
        (query(APP, "", &genuine), Code::BadQuery),
        (query(APP, "administrator", ""), Code::BadQuery),
        (query(APP, "administrator", "AAAA"), Code::SigMalformed),
        (query(APP, "alice", &genuine), Code::SigOfOther),
        (query(APP, "alice", &ticket(&key(), APP, "alice", NOW)), Code::NotAdmin),
        (
            query(APP, "administrator", &ticket(&key(), 1, "administrator", NOW)),
            Code::SigOfOtherApp,
        ),
        (
            query(APP, "administrator", &ticket(&Key::new("x"), APP, "administrator", NOW)),
            Code::SigWrong,
        ),
        (
            query(APP, "administrator", &ticket(&key(), APP, "administrator", NOW - 86_400)),
            Code::SigExpired,
        ),
    ] {
        for command in FOLLOW_COMMANDS {
            let answer =
                endpoint.service.respond(&format!("/v4/follow/{command}"), &query, b"not JSON");
            assert_eq!(answer.code, code, "{query}");
        }
    }
    for path in ["", "/", "/v4/follow/", "/v4/follow/follow", "/v4/im_open_login_svc/follow_add"] {
        let answer = endpoint.service.respond(path, &endpoint.query, b"{}");
        assert_eq!((answer.code, answer.command), (Code::UnknownCommand, ""), "{path}");
    }
}

#[test]
fn a_feature_that_is_off_stops_the_follow_commands_alone() {
    let endpoint = Endpoint::with(Options::new(), |app| app.follow_is_on(false));
    for command in FOLLOW_COMMANDS {
        assert_eq!(endpoint.code(command, "{}"), 30005);
    }
    assert_eq!(endpoint.ask("account_import", r#"{"UserID":"alice"}"#)["ErrorCode"], 0);
}

#[test]
fn two_keys_are_taken_while_one_is_replaced() {
    let graph = Arc::new(FollowGraph::in_memory());
    let app =
        App::new(APP, vec![Key::new("new"), Key::new("old")], graph).admins(["root".to_owned()]);
    let service = FollowService::new([app]).clock(|| NOW);
    for (key, code) in [("new", Code::Ok), ("old", Code::Ok), ("older", Code::SigWrong)] {
        let ticket = generate(&Key::new(key), APP, "root", NOW, 60).unwrap();
        let query = format!("sdkappid={APP}&identifier=root&usersig={ticket}");
        let body = br#"{"CheckItem":[{"UserID":"alice"}]}"#;
        let answer = service.respond("/v4/im_open_login_svc/account_check", &query, body);
        assert_eq!(answer.code, code, "{key}");
    }
}

#[test]
fn an_optional_field_that_is_null_is_a_missing_one() {
    let endpoint = Endpoint::new();
    for (command, body) in [
        ("multiaccount_import", r#"{"Accounts":null,"AccountList":[{"UserID":"x"}]}"#),
        ("multiaccount_import", r#"{"Accounts":["x"],"AccountList":null}"#),
        (
            "multiaccount_import",
            r#"{"AccountList":[{"UserID":"x","Identifier":null,"Nick":null,"FaceUrl":null}]}"#,
        ),
        ("account_import", r#"{"UserID":"x","Identifier":null,"Nick":null,"FaceUrl":null}"#),
        ("account_import", r#"{"UserID":null,"Identifier":"x"}"#),
        ("account_check", r#"{"CheckItem":[{"UserID":"x","Identifier":null}]}"#),
        ("account_delete", r#"{"DeleteItem":[{"UserID":"x","Identifier":null}]}"#),
        (
            "follow_get",
            r#"{"From_Account":"UserID_001","FollowType":1,"StartCursor":null,"WantNum":null}"#,
        ),
    ] {
        let answer = endpoint.ask(command, body);
        assert_eq!(answer["ErrorCode"], 0, "{command} {body}: {answer}");
    }
    for (command, body, code, field) in [
        ("multiaccount_import", r#"{"Accounts":null,"AccountList":null}"#, 70402, "AccountList"),
        ("account_import", r#"{"UserID":null}"#, 70402, "UserID"),
        ("follow_get", r#"{"From_Account":null,"FollowType":1}"#, 30001, "From_Account"),
        ("follow_get", r#"{"From_Account":"UserID_001","FollowType":null}"#, 30001, "FollowType"),
        ("follow_add", r#"{"From_Account":"UserID_001","FollowItem":null}"#, 30001, "FollowItem"),
    ] {
        let answer = endpoint.ask(command, body);
        assert_eq!(answer["ErrorCode"], code, "{command} {body}: {answer}");
        let info = answer["ErrorInfo"].as_str().unwrap();
        assert!(info.starts_with(field), "{command} {body}: {info}");
    }
}

#[test]
fn an_account_may_come_under_both_of_its_names() {
    let endpoint = Endpoint::new();
    for (command, body) in [
        ("account_import", r#"{"UserID":"x","Identifier":"x"}"#),
        ("multiaccount_import", r#"{"AccountList":[{"Identifier":"x","UserID":"x"}]}"#),
        ("account_check", r#"{"CheckItem":[{"UserID":"x","Identifier":"x"}]}"#),
        ("account_delete", r#"{"DeleteItem":[{"UserID":"x","Identifier":"x"}]}"#),
    ] {
        let answer = endpoint.ask(command, body);
        assert_eq!(answer["ErrorCode"], 0, "{command} {body}: {answer}");
        let other = body.replacen(r#""x""#, r#""y""#, 1);
        let answer = endpoint.ask(command, &other);
        assert_eq!(answer["ErrorCode"], 70402, "the two contradict each other: {other}");
        let info = answer["ErrorInfo"].as_str().unwrap();
        assert!(info.contains("UserID and Identifier"), "{other}: {info}");
    }
    let twice = r#"{"From_Account":"UserID_001","From_Account":"UserID_002","To_Account":["x"]}"#;
    let answer = endpoint.ask("follow_check", twice);
    assert_eq!(answer["ErrorCode"], 30001);
    assert_eq!(answer["ErrorInfo"], "From_Account comes twice");
}

#[test]
fn an_integer_may_be_written_as_a_number_with_a_fraction_of_zero() {
    let endpoint = Endpoint::new();
    for (follow_type, want) in [("1.0", "10.0"), ("1e0", "1e1"), ("3.0", "-0.0"), ("2", "1e30")] {
        let body = format!(
            r#"{{"From_Account":"UserID_001","FollowType":{follow_type},"WantNum":{want}}}"#
        );
        let answer = endpoint.ask("follow_get", &body);
        assert_eq!(answer["ErrorCode"], 0, "{body}: {answer}");
    }
    for (follow_type, want, info) in [
        ("1.5", "10", "FollowType: an integer is expected"),
        ("1", "10.000001", "WantNum: an integer is expected"),
        ("1", "\"10\"", "WantNum: an integer is expected"),
        ("1", "-1.0", "WantNum is negative"),
    ] {
        let body = format!(
            r#"{{"From_Account":"UserID_001","FollowType":{follow_type},"WantNum":{want}}}"#
        );
        let answer = endpoint.ask("follow_get", &body);
        assert_eq!((&answer["ErrorCode"], &answer["ErrorInfo"]), (&json!(30001), &json!(info)));
    }
}

#[test]
fn a_byte_order_mark_before_the_body_is_skipped() {
    let endpoint = Endpoint::new();
    let body = "\u{feff} {\"From_Account\":\"UserID_001\",\"To_Account\":[\"UserID_002\"]}";
    assert_eq!(endpoint.item_codes("follow_check", body), [0]);
    assert_eq!(endpoint.code("follow_check", "\u{feff}"), 60003);
    assert_eq!(endpoint.code("follow_check", "\u{feff}\u{feff}{}"), 60003);
}

/// A field of a command: its place in the body, what is expected of it, and whether it is optional.
struct Field {
    command: &'static str,
    pointer: &'static str,
    /// How the message begins.
    name: &'static str,
    expected: &'static str,
    optional: bool,
}

const fn field(
    command: &'static str,
    pointer: &'static str,
    name: &'static str,
    expected: &'static str,
) -> Field {
    Field { command, pointer, name, expected, optional: false }
}

const STRING: &str = "a string";
const STRINGS: &str = "an array of strings";
const INTEGER: &str = "an integer";
const TARGETS: &str = "an array of objects with To_Account";
const USERS: &str = "an array of objects with UserID";

const FIELDS: [Field; 26] = [
    field("follow_add", "/From_Account", "From_Account", STRING),
    field("follow_add", "/FollowItem", "FollowItem", TARGETS),
    field("follow_add", "/FollowItem/1", "FollowItem[1]", "an object with To_Account"),
    field("follow_add", "/FollowItem/1/To_Account", "FollowItem[1].To_Account", STRING),
    field("follow_delete", "/From_Account", "From_Account", STRING),
    field("follow_delete", "/To_Account", "To_Account", STRINGS),
    field("follow_delete", "/To_Account/0", "To_Account[0]", STRING),
    field("follow_check", "/From_Account", "From_Account", STRING),
    field("follow_check", "/To_Account", "To_Account", STRINGS),
    field("follow_check", "/To_Account/0", "To_Account[0]", STRING),
    field("follow_get_info", "/From_Account", "From_Account", STRING),
    field("follow_get_info", "/To_Account", "To_Account", STRINGS),
    field("follow_get_info", "/To_Account/0", "To_Account[0]", STRING),
    field("follow_get", "/From_Account", "From_Account", STRING),
    field("follow_get", "/FollowType", "FollowType", INTEGER),
    Field { optional: true, ..field("follow_get", "/StartCursor", "StartCursor", STRING) },
    Field { optional: true, ..field("follow_get", "/WantNum", "WantNum", INTEGER) },
    field("account_import", "/UserID", "UserID", STRING),
    Field { optional: true, ..field("multiaccount_import", "/Accounts", "Accounts", STRINGS) },
    field("multiaccount_import", "/Accounts/0", "Accounts[0]", STRING),
    Field { optional: true, ..field("multiaccount_import", "/AccountList", "AccountList", USERS) },
    field("multiaccount_import", "/AccountList/0/UserID", "AccountList[0].UserID", STRING),
    field("account_delete", "/DeleteItem", "DeleteItem", USERS),
    field("account_delete", "/DeleteItem/0", "DeleteItem[0]", "an object with UserID"),
    field("account_check", "/CheckItem", "CheckItem", USERS),
    field("account_check", "/CheckItem/0/UserID", "CheckItem[0].UserID", STRING),
];

fn sample_of(command: &str) -> Value {
    match command {
        "follow_add" => json!({
            "From_Account": "UserID_001",
            "FollowItem": [{"To_Account": "UserID_002"}, {"To_Account": "UserID_003"}]
        }),
        "follow_get" => json!({
            "From_Account": "UserID_001", "FollowType": 1, "StartCursor": "", "WantNum": 10
        }),
        "account_import" => json!({"UserID": "UserID_001"}),
        "multiaccount_import" => {
            json!({"Accounts": ["UserID_001"], "AccountList": [{"UserID": "UserID_002"}]})
        }
        "account_delete" => json!({"DeleteItem": [{"UserID": "UserID_001"}]}),
        "account_check" => json!({"CheckItem": [{"UserID": "UserID_001"}]}),
        _ => json!({"From_Account": "UserID_001", "To_Account": ["UserID_002"]}),
    }
}

/// Words of the implementation, none of which is one of the endpoint.
fn assert_in_words_of_the_endpoint(info: &str, body: &Value) {
    for word in [
        "struct",
        "sequence",
        "line ",
        "column",
        "u32",
        "i64",
        "usize",
        "map",
        "invalid",
        "tuple",
        "variant",
        "floating",
        "deserialize",
        "`",
        "enum",
        "EOF",
        "FollowTarget",
        "unit value",
    ] {
        assert!(!info.contains(word), "{word:?} is in {info:?}, the answer to {body}");
    }
}

#[test]
fn a_field_of_a_wrong_type_is_named_with_what_is_expected_in_the_words_of_the_endpoint() {
    let wrong = [
        Value::Null,
        json!(true),
        json!(7),
        json!(1.5),
        json!("text"),
        json!([]),
        json!({}),
        json!([7]),
        json!([null]),
        json!(["text"]),
        json!([{}]),
        json!([[]]),
    ];
    for field in &FIELDS {
        for value in &wrong {
            let fits = match field.expected {
                STRING => value.is_string(),
                INTEGER => *value == json!(7),
                STRINGS | TARGETS | USERS => value.is_array(),
                _ => value.is_object(),
            };
            if fits || (field.optional && value.is_null()) {
                continue;
            }
            let endpoint = Endpoint::new();
            let mut body = sample_of(field.command);
            *body.pointer_mut(field.pointer).unwrap() = value.clone();
            let answer = endpoint.ask(field.command, &body.to_string());
            let info = answer["ErrorInfo"].as_str().unwrap();
            let is_element = field.pointer.ends_with(|last: char| last.is_ascii_digit());
            let expected = if value.is_null() && !is_element {
                format!("{} is missing: {} is expected", field.name, field.expected)
            } else {
                format!("{}: {} is expected", field.name, field.expected)
            };
            assert_eq!(info, expected, "{body}");
            assert_in_words_of_the_endpoint(info, &body);
            let of_type = if field.command.starts_with("follow") { 30001 } else { 70402 };
            let is_missing = value.is_null() && !is_element;
            let is_name = field.expected == STRING && field.name != "StartCursor";
            let code = if is_name && !is_missing { 60015 } else { of_type };
            assert_eq!(answer["ErrorCode"], code, "{body}: {info}");
        }
    }
}

#[test]
fn what_is_wrong_with_the_json_is_said_in_plain_words() {
    let endpoint = Endpoint::new();
    let deep = format!("{{\"a\":{}", "[".repeat(1000));
    for body in [
        "",
        "[]",
        "7",
        "{",
        "{]",
        "{\"a\" 1}",
        "{\"a\":}",
        "{\"a\":\"\u{1}\"}",
        "{\"a\":nul}",
        "{a:1}",
        "{\"a\":1,}",
        "{\"a\":01}",
        "{\"a\":1e999}",
        "{} {}",
        "{\"a\":\"\\ud800\"}",
        &deep,
    ] {
        let answer = endpoint.ask("follow_check", body);
        assert_eq!(answer["ErrorCode"], 60003, "{body}");
        let info = answer["ErrorInfo"].as_str().unwrap();
        assert!(info.starts_with("the body is not a JSON object"), "{body}: {info}");
        assert_in_words_of_the_endpoint(info, &json!(body));
    }
    let answer = endpoint.ask("follow_check", "{\n  \"From_Account\": \"a\",\n}");
    assert_eq!(answer["ErrorInfo"], "the body is not a JSON object: see its byte 26");
}

#[test]
fn every_value_of_the_query_may_be_percent_encoded_and_the_content_type_empty() {
    let endpoint = Endpoint::new();
    let body = br#"{"From_Account":"UserID_001","To_Account":["UserID_002"]}"#;
    let encode =
        |text: &str| text.bytes().fold(String::new(), |all, byte| format!("{all}%{byte:02x}"));
    let encoded: Vec<String> = endpoint
        .query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap())
        .map(|(name, value)| format!("{name}={}", encode(value)))
        .collect();
    let queries = [
        encoded.join("&"),
        endpoint.query.replace("contenttype=json", "contenttype="),
        endpoint.query.replace("contenttype=json", "contenttype"),
        endpoint.query.replace("&contenttype=json", ""),
    ];
    for query in queries {
        let answer = endpoint.service.respond("/v4/follow/follow_check", &query, body);
        assert_eq!(answer.code, Code::Ok, "{query}: {}", String::from_utf8_lossy(&answer.body));
    }
    let query = endpoint.query.replace("contenttype=json", "contenttype=xml");
    let answer = endpoint.service.respond("/v4/follow/follow_check", &query, body);
    assert_eq!(answer.code, Code::BadQuery);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

#[test]
fn a_body_may_be_packed_with_gzip_within_the_limit_of_the_unpacked_size() {
    let place = Place::new();
    let server = place.start("[limits]\nbody_bytes = 4096", "");
    let client = server.client();
    client.import(&["UserID_001", "UserID_002"]);
    let body = br#"{"From_Account":"UserID_001","To_Account":["UserID_002"]}"#;
    let send = |encoding: &str, body: &[u8]| {
        let url = format!("{}{}?{}", client.base, path_of("follow_check"), client.query);
        let request = client.agent.post(url).header("content-encoding", encoding);
        let mut answer = request.send(body).unwrap();
        assert_eq!(answer.status().as_u16(), 200);
        serde_json::from_str::<Value>(&answer.body_mut().read_to_string().unwrap()).unwrap()
    };
    let packed = gzip(body);
    let halves = [gzip(&body[..20]), gzip(&body[20..])].concat();
    let marked = gzip(&[b"\xef\xbb\xbf".as_slice(), body].concat());
    for (encoding, body) in [
        ("gzip", packed.as_slice()),
        ("x-gzip", &packed),
        ("GZIP", &packed),
        ("gzip", &halves),
        ("gzip", &marked),
        ("identity", body),
        ("", body),
    ] {
        let answer = send(encoding, body);
        assert_eq!(answer["ErrorCode"], 0, "{encoding}: {answer}");
        assert_eq!(answer["ResultItem"][0]["ResultCode"], 0);
    }
    let bomb = gzip(&vec![b' '; 1 << 20]);
    assert!(bomb.len() < 4096, "{} bytes are read", bomb.len());
    for (encoding, body, info) in [
        ("gzip", bomb.as_slice(), "the body has more than 4096 bytes"),
        ("gzip", &packed[..packed.len() - 1], "the body is not what Content-Encoding says"),
        ("gzip", body, "the body is not what Content-Encoding says"),
        ("br", body, "Content-Encoding: gzip or none is expected"),
        ("gzip, gzip", &packed, "Content-Encoding: gzip or none is expected"),
    ] {
        let answer = send(encoding, body);
        assert_eq!(answer["ErrorCode"], 60002, "{encoding}: {answer}");
        assert!(answer["ErrorInfo"].as_str().unwrap().contains(info), "{encoding}: {answer}");
    }
}

#[test]
fn the_command_usersig_refuses_an_identifier_with_a_line_feed() {
    let forged = "administrator\nTLS.sdkappid:7\nTLS.time:1\nTLS.expire:9\nTLS.userbuf:AAAA";
    for identifier in ["a\nb", "a\u{7f}", "\u{85}", forged] {
        let output = Command::new(env!("CARGO_BIN_EXE_followgraph"))
            .args(["usersig", "--app", "7", "--identifier", identifier])
            .env("FOLLOWGRAPH_KEY", "secret")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{identifier:?}");
        assert_eq!(output.stdout, b"", "{identifier:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("--identifier"), "{said}");
        assert!(said.contains("control character"), "{said}");
    }
}

fn assert_well_formed(answer: &Answer) {
    let value: Value = serde_json::from_slice(&answer.body).expect("the body is JSON");
    let status = if answer.code == Code::Ok { "OK" } else { "FAIL" };
    assert_eq!(value["ActionStatus"], status);
    assert_eq!(value["ErrorCode"], answer.code.number());
    assert!(value["ErrorInfo"].is_string());
}

proptest! {
    #[test]
    fn any_bytes_get_a_well_formed_answer(
        body in prop::collection::vec(any::<u8>(), 0..200),
        query in ".{0,80}",
        path in ".{0,40}",
    ) {
        let endpoint = Endpoint::new();
        for command in FOLLOW_COMMANDS.into_iter().chain(ACCOUNT_COMMANDS) {
            assert_well_formed(&endpoint.send(command, &body));
        }
        assert_well_formed(&endpoint.service.respond(&path, &query, &body));
        assert_well_formed(&endpoint.service.respond("/v4/follow/follow_add", &query, &body));
    }

    #[test]
    fn any_json_gets_a_well_formed_answer(
        from in prop_oneof![Just(json!("UserID_001")), Just(json!(1)), Just(Value::Null)],
        to in prop::collection::vec(
            prop_oneof![
                Just(json!("UserID_002")),
                Just(json!("nobody")),
                Just(json!({})),
                Just(json!([])),
            ],
            0..25,
        ),
        number in prop_oneof![any::<i64>().prop_map(|number| json!(number)), Just(json!(1.5))],
    ) {
        let endpoint = Endpoint::new();
        let item = |to: &Value| json!({"To_Account": to, "UserID": to});
        let items: Vec<Value> = to.iter().map(item).collect();
        let body = json!({
            "From_Account": from, "To_Account": to, "FollowItem": items, "FollowType": number,
            "WantNum": number, "UserID": from, "Accounts": to, "DeleteItem": items,
            "CheckItem": items
        });
        for command in FOLLOW_COMMANDS.into_iter().chain(ACCOUNT_COMMANDS) {
            assert_well_formed(&endpoint.send(command, body.to_string().as_bytes()));
        }
    }
}
