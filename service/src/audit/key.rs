//! The key that signs heads: ed25519, in a file that only its owner may read.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use gristmill_core::audit::SignedHead;
use gristmill_store::StoreError;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

/// What the one line of a key file begins with.
const FORM: &str = "ed25519 ";

/// How long a key is, in bytes.
const KEY_BYTES: usize = 32;

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
        let wrong = |what: String| StoreError::Invalid(format!("the key of the audit {}: {what}", file.display()));
        let text = fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
        let mode = fs::metadata(file).map_err(|error| wrong(error.to_string()))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(wrong(format!("others may read it; say `chmod 600 {}`", file.display())));
        }
        let seed = text.strip_prefix(FORM).and_then(|digits| hex::decode(digits.trim_end()).ok());
        let seed = seed.filter(|seed| seed.len() == KEY_BYTES);
        let seed = seed.ok_or_else(|| wrong("it has no line `ed25519 ` with 64 hexadecimal digits".to_owned()))?;
        Ed25519KeyPair::from_seed_unchecked(&seed).map(Self).map_err(|error| wrong(error.to_string()))
    }

    /// Reads the key of a file, and makes it when there is none.
    ///
    /// # Errors
    ///
    /// As [`SigningKey::read`], and when the file cannot be made.
    pub fn read_or_make(file: &Path) -> Result<Self, StoreError> {
        match make(file) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                let what = format!("the key of the audit {} cannot be made: {error}", file.display());
                return Err(StoreError::Invalid(what));
            }
        }
        Self::read(file)
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

/// Makes a key file. It is whole when another process finds it: it gets its name when it is written.
fn make(file: &Path) -> io::Result<()> {
    if file.exists() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let mut seed = [0; KEY_BYTES];
    SystemRandom::new().fill(&mut seed).map_err(|_| io::Error::other("there are no random numbers"))?;
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", uuid::Uuid::now_v7().simple()));
    let part = file.with_file_name(name);
    // A link, unlike a rename, fails when another process was first.
    let made = write(&part, &seed).and_then(|()| fs::hard_link(&part, file));
    let _ = fs::remove_file(&part);
    made
}

fn write(part: &Path, seed: &[u8]) -> io::Result<()> {
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(part)?;
    writeln!(out, "{FORM}{}", hex::encode(seed))?;
    out.sync_all()
}

/// Whether a head's signature fits its key.
pub fn fits(head: &SignedHead) -> bool {
    let (Ok(key), Ok(signature)) = (hex::decode(&head.key), hex::decode(&head.signature)) else { return false };
    UnparsedPublicKey::new(&ED25519, key).verify(&head.bytes(), &signature).is_ok()
}

#[cfg(test)]
mod tests {
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
