//! Links that may be used once, by people who are not recognized yet: look at one, accept an invitation, make the first
//! owner, ask for a new password and choose it, register.
//!
//! The secret is in the body, never in the path: paths stand in logs.

use gristmill_core::email_address::EmailAddress;
use gristmill_service::accounts::Secret;
use gristmill_service::documents::{OpenLinkDocument, ReportDocument};
use gristmill_store::ControlReport;
use gristmill_store::accounts::{LINK_OVER, UsedLink};

use super::asks::{email, network, secret, strangers};
use crate::gate::{Answer, ApiError, Fields, JsonBody, Object, Open, Outcome, Routes};

pub(super) fn routes() -> Routes {
    Routes::default()
        .post("/api/v1/links/show", "What an unused link is for", show)
        .post("/api/v1/links/accept", "Accept an invitation", accept)
        .post("/api/v1/links/first-owner", "Make the first user, who owns the installation", first_owner)
        .post("/api/v1/links/ask", "Ask for a link to choose a password: the answer is the same for all", ask)
        .post("/api/v1/links/register", "Ask for an account by a mail: the answer is the same for all", register)
        .post("/api/v1/links/verify", "Make an account for the address that the link was mailed to", verify)
        .post("/api/v1/links/reset", "Choose a password by a link: all of your sessions end", reset)
}

fn link(object: &mut Object) -> Option<Secret> {
    secret(object, "link", "The secret of the link: what follows its `#`")
}

fn password(object: &mut Object) -> Option<Secret> {
    secret(object, "password", "A password of your choice: 12 to 256 characters")
}

/// The body with a link alone.
#[derive(Debug)]
struct ShowBody(Secret);

impl Fields for ShowBody {
    const NAME: &'static str = "LinkRequest";
    const EXAMPLE: &'static str = r#"{"link": "gml_x3Vt0m4Rk8qZ"}"#;

    fn read(object: &mut Object) -> Option<Self> {
        link(object).map(Self)
    }
}

async fn show(open: Open, JsonBody(ShowBody(link)): JsonBody<ShowBody>) -> Outcome<OpenLinkDocument> {
    let found = open.api.accounts().link(&link).await?;
    found.map(Answer::new).ok_or_else(|| ApiError::not_found(LINK_OVER))
}

/// The body of an acceptance.
#[derive(Debug)]
struct AcceptBody {
    link: Secret,
    person: Option<(String, Secret)>,
}

impl Fields for AcceptBody {
    const NAME: &'static str = "AcceptRequest";
    const EXAMPLE: &'static str =
        r#"{"link": "gml_x3Vt0m4Rk8qZ", "name": "Ada Lovelace", "password": "a password of your choice"}"#;

    fn read(object: &mut Object) -> Option<Self> {
        let link = link(object);
        let name: Option<String> = object.optional("name", "What you are called, unless you have an account");
        let password: Option<String> = object.optional("password", "A password, unless you have an account");
        let person = match (name, password) {
            (Some(name), Some(password)) => Some((name, Secret::new(password))),
            (None, None) => None,
            (Some(_), None) => {
                object.fault("password", "is missing: a new account has a name and a password");
                return None;
            }
            (None, Some(_)) => {
                object.fault("name", "is missing: a new account has a name and a password");
                return None;
            }
        };
        Some(Self { link: link?, person })
    }
}

async fn accept(open: Open, JsonBody(body): JsonBody<AcceptBody>) -> Outcome<ReportDocument> {
    let person = body.person.as_ref().map(|(name, password)| (name.as_str(), password));
    let used = open.api.accounts().accept(&strangers(&open), &body.link, person).await?;
    Ok(Answer::new(report(used)))
}

/// The body that makes the first owner.
#[derive(Debug)]
struct FirstOwnerBody {
    link: Secret,
    email: EmailAddress,
    name: String,
    password: Secret,
}

