//! The report of a batch: what people read, in both forms.

use gristmill_jobs::mail::Templates;
use serde_json::{Value, json};

fn data(state: &str, generation: u32) -> Value {
    json!({
        "batch": {
            "id": "01990000-0000-7000-8000-000000000001", "name": "retail <night>", "state": state, "generation": generation,
            "counts": {"input": 541_909, "ok": 400_000, "skipped": 9, "quarantined": 141_900, "cancelled": 0, "pending": 0},
            "chunks": 1084, "chunks_dead": 0, "retries": 3, "failure_budget": "30%", "reason": null,
            "created_at": "2026-11-20T02:00:00Z", "finished_at": "2026-11-20T02:01:30Z",
        },
        "result": {
            "invoices": 18_536, "revenue": "8911407.90",
            "by_country": {"France": "209024.05", "United Kingdom": "7308391.55", "EIRE": "265545.90"},
        },
    })
}

#[test]
fn a_report_has_the_counts_the_figures_and_what_to_type_next() {
    let rendered = Templates::new(None).render("batch-report", &data("complete", 0)).expect("rendered");
    assert_eq!(rendered.subject, "retail <night>: complete, 400000 of 541909 items ok");
    insta::assert_snapshot!(rendered.text);
}

#[test]
fn an_amended_report_says_so() {
    let rendered = Templates::new(None).render("batch-report", &data("halted", 2)).expect("rendered");
    assert!(rendered.subject.starts_with("[amended] "), "{}", rendered.subject);
    assert!(rendered.text.contains("(amended, generation 2)") && rendered.text.contains("takes the place of"));
    assert!(rendered.html.expect("a twin").contains("(amended, generation 2)"));
}

#[test]
fn data_cannot_write_markup() {
    let html =
        Templates::new(None).render("batch-report", &data("complete", 0)).expect("rendered").html.expect("a twin");
    assert!(html.contains("retail &lt;night&gt;") && !html.contains("<night>"), "{html}");
    let rows = html.find("United Kingdom").expect("the largest") < html.find("EIRE").expect("the next");
    assert!(rows, "the largest group comes first");
}

#[test]
fn a_result_that_is_too_large_is_named_instead() {
    let mut large = data("complete", 0);
    (large["result"], large["result_bytes"]) = (Value::Null, json!(600_000));
    let rendered = Templates::new(None).render("batch-report", &large).expect("rendered");
    assert!(rendered.text.contains("600000 bytes"), "{}", rendered.text);
}

#[test]
fn a_folder_comes_before_what_is_built_in() {
    let folder = tempfile::tempdir().expect("a folder");
    let own = folder.path().join("batch-report");
    std::fs::create_dir(&own).expect("made");
    std::fs::write(own.join("subject.txt"), "Mine: {{ batch.name }}\n").expect("written");
    let templates = Templates::new(folder.path().to_str());
    let rendered = templates.render("batch-report", &data("complete", 0)).expect("rendered");
    assert_eq!(rendered.subject, "Mine: retail <night>");
    std::fs::write(own.join("text.txt"), "{{ batch.nmae }}").expect("written");
    let error =
        Templates::new(folder.path().to_str()).render("batch-report", &data("complete", 0)).expect_err("misspelt");
    assert!(error.contains("batch-report/text.txt") && error.contains("line 1"), "{error}");
}
