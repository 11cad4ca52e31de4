//! The tests with real threads, in a binary of few crates: `scripts/sanitize` builds it with a
//! sanitizer in every one of them.
#![cfg(not(shuttle))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(dead_code, reason = "what the tests share is used by others too")]

#[path = "../it/concurrent.rs"]
mod concurrent;
#[path = "../it/feed.rs"]
mod feed;
#[path = "../it/moments.rs"]
mod moments;
#[path = "../it/support.rs"]
mod support;

/// What the thread sanitizer is there to see. Run by name alone, it must be reported.
#[test]
fn a_race_on_purpose() {
    if std::env::var_os("FOLLOWGRAPH_RACE").is_none() {
        return;
    }
}
