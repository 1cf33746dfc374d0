//! What the endpoints over accounts share: who asks, and how a password and an address are read.

use std::net::IpAddr;

use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;
use gristmill_core::access::Subject;
use gristmill_core::email_address::EmailAddress;
use gristmill_core::id::{DEFAULT_TENANT, UserId};
use gristmill_service::accounts::Secret;
use gristmill_service::{Order, Origin};
use gristmill_store::accounts::Appointer;
use gristmill_telemetry::peer_network;

use crate::auth::Credential;
use crate::gate::authenticate::credential;
use crate::gate::caller::unknown;
use crate::gate::describe::{Argument, Endpoint};
use crate::gate::info::encrypted;
use crate::gate::{Api, ApiError, Caller, ErrorCode, Object, Open, RequestInfo, Result};

/// The secret of the session that a request carries, where it carries one.
#[derive(Debug, Clone)]
pub(crate) struct OwnSession(pub(crate) Option<Secret>);

impl FromRequestParts<Api> for OwnSession {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self> {
        Ok(Self(match credential(&parts.headers, encrypted(parts))? {
            Some(Credential::Session(secret)) => Some(secret),
            Some(Credential::Bearer(_)) | None => None,
        }))
    }
}

impl Argument for OwnSession {
    fn describe(_: &mut Endpoint) {}
}

/// Says of an endpoint that its body or its answer holds a secret.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Secretive;

impl FromRequestParts<Api> for Secretive {
    type Rejection = ApiError;

    async fn from_request_parts(_: &mut Parts, _: &Api) -> Result<Self> {
        Ok(Self)
    }
}

impl Argument for Secretive {
    fn describe(endpoint: &mut Endpoint) {
        endpoint.secret = true;
    }
}

/// The program that a caller uses, as it says.
#[derive(Debug, Clone)]
pub(crate) struct Agent(pub(crate) Option<String>);

impl FromRequestParts<Api> for Agent {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self> {
        let said = parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
        Ok(Self(said.map(str::to_owned)))
    }
}

impl Argument for Agent {
    fn describe(_: &mut Endpoint) {}
}

/// The person who asks: what concerns their own account is not for programs.
pub(crate) fn person(caller: &Caller) -> Result<UserId> {
    match caller.principal.subject {
        Subject::User(user) => Ok(user),
        Subject::Token { .. } => {
            let message = "this is for people who have logged in: a token may not do it";
            Err(ApiError::new(ErrorCode::Forbidden, message))
        }
        Subject::Anyone => {
            let message = "nobody has to log in here, so that there is no account of the caller's";
            Err(ApiError::new(ErrorCode::Forbidden, message).hint("set `[serve] auth = \"users\"`"))
        }
    }
}

/// By whose right a caller appoints: where no caller has to log in, every caller owns the installation.
pub(crate) fn appointer(caller: &Caller) -> Appointer {
    match caller.principal.subject {
        Subject::User(user) | Subject::Token { user, .. } => Appointer::User(user),
        Subject::Anyone => Appointer::Installation,
    }
}

/// The order of a caller who is not recognized.
pub(crate) fn strangers(open: &Open) -> Order {
    let (address, request) = (Some(open.info.address.to_string()), Some(open.info.id.clone()));
    let origin = Origin { role: None, address, request };
    Order { origin, ..Order::new(DEFAULT_TENANT, unknown(&open.info)) }
}

/// The network of a caller: an address of IPv4, the /64 of one of IPv6, which is one household's.
pub(crate) fn network(open: &Open) -> String {
    network_of(&open.info)
}

/// The network that a request comes from.
pub(crate) fn network_of(info: &RequestInfo) -> String {
    match peer_network(info.address) {
        network @ IpAddr::V4(_) => network.to_string(),
        network @ IpAddr::V6(_) => format!("{network}/64"),
    }
}

/// Reads an address of mail.
pub(crate) fn email(object: &mut Object) -> Option<EmailAddress> {
    let text: String = object.required("email", "An address of mail")?;
    match text.parse() {
        Ok(email) => Some(email),
        Err(error) => {
            let error: gristmill_core::email_address::BadAddress = error;
            object.fault("email", error.to_string());
            None
        }
    }
}

/// Reads a secret.
pub(crate) fn secret(object: &mut Object, name: &'static str, about: &str) -> Option<Secret> {
    object.required::<String>(name, about).map(Secret::new)
}
