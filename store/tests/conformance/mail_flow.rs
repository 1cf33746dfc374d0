//! Relays and recipients' domains: what all workers know of them, and which jobs wait.

use std::time::Duration;

use gristmill_core::id::JobId;
use gristmill_core::limit::gcra::Rate;
use gristmill_core::mail_flow::{BreakerState, DomainEvent, RelayEvent, RelayTerms, WarmUp};
use gristmill_core::settle::{Ending, Verdict};
use gristmill_store::testing::{self, TestStore};
use gristmill_store::{Completion, DomainAsk, MailDomainView, Page, StoreError, SuspendDomain, Taken};

use crate::{TENANT, claim_one, enter};

conformance! {
    a_relay_that_fails_is_left_alone_by_all_and_one_of_them_tries_it,
    a_relay_is_suspended_and_resumed_by_hand,
    a_relay_takes_so_many_a_day_and_no_faster_than_its_rate,
    a_domain_that_asks_to_slow_down_gives_fewer_places,
    those_that_wait_for_a_domain_go_in_their_order_and_no_newcomer_passes_them,
    a_suspended_domain_gives_no_place_and_wakes_those_that_wait_when_it_is_resumed,
    what_is_over_is_forgotten,
    a_rehearsal_changes_no_relay_and_no_domain,
}

const PLACE: &str = "relay.example:587";

fn failed() -> RelayEvent {
    RelayEvent::Failed("the connection broke\u{0}".to_owned())
}

fn ask(job: JobId, tenant: &str, configured: Option<Rate>) -> DomainAsk {
    DomainAsk { domain: "slow.example".to_owned(), tenant: tenant.to_owned(), job, configured }
}

fn suspend() -> SuspendDomain {
    let (domain, by) = ("slow.example".to_owned(), "ada".to_owned());
    SuspendDomain { domain, keep: None, by, why: Some("they asked us to".to_owned()) }
}

async fn domains(store: &TestStore) -> Vec<MailDomainView> {
    store.mail_domains(&Page { after: None, limit: 10 }).await.expect("listed")
}

/// One message every hour.
const HOURLY: Rate = Rate { interval: 3_600_000_000, burst: 1 };

async fn a_relay_that_fails_is_left_alone_by_all_and_one_of_them_tries_it(store: TestStore) {
    let known = store.relay_note("main", PLACE, &RelayEvent::Known).await.expect("noted");
    assert!(!known.changed() && known.is.state == BreakerState::Closed);
    for _ in 0..4 {
        let change = store.relay_note("main", PLACE, &failed()).await.expect("noted");
        assert_eq!(change.is.state, BreakerState::Closed);
    }
    let change = store.relay_note("main", PLACE, &failed()).await.expect("noted");
    assert_eq!((change.was.state, change.is.state), (BreakerState::Closed, BreakerState::Open));
    let flow = store.second().await.mail_flow().await.expect("seen");
    let seen = &flow.relays[0];
    assert_eq!((seen.name.as_str(), seen.place.as_str()), ("main", PLACE));
    assert_eq!((seen.breaker.state, seen.breaker.failed), (BreakerState::Open, 5));
    assert_eq!(seen.breaker.why.as_deref(), Some("the connection broke\u{fffd}"));
    assert!(seen.breaker.until.is_some_and(|until| until > flow.now));
    let early = store.relay_note("main", PLACE, &RelayEvent::Probe).await.expect("asked");
    assert!(!early.changed(), "its pause is not over");
    let fault = RelayEvent::Fault("535 5.7.8 no".to_owned());
    let moved = store.relay_note("main", "elsewhere.example:25", &fault).await.expect("noted");
    assert!(moved.is.fault && moved.is.until > change.is.until);
    assert_eq!(store.mail_flow().await.expect("seen").relays[0].place, "elsewhere.example:25");
}

