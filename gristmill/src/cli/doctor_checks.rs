//! The doctor's checks. Each is limited in time and changes nothing.

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::Utc;
use gristmill_broker::Broker;
use gristmill_service::doctor::of_the_store;
use gristmill_service::documents::FindingDocument as Finding;
use gristmill_service::shared::Shared;
use gristmill_store::StoreHandle;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::Url;

use crate::cli::context::CommandContext;
use crate::cli::schedule::time_zones;
use crate::config::exposed::exposed;

/// How long one check may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The least room on a disk: a database that cannot write its log stops all work.
const DISK_BYTES_MIN: u64 = 256 * 1024 * 1024;

/// So much room is enough, however small a part of its disk it is.
const DISK_BYTES_AMPLE: u64 = 10 * 1024 * 1024 * 1024;

/// The most queues that are compared with the broker's.
const QUEUES_MAX: usize = 50;

/// Runs all checks, one after the other.
pub(crate) async fn run_checks(context: &CommandContext) -> Vec<Finding> {
    let (mut findings, mut published) = (Vec::new(), Vec::new());
    if let Some(store) = store(context, &mut findings).await {
        findings.extend(of_the_store(&store, &context.tenant, &context.program_here(), Utc::now()).await);
        published = queues(&store).await;
    }
    findings.push(broker(context, &published).await);
    findings.extend(disks(context));
    findings.push(Finding::ok("time zones", time_zones()));
    findings.push(mail(context).await);
    findings.push(cache(context).await);
    findings.push(encryption(context));
    findings.push(programs(&context.loaded.config.exec.programs));
    findings
}

/// Looking at a missing database file must not create it.
async fn store(context: &CommandContext, findings: &mut Vec<Finding>) -> Option<StoreHandle> {
    if let Some(path) = database_file(context).filter(|path| !path.exists()) {
        let found = format!("{} does not exist yet; the first command that needs it makes it", path.display());
        findings.push(Finding::ok("store", found));
        return None;
    }
    let mend = "check [store] url, that the server runs, and that this machine may reach it";
    match timeout(PATIENCE, context.connect_store()).await {
        Ok(Ok(store)) => {
            findings.push(Finding::ok("store", store.describe()));
            Some(store)
        }
        Ok(Err(error)) => {
            findings.push(Finding::problem("store", error.to_string(), mend));
            None
        }
        Err(_) => {
            findings.push(Finding::problem("store", format!("no answer within {PATIENCE:?}"), mend));
            None
        }
    }
}

/// Declares nothing: what a process that works would declare is only compared with what is there.
async fn broker(context: &CommandContext, queues: &[String]) -> Finding {
    let mend = "check [broker] url, its user's permissions, and that the server runs";
    match timeout(PATIENCE, Broker::look(&context.loaded.config.broker, queues)).await {
        Ok(Ok(look)) if look.prepared => Finding::ok("broker", look.address),
        Ok(Ok(look)) => {
            Finding::ok("broker", format!("{}; the first process that publishes declares its queues", look.address))
        }
        Ok(Err(error)) => Finding::problem("broker", error.to_string(), mend),
        Err(_) => Finding::problem("broker", format!("no answer within {PATIENCE:?}"), mend),
    }
}

/// Queues whose jobs this program would publish.
async fn queues(store: &StoreHandle) -> Vec<String> {
    let mut names = store.queue_names().await.unwrap_or_default();
    names.truncate(QUEUES_MAX);
    names
}

/// Every file system that something is written to, once.
fn disks(context: &CommandContext) -> Vec<Finding> {
    let config = &context.loaded.config;
    let parent = |path: PathBuf| path.parent().map(Path::to_path_buf).unwrap_or_default();
    let mut folders: Vec<PathBuf> = database_file(context).map(parent).into_iter().collect();
    folders.extend(context.spool_dir().ok().map(parent));
    let outputs = config.batch.values().filter_map(|batch| batch.output.as_ref());
    folders.extend(outputs.flat_map(|output| [&output.jsonl, &output.csv]).flatten().map(PathBuf::from));
    folders.extend(config.mail.url.strip_prefix("folder://").map(PathBuf::from));
    folders.extend(Some(&config.retention.archive).filter(|archive| !archive.is_empty()).map(PathBuf::from));
    let (mut findings, mut seen) = (Vec::new(), BTreeSet::new());
    for folder in &folders {
        let place = existing(folder);
        let system = std::fs::metadata(place).map(|metadata| metadata.dev());
        if system.is_ok_and(|system| seen.insert(system)) {
            findings.push(disk(place));
        }
    }
    findings
}

