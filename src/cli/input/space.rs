//! Lines of `FROM TO [UNIX_TIME]`, separated by white space: the format that `export` writes.

use super::header::{self, Columns, FirstLine};
use super::lines::{Line, NOT_UTF_8, ReadLine, Reason, check_name};
use super::time;
use std::borrow::Cow;

const ONE_COLUMN: Reason = Reason::new("there is no second account");
const MANY_COLUMNS: Reason = Reason::new("there are more than three columns");
const MANY_COLUMNS_DATE: Reason = MANY_COLUMNS
    .hint("write a time as Unix seconds, or as in RFC 3339, without a space: 2024-05-01T10:00:00Z");
const PUNCTUATION: Reason = Reason::new("a comma or semicolon stands between the names")
    .hint("--format csv takes it for a separator, --format space for a part of the name");
const QUOTES: Reason = Reason::new("a name stands in quotes")
    .hint("--format csv reads quotes, --format space takes them for a part of the name");
const PERCENT: Reason = Reason::new("the line begins with `%`")
    .hint("--format konect or mtx takes such a line for a comment, --format space for an account");
const ORDER: Reason =
    Reason::new("the header names other columns than FROM, TO and TIME, in this order")
        .hint("separate the columns with commas or tabs, and their names say which is which");

/// Reads such lines.
pub(super) struct Space {
    /// Whether names are refused that look like pieces of another format.
    is_strict: bool,
    is_at_start: bool,
}

impl Space {
    /// Takes every word for a name.
    pub(super) fn lenient() -> Space {
        Space { is_strict: false, is_at_start: true }
    }

    /// Refuses names that look like pieces of another format.
    pub(super) fn strict() -> Space {
        Space { is_strict: true, is_at_start: true }
    }

    #[cold]
    fn first_line<'a>(&mut self, line: &'a str, parsed: Line<'a>) -> Line<'a> {
        if parsed == Line::Blank {
            return parsed;
        }
        self.is_at_start = false;
        let words: Vec<_> =
            without_mark(line).split(is_space).filter(|it| !it.is_empty()).collect();
        match header::read(&words) {
            FirstLine::Edge => parsed,
            FirstLine::Header(
                Columns { from: 0, to: 1, at: None, count: 2 }
                | Columns { from: 0, to: 1, at: Some(2), count: 3 },
            ) => Line::Note(header::HEADER),
            FirstLine::Header(_) => Line::Bad(ORDER),
            FirstLine::UnknownColumn => Line::Bad(header::UNKNOWN_COLUMN),
        }
    }
}

impl ReadLine for Space {
    fn line<'a>(&mut self, line: &'a str) -> Line<'a> {
        let parsed = parse(line, self.is_strict);
        if self.is_at_start { self.first_line(line, parsed) } else { parsed }
    }

    fn undecodable(&mut self, line: &[u8]) -> Line<'static> {
        if is_comment(line) { Line::Blank } else { Line::Bad(NOT_UTF_8) }
    }
}

impl Line<'_> {
    /// Reads a single line of `FROM TO [UNIX_TIME]`.
    pub(crate) fn parse(line: &[u8]) -> Line<'_> {
        match std::str::from_utf8(line) {
            Ok(line) => parse(line, false),
            Err(_) if is_comment(line) => Line::Blank,
            Err(_) => Line::Bad(NOT_UTF_8),
        }
    }
}

fn parse(line: &str, is_strict: bool) -> Line<'_> {
    let (from, rest) = split_word(line);
    match from.as_bytes().first() {
        None | Some(b'#') => return Line::Blank,
        Some(0xef) if from.starts_with('\u{feff}') => return parse(without_mark(line), is_strict),
        Some(b'%') if is_strict => return Line::Bad(PERCENT),
        Some(b'"') if is_strict => return Line::Bad(QUOTES),
        Some(_) => {}
    }
    let (to, rest) = split_word(rest);
    match (from.as_bytes().last(), to.as_bytes().first()) {
        (_, None) => return Line::Bad(ONE_COLUMN),
        (Some(b',' | b';'), _) | (_, Some(b',' | b';')) if is_strict => {
            return Line::Bad(PUNCTUATION);
        }
        (_, Some(b'"')) if is_strict => return Line::Bad(QUOTES),
        _ => {}
    }
    let (at, rest) = split_word(rest);
    if !split_word(rest).0.is_empty() {
        let is_date = time::looks_like_date(at);
        return Line::Bad(if is_date { MANY_COLUMNS_DATE } else { MANY_COLUMNS });
    }
    if let Err(reason) = check_name(from).and_then(|()| check_name(to)) {
        return Line::Bad(reason);
    }
    let (from, to) = (Cow::Borrowed(from), Cow::Borrowed(to));
    if at.is_empty() {
        return Line::Edge { from, to, at: None };
    }
    match time::parse(at) {
        Ok(at) => Line::Edge { from, to, at: Some(at) },
        Err(reason) => Line::Bad(reason),
    }
}

