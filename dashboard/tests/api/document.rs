//! The OpenAPI document: it says what is there, and what it says holds.

use std::collections::BTreeSet;

use gristmill_dashboard::api::routes;
use serde_json::{Value, json};

use crate::env;

async fn document() -> Value {
    let answer = env::open().await.get("/api/v1/openapi.json").await;
    assert_eq!(answer.status, 200);
    answer.body
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get("$ref") {
                found.insert(reference.clone());
            }
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[tokio::test]
async fn every_endpoint_is_in_the_document_and_nothing_else() {
    let document = document().await;
    assert!(document["openapi"].as_str().expect("a version").starts_with("3.1"));
    let mut documented = BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        documented.extend(item.as_object().expect("methods").keys().map(|method| format!("{method} {path}")));
    }
    let routes = routes();
    let known: BTreeSet<String> =
        routes.endpoints().map(|endpoint| format!("{} {}", endpoint.method.to_lowercase(), endpoint.path)).collect();
    assert_eq!(documented, known);
    let operations: Vec<&Value> = document["paths"]
        .as_object()
        .expect("paths")
        .values()
        .flat_map(|item| item.as_object().expect("methods").values())
        .collect();
    let ids: BTreeSet<&str> =
        operations.iter().map(|operation| operation["operationId"].as_str().expect("an id")).collect();
    assert_eq!(ids.len(), operations.len(), "each has an id of its own");
    assert!(operations.iter().all(|operation| operation["summary"].as_str().is_some_and(|text| text.len() > 5)));
}

#[tokio::test]
async fn every_documented_address_is_one_of_the_router() {
    let env = env::open().await;
    let document = env.get("/api/v1/openapi.json").await.body;
    for (path, item) in document["paths"].as_object().expect("paths") {
        let filled =
            path.split('/').map(|part| if part.starts_with('{') { "7" } else { part }).collect::<Vec<_>>().join("/");
        let allowed = env.send("OPTIONS", &filled, &[], b"").await;
        assert_eq!(allowed.status, 405, "{path} is an address, and has no OPTIONS");
        let allowed: BTreeSet<String> =
            allowed.header("allow").expect("methods").split(',').map(str::to_lowercase).collect();
        let said: BTreeSet<String> = item.as_object().expect("methods").keys().cloned().collect();
        let own: BTreeSet<String> = allowed.into_iter().filter(|method| method != "head").collect();
        assert_eq!(own, said, "{path}");
    }
}

#[tokio::test]
async fn every_schema_that_is_referred_to_is_there() {
    let document = document().await;
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > 20, "{found:?}");
    for reference in found {
        let pointer = reference.trim_start_matches('#');
        assert!(document.pointer(pointer).is_some(), "{reference} is nowhere");
    }
}

#[tokio::test]
async fn answers_are_as_the_document_says() {
    let env = env::open().await;
    let document = env.get("/api/v1/openapi.json").await.body;
    let id = env.enqueue(&json!({ "kind": "note", "in": "1h", "payload": { "x": [1, null] } })).await;
    let batch = env.post("/api/v1/batches", &json!({ "name": "retail" })).await.data()["batch"]["id"].clone();
    let batch = batch.as_str().expect("an id");
    let schedule = json!({ "name": "hourly", "spec": { "every": "1h", "job": { "kind": "report" } } });
    assert_eq!(env.post("/api/v1/schedules", &schedule).await.status, 201);
    for (path, template) in [
        ("/api/v1/jobs".to_owned(), "/api/v1/jobs"),
        (format!("/api/v1/jobs/{id}"), "/api/v1/jobs/{job}"),
        ("/api/v1/batches".to_owned(), "/api/v1/batches"),
        (format!("/api/v1/batches/{batch}"), "/api/v1/batches/{batch}"),
        (format!("/api/v1/batches/{batch}/chunks"), "/api/v1/batches/{batch}/chunks"),
        ("/api/v1/queues".to_owned(), "/api/v1/queues"),
        ("/api/v1/history?by=kind".to_owned(), "/api/v1/history"),
        ("/api/v1/schedules".to_owned(), "/api/v1/schedules"),
        ("/api/v1/schedules/hourly".to_owned(), "/api/v1/schedules/{schedule}"),
        ("/api/v1/schedules/hourly/next".to_owned(), "/api/v1/schedules/{schedule}/next"),
        ("/api/v1/me".to_owned(), "/api/v1/me"),
        ("/api/v1/audit".to_owned(), "/api/v1/audit"),
        ("/api/v1/audit/1".to_owned(), "/api/v1/audit/{number}"),
        ("/api/v1/version".to_owned(), "/api/v1/version"),
        ("/api/v1/system/size".to_owned(), "/api/v1/system/size"),
        ("/api/v1/system/migrations".to_owned(), "/api/v1/system/migrations"),
    ] {
        let answer = env.get(&path).await;
        let mut schema =
            document["paths"][template]["get"]["responses"]["200"]["content"]["application/json"]["schema"].clone();
        schema["components"] = document["components"].clone();
        let validator = jsonschema::validator_for(&schema).unwrap_or_else(|error| panic!("{template}: {error}"));
        let wrong: Vec<String> =
            validator.iter_errors(&answer.body).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert_eq!(wrong, Vec::<String>::new(), "{template}: {}", answer.text);
    }
    let refused = env.get("/api/v1/jobs?limit=0").await;
    let mut schema = document["components"]["schemas"]["Error"].clone();
    schema["components"] = document["components"].clone();
    assert!(jsonschema::validator_for(&schema).expect("a schema").is_valid(&refused.body), "{}", refused.text);
}

