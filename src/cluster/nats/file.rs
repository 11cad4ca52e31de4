//! How to reach a NATS cluster, from a file.

use super::options::{NatsCredentials, NatsOptions};
use crate::error::{Error, ErrorKind, Result};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The file, which every node and every operator has a copy of. Paths are relative to it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    cluster: String,
    servers: Vec<String>,
    replicas: Option<usize>,
    max_log_bytes: Option<u64>,
    credentials_file: Option<PathBuf>,
    root_certificates_file: Option<PathBuf>,
    client_certificate: Option<ClientCertificate>,
    #[serde(default)]
    require_tls: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientCertificate {
    certificate_file: PathBuf,
    key_file: PathBuf,
}

impl NatsOptions {
    /// Reads a TOML file.
    ///
    /// ```
    /// use followgraph::cluster::NatsOptions;
    /// let file = tempfile::tempdir()?.keep().join("cluster.toml");
    /// std::fs::write(&file, r#"
    ///     cluster = "social"
    ///     servers = ["nats://10.0.0.1:4222", "nats://10.0.0.2:4222", "nats://10.0.0.3:4222"]
    ///     replicas = 3                                   # copies of the log; this is the default
    ///     max_log_bytes = 68719476736                    # the default
    ///     credentials_file = "social.creds"              # if the servers ask who connects
    ///     root_certificates_file = "authority.pem"       # if their certificates are one's own
    ///     require_tls = true
    /// "#)?;
    /// let options = NatsOptions::from_file(&file)?;
    /// # let _ = options;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `Io` where it cannot be read, `InvalidArgument` with the line for what is wrong in it.
    pub fn from_file(path: impl AsRef<Path>) -> Result<NatsOptions> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path)
            .map_err(|error| Error::io("read the configuration of the cluster", path, &error))?;
        let wrong = |message: &str| {
            let message = format!("{}: {message}", path.display());
            Error::new(ErrorKind::InvalidArgument, message)
        };
        let file: File = toml::from_str(&text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            let line = text.get(..start).unwrap_or(&text).matches('\n').count() + 1;
            wrong(&format!("line {line}: {}", error.message()))
        })?;
        let options = file.into_options(path.parent().unwrap_or(Path::new("")));
        options.check().map_err(|error| wrong(&error.details()))?;
        Ok(options)
    }
}

impl File {
    fn into_options(self, directory: &Path) -> NatsOptions {
        let mut options = NatsOptions::new(self.servers, self.cluster);
        if let Some(replicas) = self.replicas {
            options = options.replicas(replicas);
        }
        if let Some(bytes) = self.max_log_bytes {
            options = options.max_log_bytes(bytes);
        }
        if let Some(file) = self.credentials_file {
            options = options.credentials(NatsCredentials::File(directory.join(file)));
        }
        if let Some(file) = self.root_certificates_file {
            options = options.root_certificates(directory.join(file));
        }
        if let Some(ClientCertificate { certificate_file, key_file }) = self.client_certificate {
            let (certificate, key) = (directory.join(certificate_file), directory.join(key_file));
            options = options.client_certificate(certificate, key);
        }
        if self.require_tls { options.require_tls(true) } else { options }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named_with_the_file_and_the_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cluster.toml");
        let good = "cluster = \"social\"\nservers = [\"nats://h:1\"]\n";
        let cases = [
            ("servers = []\n".to_owned(), "missing field `cluster`"),
            (format!("{good}color = 1\n"), "line 3: unknown field `color`"),
            (format!("{good}replicas = 2\n"), "2 replicas of the log: 1, 3 or 5"),
            (good.replace("social", "a b"), "the name of the cluster is \"a b\""),
            (good.replace("\"nats://h:1\"", ""), "no log server is named"),
        ];
        for (text, expected) in cases {
            std::fs::write(&path, text).unwrap();
            let error = NatsOptions::from_file(&path).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.to_string().contains(expected), "{expected}: {error}");
            assert!(error.to_string().contains("cluster.toml"), "{error}");
        }
        std::fs::write(&path, good).unwrap();
        NatsOptions::from_file(&path).unwrap();
        let missing = NatsOptions::from_file(directory.path().join("none")).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::Io);
    }
}
