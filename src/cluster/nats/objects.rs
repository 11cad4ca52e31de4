//! Large objects, in chunks, as the tools of NATS keep them.
//!
//! The client library's own reader takes an object for complete when the copy it reads from has no
//! more of it, and a copy may lag. Here an object is complete when as many chunks came as it has.

use super::reader::Reader;
use super::{PurgeRequest, Shared};
use crate::error::{Error, ErrorKind, Result};
use async_nats::header::NATS_ROLLUP;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::context::PublishAckFuture;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::object_store::{ObjectInfo, ObjectOptions};
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::fs::{self, File};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

const CHUNK_BYTES: usize = 128 * 1024;
/// Chunks on their way to the servers.
const CHUNKS_IN_FLIGHT: usize = 8;
/// How long the next chunk is waited for while the server says that it has none.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(10);

/// The subjects of one object.
struct Names {
    /// Of its description.
    description: String,
    bucket: String,
    /// The stream of the bucket.
    stream: String,
}

impl Names {
    /// Of the chunks that belong to one writing of the object.
    fn chunks(&self, writing: &str) -> String {
        format!("$O.{}.C.{writing}", self.bucket)
    }
}

fn digest_text(digest: Sha256) -> String {
    format!("SHA-256={}", URL_SAFE.encode(digest.finalize()))
}

/// Where an object is written before it is whole.
fn unfinished(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".unfinished");
    PathBuf::from(name)
}

fn no_object(name: &str) -> Error {
    Error::new(ErrorKind::NotHosted, format!("there is no object {name:?}"))
}

