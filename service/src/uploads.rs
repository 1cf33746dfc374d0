//! Uploads that can be gone on with: an input comes in pieces, however often the connection breaks, and a batch is started
//! from it when it is whole.
//!
//! An upload is two files on the machine of the server: what is known of it, and the bytes that have come. How far it is says
//! the length of the second alone, so that it needs nothing that could be forgotten when the server dies. Who writes holds
//! the lock of that file; a second writer is refused.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::TimeDelta;
use gristmill_core::Instant;
use gristmill_store::{OverQuota, QuotaOf};
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::process::host;

/// The most uploads that a tenant has at once.
pub const UPLOADS_MAX: usize = 1_000;

/// How long an upload is kept after its last byte came.
pub const KEPT: Duration = Duration::from_secs(24 * 3_600);

/// How the names of an upload's files end.
const FILES: [&str; 3] = ["data", "json", "part"];

/// How many bytes of an id are the mark of its server.
const MARK_BYTES: usize = 4;

const BUFFER_BYTES: usize = 1024 * 1024;

/// Why nothing became of a wish about an upload.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// There is none of this id here, or it is over.
    #[error("there is no upload {0} at this server, or it is over; begin anew")]
    NotFound(Uuid),
    /// Another server has given this id, on whose disk the upload lies.
    #[error(
        "there is no upload {id} at this server, `{here}`: another server has begun it, and has its bytes. All requests of an \
         upload must reach the server that its answers name in `server`: let the load balancer keep them there, or give all \
         servers one folder for copies of inputs"
    )]
    Elsewhere {
        /// Which.
        id: Uuid,
        /// The server that was asked.
        here: String,
    },
    /// The bytes do not follow those that are there.
    #[error("the upload has {have} bytes: the next ones begin there, and not at {said}")]
    Offset {
        /// How many are there.
        have: u64,
        /// Where those that came would begin.
        said: u64,
    },
    /// Another request is writing.
    #[error("another request is writing to this upload; ask how far it is, and go on there")]
    Busy,
    /// It is whole already.
    #[error("the upload is whole already")]
    Whole,
    /// It is not whole yet.
    #[error("the upload is not whole: {have} bytes have come")]
    NotWhole {
        /// How many have come.
        have: u64,
    },
    /// More came than was said, or than an input may have.
    #[error("the upload has more than {0} bytes")]
    TooLarge(u64),
    /// The tenant has too many.
    #[error("the tenant has {UPLOADS_MAX} uploads already; finish or delete some")]
    TooMany,
    /// It does not fit into the quota of its tenant.
    #[error(transparent)]
    OverQuota(#[from] OverQuota),
    /// A tenant that has a quota says how much comes.
    #[error("must be said: the tenant has a quota of storage")]
    Unsized,
    /// What came has another hash than was said.
    #[error("what has come has the SHA-256 {0}, which is another one than was said; it was removed: begin anew")]
    Hash(String),
    /// The disk refuses.
    #[error("the upload cannot be kept: {0}")]
    Io(#[from] io::Error),
}

/// Short for a result with [`UploadError`].
pub type Result<T> = std::result::Result<T, UploadError>;

/// An upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct UploadDocument {
    /// Its id; also its key in lists.
    pub id: Uuid,
    /// How many bytes have come: the next ones begin there.
    pub offset: u64,
    /// How many bytes it has when it is whole, where that was said.
    pub length: Option<u64>,
    /// The SHA-256 of all of it: as it was said, or as it is once it is whole.
    pub sha256: Option<String>,
    /// Whether it is whole: a batch can be started from it.
    pub complete: bool,
    /// The server on whose disk it lies: all requests of it must reach that one.
    #[serde(default)]
    pub server: String,
    /// When it began.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    pub created_at: Instant,
    /// When it is removed, unless more comes.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    pub expires_at: Instant,
}

/// What is kept of an upload beside its bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Known {
    tenant: String,
    length: Option<u64>,
    sha256: Option<String>,
    complete: bool,
    created_at: Instant,
}

