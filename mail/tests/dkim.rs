//! Signatures: what holds, and what breaks them.

use gristmill_core::Instant;
use gristmill_mail::dkim::{Key, Signer, sign, verify};

/// An RSA key of 2048 bits that was made for these tests, and signs nothing else.
const RSA: &str = include_str!("rsa.pem");

const MESSAGE: &str = "From: Mill <mill@example.com>\r\nTo: ada@example.org\r\nSubject: A  long\r\n subject\r\n\
    Date: Tue, 14 Nov 2023 22:13:20 +0000\r\nMessage-ID: <1@example.com>\r\nX-Other: not signed\r\n\
    List-Unsubscribe: <https://mill.example/u/1>\r\n\r\nHello. \r\n\r\nBye.\r\n\r\n";

fn signers() -> [Signer; 2] {
    let signer = |selector: &str, pem: &str| Signer {
        domain: "example.com".to_owned(),
        selector: selector.to_owned(),
        key: Key::from_pem(pem).expect("a key"),
    };
    [signer("ed", &Key::generate_ed25519().expect("made")), signer("rsa", RSA)]
}

fn signed(signers: &[Signer]) -> String {
    let at = Instant::from_timestamp(1_700_000_000, 0).expect("valid");
    let all: Vec<&Signer> = signers.iter().collect();
    String::from_utf8(sign(MESSAGE.as_bytes(), &all, at).expect("signed")).expect("UTF-8")
}

/// Whether each signature of a message holds.
fn holding(message: &str, signers: &[Signer]) -> Vec<bool> {
    let record = |name: &str| signers.iter().find(|signer| signer.record_name() == name).map(|s| s.key.record());
    verify(message.as_bytes(), record).iter().map(|verified| verified.holds.is_ok()).collect()
}

#[test]
fn both_signatures_hold_and_their_lines_are_short() {
    let signers = signers();
    let message = signed(&signers);
    assert_eq!(holding(&message, &signers), [true, true], "{message}");
    assert!(message.split("\r\n").all(|line| line.len() <= 78), "{message}");
    assert!(message.ends_with(MESSAGE), "the message itself is not touched");
    assert!(message.contains("from:from:to:to:cc:subject:subject:date:date:"), "{message}");
}

#[test]
fn a_signature_survives_what_servers_on_the_way_do() {
    let signers = signers();
    let message = signed(&signers);
    let refolded = message.replace("Subject: A  long\r\n subject", "SUBJECT:A long subject");
    let received = format!("Received: from a by b\r\n{}", refolded.replace("Hello. \r\n", "Hello.\r\n"));
    assert_eq!(holding(&format!("{}\r\n\r\n", received.trim_end()), &signers), [true, true]);
}

#[test]
fn a_change_of_what_a_reader_sees_breaks_it() {
    let signers = signers();
    let message = signed(&signers);
    for (from, to) in [
        ("Bye.", "Bye!"),
        ("Subject: A", "Subject: B"),
        ("From: Mill", "From: Kill"),
        ("<https://mill.example/u/1>", "<https://evil.example/u/1>"),
        ("From: Mill", "From: Boss <boss@example.com>\r\nFrom: Mill"),
        ("X-Other: not signed", "Cc: eve@example.org\r\nX-Other: not signed"),
    ] {
        let changed = message.replacen(from, to, 1);
        assert_ne!(changed, message, "{from}");
        assert_eq!(holding(&changed, &signers), [false, false], "{from} as {to}");
    }
    let later = message.replacen("t=1700000000", "t=1700000001", 1);
    assert_eq!(holding(&later, &signers), [false, true], "each signature covers itself");
}

#[test]
fn what_is_wrong_with_a_signature_is_said() {
    let signers = signers();
    let message = signed(&signers);
    let why = |record: &dyn Fn(&str) -> Option<String>| {
        let all = verify(message.as_bytes(), record);
        all.into_iter().map(|verified| verified.holds.err().unwrap_or_default()).collect::<Vec<_>>()
    };
    assert!(why(&|_| None)[0].contains("no record ed._domainkey.example.com"));
    assert!(why(&|_| Some("v=DKIM1; k=rsa; p=".to_owned()))[1].contains("revoked"));
    assert!(why(&|_| Some(signers[1].key.record()))[0].contains("does not go with"));
    let other = Key::from_pem(&Key::generate_ed25519().expect("made")).expect("a key");
    assert!(why(&|_| Some(other.record()))[0].contains("the key is another"));
    assert_eq!(verify(b"no headers\r\n\r\nx", |_| None), []);
    assert_eq!(verify(MESSAGE.as_bytes(), |_| None), []);
}

#[test]
fn small_rsa_keys_do_not_sign() {
    let error = Key::from_pem(include_str!("rsa-1024.pem")).expect_err("refused");
    assert!(error.starts_with("it is no private key for DKIM"), "{error}");
    assert_eq!(Key::from_pem(RSA).expect("read").record().len(), "v=DKIM1; k=rsa; p=".len() + 392);
}
