//! A namespace on a real RabbitMQ for one test of this crate or another, a proxy in front of it; and [`simulated`], a
//! broker without a network.
//!
//! The broker is the one that `GRISTMILL_TEST_AMQP` names. Whatever a test creates there vanishes with its
//! [`Namespace`], even when the test fails. Everything here panics when the broker does not answer: it is for tests
//! only.

pub mod simulated;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use gristmill_core::job::Priority;
use lapin::options::{BasicPublishOptions, ExchangeDeleteOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use tokio::time::{Instant, timeout};
use uuid::Uuid;

pub use gristmill_testkit::proxy::{Break, Proxy, Way};

use crate::rabbitmq::Names;
use crate::{Broker, Settings};

/// The environment variable that names the broker for tests.
pub const AMQP_VARIABLE: &str = "GRISTMILL_TEST_AMQP";

/// Nothing in a test takes this long unless it never happens.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// How long a broker of ours may take to close, when its test has ended part-way.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// The address of the broker that tests may use.
///
/// # Panics
///
/// When the environment does not name one.
pub fn amqp() -> String {
    std::env::var(AMQP_VARIABLE).unwrap_or_else(|_| panic!("set {AMQP_VARIABLE} or run `make test`"))
}

/// A proxy to the broker that tests may use.
///
/// # Panics
///
/// When no broker is named.
pub async fn proxy(way: Way) -> Proxy {
    Proxy::amqp(&host_and_port(), way).await
}

/// Where that broker listens, such as `127.0.0.1:5672`.
///
/// # Panics
///
/// When no broker is named, or not by a URL.
pub fn host_and_port() -> String {
    let url = url::Url::parse(&amqp()).expect("the address of the broker");
    format!("{}:{}", url.host_str().expect("a host"), url.port().unwrap_or(5672))
}

/// Everything that one test creates on the broker. Dropping it deletes all of it.
#[derive(Debug)]
pub struct Namespace {
    settings: Settings,
    names: Names,
    queues: Vec<String>,
    brokers: Mutex<Vec<Broker>>,
}

impl Namespace {
    /// Creates a fresh namespace. Only these queues may be used in it: a client cannot ask which queues exist.
    pub fn new(queues: &[&str]) -> Self {
        let namespace = format!("test-{}", Uuid::now_v7().simple());
        let names = Names::new(&namespace).expect("a good name");
        let settings = Settings { url: amqp(), namespace, ..Settings::default() };
        let queues = queues.iter().copied().map(str::to_owned).collect();
        Self { settings, names, queues, brokers: Mutex::default() }
    }

    /// The settings that lead into it.
    pub fn settings(&self) -> Settings {
        self.settings.clone()
    }

    /// The same through another port of this machine, such as a [`Proxy`]'s.
    pub fn settings_at(&self, port: u16) -> Settings {
        let mut url = url::Url::parse(&self.settings.url).expect("an address");
        url.set_host(Some("127.0.0.1")).expect("it has a host");
        url.set_port(Some(port)).expect("it may have a port");
        Settings { url: url.to_string(), ..self.settings.clone() }
    }

    /// Connects a broker to it, which is closed before the namespace is cleared away; otherwise its supervisor might
    /// recreate what has just been deleted.
    pub async fn connect(&self, settings: &Settings) -> Broker {
        let broker = Broker::connect(settings).await.expect("a broker, or one that is away");
        self.brokers.lock().unwrap_or_else(PoisonError::into_inner).push(broker.clone());
        broker
    }

    /// The name of the queue of one priority.
    pub fn priority(&self, queue: &str, priority: Priority) -> String {
        self.names.priority(queue, priority).expect("a good name").to_string()
    }

    /// The name of the queue with the copies of dead jobs.
    pub fn dead(&self, queue: &str) -> String {
        self.names.dead(queue).expect("a good name").to_string()
    }

    /// The name of the queue, and of the exchange, of the messages that the broker gave up on.
    pub fn returned(&self) -> String {
        self.names.returned().to_string()
    }

    /// A connection that bypasses our own code.
    pub async fn admin(&self) -> Admin {
        Admin::connect(&self.settings.url).await.expect("the broker answers")
    }

    fn all_queues(&self) -> Vec<String> {
        let of_one = |queue: &String| {
            Priority::ALL.map(|priority| self.priority(queue, priority)).into_iter().chain([self.dead(queue)])
        };
        self.queues.iter().flat_map(of_one).chain([self.returned()]).collect()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let brokers = std::mem::take(&mut *self.brokers.lock().unwrap_or_else(PoisonError::into_inner));
        let (url, queues) = (self.settings.url.clone(), self.all_queues());
        let exchanges = [self.returned(), self.names.exchange().to_string()];
        // Dropping cannot wait, and the test's own runtime may be gone: a thread with its own runtime can.
        let cleared = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                for broker in brokers {
                    // The runtime of its tasks may be blocked, namely in this very drop.
                    let _ = timeout(CLOSE_TIMEOUT, broker.close()).await;
                }
                clear(&url, queues, exchanges).await.map_err(std::io::Error::other)
            })
        });
        let cleared = cleared.join().unwrap_or_else(|_| Err(std::io::Error::other("clearing away panicked")));
        // A test that is already failing has more to report than this.
        if !std::thread::panicking() {
            cleared.expect("the namespace is cleared away");
        }
    }
}

