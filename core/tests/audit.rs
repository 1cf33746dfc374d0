//! The chain of the audit: what is bent is found, at its place.

use gristmill_core::Instant;
use gristmill_core::audit::{
    AuditEntry, Chain, ChainEnd, DETAILS_BYTES_MAX, Fault, SealedEntry, SignedHead, Sum, details, fingerprint,
};
use serde_json::{Value, json};
use uuid::Uuid;

fn at(micros: i64) -> Instant {
    Instant::from_timestamp_micros(1_700_000_000_000_000 + micros).expect("an instant")
}

fn entry(seq: u64) -> AuditEntry {
    AuditEntry {
        tenant: "main".to_owned(),
        seq,
        at: at(i64::try_from(seq).expect("small")),
        order: Uuid::from_u128(u128::from(seq)),
        step: Uuid::from_u128(1_000 + u128::from(seq)),
        actor_kind: "operator".to_owned(),
        actor: "ada@laptop".to_owned(),
        subject: Some(Uuid::from_u128(7)),
        role: Some("admin".to_owned()),
        address: Some("127.0.0.1".to_owned()),
        request: Some("r-1".to_owned()),
        action: "queue.pause".to_owned(),
        target: format!("queue-{seq}"),
        reason: Some("too hot".to_owned()),
        details: json!({ "affected": seq }).to_string(),
    }
}

fn chain(entries: u64) -> Vec<SealedEntry> {
    let mut last = Sum::default();
    let seal = |seq| {
        let sealed = entry(seq).sealed(last);
        last = sealed.hash;
        sealed
    };
    (1..=entries).map(seal).collect()
}

/// The first entry that does not fit.
fn walked(entries: &[SealedEntry]) -> Result<ChainEnd, (u64, Fault)> {
    let mut walk = Chain::behind("main", ChainEnd::default());
    for next in entries {
        walk.follow(next).map_err(|broken| (broken.seq, broken.fault))?;
    }
    Ok(walk.end())
}

/// Bends one field of an entry.
type Change = fn(&mut AuditEntry);

#[test]
fn a_whole_chain_is_followed_to_its_end_and_from_any_place() {
    let entries = chain(5);
    let end = ChainEnd { seq: 5, hash: entries[4].hash };
    assert_eq!(walked(&entries), Ok(end));
    let mut walk = Chain::behind("main", ChainEnd { seq: 3, hash: entries[2].hash });
    entries[3..].iter().for_each(|next| walk.follow(next).expect("it fits"));
    assert_eq!(walk.ends_at(end), Ok(()));
}

#[test]
fn a_change_of_each_field_breaks_the_chain_at_that_entry() {
    let changes: [(&str, Change); 14] = [
        ("tenant", |e| e.tenant = "other".to_owned()),
        ("at", |e| e.at = at(77)),
        ("order", |e| e.order = Uuid::from_u128(99)),
        ("step", |e| e.step = Uuid::from_u128(98)),
        ("actor_kind", |e| e.actor_kind = "user".to_owned()),
        ("actor", |e| e.actor = "eve@laptop".to_owned()),
        ("subject", |e| e.subject = None),
        ("role", |e| e.role = None),
        ("address", |e| e.address = Some("127.0.0.2".to_owned())),
        ("request", |e| e.request = None),
        ("action", |e| e.action = "queue.resume".to_owned()),
        ("target", |e| e.target.push('x')),
        ("reason", |e| e.reason = None),
        ("details", |e| e.details = "{}".to_owned()),
    ];
    // With `seq`, which the tests of moved entries change, these are all of them.
    let fields = serde_json::to_value(entry(1)).expect("JSON");
    assert_eq!(fields.as_object().map_or(0, serde_json::Map::len), changes.len() + 1);
    for (field, change) in changes {
        let mut entries = chain(4);
        change(&mut entries[1].entry);
        assert_eq!(walked(&entries), Err((2, Fault::Changed)), "{field}");
    }
}

#[test]
fn texts_that_slide_from_one_field_into_the_next_are_another_entry() {
    let (mut one, mut other) = (entry(1), entry(1));
    (one.action, one.target) = ("ab".to_owned(), "c".to_owned());
    (other.action, other.target) = ("a".to_owned(), "bc".to_owned());
    assert_ne!(one.canonical(), other.canonical());
    (one.role, one.address) = (Some("a".to_owned()), None);
    other = AuditEntry { role: None, address: Some("a".to_owned()), ..one.clone() };
    assert_ne!(one.canonical(), other.canonical());
    other = AuditEntry { role: Some(String::new()), ..one.clone() };
    one.role = None;
    assert_ne!(one.canonical(), other.canonical(), "an empty text is not none");
}

