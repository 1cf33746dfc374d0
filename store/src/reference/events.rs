//! The log of events: published, put into one order, delivered.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use gristmill_core::Instant;
use gristmill_core::event::subscription::{From, SubscriptionSpec};
use gristmill_core::event::{Event, EventDraft};
use uuid::Uuid;

use super::state::{State, most};
use super::transition::{Transition, given, write_event};
use super::{Clause, ReferenceStore, insert, triggers};
use crate::check;
use crate::error::{Result, StoreError};
use crate::sql::events::{delivering, replays, schemas, subscriptions};
use crate::{
    ControlReport, Delivered, Delivery, DeliveryView, Dispatched, EVENT_ROWS_MAX, Effect, EventFilter, EventSchemaView,
    Events, LAG_MAX, NewEventSchema, NewReplay, NewSubscription, Pause, Publication, Published, ReplayState,
    ReplayView, SUBSCRIPTIONS_MAX, SubscriptionHold, SubscriptionView,
};

#[async_trait]
impl Events for ReferenceStore {
    async fn publish_events(&self, events: &[Publication]) -> Result<Vec<Published>> {
        check::publications(events)?;
        let mut t = Transition::begin(self);
        let mut published = Vec::with_capacity(events.len());
        for event in events {
            let row = given(&t.state, event);
            let EventDraft { id, source, .. } = &event.draft;
            let fresh = write_event(&mut t, row)?;
            published.push(Published { id: id.clone(), source: source.clone(), fresh });
        }
        t.commit()?;
        Ok(published)
    }

    async fn sequence_events(&self, limit: u32) -> Result<u64> {
        let mut t = Transition::begin(self);
        let new = t.state.events.iter().filter(|(_, kept)| kept.event.position.is_none());
        let new: Vec<i64> = new.map(|(number, _)| *number).take(most(limit.min(EVENT_ROWS_MAX))).collect();
        for number in &new {
            sequence(&mut t.state, *number);
        }
        t.commit()?;
        Ok(new.len() as u64)
    }

    async fn wait_for_events(&self, seen: u64, at_most: Duration) -> u64 {
        self.published.wait(seen, at_most).await
    }

    async fn list_events(&self, filter: &EventFilter) -> Result<Vec<Event>> {
        let t = Transition::begin(self);
        let mut found: Vec<Event> =
            t.state.events.values().map(|kept| &kept.event).filter(|event| fits(event, filter)).cloned().collect();
        found.sort_by_key(|event| event.position);
        if filter.newest_first {
            found.reverse();
        }
        found.truncate(most(filter.limit.min(EVENT_ROWS_MAX)));
        Ok(found)
    }

    async fn events_by_id(&self, tenant: &str, id: &str, source: Option<&str>) -> Result<Vec<Event>> {
        let t = Transition::begin(self);
        let events = t.state.events.values().map(|kept| &kept.event);
        let fits = |event: &&Event| {
            event.tenant == tenant && event.id == id && source.is_none_or(|source| event.source == source)
        };
        let mut found: Vec<Event> = events.filter(fits).cloned().collect();
        found.sort_by(|a, b| a.source.cmp(&b.source));
        found.truncate(2);
        Ok(found)
    }

    async fn event_deliveries(&self, tenant: &str, position: u64) -> Result<Vec<DeliveryView>> {
        let t = Transition::begin(self);
        let found = t.state.deliveries.iter().filter(|(key, _)| key.0 == tenant && key.2 == position);
        let mut found: Vec<(&String, Instant, &String, &DeliveryView)> =
            found.map(|(key, view)| (&key.1, view.at, &key.3, view)).collect();
        found.sort_by_key(|(name, at, replay, _)| (*name, *at, *replay));
        Ok(found.into_iter().map(|(_, _, _, view)| view.clone()).take(most(EVENT_ROWS_MAX)).collect())
    }

    async fn add_event_schema(&self, schema: &NewEventSchema, dry_run: bool) -> Result<ControlReport> {
        schemas::check_schema(schema)?;
        let mut t = Transition::begin(self);
        let NewEventSchema { tenant, kind, version, schema: value, by } = schema;
        let key = (tenant.clone(), kind.clone(), *version);
        let added = match t.state.event_schemas.get(&key) {
            Some(known) if known.schema == *value => false,
            Some(_) => return Err(schemas::taken(schema)),
            None => true,
        };
        if added {
            let by = check::plain(by, check::REASON_CHARS_MAX);
            let view = EventSchemaView { kind: kind.clone(), version: *version, schema: value.clone(), by, at: t.now };
            t.state.event_schemas.insert(key, view);
        }
        finish(t, schemas::report(schema, added), dry_run)
    }

