//! `verify --against`: the graph beside an edge list of another system, and the graph repaired to
//! be like it.

use super::edges::EdgeLines;
use super::failure::{Failure, Verdict};
use super::import::parse_size;
use super::input::{Format, Input, NumberedEdge};
use super::output::{Align, Table, grouped, write_json};
use super::progress::Progress;
use super::scope::{parse_removal_limit, read_names};
use clap::Args;
use followgraph::{
    CompareEvent, Comparing, Comparison, Difference, ErrorKind, Fate, FollowGraph, RemovalLimit,
    Repair, RepairEvent, RepairOptions,
};
use serde_json::{Value, json};
use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// How to compare, and what to do about what differs.
#[derive(Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct AgainstOptions {
    /// How the list is written, as for `import`
    #[arg(long, value_enum, default_value_t, requires = "against")]
    pub(crate) format: Format,
    /// Compare the times of follows too, where the list has one
    #[arg(long, requires = "against")]
    times: bool,
    /// Take accounts of the graph without follows that the file does not name for extra
    #[arg(long, requires = "other")]
    pub(crate) lonely_accounts: bool,
    /// Compare, and repair, only the follows of the accounts in this file, one name a line: whom
    /// they follow, not who follows them. For a list that is a part of what the other system has
    #[arg(long, value_name = "FILE", requires = "against")]
    only_accounts: Option<PathBuf>,
    /// Bring the graph to the list, and compare again. Where standard output is a terminal, this
    /// is a dry run unless --yes is given
    #[arg(long, requires = "against")]
    repair: bool,
    /// With --repair: only print what would be repaired
    #[arg(long, requires = "repair", conflicts_with = "yes")]
    dry_run: bool,
    /// With --repair: carry the repair out, also on a terminal
    #[arg(long, requires = "repair")]
    yes: bool,
    /// With --repair: refuse to remove more than this, a number of follows and accounts or a
    /// percentage of either
    #[arg(
        long, value_name = "N|N%", default_value = "10%", requires = "repair",
        value_parser = parse_removal_limit
    )]
    max_removals: RemovalLimit,
    /// With --repair: add what is missing and remove nothing
    #[arg(long, requires = "repair", conflicts_with = "remove_accounts")]
    add_only: bool,
    /// With --repair: remove extra accounts too
    #[arg(long, requires = "repair")]
    remove_accounts: bool,
    /// Leave out lines that cannot be understood, instead of stopping at the first. Has no effect
    /// with --repair, which takes no list with such lines
    #[arg(long, requires = "other")]
    pub(crate) skip_bad: bool,
    /// Print so many differences; all are counted
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) limit: u64,
    /// Memory for the follows of the list, for example 512M; what exceeds it goes to a temporary
    /// file
    #[arg(long, value_name = "SIZE", default_value = "1G", value_parser = parse_size)]
    memory: u64,
    /// Where that file goes [default: the directory for temporary files]
    #[arg(long, value_name = "DIR")]
    temp_dir: Option<PathBuf>,
}

impl AgainstOptions {
    /// Whether the graph is to be changed.
    pub(crate) fn repairs(&self) -> bool {
        self.repair && !self.dry_run && (self.yes || !io::stdout().is_terminal())
    }

    fn repair_options(&self) -> RepairOptions {
        let options = RepairOptions::new().max_removals(self.max_removals);
        options.add_only(self.add_only).remove_accounts(self.remove_accounts)
    }
}

/// A comparison with a file.
pub(crate) struct Against<'a> {
    file: &'a Path,
    options: &'a AgainstOptions,
    json: bool,
    /// The accounts whose follows are compared, unless all are.
    only: Option<Vec<String>>,
}

/// What is left of a repair that failed.
const SO_FAR: &str = "what was repaired so far stays; run it again to go on";

