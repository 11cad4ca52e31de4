//! `export`: the graph as text, as an edge list or as a table of counts.

use super::failure::{Failure, Verdict};
use super::input::{check_followed, check_follower, csv_field};
use super::output::{grouped, say, shown};
use clap::{Args, ValueEnum};
use followgraph::{AccountId, Counts, ErrorKind, FollowGraph, Page};
use std::io::Write;

/// Accounts and follows that are asked for at once.
const PAGE_LEN: usize = 4096;

/// What some programs write in front of a text.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Text collected before it is written.
const WRITE_BYTES: usize = 256 * 1024;

/// Print all follows as lines of `FROM TO UNIX_TIME`, or the counts of all accounts
///
/// Follows come in the order in which their followers were added, each follower's newest first; a
/// time of 0 is one that is not known. `import` reads both formats. Accounts without any follow are
/// not in an edge list.
///
/// A list with white space between the columns cannot hold all names: a name with a space in it is
/// an error. With --format csv there is no such name.
///
/// On a node of a cluster the follows of the accounts that are kept here are printed, so that all
/// nodes together print every follow once.
#[derive(Args)]
#[command(after_help = "Examples:\n  followgraph --db graph export | zstd > follows.zst\n  \
                        followgraph --db graph export --format csv > follows.csv\n  \
                        followgraph --db graph export --counts > counts.tsv")]
pub(crate) struct Export {
    /// How the follows are written
    #[arg(long, value_enum, default_value_t, conflicts_with = "counts")]
    format: ExportFormat,
    /// Print lines of `USER<TAB>FOLLOWERS<TAB>FOLLOWING<TAB>MUTUAL` instead, sorted by user
    #[arg(long)]
    counts: bool,
}

/// How follows are written
#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum ExportFormat {
    /// `FROM TO UNIX_TIME` with spaces between them
    #[default]
    Space,
    /// `FROM,TO,UNIX_TIME` under a header, names in quotes where they need it
    Csv,
}

impl Export {
    pub(crate) fn run(&self, graph: &FollowGraph, out: &mut dyn Write) -> Result<Verdict, Failure> {
        if self.counts {
            export_counts(graph, out)?;
        } else {
            export_follows(graph, self.format, out)?;
        }
        Ok(Verdict::Fine)
    }
}

fn export_counts(graph: &FollowGraph, out: &mut dyn Write) -> Result<(), Failure> {
    let mut rows = Vec::new();
    for_each_local_account(graph, &mut |_, name, counts| {
        rows.push((name, counts));
        Ok(())
    })?;
    rows.sort_unstable_by(|(left, _), (right, _)| left.cmp(right));
    let mut text = TextBuffer::new(out);
    if rows.first().is_some_and(|(name, _)| name.starts_with(BYTE_ORDER_MARK)) {
        // Whoever reads the table takes the first mark for no part of the first name.
        text.push(format_args!("{BYTE_ORDER_MARK}"))?;
    }
    for (name, Counts { followers, following, mutual }) in rows {
        text.push(format_args!("{name}\t{followers}\t{following}\t{mutual}\n"))?;
    }
    text.flush()
}

fn export_follows(
    graph: &FollowGraph,
    format: ExportFormat,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut text = TextBuffer::new(out);
    let mut lonely_count = 0;
    if format == ExportFormat::Csv {
        text.push(format_args!("from,to,time\n"))?;
    }
    for_each_local_account(graph, &mut |id, name, counts| {
        lonely_count += u64::from(counts.followers == 0 && counts.following == 0);
        if counts.following > 0 {
            export_following(graph, id, &name, format, &mut text)?;
        }
        Ok(())
    })?;
    text.flush()?;
    if lonely_count > 0 {
        let count = grouped(lonely_count);
        say(format_args!("note: {count} accounts have no follows and so are not in the edge list"));
    }
    Ok(())
}

fn export_following(
    graph: &FollowGraph,
    id: AccountId,
    name: &str,
    format: ExportFormat,
    text: &mut TextBuffer<'_>,
) -> Result<(), Failure> {
    if format == ExportFormat::Space {
        check_follower(name).map_err(|reason| unwritable(name, reason))?;
    }
    let mut page = Page::first(PAGE_LEN);
    loop {
        let list = graph.following_by_id(id, page)?;
        for entry in &list.entries {
            let (followed, at) = (&entry.account, entry.followed_at);
            match format {
                ExportFormat::Space => {
                    check_followed(followed).map_err(|reason| unwritable(followed, reason))?;
                    text.push(format_args!("{name} {followed} {at}\n"))?;
                }
                ExportFormat::Csv => {
                    let (name, followed) = (csv_field(name), csv_field(followed));
                    text.push(format_args!("{name},{followed},{at}\n"))?;
                }
            }
        }
        match list.next {
            Some(cursor) => page = Page::after(cursor, PAGE_LEN),
            None => return Ok(()),
        }
    }
}

fn unwritable(name: &str, reason: &str) -> Failure {
    Failure::input(format!(
        "the account {:?} cannot be written to a list with spaces between the names, as its name \
         {reason}; --format csv can hold any name",
        shown(name),
    ))
}

/// Goes through all accounts whose sets are kept here, in the order of their ids.
fn for_each_local_account(
    graph: &FollowGraph,
    each: &mut dyn FnMut(AccountId, String, Counts) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut after = None;
    loop {
        let accounts = graph.accounts(after, PAGE_LEN);
        let Some((last, _)) = accounts.last() else { return Ok(()) };
        after = Some(*last);
        let ids: Vec<_> = accounts.iter().map(|(id, _)| *id).collect();
        for ((id, name), counts) in accounts.into_iter().zip(graph.batch_counts_by_id(&ids)) {
            match counts {
                Ok(counts) => each(id, name, counts)?,
                Err(error) if error.kind() == ErrorKind::ForeignAccount => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Collects short pieces of text into long writes.
struct TextBuffer<'a> {
    text: Vec<u8>,
    out: &'a mut dyn Write,
}

impl<'a> TextBuffer<'a> {
    fn new(out: &'a mut dyn Write) -> TextBuffer<'a> {
        TextBuffer { text: Vec::with_capacity(WRITE_BYTES), out }
    }

    fn push(&mut self, piece: std::fmt::Arguments<'_>) -> Result<(), Failure> {
        self.text.write_fmt(piece)?;
        if self.text.len() > WRITE_BYTES - 1024 {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.out.write_all(&self.text)?;
        self.text.clear();
        Ok(())
    }
}
