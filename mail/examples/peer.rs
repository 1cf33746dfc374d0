//! One side of `scripts/mail_peers`: signs a message for another verifier, or sends one to another server.
//!
//! ```text
//! peer sign KEY.pem [KEY.pem]        a message, signed by each key, to standard output; selectors `k0`, `k1` …
//! peer send PORT ADDRESS [ADDRESS]   to a server on the loopback; one line for each recipient: rule and answer
//! ```

use std::io::Write;
use std::time::Duration;

use gristmill_core::Instant;
use gristmill_mail::compose::{Attachment, Draft, compose, mailbox};
use gristmill_mail::dkim::{Key, Signer, sign};
use gristmill_mail::transport::{Answer, Endpoint, Outgoing, Security, Smtp};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), String> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let said = match arguments.split_first().map(|(verb, rest)| (verb.as_str(), rest)) {
        Some(("sign", keys)) => signed(keys)?,
        Some(("send", [port, addresses @ ..])) => sent(port, addresses).await?.into_bytes(),
        _ => return Err("say `sign` with keys, or `send` with a port and addresses".to_owned()),
    };
    std::io::stdout().write_all(&said).map_err(|error| error.to_string())
}

fn message(addresses: &[String]) -> Result<gristmill_mail::compose::Composed, String> {
    let from = mailbox("from", "Die Mühle <mill@example.com>")?;
    let to = addresses.iter().map(|text| mailbox("to", text)).collect::<Result<Vec<_>, _>>()?;
    let file = Attachment {
        name: "Prüfbericht.csv".to_owned(),
        content_type: None,
        data: b"a,b\r\n.\r\n".to_vec(),
        content_id: None,
    };
    compose(&Draft {
        from: &from,
        reply_to: &[],
        to: &to,
        cc: &[],
        bcc: &[],
        subject: "Grüße, und ein langer Betreff, der über mehr als eine Zeile geht",
        text: Some("Hello. \n.\n..\n\nBye.\n\n\n"),
        html: Some("<p>Hello.</p>"),
        headers: &[],
        attachments: &[file],
        unsubscribe: Some("https://mill.example/unsubscribe/abc"),
        message_id: "<peer@example.com>",
        date: Instant::from_timestamp(1_700_000_000, 0).ok_or("no instant")?,
    })
}

fn signed(keys: &[String]) -> Result<Vec<u8>, String> {
    let signer = |(number, file): (usize, &String)| {
        let pem = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
        Ok::<_, String>(Signer {
            domain: "example.com".to_owned(),
            selector: format!("k{number}"),
            key: Key::from_pem(&pem)?,
        })
    };
    let signers = keys.iter().enumerate().map(signer).collect::<Result<Vec<_>, _>>()?;
    let composed = message(&["ada@example.org".to_owned()])?;
    let all: Vec<&Signer> = signers.iter().collect();
    sign(&composed.bytes, &all, composed.date)
}

async fn sent(port: &str, addresses: &[String]) -> Result<String, String> {
    let composed = message(addresses)?;
    let smtp = Smtp::new(Endpoint {
        host: "127.0.0.1".to_owned(),
        port: port.parse().map_err(|_| "the port is no number")?,
        security: Security::Clear,
        login: None,
        roots: None,
        timeout: Duration::from_secs(10),
        messages_per_connection: 100,
        login_by: gristmill_mail::transport::Login::Any,
        connections: 1,
    })?;
    let letter = Outgoing {
        sender: Some(&composed.sender),
        recipients: &composed.recipients,
        bytes: &composed.bytes,
        envelope_id: "peer",
    };
    let report = smtp.send(&letter, |_| async { Ok(()) }).await;
    let line = |answer: &Answer| match answer {
        Answer::Judged { verdict, .. } => format!("{} {}\n", verdict.rule, answer.masked()),
        Answer::Held { .. } => format!("held {}\n", answer.masked()),
        Answer::CalledOff(why) => format!("called-off {why}\n"),
    };
    Ok(report.answers.iter().map(line).collect())
}
