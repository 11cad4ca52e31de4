//! Lines of `FROM,TO[,TIME]`, with commas, semicolons or tabs between them, with or without quotes
//! and a header.
//!
//! A record is one line: no name holds an end of line. What a quoted field says after the end of
//! its line is a part of that field and never an edge of its own.

use super::header::{self, Columns, FirstLine};
use super::lines::{Line, NOT_UTF_8, ReadLine, Reason, check_name};
use super::source::BYTE_ORDER_MARK;
use super::time;
use csv_core::{ReadFieldResult, Reader, ReaderBuilder, Terminator};
use std::borrow::Cow;

/// The most columns that a list may have.
const COLUMNS_MAX: usize = 8;

const ONE_COLUMN: Reason =
    Reason::new("there is no second account").hint("is there another separator?");
const MANY_COLUMNS: Reason = Reason::new("there are more than three columns")
    .hint("a header such as `from,to,time` says which columns they are");
const COLUMN_COUNT: Reason = Reason::new("there are more or fewer columns than in the first line")
    .hint("leave a time that is not known empty, as in `a,b,`");
const NO_NAME: Reason = Reason::new("the name of an account is empty");
const OPEN_QUOTE: Reason = Reason::new("a quoted field does not end on its line")
    .hint("no name holds an end of line; within a quoted field, double the quotes: `\"\"`");
const CONTINUED: Reason = Reason::new("a quoted field of a line before it goes on here");
const WRONG_QUOTES: Reason = Reason::new("there is text beside the quotes of a quoted field")
    .hint("within a quoted field, double the quotes: `\"\"`");
const COMMENT_OR_NAME: Reason =
    Reason::new("the line begins with `#`, and may be a comment or a follow")
        .hint("begin a comment with `# `, or put the name in quotes");

/// Reads such lines.
pub(super) struct Csv {
    delimiter: u8,
    /// Known from the first record on.
    columns: Option<Columns>,
    reader: Reader,
    /// Whether a quoted field goes on after the end of the line.
    is_open: bool,
    /// Where the reader is in the record that it reads.
    place: Place,
    /// The line and its end, for the reader.
    input: Vec<u8>,
    output: Vec<u8>,
}

/// A place in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    RecordStart,
    FieldStart,
    InField,
    InComment,
}

/// The fields of a line.
#[derive(Default)]
struct Fields<'a> {
    fields: [Cow<'a, str>; COLUMNS_MAX],
    count: usize,
}

impl<'a> Fields<'a> {
    fn push(&mut self, field: Cow<'a, str>) -> Result<(), Reason> {
        let place = self.fields.get_mut(self.count).ok_or(MANY_COLUMNS)?;
        *place = field;
        self.count += 1;
        Ok(())
    }

    fn take(&mut self, place: usize) -> Cow<'a, str> {
        std::mem::take(&mut self.fields[place])
    }
}

impl Csv {
    /// A reader of lines with this byte between the fields.
    pub(super) fn separated_by(delimiter: u8) -> Csv {
        let mut builder = ReaderBuilder::new();
        // A carriage return within a line belongs to a name, and makes that a bad one.
        let mut reader = builder.delimiter(delimiter).terminator(Terminator::Any(b'\n')).build();
        // It would look for a byte order mark in whatever it reads first. This is an empty record.
        reader.read_field(b"\n", &mut [0]);
        Csv {
            delimiter,
            columns: None,
            reader,
            is_open: false,
            place: Place::RecordStart,
            input: Vec::new(),
            output: Vec::new(),
        }
    }

    /// Passes over a piece of a line that is bad anyway, to know whether a quoted field is open at
    /// its end.
    pub(super) fn skip(&mut self, piece: &[u8], is_line_end: bool) {
        self.skip_bytes(piece);
        match self.place {
            _ if !is_line_end => {}
            Place::InComment => self.place = Place::RecordStart,
            // The reader would take an empty record for none, and go on to the next.
            Place::RecordStart => {}
            Place::FieldStart | Place::InField => {
                self.skip_bytes(b"\n");
                self.is_open = self.place != Place::RecordStart;
            }
        }
    }

