//! Queues, limits, workers, poison, reports, errors, and what a program reports about itself.

use std::collections::BTreeSet;
use std::time::Duration;

use gristmill_core::duration::Span;
use gristmill_service::control::dead::RedriveReport;
use gristmill_service::documents::{
    CheckDocument, ContextDocument, DeadReportDocument, DefinitionDocument, DoctorDocument, EndedJobsDocument,
    ErrorBody, ErrorDocument, FindingDocument, InitDocument, LimitDocument, LookDocument, MigrationsDocument,
    PoisonDocument, PoisonMessageDocument, ProblemDocument, QueueDocument, ReconcileDocument, RedrivenDocument,
    ReportDocument, SettingDocument, TrialDocument, TriedItemDocument, TriedStepDocument, VersionDocument,
    WorkerDocument, WouldSetLimitDocument,
};
use gristmill_store::{
    ControlReport, LimitOrigin, LimitSpec, LimitUse, MigrationView, PoisonMessage, QueueView, ReconcileReport,
    UnhandledView,
};
use serde_json::{Value, json};

use super::batches::pause;
use super::{Sample, at, id, sample};

fn queues() -> Sample {
    let full = QueueView {
        name: "mail".to_owned(),
        paused: true,
        pause: Some(pause()),
        scheduled: 1,
        queued: 2,
        running: 3,
        retry: 4,
        done: 5,
        dead: 6,
        cancelled: 7,
        oldest_queued_at: Some(at(0)),
    };
    let minimal = QueueView { name: "default".to_owned(), ..QueueView::default() };
    let unhandled = UnhandledView { queue: "mail".to_owned(), kind: "sms".to_owned(), version: 2, jobs: 9 };
    let [full, minimal]: [QueueDocument; 2] =
        QueueDocument::all(vec![full, minimal], vec![unhandled]).try_into().expect("two queues");
    sample("QueueDocument", full, minimal)
}

fn limits() -> Vec<Sample> {
    let names = |name: &str| BTreeSet::from([name.to_owned()]);
    let spec = LimitSpec {
        queues: names("crm"),
        kinds: names("sync"),
        per_key: true,
        concurrency: Some(5),
        rate: Some(100),
        per: Some(Span(Duration::from_secs(60))),
        burst: Some(10),
    };
    let full = LimitDocument {
        name: "crm".to_owned(),
        origin: LimitOrigin::Command,
        spec: spec.clone(),
        updated_at: at(0),
        running: 3,
        uses: vec![LimitUse { tenant: "acme".to_owned(), key: "customer-7".to_owned(), running: 2 }],
    };
    let minimal = LimitDocument {
        origin: LimitOrigin::File,
        spec: LimitSpec::default(),
        running: 0,
        uses: Vec::new(),
        ..full.clone()
    };
    vec![
        sample("LimitDocument", full, minimal),
        sample(
            "WouldSetLimitDocument",
            WouldSetLimitDocument::new("crm", &spec),
            WouldSetLimitDocument::new("crm", &LimitSpec::default()),
        ),
    ]
}

fn workers() -> Sample {
    let full = WorkerDocument {
        id: id(12),
        role: "worker".to_owned(),
        host: "desk".to_owned(),
        pid: 4_711,
        version: "0.1.0".to_owned(),
        slots: 16,
        running: 3,
        queues: vec!["mail".to_owned()],
        kinds: vec!["chunk".to_owned(), "email@2".to_owned()],
        started_at: at(0),
        seen_at: at(9),
        state: "alive".to_owned(),
    };
    let minimal = WorkerDocument {
        role: "scheduler".to_owned(),
        slots: 0,
        running: 0,
        queues: Vec::new(),
        kinds: Vec::new(),
        state: "stopped".to_owned(),
        ..full.clone()
    };
    sample("WorkerDocument", full, minimal)
}

fn poison() -> Vec<Sample> {
    let view = PoisonDocument {
        id: 4,
        queue: "mail".to_owned(),
        sha256: "cd".repeat(32),
        size: 12,
        reason: "the message is not JSON".to_owned(),
        source: "worker".to_owned(),
        seen: 2,
        first_at: at(0),
        last_at: at(1),
    };
    let unknown = PoisonDocument { queue: String::new(), source: "returned".to_owned(), ..view.clone() };
    let text =
        PoisonMessage { view: view.clone(), headers: json!({ "content_type": "text" }), bytes: b"what?\n".to_vec() };
    let bytes = PoisonMessage { view: unknown.clone(), headers: Value::Null, bytes: b"\x1b[2J".to_vec() };
    let forced = PoisonMessageDocument::new(text.clone(), true);
    assert_eq!((forced.encoding.as_str(), forced.body.as_str()), ("hex", "776861743f0a"));
    vec![
        sample("PoisonDocument", view, unknown),
        sample(
            "PoisonMessageDocument",
            PoisonMessageDocument::new(text, false),
            PoisonMessageDocument::new(bytes, false),
        ),
    ]
}

