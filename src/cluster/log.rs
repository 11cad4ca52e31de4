//! What a cluster needs of other people's software: one replicated, ordered log, and a shelf for
//! small values and large objects.
//!
//! Both traits are narrow on purpose. Whoever implements them has to keep what is written here, and
//! nothing else is relied on.

use crate::error::Result;
use bytes::Bytes;
use std::future::Future;
use std::path::Path;

/// One entry of the log, as everybody reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place: more than that of every entry before it. The first is 1 or more.
    pub sequence: u64,
    /// When the log took it, in Unix milliseconds: the same for every reader. It may go back.
    pub time_millis: u64,
    /// What was appended, unchanged.
    pub bytes: Bytes,
}

/// Where the log confirms an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Its place.
    pub sequence: u64,
    /// It was there already: an earlier attempt under the same id had arrived.
    pub is_duplicate: bool,
}

/// What the log has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Which log this is. A log that was lost and made again has another epoch.
    pub epoch: u64,
    /// The first entry that is still there; one more than the last where none is.
    pub first: u64,
    /// The last entry; 0 where there never was one.
    pub last: u64,
}

/// A replicated log in one total order.
///
/// An entry that was confirmed is there for every reader, at that place, for ever, until it is
/// purged. Readers see nothing that could still be taken back.
pub trait Log: Send + Sync + 'static {
    /// A reader of entries.
    type Tail: Tail;

    /// Appends an entry. Within two minutes a second attempt with the same id appends nothing and
    /// is confirmed with the place of the first.
    ///
    /// # Errors
    ///
    /// `Unavailable`: it is not known whether it arrived; to try again under the same id is safe.
    /// `DiskFull`: the log takes no more, and it did not arrive. `InvalidArgument`: larger than the
    /// log takes, or an id that is not 1 or more visible characters of ASCII. `Incompatible`.
    fn append(&self, id: &str, bytes: Bytes) -> impl Future<Output = Result<Ack>> + Send;

    /// Reads from an entry on, and waits for more at the end. It begins at most one behind the last
    /// entry.
    ///
    /// # Errors
    ///
    /// `PositionLost` where entries from there on were purged already, `Unavailable`,
    /// `Incompatible`.
    fn tail(&self, from: u64) -> impl Future<Output = Result<Self::Tail>> + Send;

    /// What there is. A server that was cut off may answer what was true some seconds ago.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Incompatible`.
    fn extent(&self) -> impl Future<Output = Result<Extent>> + Send;

    /// Forgets all entries below this one.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    fn purge_below(&self, sequence: u64) -> impl Future<Output = Result<()>> + Send;
}

/// A reader of a log.
pub trait Tail: Send {
    /// The next entry. Every entry comes once and in order, or there is an error.
    ///
    /// Cancelling the future loses nothing.
    ///
    /// # Errors
    ///
    /// `Unavailable`: make a new tail behind the last entry that came. `PositionLost`: the next
    /// entry was purged before it was read.
    fn next(&mut self) -> impl Future<Output = Result<Entry>> + Send;
}

/// A small value, and which one it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// The value.
    pub bytes: Bytes,
    /// Changes with every write of the key.
    pub revision: u64,
}

/// A replicated place for small values, with compare-and-set, and for large objects.
pub trait Shelf: Send + Sync + 'static {
    /// The value of a key, `None` where there is none. A key has parts of letters, digits and any
    /// of `-_=/`, with dots between them.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    fn get(&self, key: &str) -> impl Future<Output = Result<Option<Value>>> + Send;

    /// Writes a value, if the key still has the revision that is expected; 0: no value at all.
    /// `None` where it has another: then nothing is changed.
    ///
    /// # Errors
    ///
    /// `Unavailable`: it is not known whether it was written. `DiskFull`.
    fn set(
        &self,
        key: &str,
        bytes: Bytes,
        expected_revision: u64,
    ) -> impl Future<Output = Result<Option<u64>>> + Send;

    /// Keeps the content of a file under a name that no object has yet.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `DiskFull`, `Io` for the file.
    fn put_object(&self, name: &str, file: &Path) -> impl Future<Output = Result<()>> + Send;

    /// Writes an object to a file, and compares it with its checksum.
    ///
    /// # Errors
    ///
    /// `NotHosted` where there is no object of the name, `Corrupt`, `Unavailable`, `Io` and
    /// `DiskFull` for the file.
    fn get_object(&self, name: &str, file: &Path) -> impl Future<Output = Result<()>> + Send;

    /// Forgets an object. One that is not there is forgotten already.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    fn delete_object(&self, name: &str) -> impl Future<Output = Result<()>> + Send;
}

/// How nodes ask each other.
///
/// A request is a few bytes to one node by name, and gets one answer or an error.
pub trait Peers: Send + Sync + 'static {
    /// The requests that come to a node.
    type Inbox: Inbox;

    /// Asks a node.
    ///
    /// # Errors
    ///
    /// `Unavailable` where no answer came in time: it may have been carried out.
    fn ask(&self, node: &str, request: Bytes) -> impl Future<Output = Result<Bytes>> + Send;

    /// Takes the requests to this node from now on.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    fn listen(&self, node: &str) -> impl Future<Output = Result<Self::Inbox>> + Send;
}

/// Requests to a node, in the order in which they came.
pub trait Inbox: Send {
    /// What a request is answered through.
    type Reply: Reply;

    /// The next request. `None` when no more will come.
    fn next(&mut self) -> impl Future<Output = Option<(Bytes, Self::Reply)>> + Send;
}

/// Answers one request.
pub trait Reply: Send + 'static {
    /// Sends the answer. Whoever asked may have stopped waiting.
    fn send(self, answer: Bytes) -> impl Future<Output = ()> + Send;
}
