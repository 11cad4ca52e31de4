//! The lines of an edge list on their way to whoever takes them: bad ones are an error, or left
//! out and counted.

use super::failure::Failure;
use super::input::{Input, InputError, Lines, NumberedEdge};
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
    /// Edges that were handed on and not refused.
    edges: u64,
    /// The format that the list was taken for, if that was guessed.
    guess: Option<&'static str>,
    /// Lines that were read ahead.
    pending: Option<Lines>,
}

/// Takes edges, some thousand at a time, in order.
pub(crate) type TakeEdges<'a> =
    dyn FnMut(&[NumberedEdge<'_>], &mut EdgeLines) -> Result<(), Failure> + 'a;

impl EdgeLines {
    pub(crate) fn new(file: &Path, skip_bad: bool) -> EdgeLines {
        EdgeLines {
            file: file.to_owned(),
            skip_bad,
            lines: 0,
            bad_lines: 0,
            edges: 0,
            guess: None,
            pending: None,
        }
    }

    /// Reads ahead up to the first edge, so that a list without any is known before a graph is made
    /// for it. The edge is handed on by [`feed`](EdgeLines::feed).
    pub(crate) fn read_to_first_edge(&mut self, input: &mut Input) -> Result<(), Failure> {
        while let Some(lines) = self.next_lines(input)? {
            if !self.good_edges(&lines).is_empty() {
                self.pending = Some(lines);
                return Ok(());
            }
            self.take_lines(&lines, &mut |_, _| Ok(()))?;
        }
        self.check_some_are_good()
    }

    /// Reads the rest of the input and hands on its edges.
    pub(crate) fn feed(
        &mut self,
        input: &mut Input,
        progress: &mut Progress,
        take: &mut TakeEdges<'_>,
    ) -> Result<(), Failure> {
        let total_bytes = input.total_bytes();
        while let Some(lines) = self.next_lines(input)? {
            self.take_lines(&lines, take)?;
            progress.show(input.read_bytes(), total_bytes, self.lines, "lines");
        }
        self.check_some_are_good()
    }

    fn next_lines(&mut self, input: &mut Input) -> Result<Option<Lines>, Failure> {
        if let Some(lines) = self.pending.take() {
            return Ok(Some(lines));
        }
        input.next_lines().transpose().map_err(|error| match error {
            InputError::Io(error) => {
                let (name, line) = (input.name(), self.lines);
                Failure::input(format!("cannot read {name} on after line {line}: {error}"))
            }
            InputError::Refused(problem) => Failure::input(format!("{}{problem}", input.name())),
        })
    }

    fn take_lines(&mut self, lines: &Lines, take: &mut TakeEdges<'_>) -> Result<(), Failure> {
        self.lines += u64::from(lines.line_count);
        self.guess = lines.guess;
        for note in &lines.notes {
            say(format_args!("{}, line {}: note: {note}", self.file.display(), note.line));
        }
        let edges = self.good_edges(lines);
        self.edges += edges.len() as u64;
        take(&edges, self)?;
        for bad in &lines.bad {
            self.leave_out(bad.line, bad)?;
        }
        Ok(())
    }

    /// The edges of some lines, up to the first bad line if that is to be an error: the lines
    /// before it are good.
    fn good_edges<'a>(&self, lines: &'a Lines) -> Vec<NumberedEdge<'a>> {
        let first_bad = lines.bad.first().filter(|_| !self.skip_bad);
        let is_good = |edge: &NumberedEdge<'_>| first_bad.is_none_or(|bad| edge.line < bad.line);
        lines.edges().take_while(is_good).collect()
    }

    /// Refuses a list of which no line could be taken, also where bad lines are left out.
    fn check_some_are_good(&self) -> Result<(), Failure> {
        if self.edges > 0 || self.bad_lines == 0 {
            return Ok(());
        }
        let (file, count) = (self.file.display(), self.bad_lines);
        let format = self.in_words();
        Err(Failure::input(format!("{file}: no line of it can be taken, {count} are bad{format}")))
    }

    /// Says of an edge that was handed on that it cannot be taken: an error, or one more line that
    /// is left out.
    pub(crate) fn bad_line(&mut self, line: u64, reason: &str) -> Result<(), Failure> {
        self.edges = self.edges.saturating_sub(1);
        self.leave_out(line, reason)
    }

    fn leave_out(&mut self, line: u64, reason: impl std::fmt::Display) -> Result<(), Failure> {
        let file = self.file.display();
        if !self.skip_bad {
            let format = self.in_words();
            return Err(Failure::input(format!(
                "{file}, line {line}: {reason}{format}; correct it, or leave such lines out with \
                 --skip-bad"
            )));
        }
        self.bad_lines += 1;
        if self.bad_lines <= SHOWN_BAD_LINES {
            say(format_args!("{file}, line {line}: {reason}: left out"));
        }
        Ok(())
    }

    /// Says which format was guessed.
    fn in_words(&self) -> String {
        self.guess.map_or(String::new(), |guess| {
            format!("; the list is taken for {guess}, --format names another format")
        })
    }
}
