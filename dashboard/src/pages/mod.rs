//! The dashboard: pages for people, rendered here, over the same gate as the API.
//!
//! A page is a handler like that of an endpoint: its first argument says who may see it. It reads through its [`View`],
//! and gives back markup, which [`shell`] surrounds. A form is a POST that answers with the address of the next page.
//! Everything works without the script, except that pages change by themselves.
//!
//! * [`assets`]: the stylesheet and the script, under addresses that change with them.
//! * [`answer`]: what a page answers: a page, its part, another address.
//! * `overview`, `batches`, `jobs`: the pages.
//! * `audit`: who changed what.
//! * [`charts`]: pictures, drawn here as SVG.
//! * `events`: what has happened, and who is given which.
//! * `email`: emails, and the addresses to which nothing is sent.
//! * `failures`: dead letters, and errors by fingerprint.
//! * [`flash`]: what a form has done, said once on the next page.
//! * [`form`]: what a form sends.
//! * `history`: what has passed, over time.
//! * `job_list`: the list of jobs.
//! * [`link`]: links that may be used once.
//! * [`login`]: log in, log out.
//! * [`nav`]: the pages that there are.
//! * `choice`: in which tenant a person works, and in which time zone.
//! * `operations`: what is done to everything that a query selects.
//! * [`parts`]: what pages are made of.
//! * `people`: members, invitations, tokens, one's own account, tenants.
//! * [`preferences`]: light or dark.
//! * `quarantine`: items that were set aside.
//! * `queues`: queues and limits.
//! * [`refusal`]: errors, as pages.
//! * `schedules`: schedules with their calendars and backfills.
//! * [`shell`]: what is around a page.
//! * `system`: the doctor's findings, sizes, settings, versions.
//! * `tenancy`: in which tenant a page was made.
//! * `triggers`: hooks and watched folders.
//! * `unsubscribe`: take oneself off, by the link in an email.
//! * [`view`](mod@view): how a page was asked for, and what it costs.
//! * `workers`: who works.

pub mod answer;
pub mod assets;
mod audit;
mod batches;
pub mod charts;
mod choice;
mod elsewhere;
mod email;
mod events;
mod failures;
pub mod flash;
pub mod form;
mod history;
mod job_list;
mod jobs;
mod link;
mod login;
pub mod nav;
mod operations;
mod overview;
pub mod parts;
mod people;
mod preferences;
mod quarantine;
mod queues;
pub mod refusal;
mod schedules;
pub mod shell;
mod system;
mod tenancy;
mod triggers;
mod unsubscribe;
pub mod view;
mod workers;

pub use answer::{Page, Paged, Redirect};
pub use batches::report as batch_report;
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
        choice::routes(),
        login::routes().and(elsewhere::routes()),
        link::routes(),
        job_list::routes(),
        operations::routes(),
        failures::routes(),
        quarantine::routes(),
        email::routes(),
        unsubscribe::routes(),
        queues::routes(),
        history::routes(),
        schedules::routes(),
        triggers::routes(),
        events::routes(),
        workers::routes(),
        audit::routes(),
        people::routes(),
        system::routes(),
    ];
    all.into_iter().fold(Routes::default(), Routes::and)
}
