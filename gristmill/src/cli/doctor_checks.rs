//! The doctor's checks. Each is limited in time and changes nothing.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::Utc;
use gristmill_broker::Health;
use gristmill_service::documents::FindingDocument as Finding;
use gristmill_store::{PrunedView, StoreHandle};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::Url;

use crate::cli::context::CommandContext;
use crate::cli::waits_for;
use crate::config::exposed::exposed;

/// How long one check may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The least room on a disk: a database that cannot write its log stops all work.
const DISK_BYTES_MIN: u64 = 256 * 1024 * 1024;

/// The most that two clocks may differ. State depends on the database's clock alone; people read both.
const SKEW_MAX: Duration = Duration::from_secs(5);

/// How long work to be published may wait: the relay takes what is older than a second, unless its queue is full.
const OUTBOX_WAIT_MAX: Duration = Duration::from_secs(300);

/// Runs all checks, one after the other.
pub(crate) async fn run_checks(context: &CommandContext) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(store) = store(context, &mut findings).await {
        findings.push(migrations(context, &store).await);
        findings.push(clock(&store).await);
        findings.push(kinds(context, &store).await);
        findings.extend(outbox(&store).await);
        findings.push(retention(&store).await);
    }
    findings.push(broker(context).await);
    findings.push(disk(context));
    findings.push(mail(context).await);
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

async fn migrations(context: &CommandContext, store: &StoreHandle) -> Finding {
    match store.migrations().await {
        Ok(status) if status.applied > status.known => Finding::problem(
            "migrations",
            format!("the database has migration {}, this program knows {}", status.applied, status.known),
            "use a newer gristmill",
        ),
        Ok(status) if status.applied < status.known && !store.embedded() => Finding::problem(
            "migrations",
            format!("the database has migration {}, this program needs {}", status.applied, status.known),
            format!("run `{} db migrate`", context.program_here()),
        ),
        Ok(status) => Finding::ok("migrations", format!("{} of {}", status.applied, status.known)),
        Err(error) => {
            Finding::problem("migrations", error.to_string(), format!("run `{} db status`", context.program_here()))
        }
    }
}

/// Jobs that wait while no worker is running are not a fault; jobs that no running worker can handle are.
async fn kinds(context: &CommandContext, store: &StoreHandle) -> Finding {
    let found = async {
        let working = store.workers().await?.iter().any(|worker| worker.state == "alive" && worker.slots > 0);
        Ok::<_, gristmill_store::StoreError>(
            store.unhandled(&context.tenant).await?.into_iter().filter(move |_| working),
        )
    };
    match found.await.map(|found| found.map(|one| waits_for(&one)).collect::<Vec<_>>()) {
        Ok(waiting) if waiting.is_empty() => Finding::ok("kinds", "no job waits for a kind that no live worker has"),
        Ok(waiting) => Finding::problem(
            "kinds",
            waiting.join("; "),
            "start a worker that has the kind and serves the queue, or cancel them: `gristmill job cancel --kind NAME`",
        ),
        Err(error) => Finding::problem("kinds", error.to_string(), "see the finding about the store"),
    }
}

async fn clock(store: &StoreHandle) -> Finding {
    match store.now().await {
        Ok(now) => {
            let skew = (Utc::now() - now).abs().to_std().unwrap_or_default();
            let found = format!("{} ms apart from the database", skew.as_millis());
            if skew <= SKEW_MAX {
                return Finding::ok("clock", found);
            }
            Finding::problem("clock", found, "let both machines keep their time by NTP")
        }
        Err(error) => Finding::problem("clock", error.to_string(), "see the finding about the store"),
    }
}

