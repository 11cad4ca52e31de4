//! `verify --against-counts`: the counts of the graph beside a table of another system.

use super::against::Printed;
use super::failure::{Failure, Verdict};
use super::input::{open_text, quoted};
use super::output::{grouped, say, write_json};
use followgraph::{AccountId, Counts, ErrorKind, FollowGraph};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::ControlFlow;
use std::path::Path;

/// Accounts that are asked for at once.
const PAGE_LEN: usize = 4096;

/// Much longer than a line of three counts and the longest name.
const LINE_BYTES_MAX: u64 = 4096;

const LONG_LINE: &str = "it is longer than 4096 bytes";

/// Bad lines that are shown one by one before they are only counted.
const SHOWN_BAD_LINES: u64 = 5;

/// A table of counts being read.
pub(crate) struct Table {
    name: String,
    source: BufReader<Box<dyn Read + Send>>,
    skip_bad: bool,
    line_count: u64,
}

/// What a comparison of counts comes to.
#[derive(Default)]
struct Tally {
    listed: u64,
    differing: u64,
    missing: u64,
    extra: u64,
    lonely: u64,
    foreign: u64,
    duplicates: u64,
    bad_lines: u64,
}

/// A line that names an account, or says nothing.
enum Row {
    Nothing,
    Counts(String, Counts),
    /// Nothing that can be understood, for this reason, and the line as it can be shown.
    Bad(&'static str, String),
}

impl Table {
    pub(crate) fn open(path: &Path, skip_bad: bool) -> Result<Table, Failure> {
        let (name, source) = open_text(path)?;
        Ok(Table { name, source: BufReader::new(source), skip_bad, line_count: 0 })
    }

    /// Compares every account of the table with the graph, then looks for accounts of the graph
    /// that the table does not name.
    pub(crate) fn compare(
        mut self,
        graph: &FollowGraph,
        lonely_accounts: bool,
        mut printed: Printed<'_>,
    ) -> Result<Verdict, Failure> {
        let (mut tally, mut named) = (Tally::default(), Named::default());
        while let Some(row) = self.next_row()? {
            let flow = match row {
                Row::Nothing => ControlFlow::Continue(()),
                Row::Bad(reason, line) => {
                    self.bad_line(reason, &line, &mut tally)?;
                    ControlFlow::Continue(())
                }
                Row::Counts(account, listed) => {
                    compare_one(graph, &account, listed, &mut named, &mut tally, &mut printed)?
                }
            };
            if flow.is_break() {
                break;
            }
        }
        find_extra(graph, lonely_accounts, &named, &mut tally, &mut printed)?;
        let verdict = Verdict::fine_if(tally.differing + tally.missing + tally.extra == 0);
        report(&tally, printed)?;
        Ok(verdict)
    }

    fn next_row(&mut self) -> Result<Option<Row>, Failure> {
        let line = self.next_line().map_err(|error| {
            let (name, line) = (&self.name, self.line_count);
            Failure::input(format!("cannot read {name} on after line {line}: {error}"))
        })?;
        if line.is_empty() {
            return Ok(None);
        }
        self.line_count += 1;
        let row = if line.len() as u64 > LINE_BYTES_MAX { Err(LONG_LINE) } else { parse(&line) };
        Ok(Some(row.unwrap_or_else(|reason| Row::Bad(reason, quoted(&line)))))
    }

    /// Reads a line with its end; of one that is too long, little more than what may be kept.
    fn next_line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        (&mut self.source).take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut line)?;
        if line.len() as u64 > LINE_BYTES_MAX && !line.ends_with(b"\n") {
            self.source.skip_until(b'\n')?;
        }
        Ok(line)
    }

    fn bad_line(&self, reason: &str, text: &str, tally: &mut Tally) -> Result<(), Failure> {
        let (name, line) = (&self.name, self.line_count);
        if !self.skip_bad {
            return Err(Failure::input(format!(
                "{name}, line {line}: {reason}: `{text}`; correct it, or leave such lines out with \
                 --skip-bad"
            )));
        }
        tally.bad_lines += 1;
        if tally.bad_lines <= SHOWN_BAD_LINES {
            say(format_args!("{name}, line {line}: {reason}: `{text}`: left out"));
        }
        Ok(())
    }
}

/// Accounts that were named, a bit each and those that the graph does not have by name.
#[derive(Default)]
struct Named {
    ids: Vec<u64>,
    unknown: BTreeSet<String>,
}

impl Named {
    /// Whether the account was not named before.
    fn insert(&mut self, id: AccountId) -> bool {
        let (place, bit) = ((id.0 / 64) as usize, 1 << (id.0 % 64));
        if place >= self.ids.len() {
            self.ids.resize((place + 1).next_power_of_two(), 0);
        }
        let is_new = self.ids[place] & bit == 0;
        self.ids[place] |= bit;
        is_new
    }

    fn contains(&self, id: AccountId) -> bool {
        let word = self.ids.get((id.0 / 64) as usize).copied().unwrap_or(0);
        word >> (id.0 % 64) & 1 == 1
    }
}

