//! The log, the shelf and the peers in memory, with faults drawn from a seed.
//!
//! For simulations: on one thread, with tokio's time paused, a seed gives the same run every time.

use super::log::{Ack, Entry, Extent, Inbox, Log, Peers, Reply, Shelf, Tail, Value};
use crate::error::{Error, ErrorKind, Result};
use crate::locks::Mutex;
use bytes::Bytes;
use siphasher::sip::SipHasher13;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout};

/// How long an id is remembered.
const DEDUPLICATION: Duration = Duration::from_mins(2);
/// How long an answer of a peer is waited for.
const ASK: Duration = Duration::from_secs(2);
/// When the log begins, in Unix milliseconds.
const START_MILLIS: u64 = 1_700_000_000_000;

/// How often what goes wrong: once in so many calls, 0 for never.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemoryFaults {
    /// An append does not arrive.
    pub lost_append: u64,
    /// An append arrives, and its confirmation does not.
    pub lost_ack: u64,
    /// What was appended arrives once more, when its id is forgotten.
    pub late_copy: u64,
    /// A reader of the log ends with an error.
    pub cut_tail: u64,
    /// A question to a peer, or its answer, does not arrive.
    pub lost_answer: u64,
    /// A call takes up to so many milliseconds.
    pub delay_millis: u64,
}

/// A log, a shelf and peers in the memory of one process. Clones share everything, and write to one
/// epoch of the log only.
///
/// ```
/// use followgraph::cluster::{Log, Memory};
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let memory = Memory::new(7);
/// let ack = memory.append("one", "bytes".into()).await?;
/// assert_eq!(memory.append("one", "bytes".into()).await?.sequence, ack.sequence);
/// assert_eq!(memory.extent().await?.last, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Memory {
    shared: Arc<Shared>,
    epoch: u64,
}

struct Shared {
    state: Mutex<State>,
    last: watch::Sender<u64>,
    start: std::sync::OnceLock<Instant>,
}

#[derive(Default)]
struct State {
    seed: u64,
    draw_count: u64,
    faults: MemoryFaults,
    epoch: u64,
    first: u64,
    entries: Vec<Entry>,
    purged: Vec<Entry>,
    ids: HashMap<String, (u64, Instant)>,
    late: Vec<(Instant, Bytes)>,
    values: BTreeMap<String, Value>,
    revision: u64,
    objects: BTreeMap<String, Bytes>,
    inboxes: HashMap<String, mpsc::UnboundedSender<(Bytes, MemoryReply)>>,
}

impl State {
    fn draw(&mut self) -> u64 {
        self.draw_count += 1;
        SipHasher13::new_with_keys(self.seed, 0).hash(&self.draw_count.to_le_bytes())
    }

    fn strikes(&mut self, one_in: u64) -> bool {
        one_in > 0 && self.draw().is_multiple_of(one_in)
    }
}

fn lost(what: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("{what} was lost"))
}

impl Memory {
    /// An empty log of an epoch, and nothing goes wrong.
    pub fn new(epoch: u64) -> Memory {
        let state = State { epoch, first: 1, ..State::default() };
        let shared = Shared {
            state: Mutex::new(state),
            last: watch::Sender::new(0),
            start: std::sync::OnceLock::new(),
        };
        Memory { shared: Arc::new(shared), epoch }
    }

    /// What goes wrong from now on, and the seed it is drawn from.
    pub fn set_faults(&self, seed: u64, faults: MemoryFaults) {
        let mut state = self.shared.state.lock();
        (state.seed, state.faults) = (seed, faults);
    }

    /// Loses everything, and makes an empty log of another epoch whose first entry comes behind
    /// `last`. The connection to it is the answer: no entry of this one gets there.
    #[must_use]
    pub fn lose_log(&self, epoch: u64, last: u64) -> Memory {
        let mut state = self.shared.state.lock();
        let State { seed, draw_count, faults, .. } = *state;
        let mut purged = std::mem::take(&mut state.purged);
        purged.append(&mut state.entries);
        purged.retain(|entry| entry.sequence <= last);
        let first = last + 1;
        *state = State { seed, draw_count, faults, epoch, first, purged, ..State::default() };
        self.shared.last.send_replace(last);
        Memory { shared: self.shared.clone(), epoch }
    }

