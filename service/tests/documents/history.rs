//! What passed through queues.

use gristmill_core::history::HistoryStep;
use gristmill_service::documents::{
    HistoryBy, HistoryDocument, HistoryPointDocument, HistorySeriesDocument, PassedDocument, TimesBucketDocument,
    TimesDocument,
};

use super::{Sample, at, sample};

fn none() -> TimesDocument {
    TimesDocument { count: 0, p50_ms: None, p95_ms: None, p99_ms: None, buckets: Vec::new() }
}

fn times() -> TimesDocument {
    let bucket = TimesBucketDocument { from_ms: 100, below_ms: Some(150), count: 4 };
    let last = TimesBucketDocument { from_ms: 86_400_000, below_ms: None, count: 1 };
    TimesDocument {
        count: 5,
        p50_ms: Some(131),
        p95_ms: Some(86_400_000),
        p99_ms: Some(86_400_000),
        buckets: vec![bucket, last],
    }
}

fn passed() -> PassedDocument {
    PassedDocument { enqueued: 9, done: 4, failed: 2, dead: 1, wait: none(), run: times() }
}

pub(super) fn samples() -> Vec<Sample> {
    let nothing = PassedDocument { enqueued: 0, done: 0, failed: 0, dead: 0, wait: none(), run: none() };
    let point = HistoryPointDocument { at: at(0), passed: passed() };
    let series = HistorySeriesDocument { name: Some("mail".to_owned()), total: passed(), points: vec![point] };
    let all = HistorySeriesDocument { name: None, total: nothing.clone(), points: Vec::new() };
    let full = HistoryDocument {
        step: HistoryStep::Minute,
        from: at(0),
        until: at(3_600),
        by: HistoryBy::Queue,
        truncated: true,
        series: vec![series.clone()],
    };
    let minimal = HistoryDocument {
        step: HistoryStep::Hour,
        by: HistoryBy::Total,
        truncated: false,
        series: Vec::new(),
        ..full.clone()
    };
    vec![
        sample("HistoryDocument", full, minimal),
        sample("HistorySeriesDocument", series, all),
        sample("PassedDocument", passed(), nothing),
        sample("TimesDocument", times(), none()),
    ]
}
