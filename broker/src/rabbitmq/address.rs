//! The broker's address, and how a connection to it is opened.

use std::fmt;

use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Connection, ConnectionBuilder, ConnectionProperties, ErrorKind, tcp::OwnedTLSConfig};
use rustls::CertificateError;

use crate::error::BrokerError;
use crate::settings::Settings;

const ACCESS_REFUSED: u16 = 403;
const PRECONDITION_FAILED: u16 = 406;
const NOT_ALLOWED: u16 = 530;

/// A checked address. Its `Debug` and [`fmt::Display`] never show the password.
#[derive(Clone)]
pub(crate) struct Address {
    uri: AMQPUri,
    ca: Option<String>,
}

impl Address {
    /// Reads it from the settings, with the certificates that it needs.
    pub(crate) fn parse(settings: &Settings) -> Result<Self, BrokerError> {
        let mut uri = parse_uri(&settings.url)?;
        let seconds = settings.heartbeat.0.as_secs();
        uri.query.heartbeat = Some(u16::try_from(seconds).unwrap_or(u16::MAX).max(1));
        let ca = settings.ca_file.as_deref().map(read_ca).transpose()?;
        Ok(Self { uri, ca })
    }

    /// Opens a connection, which the broker's tools show under the given name.
    pub(crate) async fn open(&self, role: &str) -> Result<Connection, BrokerError> {
        if self.uri.scheme == AMQPScheme::AMQPS {
            // Another library may have installed a provider first. It can only be the same one: there is one provider
            // in the tree.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let name = format!("gristmill {role}, process {}", std::process::id());
        let runtime = lapin::runtime::default_runtime().map_err(|error| self.explain(&error, None))?;
        let builder = ConnectionBuilder::new_with_runtime(runtime)
            .with_uri(self.uri.clone())
            .with_properties(ConnectionProperties::default().with_connection_name(name.into()))
            .with_tls_config(OwnedTLSConfig { identity: None, cert_chain: self.ca.clone() });
        builder.connect().await.map_err(|error| self.explain(&error, None))
    }

    /// Translates a client error for the operator; `name` is the queue or exchange that was being declared.
    pub(crate) fn explain(&self, error: &lapin::Error, name: Option<&str>) -> BrokerError {
        let ErrorKind::ProtocolError(refusal) = error.kind() else { return self.explain_transport(error) };
        let reason = refusal.get_message().to_string();
        match (refusal.get_id(), name) {
            (ACCESS_REFUSED | NOT_ALLOWED, _) => BrokerError::Login {
                user: self.uri.authority.userinfo.username.clone(),
                vhost: self.uri.vhost.clone(),
                reason,
            },
            (PRECONDITION_FAILED, Some(name)) => BrokerError::Topology { name: name.to_owned(), reason },
            _ => BrokerError::Unavailable(format!("{self}: {reason}")),
        }
    }

    fn explain_transport(&self, error: &lapin::Error) -> BrokerError {
        match refused_certificate(error) {
            None => BrokerError::Unavailable(format!("{self}: {error}")),
            Some(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }) => {
                BrokerError::Invalid(format!(
                    "the certificate of {self} is for another host: {error}; write a host that it names in [broker] url"
                ))
            }
            Some(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
                BrokerError::Invalid(format!("the certificate of {self} has run out: {error}; renew it there"))
            }
            Some(_) => BrokerError::Invalid(format!(
                "the certificate of {self} is not trusted: {error}; name the file of its authority in [broker] ca_file"
            )),
        }
    }
}

