//! Pages of a list: what is asked for, what comes back, and the cursor between them.
//!
//! Every follow has, in each of the two lists it is part of, a key that never changes while it
//! lasts: its time, its place among follows of the same time, and the other account. A list is
//! its keys in descending order, and a cursor is the key of the last entry seen. The next page is
//! the keys below it. That is why a cursor stays right whatever happens between two pages, even
//! where the entry it names is gone, across checkpoints and reopening.

use crate::adjacency::EdgeKey;
use crate::error::{Error, ErrorKind, Result};
use crate::types::AccountId;
use std::fmt;
use std::str::FromStr;

/// Which list of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ListKind {
    /// Who follows the account.
    Followers = 1,
    /// Whom the account follows.
    Following = 2,
    /// Both.
    Mutual = 3,
}

/// Which part of a list to fetch. Lists are newest first; [`List`] says how follows with the same
/// time are ordered.
///
/// ```
/// use followgraph::{FollowGraph, Page};
/// let graph = FollowGraph::in_memory();
/// for name in ["alice", "bob", "carol"] {
///     graph.add_account(name)?;
/// }
/// graph.follow("bob", "alice")?;
/// graph.follow("carol", "alice")?;
/// let first = graph.followers("alice", Page::first(1))?;
/// assert_eq!(first.entries[0].account, "carol");
/// let second = graph.followers("alice", Page::after(first.next.unwrap(), 1))?;
/// assert_eq!(second.entries[0].account, "bob");
/// assert_eq!(second.next, None);
/// # Ok::<(), followgraph::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    pub(crate) limit: usize,
    pub(crate) cursor: Option<Cursor>,
}

impl Page {
    /// The newest `limit` entries. A limit of 0 is refused when the page is asked for.
    pub fn first(limit: usize) -> Page {
        Page { limit, cursor: None }
    }

    /// The `limit` entries that come after `cursor`.
    pub fn after(cursor: Cursor, limit: usize) -> Page {
        Page { limit, cursor: Some(cursor) }
    }
}

/// One entry of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name of the other account.
    pub account: String,
    /// The id of the other account.
    pub account_id: AccountId,
    /// When the follow happened, in Unix seconds; 0 where it is not known. In a list of mutuals:
    /// when the account itself followed the other.
    pub followed_at: u32,
}

/// One page of a list, newest first.
///
/// Follows with the same time, or without one, are in the order of their commits, the later commit
/// first. Those of one [bulk load](crate::FollowGraph::bulk_load) are in the order of the account
/// ids, the higher id first, unless the load [keeps the order](crate::BulkOptions::keep_order) in
/// which they were added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    /// The entries, newest first.
    pub entries: Vec<Entry>,
    /// Where the next page begins; `None` when this page reached the end.
    pub next: Option<Cursor>,
}

/// A place in one list of one account. Opaque; its text form is safe in URLs and JSON.
///
/// ```
/// use followgraph::{Cursor, ErrorKind};
/// let error = "no cursor".parse::<Cursor>().unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::InvalidCursor);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cursor {
    owner: u32,
    kind: ListKind,
    at: u32,
    tie: u32,
    id: u32,
}

/// The bytes of a cursor's text form, before they are written as hexadecimal digits.
const CURSOR_BYTES: usize = 21;

impl Cursor {
    /// The cursor behind an entry.
    pub(crate) fn new(owner: u32, kind: ListKind, key: EdgeKey) -> Cursor {
        Cursor { owner, kind, at: key.at, tie: key.tie, id: key.id }
    }

    /// The key the next page lies below. Errors: `InvalidCursor` for another list's cursor.
    pub(crate) fn below(&self, owner: u32, kind: ListKind) -> Result<EdgeKey> {
        if self.owner != owner || self.kind != kind {
            return Err(Error::bare(ErrorKind::InvalidCursor));
        }
        Ok(EdgeKey { at: self.at, tie: self.tie, id: self.id })
    }

    fn to_bytes(self) -> [u8; CURSOR_BYTES] {
        let mut bytes = [0u8; CURSOR_BYTES];
        bytes[0] = self.kind as u8;
        for (place, field) in [self.owner, self.at, self.tie, self.id].into_iter().enumerate() {
            bytes[1 + place * 4..5 + place * 4].copy_from_slice(&field.to_le_bytes());
        }
        let crc = crc32fast::hash(&bytes[..17]);
        bytes[17..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8; CURSOR_BYTES]) -> Option<Cursor> {
        let field = |place: usize| crate::format::read_u32(bytes, 1 + place * 4);
        let kind = match bytes[0] {
            1 => ListKind::Followers,
            2 => ListKind::Following,
            3 => ListKind::Mutual,
            _ => return None,
        };
        let cursor = Cursor { owner: field(0), kind, at: field(1), tie: field(2), id: field(3) };
        (field(4) == crc32fast::hash(&bytes[..17])).then_some(cursor)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_bytes().iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Cursor({self})")
    }
}

impl FromStr for Cursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Cursor> {
        let invalid = || Error::bare(ErrorKind::InvalidCursor);
        if text.len() != CURSOR_BYTES * 2 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(invalid());
        }
        let mut bytes = [0u8; CURSOR_BYTES];
        for (place, byte) in bytes.iter_mut().enumerate() {
            let digits = &text[place * 2..place * 2 + 2];
            *byte = u8::from_str_radix(digits, 16).map_err(|_| invalid())?;
        }
        Cursor::from_bytes(&bytes).ok_or_else(invalid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_round_trips_and_every_changed_digit_is_refused() {
        let key = EdgeKey { at: 1_702_262_118, tie: 3, id: 77 };
        let cursor = Cursor::new(5, ListKind::Followers, key);
        let text = cursor.to_string();
        assert_eq!(text.parse::<Cursor>().expect("a cursor"), cursor);
        assert_eq!(cursor.below(5, ListKind::Followers).expect("the same list"), key);
        assert!(cursor.below(6, ListKind::Followers).is_err());
        assert!(cursor.below(5, ListKind::Mutual).is_err());
        for place in 0..text.len() {
            let mut digits = text.clone().into_bytes();
            digits[place] = if digits[place] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(digits).expect("digits");
            assert!(changed.parse::<Cursor>().is_err(), "digit {place}");
        }
    }
}
