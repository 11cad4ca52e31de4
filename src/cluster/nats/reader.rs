//! Messages of a stream as a server sends them, none of them lost without a word.

use super::Shared;
use crate::error::Result;
use async_nats::jetstream::consumer::push::Config;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy};
use async_nats::jetstream::message::Message;
use async_nats::{HeaderValue, StatusCode, Subject, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How often a server says that there is nothing.
const HEARTBEAT: Duration = Duration::from_millis(100);
/// A server that says nothing for so long has forgotten this reader, or is gone. What it forgets it
/// forgets without a word, also when it retires in an orderly way: then this is how long changes
/// wait that the log has confirmed. A false alarm costs a new reader.
const SILENCE_MAX: Duration = Duration::from_millis(500);
/// How long one may take that begins: first the servers agree on who it is.
const BEGIN_TIME_MAX: Duration = Duration::from_secs(2);
/// A reader that went away is forgotten after this.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30);

/// Where the answer to a heartbeat goes that came because the server waits for one.
const STALLED_HEADER: &str = "Nats-Consumer-Stalled";
/// How many messages the server has sent to this reader.
const SENT_HEADER: &str = "Nats-Last-Consumer";

/// One message, and what the server says of it.
pub(super) struct Received {
    pub(super) sequence: u64,
    pub(super) time_millis: u64,
    pub(super) bytes: Bytes,
}

/// A push consumer without a name, read in order.
///
/// The client library has one that makes itself again after a loss. That one would begin at the
/// start of the stream if it had read nothing before, and a loss is an error here anyway.
pub(super) struct Reader {
    shared: Arc<Shared>,
    subscriber: Subscriber,
    what: String,
    received_count: u64,
    /// What the server waits for before it sends more.
    owed: Option<Subject>,
    silent_until: Instant,
}

impl Reader {
    /// Reads the messages of a stream that have one subject, or all.
    pub(super) async fn begin(
        shared: &Arc<Shared>,
        stream: &str,
        subject: Option<String>,
        deliver: DeliverPolicy,
    ) -> Result<Reader> {
        let what = format!("read stream {stream}");
        let inbox = shared.client.new_inbox();
        // First the subscription, so that there is somebody to send to.
        let subscribed = shared.client.subscribe(inbox.clone()).await;
        let subscriber = subscribed.map_err(|error| shared.link().unavailable(&what, error))?;
        let config = Config {
            deliver_subject: inbox,
            deliver_policy: deliver,
            ack_policy: AckPolicy::None,
            max_deliver: 1,
            filter_subject: subject.unwrap_or_default(),
            flow_control: true,
            idle_heartbeat: HEARTBEAT,
            inactive_threshold: FORGOTTEN_AFTER,
            num_replicas: 1,
            memory_storage: true,
            ..Config::default()
        };
        let created = shared.jetstream.create_consumer_on_stream(config, stream).await;
        created.map_err(|error| shared.link().unavailable(&what, error))?;
        let silent_until = Instant::now() + BEGIN_TIME_MAX;
        let shared = Arc::clone(shared);
        Ok(Reader { shared, subscriber, what, received_count: 0, owed: None, silent_until })
    }

    fn failed(&self, reason: &str) -> crate::error::Error {
        self.shared.link().unavailable(&self.what, reason)
    }

    /// The next message. Cancelling the future loses nothing.
    pub(super) async fn next(&mut self) -> Result<Received> {
        loop {
            if let Some(subject) = &self.owed {
                let sent = self.shared.client.publish(subject.clone(), Bytes::new()).await;
                sent.map_err(|error| self.shared.link().unavailable(&self.what, error))?;
                self.owed = None;
            }
            let message = match timeout_at(self.silent_until, self.subscriber.next()).await {
                Ok(Some(message)) => message,
                Ok(None) => return Err(self.failed("the connection was closed")),
                Err(_) => return Err(self.failed("it says nothing any more")),
            };
            self.silent_until = Instant::now() + SILENCE_MAX;
            match message.status {
                None => return self.received(message),
                Some(StatusCode::IDLE_HEARTBEAT) => self.heartbeat(&message)?,
                Some(status) => {
                    let text = message.description.as_deref().unwrap_or_default();
                    return Err(self.failed(&format!("it stopped with {status} {text}")));
                }
            }
        }
    }

    /// A heartbeat says what was sent, so that also the loss of the last message is noticed, and
    /// may ask for an answer.
    fn heartbeat(&mut self, message: &async_nats::Message) -> Result<()> {
        let header = |name: &str| message.headers.as_ref()?.get(name).map(HeaderValue::as_str);
        if let Some(sent) = header(SENT_HEADER).and_then(|sent| sent.parse::<u64>().ok())
            && sent > self.received_count
        {
            return Err(self.failed("a message was lost on the way"));
        }
        let stalled = header(STALLED_HEADER).map(Subject::from);
        self.owed = message.reply.clone().or(stalled);
        Ok(())
    }

    fn received(&mut self, message: async_nats::Message) -> Result<Received> {
        let context = self.shared.jetstream.clone();
        let message = Message { message, context };
        let info = message.info().map_err(|error| self.failed(&error.to_string()))?;
        let (sequence, number) = (info.stream_sequence, info.consumer_sequence);
        let time_millis = info.published.unix_timestamp_nanos() / 1_000_000;
        if number != self.received_count + 1 {
            return Err(self.failed("a message was lost on the way"));
        }
        self.received_count = number;
        let time_millis = u64::try_from(time_millis).unwrap_or(0);
        Ok(Received { sequence, time_millis, bytes: message.message.payload })
    }
}
