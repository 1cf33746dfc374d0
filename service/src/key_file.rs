//! Keys in files that only their owner may read: one line, a word for what the key is for and 64 hexadecimal digits.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use gristmill_store::StoreError;
use ring::rand::{SecureRandom, SystemRandom};

/// How long a key is, in bytes.
pub const KEY_BYTES: usize = 32;

/// What a key file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// The word that its line begins with.
    pub word: &'static str,
    /// What it is called in errors.
    pub name: &'static str,
}

/// Reads the key of a file.
///
/// # Errors
///
/// [`StoreError::Invalid`] when there is no such file, it holds no such key, or others may read it.
pub fn read(file: &Path, form: Form) -> Result<[u8; KEY_BYTES], StoreError> {
    let wrong = |what: String| StoreError::Invalid(format!("{} {}: {what}", form.name, file.display()));
    let text = fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    let mode = fs::metadata(file).map_err(|error| wrong(error.to_string()))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(wrong(format!("others may read it; say `chmod 600 {}`", file.display())));
    }
    let digits = text.strip_prefix(form.word).and_then(|rest| rest.strip_prefix(' '));
    let key = digits.and_then(|digits| hex::decode(digits.trim_end()).ok()).and_then(|key| key.try_into().ok());
    key.ok_or_else(|| wrong(format!("it has no line `{} ` with 64 hexadecimal digits", form.word)))
}

/// Reads the key of a file, and makes it when there is none.
///
/// # Errors
///
/// As [`read()`], and when the file cannot be made.
pub fn read_or_make(file: &Path, form: Form) -> Result<[u8; KEY_BYTES], StoreError> {
    match make(file, form) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => {
            let what = format!("{} {} cannot be made: {error}", form.name, file.display());
            return Err(StoreError::Invalid(what));
        }
    }
    read(file, form)
}

/// Makes a key file.
fn make(file: &Path, form: Form) -> io::Result<()> {
    if file.exists() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let mut key = [0; KEY_BYTES];
    SystemRandom::new().fill(&mut key).map_err(|_| io::Error::other("there are no random numbers"))?;
    put(file, format!("{} {}\n", form.word, hex::encode(key)).as_bytes())
}

/// Puts a secret into a new file that only its owner may read. It is whole when another process finds it: it gets its name
/// when it is written. A process that is killed, or a full disk, leaves none of that name.
///
/// # Errors
///
/// When there is such a file, or it cannot be written.
pub fn put(file: &Path, secret: &[u8]) -> io::Result<()> {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", uuid::Uuid::now_v7().simple()));
    let part = file.with_file_name(name);
    // A link, unlike a rename, fails when there is one already.
    let made = write(&part, secret).and_then(|()| fs::hard_link(&part, file));
    let _ = fs::remove_file(&part);
    made
}

fn write(part: &Path, secret: &[u8]) -> io::Result<()> {
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(part)?;
    out.write_all(secret)?;
    out.sync_all()
}
