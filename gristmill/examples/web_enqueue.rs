//! A web server that enqueues inside its own database transaction: an order and the job that confirms it both exist, or
//! neither does.
//!
//! It needs only the thin client (`gristmill-client`, `axum` and `sqlx`). The job runs in a worker that has its kind.
//!
//! ```sh
//! gristmill --store "$DATABASE_URL" db migrate
//! cargo run --example web_enqueue                       # with DATABASE_URL=postgres://…
//! curl -d '{"customer":"acme","cents":1250}' -H 'content-type: application/json' http://127.0.0.1:8080/orders
//! curl http://127.0.0.1:8080/jobs/ID
//! ```

use std::error::Error;
use std::fmt::Display;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use gristmill_client::{Client, JobId, Payload, Priority};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgPool;

/// The payload of the job. The program that handles it knows the same name and fields.
#[derive(Debug, Serialize)]
struct ConfirmOrder {
    order: i64,
    customer: String,
}

impl Payload for ConfirmOrder {
    const KIND: &str = "confirm-order";

    fn timeout() -> Duration {
        Duration::from_secs(30)
    }
}

#[derive(Debug, Deserialize)]
struct NewOrder {
    customer: String,
    cents: i64,
}

/// The most that one customer may owe.
const CREDIT_CENTS: i64 = 100_000;

#[derive(Clone)]
struct Shop {
    pool: PgPool,
    client: Client,
}

type Answer = Result<(StatusCode, Json<Value>), (StatusCode, String)>;

fn broken(error: impl Display) -> (StatusCode, String) {
    (StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}

/// `POST /orders`: the order and its job, in one transaction.
async fn order(State(shop): State<Shop>, Json(new): Json<NewOrder>) -> Answer {
    let mut transaction = shop.pool.begin().await.map_err(broken)?;
    let insert = "INSERT INTO shop_order (customer, cents) VALUES ($1, $2) RETURNING id";
    let order: i64 = sqlx::query_scalar(insert)
        .bind(&new.customer)
        .bind(new.cents)
        .fetch_one(&mut *transaction)
        .await
        .map_err(broken)?;
    let job = ConfirmOrder { order, customer: new.customer.clone() };
    let enqueued = shop
        .client
        .job(&job)
        .priority(Priority::High)
        .key(&new.customer)
        .enqueue_in(&mut transaction)
        .await
        .map_err(broken)?;
    let owed = "SELECT sum(cents)::bigint FROM shop_order WHERE customer = $1";
    let owed: i64 = sqlx::query_scalar(owed).bind(&new.customer).fetch_one(&mut *transaction).await.map_err(broken)?;
    if owed > CREDIT_CENTS {
        // The transaction is dropped, and with it the order and the job.
        return Err((StatusCode::CONFLICT, format!("{owed} cents are more than {CREDIT_CENTS}")));
    }
    transaction.commit().await.map_err(broken)?;
    Ok((StatusCode::CREATED, Json(json!({ "order": order, "job": enqueued.id }))))
}

/// `GET /jobs/ID`: the state of a job.
async fn job(State(shop): State<Shop>, Path(id): Path<JobId>) -> Answer {
    match shop.client.job_view(id).await.map_err(broken)? {
        Some(job) => Ok((StatusCode::OK, Json(json!({ "state": job.state, "output": job.output })))),
        None => Err((StatusCode::NOT_FOUND, format!("there is no job {id}"))),
    }
}

/// The server over a database that already has Gristmill's tables.
pub(crate) async fn router(database: &str) -> Result<Router, Box<dyn Error + Send + Sync>> {
    let pool = PgPool::connect(database).await?;
    let table = "CREATE TABLE IF NOT EXISTS shop_order (id bigserial PRIMARY KEY, customer text NOT NULL, cents bigint NOT NULL)";
    sqlx::query(table).execute(&pool).await?;
    let shop = Shop { pool, client: Client::connect(database).await? };
    Ok(Router::new().route("/orders", post(order)).route("/jobs/{id}", get(job)).with_state(shop))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let database = std::env::var("DATABASE_URL").map_err(|_| "set DATABASE_URL to postgres://USER@HOST/DATABASE")?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    eprintln!("http://{}/orders", listener.local_addr()?);
    let stop = async { drop(tokio::signal::ctrl_c().await) };
    axum::serve(listener, router(&database).await?).with_graceful_shutdown(stop).await?;
    Ok(())
}
