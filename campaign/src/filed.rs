//! A watched folder: what is put into it while the processes die, and what must have become of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::env::TestEnv;
use crate::oracle::{Verdict, broken, must};
use gristmill_testkit::Random;

/// Between two files.
const BREATH: Duration = Duration::from_millis(40);

/// How often a run is started before it has failed, when its planner dies each time.
const TRIES: i32 = 3;

/// The folder, and what each of its files starts.
pub(crate) const DEFINITION: &str = r#"
[batch.filed]
source = { csv = "none.csv" }
chunk = 7
max_attempts = 60
retry = { fixed = "100ms" }
parse = { id = "integer" }
aggregate = { rows = "count", total = { sum = "id" } }

[watch.inbox]
folder = "inbox"
pattern = "*.csv"
settle = "0s"
batch = "filed"
"#;

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filed {
    name: String,
    text: String,
    ids: Vec<u64>,
}

impl Filed {
    fn sha256(&self) -> String {
        hex::encode(Sha256::digest(&self.text))
    }
}

/// The files of a seed. About one in four has the content of one before it.
pub(crate) fn files(seed: u64, count: u64) -> Vec<Filed> {
    let mut random = Random::new(seed ^ 0x6669_6c65);
    let mut files: Vec<Filed> = Vec::new();
    for number in 0..count {
        let name = format!("file-{number}.csv");
        let file = if !files.is_empty() && random.percent(25) {
            Filed { name, ..random.pick(&files).clone() }
        } else {
            let ids: Vec<u64> = (0..random.between(1, 30)).map(|row| number * 1_000 + row).collect();
            let lines = ids.iter().map(|id| format!("{id}\n"));
            Filed { name, text: lines.fold("id\n".to_owned(), |text, line| text + &line), ids }
        };
        files.push(file);
    }
    files
}

/// Puts the files into the folder one after the other, each complete when its name appears.
pub(crate) async fn deliver(folder: PathBuf, files: Vec<Filed>) -> Result<(), String> {
    let inbox = folder.join("inbox");
    for file in files {
        let part = inbox.join(format!("{}.part", file.name));
        std::fs::write(&part, &file.text)
            .and_then(|()| std::fs::rename(&part, inbox.join(&file.name)))
            .map_err(|error| format!("{}: {error}", part.display()))?;
        tokio::time::sleep(BREATH).await;
    }
    Ok(())
}

/// How many files are still on their way.
pub(crate) fn under_way(env: &TestEnv) -> i64 {
    let inbox = env.file("inbox");
    // A link is what a restart would read by; it is no file of anybody's.
    let left = [inbox.clone(), inbox.join("working")].map(|folder| regular(&folder).len());
    i64::try_from(left.iter().sum::<usize>()).unwrap_or(i64::MAX)
}

fn regular(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file())).map(|entry| entry.path()).collect()
}

gristmill_store::row! {
    #[derive(Debug)]
    struct Run {
        event: String,
        outcome: String,
        tries: i32,
        active: bool,
        /// The rest is of its batch, where it has one.
        state: Option<String>,
        input: Option<i64>,
        ok: Option<i64>,
        chunks_dead: Option<i64>,
        result: Option<String>,
    }
}

