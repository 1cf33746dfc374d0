//! The beginning of a text, for lists.

/// The most characters that are shown.
const CHARS: usize = 200;

/// The first line of a text, cut where it is long.
pub fn brief(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() > CHARS { line.chars().take(CHARS).chain(['…']).collect() } else { line.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_shows_the_beginning_of_a_text() {
        assert_eq!(brief("one\ntwo"), "one");
        assert_eq!(brief(&"ä".repeat(300)).chars().count(), 201);
    }
}
