//! What the real binary refuses and hides: programs, templates, secrets, and files that others could read.

use std::os::unix::fs::PermissionsExt;

use crate::place::Place;

#[test]
fn no_program_runs_that_the_configuration_does_not_name_and_the_error_says_what_to_write() {
    let place = Place::new();
    let enqueue = |program: &str| {
        let payload = serde_json::json!({ "command": [program, "hello"] }).to_string();
        let output = place.run(&["enqueue", "exec", "--payload", &payload, "--wait=4m", "--json"]);
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    };
    let refused = enqueue("echo");
    assert!(refused.contains("`[exec]`") && refused.contains("/echo"), "{refused}");
    place.write("config.toml", "[exec]\nprograms = [\"/bin/echo\"]\n");
    for program in ["echo", "/bin/echo"] {
        let ran = enqueue(program);
        assert!(ran.contains("hello") && !ran.contains("is not allowed"), "{ran}");
    }
    for (programs, said) in [("*", "every program"), ("echo", "`/")] {
        place.write("config.toml", &format!("[exec]\nprograms = [\"{programs}\"]\n"));
        let refused = place.expect(9, &["check"]);
        assert!(refused.contains("exec.programs") && refused.contains(said), "{refused}");
    }
    place.write("config.toml", "[exec]\nprograms = []\npayload_env = [\"LD_PRELOAD\", \"1A\"]\n");
    let refused = place.expect(9, &["check"]);
    assert!(refused.contains("`LD_PRELOAD` could change") && refused.contains("`1A` is not the name"), "{refused}");
}

#[test]
fn check_refuses_templates_that_let_a_value_decide_and_hooks_without_a_payload() {
    let place = Place::new();
    let hook = "[hook.h]\nsecret_env = \"S\"\n";
    for (text, said) in [
        (format!("{hook}job = {{ kind = \"exec\" }}\n"), "needs a `payload`"),
        (format!("{hook}job = {{ kind = \"http\" }}\n"), "needs a `payload`"),
        (format!("{hook}job = {{ kind = \"webhook\" }}\n"), "needs a `payload`"),
        (
            format!("{hook}job = {{ kind = \"exec\", payload = {{ command = [\"sh\", \"-c\", \"x {{{{ event.body.x }}}}\"] }} }}\n"),
            "where `sh` reads what to do",
        ),
        (
            format!("{hook}job = {{ kind = \"http\", payload = {{ url = \"https://{{{{ event.body.x }}}}/\" }} }}\n"),
            "scheme and host",
        ),
        (
            "[schedule.s]\nevery = \"1h\"\njob = { kind = \"x\", payload = { a = \"{{ nobody }}\" } }\n".to_owned(),
            "there is no `nobody`",
        ),
        (
            "[batch.b]\nsource = { sql = { url = \"sqlite://a.db\", query = \"select \\\"{{ params.x }}\\\"\", key = \"id\" } }\n"
                .to_owned(),
            "cannot be used in a name",
        ),
    ] {
        place.write("config.toml", &text);
        let refused = place.expect(9, &["check"]);
        assert!(refused.contains(said), "{text}\n{refused}");
    }
}

#[test]
fn secrets_are_shown_nowhere() {
    let place = Place::new();
    place.write(
        "config.toml",
        "[batch.b]\nsource = { csv = \"a.csv\" }\nprocess = { http = { url = \"https://u:hunter2@h.example/\", \
         headers = { X-Api-Key = \"hunter2\", Accept = \"text/plain\" } } }\n\
         [schedule.s]\nevery = \"1h\"\njob = { kind = \"exec\", payload = { command = [\"x\", \"--token=hunter2\"] } }\n",
    );
    let shown = place.expect(0, &["config", "show"]);
    assert!(!shown.contains("hunter2") && shown.contains("text/plain") && shown.contains("--token=***"), "{shown}");
    for url in ["postgres://u:hunter2@h:port/d", "postgres://u:hunter2@[::1/d", "mysql://u:hunter2@h/d", "u:hunter2@h"]
    {
        for args in [&["queue", "list"][..], &["queue", "list", "--json"], &["check"], &["doctor"]] {
            let args: Vec<&str> = ["--store", url].iter().chain(args).copied().collect();
            let output = place.run(&args);
            assert_ne!(output.status.code(), Some(0), "{args:?}");
            let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
            assert!(!said.contains("hunter2"), "{args:?}: {said}");
        }
    }
    place.write("misplaced.toml", "store = \"postgres://u:hunter2@h/d\"\n");
    let misplaced = place.expect(9, &["--config", "misplaced.toml", "check"]);
    assert!(misplaced.contains("`store`") && !misplaced.contains("hunter2"), "{misplaced}");
    let output = place.run(&["--store", "postgres://u:hunter2@127.0.0.1:1/d", "queue", "list"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("list of processes") && said.contains("GRISTMILL_STORE_URL"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn what_a_program_says_is_in_its_job_and_not_in_the_log() {
    let place = Place::new();
    place.write("config.toml", "[exec]\nprograms = [\"/bin/sh\"]\n[kind.exec]\nmax_attempts = 1\n");
    let payload = r#"{"command": ["sh", "-c", "echo hunter2 >&2; exit 64"]}"#;
    let enqueued = place.json(0, &["enqueue", "exec", "--payload", payload, "--json"]);
    let id = enqueued["job"]["id"].as_str().expect("an id").to_owned();
    let work = r#"{"command": ["sh", "-c", "exit 0"]}"#;
    let output = place.run(&["enqueue", "exec", "--payload", work, "--wait=4m"]);
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(log.contains("job is dead") && !log.contains("hunter2"), "{log}");
    let job = place.json(0, &["job", "show", &id, "--json"]);
    assert!(job["error"].as_str().is_some_and(|error| error.contains("hunter2")), "{job}");
}

#[test]
fn another_broker_in_the_clear_is_warned_of() {
    let place = Place::new();
    let output = place.run(&["--broker", "amqp://mq.example.com/%2f", "check"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("`broker.url`") && said.contains("amqps://"), "{said}");
    let output = place.run(&["--broker", "amqp://127.0.0.1/%2f", "check"]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("amqps://"));
}

#[test]
fn files_are_their_users_alone_and_the_default_store_lies_beside_its_configuration() {
    let place = Place::with_batch();
    let elsewhere = tempfile::tempdir().expect("a folder");
    let config = place.path().join("config.toml").display().to_string();
    let run =
        place.command(&["--config", &config, "batch", "run", "sales", "--wait"]).current_dir(elsewhere.path()).output();
    let run = run.expect("started");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    assert!(place.path().join("gristmill.db").is_file() && !elsewhere.path().join("gristmill.db").exists());
    let mut found = 0;
    let mut folders = vec![place.path().join("out"), place.path().join("mail")];
    let mut check = |path: &std::path::Path, expected: u32| {
        let mode = std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
        assert_eq!(mode, expected, "{}", path.display());
        found += 1;
    };
    check(&place.path().join("gristmill.db"), 0o600);
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        check(&folder, 0o700);
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_dir() { folders.push(path) } else { check(&path, 0o600) }
        }
    }
    assert!(found > 3, "outputs were looked at");
}
