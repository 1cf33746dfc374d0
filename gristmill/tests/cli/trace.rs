//! One trace from the command to the last webhook.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::thread;

use gristmill::model::trace::TraceContext;
use sqlx::{Connection, SqliteConnection};

use crate::place::{MAIL, Place};

const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// The traces of all jobs in a place, by their ids, and how many jobs carry one.
fn traces(place: &Place) -> (BTreeSet<u128>, Vec<String>) {
    let url = format!("sqlite://{}", place.path().join("gristmill.db").display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let rows: Vec<(String, Option<String>)> = runtime.block_on(async {
        let mut connection = SqliteConnection::connect(&url).await.expect("connected");
        sqlx::query_as("SELECT kind, trace FROM job ORDER BY id").fetch_all(&mut connection).await.expect("rows")
    });
    let ids = rows.iter().map(|(kind, trace)| {
        let trace = trace.as_deref().and_then(TraceContext::parse);
        trace.unwrap_or_else(|| panic!("a job of kind {kind} has no trace")).trace_id
    });
    (ids.collect(), rows.iter().map(|(kind, _)| kind.clone()).collect())
}

/// Answers one request, and returns its head.
fn hook() -> (String, thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
    let answering = thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a request");
        let mut reader = BufReader::new(stream);
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).expect("a line");
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            head.push(line);
        }
        let length = head.iter().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        reader.read_exact(&mut body).expect("the body");
        reader.get_mut().write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").expect("answered");
        head
    });
    (url, answering)
}

#[test]
fn a_batch_its_chunks_its_aggregate_and_what_it_sends_are_one_trace() {
    let place = Place::with_batch();
    let (url, answering) = hook();
    let config = std::fs::read_to_string(place.path().join("config.toml")).expect("the configuration");
    let hooked =
        config.replace("\"ops@example.com\" } }]", &format!("\"ops@example.com\" }} }}, {{ webhook = \"{url}\" }}]"));
    place.write("config.toml", &format!("{hooked}\n[webhook]\nallow_private = true\n"));
    let mut run = place.command(&["batch", "run", "sales", "--wait"]);
    assert!(run.env("TRACEPARENT", GIVEN).output().expect("started").status.success());

    let (traces, kinds) = traces(&place);
    let given = TraceContext::parse(GIVEN).expect("a trace context");
    assert_eq!(traces, BTreeSet::from([given.trace_id]));
    for kind in ["chunk", "aggregate", "email", "webhook"] {
        assert!(kinds.iter().any(|known| known == kind), "{kind} is missing in {kinds:?}");
    }
    let head = answering.join().expect("one request");
    let sent = head.iter().find_map(|line| TraceContext::parse(line.strip_prefix("traceparent: ")?));
    let sent = sent.unwrap_or_else(|| panic!("no `traceparent` in {head:?}"));
    assert_eq!(sent.trace_id, given.trace_id);
    assert_ne!(sent.span_id, given.span_id, "the attempt is a span of its own");
}

#[test]
fn a_command_that_nobody_traces_begins_a_trace_of_its_own() {
    let place = Place::with_batch();
    place.expect(0, &["enqueue", "email", "--payload", MAIL, "--in", "1h"]);
    place.write("mails.jsonl", &format!("{{\"payload\":{MAIL},\"in\":\"1h\"}}\n").repeat(2));
    place.expect(0, &["enqueue", "email", "--jsonl", "mails.jsonl"]);
    assert_eq!(traces(&place).0.len(), 2, "one trace for each command");
    place.expect(0, &["batch", "run", "sales", "--wait"]);
    assert_eq!(traces(&place).0.len(), 3);
}
