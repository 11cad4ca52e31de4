//! Edge lists as they come: files or standard input, plain, gzip or zstd, cut into lines and those
//! into words.
//!
//! One thread reads and unpacks, a second one takes the lines apart, so that who asks for the lines
//! has a processor to itself. A bounded number of chunks waits between them.

use super::failure::Failure;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::str;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// How much text is handed over at once. No line may be longer.
const CHUNK_BYTES: usize = 256 * 1024;

/// Chunks that may wait in front of a thread.
const WAITING_CHUNKS: usize = 4;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// An edge list being read.
pub(crate) struct Input {
    /// What to call it in a message.
    name: String,
    /// Its length as it lies on disk, if it is a file.
    total_bytes: Option<u64>,
    read_bytes: Arc<AtomicU64>,
    lines: Receiver<io::Result<Lines>>,
}

impl Input {
    /// Opens a file, or standard input for `-`.
    pub(crate) fn open(path: &Path) -> Result<Input, Failure> {
        let (name, source, total_bytes) = open_source(path)?;
        let failed = |error: io::Error| Failure::usage(format!("cannot read {name}: {error}"));
        let read_bytes = Arc::new(AtomicU64::new(0));
        let source = Counted { source, read_bytes: read_bytes.clone() };
        let unpacked = unpack(source).map_err(failed)?;
        let (chunk_sender, chunks) = sync_channel(WAITING_CHUNKS);
        let (line_sender, lines) = sync_channel(WAITING_CHUNKS);
        start("read", move || send_chunks(unpacked, &chunk_sender))?;
        start("parse", move || send_lines(&chunks, &line_sender))?;
        Ok(Input { name, total_bytes, read_bytes, lines })
    }

    pub(crate) fn total_bytes(&self) -> Option<u64> {
        self.total_bytes
    }

    /// How many of the bytes on disk have been read so far.
    pub(crate) fn read_bytes(&self) -> u64 {
        self.read_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The next lines; `None` at the end of the input.
    pub(crate) fn next_lines(&mut self) -> Option<io::Result<Lines>> {
        self.lines.recv().ok()
    }
}

/// Starts a thread that ends by itself.
fn start(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    let started = thread::Builder::new().name(format!("followgraph-{name}")).spawn(run);
    started.map(drop).map_err(|error| {
        Failure::input(format!(
            "cannot start a thread to {name} the input: {error}; the limit of processes and \
             threads (`ulimit -u`) may be reached"
        ))
    })
}

/// A file, or standard input for `-`, unpacked, and what to call it in a message.
pub(crate) fn open_text(path: &Path) -> Result<(String, Box<dyn Read + Send>), Failure> {
    let (name, source, _) = open_source(path)?;
    let failed = |error: io::Error| Failure::usage(format!("cannot read {name}: {error}"));
    let unpacked = unpack(source).map_err(failed)?;
    Ok((name, unpacked))
}

/// A source as it lies on disk, what to call it, and its length if it is a file.
type Source = (String, Box<dyn Read + Send>, Option<u64>);

fn open_source(path: &Path) -> Result<Source, Failure> {
    if path.as_os_str() == "-" {
        return Ok(("standard input".into(), Box::new(io::stdin()), None));
    }
    let name = path.display().to_string();
    let failed = |error: io::Error| Failure::usage(format!("cannot read {name}: {error}"));
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    Ok((name, Box::new(file), metadata.is_file().then_some(metadata.len())))
}

/// A reader that says how much was read.
struct Counted<R> {
    source: R,
    read_bytes: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.source.read(buffer)?;
        self.read_bytes.fetch_add(len as u64, Ordering::Relaxed);
        Ok(len)
    }
}

/// Looks at the first bytes, not at the name, to tell how the source is packed.
fn unpack(mut source: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
    let mut head = Vec::with_capacity(ZSTD_MAGIC.len());
    source.by_ref().take(ZSTD_MAGIC.len() as u64).read_to_end(&mut head)?;
    let (is_gzip, is_zstd) = (head.starts_with(&GZIP_MAGIC), head.starts_with(&ZSTD_MAGIC));
    let whole = io::Cursor::new(head).chain(source);
    if is_gzip {
        Ok(Box::new(flate2::read::MultiGzDecoder::new(whole)))
    } else if is_zstd {
        Ok(Box::new(zstd::stream::read::Decoder::new(whole)?))
    } else {
        Ok(Box::new(whole))
    }
}

/// Cuts the source into chunks of whole lines until its end, its first error, or until nobody
/// wants them any more.
fn send_chunks(mut source: impl Read, sender: &SyncSender<io::Result<Vec<u8>>>) {
    let mut tail = Vec::new();
    loop {
        let chunk = match read_lines(&mut source, &mut tail) {
            Ok(None) => return,
            Ok(Some(lines)) => Ok(lines),
            Err(error) => Err(error),
        };
        let was_last = chunk.is_err();
        if sender.send(chunk).is_err() || was_last {
            return;
        }
    }
}