    async fn event_schemas(&self, tenant: &str, kind: Option<&str>) -> Result<Vec<EventSchemaView>> {
        let t = Transition::begin(self);
        let own = t.state.event_schemas.iter().filter(|(key, _)| key.0 == tenant);
        let own = own.filter(|(key, _)| kind.is_none_or(|kind| key.1 == kind));
        Ok(own.map(|(_, view)| view.clone()).take(most(EVENT_ROWS_MAX)).collect())
    }

    async fn save_subscription(&self, subscription: &NewSubscription, dry_run: bool) -> Result<ControlReport> {
        subscriptions::check_subscription(subscription)?;
        let mut t = Transition::begin(self);
        let changed = save(&mut t, subscription)?;
        finish(t, subscriptions::one(&subscription.name, u64::from(changed)), dry_run)
    }

    async fn remove_subscription(&self, tenant: &str, name: &str, dry_run: bool) -> Result<ControlReport> {
        let mut t = Transition::begin(self);
        let gone = t.state.subscriptions.remove(&(tenant.to_owned(), name.to_owned())).is_some();
        t.state.replays.retain(|_, (view, _)| view.tenant != tenant || view.subscription != name);
        finish(t, subscriptions::one(name, u64::from(gone)), dry_run)
    }

    async fn pause_subscription(
        &self,
        tenant: &str,
        name: &str,
        pause: Option<&Pause>,
        dry_run: bool,
    ) -> Result<ControlReport> {
        let mut t = Transition::begin(self);
        let now = t.now;
        let key = (tenant.to_owned(), name.to_owned());
        let view = t.state.subscriptions.get_mut(&key).ok_or_else(|| subscriptions::no_subscription(name))?;
        let changes = view.paused_at.is_some() != pause.is_some();
        if changes {
            let plain = |text: &Option<String>| text.as_deref().map(|text| check::plain(text, check::REASON_CHARS_MAX));
            view.paused_at = pause.map(|_| now);
            view.paused_by = pause.and_then(|pause| plain(&pause.by));
            view.paused_for = pause.and_then(|pause| plain(&pause.reason));
            if pause.is_none() {
                (view.tries, view.retry_at) = (0, None);
            }
        }
        finish(t, subscriptions::one(name, u64::from(changes)), dry_run)
    }

    async fn subscriptions(&self, tenant: Option<&str>) -> Result<Vec<SubscriptionView>> {
        let t = Transition::begin(self);
        let own = t.state.subscriptions.values().filter(|view| tenant.is_none_or(|tenant| view.tenant == tenant));
        Ok(own.map(|view| with_lag(&t.state, view)).collect())
    }

    async fn due_subscriptions(&self) -> Result<Vec<SubscriptionView>> {
        let t = Transition::begin(self);
        let due = |view: &&SubscriptionView| view.paused_at.is_none() && view.retry_at.is_none_or(|at| at <= t.now);
        let due = t.state.subscriptions.values().filter(due).map(|view| with_lag(&t.state, view));
        Ok(due.filter(|view| view.lag > 0).map(|view| SubscriptionView { lag: 1, ..view }).collect())
    }

    async fn deliver_events(&self, delivery: &Delivery) -> Result<Option<Dispatched>> {
        delivering::check_delivery(delivery)?;
        let mut t = Transition::begin(self);
        if !advance(&mut t, delivery) {
            return Ok(None);
        }
        deliver(&mut t, delivery)?;
        Ok(Some(t.commit()?.dispatched))
    }

    async fn hold_subscription(&self, hold: &SubscriptionHold) -> Result<bool> {
        let mut t = Transition::begin(self);
        let now = t.now;
        let Some(view) = t.state.subscriptions.get_mut(&(hold.tenant.clone(), hold.name.clone())) else {
            return Ok(false);
        };
        if view.cursor != hold.cursor || view.paused_at.is_some() {
            return Ok(false);
        }
        view.tries += 1;
        view.retry_at = Some(now + TimeDelta::from_std(hold.wait).unwrap_or_else(|_| TimeDelta::days(1)));
        view.error = Some(check::plain(&hold.error, check::ERROR_CHARS_MAX));
        t.commit()?;
        Ok(true)
    }

