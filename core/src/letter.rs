//! Emails: where each recipient of a message is, and which step may follow.
//!
//! ```text
//! queued ──► sending ──► transmitted ──► sent ──► delivered, bounced, complained   (what servers report later)
//!   │           │             ├──► deferred ──► sending …
//!   │           │             ├──► bounced
//!   │           │             └──► unknown ──► sending (again, marked), sent (taken as such), or it stays
//!   │           └──► deferred, bounced
//!   └──► suppressed, dropped, expired, cancelled
//! ```
//!
//! `sending` is committed before the server is asked, `transmitted` before the first byte of the message: what is found
//! in `sending` later has certainly not been sent, what is found in `transmitted` may have been (RFC 1047).

crate::words! {
    /// Where a message is for one of its recipients.
    #[derive(PartialOrd, Ord)]
    pub enum RecipientState {
        /// It has not been tried.
        Queued = "queued",
        /// An attempt is asking the server. No byte of the message is under way.
        Sending = "sending",
        /// The message itself may be under way: committed before its first byte.
        Transmitted = "transmitted",
        /// The server has taken it. It is not said that it has arrived.
        Sent = "sent",
        /// Not now: it is tried again.
        Deferred = "deferred",
        /// Refused for good.
        Bounced = "bounced",
        /// An attempt ended without an answer: it may have been taken.
        Unknown = "unknown",
        /// The address is on the list of those to which nothing is sent.
        Suppressed = "suppressed",
        /// The message could not be made.
        Dropped = "dropped",
        /// It was not taken as long as it was tried.
        Expired = "expired",
        /// Its job was cancelled before it was taken.
        Cancelled = "cancelled",
        /// A server has reported that it is in the mailbox.
        Delivered = "delivered",
        /// The recipient has called it unwanted.
        Complained = "complained",
    }
}

impl RecipientState {
    /// The states from which this one may be entered.
    pub fn sources(self) -> &'static [Self] {
        match self {
            Self::Queued => &[],
            // A worker that died, an answer that never came and is asked for again, and what a redrive brings back.
            Self::Sending => &[
                Self::Queued,
                Self::Sending,
                Self::Deferred,
                Self::Unknown,
                Self::Bounced,
                Self::Suppressed,
                Self::Dropped,
                Self::Expired,
                Self::Cancelled,
            ],
            Self::Transmitted => &[Self::Sending],
            Self::Sent => &[Self::Transmitted, Self::Unknown],
            Self::Deferred => &[Self::Sending, Self::Transmitted],
            Self::Bounced => &[Self::Sending, Self::Transmitted, Self::Unknown, Self::Sent],
            Self::Unknown => &[Self::Transmitted],
            Self::Suppressed => &[Self::Queued, Self::Sending, Self::Deferred],
            Self::Dropped => &[Self::Queued, Self::Sending, Self::Deferred],
            Self::Expired => &[Self::Queued, Self::Sending, Self::Deferred],
            Self::Cancelled => &[Self::Queued, Self::Sending, Self::Deferred],
            Self::Delivered => &[Self::Sent, Self::Unknown, Self::Transmitted],
            Self::Complained => &[Self::Sent, Self::Unknown, Self::Delivered],
        }
    }

    /// Whether it may be entered from another.
    pub fn may_follow(self, from: Self) -> bool {
        self.sources().contains(&from)
    }

    /// Whether an attempt still has to do something for this recipient.
    pub fn is_owed(self) -> bool {
        matches!(self, Self::Queued | Self::Sending | Self::Transmitted | Self::Deferred)
    }

    /// Whether it did not get the message, and would be tried again when its job is redriven.
    pub fn is_failed(self) -> bool {
        matches!(self, Self::Bounced | Self::Suppressed | Self::Dropped | Self::Expired | Self::Cancelled)
    }

    /// Whether a server has taken the message, as far as is known.
    pub fn is_taken(self) -> bool {
        matches!(self, Self::Sent | Self::Delivered | Self::Complained)
    }
}

crate::words! {
    /// Why a recipient gets a message.
    pub enum RecipientRole {
        /// It is written to.
        To = "to",
        /// It gets a copy that all can see.
        Cc = "cc",
        /// It gets a copy that no other recipient can see.
        Bcc = "bcc",
    }
}

