//! The gate: what every request passes before it reaches a handler, in this order, one file for each step.
//!
//! | step | file | refuses with |
//! |---|---|---|
//! | its id, its trace, where it comes from | [`info`], [`address`] | |
//! | the host that it names | [`host`] | 400, 403 |
//! | its size, the time that it may take | [`limits`] | 400, 408, 413 |
//! | how many an address, a token, a tenant may send | [`rate`] | 429 |
//! | who calls | [`authenticate`] | 401, 403 |
//! | whether another site has asked for it | [`csrf`] | 403 |
//! | whether the caller may do that | [`caller`] | 401, 403 |
//! | whether it was sent before | [`idempotency`] | 409 |
//! | what it asks for | [`query`], [`body`] | 400, 415, 422 |
//! | the handler | `api/` | 404, 409, 412 |
//! | the answer | [`answer`], [`respond`] | |
//!
//! [`pass`] is the order in code. A handler is described by its types ([`describe`]): the first one says who may call it.
//! [`standing`]: whether a caller who stays still may. [`error`]: the one type of errors. [`settings`]: `[serve]`. [`state`]: what all endpoints share. [`routes`]: their list.

pub mod address;
pub mod answer;
pub mod authenticate;
pub mod body;
pub mod caller;
pub mod costs;
pub mod csrf;
pub mod describe;
pub mod error;
pub mod host;
pub mod idempotency;
pub mod if_match;
pub mod info;
pub mod limits;
mod pass;
pub mod path;
pub mod query;
pub mod range;
pub mod rate;
mod replies;
pub mod respond;
pub mod routes;
pub mod settings;
pub mod standing;
pub mod state;
pub(crate) mod text;
pub mod zone;

pub use answer::{Answer, Creation, Made, Outcome};
pub use body::{Fields, JsonBody, Object};
pub use caller::{Allowed, Caller, Open, Overseer, Recognized, perm};
pub use describe::{Access, Endpoint};
pub use error::{ApiError, ErrorCode, Fault, Result};
pub use info::RequestInfo;
pub use path::Path;
pub use query::{Change, Moment, Paging, Parameters, Params, Query, Time, asked};
pub use routes::Routes;
pub use settings::ServeSettings;
pub use state::{Api, ApiParts, Program};
