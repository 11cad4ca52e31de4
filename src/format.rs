//! What the files are made of: records and their codec, every magic, version, limit and file name.
//!
//! `docs/format.md` describes the same bytes in prose; golden vectors in the tests tie the two.

use crate::error::{Error, ErrorKind, Result, quoted};
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;

/// The version of all file formats that is written.
pub(crate) const FORMAT_VERSION: u32 = 2;
/// The oldest version that is read. Files open for ever, so it stays what it is.
const OLDEST_FORMAT_VERSION: u32 = 1;
/// The first bytes of an image.
pub(crate) const IMAGE_MAGIC: [u8; 8] = *b"FGIMAGE\n";
/// The first bytes of a log segment.
pub(crate) const LOG_MAGIC: [u8; 8] = *b"FGLOGSG\n";
/// The first bytes of the position of a consumer.
pub(crate) const CONSUMER_MAGIC: [u8; 8] = *b"FGCONSM\n";
/// The name of the advisory lock file.
pub(crate) const LOCK_FILE_NAME: &str = "lock";
/// The name of the file that a copy of a graph has beside it until it is whole.
pub(crate) const UNFINISHED_FILE_NAME: &str = "unfinished-copy";
/// The longest name, in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 255;
/// The longest name of a consumer, in bytes.
const CONSUMER_NAME_BYTES_MAX: usize = 64;
/// One more than the largest account id: the all-ones pattern stays free.
pub(crate) const ACCOUNT_COUNT_MAX: u32 = u32::MAX;
/// The highest sequence number of a commit: so far below 2^64 that sums with it do not overflow.
/// The segment after the last commit begins with one more.
pub(crate) const SEQUENCE_MAX: u64 = (1 << 63) - 1;
/// Stored where a frame or image carries no source position.
pub(crate) const NO_SOURCE_POSITION: u64 = u64::MAX;

/// Returns the sequence number of the commit after `sequence`.
///
/// # Errors
/// `InvalidArgument` after the last one there can be.
pub(crate) fn next_sequence(sequence: u64) -> Result<u64> {
    if sequence < SEQUENCE_MAX {
        return Ok(sequence + 1);
    }
    let message = "no sequence number is left for another commit; export this graph and import it \
                   into a new one";
    let error = Error::new(ErrorKind::InvalidArgument, message);
    Err(error.expected(format!("at most {SEQUENCE_MAX}"), sequence.saturating_add(1)))
}

/// Refuses a sequence number that is higher than that of any commit.
pub(crate) fn check_sequence(sequence: u64) -> Result<()> {
    if sequence <= SEQUENCE_MAX {
        return Ok(());
    }
    let error = Error::corrupt("a sequence number beyond the last one there can be");
    Err(error.expected(format!("at most {SEQUENCE_MAX}"), sequence))
}

/// The name of the image that covers the log up to `sequence`.
pub(crate) fn image_file_name(sequence: u64) -> String {
    format!("image-{sequence:016x}.fgi")
}

/// The name of the log segment whose first frame is `first_sequence`.
pub(crate) fn log_file_name(first_sequence: u64) -> String {
    format!("log-{first_sequence:016x}.fgl")
}

/// The name of the file with the position of a consumer.
pub(crate) fn consumer_file_name(consumer: &str) -> String {
    format!("consumer-{consumer}.fgc")
}

/// The consumer whose position a file of this name holds.
pub(crate) fn consumer_of_file(name: &str) -> Option<&str> {
    let consumer = name.strip_prefix("consumer-")?.strip_suffix(".fgc")?;
    is_consumer_name(consumer).then_some(consumer)
}

/// What a consumer may be called: part of a file name on every file system, and of no other file.
fn is_consumer_name(name: &str) -> bool {
    let fits = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
    (1..=CONSUMER_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(fits)
}

/// Refuses names that a consumer may not have.
pub(crate) fn check_consumer_name(name: &str) -> Result<()> {
    if is_consumer_name(name) {
        return Ok(());
    }
    let message = "name of a consumer";
    let expected = "1 to 64 of the letters a to z, digits, hyphens and underscores";
    Err(Error::new(ErrorKind::InvalidArgument, message).expected(expected, quoted(name)))
}

/// What a file of a graph directory is, told by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    /// An image that covers this sequence number.
    Image(u64),
    /// A log segment that begins with this sequence number.
    Log(u64),
    /// The position of a consumer.
    Consumer,
    /// Something unfinished that nothing refers to.
    Temporary,
    /// The advisory lock.
    Lock,
    /// Says that a backup or a restore into this directory is not finished.
    Unfinished,
    /// Not ours.
    Foreign,
}

