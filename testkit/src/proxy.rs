//! A TCP proxy on the loopback between a process and a server: it delays, holds back, cuts and refuses.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::frames::Frames;

/// Nothing in a test takes so long unless it never happens.
const PATIENCE: Duration = Duration::from_secs(120);

/// How the proxy treats what comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Both directions are passed on.
    Open,
    /// Both directions are passed on so much later.
    Late(Duration),
    /// Both directions are held back for as long as this lasts: the connection seems alive, and nothing answers.
    Stalled,
    /// What the server says is held back; what the client says is passed on.
    Unanswered,
    /// New connections are closed at once. Those that are open stay; [`Proxy::shut`] closes them, too.
    Shut,
}

/// How connections are broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// Closed in order.
    Close,
    /// Reset: what was still on its way is lost.
    Reset,
    /// Half open: nothing passes any more, and neither side learns of it.
    Hang,
}

/// No limit on the bytes that still pass.
const ENDLESS: i64 = i64::MAX / 2;

/// Listens on a port of the loopback and passes on to a server. Ends when dropped.
#[derive(Debug)]
pub struct Proxy {
    /// Where clients connect to, on 127.0.0.1.
    pub port: u16,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    /// Addresses of servers that new connections go to, in turn.
    targets: Mutex<Vec<String>>,
    carried: AtomicUsize,
    way: watch::Sender<Way>,
    breaks: watch::Sender<(u64, Break)>,
    /// How many bytes still pass before every connection breaks.
    left: AtomicI64,
    /// How many bytes clients have sent that were passed on.
    sent: AtomicU64,
    /// Only for AMQP: whether answers are passed on by whole frames.
    framed: bool,
    injected: broadcast::Sender<Vec<u8>>,
    silenced: Mutex<String>,
    named: AtomicBool,
}

impl Proxy {
    /// An open one to the server at an address such as `127.0.0.1:5432`.
    ///
    /// # Panics
    ///
    /// When this machine has no free port.
    pub async fn start(target: &str) -> Self {
        Self::with(target, Way::Open, false, None).await
    }

    /// One to an AMQP broker, whose answers are passed on by whole frames: so that [`Proxy::silence`] and
    /// [`Proxy::inject`] work.
    ///
    /// # Panics
    ///
    /// When this machine has no free port.
    pub async fn amqp(target: &str, way: Way) -> Self {
        Self::with(target, way, true, None).await
    }

    /// An open one that speaks TLS with clients, and plainly with the server.
    ///
    /// # Panics
    ///
    /// When this machine has no free port.
    pub async fn tls(target: &str, acceptor: TlsAcceptor) -> Self {
        Self::with(target, Way::Open, false, Some(acceptor)).await
    }

    async fn with(target: &str, way: Way, framed: bool, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let port = listener.local_addr().expect("its own port").port();
        let state = Arc::new(State {
            targets: Mutex::new(vec![target.to_owned()]),
            carried: AtomicUsize::new(0),
            way: watch::Sender::new(way),
            breaks: watch::Sender::new((0, Break::Close)),
            left: AtomicI64::new(ENDLESS),
            sent: AtomicU64::new(0),
            framed,
            injected: broadcast::Sender::new(8),
            silenced: Mutex::default(),
            named: AtomicBool::new(false),
        });
        let accepting = tokio::spawn(accept(listener, tls, Arc::clone(&state)));
        Self { port, state, accepting }
    }

    /// From now on.
    pub fn set(&self, way: Way) {
        self.state.way.send_replace(way);
    }

    /// Refuses new connections, and closes those that are open.
    pub fn shut(&self) {
        self.set(Way::Shut);
        self.cut(Break::Close);
    }

    /// New connections go to these ports of this machine from now on, in turn: what a load balancer does.
    pub fn lead_to(&self, ports: &[u16]) {
        *lock(&self.state.targets) = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    }

