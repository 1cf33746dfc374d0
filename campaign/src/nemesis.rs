//! Blows against whole servers, while schedules run on them: levels L3 and L4.
//!
//! Only against servers that `scripts/servers` has started: the script refuses all others.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use sqlx::{Connection, PgConnection, Row};
use tokio_util::sync::CancellationToken;

use crate::fleet::Servers;
use gristmill_testkit::Random;

/// How long schedules go on between two blows, and by how many milliseconds at most that is longer.
const BETWEEN: (Duration, u64) = (Duration::from_millis(700), 1_300);

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
    /// The broker closes a channel on which a message has waited for its acknowledgement for too long, which is a
    /// moment now. Counted are the channels that it closed.
    ConsumerTimeout,
    /// Every second queue gives no answer, while the broker and the others do.
    StallQueues,
    /// SIGKILL to PostgreSQL with all its processes, and a start with crash recovery.
    KillPostgres,
    /// Every connection of ours is ended.
    TerminateAll,
    /// Connections of ours that are in a COMMIT just now are ended.
    TerminateCommitting,
    /// No byte is free where PostgreSQL lies, for a while.
    FillDisk,
    /// SIGKILL to the primary; its synchronous standby takes over, and gets a standby of its own.
    Failover,
    /// One of three nodes speaks to no other any more, and stops serving.
    CutNode,
    /// One of three nodes stands still, with all its connections open.
    StallNode,
    /// SIGKILL to one of three nodes, and a start.
    KillNode,
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
    Blow::ConsumerTimeout,
    Blow::StallQueues,
];

/// L4.
pub const DATABASE: &[Blow] = &[Blow::KillPostgres, Blow::TerminateAll, Blow::TerminateCommitting];

/// L4, on a disk that is small.
pub const DISK: &[Blow] = &[Blow::FillDisk];

/// L4, with a synchronous standby.
pub const STANDBY: &[Blow] = &[Blow::Failover];

/// L3, with three nodes.
pub const NODES: &[Blow] = &[Blow::CutNode, Blow::StallNode, Blow::KillNode];

/// How long a node is parted from the others or stands still: longer than they take to notice.
const PARTED: Duration = Duration::from_secs(7);

/// How long a disk is full.
const FULL: Duration = Duration::from_secs(3);

/// After so long a load balancer has noticed that a server is away.
const NOTICED: Duration = Duration::from_secs(1);

/// How often each blow was dealt.
#[derive(Debug)]
pub struct Blows {
    dealt: BTreeMap<Blow, AtomicU64>,
    /// How often a queue had no leader when its nodes had come together again, and an election was held for it.
    elections: AtomicU64,
}

impl Blows {
    /// None yet, of these.
    pub fn of(kinds: &[Blow]) -> Self {
        let dealt = kinds.iter().map(|blow| (*blow, AtomicU64::new(0))).collect();
        Self { dealt, elections: AtomicU64::new(0) }
    }

    /// Whether each of them has been dealt so often.
    pub fn each(&self, wanted: u64) -> bool {
        self.dealt.values().all(|times| times.load(Relaxed) >= wanted)
    }

    fn count(&self, blow: Blow, times: u64) {
        if let Some(counted) = self.dealt.get(&blow) {
            counted.fetch_add(times, Relaxed);
        }
    }
}

impl fmt::Display for Blows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dealt = self.dealt.iter().map(|(blow, times)| format!("{blow:?} {}", times.load(Relaxed)));
        let mut all: Vec<String> = dealt.collect();
        match self.elections.load(Relaxed) {
            0 => {}
            held => all.push(format!("{held} elections held for queues without a leader")),
        }
        f.write_str(&all.join(", "))
    }
}

/// Deals blows, each kind in its turn, until told to stop.
///
/// # Errors
///
/// When a blow could not be dealt, or a server does not come back.
pub async fn rage(
    servers: &Servers,
    kinds: &[Blow],
    seed: u64,
    blows: &Blows,
    stop: &CancellationToken,
) -> Result<(), String> {
    let mut random = Random::new(seed);
    for (round, blow) in kinds.iter().cycle().enumerate() {
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(BETWEEN.0 + Duration::from_millis(random.below(BETWEEN.1))) => {}
        }
        // The harness itself is at rest meanwhile; the processes are not.
        let _quiet = servers.calm.write().await;
        let times = deal(servers, *blow, 1 + round % 3, blows).await.map_err(|wrong| format!("{blow:?}: {wrong}"))?;
        blows.count(*blow, times);
    }
    Ok(())
}

