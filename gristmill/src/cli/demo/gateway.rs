//! The payment gateway of `gristmill demo`, which fails now and then, and the demo's configuration.

use std::sync::atomic::{AtomicU64, Ordering};

use gristmill_jobs::process::ItemOut;
use serde_json::Value;

/// The name of the item handler.
pub(crate) const GATEWAY: &str = "demo-gateway";

/// The demo's configuration; `@ORDERS@` stands for the file of orders.
pub(crate) const CONFIG: &str = include_str!("config.toml");

/// How many items were tried again in this process. The store counts chunks that were tried again; items tried again
/// within a chunk are counted only here.
pub(crate) static RETRIED: AtomicU64 = AtomicU64::new(0);

/// Charges an order, as its column `gateway` says.
pub(crate) fn gateway(order: &Value, attempt: u32) -> ItemOut {
    if attempt > 1 {
        RETRIED.fetch_add(1, Ordering::Relaxed);
    }
    let failed = |reason: &str, retry| ItemOut::Failed { reason: reason.to_owned(), retry };
    let Some(mood) = order.get("gateway").and_then(Value::as_str) else {
        return failed("the order does not say how it was paid", false);
    };
    match (mood, attempt) {
        ("fails-once", 1) => failed("the payment gateway did not answer in time", true),
        ("fails-twice", 1 | 2) => failed("the payment gateway answered 503", true),
        ("never", _) => failed("the payment gateway never answered", true),
        _ => ItemOut::Ok(order.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_gateway_fails_as_often_as_the_order_says() {
        let charged = |mood: &str, attempt| matches!(gateway(&json!({ "gateway": mood }), attempt), ItemOut::Ok(_));
        assert!(charged("ok", 1));
        assert!(!charged("fails-once", 1) && charged("fails-once", 2));
        assert!(!charged("fails-twice", 2) && charged("fails-twice", 3));
        assert!(!charged("never", 3));
    }
}