#[test]
fn an_entry_that_was_taken_out_is_missing() {
    let mut entries = chain(4);
    entries.remove(1);
    assert_eq!(walked(&entries), Err((2, Fault::Missing)));
}

#[test]
fn entries_that_changed_places_are_found() {
    let mut entries = chain(4);
    (entries[1].entry.seq, entries[2].entry.seq) = (3, 2);
    entries.swap(1, 2);
    assert_eq!(walked(&entries), Err((2, Fault::Reordered)));
    // The later ones take the place of one that was taken out.
    let mut entries = chain(4);
    entries.remove(1);
    entries[1].entry.seq = 2;
    entries[2].entry.seq = 3;
    assert_eq!(walked(&entries), Err((2, Fault::Reordered)));
}

#[test]
fn an_entry_that_was_changed_together_with_its_hash_is_severed_from_the_next() {
    let mut entries = chain(4);
    let mut forged = entry(2);
    forged.actor = "nobody".to_owned();
    entries[1] = forged.sealed(entries[0].hash);
    assert_eq!(walked(&entries), Err((3, Fault::Severed)));
    let mut entries = chain(1);
    entries[0] = entry(1).sealed(Sum([1; 32]));
    assert_eq!(walked(&entries), Err((1, Fault::Severed)), "the first one is written after none");
}

#[test]
fn what_is_cut_off_at_the_end_is_missed_by_the_head() {
    let entries = chain(4);
    let mut walk = Chain::behind("main", ChainEnd::default());
    entries[..3].iter().for_each(|next| walk.follow(next).expect("it fits"));
    let head = |seq: usize| ChainEnd { seq: seq as u64, hash: entries[seq - 1].hash };
    let cut = walk.ends_at(head(4)).expect_err("one is gone");
    assert_eq!((cut.seq, cut.fault), (4, Fault::Cut));
    let back = walk.ends_at(head(2)).expect_err("a head that was set back");
    assert_eq!((back.seq, back.fault), (3, Fault::Anchor));
}

#[test]
fn a_chain_that_was_built_anew_is_not_the_one_that_was_signed() {
    let signed = SignedHead {
        tenant: "main".to_owned(),
        seq: 1,
        hash: chain(1)[0].hash,
        at: at(0),
        key: "00".to_owned(),
        signature: String::new(),
    };
    let mut walk = Chain::behind("main", ChainEnd::default());
    let forged = AuditEntry { actor: "nobody".to_owned(), ..entry(1) }.sealed(Sum::default());
    walk.follow(&forged).expect("it fits by itself");
    let broken = walk.was_signed(&signed).expect_err("another one was signed");
    assert_eq!((broken.seq, broken.fault), (1, Fault::Forged));
    for other in [SignedHead { seq: 2, ..signed.clone() }, SignedHead { at: at(1), ..signed.clone() }] {
        assert_ne!(other.bytes(), signed.bytes());
    }
}

#[test]
fn an_entry_is_the_same_after_it_was_written_as_json_and_read() {
    let sealed = chain(1).remove(0);
    let text = serde_json::to_string(&sealed).expect("JSON");
    let read: SealedEntry = serde_json::from_str(&text).expect("read");
    assert_eq!(read, sealed);
    assert_eq!(sealed.hash.to_string().parse(), Ok(sealed.hash));
    assert!("0g".repeat(32).parse::<Sum>().is_err() && "00".parse::<Sum>().is_err());
}

#[test]
fn details_that_are_too_long_keep_their_counts_and_say_that_something_is_left_out() {
    let long = "x".repeat(DETAILS_BYTES_MAX);
    let fields = json!({ "affected": 7, "before": long });
    let text = details(fields.as_object().expect("fields"));
    let read: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(read["affected"], 7);
    assert!(text.len() < 300 && read["left_out"]["bytes"].as_u64().is_some_and(|bytes| bytes > 16_000), "{text}");
    assert_eq!(fingerprint("")["bytes"], 0);
    assert_ne!(fingerprint("a")["sha256"], fingerprint("b")["sha256"]);
}
