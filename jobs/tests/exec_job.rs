//! Jobs of kind `exec` with real programs.

mod fixtures;

use std::path::Path;
use std::time::Duration;

use fixtures::TestEnv;
use gristmill_core::settle::Ending;
use gristmill_jobs::exec_policy::on_path;
use gristmill_jobs::kind::exec::{ExecHandler, OUTPUT_BYTES_MAX};
use gristmill_jobs::settings::ExecSettings;
use gristmill_jobs::{Finish, Handler};
use serde_json::{Value, json};

const AGAIN: Ending = Ending::Failed { retry_after: None };

/// Settings that allow these programs, by where they are on this machine.
fn allowing(names: &[&str]) -> ExecSettings {
    let path = |name: &&str| on_path(name).expect("it is installed").display().to_string();
    ExecSettings { programs: names.iter().map(path).collect(), ..ExecSettings::default() }
}

async fn run(payload: Value) -> Finish {
    let env = TestEnv::new().await;
    let context = env.claim("exec", payload).await;
    ExecHandler::new(&allowing(&["sh", "printf", "true"])).run(context).await
}

async fn shell(script: &str) -> Finish {
    run(json!({"command": ["sh", "-c", script]})).await
}

fn error(finish: &Finish) -> &str {
    finish.error.as_deref().unwrap_or_default()
}

#[tokio::test]
async fn the_exit_code_says_whether_another_try_may_help() {
    for (code, ending) in [
        (0, Ending::Done),
        (1, AGAIN),
        (75, AGAIN),
        (127, AGAIN),
        (64, Ending::Permanent),
        (65, Ending::Permanent),
        (78, Ending::Permanent),
    ] {
        let finish = shell(&format!("exit {code}")).await;
        assert_eq!(finish.ending, ending, "{code}");
        assert!(code == 0 || error(&finish).contains(&format!("`sh` ended with exit code {code}")), "{finish:?}");
    }
}

#[tokio::test]
async fn no_secret_is_in_the_error() {
    let finish = shell("echo cannot log in: password=hunter2 at https://u:hunter2@h.example/ >&2; exit 1").await;
    assert!(error(&finish).contains("password=*** at https://***@h.example/"), "{finish:?}");
    assert!(!error(&finish).contains("hunter2"), "{finish:?}");
}

#[tokio::test]
async fn no_secret_of_a_variable_is_in_the_error_even_if_it_has_lines_or_colours() {
    let env = TestEnv::new().await;
    let script = r#"echo "$DEPLOY_KEY" >&2; printf 'pin \033[31mhunter\033[0m2 for %s\n' "$COLOUR" >&2; exit 1"#;
    let context = env.claim("exec", json!({"command": ["sh", "-c", script]})).await;
    let key = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADAN\n-----END PRIVATE KEY-----\n";
    let variables = [("DEPLOY_KEY", key), ("SESSION", "hunter2"), ("COLOUR", "crimson")];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let finish = ExecHandler::new(&ExecSettings { env: variables, ..allowing(&["sh"]) }).run(context).await;
    assert!(error(&finish).ends_with("ends with: *** *** *** pin *** for crimson"), "{finish:?}");
}

