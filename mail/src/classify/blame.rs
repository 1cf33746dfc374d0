//! Whom an answer speaks of beyond the message: the relay that was asked, the domain that is sent to, or ourselves.

use super::{Enhanced, Outcome, Phase, Scope, Signal, Verdict};

gristmill_core::words! {
    /// Who is behind it that a message did not get through.
    pub enum Blame {
        /// The message, its sender or a recipient: it says nothing of others.
        Nobody = "nobody",
        /// The relay: it cannot be reached, breaks off, is silent, or sends us away.
        Relay = "relay",
        /// The domain: it has had too much of us, or does not answer.
        Domain = "domain",
        /// We: our password, or a certificate that we do not trust.
        Ourselves = "ourselves",
    }
}

impl Blame {
    /// Whether another relay may take the message in its place, from where the transaction stood. After the final dot it
    /// may have been taken, whatever the fault.
    pub fn lets_another_try(self, phase: Phase) -> bool {
        matches!(self, Self::Relay | Self::Ourselves) && phase != Phase::Dot
    }
}

/// Words by which servers ask to be sent less, in lower case.
const SLOW_DOWN: [&str; 8] =
    ["too many", "too fast", "too quickly", "slow down", "rate limit", "ratelimit", "throttl", "exceeded the rate"];

/// Whether a server asks to be sent less: an answer that refuses for now, about what comes from us and not about a mailbox.
pub fn asks_to_slow_down(phase: Phase, code: u16, text: &str) -> bool {
    if !(400..500).contains(&code) || phase.is_before_the_message() {
        return false;
    }
    let lower = text.to_ascii_lowercase();
    // Too many recipients of one message is no matter of speed.
    let said = !lower.contains("recipients") && SLOW_DOWN.iter().any(|words| lower.contains(words));
    match Enhanced::at_start(text).map(|code| (code.subject, code.detail)) {
        // Greylisting has the same code as rates: only its words tell them apart.
        Some((7, 0 | 1)) => said || code == 421,
        Some((7, _)) => true,
        Some((5, 3) | (2, 2)) => false,
        _ => said,
    }
}

/// Finds who is behind what happened.
pub fn blame(phase: Phase, signal: &Signal, verdict: &Verdict) -> Blame {
    if matches!(verdict.outcome, Outcome::OurFault { .. }) || matches!(signal, Signal::Insecure { .. }) {
        return Blame::Ourselves;
    }
    match signal {
        Signal::Unfit { .. } | Signal::Insecure { .. } => Blame::Nobody,
        // The server looks the recipient up with its own: its silence there is theirs.
        Signal::Silent if phase == Phase::Rcpt => Blame::Domain,
        Signal::Silent | Signal::Lost { .. } => Blame::Relay,
        Signal::Reply { code, .. } if *code < 400 => Blame::Nobody,
        Signal::Reply { code, text } if asks_to_slow_down(phase, *code, text) => Blame::Domain,
        Signal::Reply { code: 421, .. } => Blame::Relay,
        Signal::Reply { .. } if phase.is_before_the_message() => Blame::Relay,
        // A full disk or a shutdown is the relay's, where no recipient was named last.
        Signal::Reply { code: 400..=499, .. } if phase != Phase::Rcpt && verdict.scope == Scope::Host => Blame::Relay,
        Signal::Reply { .. } => Blame::Nobody,
    }
}

#[cfg(test)]
mod tests {
    use super::super::classify;
    use super::*;

    fn said(phase: Phase, code: u16, text: &str) -> Blame {
        let signal = Signal::Reply { code, text: text.to_owned() };
        blame(phase, &signal, &classify(phase, &signal))
    }

    #[test]
    fn an_answer_speaks_of_the_relay_the_domain_us_or_nobody() {
        for (phase, code, text, whom) in [
            (Phase::Connect, 421, "4.3.2 shutting down", Blame::Relay),
            (Phase::Connect, 554, "5.7.1 go away", Blame::Relay),
            (Phase::Hello, 421, "4.7.0 too many connections", Blame::Relay),
            (Phase::Auth, 535, "5.7.8 no", Blame::Ourselves),
            (Phase::Mail, 530, "5.7.0 log in first", Blame::Ourselves),
            (Phase::Mail, 451, "4.3.0 disk trouble", Blame::Relay),
            (Phase::Rcpt, 451, "4.3.0 cannot look it up", Blame::Nobody),
            (Phase::Rcpt, 421, "4.7.0 slow down", Blame::Domain),
            (Phase::Rcpt, 421, "closing", Blame::Relay),
            (Phase::Rcpt, 450, "4.7.1 greylisted, try again in 300 seconds", Blame::Nobody),
            (Phase::Rcpt, 450, "4.7.1 too many messages from you", Blame::Domain),
            (Phase::Rcpt, 452, "4.5.3 too many recipients", Blame::Nobody),
            (Phase::Rcpt, 452, "too many recipients", Blame::Nobody),
            (Phase::Rcpt, 452, "4.2.2 mailbox full", Blame::Nobody),
            (Phase::Rcpt, 550, "5.1.1 no such user", Blame::Nobody),
            (Phase::Dot, 451, "4.7.28 unusual rate", Blame::Domain),
            (Phase::Dot, 451, "4.3.0 disk trouble", Blame::Relay),
            (Phase::Dot, 450, "not now", Blame::Nobody),
            (Phase::Dot, 450, "rate limit reached", Blame::Domain),
            (Phase::Dot, 250, "2.0.0 ok", Blame::Nobody),
        ] {
            assert_eq!(said(phase, code, text), whom, "{phase} {code} {text}");
        }
    }

    #[test]
    fn silence_is_the_relays_but_at_a_recipient() {
        let of = |phase, signal: &Signal| blame(phase, signal, &classify(phase, signal));
        assert_eq!(of(Phase::Rcpt, &Signal::Silent), Blame::Domain);
        for phase in [Phase::Connect, Phase::Mail, Phase::Data, Phase::Body, Phase::Dot] {
            assert_eq!(of(phase, &Signal::Silent), Blame::Relay, "{phase}");
            assert_eq!(of(phase, &Signal::Lost { why: String::new() }), Blame::Relay, "{phase}");
        }
        assert_eq!(of(Phase::Tls, &Signal::Insecure { why: String::new() }), Blame::Ourselves);
        assert_eq!(of(Phase::Mail, &Signal::Unfit { why: String::new() }), Blame::Nobody);
        assert_eq!(of(Phase::Auth, &Signal::Unfit { why: String::new() }), Blame::Ourselves);
    }

    #[test]
    fn after_the_final_dot_no_other_relay_tries() {
        for phase in Phase::ALL {
            assert_eq!(Blame::Relay.lets_another_try(phase), phase != Phase::Dot, "{phase}");
            assert!(!Blame::Domain.lets_another_try(phase) && !Blame::Nobody.lets_another_try(phase));
        }
    }
}
