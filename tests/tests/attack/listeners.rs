//! Connections that say nothing, too little, too much, or what is not true, against a process that serves hooks and
//! metrics, while honest senders deliver.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gristmill_jobs::signature::{key, signatures};
use gristmill_testkit::Random;
use gristmill_tests::place::{On, Place};
use gristmill_tests::program::{PATIENCE, Program};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// The attacker has another address than honest senders, as outside.
const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);

/// How long an attacker may hold a connection, and an honest sender wait: the times below, and a busy machine's delays.
const HELD_MAX: Duration = Duration::from_secs(8);

/// More than a process holds of one peer.
const AT_ONCE: usize = 96;

fn config(hooks: u16, metrics: u16) -> String {
    format!(
        r#"
[scheduler]
hooks = "127.0.0.1:{hooks}"
metrics = "127.0.0.1:{metrics}"
[listener]
connections = 128
connections_per_peer = 64
head_timeout = "500ms"
body_timeout = "500ms"
[mail]
url = "folder://mail"
from = "mill@example.com"
[hook.orders]
secret_file = "secret"
bytes_max = 10000
job = {{ kind = "email", payload = {{ to = "ada@example.org", subject = "An order", text = "It has come." }} }}
"#
    )
}

fn free_port() -> u16 {
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
    free.expect("a free port").port()
}

async fn connected(from: Ipv4Addr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((from, 0)))?;
    socket.connect(to).await
}

