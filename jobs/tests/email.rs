//! Emails against a mail server that misbehaves according to a script, with a real store.

mod fixtures;

use std::sync::Arc;
use std::time::Duration;

use fixtures::TestEnv;
use gristmill_core::letter::RecipientState;
use gristmill_core::settle::Ending;
use gristmill_jobs::kind::email::EmailHandler;
use gristmill_jobs::mail::Transport;
use gristmill_jobs::settings::{DkimSettings, MailSettings, StartTls, Uncertain};
use gristmill_jobs::{Finish, Handler};
use gristmill_store::EmailState;
use gristmill_testkit::smtp::{FakeSmtp, Fault};
use serde_json::{Value, json};
use tokio::sync::Notify;

fn settings(smtp: &FakeSmtp) -> MailSettings {
    MailSettings {
        url: format!("smtp://127.0.0.1:{}", smtp.port),
        from: "Mill <mill@example.com>".to_owned(),
        starttls: StartTls::Never,
        ..MailSettings::default()
    }
}

fn hello() -> Value {
    json!({"to": "ada@example.org", "subject": "Hello", "text": "Line one.\n.\nLine three.\n"})
}

async fn attempt(env: &TestEnv, settings: &MailSettings) -> (Finish, EmailState) {
    let handler = EmailHandler::new(settings).expect("a handler");
    let context = env.claim("email", hello()).await;
    let finish = handler.run(context.clone()).await;
    (finish, env.email(&context).await)
}

fn error(finish: &Finish) -> &str {
    finish.error.as_deref().unwrap_or_default()
}

const AGAIN: Ending = Ending::Failed { retry_after: None };

/// No server could be asked.
const UNASKED: Ending = Ending::Snoozed { wait: Duration::from_secs(15) };

#[tokio::test]
async fn a_message_is_sent_once_however_often_its_job_runs() {
    let (env, smtp) = (TestEnv::new().await, FakeSmtp::start(&[]).await);
    let handler = EmailHandler::new(&settings(&smtp)).expect("a handler");
    let first = env.claim("email", hello()).await;
    assert_eq!(handler.run(first.clone()).await.ending, Ending::Done);
    assert_eq!(env.email(&first).await, EmailState::Sent);
    let second = env.again(&first).await;
    assert_eq!(handler.run(second).await.ending, Ending::Done);
    let taken = smtp.messages();
    assert_eq!(taken.len(), 1);
    assert!(taken[0].contains("Subject: Hello\r\n") && taken[0].contains("\r\n..\r\n"), "{}", taken[0]);
}

#[tokio::test]
async fn it_may_have_been_sent_is_written_down_before_the_first_byte_of_it() {
    let env = TestEnv::new().await;
    let (at_rcpt, go_rcpt, at_dot, go_dot): (Arc<Notify>, Arc<Notify>, Arc<Notify>, Arc<Notify>) = Default::default();
    let script = [
        ("RCPT", Fault::Wait { reached: Arc::clone(&at_rcpt), leave: Arc::clone(&go_rcpt) }),
        (".", Fault::Wait { reached: Arc::clone(&at_dot), leave: Arc::clone(&go_dot) }),
    ];
    let smtp = FakeSmtp::start(&script).await;
    let handler = EmailHandler::new(&settings(&smtp)).expect("a handler");
    let context = env.claim("email", hello()).await;
    let running = tokio::spawn({
        let context = context.clone();
        async move { handler.run(context).await }
    });
    at_rcpt.notified().await;
    assert_eq!(env.email(&context).await, EmailState::Pending);
    go_rcpt.notify_one();
    at_dot.notified().await;
    assert_eq!(env.email(&context).await, EmailState::Sending);
    go_dot.notify_one();
    assert_eq!(running.await.expect("ran").ending, Ending::Done);
    assert_eq!(env.email(&context).await, EmailState::Sent);
}

