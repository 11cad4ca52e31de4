//! Follows the bytes of an HTTP/1 connection and refuses ambiguous framing.
//!
//! The HTTP library accepts a line that ends with a bare line feed, `Content-Length` together with
//! `Transfer-Encoding`, and either of them twice. A proxy may read such a head differently, and
//! then takes part of one request for another. The library no longer shows these details once it
//! has parsed a head, so they are checked on the way to it: a [`Screen`] overwrites the first
//! offending byte with NUL, which the library answers with status 400.

/// How an HTTP/2 connection begins.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// A longer line exceeds the limit of a head, which the library reports.
const LINE_BYTES_MAX: usize = 32 << 10;

/// The framing of the requests of one connection.
pub(super) struct Screen {
    state: State,
    /// The current line of a head or of a chunk size, without its line end.
    line: Vec<u8>,
    /// Whether the previous byte was a carriage return.
    after_return: bool,
    head: Head,
}

/// What the lines of a head said about the body.
#[derive(Default)]
struct Head {
    has_request_line: bool,
    length: Option<u64>,
    is_chunked: bool,
}

enum State {
    /// So many bytes were those of an HTTP/2 connection.
    Preface(usize),
    Head,
    Body(u64),
    ChunkSize,
    /// The data of a chunk, with the line end after it.
    Chunk(u64),
    Trailers,
    /// Nothing is checked: HTTP/2, or a chunk size that the library refuses.
    Open,
    /// The request was refused. What follows is replaced by line feeds, because the library looks
    /// at a head that came in pieces only once it sees an empty line.
    Refused,
}

impl Screen {
    pub(super) fn new() -> Screen {
        Screen {
            state: State::Preface(0),
            line: Vec::new(),
            after_return: false,
            head: Head::default(),
        }
    }

    /// Follows the next bytes of the connection, and makes the first that is refused invalid.
    pub(super) fn pass(&mut self, bytes: &mut [u8]) {
        let mut at = 0;
        while let Some(byte) = bytes.get_mut(at) {
            match &mut self.state {
                State::Open => return,
                State::Refused => {
                    bytes[at..].fill(b'\n');
                    return;
                }
                State::Preface(matched) if *byte == PREFACE[*matched] => {
                    *matched += 1;
                    at += 1;
                    if *matched == PREFACE.len() {
                        self.state = State::Open;
                    }
                }
                State::Preface(matched) => {
                    let matched = *matched;
                    self.state = State::Head;
                    for byte in &PREFACE[..matched] {
                        self.take(*byte);
                    }
                }
                State::Body(left) | State::Chunk(left) => {
                    let skipped = (*left).min((bytes.len() - at) as u64);
                    *left -= skipped;
                    at += skipped as usize;
                    if *left == 0 {
                        let is_chunk = matches!(self.state, State::Chunk(_));
                        self.state = if is_chunk { State::ChunkSize } else { State::Head };
                    }
                }
                State::Head | State::ChunkSize | State::Trailers => {
                    if !self.take(*byte) {
                        *byte = 0;
                        self.state = State::Refused;
                    }
                    at += 1;
                }
            }
        }
    }

    /// Takes the next byte of a line. False where it is refused.
    fn take(&mut self, byte: u8) -> bool {
        let after_return = std::mem::replace(&mut self.after_return, byte == b'\r');
        if byte != b'\n' {
            // A return that no line feed follows is refused by the library.
            if byte != b'\r' && self.line.len() < LINE_BYTES_MAX {
                self.line.push(byte);
            }
            return true;
        }
        let line = std::mem::take(&mut self.line);
        let is_accepted = after_return && self.line_ended(&line);
        self.line = line;
        self.line.clear();
        is_accepted
    }

    fn line_ended(&mut self, line: &[u8]) -> bool {
        match self.state {
            State::ChunkSize => {
                self.state = match chunk_size(line) {
                    Some(0) => State::Trailers,
                    Some(size) => State::Chunk(size.saturating_add(2)),
                    // The library refuses it.
                    None => State::Open,
                };
            }
            State::Trailers if line.is_empty() => self.state = State::Head,
            State::Trailers => {}
            // Empty lines before a request are passed over.
            _ if !self.head.has_request_line => {
                self.head.has_request_line = !line.is_empty();
                // The library would take the connection for a tunnel and drop it.
                return !line.starts_with(b"CONNECT ");
            }
            _ if line.is_empty() => {
                let head = std::mem::take(&mut self.head);
                self.state = match head.length {
                    _ if head.is_chunked => State::ChunkSize,
                    None | Some(0) => State::Head,
                    Some(length) => State::Body(length),
                };
            }
            _ => return self.head.field(line),
        }
        true
    }
}

