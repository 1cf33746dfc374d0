//! Passwords: argon2id with the parameters that OWASP names, off the threads that serve, a few at once. Hashes that came
//! with a user from another program, by bcrypt or by argon2 with other parameters, are compared with, and replaced at the
//! first login.

use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;
use unicode_normalization::UnicodeNormalization;

use super::error::{AccountError, Result};
use super::secret::Secret;

/// How many characters a password has at least.
pub const PASSWORD_CHARS_MIN: usize = 12;

/// How many characters a password has at most.
pub const PASSWORD_CHARS_MAX: usize = 256;

/// How many passwords are looked at or hashed at once: each takes 19 MiB and tens of milliseconds of a core.
const AT_ONCE: usize = 2;

/// The greatest cost of bcrypt that is compared with: more would hold up a turn for seconds.
const BCRYPT_COST_MAX: u32 = 14;

/// The most memory, in KiB, and rounds of a hash by argon2 that is compared with.
const MEMORY_KIB_MAX: u32 = 256 * 1024;

const ROUNDS_MAX: u32 = 10;

/// How long a password waits for its turn.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is compared where there is no account, so that it takes the same time.
const NOBODY: &[u8] = b"nobody has this.";

/// Hashes passwords, and compares them with their hashes. Clones share the turns.
#[derive(Debug, Clone)]
pub struct Passwords {
    turns: Arc<Semaphore>,
    params: Params,
}

/// What a comparison has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Compared {
    /// Whether it is the password.
    pub(super) matches: bool,
    /// Whether its hash was made with other parameters than today's.
    pub(super) outdated: bool,
}

impl Default for Passwords {
    /// 19 MiB, two rounds, one thread: OWASP's first choice for argon2id.
    fn default() -> Self {
        Self::with(Params::DEFAULT)
    }
}

impl Passwords {
    fn with(params: Params) -> Self {
        Self { turns: Arc::new(Semaphore::new(AT_ONCE)), params }
    }

    /// For tests of other things than passwords: as weak as it may be, and fast.
    pub fn weak() -> Self {
        Self::with(Params::new(Params::MIN_M_COST, 1, 1, None).unwrap_or(Params::DEFAULT))
    }

    /// Hashes a password that its owner has chosen, into a PHC string.
    ///
    /// # Errors
    ///
    /// `BadPassword` when it is too short or too long, or easily guessed from `about`, such as an address; `Busy`.
    pub async fn hash(&self, password: &Secret, about: &[&str]) -> Result<String> {
        let text = normal(password);
        if let Some(wrong) = fault(&text, about) {
            return Err(AccountError::BadPassword(wrong));
        }
        let hashed = self.in_turn(move |argon2| argon2.hash_password(text.as_bytes()).map(|hash| hash.to_string()));
        hashed.await?.map_err(|_| AccountError::Internal("a password could not be hashed".into()))
    }

    /// Compares a password with a hash; without one it takes the same time and does not match.
    ///
    /// # Errors
    ///
    /// `Busy`.
    pub(super) async fn compare(&self, password: &Secret, hash: Option<&str>) -> Result<Compared> {
        let text = normal(password);
        // What is no password at all takes no longer than anything else.
        let text = if text.chars().count() > PASSWORD_CHARS_MAX { String::new() } else { text };
        let (hash, typed) = (hash.map(str::to_owned), password.clone());
        let compared = self.in_turn(move |argon2| match hash.as_deref().filter(|hash| bcrypt_cost(hash).is_some()) {
            // Another program has hashed what was typed, whatever the keyboard composed.
            Some(hash) => {
                Compared { matches: bcrypt::verify(typed.expose(), hash).is_ok_and(|fits| fits), outdated: true }
            }
            None => compare(argon2, &text, hash.as_deref()),
        });
        compared.await
    }