#[tokio::test]
async fn nothing_is_sent_when_the_job_has_become_another_attempts() {
    let env = TestEnv::new().await;
    let (reached, leave): (Arc<Notify>, Arc<Notify>) = Default::default();
    let script = [("DATA", Fault::Wait { reached: Arc::clone(&reached), leave: Arc::clone(&leave) })];
    let smtp = FakeSmtp::start(&script).await;
    let handler = EmailHandler::new(&settings(&smtp)).expect("a handler");
    let context = env.claim("email", hello()).await;
    let running = tokio::spawn({
        let context = context.clone();
        async move { handler.run(context).await }
    });
    reached.notified().await;
    let other = env.again(&context).await;
    leave.notify_one();
    let finish = running.await.expect("ran");
    assert_eq!(finish.ending, AGAIN);
    assert!(error(&finish).contains("another attempt"), "{}", error(&finish));
    assert_eq!((smtp.messages().len(), env.email(&other).await), (0, EmailState::Pending));
}

#[tokio::test]
async fn what_the_server_refuses_for_now_is_tried_again() {
    for (on, reply, wait) in [
        ("RCPT", "450 4.2.0 greylisted, try again in 120 seconds\r\n", Some(130)),
        (".", "451 4.3.0 disk trouble\r\n", None),
    ] {
        let (env, smtp) = (TestEnv::new().await, FakeSmtp::start(&[(on, Fault::Reply(reply))]).await);
        let (finish, state) = attempt(&env, &settings(&smtp)).await;
        assert_eq!(finish.ending, Ending::Failed { retry_after: wait.map(Duration::from_secs) }, "{on}");
        assert_eq!(state, EmailState::Pending, "{on}");
    }
}

#[tokio::test]
async fn what_the_server_refuses_for_good_is_permanent() {
    for on in ["MAIL", "RCPT", "DATA", "."] {
        let reply = Fault::Reply("550 5.1.1 <ada@example.org> is unknown here\r\n");
        let (env, smtp) = (TestEnv::new().await, FakeSmtp::start(&[(on, reply)]).await);
        let (finish, state) = attempt(&env, &settings(&smtp)).await;
        assert_eq!((finish.ending, state), (Ending::Permanent, EmailState::Failed), "{on}");
        assert!(error(&finish).contains("550") && !error(&finish).contains("ada@"), "{}", error(&finish));
    }
}

#[tokio::test]
async fn a_connection_lost_before_the_data_leaves_nothing_open() {
    for on in ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA"] {
        let (env, smtp) = (TestEnv::new().await, FakeSmtp::start(&[(on, Fault::HangUp)]).await);
        let (finish, state) = attempt(&env, &settings(&smtp)).await;
        let ending = if matches!(on, "CONNECT" | "EHLO") { UNASKED } else { AGAIN };
        assert_eq!((finish.ending, state), (ending, EmailState::Pending), "{on}: {}", error(&finish));
    }
}

#[tokio::test]
async fn a_server_that_cannot_be_asked_spends_no_attempt_however_often() {
    for reply in ["421 4.3.2 shutting down\r\n", "554 5.7.1 go away\r\n"] {
        let (env, smtp) = (TestEnv::new().await, FakeSmtp::start(&[("CONNECT", Fault::Reply(reply))]).await);
        let (finish, state) = attempt(&env, &settings(&smtp)).await;
        assert_eq!((finish.ending, state), (UNASKED, EmailState::Pending), "{reply}");
        assert!(finish.unbounded && error(&finish).contains(&reply[..3]), "{}", error(&finish));
    }
}

#[tokio::test]
async fn a_message_that_may_have_arrived_is_sent_again_with_the_same_bytes() {
    let (env, smtp) = (TestEnv::new().await, FakeSmtp::start(&[(".", Fault::HangUp)]).await);
    let handler = EmailHandler::new(&settings(&smtp)).expect("a handler");
    let first = env.claim("email", hello()).await;
    assert_eq!(handler.run(first.clone()).await.ending, AGAIN);
    assert_eq!(env.email(&first).await, EmailState::Uncertain);
    let second = env.again(&first).await;
    assert_eq!(handler.run(second.clone()).await.ending, Ending::Done);
    assert_eq!(env.email(&second).await, EmailState::Sent);
    let taken = smtp.messages();
    assert_eq!(taken.len(), 2);
    assert_eq!(taken[0], taken[1]);
}

