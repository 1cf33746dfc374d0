//! One message over SMTP, against a server of a few lines that says what it is told and keeps what it hears.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use gristmill_mail::Address;
use gristmill_mail::classify::{Outcome, Phase, Signal};
use gristmill_mail::transport::{Answer, Endpoint, Login, Outgoing, Report, Security, Smtp};
use gristmill_testkit::smtp::{FakeSmtp, Fault};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

fn smtp(port: u16) -> Smtp {
    Smtp::new(Endpoint {
        host: "127.0.0.1".to_owned(),
        port,
        security: Security::Clear,
        login: None,
        login_by: Login::Any,
        roots: None,
        timeout: Duration::from_secs(20),
        connections: 2,
        messages_per_connection: 100,
    })
    .expect("prepared")
}

async fn send(smtp: &Smtp, recipients: &[&str], bytes: &[u8]) -> Report {
    let sender: Address = "mill@example.com".parse().expect("an address");
    let recipients: Vec<Address> = recipients.iter().map(|text| text.parse().expect("an address")).collect();
    let letter = Outgoing { sender: Some(&sender), recipients: &recipients, bytes, envelope_id: "id+1" };
    smtp.send(&letter, |_| async { Ok(()) }).await
}

fn judged(answer: &Answer) -> (Phase, Outcome, &'static str) {
    match answer {
        Answer::Judged { phase, verdict, .. } => (*phase, verdict.outcome, verdict.rule),
        Answer::CalledOff(why) | Answer::Held { why, .. } => panic!("called off: {why}"),
    }
}

/// A server for one connection: `offers` answers EHLO. After DATA it reads so many bytes and hangs up, or all of it.
async fn server(offers: &'static str, hang_up_after: Option<usize>) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let (port, heard) = (listener.local_addr().expect("its own").port(), Arc::<Mutex<Vec<String>>>::default());
    let keep = Arc::clone(&heard);
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a client");
        let mut stream = BufReader::new(stream);
        stream.write_all(b"220 here\r\n").await.expect("written");
        let mut line = String::new();
        while stream.read_line(&mut line).await.unwrap_or(0) > 0 {
            let said = line.trim_end().to_owned();
            let reply = match said.split(' ').next().unwrap_or_default() {
                "EHLO" => offers,
                "DATA" => "354 go on\r\n",
                _ => "250 ok\r\n",
            };
            keep.lock().expect("not poisoned").push(said.clone());
            stream.write_all(reply.as_bytes()).await.expect("written");
            if said == "DATA" {
                if let Some(bytes) = hang_up_after {
                    let mut some = vec![0; bytes];
                    stream.read_exact(&mut some).await.expect("read");
                    return;
                }
                let mut text = String::new();
                while !text.ends_with("\r\n.\r\n") {
                    stream.read_line(&mut text).await.expect("read");
                }
                keep.lock().expect("not poisoned").push(text);
                stream.write_all(b"250 taken\r\n").await.expect("written");
            }
            line.clear();
        }
    });
    (port, heard)
}

const MESSAGE: &[u8] = b"Subject: Hello\r\n\r\nOne.\r\n.\r\n..two\r\n";

