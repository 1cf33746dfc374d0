//! What hostile peers can hold, and for how long.

use std::time::Instant;

use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::connection::HEAD_BYTES_MAX;
use super::*;

const SHORT: Duration = Duration::from_millis(300);

struct Served {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

async fn served(connections_per_peer: usize, drain: Duration) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let big = || async { "x".repeat(64 << 20) };
    let router = Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/big", get(big))
        .route("/never", get(std::future::pending::<&'static str>));
    let settings = ListenerSettings {
        connections_per_peer: NonZeroUsize::new(connections_per_peer).expect("some"),
        head_timeout: Span(SHORT),
        body_timeout: Span(SHORT),
        ..ListenerSettings::default()
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let server =
        tokio::spawn(serve(listener, router, Serving::plain(settings, drain), async move { drop(stopped.await) }));
    Served { address, stop, server }
}

async fn send(address: SocketAddr, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("somebody listens");
    stream.write_all(request.as_bytes()).await.expect("written");
    stream
}

/// What comes until the other side closes, and how long that took. A reset ends it too.
async fn heard(mut stream: TcpStream) -> (String, Duration) {
    let (since, mut bytes) = (Instant::now(), Vec::new());
    let _ = stream.read_to_end(&mut bytes).await;
    (String::from_utf8_lossy(&bytes).into_owned(), since.elapsed())
}

const HELLO: &str = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn a_peer_that_never_ends_its_head_or_says_nothing_is_dropped_in_time() {
    let server = served(100, SHORT).await;
    let address = server.address;
    for beginning in ["", "G", "GET / HTTP/1.1\r\nhost: x\r\n", "GET / HTTP/1.1\r\nhost: x\r\n\r\n"] {
        let (_, took) = heard(send(address, beginning).await).await;
        assert!(took < SHORT * 10, "{beginning:?} held a connection for {took:?}");
    }
    // A byte now and then does not prolong it.
    let mut slow = send(address, "GET / HTTP/1.1\r\nx: ").await;
    let since = Instant::now();
    while slow.write_all(b"a").await.is_ok() && since.elapsed() < SHORT * 20 {
        tokio::time::sleep(SHORT / 6).await;
    }
    assert!(since.elapsed() < SHORT * 10, "{:?}", since.elapsed());
}

#[tokio::test]
async fn a_peer_with_all_its_connections_is_turned_away_until_one_is_free() {
    let server = served(2, SHORT).await;
    let address = server.address;
    let held = [send(address, "GET").await, send(address, "GET").await];
    let (refused, _) = heard(TcpStream::connect(address).await.expect("accepted, then closed")).await;
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("retry-after: 1"), "{refused:?}");
    drop(held);
    let since = Instant::now();
    loop {
        let (text, _) = heard(send(address, HELLO).await).await;
        if text.ends_with("hello") {
            break;
        }
        assert!(since.elapsed() < SHORT * 20, "seats are free again");
    }
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused() {
    let server = served(100, SHORT).await;
    let address = server.address;
    for head in [format!("x: {}", "a".repeat(HEAD_BYTES_MAX)), "x: a\r\n".repeat(500)] {
        let stream = send(address, &format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n\r\n", head.trim_end())).await;
        let (text, _) = heard(stream).await;
        // The rest of what was sent may turn the answer into a reset.
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 431"), "{text}");
    }
    let (text, _) = heard(send(address, HELLO).await).await;
    assert!(text.ends_with("hello"), "{text}");
}

#[tokio::test]
async fn a_peer_that_does_not_read_its_answer_is_dropped_in_time() {
    let Served { stop, server, address } = served(100, SHORT * 100).await;
    let _unread = send(address, "GET /big HTTP/1.1\r\nhost: x\r\n\r\n").await;
    tokio::time::sleep(SHORT).await;
    let since = Instant::now();
    stop.send(()).expect("it serves");
    server.await.expect("no panic");
    assert!(since.elapsed() < SHORT * 10, "held for {:?}", since.elapsed());
}

#[tokio::test]
async fn a_stop_lets_requests_end_and_waits_no_longer_than_it_may() {
    let Served { stop, server, address } = served(100, SHORT).await;
    let never = send(address, "GET /never HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let (text, _) = heard(send(address, HELLO).await).await;
    assert!(text.ends_with("hello"), "{text}");
    let since = Instant::now();
    stop.send(()).expect("it serves");
    server.await.expect("no panic");
    assert!((SHORT..SHORT * 10).contains(&since.elapsed()), "{:?}", since.elapsed());
    drop(never);
    TcpStream::connect(address).await.expect_err("nobody listens any more");
}

/// The preface of HTTP/2, settings, and `GET /`.
fn http2_request() -> Vec<u8> {
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    // By the static table of HPACK: GET, http, /; and `:authority: x`.
    let fields = [0x82, 0x86, 0x84, 0x01, 1, b'x'];
    let headers = [0, 0, 6, 1, 5, 0, 0, 0, 1];
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &settings, &headers, &fields].concat()
}

/// Reads until the answer's text has come.
async fn read_hello(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !bytes.windows(5).any(|window| window == b"hello") {
        let mut piece = [0; 1024];
        let read = stream.read(&mut piece).await.expect("an answer");
        assert!(read > 0, "closed after {bytes:?}");
        bytes.extend_from_slice(&piece[..read]);
    }
    bytes
}

#[tokio::test]
async fn http_2_is_spoken_in_the_clear_and_an_idle_connection_ends() {
    let server = served(100, SHORT).await;
    let mut stream = TcpStream::connect(server.address).await.expect("somebody listens");
    stream.write_all(&http2_request()).await.expect("written");
    let answer = read_hello(&mut stream).await;
    assert_eq!(answer[3], 4, "the server's settings come first");
    let (_, took) = heard(stream).await;
    assert!(took < SHORT * 20, "it was held for {took:?}");
    let mut slow = TcpStream::connect(server.address).await.expect("somebody listens");
    slow.write_all(b"PRI * HTTP/2.0").await.expect("written");
    let (_, took) = heard(slow).await;
    assert!(took < SHORT * 10, "half a preface was waited for: {took:?}");
}

/// A certificate of its own for `localhost` in two files, and what trusts it.
fn certificate(folder: &std::path::Path) -> tokio_rustls::TlsConnector {
    use tokio_rustls::rustls::{ClientConfig, RootCertStore};
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    std::fs::write(folder.join("cert.pem"), made.cert.pem()).expect("written");
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).expect("written");
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a root");
    let provider = std::sync::Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    tokio_rustls::TlsConnector::from(std::sync::Arc::new(config))
}

#[tokio::test]
async fn a_certificate_is_shown_and_read_again_when_its_files_change() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let old = certificate(folder.path());
    let tls = Certificates::read(&folder.path().join("cert.pem"), &folder.path().join("key.pem")).expect("a pair");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let router = Router::new().route("/", get(|| async { "hello" }));
    let serving = Serving { tls: Some(tls.clone()), ..Serving::plain(ListenerSettings::default(), SHORT) };
    tokio::spawn(serve(listener, router, serving, std::future::pending()));
    let connect = async |with: &tokio_rustls::TlsConnector| {
        let stream = TcpStream::connect(address).await.expect("somebody listens");
        with.connect("localhost".try_into().expect("a name"), stream).await
    };
    let mut stream = connect(&old).await.expect("trusted");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    stream.write_all(&http2_request()).await.expect("written");
    read_hello(&mut stream).await;
    let new = certificate(folder.path());
    tls.again();
    connect(&old).await.expect_err("it shows another one");
    connect(&new).await.expect("trusted");
    std::fs::write(folder.path().join("key.pem"), "no key").expect("written");
    tls.again();
    connect(&new).await.expect("what was in force stays");
    Certificates::read(&folder.path().join("cert.pem"), &folder.path().join("key.pem")).expect_err("no key");
    drop(send(address, HELLO).await);
}

#[test]
fn a_peer_elsewhere_or_behind_a_proxy_is_a_stranger() {
    let peer = |text: &str| Peer(text.parse().expect("an address"));
    let mut headers = HeaderMap::new();
    for (address, stranger) in
        [("127.0.0.1:1", false), ("[::1]:1", false), ("[::ffff:127.0.0.1]:1", false), ("192.0.2.1:1", true)]
    {
        assert_eq!(peer(address).is_stranger(&headers), stranger, "{address}");
    }
    headers.insert("x-forwarded-for", axum::http::HeaderValue::from_static("127.0.0.1"));
    assert!(peer("127.0.0.1:1").is_stranger(&headers));
}