#[tokio::test]
async fn a_message_that_may_have_arrived_is_held_if_so_configured() {
    let (env, smtp) = (TestEnv::new().await, FakeSmtp::start(&[(".", Fault::HangUp)]).await);
    let held = MailSettings { uncertain: Uncertain::Hold, ..settings(&smtp) };
    let handler = EmailHandler::new(&held).expect("a handler");
    let first = env.claim("email", hello()).await;
    let finish = handler.run(first.clone()).await;
    assert_eq!(finish.ending, Ending::Permanent);
    assert!(error(&finish).contains("mail.uncertain"), "{}", error(&finish));
    // The worker may die before that is settled: the next attempt must not send either.
    let second = env.again(&first).await;
    assert_eq!(handler.run(second.clone()).await.ending, Ending::Permanent);
    assert_eq!((smtp.messages().len(), env.email(&second).await), (1, EmailState::Uncertain));
}

#[tokio::test]
async fn our_own_faults_never_give_up_anybodys_mail() {
    let smtp = FakeSmtp::start(&[("AUTH", Fault::Reply("535 5.7.8 wrong password\r\n"))]).await;
    let env = TestEnv::new().await;
    let password = env.folder.path().join("password");
    std::fs::write(&password, "hunter2\n").expect("written");
    let with_user = MailSettings {
        url: format!("smtp://mill@127.0.0.1:{}", smtp.port),
        password_file: Some(password.display().to_string()),
        ..settings(&smtp)
    };
    let (finish, state) = attempt(&env, &with_user).await;
    let pause = Ending::Snoozed { wait: Duration::from_secs(300) };
    assert_eq!((finish.ending, state), (pause, EmailState::Pending), "no attempt is spent");
    assert!(error(&finish).contains("password_env") && !error(&finish).contains("hunter2"), "{}", error(&finish));
}

#[tokio::test]
async fn a_server_without_starttls_gets_nothing_when_it_is_required() {
    let (env, smtp) = (TestEnv::new().await, FakeSmtp::start(&[]).await);
    let strict = MailSettings { starttls: StartTls::Required, ..settings(&smtp) };
    let (finish, _) = attempt(&env, &strict).await;
    assert_eq!(finish.ending, UNASKED);
    assert!(error(&finish).contains("STARTTLS") && smtp.messages().is_empty(), "{}", error(&finish));
}

#[tokio::test]
async fn messages_share_a_connection() {
    let (env, smtp) = (TestEnv::new().await, FakeSmtp::start(&[]).await);
    let handler = EmailHandler::new(&settings(&smtp)).expect("a handler");
    for _ in 0..3 {
        let context = env.claim("email", hello()).await;
        assert_eq!(handler.run(context).await.ending, Ending::Done);
    }
    assert_eq!((smtp.messages().len(), smtp.connections()), (3, 1));
}

#[tokio::test]
async fn a_connection_that_the_server_has_closed_meanwhile_is_replaced() {
    let (env, smtp) = (TestEnv::new().await, FakeSmtp::start(&[("RSET", Fault::HangUp)]).await);
    let handler = EmailHandler::new(&settings(&smtp)).expect("a handler");
    for _ in 0..2 {
        let context = env.claim("email", hello()).await;
        assert_eq!(handler.run(context).await.ending, Ending::Done);
    }
    assert_eq!((smtp.messages().len(), smtp.connections()), (2, 2));
}

fn states(record: &gristmill_store::EmailRecord) -> Vec<RecipientState> {
    record.recipients.iter().map(|one| one.state).collect()
}

fn several() -> Value {
    json!({
        "to": ["ada@example.org", "bob@example.org"], "cc": "carol@example.org", "bcc": ["dora@example.org"],
        "subject": "Hello", "html": "<p>Hello, <b>all</b>.</p>", "headers": {"X-Campaign": "spring"},
        "attachments": [{"name": "report.csv", "content": "YSxiCg=="}],
    })
}