    async fn refused_events(&self, tenant: &str, name: &str, limit: u32) -> Result<Vec<DeliveryView>> {
        let t = Transition::begin(self);
        let own =
            t.state.deliveries.iter().filter(|(key, view)| key.0 == tenant && key.1 == name && view.refusal.is_some());
        let mut own: Vec<(&String, &DeliveryView)> = own.map(|(key, view)| (&key.3, view)).collect();
        own.sort_by(|(a_replay, a), (b_replay, b)| (b.at, b.position, a_replay).cmp(&(a.at, a.position, b_replay)));
        Ok(own.into_iter().map(|(_, view)| view.clone()).take(most(limit.min(EVENT_ROWS_MAX))).collect())
    }

    async fn start_replay(&self, replay: &NewReplay, dry_run: bool) -> Result<ControlReport> {
        replays::check_replay(replay)?;
        let mut t = Transition::begin(self);
        let NewReplay { id, tenant, subscription, types, after, until, rate, by, reason } = replay;
        if !t.state.subscriptions.contains_key(&(tenant.clone(), subscription.clone())) {
            return Err(subscriptions::no_subscription(subscription));
        }
        let until = (*until).min(t.state.event_head);
        let runs = *after < until;
        let plain = |text: &str| check::plain(text, check::REASON_CHARS_MAX);
        let view = ReplayView {
            id: *id,
            tenant: tenant.clone(),
            subscription: subscription.clone(),
            types: types.clone(),
            cursor: *after,
            until,
            rate: *rate,
            state: if runs { ReplayState::Running } else { ReplayState::Finished },
            delivered: 0,
            skipped: 0,
            refused: 0,
            by: plain(by),
            reason: reason.as_deref().map(plain),
            created_at: t.now,
            ended_at: (!runs).then_some(t.now),
        };
        let fresh = !t.state.replays.contains_key(id);
        if fresh {
            t.state.replays.insert(*id, (view, t.now));
        }
        let samples = fresh.then(|| id.to_string()).into_iter().collect();
        finish(t, ControlReport { affected: u64::from(fresh), samples, ..ControlReport::default() }, dry_run)
    }

    async fn cancel_replay(&self, tenant: &str, replay: Uuid, dry_run: bool) -> Result<ControlReport> {
        let mut t = Transition::begin(self);
        let now = t.now;
        let found = t.state.replays.get_mut(&replay).filter(|(view, _)| view.tenant == tenant);
        let (view, _) = found.ok_or_else(|| replays::no_replay(replay))?;
        let running = view.state == ReplayState::Running;
        if running {
            (view.state, view.ended_at) = (ReplayState::Cancelled, Some(now));
        }
        let samples = running.then(|| replay.to_string()).into_iter().collect();
        finish(t, ControlReport { affected: u64::from(running), samples, ..ControlReport::default() }, dry_run)
    }

    async fn replays(&self, tenant: &str) -> Result<Vec<ReplayView>> {
        let t = Transition::begin(self);
        let own = t.state.replays.values().map(|(view, _)| view).filter(|view| view.tenant == tenant);
        let mut own: Vec<ReplayView> = own.cloned().collect();
        own.sort_by_key(|view| (std::cmp::Reverse(view.created_at), view.id));
        own.truncate(most(EVENT_ROWS_MAX));
        Ok(own)
    }

    async fn due_replays(&self) -> Result<Vec<ReplayView>> {
        let t = Transition::begin(self);
        let steps = |view: &ReplayView| {
            let subscription = t.state.subscriptions.get(&(view.tenant.clone(), view.subscription.clone()));
            view.state == ReplayState::Running && subscription.is_some_and(|one| one.paused_at.is_none())
        };
        let due = t.state.replays.values().filter(|(view, due)| steps(view) && *due <= t.now);
        let mut due: Vec<(Instant, ReplayView)> = due.map(|(view, due)| (*due, view.clone())).collect();
        due.sort_by_key(|(due, view)| (*due, view.id));
        Ok(due.into_iter().map(|(_, view)| view).take(most(EVENT_ROWS_MAX)).collect())
    }

