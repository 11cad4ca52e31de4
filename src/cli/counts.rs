//! `counts` and `check`: what a graph is asked most often, for many accounts at once.

use super::failure::{Failure, Verdict};
use super::input::open_text;
use super::output::{Align, Table, grouped, shown, write_json};
use clap::Args;
use followgraph::{Counts, Error, ErrorKind, FollowGraph, Relation};
use serde::Serialize;
use std::borrow::Cow;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

/// Show how many followers, followings and mutual follows accounts have
///
/// The exit code is 1 if one of them is unknown; the others are shown all the same.
#[derive(Args)]
#[command(after_help = "Example:\n  followgraph --db graph counts alice bob")]
pub(crate) struct CountsOf {
    /// Names of accounts; `-` reads more of them from standard input, one a line
    #[arg(required = true, value_name = "USER")]
    users: Vec<String>,
    /// Print the `FollowInfo` array of the `follow_get_info` endpoint
    #[arg(long)]
    json: bool,
}

/// Check whether an account follows others
///
/// The exit code is 0 if it follows all of them, 1 otherwise.
#[derive(Args)]
#[command(after_help = "Example:\n  followgraph --db graph check alice bob && echo yes")]
pub(crate) struct Check {
    /// Who might follow
    from: String,
    /// Who might be followed; `-` reads more of them from standard input, one a line
    #[arg(required = true)]
    to: Vec<String>,
    /// Print the `ResultItem` array of the `follow_check` endpoint
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct FollowInfoBody<'a> {
    follow_info: Vec<FollowInfo<'a>>,
}

/// An item of `follow_get_info`. A failed item has counts of 0.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct FollowInfo<'a> {
    #[serde(rename = "To_Account")]
    to_account: &'a str,
    result_code: u32,
    result_info: String,
    follower_count: u32,
    following_count: u32,
    mutual_following_count: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct CheckBody<'a> {
    result_item: Vec<CheckItem<'a>>,
}

/// An item of `follow_check`. A failed item has a type of 0.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct CheckItem<'a> {
    #[serde(rename = "To_Account")]
    to_account: &'a str,
    result_code: u32,
    result_info: String,
    follow_type: u32,
}

impl CountsOf {
    pub(crate) fn run(&self, graph: &FollowGraph, out: &mut dyn Write) -> Result<Verdict, Failure> {
        let users = with_standard_input(&self.users)?;
        let results = graph.batch_counts(&users);
        if self.json {
            let infos = users.iter().zip(&results).map(|(user, result)| follow_info(user, result));
            write_json(out, &FollowInfoBody { follow_info: infos.collect() })?;
        } else {
            counts_table(&users, &results).write("", out)?;
        }
        Ok(Verdict::fine_if(results.iter().all(Result::is_ok)))
    }
}

impl Check {
    pub(crate) fn run(&self, graph: &FollowGraph, out: &mut dyn Write) -> Result<Verdict, Failure> {
        let others = with_standard_input(&self.to)?;
        let results = graph.batch_relations(&self.from, &others)?;
        if self.json {
            let items =
                others.iter().zip(&results).map(|(other, result)| check_item(other, result));
            write_json(out, &CheckBody { result_item: items.collect() })?;
        } else {
            for (other, result) in others.iter().zip(&results) {
                let (from, other) = (shown(&self.from), shown(other));
                writeln!(out, "{}", relation_sentence(&from, &other, result))?;
            }
        }
        let follows = |result: &Result<Relation, _>| result.as_ref().is_ok_and(|it| it.following);
        Ok(Verdict::fine_if(results.iter().all(follows)))
    }
}

/// A row for each account; what failed says so in place of its counts.
pub(crate) fn counts_table(users: &[impl AsRef<str>], results: &[Result<Counts, Error>]) -> Table {
    let mut table = Table::with_headings(&[
        ("ACCOUNT", Align::Left),
        ("FOLLOWERS", Align::Right),
        ("FOLLOWING", Align::Right),
        ("MUTUAL", Align::Right),
        ("", Align::Left),
    ]);
    for (user, result) in users.iter().zip(results) {
        let name = shown(user.as_ref()).into_owned();
        let dash = || "-".to_owned();
        table.push(match result {
            Ok(counts) => {
                let Counts { followers, following, mutual } = *counts;
                let [followers, following, mutual] =
                    [followers, following, mutual].map(|count| grouped(count.into()));
                vec![name, followers, following, mutual]
            }
            Err(error) => vec![name, dash(), dash(), dash(), error.kind().to_string()],
        });
    }
    table
}

fn follow_info<'a>(user: &'a str, result: &Result<Counts, Error>) -> FollowInfo<'a> {
    let (result_code, result_info) = result_code(result.as_ref().err());
    let counts = result.as_ref().copied().unwrap_or_default();
    FollowInfo {
        to_account: user,
        result_code,
        result_info,
        follower_count: counts.followers,
        following_count: counts.following,
        mutual_following_count: counts.mutual,
    }
}

fn check_item<'a>(other: &'a str, result: &Result<Relation, Error>) -> CheckItem<'a> {
    let (result_code, result_info) = result_code(result.as_ref().err());
    let relation = result.as_ref().copied().unwrap_or_default();
    let follow_type = u32::from(relation.followed_by) | u32::from(relation.following) << 1;
    CheckItem { to_account: other, result_code, result_info, follow_type }
}

/// The endpoint's code and words for an item.
fn result_code(error: Option<&Error>) -> (u32, String) {
    let Some(error) = error else { return (0, String::new()) };
    let code = match error.kind() {
        ErrorKind::InvalidName => 30_001,
        ErrorKind::UnknownAccount => 30_003,
        _ => 30_006,
    };
    (code, error.kind().to_string())
}

fn relation_sentence(from: &str, other: &str, result: &Result<Relation, Error>) -> String {
    let relation = match result {
        Ok(relation) => relation,
        Err(error) => return format!("{other}: {}", error.kind()),
    };
    match (relation.following, relation.followed_by) {
        (true, true) => format!("{from} follows {other}, and is followed back"),
        (true, false) => format!("{from} follows {other}"),
        (false, true) => format!("{from} does not follow {other}, but is followed by it"),
        (false, false) => format!("{from} does not follow {other}"),
    }
}

/// The names given, each `-` replaced by the lines of standard input.
fn with_standard_input(names: &[String]) -> Result<Vec<Cow<'_, str>>, Failure> {
    let mut all = Vec::with_capacity(names.len());
    for name in names {
        if name != "-" {
            all.push(Cow::Borrowed(name.as_str()));
            continue;
        }
        let (_, text) = open_text(Path::new("-"))?;
        for line in BufReader::new(text).lines() {
            let line = line
                .map_err(|error| Failure::input(format!("cannot read standard input: {error}")))?;
            let name = line.strip_suffix('\r').unwrap_or(&line);
            if !name.is_empty() {
                all.push(Cow::Owned(name.to_owned()));
            }
        }
    }
    Ok(all)
}
