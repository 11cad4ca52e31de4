//! The content encoding of a request: none, or gzip.

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use hyper::header::{CONTENT_ENCODING, HeaderMap};
use std::io::Read;

/// Returns a body without its content encoding, which may unpack to `bytes_max` bytes at most.
pub(super) fn unpacked(
    headers: &HeaderMap,
    body: Bytes,
    bytes_max: usize,
) -> Result<Bytes, String> {
    let mut encodings = headers.get_all(CONTENT_ENCODING).iter();
    let Some(encoding) = encodings.next() else { return Ok(body) };
    let is_one_of = |known: &[&str]| {
        known.iter().any(|known| encoding.as_bytes().eq_ignore_ascii_case(known.as_bytes()))
    };
    if encodings.next().is_some() || !is_one_of(&["", "identity", "gzip", "x-gzip"]) {
        return Err("Content-Encoding: gzip or none is expected".to_owned());
    }
    if is_one_of(&["", "identity"]) {
        return Ok(body);
    }
    let mut unpacked = Vec::new();
    let mut limited = MultiGzDecoder::new(&*body).take((bytes_max as u64).saturating_add(1));
    limited
        .read_to_end(&mut unpacked)
        .map_err(|_| "the body is not what Content-Encoding says".to_owned())?;
    if unpacked.len() > bytes_max {
        return Err(format!("the body has more than {bytes_max} bytes"));
    }
    Ok(unpacked.into())
}
