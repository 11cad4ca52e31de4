//! The certificate of the HTTPS listener, which can be replaced while it is in use.

use super::config::{ConfigError, Https};
use super::system;
use parking_lot::RwLock;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A certificate with its private key, as new connections get it.
#[derive(Debug)]
pub(super) struct Certificate {
    https: Https,
    current: RwLock<Loaded>,
}

#[derive(Clone, Debug)]
struct Loaded {
    certified: Arc<CertifiedKey>,
    /// The end of its validity, in Unix seconds.
    expires: i64,
}

impl Certificate {
    /// Reads certificate and private key. One that has expired is used, with a warning.
    pub(super) fn load(https: &Https) -> Result<Arc<Certificate>, ConfigError> {
        let loaded = load(https)?;
        if loaded.is_expired() {
            let file = https.certificate_file.display();
            tracing::warn!(%file, "the certificate has expired: clients will refuse it");
        }
        Ok(Arc::new(Certificate { https: https.clone(), current: RwLock::new(loaded) }))
    }

    /// Reads both files again. Connections that are made from now on get what is in them.
    ///
    /// # Errors
    ///
    /// The files cannot be used, or the certificate has expired. The former one stays in use.
    pub(super) fn reload(&self) -> Result<(), ConfigError> {
        let loaded = load(&self.https)?;
        if loaded.is_expired() {
            return Err(file_error(&self.https.certificate_file, &"the certificate has expired"));
        }
        *self.current.write() = loaded;
        Ok(())
    }

    /// The end of the validity of the certificate in use, in Unix seconds.
    pub(super) fn expires(&self) -> i64 {
        self.current.read().expires
    }

    /// Returns an acceptor that presents this certificate. Clients may speak HTTP/2 or HTTP/1.1.
    pub(super) fn acceptor(self: &Arc<Self>) -> TlsAcceptor {
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has the default versions")
            .with_no_client_auth()
            .with_cert_resolver(self.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.read().certified.clone())
    }
}

impl Loaded {
    fn is_expired(&self) -> bool {
        let now = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
        self.expires < now.cast_signed()
    }
}

fn file_error(path: &Path, error: &dyn std::fmt::Display) -> ConfigError {
    ConfigError::new(format!("cannot use {} for HTTPS: {error}", path.display()))
}

fn load(https: &Https) -> Result<Loaded, ConfigError> {
    let path = &https.certificate_file;
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| file_error(path, &error))?;
    let Some(first) = certificates.first() else {
        return Err(file_error(path, &"there is no certificate in it"));
    };
    let (_, parsed) = X509Certificate::from_der(first).map_err(|error| file_error(path, &error))?;
    let expires = parsed.validity().not_after.timestamp();
    let path = &https.key_file;
    system::check_is_private(path)?;
    let key = PrivateKeyDer::from_pem_file(path).map_err(|error| file_error(path, &error))?;
    let certified = CertifiedKey::from_der(certificates, key, &ring::default_provider())
        .map_err(|error| file_error(path, &error))?;
    Ok(Loaded { certified: Arc::new(certified), expires })
}
