//! Emails over TLS, against a mail server with certificates made for the test.

mod fixtures;

use std::time::Duration;

use fixtures::TestEnv;
use gristmill_core::settle::Ending;
use gristmill_jobs::kind::email::EmailHandler;
use gristmill_jobs::settings::MailSettings;
use gristmill_jobs::{Finish, Handler};
use gristmill_store::EmailState;
use gristmill_testkit::smtp::{FakeSmtp, Tls};
use gristmill_testkit::tls::Authority;
use serde_json::json;

const UNASKED: Ending = Ending::Snoozed { wait: Duration::from_secs(15) };

/// A server whose certificate an authority has signed for these names, and a sender that trusts
/// the authority in the file.
struct Case {
    env: TestEnv,
    smtp: FakeSmtp,
    settings: MailSettings,
}

impl Case {
    async fn new(scheme: &str, names: &[&str]) -> Self {
        let env = TestEnv::new().await;
        let authority = Authority::new("the mill's own authority");
        let acceptor = authority.server(names);
        let tls = if scheme == "smtps" { Tls::Wrapped(acceptor) } else { Tls::Offered(acceptor) };
        let smtp = FakeSmtp::with_tls(tls, &[]).await;
        let settings = MailSettings {
            url: format!("{scheme}://127.0.0.1:{}", smtp.port),
            from: "mill@example.com".to_owned(),
            ca_file: Some(authority.write(env.folder.path(), "ca.pem")),
            ..MailSettings::default()
        };
        Self { env, smtp, settings }
    }

    async fn attempt(&self, settings: &MailSettings) -> (Finish, EmailState) {
        let handler = EmailHandler::new(settings).expect("a handler");
        let payload = json!({"to": "ada@example.org", "subject": "Hello", "text": "One.\n.two\nThree.\n"});
        let context = self.env.claim("email", payload).await;
        let finish = handler.run(context.clone()).await;
        (finish, self.env.email(&context).await)
    }
}

fn error(finish: &Finish) -> &str {
    finish.error.as_deref().unwrap_or_default()
}

#[tokio::test]
async fn a_message_goes_out_encrypted_after_starttls() {
    let case = Case::new("smtp", &["127.0.0.1"]).await;
    let (finish, state) = case.attempt(&case.settings).await;
    assert_eq!((&finish.ending, state), (&Ending::Done, EmailState::Sent), "{}", error(&finish));
    assert_eq!(case.smtp.heard(), ["EHLO", "STARTTLS", "+EHLO", "+EHLO", "+MAIL", "+RCPT", "+DATA"]);
    assert!(case.smtp.messages()[0].contains("One.\r\n..two\r\nThree.\r\n"), "{}", case.smtp.messages()[0]);
}

#[tokio::test]
async fn a_message_goes_out_over_tls_from_the_first_byte() {
    let case = Case::new("smtps", &["127.0.0.1"]).await;
    let (finish, state) = case.attempt(&case.settings).await;
    assert_eq!((&finish.ending, state), (&Ending::Done, EmailState::Sent), "{}", error(&finish));
    assert_eq!(case.smtp.heard(), ["+EHLO", "+EHLO", "+MAIL", "+RCPT", "+DATA"]);
}

#[tokio::test]
async fn a_password_is_only_said_encrypted() {
    let case = Case::new("smtp", &["127.0.0.1"]).await;
    let password = case.env.folder.path().join("password");
    std::fs::write(&password, "hunter2\n").expect("written");
    let with_user = MailSettings {
        url: format!("smtp://mill@127.0.0.1:{}", case.smtp.port),
        password_file: Some(password.display().to_string()),
        ..case.settings.clone()
    };
    let (finish, _) = case.attempt(&with_user).await;
    assert_eq!(finish.ending, Ending::Done, "{}", error(&finish));
    assert_eq!(case.smtp.heard()[..4], ["EHLO", "STARTTLS", "+EHLO", "+AUTH"]);
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    for scheme in ["smtp", "smtps"] {
        let case = Case::new(scheme, &["127.0.0.1"]).await;
        let another = Authority::new("somebody else").write(case.env.folder.path(), "another.pem");
        let (finish, state) = case.attempt(&MailSettings { ca_file: Some(another), ..case.settings.clone() }).await;
        assert_eq!((&finish.ending, state), (&UNASKED, EmailState::Pending), "{scheme}");
        assert!(error(&finish).contains("certificate"), "{scheme}: {}", error(&finish));
        assert!(!case.smtp.heard().iter().any(|word| word.ends_with("MAIL")), "{scheme}");
    }
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let case = Case::new("smtp", &["mail.example.com"]).await;
    let (finish, state) = case.attempt(&case.settings).await;
    assert_eq!((&finish.ending, state), (&UNASKED, EmailState::Pending));
    assert!(error(&finish).contains("certificate"), "{}", error(&finish));
    assert_eq!(case.smtp.heard(), ["EHLO", "STARTTLS"]);
}

#[tokio::test]
async fn a_file_without_certificates_is_named() {
    let case = Case::new("smtps", &["127.0.0.1"]).await;
    let path = case.env.folder.path().join("absent.pem").display().to_string();
    let refused = EmailHandler::new(&MailSettings { ca_file: Some(path.clone()), ..case.settings.clone() });
    let error = refused.expect_err("refused");
    assert!(error.contains("mail.ca_file") && error.contains(&path), "{error}");
}