fn parse(line: &[u8]) -> Result<Row, &'static str> {
    let line = std::str::from_utf8(line).map_err(|_| "it is not valid UTF-8")?;
    let line = line.trim_end_matches(['\n', '\r']);
    // A name may begin with `#`; a comment has no three counts behind it.
    let mut columns = line.rsplitn(4, '\t');
    let mut number = || columns.next().and_then(|word| word.trim().parse::<u32>().ok());
    let numbers = (number(), number(), number());
    match (numbers, columns.next()) {
        ((Some(mutual), Some(following), Some(followers)), Some(name)) if !name.is_empty() => {
            Ok(Row::Counts(name.to_owned(), Counts { followers, following, mutual }))
        }
        _ if line.trim().is_empty() || line.starts_with('#') => Ok(Row::Nothing),
        _ => Err("it is not a name and three counts with tabs between them"),
    }
}

fn compare_one(
    graph: &FollowGraph,
    account: &str,
    listed: Counts,
    named: &mut Named,
    tally: &mut Tally,
    printed: &mut Printed<'_>,
) -> Result<ControlFlow<()>, Failure> {
    let id = match graph.account_id(account) {
        Ok(id) => id,
        Err(error) if is_missing(error.kind()) => {
            if !named.unknown.insert(account.to_owned()) {
                tally.duplicates += 1;
                return Ok(ControlFlow::Continue(()));
            }
            (tally.listed, tally.missing) = (tally.listed + 1, tally.missing + 1);
            return Ok(printed.line(|| missing(account, listed)));
        }
        Err(error) => return Err(error.into()),
    };
    if !named.insert(id) {
        tally.duplicates += 1;
        return Ok(ControlFlow::Continue(()));
    }
    tally.listed += 1;
    match graph.counts_by_id(id) {
        Ok(counts) if counts == listed => Ok(ControlFlow::Continue(())),
        Ok(counts) => {
            tally.differing += 1;
            Ok(printed.line(|| differing(account, counts, listed)))
        }
        Err(error) if error.kind() == ErrorKind::ForeignAccount => {
            tally.foreign += 1;
            Ok(ControlFlow::Continue(()))
        }
        Err(error) => Err(error.into()),
    }
}

fn is_missing(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::UnknownAccount | ErrorKind::InvalidName)
}

fn find_extra(
    graph: &FollowGraph,
    lonely_accounts: bool,
    named: &Named,
    tally: &mut Tally,
    printed: &mut Printed<'_>,
) -> Result<(), Failure> {
    let mut after = None;
    loop {
        let accounts = graph.accounts(after, PAGE_LEN);
        let Some((last, _)) = accounts.last() else { return Ok(()) };
        after = Some(*last);
        for (id, name) in accounts.iter().filter(|(id, _)| !named.contains(*id)) {
            let Ok(counts) = graph.counts_by_id(*id) else {
                tally.foreign += 1;
                continue;
            };
            if counts == Counts::default() && !lonely_accounts {
                tally.lonely += 1;
                continue;
            }
            tally.extra += 1;
            if printed.line(|| extra(name, counts)).is_break() {
                return Ok(());
            }
        }
    }
}

fn shown(Counts { followers, following, mutual }: Counts) -> String {
    format!("{followers}\t{following}\t{mutual}")
}

fn body(Counts { followers, following, mutual }: Counts) -> Value {
    json!({ "followers": followers, "following": following, "mutual": mutual })
}

fn differing(account: &str, counts: Counts, listed: Counts) -> (String, Value) {
    let text = format!("other counts\t{account}\t{}\tlisted\t{}", shown(counts), shown(listed));
    let (counts, listed) = (body(counts), body(listed));
    let value =
        json!({ "kind": "other_counts", "account": account, "graph": counts, "listed": listed });
    (text, value)
}

fn missing(account: &str, listed: Counts) -> (String, Value) {
    let text = format!("missing account\t{account}\tlisted\t{}", shown(listed));
    (text, json!({ "kind": "missing_account", "account": account, "listed": body(listed) }))
}

fn extra(account: &str, counts: Counts) -> (String, Value) {
    let text = format!("extra account\t{account}\t{}", shown(counts));
    (text, json!({ "kind": "extra_account", "account": account, "graph": body(counts) }))
}

fn report(tally: &Tally, printed: Printed<'_>) -> Result<(), Failure> {
    let json = printed.json;
    let differences = tally.differing + tally.missing + tally.extra;
    let out = printed.end()?;
    if json {
        let line = json!({
            "kind": "compared_counts",
            "equal": differences == 0,
            "listed_account_count": tally.listed,
            "other_counts_count": tally.differing,
            "missing_account_count": tally.missing,
            "extra_account_count": tally.extra,
            "lonely_account_count": tally.lonely,
            "foreign_account_count": tally.foreign,
            "duplicate_count": tally.duplicates,
            "bad_line_count": tally.bad_lines,
        });
        return write_json(out, &line);
    }
    let listed = grouped(tally.listed);
    match differences {
        0 => writeln!(out, "the counts are those of the table: {listed} accounts")?,
        count => writeln!(out, "differences: {}; {listed} accounts in the table", grouped(count))?,
    }
    let rows = [
        ("other counts", tally.differing, ""),
        ("missing accounts", tally.missing, "in the table, not in the graph"),
        ("extra accounts", tally.extra, "in the graph, not in the table"),
        ("lonely accounts", tally.lonely, "without follows, not compared"),
        ("foreign accounts", tally.foreign, "counted elsewhere, not compared"),
        ("duplicates", tally.duplicates, "in the table, left out: the first one counts"),
        ("bad lines", tally.bad_lines, "left out"),
    ];
    super::against::table(&rows, out)
}
