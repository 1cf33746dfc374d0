//! The dashboard: pages for people, rendered here, over the same gate as the API.
//!
//! A page is a handler like that of an endpoint: its first argument says who may see it. It reads through its [`View`],
//! and gives back markup, which [`shell`] surrounds. A form is a POST that answers with the address of the next page.
//! Everything works without the script, except that pages change by themselves.
//!
//! * [`assets`]: the stylesheet and the script, under addresses that change with them.
//! * [`answer`]: what a page answers: a page, its part, another address.
//! * `overview`, `batches`, `jobs`: the pages.
//! * [`charts`]: pictures, drawn here as SVG.
//! * [`flash`]: what a form has done, said once on the next page.
//! * [`form`]: what a form sends.
//! * [`link`]: links that may be used once.
//! * [`login`]: log in, log out.
//! * [`nav`]: the pages that there are.
//! * [`parts`]: what pages are made of.
//! * [`preferences`]: light or dark.
//! * [`refusal`]: errors, as pages.
//! * [`shell`]: what is around a page.
//! * [`view`](mod@view): how a page was asked for, and what it costs.

pub mod answer;
pub mod assets;
mod batches;
pub mod charts;
pub mod flash;
pub mod form;
mod jobs;
mod link;
mod login;
pub mod nav;
mod overview;
pub mod parts;
mod preferences;
pub mod refusal;
pub mod shell;
pub mod view;

pub use answer::{Page, Paged, Redirect};
pub use form::Form;
pub use view::{Head, View};

use crate::gate::Routes;

/// Every page.
pub fn routes() -> Routes {
    let all = [
        overview::routes(),
        batches::routes(),
        jobs::routes(),
        assets::routes(),
        preferences::routes(),
        login::routes(),
        link::routes(),
    ];
    all.into_iter().fold(Routes::default(), Routes::and)
}
