//! The log, the shelf and the peers on NATS JetStream.
//!
//! One stream with one subject is the log, one bucket has the values and another the objects, and
//! nodes ask each other through plain subjects. All of it begins with the name of the cluster.
//!
//! A server is believed as little as possible: its version and the settings of the stream are read
//! back, a reader checks the number of every entry, and what names an epoch is refused where the
//! log is another one.

mod file;
mod objects;
mod options;
mod peers;
mod reader;
mod settings;
mod tail;
mod values;
mod version;

pub use options::{NatsCredentials, NatsOptions};
pub use peers::{NatsInbox, NatsReply};
pub use tail::NatsTail;

use super::log::{Ack, Extent, Log, Shelf, Value};
use crate::error::{Error, ErrorKind, Result};
use async_nats::connection::State;
use async_nats::jetstream::context::{PublishError, PublishErrorKind, RequestErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{Config, Info};
use async_nats::jetstream::{self, Context, ContextBuilder, ErrorCode, kv};
use async_nats::{Client, ConnectErrorKind};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::error::Error as _;
use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long a server may take to answer a request or to confirm an entry. A log without a leader
/// chooses one in four to nine seconds, and does not remember what came meanwhile.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// How long `create` waits for servers that have just been started.
const CREATE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long to wait before what is not there yet is looked for again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// Entries and chunks on their way, over all callers. More wait here.
const IN_FLIGHT_MAX: usize = 4096;

/// A connection to a NATS cluster. Clones share it.
///
/// It is made again by itself when it breaks, to whichever server answers. One connection carries
/// everything, any number of calls at the same time.
#[derive(Clone)]
pub struct Nats(Arc<Shared>);

struct Shared {
    options: NatsOptions,
    client: Client,
    jetstream: Context,
    values: kv::Store,
    stream: String,
    subject: String,
    epoch: u64,
}

/// A connection, before anything is known of what is there.
struct Link<'a> {
    client: &'a Client,
    jetstream: &'a Context,
}

/// A request that says everything by its subject.
#[derive(Serialize)]
struct Nothing {}

#[derive(Serialize)]
struct PurgeRequest<'a> {
    #[serde(rename = "seq", skip_serializing_if = "Option::is_none")]
    below: Option<u64>,
    #[serde(rename = "filter", skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
}

#[derive(Deserialize)]
struct Done {
    success: bool,
}

