//! Mailings in the model: counted from the recipients themselves, whenever it is asked.

use std::collections::BTreeMap;

use gristmill_core::batch::BatchState;
use gristmill_core::id::BatchId;
use gristmill_core::mailing::{Funnel, Judged, MailSpec, over_bounce_budget};

use super::state::{Email, Named, State};
use super::transition::Transition;
use crate::check;
use crate::error::Result;
use crate::sql::mailing::PAUSED_BY;
use crate::{EmailStat, MailingVariant, MailingView, PauseView, StatsBy, StatsFilter, domain_of};

/// How far a mailing is, by variant.
pub(super) fn funnels(state: &State, tenant: &str, batch: BatchId) -> Vec<MailingVariant> {
    let mut all: BTreeMap<&str, Funnel> = BTreeMap::new();
    let known = state.batches.contains_key(&batch);
    for ((of, variant), past) in state.mailings_past.iter().filter(|_| known) {
        if *of == batch {
            all.entry(variant).or_default().merge(past);
        }
    }
    for ((own, _), email) in state.emails.iter().filter(|_| known) {
        let Some(variant) = &email.record.variant else { continue };
        if own != tenant || email.view.batch != Some(batch) {
            continue;
        }
        for one in &email.record.recipients {
            all.entry(variant).or_default().add(one.state, 1);
        }
    }
    all.into_iter().map(|(variant, funnel)| MailingVariant { variant: variant.to_owned(), funnel }).collect()
}

/// The newest mailings of a tenant.
pub(super) fn newest(state: &State, tenant: &str, limit: u32) -> Vec<MailingView> {
    let of = state.batches.values().rev().filter(|batch| batch.tenant == tenant);
    let views = of.filter_map(|batch| {
        let variants = funnels(state, tenant, batch.id);
        let mut funnel = Funnel::default();
        variants.iter().for_each(|one| funnel.merge(&one.funnel));
        (!variants.is_empty()).then(|| MailingView { batch: batch.id, name: batch.name.clone(), funnel })
    });
    views.take(limit.clamp(1, 100) as usize).collect()
}

/// Deletes messages; what is counted of mailings stays.
pub(super) fn remove_emails(state: &mut State, which: impl Fn(&Named) -> bool) {
    let gone = state.emails.iter().filter(|(key, _)| which(key));
    for email in gone.map(|(_, email)| email) {
        let (Some(variant), Some(batch)) = (&email.record.variant, email.view.batch) else { continue };
        for one in &email.record.recipients {
            state.mailings_past.entry((batch, variant.clone())).or_default().add(one.state, 1);
        }
    }
    state.emails.retain(|key, _| !which(key));
}

/// Pauses a mailing that is over its budget for bounces.
pub(super) fn hold(t: &mut Transition<'_>, tenant: &str, batch: BatchId, spec: &MailSpec) -> Result<Option<String>> {
    let mut all = Funnel::default();
    for one in funnels(&t.state, tenant, batch) {
        all.merge(&one.funnel);
    }
    let judged = t.state.mailings_judged.get(&batch).copied().unwrap_or_default();
    let now = t.now;
    let Some(found) = t.state.batch_mut(batch).filter(|found| found.tenant == tenant) else { return Ok(None) };
    let open = matches!(found.state, BatchState::Open | BatchState::Sealed | BatchState::Aggregating);
    let over = over_bounce_budget(spec, &all, judged).filter(|_| open && found.pause.is_none());
    let Some(reason) = over else { return Ok(None) };
    let kept = check::plain(&reason, check::REASON_CHARS_MAX);
    found.pause = Some(PauseView { since: now, by: Some(PAUSED_BY.to_owned()), reason: Some(kept) });
    t.state.mailings_judged.insert(batch, Judged { tried: all.tried(), bounced: all.bounced });
    Ok(Some(reason))
}

/// Counts recipients.
pub(super) fn stats(t: &Transition<'_>, filter: &StatsFilter) -> Vec<EmailStat> {
    let since = filter.since.and_then(|since| chrono::TimeDelta::from_std(since).ok()).map(|since| t.now - since);
    let wanted = |email: &Email| {
        let view = &email.view;
        filter.batch.is_none_or(|batch| view.batch == Some(batch))
            && filter.template.as_ref().is_none_or(|template| view.template.as_ref() == Some(template))
            && filter.stream.as_ref().is_none_or(|stream| view.stream == *stream)
            && since.is_none_or(|since| view.created_at >= since)
    };
    let mut all: BTreeMap<String, Funnel> = BTreeMap::new();
    for ((tenant, _), email) in &t.state.emails {
        if *tenant != filter.tenant || !wanted(email) {
            continue;
        }
        for one in &email.record.recipients {
            let domain = domain_of(&one.address);
            if filter.domain.as_ref().is_some_and(|wanted| wanted.to_ascii_lowercase() != domain) {
                continue;
            }
            let name = match filter.by {
                StatsBy::All => String::new(),
                StatsBy::Template => email.view.template.clone().unwrap_or_default(),
                StatsBy::Stream => email.view.stream.clone(),
                StatsBy::Domain => domain,
            };
            all.entry(name).or_default().add(one.state, 1);
        }
    }
    let mut all: Vec<EmailStat> = all.into_iter().map(|(name, funnel)| EmailStat { name, funnel }).collect();
    all.sort_by(|a, b| b.funnel.made.cmp(&a.funnel.made).then_with(|| a.name.cmp(&b.name)));
    all.truncate(filter.limit.clamp(1, StatsFilter::LIMIT_MAX) as usize);
    all
}
