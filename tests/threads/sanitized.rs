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
