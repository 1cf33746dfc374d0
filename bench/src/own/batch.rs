//! A batch of 100,000 items in 200 chunks with one sum.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::enqueue::backlog;
use super::tables::Tables;
use crate::amounts::{Amounts, ITEMS};
use crate::fault::Result;
use crate::metric::Metric;
use crate::pace::until;
use crate::size::{Size, WARM_UP, WARM_UP_FIRST};
use crate::stand::Stand;

/// From the creation of the batch to the commit that ends it, by the database's clock, with one worker that was idle.
///
/// # Errors
///
/// Those of the programs, and when count or sum are wrong.
pub async fn measure(stand: &Stand, size: Size) -> Result<Vec<(Metric, f64)>> {
    let (client, tables, records) = (stand.client().await?, Tables::of(stand).await?, stand.file("records"));
    let (input, amounts) = (stand.file("amounts.csv"), Amounts::usual());
    amounts.write(&input)?;
    let (scheduler, worker) = (stand.scheduler()?, stand.worker(&records)?);
    let before = tables.jobs("done").await?;
    backlog(&client, WARM_UP_FIRST, WARM_UP).await?;
    until("the worker is warm", size.patience(), std::time::Duration::from_millis(20), async || {
        Ok((tables.jobs("done").await? - before >= i64::from(WARM_UP)).then_some(()))
    })
    .await?;
    let path = input.display().to_string();
    let arguments = ["batch", "run", "sum", "--input", &path, "--wait=5m", "--json"];
    let printed = stand.finish(&arguments, &records).await?;
    worker.stop().await?;
    if let Some(scheduler) = scheduler {
        scheduler.stop().await?;
    }
    client.close().await;
    Ok(vec![(Metric::Batch, seconds(&serde_json::from_str(&printed)?, &amounts)?)])
}

/// How long a batch took, after a look whether it is right.
fn seconds(document: &Value, amounts: &Amounts) -> Result<f64> {
    let batch = &document["batch"];
    let found = (&batch["state"], &batch["counts"]["ok"], &document["result"]["total"]);
    if found != (&Value::from("complete"), &Value::from(ITEMS), &Value::from(amounts.total_text())) {
        return Err(format!("the batch ended as {found:?}, its sum should be {}", amounts.total_text()).into());
    }
    let at = |name: &str| -> Result<DateTime<Utc>> {
        Ok(batch[name].as_str().ok_or_else(|| format!("the batch has no {name}"))?.parse()?)
    };
    let took = at("finished_at")? - at("created_at")?;
    Ok(took.num_microseconds().unwrap_or_default() as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_batch_counts_only_when_its_sum_is_right() {
        let amounts = Amounts::usual();
        let mut document = json!({
            "batch": {
                "state": "complete", "counts": { "ok": ITEMS },
                "created_at": "2026-11-29T16:00:00.100Z", "finished_at": "2026-11-29T16:00:00.350500Z",
            },
            "result": { "total": amounts.total_text() },
        });
        assert_eq!(seconds(&document, &amounts).expect("right"), 0.2505);
        document["result"]["total"] = json!("1");
        assert!(seconds(&document, &amounts).is_err());
    }
}
