//! An error with what has caused it, in one line.

use std::error::Error;

/// Formats an error with its causes, without repeating what the one above has already said.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Link(&'static str, #[source] Option<Box<Link>>);

    #[test]
    fn every_cause_is_said_once() {
        let deepest = Box::new(Link("the name is unknown", None));
        let middle = Box::new(Link("no connection", Some(deepest)));
        let top = Link("cannot send: no connection", Some(middle));
        assert_eq!(with_causes(&top), "cannot send: no connection: the name is unknown");
    }
}