#[tokio::test]
async fn what_a_program_has_left_running_is_not_waited_for() {
    let began = std::time::Instant::now();
    for _ in 0..20 {
        let finish = shell("setsid sleep 5 >/dev/null & echo 'out of cheese' >&2; exit 1").await;
        assert!(error(&finish).contains("out of cheese"), "{finish:?}");
    }
    // Half a second for each would be ten.
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_program_may_say_that_it_is_too_early() {
    let finish = shell("echo '{\"snooze\": \"10m\"}'; echo closed >&2; exit 75").await;
    assert_eq!(finish.ending, Ending::Snoozed { wait: Duration::from_secs(600) });
    assert!(error(&finish).contains("`sh` asks to be run later") && error(&finish).contains("closed"), "{finish:?}");
    for (output, code) in [("{\"snooze\": \"10m\"}", 1), ("{\"snooze\": \"soon\"}", 75), ("{\"snooze\": 10}", 75)] {
        assert_eq!(shell(&format!("echo '{output}'; exit {code}")).await.ending, AGAIN, "{output} {code}");
    }
}

#[tokio::test]
async fn a_program_that_a_signal_has_ended_is_tried_again() {
    let finish = shell("kill -9 $$").await;
    assert_eq!(finish.ending, AGAIN);
    assert!(error(&finish).contains("signal"), "{}", error(&finish));
}

#[tokio::test]
async fn the_input_comes_in_as_one_line_of_json_and_the_output_goes_out_as_json() {
    let input = json!({"name": "ada\nlovelace", "n": [1, 2]});
    let finish = run(json!({"command": ["sh", "-c", "read -r line; printf '{\"got\":%s}' \"$line\""], "input": input}));
    let finish = finish.await;
    assert_eq!((&finish.ending, &finish.output), (&Ending::Done, &Some(json!({"got": input}))), "{finish:?}");
}

#[tokio::test]
async fn an_output_that_is_no_json_is_a_text() {
    assert_eq!(shell("echo hello; echo world").await.output, Some(json!("hello\nworld")));
    assert_eq!(shell("true").await.output, Some(json!("")));
}

#[tokio::test]
async fn no_shell_is_between_a_command_and_its_arguments() {
    let finish = run(json!({"command": ["printf", "%s", "$HOME; exit 1"]})).await;
    assert_eq!(finish.output, Some(json!("$HOME; exit 1")));
}

#[tokio::test]
async fn a_program_knows_its_job_and_its_folder() {
    let env = TestEnv::new().await;
    let script = r#"printf '["%s","%s","%s","%s","%s"]' "$GRISTMILL_JOB_ID" "$GRISTMILL_ATTEMPT" "$TRACEPARENT" "$COLOUR" "$PWD""#;
    let dir = env.folder.path().canonicalize().expect("a folder").display().to_string();
    let payload = json!({"command": ["sh", "-c", script], "env": {"COLOUR": "red"}});
    let context = env.claim("exec", payload).await;
    let job = context.job.clone();
    let colour = vec!["COLOUR".to_owned()];
    let settings = ExecSettings { dir: Some(dir.clone()), payload_env: colour, ..allowing(&["sh"]) };
    let finish = ExecHandler::new(&settings).run(context).await;
    let expected =
        json!([job.fence.job.to_string(), job.fence.attempt.to_string(), job.trace.expect("a trace"), "red", dir]);
    assert_eq!(finish.output, Some(expected));
}

#[tokio::test]
async fn the_end_of_standard_error_is_in_the_error() {
    let finish = shell("seq 1 2000 >&2; echo 'out of cheese' >&2; exit 3").await;
    let text = error(&finish);
    assert!(text.ends_with("2000 out of cheese") && text.len() < 2_200, "{text}");
}

#[tokio::test]
async fn too_much_output_is_cut_and_the_program_still_ends() {
    let finish = shell("head -c 3000000 /dev/zero | tr '\\0' x").await;
    let output = finish.output.expect("an output");
    assert_eq!(output["cut"], json!(true));
    assert_eq!(output["text"].as_str().expect("a text").len(), OUTPUT_BYTES_MAX);
}

#[tokio::test]
async fn a_program_need_not_read_its_input() {
    let finish = run(json!({"command": ["true"], "input": "x".repeat(500_000)})).await;
    assert_eq!(finish.ending, Ending::Done, "{finish:?}");
}

#[tokio::test]
async fn a_child_left_behind_does_not_hold_the_job() {
    let finish = tokio::time::timeout(Duration::from_secs(60), shell("sleep 600 & echo done")).await;
    assert_eq!(finish.expect("it ends with its program").output, Some(json!("done")));
}

#[tokio::test]
async fn only_the_programs_of_the_list_may_run_and_none_is_in_it_by_default() {
    let env = TestEnv::new().await;
    let handler = ExecHandler::new(&allowing(&["true"]));
    assert_eq!(handler.run(env.claim("exec", json!({"command": ["true"]})).await).await.ending, Ending::Done);
    let none = ExecHandler::new(&ExecSettings::default());
    for (handler, program) in [(&handler, "sh"), (&handler, "/nowhere/true"), (&handler, "./true"), (&none, "true")] {
        let finish = handler.run(env.claim("exec", json!({"command": [program, "-c", "true"]})).await).await;
        assert_eq!(finish.ending, Ending::Permanent, "{program}");
        let text = error(&finish);
        assert!(text.contains(program) && text.contains("`[exec]`") && text.contains("programs = [\"/"), "{text}");
    }
}

#[tokio::test]
async fn neither_a_folder_nor_a_variable_makes_another_program_of_an_allowed_one() {
    let env = TestEnv::new().await;
    let handler = ExecHandler::new(&allowing(&["sh"]));
    let script = "exit 0";
    for (payload, said) in [
        (json!({"command": ["sh", "-c", script], "dir": "/tmp"}), "`[exec] dir`"),
        (json!({"command": ["sh", "-c", script], "env": {"PATH": "/tmp"}}), "`PATH` cannot be set by a job"),
        (json!({"command": ["sh", "-c", script], "env": {"LD_PRELOAD": "/tmp/x.so"}}), "`LD_PRELOAD` cannot"),
        (json!({"command": ["sh", "-c", script], "env": {"BASH_ENV": "/tmp/x"}}), "`BASH_ENV` cannot"),
        (json!({"command": ["sh", "-c", script], "env": {"COLOUR": "red"}}), "payload_env = [\"COLOUR\"]"),
    ] {
        let finish = handler.run(env.claim("exec", payload.clone()).await).await;
        assert_eq!(finish.ending, Ending::Permanent, "{payload}");
        assert!(error(&finish).contains(said), "{payload}: {}", error(&finish));
    }
}

#[tokio::test]
async fn a_program_gets_nothing_of_the_workers_environment_but_what_is_named() {
    let env = TestEnv::new().await;
    let settings = ExecSettings { inherit: vec!["PATH".to_owned()], ..allowing(&["sh"]) };
    let context = env.claim("exec", json!({"command": ["sh", "-c", "env | cut -d= -f1 | sort | tr '\\n' ' '"]})).await;
    let finish = ExecHandler::new(&settings).run(context).await;
    let output = finish.output.expect("an output");
    let names: Vec<&str> = output.as_str().expect("a text").split_whitespace().collect();
    // `PWD`, `_` and `SHLVL` are a shell's own.
    let others: Vec<&&str> = names.iter().filter(|name| !["PWD", "_", "SHLVL", "OLDPWD"].contains(*name)).collect();
    assert_eq!(others, [&"GRISTMILL_ATTEMPT", &"GRISTMILL_JOB_ID", &"PATH", &"TRACEPARENT"]);
}

#[tokio::test]
async fn what_cannot_be_started_says_why() {
    let env = TestEnv::new().await;
    let absent = ExecSettings { programs: vec!["/nowhere/no-such-program".to_owned()], ..ExecSettings::default() };
    let absent = ExecHandler::new(&absent).run(env.claim("exec", json!({"command": ["no-such-program"]})).await).await;
    assert_eq!(absent.ending, AGAIN);
    assert!(error(&absent).contains("`no-such-program` cannot be started"), "{}", error(&absent));
    let nowhere = ExecSettings { dir: Some("/no/such/folder".to_owned()), ..allowing(&["true"]) };
    let nowhere = ExecHandler::new(&nowhere).run(env.claim("exec", json!({"command": ["true"]})).await).await;
    assert!(error(&nowhere).contains("/no/such/folder"), "{}", error(&nowhere));
    let empty = run(json!({"command": []})).await;
    assert_eq!(empty.ending, Ending::Permanent);
    assert!(error(&empty).contains("`command` is empty"), "{}", error(&empty));
}

/// A program that starts another one, writes down its process id and waits.
fn with_child(file: &Path) -> Value {
    let script = format!("sleep 600 & echo $! > {0}.part; mv {0}.part {0}; wait", file.display());
    json!({"command": ["sh", "-c", script]})
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), waiting).await.unwrap_or_else(|_| panic!("not {what} in time"));
}

