//! L4 on SQLite: the file, the parts and the log lie on a disk that is full now and then.
//!
//! A tmpfs of a few megabytes, which only root may mount: whoever cannot is told that nothing was shown.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::oracle_sqlite;
use crate::run::PATIENCE;
use crate::sqlite_env::{BREATH, SqliteEnv};
use gristmill_testkit::Random;

/// How often the disk is filled in a run.
pub const TIMES: u64 = 3;

/// So many runs, one after the other: `n runs …` when all was right.
///
/// # Errors
///
/// What must not be, or why nothing could be shown.
pub async fn runs(binary: &Path, runs: u64, seed: u64) -> Result<String, String> {
    let (mut filled, mut refused) = (0, 0);
    for seed in seed..seed + runs {
        let disk = Disk::mount().await?;
        let env = SqliteEnv::new(binary, disk.folder.path(), seed, 400, 1_000).await;
        let came = play(&disk, &env, seed).await;
        let log = std::fs::read_to_string(env.file("dev.log")).unwrap_or_default();
        refused += log.matches("full").count();
        filled += TIMES;
        if let Err(wrong) = came {
            // The disk goes with the run: what it held is kept.
            let kept = tempfile::tempdir().map_err(|error| error.to_string())?.keep();
            let _ = Command::new("cp").arg("-r").arg(disk.folder.path()).arg(&kept).status().await;
            drop(env);
            disk.unmount().await?;
            return Err(format!("seed {seed}: {wrong}; files: {}", kept.display()));
        }
        drop(env);
        disk.unmount().await?;
    }
    Ok(format!("{runs} runs, 0 violations; filled {filled} times, {refused} refusals in the logs"))
}

async fn play(disk: &Disk, env: &SqliteEnv, seed: u64) -> Result<(), String> {
    let mut random = Random::new(seed);
    let start = || env.program.command(&["dev"], None, "dev.log").spawn().expect("the program starts");
    let mut dev = start();
    let began = Instant::now();
    let client = env.insist();
    tokio::pin!(client);
    let (mut confirmed, mut fills, mut next) = (false, 0, Duration::from_millis(random.between(200, 1_200)));
    loop {
        tokio::select! {
            started = &mut client, if !confirmed => {
                started?;
                confirmed = true;
            }
            () = tokio::time::sleep(BREATH) => {}
        }
        if fills < TIMES && began.elapsed() > next {
            disk.fill(Duration::from_millis(random.between(500, 2_000))).await;
            env.sound().await?;
            fills += 1;
            next = began.elapsed() + Duration::from_millis(random.between(200, 1_500));
        }
        if let Ok(Some(_)) = dev.try_wait() {
            dev = start();
        }
        let left = if confirmed { env.unfinished().await } else { Err("the batch is not confirmed".to_owned()) };
        if fills == TIMES && left.as_ref().is_ok_and(|left| left.is_empty()) {
            break;
        }
        if began.elapsed() > PATIENCE {
            return Err(format!("it does not come to rest: {left:?}"));
        }
    }
    stop(&mut dev).await?;
    oracle_sqlite::judge(env).await
}

async fn stop(child: &mut Child) -> Result<(), String> {
    if let Some(pid) = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)) {
        // One that has ended needs no signal.
        let _ = kill_process(pid, Signal::TERM);
    }
    let ended = tokio::time::timeout(PATIENCE, child.wait()).await.map_err(|_| "it does not stop".to_owned())?;
    match ended {
        Ok(status) if status.success() || status.code() == Some(143) => Ok(()),
        other => Err(format!("its graceful stop ended with {other:?}")),
    }
}

/// A disk of a few megabytes.
struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    async fn mount() -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=12m", "tmpfs"]).arg(folder.path()).status();
        match mounted.await {
            Ok(status) if status.success() => Ok(Self { folder }),
            other => Err(format!("SKIPPED because no small tmpfs can be mounted here, which takes root: {other:?}")),
        }
    }

    /// Leaves no byte free for so long.
    async fn fill(&self, lasting: Duration) {
        let path = self.folder.path().join("ballast");
        if let Ok(mut ballast) = std::fs::File::create(&path) {
            for size in [64 * 1024, 512, 1] {
                while ballast.write_all(&vec![0; size]).is_ok() {}
            }
        }
        tokio::time::sleep(lasting).await;
        let _ = std::fs::remove_file(path);
    }

    async fn unmount(self) -> Result<(), String> {
        let status = Command::new("umount").arg(self.folder.path()).status().await;
        match status {
            Ok(status) if status.success() => Ok(()),
            other => Err(format!("{} stays mounted: {other:?}", self.folder.path().display())),
        }
    }
}
