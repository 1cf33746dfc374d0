//! What an attempt to deliver an email means for its recipients, and for its job: pure.

use std::time::Duration;

use gristmill_core::Instant;
use gristmill_core::letter::{RecipientState, UnknownPolicy};
use gristmill_mail::classify::{Enhanced, Outcome, Signal};
use gristmill_mail::transport::Answer;
use gristmill_store::RecipientMove;

/// What decides beside the answers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Circumstances {
    /// When the message was made.
    pub(super) created_at: Instant,
    /// When the attempt was claimed.
    pub(super) now: Instant,
    /// Whether the job has no attempt left.
    pub(super) last: bool,
    /// What becomes of recipients of whom nothing is known.
    pub(super) policy: UnknownPolicy,
    /// How long an address is left alone that does not exist.
    pub(super) suppress: Duration,
    /// How long a job waits that no server could be asked for.
    pub(super) unasked: Duration,
}

/// How old a message becomes that no server can be asked for, before its attempts count.
const GIVE_UP: Duration = Duration::from_secs(5 * 86_400);

/// The step of one recipient, and what its next attempt waits for.
pub(super) fn step(position: u32, answer: &Answer, about: &Circumstances) -> (RecipientMove, Next) {
    let age = (about.now - about.created_at).to_std().unwrap_or_default();
    let (phase, signal, verdict) = match answer {
        Answer::Judged { phase, signal, verdict } => (*phase, signal, verdict),
        Answer::Held { why, wait } => {
            let (note, rule) = (Some(why.clone()), Some("held".to_owned()));
            let step = RecipientMove { note, rule, ..RecipientMove::to(position, RecipientState::Deferred) };
            return (step, Next { after: Some(*wait), unasked: true });
        }
        Answer::CalledOff(why) => {
            let note = Some(why.clone());
            let rule = Some("called-off".to_owned());
            return (
                RecipientMove { note, rule, ..RecipientMove::to(position, RecipientState::Deferred) },
                Next::default(),
            );
        }
    };
    let let_in = !matches!(verdict.outcome, Outcome::OurFault { .. });
    let unasked = !let_in || (phase.is_before_the_message() && age <= GIVE_UP);
    let put_off = if about.last && !unasked { RecipientState::Expired } else { RecipientState::Deferred };
    let mut suppress = None;
    let (to, after) = match verdict.outcome {
        Outcome::Accepted => (RecipientState::Sent, None),
        Outcome::Deferred { within: Some(within), .. } if age > within => (RecipientState::Bounced, None),
        Outcome::Deferred { after: None, .. } if unasked => (put_off, Some(about.unasked)),
        Outcome::Deferred { after, .. } => (put_off, after),
        // Whatever the attempt: no recipient's mail is given up for what is our own fault.
        Outcome::OurFault { pause } => (RecipientState::Deferred, Some(pause)),
        Outcome::Bounced { suppress: listed } => {
            suppress = listed.then_some(about.suppress);
            (RecipientState::Bounced, None)
        }
        Outcome::Unknown if about.policy == UnknownPolicy::Accept => (RecipientState::Sent, None),
        Outcome::Unknown => (RecipientState::Unknown, None),
    };
    let (code, status) = match signal {
        Signal::Reply { code, text } => (Some(*code), Enhanced::at_start(text).map(|status| status.to_string())),
        _ => (None, None),
    };
    let (rule, note) = (Some(verdict.rule.to_owned()), Some(answer.masked()));
    let unasked = unasked && to == RecipientState::Deferred;
    (RecipientMove { position, to, code, status, rule, note, suppress }, Next { after, unasked })
}

/// What the next attempt of a recipient waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Next {
    /// How long.
    pub(super) after: Option<Duration>,
    /// No server was asked for the recipient: that spends no attempt.
    pub(super) unasked: bool,
}

/// A step that fits the state in which the recipient is: one that was put off at its last attempt was never more than
/// asked about.
pub(super) fn fitting(step: RecipientMove, transmitted: bool) -> RecipientMove {
    // What was under way cannot have expired: the server has said no, and there is no attempt left for another.
    if transmitted && step.to == RecipientState::Expired {
        return RecipientMove { to: RecipientState::Bounced, ..step };
    }
    step
}

