//! Live updates, over server-sent events and a WebSocket.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use gristmill_service::{Actor, Order};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::env::{TestEnv, open, request, with_seats, with_users};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// A stream of server-sent events.
struct Events {
    stream: TcpStream,
    read: String,
}

/// An event as a browser sees it.
#[derive(Debug)]
struct Event {
    id: String,
    kind: String,
    data: Value,
}

impl Events {
    async fn open(env: &TestEnv, path: &str, headers: &[(&str, &str)]) -> Self {
        let mut stream = TcpStream::connect(env.addr).await.expect("connected");
        stream.write_all(&request("GET", path, headers, b"")).await.expect("sent");
        let mut events = Self { stream, read: String::new() };
        let head = events.until("\r\n\r\n").await.expect("a head");
        assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/event-stream"), "{head}");
        events
    }

    /// What comes before a mark; `None` when the stream ends first.
    async fn until(&mut self, mark: &str) -> Option<String> {
        loop {
            if let Some((before, rest)) = self.read.split_once(mark) {
                let (before, rest) = (before.to_owned(), rest.to_owned());
                self.read = rest;
                return Some(before);
            }
            let mut bytes = vec![0; 65_536];
            let read = timeout(PATIENCE, self.stream.read(&mut bytes)).await.expect("something comes").unwrap_or(0);
            if read == 0 {
                return None;
            }
            self.read.push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
    }

    /// The next event of a kind; others are passed over. `None` when the stream ends first.
    async fn next(&mut self, wanted: &str) -> Option<Event> {
        loop {
            let text = self.until("\n\n").await?;
            let field = |name: &str| {
                let lines = text.lines().filter_map(|line| line.split_once(": "));
                lines
                    .filter(|(known, _)| *known == name)
                    .map(|(_, value)| value.to_owned())
                    .next_back()
                    .unwrap_or_default()
            };
            if field("event") == wanted {
                let data = serde_json::from_str(&field("data")).expect("JSON");
                return Some(Event { id: field("id"), kind: field("event"), data });
            }
        }
    }

    /// The next event in which something holds.
    async fn when(&mut self, wanted: &str, holds: impl Fn(&Value) -> bool) -> Event {
        loop {
            let event = self.next(wanted).await.expect("an event");
            if holds(&event.data["data"]) {
                return event;
            }
        }
    }
}

fn queued(data: &Value, count: u64) -> bool {
    data.as_array().is_some_and(|queues| queues.iter().any(|queue| queue["name"] == "mail" && queue["queued"] == count))
}

async fn enqueue(env: &TestEnv) -> String {
    env.enqueue(&json!({ "kind": "letter", "queue": "mail", "payload": { "secret": "pin 1234" } })).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_watched_comes_as_it_is_now_and_each_time_that_it_changes() {
    let env = open().await;
    let job = enqueue(&env).await;
    let mut events = Events::open(&env, &format!("/api/v1/live?topics=queues,job:{job}"), &[]).await;
    let first = events.when("queues", |data| queued(data, 1)).await;
    assert_eq!((first.kind.as_str(), &first.data["topic"]), ("queues", &json!("queues")));
    let shown = events.next("job").await.expect("the job");
    assert_eq!(shown.data["data"]["id"], json!(job));
    assert_eq!(shown.data["data"]["payload"], Value::Null, "what a job contains is not watched");
    enqueue(&env).await;
    let second = events.when("queues", |data| queued(data, 2)).await;
    assert_ne!(first.id, second.id);
    // Nothing happens: beats say that the server is there, and when it last looked.
    let beat = events.next("beat").await.expect("a beat");
    assert!(beat.data["read_at"].is_string(), "{beat:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_comes_back_gets_what_it_lacks_and_nothing_twice() {
    let env = open().await;
    enqueue(&env).await;
    let path = "/api/v1/live?topics=queues,workers";
    let mut events = Events::open(&env, path, &[]).await;
    let first = events.when("queues", |data| queued(data, 1)).await;
    let seen = events.when("workers", Value::is_array).await;
    assert_eq!(first.id, seen.id, "both are of the first round");
    // The hub goes on for the second client, so that its rounds are those of the first.
    let mut other = Events::open(&env, path, &[]).await;
    other.when("queues", |data| queued(data, 1)).await;
    drop(events);
    let mut again = Events::open(&env, path, &[("last-event-id", &seen.id)]).await;
    assert_eq!(again.next("beat").await.map(|event| event.kind), Some("beat".to_owned()));
    enqueue(&env).await;
    let news = again.next("queues").await.expect("news");
    assert!(queued(&news.data["data"], 2), "the first event of this connection is the change: {news:?}");
    // Another process, or one that was started again, counts anew: everything comes.
    let mut strange = Events::open(&env, path, &[("last-event-id", "feed-99999")]).await;
    strange.when("queues", |data| queued(data, 2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_wish_is_said_and_what_is_not_allowed_is_refused() {
    let env = with_users().await;
    let refused = env.get_as("owner", "/api/v1/live").await;
    assert_eq!((refused.status, refused.faults()), (422, vec!["?topics"]));
    let refused = env.get_as("owner", "/api/v1/live?topics=queues,shops,job:7&after=x").await;
    assert_eq!((refused.status, refused.faults()), (422, vec!["?topics", "?topics", "?after"]));
    assert_eq!(env.get("/api/v1/live?topics=queues").await.status, 401);
    let refused = env.get_as("viewer+jobs:read", "/api/v1/live?topics=queues").await;
    assert_eq!((refused.status, refused.code()), (403, "forbidden"));
    let many: Vec<String> = (0..101).map(|number| format!("job:00000000-0000-0000-0000-{number:012}")).collect();
    let refused = env.get_as("owner", &format!("/api/v1/live?topics={}", many.join(","))).await;
    assert_eq!(refused.status, 422);
    assert_eq!(env.get_as("owner", "/api/v1/live/socket").await.status, 400, "no WebSocket");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_may_not_watch_any_longer_is_let_go() {
    let env = with_users().await;
    let mut events = Events::open(&env, "/api/v1/live?topics=queues", &[("authorization", "Bearer owner~once")]).await;
    env.revoke("owner~once");
    let end = events.next("end").await.expect("it is said why");
    assert_eq!(end.data["code"], "unauthenticated");
    assert!(events.until("\n\n").await.is_none(), "and the stream ends");
}

/// A WebSocket.
struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    async fn open(env: &TestEnv, headers: &[(&'static str, &str)]) -> Result<Self, u16> {
        let stream = TcpStream::connect(env.addr).await.expect("connected");
        let mut request =
            format!("ws://localhost:{}/api/v1/live/socket", env.addr.port()).into_client_request().expect("a request");
        for (name, value) in headers {
            request.headers_mut().insert(*name, HeaderValue::from_str(value).expect("a value"));
        }
        match client_async(request, stream).await {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            // It was turned away before it had said anything.
            Err(Error::Io(_)) => Err(503),
            Err(error) => panic!("{error}"),
        }
    }

    async fn say(&mut self, message: Value) {
        self.0.send(Message::text(message.to_string())).await.expect("sent");
    }

    /// The next message of a type; others are passed over. `None` when the socket is closed first.
    async fn hear(&mut self, wanted: &str) -> Option<Value> {
        loop {
            let message = timeout(PATIENCE, self.0.next()).await.expect("something comes")?.ok()?;
            let Message::Text(text) = message else { continue };
            let value: Value = serde_json::from_str(&text).expect("JSON");
            if value["type"] == wanted {
                return Some(value);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_socket_what_is_watched_changes_and_commands_are_acknowledged() {
    let env = open().await;
    enqueue(&env).await;
    let mut socket = Socket::open(&env, &[]).await.expect("open");
    socket.say(json!({ "type": "subscribe", "id": 1, "topics": ["queues"] })).await;
    assert_eq!(socket.hear("ack").await.expect("an answer"), json!({ "type": "ack", "id": 1, "topics": ["queues"] }));
    let event = socket.hear("event").await.expect("its state");
    assert!(queued(&event["data"], 1) && event["id"].is_string() && event["topic"] == "queues", "{event}");
    let path = "/api/v1/queues/mail/pause?reason=trial";
    socket.say(json!({ "type": "command", "id": 2, "method": "POST", "path": path })).await;
    let ack = socket.hear("ack").await.expect("an answer");
    assert_eq!((&ack["id"], &ack["status"], &ack["body"]["success"]), (&json!(2), &json!(200), &json!(true)));
    let event = socket.hear("event").await.expect("the change");
    assert_eq!(event["data"][0]["paused"], true, "{event}");
    let job = json!({ "kind": "letter", "queue": "mail", "payload": { "n": 12_345_678_901_234_567_890_u64 } });
    socket.say(json!({ "type": "command", "id": 3, "method": "POST", "path": "/api/v1/jobs", "body": job })).await;
    assert_eq!(socket.hear("ack").await.expect("an answer")["status"], 201);
    socket.say(json!({ "type": "unsubscribe", "id": 4, "topics": ["queues", "workers"] })).await;
    assert_eq!(socket.hear("ack").await.expect("an answer")["topics"], json!(["queues"]));
    socket.say(json!({ "type": "ping", "id": 5 })).await;
    assert_eq!(socket.hear("pong").await.expect("an answer")["id"], 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_may_no_more_than_a_request() {
    let env = with_users().await;
    let mut socket = Socket::open(&env, &[("authorization", "Bearer viewer")]).await.expect("open");
    let ask = async |socket: &mut Socket, method: &str, path: &str| {
        socket.say(json!({ "type": "command", "id": 9, "method": method, "path": path })).await;
        loop {
            let message =
                timeout(PATIENCE, socket.0.next()).await.expect("something comes").expect("open").expect("well");
            let Message::Text(text) = message else { continue };
            let value: Value = serde_json::from_str(&text).expect("JSON");
            if value["id"] == 9 {
                return value;
            }
        }
    };
    assert_eq!(ask(&mut socket, "POST", "/api/v1/queues/mail/pause").await["status"], 403);
    assert_eq!(ask(&mut socket, "GET", "/api/v1/queues").await["status"], 200);
    assert_eq!(ask(&mut socket, "GET", "/api/v1/nothing").await["status"], 404);
    for (method, path) in [
        ("GET", "/metrics"),
        ("GET", "http://evil.example/api/v1/queues"),
        ("G T", "/api/v1/queues"),
        ("GET", "/api/v1/live?topics=queues"),
    ] {
        let answer = ask(&mut socket, method, path).await;
        assert_eq!((&answer["type"], &answer["error"]["code"]), (&json!("error"), &json!("bad_request")), "{path}");
    }
    // A socket within a socket there is not.
    assert_eq!(ask(&mut socket, "GET", "/api/v1/live/socket").await["status"], 400);
    socket.say(json!({ "type": "subscribe", "id": 9, "topics": ["nothing"] })).await;
    assert_eq!(socket.hear("error").await.expect("an answer")["error"]["faults"][0]["path"], "/topics");
    socket.0.send(Message::text("{")).await.expect("sent");
    assert_eq!(socket.hear("error").await.expect("an answer")["id"], 0, "and the socket stays open");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_site_opens_a_socket_with_the_cookie_of_a_browser() {
    let env = with_users().await;
    let cookie = ("cookie", "gristmill=operator");
    let here = format!("http://localhost:{}", env.addr.port());
    assert_eq!(Socket::open(&env, &[cookie, ("origin", "https://evil.example")]).await.err(), Some(403));
    assert_eq!(Socket::open(&env, &[cookie]).await.err(), Some(403), "a browser says where it comes from");
    assert_eq!(Socket::open(&env, &[("origin", &here)]).await.err(), Some(401));
    let mut socket = Socket::open(&env, &[cookie, ("origin", &here)]).await.expect("our own page");
    socket.say(json!({ "type": "command", "id": 1, "method": "POST", "path": "/api/v1/queues/mail/pause" })).await;
    assert_eq!(socket.hear("ack").await.expect("an answer")["status"], 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_has_a_seat_among_the_connections_for_as_long_as_it_is_open() {
    let env = with_seats(2).await;
    let mut first = Socket::open(&env, &[]).await.expect("a seat");
    let second = Socket::open(&env, &[]).await.expect("another one");
    first.say(json!({ "type": "ping", "id": 1 })).await;
    first.hear("pong").await.expect("it is open");
    assert_eq!(Socket::open(&env, &[]).await.err(), Some(503), "all seats of the peer are taken");
    drop(second);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while Socket::open(&env, &[]).await.is_err() {
        assert!(tokio::time::Instant::now() < deadline, "the seat is not free again");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_clients_of_one_topic_are_one_reading_and_one_copy() {
    let env = open().await;
    enqueue(&env).await;
    let mut clients = Vec::new();
    for _ in 0..100 {
        clients.push(Events::open(&env, "/api/v1/live?topics=queues", &[]).await);
    }
    for client in &mut clients {
        client.when("queues", |data| queued(data, 1)).await;
    }
    assert_eq!(env.hub.watched(), 1);
    // No client reads while much happens: each gets the last state, not what came before it.
    let order = Order::new("main", Actor::Operator("ada@laptop".to_owned()));
    for _ in 0..20 {
        env.service.pause_queue(&order, "mail").await.expect("paused");
        env.service.resume_queue(&order, "mail").await.expect("resumed");
        enqueue(&env).await;
    }
    for client in &mut clients {
        client.when("queues", |data| queued(data, 21)).await;
    }
    drop(clients);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while env.hub.watched() > 0 {
        assert!(tokio::time::Instant::now() < deadline, "no client watches, and it is read all the same");
        tokio::task::yield_now().await;
    }
}
