//! Mailings: a batch of which each item that passes its stages becomes one message to one recipient.
//!
//! A message belongs to the place of its item in the batch's input: that is its identity, so that a chunk which runs
//! twice makes no second one. How far a mailing is, is a count of its recipients by state: the funnel.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Instant;
use crate::batch::FailureBudget;
use crate::duration::{self, Span};
use crate::id::{BatchId, JobId, is_name};
use crate::job::Priority;
use crate::letter::{RecipientState, TRANSACTIONAL};
use crate::limit::KEY_BYTES_MAX;
use crate::one_or_many::OneOrMany;
use crate::retry::RetryPolicy;

/// The stream of a mailing that names none.
pub const BROADCAST: &str = "broadcast";

/// The name of the funnel among the results of a batch.
pub const FUNNEL_NAME: &str = "mail";

/// The name of the funnels by template beside it.
pub const VARIANTS_NAME: &str = "mail_variants";

/// The most items that one chunk of a mailing may have: their messages are enqueued in one transaction.
pub const CHUNK_MESSAGES_MAX: u64 = 2_000;

/// The most templates among which the recipients of a mailing are divided.
pub const VARIANTS_MAX: usize = 20;

/// The largest share of a template.
pub const SHARE_MAX: u32 = 1_000_000;

/// How many recipients must have been tried before a budget for bounces is judged, unless something else is said.
pub const BOUNCE_MINIMUM_DEFAULT: u64 = 100;

/// How long the end of a mailing is waited for, unless something else is said.
pub const SETTLE_WITHIN_DEFAULT: Duration = Duration::from_secs(24 * 3_600);

/// How often a message is tried, unless something else is said: with the waits of [`retry`], for about five days.
pub const MESSAGE_ATTEMPTS_DEFAULT: u32 = 24;

/// What is sent to whom, as `[batch.NAME.mail]` spells it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MailSpec {
    /// The field that holds the recipient's address.
    pub to: String,
    /// The field that holds the recipient's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The template of all messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// Several templates instead, among which the recipients are divided.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variants: Vec<VariantSpec>,
    /// The subject of messages without a template, filled as a template is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Their plain text, filled as a template is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Their HTML version, filled as a template is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub html: Option<String>,
    /// What the template is filled with: a name of its own for each field of the item. By default the whole item.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, String>,
    /// The sender; `[mail] from` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Who gets answers; the sender by default.
    #[serde(default, skip_serializing_if = "OneOrMany::is_empty")]
    pub reply_to: OneOrMany,
    /// Headers of its own, such as `X-Campaign`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The stream that the messages belong to; [`BROADCAST`] by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// `true`: refused without `[mail] unsubscribe_url`. `false`: no link to unsubscribe. By default there is one where
    /// it can be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list_unsubscribe: Option<bool>,
    /// No message starts before this instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send_at: Option<Instant>,
    /// Within what time since it was enqueued a message must be sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<Span>,
    /// The queue of the messages; that of the chunks by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// The key of the messages, for taking turns and for limits; the batch's id by default, so that mailings take turns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// How many attempts each message has: [`MESSAGE_ATTEMPTS_DEFAULT`] by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// How many recipients may bounce, as a count or as a share of those tried, before the mailing pauses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bounce_budget: Option<FailureBudget>,
    /// How many recipients must have been tried before that is judged: [`BOUNCE_MINIMUM_DEFAULT`] by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bounce_minimum: Option<u64>,
    /// How long the batch waits, once all recipients have been tried, for those that were put off:
    /// [`SETTLE_WITHIN_DEFAULT`] by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settle_within: Option<Span>,
}

/// One of several templates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VariantSpec {
    /// The template, by which the variant is counted as well.
    pub template: String,
    /// Its share: this many parts of the sum of all shares.
    pub share: u32,
}

impl MailSpec {
    /// The stream of its messages.
    pub fn stream(&self) -> &str {
        self.stream.as_deref().unwrap_or(BROADCAST)
    }

    /// The priority of its messages: what a person or a program asked for goes first.
    pub fn priority(&self) -> Priority {
        if self.stream() == TRANSACTIONAL { Priority::Normal } else { Priority::Low }
    }

    /// How many attempts each message has.
    pub fn max_attempts(&self) -> u32 {
        self.max_attempts.unwrap_or(MESSAGE_ATTEMPTS_DEFAULT)
    }

