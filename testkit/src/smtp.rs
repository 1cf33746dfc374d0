//! A mail server on the loopback that keeps what it receives, and misbehaves as a test says.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::random::Random;

/// The word of a script that stands for a new connection.
pub const CONNECT: &str = "CONNECT";

/// The word of a script that stands for the end of a message, which has been received by then.
pub const END: &str = ".";

/// What the server does instead of what it usually does.
#[derive(Debug, Clone)]
pub enum Fault {
    /// It answers this.
    Reply(&'static str),
    /// It hangs up.
    HangUp,
    /// It notifies `reached`, waits for `leave`, then answers as usual.
    Wait {
        /// Notified when the server has come to this.
        reached: Arc<Notify>,
        /// What it waits for.
        leave: Arc<Notify>,
    },
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

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Offered(_) => "Offered",
            Self::Wrapped(_) => "Wrapped",
        })
    }
}

/// What the sender was answered when a message had ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answered {
    /// That it was accepted.
    Accepted,
    /// That it was not.
    Refused,
    /// Nothing: the connection was closed, and the sender cannot know what became of its message.
    Nothing,
}

/// A message that was received whole.
#[derive(Debug, Clone)]
struct Received {
    recipients: Vec<String>,
    text: String,
    answered: Answered,
}

/// What came for one recipient.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mail {
    /// Messages that were accepted, whether or not the sender heard of it.
    pub taken: u32,
    /// How many of them the sender did not hear of, because the connection was closed instead of an answer.
    pub unheard: u32,
    /// The header lines `Message-ID` that they carried.
    pub ids: Vec<String>,
}

