//! Edge lists as they come: files or standard input, plain, gzip or zstd, in one of several
//! formats, taken apart into edges.
//!
//! One thread reads and unpacks, a second one takes the lines apart, so that whoever asks for the
//! lines has a processor to itself. A bounded number of chunks waits between them.

mod chunks;
mod csv;
mod foreign;
mod format;
mod header;
mod konect;
mod lines;
mod source;
mod space;
mod time;

pub(crate) use csv::field as csv_field;
pub(crate) use format::Format;
pub(crate) use lines::{Line, Lines, NumberedEdge, quoted};
pub(crate) use source::open_text;
pub(crate) use space::{check_followed, check_follower};

use super::failure::Failure;
use chunks::{Chunk, Chunks};
use format::{Chosen, Parser};
use lines::Reason;
use source::{BYTE_ORDER_MARK, Source};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// Chunks that may wait in front of a thread.
const WAITING_CHUNKS: usize = 4;

const LONG_LINE: Reason = Reason::new("it is longer than 256 KiB");

/// An edge list being read.
pub(crate) struct Input {
    /// What to call it in a message.
    name: String,
    /// Its length on disk, if it is a file.
    total_bytes: Option<u64>,
    read_bytes: Arc<AtomicU64>,
    lines: Receiver<Result<Lines, InputError>>,
}

/// Why a list cannot be read any further.
#[derive(Debug)]
pub(crate) enum InputError {
    /// The file cannot be read or unpacked.
    Io(io::Error),
    /// It is no edge list, or none of a format that can be told. The words go after its name.
    Refused(String),
}

