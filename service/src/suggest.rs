//! What was probably meant by a word that is not known.

/// Returns the nearest of the known words, if it is near enough to be meant.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        // A third of the letters may be wrong: `slotz` finds `slots`, `foo` finds nothing.
        .filter(|(distance, candidate)| *distance * 3 <= candidate.len().max(word.len()))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `did you mean `x`?`, or the list of the known words.
pub fn suggest<'a>(word: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> Option<String> {
    match nearest(word, known.clone()) {
        Some(near) => Some(format!("did you mean `{near}`?")),
        None => {
            let all: Vec<&str> = known.into_iter().collect();
            (!all.is_empty()).then(|| format!("there is {}", all.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_finds_the_word_and_nonsense_does_not() {
        assert_eq!(nearest("slotz", ["slots", "lease"]), Some("slots"));
        assert_eq!(nearest("failure_budge", ["failure_budget", "timeout"]), Some("failure_budget"));
        assert_eq!(nearest("xyzzy", ["slots", "lease"]), None);
    }
}