impl<'o> Against<'o> {
    pub(crate) fn new(
        file: &'o Path,
        options: &'o AgainstOptions,
        json: bool,
    ) -> Result<Against<'o>, Failure> {
        let only = options.only_accounts.as_deref().map(read_names).transpose()?;
        let against = Against { file, options, json, only };
        if against.repairs() && file.as_os_str() == "-" {
            let message =
                "--repair reads the list twice, so it cannot be standard input: give a file";
            return Err(Failure::usage(message));
        }
        Ok(against)
    }

    fn repairs(&self) -> bool {
        self.options.repairs()
    }

    pub(crate) fn run(
        &self,
        graph: &FollowGraph,
        input: Input,
        out: &mut dyn Write,
    ) -> Result<Verdict, Failure> {
        if !self.repairs() {
            let found = self.compare(graph, input, out)?;
            if self.options.repair {
                self.print_dry_run(&found, out)?;
            }
            return Ok(Verdict::fine_if(found.is_equal()));
        }
        let repair_options = self.options.repair_options();
        let (comparing, lines) = self.read(graph, input)?;
        let mut printed = Printed::new(self.json, self.options.limit, out);
        let mut progress = Progress::bar_only("repairing", Some(1), !self.json);
        let repair = comparing.repair(repair_options, &mut |event| match event {
            RepairEvent::Found(found) => {
                let _ = progress.aside(|| printed.plan(found, repair_options));
                ControlFlow::Continue(())
            }
            RepairEvent::Difference(difference, fate) => {
                // Who reads no further did not ask for half a repair.
                let _ = progress.aside(|| printed.difference(&difference, Some(fate)));
                ControlFlow::Continue(())
            }
            RepairEvent::Progress(done, total) => {
                progress.show(done, Some(total), done / 2, "accounts");
                ControlFlow::Continue(())
            }
            _ => ControlFlow::Continue(()),
        });
        drop(progress);
        let repair = repair.map_err(|error| match error.kind() {
            ErrorKind::RepairRefused => error.into(),
            _ => Failure::from(error).leaving(SO_FAR),
        })?;
        printed.end()?;
        report(&repair.found, &lines, self.json, out)?;
        report_repair(&repair, self.json, out)?;
        if !self.json {
            writeln!(out, "compared again:")?;
        }
        let again = self.compare(graph, Input::open(self.file, self.options.format)?, out)?;
        let lacks = again.missing_account_count + again.missing_follow_count;
        let has_all = again.complete && lacks + again.other_time_count == 0;
        Ok(Verdict::fine_if(again.is_equal() || (self.options.add_only && has_all)))
    }

    /// Prints what a repair would do, and that it was not done.
    fn print_dry_run(&self, found: &Comparison, out: &mut dyn Write) -> Result<(), Failure> {
        let options = self.options.repair_options();
        let mut printed = Printed::new(self.json, u64::MAX, out);
        let _ = printed.plan(found, options);
        let out = printed.end()?;
        options.check(found)?;
        if !self.json && !found.is_equal() {
            writeln!(out, "nothing was changed: this was a dry run; --yes carries it out")?;
        }
        Ok(())
    }

    fn compare(
        &self,
        graph: &FollowGraph,
        input: Input,
        out: &mut dyn Write,
    ) -> Result<Comparison, Failure> {
        let (comparing, lines) = self.read(graph, input)?;
        let mut printed = Printed::new(self.json, self.options.limit, out);
        let mut progress = Progress::bar_only("comparing", Some(1), !self.json);
        let found = comparing.finish(&mut |event| match event {
            CompareEvent::Difference(difference) => {
                progress.aside(|| printed.difference(&difference, None))
            }
            CompareEvent::Progress(done, total) => {
                progress.show(done, Some(total), done, "accounts");
                ControlFlow::Continue(())
            }
            _ => ControlFlow::Continue(()),
        });
        drop(progress);
        printed.end()?;
        let found = found?;
        report(&found, &lines, self.json, out)?;
        Ok(found)
    }

    /// Reads the whole list. Nothing is changed before its last line was understood.
    fn read<'a>(
        &self,
        graph: &'a FollowGraph,
        mut input: Input,
    ) -> Result<(Comparing<'a>, EdgeLines), Failure> {
        let options = self.options;
        let directory = options.temp_dir.clone().unwrap_or_else(std::env::temp_dir);
        let comparing = graph.compare(options.memory, directory)?;
        let mut comparing = comparing.times(options.times).lonely_accounts(options.lonely_accounts);
        if let Some(names) = &self.only {
            comparing = comparing.only(names.iter().map(String::as_str))?;
        }
        // Before a repair, bad lines are counted and shown as well, but then end it.
        let mut lines = EdgeLines::new(self.file, options.skip_bad || options.repair);
        let mut progress = Progress::bar_only("reading", input.total_bytes(), !self.json);
        lines.feed(&mut input, &mut progress, &mut |edges, lines| {
            self.refuse_bad_lines(lines)?;
            add(&mut comparing, edges, lines)
        })?;
        self.refuse_bad_lines(&lines)?;
        Ok((comparing, lines))
    }

    /// What a bad line means is not known, so a repair could remove exactly that.
    fn refuse_bad_lines(&self, lines: &EdgeLines) -> Result<(), Failure> {
        if !self.options.repair || lines.bad_lines == 0 {
            return Ok(());
        }
        Err(Failure::input(format!(
            "{}: there are lines that cannot be understood, and a repair could remove what they \
             hold; nothing was changed: correct these lines and repair again",
            self.file.display()
        )))
    }
}