#[tokio::test]
async fn what_a_server_offers_is_used_and_nothing_else_is() {
    let (port, heard) = server("250-here\r\n250-SIZE 1000\r\n250-8BITMIME\r\n250-DSN\r\n250 SMTPUTF8\r\n", None).await;
    let report = send(&smtp(port), &["ada+news@example.org", "jürgen@example.org"], MESSAGE).await;
    assert!(report.answers.iter().all(|answer| judged(answer).1 == Outcome::Accepted), "{report:?}");
    let heard = heard.lock().expect("not poisoned").clone();
    let size = MESSAGE.len();
    let expected = format!("MAIL FROM:<mill@example.com> SMTPUTF8 SIZE={size} RET=HDRS ENVID=id+2B1");
    assert!(heard.contains(&expected), "{heard:?}");
    let ada = "RCPT TO:<ada+news@example.org> NOTIFY=FAILURE,DELAY ORCPT=rfc822;ada+2Bnews@example.org";
    assert!(heard.iter().any(|line| line == ada), "{heard:?}");
    assert!(heard.iter().any(|line| line == "RCPT TO:<jürgen@example.org> NOTIFY=FAILURE,DELAY"), "{heard:?}");
    assert_eq!(heard.last().map(String::as_str), Some("Subject: Hello\r\n\r\nOne.\r\n..\r\n...two\r\n.\r\n"));
    let (port, heard) = server("250-here\r\n250 HELP\r\n", None).await;
    let report = send(&smtp(port), &["ada@example.org", "jürgen@example.org"], MESSAGE).await;
    assert_eq!(judged(&report.answers[0]).1, Outcome::Accepted);
    assert_eq!(judged(&report.answers[1]).2, "does-not-fit-the-server");
    assert!(heard.lock().expect("not poisoned").iter().any(|line| line == "MAIL FROM:<mill@example.com>"));
}

#[tokio::test]
async fn a_message_that_is_too_large_for_the_server_is_not_sent_to_it() {
    let (port, heard) = server("250-here\r\n250 SIZE 20\r\n", None).await;
    let report = send(&smtp(port), &["ada@example.org"], MESSAGE).await;
    assert_eq!(judged(&report.answers[0]).2, "does-not-fit-the-server");
    assert!(!heard.lock().expect("not poisoned").iter().any(|line| line.starts_with("MAIL")));
}

#[tokio::test]
async fn a_connection_that_breaks_before_the_final_dot_leaves_nothing_open_and_one_after_it_does() {
    let large = [b"Subject: Hello\r\n\r\n".to_vec(), b"a line of text\r\n".repeat(2_000_000)].concat();
    let (port, _) = server("250 here\r\n", Some(1_000)).await;
    let report = send(&smtp(port), &["ada@example.org"], &large).await;
    let (phase, outcome, _) = judged(&report.answers[0]);
    assert_eq!(phase, Phase::Body, "{}", report.transcript);
    assert!(matches!(outcome, Outcome::Deferred { .. }), "{outcome:?}");
    let fake = FakeSmtp::start(&[(".", Fault::HangUp)]).await;
    let report = send(&smtp(fake.port), &["ada@example.org"], MESSAGE).await;
    assert_eq!(judged(&report.answers[0]).1, Outcome::Unknown);
    assert_eq!(fake.messages().len(), 1, "and the server has it");
}

#[tokio::test]
async fn a_password_is_in_no_transcript() {
    let fake = FakeSmtp::start(&[]).await;
    let login = Some(("mill".to_owned(), "hunter2".to_owned()));
    let endpoint = Endpoint {
        host: "127.0.0.1".to_owned(),
        port: fake.port,
        security: Security::Clear,
        login,
        login_by: Login::Any,
        roots: None,
        timeout: Duration::from_secs(20),
        connections: 1,
        messages_per_connection: 100,
    };
    assert!(!format!("{endpoint:?}").contains("hunter2"));
    let report = send(&Smtp::new(endpoint).expect("prepared"), &["ada@example.org"], MESSAGE).await;
    assert_eq!(judged(&report.answers[0]).1, Outcome::Accepted, "{}", report.transcript);
    let encoded = ["hunter2", "bWlsbA", "AG1pbGwAaHVudGVyMg"];
    assert!(encoded.iter().all(|secret| !report.transcript.contains(secret)), "{}", report.transcript);
    assert!(report.transcript.contains("C: AUTH PLAIN (not shown)") && report.transcript.contains("S: 235"));
}

#[tokio::test]
async fn nothing_is_sent_when_the_caller_calls_it_off() {
    let fake = FakeSmtp::start(&[]).await;
    let recipients: Vec<Address> = vec!["ada@example.org".parse().expect("an address")];
    let letter = Outgoing { sender: None, recipients: &recipients, bytes: MESSAGE, envelope_id: "" };
    let report = smtp(fake.port).send(&letter, |_| async { Err("no more ours".to_owned()) }).await;
    assert_eq!(report.answers, [Answer::CalledOff("no more ours".to_owned())]);
    assert!(fake.messages().is_empty());
}