impl Fields for FirstOwnerBody {
    const NAME: &'static str = "FirstOwnerRequest";
    const EXAMPLE: &'static str = r#"{"link": "gml_x3Vt0m4Rk8qZ", "email": "ada@example.com", "name": "Ada Lovelace", "password": "a password of your choice"}"#;

    fn read(object: &mut Object) -> Option<Self> {
        let (link, email) = (link(object), email(object));
        let name = object.required("name", "What you are called");
        let password = password(object);
        Some(Self { link: link?, email: email?, name: name?, password: password? })
    }
}

async fn first_owner(open: Open, JsonBody(body): JsonBody<FirstOwnerBody>) -> Outcome<ReportDocument> {
    let FirstOwnerBody { link, email, name, password } = body;
    let used = open.api.accounts().make_first_owner(&strangers(&open), &link, &email, &name, &password).await?;
    Ok(Answer::new(report(used)))
}

/// The address that a new password is asked for.
#[derive(Debug)]
struct AskBody(EmailAddress);

impl Fields for AskBody {
    const NAME: &'static str = "ResetRequest";
    const EXAMPLE: &'static str = r#"{"email": "ada@example.com"}"#;

    fn read(object: &mut Object) -> Option<Self> {
        email(object).map(Self)
    }
}

async fn ask(open: Open, JsonBody(AskBody(email)): JsonBody<AskBody>) -> Outcome<ReportDocument> {
    open.api.accounts().send_reset(&strangers(&open), &email).await?;
    // The caller does not learn whether there is such an account.
    Ok(Answer::new(ReportDocument::new(false, &ControlReport::default())))
}

async fn register(open: Open, JsonBody(AskBody(email)): JsonBody<AskBody>) -> Outcome<ReportDocument> {
    open.api.accounts().register(&strangers(&open), &email, &network(&open)).await?;
    // The caller does not learn whether there is such an account.
    Ok(Answer::new(ReportDocument::new(false, &ControlReport::default())))
}

/// The body that makes an account.
#[derive(Debug)]
struct VerifyBody {
    link: Secret,
    name: String,
    password: Secret,
}

impl Fields for VerifyBody {
    const NAME: &'static str = "RegistrationRequest";
    const EXAMPLE: &'static str =
        r#"{"link": "gml_x3Vt0m4Rk8qZ", "name": "Ada Lovelace", "password": "a password of your choice"}"#;

    fn read(object: &mut Object) -> Option<Self> {
        let link = link(object);
        let name = object.required("name", "What you are called");
        let password = password(object);
        Some(Self { link: link?, name: name?, password: password? })
    }
}

async fn verify(open: Open, JsonBody(body): JsonBody<VerifyBody>) -> Outcome<ReportDocument> {
    let VerifyBody { link, name, password } = body;
    let used = open.api.accounts().finish_registration(&strangers(&open), &link, &name, &password).await?;
    Ok(Answer::new(report(used)))
}

/// The body that chooses a password.
#[derive(Debug)]
struct ResetBody {
    link: Secret,
    password: Secret,
}

impl Fields for ResetBody {
    const NAME: &'static str = "NewPasswordRequest";
    const EXAMPLE: &'static str = r#"{"link": "gml_x3Vt0m4Rk8qZ", "password": "a password of your choice"}"#;

    fn read(object: &mut Object) -> Option<Self> {
        let (link, password) = (link(object), password(object));
        Some(Self { link: link?, password: password? })
    }
}

async fn reset(open: Open, JsonBody(ResetBody { link, password }): JsonBody<ResetBody>) -> Outcome<ReportDocument> {
    let used = open.api.accounts().reset_password(&strangers(&open), &link, &password).await?;
    Ok(Answer::new(report(used)))
}

fn report(used: UsedLink) -> ReportDocument {
    ReportDocument::new(false, &ControlReport { affected: 1, samples: vec![used.email], ..ControlReport::default() })
}