#[tokio::test]
async fn each_recipient_has_its_own_answer_and_only_those_that_are_owed_are_asked_again() {
    let script = [
        ("RCPT", Fault::Reply("250 ok\r\n")),
        ("RCPT", Fault::Reply("550 5.1.1 no such user\r\n")),
        ("RCPT", Fault::Reply("450 4.2.0 greylisted\r\n")),
    ];
    let (env, smtp) = (TestEnv::new().await, FakeSmtp::start(&script).await);
    let handler = EmailHandler::new(&settings(&smtp)).expect("a handler");
    let first = env.claim("email", several()).await;
    let finish = handler.run(first.clone()).await;
    assert_eq!(finish.ending, Ending::Failed { retry_after: Some(Duration::from_secs(300)) }, "{}", error(&finish));
    assert!(error(&finish).contains("1 of 4 recipients") && !error(&finish).contains('@'), "{}", error(&finish));
    let expected = [RecipientState::Sent, RecipientState::Bounced, RecipientState::Deferred, RecipientState::Sent];
    assert_eq!(states(&env.record(&first).await), expected);
    let said = env.attempts(&first).await.remove(0).transcript;
    assert!(said.contains("S: 550 5.1.1 no such user"), "{said}");
    let second = env.again(&first).await;
    let finish = handler.run(second.clone()).await;
    assert_eq!(finish.ending, Ending::Permanent, "one of them will not get it: {}", error(&finish));
    let expected = [RecipientState::Sent, RecipientState::Bounced, RecipientState::Sent, RecipientState::Sent];
    assert_eq!(states(&env.record(&second).await), expected);
    let mail = smtp.mail();
    let taken: Vec<(&str, u32)> = mail.iter().map(|(to, mail)| (to.as_str(), mail.taken)).collect();
    assert_eq!(taken, [("ada@example.org", 1), ("carol@example.org", 1), ("dora@example.org", 1)]);
    let messages = smtp.messages();
    assert_eq!(messages.len(), 2);
    assert_eq!(messages[0], messages[1], "the same bytes");
    assert!(!messages[0].contains("dora@") && messages[0].contains("X-Campaign: spring"), "{}", messages[0]);
    assert!(messages[0].contains("Hello, all.") && messages[0].contains("filename=\"report.csv\""), "{}", messages[0]);
    // The job was released between the two, so that both were its first attempt: what was said last stands.
    let attempts = env.attempts(&second).await;
    assert_eq!((attempts.len(), attempts[0].transcript.matches("S: 550").count()), (1, 0));
}

#[tokio::test]
async fn the_sandbox_answers_as_the_addresses_ask_and_sends_nothing() {
    let env = TestEnv::new().await;
    let settings = MailSettings { url: "sandbox://".to_owned(), uncertain: Uncertain::Hold, ..MailSettings::default() };
    let handler = EmailHandler::new(&settings).expect("a handler");
    let to = ["ada", "bounce-1", "full", "defer", "refuse", "unknown"].map(|user| format!("{user}@example.org"));
    let context = env.claim("email", json!({"to": to, "subject": "Hello", "text": "You."})).await;
    handler.run(context.clone()).await;
    use RecipientState::{Bounced, Deferred, Sent, Unknown};
    assert_eq!(states(&env.record(&context).await), [Sent, Bounced, Deferred, Deferred, Bounced, Unknown]);
    let said = env.attempts(&context).await.remove(0);
    assert_eq!(said.server, "the sandbox");
    assert!(said.transcript.contains("550 5.1.1"), "{}", said.transcript);
}

#[tokio::test]
async fn in_staging_everything_goes_to_one_address() {
    let (env, smtp) = (TestEnv::new().await, FakeSmtp::start(&[]).await);
    let settings = MailSettings { redirect_to: Some("qa@example.com".to_owned()), ..settings(&smtp) };
    let handler = EmailHandler::new(&settings).expect("a handler");
    assert_eq!(handler.run(env.claim("email", several()).await).await.ending, Ending::Done);
    assert_eq!(smtp.mail().keys().collect::<Vec<_>>(), ["qa@example.com"]);
    assert!(smtp.messages()[0].contains("bob@example.org"), "its headers name them: {}", smtp.messages()[0]);
}