/// What stands for the variable parts of paths, in an environment where it is there.
async fn there(env: &env::TestEnv) -> Vec<(&'static str, String)> {
    let job = env.enqueue(&json!({ "kind": "note", "in": "1h" })).await;
    let batch = env.post("/api/v1/batches", &json!({ "name": "retail" })).await.data()["batch"]["id"].clone();
    let schedule = json!({ "name": "hourly", "spec": { "every": "1h", "job": { "kind": "report" } } });
    assert_eq!(env.post("/api/v1/schedules", &schedule).await.status, 201);
    let batch = batch.as_str().expect("an id").to_owned();
    vec![
        ("{job}", job),
        ("{batch}", batch),
        ("{schedule}", "hourly".to_owned()),
        ("{limit}", "crm".to_owned()),
        ("{definition}", "retail".to_owned()),
    ]
}

#[tokio::test]
async fn every_example_fits_its_schema_and_is_understood() {
    let env = env::open().await;
    let document = env.get("/api/v1/openapi.json").await.body;
    let there = there(&env).await;
    let mut carried_out = BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("methods") {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            let Some(name) = schema["$ref"].as_str().map(|reference| reference.trim_start_matches('#')) else {
                continue;
            };
            let mut schema = document.pointer(name).expect("a schema").clone();
            let example = schema["examples"][0].clone();
            assert!(example.is_object(), "{name} has an example");
            schema["components"] = document["components"].clone();
            let validator = jsonschema::validator_for(&schema).unwrap_or_else(|error| panic!("{name}: {error}"));
            let wrong: Vec<String> = validator.iter_errors(&example).map(|error| error.to_string()).collect();
            assert_eq!(wrong, Vec::<String>::new(), "{name}: {example}");
            let filled = there.iter().fold(path.clone(), |path, (part, value)| path.replace(part, value));
            let reasoned =
                operation["parameters"].as_array().is_some_and(|all| all.iter().any(|one| one["name"] == "reason"));
            let filled = filled.replace(['{', '}'], "") + if reasoned { "?reason=an%20example" } else { "" };
            let body = example.to_string();
            let headers = [("content-type", "application/json")];
            let answer = env.send(&method.to_uppercase(), &filled, &headers, body.as_bytes()).await;
            // Of what is not there, or not open to a caller without an account, it is known as well that it was read.
            assert!(
                matches!(answer.status, 200..=299 | 401 | 403 | 404 | 409 | 410),
                "{method} {filled} {example}: {}",
                answer.text
            );
            if answer.status < 300 {
                carried_out.insert(format!("{method} {path}"));
            }
        }
    }
    for expected in [
        "post /api/v1/jobs",
        "post /api/v1/batches",
        "post /api/v1/schedules",
        "patch /api/v1/schedules/{schedule}",
        "post /api/v1/schedules/{schedule}/run",
        "put /api/v1/limits/{limit}",
        "post /api/v1/dead-letters/redrive",
        "post /api/v1/dead-letters/discard",
    ] {
        assert!(carried_out.contains(expected), "{expected} is not in {carried_out:?}");
    }
}