/// Takes chunks of whole lines apart until there are no more, or nobody wants them any more.
fn send_lines(chunks: &Receiver<io::Result<Vec<u8>>>, sender: &SyncSender<io::Result<Lines>>) {
    let mut line_count = 0;
    for chunk in chunks {
        let lines = chunk.map(|chunk| Lines::parse(chunk, line_count + 1));
        line_count += lines.as_ref().map_or(0, |lines| u64::from(lines.line_count));
        if sender.send(lines).is_err() {
            return;
        }
    }
}

/// The next chunk of whole lines; `tail` carries the beginning of a line over to the next one.
fn read_lines(source: &mut impl Read, tail: &mut Vec<u8>) -> io::Result<Option<Vec<u8>>> {
    let mut chunk = std::mem::take(tail);
    chunk.reserve_exact(CHUNK_BYTES - chunk.len());
    source.take((CHUNK_BYTES - chunk.len()) as u64).read_to_end(&mut chunk)?;
    if chunk.is_empty() {
        return Ok(None);
    }
    let is_end = chunk.len() < CHUNK_BYTES;
    match chunk.iter().rposition(|byte| *byte == b'\n') {
        Some(line_end) => {
            // At the end, the tail is the last line, or nothing, and comes as the next chunk.
            *tail = chunk.split_off(line_end + 1);
            chunk.pop();
            Ok(Some(chunk))
        }
        None if is_end => Ok(Some(chunk)),
        None => {
            let message = format!("a line is longer than {CHUNK_BYTES} bytes");
            Err(io::Error::new(io::ErrorKind::InvalidData, message))
        }
    }
}

/// Some lines of an edge list, taken apart.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    text: String,
    edges: Vec<EdgeWords>,
    /// The numbers of the lines that cannot be understood, ascending, and why.
    pub(crate) bad: Vec<(u64, &'static str)>,
    pub(crate) line_count: u32,
    first_line: u64,
}

/// An edge and the number of its line in the whole list.
pub(crate) struct NumberedEdge<'a> {
    pub(crate) line: u64,
    pub(crate) from: &'a str,
    pub(crate) to: &'a str,
    pub(crate) at: Option<u32>,
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

impl Lines {
    /// Takes apart lines that are whole, the last one without its end.
    fn parse(chunk: Vec<u8>, first_line: u64) -> Lines {
        let mut lines = Lines { first_line, ..Lines::default() };
        match String::from_utf8(chunk) {
            Ok(text) => lines.text = text,
            Err(error) => lines.set_readable_text(error.as_bytes()),
        }
        let text = std::mem::take(&mut lines.text);
        let text_start = text.as_ptr().addr();
        let word = |word: &str| {
            let start = (word.as_ptr().addr() - text_start) as u32;
            Word { start, end: start + word.len() as u32 }
        };
        for line in text.split('\n') {
            let lines_before = lines.line_count;
            lines.line_count += 1;
            match Line::parse_text(line) {
                Line::Blank => {}
                Line::Edge { from, to, at } => {
                    let (from, to) = (word(from), word(to));
                    lines.edges.push(EdgeWords { lines_before, from, to, at });
                }
                Line::Bad(reason) => {
                    lines.bad.push((first_line + u64::from(lines_before), reason));
                }
            }
        }
        lines.text = text;
        lines.bad.sort_unstable();
        lines
    }

    /// Takes the lines that are text, and notes of the others that they are not. An empty line
    /// stands in for each, so that the numbers stay.
    fn set_readable_text(&mut self, chunk: &[u8]) {
        for (line, number) in chunk.split(|byte| *byte == b'\n').zip(self.first_line..) {
            if number > self.first_line {
                self.text.push('\n');
            }
            match (str::from_utf8(line), Line::parse(line)) {
                (Ok(line), _) => self.text.push_str(line),
                (Err(_), Line::Bad(reason)) => self.bad.push((number, reason)),
                (Err(_), Line::Blank | Line::Edge { .. }) => {}
            }
        }
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

/// What one line of an edge list says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// Nothing, or a comment.
    Blank,
    /// That `from` follows `to`, since `at` where that is known.
    Edge { from: &'a str, to: &'a str, at: Option<u32> },
    /// Nothing that can be understood, for this reason.
    Bad(&'static str),
}

impl Line<'_> {
    /// Reads `from to [unix_time]`, separated by any ASCII white space.
    pub(crate) fn parse(line: &[u8]) -> Line<'_> {
        match str::from_utf8(line) {
            Ok(line) => Line::parse_text(line),
            Err(_) if is_comment(line) => Line::Blank,
            Err(_) => Line::Bad("it is not valid UTF-8"),
        }
    }

