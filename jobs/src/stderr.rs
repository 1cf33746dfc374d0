//! The standard error of a program: said by the attempt that it works for, and its end kept for messages.
//!
//! A program may serve one attempt after the other, and what it writes lies in the pipe until it is read. So the pipe is
//! emptied before the attempt changes: what was written by then belongs to the one before. A program writes what it has to
//! say of an item before it answers, and the attempt changes after the answers.
//!
//! The log of the process has none of it: a piece may end in the middle of a secret.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gristmill_core::attempt_log::LogSource;
use rustix::io::{ioctl_fionread, read};
use tokio::net::unix::pipe::Receiver;
use tokio::process::ChildStderr;

use crate::attempt_log::{Lines, Voice};
use crate::hidden::{Extent, Secrets};

/// How much of it is shown in messages.
const SHOWN_BYTES: usize = 2_000;

/// How much of it is kept for that: sequences for terminals are not shown.
const TAIL_BYTES: usize = 4 * SHOWN_BYTES;

/// How much of a line whose beginning was dropped is not shown: the name of a value may have been cut off, without which
/// nothing tells that the value is secret.
const UNSURE_BYTES: usize = 200;

/// How much is read at once.
const PIECE_BYTES: usize = 16 * 1024;

/// What reads a standard error. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Listener(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    pipe: Receiver,
    heard: Mutex<Heard>,
}

#[derive(Debug, Default)]
struct Heard {
    /// The attempt that the program works for.
    voice: Option<Voice>,
    lines: Lines,
    /// The end of what was written for it.
    tail: Vec<u8>,
    /// Whether something before it was dropped.
    is_cut: bool,
}

impl Listener {
    /// One of a program that works for an attempt from its start.
    pub(crate) fn new(stderr: ChildStderr, voice: Option<Voice>) -> std::io::Result<Self> {
        let pipe = Receiver::from_owned_fd(stderr.into_owned_fd()?)?;
        let heard = Mutex::new(Heard { voice, ..Heard::default() });
        Ok(Self(Arc::new(Inner { pipe, heard })))
    }

    /// Hears what is written, until the pipe is closed at its other end.
    pub(crate) async fn listen(self) {
        let mut piece = vec![0; PIECE_BYTES];
        while self.0.pipe.readable().await.is_ok() {
            {
                // Read under the lock: pieces keep their order, and are said by the attempt of their time.
                let mut heard = self.heard();
                match self.0.pipe.try_read(&mut piece) {
                    Ok(0) => return heard.end_line(),
                    Ok(bytes) => heard.add(&piece[..bytes]),
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                    Err(_) => return heard.end_line(),
                }
            }
            // A program that writes without end leaves the thread to others.
            tokio::task::yield_now().await;
        }
    }

    /// What is written from now on is said by another attempt, or by none.
    pub(crate) fn speak_for(&self, voice: Option<Voice>) {
        let mut heard = self.heard();
        self.empty(&mut heard);
        heard.end_line();
        // The next attempt does not end with the words of another one.
        *heard = Heard { voice, ..Heard::default() };
    }

    /// Hears what was written until now.
    pub(crate) fn hear_out(&self) {
        let mut heard = self.heard();
        self.empty(&mut heard);
        heard.end_line();
    }

    /// The end of what was written for the attempt, in one line and without secrets.
    pub(crate) fn tail(&self, secrets: &Secrets) -> String {
        self.heard().tail(secrets)
    }

    /// Reads what is in the pipe at this moment. Not through the runtime, which may not have noticed yet that there is
    /// something.
    fn empty(&self, heard: &mut Heard) {
        let pipe = &self.0.pipe;
        let mut left = ioctl_fionread(pipe).map_or(0, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        let mut piece = vec![0; left.min(PIECE_BYTES)];
        while left > 0
            && let Ok(bytes @ 1..) = read(pipe, &mut piece[..])
        {
            heard.add(&piece[..bytes]);
            left = left.saturating_sub(bytes);
        }
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        // Nothing in here can panic halfway.
        self.0.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Heard {
    fn add(&mut self, piece: &[u8]) {
        if let Some(voice) = &self.voice {
            self.lines.add(piece, voice, LogSource::Stderr);
        }
        self.tail.extend_from_slice(piece);
        let surplus = self.tail.len().saturating_sub(TAIL_BYTES);
        self.tail.drain(..surplus);
        self.is_cut |= surplus > 0;
    }

    fn end_line(&mut self) {
        if let Some(voice) = &self.voice {
            self.lines.end(voice, LogSource::Stderr);
        }
    }

    fn tail(&self, secrets: &Secrets) -> String {
        let text = String::from_utf8_lossy(&self.tail);
        let text = match (self.is_cut, text.split_once('\n')) {
            (false, _) => secrets.hide(&text, Extent::Whole),
            // Lines that are whole.
            (true, Some((_, rest))) => secrets.hide(rest, Extent::Whole),
            (true, None) => {
                let text = secrets.hide(&text, Extent::WithoutBeginning);
                let sure = &text[text.ceil_char_boundary(UNSURE_BYTES)..];
                sure.split_once(char::is_whitespace).map_or_else(String::new, |(_, rest)| rest.to_owned())
            }
        };
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let shown = words.ceil_char_boundary(words.len().saturating_sub(SHOWN_BYTES));
        words[shown..].to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets() -> Secrets {
        let mut secrets = Secrets::default();
        secrets.add(["hunter2hunter2".to_owned(), "first line\nsecond line".to_owned()]);
        secrets
    }

    fn tail(pieces: &[&str]) -> String {
        let mut heard = Heard::default();
        pieces.iter().for_each(|piece| heard.add(piece.as_bytes()));
        heard.tail(&secrets())
    }

    #[test]
    fn last_words_are_one_line_without_secrets() {
        assert_eq!(tail(&["one\n", "  two\t three\n"]), "one two three");
        assert_eq!(
            tail(&["it is hun\u{1b}[31mter2", "\u{1b}[0mhunter2\npass\u{1b}[1mword=x\n"]),
            "it is *** password=***"
        );
        assert_eq!(tail(&["key:\nfirst line\nsecond line\n"]), "key: *** ***", "a secret of several lines");
    }

    #[test]
    fn nothing_of_a_secret_is_seen_where_the_beginning_is_dropped() {
        for before in 0..40 {
            let secret = "hunter2hunter2";
            let after = "\u{1b}[0m".repeat((TAIL_BYTES - before) / 4);
            let words = tail(&[&format!("password: hunter4 {secret} {after} {} the end", "more ".repeat(50))]);
            assert!(words.ends_with("the end"), "{before}: {words}");
            assert!(!words.contains("ter"), "{before}: {words}");
        }
        let long = tail(&[&"word ".repeat(TAIL_BYTES)]);
        assert!(long.len() <= SHOWN_BYTES && long.ends_with("word word"));
        let lines = tail(&["token = hunter4 and more\nall is lost\n", &"\u{1b}[0m".repeat((TAIL_BYTES - 20) / 4)]);
        assert_eq!(lines, "all is lost", "of a line that was cut nothing is shown");
    }
}
