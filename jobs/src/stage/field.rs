//! Finds a field in an item: by its name, or by its path (`customer.country`).

use serde_json::Value;

/// The field, if the item has it.
pub(crate) fn get<'a>(item: &'a Value, field: &str) -> Option<&'a Value> {
    item.get(field).or_else(|| {
        let mut found = item;
        for step in field.split('.') {
            found = found.get(step)?;
        }
        Some(found)
    })
}

/// Puts a value where [`get`] finds it. A field that does not exist is added under its whole name.
pub(crate) fn set(item: &mut Value, field: &str, value: Value) {
    if item.get(field).is_none() && get(item, field).is_some() {
        let mut found = item;
        for step in field.split('.') {
            match found.get_mut(step) {
                Some(next) => found = next,
                None => return,
            }
        }
        *found = value;
    } else if let Some(object) = item.as_object_mut() {
        object.insert(field.to_owned(), value);
    }
}