    fn parse_text(line: &str) -> Line<'_> {
        let (from, rest) = split_token(line);
        if from.is_empty() || from.starts_with('#') {
            return Line::Blank;
        }
        let (to, rest) = split_token(rest);
        if to.is_empty() {
            return Line::Bad("there is no second account");
        }
        let (at, rest) = split_token(rest);
        if !split_token(rest).0.is_empty() {
            return Line::Bad("there are more than three columns");
        }
        if !is_name(from) || !is_name(to) {
            return Line::Bad("a name is longer than 255 bytes or holds a control character");
        }
        if at.is_empty() {
            return Line::Edge { from, to, at: None };
        }
        match at.parse() {
            Ok(at) => Line::Edge { from, to, at: Some(at) },
            Err(_) => Line::Bad("the time is not a number of Unix seconds"),
        }
    }
}

/// Whether a word can be the name of an account. Asked here as well as in the library, so that a
/// bad line is found before anything that comes after it is imported.
fn is_name(word: &str) -> bool {
    let is_plain = word.bytes().all(|byte| byte.is_ascii_graphic());
    word.len() <= 255 && (is_plain || !word.chars().any(char::is_control))
}

/// The first word of a text, and what comes after it.
#[inline]
fn split_token(text: &str) -> (&str, &str) {
    let bytes = text.as_bytes();
    let start = bytes.iter().position(|byte| !is_space(*byte)).unwrap_or(bytes.len());
    let word = bytes[start..].iter().position(|byte| is_space(*byte));
    let end = word.map_or(bytes.len(), |word_bytes| start + word_bytes);
    (&text[start..end], &text[end..])
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | 0x0b | 0x0c)
}

fn is_comment(line: &[u8]) -> bool {
    line.iter().find(|byte| !is_space(**byte)) == Some(&b'#')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_two_names_and_perhaps_a_time() {
        let edge = |at| Line::Edge { from: "a", to: "zoë", at };
        assert_eq!(Line::parse("a zoë".as_bytes()), edge(None));
        assert_eq!(Line::parse("\t a \t zoë\r".as_bytes()), edge(None));
        assert_eq!(Line::parse("a zoë 0".as_bytes()), edge(Some(0)));
        assert_eq!(Line::parse("a zoë 4294967295 ".as_bytes()), edge(Some(u32::MAX)));
        for blank in ["", " ", "\r", "# a b", "  #a b c d"] {
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
    fn lines_keep_their_numbers_and_their_words_whatever_stands_between() {
        let chunk = "a b 1\n\n# c\nonly\n\u{e9}t\u{e9} \u{fc} \r\nx y z\nlast one";
        let check = |chunk: Vec<u8>, bad_lines: &[u64]| {
            let lines = Lines::parse(chunk, 100);
            let edges = lines.edges().map(|edge| (edge.line, edge.from, edge.to, edge.at));
            let expected = [
                (100, "a", "b", Some(1)),
                (104, "\u{e9}t\u{e9}", "\u{fc}", None),
                (106, "last", "one", None),
            ];
            assert_eq!(edges.collect::<Vec<_>>(), expected);
            assert_eq!(lines.bad.iter().map(|bad| bad.0).collect::<Vec<_>>(), bad_lines);
            lines.line_count
        };
        assert_eq!(check(chunk.into(), &[103, 105]), 7);
        let mut with_other_bytes = chunk.as_bytes().to_vec();
        with_other_bytes.extend_from_slice(b"\n#\xff\n\xff \xff\nalone");
        assert_eq!(check(with_other_bytes, &[103, 105, 108, 109]), 10);
    }

    /// A source that gives a few bytes at a time, as pipes do.
    struct Dripping<'a>(&'a [u8]);

    impl Read for Dripping<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let len = self.0.len().min(buffer.len()).min(7919);
            buffer[..len].copy_from_slice(&self.0[..len]);
            self.0 = &self.0[len..];
            Ok(len)
        }
    }

    fn lines_of(text: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        let (mut source, mut tail, mut lines) = (Dripping(text), Vec::new(), Vec::new());
        while let Some(chunk) = read_lines(&mut source, &mut tail)? {
            lines.extend(chunk.split(|byte| *byte == b'\n').map(<[u8]>::to_vec));
        }
        Ok(lines)
    }

    #[test]
    fn no_line_is_lost_or_cut_where_chunks_meet() {
        let numbers = 0..400_000;
        let expected: Vec<_> = numbers.map(|number: u32| number.to_string().into_bytes()).collect();
        let mut text = expected.join(&b'\n');
        assert!(text.len() > 2 * CHUNK_BYTES);
        assert!(lines_of(&text).expect("it can be read") == expected);
        text.push(b'\n');
        assert!(lines_of(&text).expect("it can be read") == expected);
        assert!(lines_of(b"").expect("it can be read").is_empty());
    }

    #[test]
    fn a_line_without_end_is_an_error_and_not_a_full_memory() {
        let error = lines_of(&vec![b'a'; CHUNK_BYTES + 1]).expect_err("it has no end");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
