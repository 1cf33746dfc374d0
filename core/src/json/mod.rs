//! JSON as it comes from others: read exactly, or refused.
//!
//! Every entrance reads its JSON by [`read`] or [`typed`]: payloads, hooks, answers of programs and services, lookups,
//! lines of a source. They give what `serde_json` would, with three differences:
//!
//! * **A number is exact.** One that neither 64 bits nor a double can hold is refused instead of rounded: money that is
//!   off by a cent is worse than an item set aside with the reason. A number written as a text passes unchanged.
//! * **Nesting ends at [`DEPTH_MAX`].** What is accepted stands inside other documents later, and must still be
//!   readable there: [`kept`] reads what this program has written itself, and gives up much later.
//! * **Every key is an ordinary key.** When any crate of a program switches `serde_json`'s raw values on, its own reader
//!   takes an object whose first key is `$serde_json::private::RawValue` for the JSON that its text holds. Therefore a
//!   field of the type [`Value`] in a type that is read from JSON says `#[serde(deserialize_with = "…::json::value")]`.

mod error;
mod field;
mod number;
mod reader;

use serde::de::DeserializeOwned;
use serde_json::{Map, Number, Value};

pub use error::{BadJson, Fault, kind_of};
pub use field::{maybe, object, value};
use reader::{Inexact, Reader};

/// How deep arrays and objects may be nested in what others give.
pub const DEPTH_MAX: usize = 64;

/// How deep they may be nested in what this program reads back.
const DEPTH_KEPT_MAX: usize = 256;

/// Reads a value that comes from others.
///
/// # Errors
///
/// What is wrong with the text, and where.
pub fn read(text: &[u8]) -> Result<Value, BadJson> {
    read_to(text, DEPTH_MAX)
}

/// The same for a document in which others' values of the full depth stand `levels` deep.
///
/// # Errors
///
/// What is wrong with the text, and where.
pub fn read_around(text: &[u8], levels: usize) -> Result<Value, BadJson> {
    read_to(text, DEPTH_MAX + levels)
}

/// Reads an object that comes from others.
///
/// # Errors
///
/// What is wrong with the text, and where; or what it is instead of an object.
pub fn read_object(text: &[u8]) -> Result<Map<String, Value>, BadJson> {
    match read(text)? {
        Value::Object(object) => Ok(object),
        other => Err(BadJson::shape(format!("it is {}, not an object", kind_of(&other)))),
    }
}

/// Reads a value of a certain type that comes from others.
///
/// # Errors
///
/// What is wrong with the text, and where; or why it is no such value.
pub fn typed<T: DeserializeOwned>(text: &[u8]) -> Result<T, BadJson> {
    typed_around(text, 0)
}

/// The same for a document in which others' values of the full depth stand `levels` deep.
///
/// # Errors
///
/// What is wrong with the text, and where; or why it is no such value.
pub fn typed_around<T: DeserializeOwned>(text: &[u8], levels: usize) -> Result<T, BadJson> {
    T::deserialize(read_around(text, levels)?).map_err(|error| BadJson::shape(error.to_string()))
}

/// Reads a row that a database writes as JSON, whose numbers no caller can write otherwise: one with more digits than a
/// JSON number keeps becomes a text.
///
/// # Errors
///
/// When it is no JSON, or nested too deep.
pub fn read_row(text: &str) -> Result<Value, BadJson> {
    Reader::new(text, DEPTH_MAX, Inexact::Text).document()
}

/// Reads back what this program has written, however old it is.
///
/// # Errors
///
/// When it is no JSON.
pub fn kept(text: &str) -> Result<Value, BadJson> {
    Reader::new(text, DEPTH_KEPT_MAX, Inexact::Nearest).document()
}

fn read_to(text: &[u8], depth: usize) -> Result<Value, BadJson> {
    let text = std::str::from_utf8(text).map_err(|error| {
        let valid = error.valid_up_to();
        let before = std::str::from_utf8(&text[..valid]).unwrap_or_default();
        let byte = text.get(valid).copied().unwrap_or_default();
        BadJson::at(Fault::Syntax, format!("the byte 0x{byte:02X}"), before, valid, " is not UTF-8")
    })?;
    Reader::new(text, depth, Inexact::Refused).document()
}

/// Returns the number that a text such as `-12.5e3` stands for; `None` where it is none, or would have to be rounded.
pub fn number(text: &str) -> Option<Number> {
    number::nearest(text).filter(|(_, same)| *same).map(|(number, _)| number)
}

/// Whether arrays and objects are nested deeper than so many levels.
pub fn deeper_than(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(values) => levels == 0 || values.iter().any(|value| deeper_than(value, levels - 1)),
        Value::Object(fields) => levels == 0 || fields.values().any(|value| deeper_than(value, levels - 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}
