//! Headers that say where a message ends belong to the connection, not to the author of the other headers.

use reqwest::header::{CONTENT_LENGTH, HeaderMap};

/// What only the connection may say (RFC 9110, 7.6.1): two that disagree about the end of a request are how one is
/// smuggled past a proxy.
const OURS: [&str; 5] = ["transfer-encoding", "connection", "te", "trailer", "upgrade"];

/// Takes out a `Content-Length` that says what is sent anyway.
///
/// # Errors
///
/// When it says anything else, or there is a header that only the connection may say.
pub(super) fn settle(headers: &mut HeaderMap, length: usize) -> Result<(), String> {
    if let Some(name) = OURS.into_iter().find(|name| headers.contains_key(*name)) {
        return Err(format!("the header `{name}` belongs to the connection, which sets it itself; leave it out"));
    }
    for said in headers.get_all(CONTENT_LENGTH) {
        if said.to_str().ok().map(str::trim).and_then(|said| said.parse().ok()) != Some(length) {
            return Err(format!(
                "the header `content-length` does not say the {length} bytes that the body has; leave it out, it is set \
                 from the body"
            ));
        }
    }
    headers.remove(CONTENT_LENGTH);
    Ok(())
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderName, HeaderValue};

    use super::*;

    fn settled(said: &[(HeaderName, &'static str)]) -> Result<usize, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in said {
            headers.append(name, HeaderValue::from_static(value));
        }
        settle(&mut headers, 5).map(|()| headers.len())
    }

    #[test]
    fn the_length_of_a_body_is_said_once_and_rightly() {
        assert_eq!(settled(&[(CONTENT_LENGTH, "5")]), Ok(0));
        assert_eq!(settled(&[(CONTENT_LENGTH, "5"), (CONTENT_LENGTH, "5")]), Ok(0));
        for wrong in ["4", "6", "", "-5", "five", "5, 5"] {
            let error = settled(&[(CONTENT_LENGTH, wrong)]).expect_err(wrong);
            assert!(error.contains("5 bytes"), "{error}");
        }
        settled(&[(CONTENT_LENGTH, "5"), (CONTENT_LENGTH, "6")]).expect_err("they disagree");
    }

    #[test]
    fn what_belongs_to_the_connection_is_refused() {
        for name in OURS {
            let error = settled(&[(HeaderName::from_static(name), "chunked")]).expect_err("refused");
            assert!(error.contains(name) && error.contains("leave it out"), "{error}");
        }
    }
}