#[tokio::test]
async fn a_server_that_is_not_there_is_no_fault_of_a_recipient() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let port = listener.local_addr().expect("its own").port();
    drop(listener);
    let report = send(&smtp(port), &["ada@example.org", "bob@example.org"], MESSAGE).await;
    for answer in &report.answers {
        let Answer::Judged { signal: Signal::Lost { .. }, phase: Phase::Connect, verdict } = answer else {
            panic!("{answer:?}")
        };
        assert!(matches!(verdict.outcome, Outcome::Deferred { .. }));
    }
}

const PIPELINING: &str = "250-here\r\n250-PIPELINING\r\n250 8BITMIME\r\n";

/// A server that offers pipelining: it reads what has come, and answers all of it together. A message is answered after
/// its dot. `answers` are for the words of a group, in order; what they leave out is as usual.
async fn pipelined(answers: &'static [(&'static str, &'static str)]) -> (u16, Arc<Mutex<Vec<Vec<String>>>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let (port, groups) = (listener.local_addr().expect("its own").port(), Arc::<Mutex<Vec<Vec<String>>>>::default());
    let keep = Arc::clone(&groups);
    tokio::spawn(async move {
        let mut left = answers.to_vec();
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.write_all(b"220 here\r\n").await.expect("written");
            let (mut text, mut in_message) = (String::new(), false);
            let mut part = vec![0; 65_536];
            'connection: while let Ok(read @ 1..) = stream.read(&mut part).await {
                text.push_str(std::str::from_utf8(&part[..read]).expect("text"));
                let (mut group, mut reply) = (Vec::new(), String::new());
                while let Some(end) = text.find(if in_message { "\r\n.\r\n" } else { "\r\n" }) {
                    let line: String = text.drain(..end + if in_message { 5 } else { 2 }).collect();
                    let word = if in_message { "." } else { line.split([' ', '\r']).next().unwrap_or_default() };
                    let usual = match word {
                        "EHLO" => PIPELINING,
                        "DATA" => "354 go on\r\n",
                        _ => "250 ok\r\n",
                    };
                    let other = left.iter().position(|(on, _)| *on == word).filter(|at| *at == 0);
                    let answer = other.map_or(usual, |at| left.remove(at).1);
                    if answer.is_empty() {
                        break 'connection;
                    }
                    in_message = word == "DATA" && answer.starts_with("354");
                    reply.push_str(answer);
                    group.push(line.trim_end().to_owned());
                }
                keep.lock().expect("not poisoned").push(group);
                stream.write_all(reply.as_bytes()).await.expect("written");
            }
        }
    });
    (port, groups)
}

#[tokio::test]
async fn several_commands_are_sent_at_once_where_the_server_offers_that() {
    let (port, groups) = pipelined(&[("RCPT", "250 ok\r\n"), ("RCPT", "550 5.1.1 no such user\r\n")]).await;
    let smtp = smtp(port);
    let report = send(&smtp, &["ada@example.org", "bob@example.org"], MESSAGE).await;
    assert_eq!(judged(&report.answers[0]).1, Outcome::Accepted, "{}", report.transcript);
    assert_eq!(judged(&report.answers[1]).2, "no-such-mailbox");
    let report = send(&smtp, &["ada@example.org"], MESSAGE).await;
    assert_eq!(judged(&report.answers[0]).1, Outcome::Accepted, "{}", report.transcript);
    let heard = groups.lock().expect("not poisoned").clone();
    let words = |group: &Vec<String>| -> Vec<String> {
        group.iter().map(|line| line.split(' ').next().unwrap_or_default().to_owned()).collect()
    };
    let asked: Vec<Vec<String>> = heard.iter().map(words).filter(|group| group.contains(&"MAIL".to_owned())).collect();
    assert_eq!(asked, [vec!["MAIL", "RCPT", "RCPT", "DATA"], vec!["MAIL", "RCPT", "DATA"]], "and no RSET between");
}

