//! The stylesheet and the script. Their addresses contain a hash of their text, so that a browser keeps them for good, and
//! never has an old one.

use std::sync::LazyLock;

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use crate::gate::describe::{Endpoint, Replies, Reply, plain};
use crate::gate::{ApiError, Open, Path, Result, Routes};

const STYLE_TEXT: &str = include_str!("assets/app.css");
const SCRIPT_TEXT: &str = include_str!("assets/app.js");

/// The stylesheet.
pub static STYLE: Asset = Asset {
    name: "app.css",
    media: "text/css; charset=utf-8",
    text: STYLE_TEXT,
    hash: LazyLock::new(|| hash(STYLE_TEXT)),
};

/// The script.
pub static SCRIPT: Asset = Asset {
    name: "app.js",
    media: "text/javascript; charset=utf-8",
    text: SCRIPT_TEXT,
    hash: LazyLock::new(|| hash(SCRIPT_TEXT)),
};

/// For a year, and it never changes.
const FOR_GOOD: &str = "public, max-age=31536000, immutable";

/// A file that pages load.
#[derive(Debug)]
pub struct Asset {
    name: &'static str,
    media: &'static str,
    text: &'static str,
    hash: LazyLock<String>,
}

impl Asset {
    /// Its text, for a document that stands by itself.
    pub fn text(&self) -> &'static str {
        self.text
    }

    /// Its address, such as `/assets/1f0c…/app.css`.
    pub fn address(&self) -> String {
        format!("/assets/{}/{}", *self.hash, self.name)
    }
}

fn hash(text: &str) -> String {
    hex::encode(&Sha256::digest(text)[..8])
}

pub(super) fn routes() -> Routes {
    Routes::default().get("/assets/{hash}/{name}", "What pages load: the stylesheet and the script", show)
}

async fn show(_: Open, Path((hash, name)): Path<(String, String)>) -> Result<&'static Asset> {
    let found = [&STYLE, &SCRIPT].into_iter().find(|asset| asset.name == name && *asset.hash == hash);
    found.ok_or_else(|| {
        ApiError::not_found("there is no such file; the page that names it is an old one: load it again")
    })
}

impl IntoResponse for &'static Asset {
    fn into_response(self) -> Response {
        let mut response = self.text.into_response();
        for (name, value) in [(header::CONTENT_TYPE, self.media), (header::CACHE_CONTROL, FOR_GOOD)] {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

impl Replies for Result<&'static Asset> {
    fn describe(endpoint: &mut Endpoint) {
        endpoint.replies.push(Reply { status: 200, media: "text/css", schema: plain::<String>() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The script is read by people too: there is no tool that makes it shorter.
    #[test]
    fn the_script_stays_small() {
        assert!(SCRIPT_TEXT.len() <= 12 * 1024, "the script has {} bytes", SCRIPT_TEXT.len());
    }

    #[test]
    fn an_address_changes_with_its_text() {
        assert_ne!(hash("a"), hash("b"));
        assert_eq!(STYLE.address(), format!("/assets/{}/app.css", hash(STYLE_TEXT)));
    }
}
