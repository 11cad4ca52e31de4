//! The published follow API on top of the engine, without a transport.
//!
//! [`FollowService`] takes the path, the query and the body of a request and gives back the body of
//! the response, so any backend can mount it in the server it already has. It knows the five
//! commands of `v4/follow/`, the four of `v4/im_open_login_svc/` that make accounts exist, who may
//! ask (a [`usersig`]), and which code goes with what is wrong. Where the published pages leave
//! something open, `docs/endpoint.md` says what was decided and why.
//!
//! Invariants:
//! * every request gets an answer, which is one JSON object that says `OK` or `FAIL`, whatever its
//!   bytes are;
//! * what an answer says of the inside of the server is that something failed there, never what;
//! * nothing here opens a socket or starts a thread.

mod account;
mod codes;
mod follow;
mod graph;
mod json;
mod query;
mod requests;
mod service;
pub mod usersig;
mod verified;

pub use codes::Code;
pub use graph::Graph;
pub use service::{Admitted, Answer, App, FollowService};