/// An upload that begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewUpload {
    /// Whose.
    pub tenant: String,
    /// How many bytes it will have, where that is known.
    pub length: Option<u64>,
    /// The SHA-256 that it must have, in lower case, where that is known.
    pub sha256: Option<String>,
    /// How much room its tenant has, where that is limited.
    pub room: Option<Room>,
}

/// How much room a tenant has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// How many bytes it may have.
    pub limit: u64,
    /// How many it has besides uploads.
    pub used: u64,
}

/// The uploads in a folder. Everything here blocks.
#[derive(Debug, Clone)]
pub struct Uploads {
    folder: PathBuf,
    bytes_max: u64,
    /// What this server is called.
    host: String,
}

/// An upload that is written to: no other request can.
#[derive(Debug)]
pub struct Writing {
    /// The file, at its end.
    pub file: File,
    /// How many bytes are there.
    pub offset: u64,
    /// How many there may be.
    pub most: u64,
}

impl Uploads {
    /// Those beside the spools in a folder, each of at most so many bytes.
    pub fn new(spools: &Path, bytes_max: u64) -> Self {
        Self { folder: spools.join("uploads"), bytes_max, host: host() }
    }

    /// The same at a server of another name than this machine's.
    #[must_use]
    pub fn at(self, host: impl Into<String>) -> Self {
        Self { host: host.into(), ..self }
    }

    /// A new id. Its last bytes are a mark of this server, so that another one knows that it is not its own.
    fn fresh(&self) -> Uuid {
        let mut id = Uuid::now_v7().into_bytes();
        id[16 - MARK_BYTES..].copy_from_slice(&self.mark());
        Uuid::from_bytes(id)
    }

    fn mark(&self) -> [u8; MARK_BYTES] {
        let digest = ring::digest::digest(&SHA256, self.host.as_bytes());
        let hash: &[u8] = digest.as_ref();
        std::array::from_fn(|at| hash[at])
    }

    /// The error for an upload that is not there.
    fn missing(&self, id: Uuid) -> UploadError {
        if id.into_bytes().ends_with(&self.mark()) {
            UploadError::NotFound(id)
        } else {
            UploadError::Elsewhere { id, here: self.host.clone() }
        }
    }

    fn data(&self, id: Uuid) -> PathBuf {
        self.folder.join(format!("{id}.data"))
    }

    fn about(&self, id: Uuid) -> PathBuf {
        self.folder.join(format!("{id}.json"))
    }

    /// What is about to be known of an upload, until it is written.
    fn part(&self, id: Uuid) -> PathBuf {
        self.folder.join(format!("{id}.part"))
    }

    /// Begins an upload.
    ///
    /// # Errors
    ///
    /// `TooLarge`, `TooMany`, `OverQuota`, `Unsized`, `Io`.
    pub fn create(&self, new: &NewUpload, now: Instant) -> Result<UploadDocument> {
        if new.length.is_some_and(|length| length > self.bytes_max) {
            return Err(UploadError::TooLarge(self.bytes_max));
        }
        if self.list(&new.tenant, now)?.len() >= UPLOADS_MAX {
            return Err(UploadError::TooMany);
        }
        gristmill_jobs::folder::make(&self.folder)?;
        // Until it is there, so that those who begin at once get no more room than one after the other.
        let _alone = new.room.map(|room| self.hold(new, room, now)).transpose()?;
        self.begin(self.fresh(), new, now)
    }

    /// Makes the files of an upload: all of them, or none.
    fn begin(&self, id: Uuid, new: &NewUpload, now: Instant) -> Result<UploadDocument> {
        let NewUpload { tenant, length, sha256, room: _ } = new.clone();
        let known = Known { tenant, length, sha256, complete: false, created_at: now };
        // The bytes first: without them what is known of an upload is the rest of one that was removed.
        private(&self.data(id))?;
        let begun = self.write(id, &known).and_then(|()| self.shown(id, &known));
        if begun.is_err() {
            // Why it could not be made matters, and not that it cannot be removed either: it is over within a day.
            let _ = self.remove_files(id);
        }
        begun
    }

