//! What people give in place of a text: packed files, files of other programs, UTF-16.

/// The first bytes of a file that is no text, and what to do about it.
const MAGICS: &[(&[u8], &str)] = &[
    (b"\xfd7zXZ\0", "is packed with xz: unpack it with `xz -dc FILE` and pass that on with `-`"),
    (b"BZh11AY&SY", BZIP2),
    (b"BZh21AY&SY", BZIP2),
    (b"BZh31AY&SY", BZIP2),
    (b"BZh41AY&SY", BZIP2),
    (b"BZh51AY&SY", BZIP2),
    (b"BZh61AY&SY", BZIP2),
    (b"BZh71AY&SY", BZIP2),
    (b"BZh81AY&SY", BZIP2),
    (b"BZh91AY&SY", BZIP2),
    (
        b"PK\x03\x04",
        "is a zip archive or a spreadsheet: unpack an archive with `unzip -p FILE` and pass that \
         on with `-`; save a spreadsheet as CSV",
    ),
    (b"7z\xbc\xaf\x27\x1c", "is packed with 7z: unpack it with `7z x -so FILE`"),
    (b"\x04\x22\x4d\x18", "is packed with lz4: unpack it with `lz4 -dc FILE`"),
    (b"\x1f\x9d", "is packed with compress: unpack it with `gzip -dc FILE`"),
    (b"\x1f\x8b", "is packed twice with gzip: unpack it with `gzip -dc FILE` and pass that on"),
    (b"\x28\xb5\x2f\xfd", "is packed twice, with zstd inside: unpack it with `zstd -dc FILE`"),
    (b"PAR1\x15", "is a Parquet file: write it as CSV with the program that made it"),
    (b"Obj\x01", "is an Avro file: write it as CSV with the program that made it"),
    (b"SQLite format 3\0", "is an SQLite database: `sqlite3 -csv FILE 'SELECT …'` prints a list"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "is a spreadsheet: save it as CSV"),
    (
        b"version https://git-lfs.github.com/spec/v",
        "is a Git LFS pointer, not the file itself: fetch the file with `git lfs pull`",
    ),
];

const BZIP2: &str =
    "is packed with bzip2: unpack it with `bzip2 -dc FILE` and pass that on with `-`";

const UTF_16: &str =
    "is UTF-16: convert it with `iconv -f UTF-16 -t UTF-8 FILE` and pass that on with `-`";

const UTF_16_WITHOUT_MARK: &str = "looks like UTF-16 without a byte order mark: convert it with \
     `iconv -f UTF-16LE -t UTF-8 FILE` (or UTF-16BE) and pass that on with `-`";

/// The fewest bytes of which every other one has to be zero to be taken for UTF-16.
const UTF_16_BYTES_MIN: usize = 6;

/// How many bytes are looked at for that.
const UTF_16_BYTES_MAX: usize = 64;

/// Returns what a file is that begins with these bytes, if it is no text, and what to do about it.
pub(super) fn check(head: &[u8]) -> Option<&'static str> {
    if let Some((_, problem)) = MAGICS.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Some(problem);
    }
    if head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") {
        return Some(UTF_16);
    }
    let head = &head[..head.len().min(UTF_16_BYTES_MAX) & !1];
    let zeros = |parity: usize| head.iter().skip(parity).step_by(2).filter(|byte| **byte == 0);
    let (even, odd) = (zeros(0).count(), zeros(1).count());
    let is_utf_16 = head.len() >= UTF_16_BYTES_MIN && even.max(odd) == head.len() / 2;
    (is_utf_16 && even.min(odd) == 0).then_some(UTF_16_WITHOUT_MARK)
}

/// Returns what a text is that begins like this, if it is a page or an object and no list.
pub(super) fn check_text(text: &[u8]) -> Option<&'static str> {
    let start = text.trim_ascii_start();
    let begins_with = |words: &str| {
        start.get(..words.len()).is_some_and(|bytes| bytes.eq_ignore_ascii_case(words.as_bytes()))
    };
    if ["<!doctype", "<html", "<head", "<?xml"].iter().any(|words| begins_with(words)) {
        return Some("is an HTML or XML page, perhaps a saved error page, not an edge list");
    }
    let mut rest = start.iter().copied().filter(|byte| !byte.is_ascii_whitespace());
    match (rest.next(), rest.next()) {
        (Some(b'{'), Some(b'"' | b'}')) | (Some(b'['), Some(b'[' | b'{' | b'"' | b']')) => {
            Some("is JSON, perhaps a saved error message: write a line `FROM TO` for each follow")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_not_taken_for_anything_else() {
        let texts: [&[u8]; 8] = [
            b"",
            b"a b",
            b"PAR1 alice",
            b"BZh91 x",
            b"PK bob",
            b"version https",
            b"\xef\xbb\xbfa b",
            b"a\0b\0",
        ];
        for text in texts {
            assert_eq!(check(text), None, "{text:?}");
        }
        for text in [&b"<3 bob"[..], b"{x} y", b"[a b", b""] {
            assert_eq!(check_text(text), None, "{text:?}");
        }
        assert!(check(b"a\0b\0\n\0").is_some() && check(b"\0a\0b\0\n").is_some());
        assert!(check_text(b" {\n \"a\": 1}").is_some() && check_text(b"<HTML>").is_some());
    }
}
