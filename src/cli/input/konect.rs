//! The lists of two collections of networks: KONECT, with `%` in front of its comments, and the
//! Matrix Market.

use super::lines::{Line, NOT_UTF_8, ReadLine, Reason, check_name};
use super::space::{split_word, without_mark};
use super::time;
use std::borrow::Cow;

const UNDIRECTED: Reason = Reason::new(
    "the list says that it is undirected: each line is taken for one follow, by the first account \
     of the second",
);
const BIPARTITE: Reason =
    Reason::new("the network is bipartite: the numbers in its two columns are of different things")
        .hint("put a letter in front of the numbers of each column");
const ONE_COLUMN: Reason = Reason::new("there is no second account");
const MANY_COLUMNS: Reason = Reason::new("there are more than four columns")
    .hint("those of KONECT are FROM TO [WEIGHT [UNIX_TIME]]");
const WEIGHT_OR_TIME: Reason = Reason::new("the third column may be a weight or a time")
    .hint("--format konect takes it for a weight, --format space for a time");
const WEIGHT: Reason = Reason::new("the weight is not a number above 0")
    .hint("an edge with such a weight says the opposite of a follow");
const BANNER: Reason = Reason::new("a Matrix Market file begins with a line `%%MatrixMarket`");
const MATRIX: Reason = Reason::new("the matrix is an array, complex, or nothing known")
    .hint("only `matrix coordinate` with pattern, integer or real is an edge list");
const SIZE: Reason =
    Reason::new("the size of the matrix is missing: rows, columns and entries, as in `3 3 2`");
const SQUARE: Reason = Reason::new("the matrix is not square")
    .hint("its rows and columns are different things: put a letter in front of their numbers");
const SURPLUS: Reason = Reason::new("there are more entries than the size of the matrix says");
const ENTRY: Reason = Reason::new("it is not an entry of the matrix, as its banner and size say");

/// Reads lines of `FROM TO [WEIGHT [UNIX_TIME]]`.
pub(super) struct Konect {
    /// Whether it is certain that the third column is a weight.
    has_weights: bool,
    /// Why no line can be taken.
    refused: Option<Reason>,
}

impl Konect {
    /// A reader of a list that was given as KONECT's.
    pub(super) fn given() -> Konect {
        Konect { has_weights: true, refused: None }
    }

    /// A reader of a list with `%` at its beginning.
    pub(super) fn guessed() -> Konect {
        Konect { has_weights: false, refused: None }
    }

    fn comment(&mut self, text: &str) -> Line<'static> {
        let (kind, rest) = split_word(text);
        let (weights, _) = split_word(rest);
        let is_header = matches!(
            weights,
            "unweighted"
                | "positive"
                | "posweighted"
                | "signed"
                | "multisigned"
                | "weighted"
                | "multiweighted"
                | "multiposweighted"
                | "dynamic"
        );
        match kind {
            "asym" if is_header => self.has_weights = true,
            "sym" if is_header => {
                self.has_weights = true;
                return Line::Note(UNDIRECTED);
            }
            "bip" if is_header => {
                self.refused = Some(BIPARTITE);
                return Line::Bad(BIPARTITE);
            }
            _ => {}
        }
        Line::Blank
    }

    fn edge<'a>(&self, from: &'a str, rest: &'a str) -> Result<Line<'a>, Reason> {
        let (to, rest) = split_word(rest);
        let (weight, rest) = split_word(rest);
        let (at, rest) = split_word(rest);
        if to.is_empty() {
            return Err(ONE_COLUMN);
        }
        if !split_word(rest).0.is_empty() {
            return Err(MANY_COLUMNS);
        }
        if at.is_empty() && !weight.is_empty() && !self.has_weights {
            return Err(WEIGHT_OR_TIME);
        }
        if !weight.is_empty() {
            check_weight(weight)?;
        }
        check_name(from)?;
        check_name(to)?;
        let at = if at.is_empty() { None } else { Some(time::parse(at)?) };
        Ok(Line::Edge { from: Cow::Borrowed(from), to: Cow::Borrowed(to), at })
    }
}