impl Input {
    /// Opens a file, or standard input for `-`.
    pub(crate) fn open(path: &Path, format: Format) -> Result<Input, Failure> {
        let Source { name, text, total_bytes, read_bytes } = Source::open(path)?;
        let (chunk_sender, chunks) = sync_channel(WAITING_CHUNKS);
        let (line_sender, lines) = sync_channel(WAITING_CHUNKS);
        start("read", move || send_chunks(Chunks::of(text), &chunk_sender))?;
        start("parse", move || send_lines(&chunks, format, &line_sender))?;
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

    /// Returns the next lines; `None` at the end of the input.
    pub(crate) fn next_lines(&mut self) -> Option<Result<Lines, InputError>> {
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

/// Cuts the source into chunks until its end, its first error, or until nobody wants them any more.
fn send_chunks(mut chunks: Chunks<impl io::Read>, sender: &SyncSender<io::Result<Chunk>>) {
    while let Some(chunk) = chunks.next().transpose() {
        let was_last = chunk.is_err();
        if sender.send(chunk).is_err() || was_last {
            return;
        }
    }
}

/// Takes chunks apart until there are no more, or nobody wants them any more.
fn send_lines(
    chunks: &Receiver<io::Result<Chunk>>,
    format: Format,
    sender: &SyncSender<Result<Lines, InputError>>,
) {
    let mut reader = Reader::new(format);
    for chunk in chunks {
        let lines = chunk.map_err(InputError::Io).and_then(|chunk| reader.read(chunk));
        let lines = lines.transpose();
        let was_last = lines.as_ref().is_some_and(Result::is_err);
        if lines.is_some_and(|lines| sender.send(lines).is_err()) || was_last {
            return;
        }
    }
    if let Err(problem) = reader.end() {
        // Nobody may be waiting any more.
        let _ = sender.send(Err(InputError::Refused(problem)));
    }
}

/// Takes the chunks of one list apart.
struct Reader {
    format: Format,
    /// Known from the first chunk on that is more than comments.
    chosen: Option<Chosen>,
    line_count: u64,
    is_at_start: bool,
    /// The beginning of a line that is too long, while parts of it come.
    long_line: Option<Vec<u8>>,
}

impl Reader {
    fn new(format: Format) -> Reader {
        Reader { format, chosen: None, line_count: 0, is_at_start: true, long_line: None }
    }

    fn end(&self) -> Result<(), String> {
        self.chosen.as_ref().map_or(Ok(()), |chosen| chosen.parser.end())
    }

    fn read(&mut self, chunk: Chunk) -> Result<Option<Lines>, InputError> {
        let (bytes, is_line_end) = match chunk {
            Chunk::Lines(bytes) => return self.lines(bytes).map(Some),
            Chunk::Part(bytes) => (bytes, false),
            Chunk::LastPart(bytes) => (bytes, true),
        };
        let bytes = self.without_mark(bytes)?;
        self.skip(&bytes, is_line_end)?;
        let begin = self.long_line.take().unwrap_or(bytes);
        if !is_line_end {
            self.long_line = Some(begin);
            return Ok(None);
        }
        self.line_count += 1;
        Ok(Some(Lines::one_bad(self.line_count, LONG_LINE, &begin)))
    }

    fn lines(&mut self, bytes: Vec<u8>) -> Result<Lines, InputError> {
        let bytes = self.without_mark(bytes)?;
        if self.chosen.is_none() {
            self.choose(&bytes)?;
        }
        let first_line = self.line_count + 1;
        let lines = match &mut self.chosen {
            Some(Chosen { parser, guess }) => {
                let mut lines = parser.parse(bytes, first_line);
                lines.guess = *guess;
                lines
            }
            // Nothing but comments so far, which this parser takes for such.
            None => Parser::Space(space::Space::strict()).parse(bytes, first_line),
        };
        self.line_count += u64::from(lines.line_count);
        Ok(lines)
    }

    /// Takes the byte order mark off the beginning of the list, and refuses what is no text.
    fn without_mark(&mut self, mut bytes: Vec<u8>) -> Result<Vec<u8>, InputError> {
        if std::mem::take(&mut self.is_at_start) {
            if let Some(problem) = foreign::check(&bytes) {
                return Err(InputError::Refused(format!(" {problem}")));
            }
            if bytes.starts_with(BYTE_ORDER_MARK) {
                bytes.drain(..BYTE_ORDER_MARK.len());
            }
        }
        Ok(bytes)
    }

    fn choose(&mut self, bytes: &[u8]) -> Result<(), InputError> {
        let first_line = self.line_count + 1;
        self.chosen = self.format.parser(bytes, first_line).map_err(InputError::Refused)?;
        Ok(())
    }

    /// Passes over a piece of a line that is too long.
    fn skip(&mut self, piece: &[u8], is_line_end: bool) -> Result<(), InputError> {
        if self.chosen.is_none() && self.format != Format::Auto {
            self.choose(piece)?;
        }
        match &mut self.chosen {
            Some(Chosen { parser, .. }) => parser.skip(piece, is_line_end),
            // Whether a quoted field is open at its end depends on the format.
            None if piece.contains(&b'"') => {
                let line = self.line_count + 1;
                return Err(InputError::Refused(format!(
                    ", line {line}: it is longer than 256 KiB and holds quotes, so that the format \
                     of the list is not clear; say what it is with --format"
                )));
            }
            None => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FORMATS: [Format; 5] =
        [Format::Space, Format::Csv, Format::Tsv, Format::Konect, Format::Mtx];

    /// What a list was read as: edges with the numbers of their lines, and bad lines.
    type List = (Vec<(u64, String, String, Option<u32>)>, Vec<u64>, u64);

    fn read(chunks: Vec<Chunk>, format: Format) -> Result<List, String> {
        let (mut reader, mut list) = (Reader::new(format), List::default());
        for chunk in chunks {
            let lines = match reader.read(chunk) {
                Ok(Some(lines)) => lines,
                Ok(None) => continue,
                Err(error) => return Err(format!("{error:?}")),
            };
            let edges = lines.edges();
            list.0.extend(edges.map(|it| (it.line, it.from.into(), it.to.into(), it.at)));
            list.1.extend(lines.bad.iter().map(|bad| bad.line));
            list.2 += u64::from(lines.line_count);
        }
        Ok(list)
    }

    fn whole(text: &[u8]) -> Vec<Chunk> {
        vec![Chunk::Lines(text.to_vec())]
    }

    fn any_list() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop::sample::select(vec![
            &b"a"[..],
            b"b",
            b"1",
            b"2",
            b"\n",
            b"\n",
            b"\n",
            b" ",
            b" ",
            b",",
            b",",
            b";",
            b"\t",
            b"\"",
            b"\"",
            b"\"\"",
            b"#",
            b"%",
            b"% ",
            b"\r\n",
            b"\r",
            b"\xef\xbb\xbf",
            b"\xff",
            b"\0",
            b"from",
            b"to",
            b"time",
            b"5",
            b"-1",
            b"2024-05-01T10:00:00Z",
            b"a b 5\n",
            b"a,b\n",
            b"a\tb\n",
            b"%%MatrixMarket matrix coordinate pattern general\n",
            b"3 3 3\n",
            b"% sym unweighted\n",
        ]);
        prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn any_bytes_are_edges_or_bad_lines_or_refused(text in any_list()) {
            for format in FORMATS.into_iter().chain([Format::Auto]) {
                let Ok((edges, bad, line_count)) = read(whole(&text), format) else { continue };
                prop_assert_eq!(line_count, text.split(|byte| *byte == b'\n').count() as u64);
                let mut numbers: Vec<_> = edges.iter().map(|edge| edge.0).collect();
                numbers.extend(&bad);
                numbers.sort_unstable();
                prop_assert!(numbers.is_sorted_by(|left, right| left < right));
                prop_assert!(numbers.iter().all(|line| (1..=line_count).contains(line)));
                for name in edges.iter().flat_map(|(_, from, to, _)| [from, to]) {
                    prop_assert!(!name.is_empty() && !name.chars().any(char::is_control));
                }
            }
        }

        #[test]
        fn a_list_reads_alike_wherever_its_chunks_end(text in any_list()) {
            for format in FORMATS {
                // Commas and semicolons are told apart by the first chunk.
                let text: Vec<u8> = match format {
                    Format::Csv => text.iter().copied().filter(|byte| *byte != b';').collect(),
                    _ => text.clone(),
                };
                let lines = text.split(|byte| *byte == b'\n');
                let chunks = lines.map(|line| Chunk::Lines(line.to_vec())).collect();
                if let Ok(list) = read(whole(&text), format) {
                    prop_assert_eq!(read(chunks, format), Ok(list));
                }
            }
        }

        #[test]
        fn a_line_in_parts_opens_quotes_as_a_whole_does(line in any_list(), at in 0..40_usize) {
            let line: Vec<u8> = line.into_iter().filter(|byte| *byte != b'\n').collect();
            let (first, last) = line.split_at(at.min(line.len()));
            // A part is as long as a chunk, so that what a line begins with is in its first part.
            prop_assume!(!first.ends_with(b"#"));
            prop_assume!(!first.ends_with(b"\xef") && !first.ends_with(b"\xef\xbb"));
            let after = b"a,b\n\",\na,b\n";
            let before = || Chunk::Lines(b"x,y".to_vec());
            let parts = vec![
                before(),
                Chunk::Part(first.to_vec()),
                Chunk::LastPart(last.to_vec()),
                Chunk::Lines(after.to_vec()),
            ];
            let whole_line = vec![before(), Chunk::Lines(line), Chunk::Lines(after.to_vec())];
            let edges_after = |chunks| {
                let list = read(chunks, Format::Csv).expect("commas are certain");
                list.0.into_iter().filter(|edge| edge.0 > 2).collect::<Vec<_>>()
            };
            prop_assert_eq!(edges_after(parts), edges_after(whole_line));
        }
    }
}
