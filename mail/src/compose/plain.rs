//! The plain text of an HTML message, for readers who see no HTML.
//!
//! It is no browser: it takes a well-meant template and leaves what a person would read aloud. Links keep their address
//! behind their words, lists their marks, and what is not shown (styles, scripts, the head) is gone.

/// Elements whose content is not shown.
const HIDDEN: [&str; 5] = ["head", "style", "script", "title", "template"];

/// Elements that begin a line.
const LINES: [&str; 16] = [
    "br", "div", "tr", "table", "section", "header", "footer", "article", "form", "figure", "tbody", "thead", "dt",
    "dd", "address", "body",
];

/// Elements with an empty line around them.
const BLOCKS: [&str; 11] = ["p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "blockquote", "hr"];

/// Returns the text of an HTML document.
pub fn text_of(html: &str) -> String {
    let mut writer = Writer::default();
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        writer.words(&rest[..at]);
        rest = &rest[at..];
        let (tag, after) = tag(rest);
        match tag {
            Some(tag) => {
                rest = after;
                if let (false, Some(hidden)) = (tag.closes, HIDDEN.iter().find(|name| **name == tag.name)) {
                    rest = behind(rest, hidden);
                } else {
                    writer.tag(&tag);
                }
            }
            None => {
                writer.words("<");
                rest = &rest[1..];
            }
        }
    }
    writer.words(rest);
    writer.end()
}

/// One tag.
#[derive(Debug)]
struct Tag<'a> {
    name: String,
    closes: bool,
    inside: &'a str,
}

impl Tag<'_> {
    fn attribute(&self, name: &str) -> Option<String> {
        let mut rest = self.inside;
        while let Some((key, after)) = rest.split_once('=') {
            let after = after.trim_start();
            let (value, next) = match after.chars().next() {
                Some(quote @ ('"' | '\'')) => after[1..].split_once(quote).unwrap_or((&after[1..], "")),
                _ => after.split_once(char::is_whitespace).unwrap_or((after, "")),
            };
            if key.trim().rsplit(char::is_whitespace).next().is_some_and(|key| key.eq_ignore_ascii_case(name)) {
                return Some(entities(value));
            }
            rest = next;
        }
        None
    }
}

/// The tag or comment that begins here, and what is behind it. `None` when it is neither.
fn tag(text: &str) -> (Option<Tag<'_>>, &str) {
    if let Some(comment) = text.strip_prefix("<!--") {
        let after = comment.split_once("-->").map_or("", |(_, after)| after);
        return (Some(Tag { name: String::new(), closes: false, inside: "" }), after);
    }
    let begins = text[1..].starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '!');
    let (Some((inside, after)), true) = (text[1..].split_once('>'), begins) else { return (None, text) };
    let closes = inside.starts_with('/');
    let inside = inside.trim_start_matches('/');
    let end = inside.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(inside.len());
    let (name, inside) = inside.split_at(end);
    (Some(Tag { name: name.to_ascii_lowercase(), closes, inside }), after)
}

/// What is behind the end of a hidden element.
fn behind<'a>(text: &'a str, name: &str) -> &'a str {
    let end = format!("</{name}");
    let lower = text.to_ascii_lowercase();
    let Some(at) = lower.find(&end) else { return "" };
    text[at..].split_once('>').map_or("", |(_, after)| after)
}

#[derive(Debug, Default)]
struct Writer {
    text: String,
    /// How many line ends are owed before the next word.
    lines: usize,
    space: bool,
    link: Option<(String, usize)>,
}

impl Writer {
    fn words(&mut self, text: &str) {
        let text = entities(text);
        if text.starts_with(char::is_whitespace) {
            self.space = true;
        }
        for word in text.split_whitespace() {
            self.put(word);
            self.space = true;
        }
        self.space = text.ends_with(char::is_whitespace) || (self.space && text.trim().is_empty());
    }

    fn put(&mut self, word: &str) {
        if self.lines > 0 && !self.text.is_empty() {
            self.text.push_str(&"\n".repeat(self.lines));
        } else if self.space && !self.text.is_empty() {
            self.text.push(' ');
        }
        (self.lines, self.space) = (0, false);
        self.text.push_str(word);
    }