impl ReadLine for Konect {
    fn line<'a>(&mut self, line: &'a str) -> Line<'a> {
        let (from, rest) = split_word(without_mark(line));
        if let Some(text) = from.strip_prefix('%') {
            // The first word may touch the sign.
            return self.comment(&format!("{text} {rest}"));
        }
        if from.is_empty() || from.starts_with('#') {
            return Line::Blank;
        }
        if let Some(reason) = self.refused {
            return Line::Bad(reason);
        }
        self.edge(from, rest).unwrap_or_else(Line::Bad)
    }

    fn undecodable(&mut self, line: &[u8]) -> Line<'static> {
        undecodable(line)
    }
}

/// Reads a Matrix Market file.
pub(super) struct Matrix {
    part: Part,
}

/// What the next line of a Matrix Market file has to be.
#[derive(Clone, Copy)]
enum Part {
    Banner,
    /// The size, of a matrix with values or without.
    Size {
        has_values: bool,
    },
    Entries {
        has_values: bool,
        order: u64,
        /// How many entries are still to come, by the size.
        left: u64,
    },
    /// Nothing: no line can be taken, for this reason.
    Refused(Reason),
}

impl Matrix {
    pub(super) fn new() -> Matrix {
        Matrix { part: Part::Banner }
    }

    /// Returns how many entries are missing at the end of the list.
    pub(super) fn missing_count(&self) -> u64 {
        match self.part {
            Part::Entries { left, .. } => left,
            Part::Banner | Part::Size { .. } | Part::Refused(_) => 0,
        }
    }

    fn refuse(&mut self, reason: Reason) -> Line<'static> {
        self.part = Part::Refused(reason);
        Line::Bad(reason)
    }

    fn banner(&mut self, line: &str) -> Line<'static> {
        let line = line.to_ascii_lowercase();
        let words: Vec<_> = line.split_ascii_whitespace().collect();
        let ["%%matrixmarket", rest @ ..] = &words[..] else {
            return self.refuse(BANNER);
        };
        let ["matrix", "coordinate", values @ ("pattern" | "integer" | "real"), symmetry] = rest
        else {
            return self.refuse(MATRIX);
        };
        self.part = Part::Size { has_values: *values != "pattern" };
        if *symmetry == "general" { Line::Blank } else { Line::Note(UNDIRECTED) }
    }

    fn size(&mut self, line: &str, has_values: bool) -> Line<'static> {
        let numbers: Result<Vec<u64>, _> = line.split_ascii_whitespace().map(str::parse).collect();
        match numbers.as_deref() {
            Ok(&[rows, columns, left]) if rows == columns => {
                self.part = Part::Entries { has_values, order: rows, left };
                Line::Blank
            }
            Ok([_, _, _]) => self.refuse(SQUARE),
            _ => self.refuse(SIZE),
        }
    }
}

impl ReadLine for Matrix {
    fn line<'a>(&mut self, line: &'a str) -> Line<'a> {
        if matches!(self.part, Part::Banner) {
            return self.banner(line);
        }
        let (from, rest) = split_word(line);
        if from.is_empty() || from.starts_with('%') {
            return Line::Blank;
        }
        match self.part {
            Part::Banner => Line::Bad(BANNER),
            Part::Refused(reason) => Line::Bad(reason),
            Part::Size { has_values } => self.size(line, has_values),
            Part::Entries { left: 0, .. } => Line::Bad(SURPLUS),
            Part::Entries { has_values, order, left } => {
                self.part = Part::Entries { has_values, order, left: left - 1 };
                entry(from, rest, has_values, order).unwrap_or_else(Line::Bad)
            }
        }
    }

    fn undecodable(&mut self, line: &[u8]) -> Line<'static> {
        undecodable(line)
    }
}