crate::words! {
    /// What becomes of a recipient of whom it is unknown whether the message was taken.
    pub enum UnknownPolicy {
        /// It is sent again with the same bytes and the same `Message-ID`, marked as a possible duplicate.
        Resend = "resend",
        /// It stays as it is, for an operator to decide.
        Hold = "hold",
        /// It counts as sent.
        Accept = "accept",
    }
}

crate::words! {
    /// Why nothing is sent to an address.
    pub enum SuppressionReason {
        /// A server has said that there is no such mailbox.
        Bounce = "bounce",
        /// The recipient has called a message unwanted.
        Complaint = "complaint",
        /// A person has put it on the list.
        Manual = "manual",
        /// The recipient has taken itself off a stream.
        Unsubscribe = "unsubscribe",
    }
}

/// The stream of messages that a person or a program asked for, such as reports and links to set a password.
pub const TRANSACTIONAL: &str = "transactional";

/// The longest name of a stream.
pub const STREAM_CHARS_MAX: usize = 60;

/// What is wrong with a stream's name, if anything.
pub fn stream_fault(stream: &str) -> Option<String> {
    let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    let good = !stream.is_empty() && stream.len() <= STREAM_CHARS_MAX && stream.chars().all(known);
    (!good).then(|| {
        format!("the name of a stream is 1 to {STREAM_CHARS_MAX} of a-z, 0-9, `-` and `_`, such as `{TRANSACTIONAL}`")
    })
}

/// What reports name a message by (RFC 3461, ENVID): its `Message-ID` without brackets and domain.
pub fn envelope_id(message_id: &str) -> &str {
    message_id.trim_start_matches('<').split(['@', '>']).next().unwrap_or_default()
}

/// The last of several steps that begin an attempt, for one recipient: what it enters, or `None` when it stays.
///
/// `redriven` says that nothing was owed any more and the job runs all the same, which only a redrive does: then those
/// that failed are tried again. A recipient that is on the list is not sent to, whatever it was.
pub fn begun(from: RecipientState, suppressed: bool, redriven: bool, policy: UnknownPolicy) -> Option<RecipientState> {
    let tried = if suppressed { RecipientState::Suppressed } else { RecipientState::Sending };
    match from {
        RecipientState::Queued | RecipientState::Sending | RecipientState::Deferred => Some(tried),
        // Only the transaction itself knew, and it is gone.
        RecipientState::Transmitted => Some(RecipientState::Unknown),
        RecipientState::Unknown => match policy {
            UnknownPolicy::Resend if suppressed => None,
            UnknownPolicy::Resend => Some(RecipientState::Sending),
            UnknownPolicy::Hold => None,
            UnknownPolicy::Accept => Some(RecipientState::Sent),
        },
        failed if failed.is_failed() && redriven && !suppressed => Some(RecipientState::Sending),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_been_sent_is_never_sent_again_unless_it_is_known_to_be_unknown() {
        assert!(!RecipientState::Sending.may_follow(RecipientState::Transmitted));
        assert!(!RecipientState::Sending.may_follow(RecipientState::Sent));
        for state in RecipientState::ALL {
            for suppressed in [false, true] {
                for redriven in [false, true] {
                    for policy in UnknownPolicy::ALL {
                        let next = begun(state, suppressed, redriven, policy);
                        if let Some(next) = next {
                            assert!(next.may_follow(state), "{state} to {next}");
                            assert!(!(suppressed && next == RecipientState::Sending), "{state}");
                        }
                        let again = next == Some(RecipientState::Sending) && state == RecipientState::Unknown;
                        assert!(!again || policy == UnknownPolicy::Resend, "{policy}");
                        assert!(!state.is_taken() || next.is_none(), "{state}");
                    }
                }
            }
        }
    }

    #[test]
    fn every_recipient_is_owed_failed_taken_or_unknown() {
        for state in RecipientState::ALL {
            let kinds = [state.is_owed(), state.is_failed(), state.is_taken(), state == RecipientState::Unknown];
            assert_eq!(kinds.into_iter().filter(|is| *is).count(), 1, "{state}");
        }
    }

    #[test]
    fn a_stream_has_a_plain_name() {
        for good in [TRANSACTIONAL, "news-2", "a"] {
            assert_eq!(stream_fault(good), None, "{good}");
        }
        for bad in ["", "News", "a b", "a/b", &"a".repeat(61)] {
            assert!(stream_fault(bad).is_some(), "{bad}");
        }
    }
}
