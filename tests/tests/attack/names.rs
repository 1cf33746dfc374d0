//! Names, ids and items that an attacker chooses, on the command line and in tables.

use std::fs;

use gristmill_core::formula::{escape, unescape};
use gristmill_testkit::Random;
use gristmill_tests::place::{On, Place};
use gristmill_tests::program::Program;

use crate::texts::{argument, hostile, obeyed};

const CONFIG: &str = r#"
[batch.sales]
source = { csv = "sales.csv" }
parse  = { amount = "decimal" }
failure_budget = "100%"
aggregate = { rows = "count" }
output = { jsonl = "out" }
"#;

fn shown(program: &Program<'_>, arguments: &[&str]) -> Result<(), String> {
    let output = program.run(arguments);
    for text in [output.stdout, output.stderr] {
        let text = String::from_utf8(text).map_err(|_| format!("{arguments:?} prints what is no text"))?;
        if let Some(c) = obeyed(&text) {
            return Err(format!("{arguments:?} prints {c:?}: {text:?}"));
        }
    }
    Ok(())
}

/// The cells of a table (RFC 4180).
fn cells(text: &str) -> Vec<String> {
    let (mut cells, mut cell, mut quoted) = (Vec::new(), String::new(), false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => cell.extend(chars.next()),
            '"' => quoted = !quoted,
            ',' | '\n' if !quoted => cells.push(std::mem::take(&mut cell)),
            other => cell.push(other),
        }
    }
    cells
}

/// One command with something hostile in it.
fn command(random: &mut Random, program: &Program<'_>) -> Result<(), String> {
    let text = argument(random);
    let all: [&[&str]; 10] = [
        &["enqueue", "email", "--queue", &text],
        &["enqueue", &text],
        &["enqueue", "email", "--payload", &text],
        &["--tenant", &text, "job", "list"],
        &["job", "list", "--queue", &text],
        &["job", "show", &text],
        &["batch", "run", &text],
        &["trigger", "show", &text],
        &["queue", "pause", &text],
        &[&text],
    ];
    let arguments = random.pick(&all);
    shown(program, arguments)?;
    shown(program, &[&["--json"][..], *arguments].concat())
}

#[test]
fn whatever_a_command_is_given_its_terminal_obeys_nothing() {
    let place = Place::new(On::Sqlite);
    fs::write(place.file("config.toml"), CONFIG).expect("written");
    let program = Program::with_config(&place, place.file("config.toml"));
    crate::attack("commands", crate::runs(12, 100), |random| command(random, &program));
}

#[test]
fn whatever_an_item_holds_the_operators_terminal_obeys_nothing() {
    let place = Place::new(On::Sqlite);
    fs::write(place.file("config.toml"), CONFIG).expect("written");
    let program = Program::with_config(&place, place.file("config.toml"));
    crate::attack("items", crate::runs(1, 2_000), |random| {
        let mut input = "amount,name\n".to_owned();
        for _ in 0..20 {
            let cell = |text: String| format!("\"{}\"", text.replace('"', "\"\""));
            input.push_str(&format!("{},{}\n", cell(hostile(random)), cell(hostile(random))));
        }
        fs::write(place.file("sales.csv"), input).map_err(|error| error.to_string())?;
        program.run(&["batch", "run", "sales", "--wait"]);
        let list = program.json(&["quarantine", "list"]);
        let first = list[0]["id"].to_string();
        let batch = list[0]["batch"].as_str().ok_or_else(|| format!("nothing was set aside: {list}"))?.to_owned();
        for arguments in [&["quarantine", "list"][..], &["quarantine", "show", &first], &["batch", "show", &batch]] {
            for form in ["--plain", "--json"] {
                shown(&program, &[arguments, &[form]].concat())?;
            }
        }
        // A table is for a spreadsheet: nothing in it is computed, and it comes back as it was.
        let table = place.file(&format!("{batch}.csv")).display().to_string();
        program.ok(&["quarantine", "export", &batch, "--format", "csv", "--to", &table]);
        let text = fs::read_to_string(&table).map_err(|error| error.to_string())?;
        let computed = |cell: &String| cell.starts_with(['=', '@']) || cell.starts_with("+1+");
        if let Some(cell) = cells(&text).iter().find(|cell| computed(cell)) {
            return Err(format!("a cell begins as a formula does: {cell:?}: {text}"));
        }
        program.ok(&["quarantine", "import", &batch, "--file", &table, "--dry-run"]);
        Ok(())
    });
}

#[test]
fn whatever_a_cell_holds_it_comes_back_and_begins_no_formula() {
    crate::attack("cells", crate::runs(2_000, 1), |random| {
        let text = hostile(random);
        let written = escape(&text);
        if unescape(&written) != text {
            return Err(format!("{text:?} is written {written:?} and comes back {:?}", unescape(&written)));
        }
        match written.chars().next() {
            Some('=' | '@' | '\t' | '\r') => Err(format!("{written:?} is computed")),
            _ => Ok(()),
        }
    });
}
