//! The way of a change into the log: collected into batches, published, and answered once this
//! node has applied the batch.
//!
//! The gateway decides nothing. What becomes of a change is decided where its batch is applied,
//! alike on every node; the gateway waits for that, whether or not the log confirmed the batch.
//!
//! * Two changes of one pair of accounts are never under way in different batches: the later batch
//!   could arrive first.
//! * A batch is retried under the same id and with the same bytes. Once it is given up, every batch
//!   that follows says so, so that it is dead should it still arrive.

use super::figures::{GatewayFigures, STALL_SECONDS};
use super::log::Log;
use super::message::{Batch, Message, Operation};
use crate::error::{Error, ErrorKind, Result};
use crate::types::Outcome;
use bytes::Bytes;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};

/// How much may be under way.
#[derive(Clone, Copy, Debug)]
pub struct GatewayLimits {
    /// Changes that wait or are under way. Beyond them a change is `Overloaded`.
    pub queue_operations: usize,
    /// Changes of one batch.
    pub batch_operations: usize,
    /// Batches that are under way at a time.
    pub batches_in_flight: usize,
    /// How long a batch is retried. Less than half of the time for which the log remembers ids.
    pub retry: Duration,
}

impl Default for GatewayLimits {
    /// 450,000 changes are what comes in the nine seconds that the log may take to find a new
    /// leader, at 50,000 changes a second.
    fn default() -> GatewayLimits {
        GatewayLimits {
            queue_operations: 450_000,
            batch_operations: 1024,
            batches_in_flight: 4,
            retry: Duration::from_secs(55),
        }
    }
}

/// A message of a NATS server has a megabyte at most.
const BATCH_BYTES_MAX: usize = 512 * 1024;
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How long the first attempt is waited for, and the longest one. A leader that hands over may lose
/// what is on its way to it, and to send it again is safe; but a slow log must not get twice as
/// much to do for it, so each attempt has more time than the one before.
const ATTEMPT_MIN: Duration = Duration::from_millis(500);
const ATTEMPT_MAX: Duration = Duration::from_secs(5);

/// What became of a change, where this node knows, and the entry of the log that decided it.
pub(super) type Settled = Result<(Option<Outcome>, u64)>;

struct Waiting {
    operation: Operation<'static>,
    pair: u64,
    reply: oneshot::Sender<Settled>,
}

enum Event {
    Offered(Waiting),
    /// A batch was applied here.
    Applied {
        counter: u64,
        sequence: u64,
        outcomes: Vec<Result<Outcome>>,
    },
    /// A batch is given up. What it changes may happen as long as no later batch says so.
    GivenUp {
        counter: u64,
        why: Error,
    },
}

/// Where changes are offered. Clones share the queue.
#[derive(Clone)]
pub(super) struct Gateway {
    /// Which run of which node this is.
    pub(super) id: u64,
    events: mpsc::UnboundedSender<Event>,
    room: Arc<tokio::sync::Semaphore>,
    hasher: BuildHasherDefault<DefaultHasher>,
    pub(super) figures: Arc<GatewayFigures>,
}

impl Gateway {
    /// Starts a gateway of this id, which no other run of a node has or had.
    pub(super) fn start<L: Log>(id: u64, log: Arc<L>, limits: GatewayLimits) -> Gateway {
        let (events, received) = mpsc::unbounded_channel();
        let gateway = Gateway {
            id,
            events: events.clone(),
            room: Arc::new(tokio::sync::Semaphore::new(limits.queue_operations)),
            hasher: BuildHasherDefault::default(),
            figures: Arc::default(),
        };
        let publisher = Publisher {
            gateway: id,
            log,
            limits,
            // The tasks of batches keep the events open, not the publisher.
            events: events.downgrade(),
            queue: VecDeque::new(),
            in_flight: BTreeMap::new(),
            pairs: HashSet::new(),
            next_counter: 1,
            figures: gateway.figures.clone(),
        };
        tokio::spawn(publisher.run(received));
        gateway
    }

