//! One message over SMTP, recipient by recipient.
//!
//! lettre speaks the commands, but this module sets their order: a refused recipient must not stop the others, each
//! needs its own answer, and the caller must be able to commit "it may now have been sent" between the server's 354 and
//! the data. Nothing is ever sent twice by this module: whatever is not certain is said, and the caller decides.

mod connection;
mod pool;
mod transcript;

use lettre::Address;
use lettre::transport::smtp::commands::{Data, Mail, Rcpt, Rset};
use lettre::transport::smtp::extension::{MailBodyParameter, MailParameter, RcptParameter};

use connection::{Asked, Connection, Failed, describe};
pub use pool::{Endpoint, Login, MESSAGES_PER_CONNECTION, Security, Smtp};
pub use transcript::{Transcript, masked};

use crate::classify::{Blame, Outcome, Phase, Signal, Verdict, blame, classify};
use std::time::Duration;

/// A message and its envelope.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// The address to which refusals go. `None` for messages that must not cause any.
    pub sender: Option<&'a Address>,
    /// The recipients that are still owed.
    pub recipients: &'a [Address],
    /// Headers and body, with CR LF line ends.
    pub bytes: &'a [u8],
    /// What a bounce names the message by (`ENVID`, RFC 3461), where the server offers that: printable ASCII.
    pub envelope_id: &'a str,
}

/// What became of one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The server, or its silence, has decided.
    Judged {
        /// Where the transaction stood.
        phase: Phase,
        /// What happened.
        signal: Signal,
        /// What it means.
        verdict: Verdict,
    },
    /// The caller called it off before any data was sent.
    CalledOff(String),
    /// No server was asked: there is none now that may be, or the recipient's domain has to wait.
    Held {
        /// Why.
        why: String,
        /// For how long.
        wait: Duration,
    },
}

impl Answer {
    /// The verdict over what happened.
    pub fn judged(phase: Phase, signal: Signal) -> Self {
        let verdict = classify(phase, &signal);
        Self::Judged { phase, signal, verdict }
    }

    /// Where the transaction stood.
    pub fn phase(&self) -> Option<Phase> {
        match self {
            Self::Judged { phase, .. } => Some(*phase),
            Self::CalledOff(_) | Self::Held { .. } => None,
        }
    }

    /// Who is behind it, when it was not taken.
    pub fn blame(&self) -> Blame {
        match self {
            Self::Judged { phase, signal, verdict } => blame(*phase, signal, verdict),
            Self::CalledOff(_) | Self::Held { .. } => Blame::Nobody,
        }
    }

    /// Whether another relay may take the message in place of the one that was asked.
    pub fn lets_another_try(&self) -> bool {
        self.phase().is_some_and(|phase| self.blame().lets_another_try(phase))
    }

    /// What the server said when it took the message, if it did.
    pub fn accepted(&self) -> Option<String> {
        match self {
            Self::Judged { verdict, .. } if verdict.outcome == Outcome::Accepted => Some(self.masked()),
            _ => None,
        }
    }

    /// What happened, in one line without addresses.
    pub fn masked(&self) -> String {
        match self {
            Self::Judged { signal, .. } => masked(&describe(signal)),
            Self::CalledOff(why) | Self::Held { why, .. } => why.clone(),
        }
    }
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// For each recipient, in the order of [`Outgoing::recipients`].
    pub answers: Vec<Answer>,
    /// What was said. Addresses are in it, secrets are not.
    pub transcript: String,
    /// The server, `host:port`.
    pub server: String,
}

/// The recipients of a message while it is sent.
struct Ledger<'a> {
    letter: &'a Outgoing<'a>,
    answers: Vec<Option<Answer>>,
}

impl<'a> Ledger<'a> {
    fn new(letter: &'a Outgoing<'a>) -> Self {
        Self { letter, answers: vec![None; letter.recipients.len()] }
    }

    fn owed(&self) -> Vec<usize> {
        (0..self.answers.len()).filter(|index| self.answers[*index].is_none()).collect()
    }

    fn judge(&mut self, of: &[usize], phase: Phase, signal: &Signal) {
        for index in of {
            self.answers[*index] = Some(Answer::judged(phase, signal.clone()));
        }
    }

