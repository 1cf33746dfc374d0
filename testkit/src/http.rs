//! An HTTP service on the loopback that answers as a test says, and keeps what it was asked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::serve::Listener;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// One request.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The method, such as `POST`.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Seen {
    /// A header.
    ///
    /// # Panics
    ///
    /// When it is not there, or no text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}")).to_str().expect("a text")
    }
}

/// A service and what it was asked. Ends when dropped.
#[derive(Debug)]
pub struct FakeHttp {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
    serving: JoinHandle<()>,
}

impl FakeHttp {
    /// One that speaks plain HTTP.
    ///
    /// # Panics
    ///
    /// When this machine has no free port.
    pub async fn start<F, R>(answer: F) -> Self
    where
        F: Fn(Seen) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Response> + Send + 'static,
    {
        Self::serve(TcpListener::bind("127.0.0.1:0").await.expect("a port"), answer)
    }

    /// One that speaks HTTPS.
    ///
    /// # Panics
    ///
    /// When this machine has no free port.
    pub async fn start_tls<F, R>(acceptor: TlsAcceptor, answer: F) -> Self
    where
        F: Fn(Seen) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Response> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        Self::serve(Wrapped { listener, acceptor }, answer)
    }

    /// One that gives the same status every time.
    ///
    /// # Panics
    ///
    /// When this machine has no free port.
    pub async fn always(status: u16) -> Self {
        Self::start(move |_| async move { reply(status, &[], "") }).await
    }

    /// One that gives these statuses in turn, the last one for ever.
    ///
    /// # Panics
    ///
    /// When this machine has no free port.
    pub async fn in_turn(statuses: &'static [u16]) -> Self {
        let turn = Arc::new(Mutex::new(statuses));
        Self::start(move |_| {
            let mut left = lock(&turn);
            let status = left[0];
            if left.len() > 1 {
                *left = &left[1..];
            }
            async move { reply(status, &[], "") }
        })
        .await
    }

    /// What it was asked, in the order of arrival.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.seen).clone()
    }

    /// Its address by number.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn serve<L, F, R>(listener: L, answer: F) -> Self
    where
        L: Listener<Addr = SocketAddr>,
        F: Fn(Seen) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Response> + Send + 'static,
    {
        let port = listener.local_addr().expect("an address").port();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let kept = Arc::clone(&seen);
        let router = Router::new().fallback(move |request: Request| {
            let (kept, answer) = (Arc::clone(&kept), answer.clone());
            async move {
                let seen = read(request).await;
                lock(&kept).push(seen.clone());
                answer(seen).await
            }
        });
        let serving = tokio::spawn(async move { drop(axum::serve(listener, router).await) });
        Self { port, seen, serving }
    }
}

impl Drop for FakeHttp {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An answer of a status, headers and a body.
///
/// # Panics
///
/// When one of them is malformed.
pub fn reply(status: u16, headers: &[(&str, &str)], body: impl Into<Body>) -> Response {
    let builder =
        headers.iter().fold(Response::builder().status(status), |builder, (name, text)| builder.header(*name, *text));
    builder.body(body.into()).expect("an answer")
}

/// A body that never ends.
pub fn endless() -> Body {
    Body::from_stream(futures::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b'x'; 8 * 1024])))
}

/// A port on 127.0.0.1 at which no process listens.
///
/// # Panics
///
/// When this machine has no free port.
pub async fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address").port()
}

async fn read(request: Request) -> Seen {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.expect("a whole request").to_vec();
    Seen { method: parts.method.to_string(), path: parts.uri.to_string(), headers: parts.headers, body }
}

/// Connections under TLS.
struct Wrapped {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Wrapped {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok((stream, address)) = self.listener.accept().await else { continue };
            // A client that does not trust the certificate hangs up here, which some tests are about.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}