#[tokio::test]
async fn what_has_expired_is_not_sent_any_more() {
    let (env, smtp) = (TestEnv::new().await, FakeSmtp::start(&[("RCPT", Fault::Reply("450 4.2.0 later\r\n"))]).await);
    let handler = EmailHandler::new(&settings(&smtp)).expect("a handler");
    let code = json!({"to": "ada@example.org", "subject": "Your code", "text": "1234", "expires_in": "1h"});
    let mut context = env.claim("email", code).await;
    assert!(matches!(handler.run(context.clone()).await.ending, Ending::Failed { .. }));
    context.job.started_at += chrono::TimeDelta::hours(2);
    let finish = handler.run(context.clone()).await;
    assert_eq!(finish.ending, Ending::Permanent);
    assert!(error(&finish).contains("not sent within 1h"), "{}", error(&finish));
    assert_eq!(states(&env.record(&context).await), [RecipientState::Expired]);
    assert_eq!(smtp.messages().len(), 0);
}

#[tokio::test]
async fn an_address_without_a_mailbox_gets_nothing_more() {
    let script = [("RCPT", Fault::Reply("550 5.1.1 no such user\r\n"))];
    let (env, smtp) = (TestEnv::new().await, FakeSmtp::start(&script).await);
    let handler = EmailHandler::new(&settings(&smtp)).expect("a handler");
    assert_eq!(handler.run(env.claim("email", hello()).await).await.ending, Ending::Permanent);
    let other = json!({"to": "ADA@Example.org", "subject": "Hello", "text": "again"});
    let context = env.claim("email", other).await;
    let finish = handler.run(context.clone()).await;
    assert_eq!((finish.ending, finish.output.expect("an output")["suppressed"].as_u64()), (Ending::Done, Some(1)));
    assert_eq!(states(&env.record(&context).await), [RecipientState::Suppressed]);
    assert_eq!(smtp.messages().len(), 0);
}

#[tokio::test]
async fn a_server_that_takes_few_recipients_at_once_gets_the_message_again_for_the_others() {
    let script = [("RCPT", Fault::Reply("250 ok\r\n")), ("RCPT", Fault::Reply("452 4.5.3 too many recipients\r\n"))];
    let (env, smtp) = (TestEnv::new().await, FakeSmtp::start(&script).await);
    let handler = EmailHandler::new(&settings(&smtp)).expect("a handler");
    let context = env.claim("email", several()).await;
    let finish = handler.run(context.clone()).await;
    assert_eq!(finish.ending, Ending::Done, "{}", error(&finish));
    assert_eq!(states(&env.record(&context).await), [RecipientState::Sent; 4]);
    assert_eq!((smtp.messages().len(), smtp.connections()), (2, 1));
    assert!(smtp.mail().values().all(|mail| mail.taken == 1), "{:?}", smtp.mail());
}

#[tokio::test]
async fn a_message_without_an_answer_counts_as_sent_if_so_configured() {
    let (env, smtp) = (TestEnv::new().await, FakeSmtp::start(&[(".", Fault::HangUp)]).await);
    let accept = MailSettings { uncertain: Uncertain::Accept, ..settings(&smtp) };
    let (finish, state) = attempt(&env, &accept).await;
    assert_eq!((finish.ending, state, smtp.messages().len()), (Ending::Done, EmailState::Sent, 1));
}

#[tokio::test]
async fn the_last_attempt_leaves_no_recipient_owed() {
    let script = [("RCPT", Fault::Reply("450 4.2.0 not now\r\n"))];
    let (env, smtp) = (TestEnv::new().await, FakeSmtp::start(&script).await);
    let handler = EmailHandler::new(&settings(&smtp)).expect("a handler");
    let mut context = env.claim("email", hello()).await;
    context.job.max_attempts = 1;
    let finish = handler.run(context.clone()).await;
    assert_eq!(finish.ending, Ending::Permanent, "{}", error(&finish));
    assert_eq!(states(&env.record(&context).await), [RecipientState::Expired]);
}

