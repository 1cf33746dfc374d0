//! Several mail relays, and recipients' domains that hold back or do not answer, with a real store.

mod fixtures;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fixtures::TestEnv;
use gristmill_core::letter::RecipientState;
use gristmill_core::mail_flow::{BreakerState, RelayEvent, WarmUp};
use gristmill_core::settle::Ending;
use gristmill_jobs::kind::email::EmailHandler;
use gristmill_jobs::settings::{DomainSettings, MailSettings, RelaySettings, StartTls};
use gristmill_jobs::{Finish, Handler, JobContext};
use gristmill_store::{EmailKey, EmailState, MailFlow, SuspendDomain};
use gristmill_testkit::smtp::{FakeSmtp, Fault};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::Notify;

fn relay(port: u16, order: u32) -> RelaySettings {
    let (url, starttls) = (format!("smtp://127.0.0.1:{port}"), StartTls::Never);
    RelaySettings { url, order, starttls, ..RelaySettings::default() }
}

/// Relays `first` and `second`, of which the second is for when the first fails.
fn two(first: u16, second: u16) -> MailSettings {
    let relays = BTreeMap::from([("first".to_owned(), relay(first, 1)), ("second".to_owned(), relay(second, 2))]);
    MailSettings { relays, from: "Mill <mill@example.com>".to_owned(), ..MailSettings::default() }
}

fn one(port: u16) -> MailSettings {
    let relays = BTreeMap::from([("first".to_owned(), relay(port, 1))]);
    MailSettings { relays, ..two(port, port) }
}

fn to(address: &str) -> Value {
    json!({"to": address, "subject": "Hello", "text": "You."})
}

fn error(finish: &Finish) -> &str {
    finish.error.as_deref().unwrap_or_default()
}

async fn send(env: &TestEnv, handler: &EmailHandler, payload: Value) -> (Finish, JobContext) {
    let context = env.claim("email", payload).await;
    (handler.run(context.clone()).await, context)
}

async fn flow(env: &TestEnv) -> MailFlow {
    env.store.mail_flow().await.expect("seen")
}

/// A port on which no server listens.
async fn no_server() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    listener.local_addr().expect("its own").port()
}

fn is_held(finish: &Finish) -> bool {
    finish.unbounded && matches!(finish.ending, Ending::Snoozed { .. })
}

#[tokio::test]
async fn the_next_relay_takes_what_one_cannot_before_the_data() {
    for (on, fault) in [
        ("CONNECT", Fault::HangUp),
        ("CONNECT", Fault::Reply("421 4.3.2 shutting down\r\n")),
        ("MAIL", Fault::HangUp),
        ("RCPT", Fault::Reply("421 4.3.2 shutting down\r\n")),
        ("DATA", Fault::HangUp),
        ("DATA", Fault::Reply("451 4.3.0 disk trouble\r\n")),
    ] {
        let (env, first, second) =
            (TestEnv::new().await, FakeSmtp::start(&[(on, fault)]).await, FakeSmtp::start(&[]).await);
        let handler = EmailHandler::new(&two(first.port, second.port)).expect("a handler");
        let (finish, context) = send(&env, &handler, to("ada@example.org")).await;
        assert_eq!(finish.ending, Ending::Done, "{on}: {}", error(&finish));
        assert_eq!((first.messages().len(), second.messages().len()), (0, 1), "{on}");
        let said = env.attempts(&context).await.remove(0);
        assert!(said.server.starts_with("second (127.0.0.1:"), "{}", said.server);
        assert!(said.transcript.contains("the next relay: second"), "{}", said.transcript);
        assert_eq!(flow(&env).await.relays[0].breaker.failed, 1, "{on}");
    }
}

/// A server that agrees to take a message, reads a little of it and hangs up.
async fn breaking() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let port = listener.local_addr().expect("its own").port();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a client");
        let mut stream = BufReader::new(stream);
        stream.write_all(b"220 here\r\n").await.expect("written");
        let mut line = String::new();
        while stream.read_line(&mut line).await.unwrap_or(0) > 0 {
            let data = line.starts_with("DATA");
            stream.write_all(if data { b"354 go on\r\n" } else { b"250 ok\r\n" }).await.expect("written");
            if data {
                return;
            }
            line.clear();
        }
    });
    port
}

