//! A mail server that counts what it is given, and behaves badly on purpose.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::random::Random;

/// What came for one recipient.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mail {
    /// Messages that were taken, whether or not the sender heard of it.
    pub taken: u32,
    /// How many of them the sender did not hear of, because the line was cut instead of an answer.
    pub unheard: u32,
    /// The `Message-ID`s that they carried.
    pub ids: Vec<String>,
}

/// Takes mail on a port of the loopback. Ends when dropped.
#[derive(Debug)]
pub struct Postbox {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    mail: Mutex<BTreeMap<String, Mail>>,
    random: Mutex<Random>,
    /// How many of a hundred messages are treated badly, until the faults end.
    bad: Mutex<u64>,
}

/// What is done with a message.
#[derive(Debug, Clone, Copy)]
enum Mood {
    Take,
    TakeAndCut,
    Later,
}

impl Postbox {
    /// Treats so many of a hundred messages badly.
    ///
    /// # Panics
    ///
    /// When this machine has no free port.
    pub async fn start(seed: u64, bad: u64) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let port = listener.local_addr().expect("its own port").port();
        let state = Arc::new(State {
            mail: Mutex::default(),
            random: Mutex::new(Random::new(seed ^ 0x006d_6169_6c00)),
            bad: Mutex::new(bad),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&state)));
        Self { port, state, accepting }
    }

    /// From now on it behaves.
    pub fn heal(&self) {
        *self.state.bad.lock().unwrap_or_else(PoisonError::into_inner) = 0;
    }

    /// What came, by recipient.
    pub fn mail(&self) -> BTreeMap<String, Mail> {
        self.state.mail.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Postbox {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl State {
    fn mood(&self) -> Mood {
        let bad = *self.bad.lock().unwrap_or_else(PoisonError::into_inner);
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        match (random.percent(bad), random.percent(50)) {
            (false, _) => Mood::Take,
            (true, true) => Mood::TakeAndCut,
            (true, false) => Mood::Later,
        }
    }

    fn take(&self, recipient: &str, id: String, heard: bool) {
        let mut all = self.mail.lock().unwrap_or_else(PoisonError::into_inner);
        let mail = all.entry(recipient.to_owned()).or_default();
        mail.taken += 1;
        mail.unheard += u32::from(!heard);
        mail.ids.push(id);
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    while let Ok((client, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        // A line that breaks is the client's affair: what it had not finished was not taken.
        tokio::spawn(async move { drop(talk(client, &state).await) });
    }
}

async fn talk(client: TcpStream, state: &State) -> std::io::Result<()> {
    let (from, mut to) = client.into_split();
    let mut lines = BufReader::new(from).lines();
    let mut recipient = String::new();
    to.write_all(b"220 campaign ESMTP\r\n").await?;
    while let Some(line) = lines.next_line().await? {
        let command = line.to_ascii_uppercase();
        if command.starts_with("EHLO") || command.starts_with("HELO") {
            to.write_all(b"250-campaign\r\n250 8BITMIME\r\n").await?;
        } else if command.starts_with("RCPT") {
            recipient = line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
            to.write_all(b"250 fine\r\n").await?;
        } else if command.starts_with("DATA") {
            to.write_all(b"354 go on\r\n").await?;
            let Some(id) = message(&mut lines).await? else { return Ok(()) };
            match state.mood() {
                Mood::Take => {
                    state.take(&recipient, id, true);
                    to.write_all(b"250 taken\r\n").await?;
                }
                Mood::TakeAndCut => {
                    state.take(&recipient, id, false);
                    return Ok(());
                }
                Mood::Later => to.write_all(b"451 not now\r\n").await?,
            }
        } else if command.starts_with("QUIT") {
            return to.write_all(b"221 bye\r\n").await;
        } else {
            to.write_all(b"250 fine\r\n").await?;
        }
    }
    Ok(())
}

/// Reads a message to its final dot, and gives its `Message-ID`. `None` when the line broke before: then nothing
/// was taken.
async fn message(lines: &mut Lines<BufReader<OwnedReadHalf>>) -> std::io::Result<Option<String>> {
    let mut id = String::new();
    while let Some(line) = lines.next_line().await? {
        if line == "." {
            return Ok(Some(id));
        }
        if line.to_ascii_lowercase().starts_with("message-id:") {
            id = line;
        }
    }
    Ok(None)
}