    fn skip_bytes(&mut self, piece: &[u8]) {
        let mut rest = piece;
        self.output.resize(piece.len().max(1), 0);
        if self.place == Place::RecordStart {
            rest = self.without_padding(rest).strip_prefix(BYTE_ORDER_MARK).unwrap_or(rest);
            if is_comment(rest) {
                self.place = Place::InComment;
            }
        }
        while self.place != Place::InComment {
            if self.place != Place::InField {
                rest = self.without_padding(rest);
            }
            if rest.is_empty() {
                return;
            }
            let (result, read_len, _) = self.reader.read_field(rest, &mut self.output);
            rest = &rest[read_len..];
            self.place = match result {
                ReadFieldResult::Field { record_end: true } => Place::RecordStart,
                ReadFieldResult::Field { record_end: false } => Place::FieldStart,
                _ => Place::InField,
            };
        }
    }

    /// Returns a piece of a line without the spaces in front of a field.
    fn without_padding<'a>(&self, piece: &'a [u8]) -> &'a [u8] {
        let is_padding = |byte: u8| byte == b' ' || byte == b'\t' && self.delimiter != b'\t';
        let padding = piece.iter().take_while(|byte| is_padding(**byte)).count();
        &piece[padding..]
    }

    fn is_padding(&self, next: char) -> bool {
        next == ' ' || next == '\t' && self.delimiter != b'\t'
    }

    fn split<'a>(&mut self, line: &'a str) -> Result<Fields<'a>, Reason> {
        if line.contains('"') { self.split_quoted(line) } else { self.split_plain(line) }
    }

    fn split_plain<'a>(&self, line: &'a str) -> Result<Fields<'a>, Reason> {
        let mut fields = Fields::default();
        for field in line.split(char::from(self.delimiter)) {
            let field = field.trim_matches(|next| self.is_padding(next));
            fields.push(Cow::Borrowed(field))?;
        }
        Ok(fields)
    }

    fn split_quoted<'a>(&mut self, line: &str) -> Result<Fields<'a>, Reason> {
        let mut input = std::mem::take(&mut self.input);
        input.clear();
        input.extend_from_slice(line.as_bytes());
        input.push(b'\n');
        self.output.resize(input.len(), 0);
        let (mut rest, mut fields, mut split) = (&input[..], Fields::default(), Ok(()));
        // The reader gets the whole line also where it is bad, to know where it ends.
        while !rest.is_empty() {
            rest = self.without_padding(rest);
            let (result, read_len, field_len) = self.reader.read_field(rest, &mut self.output);
            let raw = &rest[..read_len.saturating_sub(1)];
            rest = &rest[read_len..];
            if !matches!(result, ReadFieldResult::Field { .. }) {
                self.is_open = true;
                self.place = Place::InField;
                split = Err(OPEN_QUOTE);
                break;
            }
            let field = self.field(raw, field_len);
            split = split.and_then(|()| fields.push(field?));
        }
        self.input = input;
        split.map(|()| fields)
    }

    /// Checks a field against what stands in the line.
    fn field(&self, raw: &[u8], field_len: usize) -> Result<Cow<'static, str>, Reason> {
        let text = |bytes| std::str::from_utf8(bytes).map_err(|_| NOT_UTF_8);
        let raw = text(raw)?;
        let trimmed = raw.trim_end_matches(|next| self.is_padding(next));
        let padding = raw.len() - trimmed.len();
        let field = text(&self.output[..field_len.saturating_sub(padding)])?;
        if trimmed.starts_with('"') && trimmed != quoted(field) {
            return Err(WRONG_QUOTES);
        }
        Ok(Cow::Owned(field.to_owned()))
    }

    /// Reads a line as the first record: a header, or an edge that shows the number of columns.
    fn first_record<'a>(&mut self, fields: &Fields<'a>) -> Option<Line<'a>> {
        let count = fields.count;
        match header::read(&fields.fields[..count]) {
            FirstLine::Header(columns) => {
                self.columns = Some(columns);
                return Some(Line::Note(header::HEADER));
            }
            FirstLine::UnknownColumn => return Some(Line::Bad(header::UNKNOWN_COLUMN)),
            FirstLine::Edge => {}
        }
        match count {
            0 | 1 => Some(Line::Bad(ONE_COLUMN)),
            2 | 3 => {
                let at = (count == 3).then_some(2);
                self.columns = Some(Columns { from: 0, to: 1, at, count });
                None
            }
            _ => Some(Line::Bad(MANY_COLUMNS)),
        }
    }

    /// Reads a line that begins with `#`: a comment, unless it can be a follow.
    fn remark<'a>(&mut self, line: &'a str) -> Option<Line<'a>> {
        if is_comment(line.as_bytes()) {
            return Some(Line::Blank);
        }
        let text = line.trim_start_matches('#');
        if self.columns.is_some() {
            return None;
        }
        let columns = text.split(char::from(self.delimiter)).map(str::trim).collect::<Vec<_>>();
        match header::read(&columns) {
            FirstLine::Header(columns) => {
                self.columns = Some(columns);
                Some(Line::Note(header::HEADER))
            }
            FirstLine::UnknownColumn => Some(Line::Bad(header::UNKNOWN_COLUMN)),
            FirstLine::Edge if matches!(columns.len(), 2 | 3) => Some(Line::Bad(COMMENT_OR_NAME)),
            FirstLine::Edge => Some(Line::Blank),
        }
    }

    fn edge<'a>(&mut self, line: &'a str) -> Result<Line<'a>, Reason> {
        let mut fields = self.split(line)?;
        let columns = match self.columns {
            Some(columns) => columns,
            None => match (self.first_record(&fields), self.columns) {
                (Some(line), _) => return Ok(line),
                (None, columns) => columns.ok_or(ONE_COLUMN)?,
            },
        };
        if fields.count != columns.count {
            return Err(if fields.count < 2 { ONE_COLUMN } else { COLUMN_COUNT });
        }
        let (from, to) = (fields.take(columns.from), fields.take(columns.to));
        if from.is_empty() || to.is_empty() {
            return Err(NO_NAME);
        }
        check_name(&from)?;
        check_name(&to)?;
        let at = columns.at.map(|place| fields.take(place)).filter(|at| !at.is_empty());
        let at = at.map(|at| time::parse(&at)).transpose()?;
        Ok(Line::Edge { from, to, at })
    }
}