    /// Appends what no node would: for tests of what nodes do about it.
    ///
    /// # Errors
    ///
    /// `Incompatible` where the log was lost.
    pub fn append_raw(&self, bytes: impl Into<Bytes>) -> Result<u64> {
        self.store(bytes.into())
    }

    /// Every entry there ever was, purged ones and those of lost logs included.
    pub fn history(&self) -> Vec<Entry> {
        let state = self.shared.state.lock();
        state.purged.iter().chain(&state.entries).cloned().collect()
    }

    fn store(&self, bytes: Bytes) -> Result<u64> {
        let mut state = self.shared.state.lock();
        if state.epoch != self.epoch {
            let error = Error::new(ErrorKind::Incompatible, "the log was lost");
            return Err(error.expected(self.epoch, state.epoch));
        }
        let start = *self.shared.start.get_or_init(Instant::now);
        let sequence = state.first + state.entries.len() as u64;
        let time_millis = START_MILLIS + start.elapsed().as_millis() as u64;
        state.entries.push(Entry { sequence, time_millis, bytes });
        self.shared.last.send_replace(sequence);
        Ok(sequence)
    }

    async fn delay(&self) {
        let millis = {
            let mut state = self.shared.state.lock();
            match state.faults.delay_millis {
                0 => 0,
                most => state.draw() % (most + 1),
            }
        };
        if millis > 0 {
            sleep(Duration::from_millis(millis)).await;
        }
    }

    fn strikes(&self, of: impl Fn(&MemoryFaults) -> u64) -> bool {
        let mut state = self.shared.state.lock();
        let one_in = of(&state.faults);
        state.strikes(one_in)
    }

    /// Copies whose time has come arrive again.
    fn deliver_late(&self) -> Result<()> {
        let now = Instant::now();
        let due: Vec<Bytes> = {
            let mut state = self.shared.state.lock();
            state.ids.retain(|_, (_, at)| now - *at < DEDUPLICATION);
            let (due, later) =
                std::mem::take(&mut state.late).into_iter().partition(|late| late.0 <= now);
            state.late = later;
            let due: Vec<(Instant, Bytes)> = due;
            due.into_iter().map(|(_, bytes)| bytes).collect()
        };
        due.into_iter().try_for_each(|bytes| self.store(bytes).map(drop))
    }
}

impl Log for Memory {
    type Tail = MemoryTail;

    async fn append(&self, id: &str, bytes: Bytes) -> Result<Ack> {
        self.delay().await;
        if self.strikes(|faults| faults.lost_append) {
            return Err(lost("an append"));
        }
        self.deliver_late()?;
        let known = self.shared.state.lock().ids.get(id).map(|(sequence, _)| *sequence);
        let (sequence, is_duplicate) = if let Some(sequence) = known {
            (sequence, true)
        } else {
            let sequence = self.store(bytes.clone())?;
            if self.strikes(|faults| faults.late_copy) {
                let due = Instant::now() + DEDUPLICATION + Duration::from_secs(1);
                self.shared.state.lock().late.push((due, bytes));
            }
            self.shared.state.lock().ids.insert(id.to_owned(), (sequence, Instant::now()));
            (sequence, false)
        };
        if self.strikes(|faults| faults.lost_ack) {
            return Err(lost("a confirmation"));
        }
        self.delay().await;
        Ok(Ack { sequence, is_duplicate })
    }

    async fn tail(&self, from: u64) -> Result<MemoryTail> {
        self.delay().await;
        let first = self.shared.state.lock().first;
        if from < first {
            let message = "entries from there on were purged";
            return Err(Error::new(ErrorKind::PositionLost, message).expected(first, from));
        }
        Ok(MemoryTail { memory: self.clone(), last: self.shared.last.subscribe(), next: from })
    }

    async fn extent(&self) -> Result<Extent> {
        self.delay().await;
        let state = self.shared.state.lock();
        let last = state.first + state.entries.len() as u64 - 1;
        Ok(Extent { epoch: state.epoch, first: state.first, last })
    }

