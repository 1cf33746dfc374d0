//! A query whose expressions become bound values: what an event says is compared, and never read as SQL.
//!
//! `'{{ event.body.day }}'` is one value with its quotes, and so is `'day {{ event.body.day }}'`. The query keeps `{{0}}`,
//! `{{1}}` … in their places, which its source replaces by what its database calls a parameter.

use serde_json::Value;

use super::RenderError;
use super::template::{MARK, Scope, expression, printed};

/// Types that may stand before a literal, as in `date '2026-01-31'`.
const TYPES: [&str; 14] = [
    "date",
    "time",
    "timetz",
    "timestamp",
    "timestamptz",
    "interval",
    "numeric",
    "decimal",
    "integer",
    "bigint",
    "text",
    "uuid",
    "json",
    "jsonb",
];

/// A query and the values of its places.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct BoundQuery {
    pub(super) text: String,
    pub(super) values: Vec<Value>,
}

/// The query with its expressions replaced by places.
///
/// # Errors
///
/// When an expression stands where no value can be: in a name, a comment, or a literal with escapes.
pub(super) fn bind(query: &str, scope: &Scope) -> Result<BoundQuery, RenderError> {
    let mut binder = Binder { scope, query, at: 0, bound: BoundQuery { text: String::new(), values: Vec::new() } };
    while binder.at < query.len() {
        binder.step()?;
    }
    Ok(binder.bound)
}

struct Binder<'q> {
    scope: &'q Scope,
    query: &'q str,
    at: usize,
    bound: BoundQuery,
}

impl<'q> Binder<'q> {
    fn rest(&self) -> &'q str {
        &self.query[self.at..]
    }

    fn step(&mut self) -> Result<(), RenderError> {
        let rest = self.rest();
        if rest.starts_with(MARK) {
            let (expression, length) = expression(rest)?;
            self.at += length;
            let value = self.scope.value(expression)?;
            self.place(value);
            return Ok(());
        }
        if rest.starts_with('\'') {
            return self.literal();
        }
        for (begin, end, what) in
            [("--", "\n", "a comment"), ("/*", "*/", "a comment"), ("\"", "\"", "a name"), ("`", "`", "a name")]
        {
            if let Some(inner) = rest.strip_prefix(begin) {
                let length = inner.find(end).map_or(rest.len(), |at| begin.len() + at + end.len());
                return self.untouched(length, what);
            }
        }
        if let Some(tag) = dollar_tag(rest) {
            let length = rest[tag.len()..].find(tag).map_or(rest.len(), |at| at + 2 * tag.len());
            return self.untouched(length, "a literal between dollars");
        }
        let length = rest.chars().next().map_or(1, char::len_utf8);
        self.untouched(length, "the query")
    }

    /// Takes text over as it is, in which no expression may stand.
    fn untouched(&mut self, length: usize, what: &str) -> Result<(), RenderError> {
        let piece = &self.rest()[..length];
        if piece.contains(MARK) {
            return Err(RenderError::Wrong(format!("`{{{{ … }}}}` cannot be used in {what}: {}", piece.trim())));
        }
        self.bound.text.push_str(piece);
        self.at += length;
        Ok(())
    }

    /// A literal in quotes: as it is, or as one value if an expression is in it.
    fn literal(&mut self) -> Result<(), RenderError> {
        let rest = self.rest();
        let (mut at, mut text, mut values) = (1, String::new(), Vec::new());
        let end = loop {
            let ahead = &rest[at..];
            if ahead.is_empty() {
                break at;
            } else if ahead.starts_with("''") {
                text.push('\'');
                at += 2;
            } else if ahead.starts_with('\'') {
                break at + 1;
            } else if ahead.starts_with(MARK) {
                let (expression, length) = expression(ahead)?;
                let value = self.scope.value(expression)?;
                text.push_str(&printed(&value));
                values
                    .push((value, at == 1 && ahead[length..].starts_with('\'') && !ahead[length..].starts_with("''")));
                at += length;
            } else {
                let c = ahead.chars().next().unwrap_or_default();
                text.push(c);
                at += c.len_utf8();
            }
        };
        if values.is_empty() {
            self.bound.text.push_str(&rest[..end]);
            self.at += end;
            return Ok(());
        }
        self.at += end;
        // A value alone in its quotes may be null; with text around it it is a part of that text.
        let value = match values.pop() {
            Some((value, true)) => value,
            _ => Value::String(text),
        };
        self.typed(&rest[..end], value)
    }

    /// Puts a value where a literal was, with the type that stood before it.
    fn typed(&mut self, literal: &str, value: Value) -> Result<(), RenderError> {
        let before = self.bound.text.trim_end();
        let word = before.rsplit(|c: char| !c.is_alphanumeric() && c != '_' && c != '&').next().unwrap_or_default();
        let glued = !word.is_empty() && before.len() == self.bound.text.len();
        let kind = word.to_ascii_lowercase();
        if glued || kind == "zone" {
            return Err(RenderError::Wrong(format!(
                "`{word} {literal}`: `{{{{ … }}}}` cannot be used after `{word}`; write `cast({literal} as …)`"
            )));
        }
        if !TYPES.contains(&kind.as_str()) {
            self.place(value);
            return Ok(());
        }
        let length = before.len() - word.len();
        self.bound.text.truncate(length);
        self.bound.text.push_str("cast(");
        self.place(value);
        self.bound.text.push_str(&format!(" as {kind})"));
        Ok(())
    }

    fn place(&mut self, value: Value) {
        self.bound.text.push_str(&format!("{{{{{}}}}}", self.bound.values.len()));
        self.bound.values.push(value);
    }
}

