//! Certificates made for one test: an authority, and what a server shows that it has signed.

#![allow(dead_code, unreachable_pub, reason = "each test program uses its own part")]

use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio_rustls::TlsAcceptor;

/// Who signs certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority"))
    }

    /// A server that shows a certificate for these names and addresses.
    pub fn server(&self, names: &[&str]) -> TlsAcceptor {
        let key = KeyPair::generate().expect("a key");
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let certificate =
            CertificateParams::new(names).expect("names").signed_by(&key, &self.0).expect("a certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).expect("a private key"),
            )
            .expect("a configuration");
        TlsAcceptor::from(Arc::new(config))
    }

    /// Writes the authority's own certificate for others to trust; gives its path.
    pub fn write(&self, folder: &Path, name: &str) -> String {
        let path = folder.join(name);
        std::fs::write(&path, self.0.pem()).expect("written");
        path.display().to_string()
    }
}
