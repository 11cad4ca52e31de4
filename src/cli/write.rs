//! `follow`, `unfollow`, `add-account`, `remove-account`: changes, each command one commit.

use super::failure::{Failure, Verdict};
use super::interrupt::NewGraph;
use super::output::{say, shown};
use clap::Args;
use followgraph::{FollowGraph, Mutation, Options, Outcome};
use std::io::Write;
use std::path::Path;

/// Make an account follow others
///
/// All of it is one commit, on disk when the command returns. The exit code is 1 if one of them
/// could not be followed; the others are followed all the same.
#[derive(Args)]
#[command(after_help = "Example:\n  followgraph --db graph follow alice bob carol")]
pub(crate) struct Follow {
    /// Who follows
    from: String,
    /// Who is followed
    #[arg(required = true)]
    to: Vec<String>,
    /// Add the accounts (and the graph) that are not there yet
    #[arg(long)]
    create: bool,
    /// When the follow happened, in Unix seconds, at most a day ahead of the clock [default: now]
    #[arg(long, value_name = "UNIX_TIME")]
    at: Option<u32>,
}

/// Make an account no longer follow others
#[derive(Args)]
#[command(after_help = "Example:\n  followgraph --db graph unfollow alice bob")]
pub(crate) struct Unfollow {
    /// Who no longer follows
    from: String,
    /// Who is no longer followed
    #[arg(required = true)]
    to: Vec<String>,
}

/// Add accounts, and the graph if it is not there yet
#[derive(Args)]
#[command(after_help = "Example:\n  followgraph --db graph add-account alice bob")]
pub(crate) struct AddAccount {
    /// Names of 1 to 255 bytes of UTF-8 without control characters
    #[arg(required = true, value_name = "USER")]
    users: Vec<String>,
}

/// Remove accounts with all their follows
#[derive(Args)]
#[command(after_help = "Example:\n  followgraph --db graph remove-account bob")]
pub(crate) struct RemoveAccount {
    /// Names of accounts
    #[arg(required = true, value_name = "USER")]
    users: Vec<String>,
}

impl Follow {
    pub(crate) fn run(&self, db: &Path, out: &mut dyn Write) -> Result<Verdict, Failure> {
        let options = Options::new().create(self.create).create_missing_accounts(self.create);
        let from = shown(&self.from);
        let sentence = |to: &str, outcome| match outcome {
            Outcome::Applied => format!("{from} now follows {to}"),
            Outcome::Unchanged => format!("{from} follows {to} already"),
        };
        change(options, db, |graph| apply(graph, &self.to, |to| self.mutation(to), out, sentence))
    }

    fn mutation<'a>(&'a self, to: &'a str) -> Mutation<'a> {
        let follow = Mutation::follow(&self.from, to);
        self.at.map_or(follow, |at| follow.at(at))
    }
}

impl Unfollow {
    pub(crate) fn run(&self, graph: &FollowGraph, out: &mut dyn Write) -> Result<Verdict, Failure> {
        let from = shown(&self.from);
        let mutation = |to| Mutation::unfollow(&self.from, to);
        apply(graph, &self.to, mutation, out, |to, outcome| match outcome {
            Outcome::Applied => format!("{from} no longer follows {to}"),
            Outcome::Unchanged => format!("{from} did not follow {to}"),
        })
    }
}

impl AddAccount {
    pub(crate) fn run(&self, db: &Path, out: &mut dyn Write) -> Result<Verdict, Failure> {
        let sentence = |user: &str, outcome| match outcome {
            Outcome::Applied => format!("added {user}"),
            Outcome::Unchanged => format!("{user} is there already"),
        };
        change(Options::new(), db, |graph| {
            apply(graph, &self.users, Mutation::add_account, out, sentence)
        })
    }
}

impl RemoveAccount {
    pub(crate) fn run(&self, graph: &FollowGraph, out: &mut dyn Write) -> Result<Verdict, Failure> {
        apply(graph, &self.users, Mutation::remove_account, out, |user, outcome| match outcome {
            Outcome::Applied => format!("removed {user}"),
            Outcome::Unchanged => format!("removed {user}, which had been begun before"),
        })
    }
}

/// Opens a graph, changes it, and removes it again if it is new and still empty.
fn change(
    options: Options,
    db: &Path,
    run: impl FnOnce(&FollowGraph) -> Result<Verdict, Failure>,
) -> Result<Verdict, Failure> {
    let new = NewGraph::before(db);
    super::closing(super::open(options, db)?, |graph| {
        let outcome = run(graph);
        if let Some(new) = new {
            new.remove(graph);
        }
        outcome
    })
}

/// Commits one mutation for each name, and says a sentence about each: what was done on standard
/// output, what failed on standard error.
fn apply<'a>(
    graph: &FollowGraph,
    names: &'a [String],
    mutation: impl Fn(&'a str) -> Mutation<'a>,
    out: &mut dyn Write,
    sentence: impl Fn(&str, Outcome) -> String,
) -> Result<Verdict, Failure> {
    let mutations: Vec<_> = names.iter().map(|name| mutation(name)).collect();
    let mut verdict = Verdict::Fine;
    for (name, result) in names.iter().zip(graph.apply(&mutations)?) {
        let name = shown(name);
        match result {
            Ok(outcome) => writeln!(out, "{}", sentence(&name, outcome))?,
            Err(error) => {
                verdict = Verdict::NotAll;
                say(format_args!("followgraph: {name}: {error}"));
            }
        }
    }
    Ok(verdict)
}