impl ReadLine for Csv {
    fn line<'a>(&mut self, line: &'a str) -> Line<'a> {
        if self.is_open {
            self.skip(line.as_bytes(), true);
            return Line::Bad(CONTINUED);
        }
        let line = line.strip_suffix('\r').unwrap_or(line);
        let text = line.trim_start_matches(|next| self.is_padding(next));
        let line = text.strip_prefix('\u{feff}').unwrap_or(line);
        if line.trim_ascii().is_empty() {
            return Line::Blank;
        }
        if line.starts_with('#')
            && let Some(remark) = self.remark(line)
        {
            return remark;
        }
        self.edge(line).unwrap_or_else(Line::Bad)
    }

    fn undecodable(&mut self, line: &[u8]) -> Line<'static> {
        let was_open = self.is_open;
        self.skip(line, true);
        match was_open {
            true => Line::Bad(CONTINUED),
            false if is_comment(line) => Line::Blank,
            false => Line::Bad(NOT_UTF_8),
        }
    }
}

/// Whether a line is a comment for certain: `#` and then no name.
fn is_comment(line: &[u8]) -> bool {
    let rest = line.iter().find(|byte| **byte != b'#');
    line.starts_with(b"#") && rest.is_none_or(|byte| matches!(byte, b' ' | b'\t' | b'\r'))
}

/// Returns a field in quotes.
fn quoted(field: &str) -> String {
    format!("\"{}\"", field.replace('"', "\"\""))
}

