//! A mailing from its list to its funnel, while its server misbehaves and its workers are killed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Instant;

use gristmill_testkit::smtp::{FakeSmtp, Mail};
use gristmill_tests::place::{On, Place};
use gristmill_tests::program::{PATIENCE, Program};
use serde_json::Value;

/// How many recipients each mailing has.
const RECIPIENTS: usize = 2_000;

/// Of so many, one has no address.
const BAD_EVERY: usize = 100;

/// Of a hundred messages, so many are put off by the server, or taken without an answer.
const BAD_OF_HUNDRED: u64 = 6;

/// The seed of what the server does.
const SEED: u64 = 7;

fn config(place: &Place, port: u16) -> std::path::PathBuf {
    let path = place.file("config.toml");
    let text = format!(
        "[mail]\nurl = \"smtp://127.0.0.1:{port}\"\nstarttls = \"never\"\nfrom = \"Mill <mill@example.com>\"\n\
         connections = 8\n\n[batch.news]\nsource = {{ csv = \"people.csv\" }}\nchunk = 100\nfailure_budget = \"5%\"\n\n\
         [batch.news.mail]\nto = \"email\"\nname = \"name\"\nsubject = \"Hello {{{{ name }}}}\"\n\
         text = \"Dear {{{{ name }}}}, this is number {{{{ n }}}}.\"\n"
    );
    std::fs::write(&path, text).expect("written");
    path
}

/// Writes the list, and returns the good addresses.
fn list(place: &Place) -> Vec<String> {
    let (mut text, mut good) = ("email,name,n\n".to_owned(), Vec::new());
    for n in 0..RECIPIENTS {
        let address = if n % BAD_EVERY == 3 { "nobody".to_owned() } else { format!("p{n}@example.org") };
        writeln!(text, "{address},Person {n},{n}").expect("a text");
        if address.contains('@') {
            good.push(address);
        }
    }
    std::fs::write(place.file("people.csv"), text).expect("written");
    good
}

/// Waits until the server has taken so many messages.
fn until_taken(smtp: &FakeSmtp, messages: usize) {
    let start = Instant::now();
    while smtp.mail().values().map(|mail| mail.taken as usize).sum::<usize>() < messages {
        assert!(start.elapsed() < PATIENCE, "the server never had {messages} messages");
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    }
}

/// Everybody has it; who has it twice has it because an answer never came, and is marked.
fn nobody_lost_nobody_twice(program: &Program<'_>, batch: &str, mail: &BTreeMap<String, Mail>, good: &[String]) {
    let missing: Vec<&String> = good.iter().filter(|address| !mail.contains_key(*address)).collect();
    assert!(missing.is_empty(), "{} of {} did not get it: {missing:?}", missing.len(), good.len());
    let strange: Vec<&String> = mail.keys().filter(|address| !good.contains(address)).collect();
    assert!(strange.is_empty(), "who are {strange:?}?");
    for (address, mail) in mail.iter().filter(|(_, mail)| mail.taken > 1) {
        assert!(
            mail.ids.windows(2).all(|ids| ids[0] == ids[1]),
            "{address} got two different messages: {:?}",
            mail.ids
        );
        let listed = program.json(&["mail", "list", "--address", address]);
        let key = listed[0]["key"].as_str().expect("a key");
        assert_eq!(listed[0]["batch"], batch);
        let shown = program.json(&["mail", "show", key]);
        assert_eq!(shown["recipients"][0]["may_be_twice"], true, "{address} got it twice and is not marked: {shown:#}");
    }
}

/// Tries what was put off again, until the batch has ended.
fn until_ended(program: &Program<'_>, batch: &str) -> Value {
    let start = Instant::now();
    loop {
        let shown = program.json(&["batch", "show", batch]);
        if shown["batch"]["finished_at"].is_string() {
            return shown;
        }
        assert!(
            start.elapsed() < PATIENCE,
            "it has not ended: {shown:#} {:#}",
            program.json(&["mail", "stats", "--batch", batch])
        );
        program.ok(&["mail", "resend", "--batch", batch]);
        std::thread::park_timeout(std::time::Duration::from_millis(500));
    }
}

/// Runs a mailing on a server that misbehaves, and kills a worker each time so many messages have been taken.
#[expect(clippy::print_stdout, reason = "the harness keeps it, but for who asks for the figures")]
fn mailed(on: On, kills: &[usize]) {
    let place = Place::new(on);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let smtp = runtime.block_on(FakeSmtp::unreliable(SEED, BAD_OF_HUNDRED));
    let good = list(&place);
    let program = Program::with_config(&place, config(&place, smtp.port));
    let _scheduler = program.start(&["scheduler"]);
    let mut worker = program.start(&["worker"]);
    let started = program.json(&["batch", "run", "news"]);
    let batch = started["batch"]["id"].as_str().expect("an id").to_owned();
    for messages in kills {
        until_taken(&smtp, *messages);
        worker.kill();
        worker = program.start(&["worker"]);
    }
    until_taken(&smtp, good.len() * 9 / 10);
    smtp.heal();
    let ended = until_ended(&program, &batch);
    assert_eq!(ended["batch"]["state"], "complete", "{ended:#}");
    let (counts, funnel) = (&ended["batch"]["counts"], &ended["result"]["mail"]);
    let bad = (RECIPIENTS - good.len()) as u64;
    assert_eq!((counts["ok"].as_u64(), counts["quarantined"].as_u64()), (Some(good.len() as u64), Some(bad)));
    assert_eq!(funnel["made"].as_u64(), Some(good.len() as u64), "{funnel:#}");
    assert_eq!(funnel["accepted"].as_u64(), Some(good.len() as u64), "{funnel:#}");
    assert_eq!(ended["result"]["mail"], program.json(&["batch", "show", &batch])["result"]["mail"]);
    nobody_lost_nobody_twice(&program, &batch, &smtp.mail(), &good);
    let doubled = smtp.mail().values().filter(|mail| mail.taken > 1).count();
    println!("{} recipients, {doubled} of them twice and marked; seed {SEED}", good.len());
}

#[test]
fn a_mailing_reaches_everybody_once_on_sqlite_while_its_workers_are_killed() {
    mailed(On::Sqlite, &[100, 700, 1_300]);
}

#[test]
fn a_mailing_reaches_everybody_once_on_postgresql_while_its_workers_are_killed() {
    mailed(On::Postgres, &[1, 500, 1_000, 1_500]);
}

#[test]
fn a_mailing_reaches_everybody_once_on_postgresql_and_rabbitmq_while_its_workers_are_killed() {
    mailed(On::PostgresAndRabbit, &[300, 900]);
}
