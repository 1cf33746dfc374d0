//! Live updates and commands over a WebSocket (RFC 6455).

use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use gristmill_telemetry::ConnectionSeat;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Interval, timeout};

use super::commands::{Command, Commands};
use super::said::{self, Said};
use super::watcher::Watcher;
use super::{beats, now, written};
use crate::gate::describe::{Argument, Endpoint, Replies, Reply, plain};
use crate::gate::standing::Standing;
use crate::gate::{Api, ApiError, ErrorCode, Recognized, Result};

/// The most bytes of a message of a client.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// How many commands of one client are under way at once.
const COMMANDS_MAX: usize = 8;

/// How many beats a client may let pass without a sign of life.
const SILENT_BEATS_MAX: u32 = 3;

/// How long a client may leave a message unread.
const UNREAD: Duration = Duration::from_secs(10);

/// A request to speak over a WebSocket.
pub(super) struct Upgrade {
    upgrade: WebSocketUpgrade,
    /// The connection's seat among those of the listener, for as long as the socket is open.
    seat: Option<ConnectionSeat>,
}

/// A connection that speaks over a WebSocket from now on.
pub(super) struct Switched(Response);

pub(super) async fn open(
    caller: Recognized,
    standing: Standing,
    Upgrade { upgrade, seat }: Upgrade,
    commands: Commands,
) -> Result<Switched> {
    standing.check_site()?;
    let (watcher, beat) = (Watcher::new(&caller, standing), beats(caller.api()));
    let client = Client { watcher, commands, running: JoinSet::new(), beat, silent: 0, _seat: seat };
    let upgrade = upgrade.max_message_size(MESSAGE_BYTES_MAX).max_frame_size(MESSAGE_BYTES_MAX);
    Ok(Switched(upgrade.on_upgrade(|socket| client.serve(socket))))
}

/// A client under way.
struct Client {
    watcher: Watcher,
    commands: Commands,
    running: JoinSet<Value>,
    beat: Interval,
    /// Beats since the client was heard last.
    silent: u32,
    _seat: Option<ConnectionSeat>,
}

/// Why a socket is closed.
type Ending = Option<CloseFrame>;

impl Client {
    async fn serve(mut self, mut socket: WebSocket) {
        let ending = loop {
            match self.step(&mut socket).await {
                Ok(()) => {}
                Err(ending) => break ending,
            }
        };
        // What has begun is not undone: commands end by themselves, unheard.
        self.running.detach_all();
        let _ = timeout(UNREAD, socket.send(Message::Close(ending))).await;
    }

    /// One thing that happens.
    async fn step(&mut self, socket: &mut WebSocket) -> Result<(), Ending> {
        tokio::select! {
            message = socket.recv() => match message {
                Some(Ok(message)) => {
                    self.silent = 0;
                    self.hear(socket, message).await
                }
                Some(Err(_)) | None => Err(None),
            },
            news = self.watcher.feed.next() => match news {
                Some(news) => {
                    self.check().await?;
                    for frame in news {
                        say(socket, event(&frame.place.to_string(), &frame.json)).await?;
                    }
                    Ok(())
                }
                None => Err(closing(close_code::AWAY, "the server stops; connect again")),
            },
            Some(done) = self.running.join_next(), if !self.running.is_empty() => match done {
                Ok(answer) => say(socket, answer.to_string()).await,
                Err(_) => Err(closing(close_code::ERROR, "a command failed inside")),
            },
            _ = self.beat.tick() => self.beat(socket).await,
        }
    }

    async fn hear(&mut self, socket: &mut WebSocket, message: Message) -> Result<(), Ending> {
        let text = match message {
            Message::Text(text) => text,
            Message::Ping(_) | Message::Pong(_) => return Ok(()),
            Message::Binary(_) => return Err(closing(close_code::UNSUPPORTED, "messages are texts of JSON")),
            Message::Close(_) => return Err(None),
        };
        let answer = match said::read(&text) {
            Err((id, error)) => Some(failed(id, &error)),
            Ok(said) => self.act(said),
        };
        match answer {
            Some(answer) => say(socket, answer.to_string()).await,
            None => Ok(()),
        }
    }

