//! `gristmill batch outputs`: the files that a batch has written, to be taken away.
//!
//! A file is written under another name, checked against its hash, and then gets its own: what has its name is whole. What
//! was cut short is gone on with, by this command or by the next one.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use clap::Args;
use gristmill_core::id::BatchId;
use gristmill_jobs::sink::PartName;
use gristmill_service::documents::OutputDocument;
use gristmill_store::Page;
use sha2::{Digest, Sha256};

use super::list::{Paging, id};
use crate::cli::backend::Backend;
use crate::cli::context::CommandContext;
use crate::cli::output::{Output, grouped};
use crate::exit_code::{CommandError, Exit, Result};

/// How often an exchange that breaks off without a byte is begun again.
const TRIES_MAX: u32 = 5;

/// How many outputs are asked for at a time.
const PAGE_ROWS: u32 = 1_000;

/// Which outputs, and where to.
#[derive(Debug, Args)]
pub(super) struct Outputs {
    /// The batch
    id: String,
    /// Into this folder, which is made if it is missing; without it they are only listed
    #[arg(long, value_name = "FOLDER")]
    to: Option<PathBuf>,
    /// Only this one; may be repeated
    #[arg(long, value_name = "NAME", requires = "to")]
    name: Vec<String>,
    #[command(flatten)]
    paging: Paging,
}

/// What became of an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fetched {
    /// It was fetched, or the rest of it.
    Now,
    /// It was there already.
    Before,
}

/// Writes a batch as one HTML document, to a file or to standard output.
///
/// # Errors
///
/// When there is no such batch, or the file cannot be written.
pub(super) async fn report_to(context: &CommandContext, text: &str, file: &Path) -> Result<Exit> {
    let html = context.backend().await?.report(id("batch", text)?).await?;
    if file == Path::new("-") {
        context.output.line(&html);
    } else {
        fs::write(file, &html).map_err(|error| broken(file, &error))?;
        context.output.note(&format!("written to {}", file.display()));
    }
    Ok(Exit::Success)
}

impl Outputs {
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        let (batch, backend) = (id("batch", &self.id)?, context.backend().await?);
        let Some(folder) = &self.to else {
            let outputs = backend.outputs(batch, &self.paging.page()).await?;
            list(&context.output, &outputs);
            self.paging.next(context, outputs.len(), outputs.last().map(|output| output.chunk.to_string()));
            return Ok(Exit::Success);
        };
        let outputs = wanted(all(&backend, batch).await?, &self.name)?;
        gristmill_jobs::folder::make(folder).map_err(|error| broken(folder, &error))?;
        let (mut files, mut bytes, mut before) = (0, 0, 0);
        for output in &outputs {
            match fetch(&backend, batch, output, folder).await? {
                Fetched::Now => (files, bytes) = (files + 1, bytes + output.bytes),
                Fetched::Before => before += 1,
            }
        }
        list(&context.output, &outputs);
        let (bytes, folder) = (grouped(bytes), folder.display());
        context.output.note(&format!("{files} files of {bytes} bytes in {folder}; {before} were there already"));
        Ok(Exit::Success)
    }
}

fn list(output: &Output, outputs: &[OutputDocument]) {
    output.list(outputs, &["CHUNK", "NAME", "ITEMS", "BYTES", "SHA-256"], |one, _| {
        let OutputDocument { name, chunk, items, bytes, sha256 } = one.clone();
        vec![chunk.to_string(), name, items.to_string(), bytes.to_string(), sha256]
    });
}

async fn all(backend: &Backend<'_>, batch: BatchId) -> Result<Vec<OutputDocument>> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = backend.outputs(batch, &Page { after, limit: PAGE_ROWS }).await?;
        let full = page.len() >= PAGE_ROWS as usize;
        after = page.last().map(|output| output.chunk.to_string());
        all.extend(page);
        if !full {
            return Ok(all);
        }
    }
}