#[tokio::test]
async fn the_next_relay_takes_what_breaks_off_before_the_final_dot() {
    let (env, second) = (TestEnv::new().await, FakeSmtp::start(&[]).await);
    std::fs::write(env.folder.path().join("large.bin"), vec![b'x'; 6 * 1024 * 1024]).expect("written");
    let attachments = Some(env.folder.path().display().to_string());
    let settings = MailSettings { attachments, ..two(breaking().await, second.port) };
    let handler = EmailHandler::new(&settings).expect("a handler");
    let mut payload = to("ada@example.org");
    payload["attachments"] = json!([{"name": "large.bin", "file": "large.bin"}]);
    let (finish, context) = send(&env, &handler, payload).await;
    assert_eq!((finish.ending, env.email(&context).await), (Ending::Done, EmailState::Sent), "{}", error(&finish));
    assert_eq!(second.messages().len(), 1);
}

#[tokio::test]
async fn no_other_relay_is_asked_after_the_final_dot() {
    for fault in [Fault::HangUp, Fault::Reply("451 4.3.0 disk trouble\r\n"), Fault::Reply("421 4.3.2 bye\r\n")] {
        let (env, first, second) =
            (TestEnv::new().await, FakeSmtp::start(&[(".", fault.clone())]).await, FakeSmtp::start(&[]).await);
        let handler = EmailHandler::new(&two(first.port, second.port)).expect("a handler");
        let (finish, context) = send(&env, &handler, to("ada@example.org")).await;
        assert!(matches!(finish.ending, Ending::Failed { .. }), "{fault:?}: {:?}", finish.ending);
        assert_eq!((first.messages().len(), second.connections()), (1, 0), "{fault:?}");
        let unknown = matches!(fault, Fault::HangUp);
        let state = if unknown { RecipientState::Unknown } else { RecipientState::Deferred };
        assert_eq!(env.record(&context).await.recipients[0].state, state, "{fault:?}");
    }
}

#[tokio::test]
async fn a_relay_that_keeps_failing_is_left_alone_and_its_jobs_wait_without_an_attempt() {
    let (env, port) = (TestEnv::new().await, no_server().await);
    let handler = EmailHandler::new(&one(port)).expect("a handler");
    for _ in 0..5 {
        let (finish, context) = send(&env, &handler, to("ada@example.org")).await;
        assert!(is_held(&finish), "{:?}", finish.ending);
        assert_eq!(env.record(&context).await.recipients[0].state, RecipientState::Deferred);
    }
    let known = flow(&env).await;
    assert_eq!((known.relays[0].breaker.state, known.relays[0].breaker.fault), (BreakerState::Open, false));
    let (finish, context) = send(&env, &handler, to("ada@example.org")).await;
    assert!(is_held(&finish) && error(&finish).contains("mail relay list"), "{}", error(&finish));
    assert!(
        matches!(finish.ending, Ending::Snoozed { wait } if wait >= Duration::from_secs(29)),
        "{:?}",
        finish.ending
    );
    let key = EmailKey { tenant: context.job.tenant.clone(), key: context.job.fence.job.to_string() };
    assert_eq!(env.store.email(&key).await.expect("asked"), None, "it was not even made");
    // Another worker knows it from the store alone.
    let other = EmailHandler::new(&one(port)).expect("a handler");
    let (finish, _) = send(&env, &other, to("ada@example.org")).await;
    assert!(error(&finish).contains("mail relay list"), "{}", error(&finish));
}

#[tokio::test]
async fn one_message_tries_a_relay_whose_pause_is_over() {
    let (env, smtp) = (TestEnv::new().await, FakeSmtp::start(&[("CONNECT", Fault::HangUp)]).await);
    let handler = EmailHandler::new(&one(smtp.port)).expect("a handler");
    for _ in 0..5 {
        env.store.relay_note("first", "x:1", &RelayEvent::Failed("gone".to_owned())).await.expect("noted");
    }
    env.rows("UPDATE mail_relay SET until = 1").await;
    let (finish, _) = send(&env, &handler, to("ada@example.org")).await;
    assert!(is_held(&finish), "{:?}", finish.ending);
    let breaker = flow(&env).await.relays.remove(0).breaker;
    assert_eq!((breaker.state, breaker.pauses), (BreakerState::Open, 2), "it has failed again, and waits for longer");
    env.rows("UPDATE mail_relay SET until = 1").await;
    let handler = EmailHandler::new(&one(smtp.port)).expect("a handler");
    let (finish, _) = send(&env, &handler, to("ada@example.org")).await;
    assert_eq!(finish.ending, Ending::Done, "{}", error(&finish));
    assert_eq!(flow(&env).await.relays[0].breaker.state, BreakerState::Closed);
}