    /// Refuses what does not fit, and lets no other begin as long as the file is open.
    fn hold(&self, new: &NewUpload, room: Room, now: Instant) -> Result<File> {
        let wanted = new.length.ok_or(UploadError::Unsized)?;
        let mut options = File::options();
        options.create(true).truncate(false).write(true);
        let lock = options.open(self.folder.join("begin.lock"))?;
        lock.lock()?;
        // Each has what it will have from its beginning on.
        let will = |upload: &UploadDocument| upload.length.unwrap_or(0).max(upload.offset);
        let used = room.used + self.list(&new.tenant, now)?.iter().map(will).sum::<u64>();
        if used.saturating_add(wanted) > room.limit {
            let (tenant, quota) = (new.tenant.clone(), QuotaOf::StorageBytes);
            return Err(OverQuota { tenant, quota, limit: room.limit, used, wanted }.into());
        }
        Ok(lock)
    }

    /// An upload of a tenant.
    ///
    /// # Errors
    ///
    /// `NotFound`, `Io`.
    pub fn show(&self, tenant: &str, id: Uuid, now: Instant) -> Result<UploadDocument> {
        let known = self.known(tenant, id)?;
        let shown = self.shown(id, &known)?;
        if shown.expires_at <= now { Err(UploadError::NotFound(id)) } else { Ok(shown) }
    }