impl Head {
    /// Notes a field. False where it contradicts an earlier one, or may be read in two ways.
    fn field(&mut self, line: &[u8]) -> bool {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return false;
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
            let length = str::from_utf8(value).ok().and_then(|digits| digits.parse().ok());
            let is_first = self.length.is_none() && !self.is_chunked;
            self.length = length;
            return is_number && is_first && length.is_some();
        }
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            let is_first = self.length.is_none() && !self.is_chunked;
            self.is_chunked = true;
            return is_first && value.eq_ignore_ascii_case(b"chunked");
        }
        true
    }
}

/// The size of a chunk, from the line before it.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let end = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
    u64::from_str_radix(str::from_utf8(&line[..end]).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Passes `bytes` through in pieces of `size` and returns where the first was refused.
    fn refused(bytes: &[u8], size: usize) -> Option<usize> {
        let mut screen = Screen::new();
        let mut passed = bytes.to_vec();
        for piece in passed.chunks_mut(size) {
            screen.pass(piece);
        }
        bytes.iter().zip(&passed).position(|(before, after)| before != after)
    }

    #[test]
    fn unambiguous_requests_pass_unchanged() {
        let post = "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n\n\n\n";
        let chunked = "POST /a HTTP/1.1\r\nHost: x\r\ntransfer-encoding: Chunked\r\n\r\n\
                       2;a=b\r\n\n\n\r\n0\r\nX: y\r\n\r\n";
        let get = "\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n";
        let http_2 = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\n\n\n";
        for text in [[post, chunked, get, post, get].concat(), http_2.to_owned()] {
            for size in [1, 2, 7, 10_000] {
                assert_eq!(refused(text.as_bytes(), size), None, "{text:?} by {size}");
            }
        }
    }

    #[test]
    fn ambiguous_framing_is_made_invalid() {
        let good = "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}";
        for (bad, at) in [
            ("GET / HTTP/1.1\nHost: x\r\n\r\n", "GET / HTTP/1.1"),
            ("GET / HTTP/1.1\r\nHost: x\n\r\n", "GET / HTTP/1.1\r\nHost: x"),
            ("GET / HTTP/1.1\r\nHost: x\r\n\n", "GET / HTTP/1.1\r\nHost: x\r\n"),
            ("\nGET / HTTP/1.1\r\n", ""),
            ("PRI * HTTP/2.0\r\nHost: x\n", "PRI * HTTP/2.0\r\nHost: x"),
            (
                "P /\r\nContent-Length: 1\r\nContent-Length: 1\r\n",
                "P /\r\nContent-Length: 1\r\n\
              Content-Length: 1\r",
            ),
            (
                "P /\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n",
                "P /\r\nContent-Length: \
              1\r\nTransfer-Encoding: chunked\r",
            ),
            (
                "P /\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n",
                "P /\r\n\
              Transfer-Encoding: chunked\r\nContent-Length: 1\r",
            ),
            (
                "P /\r\nTransfer-Encoding: chunked, chunked\r\n",
                "P /\r\nTransfer-Encoding: chunked, \
              chunked\r",
            ),
            ("P /\r\nContent-Length: +1\r\n", "P /\r\nContent-Length: +1\r"),
            ("CONNECT a:1 HTTP/1.1\r\n", "CONNECT a:1 HTTP/1.1\r"),
            ("P /\r\nno colon\r\n", "P /\r\nno colon\r"),
        ] {
            for size in [1, 3, 10_000] {
                assert_eq!(refused(bad.as_bytes(), size), Some(at.len()), "{bad:?} by {size}");
                let second = [good, bad].concat();
                if !bad.starts_with("PRI") {
                    let expected = Some(good.len() + at.len());
                    assert_eq!(refused(second.as_bytes(), size), expected, "{second:?}");
                }
            }
        }
    }

    #[test]
    fn no_bytes_cause_a_panic() {
        let mut random = fastrand::Rng::with_seed(7);
        let words = [
            "\r\n",
            "\n",
            "Content-Length: ",
            "Transfer-Encoding: chunked",
            "ffffffffff",
            "18446744073709551615",
            "0",
            ":",
            "GET / HTTP/1.1\r\n",
            "\r\n\r\n",
            "PRI * HTTP/2.0\r",
        ];
        for _ in 0..20_000 {
            let count = random.usize(1..12);
            let text: String = (0..count).map(|_| words[random.usize(..words.len())]).collect();
            refused(text.as_bytes(), random.usize(1..40));
        }
    }
}