    /// Publishes a change and waits until it is decided.
    ///
    /// Errors: `Overloaded`, `OutcomeUnknown`, `DiskFull`, and what the change itself fails with.
    pub(super) async fn submit(&self, operation: Operation<'static>) -> Settled {
        let Ok(_room) = self.room.try_acquire() else {
            return Err(Error::bare(ErrorKind::Overloaded));
        };
        let (reply, settled) = oneshot::channel();
        let pair = self.hasher.hash_one(operation.pair());
        let closed = || Error::new(ErrorKind::OutcomeUnknown, "the node stopped");
        let offered = Event::Offered(Waiting { operation, pair, reply });
        self.events.send(offered).map_err(|_| closed())?;
        settled.await.map_err(|_| closed())?
    }

    /// Says that a batch of this gateway was applied here.
    pub(super) fn applied(&self, counter: u64, sequence: u64, outcomes: Vec<Result<Outcome>>) {
        // Nobody waits once the publisher is gone.
        let _ = self.events.send(Event::Applied { counter, sequence, outcomes });
    }
}

struct UnderWay {
    since: Instant,
    pairs: Vec<u64>,
    replies: Vec<oneshot::Sender<Settled>>,
}

struct Publisher<L> {
    gateway: u64,
    log: Arc<L>,
    limits: GatewayLimits,
    events: mpsc::WeakUnboundedSender<Event>,
    queue: VecDeque<Waiting>,
    in_flight: BTreeMap<u64, UnderWay>,
    /// The pairs of accounts of all batches that are under way.
    pairs: HashSet<u64>,
    next_counter: u64,
    figures: Arc<GatewayFigures>,
}

impl<L: Log> Publisher<L> {
    async fn run(mut self, mut received: mpsc::UnboundedReceiver<Event>) {
        while let Some(event) = received.recv().await {
            self.take(event);
            // Whatever has come meanwhile goes into the same batch.
            while let Ok(event) = received.try_recv() {
                self.take(event);
            }
            self.publish();
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Offered(waiting) => self.queue.push_back(waiting),
            Event::Applied { counter, sequence, outcomes } => {
                let Some(replies) = self.end(counter) else { return };
                for (reply, outcome) in replies.into_iter().zip(outcomes) {
                    // Whoever asked may have stopped waiting.
                    let _ = reply.send(settle(outcome).map(|outcome| (outcome, sequence)));
                }
            }
            Event::GivenUp { counter, why } => {
                let Some(replies) = self.end(counter) else { return };
                self.figures.given_up.fetch_add(1, Ordering::Relaxed);
                for reply in replies {
                    let _ = reply.send(Err(why.clone()));
                }
            }
        }
    }

    /// A batch is no longer under way.
    fn end(&mut self, counter: u64) -> Option<Vec<oneshot::Sender<Settled>>> {
        let UnderWay { since, pairs, replies } = self.in_flight.remove(&counter)?;
        let took = since.elapsed();
        self.figures.decided.fetch_add(1, Ordering::Relaxed);
        self.figures.deciding_micros.fetch_add(took.as_micros() as u64, Ordering::Relaxed);
        if took.as_secs_f64() > STALL_SECONDS {
            self.figures.stalls.fetch_add(1, Ordering::Relaxed);
        }
        for pair in pairs {
            self.pairs.remove(&pair);
        }
        Some(replies)
    }

    /// Publishes what may be under way.
    fn publish(&mut self) {
        while self.in_flight.len() < self.limits.batches_in_flight && !self.queue.is_empty() {
            let Some(batch) = self.next_batch() else { return };
            self.send(batch);
        }
    }