    /// How long the batch waits for recipients that were put off.
    pub fn settle_within(&self) -> Duration {
        self.settle_within.map_or(SETTLE_WITHIN_DEFAULT, |span| span.0)
    }

    /// The template of a recipient, by the hash of its address; `None` for messages without one. The same recipient gets
    /// the same one in every run of a batch of this name.
    pub fn template_for(&self, batch_name: &str, address_hash: &[u8; 32]) -> Option<&str> {
        if self.variants.is_empty() {
            return self.template.as_deref();
        }
        let total: u64 = self.variants.iter().map(|variant| u64::from(variant.share)).sum();
        let mut place = spread(batch_name, address_hash) % total.max(1);
        for variant in &self.variants {
            let share = u64::from(variant.share);
            if place < share {
                return Some(&variant.template);
            }
            place -= share;
        }
        None
    }

    /// What is wrong with it by itself, if anything: the key, and what would be right.
    pub fn fault(&self) -> Option<(&'static str, String)> {
        self.fault_of_content()
            .or_else(|| self.fault_of_variants())
            .or_else(|| self.fault_of_numbers())
            .or_else(|| self.fault_of_its_place())
    }

    /// Refused here, because no store would take a job for it.
    fn fault_of_its_place(&self) -> Option<(&'static str, String)> {
        if let Some(queue) = self.queue.as_deref().filter(|queue| !is_name(queue)) {
            return Some(("queue", format!("`{queue}` is not a name; use 1 to 100 letters, digits, `-` and `_`")));
        }
        let bytes = self.key.as_ref().map_or(1, String::len);
        if !(1..=KEY_BYTES_MAX).contains(&bytes) {
            return Some(("key", format!("has {bytes} bytes; a key has 1 to {KEY_BYTES_MAX}")));
        }
        None
    }

    fn fault_of_content(&self) -> Option<(&'static str, String)> {
        if self.to.is_empty() {
            return Some(("to", "is empty; name the field that holds the address, such as `email`".to_owned()));
        }
        if let Some(fault) = crate::letter::stream_fault(self.stream()) {
            return Some(("stream", fault));
        }
        let direct = self.subject.is_some() || self.text.is_some() || self.html.is_some();
        let ways = [self.template.is_some(), !self.variants.is_empty(), direct];
        match ways.into_iter().filter(|is| *is).count() {
            1 => {}
            0 => return Some(("template", "is missing; or write `variants`, or `subject` and `text`".to_owned())),
            _ => {
                let problem = "is not alone; write one of `template`, `variants`, and `subject` with `text` or `html`";
                return Some(("template", problem.to_owned()));
            }
        }
        if direct && (self.subject.is_none() || (self.text.is_none() && self.html.is_none())) {
            return Some(("subject", "a message without a template needs `subject`, and `text` or `html`".to_owned()));
        }
        None
    }

    fn fault_of_variants(&self) -> Option<(&'static str, String)> {
        let wrong = |problem: String| Some(("variants", problem));
        if self.variants.len() > VARIANTS_MAX {
            return wrong(format!("are {}; there may be {VARIANTS_MAX}", self.variants.len()));
        }
        for (place, variant) in self.variants.iter().enumerate() {
            if !(1..=SHARE_MAX).contains(&variant.share) {
                return wrong(format!("`share` is {}; it must be 1 to {SHARE_MAX}", variant.share));
            }
            if self.variants[..place].iter().any(|other| other.template == variant.template) {
                return wrong(format!("name `{}` twice; add its shares together", variant.template));
            }
        }
        None
    }

    fn fault_of_numbers(&self) -> Option<(&'static str, String)> {
        if self.max_attempts == Some(0) {
            return Some(("max_attempts", "is 0; a message has at least 1 attempt".to_owned()));
        }
        if self.bounce_minimum == Some(0) {
            return Some(("bounce_minimum", "is 0; at least 1 recipient must have been tried".to_owned()));
        }
        if self.bounce_minimum.is_some() && self.bounce_budget.is_none() {
            return Some(("bounce_minimum", "is of no use without `bounce_budget`".to_owned()));
        }
        None
    }
}

