//! Which values of an attribute are meant: a text in which `*` stands for any characters.

/// A text in which `*` stands for any number of characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(Vec<String>);

impl Glob {
    /// Every text is one.
    pub fn new(text: &str) -> Self {
        Self(text.split('*').map(str::to_owned).collect())
    }

    /// Whether it means this value.
    pub fn matches(&self, value: &str) -> bool {
        let [first, middle @ .., last] = self.0.as_slice() else {
            return self.0.first().is_some_and(|whole| whole == value);
        };
        let Some(mut rest) = value.strip_prefix(first.as_str()).and_then(|rest| rest.strip_suffix(last.as_str()))
        else {
            return false;
        };
        // The first place of each part leaves the most for those behind it.
        for part in middle {
            let Some(at) = rest.find(part.as_str()) else { return false };
            rest = &rest[at + part.len()..];
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_characters() {
        for (text, meant, not_meant) in [
            ("shop", vec!["shop"], vec!["shops", "", "a shop"]),
            ("shop/*", vec!["shop/", "shop/eu"], vec!["shop", "x/shop/"]),
            ("*", vec!["", "anything"], vec![]),
            ("a*b*c", vec!["abc", "a1b2c", "abbc"], vec!["ac", "acb", "ab"]),
            ("aba*aba", vec!["abaaba", "abaXaba"], vec!["aba", "ababa"]),
        ] {
            for value in meant {
                assert!(Glob::new(text).matches(value), "`{text}` means `{value}`");
            }
            for value in not_meant {
                assert!(!Glob::new(text).matches(value), "`{text}` does not mean `{value}`");
            }
        }
    }
}