fn entry<'a>(
    from: &'a str,
    rest: &'a str,
    has_values: bool,
    order: u64,
) -> Result<Line<'a>, Reason> {
    let (to, rest) = split_word(rest);
    let (value, rest) = split_word(rest);
    let is_place = |word: &str| word.parse().is_ok_and(|place: u64| (1..=order).contains(&place));
    let is_whole = value.is_empty() != has_values && split_word(rest).0.is_empty();
    if !is_whole || !is_place(from) || !is_place(to) {
        return Err(ENTRY);
    }
    if has_values {
        check_weight(value)?;
    }
    Ok(Line::Edge { from: Cow::Borrowed(from), to: Cow::Borrowed(to), at: None })
}

fn check_weight(weight: &str) -> Result<(), Reason> {
    if weight.parse().is_ok_and(|weight: f64| weight > 0.0) { Ok(()) } else { Err(WEIGHT) }
}

fn undecodable(line: &[u8]) -> Line<'static> {
    let is_comment = line.trim_ascii_start().first().is_some_and(|first| b"%#".contains(first));
    if is_comment { Line::Blank } else { Line::Bad(NOT_UTF_8) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(from: &'static str, to: &'static str, at: Option<u32>) -> Line<'static> {
        Line::Edge { from: from.into(), to: to.into(), at }
    }

    #[test]
    fn the_third_column_of_konect_is_a_weight_and_the_fourth_a_time() {
        let mut konect = Konect::guessed();
        assert_eq!(konect.line("% a remark"), Line::Blank);
        assert_eq!(konect.line("1 2"), edge("1", "2", None));
        assert_eq!(konect.line("1 2 1"), Line::Bad(WEIGHT_OR_TIME));
        assert_eq!(konect.line("1 2 1 5"), edge("1", "2", Some(5)));
        assert_eq!(konect.line("% asym positive"), Line::Blank);
        assert_eq!(konect.line("1\t2 1\r"), edge("1", "2", None));
        for weight in ["0", "-1", "x", "nan"] {
            assert_eq!(konect.line(&format!("1 2 {weight}")), Line::Bad(WEIGHT), "{weight}");
        }
        assert_eq!(konect.line("1"), Line::Bad(ONE_COLUMN));
        assert_eq!(konect.line("1 2 3 4 5"), Line::Bad(MANY_COLUMNS));
        assert_eq!(konect.undecodable(b"% \xff"), Line::Blank);
        assert_eq!(Konect::given().line("1 2 7"), edge("1", "2", None));
        let mut bipartite = Konect::given();
        assert_eq!(bipartite.line("% bip unweighted"), Line::Bad(BIPARTITE));
        assert_eq!(bipartite.line("1 2"), Line::Bad(BIPARTITE));
    }

    #[test]
    fn a_matrix_is_read_as_its_banner_and_its_size_say() {
        let mut matrix = Matrix::new();
        assert_eq!(matrix.line("%%MatrixMarket Matrix Coordinate REAL general\r"), Line::Blank);
        assert_eq!(matrix.line("% remark"), Line::Blank);
        assert_eq!(matrix.line("3 3 8"), Line::Blank);
        assert_eq!(matrix.line("1 3 0.5"), edge("1", "3", None));
        for line in ["1 3", "0 1 1", "4 1 1", "a 1 1", "1 2 1 1"] {
            assert_eq!(matrix.line(line), Line::Bad(ENTRY), "{line}");
        }
        assert_eq!(matrix.line("1 2 -1"), Line::Bad(WEIGHT));
        assert_eq!((matrix.missing_count(), matrix.line("2 1 1")), (1, edge("2", "1", None)));
        assert_eq!((matrix.missing_count(), matrix.line("2 3 1")), (0, Line::Bad(SURPLUS)));
        let mut matrix = Matrix::new();
        assert_eq!(matrix.line("1 2"), Line::Bad(BANNER));
        assert_eq!(matrix.line("%%MatrixMarket matrix coordinate pattern general"), Line::Blank);
        assert_eq!(matrix.line("1 2"), Line::Bad(BANNER));
    }
}
