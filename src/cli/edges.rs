//! The lines of an edge list on their way to whoever takes them: bad ones are an error, or left
//! out and counted.

use super::failure::Failure;
use super::input::{Input, Lines, NumberedEdge};
use super::output::say;
use super::progress::Progress;
use std::path::{Path, PathBuf};

/// Bad lines that are shown one by one before they are only counted.
const SHOWN_BAD_LINES: u64 = 5;

/// An edge list being read, and what was found in it so far.
pub(crate) struct EdgeLines {
    file: PathBuf,
    skip_bad: bool,
    pub(crate) lines: u64,
    pub(crate) bad_lines: u64,
}

/// Takes edges, some thousand at a time, in order.
pub(crate) type TakeEdges<'a> =
    dyn FnMut(&[NumberedEdge<'_>], &mut EdgeLines) -> Result<(), Failure> + 'a;

impl EdgeLines {
    pub(crate) fn new(file: &Path, skip_bad: bool) -> EdgeLines {
        EdgeLines { file: file.to_owned(), skip_bad, lines: 0, bad_lines: 0 }
    }

    /// Reads the whole input and hands on its edges.
    pub(crate) fn feed(
        &mut self,
        input: &mut Input,
        progress: &mut Progress,
        take: &mut TakeEdges<'_>,
    ) -> Result<(), Failure> {
        let total_bytes = input.total_bytes();
        while let Some(lines) = input.next_lines() {
            let lines = lines.map_err(|error| {
                let (name, line) = (input.name(), self.lines);
                Failure::input(format!("cannot read {name} on after line {line}: {error}"))
            })?;
            self.lines += u64::from(lines.line_count);
            take(&self.good_edges(&lines), self)?;
            for &(line, reason) in &lines.bad {
                self.bad_line(line, reason)?;
            }
            progress.show(input.read_bytes(), total_bytes, self.lines, "lines");
        }
        Ok(())
    }

    /// The edges of some lines, up to the first bad line if that is to be an error: the lines
    /// before it are good.
    fn good_edges<'a>(&self, lines: &'a Lines) -> Vec<NumberedEdge<'a>> {
        let first_bad = lines.bad.first().filter(|_| !self.skip_bad);
        let is_good = |edge: &NumberedEdge<'_>| first_bad.is_none_or(|&(line, _)| edge.line < line);
        lines.edges().take_while(is_good).collect()
    }

    /// An error, or one more line that is left out.
    pub(crate) fn bad_line(&mut self, line: u64, reason: &str) -> Result<(), Failure> {
        let file = self.file.display();
        if !self.skip_bad {
            return Err(Failure::input(format!(
                "{file}, line {line}: {reason}; correct it, or leave such lines out with --skip-bad"
            )));
        }
        self.bad_lines += 1;
        if self.bad_lines <= SHOWN_BAD_LINES {
            say(format_args!("{file}, line {line}: {reason}: left out"));
        }
        Ok(())
    }
}