/// Returns a name as a field of a line with commas: in quotes where it would be read as something
/// else without them.
pub(crate) fn field(name: &str) -> Cow<'_, str> {
    let is_plain =
        !name.contains(['"', ',', ';', ' ']) && !name.starts_with(['#', '%', '\u{feff}']);
    if is_plain { Cow::Borrowed(name) } else { Cow::Owned(quoted(name)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(from: &str, to: &str, at: Option<u32>) -> Line<'static> {
        Line::Edge { from: from.to_owned().into(), to: to.to_owned().into(), at }
    }

    #[test]
    fn fields_are_taken_with_their_quotes_and_without_the_spaces_around_them() {
        let mut csv = Csv::separated_by(b',');
        assert_eq!(csv.line("\u{feff}a,b,5\r"), edge("a", "b", Some(5)));
        assert_eq!(csv.line(" a , \"b\" ,"), edge("a", "b", None));
        assert_eq!(csv.line("\" a \",\"b \"\"c\"\"\" , \"5\""), edge(" a ", "b \"c\"", Some(5)));
        assert_eq!(csv.line("a\"x,b c,\"\""), edge("a\"x", "b c", None));
        assert_eq!(csv.line("\"\u{e9}, \u{fc}\",b,"), edge("\u{e9}, \u{fc}", "b", None));
        assert_eq!(csv.line("a,b"), Line::Bad(COLUMN_COUNT));
        assert_eq!(csv.line(",b,"), Line::Bad(NO_NAME));
        assert_eq!(csv.line("\"\",b,"), Line::Bad(NO_NAME));
        for line in ["\"a\"x,b,", "\"a\" \"x\",b,", "a,\"b\"\"\" c,"] {
            assert_eq!(csv.line(line), Line::Bad(WRONG_QUOTES), "{line}");
        }
        assert_eq!(csv.line("last,one,"), edge("last", "one", None));
        let mut tsv = Csv::separated_by(b'\t');
        assert!(matches!(tsv.line(" a b \t\"c\td\""), Line::Bad(_)), "no name holds a tab");
        assert_eq!(tsv.line("a,b\t\"c\""), edge("a,b", "c", None));
        assert_eq!(tsv.line("\t"), Line::Blank);
    }

    #[test]
    fn what_follows_an_open_quote_is_no_edge_until_it_is_closed() {
        for long in [false, true] {
            let mut csv = Csv::separated_by(b';');
            assert_eq!(csv.line("a;b"), edge("a", "b", None));
            if long {
                csv.skip(b"x; ", false);
                csv.skip(b" \"op", false);
                csv.skip(b"en", true);
            } else {
                assert_eq!(csv.line("x; \"open"), Line::Bad(OPEN_QUOTE));
            }
            assert_eq!(csv.line("a;c"), Line::Bad(CONTINUED));
            assert_eq!(csv.undecodable(b"\xff"), Line::Bad(CONTINUED));
            assert_eq!(csv.line("closed\""), Line::Bad(CONTINUED));
            assert_eq!(csv.line("c;d"), edge("c", "d", None));
            assert_eq!(csv.undecodable(b"\"\xff;x"), Line::Bad(NOT_UTF_8));
            assert_eq!(csv.line("c;d"), Line::Bad(CONTINUED));
        }
    }

    #[test]
    fn comments_stand_apart_from_names() {
        let mut csv = Csv::separated_by(b',');
        for line in ["# a, b", "#", "##", "## x, \"y", "#remark", "#a,b,c,d"] {
            assert_eq!(csv.line(line), Line::Blank, "{line}");
        }
        assert_eq!(csv.undecodable(b"# \xff, \"x"), Line::Blank);
        assert_eq!(csv.line("#a,b"), Line::Bad(COMMENT_OR_NAME));
        assert_eq!(csv.line("#source,target"), Line::Note(header::HEADER));
        assert_eq!(csv.line("#a,b"), edge("#a", "b", None));
        assert_eq!(csv.line("source,target"), edge("source", "target", None));
    }

    #[test]
    fn names_are_quoted_where_they_would_be_read_as_something_else() {
        for name in ["a", "a#b", "a%", "zo\u{eb}", "a\u{a0}b", "5", "from"] {
            assert_eq!(field(name), name);
        }
        for name in ["a b", " a", "a,b", "a;b", "\"", "#a", "\u{feff}"] {
            let line = format!("{},b", field(name));
            let mut csv = Csv::separated_by(b',');
            assert_eq!(csv.line(&line), edge(name, "b", None), "{line}");
        }
    }
}
