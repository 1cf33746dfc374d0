//! The oracle for plain jobs and emails.

use std::collections::BTreeMap;

use crate::env::TestEnv;
use crate::plan::{JOB_MODES, Plan};
use gristmill_testkit::smtp::Mail;

gristmill_store::row! {
    #[derive(Debug)]
    pub(crate) struct Job {
        id: String,
        key: Option<String>,
        kind: String,
        state: String,
        attempt: i32,
        max_attempts: i32,
        payload: String,
        /// Attempts after which nobody knows how far they came.
        lost: i64,
        email: Option<String>,
    }
}

/// Looks at them.
///
/// # Errors
///
/// The first thing that must not be.
pub(crate) async fn judge(env: &TestEnv, plan: &Plan) -> Result<(), String> {
    let jobs: Vec<Job> = sqlx::query_as(
        "SELECT j.id::text, idempotency_key AS key, kind, j.state, j.attempt, max_attempts, payload, e.state AS email,
            (SELECT count(*) FROM attempt a WHERE a.job_id = j.id
             AND a.ending IN ('worker_lost', 'timed_out', 'interrupted')) AS lost
         FROM job j LEFT JOIN email e ON e.job_id = j.id WHERE kind IN ('exec', 'email')",
    )
    .fetch_all(&env.pool)
    .await
    .map_err(|error| format!("the oracle cannot look: {error}"))?;
    enqueued_once(plan, &jobs)?;
    let (runs, mail) = (runs(env), env.smtp.mail());
    for job in &jobs {
        let judged = if job.kind == "exec" { plain(job, &runs) } else { email(job, &mail) };
        judged.map_err(|wrong| format!("{} job {} ({:?}): {wrong}", job.kind, job.id, job.key))?;
    }
    let known: Vec<String> = jobs.iter().filter(|job| job.kind == "email").map(recipient).collect();
    match mail.keys().find(|recipient| !known.contains(recipient)) {
        Some(stranger) => Err(format!("mail came for {stranger}, to whom nobody wrote")),
        None => Ok(()),
    }
}

/// Each line of the client's file is exactly one job.
fn enqueued_once(plan: &Plan, jobs: &[Job]) -> Result<(), String> {
    let mut keys: Vec<String> = JOB_MODES
        .iter()
        .zip(&plan.jobs)
        .flat_map(|(mode, count)| (0..*count).map(move |number| format!("{mode}-{number}")))
        .chain((0..plan.emails).map(|number| format!("mail-{number}")))
        .collect();
    let ours = |key: &&String| !key.starts_with("effect:") && !key.contains(':');
    let mut found: Vec<String> = jobs.iter().filter_map(|job| job.key.as_ref()).filter(ours).cloned().collect();
    keys.sort_unstable();
    found.sort_unstable();
    if keys == found { Ok(()) } else { Err(format!("enqueued were {keys:?}, there are {found:?}")) }
}

/// How often each attempt of each job ran, as the jobs themselves say.
fn runs(env: &TestEnv) -> BTreeMap<String, Vec<i32>> {
    let log = std::fs::read_to_string(env.file("runs.log")).unwrap_or_default();
    let mut runs: BTreeMap<String, Vec<i32>> = BTreeMap::new();
    for (job, attempt) in log.lines().filter_map(|line| line.split_once(' ')) {
        runs.entry(job.to_owned()).or_default().push(attempt.parse().unwrap_or(0));
    }
    runs
}

fn plain(job: &Job, runs: &BTreeMap<String, Vec<i32>>) -> Result<(), String> {
    let mode = job.key.as_deref().and_then(|key| key.split('-').next()).unwrap_or_default();
    let spent = job.attempt >= job.max_attempts;
    let right = match (mode, job.state.as_str()) {
        (_, "cancelled") => true,
        ("ok" | "slow", "done") => true,
        ("flaky", "done") => job.attempt >= 2,
        ("ok" | "slow" | "flaky" | "fail", "dead") => spent,
        ("permanent", "dead") => true,
        _ => false,
    };
    if !right {
        return Err(format!("it is {} after attempt {} of {}", job.state, job.attempt, job.max_attempts));
    }
    let own = runs.get(&job.id).cloned().unwrap_or_default();
    if own.iter().any(|attempt| *attempt < 1 || *attempt > job.max_attempts) {
        return Err(format!("it ran as the attempts {own:?}"));
    }
    if job.state == "done" && !own.contains(&job.attempt) {
        return Err(format!("it is done by attempt {}, which never ran: {own:?}", job.attempt));
    }
    let mut once = own.clone();
    once.sort_unstable();
    once.dedup();
    // An attempt that was given back unspent is made again under its number.
    let again = i64::try_from(own.len() - once.len()).unwrap_or(i64::MAX);
    if again > job.lost { Err(format!("an attempt ran twice: {own:?}")) } else { Ok(()) }
}

fn recipient(job: &Job) -> String {
    let payload: serde_json::Value = serde_json::from_str(&job.payload).unwrap_or_default();
    payload["to"].as_str().unwrap_or_default().to_owned()
}

/// Whether an email came as often as it should have.
pub(crate) fn email(job: &Job, mail: &BTreeMap<String, Mail>) -> Result<(), String> {
    let came = mail.get(&recipient(job)).cloned().unwrap_or_default();
    let spent = job.attempt >= job.max_attempts;
    if !(job.state == "done" || job.state == "cancelled" || (job.state == "dead" && spent)) {
        return Err(format!("it is {} after attempt {}", job.state, job.attempt));
    }
    if job.state == "done" && came.taken == 0 {
        return Err("it is done, and the server has never got it".to_owned());
    }
    if job.state == "done" && !matches!(job.email.as_deref(), Some("sent" | "sending")) {
        return Err(format!("it is done, and its record says {:?}", job.email));
    }
    // Once, and once more for each time that nobody could know.
    let allowed = 1 + i64::from(came.unheard) + job.lost;
    if i64::from(came.taken) > allowed {
        return Err(format!("{} copies came, {allowed} are explained: {came:?}", came.taken));
    }
    let mut ids = came.ids.clone();
    ids.dedup();
    if ids.len() > 1 { Err(format!("its copies have several ids: {ids:?}")) } else { Ok(()) }
}
