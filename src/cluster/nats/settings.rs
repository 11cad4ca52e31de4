//! What the stream and the buckets have to be like, and whether they are.
//!
//! All three are streams. They are asked for by their settings rather than through the library's
//! own buckets, because those let any copy answer a question, also one that lags.

use super::options::NatsOptions;
use crate::error::{Error, ErrorKind, Result};
use async_nats::jetstream::stream::{
    Config, DiscardPolicy, PersistenceMode, RetentionPolicy, StorageType,
};
use std::collections::HashMap;
use std::fmt::Debug;
use std::time::Duration;

/// Within this time a second append with one id appends nothing.
pub(super) const DUPLICATE_WINDOW: Duration = Duration::from_mins(2);

const EPOCH_KEY: &str = "followgraph.epoch";
const FORMAT_KEY: &str = "followgraph.format";
/// What the log, the values and the objects look like to those who read them.
const FORMAT: &str = "1";
/// The server that wrote an answer says its version here.
const SERVER_VERSION_KEY: &str = "_nats.ver";

/// What all three have in common: on disk, nothing is dropped to make room, nothing grows old.
fn common(options: &NatsOptions, name: String, subjects: Vec<String>) -> Config {
    Config {
        name,
        subjects,
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        discard: DiscardPolicy::New,
        num_replicas: options.replicas,
        max_bytes: -1,
        max_messages: -1,
        max_messages_per_subject: -1,
        max_message_size: -1,
        metadata: HashMap::from([(FORMAT_KEY.to_owned(), FORMAT.to_owned())]),
        ..Config::default()
    }
}

/// The log of an epoch.
pub(super) fn log(options: &NatsOptions, epoch: u64) -> Config {
    let mut config = common(options, options.stream(), vec![options.subject(epoch)]);
    config.duplicate_window = DUPLICATE_WINDOW;
    config.deny_delete = true;
    config.max_bytes = i64::try_from(options.max_log_bytes).unwrap_or(i64::MAX);
    config.metadata.insert(EPOCH_KEY.to_owned(), epoch.to_string());
    config
}

/// The values: a bucket as the tools of NATS know it, with one revision a key.
pub(super) fn values(options: &NatsOptions) -> Config {
    let bucket = options.values_bucket();
    let mut config = common(options, format!("KV_{bucket}"), vec![format!("$KV.{bucket}.>")]);
    config.max_messages_per_subject = 1;
    config.deny_delete = true;
    config.allow_rollup = true;
    config
}

/// The objects: a bucket as the tools of NATS know it.
pub(super) fn objects(options: &NatsOptions) -> Config {
    let bucket = options.objects_bucket();
    let subjects = vec![format!("$O.{bucket}.C.>"), format!("$O.{bucket}.M.>")];
    let mut config = common(options, format!("OBJ_{bucket}"), subjects);
    config.allow_rollup = true;
    config
}

/// Which log a stream is.
pub(super) fn epoch_of(options: &NatsOptions, got: &Config) -> Result<u64> {
    let epoch = got.metadata.get(EPOCH_KEY).and_then(|epoch| epoch.parse().ok());
    epoch.ok_or_else(|| {
        let message = format!(
            "stream {} has no epoch, so it was not made for followgraph: give the cluster another \
             name, or remove the stream if nobody needs it",
            options.stream()
        );
        Error::new(ErrorKind::Incompatible, message)
    })
}

/// The version of the server that answered.
pub(super) fn server_version(got: &Config) -> Option<&str> {
    got.metadata.get(SERVER_VERSION_KEY).map(String::as_str)
}

/// Whether a stream is as it has to be. More copies and more room are as good.
pub(super) fn compare(wanted: &Config, got: &Config) -> Result<()> {
    let mut differences = Vec::new();
    let mut look = |name: &str, is_right: bool, wanted: &dyn Debug, got: &dyn Debug| {
        if !is_right {
            differences.push(format!("{name} is {got:?} instead of {wanted:?}"));
        }
    };
    macro_rules! same {
        ($($field:ident),+) => {
            $(look(stringify!($field), wanted.$field == got.$field, &wanted.$field, &got.$field);)+
        };
    }
    same!(subjects, retention, storage, discard, max_messages, max_messages_per_subject);
    same!(max_message_size, max_age, discard_new_per_subject, no_ack, sealed, deny_purge);
    same!(mirror, sources, subject_transform, allow_direct, allow_message_ttl);
    same!(allow_message_schedules, allow_message_counter);
    let replicas = (wanted.num_replicas, got.num_replicas);
    look("num_replicas", replicas.1 >= replicas.0, &replicas.0, &replicas.1);
    let bytes = (wanted.max_bytes, got.max_bytes);
    look("max_bytes", bytes.1 >= bytes.0 && (bytes.1 > 0) == (bytes.0 > 0), &bytes.0, &bytes.1);
    let allows = (wanted.allow_rollup, got.allow_rollup);
    look("allow_rollup_hdrs", allows.0 == allows.1, &allows.0, &allows.1);
    let denies = (wanted.deny_delete, got.deny_delete);
    look("deny_delete", denies.1 || !denies.0, &denies.0, &denies.1);
    // The buckets keep no ids, and take whatever window the server gives them.
    let windows = (wanted.duplicate_window, got.duplicate_window);
    look("duplicate_window", windows.0.is_zero() || windows.0 == windows.1, &windows.0, &windows.1);
    let confirms_late = got.persist_mode == Some(PersistenceMode::Async);
    look("persist_mode", !confirms_late, &PersistenceMode::Default, &got.persist_mode);
    for (key, value) in &wanted.metadata {
        let found = got.metadata.get(key);
        look(key, found == Some(value), value, &found);
    }
    if differences.is_empty() {
        return Ok(());
    }
    let message = format!(
        "stream {}: {}; set it right with `nats stream edit`, or give the cluster another name",
        wanted.name,
        differences.join(", ")
    );
    Err(Error::new(ErrorKind::Incompatible, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_named() {
        let options = NatsOptions::new(["nats://h:1"], "a");
        let wanted = log(&options, 7);
        compare(&wanted, &wanted).unwrap();
        assert_eq!(epoch_of(&options, &wanted).unwrap(), 7);
        let more = Config { num_replicas: 5, max_bytes: i64::MAX, ..wanted.clone() };
        compare(&wanted, &more).unwrap();

        let spoil: [(&str, fn(&mut Config)); 9] = [
            ("discard", |config| config.discard = DiscardPolicy::Old),
            ("storage", |config| config.storage = StorageType::Memory),
            ("max_age", |config| config.max_age = Duration::from_secs(1)),
            ("num_replicas", |config| config.num_replicas = 1),
            ("max_bytes", |config| config.max_bytes = -1),
            ("deny_delete", |config| config.deny_delete = false),
            ("duplicate_window", |config| config.duplicate_window = Duration::from_secs(1)),
            ("persist_mode", |config| config.persist_mode = Some(PersistenceMode::Async)),
            (EPOCH_KEY, |config| drop(config.metadata.insert(EPOCH_KEY.into(), "8".into()))),
        ];
        for (name, spoil) in spoil {
            let mut got = wanted.clone();
            spoil(&mut got);
            let error = compare(&wanted, &got).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Incompatible);
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}
