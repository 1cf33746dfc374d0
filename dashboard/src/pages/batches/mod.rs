//! Batches: [`list`]; [`start`]: a batch from a form; [`show`]: one batch, with its [`grid`] of chunks ([`near`]: those that were read), their
//! [`timeline`], the [`record`] of its estimates and its [`tabs`];
//! [`mod@report`]: one as a document; [`steer`]: pause, resume, cancel, restart, delete.

mod grid;
mod list;
mod near;
mod record;
mod report;
mod show;
mod start;
mod steer;
mod tabs;
mod timeline;
mod zoom;

pub use report::report;

use crate::gate::Routes;

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/batches", "Batches, newest first", list::list)
        .get("/batches/new", "A form that starts a batch", start::ask)
        .post_slowly("/batches/new", "Start a batch, or say what it would be", start::start)
        .get_slowly(
            "/api/v1/batches/{batch}/report",
            "A batch as one HTML document that stands by itself",
            report::download,
        )
        .get("/batches/{batch}", "A batch: its chunks, what it waits for, what came of it", show::show)
        .post("/batches/{batch}/pause", "Stop claiming its chunks; what runs is finished", steer::pause)
        .post("/batches/{batch}/resume", "Claim its chunks again", steer::resume)
        .post("/batches/{batch}/cancel", "Call it off for good", steer::cancel)
        .post("/batches/{batch}/restart", "Go on with one that halted or was cancelled", steer::restart)
        .post("/batches/{batch}/delete", "Delete one that has ended, with all that belongs to it", steer::delete)
}
