//! A road that can be cut: a proxy on the loopback between a client and the broker.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

use super::{PATIENCE, amqp};

/// How the proxy treats what comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Passed on.
    Open,
    /// What the broker says is kept back; what the client says is passed on.
    Mute,
    /// Connections are closed, old and new ones.
    Shut,
}

/// Listens on a port of the loopback, and passes on to the broker of the tests. Ends when dropped.
#[derive(Debug)]
pub struct Proxy {
    /// Where clients connect to, on 127.0.0.1.
    pub port: u16,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    way: watch::Sender<Way>,
    cuts: watch::Sender<u64>,
    words: broadcast::Sender<Vec<u8>>,
    said: AtomicU64,
    silenced: Mutex<String>,
    named: AtomicBool,
}

impl Proxy {
    /// A proxy that begins so.
    pub async fn start(way: Way) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let port = listener.local_addr().expect("its own port").port();
        let state = Arc::new(State {
            way: watch::Sender::new(way),
            cuts: watch::Sender::new(0),
            words: broadcast::Sender::new(8),
            said: AtomicU64::new(0),
            silenced: Mutex::default(),
            named: AtomicBool::new(false),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&state)));
        Self { port, state, accepting }
    }

    /// From now on.
    pub fn set(&self, way: Way) {
        self.state.way.send_replace(way);
        if way == Way::Shut {
            self.cut();
        }
    }

    /// Breaks every connection that there is.
    pub fn cut(&self) {
        self.state.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// As if that queue of the broker gave no answer: on a channel on which a client has named it,
    /// the broker is not heard any more. An empty name ends it.
    pub fn silence(&self, queue: &str) {
        queue.clone_into(&mut self.state.silenced());
        self.state.named.store(false, Ordering::SeqCst);
    }

    /// Whether a client has named the silenced queue, and waits for an answer.
    pub fn has_silenced(&self) -> bool {
        self.state.named.load(Ordering::SeqCst)
    }

    /// How many bytes clients have sent.
    pub fn said(&self) -> u64 {
        self.state.said.load(Ordering::SeqCst)
    }

    /// Waits until clients have sent more than so many bytes.
    ///
    /// # Panics
    ///
    /// When they do not within [`PATIENCE`].
    pub async fn until_said_more_than(&self, bytes: u64) {
        let more = async {
            while self.said() <= bytes {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, more).await.expect("the client says nothing");
    }

    /// Puts words into the broker's mouth, on every connection. Between frames only: when it is silent.
    pub fn speak(&self, frame: Vec<u8>) {
        self.state.words.send(frame).expect("somebody listens");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    loop {
        let (client, _) = listener.accept().await.expect("a client");
        if *state.way.borrow() != Way::Shut {
            tokio::spawn(carry(client, Arc::clone(&state)));
        }
    }
}

async fn carry(client: TcpStream, state: Arc<State>) {
    let mut cuts = state.cuts.subscribe();
    let url = url::Url::parse(&amqp()).expect("the address of the broker");
    let host = url.host_str().expect("a host").to_owned();
    let broker = TcpStream::connect((host, url.port().unwrap_or(5672))).await.expect("the broker answers");
    let ((client_in, client_out), (broker_in, broker_out)) = (client.into_split(), broker.into_split());
    let unheard = Mutex::default();
    tokio::select! {
        _ = up(client_in, broker_out, &state, &unheard) => {}
        _ = down(broker_in, client_out, &state, &unheard) => {}
        _ = cuts.changed() => {}
    }
}

impl State {
    fn silenced(&self) -> std::sync::MutexGuard<'_, String> {
        self.silenced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a frame names the silenced queue.
    fn names_it(&self, frame: &[u8]) -> bool {
        let name = self.silenced();
        !name.is_empty() && frame.windows(name.len()).any(|part| part == name.as_bytes())
    }
}

/// The channels of one connection on which the broker is not heard.
type Unheard = Mutex<HashSet<u16>>;

fn lock(unheard: &Unheard) -> std::sync::MutexGuard<'_, HashSet<u16>> {
    unheard.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn up(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, state: &State, unheard: &Unheard) -> std::io::Result<()> {
    let (mut buffer, mut frames) = (vec![0; 64 * 1024], Frames::default());
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        for (channel, frame) in frames.cut(&buffer[..read]) {
            if state.names_it(&frame) {
                lock(unheard).insert(channel);
                state.named.store(true, Ordering::SeqCst);
            }
        }
        to.write_all(&buffer[..read]).await?;
        state.said.fetch_add(read as u64, Ordering::SeqCst);
    }
}

async fn down(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    state: &State,
    unheard: &Unheard,
) -> std::io::Result<()> {
    let (mut buffer, mut words) = (vec![0; 64 * 1024], state.words.subscribe());
    let (mut way, mut frames) = (state.way.subscribe(), Frames::default());
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read?,
            Ok(frame) = words.recv() => {
                to.write_all(&frame).await?;
                continue;
            }
        };
        if read == 0 {
            return Ok(());
        }
        let _ = way.wait_for(|way| *way != Way::Mute).await;
        for (channel, frame) in frames.cut(&buffer[..read]) {
            if state.silenced().is_empty() || !lock(unheard).contains(&channel) {
                to.write_all(&frame).await?;
            }
        }
    }
}

/// Cuts a stream into frames. Source: AMQP 0-9-1, 2.3.5: a byte of type, two of channel, four of
/// length, the payload, and an end.
#[derive(Debug, Default)]
struct Frames {
    rest: Vec<u8>,
}

impl Frames {
    const HEAD: usize = 7;

    /// The frames that are complete with these bytes, each with its channel.
    fn cut(&mut self, bytes: &[u8]) -> Vec<(u16, Vec<u8>)> {
        self.rest.extend_from_slice(bytes);
        let mut frames = Vec::new();
        while let Some((channel, length)) = self.head().filter(|(_, length)| *length <= self.rest.len()) {
            frames.push((channel, self.rest.drain(..length).collect()));
        }
        frames
    }

    /// The channel and the length of what comes next. The client's first word is no frame.
    fn head(&self) -> Option<(u16, usize)> {
        if self.rest.starts_with(b"AMQP") {
            return Some((0, 8));
        }
        let head = self.rest.get(..Self::HEAD)?;
        let length = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
        Some((u16::from_be_bytes([head[1], head[2]]), Self::HEAD + length as usize + 1))
    }
}