#[tokio::test]
async fn a_server_that_waits_for_a_message_of_nobody_gets_no_further_command() {
    // After this the server would take the next commands for the message.
    let (port, groups) = pipelined(&[("RCPT", "550 5.1.1 no such user\r\n")]).await;
    let smtp = smtp(port);
    let report = send(&smtp, &["ada@example.org"], MESSAGE).await;
    assert_eq!(judged(&report.answers[0]).2, "no-such-mailbox");
    let report = send(&smtp, &["bob@example.org"], MESSAGE).await;
    assert_eq!(judged(&report.answers[0]).1, Outcome::Accepted, "{}", report.transcript);
    let greeted = groups.lock().expect("not poisoned").iter().flatten().filter(|line| line.starts_with("EHLO")).count();
    assert_eq!(greeted, 4, "another connection");
}

#[tokio::test]
async fn a_refused_sender_is_judged_once_and_the_connection_goes_on_behind_a_reset() {
    static REFUSED: [(&str, &str); 3] =
        [("MAIL", "550 5.7.1 not you\r\n"), ("RCPT", "503 5.5.1 no\r\n"), ("DATA", "503 5.5.1 no\r\n")];
    let (port, groups) = pipelined(&REFUSED).await;
    let smtp = smtp(port);
    let report = send(&smtp, &["ada@example.org"], MESSAGE).await;
    assert_eq!((judged(&report.answers[0]).0, judged(&report.answers[0]).2), (Phase::Mail, "policy"));
    let report = send(&smtp, &["ada@example.org"], MESSAGE).await;
    assert_eq!(judged(&report.answers[0]).1, Outcome::Accepted, "{}", report.transcript);
    let heard = groups.lock().expect("not poisoned").clone();
    assert!(
        heard.iter().any(|group| group.first().is_some_and(|line| line == "RSET") && group.len() == 4),
        "{heard:?}"
    );
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_is_replaced_without_a_word_of_the_message_lost() {
    let (port, groups) = pipelined(&[("DATA", "354 go on\r\n"), (".", "250 taken\r\n"), ("MAIL", "")]).await;
    let smtp = smtp(port);
    for _ in 0..2 {
        let report = send(&smtp, &["ada@example.org"], MESSAGE).await;
        assert_eq!(judged(&report.answers[0]).1, Outcome::Accepted, "{}", report.transcript);
    }
    let taken = groups.lock().expect("not poisoned").iter().flatten().filter(|line| line.ends_with('.')).count();
    assert_eq!(taken, 2);
}

#[tokio::test]
async fn a_server_that_offers_no_way_to_log_in_that_may_be_used_is_our_fault() {
    let fake = FakeSmtp::start(&[]).await;
    let endpoint = Endpoint {
        host: "127.0.0.1".to_owned(),
        port: fake.port,
        security: Security::Clear,
        login: Some(("mill".to_owned(), "a token".to_owned())),
        login_by: Login::Xoauth2,
        roots: None,
        timeout: Duration::from_secs(20),
        connections: 1,
        messages_per_connection: 1,
    };
    let report = send(&Smtp::new(endpoint.clone()).expect("prepared"), &["ada@example.org"], MESSAGE).await;
    let (phase, outcome, _) = judged(&report.answers[0]);
    assert!(phase == Phase::Auth && matches!(outcome, Outcome::OurFault { .. }), "{}", report.transcript);
    let plain = Smtp::new(Endpoint { login_by: Login::Login, ..endpoint }).expect("prepared");
    for _ in 0..2 {
        let report = send(&plain, &["ada@example.org"], MESSAGE).await;
        assert!(report.transcript.contains("C: AUTH LOGIN (not shown)"), "{}", report.transcript);
    }
    assert_eq!(fake.messages().len(), 2, "each on a connection of its own");
}
