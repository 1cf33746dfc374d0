//! A server, and the connections to it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS, Mechanism};
use lettre::transport::smtp::client::{Certificate, TlsParameters};
use lettre::transport::smtp::commands::Rset;
use lettre::transport::smtp::extension::ClientId;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::connection::{Connection, Failed, Plan};
use super::transcript::Transcript;
use crate::classify::Phase;

/// How long a connection may be idle before it is not reused: servers close it about then.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// How many messages a connection carries unless said otherwise, before it is not reused: many servers limit them.
pub const MESSAGES_PER_CONNECTION: u32 = 100;

/// Whether and how connections are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// TLS from the first byte.
    Wrapped,
    /// STARTTLS, or nothing is sent.
    Upgraded,
    /// No TLS.
    Clear,
}

/// How to log in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Login {
    /// PLAIN, or LOGIN where the server knows nothing else.
    #[default]
    Any,
    /// PLAIN (RFC 4616).
    Plain,
    /// LOGIN.
    Login,
    /// XOAUTH2: the password is an access token.
    Xoauth2,
}

impl Login {
    fn mechanisms(self) -> &'static [Mechanism] {
        match self {
            Self::Any => DEFAULT_MECHANISMS,
            Self::Plain => &[Mechanism::Plain],
            Self::Login => &[Mechanism::Login],
            Self::Xoauth2 => &[Mechanism::Xoauth2],
        }
    }
}

/// Where a server is and how it is reached.
#[derive(Clone)]
pub struct Endpoint {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether and how connections are encrypted.
    pub security: Security,
    /// User and password, if it wants them.
    pub login: Option<(String, String)>,
    /// How to log in with them.
    pub login_by: Login,
    /// PEM certificates to trust in addition to the system's.
    pub roots: Option<Vec<u8>>,
    /// How long connecting, and each answer of the server, may take.
    pub timeout: Duration,
    /// The most connections at once, at least 1.
    pub connections: usize,
    /// How many messages a connection carries before another is made, at least 1.
    pub messages_per_connection: u32,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

/// A server that accepts messages, and the connections to it.
#[derive(Debug)]
pub struct Smtp {
    endpoint: Endpoint,
    tls: Option<Tls>,
    credentials: Option<Credentials>,
    slots: Semaphore,
    idle: Mutex<Vec<Connection>>,
}

/// lettre's own shows the whole trust store.
struct Tls(TlsParameters);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Smtp {
    /// Prepares for a server. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// When the certificates are none, or TLS cannot be set up: a text that says so.
    pub fn new(endpoint: Endpoint) -> Result<Self, String> {
        let tls = match endpoint.security {
            Security::Clear => None,
            Security::Wrapped | Security::Upgraded => Some(Tls(tls(&endpoint)?)),
        };
        Ok(Self {
            tls,
            credentials: endpoint.login.clone().map(|(user, password)| Credentials::new(user, password)),
            slots: Semaphore::new(endpoint.connections.max(1)),
            idle: Mutex::new(Vec::new()),
            endpoint,
        })
    }

    /// The server, `host:port`.
    pub fn server(&self) -> String {
        format!("{}:{}", self.endpoint.host, self.endpoint.port)
    }

    /// How many connections are not in use.
    pub fn spare(&self) -> usize {
        self.slots.available_permits()
    }

    /// Waits for one of so many connections. `None` only when no more are given out, which never happens.
    pub(super) async fn slot(&self) -> Option<SemaphorePermit<'_>> {
        self.slots.acquire().await.ok()
    }

    /// Returns a connection that was idle, or a new one. One that was idle may be of no more use: who uses it finds out, and
    /// takes another.
    pub(super) async fn connection(&self) -> Result<Connection, (Failed, Transcript)> {
        while let Some(mut line) = self.take_idle() {
            line.reuse();
            // With several commands at once, the first of them finds out for nothing.
            if line.offers.pipelining || line.ask(Phase::Hello, "RSET", Rset).await.is_ok() {
                return Ok(line);
            }
        }
        self.fresh().await
    }

    /// Returns a new connection.
    pub(super) async fn fresh(&self) -> Result<Connection, (Failed, Transcript)> {
        let tls =
            |kind: Security| self.tls.as_ref().filter(|_| self.endpoint.security == kind).map(|tls| tls.0.clone());
        let plan = Plan {
            host: &self.endpoint.host,
            port: self.endpoint.port,
            hello: ClientId::default(),
            wrapped: tls(Security::Wrapped),
            upgraded: tls(Security::Upgraded),
            credentials: self.credentials.as_ref(),
            mechanisms: self.endpoint.login_by.mechanisms(),
            timeout: self.endpoint.timeout,
        };
        Connection::open(&plan).await
    }

    fn take_idle(&self) -> Option<Connection> {
        let mut idle = lock(&self.idle);
        idle.retain(|line| line.used_at.elapsed() < IDLE_MAX);
        idle.pop()
    }

    /// Keeps a connection for the next message.
    pub(super) fn keep(&self, mut line: Connection) {
        line.used_at = Instant::now();
        line.was_idle = true;
        if line.messages < self.endpoint.messages_per_connection {
            lock(&self.idle).push(line);
        }
    }
}

fn tls(endpoint: &Endpoint) -> Result<TlsParameters, String> {
    let mut builder = TlsParameters::builder(endpoint.host.clone());
    if let Some(pem) = &endpoint.roots {
        let certificate =
            Certificate::from_pem(pem).map_err(|error| format!("they are no PEM certificates: {error}"))?;
        builder = builder.add_root_certificate(certificate);
    }
    builder.build().map_err(|error| format!("TLS cannot be set up: {error}"))
}
