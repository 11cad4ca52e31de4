//! Small values with compare-and-set.

use super::{Shared, refusal_of};
use crate::cluster::log::Value;
use crate::error::{Error, ErrorKind, Result};
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::kv::{Entry, Operation};
use async_nats::jetstream::message::PublishMessage;
use bytes::Bytes;

/// Keys are part of a subject.
fn check_key(key: &str) -> Result<()> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_=/.".contains(&byte);
    let has_empty_part = key.split('.').any(str::is_empty);
    if key.bytes().all(allowed) && !has_empty_part {
        return Ok(());
    }
    let message = format!(
        "the key of a value is {key:?}: letters, digits, -, _, = and /, in parts with . between"
    );
    Err(Error::new(ErrorKind::InvalidArgument, message))
}

/// Another write was there first, or is on its way: servers of a group say so with another code.
fn is_conflict(error: &PublishError) -> bool {
    error.kind() == PublishErrorKind::WrongLastSequence
        || refusal_of(error).is_some_and(|refusal| {
            refusal.error_code() == ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT
        })
}

impl Shared {
    /// What was written last under a key, be it a value or its removal.
    async fn entry(&self, key: &str) -> Result<Option<Entry>> {
        check_key(key)?;
        let entry = self.values.entry(key).await;
        let what = || format!("read {key} in bucket {}", self.values.name);
        entry.map_err(|error| self.link().unavailable(&what(), error))
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<Value>> {
        let entry = self.entry(key).await?.filter(|entry| entry.operation == Operation::Put);
        Ok(entry.map(|entry| Value { bytes: entry.value, revision: entry.revision }))
    }

    /// Writes if the key was last written with this revision, or never where it is 0.
    async fn write(&self, key: &str, bytes: Bytes, last: u64) -> Result<Option<u64>> {
        let subject = format!("{}{key}", self.values.prefix);
        let message = PublishMessage::build().payload(bytes).expected_last_subject_sequence(last);
        let sent = self.jetstream.send_publish(subject, message).await;
        let confirmed = match sent {
            Ok(confirmation) => confirmation.await,
            Err(error) => Err(error),
        };
        match confirmed {
            Ok(ack) => Ok(Some(ack.sequence)),
            Err(error) if is_conflict(&error) => Ok(None),
            Err(error) => {
                let what = format!("write {key} in bucket {}", self.values.name);
                Err(self.not_confirmed(&what, &error))
            }
        }
    }

    pub(super) async fn set(
        &self,
        key: &str,
        bytes: Bytes,
        expected_revision: u64,
    ) -> Result<Option<u64>> {
        check_key(key)?;
        let written = self.write(key, bytes.clone(), expected_revision).await?;
        if written.is_some() || expected_revision > 0 {
            return Ok(written);
        }
        // A key that was removed with the tools of NATS has no value, and yet a last revision.
        match self.entry(key).await? {
            Some(entry) if entry.operation != Operation::Put => {
                self.write(key, bytes, entry.revision).await
            }
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_mean_something_else_in_a_subject_are_refused() {
        for key in ["a", "map", "snapshot.17", "a/b=c-d_e"] {
            check_key(key).unwrap();
        }
        for key in ["", ".", "a.", ".a", "a..b", "a*", ">", "a b", "ä", "a\r\n"] {
            assert_eq!(check_key(key).unwrap_err().kind(), ErrorKind::InvalidArgument, "{key}");
        }
    }
}
