//! `export`: the graph as text, as an edge list or as a table of counts.

use super::failure::{Failure, Verdict};
use super::output::{grouped, say, shown};
use clap::Args;
use followgraph::{AccountId, Counts, ErrorKind, FollowGraph, Page};
use std::io::Write;

/// Accounts and follows that are asked for at once.
const PAGE_LEN: usize = 4096;

/// Text collected before it is written.
const WRITE_BYTES: usize = 256 * 1024;

/// Print all follows as lines of `FROM TO UNIX_TIME`, or the counts of all accounts
///
/// Follows come in the order in which their followers were added, each follower's newest first; a
/// time of 0 is one that is not known. `import` reads this format. Accounts without any follow are
/// not in an edge list.
///
/// On a node of a cluster the follows of the accounts that are kept here are printed, so that all
/// nodes together print every follow once.
#[derive(Args)]
#[command(after_help = "Examples:\n  followgraph --db graph export | zstd > follows.zst\n  \
                        followgraph --db graph export --counts > counts.tsv")]
pub(crate) struct Export {
    /// Print lines of `USER<TAB>FOLLOWERS<TAB>FOLLOWING<TAB>MUTUAL` instead, sorted by user
    #[arg(long)]
    counts: bool,
}

impl Export {
    pub(crate) fn run(&self, graph: &FollowGraph, out: &mut dyn Write) -> Result<Verdict, Failure> {
        if self.counts { export_counts(graph, out) } else { export_follows(graph, out) }?;
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
    for (name, Counts { followers, following, mutual }) in rows {
        text.push(format_args!("{name}\t{followers}\t{following}\t{mutual}\n"))?;
    }
    text.flush()
}

fn export_follows(graph: &FollowGraph, out: &mut dyn Write) -> Result<(), Failure> {
    let mut text = TextBuffer::new(out);
    let mut lonely_count = 0;
    for_each_local_account(graph, &mut |id, name, counts| {
        lonely_count += u64::from(counts.followers == 0 && counts.following == 0);
        if counts.following > 0 {
            export_following(graph, id, &name, &mut text)?;
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
    text: &mut TextBuffer<'_>,
) -> Result<(), Failure> {
    if name.starts_with('#') {
        return Err(unwritable(name, "begins with `#`, as a comment does"));
    }
    check_word(name)?;
    let mut page = Page::first(PAGE_LEN);
    loop {
        let list = graph.following_by_id(id, page)?;
        for entry in &list.entries {
            check_word(&entry.account)?;
            text.push(format_args!("{name} {} {}\n", entry.account, entry.followed_at))?;
        }
        match list.next {
            Some(cursor) => page = Page::after(cursor, PAGE_LEN),
            None => return Ok(()),
        }
    }
}

/// A name with white space would be read back as two. White space beyond ASCII does not divide.
fn check_word(name: &str) -> Result<(), Failure> {
    if name.contains(' ') {
        return Err(unwritable(name, "holds a space"));
    }
    Ok(())
}

fn unwritable(name: &str, reason: &str) -> Failure {
    Failure::input(format!(
        "the account {:?} cannot be written to an edge list, as its name {reason}; \
         `export --counts` and `backup` can hold any name",
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
