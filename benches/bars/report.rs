//! The table that is printed, and the lines of JSON that are kept.

use crate::machine::Machine;
use crate::support::measure::real;
use serde_json::{Value, json};
use std::fmt;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::rc::Rc;

/// What a figure must be.
#[derive(Clone, Copy)]
pub(crate) enum Bar {
    AtMost(f64),
    Below(f64),
    AtLeast(f64),
}

impl Bar {
    fn is_met(self, measured: f64) -> bool {
        match self {
            Bar::AtMost(bar) => measured <= bar,
            Bar::Below(bar) => measured < bar,
            Bar::AtLeast(bar) => measured >= bar,
        }
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bar::AtMost(bar) => write!(formatter, "<= {bar}"),
            Bar::Below(bar) => write!(formatter, "< {bar}"),
            Bar::AtLeast(bar) => write!(formatter, ">= {bar}"),
        }
    }
}

/// When others keep more of the processors busy than this, a figure comes with a warning.
const OTHERS_MAX: f64 = 0.1;

pub(crate) struct Report {
    graph: String,
    follow_count: usize,
    out: Option<File>,
    machine: Rc<Machine>,
    /// How many processors others kept busy while what is reported was timed.
    others: f64,
    met: usize,
    missed: Vec<String>,
}

impl Report {
    pub(crate) fn new(graph: &str, out: Option<&Path>, machine: &Rc<Machine>) -> Report {
        let open = |path| {
            let mut options = File::options();
            options.create(true).append(true).open(path).expect("the file of figures opens")
        };
        Report {
            graph: graph.to_owned(),
            follow_count: 0,
            out: out.map(open),
            machine: machine.clone(),
            others: 0.0,
            met: 0,
            missed: Vec::new(),
        }
    }

    pub(crate) fn set_size(&mut self, account_count: usize, follow_count: usize) {
        self.follow_count = follow_count;
        println!("\n{}: {account_count} accounts, {follow_count} follows", self.graph);
    }

    pub(crate) fn graph(&self) -> &str {
        &self.graph
    }

    /// A figure that has to reach a bar.
    pub(crate) fn bar(&mut self, what: &str, bar: Bar, measured: f64, unit: &str, note: &str) {
        let met = bar.is_met(measured);
        let word = if met { "met" } else { "MISSED" };
        let others = self.others();
        let bar_text = bar.to_string();
        println!("{word:<7} {what:<61} {measured:>9.3} {unit:<4} {bar_text:<8} {note}{others}");
        self.keep(&json!({
            "kind": "bar", "what": what, "graph": self.graph, "bar": bar_text,
            "unit": unit, "measured": rounded(measured), "met": met, "note": note,
            "others_processors": rounded(others.0),
        }));
        if met {
            self.met += 1;
        } else {
            self.missed.push(what.to_owned());
        }
    }

    /// A figure that should not grow with the graph.
    pub(crate) fn growth(&mut self, what: &str, value: f64, unit: &str) {
        let others = self.others();
        println!("{:<7} {what:<61} {value:>9.3} {unit:<4}{others}", "");
        self.keep(&json!({
            "kind": "growth", "what": what, "follows": self.follow_count, "graph": self.graph,
            "value": rounded(value), "unit": unit, "others_processors": rounded(others.0),
        }));
    }

    /// A figure that should not grow with the followers of one account.
    pub(crate) fn degree(&mut self, what: &str, followers: usize, value: f64, unit: &str) {
        let others = self.others();
        println!("{:<7} {what:<50} {followers:>10} {value:>9.3} {unit:<4}{others}", "");
        self.keep(&json!({
            "kind": "degree", "what": what, "followers": followers,
            "value": rounded(value), "unit": unit, "others_processors": rounded(others.0),
        }));
    }

    /// From here on, until something is timed again, figures are not of times: whatever others do
    /// does not disturb them.
    pub(crate) fn untimed(&mut self) {
        self.others();
        self.others = 0.0;
    }

    fn others(&mut self) -> Others {
        self.others = self.machine.take_others().unwrap_or(self.others);
        Others(self.others)
    }

    fn keep(&mut self, line: &Value) {
        if let Some(out) = &mut self.out {
            writeln!(out, "{line}").expect("the file of figures can be written");
        }
    }

    pub(crate) fn finish(&self) {
        println!("{}: {} bars met, {} missed", self.graph, self.met, self.missed.len());
        for what in &self.missed {
            println!("  missed: {what}");
        }
    }

    /// How many follows a second that is, in millions.
    pub(crate) fn millions(follow_count: usize, seconds: f64) -> f64 {
        real(follow_count) / seconds / 1e6
    }
}

/// A warning that the processors were not free for what was timed.
struct Others(f64);

impl fmt::Display for Others {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Others(processors) = *self;
        if processors < OTHERS_MAX {
            return Ok(());
        }
        write!(formatter, " [DISTURBED: others kept {processors:.2} processors busy]")
    }
}

/// Three places behind the point are more than any of these figures is good for.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
