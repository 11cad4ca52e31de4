//! The lines of an edge list, taken apart by a reader of one format.

use std::borrow::Cow;
use std::fmt::{self, Write};

/// How much of a line is shown in a message.
const QUOTE_CHARS_MAX: usize = 120;

/// Lines of a chunk that are quoted; the rest are only counted.
const QUOTED_LINES_MAX: usize = 16;

/// Some lines of an edge list, taken apart.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    text: String,
    edges: Vec<EdgeWords>,
    /// The lines that cannot be understood, ascending.
    pub(crate) bad: Vec<MarkedLine>,
    /// The lines that are no edges, and that whoever imports the list should hear of.
    pub(crate) notes: Vec<MarkedLine>,
    pub(crate) line_count: u32,
    /// The format that was guessed; `None` if it was given.
    pub(crate) guess: Option<&'static str>,
    first_line: u64,
}

/// An edge and the number of its line in the whole list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NumberedEdge<'a> {
    pub(crate) line: u64,
    pub(crate) from: &'a str,
    pub(crate) to: &'a str,
    pub(crate) at: Option<u32>,
}

/// A line that is worth a message.
#[derive(Debug)]
pub(crate) struct MarkedLine {
    pub(crate) line: u64,
    pub(crate) reason: Reason,
    /// The line itself as it can be shown; empty if enough lines are shown before it.
    pub(crate) quote: String,
}

/// Why a line cannot be understood, or what it is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reason {
    what: &'static str,
    hint: &'static str,
}

/// Where the names of an edge are in the text, and how many lines are before it.
#[derive(Debug)]
struct EdgeWords {
    lines_before: u32,
    from: Word,
    to: Word,
    at: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Word {
    start: u32,
    end: u32,
}

/// What one line of an edge list says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// Nothing, or a comment.
    Blank,
    /// That `from` follows `to`, since `at` where that is known.
    Edge { from: Cow<'a, str>, to: Cow<'a, str>, at: Option<u32> },
    /// Something about the list.
    Note(Reason),
    /// Nothing that can be understood, for this reason.
    Bad(Reason),
}

/// Reads lines of one format, in order.
pub(super) trait ReadLine {
    /// Reads a line of text, without its end.
    fn line<'a>(&mut self, line: &'a str) -> Line<'a>;

    /// Reads a line that is not valid UTF-8.
    fn undecodable(&mut self, line: &[u8]) -> Line<'static>;
}

pub(super) const NOT_UTF_8: Reason = Reason::new("it is not valid UTF-8")
    .hint("convert a list in Latin-1 with `iconv -f LATIN1 -t UTF-8 FILE`");
const LONG_NAME: Reason = Reason::new("a name is longer than 255 bytes");
const CONTROL_CHARACTER: Reason = Reason::new("a name holds a control character");

impl Reason {
    pub(super) const fn new(what: &'static str) -> Reason {
        Reason { what, hint: "" }
    }

    /// Adds what to do about it.
    pub(super) const fn hint(self, hint: &'static str) -> Reason {
        Reason { hint, ..self }
    }
}

impl fmt::Display for MarkedLine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Reason { what, hint } = self.reason;
        write!(formatter, "{what}: `{}`", self.quote)?;
        if hint.is_empty() { Ok(()) } else { write!(formatter, "; {hint}") }
    }
}

impl Lines {
    /// Takes apart lines that are whole, the last one without its end.
    pub(super) fn parse(chunk: Vec<u8>, first_line: u64, reader: &mut impl ReadLine) -> Lines {
        let mut lines = Lines { first_line, ..Lines::default() };
        let (mut text, undecodable) = match String::from_utf8(chunk) {
            Ok(text) => (text, Vec::new()),
            Err(error) => decodable(error.as_bytes()),
        };
        let mut undecodable = undecodable.into_iter().peekable();
        // Names that do not stand in the text as they are, as in quoted fields.
        let mut unquoted = String::new();
        let (text_start, text_len) = (text.as_ptr().addr(), text.len());
        let mut word = |word: Cow<'_, str>| match word {
            Cow::Borrowed(word) => {
                let start = (word.as_ptr().addr() - text_start) as u32;
                Word { start, end: start + word.len() as u32 }
            }
            Cow::Owned(word) => {
                let start = (text_len + unquoted.len()) as u32;
                unquoted.push_str(&word);
                Word { start, end: start + word.len() as u32 }
            }
        };
        for line in text.split('\n') {
            let lines_before = lines.line_count;
            lines.line_count += 1;
            if undecodable.peek().is_some_and(|(number, _)| *number == lines_before) {
                let line = undecodable.next().map(|(_, line)| line).unwrap_or_default();
                if let Line::Bad(reason) = reader.undecodable(&line) {
                    lines.mark_bad(lines_before, reason, &line);
                }
                continue;
            }
            match reader.line(line) {
                Line::Blank => {}
                Line::Edge { from, to, at } => {
                    let (from, to) = (word(from), word(to));
                    lines.edges.push(EdgeWords { lines_before, from, to, at });
                }
                Line::Note(reason) => {
                    let line = marked(first_line, lines_before, reason, quoted(line.as_bytes()));
                    lines.notes.push(line);
                }
                Line::Bad(reason) => lines.mark_bad(lines_before, reason, line.as_bytes()),
            }
        }
        text.push_str(&unquoted);
        lines.text = text;
        lines
    }

    /// Makes a single line that is bad, and of which only the beginning is known.
    pub(super) fn one_bad(line: u64, reason: Reason, begin: &[u8]) -> Lines {
        let mut lines = Lines { first_line: line, line_count: 1, ..Lines::default() };
        lines.bad.push(marked(line, 0, reason, quoted(begin)));
        lines
    }

    fn mark_bad(&mut self, lines_before: u32, reason: Reason, line: &[u8]) {
        let is_quoted = self.bad.len() < QUOTED_LINES_MAX;
        let quote = if is_quoted { quoted(line) } else { String::new() };
        self.bad.push(marked(self.first_line, lines_before, reason, quote));
    }

    /// Returns the number of edges.
    pub(super) fn edge_count(&self) -> usize {
        self.edges.len()
    }

    /// The edges, in order.
    pub(crate) fn edges(&self) -> impl Iterator<Item = NumberedEdge<'_>> {
        let word = |word: Word| &self.text[word.start as usize..word.end as usize];
        self.edges.iter().map(move |edge| {
            let line = self.first_line + u64::from(edge.lines_before);
            NumberedEdge { line, from: word(edge.from), to: word(edge.to), at: edge.at }
        })
    }
}

