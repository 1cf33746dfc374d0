//! A road that can be spoilt: a TCP proxy on the loopback between a process and a server.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How the proxy treats what comes, in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Passed on.
    Open,
    /// Passed on late.
    Late(Duration),
    /// Kept back for as long as this lasts: the connection seems alive, and nobody answers.
    Mute,
    /// New connections are refused.
    Shut,
}

/// How connections are broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// Closed in order.
    Close,
    /// Reset: what was still on its way is lost.
    Reset,
}

/// No limit on the bytes that still pass.
const ENDLESS: i64 = i64::MAX / 2;

/// Listens on a port of the loopback and passes on to a server on it. Ends when dropped.
#[derive(Debug)]
pub struct Proxy {
    /// Where processes connect to, on 127.0.0.1.
    pub port: u16,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    /// Where new connections go, one after the other.
    targets: Mutex<Vec<u16>>,
    carried: AtomicUsize,
    way: watch::Sender<Way>,
    breaks: watch::Sender<(u64, Break)>,
    /// How many bytes still pass before every connection breaks.
    left: AtomicI64,
}

impl Proxy {
    /// An open one.
    ///
    /// # Panics
    ///
    /// When this machine has no free port.
    pub async fn start(target: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let port = listener.local_addr().expect("its own port").port();
        let state = Arc::new(State {
            targets: Mutex::new(vec![target]),
            carried: AtomicUsize::new(0),
            way: watch::Sender::new(Way::Open),
            breaks: watch::Sender::new((0, Break::Close)),
            left: AtomicI64::new(ENDLESS),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&state)));
        Self { port, state, accepting }
    }

    /// From now on.
    pub fn set(&self, way: Way) {
        self.state.way.send_replace(way);
    }

    /// New connections go to these from now on, in turn: what a load balancer does.
    pub fn lead_to(&self, targets: Vec<u16>) {
        *self.state.targets.lock().unwrap_or_else(PoisonError::into_inner) = targets;
    }

    /// Breaks every connection that there is.
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
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut(Break::Close);
    }
}

impl State {
    fn next(&self) -> Option<u16> {
        let targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = self.carried.fetch_add(1, Ordering::Relaxed);
        targets.get(turn % targets.len().max(1)).copied()
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    while let Ok((client, _)) = listener.accept().await {
        if *state.way.borrow() != Way::Shut {
            tokio::spawn(carry(client, Arc::clone(&state)));
        }
    }
}

async fn carry(client: TcpStream, state: Arc<State>) {
    let mut breaks = state.breaks.subscribe();
    breaks.mark_unchanged();
    let Some(target) = state.next() else { return };
    let Ok(server) = TcpStream::connect(("127.0.0.1", target)).await else { return };
    // Small questions must not wait for company.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ((mut client_in, mut client_out), (mut server_in, mut server_out)) = (client.into_split(), server.into_split());
    tokio::select! {
        () = pass(&mut client_in, &mut server_out, &state) => {}
        () = pass(&mut server_in, &mut client_out, &state) => {}
        _ = breaks.changed() => {}
    }
    if breaks.borrow().1 == Break::Reset {
        for stream in [client_in.reunite(client_out), server_in.reunite(server_out)].into_iter().flatten() {
            let _ = stream.set_zero_linger();
        }
    }
}

/// Passes on until one of them ends, or the bytes that may pass are used up.
async fn pass(from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf, state: &State) {
    let mut buffer = vec![0; 16 * 1024];
    let mut way = state.way.subscribe();
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let now = *way.borrow_and_update();
        if let Way::Late(late) = now {
            tokio::time::sleep(late).await;
        }
        // The sender lives as long as the state does.
        let _ = way.wait_for(|way| *way != Way::Mute).await;
        let before = state.left.fetch_sub(i64::try_from(read).unwrap_or(0), Ordering::SeqCst);
        let allowed = usize::try_from(before.max(0)).unwrap_or(0).min(read);
        if to.write_all(&buffer[..allowed]).await.is_err() {
            return;
        }
        if allowed < read {
            // Whoever connects again is served again: the connection has broken, not the server.
            state.left.store(ENDLESS, Ordering::SeqCst);
            let last = state.breaks.borrow().1;
            state.breaks.send_modify(|(number, how)| (*number, *how) = (*number + 1, last));
            return;
        }
    }
}