/// `$$` or `$tag$`, with which PostgreSQL quotes a text.
fn dollar_tag(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('$')?;
    let end = inner.find('$')?;
    let tag = &inner[..end];
    let name = tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    (name && !tag.starts_with(|c: char| c.is_ascii_digit())).then(|| &text[..end + 2])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn bound(query: &str) -> Result<(String, Vec<Value>), RenderError> {
        let params = json!({ "event": { "body": { "x": "a' or 1=1 --", "n": 7, "none": null } } });
        bind(query, &Scope::of(&params, gristmill_core::schedule::Zone::UTC)).map(|bound| (bound.text, bound.values))
    }

    #[test]
    fn each_expression_becomes_one_value() {
        let x = json!("a' or 1=1 --");
        for (query, text, values) in [
            (
                "where a = {{ event.body.x }} and n > {{event.body.n}}",
                "where a = {{0}} and n > {{1}}",
                vec![x.clone(), json!(7)],
            ),
            ("where a = '{{ event.body.x }}'", "where a = {{0}}", vec![x.clone()]),
            ("where a = '{{ event.body.x | default('y') }}'", "where a = {{0}}", vec![x.clone()]),
            ("where a like 'it''s {{ event.body.n }}%'", "where a like {{0}}", vec![json!("it's 7%")]),
            ("where a = '{{ event.body.none }}'", "where a = {{0}}", vec![Value::Null]),
            ("where d >= date '{{ event.body.n }}' limit 1", "where d >= cast({{0}} as date) limit 1", vec![json!(7)]),
            ("select 'it''s', \"a b\", $$x$$ -- no\n from t", "select 'it''s', \"a b\", $$x$$ -- no\n from t", vec![]),
            ("where a = $1 and b = 'ä{{ event.body.n }}'", "where a = $1 and b = {{0}}", vec![json!("ä7")]),
        ] {
            assert_eq!(bound(query), Ok((text.to_owned(), values)), "{query}");
        }
    }

    #[test]
    fn an_expression_is_refused_where_no_value_can_be() {
        for query in [
            "select \"{{ event.body.x }}\"",
            "select 1 -- {{ event.body.x }}\n",
            "select /* {{ event.body.x }} */ 1",
            "select $a${{ event.body.x }}$a$",
            "select E'\\n{{ event.body.x }}'",
            "select `{{ event.body.x }}`",
            "where t > timestamp with time zone '{{ event.body.x }}'",
        ] {
            assert!(matches!(bound(query), Err(RenderError::Wrong(_))), "{query}");
        }
        assert!(matches!(bound("where a = {{ event.body.other }}"), Err(RenderError::Unfit(_))));
    }
}