/// Whether a file under this name with `.tmp` behind it is an unfinished one of ours.
fn is_name_of_ours(name: &str) -> bool {
    let finished =
        matches!(file_kind(name), FileKind::Image(_) | FileKind::Log(_) | FileKind::Consumer);
    finished || name.starts_with("spill-")
}

/// Tells a file by its name.
pub(crate) fn file_kind(name: &str) -> FileKind {
    let number = |prefix: &str, suffix: &str| {
        let digits = name.strip_prefix(prefix)?.strip_suffix(suffix)?;
        let canonical = digits.len() == 16 && !digits.bytes().any(|byte| byte.is_ascii_uppercase());
        canonical.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
    };
    if let Some(sequence) = number("image-", ".fgi") {
        FileKind::Image(sequence)
    } else if let Some(sequence) = number("log-", ".fgl").filter(|&sequence| sequence > 0) {
        FileKind::Log(sequence)
    } else if consumer_of_file(name).is_some() {
        FileKind::Consumer
    } else if name.strip_suffix(".tmp").is_some_and(is_name_of_ours) {
        FileKind::Temporary
    } else if name == LOCK_FILE_NAME {
        FileKind::Lock
    } else if name == UNFINISHED_FILE_NAME {
        FileKind::Unfinished
    } else {
        FileKind::Foreign
    }
}

/// Refuses names that are empty, too long, or hold control characters.
pub(crate) fn check_name(name: &str) -> Result<()> {
    // The length first: a name may be as long as its caller likes.
    if !(1..=NAME_BYTES_MAX).contains(&name.len()) {
        return Err(Error::bare(ErrorKind::InvalidName));
    }
    let plain = name.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    let clean = plain || !name.chars().any(char::is_control);
    if clean { Ok(()) } else { Err(Error::bare(ErrorKind::InvalidName)) }
}

/// Who a graph is: its random id, and the random key of its hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Tells this graph's files from those of another.
    pub(crate) graph_id: [u8; 16],
    /// The key of the name hash and of the fingerprint. Names come from strangers, who cannot
    /// build collisions without it.
    pub(crate) key: [u8; 16],
}

impl Identity {
    /// The keyed hash of a name: SipHash-1-3.
    #[inline]
    pub(crate) fn name_hash(&self, name: &str) -> u64 {
        SipHasher13::new_with_key(&self.key).hash(name.as_bytes())
    }

    /// The keyed hash of one follow, summed into the fingerprint of a graph.
    #[inline]
    pub(crate) fn follow_hash(&self, from: u32, to: u32) -> u64 {
        let (low, high) = self.key.split_at(8);
        let word =
            |bytes: &[u8]| bytes.iter().rev().fold(0u64, |word, &byte| word << 8 | u64::from(byte));
        let edge = u64::from(from) << 32 | u64::from(to);
        let first = fold_multiply(edge ^ word(low), 0x9e37_79b9_7f4a_7c15);
        fold_multiply(first ^ word(high), 0xd6e8_feb8_6659_fd93)
    }
}

/// The hash of a name in what is compared between graphs: SipHash-1-3 under a key of zeros.
#[inline]
pub(crate) fn content_name_hash(name: &str) -> u64 {
    SipHasher13::new().hash(name.as_bytes())
}

/// The hash of one follow in what is compared between graphs, from those of the two names: the
/// same function of the sixteen bytes of both.
#[inline]
pub(crate) fn content_follow_hash(from: u64, to: u64) -> u64 {
    let mut ends = [0; 16];
    ends[..8].copy_from_slice(&from.to_le_bytes());
    ends[8..].copy_from_slice(&to.to_le_bytes());
    SipHasher13::new().hash(&ends)
}