    async fn prune_events(&self, before: Instant, limit: u32) -> Result<u64> {
        let mut t = Transition::begin(self);
        let gone = prunable(&t.state, before, limit);
        for number in &gone {
            t.state.events.remove(number);
        }
        let kept: Vec<u64> = t.state.events.values().filter_map(|kept| kept.event.position).collect();
        let is_over = |view: &DeliveryView| view.at < before && !kept.contains(&view.position);
        let over = t.state.deliveries.iter().filter(|(_, view)| is_over(view));
        let mut over: Vec<_> = over.map(|(key, view)| (view.at, key.clone())).collect();
        over.sort();
        for (_, key) in over.into_iter().take(most(limit)) {
            t.state.deliveries.remove(&key);
        }
        let ended = t.state.replays.values().filter_map(|(view, _)| Some((view.ended_at?, view.id)));
        let mut ended: Vec<_> = ended.filter(|(at, _)| *at < before).collect();
        ended.sort_unstable();
        for (_, id) in ended.into_iter().take(most(limit)) {
            t.state.replays.remove(&id);
        }
        t.commit()?;
        Ok(gone.len() as u64)
    }
}

fn finish(t: Transition<'_>, report: ControlReport, dry_run: bool) -> Result<ControlReport> {
    if !dry_run {
        t.commit()?;
    }
    Ok(report)
}

fn sequence(state: &mut State, number: i64) {
    let Some(kept) = state.events.get(&number) else { return };
    let (tenant, stream) = (kept.event.tenant.clone(), kept.event.stream.clone());
    let same = state.events.values().filter(|kept| kept.event.tenant == tenant && kept.event.stream == stream);
    let seq = same.filter_map(|kept| kept.event.seq).max().unwrap_or(0) + 1;
    state.event_head += 1;
    let position = state.event_head;
    if let Some(kept) = state.events.get_mut(&number) {
        let kept = Arc::make_mut(kept);
        (kept.event.position, kept.event.seq) = (Some(position), Some(seq));
    }
}

fn fits(event: &Event, filter: &EventFilter) -> bool {
    let Some(position) = event.position else { return false };
    event.tenant == filter.tenant
        && filter.after.is_none_or(|after| position > after)
        && filter.before.is_none_or(|before| position < before)
        && filter.since.is_none_or(|since| event.accepted_at >= since)
        && filter.until.is_none_or(|until| event.accepted_at < until)
        && filter.stream.as_ref().is_none_or(|stream| event.stream == *stream)
        && filter.correlation.as_ref().is_none_or(|correlation| event.correlation == *correlation)
        && filter.prefix.as_ref().is_none_or(|prefix| event.kind.starts_with(prefix))
}

/// Creates or changes a subscription. Whether that changed anything.
fn save(t: &mut Transition<'_>, new: &NewSubscription) -> Result<bool> {
    let NewSubscription { tenant, name, spec, origin } = new;
    let (now, head) = (t.now, t.state.event_head);
    let key = (tenant.clone(), name.clone());
    let known = t.state.subscriptions.keys().filter(|(of, _)| of == tenant).count();
    if let Some(view) = t.state.subscriptions.get_mut(&key) {
        subscriptions::check_origin(name, view.origin, *origin)?;
        let begun = |spec: &SubscriptionSpec| SubscriptionSpec { from: From::Now, ..spec.clone() };
        if begun(&view.spec) == begun(spec) && view.origin == *origin {
            return Ok(false);
        }
        (view.spec, view.origin, view.updated_at) = (spec.clone(), *origin, now);
        (view.version, view.tries, view.retry_at, view.error) = (view.version + 1, 0, None, None);
        return Ok(true);
    }
    if known >= most(SUBSCRIPTIONS_MAX) {
        return Err(subscriptions::too_many());
    }
    let view = SubscriptionView {
        tenant: tenant.clone(),
        name: name.clone(),
        spec: spec.clone(),
        origin: *origin,
        version: 1,
        cursor: if spec.from == From::Now { head } else { 0 },
        lag: 0,
        behind_since: None,
        delivered: 0,
        skipped: 0,
        refused: 0,
        delivered_at: None,
        tries: 0,
        retry_at: None,
        error: None,
        paused_at: None,
        paused_by: None,
        paused_for: None,
        created_at: now,
        updated_at: now,
    };
    t.state.subscriptions.insert(key, view);
    Ok(true)
}