fn add(
    comparing: &mut Comparing<'_>,
    edges: &[NumberedEdge<'_>],
    lines: &mut EdgeLines,
) -> Result<(), Failure> {
    for edge in edges {
        match comparing.add(edge.from, edge.to, edge.at) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::InvalidName => {
                lines.bad_line(edge.line, &error.to_string())?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Differences as they are printed, up to a limit.
pub(crate) struct Printed<'a> {
    pub(crate) json: bool,
    limit: u64,
    count: u64,
    out: &'a mut dyn Write,
    failure: Option<Failure>,
}

impl<'a> Printed<'a> {
    pub(crate) fn new(json: bool, limit: u64, out: &'a mut dyn Write) -> Printed<'a> {
        Printed { json, limit, count: 0, out, failure: None }
    }

    /// Prints a difference, unless enough were printed.
    fn difference(&mut self, difference: &Difference<'_>, fate: Option<&Fate>) -> ControlFlow<()> {
        let lines = || {
            let (mut text, mut body) = in_words(difference);
            if let Some(fate) = fate {
                let fate = fate_in_words(fate);
                text = format!("{text}\t{fate}");
                body["fate"] = json!(fate);
            }
            (text, body)
        };
        self.line(lines)
    }

    /// Prints what a repair does. The line does not count as a difference.
    fn plan(&mut self, found: &Comparison, options: RepairOptions) -> ControlFlow<()> {
        let (count, limit) = (self.count, self.limit);
        self.limit = u64::MAX;
        let flow = self.line(|| plan_in_words(found, options));
        (self.count, self.limit) = (count, limit);
        flow
    }

    /// Prints a line in either form, unless enough were printed. What failed is told at the end.
    pub(crate) fn line(&mut self, forms: impl FnOnce() -> (String, Value)) -> ControlFlow<()> {
        self.count += 1;
        if self.count > self.limit {
            return ControlFlow::Continue(());
        }
        let (text, body) = forms();
        let written = if self.json {
            write_json(self.out, &body)
        } else {
            writeln!(self.out, "{text}").map_err(Failure::from)
        };
        match written {
            Ok(()) => ControlFlow::Continue(()),
            Err(failure) => {
                self.failure.get_or_insert(failure);
                ControlFlow::Break(())
            }
        }
    }

    /// Says that there were more.
    pub(crate) fn end(self) -> Result<&'a mut dyn Write, Failure> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let unprinted = self.count.saturating_sub(self.limit);
        if unprinted > 0 && !self.json {
            writeln!(self.out, "… and {} more; --limit prints more", grouped(unprinted))?;
        }
        Ok(self.out)
    }
}

/// Names hold no tabs, so that what stands between tabs is a name whatever it holds.
fn in_words(difference: &Difference<'_>) -> (String, Value) {
    match *difference {
        Difference::MissingAccount { name } => (
            format!("missing account\t{name}"),
            json!({ "kind": "missing_account", "account": name }),
        ),
        Difference::ExtraAccount { name, .. } => {
            (format!("extra account\t{name}"), json!({ "kind": "extra_account", "account": name }))
        }
        Difference::MissingFollow { follower, followed, at } => (
            format!("missing follow\t{follower}\t{followed}\t{at}"),
            json!({ "kind": "missing_follow", "from": follower, "to": followed, "at": at }),
        ),
        Difference::ExtraFollow { follower, followed, at } => (
            format!("extra follow\t{follower}\t{followed}\t{at}"),
            json!({ "kind": "extra_follow", "from": follower, "to": followed, "at": at }),
        ),
        Difference::OtherTime { follower, followed, at, listed_at } => (
            format!("other time\t{follower}\t{followed}\t{at}\tlisted {listed_at}"),
            json!({
                "kind": "other_time", "from": follower, "to": followed, "at": at,
                "listed_at": listed_at,
            }),
        ),
        _ => (format!("{difference:?}"), json!({ "kind": "other" })),
    }
}

fn plan_in_words(found: &Comparison, options: RepairOptions) -> (String, Value) {
    let (accounts, follows) = (found.missing_account_count, found.missing_follow_count);
    let (removed_follows, removed_accounts) = options.removals(found);
    let times = found.other_time_count;
    let text = format!(
        "to add: {} accounts and {} follows; to remove: {} accounts and {} follows; times to \
         change: {}",
        grouped(accounts),
        grouped(follows),
        grouped(removed_accounts),
        grouped(removed_follows),
        grouped(times),
    );
    let body = json!({
        "kind": "plan",
        "added_account_count": accounts,
        "added_follow_count": follows,
        "removed_account_count": removed_accounts,
        "removed_follow_count": removed_follows,
        "changed_time_count": times,
    });
    (text, body)
}

fn fate_in_words(fate: &Fate) -> String {
    match fate {
        Fate::Repaired => "repaired".to_owned(),
        Fate::SoAlready => "so already".to_owned(),
        Fate::ChangedSince => "changed since: left alone".to_owned(),
        Fate::Kept => "kept".to_owned(),
        Fate::Refused(error) => format!("refused: {error}"),
        _ => format!("{fate:?}"),
    }
}

/// Says what a comparison found.
fn report(
    found: &Comparison,
    lines: &EdgeLines,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    if json {
        return write_json(out, &compared(found, lines));
    }
    let sizes = format!(
        "{} accounts and {} follows in the graph, {} and {} in the list",
        grouped(found.account_count),
        grouped(found.follow_count),
        grouped(found.listed_account_count),
        grouped(found.listed_follow_count),
    );
    match found.difference_count() {
        0 => writeln!(out, "the graph and the list are the same: {sizes}")?,
        count => writeln!(out, "differences: {}; {sizes}", grouped(count))?,
    }
    let rows = [
        ("missing accounts", found.missing_account_count, "in the list, not in the graph"),
        ("extra accounts", found.extra_account_count, "in the graph, not in the list"),
        ("missing follows", found.missing_follow_count, "in the list, not in the graph"),
        ("extra follows", found.extra_follow_count, "in the graph, not in the list"),
        ("other times", found.other_time_count, ""),
        ("lonely accounts", found.lonely_account_count, "without follows, not compared"),
        ("self follows", found.self_follow_count, "in the list, left out"),
        ("duplicates", found.duplicate_count, "in the list, left out"),
        ("other accounts", found.out_of_scope_count, "follows in the list, left out"),
        ("bad lines", lines.bad_lines, "left out"),
    ];
    table(&rows, out)
}

/// The rows that are not zero.
pub(crate) fn table(rows: &[(&str, u64, &str)], out: &mut dyn Write) -> Result<(), Failure> {
    let mut table = Table::new(vec![Align::Left, Align::Right, Align::Left]);
    for &(what, count, note) in rows.iter().filter(|(_, count, _)| *count > 0) {
        table.push(vec![what.to_owned(), grouped(count), note.to_owned()]);
    }
    Ok(table.write("  ", out)?)
}

fn compared(found: &Comparison, lines: &EdgeLines) -> Value {
    json!({
        "kind": "compared",
        "equal": found.is_equal(),
        "sequence": found.sequence,
        "account_count": found.account_count,
        "follow_count": found.follow_count,
        "listed_account_count": found.listed_account_count,
        "listed_follow_count": found.listed_follow_count,
        "missing_account_count": found.missing_account_count,
        "extra_account_count": found.extra_account_count,
        "missing_follow_count": found.missing_follow_count,
        "extra_follow_count": found.extra_follow_count,
        "other_time_count": found.other_time_count,
        "lonely_account_count": found.lonely_account_count,
        "self_follow_count": found.self_follow_count,
        "duplicate_count": found.duplicate_count,
        "out_of_scope_count": found.out_of_scope_count,
        "line_count": lines.lines,
        "bad_line_count": lines.bad_lines,
    })
}

fn report_repair(repair: &Repair, json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    if json {
        let line = json!({
            "kind": "repaired",
            "repaired_count": repair.repaired_count,
            "so_already_count": repair.so_already_count,
            "changed_since_count": repair.changed_since_count,
            "kept_count": repair.kept_count,
            "refused_count": repair.refused_count,
        });
        return write_json(out, &line);
    }
    writeln!(out, "repaired: {}", grouped(repair.repaired_count))?;
    let rows = [
        ("so already", repair.so_already_count, "somebody did it since"),
        ("changed since", repair.changed_since_count, "left alone"),
        ("kept", repair.kept_count, "extra; see --add-only and --remove-accounts"),
        ("refused", repair.refused_count, ""),
    ];
    table(&rows, out)
}