/// The folder itself, or the one above it in which it would be made.
fn existing(folder: &Path) -> &Path {
    let there = folder.ancestors().find(|path| path.exists());
    there.filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn disk(folder: &Path) -> Finding {
    match fs4::available_space(folder).and_then(|free| Ok((free, fs4::total_space(folder)?))) {
        Ok((free, total)) => {
            let percent = u128::from(free) * 100 / u128::from(total.max(1));
            let found = format!("{} MiB free ({percent} %) in {}", free / (1024 * 1024), folder.display());
            if nearly_full(free, total) {
                return Finding::problem("disk", found, "make room: a full disk stops all work until there is some");
            }
            Finding::ok("disk", found)
        }
        Err(error) => {
            let found = format!("{}: {error}", folder.display());
            Finding::problem("disk", found, "make the folder, or name another one in the configuration")
        }
    }
}

/// A twentieth of a large disk is still much room.
fn nearly_full(free: u64, total: u64) -> bool {
    free < DISK_BYTES_MIN || (free < DISK_BYTES_AMPLE && free < total / 20)
}

async fn mail(context: &CommandContext) -> Finding {
    let settings = &context.loaded.config.mail;
    if settings.relays.is_empty() {
        return mail_server("mail", &settings.url, "[mail] url").await;
    }
    let mut found = Vec::new();
    for (name, relay) in &settings.relays {
        let finding = mail_server("mail", &relay.url, &format!("[mail.relays.{name}] url")).await;
        if !finding.ok {
            return finding;
        }
        found.push(format!("{name}: {}", finding.found));
    }
    Finding::ok("mail", found.join("; "))
}

async fn mail_server(what: &'static str, url: &str, key: &str) -> Finding {
    if let Some(folder) = url.strip_prefix("folder://") {
        return mail_folder(Path::new(folder));
    }
    let mend = "check [mail], and that this machine may reach the server";
    let Some((host, port)) = Url::parse(url).ok().and_then(|url| {
        let port = url.port().unwrap_or(if url.scheme() == "smtps" { 465 } else { 587 });
        Some((url.host_str()?.to_owned(), port))
    }) else {
        return Finding::problem(what, format!("{key} has no host"), mend);
    };
    let place = format!("{host}:{port}");
    match timeout(PATIENCE, greeting(&host, port, url.starts_with("smtps:"))).await {
        Ok(Ok(greeting)) => Finding::ok(what, format!("{place}: {greeting}")),
        Ok(Err(wrong)) => Finding::problem(what, format!("{place}: {wrong}"), mend),
        Err(_) => Finding::problem(what, format!("{place}: no greeting within {PATIENCE:?}"), mend),
    }
}

/// The Redis that several servers share, where there is one.
async fn cache(context: &CommandContext) -> Finding {
    let settings = &context.loaded.config.cache;
    let mend = "check [cache] redis, and that this machine may reach it; until then each server counts rates by itself";
    let looked = match Shared::new(settings) {
        Ok(shared) => shared.look().await,
        Err(wrong) => Err(wrong),
    };
    match looked {
        Ok(None) => Finding::ok("cache", "each server counts rates by itself: [cache] redis is empty"),
        Ok(Some(version)) => Finding::ok("cache", format!("Redis {version}")),
        Err(why) => Finding::problem("cache", format!("the Redis of [cache] cannot be used: {why}"), mend),
    }
}

/// The first line that the server sends. A server that begins with TLS sends nothing before it.
async fn greeting(host: &str, port: u16, tls_first: bool) -> Result<String, String> {
    let mut stream = TcpStream::connect((host, port)).await.map_err(|error| error.to_string())?;
    if tls_first {
        return Ok("accepts connections".to_owned());
    }
    let mut bytes = [0; 512];
    let read = stream.read(&mut bytes).await.map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&bytes[..read]);
    let line = crate::cli::output::one_line(text.lines().next().unwrap_or_default());
    if line.starts_with("220") { Ok(line) } else { Err(format!("greets with `{line}` instead of 220")) }
}

