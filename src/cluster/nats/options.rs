//! How to reach a NATS cluster, and what is called how there.

use crate::error::{Error, ErrorKind, Result};
use async_nats::ConnectOptions;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

const REPLICAS_DEFAULT: usize = 3;
const REPLICAS_MAX: usize = 5;
const LOG_BYTES_DEFAULT: u64 = 64 << 30;
const LOG_BYTES_MIN: u64 = 1 << 20;
const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
/// Names are part of names that the servers make files of.
const NAME_BYTES_MAX: usize = 64;
/// A server that went without a word is missed after two of these.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// Messages of one subscription that wait to be read. Flow control keeps the server from sending
/// more than 32 MiB ahead, and the smallest entry takes about 80 bytes of that.
const WAITING_MESSAGES_MAX: usize = 1 << 19;

/// What the log servers are told about who connects.
#[derive(Clone)]
pub enum NatsCredentials {
    /// A user with a password.
    Password {
        /// The name of the user.
        user: String,
        /// The password.
        password: String,
    },
    /// A token.
    Token(String),
    /// A `.creds` file with a JWT and a seed.
    File(PathBuf),
}

/// Leaves out what is secret.
impl fmt::Debug for NatsCredentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NatsCredentials::Password { user, .. } => {
                formatter.debug_struct("Password").field("user", user).finish_non_exhaustive()
            }
            NatsCredentials::Token(_) => formatter.write_str("Token(..)"),
            NatsCredentials::File(file) => formatter.debug_tuple("File").field(file).finish(),
        }
    }
}

/// How to connect to a NATS cluster with JetStream.
///
/// ```
/// use followgraph::cluster::{NatsCredentials, NatsOptions};
/// let options = NatsOptions::new(["nats://10.0.0.1:4222", "nats://10.0.0.2:4222"], "social")
///     .credentials(NatsCredentials::File("/etc/followgraph/social.creds".into()))
///     .root_certificates("/etc/followgraph/authority.pem")
///     .max_log_bytes(200 << 30);
/// # let _ = options;
/// ```
#[derive(Clone, Debug)]
pub struct NatsOptions {
    pub(super) servers: Vec<String>,
    pub(super) cluster: String,
    pub(super) replicas: usize,
    pub(super) max_log_bytes: u64,
    credentials: Option<NatsCredentials>,
    root_certificates: Option<PathBuf>,
    client_certificate: Option<(PathBuf, PathBuf)>,
    require_tls: bool,
    connect_timeout: Duration,
    pub(super) minimum_version: Option<String>,
}

impl NatsOptions {
    /// Some of the servers, as `nats://host:port` or `tls://host:port` (the others are found
    /// through them), and the name of the cluster: a letter or digit, then letters, digits, `-` and
    /// `_`, 64 in all at most. It is part of the names of the stream, the buckets and the subjects,
    /// so several clusters can share the servers.
    pub fn new<S: Into<String>>(
        servers: impl IntoIterator<Item = S>,
        cluster: impl Into<String>,
    ) -> NatsOptions {
        NatsOptions {
            servers: servers.into_iter().map(Into::into).collect(),
            cluster: cluster.into(),
            replicas: REPLICAS_DEFAULT,
            max_log_bytes: LOG_BYTES_DEFAULT,
            credentials: None,
            root_certificates: None,
            client_certificate: None,
            require_tls: false,
            connect_timeout: CONNECT_TIMEOUT_DEFAULT,
            minimum_version: None,
        }
    }

    /// On how many servers the log, the values and the objects are kept: 1, 3 or 5. When
    /// connecting, the least that is accepted. Default: 3.
    #[must_use]
    pub fn replicas(mut self, replicas: usize) -> NatsOptions {
        self.replicas = replicas;
        self
    }

    /// How many bytes the log may have on each server. It refuses what does not fit, and never
    /// drops what nobody purged. When connecting, the least that is accepted. At least 1 MiB.
    /// Default: 64 GiB.
    #[must_use]
    pub fn max_log_bytes(mut self, bytes: u64) -> NatsOptions {
        self.max_log_bytes = bytes;
        self
    }

    /// Who connects. Default: nobody in particular.
    #[must_use]
    pub fn credentials(mut self, credentials: NatsCredentials) -> NatsOptions {
        self.credentials = Some(credentials);
        self
    }

    /// A PEM file with the authorities that may vouch for the servers, beside those that the
    /// machine trusts. Connections are then by TLS only.
    #[must_use]
    pub fn root_certificates(mut self, file: impl Into<PathBuf>) -> NatsOptions {
        self.root_certificates = Some(file.into());
        self.require_tls(true)
    }