#[tokio::test]
async fn a_relay_that_does_not_let_us_in_pauses_alone_and_a_person_resumes_it() {
    let no = ("MAIL", Fault::Reply("530 5.7.0 log in first\r\n"));
    let (env, first, second) = (TestEnv::new().await, FakeSmtp::start(&[no]).await, FakeSmtp::start(&[]).await);
    let handler = EmailHandler::new(&two(first.port, second.port)).expect("a handler");
    for _ in 0..3 {
        let (finish, _) = send(&env, &handler, to("ada@example.org")).await;
        assert_eq!(finish.ending, Ending::Done, "{}", error(&finish));
    }
    assert_eq!((first.connections(), second.messages().len()), (1, 3), "it is asked once");
    let breaker = flow(&env).await.relays.remove(0).breaker;
    assert!(breaker.fault && breaker.why.as_deref().is_some_and(|why| why.contains("530")), "{breaker:?}");
    let resumed = env.store.relay_steer("first", &RelayEvent::Resume, false).await.expect("resumed");
    assert_eq!(resumed.affected, 1);
    let handler = EmailHandler::new(&two(first.port, second.port)).expect("a handler");
    send(&env, &handler, to("ada@example.org")).await;
    assert_eq!(first.messages().len(), 1, "it lets us in now");
}

#[tokio::test]
async fn a_new_relay_takes_what_it_may_today_and_the_rest_goes_elsewhere() {
    let (env, first, second) = (TestEnv::new().await, FakeSmtp::start(&[]).await, FakeSmtp::start(&[]).await);
    let mut settings = two(first.port, second.port);
    let warm_up = Some(WarmUp { from: chrono::NaiveDate::MAX, first: 1, last: 1 });
    let new = settings.relays.get_mut("first").expect("there");
    new.warm_up = warm_up;
    let handler = EmailHandler::new(&settings).expect("a handler");
    for _ in 0..3 {
        let (finish, _) = send(&env, &handler, to("ada@example.org")).await;
        assert_eq!(finish.ending, Ending::Done, "{}", error(&finish));
    }
    // At midnight, it takes one more.
    assert!((1..=2).contains(&first.messages().len()), "{}", first.messages().len());
    settings.relays.remove("second");
    let handler = EmailHandler::new(&settings).expect("a handler");
    let mut held = false;
    for _ in 0..2 {
        let (finish, _) = send(&env, &handler, to("ada@example.org")).await;
        held |= is_held(&finish);
    }
    assert!(held, "without another, it waits for tomorrow");
}

#[tokio::test]
async fn a_domain_that_asks_to_slow_down_waits_and_no_other_does() {
    let slow = ("RCPT", Fault::Reply("450 4.7.1 too many messages from you\r\n"));
    let (env, smtp) = (TestEnv::new().await, FakeSmtp::start(&[slow]).await);
    let handler = EmailHandler::new(&one(smtp.port)).expect("a handler");
    let (finish, _) = send(&env, &handler, to("ada@slow.example")).await;
    assert!(matches!(finish.ending, Ending::Failed { .. }), "{:?}", finish.ending);
    let known = flow(&env).await.domains;
    assert_eq!((known[0].name.as_str(), known[0].pace.learned), ("slow.example", Some(1)));
    let (finish, _) = send(&env, &handler, to("bob@slow.example")).await;
    assert_eq!(finish.ending, Ending::Done, "one a minute: {}", error(&finish));
    let (finish, _) = send(&env, &handler, to("carol@slow.example")).await;
    assert!(is_held(&finish) && error(&finish).contains("slow.example"), "{}", error(&finish));
    let (finish, _) = send(&env, &handler, to("ada@quick.example")).await;
    assert_eq!(finish.ending, Ending::Done, "{}", error(&finish));
    assert_eq!(smtp.messages().len(), 2);
}

