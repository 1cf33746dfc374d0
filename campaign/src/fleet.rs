//! The servers that a campaign runs on, and the script that starts, strikes and mends them.

use std::process::Stdio;
use std::sync::Arc;

use serde_json::json;
use tokio::process::Command;
use tokio::sync::RwLock;

use crate::root;
use gristmill_testkit::Proxy;

/// The servers that a campaign runs on.
#[derive(Debug, Clone)]
pub struct Servers {
    /// A PostgreSQL whose user may make databases.
    pub postgres: String,
    /// A RabbitMQ.
    pub amqp: String,
    /// A database with the schema in it, from which each schedule's own is copied.
    pub template: String,
    /// Held for writing while a server is struck: the harness itself looks away then.
    pub calm: Arc<RwLock<()>>,
    /// Whether queues may be emptied, deleted or lost: then copies of dead jobs may be lost, which are copies only.
    pub forgets: bool,
    /// Whether servers are struck: a process that has only just begun, or is about to end, may miss one of them then, and
    /// says so as it ends.
    pub struck: bool,
    /// Servers of one level alone.
    pub fleet: Option<Arc<Fleet>>,
}

/// Servers that are started for one level and stopped after it, behind one address that leads to whichever serves.
#[derive(Debug)]
pub struct Fleet {
    order: Order,
    front: Proxy,
}

/// What a level needs.
#[derive(Debug, Clone, Copy)]
pub struct Order {
    /// The name of its set of servers.
    pub name: &'static str,
    /// Which of the two is its own: the other one is that of the tests.
    pub own: Own,
    /// What the script is told.
    pub setting: Option<(&'static str, &'static str)>,
    /// What the script does once they run.
    pub then: Option<&'static str>,
}

/// One of the two servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Own {
    /// `postgres`.
    Postgres,
    /// `amqp`.
    Amqp,
}

/// PostgreSQL on a disk so small that it can be filled.
pub const SMALL_DISK: Order =
    Order { name: "disk", own: Own::Postgres, setting: Some(("GRISTMILL_SERVERS_DISK_MB", "400")), then: None };

/// PostgreSQL with a synchronous standby.
pub const WITH_STANDBY: Order = Order { name: "standby", own: Own::Postgres, setting: None, then: Some("standby") };

/// RabbitMQ on three nodes.
pub const THREE_NODES: Order =
    Order { name: "nodes", own: Own::Amqp, setting: Some(("GRISTMILL_SERVERS_NODES", "3")), then: None };

impl Fleet {
    /// Starts them.
    ///
    /// # Errors
    ///
    /// What the script says when it cannot.
    pub async fn start(order: Order) -> Result<Self, String> {
        run(Some(&order), &["start"]).await?;
        if let Some(then) = order.then {
            run(Some(&order), &[then]).await?;
        }
        let ports = ports(&order).await?;
        let front = Proxy::start(&format!("127.0.0.1:{}", ports.first().ok_or("none of them listens")?)).await;
        front.lead_to(&ports);
        Ok(Self { order, front })
    }

    /// Stops them.
    ///
    /// # Errors
    ///
    /// What the script says when it cannot.
    pub async fn stop(&self) -> Result<(), String> {
        run(Some(&self.order), &["stop"]).await.map(drop)
    }

    /// The addresses of PostgreSQL and RabbitMQ: its own by the front, the other as it was given.
    pub fn addresses(&self, postgres: String, amqp: String) -> (String, String) {
        let port = self.front.port;
        match self.order.own {
            Own::Postgres => (format!("postgres://postgres@127.0.0.1:{port}/postgres"), amqp),
            Own::Amqp => (postgres, format!("amqp://guest:guest@127.0.0.1:{port}/%2f")),
        }
    }
}

impl Servers {
    /// Runs `scripts/servers` on them.
    ///
    /// # Errors
    ///
    /// What it says.
    pub async fn script(&self, arguments: &[&str]) -> Result<String, String> {
        run(self.fleet.as_ref().map(|fleet| &fleet.order), arguments).await
    }

    /// Evaluates Erlang in their RabbitMQ.
    ///
    /// # Errors
    ///
    /// What it says.
    pub async fn eval(&self, code: &str) -> Result<(), String> {
        self.script(&["eval", code]).await.map(drop)
    }

    /// The address that leads to whichever serves.
    ///
    /// # Errors
    ///
    /// When these are not a level's own.
    pub fn front(&self) -> Result<&Proxy, String> {
        self.fleet.as_ref().map(|fleet| &fleet.front).ok_or_else(|| "these servers have no front".to_owned())
    }

    /// The ports that serve.
    ///
    /// # Errors
    ///
    /// When the script does not say.
    pub async fn ports(&self, server: &str) -> Result<Vec<u16>, String> {
        Ok(listed(&self.script(&["ports"]).await?, server))
    }
}

async fn ports(order: &Order) -> Result<Vec<u16>, String> {
    let server = if order.own == Own::Postgres { "postgres" } else { "amqp" };
    Ok(listed(&run(Some(order), &["ports"]).await?, server))
}

fn listed(said: &str, server: &str) -> Vec<u16> {
    let lines = said.lines().filter_map(|line| line.split_once(' '));
    lines.filter(|(name, _)| *name == server).filter_map(|(_, port)| port.parse().ok()).collect()
}

/// Runs `scripts/servers`. What it starts outlives it, so that nothing of it may be waited for but itself.
async fn run(order: Option<&Order>, arguments: &[&str]) -> Result<String, String> {
    let out = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
    let file = out.reopen().map_err(|error| error.to_string())?;
    let errors = file.try_clone().map_err(|error| error.to_string())?;
    let mut command = Command::new(root().join("scripts/servers"));
    command.args(arguments).stdin(Stdio::null()).stdout(file).stderr(errors);
    let own = order.map(|order| order.own);
    if own != Some(Own::Amqp) {
        command.env_remove("GRISTMILL_TEST_POSTGRES");
    }
    if own != Some(Own::Postgres) {
        command.env_remove("GRISTMILL_TEST_AMQP");
    }
    if let Some(order) = order {
        command.env("GRISTMILL_SERVERS", order.name).envs(order.setting);
    }
    let status = command.status().await.map_err(|error| error.to_string())?;
    let said = std::fs::read_to_string(out.path()).unwrap_or_default();
    match status.success() {
        true => Ok(said),
        false => Err(format!("scripts/servers {}: {said}", json!(arguments))),
    }
}
