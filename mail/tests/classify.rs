//! The whole decision table, as a snapshot: what each answer means at each point of a transaction.

use std::collections::BTreeSet;
use std::fmt::Write;

use gristmill_mail::classify::{Outcome, Phase, Signal, Verdict, classify};
use gristmill_testkit::Random;

/// Replies as real servers write them, by what they are about.
const REPLIES: [(u16, &str); 55] = [
    (250, "2.0.0 queued as 42"),
    (251, "2.1.5 will forward"),
    (354, "go on"),
    (421, "4.3.2 shutting down"),
    (421, "4.7.0 try again in 10 minutes"),
    (450, "greylisted, try again in 300 seconds"),
    (450, "4.2.0 <ada@example.org>: Recipient address rejected: Greylisted"),
    (450, "not now"),
    (451, "4.7.1 Greylisting in action, please come back in 5 minutes"),
    (451, "4.3.0 disk trouble"),
    (451, "4.4.4 no route"),
    (451, "local error"),
    (452, "4.5.3 too many recipients"),
    (452, "too many recipients"),
    (452, "4.2.2 mailbox full"),
    (452, "over quota"),
    (452, "4.3.1 insufficient system storage"),
    (450, "4.7.28 unusual rate of mail"),
    (421, "4.7.32 no DMARC alignment"),
    (451, "4.7.32 no DMARC alignment"),
    (451, "4.7.650 [TS04] temporarily deferred"),
    (451, "rate limit reached"),
    (451, "4.5.1 bad sequence"),
    (454, "4.7.0 temporary authentication failure"),
    (500, "5.5.2 syntax error"),
    (501, "5.1.3 bad address syntax"),
    (501, "syntax"),
    (503, "sender already specified"),
    (503, "5.5.1 bad sequence"),
    (504, "parameter not implemented"),
    (525, "5.7.13 user account disabled"),
    (530, "5.7.0 must issue STARTTLS first"),
    (534, "5.7.9 mechanism too weak"),
    (535, "5.7.8 wrong password"),
    (538, "5.7.11 encryption needed"),
    (550, "5.7.57 client not authenticated"),
    (550, "5.1.1 <ada@example.org> is unknown here"),
    (550, "5.1.2 no such domain"),
    (550, "5.1.6 moved"),
    (550, "5.1.8 sender's domain unknown"),
    (556, "5.1.10 null MX"),
    (550, "5.2.1 disabled"),
    (550, "No such user here"),
    (550, "5.5.0 Requested action not taken: mailbox unavailable"),
    (550, "5.7.1 rejected for policy reasons"),
    (550, "5.7.25 no PTR"),
    (550, "5.7.26 unauthenticated"),
    (550, "blocked, see our blocklist"),
    (550, "4.1.1 contradicts itself"),
    (552, "5.2.2 mailbox full"),
    (552, "5.3.4 too large"),
    (552, "size limit"),
    (553, "5.6.7 SMTPUTF8 needed"),
    (554, "5.4.14 loop"),
    (554, "no"),
];

fn line(verdict: &Verdict) -> String {
    let outcome = match verdict.outcome {
        Outcome::Accepted => "accepted".to_owned(),
        Outcome::Deferred { after, within } => {
            let mut text = "deferred".to_owned();
            if let Some(after) = after {
                let _ = write!(text, " {}s", after.as_secs());
            }
            if let Some(within) = within {
                let _ = write!(text, " within {}s", within.as_secs());
            }
            text
        }
        Outcome::Bounced { suppress: true } => "bounced, suppressed".to_owned(),
        Outcome::Bounced { suppress: false } => "bounced".to_owned(),
        Outcome::OurFault { pause } => format!("our fault, pause {}s", pause.as_secs()),
        Outcome::Unknown => "unknown".to_owned(),
    };
    format!("{outcome:<34} {:<10} {}", verdict.scope, verdict.rule)
}

fn reply(code: u16, text: &str) -> Signal {
    Signal::Reply { code, text: text.to_owned() }
}

#[test]
fn the_whole_table() {
    let mut table = String::new();
    let mut row = |what: &str, signal: &Signal| {
        let mut last = String::new();
        let mut phases: Vec<&str> = Vec::new();
        let _ = writeln!(table, "{what}");
        for phase in Phase::ALL {
            let decided = line(&classify(phase, signal));
            if decided != last && !phases.is_empty() {
                let _ = writeln!(table, "    {last:<78} {}", phases.join(" "));
                phases.clear();
            }
            phases.push(phase.as_str());
            last = decided;
        }
        let _ = writeln!(table, "    {last:<78} {}", phases.join(" "));
    };
    for (code, text) in REPLIES {
        row(&format!("{code} {text}"), &reply(code, text));
    }
    let why = String::new();
    row("(the connection breaks)", &Signal::Lost { why: why.clone() });
    row("(no answer)", &Signal::Silent);
    row("(no encryption)", &Signal::Insecure { why: why.clone() });
    row("(does not fit the server)", &Signal::Unfit { why });
    insta::assert_snapshot!("table", table);
}

#[test]
fn no_recipient_is_given_up_or_suppressed_for_what_is_not_about_it() {
    let mut random = Random::new(7);
    let mut seen = BTreeSet::new();
    for code in 400..600_u16 {
        for (_, text) in REPLIES {
            let words = if random.one_in(2) { text.to_owned() } else { text.to_uppercase() };
            for phase in Phase::ALL {
                let verdict = classify(phase, &reply(code, &words));
                seen.insert(verdict.rule);
                let early = matches!(phase, Phase::Connect | Phase::Tls | Phase::Hello | Phase::Auth);
                let given_up = matches!(verdict.outcome, Outcome::Bounced { .. });
                assert!(!(early && given_up), "{phase} {code} {words}: {verdict:?}");
                let suppressed = verdict.outcome == Outcome::Bounced { suppress: true };
                assert!(!suppressed || phase == Phase::Rcpt, "{phase} {code} {words}: {verdict:?}");
                assert!(!(given_up && code < 500), "{phase} {code} {words}: {verdict:?}");
                assert_ne!(verdict.outcome, Outcome::Accepted, "{phase} {code} {words}");
                assert_ne!(verdict.outcome, Outcome::Unknown, "an answer leaves nothing open");
            }
        }
    }
    assert!(seen.len() >= 20, "{seen:?}");
}

#[test]
fn only_silence_after_the_final_dot_is_unknown() {
    for phase in Phase::ALL {
        for signal in [Signal::Lost { why: "reset".to_owned() }, Signal::Silent] {
            let unknown = classify(phase, &signal).outcome == Outcome::Unknown;
            assert_eq!(unknown, phase == Phase::Dot, "{phase} {signal:?}");
        }
    }
}