async fn clear(url: &str, queues: Vec<String>, exchanges: [String; 2]) -> lapin::Result<()> {
    let admin = Admin::connect(url).await?;
    for queue in queues {
        admin.channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await?;
    }
    for exchange in exchanges {
        admin.channel.exchange_delete(exchange.into(), ExchangeDeleteOptions::default()).await?;
    }
    admin.connection.close(200, "the test is over".into()).await
}

/// A plain client.
#[derive(Debug)]
pub struct Admin {
    /// An open channel.
    pub channel: Channel,
    /// Keeps the channel open.
    connection: Connection,
    url: String,
}

impl Admin {
    async fn connect(url: &str) -> lapin::Result<Self> {
        let connection = Connection::connect(url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        Ok(Self { channel, connection, url: url.to_owned() })
    }

    /// Puts any bytes with these headers into a queue by its full name.
    pub async fn put(&self, queue: &str, body: &[u8], headers: &[(&str, &str)]) {
        let mut table = FieldTable::default();
        for (name, value) in headers {
            table.insert((*name).into(), AMQPValue::LongString((*value).into()));
        }
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default().with_headers(table));
        let sent = self.channel.basic_publish("".into(), queue.into(), options, body, properties).await;
        sent.expect("sent").await.expect("arrived");
    }

    /// Deletes a queue, if it is there.
    pub async fn delete(&self, queue: &str) {
        self.channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.expect("deleted");
    }

    /// How many messages wait in a queue by its full name. `None` when there is no such queue.
    pub async fn depth(&self, queue: &str) -> Option<u32> {
        // Asking for a queue that is not there closes the channel, and the next one of the connection may get its number
        // and its error.
        let connection = Connection::connect(&self.url, ConnectionProperties::default()).await.expect("connected");
        let channel = connection.create_channel().await.expect("a channel");
        let passive = QueueDeclareOptions::durable().passive();
        let asked = channel.queue_declare(queue.into(), passive, FieldTable::default()).await;
        let _ = connection.close(200, "asked".into()).await;
        asked.ok().map(|queue| queue.message_count())
    }

    /// Waits until the queue exists.
    ///
    /// # Panics
    ///
    /// When it does not exist within [`PATIENCE`].
    pub async fn until_exists(&self, queue: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.depth(queue).await.is_none() {
            assert!(Instant::now() < deadline, "nobody makes {queue}");
        }
    }
}
