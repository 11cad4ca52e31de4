//! The follow API in a server of one's own: any HTTP library does that gives a path, a query and a
//! body. Here, one request is answered without a socket.
//!
//! `cargo run --features wire --example mount`

use followgraph::wire::usersig::{Key, generate};
use followgraph::wire::{App, FollowService};
use followgraph::{FollowGraph, Mutation};
use std::error::Error;
use std::sync::Arc;
use std::time::SystemTime;

const SDK_APP_ID: u64 = 1_400_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    let graph = FollowGraph::in_memory();
    graph.apply(&["alice", "bob"].map(Mutation::add_account))?;
    let key = Key::new("the secret key of the app");
    let service = FollowService::new([App::new(SDK_APP_ID, vec![key.clone()], Arc::new(graph))]);

    let now = SystemTime::UNIX_EPOCH.elapsed()?.as_secs();
    let ticket = generate(&key, SDK_APP_ID, "administrator", now, 86_400)?;
    let query = format!("sdkappid={SDK_APP_ID}&identifier=administrator&usersig={ticket}");
    for (path, body) in [
        (
            "/v4/follow/follow_add",
            r#"{"From_Account":"alice","FollowItem":[{"To_Account":"bob"}]}"#,
        ),
        ("/v4/follow/follow_get_info", r#"{"From_Account":"alice","To_Account":["alice","bob"]}"#),
    ] {
        // What a handler does: hand over the three parts, send the bytes back with status 200.
        let answer = service.respond(path, &query, body.as_bytes());
        println!("{path}\n  {}", String::from_utf8(answer.body)?);
    }
    Ok(())
}