impl Link<'_> {
    /// Which server this is about.
    fn server(&self) -> String {
        let info = self.client.server_info();
        let state = match self.client.connection_state() {
            State::Connected => "",
            _ => ", which is gone",
        };
        format!("log server {} at {}:{}{state}", info.server_name, info.host, info.port)
    }

    fn unavailable(&self, what: &str, reason: impl Display) -> Error {
        let message = format!(
            "cannot {what} through {}: {reason}; try again, and see that most of the log servers \
             are up and reach each other",
            self.server()
        );
        Error::new(ErrorKind::Unavailable, message)
    }

    /// What a server answered instead of doing it.
    fn refused(&self, what: &str, error: &jetstream::Error) -> Error {
        let code = error.error_code();
        let text = error.to_string();
        let full_words =
            ["maximum bytes exceeded", "maximum messages exceeded", "no space left on device"];
        let is_full = match code {
            ErrorCode::STREAM_STORE_FAILED => full_words.iter().any(|words| text.contains(words)),
            ErrorCode::ACCOUNT_RESOURCES_EXCEEDED
            | ErrorCode::INSUFFICIENT_RESOURCES
            | ErrorCode::STORAGE_RESOURCES_EXCEEDED => true,
            _ => false,
        };
        let (kind, advice) = match code {
            _ if is_full => (
                ErrorKind::DiskFull,
                "purge behind newer snapshots, or give the stream or the servers more room",
            ),
            ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM => {
                (ErrorKind::InvalidArgument, "make it smaller")
            }
            ErrorCode::STREAM_NOT_FOUND
            | ErrorCode::STREAM_NOT_MATCH
            | ErrorCode::STREAM_MISMATCH => (
                ErrorKind::Incompatible,
                "the log was lost or is another one: see docs/scale-out.md before anything is \
                 started again",
            ),
            _ => return self.unavailable(what, text),
        };
        Error::new(kind, format!("cannot {what} through {}: {text}; {advice}", self.server()))
    }

    /// A call of the management interface.
    async fn call<T>(&self, what: &str, subject: String, request: &impl Serialize) -> Result<T>
    where
        T: for<'de> Deserialize<'de>,
    {
        match self.jetstream.request(subject, request).await {
            Ok(Response::Ok(answer)) => Ok(answer),
            Ok(Response::Err { error }) => Err(self.refused(what, &error)),
            Err(error) if error.kind() == RequestErrorKind::NoResponders => {
                Err(self.unavailable(what, "nobody there answers for JetStream"))
            }
            Err(error) => Err(self.unavailable(what, error)),
        }
    }

    /// What a stream is like, `None` where there is none of the name.
    async fn stream(&self, name: &str) -> Result<Option<Info>> {
        let what = format!("read stream {name}");
        match self.call(&what, format!("STREAM.INFO.{name}"), &Nothing {}).await {
            Ok(info) => Ok(Some(info)),
            Err(error) if error.kind() == ErrorKind::Incompatible => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a stream, and waits until it can be used. Where there is one it is left as it is.
    async fn make(&self, config: &Config) -> Result<()> {
        let what = format!("make stream {}", config.name);
        let deadline = Instant::now() + CREATE_TIMEOUT;
        loop {
            let subject = format!("STREAM.CREATE.{}", config.name);
            let response = self.jetstream.request(subject, config).await;
            let failure = match response {
                Ok(Response::Ok::<Info>(_)) => break,
                Ok(Response::Err { error }) => match error.error_code() {
                    ErrorCode::STREAM_NAME_EXIST => break,
                    ErrorCode::STREAM_SUBJECT_OVERLAP => {
                        let advice =
                            "another stream has its subject: give the cluster another name";
                        let message = format!("cannot {what}: {error}; {advice}");
                        return Err(Error::new(ErrorKind::Incompatible, message));
                    }
                    _ => self.refused(&what, &error),
                },
                Err(error) => self.unavailable(&what, error),
            };
            if failure.kind() != ErrorKind::Unavailable || Instant::now() > deadline {
                return Err(failure);
            }
            sleep(RETRY_PAUSE).await;
        }
        while self.stream(&config.name).await.is_ok_and(|info| info.is_none()) {
            if Instant::now() > deadline {
                return Err(self.unavailable(&what, "it was made and is not there"));
            }
            sleep(RETRY_PAUSE).await;
        }
        Ok(())
    }

    /// Waits until entries get from here to a stream that was just made. What is sent is meant for
    /// another one, so it is refused by the stream, and by nobody else.
    async fn wait_for_route(&self, subject: &str) -> Result<()> {
        let deadline = Instant::now() + CREATE_TIMEOUT;
        loop {
            let probe = PublishMessage::build().expected_stream("none");
            let answered = match self.jetstream.send_publish(subject.to_owned(), probe).await {
                Ok(confirmation) => confirmation.await,
                Err(error) => Err(error),
            };
            let Err(error) = answered else {
                let message = format!("{} takes what is meant for another stream", self.server());
                return Err(Error::new(ErrorKind::Incompatible, message));
            };
            let refusal = refusal_of(&error).map(jetstream::Error::error_code);
            if refusal == Some(ErrorCode::STREAM_NOT_MATCH) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(self.unavailable(&format!("write to {subject}"), error));
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    /// What a stream is like that has to be there.
    async fn present(&self, name: &str) -> Result<Info> {
        self.stream(name).await?.ok_or_else(|| {
            let message = format!(
                "there is no stream {name} at {}: the cluster was not made yet, or it was lost; \
                 see docs/scale-out.md",
                self.server()
            );
            Error::new(ErrorKind::Incompatible, message)
        })
    }

    /// Reads the stream and the buckets and compares them. The epoch of the log.
    async fn inspect(&self, options: &NatsOptions, epoch: Option<u64>) -> Result<u64> {
        let log = self.present(&options.stream()).await?;
        if let Some(version) = settings::server_version(&log.config) {
            let leader = log.cluster.and_then(|cluster| cluster.leader);
            version::check(options, &leader.unwrap_or_default(), version)?;
        }
        let epoch = match epoch {
            Some(epoch) => epoch,
            None => settings::epoch_of(options, &log.config)?,
        };
        settings::compare(&settings::log(options, epoch), &log.config)?;
        for wanted in [settings::values(options), settings::objects(options)] {
            let bucket = self.present(&wanted.name).await?;
            settings::compare(&wanted, &bucket.config)?;
        }
        Ok(epoch)
    }
}

async fn connect(options: &NatsOptions) -> Result<Client> {
    options.check()?;
    let servers = options.servers.join(", ");
    let connected = options.connect_options().await?.connect(&options.servers).await;
    let client = connected.map_err(|error| {
        let (kind, advice) = match error.kind() {
            ConnectErrorKind::ServerParse => {
                (ErrorKind::InvalidArgument, "servers are named as nats://host:port")
            }
            ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
                (ErrorKind::InvalidArgument, "the credentials are not those of a user there")
            }
            ConnectErrorKind::Tls => (
                ErrorKind::Unavailable,
                "see which authority signed the certificates of the servers, and whether they ask \
                 for one of the client",
            ),
            _ => (ErrorKind::Unavailable, "see that they are up and can be reached from here"),
        };
        Error::new(kind, format!("cannot connect to log servers {servers}: {error}; {advice}"))
    })?;
    version::check_all(options, &client).await?;
    Ok(client)
}

fn jetstream(client: &Client) -> Context {
    let builder = ContextBuilder::new().timeout(REQUEST_TIMEOUT).ack_timeout(REQUEST_TIMEOUT);
    builder.max_ack_inflight(IN_FLIGHT_MAX).build(client.clone())
}

impl Nats {
    /// Makes the log of a new cluster, empty and of this epoch, with the buckets beside it, and
    /// connects. Where they are there already, and are as they have to be, it only connects.
    ///
    /// Waits half a minute for servers that have just been started.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for the options and credentials. `Unavailable`: try again. `DiskFull`: the
    /// servers have no room for a log of that size. `Incompatible`: a server is too old, or there
    /// is a stream of that name with other settings or another epoch.
    pub async fn create(options: NatsOptions, epoch: u64) -> Result<Nats> {
        Nats::create_behind(options, epoch, 0).await
    }

    /// The same with a log whose first entry comes behind `last`, the last one of a log that was
    /// lost.
    ///
    /// # Errors
    ///
    /// Those of [`create`](Nats::create); `InvalidArgument` where no number is left behind `last`.
    pub async fn create_behind(options: NatsOptions, epoch: u64, last: u64) -> Result<Nats> {
        let first = last.checked_add(1).ok_or_else(|| {
            Error::new(ErrorKind::InvalidArgument, format!("no entry can come behind entry {last}"))
        })?;
        let client = connect(&options).await?;
        let jetstream = jetstream(&client);
        let link = Link { client: &client, jetstream: &jetstream };
        let mut log = settings::log(&options, epoch);
        log.first_sequence = Some(first).filter(|first| *first > 1);
        for config in [log, settings::values(&options), settings::objects(&options)] {
            link.make(&config).await?;
        }
        link.inspect(&options, Some(epoch)).await?;
        link.wait_for_route(&options.subject(epoch)).await?;
        Nats::with(options, client, jetstream, epoch).await
    }

    /// The epoch of the log that there is, if any: with it, [`create`](Nats::create) ends what was
    /// begun before. Waits half a minute for servers that have just been started.
    ///
    /// # Errors
    ///
    /// Those of [`connect`](Nats::connect).
    pub async fn existing_epoch(options: &NatsOptions) -> Result<Option<u64>> {
        let client = connect(options).await?;
        let link = Link { client: &client, jetstream: &jetstream(&client) };
        let deadline = Instant::now() + CREATE_TIMEOUT;
        let found = loop {
            match link.stream(&options.stream()).await {
                Err(error)
                    if error.kind() == ErrorKind::Unavailable && Instant::now() < deadline =>
                {
                    sleep(RETRY_PAUSE).await;
                }
                found => break found?,
            }
        };
        found.map(|info| settings::epoch_of(options, &info.config)).transpose()
    }

    /// Connects to a cluster that was made with [`create`](Nats::create).
    ///
    /// Every server that can be reached is asked for its version, and the settings of the log are
    /// compared with what is needed.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for the options and credentials. `Unavailable`: try again. `Incompatible`:
    /// a server is too old, there is no such cluster, or its settings are not what they have to be;
    /// the message says which.
    pub async fn connect(options: NatsOptions) -> Result<Nats> {
        let client = connect(&options).await?;
        let jetstream = jetstream(&client);
        let link = Link { client: &client, jetstream: &jetstream };
        let epoch = link.inspect(&options, None).await?;
        Nats::with(options, client, jetstream, epoch).await
    }

    async fn with(
        options: NatsOptions,
        client: Client,
        jetstream: Context,
        epoch: u64,
    ) -> Result<Nats> {
        let bucket = options.values_bucket();
        let link = Link { client: &client, jetstream: &jetstream };
        let values = jetstream.get_key_value(&bucket).await;
        let values =
            values.map_err(|error| link.unavailable(&format!("open bucket {bucket}"), error))?;
        let (stream, subject) = (options.stream(), options.subject(epoch));
        Ok(Nats(Arc::new(Shared { options, client, jetstream, values, stream, subject, epoch })))
    }

    /// Which log this is.
    pub fn epoch(&self) -> u64 {
        self.0.epoch
    }
}

impl Shared {
    fn link(&self) -> Link<'_> {
        Link { client: &self.client, jetstream: &self.jetstream }
    }

    /// What the log is like, if it is still the one that was connected to.
    async fn log_info(&self) -> Result<Info> {
        let info = self.link().present(&self.stream).await?;
        let epoch = settings::epoch_of(&self.options, &info.config)?;
        if epoch == self.epoch {
            return Ok(info);
        }
        let message = format!(
            "stream {} at {} is another log now: see docs/scale-out.md before anything is started \
             again",
            self.stream,
            self.link().server()
        );
        Err(Error::new(ErrorKind::Incompatible, message).expected(self.epoch, epoch))
    }

    async fn extent(&self) -> Result<Extent> {
        let state = self.log_info().await?.state;
        let last = state.last_sequence;
        // A stream that never had an entry begins with none.
        let first = if state.messages == 0 { last + 1 } else { state.first_sequence };
        Ok(Extent { epoch: self.epoch, first, last })
    }

    /// Forgets messages of a stream.
    async fn purge(&self, stream: &str, request: &PurgeRequest<'_>) -> Result<()> {
        let what = format!("purge stream {stream}");
        let subject = format!("STREAM.PURGE.{stream}");
        let done: Done = self.link().call(&what, subject, request).await?;
        if done.success {
            return Ok(());
        }
        Err(self.link().unavailable(&what, "it did not happen"))
    }

    /// What became of a message that was not confirmed.
    fn not_confirmed(&self, what: &str, error: &PublishError) -> Error {
        match refusal_of(error) {
            Some(refusal) => self.link().refused(what, refusal),
            None if error.kind() == PublishErrorKind::MaxPayloadExceeded => {
                let message = format!("cannot {what}: {error}; make it smaller");
                Error::new(ErrorKind::InvalidArgument, message)
            }
            None => self.link().unavailable(what, error),
        }
    }
}

/// What the server answered, where it did.
fn refusal_of(error: &PublishError) -> Option<&jetstream::Error> {
    error.source().and_then(|source| source.downcast_ref())
}

/// Ids travel in a header line.
fn check_id(id: &str) -> Result<()> {
    if !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    let message = format!("the id of an entry is {id:?}: one visible character of ASCII at least");
    Err(Error::new(ErrorKind::InvalidArgument, message))
}

impl Log for Nats {
    type Tail = NatsTail;

    async fn append(&self, id: &str, bytes: Bytes) -> Result<Ack> {
        check_id(id)?;
        let shared = &self.0;
        let message = PublishMessage::build().payload(bytes).message_id(id);
        let message = message.expected_stream(&shared.stream);
        let what = || format!("append {id} to stream {}", shared.stream);
        let sent = shared.jetstream.send_publish(shared.subject.clone(), message).await;
        let confirmed = match sent {
            Ok(confirmation) => confirmation.await,
            Err(error) => Err(error),
        };
        match confirmed {
            Ok(ack) => Ok(Ack { sequence: ack.sequence, is_duplicate: ack.duplicate }),
            Err(error) => {
                // Nobody takes the subject of this epoch: the servers may all be starting, or the
                // log may be another one.
                if error.kind() == PublishErrorKind::StreamNotFound {
                    shared.log_info().await?;
                }
                Err(shared.not_confirmed(&what(), &error))
            }
        }
    }

    async fn tail(&self, from: u64) -> Result<NatsTail> {
        NatsTail::begin(&self.0, from).await
    }

    async fn extent(&self) -> Result<Extent> {
        self.0.extent().await
    }

    async fn purge_below(&self, sequence: u64) -> Result<()> {
        // Purging from a place behind the end would let the numbers jump there, and below 1 means
        // everything.
        let extent = self.0.extent().await?;
        let below = sequence.min(extent.last + 1);
        if below <= extent.first {
            return Ok(());
        }
        let request = PurgeRequest { below: Some(below), subject: None };
        self.0.purge(&self.0.stream, &request).await
    }
}

impl Shelf for Nats {
    async fn get(&self, key: &str) -> Result<Option<Value>> {
        self.0.get(key).await
    }

    async fn set(&self, key: &str, bytes: Bytes, expected_revision: u64) -> Result<Option<u64>> {
        self.0.set(key, bytes, expected_revision).await
    }

    async fn put_object(&self, name: &str, file: &Path) -> Result<()> {
        self.0.put_object(name, file).await
    }

    async fn get_object(&self, name: &str, file: &Path) -> Result<()> {
        self.0.get_object(name, file).await
    }

    async fn delete_object(&self, name: &str) -> Result<()> {
        self.0.delete_object(name).await
    }
}
