//! The word that was probably meant.

/// The nearest of the words, if it is near: one letter of three may differ, but two at most.
pub(super) fn nearest<'a>(found: &str, words: &[&'a str]) -> Option<&'a str> {
    let near = words.iter().map(|word| (distance(found, word), *word)).min()?;
    (near.0 <= (near.1.len() / 3).clamp(1, 2)).then_some(near.1)
}

/// How many letters must be inserted, removed, replaced, or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(40).collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_finds_its_word_and_nonsense_finds_none() {
        let words = ["state", "queue", "kind", "attempts"];
        for (found, near) in [("sate", "state"), ("quuee", "queue"), ("knid", "kind"), ("attemps", "attempts")] {
            assert_eq!(nearest(found, &words), Some(near));
        }
        assert_eq!(nearest("xyzzy", &words), None);
    }
}