async fn a_relay_is_suspended_and_resumed_by_hand(store: TestStore) {
    let off = RelayEvent::Suspend("it moves".to_owned());
    let unknown = store.relay_steer("main", &off, false).await.expect_err("unknown");
    assert!(matches!(unknown, StoreError::NotFound(_)), "{unknown}");
    store.relay_note("main", PLACE, &RelayEvent::Known).await.expect("noted");
    assert_eq!(store.relay_steer("main", &off, false).await.expect("suspended").affected, 1);
    assert_eq!(store.relay_steer("main", &off, false).await.expect("again").affected, 0);
    let fault = RelayEvent::Fault("535".to_owned());
    assert!(!store.relay_note("main", PLACE, &fault).await.expect("noted").changed());
    assert_eq!(store.relay_steer("main", &RelayEvent::Resume, false).await.expect("resumed").affected, 1);
    assert_eq!(store.relay_steer("main", &RelayEvent::Resume, false).await.expect("again").affected, 0);
    let odd = store.relay_note("no name", PLACE, &RelayEvent::Known).await.expect_err("refused");
    assert!(matches!(odd, StoreError::Invalid(_)), "{odd}");
}

async fn a_relay_takes_so_many_a_day_and_no_faster_than_its_rate(store: TestStore) {
    let today = store.now().await.expect("a clock").date_naive();
    let warm_up = Some(WarmUp { from: today, first: 2, last: 1_000_000 });
    let terms = RelayTerms { rate: None, warm_up };
    // Around midnight another day begins in between: the day that was counted says so.
    let mut taken = Vec::new();
    for _ in 0..3 {
        taken.push(store.relay_take("new", PLACE, &terms).await.expect("asked") == Taken::Now);
    }
    let flow = store.mail_flow().await.expect("seen");
    let same_day = flow.relays[0].day == Some(today.to_string());
    assert!(!same_day || taken == [true, true, false], "{taken:?}");
    let rated = RelayTerms { rate: Some(HOURLY), warm_up: None };
    assert_eq!(store.relay_take("slow", PLACE, &rated).await.expect("asked"), Taken::Now);
    let Taken::In(wait) = store.relay_take("slow", PLACE, &rated).await.expect("asked") else { panic!("at once") };
    assert!(wait > Duration::from_secs(3_500) && wait <= Duration::from_secs(3_600), "{wait:?}");
}

async fn a_domain_that_asks_to_slow_down_gives_fewer_places(store: TestStore) {
    let job = testing::job_id();
    assert_eq!(store.domain_take(&ask(job, TENANT, None)).await.expect("asked"), Taken::Now);
    assert_eq!(domains(&store).await, [], "nothing holds it back");
    let slow = DomainEvent::SlowDown { said: "421 4.7.0 slow down".to_owned(), seen: 2 };
    store.domain_note("slow.example", &slow, None).await.expect("noted");
    store.domain_note("slow.example", &DomainEvent::Took, None).await.expect("noted");
    let known = store.mail_flow().await.expect("seen").domains;
    assert_eq!((known.len(), known[0].pace.learned, known[0].pace.slowed), (1, Some(1), 1));
    assert_eq!(known[0].pace.said.as_deref(), Some("421 4.7.0 slow down"));
    assert_eq!(store.domain_take(&ask(job, TENANT, None)).await.expect("asked"), Taken::Now);
    let second = store.domain_take(&ask(job, TENANT, None)).await.expect("asked");
    assert!(matches!(second, Taken::In(wait) if wait <= Duration::from_secs(60)), "{second:?}");
    assert_eq!(domains(&store).await[0].waiting, 1);
    for odd in ["", "Example.com", "a@b", "a b"] {
        let refused = store.domain_note(odd, &DomainEvent::Took, None).await.expect_err(odd);
        assert!(matches!(refused, StoreError::Invalid(_)), "{refused}");
    }
}

async fn those_that_wait_for_a_domain_go_in_their_order_and_no_newcomer_passes_them(store: TestStore) {
    let asks: Vec<DomainAsk> = (0..13).map(|_| ask(testing::job_id(), TENANT, Some(HOURLY))).collect();
    let mut waits = Vec::new();
    for ask in &asks {
        match store.domain_take(ask).await.expect("asked") {
            Taken::Now => waits.push(Duration::ZERO),
            Taken::In(wait) => waits.push(wait),
        }
    }
    assert_eq!(waits[0], Duration::ZERO);
    assert!(waits.is_sorted(), "each waits longer than the one before: {waits:?}");
    let other = ask(testing::job_id(), "another", Some(HOURLY));
    let Taken::In(wait) = store.domain_take(&other).await.expect("asked") else { panic!("at once") };
    assert!(wait <= waits[1], "another tenant has the next turn: {wait:?} of {waits:?}");
    // As if the hour was over: a faster rate has a place at once.
    let fast = |ask: &DomainAsk| DomainAsk { configured: Some(Rate { interval: 1, burst: 1 }), ..ask.clone() };
    assert!(matches!(store.domain_take(&fast(&asks[12])).await.expect("asked"), Taken::In(_)), "eleven are before it");
    store.pass_rates().await;
    assert_eq!(store.domain_take(&fast(&asks[1])).await.expect("asked"), Taken::Now);
    assert_eq!(domains(&store).await[0].waiting, 12);
}