fn delivery(id: &str, at: i64, body: &[u8], signature: &str) -> Vec<u8> {
    let head = format!(
        "POST /hooks/orders HTTP/1.1\r\nhost: x\r\nconnection: close\r\nwebhook-id: {id}\r\nwebhook-timestamp: {at}\r\n\
         webhook-signature: {signature}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn signed(id: &str, at: i64, body: &[u8]) -> Vec<u8> {
    delivery(id, at, body, &signatures(&[key(SECRET).expect("a secret")], id, at, body))
}

/// The first bytes of an attack, and what follows them one at a time.
fn attack(random: &mut Random) -> (Vec<u8>, Vec<u8>) {
    let now = chrono::Utc::now().timestamp();
    let valid = signed("forged", now, b"{\"order\":1}");
    let whole = |text: String| (text.into_bytes(), Vec::new());
    match random.index(11) {
        0 => (Vec::new(), Vec::new()),
        1 => (b"POST /hooks/orders HTTP/1.1\r\n".to_vec(), b"x: ".iter().chain(&[b'a'; 2_000]).copied().collect()),
        2 => whole(format!("GET /metrics HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(70_000 + random.index(900_000)))),
        3 => whole(format!("GET /readyz HTTP/1.1\r\n{}\r\n", "x: a\r\n".repeat(2_000))),
        4 => (b"POST /hooks/orders HTTP/1.1\r\nhost: x\r\ncontent-length: 9000\r\n\r\n{".to_vec(), vec![b' '; 2_000]),
        5 => whole(
            "POST /hooks/orders HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\nab"
                .to_owned(),
        ),
        6 => {
            // Two requests, if the two lengths are believed differently.
            let inner = String::from_utf8_lossy(&valid).replace("v1,", "v1,A");
            whole(format!(
                "POST /hooks/orders HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{inner}"
            ))
        }
        7 => (delivery("forged", now, b"{}", "v1,AAAA v1a,AAAA v2,"), Vec::new()),
        8 => (signed("stale", now - 100_000, b"{}"), Vec::new()),
        9 => whole("GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n".repeat(200)),
        _ => {
            let mut bytes = valid;
            for _ in 0..1 + random.index(4) {
                let at = random.index(bytes.len());
                bytes[at] ^= 1 << random.index(8);
            }
            (bytes, Vec::new())
        }
    }
}

/// Attacks, and returns for how long a connection was held.
async fn held(mut random: Random, to: SocketAddr) -> Duration {
    let since = Instant::now();
    let (first, slowly) = attack(&mut random);
    let Ok(mut stream) = connected(ATTACKER, to).await else { return Duration::ZERO };
    let exchange = async {
        stream.write_all(&first).await?;
        for byte in slowly {
            stream.write_all(&[byte]).await?;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.map(drop)
    };
    let _ = tokio::time::timeout(HELD_MAX * 2, exchange).await;
    since.elapsed()
}

/// Sends one request and returns the status.
async fn honest(to: SocketAddr, request: Vec<u8>) -> Result<u16, String> {
    let exchange = async {
        let mut stream = connected(Ipv4Addr::LOCALHOST, to).await?;
        stream.write_all(&request).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = tokio::time::timeout(HELD_MAX, exchange).await.map_err(|_| "no answer in time".to_owned())?;
    let answer = answer.map_err(|error| error.to_string())?;
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or(answer)
}

/// Delivers and looks as long as the attack lasts; returns how many deliveries were taken.
async fn honest_work(hooks: SocketAddr, metrics: SocketAddr, over: Arc<Semaphore>) -> u64 {
    let mut taken = 0;
    while !over.is_closed() || taken == 0 {
        let (id, now) = (format!("honest-{taken}"), chrono::Utc::now().timestamp());
        assert_eq!(honest(hooks, signed(&id, now, b"{}")).await, Ok(202), "after {taken} deliveries");
        taken += 1;
        for path in ["/healthz", "/readyz", "/metrics"] {
            let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
            assert_eq!(honest(metrics, request.into_bytes()).await, Ok(200), "{path}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    taken
}

async fn under_attack(hooks: SocketAddr, metrics: SocketAddr, runs: u64) -> (u64, Duration) {
    let over = Arc::new(Semaphore::new(AT_ONCE));
    let honest = tokio::spawn(honest_work(hooks, metrics, Arc::clone(&over)));
    let mut attacks = tokio::task::JoinSet::new();
    for run in 0..runs {
        let random = Random::new(crate::seed().wrapping_add(run));
        let to = if run % 3 == 0 { metrics } else { hooks };
        let turn = Arc::clone(&over).acquire_owned().await.expect("open");
        attacks.spawn(async move {
            let held = held(random, to).await;
            drop(turn);
            (run, held)
        });
    }
    let mut longest = Duration::ZERO;
    while let Some(ended) = attacks.join_next().await {
        let (run, held) = ended.expect("no panic");
        assert!(held < HELD_MAX, "make attack RUNS=1 SEED={}: held for {held:?}", crate::seed() + run);
        longest = longest.max(held);
    }
    over.close();
    (honest.await.expect("no panic"), longest)
}

/// The most memory that a process has had, in MiB.
fn peak_of(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap_or_default() / 1024
}

#[test]
fn attackers_hold_little_and_not_for_long_and_honest_senders_are_heard() {
    let place = Place::new(On::Sqlite);
    let (hooks, metrics) = (free_port(), free_port());
    fs::write(place.file("config.toml"), config(hooks, metrics)).expect("written");
    fs::write(place.file("secret"), SECRET).expect("written");
    let program = Program::with_config(&place, place.file("config.toml"));
    let process = program.start(&["dev"]);
    let [hooks, metrics] = [hooks, metrics].map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let runs = crate::runs(150, 10);
    let (taken, longest) = runtime.block_on(async {
        let begun = Instant::now();
        while connected(Ipv4Addr::LOCALHOST, hooks).await.is_err() {
            assert!(begun.elapsed() < PATIENCE, "nobody listens");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        under_attack(hooks, metrics, runs).await
    });
    assert!(process.alive(), "it has survived");
    let peak = peak_of(process.id());
    assert!(peak < 512, "it has taken {peak} MiB");
    let triggers = program.json(&["trigger", "list"]);
    assert_eq!(triggers[0]["events"], taken, "each honest delivery, and nothing that was forged: {triggers:#}");
    let since = Instant::now();
    let (status, log) = process.stop();
    assert!(status.success() && since.elapsed() < Duration::from_secs(40), "{status}: {log}");
    crate::held(
        "listeners",
        &format!("{runs} attacks, held {longest:.1?} at most, {taken} honest deliveries, {peak} MiB"),
    );
}