/// Returns a line without the byte order mark in front of it. There is one within a list where
/// files were put together.
pub(super) fn without_mark(line: &str) -> &str {
    let text = line.trim_start_matches(is_space);
    text.strip_prefix('\u{feff}').unwrap_or(line)
}

/// Returns the first word of a text, and what comes after it.
#[inline]
pub(super) fn split_word(text: &str) -> (&str, &str) {
    let bytes = text.as_bytes();
    let start = bytes.iter().position(|byte| !is_space_byte(*byte)).unwrap_or(bytes.len());
    let word = bytes[start..].iter().position(|byte| is_space_byte(*byte));
    let end = word.map_or(bytes.len(), |word_bytes| start + word_bytes);
    (&text[start..end], &text[end..])
}

fn is_space_byte(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | 0x0b | 0x0c)
}

fn is_space(next: char) -> bool {
    u8::try_from(next).is_ok_and(is_space_byte)
}

fn is_comment(line: &[u8]) -> bool {
    line.iter().find(|byte| !is_space_byte(**byte)) == Some(&b'#')
}

/// Checks that a follower of this name would be read back from this format as it is, also where the
/// format is recognized. An error says why not.
pub(crate) fn check_follower(name: &str) -> Result<(), &'static str> {
    match name.as_bytes() {
        [b'#' | b'%', ..] => return Err("begins like a comment"),
        [0xef, ..] if name.starts_with('\u{feff}') => return Err("begins with a byte order mark"),
        [.., b',' | b';'] => return Err("ends like a field of CSV"),
        _ => {}
    }
    check_quotes_and_spaces(name)
}

/// Like [`check_follower`], of an account that is followed.
pub(crate) fn check_followed(name: &str) -> Result<(), &'static str> {
    if name.starts_with([',', ';']) {
        return Err("begins with a separator of CSV");
    }
    check_quotes_and_spaces(name)
}

fn check_quotes_and_spaces(name: &str) -> Result<(), &'static str> {
    if name.contains(' ') {
        return Err("holds a space");
    }
    if name.starts_with('"') { Err("begins with quotes") } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_two_names_and_perhaps_a_time() {
        let edge = |at| Line::Edge { from: "a".into(), to: "zoë".into(), at };
        assert_eq!(Line::parse("a zoë".as_bytes()), edge(None));
        assert_eq!(Line::parse("\t a \t zoë\r".as_bytes()), edge(None));
        assert_eq!(Line::parse("a zoë 0".as_bytes()), edge(Some(0)));
        assert_eq!(Line::parse("a zoë 4294967295 ".as_bytes()), edge(Some(u32::MAX)));
        assert_eq!(Line::parse(" \u{feff}a zoë 5".as_bytes()), edge(Some(5)));
        for blank in ["", " ", "\r", "# a b", "  #a b c d", "\u{feff}", "\u{feff}# a b"] {
            assert_eq!(Line::parse(blank.as_bytes()), Line::Blank, "{blank:?}");
        }
        let long = format!("a {}", "b".repeat(256));
        for bad in ["a", "a b c", "a b 4294967296", "a b -1", "a b 1 2", "a \u{7}", &long] {
            assert!(matches!(Line::parse(bad.as_bytes()), Line::Bad(_)), "{bad:?}");
        }
        assert!(matches!(Line::parse(b"a \xff"), Line::Bad(_)));
        assert_eq!(Line::parse(b" # \xff"), Line::Blank);
    }

    #[test]
    fn what_looks_like_another_format_is_refused_unless_this_one_was_given() {
        let others = ["a, b", "a; b", "a ,b", "a , b", "\"a\" b", "a \"b\"", "% a", "%a b"];
        for line in others {
            let mut strict = Space { is_strict: true, is_at_start: false };
            assert!(matches!(strict.line(line), Line::Bad(_)), "{line}");
        }
        for line in ["a, b", "\"a\" \"b\"", "%a b", "a ;b"] {
            let mut lenient = Space { is_strict: false, is_at_start: false };
            assert!(matches!(lenient.line(line), Line::Edge { .. }), "{line}");
        }
    }

    #[test]
    fn only_the_first_line_is_a_header() {
        let mut space = Space::strict();
        assert_eq!(space.line("# follows"), Line::Blank);
        assert_eq!(space.line("source target"), Line::Note(header::HEADER));
        assert!(matches!(space.line("source target"), Line::Edge { .. }));
        assert_eq!(Space::strict().line("target source"), Line::Bad(ORDER));
        assert_eq!(Space::strict().line("source target kind"), Line::Bad(header::UNKNOWN_COLUMN));
    }
}