    fn tag(&mut self, tag: &Tag<'_>) {
        let name = tag.name.as_str();
        if BLOCKS.contains(&name) {
            self.lines = self.lines.max(2);
        } else if LINES.contains(&name) {
            self.lines = self.lines.max(1);
        }
        match (name, tag.closes) {
            ("li", false) => {
                self.lines = self.lines.max(1);
                self.put("*");
                self.space = true;
            }
            ("td" | "th", false) => self.space = true,
            ("img", false) => {
                if let Some(alt) = tag.attribute("alt") {
                    self.words(&format!(" {alt} "));
                }
            }
            ("a", false) => self.link = tag.attribute("href").map(|href| (href, self.text.len())),
            ("a", true) => self.end_of_link(),
            _ => {}
        }
    }

    /// The address stands behind the words, unless it is the words, or leads nowhere outside of the message.
    fn end_of_link(&mut self) {
        let Some((href, from)) = self.link.take() else { return };
        let leads = ["http://", "https://", "mailto:"].iter().any(|scheme| href.starts_with(scheme));
        let shown = self.text.get(from..).unwrap_or_default().trim();
        if leads && shown != href && format!("mailto:{shown}") != href {
            self.space = true;
            let address = if shown.is_empty() { href } else { format!("({href})") };
            self.put(&address);
        }
    }

    fn end(self) -> String {
        let lines: Vec<&str> = self.text.lines().map(str::trim_end).collect();
        format!("{}\n", lines.join("\n").trim())
    }
}

/// Replaces the references to characters that templates use.
fn entities(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        shown.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.char_indices().take(12).find(|(_, c)| *c == ';').map(|(end, _)| end);
        match end.and_then(|end| Some((character(&rest[1..end])?, end))) {
            Some((c, end)) => {
                shown.push_str(&c);
                rest = &rest[end + 1..];
            }
            None => {
                shown.push('&');
                rest = &rest[1..];
            }
        }
    }
    shown + rest
}

fn character(name: &str) -> Option<String> {
    let known = match name {
        "amp" => "&",
        "lt" => "<",
        "gt" => ">",
        "quot" => "\"",
        "apos" => "'",
        "nbsp" => " ",
        "ndash" => "–",
        "mdash" => "—",
        "hellip" => "…",
        "euro" => "€",
        "copy" => "©",
        "middot" => "·",
        "bull" => "•",
        "times" => "×",
        "zwnj" | "shy" => "",
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            return char::from_u32(code).filter(|c| !c.is_control() || *c == '\n').map(String::from);
        }
    };
    Some(known.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_reads_as_a_person_would_read_it_aloud() {
        let html = "<!doctype html><html><head><title>no</title><style>p { x: y }</style></head><body>\n\
            <h1>Your order</h1><p>Hello <b>Ada</b>,<br>it is 5 &lt; 6 &amp; <i>done</i>.</p>\n\
            <ul><li>one</li><li>two <a href=\"https://example.org/x?a=1&amp;b=2\">here</a></li></ul>\
            <!-- <p>not this</p> --><table><tr><td>Sum</td><td>12&nbsp;€</td></tr></table>\
            <p><a href='https://example.org'>https://example.org</a> <img src=\"cid:a\" alt=\"A mill\"></p></body></html>";
        let expected = "Your order\n\nHello Ada,\nit is 5 < 6 & done.\n\n* one\n* two here (https://example.org/x?a=1&b=2)\n\n\
            Sum 12 €\n\nhttps://example.org A mill\n";
        assert_eq!(text_of(html), expected);
    }

    #[test]
    fn broken_html_is_taken_as_it_comes() {
        for (html, text) in [
            ("", "\n"),
            ("a < b and <c", "a < b and <c\n"),
            ("<script>alert(1)", "\n"),
            ("<p>one<p>two", "one\n\ntwo\n"),
            ("&#x0; &#99999999; &nonsense; &", "&#x0; &#99999999; &nonsense; &\n"),
            ("<a href=x>here</a>", "here\n"),
            ("<İ><STYLE>x</style>after", "<İ>after\n"),
        ] {
            assert_eq!(text_of(html), text, "{html}");
        }
    }
}
