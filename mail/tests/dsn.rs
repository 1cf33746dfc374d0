//! Reports as servers write them, and what is read from them.

use gristmill_mail::dsn::{Action, Returned, read};

const POSTFIX: &str = include_str!("reports/postfix.eml");
const EXCHANGE: &str = include_str!("reports/exchange.eml");
const COMPLAINT: &str = include_str!("reports/complaint.eml");

fn delivery(text: &str) -> gristmill_mail::dsn::DeliveryReport {
    match read(text.as_bytes()) {
        Some(Returned::Delivery(report)) => report,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_bounce_says_what_became_of_each_recipient() {
    for text in [POSTFIX.to_owned(), POSTFIX.replace('\n', "\r\n")] {
        let report = delivery(&text);
        assert_eq!(report.envelope_id.as_deref(), Some("abc+def"));
        assert_eq!(report.message_id.as_deref(), Some("<0123@example.com>"));
        assert_eq!(report.reporter.as_deref(), Some("mx.example.org"));
        let [ada, bob] = &report.recipients[..] else { panic!("{report:?}") };
        assert_eq!(
            (ada.address.as_str(), ada.action, ada.status.as_deref()),
            ("ada+news@example.org", Action::Failed, Some("5.1.1"))
        );
        assert!(ada.closes_the_address());
        assert_eq!(
            ada.diagnostic.as_deref(),
            Some("550 5.1.1 <ada@example.org>: Recipient address rejected: User unknown")
        );
        assert_eq!(
            (bob.address.as_str(), bob.action, bob.server.as_deref()),
            ("bob@example.org", Action::Delayed, None)
        );
        assert!(!bob.closes_the_address());
    }
}

#[test]
fn a_report_that_keeps_no_standard_to_the_letter_is_read_all_the_same() {
    let report = delivery(EXCHANGE);
    assert_eq!(report.message_id.as_deref(), Some("<4567@example.com>"));
    let [carol] = &report.recipients[..] else { panic!("{report:?}") };
    assert_eq!(
        (carol.address.as_str(), carol.action, carol.status.as_deref()),
        ("carol@corp.example", Action::Failed, Some("5.7.1"))
    );
    assert!(!carol.closes_the_address(), "a refusal for policy says nothing of the address");
    let without_action = POSTFIX.replace("Action: failed\n", "");
    assert_eq!(delivery(&without_action).recipients[0].action, Action::Failed, "its code says the same");
    let cut = &POSTFIX[..POSTFIX.find("Remote-MTA").expect("there")];
    assert_eq!(delivery(cut).recipients.len(), 1);
}

#[test]
fn a_complaint_names_the_message_and_the_recipient() {
    let Some(Returned::Feedback(report)) = read(COMPLAINT.as_bytes()) else { panic!("no complaint") };
    assert!(report.is_complaint());
    assert_eq!(report.message_id.as_deref(), Some("<8787@example.com>"));
    assert_eq!(report.recipients, ["user@example.net"]);
    let Some(Returned::Feedback(other)) = read(COMPLAINT.replace(": abuse", ": not-spam").as_bytes()) else { panic!() };
    assert!(!other.is_complaint());
}

#[test]
fn a_holiday_notice_and_an_ordinary_message_are_no_reports() {
    assert_eq!(read(b"Auto-Submitted: auto-replied\r\n\r\nI am away."), Some(Returned::AutoReply));
    assert_eq!(read(b"Auto-Submitted: no\r\n\r\nHello."), None);
    assert_eq!(read(b"Subject: Hello\r\n\r\nFinal-Recipient: rfc822; a@b.example\r\nAction: failed\r\n"), None);
    assert_eq!(read(b""), None);
}