    async fn in_turn<T: Send + 'static>(&self, work: impl FnOnce(&Argon2<'_>) -> T + Send + 'static) -> Result<T> {
        let turn = tokio::time::timeout(PATIENCE, Arc::clone(&self.turns).acquire_owned()).await;
        let turn = turn.map_err(|_| AccountError::Busy)?.map_err(|_| AccountError::Busy)?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, self.params.clone());
        let done = tokio::task::spawn_blocking(move || {
            let done = work(&argon2);
            drop(turn);
            done
        });
        done.await.map_err(|_| AccountError::Internal("a thread was lost while it hashed a password".into()))
    }
}

/// Checks the hash of another program's user, with which passwords are to be compared.
///
/// # Errors
///
/// What is wrong with it; the hash itself is not quoted.
pub fn check_hash(hash: &str) -> std::result::Result<(), String> {
    let right = "give one of bcrypt (`$2a$`, `$2b$` or `$2y$`), or one of argon2 as a PHC string";
    if hash.starts_with("$2") {
        return match bcrypt_cost(hash) {
            Some(cost) if cost <= BCRYPT_COST_MAX => Ok(()),
            Some(cost) => {
                Err(format!("has the cost {cost}; at most {BCRYPT_COST_MAX} is compared with: send a link instead"))
            }
            None => Err(format!("is no whole hash of bcrypt; {right}")),
        };
    }
    let params = PasswordHash::new(hash).ok().filter(|hash| hash.algorithm.as_str().starts_with("argon2"));
    match params.and_then(|hash| Params::try_from(&hash).ok()) {
        Some(params) if params.m_cost() <= MEMORY_KIB_MAX && params.t_cost() <= ROUNDS_MAX => Ok(()),
        Some(_) => Err("takes more memory or rounds than are spent on a login; send a link instead".to_owned()),
        None => Err(format!("is no hash that passwords can be compared with; {right}")),
    }
}

/// The cost of a hash by bcrypt; `None` when it is none.
fn bcrypt_cost(hash: &str) -> Option<u32> {
    let rest = ["$2a$", "$2b$", "$2y$"].iter().find_map(|mark| hash.strip_prefix(mark))?;
    let (cost, salted) = rest.split_once('$')?;
    let letters = salted.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"./".contains(&byte));
    let cost = (cost.len() == 2 && salted.len() == 53 && letters).then(|| cost.parse().ok()).flatten()?;
    (4..=31).contains(&cost).then_some(cost)
}

fn compare(argon2: &Argon2<'_>, text: &str, hash: Option<&str>) -> Compared {
    match hash.map(PasswordHash::new) {
        Some(Ok(hash)) => {
            let matches = argon2.verify_password(text.as_bytes(), &hash).is_ok();
            let used = Params::try_from(&hash).ok();
            let costs = |params: &Params| (params.m_cost(), params.t_cost(), params.p_cost());
            let outdated = used.as_ref().map(costs) != Some(costs(argon2.params()));
            Compared { matches, outdated }
        }
        other => {
            if other.is_some() {
                tracing::error!("the hash of a password cannot be read; its owner needs a new one");
            }
            let mut spent = [0; Params::DEFAULT_OUTPUT_LEN];
            let _ = argon2.hash_password_into(text.as_bytes(), NOBODY, &mut spent);
            std::hint::black_box(spent);
            Compared { matches: false, outdated: false }
        }
    }
}

/// The same characters, however the keyboard composes them.
fn normal(password: &Secret) -> String {
    password.expose().nfc().collect()
}

