//! The formats of edge lists, and which of them a list has by the look of its first lines.

use super::csv::Csv;
use super::foreign;
use super::konect::{Konect, Matrix};
use super::lines::{Lines, NumberedEdge, quoted};
use super::space::Space;
use clap::ValueEnum;

/// The lines by which a format is recognized.
const SAMPLE_LINES: usize = 1000;

/// How an edge list is written
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// What the first lines of the list show, or an error if they are not clear
    #[default]
    Auto,
    /// `FROM TO [TIME]` with white space between them; `#` begins a comment
    Space,
    /// `FROM,TO[,TIME]` with commas or semicolons between them, with or without quotes and a header
    Csv,
    /// Like csv, with tabs between them
    Tsv,
    /// `FROM TO [WEIGHT [TIME]]`, as KONECT has it; `%` begins a comment
    Konect,
    /// A Matrix Market file with coordinates
    Mtx,
}

/// What reads the lines of a list.
pub(super) enum Parser {
    Space(Space),
    Csv(Box<Csv>),
    Konect(Konect),
    Matrix(Matrix),
}

/// A format that a list may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Candidate {
    Space,
    Comma,
    Semicolon,
    Tab,
    Konect,
    Matrix,
}

/// A parser that was chosen.
pub(super) struct Chosen {
    pub(super) parser: Parser,
    /// What it reads, if that was guessed.
    pub(super) guess: Option<&'static str>,
}

/// The lines by which a format is recognized.
#[derive(Clone, Copy)]
struct Sample<'a> {
    text: &'a [u8],
    /// The number of its first line in the list.
    first_line: u64,
}

/// How many edges of a sample have a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Times {
    None,
    Some,
    All,
}

/// What a candidate makes of the sample.
struct Trial {
    candidate: Candidate,
    lines: Lines,
}

impl Parser {
    pub(super) fn parse(&mut self, chunk: Vec<u8>, first_line: u64) -> Lines {
        match self {
            Parser::Space(space) => Lines::parse(chunk, first_line, space),
            Parser::Csv(csv) => Lines::parse(chunk, first_line, csv.as_mut()),
            Parser::Konect(konect) => Lines::parse(chunk, first_line, konect),
            Parser::Matrix(matrix) => Lines::parse(chunk, first_line, matrix),
        }
    }

    /// Says what is missing at the end of the list, where its format tells.
    pub(super) fn end(&self) -> Result<(), String> {
        match self {
            Parser::Matrix(matrix) if matrix.missing_count() > 0 => Err(format!(
                " ends before the last {} of the entries that its size names; fetch the whole file",
                matrix.missing_count()
            )),
            Parser::Matrix(_) | Parser::Space(_) | Parser::Csv(_) | Parser::Konect(_) => Ok(()),
        }
    }

    /// Passes over a piece of a line that is too long to be read.
    pub(super) fn skip(&mut self, piece: &[u8], is_line_end: bool) {
        if let Parser::Csv(csv) = self {
            csv.skip(piece, is_line_end);
        }
    }
}

impl Format {
    /// Returns what reads a list that begins with these lines; `None` if they are all empty or
    /// comments and so show nothing. An error says what the list is, or what about it is not clear.
    pub(super) fn parser(self, chunk: &[u8], first_line: u64) -> Result<Option<Chosen>, String> {
        let sample = Sample::of(chunk, first_line);
        let given = |parser| Ok(Some(Chosen { parser, guess: None }));
        match self {
            Format::Auto => recognize(sample),
            Format::Space => given(Parser::Space(Space::lenient())),
            Format::Csv => given(separated(sample)?.parser()),
            Format::Tsv => given(Candidate::Tab.parser()),
            Format::Konect => given(Parser::Konect(Konect::given())),
            Format::Mtx => given(Parser::Matrix(Matrix::new())),
        }
    }
}

impl Candidate {
    fn parser(self) -> Parser {
        match self {
            Candidate::Space => Parser::Space(Space::strict()),
            Candidate::Comma => Parser::Csv(Box::new(Csv::separated_by(b','))),
            Candidate::Semicolon => Parser::Csv(Box::new(Csv::separated_by(b';'))),
            Candidate::Tab => Parser::Csv(Box::new(Csv::separated_by(b'\t'))),
            Candidate::Konect => Parser::Konect(Konect::guessed()),
            Candidate::Matrix => Parser::Matrix(Matrix::new()),
        }
    }

    fn in_words(self) -> &'static str {
        match self {
            Candidate::Space => "separated by white space",
            Candidate::Comma => "separated by commas",
            Candidate::Semicolon => "separated by semicolons",
            Candidate::Tab => "separated by tabs",
            Candidate::Konect => "a list of KONECT",
            Candidate::Matrix => "a Matrix Market file",
        }
    }

    /// The value of `--format` that names it.
    fn option(self) -> &'static str {
        match self {
            Candidate::Space => "space",
            Candidate::Comma | Candidate::Semicolon => "csv",
            Candidate::Tab => "tsv",
            Candidate::Konect => "konect",
            Candidate::Matrix => "mtx",
        }
    }

    fn chosen(self) -> Chosen {
        Chosen { parser: self.parser(), guess: Some(self.in_words()) }
    }
}

