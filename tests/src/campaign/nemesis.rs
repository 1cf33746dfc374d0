//! Blows against whole servers, while schedules run on them: levels L3 and L4.
//!
//! Only against servers that `scripts/servers` has started: the script refuses all others.

use std::collections::BTreeMap;
use std::fmt;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use sqlx::{Connection, PgConnection, Row};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::dice::Dice;
use super::ground::Servers;
use crate::root;

/// How long schedules go on between two blows.
const BETWEEN: Duration = Duration::from_millis(1_500);

/// How long an alarm lasts, or a server is away beside the time that it takes to come back.
const AWAY: Duration = Duration::from_millis(1_200);

/// One thing that is done to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Blow {
    /// `stop_app`, and `start_app` after a while.
    StopApp,
    /// SIGKILL to the node, and a start.
    KillBroker,
    /// All messages of all queues are gone.
    Purge,
    /// All queues are gone.
    DeleteQueues,
    /// The broker takes no more messages: too little memory.
    MemoryAlarm,
    /// The broker takes no more messages: too little disk.
    DiskAlarm,
    /// The broker closes all connections.
    CloseConnections,
    /// SIGKILL to PostgreSQL with all its processes, and a start with crash recovery.
    KillPostgres,
    /// Every connection of ours is ended.
    TerminateAll,
    /// Connections of ours that are in a COMMIT just now are ended.
    TerminateCommitting,
}

/// L3.
pub const BROKER: &[Blow] = &[
    Blow::StopApp,
    Blow::KillBroker,
    Blow::Purge,
    Blow::DeleteQueues,
    Blow::MemoryAlarm,
    Blow::DiskAlarm,
    Blow::CloseConnections,
];

/// L4.
pub const DATABASE: &[Blow] = &[Blow::KillPostgres, Blow::TerminateAll, Blow::TerminateCommitting];

/// How often each blow was dealt.
#[derive(Debug, Default)]
pub struct Blows(BTreeMap<Blow, u64>);

impl fmt::Display for Blows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self.0.iter().map(|(blow, times)| format!("{blow:?} {times}")).collect();
        f.write_str(&all.join(", "))
    }
}

/// Deals blows, each kind in its turn, until told to stop.
///
/// # Errors
///
/// When a blow could not be dealt, or a server does not come back.
pub async fn rage(servers: &Servers, kinds: &[Blow], seed: u64, stop: &CancellationToken) -> Result<Blows, String> {
    let (mut blows, mut dice) = (Blows::default(), Dice::new(seed));
    for blow in kinds.iter().cycle() {
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(BETWEEN + Duration::from_millis(dice.below(1_500))) => {}
        }
        // The harness itself is at rest meanwhile; the processes are not.
        let _quiet = servers.calm.write().await;
        let times = deal(servers, *blow).await.map_err(|wrong| format!("{blow:?}: {wrong}"))?;
        *blows.0.entry(*blow).or_default() += times;
    }
    Ok(blows)
}

async fn deal(servers: &Servers, blow: Blow) -> Result<u64, String> {
    match blow {
        Blow::StopApp => {
            ctl(&["stop_app"]).await?;
            tokio::time::sleep(AWAY).await;
            ctl(&["start_app"]).await?;
        }
        Blow::KillBroker => script(&["kill-rabbitmq"]).await?,
        Blow::Purge => every_queue("purge_queue").await?,
        Blow::DeleteQueues => every_queue("delete_queue").await?,
        Blow::MemoryAlarm => alarm("set_vm_memory_high_watermark", "0.000001", "0.6").await?,
        Blow::DiskAlarm => alarm("set_disk_free_limit", "1000000GB", "50MB").await?,
        Blow::CloseConnections => ctl(&["close_all_connections", "the campaign closes it"]).await?,
        Blow::KillPostgres => script(&["kill-postgres"]).await?,
        Blow::TerminateAll => return terminate(servers, "true").await,
        Blow::TerminateCommitting => return catch_committing(servers).await,
    }
    Ok(1)
}

async fn alarm(limit: &str, low: &str, usual: &str) -> Result<(), String> {
    ctl(&[limit, low]).await?;
    tokio::time::sleep(AWAY).await;
    ctl(&[limit, usual]).await
}

/// Some queues vanish while this walks over them, with the schedule that they belong to.
async fn every_queue(command: &str) -> Result<(), String> {
    let listed = run(&["rabbitmqctl", "list_queues", "name", "--no-table-headers"]).await?;
    for queue in listed.lines().filter(|name| name.starts_with("campaign-")) {
        let _ = ctl(&[command, queue]).await;
    }
    Ok(())
}

async fn terminate(servers: &Servers, which: &'static str) -> Result<u64, String> {
    let broken = |error: sqlx::Error| error.to_string();
    let mut connection = PgConnection::connect(&servers.postgres).await.map_err(broken)?;
    let query = format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'gristmill' AND {which}"
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(query)).fetch_one(&mut connection).await.map_err(broken)?;
    Ok(u64::try_from(row.get::<i64, _>(0)).unwrap_or(0))
}

/// Looks so often that some are met in the middle of their COMMIT.
async fn catch_committing(servers: &Servers) -> Result<u64, String> {
    let mut caught = 0;
    for _ in 0..40 {
        caught += terminate(servers, "state = 'active' AND query = 'COMMIT'").await?;
        if caught >= 3 {
            break;
        }
    }
    Ok(caught)
}

async fn ctl(arguments: &[&str]) -> Result<(), String> {
    let arguments: Vec<&str> = ["rabbitmqctl"].iter().chain(arguments).copied().collect();
    script(&arguments).await
}

async fn script(arguments: &[&str]) -> Result<(), String> {
    run(arguments).await.map(drop)
}

/// Runs `scripts/servers`. What it starts outlives it, so that nothing of it may be waited for but itself.
async fn run(arguments: &[&str]) -> Result<String, String> {
    let out = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
    let file = out.reopen().map_err(|error| error.to_string())?;
    let errors = file.try_clone().map_err(|error| error.to_string())?;
    let status = Command::new(root().join("scripts/servers"))
        .args(arguments)
        .env_remove("GRISTMILL_TEST_POSTGRES")
        .env_remove("GRISTMILL_TEST_AMQP")
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(errors)
        .status()
        .await
        .map_err(|error| error.to_string())?;
    let said = std::fs::read_to_string(out.path()).unwrap_or_default();
    match status.success() {
        true => Ok(said),
        false => Err(format!("scripts/servers {}: {said}", json!(arguments))),
    }
}
