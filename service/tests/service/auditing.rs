//! The audit is verified: what an attacker with the application's role in the database alters is found; and what was
//! removed after its time is followed in the archive.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use gristmill_core::audit::{Fault, SignedHead};
use gristmill_core::id::DEFAULT_TENANT;
use gristmill_service::audit::{
    AuditSettings, SigningKey, Verified, VerifyOptions, archived_tenants, heads_of, prune, sign_heads, verify,
};
use gristmill_service::retention::{Keep, RetentionSettings};

use uuid::Uuid;

use crate::env::{TestEnv, databases, order};

/// How many entries there are before an attack.
const ENTRIES: u64 = 6;

impl TestEnv {
    /// Orders that leave that many entries.
    async fn ordered(&self, entries: u64) {
        for _ in 0..entries {
            let queue = format!("q-{}", Uuid::now_v7());
            self.service.pause_queue(&order(), &queue).await.expect("paused");
        }
    }

    fn signing(&self) -> AuditSettings {
        let place = |name: &str| self.dir.path().join(name).display().to_string();
        AuditSettings { key_file: place("audit.key"), heads_file: place("heads"), ..AuditSettings::default() }
    }

    /// Options of an auditor who has the key, and the heads that were kept elsewhere.
    fn keeper(&self) -> VerifyOptions {
        let settings = self.signing();
        let key = SigningKey::read(Path::new(&settings.key_file)).expect("it was made").public();
        let heads = heads_of(Path::new(&settings.heads_file)).expect("they were kept");
        VerifyOptions { trusted_keys: BTreeSet::from([key]), heads, archive: None }
    }

    async fn verified(&self, options: &VerifyOptions) -> Verified {
        verify(&self.store, DEFAULT_TENANT, options).await.expect("followed")
    }

    /// Takes the triggers away, as the owner of the tables can.
    async fn disarm(&self) {
        if self.home.url().starts_with("postgres") {
            for table in ["audit_entry", "audit_head", "audit_signed_head"] {
                self.home.tamper(&format!("ALTER TABLE {table} DISABLE TRIGGER USER")).await;
            }
            return;
        }
        for trigger in ["entry_kept", "entry_whole", "head_kept", "head_on", "signed_kept", "signed_whole"] {
            self.home.tamper(&format!("DROP TRIGGER audit_{trigger}")).await;
        }
    }
}

fn found(verified: &Verified) -> Option<(u64, Fault)> {
    verified.broken.as_ref().map(|broken| (broken.seq, broken.fault))
}

