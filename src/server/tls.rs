//! The certificate of the HTTPS listener.

use super::config::{ConfigError, Https};
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Reads certificate and key. Clients may speak HTTP/2 or HTTP/1.1.
pub(super) fn acceptor(https: &Https) -> Result<TlsAcceptor, ConfigError> {
    let file_error = |path: &Path, error: &dyn std::fmt::Display| {
        ConfigError::new(format!("cannot use {} for HTTPS: {error}", path.display()))
    };
    let path = &https.certificate_file;
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| file_error(path, &error))?;
    if certificates.is_empty() {
        return Err(file_error(path, &"there is no certificate in it"));
    }
    let path = &https.key_file;
    let key = PrivateKeyDer::from_pem_file(path).map_err(|error| file_error(path, &error))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has the default versions")
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .map_err(|error| file_error(path, &error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