async fn until_ended(file: &Path) {
    let pid = std::fs::read_to_string(file).expect("the shell has written it");
    let status = format!("/proc/{}/stat", pid.trim());
    // A killed process stays a zombie until its new parent reaps it.
    until("ended", || std::fs::read_to_string(&status).map_or(true, |stat| stat.contains(") Z "))).await;
}

#[tokio::test]
async fn a_cancelled_attempt_ends_the_program_and_all_that_it_has_started() {
    let env = TestEnv::new().await;
    let file = env.folder.path().join("child");
    let context = env.claim("exec", with_child(&file)).await;
    let cancel = context.cancel.clone();
    let running =
        tokio::spawn(async move { ExecHandler::new(&allowing(&["sh", "printf", "true"])).run(context).await });
    until("started", || file.exists()).await;
    cancel.cancel();
    let finish = running.await.expect("ran");
    assert_eq!(finish.ending, AGAIN);
    assert!(error(&finish).contains("was ended before it was through"), "{}", error(&finish));
    until_ended(&file).await;
}

#[tokio::test]
async fn an_attempt_that_is_over_time_ends_the_program_and_all_that_it_has_started() {
    let env = TestEnv::new().await;
    let file = env.folder.path().join("child");
    let context = env.claim("exec", with_child(&file)).await;
    let running =
        tokio::spawn(async move { ExecHandler::new(&allowing(&["sh", "printf", "true"])).run(context).await });
    until("started", || file.exists()).await;
    // A worker drops the attempt at its deadline.
    running.abort();
    assert!(running.await.expect_err("dropped").is_cancelled());
    until_ended(&file).await;
}

#[tokio::test]
async fn a_program_that_leaves_a_daemon_behind_is_done_when_it_ends() {
    // The daemon is in a session of its own, so that it is not ended with the program, and it holds all three pipes open.
    let script = "setsid sh -c 'while sleep 0.05; do echo late; echo late >&2; done' & echo '\"parent done\"'";
    let started = std::time::Instant::now();
    let finish = run(json!({"command": ["sh", "-c", script], "input": "x".repeat(500_000)})).await;
    assert_eq!((&finish.ending, &finish.output), (&Ending::Done, &Some(json!("parent done"))), "{finish:?}");
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    let failed = shell("setsid sleep 30 & echo 'out of cheese' >&2; exit 3").await;
    assert!(failed.ending == AGAIN && error(&failed).contains("out of cheese"), "{failed:?}");
}

#[tokio::test]
async fn all_that_a_program_wrote_before_its_end_is_its_output_whoever_holds_the_pipe() {
    // Less than a pipe holds, so that the program need not wait for its reader.
    let script = "setsid sleep 30 & head -c 60000 /dev/zero | tr '\\0' x";
    for _ in 0..20 {
        let output = shell(script).await.output.expect("an output");
        assert_eq!(output.as_str().map(str::len), Some(60_000));
    }
}