/// What a job says when every recipient that could be asked has been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Conclusion {
    /// All have it, but for those to whom nothing is sent.
    Done,
    /// Some are tried again, after so long.
    Again(String, Option<Duration>),
    /// No server was asked for any of those that are owed it: no attempt is spent on that.
    Paused(String, Duration),
    /// For some it cannot be known.
    Unknown(String),
    /// Some will not get it.
    Failed(String),
}

/// Where a recipient is, what was said of it, and what its next attempt waits for.
pub(super) struct Standing {
    pub(super) state: RecipientState,
    pub(super) rule: Option<String>,
    pub(super) note: Option<String>,
    pub(super) next: Next,
}

/// Decides how the job ends.
pub(super) fn conclude(all: &[Standing]) -> Conclusion {
    let of = |is: fn(RecipientState) -> bool| all.iter().filter(move |one| is(one.state)).collect::<Vec<_>>();
    let said = |some: &[&Standing], what: &str| {
        let first = some.first().map(|one| words(one)).unwrap_or_default();
        if all.len() == 1 {
            format!("{what}{first}")
        } else {
            format!("{what}for {} of {} recipients {first}", some.len(), all.len())
        }
    };
    let owed = of(RecipientState::is_owed);
    if !owed.is_empty() {
        let wait = owed.iter().filter_map(|one| one.next.after).min();
        if let (true, Some(wait)) = (owed.iter().all(|one| one.next.unasked), wait) {
            let not_let_in = owed.iter().all(|one| one.rule.as_deref() == Some("not-let-in"));
            let what = if not_let_in { "the mail server does not let us in " } else { "no mail server can be asked " };
            return Conclusion::Paused(said(&owed, what), wait);
        }
        return Conclusion::Again(said(&owed, "the mail server does not take it now "), wait);
    }
    let unknown = of(|state| state == RecipientState::Unknown);
    if !unknown.is_empty() {
        return Conclusion::Unknown(said(
            &unknown,
            "it cannot be known whether the mail server has taken the message ",
        ));
    }
    let failed = of(|state| state.is_failed() && state != RecipientState::Suppressed);
    if failed.is_empty() { Conclusion::Done } else { Conclusion::Failed(said(&failed, "the mail server refuses it ")) }
}

fn words(one: &Standing) -> String {
    let rule = one.rule.as_ref().map(|rule| format!("({rule})")).unwrap_or_default();
    let note = one.note.as_ref().map(|note| format!(": {note}")).unwrap_or_default();
    let hint = match one.rule.as_deref() {
        Some("not-let-in") => "; see `mail.url`, `mail.password_env` and `mail.starttls`",
        Some("tls-failed") => "; see `mail.starttls` and `mail.ca_file`",
        _ => "",
    };
    format!("{rule}{note}{hint}")
}

#[cfg(test)]
mod tests {
    use gristmill_mail::classify::Phase;

    use super::*;

    const UNASKED: Duration = Duration::from_secs(7);

    fn about(last: bool, policy: UnknownPolicy, age: i64) -> Circumstances {
        let created_at = Instant::from_timestamp(1_700_000_000, 0).expect("valid");
        let now = created_at + chrono::TimeDelta::seconds(age);
        Circumstances { created_at, now, last, policy, suppress: Duration::from_secs(9), unasked: UNASKED }
    }

    fn reply(phase: Phase, code: u16, text: &str) -> Answer {
        Answer::judged(phase, Signal::Reply { code, text: text.to_owned() })
    }

