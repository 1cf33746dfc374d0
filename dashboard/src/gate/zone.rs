//! The time zone that a person has chosen: instants on the pages that are made for them are shown in it.

use axum::http::{HeaderMap, header};
use gristmill_core::schedule::{Zone, zone};

/// The name of the cookie.
pub const COOKIE: &str = "gristmill-zone";

tokio::task_local! {
    static CHOSEN: Zone;
}

/// The zone of the page that is being made; `None` is UTC.
pub fn chosen() -> Option<Zone> {
    CHOSEN.try_with(Clone::clone).ok()
}

/// Makes a page for the person whose request has these headers.
pub(super) async fn within<F: Future>(headers: &HeaderMap, page: F) -> F::Output {
    match cookie(headers, COOKIE).and_then(zone) {
        Some(zone) => CHOSEN.scope(zone, page).await,
        None => page.await,
    }
}

/// The value of a cookie.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(known, _)| *known == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_page_has_the_zone_of_its_cookie_if_there_is_such_a_zone() {
        let named = async |cookie: &str| {
            let headers = HeaderMap::from_iter([(header::COOKIE, cookie.parse().expect("a value"))]);
            within(&headers, async { chosen().map(|zone| zone.name().to_owned()) }).await
        };
        assert_eq!(named("gristmill=x; gristmill-zone=Europe/London").await.as_deref(), Some("Europe/London"));
        assert_eq!(named("gristmill-zone=Europe/Nowhere").await, None);
        assert_eq!(named("gristmill=x").await, None);
        assert!(chosen().is_none());
    }
}
