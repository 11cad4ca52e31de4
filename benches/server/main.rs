//! The follow API: what the service adds to a batch of counts, and what a server answers over
//! loopback.
//!
//! ```text
//! cargo bench --features cli,testing --bench server -- --out FILE EDGES
//! ```
//!
//! `EDGES` is an edge list as for the bench `bars`. Without one, it runs in seconds on the small
//! graph of the project, as a test that it works; the figures then mean nothing. The load over
//! loopback is made by `wrk`, which has to be installed; it shares the processors with the server.

mod loopback;
mod page;
#[expect(dead_code, reason = "the other benches ask more of it")]
#[path = "../support/mod.rs"]
mod support;

use clap::Parser;
use followgraph::FollowGraph;
use followgraph::wire::usersig::{Key, generate};
use followgraph::wire::{App, Code, FollowService};
use page::Page;
use serde_json::{Value, json};
use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;
use support::draw::{Dealer, Drawn};
use support::edges::Edges;
use support::measure::{median, race};
use support::open;

/// How many names one request asks about, as many as may be.
const BATCH: usize = 20;
/// More tickets than are remembered, so that none is found again.
const TICKETS: usize = 1 << 15;
const BODIES: usize = 1 << 13;
const APP: u64 = 1_400_000_000;
const KEY: &str = "5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e";
const PATH: &str = "/v4/follow/follow_get_info";
/// What the service may add to a batch of counts.
const ADDED_MICROSECONDS_MAX: f64 = 10.0;

/// Measure the follow API on one graph
#[derive(Parser)]
struct Arguments {
    /// The edge list; without one, the small graph of the project, quickly
    edges: Option<PathBuf>,
    /// Write the figures to this file as a page
    #[arg(long)]
    out: Option<PathBuf>,
    /// Take each measurement only often enough to see that it works
    #[arg(long, alias = "test")]
    quick: bool,
    /// What cargo says to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

/// Requests that are all different, and what admits them.
struct Requests {
    names: Vec<String>,
    bodies: Vec<String>,
    /// One query for all, and a query with a ticket of its own for each.
    query: String,
    queries: Vec<String>,
}

fn main() {
    let arguments = Arguments::parse();
    let is_quick = arguments.quick || arguments.edges.is_none();
    if is_quick {
        println!("a quick run: everything is done, and the figures mean nothing");
    }
    let root = tempfile::tempdir().expect("a temporary directory");
    let path = arguments.edges.unwrap_or_else(Edges::small);
    let edges = Edges::load(&path);
    let directory = root.path().join("graph");
    edges.build(&directory, |_| None);
    let requests = Requests::new(&edges, if is_quick { 64 } else { TICKETS });
    let mut page = Page::new(&path, edges.names.len(), edges.follows.len());
    in_process(&Arc::new(open(&directory)), &requests, is_quick, &mut page);
    loopback::measure(root.path(), &requests, is_quick, &mut page);
    page.finish(arguments.out.as_deref());
}

impl Requests {
    fn new(edges: &Edges, tickets: usize) -> Requests {
        let drawn = Drawn::evenly(edges, BODIES * BATCH);
        let names: Vec<String> = drawn.names().into_iter().map(str::to_owned).collect();
        let body =
            |names: &[String]| json!({ "From_Account": names[0], "To_Account": names }).to_string();
        let bodies = names.chunks(BATCH).map(body).collect();
        let key = Key::new(KEY);
        let now = SystemTime::UNIX_EPOCH.elapsed().expect("it is later").as_secs();
        let query = |number: u64| {
            let usersig = generate(&key, APP, "administrator", now, 86_400 + number)
                .expect("the identifier has no control character");
            format!("sdkappid={APP}&identifier=administrator&usersig={usersig}&contenttype=json")
        };
        let queries = (1..=tickets as u64).map(query).collect();
        Requests { names, bodies, query: query(0), queries }
    }
}

/// The same questions of the engine and of the service, which take turns.
fn in_process(graph: &Arc<FollowGraph>, requests: &Requests, is_quick: bool, page: &mut Page) {
    let service = FollowService::new([App::new(APP, vec![Key::new(KEY)], graph.clone())]);
    check_agreement(graph, &service, requests);
    let (turns, rounds) = if is_quick { (3, 10) } else { (41, 1000) };
    let names: Vec<&str> = requests.names.iter().map(String::as_str).collect();
    let (mut dealt, mut results) = (Dealer::new(&names), Vec::new());
    let mut engine = || {
        graph.batch_counts_into(dealt.batch(BATCH), &mut results);
        black_box(results.len());
    };
    let mut bodies = Dealer::new(&requests.bodies);
    let mut known = || {
        let body = bodies.batch(1)[0].as_bytes();
        black_box(service.respond(PATH, &requests.query, body).body.len());
    };
    let mut other_bodies = Dealer::new(&requests.bodies);
    let mut queries = Dealer::new(&requests.queries);
    let mut unknown = || {
        let (query, body) = (&queries.batch(1)[0], other_bodies.batch(1)[0].as_bytes());
        black_box(service.respond(PATH, query, body).body.len());
    };
    let times = race(turns, rounds, [&mut engine, &mut known, &mut unknown]);
    let [engine, known, unknown] = times.map(|seconds| median(&seconds) * 1e6);
    page.in_process(engine, known, unknown, ADDED_MICROSECONDS_MAX);
}

/// The counts that the service answers with are those of the engine.
fn check_agreement(graph: &FollowGraph, service: &FollowService, requests: &Requests) {
    let queries = [&requests.query].into_iter().chain(requests.queries.iter().take(10));
    for (query, (names, body)) in
        queries.cycle().zip(requests.names.chunks(BATCH).zip(&requests.bodies)).take(200)
    {
        let answer = service.respond(PATH, query, body.as_bytes());
        assert_eq!(answer.code, Code::Ok);
        let answer: Value = serde_json::from_slice(&answer.body).expect("it is JSON");
        let items = answer["FollowInfo"].as_array().expect("a list");
        assert_eq!(items.len(), names.len());
        for ((name, counts), item) in names.iter().zip(graph.batch_counts(names)).zip(items) {
            let counts = counts.expect("the account exists");
            assert_eq!(item["To_Account"], name.as_str());
            assert_eq!(item["FollowerCount"], counts.followers);
            assert_eq!(item["FollowingCount"], counts.following);
            assert_eq!(item["MutualFollowingCount"], counts.mutual);
        }
    }
}