    /// Breaks every connection that is open.
    pub fn cut(&self, how: Break) {
        self.state.breaks.send_modify(|(number, last)| (*number, *last) = (*number + 1, how));
    }

    /// Breaks every connection after so many more bytes, in the middle of whatever is then said.
    pub fn drop_after(&self, bytes: u32) {
        self.state.left.store(i64::from(bytes), Ordering::SeqCst);
    }

    /// Everything passes again.
    pub fn heal(&self) {
        self.state.left.store(ENDLESS, Ordering::SeqCst);
        self.set(Way::Open);
    }

    /// How many bytes clients have sent that were passed on.
    pub fn sent(&self) -> u64 {
        self.state.sent.load(Ordering::SeqCst)
    }

    /// Waits until more than so many bytes of clients were passed on.
    ///
    /// # Panics
    ///
    /// When that takes longer than two minutes.
    pub async fn until_sent_more_than(&self, bytes: u64) {
        let more = async {
            while self.sent() <= bytes {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, more).await.expect("the client sends nothing");
    }

    /// As if that queue of the broker gave no answer: on a channel on which a client has named it, the broker's answers
    /// are dropped. An empty name ends it. Only for AMQP.
    pub fn silence(&self, queue: &str) {
        assert!(self.state.framed, "only a proxy for AMQP can silence a queue");
        queue.clone_into(&mut lock(&self.state.silenced));
        self.state.named.store(false, Ordering::SeqCst);
    }

    /// Whether a client has named the silenced queue, and waits for an answer.
    pub fn has_silenced(&self) -> bool {
        self.state.named.load(Ordering::SeqCst)
    }

    /// Sends this frame to every client, as if the broker had. Only for AMQP.
    pub fn inject(&self, frame: Vec<u8>) {
        assert!(self.state.framed, "only a proxy for AMQP can send a frame of its own");
        self.state.injected.send(frame).expect("a client is connected");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut(Break::Close);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn next_target(&self) -> Option<String> {
        let targets = lock(&self.targets);
        let turn = self.carried.fetch_add(1, Ordering::Relaxed);
        targets.get(turn % targets.len().max(1)).cloned()
    }

    /// Whether a frame names the silenced queue.
    fn names_silenced(&self, frame: &[u8]) -> bool {
        let name = lock(&self.silenced);
        !name.is_empty() && frame.windows(name.len()).any(|part| part == name.as_bytes())
    }

    /// Waits as long as a direction is held back.
    async fn held_back(&self, way: &mut watch::Receiver<Way>, answer: bool) {
        let now = *way.borrow_and_update();
        if let Way::Late(late) = now {
            tokio::time::sleep(late).await;
        }
        // The sender lives as long as the state does.
        let _ = way.wait_for(|way| !matches!((way, answer), (Way::Stalled, _) | (Way::Unanswered, true))).await;
    }

    /// Writes as many bytes as may still pass. `false` when that were not all: then every connection breaks.
    async fn write(&self, to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> std::io::Result<bool> {
        let before = self.left.fetch_sub(i64::try_from(bytes.len()).unwrap_or(0), Ordering::SeqCst);
        let allowed = usize::try_from(before.max(0)).unwrap_or(0).min(bytes.len());
        to.write_all(&bytes[..allowed]).await?;
        to.flush().await?;
        if allowed < bytes.len() {
            // A client that connects again is served again: the connection has broken, not the server.
            self.left.store(ENDLESS, Ordering::SeqCst);
            self.breaks.send_modify(|(number, _)| *number += 1);
            return Ok(false);
        }
        Ok(true)
    }
}

/// A client's side of a connection, encrypted or not.
trait Wire: AsyncRead + AsyncWrite + Unpin + Send {
    /// The connection below.
    fn tcp(&self) -> &TcpStream;
}

impl Wire for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Wire for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, state: Arc<State>) {
    while let Ok((client, _)) = listener.accept().await {
        if *state.way.borrow() == Way::Shut {
            continue;
        }
        let (state, tls) = (Arc::clone(&state), tls.clone());
        tokio::spawn(async move {
            // Small questions must not wait for company.
            let _ = client.set_nodelay(true);
            match tls {
                None => carry(Box::new(client), &state).await,
                // A client that refuses the certificate hangs up, which some tests are about.
                Some(acceptor) => {
                    if let Ok(client) = acceptor.accept(client).await {
                        carry(Box::new(client), &state).await;
                    }
                }
            }
        });
    }
}

async fn carry(mut client: Box<dyn Wire>, state: &State) {
    let mut breaks = state.breaks.subscribe();
    breaks.mark_unchanged();
    let Some(target) = state.next_target() else { return };
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    let _ = server.set_nodelay(true);
    let unheard = Unheard::default();
    {
        let (client_in, client_out) = tokio::io::split(&mut client);
        let (server_in, server_out) = server.split();
        tokio::select! {
            _ = questions(client_in, server_out, state, &unheard) => {}
            _ = answers(server_in, client_out, state, &unheard) => {}
            _ = breaks.changed() => {}
        }
    }
    // A connection that hangs ends with the next break, at the latest with the proxy.
    while matches!(*breaks.borrow_and_update(), (_, Break::Hang)) {
        if breaks.changed().await.is_err() {
            return;
        }
    }
    if breaks.borrow().1 == Break::Reset {
        let _ = (client.tcp().set_zero_linger(), server.set_zero_linger());
    }
}

/// The channels of one connection on which the broker is not heard.
type Unheard = Mutex<HashSet<u16>>;

/// Passes on what the client says, until it ends or breaks.
async fn questions(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    state: &State,
    unheard: &Unheard,
) -> std::io::Result<()> {
    let (mut buffer, mut frames, mut way) = (vec![0; 64 * 1024], Frames::default(), state.way.subscribe());
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        state.held_back(&mut way, false).await;
        let bytes = &buffer[..read];
        for (channel, frame) in if state.framed { frames.cut(bytes) } else { Vec::new() } {
            if state.names_silenced(&frame) {
                lock(unheard).insert(channel);
                state.named.store(true, Ordering::SeqCst);
            }
        }
        if !state.write(&mut to, bytes).await? {
            return Ok(());
        }
        state.sent.fetch_add(read as u64, Ordering::SeqCst);
    }
}

/// Passes on what the server says, until it ends or breaks.
async fn answers(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    state: &State,
    unheard: &Unheard,
) -> std::io::Result<()> {
    let (mut buffer, mut frames, mut way) = (vec![0; 64 * 1024], Frames::default(), state.way.subscribe());
    let mut injected = state.injected.subscribe();
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read?,
            Ok(frame) = injected.recv() => {
                to.write_all(&frame).await?;
                to.flush().await?;
                continue;
            }
        };
        if read == 0 {
            return Ok(());
        }
        state.held_back(&mut way, true).await;
        let bytes = &buffer[..read];
        let mut whole = true;
        if !state.framed {
            whole = state.write(&mut to, bytes).await?;
        }
        for (channel, frame) in if state.framed { frames.cut(bytes) } else { Vec::new() } {
            let heard = lock(&state.silenced).is_empty() || !lock(unheard).contains(&channel);
            whole = whole && (!heard || state.write(&mut to, &frame).await?);
        }
        if !whole {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that sends back what it receives, each time after its own number.
    async fn echo(number: u8) -> u16 {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let port = listener.local_addr().expect("its own port").port();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut buffer = [0; 1024];
                    while let Ok(read @ 1..) = client.read(&mut buffer).await {
                        let answer = [&[number][..], &buffer[..read]].concat();
                        if client.write_all(&answer).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        port
    }

    async fn echo_proxy() -> Proxy {
        Proxy::start(&format!("127.0.0.1:{}", echo(1).await)).await
    }

    async fn connect(proxy: &Proxy) -> TcpStream {
        TcpStream::connect(("127.0.0.1", proxy.port)).await.expect("connected")
    }

    /// What the server answers; empty when the connection is closed, or breaks.
    async fn ask(client: &mut TcpStream, question: &[u8]) -> Vec<u8> {
        let mut answer = [0; 1024];
        if client.write_all(question).await.is_err() {
            return Vec::new();
        }
        let read = client.read(&mut answer).await.unwrap_or(0);
        answer[..read].to_vec()
    }

    #[tokio::test]
    async fn connections_go_to_the_servers_in_turn_and_break_when_they_are_cut() {
        let proxy = echo_proxy().await;
        let mut first = connect(&proxy).await;
        assert_eq!(ask(&mut first, b"a").await, b"\x01a");
        proxy.lead_to(&[echo(2).await, echo(3).await]);
        let (mut one, mut two) = (connect(&proxy).await, connect(&proxy).await);
        let mut numbers = [ask(&mut one, b"b").await[0], ask(&mut two, b"b").await[0]];
        numbers.sort_unstable();
        assert_eq!(numbers, [2, 3]);
        proxy.cut(Break::Reset);
        assert!(ask(&mut first, b"a").await.is_empty());
        let mut again = connect(&proxy).await;
        assert!(!ask(&mut again, b"c").await.is_empty(), "only what was open breaks");
    }

    #[tokio::test]
    async fn a_connection_breaks_in_the_middle_when_its_bytes_are_used_up() {
        let proxy = echo_proxy().await;
        let mut client = connect(&proxy).await;
        assert_eq!(ask(&mut client, b"abc").await, b"\x01abc");
        proxy.drop_after(5);
        // Three bytes to the server, and two of the four that come back.
        assert_eq!(ask(&mut client, b"abc").await, b"\x01a");
        assert!(ask(&mut client, b"abc").await.is_empty());
        let mut again = connect(&proxy).await;
        assert_eq!(ask(&mut again, b"abc").await, b"\x01abc");
    }

    #[tokio::test]
    async fn an_unanswered_question_arrives_and_its_answer_comes_when_the_proxy_opens() {
        let proxy = echo_proxy().await;
        let mut client = connect(&proxy).await;
        assert_eq!(ask(&mut client, b"a").await, b"\x01a");
        proxy.set(Way::Unanswered);
        let before = proxy.sent();
        let asking = tokio::spawn(async move { ask(&mut client, b"b").await });
        proxy.until_sent_more_than(before).await;
        assert!(!asking.is_finished());
        proxy.heal();
        assert_eq!(asking.await.expect("no panic"), b"\x01b");
    }

    #[tokio::test]
    async fn a_connection_that_hangs_gives_no_answer_and_a_new_one_does() {
        let proxy = echo_proxy().await;
        let mut client = connect(&proxy).await;
        assert_eq!(ask(&mut client, b"a").await, b"\x01a");
        proxy.cut(Break::Hang);
        let asking = tokio::spawn(async move { ask(&mut client, b"b").await });
        assert_eq!(ask(&mut connect(&proxy).await, b"c").await, b"\x01c");
        assert!(!asking.is_finished());
        drop(proxy);
        assert!(asking.await.expect("no panic").is_empty(), "with the proxy it ends");
    }

    #[tokio::test]
    async fn a_shut_proxy_closes_what_is_open_and_what_comes() {
        let proxy = echo_proxy().await;
        let mut open = connect(&proxy).await;
        assert_eq!(ask(&mut open, b"a").await, b"\x01a");
        proxy.shut();
        assert!(ask(&mut open, b"a").await.is_empty());
        let mut late = connect(&proxy).await;
        assert!(ask(&mut late, b"a").await.is_empty());
        proxy.set(Way::Open);
        assert_eq!(ask(&mut connect(&proxy).await, b"a").await, b"\x01a");
    }
}
