//! A road that can be cut: a proxy on the loopback between a client and the broker.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
    tokio::select! {
        _ = up(client_in, broker_out, &state) => {}
        _ = down(broker_in, client_out, &state) => {}
        _ = cuts.changed() => {}
    }
}

async fn up(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, state: &State) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..read]).await?;
        state.said.fetch_add(read as u64, Ordering::SeqCst);
    }
}

async fn down(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, state: &State) -> std::io::Result<()> {
    let (mut buffer, mut words) = (vec![0; 64 * 1024], state.words.subscribe());
    let mut way = state.way.subscribe();
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
        to.write_all(&buffer[..read]).await?;
    }
}