impl Trial {
    fn of(candidate: Candidate, sample: Sample<'_>) -> Trial {
        let lines = candidate.parser().parse(sample.text.to_vec(), sample.first_line);
        Trial { candidate, lines }
    }

    /// Whether the candidate understands the better part of the lines.
    fn fits(&self) -> bool {
        let good_count = self.lines.edge_count() + self.lines.notes.len();
        good_count > 0 && self.lines.bad.len() <= good_count
    }

    fn times(&self) -> Times {
        match self.lines.edges().filter(|edge| edge.at.is_some()).count() {
            0 => Times::None,
            count if count == self.lines.edge_count() => Times::All,
            _ => Times::Some,
        }
    }

    /// Returns the first line that reads otherwise with another candidate.
    fn difference(&self, other: &Trial) -> Option<u64> {
        let (mut ours, mut theirs) = (self.lines.edges(), other.lines.edges());
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) => return None,
                (left, right) if left == right => {}
                (left, right) => {
                    let line = |edge: Option<NumberedEdge<'_>>| edge.map(|edge| edge.line);
                    return line(left).into_iter().chain(line(right)).min();
                }
            }
        }
    }
}

impl Sample<'_> {
    /// Takes the first whole lines of a chunk.
    fn of(chunk: &[u8], first_line: u64) -> Sample<'_> {
        let mut line_ends = chunk.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let text_len =
            line_ends.nth(SAMPLE_LINES - 1).map_or(chunk.len(), |(line_end, _)| line_end);
        Sample { text: &chunk[..text_len], first_line }
    }

    fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.text.split(|byte| *byte == b'\n')
    }

    /// Returns the first line that is neither empty nor a comment with `#`.
    fn first_content(&self) -> Option<&[u8]> {
        let mut lines = self.lines().map(<[u8]>::trim_ascii);
        lines.find(|line| !line.is_empty() && line[0] != b'#')
    }

    /// Returns a line as it can be shown.
    fn quoted(&self, line: u64) -> String {
        quoted(self.lines().nth((line - self.first_line) as usize).unwrap_or_default())
    }
}

fn recognize(sample: Sample<'_>) -> Result<Option<Chosen>, String> {
    if let Some(problem) = foreign::check_text(sample.text) {
        return Err(format!(
            " {problem}; if it is a list all the same, --format says of which kind"
        ));
    }
    let candidates: &[Candidate] = match sample.first_content() {
        None => return Ok(None),
        Some(line) if line.to_ascii_lowercase().starts_with(b"%%matrixmarket") => {
            &[Candidate::Matrix]
        }
        Some([b'%', ..]) => &[Candidate::Konect],
        Some(_) => &[Candidate::Space, Candidate::Comma, Candidate::Semicolon, Candidate::Tab],
    };
    let trials: Vec<_> = candidates.iter().map(|it| Trial::of(*it, sample)).collect();
    let chosen = choose(&trials, sample)?.ok_or_else(|| unclear(&trials, sample))?;
    check_for_header(chosen, sample)?;
    Ok(Some(chosen.candidate.chosen()))
}

/// Returns which of commas and semicolons separate a list that is known to have either.
fn separated(sample: Sample<'_>) -> Result<Candidate, String> {
    let candidates = [Candidate::Comma, Candidate::Semicolon];
    let trials = candidates.map(|candidate| Trial::of(candidate, sample));
    let chosen = choose(&trials, sample)?;
    Ok(chosen.map_or(Candidate::Comma, |trial| trial.candidate))
}

/// Returns the trial that makes sense of the lines; `None` if none does. It is an error if several
/// do and do not agree.
fn choose<'a>(trials: &'a [Trial], sample: Sample<'_>) -> Result<Option<&'a Trial>, String> {
    let mut fitting: Vec<_> = trials.iter().filter(|trial| trial.fits()).collect();
    if fitting.iter().any(|trial| trial.lines.bad.is_empty()) {
        fitting.retain(|trial| trial.lines.bad.is_empty());
        // A time at the end of every line is no accident of names.
        let is_mixed = fitting.iter().any(|trial| trial.times() == Times::Some);
        if !is_mixed && fitting.iter().any(|trial| trial.times() == Times::All) {
            fitting.retain(|trial| trial.times() == Times::All);
        }
    }
    let [first, others @ ..] = &fitting[..] else {
        return Ok(None);
    };
    for other in others {
        if let Some(line) = first.difference(other) {
            return Err(ambiguous(first.candidate, other.candidate, line, sample));
        }
    }
    // Where both agree so far, tabs alone are the stricter reading.
    let is_comment = |line: &[u8]| line.trim_ascii_start().starts_with(b"#");
    let is_tabs_alone = !sample.lines().any(|line| !is_comment(line) && line.contains(&b' '));
    let tab = others.iter().find(|trial| is_tabs_alone && trial.candidate == Candidate::Tab);
    Ok(Some(tab.unwrap_or(first)))
}