    /// Does what a client says. `None` when the answer comes later.
    fn act(&mut self, said: Said) -> Option<Value> {
        match said {
            Said::Ping { id } => Some(json!({ "type": "pong", "id": id, "at": now() })),
            Said::Subscribe { id, topics, after } => Some(self.subscribe(id, &topics, after.as_deref())),
            Said::Unsubscribe { id, topics } => Some(match said::topics(&topics) {
                Ok(topics) => {
                    let ended: Vec<String> = topics
                        .into_iter()
                        .filter(|topic| self.watcher.feed.unwatch(*topic))
                        .map(|topic| topic.to_string())
                        .collect();
                    json!({ "type": "ack", "id": id, "topics": ended })
                }
                Err(error) => failed(id, &error),
            }),
            Said::Command { id, method, path, body, idempotency_key } => {
                if self.running.len() >= COMMANDS_MAX {
                    let message = format!("{COMMANDS_MAX} commands are under way; wait for one of them");
                    return Some(failed(id, &ApiError::new(ErrorCode::RateLimited, message)));
                }
                let run = self.commands.clone().run(Command { method, path, body, idempotency_key });
                self.running.spawn(async move {
                    match run.await {
                        Ok((status, body)) => {
                            json!({ "type": "ack", "id": id, "status": status.as_u16(), "body": body })
                        }
                        Err(error) => failed(id, &error),
                    }
                });
                None
            }
        }
    }

    fn subscribe(&mut self, id: u64, topics: &[String], after: Option<&str>) -> Value {
        let watched = said::topics(topics).and_then(|topics| {
            self.watcher.watch(&topics, said::place(after)?)?;
            Ok(topics)
        });
        match watched {
            Ok(topics) => {
                let topics: Vec<String> = topics.iter().map(ToString::to_string).collect();
                json!({ "type": "ack", "id": id, "topics": topics })
            }
            Err(error) => failed(id, &error),
        }
    }

    /// Ends with a caller who may not watch any longer.
    async fn check(&mut self) -> Result<(), Ending> {
        self.watcher.check().await.map_err(|error| closing(close_code::POLICY, &error.message))
    }

    /// Says that the server is there, and asks whether the client is, and whether its caller still may.
    async fn beat(&mut self, socket: &mut WebSocket) -> Result<(), Ending> {
        self.silent += 1;
        if self.silent > SILENT_BEATS_MAX {
            return Err(closing(close_code::AWAY, "nothing was heard for too long"));
        }
        self.check().await?;
        send(socket, Message::Ping(axum::body::Bytes::new())).await?;
        let read_at = self.watcher.feed.read_at().map(written);
        say(socket, json!({ "type": "beat", "at": now(), "read_at": read_at }).to_string()).await
    }
}

/// An event around a document that is written already.
fn event(place: &str, json: &[u8]) -> String {
    let rest = String::from_utf8_lossy(json);
    format!("{{\"type\":\"event\",\"id\":\"{place}\",{}", rest.strip_prefix('{').unwrap_or("}"))
}

fn failed(id: u64, error: &ApiError) -> Value {
    json!({
        "type": "error",
        "id": id,
        "error": { "code": error.code, "message": error.message, "hint": error.hint, "faults": error.faults },
    })
}

fn closing(code: u16, reason: &str) -> Ending {
    // A reason has at most 123 bytes (RFC 6455, 5.5).
    let reason = &reason[..reason.floor_char_boundary(120)];
    Some(CloseFrame { code, reason: reason.into() })
}

async fn say(socket: &mut WebSocket, text: String) -> Result<(), Ending> {
    send(socket, Message::Text(text.into())).await
}

/// Sends a message. A client that does not read is let go, and nothing is kept for it.
async fn send(socket: &mut WebSocket, message: Message) -> Result<(), Ending> {
    match timeout(UNREAD, socket.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(None),
    }
}

impl FromRequestParts<Api> for Upgrade {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self> {
        let seat = parts.extensions.get().cloned();
        let upgrade = WebSocketUpgrade::from_request_parts(parts, api).await.map_err(|_| {
            ApiError::new(ErrorCode::BadRequest, "this address speaks only over a WebSocket")
                .hint("connect with a WebSocket over HTTP/1.1, or read server-sent events from /api/v1/live")
        })?;
        Ok(Self { upgrade, seat })
    }
}

impl Argument for Upgrade {
    fn describe(_: &mut Endpoint) {}
}

impl IntoResponse for Switched {
    fn into_response(self) -> Response {
        self.0
    }
}

impl Replies for Result<Switched> {
    fn describe(endpoint: &mut Endpoint) {
        let status = StatusCode::SWITCHING_PROTOCOLS.as_u16();
        endpoint.replies.push(Reply { status, media: "application/json", schema: plain::<String>() });
    }
}
