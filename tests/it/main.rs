//! The integration tests: one binary, a module a theme. Every test stands alone and cleans up.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod against;
mod api;
mod backup;
mod care;
mod certify;
mod cli;
mod compare;
mod concurrent;
mod damage;
mod faults;
mod feed;
mod flips;
mod import;
mod kill;
mod large;
mod memory;
mod model;
mod moments;
mod old_files;
mod pages;
mod readonly;
mod real;
mod recovery;
mod removal;
mod salvage;
mod served;
mod server;
mod shards;
mod strain;
mod support;
mod swapped;
mod tidy;
mod touch;
mod webhooks;
mod wire;