fn ambiguous(one: Candidate, other: Candidate, line: u64, sample: Sample<'_>) -> String {
    let (text, one_way, other_way) = (sample.quoted(line), one.in_words(), other.in_words());
    let advice = if one.option() == other.option() {
        "put the names in quotes".to_owned()
    } else {
        format!("say which with --format {} or --format {}", one.option(), other.option())
    };
    format!(", line {line}: `{text}` can be read as {one_way} and as {other_way}; {advice}")
}

/// Says that the lines make no sense, with the first line that is bad for the best guess.
fn unclear(trials: &[Trial], sample: Sample<'_>) -> String {
    const ALL: &str = "auto, space, csv, tsv, konect or mtx";
    let best = trials.iter().min_by_key(|trial| {
        let hidden = trial.candidate != Candidate::Space && trial.lines.edge_count() == 0;
        (trial.lines.bad.len(), hidden)
    });
    let Some((best, bad)) = best.and_then(|best| Some((best.candidate, best.lines.bad.first()?)))
    else {
        let line = quoted(sample.first_content().unwrap_or_default());
        return format!(": `{line}` is no edge; --format is one of {ALL}");
    };
    let (line, guess) = (bad.line, best.in_words());
    format!(
        ", line {line}: {bad}; that is if the list is {guess}, but it is not clearly so: \
         say what it is with --format ({ALL})"
    )
}

/// Refuses names of columns that are not known, in front of a list of numbers.
fn check_for_header(chosen: &Trial, sample: Sample<'_>) -> Result<(), String> {
    if !chosen.lines.notes.is_empty() {
        // It has a header already.
        return Ok(());
    }
    let is_number = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit());
    let mut edges = chosen.lines.edges();
    let Some(first) = edges.next().filter(|first| !is_number(first.from) && !is_number(first.to))
    else {
        return Ok(());
    };
    let mut number_count = 0;
    for edge in edges {
        if !is_number(edge.from) || !is_number(edge.to) {
            return Ok(());
        }
        number_count += 1;
    }
    // A number in the place of a time is no name of a column.
    if first.at.is_some() || number_count == 0 {
        return Ok(());
    }
    let line = first.line;
    Err(format!(
        ", line {line}: `{}` looks like a header, as all other accounts are numbers; write `from` \
         and `to` there or remove it, or, if it is a follow, say what the list is with --format {}",
        sample.quoted(line),
        chosen.candidate.option(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guess(text: &str) -> Result<&'static str, String> {
        recognize(Sample::of(text.as_bytes(), 1))
            .map(|chosen| chosen.and_then(|it| it.guess).unwrap_or("nothing"))
    }

    #[test]
    fn a_format_is_recognized_by_the_first_lines_together() {
        const MATRIX: &str = "a Matrix Market file";
        let lists = [
            ("", "nothing"),
            ("\n# a remark, with a comma\n\n", "nothing"),
            ("a b\n", "separated by white space"),
            ("a \tb\t 5\n", "separated by white space"),
            ("a\tb 5\n", "separated by white space"),
            ("a \tb\n", "separated by white space"),
            ("a\tb\nc\td\n", "separated by tabs"),
            ("a\tb\nc\td\t5\n", "separated by white space"),
            ("Jane Doe\tbob\n", "separated by tabs"),
            ("a,b\n", "separated by commas"),
            ("a, b\n", "separated by commas"),
            ("a;b;5\n", "separated by semicolons"),
            ("Jane Doe,Bob\na,b\n", "separated by commas"),
            ("a b\noops\nc d\n", "separated by white space"),
            ("a b\nc, d\ne f\n", "separated by white space"),
            ("a,b c,d\n", "separated by white space"),
            ("a,b c 5\n", "separated by white space"),
            ("Jane Doe,Bob,5\n", "separated by commas"),
            ("from,to\n", "separated by commas"),
            ("from to\n", "separated by white space"),
            ("% asym positive\n1 2 1\n", "a list of KONECT"),
            ("%%matrixmarket matrix coordinate pattern general\n2 2 1\n1 2\n", MATRIX),
            ("1 2\n2 3\na b\n", "separated by white space"),
        ];
        for (list, expected) in lists {
            assert_eq!(guess(list), Ok(expected), "{list:?}");
        }
    }

    #[test]
    fn what_is_not_clear_is_an_error_that_quotes_a_line() {
        let lists = [
            ("one\ntwo\n", "`one`"),
            ("x y,z\n", "--format space or --format csv"),
            ("x,a b, 5\n", "--format space or --format csv"),
            ("a,b;c\n", "put the names in quotes"),
            ("a\tb\nJane Doe\t5\n", "--format space or --format tsv"),
            ("\"a\" \"b\"\n", "`\"a\" \"b\"`"),
            ("kto kogo\n1 2\n3 4\n", "`kto kogo` looks like a header"),
            ("% remark\n1 2 3\n", "--format"),
            ("{\"a\": 1}", "JSON"),
        ];
        for (list, words) in lists {
            let message = guess(list).expect_err(list);
            assert!(message.contains(words), "{message}");
        }
        assert_eq!(guess("a b\nx y,z\n"), Ok("separated by white space"));
    }
}
