//! Cuts a text into chunks of whole lines. Memory is bounded also where a line is not.

use std::io::{self, Read};

/// How much text is handed over in one piece. A line that is longer comes in parts.
pub(super) const CHUNK_BYTES: usize = 256 * 1024;

/// A piece of a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    /// Whole lines, the last one without its end.
    Lines(Vec<u8>),
    /// A part of a line that is longer than a chunk, and not its last part.
    Part(Vec<u8>),
    /// The last part of such a line, without the end of the line.
    LastPart(Vec<u8>),
}

/// The chunks of a text, up to its end or its first error.
pub(super) struct Chunks<R> {
    source: R,
    /// The beginning of a line, carried over to the next chunk.
    tail: Vec<u8>,
    in_long_line: bool,
}

impl<R: Read> Chunks<R> {
    pub(super) fn of(source: R) -> Chunks<R> {
        Chunks { source, tail: Vec::new(), in_long_line: false }
    }

    pub(super) fn next(&mut self) -> io::Result<Option<Chunk>> {
        let mut bytes = std::mem::take(&mut self.tail);
        bytes.reserve_exact(CHUNK_BYTES - bytes.len());
        let room = (CHUNK_BYTES - bytes.len()) as u64;
        self.source.by_ref().take(room).read_to_end(&mut bytes)?;
        let is_end = bytes.len() < CHUNK_BYTES;
        if self.in_long_line {
            return Ok(Some(self.part(bytes, is_end)));
        }
        if bytes.is_empty() {
            return Ok(None);
        }
        match bytes.iter().rposition(|byte| *byte == b'\n') {
            Some(line_end) => {
                // At the end, the tail is the last line, or nothing, and comes as the next chunk.
                self.tail = bytes.split_off(line_end + 1);
                bytes.pop();
                Ok(Some(Chunk::Lines(bytes)))
            }
            None if is_end => Ok(Some(Chunk::Lines(bytes))),
            None => {
                self.in_long_line = true;
                Ok(Some(Chunk::Part(bytes)))
            }
        }
    }

    /// Makes a part of a long line of bytes within it.
    fn part(&mut self, mut bytes: Vec<u8>, is_end: bool) -> Chunk {
        let line_end = bytes.iter().position(|byte| *byte == b'\n');
        if let Some(line_end) = line_end {
            self.tail = bytes.split_off(line_end + 1);
            bytes.pop();
        }
        self.in_long_line = line_end.is_none() && !is_end;
        if self.in_long_line { Chunk::Part(bytes) } else { Chunk::LastPart(bytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    fn lines_of(text: &[u8]) -> Vec<Vec<u8>> {
        let (mut chunks, mut lines) = (Chunks::of(Dripping(text)), Vec::new());
        let mut long_line = Vec::new();
        while let Some(chunk) = chunks.next().expect("it can be read") {
            match chunk {
                Chunk::Lines(bytes) => {
                    lines.extend(bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec));
                }
                Chunk::Part(bytes) => long_line.extend(bytes),
                Chunk::LastPart(bytes) => {
                    long_line.extend(bytes);
                    lines.push(std::mem::take(&mut long_line));
                }
            }
        }
        assert!(long_line.is_empty());
        lines
    }

    #[test]
    fn no_line_is_lost_or_cut_where_chunks_meet() {
        let numbers = 0..400_000;
        let expected: Vec<_> = numbers.map(|number: u32| number.to_string().into_bytes()).collect();
        let mut text = expected.join(&b'\n');
        assert!(text.len() > 2 * CHUNK_BYTES);
        assert!(lines_of(&text) == expected);
        text.push(b'\n');
        assert!(lines_of(&text) == expected);
        assert!(lines_of(b"").is_empty());
    }

    #[test]
    fn a_line_that_is_longer_than_a_chunk_comes_in_parts() {
        for len in [CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES, 700_000] {
            let long = vec![b'a'; len];
            for (before, after) in [("", ""), ("x\n", ""), ("", "\n"), ("x y\n", "\nz\n\nlast")] {
                let text = [before.as_bytes(), &long, after.as_bytes()].concat();
                let whole = text.strip_suffix(b"\n").unwrap_or(&text);
                let expected: Vec<_> = whole.split(|byte| *byte == b'\n').collect();
                assert!(lines_of(&text) == expected, "{len} bytes between {before:?}, {after:?}");
            }
        }
    }
}
