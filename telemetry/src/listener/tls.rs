//! The certificate of a listener, read again when its files change.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or holds nothing of the kind.
    #[error("`{file}` cannot be used: {cause}")]
    File {
        /// The file.
        file: String,
        /// Why.
        cause: String,
    },
    /// The certificate and the key do not go together.
    #[error("the certificate in `{file}` cannot be used with its key: {cause}")]
    Pair {
        /// The file with the certificate.
        file: String,
        /// Why.
        cause: String,
    },
}

/// The certificate in force and its key. Clones share it.
#[derive(Debug, Clone)]
pub struct Certificates(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    cert: PathBuf,
    key: PathBuf,
    config: RwLock<Arc<ServerConfig>>,
}

impl Certificates {
    /// Reads a certificate with those between it and its authority, and its private key, all in PEM.
    ///
    /// # Errors
    ///
    /// [`TlsError`].
    pub fn read(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        let config = RwLock::new(Arc::new(config(cert, key)?));
        Ok(Self(Arc::new(Shared { cert: cert.to_owned(), key: key.to_owned(), config })))
    }

    /// Accepts connections with what is in force now.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.0.config.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Reads the files again when they have changed, for ever. Files that cannot be used are reported, and what was in
    /// force stays.
    pub async fn follow(self) {
        let mut seen = self.changed_at();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let found = self.changed_at();
            if found != seen {
                seen = found;
                self.again();
            }
        }
    }

    /// Reads the files again.
    pub(super) fn again(&self) {
        let Shared { cert, key, config: in_force } = &*self.0;
        match config(cert, key) {
            Ok(config) => {
                *in_force.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
                tracing::info!(file = %cert.display(), "the certificate was read again");
            }
            Err(error) => tracing::error!(%error, "the certificate has changed and cannot be used: the old one stays"),
        }
    }

    fn changed_at(&self) -> [Option<SystemTime>; 2] {
        [&self.0.cert, &self.0.key].map(|file| file.metadata().and_then(|about| about.modified()).ok())
    }
}

fn config(cert: &Path, key: &Path) -> Result<ServerConfig, TlsError> {
    let wrong = |file: &Path, cause: String| TlsError::File { file: file.display().to_string(), cause };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect)
        .map_err(|error| wrong(cert, error.to_string()))?;
    if chain.is_empty() {
        return Err(wrong(cert, "it holds no certificate in PEM".to_owned()));
    }
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, error.to_string()))?;
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let pair = |cause: tokio_rustls::rustls::Error| TlsError::Pair {
        file: cert.display().to_string(),
        cause: cause.to_string(),
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(pair)?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(pair)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