    /// PEM files with the certificate and the key that this client shows. Connections are then by
    /// TLS only.
    #[must_use]
    pub fn client_certificate(
        mut self,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> NatsOptions {
        self.client_certificate = Some((certificate.into(), key.into()));
        self.require_tls(true)
    }

    /// Whether to refuse a server without TLS. Default: false, so TLS is spoken where the server
    /// asks for it.
    #[must_use]
    pub fn require_tls(mut self, required: bool) -> NatsOptions {
        self.require_tls = required;
        self
    }

    /// How long one attempt to connect to one server may take. Default: 5 s.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> NatsOptions {
        self.connect_timeout = timeout;
        self
    }

    /// The lowest version of a server that is accepted, instead of the one that is needed: for
    /// tests of the refusal.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn minimum_version(mut self, version: &str) -> NatsOptions {
        self.minimum_version = Some(version.to_owned());
        self
    }

    pub(super) fn check(&self) -> Result<()> {
        check_name("the name of the cluster", &self.cluster)?;
        let invalid = |message: String| Err(Error::new(ErrorKind::InvalidArgument, message));
        if self.servers.is_empty() {
            return invalid("no log server is named: one at least, as nats://host:port".to_owned());
        }
        if self.replicas == 0 || self.replicas > REPLICAS_MAX || self.replicas.is_multiple_of(2) {
            return invalid(format!("{} replicas of the log: 1, 3 or 5", self.replicas));
        }
        if self.max_log_bytes < LOG_BYTES_MIN || i64::try_from(self.max_log_bytes).is_err() {
            return invalid(format!("a log of {} bytes: 1 MiB at least", self.max_log_bytes));
        }
        Ok(())
    }

    /// What the client library is told.
    pub(super) async fn connect_options(&self) -> Result<ConnectOptions> {
        let mut options = ConnectOptions::new()
            .name(format!("followgraph {}", self.cluster))
            .connection_timeout(self.connect_timeout)
            .request_timeout(Some(super::REQUEST_TIMEOUT))
            .ping_interval(PING_INTERVAL)
            .subscription_capacity(WAITING_MESSAGES_MAX)
            .require_tls(self.require_tls);
        if let Some(file) = &self.root_certificates {
            options = options.add_root_certificates(file.clone());
        }
        if let Some((certificate, key)) = &self.client_certificate {
            options = options.add_client_certificate(certificate.clone(), key.clone());
        }
        match &self.credentials {
            None => Ok(options),
            Some(NatsCredentials::Password { user, password }) => {
                Ok(options.user_and_password(user.clone(), password.clone()))
            }
            Some(NatsCredentials::Token(token)) => Ok(options.token(token.clone())),
            Some(NatsCredentials::File(file)) => {
                let with_file = options.credentials_file(file).await;
                with_file.map_err(|error| Error::io("read the credentials", file, &error))
            }
        }
    }

    pub(super) fn stream(&self) -> String {
        format!("{}-log", self.cluster)
    }

    /// The subject of the entries of an epoch. What is meant for a log that was lost does not get
    /// into the one that was made instead.
    pub(super) fn subject(&self, epoch: u64) -> String {
        format!("{}.log.{epoch}", self.cluster)
    }

    pub(super) fn values_bucket(&self) -> String {
        format!("{}-values", self.cluster)
    }

    pub(super) fn objects_bucket(&self) -> String {
        format!("{}-objects", self.cluster)
    }
}

/// Names become part of subjects, where some characters mean something.
pub(super) fn check_name(what: &str, name: &str) -> Result<()> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let begins_well = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if begins_well && name.len() <= NAME_BYTES_MAX && name.bytes().all(allowed) {
        return Ok(());
    }
    let message = format!(
        "{what} is {name:?}: it has to be a letter or digit, then letters, digits, - and _, \
         {NAME_BYTES_MAX} in all at most"
    );
    Err(Error::new(ErrorKind::InvalidArgument, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_options_are_checked() {
        for name in ["a", "7", "social-2_x", &"x".repeat(64)] {
            NatsOptions::new(["nats://h:1"], name).check().unwrap();
        }
        for name in ["", "-a", "_INBOX", "a.b", "a b", "a*", "a>", "$JS", "ä", &"x".repeat(65)] {
            let error = NatsOptions::new(["nats://h:1"], name).check().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{name}");
        }
        let good = NatsOptions::new(["nats://h:1"], "a");
        assert!(NatsOptions::new([""; 0], "a").check().is_err());
        for replicas in [0, 2, 4, 6, 7] {
            assert!(good.clone().replicas(replicas).check().is_err(), "{replicas}");
        }
        for bytes in [0, (1 << 20) - 1, u64::MAX] {
            assert!(good.clone().max_log_bytes(bytes).check().is_err(), "{bytes}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let password = NatsCredentials::Password { user: "u".into(), password: "secret".into() };
        for credentials in [password, NatsCredentials::Token("secret".into())] {
            let options = NatsOptions::new(["nats://h:1"], "a").credentials(credentials);
            assert!(!format!("{options:?}").contains("secret"));
        }
    }
}