/// An attack: what it is, its statements, and what is found.
type Attack = (&'static str, &'static [&'static str], (u64, Fault));

/// What an attacker may do who can write to the tables, and has taken their triggers away.
const ATTACKS: [Attack; 12] = [
    ("another actor", &["UPDATE audit_entry SET actor = 'nobody' WHERE seq = 3"], (3, Fault::Changed)),
    ("another address", &["UPDATE audit_entry SET address = '127.0.0.9' WHERE seq = 3"], (3, Fault::Changed)),
    ("another reason", &["UPDATE audit_entry SET reason = 'because' WHERE seq = 6"], (6, Fault::Changed)),
    ("another hash", &["UPDATE audit_entry SET hash = previous WHERE seq = 2"], (2, Fault::Changed)),
    ("one deleted", &["DELETE FROM audit_entry WHERE seq = 4"], (4, Fault::Missing)),
    ("the first deleted", &["DELETE FROM audit_entry WHERE seq = 1"], (1, Fault::Missing)),
    (
        "one deleted, the others moved up",
        &[
            "DELETE FROM audit_entry WHERE seq = 4",
            "UPDATE audit_entry SET seq = 4 WHERE seq = 5",
            "UPDATE audit_entry SET seq = 5 WHERE seq = 6",
            "UPDATE audit_head SET seq = 5",
        ],
        (4, Fault::Reordered),
    ),
    (
        "two swapped",
        &[
            "UPDATE audit_entry SET seq = 99 WHERE seq = 2",
            "UPDATE audit_entry SET seq = 2 WHERE seq = 3",
            "UPDATE audit_entry SET seq = 3 WHERE seq = 99",
        ],
        (2, Fault::Reordered),
    ),
    ("the last ones cut off", &["DELETE FROM audit_entry WHERE seq > 4"], (5, Fault::Cut)),
    (
        "the last ones cut off, and the head set back",
        &[
            "DELETE FROM audit_entry WHERE seq > 4",
            "UPDATE audit_head SET seq = 4, hash = (SELECT hash FROM audit_entry WHERE seq = 4)",
        ],
        (5, Fault::Cut),
    ),
    ("everything deleted", &["DELETE FROM audit_entry", "DELETE FROM audit_head"], (1, Fault::Cut)),
    (
        "the oldest removed as if their time had come",
        &[
            "UPDATE audit_head SET pruned_seq = 2, pruned_hash = (SELECT hash FROM audit_entry WHERE seq = 2)",
            "DELETE FROM audit_entry WHERE seq <= 2",
        ],
        (2, Fault::Anchor),
    ),
];

#[tokio::test]
async fn each_attack_on_the_rows_is_found_at_its_place() {
    for (what, statements, expected) in ATTACKS {
        for env in databases().await {
            env.ordered(ENTRIES).await;
            sign_heads(&env.store, &env.signing()).await.expect("signed");
            let before = env.verified(&env.keeper()).await;
            assert_eq!((before.entries, before.signed, before.broken), (ENTRIES, 1, None), "{}", env.home.url());
            env.disarm().await;
            for statement in statements {
                env.home.tamper(statement).await;
            }
            let after = env.verified(&env.keeper()).await;
            assert_eq!(found(&after), Some(expected), "{what} on {}: {after:?}", env.home.url());
        }
    }
}

#[tokio::test]
async fn an_entry_that_was_put_in_between_or_forged_with_its_hash_is_found() {
    for env in databases().await {
        env.ordered(ENTRIES).await;
        env.disarm().await;
        // A copy of another entry, whose hash fits, in the place of one that was deleted.
        env.home.tamper("DELETE FROM audit_entry WHERE seq = 5").await;
        let columns = "at, order_id, actor_kind, actor, action, target, details, previous, hash";
        let step = if env.home.url().starts_with("postgres") { "gen_random_uuid()" } else { "randomblob(16)" };
        let copy = format!(
            "INSERT INTO audit_entry (tenant, seq, step_id, {columns}) \
             SELECT tenant, 5, {step}, {columns} FROM audit_entry WHERE seq = 3"
        );
        env.home.tamper(&copy).await;
        let after = env.verified(&VerifyOptions::default()).await;
        assert_eq!(found(&after), Some((5, Fault::Changed)), "{}", env.home.url());
    }
}

#[tokio::test]
async fn a_chain_that_was_built_anew_is_betrayed_by_the_heads_that_were_signed() {
    for env in databases().await {
        env.ordered(ENTRIES).await;
        sign_heads(&env.store, &env.signing()).await.expect("signed");
        let keeper = env.keeper();
        env.disarm().await;
        for table in ["audit_entry", "audit_head", "audit_signed_head"] {
            env.home.tamper(&format!("DELETE FROM {table}")).await;
        }
        // The same number of entries, each fitting the one before.
        env.ordered(ENTRIES).await;
        assert_eq!(env.verified(&VerifyOptions::default()).await.broken, None, "it fits by itself");
        assert_eq!(found(&env.verified(&keeper).await), Some((ENTRIES, Fault::Forged)), "{}", env.home.url());
        // Heads of the new chain with another key do not help.
        let other = env.dir.path().join("other.key").display().to_string();
        let forged = AuditSettings { key_file: other, ..AuditSettings::default() };
        assert_eq!(sign_heads(&env.store, &forged).await.expect("signed"), 1);
        let known = VerifyOptions { heads: Vec::new(), ..keeper };
        assert_eq!(found(&env.verified(&known).await), Some((ENTRIES, Fault::Signature)));
        let kept = SignedHead { signature: "00".repeat(64), ..env.keeper().heads.remove(0) };
        let bent = VerifyOptions { heads: vec![kept], ..VerifyOptions::default() };
        assert_eq!(found(&env.verified(&bent).await), Some((ENTRIES, Fault::Signature)));
    }
}

#[tokio::test]
async fn heads_are_signed_once_a_day_and_only_when_the_chain_has_gone_on() {
    for env in databases().await {
        assert_eq!(sign_heads(&env.store, &AuditSettings::default()).await.expect("no key"), 0);
        assert_eq!(sign_heads(&env.store, &env.signing()).await.expect("no chain"), 0);
        env.ordered(1).await;
        assert_eq!(sign_heads(&env.store, &env.signing()).await.expect("signed"), 1);
        env.ordered(1).await;
        assert_eq!(sign_heads(&env.store, &env.signing()).await.expect("asked"), 0, "the last one is of today");
        assert_eq!(heads_of(Path::new(&env.signing().heads_file)).expect("kept").len(), 1);
        assert_eq!(env.verified(&env.keeper()).await.broken, None);
    }
}

#[tokio::test]
async fn what_is_removed_after_its_time_is_followed_in_the_archive() {
    for env in databases().await {
        env.ordered(ENTRIES).await;
        sign_heads(&env.store, &env.signing()).await.expect("signed");
        let folder = env.dir.path().join("archive");
        let archive = folder.display().to_string();
        let young = RetentionSettings { archive: archive.clone(), ..RetentionSettings::default() };
        assert_eq!(prune(&env.store, &young).await.expect("asked"), 0, "they are younger than 400 days");
        let old = RetentionSettings { audit: Keep::For(Duration::ZERO), ..young };
        assert_eq!(prune(&env.store, &old).await.expect("removed"), ENTRIES - 1, "the last one stays");
        env.ordered(2).await;
        let alone = env.verified(&env.keeper()).await;
        assert_eq!((alone.removed, alone.entries, alone.broken), (ENTRIES - 1, 4, None), "{}", env.home.url());
        let whole = VerifyOptions { archive: Some(folder.clone()), ..env.keeper() };
        let followed = env.verified(&whole).await;
        assert_eq!((followed.archived, followed.entries, followed.broken), (ENTRIES - 1, 4, None));
        assert_eq!(archived_tenants(&folder).expect("read"), BTreeSet::from([DEFAULT_TENANT.to_owned()]));
        prune(&env.store, &old).await.expect("removed");
        let again = env.verified(&whole).await;
        assert!(again.archived > ENTRIES && again.broken.is_none(), "two files: {again:?}");
        bent_archive(&env, &folder, &whole).await;
    }
}

/// An archive that was changed, or of which a file is missing.
async fn bent_archive(env: &TestEnv, folder: &Path, whole: &VerifyOptions) {
    let mut files: Vec<_> = std::fs::read_dir(folder).expect("read").map(|file| file.expect("one").path()).collect();
    files.sort();
    let first = std::fs::read(&files[0]).expect("read");
    let text = String::from_utf8(zstd::decode_all(first.as_slice()).expect("packed")).expect("UTF-8");
    let bent = text.replacen("ada@laptop", "eve@laptop", 1);
    assert_ne!(bent, text);
    std::fs::write(&files[0], zstd::encode_all(bent.as_bytes(), 3).expect("packed")).expect("written");
    assert_eq!(found(&env.verified(whole).await), Some((1, Fault::Changed)));
    let fewer: String =
        text.lines().filter(|line| !line.contains("\"seq\":2,")).map(|line| format!("{line}\n")).collect();
    std::fs::write(&files[0], zstd::encode_all(fewer.as_bytes(), 3).expect("packed")).expect("written");
    assert_eq!(found(&env.verified(whole).await), Some((2, Fault::Missing)));
    std::fs::remove_file(&files[0]).expect("removed");
    assert_eq!(found(&env.verified(whole).await), Some((1, Fault::Missing)));
}

#[tokio::test]
async fn what_is_ordered_while_a_chain_is_followed_does_not_break_it() {
    for env in databases().await {
        env.ordered(ENTRIES).await;
        let following = async {
            for _ in 0..5 {
                let verified = env.verified(&VerifyOptions::default()).await;
                assert_eq!(verified.broken, None, "{}", env.home.url());
            }
        };
        tokio::join!(env.ordered(200), following);
    }
}