/// Returns why the broker's certificate was not accepted, if that is what happened.
fn refused_certificate(error: &lapin::Error) -> Option<&CertificateError> {
    let ErrorKind::IOError(error) = error.kind() else { return None };
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(reason) => Some(reason),
        _ => None,
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AMQPUri { scheme, authority, vhost, .. } = &self.uri;
        let vhost = if vhost == "/" { "" } else { vhost.as_str() };
        write!(f, "{scheme}://{}@{}:{}/{vhost}", authority.userinfo.username, authority.host, authority.port)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

/// Never quotes the text: it may hold a password where none is expected.
fn parse_uri(text: &str) -> Result<AMQPUri, BrokerError> {
    let bad = |reason: &str| {
        BrokerError::Invalid(format!(
            "[broker] url {reason}; write `in-process`, `amqp://USER:PASSWORD@HOST:PORT/VHOST` or `amqps://…`"
        ))
    };
    let parsed = url::Url::parse(text).map_err(|error| bad(&format!("is no address: {error}")))?;
    let host = match (parsed.scheme(), parsed.host()) {
        ("amqp" | "amqps", Some(url::Host::Ipv6(host))) => host.to_string(),
        ("amqp" | "amqps", Some(host)) if !host.to_string().is_empty() => host.to_string(),
        ("amqp" | "amqps", _) => return Err(bad("names no host")),
        (scheme, _) => return Err(bad(&format!("has the scheme `{scheme}`"))),
    };
    let mut uri: AMQPUri = text.parse().map_err(|error: String| bad(&format!("is not understood: {error}")))?;
    // The client's parser does not know IPv6 and would quietly use `localhost`.
    uri.authority.host = host;
    if uri.vhost.is_empty() {
        // Taken literally, a bare slash names the virtual host "", which does not exist in practice and is never meant.
        "/".clone_into(&mut uri.vhost);
    }
    Ok(uri)
}

fn read_ca(path: &str) -> Result<String, BrokerError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| BrokerError::Invalid(format!("[broker] ca_file `{path}` cannot be read: {error}")))?;
    if !text.contains("-----BEGIN CERTIFICATE-----") {
        return Err(BrokerError::Invalid(format!(
            "[broker] ca_file `{path}` holds no certificate: a PEM file has a line `-----BEGIN CERTIFICATE-----`"
        )));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(url: &str) -> Result<Address, BrokerError> {
        Address::parse(&Settings { url: url.to_owned(), ..Settings::default() })
    }

    #[test]
    fn an_address_is_shown_without_its_password() {
        let address = address("amqp://anna:s3cret@example.org/%2f").unwrap();
        assert_eq!(address.to_string(), "amqp://anna@example.org:5672/");
        assert!(!format!("{address:?}").contains("s3cret"));
    }

    #[test]
    fn a_bare_slash_means_the_default_virtual_host() {
        for url in ["amqp://h", "amqp://h/", "amqp://h/%2f"] {
            assert_eq!(address(url).unwrap().uri.vhost, "/", "{url}");
        }
        assert_eq!(address("amqps://h:1/a%2fb").unwrap().uri.vhost, "a/b");
    }

    #[test]
    fn an_address_of_ipv6_keeps_its_host() {
        assert_eq!(address("amqp://[::1]:5673").unwrap().uri.authority.host, "::1");
    }

    #[test]
    fn what_is_no_address_is_refused_without_quoting_it() {
        for (url, reason) in [
            ("s3cret", "is no address"),
            ("postgres://s3cret@h", "has the scheme `postgres`"),
            ("amqp://", "names no host"),
        ] {
            let text = address(url).unwrap_err().to_string();
            assert!(text.starts_with("[broker] url ") && text.contains(reason), "{text}");
            assert!(text.contains("write `in-process`") && !text.contains("s3cret"), "{text}");
        }
    }

    #[test]
    fn a_missing_or_empty_authority_file_is_named() {
        let with = |path: &str| {
            let settings =
                Settings { url: "amqps://h".to_owned(), ca_file: Some(path.to_owned()), ..Settings::default() };
            Address::parse(&settings).unwrap_err().to_string()
        };
        assert!(with("/nowhere/ca.pem").starts_with("[broker] ca_file `/nowhere/ca.pem` cannot be read: "));
        assert!(with("Cargo.toml").starts_with("[broker] ca_file `Cargo.toml` holds no certificate"));
    }
}