fn fault(text: &str, about: &[&str]) -> Option<String> {
    let chars = text.chars().count();
    let lower = text.to_lowercase();
    let mut kinds: Vec<char> = lower.chars().collect();
    kinds.sort_unstable();
    kinds.dedup();
    if !(PASSWORD_CHARS_MIN..=PASSWORD_CHARS_MAX).contains(&chars) {
        let right = format!("{PASSWORD_CHARS_MIN} to {PASSWORD_CHARS_MAX}");
        Some(format!("has {chars} characters; choose one of {right}, such as some words"))
    } else if kinds.len() < 4 {
        Some("consists of hardly any different characters; choose another one".to_owned())
    } else if about.iter().any(|about| !about.is_empty() && lower == about.to_lowercase()) {
        Some("is the address or the name itself; choose another one".to_owned())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RIGHT: &str = "correct horse battery";

    #[tokio::test]
    async fn a_password_matches_its_hash_and_no_other_does() {
        let passwords = Passwords::weak();
        let hash = passwords.hash(&Secret::new(RIGHT), &[]).await.expect("hashed");
        assert!(hash.starts_with("$argon2id$v=19$") && !hash.contains("horse"), "{hash}");
        let compare =
            async |text: &str, hash: Option<&str>| passwords.compare(&Secret::new(text), hash).await.expect("compared");
        assert_eq!(compare(RIGHT, Some(&hash)).await, Compared { matches: true, outdated: false });
        for (text, hash) in [("Correct horse battery", Some(hash.as_str())), (RIGHT, None), (RIGHT, Some("$2b$bcrypt"))]
        {
            assert!(!compare(text, hash).await.matches, "{text} {hash:?}");
        }
        assert!(!compare(&"x".repeat(10_000), Some(&hash)).await.matches);
        let composed = passwords.hash(&Secret::new("Stra\u{df}enb\u{e4}nke"), &[]).await.expect("hashed");
        assert!(compare("Stra\u{df}enba\u{308}nke", Some(&composed)).await.matches, "another keyboard");
    }

    #[tokio::test]
    async fn a_hash_with_other_parameters_is_outdated() {
        let hash = Passwords::weak().hash(&Secret::new(RIGHT), &[]).await.expect("hashed");
        let compared = Passwords::default().compare(&Secret::new(RIGHT), Some(&hash)).await.expect("compared");
        assert_eq!(compared, Compared { matches: true, outdated: true });
    }

    /// As the C library of another system has made them.
    #[tokio::test]
    async fn a_hash_of_another_program_is_compared_with_and_outdated() {
        let passwords = Passwords::weak();
        let known = "$2a$06$DCq7YPn5Rq63x1Lad4cll.TV4S6ytwfsfvkgY8jIucDrjc8deX1s.";
        let made = "$2b$04$DCq7YPn5Rq63x1Lad4cll.2NOVzVxhGcKP9kwt5/oRFIttIATTkC6";
        assert!(check_hash(known).is_ok() && check_hash(made).is_ok());
        for (hash, text, matches) in [
            (known.to_owned(), "", true),
            (known.to_owned(), "x", false),
            (made.to_owned(), RIGHT, true),
            (made.replace("$2b$", "$2y$"), RIGHT, true),
            (made.to_owned(), "correct horse batterz", false),
        ] {
            let compared = passwords.compare(&Secret::new(text), Some(&hash)).await.expect("compared");
            assert_eq!(compared, Compared { matches, outdated: true }, "{text}");
        }
    }

    #[test]
    fn a_hash_is_taken_with_a_user_when_passwords_can_be_compared_with_it() {
        let salted = "DCq7YPn5Rq63x1Lad4cll.2NOVzVxhGcKP9kwt5/oRFIttIATTkC6";
        for right in
            [format!("$2b$12${}", salted), "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo".to_owned()]
        {
            assert_eq!(check_hash(&right), Ok(()), "{right}");
        }
        for (wrong, part) in [
            ("plain password", "bcrypt"),
            ("$2b$12$short", "whole"),
            (&*format!("$2b$15${}", salted), "cost 15"),
            (&*format!("$2b$99${}", salted), "whole"),
            ("$5$rounds=5000$salt$hash", "argon2"),
            ("$argon2id$v=19$m=4194304,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo", "memory"),
        ] {
            let said = check_hash(wrong).expect_err(wrong);
            assert!(said.contains(part) && !said.contains(wrong), "{wrong}: {said}");
        }
    }

    #[tokio::test]
    async fn what_is_easily_guessed_is_refused_and_not_quoted() {
        let passwords = Passwords::weak();
        for wrong in ["short", "aaaaaaaaaaaaaaaa", "ada@example.com", &"x y z ".repeat(50)] {
            let error = passwords.hash(&Secret::new(wrong), &["Ada@Example.com"]).await.expect_err(wrong).to_string();
            assert!(!error.contains(wrong) && error.contains("choose"), "{error}");
        }
    }
}