fn with_lag(state: &State, view: &SubscriptionView) -> SubscriptionView {
    let before =
        state.events.values().map(|kept| &kept.event).filter(|event| {
            event.tenant == view.tenant && event.position.is_some_and(|position| position > view.cursor)
        });
    let mut before: Vec<(Option<u64>, Instant)> = before.map(|event| (event.position, event.accepted_at)).collect();
    before.sort_unstable();
    SubscriptionView {
        lag: (before.len() as u64).min(LAG_MAX),
        behind_since: before.first().map(|(_, at)| *at),
        ..view.clone()
    }
}

/// Moves the subscription or the replay. Whether it was where the delivery begins.
fn advance(t: &mut Transition<'_>, delivery: &Delivery) -> bool {
    let Delivery { tenant, subscription, version, replay, from, to, skipped, next, .. } = delivery;
    let (now, (delivered, refused)) = (t.now, delivering::counted(delivery));
    let guarded = t.store.keeps(Clause::DeliveryGuardedByCursor);
    let Some(view) = t.state.subscriptions.get_mut(&(tenant.clone(), subscription.clone())) else { return false };
    if view.version != *version || view.paused_at.is_some() {
        return false;
    }
    let Some(id) = replay else {
        if guarded && view.cursor != *from {
            return false;
        }
        view.cursor = *to;
        view.delivered += delivered;
        view.skipped += skipped;
        view.refused += refused;
        view.delivered_at = Some(now);
        (view.tries, view.retry_at, view.error) = (0, None, None);
        return true;
    };
    let Some((view, due)) = t.state.replays.get_mut(id) else { return false };
    if view.cursor != *from || view.state != ReplayState::Running || view.subscription != *subscription {
        return false;
    }
    view.cursor = *to;
    view.delivered += delivered;
    view.skipped += skipped;
    view.refused += refused;
    *due = now + next.and_then(|next| TimeDelta::from_std(next).ok()).unwrap_or_default();
    if next.is_none() {
        (view.state, view.ended_at) = (ReplayState::Finished, Some(now));
    }
    true
}

fn deliver(t: &mut Transition<'_>, delivery: &Delivery) -> Result<()> {
    let replay = delivery.replay.map(|replay| replay.to_string()).unwrap_or_default();
    let mut jobs = Vec::new();
    for Delivered { position, effect } in &delivery.events {
        let mut view = DeliveryView {
            subscription: delivery.subscription.clone(),
            position: *position,
            replay: delivery.replay,
            job: None,
            run: None,
            refusal: None,
            reason: None,
            at: t.now,
        };
        match effect {
            Effect::Job(job) => {
                view.job = Some(job.id);
                jobs.push((**job).clone());
            }
            Effect::Run(run) => {
                view.run = Some(run.event.clone());
                triggers::note(t, run)?;
            }
            Effect::Refused(refusal, reason) => {
                view.refusal = Some(*refusal);
                view.reason = Some(check::plain(reason, check::REASON_CHARS_MAX));
            }
        }
        let key = (delivery.tenant.clone(), delivery.subscription.clone(), *position, replay.clone());
        if t.state.deliveries.insert(key, view).is_some() && t.store.keeps(Clause::DeliveryGuardedByCursor) {
            return Err(StoreError::Database(format!("event {position} was delivered before")));
        }
    }
    if !jobs.is_empty() {
        check::jobs(&jobs)?;
        insert::new_jobs(t, &jobs)?;
    }
    Ok(())
}

fn prunable(state: &State, before: Instant, limit: u32) -> Vec<i64> {
    let is_needed = |event: &Event, position: u64| {
        let waits = |view: &SubscriptionView| view.tenant == event.tenant && view.cursor < position;
        let replayed = |view: &ReplayView| {
            view.tenant == event.tenant
                && view.state == ReplayState::Running
                && view.cursor < position
                && view.until >= position
        };
        state.subscriptions.values().any(waits) || state.replays.values().any(|(view, _)| replayed(view))
    };
    let events = state.events.iter().map(|(number, kept)| (*number, &kept.event));
    let old = events.filter(|(_, event)| event.accepted_at < before);
    let old = old.filter(|(_, event)| event.position.is_some_and(|position| !is_needed(event, position)));
    let mut old: Vec<(Instant, i64)> = old.map(|(number, event)| (event.accepted_at, number)).collect();
    old.sort_unstable();
    old.into_iter().map(|(_, number)| number).take(most(limit)).collect()
}
