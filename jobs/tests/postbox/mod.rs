//! A mail server on loopback that does what its script says.

#![allow(dead_code, unreachable_pub, reason = "each test program uses its own part")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

/// What the server does instead of what it usually does, once.
#[derive(Clone)]
pub enum Fault {
    /// It says this.
    Reply(&'static str),
    /// It hangs up.
    HangUp,
    /// It says that it has come so far, waits for leave, then goes on as usual.
    Wait { reached: Arc<Notify>, leave: Arc<Notify> },
}

/// Whether the server encrypts.
#[derive(Clone, Default)]
pub enum Tls {
    /// Never.
    #[default]
    None,
    /// When it is asked to, by STARTTLS.
    Offered(TlsAcceptor),
    /// From the first byte.
    Wrapped(TlsAcceptor),
}

trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}
type Stream = BufReader<Box<dyn Wire>>;

/// A server and what it has taken.
#[derive(Clone, Default)]
pub struct Postbox {
    pub port: u16,
    tls: Tls,
    heard: Arc<Mutex<Vec<String>>>,
    taken: Arc<Mutex<Vec<String>>>,
    connections: Arc<Mutex<usize>>,
    script: Arc<Mutex<VecDeque<(&'static str, Fault)>>>,
}

impl Postbox {
    /// Starts one. Each fault is used up by the first command that begins with its word; `CONNECT`
    /// and `.` (the end of the data, which has been taken by then) are such words too.
    pub async fn start(script: &[(&'static str, Fault)]) -> Self {
        Self::with_tls(Tls::None, script).await
    }

    /// Starts one that encrypts.
    pub async fn with_tls(tls: Tls, script: &[(&'static str, Fault)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let script = Arc::new(Mutex::new(script.iter().cloned().collect()));
        let postbox = Self { port, tls, script, ..Self::default() };
        let server = postbox.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                *server.connections.lock().expect("count") += 1;
                let server = server.clone();
                // That the other side hangs up is part of the tests.
                tokio::spawn(async move { drop(server.serve(stream).await) });
            }
        });
        postbox
    }

    /// The messages that it has taken, headers and bodies.
    pub fn taken(&self) -> Vec<String> {
        self.taken.lock().expect("taken").clone()
    }

    /// How many connections there have been.
    pub fn connections(&self) -> usize {
        *self.connections.lock().expect("count")
    }

    /// The commands that it has heard, each with `+` before it if it came encrypted.
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().expect("heard").clone()
    }

    async fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut encrypted = matches!(self.tls, Tls::Wrapped(_));
        let mut stream: Stream = BufReader::new(match &self.tls {
            Tls::Wrapped(acceptor) => Box::new(acceptor.accept(stream).await?),
            Tls::None | Tls::Offered(_) => Box::new(stream),
        });
        if !self.react(&mut stream, "CONNECT", "220 test ESMTP\r\n").await? {
            return Ok(());
        }
        let mut line = String::new();
        while stream.read_line(&mut line).await? > 0 {
            let word = line.split([' ', '\r']).next().unwrap_or_default().to_ascii_uppercase();
            self.heard.lock().expect("heard").push(format!("{}{word}", if encrypted { "+" } else { "" }));
            let usual = match word.as_str() {
                "STARTTLS" => "220 2.0.0 go ahead\r\n",
                "EHLO" if self.offers(encrypted) => "250-test\r\n250-STARTTLS\r\n250 8BITMIME\r\n",
                "EHLO" => "250-test\r\n250-AUTH PLAIN LOGIN\r\n250 8BITMIME\r\n",
                "AUTH" => "235 2.7.0 welcome\r\n",
                "DATA" => "354 go on\r\n",
                "QUIT" => "221 bye\r\n",
                _ => "250 2.0.0 ok\r\n",
            };
            if !self.react(&mut stream, &word, usual).await? || word == "QUIT" {
                return Ok(());
            }
            if let ("STARTTLS", Tls::Offered(acceptor)) = (word.as_str(), &self.tls) {
                stream = BufReader::new(Box::new(acceptor.accept(stream.into_inner()).await?));
                encrypted = true;
            }
            if word == "DATA" && !self.data(&mut stream).await? {
                return Ok(());
            }
            line.clear();
        }
        Ok(())
    }

    fn offers(&self, encrypted: bool) -> bool {
        !encrypted && matches!(self.tls, Tls::Offered(_))
    }

    async fn data(&self, stream: &mut Stream) -> std::io::Result<bool> {
        let mut message = String::new();
        while !message.ends_with("\r\n.\r\n") {
            if stream.read_line(&mut message).await? == 0 {
                return Ok(false);
            }
        }
        self.taken.lock().expect("taken").push(message);
        self.react(stream, ".", "250 2.0.0 queued as 42\r\n").await
    }

    /// `false` when it has hung up.
    async fn react(&self, stream: &mut Stream, word: &str, usual: &str) -> std::io::Result<bool> {
        let fault = {
            let mut script = self.script.lock().expect("script");
            let first = script.front().is_some_and(|(on, _)| *on == word);
            first.then(|| script.pop_front()).flatten()
        };
        let reply = match fault {
            Some((_, Fault::HangUp)) => return Ok(false),
            Some((_, Fault::Reply(reply))) => reply,
            Some((_, Fault::Wait { reached, leave })) => {
                reached.notify_one();
                leave.notified().await;
                usual
            }
            None => usual,
        };
        stream.write_all(reply.as_bytes()).await?;
        stream.flush().await?;
        Ok(true)
    }
}
