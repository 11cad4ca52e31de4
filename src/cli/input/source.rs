//! Opens a text: a file or standard input, plain or unpacked from gzip or zstd.

use super::super::failure::Failure;
use super::foreign;
use flate2::bufread::GzDecoder;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The UTF-8 byte order mark, which some programs write in front of a text.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// How many bytes [`open_text`] reads to tell whether they are text.
const HEAD_BYTES: u64 = 64;

/// Text that is being read, unpacked.
pub(super) struct Source {
    /// What to call it in a message.
    pub(super) name: String,
    pub(super) text: Box<dyn Read + Send>,
    /// Its length on disk, if it is a file.
    pub(super) total_bytes: Option<u64>,
    /// How many of the bytes on disk have been read.
    pub(super) read_bytes: Arc<AtomicU64>,
}

impl Source {
    /// Opens a file, or standard input for `-`.
    pub(super) fn open(path: &Path) -> Result<Source, Failure> {
        let name = match path.as_os_str() {
            dash if dash == "-" => "standard input".to_owned(),
            _ => path.display().to_string(),
        };
        let failed = |error: io::Error| Failure::usage(format!("cannot read {name}: {error}"));
        let (source, total_bytes) = open_bytes(path).map_err(failed)?;
        let read_bytes = Arc::new(AtomicU64::new(0));
        let source = Counted { source, read_bytes: read_bytes.clone() };
        let text = unpack(source).map_err(failed)?;
        Ok(Source { name, text, total_bytes, read_bytes })
    }
}

/// Opens a text file, or standard input for `-`, and returns what to call it and the text without
/// a byte order mark.
pub(crate) fn open_text(path: &Path) -> Result<(String, Box<dyn Read + Send>), Failure> {
    let Source { name, mut text, .. } = Source::open(path)?;
    let failed = |error: io::Error| Failure::input(format!("cannot read {name}: {error}"));
    let mut head = Vec::new();
    text.by_ref().take(HEAD_BYTES).read_to_end(&mut head).map_err(failed)?;
    if let Some(problem) = foreign::check(&head) {
        return Err(Failure::input(format!("{name} {problem}")));
    }
    if head.starts_with(BYTE_ORDER_MARK) {
        head.drain(..BYTE_ORDER_MARK.len());
    }
    Ok((name, Box::new(Cursor::new(head).chain(text))))
}

fn open_bytes(path: &Path) -> io::Result<(Box<dyn Read + Send>, Option<u64>)> {
    if path.as_os_str() == "-" {
        return Ok((Box::new(io::stdin()), None));
    }
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    Ok((Box::new(file), metadata.is_file().then_some(metadata.len())))
}

/// A reader that counts the bytes that were read from it.
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
    let whole = Cursor::new(head).chain(source);
    if is_gzip {
        Ok(Box::new(Gzip { member: Some(GzDecoder::new(BufReader::new(whole))) }))
    } else if is_zstd {
        Ok(Box::new(zstd::stream::read::Decoder::new(whole)?))
    } else {
        Ok(Box::new(whole))
    }
}

/// The members of a gzip file, one after the other. Zero bytes may follow each of them, as tapes
/// and block devices leave them and `gzip -t` accepts them.
struct Gzip<R> {
    /// The member being read; `None` at the end.
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Read for Gzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let len = member.read(buffer)?;
            if len > 0 || buffer.is_empty() {
                return Ok(len);
            }
            let rest = self.member.take().map(GzDecoder::into_inner);
            self.member = rest.map(next_member).transpose()?.flatten();
        }
        Ok(0)
    }
}

/// Skips zero bytes, and begins the member after them, if there is one.
fn next_member<R: BufRead>(mut source: R) -> io::Result<Option<GzDecoder<R>>> {
    loop {
        let bytes = source.fill_buf()?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let zero_count = bytes.iter().take_while(|byte| **byte == 0).count();
        match bytes.get(zero_count) {
            None => source.consume(zero_count),
            Some(&first) if first == GZIP_MAGIC[0] => {
                source.consume(zero_count);
                return Ok(Some(GzDecoder::new(source)));
            }
            Some(first) => {
                let message = format!(
                    "after the end of the gzip data there is something else (byte {first:#04x}); \
                     remove it, or unpack the file with gzip first"
                );
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
        }
    }
}
