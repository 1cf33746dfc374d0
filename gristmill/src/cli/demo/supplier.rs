//! The supplier of `gristmill demo --serve`, whose service is slow, and what the demo goes on with.

use std::time::Duration;

use gristmill_jobs::process::ItemOut;
use serde_json::{Value, json};

/// The name of the item handler.
pub(crate) const SUPPLIER: &str = "demo-supplier";

/// The name of the batch definition.
pub(crate) const STOCK: &str = "stock";

/// What is added to the demo's configuration.
pub(crate) const SERVED: &str = include_str!("served.toml");

/// How long the service takes for an answer.
const ANSWERS_AFTER: Duration = Duration::from_millis(100);

/// Asks how many of an article there are. It waits on its thread, as a library without futures does.
#[expect(clippy::disallowed_methods, reason = "a slow answer is what this stands for")]
pub(crate) fn supplier(article: &Value, _attempt: u32) -> ItemOut {
    std::thread::sleep(ANSWERS_AFTER);
    answer(article)
}

/// What the service answers: it does not know every fiftieth article.
fn answer(article: &Value) -> ItemOut {
    let Some(number) = article.get("article").and_then(Value::as_str).and_then(|text| text.parse::<u64>().ok()) else {
        return ItemOut::Failed { reason: "the article has no number".to_owned(), retry: false };
    };
    if number % 50 == 7 {
        return ItemOut::Failed { reason: "the supplier does not know this article".to_owned(), retry: false };
    }
    let mut known = article.clone();
    if let Some(fields) = known.as_object_mut() {
        fields.insert("stock".to_owned(), json!(number * 7 % 90));
    }
    ItemOut::Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_supplier_knows_most_articles_and_always_says_the_same_of_them() {
        let ask = |number: u64| match answer(&json!({ "article": number.to_string() })) {
            ItemOut::Ok(known) => known["stock"].as_u64(),
            _ => None,
        };
        assert_eq!((ask(1), ask(1), ask(57)), (Some(7), Some(7), None));
        assert_eq!((1..=1_000).filter(|number| ask(*number).is_none()).count(), 20);
        assert!(matches!(answer(&json!({})), ItemOut::Failed { retry: false, .. }));
    }
}
