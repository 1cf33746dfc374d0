//! The key that signs heads: ed25519, in a file that only its owner may read.

use std::fmt;
use std::path::Path;

use gristmill_core::audit::SignedHead;
use gristmill_store::StoreError;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use crate::key_file::{self, Form};

/// What a key file of ours is.
const FORM: Form = Form { word: "ed25519", name: "the key of the audit" };

/// The key that signs heads.
pub struct SigningKey(Ed25519KeyPair);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&self.public()).finish()
    }
}

impl SigningKey {
    /// Reads the key of a file.
    ///
    /// # Errors
    ///
    /// [`StoreError::Invalid`] when there is no such file, it holds no key, or others may read it.
    pub fn read(file: &Path) -> Result<Self, StoreError> {
        Self::of(file, &key_file::read(file, FORM)?)
    }

    /// Reads the key of a file, and makes it when there is none.
    ///
    /// # Errors
    ///
    /// As [`SigningKey::read`], and when the file cannot be made.
    pub fn read_or_make(file: &Path) -> Result<Self, StoreError> {
        Self::of(file, &key_file::read_or_make(file, FORM)?)
    }

    fn of(file: &Path, seed: &[u8]) -> Result<Self, StoreError> {
        let wrong = |error| StoreError::Invalid(format!("{} {}: {error}", FORM.name, file.display()));
        Ed25519KeyPair::from_seed_unchecked(seed).map(Self).map_err(wrong)
    }

    /// The public key, in hexadecimal.
    pub fn public(&self) -> String {
        hex::encode(self.0.public_key().as_ref())
    }

    /// Signs a head.
    pub fn sign(&self, head: SignedHead) -> SignedHead {
        let head = SignedHead { key: self.public(), ..head };
        let signature = hex::encode(self.0.sign(&head.bytes()).as_ref());
        SignedHead { signature, ..head }
    }
}

/// Whether a head's signature fits its key.
pub fn fits(head: &SignedHead) -> bool {
    let (Ok(key), Ok(signature)) = (hex::decode(&head.key), hex::decode(&head.signature)) else { return false };
    UnparsedPublicKey::new(&ED25519, key).verify(&head.bytes(), &signature).is_ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use gristmill_core::Instant;
    use gristmill_core::audit::Sum;

    use super::*;

    fn head() -> SignedHead {
        let at = Instant::from_timestamp_micros(1_700_000_000_000_000).expect("an instant");
        let (key, signature) = (String::new(), String::new());
        SignedHead { tenant: "main".to_owned(), seq: 7, hash: Sum::of(b"x"), at, key, signature }
    }

    #[test]
    fn a_key_is_made_once_for_its_owner_alone_and_its_signature_fits_only_what_was_signed() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("audit.key");
        let key = SigningKey::read_or_make(&file).expect("made");
        assert_eq!(fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(SigningKey::read_or_make(&file).expect("read").public(), key.public());
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1, "nothing else is left");
        let signed = key.sign(head());
        assert!(fits(&signed));
        assert!(!fits(&SignedHead { seq: 8, ..signed.clone() }));
        assert!(!fits(&SignedHead { hash: Sum::of(b"y"), ..signed.clone() }));
        assert!(!fits(&SignedHead { tenant: "other".to_owned(), ..signed.clone() }));
        assert!(!fits(&SignedHead { signature: "zz".to_owned(), ..signed }));
        assert!(!format!("{key:?}").contains(fs::read_to_string(&file).expect("read")[8..].trim_end()));
    }

    #[test]
    fn a_key_that_others_may_read_or_that_is_none_is_refused_with_what_to_do() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("audit.key");
        assert!(SigningKey::read(&file).is_err(), "there is none");
        fs::write(&file, "ed25519 abc\n").expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("set");
        let error = SigningKey::read(&file).expect_err("readable by all").to_string();
        assert!(error.contains("chmod 600"), "{error}");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("set");
        let error = SigningKey::read(&file).expect_err("too short").to_string();
        assert!(error.contains("64 hexadecimal digits"), "{error}");
    }
}