    #[test]
    fn an_answer_is_a_step() {
        use RecipientState::*;
        let lost = Answer::judged(Phase::Dot, Signal::Silent);
        let full = reply(Phase::Rcpt, 452, "4.2.2 mailbox full");
        for (answer, last, policy, age, to) in [
            (reply(Phase::Dot, 250, "2.0.0 ok"), false, UnknownPolicy::Hold, 0, Sent),
            (reply(Phase::Rcpt, 450, "4.2.0 later"), false, UnknownPolicy::Hold, 0, Deferred),
            (reply(Phase::Rcpt, 450, "4.2.0 later"), true, UnknownPolicy::Hold, 0, Expired),
            (full.clone(), false, UnknownPolicy::Hold, 86_400, Deferred),
            (full, false, UnknownPolicy::Hold, 86_401, Bounced),
            (reply(Phase::Auth, 535, "5.7.8 no"), true, UnknownPolicy::Hold, 0, Deferred),
            (lost.clone(), true, UnknownPolicy::Resend, 0, Unknown),
            (lost.clone(), false, UnknownPolicy::Hold, 0, Unknown),
            (lost, false, UnknownPolicy::Accept, 0, Sent),
            (Answer::CalledOff("no".to_owned()), false, UnknownPolicy::Hold, 0, Deferred),
        ] {
            assert_eq!(step(3, &answer, &about(last, policy, age)).0.to, to, "{answer:?}");
        }
        let (gone, _) =
            step(3, &reply(Phase::Rcpt, 550, "5.1.1 <a@b.example>?"), &about(false, UnknownPolicy::Hold, 0));
        assert_eq!((gone.to, gone.suppress, gone.code), (Bounced, Some(Duration::from_secs(9)), Some(550)));
        assert_eq!((gone.status.as_deref(), gone.note.as_deref()), (Some("5.1.1"), Some("550 5.1.1 (address)")));
        let data = step(3, &reply(Phase::Dot, 550, "5.1.1 no"), &about(false, UnknownPolicy::Hold, 0)).0;
        assert_eq!((data.to, data.suppress), (Bounced, None));
    }

    #[test]
    fn what_no_server_was_asked_for_spends_no_attempt() {
        let away = Answer::judged(Phase::Connect, Signal::Lost { why: "refused".to_owned() });
        let held = Answer::Held { why: "its turn".to_owned(), wait: Duration::from_secs(3) };
        let no = reply(Phase::Auth, 535, "5.7.8 no");
        for (answer, age, to, unasked) in [
            (&away, 0, RecipientState::Deferred, true),
            (&away, 5 * 86_400 + 1, RecipientState::Expired, false),
            (&held, 9 * 86_400, RecipientState::Deferred, true),
            (&no, 9 * 86_400, RecipientState::Deferred, true),
            (&reply(Phase::Rcpt, 450, "4.2.0 later"), 0, RecipientState::Expired, false),
        ] {
            let (moved, next) = step(0, answer, &about(true, UnknownPolicy::Hold, age));
            assert_eq!((moved.to, next.unasked), (to, unasked), "{answer:?}");
        }
        let standing = |answer: &Answer| {
            let (moved, next) = step(0, answer, &about(false, UnknownPolicy::Hold, 0));
            Standing { state: moved.to, rule: moved.rule, note: moved.note, next }
        };
        let both = conclude(&[standing(&away), standing(&held)]);
        assert!(matches!(both, Conclusion::Paused(_, wait) if wait == Duration::from_secs(3)), "{both:?}");
        let asked = conclude(&[standing(&away), standing(&reply(Phase::Rcpt, 450, "4.2.0 later"))]);
        assert!(matches!(asked, Conclusion::Again(..)), "{asked:?}");
    }

    #[test]
    fn a_job_ends_as_the_recipient_that_needs_the_most() {
        use RecipientState::*;
        let ends = |states: &[(RecipientState, u64)]| {
            let all: Vec<Standing> = states
                .iter()
                .map(|(state, after)| {
                    let after = (*after > 0).then(|| Duration::from_secs(*after));
                    let next = Next { after, unasked: false };
                    Standing { state: *state, rule: Some("r".to_owned()), note: None, next }
                })
                .collect();
            conclude(&all)
        };
        assert_eq!(ends(&[(Sent, 0), (Suppressed, 0)]), Conclusion::Done);
        let again = ends(&[(Bounced, 0), (Deferred, 90), (Deferred, 30), (Unknown, 0)]);
        let Conclusion::Again(text, wait) = again else { panic!("{again:?}") };
        assert_eq!(wait, Some(Duration::from_secs(30)));
        assert!(text.contains("for 2 of 4 recipients"), "{text}");
        assert!(matches!(ends(&[(Bounced, 0), (Unknown, 0)]), Conclusion::Unknown(_)));
        assert!(matches!(ends(&[(Bounced, 0), (Sent, 0)]), Conclusion::Failed(_)));
        assert!(matches!(ends(&[(Expired, 0)]), Conclusion::Failed(_)));
    }
}