/// Each content has run exactly once, whole, and each file lies where it should.
pub(crate) async fn judge(env: &TestEnv, files: &[Filed]) -> Verdict {
    let query = "SELECT t.event, t.outcome, t.tries, t.active, b.state, b.input, b.ok, b.chunks_dead, b.result
                 FROM schedule_tick t LEFT JOIN batch b ON b.id = t.batch_id WHERE t.schedule = 'watch/inbox'";
    let runs: Vec<Run> = sqlx::query_as(query).fetch_all(&env.pool).await.map_err(broken)?;
    let mut contents: BTreeMap<String, &Filed> = files.iter().map(|file| (file.sha256(), file)).collect();
    let (mut ran, mut lost) = (0, BTreeSet::new());
    for run in &runs {
        let file =
            contents.remove(&run.event).ok_or_else(|| format!("{run:?} is of no file, or the second of its file"))?;
        must(!run.active, || format!("{run:?} is said to go on"))?;
        match run.outcome.as_str() {
            "ran" => {
                whole(run, file)?;
                ran += 1;
            }
            "failed" if run.tries >= TRIES => drop(lost.insert(run.event.clone())),
            _ => return Err(format!("{run:?} of {}", file.name)),
        }
    }
    must(contents.is_empty(), || format!("never taken: {:?}", contents.values().map(|file| &file.name)))?;
    let complete = "SELECT count(*) FROM batch WHERE name = 'filed' AND state <> 'cancelled'";
    let complete: i64 = sqlx::query_scalar(complete).fetch_one(&env.pool).await.map_err(broken)?;
    must(complete == ran, || format!("{ran} files have run, in {complete} batches"))?;
    // Chunks of a batch whose planner died may be done. Nothing is made of them.
    let made = "SELECT count(*) FROM batch b WHERE b.name = 'filed' AND b.state = 'cancelled' AND (b.result IS NOT NULL
                  OR EXISTS (SELECT 1 FROM job j WHERE j.batch_id = b.id AND j.kind = 'aggregate'))";
    let made: i64 = sqlx::query_scalar(made).fetch_one(&env.pool).await.map_err(broken)?;
    must(made == 0, || format!("{made} batches that were taken back have an aggregate"))?;
    places(&env.file("inbox"), files, &lost)
}

fn whole(run: &Run, file: &Filed) -> Verdict {
    let rows = file.ids.len() as i64;
    let counted = (run.state.as_deref(), run.input, run.ok, run.chunks_dead);
    must(counted == (Some("complete"), Some(rows), Some(rows), Some(0)), || format!("{run:?} of {rows} rows"))?;
    let result: Value = serde_json::from_str(run.result.as_deref().unwrap_or("null")).unwrap_or_default();
    let total: u64 = file.ids.iter().sum();
    let is = |value: &Value, right: u64| value.as_u64() == Some(right) || value.as_str() == Some(&right.to_string());
    must(is(&result["rows"], rows.unsigned_abs()) && is(&result["total"], total), || {
        format!("{} gave {result}, not {rows} rows and {total}", file.name)
    })
}

/// Every file is in `done`, or in `failed` when its run could not be started; each once, and with its own content.
fn places(inbox: &Path, files: &[Filed], lost: &BTreeSet<String>) -> Verdict {
    let mut put: Vec<String> = files.iter().map(Filed::sha256).collect();
    let mut found = Vec::new();
    for folder in ["done", "failed"] {
        for path in regular(&inbox.join(folder)) {
            if path.to_string_lossy().contains(".note") {
                continue;
            }
            let bytes = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            let hash = hex::encode(Sha256::digest(&bytes));
            must(folder == "done" || lost.contains(&hash), || format!("{} has run", path.display()))?;
            found.push(hash);
        }
    }
    put.sort_unstable();
    found.sort_unstable();
    must(put == found, || format!("{} files were put there, and {} are put away", put.len(), found.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_follow_from_their_seed_and_some_have_the_same_content() {
        assert_eq!(files(7, 12), files(7, 12));
        let contents = |seed| files(seed, 12).iter().map(Filed::sha256).collect::<BTreeSet<_>>().len();
        assert!((1..20).any(|seed| contents(seed) < 12) && (1..20).all(|seed| contents(seed) > 1));
    }

    #[test]
    fn a_file_that_is_missing_twice_there_or_changed_is_seen() {
        let folder = tempfile::tempdir().expect("a folder");
        let (inbox, put) = (folder.path(), files(3, 4));
        let done = inbox.join("done");
        std::fs::create_dir(&done).expect("a folder");
        put.iter().for_each(|file| std::fs::write(done.join(&file.name), &file.text).expect("written"));
        assert_eq!(places(inbox, &put, &BTreeSet::new()), Ok(()));
        std::fs::write(done.join("file-0.1.csv"), &put[0].text).expect("written");
        places(inbox, &put, &BTreeSet::new()).expect_err("twice");
        std::fs::remove_file(done.join("file-0.csv")).expect("there");
        assert_eq!(places(inbox, &put, &BTreeSet::new()), Ok(()));
        std::fs::write(done.join("file-0.1.csv"), "id\n").expect("written");
        places(inbox, &put, &BTreeSet::new()).expect_err("another content");
    }
}