/// Both halves of a 128-bit product, combined.
#[inline]
fn fold_multiply(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

/// What changed, in dense ids: the only thing the state accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Record<'a> {
    /// The next account id was given to a name.
    AccountAdded {
        /// The id, one more than the last one given.
        id: u32,
        /// The name, valid and not in use.
        name: &'a str,
        /// Whether its sets are on another node.
        foreign: bool,
    },
    /// An account went, with all its follows.
    AccountRemoved {
        /// Its id, which is never given again.
        id: u32,
    },
    /// `from` began to follow `to`.
    Followed {
        /// The follower.
        from: u32,
        /// The followed.
        to: u32,
        /// When, in Unix seconds.
        at: u32,
        /// Whether the caller gave the time. If not, the clock did, and it never goes back.
        given: bool,
    },
    /// `from` no longer follows `to`.
    Unfollowed {
        /// The former follower.
        from: u32,
        /// The formerly followed.
        to: u32,
    },
    /// An account began to go: its follows go some at a time, then the account. New in version 2.
    RemovalBegan {
        /// Its id.
        id: u32,
    },
    /// The clock of the machine was taken for right: later follows may be older than earlier ones.
    /// New in version 2.
    ClockReset {
        /// What the clock said, in Unix seconds.
        at: u32,
    },
}

const CODEC: bincode::config::Configuration = bincode::config::standard();

/// The records of one frame, encoded: their number, then one after the other.
///
/// These are the bytes of `bincode`'s standard configuration for a list of [`Record`]s.
#[derive(Default)]
pub(crate) struct RecordList {
    count: u32,
    encoded: Vec<u8>,
}

impl RecordList {
    /// Appends a record.
    pub(crate) fn push(&mut self, record: &Record<'_>) {
        bincode::serde::encode_into_std_write(record, &mut self.encoded, CODEC)
            .expect("a vector takes every byte and a record has no type bincode refuses");
        self.count += 1;
    }

    /// How many records there are.
    pub(crate) fn len(&self) -> u32 {
        self.count
    }

    /// Forgets the records and keeps the room.
    pub(crate) fn clear(&mut self) {
        self.count = 0;
        self.encoded.clear();
    }

    /// Appends the payload of a frame to `out`.
    pub(crate) fn encode_into(&self, out: &mut Vec<u8>) {
        bincode::serde::encode_into_std_write(self.count, &mut *out, CODEC)
            .expect("a vector takes every byte");
        out.extend_from_slice(&self.encoded);
    }
}

/// An upper bound of the encoded size of a record without its name: a tag, three numbers, and a
/// flag.
pub(crate) const RECORD_BYTES_MAX: usize = 1 + 3 * 5 + 1;

/// Walks the records of a frame's payload.
pub(crate) struct RecordReader<'a> {
    rest: &'a [u8],
    left: u32,
}

impl<'a> RecordReader<'a> {
    /// Reads the number of records.
    pub(crate) fn new(payload: &'a [u8]) -> Result<RecordReader<'a>> {
        let mut reader = RecordReader { rest: payload, left: 0 };
        reader.left = reader.take::<u32>()?;
        Ok(reader)
    }

    /// The next record, or `None` at the end. Bytes left over there are an error.
    pub(crate) fn next_record(&mut self) -> Result<Option<Record<'a>>> {
        if self.left == 0 {
            return if self.rest.is_empty() {
                Ok(None)
            } else {
                Err(Error::corrupt("bytes after the last record of a frame"))
            };
        }
        self.left -= 1;
        self.take::<Record<'a>>().map(Some)
    }

    fn take<T: Deserialize<'a>>(&mut self) -> Result<T> {
        let (value, used_bytes) = bincode::serde::borrow_decode_from_slice(self.rest, CODEC)
            .map_err(|source| Error::corrupt(format!("a record does not decode: {source}")))?;
        self.rest = self.rest.get(used_bytes..).unwrap_or_default();
        Ok(value)
    }
}

