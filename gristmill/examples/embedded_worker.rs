//! A web server with a worker inside: one program, one `main`, one tokio runtime. It enqueues, works, and answers with
//! what the job left behind; Ctrl-C lets the requests and the jobs under way finish.
//!
//! ```sh
//! cargo run --example embedded_worker                   # on SQLite, in ./embedded.db
//! curl -d '{"name":"Ada"}' -H 'content-type: application/json' http://127.0.0.1:8080/greetings
//! curl http://127.0.0.1:8080/greetings/ID
//! ```

use std::error::Error;
use std::future::IntoFuture;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use gristmill::client::WaitError;
use gristmill::model::id::JobId;
use gristmill::{App, Client, Context, Failure, Kind};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// A job of the server's own.
#[derive(Debug, Serialize, Deserialize)]
struct Greet {
    name: String,
}

impl Kind for Greet {
    const NAME: &str = "greet";
    type Output = String;

    async fn run(self, _context: Context) -> Result<String, Failure> {
        if self.name.is_empty() {
            return Err(Failure::permanent("nobody is to be greeted"));
        }
        Ok(format!("Hello {}", self.name))
    }
}

type Answer = Result<(StatusCode, Json<Value>), (StatusCode, String)>;

/// `POST /greetings`: enqueues, and answers at once.
async fn greet(State(client): State<Client>, Json(greet): Json<Greet>) -> Answer {
    let enqueued = client.job(&greet).max_attempts(3).enqueue().await;
    let enqueued = enqueued.map_err(|error| (StatusCode::SERVICE_UNAVAILABLE, error.to_string()))?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "job": enqueued.id }))))
}

/// `GET /greetings/ID`: waits for the greeting, at most ten seconds.
async fn greeting(State(client): State<Client>, Path(job): Path<JobId>) -> Answer {
    match client.wait(job).at_most(Duration::from_secs(10)).await {
        Ok(greeting) => Ok((StatusCode::OK, Json(greeting))),
        Err(over @ WaitError::TimedOut { .. }) => Err((StatusCode::ACCEPTED, over.to_string())),
        Err(missing @ WaitError::NotFound { .. }) => Err((StatusCode::NOT_FOUND, missing.to_string())),
        Err(failed) => Err((StatusCode::UNPROCESSABLE_ENTITY, failed.to_string())),
    }
}

/// Serves and works until `shutdown` completes, then drains both.
pub(crate) async fn run(
    listener: TcpListener,
    store: String,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let app = App::new().kind::<Greet>().build().settings(move |config| config.store.url.clone_from(&store));
    let app = app.open().await?;
    let routes = Router::new().route("/greetings", post(greet)).route("/greetings/{job}", get(greeting));
    let routes = routes.with_state(app.client());

    let stop = CancellationToken::new();
    let serving = axum::serve(listener, routes).with_graceful_shutdown(stop.clone().cancelled_owned());
    let working = async {
        let worked = app.run_until(stop.cancelled()).await;
        // The server also ends if its worker failed.
        stop.cancel();
        worked
    };
    let asked = async {
        stop.run_until_cancelled(shutdown).await;
        stop.cancel();
    };
    let (served, worked, ()) = tokio::join!(serving.into_future(), working, asked);
    served?;
    Ok(worked?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let listener = TcpListener::bind("127.0.0.1:8080").await?;
    eprintln!("http://{}/greetings", listener.local_addr()?);
    let store = std::env::var("GRISTMILL_STORE_URL").unwrap_or_else(|_| "sqlite://embedded.db".to_owned());
    run(listener, store, async { drop(tokio::signal::ctrl_c().await) }).await
}