fn mail_folder(folder: &Path) -> Finding {
    let existing = folder.ancestors().find(|path| path.exists() || path.as_os_str().is_empty());
    let place = existing.filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let found = format!("folder {}", folder.display());
    match std::fs::metadata(place) {
        Ok(metadata) if metadata.is_dir() && !metadata.permissions().readonly() => Finding::ok("mail", found),
        Ok(_) => Finding::problem("mail", format!("{found} cannot be written"), "name another folder in [mail] url"),
        Err(error) => Finding::problem("mail", format!("{found}: {error}"), "name another folder in [mail] url"),
    }
}

/// The programs that may run here: each must be there, and only its owner may put another in its place.
fn programs(allowed: &[String]) -> Finding {
    let wrong: Vec<String> = allowed.iter().filter_map(|program| replaceable(Path::new(program))).collect();
    match (allowed.len(), wrong.is_empty()) {
        (0, _) => Finding::ok("programs", "none may run: [exec] programs is empty"),
        (count, true) => Finding::ok("programs", format!("{count} may run, and only their owners can change them")),
        (_, false) => Finding::problem("programs", wrong.join("; "), "mend the mode or the path in [exec] programs"),
    }
}

fn replaceable(program: &Path) -> Option<String> {
    const BY_ANYBODY: u32 = 0o002;
    let open = |path: &Path| std::fs::metadata(path).is_ok_and(|found| found.permissions().mode() & BY_ANYBODY != 0);
    if !program.is_file() {
        return Some(format!("{} is not there", program.display()));
    }
    let folder = program.parent().filter(|folder| !folder.as_os_str().is_empty());
    (open(program) || folder.is_some_and(open)).then(|| format!("everybody may change {}", program.display()))
}

/// What goes in the clear is no fault where the network is trusted: it is said, and nothing more.
fn encryption(context: &CommandContext) -> Finding {
    let found: Vec<String> =
        exposed(&context.loaded.config).into_iter().map(|(key, what)| format!("`{key}` {what}")).collect();
    match found.is_empty() {
        true => Finding::ok("encryption", "nothing leaves this machine in the clear"),
        false => Finding::ok("encryption", format!("warning: {}", found.join("; "))),
    }
}

fn database_file(context: &CommandContext) -> Option<PathBuf> {
    gristmill_store::sqlite_file(&context.loaded.config.store.url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_nearly_full_by_its_bytes_and_by_its_share() {
        const GIB: u64 = 1024 * 1024 * 1024;
        assert!(nearly_full(DISK_BYTES_MIN - 1, DISK_BYTES_MIN), "too little for anything");
        assert!(nearly_full(4 * GIB, 100 * GIB), "4 %");
        assert!(!nearly_full(6 * GIB, 100 * GIB), "6 %");
        assert!(!nearly_full(20 * GIB, 1_000 * GIB), "2 %, and ample");
        assert!(!nearly_full(GIB, 2 * GIB), "a small disk that is half empty");
    }

    #[test]
    fn a_folder_that_is_not_made_yet_is_looked_for_above() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(existing(&folder.path().join("a/b")), folder.path());
        assert_eq!(existing(Path::new("no such folder")), Path::new("."));
    }

    #[test]
    fn a_program_that_everybody_may_change_is_a_problem() {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("settle");
        let allowed = [program.display().to_string()];
        assert!(programs(&[]).ok && !programs(&allowed).ok, "it is not there");
        std::fs::write(&program, "").expect("written");
        let mode = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("its mode is set");
        };
        for (file, around, ok) in [(0o755, 0o755, true), (0o777, 0o755, false), (0o755, 0o777, false)] {
            mode(&program, file);
            mode(folder.path(), around);
            assert_eq!(programs(&allowed).ok, ok, "{file:o} {around:o}");
        }
    }
}
