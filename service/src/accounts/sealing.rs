//! How secrets lie in the database that are needed as they are, those of second factors and of the keys that sign: sealed
//! with the key of a file (AES-256-GCM), each for its user or its own id alone; or, without such a file, as they are.

use std::path::Path;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use uuid::Uuid;

use super::error::{AccountError, Result};
use crate::key_file::{Form, read_or_make};

/// What a key file of ours is.
const FORM: Form = Form { word: "aes-256-gcm", name: "the key of `[accounts] key_file`" };

/// What the bytes of a secret begin with that lies as it is.
const PLAIN: u8 = 0;

/// What the bytes of a secret begin with that is sealed.
const SEALED: u8 = 1;

/// Seals a secret, where a file with a key is named; it is made when there is none.
pub(super) fn seal(key_file: &str, owner: Uuid, secret: &[u8]) -> Result<Vec<u8>> {
    if key_file.is_empty() {
        return Ok([&[PLAIN], secret].concat());
    }
    let mut nonce = [0; NONCE_LEN];
    SystemRandom::new()
        .fill(&mut nonce)
        .map_err(|_| AccountError::Internal("the system gives no random numbers".into()))?;
    let mut sealed = secret.to_vec();
    let key = key(key_file)?;
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(owner.as_bytes()), &mut sealed)
        .map_err(|_| AccountError::Internal("a secret cannot be sealed".into()))?;
    Ok([&[SEALED], nonce.as_slice(), &sealed].concat())
}

/// Opens what was sealed.
pub(super) fn open(key_file: &str, owner: Uuid, stored: &[u8]) -> Result<Vec<u8>> {
    let unreadable = AccountError::Internal(
        "a secret in the database cannot be opened: `[accounts] key_file` is not the file that it was sealed with"
            .into(),
    );
    match stored.split_first() {
        Some((&PLAIN, secret)) => Ok(secret.to_vec()),
        Some((&SEALED, rest)) if !key_file.is_empty() && rest.len() > NONCE_LEN => {
            let (nonce, sealed) = rest.split_at(NONCE_LEN);
            let nonce = Nonce::try_assume_unique_for_key(nonce)
                .map_err(|_| AccountError::Internal("a nonce is short".into()))?;
            let mut sealed = sealed.to_vec();
            let key = key(key_file)?;
            let opened = key.open_in_place(nonce, Aad::from(owner.as_bytes()), &mut sealed);
            opened.map(|secret| secret.to_vec()).map_err(|_| unreadable)
        }
        _ => Err(unreadable),
    }
}

fn key(file: &str) -> Result<LessSafeKey> {
    // Where the file is, and what is wrong with it, is for the log of the server.
    let read = read_or_make(Path::new(file), FORM);
    let key = read.map_err(|error| AccountError::Internal(error.to_string().into()))?;
    let key = UnboundKey::new(&AES_256_GCM, &key).map_err(|_| AccountError::Internal("a key is too short".into()))?;
    Ok(LessSafeKey::new(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_sealed_for_its_user_and_opened_with_the_same_key_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str| folder.path().join(name).display().to_string();
        let (ours, other) = (file("factors.key"), file("other.key"));
        let (ada, bob) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let sealed = seal(&ours, ada, b"12345678901234567890").expect("sealed");
        assert!(sealed.len() <= 64 && !sealed.windows(4).any(|part| part == b"1234"), "{sealed:?}");
        assert_ne!(seal(&ours, ada, b"12345678901234567890").expect("sealed"), sealed, "each time another one");
        assert_eq!(open(&ours, ada, &sealed).expect("opened"), b"12345678901234567890");
        open(&ours, bob, &sealed).expect_err("it was put into another user's row");
        open(&other, ada, &sealed).expect_err("another key");
        open("", ada, &sealed).expect_err("no key");
        let mut bent = sealed.clone();
        *bent.last_mut().expect("bytes") ^= 1;
        open(&ours, ada, &bent).expect_err("it was changed");
        open(&ours, ada, &[]).expect_err("nothing");
    }

    #[test]
    fn a_secret_of_before_there_was_a_key_is_read_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let ada = Uuid::from_u128(1);
        let plain = seal("", ada, b"12345678901234567890").expect("kept");
        let file = folder.path().join("factors.key").display().to_string();
        assert_eq!(open(&file, ada, &plain).expect("read"), b"12345678901234567890");
    }
}