#[tokio::test]
async fn a_message_is_signed_by_the_keys_of_its_senders_domain() {
    let (env, smtp) = (TestEnv::new().await, FakeSmtp::start(&[]).await);
    let key = env.folder.path().join("dkim.pem");
    std::fs::write(&key, gristmill_mail::dkim::Key::generate_ed25519().expect("made")).expect("written");
    let dkim = |domain: &str| DkimSettings {
        domain: domain.to_owned(),
        selector: "one".to_owned(),
        key_file: key.display().to_string(),
    };
    let signing = MailSettings { dkim: vec![dkim("example.com"), dkim("other.example")], ..settings(&smtp) };
    let (finish, _) = attempt(&env, &signing).await;
    assert_eq!(finish.ending, Ending::Done, "{}", error(&finish));
    let message = smtp.messages().remove(0);
    assert!(message.starts_with("DKIM-Signature: v=1; a=ed25519-sha256;"), "{message}");
    assert_eq!(message.matches("DKIM-Signature").count(), 1);
    // As it came over the wire, without what makes a message end.
    let received = message.strip_suffix(".\r\n").expect("its end").replace("\r\n..", "\r\n.");
    let pem = std::fs::read_to_string(&key).expect("read");
    let record = gristmill_mail::dkim::Key::from_pem(&pem).expect("a key").record();
    let verified = gristmill_mail::dkim::verify(received.as_bytes(), |_| Some(record.clone()));
    assert_eq!(verified[0].holds, Ok(()));
}

#[tokio::test]
async fn a_folder_holds_one_file_for_a_message_however_often_it_is_written() {
    let env = TestEnv::new().await;
    let folder = env.folder.path().join("mail");
    let in_folder = MailSettings { url: format!("folder://{}", folder.display()), ..MailSettings::default() };
    let transport = Arc::new(Transport::from_settings(&in_folder).expect("a folder"));
    let handler = EmailHandler::with_transport(&in_folder, Arc::clone(&transport)).expect("a handler");
    let context = env.claim("email", hello()).await;
    let finish = handler.run(context.clone()).await;
    assert_eq!(finish.ending, Ending::Done);
    // As after a crash between writing the file and recording it.
    let again = env.again(&context).await;
    env.rows("UPDATE email_recipient SET state = 'transmitted'").await;
    assert_eq!(handler.run(again).await.ending, Ending::Done);
    let files: Vec<_> =
        std::fs::read_dir(&folder).expect("a folder").map(|file| file.expect("a file").path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let named = finish.output.expect("an output")["answer"].as_str().map(str::to_owned).expect("a path");
    assert_eq!(files[0].display().to_string(), named);
    assert!(named.ends_with(".eml"), "{named}");
}

#[tokio::test]
async fn what_makes_no_message_is_permanent_and_says_why() {
    let env = TestEnv::new().await;
    let handler =
        EmailHandler::with_transport(&MailSettings::default(), Arc::new(Transport::memory())).expect("a handler");
    for (payload, word) in [
        (json!({"to": "a@b.example\r\nBcc: c@d.example", "subject": "s", "text": "t"}), "control character"),
        (json!({"to": "a@b.example, c@d.example", "subject": "s", "text": "t"}), "one address"),
        (json!({"to": "a@b.example", "subject": "s\nX: y", "text": "t"}), "control character"),
        (json!({"to": "a@b.example", "subject": "s"}), "`text`"),
        (json!({"to": "a@b.example", "template": "nothing"}), "no template `nothing`"),
        (json!({"to": "a@b.example", "template": "../secret"}), "not a template's name"),
        (json!({"to": "a@b.example", "template": "batch-report", "data": {}}), "batch-report/"),
        (json!({"to": "a@b.example", "template": "batch-report", "text": "t"}), "keep one"),
        (json!({"tu": "a@b.example"}), "tu"),
    ] {
        let finish = handler.run(env.claim("email", payload).await).await;
        assert_eq!(finish.ending, Ending::Permanent, "{word}");
        assert!(error(&finish).contains(word), "{word}: {}", error(&finish));
    }
}
