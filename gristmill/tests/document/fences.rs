//! The blocks of code in a document.

/// A block between three backticks.
pub(crate) struct Fence<'t> {
    /// What it is in: `toml`.
    pub(crate) language: &'t str,
    /// The second word of its first line, if there is one: the name of a file.
    pub(crate) name: Option<&'t str>,
    /// What stands in it.
    pub(crate) text: String,
}

/// All of them, in their order.
pub(crate) fn all(document: &str) -> Vec<Fence<'_>> {
    let mut fences = Vec::new();
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        let Some(opening) = line.strip_prefix("```") else { continue };
        let mut words = opening.split_whitespace();
        let (language, name) = (words.next().unwrap_or_default(), words.next());
        let text: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        fences.push(Fence { language, name, text: text.join("\n") + "\n" });
    }
    fences
}