fn reports() -> Vec<Sample> {
    let report = ControlReport {
        affected: 7,
        samples: vec!["0198f9c1".to_owned()],
        generation: Some(3),
        ..ControlReport::default()
    };
    let redriven = RedriveReport { redriven: report.clone(), refused: 1, reasons: vec!["it is under way".to_owned()] };
    let error = |hint: Option<&str>, retryable| ErrorDocument {
        error: ErrorBody {
            code: "not_found".to_owned(),
            exit: 3,
            message: "there is no batch 7 of `main`".to_owned(),
            hint: hint.map(str::to_owned),
            retryable,
        },
    };
    let (full, minimal) = (error(Some("see `gristmill batch list` for the ids"), true), error(None, false));
    vec![
        sample(
            "DeadReportDocument",
            DeadReportDocument::new(false, &redriven, vec!["the job 7 is done, and no dead letter".to_owned()]),
            DeadReportDocument::new(true, &RedriveReport::default(), Vec::new()),
        ),
        sample(
            "ReportDocument",
            ReportDocument::new(false, &report),
            ReportDocument::new(true, &ControlReport::default()),
        ),
        sample(
            "RedrivenDocument",
            RedrivenDocument {
                ended: EndedJobsDocument { done: 2, dead: 1, cancelled: 0 },
                batches: vec![(&super::batches::full()).into()],
            },
            RedrivenDocument { ended: EndedJobsDocument::default(), batches: Vec::new() },
        ),
        sample("ErrorBody", &full.error, &minimal.error),
        sample("ErrorDocument", full, minimal),
    ]
}

fn itself() -> Vec<Sample> {
    let well = FindingDocument::ok("clock", "3 ms apart from the database");
    let ill = FindingDocument::problem("disk", "12 MiB free in .", "make room");
    let doctor = |findings| DoctorDocument::from(Vec::from_iter(findings));
    let found =
        ReconcileReport { batches: 3, findings: vec!["batch 7: chunks 3 of 4".to_owned()], ..Default::default() };
    let version = VersionDocument { name: "gristmill".to_owned(), version: "0.1.0".to_owned() };
    let (key, origin) = ("worker.slots".to_owned(), "config.toml:3".to_owned());
    let setting = SettingDocument { key, value: json!(8), origin };
    let context = ContextDocument {
        name: "prod".to_owned(),
        url: "https://jobs.example.com".to_owned(),
        token_file: Some("/home/ada/.secrets/jobs".to_owned()),
        ca_file: Some("/etc/ssl/our-authority.pem".to_owned()),
        tenant: Some("main".to_owned()),
        protected: true,
        in_the_clear: false,
        used: true,
    };
    let definition = DefinitionDocument { name: "retail".to_owned(), definition: json!({ "chunk": 500 }) };
    let migration = MigrationView { version: 7, name: "limits".to_owned(), applied_at: Some(at(0)) };
    let missing = MigrationView { version: 8, name: "turns".to_owned(), applied_at: None };
    let status = MigrationsDocument { migrations: vec![migration, missing], known: 8, applied: 7 };
    vec![
        sample("DoctorDocument", doctor(vec![well.clone(), ill.clone()]), doctor(vec![well.clone()])),
        sample("FindingDocument", ill, well),
        sample(
            "ReconcileDocument",
            ReconcileDocument::new(true, &found),
            ReconcileDocument::new(false, &ReconcileReport::default()),
        ),
        sample("VersionDocument", &version, &version),
        sample("SettingDocument", &setting, &setting),
        sample(
            "ContextDocument",
            &context,
            ContextDocument { token_file: None, ca_file: None, tenant: None, ..context.clone() },
        ),
        sample("DefinitionDocument", &definition, &definition),
        sample("MigrationsDocument", status, MigrationsDocument::default()),
    ]
}

pub(super) fn samples() -> Vec<Sample> {
    let mut samples = vec![queues(), workers()];
    samples.extend(limits());
    samples.extend(poison());
    samples.extend(reports());
    samples.extend(itself());
    samples.extend(configuration());
    samples
}

/// What is said of a configuration, of a first look at an input, and of a first project.
fn configuration() -> Vec<Sample> {
    let problem = ProblemDocument {
        key: "batch.retail.chunk".to_owned(),
        place: Some("config.toml:7".to_owned()),
        message: "`0` is no size".to_owned(),
        hint: Some("write at least 1".to_owned()),
    };
    let bare = ProblemDocument { place: None, hint: None, ..problem.clone() };
    let look = LookDocument {
        batch: "retail".to_owned(),
        file: "invoices.csv".to_owned(),
        delimiter: ",".to_owned(),
        better: Some(";".to_owned()),
        columns: vec!["InvoiceNo".to_owned()],
        rows: vec![vec!["536365".to_owned()]],
    };
    let check = |problems: Vec<ProblemDocument>, batches| CheckDocument {
        ok: problems.is_empty(),
        batches,
        problems,
        sources: vec![look.clone()],
    };
    let init = InitDocument {
        folder: ".".to_owned(),
        files: vec!["config.toml".to_owned()],
        next: "gristmill check".to_owned(),
    };
    let trial = TrialDocument { batch: "retail".to_owned(), items: Vec::new(), result: json!({ "rows": 1 }) };
    let tried_step = TriedStepDocument { stage: "read".to_owned(), item: json!({ "Quantity": "x" }) };
    let tried = TriedItemDocument {
        position: 0,
        line: Some(2),
        steps: vec![tried_step.clone()],
        end: "quarantined".to_owned(),
        stage: Some("parse".to_owned()),
        reason: Some("`Quantity` is `x`; a whole number such as 1234 is wanted".to_owned()),
    };
    vec![
        sample("LookDocument", look.clone(), LookDocument { better: None, ..look.clone() }),
        sample("InitDocument", init.clone(), init),
        sample("TrialDocument", TrialDocument { items: vec![tried.clone()], ..trial.clone() }, trial),
        sample(
            "TriedItemDocument",
            tried.clone(),
            TriedItemDocument { line: None, stage: None, reason: None, ..tried },
        ),
        sample("TriedStepDocument", tried_step.clone(), tried_step),
        sample("CheckDocument", check(vec![problem.clone()], vec!["retail".to_owned()]), check(Vec::new(), Vec::new())),
        sample("ProblemDocument", problem, bare),
    ]
}