fn marked(first_line: u64, lines_before: u32, reason: Reason, quote: String) -> MarkedLine {
    MarkedLine { line: first_line + u64::from(lines_before), reason, quote }
}

/// Returns a text of the lines that are valid UTF-8, with an empty line in place of each other one,
/// and those others with the number of lines before each.
fn decodable(chunk: &[u8]) -> (String, Vec<(u32, Vec<u8>)>) {
    let (mut text, mut undecodable) = (String::with_capacity(chunk.len()), Vec::new());
    for (line, number) in chunk.split(|byte| *byte == b'\n').zip(0..) {
        if number > 0 {
            text.push('\n');
        }
        match std::str::from_utf8(line) {
            Ok(line) => text.push_str(line),
            Err(_) => undecodable.push((number, line.to_vec())),
        }
    }
    (text, undecodable)
}

/// Returns a line as it can be shown: shortened, and with escapes for what would reach the terminal
/// as something else than text.
pub(crate) fn quoted(line: &[u8]) -> String {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let (mut text, mut char_count) = (String::new(), 0);
    // A character has at most four bytes.
    for chunk in line[..line.len().min(4 * QUOTE_CHARS_MAX + 4)].utf8_chunks() {
        for next in chunk.valid().chars() {
            char_count += 1;
            if char_count > QUOTE_CHARS_MAX {
                text.push('…');
                return text;
            }
            match next {
                ' '..='~' => text.push(next),
                '\t' => text.push_str("\\t"),
                '\0'..='\x7f' => {
                    let _ = write!(text, "\\x{:02x}", next as u32);
                }
                // Whatever does not print, or changes the order of what is around it.
                _ => text.extend(next.escape_debug()),
            }
        }
        for byte in chunk.invalid() {
            char_count += 1;
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// Checks what can be the name of an account. The library checks it too; here it is checked so that
/// a bad line is found before anything that comes after it is imported.
#[inline]
pub(super) fn check_name(word: &str) -> Result<(), Reason> {
    if word.len() > 255 {
        return Err(LONG_NAME);
    }
    let is_plain = word.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if is_plain || !word.chars().any(char::is_control) { Ok(()) } else { Err(CONTROL_CHARACTER) }
}

#[cfg(test)]
mod tests {
    use super::super::space::Space;
    use super::*;

    #[test]
    fn lines_keep_their_numbers_and_their_words_whatever_stands_between() {
        let chunk = "a b 1\n\n# c\nonly\n\u{e9}t\u{e9} \u{fc} \r\nx y z\nlast one";
        let check = |chunk: Vec<u8>, bad_lines: &[u64]| {
            let lines = Lines::parse(chunk, 100, &mut Space::strict());
            let edges = lines.edges().map(|edge| (edge.line, edge.from, edge.to, edge.at));
            let expected = [
                (100, "a", "b", Some(1)),
                (104, "\u{e9}t\u{e9}", "\u{fc}", None),
                (106, "last", "one", None),
            ];
            assert_eq!(edges.collect::<Vec<_>>(), expected);
            assert_eq!(lines.bad.iter().map(|bad| bad.line).collect::<Vec<_>>(), bad_lines);
            lines.line_count
        };
        assert_eq!(check(chunk.into(), &[103, 105]), 7);
        let mut with_other_bytes = chunk.as_bytes().to_vec();
        with_other_bytes.extend_from_slice(b"\n#\xff\n\xff \xff\nalone");
        assert_eq!(check(with_other_bytes, &[103, 105, 108, 109]), 10);
    }

    #[test]
    fn a_line_is_shown_without_what_a_terminal_would_obey() {
        assert_eq!(quoted(b"a b\r"), "a b");
        assert_eq!(quoted("zoë 李".as_bytes()), "zoë 李");
        assert_eq!(quoted(b"\t\x1b[2J\x7f\xff\xfe \0"), "\\t\\x1b[2J\\x7f\\xff\\xfe \\x00");
        assert_eq!(quoted("\u{202e}\u{9b}".as_bytes()), "\\u{202e}\\u{9b}");
        let long = quoted("é".repeat(1000).as_bytes());
        assert_eq!(long, format!("{}…", "é".repeat(QUOTE_CHARS_MAX)));
        assert!(quoted(&[0xff; 10_000]).len() < 5000);
    }
}
