//! The console: a page that asks the commands, and the one figure it draws that no command gives.

use super::apps::Apps;
use super::config::ConsoleTicket;
use super::requests::{Reply, reply};
use crate::FollowGraph;
use crate::wire::{Answer, Code};
use hyper::StatusCode;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, FORWARDED, HeaderMap, HeaderName, HeaderValue,
    LOCATION, VIA,
};
use hyper::http::uri::Authority;
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The page and what it loads. Nothing comes from elsewhere.
const FILES: [(&str, &str, &str); 3] = [
    ("/console", "text/html; charset=utf-8", include_str!("console/index.html")),
    ("/console/console.js", "text/javascript; charset=utf-8", include_str!("console/console.js")),
    ("/console/console.css", "text/css; charset=utf-8", include_str!("console/console.css")),
];

const POLICY: &str = "default-src 'none'; connect-src 'self'; img-src data:; script-src 'self'; \
                      style-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// Accounts looked at in one go.
const CHUNK: usize = 4096;
/// Up to so many followers, each number has a bucket of its own.
const EXACT_MAX: u32 = 16;
/// From there on, a bucket for each so many-th part of a doubling.
const BUCKETS_A_DOUBLING: f64 = 4.0;

/// A file of the console.
pub(super) fn page(path: &str) -> Reply {
    let path = path.strip_suffix('/').unwrap_or(path);
    let Some((_, content_type, text)) = FILES.iter().find(|(known, ..)| *known == path) else {
        return reply(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "not here\n");
    };
    let mut reply = reply(StatusCode::OK, content_type, *text);
    let policy = HeaderValue::from_static(POLICY);
    reply.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    reply
}

/// Leads to the page.
pub(super) fn redirect() -> Reply {
    let mut reply = reply(StatusCode::FOUND, "text/plain; charset=utf-8", "see /console\n");
    reply.headers_mut().insert(LOCATION, HeaderValue::from_static("/console"));
    reply
}

/// The `UserSig` that a server for development gives to its console: only to a client on the same
/// machine that reached it without a proxy and under a name of that machine. A page elsewhere would
/// reach it under a name of its own.
pub(super) fn ticket(
    ticket: Option<&ConsoleTicket>,
    peer: IpAddr,
    authority: Option<&Authority>,
    headers: &HeaderMap,
) -> Reply {
    const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
    let is_direct =
        [FORWARDED, VIA, X_FORWARDED_FOR].iter().all(|name| !headers.contains_key(name));
    let is_of_this_machine = peer.to_canonical().is_loopback()
        && authority.is_some_and(|authority| is_loopback(authority.host()));
    match ticket {
        Some(ticket) if is_direct && is_of_this_machine => {
            let body = serde_json::to_vec(ticket).expect("numbers and strings have a JSON form");
            reply(StatusCode::OK, "application/json", body)
        }
        _ => reply(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", ""),
    }
}

fn is_loopback(host: &str) -> bool {
    ["localhost", "127.0.0.1", "[::1]"].iter().any(|name| host.eq_ignore_ascii_case(name))
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Bucket {
    followers: u32,
    accounts: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Buckets {
    buckets: Vec<Bucket>,
    action_status: &'static str,
    error_code: u32,
    error_info: &'static str,
}

/// How many accounts have how many followers, for the app whose admin asks. Reads every account.
pub(super) fn follower_counts(apps: &Apps, query: &str, peer: IpAddr) -> Vec<u8> {
    let app = match apps.admit_figures(query, peer) {
        Ok(app) => app,
        Err(Answer { body, .. }) => return body,
    };
    let Some((_, graph)) = apps.graphs.iter().find(|(number, _)| *number == app) else {
        let info = "the app is on a cluster, of which no node knows all counts";
        return Answer::refused("", Code::FeatureOff, info).body;
    };
    let buckets = count_by_followers(graph)
        .into_iter()
        .map(|(followers, accounts)| Bucket { followers, accounts })
        .collect();
    let body = Buckets { buckets, action_status: "OK", error_code: 0, error_info: "" };
    serde_json::to_vec(&body).expect("numbers have a JSON form")
}

fn count_by_followers(graph: &FollowGraph) -> BTreeMap<u32, u64> {
    let mut counted = BTreeMap::new();
    let mut after = None;
    loop {
        let accounts = graph.accounts(after, CHUNK);
        let ids: Vec<_> = accounts.iter().map(|(id, _)| *id).collect();
        let Some(last) = ids.last() else { return counted };
        after = Some(*last);
        // Who went meanwhile, or is foreign, has no counts.
        for counts in graph.batch_counts_by_id(&ids).into_iter().flatten() {
            *counted.entry(lowest_of_bucket(counts.followers)).or_default() += 1;
        }
    }
}

/// The least number of followers that shares a bucket with this one.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 16 and 2^32")]
fn lowest_of_bucket(followers: u32) -> u32 {
    if followers <= EXACT_MAX {
        return followers;
    }
    let step = (f64::from(followers).log2() * BUCKETS_A_DOUBLING).floor();
    let lowest = |step: f64| (step / BUCKETS_A_DOUBLING).exp2().ceil() as u32;
    // Rounding may have gone one step too far.
    if lowest(step) > followers { lowest(step - 1.0) } else { lowest(step) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_begin_where_their_lowest_is() {
        assert_eq!(
            (0..=16).map(lowest_of_bucket).collect::<Vec<_>>(),
            (0..=16).collect::<Vec<_>>()
        );
        let mut last = 16;
        for followers in 17..100_000 {
            let lowest = lowest_of_bucket(followers);
            assert!(lowest <= followers && lowest >= last, "{followers}");
            assert_eq!(lowest_of_bucket(lowest), lowest, "{followers}");
            last = lowest;
        }
        assert!(lowest_of_bucket(u32::MAX) < u32::MAX);
    }

    #[test]
    fn the_ticket_is_for_those_on_this_machine() {
        let known = ConsoleTicket { sdkappid: 1, identifier: "a".into(), usersig: "u".into() };
        let none = HeaderMap::new();
        let proxied = HeaderMap::from_iter([(VIA, HeaderValue::from_static("1.1 proxy"))]);
        for (peer, host, headers, is_given) in [
            ("127.0.0.1", "127.0.0.1:8080", &none, true),
            ("127.0.0.1", "localhost:8080", &none, true),
            ("::ffff:127.0.0.1", "LocalHost", &none, true),
            ("::1", "[::1]:8080", &none, true),
            ("127.0.0.1", "evil.example:8080", &none, false),
            ("127.0.0.1", "127.0.0.1.evil.example", &none, false),
            ("127.0.0.1", "localhost", &proxied, false),
            ("10.0.0.7", "localhost", &none, false),
        ] {
            let authority: Authority = host.parse().unwrap();
            let peer: IpAddr = peer.parse().unwrap();
            let reply = ticket(Some(&known), peer, Some(&authority), headers);
            assert_eq!(reply.status() == StatusCode::OK, is_given, "{peer} {host}");
        }
        let peer = IpAddr::from([127, 0, 0, 1]);
        assert_eq!(ticket(Some(&known), peer, None, &none).status(), StatusCode::NOT_FOUND);
    }

    #[test]
    fn accounts_are_counted_by_their_followers() {
        let graph = crate::Options::new().create_missing_accounts(true).in_memory().unwrap();
        graph.follow("a", "c").unwrap();
        graph.follow("b", "c").unwrap();
        graph.follow("c", "a").unwrap();
        let counted: Vec<(u32, u64)> = count_by_followers(&graph).into_iter().collect();
        assert_eq!(counted, [(0, 1), (1, 1), (2, 1)]);
    }
}