    async fn purge_below(&self, sequence: u64) -> Result<()> {
        self.delay().await;
        let mut state = self.shared.state.lock();
        let count = sequence.saturating_sub(state.first).min(state.entries.len() as u64);
        let purged: Vec<Entry> = state.entries.drain(..count as usize).collect();
        state.purged.extend(purged);
        state.first += count;
        Ok(())
    }
}

/// A reader of a [`Memory`].
pub struct MemoryTail {
    memory: Memory,
    last: watch::Receiver<u64>,
    next: u64,
}

impl Tail for MemoryTail {
    async fn next(&mut self) -> Result<Entry> {
        let next = self.next;
        let waited = self.last.wait_for(|last| *last >= next).await;
        waited.map_err(|_| lost("the log"))?;
        self.memory.delay().await;
        if self.memory.strikes(|faults| faults.cut_tail) {
            return Err(lost("a reader"));
        }
        let state = self.memory.shared.state.lock();
        let place = next.checked_sub(state.first);
        let entry = place.and_then(|place| state.entries.get(place as usize));
        let entry = entry.ok_or_else(|| {
            Error::new(ErrorKind::PositionLost, "the next entry was purged")
                .expected(state.first, next)
        })?;
        self.next += 1;
        Ok(entry.clone())
    }
}

impl Shelf for Memory {
    async fn get(&self, key: &str) -> Result<Option<Value>> {
        self.delay().await;
        Ok(self.shared.state.lock().values.get(key).cloned())
    }

    async fn set(&self, key: &str, bytes: Bytes, expected_revision: u64) -> Result<Option<u64>> {
        self.delay().await;
        let mut state = self.shared.state.lock();
        let revision = state.values.get(key).map_or(0, |value| value.revision);
        if revision != expected_revision {
            return Ok(None);
        }
        state.revision += 1;
        let revision = state.revision;
        state.values.insert(key.to_owned(), Value { bytes, revision });
        Ok(Some(revision))
    }

    async fn put_object(&self, name: &str, file: &Path) -> Result<()> {
        self.delay().await;
        let content = std::fs::read(file).map_err(|source| Error::io("read", file, &source))?;
        self.shared.state.lock().objects.insert(name.to_owned(), content.into());
        Ok(())
    }

    async fn get_object(&self, name: &str, file: &Path) -> Result<()> {
        self.delay().await;
        let content = self.shared.state.lock().objects.get(name).cloned();
        let content = content.ok_or_else(|| {
            Error::new(ErrorKind::NotHosted, format!("there is no object {name:?}"))
        })?;
        std::fs::write(file, content).map_err(|source| Error::io("write", file, &source))
    }

    async fn delete_object(&self, name: &str) -> Result<()> {
        self.delay().await;
        self.shared.state.lock().objects.remove(name);
        Ok(())
    }
}

impl Peers for Memory {
    type Inbox = MemoryInbox;

    async fn ask(&self, node: &str, request: Bytes) -> Result<Bytes> {
        self.delay().await;
        let inbox = self.shared.state.lock().inboxes.get(node).cloned();
        let (reply, answer) = oneshot::channel();
        let is_lost = self.strikes(|faults| faults.lost_answer);
        let sent = inbox.is_some_and(|inbox| inbox.send((request, MemoryReply(reply))).is_ok());
        let unavailable =
            || Error::new(ErrorKind::Unavailable, format!("node {node:?} does not answer"));
        if !sent || is_lost {
            return Err(unavailable());
        }
        match timeout(ASK, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            _ => Err(unavailable()),
        }
    }

    async fn listen(&self, node: &str) -> Result<MemoryInbox> {
        let (sender, inbox) = mpsc::unbounded_channel();
        self.shared.state.lock().inboxes.insert(node.to_owned(), sender);
        Ok(MemoryInbox(inbox))
    }
}

/// The requests to a node.
pub struct MemoryInbox(mpsc::UnboundedReceiver<(Bytes, MemoryReply)>);

impl Inbox for MemoryInbox {
    type Reply = MemoryReply;

    async fn next(&mut self) -> Option<(Bytes, MemoryReply)> {
        self.0.recv().await
    }
}

/// Answers a request.
pub struct MemoryReply(oneshot::Sender<Bytes>);

impl Reply for MemoryReply {
    async fn send(self, answer: Bytes) {
        // Whoever asked may be gone.
        let _ = self.0.send(answer);
    }
}
