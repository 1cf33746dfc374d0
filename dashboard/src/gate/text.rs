//! Texts of an address: percent-encoded bytes, and `+` for a space in a query.

/// The names and values of a query. Bytes that are no UTF-8 are replaced: no name or value of ours has them.
pub(crate) fn decoded(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (plain(name), plain(value))
    };
    pairs.map(pair).collect()
}

fn plain(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        let hex = |at: usize| after.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        match (byte, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(u8::try_from(high * 16 + low).unwrap_or_default());
                rest = &after[2..];
            }
            (b'+', _, _) => bytes.push(b' '),
            (other, _, _) => bytes.push(*other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A value as a query carries it.
pub(crate) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded_to_the_same() {
        for text in ["", "a b", "ä&=+%/", "100%", "%zz"] {
            assert_eq!(decoded(&format!("x={}", encoded(text))), [("x".to_owned(), text.to_owned())], "{text}");
        }
        assert_eq!(
            decoded("a=%zz&b&&c=%E4"),
            [("a", "%zz"), ("b", ""), ("c", "\u{fffd}")].map(|(a, b)| (a.to_owned(), b.to_owned()))
        );
    }
}
