//! `list`: who they are, newest first, page by page.

use super::failure::{Failure, Verdict};
use super::output::{Align, Table, say, shown, utc, write_json};
use clap::{Args, ValueEnum};
use followgraph::{Cursor, Entry, FollowGraph, List, Page};
use serde::Serialize;
use std::io::Write;
use std::path::Path;

/// List followers, followings or mutual follows of an account, newest first
#[derive(Args)]
#[command(after_help = "Example:\n  followgraph --db graph list alice --type followers --limit 20")]
pub(crate) struct ListOf {
    /// Whose list
    user: String,
    /// Which list
    #[arg(long = "type", value_name = "TYPE", default_value = "followers")]
    list_type: ListType,
    /// How many entries to show
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = parse_limit)]
    limit: usize,
    /// Where to go on, as the page before said
    #[arg(long, value_name = "CURSOR", allow_hyphen_values = true)]
    cursor: Option<String>,
    /// Print the `FollowItem` array and the `NextCursor` of the `follow_get` endpoint
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum ListType {
    /// Who follows the account
    Followers,
    /// Whom the account follows
    Following,
    /// Whom the account follows and who follow back
    Mutual,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ListBody<'a> {
    follow_item: Vec<FollowItem<'a>>,
    /// Empty when everything has been fetched.
    next_cursor: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct FollowItem<'a> {
    #[serde(rename = "To_Account")]
    to_account: &'a str,
    follow_time: u32,
}

impl ListOf {
    pub(crate) fn run(
        &self,
        graph: &FollowGraph,
        db: &Path,
        out: &mut dyn Write,
    ) -> Result<Verdict, Failure> {
        let list = self.fetch(graph)?;
        if self.json {
            let next_cursor = list.next.map_or(String::new(), |cursor| cursor.to_string());
            let items = list.entries.iter().map(follow_item).collect();
            write_json(out, &ListBody { follow_item: items, next_cursor })?;
            return Ok(Verdict::Fine);
        }
        list_table(&list).write("", out)?;
        if let Some(cursor) = list.next {
            out.flush()?;
            self.say_next(db, cursor);
        }
        Ok(Verdict::Fine)
    }

    fn fetch(&self, graph: &FollowGraph) -> Result<List, Failure> {
        // The endpoint's first page has an empty cursor, and so may ours.
        let page = match self.cursor.as_deref().filter(|cursor| !cursor.is_empty()) {
            None => Page::first(self.limit),
            Some(cursor) => Page::after(cursor.parse::<Cursor>()?, self.limit),
        };
        Ok(match self.list_type {
            ListType::Followers => graph.followers(&self.user, page),
            ListType::Following => graph.following(&self.user, page),
            ListType::Mutual => graph.mutuals(&self.user, page),
        }?)
    }

    fn say_next(&self, db: &Path, cursor: Cursor) {
        let list_type = self.list_type.to_possible_value();
        let list_type = list_type.as_ref().map_or("", |value| value.get_name());
        let (db, user, limit) = (db.display(), shown(&self.user), self.limit);
        say(format_args!(
            "next page: followgraph --db {db} list {user} --type {list_type} --limit {limit} \
             --cursor {cursor}"
        ));
    }
}

fn follow_item(entry: &Entry) -> FollowItem<'_> {
    FollowItem { to_account: &entry.account, follow_time: entry.followed_at }
}

/// A row for each entry.
pub(crate) fn list_table(list: &List) -> Table {
    let headings = [("ACCOUNT", Align::Left), ("FOLLOWED AT (UTC)", Align::Left)];
    let mut table = Table::with_headings(&headings);
    for entry in &list.entries {
        table.push(vec![shown(&entry.account).into_owned(), utc(entry.followed_at)]);
    }
    table
}

fn parse_limit(text: &str) -> Result<usize, String> {
    let limit = text.parse().ok().filter(|limit| *limit > 0);
    limit.ok_or_else(|| "give a number above 0".to_owned())
}