/// A server and what it has received. Ends when dropped.
#[derive(Debug)]
pub struct FakeSmtp {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct State {
    tls: Tls,
    script: Mutex<VecDeque<(&'static str, Fault)>>,
    /// How many of a hundred messages are treated badly, and what decides which.
    unreliable: Mutex<Option<(u64, Random)>>,
    heard: Mutex<Vec<String>>,
    received: Mutex<Vec<Received>>,
    connections: Mutex<usize>,
}

impl FakeSmtp {
    /// One with a script. Each fault is used up by the first command that begins with its word; [`CONNECT`] and
    /// [`END`] are such words, too. An empty script is a server that behaves.
    ///
    /// # Panics
    ///
    /// When this machine has no free port.
    pub async fn start(script: &[(&'static str, Fault)]) -> Self {
        Self::with_tls(Tls::None, script).await
    }

    /// The same, and it encrypts.
    ///
    /// # Panics
    ///
    /// When this machine has no free port.
    pub async fn with_tls(tls: Tls, script: &[(&'static str, Fault)]) -> Self {
        let script = Mutex::new(script.iter().cloned().collect());
        Self::with(State { tls, script, ..State::default() }).await
    }

    /// One that treats so many of a hundred messages badly, chosen by the seed: it accepts half of these and hangs up
    /// instead of answering, and puts off the other half.
    ///
    /// # Panics
    ///
    /// When this machine has no free port.
    pub async fn unreliable(seed: u64, of_hundred: u64) -> Self {
        let unreliable = Mutex::new(Some((of_hundred, Random::new(seed))));
        Self::with(State { unreliable, ..State::default() }).await
    }

    async fn with(state: State) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let port = listener.local_addr().expect("its own port").port();
        let state = Arc::new(state);
        let accepting = tokio::spawn(accept(listener, Arc::clone(&state)));
        Self { port, state, accepting }
    }

    /// From now on it behaves.
    pub fn heal(&self) {
        *lock(&self.state.unreliable) = None;
        lock(&self.state.script).clear();
    }

    /// The messages that came to their end, headers and bodies, whatever was answered then.
    pub fn messages(&self) -> Vec<String> {
        lock(&self.state.received).iter().map(|received| received.text.clone()).collect()
    }

    /// What was accepted, by recipient.
    pub fn mail(&self) -> BTreeMap<String, Mail> {
        let mut all: BTreeMap<String, Mail> = BTreeMap::new();
        for received in lock(&self.state.received).iter().filter(|received| received.answered != Answered::Refused) {
            for recipient in &received.recipients {
                let mail = all.entry(recipient.clone()).or_default();
                mail.taken += 1;
                mail.unheard += u32::from(received.answered == Answered::Nothing);
                mail.ids.push(message_id(&received.text));
            }
        }
        all
    }

    /// How many connections there have been.
    pub fn connections(&self) -> usize {
        *lock(&self.state.connections)
    }

    /// The commands that it has heard, each with `+` before it if it came encrypted.
    pub fn heard(&self) -> Vec<String> {
        lock(&self.state.heard).clone()
    }
}

impl Drop for FakeSmtp {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The header line; empty when there is none.
fn message_id(text: &str) -> String {
    let mut headers = text.lines().take_while(|line| !line.is_empty());
    headers.find(|line| line.to_ascii_lowercase().starts_with("message-id:")).unwrap_or_default().to_owned()
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    while let Ok((client, _)) = listener.accept().await {
        *lock(&state.connections) += 1;
        let state = Arc::clone(&state);
        // A connection that breaks is the client's affair: a message that had not ended was not received.
        tokio::spawn(async move { drop(state.serve(client).await) });
    }
}

trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}
type Stream = BufReader<Box<dyn Wire>>;

impl State {
    async fn serve(&self, client: TcpStream) -> std::io::Result<()> {
        let mut encrypted = matches!(self.tls, Tls::Wrapped(_));
        let mut stream: Stream = BufReader::new(match &self.tls {
            Tls::Wrapped(acceptor) => Box::new(acceptor.accept(client).await?),
            Tls::None | Tls::Offered(_) => Box::new(client),
        });
        if !self.react(&mut stream, CONNECT, "220 test ESMTP\r\n").await? {
            return Ok(());
        }
        let (mut line, mut recipients) = (String::new(), Vec::new());
        while stream.read_line(&mut line).await? > 0 {
            let word = line.split([' ', '\r']).next().unwrap_or_default().to_ascii_uppercase();
            lock(&self.heard).push(format!("{}{word}", if encrypted { "+" } else { "" }));
            let fault = self.fault(&word);
            match word.as_str() {
                "MAIL" => recipients.clear(),
                "RCPT" if agrees(fault.as_ref()) => recipients.extend(line.split(['<', '>']).nth(1).map(str::to_owned)),
                _ => {}
            }
            let usual = self.usual(&word, encrypted);
            if !answer(&mut stream, fault, usual).await? || word == "QUIT" {
                return Ok(());
            }
            if let ("STARTTLS", Tls::Offered(acceptor)) = (word.as_str(), &self.tls) {
                stream = BufReader::new(Box::new(acceptor.accept(stream.into_inner()).await?));
                encrypted = true;
            }
            if word == "DATA" && !self.message(&mut stream, &recipients).await? {
                return Ok(());
            }
            line.clear();
        }
        Ok(())
    }

    /// What a server that behaves answers.
    fn usual(&self, word: &str, encrypted: bool) -> &'static str {
        match word {
            "STARTTLS" => "220 2.0.0 go ahead\r\n",
            "EHLO" if !encrypted && matches!(self.tls, Tls::Offered(_)) => {
                "250-test\r\n250-STARTTLS\r\n250 8BITMIME\r\n"
            }
            "EHLO" => "250-test\r\n250-AUTH PLAIN LOGIN\r\n250 8BITMIME\r\n",
            "AUTH" => "235 2.7.0 welcome\r\n",
            "DATA" => "354 go on\r\n",
            "QUIT" => "221 bye\r\n",
            _ => "250 2.0.0 ok\r\n",
        }
    }

    /// Receives a message. `false` when the connection has ended.
    async fn message(&self, stream: &mut Stream, recipients: &[String]) -> std::io::Result<bool> {
        let mut text = String::new();
        while !text.ends_with("\r\n.\r\n") {
            if stream.read_line(&mut text).await? == 0 {
                return Ok(false);
            }
        }
        let fault = self.fault(END);
        let answered = match &fault {
            None | Some(Fault::Wait { .. }) => Answered::Accepted,
            Some(Fault::Reply(reply)) if reply.starts_with('2') => Answered::Accepted,
            Some(Fault::Reply(_)) => Answered::Refused,
            Some(Fault::HangUp) => Answered::Nothing,
        };
        lock(&self.received).push(Received { recipients: recipients.to_vec(), text, answered });
        answer(stream, fault, "250 2.0.0 queued as 42\r\n").await
    }

    async fn react(&self, stream: &mut Stream, word: &str, usual: &str) -> std::io::Result<bool> {
        answer(stream, self.fault(word), usual).await
    }

    /// What the script, or else chance, has for this word.
    fn fault(&self, word: &str) -> Option<Fault> {
        let mut script = lock(&self.script);
        if script.front().is_some_and(|(on, _)| *on == word) {
            return script.pop_front().map(|(_, fault)| fault);
        }
        let mut unreliable = lock(&self.unreliable);
        let (of_hundred, random) = unreliable.as_mut().filter(|_| word == END)?;
        match (random.percent(*of_hundred), random.percent(50)) {
            (false, _) => None,
            (true, true) => Some(Fault::HangUp),
            (true, false) => Some(Fault::Reply("451 4.3.0 not now\r\n")),
        }
    }
}

/// Whether the server takes a recipient.
fn agrees(fault: Option<&Fault>) -> bool {
    match fault {
        None | Some(Fault::Wait { .. }) => true,
        Some(Fault::Reply(reply)) => reply.starts_with('2'),
        Some(Fault::HangUp) => false,
    }
}

/// `false` when the server has hung up.
async fn answer(stream: &mut Stream, fault: Option<Fault>, usual: &str) -> std::io::Result<bool> {
    let reply = match fault {
        Some(Fault::HangUp) => return Ok(false),
        Some(Fault::Reply(reply)) => reply,
        Some(Fault::Wait { reached, leave }) => {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends one message, and gives the answer to its end: `None` when the server has hung up.
    async fn send(server: &FakeSmtp, to: &str, id: &str) -> Option<String> {
        let stream = TcpStream::connect(("127.0.0.1", server.port)).await.expect("connected");
        let mut stream = BufReader::new(stream);
        let message = format!("Message-ID: {id}\r\n\r\nMessage-ID: <in the body>\r\n.\r\n");
        let (rcpt, mut last) = (format!("RCPT TO:<{to}>\r\n"), None);
        for said in ["", "HELO me\r\n", "MAIL FROM:<me@x>\r\n", &rcpt, "DATA\r\n", &message] {
            stream.write_all(said.as_bytes()).await.expect("written");
            let mut line = String::new();
            last = (stream.read_line(&mut line).await.expect("read") > 0).then_some(line);
        }
        last
    }

    #[tokio::test]
    async fn a_message_is_kept_with_its_recipient_its_id_and_what_was_answered() {
        let script = [(END, Fault::Reply("451 later\r\n")), (END, Fault::HangUp)];
        let server = FakeSmtp::start(&script).await;
        assert_eq!(send(&server, "a@x", "<1>").await.as_deref(), Some("451 later\r\n"));
        assert_eq!(send(&server, "a@x", "<2>").await, None);
        assert!(send(&server, "a@x", "<3>").await.is_some_and(|answer| answer.starts_with("250")));
        let ids = ["Message-ID: <2>", "Message-ID: <3>"].map(str::to_owned).to_vec();
        let expected = Mail { taken: 2, unheard: 1, ids };
        assert_eq!(server.mail(), BTreeMap::from([("a@x".to_owned(), expected)]));
        assert_eq!((server.messages().len(), server.connections()), (3, 3));
    }

    #[tokio::test]
    async fn an_unreliable_server_treats_the_same_messages_badly_for_the_same_seed() {
        let answers = async |seed| {
            let server = FakeSmtp::unreliable(seed, 60).await;
            let mut answers = Vec::new();
            for number in 0..12 {
                answers.push(send(&server, "a@x", &format!("<{number}>")).await);
            }
            answers
        };
        let once = answers(1).await;
        assert_eq!(once, answers(1).await);
        assert!(once.contains(&None) && once.iter().flatten().any(|answer| answer.starts_with("451")), "{once:?}");
        let server = FakeSmtp::unreliable(1, 100).await;
        server.heal();
        assert!(send(&server, "a@x", "<1>").await.is_some_and(|answer| answer.starts_with("250")));
    }
}