    fn report(self, transcript: &Transcript, server: String) -> Report {
        let unasked = || Answer::CalledOff("the server was not asked".to_owned());
        let answers = self.answers.into_iter().map(|answer| answer.unwrap_or_else(unasked)).collect();
        Report { answers, transcript: transcript.text(), server }
    }
}

/// How one transaction ended for the connection that carried it.
enum After {
    /// It may carry another.
    Usable,
    /// It is of no more use.
    Over,
    /// It was of no use any more before it began.
    Stale,
}

impl Smtp {
    /// Sends a message: connect or reuse, MAIL, a RCPT for each recipient, DATA, `before_data`, the data. `before_data`
    /// gets the recipients that the server takes (by their places), runs when it has agreed to take the message and
    /// before any byte of it is sent; when it fails, nothing is sent.
    ///
    /// A server that takes only so many recipients at once gets the message again for the others.
    pub async fn send<F, R>(&self, letter: &Outgoing<'_>, before_data: F) -> Report
    where
        F: Fn(Vec<usize>) -> R + Send + Sync,
        R: Future<Output = Result<(), String>> + Send,
    {
        let mut ledger = Ledger::new(letter);
        let _slot = self.slot().await;
        let mut line = match self.connection().await {
            Ok(line) => line,
            Err((failed, transcript)) => return self.unreached(ledger, &failed, &transcript),
        };
        unfit(&mut ledger, &line);
        let mut usable = true;
        while usable && !ledger.owed().is_empty() {
            let before = ledger.owed().len();
            match self.transaction(&mut line, &mut ledger, &before_data).await {
                After::Usable => {}
                After::Over => usable = false,
                // The server has closed it while it was idle: it has heard nothing of this message.
                After::Stale => {
                    line = match self.fresh().await {
                        Ok(line) => line,
                        Err((failed, transcript)) => return self.unreached(ledger, &failed, &transcript),
                    };
                    unfit(&mut ledger, &line);
                    continue;
                }
            }
            // A server that takes none of them in a whole transaction will not take more in the next.
            usable &= ledger.owed().len() < before;
            if usable && !ledger.owed().is_empty() && !line.offers.pipelining {
                // Whatever the last one left open is over.
                usable = line.ask(Phase::Hello, "RSET", Rset).await.is_ok();
            }
        }
        let transcript = line.transcript.clone();
        if usable {
            self.keep(line);
        }
        ledger.report(&transcript, self.server())
    }

    fn unreached(&self, mut ledger: Ledger<'_>, failed: &Failed, transcript: &Transcript) -> Report {
        let all = ledger.owed();
        ledger.judge(&all, failed.phase, &failed.signal);
        ledger.report(transcript, self.server())
    }

    async fn transaction<F, R>(&self, line: &mut Connection, ledger: &mut Ledger<'_>, before_data: &F) -> After
    where
        F: Fn(Vec<usize>) -> R + Send + Sync,
        R: Future<Output = Result<(), String>> + Send,
    {
        let was_idle = std::mem::take(&mut line.was_idle);
        let agreed = if line.offers.pipelining {
            agree_together(line, ledger, was_idle).await
        } else {
            agree_one_by_one(line, ledger).await
        };
        line.clean = false;
        let taken = match agreed {
            Ok(taken) => taken,
            Err(after) => return after,
        };
        if let Err(reason) = before_data(taken.clone()).await {
            line.transcript.note("called off before the data");
            for index in taken {
                ledger.answers[index] = Some(Answer::CalledOff(reason.clone()));
            }
            // The server waits for data. Only dropping the connection shows it that none will come.
            return After::Over;
        }
        match line.message(ledger.letter.bytes).await {
            Ok(response) => {
                let (code, lines): (_, Vec<&str>) = (u16::from(response.code()), response.message().collect());
                ledger.judge(&taken, Phase::Dot, &Signal::Reply { code, text: lines.join(" ") });
                (line.messages, line.clean) = (line.messages + 1, true);
                After::Usable
            }
            Err(failed) => failed_for(ledger, &taken, &failed),
        }
    }
}

/// Asks for one thing after the other, up to the agreement to take the message. Returns whom it is taken for.
async fn agree_one_by_one(line: &mut Connection, ledger: &mut Ledger<'_>) -> Result<Vec<usize>, After> {
    let owed = ledger.owed();
    let letter = ledger.letter;
    let mail = Mail::new(letter.sender.cloned(), mail_parameters(letter, line, &owed));
    if let Err(failed) = line.ask(Phase::Mail, "MAIL", mail).await {
        return Err(failed_for(ledger, &owed, &failed));
    }
    let mut taken = Vec::new();
    for index in &owed {
        let recipient = &letter.recipients[*index];
        let rcpt = Rcpt::new(recipient.clone(), rcpt_parameters(recipient, line));
        let answer = line.ask(Phase::Rcpt, "RCPT", rcpt).await;
        named(ledger, &mut taken, *index, answer)?;
    }
    if taken.is_empty() {
        return Err(After::Usable);
    }
    match line.ask(Phase::Data, "DATA", Data).await.and_then(agreed) {
        Ok(()) => Ok(taken),
        Err(failed) => Err(failed_for(ledger, &taken, &failed)),
    }
}

/// Asks for all of it at once (RFC 2920), beginning with the end of what the last transaction may have left open.
async fn agree_together(line: &mut Connection, ledger: &mut Ledger<'_>, was_idle: bool) -> Result<Vec<usize>, After> {
    let owed = ledger.owed();
    let letter = ledger.letter;
    let mut asked = Vec::with_capacity(owed.len() + 3);
    if !line.clean {
        asked.push(Asked::new(Phase::Hello, Rset));
    }
    asked.push(Asked::new(Phase::Mail, Mail::new(letter.sender.cloned(), mail_parameters(letter, line, &owed))));
    for index in &owed {
        let recipient = &letter.recipients[*index];
        asked.push(Asked::new(Phase::Rcpt, Rcpt::new(recipient.clone(), rcpt_parameters(recipient, line))));
    }
    asked.push(Asked::new(Phase::Data, Data));
    let mut answers = line.ask_together(&asked).await;
    let nothing = || Err(Failed::new(Phase::Data, Signal::Silent));
    let data = answers.pop().unwrap_or_else(nothing).and_then(agreed);
    let mut answers = answers.into_iter();
    let mut next = || answers.next().unwrap_or_else(nothing);
    let first = next();
    if was_idle && first.as_ref().is_err_and(Failed::ends_the_connection) {
        return Err(After::Stale);
    }
    let mail = if line.clean { first } else { first.and_then(|_| next()) };
    if let Err(failed) = mail {
        let after = failed_for(ledger, &owed, &failed);
        return Err(if data.is_ok() { After::Over } else { after });
    }
    let mut taken = Vec::new();
    for index in &owed {
        named(ledger, &mut taken, *index, next())?;
    }
    match (data, taken.is_empty()) {
        (Ok(()), false) => Ok(taken),
        // It waits for a message that no recipient gets, and would take the next commands for it.
        (Ok(()), true) => Err(After::Over),
        (Err(failed), true) if !failed.ends_the_connection() => Err(After::Usable),
        (Err(failed), _) => Err(failed_for(ledger, &taken, &failed)),
    }
}

/// Notes what was answered to a recipient. One that the server would take in a message of its own stays owed. An error
/// when the connection is over: nothing was sent to those that it had taken so far either.
fn named<T>(
    ledger: &mut Ledger<'_>,
    taken: &mut Vec<usize>,
    index: usize,
    answer: Result<T, Failed>,
) -> Result<(), After> {
    match answer {
        Ok(_) => taken.push(index),
        Err(failed) if failed.ends_the_connection() => {
            let owed = ledger.owed();
            return Err(failed_for(ledger, &owed, &failed));
        }
        Err(failed) => {
            let verdict = classify(failed.phase, &failed.signal);
            let too_many = verdict.rule == "too-many-recipients" && !taken.is_empty();
            if !too_many {
                ledger.judge(&[index], failed.phase, &failed.signal);
            }
        }
    }
    Ok(())
}

fn failed_for(ledger: &mut Ledger<'_>, of: &[usize], failed: &Failed) -> After {
    ledger.judge(of, failed.phase, &failed.signal);
    if failed.ends_the_connection() {
        // Those that it would have taken in another message are not asked any more.
        let rest = ledger.owed();
        ledger.judge(&rest, Phase::Rcpt, &failed.signal);
        return After::Over;
    }
    After::Usable
}

/// An answer to DATA that is not 354 is no agreement, although it refuses nothing.
fn agreed(response: lettre::transport::smtp::response::Response) -> Result<(), Failed> {
    let (code, lines): (_, Vec<&str>) = (u16::from(response.code()), response.message().collect());
    let signal = Signal::Reply { code, text: lines.join(" ") };
    match classify(Phase::Data, &signal).outcome {
        Outcome::Accepted => Ok(()),
        _ => Err(Failed::new(Phase::Data, signal)),
    }
}

/// Judges what this server could never take, without asking it.
fn unfit(ledger: &mut Ledger<'_>, line: &Connection) {
    let (letter, offers) = (ledger.letter, line.offers);
    let mut judge = |of: &[usize], why: &str| {
        ledger.judge(of, Phase::Mail, &Signal::Unfit { why: why.to_owned() });
    };
    let all: Vec<usize> = (0..letter.recipients.len()).collect();
    if let Some(most) = offers.size.filter(|most| *most > 0 && letter.bytes.len() > *most) {
        return judge(&all, &format!("the message has {} bytes, and the server takes {most}", letter.bytes.len()));
    }
    if !offers.utf8 {
        let head = letter.bytes.split(|byte| *byte == b'\n').take_while(|line| *line != b"\r");
        let foreign = |address: &Address| !AsRef::<str>::as_ref(address).is_ascii();
        if letter.sender.is_some_and(foreign) || head.clone().any(|line| !line.is_ascii()) {
            return judge(&all, "an address in it is not ASCII, and the server does not know SMTPUTF8");
        }
        let some: Vec<usize> = all.iter().copied().filter(|index| foreign(&letter.recipients[*index])).collect();
        judge(&some, "the address is not ASCII, and the server does not know SMTPUTF8");
    }
    if !offers.eight_bit && !letter.bytes.is_ascii() {
        judge(&all, "the message is not ASCII, and the server does not know 8BITMIME");
    }
}

fn mail_parameters(letter: &Outgoing<'_>, line: &Connection, owed: &[usize]) -> Vec<MailParameter> {
    let offers = line.offers;
    let mut parameters = Vec::new();
    let foreign = |address: &Address| !AsRef::<str>::as_ref(address).is_ascii();
    let recipients = owed.iter().any(|index| foreign(&letter.recipients[*index]));
    if offers.utf8 && (recipients || letter.sender.is_some_and(foreign) || !letter.bytes.is_ascii()) {
        parameters.push(MailParameter::SmtpUtfEight);
    }
    if offers.eight_bit && !letter.bytes.is_ascii() {
        parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
    }
    if offers.size.is_some() {
        parameters.push(MailParameter::Size(letter.bytes.len()));
    }
    if offers.dsn {
        // A bounce with the headers alone says all that its parser reads, and is not as long as the message.
        let other = |keyword: &str, value: &str| MailParameter::Other {
            keyword: keyword.to_owned(),
            value: Some(value.to_owned()),
        };
        parameters.push(other("RET", "HDRS"));
        if !letter.envelope_id.is_empty() && letter.envelope_id.len() <= 100 {
            parameters.push(other("ENVID", letter.envelope_id));
        }
    }
    parameters
}

fn rcpt_parameters(recipient: &Address, line: &Connection) -> Vec<RcptParameter> {
    if !line.offers.dsn {
        return Vec::new();
    }
    let other = |keyword: &str, value: String| RcptParameter::Other { keyword: keyword.to_owned(), value: Some(value) };
    let mut parameters = vec![other("NOTIFY", "FAILURE,DELAY".to_owned())];
    let address: &str = recipient.as_ref();
    // An address outside of ASCII would need the form of RFC 6533, which few servers know.
    if address.is_ascii() {
        parameters.push(other("ORCPT", format!("rfc822;{address}")));
    }
    parameters
}