/// A number that looks random, from a salt and a hash: FNV-1a and the last steps of SplitMix64. It is part of what is
/// promised, and therefore written here: another function would deal the recipients anew.
fn spread(salt: &str, hash: &[u8; 32]) -> u64 {
    let mut state: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in salt.bytes().chain([0]).chain(hash.iter().copied()) {
        state = (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

/// The waits between the attempts at a message: of minutes at first, later of hours, as mail servers expect.
pub fn retry() -> RetryPolicy {
    let minutes = [5, 15, 30, 60, 120, 240, 360];
    RetryPolicy::List(minutes.map(|minutes| Span(Duration::from_secs(minutes * 60))).to_vec())
}

/// How many bits of a message's id are the place of its item.
const PLACE_BITS: u32 = 36;

/// The message of an item: the same whenever it is made. It sorts as the items do, behind the batch that it belongs to,
/// so that the index of the jobs grows at one end of it.
///
/// A UUID of version 7: the batch's milliseconds; then, of the 74 bits that are free, 36 for the place of the item in
/// the input, and 38 of the batch's own random bits.
pub fn message_id(batch: BatchId, item: u64) -> JobId {
    let batch = batch.0.as_u128();
    let milliseconds = batch >> 80;
    let own = batch & ((1 << (74 - PLACE_BITS)) - 1);
    let free = (u128::from(item & ((1 << PLACE_BITS) - 1)) << (74 - PLACE_BITS)) | own;
    let (first, rest) = (free >> 62, free & ((1 << 62) - 1));
    JobId(Uuid::from_u128((milliseconds << 80) | (7 << 76) | (first << 64) | (2 << 62) | rest))
}

/// How many recipients of a mailing are where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Funnel {
    /// All of them: one for each item that became a message.
    pub made: u64,
    /// On the list of those to which nothing is sent.
    pub suppressed: u64,
    /// The message could not be made.
    pub dropped: u64,
    /// Not tried yet.
    pub queued: u64,
    /// An attempt is asking the server, or the message is under way.
    pub sending: u64,
    /// Put off by the server: tried again.
    pub deferred: u64,
    /// Taken by a server, of which nothing more is known.
    pub sent: u64,
    /// In the mailbox, as a server has reported.
    pub delivered: u64,
    /// Refused for good, at once or later.
    pub bounced: u64,
    /// It may have been taken: an attempt ended without an answer.
    pub unknown: u64,
    /// Not taken as long as it was tried.
    pub expired: u64,
    /// Called off before it was taken.
    pub cancelled: u64,
    /// Called unwanted by the recipient.
    pub complained: u64,
}

impl Funnel {
    /// Adds recipients in a state.
    pub fn add(&mut self, state: RecipientState, recipients: u64) {
        let place = match state {
            RecipientState::Queued => &mut self.queued,
            RecipientState::Sending | RecipientState::Transmitted => &mut self.sending,
            RecipientState::Sent => &mut self.sent,
            RecipientState::Deferred => &mut self.deferred,
            RecipientState::Bounced => &mut self.bounced,
            RecipientState::Unknown => &mut self.unknown,
            RecipientState::Suppressed => &mut self.suppressed,
            RecipientState::Dropped => &mut self.dropped,
            RecipientState::Expired => &mut self.expired,
            RecipientState::Cancelled => &mut self.cancelled,
            RecipientState::Delivered => &mut self.delivered,
            RecipientState::Complained => &mut self.complained,
        };
        *place += recipients;
        self.made += recipients;
    }

    /// Adds another one, such as that of another variant.
    pub fn merge(&mut self, other: &Self) {
        for (state, recipients) in other.by_state() {
            self.add(state, recipients);
        }
    }

    /// How many are in each state, in the order in which a message goes through them.
    pub fn by_state(&self) -> [(RecipientState, u64); 12] {
        [
            (RecipientState::Suppressed, self.suppressed),
            (RecipientState::Dropped, self.dropped),
            (RecipientState::Queued, self.queued),
            (RecipientState::Sending, self.sending),
            (RecipientState::Deferred, self.deferred),
            (RecipientState::Sent, self.sent),
            (RecipientState::Delivered, self.delivered),
            (RecipientState::Bounced, self.bounced),
            (RecipientState::Unknown, self.unknown),
            (RecipientState::Expired, self.expired),
            (RecipientState::Cancelled, self.cancelled),
            (RecipientState::Complained, self.complained),
        ]
    }

    /// Those to whom an attempt is still owed.
    pub fn owed(&self) -> u64 {
        self.queued + self.sending + self.deferred
    }

    /// Those for whom a server has taken the message, whatever was reported later.
    pub fn accepted(&self) -> u64 {
        self.sent + self.delivered + self.complained
    }

    /// Those of whom a server has said something final, or may have.
    pub fn tried(&self) -> u64 {
        self.accepted() + self.bounced + self.unknown
    }

    /// Whether a batch need not wait any longer for what becomes of its messages: none is owed, or each has been tried
    /// and those that were put off have had their time. What was never tried is waited for: a mailing that is paused, or
    /// that a rate holds back, has not ended.
    pub fn is_settled(&self, waited: Duration, within: Duration) -> bool {
        self.owed() == 0 || (self.queued == 0 && waited >= within)
    }
}

/// How often an aggregate may come again later: that of a mailing waits for its messages, possibly for weeks.
pub const AGGREGATE_SNOOZES_MAX: u32 = 1_000_000;

/// How long until it is looked again whether a mailing has ended: the longer it lasts, the less a moment matters.
pub fn look_again(waited: Duration) -> Duration {
    (waited / 20).clamp(Duration::from_secs(1), Duration::from_secs(60))
}

/// How much of a mailing was judged before: what was tried and had bounced when it paused for it last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Judged {
    /// Recipients tried.
    pub tried: u64,
    /// Those of them that had bounced.
    pub bounced: u64,
}

/// Why a mailing pauses, if it does: more of the recipients have bounced than its budget allows. Who resumes it forgives
/// what was `judged` before.
pub fn over_bounce_budget(spec: &MailSpec, funnel: &Funnel, judged: Judged) -> Option<String> {
    let budget = spec.bounce_budget?;
    let tried = funnel.tried().saturating_sub(judged.tried);
    let bounced = funnel.bounced.saturating_sub(judged.bounced);
    if tried < spec.bounce_minimum.unwrap_or(BOUNCE_MINIMUM_DEFAULT) {
        return None;
    }
    let counts = crate::batch::Counts { input: tried, quarantined: bounced, ..Default::default() };
    budget.exceeded_by(&counts, true).then(|| {
        format!("{bounced} of {tried} recipients tried have bounced, more than the `bounce_budget` of {budget}")
    })
}

/// What is said of a batch that waits for its messages.
pub fn waiting_for(funnel: &Funnel, within: Duration) -> String {
    let Funnel { queued, sending, deferred, .. } = funnel;
    format!(
        "waits for its messages: {queued} queued, {sending} being sent, {deferred} put off (those for {} at most)",
        duration::format(within)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> MailSpec {
        MailSpec { to: "email".to_owned(), template: Some("news".to_owned()), ..MailSpec::default() }
    }

    fn hash(number: u64) -> [u8; 32] {
        use sha2::{Digest, Sha256};
        Sha256::digest(number.to_be_bytes()).into()
    }

    fn variant(template: &str, share: u32) -> VariantSpec {
        VariantSpec { template: template.to_owned(), share }
    }

    #[test]
    fn the_message_of_an_item_is_the_same_whenever_it_is_made_and_that_of_another_is_another() {
        let batches = [0x0198_f9c1_2345_7abc_8123_4567_89ab_cdef_u128, 0x0198_f9c1_2345_7abc_8123_4567_89ab_cdee];
        let mut all: Vec<JobId> = Vec::new();
        for batch in batches {
            let of = |item| message_id(BatchId(Uuid::from_u128(batch)), item);
            let ids: Vec<JobId> = [0, 1, 2, 4_095, 4_096, 1_000_000, (1 << PLACE_BITS) - 1].map(of).to_vec();
            assert!(ids.is_sorted() && ids == [0, 1, 2, 4_095, 4_096, 1_000_000, (1 << PLACE_BITS) - 1].map(of));
            all.extend(ids);
        }
        for id in &all {
            assert_eq!((id.0.get_version_num(), id.0.get_variant()), (7, uuid::Variant::RFC4122), "{id}");
            assert_eq!(id.0.as_u128() >> 80, batches[0] >> 80, "the batch's milliseconds");
        }
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn recipients_are_divided_by_share_and_each_always_gets_the_same() {
        let spec = MailSpec { template: None, variants: vec![variant("a", 1), variant("b", 3)], ..spec() };
        let of = |name: &str, number| spec.template_for(name, &hash(number)).expect("one").to_owned();
        let first: Vec<String> = (0..10_000).map(|number| of("news", number)).collect();
        let a = first.iter().filter(|template| *template == "a").count();
        assert!((2_300..2_700).contains(&a), "{a} of 10000 instead of a quarter");
        assert_eq!(first, (0..10_000).map(|number| of("news", number)).collect::<Vec<_>>());
        let other = (0..10_000).filter(|number| of("other", *number) == first[*number as usize]).count();
        assert!(other < 7_000, "another batch divides them anew: {other} are the same");
    }

    #[test]
    fn what_is_wrong_with_a_mailing_is_named() {
        let direct = MailSpec { template: None, subject: Some("s".to_owned()), text: Some("t".to_owned()), ..spec() };
        let good = [
            spec(),
            direct.clone(),
            MailSpec { template: None, variants: vec![variant("a", 1), variant("b", 1)], ..spec() },
        ];
        for spec in good {
            assert_eq!(spec.fault(), None);
        }
        let bad = [
            ("to", MailSpec { to: String::new(), ..spec() }),
            ("stream", MailSpec { stream: Some("A b".to_owned()), ..spec() }),
            ("template", MailSpec { template: None, ..spec() }),
            ("template", MailSpec { subject: Some("s".to_owned()), ..spec() }),
            ("template", MailSpec { variants: vec![variant("a", 1)], ..spec() }),
            ("subject", MailSpec { text: None, ..direct }),
            ("variants", MailSpec { template: None, variants: vec![variant("a", 0)], ..spec() }),
            ("variants", MailSpec { template: None, variants: vec![variant("a", 1), variant("a", 1)], ..spec() }),
            ("max_attempts", MailSpec { max_attempts: Some(0), ..spec() }),
            ("queue", MailSpec { queue: Some("a b".to_owned()), ..spec() }),
            ("key", MailSpec { key: Some(String::new()), ..spec() }),
            ("bounce_minimum", MailSpec { bounce_minimum: Some(5), ..spec() }),
        ];
        for (key, spec) in bad {
            assert_eq!(spec.fault().map(|(key, _)| key), Some(key), "{spec:?}");
        }
    }

    #[test]
    fn a_budget_for_bounces_waits_for_the_minimum_and_who_resumes_forgives() {
        let spec =
            MailSpec { bounce_budget: Some("5 %".parse().expect("a share")), bounce_minimum: Some(20), ..spec() };
        let funnel = |sent, bounced| Funnel { sent, bounced, ..Funnel::default() };
        let none = Judged::default();
        assert_eq!(over_bounce_budget(&spec, &funnel(9, 10), none), None, "19 are too few to judge");
        assert_eq!(over_bounce_budget(&spec, &funnel(19, 1), none), None, "5 % of 20 is allowed");
        let why = over_bounce_budget(&spec, &funnel(18, 2), none).expect("10 %");
        assert_eq!(why, "2 of 20 recipients tried have bounced, more than the `bounce_budget` of 5%");
        let judged = Judged { tried: 20, bounced: 2 };
        assert_eq!(over_bounce_budget(&spec, &funnel(19, 3), judged), None, "only what came since counts");
        assert!(over_bounce_budget(&spec, &funnel(36, 4), judged).is_some(), "2 of the 20 since");
        assert_eq!(over_bounce_budget(&MailSpec { bounce_budget: None, ..spec }, &funnel(0, 99), none), None);
    }

    #[test]
    fn a_batch_waits_for_what_was_never_tried_and_for_what_was_put_off_only_so_long() {
        let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3_600));
        let queued = Funnel { queued: 1, ..Funnel::default() };
        let deferred = Funnel { deferred: 1, sending: 1, ..Funnel::default() };
        assert!(!queued.is_settled(hour, minute), "a paused mailing has not ended");
        assert!(!deferred.is_settled(minute, hour) && deferred.is_settled(hour, hour));
        assert!(Funnel { sent: 3, unknown: 1, ..Funnel::default() }.is_settled(Duration::ZERO, hour));
        assert_eq!([0, 100, 86_400].map(|s| look_again(Duration::from_secs(s)).as_secs()), [1, 5, 60]);
    }

    #[test]
    fn every_state_has_a_place_in_the_funnel() {
        let mut funnel = Funnel::default();
        for state in RecipientState::ALL {
            funnel.add(state, 1);
        }
        assert_eq!(funnel.made, RecipientState::ALL.len() as u64);
        assert_eq!(funnel.by_state().iter().map(|(_, recipients)| recipients).sum::<u64>(), funnel.made);
        let mut twice = funnel;
        twice.merge(&funnel);
        assert_eq!((twice.made, twice.sending), (26, 4));
        for state in RecipientState::ALL {
            let mut one = Funnel::default();
            one.add(state, 1);
            assert_eq!(one.owed() == 1, state.is_owed(), "{state}");
            assert_eq!(one.accepted() == 1, state.is_taken(), "{state}");
        }
    }
}
