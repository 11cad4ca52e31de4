//! The figures, printed as they come and written as a page.

use crate::loopback::Load;
use std::fmt::Write;
use std::path::Path;

pub(crate) struct Page(String);

impl Page {
    pub(crate) fn new(edges: &Path, account_count: usize, follow_count: usize) -> Page {
        let name = edges.file_name().unwrap_or_default().to_string_lossy();
        let mut page = Page(String::new());
        page.say(&format!(
            "# The follow API, measured\n\nWritten by `scripts/benchmarks --only server`. \
             `follow_get_info` of 20 accounts a request, on {name}: {account_count} accounts, \
             {follow_count} follows.\n"
        ));
        page
    }

    fn say(&mut self, text: &str) {
        println!("{text}");
        writeln!(self.0, "{text}").expect("a string takes every character");
    }

    pub(crate) fn in_process(&mut self, engine: f64, known: f64, unknown: f64, bar: f64) {
        let added = known - engine;
        let verdict = if added <= bar { "met" } else { "**missed**" };
        self.say("## The service without sockets\n\nBoth took turns; medians.\n");
        self.say("| what | µs a request | above `batch_counts` | bar | |\n|---|--:|--:|--:|---|");
        self.say(&format!("| `batch_counts` | {engine:.2} | | | |"));
        self.say(&format!(
            "| `FollowService`, one ticket | {known:.2} | {added:.2} | {bar} | {verdict} |"
        ));
        let added = unknown - engine;
        self.say(&format!(
            "| `FollowService`, each ticket verified anew | {unknown:.2} | {added:.2} | | |\n"
        ));
        self.say(
            "## Over loopback\n\n`wrk` with one thread and 16 keep-alive connections for 10 s, on \
             the same processors as the server. Requests a core are for each second of processor \
             time that the server took.\n",
        );
        self.say("| tickets | requests/s | requests/s a core | p50 | p99 |\n|---|--:|--:|--:|--:|");
    }

    pub(crate) fn load(&mut self, what: &str, load: &Load) {
        let Load { requests_a_second, requests_a_core, p50, p99 } = load;
        self.say(&format!(
            "| {what} | {requests_a_second:.0} | {requests_a_core:.0} | {p50} | {p99} |"
        ));
    }

    pub(crate) fn finish(&self, out: Option<&Path>) {
        if let Some(out) = out {
            std::fs::write(out, &self.0).expect("the page can be written");
        }
    }
}