#[tokio::test]
async fn a_domain_that_stalls_delays_no_other() {
    let (reached, leave): (Arc<Notify>, Arc<Notify>) = Default::default();
    let stall = ("RCPT", Fault::Wait { reached: Arc::clone(&reached), leave: Arc::clone(&leave) });
    let (env, smtp) = (TestEnv::new().await, FakeSmtp::start(&[stall]).await);
    let mut settings = one(smtp.port);
    settings.relays.get_mut("first").expect("there").connections = 2;
    let handler = Arc::new(EmailHandler::new(&settings).expect("a handler"));
    let stalled = env.claim("email", to("ada@slow.example")).await;
    let running = tokio::spawn({
        let (handler, stalled) = (Arc::clone(&handler), stalled.clone());
        async move { handler.run(stalled).await }
    });
    reached.notified().await;
    // Many more for that domain come: none of them takes the connection that is left.
    for _ in 0..3 {
        let (finish, _) = send(&env, &handler, to("bob@slow.example")).await;
        assert!(is_held(&finish) && error(&finish).contains("slow.example"), "{}", error(&finish));
        let (finish, _) = send(&env, &handler, to("ada@quick.example")).await;
        assert_eq!(finish.ending, Ending::Done, "{}", error(&finish));
    }
    assert_eq!(smtp.messages().len(), 3);
    leave.notify_one();
    assert_eq!(running.await.expect("ran").ending, Ending::Done);
}

#[tokio::test]
async fn a_suspended_domain_gets_nothing_and_the_other_recipients_of_a_message_do() {
    let (env, smtp) = (TestEnv::new().await, FakeSmtp::start(&[]).await);
    let handler = EmailHandler::new(&one(smtp.port)).expect("a handler");
    let suspend = SuspendDomain { domain: "slow.example".to_owned(), keep: None, by: "ada".to_owned(), why: None };
    env.store.domain_suspend(&suspend, false).await.expect("suspended");
    let payload = json!({"to": ["ada@slow.example", "bob@quick.example"], "subject": "Hello", "text": "You."});
    let (finish, first) = send(&env, &handler, payload).await;
    assert!(is_held(&finish), "no attempt is spent on what waits: {:?} {}", finish.ending, error(&finish));
    let states: Vec<RecipientState> = env.record(&first).await.recipients.iter().map(|one| one.state).collect();
    assert_eq!(states, [RecipientState::Deferred, RecipientState::Sent]);
    env.store.domain_resume("slow.example", false).await.expect("resumed");
    let handler = EmailHandler::new(&one(smtp.port)).expect("a handler");
    let second = env.again(&first).await;
    assert_eq!(handler.run(second).await.ending, Ending::Done);
    let taken: Vec<(String, u32)> = smtp.mail().into_iter().map(|(to, mail)| (to, mail.taken)).collect();
    assert_eq!(taken, [("ada@slow.example".to_owned(), 1), ("bob@quick.example".to_owned(), 1)]);
}

#[tokio::test]
async fn a_domain_is_sent_to_no_faster_than_is_configured() {
    let (env, smtp) = (TestEnv::new().await, FakeSmtp::start(&[]).await);
    let per = gristmill_core::duration::Span(Duration::from_secs(3_600));
    let slow = DomainSettings { rate: Some(1), per, ..DomainSettings::default() };
    let never = DomainSettings { suspended: true, ..DomainSettings::default() };
    let domains = BTreeMap::from([("slow.example".to_owned(), slow), ("never.example".to_owned(), never)]);
    let handler = EmailHandler::new(&MailSettings { domains, ..one(smtp.port) }).expect("a handler");
    let ended = async |address: &str| send(&env, &handler, to(address)).await.0;
    assert_eq!(ended("ada@slow.example").await.ending, Ending::Done);
    let second = ended("ada@SLOW.example").await;
    assert!(is_held(&second), "{:?}", second.ending);
    assert!(matches!(second.ending, Ending::Snoozed { wait } if wait > Duration::from_secs(1_700)), "{second:?}");
    let none = ended("ada@never.example").await;
    assert!(is_held(&none) && error(&none).contains("mail.domains"), "{}", error(&none));
    assert_eq!(ended("ada@quick.example").await.ending, Ending::Done);
    assert_eq!(smtp.messages().len(), 2);
}

#[tokio::test]
async fn what_is_too_late_is_given_up_although_its_domain_waits() {
    let (env, smtp) = (TestEnv::new().await, FakeSmtp::start(&[]).await);
    let handler = EmailHandler::new(&one(smtp.port)).expect("a handler");
    let suspend = SuspendDomain { domain: "slow.example".to_owned(), keep: None, by: "ada".to_owned(), why: None };
    env.store.domain_suspend(&suspend, false).await.expect("suspended");
    let mut payload = to("ada@slow.example");
    payload["expires_in"] = json!("1m");
    let mut context = env.claim("email", payload).await;
    context.job.started_at = context.job.created_at + Duration::from_secs(61);
    assert_eq!(handler.run(context.clone()).await.ending, Ending::Permanent);
    assert_eq!(env.record(&context).await.recipients[0].state, RecipientState::Expired);
}
