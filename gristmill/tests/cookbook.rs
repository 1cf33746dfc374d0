//! The recipes of docs/cookbook.md are whole: each runs, and comes to what stands there.

use serde_json::Value;

#[path = "document/fences.rs"]
mod fences;
#[allow(dead_code, reason = "the tests of the command line use more of it")]
#[path = "cli/place.rs"]
mod place;

use place::Place;

/// The counts and the result of a batch, as far as `expected` names them.
fn assert_holds(expected: &Value, found: &Value, place: &str) {
    match expected {
        Value::Object(fields) if place != "result" => {
            for (name, value) in fields {
                assert_holds(value, &found[name], name);
            }
        }
        value => assert_eq!(value, found, "{place}"),
    }
}

#[test]
fn every_recipe_runs_and_comes_to_what_it_says() {
    let text = include_str!("../../docs/cookbook.md");
    let recipes: Vec<&str> = text.split("\n## ").skip(1).collect();
    assert_eq!(recipes.len(), 11);
    for recipe in recipes {
        let title = recipe.lines().next().unwrap_or_default();
        println!("{title}");
        let place = Place::new();
        let (mut name, mut expected) = (None, None);
        for fence in fences::all(recipe) {
            match (fence.language, fence.name) {
                ("toml", _) => {
                    let line = fence.text.lines().find_map(|line| line.strip_prefix("[batch.")?.strip_suffix(']'));
                    name = line.map(str::to_owned);
                    place.write("config.toml", &format!("[store]\nurl = \"sqlite://gristmill.db\"\n\n{}", fence.text));
                }
                ("json", Some("result")) => {
                    expected = Some(serde_json::from_str::<Value>(&fence.text).expect(title));
                }
                (_, Some(file)) => drop(place.write(file, &fence.text)),
                (language, None) => panic!("{title}: the block of {language} has no name"),
            }
        }
        let (name, expected) = (name.expect(title), expected.expect(title));
        assert_eq!(place.json(0, &["check", "--json"])["problems"], serde_json::json!([]), "{title}");
        let found = place.json(0, &["batch", "run", &name, "--wait", "--json"]);
        assert_holds(&expected["counts"], &found["batch"]["counts"], "counts");
        assert_holds(&expected["result"], &found["result"], "result");
        // A trial comes to the same, as far as it goes.
        if !recipe.contains("process = ") && !recipe.contains("mail]") {
            let tried = place.json(0, &["batch", "try", &name, "--json"]);
            assert_eq!(tried["result"], expected["result"], "{title}");
        }
    }
}