    /// The next changes that do not have to wait for others of their pair; `None` where all do.
    fn next_batch(&mut self) -> Option<Vec<Waiting>> {
        let (mut batch, mut later) = (Vec::new(), VecDeque::new());
        let (mut bytes, mut passed_over) = (0, HashSet::new());
        while let Some(waiting) = self.queue.pop_front() {
            if batch.len() == self.limits.batch_operations || bytes > BATCH_BYTES_MAX {
                later.push_back(waiting);
                break;
            }
            if self.pairs.contains(&waiting.pair) || passed_over.contains(&waiting.pair) {
                passed_over.insert(waiting.pair);
                later.push_back(waiting);
                continue;
            }
            bytes += names_bytes(&waiting.operation);
            batch.push(waiting);
        }
        later.append(&mut self.queue);
        self.queue = later;
        (!batch.is_empty()).then_some(batch)
    }

    fn send(&mut self, batch: Vec<Waiting>) {
        let counter = self.next_counter;
        self.next_counter += 1;
        let floor = self.in_flight.first_key_value().map_or(counter, |(first, _)| *first);
        let (mut operations, mut under_way) = (Vec::new(), (Vec::new(), Vec::new()));
        for Waiting { operation, pair, reply } in batch {
            self.pairs.insert(pair);
            operations.push(operation);
            under_way.0.push(pair);
            under_way.1.push(reply);
        }
        self.figures.batches.fetch_add(1, Ordering::Relaxed);
        self.figures.operations.fetch_add(operations.len() as u64, Ordering::Relaxed);
        let gateway = self.gateway;
        let bytes = Message::Batch(Batch { gateway, counter, floor, operations }).encode();
        let (pairs, replies) = under_way;
        self.in_flight.insert(counter, UnderWay { since: Instant::now(), pairs, replies });
        let attempts = Attempts {
            log: self.log.clone(),
            id: format!("{gateway:016x}-{counter}"),
            bytes,
            retry: self.limits.retry,
            figures: self.figures.clone(),
        };
        let events = self.events.clone();
        tokio::spawn(async move {
            let why = attempts.run().await;
            if let Some(events) = events.upgrade() {
                let _ = events.send(Event::GivenUp { counter, why });
            }
        });
    }
}

/// Where this node knows the lists of neither account, all that could be wrong was not.
fn settle(outcome: Result<Outcome>) -> Result<Option<Outcome>> {
    match outcome {
        Err(error) if error.kind() == ErrorKind::ForeignAccount => Ok(None),
        outcome => outcome.map(Some),
    }
}

fn names_bytes(operation: &Operation<'_>) -> usize {
    let (one, other) = operation.pair();
    one.len() + other.len() + 16
}

/// The attempts to append one batch.
struct Attempts<L> {
    log: Arc<L>,
    id: String,
    bytes: Bytes,
    retry: Duration,
    figures: Arc<GatewayFigures>,
}

impl<L: Log> Attempts<L> {
    /// Appends the batch, and then waits for as long as a batch may be under way. What it was
    /// waited for normally comes before that: then nobody hears of this error.
    async fn run(self) -> Error {
        let deadline = Instant::now() + self.retry;
        let (mut pause, mut patience, mut was_sent) = (PAUSE_MIN, ATTEMPT_MIN, false);
        loop {
            let attempt = timeout(patience, self.log.append(&self.id, self.bytes.clone())).await;
            match attempt {
                Ok(Ok(ack)) => {
                    sleep(deadline.saturating_duration_since(Instant::now())).await;
                    let message = format!("in the log at {}, not applied here", ack.sequence);
                    return Error::new(ErrorKind::OutcomeUnknown, message);
                }
                Ok(Err(error)) if error.kind() == ErrorKind::DiskFull && !was_sent => return error,
                Ok(Err(error)) if error.kind() == ErrorKind::Incompatible => {
                    return if was_sent { unknown() } else { error };
                }
                _ => was_sent = true,
            }
            if Instant::now() + pause >= deadline {
                return unknown();
            }
            self.figures.retries.fetch_add(1, Ordering::Relaxed);
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
            patience = (patience * 2).min(ATTEMPT_MAX);
        }
    }
}

fn unknown() -> Error {
    let message = "the log did not confirm it; read before trying again";
    Error::new(ErrorKind::OutcomeUnknown, message)
}
