//! Tables. Where there is no room they become cards, each cell with the name of its column: by the stylesheet alone.

use maud::{Markup, html};

/// A column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    name: &'static str,
    class: Option<&'static str>,
}

/// A column of text.
pub const fn column(name: &'static str) -> Column {
    Column { name, class: None }
}

/// A column of numbers, which stand under each other.
pub const fn numbers(name: &'static str) -> Column {
    Column { name, class: Some("num") }
}

/// A column that takes the room that is left, such as one of errors.
pub const fn wide(name: &'static str) -> Column {
    Column { name, class: Some("wide") }
}

/// A column of buttons.
pub const fn actions() -> Column {
    Column { name: "Actions", class: Some("acts") }
}

/// A row: one cell for each column.
#[derive(Debug, Clone)]
pub struct Row {
    id: String,
    cells: Vec<Markup>,
}

impl Row {
    /// Whether the keyboard comes to something in it.
    fn is_reached(&self) -> bool {
        let marks = ["<a ", "<button", "<summary", "<input", "<select"];
        self.cells.iter().any(|cell| marks.iter().any(|mark| cell.0.contains(mark)))
    }
}

/// A row. Its id is the same as long as it shows the same thing: by that the script knows it again.
pub fn row(id: impl Into<String>, cells: impl IntoIterator<Item = Markup>) -> Row {
    Row { id: id.into(), cells: cells.into_iter().collect() }
}

/// A table. Its caption says what it shows to those who do not see what is around it.
pub fn table(id: &str, caption: &str, columns: &[Column], rows: impl IntoIterator<Item = Row>) -> Markup {
    let rows: Vec<Row> = rows.into_iter().collect();
    // What is wider than the window must be reached by the keyboard: by something in it, or by itself.
    let alone = (!rows.iter().any(Row::is_reached)).then_some(caption);
    html! {
        div class="scroll" tabindex=[alone.map(|_| "0")] role=[alone.map(|_| "group")] aria-label=[alone] {
            table class="cards" id=(id) {
                caption class="unseen" { (caption) }
                thead { tr { @for column in columns { th scope="col" class=[column.class] { (column.name) } } } }
                tbody {
                    @for row in rows {
                        tr id={ (id) "-" (row.id) } data-row {
                            @for (cell, column) in row.cells.iter().zip(columns) {
                                td data-label=(column.name) class=[column.class] { (cell) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A list of names with their values.
pub fn facts(facts: impl IntoIterator<Item = (&'static str, Markup)>) -> Markup {
    html! { dl class="facts" { @for (name, value) in facts { div { dt { (name) } dd { (value) } } } } }
}