async fn a_suspended_domain_gives_no_place_and_wakes_those_that_wait_when_it_is_resumed(store: TestStore) {
    store.enqueue(&[testing::job()]).await.expect("enqueued");
    let worker = enter(&store).await;
    let claimed = claim_one(&store, worker).await;
    assert_eq!(store.domain_suspend(&suspend(), false).await.expect("suspended").affected, 1);
    let took = store.domain_take(&ask(claimed.fence.job, TENANT, None)).await.expect("asked");
    assert!(matches!(took, Taken::In(wait) if wait > Duration::from_secs(3_600)), "{took:?}");
    let shown = &domains(&store).await[0];
    assert_eq!(shown.waiting, 1);
    let suspension = shown.domain.suspension.as_ref().expect("suspended");
    assert_eq!((suspension.by.as_str(), suspension.why.as_deref()), ("ada", Some("they asked us to")));
    assert_eq!(store.domain_wake("slow.example", 10).await.expect("asked"), 0, "it runs");
    let wait = Duration::from_secs(7_200);
    let snoozed = Completion::new(claimed.fence, Ending::Snoozed { wait }, Verdict::Snooze { after: wait });
    store.complete(&[snoozed]).await.expect("snoozed");
    assert_eq!(store.domain_resume("slow.example", false).await.expect("resumed").affected, 1);
    assert_eq!(store.domain_resume("slow.example", false).await.expect("again").affected, 0);
    assert_eq!(store.domain_wake("slow.example", 10).await.expect("woken"), 1);
    assert_eq!(store.domain_wake("slow.example", 10).await.expect("asked"), 0, "it is due");
    let woken = store.job(TENANT, claimed.fence.job).await.expect("seen").expect("there");
    assert!(woken.run_at.is_some_and(|at| at <= woken.created_at + Duration::from_secs(3_600)));
    assert_eq!(store.domain_take(&ask(claimed.fence.job, TENANT, None)).await.expect("asked"), Taken::Now);
    assert_eq!(domains(&store).await, []);
}

async fn what_is_over_is_forgotten(store: TestStore) {
    let gone = testing::job_id();
    let over = SuspendDomain { keep: Some(Duration::from_micros(1)), ..suspend() };
    store.domain_suspend(&suspend(), false).await.expect("suspended");
    store.domain_take(&ask(gone, TENANT, None)).await.expect("asked");
    store.domain_suspend(&over, false).await.expect("until now");
    testing::eventually("the suspension is over", || async {
        store.mail_flow().await.expect("seen").domains.is_empty().then_some(())
    })
    .await;
    assert_eq!(domains(&store).await[0].waiting, 1, "no job of that id is there");
    assert_eq!(store.mail_flow_tidy(10).await.expect("tidied"), 3, "the job, the suspension, the domain");
    assert_eq!(store.mail_flow_tidy(10).await.expect("again"), 0);
    assert_eq!(domains(&store).await, []);
}

async fn a_rehearsal_changes_no_relay_and_no_domain(store: TestStore) {
    store.relay_note("main", PLACE, &RelayEvent::Known).await.expect("noted");
    let off = RelayEvent::Suspend("it moves".to_owned());
    assert_eq!(store.relay_steer("main", &off, true).await.expect("tried").affected, 1);
    assert_eq!(store.mail_flow().await.expect("seen").relays[0].breaker.state, BreakerState::Closed);
    assert_eq!(store.domain_suspend(&suspend(), true).await.expect("tried").affected, 1);
    assert_eq!(domains(&store).await, []);
    store.domain_suspend(&suspend(), false).await.expect("suspended");
    assert_eq!(store.domain_resume("slow.example", true).await.expect("tried").affected, 1);
    assert_eq!(domains(&store).await.len(), 1);
}