/// Those that are named, or all.
fn wanted(all: Vec<OutputDocument>, names: &[String]) -> Result<Vec<OutputDocument>> {
    if let Some(missing) = names.iter().find(|name| !all.iter().any(|output| output.name == **name)) {
        return Err(CommandError::not_found(format!("the batch has no output `{missing}`"))
            .hint("see `gristmill batch outputs ID` for those that it has"));
    }
    Ok(all.into_iter().filter(|output| names.is_empty() || names.contains(&output.name)).collect())
}

/// Fetches an output into a folder, or the rest of it.
async fn fetch(backend: &Backend<'_>, batch: BatchId, output: &OutputDocument, folder: &Path) -> Result<Fetched> {
    // The name is what a server says.
    if PartName::seq_of(&output.name).is_none() || output.name.contains(['/', '\\', '\0']) {
        return Err(CommandError::new(Exit::Failed, format!("`{}` is not the name of an output", output.name)));
    }
    let place = folder.join(&output.name);
    if place.exists() {
        let there = File::open(&place).and_then(|mut file| hash(&mut file)).map_err(|error| broken(&place, &error))?;
        return match there == output.sha256 {
            true => Ok(Fetched::Before),
            false => {
                let other = format!("`{}` is there already, and is another file", place.display());
                Err(CommandError::new(Exit::Conflict, other).hint("name another folder, or move it out of the way"))
            }
        };
    }
    let beside = folder.join(format!(".{}.partial", output.name));
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&beside);
    let mut file = file.map_err(|error| broken(&beside, &error))?;
    complete(backend, batch, output, (&mut file, &beside)).await?;
    let found = hash(&mut file).map_err(|error| broken(&beside, &error))?;
    if found != output.sha256 {
        // Going on with it would not mend it.
        let _ = fs::remove_file(&beside);
        let wrong = format!("`{}` has come with another hash than it was written with; it was removed", output.name);
        return Err(CommandError::new(Exit::Failed, wrong));
    }
    let kept = file.sync_all().and_then(|()| fs::rename(&beside, &place)).and_then(|()| File::open(folder)?.sync_all());
    kept.map_err(|error| broken(&place, &error))?;
    Ok(Fetched::Now)
}

/// Fetches until all bytes are there. An exchange that breaks off is gone on with as long as it gets anywhere.
async fn complete(
    backend: &Backend<'_>,
    batch: BatchId,
    output: &OutputDocument,
    (file, path): (&mut File, &Path),
) -> Result<()> {
    let mut tries = 0;
    loop {
        let mut have = file.seek(SeekFrom::End(0)).map_err(|error| broken(path, &error))?;
        if have > output.bytes {
            file.set_len(0).and_then(|()| file.rewind()).map_err(|error| broken(path, &error))?;
            have = 0;
        }
        if have == output.bytes {
            return Ok(());
        }
        let fetched = backend.fetch_output(batch, output, (file, have)).await;
        let now = file.metadata().map_err(|error| broken(path, &error))?.len();
        tries = if now > have { 0 } else { tries + 1 };
        match fetched {
            Ok(()) if now == output.bytes => return Ok(()),
            Ok(()) if tries >= TRIES_MAX => {
                let short = format!("`{}` ends after {now} of {} bytes", output.name, output.bytes);
                return Err(CommandError::new(Exit::Unavailable, short));
            }
            Err(error) if error.exit != Exit::Unavailable || tries >= TRIES_MAX => return Err(error),
            Ok(()) | Err(_) => tokio::time::sleep(std::time::Duration::from_millis(200 << tries)).await,
        }
    }
}

/// The hash of a whole file, in hex.
fn hash(file: &mut File) -> std::io::Result<String> {
    file.rewind()?;
    let (mut hasher, mut piece) = (Sha256::new(), vec![0; 64 * 1024]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hex::encode(hasher.finalize())),
            read => hasher.update(&piece[..read]),
        }
    }
}

fn broken(path: &Path, error: &std::io::Error) -> CommandError {
    CommandError::new(Exit::Failed, format!("`{}`: {error}", path.display()))
}