/// Checks what waits to be published. Where no broker carries ids, nothing ever does.
async fn outbox(store: &StoreHandle) -> Option<Finding> {
    let backlog = store.outbox_backlog().await.ok()?;
    let oldest = backlog.oldest?;
    let waits = (Utc::now() - oldest).to_std().unwrap_or_default();
    let found = format!("{} rows wait to be published, the oldest for {} s", backlog.rows, waits.as_secs());
    if waits <= OUTBOX_WAIT_MAX {
        return Some(Finding::ok("outbox", found));
    }
    let mend = "see that a scheduler runs (`gristmill worker list`) and that the broker takes messages";
    Some(Finding::problem("outbox", found, mend))
}

/// What was deleted so far: a database that only grows fills its disk one day.
async fn retention(store: &StoreHandle) -> Finding {
    match store.pruned().await {
        Ok(pruned) if pruned.is_empty() => Finding::ok("retention", "nothing has been deleted after its time yet"),
        Ok(pruned) => {
            let noun = |view: &PrunedView| format!("{} {}", view.deleted, view.noun);
            let nouns: Vec<String> = pruned.iter().map(noun).collect();
            let last = pruned.iter().map(|view| view.last_at).max().map_or_else(String::new, |at| at.to_rfc3339());
            Finding::ok("retention", format!("deleted after their time: {}; the last at {last}", nouns.join(", ")))
        }
        Err(error) => Finding::problem("retention", error.to_string(), "see the finding about the store"),
    }
}

async fn broker(context: &CommandContext) -> Finding {
    let mend = "check [broker] url, its user's permissions, and that the server runs";
    let broker = match timeout(PATIENCE, context.broker()).await {
        Ok(Ok(broker)) => broker,
        Ok(Err(error)) => return Finding::problem("broker", error.to_string(), mend),
        Err(_) => return Finding::problem("broker", format!("no answer within {PATIENCE:?}"), mend),
    };
    if !broker.carries() {
        return Finding::ok("broker", broker.describe());
    }
    let mut health = broker.health();
    match timeout(PATIENCE, health.wait_for(Health::is_up)).await {
        Ok(Ok(_)) => Finding::ok("broker", broker.describe()),
        Ok(Err(_)) | Err(_) => {
            let wrong = match &*broker.health().borrow() {
                Health::Down { reason, .. } | Health::Blocked { reason, .. } => format!(": {reason}"),
                Health::Up => String::new(),
            };
            Finding::problem("broker", format!("{} is not up{wrong}", broker.describe()), mend)
        }
    }
}

fn disk(context: &CommandContext) -> Finding {
    let folder = database_file(context).and_then(|path| path.parent().map(Path::to_path_buf)).unwrap_or_default();
    let folder = if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder };
    match fs4::available_space(&folder) {
        Ok(bytes) => {
            let found = format!("{} MiB free in {}", bytes / (1024 * 1024), folder.display());
            if bytes >= DISK_BYTES_MIN {
                return Finding::ok("disk", found);
            }
            Finding::problem("disk", found, "make room: a full disk stops all work until there is some")
        }
        Err(error) => {
            let found = format!("{}: {error}", folder.display());
            Finding::problem("disk", found, "make the folder, or name another in [store] url")
        }
    }
}

async fn mail(context: &CommandContext) -> Finding {
    let url = &context.loaded.config.mail.url;
    if let Some(folder) = url.strip_prefix("folder://") {
        return mail_folder(Path::new(folder));
    }
    let mend = "check [mail] url, and that this machine may reach the server";
    let Some((host, port)) = Url::parse(url).ok().and_then(|url| {
        let port = url.port().unwrap_or(if url.scheme() == "smtps" { 465 } else { 587 });
        Some((url.host_str()?.to_owned(), port))
    }) else {
        return Finding::problem("mail", "[mail] url has no host", mend);
    };
    let place = format!("{host}:{port}");
    match timeout(PATIENCE, greeting(&host, port, url.starts_with("smtps:"))).await {
        Ok(Ok(greeting)) => Finding::ok("mail", format!("{place}: {greeting}")),
        Ok(Err(wrong)) => Finding::problem("mail", format!("{place}: {wrong}"), mend),
        Err(_) => Finding::problem("mail", format!("{place}: no greeting within {PATIENCE:?}"), mend),
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