    /// The uploads of a tenant, oldest first.
    ///
    /// # Errors
    ///
    /// `Io`.
    pub fn list(&self, tenant: &str, now: Instant) -> Result<Vec<UploadDocument>> {
        let mut found = Vec::new();
        for id in self.ids(&["json"])? {
            match self.show(tenant, id, now) {
                Ok(upload) => found.push(upload),
                Err(UploadError::NotFound(_) | UploadError::Elsewhere { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// How many bytes of a tenant's lie here.
    ///
    /// # Errors
    ///
    /// `Io`.
    pub fn used(&self, tenant: &str, now: Instant) -> Result<u64> {
        Ok(self.list(tenant, now)?.iter().map(|upload| upload.offset).sum())
    }

    /// Opens an upload to go on with it at an offset. It is locked until the file is dropped.
    ///
    /// # Errors
    ///
    /// `NotFound`, `Whole`, `Busy`, `Offset`, `Io`.
    pub fn write_at(&self, tenant: &str, id: Uuid, offset: u64, now: Instant) -> Result<Writing> {
        self.show(tenant, id, now)?;
        let mut file = self.locked(id)?;
        // Not before the lock: the request before may have ended it.
        let known = self.known(tenant, id)?;
        if known.complete {
            return Err(UploadError::Whole);
        }
        let have = file.seek(SeekFrom::End(0))?;
        if have != offset {
            return Err(UploadError::Offset { have, said: offset });
        }
        Ok(Writing { file, offset, most: known.length.unwrap_or(self.bytes_max) })
    }

    fn locked(&self, id: Uuid) -> Result<File> {
        let gone = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => UploadError::NotFound(id),
            _ => UploadError::Io(error),
        };
        let file = File::options().read(true).append(true).open(self.data(id)).map_err(gone)?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(fs::TryLockError::WouldBlock) => Err(UploadError::Busy),
            Err(fs::TryLockError::Error(error)) => Err(error.into()),
        }
    }

    /// Says that all bytes have come: their hash is compared with what was said, and kept.
    ///
    /// # Errors
    ///
    /// `NotFound`, `Busy`, `NotWhole`, `Hash`, `Io`.
    pub fn complete(&self, tenant: &str, id: Uuid, now: Instant) -> Result<UploadDocument> {
        self.show(tenant, id, now)?;
        let mut file = self.locked(id)?;
        let mut known = self.known(tenant, id)?;
        if known.complete {
            return self.shown(id, &known);
        }
        let have = file.metadata()?.len();
        if known.length.is_some_and(|length| length != have) {
            return Err(UploadError::NotWhole { have });
        }
        file.sync_all()?;
        let sha256 = hash(&mut file)?;
        if known.sha256.as_ref().is_some_and(|said| *said != sha256) {
            self.remove_files(id)?;
            return Err(UploadError::Hash(sha256));
        }
        (known.sha256, known.length, known.complete) = (Some(sha256), Some(have), true);
        self.write(id, &known)?;
        self.shown(id, &known)
    }

    /// Opens a whole upload for reading.
    ///
    /// # Errors
    ///
    /// `NotFound`, `NotWhole`, `Io`.
    pub fn read(&self, tenant: &str, id: Uuid, now: Instant) -> Result<File> {
        let shown = self.show(tenant, id, now)?;
        if !shown.complete {
            return Err(UploadError::NotWhole { have: shown.offset });
        }
        Ok(File::open(self.data(id))?)
    }

    /// Removes an upload.
    ///
    /// # Errors
    ///
    /// `NotFound`, `Busy`, `Io`.
    pub fn remove(&self, tenant: &str, id: Uuid) -> Result<()> {
        self.known(tenant, id)?;
        // Until the files are gone: who waits to write finds none afterwards.
        let _alone = match self.locked(id) {
            Ok(file) => Some(file),
            // The rest of one whose removal was interrupted.
            Err(UploadError::NotFound(_)) => None,
            Err(error) => return Err(error),
        };
        self.remove_files(id)
    }

    /// Removes what is over, of whichever tenant, also the files of uploads that were being begun or removed when a server
    /// died. What cannot be looked at stays, and so does what is being written to. Returns how many uploads there were.
    ///
    /// # Errors
    ///
    /// `Io`.
    pub fn tidy(&self, now: Instant) -> Result<u64> {
        let mut removed = 0;
        for id in self.ids(&FILES)? {
            match self.tidy_one(id, now) {
                Ok(was_over) => removed += u64::from(was_over),
                Err(error) => tracing::warn!(upload = %id, %error, "an upload cannot be looked at, and stays"),
            }
        }
        Ok(removed)
    }

    fn tidy_one(&self, id: Uuid, now: Instant) -> Result<bool> {
        if !self.is_over(id, now)? {
            return Ok(false);
        }
        let _alone = match self.locked(id) {
            Ok(file) => Some(file),
            Err(UploadError::NotFound(_)) => None,
            Err(UploadError::Busy) => return Ok(false),
            Err(error) => return Err(error),
        };
        // Not before the lock: the request before may have gone on with it.
        let over = self.is_over(id, now)?;
        if over {
            self.remove_files(id)?;
        }
        Ok(over)
    }

    /// Whether no byte of an upload has come for long, whatever is known of it; or whether its bytes are gone, which are made
    /// first and removed first.
    fn is_over(&self, id: Uuid, now: Instant) -> Result<bool> {
        let mut touched = None;
        for path in [self.data(id), self.about(id), self.part(id)] {
            touched = touched.max(modified(&path)?);
        }
        let begun = modified(&self.data(id))?.is_some() || modified(&self.about(id))?.is_none();
        let kept = TimeDelta::from_std(KEPT).unwrap_or(TimeDelta::MAX);
        Ok(touched.is_some_and(|touched| !begun || touched + kept <= now))
    }

    /// The ids of uploads, by the files with one of these endings.
    fn ids(&self, endings: &[&str]) -> Result<Vec<Uuid>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut ids = Vec::new();
        for entry in entries {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let id = name.rsplit_once('.').filter(|(_, ending)| endings.contains(ending)).map(|(id, _)| id);
            ids.extend(id.and_then(|id| id.parse::<Uuid>().ok()));
        }
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    /// What is known of an upload of a tenant; of another's nothing is.
    fn known(&self, tenant: &str, id: Uuid) -> Result<Known> {
        let known = self.read_known(id)?.filter(|known| known.tenant == tenant);
        known.ok_or_else(|| self.missing(id))
    }

    fn read_known(&self, id: Uuid) -> Result<Option<Known>> {
        match fs::read(self.about(id)) {
            Ok(text) => Ok(serde_json::from_slice(&text).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Under another name until it is written.
    fn write(&self, id: Uuid, known: &Known) -> Result<()> {
        let part = self.part(id);
        let text = serde_json::to_vec(known).map_err(io::Error::other)?;
        let _ = fs::remove_file(&part);
        let written = || {
            let mut file = private(&part)?;
            io::Write::write_all(&mut file, &text)?;
            file.sync_all()?;
            fs::rename(&part, self.about(id))?;
            File::open(&self.folder)?.sync_all()
        };
        written().inspect_err(|_| drop(fs::remove_file(&part)))?;
        Ok(())
    }

    fn shown(&self, id: Uuid, known: &Known) -> Result<UploadDocument> {
        let about = match fs::metadata(self.data(id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(UploadError::NotFound(id)),
            about => about?,
        };
        let touched: Instant = about.modified().map_or(known.created_at, Into::into);
        let kept = TimeDelta::from_std(KEPT).unwrap_or(TimeDelta::MAX);
        Ok(UploadDocument {
            id,
            offset: about.len(),
            length: known.length,
            sha256: known.sha256.clone(),
            complete: known.complete,
            server: self.host.clone(),
            created_at: known.created_at,
            expires_at: touched.max(known.created_at) + kept,
        })
    }

    fn remove_files(&self, id: Uuid) -> Result<()> {
        for path in [self.data(id), self.about(id), self.part(id)] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }
}

/// When a file was last written to; `None` where there is none.
fn modified(path: &Path) -> io::Result<Option<Instant>> {
    match fs::metadata(path) {
        Ok(about) => Ok(Some(about.modified()?.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A new file that other users of the machine cannot read.
fn private(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// The SHA-256 of a whole file.
fn hash(file: &mut File) -> io::Result<String> {
    file.seek(SeekFrom::Start(0))?;
    let (mut context, mut buffer) = (Context::new(&SHA256), vec![0; BUFFER_BYTES]);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hex::encode(context.finish())),
            Ok(length) => context.update(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn new(length: Option<u64>) -> NewUpload {
        NewUpload { tenant: "north".to_owned(), length, sha256: None, room: None }
    }

    fn now() -> Instant {
        chrono::Utc::now()
    }

    fn uploads() -> (tempfile::TempDir, Uploads) {
        let folder = tempfile::tempdir().expect("a folder");
        let uploads = Uploads::new(folder.path(), 1_000);
        (folder, uploads)
    }

    fn append(uploads: &Uploads, id: Uuid, offset: u64, bytes: &[u8]) -> Result<()> {
        let mut writing = uploads.write_at("north", id, offset, now())?;
        Ok(writing.file.write_all(bytes)?)
    }

    #[test]
    fn an_upload_goes_on_where_it_is_whatever_was_forgotten() {
        let (folder, uploads) = uploads();
        let id = uploads.create(&new(Some(6)), now()).expect("begun").id;
        append(&uploads, id, 0, b"abc").expect("written");
        let again = Uploads::new(folder.path(), 1_000);
        assert_eq!(again.show("north", id, now()).expect("there").offset, 3, "after a restart");
        let error = append(&again, id, 0, b"abc").expect_err("from its beginning");
        assert!(matches!(error, UploadError::Offset { have: 3, said: 0 }), "{error}");
        assert!(matches!(again.complete("north", id, now()), Err(UploadError::NotWhole { have: 3 })));
        assert!(matches!(again.read("north", id, now()), Err(UploadError::NotWhole { .. })));
        append(&again, id, 3, b"def").expect("written");
        let whole = again.complete("north", id, now()).expect("whole");
        let sha256 = "bef57ec7f53a6d40beb640a780a639c83bc29ac8a9816f1fc6c5c6dcd93c4721";
        assert_eq!((whole.complete, whole.sha256.as_deref()), (true, Some(sha256)));
        assert!(matches!(append(&again, id, 6, b"g"), Err(UploadError::Whole)));
        let mut text = String::new();
        again.read("north", id, now()).expect("open").read_to_string(&mut text).expect("read");
        assert_eq!(text, "abcdef");
        again.remove("north", id).expect("removed");
        assert!(matches!(again.show("north", id, now()), Err(UploadError::NotFound(_))));
    }

    #[test]
    fn a_second_writer_is_refused_and_no_other_tenant_sees_it() {
        let (_folder, uploads) = uploads();
        let id = uploads.create(&new(None), now()).expect("begun").id;
        let first = uploads.write_at("north", id, 0, now()).expect("open");
        assert!(matches!(append(&uploads, id, 0, b"x"), Err(UploadError::Busy)));
        assert!(matches!(uploads.complete("north", id, now()), Err(UploadError::Busy)));
        drop(first);
        append(&uploads, id, 0, b"x").expect("free again");
        for refused in [uploads.show("south", id, now()).err(), uploads.remove("south", id).err()] {
            assert!(matches!(refused, Some(UploadError::NotFound(_))), "{refused:?}");
        }
        assert!(uploads.list("south", now()).expect("listed").is_empty());
        assert_eq!(uploads.used("north", now()).expect("counted"), 1);
    }

    #[test]
    fn what_has_another_hash_or_is_too_large_is_refused() {
        let (_folder, uploads) = uploads();
        assert!(matches!(uploads.create(&new(Some(1_001)), now()), Err(UploadError::TooLarge(1_000))));
        let wrong = NewUpload { sha256: Some("0".repeat(64)), ..new(None) };
        let id = uploads.create(&wrong, now()).expect("begun").id;
        append(&uploads, id, 0, b"abc").expect("written");
        assert!(matches!(uploads.complete("north", id, now()), Err(UploadError::Hash(_))));
        assert!(matches!(uploads.show("north", id, now()), Err(UploadError::NotFound(_))), "it is gone");
        assert_eq!(
            uploads
                .write_at("north", uploads.create(&new(Some(5)), now()).expect("begun").id, 0, now())
                .expect("open")
                .most,
            5
        );
    }

    #[test]
    fn those_who_begin_at_once_get_no_more_room_than_there_is() {
        let (_folder, uploads) = uploads();
        let limited = |length| NewUpload { room: Some(Room { limit: 300, used: 50 }), ..new(length) };
        assert!(matches!(uploads.create(&limited(None), now()), Err(UploadError::Unsized)));
        let begin = || uploads.create(&limited(Some(100)), now());
        let begun = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(begin)).collect();
            threads.into_iter().map(|thread| thread.join().expect("it ran")).collect::<Vec<_>>()
        });
        let (made, refused): (Vec<_>, Vec<_>) = begun.into_iter().partition(Result::is_ok);
        assert_eq!(made.len(), 2);
        let over = |error: &UploadError| matches!(error, UploadError::OverQuota(over) if over.used == 250 && over.wanted == 100);
        assert!(refused.iter().all(|refused| refused.as_ref().is_err_and(over)), "{refused:?}");
        uploads.remove("north", made[0].as_ref().expect("made").id).expect("removed");
        begin().expect("there is room again");
    }

    #[test]
    fn what_is_over_is_not_there_and_is_removed() {
        let (folder, uploads) = uploads();
        let id = uploads.create(&new(None), now()).expect("begun").id;
        assert_eq!(uploads.tidy(now()).expect("tidied"), 0);
        let later = now() + TimeDelta::hours(25);
        assert!(matches!(uploads.show("north", id, later), Err(UploadError::NotFound(_))));
        assert_eq!(uploads.tidy(later).expect("tidied"), 1);
        let left = fs::read_dir(folder.path().join("uploads")).expect("there").count();
        assert_eq!(left, 0, "no file of it stays");
    }

    /// The names of the files that are there.
    fn files(folder: &tempfile::TempDir) -> Vec<String> {
        let entries = fs::read_dir(folder.path().join("uploads")).expect("there");
        let mut names: Vec<_> =
            entries.map(|entry| entry.expect("readable").file_name().into_string().expect("text")).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn what_is_being_written_to_is_not_removed_under_its_writer() {
        let (folder, uploads) = uploads();
        let id = uploads.create(&new(None), now()).expect("begun").id;
        let later = now() + TimeDelta::hours(25);
        let mut writing = uploads.write_at("north", id, 0, now()).expect("open");
        assert!(matches!(uploads.remove("north", id), Err(UploadError::Busy)));
        assert_eq!(uploads.tidy(later).expect("tidied"), 0);
        writing.file.write_all(b"abc").expect("written");
        drop(writing);
        assert_eq!(uploads.show("north", id, now()).expect("there").offset, 3);
        fs::write(uploads.part(id), "{").expect("as a server leaves it that dies while it writes");
        uploads.remove("north", id).expect("free again");
        assert_eq!(files(&folder), Vec::<String>::new());
        assert!(matches!(append(&uploads, id, 3, b"d"), Err(UploadError::NotFound(_))));
        let half = uploads.create(&new(None), now()).expect("begun").id;
        fs::remove_file(uploads.data(half)).expect("as far as a removal came");
        assert_eq!(uploads.tidy(now()).expect("tidied"), 1, "at once");
        assert_eq!(files(&folder), Vec::<String>::new());
    }

    #[test]
    fn another_server_says_that_it_is_not_the_one_which_has_the_upload() {
        let (_here, first) = uploads();
        let (_there, second) = uploads();
        let (first, second) = (first.at("host-a"), second.at("host-b"));
        let begun = first.create(&new(None), now()).expect("begun");
        assert_eq!((begun.server.as_str(), begun.id.get_version_num()), ("host-a", 7));
        let id = begun.id;
        for refused in [
            second.show("north", id, now()).err(),
            second.write_at("north", id, 0, now()).err(),
            second.complete("north", id, now()).err(),
            second.read("north", id, now()).err(),
            second.remove("north", id).err(),
        ] {
            let said = refused.as_ref().map(ToString::to_string).unwrap_or_default();
            assert!(matches!(refused, Some(UploadError::Elsewhere { .. })), "{refused:?}");
            assert!(said.contains("`host-b`") && said.contains("load balancer"), "{said}");
        }
        assert!(matches!(first.show("south", id, now()), Err(UploadError::NotFound(_))), "another tenant's is none");
        first.remove("north", id).expect("removed");
        assert!(matches!(first.show("north", id, now()), Err(UploadError::NotFound(_))), "its own, and gone");
    }

    #[test]
    fn an_upload_that_cannot_be_begun_leaves_nothing() {
        let (folder, uploads) = uploads();
        let id = Uuid::now_v7();
        fs::create_dir_all(uploads.about(id).join("in the way")).expect("made");
        assert!(matches!(uploads.begin(id, &new(None), now()), Err(UploadError::Io(_))));
        fs::remove_dir_all(uploads.about(id)).expect("removed");
        assert_eq!(files(&folder), Vec::<String>::new());
    }

    #[test]
    fn what_a_server_leaves_that_dies_at_the_beginning_is_over_within_a_day() {
        let (folder, uploads) = uploads();
        gristmill_jobs::folder::make(&folder.path().join("uploads")).expect("made");
        let (first, second) = (Uuid::now_v7(), Uuid::now_v7());
        for path in [uploads.data(first), uploads.data(second), uploads.part(second)] {
            fs::write(path, "").expect("written");
        }
        assert_eq!(uploads.tidy(now()).expect("tidied"), 0, "they may be under way");
        assert!(uploads.list("north", now()).expect("listed").is_empty());
        assert_eq!(uploads.tidy(now() + TimeDelta::hours(25)).expect("tidied"), 2);
        assert_eq!(files(&folder), Vec::<String>::new());
    }

    #[cfg(unix)]
    #[test]
    fn what_cannot_be_looked_at_stays() {
        let (folder, uploads) = uploads();
        let (odd, other, over) = (0, 1, 2);
        let ids = [(); 3].map(|()| uploads.create(&new(None), now()).expect("begun").id);
        // No file that is not there: one that cannot be asked about.
        fs::remove_file(uploads.data(ids[odd])).expect("removed");
        std::os::unix::fs::symlink(uploads.data(ids[odd]), uploads.data(ids[odd])).expect("a link to itself");
        fs::write(uploads.about(ids[other]), r#"{"of": "another version"}"#).expect("written");
        assert_eq!(uploads.tidy(now()).expect("tidied"), 0);
        assert_eq!(files(&folder).len(), 6, "{:?}", files(&folder));
        assert_eq!(uploads.tidy(now() + TimeDelta::hours(25)).expect("tidied"), 2, "one does not keep the others");
        assert!(!uploads.about(ids[over]).exists() && !uploads.about(ids[other]).exists());
        assert!(uploads.about(ids[odd]).exists());
    }
}