async fn deal(servers: &Servers, blow: Blow, node: usize, blows: &Blows) -> Result<u64, String> {
    match blow {
        Blow::StopApp => {
            servers.eval("rabbit:stop().").await?;
            tokio::time::sleep(AWAY).await;
            servers.eval("rabbit:start().").await?;
        }
        Blow::KillBroker => drop(servers.script(&["kill-rabbitmq"]).await?),
        Blow::Purge => every_queue(servers, "rabbit_amqqueue:purge(Q)").await?,
        Blow::DeleteQueues => every_queue(servers, "rabbit_amqqueue:delete(Q, false, false, <<\"campaign\">>)").await?,
        Blow::MemoryAlarm => {
            alarm(servers, "vm_memory_monitor:set_vm_memory_high_watermark", "0.000001", "0.6").await?
        }
        Blow::DiskAlarm => {
            alarm(servers, "rabbit_disk_monitor:set_disk_free_limit", "1000000000000000", "50000000").await?;
        }
        Blow::CloseConnections => close_connections(servers).await?,
        Blow::ConsumerTimeout => return time_out_consumers(servers).await,
        Blow::StallQueues => stall_queues(servers).await?,
        Blow::KillPostgres => drop(servers.script(&["kill-postgres"]).await?),
        Blow::TerminateAll => return terminate(servers, "true").await,
        Blow::TerminateCommitting => return catch_committing(servers).await,
        Blow::FillDisk => {
            servers.script(&["fill-disk"]).await?;
            tokio::time::sleep(FULL).await;
            servers.script(&["free-disk"]).await?;
        }
        Blow::Failover => {
            let port = servers.script(&["failover"]).await?;
            let port = port.lines().last().and_then(|line| line.trim().parse().ok()).ok_or(port)?;
            servers.front()?.lead_to(&[port]);
            servers.script(&["standby"]).await?;
        }
        Blow::CutNode => part(servers, "cut-node", node, blows).await?,
        Blow::StallNode => part(servers, "stall-node", node, blows).await?,
        Blow::KillNode => part(servers, "kill-node", node, blows).await?,
    }
    Ok(1)
}

/// Takes a node away from the others, and gives it back. Whoever connects is led to the others after a moment.
async fn part(servers: &Servers, command: &str, node: usize, blows: &Blows) -> Result<(), String> {
    let (front, all) = (servers.front()?, servers.ports("amqp").await?);
    servers.script(&[command, &node.to_string()]).await?;
    tokio::time::sleep(NOTICED).await;
    let others: Vec<u16> =
        all.iter().enumerate().filter(|(number, _)| number + 1 != node).map(|(_, port)| *port).collect();
    front.lead_to(&others);
    tokio::time::sleep(PARTED).await;
    let elections = servers.script(&["heal-nodes"]).await?;
    blows.elections.fetch_add(elections.lines().last().and_then(|line| line.trim().parse().ok()).unwrap_or(0), Relaxed);
    front.lead_to(&all);
    Ok(())
}

async fn alarm(servers: &Servers, limit: &str, low: &str, usual: &str) -> Result<(), String> {
    servers.eval(&format!("{limit}({low}).")).await?;
    tokio::time::sleep(AWAY).await;
    servers.eval(&format!("{limit}({usual}).")).await
}

/// Does something to every queue of the campaign. Some vanish meanwhile, with the schedule that they belong to.
async fn every_queue(servers: &Servers, does: &str) -> Result<(), String> {
    let all = format!(
        "[catch {does} || Q <- rabbit_amqqueue:list(<<\"/\">>), \
         binary:match(element(4, amqqueue:get_name(Q)), <<\"campaign-\">>) =:= {{0, 9}}], ok."
    );
    servers.eval(&all).await
}

/// For how many milliseconds queues stand still: longer than a publisher of the campaign waits for its confirm.
const STALLED: u64 = 3_000;

/// The processes of queues stop and go on in one evaluation, so that none stays stopped.
async fn stall_queues(servers: &Servers) -> Result<(), String> {
    let all = format!(
        "L = [amqqueue:get_pid(Q) || Q <- rabbit_amqqueue:list(<<\"/\">>), \
         binary:match(element(4, amqqueue:get_name(Q)), <<\"campaign-\">>) =:= {{0, 9}}, \
         erlang:phash2(amqqueue:get_name(Q), 2) =:= 0], \
         [catch sys:suspend(P, 1000) || P <- L], timer:sleep({STALLED}), [catch sys:resume(P, 1000) || P <- L], ok."
    );
    servers.eval(&all).await
}

async fn close_connections(servers: &Servers) -> Result<(), String> {
    let all =
        "[catch rabbit_networking:close_connection(C, \"the campaign\") || C <- rabbit_networking:connections()], ok.";
    servers.eval(all).await
}

/// How long a message may wait for its acknowledgement meanwhile, and how often the broker looks, in milliseconds.
/// A worker acknowledges after its claim, and so it is one that stands still, or whose database answers late.
const IMPATIENT: (u64, u64) = (150, 50);

/// How long the broker is impatient.
const IMPATIENT_FOR: Duration = Duration::from_secs(3);

/// Only channels that are opened meanwhile have the short limit: hence all connections are closed first.
async fn time_out_consumers(servers: &Servers) -> Result<u64, String> {
    let before = timed_out(servers).await?;
    let set = |(limit, look): (u64, u64)| {
        format!(
            "application:set_env(rabbit, consumer_timeout, {limit}), \
             application:set_env(rabbit, channel_tick_interval, {look})."
        )
    };
    servers.eval(&set(IMPATIENT)).await?;
    close_connections(servers).await?;
    tokio::time::sleep(IMPATIENT_FOR).await;
    // What the broker starts with.
    servers.eval(&set((1_800_000, 60_000))).await?;
    Ok(timed_out(servers).await?.saturating_sub(before))
}

/// For how many channels the broker has said so in its log.
async fn timed_out(servers: &Servers) -> Result<u64, String> {
    let said = servers.script(&["timed-out"]).await?;
    said.trim().parse().map_err(|_| format!("how many consumers timed out: {said}"))
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
