//! A mail server that is none: nothing leaves the machine, and the answer is the one that the recipient's address asks for.
//! For tests and for staging; what was sent is looked at with `gristmill mail list` and on the pages.
//!
//! | the address begins with | the server |
//! |---|---|
//! | `bounce` | has no such mailbox (550 5.1.1) |
//! | `full` | has a full mailbox there (452 4.2.2) |
//! | `defer` | asks to come again later (450 4.7.1) |
//! | `refuse` | refuses the message when it has read it (554 5.7.1) |
//! | `unknown` | gives no answer after the final dot |
//! | anything else | takes the message |

use gristmill_mail::Address;
use gristmill_mail::classify::{Phase, Signal};
use gristmill_mail::transport::{Answer, Report};

/// What it is called where a server would be.
pub(super) const PLACE: &str = "the sandbox";

/// What the server says of a recipient.
struct Script {
    /// To `RCPT`. `None`: it agrees.
    named: Option<(u16, &'static str)>,
    /// To the final dot. `None`: it says nothing.
    dot: Option<(u16, &'static str)>,
}

const TAKEN: (u16, &str) = (250, "2.0.0 taken by the sandbox; nothing has left this machine");

fn script(address: &Address) -> Script {
    let refused = |code, text| Script { named: Some((code, text)), dot: None };
    let read = |dot| Script { named: None, dot };
    match address.user().to_ascii_lowercase().as_str() {
        user if user.starts_with("bounce") => refused(550, "5.1.1 no such mailbox"),
        user if user.starts_with("full") => refused(452, "4.2.2 the mailbox is full"),
        user if user.starts_with("defer") => refused(450, "4.7.1 come again later"),
        user if user.starts_with("refuse") => read(Some((554, "5.7.1 the message is refused"))),
        user if user.starts_with("unknown") => read(None),
        _ => read(Some(TAKEN)),
    }
}

/// Answers as the addresses ask. `before_data` runs as for every other server.
pub(super) async fn send<F, R>(recipients: &[Address], before_data: F) -> Report
where
    F: Fn(Vec<usize>) -> R + Send + Sync,
    R: Future<Output = Result<(), String>> + Send,
{
    let scripts: Vec<Script> = recipients.iter().map(script).collect();
    let agreed: Vec<usize> = (0..scripts.len()).filter(|place| scripts[*place].named.is_none()).collect();
    let called_off = if agreed.is_empty() { None } else { before_data(agreed).await.err() };
    let answers = scripts.iter().map(|script| match (&script.named, &called_off) {
        (Some((code, text)), _) => Answer::judged(Phase::Rcpt, reply(*code, text)),
        (None, Some(why)) => Answer::CalledOff(why.clone()),
        (None, None) => Answer::judged(Phase::Dot, script.dot.map_or(Signal::Silent, |(code, text)| reply(code, text))),
    });
    let answers: Vec<Answer> = answers.collect();
    let lines =
        recipients.iter().zip(&answers).map(|(to, answer)| format!("C: RCPT TO:<{to}>\nS: {}", answer.masked()));
    let transcript = lines.collect::<Vec<_>>().join("\n");
    Report { answers, transcript, server: PLACE.to_owned() }
}

fn reply(code: u16, text: &str) -> Signal {
    Signal::Reply { code, text: text.to_owned() }
}