/// The header at the start of a file: its magic, its version, and the crc32 in its last four
/// bytes are checked. Errors: `Corrupt` or `UnsupportedVersion`, with the offset.
pub(crate) fn check_header(file: &[u8], header_bytes: u64, magic: [u8; 8]) -> Result<&[u8]> {
    let header = file.get(..header_bytes as usize).ok_or_else(|| {
        Error::corrupt("the file is shorter than its header").expected(header_bytes, file.len())
    })?;
    if header[0..8] != magic {
        let (expected, got) = (magic.escape_ascii(), header[0..8].escape_ascii());
        return Err(Error::corrupt("magic of the file").at_offset(0).expected(expected, got));
    }
    let version = read_u32(header, 8);
    let readable = OLDEST_FORMAT_VERSION..=FORMAT_VERSION;
    if !readable.contains(&version) {
        return Err(Error::new(ErrorKind::UnsupportedVersion, "open it with a newer release")
            .at_offset(8)
            .expected(format!("{} to {}", readable.start(), readable.end()), version));
    }
    let crc_offset = header.len() - 4;
    let (crc, expected) = (read_u32(header, crc_offset), crc32fast::hash(&header[..crc_offset]));
    if crc != expected {
        let error = Error::corrupt("checksum of the header");
        return Err(error.at_offset(crc_offset as u64).expected(expected, crc));
    }
    Ok(header)
}

/// The version of a file whose header was checked.
pub(crate) fn version_of(file: &[u8]) -> u32 {
    read_u32(file, 8)
}

/// Writes the magic, the version and, last, the checksum of a header that is otherwise filled.
pub(crate) fn seal_header(header: &mut [u8], magic: [u8; 8]) {
    header[0..8].copy_from_slice(&magic);
    write_u32(header, 8, FORMAT_VERSION);
    let crc_offset = header.len() - 4;
    let crc = crc32fast::hash(&header[..crc_offset]);
    write_u32(header, crc_offset, crc);
}

/// Reads a little-endian `u32`; the caller has checked the bounds.
#[inline]
pub(crate) fn read_u32(bytes: &[u8], offset_bytes: usize) -> u32 {
    let field = bytes[offset_bytes..offset_bytes + 4].try_into().expect("four bytes");
    u32::from_le_bytes(field)
}

/// Reads a little-endian `u64`; the caller has checked the bounds.
#[inline]
pub(crate) fn read_u64(bytes: &[u8], offset_bytes: usize) -> u64 {
    let field = bytes[offset_bytes..offset_bytes + 8].try_into().expect("eight bytes");
    u64::from_le_bytes(field)
}

/// Writes a little-endian `u32`.
#[inline]
pub(crate) fn write_u32(bytes: &mut [u8], offset_bytes: usize, value: u32) {
    bytes[offset_bytes..offset_bytes + 4].copy_from_slice(&value.to_le_bytes());
}

