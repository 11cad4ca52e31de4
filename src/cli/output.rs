//! What people see: tables, numbers, times, and JSON for programs.

use super::failure::Failure;
use serde::Serialize;
use std::borrow::Cow;
use std::fmt;
use std::io::{self, IsTerminal, Write};

/// Writes a line to standard error. Nobody may be listening there any more, which is no reason to
/// stop, as `eprintln!` would.
pub(crate) fn say(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Writes one line of JSON.
pub(crate) fn write_json(out: &mut dyn Write, value: &impl Serialize) -> Result<(), Failure> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")?;
    Ok(())
}

/// A name as it can be shown: what is no valid name may hold control characters, which would
/// reach the terminal.
pub(crate) fn shown(name: &str) -> Cow<'_, str> {
    if name.is_empty() || name.chars().any(char::is_control) {
        Cow::Owned(format!("{name:?}"))
    } else {
        Cow::Borrowed(name)
    }
}

/// A number with its thousands apart: `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate or a ratio with two decimals; nothing by nothing is nothing.
pub(crate) fn ratio(numerator: u64, denominator: u64) -> String {
    if denominator == 0 {
        return "-".to_owned();
    }
    #[expect(clippy::cast_precision_loss, reason = "two decimals are shown")]
    let ratio = numerator as f64 / denominator as f64;
    format!("{ratio:.2}")
}

/// Nanoseconds in the unit that suits them.
pub(crate) fn nanoseconds(ns: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let ns_f64 = ns as f64;
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{:.2} µs", ns_f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2} ms", ns_f64 / 1e6),
        _ => format!("{:.2} s", ns_f64 / 1e9),
    }
}

/// A follow time as UTC; 0 is a time nobody knows.
pub(crate) fn utc(unix_seconds: u32) -> String {
    if unix_seconds == 0 {
        return "-".to_owned();
    }
    let (days, seconds) = (unix_seconds / 86_400, unix_seconds % 86_400);
    let (year, month, day) = civil_date(days);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// Year, month and day of a day counted from 1970-01-01.
fn civil_date(days_since_1970: u32) -> (u32, u32, u32) {
    let is_leap = |year: u32| {
        let by_four = year.is_multiple_of(4) && !year.is_multiple_of(100);
        by_four || year.is_multiple_of(400)
    };
    // A u32 of seconds ends in 2106, so that counting the years is at most 136 steps.
    let (mut year, mut day) = (1970, days_since_1970);
    while day >= 365 + u32::from(is_leap(year)) {
        day -= 365 + u32::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u32::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    (year, month, day + 1)
}

/// Text in bold, if standard output is a terminal whose owner has nothing against it.
pub(crate) fn bold(text: &str) -> Cow<'_, str> {
    let wanted = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    if wanted { Cow::Owned(format!("\x1b[1m{text}\x1b[0m")) } else { Cow::Borrowed(text) }
}

/// How a column lines up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Rows of text whose columns line up.
pub(crate) struct Table {
    aligns: Vec<Align>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table whose first row is its headings.
    pub(crate) fn with_headings(columns: &[(&str, Align)]) -> Table {
        let mut table = Table::new(columns.iter().map(|(_, align)| *align).collect());
        table.push(columns.iter().map(|(heading, _)| (*heading).to_owned()).collect());
        table
    }

    pub(crate) fn new(aligns: Vec<Align>) -> Table {
        Table { aligns, rows: Vec::new() }
    }

    /// Adds a row; it may be shorter than the headings.
    pub(crate) fn push(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }

    /// Writes the rows, each with `indent` before it and no space after it.
    pub(crate) fn write(&self, indent: &str, out: &mut dyn Write) -> io::Result<()> {
        let column_width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| width(cell)).max()
        };
        let widths: Vec<_> =
            (0..self.aligns.len()).map(|column| column_width(column).unwrap_or(0)).collect();
        for row in &self.rows {
            let mut line = indent.to_owned();
            for ((cell, align), column_width) in row.iter().zip(&self.aligns).zip(&widths) {
                let padding = " ".repeat(column_width - width(cell));
                match align {
                    Align::Left => line.extend([cell, padding.as_str(), "  "]),
                    Align::Right => line.extend([padding.as_str(), cell, "  "]),
                }
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Columns a text takes on a terminal, near enough: two for a letter of East Asia or an emoji.
fn width(text: &str) -> usize {
    let is_wide = |letter: char| {
        matches!(letter,
            '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}'
            | '\u{f900}'..='\u{faff}' | '\u{fe30}'..='\u{fe6f}' | '\u{ff01}'..='\u{ff60}'
            | '\u{ffe0}'..='\u{ffe6}' | '\u{1f300}'..='\u{1faff}' | '\u{20000}'..='\u{3fffd}')
    };
    text.chars().map(|letter| if is_wide(letter) { 2 } else { 1 }).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        let shown: Vec<_> = [0, 999, 1_000, 1_234_567].map(grouped).to_vec();
        assert_eq!(shown, ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn times_are_shown_in_utc_up_to_the_last_one() {
        assert_eq!(utc(0), "-");
        assert_eq!(utc(1), "1970-01-01 00:00:01");
        assert_eq!(utc(951_827_696), "2000-02-29 12:34:56");
        assert_eq!(utc(1_702_262_118), "2023-12-11 02:35:18");
        assert_eq!(utc(u32::MAX), "2106-02-07 06:28:15");
    }

    #[test]
    fn columns_line_up_and_lines_have_no_tail() {
        let mut table = Table::with_headings(&[("NAME", Align::Left), ("N", Align::Right)]);
        table.push(vec!["é".to_owned(), "10".to_owned()]);
        table.push(vec!["李娜".to_owned(), "9".to_owned()]);
        table.push(vec!["alone".to_owned()]);
        let mut out = Vec::new();
        table.write("> ", &mut out).expect("a vector takes all");
        let text = String::from_utf8(out).expect("it is text");
        assert_eq!(text, "> NAME    N\n> é      10\n> 李娜    9\n> alone\n");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(shown("a\u{1b}[1m"), "\"a\\u{1b}[1m\"");
        assert_eq!(shown("zoë"), "zoë");
        assert_eq!(shown(""), "\"\"");
    }
}
