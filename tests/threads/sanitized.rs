//! Tests with real files, mappings and threads, in a binary of few crates: `scripts/sanitize`
//! builds it with a sanitizer in every one of them.
#![cfg(not(shuttle))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(dead_code, reason = "what the tests share is used by others too")]

#[path = "../it/api.rs"]
mod api;
#[path = "../it/backup.rs"]
mod backup;
#[path = "../it/care.rs"]
mod care;
#[path = "../it/concurrent.rs"]
mod concurrent;
#[path = "../it/damage.rs"]
mod damage;
#[path = "../it/feed.rs"]
mod feed;
#[path = "../it/moments.rs"]
mod moments;
#[path = "../it/recovery.rs"]
mod recovery;
#[path = "../it/removal.rs"]
mod removal;
#[path = "../it/support.rs"]
mod support;
#[path = "../it/touch.rs"]
mod touch;
