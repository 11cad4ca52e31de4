//! Edge lists as they come: files or standard input, plain, gzip or zstd, cut into lines.
//!
//! A thread of its own reads and unpacks, so that parsing has a processor to itself.

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

/// Chunks that may wait between the two threads.
const WAITING_CHUNKS: usize = 16;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// An edge list being read.
pub(crate) struct Input {
    /// What to call it in a message.
    name: String,
    /// Its length as it lies on disk, if it is a file.
    total_bytes: Option<u64>,
    read_bytes: Arc<AtomicU64>,
    chunks: Receiver<io::Result<Vec<u8>>>,
}

impl Input {
    /// Opens a file, or standard input for `-`.
    pub(crate) fn open(path: &Path) -> Result<Input, Failure> {
        let is_stdin = path.as_os_str() == "-";
        let name = if is_stdin { "standard input".into() } else { path.display().to_string() };
        let failed = |error: io::Error| Failure::usage(format!("cannot read {name}: {error}"));
        let (source, total_bytes): (Box<dyn Read + Send>, _) = if is_stdin {
            (Box::new(io::stdin()), None)
        } else {
            let file = File::open(path).map_err(failed)?;
            let metadata = file.metadata().map_err(failed)?;
            (Box::new(file), metadata.is_file().then_some(metadata.len()))
        };
        let read_bytes = Arc::new(AtomicU64::new(0));
        let source = Counted { source, read_bytes: read_bytes.clone() };
        let unpacked = unpack(source).map_err(failed)?;
        let (sender, chunks) = sync_channel(WAITING_CHUNKS);
        thread::spawn(move || send_chunks(unpacked, &sender));
        Ok(Input { name, total_bytes, read_bytes, chunks })
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

    /// The next lines, whole and without the last line's end; `None` at the end of the input.
    pub(crate) fn next_lines(&mut self) -> Option<io::Result<Vec<u8>>> {
        self.chunks.recv().ok()
    }
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
        let (from, rest) = split_token(line);
        if from.is_empty() || from[0] == b'#' {
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
        let (Ok(from), Ok(to)) = (str::from_utf8(from), str::from_utf8(to)) else {
            return Line::Bad("it is not valid UTF-8");
        };
        if !is_name(from) || !is_name(to) {
            return Line::Bad("a name is longer than 255 bytes or holds a control character");
        }
        if at.is_empty() {
            return Line::Edge { from, to, at: None };
        }
        match str::from_utf8(at).ok().and_then(|at| at.parse().ok()) {
            Some(at) => Line::Edge { from, to, at: Some(at) },
            None => Line::Bad("the time is not a number of Unix seconds"),
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
fn split_token(text: &[u8]) -> (&[u8], &[u8]) {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | 0x0b | 0x0c);
    let start = text.iter().position(|byte| !is_space(byte)).unwrap_or(text.len());
    let text = &text[start..];
    let end = text.iter().position(is_space).unwrap_or(text.len());
    text.split_at(end)
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