/// Writes a little-endian `u64`.
#[inline]
pub(crate) fn write_u64(bytes: &mut [u8], offset_bytes: usize, value: u64) {
    bytes[offset_bytes..offset_bytes + 8].copy_from_slice(&value.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(records: &[Record<'_>]) -> Vec<u8> {
        let mut list = RecordList::default();
        for record in records {
            list.push(record);
        }
        let mut bytes = Vec::new();
        list.encode_into(&mut bytes);
        bytes
    }

    /// Golden vectors: these bytes are in files in the field and may never change.
    #[test]
    fn the_bytes_of_every_record_are_pinned() {
        let added = Record::AccountAdded { id: 7, name: "bob", foreign: true };
        assert_eq!(encoded(&[added]), [1, 0, 7, 3, b'b', b'o', b'b', 1]);
        assert_eq!(encoded(&[Record::AccountRemoved { id: 300 }]), [1, 1, 251, 44, 1]);
        let followed = Record::Followed { from: 1, to: 250, at: 1_702_262_118, given: true };
        assert_eq!(encoded(&[followed]), [1, 2, 1, 250, 252, 0x66, 0x75, 0x76, 0x65, 1]);
        let unfollowed = Record::Unfollowed { from: 70_000, to: 2 };
        assert_eq!(encoded(&[unfollowed]), [1, 3, 252, 0x70, 0x11, 1, 0, 2]);
        assert_eq!(encoded(&[Record::RemovalBegan { id: 300 }]), [1, 4, 251, 44, 1]);
        let reset = Record::ClockReset { at: 1_702_262_118 };
        assert_eq!(encoded(&[reset]), [1, 5, 252, 0x66, 0x75, 0x76, 0x65]);
        assert_eq!(encoded(&[]), [0]);
    }

    #[test]
    fn a_list_is_what_bincode_makes_of_a_vector() {
        let records = vec![
            Record::AccountAdded { id: 0, name: "a", foreign: false },
            Record::Followed { from: 0, to: 9, at: 5, given: false },
        ];
        let whole = bincode::serde::encode_to_vec(&records, CODEC).expect("encodes");
        assert_eq!(encoded(&records), whole);
        let mut reader = RecordReader::new(&whole).expect("decodes");
        for record in &records {
            assert_eq!(reader.next_record().expect("decodes"), Some(*record));
        }
        assert_eq!(reader.next_record().expect("ends"), None);
    }

    #[test]
    fn hostile_payloads_are_errors() {
        let mut whole = encoded(&[Record::Followed { from: 1, to: 2, at: 3, given: false }]);
        whole.push(0);
        let mut reader = RecordReader::new(&whole).expect("the count decodes");
        assert!(reader.next_record().is_ok());
        assert_eq!(reader.next_record().unwrap_err().kind(), ErrorKind::Corrupt);
        assert!(RecordReader::new(&[]).is_err());
        let mut reader =
            RecordReader::new(&[1, 0, 0, 253, 255, 255, 255, 255, 255]).expect("count");
        assert!(reader.next_record().is_err());
    }

    #[test]
    fn names_are_checked() {
        for good in ["a", "two words", "żółw", &"x".repeat(255)] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "a\nb", "\u{7f}", "\u{85}", &"x".repeat(256)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_of_consumers_are_checked() {
        for good in ["a", "web-hooks_2", &"x".repeat(64)] {
            assert!(check_consumer_name(good).is_ok(), "{good}");
        }
        for bad in ["", "A", "a b", "../up", "a.b", "\u{e9}", &"x".repeat(65)] {
            assert!(check_consumer_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn file_names_tell_what_they_hold() {
        assert_eq!(file_kind(&image_file_name(255)), FileKind::Image(255));
        assert_eq!(file_kind(&log_file_name(1)), FileKind::Log(1));
        assert_eq!(file_kind(&log_file_name(0)), FileKind::Foreign);
        assert_eq!(file_kind("image-ff.fgi"), FileKind::Foreign);
        assert_eq!(file_kind("image-00000000000000FF.fgi"), FileKind::Foreign);
        assert_eq!(file_kind(&format!("{}.tmp", log_file_name(1))), FileKind::Temporary);
        assert_eq!(file_kind("spill-following-0.tmp"), FileKind::Temporary);
        assert_eq!(file_kind(&consumer_file_name("web-hooks_2")), FileKind::Consumer);
        assert_eq!(consumer_of_file(&consumer_file_name("web-hooks_2")), Some("web-hooks_2"));
        assert_eq!(file_kind(&format!("{}.tmp", consumer_file_name("a"))), FileKind::Temporary);
        assert_eq!(file_kind("consumer-.fgc"), FileKind::Foreign);
        assert_eq!(file_kind("consumer-A.fgc"), FileKind::Foreign);
        assert_eq!(file_kind("thesis.tmp"), FileKind::Foreign);
        assert_eq!(file_kind("notes.txt"), FileKind::Foreign);
        assert_eq!(file_kind(UNFINISHED_FILE_NAME), FileKind::Unfinished);
    }

    #[test]
    fn hashes_are_pinned() {
        let key = *b"0123456789abcdef";
        let identity = Identity { graph_id: [0; 16], key };
        assert_eq!(identity.name_hash("alice"), identity.name_hash("alice"));
        assert_ne!(identity.follow_hash(1, 2), identity.follow_hash(2, 1));
    }

    #[test]
    fn hashes_that_other_programs_compute_are_those_of_the_documentation() {
        let (alice, bob) = (content_name_hash("alice"), content_name_hash("bob"));
        assert_eq!((alice, bob), (0x11af_1c34_7e79_d641, 0xe93a_47ec_299f_9d2a));
        assert_eq!(content_follow_hash(alice, bob), 0x6d3b_57a1_3b91_425c);
        assert_eq!(content_follow_hash(bob, alice), 0xb30b_238d_04d0_1a72);
    }
}