impl Shared {
    fn names(&self, name: &str) -> Result<Names> {
        if name.is_empty() {
            let message = "the name of an object is empty";
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        let bucket = self.options.objects_bucket();
        let description = format!("$O.{bucket}.M.{}", URL_SAFE.encode(name));
        Ok(Names { description, stream: format!("OBJ_{bucket}"), bucket })
    }

    /// The description of an object, also of one that is being deleted.
    async fn description(&self, name: &str, names: &Names) -> Result<Option<ObjectInfo>> {
        let what = format!("read object {name:?} of bucket {}", names.bucket);
        let stream = self.jetstream.get_stream_no_info(&names.stream).await;
        let stream = stream.map_err(|error| self.link().unavailable(&what, error))?;
        let message = match stream.get_last_raw_message_by_subject(&names.description).await {
            Ok(message) => message,
            Err(error) => match error.kind() {
                LastRawMessageErrorKind::NoMessageFound => return Ok(None),
                LastRawMessageErrorKind::JetStream(refusal) => {
                    return Err(self.link().refused(&what, &refusal));
                }
                _ => return Err(self.link().unavailable(&what, error)),
            },
        };
        serde_json::from_slice(&message.payload).map(Some).map_err(|error| {
            Error::corrupt(format!("the description of object {name:?}: {error}; delete it"))
        })
    }

    pub(super) async fn put_object(&self, name: &str, file: &Path) -> Result<()> {
        let names = self.names(name)?;
        let what = format!("write object {name:?} to bucket {}", names.bucket);
        let before = self.description(name, &names).await?;
        // An inbox is a name that nobody else has.
        let writing = self.client.new_inbox().replace('.', "-");
        let written = self.write_object(name, file, &names, &writing, &what).await;
        let obsolete = match (&written, before) {
            (Ok(()), None) => return Ok(()),
            (Ok(()), Some(before)) => before.nuid,
            (Err(_), _) => writing,
        };
        // What is not described anywhere only takes room, so that it could not be removed is no
        // failure; but it is not known whether a description that was not confirmed has arrived.
        let is_described = written.as_ref().is_err_and(|failure| failure.is_description);
        if !is_described {
            let request = PurgeRequest { below: None, subject: Some(&names.chunks(&obsolete)) };
            let _ = self.purge(&names.stream, &request).await;
        }
        written.map_err(|failure| failure.error)
    }

    async fn write_object(
        &self,
        name: &str,
        file: &Path,
        names: &Names,
        writing: &str,
        what: &str,
    ) -> Result<(), WriteFailure> {
        let (chunks, size, digest) = self.write_chunks(file, &names.chunks(writing), what).await?;
        let description = ObjectInfo {
            name: name.to_owned(),
            description: None,
            metadata: HashMap::new(),
            headers: None,
            options: Some(ObjectOptions { link: None, max_chunk_size: Some(CHUNK_BYTES) }),
            bucket: names.bucket.clone(),
            nuid: writing.to_owned(),
            size,
            chunks,
            modified: None,
            digest: Some(digest_text(digest)),
            deleted: false,
        };
        self.describe(&description, names, what).await
    }

    async fn write_chunks(
        &self,
        file: &Path,
        subject: &str,
        what: &str,
    ) -> Result<(usize, usize, Sha256)> {
        let read = |error| Error::io("read", file, &error);
        let mut source = File::open(file).await.map_err(read)?;
        let mut digest = Sha256::new();
        let (mut chunks, mut size) = (0, 0);
        let mut on_the_way: VecDeque<PublishAckFuture> = VecDeque::new();
        loop {
            let mut chunk = Vec::with_capacity(CHUNK_BYTES);
            let mut part = (&mut source).take(CHUNK_BYTES as u64);
            part.read_to_end(&mut chunk).await.map_err(read)?;
            if chunk.is_empty() || on_the_way.len() == CHUNKS_IN_FLIGHT {
                let count = if chunk.is_empty() { on_the_way.len() } else { 1 };
                for confirmation in on_the_way.drain(..count) {
                    let confirmed = confirmation.await;
                    confirmed.map_err(|error| self.not_confirmed(what, &error))?;
                }
            }
            if chunk.is_empty() {
                return Ok((chunks, size, digest));
            }
            digest.update(&chunk);
            (chunks, size) = (chunks + 1, size + chunk.len());
            let message = PublishMessage::build().payload(Bytes::from(chunk));
            let sent = self.jetstream.send_publish(subject.to_owned(), message).await;
            on_the_way.push_back(sent.map_err(|error| self.not_confirmed(what, &error))?);
        }
    }

    /// Replaces the description of an object.
    async fn describe(
        &self,
        description: &ObjectInfo,
        names: &Names,
        what: &str,
    ) -> Result<(), WriteFailure> {
        let bytes = serde_json::to_vec(description).map_err(|error| {
            Error::new(ErrorKind::InvalidArgument, format!("cannot {what}: {error}"))
        })?;
        let message = PublishMessage::build().payload(bytes.into());
        let message = message.header(NATS_ROLLUP, "sub");
        let sent = self.jetstream.send_publish(names.description.clone(), message).await;
        let confirmed = match sent {
            Ok(confirmation) => confirmation.await,
            Err(error) => Err(error),
        };
        confirmed.map(drop).map_err(|error| {
            let error = self.not_confirmed(what, &error);
            let is_description = error.kind() == ErrorKind::Unavailable;
            WriteFailure { error, is_description }
        })
    }

    pub(super) async fn get_object(self: &Arc<Self>, name: &str, file: &Path) -> Result<()> {
        let names = self.names(name)?;
        let description = self.description(name, &names).await?;
        let described = description.filter(|description| !description.deleted);
        let description = described.ok_or_else(|| no_object(name))?;
        let part = unfinished(file);
        let read = self.read_chunks(&description, &names, &part).await;
        if let Err(error) = read {
            // The error says more than that the remains could not be removed.
            let _ = fs::remove_file(&part).await;
            return Err(error);
        }
        fs::rename(&part, file).await.map_err(|error| Error::io("rename to", file, &error))
    }

    async fn read_chunks(
        self: &Arc<Self>,
        description: &ObjectInfo,
        names: &Names,
        part: &Path,
    ) -> Result<()> {
        let write = |error| Error::io("write", part, &error);
        let mut file = File::create(part).await.map_err(write)?;
        let mut digest = Sha256::new();
        let mut size = 0;
        if description.chunks > 0 {
            let subject = Some(names.chunks(&description.nuid));
            let mut reader =
                Reader::begin(self, &names.stream, subject, DeliverPolicy::All).await?;
            for number in 1..=description.chunks {
                let received = timeout(CHUNK_TIMEOUT, reader.next()).await;
                let chunk = received
                    .map_err(|_| {
                        let what = format!("read object {:?}", description.name);
                        let reason =
                            format!("chunk {number} of {} does not come", description.chunks);
                        self.link().unavailable(&what, reason)
                    })??
                    .bytes;
                digest.update(&chunk);
                size += chunk.len();
                file.write_all(&chunk).await.map_err(write)?;
            }
        }
        let found = digest_text(digest);
        let expected = description.digest.clone().unwrap_or_default();
        if found != expected || size != description.size {
            let message = format!(
                "object {:?} of bucket {}: {} bytes with another checksum; delete it and use \
                 another copy",
                description.name, names.bucket, size
            );
            let error = Error::corrupt(message);
            return Err(error.expected(
                format!("{} bytes, {expected}", description.size),
                format!("{size} bytes, {found}"),
            ));
        }
        file.flush().await.map_err(write)?;
        file.sync_all().await.map_err(write)
    }

    pub(super) async fn delete_object(&self, name: &str) -> Result<()> {
        let names = self.names(name)?;
        let Some(mut description) = self.description(name, &names).await? else {
            return Ok(());
        };
        let what = format!("delete object {name:?} of bucket {}", names.bucket);
        // First nobody finds it, then its chunks go, and in the end the description. Whoever stops
        // in between goes on from there with the next call.
        description.deleted = true;
        let described = self.describe(&description, &names, &what).await;
        described.map_err(|failure| failure.error)?;
        for subject in [names.chunks(&description.nuid), names.description.clone()] {
            let request = PurgeRequest { below: None, subject: Some(&subject) };
            self.purge(&names.stream, &request).await?;
        }
        Ok(())
    }
}

/// Why an object was not written.
struct WriteFailure {
    error: Error,
    /// The description may be there all the same.
    is_description: bool,
}

impl From<Error> for WriteFailure {
    fn from(error: Error) -> WriteFailure {
        WriteFailure { error, is_description: false }
    }
}
