//! Light or dark: as the system says, unless the person has chosen.

use axum::http::{HeaderMap, HeaderValue};

use super::answer::{Redirect, local};
use super::flash::value_of;
use super::form::Form;
use crate::gate::{Open, Result, Routes};

/// The name of the cookie. The script sets it too.
const COOKIE: &str = "gristmill-theme";

gristmill_core::words! {
    /// Light or dark.
    #[derive(Default)]
    pub enum Theme {
        /// As the system says.
        #[default]
        System = "system",
        /// Dark on light.
        Light = "light",
        /// Light on dark.
        Dark = "dark",
    }
}

/// The theme that a browser has chosen.
pub(super) fn theme(headers: &HeaderMap) -> Theme {
    value_of(headers, COOKIE).and_then(|value| value.parse().ok()).unwrap_or_default()
}

pub(super) fn routes() -> Routes {
    Routes::default().post("/theme", "Choose light or dark", choose)
}

async fn choose(_: Open, mut form: Form) -> Result<Redirect> {
    let (theme, back) = (form.required::<Theme>("theme"), form.text("next").unwrap_or_default());
    form.finish()?;
    let theme = theme.unwrap_or_default();
    let cookie = format!("{COOKIE}={theme}; Path=/; SameSite=Strict; Max-Age=31536000");
    let cookie = HeaderValue::try_from(cookie).unwrap_or_else(|_| HeaderValue::from_static(""));
    Ok(Redirect::to(local(&back)).setting(vec![cookie]))
}
